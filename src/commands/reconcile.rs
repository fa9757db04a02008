//! `fulfilld reconcile`: the file is compared with Stripe, and repaired.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use super::Common;
use crate::checkpoint::Checkpointer;
use crate::clock::{self, Timestamp};
use crate::config::{self, StripeAccess};
use crate::context::Context;
use crate::db::{self, Reader};
use crate::error::{Error, Result};
use crate::inbox::Lookup;
use crate::metrics::Metrics;
use crate::migrations;
use crate::place::{self, Identity};
use crate::reconcile::{self, Finding, Owners, Subject, UnderWay};
use crate::stripe::Stripe;
use crate::table::{self, Table};
use crate::worker::Workers;
use crate::writer::Writer;

/// Compare the file with Stripe, and repair it
///
/// Goes through Stripe's completed sessions, refunds, disputes, reviews and fraud warnings since
/// then, and takes in what is missing or differs (payments and line items as well): one line of
/// counts, then a row for each. It also asks after every order whose money is under way or held, if
/// without --dry-run. Also how a shop's past orders get into a new file; no hook runs for
/// what happened before the file was made. Beside a running fulfilld the repair is its work,
/// otherwise it is done here. The settings are those of serve; beside the service its own. Exit
/// code 1 when something could not be repaired, or with --dry-run when something differs.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld reconcile --since 30d --dry-run")]
pub struct Args {
    /// How far back: 30d, 12h, or a day such as 2026-01-31. A session counts from its start
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Say what differs and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// When nothing moves for this long, what is left is said to wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// Events worked on at once where no fulfilld is running.
const WORKERS: usize = 8;

/// Compares, repairs and prints. `Permanent` when something is left to do, `Temporary` when Stripe
/// does not answer.
pub fn run(args: &Args) -> Result<()> {
    let since = moment(&args.since, clock::now())?;
    let access = StripeAccess::from_env()?;
    let livemode = access.livemode;
    let path = args.common.file.path()?;
    let c = args.common.file.read()?;
    let reader = Reader::of(&place::real(&path)?);
    db::check_mode(&c, &path, livemode)?;
    let stripe = Stripe::new(access, Arc::default());

    let (mut has, mut here) = (0, 0);
    let mut rows: Vec<Row> = Vec::new();
    let mut owners = Owners::default();
    let mut hidden = Vec::new();
    for subject in Subject::ALL {
        let mut found = Vec::new();
        let compared = reconcile::compare(&stripe, &reader, subject, since, &mut owners, |page| {
            found.extend(page);
            Ok(())
        });
        let tally = match compared {
            // The key may not see these; the others are still compared.
            Err(Error::Forbidden(why)) => {
                log::warn!("Stripe's {} cannot be compared: {why}", subject.name());
                hidden.push(subject.name());
                continue;
            }
            tally => tally?,
        };
        if tally.unreadable > 0 {
            log::warn!(
                "{} rows in Stripe's list of {} cannot be read",
                tally.unreadable,
                subject.name()
            );
        }
        has += tally.stripe;
        here += tally.here;
        if !args.dry_run {
            look_at(args, &path, livemode, &c, found.iter().map(|f| &f.lookup).collect())?;
        }
        for finding in found {
            let outcome = outcome(args, &c, &finding)?;
            let Finding { subject, id, here, stripe, .. } = finding;
            rows.push(Row { subject, id, here, stripe, outcome });
        }
    }
    if !args.dry_run {
        let all = UnderWay::since(&c, since)?;
        look_at(args, &path, livemode, &c, all.iter().map(|order| &order.lookup).collect())?;
        for order in all {
            let stripe = order.now(&c)?;
            if stripe != order.state {
                let (subject, here) = (Subject::Session, Some(order.state));
                let outcome = Repair::Repaired;
                rows.push(Row { subject, id: order.id, here, stripe, outcome });
            }
        }
    }
    print(args, has, here, &rows)?;
    if !hidden.is_empty() && !rows.iter().any(|row| row.outcome.is_left()) {
        return Err(Error::Permanent(format!(
            "the key may not list {}, so they were not compared; fulfilld doctor names the permissions",
            hidden.join(", ")
        )));
    }
    match rows.iter().filter(|row| row.outcome.is_left()).count() {
        0 => Ok(()),
        1 if args.dry_run => {
            Err(Error::Permanent("one differs; to repair it: fulfilld reconcile".into()))
        }
        n if args.dry_run => {
            Err(Error::Permanent(format!("{n} differ; to repair them: fulfilld reconcile")))
        }
        1 => Err(Error::Permanent("one could not be repaired; its row says why".into())),
        n => Err(Error::Permanent(format!("{n} could not be repaired; each row says why"))),
    }
}

/// What differed, the file's state and Stripe's, and what became of it.
struct Row {
    subject: Subject,
    id: String,
    /// `None` where it was missing.
    here: Option<String>,
    stripe: String,
    outcome: Repair,
}

/// What became of a difference.
enum Repair {
    Differs,
    Repaired,
    Cannot(String),
}

impl Repair {
    fn is_left(&self) -> bool {
        !matches!(self, Repair::Repaired)
    }
}

/// Has each looked at, and waits for it.
fn look_at(
    args: &Args,
    path: &Path,
    livemode: bool,
    c: &Connection,
    lookups: Vec<&Lookup>,
) -> Result<()> {
    if lookups.is_empty() {
        return Ok(());
    }
    lookups.chunks(500).try_for_each(|some| {
        args.common.file.write_as("fulfilld:reconcile", |c| {
            some.iter().try_for_each(|lookup| lookup.upsert(c, clock::now()).map(drop))
        })
    })?;
    work_off(path, livemode, c, &lookups)
}

/// Waits until the events are concluded, by a running fulfilld or, where there is none, by workers
/// of our own.
fn work_off(path: &Path, livemode: bool, c: &Connection, found: &[&Lookup]) -> Result<()> {
    let path = &place::real(path)?;
    let Ok(held) = place::lock(path) else {
        return wait(c, found);
    };
    let connection = migrations::open_for_serving(path, livemode)?;
    let checkpointer = Checkpointer::of(Identity::of(path)?, Some(Arc::new(held)));
    let (writer, writing) = Writer::start(connection, checkpointer, Box::new(|_| Ok(())));
    let metrics = Arc::<Metrics>::default();
    let stripe = Stripe::new(StripeAccess::from_env()?, metrics.clone());
    let account = config::ACCOUNT.get()?;
    let context = Context::new(writer, stripe, metrics, livemode, account);
    let workers = Workers::start(context.clone(), Reader::of(path), WORKERS);
    let waited = wait(c, found);
    workers.stop(Instant::now() + PATIENCE);
    context.writer.close();
    let _ = writing.join();
    waited
}

/// Until none of them is pending, or nothing has moved for [`PATIENCE`].
fn wait(c: &Connection, found: &[&Lookup]) -> Result<()> {
    let mut left = usize::MAX;
    let mut moved = Instant::now();
    while moved.elapsed() < PATIENCE {
        let mut pending = 0;
        for lookup in found {
            pending +=
                usize::from(looked_at(c, lookup)?.is_some_and(|(state, _)| state == "pending"));
        }
        if pending == 0 {
            break;
        }
        if pending < left {
            (left, moved) = (pending, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What became of a look, and why.
fn looked_at(c: &Connection, lookup: &Lookup) -> Result<Option<(String, Option<String>)>> {
    c.prepare_cached("SELECT state, state_reason FROM events WHERE id = ?1")
        .and_then(|mut q| {
            q.query_row([lookup.id()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(db::translate)
}

fn outcome(args: &Args, c: &Connection, finding: &Finding) -> Result<Repair> {
    if args.dry_run {
        return Ok(Repair::Differs);
    }
    if finding.is_repaired(c)? {
        return Ok(Repair::Repaired);
    }
    let why = match looked_at(c, &finding.lookup)? {
        Some((state, Some(why))) => format!("{state}: {why}"),
        Some((state, None)) if state == "done" => {
            "the file keeps what it says: a fact that never moves back".into()
        }
        _ => "it waits; is fulfilld running? look with: fulfilld events".into(),
    };
    Ok(Repair::Cannot(why))
}

fn print(args: &Args, has: usize, here: usize, rows: &[Row]) -> Result<()> {
    let count = |wanted: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let cannot = count(&|row| matches!(row.outcome, Repair::Cannot(_)));
    let missing = count(&|row| row.here.is_none() && !matches!(row.outcome, Repair::Cannot(_)));
    let differing = rows.len() - cannot - missing;
    let added = if args.dry_run { "missing" } else { "added" };
    table::print(&match args.common.output.json {
        true => format!(
            "{}\n",
            json!({"stripe": has, "here": here, added: missing, "differing": differing, "cannot": cannot})
        ),
        false => {
            format!(
                "Stripe has {has}, here {here}, {added} {missing}, differing {differing}, cannot {cannot}\n"
            )
        }
    })?;
    let text = |text: &str| Cell::Text(text.into());
    let row = |row: &Row| {
        let outcome = match &row.outcome {
            Repair::Differs => "differs".to_string(),
            Repair::Repaired => "repaired".into(),
            Repair::Cannot(why) => format!("cannot: {why}"),
        };
        let here = row.here.as_deref().map_or(Cell::Null, text);
        vec![text(row.subject.name()), text(&row.id), here, text(&row.stripe), text(&outcome)]
    };
    let columns = ["of", "id", "here", "stripe", "outcome"].map(String::from).into();
    Table { columns, rows: rows.iter().map(row).collect() }
        .print(args.common.output.json, "nothing differs")
}

/// A moment in the past from `30d`, `12h`, a day or a time in UTC. `Usage` for anything else.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let ago = |unit: char, seconds: u64| {
        let n: u64 = text.strip_suffix(unit)?.parse().ok().filter(|n| *n <= 36_500)?;
        Some(now - Duration::from_secs(n * seconds))
    };
    ago('d', 86_400)
        .or_else(|| ago('h', 3600))
        .or_else(|| format!("{text}T00:00:00Z").parse().ok())
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            Error::Usage(format!(
                "--since {}: that is not a time; write 30d, 12h or a day such as 2026-01-31",
                crate::text::clean(text)
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_or_a_day() {
        let now: Timestamp = "2026-11-24T03:05:00Z".parse().unwrap();
        let at = |text: &str| moment(text, now).map(clock::text);
        assert_eq!(at("2d").unwrap(), "2026-11-22T03:05:00Z");
        assert_eq!(at("12h").unwrap(), "2026-11-23T15:05:00Z");
        assert_eq!(at("2026-01-31").unwrap(), "2026-01-31T00:00:00Z");
        assert_eq!(at("2026-01-31T10:00:00Z").unwrap(), "2026-01-31T10:00:00Z");
        for odd in ["", "d", "-1d", "yesterday", "99999999999d", "2026-02-30"] {
            assert!(matches!(at(odd), Err(Error::Usage(_))), "{odd}");
        }
    }
}
