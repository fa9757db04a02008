//! `fulfilld trigger`: purchases in a running sandbox, as `stripe trigger` makes them.

use std::time::Duration;

use rusqlite::types::Value as Cell;
use sandbox::Shape;
use serde_json::{Value, json};

use crate::config;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::text;

/// Make purchases in a running sandbox
///
/// By a scenario's name, or by an event's type, as `stripe trigger` does. Start the sandbox first,
/// in another terminal: fulfilld sandbox.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld trigger checkout.session.completed --count 5")]
pub struct Args {
    /// A scenario or an event's type
    #[arg(value_name = "EVENT", required_unless_present = "list")]
    what: Option<String>,
    /// Print every scenario, and what it is
    #[arg(long, conflicts_with_all = ["what", "count", "shape", "times"])]
    list: bool,
    /// So many purchases
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Of Stripe's two shapes of event: snapshot, thin or both; without it the sandbox's own
    #[arg(long)]
    shape: Option<Shape>,
    /// Each event is delivered so often
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
    /// Where the sandbox is; without it FULFILLD_STRIPE_API if that is not Stripe, else
    /// http://127.0.0.1:12111
    #[arg(long, value_name = "URL")]
    sandbox: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Where the sandbox is; never Stripe.
    fn url(&self) -> String {
        let set = config::STRIPE_API.text();
        let set = if set.starts_with("http://") { set } else { "http://127.0.0.1:12111".into() };
        self.sandbox.clone().unwrap_or(set)
    }
}

/// What the sandbox answers to ten thousand purchases is a few megabytes.
const ANSWER_MAX: u64 = 64 << 20;

/// The sandbox has made ten thousand purchases in a second or two.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Makes the purchases and prints a row an event, or with `list` every scenario. `Usage` when the
/// sandbox refuses, with its reason; `Temporary` when none answers.
pub fn run(args: &Args) -> Result<()> {
    let Some(what) = &args.what else { return list(args.json) };
    let order =
        json!({"scenario": what, "count": args.count, "shape": args.shape, "times": args.times});
    let said = ask(&args.url(), &order)?;
    let cell = |object: &Value, name: &str| {
        object[name].as_str().map_or(Cell::Null, |t| Cell::Text(t.into()))
    };
    let mut events = table(&["session", "event", "type"]);
    for purchase in said["purchases"].as_array().into_iter().flatten() {
        for event in purchase["events"].as_array().into_iter().flatten() {
            events.rows.push(vec![
                cell(purchase, "session"),
                cell(event, "id"),
                cell(event, "type"),
            ]);
        }
    }
    events.print(args.json, "no event was made")
}

fn list(json: bool) -> Result<()> {
    let mut all = table(&["scenario", "about"]);
    all.rows.extend(
        sandbox::scenarios()
            .map(|(name, about)| vec![Cell::Text(name.into()), Cell::Text(about.into())]),
    );
    all.print(json, "there is no scenario")
}

fn ask(url: &str, order: &Value) -> Result<Value> {
    let nobody = |e: ureq::Error| {
        Error::Temporary(format!(
            "no sandbox answers at {url} ({e}); start one in another terminal: fulfilld sandbox"
        ))
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_WITHIN))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let asked = agent.post(format!("{}/_sandbox/trigger", url.trim_end_matches('/')));
    let mut answer =
        asked.content_type("application/json").send(order.to_string()).map_err(nobody)?;
    let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().map_err(nobody)?;
    match serde_json::from_slice::<Value>(&body) {
        Ok(said) if said["purchases"].is_array() => Ok(said),
        Ok(said) if said["error"]["message"].is_string() => {
            Err(Error::Usage(text::clean(said["error"]["message"].as_str().unwrap_or_default())))
        }
        _ => Err(Error::Usage(format!(
            "what answers at {url} is not fulfilld's sandbox; name the right one with --sandbox"
        ))),
    }
}

fn table(columns: &[&str]) -> Table {
    Table { columns: columns.iter().map(|c| c.to_string()).collect(), rows: Vec::new() }
}
