//! Finds orders by a text: names, addresses, numbers, ids, items, custom fields, in any case.
//!
//! What names an order as a whole (its number, an id of Stripe's, an e-mail address, a reference, a
//! tracking number) is looked up by an index and takes a few ms, however many orders there are.
//! Anything else may stand in the middle of a word, which no index knows: the orders are gone
//! through, the newest first, until as many are found as are wanted.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::db;
use crate::error::Result;

/// Orders whose number, or one of whose ids or numbers, is the whole text; the newest first.
const WHOLE: &str = "SELECT id FROM orders WHERE id = ?2
    UNION SELECT id FROM orders WHERE checkout_session_id = ?1
    UNION SELECT id FROM orders WHERE payment_intent_id = ?1
    UNION SELECT id FROM orders WHERE invoice_id = ?1
    UNION SELECT id FROM orders WHERE client_reference_id = ?1
    UNION SELECT id FROM orders WHERE lower(email) = lower(?1) AND email IS NOT NULL
    UNION SELECT order_id FROM fulfillments WHERE tracking_number = ?1
    ORDER BY 1 DESC";

/// What is looked through of each order: its own columns, which it takes one step to read ...
const OWN: usize = 15;

/// ... and then, where not every word is among them, what is asked for apart.
const ORDERS: &str = "SELECT name, business_name, shipping_name, email, phone, shipping_line1, shipping_line2,
      shipping_postal_code, shipping_city, checkout_session_id, payment_intent_id, client_reference_id,
      invoice_id, note, origin, id
    FROM orders ORDER BY id DESC";
const BESIDE: &str = "SELECT concat_ws(char(10),
      (SELECT group_concat(concat_ws(char(10), sku, name), char(10)) FROM line_items WHERE order_id = ?1),
      (SELECT group_concat(tracking_number, char(10)) FROM fulfillments WHERE order_id = ?1),
      (SELECT group_concat(value, char(10)) FROM order_custom_fields WHERE order_id = ?1))";

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
    c.prepare_cached(WHOLE)
        .and_then(|mut q| q.query_map((text, number), |row| row.get(0))?.collect())
        .map_err(db::translate)
}

fn go_through(c: &Connection, wanted: &Wanted, most: usize, found: &mut Found) -> Result<()> {
    let mut all = c.prepare_cached(ORDERS).map_err(db::translate)?;
    let mut beside = c.prepare_cached(BESIDE).map_err(db::translate)?;
    let mut rows = all.query([]).map_err(db::translate)?;
    let mut words = String::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let id: i64 = row.get(OWN).map_err(db::translate)?;
        own_words(row, &mut words).map_err(db::translate)?;
        let mut is_it = wanted.is_in(&words);
        if !is_it {
            let more: String = beside.query_row([id], |row| row.get(0)).map_err(db::translate)?;
            push_lower(&mut words, &more);
            is_it = wanted.is_in(&words);
        }
        if is_it && found.orders.len() == most {
            found.more = true;
            return Ok(());
        }
        found.orders.extend(is_it.then_some(id));
    }
    Ok(())
}

/// A line for each column that has text, in small letters.
fn own_words(row: &Row, words: &mut String) -> rusqlite::Result<()> {
    words.clear();
    for column in 0..OWN {
        if let ValueRef::Text(text) = row.get_ref(column)? {
            push_lower(words, &String::from_utf8_lossy(text));
        }
    }
    Ok(())
}

/// SQLite knows upper and lower case of ASCII alone.
fn push_lower(words: &mut String, text: &str) {
    let from = words.len();
    if text.is_ascii() {
        words.push_str(text);
        words[from..].make_ascii_lowercase();
    } else {
        words.push_str(&text.to_lowercase());
    }
    words.push('\n');
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
        let closed_up = together(&text);
        Wanted {
            words: text.split_whitespace().map(String::from).collect(),
            closed_up: closed_up.bytes().any(|b| b.is_ascii_digit()).then_some(closed_up),
        }
    }

    fn is_in(&self, words: &str) -> bool {
        let has_number = |number: &String| {
            words.lines().any(|line| line.len() >= number.len() && together(line).contains(number))
        };
        self.words.iter().all(|word| words.contains(word))
            || self.closed_up.as_ref().is_some_and(has_number)
    }
}

fn together(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}
