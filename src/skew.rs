//! Stripe's clock against ours, by the `Date` of its answers.
//!
//! An answer says what time it is at Stripe, to the second. What is kept is Stripe's clock against
//! the time since boot, which nobody can set: so the skew is right the moment after our own clock
//! was set. It is the median of the last answers, so one odd answer moves nothing.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::sync::lock;

/// Answers that are remembered, and how many it takes to trust them.
const ANSWERS: usize = 5;
const ANSWERS_MIN: usize = 3;

/// Answers agree when they differ by no more than their way here may account for.
const AGREE_WITHIN: Duration = Duration::from_secs(10);

/// An answer that took longer than this says too little about the time.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

/// A clock is wrong from here on: as much may lie in the answers.
pub const WRONG_FROM_S: i64 = 60;

/// What Stripe's answers said of the time.
#[derive(Default)]
pub struct Skew(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Stripe's clock less the time since boot, in milliseconds: the last answers.
    offsets: VecDeque<i64>,
    /// Their median, once there were enough.
    offset: Option<i64>,
}

impl Skew {
    /// Takes note of an answer's `Date`: requested and answered at these times since boot.
    pub fn note(&self, date: Timestamp, asked: Duration, answered: Duration) {
        if answered.saturating_sub(asked) > ROUND_TRIP_MAX {
            return;
        }
        let middle = (asked.as_millis() + answered.as_millis()) as i64 / 2;
        let mut seen = lock(&self.0);
        seen.offsets.push_back(date.as_millisecond() + 500 - middle); // the second has half passed
        if seen.offsets.len() > ANSWERS {
            seen.offsets.pop_front();
        }
        if seen.offsets.len() >= ANSWERS_MIN {
            let mut sorted: Vec<i64> = seen.offsets.iter().copied().collect();
            sorted.sort_unstable();
            seen.offset = Some(sorted[sorted.len() / 2]);
        }
    }

    /// True once enough answers were seen, and since the last [`Skew::doubt`].
    pub fn is_known(&self) -> bool {
        lock(&self.0).offsets.len() >= ANSWERS_MIN
    }

    /// True once as many answers as are remembered say the same. What cannot be put right again is
    /// written by Stripe's clock only then: a few wrong answers may be the first ones ever.
    pub fn is_certain(&self) -> bool {
        let seen = lock(&self.0);
        let spread = seen.offsets.iter().max().zip(seen.offsets.iter().min());
        seen.offsets.len() == ANSWERS
            && spread.is_some_and(|(max, min)| max - min <= AGREE_WITHIN.as_millis() as i64)
    }

    /// Our clock was set, or the machine stood still meanwhile, which looks the same: what was
    /// learned holds until enough new answers have come.
    pub fn doubt(&self) {
        lock(&self.0).offsets.clear();
    }

    /// By how many seconds our clock is fast, negative when it is slow; `None` when that is not
    /// known.
    pub fn fast_s(&self) -> Option<i64> {
        self.fast_at(clock::now()).map(|(fast_s, _)| fast_s)
    }

    /// The same when it is so much that the clock is wrong ([`WRONG_FROM_S`]); 0 otherwise.
    pub fn wrong_s(&self) -> i64 {
        self.fast_s().filter(|fast| fast.abs() >= WRONG_FROM_S).unwrap_or(0)
    }

    /// The present moment: by Stripe's clock where ours is wrong, by ours otherwise. Our clock is
    /// read once, as it may be set at any instant: by two readings a right signature could be
    /// refused.
    pub fn now(&self) -> Timestamp {
        let ours = clock::now();
        match self.fast_at(ours) {
            Some((fast_s, theirs)) if fast_s.abs() >= WRONG_FROM_S => {
                clock::from_unix(theirs / 1000).unwrap_or(ours)
            }
            _ => ours,
        }
    }

    /// By how many seconds our clock is fast when it says this, and what Stripe's says, in
    /// milliseconds.
    fn fast_at(&self, ours: Timestamp) -> Option<(i64, i64)> {
        let theirs = clock::since_boot().as_millis() as i64 + lock(&self.0).offset?;
        Some(((ours.as_millisecond() - theirs) / 1000, theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(skew: &Skew, off_s: i64) {
        let at = clock::since_boot();
        skew.note(clock::from_unix(clock::now().as_second() + off_s).unwrap(), at, at);
    }

    #[test]
    fn three_answers_are_trusted_and_one_odd_one_changes_nothing() {
        let skew = Skew::default();
        answer(&skew, -3600);
        answer(&skew, -3600);
        assert_eq!((skew.fast_s(), skew.is_known(), skew.wrong_s()), (None, false, 0));
        answer(&skew, 86_400);
        let fast = skew.fast_s().unwrap();
        assert!((3598..=3601).contains(&fast) && skew.is_known(), "{fast}");
        let stripes = skew.now().as_second();
        assert!((stripes - clock::now().as_second() + 3600).abs() <= 2, "{stripes}");
        (0..3).for_each(|_| answer(&skew, 0));
        assert_eq!(skew.wrong_s(), 0);
        skew.doubt();
        assert!(!skew.is_known() && skew.fast_s().is_some(), "what was learned holds for now");
    }

    #[test]
    fn answers_that_differ_or_are_few_are_not_certain() {
        let skew = Skew::default();
        (0..3).for_each(|_| answer(&skew, 86_400));
        assert!(skew.is_known() && !skew.is_certain(), "they may all be wrong");
        (0..4).for_each(|_| answer(&skew, 0));
        assert!(!skew.is_certain(), "one of them still differs");
        answer(&skew, 0);
        assert!(skew.is_certain() && skew.wrong_s() == 0);
    }

    #[test]
    fn an_answer_that_took_long_says_nothing() {
        let skew = Skew::default();
        for _ in 0..5 {
            skew.note(clock::now(), Duration::from_secs(5), Duration::from_secs(16));
        }
        assert_eq!(skew.fast_s(), None);
    }
}
