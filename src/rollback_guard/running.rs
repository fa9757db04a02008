//! That what is in the file does not go back while it is served, as `.restore` in a shell makes it:
//! to SQLite that is a write like any other.

use rusqlite::Connection;

use crate::db;
use crate::error::{Error, Result};
use crate::sabotage;

/// What the file had come to when this process last committed. Each number only grows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reached {
    /// When the shop's file was made, which tells it from another shop's.
    shop: String,
    /// The last number of the file's sequence.
    sequence: i64,
    /// The last line of the history.
    history: i64,
}

impl Reached {
    fn of(c: &Connection) -> rusqlite::Result<Reached> {
        c.prepare_cached(
            "SELECT (SELECT created_at FROM shop), (SELECT n FROM sequence),
               (SELECT coalesce(max(id), 0) FROM order_history)",
        )?
        .query_row([], |row| {
            Ok(Reached { shop: row.get(0)?, sequence: row.get(1)?, history: row.get(2)? })
        })
    }
}

/// Watches one write connection.
#[derive(Default)]
pub struct Running {
    /// SQLite's number that changes when somebody else commits.
    version: Option<i64>,
    reached: Option<Reached>,
    /// Of the transaction that is under way.
    reaching: Option<Reached>,
}

impl Running {
    /// Inside a transaction, before anything is written: where somebody else has committed, the
    /// file must still hold what was in it, and its marks are put right. `Corrupt` when it has gone
    /// back, or is another shop's: a new process finds out what that means.
    pub fn check(&mut self, c: &Connection) -> Result<()> {
        let version: i64 = c
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(db::translate)?;
        if self.version == Some(version) || sabotage::is("may_go_back") {
            return Ok(());
        }
        let now = match Reached::of(c).map_err(db::translate) {
            Ok(now) => now,
            Err(why @ (Error::Temporary(_) | Error::Corrupt(_))) => return Err(why),
            Err(why) => {
                return Err(Error::Corrupt(format!(
                    "the file no longer has fulfilld's tables ({why}); put a backup in its place: \
                     fulfilld restore BACKUP"
                )));
            }
        };
        if let Some(reached) = &self.reached
            && (now.shop != reached.shop
                || now.sequence < reached.sequence
                || now.history < reached.history)
        {
            return Err(Error::Corrupt(
                "another file was written into this one while fulfilld was serving it (.restore \
                 in sqlite3?); what Stripe knows is fetched again, and `fulfilld attention` names \
                 what was typed and is lost"
                    .into(),
            ));
        }
        db::mark_again(c)?;
        (self.version, self.reached) = (Some(version), Some(now));
        Ok(())
    }

    /// Before COMMIT.
    pub fn note(&mut self, c: &Connection) -> Result<()> {
        self.reaching = Some(Reached::of(c).map_err(db::translate)?);
        Ok(())
    }

    /// After COMMIT, or after it was taken back.
    pub fn ended(&mut self, committed: bool) {
        let reached = self.reaching.take();
        if committed && reached.is_some() {
            self.reached = reached;
        }
    }
}
