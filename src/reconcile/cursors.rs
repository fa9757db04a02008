//! From where on a list is looked through: when the file was made, and up to when it was seen.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::compare::{self, AHEAD_MAX};
use super::{AUTHOR, Backfill};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db;
use crate::error::Result;
use crate::inbox;

/// How much of what was seen is looked at again: Stripe's list may be late.
pub const OVERLAP_EVENTS: Duration = Duration::from_secs(3600);

impl Backfill {
    /// Corrects when the file was made, where a wrong clock wrote it: what was sold since is the
    /// shop's, what was before is not.
    pub(super) fn correct_birth(&mut self) -> Result<()> {
        let skew = self.context.stripe.skew();
        if !skew.is_certain() {
            return Ok(());
        }
        let now = skew.now();
        let said = self.reader.look(birth)?;
        let age = self.born.map(|born| clock::since_boot().saturating_sub(born));
        let truly = match age {
            Some(age) if skew.wrong_s() != 0 => now - age,
            _ if said > now + AHEAD_MAX => now,
            _ => return Ok(()),
        };
        log::warn!(
            "corrected when this file was created: {} by Stripe's clock, not {}",
            clock::text(truly),
            clock::text(said)
        );
        self.context.writer.write(move |c| {
            inbox::as_author(c, AUTHOR, |c| {
                c.execute("UPDATE shop SET created_at = ?1", [clock::text(truly)])
                    .map(drop)
                    .map_err(db::translate)
            })
        })?;
        self.born = None;
        Ok(())
    }
}

/// When the file was made.
pub fn birth(c: &Connection) -> Result<Timestamp> {
    let text: String =
        c.query_row("SELECT created_at FROM shop", [], |row| row.get(0)).map_err(db::translate)?;
    compare::time(&text)
}

/// From when on a list is to be looked through. What was before the file was made is for `fulfilld
/// reconcile`, because somebody has to say whether it was sent already. A cursor that is ahead of
/// now says nothing.
pub fn since(c: &Connection, name: &str, overlap: Duration, now: Timestamp) -> Result<Timestamp> {
    let until: Option<String> = c
        .query_row("SELECT until FROM sweeps WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(db::translate)?;
    let first = birth(c)? - OVERLAP_EVENTS;
    let until = until
        .map(|text| compare::time(&text))
        .transpose()?
        .filter(|until| *until <= now + AHEAD_MAX);
    Ok(until.map_or(first, |until| (until - overlap).max(first)))
}

/// All of a list was seen, up to this moment of Stripe's, which is not after now.
pub fn advance(
    context: &Context,
    name: &'static str,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let Some(until) = newest.map(|newest| clock::text(newest.min(now))) else {
        return Ok(());
    };
    let now = clock::text(now + AHEAD_MAX);
    context.writer.write(move |c| {
        inbox::as_author(c, AUTHOR, |c| {
            let known = "SELECT EXISTS(SELECT 1 FROM sweeps WHERE name = ?1)";
            let known: bool =
                c.query_row(known, [name], |row| row.get(0)).map_err(db::translate)?;
            let written = match known {
                true => c.execute(
                    "UPDATE sweeps SET until = ?2 WHERE name = ?1 AND (until < ?2 OR until > ?3)",
                    (name, until, now),
                ),
                false => {
                    c.execute("INSERT INTO sweeps(name, until) VALUES (?1, ?2)", (name, until))
                }
            };
            written.map(drop).map_err(db::translate)
        })
    })
}
