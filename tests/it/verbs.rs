//! The verbs of the command line, run as a shopkeeper runs them, against a file that holds a small
//! shop.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::shop;

/// A file with five orders and five events of long ago, written as the daemon writes them.
pub struct Books {
    dir: tempfile::TempDir,
}

const ORDERS: &str = "
UPDATE actor SET name = 'stripe:evt_1';
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
    amount_subtotal, amount_shipping, amount_total, email, name, phone, shipping_name,
    shipping_line1, shipping_line2, shipping_city,
    shipping_postal_code, shipping_country, shipping_option, created_at, as_of) VALUES
  (1041, 'cs_1', 'pi_1', 0, 'payment', 'unpaid', 'eur', 4200, 490, 4690, 'ada@example.com', 'Ada Lovelace', '+4930123',
    'Ada Lovelace', '12 Rue Exemple', '2nd floor', 'Paris', '75001', 'FR', 'Express', '2025-03-01T09:00:00Z', '1'),
  (1042, 'cs_2', 'pi_2', 0, 'payment', 'unpaid', 'jpy', 1500, 0, 1500, 'kei@example.com', '渡辺 恵', NULL,
    '渡辺 恵', '1-2-3 Ginza', NULL, 'Tokyo', '104-0061', 'JP', NULL, '2025-03-02T09:00:00Z', '1'),
  (1043, 'cs_3', 'pi_3', 0, 'payment', 'unpaid', 'eur', 900, 0, 900, 'bob@example.com', 'Bob', NULL,
    'Bob', 'High Street 1', NULL, 'Leeds', 'LS1 1AA', 'GB', NULL, '2025-03-03T09:00:00Z', '1'),
  (1044, 'cs_4', 'pi_4', 0, 'payment', 'unpaid', 'bhd', 12345, 0, 12345, 'eve@example.com', 'Eve' || char(27) || '[2J',
    NULL, 'Eve', 'Main Street 1' || char(10) || 'forged', NULL, 'Manama', NULL, 'BH', NULL,
    '2025-03-04T09:00:00Z', '1'),
  (1045, 'cs_5', 'pi_5', 0, 'payment', 'unpaid', 'eur', 900, 0, 900, 'dan@example.com', 'Dan', NULL,
    'Dan', 'Low Street 1', NULL, 'Leeds', 'LS1 1AB', 'GB', NULL, '2025-03-05T09:00:00Z', '1');
INSERT INTO line_items(id, order_id, position, sku, name, options, quantity, currency, unit_amount, amount_subtotal,
    amount_total, requires_shipping) VALUES
  ('li_1', 1041, 1, 'MUG-01', 'Mug', 'blue', 2, 'eur', 1200, 2400, 2400, 1),
  ('li_2', 1041, 2, NULL, 'Poster, signed by the artist, framed', NULL, 1, 'eur', 1800, 1800, 1800, 1),
  ('li_3', 1042, 1, NULL, 'Zine', NULL, 1, 'jpy', 1000, 1000, 1000, 1),
  ('li_4', 1042, 2, NULL, 'Zine, as a PDF', NULL, 1, 'jpy', 500, 500, 500, 0),
  ('li_5', 1043, 1, NULL, 'Mug', NULL, 1, 'eur', 900, 900, 900, 1),
  ('li_6', 1044, 1, NULL, 'Teapot', NULL, 1, 'bhd', 12345, 12345, 12345, 1),
  ('li_7', 1045, 1, NULL, 'Mug', NULL, 1, 'eur', 900, 900, 900, 1);
UPDATE orders SET payment_status = 'paid', paid_at = '2025-03-06T00:00:00Z', line_items_at = '2025-03-06T00:00:00Z'
  WHERE id <> 1043;
UPDATE actor SET name = 'operator';
UPDATE orders SET hold_reason = 'asks for another color' WHERE id = 1044;
UPDATE orders SET canceled_at = '2025-03-07T00:00:00Z', cancel_reason = 'customer' WHERE id = 1045;
";

const EVENTS: &str = r#"
UPDATE actor SET name = 'fulfilld:test';
INSERT INTO events(id, type, object_id, livemode, shape, payload, source, received_at, state, state_reason, attempts,
    next_attempt_at, processed_at) VALUES
  ('evt_1', 'checkout.session.completed', 'cs_1', 0, 'snapshot', '{"id":"evt_1"}', 'webhook', '2025-03-01T09:00:01Z',
    'done', NULL, 1, NULL, '2025-03-01T09:00:02Z'),
  ('evt_2', 'v1.checkout.session.completed', 'cs_2', 0, 'thin', '{"id":"evt_2"}', 'webhook', '2025-03-02T09:00:01Z',
    'done', NULL, 1, NULL, '2025-03-02T09:00:02Z'),
  ('evt_3', 'customer.created', 'cus_3', 0, 'snapshot', '{"id":"evt_3"}', 'webhook', '2025-03-03T09:00:01Z',
    'ignored', 'nothing to do for this type', 1, NULL, '2025-03-03T09:00:02Z'),
  ('evt_4', 'checkout.session.completed', 'cs_404', 0, 'snapshot', '{
  "id": "evt_4",
  "evil": "' || char(0x202e) || 'gpj.exe"
}', 'webhook', '2025-03-04T09:00:01Z', 'failed', 'Stripe answered 404 for session cs_404', 3, NULL,
    '2025-03-04T09:00:02Z'),
  ('evt_5', 'checkout.session.completed', 'cs_6', 0, 'snapshot', '{"id":"evt_5"}', 'webhook', '2025-03-05T09:00:01Z',
    'pending', 'Stripe does not answer', 7, '2025-03-05T10:00:01Z', NULL);
