//! radar.early_fraud_warning.*: the card's issuer suspects fraud; can something still be done about
//! it?

use serde_json::Value;

use super::fields::Fields;
use super::payment::{self, needed};
use super::{Handled, Look};
use crate::change::{About, Change, FraudWarning};
use crate::error::Result;
use crate::stripe::Stripe;

/// Issued, or no longer actionable.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    payment::told_by(&stripe.fraud_warning(look.object_id()?)?, stripe, read)
}

fn read(warning: Fields, about: About) -> Result<Change> {
    Ok(Change::FraudWarning(FraudWarning {
        about,
        actionable: needed(
            warning,
            "actionable",
            warning.at("/actionable").and_then(Value::as_bool),
        )?,
        fraud_type: warning.text("/fraud_type"),
    }))
}
