//! Stripe's API: the paths that fulfilld asks, with Stripe's keys and rate limit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use super::account::{Account, Event, Found};
use super::checkout::random_id;
use super::endpoints;
use super::errors;
use super::http::{Answer, Request};
use super::objects::{self, Sale, VERSION};
use super::query::{self, Query, Reply};
use super::sequel::Kind;
use crate::clock::Timestamp;
use crate::sync::lock;

const TYPES_MAX: usize = 20;

/// Answers a question about an account; the text is the path's id.
type Endpoint = fn(&Mutex<Account>, &Query, &str) -> Reply;

/// Every endpoint: its name in faults and statistics, its path, its answer.
const ENDPOINTS: &[(&str, &str, Endpoint)] = &[
    ("checkout_sessions", "/v1/checkout/sessions", sessions),
    ("checkout_session", "/v1/checkout/sessions/{id}", session),
    ("checkout_session_line_items", "/v1/checkout/sessions/{id}/line_items", line_items),
    ("payment_intent", "/v1/payment_intents/{id}", payment_intent),
    ("charge", "/v1/charges/{id}", charge),
    ("refunds", "/v1/refunds", |account, query, _| sequels(account, query, Kind::Refund)),
    ("refund", "/v1/refunds/{id}", |account, query, id| sequel(account, query, Kind::Refund, id)),
    ("disputes", "/v1/disputes", |account, query, _| sequels(account, query, Kind::Dispute)),
    ("dispute", "/v1/disputes/{id}", |account, query, id| {
        sequel(account, query, Kind::Dispute, id)
    }),
    ("reviews", "/v1/reviews", |account, query, _| sequels(account, query, Kind::Review)),
    ("review", "/v1/reviews/{id}", |account, query, id| sequel(account, query, Kind::Review, id)),
    ("fraud_warnings", "/v1/radar/early_fraud_warnings", |account, query, _| {
        sequels(account, query, Kind::FraudWarning)
    }),
    ("fraud_warning", "/v1/radar/early_fraud_warnings/{id}", |account, query, id| {
        sequel(account, query, Kind::FraudWarning, id)
    }),
    ("invoice_payments", "/v1/invoice_payments", invoice_payments),
    ("payment_intents", "/v1/payment_intents", |account, query, _| {
        endpoints::of_sales("/v1/payment_intents", account, query, |sale| {
            sale.checkout.payment_intent().map(|_| sale.payment_intent())
        })
    }),
    ("charges", "/v1/charges", |account, query, _| {
        endpoints::of_sales("/v1/charges", account, query, |sale| {
            sale.checkout.charge().map(|_| sale.charge())
        })
    }),
    ("products", "/v1/products", |account, query, _| {
        endpoints::of_sales("/v1/products", account, query, |sale| {
            sale.checkout.lines.first().map(|l| sale.product(l))
        })
    }),
    ("prices", "/v1/prices", |account, query, _| {
        endpoints::of_sales("/v1/prices", account, query, |sale| {
            sale.checkout.lines.first().map(|l| sale.price(l))
        })
    }),
    ("shipping_rates", "/v1/shipping_rates", |account, query, _| {
        endpoints::of_sales("/v1/shipping_rates", account, query, |sale| {
            sale.checkout.shipping.map(|_| sale.shipping_rate())
        })
    }),
    ("webhook_endpoints", "/v1/webhook_endpoints", endpoints::webhook_endpoints),
    ("event_destinations", "/v2/core/event_destinations", endpoints::event_destinations),
    ("balance", "/v1/balance", endpoints::balance),
    ("customers", "/v1/customers", |_, query, _| endpoints::nothing("/v1/customers", query)),
    ("payouts", "/v1/payouts", |_, query, _| endpoints::nothing("/v1/payouts", query)),
    ("product", "/v1/products/{id}", product),
    ("price", "/v1/prices/{id}", price),
    ("events", "/v1/events", events),
    ("event", "/v1/events/{id}", event),
];

/// The names of all endpoints.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENDPOINTS.iter().map(|(name, ..)| *name)
}

/// The endpoint's name for faults and statistics; `other` for a path that there is not.
pub fn name_of(request: &Request) -> &'static str {
    route(request).map_or("other", |(name, ..)| name)
}

/// What a fault's `only` looks at: the path with its query, and the key.
pub fn asked(request: &Request) -> String {
    let query: Vec<String> =
        request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{} {}", request.path, query.join("&"), key(request).unwrap_or_default())
}

