//! What Stripe can report: the table of event types, and one file a subject.
//!
//! A handler reads from an event only which object to look at, requests that object from Stripe as
//! it is now, and returns what it found. It holds no database connection.

mod checkout_session;
mod dispute;
pub mod fields;
mod fraud_warning;
mod payment;
mod payment_intent;
mod refund;
mod review;

use std::sync::LazyLock;

pub use dispute::times_moved;

use crate::change::Change;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::reason::{Code, Reason};
use crate::stripe::Stripe;

/// What a handler found out.
#[derive(Debug)]
pub enum Handled {
    /// A fact for the ledger.
    Change(Change),
    /// As much of it as can be kept, and what a person has to see to: the event is parked with that
    /// reason.
    InPart(Change, String),
    /// A fact in which something is missing that Stripe will show, and what: it is stored, and
    /// requested about again.
    Unfinished(Change, Missing),
    /// Nothing to do for the shop, and why.
    Ignore(Reason),
    /// Nothing to do until an order has this payment, which Stripe shows no session of; and why.
    Await { payment: String, why: Reason },
    /// Stripe works but does not show it yet, and why: to be requested again.
    NotYet(String),
}

/// What an answer does not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing, for people.
    pub why: String,
    /// Of what: an invoice, a payment, or a session.
    pub of: String,
    /// The key may not see it: it is requested again as after a missing permission.
    pub hidden: bool,
}

/// What is to be looked at: an object, and the events about it. One answer serves them all.
pub struct Look<'a> {
    events: Vec<&'a Event>,
}

impl<'a> Look<'a> {
    /// Of one event or more about the same object ([`one_request`]).
    pub fn of(events: impl IntoIterator<Item = &'a Event>) -> Look<'a> {
        let events: Vec<&Event> = events.into_iter().collect();
        assert!(!events.is_empty(), "there is something to look at");
        Look { events }
    }

    /// The id of the object, or why it cannot be looked at.
    pub fn object_id(&self) -> Result<&'a str> {
        self.events[0].object_id.as_deref().ok_or_else(|| {
            Error::Permanent(
                "the event does not name its object; look at its payload (fulfilld events show)"
                    .into(),
            )
        })
    }

    /// The last event of that type, by its snapshot name: a few types say more than which object to
    /// look at.
    pub fn event(&self, name: &str) -> Option<&'a Event> {
        self.events.iter().rev().copied().find(|event| event.name() == name)
    }
}

/// What an event is about: what is requested, and how the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Session,
    /// A session that was abandoned; nothing is requested.
    Expired,
    Payment,
    Refunds,
    Dispute,
    Review,
    FraudWarning,
}

impl Subject {
    /// Asks Stripe about the object. `Temporary` is tried again, `Permanent` parks the events,
    /// `Config` means the key, `Forbidden` means that the key lacks a permission which orders can
    /// do without.
    fn ask(self, look: &Look, stripe: &Stripe) -> Result<Handled> {
        match self {
            Subject::Session => checkout_session::changed(look, stripe),
            Subject::Expired => checkout_session::expired(),
            Subject::Payment => payment_intent::changed(look, stripe),
            Subject::Refunds => refund::changed(look, stripe),
            Subject::Dispute => dispute::changed(look, stripe),
            Subject::Review => review::changed(look, stripe),
            Subject::FraudWarning => fraud_warning::changed(look, stripe),
        }
    }
}

/// Every event type that is acted on, by its snapshot name; its thin twin has `v1.` in front. Any
/// other is kept as `ignored`.
pub const TABLE: &[(&str, Subject)] = &[
    ("checkout.session.completed", Subject::Session),
    ("checkout.session.async_payment_succeeded", Subject::Session),
    ("checkout.session.async_payment_failed", Subject::Session),
    ("checkout.session.expired", Subject::Expired),
    ("payment_intent.amount_capturable_updated", Subject::Payment),
    ("payment_intent.partially_funded", Subject::Payment),
    ("payment_intent.succeeded", Subject::Payment),
    ("payment_intent.payment_failed", Subject::Payment),
    ("payment_intent.canceled", Subject::Payment),
    ("refund.created", Subject::Refunds),
    ("refund.updated", Subject::Refunds),
    ("refund.failed", Subject::Refunds),
    ("charge.refund.updated", Subject::Refunds),
    ("charge.refunded", Subject::Refunds),
    ("charge.dispute.created", Subject::Dispute),
    ("charge.dispute.updated", Subject::Dispute),
    ("charge.dispute.closed", Subject::Dispute),
    ("charge.dispute.funds_withdrawn", Subject::Dispute),
    ("charge.dispute.funds_reinstated", Subject::Dispute),
    ("review.opened", Subject::Review),
    ("review.closed", Subject::Review),
    ("radar.early_fraud_warning.created", Subject::FraudWarning),
    ("radar.early_fraud_warning.updated", Subject::FraudWarning),
];

