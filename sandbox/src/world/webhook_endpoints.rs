//! Where the account's events go: its webhook endpoints, and which events each wants.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::checkout::random_id;
use crate::error::{Error, Result};

/// Which of Stripe's two shapes of event are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Snapshot,
    Thin,
    Both,
}

impl FromStr for Shape {
    type Err = Error;

    /// `Refused` for any other word.
    fn from_str(word: &str) -> Result<Shape> {
        match word {
            "snapshot" => Ok(Shape::Snapshot),
            "thin" => Ok(Shape::Thin),
            "both" => Ok(Shape::Both),
            _ => Err(Error::Refused(format!(
                "{word} is no shape of event; it is snapshot, thin or both"
            ))),
        }
    }
}

/// Every type of event that the sandbox makes; an endpoint gets all of them unless it names some.
pub const EVENT_TYPES: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.amount_capturable_updated",
    "payment_intent.partially_funded",
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

/// One webhook endpoint, as `POST /_sandbox/endpoint` takes it. What is not said is as usual.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEndpoint {
    pub url: String,
    #[serde(default)]
    pub status: Status,
    enabled_events: Option<Vec<String>>,
    /// The API version of its events; `None` is the account's.
    pub api_version: Option<String>,
    /// Snapshot or thin; `both` is two endpoints.
    #[serde(default = "snapshot")]
    pub payload: Shape,
    #[serde(default)]
    pub livemode: bool,
    #[serde(skip)]
    pub id: String,
}

/// Whether an endpoint gets events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// The endpoints that replace all others: one, several, or with `null` none.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Replacement {
    One(WebhookEndpoint),
    Several(Vec<WebhookEndpoint>),
    None(()),
}

/// All of them, in the order in which they were made.
#[derive(Default)]
pub struct WebhookEndpoints(Vec<WebhookEndpoint>);

impl WebhookEndpoints {
    /// Replaces all endpoints. `Refused` when one has no URL; then the old ones stay.
    pub fn replace(&mut self, replacement: Replacement) -> Result<()> {
        let endpoints = match replacement {
            Replacement::One(endpoint) => vec![endpoint],
            Replacement::Several(endpoints) => endpoints,
            Replacement::None(()) => Vec::new(),
        };
        if let Some(odd) = endpoints.iter().find(|endpoint| !is_url(&endpoint.url)) {
            return Err(Error::Refused(format!(
                "{} is no URL to deliver to; one is http://127.0.0.1:4242/webhook",
                odd.url
            )));
        }
        let made = endpoints.into_iter().flat_map(|endpoint| match endpoint.payload {
            Shape::Both => {
                vec![
                    WebhookEndpoint { payload: Shape::Snapshot, ..endpoint.clone() },
                    WebhookEndpoint { payload: Shape::Thin, ..endpoint },
                ]
            }
            _ => vec![endpoint],
        });
        self.0 = made.map(WebhookEndpoint::with_id).collect();
        Ok(())
    }

    /// One enabled endpoint for everything, at this URL; `None` is none. `Refused` when it is no
    /// URL.
    pub fn deliver_to(&mut self, url: Option<&str>, payload: Shape) -> Result<()> {
        self.replace(Replacement::Several(Vec::from_iter(url.map(|url| WebhookEndpoint {
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

    /// All of them, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &WebhookEndpoint> {
        self.0.iter().rev()
    }

    /// Where an event of this type goes: to the first that is enabled and wants it.
    pub fn url_for(&self, kind: &str) -> Option<String> {
        let wants = |e: &&WebhookEndpoint| {
            e.status == Status::Enabled && e.wants(kind.trim_start_matches("v1."))
        };
        self.0.iter().find(wants).map(|endpoint| endpoint.url.clone())
    }
}

impl WebhookEndpoint {
    fn with_id(self) -> WebhookEndpoint {
        let id = if self.payload == Shape::Thin {
            random_id("ed_test_61", 40)
        } else {
            random_id("we_1", 23)
        };
        WebhookEndpoint { id, ..self }
    }

    fn wants(&self, kind: &str) -> bool {
        let wanted = |name: &String| name == "*" || name.trim_start_matches("v1.") == kind;
        self.enabled_events
            .as_ref()
            .map_or(EVENT_TYPES.contains(&kind), |names| names.iter().any(wanted))
    }

    /// As an endpoint of its payload lists them.
    pub fn events(&self) -> Vec<String> {
        let prefix = if self.payload == Shape::Thin { "v1." } else { "" };
        let all = || EVENT_TYPES.iter().map(|kind| format!("{prefix}{kind}")).collect();
        self.enabled_events.clone().unwrap_or_else(all)
    }
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
