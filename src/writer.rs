//! Group commit: many callers, one transaction; nobody is answered before COMMIT.
//!
//! One thread owns the write connection. A caller hands it a task (`writer/task.rs`); the thread
//! runs what is waiting in one transaction (`writer/batch.rs`), commits once, and then tells every
//! caller. It never touches a socket or Stripe.

mod batch;
mod task;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::checkpoint::{Checkpointer, Condition, PAGES, QUIET};
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};
use batch::answer_all;
use task::{Call, Seat};

pub use task::{GroupNote, Task};

/// Callers in one transaction, at most: bounds what the last of them waits for.
const BATCH_MAX: usize = 256;

/// And so many bytes of theirs, unless one alone brings more: what they write has to fit into the
/// log.
const BATCH_BYTES: usize = PAGES as usize * 4096;

/// After this long of back-to-back transactions the writer pauses, so that a shell's edit gets its
/// turn.
const YIELD_EVERY: Duration = Duration::from_millis(100);
const YIELD_FOR: Duration = Duration::from_millis(2);

/// Between two tries to begin while somebody else is writing.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// How long a start waits for whoever reads just then.
const SETTLE_WITHIN: Duration = Duration::from_millis(500);

/// Between two tries to make the file ready at a start.
const START_POLL: Duration = Duration::from_millis(20);

