//! The queue engine: claims what is due, hands each job to a thread, writes what it came to, stops
//! in time. A store and a runner define the jobs: events (`worker.rs`), hooks (`hooks.rs`).
//!
//! ```text
//!  Store::claim                 Runner::run               Store::finish
//!  the attempt is counted  ──►  the network, a      ──►   done, given up,
//!  and committed                process; no lock          or due again later
//! ```
//!
//! What happens when the process dies: the attempt is on disk and nothing says how it ended, so the
//! next start, or the end of the lease, makes the job due again.
//!
//! One thread looks for due jobs. Whoever adds one wakes it, and so does a thread that becomes
//! free; it sees every commit to the file, whoever made it; and it looks by a timer, which is the
//! guarantee. Threads that run jobs are started when they are needed and end when they have been
//! idle for a while, so that each job in progress has a thread of its own and an idle shop has
//! none.

pub mod retry;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::db::Reader;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Builder, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// A claimed job comes back after this long when what it came to could not be written; longer than
/// any run may take (`stripe.rs` and `hooks/` bound it).
pub const LEASE: Duration = Duration::from_secs(600);

/// Between two looks whether anything was committed.
const COMMITTED_EVERY: Duration = Duration::from_millis(500);

/// The next look after one that failed.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// A thread that had nothing to do for this long ends.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Enough for TLS; only what is used of it is memory.
const STACK: usize = 512 << 10;

/// Tries to write what a job came to while somebody else holds the lock, before the lease is left
/// to bring it back; and the pause between two, because the writer does not keep a caller long once
/// the file has been locked for a while.
const WRITE_TRIES: u32 = 60;
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Where the jobs of one kind are kept.
pub trait Store: Send + Sync + 'static {
    type Job: Send + Sync + 'static;
    /// What a try of a job came to.
    type Outcome;

    /// Claims what is due and may be run beside what is in progress. Each claim and its attempt are
    /// committed before this returns.
    fn claim(&self, in_progress: &[Arc<Self::Job>]) -> Result<Found<Self::Job>>;

    /// Writes what a try came to. What cannot be written is left to the lease.
    fn finish(&self, job: &Self::Job, outcome: Self::Outcome);
}

/// Does the jobs of one kind.
pub trait Runner: Store {
    /// The name of the thread that looks, and of those that run.
    const LOOKS: &'static str;
    const RUNS: &'static str;

    /// One try, outside any transaction. It takes less than [`LEASE`].
    fn run(&self, job: &Self::Job) -> Self::Outcome;

    /// What a try that panicked came to.
    fn panicked(&self) -> Self::Outcome;
}

/// What a look found.
pub struct Found<J> {
    /// Claimed; each is run at once.
    pub jobs: Vec<J>,
    /// Look again after this long, though nothing is added or finished.
    pub again: Duration,
    /// No thread may start another job: what is added need not wake the queue; the next job that
    /// ends does.
    pub full: bool,
}

/// Wakes a queue and stops it; for whoever adds jobs.
#[derive(Default)]
pub struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
    stopping: AtomicBool,
    full: AtomicBool,
}

impl Signal {
    /// Has the queue look now; cheap, and never blocks.
    pub fn wake(&self) {
        *lock(&self.woken) = true;
        self.changed.notify_one();
    }

