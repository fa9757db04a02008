//! Whatever happens to money of which Stripe makes no event: the lists show it, and both the sweep
//! and `reconcile` find it, whichever way the money came.

use serde_json::{Value, json};

use crate::backfill::{looking, reconcile, said};
use crate::money::act;
use crate::shop::{Purchase, Shop, wait_for};

/// What followed an order's payment: the order's number, which of the matters, and its id.
type Followed = Vec<(usize, usize, String)>;

/// The ways in which money belongs to an order: the scenario, what else was paid (by a control),
/// and whether Stripe names only the charge.
const WAYS: &[(&str, Option<&str>, bool)] = &[
    ("card", None, false),
    ("card", None, true),
    ("delayed", None, false),
    ("bank-transfer", Some("settle"), false),
    ("captured", Some("capture"), false),
    ("captured-in-part", None, false),
    ("adaptive", None, false),
    ("subscription", None, false),
    ("subscription", None, true),
    ("subscription", Some("pay_again"), false),
    ("subscription", Some("pay_again"), true),
    ("subscription", Some("renew"), false),
];

/// What can follow it, the query of how it stands, that state at first, and what it becomes.
const MATTERS: [(&str, &str, [&str; 2]); 4] = [
    ("refund", "SELECT id, status AS state, * FROM refunds", ["succeeded", "failed"]),
    ("dispute", "SELECT id, status AS state, * FROM disputes", ["needs_response", "lost"]),
    (
        "review",
        "SELECT id, coalesce(closed_reason, 'open') AS state, * FROM reviews",
        ["open", "approved"],
    ),
    (
        "fraud_warning",
        "SELECT id, 'received' AS state, * FROM fraud_warnings",
        ["received", "received"],
    ),
];

/// An order for each way, and the session whose payment the matters follow.
fn sell(shop: &Shop) -> Vec<String> {
    let sold = WAYS.iter().map(|(scenario, then, _)| {
        let order =
            json!({"scenario": if *then == Some("capture") { "authorized" } else { scenario }});
        let made = shop.control("POST", "/_sandbox/trigger", with(order));
        let first = Purchase::of(&made["purchases"][0]);
        first.events.iter().for_each(|(id, _)| assert_eq!(shop.deliver(id), 200));
        // One after the other, so that the n-th order is the n-th way's.
        shop.settle();
        let later = match *then {
            None => return first.session,
            Some("settle") => {
                act(shop, "settle", json!({"session": first.session, "outcome": "succeeded"}))
            }
            Some(what) => act(shop, what, json!({"session": first.session})),
        };
        later.events.iter().for_each(|(id, _)| assert_eq!(shop.deliver(id), 200));
        later.session
    });
    let sessions = sold.collect();
    shop.settle();
    assert_eq!(shop.rows("SELECT count(*) FROM orders"), [WAYS.len().to_string()]);
    sessions
}

fn with(mut order: Value) -> Value {
    order["deliver"] = json!(false);
    order
}

/// A matter of the usual kind, a little of the money. Its id.
fn follow(shop: &Shop, what: &str, session: &str) -> String {
    let order = with(json!({"session": session, "amount": 100}));
    let made = shop.control("POST", &format!("/_sandbox/{what}"), order);
    made["id"].as_str().expect("an id").to_string()
}

/// All of it happens, and Stripe makes no event.
fn matters_follow(shop: &Shop, sessions: &[String]) -> Followed {
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost"}));
    let mut followed = Vec::new();
    for (n, (session, (_, _, by_charge))) in (1..).zip(sessions.iter().zip(WAYS)) {
        for (matter, (what, ..)) in MATTERS.iter().enumerate() {
            let id = follow(shop, what, session);
            if *by_charge {
                let only = json!({"id": id, "with": {"payment_intent": null}});
                shop.control("POST", "/_sandbox/say", only);
            }
            followed.push((n, matter, id));
        }
    }
    followed
}

/// What each becomes is lost as well.
fn matters_change(shop: &Shop, followed: &Followed) {
    for (_, matter, id) in followed {
        let (what, _, [was, is]) = MATTERS[*matter];
        if was != is {
            shop.control("POST", &format!("/_sandbox/{what}s/{id}"), with(json!({"status": is})));
        }
    }
}