/// How long a caller waits for somebody else's write before it is told that the file is locked.
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
    /// Starts the thread on a connection that it owns from now on, and its log with it. Jobs are
    /// taken once the log of before is in the file and `first` is committed; until then
    /// [`State::starting`] says what that waits for. It ends when [`Writer::close`] is called and
    /// the queue is empty, or when the disk or the file can no longer be trusted.
    pub fn start(
        connection: Connection,
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
        let seat = Seat::of_this_thread();
        let call = Box::new(Call::new(job, seat.clone()));
        self.enqueue(Job { asked_at: Instant::now(), bytes: 0, together: false, task: call });
        seat.wait()
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

impl Shared {
    fn run(&self, connection: Connection, mut checkpointer: Checkpointer, first: First) {
        // The writer waits for a lock by itself: it goes on taking callers, and each has its own
        // budget.
        let _ = connection.busy_timeout(Duration::ZERO);
        let served =
            self.make_ready(&connection, &mut checkpointer, first).and_then(|ready| match ready {
                true => self.serve(&connection, &mut checkpointer),
                false => {
                    answer_all(
                        self.all_waiting(),
                        &Error::Temporary("fulfilld is stopping".into()),
                    );
                    Ok(())
                }
            });
        let ended = served.and_then(|()| {
            let _ = connection.execute_batch("PRAGMA optimize");
            checkpointer.finish(&connection)
        });
        if let Err(error) = ended {
            self.abandon(&error);
        }
    }

    /// What has to be so before the first job: the file is whole, its log of before is in it, and
    /// `first` is committed. Waits for whoever keeps it from that, and tells callers so. False when
    /// it was closed before.
    fn make_ready(
        &self,
        connection: &Connection,
        checkpointer: &mut Checkpointer,
        mut first: First,
    ) -> Result<bool> {
        checkpointer.verify(connection)?;
        let began = Instant::now();
        let mut said = false;
        while !lock(&self.queue).closed {
            let ready = checkpointer.settle(connection, began.elapsed()).and_then(|settled| {
                match settled {
                true => self.commit_first(connection, checkpointer, &mut first),
                false => Err(Error::Temporary(
                    "the file is locked, or read without an end, by somebody else, so that its log \
                     cannot be moved into it (an open BEGIN in a sqlite3 shell? type COMMIT there)"
                        .into(),
                )),
            }
            });
            match ready {
                Ok(()) => {
                    self.settle_first(connection, checkpointer)?;
                    lock(&self.state).starting = None;
                    if said {
                        log::info!("the file is ready");
                    }
                    return Ok(true);
                }
                Err(error) if error.is_temporary() => {
                    self.note(&error);
                    lock(&self.state).starting = Some(error.to_string());
                    if !said && began.elapsed() >= LOCK_BUDGET {
                        log::error!(
                            "webhooks are answered 503 and come again until the file is ready: {error}"
                        );
                        said = true;
                    }
                    let late: VecDeque<Job> = {
                        let mut queue = lock(&self.queue);
                        let (late, still) = queue
                            .jobs
                            .drain(..)
                            .partition(|job| job.asked_at.elapsed() >= LOCK_BUDGET);
                        queue.jobs = still;
                        late
                    };
                    answer_all(late, &error);
                    thread::sleep(START_POLL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What was done to the file without us does not count in its page 1: from here on it does.
    /// Somebody who reads keeps it from that no longer than a moment.
    fn settle_first(&self, connection: &Connection, checkpointer: &mut Checkpointer) -> Result<()> {
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            checkpointer.empty(connection)?;
            if checkpointer.condition().pages == 0 || Instant::now() >= until {
                return Ok(());
            }
            thread::sleep(LOCK_POLL);
        }
    }

    fn commit_first(
        &self,
        connection: &Connection,
        checkpointer: &mut Checkpointer,
        first: &mut First,
    ) -> Result<()> {
        let committed = batch::execute(connection, "BEGIN IMMEDIATE").and_then(|()| {
            first(connection)?;
            checkpointer.mark(connection)?;
            batch::execute(connection, "COMMIT")
        });
        if committed.is_err() {
            checkpointer.rolled_back();
            if !connection.is_autocommit() {
                batch::execute(connection, "ROLLBACK")?;
            }
        }
        committed.and_then(|()| checkpointer.committed())
    }

    fn serve(&self, connection: &Connection, checkpointer: &mut Checkpointer) -> Result<()> {
        let mut busy_since = Instant::now();
        while let Some(mut batch) = self.next_batch(checkpointer.condition().pages > 0) {
            sabotage::panic_in("writer");
            if batch.is_empty() {
                self.empty_log(connection, checkpointer)?;
                continue;
            }
            // Nothing is written into a log beside a file that is not ours any more.
            if let Err(error) =
                self.begin(connection, &mut batch).and_then(|()| checkpointer.check())
            {
                let fatal = self.note(&error);
                answer_all(batch, &error);
                if fatal {
                    return Err(error);
                }
                continue;
            }
            self.commit(connection, checkpointer, batch)?;
            if checkpointer.is_due() {
                self.empty_log(connection, checkpointer)?;
            }
            if lock(&self.queue).jobs.is_empty() {
                busy_since = Instant::now();
            } else if busy_since.elapsed() > YIELD_EVERY {
                thread::sleep(YIELD_FOR);
                busy_since = Instant::now();
            }
        }
        Ok(())
    }

    fn empty_log(&self, connection: &Connection, checkpointer: &mut Checkpointer) -> Result<()> {
        checkpointer.empty(connection)?;
        lock(&self.state).log = checkpointer.condition().clone();
        Ok(())
    }

    /// Blocks until somebody wants something; an empty batch when there is a log and nobody did for
    /// a while; `None` once closed and empty.
    fn next_batch(&self, log: bool) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        while queue.jobs.is_empty() {
            if queue.closed {
                return None;
            }
            queue.asleep = true;
            if !log {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, quiet) =
                self.arrived.wait_timeout(queue, QUIET).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if quiet.timed_out() && queue.jobs.is_empty() && !queue.closed {
                queue.asleep = false;
                return Some(Vec::new());
            }
        }
        let mut batch = Vec::new();
        queue.take(&mut batch);
        Some(batch)
    }

    /// Keeps why a transaction failed; true when the process must end.
    fn note(&self, error: &Error) -> bool {
        let mut state = lock(&self.state);
        if matches!(error, Error::Full(_)) {
            state.full_since.get_or_insert_with(Instant::now);
        }
        matches!(error, Error::Corrupt(_) | Error::Config(_))
    }

    /// The last act: no further job is taken, those waiting are told, and the reason is left for
    /// `serve.rs`.
    fn abandon(&self, error: &Error) {
        log::error!("the writer stops: {error}");
        lock(&self.queue).closed = true;
        lock(&self.state).failed = Some(error.clone());
        answer_all(self.all_waiting(), error);
    }

    fn all_waiting(&self) -> VecDeque<Job> {
        std::mem::take(&mut lock(&self.queue).jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db;
    use crate::place::Identity;
    use std::sync::mpsc::{Sender, channel};

    fn start() -> (tempfile::TempDir, Writer, JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER UNIQUE)")
            .unwrap();
        let checkpointer = Checkpointer::of(Identity::of(&path).unwrap(), None);
        let (writer, thread) = Writer::start(connection, checkpointer, Box::new(|_| Ok(())));
        (dir, writer, thread)
    }

    fn insert(a: i64) -> impl FnOnce(&Connection) -> Result<i64> + Send {
        move |c| c.execute("INSERT INTO t VALUES (?1)", [a]).map(|_| a).map_err(db::translate)
    }

    #[test]
    fn many_callers_share_commits_and_a_failing_one_undoes_only_its_own() {
        let (dir, writer, thread) = start();
        let callers: Vec<_> = (0..200)
            .map(|i| {
                let writer = writer.clone();
                std::thread::spawn(move || writer.write(insert(i % 100)))
            })
            .collect();
        let answers: Vec<_> = callers.into_iter().map(|c| c.join().unwrap()).collect();
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 100);
        let panicked: Result<()> = writer.write(|_| panic!("on purpose"));
        assert!(matches!(panicked, Err(Error::Permanent(_))));
        assert_eq!(writer.write(insert(1000)), Ok(1000));
        writer.close();
        thread.join().unwrap();
        assert!(matches!(writer.write(insert(7)), Err(Error::Temporary(_))));
        let count: i64 = Connection::open(dir.path().join("w.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
            .unwrap();
        assert_eq!(count, 101);
    }

    /// Inserts a number, and remembers what those before it had noted.
    struct Insert(i64, Sender<(i64, GroupNote, Result<()>)>, GroupNote);

    impl Task for Insert {
        fn run(&mut self, c: &Connection, note: &mut GroupNote) -> Result<()> {
            self.2 = *note;
            note.get_or_insert(self.0);
            assert!(self.0 != 7, "on purpose");
            insert(self.0)(c).map(drop)
        }
        fn answer(self: Box<Self>, outcome: Result<()>) {
            let _ = self.1.send((self.0, self.2, outcome));
        }
    }

    #[test]
    fn handed_over_tasks_are_run_together_until_one_of_them_fails() {
        let (_dir, writer, thread) = start();
        assert_eq!(writer.write(insert(5)), Ok(5));
        let (tell, told) = channel();
        let batch = |numbers: &[i64]| {
            // While this one runs, the others gather.
            let (go, wait) = channel::<()>();
            let holding = writer.clone();
            let held = std::thread::spawn(move || holding.write(move |_| Ok(wait.recv().is_ok())));
            while lock(&writer.shared.state).busy_since.is_none() {
                std::thread::yield_now();
            }
            for n in numbers {
                writer.hand_over(0, Box::new(Insert(*n, tell.clone(), None)));
            }
            go.send(()).unwrap();
            held.join().unwrap().unwrap();
            let mut answers: Vec<_> = numbers.iter().map(|_| told.recv().unwrap()).collect();
            answers.sort_by_key(|(n, ..)| *n);
            answers
                .into_iter()
                .map(|(n, note, outcome)| (n, note, outcome.is_ok()))
                .collect::<Vec<_>>()
        };
        let together = batch(&[1, 2, 3]);
        assert_eq!(together, [(1, None, true), (2, Some(1), true), (3, Some(1), true)]);
        // 5 is there already, and 7 panics: both are told so, and cost the others nothing.
        let each = batch(&[4, 5, 6, 7]);
        assert_eq!(each, [(4, None, true), (5, None, false), (6, None, true), (7, None, false)]);
        assert_eq!(writer.write(count), Ok(6));
        writer.close();
        thread.join().unwrap();
        writer.hand_over(0, Box::new(Insert(8, tell.clone(), None)));
        assert!(matches!(told.recv().unwrap().2, Err(Error::Temporary(_))), "it is closed");
    }

    fn count(c: &Connection) -> Result<i64> {
        c.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).map_err(db::translate)
    }

    #[test]
    fn somebody_elses_lock_costs_two_seconds_and_is_named() {
        let (dir, writer, _thread) = start();
        assert_eq!(writer.write(insert(0)), Ok(0));
        let other = Connection::open(dir.path().join("w.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let began = Instant::now();
        let answer = writer.write(insert(1));
        assert!(matches!(&answer, Err(Error::Temporary(m)) if m.contains("locked")), "{answer:?}");
        assert!(began.elapsed() >= LOCK_BUDGET && began.elapsed() < PATIENCE);
        assert!(writer.state().locked_since.is_some());
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(writer.write(insert(1)), Ok(1));
        assert!(writer.state().locked_since.is_none());
    }

    #[test]
    fn a_file_replaced_under_the_writer_is_never_acknowledged() {
        let (dir, writer, thread) = start();
        std::fs::remove_file(dir.path().join("w.db")).unwrap();
        assert!(matches!(writer.write(insert(1)), Err(Error::Corrupt(_))));
        thread.join().unwrap();
        assert!(writer.state().failed.is_some());
    }
}
