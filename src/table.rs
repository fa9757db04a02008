//! Rows as people and machines read them: laid out for the terminal, one JSON object a line for
//! scripts.

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

/// A column of text that is wrapped keeps at least so many columns.
const CELL_MIN: usize = 10;

/// Columns that hold a line to type. They are never broken, so that it can be copied.
const LINES_TO_TYPE: &[&str] = &["next"];

/// Columns that hold a day and a time of day, which belong together.
const TIMES: &[&str] = &["placed_at"];

/// What a query gave.
pub struct Table {
    /// Their names.
    pub columns: Vec<String>,
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Runs a query, which for people is a view's.
    pub fn query(c: &Connection, sql: &str, params: impl Params) -> Result<Table> {
        let mut statement = c.prepare(sql).map_err(db::translate)?;
        let columns: Vec<String> = statement.column_names().map(String::from).collect();
        let n = columns.len();
        let rows = statement
            .query_map(params, |row| (0..n).map(|i| db::shown(row, i)).collect())
            .and_then(|rows| rows.collect())
            .map_err(db::translate)?;
        Ok(Table { columns, rows })
    }

    /// True without a row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Changes every text of a column, by what else stands in its row.
    pub fn replace(&mut self, column: &str, change: impl Fn(&str, &[Cell]) -> String) {
        let Some(i) = self.columns.iter().position(|name| name == column) else { return };
        for row in &mut self.rows {
            if let Cell::Text(text) = &row[i] {
                row[i] = Cell::Text(change(text, row));
            }
        }
    }

    /// Without the columns of these names, and without those in which nothing stands.
    pub fn without(self, names: &[&str]) -> Table {
        let is_filled = |i: &usize| self.rows.iter().any(|row| !shown(&row[*i]).is_empty());
        let is_kept = |i: &usize| !names.contains(&self.columns[*i].as_str()) && is_filled(i);
        let kept: Vec<usize> = (0..self.columns.len()).filter(is_kept).collect();
        let columns = kept.iter().map(|i| self.columns[*i].clone()).collect();
        let rows =
            self.rows.iter().map(|row| kept.iter().map(|i| row[*i].clone()).collect()).collect();
        Table { columns, rows }
    }

