//! An order that nobody placed, to try hooks with: at the moment at which a topic is notified.

use rusqlite::Connection;

use super::payload;
use crate::config::hooks::TOPICS;
use crate::db;
use crate::error::{Error, Result};

/// Order 1042 is paid: two mugs to be shipped, and a pattern to be delivered.
const PAID: &str = "
INSERT INTO shop(one, livemode, created_at) VALUES(1, 0, '2025-11-24T03:00:00Z');
UPDATE actor SET name = 'stripe:evt_sample_1';
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status,
currency, amount_subtotal,
    amount_shipping, amount_total, client_reference_id, email, name, phone, shipping_name,
    shipping_line1, shipping_line2,
    shipping_city, shipping_postal_code, shipping_country, shipping_option, created_at, as_of)
  VALUES(1042, 'cs_test_sample', 'pi_sample', 0, 'payment', 'unpaid', 'eur', 4200, 490, 4690,
  'cart-17', 'ada@example.com',
    'Ada Lovelace', '+33 1 23 45 67 89', 'Ada Lovelace', '12 Rue Exemple', '2e étage', 'Paris',
    '75001', 'FR', 'Standard',
    '2025-11-24T03:05:00Z', '1');
INSERT INTO line_items(id, order_id, position, sku, name, options, quantity, currency, unit_amount, amount_subtotal,
    amount_total, requires_shipping) VALUES
  ('li_sample_1', 1042, 1, 'MUG-01', 'Stoneware mug', 'blue', 2, 'eur', 1200, 2400, 2400, 1),
  ('li_sample_2', 1042, 2, NULL, 'Knitting pattern “Scarf”', NULL, 1, 'eur', 1800, 1800, 1800, 0);
UPDATE orders SET payment_status = 'paid', paid_at = '2025-11-24T03:06:00Z', line_items_at = '2025-11-24T03:06:00Z';
";

const SHIPPED: &str = "UPDATE actor SET name = 'operator';
UPDATE fulfillments SET status = 'shipped', tracking_company = 'DHL',
tracking_number = 'JD0146000034' WHERE requires_shipping = 1;
UPDATE fulfillments SET shipped_at = '2025-11-24T09:00:00Z' WHERE requires_shipping = 1;";

/// What happens to it then, for each topic.
const THEN: [(&str, &str); 9] = [
    ("order.canceled", "UPDATE actor SET name = 'operator'; UPDATE orders \
                        SET canceled_at = '2025-11-24T08:00:00Z', cancel_reason = 'customer';"),
    (
        "order.refunded",
        "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, reason, created_at, as_of)
           VALUES('re_sample', 'pi_sample', 1200, 'eur', 'succeeded', 'requested_by_customer',
           '2025-11-25T10:00:00Z', '1');",
    ),
    (
        "order.refund_failed",
        "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, reason, failure_reason,
           failed_at, created_at, as_of)
           VALUES('re_sample', 'pi_sample', 1200, 'eur', 'failed', 'requested_by_customer',
           'expired_or_canceled_card', '2025-11-28T10:00:00Z', '2025-11-25T10:00:00Z', '1');",
    ),
    (
        "order.disputed",
        "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, reason,
           evidence_due_by, created_at, as_of)
           VALUES('dp_sample', 'pi_sample', 4690, 'eur', 'needs_response', 'product_not_received',
           '2025-12-04T23:59:59Z',
             '2025-11-26T10:00:00Z', '1');",
    ),
    ("fulfillment.shipped", ""),
    ("fulfillment.updated", "UPDATE fulfillments SET tracking_number = 'JD0146000035' WHERE status = 'shipped';"),
    (
        "fulfillment.delivered",
        "UPDATE fulfillments SET status = 'delivered' WHERE status = 'shipped';
         UPDATE fulfillments SET delivered_at = '2025-11-26T09:00:00Z' WHERE status = 'delivered';",
    ),
    (
        "fulfillment.canceled",
        "UPDATE fulfillments SET status = 'canceled' WHERE status = 'shipped';
         UPDATE fulfillments SET canceled_at = '2025-11-26T09:00:00Z' WHERE status = 'canceled';",
    ),
    (
        "event.failed",
        "INSERT INTO events(id, type, object_id, created, livemode, shape, source, received_at,
           state, attempts, next_attempt_at)
           VALUES('evt_sample_2', 'checkout.session.completed', 'cs_test_gone',
           '2025-11-24T03:05:01Z', 0, 'snapshot', 'webhook',
             '2025-11-24T03:05:02Z', 'pending', 1, '2025-11-24T03:05:02Z');
         UPDATE events SET state = 'failed', state_reason = 'Stripe has no such session', \
         reason_code = 'permanent' WHERE id = 'evt_sample_2';",
    ),
];

/// The sample's notification of that topic: the JSON with `"test": true` in it, under that key. `Usage`
/// when there is no such topic.
pub fn of(topic: &str, key: &str) -> Result<String> {
    if !TOPICS.contains(&topic) {
        return Err(Error::Usage(format!(
            "there is no topic {}; there are {}",
            crate::text::clean(topic),
            TOPICS.join(", ")
        )));
    }
    let c = Connection::open_in_memory().map_err(db::translate)?;
    let shipped = if topic.starts_with("fulfillment.") { SHIPPED } else { "" };
    let then = THEN.iter().find(|(known, _)| *known == topic).map_or("", |(_, sql)| *sql);
    for sql in [db::SCHEMA, PAID, shipped, then] {
        c.execute_batch(sql).map_err(db::translate)?;
    }
    let id: i64 = c
        .query_row("SELECT max(id) FROM outbox WHERE topic = ?1", [topic], |row| row.get(0))
        .map_err(db::translate)?;
    payload::json(&c, id, key, 1, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_sample_with_what_it_is_about() {
        for topic in TOPICS {
            let sent: serde_json::Value = serde_json::from_str(&of(topic, "k").unwrap()).unwrap();
            let about = match topic {
                "order.refunded" | "order.refund_failed" => "refund",
                "order.disputed" => "dispute",
                "event.failed" => "event",
                _ => topic.split('.').next().unwrap_or_default(),
            };
            assert!(
                sent[about]["id"].is_string() || sent[about]["id"].is_number(),
                "{topic}: {sent}"
            );
            assert_eq!(
                (&sent["topic"], &sent["key"], &sent["test"]),
                (&topic.into(), &"k".into(), &true.into())
            );
        }
        assert!(matches!(of("order.payed", "k"), Err(Error::Usage(_))));
    }

    #[test]
    fn every_topic_of_the_schema_can_be_subscribed_to() {
        let schema = crate::db::SCHEMA;
        let is_topic = |word: &&str| {
            let kinds = ["order.", "fulfillment.", "event."];
            kinds.iter().any(|kind| {
                word.strip_prefix(kind)
                    .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            })
        };
        // The statuses of a fulfillment are put behind `fulfillment.`.
        let mut told: Vec<&str> =
            schema.split('\'').filter(is_topic).filter(|word| *word != "fulfillment.").collect();
        told.extend(["fulfillment.shipped", "fulfillment.delivered", "fulfillment.canceled"]);
        assert!(schema.contains("'fulfillment.' || NEW.status"));
        for topic in &told {
            assert!(TOPICS.contains(topic), "{topic}");
        }
        assert!(TOPICS.iter().all(|topic| told.contains(topic)), "{told:?}");
    }
}
