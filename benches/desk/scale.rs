//! A shop of some years: how long the daemon takes to start on its file, an event to be stored in
//! it, and a person to find something there.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;

use crate::contender::{Contender, Program, fulfilld_on};
use crate::load::Pace;
use crate::machine::{self, Limited};
use crate::views::{shell, timed_after, typed};
use crate::{Result, median, ms};

/// What a shop has.
const SHOP: &str = include_str!("shop.sql");

/// Orders that are not sent yet.
const WAITING: u64 = 1_000;

/// Orders that share one segment of the search index, and those of a segment that has none.
const SEGMENT: u64 = 4096;
const FEW: u64 = 1024;

/// The daemon has taken all orders into the search index by then.
const INDEXED_WITHIN: Duration = Duration::from_secs(1800);

/// Clients that post events to the empty and to the large file.
const CLIENTS: Pace = Pace::Clients(64);

/// How often everything is tried; the middle counts.
const TIMES: usize = 5;

/// How large the shop is, and where its file is kept.
pub struct Size<'a> {
    pub orders: u64,
    pub events: u64,
    /// Used again when it is there; else made, and left.
    pub file: Option<&'a Path>,
    /// So many MB of memory while it is measured, the kernel's cache included.
    pub memory_mb: Option<u64>,
}

/// One thing that somebody waits for.
#[derive(Debug, Serialize)]
pub struct Waited {
    pub what: String,
    /// Milliseconds, or a share of what an empty file does.
    pub took: f64,
    /// Milliseconds of the shell's CPU, where a shell did it.
    pub cpu_ms: Option<f64>,
    pub goal: f64,
    /// True for a share, which is to be no less than the goal; a time is to be no more.
    pub is_share: bool,
}

impl Waited {
    /// True where the goal is reached.
    pub fn is_met(&self) -> bool {
        if self.is_share { self.took >= self.goal } else { self.took <= self.goal }
    }
}

/// Makes the shop and does in it what a daemon and an operator do. The file's size in MB comes
/// first.
pub fn run(
    program: &Path,
    room: &Path,
    size: &Size,
    lasting: Duration,
) -> Result<(f64, Vec<Waited>)> {
    let name = "fulfilld, large file";
    let dir = Contender::dir(room, name);
    let failed = |e: std::io::Error| format!("cannot make a directory: {e}");
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let file = match size.file {
        None => dir.join("bench.db"),
        Some(file) => {
            let file = std::path::absolute(file).map_err(failed)?;
            std::os::unix::fs::symlink(&file, dir.join("bench.db")).map_err(failed)?;
            file
        }
    };
    if !file.exists() {
        make(program, &file, size)?;
    }
    index(program, &file, size.orders)?;
    let megabytes = std::fs::metadata(&file).map_err(failed)?.len() as f64 / 1e6;
    let _limited = size.memory_mb.map(Limited::to).transpose()?;
    if size.memory_mb.is_some() {
        machine::uncache(&file).map_err(failed)?;
    }

    let mut waited = looks(program, &file, size.orders)?;
    eprintln!("bench: start and intake of the large file");
    let program = Program::Fulfilld(program.to_path_buf());
    let mut large = Contender::start(name, program.clone(), room)?;
    let mut empty = Contender::start("fulfilld, empty file", program, room)?;
    // The clean start comes last: after a kill every page is read while the file is served.
    for (what, kill) in [("start after kill -9", true), ("start after a stop", false)] {
        let (mut times, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            times.push(ms(if kill { large.restart_killed()? } else { large.restart()? }));
            cpu.push(ms(machine::cpu_of_threads(large.pid())));
        }
        waited.push(Waited { cpu_ms: Some(median(cpu)), ..time(what, median(times), 100.0) });
    }
    let (mut rates, mut cpu) = ([Vec::new(), Vec::new()], [0.0, 0.0]);
    for round in 0..3 {
        for turn in 0..2 {
            let i = (turn + round) % 2;
            let contender = if i == 0 { &mut large } else { &mut empty };
            contender.load(CLIENTS, lasting / 10)?;
            let loaded = contender.load(CLIENTS, lasting)?;
            rates[i].push(loaded.outcome.per_second());
            cpu[i] += loaded.cpu.as_secs_f64() / loaded.outcome.acknowledged.len().max(1) as f64;
        }
    }
    let [of_large, of_empty] = rates.map(median);
    let share = |what: &str, took| Waited {
        what: what.into(),
        took,
        cpu_ms: None,
        goal: 0.9,
        is_share: true,
    };
    waited.push(share("events a second, of an empty file's", of_large / of_empty));
    waited.push(share("the same by CPU time", cpu[1] / cpu[0]));
    large.stop()?;
    empty.stop()?;
    Ok((megabytes, waited))
}

fn time(what: &str, took: f64, goal: f64) -> Waited {
    Waited { what: what.into(), took, cpu_ms: None, goal, is_share: false }
}

