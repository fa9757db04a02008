//! The tracking numbers that a label service exports, all of a file or none.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{sentence, taken, wording};
use crate::db;
use crate::error::{Error, Result};
use crate::labels::{Choice, Row, is_no_number};
use crate::table::Table;
use crate::text;

/// What became of a file.
pub struct Imported {
    /// What is shipped; `None` where anything is wrong, and then nothing is.
    pub shipped: Option<Table>,
    /// How many parcels that is, or would be.
    pub parcels: usize,
    /// Why nothing is shipped, in the file's order.
    pub faults: Vec<String>,
    /// What is passed over, or worth knowing.
    pub notes: Vec<String>,
}

/// A file that ships more would keep the lock for seconds, and webhooks wait for it: a parcel takes
/// about 0.5 ms.
const PARCELS_MAX: usize = 2_000;

/// Checks every row, and ships all of its parcels in one statement, which is what an undo takes back
/// as one. `company` carries it where the file does not say. What would be shipped is given to
/// `is_meant`; where that says no, it is rolled back.
pub fn import(
    c: &Connection,
    rows: &[Row],
    company: Option<&str>,
    is_meant: impl FnOnce(&Table) -> bool,
) -> Result<Imported> {
    let mut found = look(c, rows, company)?;
    let parcels = found.labels.len();
    if parcels > PARCELS_MAX {
        return Err(Error::Permanent(format!(
            "the file ships {parcels} parcels, and one file may ship {PARCELS_MAX}, so that webhooks \
             do not wait for it; split it"
        )));
    }
    let mut shipped = None;
    if found.faults.is_empty() {
        c.execute_batch("SAVEPOINT as_it_was").map_err(db::translate)?;
        let refusal = match insert(c, &found.labels) {
            Ok(()) => None,
            Err(Error::Permanent(why)) => Some(why),
            Err(other) => return Err(other),
        };
        let table = match &refusal {
            Some(_) => None,
            None => {
                let ids: Vec<i64> = found.labels.iter().map(|label| label.fulfillment).collect();
                Some(Table::query(c, SHIPPED, [serde_json::json!(ids).to_string()])?)
            }
        };
        let stays = table.as_ref().is_some_and(is_meant);
        let end =
            if stays { "RELEASE as_it_was" } else { "ROLLBACK TO as_it_was; RELEASE as_it_was" };
        c.execute_batch(end).map_err(db::translate)?;
        shipped = table;
        if let Some(why) = refusal {
            found.faults = refused(c, &found.labels)?;
            if found.faults.is_empty() {
                return Err(Error::Permanent(why));
            }
        }
    } else {
        found.faults.extend(refused(c, &found.labels)?);
    }
    found.faults.sort();
    let faults = found.faults.into_iter().map(|(_, why)| why).collect();
    Ok(Imported { shipped, parcels, faults, notes: found.notes })
}

/// What was shipped, as a person checks it against the labels.
const SHIPPED: &str = "
    SELECT f.order_id || '-' || (SELECT count(*) FROM fulfillments g WHERE g.order_id = f.order_id
        AND g.requires_shipping = 1 AND g.id <= f.id) AS parcel,
      coalesce(o.shipping_name, o.name, o.email) AS customer, f.tracking_company, f.tracking_number,
      f.tracking_url
    FROM fulfillments f JOIN orders o ON o.id = f.order_id
    WHERE f.id IN (SELECT value FROM json_each(?1)) ORDER BY f.order_id, f.id";

/// One parcel that goes out.
struct Label {
    line: u64,
    order: i64,
    /// `1042-1`.
    parcel: String,
    fulfillment: i64,
    company: Option<String>,
    number: String,
    url: Option<String>,
}

#[derive(Default)]
struct Found {
    labels: Vec<Label>,
    /// Why nothing is shipped, by the line.
    faults: Vec<(u64, String)>,
    /// What is passed over, or worth knowing.
    notes: Vec<String>,
}