    /// A job was added: wakes the queue, unless it is full.
    pub fn job_came(&self) {
        if !self.full.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// No more jobs are claimed; those in progress are to end soon. Returns at once.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// True once no further job is taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns when woken, which is true, or after the time-out.
    fn wait(&self, timeout: Duration) -> bool {
        let woken = lock(&self.woken);
        let (mut woken, _) = self
            .changed
            .wait_timeout_while(woken, timeout, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }

    /// Writes what a job came to, again and again while somebody else holds the lock. Gives up when
    /// stopping, or after a minute, with the last error.
    pub fn write_patiently<T>(&self, mut write: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 1..WRITE_TRIES {
            match write() {
                Err(Error::Temporary(why) | Error::Full(why)) if !self.is_stopping() => {
                    log::debug!("writing again what was done: {why}");
                    thread::sleep(WRITE_PAUSE);
                }
                written => return written,
            }
        }
        write()
    }
}

/// A running queue.
pub struct Queue<R: Runner> {
    shared: Arc<Shared<R>>,
    looks: JoinHandle<()>,
}

/// What its threads share.
struct Shared<R: Runner> {
    runner: R,
    /// Says whether anybody has committed.
    reader: Reader,
    signal: Arc<Signal>,
    pool: Mutex<Pool<R::Job>>,
    /// A job was handed out, or it is time to stop.
    handed: Condvar,
    /// A thread has ended by a panic.
    died: AtomicBool,
}

struct Pool<J> {
    /// Claimed and not finished.
    in_progress: Vec<Arc<J>>,
    /// Those of them that no thread has taken yet.
    waiting: VecDeque<Arc<J>>,
    threads: usize,
    /// Threads that have nothing to do, or were just started.
    idle: usize,
}

impl<R: Runner> Queue<R> {
    /// Starts the thread that looks; the others start with the first jobs.
    pub fn start(runner: R, reader: Reader, signal: Arc<Signal>) -> Queue<R> {
        let pool = Pool { in_progress: Vec::new(), waiting: VecDeque::new(), threads: 0, idle: 0 };
        let shared = Arc::new(Shared {
            runner,
            reader,
            signal,
            pool: Mutex::new(pool),
            handed: Condvar::new(),
            died: AtomicBool::new(false),
        });
        let looking = shared.clone();
        let looks = named(R::LOOKS)
            .spawn(move || looking.look_until_stopped())
            .expect("a thread can be started at start-up");
        Queue { shared, looks }
    }

    /// What does the work.
    pub fn runner(&self) -> &R {
        &self.shared.runner
    }

    /// True when a thread has ended although nobody stopped it.
    pub fn is_dead(&self) -> bool {
        !self.shared.signal.is_stopping()
            && (self.shared.died.load(Ordering::SeqCst) || self.looks.is_finished())
    }

    /// Claims no more and waits until what is in progress is written. False when something was not
    /// by the deadline; it is due again at the next start.
    pub fn stop(self, deadline: Instant) -> bool {
        self.shared.signal.stop();
        // Between its look whether to stop and its waiting a thread holds the pool.
        drop(lock(&self.shared.pool));
        self.shared.handed.notify_all();
        while !self.looks.is_finished() || lock(&self.shared.pool).threads > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

fn named(name: &str) -> Builder {
    Builder::new().name(name.into()).stack_size(STACK)
}

impl<R: Runner> Shared<R> {
    fn look_until_stopped(self: &Arc<Self>) {
        let (mut woken, mut seen, mut look_at) = (true, None, Instant::now());
        while !self.signal.is_stopping() {
            sabotage::panic_in(R::LOOKS);
            // It changes whenever another connection commits, the writer's or a shell's.
            let version = self.reader.version().ok();
            if woken || version != seen || Instant::now() >= look_at {
                seen = version;
                look_at = Instant::now() + self.look();
            }
            let pause = look_at.saturating_duration_since(Instant::now()).min(COMMITTED_EVERY);
            woken = self.signal.wait(pause);
        }
    }

    /// One look; returns when the next one is to be at the latest.
    fn look(self: &Arc<Self>) -> Duration {
        let in_progress = lock(&self.pool).in_progress.clone();
        let found = self.runner.claim(&in_progress);
        let full = found.as_ref().is_ok_and(|found| found.full);
        let was_full = self.signal.full.swap(full, Ordering::SeqCst);
        if was_full && !full && !sabotage::is("no_look_after_full") {
            // What came during this look was not seen here, and did not wake a full queue.
            self.signal.wake();
        }
        let (jobs, mut again) = match found {
            Ok(found) => (found.jobs, found.again),
            Err(error) => {
                let level =
                    if error.is_temporary() { log::Level::Debug } else { log::Level::Error };
                log::log!(level, "cannot look for due {}: {error}", R::LOOKS);
                (Vec::new(), AFTER_ERROR)
            }
        };
        let mut pool = lock(&self.pool);
        for job in jobs.into_iter().map(Arc::new) {
            pool.in_progress.push(job.clone());
            pool.waiting.push_back(job);
        }
        // As many threads as jobs, so that one that hangs delays no other.
        while pool.idle < pool.waiting.len() {
            let working = self.clone();
            if let Err(error) = named(R::RUNS).spawn(move || working.work_until_idle()) {
                log::warn!("a job waits, because its thread cannot be started: {error}");
                again = again.min(AFTER_ERROR);
                break;
            }
            pool.threads += 1;
            pool.idle += 1;
        }
        self.handed.notify_all();
        again
    }

    fn work_until_idle(&self) {
        let _counted = Counted(self);
        let mut pool = lock(&self.pool);
        loop {
            if let Some(job) = pool.waiting.pop_front() {
                pool.idle -= 1;
                drop(pool);
                sabotage::panic_in(R::RUNS);
                let run = catch_unwind(AssertUnwindSafe(|| self.runner.run(&job)));
                self.runner.finish(&job, run.unwrap_or_else(|_| self.runner.panicked()));
                pool = lock(&self.pool);
                pool.in_progress.retain(|other| !Arc::ptr_eq(other, &job));
                pool.idle += 1;
                if !sabotage::is("no_wake_when_free") {
                    self.signal.wake();
                }
                continue;
            }
            if self.signal.is_stopping() {
                break;
            }
            let waited = self.handed.wait_timeout(pool, IDLE_MAX);
            let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            pool = waited;
            if timeout.timed_out() && pool.waiting.is_empty() {
                break;
            }
        }
        pool.idle -= 1;
    }
}

/// Takes a thread out of the count when it ends, by a panic too.
struct Counted<'a, R: Runner>(&'a Shared<R>);

impl<R: Runner> Drop for Counted<'_, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.died.store(true, Ordering::SeqCst);
        }
        lock(&self.0.pool).threads -= 1;
    }
}

#[cfg(test)]
mod tests;
