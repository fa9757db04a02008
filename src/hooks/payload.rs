//! The JSON that a hook is given, version 1: what happened, and the order as it is at this moment.
//!
//! The keys and their order are a contract (docs/hooks.md): one may be added, none changes its
//! meaning or goes without a new `version`. `tests/golden/hook-….json` holds them.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::db;
use crate::error::{Error, Result};

/// An amount as a person reads it: the views' own words, over a column and its currency.
fn readable(amount: &str, currency: &str) -> String {
    format!(
        "CASE WHEN {amount} IS NOT NULL THEN (
           SELECT printf('%.*f %s', coalesce(c.decimals, 2), 1.0 * {amount} / coalesce(c.unit, 100), upper({currency}))
           FROM (SELECT 1) LEFT JOIN currency_decimals c ON c.currency = {currency}) END"
    )
}

fn truth(condition: &str) -> String {
    format!("json(CASE WHEN {condition} THEN 'true' ELSE 'false' END)")
}

fn order() -> String {
    format!(
        "SELECT json_object('id', o.id, 'checkout_session_id', o.checkout_session_id,
           'payment_intent_id', o.payment_intent_id,
           'client_reference_id', o.client_reference_id, 'payment_link_id', o.payment_link_id, 'mode', o.mode,
           'created_at', o.created_at, 'paid_at', o.paid_at,
           'financial_status', v.financial_status, 'fulfillment_status', v.fulfillment_status,
           'canceled', {canceled}, 'canceled_at', o.canceled_at, 'cancel_reason', o.cancel_reason,
           'blocked_by', v.blocked_by, 'hold_reason', o.hold_reason, 'note', o.note, 'currency', o.currency,
           'amount_subtotal', o.amount_subtotal, 'amount_discount', o.amount_discount,
           'amount_shipping', o.amount_shipping,
           'amount_tax', o.amount_tax, 'amount_total', o.amount_total, 'amount_refunded', v.amount_refunded,
           'total', {total}, 'refunded', {refunded},
           'email', o.email, 'name', o.name, 'phone', o.phone, 'custom_fields',
           json(o.custom_fields), 'metadata', json(o.metadata),
           'business_name', o.business_name, 'wishes', (SELECT group_concat(label || ': '
           || value, '; ') FROM order_custom_fields w
             WHERE w.order_id = o.id AND value <> ''),
           'amount_paid', v.amount_paid, 'amount_charged_back', v.amount_charged_back,
           'capture_before', o.capture_before,
           'presented', {presented}, 'origin', o.origin, 'shipments', json((SELECT json_group_array(json(parcel)) FROM (
             SELECT json_object('id', f.id, 'status', f.status, 'tracking_company', f.tracking_company,
               'tracking_number', f.tracking_number, 'tracking_url', f.tracking_url) AS parcel
             FROM fulfillments f WHERE f.order_id = o.id AND f.requires_shipping = 1
             AND f.status IN('shipped', 'delivered')
             ORDER BY f.id))))
         FROM orders o JOIN order_overview v ON v.id = o.id WHERE o.id = ?1",
        canceled = truth("o.canceled_at IS NOT NULL"),
        total = readable("o.amount_total", "o.currency"),
        refunded = readable("v.amount_refunded", "o.currency"),
        presented = readable("o.presentment_amount", "o.presentment_currency"),
    )
}

fn line_items() -> String {
    format!(
        "SELECT json_group_array(json(item)) FROM (
           SELECT json_object('id', l.id, 'position', l.position, 'sku', l.sku, 'name', l.name, 'options', l.options,
             'quantity', l.quantity, 'sent', b.sent, 'left_to_send', b.left_to_send,
             'canceled_quantity', l.canceled_quantity,
             'cancel_reason', l.cancel_reason,
             'requires_shipping', {ships}, 'currency', l.currency, 'unit_amount', l.unit_amount,
             'amount_total', l.amount_total,
             'price', {price}, 'total', {total}, 'price_id', l.price_id, 'product_id',
             l.product_id, 'metadata', json(l.metadata)) AS item
           FROM line_items l JOIN line_item_balance b ON b.line_item_id = l.id
           WHERE l.order_id = ?1 ORDER BY l.position)",
        ships = truth("l.requires_shipping"),
        price = readable("l.unit_amount", "l.currency"),
        total = readable("l.amount_total", "l.currency"),
    )
}

const SHIPPING: &str = "SELECT json_object('name', shipping_name, 'line1', shipping_line1,
                          'line2', shipping_line2, 'city', shipping_city,
    'state', shipping_state, 'postal_code', shipping_postal_code, 'country', shipping_country,
    'option', shipping_option, 'phone', phone)
    FROM orders WHERE id = ?1";

