//! The SQL of `events`: keeping, taking, concluding. One event row per Stripe event, whatever happens around it.
//!
//! ```text
//!             take (attempts + 1, lease)            conclude
//!  pending ──────────────────────────► pending ──────────────► done | ignored | failed
//!     ▲                              (taken_at set)   │                          │
//!     └──────────── again, later ◄────────────────────┘        replay ◄──────────┘
//! ```

use std::time::Duration;

use rusqlite::{Connection, Row};

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::{Error, Result};
use crate::event::Event;

/// Nobody else takes an event for this long after it was taken; longer than any handler may need (`stripe.rs` bounds it).
const LEASE: Duration = Duration::from_secs(600);

/// Temporary failures are tried for at least this long, and at least [`TRIES_MIN`] times, before the event is parked.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
const TRIES_MIN: i64 = 20;

/// The longest pause between two tries.
const PAUSE_MAX_S: u64 = 3600;

/// The daemon may die this often in the middle of one event before that event is parked as the cause.
const CRASHES_MAX: i64 = 12;

/// How an event came here: `events.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Stripe posted it.
    Webhook,
    /// It never arrived, and was found by looking for it.
    Backfill,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Source::Webhook => "webhook",
            Source::Backfill => "backfill",
        }
    }
}

/// An event in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub id: String,
    /// The type as received, and what it is about.
    pub kind: String,
    pub object_id: Option<String>,
    /// The exact body; `None` once retention has cleared it.
    pub payload: Option<String>,
    pub attempts: i64,
    pub crashes: i64,
    pub received_at: Timestamp,
    /// Its place in the file's sequence.
    pub seq: i64,
    /// The place of the question that this try asks: its answer covers the events with a lower `seq`.
    pub asked: i64,
    /// It was tried before, or fetched later: one that a fresh event does not wait for.
    pub late: bool,
    /// Nobody asked for it to be processed once more: what was learned since it came need not be asked for again.
    pub first: bool,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// The file now says what Stripe says.
    Done,
    /// Nothing to do, and why.
    Ignored(String),
    /// Parked: a person has to look, and why.
    Failed(String),
    /// Try again, why, and after how long; without a pause given, a growing and jittered one.
    Again { why: String, pause: Option<Duration> },
    /// The handler panicked: like a death of the process in the middle of it.
    Crashed(String),
}

/// The next number of the file's sequence, for a question that is asked after this transaction.
pub fn next_number(c: &Connection) -> Result<i64> {
    c.prepare_cached("UPDATE sequence SET n = n + 1 RETURNING n")
        .and_then(|mut next| next.query_row([], |row| row.get(0)))
        .map_err(db::translate)
}

/// Keeps an event that is due at `due`. True when it is new; the same id again is a success that changes nothing (the schema
/// sees to it).
pub fn keep(
    c: &Connection,
    event: &Event,
    payload: &str,
    source: Source,
    now: Timestamp,
    due: Timestamp,
) -> Result<bool> {
    let seq = next_number(c)?;
    c.prepare_cached(
        "INSERT INTO events(id, type, object_id, created, livemode, api_version, account, context, shape,
           snapshot_event, payload, source, received_at, seq, next_attempt_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .and_then(|mut insert| {
        insert.execute((
            &event.id,
            &event.kind,
            &event.object_id,
            event.created.map(clock::text),
            event.livemode,
            &event.api_version,
            &event.account,
            &event.context,
            event.shape.as_str(),
            &event.snapshot_event,
            payload,
            source.as_str(),
            clock::text(now),
            seq,
            clock::text(due),
        ))
    })
    .map(|rows| rows == 1)
    .map_err(db::translate)
}

/// True when Stripe's event is here, in either of its two shapes: by its id, as the twin of a thin one, or, where the thin one
/// names no twin, by what it is about and when.
pub fn is_here(c: &Connection, event: &Event) -> Result<bool> {
    let created = |away_s: i64| event.created.and_then(|at| clock::from_unix(at.as_second() + away_s)).map(clock::text);
    c.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM events WHERE id = ?1) OR EXISTS(SELECT 1 FROM events WHERE snapshot_event = ?1)
           OR EXISTS(SELECT 1 FROM events WHERE object_id = ?2 AND shape = 'thin' AND snapshot_event IS NULL
             AND type = 'v1.' || ?3 AND created BETWEEN ?4 AND ?5)",
    )
    .and_then(|mut q| {
        q.query_row((&event.id, &event.object_id, event.name(), created(-2), created(2)), |row| row.get(0))
    })
    .map_err(db::translate)
}

/// True when an event about this object has not been concluded yet.
pub fn is_awaited(c: &Connection, object: &str) -> Result<bool> {
    c.prepare_cached("SELECT EXISTS(SELECT 1 FROM events WHERE object_id = ?1 AND state = 'pending')")
        .and_then(|mut q| q.query_row([object], |row| row.get(0)))
        .map_err(db::translate)
}

