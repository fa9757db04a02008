//! When each list is looked through: every list has its own outcome and its own clock, so that one
//! that fails, or that the key may not see, neither stops the others nor is requested all the time.
//! Pure: time is what [`crate::clock::since_boot`] says.

use std::time::Duration;

/// Until a look that failed is tried again: at first, and at most. It doubles.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30 * 60);

/// A list that could not be looked through for so long is somebody's business.
pub const FAILING_FOR: Duration = Duration::from_secs(3600);

/// One list's turn.
#[derive(Debug, Clone)]
pub struct Turn {
    every: Duration,
    /// When it is looked through next, and when at the latest where nothing fails.
    due: Duration,
    failing: Option<Failing>,
    /// It was looked through at least once.
    pub has_looked: bool,
}

/// Since when, and why it failed last.
#[derive(Debug, Clone)]
struct Failing {
    since: Duration,
    pause: Duration,
    why: String,
}

impl Turn {
    /// Due at once, and from then on this often.
    pub fn new(every: Duration, now: Duration) -> Turn {
        Turn { every, due: now, failing: None, has_looked: false }
    }

    /// `now`: the time since boot.
    pub fn is_due(&self, now: Duration) -> bool {
        self.due <= now
    }

    /// How long until it is.
    pub fn left(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// It was seen to its end, or it is known that the key may not see it, which another alarm
    /// says.
    pub fn looked(&mut self, now: Duration) {
        self.due = now + self.every;
        self.failing = None;
        self.has_looked = true;
    }

    /// It broke off. True when the reason is another than before, so that it is worth a line.
    pub fn failed(&mut self, now: Duration, why: &str) -> bool {
        let first = AGAIN_AFTER.min(self.every);
        let (since, pause, known) = match self.failing.take() {
            Some(failing) => {
                (failing.since, (failing.pause * 2).min(AGAIN_AFTER_MAX), failing.why == why)
            }
            None => (now, first, false),
        };
        self.failing = Some(Failing { since, pause, why: why.into() });
        self.due = now + pause;
        !known
    }

    /// Something may have changed for the better: what failed is due now.
    pub fn try_again(&mut self, now: Duration) {
        if self.failing.is_some() {
            self.due = now;
        }
    }

    /// It is not due before that.
    pub fn wait_at_least(&mut self, now: Duration, pause: Duration) {
        self.due = self.due.max(now + pause);
    }

    /// Everything is due now.
    pub fn look_again(&mut self, now: Duration) {
        self.due = now;
    }

    /// For how long it has failed and why, once that is long enough to be reported.
    pub fn fails(&self, now: Duration, at_least: Duration) -> Option<(Duration, &str)> {
        let failing = self.failing.as_ref()?;
        let lasts = now.saturating_sub(failing.since);
        (lasts >= at_least).then_some((lasts, failing.why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;

    /// The usual settings: events every ten minutes, six lists every six hours.
    fn turns() -> Vec<Turn> {
        let every = |seconds| Turn::new(Duration::from_secs(seconds), Duration::ZERO);
        let mut turns = vec![every(10 * MINUTE)];
        turns.extend((0..5).map(|_| every(6 * 60 * MINUTE)));
        turns
    }

    /// The requests of an idle shop in thirty days: a look is one request, three where it fails for
    /// now.
    fn month(fails: impl Fn(usize) -> bool) -> usize {
        let mut turns = turns();
        let (mut asked, mut now) = (0, Duration::ZERO);
        while now < Duration::from_secs(30 * DAY) {
            for (n, turn) in turns.iter_mut().enumerate().filter(|(_, turn)| turn.is_due(now)) {
                match fails(n) {
                    true => drop(turn.failed(now, "why")),
                    false => turn.looked(now),
                }
                asked += if fails(n) { 3 } else { 1 };
            }
            now += turns.iter().map(|turn| turn.left(now)).min().unwrap_or_default();
        }
        asked
    }

    /// Stripe permits 10,000 reads a month to a shop that sells nothing. The figures stand in
    /// ARCHITECTURE.md.
    #[test]
    fn an_idle_shop_stays_below_what_stripe_permits_whatever_list_fails() {
        assert_eq!(month(|_| false), 4_920);
        let failing: Vec<usize> = (0..6).map(|n| month(|failing| failing == n)).collect();
        assert_eq!(failing, [4_935, 9_135, 9_135, 9_135, 9_135, 9_135]);
    }

    #[test]
    fn one_that_fails_is_tried_less_and_less_often_and_reported_after_an_hour() {
        let mut turn = Turn::new(Duration::from_secs(600), Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for n in 0..10 {
            assert_eq!(turn.failed(now, "why"), n == 0, "it is logged once");
            pauses.push(turn.left(now).as_secs());
            assert_eq!(turn.fails(now, FAILING_FOR).is_some(), now >= FAILING_FOR);
            now += turn.left(now);
            assert!(turn.is_due(now));
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1800, 1800, 1800, 1800]);
        assert!(turn.failed(now, "another"));
        turn.try_again(now);
        assert!(turn.is_due(now));
        turn.looked(now);
        assert_eq!((turn.left(now).as_secs(), turn.fails(now, Duration::ZERO)), (600, None));
        turn.try_again(now);
        assert!(!turn.is_due(now), "what did not fail has its own time");
    }
}
