//! What the daemon writes meanwhile, by chance.

use super::typist::Operator;

impl Operator<'_> {
    /// In between, the daemon writes.
    pub(super) fn stripe(&mut self) -> String {
        self.keys += 1;
        let (order, key) = (self.rng.u32(1..25), self.keys);
        let refund = self.pick(&[
            "pending",
            "succeeded",
            "failed",
            "canceled",
            "requires_action",
            "some_new_word",
        ]);
        let dispute = self.pick(&["needs_response", "under_review", "won", "lost"]);
        let closed = self.pick(&["'approved'", "'refunded'", "NULL"]);
        let row = "'eur', '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z'";
        let amount =
            self.pick(&["300", "1000000000000", "1000000000001", "4611686018427387904", "-1"]);
        let fact = match self.rng.u32(0..11) {
            0 => format!(
                "INSERT INTO refunds(id, payment_intent_id, status, amount, currency, created_at, \
                 as_of) VALUES('re_n{key}', 'pi_{order}', '{refund}', {amount}, {row})"
            ),
            1 => format!("UPDATE refunds SET status = '{refund}' WHERE payment_intent_id = 'pi_{order}'"),
            2 => format!(
                "INSERT INTO disputes(id, payment_intent_id, status, amount_lost, amount, \
                 currency, created_at, as_of) VALUES('dp_n{key}', 'pi_{order}', '{dispute}', \
                 ('{dispute}' = 'lost') * {amount}, {amount}, {row})"
            ),
            3 => format!(
                "UPDATE disputes SET status = '{dispute}', amount_lost = ('{dispute}' = 'lost') * \
                 amount WHERE payment_intent_id = 'pi_{order}'"
            ),
            4 => {
                format!("UPDATE reviews SET open = 0, closed_reason = {closed} WHERE payment_intent_id = 'pi_{order}'")
            }
            5 => {
                "UPDATE orders SET payment_status = 'paid', paid_at = '2026-11-22T09:00:00Z' WHERE id IN(5, 24)".into()
            }
            6 => "UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24 AND payment_intent_id IS NULL".into(),
            // A sale of the other mode, and a line in another currency, among others.
            7 => format!(
                "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode, \
                 payment_status, amount_total, currency, created_at, as_of) \
                 VALUES('cs_n{key}', 'pi_n{key}', {}, 'payment', 'unpaid', {amount}, {row})",
                self.rng.u32(0..2)
            ),
            8 => format!(
                "INSERT INTO line_items(id, order_id, position, name, quantity, currency, \
                 amount_total, requires_shipping) SELECT 'li_n{key}', id, 9, 'Mug', {}, '{}', \
                 {amount}, 1 FROM orders WHERE payment_status = 'unpaid' ORDER BY random() LIMIT 1",
                self.pick(&["1", "2", "1000000000", "1000000001"]),
                self.pick(&["eur", "usd"]),
            ),
            9 => format!(
                "UPDATE events SET state = 'done', processed_at = '2026-11-22T09:00:00Z' WHERE id = 'evt_{}'",
                self.rng.u32(1..5)
            ),
            _ => format!(
                "UPDATE fraud_warnings SET actionable = {} WHERE payment_intent_id = 'pi_{order}'",
                self.rng.u32(0..2)
            ),
        };
        stripe(&fact)
    }
}

/// What begins a line that the daemon writes.
pub(super) const BY_STRIPE: &str = "SAVEPOINT daemon;";
pub(super) const STRIPE: &str = "stripe:evt_9";

/// A fact as the daemon writes it: one transaction, or a part of the one that is open.
pub(super) fn stripe(fact: &str) -> String {
    format!(
        "{BY_STRIPE} UPDATE actor SET name = '{STRIPE}'; {fact}; UPDATE actor SET name = 'operator'; RELEASE daemon"
    )
}
