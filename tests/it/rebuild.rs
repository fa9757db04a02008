//! What comes from Stripe can be derived again, and a file that says something else is found
//! out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::arrivals::SCENARIOS;
use crate::lives::LIVES;
use crate::shop::{Shop, fulfilld, rows, shell, wait_for};

/// `fulfilld rebuild` with the daemon's settings.
fn command(shop: &Shop, arguments: &[&str]) -> Command {
    let mut command = fulfilld();
    command.arg("rebuild").args(arguments);
    for (name, value) in shop.serve().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

fn rebuild(shop: &Shop, arguments: &[&str]) -> Output {
    command(shop, arguments).output().expect("the program starts")
}

/// What it found, a row as `table|key|column|here|rebuilt`, and how it ended.
fn found(shop: &Shop, arguments: &[&str]) -> (i32, Vec<String>) {
    let output = rebuild(shop, &[arguments, &["--json"]].concat());
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("a JSON object a line");
        let cell = |name: &str| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        ["table", "key", "column", "here", "rebuilt"].map(cell).join("|")
    };
    let stdout = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("it was not killed"), stdout.lines().map(row).collect())
}

pub fn healthy(shop: &Shop) {
    let output = rebuild(shop, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(0), ""),
        "{said}"
    );
    assert!(said.contains(" to Stripe"), "{said}");
}

#[test]
fn an_order_that_was_added_by_hand_is_no_difference_to_stripe() {
    let shop = Shop::open();
    sell(&shop, &["card"]);
    let out = fulfilld()
        .args(["add", "--origin", "phone", "--name", "Zoe", "--line1", "3 Rue C", "--city", "Lyon"])
        .args(["--country", "FR", "--item", "2 x Card @ 2.50", "--db"])
        .arg(shop.file())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    shop.shell("INSERT INTO cancel SELECT max(id), 'staff' FROM orders").unwrap();
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "2");
    healthy(&shop);
}

/// A purchase of each scenario, with its events delivered.
fn sell(shop: &Shop, scenarios: &[&str]) {
    for (n, scenario) in scenarios.iter().enumerate() {
        let purchase = shop.buy(scenario, 1, ["snapshot", "thin", "both"][n % 3]).remove(0);
        for (id, _) in &purchase.events {
            assert_eq!(shop.deliver(id), 200);
        }
    }
    shop.settle();
}

/// The names and the bytes of what lies in the shop's directory.
fn lies_there(shop: &Shop) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(shop.dir.path()).expect("the directory is there");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    // What readers share of the log in memory is no one's bytes.
    files.retain(|path| !path.to_string_lossy().ends_with("-shm"));
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).expect("it can be read")))
        .collect()
}

/// Changes the file as somebody can who has taken its guards off.
fn damage(file: &Path, sql: &str) {
    let triggers = rows(
        file,
        "SELECT 'DROP TRIGGER ' || name || ';' FROM sqlite_schema WHERE type = 'trigger'",
    );
    shell(file, &format!("{}\n{sql}", triggers.concat())).expect("nothing is left that refuses it");
}

