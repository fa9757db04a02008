//! Claims due events by what they are about, and finishes them: one request to Stripe, however many
//! events there are about it.
//!
//! ```text
//!            claim (attempts + 1, lease)                finish
//!  pending ─────────────────────────────► pending ──────────────► done | ignored | failed
//!     ▲                               (taken_at is set)    │                           │
//!     └──────────── again, later ◄─────────────────────────┘         replay ◄──────────┘
//! ```
//!
//! A claim is the longest waiting event that is due, and every other event that waits and leads to
//! the same request. It takes the next number of the file's sequence. Its answer finishes them
//! all, and all others that wait, are about an object in the answer and have a lower number.
//!
//! What happens when the process dies stands in `claims/deaths.rs`; what is made due before its time
//! in `claims/waking.rs`.

mod deaths;
mod waking;

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::Result;
use crate::event::Event;
use crate::handlers;
use crate::inbox;
use crate::queue::LEASE;
use crate::queue::retry::Retry;
use crate::reason::{Code, Reason};
pub use deaths::release_interrupted;
use deaths::{CRASHES_FORGIVEN, PANICS_MAX, pause_after};
pub use waking::{
    replay, request_again_what_is_taken, unfinished_daily, wake_all, wake_unfinished,
};

/// Temporary failures are tried again after 1 s, 2 s, 4 s … an hour, and for three days at least,
/// before the event is parked.
const RETRY: Retry = Retry {
    pauses_s: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600],
    jitter: (0.5, 1.0),
    tries_min: 20,
    give_up_after: Duration::from_secs(3 * 24 * 3600),
};

/// An event that is due later than this was put off by a clock that was ahead: it is due now. No
/// pause is as long.
const AHEAD_MAX: Duration = Duration::from_secs(2 * 3600);

/// A suspect that has been due for this long gets its turn though others wait: they wait until it
/// was tried.
const SUSPECT_WAITS: Duration = Duration::from_secs(30);

/// Events in one claim, at most; the others about that object come next.
const EVENTS_MAX: usize = 1000;

/// The events that one request to Stripe is made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The request's place in the sequence: its answer covers the events with a lower `seq`.
    pub asked: i64,
    /// One or more; the first was due, and all lead to the same request.
    pub events: Vec<Claimed>,
    /// The first was tried before, or fetched because it never arrived: a fresh event does not wait
    /// for such.
    pub late: bool,
    /// Nothing else may be in progress beside it.
    pub alone: bool,
}

/// An event that a worker has.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The envelope as it was decoded at the door.
    pub event: Event,
    /// Tries, with this one.
    pub attempts: i64,
    crashes: i64,
    panics: i64,
    received_at: Timestamp,
    /// Stripe posted it; it was not fetched.
    by_webhook: bool,
}

/// What a try came to, with the reason that `events` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file now says what Stripe says. `awaits`: but for a payment, which Stripe does not show
    /// yet.
    Done { awaits: Option<String> },
    /// Nothing to do, and why. `awaits`: until an order with that payment is here.
    Ignored { why: Reason, awaits: Option<String> },
    /// Parked: a person has to look, and why.
    Failed(Reason),
    /// Try again, why, and after how long; without a pause given, a growing and jittered one.
    Again { why: Reason, pause: Option<Duration> },
    /// The handler panicked.
    Panicked(Reason),
}

/// How many claims may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Workers that are free.
    pub workers: usize,
    /// So many of them may take what is late.
    pub late: usize,
    /// Nothing is in progress.
    pub idle: bool,
    /// A suspect's turn has come, whoever else waits.
    pub suspects_turn: bool,
}

/// What is in progress: neither is claimed again, whatever the clock says.
#[derive(Debug, Clone, Default)]
pub struct InProgress {
    /// Their ids.
    pub events: HashSet<String>,
    /// The objects that they are about.
    pub objects: HashSet<String>,
}

impl InProgress {
    /// What these claims hold.
    pub fn of<'a>(claims: impl Iterator<Item = &'a Claim>) -> InProgress {
        let mut in_progress = InProgress::default();
        claims.for_each(|claim| in_progress.add(claim));
        in_progress
    }

    /// Adds what a claim holds.
    fn add(&mut self, claim: &Claim) {
        self.events.extend(claim.events.iter().map(|e| e.event.id.clone()));
        self.objects.extend(claim.object_id().map(String::from));
    }

    fn holds(&self, event: &Event) -> bool {
        self.events.contains(&event.id)
            || event.object_id.as_ref().is_some_and(|object| self.objects.contains(object))
    }
}

