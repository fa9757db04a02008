//! The SQL that applies a Change: rows as Stripe has them, and so what is to be sent. It holds no
//! Stripe client.

use rusqlite::{Connection, OptionalExtension, ToSql};
use serde_json::{Value, json};

use crate::change::{About, Change, Refund};
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::sabotage;

mod orders; // an order and its lines
#[cfg(test)]
mod tests;

/// Applies a fact that answers the request with the number `asked` (`inbox::next_number`). The
/// caller is inside its transaction and has named itself in `actor`. Applying it again, or the
/// answer to an older request after that to a newer one, changes nothing; triggers write the
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
        Change::Order(order) => match orders::find(c, &order.checkout_session_id)? {
            None => orders::take_in(c, order, asked, number),
            Some(known) => orders::bring_up_to_date(c, &known, order, asked),
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
            let moves = dispute.money_moves.iter().map(|moved| {
                let at = clock::text(moved.at);
                match &moved.settled {
                    None => json!({"amount": moved.amount, "at": at}),
                    Some((settled, currency)) => json!({"amount": moved.amount, "at": at,
                        "settled": settled, "settled_currency": currency}),
                }
            });
            let settled = dispute.settled.as_ref();
            let facts: [(&str, &dyn ToSql); 11] = [
                ("amount", &dispute.amount),
                ("currency", &dispute.currency),
                ("status", &dispute.status),
                ("reason", &dispute.reason),
                ("evidence_due_by", &dispute.evidence_due_by.map(clock::text)),
                ("amount_lost", &dispute.amount_lost),
                ("is_charge_refundable", &dispute.is_charge_refundable),
                ("money_moves", &Value::from_iter(moves).to_string()),
                ("settled_currency", &settled.map(|settled| &settled.currency)),
                ("settled_amount", &settled.map(|settled| settled.amount)),
                ("settled_lost", &settled.map(|settled| settled.lost)),
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
    if sabotage::is("no_refund_before_the_order") && !is_of_an_order(c, &about.payment_intent_id)? {
        return Ok(());
    }
    let known: Option<i64> = c
        .prepare_cached(&format!("SELECT asked FROM {table} WHERE id = ?1"))
        .and_then(|mut q| q.query_row([&about.id], |row| row.get(0)).optional())
        .map_err(db::translate)?;
    if known.is_some_and(|known| known >= asked) {
        return Ok(());
    }
    let payment = filed_under(c, about)?;
    let (created_at, as_of) = (clock::text(about.created_at), clock::text(about.as_of));
    if sabotage::is("newer_by_the_clock") && is_older_by_the_clock(c, table, &about.id, &as_of)? {
        return Ok(());
    }
    let common: [(&str, &dyn ToSql); 7] = [
        ("id", &about.id),
        ("payment_intent_id", &payment),
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

/// The payment under which an order finds what is about this one. Several payments may pay an
/// invoice, and its order names one of them.
fn filed_under(c: &Connection, about: &About) -> Result<String> {
    let own = &about.payment_intent_id;
    let Some(invoice) = &about.invoice_id else { return Ok(own.clone()) };
    let sql = "SELECT payment_intent_id FROM orders
               WHERE invoice_id = ?1 AND payment_intent_id IS NOT NULL ORDER BY id";
    let of_order: Option<String> = c
        .prepare_cached(sql)
        .and_then(|mut q| q.query_row([invoice], |row| row.get(0)).optional())
        .map_err(db::translate)?;
    Ok(of_order.unwrap_or_else(|| own.clone()))
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
/// or says it first. The books count it while the status says so. It is kept beside another status
/// as well: no refund that failed ever succeeds, so an answer that says so is wrong, and the books
/// of a past month must not change by it.
fn failed_at(c: &Connection, refund: &Refund) -> Result<Option<String>> {
    let is_failed = |status: &str| matches!(status, "failed" | "canceled");
    let known: Option<(String, Option<String>)> = c
        .prepare_cached("SELECT status, failed_at FROM refunds WHERE id = ?1")
        .and_then(|mut q| {
            q.query_row([&refund.about.id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(db::translate)?;
    let (was, booked) = known.unwrap_or_default();
    let told = refund.failed_at.map(clock::text);
    Ok(match (is_failed(&refund.status), is_failed(&was)) {
        (false, _) => booked,
        (true, true) => booked.or(told).or(Some(clock::text(refund.about.as_of))),
        (true, false) => told.or(booked).or(Some(clock::text(refund.about.as_of))),
    })
}

fn is_of_an_order(c: &Connection, payment_intent: &str) -> Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?1)";
    c.query_row(sql, [payment_intent], |row| row.get(0)).map_err(db::translate)
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

fn one_row(rows: usize) -> Result<()> {
    if rows == 1 {
        Ok(())
    } else {
        Err(Error::Permanent(format!("{rows} rows were written where one was meant")))
    }
}
