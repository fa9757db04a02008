//! refund.*, charge.refunded: money goes back; which refunds of that payment are there now?

use super::fields::Fields;
use super::payment::{self, Payment, about, needed};
use super::{Outcome, object_id};
use crate::change::{Change, Refund};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::stripe::{Asked, Stripe};
use crate::text::clean;

/// Every word that Stripe has for a refund's state.
const STATUSES: [&str; 5] = ["pending", "requires_action", "succeeded", "failed", "canceled"];

/// A refund was made, moved or failed, or a charge was refunded: all the refunds of that payment, whatever rang.
pub fn changed(event: &Event, stripe: &Stripe) -> Result<Outcome> {
    let id = object_id(event)?;
    let named = if is_charge(id) { stripe.charge(id)? } else { stripe.refund(id)? };
    let payment_intent = match payment::of(Fields(&named.value), stripe)? {
        Payment::Ours(payment_intent) => payment_intent,
        Payment::Foreign(why) => return Ok(Outcome::Ignore(why)),
    };
    let asked = stripe.refunds_of(&payment_intent)?;
    let refunds = read(&asked, &payment_intent)?;
    let listed = if is_charge(id) { !refunds.is_empty() } else { refunds.iter().any(|r| r.about.id == id) };
    match listed {
        true => Ok(Outcome::Change(Change::Refunds(refunds))),
        false => Ok(Outcome::NotYet("Stripe does not list the refund yet".into())),
    }
}

/// Charges come from two places, refunds from more.
fn is_charge(id: &str) -> bool {
    id.starts_with("ch_") || id.starts_with("py_")
}

fn read(asked: &Asked, payment_intent: &str) -> Result<Vec<Refund>> {
    let refunds = asked.value.as_array().map(Vec::as_slice).unwrap_or_default();
    refunds.iter().map(|refund| one(Fields(refund), asked, payment_intent)).collect()
}

fn one(refund: Fields, asked: &Asked, payment_intent: &str) -> Result<Refund> {
    let about = about(refund, asked, payment_intent)?;
    let amount = needed(refund, "amount", refund.amount("/amount")?)?;
    if amount < 1 {
        return Err(Error::Permanent(format!("the refund {} is of {amount}, which gives nothing back", about.id)));
    }
    let status = refund.word("/status").unwrap_or("missing");
    let known = STATUSES.into_iter().find(|known| *known == status).ok_or_else(|| {
        Error::Permanent(format!(
            "the refund {} has the status {}, which this version does not know; upgrade fulfilld, then: fulfilld replay",
            about.id,
            clean(status)
        ))
    })?;
    Ok(Refund {
        amount,
        currency: needed(refund, "currency", refund.text("/currency"))?.to_lowercase(),
        status: known,
        reason: refund.text("/reason"),
        failure_reason: refund.text("/failure_reason"),
        about,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refunds(list: Value) -> Result<Vec<Refund>> {
        read(&Asked { at: crate::clock::now(), value: list }, "pi_1")
    }

    #[test]
    fn every_refund_of_the_payment_is_read_and_only_as_stripe_has_it() {
        let list = json!([
            {"id": "re_2", "amount": 300, "currency": "EUR", "status": "pending", "charge": "ch_1", "created": 1795489500},
            {"id": "re_1", "amount": 700, "currency": "eur", "status": "failed", "failure_reason": "expired_or_canceled_card",
                "charge": {"id": "ch_1"}, "payment_intent": null, "reason": null}
        ]);
        let read = refunds(list).unwrap();
        assert_eq!((read[0].about.id.as_str(), read[0].currency.as_str(), read[0].amount), ("re_2", "eur", 300));
        assert_eq!((read[1].status, read[1].about.payment_intent_id.as_str()), ("failed", "pi_1"));
        assert_eq!(read[1].about.charge_id.as_deref(), Some("ch_1"));
        assert_eq!(read[1].failure_reason.as_deref(), Some("expired_or_canceled_card"));
        assert_eq!(refunds(json!([])).unwrap(), []);
    }

    #[test]
    fn a_refund_that_cannot_be_kept_is_parked_with_the_reason() {
        for (odd, why) in [
            (json!({"amount": 0}), "is of 0"),
            (json!({"amount": -5}), "is of -5"),
            (json!({"amount": 0.5}), "0.5"),
            (json!({"amount": null}), "no amount"),
            (json!({"status": "on_its_way\u{1b}"}), "on_its_way\u{FFFD}, which this version"),
            (json!({"status": null}), "missing"),
            (json!({"currency": null}), "re_1 has no currency"),
        ] {
            let mut refund = json!({"id": "re_1", "amount": 5, "currency": "eur", "status": "succeeded"});
            refund.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
            let error = refunds(json!([refund])).unwrap_err();
            assert!(matches!(&error, Error::Permanent(m) if m.contains(why)), "{error}");
        }
    }

    #[test]
    fn a_charge_is_told_from_a_refund_by_its_id() {
        assert!(is_charge("ch_1") && is_charge("py_1"));
        assert!(!is_charge("re_1") && !is_charge("pyr_1"));
    }
}
