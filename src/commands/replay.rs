//! `fulfilld replay`: stored events are processed again.

use clap::ArgGroup;

use super::events::{State, Which};
use super::{File, none_such};
use crate::db;
use crate::error::Result;
use crate::inbox;
use crate::table;
use crate::text;

/// Process stored events again
///
/// A running fulfilld processes them within a second; otherwise the next start does. Replaying is
/// safe: the order ends as Stripe has it, and there is still only one.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld replay --failed")]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["events", "failed", "state", "kind"]))]
pub struct Args {
    /// The events' ids
    #[arg(value_name = "ID", conflicts_with_all = ["failed", "state", "kind"])]
    events: Vec<String>,
    /// Short for --state failed
    #[arg(long, conflicts_with = "state")]
    failed: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    file: File,
}

/// Events in one transaction, so that a running fulfilld gets its turn between two of them.
const AT_ONCE: usize = 500;

/// Makes them due and says how many there are. `Permanent` when one of the ids is unknown; then
/// none has changed.
pub fn run(args: &Args) -> Result<()> {
    let state = if args.failed { Some(State::Failed) } else { args.which.state };
    let which = Which { state, kind: args.which.kind.clone() };
    if !args.events.is_empty() {
        make_due(args, &args.events)?;
        return say(args.events.len());
    }
    let events: Vec<String> = args
        .file
        .read()?
        .prepare(&format!("SELECT id FROM events WHERE {}", which.condition()))
        .and_then(|mut query| query.query_map([&which.kind], |row| row.get(0))?.collect())
        .map_err(db::translate)?;
    events.chunks(AT_ONCE).try_for_each(|some| make_due(args, some))?;
    say(events.len())
}

fn make_due(args: &Args, events: &[String]) -> Result<()> {
    args.file.write(|c| {
        for event in events {
            if !inbox::replay(c, event)? {
                return Err(none_such(format!("event {}", text::clean(event)), "fulfilld events"));
            }
        }
        Ok(())
    })
}

fn say(n: usize) -> Result<()> {
    table::print(&match n {
        1 => "1 event is due again\n".into(),
        n => format!("{n} events are due again\n"),
    })
}
