//! Keeps the index behind `orders --search`: takes in, now and then, the orders that it lacks.
//!
//! Orders are read outside of any transaction, so nobody waits for that; only what was found is
//! written by the writer, in small steps.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::context::Context;
use crate::db::{self, Reader};
use crate::error::Result;
use crate::inbox;
use crate::rounds::Rounds;
use crate::words::{
    BLOCK, PLACES, ROW, ROW_OF, SEGMENT, changed, closed_up, id_of, places, read, segments,
};

/// So many orders are read in a few ms: a file that has fewer needs no index, a segment that has fewer
/// is read as a whole, and so are the orders that have changed while they are fewer.
const FEW: usize = 1024;

/// Rows of the index in one transaction: 64 KB.
const BATCH: usize = 128;

/// How long after the start it looks first, and how often then; how soon it goes on while there is
/// more to take in, and how soon again when the file could not be written.
const FIRST_AFTER: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Starts the thread that keeps the index of the file at `path`. It looks through `reader` whether
/// there is anything to keep, and has a connection of its own, which takes memory, only for a file
/// of many orders.
pub fn start(context: Arc<Context>, reader: Reader, path: PathBuf) -> Rounds {
    let mut open = None;
    Rounds::start("search index", FIRST_AFTER, move || {
        if open.is_none() && !reader.get().and_then(|c| is_worth_it(&c, FEW)).unwrap_or(true) {
            return EVERY;
        }
        let write = |update: Update| context.writer.write(move |c| update.apply(c));
        match round(&mut open, &path, write) {
            Ok(true) => PAUSE,
            Ok(false) => {
                open = None;
                EVERY
            }
            Err(error) => {
                log::debug!("the search index is kept a little later: {error}");
                open = None;
                AGAIN_AFTER
            }
        }
    })
}

/// One step of the work; true when there is more to do.
fn round(
    open: &mut Option<Connection>,
    path: &Path,
    write: impl Fn(Update) -> Result<bool>,
) -> Result<bool> {
    let c = match open {
        Some(c) => c,
        None => open.insert(db::open_for_reading(path)?),
    };
    step(c, FEW, write)
}

