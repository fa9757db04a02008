//! Webhook endpoints, and the event destinations of the API's second version.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::query::{Query, Reply};
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::Account;
use crate::world::webhook_endpoints::{Shape, WebhookEndpoint};

/// `GET /v1/webhook_endpoints`: those that want snapshots.
pub fn webhook_endpoints(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["limit", "starting_after", "ending_before"])?;
    let account = lock(account);
    let all: Vec<&WebhookEndpoint> =
        account.webhook_endpoints.newest_first().filter(|e| e.payload != Shape::Thin).collect();
    let (rows, more) = query.page(all.len(), |id| all.iter().position(|e| e.id == id), |_| true)?;
    Ok(list("/v1/webhook_endpoints", rows.into_iter().map(|at| all[at].object()).collect(), more))
}

/// `GET /v2/core/event_destinations`: those that want thin events, on one page.
pub fn event_destinations(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&["limit", "include[]"])?;
    let with_url = query.all("include[]").any(|field| field == "webhook_endpoint.url");
    let account = lock(account);
    let thin = account.webhook_endpoints.newest_first().filter(|e| e.payload == Shape::Thin);
    let rows: Vec<Value> = thin.map(|endpoint| endpoint.destination(with_url)).collect();
    Ok(json!({"data": rows, "next_page_url": null, "previous_page_url": null}))
}
