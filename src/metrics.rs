//! Counting what happens, for `GET /metrics` in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::sync::lock;

/// A family of counters, as docs/settings.md lists it.
pub struct Family {
    /// With the prefix `fulfilld_`.
    pub name: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// Every counter there is. No label carries an id, so their number is bounded.
pub const COUNTERS: &[Family] = &[
    Family {
        name: "fulfilld_http_requests_total",
        labels: &["path", "code"],
        help: "Requests answered.",
    },
    Family {
        name: "fulfilld_webhook_refused_total",
        labels: &["cause"],
        help: "Webhooks answered 400, by what was wrong.",
    },
    Family {
        name: "fulfilld_events_received_total",
        labels: &["kind"],
        help: "Events on disk: new ones, and duplicates that changed nothing.",
    },
    Family {
        name: "fulfilld_events_tried_total",
        labels: &["outcome"],
        help: "Tries of events, by what they came to.",
    },
    Family {
        name: "fulfilld_backfill_found_total",
        labels: &["what"],
        help: "What Stripe had and the file had not: events that never arrived, and objects without an event.",
    },
    Family {
        name: "fulfilld_stripe_requests_total",
        labels: &["endpoint", "code"],
        help: "Requests to Stripe; code 0 means no answer.",
    },
    Family {
        name: "fulfilld_hooks_run_total",
        labels: &["kind", "outcome"],
        help: "Runs of hooks, by what they came to.",
    },
];

/// The histogram's upper bounds, in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// The family, the first label, and the second: a word, or a number.
type Key = (&'static str, &'static str, &'static str, u16);

/// The counts of one process, from its start.
#[derive(Default)]
pub struct Metrics {
    backfilled_at: AtomicI64,
    counts: Mutex<BTreeMap<Key, u64>>,
    webhook: Mutex<Histogram>,
    /// Since when no event could be stored because the file's own rules refuse it, and why.
    refused: Mutex<Option<(Instant, String)>>,
    /// One for each signing secret in force, in the order of their lines.
    secrets: Mutex<Vec<OfSecret>>,
}

/// What a signing secret was good for.
#[derive(Default, Clone, Copy)]
struct OfSecret {
    verified: u64,
    needed: u64,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BOUNDS_MS.len()],
    count: u64,
    sum: Duration,
}

impl Metrics {
    /// A request to one of our paths was answered.
    pub fn http_answered(&self, path: &'static str, code: u16) {
        self.count("fulfilld_http_requests_total", path, code);
    }

    /// A webhook's signature was refused.
    pub fn webhook_refused(&self, cause: &'static str) {
        self.count("fulfilld_webhook_refused_total", cause, 0);
    }

    /// The file's own rules refuse an event: sending it again does not help.
    pub fn event_refused(&self, why: &str) {
        lock(&self.refused).get_or_insert_with(|| (Instant::now(), why.into()));
    }

    /// For how long events have been refused, and how the first was answered; `None` once one is
    /// stored.
    pub fn events_refused(&self) -> Option<(Duration, String)> {
        lock(&self.refused).as_ref().map(|(since, why)| (since.elapsed(), why.clone()))
    }

    /// A webhook was acknowledged, this long after it had been read.
    pub fn event_received(&self, new: bool, took: Duration) {
        if new {
            lock(&self.refused).take();
        }
        self.count("fulfilld_events_received_total", if new { "new" } else { "duplicate" }, 0);
        let mut histogram = lock(&self.webhook);
        let within = BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(bucket) = within {
            histogram.buckets[bucket] += 1;
        }
        histogram.count += 1;
        histogram.sum += took;
    }

    /// So many of these had never arrived.
    pub fn backfill_found(&self, what: &'static str, n: usize) {
        *lock(&self.counts).entry(("fulfilld_backfill_found_total", what, "", 0)).or_default() +=
            n as u64;
    }

    /// All of Stripe's events were looked through.
    pub fn backfilled(&self, at: Timestamp) {
        self.backfilled_at.store(at.as_second(), Ordering::Relaxed);
    }

    /// When that was, in unix seconds; 0 for never.
    pub fn backfilled_at(&self) -> i64 {
        self.backfilled_at.load(Ordering::Relaxed)
    }

    /// Webhooks answered 200 so far, duplicates too.
    pub fn webhooks_acknowledged(&self) -> u64 {
        lock(&self.webhook).count
    }

    /// Webhooks whose signature was refused, and webhooks that could not be stored, so far.
    pub fn webhooks_turned_away(&self) -> (u64, u64) {
        let counts = lock(&self.counts);
        let sum = |wanted: &dyn Fn(&Key) -> bool| {
            counts.iter().filter(|(key, _)| wanted(key)).map(|(_, n)| n).sum()
        };
        (
            sum(&|key| key.0 == "fulfilld_webhook_refused_total"),
            sum(&|key| *key == ("fulfilld_http_requests_total", "/webhook", "", 503)),
        )
    }

    /// These signing secrets are in force from now on: for each, where it stood among those before.
    /// Its counts go with it to its new line.
    pub fn secrets_are(&self, stood: &[Option<usize>]) {
        let mut secrets = lock(&self.secrets);
        let of =
            |place: &Option<usize>| place.and_then(|n| secrets.get(n).copied()).unwrap_or_default();
        *secrets = stood.iter().map(of).collect();
    }

