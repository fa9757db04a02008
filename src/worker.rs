//! Takes due events, asks the handler, applies the Change, decides whether to try again or to park.
//!
//! One thread looks for due events, woken by the doorbell and, as the guarantee, by a timer; it
//! hands them to a fixed number of workers. When Stripe fails for everyone the taking slows to one
//! probe at a time, so that an outage does not use up every event's patience; the first answer lets
//! them all go on at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::alarms::{self, Alarm};
use crate::change::Change;
use crate::claims::{self, Claim, Claimed, Conclusion, InHand, Room};
use crate::clock;
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::handlers::{self, Look, Outcome};
use crate::inbox;
use crate::ledger;
use crate::metrics::Metrics;
use crate::sabotage;
use crate::stripe::Stripe;
use crate::sync::lock;
use crate::text;
use crate::writer::Writer;

/// The scan that nothing depends on but the doorbell's failure.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// So many failures of Stripe in a row, with no answer between them, are an outage.
const OUTAGE_AFTER: u32 = 5;

/// Between two probes during an outage, at most; and always while the key is refused.
const PROBE_EVERY_MAX: Duration = Duration::from_secs(30);

/// Tries to write what was found, while somebody else holds the lock, before the event is left to
/// be taken again; and the pause between two, because the writer does not keep a caller long once
/// the file has been locked for a while.
const WRITE_TRIES: u32 = 60;
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Tries of an event whose answer lacks something, before the rest is left to the daily look; and
/// where the key may not see it, which is named by an alarm, so that it costs one more question and
/// keeps nothing waiting for long.
const TRIES_UNFINISHED: i64 = 5;
const TRIES_HIDDEN: i64 = 2;
const HIDDEN_PAUSE_MAX: Duration = Duration::from_secs(120);

/// Between two suspects that are claimed while others wait.
const SUSPECT_EVERY: Duration = Duration::from_secs(30);

/// What the workers share.
pub struct Desk {
    pub writer: Writer,
    pub stripe: Stripe,
    pub metrics: Arc<Metrics>,
    /// The mode the file was born with.
    pub livemode: bool,
    /// The account whose events are the shop's, where that was set.
    pub account: Option<String>,
    bell: Bell,
    state: Mutex<State>,
    /// The permissions that the key lacks, as `attention` shows them; locked until it shows them.
    forbidden: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    workers: usize,
    /// Claims in workers' hands, and how many of them are late: tried before, or fetched because
    /// they never arrived.
    busy: usize,
    busy_late: usize,
    /// What they hold.
    in_hand: InHand,
    /// One of them is to be alone.
    alone: bool,
    /// When a suspect last had its turn.
    suspect_at: Option<Instant>,
    outage: Outage,
}

/// What is known of Stripe's health.
#[derive(Default)]
struct Outage {
    failures: u32,
    since: Option<Instant>,
    why: String,
    key_refused: bool,
    next_probe: Option<Instant>,
    probe_pause: Duration,
}

