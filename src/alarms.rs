//! The SQL of `alarms`: conditions that need a person, raised once and cleared when they are over.

use rusqlite::{Connection, OptionalExtension};

use crate::db;
use crate::error::Result;

/// Writes or renews a condition that needs a person; `attention` shows it. Its beginning stays the first one.
pub fn raise(c: &Connection, name: &str, message: &str, since: &str) -> Result<()> {
    let changed = c.execute("UPDATE alarms SET message = ?2 WHERE name = ?1", (name, message)).and_then(|n| {
        if n > 0 {
            Ok(n)
        } else {
            c.execute("INSERT INTO alarms(name, message, since) VALUES (?1, ?2, ?3)", (name, message, since))
        }
    });
    changed.map(drop).map_err(db::translate)
}

/// What a condition says; `None` when all is well.
pub fn message(c: &Connection, name: &str) -> Result<Option<String>> {
    c.prepare_cached("SELECT message FROM alarms WHERE name = ?1")
        .and_then(|mut q| q.query_row([name], |row| row.get(0)).optional())
        .map_err(db::translate)
}

/// The condition is over.
pub fn clear(c: &Connection, name: &str) -> Result<()> {
    c.execute("DELETE FROM alarms WHERE name = ?1", [name]).map(drop).map_err(db::translate)
}
