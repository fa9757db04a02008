//! The file with tracking numbers that a label service exports: what it would ship is shown first.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, html};
use rusqlite::types::Value as Cell;
use sha2::{Digest, Sha256};

use super::change::{self, Outcome};
use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT, hidden, note};
use super::{Page, Reply};
use crate::door::Answer;
use crate::error::{Error, Result};
use crate::labels::{Choice, read_tracking};
use crate::money::is_number;
use crate::table::Table;
use crate::text;
use crate::verbs::import::{Imported, import};
use crate::verbs::undo::undo;

/// It comes back as text of at most 1.5 times its bytes in the next form, whose limit is 4 MiB.
const FILE_MAX: usize = 2 << 20;

impl Page {
    /// `GET tracking`: where a file is chosen.
    pub fn upload(&self, person: &Person) -> Answer {
        layout::page(person, Some(Part::Tracking), "Tracking file", self.chooser(person))
    }

    fn chooser(&self, person: &Person) -> Markup {
        html! {
            p { "The CSV file that your label service exports. Its columns are known by their headings; \
                what it would ship is shown before anything is changed." }
            form.card method="post" action={ (ROOT) "tracking/dry-run" } enctype="multipart/form-data" {
                (hidden(&[("token", &self.guard.token(person))]))
                div.row {
                    div.wide {
                        label for="file" { "File" }
                        input #file name="file" type="file" accept=".csv,.txt,text/csv" required;
                    }
                    button.main { "Show what it ships" }
                }
            }
        }
    }

    /// `POST tracking/dry-run`: every row is checked and nothing changes.
    pub fn try_tracking(&self, person: &Person, file: &[u8]) -> Reply {
        if file.len() > FILE_MAX {
            return Ok(self.unread(
                person,
                "The file has more than 2 MB, which is more than a list of labels has",
            ));
        }
        let imported = match self.run(person, file, |_| false) {
            Ok(imported) => imported,
            Err(Error::Usage(why) | Error::Permanent(why)) => return Ok(self.unread(person, &why)),
            Err(other) => return Err(other),
        };
        let Some(shipped) = &imported.shipped else {
            let main = html! {
                div.note.bad role="alert" {
                    p { strong { "Nothing is shipped, because not all of the file can be:" } }
                    @for why in &imported.faults { p { (change::refusal(why, None)) } }
                }
                (self.chooser(person))
            };
            return Ok(layout::whole(
                422,
                Some(person),
                Some(Part::Tracking),
                "Tracking file",
                main,
            ));
        };
        let token = self.guard.token(person);
        let fields: [(&str, &str); 3] = [
            ("token", &token),
            ("csv", &BASE64_STANDARD.encode(file)),
            ("shown", &fingerprint(shipped)),
        ];
        let main = html! {
            @match imported.parcels {
                0 => (note("warn", "Nothing of the file is to be shipped.")),
                n => p { "Nothing is changed yet. The file ships "
                    strong { (n) @if n == 1 { " parcel:" } @else { " parcels:" } } },
            }
            (notes(&imported))
            @if !shipped.is_empty() { div.card { (table(shipped)) } }
            @if imported.parcels > 0 {
                form.row method="post" action={ (ROOT) "tracking/apply" } {
                    (hidden(&fields))
                    button.main autofocus { "Ship them" }
                    a.button href={ (ROOT) "tracking" } { "Another file" }
                }
            } @else { (self.chooser(person)) }
        };
        Ok(layout::page(person, Some(Part::Tracking), "Tracking file", main))
    }

    /// `POST tracking/apply`: all of them, if they are still those that were shown.
    pub fn apply_tracking(&self, person: &Person, form: &Form) -> Reply {
        let file = BASE64_STANDARD.decode(form.text("csv")).map_err(|_| change::lacking("file"))?;
        let shown = form.text("shown").to_string();
        let imported = self.run(person, &file, move |table| fingerprint(table) == shown)?;
        match &imported.shipped {
            Some(shipped) if fingerprint(shipped) == form.text("shown") => {
                let orders = orders_in(shipped);
                let seen = self.read(|c| change::version_of_all(c, &orders))?.to_string();
                let main = html! {
                    div.note.good role="status" {
                        form.row method="post" action={ (ROOT) "tracking/undo" } {
                            p.wide { "Parcels shipped: " (imported.parcels) }
                            (hidden(&[("token", &self.guard.token(person)), ("orders", &listed(&orders)),
                                ("seen", &seen)]))
                            button { "Undo all of them" }
                        }
                    }
                    div.card { (table(shipped)) }
                    p { a.button href={ (ROOT) "pack" } { "What waits" } }
                };
                Ok(layout::page(person, Some(Part::Tracking), "Tracking file", main))
            }
            _ => {
                let main = html! {
                    (note("bad", "Nothing was shipped: what the file ships has changed since it was shown. \
                        Choose it again to see what it ships now."))
                    (self.chooser(person))
                };
                Ok(layout::whole(409, Some(person), Some(Part::Tracking), "Tracking file", main))
            }
        }
    }

