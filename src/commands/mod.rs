//! What the operator can type: one file a verb.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::checkpoint::Checkpointer;
use crate::config;
use crate::db;
use crate::error::{Error, Result};
use crate::place::{self, Identity};
use crate::verbs::{OPERATOR, wording};

pub mod init; // the settings and secrets of the service
pub mod serve; // the daemon
pub mod demo; // the daemon, a simulated Stripe and a few purchases
pub mod orders; // the orders, the packing queue, one order
pub mod ship; // ship an order
pub mod deliver; // mark it as delivered
pub mod reship; // send it again
pub mod cancel; // cancel what has not been sent
pub mod hold; // hold an order
pub mod release; // release it from hold
mod order_verbs; // what these six share
pub mod undo; // undo the last change
pub mod attention; // what needs a person
pub mod dismiss; // dismiss what has been dealt with
pub mod add; // an order that came from elsewhere
pub mod slips; // packing slips for the printer
pub mod export; // the books for a spreadsheet, the parcels for a label service
pub mod hooks; // the notifications for the shop's own programs, and what waits
pub mod subject; // what the file holds about a person
pub mod forget; // erase a person, keep the books
pub mod events; // what Stripe sent, and what became of it
pub mod replay; // process stored events again
pub mod reconcile; // compare the file with Stripe, and repair it
pub mod check; // verify the file
pub mod rebuild; // derive what came from Stripe again, and compare
pub mod backup; // a verified copy of the file
pub mod restore; // put a backup in place of the file
pub mod drill; // try to restore the newest backup
pub mod doctor; // check whether orders can arrive
pub mod sql; // the stock shell, set up for the file
pub mod sandbox; // a simulated Stripe
pub mod trigger; // purchases in it
pub mod completions; // what the shell suggests after Tab
pub mod man; // the manual page

/// Where the orders are.
#[derive(clap::Args)]
pub struct File {
    /// The SQLite file; without it FULFILLD_DB, else the service's, else fulfilld.db
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
}

impl File {
    /// Its path. `Config` when it stands in the service's settings, and they cannot be read.
    pub fn path(&self) -> Result<PathBuf> {
        self.db.clone().map_or_else(config::db_path, Ok)
    }

    /// Opens the file for looking only. `Config` when it is not there, and it is not created.
    pub fn read(&self) -> Result<Connection> {
        db::open_for_reading(&self.path()?)
    }

    /// Does `work` in one transaction, as the operator whom the history will name: all of it, or on
    /// an error nothing. `Temporary` when somebody else has been writing for 5 s.
    pub fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.write_as(OPERATOR, work)
    }

    /// The same as another author, which is named inside the transaction alone.
    pub fn write_as<T>(
        &self,
        author: &str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let mut connection = db::open_for_writing(&self.path()?)?;
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(db::translate)?;
        let name = |author: &str| {
            tx.execute("UPDATE actor SET name = ?1", [author]).map_err(db::translate)
        };
        if author != OPERATOR {
            name(author)?;
        }
        let value = work(&tx).map_err(|error| match error {
            // SQL speaks of SQL, and a verb of verbs.
            Error::Permanent(why) => Error::Permanent(wording::refusal(&why, None)),
            other => other,
        })?;
        if author != OPERATOR {
            name(OPERATOR)?;
        }
        tx.commit().map_err(db::translate)?;
        self.leave_whole(&connection);
        Ok(value)
    }
}

/// Somebody who reads keeps a verb no longer than this.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

impl File {
    /// Where no fulfilld serves the file, what was written is moved into it, so that the one file
    /// is whole. What keeps it from that keeps nothing from what was done: the log stays beside the
    /// file.
    fn leave_whole(&self, c: &Connection) {
        let Ok(path) = self.path().and_then(|path| place::real(&path)) else { return };
        let _ = c.busy_timeout(LEAVE_WITHIN);
        if let Some(held) = place::lock_if_free(&path) {
            let emptied = Identity::of(&path)
                .and_then(|identity| Checkpointer::of(identity, Some(Arc::new(held))).leave(c));
            if let Err(error) = emptied {
                log::debug!("the log could not be moved into the file: {error}");
            }
        }
    }
}

/// The operator who sends an order in spite of what holds it.
const OVERRIDE: &str = "operator-override";

/// Whether people or programs read the output.
#[derive(clap::Args)]
pub struct Output {
    /// One JSON object a line: amounts in minor units, times in UTC
    #[arg(long)]
    pub json: bool,
}

/// What most verbs take.
#[derive(clap::Args)]
pub struct Common {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// The error for a name that is nowhere in the file.
fn none_such(what: String, look: &str) -> Error {
    Error::Permanent(format!("there is no {what}; look with: {look}"))
}
