//! Takes back the last change that a person made, by what order_history says of it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{ADDED, sentence};
use crate::columns;
use crate::db;
use crate::error::{Error, Result};
use crate::table::Table;

/// The author of what undo changes; who asked for it may stand behind it (`fulfilld:undo page:anna`).
/// The triggers let it go back where nobody else may.
pub const UNDO: &str = "fulfilld:undo";

/// What is as it was again.
pub struct Undone {
    /// The values as they were found and as they are again.
    pub table: Table,
    /// What a hook was notified of already, and cannot be taken back.
    pub notified: Vec<String>,
}

/// Takes back the last change that a person made, of this order where one is named; the actor of
/// the transaction is [`UNDO`]. With `is_dry` it is done and rolled back. `Permanent` when there is
/// nothing to take back, when something of it has moved since, or without `force` when a hook was
/// notified of it; then nothing has changed.
pub fn undo(c: &Connection, order: Option<i64>, force: bool, is_dry: bool) -> Result<Undone> {
    let change = last_change(c, order)?;
    change.iter().try_for_each(|step| unmoved(c, step))?;
    let notified = notified(c, &change)?;
    if let (Some(what), false) = (notified.first(), force) {
        return Err(Error::Permanent(format!(
            "a hook was already notified of it ({what}), and what it sent cannot be \
             unsent; to put the file back all \
             the same: fulfilld undo --force"
        )));
    }
    c.execute_batch("SAVEPOINT as_it_was").map_err(db::translate)?;
    put_back(c, &change).map_err(|error| match error {
        Error::Permanent(why) => Error::Permanent(format!(
            "it cannot be taken back, and nothing was changed: {}",
            sentence(&why)
        )),
        other => other,
    })?;
    let end = if is_dry { "ROLLBACK TO as_it_was; RELEASE as_it_was" } else { "RELEASE as_it_was" };
    c.execute_batch(end).map_err(db::translate)?;
    Ok(Undone { table: shown(&change), notified })
}

/// One value that the change set, from what it was before the change to what it was after it.
struct Step {
    order: i64,
    what: String,
    place: Place,
    before: Option<String>,
    after: Option<String>,
    /// When the statement ran, to a thousandth of a second, as the keys of the outbox have it.
    at: String,
}

/// Where a value stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A column of the order's row.
    Order(String),
    /// A column of a fulfillment's row.
    Fulfillment(i64, String),
    /// How much of a line item is in a fulfillment.
    Quantity(i64, String),
    /// `canceled_quantity` of the order's line at this position, and why.
    Canceled(i64),
    CanceledWhy(i64),
    /// That a parcel is a replacement, which it stays; taken back, it is canceled and empty.
    Replacement(i64),
    /// What was dismissed from attention: the reason, what it was about, and since when
    /// with the sentence that was shown.
    Dismissed(String, String, String),
}

impl Place {
    /// Reads `order_history.what`. None when it is nothing that an operator changes.
    fn named(what: &str, after: Option<&str>) -> Option<Place> {
        let words: Vec<&str> = what.splitn(5, ' ').collect();
        match words[..] {
            ["attention", reason, ..] => {
                let subject = what.get("attention ".len() + reason.len() + 1..)?;
                Some(Place::Dismissed(reason.into(), subject.into(), after?.into()))
            }
            [column] if columns::is_yours("orders", column) => Some(Place::Order(column.into())),
            ["line", position, "canceled_quantity"] => {
                Some(Place::Canceled(position.parse().ok()?))
            }
            ["line", position, "cancel_reason"] => Some(Place::CanceledWhy(position.parse().ok()?)),
            ["fulfillment", id, "replacement"] => Some(Place::Replacement(id.parse().ok()?)),
            ["fulfillment", id, "quantity", "of", item] => {
                Some(Place::Quantity(id.parse().ok()?, item.into()))
            }
            ["fulfillment", id, column] if columns::is_yours("fulfillments", column) => {
                Some(Place::Fulfillment(id.parse().ok()?, column.into()))
            }
            _ => None,
        }
    }

    /// True where a change can leave something to send in no pending parcel; to look at that is the
    /// slowest part of an undo.
    fn moves_goods(&self) -> bool {
        match self {
            Place::Order(column) => column == "canceled_at",
            Place::CanceledWhy(_) | Place::Replacement(_) | Place::Dismissed(..) => false,
            Place::Fulfillment(_, column) => column == "status",
            Place::Quantity(..) | Place::Canceled(_) => true,
        }
    }

