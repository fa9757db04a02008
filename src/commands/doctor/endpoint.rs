//! The webhook endpoint as Stripe has it: there, enabled, once, and sending what the shop lives on.

use super::{Report, Shop, file, key};
use crate::config::{self, is_loopback};
use crate::endpoint::{Endpoint, Endpoints, Trouble};
use crate::handlers::{NEEDED, OF_HELD_MONEY, OF_TRANSFERS};
use crate::stripe::{Looked, Stripe};

/// Where endpoints are made and changed.
const WEBHOOKS: &str = "Stripe's Dashboard, Workbench, Webhooks";

/// The oldest version whose events are tried in the tests.
const OLDEST_VERSION: &str = "2019";

/// Reports an endpoint that is missing, disabled, duplicated, of the other mode, or lacks events.
pub fn check(shop: &Shop, stripe: &Stripe, livemode: bool, report: &mut Report) {
    if ["key_refused", "key_expired", "stripe_"].iter().any(|id| report.has(id)) {
        return;
    }
    let wanted = config::PUBLIC_URL.set().filter(|_| !report.has("public_url_odd"));
    let look = |path: &str| key::ask(stripe, path, report).ok_or(());
    // The report says why nothing could be requested.
    let Ok(endpoints) = Endpoints::list(wanted.as_deref(), look) else { return };
    let named = wanted.unwrap_or_else(|| "…/webhook".into());
    let mut unsent = Vec::new();
    match endpoints.trouble(&NEEDED) {
        Some(Trouble::NotShown(answer)) => return not_listed(answer, report),
        Some(Trouble::Missing) => return missing(&named, &endpoints.others, report),
        Some(Trouble::Disabled(endpoint)) => return disabled(endpoint, report),
        Some(Trouble::DoesNotSend(kinds)) => unsent = kinds,
        None => {}
    }
    let enabled = endpoints.enabled();
    let first = enabled[0];
    let before = report.lines.len();
    repeated(&enabled, report);
    missing_events(&unsent, report);
    held_money(shop, &endpoints, report);
    transfers(shop, &endpoints, report);
    at_large(&enabled, report);
    old_version(&enabled, report);
    other_mode(&enabled, livemode, report);
    if enabled.iter().any(|e| !e.url.starts_with("https://") && !is_loopback(&e.url)) {
        report.problem(
            "endpoint_not_https",
            format!("Stripe's endpoint is {}, which is not https", first.url),
            "Names and addresses travel in the clear, and live events are not sent there at all.",
            format!("{WEBHOOKS}, the endpoint, Edit: https://…"),
        );
    }
    if report.lines.len() == before {
        let shape = if first.thin { "thin" } else { "snapshot" };
        report.good(format!(
            "the endpoint {} is enabled and sends what fulfilld needs ({shape})",
            first.url
        ));
    }
}

fn missing(named: &str, others: &[Endpoint], report: &mut Report) {
    let instead: Vec<&str> =
        others.iter().map(|e| e.url.as_str()).filter(|url| !url.is_empty()).collect();
    let instead =
        if instead.is_empty() { String::new() } else { format!("; it has {}", instead.join(", ")) };
    report.problem(
        "endpoint_missing",
        format!("Stripe has no webhook endpoint for {named}{instead}"),
        "It posts nothing to this server, and orders come late or not at all.",
        format!("{WEBHOOKS}, Add destination: {named}, with the events of docs/operations.md"),
    );
}

fn disabled(endpoint: &Endpoint, report: &mut Report) {
    report.problem(
        "endpoint_disabled",
        format!("Stripe's endpoint {} for {} is disabled", endpoint.id, endpoint.url),
        "Nothing is posted; Stripe disables an endpoint that fails for days. What it would have \
         sent is not sent later.",
        format!("{WEBHOOKS}, the endpoint, Enable; then fix what made it fail"),
    );
}

fn not_listed(answer: &Looked, report: &mut Report) {
    report.advice(
        "endpoints_not_listed",
        format!("Stripe does not show this key its webhook endpoints ({}): {}", answer.status, answer.said),
        "Whether the endpoint is there, enabled and sends every event that is needed cannot be looked at.",
        "Stripe's Dashboard, Developers, API keys, the key, Edit key: Webhook Endpoints, Event Destinations, Read",
    );
}

