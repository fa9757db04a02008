//! `fulfilld reship`: what was sent is sent once more, beside what was bought. It types `INSERT
//! INTO reship` for you.

use clap::ValueEnum;

use super::OPERATOR;
use super::order_verbs::{self, Act, Orders};
use crate::error::{Error, Result};

/// Send once more what was lost, damaged or wrong
///
/// A parcel beside what was bought: it waits in to_ship, is shipped and delivered like any other,
/// and no money and no quantity of the order changes. All that was shipped, or with --items a part
/// of it.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld reship 1042 --reason lost")]
pub struct Args {
    /// Why
    #[arg(long)]
    reason: Reason,
    /// Only these lines: positions as on the receipt, with a quantity where it is not all
    #[arg(long, value_name = "1,2x3")]
    items: Option<String>,
    #[command(flatten)]
    orders: Orders,
}

/// `fulfillments.replacement`.
#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    /// It did not arrive
    Lost,
    /// It arrived broken
    Damaged,
    /// It was not what was bought
    Wrong,
    Other,
}

/// Makes the parcels and prints the orders as they are now. `Usage` when some lines are named for
/// several orders, `Permanent` with the file's own sentence when it refuses one; then nothing has
/// changed.
pub fn run(args: &Args) -> Result<()> {
    let reason = args.reason.to_possible_value();
    let reason = reason.as_ref().map(|word| word.get_name());
    if args.items.is_some() && args.orders.count() > 1 {
        return Err(Error::Usage("--items is about one order; name one".into()));
    }
    let (verb, with) = match &args.items {
        Some(items) => ("reship_items", vec![Some(items.as_str()), reason]),
        None => ("reship", vec![reason]),
    };
    order_verbs::run(&args.orders, &Act { verb, done: "sent once more", author: OPERATOR, with })
}
