//! End to end: a webhook in, a request to Stripe, the order in the file; with a simulated Stripe
//! that takes 100 ms to answer.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Result;
use crate::contender::{Process, address_in, fulfilld};
use crate::deliveries;
use crate::machine::Side;

/// How long Stripe takes for an answer.
const LATENCY_MS: u32 = 100;

/// Purchases one at a time, for the time from a webhook to its order.
const SINGLES: usize = 10;

/// Under whatever rate, nothing should take longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a drain came to.
#[derive(Debug, Serialize)]
pub struct Orders {
    pub setting: &'static str,
    /// Requests a second that Stripe permits to one endpoint; 0 means no limit.
    pub permitted_per_s: u32,
    /// Requests a second that fulfilld permits itself.
    pub asked_per_s: u32,
    pub orders: usize,
    pub orders_per_s: f64,
    pub calls_per_order: f64,
    /// Calls that were answered, as a share of those permitted in the time.
    pub share_of_permitted: Option<f64>,
    pub answered_429: u64,
    /// Half of the orders that came one at a time were in the file within this time.
    pub webhook_to_order_ms: f64,
}

/// Lets `count` purchases come at once and waits until every order is in the file.
pub fn run(
    program: &Path,
    room: &Path,
    setting: &'static str,
    permitted: u32,
    asked: u32,
    count: usize,
) -> Result<Orders> {
    let dir = room.join(format!("orders-{setting}").replace(' ', "-"));
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make a directory: {e}"))?;
    let listen = free_port()?;
    let (latency, rate) = (LATENCY_MS.to_string(), permitted.to_string());
    let mut sandbox = Process::start(
        Command::new(program)
            .args([
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--webhook",
                &format!("http://{listen}/webhook"),
            ])
            .args(["--secret", deliveries::SECRET, "--latency", &latency, "--rate", &rate]),
        Side::Load,
        &dir.join("sandbox.log"),
    )?;
    let stripe = format!("http://{}", address_in(&sandbox.ready)?);
    let file = dir.join("bench.db");
    let mut serving = Process::start(
        fulfilld(program, &file)
            .env("FULFILLD_LISTEN", &listen)
            .env("FULFILLD_STRIPE_API", &stripe)
            .env("FULFILLD_STRIPE_RATE", asked.to_string()),
        Side::Server,
        &dir.join("log"),
    )?;
    let reader = Connection::open(&file).map_err(|e| format!("cannot look for orders: {e}"))?;

    let mut singles = Vec::new();
    for n in 1..=SINGLES {
        let began = Instant::now();
        buy(&stripe, 1)?;
        wait_for_orders(&reader, n as i64)?;
        singles.push(began.elapsed());
    }
    singles.sort_unstable();

    let stats = format!("{stripe}/_sandbox/stats");
    control(ureq::delete(&stats).call())?;
    let began = Instant::now();
    buy(&stripe, count)?;
    wait_for_orders(&reader, (SINGLES + count) as i64)?;
    let took = began.elapsed().as_secs_f64();
    let stats = control(ureq::get(&stats).call())?;
    serving.stop()?;
    sandbox.stop()?;

    let answered = answered(&stats, "200");
    // The limit is one endpoint's: that of the one with the most requests.
    let busiest = *answered.iter().max().unwrap_or(&0);
    Ok(Orders {
        setting,
        permitted_per_s: permitted,
        asked_per_s: asked,
        orders: count,
        orders_per_s: count as f64 / took,
        calls_per_order: answered.iter().sum::<u64>() as f64 / count as f64,
        share_of_permitted: (permitted > 0).then(|| busiest as f64 / took / f64::from(permitted)),
        answered_429: self::answered(&stats, "429").iter().sum(),
        webhook_to_order_ms: singles[SINGLES / 2].as_secs_f64() * 1000.0,
    })
}

/// Makes purchases, whose events the sandbox delivers.
fn buy(stripe: &str, count: usize) -> Result<()> {
    let wish = json!({"scenario": "card", "count": count}).to_string();
    control(
        ureq::post(format!("{stripe}/_sandbox/trigger"))
            .content_type("application/json")
            .send(wish),
    )
    .map(drop)
}

/// What the sandbox answered.
pub fn control(
    answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value> {
    let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
    let text = text.map_err(|e| format!("the sandbox did not do it: {e}"))?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// How often each endpoint answered so: `{"requests":{"checkout_session":{"200":9}}}`.
fn answered(stats: &Value, status: &str) -> Vec<u64> {
    let endpoints = stats["requests"].as_object().into_iter().flat_map(|all| all.values());
    endpoints.map(|counts| counts[status].as_u64().unwrap_or(0)).collect()
}

fn wait_for_orders(reader: &Connection, wanted: i64) -> Result<()> {
    let began = Instant::now();
    loop {
        let count = reader.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0));
        match count.map_err(|e| format!("cannot count the orders: {e}"))? {
            n if n >= wanted => return Ok(()),
            n if began.elapsed() > PATIENCE => {
                return Err(format!("only {n} of {wanted} orders came"));
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// An address that nobody listens on; the two programs must know each other's.
fn free_port() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    listener.map(|address| address.to_string()).map_err(|e| format!("no port is free: {e}"))
}
