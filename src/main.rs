//! fulfilld: the order desk for a shop on Stripe Checkout. This page is the map of the house.
//!
//! The modules stand in reading order, the door first and the foundations last, and imports point down this page: a room
//! may use the rooms below it and none above. A test at the end keeps that true.

mod cli; // arguments, help, exit codes
mod commands; // what the operator can ask: one file a verb

mod door;
mod health; // what the daemon says of itself
mod serve; // the daemon: opens, wires, starts, stops
mod webhook; // verify, store, answer // everything we do about tiny_http

mod change; // what a handler found out
mod event;
mod handlers; // what Stripe can tell us: one file a subject
mod inbox; // SQL of events
mod ledger; // SQL that applies a Change
mod stripe; // asks Stripe
mod worker; // takes due events, asks the handler, applies the Change // an event's envelope

mod sandbox; // a simulated Stripe, for first runs, development and tests

mod clock; // UTC
mod config; // settings and secrets
mod db; // the file, and SQLite's errors
mod error;
mod journal; // the log on stderr
mod locks; // a lock that a panic does not poison
mod metrics; // counts
mod money; // minor units
mod signature; // Stripe-Signature, pure
mod table; // rows as people and machines read them
mod text; // text from outside, made safe
mod writer; // the single writer: group commit // what should the caller do now?

fn main() -> std::process::ExitCode {
    cli::run()
}