impl Claim {
    /// What the request is about.
    pub fn object_id(&self) -> Option<&str> {
        self.events[0].event.object_id.as_deref()
    }

    /// Whom the history names: an event that Stripe posted, where there is one.
    pub fn author(&self) -> String {
        let named = self.events.iter().find(|e| e.by_webhook).unwrap_or(&self.events[0]);
        format!("stripe:{}", named.event.id)
    }

    /// Tries of the event that was tried most often.
    pub fn attempts(&self) -> i64 {
        self.events.iter().map(|e| e.attempts).max().unwrap_or(1)
    }
}

/// The condition of each of the two queues; the index `events_due` has them apart.
const LATE: &str = "(attempts > 0 OR source = 'backfill')";

/// The columns that [`claimed`] reads.
fn columns() -> String {
    format!("{}, attempts, crashes, panics, received_at, source", inbox::EVENT)
}

fn claimed(row: &Row) -> rusqlite::Result<Claimed> {
    let at = inbox::EVENT_COLUMNS;
    let received_at: String = row.get(at + 3)?;
    Ok(Claimed {
        event: inbox::event(row)?,
        attempts: row.get(at)?,
        crashes: row.get(at + 1)?,
        panics: row.get(at + 2)?,
        received_at: received_at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        by_webhook: row.get::<_, String>(at + 4)? == "webhook",
    })
}

/// True when an event is due, or put off too far, without claiming it; for a connection that only
/// reads.
pub fn is_any_due(c: &Connection, now: Timestamp) -> Result<bool> {
    let due = |late: u8, when: &str| {
        format!(
            "EXISTS(SELECT 1 FROM events WHERE state = 'pending' AND {LATE} = {late} AND next_attempt_at {when})"
        )
    };
    let sql = format!(
        "SELECT {} OR {} OR {} OR {}",
        due(0, "<= ?1"),
        due(1, "<= ?1"),
        due(0, "> ?2"),
        due(1, "> ?2")
    );
    c.prepare_cached(&sql)
        .and_then(|mut q| {
            q.query_row((clock::text(now), clock::text(now + AHEAD_MAX)), |row| row.get(0))
        })
        .map_err(db::translate)
}

/// Claims what is due, the longest waiting first: fresh events, then up to `room.late` that were
/// tried before or fetched, so that events which hang or fail or come by the hundred do not keep
/// new ones waiting. Counting the attempt and moving it into the future before anything is tried is
/// lease, backoff and crash guard in one.
pub fn claim(
    c: &Connection,
    room: Room,
    in_progress: &InProgress,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    bring_back(c, now)?;
    let suspect = if room.idle || room.suspects_turn { suspect(c, now)? } else { None };
    let Some((suspect, since)) = suspect else {
        return claim_others(c, room, in_progress, now);
    };
    // Either its turn has come, or it has waited so long that the workers are to become idle.
    let others_wait =
        room.suspects_turn && (room.idle || since.is_none_or(|due| due + SUSPECT_WAITS <= now));
    let others = if others_wait { Vec::new() } else { claim_others(c, room, in_progress, now)? };
    match others.is_empty() && room.idle {
        true => Ok(vec![with_others(c, suspect, in_progress, true, true, now)?]),
        false => Ok(others),
    }
}

fn claim_others(
    c: &Connection,
    room: Room,
    in_progress: &InProgress,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut in_progress = in_progress.clone();
    let mut claims: Vec<Claim> = Vec::new();
    for late in [false, true] {
        let workers = room.workers - claims.len();
        let n = if late { room.late.min(workers) } else { workers };
        for due in due(c, late, n, &in_progress, now)? {
            let claim = with_others(c, due, &in_progress, late, false, now)?;
            in_progress.add(&claim);
            claims.push(claim);
        }
    }
    Ok(claims)
}

