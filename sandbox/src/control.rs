//! The sandbox's own controls under /_sandbox: purchases and what follows them, faults and counts,
//! in JSON.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api;
use crate::error::{Error, Result};
use crate::faults::Fault;
use crate::http::{Request, Response};
use crate::simulation::{Follow, SetStatus, Settle, Simulation, Trigger};
use crate::sync::lock;
use crate::world::sale::Kind;
use crate::world::webhook_endpoints::Replacement;

/// Where the controls are.
pub const ROOT: &str = "/_sandbox/";

/// Executes a control request. Every refusal is JSON with a sentence.
pub fn respond(simulation: &Simulation, request: &Request) -> Response {
    execute(simulation, request).unwrap_or_else(|error| {
        let status = if matches!(error, Error::Missing(_)) { 404 } else { 400 };
        Response::json(
            status,
            &json!({"error": {"message": error.to_string(), "type": "invalid_request_error"}}),
        )
    })
}

fn execute(simulation: &Simulation, request: &Request) -> Result<Response> {
    let path: Vec<&str> = request.path.strip_prefix(ROOT).unwrap_or_default().split('/').collect();
    let order = &request.body;
    let done = match (request.method.as_str(), path.as_slice()) {
        ("POST", ["trigger"]) => {
            json!({"purchases": simulation.trigger(&parse::<Trigger>(order)?)?})
        }
        ("POST", ["settle"]) => json!(simulation.settle(&parse::<Settle>(order)?)?),
        ("POST", ["capture"]) => json!(simulation.capture(&parse::<Follow>(order)?)?),
        ("POST", ["say"]) => {
            let saying = parse::<Saying>(order)?;
            let ids = lock(&simulation.account).say(&saying.id, saying.with);
            json!({"objects": ids})
        }
        ("POST", ["lapse"]) => json!(simulation.lapse(&parse::<Follow>(order)?)?),
        ("POST", ["renew"]) => json!(simulation.renew(&parse::<Follow>(order)?, false)?),
        ("POST", ["pay_again"]) => json!(simulation.renew(&parse::<Follow>(order)?, true)?),
        ("POST", ["refund"]) => json!(simulation.follow(Kind::Refund, &parse::<Follow>(order)?)?),
        ("POST", ["refunds", id]) => {
            json!(simulation.set_status(Kind::Refund, id, &parse::<SetStatus>(order)?)?)
        }
        ("POST", ["dispute"]) => json!(simulation.follow(Kind::Dispute, &parse::<Follow>(order)?)?),
        ("POST", ["disputes", id]) => {
            json!(simulation.set_status(Kind::Dispute, id, &parse::<SetStatus>(order)?)?)
        }
        ("POST", ["review"]) => json!(simulation.follow(Kind::Review, &parse::<Follow>(order)?)?),
        ("POST", ["reviews", id]) => {
            json!(simulation.set_status(Kind::Review, id, &parse::<SetStatus>(order)?)?)
        }
        ("POST", ["fraud_warning"]) => {
            json!(simulation.follow(Kind::FraudWarning, &parse::<Follow>(order)?)?)
        }
        ("POST", ["webhook"]) => {
            let webhook = parse::<Webhook>(order)?.url;
            simulation.deliver_to(webhook.as_deref())?;
            json!({"url": webhook})
        }
        ("POST", ["endpoint"]) => {
            lock(&simulation.account).webhook_endpoints.replace(parse::<Replacement>(order)?)?;
            json!({})
        }
        ("POST", ["clock"]) => {
            let skew_s = parse::<Clock>(order)?.skew_s;
            simulation.skew_s.store(skew_s, Ordering::Relaxed);
            json!({"skew_s": skew_s})
        }
        ("POST", ["secrets"]) => {
            let secrets = parse::<Secrets>(order)?.secrets;
            let signing = json!({"signing_with": secrets.len()});
            simulation.sign_with(secrets)?;
            signing
        }
        ("POST", ["faults"]) => json!({"faults": simulation.faults.add(check(parse(order)?)?)}),
        ("DELETE", ["faults"]) => json!({"ended": simulation.faults.end_all()}),
        ("GET", ["mutations"]) => json!({"mutations": simulation.faults.mutations()}),
        ("GET", ["stats"]) => simulation.stats.json(),
        ("DELETE", ["stats"]) => simulation.stats.zero(),
        ("GET", ["events"]) => events(simulation),
        ("GET", ["events", id, "body"]) => {
            let body = simulation
                .event_body(id)
                .ok_or_else(|| Error::Missing(format!("there is no event {id}")))?;
            return Ok(Response::raw(200, "application/json; charset=utf-8", body));
        }
        (method, _) => {
            return Err(Error::Missing(format!(
                "the sandbox has no {method} {}; it has POST trigger, settle, capture, lapse, renew, pay_again, say, \
                 refund, refunds/ID, dispute, disputes/ID, review, reviews/ID, fraud_warning, webhook, \
                 endpoint, clock, secrets and faults, GET stats, mutations, events and \
                 events/ID/body, DELETE faults and stats, under {ROOT}",
                request.path
            )));
        }
    };
    Ok(Response::json(200, &done))
}

/// The endpoint has moved; `null` is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    url: Option<String>,
}

/// From now on the API shows the object of that id with these fields changed, as RFC 7396 has it:
/// what Stripe documents and no scenario plays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saying {
    id: String,
    with: Value,
}

/// Stripe's clock, as its answers have it, is this far ahead of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    skew_s: i64,
}

/// The endpoint's secret is being rolled: deliveries bear a signature by each of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    secrets: Vec<String>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|e| Error::Refused(format!("the sandbox does not understand this request: {e}")))
}

fn check(fault: Fault) -> Result<Fault> {
    if fault.route != "*" && !api::names().any(|name| name == fault.route) {
        let names: Vec<_> = api::names().collect();
        return Err(Error::Refused(format!(
            "there is no route {}; there are *, {}",
            fault.route,
            names.join(", ")
        )));
    }
    if fault.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err(Error::Refused("a fault's status is 200 to 599".into()));
    }
    Ok(fault)
}

/// All events, oldest first, and how their deliveries went.
fn events(simulation: &Simulation) -> Value {
    let account = lock(&simulation.account);
    let rows = account.events.iter().map(|event| {
        json!({"id": event.id, "type": event.kind(), "session": event.sale.checkout.id, "delivered": event.delivered,
            "answers": event.answers})
    });
    json!({"data": Vec::from_iter(rows)})
}
