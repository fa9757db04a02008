//! Stripe fails in every way it can: webhooks are still answered, other orders are processed, and
//! nothing is missing afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shop::{Shop, number_of, wait_for};

/// The ways, as the simulated Stripe names them.
const WAYS: &[(&str, Option<u16>)] = &[
    ("status", Some(429)),
    ("status", Some(500)),
    ("status", Some(503)),
    ("half", None),
    ("garbage", None),
    ("html", None),
    ("redirect", None),
    ("huge", None),
    ("reset", None),
    ("empty", None),
    ("close", None),
    ("shrug", None),
    ("stranger", None),
    ("drip", None),
    ("hang", None),
];

/// Posts a purchase's last event; the answer must be 200 and quick, whatever Stripe does.
fn post_quickly(shop: &Shop, event: &str, way: &str) {
    let body = shop.body(event);
    let began = Instant::now();
    assert_eq!(shop.post(&body).expect("the desk answers").0, 200, "{way}");
    // A request to Stripe may take 20 s, and this did not wait for one.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{way}: answered after {took:?}");
}

fn completed(shop: &Shop) -> (String, String) {
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    let event = purchase
        .events
        .iter()
        .find(|(_, kind)| kind == "checkout.session.completed")
        .expect("it completed");
    (purchase.session.clone(), event.0.clone())
}

fn order_of(shop: &Shop, session: &str) -> Option<()> {
    let sql = format!("SELECT payment_status FROM orders WHERE checkout_session_id = '{session}'");
    (shop.rows(&sql) == ["paid"]).then_some(())
}

fn fails_for_one_session(way: &str, status: Option<u16>) {
    let shop = Shop::open();
    let (session, event) = completed(&shop);
    let fault = json!({"endpoint": "*", "kind": way, "status": status, "times": Value::Null, "only": session});
    shop.control("POST", "/_sandbox/faults", fault);
    post_quickly(&shop, &event, way);
    // Other orders are not held up.
    for _ in 0..5 {
        let (other, event) = completed(&shop);
        post_quickly(&shop, &event, way);
        wait_for("the other order is there", || order_of(&shop, &other));
    }
    let tried = format!(
        "SELECT 1 FROM events WHERE id = '{event}' AND state = 'pending' AND attempts > 0 AND state_reason <> ''"
    );
    wait_for("the failing one waits with a reason", || shop.rows(&tried).pop());
    assert!(order_of(&shop, &session).is_none());
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    wait_for("its order is there once Stripe heals", || order_of(&shop, &session));
    shop.settle();
    shop.check();
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "6");
    let peak =
        std::fs::read_to_string(format!("/proc/{}/status", shop.desk().pid())).expect("it runs");
    let kib: u64 = peak
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .expect("a peak");
    assert!(kib < 96 << 10, "{way}: {kib} KiB of memory at its peak");
}

#[test]
fn one_session_that_fails_in_any_way_holds_up_no_other() {
    std::thread::scope(|threads| {
        for (way, status) in WAYS {
            threads.spawn(|| fails_for_one_session(way, *status));
        }
    });
}

#[test]
fn everything_is_there_once_a_whole_outage_ends() {
    std::thread::scope(|threads| {
        for (way, status) in
            [("status", Some(500)), ("close", None), ("html", None), ("hang", None)]
        {
            threads.spawn(move || {
                let shop = Shop::open();
                let fault =
                    json!({"endpoint": "*", "kind": way, "status": status, "times": Value::Null});
                shop.control("POST", "/_sandbox/faults", fault);
                let purchases: Vec<_> = (0..20).map(|_| completed(&shop)).collect();
                for (_, event) in &purchases {
                    post_quickly(&shop, event, way);
                }
                let paused = wait_for("readyz says that asking is paused", || {
                    Some(shop.get("/readyz")).filter(|(status, why)| {
                        *status == 503 && why.contains("requests to Stripe are paused")
                    })
                });
                assert!(paused.1.contains("paused for"), "{}", paused.1);
                shop.control("DELETE", "/_sandbox/faults", json!({}));
                for (session, _) in &purchases {
                    wait_for("each order is there", || order_of(&shop, session));
                }
                wait_for("it is ready again", || (shop.get("/readyz").0 == 200).then_some(()));
                shop.check();
            });
        }
    });
}

#[test]
fn a_refused_key_stops_requests_not_webhooks_and_is_reported_until_it_is_fixed() {
    // At once, because each waits half a minute for the next request.
    std::thread::scope(|threads| {
        threads.spawn(|| a_refused_key(401, "Stripe refuses the key"));
        threads.spawn(|| a_refused_key(403, "lacks a permission"));
    });
}

