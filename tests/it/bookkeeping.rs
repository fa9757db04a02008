//! What the bookkeeper and the packer find in the file in situations that shops have reported.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::arrivals::SCENARIOS;
use crate::lives::LIVES;
use crate::money::{buy, deliver, export, hear, reasons, ring, shop};
use crate::shop::{Purchase, Shop, fulfilld, request};

/// Net money in minor units, by payment and currency.
type Report = BTreeMap<(String, String), i64>;

/// A list of the simulated Stripe's, all of it.
fn list(shop: &Shop, what: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map(|last| format!("&starting_after={}", text(&last["id"])));
        let path = format!("/v1/{what}?limit=100{}", after.unwrap_or_default());
        let key = ("Authorization", "Bearer rk_test_of_the_shop");
        let (status, page) =
            request(&shop.stripe.url, "GET", &path, &[key], b"").expect("Stripe answers");
        assert_eq!(status, 200, "{path}: {page}");
        let page: Value = serde_json::from_str(&page).expect("JSON");
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        if page["has_more"] != true {
            return all;
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What Stripe's own lists say that came and went: received, refunded, and taken by disputes.
fn of_stripe(shop: &Shop) -> Report {
    let mut report = Report::new();
    let mut add = |payment: &Value, currency: &Value, amount: i64| {
        *report.entry((text(payment).into(), text(currency).into())).or_default() += amount;
    };
    for payment in list(shop, "payment_intents") {
        add(&payment["id"], &payment["currency"], payment["amount_received"].as_i64().unwrap_or(0));
    }
    for refund in list(shop, "refunds") {
        let moved = !matches!(text(&refund["status"]), "failed" | "canceled");
        if moved && refund["balance_transaction"].is_string() {
            add(
                &refund["payment_intent"],
                &refund["currency"],
                -refund["amount"].as_i64().unwrap(),
            );
        }
    }
    for dispute in list(shop, "disputes") {
        for moved in dispute["balance_transactions"].as_array().into_iter().flatten() {
            let amount = moved["amount"].as_i64().expect("an amount");
            add(&dispute["payment_intent"], &moved["currency"], amount);
        }
    }
    report.retain(|_, net| *net != 0);
    report
}

/// `export`, `sales_by_day` and Stripe's lists say the same: by payment, and by day and currency.
fn the_books_agree(shop: &Shop) {
    let lines = export(shop, &["--format", "jsonl"]);
    let (mut by_payment, mut by_day) = (Report::new(), BTreeMap::<String, i64>::new());
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let order = format!("SELECT payment_intent_id FROM orders WHERE id = {}", row["order"]);
        let net = row["amount_net"].as_i64().expect("a net");
        let parts = ["amount_total", "amount_refunded", "amount_charged_back"]
            .map(|part| row[part].as_i64().expect("an amount"));
        assert_eq!(parts[0] - parts[1] - parts[2], net, "{line}");
        // What a customer's credit paid was sold, and did not come in.
        let came = net - row["amount_credited"].as_i64().expect("a credit");
        *by_payment.entry((shop.one(&order), text(&row["currency"]).into())).or_default() += came;
        let day = format!("{}|{}", text(&row["day"]), text(&row["currency"]));
        *by_day.entry(day).or_default() += net;
    }
    by_payment.retain(|_, net| *net != 0);
    assert_eq!(by_payment, of_stripe(shop));
    let days = shop.rows("SELECT day, currency, amount_net FROM sales_by_day");
    let of_export: Vec<String> = by_day.iter().map(|(day, net)| format!("{day}|{net}")).collect();
    assert_eq!(days, of_export);
}

/// What Stripe's own lists say of a payment: what came, what of it went back or is claimed, and
/// whether a review holds it.
#[derive(Default)]
struct Claims {
    received: i64,
    claimed: i64,
    in_review: bool,
}

fn claims(shop: &Shop) -> BTreeMap<String, Claims> {
    let mut all = BTreeMap::<String, Claims>::new();
    let amount = |value: &Value| value.as_i64().unwrap_or(0);
    for payment in list(shop, "payment_intents") {
        all.entry(text(&payment["id"]).into()).or_default().received =
            amount(&payment["amount_received"]);
    }
    for refund in list(shop, "refunds") {
        let is_void = matches!(text(&refund["status"]), "failed" | "canceled");
        if !is_void && refund["balance_transaction"].is_string() {
            let payment = all.entry(text(&refund["payment_intent"]).into()).or_default();
            payment.claimed += amount(&refund["amount"]);
        }
    }
    for dispute in list(shop, "disputes") {
        let payment = all.entry(text(&dispute["payment_intent"]).into()).or_default();
        let moves = dispute["balance_transactions"].as_array().into_iter().flatten();
        let taken: i64 = moves.map(|moved| -amount(&moved["amount"])).sum();
        payment.claimed += match text(&dispute["status"]) {
            "won" | "lost" | "warning_closed" | "prevented" => taken,
            _ => amount(&dispute["amount"]),
        };
    }
    for review in list(shop, "reviews") {
        let is_over = matches!(text(&review["closed_reason"]), "approved" | "acknowledged");
        if !is_over {
            all.entry(text(&review["payment_intent"]).into()).or_default().in_review = true;
        }
    }
    all
}

/// What waits to be packed is what Stripe's lists say is paid for, and each parcel has its slip.
fn the_packing_table_agrees(shop: &Shop) {
    let paid = |session: &Value| {
        matches!(text(&session["payment_status"]), "paid" | "no_payment_required")
    };
    let sold: Vec<String> = list(shop, "checkout/sessions")
        .iter()
        .filter(|session| paid(session))
        .map(|session| text(&session["id"]).to_string())
        .collect();
    let claims = claims(shop);
    let parcels =
        "SELECT o.checkout_session_id, coalesce(o.payment_intent_id, ''), o.amount_shipping,
          coalesce(t.parcel, ''), t.caution <> ''
        FROM fulfillments f JOIN orders o ON o.id = f.order_id
          LEFT JOIN to_ship t ON t.fulfillment_id = f.id
        WHERE f.status = 'pending' AND f.requires_shipping = 1";
    let slips = fulfilld().args(["slips", "--to-ship", "--db"]).arg(shop.file()).output();
    let slips = String::from_utf8(slips.expect("it runs").stdout).expect("text");
    let (mut waiting, mut held) = (0, 0);
    for row in shop.rows(parcels) {
        let [session, payment, postage, parcel, caution] = row.split('|').collect::<Vec<_>>()[..]
        else {
            panic!("{row}")
        };
        let unpaid = Claims::default();
        let of = claims.get(payment).unwrap_or(&unpaid);
        let left = of.received - of.claimed;
        if parcel.is_empty() {
            held += 1;
            // Nothing is left that would pay for goods.
            let postage: i64 = postage.parse().unwrap();
            assert!(of.in_review || left <= postage.max(of.received / 20), "is held: {row}");
            continue;
        }
        waiting += 1;
        assert!(sold.iter().any(|sold| sold == session), "is not paid: {row}");
        assert!(!of.in_review, "is in review: {row}");
        assert!(left > 0 || payment.is_empty(), "its money is gone: {row}");
        assert!(of.claimed == 0 || caution == "1", "whoever packs is not told: {row}");
        assert!(slips.contains(&format!(">{parcel}<")), "it has no slip: {row}");
    }
    assert!(waiting > 20 && held > 10, "{waiting} {held}");
    assert_eq!(shop.one("SELECT count(*) FROM to_ship"), waiting.to_string());
}

/// What is played besides the purchases and the lives that other tests play in every order.
const BESIDES: &[&str] = &[
    "unpaid",
    "bank-transfer",
    "canceled",
    "authorized",
    "captured",
    "captured-in-part",
    "authorization-lapsed",
    "trial",
    "credit",
    "credit-in-part",
    "pick-up",
    "priced-abroad",
    "dispute-settled",
    "disputed-in-part",
    "adaptive-refunded",
];

#[test]
fn whatever_happens_the_books_say_what_moved_on_the_balance_at_stripe() {
    let shop = shop();
    // They are processed together: no situation knows of another.
    let all = SCENARIOS.iter().chain(LIVES).chain(BESIDES);
    // Stripe contradicts itself in one of them, so the books cannot say both.
    for (n, scenario) in all.filter(|scenario| **scenario != "sums-differ").enumerate() {
        deliver(&shop, scenario, n as i64 % 5);
    }
    shop.settle();
    the_books_agree(&shop);
    the_packing_table_agrees(&shop);
    // The orders' own sums are the same money, but for refunds that are on their way.
    let apart = "SELECT (SELECT sum(amount_net) FROM sales_by_day) - (
        SELECT sum(amount_paid - amount_refunded - refund_pending - amount_charged_back)
        FROM order_totals) - (SELECT sum(b.amount_total - b.amount_charged_back) FROM bookings b
        JOIN disputes d ON d.id = b.source WHERE d.status NOT IN('lost', 'prevented', 'won'))";
    assert_eq!(shop.one(apart), "0");
    shop.check();
}

