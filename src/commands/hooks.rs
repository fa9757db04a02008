//! `fulfilld hooks`: the notifications for the shop's own programs: sent, waiting, given up.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Subcommand};
use rusqlite::OptionalExtension;
use rusqlite::types::Value as Cell;

use super::{Common, File, none_such};
use crate::config;
use crate::config::hooks::TOPICS;
use crate::db;
use crate::error::{Error, Result};
use crate::hooks::{payload, runs, sample, trial};
use crate::place;
use crate::table::{self, Table};
use crate::text;

/// List the notifications for hooks, run hooks again, or try them
///
/// Without arguments it lists what is waiting and what is dead, as `hooks list` does. Hooks are set
/// with FULFILLD_HOOK_COMMAND and FULFILLD_HOOK_URL (fulfilld serve --help); fulfilld serve runs
/// them. In sqlite3, SELECT * FROM outbox has a row for each notification, and SELECT * FROM
/// hook_runs a row for each hook it goes to.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hooks", args_conflicts_with_subcommands = true)]
#[command(
    subcommand_value_name = "WHAT",
    subcommand_help_heading = "What",
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum What {
    List(List),
    Show(Show),
    Retry(Retry),
    Resend(Resend),
    Test(Test),
}

/// List the notifications that are waiting and those that a hook gave up, newest last
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hooks list --all")]
struct List {
    /// Include what is done
    #[arg(long)]
    all: bool,
    /// The latest so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// Show one notification, what each hook did with it, and the JSON that a hook would get now
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hooks show 17")]
struct Show {
    /// Its id in the list
    #[arg(value_name = "ID")]
    id: i64,
    #[command(flatten)]
    common: Common,
}

/// Run the hooks that gave up again, and those that are waiting now
///
/// A running fulfilld does so within a second; otherwise the next start does. Hooks that are done
/// are left alone.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hooks retry --dead")]
#[command(group = ArgGroup::new("which").required(true).args(["id", "dead"]))]
struct Retry {
    /// The notifications, by their ids in the list
    #[arg(value_name = "ID")]
    id: Vec<i64>,
    /// All that a hook gave up
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    file: File,
}

/// Send the last notification of a topic again, such as a mail that the buyer lost
///
/// It has the order as it is now, and a new key, so that no receiver takes it for a duplicate. Every
/// hook that wants the topic runs.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hooks resend 1042 fulfillment.shipped")]
struct Resend {
    /// The order's number
    #[arg(value_name = "N")]
    order: i64,
    /// The topic, such as fulfillment.shipped
    #[arg(value_name = "TOPIC", value_parser = clap::builder::PossibleValuesParser::new(TOPICS))]
    topic: String,
    #[command(flatten)]
    file: File,
}

/// Run the hooks for a topic once, now, with a sample order, and say what each did
///
/// The sample's JSON contains "test": true, so that a hook can tell. A running fulfilld runs them
/// itself, with the settings, the user and the sandbox that they have in earnest. Where none serves
/// the file, or this environment names hooks of its own, they run here, and the file need not exist.
/// Exit code 1 if a hook failed.
#[derive(clap::Args)]
#[command(
    before_help = "Example: FULFILLD_HOOK_COMMAND=/etc/fulfilld/hooks/mail fulfilld hooks test order.paid"
)]
struct Test {
    /// The topic, such as fulfillment.shipped
    #[arg(value_name = "TOPIC", value_parser = clap::builder::PossibleValuesParser::new(TOPICS))]
    topic: String,
    /// Print the sample's JSON and run nothing
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    common: Common,
}

/// How long a test by the daemon may take, and how often is looked for its end.
const TEST_WITHIN: Duration = Duration::from_secs(300);
const TEST_EVERY: Duration = Duration::from_millis(50);