UPDATE actor SET name = 'operator';
"#;

impl Books {
    pub fn open() -> Books {
        let books = Books { dir: tempfile::tempdir().unwrap() };
        let c = Connection::open(books.db()).unwrap();
        c.pragma_update(None, "journal_mode", "WAL").unwrap();
        c.execute_batch(include!("../../schema/whole.rs")).unwrap();
        c.execute_batch("PRAGMA application_id = 0x666c6664; PRAGMA user_version = 3;").unwrap();
        c.execute_batch(
            "INSERT INTO shop(one, livemode, created_at) VALUES (1, 0, '2025-03-01T00:00:00Z')",
        )
        .unwrap();
        c.execute_batch(ORDERS).unwrap();
        c.execute_batch(EVENTS).unwrap();
        books
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    /// Runs `fulfilld` on this file.
    fn run(&self, line: &str) -> Output {
        fulfilld(self.dir.path(), line).env("FULFILLD_DB", "shop.db").output().unwrap()
    }

    /// What a terminal would show of these commands, one after the other.
    fn transcript(&self, lines: &[&str]) -> String {
        lines.iter().fold(String::new(), |so_far, line| {
            let output = self.run(line);
            let code = output.status.code().unwrap();
            let code = if code == 0 { String::new() } else { format!("[exit {code}]\n") };
            so_far
                + &format!(
                    "$ fulfilld {line}\n{}{}{code}\n",
                    text(&output.stdout),
                    text(&output.stderr)
                )
        })
    }

    /// As the stock shell does it, which enforces no foreign keys.
    pub fn sql(&self, sql: &str) {
        let c = Connection::open(self.db()).unwrap();
        c.pragma_update(None, "foreign_keys", false).unwrap();
        c.execute_batch(sql).unwrap();
    }
}

/// The program as if that line had been typed in that directory, on a terminal 100 columns wide.
fn fulfilld(dir: &Path, line: &str) -> Command {
    let mut command = shop::fulfilld();
    command.args(words(line)).current_dir(dir).stdin(Stdio::null()).env("COLUMNS", "100");
    command
}

/// As a shell splits a line, quotes and all.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(n, part)| match n % 2 {
            0 => part.split_whitespace().map(String::from).collect(),
            _ => vec![part.to_string()],
        })
        .collect()
}

/// Printed text, with the times of this run taken out.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    let shape = |t: &str| {
        t.bytes().map(|b| if b.is_ascii_digit() { '0' } else { b as char }).collect::<String>()
    };
    let mut from = 0;
    while let Some(at) = text[from..].find("20").map(|at| at + from) {
        from = at + 2;
        let end = at + "2026-11-24T03:05:00Z".len();
        let time = text
            .get(at..end)
            .filter(|t| shape(t) == "0000-00-00T00:00:00Z" && !t.starts_with("2025"));
        if time.is_some() {
            text.replace_range(at..end, "(now)");
        }
    }
    text
}

/// Compares with tests/golden/NAME; with UPDATE_GOLDEN=1 in the environment writes it instead.
pub fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        actual, expected,
        "{name} differs; if that is meant: UPDATE_GOLDEN=1 cargo test --test it"
    );
}

#[test]
fn looking_prints_what_the_views_show() {
    let books = Books::open();
    let seen = books.transcript(&[
        "orders",
        "orders --to-ship",
        "orders show 1041",
        "orders show 1044",
        "orders show 7",
        "attention",
        "events",
        "events --state failed",
        "events --type checkout.session.completed --limit 2",
        "events show evt_4",
        "events show evt_7",
        "check",
    ]);
    assert!(!seen.contains(['\u{1b}', '\u{202e}']), "text from outside drives the terminal");
    assert_golden("looking.txt", &seen);
}

#[test]
fn json_is_one_object_a_line_with_amounts_as_integers() {
    let books = Books::open();
    let seen = books.transcript(&[
        "orders --json",
        "orders --to-ship --json",
        "orders show 1041 --json",
        "attention --json",
        "events --json --limit 1",
        "events show evt_4 --json",
        "ship 1041 --json",
    ]);
    for line in seen.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert_golden("json.txt", &seen);
    let dinar: Value =
        serde_json::from_slice(&books.run("orders show 1044 --json").stdout).unwrap();
    assert_eq!(
        (dinar["amount_total"].as_i64(), dinar["currency"].as_str()),
        (Some(12345), Some("bhd"))
    );
    assert_eq!(dinar["total"], "12.345 BHD");
}

#[test]
fn shipping_is_all_or_nothing_and_a_refusal_says_why() {
    let books = Books::open();
    let seen = books.transcript(&[
        "ship 1041 --company DHL --number JD0146000034 --url https://track.example/JD0146000034",
        "ship 1041",
        "ship 1042 1043 --company DHL",
        "ship 1042",
        "ship 1044",
        "ship 1045",
        "ship 9",
        "orders show 1041",
    ]);
    assert_golden("shipping.txt", &seen);
}

#[test]
fn delivering_holding_releasing_and_canceling_are_all_or_nothing_and_a_refusal_says_why() {
    let books = Books::open();
    let seen = books.transcript(&[
        "deliver 1042 1041",
        "deliver 1042",
        "hold 1041 1042 --reason \"stock is counted\"",
        "hold 1041 --reason \" \"",
        "release 1041 1043",
        "release 1041 1042",
        "cancel 1041 1045 --reason inventory",
        "cancel 1041 --reason inventory",
        "cancel 1041 --reason inventory",
        "cancel 1042 --reason customer --json",
        "orders",
    ]);
    assert_golden("acting.txt", &seen);
}