/// Types that say nothing which another of them does not say of the same payment: they are listened
/// to a little later (`FULFILLD_ECHO_AFTER`), when there is usually nothing left to request. An
/// endpoint without them loses nothing.
const ECHOES: &[&str] = &[
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// Types about money that is only held: it may be captured, captured in part, or let go. An
/// endpoint need not send them: they are listed, and looked at where an order waits for its money.
pub const OF_HELD_MONEY: &[&str] = &[
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.canceled",
];

/// The same of money that a buyer sends in parts.
pub const OF_TRANSFERS: &[&str] = &["payment_intent.partially_funded"];

/// Types that say more than which object to look at, or lead to no request.
const MORE_THAN_AN_OBJECT: &[&str] =
    &["checkout.session.expired", "checkout.session.async_payment_failed"];

/// True for a type that matters only where an order waits for its money.
pub fn is_about_awaited_money(name: &str) -> bool {
    OF_HELD_MONEY.contains(&name) || OF_TRANSFERS.contains(&name)
}

/// True for an event that only echoes another.
pub fn is_an_echo(event: &Event) -> bool {
    ECHOES.contains(&event.name())
}

/// The types without which something could stay unknown: what an endpoint in Stripe should send,
/// and what is fetched when it did not arrive.
pub static NEEDED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let spare = |name: &&str| {
        ECHOES.contains(name) || is_about_awaited_money(name) || *name == "checkout.session.expired"
    };
    TABLE.iter().map(|(name, _)| *name).filter(|name| !spare(name)).collect()
});

/// The types that are looked for among Stripe's events, at most 20 in one request.
pub static LISTED: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| NEEDED.iter().chain(OF_HELD_MONEY).chain(OF_TRANSFERS).copied().collect());

/// True for a type, as received, that only says which object to request.
pub fn only_names_its_object(kind: &str) -> bool {
    let name = kind.strip_prefix("v1.").unwrap_or(kind);
    TABLE.iter().any(|(known, _)| *known == name) && !MORE_THAN_AN_OBJECT.contains(&name)
}

/// What an event is about; `None` for a type that is not acted on.
fn subject(event: &Event) -> Option<Subject> {
    TABLE.iter().find(|(name, _)| *name == event.name()).map(|(_, subject)| *subject)
}

/// True when one answer serves both events: they are about the same object, and the same is
/// requested about it.
pub fn one_request(a: &Event, b: &Event) -> bool {
    a.object_id.is_some()
        && a.object_id == b.object_id
        && subject(a).is_some_and(|subject_of_a| subject(b) == Some(subject_of_a))
}

/// Asks for what the events are about.
pub fn handle(look: &Look, stripe: &Stripe) -> Result<Handled> {
    let event = look.events[0];
    if event.kind.is_empty() {
        return Err(Error::Permanent(
            "the event has no type; look at its payload (fulfilld events show)".into(),
        ));
    }
    match subject(event) {
        Some(subject) => subject.ask(look, stripe),
        None => {
            let text = format!("this version does nothing on {}", event.name());
            Ok(Handled::Ignore(Reason::new(Code::UnknownType, text)))
        }
    }
}

/// Reads an answer of Stripe's as a session and as a list of refunds, for fuzz/.
#[cfg(any(fuzzing, test))]
pub fn read(answer: &crate::stripe::Answer) {
    let _ = checkout_session::read(answer, checkout_session::FromEvent::default());
    let _ = refund::read(answer, "pi_1");
}
