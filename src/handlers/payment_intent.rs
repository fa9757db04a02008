//! payment_intent.*: the money of a session moved; the session says what that means.

use super::{Outcome, checkout_session, object_id};
use crate::error::Result;
use crate::event::Event;
use crate::stripe::Stripe;

/// Succeeded, failed or canceled: whatever its session says now. One that Checkout did not make is not the shop's.
pub fn changed(event: &Event, stripe: &Stripe) -> Result<Outcome> {
    match stripe.session_of_payment_intent(object_id(event)?)? {
        Some(session) => checkout_session::ask(&session, stripe, false),
        None => Ok(Outcome::Ignore("no Checkout Session belongs to this payment".into())),
    }
}
