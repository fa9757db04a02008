//! `fulfilld release`: an order on hold may go on. It types `INSERT INTO release` for you.

use super::OPERATOR;
use super::act::{self, Act, Orders};
use crate::error::Result;

/// Let orders go on that are on hold
///
/// Several orders at once, or on any refusal none. What Stripe holds, a dispute or a review, is released there.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld release 1042")]
pub struct Args {
    #[command(flatten)]
    orders: Orders,
}

/// Releases all of them and prints them as they are now. `Permanent` with the file's own sentence when it refuses one;
/// then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    act::run(&args.orders, &Act { verb: "release", done: "released", author: OPERATOR, with: vec![] })
}
