//! Clears the bodies of old events. Nothing needs them once an event is concluded: what is
//! requested from Stripe, replayed or rebuilt is read from the columns that were filled at the door.
//! They name the buyer, so they go after a while, in small steps and behind whatever else is to be
//! written.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db;
use crate::error::Result;
use crate::inbox;
use crate::rounds::Rounds;

/// So many bodies in one transaction, and the pause after it.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_millis(500);

/// How often it looks for what has grown old, and how soon again when the file could not be written.
const EVERY: Duration = Duration::from_secs(3600);
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Starts the thread that clears what is older than `keep`, from now on.
pub fn start(context: Arc<Context>, keep: Duration) -> Rounds {
    let mut cleared = 0;
    Rounds::start("retention", Duration::ZERO, move || {
        // Where this server's clock is fast, Stripe's counts.
        let now = context.stripe.skew().now().min(clock::now());
        match context.writer.write(move |c| clear(c, now, keep)) {
            Ok(BATCH) => {
                cleared += BATCH;
                PAUSE
            }
            Ok(n) => {
                cleared += n;
                if cleared > 0 {
                    log::info!("cleared the bodies of {cleared} old events; the events remain");
                }
                cleared = 0;
                EVERY
            }
            Err(error) => {
                log::debug!("old bodies are cleared a little later: {error}");
                AGAIN_AFTER
            }
        }
    })
}

/// Clears the oldest bodies of events that are done or ignored; what is pending or failed keeps its
/// own, because a person may want to look. How many it cleared.
fn clear(c: &Connection, now: Timestamp, keep: Duration) -> Result<usize> {
    let before = clock::text(now - keep);
    inbox::as_author(c, "fulfilld:retention", |c| {
        c.prepare_cached(
            "UPDATE events SET payload = NULL WHERE rowid IN(SELECT rowid FROM events INDEXED BY events_stored
               WHERE payload IS NOT NULL AND state IN('done', 'ignored') AND received_at < ?1
               ORDER BY received_at LIMIT ?2)",
        )
        .and_then(|mut update| update.execute((before, BATCH as i64)))
        .map_err(db::translate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_bodies_of_what_is_concluded_go_in_small_steps_and_nothing_else_does() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
        let now = clock::from_unix(1_795_489_500).unwrap();
        let day = Duration::from_secs(86_400);
        let add = |id: &str, days: u32, state: &str| {
            c.execute(
                "INSERT INTO events(id, type, shape, payload, source, received_at, state)
                 VALUES(?1, 'x', 'snapshot', '{}', 'webhook', ?2, ?3)",
                (id, clock::text(now - day * days), state),
            )
            .unwrap();
        };
        (0..BATCH).for_each(|n| add(&format!("old_{n}"), 100 + n as u32, "done"));
        for (id, days, state) in [
            ("set_aside", 91, "ignored"),
            ("young", 89, "done"),
            ("waits", 200, "pending"),
            ("parked", 200, "failed"),
        ] {
            add(id, days, state);
        }
        assert_eq!(clear(&c, now, day * 90).unwrap(), BATCH);
        assert_eq!(clear(&c, now, day * 90).unwrap(), 1);
        assert_eq!(clear(&c, now, day * 90).unwrap(), 0);
        let kept = "SELECT group_concat(id) FROM (SELECT id FROM events WHERE payload IS NOT NULL ORDER BY id)";
        let kept: String = c.query_row(kept, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "parked,waits,young");
    }
}
