//! `fulfilld orders`: the orders, those that a text is found in, the packing queue, one order
//! looked at closely.

use std::io::Write;

use clap::Subcommand;
use rusqlite::{Connection, OptionalExtension, ToSql};
use serde_json::Value;

use super::{Common, Output, none_such};
use crate::db;
use crate::error::Result;
use crate::table::{self, Table};
use crate::text;
use crate::verbs::search;

/// As many as are read on a screen or two; `--all` lifts it.
const LATEST: usize = 50;

/// Orders in a row each; a WHERE may follow. For eyes a long list of items is cut, and a canceled
/// order says so first; for machines it is every column of the order, and what the view derives
/// from them.
pub fn overview(output: &Output) -> &'static str {
    match output.json {
        true => "SELECT o.*, v.* FROM order_overview v JOIN orders o ON o.id = v.id",
        false => {
            "SELECT v.id, v.placed_at, v.customer,
               CASE WHEN length(v.items) > 40 THEN substr(v.items, 1, 39) || '…' ELSE v.items END AS items, v.total,
               v.financial_status,
               CASE v.canceled WHEN 1 THEN 'canceled' ELSE v.fulfillment_status END AS fulfillment_status
             FROM order_overview v"
        }
    }
}

/// List the orders, newest last, search them, or show one
///
/// Without arguments it lists the latest 50, as `orders list` does. With a number it shows that
/// order, as `orders show` does. In sqlite3 the list is SELECT * FROM order_overview, and the
/// packing queue SELECT * FROM to_ship.
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld orders --to-ship",
    args_conflicts_with_subcommands = true
)]
#[command(
    subcommand_value_name = "WHAT",
    subcommand_help_heading = "What",
    disable_help_subcommand = true
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Show the order of this number
    #[arg(value_name = "N", conflicts_with_all = ["to_ship", "search", "all"])]
    order: Option<i64>,
    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum What {
    List(List),
    Show(Show),
}

