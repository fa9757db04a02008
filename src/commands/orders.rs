//! `fulfilld orders`: the orders, the packing queue, one order looked at closely.

use std::io::Write;

use clap::Subcommand;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::{File, Output, none_such};
use crate::db;
use crate::error::Result;
use crate::table::{self, Table};

/// As many as are read on a screen or two; `--all` lifts it.
const LATEST: i64 = 50;

/// Orders in a row each; a WHERE may follow. For eyes a long list of items is cut, and a canceled order says so first;
/// for machines it is every column of the order, and what the view derives from them.
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

/// List the orders, newest last, or show one
///
/// Without more it lists the latest 50, as `orders list` does. The same is SELECT * FROM order_overview in sqlite3.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld orders --to-ship", args_conflicts_with_subcommands = true)]
#[command(subcommand_value_name = "WHAT", subcommand_help_heading = "What", disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
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
    #[arg(long, conflicts_with = "all")]
    to_ship: bool,
    /// Every order instead of the latest 50
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// Show one order: what was bought, what was sent, who changed what
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld orders show 1042")]
struct Show {
    /// The order's number
    #[arg(value_name = "N")]
    order: i64,
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    output: Output,
}

/// Prints what was asked for. `Permanent` when there is no order of that number.
pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        None => list(&args.list),
        Some(What::List(args)) => list(args),
        Some(What::Show(args)) => show(args),
    }
}

fn list(args: &List) -> Result<()> {
    let c = args.file.read()?;
    let json = args.output.json;
    if args.to_ship {
        return table::print_query(&c, "SELECT * FROM to_ship", [], json, "nothing is to be shipped");
    }
    let limit = if args.all { -1 } else { LATEST };
    let latest = "WHERE v.id IN (SELECT id FROM orders ORDER BY id DESC LIMIT ?1) ORDER BY v.id";
    table::print_query(&c, &format!("{} {latest}", overview(&args.output)), [limit], json, "no orders yet")?;
    let all: i64 = c.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).map_err(db::translate)?;
    if all > LATEST && !args.all {
        let _ = writeln!(std::io::stderr(), "the latest {LATEST} of {all}; --all lists every one");
    }
    Ok(())
}

fn show(args: &Show) -> Result<()> {
    let c = args.file.read()?;
    // One moment for all of it, whatever the daemon writes meanwhile.
    let c = c.unchecked_transaction().map_err(db::translate)?;
    let known = c.query_row("SELECT 1 FROM orders WHERE id = ?1", [args.order], |_| Ok(())).optional();
    if known.map_err(db::translate)?.is_none() {
        return Err(none_such(format!("order {}", args.order), "fulfilld orders"));
    }
    if args.output.json { print_object(&c, args) } else { print_page(&c, args.order) }
}

fn print_page(c: &Connection, order: i64) -> Result<()> {
    let head = "SELECT v.id AS \"order\", v.placed_at, v.customer, o.email, o.phone, v.total, v.financial_status,
          v.fulfillment_status, o.hold_reason, o.canceled_at, o.cancel_reason, o.note,
          coalesce(o.shipping_name, '') || char(10) || coalesce(o.shipping_line1, '') || char(10) ||
            coalesce(o.shipping_line2, '') || char(10) ||
            trim(coalesce(o.shipping_postal_code, '') || ' ' || coalesce(o.shipping_city, '')) || char(10) ||
            trim(coalesce(o.shipping_state, '') || ' ' || coalesce(o.shipping_country, '')) AS ship_to,
          o.shipping_option, o.client_reference_id, o.checkout_session_id, o.payment_intent_id
        FROM order_overview v JOIN orders o ON o.id = v.id WHERE v.id = ?1";
    let parcels = "SELECT f.id AS fulfillment, f.status,
          (SELECT group_concat(fl.quantity || ' × ' || li.name, ', ') FROM fulfillment_line_items fl
           JOIN line_items li ON li.id = fl.line_item_id WHERE fl.fulfillment_id = f.id) AS items,
          f.tracking_company, f.tracking_number, f.tracking_url, f.shipped_at, f.delivered_at, f.note
        FROM fulfillments f WHERE f.order_id = ?1 ORDER BY f.id";
    let lines = "SELECT quantity, name, options, sku, price, total, sent, left_to_send, canceled
        FROM order_lines WHERE order_id = ?1";
    let history = "SELECT at, actor, what, old, new FROM order_history WHERE order_id = ?1 ORDER BY id";
    table::print(&Table::query(c, head, [order])?.list())?;
    for (nothing, sql) in
        [("Stripe names nothing that was bought", lines), ("nothing to send", parcels), ("no history", history)]
    {
        table::print("\n")?;
        Table::query(c, sql, [order])?.print(false, nothing)?;
    }
    Ok(())
}

/// The same as one object in one line.
fn print_object(c: &Connection, args: &Show) -> Result<()> {
    let of = |sql: &str| Table::query(c, sql, [args.order]).map(|table| table.objects().collect::<Vec<_>>());
    let mut object = of(&format!("{} WHERE v.id = ?1", overview(&args.output)))?.swap_remove(0);
    for (key, sql) in [
        ("line_items", "SELECT * FROM order_lines WHERE order_id = ?1"),
        ("fulfillments", "SELECT * FROM fulfillments WHERE order_id = ?1 ORDER BY id"),
        (
            "fulfillment_line_items",
            "SELECT fl.* FROM fulfillments f JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id
             WHERE f.order_id = ?1",
        ),
        ("history", "SELECT at, actor, what, old, new FROM order_history WHERE order_id = ?1 ORDER BY id"),
    ] {
        object.insert(key.into(), of(sql)?.into_iter().map(Value::Object).collect());
    }
    table::print(&table::json_line(object))
}
