//! Payments: payment intents, charges, what was paid of an invoice, and what was sold.

use std::sync::Mutex;

use super::lookup::sale;
use super::query::{Query, Reply, expand};
use crate::refusals;
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::{Account, Found};

/// `GET /v1/payment_intents/ID`.
pub fn payment_intent(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "payment_intent")?.0;
    query.expanded(sale.payment_intent(), "payment_intent", &sale)
}

/// `GET /v1/charges/ID`.
pub fn charge(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "charge")?.0;
    query.expanded(sale.charge(), "charge", &sale)
}

/// `GET /v1/invoices/ID`.
pub fn invoice(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "invoice")?.0;
    query.expanded(sale.invoice(), "invoice", &sale)
}

/// What was paid of which invoice, newest first.
pub fn invoice_payments(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    let paging = ["created", "limit", "starting_after", "ending_before"];
    let known =
        [paging.as_slice(), &["invoice", "status", "payment[type]", "payment[payment_intent]"]]
            .concat();
    query.knows(&known)?;
    let paths = query.expansions("list of invoice_payment")?;
    let (invoice, kind, intent) =
        (query.one("invoice"), query.one("payment[type]"), query.one("payment[payment_intent]"));
    if intent.is_some() && kind.is_none() {
        return Err(refusals::invalid(
            "parameter_missing",
            "Missing required param: payment[type].",
            "payment[type]",
        ));
    }
    let (created, status) = (query.created()?, query.one("status"));
    let account = lock(account);
    let newest = |at: usize| account.sales.len() - 1 - at;
    let place = |id: &str| match account.find(id) {
        Some(Found::InvoicePayment(at)) => Some(newest(at)),
        _ => None,
    };
    let wanted = |at: usize| {
        let sale = &account.sales[newest(at)];
        let checkout = &sale.checkout;
        checkout.payment_intent().is_some()
            && checkout.invoice().is_some_and(|own| invoice.is_none_or(|wanted| own == wanted))
            && intent
                .is_none_or(|wanted| checkout.payment_intent().is_some_and(|own| own == wanted))
            && kind.is_none_or(|kind| kind == "payment_intent")
            && status.is_none_or(|status| sale.invoice_payment()["status"] == status)
            && created(checkout.ended)
    };
    let (rows, has_more) = query.page(account.sales.len(), place, wanted)?;
    let rows = rows.into_iter().map(|at| {
        let sale = &account.sales[newest(at)];
        let mut payment = sale.invoice_payment();
        paths.iter().for_each(|path| expand(&mut payment, &path[1..], sale));
        payment
    });
    Ok(list("/v1/invoice_payments", rows.collect(), has_more))
}

/// `GET /v1/products/ID`.
pub fn product(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "product")?;
    query.expanded(sale.product(&sale.checkout.lines[line]), "product", &sale)
}

/// `GET /v1/prices/ID`.
pub fn price(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "price")?;
    query.expanded(sale.price(&sale.checkout.lines[line]), "price", &sale)
}