fn a_refused_key(status: u16, named: &str) {
    let shop = Shop::open();
    let fault = json!({"endpoint": "*", "kind": "status", "status": status, "times": Value::Null});
    shop.control("POST", "/_sandbox/faults", fault);
    let (session, event) = completed(&shop);
    post_quickly(&shop, &event, named);
    let row = wait_for("attention names it", || {
        shop.rows("SELECT what FROM attention WHERE reason = 'key_refused'").pop()
    });
    assert!(row.contains(named) && row.contains("STRIPE_SECRET_KEY"), "{row}");
    assert!(shop.get("/readyz").1.contains(named));
    let requested = shop.control("GET", "/_sandbox/stats", json!({}));
    let (_, event) = completed(&shop);
    post_quickly(&shop, &event, named);
    assert_eq!(
        requested,
        shop.control("GET", "/_sandbox/stats", json!({})),
        "no key is tried again and again"
    );
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    wait_for("the order is there", || order_of(&shop, &session));
    wait_for("attention is clean", || {
        (shop.one("SELECT count(*) FROM attention") == "0").then_some(())
    });
}

#[test]
fn a_missing_permission_holds_up_only_what_needs_it_and_is_named_until_it_is_granted() {
    let shop = Shop::open();
    for endpoint in ["refund", "refunds", "dispute"] {
        let fault =
            json!({"endpoint": endpoint, "kind": "status", "status": 403, "times": Value::Null});
        shop.control("POST", "/_sandbox/faults", fault);
    }
    // Two refunds: the charge of one can be read, and tells nothing about what the other waits for.
    for (scenario, count) in
        [("refund-pending-then-succeeds", 2), ("disputed", 1), ("in-review", 1)]
    {
        for purchase in shop.buy(scenario, count, "snapshot") {
            for (event, _) in &purchase.events {
                post_quickly(&shop, event, scenario);
            }
        }
    }
    wait_for("the orders and the review are there", || {
        (shop.one("SELECT (SELECT count(*) FROM orders WHERE payment_status = 'paid'), (SELECT count(*) FROM reviews)")
            == "4|1")
            .then_some(())
    });
    let named = "SELECT what FROM attention WHERE reason = 'key_lacks_permission'";
    let waiting = "SELECT count(*) FROM events WHERE state = 'pending' AND taken_at IS NULL \
                   AND reason_code = 'forbidden'";
    wait_for("the refund's and the dispute's events wait", || {
        (shop.one(waiting) == "10").then_some(())
    });
    let row = wait_for("attention names it", || shop.rows(named).pop());
    assert!(row.contains("STRIPE_SECRET_KEY lacks a permission"), "{row}");
    assert_eq!(shop.rows("SELECT reason FROM attention WHERE reason = 'key_refused'"), [""; 0]);
    assert_eq!(shop.get("/readyz"), (200, "ready".into()));
    // However many events wait, one request is sent.
    let requested = shop.control("GET", "/_sandbox/stats", json!({}));
    assert!(requested["requests"]["refund"]["403"].as_u64().is_some_and(|n| n <= 4), "{requested}");
    assert_eq!(requested["requests"]["dispute"]["200"], Value::Null, "{requested}");
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    shop.settle();
    assert_eq!(
        shop.one("SELECT (SELECT count(*) FROM refunds), (SELECT count(*) FROM disputes)"),
        "2|1"
    );
    assert_eq!(shop.rows(named), [""; 0]);
    shop.check();
}

#[test]
fn a_key_without_the_permission_to_expand_still_gets_the_order() {
    let shop = Shop::open();
    let (session, event) = completed(&shop);
    let fault = json!({"endpoint": "*", "kind": "status", "status": 403, "times": Value::Null,
        "only": "price.product"});
    shop.control("POST", "/_sandbox/faults", fault);
    post_quickly(&shop, &event, "no expansion");
    wait_for("the order is there", || order_of(&shop, &session));
    assert_ne!(shop.one("SELECT count(*) FROM line_items WHERE name <> ''"), "0");
    shop.check();
}

/// Orders that wait; at 24 a second they take 20 s.
const BACKLOG: u64 = 480;

