//! `fulfilld check`: is the file whole, and does it say nothing that cannot be?

use std::io::Write;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use super::Common;
use crate::db;
use crate::error::{Error, Result};
use crate::place;
use crate::rollback_guard;
use crate::shape;
use crate::table::Table;
use crate::text;

/// Check that the file is undamaged and consistent
///
/// Runs SQLite's own check of every page and index (--quick leaves the indexes out), verifies that
/// the tables, triggers and views are those of this version, and verifies what must hold between
/// rows, such as: what is left to send of a paid order is in a pending fulfillment. What you added
/// to the file is named on standard error, and no finding; a trigger or unique index of yours on
/// fulfilld's tables can refuse events and orders. It only reads, and may run beside a running
/// fulfilld. Exit code 1 with a row for each finding.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld check")]
pub struct Args {
    /// Do not compare the indexes with the tables, which takes most of the time
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    common: Common,
}

/// What must hold between the rows, and a query for where it does not.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "what is left to send of a sale is in a pending fulfillment, and no more",
        "SELECT 'order ' || b.order_id || ', line ' || b.line_item_id
         FROM line_item_balance b JOIN orders o ON o.id = b.order_id
         WHERE b.pending <> CASE WHEN o.payment_status IN('paid', 'no_payment_required') AND o.canceled_at IS NULL
           THEN b.left_to_send ELSE 0 END",
    ),
    (
        "no more is sent than was bought",
        "SELECT 'order ' || order_id || ', line ' || line_item_id FROM line_item_balance WHERE left_to_send < 0",
    ),
    (
        "a fulfillment holds line items of its own order and kind, and a pending one holds some",
        "SELECT 'fulfillment ' || f.id FROM fulfillments f
         WHERE EXISTS(SELECT 1 FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
                      WHERE fl.fulfillment_id = f.id
                        AND (li.order_id <> f.order_id OR li.requires_shipping <> f.requires_shipping))
           OR (f.status <> 'canceled'
               AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl WHERE fl.fulfillment_id = f.id))",
    ),
    (
        "a fulfillment's dates are those of its status",
        "SELECT 'fulfillment ' || id FROM fulfillments
         WHERE (status = 'shipped' AND shipped_at IS NULL) OR (status = 'delivered') <> (delivered_at IS NOT NULL)
           OR (status = 'canceled') <> (canceled_at IS NOT NULL)",
    ),
    (
        "an order's lines are in the order's currency",
        "SELECT 'order ' || o.id || ', line ' || li.id FROM line_items li JOIN orders o ON o.id = li.order_id
         WHERE li.currency <> o.currency",
    ),
    (
        "a file holds live orders or test orders, never both",
        "SELECT 'order ' || id FROM orders WHERE livemode <> (SELECT livemode FROM shop)",
    ),
    (
        "an order's history tells where it came from",
        "SELECT 'order ' || o.id FROM orders o
         WHERE NOT EXISTS(SELECT 1 FROM order_history h WHERE h.order_id = o.id AND h.what = 'order')",
    ),
    (
        "orders without lines, or whose lines do not add up to the subtotal, are known",
        "SELECT 'order ' || o.id FROM orders o LEFT JOIN unbalanced_orders u ON u.order_id = o.id
         WHERE (u.order_id IS NULL) = (SELECT count(*) = 0 OR sum(li.amount_subtotal) <> o.amount_subtotal
           FROM line_items li WHERE li.order_id = o.id)",
    ),
    (
        "a pending event has a time when it is due",
        "SELECT 'event ' || id FROM events WHERE state = 'pending' AND next_attempt_at IS NULL",
    ),
    (
        "what has been looked through lies in the past",
        "SELECT 'sweep ' || name FROM sweeps
         WHERE until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
           OR strftime('%Y-%m-%dT%H:%M:%SZ', until, '+0 days') IS NOT until",
    ),
    (
        "whoever comes through a shell is the operator",
        "SELECT 'actor' WHERE (SELECT group_concat(name) FROM actor) IS NOT 'operator'",
    ),
];

/// Prints what it finds. `Permanent` when that is anything.
pub fn run(args: &Args) -> Result<()> {
    let c = args.common.file.read()?;
    // One moment for all of it, whatever the daemon writes meanwhile.
    let c = c.unchecked_transaction().map_err(db::translate)?;
    let mut findings = Vec::new();
    let mut find = |must_hold: &str, places: Vec<String>| {
        findings.extend(
            places.into_iter().map(|place| vec![Cell::Text(must_hold.into()), Cell::Text(place)]),
        );
    };
    let lost =
        place::real(&args.common.file.path()?).and_then(|path| rollback_guard::lost(&path, &c))?;
    find("what was typed is still there", lost.into_iter().collect());
    let pages = if args.quick { "PRAGMA quick_check" } else { "PRAGMA integrity_check" };
    find(
        "every page can be read",
        places(&c, pages)?.into_iter().filter(|said| said != "ok").collect(),
    );
    find(
        "what a row refers to is there",
        places(
            &c,
            "SELECT \"table\" || coalesce(' ' || rowid, '') || ' refers to ' || parent FROM pragma_foreign_key_check",
        )?,
    );
    find(
        "tables, triggers, views and indexes are those of this version",
        shape::lacking(&c, db::SCHEMA)
            .map_err(db::translate)?
            .into_iter()
            .map(|lacking| match lacking.kind.as_str() {
                "table" => lacking.to_string(),
                _ => format!("{lacking} (made again at the next start of fulfilld)"),
            })
            .collect(),
    );
    for (must_hold, query) in INVARIANTS {
        find(must_hold, places(&c, query)?);
    }
    name_besides(&c)?;
    let found = findings.len();
    let table = Table { columns: vec!["must_hold".into(), "does_not_at".into()], rows: findings };
    table.print(args.common.output.json, "the file is whole and true")?;
    match found {
        0 => Ok(()),
        n => Err(Error::Permanent(format!(
            "check found {n} rows in {}; keep a copy of the file, then put a backup in its place \
             (fulfilld restore BACKUP), or report it",
            args.common.file.path()?.display()
        ))),
    }
}

/// Names what the shop added to the file, which is its own affair, and what of it can refuse what
/// fulfilld writes.
fn name_besides(c: &Connection) -> Result<()> {
    let rules = shape::rules_besides(c, db::SCHEMA).map_err(db::translate)?;
    for object in shape::besides(c, db::SCHEMA).map_err(db::translate)? {
        let said = match rules.contains(&object) {
            true => format!(
                "not fulfilld's, and it can refuse events and orders: {object} on {}; if you do \
                 not need it, type in the sqlite3 shell: {}",
                object.table,
                object.drop_line()
            ),
            false => format!("not fulfilld's, and left alone: {object}"),
        };
        let _ = writeln!(std::io::stderr(), "{}", text::clean(&said));
    }
    Ok(())
}

fn places(c: &Connection, query: &str) -> Result<Vec<String>> {
    c.prepare(query)
        .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
        .map_err(db::translate)
}
