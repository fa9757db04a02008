//! The engine with jobs that a test makes up.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A job's name says what becomes of it.
#[derive(Default)]
struct Made {
    due: Mutex<Vec<&'static str>>,
    finished: Mutex<Vec<String>>,
    /// Most jobs in progress at one look.
    most: Mutex<usize>,
    hangs: AtomicBool,
    cannot_look: AtomicBool,
}

#[derive(Clone)]
struct Kind {
    made: Arc<Made>,
    tell: Sender<()>,
}

impl Store for Kind {
    type Job = &'static str;
    type Outcome = &'static str;

    fn claim(&self, in_progress: &[Arc<&'static str>]) -> Result<Found<&'static str>> {
        if self.made.cannot_look.load(Ordering::SeqCst) {
            return Err(Error::Temporary("locked".into()));
        }
        let mut most = lock(&self.made.most);
        *most = in_progress.len().max(*most);
        let jobs = std::mem::take(&mut *lock(&self.made.due));
        Ok(Found { jobs, again: Duration::from_secs(3600), full: false })
    }

    fn finish(&self, job: &&'static str, outcome: &'static str) {
        lock(&self.made.finished).push(format!("{job} {outcome}"));
        let _ = self.tell.send(());
    }
}

impl Runner for Kind {
    const LOOKS: &'static str = "test-looks";
    const RUNS: &'static str = "test-runs";

    fn run(&self, job: &&'static str) -> &'static str {
        match *job {
            "panics" => panic!("it was told to"),
            "hangs" => {
                while self.made.hangs.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                "done"
            }
            _ => "done",
        }
    }

    fn panicked(&self) -> &'static str {
        "panicked"
    }
}

fn start(jobs: &[&'static str]) -> (Queue<Kind>, Arc<Made>, Arc<Signal>, Receiver<()>) {
    let (tell, told) = channel();
    let made = Arc::new(Made {
        due: Mutex::new(jobs.to_vec()),
        hangs: AtomicBool::new(true),
        ..Made::default()
    });
    let signal = Arc::new(Signal::default());
    let reader = Reader::of(Path::new(":memory:"));
    let kind = Kind { made: made.clone(), tell };
    (Queue::start(kind, reader, signal.clone()), made, signal, told)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn finished(made: &Made) -> Vec<String> {
    let mut finished = lock(&made.finished).clone();
    finished.sort();
    finished
}

#[test]
fn a_job_that_hangs_delays_no_other_and_one_that_panics_is_finished_all_the_same() {
    let (queue, made, signal, told) = start(&["hangs", "panics", "a", "b"]);
    (0..3).for_each(|_| told.recv_timeout(Duration::from_secs(60)).unwrap());
    assert_eq!(finished(&made), ["a done", "b done", "panics panicked"]);
    // What is added while one hangs is run, and the look knows what is in progress.
    lock(&made.due).push("c");
    signal.job_came();
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(!queue.is_dead(), "a panic in a job is no death of a thread");
    made.hangs.store(false, Ordering::SeqCst);
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(queue.stop(soon()));
    assert_eq!(finished(&made), ["a done", "b done", "c done", "hangs done", "panics panicked"]);
    assert!(*lock(&made.most) >= 1);
}

#[test]
fn a_stop_waits_for_jobs_in_progress_and_not_beyond_its_deadline() {
    let (queue, made, _, told) = start(&["hangs", "a"]);
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(!queue.stop(Instant::now()), "one still hangs");
    made.hangs.store(false, Ordering::SeqCst);
    told.recv_timeout(Duration::from_secs(60)).unwrap();

    let (queue, made, signal, _) = start(&["a", "b", "c"]);
    signal.stop();
    assert!(queue.stop(soon()));
    let left = lock(&made.due).len();
    assert_eq!(finished(&made).len() + left, 3, "what was claimed was finished");
}

#[test]
fn a_look_that_fails_is_made_again() {
    let (queue, made, signal, told) = start(&[]);
    made.cannot_look.store(true, Ordering::SeqCst);
    lock(&made.due).push("a");
    signal.wake();
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err());
    assert_eq!(lock(&queue.shared.pool).threads, 0, "no job, no thread");
    made.cannot_look.store(false, Ordering::SeqCst);
    told.recv_timeout(Duration::from_secs(60)).expect("nobody woke it");
    assert!(queue.stop(soon()));
}

#[test]
fn what_was_done_is_written_again_while_the_file_is_locked_and_given_up_when_stopping() {
    let signal = Signal::default();
    let mut tries = 0;
    let written = signal.write_patiently(|| {
        tries += 1;
        if tries < 2 { Err(Error::Temporary("locked".into())) } else { Ok(tries) }
    });
    assert_eq!(written, Ok(2));
    let refused: Result<()> = signal.write_patiently(|| Err(Error::Permanent("no".into())));
    assert_eq!(refused, Err(Error::Permanent("no".into())), "at once");
    signal.stop();
    let stopped: Result<()> = signal.write_patiently(|| Err(Error::Temporary("locked".into())));
    assert_eq!(stopped, Err(Error::Temporary("locked".into())));
}