/// The first events that are due in one of the queues, each about another object.
fn due(
    c: &Connection,
    late: bool,
    n: usize,
    in_progress: &InProgress,
    now: Timestamp,
) -> Result<Vec<Claimed>> {
    let mut found: Vec<Claimed> = Vec::new();
    if n == 0 {
        return Ok(found);
    }
    let sql = format!(
        "SELECT {} FROM events WHERE state = 'pending' AND {LATE} = ?1 AND next_attempt_at <= ?2 AND crashes < ?3
         ORDER BY next_attempt_at",
        columns()
    );
    let mut statement = c.prepare_cached(&sql).map_err(db::translate)?;
    let mut rows =
        statement.query((late, clock::text(now), CRASHES_FORGIVEN)).map_err(db::translate)?;
    let mut seen = HashSet::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let next = claimed(row).map_err(db::translate)?;
        let object = next.event.object_id.clone();
        if in_progress.holds(&next.event) || object.is_some_and(|object| !seen.insert(object)) {
            continue;
        }
        found.push(next);
        if found.len() == n {
            break;
        }
    }
    Ok(found)
}

/// The suspect that is due, and since when.
fn suspect(c: &Connection, now: Timestamp) -> Result<Option<(Claimed, Option<Timestamp>)>> {
    let sql = format!(
        "SELECT {}, next_attempt_at FROM events WHERE state = 'pending' AND crashes >= {CRASHES_FORGIVEN}
           AND next_attempt_at <= ?1 ORDER BY next_attempt_at LIMIT 1",
        columns()
    );
    let row = |row: &Row| {
        let since: String = row.get(inbox::EVENT_COLUMNS + 5)?;
        Ok((claimed(row)?, since.parse().ok()))
    };
    c.prepare_cached(&sql)
        .and_then(|mut q| q.query_row([clock::text(now)], row).optional())
        .map_err(db::translate)
}

/// Makes a claim of an event and of the others that lead to the same request.
fn with_others(
    c: &Connection,
    first: Claimed,
    in_progress: &InProgress,
    late: bool,
    alone: bool,
    now: Timestamp,
) -> Result<Claim> {
    let mut events = vec![first];
    if let Some(object) = events[0].event.object_id.clone() {
        let sql = format!(
            "SELECT {} FROM events WHERE {} AND id <> ?2 ORDER BY seq LIMIT {EVENTS_MAX}",
            columns(),
            inbox::ABOUT
        );
        let others: Vec<Claimed> = c
            .prepare_cached(&sql)
            .and_then(|mut q| q.query_map((&object, &events[0].event.id), claimed)?.collect())
            .map_err(db::translate)?;
        let same = |other: &Claimed| {
            handlers::one_request(&events[0].event, &other.event)
                && !in_progress.events.contains(&other.event.id)
        };
        let others: Vec<Claimed> = others.into_iter().filter(same).collect();
        events.extend(others);
    }
    for claimed in &mut events {
        claimed.attempts += 1;
        c.prepare_cached(
            "UPDATE events SET attempts = ?2, taken_at = ?3, next_attempt_at = ?4 WHERE id = ?1",
        )
        .and_then(|mut update| {
            let lease = clock::text(now + LEASE);
            update.execute((&claimed.event.id, claimed.attempts, clock::text(now), lease))
        })
        .map_err(db::translate)?;
    }
    Ok(Claim { asked: inbox::next_number(c)?, events, late, alone })
}

/// What a clock that was ahead has put off is due now.
fn bring_back(c: &Connection, now: Timestamp) -> Result<()> {
    for late in [0, 1] {
        let sql = format!(
            "UPDATE events SET next_attempt_at = ?1 WHERE state = 'pending' AND {LATE} = {late} \
             AND next_attempt_at > ?2"
        );
        c.prepare_cached(&sql)
            .and_then(|mut update| update.execute((clock::text(now), clock::text(now + AHEAD_MAX))))
            .map_err(db::translate)?;
    }
    Ok(())
}

/// Writes what a try came to, for each event of the claim. The caller is inside its transaction,
/// has named itself in `actor` and has applied the change, where there is one.
pub fn finish(c: &Connection, claim: &Claim, outcome: &Outcome, now: Timestamp) -> Result<()> {
    for claimed in &claim.events {
        finish_one(c, claimed, claim.asked, outcome, now)?;
    }
    Ok(())
}

