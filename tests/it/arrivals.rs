//! The same events in any order, any number of times, in either shape, end in the same rows.

use std::collections::BTreeMap;

use serde_json::json;

use crate::reader::together;
use crate::shop::{Purchase, Shop, seed};

/// Every scenario that the simulated Stripe can play.
pub const SCENARIOS: &[&str] = &[
    "card",
    "delayed",
    "delayed-fails",
    "free",
    "payment-link",
    "digital",
    "mixed",
    "many-lines",
    "yen",
    "dinar",
    "discount",
    "adaptive",
    "subscription",
    "setup",
    "expired",
    "strange",
    "sums-differ",
    "old-api",
];

/// What the file says of every session, without the times of our requests and the numbers that
/// it gave out itself.
pub fn facts(shop: &Shop) -> Vec<String> {
    together(|| facts_rows(shop))
}

fn facts_rows(shop: &Shop) -> Vec<String> {
    let columns = |table: &str, but: &[&str]| {
        let names = shop.rows(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let names = names.into_iter().filter(|n| !but.contains(&n.as_str()));
        names.map(|name| format!("t.{name}")).collect::<Vec<_>>().join(", ")
    };
    let of = "FROM orders o JOIN";
    let mut rows = Vec::new();
    for (table, but, from) in [
        ("orders", ["id", "as_of", "asked", "line_items_at"].as_slice(), "FROM orders t"),
        ("line_items", &["order_id"], &format!("{of} line_items t ON t.order_id = o.id")),
        (
            "fulfillments",
            &["id", "order_id", "created_at"],
            &format!("{of} fulfillments t ON t.order_id = o.id"),
        ),
        (
            "fulfillment_line_items",
            &["fulfillment_id"],
            "FROM fulfillment_line_items t JOIN fulfillments f ON f.id = t.fulfillment_id JOIN \
             orders o ON o.id = f.order_id",
        ),
        ("refunds", &["as_of", "asked"], "FROM refunds t"),
        ("disputes", &["as_of", "asked"], "FROM disputes t"),
        ("reviews", &["as_of", "asked"], "FROM reviews t"),
        ("fraud_warnings", &["as_of", "asked"], "FROM fraud_warnings t"),
        ("order_overview", &["id"], &format!("{of} order_overview t ON t.id = o.id")),
    ] {
        let session = if from.contains("orders o") { "o.checkout_session_id" } else { "NULL" };
        rows.extend(
            shop.rows(&format!("SELECT '{table}', {session}, {} {from}", columns(table, but))),
        );
    }
    // News for hooks: each once.
    rows.extend(shop.rows(
        "SELECT 'outbox', o.checkout_session_id, x.topic, count(*) FROM outbox x \
         JOIN orders o ON o.id = x.order_id GROUP BY 2, 3",
    ));
    rows.sort();
    rows
}

pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for place in 0..n {
            let mut longer = shorter.clone();
            longer.insert(place, n - 1);
            all.push(longer);
        }
    }
    all
}

/// A new file, the events posted one after the other, and what the file says in the end.
pub fn delivered(shop: &mut Shop, bodies: &[&[u8]]) -> Vec<String> {
    afresh(shop);
    for body in bodies {
        assert_eq!(shop.post(body).expect("the desk answers").0, 200);
    }
    together(|| {
        shop.settle();
        shop.check();
        facts(shop)
    })
}

/// A desk on a new file; whatever desk and file there were are gone.
pub fn afresh(shop: &mut Shop) {
    shop.desk = None;
    for entry in std::fs::read_dir(shop.dir.path()).expect("the directory is there") {
        std::fs::remove_file(entry.expect("it can be listed").path()).expect("it can be emptied");
    }
    shop.start();
}

