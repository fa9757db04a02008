//! What a long test came to, in lines that `tests/proof` reads and writes into PROOF.md.

use std::fmt::Display;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::shop::Shop;

/// Prints what rounds of a kind came to: how many, events that were answered 200, how many of those
/// are not in the file, and orders or fulfillments that are there twice.
pub fn came_to(rounds: impl Display, acknowledged: usize, lost: usize, doubled: usize) {
    println!("proof: {rounds}|{acknowledged}|{lost}|{doubled}");
}

/// The same where nothing is acknowledged: `faults` is what did not hold.
pub fn found(rounds: impl Display, faults: usize) {
    println!("proof: {rounds}|–|{faults}|–");
}

/// So often a long run says how far it is.
const EVERY: Duration = Duration::from_secs(60);

/// Prints once a minute what the rounds until now came to, as [`came_to`] says it in the end. Whoever
/// interrupts a run keeps this much of it.
pub fn so_far(rounds: impl Display, acknowledged: usize, lost: usize, doubled: usize) {
    if a_minute_is_over() {
        println!("so far: {rounds}|{acknowledged}|{lost}|{doubled}");
    }
}

/// The same where nothing is acknowledged.
pub fn found_so_far(rounds: impl Display, faults: usize) {
    if a_minute_is_over() {
        println!("so far: {rounds}|–|{faults}|–");
    }
}

fn a_minute_is_over() -> bool {
    static SAID: Mutex<Option<Instant>> = Mutex::new(None);
    let mut said = SAID.lock().expect("no panic");
    let over = said.get_or_insert_with(Instant::now).elapsed() >= EVERY;
    if over {
        *said = Some(Instant::now());
    }
    over
}

/// What a round that panicked said.
pub fn said_by(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
}

/// Prints that the same rounds caught a planted bug, and how it showed.
pub fn caught(planted: &str, how: impl Display) {
    println!("control: {planted}: {how}");
}

/// Characters of one fault, and faults, that are printed first.
const FAULT_MAX: usize = 300;
const FAULTS_MAX: usize = 5;

/// Fails the test unless there are no faults in the round of a seed. The seed and the first faults
/// are one short line, which is printed at once and whoever captures a test's output: a long log
/// is often read in part. `after` what they came comes last.
pub fn holds(seed: u64, faults: &[String], after: &[String]) {
    if faults.is_empty() {
        return;
    }
    let short = |fault: &String| fault.chars().take(FAULT_MAX).collect::<String>();
    let first: Vec<String> = faults.iter().take(FAULTS_MAX).map(short).collect();
    let line = format!("FULFILLD_SEED={seed}: {} faults: {}", faults.len(), first.join(" ;; "));
    let line = line.replace('\n', " ");
    // No macro: those are captured.
    let _ = writeln!(std::io::stderr(), "{line}");
    panic!("{line}\nall: {faults:#?}\nafter: {after:#?}");
}

/// Paid orders, and the sessions that they are of: a difference is an order too many.
pub fn orders_and_sessions(shop: &Shop) -> (usize, usize) {
    let sql = "SELECT count(*), count(DISTINCT checkout_session_id) FROM orders
        WHERE payment_status = 'paid'";
    let counted = shop.one(sql);
    let (orders, sessions) = counted.split_once('|').expect("two numbers");
    let number = |text: &str| text.parse().expect("a count");
    (number(orders), number(sessions))
}