/// List the orders, newest last
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld orders list --all --json")]
struct List {
    /// The packing queue: what is paid for, not on hold, and waits for a parcel, oldest first
    #[arg(long, conflicts_with_all = ["all", "search"])]
    to_ship: bool,
    /// Only orders in which each word of TEXT is found: in a name, an e-mail address, a company, a
    /// phone number, an address, a tracking number, a reference of yours, an item or its SKU; a TEXT
    /// that is an order's whole number, e-mail address or id of Stripe's, or 12 and more characters
    /// that an id begins with, finds no other
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Every order instead of the latest 50
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// Show one order: what was bought, what was sent, who changed what
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld orders show 1042")]
struct Show {
    /// The order's number
    #[arg(value_name = "N")]
    order: i64,
    #[command(flatten)]
    common: Common,
}

/// Prints them. `Permanent` when there is no order of that number.
pub fn run(args: &Args) -> Result<()> {
    match (&args.what, args.order) {
        (None, None) => list(&args.list),
        (None, Some(order)) => show(&args.list.common, order),
        (Some(What::List(args)), _) => list(args),
        (Some(What::Show(args)), _) => show(&args.common, args.order),
    }
}

fn list(args: &List) -> Result<()> {
    let c = args.common.file.read()?;
    let json = args.common.output.json;
    if args.to_ship {
        return to_ship(&c, json);
    }
    let most = if args.all { -1 } else { LATEST as i64 };
    let print = |orders: &str, value: &dyn ToSql, nothing: &str| {
        let sql =
            format!("{} WHERE v.id IN ({orders}) ORDER BY v.id", overview(&args.common.output));
        table::print_query(&c, &sql, [value], json, nothing)
    };
    let of_all = match &args.search {
        None => {
            let latest = "SELECT id FROM orders ORDER BY id DESC LIMIT ?1";
            print(latest, &most, "no orders yet")?;
            let count = "SELECT count(*) FROM orders";
            let all: i64 = c.query_row(count, [], |row| row.get(0)).map_err(db::translate)?;
            (!args.all && all > LATEST as i64).then(|| format!(" of {all}"))
        }
        Some(text) => {
            let (found, more) = match args.all {
                true => (search::orders(&c, text)?, false),
                false => {
                    let latest = search::latest(&c, text, LATEST)?;
                    (latest.orders, latest.more)
                }
            };
            let ids = serde_json::json!(found).to_string();
            let nothing = format!("no order has {} in it", text::clean(text));
            print("SELECT value FROM json_each(?1)", &ids, &nothing)?;
            more.then(String::new)
        }
    };
    if let Some(of_all) = of_all {
        let _ = writeln!(std::io::stderr(), "the latest {LATEST}{of_all}; --all lists every one");
    }
    Ok(())
}

/// What a packer does not need on a terminal: the company is in `ship_to`, note and custom fields
/// in `caution`, and `orders N` shows the rest.
const NOT_TO_PACK: &[&str] =
    &["business_name", "phone", "email", "custom_fields", "note", "parcel"];

/// The packing queue. A terminal is shown the columns in which something stands.
fn to_ship(c: &Connection, json: bool) -> Result<()> {
    let (sql, nothing) = ("SELECT * FROM to_ship", "nothing is to be shipped");
    match json || table::terminal_width().is_none() {
        true => table::print_query(c, sql, [], json, nothing),
        false => Table::query(c, sql, [])?.without(NOT_TO_PACK).print(false, nothing),
    }
}

fn show(common: &Common, order: i64) -> Result<()> {
    let c = common.file.read()?;
    // One moment for all of it, whatever the daemon writes meanwhile.
    let c = c.unchecked_transaction().map_err(db::translate)?;
    let known = c.query_row("SELECT 1 FROM orders WHERE id = ?1", [order], |_| Ok(())).optional();
    if known.map_err(db::translate)?.is_none() {
        return Err(none_such(format!("order {order}"), "fulfilld orders"));
    }
    if common.output.json { print_object(&c, &common.output, order) } else { print_page(&c, order) }
}

fn print_page(c: &Connection, order: i64) -> Result<()> {
    let head = "SELECT v.id AS \"order\", v.placed_at, v.customer, o.business_name, o.email,
                  o.phone, v.total, (o.presentment_amount / coalesce(c.unit, 100)) ||
            CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' || substr('00' ||
            (o.presentment_amount % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' ||
            upper(o.presentment_currency) AS shown_to_buyer, v.financial_status,
          v.fulfillment_status, o.hold_reason, o.canceled_at, o.cancel_reason, o.note, o.origin,
          coalesce(o.shipping_name, '') || char(10) || coalesce(o.shipping_line1, '') || char(10) ||
            coalesce(o.shipping_line2, '') || char(10) ||
            trim(coalesce(o.shipping_postal_code, '') || ' ' || coalesce(o.shipping_city, '')) || char(10) ||
            trim(coalesce(o.shipping_state, '') || ' ' || coalesce(o.shipping_country, '')) AS ship_to,
          o.shipping_option,
          (SELECT group_concat(label || ': ' || value, char(10)) FROM order_custom_fields w
          WHERE w.order_id = o.id AND value <> '') AS custom_fields,
          nullif(o.tax_ids, '[]') AS tax_ids, o.capture_before,
          (o.amount_awaited / coalesce(d.unit, 100)) || CASE coalesce(d.decimals, 2) WHEN 0 THEN ''
            ELSE '.' || substr('00' || (o.amount_awaited % coalesce(d.unit, 100)),
            -coalesce(d.decimals, 2)) END || ' ' || upper(o.currency) AS awaited_by_transfer,
          CASE WHEN o.amount_credited <> 0 THEN printf('%.*f %s', coalesce(d.decimals, 2),
            1.0 * o.amount_credited / coalesce(d.unit, 100), upper(o.currency)) END AS paid_by_credit,
          o.client_reference_id,
          o.checkout_session_id, o.payment_intent_id, o.subscription_id
        FROM order_overview v JOIN orders o ON o.id = v.id
          LEFT JOIN currency_decimals c ON c.currency = o.presentment_currency
          LEFT JOIN currency_decimals d ON d.currency = o.currency WHERE v.id = ?1";
    let parcels = "SELECT f.id AS fulfillment, f.status,
          (SELECT group_concat(fl.quantity || ' × ' || li.name, ', ') FROM fulfillment_line_items fl
           JOIN line_items li ON li.id = fl.line_item_id WHERE fl.fulfillment_id = f.id) AS items,
          f.tracking_company, f.tracking_number, f.tracking_url, f.shipped_at, f.delivered_at, f.note
        FROM fulfillments f WHERE f.order_id = ?1 ORDER BY f.id";
    let lines = "SELECT quantity, name, options, sku, price, total, sent, left_to_send, canceled
        FROM order_lines WHERE order_id = ?1";
    let history =
        "SELECT at, actor, what, old, new FROM order_history WHERE order_id = ?1 ORDER BY id";
    table::print(&Table::query(c, head, [order])?.list())?;
    for (nothing, sql) in [
        (Some("Stripe names nothing that was bought"), lines),
        (Some("nothing to send"), parcels),
        (None, FOLLOWED),
        (Some("no history"), history),
    ] {
        let table = Table::query(c, sql, [order])?;
        if let Some(nothing) = nothing.or((!table.is_empty()).then_some("")) {
            table::print("\n")?;
            table.print(false, nothing)?;
        }
    }
    Ok(())
}

/// What followed an order's payment at Stripe, oldest first.
const FOLLOWED: &str = "
    SELECT s.at, s.what, (s.amount / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2)
        WHEN 0 THEN '' ELSE '.' || substr('00' || (s.amount % coalesce(c.unit, 100)),
          -coalesce(c.decimals, 2)) END || ' ' || upper(s.currency) AS amount,
      s.status, s.reason, s.id
    FROM orders o, (
      SELECT payment_intent_id, created_at AS at, CASE WHEN id IN(SELECT source FROM bookings)
          OR status NOT IN('succeeded') THEN 'refund' ELSE 'hold released' END AS what, amount,
        currency, status, coalesce(failure_reason, reason) AS reason, id FROM refunds
      UNION ALL SELECT payment_intent_id, created_at, 'dispute', amount, currency, status,
        reason, id FROM disputes
      UNION ALL SELECT payment_intent_id, created_at, 'review', NULL, NULL,
        CASE open WHEN 1 THEN 'open' ELSE coalesce(closed_reason, 'closed') END, reason, id FROM reviews
      UNION ALL SELECT payment_intent_id, created_at, 'fraud warning', NULL, NULL,
        CASE actionable WHEN 1 THEN 'actionable' ELSE 'settled' END, fraud_type, id FROM fraud_warnings) s
    LEFT JOIN currency_decimals c ON c.currency = s.currency
    WHERE o.id = ?1 AND s.payment_intent_id = o.payment_intent_id ORDER BY s.at, s.id";

/// The same as one object in one line.
fn print_object(c: &Connection, output: &Output, order: i64) -> Result<()> {
    let of =
        |sql: &str| Table::query(c, sql, [order]).map(|table| table.objects().collect::<Vec<_>>());
    let mut object = of(&format!("{} WHERE v.id = ?1", overview(output)))?.swap_remove(0);
    for (key, sql) in [
        ("line_items", "SELECT * FROM order_lines WHERE order_id = ?1"),
        ("fulfillments", "SELECT * FROM fulfillments WHERE order_id = ?1 ORDER BY id"),
        (
            "fulfillment_line_items",
            "SELECT fl.* FROM fulfillments f JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id
             WHERE f.order_id = ?1",
        ),
        ("refunds", "SELECT r.* FROM orders o JOIN refunds r USING(payment_intent_id) WHERE o.id = ?1"),
        ("disputes", "SELECT d.* FROM orders o JOIN disputes d USING(payment_intent_id) WHERE o.id = ?1"),
        ("reviews", "SELECT w.* FROM orders o JOIN reviews w USING(payment_intent_id) WHERE o.id = ?1"),
        ("fraud_warnings",
            "SELECT w.* FROM orders o JOIN fraud_warnings w USING(payment_intent_id) WHERE o.id = ?1"),
        ("history", "SELECT at, actor, what, old, new FROM order_history WHERE order_id = ?1 ORDER BY id"),
    ] {
        object.insert(key.into(), of(sql)?.into_iter().map(Value::Object).collect());
    }
    table::print(&table::json_line(object))
}
