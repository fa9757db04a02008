//! review.*: Stripe's Radar wants somebody to look at a payment; has somebody?

use serde_json::Value;

use super::fields::Fields;
use super::payment::{self, needed};
use super::{Handled, Look};
use crate::change::{About, Change, Review};
use crate::error::Result;
use crate::stripe::Stripe;

/// Opened or closed.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    payment::told_by(&stripe.review(look.object_id()?)?, stripe, read)
}

fn read(review: Fields, about: About) -> Result<Change> {
    Ok(Change::Review(Review {
        about,
        open: needed(review, "open", review.at("/open").and_then(Value::as_bool))?,
        // `reason` is why it is as it is now: once closed, no longer why it was opened.
        reason: review.text("/opened_reason").or_else(|| review.text("/reason")),
        closed_reason: review.text("/closed_reason"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::Answer;
    use serde_json::json;

    #[test]
    fn a_review_keeps_why_it_was_opened_and_says_why_it_was_closed() {
        let read = |value: Value| {
            let answer = Answer { at: crate::clock::now(), value };
            let review = Fields(&answer.value);
            match super::read(review, payment::about(review, &answer, "pi_1")?)? {
                Change::Review(review) => Ok::<_, crate::error::Error>(review),
                other => panic!("{other:?}"),
            }
        };
        let closed = json!({"id": "prv_1", "open": false, "opened_reason": "rule",
            "reason": "approved", "closed_reason": "approved"});
        let review = read(closed).unwrap();
        assert_eq!((review.open, review.reason.as_deref()), (false, Some("rule")));
        assert_eq!(review.closed_reason.as_deref(), Some("approved"));
        assert_eq!(read(json!({"id": "prv_1"})).unwrap_err().to_string(), "prv_1 has no open");
    }
}
