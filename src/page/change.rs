//! What a form does: one transaction of the writer's, through the verbs of the file, in the person's
//! name, and only on the state that the form showed.

use std::collections::BTreeSet;

use maud::{Markup, html};
use rusqlite::{Connection, OptionalExtension};

use super::Page;
use super::guard::Person;
use crate::db;
use crate::error::{Error, Result};
use crate::inbox;
use crate::sabotage;
use crate::text;
use crate::verbs::undo::UNDO;
use crate::verbs::{sentence, wording};

/// What a form showed: an order, and the last row of its history then.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// The order's number.
    pub order: i64,
    /// The last row of its history that the form showed.
    pub seen: i64,
}

/// What became of a form.
pub enum Outcome<T> {
    Done(T),
    /// The order is no longer what the form showed, and nothing was done.
    Stale,
}

/// Where the history of an order ends. Whoever changes anything of it, Stripe included, adds to that.
pub fn version(c: &Connection, order: i64) -> Result<i64> {
    let sql = "SELECT coalesce(max(id), 0) FROM order_history WHERE order_id = ?1";
    c.prepare_cached(sql)
        .and_then(|mut query| query.query_row([order], |row| row.get(0)))
        .map_err(db::translate)
}

/// The same of several orders: whoever changes any of them adds to that.
pub fn version_of_all(c: &Connection, orders: &BTreeSet<i64>) -> Result<i64> {
    let sql = "SELECT coalesce(max(id), 0) FROM order_history
        WHERE order_id IN (SELECT value FROM json_each(?1))";
    let orders = serde_json::json!(orders).to_string();
    c.query_row(sql, [orders], |row| row.get(0)).map_err(db::translate)
}

impl Page {
    /// Does `work` as that person. `Permanent` with the file's sentence where it refuses; `Temporary`
    /// while the file is locked.
    pub fn change<T: Send + 'static>(
        &self,
        person: &Person,
        shown: Option<Shown>,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Outcome<T>> {
        self.change_as(person.actor(), shown, work)
    }

    /// The same as an undo that the person requested.
    pub fn undo_as<T: Send + 'static>(
        &self,
        person: &Person,
        shown: Option<Shown>,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Outcome<T>> {
        self.change_as(format!("{UNDO} {}", person.actor()), shown, work)
    }

    fn change_as<T: Send + 'static>(
        &self,
        actor: String,
        shown: Option<Shown>,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Outcome<T>> {
        self.context.writer.write(move |c| {
            if let Some(shown) = shown
                && version(c, shown.order)? != shown.seen
                && !sabotage::is("page_takes_any_form")
            {
                return Ok(Outcome::Stale);
            }
            inbox::as_author(c, &actor, work).map(Outcome::Done)
        })
    }
}

/// The file's refusal as somebody reads it who has no command line.
pub fn refusal(why: &str, order: Option<i64>) -> String {
    let said = wording::refusal(sentence(why), order);
    let mut parts = Vec::new();
    for part in said.split("; ") {
        let mut part = part.to_string();
        while let Some(from) = part.find(" (see fulfilld")
            && let Some(length) = part[from..].find(')')
        {
            part.replace_range(from..=from + length, "");
        }
        if !part.contains("fulfilld ") && !part.contains(" --") {
            parts.push(part);
        }
    }
    if parts.is_empty() { said } else { parts.join("; ") }
}

/// What was changed since the form was shown, and by whom.
pub fn since(c: &Connection, shown: Shown) -> Result<Markup> {
    let rows = history(c, shown.order, shown.seen)?;
    Ok(html! {
        div.note.bad role="alert" {
            p { strong { "Nothing was done: order " (shown.order) " has changed since this page was opened." } }
            @for row in rows.iter().take(20) { p { (row.sentence()) } }
            p { "Look at it as it is now, and repeat what is still right." }
        }
    })
}

/// One change in the history.
pub struct Change {
    /// UTC.
    pub at: String,
    /// Who made the change, as in the history.
    pub actor: String,
    /// What was changed.
    pub what: String,
    /// Its value before; `None` where there was none.
    pub old: Option<String>,
    /// Its value after; `None` where there is none.
    pub new: Option<String>,
}

impl Change {
    /// `2026-11-28 09:14 page:anna: note: gift wrap`
    pub fn sentence(&self) -> String {
        let value = |value: &Option<String>| value.as_deref().map_or("nothing".into(), text::clean);
        let changed = match &self.old {
            None => value(&self.new),
            Some(_) => format!("{} (was {})", value(&self.new), value(&self.old)),
        };
        format!("{} {}: {}: {changed}", minute(&self.at), self.actor, text::clean(&self.what))
    }
}

/// The changes of an order after that row of its history, oldest first.
pub fn history(c: &Connection, order: i64, after: i64) -> Result<Vec<Change>> {
    let sql = "SELECT at, actor, what, CAST(old AS TEXT), CAST(new AS TEXT) FROM order_history
        WHERE order_id = ?1 AND id > ?2 ORDER BY id";
    let change = |row: &rusqlite::Row| {
        Ok(Change {
            at: row.get(0)?,
            actor: row.get(1)?,
            what: row.get(2)?,
            old: row.get(3)?,
            new: row.get(4)?,
        })
    };
    c.prepare_cached(sql)
        .and_then(|mut query| query.query_map([order, after], change)?.collect())
        .map_err(db::translate)
}

/// Who changed this order last, apart from Stripe and the daemon.
pub fn last_person(c: &Connection, order: i64) -> Result<Option<String>> {
    let sql = "SELECT actor FROM order_history WHERE order_id = ?1
        AND (actor GLOB 'operator*' OR actor GLOB 'page:*' OR actor GLOB 'fulfilld:undo*') ORDER BY id DESC LIMIT 1";
    c.query_row(sql, [order], |row| row.get(0)).optional().map_err(db::translate)
}

/// A time as people read it, in UTC.
pub fn minute(at: &str) -> String {
    at.get(..16).unwrap_or(at).replace('T', " ")
}

/// `Permanent` where a form lacks what it always has.
pub fn lacking(what: &str) -> Error {
    Error::Permanent(format!("the form has no {what}; open the page again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_no_command() {
        for (why, said) in [
            (
                "ship: several parcels of it wait (see to_ship); one of them: INSERT INTO ship_parcel \
                 VALUES(fulfillment_id, 'company', 'number', NULL)",
                "several parcels of it wait",
            ),
            ("hold: say why, for whoever packs next", "say why, for whoever packs next"),
            ("cancel: it is canceled already", "it is canceled already"),
        ] {
            assert_eq!(refusal(why, Some(7)), said);
        }
    }
}
