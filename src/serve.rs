//! The daemon: opens, wires, starts, stops. The only file that knows every thread.

mod listeners; // the sockets of the webhook and of the page
mod pages; // reads a large file after an unclean end
mod routes; // who answers which path
mod signals; // stop, and reload
mod status; // for systemctl status

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::access;
use crate::alarms::{self, Alarm};
use crate::checkpoint::Checkpointer;
use crate::claims;
use crate::clock;
use crate::config::{self, Settings};
use crate::context::Context;
use crate::db::{Lent, Reader};
use crate::door::{self, Door, Limits, Request};
use crate::error::{Error, Result};
use crate::forgotten;
use crate::health::Health;
use crate::hooks::Hooks;
use crate::inbox;
use crate::indexing;
use crate::logging;
use crate::metrics::Metrics;
use crate::migrations;
use crate::only;
use crate::page;
use crate::person;
use crate::place::{self, Identity, Lock};
use crate::reconcile::Looking;
use crate::retention;
use crate::rollback_guard::{Finding, RollbackGuard};
use crate::room;
use crate::rounds::Rounds;
use crate::signature::SigningSecret;
use crate::standby;
use crate::stripe::{INVOICE_PAYMENTS, Stripe};
use crate::timing;
use crate::webhook::Webhook;
use crate::worker::Workers;
use crate::writer::Writer;
use listeners::listeners;
use pages::Pages;
use routes::route;
use status::Status;

pub use signals::{Wake, signals};

/// How often the daemon tries its own front door and its own writer; less than half of the unit's
/// WatchdogSec.
const PROBE_EVERY: Duration = Duration::from_secs(3);

/// How often it looks whether either says of itself that it is broken, which costs nothing to know.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often it looks whether the signing secrets have changed.
const SECRETS_EVERY: Duration = Duration::from_secs(1);

/// Failed probes in a row after which the process makes room for a new one.
const PROBES_FAILED_MAX: u32 = 3;

/// How long a start waits for the file before it says that it listens; until the file is ready it
/// answers 503.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// For everything that is to be finished on stopping; below the unit's TimeoutStopSec.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A running daemon.
pub struct Serving {
    door: Arc<Door>,
    page: Option<page::Open>,
    context: Arc<Context>,
    health: Arc<Health>,
    webhook: Arc<Webhook>,
    workers: Workers,
    looking: Option<Looking>,
    rounds: Vec<Rounds>,
    hooks: Hooks,
    writing: std::thread::JoinHandle<()>,
    guard: RollbackGuard,
    reader: Reader,
    held: Arc<Lock>,
    /// What is still to be read of a large file after an unclean end.
    pages: Pages,
    /// Which alarms about the log are in the file.
    told: [bool; 2],
}

/// `fulfilld serve`: until a signal ends it, or until it is better replaced; then `Temporary`,
/// which is exit code 75.
pub fn serve() -> Result<()> {
    let settings = Settings::from_env()?;
    let secrets = config::WEBHOOK_SECRET.get()?;
    let wake = signals()?;
    let mut serving = Serving::start(&settings, secrets)?;
    let why = serving.ready_within(READY_WITHIN, &wake).and_then(|()| {
        standby::forget();
        println!(
            "fulfilld {} listens on http://{}/webhook{}, {} orders in {}",
            env!("CARGO_PKG_VERSION"),
            serving.address(),
            serving.page_url().map(|url| format!(", the page is {url}")).unwrap_or_default(),
            if settings.stripe.livemode { "live" } else { "test" },
            settings.db.display(),
        );
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        serving.watch(&wake)
    });
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let clean = serving.stop();
    match why {
        Ok(()) if clean => Ok(()),
        Ok(()) => Err(Error::Temporary(
            "stopped before everything in progress was done; it is taken up at the next start"
                .into(),
        )),
        // A new process would do no better.
        Err(Error::Config(why)) => Err(Error::Config(why)),
        Err(why) => {
            Err(Error::Temporary(format!("{why}; ending, so that a new process takes over")))
        }
    }
}

