//! `fulfilld subject`: everything that the file holds about a person, for whoever asks for it.

use super::File;
use crate::error::Result;
use crate::person;
use crate::table;
use crate::text;

/// Print everything that is held about a person, as JSON
///
/// Their orders with lines, parcels, refunds, disputes, history, the notifications of hooks and
/// what they answered, and the events of Stripe that name them. A person is whoever has this e-mail
/// address, in capitals or not, in an order or in what an order said before it was corrected, and
/// the other orders of the same Stripe customer. What hooks, label services and Stripe itself keep
/// is theirs to tell.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld subject ada@example.com > ada.json")]
pub struct Args {
    /// The person's e-mail address
    #[arg(value_name = "EMAIL")]
    email: String,
    #[command(flatten)]
    file: File,
}

/// Prints it. `Permanent` when nothing is held.
pub fn run(args: &Args) -> Result<()> {
    let c = args.file.read()?;
    let found = person::find(&c, &args.email)?;
    if found.is_nobody() {
        return Err(person::nobody(&args.email));
    }
    let held = found.held(&c, &args.email)?;
    let json = serde_json::to_string_pretty(&held).expect("a JSON value can be written");
    let lines: Vec<String> = json.lines().map(text::escape_json).collect();
    table::print(&format!("{}\n", lines.join("\n")))
}