fn every_order_of(scenarios: &[&str]) {
    let mut shop = Shop::open();
    for scenario in scenarios {
        for shape in ["snapshot", "thin"] {
            let purchase = &shop.buy(scenario, 1, shape)[0];
            let bodies: Vec<Vec<u8>> =
                purchase.events.iter().map(|(id, _)| shop.body(id)).collect();
            let n = bodies.len();
            let pick =
                |order: &[usize]| order.iter().map(|i| bodies[*i].as_slice()).collect::<Vec<_>>();
            let expected = delivered(&mut shop, &pick(&(0..n).collect::<Vec<_>>()));
            for order in permutations(n) {
                assert_eq!(
                    delivered(&mut shop, &pick(&order)),
                    expected,
                    "{scenario}, {shape}, in the order {order:?}"
                );
            }
            let thrice: Vec<usize> = (0..n).cycle().take(3 * n).collect();
            assert_eq!(
                delivered(&mut shop, &pick(&thrice)),
                expected,
                "{scenario}, {shape}, three times"
            );
            afresh(&mut shop);
            std::thread::scope(|threads| {
                for i in thrice {
                    let (shop, body) = (&shop, &bodies[i]);
                    threads.spawn(move || {
                        assert_eq!(shop.post(body).expect("the desk answers").0, 200)
                    });
                }
            });
            shop.settle();
            shop.check();
            assert_eq!(facts(&shop), expected, "{scenario}, {shape}, three times at once");
        }
    }
}

#[test]
fn every_order_of_arrival_leaves_the_same_rows_in_the_first_half_of_the_scenarios() {
    every_order_of(&SCENARIOS[..SCENARIOS.len() / 2]);
}

#[test]
fn every_order_of_arrival_leaves_the_same_rows_in_the_second_half_of_the_scenarios() {
    every_order_of(&SCENARIOS[SCENARIOS.len() / 2..]);
}

