//! The SQL of an order and its lines: made once, then brought up to date.

use rusqlite::{Connection, OptionalExtension, params};

use super::{one_row, wake};
use crate::change::{LineItem, Order, PaymentStatus};
use crate::clock;
use crate::db;
use crate::error::Result;
use crate::forgotten;

/// What the file already says of a session.
pub struct Known {
    id: i64,
    payment_status: PaymentStatus,
    payment_intent_id: Option<String>,
    asked: i64,
    has_lines: bool,
}

/// The order of a session, where there is one.
pub fn find(c: &Connection, session: &str) -> Result<Option<Known>> {
    c.prepare_cached(
        "SELECT id, payment_status, asked, payment_intent_id, EXISTS(SELECT 1 FROM line_items
           WHERE order_id = orders.id)
         FROM orders WHERE checkout_session_id = ?1",
    )
    .and_then(|mut q| {
        q.query_row([session], |row| {
            let word: String = row.get(1)?;
            Ok(Known {
                id: row.get(0)?,
                payment_status: PaymentStatus::from_word(&word)
                    .expect("the schema's CHECK permits no other word"),
                asked: row.get(2)?,
                payment_intent_id: row.get(3)?,
                has_lines: row.get(4)?,
            })
        })
        .optional()
    })
    .map_err(db::translate)
}

/// A new order: the row, its lines, and only then whether it is paid, because that is what makes
/// the database write what is to be sent. Of a buyer who is forgotten it comes without the person.
pub fn take_in(c: &Connection, order: &Order, asked: i64, number: Option<i64>) -> Result<()> {
    let nameless;
    let mut order = order;
    if forgotten::is(c, &order.checkout_session_id)? {
        nameless = order.without_person();
        order = &nameless;
    }
    gather(c, order)?;
    let id = insert_order(c, order, asked, number)?;
    for (position, line) in (1..).zip(&order.lines) {
        insert_line(c, id, position, line)?;
    }
    keep_hold(c, id, order)?;
    let status = order.payment_status;
    c.prepare_cached(
        "UPDATE orders SET payment_status = ?2, paid_at = ?3, line_items_at = ?4 WHERE id = ?1",
    )
    .and_then(|mut update| {
        update.execute((
            id,
            status.as_str(),
            order.paid_at.map(clock::text),
            clock::text(order.as_of),
        ))
    })
    .map_err(db::translate)
    .and_then(one_row)?;
    order.payment_intent_id.iter().chain(&order.other_payments).try_for_each(|p| wake(c, p))
}

/// Files what is about the other payments of the order's invoice under the one that it names. The
/// order must not name that yet: then its history gets all that came before it.
fn gather(c: &Connection, order: &Order) -> Result<()> {
    let Some(payment) = &order.payment_intent_id else { return Ok(()) };
    for other in order.other_payments.iter().filter(|other| *other != payment) {
        for table in ["refunds", "disputes", "reviews", "fraud_warnings"] {
            c.prepare_cached(&format!(
                "UPDATE {table} SET payment_intent_id = ?1 WHERE payment_intent_id = ?2"
            ))
            .and_then(|mut update| update.execute([payment, other]))
            .map_err(db::translate)?;
        }
    }
    Ok(())
}

/// How a payment stands that is captured by hand.
fn keep_hold(c: &Connection, order_id: i64, order: &Order) -> Result<()> {
    let Some(hold) = &order.hold else { return Ok(()) };
    c.prepare_cached(
        "UPDATE orders SET capture_method = 'manual', amount_capturable = ?2,
           amount_captured = coalesce(?3, amount_captured),
           capture_before = coalesce(?4, capture_before) WHERE id = ?1",
    )
    .and_then(|mut update| {
        update.execute((order_id, hold.capturable, hold.captured, hold.before.map(clock::text)))
    })
    .map_err(db::translate)
    .and_then(one_row)
}

