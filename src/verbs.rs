//! What a person does to orders, in a transaction of the caller's: the verbs of the file, and what the
//! command line and the page make of them.

pub mod import; // the tracking numbers that a label service exports
pub mod search; // in which orders a text is found
pub mod undo; // the last change is taken back
pub mod wording; // what the file says in SQL, in verbs

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};

use crate::db;
use crate::error::Result;
use crate::text;

/// Whoever comes through a shell, or through the command line.
pub const OPERATOR: &str = "operator";

/// The author of an order that was added by hand.
pub const ADDED: &str = "fulfilld:add";

/// Types a verb of the file for those, in one statement. `verb` is the name after INSERT INTO; the
/// ids of orders or parcels are its first column, and `with` the other ones.
pub fn insert(c: &Connection, verb: &str, with: &[Option<&str>], ids: &[i64]) -> Result<()> {
    let columns: String = (2..with.len() + 2).map(|n| format!(", ?{n}")).collect();
    let sql = format!("INSERT INTO {verb} SELECT value{columns} FROM json_each(?1)");
    let with = with.iter().map(|value| value.map_or(Cell::Null, |text| Cell::Text(text.into())));
    let values = [Cell::Text(serde_json::json!(ids).to_string())].into_iter().chain(with);
    c.execute(&sql, params_from_iter(values)).map(drop).map_err(db::translate)
}

/// The file's sentence without the name of the table or verb it begins with, which the person did
/// not type.
pub fn sentence(why: &str) -> &str {
    match why.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => rest,
        _ => why,
    }
}

/// The orders that have the tracking number already, when it is the number that was refused:
/// without it they would go. The number is the last column of the verb but one.
pub fn taken(c: &Connection, verb: &str, with: &[Option<&str>], ids: &[i64]) -> Option<String> {
    let at = with.len().checked_sub(2)?;
    let number = with[at]?;
    let mut without = with.to_vec();
    without[at] = None;
    c.execute_batch("SAVEPOINT without_number").ok()?;
    let goes = insert(c, verb, &without, ids).is_ok();
    c.execute_batch("ROLLBACK TO without_number; RELEASE without_number").ok()?;
    let others = "SELECT group_concat(order_id, ', ') FROM (SELECT DISTINCT f.order_id FROM fulfillments f, blanks
        WHERE f.tracking_number = trim(?1, signs) AND f.status <> 'canceled')";
    let others: Option<String> = c.query_row(others, [number], |row| row.get(0)).ok()?;
    let others = others.filter(|_| goes)?;
    Some(format!(
        "the tracking number {} is on a parcel of order {others} already, which goes elsewhere",
        text::clean(number)
    ))
}
