//! The deliveries that wait for their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Between two looks at an empty queue; a delivery that is put into it ends the pause.
const IDLE: Duration = Duration::from_secs(60);

/// What is to be delivered, and when.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    due: BinaryHeap<Reverse<Due>>,
    stopping: bool,
}

/// One delivery of the event at a place in the account; the earliest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When the delivery is due.
    pub at: Instant,
    /// The event's place in the account.
    pub event: usize,
    /// Attempts before this one.
    pub tries: u32,
}

impl Queue {
    /// Delivers an event as soon as may be.
    pub fn push(&self, event: usize) {
        self.put(Due { at: Instant::now(), event, tries: 0 });
    }

    /// True when no delivery waits for an attempt.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.waiting).due.is_empty()
    }

    /// Delivers it when it is due.
    pub fn put(&self, due: Due) {
        lock(&self.waiting).due.push(Reverse(due));
        self.changed.notify_one();
    }

    /// Ends all waiting, for good.
    pub fn stop(&self) {
        lock(&self.waiting).stopping = true;
        self.changed.notify_all();
    }

    /// Waits for the next delivery that is due; `None` after `stop`.
    pub fn next(&self) -> Option<Due> {
        let mut waiting = lock(&self.waiting);
        loop {
            if waiting.stopping {
                return None;
            }
            let pause = match waiting.due.peek() {
                Some(Reverse(due)) => due.at.saturating_duration_since(Instant::now()),
                None => IDLE,
            };
            if pause.is_zero() {
                return waiting.due.pop().map(|Reverse(due)| due);
            }
            waiting =
                self.changed.wait_timeout(waiting, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
