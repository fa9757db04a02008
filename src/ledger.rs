//! The SQL that applies a Change: rows as Stripe has them, and so what is to be sent. It holds no Stripe client.

use rusqlite::{Connection, OptionalExtension, params};

use crate::change::{Change, LineItem, Order, PaymentStatus};
use crate::clock;
use crate::db;
use crate::error::{Error, Result};

/// Applies a fact. The caller is inside its transaction and has named itself in `actor`. Applying it again, or an older
/// answer after a newer one, changes nothing; triggers write the history, the fulfillments and the outbox.
pub fn apply(c: &Connection, change: &Change) -> Result<()> {
    match change {
        Change::Order(order) => match find(c, &order.checkout_session_id)? {
            None => take_in(c, order),
            Some(known) => bring_up_to_date(c, &known, order),
        },
    }
}

/// What the file already says of a session.
struct Known {
    id: i64,
    payment_status: PaymentStatus,
    as_of: String,
}

fn find(c: &Connection, session: &str) -> Result<Option<Known>> {
    c.prepare_cached("SELECT id, payment_status, as_of FROM orders WHERE checkout_session_id = ?1")
        .and_then(|mut q| {
            q.query_row([session], |row| {
                let word: String = row.get(1)?;
                Ok(Known {
                    id: row.get(0)?,
                    payment_status: PaymentStatus::from_word(&word).expect("the schema's CHECK permits no other word"),
                    as_of: row.get(2)?,
                })
            })
            .optional()
        })
        .map_err(db::translate)
}

/// A new order: the row, its lines, and only then whether it is paid, because that is what makes the database write what is
/// to be sent.
fn take_in(c: &Connection, order: &Order) -> Result<()> {
    let id = insert_order(c, order)?;
    for (position, line) in (1..).zip(&order.lines) {
        insert_line(c, id, position, line)?;
    }
    let status = order.payment_status;
    c.prepare_cached("UPDATE orders SET payment_status = ?2, paid_at = ?3, line_items_at = ?4 WHERE id = ?1")
        .and_then(|mut update| {
            update.execute((id, status.as_str(), order.paid_at.map(clock::text), clock::text(order.as_of)))
        })
        .map_err(db::translate)
        .and_then(one_row)
}

/// A known order: the payment moves forward, whichever answer came last; the sums are the newest answer's. Contact and
/// shipping are the operator's to correct, so no event touches them again.
fn bring_up_to_date(c: &Connection, known: &Known, order: &Order) -> Result<()> {
    let status = known.payment_status.forward(order.payment_status);
    let as_of = clock::text_micros(order.as_of);
    let newer = as_of > known.as_of;
    if !newer && status == known.payment_status {
        return Ok(());
    }
    let paid_at = if known.payment_status.is_sale() { None } else { order.paid_at.map(clock::text) };
    c.prepare_cached("UPDATE orders SET payment_status = ?2, paid_at = coalesce(paid_at, ?3) WHERE id = ?1")
        .and_then(|mut update| update.execute((known.id, status.as_str(), paid_at)))
        .map_err(db::translate)
        .and_then(one_row)?;
    if !newer {
        return Ok(());
    }
    c.prepare_cached(
        "UPDATE orders SET as_of = ?2, payment_intent_id = coalesce(?3, payment_intent_id), amount_subtotal = ?4,
           amount_discount = ?5, amount_shipping = ?6, amount_tax = ?7, amount_total = ?8,
           subscription_id = coalesce(?9, subscription_id), invoice_id = coalesce(?10, invoice_id), metadata = ?11
         WHERE id = ?1",
    )
    .and_then(|mut update| {
        update.execute(params![
            known.id,
            as_of,
            order.payment_intent_id,
            order.amount_subtotal,
            order.amount_discount,
            order.amount_shipping,
            order.amount_tax,
            order.amount_total,
            order.subscription_id,
            order.invoice_id,
            order.metadata.to_string(),
        ])
    })
    .map_err(db::translate)
    .and_then(one_row)
}

fn insert_order(c: &Connection, order: &Order) -> Result<i64> {
    let (presented, presentment_currency) = order.presentment.clone().unzip();
    let to = &order.shipping;
    c.prepare_cached(
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
           amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total,
           presentment_amount, presentment_currency, customer_id, subscription_id, invoice_id, payment_link_id,
           client_reference_id, email, name, phone, shipping_name, shipping_line1, shipping_line2, shipping_city,
           shipping_state, shipping_postal_code, shipping_country, shipping_option, custom_fields, tax_ids, metadata,
           created_at, as_of)
         VALUES (?1, ?2, ?3, ?4, 'unpaid', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
           ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
    )
    .and_then(|mut insert| {
        insert.insert(params![
            order.checkout_session_id,
            order.payment_intent_id,
            order.livemode,
            order.mode,
            order.currency,
            order.amount_subtotal,
            order.amount_discount,
            order.amount_shipping,
            order.amount_tax,
            order.amount_total,
            presented,
            presentment_currency,
            order.customer_id,
            order.subscription_id,
            order.invoice_id,
            order.payment_link_id,
            order.client_reference_id,
            order.email,
            order.name,
            order.phone,
            to.name,
            to.line1,
            to.line2,
            to.city,
            to.state,
            to.postal_code,
            to.country,
            order.shipping_option,
            order.custom_fields.to_string(),
            order.tax_ids.to_string(),
            order.metadata.to_string(),
            clock::text(order.created_at),
            clock::text_micros(order.as_of),
        ])
    })
    .map_err(db::translate)
}

fn insert_line(c: &Connection, order_id: i64, position: i64, line: &LineItem) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO line_items(id, order_id, position, price_id, product_id, sku, name, options, quantity, currency,
           unit_amount, unit_amount_decimal, amount_subtotal, amount_discount, amount_tax, amount_total, requires_shipping,
           metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            line.id,
            order_id,
            position,
            line.price_id,
            line.product_id,
            line.sku,
            line.name,
            line.options,
            line.quantity,
            line.currency,
            line.unit_amount,
            line.unit_amount_decimal,
            line.amount_subtotal,
            line.amount_discount,
            line.amount_tax,
            line.amount_total,
            line.requires_shipping,
            line.metadata.to_string(),
        ])
    })
    .map_err(db::translate)
    .and_then(one_row)
}

fn one_row(rows: usize) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(Error::Permanent(format!("{rows} rows were written where one was meant"))) }
}
