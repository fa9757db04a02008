//! Stripe's API: the paths under /v1 that fulfilld asks, with Stripe's paging, filters, expansion, keys and rate limit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

use super::account::{Account, Event, Found};
use super::checkout::random_id;
use super::errors;
use super::http::{Answer, Request};
use super::objects::{self, Sale, VERSION};
use crate::locks::lock;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
const TYPES_MAX: usize = 20;
const LEVELS_MAX: usize = 4; // of an expansion

type Reply = Result<Value, Answer>;

/// Answers a question about an account; the text is the path's id.
type Endpoint = fn(&Mutex<Account>, &Query, &str) -> Reply;

/// Every endpoint: its name in faults and statistics, its path, its answer.
const ENDPOINTS: &[(&str, &str, Endpoint)] = &[
    ("checkout_sessions", "/v1/checkout/sessions", sessions),
    ("checkout_session", "/v1/checkout/sessions/{id}", session),
    ("checkout_session_line_items", "/v1/checkout/sessions/{id}/line_items", line_items),
    ("payment_intent", "/v1/payment_intents/{id}", payment_intent),
    ("charge", "/v1/charges/{id}", charge),
    ("product", "/v1/products/{id}", product),
    ("price", "/v1/prices/{id}", price),
    ("events", "/v1/events", events),
    ("event", "/v1/events/{id}", event),
];

/// What can be expanded in what, and what it is then. A price and a shipping cost come whole: they are a way through.
const EXPANDABLE: &[(&str, &str, &str)] = &[
    ("list of checkout.session", "data", "checkout.session"),
    ("checkout.session", "line_items", "list of item"),
    ("checkout.session", "payment_intent", "payment_intent"),
    ("checkout.session", "shipping_cost", "shipping_cost"),
    ("shipping_cost", "shipping_rate", "shipping_rate"),
    ("list of item", "data", "item"),
    ("item", "price", "price"),
    ("price", "product", "product"),
    ("payment_intent", "latest_charge", "charge"),
    ("charge", "payment_intent", "payment_intent"),
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
    let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{} {}", request.path, query.join("&"), key(request).unwrap_or_default())
}

/// The right answer.
pub fn answer(account: &Mutex<Account>, request: &Request, rates: &Rates) -> Answer {
    let answered = match route(request) {
        _ if !accepted(key(request)) => Err(errors::unauthorized(key(request))),
        Some((name, ..)) if !rates.admit(name, Instant::now()) => Err(errors::rate_limited()),
        Some((_, endpoint, id)) => endpoint(account, &Query::of(request), id),
        None => Err(errors::unknown_path(&request.method, &request.path)),
    };
    answered.map_or_else(|refusal| refusal, |value| Answer::json(200, &value))
}

/// The headers on everything that the API answers.
pub fn stamped(answer: Answer, request: &Request) -> Answer {
    let version = request.header("Stripe-Version").unwrap_or(VERSION);
    answer.with("Request-Id", random_id("req_", 14)).with("Stripe-Version", version)
}

/// What stands behind `Bearer`.
pub fn key(request: &Request) -> Option<&str> {
    request.header("Authorization")?.strip_prefix("Bearer ").map(str::trim).filter(|key| !key.is_empty())
}

fn accepted(key: Option<&str>) -> bool {
    key.is_some_and(|key| key.starts_with("sk_test_") || key.starts_with("rk_test_"))
}

fn route(request: &Request) -> Option<(&'static str, Endpoint, &str)> {
    if request.method != "GET" {
        return None;
    }
    ENDPOINTS.iter().find_map(|(name, pattern, endpoint)| {
        let (before, after) = pattern.split_once("{id}").unwrap_or((pattern, ""));
        let id = request.path.strip_prefix(before)?.strip_suffix(after)?;
        let fits = if pattern.contains("{id}") { !id.is_empty() && !id.contains('/') } else { id.is_empty() };
        fits.then_some((*name, *endpoint, id))
    })
}

