//! Parcels as shops send them, and what a person has dealt with: each test is named after what the shop saw.

use std::path::PathBuf;
use std::process::{Command, Output};

use rusqlite::Connection;

use crate::shop;

/// A file with a few paid orders, and the verbs and the shell on it.
struct Desk {
    dir: tempfile::TempDir,
}

/// Order 1: two different things, one of each. 2: three mugs. 3: a mug and a download. 4 and 5: a mug each, to one address; 6: to
/// another.
const ORDERS: &str = "
UPDATE actor SET name = 'stripe:evt_1';
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_subtotal,
    amount_total, email, name, shipping_name, shipping_line1, shipping_city, shipping_postal_code, shipping_country, created_at, as_of)
  SELECT column1, 'cs_' || column1, 'pi_' || column1, 0, 'payment', 'unpaid', 'eur', column2, column2, 'ada@example.com', 'Ada',
    'Ada', column3, 'Paris', '75001', 'FR', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1'
  FROM (VALUES(1, 3000, '1 Rue A'), (2, 3000, '2 Rue B'), (3, 1500, '3 Rue C'), (4, 1000, '4 Rue D'), (5, 1000, '4  rue d '),
    (6, 1000, '6 Rue F'));
INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_subtotal, amount_total, requires_shipping)
  VALUES('li_1', 1, 1, 'Mug', 1, 'eur', 1000, 1000, 1), ('li_2', 1, 2, 'Poster', 1, 'eur', 2000, 2000, 1),
    ('li_3', 2, 1, 'Mug', 3, 'eur', 3000, 3000, 1), ('li_4', 3, 1, 'Mug', 1, 'eur', 1000, 1000, 1),
    ('li_5', 3, 2, 'Pattern', 1, 'eur', 500, 500, 0), ('li_6', 4, 1, 'Mug', 1, 'eur', 1000, 1000, 1),
    ('li_7', 5, 1, 'Mug', 1, 'eur', 1000, 1000, 1), ('li_8', 6, 1, 'Mug', 1, 'eur', 1000, 1000, 1);
UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at;
UPDATE actor SET name = 'operator';
";

