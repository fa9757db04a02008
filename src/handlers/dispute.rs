//! charge.dispute.*: a buyer's bank takes the money back; how does the dispute stand?

use super::fields::Fields;
use super::payment::{self, needed};
use super::{Look, Outcome};
use crate::change::{About, Change, Dispute};
use crate::clock;
use crate::error::Result;
use crate::stripe::Stripe;

/// Opened, answered, closed, or its money moved.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Outcome> {
    payment::told_by(&stripe.dispute(look.object_id()?)?, stripe, read)
}

fn read(dispute: Fields, about: About) -> Result<Change> {
    Ok(Change::Dispute(Dispute {
        about,
        amount: needed(dispute, "amount", dispute.amount("/amount")?)?,
        currency: needed(dispute, "currency", dispute.text("/currency"))?.to_lowercase(),
        status: needed(dispute, "status", dispute.text("/status"))?,
        reason: dispute.text("/reason"),
        evidence_due_by: dispute.amount("/evidence_details/due_by")?.and_then(clock::from_unix),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::Asked;
    use serde_json::{Value, json};

    #[test]
    fn a_dispute_says_until_when_it_may_be_answered_and_keeps_words_that_are_new() {
        let read = |value: Value| {
            let asked = Asked { at: clock::now(), value };
            let dispute = Fields(&asked.value);
            match super::read(dispute, payment::about(dispute, &asked, "pi_1")?)? {
                Change::Dispute(dispute) => Ok::<_, crate::error::Error>(dispute),
                other => panic!("{other:?}"),
            }
        };
        let dispute = json!({"id": "du_1", "amount": 4200, "currency": "eur", "status": "appeal_in_space", "charge": "ch_1",
            "reason": "fraudulent", "evidence_details": {"due_by": 1795489500}});
        let dispute = read(dispute).unwrap();
        assert_eq!(
            (dispute.status.as_str(), dispute.evidence_due_by),
            ("appeal_in_space", clock::from_unix(1795489500))
        );
        let bare = json!({"id": "du_1", "amount": 4200, "currency": "eur", "status": "lost", "evidence_details": {"due_by": null}});
        assert_eq!(read(bare).unwrap().evidence_due_by, None);
        let error = read(json!({"id": "du_1", "amount": 1, "currency": "eur"})).unwrap_err();
        assert_eq!(error.to_string(), "du_1 has no status");
    }
}
