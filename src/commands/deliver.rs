//! `fulfilld deliver`: parcels have arrived, digital goods are sent. It types `INSERT INTO deliver`
//! for you.

use super::order_verbs::{self, Act, Orders, Override};
use crate::error::Result;

/// Mark orders as delivered: their parcels have arrived, their digital goods are sent
///
/// Covers every parcel on its way and everything that needs no parcel. All or nothing: if one order
/// is refused, none is delivered.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld deliver 1042")]
pub struct Args {
    #[command(flatten)]
    lift: Override,
    #[command(flatten)]
    orders: Orders,
}

/// Delivers all of them and prints them as they are now. `Permanent` with the file's own sentence
/// when it refuses one; then nothing has changed.
pub fn run(args: &Args) -> Result<()> {
    order_verbs::run(
        &args.orders,
        &Act { verb: "deliver", done: "delivered", author: args.lift.author(), with: vec![] },
    )
}
