//! Finds orders by a text: names, addresses, numbers, ids, items, custom fields, in any case.
//!
//! What names an order as a whole (its number, an id of Stripe's or its beginning, an e-mail address,
//! a reference, a tracking number) is looked up by an index. Any other text may stand in the middle of
//! a word: `words.rs` says which orders can have it, and those are read, the newest first, until as
//! many are found as are wanted.

use rusqlite::Connection;

use crate::db;
use crate::error::Result;
use crate::words::{self, Index, Sought};

/// Orders whose number, or one of whose ids or numbers, is the whole text, or whose id begins with
/// it (and is less than ?3); the newest first.
const WHOLE: &str = "SELECT id FROM orders WHERE id = ?2
    UNION SELECT id FROM orders WHERE checkout_session_id = ?1
    UNION SELECT id FROM orders WHERE payment_intent_id = ?1
    UNION SELECT id FROM orders WHERE invoice_id = ?1
    UNION SELECT id FROM orders WHERE client_reference_id = ?1
    UNION SELECT id FROM orders WHERE checkout_session_id >= ?1 AND checkout_session_id < ?3
    UNION SELECT id FROM orders WHERE payment_intent_id >= ?1 AND payment_intent_id < ?3
    UNION SELECT id FROM orders WHERE invoice_id >= ?1 AND invoice_id < ?3
    UNION SELECT id FROM orders WHERE lower(email) = lower(?1) AND email IS NOT NULL
    UNION SELECT order_id FROM fulfillments WHERE tracking_number = ?1
    ORDER BY 1 DESC";

/// Ids begin with their kind; so many characters after it make a beginning that few ids share.
const KINDS: [&str; 3] = ["cs_", "pi_", "in_"];
const BEGINNING: usize = 12;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The orders' numbers, the newest first.
    pub orders: Vec<i64>,
    /// There are more than were wanted.
    pub more: bool,
}

/// The numbers of all orders that [`latest`] would find, the oldest first.
pub fn orders(c: &Connection, text: &str) -> Result<Vec<i64>> {
    let mut found = latest(c, text, usize::MAX)?.orders;
    found.reverse();
    Ok(found)
}

/// The orders that a whole text names; where there is none, those in which each of its words is
/// found, `most` of them at most. Blanks and dashes in a phone or tracking number do not count.
/// None for a text of blanks.
pub fn latest(c: &Connection, text: &str, most: usize) -> Result<Found> {
    let mut found = Found::default();
    if text.trim().is_empty() {
        return Ok(found);
    }
    found.orders = whole(c, text.trim())?;
    if found.orders.is_empty() {
        go_through(c, &Wanted::of(text), most, &mut found)?;
    }
    found.more |= found.orders.len() > most;
    found.orders.truncate(most);
    Ok(found)
}

fn whole(c: &Connection, text: &str) -> Result<Vec<i64>> {
    let number = text.trim_start_matches('#').parse::<i64>().ok();
    let is_beginning = text.len() >= BEGINNING && KINDS.iter().any(|kind| text.starts_with(kind));
    let beyond = is_beginning.then(|| format!("{text}\u{7f}"));
    c.prepare_cached(WHOLE)
        .and_then(|mut q| q.query_map((text, number, beyond), |row| row.get(0))?.collect())
        .map_err(db::translate)
}

fn go_through(c: &Connection, wanted: &Wanted, most: usize, found: &mut Found) -> Result<()> {
    let sought = wanted.sought();
    let mut index = Index::of(c)?;
    for segment in words::segments(c)? {
        for numbers in index.candidates(segment?, &sought)? {
            let is_enough = words::read(c, numbers, |id, text| {
                let is_it = wanted.is_in(text.own()) || wanted.is_in(&text.whole()?);
                if is_it && found.orders.len() == most {
                    found.more = true;
                    return Ok(true);
                }
                found.orders.extend(is_it.then_some(id));
                Ok(false)
            })?;
            if is_enough {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What is searched for.
struct Wanted {
    words: Vec<String>,
    /// All of it without blanks and dashes; with a digit it may be a number that is written in
    /// another way.
    closed_up: Option<String>,
}

impl Wanted {
    fn of(text: &str) -> Wanted {
        let text = text.to_lowercase();
        let closed_up = words::closed_up(&text);
        Wanted {
            words: text.split_whitespace().map(String::from).collect(),
            closed_up: closed_up.bytes().any(|b| b.is_ascii_digit()).then_some(closed_up),
        }
    }

    fn sought(&self) -> Sought {
        let words = self.words.iter().map(String::as_str).collect();
        let number = self.closed_up.iter().map(|number| vec![number.as_str()]);
        Sought::of(std::iter::once(words).chain(number))
    }

    fn is_in(&self, text: &str) -> bool {
        let has_number = |number: &String| {
            let has = |line: &str| words::closed_up(line).contains(number);
            text.lines().any(|line| line.len() >= number.len() && has(line))
        };
        self.words.iter().all(|word| text.contains(word))
            || self.closed_up.as_ref().is_some_and(has_number)
    }
}

#[cfg(test)]
mod tests;
