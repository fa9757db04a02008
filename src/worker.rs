//! The queue of events: runs the handler, applies the Change, decides whether to try again or to
//! park.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::breaker::PROBE_EVERY_MAX;
use crate::change::Change;
use crate::claims::{self, Claim, Claimed, InProgress, Outcome, Room};
use crate::clock;
use crate::context::Context;
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::handlers::{self, Handled, Look};
use crate::inbox;
use crate::ledger;
use crate::queue::{Found, Queue, Runner, Store};
use crate::reason::{Code, Reason};
use crate::sync::lock;
use crate::text;

/// The scan by the timer; only a lost wake-up depends on it.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// The same while no event is pending: until somebody commits one, which is seen, none can be due.
const SCAN_AT_REST: Duration = Duration::from_secs(600);

/// Tries of an event whose answer lacks something, before the rest is left to the daily check; and
/// where the key may not see it, which is named by an alarm, so that it costs one more request and
/// keeps nothing waiting for long.
const TRIES_UNFINISHED: i64 = 5;
const TRIES_HIDDEN: i64 = 2;
const HIDDEN_PAUSE_MAX: Duration = Duration::from_secs(120);

/// Between two suspects that are claimed while others wait.
const SUSPECT_EVERY: Duration = Duration::from_secs(30);

/// The running threads.
pub struct Workers(Queue<Events>);

impl Workers {
    /// Starts the work on events, `workers` of them at once.
    pub fn start(context: Arc<Context>, reader: Reader, workers: usize) -> Workers {
        let signal = context.events.clone();
        let suspect_at = Mutex::new(Instant::now());
        Workers(Queue::start(
            Events { context, reader: reader.clone(), workers, suspect_at },
            reader,
            signal,
        ))
    }

    /// The name of the threads, when one has ended although nobody stopped it.
    pub fn dead(&self) -> Option<&'static str> {
        self.0.is_dead().then_some("workers")
    }

    /// Claims no more events, breaks off what hangs at Stripe, and waits until what is in progress
    /// is written. False when an event was not done by the deadline; it is due at the next start.
    pub fn stop(self, deadline: Instant) -> bool {
        let context = self.0.runner().context.clone();
        context.events.stop();
        context.stripe.shut_down();
        self.0.stop(deadline)
    }
}

/// The queue's store and runner.
struct Events {
    context: Arc<Context>,
    reader: Reader,
    /// Claims in progress at once.
    workers: usize,
    /// When a suspect last had its turn.
    suspect_at: Mutex<Instant>,
}

/// A claim, or the part of it that is or is not the shop's.
struct Task {
    claim: Claim,
    /// Why the events are none of the shop's.
    foreign: Option<Reason>,
}

/// What a try came to, and what is to be written with it.
struct Tried {
    change: Option<Change>,
    outcome: Outcome,
}

impl Store for Events {
    type Job = Task;
    type Outcome = Tried;

    /// Checking for what is due writes nothing.
    fn claim(&self, in_progress: &[Arc<Task>]) -> Result<Found<Task>> {
        let room = self.room(in_progress);
        let full = room.workers == 0;
        let none = |again| Ok(Found { jobs: Vec::new(), again, full });
        if full {
            return none(SCAN_EVERY);
        }
        let reader = self.reader.get()?;
        if !claims::is_any_due(&reader, clock::now())? {
            return none(if inbox::is_any_pending(&reader)? { SCAN_EVERY } else { SCAN_AT_REST });
        }
        drop(reader);
        let held = InProgress::of(in_progress.iter().map(|task| &task.claim));
        let claim = move |c: &_| claims::claim(c, room, &held, clock::now());
        // A claim of which nobody knows has no worker, and waits until its lease is over.
        let claims = self.context.writer.write_and_know(claim)?;
        if claims.iter().any(|claim| claim.alone) {
            *lock(&self.suspect_at) = Instant::now();
        }
        let again = if claims.is_empty() { SCAN_EVERY } else { Duration::ZERO };
        let jobs = claims.into_iter().flat_map(|claim| self.by_whose_they_are(claim)).collect();
        Ok(Found { jobs, again, full })
    }

