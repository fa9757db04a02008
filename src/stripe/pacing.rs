//! How fast requests go to each of Stripe's endpoints: evenly, slower after a 429, and slowly
//! faster.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The pace of each endpoint.
pub struct Pacer {
    /// Requests a second to one endpoint, at most.
    rate_max: f64,
    paces: Mutex<HashMap<&'static str, Pace>>,
}

impl Pacer {
    /// `rate_max`: requests a second to one endpoint.
    pub fn new(rate_max: f64) -> Pacer {
        Pacer { rate_max, paces: Mutex::default() }
    }

    /// Books this endpoint's next turn and says how long it is away.
    pub fn next_turn(&self, endpoint: &'static str, now: Instant) -> Duration {
        self.with(endpoint, |pace| pace.next_turn(now))
    }

    /// Stripe answered 429.
    pub fn slow_down(&self, endpoint: &'static str, now: Instant) {
        self.with(endpoint, |pace| pace.slow_down(now));
    }

    /// Stripe answered well.
    pub fn speed_up(&self, endpoint: &'static str) {
        self.with(endpoint, Pace::speed_up);
    }

    fn with<T>(&self, endpoint: &'static str, change: impl FnOnce(&mut Pace) -> T) -> T {
        let mut paces = lock(&self.paces);
        change(paces.entry(endpoint).or_insert_with(|| Pace::new(self.rate_max)))
    }
}

/// One endpoint's pace: a turn every 1/rate seconds.
struct Pace {
    rate: f64,
    rate_max: f64,
    next: Option<Instant>,
    slowed: Option<Instant>,
}

impl Pace {
    fn new(rate_max: f64) -> Pace {
        Pace { rate: rate_max, rate_max, next: None, slowed: None }
    }

    fn next_turn(&mut self, now: Instant) -> Duration {
        let turn = self.next.map_or(now, |next| next.max(now));
        self.next = Some(turn + Duration::from_secs_f64(1.0 / self.rate));
        turn - now
    }

    /// Halves the rate, once a second at most: the answers to a burst all say the same.
    fn slow_down(&mut self, now: Instant) {
        let is_news = |at: Instant| now.saturating_duration_since(at) > Duration::from_secs(1);
        if self.slowed.is_none_or(is_news) {
            self.rate = (self.rate / 2.0).max(1.0);
            self.slowed = Some(now);
        }
    }

    fn speed_up(&mut self) {
        self.rate = (self.rate + 0.1).min(self.rate_max);
    }
}

/// The pause before a request is retried: half a second, one, two …, shortened by up to half at
/// random.
pub fn pause_before(tries: u32) -> Duration {
    let full = 0.5 * 2f64.powi(tries.min(4) as i32 - 1);
    Duration::from_secs_f64(full * (0.5 + 0.5 * fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spaced_and_each_endpoint_has_its_own() {
        let pacer = Pacer::new(20.0);
        let now = Instant::now();
        let waits: Vec<_> = (0..41).map(|_| pacer.next_turn("refund", now).as_millis()).collect();
        assert_eq!((waits[0], waits[1], waits[40]), (0, 50, 2000));
        assert_eq!(pacer.next_turn("charge", now), Duration::ZERO);
        // A turn that nobody took is not saved up.
        let later = now + Duration::from_secs(60);
        assert_eq!(pacer.next_turn("refund", later), Duration::ZERO);
        assert_eq!(pacer.next_turn("refund", later).as_millis(), 50);
    }

    #[test]
    fn a_burst_of_429_halves_the_rate_once_and_good_answers_restore_it() {
        let pacer = Pacer::new(20.0);
        let now = Instant::now();
        let rate = || pacer.with("refund", |pace| pace.rate);
        (0..10).for_each(|_| pacer.slow_down("refund", now));
        assert_eq!(rate(), 10.0);
        pacer.slow_down("refund", now + Duration::from_secs(1));
        assert_eq!(rate(), 10.0, "within a second it is the same burst");
        pacer.slow_down("refund", now + Duration::from_secs(2));
        assert_eq!(rate(), 5.0);
        (20..60).for_each(|s| pacer.slow_down("refund", now + Duration::from_secs(2 * s)));
        assert_eq!(rate(), 1.0);
        (0..400).for_each(|_| pacer.speed_up("refund"));
        assert_eq!(rate(), 20.0);
    }

    #[test]
    fn a_retry_pauses_longer_each_time_up_to_four_seconds() {
        for (tries, full) in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (40, 4.0)] {
            let pause = pause_before(tries).as_secs_f64();
            assert!((full / 2.0..=full).contains(&pause), "{tries}: {pause}");
        }
    }
}
