//! What a file lacks of the schema: tables by their columns and rules, everything else by its text.

use std::fmt;

use rusqlite::{Connection, Result};

/// A row of `sqlite_schema`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Unique among objects.
    pub name: String,
    /// What it hangs on; a table or a view is its own.
    pub table: String,
    /// The text that made it; `None` for an index that is part of a table.
    pub sql: Option<String>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Object {
    /// The SQL that takes it out of the file.
    pub fn drop_line(&self) -> String {
        format!("DROP {} {}", self.kind.to_uppercase(), name(&self.name))
    }
}

/// What is in `schema` and not in the file, or not as the schema has it, in the schema's order.
/// What the file has besides is its owner's, which [`besides`] has.
/// Comments, blanks and the order of a table's rules make no difference between tables.
pub fn lacking(file: &Connection, schema: &str) -> Result<Vec<Object>> {
    let here = objects(file)?;
    let is_here = |wanted: &Object| match (wanted.kind.as_str(), &wanted.sql) {
        ("table", Some(sql)) => here.iter().any(|o| {
            o.kind == "table"
                && o.name == wanted.name
                && o.sql.as_deref().is_some_and(|here| table(here) == table(sql))
        }),
        _ => here.contains(wanted),
    };
    Ok(objects(&fresh(schema)?)?.into_iter().filter(|o| !is_here(o)).collect())
}

/// What is in the file and not in `schema`, in the file's order: its owner's. Left out is what
/// SQLite and Litestream make for themselves.
pub fn besides(file: &Connection, schema: &str) -> Result<Vec<Object>> {
    let wanted = objects(&fresh(schema)?)?;
    let is_wanted = |here: &Object| {
        wanted.iter().any(|wanted| wanted.kind == here.kind && wanted.name == here.name)
    };
    let is_a_person_s =
        |here: &Object| !here.name.starts_with("sqlite_") && !here.name.starts_with("_litestream_");
    let mut objects = objects(file)?;
    objects.retain(|here| is_a_person_s(here) && !is_wanted(here));
    Ok(objects)
}

/// Those of them that can refuse what fulfilld or a person writes: triggers and unique indexes on
/// the schema's own tables and views.
pub fn rules_besides(file: &Connection, schema: &str) -> Result<Vec<Object>> {
    let owned: Vec<String> = objects(&fresh(schema)?)?.into_iter().map(|o| o.table).collect();
    let mut rules = besides(file, schema)?;
    rules.retain(|here| {
        let words = here.sql.as_deref().map(words).unwrap_or_default();
        let is_unique = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("unique"));
        owned.iter().any(|table| table.eq_ignore_ascii_case(&here.table))
            && (here.kind == "trigger" || here.kind == "index" && is_unique)
    });
    Ok(rules)
}

/// A name as SQL reads it.
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A file in memory as the schema makes it.
pub fn fresh(schema: &str) -> Result<Connection> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(schema)?;
    Ok(fresh)
}

/// True when the file has the tables that no other program's file has all of, whatever marks it
/// bears.
pub fn is_alike(file: &Connection) -> Result<bool> {
    let sql = "SELECT count(*) = 4 FROM sqlite_schema
               WHERE type = 'table' AND name IN('shop', 'events', 'orders', 'order_history')";
    file.query_row(sql, [], |row| row.get(0))
}

/// Everything in the file, in the order in which it was made.
pub fn objects(c: &Connection) -> Result<Vec<Object>> {
    c.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")?
        .query_map([], |row| {
            Ok(Object {
                kind: row.get(0)?,
                name: row.get(1)?,
                table: row.get(2)?,
                sql: row.get(3)?,
            })
        })?
        .collect()
}

/// The text that made a table.
pub fn text(c: &Connection, table: &str) -> Result<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    c.query_row(sql, [table], |row| row.get(0))
}

