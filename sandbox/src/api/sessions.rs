//! Checkout Sessions and their line items.

use std::sync::Mutex;

use super::lookup::sale;
use super::query::{Query, Reply, expand};
use crate::refusals;
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::{Account, Found};
use crate::world::sale::Sale;

/// `GET /v1/checkout/sessions`: newest first, one page, without renewals.
pub fn sessions(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&[
        "payment_intent",
        "status",
        "created",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let paths = query.expansions("list of checkout.session")?;
    let (created, status) = (query.created()?, query.one("status"));
    if let Some(odd) = status.filter(|s| !matches!(*s, "open" | "complete" | "expired")) {
        let message =
            format!("Invalid status: must be one of open, complete, or expired; was {odd}");
        return Err(refusals::invalid("parameter_invalid", &message, "status"));
    }
    let account = lock(account);
    let intent = query.one("payment_intent").map(|id| account.find(id));
    let newest = |at: usize| account.sales.len() - 1 - at;
    let place = |id: &str| match account.find(id) {
        Some(Found::Session(at)) => Some(newest(at)),
        _ => None,
    };
    let wanted = |at: usize| {
        let sale = &account.sales[newest(at)];
        sale.checkout.renews.is_none()
            && created(sale.checkout.created)
            && status.is_none_or(|status| status == sale.status())
            && intent.is_none_or(
                |found| matches!(found, Some(Found::PaymentIntent(of)) if of == newest(at)),
            )
            && (intent.is_none() || sale.checkout.mode == "payment")
    };
    let (rows, has_more) = query.page(account.sales.len(), place, wanted)?;
    let sales: Vec<Sale> = rows.into_iter().map(|at| account.sales[newest(at)].clone()).collect();
    drop(account);
    let rows = sales.iter().map(|sale| {
        let mut session = sale.session();
        paths.iter().for_each(|path| expand(&mut session, &path[1..], sale));
        session
    });
    Ok(list("/v1/checkout/sessions", rows.collect(), has_more))
}

/// `GET /v1/checkout/sessions/ID`.
pub fn session(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "checkout.session")?.0;
    if sale.checkout.renews.is_some() {
        return Err(refusals::missing("checkout.session", id));
    }
    query.expanded(sale.session(), "checkout.session", &sale)
}

/// `GET /v1/checkout/sessions/ID/line_items`: one page, in the order of the receipt.
pub fn line_items(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    query.knows(&["limit", "starting_after", "ending_before"])?;
    let sale = sale(account, id, "checkout.session")?.0;
    let total = sale.checkout.lines.len();
    let (rows, more) =
        query.page(total, |id| (0..total).find(|at| sale.checkout.line_id(*at) == id), |_| true)?;
    let rows = rows.into_iter().map(|at| sale.line_item(at)).collect();
    let list = list(&format!("/v1/checkout/sessions/{id}/line_items"), rows, more);
    query.expanded(list, "list of item", &sale)
}
