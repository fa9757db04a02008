//! Writes `schema/facts.sql` and `schema/history.sql`: the rules that follow from whose a column is.

use super::{Columns, TABLES};

/// A person writes.
const PERSON: &str = "(SELECT is_person FROM actor)";

/// What a rule is about, and what it refuses.
enum Rule {
    /// Rows are never deleted.
    Delete,
    /// The operator deletes none.
    DeleteByOperator,
    /// Rows are never replaced: none has one of these keys yet; and what else refuses one.
    Insert(&'static [&'static str], &'static [&'static str]),
    /// There is no further row.
    InsertNone,
    /// The operator does not change facts.
    Facts,
    /// Nobody changes facts.
    Sealed,
    /// Nobody changes what is fixed.
    Fixed,
    /// The operator changes nothing, and nobody what is fixed.
    Closed,
    /// Nobody changes anything.
    Never,
}

use Rule::*;

/// The table, the rest of the trigger's name, the rule, and what it says after the table's name.
#[rustfmt::skip]
const RULES: &[(&str, &str, Rule, &str)] = &[
    ("shop", "insert", Insert(&[], &["EXISTS(SELECT 1 FROM shop)"]), "written when the file was made"),
    ("shop", "update", Closed, "written when the file was made"),
    ("shop", "delete", Delete, "written when the file was made"),
    ("actor", "insert", InsertNone, "it has one row"),
    ("actor", "delete", Delete, "it has one row"),
    ("sequence", "insert", InsertNone, "it has one row"),
    ("sequence", "delete", Delete, "it has one row"),
    ("events", "facts", Facts,
        "what Stripe sent is not changed; to process it again: UPDATE events SET state = 'pending' WHERE id = …"),
    ("events", "delete", Delete,
        "never deleted; to put one aside: UPDATE events SET state = 'ignored' WHERE id = …"),
    ("orders", "insert", Insert(&["id", "checkout_session_id", "payment_intent_id"], &[PERSON]),
        "rows come from Stripe and are never replaced; sell it through Checkout, or correct the order with UPDATE"),
    ("orders", "facts", Facts,
        "that column is a fact from Stripe; yours are note, hold_reason, cancel…, name, email, phone, shipping_…"),
    ("orders", "identity", Fixed, "an order keeps its number, session, mode and currency"),
    ("orders", "delete", Delete, "never deleted; to cancel: set canceled_at and cancel_reason"),
    ("line_items", "insert", Insert(&["id", "order_id position"],
        &[PERSON, "NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)"]),
        "rows come from Stripe and are never replaced"),
    ("line_items", "facts", Sealed,
        "that column is a fact from Stripe; yours are canceled_quantity and cancel_reason"),
    ("line_items", "delete", Delete, "never deleted; what will not be sent is canceled_quantity"),
    ("unbalanced_orders", "insert", Insert(&[], &[PERSON]), "kept by triggers; nothing is typed here"),
    ("unbalanced_orders", "update", Closed, "kept by triggers; nothing is typed here"),
    ("unbalanced_orders", "delete", DeleteByOperator, "kept by triggers; nothing is typed here"),
    ("fulfillments", "identity", Fixed, "it stays with its order; yours are status, tracking_…, note and the dates"),
    ("fulfillments", "delete", Delete, "never deleted; set status to canceled and its items are to be sent again"),
    ("refunds", "insert", Insert(&["id"], &[PERSON]),
        "rows come from Stripe and are never replaced; make the refund in Stripe's Dashboard"),
    ("refunds", "facts", Closed, "a fact from Stripe; make the refund in Stripe's Dashboard"),
    ("refunds", "delete", Delete, "never deleted"),
    ("disputes", "insert", Insert(&["id"], &[PERSON]),
        "rows come from Stripe and are never replaced; answer it in Stripe's Dashboard"),
    ("disputes", "facts", Closed, "a fact from Stripe; answer it in Stripe's Dashboard"),
    ("disputes", "delete", Delete, "never deleted"),
    ("reviews", "insert", Insert(&["id"], &[PERSON]),
        "rows come from Stripe and are never replaced; approve or refund it in Stripe's Dashboard"),
    ("reviews", "facts", Closed, "a fact from Stripe; approve or refund it in Stripe's Dashboard"),
    ("reviews", "delete", Delete, "never deleted"),
    ("fraud_warnings", "insert", Insert(&["id"], &[PERSON]),
        "rows come from Stripe and are never replaced; act on it in Stripe's Dashboard"),
    ("fraud_warnings", "facts", Closed, "a fact from Stripe; act on it in Stripe's Dashboard"),
    ("fraud_warnings", "delete", Delete, "never deleted"),
    ("order_history", "insert", Insert(&["id"], &["NEW.actor IS NOT (SELECT name FROM actor)"]),
        "written by the database and never changed"),
    ("order_history", "delete", Delete, "written by the database and never changed"),
    ("outbox", "identity", Fixed, "written by the database; to run its hooks again: fulfilld hooks retry ID"),
    ("outbox", "delete", Delete, "never deleted"),
    ("hook_runs", "insert", Insert(&["outbox_id target"], &[PERSON]),
        "written by fulfilld; to run its hooks again: fulfilld hooks retry ID"),
    ("hook_runs", "update", Closed, "written by fulfilld; to run its hooks again: fulfilld hooks retry ID"),
    ("hook_runs", "delete", Delete, "never deleted"),
    ("sweeps", "delete", Delete, "never deleted; to have a list looked through again, set its `until` back"),
    ("dismissals", "update", Never, "never changed; fulfilld undo brings back what you dismissed last"),
    ("dismissals", "delete", DeleteByOperator, "never deleted; fulfilld undo brings back what you dismissed last"),
    ("forgotten", "insert", Insert(&[], &[PERSON]), "written by fulfilld forget EMAIL"),
    ("forgotten", "update", Never, "never changed; who buys again is a new buyer"),
    ("forgotten", "delete", Delete, "never deleted; who buys again is a new buyer"),
    ("search_blocks", "insert", Insert(&[], &[PERSON]), "kept by fulfilld; nothing is typed here"),
    ("search_blocks", "update", Closed, "kept by fulfilld; nothing is typed here"),
    ("search_blocks", "delete", DeleteByOperator, "kept by fulfilld; nothing is typed here"),
    ("search_state", "insert", InsertNone, "it has one row"),
    ("search_state", "update", Closed, "kept by fulfilld; nothing is typed here"),
    ("search_state", "delete", Delete, "it has one row"),
    ("currency_decimals", "insert", InsertNone, "Stripe's list; every amount is read by it"),
    ("currency_decimals", "update", Never, "Stripe's list; every amount is read by it"),
    ("currency_decimals", "delete", Delete, "Stripe's list; every amount is read by it"),
];

