//! Rows of a query as the pages show them.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::error::Result;
use crate::table::Table;
use crate::text;

/// A row as its columns by name.
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// The text of a column; `None` where there is none.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).and_then(|(_, value)| value.as_deref())
    }

    /// True when a column has that text.
    pub fn is(&self, column: &str, value: &str) -> bool {
        self.get(column) == Some(value)
    }
}

/// The rows of a query, every value as clean text, an empty one as none.
pub fn rows(c: &Connection, sql: &str, order: i64) -> Result<Vec<Row>> {
    let table = Table::query(c, sql, [order])?;
    let value = |cell: &Value| match cell {
        Value::Text(words) => Some(text::clean(words)),
        Value::Integer(n) => Some(n.to_string()),
        Value::Real(x) => Some(x.to_string()),
        Value::Null | Value::Blob(_) => None,
    };
    let row = |cells: &Vec<Value>| {
        let values = cells.iter().map(|cell| value(cell).filter(|text| !text.trim().is_empty()));
        Row(table.columns.iter().cloned().zip(values).collect())
    };
    Ok(table.rows.iter().map(row).collect())
}
