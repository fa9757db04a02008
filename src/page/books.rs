//! Books: what the shop took and gave back in a month, by day, and the file for a spreadsheet.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::html;
use rusqlite::types::Value as Cell;

use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT};
use super::tracking::table;
use super::{Page, Reply};
use crate::books::{self, Format, Selection};
use crate::clock;
use crate::error::{Error, Result};
use crate::money::decimal;
use crate::table::Table;

/// By day and currency; the amounts are the views' own text.
const DAYS: &str = "SELECT day, upper(currency) AS currency, orders, net FROM sales_by_day
    WHERE day >= ?1 AND day < ?2 ORDER BY day, currency";

/// The month by currency, in whole minor units, with the currency's decimals.
const MONTH: &str = "SELECT upper(s.currency) AS currency, sum(s.orders) AS orders, sum(s.amount_total) AS sold,
      sum(s.amount_tax) AS tax_in_it, sum(s.amount_refunded) AS refunded, sum(s.amount_charged_back) AS charged_back,
      sum(s.amount_net) AS net, coalesce(max(c.decimals), 2) AS decimals
    FROM sales_by_day s LEFT JOIN currency_decimals c ON c.currency = s.currency
    WHERE s.day >= ?1 AND s.day < ?2 GROUP BY s.currency ORDER BY s.currency";

/// The amounts of [`MONTH`] as decimal text.
fn readable(mut sums: Table) -> Table {
    let is_amount = |name: &str| !matches!(name, "currency" | "orders" | "decimals");
    sums.columns.pop();
    for row in &mut sums.rows {
        let Some(Cell::Integer(decimals)) = row.pop() else { continue };
        let decimals = usize::try_from(decimals).unwrap_or_default();
        for (cell, name) in row.iter_mut().zip(&sums.columns) {
            if let (Cell::Integer(minor), true) = (&cell, is_amount(name)) {
                *cell = Cell::Text(decimal(&minor.to_string(), decimals));
            }
        }
    }
    sums
}

impl Page {
    /// `GET books`.
    pub fn books(&self, person: &Person, query: &Form) -> Reply {
        let first = month(query)?;
        let after = next(first, 1)?;
        let within = (first.to_string(), after.to_string());
        let (sums, days) = self.read(|c| {
            Ok((
                readable(Table::query(c, MONTH, within.clone())?),
                Table::query(c, DAYS, within.clone())?,
            ))
        })?;
        let named = |day: Date| day.strftime("%Y-%m").to_string();
        let link = |day: Date| format!("{ROOT}books?month={}", named(day));
        let main = html! {
            form.row method="get" action={ (ROOT) "books" } {
                div { label for="month" { "Month" } input #month name="month" type="month" value=(named(first)); }
                button { "Show" }
                a.button href=(link(next(first, -1)?)) { "Month before" }
                a.button href=(link(after)) { "Month after" }
            }
            @if sums.is_empty() { p { "No money came or went in this month." } }
            @else { div.card { (table(&sums)) } }
            div.card {
            h2 { "File for a spreadsheet" }
            form.row method="get" action={ (ROOT) "books.csv" } {
                input type="hidden" name="month" value=(named(first));
                div { label for="rows" { "A row for" } select #rows name="rows" {
                    option value="money" { "each time that money moved" }
                    option value="lines" { "each line item that was sold" }
                } }
                div { label for="tz" { "Days begin in" } input #tz name="tz" value="UTC" autocomplete="off"; }
                button { "Save the file" }
            }
            p.soft { "The days here are in UTC. For the file name a place, e.g. Europe/Berlin." }
            }
            @if !days.is_empty() { div.card { h2 { "By day" } (table(&days)) } }
        };
        Ok(layout::page(person, Some(Part::Books), &format!("Books {}", named(first)), main))
    }

    /// `GET books.csv`.
    pub fn books_file(&self, query: &Form) -> Reply {
        let first = month(query)?;
        let last = next(first, 1)?.yesterday().map_err(|_| no_month())?;
        let selection = Selection {
            lines: query.text("rows") == "lines",
            since: Some(first),
            until: Some(last),
            zone: query.filled("tz").unwrap_or("UTC"),
            format: Format::Csv,
        };
        let mut file = Vec::new();
        self.read(|c| books::write(c, &selection, &mut file))?;
        Ok(layout::download("text/csv; charset=utf-8", "attachment; filename=\"books.csv\"", file))
    }
}

/// The first day of the requested month, or of this one.
fn month(query: &Form) -> Result<Date> {
    match query.filled("month") {
        Some(month) => format!("{month}-01").parse().map_err(|_| no_month()),
        None => Ok(today().first_of_month()),
    }
}

fn today() -> Date {
    clock::now().to_zoned_datetime(TimeZone::UTC).date()
}

fn next(month: Date, by: i64) -> Result<Date> {
    month.checked_add(by.months()).map_err(|_| no_month())
}

fn no_month() -> Error {
    Error::Permanent("a month is written 2026-11".into())
}