fn repeated(enabled: &[&Endpoint], report: &mut Report) {
    let of = |thin: bool| {
        enabled.iter().filter(|e| e.thin == thin).map(|e| e.id.as_str()).collect::<Vec<_>>()
    };
    let (snapshots, thin) = (of(false), of(true));
    if snapshots.len() > 1 || thin.len() > 1 {
        let ids = if snapshots.len() > 1 { &snapshots } else { &thin };
        report.problem(
            "endpoint_twice",
            format!(
                "Stripe has {} endpoints for {}: {}",
                ids.len(),
                enabled[0].url,
                ids.join(", ")
            ),
            "Everything is posted twice, and what is signed with the secret that WEBHOOK_SECRET \
             has not is refused, until Stripe disables one of them.",
            format!("{WEBHOOKS}: delete all but the one whose signing secret is in WEBHOOK_SECRET"),
        );
    } else if !snapshots.is_empty() && !thin.is_empty() {
        report.advice(
            "endpoint_both_shapes",
            format!("Stripe sends snapshots and thin events to {}: {}, {}", enabled[0].url, snapshots[0], thin[0]),
            "That is right while you go from one to the other, with both signing secrets in WEBHOOK_SECRET.",
            format!("{WEBHOOKS}: delete the older one once the other has been seen to work"),
        );
    }
}

fn missing_events(missing: &[&str], report: &mut Report) {
    if !missing.is_empty() {
        report.problem(
            "endpoint_events_missing",
            format!("the endpoint does not send {}", missing.join(", ")),
            "Delayed payments, refunds, disputes or fraud go unseen, and such an order is sent or never sent.",
            format!("{WEBHOOKS}, the endpoint, Edit destination, Select events: {}", missing.join(", ")),
        );
    }
}

/// Money that was held once will be again: what reports its capture at once, and not with the next
/// look at Stripe's events.
fn held_money(shop: &Shop, endpoints: &Endpoints, report: &mut Report) {
    let held = has_orders(shop, "capture_method IS NOT NULL");
    let missing = endpoints.unsent(OF_HELD_MONEY);
    if held && !missing.is_empty() {
        report.advice(
            "endpoint_held_money",
            format!(
                "some of your payments are captured by hand, and the endpoint does not send {}",
                missing.join(", ")
            ),
            "A capture, or the end of a hold, is seen with the next look at Stripe's events, minutes later.",
            format!("{WEBHOOKS}, the endpoint, Edit destination, Select events: {}", missing.join(", ")),
        );
    }
}

/// A transfer that is awaited may come in parts: what reports each at once.
fn transfers(shop: &Shop, endpoints: &Endpoints, report: &mut Report) {
    let missing = endpoints.unsent(OF_TRANSFERS);
    if !missing.is_empty() && has_orders(shop, "amount_awaited IS NOT NULL") {
        report.advice(
            "endpoint_transfers",
            format!(
                "some of your buyers pay by bank transfer, and the endpoint does not send {}",
                missing.join(", ")
            ),
            "A part of a transfer is seen with the next look at Stripe's events, minutes later.",
            format!(
                "{WEBHOOKS}, the endpoint, Edit destination, Select events: {}",
                missing.join(", ")
            ),
        );
    }
}

/// True when the file has such an order. A file that cannot be read is reported elsewhere.
fn has_orders(shop: &Shop, condition: &str) -> bool {
    let sql = format!("SELECT EXISTS(SELECT 1 FROM orders WHERE {condition})");
    file::open(&shop.file).and_then(|c| c.query_row(&sql, [], |row| row.get(0))).unwrap_or(false)
}

fn at_large(enabled: &[&Endpoint], report: &mut Report) {
    if enabled.iter().any(|e| e.events.iter().any(|name| name == "*")) {
        report.advice(
            "endpoint_all_events",
            "the endpoint sends every type of event (*)",
            "What fulfilld has no use for is kept as ignored, and makes the file larger than it need be.",
            format!("{WEBHOOKS}, the endpoint, Edit destination: the events of docs/operations.md"),
        );
    }
}

fn old_version(enabled: &[&Endpoint], report: &mut Report) {
    let versions = enabled.iter().filter_map(|e| e.version.as_deref());
    if let Some(old) = versions.into_iter().find(|version| *version < OLDEST_VERSION) {
        report.advice(
            "endpoint_version_old",
            format!("the endpoint's events have the API version {old}"),
            "fulfilld is tried with versions from 2019 on; the object of an event is \
             requested in today's version.",
            format!(
                "{WEBHOOKS}: make a new endpoint for the same URL, put its secret beside the \
                     old one, then delete the old one"
            ),
        );
    }
}

fn other_mode(enabled: &[&Endpoint], livemode: bool, report: &mut Report) {
    let word = |live: bool| if live { "live" } else { "test" };
    if let Some(other) = enabled.iter().find(|e| e.livemode.is_some_and(|live| live != livemode)) {
        report.problem(
            "endpoint_mode_differs",
            format!(
                "the endpoint {} is a {} one, and the key is a {} key",
                other.id,
                word(!livemode),
                word(livemode)
            ),
            "Its events are kept as ignored: a file holds orders of one mode.",
            format!("{WEBHOOKS}, in {} mode: Add destination", word(livemode)),
        );
    }
}
