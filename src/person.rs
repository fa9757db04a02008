//! What the file holds about a person, and how that is erased.
//!
//! Erased is what names a person or was written about them. Kept is what the books need: numbers,
//! amounts, dates, what was bought, country and state, tracking numbers, Stripe's ids.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row};
use serde_json::{Map, Value};

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::{Error, Result};
use crate::forgotten;
use crate::table::Table;
use crate::words;

/// The author of an erasure. The rules of the file let nobody else change its history.
pub const FORGET: &str = "fulfilld:forget";

/// Columns of `orders` that name the buyer, and what is left of each.
const ORDER_COLUMNS: &[(&str, &str)] = &[
    ("email", "NULL"),
    ("name", "NULL"),
    ("business_name", "NULL"),
    ("phone", "NULL"),
    ("shipping_name", "NULL"),
    ("shipping_line1", "NULL"),
    ("shipping_line2", "NULL"),
    ("shipping_city", "NULL"),
    ("shipping_postal_code", "NULL"),
    ("client_reference_id", "NULL"),
    ("custom_fields", "'[]'"),
    ("tax_ids", "'[]'"),
    ("metadata", "'{}'"),
    ("note", "NULL"),
    // What is on hold stays on hold.
    ("hold_reason", "iif(hold_reason IS NULL, NULL, 'erased')"),
];

/// Matters whose facts quote what a person wrote.
const QUOTING_MATTERS: &str = "('held', 'paid_twice', 'hook_dead')";

/// Columns whose values are looked for in the bytes of the files afterwards.
const BYTES: &str = "'email', 'name', 'business_name', 'phone', 'shipping_name', 'shipping_line1'";

/// Shorter texts stand anywhere by chance.
const BYTES_MIN: usize = 6;

/// Whose orders these are.
#[derive(Debug, Default)]
pub struct Person {
    /// The numbers of their orders.
    pub orders: BTreeSet<i64>,
    /// Stripe's objects that lead to them: sessions, payments, invoices, subscriptions, customers,
    /// charges.
    pub objects: BTreeSet<String>,
    /// Their e-mail addresses, in small letters.
    pub emails: BTreeSet<String>,
    /// The events whose body names them or one of the objects.
    pub events: BTreeSet<String>,
    /// The last event whose body was looked through, by its place in the table.
    looked_through: i64,
}

/// Who has that e-mail address, in whatever letters: its orders, those it stood in before it was
/// corrected, and the other orders of the same Stripe customer.
pub fn find(c: &Connection, email: &str) -> Result<Person> {
    let email = email.trim().to_lowercase();
    let mut person = Person { emails: BTreeSet::from([email.clone()]), ..Person::default() };
    let is_theirs = |text: Option<String>| text.is_some_and(|text| text.to_lowercase() == email);
    let mut customers = BTreeSet::new();
    each(c, "SELECT id, email FROM orders WHERE email IS NOT NULL", |row| {
        if is_theirs(row.get(1)?) {
            person.orders.insert(row.get(0)?);
        }
        Ok(())
    })?;
    each(c, "SELECT order_id, old, new FROM order_history WHERE what = 'email'", |row| {
        if is_theirs(row.get(1)?) || is_theirs(row.get(2)?) {
            person.orders.insert(row.get(0)?);
        }
        Ok(())
    })?;
    each(c, "SELECT id, customer_id FROM orders WHERE customer_id IS NOT NULL", |row| {
        if person.orders.contains(&row.get(0)?) {
            customers.insert(row.get::<_, String>(1)?);
        }
        Ok(())
    })?;
    each(c, "SELECT id, customer_id FROM orders WHERE customer_id IS NOT NULL", |row| {
        if customers.contains(&row.get::<_, String>(1)?) {
            person.orders.insert(row.get(0)?);
        }
        Ok(())
    })?;
    of_orders(c, &mut person)?;
    person.add_events(c)?;
    Ok(person)
}

