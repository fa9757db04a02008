//! The queue engine under every order of its threads: each job that is added is run once, though no
//! timer ever fires, no more run at once than there are workers, and it stops.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shuttle::rand::Rng;

use crate::db::Reader;
use crate::error::{Error, Result};
use crate::queue::{Found, Queue, Runner, Signal, Store};
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock, thread};

const JOBS: u64 = 5;
const WORKERS: usize = 2;

/// The table of jobs.
#[derive(Default)]
struct Table {
    waiting: BTreeSet<u64>,
    running: BTreeSet<u64>,
    done: Vec<u64>,
}

#[derive(Clone, Default)]
struct Desk {
    table: Arc<Mutex<Table>>,
    finished: Arc<Condvar>,
    counts_its_own: bool,
}

impl Store for Desk {
    type Job = u64;
    type Outcome = ();

    fn claim(&self, in_progress: &[Arc<u64>]) -> Result<Found<u64>> {
        let mut table = lock(&self.table);
        let free = WORKERS.saturating_sub(in_progress.len());
        let jobs: Vec<u64> = table.waiting.iter().copied().take(free).collect();
        for job in &jobs {
            table.waiting.remove(job);
            assert!(table.running.insert(*job), "job {job} is claimed once");
        }
        // Either way of saying that no hand is free must do: before this look, or after it.
        let full = if self.counts_its_own { free == jobs.len() } else { free == 0 };
        Ok(Found { full, jobs, again: Duration::from_secs(3600) })
    }

    fn finish(&self, job: &u64, (): ()) {
        let mut table = lock(&self.table);
        assert!(table.running.remove(job), "job {job} was running");
        table.done.push(*job);
        self.finished.notify_all();
    }
}

impl Runner for Desk {
    const LOOKS: &'static str = "looks";
    const RUNS: &'static str = "runs";

    fn run(&self, _: &u64) {
        let running = lock(&self.table).running.len();
        assert!(running <= WORKERS, "{running} jobs with {WORKERS} workers");
    }

    fn panicked(&self) {
        unreachable!("no job panics")
    }
}

/// Two add jobs while the queue runs; then it stops, before all is done or after.
pub fn one_day() {
    let counts_its_own = shuttle::rand::thread_rng().gen_range(0..2) == 0;
    let desk = Desk { counts_its_own, ..Desk::default() };
    let signal = Arc::new(Signal::default());
    let queue = Queue::start(desk.clone(), Reader, signal.clone());
    let adds = |from: u64, to: u64| {
        let (desk, signal) = (desk.clone(), signal.clone());
        let add = move || {
            for job in from..to {
                lock(&desk.table).waiting.insert(job);
                signal.job_came();
            }
        };
        thread::Builder::new().name("adds".into()).spawn(add).expect("shuttle starts it")
    };
    let adding = [adds(0, 3), adds(3, JOBS)];
    let early = shuttle::rand::thread_rng().gen_range(0..4) == 0;
    if !early {
        let mut table = lock(&desk.table);
        while table.done.len() < JOBS as usize {
            table = desk.finished.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        drop(table);
    }
    assert!(!queue.is_dead(), "nobody died");
    assert!(queue.stop(Instant::now() + Duration::from_secs(3600)), "it stops");
    adding.into_iter().for_each(|adding| adding.join().expect("no panic"));
    let table = lock(&desk.table);
    assert!(table.running.is_empty(), "what was in progress is written");
    let written = signal.write_patiently(|| Err::<(), _>(Error::Permanent("refused".into())));
    assert!(written.is_err());
    let all: BTreeSet<u64> = table.done.iter().chain(&table.waiting).copied().collect();
    assert_eq!(all.len(), table.done.len() + table.waiting.len(), "no job is run twice");
    assert_eq!(all.len() as u64, JOBS, "no job is lost");
}
