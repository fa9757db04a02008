//! Rows as people and machines read them: a box for eyes, one JSON object a line for scripts.

use std::io::{self, IsTerminal, Write};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Params};
use serde_json::{Map, Value};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::db;
use crate::error::{Error, Result};
use crate::text;

/// Columns of text in one cell of a box, as in sqlite3's own `.mode qbox`.
const CELL_MAX: usize = 60;

/// What a query gave.
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Runs a query, which for people is a view's.
    pub fn query(c: &Connection, sql: &str, params: impl Params) -> Result<Table> {
        let mut statement = c.prepare(sql).map_err(db::translate)?;
        let columns: Vec<String> = statement.column_names().map(String::from).collect();
        let n = columns.len();
        let rows = statement
            .query_map(params, |row| (0..n).map(|i| row.get(i)).collect())
            .and_then(|rows| rows.collect())
            .map_err(db::translate)?;
        Ok(Table { columns, rows })
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints to standard output: JSON lines, or a box, or `nothing` when there are no rows. A pipe gets tabs, for awk.
    pub fn print(&self, json: bool, nothing: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        let text = match json {
            true => self.json_lines(),
            false if self.is_empty() && io::stdout().is_terminal() => format!("{nothing}\n"),
            false if self.is_empty() => String::new(),
            false if io::stdout().is_terminal() => self.boxed(),
            false => self.tabbed(),
        };
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// One object a line, keys as the columns are named, amounts as integers.
    pub fn json_lines(&self) -> String {
        self.objects().map(json_line).collect()
    }

    /// The same as values.
    pub fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| self.columns.iter().zip(row).map(|(column, cell)| member(column, cell)).collect())
    }

    /// The columns' names, then a row a line; what stood on several lines stands on one.
    pub fn tabbed(&self) -> String {
        let line = |cells: Vec<String>| cells.join("\t") + "\n";
        let header = line(self.columns.clone());
        let rows = self.rows.iter().map(|row| line(row.iter().map(|cell| text::clean(&shown(cell))).collect()));
        header + &rows.collect::<String>()
    }

    /// As `sqlite3 -box` draws it, several lines in a cell included; nothing from outside can drive the terminal.
    pub fn boxed(&self) -> String {
        let rows: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| shown(cell).split('\n').flat_map(wrapped).collect()).collect())
            .collect();
        let width = |i: usize| {
            let cells = rows.iter().flat_map(|row| row[i].iter().map(|line| line.width()));
            cells.chain([self.columns[i].width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let rule = |left: &str, middle: &str, right: &str| {
            let dashes: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
            format!("{left}{}{right}\n", dashes.join(middle))
        };
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, w)| format!(" {cell}{} ", " ".repeat(w - cell.width())));
            format!("│{}│\n", padded.collect::<Vec<_>>().join("│"))
        };
        let mut drawn = rule("┌", "┬", "┐");
        drawn += &line(self.columns.iter().map(String::as_str).collect());
        drawn += &rule("├", "┼", "┤");
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(1);
            for n in 0..height {
                drawn += &line(row.iter().map(|cell| cell.get(n).map_or("", String::as_str)).collect());
            }
        }
        drawn + &rule("└", "┴", "┘")
    }

    /// `column  value`, a line each, for one thing looked at closely. Empty columns are left out.
    pub fn list(&self) -> String {
        let widest = self.columns.iter().map(|c| c.width()).max().unwrap_or(0);
        let mut listed = String::new();
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(row) {
                for (n, line) in shown(cell).split('\n').filter(|l| !l.is_empty()).enumerate() {
                    let label = if n == 0 { column.as_str() } else { "" };
                    let gap = " ".repeat(widest - label.width() + 2);
                    listed += &format!("{label}{gap}{}\n", text::clean(line));
                }
            }
        }
        listed
    }
}