    /// `POST tracking/undo`: all of a file's parcels wait again, or none.
    pub fn undo_tracking(&self, person: &Person, form: &Form) -> Reply {
        let seen = form.number("seen").ok_or_else(|| change::lacking("version"))?;
        let orders: Option<BTreeSet<i64>> =
            form.text("orders").split(',').map(|order| order.parse().ok()).collect();
        let orders = orders.ok_or_else(|| change::lacking("orders"))?;
        for order in &orders {
            self.may_undo_of(person, *order)?;
        }
        let done = self.undo_as(person, None, move |c| {
            let is_as_shown = change::version_of_all(c, &orders)? == seen;
            if is_as_shown {
                orders
                    .iter()
                    .try_for_each(|order| undo(c, Some(*order), false, false).map(drop))?;
            }
            Ok(is_as_shown)
        })?;
        match done {
            Outcome::Done(true) => Ok(layout::see_other("pack".into())),
            _ => Err(Error::Permanent(
                "one of these orders has changed since; undo what is still wrong on its own page"
                    .into(),
            )),
        }
    }

    /// Reads the file and ships its parcels, where `is_meant` says of them that they are those.
    fn run(
        &self,
        person: &Person,
        file: &[u8],
        is_meant: impl FnOnce(&Table) -> bool + Send + 'static,
    ) -> Result<Imported> {
        let rows = read_tracking(file)?;
        match self.change(person, None, move |c| import(c, &rows, None, is_meant))? {
            Outcome::Done(imported) => Ok(imported),
            Outcome::Stale => Err(change::lacking("version")),
        }
    }

    fn unread(&self, person: &Person, why: &str) -> Answer {
        let main = html! { (note("bad", &change::refusal(why, None))) (self.chooser(person)) };
        layout::whole(422, Some(person), Some(Part::Tracking), "Tracking file", main)
    }
}

/// What is passed over in the file.
fn notes(imported: &Imported) -> Markup {
    html! {
        @if !imported.notes.is_empty() {
            div.note.warn { @for why in &imported.notes { p { (change::refusal(why, None)) } } }
        }
    }
}

/// Rows as a table, on a phone as a list; a column in which nothing stands is left out.
pub fn table(rows: &Table) -> Markup {
    let cells = |i: usize| rows.rows.iter().map(move |row| &row[i]);
    let is_filled = |i: &usize| cells(*i).any(|cell| !matches!(cell, Cell::Null));
    // Name, where it stands, whether it is of numbers.
    let columns: Vec<(String, usize, bool)> = (0..rows.columns.len())
        .filter(is_filled)
        .map(|i| (rows.columns[i].replace('_', " "), i, cells(i).all(is_of_numbers)))
        .collect();
    html! {
        @if !rows.is_empty() {
            div.scroll { table.stack {
                thead { tr { @for (name, _, is_number) in &columns { th.number[*is_number] { (name) } } } }
                tbody { @for row in &rows.rows { tr {
                    @for (name, i, is_number) in &columns {
                        td.number[*is_number] data-label=(name) { (shown(&row[*i])) }
                    }
                } } }
            } }
        }
    }
}

/// True for a number, an amount with its currency, and nothing.
fn is_of_numbers(cell: &Cell) -> bool {
    match cell {
        Cell::Integer(_) | Cell::Real(_) | Cell::Null => true,
        Cell::Text(words) => is_number(words.split_once(' ').map_or(words, |(amount, _)| amount)),
        Cell::Blob(_) => false,
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Integer(n) => n.to_string(),
        Cell::Real(x) => x.to_string(),
        Cell::Text(words) => text::clean(words),
        Cell::Null | Cell::Blob(_) => String::new(),
    }
}

/// The orders whose parcels a file shipped.
fn orders_in(shipped: &Table) -> BTreeSet<i64> {
    let order = |row: &Vec<Cell>| match row.first() {
        Some(Cell::Text(parcel)) => Choice::parse(parcel).ok().map(|choice| choice.order()),
        _ => None,
    };
    shipped.rows.iter().filter_map(order).collect()
}

fn listed(orders: &BTreeSet<i64>) -> String {
    orders.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// Tells whether a file ships what it shipped when it was shown.
fn fingerprint(shipped: &Table) -> String {
    let digest = Sha256::digest(format!("{:?}", shipped.rows));
    BASE64_STANDARD.encode(digest)
}
