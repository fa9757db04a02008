//! Counts of what was answered and delivered, for tests that ask how hard Stripe was asked.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::locks::lock;

#[derive(Default)]
pub struct Stats(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<&'static str, BTreeMap<u16, u64>>,
    deliveries: BTreeMap<u16, u64>,
}

impl Stats {
    /// The API answered; 0 is no answer.
    pub fn answered(&self, endpoint: &'static str, status: u16) {
        *lock(&self.0).requests.entry(endpoint).or_default().entry(status).or_default() += 1;
    }

    /// The webhook answered; 0 is no answer.
    pub fn delivered(&self, status: u16) {
        *lock(&self.0).deliveries.entry(status).or_default() += 1;
    }

    pub fn json(&self) -> Value {
        let counts = lock(&self.0);
        json!({"requests": counts.requests, "deliveries": counts.deliveries})
    }

    pub fn zero(&self) {
        *lock(&self.0) = Counts::default();
    }
}