impl Desk {
    fn open() -> Desk {
        let desk = Desk { dir: tempfile::tempdir().expect("a directory") };
        let c = Connection::open(desk.db()).expect("a file");
        c.execute_batch(include_str!("../../schema.sql")).expect("the schema is sound");
        c.execute_batch("PRAGMA application_id = 0x666c6664; PRAGMA user_version = 1;").expect("pragmas");
        c.execute("INSERT INTO shop VALUES(1, 0, '2025-03-01T00:00:00Z')", []).expect("a shop");
        c.execute_batch(ORDERS).expect("orders");
        desk
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    /// Types into the stock shell, which enforces no foreign keys; what it says when it refuses.
    fn sql(&self, sql: &str) -> Result<(), String> {
        self.tick();
        let c = Connection::open(self.db()).expect("the file");
        c.pragma_update(None, "foreign_keys", false).expect("a pragma");
        c.execute_batch(sql).map_err(|e| e.to_string())
    }

    fn typed(&self, sql: &str) {
        self.sql(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Writes as the daemon does when Stripe has told something.
    fn by_stripe(&self, sql: &str) {
        self.typed(&format!(
            "BEGIN; UPDATE actor SET name = 'stripe:evt_2'; {sql}; UPDATE actor SET name = 'operator'; COMMIT"
        ));
    }

    /// The shell refuses it with these words, and nothing changes.
    fn refuses(&self, sql: &str, why: &str) {
        let before = self.rows("SELECT * FROM fulfillments, fulfillment_line_items");
        let said = self.sql(sql).expect_err(sql);
        assert!(said.contains(why), "{sql}: {said}");
        assert_eq!(self.rows("SELECT * FROM fulfillments, fulfillment_line_items"), before, "{sql}");
    }

    fn run(&self, line: &str) -> Output {
        self.tick();
        Command::new(env!("CARGO_BIN_EXE_fulfilld"))
            .args(line.split_whitespace())
            .env_clear()
            .env("FULFILLD_DB", self.db())
            .output()
            .expect("the program runs")
    }

    /// The verb does it; what it prints.
    fn does(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The verb refuses it with these words; all that it says.
    fn declines(&self, line: &str, why: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
        said
    }

    /// Rows as the shell prints them.
    fn rows(&self, sql: &str) -> Vec<String> {
        let c = Connection::open(self.db()).expect("the file");
        let mut query = c.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let n = query.column_count();
        let row = |row: &rusqlite::Row| {
            let cell = |i| {
                Ok(match row.get(i)? {
                    rusqlite::types::Value::Null => String::new(),
                    rusqlite::types::Value::Integer(n) => n.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
            };
            Ok((0..n).map(cell).collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        };
        query.query_map([], row).and_then(|rows| rows.collect()).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    fn one(&self, sql: &str) -> String {
        self.rows(sql).join("\n")
    }

    /// Waits for the next thousandth of a second: two statements in the same one are one change.
    fn tick(&self) {
        let c = Connection::open_in_memory().expect("memory");
        let moment = || c.query_row("SELECT strftime('%f', 'now')", [], |row| row.get::<_, String>(0)).expect("a time");
        let last = moment();
        shop::wait_for("the clock goes on", || (moment() != last).then_some(()));
    }

    fn check(&self) {
        self.does("check");
    }
}

const NEEDS: &str = "SELECT reason FROM attention WHERE reason GLOB 'refund*' ORDER BY 1, subject";

#[test]
fn a_matter_that_is_dealt_with_leaves_attention_until_its_facts_change() {
    let desk = Desk::open();
    desk.typed("INSERT INTO ship VALUES(4, 'DHL', 'JD4', NULL)");
    let refund = |id: &str, amount: i64, status: &str| {
        desk.by_stripe(&format!(
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, created_at, as_of) VALUES('{id}', 'pi_4', 'ch_4',
               {amount}, 'eur', '{status}', strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 minutes'), '1')"
        ));
    };
    refund("re_1", 100, "succeeded");
    assert_eq!(desk.one(NEEDS), "refunded_after_shipping");
    desk.typed("INSERT INTO dismiss VALUES(4, 'refunded_after_shipping')");
    assert_eq!(desk.rows(NEEDS), [""; 0]);
    let told = "SELECT actor, what FROM order_history WHERE what GLOB 'attention *' AND old IS NULL";
    assert_eq!(desk.one(told), "operator|attention refunded_after_shipping re_1");
    // Another refund is another fact, and the one that was dealt with stays away.
    refund("re_2", 200, "succeeded");
    assert_eq!(
        desk.one("SELECT reason, subject FROM attention WHERE reason GLOB 'refunded*'"),
        "refunded_after_shipping|re_2"
    );
    let said = desk.does("dismiss 4 refunded_after_shipping");
    assert!(said.contains("re_2") && !said.contains("re_1"), "{said}");
    assert_eq!(desk.rows(NEEDS), [""; 0]);
    desk.refuses("INSERT INTO dismiss VALUES(4, 'refunded_after_shipping')", "attention shows no such thing");
    desk.declines("dismiss 4 refunded_after_shipping", "4 is not dismissed: attention shows no such thing");
    desk.declines("dismiss 5 unsent", "5 is not dismissed");
    // Dismissed by mistake.
    desk.does("undo");
    assert_eq!(
        desk.one("SELECT reason, subject FROM attention WHERE reason GLOB 'refunded*'"),
        "refunded_after_shipping|re_2"
    );
    desk.check();
}

#[test]
fn a_matter_of_no_order_is_dismissed_by_what_it_is_about_or_by_its_reason() {
    let desk = Desk::open();
    desk.by_stripe(
        "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, created_at, as_of)
           VALUES('re_9', 'pi_of_no_order', 'ch_9', 100, 'eur', 'on_its_way', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1');
         INSERT INTO alarms(name, message, next, since) VALUES('silence', 'webhooks do not come', 'fulfilld doctor', '2025-03-01T00:00:00Z')",
    );
    let needs = "SELECT reason, order_id, subject FROM attention ORDER BY 1";
    assert_eq!(desk.rows(needs), ["refund_unknown||re_9", "silence||"]);
    desk.does("dismiss re_9 refund_unknown");
    assert_eq!(desk.rows(needs), ["silence||"]);
    desk.typed("INSERT INTO dismiss VALUES(NULL, 'silence')");
    assert_eq!(desk.rows(needs), [""; 0]);
    // It begins anew: that is another fact.
    desk.by_stripe("UPDATE alarms SET since = '2025-04-01T00:00:00Z'");
    assert_eq!(desk.rows(needs), ["silence||"]);
    desk.does("dismiss silence");
    assert_eq!(desk.rows(needs), [""; 0]);
    assert_eq!(desk.one("SELECT group_concat(DISTINCT actor) FROM dismissals"), "operator");
}