    /// What stands there now, as the history writes it.
    fn now(&self, c: &Connection, order: i64) -> Result<Option<String>> {
        let text = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
            let value = c
                .prepare_cached(sql)
                .and_then(|mut query| query.query_row(params, |row| row.get(0)).optional());
            value.map(Option::flatten).map_err(db::translate)
        };
        match self {
            Place::Order(column) => {
                text(&format!("SELECT {column} FROM orders WHERE id = ?1"), &[&order])
            }
            Place::Fulfillment(id, column) => text(
                &format!("SELECT {column} FROM fulfillments WHERE id = ?1 AND order_id = ?2"),
                &[id, &order],
            ),
            Place::Quantity(id, item) => text(
                "SELECT CAST(quantity AS TEXT) FROM fulfillment_line_items \
                 WHERE fulfillment_id = ?1 AND line_item_id = ?2",
                &[id, item],
            ),
            Place::Canceled(position) => text(
                "SELECT CAST(canceled_quantity AS TEXT) FROM line_items WHERE order_id = ?1 AND position = ?2",
                &[&order, position],
            ),
            Place::CanceledWhy(position) => text(
                "SELECT cancel_reason FROM line_items WHERE order_id = ?1 AND position = ?2",
                &[&order, position],
            ),
            Place::Replacement(id) => {
                text("SELECT replacement FROM fulfillments WHERE id = ?1", &[id])
            }
            Place::Dismissed(reason, subject, what) => text(
                "SELECT since || ' ' || what FROM dismissals
                 WHERE reason = ?1 AND subject = ?2 AND since || ' ' || what = ?3",
                &[reason, subject, what],
            ),
        }
    }
}

/// The operator's last statement, or what the last one that changed an order did to it; newest
/// first, each place once. A statement's rows follow each other without a gap and have one author
/// and one moment, because SQLite's clock stands still while a statement runs.
fn last_change(c: &Connection, order: Option<i64>) -> Result<Vec<Step>> {
    // One order's rows by its index; else the newest rows of all.
    let of_order = if order.is_some() { "order_id = ?2" } else { "?2 IS NULL" };
    let last = format!(
        "SELECT id, actor FROM order_history
         WHERE (actor GLOB 'operator*' OR actor GLOB 'page:*' OR actor GLOB ?1 || '*'
         OR actor = '{ADDED}') AND {of_order}
         ORDER BY id DESC LIMIT 1"
    );
    let last: Option<(i64, String)> = c
        .query_row(&last, (UNDO, order), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(db::translate)?;
    let Some((id, actor)) = last else {
        let which = order.map_or("an order".into(), |order| format!("order {order}"));
        return Err(Error::Permanent(format!(
            "there is nothing to take back: nobody has changed {which} by hand yet"
        )));
    };
    if actor.starts_with(UNDO) {
        return Err(Error::Permanent(
            "the last change is taken back already, and an undo is not undone; what it put back: SELECT * FROM \
             order_history WHERE actor GLOB 'fulfilld:undo*'"
                .into(),
        ));
    }
    if actor == ADDED {
        return Err(Error::Permanent(
            "the last change added an order, and what was added is not taken back; cancel it with fulfilld cancel, \
             or name the order whose last change is meant: fulfilld undo --order 1042"
                .into(),
        ));
    }
    let of = |row: &str| {
        if order.is_some() { format!("{row}.order_id = ?2") } else { "?2 IS NULL".into() }
    };
    let rows = format!(
        "SELECT order_id, what, old, new, substr(at, 1, 17) || moment || 'Z' FROM order_history h
         WHERE id <= ?1 AND {} AND id > coalesce((SELECT max(g.id) FROM order_history g
         JOIN order_history l ON l.id = ?1
           WHERE g.id < ?1 AND {} AND (g.actor, g.at, g.moment) <> (l.actor, l.at, l.moment)), 0) ORDER BY id DESC",
        of("h"),
        of("g")
    );
    type Row = (i64, String, Option<String>, Option<String>, String);
    let rows: Vec<Row> = c
        .prepare(&rows)
        .and_then(|mut query| {
            let row = |row: &rusqlite::Row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            };
            query.query_map((id, order), row)?.collect()
        })
        .map_err(db::translate)?;
    let mut change: Vec<Step> = Vec::new();
    let mut known: BTreeMap<(i64, Place), usize> = BTreeMap::new();
    for (order, what, before, after, at) in rows {
        let place = Place::named(&what, after.as_deref()).ok_or_else(|| {
            Error::Permanent(format!("order {order}: {what} cannot be taken back by undo"))
        })?;
        match known.get(&(order, place.clone())) {
            Some(n) => change[*n].before = before,
            None => {
                known.insert((order, place.clone()), change.len());
                change.push(Step { order, what, place, before, after, at });
            }
        }
    }
    Ok(change)
}

