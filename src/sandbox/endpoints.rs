//! Where the account's events go: its webhook endpoints and event destinations; and lists that
//! fulfilld reads nothing from.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shape;
use super::account::{Account, Event};
use super::checkout::{SHOP_OPENED, random_id};
use super::objects::{self, Sale, VERSION};
use super::query::{Query, Reply};
use crate::clock;
use crate::error::{Error, Result};
use crate::sync::lock;
use crate::text;

/// Everything that the sandbox tells, which an endpoint hears unless it says otherwise.
pub const EVENT_TYPES: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "review.opened",
    "review.closed",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
];

/// What a restricted key of the sandbox may not read: by endpoint, and the permission in Stripe's
/// words.
const UNGRANTED: &[(&str, &str)] = &[
    ("customers", "Customers Read ('customer_read')"),
    ("payouts", "Payouts Read ('payout_read')"),
];

/// The permission that this key lacks for an endpoint: a restricted key has what fulfilld reads and
/// no more.
pub fn lacks(key: Option<&str>, endpoint: &str) -> Option<&'static str> {
    let restricted = key.is_some_and(|key| key.starts_with("rk_"));
    UNGRANTED
        .iter()
        .find(|(name, _)| restricted && *name == endpoint)
        .map(|(_, permission)| *permission)
}

/// One endpoint, as `POST /_sandbox/endpoint` takes it. What is not said is as usual.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    url: String,
    #[serde(default)]
    status: Status,
    enabled_events: Option<Vec<String>>,
    api_version: Option<String>,
    /// Snapshot or thin; `both` is two endpoints.
    #[serde(default = "snapshot")]
    payload: Shape,
    #[serde(default)]
    livemode: bool,
    #[serde(skip)]
    id: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// One, several, or with `null` none any more.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Order {
    One(Endpoint),
    Several(Vec<Endpoint>),
    None(()),
}

/// All of them, in the order in which they were made.
#[derive(Default)]
pub struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// These instead of those before. `Usage` when one has no URL, and then those before stay.
    pub fn replace(&mut self, order: Order) -> Result<()> {
        let endpoints = match order {
            Order::One(endpoint) => vec![endpoint],
            Order::Several(endpoints) => endpoints,
            Order::None(()) => Vec::new(),
        };
        if let Some(odd) = endpoints.iter().find(|endpoint| !is_url(&endpoint.url)) {
            let odd = text::clean(&odd.url);
            return Err(Error::Usage(format!(
                "{odd} is no URL to deliver to; one is http://127.0.0.1:4242/webhook"
            )));
        }
        let made = endpoints.into_iter().flat_map(|endpoint| match endpoint.payload {
            Shape::Both => {
                vec![
                    Endpoint { payload: Shape::Snapshot, ..endpoint.clone() },
                    Endpoint { payload: Shape::Thin, ..endpoint },
                ]
            }
            _ => vec![endpoint],
        });
        self.0 = made.map(Endpoint::with_id).collect();
        Ok(())
    }

    /// One enabled endpoint for everything, at this URL; `None` is none. `Usage` when it is no URL.
    pub fn deliver_to(&mut self, url: Option<&str>, payload: Shape) -> Result<()> {
        self.replace(Order::Several(Vec::from_iter(url.map(|url| Endpoint {
            url: url.into(),
            status: Status::Enabled,
            enabled_events: None,
            api_version: None,
            payload,
            livemode: false,
            id: String::new(),
        }))))
    }

    /// True when one of them is enabled.
    pub fn any_enabled(&self) -> bool {
        self.0.iter().any(|endpoint| endpoint.status == Status::Enabled)
    }

    /// The shape that they want, where there are any.
    pub fn shape(&self) -> Option<Shape> {
        let first = self.0.first()?.payload;
        Some(if self.0.iter().all(|endpoint| endpoint.payload == first) {
            first
        } else {
            Shape::Both
        })
    }

    /// Where an event goes: to the first that is enabled and wants its type.
    pub fn url_for(&self, event: &Event) -> Option<String> {
        let kind = event.kind();
        let wants =
            |e: &&Endpoint| e.status == Status::Enabled && e.wants(kind.trim_start_matches("v1."));
        self.0.iter().find(wants).map(|endpoint| endpoint.url.clone())
    }
}

impl Endpoint {
    fn with_id(self) -> Endpoint {
        let id = if self.payload == Shape::Thin {
            random_id("ed_test_61", 40)
        } else {
            random_id("we_1", 23)
        };
        Endpoint { id, ..self }
    }

