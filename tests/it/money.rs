//! What the file says about money: compared by amount, booked on the day it moved, held, and seen.
//! Each test is named after what a shop saw.

use serde_json::{Value, json};

use crate::shop::{Purchase, Shop, fulfilld, wait_for};

const DAY_S: i64 = 24 * 3600;

/// Nothing is delivered by itself: each test says which events are.
pub fn shop() -> Shop {
    Shop::open_with(&[("FULFILLD_ECHO_AFTER", "0")], &["--webhook", "none"])
}

/// What a POST to the simulated Stripe made, its events not delivered.
pub fn act(shop: &Shop, what: &str, order: Value) -> Purchase {
    let mut whole = json!({"deliver": false});
    whole.as_object_mut().unwrap().extend(order.as_object().unwrap().clone());
    Purchase::of(&shop.control("POST", &format!("/_sandbox/{what}"), whole))
}

/// The same, and its event is delivered to the desk.
pub fn hear(shop: &Shop, what: &str, order: Value) -> Purchase {
    ring(shop, act(shop, what, order))
}

pub fn ring(shop: &Shop, purchase: Purchase) -> Purchase {
    deliver_all(shop, &purchase);
    shop.settle();
    purchase
}

fn deliver_all(shop: &Shop, purchase: &Purchase) {
    for (id, _) in &purchase.events {
        assert_eq!(shop.deliver(id), 200);
    }
}

/// A purchase so many days ago, delivered now.
pub fn buy(shop: &Shop, scenario: &str, days_ago: i64) -> Purchase {
    let purchase = deliver(shop, scenario, days_ago);
    shop.settle();
    purchase
}

/// The same; its events are received, and not yet processed.
pub fn deliver(shop: &Shop, scenario: &str, days_ago: i64) -> Purchase {
    let made = shop.control(
        "POST",
        "/_sandbox/trigger",
        json!({"scenario": scenario, "deliver": false, "ago_s": days_ago * DAY_S}),
    );
    let purchase = Purchase::of(&made["purchases"][0]);
    deliver_all(shop, &purchase);
    purchase
}

pub fn reasons(shop: &Shop) -> Vec<String> {
    shop.rows("SELECT reason || ' ' || coalesce(order_id, '-') FROM attention ORDER BY 1")
}

