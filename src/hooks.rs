//! Runs the outbox: takes due news, tells each hook that wants it, decides whether to try again or
//! to give up.
//!
//! One thread looks for news, whoever wrote it: SQLite says cheaply whether anything was committed.
//! Each hook has its own few threads, so that one that hangs delays only itself. Every attempt is
//! committed before it is made, so that a death of the process at any moment leads to another run
//! with the same key; at least once is the promise, and the key is for the receiver. Nothing here
//! touches a process or the network inside a transaction.

pub mod command;
pub mod payload;
pub mod post;
pub mod runs;
pub mod sample;
pub mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::alarms::{self, Alarm};
use crate::clock;
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::inbox;
use crate::metrics::Metrics;
use crate::sabotage;
use crate::sync::lock;
use crate::text;
use crate::writer::Writer;
use command::Call;
use post::Post;
use runs::{Outcome, Run};
use target::{Kind, Plan, Target};

/// Between two looks whether anything was committed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A look at everything, whether or not something was committed, at the latest after this long.
const SCAN_EVERY: Duration = Duration::from_secs(60);

/// Runs of one hook at once, and how many of them may be of news that it was tried with before.
const HANDS: usize = 4;
const HANDS_AGAIN: usize = 2;

/// A command that cannot be run is looked for again this often.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(5);

/// Tries to write what a run came to, while somebody else holds the lock, and the pause between
/// two; then the lease brings it back.
const WRITE_TRIES: u32 = 60;
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Enough for TLS; only what is used of it is memory.
const STACK: usize = 512 << 10;

/// The author of what is written here.
const AUTHOR: &str = "fulfilld:hooks";

