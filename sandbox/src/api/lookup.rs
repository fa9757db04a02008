//! Finds the sale that an id belongs to.

use std::sync::Mutex;

use crate::http::Response;
use crate::refusals;
use crate::sync::lock;
use crate::world::account::{Account, Found};
use crate::world::sale::Sale;

/// The sale that an id of this kind belongs to, and the line of it where the id is of one.
pub fn sale(account: &Mutex<Account>, id: &str, kind: &str) -> Result<(Sale, usize), Response> {
    let account = lock(account);
    let (at, line) = match (kind, account.find(id)) {
        ("checkout.session", Some(Found::Session(at)))
        | ("payment_intent", Some(Found::PaymentIntent(at)))
        | ("charge", Some(Found::Charge(at)))
        | ("invoice", Some(Found::Invoice(at))) => (at, 0),
        ("price", Some(Found::Price(at, line))) | ("product", Some(Found::Product(at, line))) => {
            (at, line)
        }
        _ => return Err(refusals::missing(kind, id)),
    };
    Ok((account.sales[at].clone(), line))
}
