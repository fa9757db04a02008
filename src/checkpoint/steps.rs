//! What is done to the log: it is written again, moved into the file, cut off.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;

use crate::db;
use crate::error::{Error, Result};
use crate::place::{self, Identity, Witnesses};

/// How much of the log is in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    InPart,
    /// All of it, and the next one may be written over it.
    Whole,
    /// All of it, and it is empty.
    AndCutOff,
}

/// Moves the log into the file as far as nobody who reads or writes is in the way, and cuts it off
/// unless it is to be reused. `Err` when the process must end.
pub fn move_log(
    c: &Connection,
    identity: &mut Identity,
    witnesses: &Witnesses,
    reuse: bool,
) -> Result<rusqlite::Result<Moved>> {
    // What is in the file is verified while the log still has it.
    Ok(match checkpoint(c, "FULL") {
        Ok(true) if !identity.has_moved(witnesses)? => Ok(Moved::InPart),
        Ok(true) if reuse => Ok(Moved::Whole),
        Ok(true) => cut_off(c, identity),
        Ok(false) => Ok(Moved::InPart),
        Err(e) => Err(e),
    })
}

/// Cuts off a log that is in the file.
pub fn cut_off(c: &Connection, identity: &Identity) -> rusqlite::Result<Moved> {
    // Somebody may have written since.
    let is_moved = || identity.log_in_use().is_some_and(|log| log.is_moved && log.is_found);
    Ok(match checkpoint(c, "TRUNCATE")? {
        true => Moved::AndCutOff,
        false if is_moved() => Moved::Whole,
        false => Moved::InPart,
    })
}

/// False while somebody reads or writes.
pub fn checkpoint(c: &Connection, mode: &str) -> rusqlite::Result<bool> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    c.query_row(&sql, [], |row| row.get(0)).map(|is_busy: bool| !is_busy)
}

/// Writes the log's own bytes again in their place and syncs them, which fills the hole that a
/// failed sync may have left on the disk behind the kernel's memory of it. `path` is the file's.
pub fn write_again(c: &Connection, path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::Temporary(format!("the write-ahead log cannot be made safe: {e}"))
    };
    c.execute_batch("BEGIN IMMEDIATE").map_err(db::translate)?;
    let log = place::beside(path, "-wal");
    let written = OpenOptions::new().read(true).write(true).open(log).and_then(|log| {
        let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            match log.read_at(&mut buffer, at)? {
                0 => return log.sync_all(),
                n => log.write_all_at(&buffer[..n], at).map(|()| at += n as u64)?,
            }
        }
    });
    c.execute_batch("ROLLBACK").map_err(db::translate)?;
    written.map_err(failed)
}