    /// Prints to standard output: JSON lines, or what fits the terminal, or `nothing` when there
    /// are no rows. A pipe gets tabs, for awk.
    pub fn print(&self, json: bool, nothing: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        let text = match (json, terminal_width()) {
            (true, _) => self.json_lines(),
            (false, Some(_)) if self.is_empty() => format!("{nothing}\n"),
            (false, Some(width)) => self.fitted(width),
            (false, None) if self.is_empty() => String::new(),
            (false, None) => self.tabbed(),
        };
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// One object a line, keys as the columns are named, amounts as integers.
    pub fn json_lines(&self) -> String {
        self.objects().map(json_line).collect()
    }

    /// The same as values.
    pub fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| object(&self.columns, row))
    }

    /// The columns' names, then a row a line; what stood on several lines stands on one.
    pub fn tabbed(&self) -> String {
        let line = |cells: Vec<String>| cells.join("\t") + "\n";
        let header = line(self.columns.clone());
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.iter().map(|cell| text::clean(&shown(cell))).collect()));
        header + &rows.collect::<String>()
    }

    /// A box at most `width` columns wide: the widest columns of text go on in the next line,
    /// between words. Where that is not enough, a list, a row a paragraph.
    pub fn fitted(&self, width: usize) -> String {
        let natural: Vec<usize> =
            (0..self.columns.len()).map(|i| self.widest(i, |line| vec![line])).collect();
        let words = |i: usize| {
            self.widest(i, |line| line.split(' ').collect()).max(CELL_MIN).min(natural[i])
        };
        let least: Vec<usize> = (0..self.columns.len()).map(words).collect();
        // A bar and a blank before each cell, a blank and at last a bar after it.
        let room = width.saturating_sub(3 * self.columns.len() + 1);
        if least.iter().sum::<usize>() > room {
            return self.list_within(Some(width));
        }
        let mut widths = natural;
        while widths.iter().sum::<usize>() > room {
            let shrinkable = (0..widths.len()).filter(|i| widths[*i] > least[*i]);
            match shrinkable.max_by_key(|i| widths[*i]) {
                Some(widest) => widths[widest] -= 1,
                None => break,
            }
        }
        self.drawn(&widths)
    }

    /// The widest piece of a column's lines, its name included, as `pieces` cuts them.
    fn widest(&self, column: usize, pieces: impl Fn(&str) -> Vec<&str>) -> usize {
        let is_whole = [LINES_TO_TYPE, TIMES].concat().contains(&self.columns[column].as_str());
        let of_cell = |row: &Vec<Cell>| {
            let text = shown(&row[column]);
            let widths = text.split('\n').map(|line| match is_whole {
                true => line.width(),
                false => {
                    pieces(line).iter().map(|piece| piece.width()).max().unwrap_or(0).min(CELL_MAX)
                }
            });
            widths.max().unwrap_or(0)
        };
        self.rows.iter().map(of_cell).max().unwrap_or(0).max(self.columns[column].width())
    }

    /// As `sqlite3 -box` draws it, several lines in a cell included; nothing from outside can drive
    /// the terminal.
    fn drawn(&self, most: &[usize]) -> String {
        let cell = |(cell, most): (&Cell, &usize)| {
            shown(cell).split('\n').flat_map(|l| wrapped(l, *most)).collect()
        };
        let rows: Vec<Vec<Vec<String>>> =
            self.rows.iter().map(|row| row.iter().zip(most).map(cell).collect()).collect();
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
            let padded = cells
                .iter()
                .zip(&widths)
                .map(|(cell, w)| format!(" {cell}{} ", " ".repeat(w - cell.width())));
            format!("│{}│\n", padded.collect::<Vec<_>>().join("│"))
        };
        let mut drawn = rule("┌", "┬", "┐");
        drawn += &line(self.columns.iter().map(String::as_str).collect());
        drawn += &rule("├", "┼", "┤");
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(1);
            for n in 0..height {
                drawn +=
                    &line(row.iter().map(|cell| cell.get(n).map_or("", String::as_str)).collect());
            }
        }
        drawn + &rule("└", "┴", "┘")
    }

    /// `column  value`, a line each, for one thing looked at closely; on a terminal long values go
    /// on in the next line. Empty columns are left out.
    pub fn list(&self) -> String {
        self.list_within(terminal_width())
    }

    fn list_within(&self, width: Option<usize>) -> String {
        let widest = self.columns.iter().map(|c| c.width()).max().unwrap_or(0);
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(widest + 2).max(CELL_MIN));
        let paragraph = |row: &Vec<Cell>| {
            let mut lines = String::new();
            for (column, cell) in self.columns.iter().zip(row) {
                let most = if LINES_TO_TYPE.contains(&column.as_str()) { usize::MAX } else { room };
                let text = shown(cell);
                let pieces = text
                    .split('\n')
                    .filter(|line| !line.is_empty())
                    .flat_map(|line| wrapped(line, most));
                for (n, line) in pieces.enumerate() {
                    let label = if n == 0 { column.as_str() } else { "" };
                    let gap = " ".repeat(widest - label.width() + 2);
                    lines += &format!("{label}{gap}{line}\n");
                }
            }
            lines
        };
        self.rows.iter().map(paragraph).collect::<Vec<_>>().join("\n")
    }
}

/// Runs a query and prints it as [`Table::print`] does; JSON row by row, so that a hundred thousand
/// need no memory.
pub fn print_query(
    c: &Connection,
    sql: &str,
    params: impl Params,
    json: bool,
    nothing: &str,
) -> Result<()> {
    match json {
        true => stream(
            c,
            sql,
            params,
            &mut io::stdout().lock(),
            |_| String::new(),
            |columns, cells| json_line(object(columns, &cells)),
        ),
        false => Table::query(c, sql, params)?.print(false, nothing),
    }
}

