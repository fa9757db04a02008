//! Requests to Stripe: objects as they are now, each verified to be the requested one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::clock::{self, Timestamp};
use crate::config::{Only, StripeAccess};
use crate::error::{Error, Result};
use crate::event::is_object_id;
use crate::metrics::Metrics;
use crate::reason::{Code, Reason};
use crate::sabotage;
use crate::skew::Skew;
use crate::sync::lock;
use crate::text;

mod errors; // what failed requests mean
mod lists; // lists, page by page
mod names; // looks up host names
mod pacing; // how fast
mod permissions; // what the key may not see
mod transport; // one request

pub use errors::Unreached;
pub use lists::Listed;
use lists::{is_row, page_of};
pub use names::agent;
pub use transport::Looked;
use transport::{AS_IT_IS, Get, Transport};

/// Rows on one page, Stripe's maximum.
const PAGE: usize = 100;

/// What Stripe shows of something that orders can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<T> {
    Seen(T),
    /// The key may not see it.
    Hidden,
    /// Stripe does not say.
    Unsaid,
}

/// Who paid an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaidBy {
    /// First those that paid it, the oldest before the others, so that the first one stays the
    /// first; then those that are to pay it, then those that were given up. Empty where Stripe shows
    /// none.
    pub payment_intents: Vec<String>,
    /// What no payment paid, because the customer's credit balance did, in minor units; `None`
    /// where the invoice is not paid, or Stripe does not say.
    pub credited: Option<i64>,
}

/// What the customer's balance paid of an invoice that is paid.
fn credited(invoice: &Value) -> Option<i64> {
    let amount = |name: &str| invoice[name].as_i64();
    let is_paid = invoice["status"] == "paid";
    amount("total")?.checked_sub(amount("amount_due")?).filter(|_| is_paid)
}

/// An invoice that a payment pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// The invoice's id.
    pub invoice: String,
    /// `None` where it bills no subscription, or the key may not see it.
    pub subscription: Option<String>,
}

impl Billed {
    fn of(payment: &Value) -> Option<Billed> {
        let places = ["/invoice/parent/subscription_details/subscription", "/invoice/subscription"];
        let subscription = places.into_iter().find_map(|place| id_at(payment, place));
        Some(Billed { invoice: id_at(payment, "/invoice")?, subscription })
    }
}

/// An answer, and when its request was sent.
pub struct Answer {
    /// When the request was sent.
    pub at: Timestamp,
    /// The object, or an array of them.
    pub value: Value,
}

/// The client. Clones share connections and pace.
#[derive(Clone)]
pub struct Stripe {
    transport: Arc<Transport>,
    only: Option<Only>,
    /// The first sessions that were not the shop's, by their ids.
    others: Arc<Mutex<BTreeSet<String>>>,
}

/// What tells which payment paid an invoice, as metrics and alarms name it.
pub const INVOICE_PAYMENTS: &str = "invoice_payments";

/// So many sessions of others are remembered.
pub const OTHERS_MAX: usize = 3;

impl Stripe {
    /// Connects nowhere yet.
    pub fn new(access: StripeAccess, metrics: Arc<Metrics>) -> Stripe {
        let only = access.only.clone();
        let transport = Arc::new(Transport::new(access, metrics));
        Stripe { transport, only, others: Arc::default() }
    }

    /// Stripe's clock against ours, as far as its answers have shown.
    pub fn skew(&self) -> &Skew {
        &self.transport.skew
    }

    /// How long what waits for a permission may wait before it is tried again.
    pub fn forbidden_pause(&self) -> Duration {
        self.transport.permissions.pause()
    }

    /// The endpoints for which the key turned out to lack the permission and has not shown it since,
    /// each with what Stripe said.
    pub fn forbidden(&self) -> Vec<(&'static str, String)> {
        self.transport.permissions.missing()
    }

    /// The key may not see which payment paid an invoice, as far as is known: what was read without
    /// that waits for it.
    pub fn hides_invoices(&self) -> bool {
        self.transport.permissions.lacks(INVOICE_PAYMENTS)
    }

    /// It could not see it when fulfilld last ran; whether it can now is not known yet.
    pub fn hid_invoices(&self) {
        let why = "the key could not see which payment paid an invoice when fulfilld last ran";
        self.transport.permissions.were_denied(INVOICE_PAYMENTS, why.into());
    }

    /// Tries whether the key may see it by now, unless that was tried a short while ago. Only what
    /// is sold on an invoice would show it otherwise.
    pub fn try_invoices(&self) -> Result<()> {
        self.invoice_payments(&[("limit", "1".to_string())]).map(drop)
    }