    fn wants(&self, kind: &str) -> bool {
        let wanted = |name: &String| name == "*" || name.trim_start_matches("v1.") == kind;
        self.enabled_events
            .as_ref()
            .map_or(EVENT_TYPES.contains(&kind), |names| names.iter().any(wanted))
    }

    /// As an endpoint of its payload lists them.
    fn events(&self) -> Vec<String> {
        let prefix = if self.payload == Shape::Thin { "v1." } else { "" };
        let all = || EVENT_TYPES.iter().map(|kind| format!("{prefix}{kind}")).collect();
        self.enabled_events.clone().unwrap_or_else(all)
    }

    /// A `webhook_endpoint` of the API's first version.
    fn object(&self) -> Value {
        json!({
            "id": self.id, "object": "webhook_endpoint", "api_version": self.api_version, "application": null,
            "created": SHOP_OPENED, "description": null, "enabled_events": self.events(), "livemode": self.livemode,
            "metadata": {}, "status": self.status, "url": self.url,
        })
    }

    /// A `v2.core.event_destination`; the URL is there when it was asked for.
    fn destination(&self, with_url: bool) -> Value {
        let at = clock::from_unix(SHOP_OPENED).map(clock::text);
        json!({
            "id": self.id, "object": "v2.core.event_destination", "created": at, "description": "",
            "enabled_events": self.events(), "event_payload": self.payload, "events_from": ["self"],
            "livemode": self.livemode, "metadata": {}, "name": "the shop",
            "snapshot_api_version": (self.payload == Shape::Snapshot).then(|| self.api_version.as_deref().unwrap_or(VERSION)),
            "status": self.status, "status_details": null, "type": "webhook_endpoint", "updated": at,
            "webhook_endpoint": with_url.then(|| json!({"signing_secret": null, "url": self.url})),
        })
    }
}

/// `GET /v1/webhook_endpoints`: those that want snapshots.
pub fn webhook_endpoints(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["limit", "starting_after", "ending_before"])?;
    let account = lock(account);
    let all: Vec<&Endpoint> =
        account.endpoints.0.iter().rev().filter(|e| e.payload != Shape::Thin).collect();
    let (rows, more) = query.page(all.len(), |id| all.iter().position(|e| e.id == id), |_| true)?;
    Ok(objects::list(
        "/v1/webhook_endpoints",
        rows.into_iter().map(|at| all[at].object()).collect(),
        more,
    ))
}

/// `GET /v2/core/event_destinations`: those that want thin events, on one page.
pub fn event_destinations(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["limit", "include[]"])?;
    let with_url = query.all("include[]").any(|field| field == "webhook_endpoint.url");
    let account = lock(account);
    let thin = account.endpoints.0.iter().rev().filter(|e| e.payload == Shape::Thin);
    let rows: Vec<Value> = thin.map(|endpoint| endpoint.destination(with_url)).collect();
    Ok(json!({"data": rows, "next_page_url": null, "previous_page_url": null}))
}

/// `GET /v1/balance`: the shop has been paid out.
pub fn balance(_: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&[])?;
    Ok(json!({"object": "balance", "available": [], "livemode": false, "pending": []}))
}

/// A list of what a shop on Checkout has none of: `GET /v1/payouts`, and customers that nobody
/// kept.
pub fn nothing(path: &'static str, query: &Query) -> Reply {
    query.knows(&["created", "limit", "starting_after", "ending_before"])?;
    let (_, more) = query.page(0, |_| None, |_| true)?;
    Ok(objects::list(path, Vec::new(), more))
}

/// One object of each sale that has one, newest first.
pub fn of_sales(
    path: &'static str,
    account: &Mutex<Account>,
    query: &Query,
    object: fn(&Sale) -> Option<Value>,
) -> Reply {
    query.knows(&["created", "limit", "starting_after", "ending_before"])?;
    let created = query.created()?;
    let sales = lock(account).sales.clone();
    let mut all: Vec<Value> = sales.iter().rev().filter_map(object).collect();
    let mut seen = std::collections::HashSet::new();
    // Products, prices and ways of shipping are the same in many sales.
    all.retain(|one| seen.insert(one["id"].to_string()));
    let wanted = |at: usize| created(all[at]["created"].as_i64().unwrap_or_default());
    let (rows, more) =
        query.page(all.len(), |id| all.iter().position(|one| one["id"] == id), wanted)?;
    Ok(objects::list(path, rows.into_iter().map(|at| all[at].clone()).collect(), more))
}

/// Something that can be posted to.
fn is_url(url: &str) -> bool {
    let url: Option<ureq::http::Uri> = url.parse().ok();
    url.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
    })
}

fn snapshot() -> Shape {
    Shape::Snapshot
}