#[test]
fn an_override_sends_what_is_held_and_the_history_names_it() {
    let books = Books::open();
    let seen = books.transcript(&[
        "ship 1044",
        "ship 1044 --company DHL --override",
        "ship 1043 --override",
        "ship 1045 --override",
        "orders show 1044",
        "undo",
        "check",
    ]);
    assert_golden("override.txt", &seen);
}

/// What undo must leave as it was.
const KEPT: &[&str] = &[
    "SELECT * FROM orders ORDER BY id",
    "SELECT * FROM line_items ORDER BY id",
    "SELECT * FROM fulfillments WHERE id <= {made} ORDER BY id",
    "SELECT * FROM fulfillment_line_items ORDER BY 1, 2",
    "SELECT * FROM fulfillments WHERE id > {made} AND status <> 'canceled'",
    "SELECT id, state, last_error FROM outbox WHERE state <> 'done' ORDER BY id",
];

impl Books {
    /// Every row of the order desk, as text, with the fulfillments up to that id.
    fn rows(&self, made: i64) -> Vec<String> {
        let c = Connection::open(self.db()).unwrap();
        let mut rows = Vec::new();
        for sql in KEPT {
            let mut query = c.prepare(&sql.replace("{made}", &made.to_string())).unwrap();
            let n = query.column_count();
            let row = |row: &rusqlite::Row| {
                (0..n)
                    .map(|i| row.get::<_, rusqlite::types::Value>(i))
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            rows.extend(query.query_map([], row).unwrap().map(|row| format!("{:?}", row.unwrap())));
            rows.push(String::new());
        }
        rows
    }

    fn one(&self, sql: &str) -> i64 {
        Connection::open(self.db()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Forty more orders of one to four lines, physical and digital, as Stripe's events bring them.
    fn grow(&self) {
        self.sql(
            "BEGIN; UPDATE actor SET name = 'stripe:evt_9';
             WITH RECURSIVE n(i) AS (SELECT 2001 UNION ALL SELECT i + 1 FROM n WHERE i < 2040)
             INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
               amount_subtotal, amount_total, name, shipping_name, shipping_line1, created_at, as_of)
             SELECT i, 'cs_' || i, 'pi_' || i, 0, 'payment', 'unpaid', 'eur', 1000, 1000, 'Ada '
             || i, 'Ada', 'Street ' || i,
               '2025-04-01T00:00:00Z', '1' FROM n;
             WITH RECURSIVE p(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM p WHERE k < 4)
             INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_total, requires_shipping)
             SELECT 'li_' || o.id || '_' || k, o.id, k, 'Thing ' || k, 1 + (o.id + k) % 3, 'eur', 250, k <> 3
             FROM orders o, p WHERE o.id > 2000 AND k <= 1 + o.id % 4;
             UPDATE orders SET payment_status = 'paid', paid_at = '2025-04-01T00:00:00Z' WHERE id > 2000;
             UPDATE actor SET name = 'operator'; COMMIT;",
        );
    }

    /// Waits for the next thousandth of a second: two statements in the same one are one change.
    fn tick(&self) {
        let c = Connection::open_in_memory().unwrap();
        let moment = || {
            c.query_row("SELECT strftime('%f', 'now')", [], |row| row.get::<_, String>(0)).unwrap()
        };
        let last = moment();
        shop::wait_for("the clock goes on", || (moment() != last).then_some(()));
    }

    /// Does it through a verb or, what begins with a capital, as the stock shell does. False when
    /// it was refused.
    fn act(&self, line: &str) -> bool {
        self.tick();
        let done = match line.starts_with(|c: char| c.is_ascii_uppercase()) {
            true => Connection::open(self.db()).unwrap().execute_batch(line).is_ok(),
            false => self.run(line).status.success(),
        };
        self.tick();
        done
    }

    /// Does it and takes it back; the rows are the same as before and the file is true.
    fn there_and_back(&self, line: &str) {
        let made = self.one("SELECT max(id) FROM fulfillments");
        let before = self.rows(made);
        assert!(self.act(line), "{line} was refused");
        assert_ne!(self.rows(made), before, "{line} changes something");
        let undo = self.run("undo");
        assert!(undo.status.success(), "{line}: {}", text(&undo.stderr));
        let after = self.rows(made);
        let differ: Vec<_> = before.iter().zip(&after).filter(|(was, is)| was != is).collect();
        assert!(after == before, "{line}: {differ:#?}");
        assert_eq!(self.one("SELECT count(*) FROM actor WHERE name = 'operator'"), 1);
    }
}

const PENDING: &str = "(SELECT max(id) FROM fulfillments WHERE order_id = 2003 \
                       AND status = 'pending' AND requires_shipping = 1)";

#[test]
fn undo_takes_back_every_kind_of_change_and_leaves_the_rows_as_they_were() {
    let books = Books::open();
    books.grow();
    let split = format!(
        "UPDATE fulfillment_line_items SET quantity = quantity - 1 WHERE quantity > 1 AND fulfillment_id = {PENDING}"
    );
    let cancel_one = format!("UPDATE fulfillments SET status = 'canceled' WHERE id = {PENDING}");
    for line in [
        "ship 1041 --company DHL --number JD0146000034 --url https://track.example/1",
        "ship 1041 --company DHL --number JD0146000034",
        "ship 2001 2002 2003 2004 --company UPS",
        "ship 1044 --override",
        "deliver 1042",
        "hold 1041 1042 --reason \"stock is counted\"",
        "release 1044",
        "cancel 1041 --reason fraud",
        "cancel 2001 2002 2003 --reason customer",
        "UPDATE orders SET note = 'gift wrap' WHERE id = 1041",
        "UPDATE orders SET shipping_line1 = '14 Rue Exemple', shipping_line2 = NULL, \
         email = 'ada@example.org' WHERE id = 1041",
        "UPDATE fulfillments SET note = 'fragile' WHERE order_id = 2003",
        "UPDATE fulfillments SET tracking_number = 'early' WHERE order_id = 1041",
        &split,
        &cancel_one,
        "UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_1'",
        "UPDATE line_items SET canceled_quantity = quantity WHERE order_id = 1041",
        "UPDATE line_items SET canceled_quantity = quantity WHERE order_id BETWEEN 2001 AND 2020",
        "UPDATE orders SET note = 'all of them'",
        "UPDATE orders SET hold_reason = 'forgot the WHERE'",
        "UPDATE fulfillments SET status = 'shipped' WHERE status = 'pending' AND order_id > 2000",
        "UPDATE fulfillments SET status = 'delivered' WHERE status = 'pending' AND order_id > 2000",
        "UPDATE fulfillments SET status = 'canceled' WHERE status = 'pending' AND order_id > 2000",
        "UPDATE orders SET canceled_at = '2026-01-01T00:00:00Z', cancel_reason = 'staff' \
         WHERE id BETWEEN 2010 AND 2030",
    ] {
        books.there_and_back(line);
    }
    // The same from where half of an order is sent already, and one parcel is split twice.
    assert!(
        books.act("UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_1'")
    );
    assert!(books.act(&split) && books.act("ship 2003 --all --company UPS --number 1Z2003"));
    assert!(books.act(
        "UPDATE fulfillment_line_items SET quantity = 1 WHERE quantity > 1 AND fulfillment_id IN
        (SELECT id FROM fulfillments WHERE order_id = 2006 AND status = 'pending')"
    ));
    assert!(books.act(
        "UPDATE fulfillments SET status = 'shipped' WHERE id =
        (SELECT min(id) FROM fulfillments WHERE order_id = 2006 AND status = 'pending' AND requires_shipping = 1)"
    ));
    for line in [
        "deliver 2003",
        "UPDATE line_items SET canceled_quantity = 1 WHERE order_id = 2006 AND position = 2",
        "UPDATE line_items SET canceled_quantity = quantity WHERE id = 'li_1'",
        "UPDATE fulfillments SET tracking_number = '1Z2003-b' WHERE order_id = 2003 AND tracking_number = '1Z2003'",
        "UPDATE fulfillments SET shipped_at = '2026-01-01T00:00:00Z' WHERE order_id = 2003 AND status = 'shipped'",
        "UPDATE fulfillments SET status = 'canceled' WHERE order_id = 2003 AND status = 'shipped'",
        "cancel 2006 --reason inventory",
        "ship 2006 --all",
        "UPDATE fulfillments SET status = 'canceled' WHERE order_id = 2006",
    ] {
        books.there_and_back(line);
    }
    let check = books.run("check");
    assert!(check.status.success(), "{}", text(&check.stdout));
}

#[test]
fn a_line_that_is_split_over_two_parcels_can_be_canceled_in_part() {
    let books = Books::open();
    books.sql(
        "UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_1';
         UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_1';",
    );
    assert_eq!(books.one("SELECT sum(quantity) FROM to_fulfill WHERE line_item_id = 'li_1'"), 1);
    assert!(books.run("check").status.success());
}

#[test]
fn undo_refuses_what_it_cannot_put_back_and_changes_nothing() {
    let refused = |books: &Books, line: &str, why: &str| {
        let made = books.one("SELECT max(id) FROM fulfillments");
        let (rows, history) = (books.rows(made), books.one("SELECT count(*) FROM order_history"));
        let undo = books.run(line);
        assert_eq!(undo.status.code(), Some(1), "{why}");
        assert!(text(&undo.stderr).contains(why), "{why}: {}", text(&undo.stderr));
        assert_eq!(
            (books.rows(made), books.one("SELECT count(*) FROM order_history")),
            (rows, history),
            "{why}"
        );
    };
    // What Stripe wrote is not the operator's, and does not stand in the way of it.
    let books = Books::open();
    assert!(books.act("UPDATE orders SET note = 'gift wrap' WHERE id = 1041"));
    books.grow();
    assert!(books.run("undo").status.success());
    assert_eq!(books.one("SELECT count(*) FROM orders WHERE note IS NULL"), 45);
    refused(&books, "undo", "taken back already");

    assert!(books.act("ship 1041 1042 --company DHL"));
    let dry = books.run("undo --dry-run");
    assert!(dry.status.success() && text(&dry.stderr).contains("nothing was changed"));
    let lines = text(&dry.stdout);
    assert!(lines.contains("1041\tfulfillment 1 status\tshipped\tpending"), "{lines}");
    // Somebody else went on from there.
    books.sql(
        "BEGIN; UPDATE actor SET name = 'fulfilld:carrier'; UPDATE fulfillments SET status = 'delivered' WHERE id = 1;
         UPDATE actor SET name = 'operator'; COMMIT;",
    );
    refused(
        &books,
        "undo",
        "order 1041 has moved on since: fulfillment 1 status is 'delivered' and your last change",
    );

    // A hook was notified: only with --force, and undo says so.
    assert!(books.act("ship 2001 2002"));
    books.sql(
        "BEGIN; UPDATE actor SET name = 'fulfilld:hooks';
         UPDATE outbox SET state = 'done', attempts = 1 WHERE topic = 'fulfillment.shipped' AND order_id = 2001;
         UPDATE actor SET name = 'operator'; COMMIT;",
    );
    refused(
        &books,
        "undo",
        "a hook was already notified of it (fulfillment.shipped of order 2001)",
    );
    refused(&books, "undo --dry-run", "a hook was already notified of it");
    let forced = books.run("undo --force");
    assert!(
        forced.status.success()
            && text(&forced.stderr).contains("fulfillment.shipped of order 2001; put right")
    );
    assert!(books.run("check").status.success());

    // Done again, it notifies again, and the notification that was undone stays silent.
    assert!(books.act("ship 2001 2002"));
    let news = "SELECT count(*) FROM outbox WHERE topic = 'fulfillment.shipped' AND order_id IN(2001, 2002)";
    assert_eq!(books.one(&format!("{news} AND state = 'pending'")), 2);
    assert_eq!(books.one(&format!("{news} AND state = 'done' AND last_error = 'undone'")), 1);

    let empty = Books::open();
    let c = Connection::open(empty.db()).unwrap();
    c.execute_batch(
        "DROP TRIGGER order_history_delete; DELETE FROM order_history WHERE actor GLOB 'operator*'",
    )
    .unwrap();
    refused(&empty, "undo", "there is nothing to take back");
}

#[test]
fn attention_fails_only_when_asked_to() {
    let books = Books::open();
    assert_eq!(books.run("attention").status.code(), Some(0));
    let failed = books.run("attention --fail");
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        !failed.stdout.is_empty() && text(&failed.stderr).contains("rows of attention need you")
    );
    books.sql("UPDATE actor SET name = 'fulfilld:test'");
    books.sql("UPDATE events SET state = 'ignored'");
    for order in [1041, 1042, 1044, 1045] {
        books.sql(&format!(
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status,
               reason, failure_reason, created_at, as_of) SELECT 're_'
               || id, payment_intent_id, NULL, amount_total, currency, 'succeeded', NULL,
             NULL, '2025-03-08T00:00:00Z', '1' FROM orders WHERE id = {order}"
        ));
    }
    books.sql("UPDATE actor SET name = 'operator'");
    for line in ["release 1044", "cancel 1041 1042 1044 --reason customer"] {
        assert!(books.run(line).status.success(), "{line}");
    }
    books.sql(
        "UPDATE actor SET name = 'stripe:evt_9'; UPDATE orders SET amount_subtotal = 4200 WHERE id = 1041;
        UPDATE orders SET amount_subtotal = 12345 WHERE id = 1044; UPDATE actor SET name = 'operator'",
    );
    let clean = books.run("attention --fail");
    assert_eq!((clean.status.code(), text(&clean.stdout).as_str()), (Some(0), ""));
}

