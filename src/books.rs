//! The books: a row each time that money moved, or a line item that was sold a row, as a spreadsheet
//! or a program reads them.

use std::io::Write;

use clap::ValueEnum;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::money::{decimal, is_number};
use crate::table;
use crate::text;

/// Which rows, and how they are written.
pub struct Selection<'a> {
    /// A row a line item, not a row each time that money moved.
    pub lines: bool,
    /// From the beginning of this day ...
    pub since: Option<Date>,
    /// ... to the end of this one.
    pub until: Option<Date>,
    /// Where the days begin, such as Europe/Berlin.
    pub zone: &'a str,
    /// CSV or a JSON object a line.
    pub format: Format,
}

/// For a spreadsheet, or one JSON object a line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Csv,
    Jsonl,
}

/// Writes a header and the rows as they are read, so that a hundred thousand orders need no memory.
/// `Usage` where the days are none or in the wrong order, or nobody knows the zone.
pub fn write(c: &Connection, selection: &Selection, out: &mut dyn Write) -> Result<()> {
    let sql = if selection.lines { lines() } else { bookings() };
    if let (Some(since), Some(until)) = (selection.since, selection.until)
        && since > until
    {
        return Err(Error::Usage(format!(
            "--since {since} is later than --until {until}; exchange them"
        )));
    }
    let zone = TimeZone::get(selection.zone).map_err(|_| {
        let name = text::clean(selection.zone);
        Error::Usage(format!(
            "there is no time zone {name}; --tz takes a name such as Europe/Berlin or America/New_York"
        ))
    })?;
    let from = selection.since.map(|day| begins(day, &zone)).transpose()?;
    let to = selection
        .until
        .map(|day| day.tomorrow().map_err(out_of_range).and_then(|day| begins(day, &zone)))
        .transpose()?;
    match selection.format {
        Format::Csv => table::stream(c, &sql, (from, to), out, header, |columns, mut cells| {
            draw_day(&mut cells, &zone);
            record(columns, cells)
        }),
        Format::Jsonl => table::stream(
            c,
            &sql,
            (from, to),
            out,
            |_| String::new(),
            |columns, mut cells| {
                draw_day(&mut cells, &zone);
                cells.pop();
                table::json_line(table::object(columns, &cells))
            },
        ),
    }
}

/// What a column of orders was as Stripe reported it, whatever was corrected since: so that the
/// books stay as they are.
fn as_sold(column: &str) -> String {
    format!(
        "CASE WHEN EXISTS(SELECT 1 FROM order_history h WHERE h.order_id = o.id AND h.what = '{column}')
           THEN (SELECT h.old FROM order_history h WHERE h.order_id = o.id AND h.what = '{column}'
           ORDER BY h.id LIMIT 1)
           ELSE o.{column} END"
    )
}

/// Who bought, as at the sale.
fn customer() -> String {
    format!("coalesce({}, {}, {})", as_sold("name"), as_sold("shipping_name"), as_sold("email"))
}

/// A booking a row. The first column is when the money moved, of which the day is shown; columns
/// whose name has `amount` are minor units; the last one is for us.
fn bookings() -> String {
    format!(
        "SELECT b.at AS day, b.what, b.order_id AS \"order\", o.created_at AS placed_at, o.paid_at, b.at AS booked_at,
           {customer} AS customer, {business} AS business_name, {email} AS email,
           {phone} AS phone, {country} AS country,
           nullif(o.tax_ids, '[]') AS tax_ids,
           (SELECT group_concat(label || ': ' || value, '; ') FROM order_custom_fields w
           WHERE w.order_id = o.id AND value <> '')
             AS custom_fields,
           b.currency, b.amount_subtotal, b.amount_discount, b.amount_shipping, b.amount_tax, b.amount_total,
           b.amount_refunded, b.amount_charged_back, b.amount_total - b.amount_refunded -
           b.amount_charged_back AS amount_net, b.amount_credited,
           o.client_reference_id, CASE o.mode WHEN 'payment' THEN o.payment_intent_id END AS payment_intent_id,
           o.checkout_session_id, b.source,
           coalesce((SELECT decimals FROM currency_decimals c WHERE c.currency = b.currency), 2) AS decimals
         FROM bookings b JOIN orders o ON o.id = b.order_id
         WHERE (?1 IS NULL OR b.at >= ?1) AND (?2 IS NULL OR b.at < ?2)
         ORDER BY b.at, b.order_id, b.what DESC, b.source",
        customer = customer(),
        business = as_sold("business_name"),
        email = as_sold("email"),
        phone = as_sold("phone"),
        country = as_sold("shipping_country"),
    )
}

/// A line item that was sold a row, columns as above.
fn lines() -> String {
    format!(
        "SELECT o.paid_at AS day, o.id AS \"order\", o.created_at AS placed_at, o.paid_at, {customer} AS customer,
           {country} AS country, li.position, li.sku, li.name, li.options, li.quantity, li.currency,
           coalesce(li.unit_amount, li.unit_amount_decimal) AS unit_amount, li.amount_subtotal, li.amount_discount,
           li.amount_tax, li.amount_total, li.product_id, li.price_id, li.id AS line_item_id,
           coalesce((SELECT decimals FROM currency_decimals c WHERE c.currency = li.currency), 2) AS decimals
         FROM orders o JOIN line_items li ON li.order_id = o.id
         WHERE o.payment_status IN('paid', 'no_payment_required') AND o.origin IS NULL
           AND NOT(o.mode = 'subscription' AND o.amount_total = 0 AND o.amount_discount = 0)
           AND (?1 IS NULL OR o.paid_at >= ?1) AND (?2 IS NULL OR o.paid_at < ?2)
         ORDER BY o.paid_at, o.id, li.position",
        customer = customer(),
        country = as_sold("shipping_country"),
    )
}

/// The moment at which a day begins there, as times are in the file.
fn begins(day: Date, zone: &TimeZone) -> Result<String> {
    day.to_zoned_datetime(zone.clone())
        .map(|begin| clock::text(begin.timestamp()))
        .map_err(out_of_range)
}

fn out_of_range(error: jiff::Error) -> Error {
    Error::Usage(format!("a day is between the years 1 and 9999: {error}"))
}

/// The first cell is a moment; shown is the day that it is on there.
fn draw_day(cells: &mut [Cell], zone: &TimeZone) {
    if let Some(Cell::Text(at)) = cells.first_mut()
        && let Ok(moment) = at.parse::<Timestamp>()
    {
        *at = moment.to_zoned_datetime(zone.clone()).date().to_string();
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

/// Text as a cell: clean, never a formula, quoted where RFC 4180 asks for it.
fn quoted(raw: &str) -> String {
    // A spreadsheet takes these for the beginning of a formula (OWASP, CSV injection).
    let formula = raw.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])
        && !is_number(raw);
    let cell = format!("{}{}", if formula { "'" } else { "" }, text::clean(raw));
    match cell.contains(['"', ',', '\n', '\r', ';']) || cell.trim() != cell {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
