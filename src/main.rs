//! fulfilld: the order desk for a shop on Stripe Checkout. This page is the map of the program.
//!
//! The modules stand in reading order, the command line first and the foundations last, and imports
//! point down this page: a module may use those below it and none above. A test keeps that true.

#![cfg_attr(fuzzing, no_main)]

// The command line.
mod cli; // arguments, help, exit codes
mod commands; // what the operator can type: one file a verb

// The daemon, and what it answers.
mod serve; // the daemon: opens, wires, starts, stops
mod standby; // answers 503 until a person fixes what prevents the start
mod webhook; // verify, store, answer
mod page; // the packing table in a browser
mod health; // healthz, readyz and metrics
mod door; // time-outs and limits around tiny_http

// What people do with orders.
mod verbs; // what a person does to orders
mod books; // what money moved, and when
mod labels; // files for label services
mod person; // what the file holds about a person, and erasing it

// The daemon's threads, beside the queues.
mod reconcile; // finds what never arrived
mod only; // alarm: FULFILLD_ONLY matches nothing
mod timing; // notices that this server's clock was set, or is wrong
mod retention; // clears the bodies of old events
mod indexing; // adds new orders to the search index
mod rounds; // threads that repeat a job at intervals

// Events: from the inbox to rows.
mod worker; // the queue of events: runs the handler, applies the Change
mod context; // what the daemon's threads share
mod rebuild; // derives what came from Stripe again, and compares
mod claims; // SQL of due events: claim by object, finish together
mod handlers; // what Stripe can report: one file a subject
mod ledger; // SQL that applies a Change
mod change; // what a handler found out

// Hooks, and the engine under both queues.
mod hooks; // runs the outbox
mod queue; // the engine of the queues: claim, run, retry, stop
mod breaker; // notices that Stripe fails for everyone

// SQL of single tables.
mod inbox; // SQL of events
mod forgotten; // SQL of the list of forgotten people
mod words; // the search index: which orders may contain a text
mod alarms; // SQL of alarms

// Stripe.
mod endpoint; // the webhook endpoints as Stripe lists them
mod stripe; // requests to Stripe: paced, retried, paged
mod event; // an event's envelope
mod reason; // why an event is not done: a code beside the sentence

// The file.
mod table; // rows as people and machines read them
mod writer; // the single writer: group commit
mod checkpoint; // owns the write-ahead log and moves it into the file
mod rollback_guard; // how far the file had got
mod columns; // who owns each column, and the triggers generated from that
mod migrations; // upgrades an older file to today's schema
mod db; // the file, and SQLite's errors
mod shape; // what a file lacks of the schema
mod backups; // backups of the file: where they are, how old the newest is
mod litestream; // the replicating program beside the file
mod service; // the units of systemd that run a shop
mod place; // where the file lies, its lock, and whether it is still the same
mod wal; // whether a log belongs to its file; pure

// Settings and the log.
mod logging; // the log on standard error
mod config; // settings and secrets
mod env; // where settings come from: environment, file, credentials
mod access; // why a file is closed to this user, and what opens it

// Foundations.
mod signature; // Stripe-Signature; pure
mod metrics; // counts
mod money; // amounts as decimal text
mod text; // text from outside, made safe
mod skew; // Stripe's clock against ours
mod room; // why a write finds no room: a quota, a limit on the size of files
mod sync; // a lock that a panic does not poison
mod sabotage; // bugs that the tests plant
mod clock; // UTC
mod error; // errors by what the caller should do now

#[cfg(test)]
mod the_page; // tests that imports point down this page

#[cfg(any(fuzzing, test))]
#[path = "../fuzz/targets.rs"]
mod targets; // fuzz targets: everything that reads bytes from outside

#[cfg_attr(fuzzing, allow(dead_code))]
fn main() -> std::process::ExitCode {
    cli::run()
}