/// The facts of an order whose changes are history, as the operator's columns are.
const HISTORY_OF_ORDERS: &str =
    "payment_status amount_total amount_capturable amount_captured capture_before";

/// What belongs to an order and appears in its history: the table, its name there, and its state in
/// one word, of the row `{}`.
#[rustfmt::skip]
const BESIDE: &[(&str, &str, &str)] = &[
    ("refunds", "refund", "{}status || ' ' || {}amount"),
    ("disputes", "dispute", "{}status"),
    ("reviews", "review", "CASE {}open WHEN 1 THEN 'open' ELSE coalesce({}closed_reason, 'closed') END"),
    ("fraud_warnings", "fraud warning", "CASE {}actionable WHEN 1 THEN 'actionable' ELSE 'settled' END"),
];

const WIDTH: usize = 100;

fn columns_of(table: &str) -> &'static Columns {
    TABLES.iter().find(|t| t.table == table).expect("a rule is of a table")
}

fn list(columns: &'static str) -> Vec<&'static str> {
    columns.split_whitespace().collect()
}

/// Parts with a separator between, in lines of two blanks more than `indent`; the first line stands
/// after what is there already.
fn wrapped(start: &str, parts: &[String], between: &str) -> String {
    let mut lines = vec![start.to_string()];
    for (n, part) in parts.iter().enumerate() {
        let part = format!("{part}{}", if n + 1 < parts.len() { between.trim_end() } else { "" });
        let last = lines.last_mut().expect("one");
        if last.chars().count() + 1 + part.chars().count() > WIDTH {
            lines.push(format!("  {part}"));
        } else {
            *last += " ";
            *last += &part;
        }
    }
    lines.join("\n")
}

/// Conditions of which one is enough, each in a line of its own where they do not fit one.
fn any_of(conditions: &[String]) -> String {
    let one = format!("  WHEN {}", conditions.join(" OR "));
    match one.chars().count() <= WIDTH {
        true => one,
        false => format!("  WHEN {}", conditions.join("\n    OR ")),
    }
}

fn changed(columns: &str) -> Vec<String> {
    columns.split_whitespace().map(|c| format!("NEW.{c} IS NOT OLD.{c}")).collect()
}

fn refusal(table: &str, says: &str) -> String {
    let literal = format!("'{table}: {}'", says.replace('\'', "''"));
    let line = format!("  SELECT RAISE(ABORT, {literal});");
    match line.chars().count() <= WIDTH {
        true => format!("BEGIN\n{line}\nEND;\n"),
        false => format!("BEGIN\n  SELECT RAISE(ABORT,\n    {literal});\nEND;\n"),
    }
}

fn rule(table: &'static str, name: &str, rule: &Rule, says: &str) -> String {
    let of = columns_of(table);
    let head = |what: &str| format!("CREATE TRIGGER {table}_{name} BEFORE {what} ON {table}");
    let operator = || PERSON.to_string();
    let facts = || {
        let start = format!("CREATE TRIGGER {table}_{name} BEFORE UPDATE OF");
        let facts: Vec<String> = list(of.facts).into_iter().map(String::from).collect();
        format!("{}\n  ON {table}", wrapped(&start, &facts, ","))
    };
    let (head, conditions) = match rule {
        Delete => (head("DELETE"), vec![]),
        DeleteByOperator => (head("DELETE"), vec![operator()]),
        InsertNone => (head("INSERT"), vec![]),
        Insert(keys, others) => {
            let is_new = |key: &&str| {
                let same: Vec<String> =
                    key.split(' ').map(|column| format!("{column} = NEW.{column}")).collect();
                format!("EXISTS(SELECT 1 FROM {table} WHERE {})", same.join(" AND "))
            };
            let others = others.iter().map(|other| other.to_string());
            (head("INSERT"), others.chain(keys.iter().map(is_new)).collect())
        }
        Facts => (facts(), vec![operator()]),
        Sealed => (facts(), vec![]),
        Fixed => (head("UPDATE"), changed(of.fixed)),
        Closed => (head("UPDATE"), [vec![operator()], changed(of.fixed)].concat()),
        Never => (head("UPDATE"), vec![]),
    };
    let when = match conditions.is_empty() {
        true => String::new(),
        false => any_of(&conditions) + "\n",
    };
    format!("{head}\n{when}{}", refusal(table, says))
}

/// `schema/facts.sql`.
fn facts() -> String {
    let mut text = String::from(
        "-- What is a fact stays a fact: rows that are never deleted and never replaced, columns that nobody\n\
         -- or only fulfilld changes. Written by the program's tests from src/columns.rs and\n\
         -- src/columns/rules.rs: UPDATE_GOLDEN=1 cargo test --bin fulfilld columns\n",
    );
    for (table, name, what, says) in RULES {
        text += "\n";
        text += &rule(table, name, what, says);
    }
    text
}

/// An AFTER UPDATE trigger that writes each changed column into the history of `order`, as `what`
/// and the column's name.
fn history_by_column(name: &str, table: &str, columns: &[&str], order: &str, what: &str) -> String {
    let rows: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(n, c)| match n {
            0 => format!("    SELECT '{c}' AS what, OLD.{c} AS old, NEW.{c} AS new"),
            _ => format!("    UNION ALL SELECT '{c}', OLD.{c}, NEW.{c}"),
        })
        .collect();
    format!(
        "CREATE TRIGGER {name} AFTER UPDATE ON {table}\n\
         BEGIN\n\
         \x20 INSERT INTO order_history(order_id, actor, what, old, new)\n\
         \x20 SELECT NEW.{order}, a.name, {what}c.what, c.old, nullif(trim(c.new, b.signs), '')\n\
         \x20 FROM actor a, blanks b, (\n{}) c\n\
         \x20 WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');\n\
         END;\n",
        rows.join("\n")
    )
}

