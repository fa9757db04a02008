//! refund.*, charge.refunded: money goes back; which refunds of that payment are there now?

use super::fields::Fields;
use super::payment::{self, Payment, about, needed};
use super::{Handled, Look};
use crate::change::{Change, Refund};
use crate::clock;
use crate::error::{Error, Result};
use crate::stripe::{Answer, Stripe};

/// A refund was made, moved or failed, or a charge was refunded: all the refunds of that payment,
/// whatever rang. One that cannot be kept does not hold up the others.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    let id = look.object_id()?;
    let named = if is_charge(id) { stripe.charge(id)? } else { stripe.refund(id)? };
    let (payment_intent, invoice, missing) = match payment::of(Fields(&named.value), stripe)? {
        Payment::Ours { payment_intent, invoice, missing } => (payment_intent, invoice, missing),
        Payment::Foreign(why) => return Ok(Handled::Ignore(why)),
        Payment::Unknown { payment_intent } => return Ok(payment::no_session(&payment_intent)),
    };
    let answer = stripe.refunds_of(&payment_intent)?;
    let listed =
        list(&answer).any(|refund| is_charge(id) || refund.id("/id").as_deref() == Some(id));
    if !listed {
        return Ok(Handled::NotYet("Stripe does not list the refund yet".into()));
    }
    let (mut refunds, unread) = read(&answer, &payment_intent);
    for refund in &mut refunds {
        payment::bill(&mut refund.about, invoice.as_ref());
    }
    Ok(match unread.is_empty() {
        true => payment::kept(Change::Refunds(refunds), missing),
        false => Handled::InPart(Change::Refunds(refunds), unread.join("; ")),
    })
}

/// Charges come from two places, refunds from more.
fn is_charge(id: &str) -> bool {
    id.starts_with("ch_") || id.starts_with("py_")
}

fn list(answer: &Answer) -> impl Iterator<Item = Fields<'_>> {
    answer.value.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Fields)
}

/// Those that can be kept, and why the others cannot.
pub fn read(answer: &Answer, payment_intent: &str) -> (Vec<Refund>, Vec<String>) {
    let (mut refunds, mut unread) = (Vec::new(), Vec::new());
    for refund in list(answer) {
        match one(refund, answer, payment_intent) {
            Ok(refund) => refunds.push(refund),
            Err(error) => unread.push(error.to_string()),
        }
    }
    (refunds, unread)
}

fn one(refund: Fields, answer: &Answer, payment_intent: &str) -> Result<Refund> {
    let about = about(refund, answer, payment_intent)?;
    let amount = needed(refund, "amount", refund.amount("/amount")?)?;
    if amount < 1 {
        return Err(Error::Permanent(format!(
            "the refund {} is of {amount}, which gives nothing back",
            about.id
        )));
    }
    Ok(Refund {
        amount,
        currency: needed(refund, "currency", refund.text("/currency"))?.to_lowercase(),
        // New words come without a new version of Stripe's API; attention shows those that are not
        // known.
        status: refund.text("/status").unwrap_or_else(|| "missing".into()),
        reason: refund.text("/reason"),
        failure_reason: refund.text("/failure_reason"),
        balance_transaction_id: refund.id("/balance_transaction"),
        failed_at: refund
            .amount("/failure_balance_transaction/created")?
            .and_then(clock::from_unix),
        about,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refunds(list: Value) -> (Vec<Refund>, Vec<String>) {
        read(&Answer { at: crate::clock::now(), value: list }, "pi_1")
    }

    #[test]
    fn every_refund_of_the_payment_is_read_and_only_as_stripe_has_it() {
        let list = json!([
            {"id": "re_2", "amount": 300, "currency": "EUR", "status": "pending", "charge": "ch_1",
                "created": 1795489500},
            {"id": "re_1", "amount": 700, "currency": "eur", "status": "failed",
                "failure_reason": "expired_or_canceled_card",
                "charge": {"id": "ch_1"}, "payment_intent": null, "reason": null,
                "failure_balance_transaction": {"id": "txn_9", "created": 1795489900}}
        ]);
        let (read, unread) = refunds(list);
        assert_eq!(unread, [""; 0]);
        assert_eq!(
            (read[0].about.id.as_str(), read[0].currency.as_str(), read[0].amount),
            ("re_2", "eur", 300)
        );
        assert_eq!(
            (read[1].status.as_str(), read[1].about.payment_intent_id.as_str()),
            ("failed", "pi_1")
        );
        assert_eq!(read[1].about.charge_id.as_deref(), Some("ch_1"));
        assert_eq!(read[1].failure_reason.as_deref(), Some("expired_or_canceled_card"));
        assert_eq!((read[0].failed_at, read[1].failed_at), (None, clock::from_unix(1795489900)));
        assert_eq!(refunds(json!([])), (vec![], vec![]));
        let words = [
            (json!("on_its_way\u{1b}"), "on_its_way\u{FFFD}"),
            (json!(" "), "missing"),
            (Value::Null, "missing"),
        ];
        for (status, kept) in words {
            let (read, unread) =
                refunds(json!([{"id": "re_1", "amount": 5, "currency": "eur", "status": status}]));
            assert_eq!((read[0].status.as_str(), unread.len()), (kept, 0));
        }
    }

    #[test]
    fn a_refund_that_cannot_be_stored_is_reported_with_the_reason_and_the_others_are_stored() {
        for (odd, why) in [
            (json!({"amount": 0}), "is of 0"),
            (json!({"amount": -5}), "is of -5"),
            (json!({"amount": 0.5}), "0.5"),
            (json!({"amount": null}), "no amount"),
            (json!({"currency": null}), "re_1 has no currency"),
        ] {
            let mut refund =
                json!({"id": "re_1", "amount": 5, "currency": "eur", "status": "succeeded"});
            refund.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
            let other =
                json!({"id": "re_2", "amount": 7, "currency": "eur", "status": "succeeded"});
            let (read, unread) = refunds(json!([refund, other]));
            assert!(read.len() == 1 && read[0].about.id == "re_2", "{read:?}");
            assert!(unread.len() == 1 && unread[0].contains(why), "{unread:?}");
        }
    }

    #[test]
    fn a_charge_and_a_refund_differ_by_their_ids() {
        assert!(is_charge("ch_1") && is_charge("py_1"));
        assert!(!is_charge("re_1") && !is_charge("pyr_1"));
    }
}