/// A known order: the payment moves forward, whichever answer came last; the sums are the newest
/// answer's. Contact and shipping are the operator's to correct, so no event touches them again.
pub fn bring_up_to_date(c: &Connection, known: &Known, order: &Order, asked: i64) -> Result<()> {
    let status = known.payment_status.forward(order.payment_status);
    let newer = asked > known.asked;
    if !known.has_lines && !order.lines.is_empty() {
        insert_lines_late(c, known.id, order)?;
    }
    if !newer && status == known.payment_status {
        return Ok(());
    }
    // It was under way before, so it was not paid when it was made: it is when Stripe says so
    // first.
    let now_paid = order.payment_status.is_sale() && !known.payment_status.is_sale();
    let paid_at = now_paid.then(|| clock::text(order.settled_at.unwrap_or(order.as_of)));
    c.prepare_cached(
        "UPDATE orders SET payment_status = ?2, paid_at = coalesce(paid_at, ?3) WHERE id = ?1",
    )
    .and_then(|mut update| update.execute((known.id, status.as_str(), paid_at)))
    .map_err(db::translate)
    .and_then(one_row)?;
    if !newer {
        return Ok(());
    }
    keep_hold(c, known.id, order)?;
    if let Some(named) = &known.payment_intent_id {
        // Its history gets what was filed under a payment that it did not know to be its own.
        let others = order.other_payments.iter().filter(|other| *other != named);
        for other in others {
            c.prepare_cached("INSERT INTO early VALUES(?1, ?2)")
                .and_then(|mut insert| insert.execute((known.id, other)))
                .map_err(db::translate)?;
        }
    }
    gather(c, order)?;
    c.prepare_cached(
        "UPDATE orders SET as_of = ?2, payment_intent_id = coalesce(?3, payment_intent_id), amount_subtotal = ?4,
           amount_discount = ?5, amount_shipping = ?6, amount_tax = ?7, amount_total = ?8,
           subscription_id = coalesce(?9, subscription_id), invoice_id = coalesce(?10, invoice_id),
           amount_awaited = ?13, amount_credited = coalesce(?14, amount_credited),
           metadata = iif(EXISTS(SELECT 1 FROM forgotten WHERE subject = checkout_session_id),
             metadata, ?11),
           asked = ?12
         WHERE id = ?1",
    )
    .and_then(|mut update| {
        update.execute(params![
            known.id,
            clock::text(order.as_of),
            order.payment_intent_id,
            order.amount_subtotal,
            order.amount_discount,
            order.amount_shipping,
            order.amount_tax,
            order.amount_total,
            order.subscription_id,
            order.invoice_id,
            order.metadata.to_string(),
            asked,
            order.amount_awaited,
            order.amount_credited,
        ])
    })
    .map_err(db::translate)
    .and_then(one_row)?;
    let payments = order.payment_intent_id.iter().chain(&order.other_payments);
    payments
        .filter(|payment| known.payment_intent_id.as_ref() != Some(*payment))
        .try_for_each(|payment| wake(c, payment))
}

/// Lines that Stripe did not name when the order came: of a sale, they are now to be sent.
fn insert_lines_late(c: &Connection, order_id: i64, order: &Order) -> Result<()> {
    for (position, line) in (1..).zip(&order.lines) {
        insert_line(c, order_id, position, line)?;
    }
    c.prepare_cached("UPDATE orders SET line_items_at = ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute((order_id, clock::text(order.as_of))))
        .map_err(db::translate)
        .and_then(one_row)?;
    c.prepare_cached("INSERT INTO settle(order_id) VALUES(?1)")
        .and_then(|mut settle| settle.execute([order_id]))
        .map(drop)
        .map_err(db::translate)
}

fn insert_order(c: &Connection, order: &Order, asked: i64, number: Option<i64>) -> Result<i64> {
    let (presented, presentment_currency) = order.presentment.clone().unzip();
    let to = &order.shipping;
    c.prepare_cached(
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
           amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total,
           presentment_amount, presentment_currency, customer_id, subscription_id, invoice_id, payment_link_id,
           client_reference_id, email, name, phone, shipping_name, shipping_line1, shipping_line2, shipping_city,
           shipping_state, shipping_postal_code, shipping_country, shipping_option, custom_fields, tax_ids, metadata,
           created_at, as_of, asked, id, business_name, capture_method, amount_awaited,
           amount_credited)
         VALUES (?1, ?2, ?3, ?4, 'unpaid', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
           ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38,
           coalesce(?39, 0))",
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
            clock::text(order.as_of),
            asked,
            number,
            order.business_name,
            order.hold.as_ref().map(|_| "manual"),
            order.amount_awaited,
            order.amount_credited,
        ])
    })
    .map_err(db::translate)
}

fn insert_line(c: &Connection, order_id: i64, position: i64, line: &LineItem) -> Result<()> {
    c.prepare_cached(
        "INSERT INTO line_items(id, order_id, position, price_id, product_id, sku, name, options, quantity, currency,
           unit_amount, unit_amount_decimal, amount_subtotal, amount_discount, amount_tax,
           amount_total, requires_shipping,
           metadata, weight_g)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
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
            line.weight_g,
        ])
    })
    .map_err(db::translate)
    .and_then(one_row)
}
