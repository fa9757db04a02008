//! Stripe's API: the paths that fulfilld requests, with Stripe's keys and rate limit.

mod sessions; // Checkout Sessions and their lines
mod payments; // payments, invoices' payments, what was sold
mod follow_ups; // refunds, disputes, reviews, warnings
mod events;
mod webhooks; // where events go
mod lists; // what fulfilld only looks whether it may read
mod lookup; // which sale an id belongs to
mod query; // parameters, as Stripe takes them
mod rates; // the rate limit

use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;

use query::{Query, Reply};
pub use rates::Rates;

use crate::http::{Request, Response};
use crate::refusals;
use crate::rendering::session::VERSION;
use crate::sync::lock;
use crate::world::account::Account;
use crate::world::checkout::random_id;
use crate::world::sale::Kind;

/// Answers one request about the account; the text is the id in the path.
type Handler = fn(&Mutex<Account>, &Query, &str) -> Reply;

/// Every route: its name in faults and statistics, its path, its handler.
const ROUTES: &[(&str, &str, Handler)] = &[
    ("checkout_sessions", "/v1/checkout/sessions", sessions::sessions),
    ("checkout_session", "/v1/checkout/sessions/{id}", sessions::session),
    ("checkout_session_line_items", "/v1/checkout/sessions/{id}/line_items", sessions::line_items),
    ("payment_intent", "/v1/payment_intents/{id}", payments::payment_intent),
    ("charge", "/v1/charges/{id}", payments::charge),
    ("refunds", "/v1/refunds", |account, query, _| {
        follow_ups::follow_ups(account, query, Kind::Refund)
    }),
    ("refund", "/v1/refunds/{id}", |account, query, id| {
        follow_ups::follow_up(account, query, Kind::Refund, id)
    }),
    ("disputes", "/v1/disputes", |account, query, _| {
        follow_ups::follow_ups(account, query, Kind::Dispute)
    }),
    ("dispute", "/v1/disputes/{id}", |account, query, id| {
        follow_ups::follow_up(account, query, Kind::Dispute, id)
    }),
    ("reviews", "/v1/reviews", |account, query, _| {
        follow_ups::follow_ups(account, query, Kind::Review)
    }),
    ("review", "/v1/reviews/{id}", |account, query, id| {
        follow_ups::follow_up(account, query, Kind::Review, id)
    }),
    ("fraud_warnings", "/v1/radar/early_fraud_warnings", |account, query, _| {
        follow_ups::follow_ups(account, query, Kind::FraudWarning)
    }),
    ("fraud_warning", "/v1/radar/early_fraud_warnings/{id}", |account, query, id| {
        follow_ups::follow_up(account, query, Kind::FraudWarning, id)
    }),
    ("invoice", "/v1/invoices/{id}", payments::invoice),
    ("invoice_payments", "/v1/invoice_payments", payments::invoice_payments),
    ("payment_intents", "/v1/payment_intents", |account, query, _| {
        lists::of_sales("/v1/payment_intents", account, query, |sale| {
            sale.checkout.payment_intent().map(|_| sale.payment_intent())
        })
    }),
    ("charges", "/v1/charges", |account, query, _| {
        lists::of_sales("/v1/charges", account, query, |sale| {
            sale.checkout.charge().map(|_| sale.charge())
        })
    }),
    ("products", "/v1/products", |account, query, _| {
        lists::of_sales("/v1/products", account, query, |sale| {
            sale.checkout.lines.first().map(|l| sale.product(l))
        })
    }),
    ("prices", "/v1/prices", |account, query, _| {
        lists::of_sales("/v1/prices", account, query, |sale| {
            sale.checkout.lines.first().map(|l| sale.price(l))
        })
    }),
    ("shipping_rates", "/v1/shipping_rates", |account, query, _| {
        lists::of_sales("/v1/shipping_rates", account, query, |sale| {
            sale.checkout.shipping.map(|_| sale.shipping_rate())
        })
    }),
    ("webhook_endpoints", "/v1/webhook_endpoints", webhooks::webhook_endpoints),
    ("event_destinations", "/v2/core/event_destinations", webhooks::event_destinations),
    ("balance", "/v1/balance", lists::balance),
    ("customers", "/v1/customers", |_, query, _| lists::nothing("/v1/customers", query)),
    ("payouts", "/v1/payouts", |_, query, _| lists::nothing("/v1/payouts", query)),
    ("product", "/v1/products/{id}", payments::product),
    ("price", "/v1/prices/{id}", payments::price),
    ("events", "/v1/events", events::events),
    ("event", "/v1/events/{id}", events::event),
];

