//! `fulfilld ship`: everything of an order that needs a parcel goes out. It types `INSERT INTO ship` for you.

use super::orders::overview;
use super::{File, Output};
use crate::db;
use crate::error::{Error, Result};
use crate::table::Table;

/// Mark orders as shipped
///
/// All that is left of them and needs a parcel goes out: several orders at once, or on any refusal none. To send a
/// part, first lower a quantity in fulfillment_line_items; the rest goes into another parcel.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld ship 1042 --company DHL --number JD0146000034")]
pub struct Args {
    /// The orders' numbers
    #[arg(required = true, value_name = "N")]
    orders: Vec<i64>,
    /// Who carries it
    #[arg(long)]
    company: Option<String>,
    /// The tracking number, which belongs to one order
    #[arg(long)]
    number: Option<String>,
    /// Where the buyer follows it
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// Ships all of them and prints them as they are now. `Permanent` with the file's own sentence when it refuses one;
/// then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    let shipped = args.file.write(|c| {
        for order in &args.orders {
            c.execute("INSERT INTO ship VALUES (?1, ?2, ?3, ?4)", (order, &args.company, &args.number, &args.url))
                .map_err(|error| refused(*order, db::translate(error)))?;
        }
        let numbers: Vec<String> = args.orders.iter().map(i64::to_string).collect();
        let sql = format!("{} WHERE v.id IN ({}) ORDER BY v.id", overview(&args.output), numbers.join(", "));
        Table::query(c, &sql, [])
    })?;
    shipped.print(args.output.json, "")
}

/// The file's sentence without the name of the table or verb it begins with, which the person did not type.
fn refused(order: i64, error: Error) -> Error {
    let Error::Permanent(why) = error else { return error };
    let why = match why.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => rest,
        _ => &why,
    };
    Error::Permanent(format!("order {order} is not shipped: {why}"))
}
