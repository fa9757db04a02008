//! What is requested from Stripe, how often, and what an answer settles: by the sequence, never by
//! a clock.

use serde_json::{Value, json};

use crate::lives::answering;
use crate::shop::{Purchase, Shop, wait_for};

/// Requests to Stripe since the daemon's start, by its own count.
fn requested(shop: &Shop) -> u64 {
    let (_, page) = shop.get("/metrics");
    let counts = page.lines().filter(|line| line.starts_with("fulfilld_stripe_requests_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// The event of that type.
fn event<'a>(purchase: &'a Purchase, kind: &str) -> &'a str {
    &purchase
        .events
        .iter()
        .find(|(_, its)| its == kind)
        .unwrap_or_else(|| panic!("{kind}: {purchase:?}"))
        .0
}

/// Something follows a purchase; nothing of it is delivered.
fn follows(shop: &Shop, what: &str, order: Value) -> Purchase {
    let mut order = order;
    order["deliver"] = json!(false);
    order["shape"] = json!("snapshot");
    Purchase::of(&shop.control("POST", &format!("/_sandbox/{what}"), order))
}

fn fault(shop: &Shop, endpoint: &str, kind: &str, times: Value, only: Value) {
    let fault = json!({"endpoint": endpoint, "kind": kind, "times": times, "only": only});
    shop.control("POST", "/_sandbox/faults", fault);
}

fn declined(n: usize) -> String {
    json!({"id": format!("evt_{n}"), "object": "event", "type": "payment_intent.payment_failed", "livemode": false,
        "data": {"object": {"id": "pi_1"}}})
    .to_string()
}

/// A checkout that is still open; each card that is tried is declined.
fn card_testing() -> String {
    let session = json!({"id": "cs_test_1", "object": "checkout.session", "status": "open", "payment_status": "unpaid",
        "payment_intent": "pi_1", "mode": "payment"});
    let list = json!({"object": "list", "data": [session], "has_more": false});
    answering(json!({"/v1/checkout/sessions": list, "/v1/checkout/sessions/cs_test_1": session}))
}

#[test]
fn a_declined_card_in_an_open_checkout_is_ignored_at_once() {
    let shop = Shop::open_with(&[("FULFILLD_STRIPE_API", &card_testing())], &["--webhook", "none"]);
    assert_eq!(shop.post(declined(1).as_bytes()).unwrap().0, 200);
    shop.settle();
    assert_eq!(
        shop.rows("SELECT state, attempts, reason_code, state_reason FROM events"),
        ["ignored|1|checkout_open|the checkout is still open; a success has an event of its own"]
    );
    assert_eq!(requested(&shop), 1);
    // A success that is quicker than its session is no such thing: it is requested again.
    let early = declined(2).replace("payment_failed", "succeeded");
    assert_eq!(shop.post(early.as_bytes()).unwrap().0, 200);
    let waits = "SELECT 1 FROM events WHERE id = 'evt_2' AND state = 'pending' AND attempts > 1";
    wait_for("it is requested again", || shop.rows(waits).pop());
}

#[test]
fn three_hundred_declines_of_one_payment_cost_a_handful_of_requests() {
    let settings = [("FULFILLD_STRIPE_API", &*card_testing()), ("FULFILLD_ECHO_AFTER", "2")];
    let shop = Shop::open_with(&settings, &["--webhook", "none"]);
    std::thread::scope(|threads| {
        for sender in 0..6 {
            let shop = &shop;
            threads.spawn(move || {
                for n in 0..50 {
                    assert_eq!(shop.post(declined(sender * 50 + n).as_bytes()).unwrap().0, 200);
                }
            });
        }
    });
    shop.settle();
    assert_eq!(shop.rows("SELECT state, count(*) FROM events GROUP BY 1"), ["ignored|300"]);
    let requested = requested(&shop);
    assert!((1..=12).contains(&requested), "{requested} requests");
}

#[test]
fn a_clock_that_steps_back_by_half_a_minute_hides_no_payment_no_lost_dispute_and_no_failed_refund()
{
    let mut shop = Shop::open();
    shop.stop();
    shop.own_clock();
    shop.start();
    let paid = shop.buy("card", 2, "snapshot");
    paid.iter().flat_map(|p| &p.events).for_each(|(event, _)| assert_eq!(shop.deliver(event), 200));
    let [unpaid] = &shop.buy("unpaid", 1, "snapshot")[..] else { panic!("one") };
    unpaid.events.iter().for_each(|(event, _)| assert_eq!(shop.deliver(event), 200));
    let dispute = follows(&shop, "dispute", json!({"session": paid[0].session}));
    let refund = follows(
        &shop,
        "refund",
        json!({"session": paid[1].session, "amount": 500, "status": "pending"}),
    );
    for (event, _) in dispute.events.iter().chain(&refund.events) {
        assert_eq!(shop.deliver(event), 200);
    }
    shop.settle();
    // On a busy machine it may be any of the three orders.
    let now = format!(
        "SELECT (SELECT status FROM disputes), (SELECT status FROM refunds),
           (SELECT payment_status FROM orders WHERE checkout_session_id = '{}')",
        unpaid.session
    );
    assert_eq!(shop.rows(&now), ["needs_response|pending|unpaid"]);

    shop.set_clock(-30);
    let known = |of: &str| shop.one(&format!("SELECT id FROM {of}"));
    let lost =
        follows(&shop, &format!("disputes/{}", known("disputes")), json!({"status": "lost"}));
    let failed =
        follows(&shop, &format!("refunds/{}", known("refunds")), json!({"status": "failed"}));
    let settled =
        follows(&shop, "settle", json!({"session": unpaid.session, "outcome": "succeeded"}));
    // One each, so that none is saved by another.
    for (told, kind) in [
        (&lost, "charge.dispute.closed"),
        (&failed, "refund.failed"),
        (&settled, "checkout.session.async_payment_succeeded"),
    ] {
        assert_eq!(shop.deliver(event(told, kind)), 200);
    }
    shop.settle();
    assert_eq!(shop.rows(&now), ["lost|failed|paid"]);
    shop.check();
}

#[test]
fn late_events_that_hang_at_stripe_leave_half_of_the_workers_to_fresh_orders() {
    let shop = Shop::open();
    let late = shop.buy("card", 20, "snapshot");
    let hanging = shop.buy("card", 7, "snapshot");
    for purchase in late.iter().chain(&hanging) {
        fault(&shop, "checkout_session", "hang", Value::Null, json!(purchase.session));
    }
    let rows: Vec<String> = late
        .iter()
        .enumerate()
        .map(|(n, p)| {
            format!(
                "('late_{n}', 'checkout.session.completed', '{}', 'snapshot', 'backfill', \
                     '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')",
                p.session
            )
        })
        .collect();
    let rows = rows.join(", ");
    shop.shell(&format!(
        "INSERT INTO events(id, type, object_id, shape, source, received_at, next_attempt_at) VALUES {rows}"
    ))
    .unwrap();
    let in_hand = |of: &str| {
        let sql = format!(
            "SELECT count(*) FROM events WHERE state = 'pending' AND taken_at IS NOT NULL AND source = '{of}'"
        );
        shop.one(&sql).parse::<u32>().expect("a number")
    };
    wait_for("late ones have their half of the hands", || (in_hand("backfill") == 8).then_some(()));
    hanging
        .iter()
        .for_each(|p| assert_eq!(shop.deliver(event(p, "checkout.session.completed")), 200));
    wait_for("one hand is free", || (in_hand("webhook") == 7).then_some(()));
    // It has something to do and is free again, so that somebody looks for what it may take next.
    assert_eq!(shop.post(br#"{"id":"evt_x","type":"x"}"#).unwrap().0, 200);
    let done = |id: &str| {
        shop.rows(&format!("SELECT 1 FROM events WHERE id = '{id}' AND state <> 'pending'"))
    };
    wait_for("it is free again", || done("evt_x").pop());
    for fresh in shop.buy("card", 5, "snapshot") {
        let completed = event(&fresh, "checkout.session.completed");
        assert_eq!(shop.deliver(completed), 200);
        wait_for("a fresh order is there", || done(completed).pop());
    }
    assert_eq!((in_hand("backfill"), in_hand("webhook")), (8, 7), "all that hangs still does");
}

#[test]
fn a_desk_that_is_killed_again_and_again_parks_no_event() {
    let mut shop = Shop::open();
    let purchases = shop.buy("card", 10, "snapshot");
    fault(&shop, "checkout_session", "hang", Value::Null, Value::Null);
    purchases
        .iter()
        .for_each(|p| assert_eq!(shop.deliver(event(p, "checkout.session.completed")), 200));
    for _ in 0..25 {
        wait_for("one is in hand", || {
            shop.rows("SELECT 1 FROM events WHERE taken_at IS NOT NULL LIMIT 1").pop()
        });
        shop.kill();
        shop.start();
    }
    assert_eq!(shop.rows("SELECT DISTINCT state FROM events"), ["pending"]);
    shop.kill();
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    shop.start();
    shop.settle();
    shop.check();
    assert_eq!(shop.rows("SELECT state, count(*) FROM events GROUP BY 1"), ["done|10"]);
    assert_eq!(shop.one("SELECT count(*) FROM orders WHERE payment_status = 'paid'"), "10");
}

#[test]
fn an_order_of_another_mode_and_a_line_in_another_currency_are_parked_with_the_reason() {
    let session = |more: Value| {
        let mut session = json!({"id": "cs_test_1", "object": "checkout.session",
            "status": "complete", "mode": "payment",
            "payment_status": "paid", "payment_intent": "pi_1", "currency": "eur",
            "amount_total": 1000, "livemode": false,
            "line_items": {"object": "list", "data": [], "has_more": false}});
        session.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        session
    };
    let line = |more: Value| {
        let mut line = json!({"id": "li_1", "object": "item", "amount_total": 1000, "currency": "eur", "quantity": 1});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"line_items": {"object": "list", "data": [line], "has_more": false}})
    };
    for (session, why) in [
        (
            session(json!({"livemode": true})),
            "the session is of live mode, and this file of test mode",
        ),
        (
            session(line(json!({"currency": "usd"}))),
            "the line item li_1 is in usd, its order in eur",
        ),
        (session(json!({"amount_total": 1i64 << 62})), "amount_total is 4611686018427387904"),
        (
            session(line(json!({"amount_total": -1_000_000_000_001i64}))),
            "amount_total is -1000000000001",
        ),
        (session(line(json!({"quantity": 1_000_000_001}))), "quantity is 1000000001"),
    ] {
        let stripe = answering(json!({"/v1/checkout/sessions/cs_test_1": session}));
        let shop = Shop::open_with(&[("FULFILLD_STRIPE_API", &stripe)], &["--webhook", "none"]);
        let event = json!({"id": "evt_1", "object": "event", "type": "checkout.session.completed", "livemode": false,
            "data": {"object": {"id": "cs_test_1"}}});
        assert_eq!(shop.post(event.to_string().as_bytes()).unwrap().0, 200);
        shop.settle();
        let said = shop.one("SELECT state || ' ' || state_reason FROM events");
        assert!(said.starts_with("failed ") && said.contains(why), "{said}");
        assert_eq!(shop.one("SELECT count(*) FROM orders"), "0");
        assert_eq!(
            shop.rows("SELECT reason FROM attention WHERE event_id = 'evt_1'"),
            ["event_failed"]
        );
    }
}

#[test]
fn an_event_whose_payload_is_cleared_is_replayed() {
    let shop = Shop::open();
    let [purchase] = &shop.buy("card", 1, "snapshot")[..] else { panic!("one") };
    purchase.events.iter().for_each(|(event, _)| assert_eq!(shop.deliver(event), 200));
    shop.settle();
    let completed = event(purchase, "checkout.session.completed");
    let c = rusqlite::Connection::open(shop.file()).unwrap();
    c.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    c.execute_batch(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test'; UPDATE events SET payload = NULL;
         UPDATE actor SET name = 'operator'; COMMIT",
    )
    .unwrap();
    let before = requested(&shop);
    shop.shell(&format!("UPDATE events SET state = 'pending' WHERE id = '{completed}'")).unwrap();
    shop.settle();
    assert_eq!(shop.one(&format!("SELECT state FROM events WHERE id = '{completed}'")), "done");
    assert_eq!(requested(&shop), before + 1);
}
