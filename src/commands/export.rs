//! `fulfilld export`: the books, an order or a line item a row, for a spreadsheet or a program.

use clap::ValueEnum;
use jiff::civil::Date;
use rusqlite::types::Value as Cell;

use super::File;
use crate::error::{Error, Result};
use crate::table;
use crate::text;

/// Write the books: an order or a line item a row
///
/// By the day an order was paid, in UTC, or placed while it is not paid; newest last. In CSV amounts are decimal text in
/// the currency's own decimals, exact to the last one, and the column currency says of what; text that a spreadsheet
/// would take for a formula begins with an apostrophe. In JSON lines amounts are whole minor units. Shipping is in the
/// orders, not in the lines. `net` is the total less what was refunded, and 0 while nothing is paid.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld export --since 2026-10-01 --until 2026-10-31 > october.csv")]
pub struct Args {
    /// A row a line item instead of a row an order
    #[arg(long)]
    lines: bool,
    /// From this day on, e.g. 2026-10-01
    #[arg(long, value_name = "DATE")]
    since: Option<Date>,
    /// To the end of this day
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// For a spreadsheet, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    #[command(flatten)]
    file: File,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// An order a row. Columns whose name has `amount` are minor units; the last column is for us.
const ORDERS: &str = "SELECT o.id AS \"order\", o.created_at AS placed_at, o.paid_at, v.customer, o.email,
      o.shipping_country AS country, nullif(o.tax_ids, '[]') AS tax_ids, o.currency, o.amount_subtotal, o.amount_discount, o.amount_shipping,
      o.amount_tax, o.amount_total, v.amount_refunded,
      CASE WHEN o.payment_status IN('paid', 'no_payment_required') THEN o.amount_total - v.amount_refunded ELSE 0 END
        AS amount_net,
      v.financial_status, v.fulfillment_status, o.canceled_at, o.client_reference_id, o.invoice_id, o.payment_intent_id,
      o.checkout_session_id,
      coalesce((SELECT decimals FROM currency_decimals c WHERE c.currency = o.currency), 2) AS decimals
    FROM orders o JOIN order_overview v ON v.id = o.id";

/// A line item a row.
const LINES: &str = "SELECT o.id AS \"order\", o.created_at AS placed_at, o.paid_at,
      coalesce(o.name, o.shipping_name, o.email) AS customer, o.shipping_country AS country, li.position, li.sku, li.name,
      li.options, li.quantity, li.canceled_quantity, li.currency,
      coalesce(li.unit_amount, li.unit_amount_decimal) AS unit_amount, li.amount_subtotal,
      li.amount_discount, li.amount_tax, li.amount_total, li.product_id, li.price_id, li.id AS line_item_id,
      coalesce((SELECT decimals FROM currency_decimals c WHERE c.currency = li.currency), 2) AS decimals
    FROM orders o JOIN line_items li ON li.order_id = o.id";

/// Prints a header and the rows as they are read, so that a hundred thousand orders need no memory.
pub fn run(args: &Args) -> Result<()> {
    let (rows, order) = if args.lines { (LINES, "o.id, li.position") } else { (ORDERS, "o.id") };
    let sql = format!(
        "{rows} WHERE (?1 IS NULL OR substr(coalesce(o.paid_at, o.created_at), 1, 10) >= ?1)
          AND (?2 IS NULL OR substr(coalesce(o.paid_at, o.created_at), 1, 10) <= ?2) ORDER BY {order}"
    );
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since > until
    {
        return Err(Error::Usage(format!("--since {since} is later than --until {until}; exchange them")));
    }
    let days = (args.since.map(|day| day.to_string()), args.until.map(|day| day.to_string()));
    let c = args.file.read()?;
    match args.format {
        Format::Csv => table::stream(&c, &sql, days, header, record),
        Format::Jsonl => table::stream(
            &c,
            &sql,
            days,
            |_| String::new(),
            |columns, mut cells| {
                cells.pop();
                table::json_line(table::object(columns, &cells))
            },
        ),
    }
}

/// `amount_` says minor units, which a spreadsheet does not get.
fn header(columns: &[String]) -> String {
    let names = columns[..columns.len() - 1].iter().map(|name| match name.as_str() {
        "unit_amount" => "unit_price",
        name => name.trim_start_matches("amount_"),
    });
    line(names.map(quoted))
}

fn record(columns: &[String], mut cells: Vec<Cell>) -> String {
    let Some(Cell::Integer(decimals)) = cells.pop() else { return String::new() };
    let decimals = usize::try_from(decimals).unwrap_or_default();
    line(columns.iter().zip(cells).map(|(column, cell)| match (column.contains("amount"), cell) {
        (_, Cell::Null) => String::new(),
        (true, Cell::Integer(minor)) => decimal(&minor.to_string(), decimals),
        (true, Cell::Text(minor)) if is_number(&minor) => decimal(&minor, decimals),
        (_, Cell::Integer(n)) => n.to_string(),
        (_, Cell::Real(x)) => x.to_string(),
        (_, Cell::Text(text)) => quoted(&text),
        (_, Cell::Blob(bytes)) => quoted(&String::from_utf8_lossy(&bytes)),
    }))
}

/// RFC 4180 ends a record with CRLF.
fn line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

/// Minor units, written as the whole ones: the point moves and no digit is lost. `-5` with 2 decimals is `-0.05`.
fn decimal(minor: &str, decimals: usize) -> String {
    let (sign, digits) = match minor.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", minor),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole:0>width$}", width = decimals + 1);
    let (units, below) = padded.split_at(padded.len() - decimals);
    match below.len() + rest.len() {
        0 => format!("{sign}{units}"),
        _ => format!("{sign}{units}.{below}{rest}"),
    }
}

