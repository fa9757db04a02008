//! Whole lives of orders, paid, refunded, disputed, reviewed, in any order of arrival: the same
//! rows, and nothing sent that must not be.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::arrivals::{afresh, facts, permutations};
use crate::proof;
use crate::shop::{Purchase, Shop, number_of, seed, wait_for};

/// The lives; `tests/it/arrivals.rs` has those that end with the purchase.
pub const LIVES: &[&str] = &[
    "refunded",
    "refunded-in-part",
    "refunded-twice",
    "refund-pending",
    "refund-pending-then-succeeds",
    "refund-requires-action",
    "refund-fails",
    "refund-canceled",
    "refund-first",
    "disputed",
    "dispute-under-review",
    "dispute-won",
    "dispute-lost",
    "dispute-warning",
    "dispute-warning-closed",
    "dispute-warning-escalates",
    "dispute-prevented",
    "dispute-appeal",
    "disputed-twice",
    "refunded-and-disputed",
    "in-review",
    "review-approved",
    "review-refused",
    "fraud-warning",
    "fraud-warning-refunded",
    "delayed-refunded",
    "delayed-disputed",
    "subscription-refunded",
    "subscription-disputed",
    "mixed-refunded-in-part",
    "yen-refunded",
    "dinar-refunded-in-part",
];

/// Each life is delivered in so many orders: in every one, where there are no more, else in random
/// ones. `FULFILLD_TEST_LIVES` sets another number.
const ORDERS: usize = 120;

/// So many of each life are delivered at once, each in another order, all lives mixed with one
/// another in one file.
const CROWD: usize = 20;

/// How many of Stripe's deliveries are under way at once.
const POSTING: usize = 16;

/// How far the desk's clock is off at most, in seconds; a signature is valid for 300.
const STEP_MAX_S: i64 = 250;

/// An event's bodies: the snapshot, and its thin twin.
type Bodies = [Vec<u8>; 2];

/// Lets a life happen at Stripe so many times, to be delivered later.
fn live(shop: &Shop, scenario: &str, times: usize) -> Vec<Vec<Bodies>> {
    let bodies_of = |purchase: Purchase| {
        let bodies: Vec<Vec<u8>> = purchase.events.iter().map(|(id, _)| shop.body(id)).collect();
        let parsed: Vec<Value> =
            bodies.iter().map(|b| serde_json::from_slice(b).expect("JSON")).collect();
        let twin = |snapshot: usize| {
            let thin = parsed
                .iter()
                .position(|e| e["snapshot_event"] == parsed[snapshot]["id"])
                .expect("it has a twin");
            [bodies[snapshot].clone(), bodies[thin].clone()]
        };
        (0..bodies.len()).filter(|i| parsed[*i]["object"] == "event").map(twin).collect()
    };
    shop.buy(scenario, times, "both").into_iter().map(bodies_of).collect()
}

/// The orders in which a life of so many events is delivered: every one, or `None` when they are
/// too many.
fn every_order(events: usize, at_most: usize) -> Option<Vec<Vec<usize>>> {
    let count = (1..=events).try_fold(1usize, |count, n| count.checked_mul(n));
    count.filter(|count| *count <= at_most).map(|_| permutations(events))
}

#[test]
fn every_life_of_an_order_ends_in_the_same_rows_in_any_order_of_arrival() {
    let wanted = number_of("FULFILLD_TEST_LIVES").map_or(ORDERS, |number| number as usize);
    let (orders, events) =
        deliver_lives(LIVES, wanted, None).unwrap_or_else(|fault| panic!("{fault}"));
    proof::came_to(format!("{orders} lives"), events, 0, 0);
}

/// The control: the same orders of arrival catch a desk that stores no refund before it has the
/// order.
#[test]
fn control_lives_catch_a_desk_that_stores_no_refund_before_its_order() {
    let bug = "no_refund_before_the_order";
    let fault = deliver_lives(&["refunded", "disputed"], CROWD, Some(bug));
    let fault = fault.expect_err("no order of arrival showed the planted bug");
    proof::caught(bug, fault.lines().next().unwrap_or_default());
}

