//! Finds what never arrived: what Stripe lists and the file lacks goes through the same inbox as what is posted.
//!
//! Two looks. *Catching up* goes through Stripe's events since the newest one seen, at start and every ten minutes. The
//! *sweep* goes through the sessions, refunds and disputes themselves, because Stripe can fail to make an event at all, and
//! asks once a day after whatever is not settled yet. What only the sweep finds becomes an event of our own making.
//!
//! Nothing here writes an order: an event is kept, and the workers do what they always do. `until` moves after the COMMIT
//! of everything before it, and only when a list was seen to its end; so a list that breaks off, repeats itself or leaves
//! something out costs a second look and no order.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::alarms::{self, Alarm};
use crate::clock::{self, Timestamp};
use crate::config;
use crate::db;
use crate::endpoint;
use crate::error::{Error, Result};
use crate::event::{Event, is_object_id};
use crate::handlers;
use crate::inbox::{self, Source};
use crate::sabotage;
use crate::stripe::{Listed, Stripe};
use crate::text;
use crate::worker::Desk;

/// How much of what was seen is looked at again: Stripe's lists may be late, and a session is made up to a day before it is
/// completed.
const OVERLAP_EVENTS: Duration = Duration::from_secs(3600);
const OVERLAP_SESSIONS: Duration = Duration::from_secs(25 * 3600);
const OVERLAP_MONEY: Duration = Duration::from_secs(8 * 24 * 3600);

/// How long Stripe keeps events.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is not settled is asked after once in this time, so many at once at most.
const UNSETTLED_EVERY: Duration = Duration::from_secs(24 * 3600);
const UNSETTLED_MAX: usize = 500;

/// Until a look that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// An event that has not arrived this long after Stripe made it is missed, sooner where looks are more frequent; until then it is
/// left to the webhook.
const MISSED_AFTER: Duration = Duration::from_secs(60);

/// Stripe says when an event was made in whole seconds.
const ITS_SECOND: Duration = Duration::from_secs(1);

/// The thread that looks.
pub struct Looking {
    /// Dropped, it ends the thread; rung, it looks again at once.
    bell: Sender<()>,
    thread: JoinHandle<()>,
}