/// Text as a cell: clean, never a formula, quoted where RFC 4180 asks for it.
fn quoted(raw: &str) -> String {
    // A spreadsheet takes these for the beginning of a formula (OWASP, CSV injection).
    let formula = raw.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) && !is_number(raw);
    let cell = format!("{}{}", if formula { "'" } else { "" }, text::clean(raw));
    match cell.contains(['"', ',', '\n', '\r', ';']) || cell.trim() != cell {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

/// Digits, perhaps after a minus, perhaps with a point and more of them.
fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_point_moves_and_no_digit_is_lost() {
        for (minor, decimals, written) in [
            ("4200", 2, "42.00"),
            ("5", 2, "0.05"),
            ("-5", 2, "-0.05"),
            ("0", 3, "0.000"),
            ("12345", 3, "12.345"),
            ("1500", 0, "1500"),
            ("0.5", 2, "0.005"),
            ("1234.25", 2, "12.3425"),
            ("-9223372036854775808", 2, "-92233720368547758.08"),
        ] {
            assert_eq!(decimal(minor, decimals), written);
        }
    }

    #[test]
    fn no_cell_is_a_formula_and_every_cell_can_be_read_back() {
        for (raw, cell) in [
            ("Mug", "Mug"),
            ("Mug, blue", "\"Mug, blue\""),
            ("the \"big\" one", "\"the \"\"big\"\" one\""),
            ("=HYPERLINK(\"http://evil\")", "\"'=HYPERLINK(\"\"http://evil\"\")\""),
            ("+4930123", "'+4930123"),
            ("-2+3", "'-2+3"),
            ("-2.50", "-2.50"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "' =1"),
            ("a\r\nb", "a  b"),
            ("-", "'-"),
            ("--1", "'--1"),
        ] {
            assert_eq!(quoted(raw), cell, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_of_every_currency_reads_back_to_the_last_minor_unit(minor: i64, decimals in 0usize..=3) {
            let written = decimal(&minor.to_string(), decimals);
            prop_assert!(is_number(&written), "{}", written);
            prop_assert_eq!(written.split_once('.').map_or(0, |(_, rest)| rest.len()), decimals);
            prop_assert_eq!(written.replace('.', "").parse::<i64>().ok(), Some(minor));
        }
    }
}
