//! What is held about a person can be shown, and erased to the last byte, while the books stay.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::shop::{PATIENCE, Purchase, Shop, fulfilld, wait_for};

/// A verb on the shop's file, with the desk's settings.
fn verb(shop: &Shop, arguments: &[&str]) -> Output {
    let mut command = fulfilld();
    command.args(arguments);
    for (name, value) in shop.serve().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn done(shop: &Shop, arguments: &[&str]) -> String {
    let output = verb(shop, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// Sixteen purchases, delivered: each of the simulated Stripe's buyers has bought twice.
fn sell(shop: &Shop) -> Vec<Purchase> {
    let purchases = shop.buy("card", 16, "snapshot");
    for (id, _) in purchases.iter().flat_map(|purchase| &purchase.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    purchases
}

/// Everything is sent, and some of it was typed about one buyer.
fn send(shop: &Shop, email: &str) {
    shop.shell(&format!(
        "UPDATE orders SET note = 'Call Aunt Hildegard first', shipping_line1 = 'Zwischengasse 99'
           WHERE email = '{email}';
         INSERT INTO ship SELECT order_id, 'DHL', 'JD' || (1000 + order_id), NULL FROM to_ship;
         UPDATE fulfillments SET note = 'left with Hildegard', tracking_url = 'https://example.org/p?zip=Zwischengasse'
           WHERE order_id IN(SELECT id FROM orders WHERE email = '{email}');
         INSERT INTO deliver SELECT order_id FROM to_fulfill GROUP BY order_id;"
    ))
    .expect("an operator may type that");
    // A program that does not overwrite what it replaces: the old address stays in free
    // pages.
    let c = rusqlite::Connection::open(shop.file()).expect("the file opens");
    c.busy_timeout(PATIENCE).expect("it can wait");
    for street in ["Irrweg 1234", "Zwischengasse 99"] {
        let correct = "UPDATE orders SET shipping_line1 = ?1 WHERE email = ?2";
        c.execute(correct, [street, email]).expect("an operator may correct it");
    }
    let left =
        "CREATE TABLE labels AS SELECT 'Irrweg 1234, by hand' AS street, zeroblob(3000) AS print
                FROM events; DROP TABLE labels";
    c.execute_batch(left).expect("a table of their own comes and goes");
}

const EMAIL: &str = "nora@example.se";

/// What names that buyer in their orders, their events, or in what was typed of them.
const TEXTS: [&str; 9] = [
    EMAIL,
    "Nora Lindqvist",
    "+46701234567",
    "Götgatan 44",
    "118 26",
    "Till Ebba",
    "Hildegard",
    "Zwischengasse",
    "Irrweg",
];

/// The files of the directory that hold one of the texts, each with the text.
fn holders(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for text in TEXTS {
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push((path.clone(), text));
            }
        }
    }
    found
}

#[track_caller]
fn nothing_left(shop: &Shop) {
    // The desk moves the log into the file when it has been quiet for a while.
    let mut left = Vec::new();
    wait_for("every byte is gone", || {
        let now = holders(shop.dir.path());
        if now != left {
            eprintln!("left: {now:?}");
            left = now;
        }
        left.is_empty().then_some(())
    });
}

/// What the books say, by day and by order.
fn books(shop: &Shop) -> Vec<String> {
    let mut books = shop.rows("SELECT * FROM sales_by_day");
    books.extend(shop.rows(
        "SELECT o.id, placed_at, total, financial_status, fulfillment_status, shipping_country, shipping_state,
           o.currency, paid_at, amount_tax, amount_shipping
         FROM order_overview v JOIN orders o ON o.id = v.id ORDER BY o.id",
    ));
    books.extend(shop.rows("SELECT * FROM bookings ORDER BY 1, 2, 3, 4"));
    books.extend(shop.rows(
        "SELECT order_id, name, quantity, amount_total FROM line_items ORDER BY 1, position",
    ));
    books
}

#[test]
fn a_forgotten_person_is_in_no_file_and_the_books_stay() {
    let mut shop = Shop::open();
    let purchases = sell(&shop);
    send(&shop, EMAIL);
    let theirs = format!("SELECT count(*) FROM orders WHERE email = '{EMAIL}'");
    assert_eq!(shop.one(&theirs), "2");
    // The log may be moved into the file between a look at the one and at the other.
    wait_for("every text is there", || {
        let there = holders(shop.dir.path());
        TEXTS.iter().all(|text| there.iter().any(|(_, found)| found == text)).then_some(())
    });
    let before = books(&shop);
    let news = "SELECT count(*) FROM outbox";
    let told_before = shop.one(news);

    // Shown first, and nothing is changed.
    let shown = done(&shop, &["forget", "Nora@Example.SE"]);
    assert!(shown.contains("from 2 orders") && shown.contains("Nothing was changed"), "{shown}");
    assert_eq!(shop.one(&theirs), "2");

    let told = done(&shop, &["forget", "Nora@Example.SE", "--yes"]);
    assert!(told.contains("is forgotten: 2 orders"), "{told}");
    nothing_left(&shop);
    assert_eq!(books(&shop), before);
    shop.check();
    assert_eq!(shop.one(news), told_before, "no hook is told of it");
    let gone = verb(&shop, &["subject", EMAIL]);
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));

    // Stripe sends everything again, and reports a refund, with the buyer's address in it.
    for (id, _) in purchases.iter().flat_map(|purchase| &purchase.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    let forgotten = shop.rows("SELECT checkout_session_id FROM orders WHERE email IS NULL");
    assert_eq!(forgotten.len(), 2);
    let asked = json!({"session": forgotten[0], "amount": 100, "deliver": false});
    let refund = shop.control("POST", "/_sandbox/refund", asked);
    let events: Vec<&str> = refund["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["id"].as_str())
        .collect();
    assert!(!events.is_empty(), "{refund}");
    for id in events {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "16");
    assert_eq!(shop.one("SELECT sum(amount_refunded) FROM order_totals"), "100");
    nothing_left(&shop);

    // Replayed, looked for, derived again, started again.
    done(&shop, &["replay", "--type", "checkout.session.completed", "--state", "done"]);
    shop.settle();
    done(&shop, &["reconcile"]);
    shop.settle();
    done(&shop, &["rebuild"]);
    done(&shop, &["check"]);
    shop.stop();
    shop.start();
    nothing_left(&shop);
    // Who buys again is a new buyer.
    sell(&shop);
    assert_eq!(shop.one(&theirs), "2");
}

#[test]
fn what_a_dispute_of_an_invoice_s_second_payment_says_of_a_person_is_forgotten_too() {
    let shop = Shop::open();
    let [first] = &shop.buy("subscription", 1, "snapshot")[..] else { panic!("one") };
    for (id, _) in &first.events {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    let quiet = |session: &str| json!({"session": session, "deliver": false, "shape": "snapshot"});
    let second = shop.control("POST", "/_sandbox/pay_again", quiet(&first.session));
    let second = Purchase::of(&second).session;
    let dispute = Purchase::of(&shop.control("POST", "/_sandbox/dispute", quiet(&second)));
    let (id, _) = &dispute.events[0];
    // The evidence names the buyer, and neither the customer nor the first payment.
    let mut event: Value = serde_json::from_slice(&shop.body(id)).expect("JSON");
    event["data"]["object"]["evidence"]["customer_name"] = json!("Aunt Hildegard");
    let post = |event: &Value| {
        assert_eq!(shop.post(event.to_string().as_bytes()).expect("an answer").0, 200);
        shop.settle();
    };
    post(&event);
    let held = "SELECT count(*) FROM events WHERE payload GLOB '*Hildegard*'";
    assert_eq!(shop.one(held), "1");
    let email = shop.one("SELECT email FROM orders");
    done(&shop, &["forget", &email, "--yes", "--force"]);
    assert_eq!(shop.one(held), "0", "what came before");
    event["id"] = json!("evt_of_the_dispute_again");
    event["type"] = json!("charge.dispute.updated");
    post(&event);
    assert_eq!(shop.one(held), "0", "what came afterwards");
    assert_eq!(shop.one("SELECT count(*) FROM disputes JOIN orders USING(payment_intent_id)"), "1");
    shop.check();
}

#[test]
fn a_person_with_an_unfinished_order_is_forgotten_only_by_force() {
    let shop = Shop::open();
    sell(&shop);
    let refused = verb(&shop, &["forget", EMAIL, "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("something of it is still to be sent"), "{}", said(&refused));
    assert_eq!(shop.one(&format!("SELECT count(*) FROM orders WHERE email = '{EMAIL}'")), "2");
    done(&shop, &["forget", EMAIL, "--yes", "--force"]);
    nothing_left(&shop);
    let to_pack = "SELECT count(*) FROM to_ship t JOIN orders o ON o.id = t.order_id WHERE o.shipping_line1 IS NULL";
    assert_eq!(shop.one(to_pack), "2");
    let nobody = verb(&shop, &["forget", "nobody@example.com", "--yes"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", said(&nobody));
}

#[test]
fn a_backup_that_is_put_back_forgets_again() {
    // One backup is beside the file, the other where a setting says.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut shop = Shop::open_with(
        &[
            ("FULFILLD_BACKFILL_EVERY", "1"),
            ("FULFILLD_SWEEP_EVERY", "1"),
            ("FULFILLD_BACKUP_DIR", elsewhere.path().to_str().expect("a path")),
        ],
        &["--webhook", "none", "--rate", "0"],
    );
    let backups = shop.dir.path().join("backups");
    std::fs::create_dir(&backups).expect("a directory");
    let (empty, full) = (backups.join("empty.db"), elsewhere.path().join("full.db"));
    let back_up = |shop: &Shop, to: &Path| {
        shop.shell(&format!("VACUUM INTO '{}'", to.display())).expect("a backup is made");
    };
    back_up(&shop, &empty);
    sell(&shop);
    send(&shop, EMAIL);
    back_up(&shop, &full);
    let told = done(&shop, &["forget", EMAIL, "--yes"]);
    assert!(told.contains("full.db") && !told.contains("empty.db"), "it names the backup: {told}");
    // The line that it prints.
    let line = told.split("rm ").nth(1).expect("a line to type").trim();
    assert_eq!(line, full.to_str().expect("a path"));

    for backup in [&full, &empty] {
        shop.stop();
        done(&shop, &["restore", backup.to_str().expect("a path")]);
        shop.start();
        // Without the orders, they come back from Stripe, and the person does not.
        wait_for("the orders are back", || {
            (shop.one("SELECT count(*) FROM orders") == "16").then_some(())
        });
        shop.settle();
        assert_eq!(shop.one("SELECT count(*) FROM orders WHERE email IS NULL"), "2");
        for entry in std::fs::read_dir(shop.dir.path()).expect("the directory is there") {
            let path = entry.expect("it can be listed").path();
            if path.to_string_lossy().contains("shop.db.before-") {
                std::fs::remove_file(path).expect("the file of before is removed");
            }
        }
        nothing_left(&shop);
    }
}

#[test]
fn whoever_asks_gets_all_that_is_held_about_them_and_nothing_of_others() {
    let shop = Shop::open();
    sell(&shop);
    send(&shop, EMAIL);
    let held: Value =
        serde_json::from_str(&done(&shop, &["subject", "NORA@example.se"])).expect("it is JSON");
    let orders = held["orders"].as_array().expect("orders");
    assert_eq!(orders.len(), 2);
    for order in orders {
        assert_eq!(order["email"], EMAIL);
        assert_eq!(order["note"], "Call Aunt Hildegard first");
        for part in
            ["line_items", "fulfillments", "fulfillment_line_items", "order_history", "outbox"]
        {
            assert!(!order[part].as_array().expect(part).is_empty(), "{part}");
        }
    }
    let events = held["events"].as_array().expect("events");
    assert!(events.iter().all(|event| event["payload"]["id"] == event["id"]), "{events:?}");
    assert!(events.len() >= 2);
    let text = held.to_string();
    for stranger in ["marie.dubois@example.com", "Sam Carter", "Prinsengracht"] {
        assert!(!text.contains(stranger), "{stranger}");
    }
}

#[test]
fn old_bodies_are_cleared_and_what_needs_the_events_works_without_them() {
    let mut shop = Shop::open();
    sell(&shop);
    shop.stop();
    // Half of them are a hundred days old.
    let c = rusqlite::Connection::open(shop.file()).expect("the file opens");
    c.execute_batch(
        "BEGIN; UPDATE actor SET name = 'fulfilld:test';
         UPDATE events SET received_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-100 days') WHERE rowid % 2 = 0;
         UPDATE actor SET name = 'operator'; COMMIT;",
    )
    .expect("the daemon may write that");
    drop(c);
    let kept = "SELECT count(*) FROM events WHERE payload IS NOT NULL";
    let all = "SELECT count(*) FROM events";
    assert_eq!(shop.one(kept), shop.one(all));
    shop.start();
    let young = "SELECT count(*) FROM events WHERE received_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-90 days')";
    wait_for("the old bodies are cleared", || (shop.one(kept) == shop.one(young)).then_some(()));
    assert_ne!(shop.one(young), shop.one(all));
    done(&shop, &["replay", "--type", "checkout.session.completed", "--state", "done"]);
    shop.settle();
    done(&shop, &["rebuild"]);
    done(&shop, &["check"]);
    shop.check();
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "16");
}