fn sessions(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["payment_intent", "status", "created", "limit", "starting_after", "ending_before"])?;
    let paths = query.expansions("list of checkout.session")?;
    let (created, status) = (query.created()?, query.one("status"));
    if let Some(odd) = status.filter(|s| !matches!(*s, "open" | "complete" | "expired")) {
        let message = format!("Invalid status: must be one of open, complete, or expired; was {odd}");
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
        created(sale.checkout.created)
            && status.is_none_or(|status| status == sale.status())
            && intent.is_none_or(|found| matches!(found, Some(Found::PaymentIntent(of)) if of == newest(at)))
    };
    let (rows, has_more) = page(query, account.sales.len(), place, wanted)?;
    let sales: Vec<Sale> = rows.into_iter().map(|at| account.sales[newest(at)].clone()).collect();
    drop(account);
    let rows = sales.iter().map(|sale| {
        let mut session = sale.session();
        paths.iter().for_each(|path| expand(&mut session, &path[1..], sale));
        session
    });
    Ok(objects::list("/v1/checkout/sessions", rows.collect(), has_more))
}

fn session(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let sale = sale(account, id, "checkout.session")?.0;
    query.expanded(sale.session(), "checkout.session", &sale)
}

fn line_items(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    query.knows(&["limit", "starting_after", "ending_before"])?;
    let sale = sale(account, id, "checkout.session")?.0;
    let total = sale.checkout.lines.len();
    let (rows, more) = page(query, total, |id| (0..total).find(|at| sale.checkout.line_id(*at) == id), |_| true)?;
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

fn product(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "product")?;
    query.expanded(sale.product(&sale.checkout.lines[line]), "product", &sale)
}

fn price(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    let (sale, line) = sale(account, id, "price")?;
    query.expanded(sale.price(&sale.checkout.lines[line]), "price", &sale)
}

fn events(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["type", "types[]", "created", "delivery_success", "limit", "starting_after", "ending_before"])?;
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
            errors::invalid("parameter_invalid", &format!("Invalid boolean: {word}"), "delivery_success")
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
    let (rows, has_more) = page(query, account.events.len(), place, wanted)?;
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
        ("price", Some(Found::Price(at, line))) | ("product", Some(Found::Product(at, line))) => (at, line),
        _ => return Err(errors::missing(kind, id)),
    };
    Ok((account.sales[at].clone(), line))
}

/// Stripe's paging by cursor over rows in the list's order: the places of the rows on this page, and whether there are
/// more in its direction. `place` finds a cursor's row.
fn page(
    query: &Query,
    total: usize,
    place: impl Fn(&str) -> Option<usize>,
    wanted: impl Fn(usize) -> bool,
) -> Result<(Vec<usize>, bool), Answer> {
    let limit = match query.whole("limit")? {
        None => LIMIT_DEFAULT,
        Some(limit) if (1..=LIMIT_MAX as i64).contains(&limit) => limit as usize,
        Some(limit) => {
            let bound = if limit < 1 { "greater than or equal to 1" } else { "less than or equal to 100" };
            let message = format!("This value must be {bound} (it currently is '{limit}').");
            return Err(errors::invalid("parameter_invalid_integer", &message, "limit"));
        }
    };
    let cursor = |name: &str| match query.one(name).map(|id| (id, place(id))) {
        Some((id, None)) => Err(errors::invalid("resource_missing", &format!("No such object: '{id}'"), name)),
        found => Ok(found.and_then(|(_, at)| at)),
    };
    let (after, before) = (cursor("starting_after")?, cursor("ending_before")?);
    let mut rows: Vec<usize> = match (after, before) {
        (Some(_), Some(_)) => {
            let message = "You may only specify one of these parameters: ending_before, starting_after.";
            return Err(errors::invalid("parameter_invalid", message, "starting_after"));
        }
        (None, Some(before)) => (0..before).rev().filter(|at| wanted(*at)).take(limit + 1).collect(),
        (after, None) => (after.map_or(0, |at| at + 1)..total).filter(|at| wanted(*at)).take(limit + 1).collect(),
    };
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    if before.is_some() {
        rows.reverse();
    }
    Ok((rows, has_more))
}

