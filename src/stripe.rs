//! Asking Stripe: an HTTPS client that reads, paces itself, and turns every answer into a value or
//! one of our errors.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, StatusCode};

use crate::clock::{self, Timestamp};
use crate::config::StripeAccess;
use crate::error::{Error, Result};
use crate::event::is_object_id;
use crate::metrics::Metrics;
use crate::sabotage;
use crate::skew::Skew;
use crate::sync::lock;
use crate::text;

/// The API version that every question names, so that answers do not change when Stripe's default
/// does.
pub const API_VERSION: &str = "2026-10-28.endive";

/// The largest answer that is read: a page of a hundred line items with their products is below 1
/// MiB.
const ANSWER_MAX: u64 = 8 << 20;

/// Rows on one page, Stripe's maximum.
const PAGE: usize = 100;

/// Pages of one list, at most; Stripe permits a hundred lines in a session, this a hundred times as
/// many.
const PAGES_MAX: usize = 100;

/// Without these there are no orders: a 403 from one of them is the key's failure as a whole. From
/// any other it is a missing permission, which holds up what needs it and nothing else.
const VITAL: [&str; 3] = ["checkout_session", "checkout_sessions", "checkout_session_line_items"];

/// An endpoint that was answered 403 is not asked again for so long, however many events would like
/// to; twice as long after each further 403, up to the second figure: then a missing permission
/// costs at most 2,880 questions a month.
const FORBIDDEN_FOR: Duration = Duration::from_secs(30);
const FORBIDDEN_FOR_MAX: Duration = Duration::from_secs(15 * 60);

/// What waits for a permission is tried again so long after the endpoint may be asked again.
const FORBIDDEN_GRACE: Duration = Duration::from_secs(10);

/// Tries of one question before the event waits and is tried again as a whole.
const TRIES: u32 = 3;

/// Tries of one question that is only answered 429: the pacer has slowed down meanwhile.
const TRIES_WHEN_BUSY: u32 = 8;

/// What Stripe shows of something that orders can do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<T> {
    Seen(T),
    /// The key may not see it.
    Hidden,
    /// Stripe does not say.
    Unsaid,
}

/// An invoice that a payment pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
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

/// An answer, and the moment it was asked for.
pub struct Asked {
    pub at: Timestamp,
    pub value: Value,
}

/// How Stripe answers one question, for whoever wants to know that and not the object.
pub struct Looked {
    pub status: u16,
    /// Stripe's clock, by the answer's `Date`.
    pub date: Option<Timestamp>,
    /// The error's code and Stripe's own sentence, both empty where there is none. No key in it.
    pub code: String,
    pub said: String,
    /// `Null` where the answer is not JSON.
    pub value: Value,
}

/// Why nobody answered, with a sentence each.
#[derive(Debug)]
pub enum Unreached {
    NoSuchHost(String),
    Tls(String),
    Refused(String),
    TimedOut(String),
    /// Something was sent, and it is no HTTP.
    Garbage(String),
}

impl Unreached {
    /// `error` as what it means for whoever has to mend it.
    pub fn of(error: &ureq::Error) -> Unreached {
        let why = text::clean(&error.to_string());
        match error {
            ureq::Error::HostNotFound => Unreached::NoSuchHost(why),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Unreached::Tls(why),
            ureq::Error::Timeout(ureq::Timeout::Resolve) => Unreached::NoSuchHost(why),
            ureq::Error::Timeout(_) => Unreached::TimedOut(why),
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                Unreached::Refused(why)
            }
            // rustls tells of bad certificates, and of a partner that speaks no TLS, through these.
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Unreached::Tls(why)
            }
            // The C library's resolver has no kind of its own for it.
            ureq::Error::Io(_) if why.contains("lookup address") => Unreached::NoSuchHost(why),
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => Unreached::Refused(why),
            _ => Unreached::Garbage(why),
        }
    }

    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Unreached::NoSuchHost(why)
            | Unreached::Tls(why)
            | Unreached::Refused(why)
            | Unreached::TimedOut(why)
            | Unreached::Garbage(why) => why,
        }
    }
}

