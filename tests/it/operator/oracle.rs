//! What must be true after every line, whoever typed it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::harness::all;
use super::typist::{BY_STRIPE, STRIPE};

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
    -- A dispute holds an order when it leaves the shop nothing of what was paid.
    OR EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id
              AND (d.status NOT IN('won', 'lost', 'warning_closed', 'prevented',
              'charge_refunded') OR d.amount_lost > 0)
              AND amount_total <= (SELECT coalesce(sum(amount), 0) FROM refunds r
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
/// because Stripe is asked.
pub(super) const RECEIVED_SQL: &str =
    "SELECT quote(id) || quote(type) || quote(object_id) || quote(created) || quote(livemode)
    || quote(api_version) || quote(account) || quote(shape) || quote(snapshot_event) || quote(payload) || quote(source)
    || quote(received_at) || quote(context) || quote(awaits) FROM events";

/// Each selects what must not be.
const NEVER: &[(&str, &str)] = &[
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

/// A line of the history: id, order, actor, what, old, new.
pub(super) type Told = (i64, i64, String, String, Option<String>, Option<String>);

#[derive(Clone, PartialEq, Default)]
pub(super) struct State {
    facts: BTreeSet<String>,
    received: BTreeSet<String>,
    orders: BTreeMap<i64, (String, bool)>,
    fulfillments: BTreeMap<i64, (String, String, i64)>,
    packed: BTreeMap<(i64, String), i64>,
    lines: BTreeMap<String, (i64, i64, i64)>,
    /// Why lines are canceled.
    reasons: BTreeMap<(i64, String), String>,
    /// Refunds and the like, as the history names them.
    money: BTreeMap<(i64, String), String>,
    events: BTreeMap<String, String>,
    /// What was dismissed of an order: the order, the reason with what it is about, the facts.
    dismissed: BTreeSet<(i64, String, String)>,
    history: (i64, i64),
    /// All of it, because nothing of it may change.
    past: String,
    outbox: Vec<String>,
    actor: String,
}

impl State {
    pub(super) fn of(c: &Connection) -> State {
        State {
            facts: all(c, FACTS_SQL, |r| r.get(0)).into_iter().collect(),
            received: all(c, RECEIVED_SQL, |r| r.get(0)).into_iter().collect(),
            orders: all(c, ORDERS_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?))))
                .into_iter()
                .collect(),
            fulfillments: all(c, FULFILLMENTS_SQL, |r| {
                Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?)))
            })
            .into_iter()
            .collect(),
            packed: all(c, PACKED_SQL, |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)))
                .into_iter()
                .collect(),
            lines: all(c, LINES_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?))))
                .into_iter()
                .collect(),
            reasons: all(
                c,
                "SELECT order_id, 'line ' || position || ' cancel_reason', cancel_reason \
                 FROM line_items WHERE cancel_reason IS NOT NULL",
                |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)),
            )
            .into_iter()
            .collect(),
            money: all(
                c,
                "SELECT o.id, 'refund ' || m.id, m.status || ' ' || m.amount FROM refunds m
                   JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'dispute ' || m.id, m.status FROM disputes m
                 JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'review ' || m.id, CASE WHEN m.open THEN 'open' ELSE
                 coalesce(m.closed_reason, 'closed') END
                   FROM reviews m JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'fraud warning ' || m.id,
                 CASE WHEN m.actionable THEN 'actionable' ELSE 'settled' END
                   FROM fraud_warnings m JOIN orders o USING(payment_intent_id)",
                |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)),
            )
            .into_iter()
            .collect(),
            events: all(c, "SELECT id, state FROM events", |r| Ok((r.get(0)?, r.get(1)?)))
                .into_iter()
                .collect(),
            dismissed: all(
                c,
                "SELECT order_id, 'attention ' || reason || ' ' || subject, since || ' ' || what \
                 FROM dismissals WHERE order_id IS NOT NULL",
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
            )
            .into_iter()
            .collect(),
            history: all(
                c,
                "SELECT count(*), coalesce(max(id), 0) \
                             FROM order_history",
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .swap_remove(0),
            past: all(
                c,
                "SELECT coalesce(group_concat(quote(id) || quote(order_id)
                            || quote(actor) || quote(what) || quote(old)
                || quote(new) || quote(at), ''), '') FROM (SELECT * FROM order_history
                ORDER BY id)",
                |r| r.get(0),
            )
            .swap_remove(0),
            outbox: all(
                c,
                "SELECT key || ' ' || topic || ' ' || coalesce(order_id, '') || ' '
                   || coalesce(fulfillment_id, '') || ' '
                   || coalesce(event_id, '') FROM outbox ORDER BY id",
                |r| r.get(0),
            ),
            actor: all(c, "SELECT name FROM actor", |r| r.get(0)).pop().unwrap_or_default(),
        }
    }

    /// What must never be and is.
    pub(super) fn untrue(&self, c: &Connection) -> Option<String> {
        NEVER.iter().find_map(|(what, sql)| {
            let found: Vec<String> = all(c, sql, |r| r.get_ref(0).map(|v| format!("{v:?}")));
            (!found.is_empty()).then(|| format!("{what}: {}", found.join(", ")))
        })
    }

    /// What cannot have become of an earlier state in one line.
    pub(super) fn wrong_since(&self, before: &State, c: &Connection, line: &str) -> Option<String> {
        let by_stripe = line.starts_with(BY_STRIPE);
        if !by_stripe && self.facts != before.facts {
            let (were, are) =
                (before.facts.difference(&self.facts), self.facts.difference(&before.facts));
            let changes: Vec<_> = [were.collect::<Vec<_>>(), are.collect()].concat();
            return Some(format!("what Stripe said is changed: {changes:#?}"));
        }
        if let Some(event) = before.received.difference(&self.received).next() {
            return Some(format!("an event is not as it was received: {event}"));
        }
        if let Some(gone) = [
            before
                .orders
                .keys()
                .find(|id| !self.orders.contains_key(id))
                .map(|id| format!("order {id}")),
            before
                .lines
                .keys()
                .find(|id| !self.lines.contains_key(*id))
                .map(|id| format!("line {id}")),
            before
                .fulfillments
                .keys()
                .find(|id| !self.fulfillments.contains_key(id))
                .map(|id| format!("fulfillment {id}")),
            before
                .events
                .keys()
                .find(|id| !self.events.contains_key(*id))
                .map(|id| format!("event {id}")),
            before.money.keys().find(|id| !self.money.contains_key(id)).map(|(_, id)| id.clone()),
        ]
        .into_iter()
        .flatten()
        .next()
        {
            return Some(format!("{gone} is gone"));
        }
        for (id, (cells, _)) in &before.orders {
            let (was, is) =
                (cells.split(SEPARATOR).nth(4), self.orders[id].0.split(SEPARATOR).nth(4));
            if was != Some(NOTHING) && is == Some(NOTHING) {
                return Some(format!("order {id} is no longer canceled"));
            }
            let (was, is) =
                (cells.split(SEPARATOR).next(), self.orders[id].0.split(SEPARATOR).next());
            if matches!(was, Some("paid" | "no_payment_required")) && is != was {
                return Some(format!("order {id} is no longer paid"));
            }
        }
        let author = if by_stripe { STRIPE } else { &before.actor };
        self.wrong_fulfillments(before).or_else(|| self.wrong_history(before, c, author, line))
    }

    fn wrong_fulfillments(&self, before: &State) -> Option<String> {
        for (id, (identity, cells, order)) in &self.fulfillments {
            let is = cells.split(SEPARATOR).next().unwrap_or_default();
            let Some((identity_was, cells_were, _)) = before.fulfillments.get(id) else {
                if is != "pending" && is != "canceled" {
                    return Some(format!("fulfillment {id} began as {is}"));
                }
                continue;
            };
            if identity != identity_was {
                return Some(format!("fulfillment {id} is another: {identity_was}, {identity}"));
            }
            let was = cells_were.split(SEPARATOR).next().unwrap_or_default();
            let allowed = was == is
                || (was == "pending" && ["shipped", "delivered", "canceled"].contains(&is))
                || (was == "shipped" && ["delivered", "canceled"].contains(&is));
            if !allowed {
                return Some(format!("fulfillment {id} went from {was} to {is}"));
            }
            let blocked = before.orders.get(order).is_some_and(|(_, blocked)| *blocked);
            if was == "pending"
                && (is == "shipped" || is == "delivered")
                && blocked
                && before.actor != "operator-override"
            {
                return Some(format!("fulfillment {id} was sent, and its order was blocked"));
            }
            for (n, date) in ["shipped_at", "delivered_at", "canceled_at"].into_iter().enumerate() {
                let at =
                    |cells: &str| cells.split(SEPARATOR).nth(5 + n).is_none_or(|t| t == NOTHING);
                if at(cells) && !at(cells_were) {
                    return Some(format!("fulfillment {id} lost its {date}"));
                }
            }
            let of = |s: &State| {
                s.packed
                    .range((*id, String::new())..(*id + 1, String::new()))
                    .map(|(k, q)| (k.clone(), *q))
                    .collect::<Vec<_>>()
            };
            if was != "pending" && of(before) != of(self) {
                return Some(format!("what was in fulfillment {id} is changed"));
            }
        }
        None
    }

    /// The history and the outbox say exactly what happened.
    fn wrong_history(
        &self,
        before: &State,
        c: &Connection,
        author: &str,
        line: &str,
    ) -> Option<String> {
        let told: Vec<Told> =
            all(c, &format!("{HISTORY_SQL_SINCE} {} ORDER BY id", before.history.1), |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
            });
        if self.history.0 != before.history.0 + told.len() as i64
            || self.history.1 != self.history.0
        {
            return Some(format!(
                "the history did not grow at its end, by ones: {:?} {:?}",
                before.history, self.history
            ));
        }
        if !self.past.starts_with(&before.past) {
            return Some("what the history said is changed".into());
        }
        if let Some(order) = self.orders.keys().find(|id| {
            !before.orders.contains_key(id) && !told.iter().any(|t| t.1 == **id && t.3 == "order")
        }) {
            return Some(format!("the history does not tell that order {order} came"));
        }
        // One line may change a cell there and back.
        let named: BTreeSet<i64> = told.iter().map(|t| t.1).collect();
        let cells_were = before.cells(self, &named);
        let cells_are = self.cells(before, &named);
        let mut now = cells_were.clone();
        let (mut expected, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        let mut dismissed = before.dismissed.clone();
        for (_, order, actor, what, old, new) in &told {
            if actor != author {
                return Some(format!("the history names {actor}, and it was {author}"));
            }
            let key = (*order, what.clone());
            // A remark.
            if line.contains("INTO order_history") {
                continue;
            }
            if what == "order" && !before.orders.contains_key(order) {
                continue;
            }
            if what.starts_with("attention ") {
                match (old, new) {
                    (None, Some(facts)) => dismissed.insert((*order, what.clone(), facts.clone())),
                    (facts, _) => {
                        dismissed.remove(&(*order, what.clone(), facts.clone().unwrap_or_default()))
                    }
                };
                continue;
            }
            if old != now.get(&key).unwrap_or(&None) || old == new {
                return Some(format!(
                    "the history says {what} went from {old:?} to {new:?}, and it was {:?}",
                    now.get(&key)
                ));
            }
            match (&what.split(' ').collect::<Vec<_>>()[..], new.as_deref()) {
                (["fulfillment", id, "status"], Some(status))
                    if old.is_some() && self.has_lines(id) =>
                {
                    expected.insert(format!(
                        "fulfillment:{id}:{status} fulfillment.{status} {order} {id} "
                    ));
                }
                (["payment_status"], Some("paid" | "no_payment_required")) => {
                    expected.insert(format!("order:{order}:paid order.paid {order}  "));
                }
                (["line", _, "canceled_quantity"], Some(new)) => {
                    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
                    if number(new) > number(old.as_deref().unwrap_or_default()) {
                        expected.insert(format!(
                            "order:{order}:canceled:part order.canceled {order}  "
                        ));
                    }
                }
                (["fulfillment", id, column], _)
                    if column.starts_with("tracking_") && self.is_on_its_way(before, id) =>
                {
                    let news =
                        format!("fulfillment:{id}:updated fulfillment.updated {order} {id} ");
                    // A link that follows its number is no news of its own.
                    if *column == "tracking_url" {
                        allowed.insert(news);
                    } else {
                        expected.insert(news);
                    };
                }
                ([column], _) if *column == "email" || column.starts_with("shipping_") => {
                    for (id, (identity, ..)) in &self.fulfillments {
                        if identity.starts_with(&format!("{order} 1 "))
                            && self.is_on_its_way(before, &id.to_string())
                        {
                            expected.insert(format!(
                                "fulfillment:{id}:updated fulfillment.updated {order} {id} "
                            ));
                        }
                    }
                }
                (["canceled_at"], Some(_)) if old.is_none() => {
                    expected.insert(format!("order:{order}:canceled order.canceled {order}  "));
                }
                (["refund", id], Some(new)) if new.starts_with("succeeded") => {
                    expected.insert(format!("refund:{id} order.refunded {order}  "));
                }
                (["dispute", id], Some(_)) if old.is_none() => {
                    expected.insert(format!("dispute:{id} order.disputed {order}  "));
                }
                _ => {}
            }
            now.insert(key, new.clone());
        }
        if dismissed != self.dismissed {
            return Some(format!(
                "dismissed is {:?}, and by the history {dismissed:?}",
                self.dismissed
            ));
        }
        for key in now.keys().chain(cells_are.keys()) {
            let (is, said) = (cells_are.get(key).unwrap_or(&None), now.get(key).unwrap_or(&None));
            // What a new order begins with is what was bought, and not told.
            let bought =
                author.starts_with("stripe:") && said.is_none() && key.1.contains(" quantity of ");
            if is != said && !bought {
                return Some(format!("{key:?} is {is:?}, and by the history it is {said:?}"));
            }
        }
        for (id, state) in &self.events {
            if state == "failed" && before.events.get(id) != Some(state) {
                expected.insert(format!("event:{id}:failed event.failed   {id}"));
            }
        }
        let Some(news) = self.outbox.strip_prefix(&before.outbox[..]) else {
            return Some("the outbox did not grow at its end".into());
        };
        // What may be said again carries the moment: two statements of the same one are one piece
        // of news.
        let told: BTreeSet<String> =
            before.outbox.iter().map(|news| without_moment(news)).collect();
        let news: BTreeSet<String> = news.iter().map(|news| without_moment(news)).collect();
        let missing = expected.difference(&news).any(|news| !told.contains(news));
        let surplus = news.iter().any(|news| !expected.contains(news) && !allowed.contains(news));
        (missing || surplus).then(|| format!("the news is {news:?}, and should be {expected:?}"))
    }

    /// Shipped before this line and after it.
    fn is_on_its_way(&self, before: &State, fulfillment: &str) -> bool {
        let status = |state: &State| {
            let cells = fulfillment
                .parse()
                .ok()
                .and_then(|id: i64| state.fulfillments.get(&id).map(|f| f.1.clone()));
            cells.is_some_and(|cells| cells.split(SEPARATOR).next() == Some("shipped"))
        };
        status(before) && status(self)
    }

    fn has_lines(&self, fulfillment: &str) -> bool {
        fulfillment.parse().is_ok_and(|id| {
            self.packed.range((id, String::new())..(id + 1, String::new())).next().is_some()
        })
    }

    /// The cells of orders and fulfillments that are not the same in the other state, and of these
    /// orders all.
    fn cells(
        &self,
        other: &State,
        named: &BTreeSet<i64>,
    ) -> BTreeMap<(i64, String), Option<String>> {
        let mut cells = BTreeMap::new();
        let text = |cell: &str| (cell != NOTHING).then(|| cell.to_string());
        for (id, (mine, _)) in &self.orders {
            if other.orders.get(id).is_some_and(|(theirs, _)| theirs != mine || named.contains(id))
            {
                cells.extend(
                    ORDER_CELLS
                        .iter()
                        .zip(mine.split(SEPARATOR))
                        .map(|(name, cell)| ((*id, name.to_string()), text(cell))),
                );
            }
        }
        for (id, (_, mine, order)) in &self.fulfillments {
            if other
                .fulfillments
                .get(id)
                .is_none_or(|(_, theirs, _)| theirs != mine || named.contains(order))
            {
                let named = FULFILLMENT_CELLS.iter().zip(mine.split(SEPARATOR));
                cells.extend(named.map(|(name, cell)| {
                    ((*order, format!("fulfillment {id} {name}")), text(cell))
                }));
            }
        }
        for (id, (order, position, canceled)) in &self.lines {
            if other.lines.get(id).is_some_and(|line| line.2 != *canceled || named.contains(order))
            {
                cells.insert(
                    (*order, format!("line {position} canceled_quantity")),
                    Some(canceled.to_string()),
                );
            }
        }
        for (key, value) in self.money.iter().chain(&self.reasons) {
            if other.money.get(key).or(other.reasons.get(key)) != Some(value)
                || named.contains(&key.0)
            {
                cells.insert(key.clone(), Some(value.clone()));
            }
        }
        for ((id, line), quantity) in &self.packed {
            let order = self.fulfillments.get(id).map_or(0, |f| f.2);
            if other.packed.get(&(*id, line.clone())) != Some(quantity) || named.contains(&order) {
                cells.insert(
                    (order, format!("fulfillment {id} quantity of {line}")),
                    Some(quantity.to_string()),
                );
            }
        }
        cells
    }
}

/// A key without its time: of news that may be said more than once.
fn without_moment(news: &str) -> String {
    let (key, rest) = news.split_once(' ').unwrap_or((news, ""));
    let bare = match key.char_indices().filter(|(_, c)| *c == ':').nth(2) {
        Some((at, _)) if key.starts_with("order:") => format!("{}:part", &key[..at]),
        Some((at, _)) => key[..at].into(),
        None => key.into(),
    };
    format!("{bare} {rest}")
}

pub(super) const HISTORY_SQL_SINCE: &str =
    "SELECT id, order_id, actor, what, old, new FROM order_history WHERE id >";
