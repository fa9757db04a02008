//! What is read of a file after a line, and what must never be in it.

/// Cells that an operator or a payment may change, in the words of the history, joined by a
/// character that no text has.
pub(super) const ORDER_CELLS: [&str; 20] = [
    "payment_status",
    "amount_total",
    "note",
    "hold_reason",
    "canceled_at",
    "cancel_reason",
    "email",
    "name",
    "phone",
    "shipping_name",
    "shipping_line1",
    "shipping_line2",
    "shipping_city",
    "shipping_state",
    "shipping_postal_code",
    "shipping_country",
    "business_name",
    "amount_capturable",
    "amount_captured",
    "capture_before",
];
pub(super) const FULFILLMENT_CELLS: [&str; 9] = [
    "status",
    "tracking_company",
    "tracking_number",
    "tracking_url",
    "note",
    "shipped_at",
    "delivered_at",
    "canceled_at",
    "replacement",
];
pub(super) const SEPARATOR: char = '\u{1f}';
pub(super) const NOTHING: &str = "\u{1e}";

pub(super) const ORDERS_SQL: &str = "SELECT id, payment_status || char(31) || amount_total
    || char(31) || coalesce(note, char(30)) || char(31) || coalesce(hold_reason, char(30))
    || char(31) || coalesce(canceled_at, char(30)) || char(31) || coalesce(cancel_reason, char(30))
    || char(31) || coalesce(email, char(30)) || char(31) || coalesce(name, char(30)) || char(31)
    || coalesce(phone, char(30))
    || char(31) || coalesce(shipping_name, char(30)) || char(31) || coalesce(shipping_line1, char(30))
    || char(31) || coalesce(shipping_line2, char(30)) || char(31) || coalesce(shipping_city, char(30))
    || char(31) || coalesce(shipping_state, char(30)) || char(31) || coalesce(shipping_postal_code, char(30))
    || char(31) || coalesce(shipping_country, char(30))
    || char(31) || coalesce(business_name, char(30)) || char(31) || amount_capturable
    || char(31) || coalesce(amount_captured, char(30)) || char(31) || coalesce(capture_before, char(30)),
    -- In other words than order_blocks.
    payment_status IN('unpaid', 'failed') OR canceled_at IS NOT NULL OR hold_reason IS NOT NULL
    -- A dispute holds an order when it leaves the shop no more of what was paid than the postage, or
    -- a twentieth.
    OR EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id
              AND (d.status NOT IN('won', 'lost', 'warning_closed', 'prevented',
              'charge_refunded') OR d.amount_lost > 0)
              AND amount_total - max(amount_shipping, amount_total / 20)
                <= (SELECT coalesce(sum(amount), 0) FROM refunds r
                WHERE r.payment_intent_id = o.payment_intent_id AND r.status NOT IN('failed', 'canceled'))
              + (SELECT sum(CASE WHEN a.status IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')
                              THEN a.amount_lost ELSE a.amount + a.amount_lost END)
                 FROM disputes a WHERE a.payment_intent_id = o.payment_intent_id))
    OR EXISTS(SELECT 1 FROM reviews w WHERE w.payment_intent_id = o.payment_intent_id
              AND (w.open OR w.closed_reason IS NULL OR w.closed_reason NOT IN('approved', 'acknowledged')))
    OR (amount_total > 0 AND amount_total <= (SELECT coalesce(sum(amount), 0) FROM refunds r
        WHERE r.payment_intent_id = o.payment_intent_id AND r.status NOT IN('failed', 'canceled')))
  FROM orders o ORDER BY id";
pub(super) const FULFILLMENTS_SQL: &str = "SELECT id, order_id || ' ' || requires_shipping || ' ' || created_at, status
    || char(31) || coalesce(tracking_company, char(30)) || char(31) || coalesce(tracking_number, char(30))
    || char(31) || coalesce(tracking_url, char(30)) || char(31) || coalesce(note, char(30))
    || char(31) || coalesce(shipped_at, char(30)) || char(31) || coalesce(delivered_at, char(30))
    || char(31) || coalesce(canceled_at, char(30)) || char(31)
    || coalesce(replacement, char(30)), order_id FROM fulfillments ORDER BY id";
pub(super) const PACKED_SQL: &str =
    "SELECT fulfillment_id, line_item_id, quantity FROM fulfillment_line_items ORDER BY 1, 2";