/// A dispute of the session's payment, as Stripe would show it in these words.
fn disputed(shop: &Shop, session: &str, with: Value) -> String {
    let made =
        shop.control("POST", "/_sandbox/dispute", json!({"session": session, "deliver": false}));
    let id = text(&made["id"]).to_string();
    shop.control("POST", "/_sandbox/say", json!({"id": id, "with": with}));
    ring(shop, Purchase::of(&made));
    id
}

#[test]
fn a_dispute_in_another_currency_is_never_added_to_the_order_s_money() {
    let shop = shop();
    let at = shop.one("SELECT strftime('%s', 'now')").parse::<i64>().unwrap();
    let moved = |amount: i64, currency: &str| {
        json!([{"object": "balance_transaction", "amount": amount, "currency": currency,
            "created": at}])
    };
    let order = |n: i64| {
        shop.one(&format!(
            "SELECT financial_status, blocked_by, amount_disputed, amount_charged_back
             FROM order_overview WHERE id = {n}"
        ))
    };
    let totals = |n: i64| {
        let sql = "SELECT amount_total, presentment_amount FROM orders WHERE id = ";
        let row = shop.one(&format!("{sql}{n}"));
        let (total, shown) = row.split_once('|').expect("two");
        (total.parse::<i64>().unwrap(), shown.parse::<i64>().unwrap())
    };
    let lose = |id: &str| hear(&shop, &format!("disputes/{id}"), json!({"status": "lost"}));

    // The buyer paid in dollars, and Stripe took the money from the shop's euros: those are the
    // order's.
    let session = buy(&shop, "adaptive", 0).session;
    let (total, shown) = totals(1);
    let with = json!({"amount": shown, "currency": "usd",
        "balance_transactions": moved(-total, "eur")});
    let settled = disputed(&shop, &session, with);
    assert_eq!(order(1), format!("paid|disputed|{total}|0"));
    lose(&settled);
    assert_eq!(order(1), format!("charged_back|dispute lost|0|{total}"));
    assert_eq!(reasons(&shop), ["dispute_lost 1"]);
    the_books_agree(&shop);

    // The shop is paid out in dollars: what went is in no sum of the order's, and is pointed out.
    let session = buy(&shop, "adaptive", 0).session;
    let (total, shown) = totals(2);
    let third = shown / 3;
    let with = json!({"amount": third, "currency": "usd",
        "balance_transactions": moved(-third, "usd")});
    let apart = disputed(&shop, &session, with);
    assert_eq!(order(2), "paid|disputed|0|0");
    let dollars = |amount: i64| format!("{}.{:02} USD", amount / 100, amount % 100);
    let caution = shop.one("SELECT money FROM order_cautions WHERE order_id = 2");
    assert_eq!(caution, format!("{} dispute needs_response", dollars(third)));
    lose(&apart);
    assert_eq!(order(2), "charged_back|dispute lost|0|0");
    assert_eq!(reasons(&shop), ["dispute_lost 1", "dispute_lost 2", "other_currency 2"]);
    let told = shop.one("SELECT what FROM attention WHERE reason = 'other_currency'");
    assert!(told.contains(&dollars(third)) && told.contains("EUR"), "{told}");
    the_books_agree(&shop);
    let sums = "SELECT currency, amount_charged_back FROM sales_by_day
        WHERE currency = 'usd' AND amount_charged_back <> 0";
    assert_eq!(shop.rows(sums), [format!("usd|{third}")]);
    shop.shell("INSERT INTO dismiss VALUES(2, 'other_currency')").unwrap();
    assert_eq!(reasons(&shop), ["dispute_lost 1", "dispute_lost 2"]);

    // Nobody knows how much of the order a claim in a third currency is: nothing goes out.
    let session = buy(&shop, "adaptive", 0).session;
    let with = json!({"amount": total / 4, "currency": "gbp", "balance_transactions": []});
    let foreign = disputed(&shop, &session, with);
    assert_eq!(order(3), "paid|disputed|0|0");
    assert!(reasons(&shop).contains(&"other_currency 3".to_string()), "{:?}", reasons(&shop));
    hear(&shop, &format!("disputes/{foreign}"), json!({"status": "won"}));
    assert_eq!(order(3), "paid||0|0");
    assert!(!reasons(&shop).contains(&"other_currency 3".to_string()), "{:?}", reasons(&shop));
    the_books_agree(&shop);
    shop.check();
}

