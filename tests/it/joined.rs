//! What Stripe does not show yet is not taken for what does not exist: it is joined when it can be.

use serde_json::{Value, json};

use crate::rebuild::healthy;
use crate::shop::{Purchase, Shop, wait_for};

/// Stripe's answers from there show nothing yet: so often, or until the faults end.
fn unlisted(shop: &Shop, endpoint: &str, times: Value) {
    shop.control(
        "POST",
        "/_sandbox/faults",
        json!({"endpoint": endpoint, "kind": "unlisted", "times": times}),
    );
}

fn shown(shop: &Shop) {
    shop.control("DELETE", "/_sandbox/faults", json!({}));
}

fn deliver(shop: &Shop, purchase: &Purchase, kind: &str) {
    let mut of_kind = purchase.events.iter().filter(|(_, its)| its == kind);
    let (event, _) = of_kind.next().unwrap_or_else(|| panic!("{kind}: {purchase:?}"));
    assert_eq!(shop.deliver(event), 200);
}

fn follows(shop: &Shop, what: &str, session: &str) -> Purchase {
    let order = json!({"session": session, "deliver": false, "shape": "snapshot"});
    Purchase::of(&shop.control("POST", &format!("/_sandbox/{what}"), order))
}

/// Each matter, the type of its event, and what the order then says.
const MATTERS: [(&str, &str, &str); 4] = [
    ("dispute", "charge.dispute.created", "SELECT blocked_by = 'disputed' FROM order_overview"),
    ("refund", "refund.created", "SELECT amount_refunded > 0 FROM order_overview"),
    ("review", "review.opened", "SELECT blocked_by = 'in review' FROM order_overview"),
    (
        "fraud_warning",
        "radar.early_fraud_warning.created",
        "SELECT count(*) > 0 FROM attention WHERE reason = 'fraud_warning'",
    ),
];

#[test]
fn what_is_requested_before_its_session_is_listed_still_reaches_the_order() {
    for (what, kind, says) in MATTERS {
        let shop = Shop::open();
        let [purchase] = &shop.buy("card", 1, "snapshot")[..] else { panic!("one") };
        let matter = follows(&shop, what, &purchase.session);
        unlisted(&shop, "checkout_sessions", Value::Null);
        deliver(&shop, &matter, kind);
        shop.settle();
        let ignored = shop.one("SELECT state || ' ' || reason_code || ' ' || awaits FROM events");
        assert!(ignored.starts_with("ignored no_session pi_"), "{what}: {ignored}");
        shown(&shop);
        deliver(&shop, purchase, "checkout.session.completed");
        wait_for("the order knows of it", || (shop.rows(says) == ["1"]).then_some(()));
        shop.settle();
        assert_eq!(shop.rows("SELECT DISTINCT state FROM events"), ["done"], "{what}");
        shop.check();
    }
}

#[test]
fn what_is_ignored_while_its_order_is_written_is_requested_again() {
    for (what, kind, says) in MATTERS {
        let shop = Shop::open();
        let [purchase] = &shop.buy("card", 1, "snapshot")[..] else { panic!("one") };
        deliver(&shop, purchase, "checkout.session.completed");
        shop.settle();
        // Stripe's list is late; the order is here already.
        let matter = follows(&shop, what, &purchase.session);
        unlisted(&shop, "checkout_sessions", json!(2));
        deliver(&shop, &matter, kind);
        wait_for("the order knows of it", || (shop.rows(says) == ["1"]).then_some(()));
        shop.check();
    }
}

#[test]
fn a_subscription_whose_payment_was_not_shown_at_first_learns_it() {
    let shop = Shop::open();
    let [purchase] = &shop.buy("subscription", 1, "snapshot")[..] else { panic!("one") };
    unlisted(&shop, "invoice_payments", json!(1));
    deliver(&shop, purchase, "checkout.session.completed");
    let order = "SELECT payment_status, payment_intent_id IS NOT NULL FROM orders";
    wait_for("its payment is known", || (shop.rows(order) == ["paid|1"]).then_some(()));
    shop.settle();
    assert_eq!(shop.rows("SELECT state, attempts FROM events"), ["done|2"]);
}

