//! The running fulfilld, by its lock on the file and by what it says at its own address.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::{Report, Shop, file};
use crate::env;
use crate::health;
use crate::standby;

/// It answers about itself in a moment, or it hangs.
const WITHIN: Duration = Duration::from_secs(5);

/// So much of what it says is read.
const ANSWER_MAX: u64 = 1 << 20;

/// What it says of itself, as far as somebody answers.
pub struct Daemon {
    /// Where the request went, a host and a port.
    pub listen: String,
    /// Whether some fulfilld serves the file; `None` when that cannot be seen.
    holds: Option<bool>,
    /// The lines of `/metrics` by name and labels; `None` when nobody answers.
    metrics: Option<BTreeMap<String, f64>>,
    /// The causes of `/readyz`, each a name and a sentence.
    causes: Vec<(String, String)>,
    /// Why it does not serve, when it waits for a person to fix that.
    waits: Option<String>,
}

impl Daemon {
    /// Checks the lock of the file and sends a request to the address.
    pub fn ask(listen: &str, file: &Path) -> Daemon {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(WITHIN)).http_status_as_error(false);
        let agent: ureq::Agent =
            config.max_redirects(0).max_redirects_will_error(false).proxy(None).build().into();
        let waits = Cell::new(false);
        let get = |path: &str| -> Option<(u16, String)> {
            let mut answer = agent.get(format!("http://{listen}{path}")).call().ok()?;
            waits.set(answer.headers().contains_key(standby::WAITS_HEADER));
            let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().ok()?;
            Some((answer.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
        };
        let metrics = get("/metrics").map(|(_, page)| page.lines().filter_map(measured).collect());
        let ready = get("/readyz");
        let waits = ready.as_ref().filter(|_| waits.get()).map(|(_, why)| crate::text::clean(why));
        let causes = match ready {
            Some((503, causes)) if waits.is_none() => causes
                .lines()
                .filter(|line| !line.starts_with("advice "))
                .filter_map(|line| line.split_once(": "))
                .map(|(n, w)| (n.into(), w.into()))
                .collect(),
            _ => Vec::new(),
        };
        Daemon { listen: listen.into(), holds: held(file), metrics, causes, waits }
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.metrics.as_ref()?.get(name).copied()
    }

    fn refused(&self, cause: &str) -> f64 {
        self.value(&format!("fulfilld_webhook_refused_total{{cause=\"{cause}\"}}")).unwrap_or(0.0)
    }

    /// How many posts it has answered 400; `None` when it does not say.
    pub fn refusals(&self) -> Option<u64> {
        let counts = self.metrics.as_ref().filter(|_| self.is_fulfilld())?;
        let refused = |name: &str| name.starts_with("fulfilld_webhook_refused_total{");
        Some(counts.iter().filter(|(name, _)| refused(name)).map(|(_, n)| *n as u64).sum())
    }

    /// True once it has looked through Stripe's events to the end since its start.
    pub fn has_backfilled(&self) -> bool {
        self.value("fulfilld_backfill_success_timestamp_seconds").is_some_and(|at| at > 0.0)
    }

    /// What keeps it from being ready, a sentence; `None` when it is ready.
    pub fn why_not_ready(&self) -> Option<String> {
        if let Some(why) = &self.waits {
            return Some(why.clone());
        }
        match self.causes.first() {
            Some((_, why)) => Some(crate::text::clean(why)),
            None if self.is_fulfilld() => None,
            None => Some("it does not answer yet".into()),
        }
    }

    fn is_fulfilld(&self) -> bool {
        self.value("fulfilld_uptime_seconds").is_some()
    }

    /// Its version; blank where it is too old to say.
    fn version(&self) -> String {
        let names = self.metrics.iter().flat_map(|metrics| metrics.keys());
        let said = names.filter_map(|name| {
            name.strip_prefix("fulfilld_build_info{version=\"")?.strip_suffix("\"}")
        });
        said.map(crate::text::clean).next().unwrap_or_default()
    }
}

/// Name and labels, and the value.
fn measured(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((name.into(), value.parse().ok()?))
}

/// Whether somebody has the daemon's lock. Ours is shared and lasts for an instant, so two doctors
/// do not see each other.
fn held(file: &Path) -> Option<bool> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    match File::open(name) {
        Ok(lock) => Some(flock(&lock, FlockOperation::NonBlockingLockShared).is_err()),
        Err(e) => (e.kind() == std::io::ErrorKind::NotFound).then_some(false),
    }
}

