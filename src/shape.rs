//! What a file lacks of the schema: tables, triggers, views and indexes, compared word by word.

use rusqlite::{Connection, Result};

/// What is in `schema` and not in the file, or not as the schema has it: `trigger orders_delete`
/// and the like, in the schema's order. What the file has beside it is its owner's and not told.
pub fn lacking(file: &Connection, schema: &str) -> Result<Vec<String>> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(schema)?;
    let here = objects(file)?;
    let mut lacking = objects(&fresh)?;
    lacking.retain(|object| !here.contains(object));
    Ok(lacking.into_iter().map(|(kind, name, _)| format!("{kind} {name}")).collect())
}

/// True when the file has the tables that no other program's file has all of, whatever marks it
/// bears.
pub fn is_alike(file: &Connection) -> Result<bool> {
    let sql = "SELECT count(*) = 4 FROM sqlite_schema
               WHERE type = 'table' AND name IN('shop', 'events', 'orders', 'order_history')";
    file.query_row(sql, [], |row| row.get(0))
}

/// Type, name, and the words that made it (NULL for an index of SQLite's own).
type Object = (String, String, Option<String>);

fn objects(c: &Connection) -> Result<Vec<Object>> {
    c.prepare("SELECT type, name, sql FROM sqlite_schema")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}
