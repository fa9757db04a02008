//! What the forms of an order's page do. Each is a verb of the file, or the line that would be typed
//! into the shell.

use maud::html;
use rusqlite::{Connection, params_from_iter};

use super::change::{self, Outcome, Shown};
use super::form::Form;
use super::guard::Person;
use super::layout::{self, note};
use super::order::CONTACT;
use super::{Page, Reply};
use crate::db;
use crate::error::{Error, Result};
use crate::verbs;
use crate::verbs::undo::undo;

/// Where somebody looks after it was done.
#[derive(Clone, Copy)]
enum Next {
    Order,
    Attention,
}

impl Page {
    /// `POST order/1042/ACTION`.
    pub fn act_on(&self, person: &Person, order: i64, action: &str, form: &Form) -> Reply {
        let Some(act) = Act::named(action) else {
            return Err(Error::Permanent("there is no such form".into()));
        };
        let shown =
            Shown { order, seen: form.number("seen").ok_or_else(|| change::lacking("version"))? };
        let next = if form.text("from") == "attention" { Next::Attention } else { Next::Order };
        let done = match act {
            Act::Undo => {
                self.may_undo_of(person, order)?;
                self.undo_as(person, Some(shown), move |c| {
                    undo(c, Some(order), false, false).map(drop)
                })
            }
            act if !person.may_do_all() => {
                return Err(Error::Permanent(format!(
                    "{} may pack and ship, not {}",
                    person.name,
                    act.verb()
                )));
            }
            act => {
                let typed = form.clone();
                self.change(person, Some(shown), move |c| act.run(c, order, &typed))
            }
        };
        match (done, next) {
            (Ok(Outcome::Done(())), Next::Attention) => Ok(layout::see_other("attention".into())),
            (Ok(Outcome::Done(())), Next::Order) => Ok(layout::see_other(format!("order/{order}"))),
            (Ok(Outcome::Stale), _) => {
                let said = self.read(|c| change::since(c, shown))?;
                self.order_page(409, person, order, Some((action, form)), said)
            }
            (Err(Error::Permanent(why)), _) => {
                let why = change::refusal(&why, Some(order));
                let said = html! { (note("bad", &format!("Nothing was changed: {why}"))) };
                self.order_page(422, person, order, Some((action, form)), said)
            }
            (Err(other), _) => Err(other),
        }
    }

    /// `Permanent` where a packer would take back what somebody else did.
    pub fn may_undo_of(&self, person: &Person, order: i64) -> Result<()> {
        let last = self.read(|c| change::last_person(c, order))?;
        if person.may_do_all() || last.as_deref() == Some(&person.actor()) {
            return Ok(());
        }
        Err(Error::Permanent(format!(
            "the last change of order {order} is not yours to take back; ask somebody who may do everything"
        )))
    }
}

/// Everything that can be done.
#[derive(Clone, Copy)]
enum Act {
    Hold,
    Release,
    Deliver,
    Note,
    Address,
    Reship,
    Cancel,
    Split,
    Tracking,
    Dismiss,
    Undo,
}

impl Act {
    fn named(action: &str) -> Option<Act> {
        Some(match action {
            "hold" => Act::Hold,
            "release" => Act::Release,
            "deliver" => Act::Deliver,
            "note" => Act::Note,
            "address" => Act::Address,
            "reship" => Act::Reship,
            "cancel" => Act::Cancel,
            "split" => Act::Split,
            "tracking" => Act::Tracking,
            "dismiss" => Act::Dismiss,
            "undo" => Act::Undo,
            _ => return None,
        })
    }