/// What the orders know of it: their numbers, ids, and states.
fn known(shop: &Shop, followed: &Followed) -> Vec<String> {
    let ours = |row: &String| followed.iter().any(|(.., id)| row.contains(id.as_str()));
    let mut all: Vec<String> = Vec::new();
    for (_, matter, _) in MATTERS {
        let sql = format!(
            "SELECT o.id, x.id, x.state FROM orders o JOIN ({matter}) x
               ON x.payment_intent_id = o.payment_intent_id
                 OR x.subscription_id = o.subscription_id"
        );
        all.extend(shop.rows(&sql).into_iter().filter(ours));
    }
    all.sort();
    all
}

/// The same where all of it is known, as it was at first or has become.
fn all_of(followed: &Followed, at: usize) -> Vec<String> {
    let row =
        |(n, matter, id): &(usize, usize, String)| format!("{n}|{id}|{}", MATTERS[*matter].2[at]);
    let mut all: Vec<String> = followed.iter().map(row).collect();
    all.sort();
    all
}

/// A subscription from before the shop's file was made, and what follows its payments now.
fn of_somebody_else(shop: &Shop) -> Vec<String> {
    let order = with(json!({"scenario": "subscription", "ago_s": 40 * 24 * 3600}));
    let made = shop.control("POST", "/_sandbox/trigger", order);
    let theirs = Purchase::of(&made["purchases"][0]).session;
    let later = act(shop, "renew", json!({"session": theirs})).session;
    vec![follow(shop, "refund", &theirs), follow(shop, "dispute", &later)]
}

fn nobody_else_s(shop: &Shop, others: &[String]) {
    let all = shop.rows("SELECT id FROM refunds UNION ALL SELECT id FROM disputes");
    assert!(!others.iter().any(|id| all.contains(id)), "{others:?}");
}

#[test]
fn whatever_follows_money_of_which_stripe_makes_no_event_is_found_by_the_sweep() {
    let shop = looking();
    let sessions = sell(&shop);
    let followed = matters_follow(&shop, &sessions);
    let others = of_somebody_else(&shop);
    let all_are = |at: usize| {
        let expected = all_of(&followed, at);
        wait_for("all of it is known", || (known(&shop, &followed) == expected).then_some(()));
        shop.settle();
    };
    all_are(0);
    matters_change(&shop, &followed);
    all_are(1);
    nobody_else_s(&shop, &others);
    shop.check();
}