/// The right answer.
pub fn answer(account: &Mutex<Account>, request: &Request, rates: &Rates) -> Answer {
    let answered = match route(request) {
        _ if !accepted(key(request)) => Err(errors::unauthorized(key(request))),
        Some((name, ..)) if !rates.admit(name, Instant::now()) => Err(errors::rate_limited()),
        Some((name, endpoint, id)) => match endpoints::lacks(key(request), name) {
            Some(permission) => Err(errors::not_permitted(key(request), permission)),
            None => endpoint(account, &Query::of(request), id),
        },
        None => Err(errors::unknown_path(&request.method, &request.path)),
    };
    answered.map_or_else(|refusal| refusal, |value| Answer::json(200, &value))
}

/// The headers on everything that the API answers.
pub fn stamped(answer: Answer, request: &Request, at: Timestamp) -> Answer {
    let version = request.header("Stripe-Version").unwrap_or(VERSION);
    let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    answer
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

fn accepted(key: Option<&str>) -> bool {
    let lives = |key: &&str| !key.contains("expired");
    key.filter(lives).is_some_and(|key| key.starts_with("sk_test_") || key.starts_with("rk_test_"))
}

fn route(request: &Request) -> Option<(&'static str, Endpoint, &str)> {
    if request.method != "GET" {
        return None;
    }
    ENDPOINTS.iter().find_map(|(name, pattern, endpoint)| {
        let (before, after) = pattern.split_once("{id}").unwrap_or((pattern, ""));
        let id = request.path.strip_prefix(before)?.strip_suffix(after)?;
        let fits = if pattern.contains("{id}") {
            !id.is_empty() && !id.contains('/')
        } else {
            id.is_empty()
        };
        fits.then_some((*name, *endpoint, id))
    })
}

fn sessions(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
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
        return Err(errors::invalid("parameter_invalid", &message, "status"));
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
        paths.iter().for_each(|path| query::expand(&mut session, &path[1..], sale));
        session
    });
    Ok(objects::list("/v1/checkout/sessions", rows.collect(), has_more))
}

fn session(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "checkout.session")?.0;
    if sale.checkout.renews.is_some() {
        return Err(errors::missing("checkout.session", id));
    }
    query.expanded(sale.session(), "checkout.session", &sale)
}

fn line_items(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    query.knows(&["limit", "starting_after", "ending_before"])?;
    let sale = sale(account, id, "checkout.session")?.0;
    let total = sale.checkout.lines.len();
    let (rows, more) =
        query.page(total, |id| (0..total).find(|at| sale.checkout.line_id(*at) == id), |_| true)?;
    let rows = rows.into_iter().map(|at| sale.line_item(at)).collect();
    let list = objects::list(&format!("/v1/checkout/sessions/{id}/line_items"), rows, more);
    query.expanded(list, "list of item", &sale)
}

fn payment_intent(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "payment_intent")?.0;
    query.expanded(sale.payment_intent(), "payment_intent", &sale)
}

fn charge(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "charge")?.0;
    query.expanded(sale.charge(), "charge", &sale)
}

/// What of a kind followed, newest first: everything, or what followed one payment.
fn sequels(account: &Mutex<Account>, query: &Query, kind: Kind) -> Reply {
    let paging =
        ["created", "limit", "starting_after", "ending_before", "payment_intent", "charge"];
    query.knows(if kind == Kind::Review { &paging[..4] } else { &paging })?;
    let paths = query.expansions("list of sequel")?;
    let created = query.created()?;
    let account = lock(account);
    let payments = [query.one("payment_intent"), query.one("charge")];
    let mut sales = payments.iter().flatten().map(|id| match account.find(id) {
        Some(Found::PaymentIntent(at) | Found::Charge(at)) => Some(at),
        _ => None,
    });
    let all: Vec<(usize, usize)> = match (sales.next(), sales.next()) {
        (None, _) => account.sequels.iter().rev().copied().collect(),
        (Some(None), _) => Vec::new(),
        (Some(one), Some(other)) if one != other => Vec::new(),
        (Some(Some(sale)), _) => {
            (0..account.sales[sale].sequels.len()).rev().map(|at| (sale, at)).collect()
        }
    };
    let place = |id: &str| {
        account.sequel(kind, id).and_then(|found| all.iter().position(|row| *row == found))
    };
    let wanted = |at: usize| {
        let (sale, at) = all[at];
        let sequel = &account.sales[sale].sequels[at];
        sequel.kind == kind && created(sequel.created)
    };
    let (rows, has_more) = query.page(all.len(), place, wanted)?;
    let rows = rows.into_iter().map(|at| {
        let (sale, at) = (&account.sales[all[at].0], all[at].1);
        let mut object = sale.sequel(at);
        paths.iter().for_each(|path| query::expand(&mut object, &path[1..], sale));
        object
    });
    Ok(objects::list(&format!("/v1/{}", kind.words().1), rows.collect(), has_more))
}

fn sequel(account: &Mutex<Account>, query: &Query, kind: Kind, id: &str) -> Reply {
    query.knows(&[])?;
    let (sale, at) = {
        let account = lock(account);
        let (sale, at) =
            account.sequel(kind, id).ok_or_else(|| errors::missing(kind.words().0, id))?;
        (account.sales[sale].clone(), at)
    };
    query.expanded(sale.sequel(at), "sequel", &sale)
}