#[test]
fn a_bank_transfer_that_does_not_come_is_pointed_out_with_what_is_missing() {
    let shop = shop();
    let session = buy(&shop, "bank-transfer", 8).session;
    buy(&shop, "bank-transfer", 5);
    buy(&shop, "unpaid", 8);
    let debit = buy(&shop, "unpaid", 15).session;
    assert_eq!(reasons(&shop), ["payment_overdue 1", "payment_overdue 4"]);
    let row = shop.one("SELECT amount_total, amount_awaited FROM orders WHERE id = 1");
    let (total, awaited) = row.split_once('|').expect("two");
    let (total, awaited) = (total.parse::<i64>().unwrap(), awaited.parse::<i64>().unwrap());
    assert_eq!(awaited, total - total / 2);
    let money = |amount: i64| format!("{}.{:02}", amount / 100, amount % 100);
    let told = shop.one("SELECT what FROM attention WHERE order_id = 1");
    assert!(told.contains(&format!("{} of {} EUR", money(awaited), money(total))), "{told}");
    assert_eq!(shop.rows("SELECT order_id FROM to_ship"), [""; 0]);
    let page = fulfilld().args(["orders", "1", "--db"]).arg(shop.file()).output().expect("it runs");
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(page.contains(&format!("{} EUR", money(awaited))), "{page}");
    // Some more of it comes.
    let payment = shop.one("SELECT payment_intent_id FROM orders WHERE id = 1");
    let rest = json!({"next_action": {"display_bank_transfer_instructions":
        {"amount_remaining": 100}}});
    shop.control("POST", "/_sandbox/say", json!({"id": payment, "with": rest}));
    let event = json!({"id": "evt_funded", "object": "event", "livemode": false,
        "type": "payment_intent.partially_funded",
        "data": {"object": {"id": payment, "object": "payment_intent"}}});
    assert_eq!(shop.post(event.to_string().as_bytes()).unwrap().0, 200);
    shop.settle();
    assert_eq!(shop.one("SELECT amount_awaited FROM orders WHERE id = 1"), "100");
    shop.control("POST", "/_sandbox/say", json!({"id": payment, "with": {"next_action": null}}));
    hear(&shop, "settle", json!({"session": session, "outcome": "succeeded"}));
    hear(&shop, "settle", json!({"session": debit, "outcome": "failed"}));
    assert_eq!(reasons(&shop), [""; 0]);
    let order = "SELECT financial_status, amount_awaited FROM orders JOIN order_overview USING(id)";
    assert_eq!(shop.rows(&format!("{order} WHERE id IN(1, 4) ORDER BY id")), ["paid|", "voided|"]);
    assert_eq!(shop.rows("SELECT order_id FROM to_ship"), ["1"]);
    // It is canceled, and the money still comes.
    let late = shop.one("SELECT checkout_session_id FROM orders WHERE id = 2");
    shop.shell("INSERT INTO cancel VALUES(2, 'customer')").unwrap();
    hear(&shop, "settle", json!({"session": late, "outcome": "succeeded"}));
    assert_eq!(reasons(&shop), ["canceled_not_refunded 2"]);
    the_books_agree(&shop);
    shop.check();
}