/// The person of orders whose objects are known, as far as the orders still name them.
fn of_orders(c: &Connection, person: &mut Person) -> Result<()> {
    let sql = format!(
        "SELECT o.email, {KEY}, o.payment_intent_id, o.invoice_id, o.subscription_id, o.customer_id
         FROM orders o WHERE o.id IN(SELECT value FROM json_each(?1))"
    );
    let mut statement = c.prepare(&sql).map_err(db::translate)?;
    let mut rows = statement.query([person.numbers()]).map_err(db::translate)?;
    while let Some(row) = rows.next().map_err(db::translate)? {
        let email: Option<String> = row.get(0).map_err(db::translate)?;
        person.emails.extend(email.map(|email| email.to_lowercase()));
        for column in 1..=5 {
            person.objects.extend(row.get::<_, Option<String>>(column).map_err(db::translate)?);
        }
    }
    // The order names one payment of its invoice; what is about another one has its charge.
    for table in ["refunds", "disputes", "reviews", "fraud_warnings"] {
        let sql = format!(
            "SELECT t.charge_id FROM orders o JOIN {table} t USING(payment_intent_id)
             WHERE t.charge_id IS NOT NULL AND o.id IN(SELECT value FROM json_each(?1))"
        );
        let charges = c
            .prepare(&sql)
            .and_then(|mut q| {
                q.query_map([person.numbers()], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<String>>>()
            })
            .map_err(db::translate)?;
        person.objects.extend(charges);
    }
    Ok(())
}

/// What an order is called in the list of the forgotten; one that was added by hand has no session.
const KEY: &str = "coalesce(o.checkout_session_id, 'order ' || o.id || ' of ' || o.created_at)";

fn each(
    c: &Connection,
    sql: &str,
    mut look: impl FnMut(&Row) -> rusqlite::Result<()>,
) -> Result<()> {
    let mut statement = c.prepare(sql).map_err(db::translate)?;
    let mut rows = statement.query([]).map_err(db::translate)?;
    while let Some(row) = rows.next().map_err(db::translate)? {
        look(row).map_err(db::translate)?;
    }
    Ok(())
}

impl Person {
    /// True when the file holds nothing about them.
    pub fn is_nobody(&self) -> bool {
        self.orders.is_empty() && self.events.is_empty()
    }

    /// Looks through the bodies of the events that came since the last look.
    fn add_events(&mut self, c: &Connection) -> Result<()> {
        let sql = "SELECT rowid, id, payload FROM events WHERE rowid > ?1 AND payload IS NOT NULL ORDER BY rowid";
        let mut statement = c.prepare(sql).map_err(db::translate)?;
        let mut rows = statement.query([self.looked_through]).map_err(db::translate)?;
        while let Some(row) = rows.next().map_err(db::translate)? {
            let of = |at| row.get_ref(at).map(|value| value.as_str().unwrap_or_default());
            let payload = of(2).map_err(db::translate)?;
            let small = payload.to_lowercase();
            if self.emails.iter().any(|email| small.contains(email))
                || self.objects.iter().any(|object| payload.contains(object))
            {
                self.events.insert(of(1).map_err(db::translate)?.to_owned());
            }
            self.looked_through = row.get(0).map_err(db::translate)?;
        }
        Ok(())
    }

    fn numbers(&self) -> String {
        Value::from_iter(self.orders.iter().copied()).to_string()
    }

    fn event_ids(&self) -> String {
        Value::from_iter(self.events.iter().cloned()).to_string()
    }

    /// Why it is too early to forget them, an order and a reason each: what is not finished needs
    /// the buyer's name.
    pub fn unfinished(&self, c: &Connection) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT o.id, CASE
              WHEN o.canceled_at IS NULL AND EXISTS(SELECT 1 FROM fulfillments f
              WHERE f.order_id = o.id AND f.status = 'pending')
                THEN 'something of it is still to be sent'
              WHEN o.canceled_at IS NULL AND o.payment_status = 'unpaid' THEN 'it may still be paid'
              WHEN t.open_disputes > 0 THEN 'its payment is disputed'
              WHEN t.refund_pending > 0 THEN 'a refund is on its way' END AS why
            FROM orders o JOIN order_totals t ON t.id = o.id
            WHERE o.id IN(SELECT value FROM json_each(?1)) AND why IS NOT NULL ORDER BY o.id";
        c.prepare(sql)
            .and_then(|mut q| {
                q.query_map([self.numbers()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(db::translate)
    }

    /// The texts that must be in no file afterwards.
    pub fn texts(&self, c: &Connection) -> Result<BTreeSet<String>> {
        let sql = format!(
            "SELECT j.value FROM orders o, json_each(json_array(o.email, o.name, o.business_name,
               o.phone, o.shipping_name,
               o.shipping_line1)) j WHERE o.id IN(SELECT value FROM json_each(?1)) AND j.value IS NOT NULL
             UNION SELECT j.value FROM order_history h, json_each(json_array(h.old, h.new)) j
             WHERE h.order_id IN(SELECT value FROM json_each(?1)) AND h.what IN({BYTES}) AND j.value IS NOT NULL"
        );
        let mut texts: BTreeSet<String> = c
            .prepare(&sql)
            .and_then(|mut q| q.query_map([self.numbers()], |row| row.get(0))?.collect())
            .map_err(db::translate)?;
        texts.extend(self.emails.iter().cloned());
        texts.retain(|text| text.len() >= BYTES_MIN);
        Ok(texts)
    }

    /// Everything that the file holds about them, as one JSON value.
    pub fn held(&self, c: &Connection, email: &str) -> Result<Value> {
        let rows =
            |sql: &str, params: &[&dyn rusqlite::ToSql]| -> Result<Vec<Map<String, Value>>> {
                Ok(Table::query(c, sql, params)?.objects().collect())
            };
        let mut orders = Vec::new();
        for id in &self.orders {
            let Some(mut order) = rows("SELECT * FROM orders WHERE id = ?1", &[id])?.pop() else {
                continue;
            };
            for (name, sql) in PARTS {
                order.insert((*name).into(), rows(sql, &[id])?.into());
            }
            for name in ["custom_fields", "tax_ids", "metadata"] {
                unfold(&mut order, name);
            }
            orders.push(Value::Object(order));
        }
        let sql =
            "SELECT * FROM events WHERE id IN(SELECT value FROM json_each(?1)) ORDER BY seq, id";
        let mut events = rows(sql, &[&self.event_ids()])?;
        events.iter_mut().for_each(|event| unfold(event, "payload"));
        Ok(serde_json::json!({"email": email, "orders": orders, "events": events}))
    }

    /// Erases them, and puts what leads to them on the list of the forgotten. The caller is inside
    /// its transaction and has named itself [`FORGET`] in `actor`; the connection overwrites what it
    /// deletes.
    pub fn erase(&mut self, c: &Connection, at: Timestamp) -> Result<()> {
        self.add_events(c)?;
        let set: Vec<String> =
            ORDER_COLUMNS.iter().map(|(column, left)| format!("{column} = {left}")).collect();
        let of = "order_id IN(SELECT value FROM json_each(?1))";
        let columns: Vec<String> =
            ORDER_COLUMNS.iter().map(|(column, _)| format!("'{column}'")).collect();
        for sql in [
            format!("DELETE FROM dismissals WHERE reason IN{QUOTING_MATTERS} AND {of}"),
            format!(
                "UPDATE orders SET {} WHERE id IN(SELECT value FROM json_each(?1))",
                set.join(", ")
            ),
            // A link that leads to the parcel by its number alone names nobody.
            format!(
                "UPDATE fulfillments SET note = NULL,
                   tracking_url = (SELECT url FROM parcel_links p WHERE p.fulfillment_id = fulfillments.id) WHERE {of}"
            ),
            format!("UPDATE hook_runs SET last_error = NULL WHERE last_error IS NOT NULL AND {of}"),
            // Nobody is left to notify.
            format!("UPDATE outbox SET state = 'done' WHERE state = 'dead' AND {of}"),
            format!("UPDATE outbox SET last_error = NULL WHERE last_error IS NOT NULL AND {of}"),
            // What the lines above were written down as, and what was before.
            format!(
                "UPDATE order_history SET old = iif(old IS NULL, NULL, 'erased'), new = iif(new IS NULL, NULL, 'erased')
                 WHERE {of} AND (what IN({}) OR what GLOB 'fulfillment * note' OR what GLOB 'fulfillment * tracking_url'
                   OR (what GLOB 'attention *' AND substr(what, 11, instr(substr(what, 11),
                   ' ') - 1) IN{QUOTING_MATTERS}))",
                columns.join(", ")
            ),
        ] {
            c.execute(&sql, [self.numbers()]).map_err(db::translate)?;
        }
        let bodies =
            "UPDATE events SET payload = NULL WHERE id IN(SELECT value FROM json_each(?1))";
        c.execute(bodies, [self.event_ids()]).map_err(db::translate)?;
        words::forget(c, &self.orders)?;
        forgotten::add(c, self.objects.iter().chain(&self.events).cloned(), at)
    }
}

/// A text that is JSON becomes what it says.
fn unfold(object: &mut Map<String, Value>, name: &str) {
    if let Some(value) = object.get_mut(name)
        && let Some(inner) = value.as_str().and_then(|text| serde_json::from_str(text).ok())
    {
        *value = inner;
    }
}

/// What hangs on an order, with the order's number as the parameter.
const PARTS: &[(&str, &str)] = &[
    ("line_items", "SELECT * FROM line_items WHERE order_id = ?1 ORDER BY position"),
    ("fulfillments", "SELECT * FROM fulfillments WHERE order_id = ?1 ORDER BY id"),
    (
        "fulfillment_line_items",
        "SELECT l.* FROM fulfillment_line_items l JOIN fulfillments f ON f.id = l.fulfillment_id
         WHERE f.order_id = ?1 ORDER BY l.fulfillment_id, l.line_item_id",
    ),
    (
        "refunds",
        "SELECT r.* FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id \
         WHERE o.id = ?1 ORDER BY r.id",
    ),
    (
        "disputes",
        "SELECT d.* FROM disputes d JOIN orders o ON o.payment_intent_id = d.payment_intent_id \
         WHERE o.id = ?1 ORDER BY d.id",
    ),
    (
        "reviews",
        "SELECT w.* FROM reviews w JOIN orders o ON o.payment_intent_id = w.payment_intent_id \
         WHERE o.id = ?1 ORDER BY w.id",
    ),
    (
        "fraud_warnings",
        "SELECT w.* FROM fraud_warnings w JOIN orders o ON o.payment_intent_id = w.payment_intent_id
         WHERE o.id = ?1 ORDER BY w.id",
    ),
    ("order_history", "SELECT * FROM order_history WHERE order_id = ?1 ORDER BY id"),
    ("outbox", "SELECT * FROM outbox WHERE order_id = ?1 ORDER BY id"),
    ("hook_runs", "SELECT * FROM hook_runs WHERE order_id = ?1 ORDER BY outbox_id, target"),
    ("dismissals", "SELECT * FROM dismissals WHERE order_id = ?1 ORDER BY reason, subject"),
];

/// Forgets again what is `listed` beside a file that does not list it: a backup from before. How
/// many orders were erased. The caller is inside its transaction and has named itself [`FORGET`].
pub fn forget_again(c: &Connection, listed: &[String]) -> Result<usize> {
    let missing: BTreeSet<String> = forgotten::missing(c, listed)?.into_iter().collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let mut person = Person { events: missing.clone(), ..Person::default() };
    each(c, &format!("SELECT o.id, {KEY} FROM orders o"), |row| {
        if missing.contains(&row.get::<_, String>(1)?) {
            person.orders.insert(row.get(0)?);
        }
        Ok(())
    })?;
    of_orders(c, &mut person)?;
    // Who has bought since is no part of it: only what those orders lead to.
    person.emails.clear();
    person.erase(c, clock::now())?;
    Ok(person.orders.len())
}

/// `Permanent`: nobody has that address.
pub fn nobody(email: &str) -> Error {
    Error::Permanent(format!(
        "nothing is held about {email}; look with: fulfilld orders --search TEXT"
    ))
}
