//! `fulfilld ship`: an order goes out, as a whole or in part. It types `INSERT INTO ship` for you.

use std::io::{Read, Write};

use rusqlite::Connection;

use super::Common;
use super::order_verbs::{self, Act, On, Override};
use crate::db;
use crate::error::{Error, Result};
use crate::labels::read_tracking;
use crate::text;
use crate::verbs::import::import;
use crate::verbs::taken;

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
    common: Common,
}

/// Ships all of them and prints them as they are now. `Usage` when one parcel or some lines are
/// named for several orders, `Permanent` with the file's own sentence when it refuses one; then
/// nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.from {
        return ship_from(args, path);
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
    let on = On { orders: &args.orders, common: &args.common };
    order_verbs::run_with(&on, &act, &|c, order| which(c, args, order), &|c, ids| {
        taken(c, act.verb, &act.with, ids)
    })
}

/// What goes out of an order: itself, or parcels by their ids. `Permanent` with the choices where
/// several wait and none was named, or the one that was named does not wait.
fn which(c: &Connection, args: &Args, order: i64) -> Result<Vec<i64>> {
    let waiting = "SELECT f.id, '--parcel ' || f.id || ' (' || (SELECT group_concat(fl.quantity
                     || ' × ' || li.name, ', ')
          FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
          WHERE fl.fulfillment_id = f.id) || ')'
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

/// A file with more is no list of labels.
const LARGEST: u64 = 32 << 20;

/// Reads the file and ships all of its parcels in one statement. `Permanent` with everything that is
/// wrong when anything is; then nothing has changed.
fn ship_from(args: &Args, path: &str) -> Result<()> {
    let rows = read_tracking(&bytes(path)?)?;
    let imported = args.common.file.write_as(args.lift.author(), |c| {
        import(c, &rows, args.company.as_deref(), |_| !args.dry_run)
    })?;
    let Some(table) = imported.shipped else { return Err(nothing_shipped(&imported.faults)) };
    table.print(args.common.output.json, "nothing of the file is to be shipped")?;
    let mut said = std::io::stderr().lock();
    for note in imported.notes {
        let _ = writeln!(said, "{note}");
    }
    let _ = match (args.dry_run, imported.parcels) {
        (_, 0) => writeln!(said, "nothing was changed"),
        (true, n) => writeln!(said, "nothing was changed; parcels shipped without --dry-run: {n}"),
        (false, n) => writeln!(said, "parcels shipped: {n}; fulfilld undo takes all of them back"),
    };
    Ok(())
}

fn nothing_shipped(faults: &[String]) -> Error {
    let lines: Vec<String> = faults.iter().map(|why| format!("\n  {why}")).collect();
    Error::Permanent(format!(
        "nothing is shipped, because not all of the file can be:{}",
        lines.concat()
    ))
}

fn bytes(path: &str) -> Result<Vec<u8>> {
    let shown = text::clean(path);
    let unread = |error: std::io::Error| Error::Usage(format!("{shown} cannot be read: {error}"));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).map_err(unread)?),
    };
    source.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::Usage(format!(
            "{shown} is larger than 32 MB; a list of labels is smaller"
        )));
    }
    Ok(bytes)
}
