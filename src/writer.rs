//! Group commit: many callers, one transaction; nobody is answered before COMMIT.
//!
//! One thread owns the write connection. A caller hands it a task (`writer/task.rs`); the thread
//! runs what is waiting in one transaction (`writer/batch.rs`), commits once, and then answers
//! every caller. It never touches a socket or Stripe.

mod batch; // one transaction
mod serving; // the thread that owns the connection
mod task; // what callers bring, and what waits for it
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::checkpoint::{Checkpointer, Condition, PAGES};
use crate::db::{self, Lent};
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, lock};
use task::{Call, Seat};

pub use task::{Note, Task};

/// Callers in one transaction, at most: bounds what the last of them waits for.
const BATCH_MAX: usize = 256;

/// And so many bytes of theirs, unless one alone brings more: what they write has to fit into the
/// log.
const BATCH_BYTES: usize = PAGES as usize * 4096;

/// Between two tries to begin while somebody else is writing.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// How long a caller waits for somebody else's write before it gets the error that the file is
/// locked.
pub const LOCK_BUDGET: Duration = Duration::from_secs(2);

/// The same once the file has been locked for that long: callers who would wait in vain are not to
/// use up the front door.
const LOCK_BUDGET_WHEN_LOCKED: Duration = Duration::from_millis(100);

/// How long a caller waits for everything: the queue, the lock, the disk.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The single writer. Clones lead to the same thread.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    state: Mutex<State>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The writer has nothing to do and is to be woken.
    asleep: bool,
    closed: bool,
}

/// How the writer is doing, for `/readyz` and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Since when somebody else has held the write lock while we wanted it.
    pub locked_since: Option<Instant>,
    /// Since when the disk has been full.
    pub full_since: Option<Instant>,
    /// Why the writer stopped for good; the process must end.
    pub failed: Option<Error>,
    /// What the writer waits for before it takes its first job.
    pub starting: Option<String>,
    /// How the write-ahead log is doing.
    pub log: Condition,
    pub commits: u64,
    pub jobs: u64,
    /// Since when the present transaction has been under way; a disk that hangs shows here.
    pub busy_since: Option<Instant>,
}

/// What the writer does before anybody else's work: in one transaction, again until it could be
/// committed.
pub type First = Box<dyn FnMut(&Connection) -> Result<()> + Send>;

/// A task in the queue.
struct Job {
    asked_at: Instant,
    /// About as many as it writes, where that is much.
    bytes: usize,
    /// It may be run again after its work was taken back, so it needs no savepoint of its own.
    together: bool,
    task: Box<dyn Task>,
}

impl Writer {
    /// Starts the thread on a connection that it owns from now on, and lends, and its log with it. Jobs
    /// are taken once the log of before is in the file and `first` is committed; until then
    /// [`State::starting`] says what that waits for. It ends when [`Writer::close`] is called and
    /// the queue is empty, or when the disk or the file can no longer be trusted.
    pub fn start(
        connection: impl Into<Lent>,
        checkpointer: Checkpointer,
        first: First,
    ) -> (Writer, JoinHandle<()>) {
        let state =
            State { starting: Some("the file is being looked at".into()), ..State::default() };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            state: Mutex::new(state),
        });
        let writer = Writer { shared: shared.clone() };
        let connection = connection.into();
        let thread = thread::Builder::new()
            .name("writer".into())
            .spawn(move || shared.run(connection, checkpointer, first))
            .expect("a thread can be started at start-up");
        (writer, thread)
    }

    /// Runs the job in a transaction and returns what it returned, after COMMIT. An error of the
    /// job undoes only its own work. `Temporary` when the file was locked or the disk full, or
    /// nothing came back in time (then the job may still be committed later: jobs must bear being
    /// repeated). `Corrupt` when the process must end.
    pub fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.seated(job).wait()
    }

    /// The same for a caller that has to know whether its work was committed, and for whom nobody
    /// waits: it gets its answer however long the disk takes.
    pub fn write_and_know<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.seated(job).wait_on()
    }

    fn seated<T, F>(&self, job: F) -> Arc<Seat<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        debug_assert!(!db::is_borrowed_here(), "a look ends before anything is written");
        let seat = Seat::of_this_thread();
        let call = Box::new(Call::new(job, seat.clone()));
        self.enqueue(Job { asked_at: Instant::now(), bytes: 0, together: false, task: call });
        seat
    }

    /// Hands over a task that writes about so many bytes, and returns at once; the task is answered
    /// on the writer's thread, which must not be kept: not by a socket, and not by a lock that is
    /// held for long. Such tasks are run together; when one of them fails, their work is
    /// taken back and they are run one by one, so a task must bear being run twice.
    pub fn hand_over(&self, bytes: usize, task: Box<dyn Task>) {
        self.enqueue(Job { asked_at: Instant::now(), bytes, together: true, task });
    }

    fn enqueue(&self, job: Job) {
        let asleep = {
            let mut queue = lock(&self.shared.queue);
            if queue.closed {
                drop(queue);
                return job.task.answer(Err(Error::Temporary("fulfilld is stopping".into())));
            }
            queue.jobs.push_back(job);
            std::mem::take(&mut queue.asleep)
        };
        if asleep && !sabotage::is("writer_not_woken") {
            self.shared.arrived.notify_one();
        }
    }

    /// How it is doing now.
    pub fn state(&self) -> State {
        lock(&self.shared.state).clone()
    }

    /// Takes no more jobs; those already waiting are still done.
    pub fn close(&self) {
        lock(&self.shared.queue).closed = true;
        self.shared.arrived.notify_all();
    }
}

impl Queue {
    /// The next of those who wait, beside the jobs that are in the batch already.
    fn take(&mut self, batch: &mut Vec<Job>) {
        let mut bytes: usize = batch.iter().map(|job| job.bytes).sum();
        while batch.len() < BATCH_MAX
            && let Some(next) = self.jobs.front()
            && (batch.is_empty() || bytes + next.bytes <= BATCH_BYTES)
        {
            bytes += next.bytes;
            batch.extend(self.jobs.pop_front());
        }
    }
}
