//! Types lines into a file, looks after each, and makes a failing script smaller.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::daemon::BY_STRIPE;
use super::oracle::State;
use super::typist::Table;
use super::{ORDERS, SCHEMA};

/// Statements until a new file: short, so that the history stays small and a failure is soon made
/// smaller.
pub(super) const ROUND: usize = 400;

/// Compiled statements that a connection keeps.
pub(super) const STATEMENTS_KEPT: usize = 256;

/// Replays of a failing round while it is made smaller.
pub(super) const SHRINK_REPLAYS: usize = 1500;

/// A file with all orders.
pub(super) fn made(schema: &str) -> Connection {
    let c = Connection::open_in_memory().expect("memory");
    // As the shell has it.
    c.execute_batch("PRAGMA foreign_keys = OFF").expect("a pragma");
    c.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    c.execute_batch(schema).expect("the schema runs");
    c.execute_batch(ORDERS).expect("the orders can be made");
    c
}

/// What each line came to: whether it changed something, and what SQLite said. Or the line after
/// which something is not true.
pub(super) type Watched = Result<Vec<(bool, String)>, (usize, String)>;

/// Types the script into a new file.
pub(super) fn replay(script: &[String]) -> Watched {
    watch(&made(SCHEMA), script)
}

/// Types the script and looks after every line.
pub(super) fn watch(c: &Connection, script: &[String]) -> Watched {
    let mut state = State::of(c);
    if let Some(why) = state.untrue(c) {
        return Err((0, format!("before anything was typed: {why}")));
    }
    // What a ROLLBACK leads back to.
    let mut savepoints: Vec<(String, State)> = Vec::new();
    let mut lines = Vec::new();
    let views = views(c);
    for (n, line) in script.iter().enumerate() {
        let (was_open, before) = (!c.is_autocommit(), c.total_changes());
        let said = typed(c, line);
        let open = !c.is_autocommit();
        let word = line.split(' ').next().unwrap_or_default();
        let went_back = was_open && !open && (word == "ROLLBACK" || said.is_err());
        let same = c.total_changes() == before && !went_back && !line.starts_with("ROLLBACK");
        if !same || n + 1 == script.len() {
            let next = State::of(c);
            let expected = if went_back {
                savepoints.first().map(|(_, state)| state)
            } else if line.starts_with("ROLLBACK TO ") {
                let name = line.trim_start_matches("ROLLBACK TO ");
                savepoints
                    .iter()
                    .rfind(|(known, _)| said.is_ok() && known == name)
                    .map(|(_, state)| state)
            } else {
                None
            };
            let why = match expected {
                Some(expected) if *expected != next => {
                    Some("what was rolled back is still there".into())
                }
                Some(_) => None,
                None => next.untrue(c).or_else(|| next.wrong_since(&state, c, line)),
            };
            // Often enough for every kind of line, and seldom enough to type many.
            let looks = (n % LOOK_EVERY == 0 || n + 1 == script.len())
                .then(|| broken_view(c, &views))
                .flatten();
            if let Some(why) = why.or(looks) {
                return Err((n, format!("{why} (SQLite said: {said:?})")));
            }
            state = next;
        }
        lines.push((!same, said.as_ref().map_or_else(|e| e.to_string(), |()| String::new())));
        match (open, line.strip_prefix("SAVEPOINT ").filter(|_| !line.starts_with(BY_STRIPE))) {
            (false, _) => savepoints.clear(),
            (true, Some(name)) if said.is_ok() => savepoints.push((name.into(), state.clone())),
            (true, None) if !was_open => savepoints.push((String::new(), state.clone())),
            (true, _) => {
                let to = line.strip_prefix("ROLLBACK TO ").or(line.strip_prefix("RELEASE "));
                if let Some(at) = to.and_then(|name| {
                    savepoints.iter().rposition(|(known, _)| said.is_ok() && known == name)
                }) {
                    savepoints.truncate(at + usize::from(word == "ROLLBACK"));
                }
            }
        }
    }
    if rows(c, "PRAGMA integrity_check") != "ok\n"
        || !rows(c, "PRAGMA foreign_key_check").is_empty()
    {
        return Err((script.len() - 1, "the file is damaged, or a row refers to none".into()));
    }
    Ok(lines)
}

/// Changes between two looks at all views.
const LOOK_EVERY: usize = 8;

/// The names of all views.
pub(super) fn views(c: &Connection) -> Vec<String> {
    all(c, "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY 1", |r| r.get(0))
}

/// The first view that cannot be read to its end.
pub(super) fn broken_view(c: &Connection, views: &[String]) -> Option<String> {
    views.iter().find_map(|view| {
        let read = c.prepare_cached(&format!("SELECT * FROM {view}")).and_then(|mut q| {
            let mut rows = q.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        });
        read.err().map(|e| format!("the view {view} fails: {e}"))
    })
}

