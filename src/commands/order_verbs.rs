//! What the verbs that change orders share: they type `INSERT INTO verb` for you, for several
//! orders at once or none.

use rusqlite::Connection;

use super::orders::overview;
use super::{Common, OVERRIDE};
use crate::error::{Error, Result};
use crate::table::Table;
use crate::verbs::{OPERATOR, insert, sentence, wording};

/// Which orders, and where they are.
#[derive(clap::Args)]
pub struct Orders {
    /// The orders' numbers
    #[arg(required = true, value_name = "N")]
    orders: Vec<i64>,
    #[command(flatten)]
    common: Common,
}

impl Orders {
    /// How many orders are named.
    pub fn count(&self) -> usize {
        self.orders.len()
    }

    /// What the verb acts on.
    pub fn on(&self) -> On<'_> {
        On { orders: &self.orders, common: &self.common }
    }
}

/// The same, of a verb that can also do without numbers.
pub struct On<'a> {
    /// Their numbers.
    pub orders: &'a [i64],
    /// The file, and the form of output.
    pub common: &'a Common,
}

/// Sending in spite of what holds an order.
#[derive(clap::Args)]
pub struct Override {
    /// Send it although it is refunded, disputed, in review or on hold: a loss if Stripe is right.
    /// History names it
    ///
    /// WARNING: this lifts every rule that keeps goods here: a hold, an open or lost dispute, a
    /// review, money that was refunded. It does not make an unpaid or canceled order one that has
    /// something to send. The history names the author operator-override.
    #[arg(long = "override")]
    lifted: bool,
}

impl Override {
    /// Whom the history names for it.
    pub fn author(&self) -> &'static str {
        if self.lifted { OVERRIDE } else { OPERATOR }
    }
}

/// A verb of the file, as schema.sql has it.
pub struct Act<'a> {
    /// The name after INSERT INTO; the order's number is the first of its columns.
    pub verb: &'static str,
    /// What an order is not when the file refuses: "is not shipped".
    pub done: &'static str,
    /// Whom the history names for it.
    pub author: &'static str,
    /// The other columns.
    pub with: Vec<Option<&'a str>>,
}

/// Does it to all the orders in one statement, which is what `fulfilld undo` takes back as one, and
/// prints them as they are now. `Permanent` with the file's own sentence and the order's number
/// when it refuses one; then nothing changed.
pub fn run(orders: &Orders, act: &Act) -> Result<()> {
    run_with(&orders.on(), act, &|_, order| Ok(vec![order]), &|_, _| None)
}

/// What a verb's first column is for an order: its number, or parcels of it by their ids.
type Which<'a> = &'a dyn Fn(&Connection, i64) -> Result<Vec<i64>>;

/// Why it was refused, where the verb knows better than the file's sentence.
type Why<'a> = &'a dyn Fn(&Connection, &[i64]) -> Option<String>;

/// The same where the verb's first column is not the order's number.
pub fn run_with(on: &On, act: &Act, which: Which, why: Why) -> Result<()> {
    let refused = |order: i64, why: &str| {
        Error::Permanent(format!(
            "order {order} is not {}: {}",
            act.done,
            wording::refusal(sentence(why), Some(order))
        ))
    };
    let now = on.common.file.write_as(act.author, |c| {
        let mut all = Vec::new();
        for order in on.orders {
            all.push((
                *order,
                which(c, *order).map_err(|error| match error {
                    Error::Permanent(why) => refused(*order, &why),
                    other => other,
                })?,
            ));
        }
        let ids: Vec<i64> = all.iter().flat_map(|(_, ids)| ids).copied().collect();
        insert(c, act.verb, &act.with, &ids).map_err(|error| {
            // The first that is refused when they go one by one. The transaction ends with it.
            let first =
                all.iter().find_map(|(order, ids)| match insert(c, act.verb, &act.with, ids) {
                    Err(Error::Permanent(said)) => {
                        Some(refused(*order, &why(c, ids).unwrap_or(said)))
                    }
                    _ => None,
                });
            first.unwrap_or(error)
        })?;
        let numbers: Vec<String> = on.orders.iter().map(i64::to_string).collect();
        let sql = format!(
            "{} WHERE v.id IN ({}) ORDER BY v.id",
            overview(&on.common.output),
            numbers.join(", ")
        );
        Table::query(c, &sql, [])
    })?;
    now.print(on.common.output.json, "")
}