/// Delivers each life in so many orders of arrival: how many were delivered, and of how many
/// events; an error says where the rows differ.
fn deliver_lives(
    lives: &[&str],
    wanted: usize,
    planted: Option<&str>,
) -> Result<(usize, usize), String> {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut shop = Shop::open();
    shop.own_clock();
    shop.settings.extend(planted.map(|bug| ("FULFILLD_SABOTAGE".into(), bug.into())));
    let crowds: Vec<Vec<Vec<Bodies>>> =
        lives.iter().map(|scenario| live(&shop, scenario, CROWD)).collect();
    let orders: Vec<Option<Vec<Vec<usize>>>> =
        crowds.iter().map(|crowd| every_order(crowd[0].len(), wanted)).collect();
    let (mut left_before, mut expected, mut delivered_in_all, mut orders_in_all) =
        (0, Vec::new(), 0, 0);
    for round in 0..wanted.div_ceil(CROWD) {
        // Which lives are delivered in this round, and the number of the order in which; a life
        // that has been delivered in each is left out.
        let next = |place: usize| round * CROWD + place;
        let left: Vec<(usize, usize)> = (0..lives.len())
            .flat_map(|life| (0..CROWD).map(move |place| (life, place)))
            .filter(|(life, place)| next(*place) < orders[*life].as_ref().map_or(wanted, Vec::len))
            .collect();
        if left_before != left.len() {
            left_before = left.len();
            let in_order: Vec<&[u8]> = left
                .iter()
                .flat_map(|(life, place)| &crowds[*life][*place])
                .map(|bodies| bodies[0].as_slice())
                .collect();
            expected = delivered(&mut shop, &in_order);
        }
        // Whose turn it is, again and again: each keeps its own order within the crowd.
        let mut queues: Vec<Vec<&[u8]>> = Vec::new();
        for (life, place) in &left {
            let events = &crowds[*life][*place];
            let order = match &orders[*life] {
                Some(every) => every[next(*place)].clone(),
                None => {
                    let mut order: Vec<usize> = (0..events.len()).collect();
                    random.shuffle(&mut order);
                    order
                }
            };
            queues.push(
                order
                    .into_iter()
                    .map(|event| events[event][random.usize(..2)].as_slice())
                    .collect(),
            );
        }
        let mut turns: Vec<usize> =
            queues.iter().enumerate().flat_map(|(i, q)| vec![i; q.len()]).collect();
        random.shuffle(&mut turns);
        queues.iter_mut().for_each(|queue| queue.reverse());
        let mut mixed: Vec<&[u8]> =
            turns.into_iter().filter_map(|life| queues[life].pop()).collect();
        // Now and then Stripe sends one again.
        if round % 3 == 0 {
            let again: Vec<&[u8]> = random.choose_multiple(mixed.iter().copied(), mixed.len() / 4);
            mixed.extend(again);
        }
        delivered_in_all += mixed.len();
        orders_in_all += left.len();
        let found = delivered(&mut shop, &mixed);
        if planted.is_none() {
            proof::so_far(format!("{orders_in_all} lives"), delivered_in_all, 0, 0);
        }
        if found != expected {
            let (there, meant): (HashSet<_>, HashSet<_>) =
                (found.iter().collect(), expected.iter().collect());
            let differs = |a: &HashSet<&String>, b: &HashSet<&String>| {
                a.difference(b).take(20).cloned().cloned().collect::<Vec<_>>()
            };
            return Err(format!(
                "seed {seed}, round {round}: {} rows differ\nthere is {:#?} instead of {:#?}",
                meant.difference(&there).count(),
                differs(&there, &meant),
                differs(&meant, &there)
            ));
        }
    }
    Ok((orders_in_all, delivered_in_all))
}