#[test]
fn a_healthy_file_is_as_stripe_says_whatever_has_happened_to_its_orders() {
    let mut shop = Shop::open();
    sell(&shop, SCENARIOS);
    sell(&shop, LIVES);
    sell(&shop, &["unpaid", "canceled", "many-refunds", "adaptive-refunded"]);
    // What the operator does is no difference.
    let shippable = shop.rows("SELECT order_id FROM to_ship LIMIT 5");
    let typed = format!(
        "INSERT INTO ship VALUES({0}, 'DHL', 'JD1', NULL);
         INSERT INTO cancel VALUES({1}, 'customer');
         INSERT INTO hold VALUES({2}, 'asks for another color');
         UPDATE orders SET shipping_line1 = '12 Rue Exemple', email = 'new@example.com', note = 'gift' WHERE id = {3};
         INSERT INTO ship VALUES({4}, 'DHL', 'JD2', NULL);
         INSERT INTO deliver VALUES({4});
         UPDATE fulfillment_line_items SET quantity = 1 WHERE quantity > 1
           AND fulfillment_id = (SELECT min(fulfillment_id) FROM to_fulfill WHERE quantity > 1);
         UPDATE line_items SET canceled_quantity = 1 WHERE id = (SELECT min(line_item_id) FROM to_fulfill);",
        shippable[0], shippable[1], shippable[2], shippable[3], shippable[4]
    );
    shop.shell(&typed).unwrap();
    healthy(&shop);
    // A log that nobody has moved into the file yet stays where it is.
    assert_eq!(shop.post(br#"{"id":"evt_last","type":"x"}"#).unwrap().0, 200);
    shop.kill();
    let before = lies_there(&shop);
    assert!(
        before
            .iter()
            .any(|(path, bytes)| path.to_string_lossy().ends_with("-wal") && !bytes.is_empty())
    );
    healthy(&shop);
    assert!(lies_there(&shop) == before, "a killed daemon's file was changed");
    shop.start();
    shop.stop();
    let before = lies_there(&shop);
    healthy(&shop);
    assert!(
        lies_there(&shop) == before,
        "a stopped daemon's file was changed, or something was left beside it"
    );

    // The second file is a whole one, with the same orders under the same numbers.
    let into = shop.dir.path().join("second.db");
    let output = rebuild(&shop, &["--into", into.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for sql in [
        "SELECT id, checkout_session_id, payment_status, amount_total FROM orders ORDER BY id",
        "SELECT * FROM events ORDER BY id",
        "SELECT id, amount, status FROM refunds ORDER BY id",
        "SELECT * FROM line_items l WHERE canceled_quantity = 0 AND id <> (SELECT min(id)
           FROM line_items) AND NOT EXISTS(
           SELECT 1 FROM order_history h WHERE h.order_id = l.order_id AND what GLOB 'line *') ORDER BY id",
    ] {
        let there = rows(&into, sql);
        assert!(!there.is_empty());
        if !sql.contains("line_items") {
            assert_eq!(there, shop.rows(sql), "{sql}");
        }
    }
    assert_eq!(rows(&into, "SELECT count(*) FROM outbox WHERE state = 'pending'"), ["0"]);
    assert_eq!(rows(&into, "SELECT name FROM actor"), ["operator"]);
    let check = fulfilld().arg("check").arg("--db").arg(&into).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    // And it is not written over.
    let bytes = std::fs::read(&into).unwrap();
    for taken in [into.as_path(), &shop.file()] {
        let output = rebuild(&shop, &["--into", taken.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"));
    }
    assert!(std::fs::read(&into).unwrap() == bytes);
}

#[test]
fn whatever_was_changed_behind_the_file_s_back_is_shown_and_nothing_else() {
    let mut shop = Shop::open();
    sell(
        &shop,
        &[
            "card",
            "mixed",
            "refunded-in-part",
            "dispute-lost",
            "review-approved",
            "fraud-warning",
            "delayed",
        ],
    );
    healthy(&shop);
    shop.stop();
    shop.shell("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let whole = std::fs::read(shop.file()).unwrap();
    let session =
        |n: i64| shop.one(&format!("SELECT checkout_session_id FROM orders WHERE id = {n}"));
    let line = |n: i64| {
        shop.one(&format!("SELECT id FROM line_items WHERE order_id = {n} AND position = 1"))
    };
    let id = |table: &str| shop.one(&format!("SELECT id FROM {table}"));
    let total = |n: i64| shop.one(&format!("SELECT amount_total FROM orders WHERE id = {n}"));
    let (one, first) = (session(1), line(1));
    let quantity = shop.one(&format!("SELECT quantity FROM line_items WHERE id = '{first}'"));
    let refund = shop.one("SELECT id || '|' || amount FROM refunds");
    let (refund, amount) = refund.split_once('|').unwrap();
    let (dispute, review, warning) = (id("disputes"), id("reviews"), id("fraud_warnings"));
    for (sql, expected) in [
        (
            "UPDATE orders SET amount_total = 1 WHERE id = 1".to_string(),
            vec![format!("orders|{one}|amount_total|1|{}", total(1))],
        ),
        (
            "UPDATE orders SET payment_status = 'unpaid', email = 'evil@example.com', \
             paid_at = NULL WHERE id = 1"
                .into(),
            vec![
                format!("orders|{one}|payment_status|unpaid|paid"),
                format!(
                    "orders|{one}|email|evil@example.com|{}",
                    shop.one("SELECT email FROM orders WHERE id = 1")
                ),
                format!(
                    "orders|{one}|paid_at|null|{}",
                    shop.one("SELECT paid_at FROM orders WHERE id = 1")
                ),
            ],
        ),
        (
            format!("DELETE FROM line_items WHERE id = '{first}'"),
            vec![format!("line_items|{first}|row|missing|there")],
        ),
        (
            format!("UPDATE line_items SET quantity = quantity + 5 WHERE id = '{first}'"),
            vec![format!(
                "line_items|{first}|quantity|{}|{quantity}",
                quantity.parse::<i64>().unwrap() + 5
            )],
        ),
        (
            format!("DELETE FROM fulfillment_line_items WHERE line_item_id = '{first}'"),
            vec![format!("fulfillment_line_items|{first}|row|missing|there")],
        ),
        (
            format!(
                "UPDATE fulfillment_line_items SET quantity = 77 WHERE line_item_id = '{first}'"
            ),
            vec![format!("fulfillment_line_items|{first}|quantity|77|{quantity}")],
        ),
        ("DELETE FROM refunds".into(), vec![format!("refunds|{refund}|row|missing|there")]),
        (
            "UPDATE refunds SET status = 'failed', amount = 7".into(),
            vec![
                format!("refunds|{refund}|amount|7|{amount}"),
                format!("refunds|{refund}|status|failed|succeeded"),
            ],
        ),
        (
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, \
             reason, failure_reason, created_at, as_of) SELECT 're_forged', payment_intent_id, \
             charge_id, amount, currency, status, reason, failure_reason, created_at, as_of \
             FROM refunds"
                .into(),
            vec!["refunds|re_forged|row|there|missing".into()],
        ),
        (
            "UPDATE disputes SET status = 'won'".into(),
            vec![format!("disputes|{dispute}|status|won|lost")],
        ),
        (
            "UPDATE reviews SET closed_reason = 'disputed'".into(),
            vec![format!("reviews|{review}|closed_reason|disputed|approved")],
        ),
        (
            "UPDATE fraud_warnings SET actionable = 0".into(),
            vec![format!("fraud_warnings|{warning}|actionable|0|1")],
        ),
        // Not Stripe's: the operator's own columns, and rows that somebody may have packed
        // otherwise.
        (
            "UPDATE orders SET note = 'x', hold_reason = 'y'; UPDATE fulfillments \
          SET status = 'shipped', shipped_at = created_at"
                .into(),
            vec![],
        ),
        (
            "DELETE FROM orders WHERE id = 7".into(),
            vec![
                format!("orders|{}|row|missing|there", session(7)),
                format!("line_items|{}|checkout_session_id|null|{}", line(7), session(7)),
            ],
        ),
    ] {
        std::fs::write(shop.file(), &whole).unwrap();
        damage(&shop.file(), &sql);
        let (code, mut rows) = found(&shop, &[]);
        let kept = shop.dir.path().join("shop.db.rebuilt");
        assert_eq!(
            (code, kept.exists()),
            (i32::from(!expected.is_empty()), !expected.is_empty()),
            "{sql}: {rows:#?}"
        );
        let _ = std::fs::remove_file(kept);
        let mut expected = expected;
        // An order's other lines are without it, too.
        if sql.contains("orders WHERE id = 7") {
            rows.retain(|row| {
                !row.contains("|checkout_session_id|null|") || row.contains(&expected[1])
            });
        }
        rows.sort();
        expected.sort();
        assert_eq!(rows, expected, "{sql}");
    }
    // The same while the daemon runs.
    std::fs::write(shop.file(), &whole).unwrap();
    let expected = format!("orders|{}|amount_total|1|{}", session(2), total(2));
    damage(&shop.file(), "UPDATE orders SET amount_total = 1 WHERE id = 2");
    shop.start();
    assert_eq!(found(&shop, &[]), (1, vec![expected]));
}

#[test]
fn a_rebuild_that_stripe_fails_reports_nothing_and_leaves_nothing_behind() {
    let mut shop = Shop::open();
    sell(&shop, &["card", "refunded"]);
    shop.stop();
    let before = lies_there(&shop);
    for (fault, code) in [
        (json!({"kind": "status", "status": 500}), 75),
        (json!({"kind": "close"}), 75),
        (json!({"kind": "status", "status": 401}), 78),
        (json!({"kind": "status", "status": 403, "endpoint": "refunds"}), 78),
    ] {
        shop.control("POST", "/_sandbox/faults", fault.clone());
        let output = rebuild(&shop, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{fault}: {said}");
        shop.control("DELETE", "/_sandbox/faults", json!({}));
        assert!(lies_there(&shop) == before, "{fault}: something was left or changed");
    }
    // Once it has answered, a hiccup is waited for.
    shop.control("DELETE", "/_sandbox/stats", json!({}));
    shop.control(
        "POST",
        "/_sandbox/faults",
        json!({"kind": "status", "status": 500, "endpoint": "refunds"}),
    );
    let mut child = command(&shop, &[]).stderr(Stdio::null()).spawn().expect("the program starts");
    wait_for("it asks for refunds again and again", || {
        let stats = shop.control("GET", "/_sandbox/stats", json!({}));
        // Two events about one refund, each request tried three times in a row.
        (stats["requests"]["refunds"]["500"].as_u64() > Some(6)).then_some(())
    });
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
    assert!(lies_there(&shop) == before);
}

#[test]
fn what_stripe_no_longer_has_is_named_and_the_others_keep_their_numbers() {
    let shop = Shop::open();
    sell(&shop, &["card", "refunded", "mixed"]);
    let session = shop.one("SELECT checkout_session_id FROM orders WHERE id = 2");
    let gone =
        json!({"kind": "status", "status": 404, "endpoint": "checkout_session", "only": session});
    shop.control("POST", "/_sandbox/faults", gone);
    let into = shop.dir.path().join("second.db");
    let (code, rows_found) = found(&shop, &["--into", into.to_str().unwrap()]);
    let events = shop.rows(&format!(
        "SELECT id FROM events WHERE object_id = '{session}' OR object_id = \
         (SELECT payment_intent_id FROM orders WHERE id = 2) ORDER BY 1"
    ));
    let mut named: Vec<String> =
        rows_found.iter().map(|row| row.split('|').nth(1).unwrap().to_string()).collect();
    named.sort();
    named.dedup();
    assert_eq!((code, &named), (1, &events), "{rows_found:#?}");
    assert!(
        rows_found
            .iter()
            .all(|row| row.contains("|cannot be rebuilt|done|") && row.contains("404")),
        "{rows_found:#?}"
    );
    assert_eq!(rows(&into, "SELECT id FROM orders ORDER BY id"), ["1", "3"]);
}

#[test]
fn events_without_their_payload_are_enough_and_those_that_wait_are_left_out() {
    let shop =
        Shop::open_with(&[("FULFILLD_ACCOUNT", "acct_1")], &["--webhook", "none", "--rate", "0"]);
    sell(&shop, &["card", "delayed-fails", "refunded", "subscription-refunded", "expired"]);
    for account in ["acct_1", "acct_2"] {
        for (id, _) in &shop.buy("card", 1, "snapshot").remove(0).events {
            let mut event: Value = serde_json::from_slice(&shop.body(id)).expect("JSON");
            event["account"] = json!(account);
            assert_eq!(shop.post(event.to_string().as_bytes()).expect("the desk answers").0, 200);
        }
    }
    shop.settle();
    let clear = "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:retention'; UPDATE events \
                 SET payload = NULL; UPDATE actor SET name = 'operator'; COMMIT";
    shop.shell(clear).unwrap();
    assert_eq!(shop.one("SELECT count(*) FROM events WHERE payload IS NOT NULL"), "0");
    let into = shop.dir.path().join("second.db");
    assert_eq!(found(&shop, &["--into", into.to_str().unwrap()]), (0, vec![]));
    assert_eq!(rows(&into, "SELECT count(*) FROM orders"), ["5"]);
    // One waits at a Stripe that has no answer for the daemon, and so is no order yet; the money of
    // another moves.
    let waiting = shop.buy("refunded", 1, "snapshot").remove(0);
    let fault = json!({"kind": "status", "status": 500, "endpoint": "checkout_session", "only": waiting.session});
    shop.control("POST", "/_sandbox/faults", fault);
    for (id, _) in &waiting.events {
        assert_eq!(shop.deliver(id), 200);
    }
    let concluded = "SELECT count(*) FROM events WHERE state = 'pending' AND attempts > 0 AND type GLOB 'checkout*'";
    wait_for("it was tried", || (shop.one(concluded) == "1").then_some(()));
    let refunds = "SELECT count(*) FROM events WHERE state = 'pending' \
                   AND type NOT GLOB 'checkout*' AND type NOT GLOB 'payment*'";
    wait_for("its refunds are known", || (shop.one(refunds) == "0").then_some(()));
    assert_eq!(found(&shop, &[]), (0, vec![]));
}

#[test]
fn quantities_canceled_in_an_unpaid_or_failed_order_are_no_difference() {
    let shop = Shop::open();
    sell(&shop, &["unpaid", "canceled", "delayed-fails", "card", "mixed"]);
    shop.shell("UPDATE line_items SET canceled_quantity = 1").unwrap();
    let canceled = "SELECT count(DISTINCT payment_status) FROM orders \
                    JOIN line_items ON order_id = orders.id WHERE canceled_quantity > 0";
    assert_eq!(shop.one(canceled), "3");
    healthy(&shop);
}

#[test]
fn a_rebuild_beside_a_busy_daemon_takes_nothing_that_moves_for_a_difference() {
    let shop = Shop::open();
    sell(&shop, &["card", "refunded", "disputed"]);
    let busy = AtomicBool::new(true);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for scenario in LIVES.iter().cycle().take_while(|_| busy.load(Ordering::Relaxed)) {
                for (id, _) in &shop.buy(scenario, 1, "snapshot").remove(0).events {
                    assert_eq!(shop.deliver(id), 200);
                }
            }
        });
        for _ in 0..8 {
            let found = found(&shop, &[]);
            if found != (0, vec![]) {
                busy.store(false, Ordering::Relaxed);
                panic!("{found:#?}");
            }
        }
        busy.store(false, Ordering::Relaxed);
    });
}
