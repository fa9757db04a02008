//! `fulfilld ship`: everything of an order that needs a parcel goes out. It types `INSERT INTO ship` for you.

use super::act::{self, Act, Orders, Override};
use crate::error::Result;

/// Mark orders as shipped
///
/// All that is left of them and needs a parcel goes out: several orders at once, or on any refusal none. To send a
/// part, first lower a quantity in fulfillment_line_items; the rest goes into another parcel.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld ship 1042 --company DHL --number JD0146000034")]
pub struct Args {
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
    lift: Override,
    #[command(flatten)]
    orders: Orders,
}

/// Ships all of them and prints them as they are now. `Permanent` with the file's own sentence when it refuses one;
/// then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    let with = vec![args.company.as_deref(), args.number.as_deref(), args.url.as_deref()];
    act::run(&args.orders, &Act { verb: "ship", done: "shipped", author: args.lift.author(), with })
}