pub fn export(shop: &Shop, args: &[&str]) -> String {
    let done = fulfilld()
        .arg("export")
        .args(args)
        .arg("--db")
        .arg(shop.file())
        .output()
        .expect("export runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("CSV is text")
}

#[test]
fn a_failed_refund_is_shown_until_later_refunds_cover_it() {
    let shop = shop();
    let session = buy(&shop, "card", 0).session;
    let total: i64 = shop.one("SELECT amount_total FROM orders").parse().unwrap();
    hear(&shop, "refund", json!({"session": session, "amount": total - 300}));
    let refund = shop.one("SELECT id FROM refunds");
    hear(&shop, &format!("refunds/{refund}"), json!({"status": "failed"}));
    let told = |shop: &Shop| reasons(shop).iter().any(|reason| reason == "refund_failed 1");
    assert!(told(&shop));
    hear(&shop, "refund", json!({"session": session, "amount": 200}));
    assert!(told(&shop), "an unrelated refund of 2.00 covers nothing");
    hear(&shop, "refund", json!({"session": session, "amount": total - 300}));
    assert!(!told(&shop), "{:?}", reasons(&shop));
    shop.check();
}

#[test]
fn what_is_refunded_in_part_says_so_where_the_packer_looks() {
    let shop = shop();
    let session = buy(&shop, "card", 0).session;
    let order: Vec<i64> = shop
        .one("SELECT amount_total, amount_shipping FROM orders")
        .split('|')
        .map(|amount| amount.parse().unwrap())
        .collect();
    // All of the goods, and not the postage.
    hear(&shop, "refund", json!({"session": session, "amount": order[0] - order[1]}));
    assert!(order[1] > 0 && reasons(&shop) == ["partly_refunded 1"], "{:?}", reasons(&shop));
    let euros = |amount: i64| format!("{}.{:02}", amount / 100, amount % 100);
    let caution = shop.one("SELECT caution FROM to_ship");
    let expected = format!("{} of {} EUR refunded", euros(order[0] - order[1]), euros(order[0]));
    assert!(caution.starts_with(&expected), "{caution}");
    // The goods are canceled for it: then it is dealt with.
    shop.shell("UPDATE line_items SET canceled_quantity = quantity").unwrap();
    assert_eq!(reasons(&shop), [""; 0]);
    shop.check();
}

#[test]
fn goods_that_are_canceled_in_a_partly_sent_order_are_shown_until_their_money_is_back() {
    let shop = shop();
    let session = buy(&shop, "many-lines", 0).session;
    shop.shell("UPDATE line_items SET canceled_quantity = quantity WHERE position <= 2").unwrap();
    assert_eq!(reasons(&shop), ["canceled_not_refunded 1"]);
    let goods: i64 =
        shop.one("SELECT sum(amount_total) FROM line_items WHERE position <= 2").parse().unwrap();
    hear(&shop, "refund", json!({"session": session, "amount": goods - 10}));
    assert_eq!(reasons(&shop), ["canceled_not_refunded 1"]);
    hear(&shop, "refund", json!({"session": session, "amount": 10}));
    assert_eq!(reasons(&shop), [""; 0]);
}

#[test]
fn what_a_dispute_took_is_no_income_and_is_not_sent() {
    for (scenario, money, blocked, left) in [
        ("dispute-lost", "charged_back", "dispute lost", 0),
        ("dispute-settled", "charged_back", "dispute lost", 0),
        ("dispute-prevented", "paid", "", 1),
        ("dispute-won", "paid", "", 1),
    ] {
        let shop = shop();
        buy(&shop, scenario, 0);
        let found = "SELECT financial_status, coalesce(blocked_by, ''), amount_charged_back > 0 FROM order_overview";
        assert_eq!(
            shop.one(found),
            format!("{money}|{blocked}|{}", i32::from(left == 0)),
            "{scenario}"
        );
        assert_eq!(
            shop.one("SELECT sum(amount_net) > 0 FROM sales_by_day"),
            left.to_string(),
            "{scenario}"
        );
        assert_eq!(shop.one("SELECT count(*) FROM to_ship"), left.to_string(), "{scenario}");
        let expected = if left == 0 { vec!["dispute_lost 1"] } else { vec![] };
        assert_eq!(reasons(&shop), expected, "{scenario}");
    }
}

#[test]
fn a_dispute_over_a_part_blocks_nothing_that_it_is_not_about() {
    let shop = shop();
    let session = buy(&shop, "disputed-in-part", 0).session;
    assert_eq!(shop.one("SELECT financial_status, blocked_by FROM order_overview"), "paid|");
    assert!(shop.one("SELECT caution FROM to_ship").contains(" EUR disputed"));
    assert_eq!(reasons(&shop), ["dispute_due 1"]);
    let dispute = shop.one("SELECT id FROM disputes");
    hear(&shop, &format!("disputes/{dispute}"), json!({"status": "lost"}));
    assert_eq!(
        shop.one("SELECT financial_status, blocked_by FROM order_overview"),
        "partially_charged_back|"
    );
    assert!(shop.one("SELECT caution FROM to_ship").contains(" EUR charged back"));
    // What is left is disputed too: now nothing of it may go out.
    hear(&shop, "dispute", json!({"session": session}));
    assert_eq!(shop.one("SELECT blocked_by FROM order_overview"), "disputed");
    // Stripe refuses a refund while it is disputed, so nothing advises one.
    shop.shell("INSERT INTO cancel VALUES(1, 'fraud')").unwrap();
    assert_eq!(reasons(&shop), ["dispute_due 1"]);
}

#[test]
fn a_closed_month_stays_closed_and_the_next_one_shows_what_moved_in_it() {
    let shop = shop();
    let (card, disputed) = (buy(&shop, "card", 40).session, buy(&shop, "mixed", 40).session);
    let (failing, _) = (buy(&shop, "discount", 40).session, buy(&shop, "yen", 2));
    let last_week = shop.one("SELECT date('now', '-7 days')");
    let this_week = shop.one("SELECT date('now', '-1 days')");
    let books = || {
        let lines = export(&shop, &["--lines", "--until", &last_week]);
        let berlin =
            export(&shop, &["--until", &last_week, "--tz", "Europe/Berlin", "--format", "jsonl"]);
        (export(&shop, &["--until", &last_week]), lines, berlin)
    };
    let closed = books();
    assert_eq!(closed.0.lines().count(), 1 + 3, "{}", closed.0);
    let days = format!("SELECT * FROM sales_by_day WHERE day <= '{last_week}'");
    let days_before = shop.rows(&days);

    hear(&shop, "refund", json!({"session": card, "amount": 500, "status": "pending"}));
    let refund = shop.one("SELECT id FROM refunds");
    hear(&shop, &format!("refunds/{refund}"), json!({"status": "succeeded"}));
    hear(&shop, "dispute", json!({"session": disputed}));
    let dispute = shop.one("SELECT id FROM disputes");
    hear(&shop, &format!("disputes/{dispute}"), json!({"status": "lost"}));
    hear(&shop, "refund", json!({"session": failing}));
    let refund = shop.one(&format!("SELECT id FROM refunds WHERE id <> '{refund}'"));
    hear(&shop, &format!("refunds/{refund}"), json!({"status": "failed"}));
    shop.shell(
        "UPDATE orders SET email = 'new@example.com', name = 'New Name', note = 'x',
           shipping_country = 'CH' WHERE id = 1;
         INSERT INTO hold VALUES(1, 'asks'); INSERT INTO ship
         VALUES(3, 'DHL', 'JD1', NULL); INSERT INTO cancel VALUES(4, 'customer');",
    )
    .unwrap();

    assert_eq!(books(), closed);
    assert_eq!(shop.rows(&days), days_before);
    let news = export(&shop, &["--since", &this_week]);
    let moved: Vec<(&str, &str)> = news
        .lines()
        .skip(1)
        .filter_map(|row| row.split(',').nth(1).zip(row.split(',').nth(2)))
        .collect();
    assert_eq!(moved.len(), 4, "{news}");
    for row in [("refund", "1"), ("chargeback", "2"), ("refund", "3"), ("refund failed", "3")] {
        assert!(moved.contains(&row), "{row:?}: {news}");
    }
    let today = format!(
        "SELECT sum(orders), sum(amount_refunded), sum(amount_charged_back) > 0, sum(amount_net) < 0 FROM sales_by_day
      WHERE day >= '{this_week}' AND currency = 'eur'"
    );
    assert_eq!(shop.one(&today), "0|500|1|1");
    // An order's own sums and the days' are the same money.
    let apart = "SELECT (SELECT sum(amount_net) FROM sales_by_day) - \
                 (SELECT sum(amount_paid - amount_refunded - amount_charged_back) \
                 FROM order_totals)";
    assert_eq!(shop.one(apart), "0");
}

#[test]
fn a_debit_that_settles_after_six_days_is_paid_then_and_not_overdue() {
    let shop = shop();
    let session = buy(&shop, "unpaid", 6).session;
    hear(&shop, "settle", json!({"session": session, "outcome": "succeeded"}));
    assert_eq!(shop.one("SELECT financial_status FROM order_overview"), "paid");
    assert_eq!(
        shop.one("SELECT paid_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hours') FROM orders"),
        "1"
    );
    assert_eq!(
        shop.one("SELECT day = date('now') OR day = date('now', '-1 hours') FROM sales_by_day"),
        "1"
    );
    assert_eq!(reasons(&shop), [""; 0]);
}

#[test]
fn an_order_that_was_held_for_a_week_is_not_overdue_the_second_it_is_released() {
    let shop = shop();
    buy(&shop, "card", 8);
    assert_eq!(reasons(&shop), ["unsent 1"]);
    shop.shell("INSERT INTO hold VALUES(1, 'asks for blue'); INSERT INTO release VALUES(1)")
        .unwrap();
    assert_eq!(reasons(&shop), [""; 0]);
}

#[test]
fn money_that_is_only_held_is_captured_in_time_or_pointed_out() {
    let shop = shop();
    let session = buy(&shop, "authorized", 0).session;
    let found = "SELECT financial_status, blocked_by, (SELECT count(*) FROM to_ship), \
                 (SELECT count(*) FROM to_capture) FROM order_overview WHERE id = ";
    assert_eq!(shop.one(&format!("{found}1")), "authorized|unpaid|0|1");
    assert_eq!(
        shop.one(
            "SELECT capture_before > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+6 days') FROM orders"
        ),
        "1"
    );
    assert_eq!((reasons(&shop), shop.rows("SELECT * FROM sales_by_day")), (vec![], vec![]));
    let refused = shop.shell("INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)").unwrap_err();
    assert!(refused.contains("not paid"), "{refused}");
    // Made six days ago: the hold ends tomorrow.
    let late = buy(&shop, "authorized", 6).session;
    assert_eq!(reasons(&shop), ["capture_due 2"]);
    shop.shell("INSERT INTO cancel VALUES(2, 'customer')").unwrap();
    assert_eq!(reasons(&shop), ["canceled_not_refunded 2"], "the buyer's money is still held");
    hear(&shop, "lapse", json!({"session": late}));
    assert_eq!(
        shop.one("SELECT financial_status, payment_status FROM order_overview v JOIN orders o USING(id) WHERE id = 2"),
        "voided|failed"
    );
    assert_eq!(reasons(&shop), [""; 0]);
    buy(&shop, "authorization-lapsed", 0);
    buy(&shop, "authorized", 8);
    assert_eq!(reasons(&shop), ["authorization_ended 3", "authorization_ended 4"]);

    // Half of it is captured: Stripe lists the other half as a refund, which gave nothing back.
    let total: i64 = shop.one("SELECT amount_total FROM orders WHERE id = 1").parse().unwrap();
    hear(&shop, "capture", json!({"session": session, "amount": total / 2}));
    let taken = format!("paid||{}|0|{total}", total / 2);
    assert_eq!(
        shop.one(
            "SELECT financial_status, blocked_by, amount_paid, amount_refunded, \
                         amount_total FROM order_overview WHERE id = 1"
        ),
        taken
    );
    assert_eq!(
        shop.one("SELECT orders, amount_total, amount_refunded, amount_net FROM sales_by_day"),
        format!("1|{0}|0|{0}", total / 2)
    );
    assert_eq!(shop.one("SELECT count(*) FROM to_ship WHERE order_id = 1"), "1");
    assert_eq!(
        shop.one(
            "SELECT count(*) FROM refunds, (SELECT count(*) AS told FROM outbox \
                         WHERE topic = 'order.refunded') WHERE told = 0"
        ),
        "1"
    );
    hear(&shop, "refund", json!({"session": session, "amount": total / 2}));
    assert_eq!(
        shop.one("SELECT financial_status, blocked_by FROM order_overview WHERE id = 1"),
        "refunded|refunded"
    );
    shop.check();
}

#[test]
fn a_capture_is_seen_without_ticking_anything_at_the_endpoint() {
    let mut shop = Shop::open_with(&[("FULFILLD_BACKFILL_EVERY", "1")], &["--webhook", "none"]);
    let sessions: Vec<String> = (0..3)
        .map(|_| {
            let made = shop.control(
                "POST",
                "/_sandbox/trigger",
                json!({"scenario": "authorized", "deliver": false}),
            );
            let purchase = Purchase::of(&made["purchases"][0]);
            let completed =
                purchase.events.iter().find(|(_, kind)| kind == "checkout.session.completed");
            assert_eq!(shop.deliver(&completed.expect("it is told").0), 200);
            shop.settle();
            purchase.session
        })
        .collect();
    assert_eq!(shop.rows("SELECT financial_status FROM order_overview"), ["authorized"; 3]);
    act(&shop, "capture", json!({"session": sessions[0]}));
    act(&shop, "capture", json!({"session": sessions[1], "amount": 500}));
    act(&shop, "lapse", json!({"session": sessions[2]}));
    let all = ["paid|0", "paid|1", "voided|0"];
    let found = "SELECT financial_status, amount_paid = 500 FROM order_overview ORDER BY id";
    wait_for("all three are seen", || (shop.rows(found) == all).then_some(()));
    assert_eq!(
        shop.rows("SELECT name FROM alarms"),
        [""; 0],
        "what the endpoint need not send is not missed"
    );
    shop.stop();
}

#[test]
fn what_the_buyer_wrote_and_who_it_goes_to_stand_where_it_is_packed() {
    let shop = shop();
    buy(&shop, "card", 0);
    buy(&shop, "card", 0);
    let engraved = shop
        .one("SELECT custom_fields, caution, phone <> '', email FROM to_ship WHERE order_id = 1");
    assert_eq!(
        engraved,
        "Engraving: Pour Mamie; Wrapping: in a gift box|Engraving: Pour Mamie; Wrapping: in a gift \
         box|1|marie.dubois@example.com"
    );
    let company = shop.one("SELECT business_name, ship_to FROM to_ship WHERE order_id = 2");
    assert!(
        company.starts_with(
            "Weber & Söhne GmbH|Jonas Weber, Weber & Söhne GmbH, Kastanienallee 7, 10435 Berlin"
        ),
        "{company}"
    );
    let books = export(&shop, &[]);
    for text in [
        "Engraving: Pour Mamie; Wrapping: in a gift box",
        "Weber & Söhne GmbH",
        "marie.dubois@example.com",
        "'+33612345678",
    ] {
        assert!(books.contains(text), "{text}: {books}");
    }
    let shown =
        fulfilld().args(["orders", "show", "2", "--db"]).arg(shop.file()).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&shown).contains("Weber & Söhne GmbH"));
    shop.shell("UPDATE orders SET note = 'no plastic', business_name = 'Weber KG' WHERE id = 2")
        .unwrap();
    assert_eq!(
        shop.one("SELECT caution, business_name FROM to_ship WHERE order_id = 2"),
        "note: no plastic|Weber KG"
    );
}