/// True when an event is due, without taking it; for a connection that only reads.
pub fn is_any_due(c: &Connection, now: Timestamp) -> Result<bool> {
    c.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM events WHERE state = 'pending' AND (attempts > 0 OR source = 'backfill') = 0 AND next_attempt_at <= ?1)
           OR EXISTS(SELECT 1 FROM events WHERE state = 'pending' AND (attempts > 0 OR source = 'backfill') = 1 AND next_attempt_at <= ?1)",
    )
    .and_then(|mut q| q.query_row([clock::text(now)], |row| row.get(0)))
    .map_err(db::translate)
}

/// Takes due events, those that have waited longest first: up to `fresh` that were never tried, and up to `late` that were,
/// or that were fetched because they never arrived, so that events which hang or fail or come by the hundred do not keep
/// new ones waiting. Counting the attempt and moving it into the future before anything is tried is lease, backoff and
/// crash guard in one.
pub fn take(c: &Connection, fresh: usize, late: usize, now: Timestamp) -> Result<Vec<Taken>> {
    let mut all = Vec::new();
    for (is_late, n) in [(false, fresh), (true, late)] {
        let taken = c
            .prepare_cached(
                "UPDATE events SET attempts = attempts + 1, taken_at = ?1, next_attempt_at = ?2
                 WHERE id IN (SELECT id FROM events WHERE state = 'pending'
                                AND (attempts > 0 OR source = 'backfill') = ?4 AND next_attempt_at <= ?1
                              ORDER BY next_attempt_at LIMIT ?3)
                 RETURNING id, payload, attempts, crashes, received_at, type, object_id, seq,
                   attempts = 1 AND state_reason IS NULL",
            )
            .and_then(|mut q| {
                let row = |row: &Row| Ok(Taken { late: is_late, first: row.get(8)?, ..taken(row)? });
                q.query_map((clock::text(now), clock::text(now + LEASE), n as i64, is_late), row)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(db::translate)?;
        all.extend(taken);
    }
    for event in &mut all {
        event.asked = next_number(c)?;
    }
    Ok(all)
}

fn taken(row: &Row) -> rusqlite::Result<Taken> {
    let received_at: String = row.get(4)?;
    Ok(Taken {
        id: row.get(0)?,
        payload: row.get(1)?,
        attempts: row.get(2)?,
        crashes: row.get(3)?,
        received_at: received_at.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        kind: row.get(5)?,
        object_id: row.get(6)?,
        seq: row.get(7)?,
        asked: 0,
        late: true,
        first: false,
    })
}

/// Writes what a try came to. The caller is inside its transaction and has named itself in `actor`.
pub fn conclude(c: &Connection, event: &Taken, conclusion: &Conclusion, now: Timestamp) -> Result<()> {
    let (state, reason, next) = match conclusion {
        Conclusion::Done => ("done", None, None),
        Conclusion::Ignored(why) => ("ignored", Some(why.clone()), None),
        Conclusion::Failed(why) => ("failed", Some(why.clone()), None),
        Conclusion::Again { why, .. } if spent(event, now) => {
            ("failed", Some(format!("given up after {} tries in 3 days: {why}", event.attempts)), None)
        }
        Conclusion::Again { why, pause } => {
            ("pending", Some(why.clone()), Some(now + pause.unwrap_or_else(|| backoff(event.attempts))))
        }
        Conclusion::Crashed(why) if event.crashes + 1 >= CRASHES_MAX => ("failed", Some(why.clone()), None),
        Conclusion::Crashed(why) => ("pending", Some(why.clone()), Some(now + crash_pause(event.crashes + 1))),
    };
    let crashed = matches!(conclusion, Conclusion::Crashed(_)) as i64;
    let changed = c
        .prepare_cached(
            "UPDATE events SET state = ?2, state_reason = ?3, taken_at = NULL, crashes = crashes + ?4,
               next_attempt_at = ?5, processed_at = CASE WHEN ?2 = 'pending' THEN NULL ELSE ?6 END
             WHERE id = ?1 AND state = 'pending'",
        )
        .and_then(|mut update| {
            update.execute((&event.id, state, reason, crashed, next.map(clock::text), clock::text(now)))
        })
        .map_err(db::translate)?;
    // Nothing changed: somebody concluded it meanwhile (a replay in another process); theirs stands.
    log::debug!("event {} {state} ({changed} row)", event.id);
    Ok(())
}

/// At start: events that were in a worker's hands when the process ended. The few first times they are due at once; then
/// ever later; and an event in which the daemon keeps dying is parked, so that the ones behind it go on. Returns how many
/// there were.
pub fn release_interrupted(c: &Connection, now: Timestamp) -> Result<usize> {
    let interrupted: Vec<Taken> = c
        .prepare(
            "SELECT id, NULL, attempts, crashes, received_at, type, object_id, seq FROM events WHERE state = 'pending' AND taken_at IS NOT NULL",
        )
        .and_then(|mut q| q.query_map([], taken)?.collect())
        .map_err(db::translate)?;
    for event in &interrupted {
        let why = format!("fulfilld ended {} times while working on it", event.crashes + 1);
        conclude(c, event, &Conclusion::Crashed(why), now)?;
    }
    Ok(interrupted.len())
}

/// When Stripe answers again after an outage: everything that is only waiting is due now.
pub fn wake_all(c: &Connection, now: Timestamp) -> Result<usize> {
    c.execute(
        "UPDATE events SET next_attempt_at = ?1 WHERE state = 'pending' AND taken_at IS NULL AND next_attempt_at > ?1
           AND crashes = 0",
        [clock::text(now)],
    )
    .map_err(db::translate)
}

/// Makes an event due again, whatever its state. False when there is no such event.
pub fn replay(c: &Connection, id: &str) -> Result<bool> {
    c.execute("UPDATE events SET state = 'pending' WHERE id = ?1", [id]).map(|n| n == 1).map_err(db::translate)
}

/// Pending events and the age of the oldest in seconds, for `/readyz` and `/metrics`.
pub fn backlog(c: &Connection, now: Timestamp) -> Result<(i64, i64)> {
    let (count, oldest): (i64, Option<String>) = c
        .prepare_cached("SELECT count(*), min(received_at) FROM events WHERE state = 'pending'")
        .and_then(|mut q| q.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(db::translate)?;
    let age =
        oldest.and_then(|at| at.parse::<Timestamp>().ok()).map_or(0, |at| (now.as_second() - at.as_second()).max(0));
    Ok((count, age))
}

/// In the name of `author`: sets `actor` for the work and sets it back, so that history knows who wrote. The savepoint
/// around the caller undoes both together.
pub fn as_author<T>(c: &Connection, author: &str, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let name = |name: &str| {
        c.prepare_cached("UPDATE actor SET name = ?1").and_then(|mut u| u.execute([name])).map_err(db::translate)
    };
    if name(author)? != 1 {
        return Err(Error::Corrupt("the table actor has lost its row; restore a backup".into()));
    }
    let value = work(c)?;
    name("operator")?;
    Ok(value)
}

fn spent(event: &Taken, now: Timestamp) -> bool {
    event.attempts >= TRIES_MIN && now.as_second() - event.received_at.as_second() > GIVE_UP_AFTER.as_secs() as i64
}

/// 1 s, 2 s, 4 s … an hour, each shortened by up to half at random so that a crowd does not come back together.
fn backoff(attempts: i64) -> Duration {
    let exponent = (attempts - 1).clamp(0, 20) as u32;
    let full = 2u64.pow(exponent).min(PAUSE_MAX_S) as f64;
    Duration::from_secs_f64(full * (0.5 + 0.5 * fastrand::f64()))
}

/// Nothing for the first three deaths (a restart, a power cut), then 2 s, 4 s, …
fn crash_pause(crashes: i64) -> Duration {
    if crashes <= 3 {
        Duration::ZERO
    } else {
        Duration::from_secs(2u64.pow((crashes - 3).min(12) as u32).min(PAUSE_MAX_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(attempts: i64, crashes: i64, age_days: i64) -> Taken {
        Taken {
            id: "evt_1".into(),
            kind: "checkout.session.completed".into(),
            object_id: None,
            payload: None,
            attempts,
            crashes,
            received_at: clock::now() - Duration::from_secs(age_days as u64 * 86_400),
            seq: 1,
            asked: 2,
            late: true,
            first: false,
        }
    }

    #[test]
    fn pauses_grow_with_jitter_to_an_hour() {
        for attempts in 1..60 {
            let full = 2f64.powi((attempts - 1).min(20)).min(3600.0);
            let pause = backoff(attempts as i64).as_secs_f64();
            assert!(pause >= full / 2.0 && pause <= full, "{attempts}: {pause}");
        }
        assert_eq!(crash_pause(3), Duration::ZERO);
        assert_eq!(crash_pause(4), Duration::from_secs(2));
        assert!(crash_pause(1000) <= Duration::from_secs(PAUSE_MAX_S));
    }

    #[test]
    fn giving_up_takes_three_days_and_twenty_tries() {
        let now = clock::now();
        assert!(!spent(&event(19, 0, 10), now));
        assert!(!spent(&event(100, 0, 2), now));
        assert!(spent(&event(20, 0, 4), now));
    }
}