impl Looking {
    /// Looks from now on, with a connection of its own while it does.
    pub fn start(desk: Arc<Desk>, file: PathBuf, how_often: config::Backfill) -> Looking {
        let (bell, rung) = channel();
        let began = clock::now();
        let mut backfill =
            Backfill { desk, file, how_often, began, turned_away: (0, 0), heard: 0, said: String::new() };
        let body = move || {
            let mut swept: Option<Instant> = None;
            loop {
                let looked = backfill.look(&mut swept);
                let pause = if looked { how_often.every } else { how_often.every.min(AGAIN_AFTER) };
                match rung.recv_timeout(pause) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("backfill".into()).stack_size(512 << 10).spawn(body);
        Looking { bell, thread: thread.expect("a thread can be started at start-up") }
    }

    /// Looks again now: the clock was set.
    pub fn look_again(&self) {
        let _ = self.bell.send(());
    }

    /// Ends it; a question under way is broken off by the client's shutting down. False when it was not done in time.
    pub fn stop(self, deadline: Instant) -> bool {
        drop(self.bell);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.thread.is_finished()
    }
}

/// What the thread has.
struct Backfill {
    desk: Arc<Desk>,
    file: PathBuf,
    how_often: config::Backfill,
    /// Since when webhooks could have been heard.
    began: Timestamp,
    /// Webhooks refused and not stored, at the last look.
    turned_away: (u64, u64),
    /// Webhooks acknowledged, when the last silence was noticed.
    heard: u64,
    /// The last trouble that was logged.
    said: String,
}

impl Backfill {
    /// One look, and the sweep when its time has come. False when it has to be done again soon.
    fn look(&mut self, swept: &mut Option<Instant>) -> bool {
        let due = swept.is_none_or(|at| at.elapsed() >= self.how_often.sweep_every);
        let sweeping = due && !sabotage::is("never_sweep");
        // Where the key may not list events, the sweep alone finds what is missing.
        let looked = db::open_for_reading(&self.file).and_then(|c| match self.catch_up(&c) {
            caught_up @ (Ok(()) | Err(Error::Forbidden(_))) if sweeping => self.sweep(&c).and(caught_up),
            looked => looked,
        });
        self.desk.note_asked(&looked);
        match looked {
            Ok(()) => {
                self.said.clear();
                self.desk.metrics.backfilled(clock::now());
                if sweeping {
                    *swept = Some(Instant::now());
                }
                true
            }
            Err(error) => {
                let said = error.to_string();
                if said != self.said {
                    log::warn!("could not look for what never arrived, and will again: {said}");
                    self.said = said;
                }
                false
            }
        }
    }

    /// Takes in the events that never arrived.
    fn catch_up(&mut self, c: &Connection) -> Result<()> {
        let since = since(c, "events", OVERLAP_EVENTS)?.max(clock::now() - EVENTS_KEPT);
        let missed_before = clock::now() - MISSED_AFTER.min(self.how_often.every / 2) - ITS_SECOND;
        let mut newest = None;
        let mut missed: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = 0;
        let (desk, began) = (&self.desk, self.began);
        desk.stripe.list(Listed::Events(&handlers::NEEDED), since, |page| {
            let mut new = Vec::new();
            for value in page {
                let event = Event::from_value(&value)
                    .map_err(|why| Error::Temporary(format!("Stripe lists an event that is none: {why}")))?;
                newest = newest.max(event.created);
                if inbox::is_here(c, &event)? {
                    continue;
                }
                if let Some(made) = event.created.filter(|made| *made > began) {
                    // It may still be on its way.
                    if made > missed_before {
                        continue;
                    }
                    *missed.entry(event.name().to_string()).or_default() += 1;
                }
                new.push((event, value.to_string()));
            }
            found += keep(desk, new)?;
            Ok(())
        })?;
        if found > 0 {
            log::info!("{found} events had not arrived and were fetched from Stripe");
            desk.metrics.backfill_found("event", found);
        }
        seen_until(desk, "events", newest)?;
        self.note_silence(c, &missed)
    }

    /// Takes in what Stripe made no event of.
    fn sweep(&mut self, c: &Connection) -> Result<()> {
        let mut payments = HashSet::new();
        for subject in Subject::ALL {
            let since = since(c, subject.name(), subject.overlap())?;
            let desk = &self.desk;
            let mut found = 0;
            let tally = compare(&desk.stripe, c, subject, since, &mut payments, |findings| {
                let mut bells = Vec::new();
                for finding in findings {
                    // What is to be asked for already need not be asked for twice.
                    if !inbox::is_awaited(c, &finding.id)? {
                        bells.push(finding.bell);
                    }
                }
                found += keep(desk, bells)?;
                Ok(())
            })?;
            if found > 0 {
                log::info!("{found} {} were not here, or otherwise, and are asked for", subject.name());
                desk.metrics.backfill_found(subject.name(), found);
            }
            seen_until(desk, subject.name(), tally.newest)?;
        }
        let unsettled = unsettled(c)?;
        let n = keep(&self.desk, unsettled)?;
        self.desk.metrics.backfill_found("unsettled", n);
        Ok(())
    }

    /// Says that webhooks do not come, as long as that is so.
    fn note_silence(&mut self, c: &Connection, missed: &BTreeMap<String, usize>) -> Result<()> {
        let turned_away = self.desk.metrics.webhooks_turned_away();
        let (refused, unstored) = (turned_away.0 - self.turned_away.0, turned_away.1 - self.turned_away.1);
        self.turned_away = turned_away;
        if missed.is_empty() {
            // Silence ends with a webhook, not with nothing to hear.
            let heard = self.desk.metrics.webhooks_acknowledged() > self.heard;
            if heard && alarms::message(c, "silence")?.is_some() {
                log::info!("webhooks come again");
                self.desk.writer.write(|c| alarms::clear(c, "silence"))?;
            }
            return Ok(());
        }
        self.heard = self.desk.metrics.webhooks_acknowledged();
        let types: Vec<String> = missed.iter().map(|(name, n)| format!("{n} {}", text::clean(name))).collect();
        let cause = match (unstored, refused) {
            (1.., _) => format!("fulfilld could not store {unstored} webhooks meanwhile (see /readyz)"),
            (_, 1..) => format!("fulfilld refused {refused} webhooks meanwhile: is WEBHOOK_SECRET this endpoint's?"),
            _ => endpoint_trouble(&self.desk.stripe, missed).unwrap_or_else(|| {
                "the endpoint in Stripe is as it should be, or may not be looked at; does the proxy pass /webhook on?".into()
            }),
        };
        let message = format!(
            "webhooks do not come: Stripe made {} that had to be fetched; orders are complete, only later. {cause}",
            types.join(", ")
        );
        log::error!("{message}");
        self.desk.writer.write(move |c| alarms::raise(c, &Alarm::silence(message), clock::now()))
    }
}

/// What Stripe says of the shop's endpoint, where the key may see it: why nothing of this comes from there.
fn endpoint_trouble(stripe: &Stripe, missed: &BTreeMap<String, usize>) -> Option<String> {
    let (mut all, mut hidden) = (Vec::new(), false);
    for (path, read) in endpoint::LISTS {
        match stripe.look(path) {
            Ok(answer) if answer.status == 200 => endpoint::add(&mut all, *read, &answer.value),
            _ => hidden = true,
        }
    }
    let url = Some(config::value("FULFILLD_PUBLIC_URL")).filter(|url| !url.is_empty());
    all.retain(|endpoint| endpoint.is_at(url.as_deref()));
    let Some(first) = all.first() else {
        let url = url.unwrap_or_else(|| "…/webhook".into());
        return (!hidden)
            .then(|| format!("Stripe has no webhook endpoint for {url}: add it in the Dashboard, Webhooks"));
    };
    if all.iter().all(|endpoint| !endpoint.enabled) {
        let url = text::clean(&first.url);
        return Some(format!("Stripe's endpoint {url} is disabled: enable it in the Dashboard, Webhooks"));
    }
    let unsent: Vec<String> = missed
        .keys()
        .filter(|kind| !all.iter().any(|endpoint| endpoint.enabled && endpoint.sends(kind)))
        .map(|kind| text::clean(kind))
        .collect();
    (!unsent.is_empty())
        .then(|| format!("the endpoint does not send {}: add it in the Dashboard, Webhooks", unsent.join(", ")))
}

/// What is compared with Stripe, in the order in which one leads to the next: a refund is the shop's when its payment is an
/// order's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Session,
    Refund,
    Dispute,
    Review,
    FraudWarning,
}

impl Subject {
    pub const ALL: [Subject; 5] =
        [Subject::Session, Subject::Refund, Subject::Dispute, Subject::Review, Subject::FraudWarning];

