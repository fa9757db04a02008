//! `fulfilld dismiss`: a matter that somebody has dealt with leaves attention. It types `INSERT
//! INTO dismiss` for you.

use rusqlite::types::Value as Cell;

use super::Common;
use crate::db;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::verbs::sentence;

/// Dismiss a matter from attention until its facts change
///
/// Named by the order's number and the reason, or by the subject that attention shows (a refund, a
/// dispute, an event) and the reason; what has neither, such as an alarm, by its reason alone. The
/// order's history says who did so.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld dismiss 1042 refunded_after_shipping")]
pub struct Args {
    /// An order's number or a subject, then the reason, both as attention shows them
    #[arg(required = true, num_args = 1..=2, value_names = ["N", "REASON"])]
    what: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Dismisses it and prints what left attention. `Permanent` when attention shows no such thing.
pub fn run(args: &Args) -> Result<()> {
    let (about, reason) = match &args.what[..] {
        [about, reason] => (Some(about), reason),
        [reason, ..] => (None, reason),
        [] => {
            return Err(Error::Usage("name an order and a reason, as attention shows them".into()));
        }
    };
    let gone = args.common.file.write(|c| {
        let gone = Table::query(
            c,
            "SELECT order_id, subject, reason, what FROM attention
             WHERE reason = ?2 AND (CAST(order_id AS TEXT) IS ?1 OR subject = ?1)",
            (about, reason),
        )?;
        let values =
            [about.map_or(Cell::Null, |text| Cell::Text(text.clone())), Cell::Text(reason.clone())];
        c.execute("INSERT INTO dismiss VALUES (?1, ?2)", values).map_err(db::translate)?;
        Ok(gone)
    });
    match gone {
        Err(Error::Permanent(why)) => Err(Error::Permanent(match about {
            Some(about) => format!("{about} is not dismissed: {}", sentence(&why)),
            None => format!("{reason} is not dismissed: {}", sentence(&why)),
        })),
        gone => gone?.print(args.common.output.json, ""),
    }
}
