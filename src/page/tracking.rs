//! The file with tracking numbers that a label service exports: what it would ship is shown first.

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
use crate::labels::read_tracking;
use crate::money::is_number;
use crate::table::Table;
use crate::text;
use crate::verbs::import::{Imported, import};

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
        let imported = match self.run(person, file, |_| Ok(true)) {
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
        let imported = self.run(person, &file, move |table| Ok(fingerprint(table) != shown))?;
        match &imported.shipped {
            Some(shipped) if fingerprint(shipped) == form.text("shown") => {
                let main = html! {
                    (note("good", &format!("Parcels shipped: {}", imported.parcels)))
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

    /// Reads the file and ships its parcels, unless `is_dry` says of them that nothing is to change.
    fn run(
        &self,
        person: &Person,
        file: &[u8],
        is_dry: impl FnOnce(&Table) -> Result<bool> + Send + 'static,
    ) -> Result<Imported> {
        let rows = read_tracking(file)?;
        let done = self.change(person, None, move |c| {
            let first = import(c, &rows, None, true)?;
            match &first.shipped {
                Some(table) if first.parcels > 0 && !is_dry(table)? => {
                    import(c, &rows, None, false)
                }
                _ => Ok(first),
            }
        })?;
        match done {
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

/// Tells whether a file ships what it shipped when it was shown.
fn fingerprint(shipped: &Table) -> String {
    let digest = Sha256::digest(format!("{:?}", shipped.rows));
    BASE64_STANDARD.encode(digest)
}