/// What a CREATE TABLE says, without how it is written: its columns in their order, then its rules
/// and options in any.
pub fn table(create: &str) -> Vec<String> {
    let words = words(create);
    let open = words.iter().position(|w| w == "(").unwrap_or(0);
    let close = words.iter().rposition(|w| w == ")").unwrap_or(words.len());
    let mut parts = vec![Vec::new()];
    let mut depth = 0;
    for word in words.get(open + 1..close).unwrap_or_default() {
        depth += i32::from(word == "(") - i32::from(word == ")");
        match depth == 0 && word == "," {
            true => parts.push(Vec::new()),
            false => parts.last_mut().expect("one").push(word.as_str()),
        }
    }
    let is_rule = |part: &Vec<&str>| {
        let first = part.first().map(|w| w.to_ascii_uppercase()).unwrap_or_default();
        ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].contains(&first.as_str())
    };
    let (mut rules, mut columns): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_rule);
    rules.sort();
    columns.append(&mut rules);
    let options = words.get(close..).unwrap_or_default().join(" ");
    columns.iter().map(|part| part.join(" ")).chain([options]).collect()
}

/// The words and signs of a line of SQL, without comments and blanks.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |n| n + 2),
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |n| n + 2),
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        if !word.trim().is_empty() && !word.starts_with("--") && !word.starts_with("/*") {
            words.push(word.to_string());
        }
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_owner_adds_is_known_and_what_of_it_can_refuse_a_row() {
        let schema = "CREATE TABLE t(a TEXT PRIMARY KEY); CREATE VIEW v AS SELECT a FROM t;
            CREATE INDEX t_a ON t(a);";
        let file = fresh(schema).unwrap();
        file.execute_batch(
            "CREATE TABLE mine(a); CREATE UNIQUE INDEX mine_a ON mine(a); CREATE VIEW my AS SELECT 1;
             CREATE INDEX my_t ON t(a); create unique index once on T(a);
             CREATE TRIGGER never BEFORE INSERT ON \"T\" BEGIN SELECT 1; END;
             CREATE TRIGGER \"in\"\"stead\" INSTEAD OF INSERT ON v BEGIN SELECT 1; END;
             CREATE TRIGGER own AFTER INSERT ON mine BEGIN SELECT 1; END; ANALYZE;",
        )
        .unwrap();
        let named = |objects: Vec<Object>| {
            objects.iter().map(Object::to_string).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            named(besides(&file, schema).unwrap()),
            "table mine, index mine_a, view my, index my_t, index once, trigger never, \
             trigger in\"stead, trigger own"
        );
        assert_eq!(
            named(rules_besides(&file, schema).unwrap()),
            "index once, trigger never, trigger in\"stead"
        );
        let lines = rules_besides(&file, schema).unwrap();
        lines.iter().for_each(|rule| file.execute_batch(&rule.drop_line()).unwrap());
        assert_eq!(rules_besides(&file, schema).unwrap(), []);
    }

    #[test]
    fn how_a_table_is_written_makes_no_difference_and_what_it_says_does() {
        let one = "CREATE TABLE t(a TEXT CHECK(a <> 'x, -- y'), -- a word, and more
            b INTEGER, UNIQUE(a, b)) STRICT";
        let same = "CREATE TABLE \"t\" (a TEXT CHECK( a <> 'x, -- y' ),\n UNIQUE(a,b) /* , */, b INTEGER) STRICT";
        assert_eq!(table(one), table(same));
        for other in [
            "CREATE TABLE t(a TEXT CHECK(a <> 'x, --  y'), b INTEGER, UNIQUE(a, b)) STRICT",
            "CREATE TABLE t(b INTEGER, a TEXT CHECK(a <> 'x, -- y'), UNIQUE(a, b)) STRICT",
            "CREATE TABLE t(a TEXT CHECK(a <> 'x, -- y'), b INTEGER, UNIQUE(a, b))",
        ] {
            assert_ne!(table(one), table(other), "{other}");
        }
    }
}