#[test]
fn whoever_was_notified_of_a_refund_is_notified_when_it_fails() {
    let shop = shop();
    let session = buy(&shop, "card", 0).session;
    hear(&shop, "refund", json!({"session": session, "amount": 500}));
    let refund = shop.one("SELECT id FROM refunds");
    hear(&shop, &format!("refunds/{refund}"), json!({"status": "failed"}));
    let topics = "SELECT topic FROM outbox WHERE topic GLOB 'order.ref*' ORDER BY id";
    assert_eq!(shop.rows(topics), ["order.refunded", "order.refund_failed"]);
    // It failed before the order was known.
    let made = shop.control(
        "POST",
        "/_sandbox/trigger",
        json!({"scenario": "refund-fails", "deliver": false}),
    );
    let purchase = Purchase::of(&made["purchases"][0]);
    for (id, _) in purchase.events.iter().rev() {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    let topics = "SELECT topic FROM outbox WHERE topic GLOB 'order.ref*' AND order_id = 2";
    assert_eq!(shop.rows(topics), ["order.refund_failed"]);
    assert_eq!(reasons(&shop), ["refund_failed 1", "refund_failed 2"]);
}

/// Around midnights and hours that come twice, or never, in the zones below; and a leap day.
const MOMENTS: &[&str] = &[
    "2026-03-08T04:59:59Z",
    "2026-03-08T05:00:00Z",
    "2026-03-09T03:59:59Z",
    "2026-03-09T04:00:00Z",
    "2026-11-01T03:59:59Z",
    "2026-11-01T05:30:00Z",
    "2026-11-01T06:30:00Z",
    "2026-11-02T04:59:59Z",
    "2026-10-24T22:00:00Z",
    "2026-10-25T22:59:59Z",
    "2026-10-25T23:00:00Z",
    "2026-04-04T14:59:59Z",
    "2026-04-04T15:15:00Z",
    "2026-04-05T13:29:59Z",
    "2026-04-05T13:30:00Z",
    "2028-02-28T23:59:59Z",
    "2028-02-29T00:00:00Z",
    "2028-02-29T23:59:59Z",
    "2028-02-29T10:00:00Z",
    "2027-12-31T10:00:00Z",
];

#[test]
fn each_booking_is_on_one_day_wherever_the_shop_lives() {
    let shop = shop();
    buy(&shop, "card", 0);
    let copies: String = MOMENTS
        .iter()
        .enumerate()
        .map(|(n, at)| {
            format!(
                "INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status,
                   currency, amount_total, created_at, paid_at, as_of)
                 VALUES({n} + 2, 'cs_{n}', 0, 'payment', 'paid', 'eur', 100, '{at}', '{at}', '{at}');"
            )
        })
        .collect();
    shop.shell(&format!(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'stripe:evt_1'; {copies}
         UPDATE actor SET name = 'operator'; COMMIT;"
    ))
    .unwrap();
    let whole = MOMENTS.len() + 1;
    for zone in
        ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Kiritimati"]
    {
        let all = export(&shop, &["--tz", zone]);
        let mut days = BTreeMap::<&str, Vec<&str>>::new();
        for row in all.lines().skip(1) {
            days.entry(row.split(',').next().unwrap_or_default()).or_default().push(row);
        }
        assert_eq!(days.values().map(Vec::len).sum::<usize>(), whole, "{zone}");
        for (day, rows) in &days {
            let of_day = export(&shop, &["--tz", zone, "--since", day, "--until", day]);
            assert_eq!(of_day.lines().skip(1).collect::<Vec<_>>(), *rows, "{zone} {day}");
        }
        if zone == "America/New_York" {
            // The day on which an hour comes twice is 25 hours long.
            assert_eq!(days["2026-11-01"].len(), 3, "{all}");
        }
        if zone == "Pacific/Kiritimati" {
            assert!(days.contains_key("2028-01-01") && days.contains_key("2028-03-01"), "{all}");
        }
    }
}

