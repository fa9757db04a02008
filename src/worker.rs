//! Takes due events, asks the handler, applies the Change, decides whether to try again or to park.
//!
//! One thread looks for due events, woken by the doorbell and, as the guarantee, by a timer; it hands them to a fixed number
//! of workers. When Stripe fails for everyone the taking slows to one probe at a time, so that an outage does not use up
//! every event's patience; the first answer lets them all go on at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::alarms::{self, Alarm};
use crate::clock;
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::handlers::{self, Outcome};
use crate::inbox::{self, Conclusion, Taken};
use crate::ledger;
use crate::locks::lock;
use crate::metrics::Metrics;
use crate::stripe::Stripe;
use crate::text;
use crate::writer::Writer;

/// The scan that nothing depends on but the doorbell's failure.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// So many failures of Stripe in a row, with no answer between them, are an outage.
const OUTAGE_AFTER: u32 = 5;

/// Between two probes during an outage, at most; and always while the key is refused.
const PROBE_EVERY_MAX: Duration = Duration::from_secs(30);

/// Tries to write what was found, while somebody else holds the lock, before the event is left to be taken again; and the
/// pause between two, because the writer does not keep a caller long once the file has been locked for a while.
const WRITE_TRIES: u32 = 60;
const WRITE_PAUSE: Duration = Duration::from_secs(1);

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
    /// Events in workers' hands, and how many of them are late: tried before, or fetched because they never arrived.
    busy: usize,
    busy_late: usize,
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
        let (mut rung, _) =
            self.changed.wait_timeout_while(rung, timeout, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
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

    /// A new event is on disk: wakes the taking, unless nobody has a hand free; whoever has one first wakes it by itself.
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
        lock(&self.state).workers = workers;
        let (give, take) = sync_channel::<Taken>(workers);
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
        threads.push(spawn("taker", Box::new(move || desk.take_until_stopped(&reader, give, workers))));
        Workers { desk: self.clone(), threads }
    }

    /// Looks for due events and hands them out, until stopped.
    fn take_until_stopped(&self, reader: &Reader, give: SyncSender<Taken>, workers: usize) {
        loop {
            let Some((fresh, late)) = self.room(workers) else {
                return;
            };
            let taken = if fresh == 0 { Ok(Vec::new()) } else { self.take(reader, fresh, late) };
            match taken {
                Ok(taken) if !taken.is_empty() => {
                    let mut state = lock(&self.state);
                    state.busy += taken.len();
                    state.busy_late += taken.iter().filter(|t| t.late).count();
                    drop(state);
                    for event in taken {
                        give.send(event).expect("the workers live as long as the taker");
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

    /// How many events may be taken now, fresh and late; `None` when stopping.
    fn room(&self, workers: usize) -> Option<(usize, usize)> {
        let mut state = lock(&self.state);
        if state.stopping {
            return None;
        }
        if state.outage.since.is_some() {
            // One at a time, and not too often. The failing ones fall behind in the queue, so each probe is another event.
            let due = state.outage.next_probe.is_none_or(|at| at <= Instant::now());
            if state.busy > 0 || !due {
                return Some((0, 0));
            }
            state.outage.next_probe = Some(Instant::now() + state.outage.probe_pause);
            state.outage.probe_pause = (state.outage.probe_pause * 2).min(PROBE_EVERY_MAX);
            return Some((1, 0));
        }
        let fresh = workers.saturating_sub(state.busy);
        Some((fresh, fresh.min((workers / 2).max(1).saturating_sub(state.busy_late))))
    }

    /// Takes what is due. A bell that rings for what was asked for after it came is answered here, without a question.
    fn take(&self, reader: &Reader, fresh: usize, late: usize) -> Result<Vec<Taken>> {
        if !inbox::is_any_due(&lock(reader), clock::now())? {
            return Ok(Vec::new());
        }
        let probing = late == 0 && fresh == 1;
        let (known, unknown) = self.writer.write(move |c| {
            let mut taken = inbox::take(c, fresh, 0, clock::now())?;
            let left = fresh - taken.len();
            taken.extend(inbox::take(c, 0, if probing { left } else { late.min(left) }, clock::now())?);
            let (mut known, mut unknown) = (Vec::new(), Vec::new());
            for event in taken {
                if is_known(c, &event)? {
                    inbox::as_author(c, &format!("stripe:{}", event.id), |c| {
                        inbox::conclude(c, &event, &Conclusion::Done, clock::now())
                    })?;
                    known.push(event.id);
                } else {
                    unknown.push(event);
                }
            }
            Ok((known, unknown))
        })?;
        for event in &known {
            self.metrics.event_tried("known");
            log::info!("event {} done, Stripe was asked since it came", text::clean(event));
            // There may be more behind it, and every hand is still free.
            self.bell.ring();
        }
        Ok(unknown)
    }

    fn work_until_closed(&self, take: &Mutex<Receiver<Taken>>) {
        loop {
            let next = lock(take).recv();
            let Ok(event) = next else { return };
            self.work_on(&event);
            let mut state = lock(&self.state);
            state.busy -= 1;
            state.busy_late -= usize::from(event.late);
            drop(state);
            self.bell.ring();
        }
    }

    /// One try of one event, to its conclusion on disk.
    fn work_on(&self, event: &Taken) {
        let found = catch_unwind(AssertUnwindSafe(|| self.ask(event)));
        let (change, conclusion) = match found {
            Ok(Ok(Outcome::Change(change))) => (Some(change), Conclusion::Done),
            Ok(Ok(Outcome::InPart(change, why))) => (Some(change), Conclusion::Failed(why)),
            Ok(Ok(Outcome::Ignore(why))) => (None, Conclusion::Ignored(why)),
            Ok(Ok(Outcome::NotYet(why)) | Err(Error::Temporary(why))) => (None, Conclusion::Again { why, pause: None }),
            Ok(Err(Error::Config(why))) => (None, Conclusion::Again { why, pause: Some(PROBE_EVERY_MAX) }),
            Ok(Err(Error::Forbidden(why))) => {
                (None, Conclusion::Again { why, pause: Some(self.stripe.forbidden_pause()) })
            }
            Ok(Err(error)) => (None, Conclusion::Failed(error.to_string())),
            Err(_) => (None, Conclusion::Crashed("a bug in fulfilld: the handler panicked; please report it".into())),
        };
        let conclusion = self.write(event, change.map(Arc::new), conclusion);
        let (outcome, level, why) = match &conclusion {
            Conclusion::Done => ("done", log::Level::Info, ""),
            Conclusion::Ignored(why) => ("ignored", log::Level::Info, why.as_str()),
            Conclusion::Failed(why) => ("failed", log::Level::Error, why.as_str()),
            Conclusion::Again { why, .. } => ("again", log::Level::Warn, why.as_str()),
            Conclusion::Crashed(why) => ("crashed", log::Level::Error, why.as_str()),
        };
        self.metrics.event_tried(outcome);
        log::log!(level, "event {} {outcome} (try {}) {}", text::clean(&event.id), event.attempts, text::clean(why));
    }

    /// What the event leads to, by asking Stripe; nothing is written.
    fn ask(&self, taken: &Taken) -> Result<Outcome> {
        let Some(payload) = &taken.payload else {
            return Err(Error::Permanent("its payload is no longer kept, so it cannot be replayed".into()));
        };
        let event = Event::parse(payload.as_bytes()).map_err(Error::Permanent)?;
        if let Some(why) = event.foreign_to(self.livemode, self.account.as_deref()) {
            return Ok(Outcome::Ignore(why));
        }
        let answer = handlers::handle(&event, &self.stripe);
        self.note_stripe(answer.as_ref().map(drop));
        self.note_forbidden();
        answer
    }

    /// Takes note of how Stripe answered somebody else's questions. What may as well be the file's failure does not count.
    pub fn note_asked(&self, answer: &Result<()>) {
        if !matches!(answer, Err(Error::Temporary(_) | Error::Permanent(_) | Error::Corrupt(_))) {
            self.note_stripe(answer.as_ref().map(drop));
        }
        self.note_forbidden();
    }

    /// Writes the change and the conclusion in one transaction; returns what was concluded in the end.
    fn write(&self, event: &Taken, change: Option<Arc<crate::change::Change>>, conclusion: Conclusion) -> Conclusion {
        let (mut change, mut conclusion) = (change, conclusion);
        for _ in 0..WRITE_TRIES {
            let (event, facts, what) = (event.clone(), change.clone(), conclusion.clone());
            let written = self.writer.write(move |c| {
                inbox::as_author(c, &format!("stripe:{}", event.id), |c| {
                    if let Some(change) = &facts {
                        ledger::apply(c, change, event.asked)?;
                    }
                    inbox::conclude(c, &event, &what, clock::now())
                })
            });
            match written {
                Ok(()) => return conclusion,
                // The file's own rules refuse it: park it with their sentence.
                Err(Error::Permanent(why)) if change.is_some() => {
                    (change, conclusion) = (None, Conclusion::Failed(why))
                }
                Err(Error::Temporary(why)) if !lock(&self.state).stopping => {
                    log::debug!("writing again: {why}");
                    std::thread::sleep(WRITE_PAUSE);
                }
                Err(error) => {
                    conclusion = Conclusion::Again { why: error.to_string(), pause: None };
                    break;
                }
            }
        }
        // Not written at all; the lease brings the event back.
        conclusion
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
            // Neither a failure nor a sign that it is over: this one question is not permitted, and may not even have been asked.
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

    /// Shows the permissions that the key lacks in `attention`, and lets what waited go on once one is granted.
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
            inbox::wake_all(c, clock::now())
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

/// True when what the event is about was asked for after the event came, so that Stripe has nothing newer to say of it.
fn is_known(c: &Connection, event: &Taken) -> Result<bool> {
    match &event.object_id {
        Some(object) if event.first && handlers::is_a_doorbell(&event.kind) => ledger::has_since(c, object, event.seq),
        _ => Ok(false),
    }
}

impl Workers {
    /// Takes no more events, breaks off what hangs at Stripe, and waits until what is in hand is written. False when a
    /// worker was not done by the deadline; its event is taken up at the next start.
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
