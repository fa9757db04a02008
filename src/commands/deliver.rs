//! `fulfilld deliver`: parcels have arrived, digital goods are sent. It types `INSERT INTO deliver`
//! for you.

use rusqlite::Connection;

use super::order_verbs::{self, Act, Orders, Override};
use crate::db;
use crate::error::{Error, Result};

/// Mark orders as delivered: their parcels have arrived, their digital goods are sent
///
/// Covers every parcel on its way and everything that needs no parcel. If only one of several has
/// arrived, name it with --parcel. All or nothing: if one order is refused, none is delivered.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld deliver 1042")]
pub struct Args {
    #[command(flatten)]
    lift: Override,
    /// Only this parcel, by its fulfillment in `fulfilld orders N`
    #[arg(long, value_name = "ID")]
    parcel: Option<i64>,
    #[command(flatten)]
    orders: Orders,
}

/// Delivers all of them and prints them as they are now. `Usage` when one parcel is named for
/// several orders, `Permanent` with the file's own sentence when it refuses one; then nothing has
/// changed.
pub fn run(args: &Args) -> Result<()> {
    let verb = if args.parcel.is_some() { "deliver_parcel" } else { "deliver" };
    let act = Act { verb, done: "delivered", author: args.lift.author(), with: vec![] };
    let Some(parcel) = args.parcel else { return order_verbs::run(&args.orders, &act) };
    if args.orders.count() > 1 {
        return Err(Error::Usage("--parcel is about one order; name one".into()));
    }
    order_verbs::run_with(&args.orders.on(), &act, &|c, order| which(c, order, parcel), &|_, _| {
        None
    })
}

/// The parcel, where it is on its way to that order's buyer; else `Permanent` with the choices.
fn which(c: &Connection, order: i64, parcel: i64) -> Result<Vec<i64>> {
    let on_their_way: Vec<(i64, String)> = c
        .prepare(
            "SELECT f.id, '--parcel ' || f.id || ' (' || (SELECT group_concat(fl.quantity
               || ' × ' || li.name, ', ')
               FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
               WHERE fl.fulfillment_id = f.id) || ')'
             FROM fulfillments f WHERE f.order_id = ?1
               AND (f.status = 'shipped' OR (f.status = 'pending' AND f.requires_shipping = 0))
             ORDER BY f.id",
        )
        .and_then(|mut query| {
            query.query_map([order], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .map_err(db::translate)?;
    if on_their_way.iter().any(|(id, _)| *id == parcel) {
        return Ok(vec![parcel]);
    }
    let choices: Vec<&str> = on_their_way.iter().map(|(_, choice)| choice.as_str()).collect();
    Err(Error::Permanent(match choices.is_empty() {
        true => format!("no parcel {parcel} of it is on its way"),
        false => format!("no parcel {parcel} of it is on its way; there is {}", choices.join(", ")),
    }))
}
