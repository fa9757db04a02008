//! Waits until a fulfilld that was started on a restored file has fetched from Stripe what happened
//! since, and has processed it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::commands::doctor::Daemon;
use crate::config;
use crate::db;
use crate::error::{Error, Result};
use crate::sabotage;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// While nothing changes it waits no longer than this; a large file is checked at the start.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// What is seen of the daemon's progress; while it changes, there is something to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// `None` once it is ready.
    why_not_ready: Option<String>,
    has_backfilled: bool,
    /// Events in the file, and those of them that are still to be processed.
    events: i64,
    pending: i64,
}

impl Seen {
    fn now(listen: &str, file: &Path) -> Seen {
        let daemon = Daemon::ask(listen, file);
        let (events, pending) =
            db::open_for_reading(file).and_then(|c| counts(&c, i64::MAX)).unwrap_or_default();
        Seen {
            why_not_ready: daemon.why_not_ready(),
            has_backfilled: daemon.has_backfilled(),
            events,
            pending,
        }
    }

    /// What is still to be waited for, in words.
    fn awaited(&self) -> String {
        match (&self.why_not_ready, self.has_backfilled) {
            (Some(why), _) => format!("fulfilld is not ready: {why}"),
            (None, false) => "Stripe's events were not yet read to the end".into(),
            (None, true) => format!("{} events are still to be processed", self.pending),
        }
    }
}

/// All events, and the pending ones, up to a place in their sequence.
fn counts(c: &Connection, until: i64) -> Result<(i64, i64)> {
    let sql = "SELECT count(*), coalesce(sum(state = 'pending'), 0) FROM events WHERE seq <= ?1";
    c.query_row(sql, [until], |row| Ok((row.get(0)?, row.get(1)?))).map_err(db::translate)
}

/// Returns what was done, in a sentence, once the daemon is ready, has read Stripe's events and has
/// processed those that were there by then. `Temporary` when nothing changes for two minutes, or
/// once `stopped` is set: the daemon goes on alone.
pub fn catch_up(listen: &str, file: &Path, stopped: &AtomicBool) -> Result<String> {
    let began = Instant::now();
    let is_off = config::BACKFILL_EVERY.get().is_ok_and(|every| every.is_zero());
    let stuck_after = match sabotage::is("an_hour_is_a_second") {
        true => Duration::from_secs(1),
        false => STUCK_AFTER,
    };
    let at_first = db::open_for_reading(file).and_then(|c| counts(&c, i64::MAX));
    let at_first = at_first.map_or(0, |(events, _)| events);
    // The newest event when Stripe's were read to the end: later ones are the shop's everyday work.
    let mut newest = None;
    let (mut seen, mut changed) = (Seen::now(listen, file), Instant::now());
    loop {
        if seen.why_not_ready.is_none() && (seen.has_backfilled || is_off) {
            let c = db::open_for_reading(file)?;
            let newest = match newest {
                Some(newest) => newest,
                None => {
                    let sql = "SELECT coalesce(max(seq), 0) FROM events";
                    *newest.insert(c.query_row(sql, [], |row| row.get(0)).map_err(db::translate)?)
                }
            };
            let (events, pending) = counts(&c, newest)?;
            if pending == 0 {
                let took = began.elapsed().as_secs_f64();
                let came = events.saturating_sub(at_first).max(0);
                let came = match is_off {
                    false => format!("{came} events came from Stripe, and all are processed"),
                    true => "FULFILLD_BACKFILL_EVERY is 0, so fetch what happened since: sudo \
                             fulfilld reconcile --since 30d"
                        .to_string(),
                };
                return Ok(format!("fulfilld is ready after {took:.1} s; {came}"));
            }
        }
        if stopped.load(Ordering::Relaxed) || changed.elapsed() >= stuck_after {
            return Err(Error::Temporary(format!(
                "the file is restored and fulfilld runs on it; not waited for: {}; sudo fulfilld \
                 doctor says what to do",
                seen.awaited()
            )));
        }
        std::thread::sleep(LOOK_EVERY);
        let now = Seen::now(listen, file);
        if now != seen {
            (seen, changed) = (now, Instant::now());
        }
    }
}