/// Takes in what has changed when it is more than a few orders, or else a segment that is missing.
/// True when it did something.
pub fn step(c: &Connection, few: usize, write: impl Fn(Update) -> Result<bool>) -> Result<bool> {
    let before = Before::of(c)?;
    if !before.has_index {
        if !is_worth_it(c, few)? {
            return Ok(false);
        }
        // What is not in the index yet needs no look at its history.
        if !before.up_to_date(&write)? {
            return Ok(true);
        }
    }
    let changed = changed(c)?;
    if changed.len() >= few {
        take_in(c, &before, &changed, &write)?;
        return Ok(true);
    }
    for segment in segments(c)? {
        let segment = segment?;
        let numbers = segment * SEGMENT..=(segment + 1) * SEGMENT - 1;
        if !is_known(c, segment)? && orders_in(c, segment)? >= few as i64 {
            let mut bits = Bits::default();
            bits.add(c, numbers)?;
            write_rows(&before, bits.rows(segment, |_| true), &write)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// True where there are more than a few orders.
fn is_worth_it(c: &Connection, few: usize) -> Result<bool> {
    let orders = "SELECT count(*) FROM (SELECT 1 FROM orders LIMIT ?1)";
    Ok(number(c, orders, few as i64)? >= few as i64)
}

/// How the file was before orders were read: what is found in them holds for that state at least.
struct Before {
    has_index: bool,
    history: i64,
    forgotten: i64,
}

impl Before {
    fn of(c: &Connection) -> Result<Before> {
        Ok(Before {
            has_index: number(c, "SELECT EXISTS(SELECT 1 FROM search_blocks WHERE id <> ?1)", -1)?
                == 1,
            history: number(c, "SELECT coalesce(max(id), ?1) FROM order_history", 0)?,
            forgotten: number(c, FORGOTTEN, 0)?,
        })
    }

    fn up_to_date(&self, write: &impl Fn(Update) -> Result<bool>) -> Result<bool> {
        let history = Some(self.history);
        write(Update { rows: Vec::new(), history, forgotten: self.forgotten })
    }
}

const FORGOTTEN: &str = "SELECT count(*) + ?1 FROM forgotten";

/// Adds the changed orders to the segments that are known; the others are read as a whole anyway.
fn take_in(
    c: &Connection,
    before: &Before,
    changed: &BTreeSet<i64>,
    write: &impl Fn(Update) -> Result<bool>,
) -> Result<()> {
    let in_segments: BTreeSet<i64> = changed.iter().map(|id| id / SEGMENT).collect();
    for segment in in_segments {
        if !is_known(c, segment)? {
            continue;
        }
        let mut bits = Bits::of(c, segment)?;
        let known = bits.0.clone();
        for id in changed.range(segment * SEGMENT..(segment + 1) * SEGMENT) {
            bits.add(c, *id..=*id)?;
        }
        let is_new = |row: usize| {
            let places = row * ROW..(row + 1) * ROW;
            bits.0[places.clone()] != known[places]
        };
        if !write_rows(before, bits.rows(segment, is_new), write)? {
            return Ok(());
        }
    }
    before.up_to_date(write).map(drop)
}

/// A bit for each place and block of one segment.
struct Bits(Vec<u64>);

impl Default for Bits {
    fn default() -> Bits {
        Bits(vec![0; PLACES])
    }
}

impl Bits {
    /// What the file has of a segment that is known.
    fn of(c: &Connection, segment: i64) -> Result<Bits> {
        let mut bits = Bits::default();
        let mut row = c.prepare_cached(ROW_OF).map_err(db::translate)?;
        for (n, places) in bits.0.chunks_mut(ROW).enumerate() {
            let eights: Vec<u8> =
                row.query_row([id_of(segment, n)], |row| row.get(0)).map_err(db::translate)?;
            for (place, eight) in places.iter_mut().zip(eights.chunks_exact(8)) {
                *place = eight.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            }
        }
        Ok(bits)
    }

    /// Adds the texts of these orders, which are in the segment.
    fn add(&mut self, c: &Connection, numbers: RangeInclusive<i64>) -> Result<()> {
        let mut without_lines = c
            .prepare_cached("SELECT NOT EXISTS(SELECT 1 FROM line_items WHERE order_id = ?1)")
            .map_err(db::translate)?;
        read(c, numbers, |id, text| {
            let bit = 1 << (id % SEGMENT / BLOCK);
            // Stripe may still name them, and that is no row of the history.
            if without_lines.query_row([id], |row| row.get(0)).map_err(db::translate)? {
                self.0.iter_mut().for_each(|place| *place |= bit);
                return Ok(false);
            }
            let text = text.whole()?;
            places(&text).for_each(|place| self.0[place] |= bit);
            for line in text.lines().filter(|line| line.bytes().any(|b| b.is_ascii_digit())) {
                places(&closed_up(line)).for_each(|place| self.0[place] |= bit);
            }
            Ok(false)
        })
        .map(drop)
    }

    /// As rows of the file, the first one last.
    fn rows(&self, segment: i64, wanted: impl Fn(usize) -> bool) -> Vec<(i64, Vec<u8>)> {
        let rows = self.0.chunks(ROW).enumerate().rev().filter(|(n, _)| wanted(*n));
        rows.map(|(n, places)| {
            (id_of(segment, n), places.iter().flat_map(|bits| bits.to_le_bytes()).collect())
        })
        .collect()
    }
}

/// Writes rows in small transactions. False when somebody was forgotten meanwhile.
fn write_rows(
    before: &Before,
    rows: Vec<(i64, Vec<u8>)>,
    write: &impl Fn(Update) -> Result<bool>,
) -> Result<bool> {
    for rows in rows.chunks(BATCH) {
        let rows = rows.to_vec();
        if !write(Update { rows, history: None, forgotten: before.forgotten })? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What one transaction writes.
pub struct Update {
    rows: Vec<(i64, Vec<u8>)>,
    /// The index knows all orders of its segments as they were with this row of the history.
    history: Option<i64>,
    /// So many objects were forgotten before the orders were read.
    forgotten: i64,
}

impl Update {
    /// False, and nothing is written, when somebody was forgotten meanwhile: their texts may have
    /// been read before.
    pub fn apply(self, c: &Connection) -> Result<bool> {
        if number(c, FORGOTTEN, 0)? != self.forgotten {
            return Ok(false);
        }
        inbox::as_author(c, "fulfilld:search", |c| {
            let mut keep = c
                .prepare_cached(
                    "INSERT INTO search_blocks(id, orders) VALUES(?1, ?2)
                     ON CONFLICT(id) DO UPDATE SET orders = excluded.orders",
                )
                .map_err(db::translate)?;
            for row in &self.rows {
                keep.execute((row.0, &row.1)).map_err(db::translate)?;
            }
            if let Some(history) = self.history {
                c.execute("UPDATE search_state SET history = ?1", [history])
                    .map_err(db::translate)?;
            }
            Ok(true)
        })
    }
}

fn is_known(c: &Connection, segment: i64) -> Result<bool> {
    let first = "SELECT EXISTS(SELECT 1 FROM search_blocks WHERE id = ?1)";
    Ok(number(c, first, id_of(segment, 0))? == 1)
}

fn orders_in(c: &Connection, segment: i64) -> Result<i64> {
    c.prepare_cached("SELECT count(*) FROM orders WHERE id >= ?1 AND id < ?2")
        .and_then(|mut query| {
            query.query_row([segment * SEGMENT, (segment + 1) * SEGMENT], |row| row.get(0))
        })
        .map_err(db::translate)
}

fn number(c: &Connection, sql: &str, with: i64) -> Result<i64> {
    c.prepare_cached(sql)
        .and_then(|mut query| query.query_row([with], |row| row.get(0)))
        .map_err(db::translate)
}