impl Serving {
    /// Opens the file and the door and starts every thread.
    pub fn start(settings: &Settings, secrets: Vec<SigningSecret>) -> Result<Serving> {
        // Neither a core file nor another process of this user gets to see the secrets.
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        door::raise_descriptor_limit();
        let plan = settings.hooks.clone();
        let path = place::real(&settings.db)?;
        place::has_one_name(&path)?;
        room::watch(&path);
        let held = Arc::new(place::lock(&path)?);
        let files = ["", "-wal", "-shm"].map(|suffix| place::beside(&path, suffix));
        if access::share(&files) {
            log::info!("fixed the mode of {}", path.display());
        }
        let connection = migrations::open_for_serving(&path, settings.stripe.livemode)?;
        held.hold(&path)?;
        if let Err(why) = forgotten::write_beside(&path, &connection) {
            log::warn!("a restored backup would not forget people again: {why}");
        }
        let forgotten = forgotten::listed_beside(&path)?;
        let checkpointer = Checkpointer::of(Identity::of(&path)?, Some(held.clone()));
        let pages =
            Pages::of(&path, checkpointer.reads_later(&connection)?, checkpointer.own_reader());
        let (guard, found) = RollbackGuard::read(&held, &connection)?;
        let lost = found.map(|found| match found {
            Finding::WentBack(what) => Alarm::file_went_back(what, clock::now()),
            Finding::WithoutNote(what) => Alarm::file_without_note(what, clock::now()),
        });
        if let Some(lost) = &lost {
            log::error!("{}", lost.message);
        }
        let metrics = Arc::new(Metrics::default());
        let stripe = Stripe::new(settings.stripe.clone(), metrics.clone());
        if alarms::about(&connection, "key_lacks_permission")?.contains(INVOICE_PAYMENTS) {
            stripe.hid_invoices();
        }
        let forbidden = stripe.forbidden();
        let lent = Lent::from(connection);
        let reader = Reader::beside(&path, lent.clone());
        let (writer, writing) = Writer::start(
            lent,
            checkpointer,
            Box::new(move |c| begin(c, lost.as_ref(), &forgotten, &forbidden)),
        );
        let context = Context::new(
            writer,
            stripe,
            metrics.clone(),
            settings.stripe.livemode,
            settings.account.clone(),
        );
        let health =
            Arc::new(Health::new(reader.clone(), path.clone(), context.clone(), metrics.clone()));
        let webhook =
            Arc::new(Webhook::new(secrets, context.clone(), metrics.clone(), settings.echo_after));
        let counts = metrics.clone();
        let (listener, page_listener) = listeners(settings)?;
        let itself: Arc<OnceLock<Arc<Door>>> = Arc::default();
        let answer = {
            let (webhook, health, itself) = (webhook.clone(), health.clone(), itself.clone());
            move |request: Request| {
                route(request, &webhook, &health, itself.get().map(Arc::as_ref), &metrics)
            }
        };
        let door = Arc::new(Door::open(listener, Limits::default(), answer)?);
        let _ = itself.set(door.clone());
        let page = match (&settings.page, page_listener) {
            (Some(settings), Some(listener)) => {
                Some(page::Open::start(listener, settings, context.clone(), health.clone(), &path)?)
            }
            _ => None,
        };
        let workers = Workers::start(context.clone(), reader.clone(), settings.workers);
        let looking = match settings.backfill.every.is_zero() {
            true => None,
            false => Some(Looking::start(context.clone(), reader.clone(), settings.backfill)),
        };
        let clearing = settings.keep_payloads.map(|keep| retention::start(context.clone(), keep));
        let rounds = clearing.into_iter().chain([indexing::start(
            context.clone(),
            reader.clone(),
            path.clone(),
        )]);
        let hooks = Hooks::start(plan, context.writer.clone(), reader.clone(), &path, counts);
        Ok(Serving {
            door,
            page,
            context,
            health,
            webhook,
            workers,
            looking,
            rounds: rounds.collect(),
            hooks,
            writing,
            guard,
            reader,
            held,
            pages,
            told: [false; 2],
        })
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.door.address()
    }

    /// Where the page is, where there is one.
    pub fn page_url(&self) -> Option<String> {
        self.page.as_ref().map(page::Open::url)
    }

