//! How far the file had got, noted beside it: an older copy put in its place is noticed, and what
//! it lacks is named. So is a clock that was set back between two processes.
//!
//! What Stripe knows comes back by itself. What the operator typed does not, so the last lines of
//! it are noted in `<file>.lock`: which order and which column, never what was written there.

mod running; // the same while it is served

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::db::{self, Reader, Version};
use crate::error::Result;
use crate::place::{self, Lock};

pub use running::Running;

/// The time is noted this often while nothing is written: a clock that was set back by less costs
/// what waits no more than this.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// So many of the operator's lines are remembered.
const TYPED_MAX: usize = 200;

/// So many orders are named.
const NAMED_MAX: usize = 20;

/// The note beside the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Noted {
    /// When the file was last known to be served.
    at: String,
    last: Option<Line>,
    /// The operator's, oldest first.
    typed: Vec<Line>,
}

/// One line of `order_history`, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    id: i64,
    at: String,
    order_id: i64,
    what: String,
}

/// A note that cannot be read is one that was never made.
fn parsed(text: &[u8]) -> Noted {
    serde_json::from_slice(text).unwrap_or_default()
}

impl Noted {
    /// The sentence that names what was typed and is no longer there.
    fn lost(&self, c: &Connection) -> Result<Option<String>> {
        let mut lost: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for line in &self.typed {
            if !stands(c, line)? {
                lost.entry(line.order_id).or_default().push(&line.what);
            }
        }
        Ok((!lost.is_empty()).then(|| {
            let mut orders: Vec<String> = lost
                .iter()
                .map(|(order, what)| {
                    let mut what = what.clone();
                    what.dedup();
                    format!("order {order}: {}", what.join(", "))
                })
                .collect();
            let more = orders.len().saturating_sub(NAMED_MAX);
            orders.truncate(NAMED_MAX);
            let more = if more > 0 { format!("; and {more} more orders") } else { String::new() };
            format!(
                "this file is older than the one served until {}; what Stripe knows comes back by \
                 itself, what was typed since is lost and to be typed again: {}{more}",
                self.at,
                orders.join("; ")
            )
        }))
    }
}

/// What was typed and is no longer in the file at this path, for whoever looks before the next
/// start does; `None` when nothing is missing, or the alarm was raised already.
pub fn lost(path: &Path, c: &Connection) -> Result<Option<String>> {
    parsed(&place::noted_beside(path)).lost(c)
}

/// What a start finds out about the file, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What was typed is no longer in it.
    WentBack(String),
    /// It was in use, and nothing beside it says how far it had got.
    WithoutNote(String),
}

/// Keeps the note up to date.
pub struct RollbackGuard {
    noted: Noted,
    noted_at: Option<Instant>,
    /// The file's version when it was last looked at.
    version: Option<Version>,
}

impl RollbackGuard {
    /// Reads what was noted and compares it with the file that is open now. The finding, where
    /// there is one, names what was typed and is no longer there, or says that this cannot be known.
    pub fn read(held: &Lock, c: &Connection) -> Result<(RollbackGuard, Option<Finding>)> {
        let text = held.noted();
        let noted = parsed(&text);
        let finding = match text.is_empty() {
            // Damage is found by whoever looks at every page.
            true => arrived(c).unwrap_or_default().map(Finding::WithoutNote),
            false => noted.lost(c)?.map(Finding::WentBack),
        };
        // The file as it is now is where the next note begins.
        let typed =
            noted.typed.into_iter().filter(|line| stands(c, line).unwrap_or(false)).collect();
        let now = Noted { at: noted.at, last: last(c)?, typed };
        let mut guard = RollbackGuard { noted: now, noted_at: None, version: None };
        // A daemon that is killed in its first seconds has still been here. What was found is to be
        // found again until the alarm has been raised.
        if finding.is_none() {
            let changed = guard.look(c);
            guard.write(held, changed, true);
        }
        Ok((guard, finding))
    }

