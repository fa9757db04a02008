//! Locks and threads of what `proofs/` runs in every order of its threads, which puts its own in
//! their place; and a lock that a panic elsewhere does not poison: one bad event must not stop the
//! desk.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic};
pub use std::thread;

/// Locks, whether or not a holder panicked before. For values that are whole between any two
/// statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
