//! The SQL that applies a Change: rows as Stripe has them, and so what is to be sent. It holds no
//! Stripe client.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::{Value, json};

use crate::change::{About, Change, LineItem, Order, PaymentStatus, Refund};
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::forgotten;
use crate::sabotage;

/// Applies a fact that answers the question with the number `asked` (`inbox::next_number`). The
/// caller is inside its transaction and has named itself in `actor`. Applying it again, or the
/// answer to an older question after that to a newer one, changes nothing; triggers write the
/// history, the fulfillments and the outbox.
pub fn apply(c: &Connection, change: &Change, asked: i64) -> Result<()> {
    apply_numbered(c, change, asked, None)
}

/// The same, with the number that an order has when it is a new one; `None` is the next.
pub fn apply_numbered(
    c: &Connection,
    change: &Change,
    asked: i64,
    number: Option<i64>,
) -> Result<()> {
    match change {
        Change::Order(order) => match find(c, &order.checkout_session_id)? {
            None => take_in(c, order, asked, number),
            Some(known) => bring_up_to_date(c, &known, order, asked),
        },
        Change::Refunds(refunds) => refunds.iter().try_for_each(|refund| {
            let facts: [(&str, &dyn ToSql); 7] = [
                ("amount", &refund.amount),
                ("currency", &refund.currency),
                ("status", &refund.status),
                ("reason", &refund.reason),
                ("failure_reason", &refund.failure_reason),
                ("balance_transaction_id", &refund.balance_transaction_id),
                ("failed_at", &failed_at(c, refund)?),
            ];
            keep(c, "refunds", &refund.about, asked, &facts)
        }),
        Change::Dispute(dispute) => {
            let moves = dispute
                .money_moves
                .iter()
                .map(|(amount, at)| json!({"amount": amount, "at": clock::text(*at)}));
            let facts: [(&str, &dyn ToSql); 8] = [
                ("amount", &dispute.amount),
                ("currency", &dispute.currency),
                ("status", &dispute.status),
                ("reason", &dispute.reason),
                ("evidence_due_by", &dispute.evidence_due_by.map(clock::text)),
                ("amount_lost", &dispute.amount_lost),
                ("is_charge_refundable", &dispute.is_charge_refundable),
                ("money_moves", &Value::from_iter(moves).to_string()),
            ];
            keep(c, "disputes", &dispute.about, asked, &facts)
        }
        Change::Review(review) => {
            let facts: [(&str, &dyn ToSql); 3] = [
                ("open", &review.open),
                ("reason", &review.reason),
                ("closed_reason", &review.closed_reason),
            ];
            keep(c, "reviews", &review.about, asked, &facts)
        }
        Change::FraudWarning(warning) => {
            let facts: [(&str, &dyn ToSql); 2] =
                [("actionable", &warning.actionable), ("fraud_type", &warning.fraud_type)];
            keep(c, "fraud_warnings", &warning.about, asked, &facts)
        }
    }
}

/// A row of what comes beside an order, whether or not the order is there yet: made, or brought up
/// to date by a newer answer.
fn keep(
    c: &Connection,
    table: &str,
    about: &About,
    asked: i64,
    facts: &[(&str, &dyn ToSql)],
) -> Result<()> {
    let known: Option<i64> = c
        .prepare_cached(&format!("SELECT asked FROM {table} WHERE id = ?1"))
        .and_then(|mut q| q.query_row([&about.id], |row| row.get(0)).optional())
        .map_err(db::translate)?;
    if known.is_some_and(|known| known >= asked) {
        return Ok(());
    }
    let (created_at, as_of) = (clock::text(about.created_at), clock::text(about.as_of));
    if sabotage::is("newer_by_the_clock") && is_older_by_the_clock(c, table, &about.id, &as_of)? {
        return Ok(());
    }
    let common: [(&str, &dyn ToSql); 7] = [
        ("id", &about.id),
        ("payment_intent_id", &about.payment_intent_id),
        ("charge_id", &about.charge_id),
        ("subscription_id", &about.subscription_id),
        ("created_at", &created_at),
        ("as_of", &as_of),
        ("asked", &asked),
    ];
    let (columns, values): (Vec<&str>, Vec<&dyn ToSql>) =
        common.iter().chain(facts).copied().unzip();
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    let sql = match known {
        None => {
            format!("INSERT INTO {table}({}) VALUES({})", columns.join(", "), places.join(", "))
        }
        Some(_) => {
            let set: Vec<String> = columns
                .iter()
                .zip(&places)
                .map(|(column, place)| format!("{column} = {place}"))
                .collect();
            format!("UPDATE {table} SET {} WHERE id = ?1", set.join(", "))
        }
    };
    c.prepare_cached(&sql)
        .and_then(|mut statement| statement.execute(values.as_slice()))
        .map_err(db::translate)
        .and_then(one_row)?;
    match &about.invoice_id {
        Some(invoice) => learn_payment(c, invoice, &about.payment_intent_id),
        None => Ok(()),
    }
}

