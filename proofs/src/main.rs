//! Models: the writer's and the queue's own source under every order in which their threads may
//! run, and the order of events, answers, sweeps and cursors as a model of its own.
//!
//! The product's files stand here as links; `sync.rs` gives them locks and threads that
//! shuttle schedules, and the other rooms that they use are stand-ins.

mod group_commit; // nobody gets an answer before COMMIT, whatever fails
mod jobs; // no wake-up of the queue is lost
mod order; // a difference that persists is requested again

#[allow(dead_code)]
mod queue;
#[allow(dead_code)]
mod writer;

mod checkpoint; // stands in for the owner of the log
mod clock; // stands in for UTC
mod db; // stands in for the file
#[allow(dead_code)]
mod error;
mod sabotage; // bugs that the models plant
mod sync; // locks and threads that shuttle schedules

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let rounds = args.next().map_or(30_000, |text| text.parse().expect("a number of rounds"));
    match what.as_str() {
        "group-commit" => {
            let bugs = ["commit_left_out", "writer_not_woken"];
            schedules("group-commit", group_commit::one_day, rounds, &bugs);
        }
        "queue" => {
            schedules("queue", jobs::one_day, rounds, &["no_wake_when_free", "no_look_after_full"])
        }
        "order" => order::go_through(),
        _ => {
            eprintln!("usage: proofs group-commit|queue|order [ROUNDS]");
            std::process::exit(64);
        }
    }
}

/// Runs a day of a model in so many orders of its threads, half of them at random and half with few
/// and odd changes of turn; then its controls, each of which must be caught.
fn schedules(name: &str, day: fn(), rounds: usize, planted: &[&'static str]) {
    let again = std::env::var("FULFILLD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = again.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("FULFILLD_SEED={seed}");
    let began = Instant::now();
    run(day, rounds, seed);
    println!("proof: {rounds} schedules|–|0|–");
    eprintln!("{:.0} s", began.elapsed().as_secs_f64());
    // What a control says of its failure is expected.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    for bug in planted {
        sabotage::plant(Some(bug));
        let outcome = catch_unwind(AssertUnwindSafe(|| run(day, rounds, seed)));
        sabotage::plant(None);
        match outcome {
            Ok(()) => {
                println!("{name}: {rounds} schedules did not show {bug}");
                std::process::exit(1);
            }
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                println!("control: {bug}: {}", said.lines().next().unwrap_or_default());
            }
        }
    }
    std::panic::set_hook(hook);
}

fn run(day: fn(), rounds: usize, seed: u64) {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.failure_persistence = shuttle::FailurePersistence::None;
    Runner::new(RandomScheduler::new_from_seed(seed, rounds.div_ceil(2)), config.clone()).run(day);
    Runner::new(PctScheduler::new_from_seed(seed, 3, rounds / 2), config).run(day);
}