/// Which parcel each row is about.
fn look(c: &Connection, rows: &[Row], company: Option<&str>) -> Result<Found> {
    let mut found = Found::default();
    let mut by_parcel: BTreeMap<i64, Label> = BTreeMap::new();
    for row in rows {
        let (line, reference) = (row.line, &row.reference);
        let at = match reference.is_empty() {
            true => format!("line {line}"),
            false => format!("line {line} ({reference})"),
        };
        let parcel = match of_row(c, row)? {
            Of::Parcel(parcel) => parcel,
            Of::Passed(why) => {
                found.notes.push(format!("{at} is passed over: {why}"));
                continue;
            }
            Of::Fault(why) => {
                found.faults.push((line, format!("{at}: {why}")));
                continue;
            }
        };
        let label = Label {
            line,
            order: parcel.order,
            parcel: parcel.reference(),
            fulfillment: parcel.fulfillment,
            company: row.company.clone().or(company.map(String::from)),
            number: row.number.clone(),
            url: row.url.clone(),
        };
        match by_parcel.get(&label.fulfillment) {
            Some(first) if first.number != label.number => found.faults.push((line, format!(
                "{at}: line {} names another number for the parcel {}; a parcel has one, so take one \
                 of them out, or split the order first: fulfilld ship {} --items",
                first.line, label.parcel, label.order
            ))),
            Some(_) => {}
            None => drop(by_parcel.insert(label.fulfillment, label)),
        }
    }
    found.labels = by_parcel.into_values().collect();
    let nameless = found.labels.iter().filter(|label| label.company.is_none()).count();
    if nameless > 0 {
        found.notes.push(format!(
            "the file names no carrier ({nameless} parcels), so no link follows them; --company DHL \
             names it"
        ));
    }
    Ok(found)
}

/// What a row comes to.
enum Of {
    Parcel(Known),
    /// It changes nothing, and why.
    Passed(String),
    /// It cannot be, and why.
    Fault(String),
}

/// A parcel of an order.
struct Known {
    fulfillment: i64,
    order: i64,
    /// Which of the order's parcels, from 1.
    place: i64,
    status: String,
    number: Option<String>,
    items: String,
}

impl Known {
    fn reference(&self) -> String {
        format!("{}-{}", self.order, self.place)
    }
}

const NOT_OURS: &str = "take the row out if the parcel is not the shop's";