/// The program makes its file, and it is filled without triggers, which would take hours.
fn make(program: &Path, file: &Path, size: &Size) -> Result<()> {
    let (orders, events) = (size.orders, size.events);
    eprintln!("bench: making a shop of {orders} orders and {events} events");
    fulfilld_on(program, file)?.stop()?;
    let failed = |e: rusqlite::Error| format!("cannot make a large shop: {e}");
    let c = Connection::open(file).map_err(failed)?;
    let rules: Vec<(String, String, String)> = c
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE type IN('trigger', 'index') AND sql IS NOT NULL ORDER BY rowid",
        )
        .and_then(|mut all| {
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
        .map_err(failed)?;
    let drop: String =
        rules.iter().map(|(kind, name, _)| format!("DROP {kind} \"{name}\";\n")).collect();
    let fill = SHOP
        .replace("$ORDERS", &orders.to_string())
        .replace("$WAITING", &WAITING.min(orders).to_string())
        .replace("$EVENTS", &events.to_string());
    let again: String = rules.iter().map(|(_, _, sql)| format!("{sql};\n")).collect();
    let quick = "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
                 PRAGMA cache_size = -200000; PRAGMA foreign_keys = OFF;";
    c.execute_batch(&format!(
        "{quick} BEGIN; {drop} {fill} {again} COMMIT; PRAGMA journal_mode = WAL;"
    ))
    .map_err(failed)?;
    c.close().map_err(|(_, e)| failed(e))
}

/// The daemon takes the orders into its search index by itself, within minutes.
fn index(program: &Path, file: &Path, orders: u64) -> Result<()> {
    eprintln!("bench: the search index of the large file");
    let mut daemon = fulfilld_on(program, file)?;
    // Orders are numbered from 1, so the first segment has one less.
    let last = (orders % SEGMENT + 1) % SEGMENT;
    let segments = (orders + 1) / SEGMENT + u64::from(last >= FEW);
    let began = Instant::now();
    loop {
        let done: u64 = shell(file, "SELECT count(*) FROM search_blocks WHERE id % 768 = 0;\n")?
            .trim()
            .parse()
            .map_err(|_| "the index cannot be counted")?;
        if done >= segments {
            eprintln!("bench: {done} segments after {:.0} s", began.elapsed().as_secs_f64());
            return daemon.stop();
        }
        // On a busy machine it may not answer its own probe in time; systemd would start it again.
        if daemon.has_ended() {
            daemon = fulfilld_on(program, file)?;
        }
        if began.elapsed() > INDEXED_WITHIN {
            return Err(format!("{done} of {segments} segments of the search index were made"));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What an operator looks at, in a stock shell and by a verb.
fn looks(program: &Path, file: &Path, orders: u64) -> Result<Vec<Waited>> {
    eprintln!("bench: what an operator looks at in the large file");
    let mut waited = Vec::new();
    let (some, last) = (orders / 3, orders - 5);
    for (line, goal) in [
        (format!("SELECT * FROM order_overview WHERE id = {some}"), 5.0),
        (format!("SELECT * FROM order_lines WHERE order_id = {some}"), 5.0),
        (format!("SELECT * FROM order_history WHERE order_id = {some}"), 5.0),
        (format!("SELECT * FROM to_ship WHERE order_id = {last}"), 5.0),
        ("SELECT * FROM to_ship".into(), 20.0),
        ("SELECT * FROM attention".into(), 100.0),
    ] {
        // The schema is as long in any file; a shell reads it once.
        let (took, cpu_ms) = typed(|_| timed_after(file, "SELECT 1 FROM shop;", &line))?;
        waited.push(Waited { cpu_ms: Some(cpu_ms), ..time(&line, took, goal) });
    }
    let column = |column: &str| {
        shell(file, &format!("SELECT {column} FROM orders WHERE id = {some};\n"))
            .map(|said| said.trim().to_string())
    };
    for (what, text) in [
        ("orders --search NAME", column("name")?),
        ("orders --search EMAIL", column("email")?),
        ("orders --search SESSION", column("checkout_session_id")?),
        ("orders --search a piece of a NAME", column("substr(name, 6, 6)")?),
        ("orders --search mug", "mug".into()),
        ("orders --search nobody", "nobody".into()),
    ] {
        let (took, cpu_ms) = typed(|_| search(program, file, &text))?;
        waited.push(Waited { cpu_ms: Some(cpu_ms), ..time(what, took, 50.0) });
    }
    Ok(waited)
}

/// From Enter to the last line of `fulfilld orders --search`, and its CPU time.
fn search(program: &Path, file: &Path, text: &str) -> Result<(f64, f64)> {
    let failed = |e: std::io::Error| format!("cannot search: {e}");
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["orders", "--search", text, "--db"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    let out = child.stdout.take().ok_or("a search says nothing")?;
    { out }.read_to_string(&mut said).map_err(failed)?;
    // Its figures can be read until it is waited for.
    let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).map_err(|e| e.to_string())?;
    let (took, cpu) = (began.elapsed(), machine::cpu_of_threads(child.id()));
    match child.wait().map_err(failed)?.success() {
        true => Ok((ms(took), ms(cpu))),
        false => Err(format!("a search for {text} failed: {said}")),
    }
}
