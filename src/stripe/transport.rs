//! One HTTPS request to Stripe at a time: paced, retried while that helps, stopped at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, StatusCode};

use super::PAGE;
use super::errors::{Failure, Head, Unreached, said};
use super::names::agent;
use super::pacing::{Pacer, pause_before};
use super::permissions::Permissions;
use crate::clock::{self, Timestamp};
use crate::config::StripeAccess;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::skew::Skew;
use crate::text;

/// The API version that every request names, so that answers do not change when Stripe's default
/// does.
const API_VERSION: &str = "2026-10-28.endive";

/// The largest answer that is read: a page of a hundred line items with their products is below 1
/// MiB.
const ANSWER_MAX: u64 = 8 << 20;

/// Tries of one request before the event waits and is tried again as a whole.
const TRIES: u32 = 3;

/// Tries of one request that is only answered 429: the pacer has slowed down meanwhile.
const TRIES_WHEN_BUSY: u32 = 8;

/// A pause ends this soon after fulfilld begins to stop.
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);

/// The connections to Stripe, and what its answers showed.
pub struct Transport {
    agent: ureq::Agent,
    access: StripeAccess,
    pacer: Pacer,
    /// What the key may not do.
    pub permissions: Permissions,
    metrics: Arc<Metrics>,
    /// Stripe's clock against ours.
    pub skew: Skew,
    /// fulfilld is stopping: no request is sent any more.
    stopping: AtomicBool,
}

/// What to get from Stripe.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    /// The endpoint's name, for pacing, permissions and metrics.
    pub endpoint: &'static str,
    /// From `/v1/` on.
    pub path: &'a str,
    /// The query's parameters.
    pub query: &'a [(&'static str, String)],
    /// What to expand: the most that is wanted first, and less in each that follows.
    pub expansions: &'a [&'a [&'a str]],
}

/// For [`Get::expansions`]: nothing is expanded.
pub const AS_IT_IS: &[&[&str]] = &[&[]];

/// How Stripe answered one request, for those who need that and not the object.
pub struct Looked {
    /// The HTTP status.
    pub status: u16,
    /// Stripe's clock, by the answer's `Date`.
    pub date: Option<Timestamp>,
    /// The error's code and Stripe's own sentence, without any key; empty where there is none.
    pub code: String,
    pub said: String,
    /// `Null` where the answer is not JSON.
    pub value: Value,
}

impl Transport {
    /// Connects nowhere yet.
    pub fn new(access: StripeAccess, metrics: Arc<Metrics>) -> Transport {
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
        Transport {
            agent: agent(config),
            pacer: Pacer::new(access.rate),
            access,
            permissions: Permissions::default(),
            metrics,
            skew: Skew::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// A page of a list, as [`Transport::get`].
    pub fn page(&self, get: Get) -> Result<Value> {
        let query: Vec<_> =
            get.query.iter().cloned().chain([("limit", PAGE.to_string())]).collect();
        self.get(Get { query: &query, ..get })
    }

    /// One request, retried while that may help. Where the key may not see all of an expansion, the
    /// next one is tried. `Temporary`: later. `Permanent`: never (404). `Config`: the key.
    /// `Forbidden`: the key lacks a permission that orders do not need; then the endpoint is left
    /// alone for a while.
    pub fn get(&self, get: Get) -> Result<Value> {
        let mut fewer = get.expansions.iter().peekable();
        while let Some(expand) = fewer.next() {
            let expand = expand.iter().map(|e| ("expand[]", e.to_string()));
            let query: Vec<_> = get.query.iter().cloned().chain(expand).collect();
            let is_last = fewer.peek().is_none();
            // Only the last says that the endpoint itself is forbidden.
            match self.request(get.endpoint, get.path, &query, is_last) {
                Err(failure) if failure.forbidden && !is_last => {
                    log::debug!("requesting less from Stripe: {}", failure.error);
                }
                answer => return answer.map_err(|f| f.error),
            }
        }
        unreachable!("the last expansion returns")
    }

    /// One request with one expansion; `plain`: a 403 is about the endpoint, not the expansion.
    fn request(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
        plain: bool,
    ) -> std::result::Result<Value, Failure> {
        let asked_at = Instant::now();
        if let Some(why) = self.permissions.refusal(endpoint, asked_at) {
            return Err(Failure::forbidden(why));
        }
        let mut tries = 0;
        loop {
            self.pause(self.pacer.next_turn(endpoint, Instant::now()));
            if self.is_shut_down() {
                return Err(Failure::stopping());
            }
            tries += 1;
            let failure = match self.send(endpoint, path, query) {
                Ok(value) => {
                    self.permissions.granted(endpoint);
                    return Ok(value);
                }
                Err(Failure { error, forbidden: true, .. })
                    if plain && Permissions::is_optional(endpoint) =>
                {
                    let (why, now) = (error.to_string(), Instant::now());
                    let why = self.permissions.denied(endpoint, why, asked_at, now);
                    return Err(Failure::forbidden(why));
                }
                Err(failure) => failure,
            };
            let busy = failure.busy;
            if busy {
                self.pacer.slow_down(endpoint, Instant::now());
            }
            if !failure.again || tries >= if busy { TRIES_WHEN_BUSY } else { TRIES } {
                return Err(failure);
            }
            log::debug!("retrying a request to Stripe ({tries}): {}", failure.error);
            self.pause(pause_before(tries));
        }
    }

    /// One request, sent once.
    fn send(
        &self,
        endpoint: &'static str,
        path: &str,
        query: &[(&'static str, String)],
    ) -> std::result::Result<Value, Failure> {
        let mut request = self.build(path);
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
        log::debug!("request to Stripe {path}: {head}");
        if head.status != StatusCode::OK {
            return Err(head.failure(&body));
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|e| Failure::retry(format!("Stripe's answer is not JSON: {e} ({head})")))?;
        if !value.is_object() {
            return Err(Failure::retry(format!("Stripe's answer is not a JSON object ({head})")));
        }
        self.pacer.speed_up(endpoint);
        Ok(value)
    }

    fn build(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        self.agent
            .get(format!("{}{path}", self.access.base_url))
            .header("Authorization", format!("Bearer {}", self.access.key.reveal()))
            .header("Stripe-Version", API_VERSION)
    }

    /// One request and how Stripe answers it: not paced, not retried, and a status is no error.
    pub fn look(&self, path: &str) -> std::result::Result<Looked, Unreached> {
        let asked = clock::since_boot();
        let mut answer = self.build(path).call().map_err(|e| Unreached::of(&e))?;
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

    /// Makes every request under way return at once, with an error, and every later one too.
    pub fn shut_down(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.agent.clone().shutdown();
    }

    /// True once no request is sent any more.
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
}

/// Stripe's clock, by an answer's Date header.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get("Date").and_then(|date| date.to_str().ok()).and_then(clock::from_http)
}