/// Reports a daemon that does not run, does not answer, or is not ready, and why.
pub fn check(shop: &Shop, report: &mut Report) {
    // It ends by itself, for a reason that was said.
    if ["file_hard_links", "file_log_foreign"].iter().any(|id| report.has(id)) {
        return;
    }
    let before = report.lines.len();
    let listen = &shop.daemon.listen;
    alarms(shop, report);
    if let Some(why) = &shop.daemon.waits {
        return report.problem(
            "daemon_waits",
            format!("fulfilld answers 503 at {listen}: {why}"),
            "Stripe retries for three days.",
            "fix what it says; fulfilld then starts by itself",
        );
    }
    match (shop.daemon.holds, &shop.daemon.metrics) {
        (Some(false), None) | (None, None) => {
            return report.problem(
                "daemon_not_running",
                "fulfilld is not running",
                "Stripe's posts are not accepted; Stripe retries them for three days.",
                "sudo systemctl enable --now fulfilld.socket fulfilld; journalctl -u fulfilld -e says why it ends",
            );
        }
        (Some(true), None) => {
            return report.problem(
                "daemon_silent",
                format!("fulfilld has the file, and nothing answers at {listen}"),
                "Either it hangs, or it listens at another address, and the proxy may forward to the wrong one.",
                "systemctl status fulfilld.socket fulfilld says where it listens; put that into FULFILLD_LISTEN",
            );
        }
        _ if !shop.daemon.is_fulfilld() => {
            return report.problem(
                "listen_taken",
                format!("at {listen} something answers that is not fulfilld"),
                "fulfilld cannot listen there, and the proxy forwards Stripe's posts to that program.",
                format!("ss -ltnp 'sport = :{}' shows which it is", listen.rsplit(':').next().unwrap_or_default()),
            );
        }
        // Which file it is was said already.
        (Some(false), Some(_))
            if ["file_missing", "file_denied", "file_not_a_database"]
                .iter()
                .any(|id| report.has(id)) => {}
        (Some(false), Some(_)) => {
            report.problem(
                "daemon_other_file",
                format!("the fulfilld at {listen} serves another file than {}", shop.file.display()),
                "What you read and edit here is not what it writes.",
                "systemctl show fulfilld -p Environment -p EnvironmentFiles; set FULFILLD_DB here as there",
            );
        }
        _ => {}
    }
    version(&shop.daemon, report);
    ready(&shop.daemon, report);
    signatures(&shop.daemon, report);
    let found = report.lines.len() > before;
    rolled_secrets(&shop.daemon, report);
    units(shop, report);
    unread_settings(shop, report);
    if !found {
        report
            .good(format!("fulfilld {} listens at {listen}, and is ready", shop.daemon.version()));
    }
}

/// What systemd would do differently from what a shop expects, although all is well now.
fn units(shop: &Shop, report: &mut Report) {
    let Some(service) = &shop.service else { return };
    let missing = service.not_at_boot().join(" ");
    if !missing.is_empty() {
        report.problem(
            "service_not_enabled",
            format!("systemd does not start {missing} with the machine"),
            "After the next reboot nobody accepts Stripe's posts.",
            format!("sudo systemctl enable {missing}"),
        );
    }
    if let Some(socket) = service.closed_socket() {
        let daemon = service.daemon();
        report.advice(
            "service_without_socket",
            format!("{daemon} runs, and {socket} is not open"),
            "While fulfilld restarts, Stripe's posts are refused instead of kept waiting.",
            format!("sudo systemctl stop {daemon} && sudo systemctl start {socket} {daemon}"),
        );
    }
}

