//! `fulfilld hold`: nothing of an order can be sent until it is released. It types `INSERT INTO
//! hold` for you.

use super::OPERATOR;
use super::order_verbs::{self, Act, Orders};
use crate::error::Result;

/// Hold orders: nothing of them can be sent until they are released
///
/// All or nothing: if one order is refused, none is held. Holding an order again replaces its
/// reason.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld hold 1042 --reason \"asks for another color\"")]
pub struct Args {
    /// Why, for whoever packs next
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    orders: Orders,
}

/// Holds all of them and prints them as they are now. `Permanent` with the file's own sentence when
/// it refuses one; then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    order_verbs::run(
        &args.orders,
        &Act { verb: "hold", done: "held", author: OPERATOR, with: vec![Some(&args.reason)] },
    )
}
