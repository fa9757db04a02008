//! `fulfilld rebuild`: does the file say what Stripe says? Everything that comes from Stripe,
//! derived once more and compared.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::types::Value as Cell;

use super::Common;
use crate::config::{self, StripeAccess};
use crate::db;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::rebuild;
use crate::stripe::Stripe;
use crate::table::Table;

/// Derive what comes from Stripe again, into a second file, and show the differences
///
/// Asks Stripe again about every object that a stored event names, and builds orders, line items,
/// what is to be sent, refunds, disputes, reviews and fraud warnings from the answers. It only
/// reads your file, and may run beside a running fulfilld. Exit code 1 with a row for each
/// difference: a value, a row that is missing here or there, or an event that cannot be rebuilt
/// because Stripe no longer has its object; then the second file is kept. A product that was edited
/// at Stripe after the sale shows as a difference of its line items.
///
/// What you did is neither compared nor in the second file: parcels, notes, holds, cancellations,
/// corrected addresses. It uses the settings of serve (those of the service, if there is one),
/// FULFILLD_ONLY and FULFILLD_ACCOUNT included. It asks at half of FULFILLD_STRIPE_RATE and leaves
/// the other half to a running fulfilld.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld rebuild --into rebuilt.db")]
pub struct Args {
    /// Keep the second file here, also without a difference; without it, FILE.rebuilt
    #[arg(long, value_name = "NEW")]
    into: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Prints the differences. `Permanent` when there are any, `Usage` when the second file is there
/// already; any other error leaves no second file and nothing on standard output.
pub fn run(args: &Args) -> Result<()> {
    let path = args.common.file.path()?;
    let here = db::open_for_reading(&path)?;
    let access = StripeAccess::from_env()?;
    db::check_mode(&here, &path, access.livemode)?;
    let into = args.into.clone().unwrap_or_else(|| {
        let mut name = path.clone().into_os_string();
        name.push(".rebuilt");
        name.into()
    });
    let new = db::create(&into, access.livemode)?;
    let stripe = Stripe::new(
        StripeAccess { rate: access.rate / 2.0, ..access },
        Arc::new(Metrics::default()),
    );
    let account = config::ACCOUNT.get()?;
    let found = rebuild::derive(&here, &new, &stripe, account.as_deref(), &report)
        .and_then(|derived| Ok((rebuild::compare(&here, &new, &derived)?, derived)));
    let whole = db::empty_log(&new);
    drop(new);
    let (compared, derived) =
        found.and_then(|found| whole.map(|_| found)).inspect_err(|_| db::remove(&into))?;
    let text = |text: String| Cell::Text(text);
    let lost = derived.lost.into_iter().map(|(event, why)| {
        ["events".into(), event, "cannot be rebuilt".into(), "done".into(), why]
            .map(Cell::Text)
            .to_vec()
    });
    let differ = compared.differences.into_iter();
    let rows: Vec<Vec<Cell>> = differ
        .map(|d| vec![text(d.table.into()), text(d.key), text(d.column), d.here, d.rebuilt])
        .chain(lost)
        .collect();
    let found = rows.len();
    let columns = ["table", "key", "column", "here", "rebuilt"].map(String::from).to_vec();
    report(&format!("requests sent to Stripe: {}", derived.requests));
    if compared.moved > 0 {
        report(&format!(
            "{} rows are left out: an event about them waits or has just come; run it again to compare them",
            compared.moved
        ));
    }
    let keep = found > 0 || args.into.is_some();
    if keep {
        report(&format!(
            "{} holds what was derived; your parcels, notes and holds are in {} alone",
            into.display(),
            path.display()
        ));
    } else {
        db::remove(&into);
    }
    Table { columns, rows }
        .print(args.common.output.json, "no difference: the file says what Stripe says")?;
    match found {
        0 => Ok(()),
        n => Err(Error::Permanent(format!(
            "{} differs from what Stripe says in {n} places; `fulfilld replay` processes an event again",
            path.display()
        ))),
    }
}

/// Progress, for whoever waits.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
