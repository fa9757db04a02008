//! Where the derived file differs from the shop's: table by table, row by row, by their keys.

use std::collections::HashSet;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Rows};

use super::{Derived, cells, columns};
use crate::db;
use crate::error::Result;

/// Where the files differ.
pub struct Compared {
    /// In the order of the tables and their keys.
    pub differences: Vec<Difference>,
    /// Rows that differ and were left out, because an event about them waits, or came during the
    /// request to Stripe.
    pub moved: usize,
}

/// One value that is another one here than Stripe would have it, or a row that only one of the
/// files has.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The table that differs.
    pub table: &'static str,
    /// The row, by its key.
    pub key: String,
    /// `row` when only one of the files has it.
    pub column: String,
    /// The value in the shop's file.
    pub here: Cell,
    /// The value as derived again from Stripe.
    pub rebuilt: Cell,
}

/// How the rows of a table are compared: which of its columns are not Stripe's facts, or are given
/// out by the file itself.
struct Rule {
    table: &'static str,
    but: &'static [&'static str],
    /// Where the rows are, as `t`, with their order as `o`.
    from: &'static str,
    /// A row's name in both files; then the number of the question to Stripe about it, and which
    /// objects it is about.
    about: [&'static str; 4],
    /// More values to compare.
    more: &'static [&'static str],
}

const OF_PAYMENT: [&str; 4] = ["t.id", "t.asked", "t.charge_id", "t.payment_intent_id"];

const RULES: &[Rule] = &[
    Rule {
        table: "orders",
        but: &["id", "as_of", "asked", "line_items_at", "note", "hold_reason", "canceled_at", "cancel_reason"],
        // An order that was added by hand is none of Stripe's.
        from: "(SELECT * FROM orders WHERE origin IS NULL) t",
        about: ["t.checkout_session_id", "t.asked", "t.checkout_session_id", "t.payment_intent_id"],
        more: &[],
    },
    Rule {
        table: "line_items",
        // A file of an older version has no weights.
        but: &["id", "order_id", "canceled_quantity", "weight_g"],
        from: "(SELECT * FROM line_items WHERE order_id NOT IN (SELECT id FROM orders WHERE origin IS NOT NULL)) t
               LEFT JOIN orders o ON o.id = t.order_id",
        about: ["t.id", "o.asked", "o.checkout_session_id", "o.payment_intent_id"],
        more: &["o.checkout_session_id"],
    },
    // How much of a line is to be sent, was sent or will not be: that is what a sale begins with,
    // however it was packed.
    Rule {
        table: "fulfillment_line_items",
        but: &["fulfillment_id", "line_item_id", "quantity"],
        from: "(SELECT line_item_id, order_id, sum(quantity) AS quantity,
                 group_concat(DISTINCT requires_shipping) AS requires_shipping
                FROM (SELECT l.line_item_id, f.order_id, l.quantity, f.requires_shipping
                      FROM fulfillment_line_items l JOIN fulfillments f ON f.id = l.fulfillment_id
                      WHERE f.status <> 'canceled' AND f.replacement IS NULL
                      UNION ALL SELECT l.id, l.order_id, l.canceled_quantity, l.requires_shipping
                      FROM line_items l JOIN orders o ON o.id = l.order_id
                      WHERE l.canceled_quantity > 0 AND o.payment_status IN('paid', 'no_payment_required'))
                WHERE order_id NOT IN (SELECT id FROM orders WHERE origin IS NOT NULL)
                GROUP BY line_item_id) t LEFT JOIN orders o ON o.id = t.order_id",
        about: ["t.line_item_id", "o.asked", "o.checkout_session_id", "o.payment_intent_id"],
        more: &["t.quantity", "t.requires_shipping"],
    },
    Rule { table: "refunds", but: &["id", "as_of", "asked", "failed_at"], from: "refunds \
        t", about: OF_PAYMENT, more: &[] },
    Rule { table: "disputes", but: &["id", "as_of", "asked"], from: "disputes t", about: OF_PAYMENT, more: &[] },
    Rule { table: "reviews", but: &["id", "as_of", "asked"], from: "reviews t", about: OF_PAYMENT, more: &[] },
    Rule { table: "fraud_warnings", but: &["id", "as_of", "asked"], from: "fraud_warnings \
        t", about: OF_PAYMENT, more: &[] },
];

