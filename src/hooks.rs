//! Runs the outbox: notifies each hook of its topics, decides whether to try again or to give
//! up.
//!
//! `queue.rs` finds what is due and has the threads. Each hook has a few runs of its own, so that
//! one that hangs delays only itself. Every attempt is committed before it is made, so that a death
//! of the process at any moment leads to another run with the same key; at least once is the
//! promise, and the key is for the receiver. Nothing here touches a process or the network inside a
//! transaction.

pub mod command;
pub mod payload;
pub mod post;
pub mod runs;
pub mod sample;
pub mod trial;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::alarms::{self, Alarm};
use crate::clock;
use crate::config::hooks::{Kind, Plan, Target};
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::inbox;
use crate::metrics::Metrics;
use crate::queue::{Found, Queue, Runner, Signal, Store};
use crate::sync::lock;
use crate::text;
use crate::writer::Writer;
use command::Call;
use post::Post;
use runs::{Outcome, Run};
use trial::Trials;

/// A look at everything, whether or not something was committed, at the latest after this long.
const SCAN_EVERY: Duration = Duration::from_secs(600);

/// Runs of one hook at once, and how many of them may be retries.
const RUNS_AT_ONCE: usize = 4;
const RETRIES_AT_ONCE: usize = 2;

/// A command that cannot be run is checked again this often.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(5);

/// The author of what is written here.
const AUTHOR: &str = "fulfilld:hooks";

/// The running threads.
pub struct Hooks(Queue<Notifying>);

/// The queue's store and runner.
struct Notifying {
    plan: Arc<Plan>,
    writer: Writer,
    metrics: Arc<Metrics>,
    /// For looking, a query at a time.
    reader: Reader,
    db: PathBuf,
    post: Post,
    signal: Arc<Signal>,
    /// What is done once, as soon as the file can be written, was done.
    begun: AtomicBool,
    /// The clock was set, and what waits for a time is still to be looked at.
    clock_was_set: AtomicBool,
    /// The command that cannot be run, one for each target of the plan.
    missing: Mutex<Vec<Option<Missing>>>,
    /// What the alarm about them says in the file.
    shown: Mutex<Vec<(String, String)>>,
    trials: Trials,
}

/// A command that cannot be run.
struct Missing {
    why: String,
    /// Found out by running it, so that only running it shows that it is fixed.
    by_running: bool,
    look_again: Instant,
}

/// How many runs may be claimed now for a target.
struct Room {
    runs: usize,
    /// So many of them may be retries.
    again: usize,
    in_progress: Vec<i64>,
}

impl Hooks {
    /// Starts looking for what is to be notified.
    pub fn start(
        plan: Plan,
        writer: Writer,
        reader: Reader,
        db: &Path,
        metrics: Arc<Metrics>,
    ) -> Hooks {
        let signal: Arc<Signal> = Arc::default();
        let notifying = Notifying {
            post: Post::new(plan.secrets.clone()),
            missing: Mutex::new(plan.targets.iter().map(|_| None).collect()),
            plan: Arc::new(plan),
            writer,
            metrics,
            reader: reader.clone(),
            db: std::path::absolute(db).unwrap_or_else(|_| db.to_path_buf()),
            signal: signal.clone(),
            begun: AtomicBool::new(false),
            clock_was_set: AtomicBool::new(false),
            shown: Mutex::default(),
            trials: Trials::new(),
        };
        Hooks(Queue::start(notifying, reader, signal))
    }

    /// This server's clock was set: what waits for a time is looked at again.
    pub fn clock_was_set(&self) {
        self.0.runner().clock_was_set.store(true, Ordering::SeqCst);
        self.0.runner().signal.wake();
    }

    /// Claims no more, and soon ends what runs; returns at once.
    pub fn tell_to_stop(&self) {
        self.0.runner().signal.stop();
    }

    /// The name of the threads, when one has ended although nobody stopped it.
    pub fn dead(&self) -> Option<&'static str> {
        self.0.is_dead().then_some("hooks")
    }

    /// Waits until what is in progress is written. False when something was not by the deadline; it
    /// runs again at the next start.
    pub fn stop(self, deadline: Instant) -> bool {
        self.0.runner().signal.stop();
        let tested = self.0.runner().trials.stop(deadline);
        self.0.stop(deadline) && tested
    }
}

impl Store for Notifying {
    type Job = Run;
    type Outcome = Outcome;

