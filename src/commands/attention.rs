//! `fulfilld attention`: everything that needs a person.

use super::{File, Output};
use crate::error::Result;
use crate::table;

/// List what needs you, each with the line to type next
///
/// Empty in a clean shop, and piped it then prints nothing, so that cron mails only when there is something. The same
/// is SELECT * FROM attention in sqlite3.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld attention")]
pub struct Args {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// Prints the rows of the view, those that have waited longest first.
pub fn run(args: &Args) -> Result<()> {
    let sql = "SELECT * FROM attention ORDER BY since, order_id, event_id";
    table::print_query(&args.file.read()?, sql, [], args.output.json, "nothing needs you")
}
