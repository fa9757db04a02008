//! What a long test came to, in lines that `tests/proof` reads and writes into PROOF.md.

use std::fmt::Display;

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

/// Prints that the same rounds caught a planted bug, and how it showed.
pub fn caught(planted: &str, how: impl Display) {
    println!("control: {planted}: {how}");
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