    /// Makes a run for each hook of what is new, and claims as many runs as may start now.
    fn claim(&self, in_progress: &[Arc<Run>]) -> Result<Found<Run>> {
        self.begin()?;
        let signal = self.signal.clone();
        self.trials
            .look(&self.reader, &self.writer, &self.plan, &self.db, move || signal.is_stopping())?;
        while !self.signal.is_stopping() && runs::is_any_new(&*self.reader.get()?)? {
            self.write(|c, plan| runs::fan_out(c, plan, clock::now()))?;
        }
        let rooms: Vec<Room> =
            (0..self.plan.targets.len()).map(|n| self.room(n, in_progress)).collect();
        self.show_missing()?;
        let again = self.next_look()?;
        let now = clock::now();
        let mut is_due = false;
        for (target, room) in self.plan.targets.iter().zip(&rooms) {
            let any = |again| runs::is_any_due(&*self.reader.get()?, target, again, now);
            is_due = is_due || (room.runs > 0 && any(false)?) || (room.again > 0 && any(true)?);
        }
        if !is_due {
            return Ok(Found { jobs: Vec::new(), again, full: false });
        }
        // A claim of which nobody knows would wait until its lease is over.
        let plan = self.plan.clone();
        let claim = move |c: &Connection| {
            let (mut jobs, now) = (Vec::new(), clock::now());
            for (target, room) in plan.targets.iter().zip(&rooms) {
                let new = runs::claim(c, target, room.runs, false, &room.in_progress, now)?;
                let left = room.again.min(room.runs - new.len());
                jobs.extend(new);
                jobs.extend(runs::claim(c, target, left, true, &room.in_progress, now)?);
            }
            Ok(jobs)
        };
        let jobs = self.writer.write_and_know(move |c| inbox::as_author(c, AUTHOR, claim))?;
        Ok(Found { jobs, again, full: false })
    }

    /// Writes what it came to, then counts and logs it.
    fn finish(&self, run: &Run, outcome: Outcome) {
        let n = self.index_of(run);
        let target = &self.plan.targets[n];
        let written = self.signal.write_patiently(|| {
            let (ran, outcome) = (run.clone(), outcome.clone());
            self.write(move |c, _| runs::finish(c, &ran, &outcome, clock::now()))
        });
        if let Err(error) = &written {
            log::warn!("cannot save a hook's result, so it will run again: {error}");
        }
        let is_dead = written.unwrap_or(false);
        let word = if is_dead { "dead" } else { outcome.word() };
        self.metrics.hook_ran(target.kind.word(), word);
        let level = match outcome {
            Outcome::Done => log::Level::Info,
            // Said once, by whoever notes it.
            Outcome::NotRun(_) => log::Level::Debug,
            _ if is_dead => log::Level::Error,
            _ => log::Level::Warn,
        };
        // What a hook says may be about a customer: it stands in the file, not in the log.
        let why = outcome.why().split(": ").next().unwrap_or_default();
        let (shown, topic, id) = (target.shown(), text::clean(&run.topic), run.outbox_id);
        log::log!(level, "hook {shown} {word}: {topic}, outbox {id}, run {} {why}", run.attempts);
        let missing = &mut lock(&self.missing)[n];
        match outcome {
            Outcome::NotRun(why) => note_missing(missing, why, true),
            _ => note_fixed(missing, target),
        }
    }
}

impl Runner for Notifying {
    const LOOKS: &'static str = "hooks";
    const RUNS: &'static str = "hook";

    fn run(&self, run: &Run) -> Outcome {
        let json = self
            .reader
            .get()
            .and_then(|c| payload::json(&c, run.outbox_id, &run.key, run.attempts, false));
        let json = match json {
            Ok(json) => json,
            Err(Error::Permanent(why)) => return Outcome::Dead(why),
            Err(error) => return Outcome::Again { why: error.to_string(), pause: None },
        };
        match &self.plan.targets[self.index_of(run)].kind {
            Kind::Post(url) => self.post.send(url, &run.key, json.as_bytes()),
            Kind::Command(path) => {
                let call = Call {
                    path,
                    topic: &run.topic,
                    key: &run.key,
                    attempt: run.attempts,
                    db: &self.db,
                };
                command::run(&call, json.as_bytes(), &|| self.signal.is_stopping())
            }
        }
    }

    fn panicked(&self) -> Outcome {
        let why = "a bug in fulfilld: the run panicked; please report it";
        Outcome::Again { why: why.into(), pause: None }
    }
}

impl Notifying {
    fn index_of(&self, run: &Run) -> usize {
        let is_its = |target: &Target| target.name == run.target;
        self.plan.targets.iter().position(is_its).expect("it was claimed for a target of the plan")
    }