    /// Waits until the file is ready, for so long at most: then it is served anyway, with
    /// 503. An error when it never will be.
    fn ready_within(&self, within: Duration, wake: &Receiver<Wake>) -> Result<()> {
        let until = Instant::now() + within;
        loop {
            let state = self.context.writer.state();
            match state.failed {
                Some(why) => return Err(why),
                None if state.starting.is_none() || Instant::now() >= until => return Ok(()),
                None => {}
            }
            match wake.recv_timeout(Duration::from_millis(5)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Wake::Reload) => self.webhook.secrets.reload(),
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Temporary("stopped before the file was ready".into()));
                }
            }
        }
    }

    /// Probes the door and the writer, feeds the watchdog after both have answered, and follows the
    /// signing secrets. Returns when it is time to end: for a signal, or an error that says why a
    /// new process would do better.
    fn watch(&mut self, wake: &Receiver<Wake>) -> Result<()> {
        let mut failed = 0;
        let mut locked = false;
        let mut probed = Instant::now();
        let mut followed = Instant::now();
        let mut clock = timing::Watch::begin();
        let mut only = only::Watch::default();
        let mut status = Status::default();
        loop {
            match wake.recv_timeout(LOOK_EVERY) {
                Ok(Wake::Stop) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Temporary(died("signals")));
                }
                Ok(Wake::Reload) => self.webhook.secrets.reload(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            logging::write_counted(false);
            let broken = self.door.broken().or_else(|| self.dead()).map(Error::Temporary);
            // Read why the writer ended only after whether it did.
            if let Some(why) = self.context.writer.state().failed.or(broken) {
                return Err(why);
            }
            if let Some(why) = self.page.as_ref().and_then(page::Open::broken) {
                log::error!(
                    "the page is closed until fulfilld restarts; events are still accepted: {why}"
                );
                self.page.take().map(|page| page.close(Instant::now()));
                self.health.page_is_closed(why);
            }
            if clock.look(&self.context) {
                self.hooks.clock_was_set();
                if let Some(looking) = &self.looking {
                    looking.look_again();
                }
            }
            if self.context.writer.state().starting.is_none() {
                self.pages.look()?;
            }
            only.look(&self.context, &self.reader);
            self.reader.rest();
            self.page.iter().for_each(page::Open::rest);
            if followed.elapsed() >= SECRETS_EVERY {
                followed = Instant::now();
                self.webhook.secrets.follow();
            }
            if probed.elapsed() < PROBE_EVERY {
                continue;
            }
            probed = Instant::now();
            if self.context.writer.state().starting.is_none() {
                locked = self.note_lock(locked);
                self.note_log();
            }
            self.guard.note(&self.held, &self.reader);
            status.look(&self.health);
            match self
                .door
                .probe("/healthz")
                .map_err(|e| e.to_string())
                .and_then(|_| self.health.illness().map_or(Ok(()), Err))
            {
                Ok(()) => {
                    failed = 0;
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
                Err(why) => {
                    failed += 1;
                    log::warn!(
                        "the daemon's own probe failed ({failed} of {PROBES_FAILED_MAX}): {why}"
                    );
                    if failed >= PROBES_FAILED_MAX {
                        return Err(Error::Temporary(format!(
                            "the front door no longer answers: {why}"
                        )));
                    }
                }
            }
        }
    }

    /// A thread that has ended by a panic: nobody else does its work, so a new process is to.
    fn dead(&self) -> Option<String> {
        let looking =
            self.looking.as_ref().filter(|looking| looking.is_finished()).map(|_| "backfill");
        let writing = self.writing.is_finished().then_some("writer");
        let answering = self.webhook.is_dead().then_some("responder");
        writing
            .or(answering)
            .or_else(|| self.rounds.iter().find_map(Rounds::dead))
            .or_else(|| self.workers.dead())
            .or(looking)
            .or_else(|| self.hooks.dead())
            .map(died)
    }

    /// Asks the writer for an empty transaction, so that a lock is noticed without an event; logs
    /// its beginning and end once.
    fn note_lock(&self, was: bool) -> bool {
        let locked = self.context.writer.write(|_| Ok(())).is_err()
            && self.context.writer.state().locked_since.is_some();
        match (was, locked) {
            (false, true) => log::error!(
                "the file is locked by somebody else; webhooks are answered 503 and Stripe retries them (an \
                 open BEGIN in a sqlite3 shell? type COMMIT there)"
            ),
            (true, false) => log::info!("the file is no longer locked"),
            _ => {}
        }
        locked
    }

    /// Has `attention` say what is wrong with the write-ahead log, from its beginning to its end.
    fn note_log(&mut self) {
        let trouble = self.context.writer.state().log.trouble();
        let of = |wanted: &str| {
            trouble.iter().find(|(name, _)| *name == wanted).map(|(_, what)| what.clone())
        };
        let now = [
            ("checkpoint_failing", of("checkpoint_failing").map(Alarm::checkpoint_failing)),
            ("log_grows", of("log_grows").map(Alarm::log_grows)),
        ];
        for ((name, alarm), told) in now.into_iter().zip(&mut self.told) {
            let is = alarm.is_some();
            if is == *told {
                continue;
            }
            let written = self.context.writer.write(move |c| match &alarm {
                Some(alarm) => {
                    log::warn!("{}", alarm.message);
                    alarms::raise(c, alarm, clock::now())
                }
                None => alarms::clear(c, name),
            });
            if written.is_ok() {
                *told = is;
            }
        }
    }

    /// Stops in the order of the road: no new requests, those in progress answered; no new events,
    /// those in progress written; then the writer. False when something was not done in time.
    pub fn stop(mut self) -> bool {
        let deadline = Instant::now() + STOP_WITHIN;
        self.hooks.tell_to_stop();
        self.pages.stop();
        let answered = self.door.close(deadline - STOP_WITHIN / 2)
            & self.page.is_none_or(|page| page.close(deadline - STOP_WITHIN / 2));
        self.webhook.close();
        let worked =
            self.workers.stop(deadline) & self.looking.is_none_or(|looking| looking.stop(deadline));
        let rounded = self.rounds.into_iter().fold(true, |all, one| one.stop(deadline) & all);
        let told = self.hooks.stop(deadline);
        self.context.writer.close();
        while !self.writing.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.guard.note_the_end(&self.held, &self.reader);
        answered && worked && rounded && told && self.writing.is_finished()
    }
}

