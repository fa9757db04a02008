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
    /// What it is about where that may change while it stands: one that was dismissed is shown
    /// again when this changes, and not when the message does.
    pub about: String,
    /// What to do or to type.
    pub next: &'static str,
}

impl Alarm {
    fn new(name: &'static str, message: String, next: &'static str) -> Alarm {
        Alarm { name, message, about: String::new(), next }
    }

    fn about(self, about: String) -> Alarm {
        Alarm { about, ..self }
    }

    /// Asking Stripe stops altogether: `Error::Config` from `stripe.rs`.
    pub fn key_refused(message: String) -> Alarm {
        let next = "fix the key or its permissions, then: sudo systemctl restart fulfilld";
        Alarm::new("key_refused", message, next)
    }

    /// The key may not use these endpoints, each with the reason: `Error::Forbidden` from
    /// `stripe.rs`.
    pub fn key_lacks_permission(forbidden: &[(&str, String)]) -> Alarm {
        let (names, why): (Vec<&str>, Vec<&str>) =
            forbidden.iter().map(|(name, why)| (*name, why.as_str())).unzip();
        let next = "give the key that permission in Stripe's Dashboard, or stop Stripe from sending those events";
        Alarm::new("key_lacks_permission", why.join("; "), next).about(names.join(", "))
    }

    /// Stripe makes events that do not come by webhook.
    pub fn silence(message: String) -> Alarm {
        Alarm::new("silence", message, "fulfilld doctor")
    }

    /// The file is older than it was; what was lost is named once.
    pub fn file_went_back(message: String, noticed: Timestamp) -> Alarm {
        let next = "DELETE FROM alarms WHERE name = 'file_went_back';";
        Alarm::new("file_went_back", message, next).about(clock::text(noticed))
    }

    /// This server's clock is so many seconds fast by Stripe's, slow when negative.
    pub fn clock_wrong(fast_s: i64) -> Alarm {
        let direction = if fast_s > 0 { "fast" } else { "slow" };
        let message = format!(
            "this server's clock is {} s {direction} by Stripe's answers; orders come all the \
             same, but the times in the file are wrong",
            fast_s.abs()
        );
        let next = "sudo timedatectl set-ntp true; where there is none: sudo apt install chrony";
        Alarm::new("clock_wrong", message, next).about(direction.into())
    }

    /// These lists of Stripe's, each with why, could not be looked through for an hour.
    pub fn backfill_failing(lists: &[(&str, String)]) -> Alarm {
        let names: Vec<&str> = lists.iter().map(|(name, _)| *name).collect();
        let why: Vec<String> = lists.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        let message = format!(
            "what never arrived is not looked for in Stripe's {}; webhooks are taken all the same",
            why.join("; ")
        );
        Alarm::new("backfill_failing", message, "fulfilld doctor").about(names.join(", "))
    }

    /// Every session so far is somebody else's by `FULFILLD_ONLY`.
    pub fn only_matches_nothing() -> Alarm {
        let message = "FULFILLD_ONLY matches none of the sessions that Stripe has told of, so none \
                       of them became an order";
        let next = "correct FULFILLD_ONLY or remove it, then: sudo systemctl restart fulfilld; then: fulfilld replay \
                    --state ignored --type checkout.session.completed";
        Alarm::new("only_matches_nothing", message.into(), next)
    }

    /// The write-ahead log cannot be moved into the file.
    pub fn checkpoint_failing(message: String) -> Alarm {
        let next = "look at the disk: df -h, dmesg; fulfilld goes on trying, and nothing is lost \
                    while it can write the log";
        Alarm::new("checkpoint_failing", message, next)
    }

    /// The write-ahead log grows because somebody reads without an end.
    pub fn log_grows(message: String) -> Alarm {
        let next = "leave the sqlite3 shell that keeps reading, or type COMMIT there; fulfilld \
                    doctor names it; or wait for fulfilld check or rebuild of a large file";
        Alarm::new("log_grows", message, next)
    }

    /// What is kept for the worst day could not be restored when that was tried.
    pub fn drill_failing(message: String) -> Alarm {
        let next = "fulfilld doctor; then try again: sudo fulfilld drill";
        Alarm::new("drill_failing", message, next)
    }

    /// The file was not served from here before: nothing beside it says how far it had got.
    pub fn file_without_note(message: String, noticed: Timestamp) -> Alarm {
        let next = "DELETE FROM alarms WHERE name = 'file_without_note';";
        Alarm::new("file_without_note", message, next).about(clock::text(noticed))
    }

    /// These hooks' commands cannot be run, each with why.
    pub fn hook_missing(commands: &[(String, String)]) -> Alarm {
        let (names, why): (Vec<&str>, Vec<&str>) =
            commands.iter().map(|(name, why)| (name.as_str(), why.as_str())).unzip();
        let message = format!("a hook cannot be run; its notifications wait: {}", why.join("; "));
        let next =
            "put the program there and make it executable; it is looked for every few seconds";
        Alarm::new("hook_missing", message, next).about(names.join(", "))
    }
}

/// Writes or renews a condition; `attention` shows it. Its beginning stays the first one.
pub fn raise(c: &Connection, alarm: &Alarm, since: Timestamp) -> Result<()> {
    let changed = c
        .execute(
            "UPDATE alarms SET message = ?2, next = ?3, about = ?4 WHERE name = ?1",
            (alarm.name, &alarm.message, alarm.next, &alarm.about),
        )
        .and_then(|n| match n {
            0 => c.execute(
                "INSERT INTO alarms(name, message, next, about, since) VALUES (?1, ?2, ?3, ?4, ?5)",
                (alarm.name, &alarm.message, alarm.next, &alarm.about, clock::text(since)),
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

/// What a condition is about; nothing when all is well.
pub fn about(c: &Connection, name: &str) -> Result<String> {
    c.prepare_cached("SELECT about FROM alarms WHERE name = ?1")
        .and_then(|mut q| q.query_row([name], |row| row.get(0)).optional())
        .map(Option::unwrap_or_default)
        .map_err(db::translate)
}

/// The condition is over.
pub fn clear(c: &Connection, name: &str) -> Result<()> {
    c.execute("DELETE FROM alarms WHERE name = ?1", [name]).map(drop).map_err(db::translate)
}