    /// Stripe's word for many of them.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Session => "sessions",
            Subject::Refund => "refunds",
            Subject::Dispute => "disputes",
            Subject::Review => "reviews",
            Subject::FraudWarning => "fraud_warnings",
        }
    }

    fn listed(self) -> Listed {
        match self {
            Subject::Session => Listed::Sessions,
            Subject::Refund => Listed::Refunds,
            Subject::Dispute => Listed::Disputes,
            Subject::Review => Listed::Reviews,
            Subject::FraudWarning => Listed::FraudWarnings,
        }
    }

    fn overlap(self) -> Duration {
        match self {
            Subject::Session => OVERLAP_SESSIONS,
            _ => OVERLAP_MONEY,
        }
    }

    /// The type of the event that leads to one being asked for.
    fn bell(self) -> &'static str {
        match self {
            Subject::Session => "checkout.session.completed",
            Subject::Refund => "refund.updated",
            Subject::Dispute => "charge.dispute.updated",
            Subject::Review => "review.closed",
            Subject::FraudWarning => "radar.early_fraud_warning.updated",
        }
    }

    /// What the file says of one, in the words of [`Subject::said`]; `None` when it is not there.
    fn here(self, c: &Connection, id: &str) -> Result<Option<String>> {
        let sql = match self {
            Subject::Session => {
                "SELECT replace(payment_status, 'failed', 'unpaid') || ' ' || amount_total || ' ' || currency FROM orders
                 WHERE checkout_session_id = ?1"
            }
            Subject::Refund => "SELECT status || ' ' || amount || ' ' || currency FROM refunds WHERE id = ?1",
            Subject::Dispute => "SELECT status || ' ' || amount || ' ' || currency FROM disputes WHERE id = ?1",
            Subject::Review => {
                "SELECT CASE open WHEN 1 THEN 'open' ELSE 'closed ' || coalesce(closed_reason, 'none') END FROM reviews
                 WHERE id = ?1"
            }
            Subject::FraudWarning => {
                "SELECT CASE actionable WHEN 1 THEN 'actionable' ELSE 'not actionable' END FROM fraud_warnings WHERE id = ?1"
            }
        };
        c.prepare_cached(sql).and_then(|mut q| q.query_row([id], |row| row.get(0)).optional()).map_err(db::translate)
    }

    /// What Stripe says of one: its status, its amount in minor units, its currency.
    fn said(self, value: &Value) -> String {
        let word = |name: &str| match &value[name] {
            Value::String(word) => text::clean(word).to_lowercase(),
            Value::Null => "none".into(),
            other => other.to_string(),
        };
        match self {
            Subject::Session => [word("payment_status"), word("amount_total"), word("currency")].join(" "),
            Subject::Refund | Subject::Dispute => [word("status"), word("amount"), word("currency")].join(" "),
            Subject::Review if value["open"] == true => "open".into(),
            Subject::Review => ["closed".into(), word("closed_reason")].join(" "),
            Subject::FraudWarning if value["actionable"] == true => "actionable".into(),
            Subject::FraudWarning => "not actionable".into(),
        }
    }
}

