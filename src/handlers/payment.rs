//! Which payment a refund, a dispute or a review is about, and whether it is one of the shop's.

use super::fields::Fields;
use super::{Handled, Missing};
use crate::change::{About, Change};
use crate::clock;
use crate::error::{Error, Result};
use crate::reason::{Code, Reason};
use crate::stripe::{Answer, Billed, Sight, Stripe};

/// Why a payment is left alone.
fn without_session() -> Reason {
    Reason::new(Code::NoSession, "no Checkout Session belongs to this payment")
}

/// What is left alone until an order has that payment: Stripe may list its session a moment later.
pub fn no_session(payment_intent: &str) -> Handled {
    Handled::Await { payment: payment_intent.into(), why: without_session() }
}

/// What was found out about a payment.
pub enum Payment {
    /// It may be an order's, by now or later.
    Ours {
        payment_intent: String,
        /// What it pays, where it is a subscription's.
        invoice: Option<Billed>,
        /// What it pays cannot be seen.
        missing: Option<Missing>,
    },
    /// It is none of the shop's, and why.
    Foreign(Reason),
    /// Nothing shows that it is the shop's, at least not yet.
    Unknown { payment_intent: String },
}

/// The change that an object leads to when its payment may be an order's; else why it leads to
/// none.
pub fn told_by(
    answer: &Answer,
    stripe: &Stripe,
    read: fn(Fields, About) -> Result<Change>,
) -> Result<Handled> {
    let object = Fields(&answer.value);
    match of(object, stripe)? {
        Payment::Ours { payment_intent, invoice, missing } => {
            let mut about = about(object, answer, &payment_intent)?;
            bill(&mut about, invoice.as_ref());
            Ok(kept(read(object, about)?, missing))
        }
        Payment::Foreign(why) => Ok(Handled::Ignore(why)),
        Payment::Unknown { payment_intent } => Ok(no_session(&payment_intent)),
    }
}

/// The payment that an object names, by its payment intent or else by its charge.
pub fn of(object: Fields, stripe: &Stripe) -> Result<Payment> {
    let by_charge = || match object.id("/charge") {
        Some(charge) => Ok(Fields(&stripe.charge(&charge)?.value).id("/payment_intent")),
        None => Ok(None),
    };
    let Some(payment_intent) =
        object.id("/payment_intent").map_or_else(by_charge, |id| Ok(Some(id)))?
    else {
        // Checkout pays by payment intent and by nothing else.
        return Ok(Payment::Foreign(without_session()));
    };
    if let Some(session) = stripe.session_of_payment_intent(&payment_intent)? {
        return Ok(match stripe.not_the_shops(&session) {
            Some(why) => Payment::Foreign(why),
            None => Payment::Ours { payment_intent, invoice: None, missing: None },
        });
    }
    // A subscription's session is found by its invoice alone; so whatever pays one, or may pay one,
    // may be an order's.
    Ok(match stripe.invoice_of_payment_intent(&payment_intent)? {
        Sight::Seen(None) => Payment::Unknown { payment_intent },
        Sight::Seen(invoice) => Payment::Ours { payment_intent, invoice, missing: None },
        Sight::Unsaid => Payment::Ours { payment_intent, invoice: None, missing: None },
        Sight::Hidden => {
            let why = "the key may not see which invoice the payment pays".into();
            let missing = Some(Missing { why, of: payment_intent.clone(), hidden: true });
            Payment::Ours { payment_intent, invoice: None, missing }
        }
    })
}

/// What the payment pays, where that is known.
pub fn bill(about: &mut About, by: Option<&Billed>) {
    about.invoice_id = by.map(|billed| billed.invoice.clone());
    about.subscription_id = by.and_then(|billed| billed.subscription.clone());
}

/// A fact, and whether something of it is missing.
pub fn kept(change: Change, missing: Option<Missing>) -> Handled {
    match missing {
        None => Handled::Change(change),
        Some(missing) => Handled::Unfinished(change, missing),
    }
}

/// What every such object says of itself.
pub fn about(object: Fields, answer: &Answer, payment_intent_id: &str) -> Result<About> {
    Ok(About {
        as_of: answer.at,
        id: object.id("/id").ok_or_else(|| Error::Permanent("Stripe's answer has no id".into()))?,
        payment_intent_id: payment_intent_id.into(),
        charge_id: object.id("/charge"),
        invoice_id: None,
        subscription_id: None,
        created_at: object.amount("/created")?.and_then(clock::from_unix).unwrap_or(answer.at),
    })
}

/// A field without which the object cannot be kept.
pub fn needed<T>(object: Fields, name: &str, value: Option<T>) -> Result<T> {
    let id = || object.id("/id").unwrap_or_else(|| "the object".into());
    value.ok_or_else(|| Error::Permanent(format!("{} has no {name}", id())))
}
