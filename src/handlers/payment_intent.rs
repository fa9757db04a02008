//! payment_intent.*: the money of a session moved; the session says what that means.

use super::fields::Fields;
use super::{Outcome, checkout_session, object_id, payment};
use crate::error::Result;
use crate::event::Event;
use crate::stripe::Stripe;

/// Succeeded, failed or canceled: whatever its session says now. One that Checkout did not make is not the shop's.
pub fn changed(event: &Event, stripe: &Stripe) -> Result<Outcome> {
    let session = stripe.session_of_payment_intent(object_id(event)?)?;
    match session.and_then(|session| Fields(&session).id("/id")) {
        Some(session) => checkout_session::ask(&session, stripe, false),
        None => Ok(Outcome::Ignore(payment::NO_SESSION.into())),
    }
}
