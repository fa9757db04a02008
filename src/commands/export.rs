//! `fulfilld export`: the books, a row each time that money moved or a line item a row, for a
//! spreadsheet or a program. With `--for` the parcels that wait, for a label service.

use jiff::civil::Date;

use super::File;
use crate::books::{self, Format, Selection};
use crate::error::Result;

mod labels; // the parcels that wait, for a label service

/// Write the books, or with --for the parcels that wait, for a label service
///
/// Each sale, refund and chargeback is a row, or with --lines each line item that was sold. A sale
/// stands on the day it was paid, a refund and a chargeback on the day the money went; what comes
/// back, because a refund failed or a dispute was won, is a row of its own with the sign turned. So
/// the books of a period that is over stay the same to the letter, whatever happens later, and the
/// customer is shown as at the sale. Days are in UTC, or with --tz where the shop lives. Orders
/// that are not paid are not in them.
///
/// In CSV amounts are decimal text in the currency's own decimals, exact to the last one, and the
/// column currency says of what; text that a spreadsheet would take for a formula begins with an
/// apostrophe. In JSON lines amounts are whole minor units. Shipping is in the sales, not in the
/// lines. `net` is the total less what was refunded or charged back.
///
/// With --for each parcel of `to_ship` is written in the form that a label service imports, under the
/// reference ORDER-PARCEL (1042-1), by which `fulfilld ship --from FILE` takes its tracking numbers
/// back. Nothing is marked as exported: what is not shipped is in the next file again. A parcel that
/// the form cannot hold is left out and named on standard error, and the exit code is 1. The sender
/// stands in FULFILLD_SENDER.
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld export --since 2026-10-01 --until 2026-10-31 --tz Europe/Berlin > october.csv"
)]
pub struct Args {
    /// A row a line item that was sold
    #[arg(long)]
    lines: bool,
    /// From this day on, e.g. 2026-10-01
    #[arg(long, value_name = "DATE")]
    since: Option<Date>,
    /// To the end of this day
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// Where the days begin, e.g. Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// For a spreadsheet, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    #[command(flatten)]
    labels: labels::LabelArgs,
    #[command(flatten)]
    file: File,
}

/// Prints the books, or the parcels for a label service.
pub fn run(args: &Args) -> Result<()> {
    if let Some(service) = args.labels.service() {
        return labels::run(&args.labels, service, &args.file);
    }
    let selection = Selection {
        lines: args.lines,
        since: args.since,
        until: args.until,
        zone: &args.tz,
        format: args.format,
    };
    books::write(&args.file.read()?, &selection, &mut std::io::stdout().lock())
}