#[test]
fn undo_after_any_history_of_a_shop_leaves_the_rows_as_they_were() {
    let books = Books::open();
    books.grow();
    let mut random = fastrand::Rng::with_seed(7);
    let mut undone = 0;
    for step in 0..150 {
        let order = random.i64(2001..2012);
        let other = random.i64(2001..2012);
        let parcel = format!(
            "(SELECT id FROM fulfillments WHERE order_id = {order} ORDER BY abs(id * {} % 7) LIMIT 1)",
            random.i64(1..7)
        );
        let line = match random.u8(0..14) {
            0 => format!("ship {order} --company DHL --number JD{step}"),
            1 => format!("ship {order} {other}"),
            2 => format!("deliver {order}"),
            3 => format!("cancel {order} --reason customer"),
            4 => format!("hold {order} {other} --reason because"),
            5 => format!("release {order}"),
            6 | 7 => format!(
                "UPDATE fulfillment_line_items SET quantity = quantity - 1 \
                 WHERE fulfillment_id = {parcel} AND quantity > 1"
            ),
            8 | 9 => format!(
                "UPDATE fulfillments SET status = 'canceled' WHERE id = {parcel} AND status IN('pending', 'shipped')"
            ),
            10 => format!(
                "UPDATE fulfillments SET status = 'shipped' WHERE id = {parcel} AND status = 'pending'"
            ),
            11 => format!(
                "UPDATE line_items SET canceled_quantity = {} WHERE order_id = {order}",
                random.u8(0..3)
            ),
            12 => format!(
                "UPDATE line_items SET canceled_quantity = 0 WHERE order_id IN({order}, {other})"
            ),
            _ => format!("UPDATE orders SET note = 'step {step}' WHERE id IN({order}, {other})"),
        };
        let made = books.one("SELECT max(id) FROM fulfillments");
        let before = books.rows(made);
        let history = books.one("SELECT max(id) FROM order_history");
        if books.act(&line)
            && books.one("SELECT max(id) FROM order_history") > history
            && random.bool()
        {
            let undo = books.run("undo");
            assert!(undo.status.success(), "step {step}: {line}: {}", text(&undo.stderr));
            let after = books.rows(made);
            let differ: Vec<_> = before.iter().zip(&after).filter(|(was, is)| was != is).collect();
            assert!(after == before, "step {step}: {line}: {differ:#?}");
            undone += 1;
        }
    }
    let check = books.run("check");
    assert!(check.status.success(), "{}", text(&check.stdout));
    assert!(undone > 30, "{undone} of the steps were taken back");
}

