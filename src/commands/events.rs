//! `fulfilld events`: what Stripe sent, and what became of it.

use clap::{Subcommand, ValueEnum};

use super::{Common, none_such};
use crate::error::Result;
use crate::table::{self, Table};
use crate::text;

/// All but the payload, which can be large and is shown for one event alone.
const COLUMNS: &str =
    "id, type, object_id, created, livemode, api_version, account, shape, snapshot_event, source, received_at,
    state, state_reason, reason_code, attempts, crashes, taken_at, next_attempt_at, processed_at";

/// List Stripe's events in the order they came, newest last, or show one
///
/// Without more it lists the latest 50, as `events list` does; with an id it shows that event, as
/// `events show` does. A state is pending (due, or tried again later), done, ignored (nothing to
/// do, with the reason) or failed (parked until somebody looks, with the reason).
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld events --state failed",
    args_conflicts_with_subcommands = true
)]
#[command(
    subcommand_value_name = "WHAT",
    subcommand_help_heading = "What",
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Show the event of this id
    #[arg(value_name = "ID", conflicts_with_all = ["state", "kind"])]
    event: Option<String>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum What {
    List(List),
    Show(Show),
}

/// List the events in the order they came, newest last
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld events list --type checkout.session.completed --limit 10"
)]
struct List {
    #[command(flatten)]
    which: Which,
    /// The latest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// Show one event with its payload as it was received
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld events show evt_1R2d3e4f")]
struct Show {
    /// The event's id
    #[arg(value_name = "ID")]
    event: String,
    #[command(flatten)]
    common: Common,
}

/// Events by what they say of themselves.
#[derive(clap::Args)]
pub struct Which {
    /// Only those in this state
    #[arg(long)]
    pub state: Option<State>,
    /// Only those of this type, in both of Stripe's shapes
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
}

/// `events.state`.
#[derive(Clone, Copy, ValueEnum)]
pub enum State {
    Pending,
    Done,
    Ignored,
    Failed,
}

impl Which {
    /// The condition of a WHERE whose parameter 1 is [`Which::kind`]. The state is written out,
    /// because only so do the indexes of pending and of failed events apply.
    pub fn condition(&self) -> String {
        let state = self.state.and_then(|state| state.to_possible_value());
        let state =
            state.map_or(String::new(), |word| format!("state = '{}' AND ", word.get_name()));
        format!("{state}(?1 IS NULL OR type IN (?1, 'v1.' || ?1))")
    }
}

/// Prints them. `Permanent` when there is no event of that id.
pub fn run(args: &Args) -> Result<()> {
    match (&args.what, &args.event) {
        (None, None) => list(&args.list),
        (None, Some(event)) => show(&args.list.common, event),
        (Some(What::List(args)), _) => list(args),
        (Some(What::Show(args)), _) => show(&args.common, &args.event),
    }
}

fn list(args: &List) -> Result<()> {
    let columns = match args.common.output.json {
        true => COLUMNS,
        false => "id, type, object_id, received_at, state, attempts, state_reason",
    };
    // Pending and failed events have an index by the time they came; the others come by the table's
    // own order.
    let came = match args.which.state {
        Some(State::Pending | State::Failed) => "received_at",
        _ => "rowid",
    };
    let sql = format!(
        "SELECT {columns} FROM events
         WHERE rowid IN (SELECT rowid FROM events WHERE {} ORDER BY {came} DESC LIMIT ?2) ORDER BY {came}",
        args.which.condition()
    );
    let params = (&args.which.kind, args.limit);
    table::print_query(
        &args.common.file.read()?,
        &sql,
        params,
        args.common.output.json,
        "no such events",
    )
}

fn show(common: &Common, id: &str) -> Result<()> {
    let event = Table::query(
        &common.file.read()?,
        &format!("SELECT {COLUMNS}, payload FROM events WHERE id = ?1"),
        [id],
    )?;
    match event.is_empty() {
        true => Err(none_such(format!("event {}", text::clean(id)), "fulfilld events")),
        false if common.output.json => event.print(true, ""),
        false => table::print(&event.list()),
    }
}