    fn finish(&self, task: &Task, tried: Tried) {
        let claim = &task.claim;
        let (outcome, covered) = self.write(claim, tried);
        let (word, level, why) = match &outcome {
            Outcome::Done { .. } => ("done", log::Level::Info, ""),
            Outcome::Ignored { why, .. } => ("ignored", log::Level::Info, why.text.as_str()),
            Outcome::Failed(why) => ("failed", log::Level::Error, why.text.as_str()),
            Outcome::Again { why, .. } => ("again", log::Level::Warn, why.text.as_str()),
            Outcome::Panicked(why) => ("crashed", log::Level::Error, why.text.as_str()),
        };
        for Claimed { event, attempts, .. } in &claim.events {
            self.context.metrics.event_tried(word);
            log::log!(
                level,
                "event {} {word} (try {attempts}) {}",
                text::clean(&event.id),
                text::clean(why)
            );
        }
        for event in &covered {
            self.context.metrics.event_tried("known");
            log::info!(
                "event {} is done: a request made since it arrived covers it",
                text::clean(event)
            );
        }
    }
}

impl Runner for Events {
    const LOOKS: &'static str = "events";
    const RUNS: &'static str = "worker";

    fn run(&self, task: &Task) -> Tried {
        let claim = &task.claim;
        let handled = match &task.foreign {
            Some(why) => Ok(Handled::Ignore(why.clone())),
            None => self.ask(claim),
        };
        let again = |code: Code, why: String, pause: Option<Duration>| {
            let why = Reason::new(code, why);
            Outcome::Again { why, pause }
        };
        let later = |error: &Error, pause: Option<Duration>| {
            let why = Reason::from(error);
            Outcome::Again { why, pause }
        };
        let forbidden_pause = || self.context.stripe.forbidden_pause();
        let (change, outcome) = match handled {
            Ok(Handled::Change(change)) => (Some(change), Outcome::Done { awaits: None }),
            Ok(Handled::InPart(change, why)) => {
                (Some(change), Outcome::Failed(Reason::new(Code::InPart, why)))
            }
            Ok(Handled::Unfinished(change, missing)) => {
                let pause = missing.hidden.then(forbidden_pause);
                let tries = if missing.hidden { TRIES_HIDDEN } else { TRIES_UNFINISHED };
                let soon = pause.is_none_or(|pause| pause <= HIDDEN_PAUSE_MAX);
                let outcome = match soon && claim.attempts() < tries {
                    true => {
                        let code = if missing.hidden { Code::Forbidden } else { Code::NotYet };
                        again(code, missing.why, pause)
                    }
                    false => Outcome::Done { awaits: Some(missing.of) },
                };
                (Some(change), outcome)
            }
            Ok(Handled::Ignore(why)) => (None, Outcome::Ignored { why, awaits: None }),
            Ok(Handled::Await { payment, why }) => {
                (None, Outcome::Ignored { why, awaits: Some(payment) })
            }
            Ok(Handled::NotYet(why)) => (None, again(Code::NotYet, why, None)),
            Err(error @ (Error::Temporary(_) | Error::Full(_))) => (None, later(&error, None)),
            Err(error @ Error::Config(_)) => (None, later(&error, Some(PROBE_EVERY_MAX))),
            Err(error @ Error::Forbidden(_)) => (None, later(&error, Some(forbidden_pause()))),
            Err(error) => (None, Outcome::Failed(Reason::from(&error))),
        };
        Tried { change, outcome }
    }

    fn panicked(&self) -> Tried {
        let why = "a bug in fulfilld: the handler panicked; please report it";
        Tried { change: None, outcome: Outcome::Panicked(Reason::new(Code::Panicked, why)) }
    }
}