/// The order of an invoice learns which payment paid it, where Stripe did not show that when the
/// order came.
fn learn_payment(c: &Connection, invoice: &str, payment_intent: &str) -> Result<()> {
    let learned = c
        .prepare_cached(
            "UPDATE orders SET payment_intent_id = ?2 WHERE invoice_id = ?1 AND payment_intent_id IS NULL
               AND NOT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?2)",
        )
        .and_then(|mut update| update.execute((invoice, payment_intent)))
        .map_err(db::translate)?;
    if learned > 0 { wake(c, payment_intent) } else { Ok(()) }
}

/// What was ignored because no order had that payment is due now.
fn wake(c: &Connection, payment_intent: &str) -> Result<()> {
    c.prepare_cached("UPDATE events SET state = 'pending' WHERE awaits = ?1 AND state = 'ignored'")
        .and_then(|mut update| update.execute([payment_intent]))
        .map(drop)
        .map_err(db::translate)
}

/// When a refund's money came back to the shop: as it was booked, which stays; else as Stripe says,
/// or says it first.
fn failed_at(c: &Connection, refund: &Refund) -> Result<Option<String>> {
    if !matches!(refund.status.as_str(), "failed" | "canceled") {
        return Ok(None);
    }
    let booked: Option<Option<String>> = c
        .prepare_cached("SELECT failed_at FROM refunds WHERE id = ?1")
        .and_then(|mut q| q.query_row([&refund.about.id], |row| row.get(0)).optional())
        .map_err(db::translate)?;
    Ok(booked.flatten().or(Some(clock::text(refund.failed_at.unwrap_or(refund.about.as_of)))))
}

/// True when the row's answer is of a later time, whatever that is worth.
fn is_older_by_the_clock(c: &Connection, table: &str, id: &str, as_of: &str) -> Result<bool> {
    c.query_row(
        &format!("SELECT count(*) FROM {table} WHERE id = ?1 AND as_of > ?2"),
        (id, as_of),
        |row| row.get(0),
    )
    .map_err(db::translate)
}

/// What the file already says of a session.
struct Known {
    id: i64,
    payment_status: PaymentStatus,
    payment_intent_id: Option<String>,
    asked: i64,
    has_lines: bool,
}

fn find(c: &Connection, session: &str) -> Result<Option<Known>> {
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
fn take_in(c: &Connection, order: &Order, asked: i64, number: Option<i64>) -> Result<()> {
    let nameless;
    let mut order = order;
    if forgotten::is(c, &order.checkout_session_id)? {
        nameless = order.without_person();
        order = &nameless;
    }
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
    order.payment_intent_id.as_ref().map_or(Ok(()), |payment| wake(c, payment))
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
fn bring_up_to_date(c: &Connection, known: &Known, order: &Order, asked: i64) -> Result<()> {
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
    c.prepare_cached(
        "UPDATE orders SET as_of = ?2, payment_intent_id = coalesce(?3, payment_intent_id), amount_subtotal = ?4,
           amount_discount = ?5, amount_shipping = ?6, amount_tax = ?7, amount_total = ?8,
           subscription_id = coalesce(?9, subscription_id), invoice_id = coalesce(?10, invoice_id),
           metadata = iif(EXISTS(SELECT 1 FROM forgotten WHERE subject = checkout_session_id), metadata, ?11),
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
        ])
    })
    .map_err(db::translate)
    .and_then(one_row)?;
    match &order.payment_intent_id {
        Some(payment) if known.payment_intent_id.as_ref() != Some(payment) => wake(c, payment),
        _ => Ok(()),
    }
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
           created_at, as_of, asked, id, business_name, capture_method)
         VALUES (?1, ?2, ?3, ?4, 'unpaid', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
           ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37)",
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

