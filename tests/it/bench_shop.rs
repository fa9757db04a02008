//! The large shop of `cargo bench -- scale` is filled without triggers: it is what they would have
//! left, or its figures would say nothing.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::shop::{self, Shop};

const ORDERS: i64 = 120;
const WAITING: i64 = 20;
const EVENTS: i64 = 360;

/// What the triggers write, and what they are written from.
const LEFT: [&str; 5] = [
    "SELECT order_id, actor, what, old, iif(what GLOB '* shipped_at', 'then', new) FROM order_history
     ORDER BY order_id, id",
    "SELECT topic, order_id, fulfillment_id, event_id, key, state, outcome, attempts, next_attempt_at FROM outbox
     ORDER BY order_id, id",
    "SELECT id, order_id, requires_shipping, status, tracking_company, tracking_number, tracking_url FROM fulfillments
     ORDER BY id",
    "SELECT * FROM fulfillment_line_items ORDER BY fulfillment_id, line_item_id",
    "SELECT * FROM unbalanced_orders",
];

fn rows(c: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut query = c.prepare(sql).expect("it is a query");
    let columns = query.column_count();
    let row = |row: &rusqlite::Row| (0..columns).map(|n| row.get(n)).collect();
    query.query_map([], row).expect("it runs").collect::<Result<_, _>>().expect("rows")
}

/// Copies a row of one file into the other.
fn copy(from: &Connection, to: &Connection, table: &str, of: &str, instead: &[(&str, Value)]) {
    let columns: Vec<String> =
        rows(from, &format!("SELECT name FROM pragma_table_info('{table}')"))
            .into_iter()
            .map(|row| match &row[0] {
                Value::Text(name) => name.clone(),
                other => panic!("{other:?} is no name"),
            })
            .collect();
    let names = columns.join(", ");
    let places = vec!["?"; columns.len()].join(", ");
    for row in rows(from, &format!("SELECT {names} FROM {table} WHERE {of}")) {
        let values = columns.iter().zip(row).map(|(name, value)| {
            instead.iter().find(|(column, _)| column == name).map_or(value, |(_, v)| v.clone())
        });
        to.execute(
            &format!("INSERT INTO {table}({names}) VALUES({places})"),
            params_from_iter(values),
        )
        .unwrap_or_else(|e| panic!("{table} where {of}: {e}"));
    }
}

/// As `make` in benches/desk/scale.rs.
fn fill(c: &Connection) {
    let rules = "type IN('trigger', 'index') AND sql IS NOT NULL";
    let texts = |what: &str| {
        let all =
            rows(c, &format!("SELECT {what} FROM sqlite_schema WHERE {rules} ORDER BY rowid"));
        let texts = all.into_iter().map(|row| match &row[0] {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        });
        texts.collect::<String>()
    };
    let drop = texts("'DROP ' || type || ' \"' || name || '\"; '");
    let again = texts("sql || '; '");
    let shop = include_str!("../../benches/desk/shop.sql")
        .replace("$ORDERS", &ORDERS.to_string())
        .replace("$WAITING", &WAITING.to_string())
        .replace("$EVENTS", &EVENTS.to_string());
    c.execute_batch(&format!("BEGIN; {drop} {shop} {again} COMMIT;")).expect("it is filled");
}

#[test]
fn the_shop_of_the_benchmark_is_as_the_daemon_would_have_left_it() {
    let mut shop = Shop::open();
    shop.stop();
    let filled = Connection::open(shop.file()).expect("the file opens");
    fill(&filled);

    let told = Connection::open_in_memory().expect("memory");
    told.execute_batch(include!("../../schema/whole.rs")).expect("the schema");
    told.execute_batch("INSERT INTO shop VALUES(1, 0, '2020-01-01T00:00:00Z')").expect("a shop");
    let run = |sql: &str| told.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    for id in 1..=ORDERS {
        run("UPDATE actor SET name = 'stripe:evt_bench'");
        let unpaid = [
            ("payment_status", Value::Text("unpaid".into())),
            ("paid_at", Value::Null),
            ("line_items_at", Value::Null),
        ];
        copy(&filled, &told, "orders", &format!("id = {id}"), &unpaid);
        copy(&filled, &told, "line_items", &format!("order_id = {id} ORDER BY position"), &[]);
        run(&format!(
            "UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at
             WHERE id = {id}; UPDATE actor SET name = 'operator'"
        ));
        if id <= ORDERS - WAITING {
            run(&format!(
                "UPDATE fulfillments SET status = 'shipped', tracking_company = 'DHL',
                   tracking_number = printf('JD%016d', {id}), tracking_url = printf('https://dhl.example/JD%016d', {id})
                 WHERE order_id = {id}"
            ));
        }
        run("UPDATE actor SET name = 'stripe:evt_bench'");
        let of =
            format!("payment_intent_id = (SELECT payment_intent_id FROM orders WHERE id = {id})");
        copy(&filled, &told, "refunds", &of, &[]);
        copy(&filled, &told, "disputes", &of, &[]);
    }
    // Nobody waits for notifications in a shop without hooks.
    run("UPDATE outbox SET state = 'done', outcome = 'no_hook'");
    for sql in LEFT {
        let (has, should) = (rows(&filled, sql), rows(&told, sql));
        let differs = has.iter().zip(&should).find(|(has, should)| has != should);
        assert!(differs.is_none() && has.len() == should.len(), "{sql}: {differs:?}");
    }
    drop(filled);
    let mut check = shop::fulfilld();
    let said = check.arg("check").env("FULFILLD_DB", shop.file()).output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    shop.start();
    shop.check();
}