/// The client. Clones share connections and pace.
#[derive(Clone)]
pub struct Stripe {
    agent: ureq::Agent,
    access: Arc<StripeAccess>,
    paces: Arc<Mutex<HashMap<&'static str, Pace>>>,
    forbidden: Arc<Mutex<BTreeMap<&'static str, Forbidden>>>,
    metrics: Arc<Metrics>,
    skew: Arc<Skew>,
    /// The first sessions that were not the shop's, by their ids.
    others: Arc<Mutex<BTreeSet<String>>>,
    /// fulfilld is stopping: nothing is asked any more.
    stopping: Arc<AtomicBool>,
}

/// A pause ends this soon after fulfilld is told to stop.
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);

/// So many sessions of others are remembered.
pub const OTHERS_MAX: usize = 3;

/// What Stripe lists, newest first, and by when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Events of these types, at most 20; Stripe keeps them for 30 days.
    Events(&'static [&'static str]),
    /// Completed Checkout Sessions.
    Sessions,
    Refunds,
    Disputes,
    Reviews,
    FraudWarnings,
}

impl Listed {
    /// The endpoint's name, its path, and what is asked beside the time.
    fn question(self) -> (&'static str, &'static str, Vec<(&'static str, String)>) {
        match self {
            Listed::Events(types) => (
                "events",
                "/v1/events",
                types.iter().map(|name| ("types[]", name.to_string())).collect(),
            ),
            Listed::Sessions => (
                "checkout_sessions",
                "/v1/checkout/sessions",
                vec![("status", "complete".to_string())],
            ),
            Listed::Refunds => ("refunds", "/v1/refunds", Vec::new()),
            Listed::Disputes => ("disputes", "/v1/disputes", Vec::new()),
            Listed::Reviews => ("reviews", "/v1/reviews", Vec::new()),
            Listed::FraudWarnings => {
                ("early_fraud_warnings", "/v1/radar/early_fraud_warnings", Vec::new())
            }
        }
    }

    /// What Stripe calls one row: its `object`.
    fn object(self) -> &'static str {
        match self {
            Listed::Events(_) => "event",
            Listed::Sessions => "checkout.session",
            Listed::Refunds => "refund",
            Listed::Disputes => "dispute",
            Listed::Reviews => "review",
            Listed::FraudWarnings => "radar.early_fraud_warning",
        }
    }
}

/// What Stripe said when the key lacked a permission, when it was last asked, and for how long it
/// is not asked again.
struct Forbidden {
    why: String,
    at: Instant,
    pause: Duration,
}

impl Forbidden {
    fn now(why: String) -> Forbidden {
        Forbidden { why, at: Instant::now(), pause: FORBIDDEN_FOR }
    }

    /// How long it is not asked from now on.
    fn left(&self) -> Duration {
        self.pause.saturating_sub(self.at.elapsed())
    }
}