pub(super) const LINES_SQL: &str =
    "SELECT id, order_id, position, canceled_quantity FROM line_items ORDER BY 1";
pub(super) const TOLD_SQL: &str =
    "SELECT order_id, actor, what, old, new FROM order_history ORDER BY id";
pub(super) const OUTBOX_SQL: &str =
    "SELECT id, topic, order_id, fulfillment_id, event_id, key, created_at FROM outbox ORDER BY id";
/// What Stripe said, and what else nobody changes.
pub(super) const FACTS_SQL: &str = "
  SELECT quote(id) || quote(checkout_session_id) || quote(payment_intent_id) || quote(livemode) || quote(mode)
    || quote(payment_status) || quote(currency) || quote(amount_subtotal) || quote(amount_discount)
    || quote(amount_shipping) || quote(amount_tax) || quote(amount_total) || quote(presentment_amount)
    || quote(presentment_currency) || quote(customer_id) || quote(subscription_id) || quote(invoice_id)
    || quote(payment_link_id) || quote(client_reference_id) || quote(shipping_option) || quote(custom_fields)
    || quote(tax_ids) || quote(metadata) || quote(created_at) || quote(paid_at) || quote(line_items_at) || quote(as_of)
    || quote(asked)
  FROM orders
  UNION ALL SELECT quote(id) || quote(order_id) || quote(position) || quote(price_id) || quote(product_id) || quote(sku)
    || quote(name) || quote(options) || quote(quantity) || quote(currency) || quote(unit_amount)
    || quote(unit_amount_decimal) || quote(amount_subtotal) || quote(amount_discount) || quote(amount_tax)
    || quote(amount_total) || quote(requires_shipping) || quote(metadata) FROM line_items
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(amount) || quote(currency)
    || quote(status) || quote(reason) || quote(failure_reason) || quote(created_at)
    || quote(as_of) || quote(asked) FROM refunds
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(amount) || quote(currency)
    || quote(status) || quote(reason) || quote(evidence_due_by) || quote(created_at)
    || quote(as_of) || quote(asked) FROM disputes
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(open) || quote(reason)
    || quote(closed_reason) || quote(created_at) || quote(as_of) || quote(asked) FROM reviews
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(actionable) || quote(fraud_type)
    || quote(created_at) || quote(as_of) || quote(asked) FROM fraud_warnings
  UNION ALL SELECT quote(one) || quote(livemode) || quote(created_at) FROM shop
  UNION ALL SELECT quote(currency) || quote(decimals) || quote(unit) FROM currency_decimals
  UNION ALL SELECT quote(outbox_id) || quote(target) || quote(state) || quote(attempts)
  || quote(next_attempt_at) FROM hook_runs
  UNION ALL SELECT quote(subject) || quote(at) FROM forgotten";
/// An event that was received stays as it was; that another is written by hand does no harm,
/// because the answer comes from Stripe.
pub(super) const RECEIVED_SQL: &str =
    "SELECT quote(id) || quote(type) || quote(object_id) || quote(created) || quote(livemode)
    || quote(api_version) || quote(account) || quote(shape) || quote(snapshot_event) || quote(payload) || quote(source)
    || quote(received_at) || quote(context) || quote(awaits) FROM events";

