//! What the operator can ask: one file a verb.

pub mod sandbox; // a simulated Stripe
pub mod trigger; // purchases in it