fn of_row(c: &Connection, row: &Row) -> Result<Of> {
    if row.reference.is_empty() {
        return Ok(Of::Passed("it names no order".into()));
    }
    let Ok(choice) = Choice::parse(row.reference.trim_start_matches('#').trim()) else {
        return Ok(Of::Fault(format!("that is not an order's number; {NOT_OURS}")));
    };
    let mut known = parcels(c, choice.order())?;
    if known.is_empty() {
        return Ok(Of::Fault(match is_order(c, choice.order())? {
            true => "nothing of the order needs a parcel".into(),
            false => format!("there is no such order; {NOT_OURS}"),
        }));
    }
    let count = known.len();
    known.retain(|parcel| choice.parcel().is_none_or(|place| place == parcel.place));
    let bearer = known.iter().find(|parcel| {
        parcel.status != "canceled"
            && parcel.number.as_deref().is_some_and(|number| number == row.number)
    });
    if row.is_void {
        return Ok(Of::Passed(match bearer {
            Some(parcel) => format!(
                "the label is void, and {} was shipped with it; correct its number if it went with \
                 another one",
                parcel.reference()
            ),
            None => "the label is void".into(),
        }));
    }
    if row.number.is_empty() {
        return Ok(Of::Passed("it has no tracking number".into()));
    }
    if let Some(why) = is_no_number(&row.number) {
        return Ok(Of::Fault(why));
    }
    if let Some(parcel) = bearer {
        let parcel = parcel.reference();
        return Ok(Of::Passed(format!("{parcel} is shipped with that number already")));
    }
    let (mut waiting, gone): (Vec<Known>, Vec<Known>) =
        known.into_iter().partition(|parcel| parcel.status == "pending");
    if waiting.len() > 1 {
        let choices = waiting
            .iter()
            .map(|parcel| format!("{} ({})", parcel.reference(), text::clean(&parcel.items)));
        return Ok(Of::Fault(format!(
            "several parcels of the order wait; name one of them in the file: {}",
            choices.collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(match (waiting.pop(), gone.last()) {
        (Some(parcel), _) => Of::Parcel(parcel),
        (None, Some(last)) => Of::Fault(why_gone(last)),
        (None, None) => Of::Fault(format!("the order has no such parcel, but {count}")),
    })
}

/// Why a parcel takes no number any more.
fn why_gone(parcel: &Known) -> String {
    let reference = parcel.reference();
    let fix = format!(
        "fulfilld sql \"UPDATE fulfillments SET tracking_number = '…' WHERE id = {}\"",
        parcel.fulfillment
    );
    match (&parcel.number, parcel.status.as_str()) {
        (_, "canceled") => format!("{reference} is canceled"),
        (Some(number), _) => format!(
            "{reference} was shipped with the number {} already; where that is wrong: {fix}",
            text::clean(number)
        ),
        (None, _) => format!("{reference} was shipped without a number; to add it: {fix}"),
    }
}

fn is_order(c: &Connection, order: i64) -> Result<bool> {
    c.query_row("SELECT count(*) FROM orders WHERE id = ?1", [order], |row| row.get(0))
        .map_err(db::translate)
}

/// The order's parcels, whatever became of them; the place of one never changes.
fn parcels(c: &Connection, order: i64) -> Result<Vec<Known>> {
    let sql = "SELECT f.id, f.status, f.tracking_number,
          (SELECT group_concat(fl.quantity || ' × ' || li.name, ', ') FROM fulfillment_line_items fl
           JOIN line_items li ON li.id = fl.line_item_id WHERE fl.fulfillment_id = f.id)
        FROM fulfillments f WHERE f.order_id = ?1 AND f.requires_shipping = 1 ORDER BY f.id";
    let mut query = c.prepare_cached(sql).map_err(db::translate)?;
    let mut rows = query.query([order]).map_err(db::translate)?;
    let mut known = Vec::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let place = known.len() as i64 + 1;
        let parcel = || -> rusqlite::Result<Known> {
            let items: Option<String> = row.get(3)?;
            Ok(Known {
                fulfillment: row.get(0)?,
                order,
                place,
                status: row.get(1)?,
                number: row.get(2)?,
                items: items.unwrap_or_default(),
            })
        };
        known.push(parcel().map_err(db::translate)?);
    }
    Ok(known)
}

/// What the file's rules have against each parcel, one after the other; nothing has changed then.
fn refused(c: &Connection, labels: &[Label]) -> Result<Vec<(u64, String)>> {
    let mut faults = Vec::new();
    c.execute_batch("SAVEPOINT one_by_one").map_err(db::translate)?;
    for label in labels {
        let with = [label.company.as_deref(), Some(label.number.as_str()), label.url.as_deref()];
        let ids = [label.fulfillment];
        match super::insert(c, "ship_parcel", &with, &ids) {
            Ok(()) => {}
            Err(Error::Permanent(why)) => {
                let why = taken(c, "ship_parcel", &with, &ids)
                    .unwrap_or_else(|| wording::refusal(sentence(&why), Some(label.order)));
                let line = label.line;
                faults.push((line, format!("line {line} ({}): {why}", label.parcel)));
            }
            Err(other) => return Err(other),
        }
    }
    c.execute_batch("ROLLBACK TO one_by_one; RELEASE one_by_one").map_err(db::translate)?;
    Ok(faults)
}

/// All of them in one statement.
fn insert(c: &Connection, labels: &[Label]) -> Result<()> {
    let row = |label: &Label| {
        serde_json::json!([label.fulfillment, label.company, label.number, label.url])
    };
    let rows: Vec<_> = labels.iter().map(row).collect();
    let sql =
        "INSERT INTO ship_parcel SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
        json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?1)";
    c.execute(sql, [serde_json::json!(rows).to_string()]).map(drop).map_err(db::translate)
}
