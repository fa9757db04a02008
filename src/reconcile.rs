//! Finds what never arrived: what Stripe lists and the file lacks goes through the same inbox as
//! what is posted.
//!
//! Two kinds of look. *Catching up* goes through Stripe's events since the newest one seen, at
//! start and every ten minutes. The *sweep* goes through the sessions, refunds, disputes, reviews
//! and fraud warnings themselves, because Stripe can fail to make an event at all, and asks once a
//! day after whatever is not settled yet. What only the sweep finds becomes an event of our own
//! making, one for each object: a difference that is still there at the next look makes it pending
//! again.
//!
//! Each list has a turn of its own (`turns.rs`): one that fails, or that the key may not see, stops
//! no other. Nothing here writes an order: an event is kept, and the workers do what they always
//! do. `until` moves after the COMMIT of everything before it, only when a list was seen to its
//! end, and never past now by Stripe's clock or past an event that was left to the webhook; so a
//! list that breaks off, repeats itself or leaves something out costs a second look and no order.

mod compare;
mod silence;
mod turns;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use crate::alarms::{self, Alarm};
use crate::clock::{self, Timestamp};
use crate::config;
use crate::context::Context;
use crate::db;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::handlers;
use crate::inbox::{self, Lookup, Source};
use crate::sabotage;
use crate::stripe::Listed;
use crate::text;
use compare::AHEAD_MAX;
pub use compare::{Finding, Subject, compare};
use turns::{FAILING_FOR, Turn};

/// How much of what was seen is looked at again: Stripe's list may be late.
const OVERLAP_EVENTS: Duration = Duration::from_secs(3600);

/// How long Stripe keeps events.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// An event that has not arrived this long after Stripe made it is missed, sooner where looks are
/// more frequent; until then it is left to the webhook.
const MISSED_AFTER: Duration = Duration::from_secs(60);

/// Stripe says when an event was made in whole seconds.
const ITS_SECOND: Duration = Duration::from_secs(1);

/// Between two looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file made less than so long ago was made by this process.
const NEWBORN: Duration = Duration::from_secs(60);

/// The question that is asked for the time alone, in the answer's head; nobody is an order's
/// without it.
const WHAT_TIME_IS_IT: &str = "/v1/checkout/sessions?limit=1";

/// The author of what is written here.
const AUTHOR: &str = "fulfilld:backfill";

/// The thread that looks.
pub struct Looking {
    /// Dropped, it ends the thread; woken, everything is looked through again at once.
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

impl Looking {
    /// Looks from now on, with a connection of its own while it does.
    pub fn start(context: Arc<Context>, file: PathBuf, how_often: config::Backfill) -> Looking {
        let (wake, woken) = channel();
        let mut backfill = Backfill::new(context, file, how_often);
        let body = move || backfill.look_until_stopped(&woken);
        let thread =
            std::thread::Builder::new().name("backfill".into()).stack_size(512 << 10).spawn(body);
        Looking { wake, thread: thread.expect("a thread can be started at start-up") }
    }

    /// Looks again now: the clock was set.
    pub fn look_again(&self) {
        let _ = self.wake.send(());
    }

    /// True when the thread is gone.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it; a question under way is broken off by the client's shutting down. False when it was
    /// not done in time.
    pub fn stop(self, deadline: Instant) -> bool {
        drop(self.wake);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.thread.is_finished()
    }
}

/// What is looked through, each at its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Events,
    Of(Subject),
    /// What is not settled, one by one.
    Unsettled,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            List::Events => "events",
            List::Of(subject) => subject.name(),
            List::Unsettled => "unsettled",
        }
    }
}

/// What the thread has.
struct Backfill {
    context: Arc<Context>,
    file: PathBuf,
    how_often: config::Backfill,
    turns: Vec<(List, Turn)>,
    /// Since when webhooks could have been heard, and since when there has been a file, by the time
    /// since boot.
    began: Duration,
    born: Option<Duration>,
    /// Payments of sessions that were found missing: what follows them is the shop's.
    payments: HashSet<String>,
    /// Webhooks refused and not stored, at the last look.
    turned_away: (u64, u64),
    /// Webhooks acknowledged, when the last silence was noticed.
    heard: u64,
    /// Stripe's own trouble held everything up, at the last look.
    was_in_trouble: bool,
    /// What the alarm about lists that fail says, empty for none; `None` when the file was not
    /// asked yet.
    told: Option<String>,
    /// Rows that nobody could read, by list, as they were logged.
    unreadable: BTreeMap<&'static str, usize>,
}

