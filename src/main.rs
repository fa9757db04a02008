//! fulfilld: the order desk for a shop on Stripe Checkout. This page is the map of the house.
//!
//! The modules stand in reading order, the door first and the foundations last, and imports point
//! down this page: a room may use the rooms below it and none above. A test at the end keeps that
//! true.

#![cfg_attr(fuzzing, no_main)]

mod cli; // arguments, help, exit codes
mod commands; // what the operator can ask: one file a verb

mod serve; // the daemon: opens, wires, starts, stops
mod standby; // answers 503 until a person has fixed what stops the start
mod webhook; // verify, store, answer
mod page; // the packing table in a browser
mod health; // what the daemon says of itself
mod door; // everything we do about tiny_http

mod verbs; // what a person does to orders
mod reconcile; // finds what never arrived
mod only; // whether FULFILLD_ONLY matches anything
mod timing; // this server's clock: that it was set, that it is wrong
mod retention; // clears the bodies of old events
mod indexing; // takes in the orders that the search index lacks
mod worker; // the queue of events: asks the handler, applies the Change
mod context; // what the daemon's threads share
mod claims; // SQL of due events: claimed by object, finished together
mod rebuild; // derives what comes from Stripe once more, and compares
mod books; // what money came and went
mod labels; // files for label services
mod handlers; // what Stripe can tell us: one file a subject
mod person; // what is held about a person, and how it is erased
mod ledger; // SQL that applies a Change
mod change; // what a handler found out
mod hooks; // runs the outbox
mod rounds; // a thread that does the same thing again and again
mod queue; // the engine of the queues: claim, run, retry, stop
mod breaker; // notices that Stripe fails for everyone
mod inbox; // SQL of events
mod forgotten; // who is forgotten
mod words; // the search index: in which orders a text may stand
mod alarms; // SQL of alarms
mod endpoint; // the webhook endpoints as Stripe lists them
mod stripe; // asks Stripe
mod event; // an event's envelope
mod reason; // why an event is not done: a code beside the sentence

mod table; // rows as people and machines read them
mod writer; // the single writer: group commit
mod checkpoint; // the log's one owner
mod rollback_guard; // how far the file had got
mod columns; // whose each column of the file is
mod migrations; // leads an older file to today's schema
mod db; // the file, and SQLite's errors
mod shape; // what a file lacks of the schema
mod backups; // backups of the file: where they are, how old the newest is
mod litestream; // the replicating program beside the file
mod service; // the units of systemd that run a shop
mod place; // where the file lies, its lock, and whether it is still the same
mod wal; // whose log it is, pure
mod logging; // the log on standard error
mod config; // settings and secrets
mod env; // whose settings count
mod access; // why a file is closed to this user, and what opens it
mod signature; // Stripe-Signature, pure
mod metrics; // counts
mod money; // amounts as decimal text
mod text; // text from outside, made safe
mod skew; // Stripe's clock against ours
mod sync; // a lock that a panic does not poison
mod sabotage; // bugs that the tests plant
mod clock; // UTC
mod error; // what should the caller do now?

#[cfg(test)]
mod the_page; // that imports point down this page

#[cfg(any(fuzzing, test))]
#[path = "../fuzz/targets.rs"]
mod targets; // what is fed to whoever reads bytes from outside

#[cfg_attr(fuzzing, allow(dead_code))]
fn main() -> std::process::ExitCode {
    cli::run()
}