/// A line as Stripe shows it: its price's `unit_amount_decimal`, its quantity, and what was taken off.
fn line(n: usize, currency: &str, unit: &str, quantity: i64, sums: [i64; 2]) -> Value {
    let [subtotal, discount] = sums;
    let price = format!("price_{currency}_{n}");
    json!({"id": format!("li_{currency}_{n}"), "object": "item", "currency": currency,
        "amount_subtotal": subtotal, "amount_discount": discount, "amount_tax": 0,
        "amount_total": subtotal - discount, "description": format!("Line {n}"),
        "quantity": quantity, "price": {"id": price, "object": "price", "currency": currency,
            "unit_amount": unit.parse::<i64>().ok(), "unit_amount_decimal": unit,
            "product": format!("prod_{n}"), "metadata": {}}})
}

#[test]
fn half_cents_credits_a_coupon_on_one_line_and_every_currency_are_booked_as_stripe_sums_them() {
    let shop = shop();
    // So many lines; and what the first of the order, and its total, read like.
    let baskets = [
        ("eur", vec![line(1, "eur", "0.5", 1001, [501, 0])], "5.01"),
        (
            "usd",
            vec![line(1, "usd", "2000", 1, [2000, 0]), line(2, "usd", "-300", 1, [-300, 0])],
            "17.00",
        ),
        (
            "gbp",
            vec![line(1, "gbp", "1000", 2, [2000, 500]), line(2, "gbp", "700", 1, [700, 0])],
            "22.00",
        ),
        ("kwd", vec![line(1, "kwd", "12345", 1, [12345, 0])], "12.345"),
        ("isk", vec![line(1, "isk", "150000", 1, [150000, 0])], "1500.00"),
        ("jpy", vec![line(1, "jpy", "1500", 1, [1500, 0])], "1500"),
        ("chf", (1..=130).map(|n| line(n, "chf", "5", 2, [10, 0])).collect(), "13.00"),
    ];
    for (n, (currency, lines, total)) in (1..).zip(&baskets) {
        let sold = shop.control(
            "POST",
            "/_sandbox/trigger",
            json!({"scenario": "card", "deliver": false}),
        );
        let sold = Purchase::of(&sold["purchases"][0]);
        let sum = |field: &str| lines.iter().map(|line| line[field].as_i64().unwrap()).sum::<i64>();
        let with = json!({"currency": currency, "amount_subtotal": sum("amount_subtotal"),
            "amount_total": sum("amount_total"), "shipping_cost": null,
            // The buyer came back to a basket that had expired.
            "recovered_from": "cs_test_expired",
            "after_expiration": {"recovery": {"enabled": true, "allow_promotion_codes": false,
                "expires_at": null, "url": null}},
            "total_details": {"amount_discount": sum("amount_discount"), "amount_shipping": 0,
                "amount_tax": 0},
            "line_items": {"object": "list", "has_more": false, "data": lines,
                "url": "/v1/checkout/sessions/x/line_items"}});
        shop.control("POST", "/_sandbox/say", json!({"id": sold.session, "with": with}));
        ring(&shop, sold);
        let order = format!(
            "SELECT (SELECT count(*) FROM line_items WHERE order_id = o.id), total
             FROM order_overview o WHERE id = {n}"
        );
        let total = format!("{total} {}", currency.to_uppercase());
        assert_eq!(shop.one(&order), format!("{}|{total}", lines.len()));
    }
    assert_eq!(reasons(&shop), [""; 0]);
    let half = "SELECT unit_amount, unit_amount_decimal, amount_total FROM line_items
        WHERE currency = 'eur'";
    assert_eq!(shop.one(half), "|0.5|501");
    let booked = export(&shop, &[]);
    for total in ["5.01", "17.00", "22.00", "12.345", "1500.00", "1500", "13.00"] {
        let cell = format!(",{total},");
        assert!(booked.contains(&cell), "{total}: {booked}");
    }
    let lines = export(&shop, &["--lines"]);
    for row in ["-3.00", "0.005", "10.00", "12.345"] {
        assert!(lines.contains(&format!(",{row},")), "{row}: {lines}");
    }
    // A refund of a payment that no order has is in no book.
    let stranger = shop.control(
        "POST",
        "/_sandbox/trigger",
        json!({"scenario": "refunded", "deliver": false}),
    );
    let stranger = Purchase::of(&stranger["purchases"][0]);
    let (refund, _) = stranger.events.iter().find(|(_, kind)| kind == "refund.created").unwrap();
    assert_eq!(shop.deliver(refund), 200);
    shop.settle();
    assert_eq!(export(&shop, &[]), booked);
    shop.check();
}