    /// Notes how far the file has got where that has changed, and the time once a minute. A note
    /// that cannot be written costs nothing but itself.
    pub fn note(&mut self, held: &Lock, reader: &Reader) {
        let is_old = self.noted_at.is_none_or(|at| at.elapsed() >= NOTE_EVERY);
        let changed = self.look_where_committed(reader);
        self.write(held, changed, is_old);
    }

    /// The same as the last act of the process, the time in any case.
    pub fn note_the_end(&mut self, held: &Lock, reader: &Reader) {
        let changed = self.look_where_committed(reader);
        self.write(held, changed, true);
    }

    fn write(&mut self, held: &Lock, changed: Result<bool>, in_any_case: bool) {
        match changed.map(|changed| changed || in_any_case) {
            Ok(true) => {
                self.noted_at = Some(Instant::now());
                self.noted.at = clock::text(clock::now());
                let text = serde_json::to_vec(&self.noted).expect("a note is JSON");
                if let Err(error) = held.note(&text) {
                    log::debug!("how far the file has got could not be noted: {error}");
                }
            }
            Ok(false) => {}
            Err(error) => log::debug!("how far the file has got cannot be seen: {error}"),
        }
    }

    /// True where the file has got further; not looked at while nobody has committed.
    fn look_where_committed(&mut self, reader: &Reader) -> Result<bool> {
        let version = reader.version()?;
        if self.version == Some(version) {
            return Ok(false);
        }
        let changed = self.look(&*reader.get()?)?;
        self.version = Some(version);
        Ok(changed)
    }

    fn look(&mut self, c: &Connection) -> Result<bool> {
        let last = last(c)?;
        if last == self.noted.last {
            return Ok(false);
        }
        let before = self.noted.last.as_ref().map_or(0, |line| line.id);
        let new: Vec<Line> = c
            .prepare_cached(
                "SELECT id, at, order_id, what FROM order_history WHERE id > ?1 \
                 AND (actor GLOB 'operator*' OR actor GLOB 'page:*') ORDER BY id DESC LIMIT ?2",
            )
            .and_then(|mut q| q.query_map((before, TYPED_MAX as i64), line)?.collect())
            .map_err(db::translate_row)?;
        self.noted.typed.extend(new.into_iter().rev());
        let over = self.noted.typed.len().saturating_sub(TYPED_MAX);
        self.noted.typed.drain(..over);
        self.noted.last = last;
        Ok(true)
    }
}

/// What is to be said of a file that was in use and was never served from here: after a move to
/// another machine nothing shows how far it had got there. `None` for a new file.
fn arrived(c: &Connection) -> Result<Option<String>> {
    let one = |sql: &str| {
        c.query_row(sql, [], |row| row.get::<_, Option<String>>(0)).map_err(db::translate_row)
    };
    let event = one("SELECT max(received_at) FROM events")?;
    let typed = one("SELECT max(at) FROM order_history WHERE actor GLOB 'operator*'")?;
    Ok((event.is_some() || typed.is_some()).then(|| {
        let or = |at: Option<String>, none: &str| at.unwrap_or_else(|| none.into());
        format!(
            "this file is served here for the first time; its newest event is of {}, the last that \
             was typed of {}. Orders that came since are fetched from Stripe; what was typed \
             since, on another machine or before a backup was put here, is not in it and cannot be \
             named",
            or(event, "never"),
            or(typed, "never")
        )
    }))
}

fn last(c: &Connection) -> Result<Option<Line>> {
    c.prepare_cached("SELECT id, at, order_id, what FROM order_history ORDER BY id DESC LIMIT 1")
        .and_then(|mut q| q.query_row([], line).optional())
        .map_err(db::translate_row)
}

fn line(row: &Row) -> rusqlite::Result<Line> {
    Ok(Line { id: row.get(0)?, at: row.get(1)?, order_id: row.get(2)?, what: row.get(3)? })
}

/// True when exactly this line is in the file.
fn stands(c: &Connection, wanted: &Line) -> Result<bool> {
    let found = c
        .prepare_cached("SELECT id, at, order_id, what FROM order_history WHERE id = ?1")
        .and_then(|mut q| q.query_row([wanted.id], line).optional())
        .map_err(db::translate_row)?;
    Ok(found.as_ref() == Some(wanted))
}
