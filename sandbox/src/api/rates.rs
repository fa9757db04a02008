//! Stripe's rate limit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use crate::sync::lock;

/// The limit of each route: a bucket that holds the requests of one second.
pub struct Rates {
    per_s: f64,
    buckets: Mutex<HashMap<&'static str, (f64, Instant)>>,
}

impl Rates {
    /// 0 means no limit.
    pub fn new(per_s: u32) -> Rates {
        Rates { per_s: per_s.into(), buckets: Mutex::default() }
    }

    /// True when one more request to this route is permitted now.
    pub fn admit(&self, route: &'static str, now: Instant) -> bool {
        let mut buckets = lock(&self.buckets);
        let (left, since) = buckets.entry(route).or_insert((self.per_s, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * self.per_s).min(self.per_s);
        *since = now;
        let admitted = *left >= 1.0 || self.per_s == 0.0;
        if admitted {
            *left -= 1.0;
        }
        admitted
    }
}
