//! When a job that failed for now is tried again, and when it is given up.

use std::time::Duration;

use crate::clock::Timestamp;

/// The rule of one kind of job.
pub struct Retry {
    /// The pauses in seconds after the first try, the second …; the last one goes on.
    pub pauses_s: &'static [u64],
    /// Each pause is multiplied by a random factor between these, so that a crowd does not come
    /// back together.
    pub jitter: (f64, f64),
    /// It is tried at least so many times, and for at least so long, before it is given up.
    pub tries_min: i64,
    /// See `tries_min`: no event or run is given up sooner.
    pub give_up_after: Duration,
}

impl Retry {
    /// How long to wait after so many tries.
    pub fn pause(&self, tries: i64) -> Duration {
        let last = self.pauses_s.len() - 1;
        let full_s = self.pauses_s[usize::try_from(tries - 1).unwrap_or(0).min(last)] as f64;
        let (low, high) = self.jitter;
        Duration::from_secs_f64(full_s * (low + (high - low) * fastrand::f64()))
    }

    /// True when it has been tried often enough, and for long enough since `first`.
    pub fn is_spent(&self, tries: i64, first: Timestamp, now: Timestamp) -> bool {
        tries >= self.tries_min
            && now.as_second() - first.as_second() >= self.give_up_after.as_secs() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const RULE: Retry = Retry {
        pauses_s: &[1, 10, 100],
        jitter: (0.5, 1.25),
        tries_min: 5,
        give_up_after: Duration::from_secs(3600),
    };

    #[test]
    fn pauses_grow_with_jitter_to_the_last() {
        for (tries, full) in [(0, 1.0), (1, 1.0), (2, 10.0), (3, 100.0), (1000, 100.0)] {
            for _ in 0..20 {
                let pause = RULE.pause(tries).as_secs_f64();
                assert!(pause >= full * 0.5 && pause <= full * 1.25, "{tries}: {pause}");
            }
        }
    }

    #[test]
    fn giving_up_takes_both_the_tries_and_the_time() {
        let now = clock::now();
        let ago = |s: u64| now - Duration::from_secs(s);
        assert!(!RULE.is_spent(4, ago(9999), now) && !RULE.is_spent(99, ago(3599), now));
        assert!(RULE.is_spent(5, ago(3600), now));
    }
}