#[test]
fn the_books_are_exported_by_order_and_by_line() {
    let books = Books::open();
    books.sql(
        "UPDATE actor SET name = 'stripe:evt_9';
         UPDATE orders SET name = '=HYPERLINK(\"http://evil\")',
         tax_ids = '[{\"type\":\"eu_vat\",\"value\":\"DE1\"}]' WHERE id = 1042;
         INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, reason,
         failure_reason, created_at, as_of) VALUES('re_1', 'pi_1', NULL, 1200, 'eur', 'succeeded',
         NULL, NULL, '2025-03-08T00:00:00Z', '1'),
           ('re_2', 'pi_1', NULL, 100, 'eur', 'pending', NULL, NULL, '2025-03-08T00:00:00Z', '1');
         UPDATE actor SET name = 'operator';",
    );
    let seen = books.transcript(&[
        "export",
        "export --lines",
        "export --format jsonl",
        "export --lines --format jsonl",
        "export --since 2025-03-07",
        "export --since 2025-03-07 --until 2025-03-07 --tz America/New_York",
        "export --tz Mars/Olympus",
        "export --since 2025-03-06 --until 2025-03-06",
        "export --since 2025-03-03 --until 2025-03-02",
        "export --since tomorrow",
    ]);
    assert_golden("export.txt", &seen.replace("\r\n", "␍␊\n"));
}

