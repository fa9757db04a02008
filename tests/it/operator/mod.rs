//! A random operator: whatever is typed into a shell, the file stays true; and each trigger is
//! needed for that.

mod harness; // types lines into a file and looks after each
mod oracle; // what must be true after a line
mod looks; // what is read of a file for that
mod typist; // lines by chance
mod daemon; // and what the daemon writes meanwhile
mod probes; // for every trigger the line that it refuses
mod places; // a row by all its names
mod amounts; // and by all its values
mod words; // text from outside in the lines for a person to type

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::outside::{installed, machine_program};
use crate::proof;
use crate::shop::seed;
use daemon::stripe;
use harness::{ROUND, made, replay, rows, shrink, tables, typed, watch};
use looks::{
    FACTS_SQL, FULFILLMENTS_SQL, LINES_SQL, ORDERS_SQL, OUTBOX_SQL, PACKED_SQL, RECEIVED_SQL,
    TOLD_SQL,
};
use probes::PROBES;
use typist::Operator;

const SCHEMA: &str = include!("../../../schema/whole.rs");

/// An order of every kind.
const ORDERS: &str = include_str!("../../operator/orders.sql");

/// How long the random operator types; longer with FUZZ_SECONDS. Two of them type at the same time.
const FUZZ_FOR: Duration = Duration::from_secs(20);

#[test]
fn whatever_an_operator_types_the_file_stays_true() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let lasting = seconds.map_or(FUZZ_FOR, Duration::from_secs);
    let seed = seed();
    let typists: Vec<_> = [seed, !seed]
        .map(|seed| std::thread::spawn(move || type_at_random(seed, lasting)))
        .into_iter()
        .collect();
    let counts =
        typists.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
    let (typed, done) = counts.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    println!("{typed} statements, {done} of them changed something");
    proof::found(format!("{typed} statements"), 0);
    assert!(done > 0, "none of {typed} statements changed anything, so nothing was tested");
}

/// Types rounds until the time is over: how many statements, and how many of them changed
/// something.
fn type_at_random(seed: u64, lasting: Duration) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + lasting;
    let (mut typed, mut done) = (0, 0);
    while Instant::now() < end {
        let mut operator = Operator { rng: &mut rng, tables: tables(), keys: 0 };
        let script: Vec<String> = (0..ROUND).map(|_| operator.line()).collect();
        match replay(&script) {
            Ok(lines) => done += lines.iter().filter(|(changed, _)| *changed).count(),
            Err((at, why)) => {
                let (small, why) = shrink(&script[..=at], why);
                let text = small.iter().fold(String::new(), |text, line| text + line + ";\n");
                panic!(
                    "after the schema and tests/operator/orders.sql:\n\n{text}\n{why}\n\nFULFILLD_SEED={seed}"
                );
            }
        }
        typed += script.len();
    }
    (typed, done)
}

