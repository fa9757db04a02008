//! Counts of what was answered and delivered, for tests of how many requests Stripe gets.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::sync::lock;

/// The counts, shared by all threads.
#[derive(Default)]
pub struct Stats(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<&'static str, BTreeMap<u16, u64>>,
    deliveries: BTreeMap<u16, u64>,
}

impl Stats {
    /// The API answered; 0 is no answer.
    pub fn answered(&self, route: &'static str, status: u16) {
        *lock(&self.0).requests.entry(route).or_default().entry(status).or_default() += 1;
    }

    /// The webhook answered; 0 is no answer.
    pub fn delivered(&self, status: u16) {
        *lock(&self.0).deliveries.entry(status).or_default() += 1;
    }

    /// All counts, as `GET /_sandbox/stats` shows them.
    pub fn json(&self) -> Value {
        lock(&self.0).json()
    }

    /// Begins anew, and says what it was until now.
    pub fn zero(&self) -> Value {
        std::mem::take(&mut *lock(&self.0)).json()
    }
}

impl Counts {
    fn json(&self) -> Value {
        json!({"requests": self.requests, "deliveries": self.deliveries})
    }
}