/// A CSV text as RFC 4180 has it, read by the letter.
fn records(csv: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell, mut quoted) =
        (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => record.push(std::mem::take(&mut cell)),
            ('\r', false) => {
                assert_eq!(chars.next(), Some('\n'), "a record ends with CRLF");
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            _ => cell.push(c),
        }
    }
    assert!(record.is_empty() && cell.is_empty() && !quoted, "the last record is whole");
    records
}

/// `12.345` of a currency with three decimals is 12345.
fn minor(amount: &str, decimals: usize) -> i64 {
    assert_eq!(amount.split_once('.').map_or(0, |(_, below)| below.len()), decimals, "{amount}");
    assert!(amount.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()), "{amount}");
    amount.replace('.', "").parse().unwrap()
}

#[test]
fn exported_amounts_of_every_currency_add_up_to_what_stripe_says() {
    let books = Books::open();
    let mut random = fastrand::Rng::with_seed(11);
    let c = Connection::open(books.db()).unwrap();
    let mut currencies: Vec<(String, usize)> = c
        .prepare("SELECT currency, decimals FROM currency_decimals")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as usize)))
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    currencies.extend(
        ["eur", "usd", "gbp", "isk", "ugx", "huf"].map(|currency| (currency.to_string(), 2)),
    );
    let names = [
        "=1+1",
        "+49 30",
        "-2+3",
        "@SUM(A1)",
        "\tx",
        "\r=x",
        "a,b",
        "say \"hi\"",
        "two\r\nlines",
        "; =1",
        "Ada",
        "",
    ];
    c.execute_batch("BEGIN; UPDATE actor SET name = 'stripe:evt_9'").unwrap();
    let (mut refunds, mut refunded) = (0, 0);
    for id in 3000..3400 {
        let (currency, _) = random.choice(&currencies).unwrap();
        let below = 10_i64.pow(random.u32(1..12));
        let (subtotal, shipping, tax) =
            (random.i64(0..below), random.i64(0..below), random.i64(0..below));
        let discount = random.i64(0..=subtotal);
        let total = subtotal - discount + shipping + tax;
        let name = random.choice(names).unwrap();
        c.execute(
            "INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
               amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, name,
               created_at, paid_at, as_of)
             VALUES(?1, 'cs_' || ?1, 'pi_' || ?1, 0, 'payment', 'paid', ?2, ?3, ?4, ?5, ?6, ?7,
             ?8, '2025-05-01T00:00:00Z',
               '2025-05-01T00:00:00Z', '1')",
            (id, currency, subtotal, discount, shipping, tax, total, name),
        )
        .unwrap();
        for position in 1..=2 {
            let amount = if position == 1 { subtotal / 2 } else { subtotal - subtotal / 2 };
            c.execute(
                "INSERT INTO line_items(id, order_id, position, name, quantity, currency,
                   unit_amount, unit_amount_decimal,
                   amount_subtotal, amount_total, requires_shipping)
                 VALUES('li_' || ?1 || '_' || ?2, ?1, ?2, ?3, 1, ?4, ?6, ?7, ?5, ?5, 1)",
                (
                    id,
                    position,
                    name,
                    currency,
                    amount,
                    (position == 1).then_some(amount),
                    format!("{amount}.25"),
                ),
            )
            .unwrap();
        }
        refunds += i64::from(random.bool() && total > 0);
        if refunded < refunds {
            refunded = refunds;
            c.execute(
                "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
                 VALUES('re_' || ?1, 'pi_' || ?1, ?2, ?3, 'succeeded', '2025-05-02T00:00:00Z', '1')",
                (id, random.i64(1..=total), currency),
            )
            .unwrap();
        }
    }
    c.execute_batch("UPDATE actor SET name = 'operator'; COMMIT").unwrap();

    let sums = "SELECT sum(o.amount_subtotal), sum(o.amount_discount), sum(o.amount_shipping), sum(o.amount_tax),
          sum(o.amount_total), (SELECT coalesce(sum(r.amount), 0) FROM refunds r WHERE r.currency = ?1),
          (SELECT sum(li.amount_total) FROM line_items li JOIN orders p ON p.id = li.order_id
          WHERE li.currency = ?1 AND p.payment_status = 'paid')
        FROM orders o WHERE o.currency = ?1 AND o.payment_status = 'paid'";
    let orders = records(&String::from_utf8(books.run("export").stdout).unwrap());
    let lines = records(&String::from_utf8(books.run("export --lines").stdout).unwrap());
    assert_eq!((orders.len() as i64, lines.len()), (1 + 404 + refunds, 1 + 806));
    for (currency, decimals) in &currencies {
        let stripe = c
            .query_row(sums, [currency], |row| {
                (0..7).map(|i| row.get::<_, Option<i64>>(i)).collect::<Result<Vec<_>, _>>()
            })
            .unwrap();
        let sum = |table: &[Vec<String>], column: &str| -> i64 {
            let place = |name: &str| table[0].iter().position(|c| c == name).unwrap();
            let rows = table[1..].iter().filter(|row| row[place("currency")] == *currency);
            rows.map(|row| minor(&row[place(column)], *decimals)).sum()
        };
        for (n, column) in
            ["subtotal", "discount", "shipping", "tax", "total", "refunded"].iter().enumerate()
        {
            assert_eq!(Some(sum(&orders, column)), stripe[n].or(Some(0)), "{currency} {column}");
        }
        assert_eq!(Some(sum(&lines, "total")), stripe[6].or(Some(0)), "{currency}, by line");
        assert_eq!(
            sum(&orders, "net"),
            sum(&orders, "total") - sum(&orders, "refunded"),
            "{currency}"
        );
    }
    for row in orders[1..].iter().chain(&lines[1..]) {
        for cell in row.iter().filter(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r'])) {
            assert!(cell.parse::<f64>().is_ok(), "a spreadsheet would run {cell:?}");
        }
    }
    let unit_price = lines[0].iter().position(|c| c == "unit_price").unwrap();
    let total = lines[0].iter().position(|c| c == "total").unwrap();
    for row in lines[1..]
        .iter()
        .filter(|row| row.last().is_some_and(|id| id.starts_with("li_3") && id.ends_with("_2")))
    {
        let dot = if row[total].contains('.') { "" } else { "." };
        assert_eq!(
            row[unit_price],
            format!("{}{dot}25", row[total]),
            "what Stripe writes as a decimal keeps its digits"
        );
    }

    let json = String::from_utf8(books.run("export --format jsonl").stdout).unwrap();
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (object, row) in json.iter().zip(&orders[1..]) {
        let digits: String =
            row[orders[0].iter().position(|c| c == "total").unwrap()].replace('.', "");
        assert_eq!(object["amount_total"].as_i64(), digits.parse().ok());
        assert!(object.get("decimals").is_none());
    }
}