/// One line, as a shell does it: after one statement that is refused it continues with the next. To
/// compile the triggers takes longer than to run them, so a line that differs from an earlier one
/// in its values alone is not compiled again.
pub(super) fn typed(c: &Connection, line: &str) -> rusqlite::Result<()> {
    let said = match without_values(line) {
        Some((shape, values)) => c
            .prepare_cached(&shape)
            .and_then(|mut known| known.execute(params_from_iter(values)).map(drop)),
        None => c.execute_batch(line),
    };
    if said.is_err() && line.starts_with(BY_STRIPE) {
        let _ = c.execute_batch("UPDATE actor SET name = 'operator'; RELEASE daemon");
    }
    said
}

/// A statement with its texts and whole numbers taken out, and these. None for what is more than
/// one statement, or no edit.
pub(super) fn without_values(line: &str) -> Option<(String, Vec<Value>)> {
    let edit =
        ["INSERT ", "REPLACE ", "UPDATE ", "DELETE "].iter().any(|word| line.starts_with(word));
    if !edit || line.contains(';') {
        return None;
    }
    let (mut shape, mut values, mut rest) = (String::with_capacity(line.len()), Vec::new(), line);
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let (value, length) = match first {
            '\'' => {
                let mut end = 1 + rest[1..].find('\'')?;
                while rest[end + 1..].starts_with('\'') {
                    end += 2 + rest[end + 2..].find('\'')?;
                }
                (Some(Value::Text(rest[1..end].replace("''", "'"))), end + 1)
            }
            // Bytes.
            'x' if word == "x" && rest[1..].starts_with('\'') => {
                (None, 2 + rest[2..].find('\'')? + 1)
            }
            '0'..='9' => (word.parse().ok().map(Value::Integer), word.len()),
            _ => (None, word.len().max(first.len_utf8())),
        };
        match value {
            Some(value) => {
                shape.push('?');
                values.push(value);
            }
            None => shape += &rest[..length],
        }
        rest = &rest[length..];
    }
    Some((shape, values))
}

/// The fewest lines that still do harm, by leaving out ever smaller pieces.
pub(super) fn shrink(script: &[String], why: String) -> (Vec<String>, String) {
    let (mut best, mut why) = (script.to_vec(), why);
    let (mut piece, mut left) = (best.len() / 2, SHRINK_REPLAYS);
    while piece > 0 && left > 0 {
        let mut at = 0;
        while at < best.len() && left > 0 {
            let mut fewer = best.clone();
            fewer.drain(at..(at + piece).min(best.len()));
            left -= 1;
            match replay(&fewer) {
                Err((end, reason)) if !fewer.is_empty() => {
                    fewer.truncate(end + 1);
                    (best, why) = (fewer, reason);
                }
                _ => at += piece,
            }
        }
        piece = if piece == 1 { 0 } else { piece / 2 };
    }
    (best, why)
}

pub(super) fn all<T>(
    c: &Connection,
    sql: &str,
    map: impl FnMut(&Row) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut query = c.prepare_cached(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let rows = query.query_map([], map).and_then(|rows| rows.collect());
    rows.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Rows as the shell's list mode prints them.
pub(super) fn rows(c: &Connection, sql: &str) -> String {
    let mut out = String::new();
    let mut query = c.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let n = query.column_count();
    let lines = all_of(&mut query, n);
    lines.iter().for_each(|line| writeln!(out, "{line}").expect("a text grows"));
    out
}

pub(super) fn all_of(query: &mut rusqlite::Statement, columns: usize) -> Vec<String> {
    use rusqlite::types::ValueRef::*;
    let text = |row: &Row, i| {
        Ok(match row.get_ref(i)? {
            Null => String::new(),
            Integer(i) => i.to_string(),
            Real(x) => x.to_string(),
            Text(t) | Blob(t) => String::from_utf8_lossy(t).into_owned(),
        })
    };
    let line = |row: &Row| {
        Ok((0..columns).map(|i| text(row, i)).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    };
    query.query_map([], line).and_then(|rows| rows.collect()).expect("the query runs")
}

/// Every table with what can be typed into it.
pub(super) fn tables() -> BTreeMap<String, Table> {
    let c = made(SCHEMA);
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let sql =
        "SELECT t.name, t.wr, p.name, p.type = 'TEXT', p.pk = 1 FROM pragma_table_list t, pragma_table_info(t.name) p
               WHERE t.type = 'table' AND t.name NOT GLOB 'sqlite_*'";
    for (table, without_rowid, column, text, key) in all(&c, sql, |r| {
        Ok((
            r.get::<_, String>(0)?,
            r.get::<_, bool>(1)?,
            r.get::<_, String>(2)?,
            r.get(3)?,
            r.get::<_, bool>(4)?,
        ))
    }) {
        let aliases: &[&str] = if without_rowid { &[] } else { &ALIASES };
        let known = tables.entry(table).or_insert(Table {
            columns: Vec::new(),
            key: String::new(),
            aliases,
        });
        if key {
            known.key = column.clone();
        }
        known.columns.push((column, text));
    }
    tables
}

/// The other names that SQLite has for a row.
pub(super) const ALIASES: [&str; 3] = ["rowid", "oid", "_rowid_"];