    /// An event's signature matched these of the secrets in force.
    pub fn verified_by(&self, matched: &[usize]) {
        let mut secrets = lock(&self.secrets);
        for n in matched {
            if let Some(secret) = secrets.get_mut(*n) {
                secret.verified += 1;
                secret.needed += u64::from(matched.len() == 1);
            }
        }
    }

    /// A try of an event ended so.
    pub fn event_tried(&self, outcome: &'static str) {
        self.count("fulfilld_events_tried_total", outcome, 0);
    }

    /// Stripe answered a request with this status; 0 when it did not answer.
    pub fn stripe_answered(&self, endpoint: &'static str, code: u16) {
        self.count("fulfilld_stripe_requests_total", endpoint, code);
    }

    /// A hook was run, and came to this.
    pub fn hook_ran(&self, kind: &'static str, outcome: &'static str) {
        *lock(&self.counts).entry(("fulfilld_hooks_run_total", kind, outcome, 0)).or_default() += 1;
    }

    fn count(&self, family: &'static str, first: &'static str, code: u16) {
        *lock(&self.counts).entry((family, first, "", code)).or_default() += 1;
    }

    /// The whole page; `gauges` are name, help and value of what is measured at this moment.
    pub fn page(&self, gauges: &[(&'static str, &'static str, f64)]) -> String {
        let mut page = String::new();
        let counts = lock(&self.counts);
        for family in COUNTERS {
            let _ = writeln!(page, "# HELP {0} {1}\n# TYPE {0} counter", family.name, family.help);
            for ((_, first, word, code), value) in
                counts.iter().filter(|((name, ..), _)| *name == family.name)
            {
                let second = if word.is_empty() { code.to_string() } else { word.to_string() };
                let second = family
                    .labels
                    .get(1)
                    .map(|label| format!(",{label}=\"{second}\""))
                    .unwrap_or_default();
                let _ = writeln!(
                    page,
                    "{}{{{}=\"{first}\"{second}}} {value}",
                    family.name, family.labels[0]
                );
            }
        }
        let name = "fulfilld_webhook_duration_seconds";
        let histogram = lock(&self.webhook);
        let _ = writeln!(
            page,
            "# HELP {name} From a webhook read to its 200, commit included.\n# TYPE {name} histogram"
        );
        let mut below = 0;
        for (bound, count) in BOUNDS_MS.iter().zip(histogram.buckets) {
            below += count;
            let _ = writeln!(page, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1000.0);
        }
        let _ = writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(
            page,
            "{name}_sum {}\n{name}_count {}",
            histogram.sum.as_secs_f64(),
            histogram.count
        );
        let name = "fulfilld_build_info";
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(
            page,
            "# HELP {name} The version, always 1.\n# TYPE {name} gauge\n{name}{{version=\"{version}\"}} 1"
        );
        let secrets = lock(&self.secrets);
        let by_line = |page: &mut String, name: &str, help: &str, count: fn(&OfSecret) -> u64| {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
            for (n, secret) in secrets.iter().enumerate() {
                let _ = writeln!(page, "{name}{{secret=\"{}\"}} {}", n + 1, count(secret));
            }
        };
        let (verified, needed) = (
            "Events whose signature this secret matched.",
            "Of these, the ones that no other secret matched.",
        );
        by_line(&mut page, "fulfilld_webhook_secret_verified_total", verified, |secret| {
            secret.verified
        });
        by_line(&mut page, "fulfilld_webhook_secret_needed_total", needed, |secret| secret.needed);
        let in_force =
            ("fulfilld_webhook_secrets", "Signing secrets in force.", secrets.len() as f64);
        for (name, help, value) in gauges.iter().chain([&in_force]) {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_secret_go_with_it_to_its_new_line() {
        let metrics = Metrics::default();
        let counts = || {
            let page = metrics.page(&[]);
            let lines = page.lines().filter(|l| l.starts_with("fulfilld_webhook_secret"));
            lines
                .map(|l| l.rsplit(' ').next().unwrap_or_default().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        metrics.secrets_are(&[None]);
        metrics.verified_by(&[0]);
        assert_eq!(counts(), "1 1 1");
        metrics.secrets_are(&[None, Some(0)]);
        metrics.verified_by(&[0, 1]);
        metrics.verified_by(&[0]);
        assert_eq!(counts(), "2 2 1 1 2");
        metrics.secrets_are(&[Some(1)]);
        metrics.verified_by(&[7]);
        assert_eq!(counts(), "2 1 1");
    }

    #[test]
    fn the_page_is_prometheus_text() {
        let metrics = Metrics::default();
        metrics.http_answered("/webhook", 200);
        metrics.http_answered("/webhook", 200);
        metrics.webhook_refused("no_match");
        metrics.event_received(true, Duration::from_millis(3));
        metrics.event_received(false, Duration::from_secs(60));
        let page = metrics.page(&[("fulfilld_events_pending", "Waiting.", 2.0)]);
        for line in [
            "fulfilld_http_requests_total{path=\"/webhook\",code=\"200\"} 2",
            "fulfilld_webhook_refused_total{cause=\"no_match\"} 1",
            "fulfilld_webhook_duration_seconds_bucket{le=\"0.002\"} 0",
            "fulfilld_webhook_duration_seconds_bucket{le=\"0.005\"} 1",
            "fulfilld_webhook_duration_seconds_bucket{le=\"+Inf\"} 2",
            "fulfilld_webhook_duration_seconds_count 2",
            "fulfilld_events_pending 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} not in\n{page}");
        }
    }
}