#[test]
fn events_become_due_again_by_id_by_state_and_by_type() {
    let books = Books::open();
    let seen = books.transcript(&[
        "replay evt_1 evt_7",
        "events --state pending",
        "replay evt_1",
        "replay --failed",
        "replay --failed",
        "replay --state ignored",
        "replay --type checkout.session.completed",
        "events",
    ]);
    assert_golden("replay.txt", &seen);
}

#[test]
fn check_finds_what_cannot_be_and_names_it() {
    let books = Books::open();
    books.sql(
        "DROP TRIGGER orders_facts;
         DROP TRIGGER orders_identity;
         DROP TRIGGER fulfillments_delete;
         DROP TRIGGER events_tries;
         CREATE VIEW mine AS SELECT 1;
         UPDATE orders SET livemode = 1 WHERE id = 1042;
         DELETE FROM fulfillments WHERE order_id = 1041;
         UPDATE events SET next_attempt_at = NULL WHERE id = 'evt_5';
         DROP TRIGGER sweeps_insert;
         INSERT INTO sweeps VALUES('events', '9999-01-01T00:00:00Z');
         UPDATE actor SET name = 'fulfilld:forgot';",
    );
    let seen = books.transcript(&["check", "check --quick --json"]);
    assert_golden("check.txt", &seen);
}

#[test]
fn help_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let help = |line: &str| {
        let output = fulfilld(dir.path(), line).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{line}");
        text(&output.stdout)
    };
    assert_golden("welcome.txt", &help(""));
    let all = help("--help");
    assert_golden("help.txt", &all);
    assert_golden("fulfilld.1", &help("man"));
    let verbs = all.lines().skip_while(|l| *l != "Verbs:").skip(1).take_while(|l| !l.is_empty());
    for verb in
        verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help")
    {
        assert_golden(&format!("help-{verb}.txt"), &help(&format!("{verb} --help")));
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(help(&format!("completions {shell}")).contains("attention"));
    }
}