impl Backfill {
    fn new(context: Arc<Context>, file: PathBuf, how_often: config::Backfill) -> Backfill {
        let now = clock::since_boot();
        let turn = |list: List| match list {
            List::Events => (list, Turn::new(how_often.every, now)),
            _ => (list, Turn::new(how_often.sweep_every, now)),
        };
        let lists =
            [List::Events].into_iter().chain(Subject::ALL.map(List::Of)).chain([List::Unsettled]);
        let born = db::open_for_reading(&file).and_then(|c| birth(&c)).ok();
        let age =
            born.and_then(|born| u64::try_from(clock::now().as_second() - born.as_second()).ok());
        let born = age
            .map(Duration::from_secs)
            .filter(|age| *age < NEWBORN)
            .map(|age| now.saturating_sub(age));
        Backfill {
            turns: lists.map(turn).collect(),
            began: now,
            born,
            payments: HashSet::new(),
            turned_away: (0, 0),
            heard: 0,
            was_in_trouble: false,
            told: None,
            unreadable: BTreeMap::new(),
            context,
            file,
            how_often,
        }
    }

    fn look_until_stopped(&mut self, woken: &Receiver<()>) {
        loop {
            sabotage::panic_in("backfill");
            self.look();
            if self.context.stripe.is_shut_down() {
                return;
            }
            let now = clock::since_boot();
            let left =
                self.turns.iter().map(|(_, turn)| turn.left(now)).min().unwrap_or(LOOK_EVERY);
            match woken.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(()) => {
                    self.turns.iter_mut().for_each(|(_, turn)| turn.look_again(clock::since_boot()))
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks through every list whose turn it is.
    fn look(&mut self) {
        let is_in_trouble = self.context.trouble_with_stripe().is_some();
        if std::mem::replace(&mut self.was_in_trouble, is_in_trouble) && !is_in_trouble {
            // Stripe answers again.
            self.turns.iter_mut().for_each(|(_, turn)| turn.try_again(clock::since_boot()));
        }
        for n in 0..self.turns.len() {
            let (list, turn) = &self.turns[n];
            let list = *list;
            if !turn.is_due(clock::since_boot()) {
                continue;
            }
            let looked = catch_unwind(AssertUnwindSafe(|| self.look_through(list)));
            let looked = looked.unwrap_or_else(|_| {
                Err(Error::Temporary(
                    "a bug in fulfilld: looking through it panicked; please report it".into(),
                ))
            });
            if self.context.stripe.is_shut_down() {
                // What was broken off is no failure of the list's, and the others are not begun.
                return;
            }
            self.context.note_asked(looked.as_ref().map(|_| ()));
            let now = clock::since_boot();
            let turn = &mut self.turns[n].1;
            match looked {
                // What the key may not see counts as seen: an alarm of its own names the
                // permission.
                Ok(()) | Err(Error::Forbidden(_)) => turn.looked(now),
                Err(error) => {
                    if turn.failed(now, &error.to_string()) {
                        log::warn!(
                            "could not look through Stripe's {}, and will again: {error}",
                            list.name()
                        );
                    }
                    if matches!(error, Error::Config(_)) {
                        // The key is refused: the other lists would be told the same.
                        let left = turn.left(now);
                        self.turns.iter_mut().for_each(|(_, turn)| turn.wait_at_least(now, left));
                    }
                }
            }
        }
        if let Err(error) = self.tell_what_fails() {
            log::debug!("the alarm about lists that fail is written a little later: {error}");
        }
    }

    fn look_through(&mut self, list: List) -> Result<()> {
        self.learn_the_time();
        // What is wrong with the file is none of Stripe's trouble.
        let c = db::open_for_reading(&self.file)
            .map_err(|error| Error::Temporary(error.to_string()))?;
        self.mend_birth(&c)?;
        match list {
            List::Events => {
                self.catch_up(&c).inspect(|()| self.context.metrics.backfilled(clock::now()))
            }
            _ if sabotage::is("never_sweep") => Ok(()),
            List::Of(subject) => self.sweep(&c, subject),
            List::Unsettled => {
                let unsettled = compare::unsettled(&c, self.context.stripe.skew().now())?;
                let found = add(&self.context, unsettled, upsert_lookup)?;
                self.context.metrics.backfill_found("unsettled", found);
                Ok(())
            }
        }
    }

    /// Asks Stripe for the time, where it is not known: nothing is looked for by a clock that may
    /// be wrong.
    fn learn_the_time(&self) {
        for _ in 0..3 {
            if self.context.stripe.skew().is_known() {
                return;
            }
            let told =
                self.context.stripe.look(WHAT_TIME_IS_IT).is_ok_and(|answer| answer.date.is_some());
            if !told {
                return;
            }
        }
    }

    /// A file that was born by a wrong clock was so at another time: what was sold since is the
    /// shop's, what was before is not.
    fn mend_birth(&mut self, c: &Connection) -> Result<()> {
        let skew = self.context.stripe.skew();
        if !skew.is_known() {
            return Ok(());
        }
        let now = skew.now();
        let said = birth(c)?;
        let age = self.born.map(|born| clock::since_boot().saturating_sub(born));
        let truly = match age {
            Some(age) if skew.wrong_s() != 0 => now - age,
            _ if said > now + AHEAD_MAX => now,
            _ => return Ok(()),
        };
        log::warn!(
            "this file was made at {}, by Stripe's clock, not at {}",
            clock::text(truly),
            clock::text(said)
        );
        self.context.writer.write(move |c| {
            inbox::as_author(c, AUTHOR, |c| {
                c.execute("UPDATE shop SET created_at = ?1", [clock::text(truly)])
                    .map(drop)
                    .map_err(db::translate)
            })
        })?;
        self.born = None;
        Ok(())
    }

    /// Takes in the events that never arrived.
    fn catch_up(&mut self, c: &Connection) -> Result<()> {
        let now = self.context.stripe.skew().now();
        let since = since(c, "events", OVERLAP_EVENTS, now)?.max(now - EVENTS_KEPT);
        let began = now - clock::since_boot().saturating_sub(self.began);
        let missed_before = now - MISSED_AFTER.min(self.how_often.every / 2) - ITS_SECOND;
        let (mut newest, mut left) = (None, None);
        let mut missed: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = 0;
        let (mut unreadable, context) = (0, &self.context);
        unreadable += context.stripe.list(Listed::Events(&handlers::LISTED), since, |page| {
            let mut new = Vec::new();
            for value in page {
                let Ok(event) = Event::from_value(&value) else {
                    unreadable += 1;
                    continue;
                };
                let made = event.created.filter(|made| *made <= now + AHEAD_MAX);
                newest = newest.max(made);
                if inbox::is_here(c, &event)? || is_the_twin_of_one(context, c, &event)? {
                    continue;
                }
                // The endpoint need not send these, so they are not missed; they matter where an
                // order waits for its money.
                if handlers::OF_HELD_MONEY.contains(&event.name()) {
                    if awaits_money(c, event.object_id.as_deref())? {
                        new.push((event, value.to_string()));
                    }
                    continue;
                }
                if let Some(made) = made.filter(|made| *made > began) {
                    // It may still be on its way.
                    if made > missed_before {
                        left = Some(left.map_or(made, |left: Timestamp| left.min(made)));
                        continue;
                    }
                    *missed.entry(event.name().to_string()).or_default() += 1;
                }
                new.push((event, value.to_string()));
            }
            found += add(context, new, insert_missed)?;
            Ok(())
        })?;
        if found > 0 {
            log::info!("{found} events had not arrived and were fetched from Stripe");
            context.metrics.backfill_found("event", found);
        }
        seen_until(
            context,
            "events",
            newest.min(left.map_or(newest, |left| Some(left - ITS_SECOND))),
            now,
        )?;
        self.note_unreadable("events", unreadable);
        self.note_silence(c, &missed)
    }

    /// Takes in what Stripe made no event of.
    fn sweep(&mut self, c: &Connection, subject: Subject) -> Result<()> {
        let now = self.context.stripe.skew().now();
        let since = since(c, subject.name(), subject.overlap(), now)?;
        if subject == Subject::Session {
            self.payments.clear();
        }
        let context = &self.context;
        let mut found = 0;
        let tally = compare(&context.stripe, c, subject, since, &mut self.payments, |findings| {
            let mut lookups = Vec::new();
            for finding in findings {
                // What is to be asked for already need not be asked for twice.
                if !inbox::is_awaited(c, &finding.id)? {
                    lookups.push(finding.lookup);
                }
            }
            found += add(context, lookups, upsert_lookup)?;
            Ok(())
        })?;
        if found > 0 {
            log::info!("{found} {} were not here, or otherwise, and are asked for", subject.name());
            context.metrics.backfill_found(subject.name(), found);
        }
        seen_until(context, subject.name(), tally.newest, now)?;
        self.note_unreadable(subject.name(), tally.unreadable);
        Ok(())
    }

    /// Rows that nobody could read hold up no other; they are counted, and told when they become
    /// more.
    fn note_unreadable(&mut self, list: &'static str, n: usize) {
        let known = self.unreadable.insert(list, n).unwrap_or(0);
        if n > known {
            log::error!(
                "{n} rows in Stripe's list of {list} cannot be read and are left out; please report it"
            );
            self.context.metrics.backfill_found("unreadable", n - known);
        }
    }

    /// Has `attention` say which lists could not be looked through for an hour, as long as that is
    /// so.
    fn tell_what_fails(&mut self) -> Result<()> {
        let now = clock::since_boot();
        let hour =
            if sabotage::is("an_hour_is_a_second") { Duration::from_secs(1) } else { FAILING_FOR };
        let failing: Vec<String> = self
            .turns
            .iter()
            .filter_map(|(list, turn)| Some((list, turn.fails(now, hour)?)))
            .map(|(list, (_, why))| format!("{} ({why})", list.name()))
            .collect();
        let message = failing.join("; ");
        // After a start the alarm of before stays until every list has been seen.
        if self.told.as_ref() == Some(&message)
            || message.is_empty()
                && self.told.is_none()
                && !self.turns.iter().all(|(_, turn)| turn.has_looked)
        {
            return Ok(());
        }
        let alarm = Alarm::backfill_failing(&message);
        if !message.is_empty() {
            log::error!("{}", alarm.message);
        }
        let is_over = message.is_empty();
        self.context.writer.write(move |c| match is_over {
            true => alarms::clear(c, alarm.name),
            false => alarms::raise(c, &alarm, clock::now()),
        })?;
        self.told = Some(message);
        Ok(())
    }

    /// Says that webhooks do not come, as long as that is so.
    fn note_silence(&mut self, c: &Connection, missed: &BTreeMap<String, usize>) -> Result<()> {
        let turned_away = self.context.metrics.webhooks_turned_away();
        let (refused, unstored) =
            (turned_away.0 - self.turned_away.0, turned_away.1 - self.turned_away.1);
        self.turned_away = turned_away;
        if missed.is_empty() {
            // Silence ends with a webhook, not with nothing to hear.
            let heard = self.context.metrics.webhooks_acknowledged() > self.heard;
            if heard && alarms::message(c, "silence")?.is_some() {
                log::info!("webhooks come again");
                self.context.writer.write(|c| alarms::clear(c, "silence"))?;
            }
            return Ok(());
        }
        self.heard = self.context.metrics.webhooks_acknowledged();
        let types: Vec<String> =
            missed.iter().map(|(name, n)| format!("{n} {}", text::clean(name))).collect();
        let cause = match (unstored, refused) {
            (1.., _) => format!("fulfilld could not store {unstored} webhooks meanwhile (see /readyz)"),
            (_, 1..) => format!("fulfilld refused {refused} webhooks meanwhile: is WEBHOOK_SECRET this endpoint's?"),
            _ => silence::endpoint_trouble(&self.context.stripe, missed).unwrap_or_else(|| {
                "the endpoint in Stripe is as it should be, or may not be looked at; does the proxy pass /webhook on?".into()
            }),
        };
        let message = format!(
            "webhooks do not come: Stripe made {} that had to be fetched; orders are complete, only later. {cause}",
            types.join(", ")
        );
        log::error!("{message}");
        self.context.writer.write(move |c| alarms::raise(c, &Alarm::silence(message), clock::now()))
    }
}

/// True for the payment of an order that is not paid yet.
fn awaits_money(c: &Connection, payment_intent: Option<&str>) -> Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?1 AND payment_status = 'unpaid')";
    c.prepare_cached(sql)
        .and_then(|mut q| q.query_row([payment_intent], |row| row.get(0)))
        .map_err(db::translate)
}

/// A thin event that names no twin stands for one snapshot: the first that is about the same
/// object, of the same type, made at the same time. From then on it names that one, so that the
/// next is another piece of news.
fn is_the_twin_of_one(context: &Context, c: &Connection, event: &Event) -> Result<bool> {
    if !inbox::may_be_the_twin_of_one(c, event)? {
        return Ok(false);
    }
    let snapshot = event.clone();
    context
        .writer
        .write(move |c| inbox::as_author(c, AUTHOR, |c| inbox::name_the_twin(c, &snapshot)))
}

/// Writes work and wakes the workers; how much of it is new, or due again.
fn add<T: Send + 'static>(
    context: &Context,
    work: Vec<T>,
    insert: fn(&Connection, &T, Timestamp) -> Result<bool>,
) -> Result<usize> {
    if work.is_empty() {
        return Ok(0);
    }
    let added = context.writer.write(move |c| {
        inbox::as_author(c, AUTHOR, |c| {
            let now = clock::now();
            work.iter().try_fold(0, |n, one| Ok(n + usize::from(insert(c, one, now)?)))
        })
    })?;
    if added > 0 {
        context.event_came();
    }
    Ok(added)
}

