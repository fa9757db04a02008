//! Parcels as shops send them, and what a person has dealt with: each test is named after what the
//! shop saw.

use std::path::PathBuf;
use std::process::{Command, Output};

use rusqlite::Connection;

use crate::shop;

/// A file with a few paid orders, and the verbs and the shell on it.
struct Desk {
    dir: tempfile::TempDir,
}

/// Order 1: two different things, one of each. 2: three mugs. 3: a mug and a download. 4 and 5: a
/// mug each, to one address; 6: to another.
const ORDERS: &str = "
UPDATE actor SET name = 'stripe:evt_1';
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status,
currency, amount_subtotal,
    amount_total, email, name, shipping_name, shipping_line1, shipping_city, shipping_postal_code,
    shipping_country, created_at, as_of)
  SELECT column1, 'cs_' || column1, 'pi_' || column1, 0, 'payment', 'unpaid', 'eur', column2,
  column2, 'ada@example.com', 'Ada',
    'Ada', column3, 'Paris', '75001', 'FR', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1'
  FROM (VALUES(1, 3000, '1 Rue A'), (2, 3000, '2 Rue B'), (3, 1500, '3 Rue C'), (4, 1000,
  '4 Rue D'), (5, 1000, '4  rue d '),
    (6, 1000, '6 Rue F'));
INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_subtotal,
amount_total, requires_shipping)
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
        c.execute_batch(include!("../../schema/whole.rs")).expect("the schema is sound");
        c.execute_batch("PRAGMA application_id = 0x666c6664; PRAGMA user_version = 3;")
            .expect("pragmas");
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

    /// Writes as the daemon does when Stripe has reported something.
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
        assert_eq!(
            self.rows("SELECT * FROM fulfillments, fulfillment_line_items"),
            before,
            "{sql}"
        );
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
        query
            .query_map([], row)
            .and_then(|rows| rows.collect())
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    fn one(&self, sql: &str) -> String {
        self.rows(sql).join("\n")
    }

    /// Waits for the next thousandth of a second: two statements in the same one are one change.
    fn tick(&self) {
        let c = Connection::open_in_memory().expect("memory");
        let moment = || {
            c.query_row("SELECT strftime('%f', 'now')", [], |row| row.get::<_, String>(0))
                .expect("a time")
        };
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
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status,
               created_at, as_of) VALUES('{id}', 'pi_4', 'ch_4',
               {amount}, 'eur', '{status}', strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 minutes'), '1')"
        ));
    };
    refund("re_1", 100, "succeeded");
    assert_eq!(desk.one(NEEDS), "refunded_after_shipping");
    desk.typed("INSERT INTO dismiss VALUES(4, 'refunded_after_shipping')");
    assert_eq!(desk.rows(NEEDS), [""; 0]);
    let told =
        "SELECT actor, what FROM order_history WHERE what GLOB 'attention *' AND old IS NULL";
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
    desk.refuses(
        "INSERT INTO dismiss VALUES(4, 'refunded_after_shipping')",
        "attention shows no such thing",
    );
    desk.declines(
        "dismiss 4 refunded_after_shipping",
        "4 is not dismissed: attention shows no such thing",
    );
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
           VALUES('re_9', 'pi_of_no_order', 'ch_9', 100, 'eur', 'on_its_way',
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1');
         INSERT INTO alarms(name, message, next, since) VALUES('silence', 'webhooks do not come',
         'fulfilld doctor', '2025-03-01T00:00:00Z')",
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

const PARCELS: &str = "SELECT f.order_id, f.status, group_concat(l.position || 'x' || i.quantity) FROM fulfillments f
    JOIN fulfillment_line_items i ON i.fulfillment_id = f.id JOIN line_items l ON l.id = i.line_item_id
    WHERE f.status <> 'canceled' GROUP BY f.id ORDER BY f.id";

#[test]
fn one_of_two_things_is_shipped_first_and_the_other_waits_in_a_parcel_of_its_own() {
    let of_order_1 = format!("SELECT * FROM ({PARCELS}) WHERE order_id = 1");
    for line in [
        "ship 1 --items 1 --company DHL --number JD1",
        "ship 1 --items 1x1 --company DHL --number JD1",
    ] {
        let desk = Desk::open();
        desk.does(line);
        assert_eq!(desk.rows(&of_order_1), ["1|shipped|1x1", "1|pending|2x1"]);
        assert_eq!(
            desk.one("SELECT fulfillment_status FROM order_overview WHERE id = 1"),
            "partially_fulfilled"
        );
        desk.does("undo");
        assert_eq!(
            desk.one("SELECT count(*) FROM to_fulfill WHERE order_id = 1"),
            "2",
            "nothing is lost by an undo"
        );
        desk.check();
    }
    for line in [
        "DELETE FROM fulfillment_line_items WHERE line_item_id = 'li_2'",
        "UPDATE fulfillment_line_items SET quantity = 0 WHERE line_item_id = 'li_2'",
    ] {
        let desk = Desk::open();
        desk.typed(line);
        assert_eq!(desk.rows(&of_order_1), ["1|pending|1x1", "1|pending|2x1"], "{line}");
        desk.check();
        desk.does("undo");
        assert_eq!(desk.rows(&of_order_1), ["1|pending|1x1,2x1"], "{line}");
        desk.check();
    }
    let desk = Desk::open();
    desk.typed("INSERT INTO ship_items VALUES(2, '1x2', 'DHL', 'JD2', NULL)");
    assert_eq!(
        desk.rows(&format!("SELECT * FROM ({PARCELS}) WHERE order_id = 2")),
        ["2|shipped|1x2", "2|pending|1x1"]
    );
    for (items, why) in [
        ("1,1", "each once"),
        ("1x0", "each once"),
        ("x1", "each once"),
        ("1x", "each once"),
        ("", "each once"),
        ("1x2x3", "each once"),
        ("1x99999999999999999999", "each once"),
        ("9", "not so much of that waits"),
        ("1x2", "not so much of that waits"),
    ] {
        desk.refuses(
            &format!("INSERT INTO ship_items VALUES(2, '{items}', 'DHL', 'JD3', NULL)"),
            why,
        );
    }
    desk.declines(
        "ship 3 --items 2",
        "order 3 is not shipped: not so much of that waits for a parcel",
    );
    // What is sent stays as it was sent.
    desk.refuses(
        "DELETE FROM fulfillment_line_items WHERE fulfillment_id = 2",
        "sent or canceled already",
    );
    desk.refuses(
        "UPDATE fulfillment_line_items SET quantity = 0 WHERE fulfillment_id = 2",
        "only while the fulfillment is pending",
    );
    // A whole parcel that is taken out is the same parcel under another number.
    desk.typed("DELETE FROM fulfillment_line_items WHERE line_item_id IN('li_1', 'li_2')");
    assert_eq!(desk.rows(&of_order_1), ["1|pending|1x1,2x1"]);
    desk.check();
}

#[test]
fn an_order_with_several_parcels_does_not_go_out_under_one_number_by_accident() {
    let desk = Desk::open();
    desk.typed("DELETE FROM fulfillment_line_items WHERE line_item_id = 'li_2'");
    let said = desk.declines(
        "ship 1 --company DHL --number JD1",
        "order 1 is not shipped: several parcels of it wait; say which",
    );
    let id = desk.one("SELECT max(id) FROM fulfillments");
    assert!(
        said.contains(&format!("--parcel {id} (1 × Poster)"))
            && said.contains("(1 × Mug)")
            && said.contains("--all"),
        "{said}"
    );
    desk.refuses(
        "INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)",
        "INSERT INTO ship_parcel VALUES(fulfillment_id",
    );
    desk.declines("ship 1 --parcel 2 --number JD1", "no parcel 2 of it waits; there is --parcel 1");
    desk.refuses("INSERT INTO ship_parcel VALUES(999, 'DHL', 'JD1', NULL)", "no such parcel waits");
    desk.does(&format!("ship 1 --parcel {id} --company DHL --number JD1"));
    assert_eq!(
        desk.rows("SELECT id, status FROM fulfillments WHERE order_id = 1"),
        ["1|pending".to_string(), format!("{id}|shipped")]
    );
    // One is left, so there is nothing to choose.
    desk.does("ship 1 --company DHL --number JD1b");
    assert_eq!(
        desk.one(
            "SELECT count(*) FROM outbox WHERE topic = 'fulfillment.shipped' AND order_id = 1"
        ),
        "2"
    );
    let desk = Desk::open();
    desk.typed("UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_3'");
    desk.does("ship 2 --all --company DHL --number JD2");
    assert_eq!(
        desk.one("SELECT group_concat(DISTINCT status || tracking_number) FROM fulfillments WHERE order_id = 2"),
        "shippedJD2"
    );
    desk.declines("ship 2 --all", "order 2 is not shipped: no parcel of it waits");
    desk.does("undo");
    assert_eq!(
        desk.one("SELECT group_concat(DISTINCT status) FROM fulfillments WHERE order_id = 2"),
        "pending"
    );
    desk.check();
}

#[test]
fn what_is_lost_is_sent_once_more_beside_what_was_bought() {
    let desk = Desk::open();
    desk.declines(
        "reship 1 --reason lost",
        "order 1 is not sent once more: nothing of it has been shipped yet",
    );
    desk.does("ship 1 --company DHL --number JD1");
    desk.does("deliver 1");
    let books = "SELECT financial_status, fulfillment_status, amount_total FROM order_overview WHERE id = 1";
    let (before, left) = (
        desk.one(books),
        "SELECT sum(sent), sum(left_to_send), sum(pending) FROM line_item_balance WHERE order_id = 1",
    );
    assert_eq!(desk.one(left), "2|0|0");
    desk.does("reship 1 --items 2 --reason damaged");
    assert_eq!(
        desk.one("SELECT items, replacement FROM to_ship WHERE order_id = 1"),
        "1 × Poster|damaged"
    );
    desk.does("undo");
    assert_eq!(desk.rows("SELECT * FROM to_ship WHERE order_id = 1"), [""; 0]);
    desk.typed("INSERT INTO reship VALUES(1, 'lost')");
    assert_eq!(
        desk.one("SELECT items, replacement FROM to_ship WHERE order_id = 1"),
        "1 × Mug, 1 × Poster|lost"
    );
    assert_eq!((desk.one(books), desk.one(left).as_str()), (before, "2|0|0"));
    desk.check();
    // A part of it after all; what is taken out of a replacement waits nowhere.
    desk.typed(
        "DELETE FROM fulfillment_line_items WHERE line_item_id = 'li_2' \
                AND fulfillment_id = (SELECT max(id) FROM fulfillments)",
    );
    assert_eq!(desk.one("SELECT items FROM to_ship WHERE order_id = 1"), "1 × Mug");
    desk.does("ship 1 --company DHL --number JD1-again");
    desk.does("deliver 1");
    desk.typed("INSERT INTO reship_items VALUES(1, '1', 'wrong')");
    desk.typed(
        "UPDATE fulfillment_line_items SET quantity = 0 WHERE fulfillment_id = (SELECT max(id) FROM fulfillments)",
    );
    assert_eq!(desk.rows("SELECT * FROM to_ship WHERE order_id = 1"), [""; 0]);
    desk.refuses(
        "INSERT INTO reship_items VALUES(1, '1x2', 'lost')",
        "not so much of that has been sent",
    );
    desk.refuses("INSERT INTO reship VALUES(1, 'late')", "lost, damaged, wrong or other");
    desk.refuses(
        "INSERT INTO fulfillments(order_id, replacement) VALUES(2, 'lost')",
        "nothing of the order has been sent",
    );
    assert_eq!(desk.one(left), "2|0|0");
    desk.check();
}

#[test]
fn a_wrong_deliver_of_yesterday_is_taken_back_for_that_order_alone() {
    let desk = Desk::open();
    desk.does("ship 4 --company DHL --number JD4");
    desk.typed("UPDATE orders SET note = 'both' WHERE id IN(4, 6)");
    desk.does("deliver 4");
    desk.does("ship 6 --company DHL --number JD6");
    desk.does("hold 5 --reason color");
    desk.does("undo --order 4");
    assert_eq!(desk.one("SELECT status FROM fulfillments WHERE order_id = 4"), "shipped");
    assert_eq!(desk.one("SELECT hold_reason FROM orders WHERE id = 5"), "color");
    assert_eq!(desk.one("SELECT status FROM fulfillments WHERE order_id = 6"), "shipped");
    desk.declines("undo --order 4", "taken back already");
    desk.declines("undo --order 2", "nobody has changed order 2 by hand yet");
    // Of a change of many orders it takes back that order's part.
    let desk = Desk::open();
    desk.typed("UPDATE orders SET note = 'both' WHERE id IN(4, 6)");
    desk.does("undo --order 4");
    assert_eq!(desk.rows("SELECT id, note FROM orders WHERE note IS NOT NULL"), ["6|both"]);
    // A cancel of yesterday.
    desk.does("cancel 4 --reason staff");
    desk.does("hold 5 --reason color");
    desk.does("undo --order 4");
    assert_eq!(
        desk.one("SELECT blocked_by, fulfillment_status FROM order_overview WHERE id = 4"),
        "|unfulfilled"
    );
    desk.check();
}

#[test]
fn a_tracking_number_is_the_text_that_was_meant() {
    let desk = Desk::open();
    desk.refuses(
        "INSERT INTO ship VALUES(4, 'DHL', 00340434161094022115, NULL)",
        "put a tracking number in quotes",
    );
    desk.refuses(
        "UPDATE fulfillments SET tracking_number = 340434161094022115 WHERE order_id = 4",
        "put a tracking number in quotes",
    );
    desk.refuses(
        "UPDATE fulfillments SET tracking_number = 1.5 WHERE order_id = 4",
        "put a tracking number in quotes",
    );
    desk.refuses(
        "UPDATE fulfillments SET tracking_number = x'4a44' WHERE order_id = 4",
        "put a tracking number in quotes",
    );
    desk.typed(
        "INSERT INTO ship VALUES(4, ' DHL' || char(160), char(9, 8239) || '0034 0/4?&#%é' || char(13, 10, 65279), ' ')",
    );
    assert_eq!(
        desk.one("SELECT tracking_company, tracking_number, tracking_url FROM fulfillments WHERE order_id = 4"),
        "DHL|0034 0/4?&#%é|https://www.dhl.com/global-en/home/tracking.html?tracking-id=0034%200%2F4%3F%26%23%25%C3%A9"
    );
    // What the history says is what the file has, once.
    let told = "SELECT quote(old), quote(new) FROM order_history WHERE order_id = 4 AND what GLOB '*tracking_number'";
    assert_eq!(desk.rows(told), ["NULL|'0034 0/4?&#%é'"]);
    for empty in ["''", "' '", "char(9)", "char(160, 12288)"] {
        desk.typed(&format!(
            "UPDATE fulfillments SET tracking_company = {empty}, \
                             tracking_number = {empty}, tracking_url = {empty}, note = {empty}"
        ));
        desk.typed(&format!(
            "UPDATE orders SET note = {empty}, hold_reason = {empty}, \
                             phone = {empty}, shipping_line2 = {empty}, name = {empty}"
        ));
    }
    assert_eq!(
        desk.one("SELECT count(coalesce(tracking_number, tracking_company, tracking_url, note)) FROM fulfillments"),
        "0"
    );
    assert_eq!(
        desk.one(
            "SELECT count(coalesce(note, hold_reason, phone, shipping_line2, name)) FROM orders"
        ),
        "0"
    );
    assert_eq!(desk.one("SELECT count(*) FROM order_history WHERE new = ''"), "0");
    desk.typed("UPDATE orders SET shipping_city = char(160) || 'Lyon' || char(10) WHERE id = 4");
    assert_eq!(desk.one("SELECT shipping_city FROM orders WHERE id = 4"), "Lyon");
    desk.check();
}

#[test]
fn a_tracking_number_belongs_to_one_order_unless_several_go_to_one_address() {
    let desk = Desk::open();
    desk.does("ship 6 --company DHL --number JD6");
    let said = desk.declines(
        "ship 2 --company dhl --number JD6",
        "the tracking number JD6 is on a parcel of order 6 already",
    );
    assert!(said.contains("order 2 is not shipped"), "{said}");
    desk.refuses(
        "INSERT INTO ship VALUES(2, 'D.H.L.', ' JD6 ', NULL)",
        "on a parcel of another order",
    );
    // Numbers are the carrier's; and a parcel that was canceled has none.
    desk.does("ship 2 --company UPS --number JD6");
    desk.refuses(
        "UPDATE fulfillments SET tracking_company = 'DHL' WHERE order_id = 2",
        "on a parcel of another order",
    );
    desk.typed(
        "UPDATE fulfillments SET status = 'canceled' WHERE order_id = 6 AND status = 'shipped'",
    );
    desk.does("ship 1 --company DHL --number JD6");
    // One address, two orders, one parcel.
    desk.does("ship 4 5 --company DHL --number JD45");
    assert_eq!(
        desk.rows("SELECT order_id FROM fulfillments WHERE tracking_number = 'JD45'"),
        ["4", "5"]
    );
    desk.declines("ship 3 --company DHL --number JD45", "on a parcel of order 4, 5 already");
    // A forgotten WHERE still changes nothing.
    let desk = Desk::open();
    desk.refuses(
        "UPDATE fulfillments SET status = 'shipped', tracking_number = 'OOPS'",
        "needs WHERE",
    );
    desk.refuses(
        "UPDATE fulfillments SET status = 'shipped', tracking_company = 'DHL', tracking_number = 'OOPS'",
        "needs WHERE",
    );
    desk.check();
}

#[test]
fn a_carrier_is_known_however_it_is_written() {
    let desk = Desk::open();
    let link = |company: &str| {
        desk.typed(&format!(
            "UPDATE fulfillments SET tracking_company = {company}, \
                             tracking_number = 'N1', tracking_url = NULL WHERE order_id = 4"
        ));
        desk.one("SELECT tracking_url FROM fulfillments WHERE order_id = 4")
    };
    for (names, page) in [
        (
            &["'DHL'", "'dhl'", "'D.H.L.'", "'DHL Germany'"][..],
            "https://www.dhl.com/global-en/home/tracking.html?tracking-id=N1",
        ),
        (
            &["'DHL Express'", "'DHL-Express'", "'dhl  EXPRESS worldwide'"],
            "https://www.dhl.com/en/express/tracking.html?AWB=N1",
        ),
        (
            &["'DHL Paket'", "'DHL-PAKET'"],
            "https://www.dhl.de/de/privatkunden/pakete-empfangen/verfolgen.html?piececode=N1",
        ),
        (
            &[
                "'ÖSTERREICHISCHE POST'",
                "'österreichische post ag'",
                "'Oesterreichische Post'",
                "'O' || char(776) || 'sterreichische Post'",
            ],
            "https://www.post.at/sv/sendungsdetails?snr=N1",
        ),
        (
            &["'UPS Standard'", "'U.P.S.'", "'United Parcel Service'"],
            "https://www.ups.com/track?tracknum=N1",
        ),
        (&["'Upstart'", "'The DHL'", "'Bike'", "NULL"], ""),
    ] {
        for name in names {
            assert_eq!(link(name), page, "{name}");
        }
    }
    // Yours are found in the same way.
    desk.typed(
        "INSERT INTO carriers(company, url) VALUES('Ma Poste à Vélo', 'https://example.org/{}')",
    );
    assert_eq!(link("'MA POSTE À VÉLO'"), "https://example.org/N1");
    // A link that leads to the old number does not outlive it; one that was typed does.
    desk.typed("UPDATE fulfillments SET tracking_company = 'Bike', tracking_number = 'N2' WHERE order_id = 4");
    assert_eq!(desk.one("SELECT tracking_url FROM fulfillments WHERE order_id = 4"), "");
    desk.typed(
        "UPDATE fulfillments SET tracking_url = 'https://example.org/map' WHERE order_id = 4",
    );
    desk.typed("UPDATE fulfillments SET tracking_number = 'N3' WHERE order_id = 4");
    assert_eq!(
        desk.one("SELECT tracking_url FROM fulfillments WHERE order_id = 4"),
        "https://example.org/map"
    );
}

const UPDATED: &str =
    "SELECT order_id, fulfillment_id FROM outbox WHERE topic = 'fulfillment.updated' ORDER BY id";

#[test]
fn what_is_corrected_after_shipping_notifies_hooks_once_a_statement() {
    let desk = Desk::open();
    desk.typed("UPDATE fulfillments SET tracking_number = 'early' WHERE order_id = 4");
    desk.does("ship 4 --company DHL --number JD4");
    assert_eq!(desk.rows(UPDATED), [""; 0], "shipping is no correction");
    let mut so_far = 0;
    for (line, more) in [
        ("UPDATE fulfillments SET tracking_number = 'JD4b' WHERE order_id = 4", 1),
        ("UPDATE fulfillments SET tracking_number = ' JD4b ' WHERE order_id = 4", 0),
        (
            "UPDATE fulfillments SET tracking_company = 'UPS', tracking_number = 'N4', \
             tracking_url = 'https://example.org/4' WHERE order_id = 4",
            1,
        ),
        ("UPDATE fulfillments SET tracking_url = 'https://example.org/44' WHERE order_id = 4", 1),
        ("UPDATE fulfillments SET note = 'left with the neighbor' WHERE order_id = 4", 0),
        ("UPDATE orders SET shipping_line1 = '40 Rue D', shipping_city = 'Lyon' WHERE id = 4", 1),
        ("UPDATE orders SET shipping_line1 = ' 40 Rue D' WHERE id = 4", 0),
        ("UPDATE orders SET email = 'ada@example.org' WHERE id = 4", 1),
        ("UPDATE orders SET business_name = 'Ada & Co' WHERE id = 4", 1),
        ("UPDATE orders SET business_name = 'Ada & Co ' WHERE id = 4", 0),
        ("UPDATE orders SET phone = '+33 1 2345' WHERE id = 4", 1),
        ("UPDATE orders SET name = 'Ada Lovelace' WHERE id = 4", 1),
        ("UPDATE orders SET note = 'gift' WHERE id = 4", 0),
        ("UPDATE orders SET shipping_line1 = '50 Rue E' WHERE id = 5", 0),
    ] {
        desk.typed(line);
        so_far += more;
        assert_eq!(desk.rows(UPDATED).len(), so_far, "{line}");
    }
    // A wrong correction that no hook was notified of yet is taken back with its notification.
    desk.does("undo --order 4");
    let undone = || desk.one("SELECT count(*) FROM outbox WHERE outcome = 'undone'");
    assert_eq!(undone(), "0", "nothing was to be told of the note");
    desk.typed("UPDATE fulfillments SET tracking_number = 'N5' WHERE order_id = 4");
    desk.does("undo");
    assert_eq!(desk.one("SELECT outcome FROM outbox ORDER BY id DESC LIMIT 1"), "undone");
    desk.typed("UPDATE orders SET shipping_line1 = '41 Rue D' WHERE id = 4");
    assert_eq!(desk.rows(UPDATED).len(), so_far + 2);
    desk.does("undo");
    assert_eq!(undone(), "2");
    assert_eq!(desk.rows(UPDATED).len(), so_far + 2, "an undo is not notified of");
    // The earlier one is another statement's, so it neither stands in the way nor is dropped.
    desk.typed(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test';
         UPDATE outbox SET state = 'done', outcome = 'told', attempts = 1 WHERE outcome IS NULL;
         UPDATE actor SET name = 'operator'; COMMIT",
    );
    desk.does("deliver 4");
    desk.typed("UPDATE fulfillments SET tracking_number = 'N6' WHERE order_id = 4");
    desk.typed("UPDATE orders SET email = 'eve@example.org' WHERE id = 4");
    assert_eq!(desk.rows(UPDATED).len(), so_far + 2, "it has arrived");
    desk.does("undo");
    assert_eq!(undone(), "2", "nothing was to be told of that");
    desk.check();
}

#[test]
fn the_rest_of_a_partly_sent_order_is_canceled_with_its_reason_and_hooks_are_notified() {
    for line in [
        "cancel 1 --reason inventory",
        "UPDATE line_items SET canceled_quantity = 1, cancel_reason = 'inventory' WHERE id = 'li_2'",
    ] {
        let desk = Desk::open();
        desk.does("ship 1 --items 1 --company DHL --number JD1");
        match line.starts_with("UPDATE") {
            true => desk.typed(line),
            false => drop(desk.does(line)),
        }
        let reason = "SELECT what, new FROM order_history WHERE what GLOB '*cancel_reason'";
        assert_eq!(desk.one(reason), "line 2 cancel_reason|inventory", "{line}");
        let news =
            "SELECT topic FROM outbox WHERE order_id = 1 AND topic GLOB '*canceled' ORDER BY topic";
        assert_eq!(desk.rows(news), ["fulfillment.canceled", "order.canceled"], "{line}");
        assert_eq!(
            desk.one("SELECT fulfillment_status FROM order_overview WHERE id = 1"),
            "fulfilled"
        );
        desk.does("undo");
        assert_eq!(desk.one("SELECT count(*) FROM outbox WHERE outcome = 'undone'"), "2", "{line}");
        assert_eq!(
            desk.one("SELECT canceled_quantity, cancel_reason FROM line_items WHERE id = 'li_2'"),
            "0|"
        );
        assert_eq!(desk.one("SELECT items FROM to_ship WHERE order_id = 1"), "1 × Poster");
        desk.check();
    }
}

const UNSENT: &str = "SELECT next FROM attention WHERE reason = 'unsent' ORDER BY order_id";

#[test]
fn what_could_not_be_sent_before_is_not_overdue_the_second_it_can_be() {
    let desk = Desk::open();
    desk.by_stripe("UPDATE orders SET paid_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-10 days')");
    desk.typed(
        "INSERT INTO ship SELECT id, 'DHL', 'JD' || id, NULL FROM orders WHERE id > 1 AND id <> 5",
    );
    desk.typed("INSERT INTO deliver SELECT id FROM orders WHERE id IN(3, 4)");
    // Order 4's parcel is lost: a replacement is ordered now. Order 6's comes back now.
    desk.does("reship 4 --reason lost");
    desk.typed(
        "UPDATE fulfillments SET status = 'canceled' WHERE order_id = 6 AND status = 'shipped'",
    );
    // All of order 5 was refunded, so nothing was sent; now the bank has sent that back.
    desk.by_stripe(
        "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, failed_at, created_at, as_of)
         VALUES('re_1', 'pi_5', 1000, 'eur', 'failed', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'),
           '2025-03-01T00:00:00Z', '1')",
    );
    assert_eq!(
        desk.rows("SELECT DISTINCT order_id FROM to_ship ORDER BY 1"),
        ["1", "4", "5", "6"],
        "all of them can be sent"
    );
    assert_eq!(desk.rows(UNSENT), ["INSERT INTO ship VALUES(1, 'company', 'number', NULL);"]);
    // Of several parcels the line names one, and it is one row.
    desk.typed("DELETE FROM fulfillment_line_items WHERE line_item_id = 'li_2'");
    let next = desk.one(UNSENT);
    assert!(next.starts_with("INSERT INTO ship_parcel VALUES("), "{next}");
    let line = desk.does("attention");
    assert!(line.contains("fulfilld ship 1 --parcel "), "{line}");
    desk.typed(&next);
    desk.typed(&desk.one(UNSENT).replace("'number'", "'other'"));
    assert_eq!(desk.rows(UNSENT), [""; 0]);
    desk.check();
}

#[test]
fn a_replacement_that_is_no_longer_wanted_is_canceled_by_the_line_that_attention_shows() {
    for (told, reason) in [
        (
            "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
             VALUES('re_1', 'pi_4', 1000, 'eur', 'succeeded', '2025-03-01T00:00:00Z', '1')",
            "refunded_not_canceled",
        ),
        (
            "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, amount_lost, created_at, as_of)
             VALUES('dp_1', 'pi_4', 1000, 'eur', 'lost', 1000, '2025-03-01T00:00:00Z', '1')",
            "dispute_lost",
        ),
        (
            "INSERT INTO reviews(id, payment_intent_id, open, closed_reason, created_at, as_of)
             VALUES('prv_1', 'pi_4', 0, 'refunded_as_fraud', '2025-03-01T00:00:00Z', '1')",
            "in_review",
        ),
    ] {
        let desk = Desk::open();
        desk.does("ship 4 --company DHL --number JD4");
        desk.does("reship 4 --reason lost");
        desk.by_stripe(told);
        let next = format!("SELECT next FROM attention WHERE reason = '{reason}'");
        desk.typed(&desk.one(&next));
        assert_eq!(desk.rows(&next), [""; 0], "{reason}");
        let parcels = "SELECT status FROM fulfillments WHERE order_id = 4 ORDER BY id";
        assert_eq!(desk.rows(parcels), ["shipped", "canceled"], "{reason}");
        desk.declines("cancel 4 --reason customer", "has been sent already");
        desk.does("undo");
        assert_eq!(desk.rows(parcels), ["shipped", "pending"], "{reason}");
        desk.check();
    }
}

#[test]
fn one_of_two_parcels_on_their_way_has_arrived() {
    let desk = Desk::open();
    desk.does("ship 1 --items 1 --company DHL --number JD1");
    desk.does("ship 1 --company UPS --number 1Z1");
    let parcels = "SELECT status FROM fulfillments WHERE order_id = 1 ORDER BY id";
    let ids = desk.rows("SELECT id FROM fulfillments WHERE order_id = 1 ORDER BY id");
    desk.does(&format!("deliver 1 --parcel {}", ids[1]));
    assert_eq!(desk.rows(parcels), ["shipped", "delivered"]);
    desk.declines(
        &format!("deliver 1 --parcel {}", ids[1]),
        &format!("--parcel {} (1 × Mug)", ids[0]),
    );
    desk.declines("deliver 4 --parcel 1", "on its way");
    desk.does("undo --order 1");
    assert_eq!(desk.rows(parcels), ["shipped", "shipped"]);
    desk.typed(&format!("INSERT INTO deliver_parcel VALUES({})", ids[0]));
    desk.refuses(&format!("INSERT INTO deliver_parcel VALUES({})", ids[0]), "on its way");
    assert_eq!(desk.rows(parcels), ["delivered", "shipped"]);
    // A download is delivered while its order's parcel is on its way.
    desk.does("ship 3 --company DHL --number JD3");
    let download =
        desk.one("SELECT id FROM fulfillments WHERE order_id = 3 AND requires_shipping = 0");
    desk.does(&format!("deliver 3 --parcel {download}"));
    assert_eq!(
        desk.rows("SELECT status FROM fulfillments WHERE order_id = 3 ORDER BY requires_shipping"),
        ["delivered", "shipped"]
    );
    desk.check();
}