#[test]
fn the_stock_shells_do_with_the_same_lines_what_the_program_s_sqlite_does() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut operator = Operator { rng: &mut rng, tables: tables(), keys: 0 };
    let mut script: Vec<String> = (0..ROUND).map(|_| operator.line()).collect();
    // What depends on chance or on the second in which it is typed may differ.
    script.retain(|line| {
        !["random()", "char(0)", "now", "9223372036854775", "9e999"]
            .iter()
            .any(|odd| line.contains(odd))
    });
    let c = made(SCHEMA);
    for line in &script {
        let _ = typed(&c, line);
    }
    let _ = typed(&c, "COMMIT");
    let looks = [
        ORDERS_SQL,
        FULFILLMENTS_SQL,
        PACKED_SQL,
        LINES_SQL,
        TOLD_SQL,
        OUTBOX_SQL,
        FACTS_SQL,
        RECEIVED_SQL,
    ];
    let here: Vec<String> = looks.iter().map(|sql| masked(&rows(&c, sql))).collect();
    let old = installed(".tools/sqlite-3.37/libsqlite3.so.0");
    for library in [None, old.parent()] {
        let mut typed = format!("{SCHEMA}\n{ORDERS}\n");
        // Each on a line of its own, because the shell leaves the rest of a line that is refused.
        script.iter().for_each(|line| typed += &format!("{};\n", line.replace("; ", ";\n")));
        typed += "COMMIT;\n.output stdout\n.mode list\n";
        looks.iter().for_each(|sql| typed += &format!(".print {LOOK}\n{sql};\n"));
        let said = masked(&shell(library, &typed));
        let there: Vec<&str> = said.split(LOOK).skip(1).map(str::trim).collect();
        assert_eq!(there.len(), looks.len(), "FULFILLD_SEED={seed}: the shell stopped: {said}");
        for ((here, there), sql) in here.iter().zip(there).zip(looks) {
            let differ = here.trim().lines().zip(there.lines()).find(|(here, there)| here != there);
            assert_eq!(differ, None, "FULFILLD_SEED={seed}, {library:?}: {sql}");
            assert_eq!(
                here.lines().count(),
                there.lines().count(),
                "FULFILLD_SEED={seed}, {library:?}: {sql}"
            );
        }
    }
}

const LOOK: &str = "-- look --";

/// Standard output of the shell that was given this; what it refuses is ignored.
fn shell(library: Option<&Path>, typed: &str) -> String {
    let mut command = machine_program("sqlite3");
    command
        .args(["-batch", ":memory:"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(library) = library {
        command.env("LD_LIBRARY_PATH", library);
    }
    let mut child = command.spawn().expect("sqlite3 starts");
    let mut keyboard = child.stdin.take().expect("stdin is piped");
    let lines = typed.to_string();
    let typist = std::thread::spawn(move || keyboard.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("sqlite3 ends");
    let _ = typist.join();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Times of day, which differ from run to run, out of sight; and where one took the place of
/// another, which may be the same.
fn masked(text: &str) -> String {
    let lines = times_masked(text);
    lines
        .lines()
        .filter(|line| !line.ends_with("|TIME|TIME"))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn times_masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        out += &rest[..at];
        let is_like = |mask: &str| {
            rest.get(at..at + mask.len()).is_some_and(|t| {
                t.bytes()
                    .zip(mask.bytes())
                    .all(|(b, m)| if m == b'0' { b.is_ascii_digit() } else { b == m })
            })
        };
        let time = ["0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z"]
            .into_iter()
            .find(|mask| is_like(mask));
        let taken = time.map_or(2, str::len);
        out += if time.is_some() { "TIME" } else { "20" };
        rest = &rest[at + taken..];
    }
    out + rest
}

/// For every trigger, a line that does harm without it. With all triggers the same line does none.
#[test]
fn the_loss_of_any_trigger_would_be_noticed() {
    let triggers =
        rows(&made(SCHEMA), "SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1");
    assert_eq!(
        triggers.lines().collect::<Vec<_>>(),
        PROBES.iter().map(|(trigger, _)| *trigger).collect::<Vec<_>>(),
        "every trigger has its probe"
    );
    let mut silent = Vec::new();
    for (trigger, probe) in PROBES.iter().copied() {
        let line =
            |line: &&str| line.strip_prefix("stripe: ").map_or_else(|| line.to_string(), stripe);
        let script: Vec<String> = probe.iter().map(line).collect();
        let whole = replay(&script).unwrap_or_else(|(at, why)| panic!("{}: {why}", script[at]));
        let c = made(SCHEMA);
        c.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("it is there");
        // Something is untrue then, or a line does other than it did, or is refused with another
        // sentence.
        if watch(&c, &script).is_ok_and(|without| without == whole) {
            silent.push(trigger);
        }
    }
    assert_eq!(silent, [""; 0], "nothing notices the loss of these");
    proof::caught("each trigger removed", format!("{} of {}", PROBES.len(), PROBES.len()));
}
