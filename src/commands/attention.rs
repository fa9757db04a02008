//! `fulfilld attention`: everything that needs a person.

use rusqlite::types::Value as Cell;

use super::Common;
use crate::error::{Error, Result};
use crate::place;
use crate::rollback_guard;
use crate::table::Table;
use crate::verbs::wording;

/// List what needs you, each with the line to type next
///
/// Empty in a clean shop, and piped it then prints nothing, so that cron mails only when there is
/// something. The same is SELECT * FROM attention in sqlite3; there, and with --json, the lines to
/// type are SQL. The exit code is 0 unless you ask for another with --fail.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld attention")]
pub struct Args {
    /// Exit code 1 when there is anything, for a monitor
    #[arg(long)]
    fail: bool,
    #[command(flatten)]
    common: Common,
}

/// Prints the rows of the view, those that have waited longest first. `Permanent` with --fail when
/// there are any.
pub fn run(args: &Args) -> Result<()> {
    let columns =
        if args.common.output.json { "*" } else { "reason, order_id, subject, since, what, next" };
    let sql = format!("SELECT {columns} FROM attention ORDER BY since, order_id, subject");
    let c = args.common.file.read()?;
    // A file that was put back is an alarm from the next start on; until then its note says it.
    if let Some(lost) =
        place::real(&args.common.file.path()?).and_then(|path| rollback_guard::lost(&path, &c))?
    {
        log::warn!("{lost}");
    }
    let mut needed = Table::query(&c, &sql, [])?;
    if !args.common.output.json {
        needed.replace("next", |next, row| match row.get(1) {
            Some(Cell::Integer(order)) => wording::to_type(next, Some(*order)),
            _ => wording::to_type(next, None),
        });
    }
    needed.print(args.common.output.json, "nothing needs you")?;
    match needed.rows.len() {
        n if n > 0 && args.fail => Err(Error::Permanent(format!("{n} rows of attention need you"))),
        _ => Ok(()),
    }
}