/// `Permanent` when what stands there is no longer what the change made of it.
fn unmoved(c: &Connection, step: &Step) -> Result<()> {
    let now = step.place.now(c, step.order)?;
    if now == step.after {
        return Ok(());
    }
    let word =
        |value: &Option<String>| value.as_ref().map_or("empty".into(), |text| format!("'{text}'"));
    Err(Error::Permanent(format!(
        "order {} has moved on since: {} is {} and your last change made it {}; nothing was changed",
        step.order,
        step.what,
        word(&now),
        word(&step.after)
    )))
}

fn number(value: &Option<String>) -> i64 {
    value.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// True for what a corrected address or the person it is for is made of: that is notified of for
/// each parcel that is on its way (`orders_corrected` in the schema).
fn is_of_the_address(column: &str) -> bool {
    column == "email" || column.starts_with("shipping_")
}

/// The notifications of the change, by the beginning of their keys in the outbox.
fn notifications(c: &Connection, change: &[Step]) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for step in change {
        let updated = |id: i64| format!("fulfillment:{id}:updated:{}", step.at);
        let canceled = format!("order:{}:canceled", step.order);
        match (&step.place, &step.before, &step.after) {
            (Place::Fulfillment(id, column), Some(_), Some(status)) if column == "status" => {
                keys.insert(format!("fulfillment:{id}:{status}"));
            }
            (Place::Order(column), None, Some(_)) if column == "canceled_at" => {
                keys.insert(canceled);
            }
            (Place::Canceled(_), before, after) if number(after) > number(before) => {
                keys.insert(canceled);
            }
            (Place::Fulfillment(id, column), ..) if column.starts_with("tracking_") => {
                keys.insert(updated(*id));
            }
            (Place::Order(column), ..) if is_of_the_address(column) => {
                let parcels: Vec<i64> = c
                    .prepare_cached("SELECT id FROM fulfillments WHERE order_id = ?1")
                    .and_then(|mut query| {
                        query.query_map([step.order], |row| row.get(0))?.collect()
                    })
                    .map_err(db::translate)?;
                keys.extend(parcels.into_iter().map(updated));
            }
            _ => {}
        }
    }
    Ok(keys)
}

/// The latest notification with such a key; the same act after an undo has a longer one.
const LATEST: &str =
    "SELECT id FROM outbox WHERE key >= ?1 AND key < ?1 || ';' ORDER BY id DESC LIMIT 1";

/// No hook was notified of it, although it is done.
const NOT_SENT: &str = "coalesce(outcome IN ('no_hook', 'past') AND attempts = 0, 0)";

/// What is left to send goes into a pending parcel again, where it is not in one as it should be;
/// settling an order in which nothing is wrong changes nothing, and takes longer than to look.
const UNSETTLED: &str = "INSERT INTO settle(order_id) SELECT ?1
    WHERE EXISTS(SELECT 1 FROM line_item_balance WHERE order_id = ?1 AND pending <> left_to_send)
      OR EXISTS(SELECT 1 FROM fulfillments f WHERE order_id = ?1 AND status = 'pending'
           AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = f.id))";

/// The notifications of the change that a hook got, or is getting.
fn notified(c: &Connection, change: &[Step]) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT topic || ' of order ' || order_id FROM outbox
         WHERE id = ({LATEST}) AND ((state = 'done' AND NOT {NOT_SENT}) OR attempts > 0)
           AND outcome IS NOT 'undone'"
    );
    let mut query = c.prepare(&sql).map_err(db::translate)?;
    let mut notified = Vec::new();
    for key in notifications(c, change)? {
        notified
            .extend(query.query_row([key], |row| row.get(0)).optional().map_err(db::translate)?);
    }
    Ok(notified)
}