#[test]
fn what_the_buyer_fetches_is_packed_and_wants_no_address() {
    let shop = shop();
    buy(&shop, "pick-up", 0);
    assert_eq!(
        shop.one("SELECT requires_shipping, (SELECT shipping_option FROM to_ship) FROM line_items"),
        "1|Standard"
    );
    assert_eq!(reasons(&shop), [""; 0]);
}

#[test]
fn a_free_trial_is_not_paid_and_not_sold() {
    let shop = shop();
    buy(&shop, "trial", 0);
    buy(&shop, "free", 0);
    assert_eq!(
        shop.rows("SELECT financial_status FROM order_overview ORDER BY id"),
        ["pending", "paid"]
    );
    assert_eq!(shop.one("SELECT sum(orders) FROM sales_by_day"), "1");
}

#[test]
fn a_price_in_another_currency_is_not_shown_as_this_one() {
    let shop = shop();
    buy(&shop, "priced-abroad", 0);
    for row in
        shop.rows("SELECT unit_amount * quantity = amount_subtotal, currency FROM line_items")
    {
        assert_eq!(row, "1|eur");
    }
}

#[test]
fn one_basket_that_was_paid_twice_is_pointed_out() {
    let shop = shop();
    // The same basket, and another that only came through the same advertisement.
    let bought: Vec<_> = (0..3).map(|_| buy(&shop, "card", 0)).collect();
    assert_eq!((bought.len(), reasons(&shop)), (3, vec![]));
    shop.shell(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'stripe:evt_1';
         UPDATE orders SET client_reference_id = 'cart-17' WHERE id < 3;
         UPDATE actor SET name = 'operator'; COMMIT;",
    )
    .unwrap();
    assert_eq!(reasons(&shop), ["paid_twice 2"]);
    let session = shop.one("SELECT checkout_session_id FROM orders WHERE id = 1");
    hear(&shop, "refund", json!({"session": session}));
    assert_eq!(reasons(&shop), ["refunded_not_canceled 1"], "one of them is refunded");
}