    /// Why a session is not the shop's by `FULFILLD_ONLY`; `None` when it is.
    pub fn not_the_shops(&self, session: &Value) -> Option<Reason> {
        let only = self.only.as_ref()?;
        let said = session.pointer(&only.pointer).and_then(Value::as_str);
        let ours = said.is_some_and(|said| only.values.iter().any(|value| value == said));
        let mut others = lock(&self.others);
        if !ours && others.len() < OTHERS_MAX {
            others.extend(session["id"].as_str().map(String::from));
        }
        (!ours).then(|| {
            let text = format!("the session is not of FULFILLD_ONLY={}", only.setting);
            Reason::new(Code::OtherShop, text)
        })
    }

    /// How many sessions were somebody else's so far; what `only.rs` makes of them needs no more
    /// than a few.
    pub fn sessions_of_others(&self) -> usize {
        lock(&self.others).len()
    }

    /// A Checkout Session as it is now, with its payment intent and all its line items with their
    /// products, whatever their number: one request up to ten lines, then one more for each
    /// further hundred.
    pub fn checkout_session(&self, id: &str) -> Result<Answer> {
        let id = checked(id)?;
        let at = clock::now();
        let path = format!("/v1/checkout/sessions/{id}");
        // A key that may not read all of it still gets the order, with less in it.
        let expansions: [&[&str]; 5] = [
            &[
                "line_items.data.price.product",
                "payment_intent.latest_charge.balance_transaction",
                "shipping_cost.shipping_rate",
            ],
            &[
                "line_items.data.price.product",
                "payment_intent.latest_charge",
                "shipping_cost.shipping_rate",
            ],
            &["line_items.data.price.product", "payment_intent.latest_charge"],
            &["line_items.data.price.product"],
            &["line_items"],
        ];
        let get =
            Get { endpoint: "checkout_session", path: &path, query: &[], expansions: &expansions };
        let mut value = self.transport.get(get)?;
        is_the_one(&value, "checkout.session", id)?;
        let lines = value.get_mut("line_items").map(Value::take).unwrap_or_default();
        let get = Get {
            endpoint: "checkout_session_line_items",
            path: &format!("{path}/line_items"),
            query: &[],
            expansions: &[&["data.price.product"], &[]],
        };
        let lines = self.rest_of(get, "item", lines)?;
        value["line_items"] = Value::Array(lines);
        Ok(Answer { at, value })
    }

    /// The Checkout Session of a payment intent; `None` when it was not made by Checkout, or for a
    /// subscription, whose session names its invoice instead.
    pub fn session_of_payment_intent(&self, payment_intent: &str) -> Result<Option<Value>> {
        let query =
            [("payment_intent", checked(payment_intent)?.to_string()), ("limit", "1".to_string())];
        let list = self.transport.get(Get {
            endpoint: "checkout_sessions",
            path: "/v1/checkout/sessions",
            query: &query,
            expansions: AS_IT_IS,
        })?;
        let first = page_of(list)?.0.into_iter().next();
        let theirs = |session: &Value| {
            is_row(session, "checkout.session")
                && session["payment_intent"].as_str() == Some(payment_intent)
        };
        match first {
            Some(session) if !theirs(&session) => Err(Error::Temporary(format!(
                "Stripe answers a request for the session of {payment_intent} with another one"
            ))),
            first => Ok(first),
        }
    }

    /// Who paid an invoice, as far as Stripe shows it by now.
    pub fn who_paid(&self, invoice: &str) -> Result<Sight<PaidBy>> {
        let mut payments =
            match self.invoice_payments(&[("invoice", checked(invoice)?.to_string())])? {
                Sight::Seen(payments) => payments,
                Sight::Hidden => return Ok(Sight::Hidden),
                Sight::Unsaid => return Ok(Sight::Unsaid),
            };
        let by = |payment: &Value| id_at(payment, "/payment/payment_intent");
        // An attempt that failed, or was given up, stays in the list.
        let rank = |payment: &Value| match payment["status"].as_str() {
            Some("paid") => (0, payment["created"].as_i64()),
            Some("canceled") => (2, None),
            _ => (1, None),
        };
        payments.sort_by_key(rank);
        Ok(Sight::Seen(PaidBy {
            payment_intents: payments.iter().filter_map(by).collect(),
            credited: payments.first().and_then(|payment| credited(&payment["invoice"])),
        }))
    }