/// Puts every value back, in the order that the triggers ask for: the parcels are what they were,
/// then what is in them, then the order; last of all, what is left to send is in a pending parcel
/// again.
fn put_back(c: &Connection, change: &[Step]) -> Result<()> {
    let mut fulfillments: BTreeMap<i64, Vec<(&str, Option<String>)>> = BTreeMap::new();
    let mut orders: BTreeMap<i64, Vec<(&str, Option<String>)>> = BTreeMap::new();
    let mut made = BTreeSet::new();
    for step in change {
        match &step.place {
            // A parcel that the change made is emptied while it is pending.
            Place::Fulfillment(id, column) if column == "status" && step.before.is_none() => {
                made.insert(*id);
                fulfillments.entry(*id).or_default().push((column, Some("pending".into())));
            }
            Place::Fulfillment(id, column) => {
                fulfillments.entry(*id).or_default().push((column, step.before.clone()));
            }
            Place::Order(column) => {
                orders.entry(step.order).or_default().push((column, step.before.clone()))
            }
            _ => {}
        }
    }
    fulfillments.iter().try_for_each(|(id, columns)| set(c, "fulfillments", *id, columns))?;
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        c.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(db::translate)
    };
    for step in change {
        let before = step.before.as_ref().and_then(|n| n.parse::<i64>().ok());
        match (&step.place, before) {
            (Place::Quantity(id, item), None) => run(
                "DELETE FROM fulfillment_line_items WHERE fulfillment_id = ?1 AND line_item_id = ?2",
                &[id, item],
            )?,
            (Place::Quantity(id, item), Some(n)) if step.after.is_none() => {
                run("INSERT INTO fulfillment_line_items VALUES (?1, ?2, ?3)", &[id, item, &n])?
            }
            (Place::Quantity(id, item), Some(n)) => run(
                "UPDATE fulfillment_line_items SET quantity = ?3 WHERE fulfillment_id = ?1 AND line_item_id = ?2",
                &[id, item, &n],
            )?,
            (Place::Canceled(position), n) => run(
                "UPDATE line_items SET canceled_quantity = ?3 WHERE order_id = ?1 AND position = ?2",
                &[&step.order, position, &n],
            )?,
            (Place::CanceledWhy(position), _) => run(
                "UPDATE line_items SET cancel_reason = ?3 WHERE order_id = ?1 AND position = ?2",
                &[&step.order, position, &step.before],
            )?,
            (Place::Dismissed(reason, subject, what), _) => {
                let gone = "DELETE FROM dismissals
                    WHERE reason = ?1 AND subject = ?2 AND since || ' ' || what = ?3";
                run(gone, &[reason, subject, what])?
            }
            _ => 0,
        };
    }
    for id in made {
        run(
            "UPDATE fulfillments SET status = 'canceled', canceled_at = \
             strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ?1",
            &[&id],
        )?;
    }
    orders.iter().try_for_each(|(id, columns)| set(c, "orders", *id, columns))?;
    let unsettled: BTreeSet<i64> =
        change.iter().filter(|step| step.place.moves_goods()).map(|step| step.order).collect();
    for order in unsettled {
        run(UNSETTLED, &[&order])?;
    }
    let drop_it = format!(
        "UPDATE outbox SET state = 'done', next_attempt_at = NULL, outcome = 'undone',
           last_error = CASE WHEN attempts > 0 OR (state = 'done'
           AND NOT {NOT_SENT}) THEN 'sent, then undone' ELSE 'undone' END
         WHERE id = ({LATEST})"
    );
    for key in notifications(c, change)? {
        run(&drop_it, &[&key])?;
    }
    Ok(())
}

/// Several columns of a row in one statement, because some may only change together.
fn set(c: &Connection, table: &str, id: i64, columns: &[(&str, Option<String>)]) -> Result<()> {
    let list: Vec<String> =
        columns.iter().enumerate().map(|(n, (name, _))| format!("{name} = ?{}", n + 2)).collect();
    let sql = format!("UPDATE {table} SET {} WHERE id = ?1", list.join(", "));
    let values = columns.iter().map(|(_, value)| value.clone().map_or(Cell::Null, Cell::Text));
    c.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement.execute(params_from_iter([Cell::Integer(id)].into_iter().chain(values)))
        })
        .map(drop)
        .map_err(db::translate)
}

/// The values as they were found and as they are again.
fn shown(change: &[Step]) -> Table {
    let text = |value: &Option<String>| value.clone().map_or(Cell::Null, Cell::Text);
    let row = |step: &Step| {
        vec![
            Cell::Integer(step.order),
            Cell::Text(step.what.clone()),
            text(&step.after),
            text(&step.before),
        ]
    };
    Table {
        columns: ["order_id", "what", "was", "is_again"].map(String::from).into(),
        rows: change.iter().map(row).collect(),
    }
}