impl Stripe {
    pub fn new(access: StripeAccess, metrics: Arc<Metrics>) -> Stripe {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(access.timeout))
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_resolve(Some(Duration::from_secs(5)))
            // A status is an answer, not a failure; a redirect of an API is a mistake, and would
            // carry the key elsewhere.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .https_only(access.base_url.starts_with("https://"))
            .proxy(if access.base_url.starts_with("https://") {
                ureq::Proxy::try_from_env()
            } else {
                None
            })
            .max_idle_connections_per_host(32)
            .user_agent(concat!("fulfilld/", env!("CARGO_PKG_VERSION")))
            .build();
        Stripe {
            agent: config.into(),
            access: Arc::new(access),
            paces: Arc::default(),
            forbidden: Arc::default(),
            metrics,
            skew: Arc::default(),
            others: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Stripe's clock against ours, as far as its answers have told.
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// How long what waits for a permission may wait before it is tried again.
    pub fn forbidden_pause(&self) -> Duration {
        lock(&self.forbidden).values().map(Forbidden::left).max().unwrap_or(FORBIDDEN_FOR)
            + FORBIDDEN_GRACE
    }

    /// The permissions that the key turned out to lack and has not shown since, one sentence an
    /// endpoint.
    pub fn forbidden(&self) -> Vec<String> {
        lock(&self.forbidden).values().map(|forbidden| forbidden.why.clone()).collect()
    }

    /// Why a session is not the shop's by `FULFILLD_ONLY`; `None` when it is.
    pub fn not_the_shops(&self, session: &Value) -> Option<String> {
        let only = self.access.only.as_ref()?;
        let said = session.pointer(&only.pointer).and_then(Value::as_str);
        let ours = said.is_some_and(|said| only.values.iter().any(|value| value == said));
        let mut others = lock(&self.others);
        if !ours && others.len() < OTHERS_MAX {
            others.extend(session["id"].as_str().map(String::from));
        }
        (!ours).then(|| format!("the session is not of FULFILLD_ONLY={}", only.setting))
    }

    /// How many sessions were somebody else's so far; what `only.rs` makes of them needs no more
    /// than a few.
    pub fn sessions_of_others(&self) -> usize {
        lock(&self.others).len()
    }

    /// A Checkout Session as it is now, with its payment intent and all its line items with their
    /// products, whatever their number: one question up to ten lines, then one more for each
    /// further hundred.
    pub fn checkout_session(&self, id: &str) -> Result<Asked> {
        let id = checked(id)?;
        let at = clock::now();
        let path = format!("/v1/checkout/sessions/{id}");
        // A key that may not read all of it still gets the order, with less in it.
        let wishes: [&[&str]; 5] = [
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
        let mut value = self.with_fewer_wishes("checkout_session", &path, &[], &wishes)?;
        is_the_one(&value, "checkout.session", id)?;
        let lines = value.get_mut("line_items").map(Value::take).unwrap_or_default();
        let wishes: [&[&str]; 2] = [&["data.price.product"], &[]];
        let lines = self.rest_of(
            ("checkout_session_line_items", "item"),
            &format!("{path}/line_items"),
            &[],
            &wishes,
            lines,
        )?;
        value["line_items"] = Value::Array(lines);
        Ok(Asked { at, value })
    }

    /// The Checkout Session of a payment intent; `None` when it was not made by Checkout, or for a
    /// subscription, whose session names its invoice instead.
    pub fn session_of_payment_intent(&self, payment_intent: &str) -> Result<Option<Value>> {
        let query =
            [("payment_intent", checked(payment_intent)?.to_string()), ("limit", "1".to_string())];
        let list =
            self.get("checkout_sessions", "/v1/checkout/sessions", &query).map_err(|f| f.error)?;
        let first = page_of(list)?.0.into_iter().next();
        let theirs = |session: &Value| {
            is_row(session, "checkout.session")
                && session["payment_intent"].as_str() == Some(payment_intent)
        };
        match first {
            Some(session) if !theirs(&session) => Err(Error::Temporary(format!(
                "Stripe was asked for the session of {payment_intent} and lists another"
            ))),
            first => Ok(first),
        }
    }

    /// The payment intent that paid an invoice, else one that is to pay it; `None` where Stripe
    /// shows none yet.
    pub fn payment_intent_of_invoice(&self, invoice: &str) -> Result<Sight<Option<String>>> {
        let payments = match self.invoice_payments(&[("invoice", checked(invoice)?.to_string())])? {
            Sight::Seen(payments) => payments,
            Sight::Hidden => return Ok(Sight::Hidden),
            Sight::Unsaid => return Ok(Sight::Unsaid),
        };
        let by = |payment: &Value| id_at(payment, "/payment/payment_intent");
        // An attempt that failed, or was given up, stays in the list.
        let rank = |payment: &Value| match payment["status"].as_str() {
            Some("paid") => 0,
            Some("canceled") => 2,
            _ => 1,
        };
        let best = payments
            .iter()
            .filter(|payment| by(payment).is_some())
            .min_by_key(|payment| rank(payment));
        Ok(Sight::Seen(best.and_then(by)))
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

    /// A hundred of them at most, which are more than any invoice has.
    fn invoice_payments(&self, query: &[(&'static str, String)]) -> Result<Sight<Vec<Value>>> {
        let query: Vec<_> = query.iter().cloned().chain([("limit", PAGE.to_string())]).collect();
        let wishes: [&[&str]; 2] = [&["data.invoice"], &[]];
        match self.with_fewer_wishes("invoice_payments", "/v1/invoice_payments", &query, &wishes) {
            Ok(list) => Ok(Sight::Seen(page_of(list)?.0)),
            Err(Error::Forbidden(why)) => {
                log::warn!("which payment paid an invoice cannot be seen: {why}");
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
    pub fn charge(&self, id: &str) -> Result<Asked> {
        self.object("charge", "charge", "/v1/charges", id)
    }

    /// A refund as it is now.
    pub fn refund(&self, id: &str) -> Result<Asked> {
        self.object("refund", "refund", "/v1/refunds", id)
    }

    /// All the refunds of a payment, as an array.
    pub fn refunds_of(&self, payment_intent: &str) -> Result<Asked> {
        let at = clock::now();
        let query = [("payment_intent", checked(payment_intent)?.to_string())];
        let wishes: [&[&str]; 2] = [&["data.failure_balance_transaction"], &[]];
        let first = self.page("refunds", "/v1/refunds", &query, &wishes)?;
        let value = Value::Array(self.rest_of(
            ("refunds", "refund"),
            "/v1/refunds",
            &query,
            &wishes,
            first,
        )?);
        Ok(Asked { at, value })
    }

    /// A dispute as it is now.
    pub fn dispute(&self, id: &str) -> Result<Asked> {
        self.object("dispute", "dispute", "/v1/disputes", id)
    }

    /// A review as it is now.
    pub fn review(&self, id: &str) -> Result<Asked> {
        self.object("review", "review", "/v1/reviews", id)
    }

    /// An early fraud warning as it is now.
    pub fn fraud_warning(&self, id: &str) -> Result<Asked> {
        self.object(
            "early_fraud_warning",
            "radar.early_fraud_warning",
            "/v1/radar/early_fraud_warnings",
            id,
        )
    }

    /// Goes through a list from the newest to the oldest that was made at `since` or later, page by
    /// page; `look` takes each page. Only when this returns well was all of it seen: a list that
    /// breaks off, or leads back to where it was, is `Temporary`. Each row that is handed over is
    /// of the list's kind and has an id that may stand in a path; a row that is not holds up no
    /// other, it is left out. Returns how many were.
    pub fn list(
        &self,
        listed: Listed,
        since: Timestamp,
        mut look: impl FnMut(Vec<Value>) -> Result<()>,
    ) -> Result<usize> {
        let (endpoint, path, mut query) = listed.question();
        query.push(("created[gte]", since.as_second().to_string()));
        let mut ends = HashSet::new();
        let mut next = query.clone();
        let mut unreadable = 0;
        loop {
            let (mut rows, more) = page_of(self.page(endpoint, path, &next, &[&[]])?)?;
            let all = rows.len();
            rows.retain(|row| is_row(row, listed.object()));
            unreadable += all - rows.len();
            let last =
                rows.last().and_then(|row| row.get("id")).and_then(Value::as_str).map(String::from);
            let goes_on = last.filter(|last| ends.insert(last.clone()));
            // What was made earlier is somebody else's to take in, also when a list shows more than
            // was asked for.
            rows.retain(|row| {
                row["created"].as_i64().is_none_or(|created| created >= since.as_second())
            });
            look(rows)?;
            match (more, goes_on) {
                (false, _) => return Ok(unreadable),
                (true, Some(last)) => {
                    next = query.iter().cloned().chain([("starting_after", last)]).collect()
                }
                (true, None) => {
                    return Err(Error::Temporary(format!(
                        "Stripe's list {path} leads back to where it was"
                    )));
                }
            }
        }
    }

    fn object(&self, endpoint: &'static str, object: &str, path: &str, id: &str) -> Result<Asked> {
        let id = checked(id)?;
        let at = clock::now();
        let value = self.get(endpoint, &format!("{path}/{id}"), &[]).map_err(|f| f.error)?;
        is_the_one(&value, object, id)?;
        Ok(Asked { at, value })
    }

    /// Follows a list of such objects from its first page to its end. One row that is none makes
    /// all of it `Temporary`.
    fn rest_of(
        &self,
        (endpoint, object): (&'static str, &str),
        path: &str,
        query: &[(&'static str, String)],
        wishes: &[&[&str]],
        first: Value,
    ) -> Result<Vec<Value>> {
        let (mut rows, mut more) = page_of(first)?;
        for _ in 0..PAGES_MAX {
            if !rows.iter().all(|row| is_row(row, object)) {
                return Err(Error::Temporary(format!(
                    "Stripe's list {path} has a row that is no {object}"
                )));
            }
            if !more {
                return Ok(rows);
            }
            let mut query = query.to_vec();
            if let Some(last) = rows.last().and_then(|l| l.get("id")).and_then(Value::as_str) {
                query.push(("starting_after", last.to_string()));
            }
            let (next, has_more) = page_of(self.page(endpoint, path, &query, wishes)?)?;
            // A page that brings nothing new would be asked for for ever.
            if has_more && next.is_empty() {
                return Err(Error::Temporary(format!(
                    "Stripe's list {path} says there is more and sends none"
                )));
            }
            rows.extend(next);
            more = has_more;
        }
        Err(Error::Permanent(format!(
            "Stripe's list {path} has more than {} rows",
            PAGE * PAGES_MAX
        )))
    }

    fn page(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
        wishes: &[&[&str]],
    ) -> Result<Value> {
        let query: Vec<_> = query.iter().cloned().chain([("limit", PAGE.to_string())]).collect();
        self.with_fewer_wishes(endpoint, path, &query, wishes)
    }

    /// Asks for everything wished; where the key may not see it, for less and less.
    fn with_fewer_wishes(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
        wishes: &[&[&str]],
    ) -> Result<Value> {
        let mut fewer = wishes.iter().peekable();
        while let Some(expand) = fewer.next() {
            let expand = expand.iter().map(|e| ("expand[]", e.to_string()));
            let query: Vec<_> = query.iter().cloned().chain(expand).collect();
            // Only what is asked for without a wish says that the endpoint itself is forbidden.
            match self.question(endpoint, path, &query, fewer.peek().is_none()) {
                Err(failure) if failure.forbidden && fewer.peek().is_some() => {
                    log::debug!("asking Stripe for less: {}", failure.error);
                }
                answer => return answer.map_err(|f| f.error),
            }
        }
        unreachable!("the last wish returns")
    }

    /// One question, tried again while that may help. `Temporary`: later. `Permanent`: never (404).
    /// `Config`: the key. `Forbidden`: the key lacks a permission that orders do not need; then it
    /// is not asked again for a while.
    fn get(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
    ) -> std::result::Result<Value, Failure> {
        self.question(endpoint, path, query, true)
    }

    /// The same; `plain`: a 403 is about the endpoint, not about an expansion that was wished for.
    fn question(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
        plain: bool,
    ) -> std::result::Result<Value, Failure> {
        let asked_at = Instant::now();
        if let Some(forbidden) = lock(&self.forbidden).get_mut(endpoint) {
            if !forbidden.left().is_zero() {
                return Err(Failure::forbidden(forbidden.why.clone()));
            }
            // One question shows whether it is granted; the others go on waiting for the answer.
            forbidden.at = asked_at;
        }
        let mut tries = 0;
        loop {
            self.wait_for_turn(endpoint);
            if self.is_shut_down() {
                return Err(Failure::stopping());
            }
            tries += 1;
            let failure = match self.ask(endpoint, path, query) {
                Ok(value) => {
                    lock(&self.forbidden).remove(endpoint);
                    return Ok(value);
                }
                Err(failure) if failure.forbidden && plain && !VITAL.contains(&endpoint) => {
                    let mut forbidden = lock(&self.forbidden);
                    // The first sentence stays: the later ones differ in the request's id alone.
                    let known = forbidden.contains_key(endpoint);
                    let since = forbidden
                        .entry(endpoint)
                        .or_insert_with(|| Forbidden::now(failure.error.to_string()));
                    // Longer only by the question that was to show it: the answers to a burst all
                    // say the same.
                    if known && since.at == asked_at {
                        since.pause = (since.pause * 2).min(FORBIDDEN_FOR_MAX);
                    }
                    since.at = Instant::now();
                    return Err(Failure::forbidden(since.why.clone()));
                }
                Err(failure) => failure,
            };
            let busy = failure.busy;
            if busy {
                self.pace(endpoint, Pace::slow_down);
            }
            if !failure.again || tries >= if busy { TRIES_WHEN_BUSY } else { TRIES } {
                return Err(failure);
            }
            log::debug!("asking Stripe again ({tries}): {}", failure.error);
            self.pause(pause_before(tries));
        }
    }

    fn ask(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
    ) -> std::result::Result<Value, Failure> {
        let url = format!("{}{path}", self.access.base_url);
        let mut request = self
            .agent
            .get(&url)
            .header("Authorization", format!("Bearer {}", self.access.key.reveal()))
            .header("Stripe-Version", API_VERSION);
        for (name, value) in query {
            request = request.query(name, value);
        }
        let asked = clock::since_boot();
        let answer = request.call();
        let answered = clock::since_boot();
        let status = answer.as_ref().map(|a| a.status().as_u16()).unwrap_or(0);
        self.metrics.stripe_answered(endpoint, status);
        let mut answer = answer.map_err(|e| Failure::of("Stripe could not be reached", e))?;
        if let Some(date) = date_of(answer.headers()) {
            self.skew.note(date, asked, answered);
        }
        let head = Head::of(answer.status(), answer.headers());
        let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let body =
            body.map_err(|e| Failure::of(&format!("Stripe's answer broke off ({head})"), e))?;
        log::debug!("asked Stripe {path}: {head}");
        if head.status != StatusCode::OK {
            return Err(head.failure(&body));
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|e| Failure::retry(format!("Stripe's answer is not JSON: {e} ({head})")))?;
        if !value.is_object() {
            return Err(Failure::retry(format!("Stripe's answer is not a JSON object ({head})")));
        }
        self.pace(endpoint, Pace::speed_up);
        Ok(value)
    }

    /// Asks once and looks at how Stripe answers: no pace, no second try, and a status is no error.
    pub fn look(&self, path: &str) -> std::result::Result<Looked, Unreached> {
        let asked = clock::since_boot();
        let answer = self
            .agent
            .get(format!("{}{path}", self.access.base_url))
            .header("Authorization", format!("Bearer {}", self.access.key.reveal()))
            .header("Stripe-Version", API_VERSION)
            .call();
        let mut answer = answer.map_err(|e| Unreached::of(&e))?;
        let date = date_of(answer.headers());
        if let Some(date) = date {
            self.skew.note(date, asked, clock::since_boot());
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX)
            .read_to_vec()
            .map_err(|e| Unreached::of(&e))?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = value
            .pointer("/error/code")
            .and_then(Value::as_str)
            .map(text::clean)
            .unwrap_or_default();
        Ok(Looked { status: answer.status().as_u16(), date, code, said: said(&value), value })
    }

    /// Makes every question under way return at once, with an error, and every later one too; for
    /// stopping.
    pub fn shut_down(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.agent.clone().shutdown();
    }

    /// True once nothing is asked any more.
    pub fn is_shut_down(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits this long, or until fulfilld stops.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_shut_down() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STOP_SEEN_WITHIN));
        }
    }

    fn pace(&self, endpoint: &'static str, change: fn(&mut Pace)) {
        let mut paces = lock(&self.paces);
        change(paces.entry(endpoint).or_insert_with(|| Pace::new(self.access.rate)));
    }

    /// Waits until this endpoint may be asked again.
    fn wait_for_turn(&self, endpoint: &'static str) {
        let wait = {
            let mut paces = lock(&self.paces);
            paces
                .entry(endpoint)
                .or_insert_with(|| Pace::new(self.access.rate))
                .next_turn(Instant::now())
        };
        self.pause(wait);
    }
}

/// One endpoint's pace: a turn every 1/rate seconds, slower after a 429, and slowly up to the
/// permitted rate again.
struct Pace {
    rate: f64,
    rate_max: f64,
    next: Option<Instant>,
    slowed: Option<Instant>,
}

impl Pace {
    fn new(rate_max: f64) -> Pace {
        Pace { rate: rate_max, rate_max, next: None, slowed: None }
    }

    /// Books the next turn and says how long it is away.
    fn next_turn(&mut self, now: Instant) -> Duration {
        let turn = self.next.map_or(now, |next| next.max(now));
        self.next = Some(turn + Duration::from_secs_f64(1.0 / self.rate));
        turn - now
    }

    /// Halves the rate, once a second at most: the answers to a burst all say the same.
    fn slow_down(&mut self) {
        if self.slowed.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            self.rate = (self.rate / 2.0).max(1.0);
            self.slowed = Some(Instant::now());
        }
    }

    fn speed_up(&mut self) {
        self.rate = (self.rate + 0.1).min(self.rate_max);
    }
}

/// What a failed question means for the next try.
struct Failure {
    error: Error,
    again: bool,
    /// 429: too many at once.
    busy: bool,
    /// 403: the key may not see all of it.
    forbidden: bool,
}

impl Failure {
    /// The connection failed. After a time-out the event waits as a whole: asking again at once
    /// would hold a worker.
    fn of(what: &str, error: ureq::Error) -> Failure {
        let again = !matches!(error, ureq::Error::Timeout(_));
        Failure { again, ..Failure::retry(format!("{what}: {error}")) }
    }

    fn forbidden(why: String) -> Failure {
        Failure { error: Error::Forbidden(why), again: false, busy: false, forbidden: true }
    }

    fn stopping() -> Failure {
        Failure { again: false, ..Failure::retry("fulfilld is stopping".into()) }
    }

    fn retry(why: String) -> Failure {
        Failure {
            error: Error::Temporary(text::clean(&why)),
            again: true,
            busy: false,
            forbidden: false,
        }
    }
}

/// What matters of an answer's head, and how it is named in a log.
struct Head {
    status: StatusCode,
    request_id: String,
    should_retry: Option<bool>,
    rate_limited: String,
}

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Head {
        let text = |name: &str| {
            text::clean(
                &headers
                    .get(name)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default()
                    .chars()
                    .take(80)
                    .collect::<String>(),
            )
        };
        Head {
            status,
            request_id: text("Request-Id"),
            should_retry: text("Stripe-Should-Retry").parse().ok(),
            rate_limited: text("Stripe-Rate-Limited-Reason"),
        }
    }

    /// Stripe's status as one of our errors (docs.stripe.com/api/errors); `Stripe-Should-Retry`
    /// wins.
    fn failure(&self, body: &[u8]) -> Failure {
        let said = said(&serde_json::from_slice(body).unwrap_or_default());
        let (error, again) = match self.status.as_u16() {
            401 => (
                Error::Config(format!(
                    "Stripe refuses the key in STRIPE_SECRET_KEY: {said} ({self})"
                )),
                false,
            ),
            403 => (
                Error::Config(format!(
                    "the key in STRIPE_SECRET_KEY lacks a permission: {said} ({self})"
                )),
                false,
            ),
            404 => (Error::Permanent(format!("Stripe has no such object: {said} ({self})")), false),
            409 | 429 | 500.. => {
                (Error::Temporary(format!("Stripe is busy or failing: {said} ({self})")), true)
            }
            300..=399 => (
                Error::Temporary(format!(
                    "Stripe's API redirects, which it never does; is FULFILLD_STRIPE_API right? ({self})"
                )),
                false,
            ),
            _ => (Error::Permanent(format!("Stripe refuses the question: {said} ({self})")), false),
        };
        Failure {
            error,
            again: self.should_retry.unwrap_or(again),
            busy: self.status == StatusCode::TOO_MANY_REQUESTS,
            forbidden: self.status == StatusCode::FORBIDDEN,
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if !self.rate_limited.is_empty() {
            write!(f, " {}", self.rate_limited)?;
        }
        if !self.request_id.is_empty() {
            write!(f, ", request {}", self.request_id)?;
        }
        Ok(())
    }
}

/// The sentence of Stripe's error. Stripe names keys only shortened; still nothing that looks like
/// one is passed on.
fn said(answer: &Value) -> String {
    let said = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let said = text::clean(said);
    said.split(' ')
        .filter(|w| !w.contains("_live_") && !w.contains("_test_"))
        .take(40)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Stripe's clock, as an answer's head tells it.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get("Date").and_then(|date| date.to_str().ok()).and_then(clock::from_http)
}

/// An id that may stand in a path or a question; else `Permanent`, wherever it came from.
fn checked(id: &str) -> Result<&str> {
    if is_object_id(id) {
        return Ok(id);
    }
    Err(Error::Permanent(format!("{} is no id that Stripe could be asked for", text::clean(id))))
}

/// `Temporary` unless the answer is the object that was asked for: half an answer, or somebody
/// else's, is no fact.
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
        "Stripe was asked for the {object} {id} and answered something else"
    )))
}

/// True for a row of a list that is such an object and says which.
fn is_row(row: &Value, object: &str) -> bool {
    row["object"] == object && row["id"].as_str().is_some_and(is_object_id)
}

/// An id in an answer, whether Stripe gives it as such or, expanded, as an object.
fn id_at(value: &Value, pointer: &str) -> Option<String> {
    let value = value.pointer(pointer)?;
    value.as_str().or_else(|| value.get("id")?.as_str()).map(String::from)
}

/// A list's rows and whether there are more; a list that is not one is tried again later, never
/// taken for an empty one.
fn page_of(mut list: Value) -> Result<(Vec<Value>, bool)> {
    let is_list = list["object"] == "list";
    match (list.get_mut("data").map(Value::take), list.get("has_more").and_then(Value::as_bool)) {
        (Some(Value::Array(rows)), Some(more)) if is_list => Ok((rows, more)),
        _ => {
            Err(Error::Temporary("Stripe's list is no list, or has no data or no has_more".into()))
        }
    }
}

/// Half a second, one, two …, shortened by up to half at random.
fn pause_before(tries: u32) -> Duration {
    let full = 0.5 * 2f64.powi(tries.min(4) as i32 - 1);
    Duration::from_secs_f64(full * (0.5 + 0.5 * fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spaced_and_slow_down_after_a_429() {
        let mut pace = Pace::new(20.0);
        let now = Instant::now();
        let waits: Vec<_> = (0..41).map(|_| pace.next_turn(now).as_millis()).collect();
        assert_eq!((waits[0], waits[1], waits[40]), (0, 50, 2000));
        pace.slow_down();
        pace.slow_down();
        assert_eq!(pace.rate, 10.0);
        for _ in 0..200 {
            pace.speed_up();
        }
        assert_eq!(pace.rate, 20.0);
    }

    #[test]
    fn a_status_says_what_to_do_next() {
        let failure = |status: u16, retry: Option<bool>| {
            let head = Head {
                status: StatusCode::from_u16(status).unwrap(),
                request_id: "req_1".into(),
                should_retry: retry,
                rate_limited: String::new(),
            };
            head.failure(
                br#"{"error":{"message":"Invalid API Key provided: sk_live_abc\u001b[31m"}}"#,
            )
        };
        for (status, again, kind) in [
            (401, false, 'c'),
            (403, false, 'c'),
            (404, false, 'p'),
            (400, false, 'p'),
            (409, true, 't'),
            (429, true, 't'),
            (500, true, 't'),
            (302, false, 't'),
        ] {
            let f = failure(status, None);
            let is = match f.error {
                Error::Config(_) => 'c',
                Error::Permanent(_) => 'p',
                _ => 't',
            };
            assert_eq!((f.again, is), (again, kind), "{status}");
            assert!(
                !f.error.to_string().contains("sk_live_abc")
                    && !f.error.to_string().contains('\u{1b}')
            );
        }
        assert!(!failure(500, Some(false)).again && failure(400, Some(true)).again);
    }

    #[test]
    fn a_list_that_is_not_one_is_never_taken_for_an_empty_one() {
        assert!(
            page_of(serde_json::json!({"object": "list", "data": [], "has_more": false})).is_ok()
        );
        for odd in [
            serde_json::json!({}),
            serde_json::json!({"object": "list", "data": []}),
            serde_json::json!({"object": "list", "data": {}, "has_more": false}),
            serde_json::json!({"object": "dispute", "data": [], "has_more": false}),
            Value::Null,
        ] {
            assert!(page_of(odd).is_err());
        }
    }
}