#[test]
fn a_dispute_gives_a_subscription_s_order_the_payment_that_stripe_never_showed() {
    std::thread::scope(|threads| {
        for (what, kind, says) in MATTERS {
            threads.spawn(move || {
                let shop = Shop::open();
                let [purchase] = &shop.buy("subscription", 1, "snapshot")[..] else {
                    panic!("one")
                };
                unlisted(&shop, "invoice_payments", json!(5));
                deliver(&shop, purchase, "checkout.session.completed");
                shop.settle();
                let awaits =
                    shop.one("SELECT state || ' ' || attempts || ' ' || awaits FROM events");
                assert!(awaits.starts_with("done 5 in_"), "{awaits}");
                assert_eq!(
                    shop.rows("SELECT payment_status, payment_intent_id FROM orders"),
                    ["paid|"]
                );
                deliver(&shop, &follows(&shop, what, &purchase.session), kind);
                wait_for("the order knows of it", || (shop.rows(says) == ["1"]).then_some(()));
                shop.check();
            });
        }
    });
}

#[test]
fn what_happens_to_an_invoice_s_second_payment_reaches_the_order_whichever_came_first() {
    for order_first in [true, false] {
        let shop = Shop::open();
        let [first] = &shop.buy("subscription", 1, "snapshot")[..] else { panic!("one") };
        let second = follows(&shop, "pay_again", &first.session).session;
        let order = || {
            deliver(&shop, first, "checkout.session.completed");
            shop.settle();
        };
        if order_first {
            order();
        }
        let refund = |session: &str, amount: i64| {
            let order = json!({"session": session, "amount": amount, "deliver": false, "shape": "snapshot"});
            let made = Purchase::of(&shop.control("POST", "/_sandbox/refund", order));
            deliver(&shop, &made, "refund.created");
        };
        refund(&second, 500);
        for (what, kind, _) in MATTERS.iter().filter(|(what, ..)| *what != "refund") {
            deliver(&shop, &follows(&shop, what, &second), kind);
        }
        refund(&first.session, 300);
        shop.settle();
        if !order_first {
            order();
        }
        let joined = "SELECT (SELECT count(*) FROM refunds JOIN orders USING(payment_intent_id)),
            (SELECT count(*) FROM disputes JOIN orders USING(payment_intent_id)),
            (SELECT count(*) FROM reviews JOIN orders USING(payment_intent_id)),
            (SELECT count(*) FROM fraud_warnings JOIN orders USING(payment_intent_id)),
            (SELECT amount_refunded FROM order_overview)";
        assert_eq!(shop.one(joined), "2|1|1|1|800", "{order_first}");
        // Once each, whenever it came.
        let told = "SELECT topic, count(*) FROM outbox WHERE topic GLOB 'order.[rd]*' GROUP BY 1";
        assert_eq!(shop.rows(told), ["order.disputed|1", "order.refunded|2"], "{order_first}");
        let history = "SELECT count(*), count(DISTINCT what) FROM order_history
            WHERE what GLOB 'refund *' OR what GLOB 'dispute *' OR what GLOB 'review *'
              OR what GLOB 'fraud warning *'";
        assert_eq!(shop.one(history), "5|5", "{order_first}");
        let booked = "SELECT group_concat(what || ' ' || order_id, ', ') FROM
            (SELECT what, order_id FROM bookings ORDER BY 1)";
        assert_eq!(shop.one(booked), "chargeback 1, refund 1, refund 1, sale 1", "{order_first}");
        // Its state moves on under the same order.
        let moved = shop.one("SELECT id FROM disputes");
        let won = shop.control(
            "POST",
            &format!("/_sandbox/disputes/{moved}"),
            json!({"status": "won", "deliver": false, "shape": "snapshot"}),
        );
        deliver(&shop, &Purchase::of(&won), "charge.dispute.closed");
        shop.settle();
        let state = "SELECT status, (SELECT count(*) FROM orders
            WHERE orders.payment_intent_id = disputes.payment_intent_id) FROM disputes";
        assert_eq!(shop.one(state), "won|1", "{order_first}");
        assert_eq!(shop.rows("SELECT DISTINCT state FROM events"), ["done"], "{order_first}");
        healthy(&shop);
        shop.check();
    }
}