/// Compares what comes from Stripe. What the operator has done is not compared: notes, holds,
/// cancellations, parcels, and the columns of contact and shipping that the history says were
/// corrected.
pub fn compare(here: &Connection, new: &Connection, derived: &Derived) -> Result<Compared> {
    // One moment for all of it, whatever the daemon writes meanwhile.
    let moment = here.unchecked_transaction().map_err(db::translate)?;
    let apart = Apart {
        moving: moving(here, new, derived.began)?,
        began: derived.began,
        canceled: texts(here, "SELECT checkout_session_id FROM orders \
                               WHERE canceled_at IS NOT NULL AND origin IS NULL", &[])?,
        corrected: texts(
            here,
            "SELECT o.checkout_session_id || ' ' || h.what FROM order_history h JOIN orders o ON o.id = h.order_id
             WHERE h.actor NOT GLOB 'stripe:*' AND o.origin IS NULL",
            &[],
        )?,
        lost: &derived.lost_objects,
    };
    let mut compared = Compared { differences: Vec::new(), moved: 0 };
    for rule in RULES {
        compared.table(here, new, rule, &apart)?;
    }
    drop(moment);
    Ok(compared)
}

/// The objects about which an event waits, waited when the events were copied, or has come since;
/// and their payments, because an event about one refund leads to all.
fn moving(here: &Connection, new: &Connection, began: i64) -> Result<HashSet<String>> {
    let waits = "SELECT object_id FROM events WHERE object_id IS NOT NULL AND (state = 'pending' OR seq > ?1)";
    let mut moving = texts(here, waits, &[&began])?;
    moving.extend(texts(new, waits, &[&i64::MAX])?);
    let payments = "SELECT checkout_session_id, NULL, payment_intent_id FROM orders
                    UNION ALL SELECT id, charge_id, payment_intent_id FROM refunds
                    UNION ALL SELECT id, charge_id, payment_intent_id FROM disputes
                    UNION ALL SELECT id, charge_id, payment_intent_id FROM reviews
                    UNION ALL SELECT id, charge_id, payment_intent_id FROM fraud_warnings";
    let mut statement = here.prepare(payments).map_err(db::translate)?;
    let mut rows = statement.query([]).map_err(db::translate)?;
    let mut paid = Vec::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let [id, charge, payment] =
            [0, 1, 2].map(|i| row.get::<_, Option<String>>(i).unwrap_or_default());
        let moves = |id: &Option<String>| id.as_ref().is_some_and(|id| moving.contains(id));
        paid.extend(payment.filter(|_| moves(&id) || moves(&charge)));
    }
    moving.extend(paid);
    Ok(moving)
}

fn texts(c: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<HashSet<String>> {
    c.prepare(sql)
        .and_then(|mut q| q.query_map(params, |row| row.get(0))?.collect())
        .map_err(db::translate)
}

/// What is not compared.
struct Apart<'a> {
    /// The last number of the sequence before it all.
    began: i64,
    /// Objects that move.
    moving: HashSet<String>,
    /// Sessions whose order the operator has canceled.
    canceled: HashSet<String>,
    /// A session and a column, with a blank between them.
    corrected: HashSet<String>,
    /// Objects that Stripe knows no more.
    lost: &'a HashSet<String>,
}

/// One row of a table: its `about`, and the values to compare.
struct Fact {
    about: Vec<Cell>,
    values: Vec<Cell>,
}