/// What Stripe has and the file has not, or has otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub subject: Subject,
    pub id: String,
    /// `None` when it is missing.
    pub here: Option<String>,
    pub stripe: String,
    /// The event of our own making that leads to its being asked for, and its payload.
    pub bell: (Event, String),
}

impl Finding {
    /// True once the file says what Stripe said.
    pub fn is_mended(&self, c: &Connection) -> Result<bool> {
        Ok(self.subject.here(c, &self.id)?.is_some_and(|here| here == self.stripe))
    }
}

/// How many of the shop's objects Stripe listed, how many of them are here as they should be, and the newest one's making.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub stripe: usize,
    pub here: usize,
    pub newest: Option<Timestamp>,
}

/// Goes through what Stripe lists of a subject since then, and hands over what differs, a page at a time. `payments` are
/// those of sessions found missing: what follows them is the shop's as well. It writes nothing.
pub fn compare(
    stripe: &Stripe,
    c: &Connection,
    subject: Subject,
    since: Timestamp,
    payments: &mut HashSet<String>,
    mut found: impl FnMut(Vec<Finding>) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    stripe.list(subject.listed(), since, |page| {
        let mut findings = Vec::new();
        for value in page {
            let created = value["created"].as_i64().and_then(clock::from_unix);
            tally.newest = tally.newest.max(created);
            let id = value["id"].as_str().unwrap_or_default();
            if !is_object_id(id) {
                return Err(Error::Temporary(format!("Stripe lists one of its {} without an id", subject.name())));
            }
            // A list that grows while it is read shows a row twice.
            if !seen.insert(id.to_string()) || !is_the_shops(stripe, c, subject, &value, payments)? {
                continue;
            }
            tally.stripe += 1;
            let (here, said) = (subject.here(c, id)?, subject.said(&value));
            if here.as_ref() == Some(&said) {
                tally.here += 1;
                continue;
            }
            if let (Subject::Session, Some(payment)) = (subject, value["payment_intent"].as_str()) {
                payments.insert(payment.to_string());
            }
            let bell = bell(subject.bell(), id, &said.replace(' ', "_"), created)?;
            findings.push(Finding { subject, id: id.into(), here, stripe: said, bell });
        }
        found(findings)
    })?;
    Ok(tally)
}

/// Whether an object is this shop's business at all, as far as that can be told without a question.
fn is_the_shops(
    stripe: &Stripe,
    c: &Connection,
    subject: Subject,
    value: &Value,
    payments: &HashSet<String>,
) -> Result<bool> {
    let exists = |sql: &str, id: &str| -> Result<bool> {
        c.prepare_cached(sql).and_then(|mut q| q.query_row([id], |row| row.get(0))).map_err(db::translate)
    };
    match subject {
        Subject::Session => Ok(value["mode"] != "setup" && stripe.not_the_shops(value).is_none()),
        _ => match value["payment_intent"].as_str() {
            Some(payment) => Ok(payments.contains(payment)
                || exists("SELECT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?1)", payment)?),
            None => Ok(false),
        },
    }
}