/// A new file, the events posted a few at a time, and what the file says in the end. All the while
/// the desk's clock is set forth and back, by no more than the age that a signature may have.
fn delivered(shop: &mut Shop, bodies: &[&[u8]]) -> Vec<String> {
    shop.set_clock(0);
    afresh(shop);
    let next = std::sync::Mutex::new(bodies.iter());
    let shop: &Shop = shop;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while next.lock().expect("nobody panics with it").len() > 0 {
                shop.set_clock(fastrand::i64(-STEP_MAX_S..=STEP_MAX_S));
                std::thread::sleep(Duration::from_millis(fastrand::u64(..200)));
            }
        });
        for _ in 0..POSTING {
            threads.spawn(|| {
                loop {
                    let body = next.lock().expect("nobody panics with it").next();
                    let Some(body) = body else { return };
                    assert_eq!(shop.post(body).expect("the desk answers").0, 200);
                }
            });
        }
    });
    shop.settle();
    assert_eq!(shop.rows("SELECT type, state_reason FROM events WHERE state = 'failed'"), [""; 0]);
    shop.check();
    facts(shop)
}

#[test]
fn every_life_leaves_the_order_as_a_shopkeeper_expects() {
    let shop = Shop::open();
    for (scenario, money, goods, blocked_by) in [
        ("refunded", "refunded", "unfulfilled", "refunded"),
        ("refunded-in-part", "partially_refunded", "unfulfilled", ""),
        ("refunded-twice", "refunded", "unfulfilled", "refunded"),
        ("refund-pending", "paid", "unfulfilled", "refunded"),
        ("refund-pending-then-succeeds", "refunded", "unfulfilled", "refunded"),
        ("refund-fails", "paid", "unfulfilled", ""),
        ("refund-canceled", "paid", "unfulfilled", ""),
        ("refund-first", "refunded", "unfulfilled", "refunded"),
        ("disputed", "paid", "on_hold", "disputed"),
        ("dispute-won", "paid", "unfulfilled", ""),
        ("dispute-lost", "charged_back", "on_hold", "dispute lost"),
        ("dispute-warning", "paid", "on_hold", "disputed"),
        ("dispute-warning-closed", "paid", "unfulfilled", ""),
        ("dispute-prevented", "paid", "unfulfilled", ""),
        ("dispute-appeal", "paid", "on_hold", "disputed"),
        ("disputed-twice", "paid", "on_hold", "disputed"),
        ("in-review", "paid", "on_hold", "in review"),
        ("review-approved", "paid", "unfulfilled", ""),
        ("fraud-warning", "paid", "unfulfilled", ""),
        ("subscription-refunded", "refunded", "unfulfilled", "refunded"),
        ("subscription-disputed", "paid", "on_hold", "disputed"),
        ("many-refunds", "partially_refunded", "unfulfilled", ""),
    ] {
        let purchase = shop.buy(scenario, 1, "snapshot").remove(0);
        // The last event alone stands for all that are like it.
        let last = purchase.events.len() - 1;
        for (i, (id, _)) in purchase.events.iter().enumerate() {
            if scenario != "many-refunds" || i < 2 || i == last {
                assert_eq!(shop.deliver(id), 200);
            }
        }
        shop.settle();
        let order = order_of(&shop, &purchase.session);
        let found = format!(
            "SELECT financial_status, fulfillment_status, blocked_by FROM order_overview WHERE id = {order}"
        );
        assert_eq!(shop.one(&found), format!("{money}|{goods}|{blocked_by}"), "{scenario}");
    }
    assert_eq!(
        shop.one(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM refunds GROUP BY payment_intent_id)"
        ),
        "120"
    );
    shop.check();
}

