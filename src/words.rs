//! In which orders a text may stand: the index behind `orders --search`.
//!
//! A text may be found in the middle of a word, so the index knows groups of bytes, not words: of
//! three, because a name may be as short, and of four, because most groups of three digits stand
//! somewhere in 64 orders. It says of 64 orders together whether a group occurs in one of them;
//! whoever searches reads those orders and decides. So it never says no where the answer is yes, it
//! needs 96 bytes for an order, and nobody's name can be read from it.
//!
//! Whoever writes an order writes its history, also in a shell. So the index needs no triggers: it
//! says up to which row of the history it knows the orders, and whoever searches reads the orders
//! with later rows as well. The daemon takes those in now and then. A file without an index, or with
//! half of one, is still searched, only slower.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use crate::db;
use crate::error::Result;

/// Orders that share a bit, and the bits of a group of bytes in one segment.
pub const BLOCK: i64 = 64;
const BLOCKS: i64 = 64;

/// Orders of one segment, by their numbers.
pub const SEGMENT: i64 = BLOCK * BLOCKS;

/// Groups of three bytes fall into so many places, groups of four into those that follow. Both are
/// powers of two.
const OF_THREE: usize = 1 << 15;
const OF_FOUR: usize = 1 << 14;
pub const PLACES: usize = OF_THREE + OF_FOUR;
/// So many places are one row of the file.
pub const ROW: usize = 64;
const ROWS: i64 = (PLACES / ROW) as i64;

/// What is searched of an order: its own columns ...
const OWN: usize = 12;
const ORDERS: &str =
    "SELECT name, business_name, shipping_name, email, phone, shipping_line1, shipping_line2,
      shipping_postal_code, shipping_city, client_reference_id, note, origin, id
    FROM orders WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC";

/// ... and what stands beside it.
const BESIDE: &str = "SELECT concat_ws(char(10),
      (SELECT group_concat(concat_ws(char(10), sku, name), char(10)) FROM line_items WHERE order_id = ?1),
      (SELECT group_concat(tracking_number, char(10)) FROM fulfillments WHERE order_id = ?1),
      (SELECT group_concat(value, char(10)) FROM order_custom_fields WHERE order_id = ?1))";

/// The text of one order: a line for each value, in small letters.
pub struct Text<'a, 'c> {
    lines: &'a mut String,
    beside: &'a mut CachedStatement<'c>,
    id: i64,
}

impl Text<'_, '_> {
    /// What stands in the order's own columns, which took one step to read.
    pub fn own(&self) -> &str {
        self.lines
    }

    /// All of it, with items, parcels and custom fields.
    pub fn whole(self) -> Result<String> {
        let Text { lines, beside, id } = self;
        let more: String = beside.query_row([id], |row| row.get(0)).map_err(db::translate)?;
        push_lower(lines, &more);
        Ok(std::mem::take(lines))
    }
}

/// Reads the orders with these numbers, the newest first, until `look` says true; then true.
pub fn read(
    c: &Connection,
    numbers: RangeInclusive<i64>,
    mut look: impl FnMut(i64, Text) -> Result<bool>,
) -> Result<bool> {
    let mut orders = c.prepare_cached(ORDERS).map_err(db::translate)?;
    let mut beside = c.prepare_cached(BESIDE).map_err(db::translate)?;
    let mut rows = orders.query([numbers.start(), numbers.end()]).map_err(db::translate)?;
    let mut lines = String::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let id: i64 = row.get(OWN).map_err(db::translate)?;
        own_lines(row, &mut lines).map_err(db::translate)?;
        if look(id, Text { lines: &mut lines, beside: &mut beside, id })? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn own_lines(row: &Row, lines: &mut String) -> rusqlite::Result<()> {
    lines.clear();
    for column in 0..OWN {
        if let ValueRef::Text(text) = row.get_ref(column)? {
            push_lower(lines, &String::from_utf8_lossy(text));
        }
    }
    Ok(())
}

/// SQLite knows upper and lower case of ASCII alone.
fn push_lower(lines: &mut String, text: &str) {
    let from = lines.len();
    if text.is_ascii() {
        lines.push_str(text);
        lines[from..].make_ascii_lowercase();
    } else {
        lines.push_str(&text.to_lowercase());
    }
    lines.push('\n');
}

/// Without blanks and dashes, as a phone or tracking number is compared.
pub fn closed_up(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

/// Where the groups of bytes of a text fall. A group with a blank in it has no place, because no
/// word has one.
pub fn places(text: &str) -> impl Iterator<Item = usize> {
    let of_four = groups::<4>(text, OF_FOUR).map(|place| OF_THREE + place);
    groups::<3>(text, OF_THREE).chain(of_four)
}

/// The groups of `N` bytes, at most four, of a text, as numbers below `room`.
fn groups<const N: usize>(text: &str, room: usize) -> impl Iterator<Item = usize> {
    let is_in_word = |group: &&[u8]| !group.iter().any(u8::is_ascii_whitespace);
    text.as_bytes().windows(N).filter(is_in_word).map(move |group| {
        let mut bytes = [0; 4];
        bytes[..N].copy_from_slice(group);
        // The upper bits of a product depend on all bits of its factors.
        (u32::from_le_bytes(bytes).wrapping_mul(0x9E37_79B1) >> (32 - room.ilog2())) as usize
    })
}

/// Texts of which one must be found in an order: of each, the places of its groups, those of four
/// first, because fewer orders have them.
pub struct Sought(BTreeSet<Vec<usize>>);

impl Sought {
    /// What to look for: each inner list is one alternative, of which all words must occur.
    pub fn of<'a>(either: impl IntoIterator<Item = Vec<&'a str>>) -> Sought {
        let all = |words: Vec<&str>| {
            let places: BTreeSet<usize> = words.into_iter().flat_map(places).collect();
            places.into_iter().rev().collect()
        };
        Sought(either.into_iter().map(all).collect())
    }
}

/// The index as one search uses it.
pub struct Index<'c> {
    row: CachedStatement<'c>,
    /// Orders that have changed since the index knew them.
    changed: BTreeSet<i64>,
}