/// Each selects what must not be.
pub(super) const NEVER: &[(&str, &str)] = &[
    (
        "what is left to send of a sale is not what is in its pending fulfillments, or more is sent than was bought",
        "SELECT b.line_item_id || ' left ' || b.left_to_send || ', pending ' || b.pending
         FROM line_item_balance b JOIN orders o ON o.id = b.order_id
         WHERE b.left_to_send < 0 OR b.pending <> CASE
           WHEN o.payment_status IN('paid', 'no_payment_required')
           AND o.canceled_at IS NULL THEN b.left_to_send ELSE 0 END",
    ),
    (
        "a fulfillment holds what is of another order or kind",
        "SELECT fl.fulfillment_id || ' ' || fl.line_item_id FROM fulfillment_line_items fl
         LEFT JOIN fulfillments f ON f.id = fl.fulfillment_id LEFT JOIN line_items li ON li.id = fl.line_item_id
         WHERE f.order_id IS NOT li.order_id OR f.requires_shipping IS NOT li.requires_shipping OR f.id IS NULL",
    ),
    (
        "a fulfillment is empty",
        "SELECT id FROM fulfillments f WHERE status <> 'canceled'
         AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl WHERE fl.fulfillment_id = f.id)",
    ),
    (
        "a date and a status do not agree",
        "SELECT id FROM fulfillments WHERE (status = 'shipped' AND shipped_at IS NULL)
           OR (status = 'delivered') <> (delivered_at IS NOT NULL) OR (status = 'canceled') <> (canceled_at IS NOT NULL)
           OR (status = 'pending' AND shipped_at IS NOT NULL)",
    ),
    (
        "a time is not a time",
        "SELECT t FROM (SELECT shipped_at AS t FROM fulfillments UNION ALL SELECT delivered_at FROM fulfillments
           UNION ALL SELECT canceled_at FROM fulfillments UNION ALL SELECT canceled_at FROM orders)
         WHERE t NOT GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z'",
    ),
    (
        "a canceled order has sent something, or is canceled by half",
        "SELECT id FROM orders o WHERE (canceled_at IS NULL) <> (cancel_reason IS NULL) OR (canceled_at IS NOT NULL
         AND EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = o.id
         AND f.status IN('pending', 'shipped', 'delivered')))",
    ),
    (
        "the author is not one",
        "SELECT count(*) FROM actor HAVING count(*) <> 1 OR max(name) NOT IN('operator', 'operator-override')",
    ),
    (
        "a tracking number is on parcels of two orders that go to different places",
        "SELECT f.tracking_number FROM fulfillments f JOIN fulfillments g ON g.tracking_number = f.tracking_number
           AND g.order_id > f.order_id AND coalesce(g.tracking_company, '') = coalesce(f.tracking_company, '')
         JOIN orders o ON o.id = f.order_id JOIN orders p ON p.id = g.order_id
         WHERE f.status <> 'canceled' AND g.status <> 'canceled' AND o.shipping_line1 <> p.shipping_line1
           -- An address may be corrected later.
           AND NOT EXISTS(SELECT 1 FROM order_history h WHERE h.order_id IN(o.id, p.id) AND h.what GLOB 'shipping_*')",
    ),
    (
        "an event has no place in the sequence, or the sequence is lost",
        "SELECT id FROM events WHERE seq < 1 OR seq > coalesce((SELECT n FROM sequence), 0)
         UNION ALL SELECT 'sequence' WHERE (SELECT count(*) FROM sequence) <> 1",
    ),
    (
        "an order is of the other mode, or a line in another currency",
        "SELECT 'order ' || id FROM orders WHERE livemode <> (SELECT livemode FROM shop)
         UNION ALL SELECT 'line ' || li.id FROM line_items li JOIN orders o ON o.id = li.order_id
         WHERE li.currency <> o.currency",
    ),
    (
        "nothing would be looked for any more",
        "SELECT name FROM sweeps WHERE until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
           OR until NOT GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z'
         UNION ALL SELECT 'none' WHERE (SELECT count(*) FROM sweeps) < 2",
    ),
    (
        "an event is never due, or its tries cannot be counted",
        "SELECT id FROM events WHERE (state = 'pending' AND next_attempt_at IS NULL) \
         OR attempts > 1000000 OR crashes > 1000000",
    ),
    (
        "an order without lines, or whose lines do not add up, is not known as such, or another is",
        "SELECT o.id FROM orders o LEFT JOIN unbalanced_orders u ON u.order_id = o.id
         LEFT JOIN (SELECT order_id, count(*) AS n, sum(amount_subtotal) AS amount FROM line_items
         GROUP BY 1) li ON li.order_id = o.id
         WHERE (u.order_id IS NOT NULL) <> (coalesce(li.n, 0) = 0 OR o.amount_subtotal <> li.amount)
           OR u.difference <> o.amount_subtotal - coalesce(li.amount, 0) OR (u.lines = 0) <> (coalesce(li.n, 0) = 0)",
    ),
    ("two rows have one payment", "SELECT payment_intent_id FROM orders \
                                   WHERE payment_intent_id IS NOT NULL \
                                   GROUP BY 1 HAVING count(*) > 1"),
];

pub(super) const HISTORY_SQL_SINCE: &str =
    "SELECT id, order_id, actor, what, old, new FROM order_history WHERE id >";