#[test]
fn what_moves_at_stripe_while_the_desk_listens_moves_in_the_file() {
    let shop = Shop::open();
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    let session = purchase.session.clone();
    let mut delivered = purchase.events;
    let mut hear = |made: Value| {
        // All earlier events are delivered again, and after them the new one.
        delivered.extend(Purchase::of(&made).events);
        for (id, _) in &delivered {
            assert_eq!(shop.deliver(id), 200);
            shop.shell(&format!(
                "UPDATE events SET state = 'pending' WHERE id = '{id}' AND state <> 'pending'"
            ))
            .unwrap();
        }
        shop.settle();
        let order = order_of(&shop, &session);
        shop.one(&format!(
            "SELECT financial_status, amount_refunded, refund_pending, blocked_by \
                           FROM order_overview WHERE id = {order}"
        ))
    };
    let act = |what: &str, order: Value| shop.control("POST", &format!("/_sandbox/{what}"), order);
    let on = |more: Value| {
        let mut order = json!({"session": session, "deliver": false, "shape": "thin"});
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        order
    };
    let becomes = |status: &str| json!({"status": status, "deliver": false});
    assert_eq!(hear(act("dispute", on(json!({})))), "paid|0|0|disputed");
    let refused = shop.shell("INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)").unwrap_err();
    assert!(refused.contains("the buyer disputes the payment"), "{refused}");
    let dispute = shop.one("SELECT id FROM disputes");
    assert_eq!(
        hear(act(&format!("disputes/{dispute}"), becomes("under_review"))),
        "paid|0|0|disputed"
    );
    assert_eq!(hear(act(&format!("disputes/{dispute}"), becomes("won"))), "paid|0|0|");
    assert_eq!(hear(act("refund", on(json!({"amount": 300, "status": "pending"})))), "paid|0|300|");
    let refund = shop.one("SELECT id FROM refunds");
    assert_eq!(
        hear(act(&format!("refunds/{refund}"), becomes("succeeded"))),
        "partially_refunded|300|0|"
    );
    assert_eq!(hear(act(&format!("refunds/{refund}"), becomes("failed"))), "paid|0|0|");
    assert_eq!(hear(act("review", on(json!({})))), "paid|0|0|in review");
    let review = shop.one("SELECT id FROM reviews");
    assert_eq!(hear(act(&format!("reviews/{review}"), becomes("approved"))), "paid|0|0|");
    assert_eq!(hear(act("fraud_warning", on(json!({})))), "paid|0|0|");
    // It was disputed before, so nothing can be done about the warning.
    assert_eq!(shop.one("SELECT count(*) FROM attention WHERE reason = 'fraud_warning'"), "0");
    assert_eq!(hear(act("refund", on(json!({})))).split('|').next(), Some("refunded"));
    assert_eq!(shop.one("SELECT count(*) FROM fraud_warnings WHERE actionable = 0"), "1");
    assert_eq!(
        shop.one("SELECT count(*) FROM order_history WHERE what = 'dispute ' || (SELECT id FROM disputes)"),
        "3"
    );
    shop.check();
}

#[test]
fn what_is_not_the_shop_s_by_fulfilld_only_is_ignored_with_that_reason() {
    let only = "metadata.scenario=refunded,disputed";
    let shop = Shop::open_with(&[("FULFILLD_ONLY", only)], &["--webhook", "none", "--rate", "0"]);
    for scenario in [
        "refunded",
        "card",
        "refund-fails",
        "disputed",
        "dispute-won",
        "in-review",
        "fraud-warning",
    ] {
        for (id, _) in &shop.buy(scenario, 1, "snapshot").remove(0).events {
            assert_eq!(shop.deliver(id), 200);
        }
    }
    shop.settle();
    let counts =
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM refunds), (SELECT count(*) FROM disputes),
        (SELECT count(*) FROM reviews), (SELECT count(*) FROM fraud_warnings)";
    assert_eq!(shop.one(counts), "2|1|1|0|0");
    let why = shop.rows("SELECT DISTINCT state_reason FROM events WHERE state <> 'done'");
    assert_eq!(why, [format!("the session is not of FULFILLD_ONLY={only}")]);
}