fn one_row(rows: usize) -> Result<()> {
    if rows == 1 {
        Ok(())
    } else {
        Err(Error::Permanent(format!("{rows} rows were written where one was meant")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Address, Dispute, FraudWarning, Refund, Review};
    use serde_json::json;

    fn file() -> Connection {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'stripe:evt_1'", []).unwrap();
        c
    }

    const BEGAN: i64 = 1_795_489_500;

    /// The clock goes backwards in these tests, because nothing depends on it: the later a
    /// question, the earlier it says.
    fn clock_at(question: i64) -> clock::Timestamp {
        clock::from_unix(BEGAN - question).unwrap()
    }

    /// Applies an answer as that of the question that its time was made from.
    fn hear(c: &Connection, change: &Change) {
        let as_of = match change {
            Change::Order(order) => order.as_of,
            Change::Refunds(refunds) => refunds[0].about.as_of,
            Change::Dispute(dispute) => dispute.about.as_of,
            Change::Review(review) => review.about.as_of,
            Change::FraudWarning(warning) => warning.about.as_of,
        };
        apply(c, change, BEGAN - as_of.as_second()).unwrap();
    }

    /// What Stripe said to this question: a mug and an e-book.
    fn answer(question: i64, payment_status: PaymentStatus, total: i64) -> Change {
        let line = |id: &str, requires_shipping: bool| LineItem {
            id: id.into(),
            price_id: None,
            product_id: None,
            sku: None,
            name: "Mug".into(),
            options: None,
            quantity: 2,
            currency: "eur".into(),
            unit_amount: Some(100),
            unit_amount_decimal: None,
            amount_subtotal: 200,
            amount_discount: 0,
            amount_tax: 0,
            amount_total: 200,
            requires_shipping,
            weight_g: None,
            metadata: json!({}),
        };
        let at = clock_at(question);
        Change::Order(Box::new(Order {
            as_of: at,
            checkout_session_id: "cs_1".into(),
            payment_intent_id: (total > 0).then(|| "pi_1".into()),
            livemode: false,
            mode: "payment".into(),
            payment_status,
            currency: "eur".into(),
            amount_subtotal: total,
            amount_discount: 0,
            amount_shipping: 0,
            amount_tax: 0,
            amount_total: total,
            presentment: None,
            customer_id: None,
            subscription_id: None,
            invoice_id: None,
            payment_link_id: None,
            client_reference_id: None,
            email: Some("ada@example.com".into()),
            name: None,
            business_name: None,
            phone: None,
            shipping: Address::default(),
            shipping_option: None,
            custom_fields: json!([]),
            tax_ids: json!([]),
            metadata: json!({}),
            created_at: at,
            paid_at: payment_status.is_sale().then_some(at),
            settled_at: None,
            hold: None,
            lines: vec![line("li_1", true), line("li_2", false)],
        }))
    }

    fn about(question: i64, id: &str) -> About {
        let at = clock_at(question);
        About {
            as_of: at,
            id: id.into(),
            payment_intent_id: "pi_1".into(),
            charge_id: None,
            invoice_id: None,
            subscription_id: None,
            created_at: at,
        }
    }

    fn refund(question: i64, id: &str, status: &'static str, amount: i64) -> Refund {
        let currency = "eur".into();
        Refund {
            about: about(question, id),
            amount,
            currency,
            status: status.into(),
            reason: None,
            failure_reason: None,
            balance_transaction_id: Some("txn_1".into()),
            failed_at: None,
        }
    }

    fn dispute(question: i64, status: &str) -> Change {
        Change::Dispute(Dispute {
            about: about(question, "du_1"),
            amount: 400,
            currency: "eur".into(),
            status: status.into(),
            reason: Some("fraudulent".into()),
            evidence_due_by: clock::from_unix(BEGAN),
            amount_lost: 0,
            is_charge_refundable: false,
            money_moves: Vec::new(),
        })
    }

    #[test]
    fn an_older_refund_dispute_review_or_warning_never_overwrites_a_newer_one() {
        let review = |question: i64, open: bool| {
            let closed_reason = (!open).then(|| "approved".into());
            Change::Review(Review {
                about: about(question, "prv_1"),
                open,
                reason: None,
                closed_reason,
            })
        };
        let warning = |question: i64, actionable: bool| {
            Change::FraudWarning(FraudWarning {
                about: about(question, "issfr_1"),
                actionable,
                fraud_type: None,
            })
        };
        let refunds = |question: i64, status: &'static str| {
            Change::Refunds(vec![refund(question, "re_1", status, 400)])
        };
        for (older, newer, sql, left) in [
            (refunds(1, "pending"), refunds(2, "failed"), "SELECT status FROM refunds", "failed"),
            (
                dispute(1, "needs_response"),
                dispute(2, "won"),
                "SELECT status || evidence_due_by FROM disputes",
                "won2026-11-24T03:05:00Z",
            ),
            (
                review(1, true),
                review(2, false),
                "SELECT open || closed_reason FROM reviews",
                "0approved",
            ),
            (
                warning(1, true),
                warning(2, false),
                "SELECT actionable || '' FROM fraud_warnings",
                "0",
            ),
        ] {
            for answers in [[&older, &newer], [&newer, &older]] {
                let c = file();
                for answer in answers.into_iter().chain(answers) {
                    hear(&c, answer);
                }
                assert_eq!(one(&c, sql), left);
            }
        }
    }

    #[test]
    fn what_comes_before_its_order_finds_it_and_holds_it() {
        let order = answer(3, PaymentStatus::Paid, 400);
        let back = Change::Refunds(vec![
            refund(1, "re_1", "succeeded", 100),
            refund(1, "re_2", "pending", 50),
        ]);
        let left = "SELECT financial_status || amount_refunded || refund_pending \
                    || fulfillment_status || blocked_by FROM order_overview";
        for changes in [
            [&order, &back, &dispute(2, "needs_response")],
            [&dispute(2, "needs_response"), &back, &order],
        ] {
            let c = file();
            for change in changes {
                hear(&c, change);
            }
            assert_eq!(one(&c, left), "partially_refunded10050on_holddisputed");
            assert_eq!(
                one(&c, "SELECT count(*) || '' FROM outbox WHERE topic = 'order.disputed'"),
                "1"
            );
        }
    }

    fn one(c: &Connection, sql: &str) -> String {
        c.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_answer_never_overwrites_a_newer_one_and_a_sale_is_final() {
        use PaymentStatus::*;
        for (answers, left) in [
            ([(1, Unpaid, 400), (2, Paid, 400)], "paid 400 2"),
            ([(2, Paid, 400), (1, Unpaid, 999)], "paid 400 2"),
            ([(2, Unpaid, 400), (1, Paid, 999)], "paid 400 2"),
            ([(1, Failed, 400), (2, Paid, 400)], "paid 400 2"),
            ([(1, Paid, 400), (2, Failed, 400)], "paid 400 2"),
            ([(1, Failed, 400), (2, Unpaid, 400)], "failed 400 0"),
            ([(1, NoPaymentRequired, 0), (1, NoPaymentRequired, 0)], "no_payment_required 0 2"),
        ] {
            let c = file();
            for (question, status, total) in answers.into_iter().chain(answers) {
                hear(&c, &answer(question, status, total));
            }
            let sql = "SELECT payment_status || ' ' || amount_total || ' ' || (SELECT count(*) \
                       FROM fulfillments) FROM orders";
            assert_eq!(one(&c, sql), left, "{answers:?}");
            assert_eq!(one(&c, "SELECT count(*) || '' FROM line_items"), "2");
        }
    }

    #[test]
    fn a_sale_has_its_parcels_the_moment_it_is_one() {
        let c = file();
        hear(&c, &answer(1, PaymentStatus::Paid, 400));
        let kinds = "SELECT group_concat(requires_shipping || status || quantity)
                     FROM (SELECT * FROM fulfillments f JOIN fulfillment_line_items l ON
                     l.fulfillment_id = f.id ORDER BY f.id)";
        assert_eq!(one(&c, kinds), "1pending2,0pending2");
        assert_eq!(one(&c, "SELECT group_concat(topic) FROM outbox"), "order.paid");
    }

    #[test]
    fn the_operator_s_corrections_outlive_every_later_answer() {
        let c = file();
        hear(&c, &answer(1, PaymentStatus::Unpaid, 400));
        c.execute("UPDATE orders SET email = 'ada@example.org', shipping_line1 = '1 New Street', note = 'gift'", [])
            .unwrap();
        hear(&c, &answer(2, PaymentStatus::Paid, 400));
        let kept = "SELECT email || shipping_line1 || note || payment_status FROM orders";
        assert_eq!(one(&c, kept), "ada@example.org1 New Streetgiftpaid");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn what_the_views_show_reads_back_to_the_last_minor_unit(amount in 0..=1_000_000_000_000i64, which in 0usize..8) {
            // By Stripe's list (docs.stripe.com/currencies): ISK and UGX travel in hundredths, HUF
            // and TWD have them.
            let (currency, decimals) =
                [("eur", 2), ("jpy", 0), ("krw", 0), ("kwd", 3), ("bhd", 3), ("isk", 2), ("ugx", 2), ("huf", 2)][which];
            let c = file();
            let Change::Order(mut order) = answer(1, PaymentStatus::Paid, amount) else { panic!("an order") };
            order.currency = currency.into();
            for line in &mut order.lines {
                (line.amount_total, line.unit_amount, line.currency) = (amount, Some(amount), currency.into());
            }
            hear(&c, &Change::Order(order));
            let places = if decimals == 0 { String::new() } else { format!(".{}", "0".repeat(decimals)) };
            let shown = [
                one(&c, "SELECT total FROM order_overview"),
                one(&c, "SELECT total FROM order_lines LIMIT 1"),
                one(&c, "SELECT price FROM order_lines LIMIT 1"),
            ];
            for text in shown {
                let (number, unit) = text.split_once(' ').unwrap();
                proptest::prop_assert_eq!(unit, currency.to_uppercase());
                proptest::prop_assert_eq!(number.find('.').map_or(0, |dot| number.len() - dot), places.len());
                proptest::prop_assert_eq!(number.replace('.', "").parse::<i64>().unwrap(), amount);
            }
        }
    }
}