fn fulfillment() -> String {
    format!(
        "SELECT json_object('id', f.id, 'status', f.status, 'requires_shipping', {ships},
           'replacement', f.replacement, 'tracking_company', f.tracking_company,
           'tracking_number', f.tracking_number, 'tracking_url', f.tracking_url, 'note', f.note,
           'created_at', f.created_at,
           'shipped_at', f.shipped_at, 'delivered_at', f.delivered_at, 'canceled_at', f.canceled_at,
           'line_items', json((SELECT json_group_array(json(item)) FROM (
             SELECT json_object('line_item_id', l.id, 'sku', l.sku, 'name', l.name, 'options',
             l.options, 'quantity', i.quantity) AS item
             FROM fulfillment_line_items i JOIN line_items l ON l.id = i.line_item_id
             WHERE i.fulfillment_id = f.id ORDER BY l.position))))
         FROM fulfillments f WHERE f.id = ?1",
        ships = truth("f.requires_shipping"),
    )
}

fn refund() -> String {
    format!(
        "SELECT json_object('id', id, 'status', status, 'reason', reason, 'currency', currency,
           'amount', amount, 'total', {},
           'created_at', created_at, 'failure_reason', failure_reason, 'failed_at', failed_at)
         FROM refunds WHERE id = ?1",
        readable("amount", "refunds.currency")
    )
}

fn dispute() -> String {
    format!(
        "SELECT json_object('id', id, 'status', status, 'reason', reason, 'evidence_due_by',
           evidence_due_by, 'currency', currency,
           'amount', amount, 'total', {}, 'created_at', created_at) FROM disputes WHERE id = ?1",
        readable("amount", "disputes.currency")
    )
}

const EVENT: &str =
    "SELECT json_object('id', id, 'type', type, 'object_id', object_id, 'created', created, 'received_at', received_at,
    'state', state, 'state_reason', state_reason, 'reason_code', reason_code,
    'attempts', attempts) FROM events WHERE id = ?1";

/// What a hook is given about a row of `outbox` under that key, in the run of that number; one
/// object on one line. `Permanent` when there is no such row.
pub fn json(
    c: &Connection,
    outbox_id: i64,
    key: &str,
    attempt: i64,
    is_test: bool,
) -> Result<String> {
    type Row = (String, Option<i64>, Option<i64>, Option<String>, String, String, bool);
    let row: Option<Row> = c
        .prepare_cached(
            "SELECT topic, order_id, fulfillment_id, event_id, key, created_at, (SELECT livemode \
             FROM shop) FROM outbox WHERE id = ?1",
        )
        .and_then(|mut q| {
            let row = |row: &rusqlite::Row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                ))
            };
            q.query_row([outbox_id], row).optional()
        })
        .map_err(db::translate)?;
    let Some((topic, order_id, fulfillment_id, event_id, about, created_at, livemode)) = row else {
        return Err(Error::Permanent(format!(
            "there is no notification {outbox_id}; look with: fulfilld hooks"
        )));
    };
    let part = |sql: &str, id: &dyn rusqlite::ToSql| -> Result<Option<String>> {
        c.prepare_cached(sql)
            .and_then(|mut q| q.query_row([id], |row| db::shown(row, 0)).optional())
            .map(|part| match part {
                Some(rusqlite::types::Value::Text(json)) => Some(json),
                _ => None,
            })
            .map_err(db::translate)
    };
    let mut object =
        format!("{{\"version\":1,\"topic\":{},\"key\":{}", quoted(&topic), quoted(key));
    object += &format!(
        ",\"attempt\":{attempt},\"created_at\":{},\"livemode\":{livemode}",
        quoted(&created_at)
    );
    if is_test {
        object += ",\"test\":true";
    }
    let mut put = |name: &str, part: Option<String>| {
        if let Some(part) = part {
            object += &format!(",\"{name}\":{part}");
        }
    };
    if let Some(id) = &order_id {
        put("order", part(&order(), id)?);
        put("line_items", part(&line_items(), id)?);
        put("shipping", part(SHIPPING, id)?);
    }
    if let Some(id) = &fulfillment_id {
        put("fulfillment", part(&fulfillment(), id)?);
    }
    // A notification that is sent once more has a sign and a number behind it.
    let about = about.split('#').next().unwrap_or_default();
    if let Some(id) = about.strip_prefix("refund:").or_else(|| about.strip_prefix("refund_failed:"))
    {
        put("refund", part(&refund(), &id)?);
    }
    if let Some(id) = about.strip_prefix("dispute:") {
        put("dispute", part(&dispute(), &id)?);
    }
    if let Some(id) = &event_id {
        put("event", part(EVENT, id)?);
    }
    Ok(object + "}")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