/// The names of all routes.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(name, ..)| *name)
}

/// The route's name for faults and statistics; `other` for a path that there is not.
pub fn name_of(request: &Request) -> &'static str {
    route(request).map_or("other", |(name, ..)| name)
}

/// What a fault's `only` looks at: the path with its query, and the key.
pub fn request_text(request: &Request) -> String {
    let query: Vec<String> =
        request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{} {}", request.path, query.join("&"), key(request).unwrap_or_default())
}

/// The response to a request that no fault changes.
pub fn respond(account: &Mutex<Account>, request: &Request, rates: &Rates) -> Response {
    let reply = match route(request) {
        _ if !accepted(key(request)) => Err(refusals::unauthorized(key(request))),
        Some((name, ..)) if !rates.admit(name, Instant::now()) => Err(refusals::rate_limited()),
        Some((name, handler, id)) => match lacks(key(request), name) {
            Some(permission) => Err(refusals::not_permitted(key(request), permission)),
            None => handler(account, &Query::of(request), id),
        },
        None => Err(refusals::unknown_path(&request.method, &request.path)),
    };
    let said = |mut value| {
        lock(account).put_said(&mut value);
        Response::json(200, &value)
    };
    reply.map_or_else(|refusal| refusal, said)
}

/// Adds the headers that every response of the API has.
pub fn with_headers(response: Response, request: &Request, at: Timestamp) -> Response {
    let version = request.header("Stripe-Version").unwrap_or(VERSION);
    let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response
        .with("Date", date)
        .with("Request-Id", random_id("req_", 14))
        .with("Stripe-Version", version)
}

/// What stands behind `Bearer`.
pub fn key(request: &Request) -> Option<&str> {
    request
        .header("Authorization")?
        .strip_prefix("Bearer ")
        .map(str::trim)
        .filter(|key| !key.is_empty())
}

/// What a restricted key of the sandbox may not read: by route, and the permission in Stripe's
/// words.
const UNGRANTED: &[(&str, &str)] = &[
    ("customers", "Customers Read ('customer_read')"),
    ("payouts", "Payouts Read ('payout_read')"),
];

/// The permission that this key lacks for a route: a restricted key may read what fulfilld reads,
/// and no more.
fn lacks(key: Option<&str>, route: &str) -> Option<&'static str> {
    let restricted = key.is_some_and(|key| key.starts_with("rk_"));
    UNGRANTED
        .iter()
        .find(|(name, _)| restricted && *name == route)
        .map(|(_, permission)| *permission)
}

fn accepted(key: Option<&str>) -> bool {
    let valid = |key: &&str| !key.contains("expired");
    key.filter(valid).is_some_and(|key| key.starts_with("sk_test_") || key.starts_with("rk_test_"))
}

fn route(request: &Request) -> Option<(&'static str, Handler, &str)> {
    if request.method != "GET" {
        return None;
    }
    ROUTES.iter().find_map(|(name, pattern, handler)| {
        let (before, after) = pattern.split_once("{id}").unwrap_or((pattern, ""));
        let id = request.path.strip_prefix(before)?.strip_suffix(after)?;
        let fits = if pattern.contains("{id}") {
            !id.is_empty() && !id.contains('/')
        } else {
            id.is_empty()
        };
        fits.then_some((*name, *handler, id))
    })
}
