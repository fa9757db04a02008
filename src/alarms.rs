//! The SQL of `alarms`: conditions that need a person, raised once and cleared when they are over.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::Result;

/// A condition that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The reason that `attention` shows: one word, a contract.
    pub name: &'static str,
    /// What is so, one sentence; it may be logged.
    pub message: String,
    /// What to do or to type.
    pub next: &'static str,
}

impl Alarm {
    /// Asking Stripe stops altogether: `Error::Config` from `stripe.rs`.
    pub fn key_refused(message: String) -> Alarm {
        let next = "fix the key or its permissions, then: sudo systemctl restart fulfilld";
        Alarm { name: "key_refused", message, next }
    }

    /// One endpoint may not be asked: `Error::Forbidden` from `stripe.rs`.
    pub fn key_lacks_permission(message: String) -> Alarm {
        let next = "give the key that permission in Stripe's Dashboard, or stop Stripe from sending those events";
        Alarm { name: "key_lacks_permission", message, next }
    }

    /// Stripe makes events that do not come by webhook.
    pub fn silence(message: String) -> Alarm {
        Alarm { name: "silence", message, next: "fulfilld doctor" }
    }

    /// The file is older than it was; what was lost is named once.
    pub fn file_went_back(message: String) -> Alarm {
        Alarm {
            name: "file_went_back",
            message,
            next: "DELETE FROM alarms WHERE name = 'file_went_back';",
        }
    }

    /// This server's clock is so many seconds fast by Stripe's, slow when negative.
    pub fn clock_wrong(fast_s: i64) -> Alarm {
        let direction = if fast_s > 0 { "fast" } else { "slow" };
        let message = format!(
            "this server's clock is {} s {direction} by Stripe's answers; orders come all the same, but the times in the \
             file are wrong",
            fast_s.abs()
        );
        let next = "sudo timedatectl set-ntp true; where there is none: sudo apt install chrony";
        Alarm { name: "clock_wrong", message, next }
    }

    /// These lists of Stripe's, each with why, could not be looked through for an hour.
    pub fn backfill_failing(lists: &str) -> Alarm {
        let message = format!(
            "what never arrived is not looked for in Stripe's {lists}; webhooks are taken all the same"
        );
        Alarm { name: "backfill_failing", message, next: "fulfilld doctor" }
    }

    /// Every session so far is somebody else's by `FULFILLD_ONLY`.
    pub fn only_matches_nothing() -> Alarm {
        let message = "FULFILLD_ONLY matches none of the sessions that Stripe has told of, so none of them became an order";
        let next = "correct FULFILLD_ONLY or remove it, then: sudo systemctl restart fulfilld; then: fulfilld replay \
                    --state ignored --type checkout.session.completed";
        Alarm { name: "only_matches_nothing", message: message.into(), next }
    }

    /// The write-ahead log cannot be moved into the file.
    pub fn checkpoint_failing(message: String) -> Alarm {
        let next = "look at the disk: df -h, dmesg; fulfilld goes on trying, and nothing is lost while it can write the log";
        Alarm { name: "checkpoint_failing", message, next }
    }

    /// The write-ahead log grows because somebody reads without an end.
    pub fn log_grows(message: String) -> Alarm {
        let next = "leave the sqlite3 shell that keeps reading, or type COMMIT there; fulfilld doctor names it";
        Alarm { name: "log_grows", message, next }
    }

    /// A hook's command cannot be run.
    pub fn hook_missing(message: String) -> Alarm {
        let next =
            "put the program there and make it executable; it is looked for every few seconds";
        Alarm { name: "hook_missing", message, next }
    }
}

/// Writes or renews a condition; `attention` shows it. Its beginning stays the first one.
pub fn raise(c: &Connection, alarm: &Alarm, since: Timestamp) -> Result<()> {
    let changed = c
        .execute(
            "UPDATE alarms SET message = ?2, next = ?3 WHERE name = ?1",
            (alarm.name, &alarm.message, alarm.next),
        )
        .and_then(|n| match n {
            0 => c.execute(
                "INSERT INTO alarms(name, message, next, since) VALUES (?1, ?2, ?3, ?4)",
                (alarm.name, &alarm.message, alarm.next, clock::text(since)),
            ),
            n => Ok(n),
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
