//! The sandbox's own controls under /_sandbox: purchases, settlements, faults and counts, in JSON.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::faults::Fault;
use super::http::{Answer, Request};
use super::{Settle, Simulation, Trigger, api};
use crate::error::{Error, Result};
use crate::locks::lock;

/// Where the controls are.
pub const ROOT: &str = "/_sandbox/";

/// Does what is asked. Every refusal is JSON with a sentence.
pub fn answer(simulation: &Simulation, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.strip_prefix(ROOT).unwrap_or_default().split('/').collect();
    let done = match (request.method.as_str(), path.as_slice()) {
        ("POST", ["trigger"]) => parse::<Trigger>(&request.body)
            .and_then(|order| simulation.trigger(&order))
            .map(|purchases| json!({"purchases": purchases})),
        ("POST", ["settle"]) => {
            parse::<Settle>(&request.body).and_then(|order| simulation.settle(&order)).map(|purchase| json!(purchase))
        }
        ("GET", ["events"]) => Ok(events(simulation)),
        ("GET", ["events", id, "body"]) => match simulation.event_body(id) {
            Some(body) => return Answer::raw(200, "application/json; charset=utf-8", body),
            None => Err(Error::Permanent(format!("there is no event {id}"))),
        },
        ("POST", ["faults"]) => parse(&request.body).and_then(check).map(|fault| simulation.faults.add(fault).into()),
        ("DELETE", ["faults"]) => Ok(simulation.faults.end_all().into()),
        ("GET", ["stats"]) => Ok(simulation.stats.json()),
        ("DELETE", ["stats"]) => Ok(simulation.stats.zero().into()),
        _ => Err(Error::Permanent(format!(
            "the sandbox has no {} {}; it has POST trigger, settle and faults, GET events, events/ID/body and stats, \
             DELETE faults and stats, under {ROOT}",
            request.method, request.path
        ))),
    };
    match done {
        Ok(Value::Null) => Answer::json(200, &json!({"done": true})),
        Ok(value) => Answer::json(200, &value),
        Err(error) => {
            let status = if matches!(error, Error::Permanent(_)) { 404 } else { 400 };
            Answer::json(status, &json!({"error": {"message": error.to_string(), "type": "invalid_request_error"}}))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::Usage(format!("the sandbox does not understand this order: {e}")))
}

fn check(fault: Fault) -> Result<Fault> {
    if fault.endpoint != "*" && !api::names().any(|name| name == fault.endpoint) {
        let names: Vec<_> = api::names().collect();
        return Err(Error::Usage(format!(
            "there is no endpoint {}; there are *, {}",
            fault.endpoint,
            names.join(", ")
        )));
    }
    if fault.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err(Error::Usage("a fault's status is 200 to 599".into()));
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
    json!({"data": rows.collect::<Vec<_>>()})
}