#[test]
fn a_sale_that_a_credit_balance_paid_is_booked_as_sold_and_says_what_did_not_come_in() {
    let shop = shop();
    let session = buy(&shop, "credit-in-part", 0).session;
    let numbers = |sql: &str| -> Vec<i64> {
        shop.one(sql).split('|').map(|number| number.parse().expect("a number")).collect()
    };
    let of = |n: i64| {
        numbers(&format!("SELECT amount_total, amount_credited FROM orders WHERE id = {n}"))
    };
    let [total, credit] = of(1)[..] else { panic!("two") };
    assert!(0 < credit && credit < total);
    let booked = "SELECT sum(amount_net), sum(amount_credited) FROM sales_by_day";
    assert_eq!(numbers(booked), [total, credit]);
    assert_eq!(of_stripe(&shop).values().sum::<i64>(), total - credit);
    hear(&shop, "refund", json!({"session": session}));
    let order = "SELECT financial_status, amount_refunded FROM order_overview WHERE id = 1";
    assert_eq!(shop.one(order), format!("partially_refunded|{}", total - credit));
    assert_eq!(numbers(booked), [credit, credit]);
    assert_eq!(reasons(&shop), ["partly_refunded 1"], "a person says what of it still goes out");

    // The credit pays all of it: no payment will ever be shown, and nothing waits for one.
    buy(&shop, "credit", 0);
    assert_eq!(of(2), [total, total]);
    let order = "SELECT financial_status, payment_intent_id, blocked_by FROM order_overview
        JOIN orders USING(id) WHERE id = 2";
    assert_eq!(shop.one(order), "paid||");
    assert_eq!(shop.rows("SELECT state, attempts, awaits FROM events WHERE attempts > 1"), [""; 0]);
    assert_eq!(numbers(booked), [credit + total, credit + total]);
    assert_eq!(reasons(&shop), ["partly_refunded 1"]);
    let done = crate::backfill::reconcile(&shop, &["--dry-run"]);
    assert!(done.status.success(), "{}", crate::backfill::said(&done));
    let page = fulfilld().args(["orders", "2", "--db"]).arg(shop.file()).output().expect("it runs");
    let page = String::from_utf8(page.stdout).expect("text");
    let credit = format!("{}.{:02} EUR", total / 100, total % 100);
    let shown = |line: &&str| line.starts_with("paid_by_credit") && line.contains(&credit);
    assert_eq!(page.lines().filter(shown).count(), 1, "{page}");
    the_books_agree(&shop);
    shop.check();
}
