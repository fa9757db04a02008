//! `fulfilld slips`: packing slips for the printer, and what to take from the shelves.

use super::Common;
use crate::config;
use crate::error::{Error, Result};
use crate::labels::{self, Choice};
use crate::table::{self, Table};

/// Print packing slips, or what to take from the shelves
///
/// One HTML document on standard output: a sheet with what is to be taken from the shelves, by SKU,
/// and with the cautions, which stays in the shop; then a page for each parcel, which goes into it.
/// Open it in a browser and print it. It loads nothing from anywhere. The shop's name is the company
/// in FULFILLD_SENDER.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld slips --to-ship > slips.html")]
pub struct Args {
    /// Only these, as 1042 or 1042-1
    #[arg(value_name = "ORDER[-PARCEL]", required_unless_present = "to_ship")]
    parcels: Vec<String>,
    /// Every parcel that waits, oldest first
    #[arg(long, conflicts_with = "parcels")]
    to_ship: bool,
    /// Only what is to be taken from the shelves, by SKU, as a table
    #[arg(long)]
    pick: bool,
    #[command(flatten)]
    common: Common,
}

/// Prints them. `Usage` for --json without --pick, `Permanent` when a parcel that is named does
/// not wait.
pub fn run(args: &Args) -> Result<()> {
    if args.common.output.json && !args.pick {
        return Err(Error::Usage(
            "slips are a document for the printer; with --json: fulfilld slips --to-ship --pick --json".into(),
        ));
    }
    let chosen = args.parcels.iter().map(|p| Choice::parse(p)).collect::<Result<Vec<_>>>()?;
    let c = args.common.file.read()?;
    let parcels = labels::waiting(&c, &chosen)?;
    if args.pick {
        let ids: Vec<i64> = parcels.iter().map(|parcel| parcel.fulfillment).collect();
        let shelves = Table::query(&c, SHELVES, [serde_json::json!(ids).to_string()])?;
        return shelves.print(args.common.output.json, "nothing is to be packed");
    }
    if parcels.is_empty() {
        return Err(Error::Permanent("no parcel waits to be shipped".into()));
    }
    table::print(&labels::slips(&config::SENDER.get()?, &parcels))
}

/// What is in the parcels, by thing.
const SHELVES: &str = "
    SELECT sku, name, options, sum(quantity) AS quantity, group_concat(DISTINCT order_id) AS orders
    FROM to_fulfill WHERE requires_shipping = 1 AND fulfillment_id IN (SELECT value FROM json_each(?1))
    GROUP BY sku, name, options ORDER BY sku IS NULL, sku, name, options";