#[test]
fn a_fulfilld_only_under_which_no_session_is_the_shop_s_is_pointed_out() {
    // What somebody types who forgets which name the thing has in Stripe.
    let mut shop = Shop::open_with(
        &[("FULFILLD_ONLY", "metadata.scenario=digital")],
        &["--webhook", "none", "--rate", "0"],
    );
    let alarms =
        |shop: &Shop| shop.rows("SELECT next FROM attention WHERE reason = 'only_matches_nothing'");
    let deliver = |shop: &Shop, scenario: &str| {
        for (id, _) in &shop.buy(scenario, 1, "snapshot").remove(0).events {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
    };
    deliver(&shop, "card");
    deliver(&shop, "card");
    assert_eq!(alarms(&shop), [""; 0], "two sessions of others are nothing odd");
    deliver(&shop, "card");
    let said = wait_for("it is pointed out", || alarms(&shop).pop());
    assert!(
        said.contains("correct FULFILLD_ONLY") && said.contains("fulfilld replay --state ignored"),
        "{said}"
    );
    deliver(&shop, "digital");
    wait_for("the first order ends it", || alarms(&shop).is_empty().then_some(()));
    (0..3).for_each(|_| deliver(&shop, "card"));
    shop.stop();
    assert_eq!(alarms(&shop), [""; 0], "where some are the shop's, the others are nothing odd");
}

/// A Stripe that answers these paths with these objects, anything else with 404.
pub fn answering(objects: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut head = BufReader::new(stream.try_clone().expect("a second handle"));
            let _ = head.read_line(&mut line);
            let mut rest = String::from("…");
            while !rest.trim().is_empty() {
                rest.clear();
                let _ = head.read_line(&mut rest);
            }
            let path = line.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match objects.get(path.split('?').next().unwrap_or_default()) {
                Some(object) => (200, object.to_string()),
                None => (404, r#"{"error":{"message":"none"}}"#.into()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status} .\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
fn a_refund_that_is_foreign_odd_or_known_by_its_charge_alone_is_treated_as_what_it_is() {
    let none = json!({"object": "list", "data": [], "has_more": false});
    let list = |row: Value| json!({"object": "list", "data": [row], "has_more": false});
    let refund = |more: Value| {
        let mut refund = json!({"id": "re_1", "object": "refund", "amount": 5, "currency": "eur",
            "status": "succeeded", "charge": "py_1", "payment_intent": null});
        refund.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refund
    };
    let session =
        list(json!({"id": "cs_test_1", "object": "checkout.session", "payment_intent": "pi_1"}));
    let paid = list(
        json!({"object": "invoice_payment", "invoice": "in_1", "payment": {"payment_intent": "pi_1"}}),
    );
    for (object, refund, sessions, invoices, state, said) in [
        ("re_1", refund(json!({})), &session, &none, "done", "refund pi_1 5"),
        ("py_1", refund(json!({})), &session, &none, "done", "refund pi_1 5"),
        ("re_1", refund(json!({})), &none, &paid, "done", "refund pi_1 5"),
        (
            "re_1",
            refund(json!({})),
            &none,
            &none,
            "ignored",
            "no Checkout Session belongs to this payment",
        ),
        (
            "re_1",
            refund(json!({"charge": null})),
            &session,
            &none,
            "ignored",
            "no Checkout Session belongs to this payment",
        ),
        (
            "re_1",
            refund(json!({"status": "lost_at_sea"})),
            &session,
            &none,
            "done",
            "refund pi_1 5",
        ),
        ("re_1", refund(json!({"amount": 0})), &session, &none, "failed", "is of 0"),
        ("re_2", refund(json!({})), &session, &none, "failed", "no such object"),
    ] {
        let stripe = answering(json!({
            "/v1/refunds/re_1": refund, "/v1/refunds": list(refund.clone()),
            "/v1/charges/py_1": {"id": "py_1", "object": "charge", "payment_intent": "pi_1"},
            "/v1/checkout/sessions": sessions, "/v1/invoice_payments": invoices
        }));
        let shop = Shop::open_with(&[("FULFILLD_STRIPE_API", &stripe)], &["--webhook", "none"]);
        let event = json!({"id": "evt_1", "object": "event", "type": "charge.refunded", "livemode": false,
            "data": {"object": {"id": object, "amount_refunded": 999_999}}});
        assert_eq!(shop.post(event.to_string().as_bytes()).unwrap().0, 200);
        shop.settle();
        let found = shop.rows(
            "SELECT state || ' ' || coalesce(state_reason, (SELECT 'refund ' || payment_intent_id \
             || ' ' || amount FROM refunds)) FROM events",
        );
        assert!(
            found[0].starts_with(state) && found[0].contains(said),
            "{object} {refund}: {found:?}"
        );
    }
}

#[test]
fn a_refund_that_cannot_be_read_is_shown_and_the_others_of_its_payment_are_kept() {
    let refund = |id: &str, more: Value| {
        let mut refund = json!({"id": id, "object": "refund", "amount": 200, "currency": "eur",
            "status": "succeeded", "charge": "py_1", "payment_intent": "pi_1"});
        refund.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refund
    };
    let refunds = json!([
        refund("re_1", json!({})),
        refund("re_2", json!({"amount": 0})),
        refund("re_3", json!({"status": "lost_at_sea"})),
        refund("re_4", json!({"currency": null})),
        refund("re_5", json!({"amount": 300, "status": "pending"})),
    ]);
    let list = |rows: Value| json!({"object": "list", "data": rows, "has_more": false});
    // Paid just now: an order of some days ago would be one that attention shows as unsent.
    let created = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let line = json!({"id": "li_1", "object": "item", "description": "Mug", "quantity": 1,
        "currency": "eur", "amount_subtotal": 900, "amount_total": 900});
    let session = json!({"id": "cs_test_1", "object": "checkout.session", "livemode": false,
        "mode": "payment", "status": "complete", "payment_status": "paid",
        "payment_intent": "pi_1", "currency": "eur", "amount_subtotal": 900, "amount_total": 900, "created": created,
        "line_items": list(json!([line]))});
    let stripe = answering(json!({
        "/v1/refunds/re_1": refunds[0], "/v1/refunds/re_3": refunds[2], "/v1/refunds": list(refunds.clone()),
        "/v1/checkout/sessions/cs_test_1": session, "/v1/checkout/sessions": list(json!([session])),
    }));
    let shop = Shop::open_with(&[("FULFILLD_STRIPE_API", &stripe)], &["--webhook", "none"]);
    for (n, kind, object) in [
        (1, "checkout.session.completed", "cs_test_1"),
        (2, "refund.updated", "re_1"),
        (3, "refund.updated", "re_3"),
    ] {
        let event = json!({"id": format!("evt_{n}"), "object": "event", "type": kind,
            "livemode": false, "data": {"object": {"id": object}}});
        assert_eq!(shop.post(event.to_string().as_bytes()).unwrap().0, 200);
        shop.settle();
    }
    assert_eq!(
        shop.rows("SELECT id, status FROM refunds ORDER BY id"),
        ["re_1|succeeded", "re_3|lost_at_sea", "re_5|pending"]
    );
    // What is given back is what is known to be; what may be on its way is not sent with the goods
    // all the same.
    let money = "SELECT financial_status, amount_refunded, refund_pending FROM order_overview";
    assert_eq!(shop.one(money), "partially_refunded|200|500");
    let parked = shop.rows("SELECT id, state, state_reason FROM events WHERE state <> 'done'");
    assert_eq!(parked.len(), 2, "{parked:?}");
    for (row, id) in parked.iter().zip(["evt_2|failed|", "evt_3|failed|"]) {
        assert!(
            row.starts_with(id)
                && row.contains("re_2 is of 0")
                && row.contains("re_4 has no currency"),
            "{row}"
        );
    }
    let seen =
        shop.rows("SELECT reason, what FROM attention WHERE reason <> 'sums_differ' ORDER BY 1, 2");
    let [first, second, unknown] = &seen[..] else { panic!("{seen:?}") };
    assert!(first.starts_with("event_failed|") && second.starts_with("event_failed|"), "{seen:?}");
    assert!(unknown.starts_with("refund_unknown|") && unknown.contains("lost_at_sea"), "{seen:?}");
    shop.check();
}

/// The number of the order that a session became.
fn order_of(shop: &Shop, session: &str) -> String {
    shop.one(&format!("SELECT id FROM orders WHERE checkout_session_id = '{session}'"))
}