#[test]
fn what_a_missing_permission_hid_reaches_its_order_when_it_is_granted() {
    let shop = Shop::open();
    let [purchase] = &shop.buy("subscription", 1, "snapshot")[..] else { panic!("one") };
    let forbidden =
        json!({"endpoint": "invoice_payments", "kind": "status", "status": 403, "times": 1000});
    shop.control("POST", "/_sandbox/faults", forbidden);
    deliver(&shop, purchase, "checkout.session.completed");
    deliver(&shop, &follows(&shop, "dispute", &purchase.session), "charge.dispute.created");
    let order = "SELECT payment_status, payment_intent_id FROM orders";
    wait_for("the order is there without it", || (shop.rows(order) == ["paid|"]).then_some(()));
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    wait_for("the order knows of it", || (shop.rows(MATTERS[0].2) == ["1"]).then_some(()));
    shop.settle();
    assert_eq!(shop.rows("SELECT DISTINCT state FROM events"), ["done"]);
    shop.check();
}

#[test]
fn a_permission_that_is_granted_while_the_desk_is_stopped_shows_what_was_refunded() {
    // No list is gone through, so that nothing but what was hidden leads to the payment.
    let mut shop = Shop::open_with(
        &[("FULFILLD_BACKFILL_EVERY", "3600")],
        &["--webhook", "none", "--rate", "0"],
    );
    let [purchase] = &shop.buy("subscription", 1, "snapshot")[..] else { panic!("one") };
    let fails = |shop: &Shop, endpoint: &str, status: u16| {
        let fault =
            json!({"endpoint": endpoint, "kind": "status", "status": status, "times": Value::Null});
        shop.control("POST", "/_sandbox/faults", fault);
    };
    fails(&shop, "invoice_payments", 403);
    deliver(&shop, purchase, "checkout.session.completed");
    deliver(&shop, &follows(&shop, "refund", &purchase.session), "refund.created");
    shop.settle();
    let known = "SELECT payment_intent_id IS NOT NULL, amount_refunded > 0 FROM order_overview JOIN orders USING(id)";
    assert_eq!(shop.one(known), "0|0");
    let alarms = "SELECT about FROM alarms";
    assert_eq!(shop.rows(alarms), ["invoice_payments"]);

    // Still denied after a start, it is still said.
    shop.stop();
    fails(&shop, "checkout_sessions", 500);
    fails(&shop, "refunds", 500);
    shop.start();
    wait_for("it was tried", || {
        let stats = shop.control("GET", "/_sandbox/stats", Value::Null);
        (stats["requests"]["invoice_payments"]["403"].as_u64() >= Some(2)).then_some(())
    });
    assert_eq!(shop.rows(alarms), ["invoice_payments"]);
    wait_for("it is told what Stripe says", || {
        shop.one("SELECT message FROM alarms").contains("does not have the required").then_some(())
    });
    shop.stop();
    shown(&shop);
    fails(&shop, "checkout_sessions", 500);
    fails(&shop, "refunds", 500);
    shop.start();
    wait_for("the order knows of it", || (shop.one(known) == "1|1").then_some(()));
    wait_for("nothing is missing", || shop.rows(alarms).is_empty().then_some(()));
    shop.check();
}

#[test]
fn goods_that_stripe_named_only_later_are_sent() {
    for times in [1, 1000] {
        let shop = Shop::open();
        let [purchase] = &shop.buy("card", 1, "snapshot")[..] else { panic!("one") };
        unlisted(&shop, "checkout_session", json!(times));
        deliver(&shop, purchase, "checkout.session.completed");
        if times > 1 {
            // Requested a few times, it is left alone, and attention shows it.
            shop.settle();
            assert_eq!(shop.rows("SELECT state, attempts FROM events"), ["done|5"]);
            assert!(shop.rows("SELECT reason FROM attention").contains(&"no_lines".into()));
            shown(&shop);
            shop.shell("UPDATE events SET state = 'pending'").unwrap();
        }
        shop.settle();
        assert_eq!(shop.one("SELECT count(*) FROM to_ship"), "1");
        assert_eq!(shop.rows("SELECT reason FROM attention"), [""; 0]);
        shop.check();
    }
}