/// Runs a query and prints it as [`Table::print`] does; JSON row by row, so that a hundred thousand need no memory.
pub fn print_query(c: &Connection, sql: &str, params: impl Params, json: bool, nothing: &str) -> Result<()> {
    if !json {
        return Table::query(c, sql, params)?.print(false, nothing);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut statement = c.prepare(sql).map_err(db::translate)?;
    let columns: Vec<String> = statement.column_names().map(String::from).collect();
    let mut rows = statement.query(params).map_err(db::translate)?;
    while let Some(row) = rows.next().map_err(db::translate)? {
        let cell = |(i, column): (usize, &String)| row.get(i).map(|cell| member(column, &cell));
        let object = columns.iter().enumerate().map(cell).collect::<rusqlite::Result<_>>().map_err(db::translate)?;
        if let Err(error) = out.write_all(json_line(object).as_bytes()) {
            return written(Err(error));
        }
    }
    written(out.flush())
}

/// An object in one line that drives no terminal.
pub fn json_line(object: Map<String, Value>) -> String {
    text::escape_json(&Value::Object(object).to_string()) + "\n"
}

/// Prints a line or a page to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A reader that has had enough (`| head`) is no failure.
fn written(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::Temporary(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}

/// A line as it stands in a cell of a box: clean, in pieces of at most [`CELL_MAX`] columns, broken at blanks where it
/// has some.
fn wrapped(line: &str) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for word in text::clean(line).split_inclusive(' ') {
        if piece.width() + word.trim_end().width() > CELL_MAX && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece).trim_end().to_string());
        }
        for c in word.chars() {
            if c != ' ' && piece.width() + c.width().unwrap_or(0) > CELL_MAX {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.push(c);
        }
    }
    pieces.push(piece.trim_end().to_string());
    pieces
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Integer(n) => n.to_string(),
        Cell::Real(x) => x.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Blob(bytes) => format!("({} bytes)", bytes.len()),
    }
}

/// Columns that hold JSON are handed on as what they hold.
const NESTED: &[&str] = &["custom_fields", "metadata", "tax_ids"];

fn member(column: &str, cell: &Cell) -> (String, Value) {
    let nested = match cell {
        Cell::Text(text) if NESTED.contains(&column) => serde_json::from_str(text).ok(),
        _ => None,
    };
    (column.to_string(), nested.unwrap_or_else(|| json_of(cell)))
}

fn json_of(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(n) => (*n).into(),
        Cell::Real(x) => (*x).into(),
        Cell::Text(text) => text.clone().into(),
        Cell::Blob(bytes) => String::from_utf8_lossy(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec!["order".into(), "items".into()],
            rows: vec![
                vec![Cell::Integer(1), Cell::Text("2 × Mug\n1 × 海报".into())],
                vec![Cell::Integer(2), Cell::Text("\u{1b}[31mevil\tname".into())],
            ],
        }
    }

    #[test]
    fn a_box_lines_up_and_drives_no_terminal() {
        let expected = "\
┌───────┬────────────────┐
│ order │ items          │
├───────┼────────────────┤
│ 1     │ 2 × Mug        │
│       │ 1 × 海报       │
│ 2     │ \u{FFFD}[31mevil name │
└───────┴────────────────┘
";
        assert_eq!(table().boxed(), expected);
    }

    #[test]
    fn a_long_cell_goes_on_in_the_next_line() {
        let words = "1 × Mug, ".repeat(20);
        for (long, pieces) in [(words.as_str(), 3), (&"x".repeat(150), 3), (&"海报".repeat(31), 3), ("", 1), ("a b", 1)]
        {
            let wrapped = wrapped(long);
            assert!(wrapped.iter().all(|piece| piece.width() <= CELL_MAX), "{wrapped:?}");
            assert_eq!(wrapped.len(), pieces, "{wrapped:?}");
            let whole = |text: &str| text.replace(' ', "");
            assert_eq!(whole(&wrapped.concat()), whole(long));
        }
    }

    #[test]
    fn a_row_is_one_line_for_awk_and_one_object_for_scripts() {
        assert_eq!(table().tabbed().lines().count(), 3);
        let json: Vec<Value> = table().json_lines().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(json[0], serde_json::json!({"order": 1, "items": "2 × Mug\n1 × 海报"}));
        assert_eq!(table().list().lines().next(), Some("order  1"));
    }
}