/// What is not settled and has not been asked after for a day: as events of our own making, the longest waiting first.
fn unsettled(c: &Connection) -> Result<Vec<(Event, String)>> {
    let now = clock::now();
    let day = clock::text(now)[..10].to_string();
    let rows: Vec<(String, String)> = c
        .prepare_cached(
            "SELECT id, type FROM (
               SELECT checkout_session_id AS id, 'checkout.session.completed' AS type, as_of FROM orders
               WHERE payment_status = 'unpaid' AND created_at > ?2
               UNION ALL SELECT id, 'refund.updated', as_of FROM refunds
               WHERE status NOT IN('succeeded', 'failed', 'canceled')
               UNION ALL SELECT id, 'charge.dispute.updated', as_of FROM disputes
               WHERE status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')
               UNION ALL SELECT id, 'review.closed', as_of FROM reviews WHERE open = 1)
             WHERE as_of < ?1 ORDER BY as_of LIMIT ?3",
        )
        .and_then(|mut q| {
            let month = clock::text(now - EVENTS_KEPT);
            q.query_map((clock::text(now - UNSETTLED_EVERY), month, UNSETTLED_MAX as i64), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
        })
        .map_err(db::translate)?;
    rows.iter().map(|(id, kind)| bell(kind, id, &day, Some(now))).collect()
}

/// An event of our own making: one for each state that an object was found in.
fn bell(kind: &str, object: &str, state: &str, created: Option<Timestamp>) -> Result<(Event, String)> {
    let payload = json!({
        "id": format!("fulfilld_{object}_{state}"),
        "object": "event",
        "type": kind,
        "created": created.map(Timestamp::as_second),
        "data": {"object": {"id": object}},
        "made_by": "fulfilld",
    });
    let event = Event::from_value(&payload)
        .map_err(|why| Error::Permanent(format!("{} cannot be asked for: {why}", text::clean(object))))?;
    Ok((event, payload.to_string()))
}

/// Keeps events, the oldest due first; how many of them were new.
fn keep(desk: &Desk, events: Vec<(Event, String)>) -> Result<usize> {
    if events.is_empty() {
        return Ok(0);
    }
    let new = desk.writer.write(move |c| keep_in(c, &events))?;
    if new > 0 {
        desk.event_came();
    }
    Ok(new)
}

/// The same inside somebody's transaction.
pub fn keep_in(c: &Connection, events: &[(Event, String)]) -> Result<usize> {
    let now = clock::now();
    let mut new = 0;
    for (event, payload) in events {
        let due = event.created.unwrap_or(now).min(now);
        new += usize::from(inbox::keep(c, event, payload, Source::Backfill, now, due)?);
    }
    Ok(new)
}

/// From when on a list is to be looked through. What was before the file was made is for `fulfilld reconcile`, because
/// somebody has to say whether it was sent already.
fn since(c: &Connection, name: &str, overlap: Duration) -> Result<Timestamp> {
    let (born, until): (String, Option<String>) = c
        .query_row("SELECT created_at, (SELECT until FROM sweeps WHERE name = ?1) FROM shop", [name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(db::translate)?;
    let time = |text: String| {
        text.parse::<Timestamp>()
            .map_err(|_| Error::Corrupt(format!("{text} in the file is no time; restore a backup")))
    };
    let first = time(born)? - OVERLAP_EVENTS;
    Ok(until.map(time).transpose()?.map_or(first, |until| (until - overlap).max(first)))
}

/// All of a list was seen, up to this moment of Stripe's.
fn seen_until(desk: &Desk, name: &'static str, newest: Option<Timestamp>) -> Result<()> {
    // Never past now: a second that is still to come has not been looked through.
    let Some(newest) = newest.map(|newest| clock::text(newest.min(clock::now()))) else {
        return Ok(());
    };
    desk.writer.write(move |c| {
        let known: Option<String> = c
            .query_row("SELECT until FROM sweeps WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(db::translate)?;
        let sql = match known {
            Some(until) if until >= newest => return Ok(()),
            Some(_) => "UPDATE sweeps SET until = ?2 WHERE name = ?1",
            None => "INSERT INTO sweeps(name, until) VALUES (?1, ?2)",
        };
        c.execute(sql, (name, newest)).map(drop).map_err(db::translate)
    })
}