/// What was paid of which invoice, newest first.
fn invoice_payments(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    let paging = ["created", "limit", "starting_after", "ending_before"];
    let known =
        [paging.as_slice(), &["invoice", "status", "payment[type]", "payment[payment_intent]"]]
            .concat();
    query.knows(&known)?;
    let paths = query.expansions("list of invoice_payment")?;
    let (invoice, kind, intent) =
        (query.one("invoice"), query.one("payment[type]"), query.one("payment[payment_intent]"));
    if intent.is_some() && kind.is_none() {
        return Err(errors::invalid(
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
        checkout.invoice().is_some_and(|own| invoice.is_none_or(|wanted| own == wanted))
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
        paths.iter().for_each(|path| query::expand(&mut payment, &path[1..], sale));
        payment
    });
    Ok(objects::list("/v1/invoice_payments", rows.collect(), has_more))
}

fn product(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "product")?;
    query.expanded(sale.product(&sale.checkout.lines[line]), "product", &sale)
}

fn price(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "price")?;
    query.expanded(sale.price(&sale.checkout.lines[line]), "price", &sale)
}

fn events(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&[
        "type",
        "types[]",
        "created",
        "delivery_success",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let created = query.created()?;
    let types: Vec<&str> = query.all("types[]").chain(query.one("type")).collect();
    if types.len() > TYPES_MAX || query.one("type").is_some() && types.len() > 1 {
        let message = "You may give one type, or up to 20 types[], not both.";
        return Err(errors::invalid("parameter_invalid", message, "types"));
    }
    let is = |kind: &str, wanted: &str| match wanted.split_once('*') {
        Some((before, after)) => kind.starts_with(before) && kind.ends_with(after),
        None => kind == wanted,
    };
    let success = match query.one("delivery_success") {
        None => None,
        Some(word) => Some(word.parse::<bool>().map_err(|_| {
            errors::invalid(
                "parameter_invalid",
                &format!("Invalid boolean: {word}"),
                "delivery_success",
            )
        })?),
    };
    let account = lock(account);
    let newest = |at: usize| account.events.len() - 1 - at;
    let place = |id: &str| match account.find(id) {
        Some(Found::Event(at)) if !account.events[at].is_thin() => Some(newest(at)),
        _ => None,
    };
    let wanted = |at: usize| {
        let event = &account.events[newest(at)];
        let answered = event.delivered > 0 || !event.wanted;
        !event.is_thin()
            && created(event.at.as_second())
            && success.is_none_or(|success| success == answered)
            && (types.is_empty() || types.iter().any(|wanted| is(&event.kind(), wanted)))
    };
    let (rows, has_more) = query.page(account.events.len(), place, wanted)?;
    let rows: Vec<Event> = rows.into_iter().map(|at| account.events[newest(at)].clone()).collect();
    drop(account);
    Ok(objects::list("/v1/events", rows.iter().map(Event::object).collect(), has_more))
}

fn event(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    query.knows(&[])?;
    let found = lock(account).event(id).filter(|event| !event.is_thin()).cloned();
    found.map(|event| event.object()).ok_or_else(|| errors::missing("event", id))
}

/// The sale that an id of this kind belongs to, and the line of it where the id is of one.
fn sale(account: &Mutex<Account>, id: &str, kind: &str) -> Result<(Sale, usize), Answer> {
    let account = lock(account);
    let (at, line) = match (kind, account.find(id)) {
        ("checkout.session", Some(Found::Session(at)))
        | ("payment_intent", Some(Found::PaymentIntent(at)))
        | ("charge", Some(Found::Charge(at))) => (at, 0),
        ("price", Some(Found::Price(at, line))) | ("product", Some(Found::Product(at, line))) => {
            (at, line)
        }
        _ => return Err(errors::missing(kind, id)),
    };
    Ok((account.sales[at].clone(), line))
}

/// Each endpoint's rate limit: a bucket that holds a second's worth.
pub struct Rates {
    per_s: f64,
    buckets: Mutex<HashMap<&'static str, (f64, Instant)>>,
}

impl Rates {
    /// 0 is no limit.
    pub fn new(per_s: u32) -> Rates {
        Rates { per_s: per_s.into(), buckets: Mutex::default() }
    }

    fn admit(&self, endpoint: &'static str, now: Instant) -> bool {
        let mut buckets = lock(&self.buckets);
        let (left, since) = buckets.entry(endpoint).or_insert((self.per_s, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * self.per_s).min(self.per_s);
        *since = now;
        let admitted = *left >= 1.0 || self.per_s == 0.0;
        if admitted {
            *left -= 1.0;
        }
        admitted
    }
}
