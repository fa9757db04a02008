//! Group commit, locks of others, and a file that is replaced.

use super::*;
use crate::db;
use crate::place::Identity;
use std::sync::mpsc::{Sender, channel};

fn start() -> (tempfile::TempDir, Writer, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.db");
    let connection = db::create(&path, false).unwrap();
    connection.execute_batch("CREATE TABLE t(a INTEGER UNIQUE)").unwrap();
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

#[test]
fn a_start_waits_for_somebody_elses_write_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.db");
    let connection = db::create(&path, false).unwrap();
    connection.execute_batch("CREATE TABLE t(a INTEGER UNIQUE)").unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let checkpointer = Checkpointer::of(Identity::of(&path).unwrap(), None);
    let first = Box::new(|c: &Connection| insert(1)(c).map(drop));
    let (writer, thread) = Writer::start(connection, checkpointer, first);
    let began = Instant::now();
    let starting = |is: &dyn Fn(&Option<String>) -> bool| {
        while !is(&writer.state().starting) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", writer.state());
            std::thread::sleep(LOCK_POLL);
        }
    };
    starting(&|why| why.as_ref().is_some_and(|why| why.contains("locked")));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(writer.write(insert(2)), Ok(2));
    assert_eq!(writer.write(count), Ok(2), "what comes first was committed");
    starting(&Option::is_none);
    writer.close();
    thread.join().unwrap();
}

#[test]
fn each_commit_and_each_job_is_counted() {
    let (_dir, writer, thread) = start();
    for n in 1..=3 {
        assert_eq!(writer.write(insert(n)), Ok(n));
        let State { commits, jobs, .. } = writer.state();
        assert_eq!((commits, jobs), (n as u64, n as u64));
    }
    writer.close();
    thread.join().unwrap();
}

/// What they write has to fit into the log.
#[test]
fn a_transaction_takes_so_many_callers_and_so_many_bytes_and_one_of_any_size() {
    let taken = |all: &[usize]| {
        let job = |bytes: &usize| Job {
            asked_at: Instant::now(),
            bytes: *bytes,
            together: true,
            task: Box::new(Insert(0, channel().0, None)),
        };
        let mut queue = Queue { jobs: all.iter().map(job).collect(), ..Queue::default() };
        let mut each = Vec::new();
        while !queue.jobs.is_empty() {
            let mut batch = Vec::new();
            queue.take(&mut batch);
            each.push(batch.len());
        }
        each
    };
    assert_eq!(taken(&[0; 2 * BATCH_MAX + 1]), [BATCH_MAX, BATCH_MAX, 1]);
    let half = BATCH_BYTES / 2;
    assert_eq!(taken(&[half, half, 1, half, half]), [2, 2, 1]);
    assert_eq!(taken(&[1, 2 * BATCH_BYTES, 1]), [1, 1, 1]);
    // Those who come while the batch waits for the lock join it as far as there is room.
    let mut queue = Queue::default();
    let (mut batch, task) = (Vec::new(), || Box::new(Insert(0, channel().0, None)));
    for bytes in [half, half + 1] {
        let asked_at = Instant::now();
        queue.jobs.push_back(Job { asked_at, bytes, together: true, task: task() });
        queue.take(&mut batch);
    }
    assert_eq!((batch.len(), queue.jobs.len()), (1, 1));
}

/// Inserts a number, and remembers what those before it had noted.
struct Insert(i64, Sender<(i64, Option<i64>, Result<()>)>, Option<i64>);

impl Task for Insert {
    fn run(&mut self, c: &Connection, note: &mut Option<Note>) -> Result<()> {
        self.2 = note.map(|note| note.seq);
        note.get_or_insert(Note { seq: self.0, anyone_forgotten: false });
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
        answers.into_iter().map(|(n, note, outcome)| (n, note, outcome.is_ok())).collect::<Vec<_>>()
    };
    let together = batch(&[1, 2, 3]);
    assert_eq!(together, [(1, None, true), (2, Some(1), true), (3, Some(1), true)]);
    // 5 is there already, and 7 panics: both get their error, and cost the others nothing.
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
    assert!(began.elapsed() >= LOCK_BUDGET);
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
