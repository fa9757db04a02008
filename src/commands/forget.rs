//! `fulfilld forget`: a person is erased, bytes included, and the books stay as they are.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::memmem::Finder;

use super::File;
use crate::backups;
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::forgotten;
use crate::person::{self, FORGET, Person};
use crate::place::{self, beside};
use crate::table::{self, Table};
use crate::text::quoted;

/// Erase a person and keep the books
///
/// Erases name, addresses, e-mail, phone, notes, custom fields, tax ids, metadata and reference of
/// their orders, what the history quotes of them, what hooks said, and the bodies of the events that
/// name them. Keeps numbers, amounts, dates, what was bought, country and state, tracking numbers
/// and Stripe's ids, so that totals, books and duplicates stay as they are. Whose orders these are:
/// fulfilld subject --help.
///
/// Without --yes it only shows what would go. It refuses while an order of theirs is not finished,
/// because the parcel needs an address. A later event, a rebuild or an older backup brings nothing
/// of them back; a new order of the same person is a new order. What your hooks, label services and
/// Stripe keep is erased there.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld forget ada@example.com --yes")]
pub struct Args {
    /// The person's e-mail address
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Do it; it cannot be undone
    #[arg(long)]
    yes: bool,
    /// Also while an order is not finished; what is still to be sent has no address then
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    file: File,
}

/// How long it waits for the log to be emptied, and how often it looks.
const LOG_WITHIN: Duration = Duration::from_secs(20);
const LOG_EVERY: Duration = Duration::from_millis(200);

