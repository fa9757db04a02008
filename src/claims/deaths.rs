//! The process that dies: which events may have caused it, and what happens to them.
//!
//! Every event in progress counts it (`crashes`). The first three deaths are forgiven (a restart, a
//! power cut). From the third on the event is a suspect: it is claimed when nothing else is in
//! hand, so a further death is evidence against it alone, and after twelve of those it is parked. A
//! start that finds nothing in progress shows that the process dies for another reason: the
//! suspects' counts go back to three. A handler that panics is caught and counts for its own events
//! alone (`panics`), and they are parked after twelve.

use std::time::Duration;

use rusqlite::Connection;

use super::{Claimed, claimed, columns};
use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::Result;
use crate::reason::Code;

/// Deaths of the process with an event in progress before the event is claimed alone, and deaths
/// while it was in progress alone before it is parked as their cause.
pub const CRASHES_FORGIVEN: i64 = 3;
const CRASHES_MAX: i64 = 12;

/// Panics of its handler before an event is parked.
pub const PANICS_MAX: i64 = 12;

/// The longest pause after a death or a panic.
const PAUSE_MAX_S: u64 = 3600;

/// By the indexes `events_taken` and `events_suspect`: a start does not read what else waits.
const INTERRUPTED: &str = "FROM events WHERE state = 'pending' AND taken_at IS NOT NULL";
const FORGIVE: &str = "UPDATE events SET crashes = ?1, next_attempt_at = ?2
    WHERE rowid IN(SELECT rowid FROM events INDEXED BY events_suspect
      WHERE state = 'pending' AND crashes >= 3 AND crashes > ?1)";
const _: () = assert!(CRASHES_FORGIVEN == 3);

/// At start: the events that a worker had when the process ended. The few first times
/// they are due at once; then each is claimed alone, ever later; and the one in which the daemon
/// keeps dying is parked, so that those behind it are processed. Returns how many there were.
pub fn release_interrupted(c: &Connection, now: Timestamp) -> Result<usize> {
    let sql = format!("SELECT {} {INTERRUPTED}", columns());
    let interrupted: Vec<Claimed> = c
        .prepare(&sql)
        .and_then(|mut q| q.query_map([], claimed)?.collect())
        .map_err(db::translate)?;
    if interrupted.is_empty() {
        // Whatever ended it, these did not.
        c.execute(FORGIVE, (CRASHES_FORGIVEN, clock::text(now))).map_err(db::translate)?;
    }
    for event in &interrupted {
        let crashes = event.crashes + 1;
        let alone = crashes - CRASHES_FORGIVEN;
        let why = format!("fulfilld ended {crashes} times while working on it");
        let (id, at) = (&event.event.id, clock::text(now));
        if alone >= CRASHES_MAX {
            let why = format!("{why}, the last {alone} times on it alone");
            c.execute(
                "UPDATE events SET state = 'failed', state_reason = ?2, reason_code = ?5, taken_at = NULL, crashes = ?3,
                   next_attempt_at = NULL, processed_at = ?4 WHERE id = ?1",
                (id, why, crashes, at, Code::Crashed.word()),
            )
        } else {
            c.execute(
                "UPDATE events SET state_reason = ?2, reason_code = ?5, taken_at = NULL, crashes = ?3, \
                 next_attempt_at = ?4 WHERE id = ?1",
                (id, why, crashes, clock::text(now + pause_after(crashes)), Code::Interrupted.word()),
            )
        }
        .map_err(db::translate)?;
    }
    Ok(interrupted.len())
}

/// Nothing for the first three deaths or panics, then 2 s, 4 s, … an hour.
pub fn pause_after(crashes: i64) -> Duration {
    if crashes <= CRASHES_FORGIVEN {
        Duration::ZERO
    } else {
        Duration::from_secs(2u64.pow((crashes - CRASHES_FORGIVEN).min(12) as u32).min(PAUSE_MAX_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_finds_what_was_in_progress_without_reading_what_waits() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        for (sql, index) in [
            (format!("SELECT id {INTERRUPTED}"), "events_taken"),
            (FORGIVE.into(), "events_suspect"),
        ] {
            let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut steps = plan.raw_query();
            let mut said = String::new();
            while let Some(step) = steps.next().unwrap() {
                said += &step.get::<_, String>(3).unwrap();
            }
            assert!(said.contains(index) && !said.contains("events_object"), "{sql}: {said}");
        }
    }
}
