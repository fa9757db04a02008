//! `fulfilld undo`: the last change that a person made is taken back.

use std::io::Write;

use super::Common;
use crate::error::Result;
use crate::verbs::undo::{UNDO, undo};

/// Take back what you typed last
///
/// Takes back the last statement that changed orders, line items or fulfillments, whether typed as
/// a verb or in sqlite3, even if it changed a hundred orders. What Stripe has reported since stays.
/// All or nothing; the history names fulfilld:undo as the author. Notifications that no hook has
/// received yet are dropped. An undo cannot be undone. Of several statements between BEGIN and
/// COMMIT it takes back the last one (SQLite does not show triggers where a transaction began);
/// statements within the same thousandth of a second count as one.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld undo --dry-run")]
pub struct Args {
    /// The last change of this order, whatever was typed of others since
    #[arg(long, value_name = "N")]
    order: Option<i64>,
    /// Say what would be taken back, or why it cannot be, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Even if a hook has already been notified: the file goes back, a mail that was sent stays sent
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Takes it back and prints what was put back. `Permanent` as [`undo`] says; then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    let undone =
        args.common.file.write_as(UNDO, |c| undo(c, args.order, args.force, args.dry_run))?;
    undone.table.print(args.common.output.json, "")?;
    let mut notes = std::io::stderr().lock();
    for what in undone.notified {
        let _ = writeln!(notes, "a hook was already notified: {what}; put right what it did");
    }
    if args.dry_run {
        let _ = writeln!(notes, "nothing was changed; without --dry-run this is taken back");
    }
    Ok(())
}