/// Settings, and systemd's copies of the secrets, are read at the start alone.
fn unread_settings(shop: &Shop, report: &mut Report) {
    let (Some(service), Some(etc)) = (&shop.service, &env::all().etc) else { return };
    let uptime = shop.daemon.value("fulfilld_uptime_seconds").unwrap_or(0.0).max(0.0);
    let Some(started) = SystemTime::now().checked_sub(Duration::from_secs_f64(uptime)) else {
        return;
    };
    let is_newer = |path: &PathBuf| {
        let changed = path.metadata().and_then(|meta| meta.modified());
        changed.is_ok_and(|at| at > started)
    };
    let files = [env::FILE, "stripe_secret_key", "webhook_secret", "hook_secret", "page_secret"];
    if let Some(newer) = files.map(|name| etc.join(name)).iter().find(|path| is_newer(path)) {
        report.advice(
            "settings_not_read",
            format!("{} was changed after fulfilld was started", newer.display()),
            "fulfilld reads it when it starts, and goes on with what stood there before.",
            format!("sudo systemctl restart {}", service.daemon()),
        );
    }
}

fn version(daemon: &Daemon, report: &mut Report) {
    let (runs, here) = (daemon.version(), env!("CARGO_PKG_VERSION"));
    if runs != here {
        let runs =
            if runs.is_empty() { "an older version".into() } else { format!("version {runs}") };
        report.problem(
            "daemon_version",
            format!("{runs} is running, and this is fulfilld {here}"),
            "The installed version is not yet the running one.",
            "sudo systemctl restart fulfilld",
        );
    }
}

/// What it says that keeps it from being ready, unless that was found here.
fn ready(daemon: &Daemon, report: &mut Report) {
    let stripe = ["key_", "permission_", "stripe_", "alarm_key"].iter().any(|id| report.has(id));
    let known = |name: &str| match name {
        health::STRIPE_PAUSED => stripe,
        health::STARTING | health::FILE_LOCKED => report.has("file_locked"),
        health::DISK_FULL => report.has("disk_"),
        health::EVENTS_WAITING => report.has("events_waiting") || stripe,
        "checkpoint_failing" | "log_grows" => report.has("wal_") || report.has("alarm_"),
        // Found among the alarms.
        alarm => health::ALARMS.contains(&alarm),
    };
    let causes = daemon.causes.iter().filter(|(name, _)| !known(name));
    let causes: Vec<&str> = causes.map(|(_, what)| what.as_str()).collect();
    if !causes.is_empty() {
        report.problem(
            "daemon_not_ready",
            format!("fulfilld is not ready: {}", causes.join("; ")),
            "Orders do not arrive meanwhile.",
            "journalctl -u fulfilld -e; fulfilld attention",
        );
    }
}

/// What the daemon wants a person to know, unless it was found here and now.
fn alarms(shop: &Shop, report: &mut Report) {
    let read = |c: rusqlite::Connection| {
        let mut query =
            c.prepare("SELECT name, message, next, since FROM alarms ORDER BY since, name")?;
        let rows =
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        rows.collect::<rusqlite::Result<Vec<(String, String, String, String)>>>()
    };
    for (name, message, next, since) in file::open(&shop.file).and_then(read).unwrap_or_default() {
        let (known, remedy) = match name.as_str() {
            "key_refused" => (
                ["key_refused", "key_expired", "permission_checkout_sessions"]
                    .iter()
                    .any(|id| report.has(id)),
                "sudo systemctl restart fulfilld, when the key here is another than the one it was started with",
            ),
            "key_lacks_permission" => (
                report.has("permission_"),
                "sudo systemctl restart fulfilld, when it was granted just now",
            ),
            "log_grows" => (report.has("wal_"), next.as_str()),
            "clock_wrong" => (report.has("clock_off"), next.as_str()),
            "silence" => (
                report.has("endpoint_"),
                "Stripe's Dashboard, Workbench, Webhooks, the endpoint: its deliveries and what was answered",
            ),
            _ => (false, next.as_str()),
        };
        if !known {
            let what = format!("fulfilld says since {since}: {message}");
            report.problem(
                format!("alarm_{name}"),
                what,
                "It goes on as well as it can, and needs your help.",
                remedy,
            );
        }
    }
}

