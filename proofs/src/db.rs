//! Stands in for `src/db.rs`: SQLite's errors become ours.

use rusqlite::Connection;

use crate::error::Error;
use crate::sync::{Arc, Mutex};

pub type Reader = Arc<Mutex<Connection>>;

pub fn translate(error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::Busy => Error::Temporary("locked".into()),
        rusqlite::Error::Full => Error::Full("full".into()),
        rusqlite::Error::Io => Error::Corrupt("the disk failed".into()),
        rusqlite::Error::Constraint => Error::Permanent("refused".into()),
    }
}
