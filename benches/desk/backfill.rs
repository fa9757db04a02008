//! Webhooks while what never arrived is fetched: how much longer a buyer's event takes then.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

use crate::Result;
use crate::contender::{Contender, Process, Program, address_in};
use crate::load::{Latency, Pace};
use crate::machine::Side;
use crate::orders::control;

/// Webhooks a second meanwhile.
const PACE: Pace = Pace::PerSecond(300);

/// A purchase makes more events than one; these are enough for all that are wanted.
const PURCHASES_AT_ONCE: usize = 500;

/// The fetching should have begun by then.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);

/// What webhooks took in one round.
#[derive(Debug, Serialize)]
pub struct Beside {
    pub quiet: Latency,
    pub meanwhile: Latency,
    /// How many times as long the p99 is meanwhile.
    pub times: f64,
    /// Events that were fetched while the second was measured, and how many a second.
    pub fetched: u64,
    pub fetched_per_s: f64,
}

/// Rounds of a new server each: so long without anything to fetch, then while `events` of them are
/// fetched.
pub fn run(
    program: &Path,
    room: &Path,
    events: usize,
    lasting: Duration,
    rounds: usize,
) -> Result<Vec<Beside>> {
    (1..=rounds)
        .map(|round| {
            eprintln!("bench: webhooks while events are fetched, round {round} of {rounds}");
            one(program, &room.join(format!("backfill-{round}")), events, lasting)
        })
        .collect()
}

fn one(program: &Path, room: &Path, events: usize, lasting: Duration) -> Result<Beside> {
    std::fs::create_dir_all(room).map_err(|e| format!("cannot make a directory: {e}"))?;
    let mut sandbox = Process::start(
        Command::new(program).args(["sandbox", "--listen", "127.0.0.1:0"]),
        Side::Load,
        &room.join("sandbox.log"),
    )?;
    let stripe = format!("http://{}", address_in(&sandbox.ready)?);
    let settings = [("FULFILLD_STRIPE_API", stripe.clone())];
    let name = "fulfilld, backfill";
    let program = Program::Fulfilld(program.to_path_buf());
    let mut contender = Contender::start_with(name, program, room, &settings)?;
    let quiet = contender.load(PACE, lasting)?.outcome.latency();

    let mut made = 0;
    while made < events {
        let wish = json!({"scenario": "card", "count": PURCHASES_AT_ONCE, "deliver": false});
        let answer = ureq::post(format!("{stripe}/_sandbox/trigger"))
            .content_type("application/json")
            .send(wish.to_string());
        let purchases = control(answer)?["purchases"].as_array().cloned().unwrap_or_default();
        let of = |purchase: &serde_json::Value| purchase["events"].as_array().map_or(0, Vec::len);
        made += purchases.iter().map(of).sum::<usize>().max(1);
    }
    contender.restart()?;
    let file = contender.file().ok_or("fulfilld keeps a file")?;
    let fetched = || -> Result<u64> {
        Connection::open(&file)
            .and_then(|c| {
                let sql = "SELECT count(*) FROM events WHERE source = 'backfill'";
                c.query_row(sql, [], |row| row.get::<_, i64>(0))
            })
            .map(|n| n as u64)
            .map_err(|e| format!("cannot count what was fetched: {e}"))
    };
    let began = Instant::now();
    while fetched()? == 0 {
        if began.elapsed() > BEGINS_WITHIN {
            return Err("nothing was fetched".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let (before, began) = (fetched()?, Instant::now());
    let meanwhile = contender.load(PACE, lasting)?.outcome.latency();
    let fetched = fetched()? - before;
    let fetched_per_s = fetched as f64 / began.elapsed().as_secs_f64();
    contender.stop()?;
    sandbox.stop()?;
    let times = meanwhile.p99_ms / quiet.p99_ms.max(0.001);
    Ok(Beside { quiet, meanwhile, times, fetched, fetched_per_s })
}