/// Posts that nobody's secret matches: another secret, or a body that was changed on the way.
fn signatures(daemon: &Daemon, report: &mut Report) {
    let received = ["new", "duplicate"]
        .map(|kind| {
            daemon
                .value(&format!("fulfilld_events_received_total{{kind=\"{kind}\"}}"))
                .unwrap_or(0.0)
        })
        .iter()
        .sum::<f64>();
    let (no_match, too_old) = (daemon.refused("no_match"), daemon.refused("too_old"));
    let other = "the endpoint's own whsec_… goes into WEBHOOK_SECRET (Workbench, Webhooks, Signing \
                 secret); the proxy must hand on the body as it came (no rewriting, no \
                 decompressing)";
    if no_match > 0.0 && received == 0.0 {
        report.problem(
            "signatures_do_not_match",
            format!("{no_match} posts with a signature were refused since fulfilld was started, and not one was right"),
            "Either WEBHOOK_SECRET is not this endpoint's, or a proxy changes the bodies.",
            other,
        );
    } else if no_match > 0.0 {
        report.advice(
            "signatures_sometimes_wrong",
            format!("{no_match} posts with a signature were refused since fulfilld was started, {received} were right"),
            "A second endpoint with a secret of its own does that, and so does a stranger who tries.",
            other,
        );
    }
    if too_old > 0.0 && received == 0.0 && !report.has("clock_off") {
        report.problem(
            "signatures_too_old",
            format!("{too_old} posts were refused because their signature was too old, and none was taken"),
            "Either this server's clock is fast, or something holds the posts back for minutes.",
            "timedatectl; look at the proxy's log",
        );
    }
}

/// While a secret is being rolled: which line of WEBHOOK_SECRET is no longer needed. The new one
/// stands in line 1.
fn rolled_secrets(daemon: &Daemon, report: &mut Report) {
    let lines = daemon.value("fulfilld_webhook_secrets").unwrap_or(0.0) as usize;
    let of = |what: &str, line: usize| {
        daemon
            .value(&format!("fulfilld_webhook_secret_{what}_total{{secret=\"{line}\"}}"))
            .unwrap_or(0.0)
    };
    let hours = daemon.value("fulfilld_uptime_seconds").unwrap_or(0.0) / 3600.0;
    for line in (1..=lines).filter(|_| lines > 1) {
        let others = || (1..=lines).filter(|other| *other != line);
        let first_does = line > 1 && of("verified", 1) >= 1.0;
        let can_go = of("needed", line) == 0.0
            && (first_does || others().any(|other| of("needed", other) >= 1.0));
        if can_go {
            report.advice(
                "secret_can_go",
                format!(
                    "line {line} of WEBHOOK_SECRET has not been needed since fulfilld was started {hours:.1} h ago"
                ),
                "Another line verifies every event; a secret that nobody needs can only be stolen.",
                format!("once Stripe's roll has ended, remove line {line}, then: systemctl restart fulfilld"),
            );
        } else if of("needed", line) >= 1.0 {
            report.good(format!(
                "line {line} of WEBHOOK_SECRET is needed: some events are signed with it alone"
            ));
        } else {
            report.skip(format!("line {line} of WEBHOOK_SECRET has verified nothing alone since fulfilld was started"));
        }
    }
}
