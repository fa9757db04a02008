//! Which permissions the key lacks, by Stripe's 403s, and when each may be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Without these there are no orders: a 403 from one of them is the key's failure as a whole. From
/// any other it is a missing permission, which holds up what needs it and nothing else.
const VITAL: [&str; 3] = ["checkout_session", "checkout_sessions", "checkout_session_line_items"];

/// Endpoints that one permission opens: what one of them answers is true of the others.
const OPENED_TOGETHER: [&[&str]; 5] = [
    &["refund", "refunds", "charge"],
    &["dispute", "disputes"],
    &["review", "reviews"],
    &["early_fraud_warning", "early_fraud_warnings"],
    &["invoice", "invoice_payments"],
];

/// An endpoint that answered 403 is left alone for so long, however many events need it; twice as
/// long after each further 403, up to the second figure. So a missing permission costs at most
/// 2,880 requests a month of the 10,000 that Stripe permits at least, and one that is granted shows
/// at the first look at Stripe's events after a quarter of an hour at most; at once where another
/// endpoint of its group answers.
const FORBIDDEN_FOR: Duration = Duration::from_secs(30);
const FORBIDDEN_FOR_MAX: Duration = Duration::from_secs(15 * 60);

/// What waits for a permission is retried this long after the endpoint may be used again.
const FORBIDDEN_GRACE: Duration = Duration::from_secs(10);

/// The endpoints that answered 403 to the last request.
#[derive(Default)]
pub struct Permissions(Mutex<Known>);

#[derive(Default)]
struct Known {
    forbidden: BTreeMap<&'static str, Forbidden>,
    /// What another endpoint of its group opened, until it has answered well itself. One that is
    /// denied all the same is opened by no other again: each answer would wake what waits for it.
    opened: BTreeSet<&'static str>,
}

/// What Stripe said, when the last request was sent, and how long the endpoint is left alone.
struct Forbidden {
    why: String,
    at: Instant,
    pause: Duration,
}

impl Forbidden {
    /// How long it is left alone from now on.
    fn left(&self, now: Instant) -> Duration {
        self.pause.saturating_sub(now.saturating_duration_since(self.at))
    }
}

impl Permissions {
    /// True where orders can do without this endpoint.
    pub fn is_optional(endpoint: &str) -> bool {
        !VITAL.contains(&endpoint)
    }

    /// Why the endpoint must not be used now. `None`: the caller may send its request. After a
    /// pause one caller does, and the others wait for what it learns.
    pub fn refusal(&self, endpoint: &str, now: Instant) -> Option<String> {
        let mut known = lock(&self.0);
        let known = known.forbidden.get_mut(endpoint)?;
        if !known.left(now).is_zero() {
            return Some(known.why.clone());
        }
        known.at = now;
        None
    }

    /// The endpoint answered 403 before this process began: the next caller tries it.
    pub fn were_denied(&self, endpoint: &'static str, why: String) {
        let forbidden = Forbidden { why, at: Instant::now(), pause: Duration::ZERO };
        lock(&self.0).forbidden.insert(endpoint, forbidden);
    }

    /// True while the endpoint is known to answer 403.
    pub fn lacks(&self, endpoint: &str) -> bool {
        lock(&self.0).forbidden.contains_key(endpoint)
    }

    /// The endpoint answered well.
    pub fn granted(&self, endpoint: &str) {
        let Known { forbidden, opened } = &mut *lock(&self.0);
        if !forbidden.is_empty() {
            let together = OPENED_TOGETHER.into_iter().find(|group| group.contains(&endpoint));
            forbidden.retain(|name, _| {
                let by_another = together.is_some_and(|group| group.contains(name));
                *name != endpoint && !(by_another && opened.insert(name))
            });
        }
        opened.remove(endpoint);
    }

    /// The endpoint answered 403 to a request sent at `asked_at`. Returns the first reason that
    /// Stripe gave: later ones differ in the request's id alone.
    pub fn denied(
        &self,
        endpoint: &'static str,
        why: String,
        asked_at: Instant,
        now: Instant,
    ) -> String {
        let forbidden = &mut lock(&self.0).forbidden;
        // What Stripe said to the process before is not known here.
        forbidden.retain(|name, known| *name != endpoint || !known.pause.is_zero());
        let known = forbidden.contains_key(endpoint);
        let since =
            forbidden.entry(endpoint).or_insert(Forbidden { why, at: now, pause: FORBIDDEN_FOR });
        // Only the request that was to show it makes the pause longer: the answers to a burst all
        // say the same.
        if known && since.at == asked_at {
            since.pause = (since.pause * 2).min(FORBIDDEN_FOR_MAX);
        }
        since.at = now;
        since.why.clone()
    }

    /// How long what waits for a permission may wait before it is tried again.
    pub fn pause(&self) -> Duration {
        let now = Instant::now();
        let known = lock(&self.0);
        known.forbidden.values().map(|forbidden| forbidden.left(now)).max().unwrap_or(FORBIDDEN_FOR)
            + FORBIDDEN_GRACE
    }

    /// The endpoints that the key may not use, each with what Stripe said.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let known = lock(&self.0);
        known.forbidden.iter().map(|(name, forbidden)| (*name, forbidden.why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_tries_a_missing_permission_and_the_others_wait() {
        let permissions = Permissions::default();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(permissions.refusal("dispute", start), None);
        permissions.denied("dispute", "no (req_1)".into(), start, at(1));
        // The answers to a burst do not make the pause longer, and the first reason stays.
        assert_eq!(permissions.denied("dispute", "no (req_2)".into(), start, at(1)), "no (req_1)");
        assert!(permissions.refusal("dispute", at(30)).is_some());
        assert_eq!(permissions.refusal("dispute", at(31)), None);
        assert!(permissions.refusal("dispute", at(31)).is_some(), "one has asked already");
        permissions.denied("dispute", "no".into(), at(31), at(31));
        assert!(permissions.refusal("dispute", at(90)).is_some());
        assert_eq!(permissions.refusal("dispute", at(91)), None);
        assert_eq!(permissions.missing(), [("dispute", "no (req_1)".to_string())]);
    }

    #[test]
    fn a_granted_permission_shows_after_the_longest_pause_and_at_its_list() {
        let permissions = Permissions::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            permissions.denied("dispute", "no".into(), now, now);
            now += FORBIDDEN_FOR_MAX;
            assert_eq!(permissions.refusal("dispute", now), None);
        }
        permissions.denied("review", "no".into(), now, now);
        permissions.denied("dispute", "no".into(), now, now);
        permissions.granted("disputes");
        assert_eq!(permissions.refusal("dispute", now), None);
        assert!(permissions.refusal("review", now).is_some());
        permissions.granted("review");
        assert!(permissions.missing().is_empty());
    }

    #[test]
    fn what_is_denied_though_another_endpoint_opened_it_waits_for_its_own_answer() {
        let permissions = Permissions::default();
        let now = Instant::now();
        let deny = || {
            permissions.denied("refunds", "no".into(), now, now);
            permissions.granted("charge");
            permissions.lacks("refunds")
        };
        assert!(!deny(), "one permission opens both");
        assert!(deny(), "or it does not");
        assert!(deny());
        permissions.granted("refunds");
        permissions.denied("refunds", "no".into(), now, now);
        permissions.granted("charge");
        assert!(!permissions.lacks("refunds"));
    }
}