impl Fact {
    fn next(rows: &mut Rows, about: usize, all: usize) -> Result<Option<Fact>> {
        let row = rows
            .next()
            .and_then(|row| row.map(|row| cells(row, all)).transpose())
            .map_err(db::translate)?;
        Ok(row.map(|mut about_and_values| Fact {
            values: about_and_values.split_off(about),
            about: about_and_values,
        }))
    }

    fn text(&self, at: usize) -> &str {
        match &self.about[at] {
            Cell::Text(text) => text,
            _ => "",
        }
    }

    /// The number of the question that it answers.
    fn asked(&self) -> i64 {
        match self.about[1] {
            Cell::Integer(asked) => asked,
            _ => 0,
        }
    }

    fn is_about(&self, objects: &HashSet<String>) -> bool {
        [0, 2, 3].into_iter().any(|at| objects.contains(self.text(at)))
    }
}

impl Compared {
    /// Walks both tables by their keys.
    fn table(
        &mut self,
        here: &Connection,
        new: &Connection,
        rule: &'static Rule,
        apart: &Apart,
    ) -> Result<()> {
        let names = columns(new, rule.table, rule.but)?;
        let compared = names
            .iter()
            .map(|name| format!("t.{name}"))
            .chain(rule.more.iter().map(|c| c.to_string()));
        let all: Vec<String> = rule.about.iter().map(|c| c.to_string()).chain(compared).collect();
        let sql = format!("SELECT {} FROM {} ORDER BY 1", all.join(", "), rule.from);
        let names: Vec<&str> = all[rule.about.len()..].iter().map(|c| &c[2..]).collect();
        let (mut a, mut b) =
            (here.prepare(&sql).map_err(db::translate)?, new.prepare(&sql).map_err(db::translate)?);
        let (mut a, mut b) =
            (a.query([]).map_err(db::translate)?, b.query([]).map_err(db::translate)?);
        let about = rule.about.len();
        let (mut left, mut right) =
            (Fact::next(&mut a, about, all.len())?, Fact::next(&mut b, about, all.len())?);
        loop {
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(left), Some(right)) => left.text(0).cmp(right.text(0)),
            };
            let ours = left.take_if(|_| order.is_le());
            let theirs = right.take_if(|_| order.is_ge());
            self.fact(rule, &names, ours.as_ref(), theirs.as_ref(), apart);
            if order.is_le() {
                left = Fact::next(&mut a, about, all.len())?;
            }
            if order.is_ge() {
                right = Fact::next(&mut b, about, all.len())?;
            }
        }
    }

    fn fact(
        &mut self,
        rule: &'static Rule,
        names: &[&str],
        ours: Option<&Fact>,
        theirs: Option<&Fact>,
        apart: &Apart,
    ) {
        let Some(one) = ours.or(theirs) else { return };
        let key = one.text(0);
        let difference = |column: &str, here: Cell, rebuilt: Cell| Difference {
            table: rule.table,
            key: key.into(),
            column: column.into(),
            here,
            rebuilt,
        };
        let is = |fact: Option<&Fact>| {
            Cell::Text(if fact.is_some() { "there" } else { "missing" }.into())
        };
        let found: Vec<Difference> = match (ours, theirs) {
            (Some(ours), Some(theirs)) => (names.iter().zip(&ours.values).zip(&theirs.values))
                .filter(|((name, here), rebuilt)| {
                    here != rebuilt && !apart.corrected.contains(&format!("{key} {name}"))
                })
                .map(|((name, here), rebuilt)| difference(name, here.clone(), rebuilt.clone()))
                .collect(),
            _ => vec![difference("row", is(ours), is(theirs))],
        };
        let newer = ours.is_some_and(|ours| ours.asked() > apart.began);
        if found.is_empty()
            || rule.table == "fulfillment_line_items" && apart.canceled.contains(one.text(2))
            || theirs.is_none() && one.is_about(apart.lost)
        {
            return;
        }
        match newer || one.is_about(&apart.moving) {
            true => self.moved += 1,
            false => self.differences.extend(found),
        }
    }
}