/// Has the running daemon run them. `Temporary` when it does not.
fn by_the_daemon(args: &Test) -> Result<Vec<trial::Trial>> {
    let id = args.common.file.write(|c| trial::request(c, &args.topic))?;
    let until = Instant::now() + TEST_WITHIN;
    let c = args.common.file.read()?;
    let mut answer = trial::answer(&c, id);
    while matches!(answer, Ok(None)) && Instant::now() < until {
        std::thread::sleep(TEST_EVERY);
        answer = trial::answer(&c, id);
    }
    drop(c);
    args.common.file.write(|c| trial::withdraw(c, id))?;
    answer?.ok_or_else(|| {
        Error::Temporary(
            "the running fulfilld has not run them; look at its log: fulfilld doctor".into(),
        )
    })
}

/// Runs the command. `Permanent` when there is no notification of an id, or with `test` when a hook
/// failed.
pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        None => list(&args.list),
        Some(What::List(args)) => list(args),
        Some(What::Show(args)) => show(args),
        Some(What::Retry(args)) => retry(args),
        Some(What::Resend(args)) => resend(args),
        Some(What::Test(args)) => test(args),
    }
}

const COLUMNS: &str = "id, topic, order_id, fulfillment_id, event_id, key, state, attempts, \
                       next_attempt_at, last_error, created_at, outcome";

fn list(args: &List) -> Result<()> {
    let columns = match args.common.output.json {
        true => COLUMNS,
        false => {
            "id, topic, order_id, created_at, state, attempts, next_attempt_at, last_error, outcome"
        }
    };
    // Written out, because only so do the indexes of what waits and of what is dead apply.
    let which = match args.all {
        true => "SELECT id FROM outbox ORDER BY id DESC LIMIT ?1",
        false => {
            "SELECT id FROM (SELECT id FROM outbox WHERE state = 'pending' UNION ALL SELECT id
               FROM outbox WHERE state = 'dead')
             ORDER BY id DESC LIMIT ?1"
        }
    };
    let sql = format!("SELECT {columns} FROM outbox WHERE id IN ({which}) ORDER BY id");
    table::print_query(
        &args.common.file.read()?,
        &sql,
        [args.limit],
        args.common.output.json,
        "nothing waits, and no hook gave up",
    )
}