/// Puts what an id stands for in its place, along a path that was checked.
fn expand(value: &mut Value, path: &[&str], sale: &Sale) {
    let Some((field, rest)) = path.split_first() else {
        return;
    };
    if let Some(rows) = value.get_mut("data").and_then(Value::as_array_mut) {
        return rows.iter_mut().for_each(|row| expand(row, rest, sale));
    }
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let slot = object.entry(*field).or_insert(Value::Null);
    let whole = match *field {
        "line_items" if slot.is_null() => sale.first_lines(),
        "payment_intent" if slot.is_string() => sale.payment_intent(),
        "latest_charge" if slot.is_string() => sale.charge(),
        "shipping_rate" if slot.is_string() => sale.shipping_rate(),
        "product" => {
            let line = sale.checkout.lines.iter().find(|line| *slot == line.product_id());
            line.map_or_else(|| slot.take(), |line| sale.product(line))
        }
        _ => slot.take(),
    };
    *slot = whole;
    expand(slot, rest, sale);
}

/// A request's parameters; `expand[0]` counts as `expand[]`.
struct Query<'a>(Vec<(String, &'a str)>);

impl<'a> Query<'a> {
    fn of(request: &'a Request) -> Query<'a> {
        let unnumbered = |name: &str| match name.split_once('[') {
            Some((list, index)) if index.trim_end_matches(']').parse::<u32>().is_ok() => format!("{list}[]"),
            _ => name.to_string(),
        };
        Query(request.query.iter().map(|(name, value)| (unnumbered(name), value.as_str())).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| *value)
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// Refuses what is none of these.
    fn knows(&self, names: &[&str]) -> Result<(), Answer> {
        let known = |name: &str| {
            name == "expand[]" || names.contains(&name) || name.starts_with("created[") && names.contains(&"created")
        };
        match self.0.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => {
                Err(errors::invalid("parameter_unknown", &format!("Received unknown parameter: {name}"), name))
            }
            None => Ok(()),
        }
    }

    fn whole(&self, name: &str) -> Result<Option<i64>, Answer> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| errors::invalid("parameter_invalid_integer", &format!("Invalid integer: {text}"), name))
        };
        self.one(name).map(number).transpose()
    }

    /// True for a time that `created` and its bounds permit.
    fn created(&self) -> Result<impl Fn(i64) -> bool + use<>, Answer> {
        let (at, gt, gte) = (self.whole("created")?, self.whole("created[gt]")?, self.whole("created[gte]")?);
        let (lt, lte) = (self.whole("created[lt]")?, self.whole("created[lte]")?);
        Ok(move |time: i64| {
            at.is_none_or(|at| time == at)
                && gt.is_none_or(|gt| time > gt)
                && gte.is_none_or(|gte| time >= gte)
                && lt.is_none_or(|lt| time < lt)
                && lte.is_none_or(|lte| time <= lte)
        })
    }

    /// The wished expansions of an object of this kind as paths, or Stripe's refusal.
    fn expansions(&self, kind: &'static str) -> Result<Vec<Vec<&'a str>>, Answer> {
        self.all("expand[]").map(|path| checked(kind, path)).collect()
    }

    /// An object with its wishes fulfilled.
    fn expanded(&self, mut value: Value, kind: &'static str, sale: &Sale) -> Reply {
        for path in self.expansions(kind)? {
            expand(&mut value, &path, sale);
        }
        Ok(value)
    }
}

fn checked<'a>(kind: &'static str, path: &'a str) -> Result<Vec<&'a str>, Answer> {
    let fields: Vec<&str> = path.split('.').collect();
    if fields.len() > LEVELS_MAX {
        let message = format!("You cannot expand more than 4 levels of a property. Property: {path}");
        return Err(errors::invalid("parameter_invalid", &message, "expand"));
    }
    let inside = |kind: &str, field: &str| EXPANDABLE.iter().find(|(of, name, _)| *of == kind && *name == field);
    let mut at = kind;
    for field in &fields {
        let Some((.., inner)) = inside(at, field) else {
            let mut message = format!("This property cannot be expanded ({field}).");
            if inside(at, "data").is_some_and(|(.., row)| inside(row, field).is_some()) {
                message += &format!(" You may want to try expanding 'data.{field}' instead.");
            }
            return Err(errors::invalid("parameter_invalid", &message, "expand"));
        };
        at = inner;
    }
    Ok(fields)
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
