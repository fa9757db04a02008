//! Rows with every value that the daemon may write: no view fails because of one.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::daemon::STRIPE;
use super::harness::{broken_view, made, rows, tables, typed, views};
use super::{SCHEMA, stripe};
use crate::outside::{installed, machine_program};
use crate::shop::seed;

/// Two refunds of 2^62 once made `to_ship`, `attention` and `order_overview` fail for the whole
/// shop.
#[test]
fn two_refunds_of_impossible_amounts_stop_no_view() {
    let c = made(SCHEMA);
    for id in ["re_x", "re_y"] {
        let refund = format!(
            "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
             VALUES('{id}', 'pi_1', {}, 'eur', 'succeeded', '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z')",
            1i64 << 62
        );
        let said = typed(&c, &stripe(&refund)).expect_err("it is refused").to_string();
        assert!(said.contains("a refund has an amount between 1 and 1000000000000"), "{said}");
        assert_eq!(broken_view(&c, &views(&c)), None);
    }
}

/// Rows by chance into every table that the daemon writes, thousands of them, with the largest
/// amounts among them.
#[test]
fn no_view_fails_whatever_the_daemon_may_write() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let c = made(SCHEMA);
    let (tables, views) = (tables(), views(&c));
    let mut orders: Vec<i64> = (1..25).collect();
    let mut written = std::collections::BTreeMap::new();
    c.execute_batch(&format!("BEGIN; UPDATE actor SET name = '{STRIPE}'"))
        .expect("the daemon names itself");
    for n in 0..6000 {
        let name = [
            "orders",
            "line_items",
            "refunds",
            "disputes",
            "reviews",
            "fraud_warnings",
            "events",
            "alarms",
            "hook_runs",
        ][rng.usize(0..9)];
        let columns: Vec<&str> =
            tables[name].columns.iter().map(|(column, _)| &column[..]).collect();
        let is_text: Vec<bool> = tables[name].columns.iter().map(|(_, text)| *text).collect();
        let values: Vec<Value> = columns
            .iter()
            .zip(is_text)
            .map(|(column, text)| match value(&mut rng, name, column, n, &orders) {
                // A count, as it is in the beginning.
                Value::Text(_) if !text => Value::Integer(0),
                value => value,
            })
            .collect();
        let places = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO {name}({}) VALUES({places})", columns.join(", "));
        let done =
            c.prepare_cached(&sql).and_then(|mut insert| insert.execute(params_from_iter(&values)));
        if done.is_ok_and(|rows| rows == 1) {
            *written.entry(name).or_insert(0) += 1;
            if name == "orders" {
                orders.push(c.last_insert_rowid());
            }
        }
        // Some become sales, and what was bought is then to be sent.
        if n % 20 == 19 {
            let id = orders[rng.usize(0..orders.len())];
            let _ = c.execute("UPDATE orders SET payment_status = 'paid' WHERE id = ?1", [id]);
        }
        if n % 500 == 499 {
            assert_eq!(
                broken_view(&c, &views),
                None,
                "FULFILLD_SEED={seed}: the last row was {name} {values:?}"
            );
        }
    }
    println!("{written:?}");
    assert!(written.len() == 9 && written.values().all(|n| *n > 30), "{written:?}");
    c.execute_batch("UPDATE actor SET name = 'operator'; COMMIT").expect("the daemon is done");
    operators_words(&c, &mut rng);
    assert_eq!(broken_view(&c, &views), None, "FULFILLD_SEED={seed}");
    old_shell_reads(&c, &views);
    let silent = "SELECT DISTINCT reason FROM attention WHERE reason IS NULL OR what IS NULL OR next IS NULL";
    assert_eq!(rows(&c, silent), "", "FULFILLD_SEED={seed}: attention says nothing of these");
}

/// The oldest engine, which reads JSON's paths otherwise, reads the same rows.
fn old_shell_reads(c: &Connection, views: &[String]) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("shop.db");
    c.execute("VACUUM INTO ?1", [file.to_string_lossy()]).expect("a copy");
    let mut shell = machine_program("sqlite3");
    shell.env(
        "LD_LIBRARY_PATH",
        installed(".tools/sqlite-3.37/libsqlite3.so.0").parent().expect("its directory"),
    );
    shell.arg(&file).args(views.iter().map(|view| format!("SELECT * FROM {view};")));
    let said = shell.output().expect("sqlite3 starts");
    assert!(said.status.success(), "SQLite 3.37: {}", String::from_utf8_lossy(&said.stderr));
}

/// What an operator may write beside it.
fn operators_words(c: &Connection, rng: &mut fastrand::Rng) {
    for n in 0..300 {
        let text = TEXTS[rng.usize(0..TEXTS.len())];
        let sql = [
            "UPDATE orders SET note = ?1, name = ?1 WHERE id = ?2",
            "UPDATE orders SET hold_reason = ?1 WHERE id = ?2",
        ];
        let _ = c.execute(sql[n % 2], (text, rng.i64(1..200)));
        let _ = c.execute(
            "INSERT INTO ship VALUES(?2, ?1, ?3, ?1)",
            (text, rng.i64(1..200), format!("{text}{n}")),
        );
    }
}