/// Wakes the taking; ringing is cheap and never blocks.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_one();
    }

    /// Returns when rung, or after the time-out.
    fn wait(&self, timeout: Duration) {
        let rung = lock(&self.rung);
        let (mut rung, _) = self
            .changed
            .wait_timeout_while(rung, timeout, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// The running threads.
pub struct Workers {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

impl Desk {
    pub fn new(
        writer: Writer,
        stripe: Stripe,
        metrics: Arc<Metrics>,
        livemode: bool,
        account: Option<String>,
    ) -> Arc<Desk> {
        Arc::new(Desk {
            writer,
            stripe,
            metrics,
            livemode,
            account,
            bell: Bell::default(),
            state: Mutex::default(),
            forbidden: Mutex::default(),
        })
    }

    /// Why asking Stripe does not go on just now, for `/readyz`: the sentence, and since when.
    pub fn trouble_with_stripe(&self) -> Option<(String, Duration)> {
        let state = lock(&self.state);
        state.outage.since.map(|since| (state.outage.why.clone(), since.elapsed()))
    }

    /// A new event is on disk: wakes the taking, unless nobody has a hand free; whoever has one
    /// first wakes it by itself.
    pub fn event_came(&self) {
        let state = lock(&self.state);
        let free = state.outage.since.is_none() && state.busy < state.workers;
        drop(state);
        if free {
            self.bell.ring();
        }
    }

    /// Starts `workers` threads and the one that feeds them.
    pub fn start(self: &Arc<Self>, reader: Reader, workers: usize) -> Workers {
        let mut state = lock(&self.state);
        state.workers = workers;
        state.suspect_at = Some(Instant::now());
        drop(state);
        let (give, take) = sync_channel::<Claim>(workers);
        let take = Arc::new(Mutex::new(take));
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).stack_size(512 << 10);
            thread.spawn(body).expect("a thread can be started at start-up")
        };
        let mut threads = Vec::new();
        for _ in 0..workers {
            let (desk, take) = (self.clone(), take.clone());
            threads.push(spawn("worker", Box::new(move || desk.work_until_closed(&take))));
        }
        let desk = self.clone();
        threads.push(spawn("taker", Box::new(move || desk.take_until_stopped(&reader, give))));
        Workers { desk: self.clone(), threads }
    }

    /// Looks for due events and hands them out, until stopped.
    fn take_until_stopped(&self, reader: &Reader, give: SyncSender<Claim>) {
        while let Some((room, in_hand)) = self.room() {
            sabotage::panic_in("taker");
            match self.claim(reader, room, in_hand) {
                Ok(claims) if !claims.is_empty() => {
                    for claim in claims {
                        self.begin(&claim);
                        give.send(claim).expect("the workers live as long as the taker");
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) if error.is_temporary() => log::debug!("could not take events: {error}"),
                Err(error) => log::error!("no event is worked on: {error}"),
            }
            self.bell.wait(SCAN_EVERY);
        }
    }

    /// How much may be claimed now, and what is in hand; `None` when stopping.
    fn room(&self) -> Option<(Room, InHand)> {
        let mut state = lock(&self.state);
        if state.stopping {
            return None;
        }
        let room = room(&mut state);
        Some((room, state.in_hand.clone()))
    }

    /// Claims what is due. Looking for it costs no write.
    fn claim(&self, reader: &Reader, room: Room, in_hand: InHand) -> Result<Vec<Claim>> {
        if room.hands == 0 || !claims::is_any_due(&lock(reader), clock::now())? {
            return Ok(Vec::new());
        }
        self.writer.write(move |c| claims::claim(c, room, &in_hand, clock::now()))
    }

    /// It is in a worker's hands from now on.
    fn begin(&self, claim: &Claim) {
        let mut state = lock(&self.state);
        state.busy += 1;
        state.busy_late += usize::from(claim.late);
        state.in_hand.add(claim);
        if claim.alone {
            state.alone = true;
            state.suspect_at = Some(Instant::now());
        }
    }

    /// And no longer.
    fn end(&self, claim: &Claim) {
        let mut state = lock(&self.state);
        state.busy -= 1;
        state.busy_late -= usize::from(claim.late);
        state.in_hand.remove(claim);
        state.alone &= !claim.alone;
        drop(state);
        self.bell.ring();
    }

    fn work_until_closed(&self, take: &Mutex<Receiver<Claim>>) {
        loop {
            let next = lock(take).recv();
            let Ok(claim) = next else { return };
            sabotage::panic_in("worker");
            for (events, foreign) in self.by_whose_they_are(&claim) {
                self.work_on(&Claim { events, ..claim.clone() }, foreign);
            }
            self.end(&claim);
        }
    }

    /// The shop's own events, and those that are not, by the reason why not.
    fn by_whose_they_are(&self, claim: &Claim) -> Vec<(Vec<Claimed>, Option<String>)> {
        let mut parts: Vec<(Vec<Claimed>, Option<String>)> = Vec::new();
        for claimed in &claim.events {
            let foreign = claimed.event.foreign_to(self.livemode, self.account.as_deref());
            match parts.iter_mut().find(|(_, why)| *why == foreign) {
                Some((events, _)) => events.push(claimed.clone()),
                None => parts.push((vec![claimed.clone()], foreign)),
            }
        }
        parts
    }

    /// One try of a claim, to its conclusion on disk. `foreign`: why it is none of the shop's.
    fn work_on(&self, claim: &Claim, foreign: Option<String>) {
        let found = match foreign {
            Some(why) => Ok(Ok(Outcome::Ignore(why))),
            None => catch_unwind(AssertUnwindSafe(|| self.ask(claim))),
        };
        let again = |why: String, pause: Option<Duration>| Conclusion::Again { why, pause };
        let (change, conclusion) = match found {
            Ok(Ok(Outcome::Change(change))) => (Some(change), Conclusion::Done { awaits: None }),
            Ok(Ok(Outcome::InPart(change, why))) => (Some(change), Conclusion::Failed(why)),
            Ok(Ok(Outcome::Unfinished(change, missing))) => {
                let pause = missing.hidden.then(|| self.stripe.forbidden_pause());
                let tries = if missing.hidden { TRIES_HIDDEN } else { TRIES_UNFINISHED };
                let soon = pause.is_none_or(|pause| pause <= HIDDEN_PAUSE_MAX);
                let conclusion = match soon && claim.attempts() < tries {
                    true => again(missing.why, pause),
                    false => Conclusion::Done { awaits: Some(missing.of) },
                };
                (Some(change), conclusion)
            }
            Ok(Ok(Outcome::Ignore(why))) => (None, Conclusion::Ignored { why, awaits: None }),
            Ok(Ok(Outcome::Await { payment, why })) => {
                (None, Conclusion::Ignored { why, awaits: Some(payment) })
            }
            Ok(Ok(Outcome::NotYet(why)) | Err(Error::Temporary(why) | Error::Full(why))) => {
                (None, again(why, None))
            }
            Ok(Err(Error::Config(why))) => (None, again(why, Some(PROBE_EVERY_MAX))),
            Ok(Err(Error::Forbidden(why))) => {
                (None, again(why, Some(self.stripe.forbidden_pause())))
            }
            Ok(Err(error)) => (None, Conclusion::Failed(error.to_string())),
            Err(_) => (
                None,
                Conclusion::Panicked(
                    "a bug in fulfilld: the handler panicked; please report it".into(),
                ),
            ),
        };
        let (conclusion, covered) = self.write(claim, change.map(Arc::new), conclusion);
        let (outcome, level, why) = match &conclusion {
            Conclusion::Done { .. } => ("done", log::Level::Info, ""),
            Conclusion::Ignored { why, .. } => ("ignored", log::Level::Info, why.as_str()),
            Conclusion::Failed(why) => ("failed", log::Level::Error, why.as_str()),
            Conclusion::Again { why, .. } => ("again", log::Level::Warn, why.as_str()),
            Conclusion::Panicked(why) => ("crashed", log::Level::Error, why.as_str()),
        };
        for Claimed { event, attempts, .. } in &claim.events {
            self.metrics.event_tried(outcome);
            log::log!(
                level,
                "event {} {outcome} (try {attempts}) {}",
                text::clean(&event.id),
                text::clean(why)
            );
        }
        for event in &covered {
            self.metrics.event_tried("known");
            log::info!("event {} done, Stripe was asked since it came", text::clean(event));
        }
    }

    /// What the claim leads to, by asking Stripe; nothing is written.
    fn ask(&self, claim: &Claim) -> Result<Outcome> {
        let answer =
            handlers::handle(&Look::of(claim.events.iter().map(|e| &e.event)), &self.stripe);
        self.note_stripe(answer.as_ref().map(drop));
        self.note_forbidden();
        match answer {
            Ok(
                Outcome::Change(Change::Order(order))
                | Outcome::Unfinished(Change::Order(order), _),
            ) if order.livemode != self.livemode => {
                let (its, ours) = if order.livemode { ("live", "test") } else { ("test", "live") };
                Err(Error::Permanent(format!(
                    "the session is of {its} mode, and this file of {ours} mode"
                )))
            }
            answer => answer,
        }
    }

    /// Takes note of how Stripe answered somebody else's questions. What may as well be the file's
    /// failure does not count.
    pub fn note_asked(&self, answer: &Result<()>) {
        if !matches!(
            answer,
            Err(Error::Temporary(_) | Error::Full(_) | Error::Permanent(_) | Error::Corrupt(_))
        ) {
            self.note_stripe(answer.as_ref().map(drop));
        }
        self.note_forbidden();
    }

    /// Writes the change and the conclusion in one transaction; returns what was concluded in the
    /// end, and which other events the answer covers.
    fn write(
        &self,
        claim: &Claim,
        change: Option<Arc<Change>>,
        conclusion: Conclusion,
    ) -> (Conclusion, Vec<String>) {
        let (mut change, mut conclusion) = (change, conclusion);
        let claim = Arc::new(claim.clone());
        for _ in 0..WRITE_TRIES {
            let (claim, facts, what) = (claim.clone(), change.clone(), conclusion.clone());
            let written = self.writer.write(move |c| {
                inbox::as_author(c, &claim.author(), |c| {
                    let now = clock::now();
                    let mut covered = Vec::new();
                    if let Some(change) = &facts {
                        ledger::apply(c, change, claim.asked)?;
                        covered = claims::finish_covered(c, &change.covers(), claim.asked, now)?;
                    }
                    claims::finish(c, &claim, &what, now)?;
                    Ok(covered)
                })
            });
            match written {
                Ok(covered) => return (conclusion, covered),
                // The file's own rules refuse it: park it with their sentence.
                Err(Error::Permanent(why)) if change.is_some() => {
                    (change, conclusion) = (None, Conclusion::Failed(why))
                }
                Err(Error::Temporary(why) | Error::Full(why)) if !lock(&self.state).stopping => {
                    log::debug!("writing again: {why}");
                    std::thread::sleep(WRITE_PAUSE);
                }
                Err(error) => {
                    conclusion = Conclusion::Again { why: error.to_string(), pause: None };
                    break;
                }
            }
        }
        // Not written at all; the lease brings the events back.
        (conclusion, Vec::new())
    }

    /// Keeps count of Stripe's failures, and of when it is itself again.
    fn note_stripe(&self, answer: std::result::Result<(), &Error>) {
        let mut state = lock(&self.state);
        // A question broken off by stopping is no outage.
        if state.stopping {
            return;
        }
        let outage = &mut state.outage;
        match answer {
            Ok(_) | Err(Error::Permanent(_)) => {
                let was = std::mem::take(outage);
                drop(state);
                if let Some(since) = was.since {
                    log::info!(
                        "Stripe answers again after {} s; everything that waited goes on",
                        since.elapsed().as_secs()
                    );
                    self.note_recovery("key_refused");
                }
                return;
            }
            // Neither a failure nor a sign that it is over: this one question is not permitted, and
            // may not even have been asked.
            Err(Error::Forbidden(_)) => return,
            Err(Error::Config(why)) => {
                outage.failures = OUTAGE_AFTER;
                outage.key_refused = true;
                outage.probe_pause = PROBE_EVERY_MAX;
                outage.why = why.clone();
            }
            Err(error) => {
                outage.failures += 1;
                outage.why = error.to_string();
            }
        }
        if outage.failures >= OUTAGE_AFTER && outage.since.is_none() {
            outage.since = Some(Instant::now());
            outage.probe_pause = outage.probe_pause.max(Duration::from_secs(1));
            outage.next_probe = Some(Instant::now() + outage.probe_pause);
            let (why, key_refused) = (outage.why.clone(), outage.key_refused);
            drop(state);
            log::error!("asking Stripe is paused, events are kept and will go on: {why}");
            if key_refused {
                self.raise_alarm(Alarm::key_refused(why));
            }
        }
    }

    /// Shows the permissions that the key lacks in `attention`, and lets what waited go on once one
    /// is granted.
    fn note_forbidden(&self) {
        let mut shown = lock(&self.forbidden);
        let now = self.stripe.forbidden();
        if *shown == now {
            return;
        }
        let granted = shown.iter().any(|why| !now.contains(why));
        shown.clone_from(&now);
        if granted {
            self.note_recovery("key_lacks_permission");
        }
        if !now.is_empty() {
            log::error!("what needs a permission waits, orders go on: {}", now.join("; "));
            self.raise_alarm(Alarm::key_lacks_permission(now.join("; ")));
        }
    }

    fn raise_alarm(&self, alarm: Alarm) {
        let raised = self.writer.write(move |c| alarms::raise(c, &alarm, clock::now()));
        if let Err(error) = raised {
            log::warn!("could not write the alarm into the file: {error}");
        }
    }

    fn note_recovery(&self, alarm: &'static str) {
        let woken = self.writer.write(move |c| {
            alarms::clear(c, alarm)?;
            let unseen = if alarm == "key_lacks_permission" { claims::wake_unseen(c)? } else { 0 };
            Ok(claims::wake_all(c, clock::now())? + unseen)
        });
        match woken {
            Ok(n) => log::debug!("{n} events are due again"),
            Err(error) => {
                log::warn!("could not wake the events that wait: {error}; they come by themselves")
            }
        }
        self.bell.ring();
    }
}

/// How much may be claimed now. What is late never has more than half of the hands.
fn room(state: &mut State) -> Room {
    let idle = state.busy == 0;
    let suspects_turn = state.suspect_at.is_none_or(|at| at.elapsed() >= SUSPECT_EVERY);
    let none = Room { hands: 0, late: 0, idle, suspects_turn: false };
    if state.alone {
        return none;
    }
    if state.outage.since.is_some() {
        // One at a time, and not too often. The failing ones fall behind in the queue, so each
        // probe is another event.
        let due = state.outage.next_probe.is_none_or(|at| at <= Instant::now());
        if !idle || !due {
            return none;
        }
        state.outage.next_probe = Some(Instant::now() + state.outage.probe_pause);
        state.outage.probe_pause = (state.outage.probe_pause * 2).min(PROBE_EVERY_MAX);
        return Room { hands: 1, late: 1, idle, suspects_turn };
    }
    let hands = state.workers.saturating_sub(state.busy);
    let late = (state.workers / 2).max(1).saturating_sub(state.busy_late).min(hands);
    Room { hands, late, idle, suspects_turn }
}

impl Workers {
    /// The name of a thread that has ended although nobody stopped it.
    pub fn dead(&self) -> Option<&'static str> {
        let is_dead = self.threads.iter().any(JoinHandle::is_finished);
        (is_dead && !lock(&self.desk.state).stopping).then_some("workers")
    }

    /// Takes no more events, breaks off what hangs at Stripe, and waits until what is in hand is
    /// written. False when a worker was not done by the deadline; its event is taken up at the next
    /// start.
    pub fn stop(self, deadline: Instant) -> bool {
        lock(&self.desk.state).stopping = true;
        self.desk.bell.ring();
        self.desk.stripe.shut_down();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}
