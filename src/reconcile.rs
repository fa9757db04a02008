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

mod compare; // Stripe's lists against the file
mod cursors; // from where on a list is looked through
mod events; // events that never arrived
mod owners; // whose a payment is
mod silence; // webhooks that do not come
mod turns; // when each list is looked through

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::alarms::{self, Alarm};
use crate::claims;
use crate::clock::{self, Timestamp};
use crate::config;
use crate::context::Context;
use crate::db::Reader;
use crate::error::{Error, Result};
use crate::inbox::{self, Lookup};
use crate::sabotage;
pub use compare::{Finding, Subject, UnderWay, compare};
pub use owners::Owners;
use turns::{FAILING_FOR, Turn};

/// Between two looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file made less than so long ago was made by this process.
const NEWBORN: Duration = Duration::from_secs(60);

/// The request that is sent only to read the time, in the answer's head; nobody is an order's
/// without it.
const WHAT_TIME_IS_IT: &str = "/v1/checkout/sessions?limit=1";

/// Rows in one transaction. A buyer's event waits for one, so it is small: events bring their bodies.
const AT_ONCE: usize = 8;

/// The author of what is written here.
const AUTHOR: &str = "fulfilld:backfill";

/// The thread that looks.
pub struct Looking {
    /// Dropped, it ends the thread; woken, everything is looked through again at once.
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

impl Looking {
    /// Looks from now on. The connection is its own for one query at a time, never for as long as
    /// Stripe takes to answer.
    pub fn start(context: Arc<Context>, reader: Reader, how_often: config::Backfill) -> Looking {
        let (wake, woken) = channel();
        let mut backfill = Backfill::new(context, reader, how_often);
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
    reader: Reader,
    how_often: config::Backfill,
    turns: Vec<(List, Turn)>,
    /// Since when webhooks could have come, and since when there has been a file, by the time
    /// since boot.
    began: Duration,
    born: Option<Duration>,
    /// Whose the payments are that no order names.
    owners: Owners,
    /// Webhooks refused and not stored, at the last look.
    turned_away: (u64, u64),
    /// Webhooks acknowledged, when the last silence was noticed.
    heard: u64,
    /// Stripe's own trouble held everything up, at the last look.
    was_in_trouble: bool,
    /// What the alarm about lists that fail says, empty for none; `None` when the file was not
    /// asked yet.
    told: Option<Vec<(&'static str, String)>>,
    /// Rows that nobody could read, by list, as they were logged.
    unreadable: BTreeMap<&'static str, usize>,
}

impl Backfill {
    fn new(context: Arc<Context>, reader: Reader, how_often: config::Backfill) -> Backfill {
        let now = clock::since_boot();
        let turn = |list: List| match list {
            List::Events => (list, Turn::new(how_often.every, now)),
            _ => (list, Turn::new(how_often.sweep_every, now)),
        };
        let lists =
            [List::Events].into_iter().chain(Subject::ALL.map(List::Of)).chain([List::Unsettled]);
        let born = reader.get().and_then(|c| cursors::birth(&c)).ok();
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
            owners: Owners::default(),
            turned_away: (0, 0),
            heard: 0,
            was_in_trouble: false,
            told: None,
            unreadable: BTreeMap::new(),
            context,
            reader,
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
                            "cannot read Stripe's list of {}; will retry: {error}",
                            list.name()
                        );
                    }
                    if matches!(error, Error::Config(_)) {
                        // The key is refused, and would be for the other lists.
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
        self.reader.get().map_err(|error| Error::Temporary(error.to_string()))?;
        self.correct_birth()?;
        match list {
            List::Events => {
                self.try_what_was_hidden();
                self.catch_up().inspect(|()| self.context.metrics.backfilled(clock::now()))
            }
            _ if sabotage::is("never_sweep") => Ok(()),
            List::Of(subject) => self.sweep(subject),
            List::Unsettled => {
                let now = self.context.stripe.skew().now();
                let unsettled = self.reader.look(|c| compare::unsettled(c, now))?;
                let found = add(&self.context, unsettled, upsert_lookup)?;
                self.context.metrics.backfill_found("unsettled", found);
                self.request_what_was_missing(now)
            }
        }
    }

    /// A permission that was granted shows though nothing is sold that needs it.
    fn try_what_was_hidden(&self) {
        let stripe = &self.context.stripe;
        if stripe.hides_invoices() {
            let answer = stripe.try_invoices();
            self.context.note_asked(answer.as_ref().copied());
        }
    }

    /// What Stripe did not show when it was requested may be there by now; what the key may not see
    /// comes when it may.
    fn request_what_was_missing(&self, now: Timestamp) -> Result<()> {
        if self.context.stripe.hides_invoices() {
            return Ok(());
        }
        let unfinished = self.reader.look(|c| claims::unfinished_daily(c, now))?;
        add(&self.context, unfinished, |c, event, _| claims::replay(c, event).map(|()| true))?;
        Ok(())
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

    /// Takes in what Stripe made no event of.
    fn sweep(&mut self, subject: Subject) -> Result<()> {
        let now = self.context.stripe.skew().now();
        let reader = &self.reader;
        let since = reader.look(|c| cursors::since(c, subject.name(), subject.overlap(), now))?;
        if subject == Subject::Session {
            self.owners.begin();
        }
        let context = &self.context;
        let mut found = 0;
        let tally =
            compare(&context.stripe, reader, subject, since, &mut self.owners, |findings| {
                let mut lookups = Vec::new();
                for finding in findings {
                    // What is due to be requested already is not added twice.
                    if !reader.look(|c| inbox::is_awaited(c, &finding.id))? {
                        lookups.push(finding.lookup);
                    }
                }
                found += add(context, lookups, upsert_lookup)?;
                Ok(())
            })?;
        if found > 0 {
            log::info!("{found} {} were missing here or differed; requesting them", subject.name());
            context.metrics.backfill_found(subject.name(), found);
        }
        cursors::advance(context, subject.name(), tally.newest, now)?;
        self.note_unreadable(subject.name(), tally.unreadable);
        Ok(())
    }

    /// Rows that nobody could read hold up no other; they are counted, and reported when they
    /// become more.
    fn note_unreadable(&mut self, list: &'static str, n: usize) {
        let known = self.unreadable.insert(list, n).unwrap_or(0);
        if n > known {
            log::error!(
                "{n} rows in Stripe's list of {list} cannot be read and are skipped; please report it"
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
        let failing: Vec<(&'static str, String)> = self
            .turns
            .iter()
            .filter_map(|(list, turn)| Some((list.name(), turn.fails(now, hour)?.1.to_string())))
            .collect();
        let is_over = failing.is_empty();
        // After a start the alarm of before stays until every list has been seen.
        if self.told.as_ref() == Some(&failing)
            || is_over && self.told.is_none() && !self.turns.iter().all(|(_, turn)| turn.has_looked)
        {
            return Ok(());
        }
        let alarm = Alarm::backfill_failing(&failing);
        if !is_over {
            log::error!("{}", alarm.message);
        }
        self.context.writer.write(move |c| match is_over {
            true => alarms::clear(c, alarm.name),
            false => alarms::raise(c, &alarm, clock::now()),
        })?;
        self.told = Some(failing);
        Ok(())
    }
}

/// Writes work and wakes the workers; how much of it is new, or due again. What a buyer's event
/// waits for is one of the small transactions, never a whole page of a list.
fn add<T: Send + 'static>(
    context: &Context,
    mut work: Vec<T>,
    insert: fn(&Connection, &T, Timestamp) -> Result<bool>,
) -> Result<usize> {
    let mut added = 0;
    while !work.is_empty() {
        let some: Vec<T> = work.drain(..work.len().min(AT_ONCE)).collect();
        added += context.writer.write(move |c| {
            inbox::as_author(c, AUTHOR, |c| {
                let now = clock::now();
                some.iter().try_fold(0, |n, one| Ok(n + usize::from(insert(c, one, now)?)))
            })
        })?;
    }
    if added > 0 {
        context.event_came();
    }
    Ok(added)
}

fn upsert_lookup(c: &Connection, lookup: &Lookup, now: Timestamp) -> Result<bool> {
    lookup.upsert(c, now)
}