#[test]
fn both_shapes_of_one_purchase_mixed_at_random_leave_the_same_rows() {
    let mut shop = Shop::open();
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for scenario in ["mixed", "delayed", "delayed-fails", "discount"] {
        let purchase = &shop.buy(scenario, 1, "both")[0];
        let bodies: Vec<Vec<u8>> = purchase.events.iter().map(|(id, _)| shop.body(id)).collect();
        let expected = delivered(&mut shop, &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for _ in 0..20 {
            let mut order: Vec<&[u8]> = bodies.iter().chain(&bodies).map(Vec::as_slice).collect();
            random.shuffle(&mut order);
            assert_eq!(delivered(&mut shop, &order), expected, "{scenario}, seed {seed}");
        }
    }
}

#[test]
fn a_delayed_payment_is_an_order_with_nothing_to_send_until_it_settles() {
    let shop = Shop::open();
    for (outcome, financial, parcels) in [("succeeded", "paid", "1"), ("failed", "voided", "0")] {
        let purchase = shop.buy("unpaid", 1, "snapshot").remove(0);
        for (id, _) in &purchase.events {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        let order = |column: &str| {
            let id =
                format!("SELECT id FROM orders WHERE checkout_session_id = '{}'", purchase.session);
            shop.one(&format!("SELECT {column} FROM order_overview WHERE id = ({id})"))
        };
        let fulfillments = || {
            shop.one(&format!("SELECT count(*) FROM fulfillments WHERE order_id = {}", order("id")))
        };
        assert_eq!((order("financial_status").as_str(), fulfillments().as_str()), ("pending", "0"));
        let asked = json!({"session": purchase.session, "outcome": outcome, "deliver": false});
        let made = shop.control("POST", "/_sandbox/settle", asked);
        let settled = Purchase::of(made["purchases"].get(0).unwrap_or(&made));
        for (id, _) in &settled.events {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        assert_eq!(
            (order("financial_status").as_str(), fulfillments().as_str()),
            (financial, parcels)
        );
        // Whatever comes late changes nothing.
        for (id, _) in &purchase.events {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        assert_eq!(order("financial_status"), financial);
    }
    shop.check();
}

#[test]
fn every_scenario_ends_as_a_shopkeeper_expects() {
    let shop = Shop::open();
    let mut sessions = BTreeMap::new();
    for scenario in SCENARIOS {
        let purchase = shop.buy(scenario, 1, "snapshot").remove(0);
        for (id, _) in &purchase.events {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        sessions.insert(*scenario, purchase.session);
    }
    for (scenario, money, goods) in [
        ("card", "paid", "unfulfilled"),
        ("delayed", "paid", "unfulfilled"),
        ("delayed-fails", "voided", "unfulfilled"),
        ("free", "paid", "unfulfilled"),
        ("payment-link", "paid", "unfulfilled"),
        ("digital", "paid", "unfulfilled"),
        ("mixed", "paid", "unfulfilled"),
        ("subscription", "paid", "unfulfilled"),
        ("strange", "paid", "unfulfilled"),
        ("old-api", "paid", "unfulfilled"),
    ] {
        let order =
            format!("(SELECT id FROM orders WHERE checkout_session_id = '{}')", sessions[scenario]);
        let statuses = shop.one(&format!(
            "SELECT financial_status, fulfillment_status FROM order_overview WHERE id = {order}"
        ));
        assert_eq!(statuses, format!("{money}|{goods}"), "{scenario}");
    }
    let of = |scenario: &str| format!("o.checkout_session_id = '{}'", sessions[scenario]);
    let one = |what: &str, scenario: &str| {
        shop.one(&format!("SELECT {what} FROM orders o WHERE {}", of(scenario)))
    };
    // Nothing was sold.
    for scenario in ["setup", "expired"] {
        assert_eq!(
            shop.rows(&format!("SELECT id FROM orders o WHERE {}", of(scenario))),
            [""; 0],
            "{scenario}"
        );
        let why = format!(
            "SELECT count(*) FROM events WHERE object_id = '{}' AND state = 'ignored' AND state_reason <> ''",
            sessions[scenario]
        );
        assert_ne!(shop.one(&why), "0", "{scenario}");
    }
    // Money reads as people write it.
    let total =
        |scenario: &str| one("(SELECT total FROM order_overview v WHERE v.id = o.id)", scenario);
    assert!(total("yen").ends_with(" JPY") && !total("yen").contains('.'), "{}", total("yen"));
    assert!(
        total("dinar").rsplit_once('.').is_some_and(|(_, d)| d.len() == "000 KWD".len()),
        "{}",
        total("dinar")
    );
    // A hundred lines, each once.
    assert_eq!(
        one("(SELECT count(*) FROM line_items l WHERE l.order_id = o.id)", "many-lines"),
        "100"
    );
    // Physical and digital apart.
    let kinds = "(SELECT group_concat(requires_shipping) FROM (SELECT requires_shipping \
                 FROM fulfillments f WHERE f.order_id = o.id ORDER BY id))";
    assert_eq!(one(kinds, "mixed"), "1,0");
    assert_eq!(one(kinds, "digital"), "0");
    assert_eq!(one(kinds, "card"), "1");
    // What differs is flagged, what is kept is kept.
    let flagged =
        "(SELECT count(*) FROM attention a WHERE a.order_id = o.id AND a.reason = 'sums_differ')";
    assert_eq!(
        (one(flagged, "sums-differ").as_str(), one(flagged, "discount").as_str()),
        ("1", "0")
    );
    assert_ne!(one("payment_link_id", "payment-link"), "");
    assert_ne!(one("presentment_amount || presentment_currency", "adaptive"), "");
    assert_ne!(one("subscription_id", "subscription"), "");
    assert_ne!(one("shipping_line1 || shipping_country", "old-api"), "");
    // Nothing from outside drives a terminal or reads backwards.
    let text = shop.rows("SELECT * FROM orders").join("\n")
        + &shop.rows("SELECT * FROM line_items").join("\n");
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{0}', '\u{9b}']));
    shop.check();
}
