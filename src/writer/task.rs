//! What callers hand to the writer: a task that is answered later, or a call that is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::PATIENCE;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Mutex, lock};

/// A caller's piece of work.
pub trait Task: Send {
    /// Does it, inside a transaction. `note` is empty for the first of a group that is run together;
    /// what one leaves there those after it find.
    fn run(&mut self, connection: &Connection, note: &mut Option<Note>) -> Result<()>;

    /// Told once, after the transaction has ended: `Ok` when the work is on the disk.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

/// What a group of events shares, because it is stored in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Their number in the file's sequence.
    pub seq: i64,
    /// Whether anybody is forgotten, so that each event may be about them.
    pub anyone_forgotten: bool,
}

/// A job whose caller waits for it.
pub struct Call<F, T> {
    job: Option<F>,
    value: Option<T>,
    seat: Arc<Seat<T>>,
}

impl<F, T> Call<F, T> {
    /// `job` runs in a transaction of the writer; `seat` gets its value.
    pub fn new(job: F, seat: Arc<Seat<T>>) -> Call<F, T> {
        Call { job: Some(job), value: None, seat }
    }
}

impl<T, F> Task for Call<F, T>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, connection: &Connection, _: &mut Option<Note>) -> Result<()> {
        let job = self.job.take().expect("a job runs once");
        self.value = Some(job(connection)?);
        Ok(())
    }

    /// A caller that has stopped waiting was answered "not stored"; repeating is harmless.
    fn answer(self: Box<Self>, outcome: Result<()>) {
        let value = self.value;
        let result = outcome.map(|()| value.expect("a job that succeeded left its value"));
        *lock(&self.seat.result) = Some(result);
        self.seat.caller.unpark();
    }
}

/// Where a caller waits. It is woken once, when the result lies ready.
pub struct Seat<T> {
    result: Mutex<Option<Result<T>>>,
    caller: Thread,
}

impl<T> Seat<T> {
    /// A thread waits for one job at a time, so it has one seat.
    pub fn of_this_thread() -> Arc<Seat<T>> {
        Arc::new(Seat { result: Mutex::default(), caller: thread::current() })
    }

    /// Waits for the value. `Temporary` when the disk does not answer in time.
    pub fn wait(&self) -> Result<T> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(result) = lock(&self.result).take() {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(no_answer());
            }
            thread::park_timeout(left);
        }
    }

    /// The same however long the disk takes.
    pub fn wait_on(&self) -> Result<T> {
        loop {
            if let Some(result) = lock(&self.result).take() {
                return result;
            }
            thread::park_timeout(PATIENCE);
        }
    }
}

/// How long a caller waits; every second one not at all where a disk that stalls is played.
fn patience() -> Duration {
    static CALLERS: AtomicUsize = AtomicUsize::new(0);
    let stalls =
        sabotage::is("no_patience") && CALLERS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    if stalls { Duration::ZERO } else { PATIENCE }
}

/// What is said to a caller whose patience has ended.
pub fn no_answer() -> Error {
    Error::Temporary("the disk did not answer within 5 s".into())
}