impl Events {
    /// How much may be claimed now. What is late never has more than half of the workers.
    fn room(&self, in_progress: &[Arc<Task>]) -> Room {
        let idle = in_progress.is_empty();
        let suspects_turn = lock(&self.suspect_at).elapsed() >= SUSPECT_EVERY;
        let none = Room { workers: 0, late: 0, idle, suspects_turn: false };
        if in_progress.iter().any(|task| task.claim.alone) {
            return none;
        }
        if self.context.breaker.is_open() {
            // One at a time. The failing ones fall behind in the queue, so each probe is another
            // event.
            let is_due = idle && self.context.breaker.probe();
            return if is_due { Room { workers: 1, late: 1, idle, suspects_turn } } else { none };
        }
        let busy_late = in_progress.iter().filter(|task| task.claim.late).count();
        let workers = self.workers.saturating_sub(in_progress.len());
        let late = (self.workers / 2).max(1).saturating_sub(busy_late).min(workers);
        Room { workers, late, idle, suspects_turn }
    }

    /// The shop's own events, and those that are not, by the reason why not.
    fn by_whose_they_are(&self, claim: Claim) -> Vec<Task> {
        let mut tasks: Vec<Task> = Vec::new();
        let Claim { asked, events, late, alone } = claim;
        for claimed in events {
            let context = &self.context;
            let foreign = claimed.event.foreign_to(context.livemode, context.account.as_deref());
            match tasks.iter_mut().find(|task| task.foreign == foreign) {
                Some(task) => task.claim.events.push(claimed),
                None => {
                    let claim = Claim { asked, events: vec![claimed], late, alone };
                    tasks.push(Task { claim, foreign });
                }
            }
        }
        tasks
    }

    /// What the claim leads to, by a request to Stripe; nothing is written.
    fn ask(&self, claim: &Claim) -> Result<Handled> {
        let context = &self.context;
        let answer =
            handlers::handle(&Look::of(claim.events.iter().map(|e| &e.event)), &context.stripe);
        context.note_answer(answer.as_ref().map(|_| ()));
        match answer {
            Ok(
                Handled::Change(Change::Order(order))
                | Handled::Unfinished(Change::Order(order), _),
            ) if order.livemode != context.livemode => {
                let (its, ours) = if order.livemode { ("live", "test") } else { ("test", "live") };
                Err(Error::Permanent(format!(
                    "the session is of {its} mode, and this file of {ours} mode"
                )))
            }
            answer => answer,
        }
    }

    /// Writes the change and the outcome in one transaction; returns what it came to in the end,
    /// and which other events the answer covers.
    fn write(&self, claim: &Claim, tried: Tried) -> (Outcome, Vec<String>) {
        let Tried { change, outcome } = tried;
        let (claim, change) = (Arc::new(claim.clone()), change.map(Arc::new));
        let write = |change: Option<Arc<Change>>, outcome: &Outcome| {
            self.context.events.write_patiently(|| {
                let (claim, facts, outcome) = (claim.clone(), change.clone(), outcome.clone());
                self.context.writer.write(move |c| {
                    inbox::as_author(c, &claim.author(), |c| {
                        let now = clock::now();
                        let mut covered = Vec::new();
                        if let Some(change) = &facts {
                            ledger::apply(c, change, claim.asked)?;
                            covered =
                                claims::finish_covered(c, &change.covers(), claim.asked, now)?;
                        }
                        claims::finish(c, &claim, &outcome, now)?;
                        Ok(covered)
                    })
                })
            })
        };
        let (mut written, mut outcome) = (write(change.clone(), &outcome), outcome);
        // The file's own rules refuse it: park it with their sentence.
        if let (Err(error @ Error::Permanent(_)), true) = (&written, change.is_some()) {
            outcome = Outcome::Failed(Reason::from(error));
            written = write(None, &outcome);
        }
        match written {
            Ok(covered) => (outcome, covered),
            // Not written at all; the lease brings the events back.
            Err(error) => (Outcome::Again { why: Reason::from(&error), pause: None }, Vec::new()),
        }
    }
}
