//! `fulfilld ship`: an order goes out, as a whole or in part. It types `INSERT INTO ship` for you.

use rusqlite::Connection;

use super::order_verbs::{self, Act, On, Override};
use super::{File, Output};
use crate::db;
use crate::error::{Error, Result};
use crate::text;

mod from; // the tracking numbers that a label service exports

/// Mark orders as shipped
///
/// Ships everything of these orders that is left to send in a parcel. All or nothing: if one order
/// is refused, none is shipped. If several parcels of an order wait, say which: --parcel, --items or
/// --all. Orders that go to one address may share a tracking number.
///
/// --from reads the parcels and their tracking numbers from the CSV file that a label service
/// exports. It knows the columns by their headings, such as Order ID, Tracking Number and Carrier;
/// the reference is 1042-1, or 1042 if one parcel waits. It checks every row before it writes one,
/// and skips void labels and parcels that already have that number, so reading a file twice changes
/// nothing. If anything else is wrong, it names the rows and ships nothing. One `fulfilld undo`
/// takes the whole file back.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld ship 1042 --company DHL --number JD0146000034")]
pub struct Args {
    /// Who carries it
    #[arg(long)]
    company: Option<String>,
    /// The tracking number, which belongs to one order, or to orders that go to one address
    #[arg(long)]
    number: Option<String>,
    /// Where the buyer follows it
    #[arg(long)]
    url: Option<String>,
    /// Only these lines: positions as on the receipt, with a quantity where it is not all; the rest
    /// waits in its own parcel
    #[arg(long, value_name = "1,2x3", conflicts_with_all = ["parcel", "all"])]
    items: Option<String>,
    /// One of several parcels that wait, by its fulfillment_id in `fulfilld orders --to-ship`
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    parcel: Option<i64>,
    /// All parcels that wait, under this number
    #[arg(long)]
    all: bool,
    /// The parcels and numbers that a label service exports as CSV; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["orders", "number", "url", "items", "parcel", "all"])]
    from: Option<String>,
    /// With --from: say what would be shipped, or why it cannot be, and change nothing
    #[arg(long, requires = "from")]
    dry_run: bool,
    #[command(flatten)]
    lift: Override,
    /// The orders' numbers
    #[arg(required_unless_present = "from", value_name = "N")]
    orders: Vec<i64>,
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// Ships all of them and prints them as they are now. `Usage` when one parcel or some lines are
/// asked of several orders, `Permanent` with the file's own sentence when it refuses one; then
/// nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.from {
        let author = args.lift.author();
        let import =
            from::Import { path, company: args.company.as_deref(), author, is_dry: args.dry_run };
        return from::run(&import, &args.file, &args.output);
    }
    let tracking = [args.company.as_deref(), args.number.as_deref(), args.url.as_deref()];
    if (args.items.is_some() || args.parcel.is_some()) && args.orders.len() > 1 {
        return Err(Error::Usage("--items and --parcel are about one order; name one".into()));
    }
    let (verb, first) = match &args.items {
        Some(items) => ("ship_items", Some(Some(items.as_str()))),
        None if args.parcel.is_some() || args.all => ("ship_parcel", None),
        None => ("ship", None),
    };
    let with = first.into_iter().chain(tracking).collect();
    let act = Act { verb, done: "shipped", author: args.lift.author(), with };
    let on = On { orders: &args.orders, file: &args.file, output: &args.output };
    order_verbs::run_with(&on, &act, &|c, order| which(c, args, order), &|c, ids| {
        taken(c, args.number.as_deref(), &act, ids)
    })
}

/// What goes out of an order: itself, or parcels by their ids. `Permanent` with the choices where
/// several wait and none was named, or the one that was named does not wait.
fn which(c: &Connection, args: &Args, order: i64) -> Result<Vec<i64>> {
    let waiting = "SELECT f.id, '--parcel ' || f.id || ' (' || (SELECT group_concat(fl.quantity || ' × ' || li.name, ', ')
          FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id WHERE fl.fulfillment_id = f.id) || ')'
        FROM fulfillments f WHERE f.order_id = ?1 AND f.status = 'pending' AND f.requires_shipping = 1 ORDER BY f.id";
    let waiting: Vec<(i64, String)> = c
        .prepare(waiting)
        .and_then(|mut query| {
            query.query_map([order], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .map_err(db::translate)?;
    let choices =
        || waiting.iter().map(|(_, choice)| choice.as_str()).collect::<Vec<_>>().join(", ");
    match args.parcel {
        Some(parcel) if waiting.iter().any(|(id, _)| *id == parcel) => Ok(vec![parcel]),
        Some(parcel) if waiting.is_empty() => {
            Err(Error::Permanent(format!("no parcel {parcel} of it waits")))
        }
        Some(parcel) => {
            Err(Error::Permanent(format!("no parcel {parcel} of it waits; there is {}", choices())))
        }
        None if args.all && waiting.is_empty() => {
            Err(Error::Permanent("no parcel of it waits".into()))
        }
        None if args.all => Ok(waiting.iter().map(|(id, _)| *id).collect()),
        None if args.items.is_none() && waiting.len() > 1 => Err(Error::Permanent(format!(
            "several parcels of it wait; say which: {}, or --all",
            choices()
        ))),
        // Whether anything waits, and why not, is for the file to say.
        None => Ok(vec![order]),
    }
}

/// The orders that have the tracking number already, when it is the number that was refused:
/// without it they would go.
fn taken(c: &Connection, number: Option<&str>, act: &Act, ids: &[i64]) -> Option<String> {
    let number = number?;
    let mut with = act.with.clone();
    let last = with.len();
    with[last - 2] = None;
    let without = Act { verb: act.verb, done: act.done, author: act.author, with };
    c.execute_batch("SAVEPOINT without_number").ok()?;
    let goes = order_verbs::insert(c, &without, ids).is_ok();
    c.execute_batch("ROLLBACK TO without_number; RELEASE without_number").ok()?;
    let others = "SELECT group_concat(order_id, ', ') FROM (SELECT DISTINCT f.order_id FROM fulfillments f, blanks
        WHERE f.tracking_number = trim(?1, signs) AND f.status <> 'canceled')";
    let others: Option<String> = c.query_row(others, [number], |row| row.get(0)).ok()?;
    let others = others.filter(|_| goes)?;
    Some(format!(
        "the tracking number {} is on a parcel of order {others} already, which goes elsewhere",
        text::clean(number)
    ))
}