/// `schema/history.sql`.
fn history() -> String {
    let orders = [list(HISTORY_OF_ORDERS), list(columns_of("orders").yours)].concat();
    let of_row = |text: &str, row: &str| text.replace("{}", row);
    let mut text = String::from(
        "-- Every change is history: who, what, from what, to what. Written by the program's tests from\n\
         -- src/columns.rs and src/columns/rules.rs: UPDATE_GOLDEN=1 cargo test --bin fulfilld columns\n\n",
    );
    text += &history_by_column("orders_changed", "orders", &orders, "id", "");
    text += "\n";
    let lines = list(columns_of("line_items").yours);
    let line = "'line ' || NEW.position || ' ' || ";
    text += &history_by_column("line_items_changed", "line_items", &lines, "order_id", line);
    text += "\n";
    let parcels = list(columns_of("fulfillments").yours);
    let parcel = "'fulfillment ' || NEW.id || ' ' || ";
    text +=
        &history_by_column("fulfillments_changed", "fulfillments", &parcels, "order_id", parcel);
    text += "\n-- What comes beside an order, with its state as the history shows it; the order may come later.\n\
             CREATE VIEW payment_matters AS\n";
    for (n, (table, name, state)) in BESIDE.iter().enumerate() {
        let (select, end) = if n == 0 {
            ("SELECT payment_intent_id, ", " AS what,\n  ")
        } else {
            ("UNION ALL\nSELECT payment_intent_id, ", ",\n  ")
        };
        let (state, named) = (of_row(state, ""), if n == 0 { " AS state" } else { "" });
        let last = if n + 1 == BESIDE.len() { ";" } else { "" };
        text += &format!("{select}'{name} ' || id{end}{state}{named}\nFROM {table}{last}\n");
    }
    for (table, name, state) in BESIDE {
        let (old, new) = (of_row(state, "OLD."), of_row(state, "NEW."));
        text += &format!(
            "\nCREATE TRIGGER {table}_came AFTER INSERT ON {table}\n\
             BEGIN\n\
             \x20 INSERT INTO order_history(order_id, actor, what, new)\n\
             \x20 SELECT o.id, a.name, '{name} ' || NEW.id,\n\
             \x20   {new}\n\
             \x20 FROM actor a, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;\n\
             END;\n\n\
             CREATE TRIGGER {table}_changed AFTER UPDATE ON {table}\n\
             BEGIN\n\
             \x20 INSERT INTO order_history(order_id, actor, what, old, new)\n\
             \x20 SELECT o.id, a.name, '{name} ' || NEW.id, c.old, c.new\n\
             \x20 FROM actor a, orders o, (SELECT\n\
             \x20   {old} AS old,\n\
             \x20   {new} AS new) c\n\
             \x20 WHERE o.payment_intent_id = NEW.payment_intent_id AND c.old <> c.new;\n\
             END;\n"
        );
    }
    text
}