    /// What is done once, and what is done when the clock was set.
    fn begin(&self) -> Result<()> {
        if !self.begun.load(Ordering::SeqCst) {
            let interrupted = self.write(|c, plan| {
                alarms::clear(c, "hook_missing")?;
                Trials::begin(c)?;
                runs::begin(c, plan, clock::now())
            })?;
            if interrupted > 0 {
                log::info!(
                    "{interrupted} hooks were running when fulfilld last stopped; they will run again"
                );
            }
            self.begun.store(true, Ordering::SeqCst);
        }
        if self.clock_was_set.swap(false, Ordering::SeqCst) {
            let woken = self.write(|c, plan| runs::wake_all(c, plan, clock::now()));
            self.clock_was_set.fetch_or(woken.is_err(), Ordering::SeqCst);
            woken?;
        }
        Ok(())
    }

    /// How long until something is due that is not due now, or a missing command is to be looked
    /// for.
    fn next_look(&self) -> Result<Duration> {
        let mut pause = SCAN_EVERY;
        if lock(&self.missing).iter().any(Option::is_some) {
            pause = LOOK_FOR_MISSING;
        }
        for target in &self.plan.targets {
            let now = clock::now();
            let Some(at) = runs::next_due(&*self.reader.get()?, target, now)? else { continue };
            if runs::is_put_off(&self.plan, at, now) {
                self.write(|c, plan| runs::correct_due(c, plan, clock::now()))?;
                return Ok(Duration::ZERO);
            }
            let until = u64::try_from(at.as_millisecond() - now.as_millisecond()).unwrap_or(0);
            pause = pause.min(Duration::from_millis(until));
        }
        Ok(pause)
    }

    fn room(&self, n: usize, in_progress: &[Arc<Run>]) -> Room {
        let target = &self.plan.targets[n];
        let its: Vec<&Arc<Run>> =
            in_progress.iter().filter(|run| run.target == target.name).collect();
        let runs = RUNS_AT_ONCE.saturating_sub(its.len());
        let busy_again = its.iter().filter(|run| run.again).count();
        let again = runs.min(RETRIES_AT_ONCE.saturating_sub(busy_again));
        let in_progress = its.iter().map(|run| run.outbox_id).collect();
        let room = |runs, again| Room { runs, again, in_progress };
        let Kind::Command(path) = &target.kind else { return room(runs, again) };
        let missing = &mut lock(&self.missing)[n];
        if missing.as_ref().is_some_and(|missing| Instant::now() < missing.look_again) {
            return room(0, 0);
        }
        match (command::unusable(path), missing) {
            (Some(why), missing) => {
                note_missing(missing, why, false);
                room(0, 0)
            }
            // One run shows whether it is fixed.
            (None, Some(missing)) if missing.by_running => {
                missing.look_again = Instant::now() + LOOK_FOR_MISSING;
                if its.is_empty() { room(1, 1) } else { room(0, 0) }
            }
            (None, missing) => {
                note_fixed(missing, target);
                room(runs, again)
            }
        }
    }

    /// Has the alarm in `attention` say which commands cannot be run just now.
    fn show_missing(&self) -> Result<()> {
        let missing: Vec<(String, String)> = lock(&self.missing)
            .iter()
            .zip(&self.plan.targets)
            .filter_map(|(missing, target)| {
                Some((target.name.clone(), missing.as_ref()?.why.clone()))
            })
            .collect();
        let mut shown = lock(&self.shown);
        if *shown == missing {
            return Ok(());
        }
        let alarm = Alarm::hook_missing(&missing);
        let is_over = missing.is_empty();
        self.write(move |c, _| match is_over {
            true => alarms::clear(c, alarm.name),
            false => alarms::raise(c, &alarm, clock::now()),
        })?;
        *shown = missing;
        Ok(())
    }

    /// Writes under our own name.
    fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &Plan) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let plan = self.plan.clone();
        self.writer.write(move |c| inbox::as_author(c, AUTHOR, |c| job(c, &plan)))
    }
}

/// A command turned out not to run; said once as long as the reason is the same.
fn note_missing(missing: &mut Option<Missing>, why: String, by_running: bool) {
    if missing.as_ref().is_none_or(|known| known.why != why) {
        log::error!("a hook cannot be run; its notifications wait: {why}");
    }
    *missing = Some(Missing { why, by_running, look_again: Instant::now() + LOOK_FOR_MISSING });
}

fn note_fixed(missing: &mut Option<Missing>, target: &Target) {
    if missing.take().is_some() {
        log::info!("the hook {} can be run again; its notifications continue", target.shown());
    }
}
