//! Reads the file beside the desk. SQLite reads the whole schema whenever the file is opened, which
//! costs more than most queries; so the file is opened once for all that is read together.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::shop::PATIENCE;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// What one thread keeps open.
#[derive(Default)]
struct Kept {
    /// How many calls of [`together`] are running.
    depth: usize,
    open: Vec<Opened>,
}

struct Opened {
    path: PathBuf,
    /// Device and inode: another file may get the path.
    file: (u64, u64),
    connection: Connection,
}

/// Leaves [`together`], also when a test fails in it.
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        let closed = KEPT.with_borrow_mut(|kept| {
            kept.depth -= 1;
            if kept.depth == 0 { std::mem::take(&mut kept.open) } else { Vec::new() }
        });
        drop(closed);
    }
}

/// Calls the closure; what this thread reads by [`rows`] meanwhile opens each file once. The files
/// are closed when it returns, so that a test decides who is the last to close one.
pub fn together<T>(read: impl FnOnce() -> T) -> T {
    KEPT.with_borrow_mut(|kept| kept.depth += 1);
    let _leaving = Leaving;
    read()
}

/// Rows of a query on a file, columns joined by `|` as the shell's list mode does.
pub fn rows(file: &Path, sql: &str) -> Vec<String> {
    KEPT.with_borrow_mut(|kept| {
        if kept.depth == 0 {
            return rows_of(&open(file), sql);
        }
        let now = identity(file);
        kept.open.retain(|opened| opened.path != file || Some(opened.file) == now);
        if let Some(opened) = kept.open.iter().find(|opened| opened.path == file) {
            return rows_of(&opened.connection, sql);
        }
        let connection = open(file);
        let rows = rows_of(&connection, sql);
        if let Some(file_of) = identity(file) {
            kept.open.push(Opened { path: file.to_path_buf(), file: file_of, connection });
        }
        rows
    })
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|file| (file.dev(), file.ino()))
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).expect("the file opens");
    connection.busy_timeout(PATIENCE).expect("a time-out can be set");
    connection
}

fn rows_of(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let n = statement.column_count();
    let text = |value: ValueRef| match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(x) => x.to_string(),
        ValueRef::Text(t) | ValueRef::Blob(t) => String::from_utf8_lossy(t).into_owned(),
    };
    let row = |row: &rusqlite::Row| {
        Ok((0..n).map(|i| row.get_ref(i).map(text)).collect::<Result<Vec<_>, _>>()?.join("|"))
    };
    statement
        .query_map([], row)
        .and_then(|rows| rows.collect())
        .unwrap_or_else(|e| panic!("{sql}: {e}"))
}
