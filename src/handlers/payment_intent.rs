//! payment_intent.*: the money of a session moved; the session says what that means.

use super::checkout_session::{self, FromEvent};
use super::fields::Fields;
use super::{Handled, Look, payment};
use crate::error::{Error, Result};
use crate::reason::{Code, Reason};
use crate::stripe::Stripe;

/// Succeeded, failed or canceled: whatever its session says now. One that Checkout did not make is
/// not the shop's.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    let payment_intent = look.object_id()?;
    let Some(session) = stripe.session_of_payment_intent(payment_intent)? else {
        return Ok(payment::no_session(payment_intent));
    };
    if Fields(&session).word("/status") == Some("open")
        && look.event("payment_intent.succeeded").is_none()
    {
        // The buyer tries another card, or goes away.
        let text = "the checkout is still open; a success has an event of its own";
        return Ok(Handled::Ignore(Reason::new(Code::CheckoutOpen, text)));
    }
    match Fields(&session).id("/id") {
        Some(session) => checkout_session::request(&session, stripe, FromEvent::default()),
        None => Err(Error::Temporary("Stripe lists a session without an id".into())),
    }
}