/// `FULFILLD_TEST_BACKLOG=2000` makes it more.
#[test]
fn a_backlog_drains_at_the_permitted_rate_with_next_to_no_429() {
    let count = number_of("FULFILLD_TEST_BACKLOG").unwrap_or(BACKLOG);
    let shop =
        Shop::open_with(&[("FULFILLD_STRIPE_RATE", "24")], &["--webhook", "none", "--rate", "25"]);
    let purchases = shop.buy("card", count as usize, "snapshot");
    let events: Vec<&str> = purchases
        .iter()
        .flat_map(|p| &p.events)
        .filter(|(_, kind)| kind == "checkout.session.completed")
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(events.len() as u64, count);
    let began = Instant::now();
    for event in events {
        assert_eq!(shop.deliver(event), 200);
    }
    let orders = |n: u64| {
        wait_for("the next orders are there", || {
            let here = shop.one("SELECT count(*) FROM orders WHERE payment_status = 'paid'");
            (here.parse::<u64>().expect("a number") >= n).then_some(())
        });
    };
    (0..=count).step_by(100).for_each(orders);
    shop.settle();
    let took = began.elapsed().as_secs_f64();
    let stats = shop.control("GET", "/_sandbox/stats", json!({}));
    let requested = |code: &str| stats["requests"]["checkout_session"][code].as_u64().unwrap_or(0);
    println!(
        "{count} orders in {took:.0} s: {:.1} a second, {} answers 200, {} answers 429",
        count as f64 / took,
        requested("200"),
        requested("429")
    );
    let paid = shop.one("SELECT count(*) FROM orders WHERE payment_status = 'paid'");
    assert_eq!(paid, count.to_string());
    assert!(requested("429") * 100 <= requested("200") + requested("429"), "{stats}");
    shop.check();
}

/// How many requests Stripe got since the last call, by endpoint, and in all.
fn requested(shop: &Shop) -> (Value, u64) {
    let requested = shop.control("DELETE", "/_sandbox/stats", Value::Null)["requests"].clone();
    let count = |by_status: &Value| {
        by_status.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>()
    };
    let all =
        requested.as_object().into_iter().flatten().map(|(_, by_status)| count(by_status)).sum();
    (requested, all)
}

/// The figures of ARCHITECTURE.md: a look is one request a list, whatever the key lacks and
/// whatever waits for it.
#[test]
fn a_missing_permission_costs_an_idle_shop_nothing_that_grows() {
    let all = [
        &["events"][..],
        &["refunds", "refund", "charge"],
        &["disputes", "dispute"],
        &["reviews", "review", "fraud_warnings", "fraud_warning"],
        &["invoice_payments"],
    ];
    std::thread::scope(|threads| {
        for missing in all {
            threads.spawn(move || {
                let shop = Shop::open_with(
                    &[("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "1")],
                    &["--webhook", "none", "--rate", "0"],
                );
                for endpoint in missing {
                    let fault = json!({"endpoint": endpoint, "kind": "status", "status": 403, "times": Value::Null});
                    shop.control("POST", "/_sandbox/faults", fault);
                }
                for scenario in ["subscription", "refunded", "disputed", "in-review"] {
                    shop.buy(scenario, 1, "snapshot");
                }
                let orders = "SELECT count(*) = 4 AND (SELECT count(*) = 0 FROM events WHERE attempts = 0) FROM orders";
                wait_for("all that the key permits was requested", || (shop.one(orders) == "1").then_some(()));
                let looks = |n: u64| {
                    wait_for("looks", || {
                        let stats = shop.control("GET", "/_sandbox/stats", Value::Null);
                        (stats["requests"]["checkout_sessions"]["200"].as_u64() >= Some(n)).then_some(())
                    });
                };
                requested(&shop);
                looks(3);
                requested(&shop);
                looks(6);
                let (what, n) = requested(&shop);
                // Six lists, six or seven looks, and once more for what waits.
                assert!(n <= 6 * 7 + 6, "{missing:?}: {n} requests: {what}");
            });
        }
    });
}

#[test]
fn a_list_that_has_failed_for_an_hour_is_reported_until_it_can_be_seen() {
    let shop = Shop::open_with(
        &[
            ("FULFILLD_BACKFILL_EVERY", "1"),
            ("FULFILLD_SWEEP_EVERY", "1"),
            ("FULFILLD_SABOTAGE", "an_hour_is_a_second"),
        ],
        &["--webhook", "none", "--rate", "0"],
    );
    let fault =
        json!({"endpoint": "disputes", "kind": "status", "status": 500, "times": Value::Null});
    shop.control("POST", "/_sandbox/faults", fault);
    let told = wait_for("attention tells it", || {
        shop.rows("SELECT what FROM attention WHERE reason = 'backfill_failing'").pop()
    });
    assert!(
        told.contains("disputes (Stripe is busy or failing") && !told.contains("refunds"),
        "{told}"
    );
    let session = completed(&shop).0;
    wait_for("the order is found all the same", || order_of(&shop, &session));
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    wait_for("it is over", || {
        shop.rows("SELECT name FROM alarms WHERE name = 'backfill_failing'")
            .is_empty()
            .then_some(())
    });
    shop.check();
}
