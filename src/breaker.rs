//! The outage breaker: when Stripe fails for everyone, requests slow down to one probe at a time,
//! so that an outage does not use up every event's patience; the first answer closes it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::sync::lock;

/// So many failures in a row, with no answer between them, are an outage.
const OPEN_AFTER: u32 = 5;

/// Between two probes during an outage, at first, and at most; and always while the key is refused.
const PROBE_EVERY_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two probes, and the only one while the key is refused.
pub const PROBE_EVERY_MAX: Duration = Duration::from_secs(30);

/// Counts failures. It is open while there is an outage.
#[derive(Default)]
pub struct Breaker(Mutex<Outage>);

/// What is known of one, or of one that may begin.
#[derive(Default)]
struct Outage {
    failures: u32,
    open_since: Option<Instant>,
    why: String,
    key_refused: bool,
    next_probe: Option<Instant>,
    probe_pause: Duration,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// An outage begins, or turns out to be that the key is refused, which takes a person.
    Opened { why: String, key_refused: bool },
    /// It is over, after this long.
    Closed(Duration),
}

impl Breaker {
    /// Takes note of how a request ended.
    pub fn note(&self, answer: Result<(), &Error>) -> Option<Turn> {
        let mut outage = lock(&self.0);
        let knew = (outage.open_since.is_some(), outage.key_refused);
        match answer {
            Ok(()) | Err(Error::Permanent(_)) => {
                let was = std::mem::take(&mut *outage);
                return was.open_since.map(|since| Turn::Closed(since.elapsed()));
            }
            // Neither a failure nor a sign that it is over: this one request is not permitted, and
            // may not even have been sent.
            Err(Error::Forbidden(_)) => return None,
            Err(Error::Config(why)) => {
                outage.key_refused = true;
                outage.failures = OPEN_AFTER;
                outage.probe_pause = PROBE_EVERY_MAX;
                outage.why.clone_from(why);
            }
            Err(error) => {
                outage.failures += 1;
                outage.why = error.to_string();
            }
        }
        if outage.failures < OPEN_AFTER || knew == (true, outage.key_refused) {
            return None;
        }
        let now = Instant::now();
        outage.open_since.get_or_insert(now);
        outage.probe_pause = outage.probe_pause.max(PROBE_EVERY_MIN);
        outage.next_probe = Some(now + outage.probe_pause);
        Some(Turn::Opened { why: outage.why.clone(), key_refused: outage.key_refused })
    }

    /// Why requests are slowed down, and since when; `None` while they are not.
    pub fn trouble(&self) -> Option<(String, Duration)> {
        let outage = lock(&self.0);
        outage.open_since.map(|since| (outage.why.clone(), since.elapsed()))
    }

    /// True while requests are limited to probes.
    pub fn is_open(&self) -> bool {
        lock(&self.0).open_since.is_some()
    }

    /// True when the next probe of an outage is due; then the one after it is due later.
    pub fn probe(&self) -> bool {
        let mut outage = lock(&self.0);
        let now = Instant::now();
        let is_due = outage.next_probe.is_none_or(|at| at <= now);
        if is_due {
            outage.next_probe = Some(now + outage.probe_pause);
            outage.probe_pause = (outage.probe_pause * 2).min(PROBE_EVERY_MAX);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Error {
        Error::Temporary("busy".into())
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_answer_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.note(Err(&busy())), None);
        }
        // What Stripe says of one object is an answer, and what it forbids is none.
        assert_eq!(breaker.note(Err(&Error::Permanent("gone".into()))), None);
        assert_eq!(breaker.note(Err(&Error::Forbidden("no".into()))), None);
        for _ in 0..4 {
            assert_eq!(breaker.note(Err(&busy())), None);
        }
        assert!(!breaker.is_open());
        let opened = Turn::Opened { why: busy().to_string(), key_refused: false };
        assert_eq!(breaker.note(Err(&busy())), Some(opened));
        assert!(breaker.is_open() && breaker.trouble().is_some());
        assert!(!breaker.probe(), "the first probe is not due yet");
        assert_eq!(breaker.note(Err(&busy())), None, "it is told once");
        assert!(matches!(breaker.note(Ok(())), Some(Turn::Closed(_))));
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_refused_key_opens_it_at_once() {
        let breaker = Breaker::default();
        let revoked = Error::Config("revoked".into());
        let refused = Some(Turn::Opened { why: "revoked".into(), key_refused: true });
        assert_eq!(breaker.note(Err(&revoked)), refused);
        assert_eq!(breaker.note(Err(&revoked)), None, "it is told once");
        // In an outage as well, which may have another cause at first.
        let breaker = Breaker::default();
        (0..5).for_each(|_| drop(breaker.note(Err(&busy()))));
        assert_eq!(breaker.note(Err(&revoked)), refused);
    }
}