/// An event that Stripe made and that never arrived, with its body; the oldest is due first.
fn insert_missed(c: &Connection, missed: &(Event, String), now: Timestamp) -> Result<bool> {
    let (event, payload) = missed;
    let due = event.created.unwrap_or(now).min(now);
    inbox::insert(c, event, payload, Source::Backfill, now, due)
}

fn upsert_lookup(c: &Connection, lookup: &Lookup, now: Timestamp) -> Result<bool> {
    lookup.upsert(c, now)
}

/// When the file was made.
fn birth(c: &Connection) -> Result<Timestamp> {
    let text: String =
        c.query_row("SELECT created_at FROM shop", [], |row| row.get(0)).map_err(db::translate)?;
    compare::time(&text)
}

/// From when on a list is to be looked through. What was before the file was made is for `fulfilld
/// reconcile`, because somebody has to say whether it was sent already. A cursor that is ahead of
/// now says nothing.
fn since(c: &Connection, name: &str, overlap: Duration, now: Timestamp) -> Result<Timestamp> {
    let until: Option<String> = c
        .query_row("SELECT until FROM sweeps WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(db::translate)?;
    let first = birth(c)? - OVERLAP_EVENTS;
    let until = until
        .map(|text| compare::time(&text))
        .transpose()?
        .filter(|until| *until <= now + AHEAD_MAX);
    Ok(until.map_or(first, |until| (until - overlap).max(first)))
}

/// All of a list was seen, up to this moment of Stripe's, which is not after now.
fn seen_until(
    context: &Context,
    name: &'static str,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let Some(until) = newest.map(|newest| clock::text(newest.min(now))) else {
        return Ok(());
    };
    let now = clock::text(now + AHEAD_MAX);
    context.writer.write(move |c| {
        inbox::as_author(c, AUTHOR, |c| {
            let known = "SELECT EXISTS(SELECT 1 FROM sweeps WHERE name = ?1)";
            let known: bool =
                c.query_row(known, [name], |row| row.get(0)).map_err(db::translate)?;
            let written = match known {
                true => c.execute(
                    "UPDATE sweeps SET until = ?2 WHERE name = ?1 AND (until < ?2 OR until > ?3)",
                    (name, until, now),
                ),
                false => {
                    c.execute("INSERT INTO sweeps(name, until) VALUES (?1, ?2)", (name, until))
                }
            };
            written.map(drop).map_err(db::translate)
        })
    })
}