#[test]
fn what_happens_to_a_subscription_s_later_payment_is_shown_with_its_order_and_does_not_change_it() {
    let shop = shop();
    let session = buy(&shop, "subscription", 0).session;
    let renewal = act(&shop, "renew", json!({"session": session})).session;
    hear(&shop, "fraud_warning", json!({"session": renewal}));
    hear(&shop, "dispute", json!({"session": renewal}));
    hear(
        &shop,
        "refund",
        json!({"session": act(&shop, "renew", json!({"session": session})).session, "status": "failed"}),
    );
    hear(&shop, "review", json!({"session": renewal}));
    // The dispute settles the warning.
    assert_eq!(reasons(&shop), ["dispute_due 1", "in_review 1", "refund_failed 1"]);
    let subscription = shop.one("SELECT subscription_id FROM orders");
    let named = format!(
        "SELECT count(*) FROM attention WHERE what LIKE '%a later payment of {subscription}%'"
    );
    assert_eq!(shop.one(&named), "3");
    assert_eq!(shop.one("SELECT financial_status, blocked_by FROM order_overview"), "paid|");
    assert_eq!(shop.rows("SELECT amount_refunded, amount_charged_back FROM sales_by_day"), ["0|0"]);

    // Where the order is not here, it is still shown.
    let made = shop.control(
        "POST",
        "/_sandbox/trigger",
        json!({"scenario": "subscription", "deliver": false}),
    );
    let unheard = Purchase::of(&made["purchases"][0]).session;
    hear(
        &shop,
        "dispute",
        json!({"session": act(&shop, "renew", json!({"session": unheard})).session}),
    );
    assert_eq!(
        shop.one(
            "SELECT count(*) FROM attention WHERE reason = 'dispute_due' AND order_id IS NULL"
        ),
        "1"
    );
}