fn show(args: &Show) -> Result<()> {
    let c = args.common.file.read()?;
    let row = Table::query(&c, &format!("SELECT {COLUMNS} FROM outbox WHERE id = ?1"), [args.id])?;
    if row.is_empty() {
        return Err(none_such(format!("notification {}", args.id), "fulfilld hooks list --all"));
    }
    let runs = Table::query(
        &c,
        "SELECT target, state, attempts, next_attempt_at, ended_at, last_error, outcome \
         FROM hook_runs WHERE outbox_id = ?1 ORDER BY target",
        [args.id],
    )?;
    let next = format!(
        "SELECT {}, (SELECT coalesce(max(attempts), 0) + 1 FROM hook_runs WHERE outbox_id = ?1) \
         FROM outbox x WHERE id = ?1",
        runs::KEY
    );
    let (key, attempt): (String, i64) = c
        .query_row(&next, [args.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(db::translate)?;
    let json = text::escape_json(&payload::json(&c, args.id, &key, attempt, false)?);
    if args.common.output.json {
        row.print(true, "")?;
        runs.print(true, "")?;
        return table::print(&format!("{json}\n"));
    }
    table::print(&row.list())?;
    table::print("\n")?;
    if !runs.is_empty() {
        runs.print(false, "")?;
        table::print("\n")?;
    }
    table::print(&format!("{json}\n"))
}

fn retry(args: &Retry) -> Result<()> {
    let again = "UPDATE outbox SET state = 'pending', next_attempt_at = NULL, outcome = 'again', last_error = NULL";
    let n = args.file.write(|c| {
        if args.dead {
            return c.execute(&format!("{again} WHERE state = 'dead'"), []).map_err(db::translate);
        }
        for id in &args.id {
            let found: Option<(String, String, Option<i64>)> = c
                .query_row("SELECT state, topic, order_id FROM outbox WHERE id = ?1", [id], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
                .map_err(db::translate)?;
            match found {
                None => {
                    return Err(none_such(
                        format!("notification {id}"),
                        "fulfilld hooks list --all",
                    ));
                }
                Some((state, topic, order)) if state == "done" => {
                    let resend = order.map_or(String::new(), |order| {
                        format!(
                            "; to notify its hooks again: fulfilld hooks resend {order} {topic}"
                        )
                    });
                    return Err(Error::Permanent(format!("notification {id} is done{resend}")));
                }
                Some(_) => {
                    c.execute(&format!("{again} WHERE id = ?1"), [id]).map_err(db::translate)?
                }
            };
        }
        Ok(args.id.len())
    })?;
    table::print(&match n {
        1 => "1 notification goes to its hooks again\n".into(),
        n => format!("{n} notifications go to their hooks again\n"),
    })
}

/// The author of a notification that is sent again.
const RESEND: &str = "fulfilld:resend";

fn resend(args: &Resend) -> Result<()> {
    let id = args.file.write_as(RESEND, |c| {
        let again = "INSERT INTO outbox(topic, order_id, fulfillment_id, event_id, key)
            SELECT topic, order_id, fulfillment_id, event_id, key || '#' || (SELECT max(id) + 1 FROM outbox) FROM outbox
            WHERE order_id = ?1 AND topic = ?2 AND outcome IS NOT 'undone' ORDER BY id DESC LIMIT 1";
        if c.execute(again, (args.order, &args.topic)).map_err(db::translate)? == 1 {
            return Ok(c.last_insert_rowid());
        }
        let known = "SELECT group_concat(topic, ', ') FROM (SELECT DISTINCT topic FROM outbox \
                     WHERE order_id = ?1 ORDER BY topic)";
        let known: Option<String> = c.query_row(known, [args.order], |row| row.get(0)).map_err(db::translate)?;
        Err(match known {
            None => none_such(format!("notification of order {}", args.order), "fulfilld orders"),
            Some(known) => Error::Permanent(format!(
                "order {} has no notification {} that could be sent again; it has {known}",
                args.order, args.topic
            )),
        })
    })?;
    table::print(&format!(
        "{} of order {} is sent again, as notification {id}\n",
        args.topic, args.order
    ))
}

fn test(args: &Test) -> Result<()> {
    if args.print {
        return table::print(&format!("{}\n", sample::of(&args.topic, "test")?));
    }
    let file = args.common.file.path()?;
    let is_own = ["FULFILLD_HOOK_COMMAND", "FULFILLD_HOOK_URL"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let is_served = !is_own && file.exists() && place::is_served(&place::real(&file)?);
    let trials = match is_served {
        true => by_the_daemon(args)?,
        false => {
            let db = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
            trial::run(&config::hook_plan()?, &db, &args.topic, &|| false)?
        }
    };
    let failed = trials.iter().filter(|trial| !trial.is_done()).count();
    let row = |trial: trial::Trial| {
        let texts = [trial.target, trial.outcome, trial.why].map(Cell::Text);
        texts.into_iter().chain([Cell::Integer(trial.ms)]).collect()
    };
    let rows: Vec<Vec<Cell>> = trials.into_iter().map(row).collect();
    let n = rows.len();
    let columns = ["target", "outcome", "why", "ms"].map(String::from).into();
    Table { columns, rows }.print(args.common.output.json, "")?;
    match (n, failed) {
        (0, _) => Err(Error::Config(format!(
            "no hook is set for {}; set FULFILLD_HOOK_COMMAND or FULFILLD_HOOK_URL as fulfilld serve has it",
            args.topic
        ))),
        (_, 0) => {
            let by = match is_served {
                true => "by the running fulfilld, in its sandbox",
                false => "here and as this user, not by a running fulfilld",
            };
            let _ = writeln!(std::io::stderr(), "each of them was given a sample order, {by}");
            Ok(())
        }
        (n, failed) => {
            Err(Error::Permanent(format!("{failed} of {n} hooks failed; fix them and try again")))
        }
    }
}