fn finish_one(
    c: &Connection,
    event: &Claimed,
    asked: i64,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<()> {
    let again = |why: &Reason, pause: Duration| (None, Some(why.clone()), None, Some(now + pause));
    let failed = |why: Reason| (Some("failed"), Some(why), None, None);
    let (state, reason, awaits, next) = match outcome {
        Outcome::Done { awaits } => (Some("done"), None, awaits.clone(), None),
        // Its partner came during the request, and Stripe does not list it yet.
        Outcome::Ignored { why, awaits: Some(payment) } if may_be_an_orders(c, event, payment)? => {
            again(why, RETRY.pause(event.attempts))
        }
        Outcome::Ignored { why, awaits } => {
            (Some("ignored"), Some(why.clone()), awaits.clone(), None)
        }
        Outcome::Failed(why) => failed(why.clone()),
        Outcome::Again { why, .. } if RETRY.is_spent(event.attempts, event.received_at, now) => {
            let text = format!("given up after {} tries in 3 days: {why}", event.attempts);
            failed(Reason::new(Code::GivenUp, text))
        }
        Outcome::Again { why, pause } => {
            again(why, pause.unwrap_or_else(|| RETRY.pause(event.attempts)))
        }
        Outcome::Panicked(why) if event.panics + 1 >= PANICS_MAX => failed(why.clone()),
        Outcome::Panicked(why) => again(why, pause_after(event.panics + 1)),
    };
    let panicked = matches!(outcome, Outcome::Panicked(_)) as i64;
    let (id, next, at) = (&event.event.id, next.map(clock::text), clock::text(now));
    let (code, reason) = (reason.as_ref().map(|r| r.code.word()), reason.as_ref().map(|r| &r.text));
    // One that was made due anew while it was in progress has a higher number, and stays due.
    let changed = match state {
        Some(state) => c
            .prepare_cached(
                "UPDATE events SET state = ?3, state_reason = ?4, awaits = ?5, panics = panics + ?6,
                   processed_at = ?7, taken_at = NULL, next_attempt_at = NULL, reason_code = ?8
                 WHERE id = ?1 AND state = 'pending' AND seq < ?2",
            )
            .and_then(|mut update| update.execute((id, asked, state, reason, awaits, panicked, &at, code))),
        None => c
            .prepare_cached(
                "UPDATE events SET state_reason = ?3, panics = panics + ?4, taken_at = NULL, next_attempt_at = ?5,
                   reason_code = ?6 WHERE id = ?1 AND state = 'pending' AND seq < ?2",
            )
            .and_then(|mut update| update.execute((id, asked, reason, panicked, next, code))),
    }
    .map_err(db::translate)?;
    if changed == 0 {
        // Somebody dealt with it meanwhile, which stands; or wants it processed once more.
        c.prepare_cached(
            "UPDATE events SET taken_at = NULL, attempts = 0, next_attempt_at = ?3
             WHERE id = ?1 AND state = 'pending' AND seq > ?2",
        )
        .and_then(|mut update| update.execute((id, asked, &at)))
        .map_err(db::translate)?;
    }
    Ok(())
}

/// True when an order has this payment after all, so that what is about it cannot be ignored. The
/// session of a subscription's order is not found by its payment, and its own events say what
/// became of that.
fn may_be_an_orders(c: &Connection, event: &Claimed, payment: &str) -> Result<bool> {
    let of_payment = event.event.name().starts_with("payment_intent.");
    c.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?1 AND NOT (?2 AND mode = 'subscription'))",
    )
    .and_then(|mut q| q.query_row((payment, of_payment), |row| row.get(0)))
    .map_err(db::translate)
}

/// Finishes what waits, with no worker, for an object in an answer, and came before the request
/// was made. Returns the events.
pub fn finish_covered(
    c: &Connection,
    objects: &[&str],
    asked: i64,
    now: Timestamp,
) -> Result<Vec<String>> {
    let mut covered = Vec::new();
    for object in objects {
        let waiting: Vec<(String, String)> = c
            .prepare_cached(&format!(
                "SELECT id, type FROM events WHERE {} AND taken_at IS NULL AND seq < ?2",
                inbox::ABOUT
            ))
            .and_then(|mut q| {
                q.query_map((object, asked), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(db::translate)?;
        for (event, kind) in waiting {
            if !handlers::only_names_its_object(&kind) {
                continue;
            }
            c.prepare_cached(
                "UPDATE events SET state = 'done', state_reason = NULL, reason_code = NULL,
                   awaits = NULL, next_attempt_at = NULL, processed_at = ?2 WHERE id = ?1",
            )
            .and_then(|mut update| update.execute((&event, clock::text(now))))
            .map_err(db::translate)?;
            covered.push(event);
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests;
