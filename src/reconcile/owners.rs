//! Whether what Stripe lists is this shop's: by the file, and where the file cannot say, by asking
//! Stripe which payment it is about, and which invoice that payment pays.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rusqlite::OptionalExtension;
use serde_json::Value;

use crate::clock;
use crate::db::{self, Reader};
use crate::error::{Error, Result};
use crate::handlers::fields::Fields;
use crate::stripe::{Billed, Sight, Stripe};

/// What Stripe shows of a payment is the whole of it after so long; until then it may list a
/// session or an invoice a moment later.
const LISTED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// So many answers are kept in memory.
const ANSWERS_MAX: usize = 10_000;

/// What is known of payments that no order in the file names. One of them serves all the lists of a
/// look, and the looks of a process.
#[derive(Default)]
pub struct Owners {
    /// Payments and invoices of sessions found missing: what follows them is the shop's.
    missing: HashSet<String>,
    /// Stripe's answers: the payment of a charge, and what a payment pays.
    payments: HashMap<String, Option<String>>,
    invoices: HashMap<String, Option<Billed>>,
    /// The key may not see them, so they are not requested again in this look.
    hidden: HashSet<&'static str>,
}

impl Owners {
    /// A new look begins, with the sessions. Stripe's answers are kept.
    pub fn begin(&mut self) {
        self.missing.clear();
        self.hidden.clear();
        if self.payments.len() + self.invoices.len() > ANSWERS_MAX {
            self.payments.clear();
            self.invoices.clear();
        }
    }

    /// A session is not here, or not as it should be: what follows its payment is the shop's.
    pub fn is_missing(&mut self, session: &Value) {
        let paid_by = ["/payment_intent", "/invoice"].map(|place| Fields(session).id(place));
        self.missing.extend(paid_by.into_iter().flatten());
    }

    /// Whether the shop owns a refund, dispute, review or warning that the file does not have: its
    /// payment is an order's, or pays an invoice of an order or of its subscription. An invoice may
    /// be paid by several payments, of which the order names one. `Temporary` when Stripe cannot
    /// say now; what it does not show is nobody's.
    pub fn own(&mut self, stripe: &Stripe, reader: &Reader, object: &Value) -> Result<bool> {
        let made = object["created"].as_i64().and_then(clock::from_unix);
        let is_old = made.is_none_or(|made| made + LISTED_AFTER < stripe.skew().now());
        let Some(payment) = self.payment_of(stripe, Fields(object))? else { return Ok(false) };
        if self.missing.contains(&payment) || is_an_order_s(reader, "payment_intent_id", &payment)?
        {
            return Ok(true);
        }
        // Only what is paid by invoice is paid by payments that no order names.
        let sells_by_invoice = "SELECT EXISTS(SELECT 1 FROM orders WHERE invoice_id IS NOT NULL)";
        let sells_by_invoice = !self.missing.is_empty()
            || reader.look(|c| {
                c.query_row(sells_by_invoice, [], |row| row.get(0)).map_err(db::translate)
            })?;
        if !sells_by_invoice || is_old && was_ignored(reader, &payment)? {
            return Ok(false);
        }
        let Some(billed) = self.invoice_of(stripe, &payment, is_old)? else { return Ok(false) };
        Ok(self.missing.contains(&billed.invoice)
            || is_an_order_s(reader, "invoice_id", &billed.invoice)?
            || match &billed.subscription {
                Some(subscription) => is_an_order_s(reader, "subscription_id", subscription)?,
                None => false,
            })
    }

    /// The payment that an object names, by its payment intent or else by its charge.
    fn payment_of(&mut self, stripe: &Stripe, object: Fields) -> Result<Option<String>> {
        if let Some(payment) = object.id("/payment_intent") {
            return Ok(Some(payment));
        }
        let Some(charge) = object.id("/charge") else { return Ok(None) };
        if let Some(known) = self.payments.get(&charge) {
            return Ok(known.clone());
        }
        if self.hidden.contains("charge") {
            return Ok(None);
        }
        let payment = match stripe.charge(&charge) {
            Ok(answer) => Fields(&answer.value).id("/payment_intent"),
            Err(Error::Forbidden(why)) => {
                log::warn!("cannot see which payment a charge is of: {why}");
                self.hidden.insert("charge");
                return Ok(None);
            }
            Err(Error::Permanent(_)) => None,
            Err(error) => return Err(error),
        };
        self.payments.insert(charge, payment.clone());
        Ok(payment)
    }

    /// What a payment pays; a "nothing" is kept only where it `is_final`.
    fn invoice_of(
        &mut self,
        stripe: &Stripe,
        payment: &str,
        is_final: bool,
    ) -> Result<Option<Billed>> {
        if let Some(known) = self.invoices.get(payment) {
            return Ok(known.clone());
        }
        if self.hidden.contains("invoice") {
            return Ok(None);
        }
        let billed = match stripe.invoice_of_payment_intent(payment) {
            Ok(Sight::Seen(billed)) => billed,
            Ok(Sight::Hidden) => {
                self.hidden.insert("invoice");
                return Ok(None);
            }
            Ok(Sight::Unsaid) => return Ok(None),
            Err(Error::Permanent(_)) => None,
            Err(error) => return Err(error),
        };
        if billed.is_some() || is_final {
            self.invoices.insert(payment.into(), billed.clone());
        }
        Ok(billed)
    }
}

fn is_an_order_s(reader: &Reader, column: &str, id: &str) -> Result<bool> {
    let sql = format!("SELECT EXISTS(SELECT 1 FROM orders WHERE {column} = ?1)");
    reader.look(|c| {
        c.prepare_cached(&sql)
            .and_then(|mut q| q.query_row([id], |row| row.get(0)))
            .map_err(db::translate)
    })
}

/// True for a payment that Stripe showed neither a session nor an invoice of, when an event about
/// it came. It is due again by itself once an order has it.
fn was_ignored(reader: &Reader, payment: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM events WHERE awaits = ?1 AND state = 'ignored'";
    reader.look(|c| {
        c.prepare_cached(sql)
            .and_then(|mut q| q.query_row([payment], |_| Ok(())).optional())
            .map(|found| found.is_some())
            .map_err(db::translate)
    })
}