fn value(rng: &mut fastrand::Rng, table: &str, column: &str, n: usize, orders: &[i64]) -> Value {
    let text = |t: &str| Value::Text(t.to_string());
    let order = rng.u32(1..120);
    match (table, column) {
        ("orders", "id") | (_, "asked" | "seq") => Value::Integer(1000 + n as i64),
        ("orders", "payment_intent_id") => text(&format!("pi_{}", rng.u32(1..300))),
        (_, "payment_intent_id") => text(&format!("pi_{order}")),
        (_, "order_id") => Value::Integer(orders[rng.usize(0..orders.len())]),
        ("line_items", "position") => Value::Integer(10 + n as i64),
        (_, "outbox_id") => Value::Integer(rng.i64(1..200)),
        (_, "id" | "checkout_session_id" | "target") | ("alarms", "name") => {
            text(&format!("{}{n}", TEXTS[n % TEXTS.len()]))
        }
        (_, "mode") => text("payment"),
        (_, "payment_status") => text("unpaid"),
        ("events" | "hook_runs", "state") => {
            text(["pending", "done", "failed", "dead"][rng.usize(0..4)])
        }
        (_, "shape") => text(["snapshot", "thin"][rng.usize(0..2)]),
        (_, "source") => text(["webhook", "backfill"][rng.usize(0..2)]),
        (_, "status") => text(
            ["succeeded", "pending", "failed", "won", "lost", "needs_response", "\u{0}", "x'y"]
                [rng.usize(0..8)],
        ),
        (_, "currency") => text(["eur", "eur", "jpy", "kwd", "xxx"][rng.usize(0..5)]),
        (_, "livemode") => Value::Integer(0),
        (_, "open" | "actionable" | "is_charge_refundable" | "requires_shipping") => {
            Value::Integer(rng.i64(0..2))
        }
        (_, "money_moves") => {
            let amount = [1, -1_000_000_000_000, 1_000_000_000_000, 1i64 << 62][rng.usize(0..4)];
            let time = TIMES[rng.usize(0..TIMES.len())];
            let moves = [
                format!("{{\"amount\": {amount}, \"at\": \"{time}\"}}"),
                json(rng),
                "{\"amount\": \"x\"}".into(),
            ];
            text(&format!("[{}]", moves[[0, 0, 0, 1, 2][rng.usize(0..5)]]))
        }
        (_, "capture_method") if rng.bool() => text("manual"),
        (_, "capture_method") => Value::Null,
        (_, "custom_fields" | "tax_ids" | "metadata") => text(&json(rng)),
        (_, "quantity") => Value::Integer([1, 2, 1_000_000_000][rng.usize(0..3)]),
        (_, "canceled_quantity" | "attempts" | "crashes" | "panics" | "tries" | "failures") => {
            Value::Integer(0)
        }
        (_, "weight_g") => Value::Integer([1, 350, 1_000_000][rng.usize(0..3)]),
        // The daemon adds none by hand.
        (_, "origin" | "cancel_reason" | "canceled_at") => Value::Null,
        (_, name)
            if name.starts_with("amount")
                || ["presentment_amount", "unit_amount"].contains(&name) =>
        {
            Value::Integer(
                [0, 1, 100, 1_000_000_000_000, -1_000_000_000_000]
                    [rng.usize(0..if name == "amount_total" { 4 } else { 5 })],
            )
        }
        (_, name)
            if name.ends_with("_at")
                || ["created", "since", "as_of", "evidence_due_by"].contains(&name) =>
        {
            match rng.u32(0..8) {
                0 => Value::Null,
                _ => text(TIMES[rng.usize(0..TIMES.len())]),
            }
        }
        _ if rng.u32(0..4) == 0 => Value::Null,
        _ => text(TEXTS[rng.usize(0..TEXTS.len())]),
    }
}

/// Any JSON at any place, as deep as SQLite takes it and deeper.
fn json(rng: &mut fastrand::Rng) -> String {
    let depth = [1, 50, 900, 3000][rng.usize(0..4)];
    match rng.u32(0..14) {
        11 => r#"{"": {"value": "a"}, "x\"y": {"label": 1}, "a.b[": {"label": {}}}"#.into(),
        12 => r#"[{"key": "k", "dropdown": {"value": "a", "options": {"": {"value": "a"}, "x\"y": {"value": "a"}}}}]"#
            .into(),
        0 => "null".into(),
        1 => "5".into(),
        2 => "\"text\"".into(),
        3 => "[1, \"{\", null, [], {}]".into(),
        4 => r#"{"a": {"b": [1]}, "sku": [], "": null}"#.into(),
        5 => r#"[{"key": 5, "label": {"custom": ["x"]}, "type": "text", "text": "no object"}]"#.into(),
        6 => r#"[{"key": "k", "label": {"type": "custom", "custom": "Engraving"}, "text": {"value": "\u0000\u202e"}}]"#
            .into(),
        7 => r#"[{"label": null, "dropdown": {"value": null, "options": 7}}, 3, "[", false]"#.into(),
        8 => format!("{}1{}", "[".repeat(depth), "]".repeat(depth)),
        9 => format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)),
        10 => r#"{"sku": 1e999, "big": 123456789012345678901234567890}"#.into(),
        _ => "[]".into(),
    }
}

const TEXTS: [&str; 12] = [
    "",
    "'; DROP TABLE orders; --",
    "evt_'; rm -rf ~ #",
    "\"$(x)`",
    "\u{0}",
    "\u{202e}ﬁ€\u{1b}[31m",
    "{\"a\":",
    "%s%n*?[",
    "9e999",
    "-1",
    "line\nbreak\r\n",
    "2026-11-20T08:00:00Z",
];

const TIMES: [&str; 8] = [
    "2026-11-20T08:00:00Z",
    "2026-11-20T08:00:00.123456Z",
    "9999-12-31T23:59:59Z",
    "-4713-11-24T12:00:00Z",
    "0000-00-00T00:00:00Z",
    "+292277026596-12-04T15:30:07Z",
    "never",
    "",
];