fn assert_written(file: &str, wanted: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, wanted).expect("the rules can be written");
    }
    let here = std::fs::read_to_string(&path).expect("the rules are text");
    assert!(
        here == wanted,
        "schema/{file} is not what src/columns.rs says; write it: UPDATE_GOLDEN=1 cargo test --bin fulfilld columns"
    );
}

#[test]
fn the_rules_are_those_of_the_table_of_columns() {
    assert_written("facts.sql", &facts());
    assert_written("history.sql", &history());
}

#[test]
fn every_column_of_every_table_is_a_fact_or_somebody_s() {
    let c = crate::shape::fresh(crate::db::SCHEMA).expect("the schema is sound");
    let found: Vec<(String, String)> = c
        .prepare(
            "SELECT o.name, x.name FROM sqlite_schema o, pragma_table_info(o.name) x
             WHERE o.type = 'table' ORDER BY o.rowid, x.cid",
        )
        .and_then(|mut q| q.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("the tables can be read");
    let said: Vec<(&str, &str)> = TABLES
        .iter()
        .flat_map(|t| {
            let columns = [list(t.fixed), list(t.facts), list(t.yours), list(t.ruled)].concat();
            columns.into_iter().map(|column| (t.table, column))
        })
        .collect();
    for (table, column) in &found {
        let times = said.iter().filter(|(t, c)| t == table && c == column).count();
        assert_eq!(
            times, 1,
            "{table}.{column} stands {times} times in src/columns.rs; say there once whose it is: fixed, a fact, \
             the operator's (yours), or ruled by a trigger of its own"
        );
    }
    for (table, column) in said {
        let is_there = found.iter().any(|(t, c)| t == table && c == column);
        assert!(is_there, "src/columns.rs has {table}.{column}, and the file does not");
    }
}

/// The rules would be worth nothing with a way around them.
#[test]
fn no_fact_can_be_changed_by_the_operator_and_no_row_of_facts_deleted() {
    let rule_of = |table: &str, is: fn(&Rule) -> bool| {
        RULES.iter().any(|(of, _, rule, _)| *of == table && is(rule))
    };
    for t in TABLES {
        let is_kept = rule_of(t.table, |r| matches!(r, Facts | Sealed | Closed | Never));
        assert!(t.facts.is_empty() || is_kept, "no rule keeps the facts of {}", t.table);
        let is_fixed = rule_of(t.table, |r| matches!(r, Fixed | Closed | Never));
        assert!(t.fixed.is_empty() || is_fixed, "no rule keeps what is fixed of {}", t.table);
    }
}