#[test]
fn whatever_follows_money_of_which_stripe_makes_no_event_is_found_by_reconcile() {
    let mut shop = Shop::open_with(&[], &["--webhook", "none", "--rate", "0"]);
    let sessions = sell(&shop);
    shop.stop();
    let followed = matters_follow(&shop, &sessions);
    let others = of_somebody_else(&shop);
    // A subscription of which the shop heard nothing at all, and both payments of its invoice.
    let unheard = shop.buy("subscription", 1, "snapshot").remove(0).session;
    let again = act(&shop, "pay_again", json!({"session": unheard})).session;
    let mut whole = followed.clone();
    for session in [unheard, again] {
        whole.push((WAYS.len() + 1, 0, follow(&shop, "refund", &session)));
    }
    let first_line = |n: usize, what: &str| {
        let dry = what == "missing";
        let done = reconcile(&shop, if dry { &["--dry-run"] } else { &[] });
        assert_eq!(done.status.code(), Some(i32::from(dry)), "{}", said(&done));
        let count = format!("{what} {n}, differing 0, cannot 0\n");
        assert!(said(&done).contains(&count), "{count}{}", said(&done));
    };
    first_line(whole.len() + 1, "missing");
    first_line(whole.len() + 1, "added");
    assert_eq!(known(&shop, &whole), all_of(&whole, 0));
    matters_change(&shop, &followed);
    let done = reconcile(&shop, &[]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(known(&shop, &followed), all_of(&followed, 1));
    first_line(0, "added");
    nobody_else_s(&shop, &others);
    shop.check();
}

#[test]
fn money_of_a_won_dispute_that_comes_back_without_an_event_is_booked_back() {
    let shop = looking();
    let session = shop.buy("card", 1, "snapshot").remove(0).session;
    let booked = |kinds: [&str; 2]| {
        let sql = "SELECT DISTINCT what FROM bookings WHERE what GLOB 'chargeback*' ORDER BY 1";
        let kinds: Vec<&str> = kinds.into_iter().filter(|kind| !kind.is_empty()).collect();
        wait_for("it is booked", || (shop.rows(sql) == kinds).then_some(()));
    };
    let id = follow(&shop, "dispute", &session);
    booked(["chargeback", ""]);
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost"}));
    let moved = |amount: i64, at_s: i64| {
        let at = 1_795_489_500 + at_s;
        json!({"object": "balance_transaction", "amount": amount, "currency": "eur", "created": at})
    };
    let say = |moves: Value| {
        let with = json!({"balance_transactions": moves});
        shop.control("POST", "/_sandbox/say", json!({"id": id, "with": with}));
    };
    // It is won some days before the bank pays.
    say(json!([moved(-100, 0)]));
    shop.control("POST", &format!("/_sandbox/disputes/{id}"), with(json!({"status": "won"})));
    wait_for("it is won", || (shop.rows("SELECT status FROM disputes") == ["won"]).then_some(()));
    booked(["chargeback", ""]);
    say(json!([moved(-100, 0), moved(100, 1)]));
    booked(["chargeback", "chargeback returned"]);
    shop.settle();
    shop.check();
}

/// What becomes of money that is under way or held: the scenario, and the control with its order.
const UNDER_WAY: [(&str, &str, &str, &str); 5] = [
    ("authorized", "lapse", "", "voided"),
    ("authorized", "capture", "", "paid"),
    ("unpaid", "settle", "failed", "voided"),
    ("unpaid", "settle", "succeeded", "paid"),
    ("bank-transfer", "settle", "succeeded", "paid"),
];

/// An order of each, of which the rest is never heard.
fn under_way(shop: &Shop) {
    let sold: Vec<String> = UNDER_WAY
        .iter()
        .map(|(scenario, ..)| {
            let sold = shop.buy(scenario, 1, "snapshot").remove(0);
            sold.events.iter().for_each(|(id, _)| assert_eq!(shop.deliver(id), 200));
            shop.settle();
            sold.session
        })
        .collect();
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost"}));
    for (session, (_, what, outcome, _)) in sold.iter().zip(UNDER_WAY) {
        let order = if outcome.is_empty() { json!({}) } else { json!({"outcome": outcome}) };
        let mut order = with(order);
        order["session"] = json!(session);
        shop.control("POST", &format!("/_sandbox/{what}"), order);
    }
}

const STANDS: &str = "SELECT financial_status FROM order_overview ORDER BY id";

#[test]
fn money_under_way_of_which_stripe_makes_no_event_is_asked_after_by_itself() {
    let shop = looking();
    under_way(&shop);
    // A day later.
    shop.shell(
        "UPDATE actor SET name = 'fulfilld:test'; UPDATE orders SET as_of = '2026-01-01T00:00:00Z'
         WHERE payment_status = 'unpaid'; UPDATE actor SET name = 'operator';",
    )
    .expect("time passes");
    let expected = UNDER_WAY.map(|(.., stands)| stands);
    wait_for("it is known", || (shop.rows(STANDS) == expected).then_some(()));
    shop.settle();
    shop.check();
}

#[test]
fn money_under_way_of_which_stripe_makes_no_event_is_found_by_reconcile() {
    let mut shop = Shop::open_with(&[], &["--webhook", "none", "--rate", "0"]);
    under_way(&shop);
    shop.stop();
    let done = reconcile(&shop, &[]);
    assert!(done.status.success(), "{}", said(&done));
    let counts = format!("added 0, differing {}, cannot 0\n", UNDER_WAY.len());
    assert!(said(&done).contains(&counts), "{}", said(&done));
    assert_eq!(shop.rows(STANDS), UNDER_WAY.map(|(.., stands)| stands));
    assert!(said(&reconcile(&shop, &[])).contains("differing 0"), "nothing is left");
    shop.check();
}