fn died(thread: &str) -> String {
    format!(
        "a thread of the {thread} died of a bug in fulfilld (the lines before say where; please report them)"
    )
}

/// What the writer does before anything else: what was under way when the process before ended goes
/// on, what it had put off is due, because whatever failed may be fixed, and what it said of itself
/// no longer counts. `forgotten`: the list beside the file, which may be a backup from before.
/// `forbidden`: the permissions that the key is still taken to lack.
fn begin(
    c: &Connection,
    lost: Option<&Alarm>,
    forgotten: &[String],
    forbidden: &[(&str, String)],
) -> Result<()> {
    let again = inbox::as_author(c, person::FORGET, |c| person::forget_again(c, forgotten))?;
    if again > 0 {
        log::warn!(
            "this file is older than some requests to be forgotten; those people are erased again, in {again} orders"
        );
    }
    let interrupted = inbox::as_author(c, "fulfilld:start", |c| {
        let interrupted = claims::release_interrupted(c, clock::now())?;
        claims::wake_all(c, clock::now())?;
        Ok(interrupted)
    })?;
    if interrupted > 0 {
        log::info!(
            "{interrupted} events were in progress when fulfilld last stopped; they will be retried"
        );
    }
    if let Some(lost) = lost {
        alarms::raise(c, lost, clock::now())?;
    }
    match forbidden.is_empty() {
        true => alarms::clear(c, "key_lacks_permission")?,
        false => alarms::raise(c, &Alarm::key_lacks_permission(forbidden), clock::now())?,
    }
    ["key_refused", "only_matches_nothing", "checkpoint_failing", "log_grows"]
        .into_iter()
        .try_for_each(|alarm| alarms::clear(c, alarm))
}