/// The running threads.
pub struct Hooks {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

/// What they share.
struct Desk {
    plan: Arc<Plan>,
    writer: Writer,
    metrics: Arc<Metrics>,
    /// For looking, a query at a time.
    reader: Reader,
    db: PathBuf,
    post: Post,
    stopping: AtomicBool,
    /// The clock was set, and what waits for a time is still to be looked at.
    clock_was_set: AtomicBool,
    /// Rung when a hand is free, and when it is time to stop.
    bell: SyncSender<()>,
    /// One for each target of the plan.
    states: Mutex<Vec<State>>,
    /// What the alarm about commands that cannot be run says in the file.
    shown: Mutex<String>,
}

/// What goes on at one target.
#[derive(Default)]
struct State {
    busy_again: usize,
    /// The news that runs, by its number in the outbox.
    in_hand: Vec<i64>,
    missing: Option<Missing>,
}

/// A command that cannot be run.
struct Missing {
    why: String,
    /// Found out by running it, so that only running it shows that it is mended.
    by_running: bool,
    look_again: Instant,
}

impl Hooks {
    /// Starts the looking thread, and four for each hook.
    pub fn start(
        plan: Plan,
        writer: Writer,
        reader: Reader,
        db: &Path,
        metrics: Arc<Metrics>,
    ) -> Hooks {
        let (bell, rung) = sync_channel(1);
        let desk = Arc::new(Desk {
            post: Post::new(plan.secrets.clone()),
            states: Mutex::new(plan.targets.iter().map(|_| State::default()).collect()),
            plan: Arc::new(plan),
            writer,
            metrics,
            reader,
            db: std::path::absolute(db).unwrap_or_else(|_| db.to_path_buf()),
            stopping: AtomicBool::new(false),
            clock_was_set: AtomicBool::new(false),
            bell,
            shown: Mutex::default(),
        });
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK);
            thread.spawn(body).expect("a thread can be started at start-up")
        };
        let (mut threads, mut gives) = (Vec::new(), Vec::new());
        for n in 0..desk.plan.targets.len() {
            let (give, take) = sync_channel::<Run>(HANDS);
            gives.push(give);
            let take = Arc::new(Mutex::new(take));
            for _ in 0..HANDS {
                let (desk, take) = (desk.clone(), take.clone());
                threads.push(spawn("hook", Box::new(move || desk.run_until_closed(n, &take))));
            }
        }
        let looker = desk.clone();
        threads.push(spawn("hooks", Box::new(move || looker.look_until_stopped(&gives, &rung))));
        Hooks { desk, threads }
    }

    /// This server's clock was set: what waits for a time is looked at again.
    pub fn clock_was_set(&self) {
        self.desk.clock_was_set.store(true, Ordering::SeqCst);
        let _ = self.desk.bell.try_send(());
    }

    /// Takes no more news, and soon ends what runs; returns at once.
    pub fn tell_to_stop(&self) {
        self.desk.stopping.store(true, Ordering::SeqCst);
        let _ = self.desk.bell.try_send(());
    }

    /// The name of a thread that has ended although nobody stopped it.
    pub fn dead(&self) -> Option<&'static str> {
        let is_dead = self.threads.iter().any(JoinHandle::is_finished);
        (is_dead && !self.desk.is_stopping()).then_some("hooks")
    }

    /// Waits until what is in hand is written. False when something was not by the deadline; it
    /// runs again at the next start.
    pub fn stop(self, deadline: Instant) -> bool {
        self.tell_to_stop();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Desk {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn look_until_stopped(&self, gives: &[SyncSender<Run>], rung: &Receiver<()>) {
        let (mut begun, mut woken) = (false, true);
        let (mut seen, mut look_at) = (None, Instant::now());
        while !self.is_stopping() {
            sabotage::panic_in("hooks");
            // It changes whenever another connection commits, the writer's or a shell's.
            let version: Option<i64> =
                lock(&self.reader).pragma_query_value(None, "data_version", |row| row.get(0)).ok();
            if self.clock_was_set.swap(false, Ordering::SeqCst) {
                match self.write(|c, plan| runs::wake_all(c, plan, clock::now())) {
                    Ok(()) => woken = true,
                    Err(_) => self.clock_was_set.store(true, Ordering::SeqCst),
                }
            }
            if woken || version != seen || Instant::now() >= look_at {
                let looked = self.begin(&mut begun).and_then(|()| self.look(gives));
                match looked {
                    Ok(pause) => (seen, look_at) = (version, Instant::now() + pause),
                    Err(error) => {
                        log::debug!("could not look for news: {error}");
                        (seen, look_at) = (None, Instant::now() + LOOK_EVERY);
                    }
                }
            }
            let pause = look_at.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            woken = rung.recv_timeout(pause).is_ok();
        }
    }

    /// What is done once, as soon as the file can be written.
    fn begin(&self, begun: &mut bool) -> Result<()> {
        if *begun {
            return Ok(());
        }
        let interrupted = self.write(|c, plan| {
            alarms::clear(c, "hook_missing")?;
            runs::begin(c, plan, clock::now())
        })?;
        if interrupted > 0 {
            log::info!("{interrupted} hooks were running when fulfilld last ended; they run again");
        }
        *begun = true;
        Ok(())
    }

    /// One look: news is handed out, what is due is taken by free hands. Returns when to look again
    /// even if nothing is committed.
    fn look(&self, gives: &[SyncSender<Run>]) -> Result<Duration> {
        while !self.is_stopping() && runs::is_news(&lock(&self.reader))? {
            self.write(|c, plan| runs::hand_out(c, plan, clock::now()))?;
        }
        let mut pause = SCAN_EVERY;
        for (n, target) in self.plan.targets.iter().enumerate() {
            let (fresh, again) = self.room(n);
            let now = clock::now();
            if (fresh > 0 && runs::is_any_due(&lock(&self.reader), target, false, now)?)
                || (again > 0 && runs::is_any_due(&lock(&self.reader), target, true, now)?)
            {
                let in_hand = lock(&self.states)[n].in_hand.clone();
                let taken = self.write(move |c, plan| {
                    let (target, now) = (&plan.targets[n], clock::now());
                    let taken = runs::take(c, target, fresh, false, &in_hand, now)?;
                    let left = again.min(fresh - taken.len());
                    Ok([taken, runs::take(c, target, left, true, &in_hand, now)?].concat())
                })?;
                let mut states = lock(&self.states);
                states[n].in_hand.extend(taken.iter().map(|run| run.outbox_id));
                states[n].busy_again += taken.iter().filter(|run| run.again).count();
                drop(states);
                for run in taken {
                    gives[n].send(run).expect("a hook's threads live as long as the looking one");
                }
            }
            if lock(&self.states)[n].missing.is_some() {
                pause = pause.min(LOOK_FOR_MISSING);
            }
            if let Some(at) = runs::next_due(&lock(&self.reader), target, now)? {
                if runs::is_put_off(&self.plan, at, now) {
                    self.write(|c, plan| runs::mend_due(c, plan, clock::now()))?;
                    pause = Duration::ZERO;
                }
                let until = u64::try_from(at.as_millisecond() - now.as_millisecond()).unwrap_or(0);
                pause = pause.min(Duration::from_millis(until));
            }
        }
        self.show_missing()?;
        Ok(pause)
    }

    /// How many runs may be taken now for that target, and how many of them may be of news that it
    /// was tried with.
    fn room(&self, n: usize) -> (usize, usize) {
        let target = &self.plan.targets[n];
        let mut states = lock(&self.states);
        let state = &mut states[n];
        let fresh = HANDS - state.in_hand.len();
        let room = (fresh, fresh.min(HANDS_AGAIN.saturating_sub(state.busy_again)));
        let Kind::Command(path) = &target.kind else { return room };
        if state.missing.as_ref().is_some_and(|missing| Instant::now() < missing.look_again) {
            return (0, 0);
        }
        match (command::unusable(path), &mut state.missing) {
            (Some(why), missing) => {
                note_missing(missing, why, false);
                (0, 0)
            }
            // One run shows whether it is mended.
            (None, Some(missing)) if missing.by_running => {
                missing.look_again = Instant::now() + LOOK_FOR_MISSING;
                if state.in_hand.is_empty() { (1, 1) } else { (0, 0) }
            }
            (None, missing) => {
                note_mended(missing, target);
                room
            }
        }
    }

    /// Has the alarm in `attention` say which commands cannot be run just now.
    fn show_missing(&self) -> Result<()> {
        let missing: Vec<String> = lock(&self.states)
            .iter()
            .filter_map(|state| Some(state.missing.as_ref()?.why.clone()))
            .collect();
        let message = missing.join("; ");
        let mut shown = lock(&self.shown);
        if *shown == message {
            return Ok(());
        }
        let written = message.clone();
        self.write(move |c, _| match written.is_empty() {
            true => alarms::clear(c, "hook_missing"),
            false => {
                let alarm =
                    Alarm::hook_missing(format!("a hook cannot be run, its news waits: {written}"));
                alarms::raise(c, &alarm, clock::now())
            }
        })?;
        *shown = message;
        Ok(())
    }

    fn run_until_closed(&self, n: usize, take: &Mutex<Receiver<Run>>) {
        loop {
            let next = lock(take).recv();
            let Ok(run) = next else { return };
            sabotage::panic_in("hook");
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run(&self.plan.targets[n], &run)));
            let outcome = outcome.unwrap_or_else(|_| Outcome::Again {
                why: "a bug in fulfilld: the run panicked; please report it".into(),
                pause: None,
            });
            self.conclude(&self.plan.targets[n], &run, outcome.clone());
            let mut states = lock(&self.states);
            let state = &mut states[n];
            state.in_hand.retain(|id| *id != run.outbox_id);
            state.busy_again -= usize::from(run.again);
            match outcome {
                Outcome::NotRun(why) => note_missing(&mut state.missing, why, true),
                _ => note_mended(&mut state.missing, &self.plan.targets[n]),
            }
            drop(states);
            let _ = self.bell.try_send(());
        }
    }

    /// One run, outside any transaction.
    fn run(&self, target: &Target, run: &Run) -> Outcome {
        let json = match payload::json(
            &lock(&self.reader),
            run.outbox_id,
            &run.key,
            run.attempts,
            false,
        ) {
            Ok(json) => json,
            Err(Error::Permanent(why)) => return Outcome::Dead(why),
            Err(error) => return Outcome::Again { why: error.to_string(), pause: None },
        };
        match &target.kind {
            Kind::Post(url) => self.post.send(url, &run.key, json.as_bytes()),
            Kind::Command(path) => {
                let call = Call {
                    path,
                    topic: &run.topic,
                    key: &run.key,
                    attempt: run.attempts,
                    db: &self.db,
                };
                command::run(&call, json.as_bytes(), &|| self.is_stopping())
            }
        }
    }

    /// Writes what it came to, however long somebody else holds the lock; then counts and logs it.
    fn conclude(&self, target: &Target, run: &Run, outcome: Outcome) {
        let mut is_dead = false;
        for _ in 0..WRITE_TRIES {
            let (ran, came_to) = (run.clone(), outcome.clone());
            match self.write(move |c, _| runs::conclude(c, &ran, &came_to, clock::now())) {
                Ok(dead) => {
                    is_dead = dead;
                    break;
                }
                Err(Error::Temporary(why) | Error::Full(why)) if !self.is_stopping() => {
                    log::debug!("writing again what a hook came to: {why}");
                    std::thread::sleep(WRITE_PAUSE);
                }
                Err(error) => {
                    log::warn!("what a hook came to was not written, so it runs again: {error}");
                    break;
                }
            }
        }
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
        log::log!(level, "hook {shown} {word}: {topic}, news {id}, run {} {why}", run.attempts);
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
        log::error!("a hook cannot be run, its news waits: {why}");
    }
    *missing = Some(Missing { why, by_running, look_again: Instant::now() + LOOK_FOR_MISSING });
}

fn note_mended(missing: &mut Option<Missing>, target: &Target) {
    if missing.take().is_some() {
        log::info!("the hook {} can be run again, its news goes on", target.shown());
    }
}
