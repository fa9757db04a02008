//! What Stripe can tell us: the table of event types, and one file a subject.
//!
//! An event is a doorbell, not the news: a handler reads from it only which object to look at, asks Stripe for that object
//! as it is now, and returns what it found. It holds no database connection.

mod checkout_session;
mod dispute;
mod fields;
mod fraud_warning;
mod payment;
mod payment_intent;
mod refund;
mod review;

use std::sync::LazyLock;

use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::stripe::Stripe;

/// What a handler found out.
#[derive(Debug)]
pub enum Outcome {
    /// A fact for the ledger.
    Change(Change),
    /// As much of it as can be kept, and what a person has to see to: the event is parked with that reason.
    InPart(Change, String),
    /// Nothing to do for the shop, and why.
    Ignore(String),
    /// Stripe is well but not that far yet, and why: to be asked again.
    NotYet(String),
}

/// Asks Stripe about an event's object. `Temporary` is tried again, `Permanent` parks the event, `Config` means the key,
/// `Forbidden` means that the key lacks a permission which orders can do without.
pub type Handler = fn(&Event, &Stripe) -> Result<Outcome>;

/// Every event type that is acted on, by its snapshot name; its thin twin has `v1.` in front. Any other is kept as `ignored`.
pub const TABLE: &[(&str, Handler)] = &[
    ("checkout.session.completed", checkout_session::changed),
    ("checkout.session.async_payment_succeeded", checkout_session::changed),
    ("checkout.session.async_payment_failed", checkout_session::changed),
    ("checkout.session.expired", checkout_session::expired),
    ("payment_intent.succeeded", payment_intent::changed),
    ("payment_intent.payment_failed", payment_intent::changed),
    ("payment_intent.canceled", payment_intent::changed),
    ("refund.created", refund::changed),
    ("refund.updated", refund::changed),
    ("refund.failed", refund::changed),
    ("charge.refund.updated", refund::changed),
    ("charge.refunded", refund::changed),
    ("charge.dispute.created", dispute::changed),
    ("charge.dispute.updated", dispute::changed),
    ("charge.dispute.closed", dispute::changed),
    ("charge.dispute.funds_withdrawn", dispute::changed),
    ("charge.dispute.funds_reinstated", dispute::changed),
    ("review.opened", review::changed),
    ("review.closed", review::changed),
    ("radar.early_fraud_warning.created", fraud_warning::changed),
    ("radar.early_fraud_warning.updated", fraud_warning::changed),
];

/// Types that say nothing which another of them does not say of the same payment: they are listened to a little later
/// (`FULFILLD_ECHO_AFTER`), when there is usually nothing left to ask. An endpoint without them loses nothing.
const ECHOES: &[&str] = &[
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// Types that say more than which object to look at, or lead to no question.
const MORE_THAN_A_BELL: &[&str] = &["checkout.session.expired", "checkout.session.async_payment_failed"];

/// True for an event that only echoes another.
pub fn is_an_echo(event: &Event) -> bool {
    ECHOES.contains(&event.name())
}

/// The types without which something could stay unknown: what an endpoint in Stripe should send, and what is fetched when it
/// did not arrive.
pub static NEEDED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let spare = |name: &&str| ECHOES.contains(name) || *name == "checkout.session.expired";
    TABLE.iter().map(|(name, _)| *name).filter(|name| !spare(name)).collect()
});

/// True for a type, as received, that only says which object to ask for.
pub fn is_a_doorbell(kind: &str) -> bool {
    let name = kind.strip_prefix("v1.").unwrap_or(kind);
    TABLE.iter().any(|(known, _)| *known == name) && !MORE_THAN_A_BELL.contains(&name)
}

/// Finds the handler and runs it.
pub fn handle(event: &Event, stripe: &Stripe) -> Result<Outcome> {
    if event.kind.is_empty() {
        return Err(Error::Permanent("the event has no type; look at its payload (fulfilld events show)".into()));
    }
    match TABLE.iter().find(|(name, _)| *name == event.name()) {
        Some((_, handler)) => handler(event, stripe),
        None => Ok(Outcome::Ignore(format!("this version does nothing on {}", event.name()))),
    }
}

/// The id of the event's object, or why the event cannot be worked on.
fn object_id(event: &Event) -> Result<&str> {
    event.object_id.as_deref().ok_or_else(|| {
        Error::Permanent("the event does not name its object; look at its payload (fulfilld events show)".into())
    })
}