/// Erases, or shows what would go. `Permanent` when nothing is held or an order is not finished;
/// `Temporary` when somebody else has been writing.
pub fn run(args: &Args) -> Result<()> {
    let path = place::real(&args.file.path()?)?;
    let c = args.file.read()?;
    let mut found = person::find(&c, &args.email)?;
    if found.is_nobody() {
        return Err(person::nobody(&args.email));
    }
    let unfinished = found.unfinished(&c)?;
    if !args.yes {
        return preview(&c, args, &found, &unfinished);
    }
    if let (Some((order, why)), false) = (unfinished.first(), args.force) {
        return Err(Error::Permanent(format!(
            "order {order} is not finished: {why}; finish or cancel it first, or, where it needs no name any more: \
             fulfilld forget {} --yes --force",
            args.email
        )));
    }
    let texts = found.texts(&c)?;
    drop(c);
    args.file.write_as(FORGET, |c| found.erase(c, clock::now()))?;
    forgotten::write_beside(&path, &args.file.read()?)?;
    table::print(&format!(
        "{} is forgotten: {} and the bodies of {}\n",
        args.email,
        counted(found.orders.len(), "order"),
        counted(found.events.len(), "event"),
    ))?;
    clear_bytes(args, &path, &texts)
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Says what would go, and why it would be refused.
fn preview(
    c: &rusqlite::Connection,
    args: &Args,
    found: &Person,
    unfinished: &[(i64, String)],
) -> Result<()> {
    let numbers = serde_json::Value::from_iter(found.orders.iter().copied()).to_string();
    Table::query(
        c,
        "SELECT id, placed_at, customer, email, total, financial_status, fulfillment_status FROM order_overview
         WHERE id IN(SELECT value FROM json_each(?1)) ORDER BY id",
        [numbers],
    )?
    .print(false, "no order")?;
    let hurdles: String = unfinished
        .iter()
        .map(|(order, why)| format!("order {order} is not finished: {why}\n"))
        .collect();
    let force = if hurdles.is_empty() { "" } else { " --force" };
    table::print(&format!(
        "\nThe person would be erased from {}, with the bodies of {}; amounts, dates and what was \
         bought stay.\n{hurdles}\
         Nothing was changed. To see all of it: fulfilld subject {2}; to erase it: fulfilld forget \
         {2} --yes{force}\n",
        counted(found.orders.len(), "order"),
        counted(found.events.len(), "event"),
        args.email,
    ))
}

/// Sees to it that no file in the directory has the bytes any more, and names the backups that do.
fn clear_bytes(args: &Args, path: &Path, texts: &BTreeSet<String>) -> Result<()> {
    // Free pages are overwritten by whoever deletes from them, unless it was another program or an
    // older version; then the whole file is written anew.
    match cleared(path, texts)? {
        Left::Nothing => {}
        Left::InTheLog => table::print(
            "until fulfilld moves its write-ahead log into the file the log holds what was erased; \
             it does so as soon as nobody reads or writes for a second\n",
        )?,
        Left::InTheFile => {
            db::open_for_writing(path)?.execute_batch("VACUUM").map_err(db::translate)?;
            args.file.write(|_| Ok(()))?;
            if cleared(path, texts)? != Left::Nothing {
                table::print(
                    "the same name or address stands in the file for somebody else, too\n",
                )?;
            }
        }
    }
    let mut kept = Vec::new();
    for copy in copies(path) {
        // What this user may not read is reported, too: nobody knows what it holds.
        if holds(&copy, texts).unwrap_or(true) {
            kept.push(copy);
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = kept.iter().map(|path| quoted(path).to_string()).collect();
    table::print(&format!(
        "these older copies still hold what was erased. One that is put back forgets it again when it is served, and \
         nightly backups go when newer ones have taken their place; to be rid of the bytes now: \
         fulfilld backup && rm {}\n",
        names.join(" ")
    ))
}

/// Where texts are still to be found.
#[derive(PartialEq)]
enum Left {
    Nothing,
    InTheLog,
    InTheFile,
}

/// Waits until the write-ahead log is moved into the file: the daemon does so when it is quiet, and
/// without a daemon the verb has done so.
fn cleared(path: &Path, texts: &BTreeSet<String>) -> Result<Left> {
    let log = beside(path, "-wal");
    let until = Instant::now() + LOG_WITHIN;
    loop {
        let logged = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        let left = holds(path, texts)? || (logged && holds(&log, texts)?);
        if !left {
            return Ok(Left::Nothing);
        }
        if !logged {
            return Ok(Left::InTheFile);
        }
        if Instant::now() >= until {
            return Ok(Left::InTheLog);
        }
        std::thread::sleep(LOG_EVERY);
    }
}

/// Copies and backups: files of SQLite's, or that bear the file's name, beside it, in the directories
/// there, and where backups go.
fn copies(path: &Path) -> Vec<PathBuf> {
    let own = ["", "-wal", "-shm", ".lock", ".forgotten"].map(|suffix| beside(path, suffix));
    let listed = |directory: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut found = listed(&place::folder(path));
    let mut deeper: Vec<PathBuf> = found.iter().filter(|entry| entry.is_dir()).cloned().collect();
    let backups = backups::directory(path);
    if backups != place::folder(path) && !deeper.contains(&backups) {
        deeper.push(backups);
    }
    deeper.iter().for_each(|directory| found.extend(listed(directory)));
    found.retain(|entry| !own.contains(entry) && entry.is_file() && is_copy(entry, path));
    found.sort();
    found
}

fn is_copy(entry: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_named = name(entry).zip(name(path)).is_some_and(|(entry, own)| entry.starts_with(&own));
    let mut head = [0; 16];
    is_named
        || std::fs::File::open(entry)
            .and_then(|mut file| file.read_exact(&mut head))
            .is_ok_and(|()| &head == b"SQLite format 3\0")
}

/// True when one of the texts stands in a file's bytes.
fn holds(path: &Path, texts: &BTreeSet<String>) -> Result<bool> {
    let finders: Vec<Finder> = texts.iter().map(|text| Finder::new(text.as_bytes())).collect();
    let overlap = texts.iter().map(String::len).max().unwrap_or(0);
    let cannot = |e: std::io::Error| {
        Error::Config(format!("{} cannot be looked through: {e}", path.display()))
    };
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let mut window = Vec::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut piece).map_err(cannot)?;
        if n == 0 {
            return Ok(false);
        }
        // What lies across two pieces is found with the end of the one before.
        window.drain(..window.len().saturating_sub(overlap));
        window.extend_from_slice(&piece[..n]);
        if finders.iter().any(|finder| finder.find(&window).is_some()) {
            return Ok(true);
        }
    }
}