/// Writes what `head` makes of the columns' names, then what `line` makes of each row, while they
/// are read.
pub fn stream(
    c: &Connection,
    sql: &str,
    params: impl Params,
    out: &mut dyn Write,
    head: impl Fn(&[String]) -> String,
    line: impl Fn(&[String], Vec<Cell>) -> String,
) -> Result<()> {
    let mut out = io::BufWriter::new(out);
    let mut statement = c.prepare(sql).map_err(db::translate)?;
    let columns: Vec<String> = statement.column_names().map(String::from).collect();
    let mut rows = statement.query(params).map_err(db::translate)?;
    let mut outcome = out.write_all(head(&columns).as_bytes());
    while let (Ok(()), Some(row)) = (&outcome, rows.next().map_err(db::translate)?) {
        let cells = (0..columns.len())
            .map(|i| db::shown(row, i))
            .collect::<rusqlite::Result<_>>()
            .map_err(db::translate)?;
        outcome = out.write_all(line(&columns, cells).as_bytes());
    }
    written(outcome.and_then(|()| out.flush()))
}

/// A row as one object; columns beyond the cells are left out.
pub fn object(columns: &[String], cells: &[Cell]) -> Map<String, Value> {
    columns.iter().zip(cells).map(|(column, cell)| member(column, cell)).collect()
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
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Temporary(format!("cannot print: {e}")))
        }
        _ => Ok(()),
    }
}

/// How many columns standard output has; `None` where it is no terminal. `COLUMNS` wins, as for
/// other programs.
pub fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col.into());
    // A terminal that does not know its size is taken for an old one.
    set.or_else(asked).filter(|columns| *columns > 0).or(Some(80))
}

/// A line as it stands in a cell: clean, in pieces of at most `most` columns, broken at blanks
/// where it has some.
fn wrapped(line: &str, most: usize) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    for word in text::clean(line).split_inclusive(' ') {
        if piece.width() + word.trim_end().width() > most && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece).trim_end().to_string());
        }
        for c in word.chars() {
            if c != ' ' && piece.width() + c.width().unwrap_or(0) > most {
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
        assert_eq!(table().fitted(100), expected);
    }

    #[test]
    fn a_long_cell_continues_on_the_next_line() {
        let words = "1 × Mug, ".repeat(20);
        for (long, pieces) in [
            (words.as_str(), 3),
            (&"x".repeat(150), 3),
            (&"海报".repeat(31), 3),
            ("", 1),
            ("a b", 1),
        ] {
            let wrapped = wrapped(long, CELL_MAX);
            assert!(wrapped.iter().all(|piece| piece.width() <= CELL_MAX), "{wrapped:?}");
            assert_eq!(wrapped.len(), pieces, "{wrapped:?}");
            let whole = |text: &str| text.replace(' ', "");
            assert_eq!(whole(&wrapped.concat()), whole(long));
        }
    }

    #[test]
    fn the_widest_column_is_wrapped_until_it_fits_and_what_cannot_fit_is_a_list() {
        let long = "2 × Stoneware mug, 1 × Poster “Harbour at dawn”, 1 × Knitting pattern";
        let next = "INSERT INTO release VALUES(1042);";
        let row = ["1042", long, next].map(|text| Cell::Text(text.into()));
        let wide = Table {
            columns: ["order", "items", "next"].map(String::from).into(),
            rows: vec![row.into(), vec![Cell::Null; 3]],
        };
        for width in [64, 80, 100, 120] {
            let fitted = wide.fitted(width);
            assert!(fitted.starts_with('┌'), "{fitted}");
            assert!(fitted.lines().all(|line| line.width() <= width), "{width}: {fitted}");
            assert!(fitted.contains(next), "what is to be typed can be copied: {fitted}");
        }
        let expected = "\
order  1042
items  2 × Stoneware mug, 1 × Poster
       “Harbour at dawn”, 1 × Knitting
       pattern
next   INSERT INTO release VALUES(1042);

";
        assert_eq!(wide.fitted(40), expected);
    }

    #[test]
    fn a_row_is_one_line_for_awk_and_one_object_for_scripts() {
        assert_eq!(table().tabbed().lines().count(), 3);
        let json: Vec<Value> =
            table().json_lines().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(json[0], serde_json::json!({"order": 1, "items": "2 × Mug\n1 × 海报"}));
        assert_eq!(table().list().lines().next(), Some("order  1"));
    }
}