#[test]
fn every_failure_has_its_exit_code_and_one_sentence() {
    let books = Books::open();
    for (line, code, sentence) in [
        ("shipp 1041", 64, "unrecognized subcommand"),
        ("orders --jsn", 64, "unexpected argument"),
        ("orders show", 64, "required arguments were not provided"),
        ("orders show mug", 64, "invalid value 'mug'"),
        ("ship", 64, "required arguments were not provided"),
        ("replay", 64, "required arguments were not provided"),
        ("replay evt_1 --failed", 64, "cannot be used with"),
        ("events --state lost", 64, "invalid value 'lost'"),
        ("orders show 9", 1, "there is no order 9"),
        ("ship 1043", 1, "order 1043 is not shipped: the order is not paid"),
        ("cancel 1041", 64, "required arguments were not provided"),
        ("cancel 1041 --reason bored", 64, "invalid value 'bored'"),
        ("export --since 2025-02-30", 64, "invalid value '2025-02-30'"),
        ("export --since 2025-03-03 --until 2025-03-02", 64, "is later than --until"),
        ("deliver 9", 1, "order 9 is not delivered: there is no such order"),
        ("hold 9 --reason x", 1, "order 9 is not held: there is no such order"),
        ("release 1041", 1, "order 1041 is not released: it is not on hold"),
        ("undo --db none.db", 78, "there is no file none.db"),
        ("orders --db none.db", 78, "there is no file none.db"),
        ("ship 1041 --db none.db", 78, "there is no file none.db"),
        ("sql --db none.db", 78, "there is no file none.db"),
        ("rebuild --db none.db", 78, "there is no file none.db"),
        ("rebuild", 78, "STRIPE_SECRET_KEY is not set"),
        ("serve", 78, "STRIPE_SECRET_KEY is not set"),
    ] {
        let output = books.run(line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(sentence), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
        assert!(
            code == 64 || (said.starts_with("fulfilld: ") && said.lines().count() == 1),
            "{line}: {said}"
        );
    }
    let names: Vec<_> =
        std::fs::read_dir(books.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        names.iter().all(|n| n.to_string_lossy().starts_with("shop.db")),
        "a verb made a file: {names:?}"
    );
}

#[test]
fn the_log_is_a_line_an_event_with_the_time_or_for_journald_with_the_level() {
    for journald in [false, true] {
        let books = Books::open();
        books.sql("UPDATE events SET taken_at = '2025-03-05T09:00:02Z' WHERE id = 'evt_5'");
        // A file of another mode would have a line of its own.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
        std::fs::set_permissions(books.dir.path().join("shop.db"), mode).unwrap();
        let path = books.dir.path().join("log");
        let log = std::fs::File::create(&path).unwrap();
        let to = log.metadata().unwrap();
        let mut serve = fulfilld(books.dir.path(), "serve");
        serve
            .env("FULFILLD_DB", "shop.db")
            .env("FULFILLD_LISTEN", "127.0.0.1:0")
            .env("FULFILLD_STRIPE_API", "http://127.0.0.1:9")
            .env("STRIPE_SECRET_KEY", "sk_test_1")
            .env("WEBHOOK_SECRET", "whsec_1");
        if journald {
            serve.env("JOURNAL_STREAM", format!("{}:{}", to.dev(), to.ino()));
        }
        let mut child = serve.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let line = shop::wait_for("the line about what was under way", || {
            let log = std::fs::read_to_string(&path).unwrap();
            let whole = log.rsplit_once('\n').map(|(whole, _)| whole)?;
            whole
                .lines()
                .find(|line| line.contains("in progress"))
                .map(|line| text(line.as_bytes()))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let level = if journald { "<6>" } else { "(now) INFO  " };
        assert_eq!(
            line,
            format!(
                "{level}1 events were in progress when fulfilld last stopped; they will be retried"
            )
        );
    }
}

#[test]
fn a_log_level_that_is_none_is_named() {
    let books = Books::open();
    let output = fulfilld(books.dir.path(), "orders --db shop.db")
        .env("FULFILLD_LOG", "loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("FULFILLD_LOG=loud is not a level; use error"));
}

#[test]
fn a_locked_file_is_waited_for_and_then_named() {
    let books = Books::open();
    let somebody = Connection::open(books.db()).unwrap();
    somebody.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let output = books.run("ship 1041");
    assert_eq!(output.status.code(), Some(75));
    assert!(
        text(&output.stderr).contains("locked: somebody else is writing"),
        "{}",
        text(&output.stderr)
    );
    assert!(began.elapsed() >= Duration::from_secs(4), "it did not wait");
    assert!(books.run("orders").status.success(), "looking needs no lock");
}

#[test]
fn a_pipe_that_its_reader_closed_is_no_failure() {
    let books = Books::open();
    for line in [
        "",
        "--help",
        "man",
        "orders",
        "orders --json",
        "orders show 1041",
        "events show evt_1",
        "export",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = fulfilld(books.dir.path(), line);
        let output = command
            .env("FULFILLD_DB", "shop.db")
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{line}");
    }
}

#[test]
fn the_stock_shell_is_set_up_and_its_absence_or_age_is_said() {
    let books = Books::open();
    let seen = books.transcript(&[
        "sql \"SELECT id, name FROM orders WHERE id < 1043; PRAGMA foreign_keys; PRAGMA busy_timeout\"",
        "sql --ro \"UPDATE orders SET note = 'mine'\"",
        "sql -json \"SELECT count(*) AS n FROM orders\"",
        "sql \"UPDATE orders SET note = 'gift wrap' WHERE id = 1041\"",
        "sql \"SELECT actor, new FROM order_history WHERE what = 'note'\"",
    ]);
    assert_golden("sql.txt", &seen);

    let run = |path: &Path| {
        fulfilld(books.dir.path(), "sql")
            .env("FULFILLD_DB", books.db())
            .env("PATH", path)
            .output()
            .unwrap()
    };
    let bin = tempfile::tempdir().unwrap();
    let missing = run(bin.path());
    assert_eq!(missing.status.code(), Some(78));
    assert!(
        text(&missing.stderr).contains("sqlite3 shell is not installed"),
        "{}",
        text(&missing.stderr)
    );
    let old = bin.path().join("sqlite3");
    std::fs::write(&old, "#!/bin/sh\necho 3.34.1 2021-01-20 14:10:07\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let aged = run(bin.path());
    assert_eq!(aged.status.code(), Some(78));
    assert!(text(&aged.stderr).contains("sqlite3 3.34.1 is too old"), "{}", text(&aged.stderr));
}
