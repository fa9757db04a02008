//! What makes events due before their time, or once more: Stripe answers again, the key may see more
//! than before, or a day has passed since Stripe did not show all.

use std::time::Duration;

use rusqlite::Connection;

use super::deaths::CRASHES_FORGIVEN;
use super::{AHEAD_MAX, LATE};
use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::Result;

/// Events that are made due anew in one transaction, because what was missing in their answers may
/// be there.
pub(super) const UNFINISHED_MAX: i64 = 1000;

/// What was missing in an event's answer is requested about again after this time, for so long.
const UNFINISHED_EVERY: Duration = Duration::from_secs(24 * 3600);
const UNFINISHED_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// At a start, when Stripe answers again after an outage, or when the clock was set: everything that
/// is only waiting is due now. What waits because of its own deaths or panics goes on waiting; the
/// forgiven ones have no pause.
pub fn wake_all(c: &Connection, now: Timestamp) -> Result<usize> {
    c.execute(&wake_sql(), (clock::text(now), CRASHES_FORGIVEN)).map_err(db::translate)
}

/// Both halves of the index are named, so that what is due already is not read.
fn wake_sql() -> String {
    format!(
        "UPDATE events SET next_attempt_at = ?1 WHERE state = 'pending' AND {LATE} IN(0, 1)
           AND next_attempt_at > ?1 AND taken_at IS NULL AND crashes <= ?2 AND panics <= ?2"
    )
}

/// When the key may see more than before, what is being requested just now is requested once more:
/// the answer may be from before. A new number keeps that answer from finishing the events.
pub fn request_again_what_is_taken(c: &Connection) -> Result<()> {
    c.execute("UPDATE events SET state = 'pending' WHERE taken_at IS NOT NULL", [])
        .map(drop)
        .map_err(db::translate)
}

/// When the key may see more than before: what was read with something missing is requested once
/// more, [`UNFINISHED_MAX`] events of those numbered below `before`, the latest first. Returns the
/// number below which there may be more.
pub fn wake_unfinished(c: &Connection, before: i64) -> Result<Option<i64>> {
    let some: Vec<(String, i64)> = c
        .prepare_cached(
            "SELECT id, seq FROM events WHERE state = 'done' AND awaits IS NOT NULL AND seq < ?1
             ORDER BY seq DESC LIMIT ?2",
        )
        .and_then(|mut q| {
            let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?));
            q.query_map((before, UNFINISHED_MAX), row)?.collect()
        })
        .map_err(db::translate)?;
    for (id, _) in &some {
        replay(c, id)?;
    }
    Ok(some.get(UNFINISHED_MAX as usize - 1).map(|(_, seq)| *seq))
}

/// The events in whose answers something was missing a day ago or earlier, of a month: Stripe may
/// show it by now. A time later than now was written by a clock that was ahead.
pub fn unfinished_daily(c: &Connection, now: Timestamp) -> Result<Vec<String>> {
    let times = [now - UNFINISHED_EVERY, now - UNFINISHED_MAX_AGE, now + AHEAD_MAX];
    let [day, month, ahead] = times.map(clock::text);
    c.prepare_cached(
        "SELECT id FROM events WHERE state = 'done' AND awaits IS NOT NULL
           AND received_at > ?2 AND (processed_at < ?1 OR processed_at > ?3)
         ORDER BY processed_at LIMIT ?4",
    )
    .and_then(|mut q| q.query_map((day, month, ahead, UNFINISHED_MAX), |row| row.get(0))?.collect())
    .map_err(db::translate)
}

/// Makes an event due anew; the file's own rule numbers it.
pub fn replay(c: &Connection, event: &str) -> Result<()> {
    c.prepare_cached("UPDATE events SET state = 'pending' WHERE id = ?1")
        .and_then(|mut update| update.execute([event]))
        .map(drop)
        .map_err(db::translate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_already_is_not_read_to_wake_what_is_not() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", wake_sql());
        let steps: Vec<String> = c
            .prepare(&plan)
            .and_then(|mut plan| {
                plan.query_map((clock::text(clock::now()), 3), |row| row.get(3))?.collect()
            })
            .unwrap();
        let said = steps.join("; ");
        assert!(said.contains("events_due (<expr>=? AND next_attempt_at>?)"), "{said}");
    }
}