    /// For a sentence.
    fn verb(self) -> &'static str {
        match self {
            Act::Hold => "hold",
            Act::Release => "release",
            Act::Deliver => "say that it is delivered",
            Act::Note => "write a note",
            Act::Address => "correct an address",
            Act::Reship => "send it once more",
            Act::Cancel => "cancel",
            Act::Split => "split a parcel",
            Act::Tracking => "correct a number",
            Act::Dismiss => "dismiss",
            Act::Undo => "undo",
        }
    }

    fn run(self, c: &Connection, order: i64, form: &Form) -> Result<()> {
        let insert = |verb: &str, with: &[Option<&str>]| verbs::insert(c, verb, with, &[order]);
        let reason = form.filled("reason");
        match self {
            Act::Hold => insert("hold", &[reason]),
            Act::Release => insert("release", &[]),
            Act::Deliver if form.filled("fulfillment").is_none() => insert("deliver", &[]),
            Act::Deliver => {
                let parcel = fulfillment(form)?;
                let sql =
                    "SELECT EXISTS(SELECT 1 FROM fulfillments WHERE id = ?1 AND order_id = ?2)";
                match c.query_row(sql, (parcel, order), |row| row.get(0)).map_err(db::translate)? {
                    true => verbs::insert(c, "deliver_parcel", &[], &[parcel]),
                    false => Err(Error::Permanent("there is no such parcel".into())),
                }
            }
            Act::Cancel => insert("cancel", &[reason]),
            Act::Reship => match form.filled("items") {
                None => insert("reship", &[reason]),
                Some(items) => insert("reship_items", &[Some(items), reason]),
            },
            Act::Note => update(c, "orders", order, order, &[("note", form.filled("note"))]),
            Act::Address => {
                let columns: Vec<(&str, Option<&str>)> =
                    CONTACT.iter().map(|(column, _)| (*column, form.filled(column))).collect();
                update(c, "orders", order, order, &columns)
            }
            Act::Tracking => {
                let columns = [
                    ("tracking_company", form.filled("company")),
                    ("tracking_number", form.filled("number")),
                ];
                update(c, "fulfillments", fulfillment(form)?, order, &columns)
            }
            Act::Split => split(c, fulfillment(form)?, order, form),
            Act::Dismiss => {
                let sql = "INSERT INTO dismiss VALUES(?1, ?2)";
                c.execute(sql, (order, reason)).map(drop).map_err(db::translate)
            }
            Act::Undo => Err(Error::Permanent("an undo is done in a name of its own".into())),
        }
    }
}

fn fulfillment(form: &Form) -> Result<i64> {
    form.number("fulfillment").ok_or_else(|| change::lacking("parcel"))
}

/// Sets those columns of the order's row or of one of its parcels, those alone whose value is
/// another one, so that the history names what was changed and no more.
fn update(
    c: &Connection,
    table: &str,
    id: i64,
    order: i64,
    columns: &[(&str, Option<&str>)],
) -> Result<()> {
    let owner = if table == "orders" { "id" } else { "order_id" };
    let mut changed = Vec::new();
    for (column, value) in columns {
        let sql = format!("SELECT {column} IS NOT ?3 FROM {table} WHERE id = ?1 AND {owner} = ?2");
        if c.query_row(&sql, (id, order, value), |row| row.get(0)).map_err(db::translate)? {
            changed.push((*column, *value));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let set: Vec<String> = changed
        .iter()
        .enumerate()
        .map(|(n, (column, _))| format!("{column} = ?{}", n + 3))
        .collect();
    let sql = format!("UPDATE {table} SET {} WHERE id = ?1 AND {owner} = ?2", set.join(", "));
    let ids = [id, order].map(|id| Some(id.to_string()));
    let values = ids.into_iter().chain(changed.iter().map(|(_, value)| value.map(String::from)));
    c.execute(&sql, params_from_iter(values)).map(drop).map_err(db::translate)
}

/// What stays in a parcel that waits; the rest waits in another one.
fn split(c: &Connection, fulfillment: i64, order: i64, form: &Form) -> Result<()> {
    let mut stays = serde_json::Map::new();
    for (position, quantity) in form.beginning("q_") {
        let known: bool = c
            .query_row(
                "SELECT count(*) FROM line_items WHERE order_id = ?1 AND position = ?2",
                (order, position.parse::<i64>().unwrap_or_default()),
                |row| row.get(0),
            )
            .map_err(db::translate)?;
        let quantity: i64 = quantity.parse().ok().filter(|n| *n >= 0).ok_or_else(|| {
            Error::Permanent("how much stays is a whole number of 0 or more".into())
        })?;
        if known {
            stays.insert(position.into(), quantity.into());
        }
    }
    if stays.values().all(|quantity| quantity == 0) {
        return Err(Error::Permanent("something has to stay in the parcel".into()));
    }
    let sql = "INSERT INTO part SELECT id, ?3 FROM fulfillments
        WHERE id = ?1 AND order_id = ?2 AND status = 'pending'";
    let done = c
        .execute(sql, (fulfillment, order, serde_json::Value::Object(stays).to_string()))
        .map_err(db::translate)?;
    match done {
        0 => Err(Error::Permanent("the parcel no longer waits".into())),
        _ => Ok(()),
    }
}