#[test]
fn a_refund_on_its_way_and_an_inquiry_are_named_as_what_they_are() {
    let shop = shop();
    buy(&shop, "refund-pending", 0);
    buy(&shop, "dispute-warning", 0);
    let told = shop.rows("SELECT reason, what FROM attention ORDER BY order_id");
    assert!(
        told[0].starts_with("refunded_not_canceled|") && told[0].contains("on its way"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("dispute_due|the buyer's bank inquires about the payment")
            && told[1].contains("answer or refund it by 20"),
        "{told:?}"
    );
}

/// Sends the event that Stripe sends when some of what is held was captured.
fn ring_about_payment(shop: &Shop, event: &str, payment: &str) {
    let event = json!({"id": event, "object": "event", "livemode": false,
        "type": "payment_intent.amount_capturable_updated",
        "data": {"object": {"id": payment, "object": "payment_intent"}}});
    assert_eq!(shop.post(event.to_string().as_bytes()).unwrap().0, 200);
    shop.settle();
}

#[test]
fn what_is_captured_parcel_by_parcel_is_paid_packed_and_booked_as_it_is_taken() {
    let shop = shop();
    buy(&shop, "authorized", 0);
    let payment = shop.one("SELECT payment_intent_id FROM orders");
    let total: i64 = shop.one("SELECT amount_total FROM orders").parse().unwrap();
    let captured = |event: &str, amount: i64, status: &str| {
        let with = json!({"status": status, "amount_received": amount,
            "amount_capturable": if status == "succeeded" { 0 } else { total - amount }});
        shop.control("POST", "/_sandbox/say", json!({"id": payment, "with": with}));
        ring_about_payment(&shop, event, &payment);
    };
    let order = "SELECT financial_status, amount_paid, (SELECT money FROM order_cautions), \
         (SELECT amount_capturable FROM to_capture) \
         FROM order_overview v JOIN to_ship t ON t.order_id = v.id";
    let money = |amount: i64| format!("{}.{:02}", amount / 100, amount % 100);
    let caution = |amount: i64| format!("{} of {} EUR captured", money(amount), money(total));
    captured("evt_part_1", 500, "requires_capture");
    assert_eq!(shop.one(order), format!("paid|500|{}|{}", caution(500), total - 500));
    let books =
        "SELECT what, amount_total, amount_shipping > 0 FROM bookings ORDER BY at, what DESC";
    let postage = shop.one("SELECT amount_shipping > 0 FROM orders");
    assert_eq!(shop.rows(books), [format!("sale|500|{postage}")]);
    let sale = export(&shop, &[]);
    captured("evt_part_2", 800, "requires_capture");
    assert_eq!(shop.one(order), format!("paid|800|{}|{}", caution(800), total - 800));
    assert_eq!(shop.rows(books), [format!("sale|500|{postage}"), "capture|300|0".into()]);
    assert!(export(&shop, &[]).starts_with(&sale), "what was exported stays as it is");
    // The last capture lets go of the rest, which Stripe lists as a refund made then.
    let session = shop.one("SELECT checkout_session_id FROM orders");
    act(&shop, "capture", json!({"session": session, "amount": 900, "ago_s": -60}))
        .events
        .iter()
        .filter(|(_, kind)| kind == "charge.refunded")
        .for_each(|(event, _)| assert_eq!(shop.deliver(event), 200));
    captured("evt_part_3", 900, "succeeded");
    assert_eq!(shop.one(order), format!("paid|900|{}|", caution(900)));
    let released = "SELECT amount, created_at > (SELECT paid_at FROM orders) FROM refunds";
    assert_eq!(shop.one(released), format!("{}|1", total - 900));
    assert_eq!(
        shop.one("SELECT sum(orders), sum(amount_refunded), sum(amount_net) FROM sales_by_day"),
        "1|0|900"
    );
    let page = fulfilld().args(["orders", "1", "--db"]).arg(shop.file()).output().expect("it runs");
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(page.contains("hold released"), "{page}");
    hear(&shop, "refund", json!({"session": session, "amount": 300}));
    assert_eq!(
        shop.one("SELECT financial_status, amount_refunded FROM order_overview"),
        "partially_refunded|300"
    );
    shop.check();
}

#[test]
fn a_dispute_that_leaves_no_goods_paid_for_holds_the_order_and_is_counted_to_the_cent() {
    let shop = shop();
    let dispute = |session: &str, amount: i64| {
        let order = json!({"session": session, "amount": amount, "deliver": false});
        let made = shop.control("POST", "/_sandbox/dispute", order);
        ring(&shop, Purchase::of(&made));
        made["id"].as_str().expect("an id").to_string()
    };
    let become_ = |id: &str, status: &str| {
        let order = json!({"status": status, "deliver": false});
        let made = shop.control("POST", &format!("/_sandbox/disputes/{id}"), order);
        ring(&shop, Purchase::of(&made));
    };
    let seen = |order: i64| {
        shop.one(&format!(
            "SELECT financial_status, coalesce(blocked_by, '-'), amount_charged_back FROM order_overview
             WHERE id = {order}"
        ))
    };
    // The bank converts: it takes three hundredths less than was paid.
    let nearly = buy(&shop, "card", 0).session;
    let total: i64 = shop.one("SELECT amount_total FROM orders WHERE id = 1").parse().unwrap();
    let amount = total - total * 3 / 100;
    let id = dispute(&nearly, amount);
    assert_eq!(seen(1), "paid|disputed|0");
    become_(&id, "lost");
    assert_eq!(seen(1), format!("partially_charged_back|dispute lost|{amount}"));
    assert!(reasons(&shop).contains(&"dispute_lost 1".into()), "{:?}", reasons(&shop));
    // It is won in part: what stays away is gone.
    let part = buy(&shop, "card", 0).session;
    let total: i64 = shop.one("SELECT amount_total FROM orders WHERE id = 2").parse().unwrap();
    let id = dispute(&part, total);
    assert_eq!(seen(2), "paid|disputed|0");
    let at = shop.one("SELECT strftime('%s', 'now')").parse::<i64>().unwrap();
    let moved = |amount: i64| {
        json!({"object": "balance_transaction", "amount": amount,
            "currency": "eur", "created": at})
    };
    let moves = json!({"balance_transactions": [moved(-total), moved(total / 2)]});
    shop.control("POST", "/_sandbox/say", json!({"id": id, "with": moves}));
    become_(&id, "won");
    let gone = total - total / 2;
    assert_eq!(seen(2), format!("partially_charged_back|-|{gone}"));
    assert_eq!(reasons(&shop), ["dispute_lost 1", "partly_refunded 2"]);
    assert_eq!(
        shop.one("SELECT sum(amount_charged_back) FROM bookings WHERE order_id = 2"),
        gone.to_string()
    );
    // The bank takes several payments at once: more than this one was.
    let bundle = buy(&shop, "card", 0).session;
    let total: i64 = shop.one("SELECT amount_total FROM orders WHERE id = 3").parse().unwrap();
    let id = dispute(&bundle, total);
    let all = json!({"amount": 3 * total, "balance_transactions": [moved(-3 * total)]});
    shop.control("POST", "/_sandbox/say", json!({"id": id, "with": all}));
    become_(&id, "lost");
    assert_eq!(seen(3), format!("charged_back|dispute lost|{}", 3 * total));
    assert_eq!(
        shop.one("SELECT sum(amount_total - amount_charged_back) FROM bookings WHERE order_id = 3"),
        (-2 * total).to_string()
    );
    shop.check();
}

#[test]
fn what_followed_a_payment_stands_on_the_page_of_its_order() {
    let shop = shop();
    buy(&shop, "adaptive-refunded", 0);
    let session = buy(&shop, "disputed", 0).session;
    hear(&shop, "fraud_warning", json!({"session": session}));
    let run = |args: &[&str]| {
        let done = fulfilld().args(args).arg("--db").arg(shop.file()).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    };
    let page = run(&["orders", "1"]);
    let refund = shop.one("SELECT id FROM refunds");
    let line = page.lines().find(|line| line.contains(&refund) && line.contains("EUR"));
    assert!(
        line.is_some_and(|line| line.contains("refund") && line.contains("succeeded")),
        "{page}"
    );
    let shown = shop.one(
        "SELECT (presentment_amount / 100) || '.' || substr('0' || \
         (presentment_amount % 100), -2) || ' USD' FROM orders WHERE id = 1",
    );
    assert!(page.contains(&shown), "{page}");
    let page = run(&["orders", "2"]);
    assert!(page.contains("needs_response") && page.contains("fraud warning"), "{page}");
    let whole: Value =
        serde_json::from_str(&run(&["orders", "show", "2", "--json"])).expect("JSON");
    let count = |of: &str| whole[of].as_array().map(Vec::len);
    assert_eq!(
        ["refunds", "disputes", "reviews", "fraud_warnings"].map(count),
        [Some(0), Some(1), Some(0), Some(1)]
    );
    assert_eq!(whole["disputes"][0]["status"], "needs_response");
}
