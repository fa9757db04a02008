//! `fulfilld cancel`: what has not been sent will not be. It types `INSERT INTO cancel` for you.

use clap::ValueEnum;

use super::OPERATOR;
use super::order_verbs::{self, Act, Orders};
use crate::error::Result;

/// Cancel what has not been sent of orders
///
/// All or nothing: if one order is refused, none is canceled. It moves no money: refund the payment
/// in Stripe's Dashboard; `fulfilld attention` lists the order until that is done.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld cancel 1042 --reason customer")]
pub struct Args {
    /// Why
    #[arg(long)]
    reason: Reason,
    #[command(flatten)]
    orders: Orders,
}

/// `orders.cancel_reason`.
#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    /// The buyer no longer wants it
    Customer,
    /// The payment or the address looks fraudulent
    Fraud,
    /// It is out of stock
    Inventory,
    /// The payment was declined
    Declined,
    /// The shop made a mistake
    Staff,
    Other,
}

/// Cancels all of them and prints them as they are now. `Permanent` with the file's own sentence
/// when it refuses one; then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    let reason = args.reason.to_possible_value();
    let with = vec![reason.as_ref().map(|word| word.get_name())];
    order_verbs::run(
        &args.orders,
        &Act { verb: "cancel", done: "canceled", author: OPERATOR, with },
    )
}