impl<'c> Index<'c> {
    /// The index as it is in the file.
    pub fn of(c: &'c Connection) -> Result<Index<'c>> {
        Ok(Index { row: c.prepare_cached(ROW_OF).map_err(db::translate)?, changed: changed(c)? })
    }

    /// Which orders of a segment are to be read, the newest first; no other can have the text.
    pub fn candidates(
        &mut self,
        segment: i64,
        sought: &Sought,
    ) -> Result<Vec<RangeInclusive<i64>>> {
        let blocks = self.blocks(segment, sought)?;
        let mut found: Vec<RangeInclusive<i64>> = Vec::new();
        for block in (0..BLOCKS).rev() {
            let first = segment * SEGMENT + block * BLOCK;
            let numbers = first..=first + BLOCK - 1;
            if blocks >> block & 1 == 0 {
                found.extend(self.changed.range(numbers).rev().map(|id| *id..=*id));
                continue;
            }
            match found.last_mut().filter(|above| *above.start() == first + BLOCK) {
                Some(above) => *above = first..=*above.end(),
                None => found.push(numbers),
            }
        }
        Ok(found)
    }

    /// A bit for each block of the segment in which the text may stand: all where it is not known.
    fn blocks(&mut self, segment: i64, sought: &Sought) -> Result<u64> {
        let Sought(either) = sought;
        // The first row is written last: with it the segment is whole.
        if self.row(segment, 0)?.is_none() {
            return Ok(u64::MAX);
        }
        let mut blocks = 0;
        for places in either {
            let mut all = u64::MAX;
            for place in places {
                if all == 0 {
                    break;
                }
                let row = self.row(segment, place / ROW)?.unwrap_or_default();
                let eight = row.get(place % ROW * 8..).and_then(<[u8]>::first_chunk);
                all &= eight.map_or(u64::MAX, |eight| u64::from_le_bytes(*eight));
            }
            blocks |= all;
        }
        Ok(blocks)
    }

    fn row(&mut self, segment: i64, row: usize) -> Result<Option<Vec<u8>>> {
        self.row
            .query_row([id_of(segment, row)], |row| row.get(0))
            .optional()
            .map_err(db::translate)
    }
}

/// A row of the index, by [`id_of`].
pub const ROW_OF: &str = "SELECT orders FROM search_blocks WHERE id = ?1";

/// The row's id in `search_blocks`.
pub fn id_of(segment: i64, row: usize) -> i64 {
    segment * ROWS + row as i64
}

/// Orders whose history has gone on since the index knew them; none where there is no index.
pub fn changed(c: &Connection) -> Result<BTreeSet<i64>> {
    c.prepare_cached(
        "SELECT DISTINCT order_id FROM order_history
         WHERE id > (SELECT history FROM search_state) AND EXISTS(SELECT 1 FROM search_blocks)",
    )
    .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
    .map_err(db::translate)
}

/// The segments that have orders, the newest first.
pub fn segments(c: &Connection) -> Result<Segments<'_>> {
    let newest =
        c.prepare_cached("SELECT max(id) FROM orders WHERE id < ?1").map_err(db::translate)?;
    Ok(Segments { newest, below: i64::MAX })
}

/// See [`segments`].
pub struct Segments<'c> {
    newest: CachedStatement<'c>,
    below: i64,
}

impl Iterator for Segments<'_> {
    type Item = Result<i64>;

    fn next(&mut self) -> Option<Result<i64>> {
        let newest: rusqlite::Result<Option<i64>> =
            self.newest.query_row([self.below], |row| row.get(0));
        match newest.map_err(db::translate) {
            Ok(newest) => {
                let segment = newest? / SEGMENT;
                self.below = segment * SEGMENT;
                Some(Ok(segment))
            }
            Err(error) => {
                self.below = 0;
                Some(Err(error))
            }
        }
    }
}

/// Forgets what the index knows of these orders and of those beside them, inside the transaction
/// that erases a person; they are read until the daemon has looked at them anew.
pub fn forget(c: &Connection, orders: &BTreeSet<i64>) -> Result<()> {
    let segments: BTreeSet<i64> = orders.iter().map(|id| id / SEGMENT).collect();
    let mut delete = c
        .prepare_cached("DELETE FROM search_blocks WHERE id BETWEEN ?1 AND ?2")
        .map_err(db::translate)?;
    for segment in segments {
        let rows = (id_of(segment, 0), id_of(segment + 1, 0) - 1);
        delete.execute(rows).map_err(db::translate)?;
    }
    Ok(())
}
