//! `fulfilld release`: an order leaves its hold. It types `INSERT INTO release` for you.

use super::OPERATOR;
use super::order_verbs::{self, Act, Orders};
use crate::error::Result;

/// Release orders from hold
///
/// All or nothing: if one order is refused, none is released. A dispute or a review is resolved in
/// Stripe's Dashboard.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld release 1042")]
pub struct Args {
    #[command(flatten)]
    orders: Orders,
}

/// Releases all of them and prints them as they are now. `Permanent` with the file's own sentence
/// when it refuses one; then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    order_verbs::run(
        &args.orders,
        &Act { verb: "release", done: "released", author: OPERATOR, with: vec![] },
    )
}