    /// What the customer's credit balance paid of an invoice that shows no payment; `None` where it
    /// is not paid, or Stripe does not say.
    pub fn credit_that_paid(&self, invoice: &str) -> Result<Option<i64>> {
        match self.object("invoice", "invoice", "/v1/invoices", invoice) {
            Ok(answer) => Ok(credited(&answer.value)),
            Err(Error::Forbidden(_) | Error::Permanent(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The invoice that a payment intent pays, and its subscription where the key may see it;
    /// `None` where it pays none.
    pub fn invoice_of_payment_intent(&self, payment_intent: &str) -> Result<Sight<Option<Billed>>> {
        let payment = checked(payment_intent)?.to_string();
        let query =
            [("payment[type]", "payment_intent".to_string()), ("payment[payment_intent]", payment)];
        Ok(match self.invoice_payments(&query)? {
            Sight::Seen(payments) if payments.is_empty() => Sight::Seen(None),
            Sight::Seen(payments) => match payments.iter().find_map(Billed::of) {
                Some(invoice) => Sight::Seen(Some(invoice)),
                None => Sight::Unsaid,
            },
            Sight::Hidden => Sight::Hidden,
            Sight::Unsaid => Sight::Unsaid,
        })
    }

    /// What links an invoice to its payments: a hundred rows at most, more than any invoice has.
    fn invoice_payments(&self, query: &[(&'static str, String)]) -> Result<Sight<Vec<Value>>> {
        let get = Get {
            endpoint: INVOICE_PAYMENTS,
            path: "/v1/invoice_payments",
            query,
            expansions: &[&["data.invoice"], &[]],
        };
        match self.transport.page(get) {
            Ok(list) => Ok(Sight::Seen(page_of(list)?.0)),
            Err(Error::Forbidden(why)) => {
                log::warn!("cannot see which payment paid an invoice: {why}");
                Ok(Sight::Hidden)
            }
            Err(Error::Permanent(why)) => {
                log::warn!("Stripe does not say which payment paid an invoice: {why}");
                Ok(Sight::Unsaid)
            }
            Err(error) => Err(error),
        }
    }

    /// A charge as it is now.
    pub fn charge(&self, id: &str) -> Result<Answer> {
        self.object("charge", "charge", "/v1/charges", id)
    }

    /// A refund as it is now.
    pub fn refund(&self, id: &str) -> Result<Answer> {
        self.object("refund", "refund", "/v1/refunds", id)
    }

    /// All the refunds of a payment, as an array.
    pub fn refunds_of(&self, payment_intent: &str) -> Result<Answer> {
        let at = clock::now();
        let query = [("payment_intent", checked(payment_intent)?.to_string())];
        let get = Get {
            endpoint: "refunds",
            path: "/v1/refunds",
            query: &query,
            expansions: &[&["data.failure_balance_transaction"], &[]],
        };
        let first = self.transport.page(get)?;
        let value = Value::Array(self.rest_of(get, "refund", first)?);
        Ok(Answer { at, value })
    }

    /// A dispute as it is now.
    pub fn dispute(&self, id: &str) -> Result<Answer> {
        self.object("dispute", "dispute", "/v1/disputes", id)
    }

    /// A review as it is now.
    pub fn review(&self, id: &str) -> Result<Answer> {
        self.object("review", "review", "/v1/reviews", id)
    }

    /// An early fraud warning as it is now.
    pub fn fraud_warning(&self, id: &str) -> Result<Answer> {
        self.object(
            "early_fraud_warning",
            "radar.early_fraud_warning",
            "/v1/radar/early_fraud_warnings",
            id,
        )
    }

    fn object(&self, endpoint: &'static str, object: &str, path: &str, id: &str) -> Result<Answer> {
        let id = checked(id)?;
        let at = clock::now();
        let path = &format!("{path}/{id}");
        let value = self.transport.get(Get { endpoint, path, query: &[], expansions: AS_IT_IS })?;
        is_the_one(&value, object, id)?;
        Ok(Answer { at, value })
    }

    /// Asks once and shows how Stripe answers, for `doctor`: a status is no error.
    pub fn look(&self, path: &str) -> std::result::Result<Looked, Unreached> {
        self.transport.look(path)
    }

    /// Makes every request under way return at once, with an error, and every later one too.
    pub fn shut_down(&self) {
        self.transport.shut_down();
    }

    /// True once no request is sent any more.
    pub fn is_shut_down(&self) -> bool {
        self.transport.is_shut_down()
    }
}

/// An id that may stand in a path or a query; else `Permanent`, wherever it came from.
fn checked(id: &str) -> Result<&str> {
    if is_object_id(id) {
        return Ok(id);
    }
    Err(Error::Permanent(format!(
        "{} is not an id that a request to Stripe could name",
        text::clean(id)
    )))
}

/// `Temporary` unless the answer is the requested object: half an answer, or somebody else's, is no
/// fact.
fn is_the_one(value: &Value, object: &str, id: &str) -> Result<()> {
    if sabotage::is("an_object_has_an_id") {
        for field in ["object", "id"] {
            value[field].as_str().expect("an object has one");
        }
    }
    if value["object"] == object && value["id"] == id {
        return Ok(());
    }
    Err(Error::Temporary(format!(
        "Stripe answers a request for the {object} {id} with something else"
    )))
}

/// An id in an answer, whether Stripe gives it as such or, expanded, as an object.
fn id_at(value: &Value, pointer: &str) -> Option<String> {
    let value = value.pointer(pointer)?;
    value.as_str().or_else(|| value.get("id")?.as_str()).map(String::from)
}
