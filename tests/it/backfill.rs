//! What never arrived: found by looking for it, once, within a bounded number of requests; and
//! compared by `reconcile`.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::{Value, json};

use crate::arrivals::facts;
use crate::shop::{Purchase, Shop, fulfilld, wait_for};

/// A shop that looks once a second, whose Stripe delivers nothing by itself.
pub fn looking() -> Shop {
    looking_with(&["--webhook", "none", "--rate", "0"])
}

fn looking_with(sandbox: &[&str]) -> Shop {
    Shop::open_with(&[("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "1")], sandbox)
}

/// So many purchases, every tenth refunded, every twentieth disputed; no event of them is
/// delivered.
fn trade(shop: &Shop, count: usize) -> Vec<Purchase> {
    let purchases = shop.buy("card", count, "snapshot");
    for (i, purchase) in purchases.iter().enumerate() {
        let order = json!({"session": purchase.session, "amount": 100, "deliver": false});
        if i % 10 == 0 {
            shop.control("POST", "/_sandbox/refund", order.clone());
        }
        if i % 20 == 1 {
            shop.control("POST", "/_sandbox/dispute", order);
        }
    }
    purchases
}

fn count(shop: &Shop, sql: &str) -> usize {
    shop.one(sql).parse().expect("a count")
}

fn wait_for_count(shop: &Shop, sql: &str, n: usize) {
    wait_for(&format!("{n} from {sql}"), || (count(shop, sql) == n).then_some(()));
}

/// How many requests the simulated Stripe got since the last call, by endpoint.
fn requested(shop: &Shop) -> Value {
    shop.control("DELETE", "/_sandbox/stats", Value::Null)["requests"].clone()
}

fn requests(requested: &Value, endpoint: &str) -> u64 {
    requested[endpoint]
        .as_object()
        .map_or(0, |by_status| by_status.values().filter_map(Value::as_u64).sum())
}

pub fn reconcile(shop: &Shop, arguments: &[&str]) -> Output {
    fulfilld()
        .arg("reconcile")
        .args(arguments)
        .env("FULFILLD_DB", shop.file())
        .env("FULFILLD_STRIPE_API", &shop.stripe.url)
        .env("FULFILLD_STRIPE_RATE", "2000")
        .env("STRIPE_SECRET_KEY", "rk_test_of_the_shop")
        .output()
        .expect("the program runs")
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn whatever_happened_while_nobody_listened_is_there_once_within_the_budget() {
    let mut shop = looking();
    let before = trade(&shop, 1);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 1);
    shop.settle();
    shop.stop();
    // Of the next ones Stripe makes no event at all; of the others it makes some that nobody takes.
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost", "times": 40}));
    let unheard = trade(&shop, 20);
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    let heard = trade(&shop, 480);
    requested(&shop);
    let all = before.len() + unheard.len() + heard.len();
    shop.start();
    wait_for_count(&shop, "SELECT count(*) FROM orders", all);
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 1 + 2 + 48);
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 1 + 24);
    shop.settle();
    shop.stop();
    let requested = requested(&shop);
    // One request an order; three a refund and two a dispute (its payment, its session); the lists
    // by the hundred.
    assert!(requests(&requested, "checkout_session") <= 510, "{requested}");
    assert!(
        requests(&requested, "refund") <= 60 && requests(&requested, "dispute") <= 30,
        "{requested}"
    );
    let looks = requests(&requested, "events");
    assert!(looks >= 6, "all pages were requested: {requested}");
    assert_eq!(
        shop.rows("SELECT source, count(*) > 500 FROM events GROUP BY 1"),
        ["backfill|1"],
        "nothing of it came by webhook"
    );
    assert_eq!(
        shop.rows("SELECT id, state, state_reason FROM events WHERE state NOT IN('done')"),
        [""; 0]
    );
    shop.check();
    // From now on a look finds nothing, and requests next to nothing.
    shop.start();
    wait_for("two more looks", || {
        (requests(&shop.control("GET", "/_sandbox/stats", Value::Null)["requests"], "events")
            >= looks / 3)
            .then_some(())
    });
    shop.stop();
    assert_eq!(requests(&self::requested(&shop), "checkout_session"), 0);
}

#[test]
fn killed_again_and_again_while_it_catches_up_it_ends_in_the_same_rows() {
    let mut shop = looking();
    shop.stop();
    let purchases = trade(&shop, 230);
    for _ in 0..6 {
        shop.start();
        let orders = "SELECT count(*) FROM orders";
        let had = count(&shop, orders);
        wait_for("it is in the middle of it", || {
            (count(&shop, orders) > had || had == 230).then_some(())
        });
        shop.kill();
    }
    shop.start();
    wait_for_count(&shop, "SELECT count(*) FROM orders", purchases.len());
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 23);
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 12);
    // What a worker had in hand when it was killed is due again at the next start.
    shop.settle();
    shop.check();
    assert_eq!(shop.one("SELECT count(*) FROM outbox WHERE topic = 'order.paid'"), "230");
}

#[test]
fn a_list_that_misbehaves_costs_a_second_look_and_no_order() {
    for kind in
        ["repeat", "skip", "loop", "cut", "short", "half", "garbage", "shrug", "odd", "close"]
    {
        let shop = looking();
        for endpoint in ["events", "checkout_sessions", "refunds"] {
            shop.control(
                "POST",
                "/_sandbox/faults",
                json!({"endpoint": endpoint, "kind": kind, "times": 2}),
            );
        }
        trade(&shop, 12);
        wait_for_count(&shop, "SELECT count(*) FROM orders", 12);
        wait_for_count(&shop, "SELECT count(*) FROM refunds", 2);
        wait_for_count(&shop, "SELECT count(*) FROM disputes", 1);
        shop.settle();
        shop.check();
    }
}

#[test]
fn a_refused_key_stops_requests_and_everything_continues_when_it_is_fixed() {
    let shop = looking();
    shop.control("POST", "/_sandbox/faults", json!({"kind": "status", "status": 401}));
    trade(&shop, 3);
    let heard = shop.buy("card", 1, "snapshot").remove(0);
    for (event, _) in &heard.events {
        assert_eq!(shop.deliver(event), 200, "receiving goes on");
    }
    wait_for("it is said", || (shop.get("/readyz").1.contains("STRIPE_SECRET_KEY")).then_some(()));
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 4);
    wait_for("it is well", || (shop.get("/readyz").0 == 200).then_some(()));
    shop.check();
}

#[test]
fn a_key_that_may_not_list_events_says_so_and_the_sessions_are_still_found() {
    let shop = looking();
    shop.control(
        "POST",
        "/_sandbox/faults",
        json!({"endpoint": "events", "kind": "status", "status": 403}),
    );
    trade(&shop, 2);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 2);
    wait_for_count(&shop, "SELECT count(*) FROM alarms WHERE name = 'key_lacks_permission'", 1);
}

#[test]
fn webhooks_that_do_not_come_are_noticed_and_the_orders_are_there() {
    let shop = looking();
    let webhook = format!("{}/webhook", shop.desk().url);
    let trigger = json!({"scenario": "card", "count": 1});
    shop.control("POST", "/_sandbox/webhook", json!({"url": webhook}));
    shop.control("POST", "/_sandbox/trigger", trigger.clone());
    wait_for_count(&shop, "SELECT count(*) FROM orders", 1);
    wait_for("a look or two", || {
        (requests(&shop.control("GET", "/_sandbox/stats", Value::Null)["requests"], "events") >= 3)
            .then_some(())
    });
    assert_eq!(shop.rows("SELECT name, message FROM alarms"), [""; 0]);
    assert_eq!(shop.get("/readyz"), (200, "ready".into()));

    shop.control("POST", "/_sandbox/endpoint", json!({"url": webhook, "status": "disabled"}));
    shop.control("POST", "/_sandbox/trigger", trigger.clone());
    wait_for_count(&shop, "SELECT count(*) FROM attention WHERE reason = 'silence'", 1);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 2);
    let (status, causes) = shop.get("/readyz");
    assert!(
        status == 503
            && causes.contains("webhooks do not come: Stripe made 1 checkout.session.completed"),
        "{causes}"
    );
    assert!(causes.contains(&format!("Stripe's endpoint {webhook} is disabled")), "{causes}");
    assert!(shop.get("/metrics").1.lines().any(|line| line == "fulfilld_silence 1"));

    shop.control("POST", "/_sandbox/endpoint", json!({"url": webhook, "status": "enabled"}));
    shop.control("POST", "/_sandbox/trigger", trigger);
    wait_for_count(&shop, "SELECT count(*) FROM alarms", 0);
    wait_for("it is well", || (shop.get("/readyz").0 == 200).then_some(()));
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "3");
}

#[test]
fn a_thin_event_and_its_twin_are_processed_once() {
    let mut shop = Shop::open();
    for purchase in shop.buy("card", 3, "both") {
        for (event, _) in &purchase.events {
            let body: Value = serde_json::from_slice(&shop.body(event)).expect("JSON");
            if body["object"] == "v2.core.event" {
                assert_eq!(shop.deliver(event), 200);
            }
        }
    }
    shop.settle();
    shop.stop();
    for name in ["FULFILLD_BACKFILL_EVERY", "FULFILLD_SWEEP_EVERY"] {
        shop.settings.push((name.into(), "1".into()));
    }
    requested(&shop);
    shop.start();
    wait_for("a look or two", || {
        (requests(&shop.control("GET", "/_sandbox/stats", Value::Null)["requests"], "events") >= 3)
            .then_some(())
    });
    // Stripe lists snapshots, and what came is thin.
    assert_eq!(
        shop.rows("SELECT shape, source, count(*) > 0 FROM events GROUP BY 1, 2"),
        ["thin|webhook|1"]
    );
    assert_eq!(shop.rows("SELECT name FROM alarms"), [""; 0]);
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "3");
}

#[test]
fn a_fresh_purchase_does_not_wait_behind_what_is_fetched() {
    let mut shop = looking_with(&["--webhook", "none", "--rate", "0", "--latency", "100"]);
    shop.settings.push(("FULFILLD_STRIPE_RATE".into(), "20".into()));
    shop.stop();
    trade(&shop, 300);
    shop.start();
    wait_for("it catches up", || (count(&shop, "SELECT count(*) FROM orders") > 5).then_some(()));
    let fresh = shop.buy("card", 1, "snapshot").remove(0);
    let completed = fresh
        .events
        .iter()
        .find(|(_, kind)| kind == "checkout.session.completed")
        .expect("it is told");
    let before = count(&shop, "SELECT count(*) FROM orders");
    assert_eq!(shop.deliver(&completed.0), 200);
    let order = format!("FROM orders WHERE checkout_session_id = '{}'", fresh.session);
    wait_for_count(&shop, &format!("SELECT count(*) {order}"), 1);
    let earlier = format!("SELECT count(*) FROM orders WHERE id < (SELECT id {order})");
    let earlier = count(&shop, &earlier);
    assert!(earlier < before + 100, "{before} when it was posted, and then {earlier} before it");
}

#[test]
fn yesterdays_copy_becomes_todays_file_and_what_was_typed_since_is_named() {
    let mut shop = looking();
    let first = trade(&shop, 4);
    wait_for_count(&shop, "SELECT count(*) FROM orders", first.len());
    shop.settle();
    shop.stop();
    let copy = shop.dir.path().join("yesterday.db");
    shop.shell(&format!("VACUUM INTO '{}'", copy.display())).expect("a copy");
    shop.start();
    trade(&shop, 25);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 29);
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 4);
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 3);
    shop.settle();
    let today = facts(&shop);
    let (sent, noted) =
        (shop.one("SELECT min(order_id) FROM to_ship"), shop.one("SELECT max(id) FROM orders"));
    shop.shell(&format!(
        "INSERT INTO ship VALUES({sent}, 'DHL', 'JD0146000034', NULL); UPDATE orders \
         SET note = 'for Ada' WHERE id = {noted}"
    ))
    .expect("typed");
    shop.stop();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", shop.file().display()));
    }
    std::fs::rename(&copy, shop.file()).expect("restored");
    shop.start();
    wait_for_count(&shop, "SELECT count(*) FROM orders", 29);
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 4);
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 3);
    shop.settle();
    assert_eq!(facts(&shop), today);
    let lost = shop.one("SELECT what FROM attention WHERE reason = 'file_went_back'");
    assert!(lost.contains(&format!("order {sent}: fulfillment")), "{lost}");
    assert!(lost.contains(&format!("order {noted}: note")), "{lost}");
    assert!(
        !lost.contains("Ada") && !lost.contains("JD0146"),
        "what was typed is nobody's business: {lost}"
    );
    shop.check();
    shop.shell("DELETE FROM alarms WHERE name = 'file_went_back'").expect("it is dealt with");
    shop.stop();
    shop.start();
    // That no webhook comes here may be said as well, by now.
    let again = "SELECT name FROM alarms WHERE name = 'file_went_back'";
    assert_eq!(shop.rows(again), [""; 0], "it is said once");
}

#[test]
fn an_order_that_was_added_by_hand_is_nothing_to_reconcile() {
    let shop = Shop::open();
    for (id, _) in shop.buy("card", 1, "snapshot").remove(0).events {
        assert_eq!(shop.deliver(&id), 200);
    }
    shop.settle();
    let added = fulfilld()
        .args(["add", "--origin", "market stall", "--name", "Zoe", "--line1", "3 Rue C"])
        .args(["--city", "Lyon", "--country", "FR", "--item", "2 x Card @ 2.50", "--db"])
        .arg(shop.file())
        .output()
        .expect("the program runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let by_hand = "SELECT * FROM orders WHERE origin IS NOT NULL";
    let before = shop.rows(by_hand);
    let done = reconcile(&shop, &[]);
    assert!(done.status.success(), "{}{}", said(&done), String::from_utf8_lossy(&done.stderr));
    let counted = "Stripe has 1, here 1, added 0, differing 0, cannot 0\n";
    assert!(said(&done).starts_with(counted), "{}", said(&done));
    assert_eq!(shop.rows(by_hand), before);
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "2");
}

#[test]
fn an_empty_file_is_filled_by_reconcile_alone_and_no_hook_runs_for_the_past() {
    let mut shop = Shop::open();
    trade(&shop, 21);
    for scenario in ["unpaid", "free", "subscription", "refunded", "disputed", "mixed"] {
        shop.buy(scenario, 1, "snapshot");
    }
    // The file is older than the sales, so hooks are notified of them; the other is younger.
    shop.stop();
    shop.settings.push(("FULFILLD_BACKFILL_EVERY".into(), "1".into()));
    shop.settings.push(("FULFILLD_SWEEP_EVERY".into(), "1".into()));
    shop.start();
    wait_for_count(&shop, "SELECT count(*) FROM orders", 27);
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 4);
    shop.settle();
    let expected = facts(&shop);
    shop.stop();
    let news = "SELECT count(*) FROM outbox WHERE topic GLOB 'order.*' AND outcome IS NOT 'past'";
    let news = count(&shop, news);
    assert!(news >= 26, "{news}");
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", shop.file().display()));
    }
    wait_for("another second", || (crate::shop::unix_now() > newest_sale(&shop) + 1).then_some(()));
    shop.settings.push(("FULFILLD_BACKFILL_EVERY".into(), "0".into()));
    shop.start();
    shop.stop();
    assert_eq!(shop.one("SELECT count(*) FROM events"), "0");

    let dry = reconcile(&shop, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", said(&dry));
    assert!(
        said(&dry).starts_with("Stripe has 33, here 0, missing 33, differing 0, cannot 0\n"),
        "{}",
        said(&dry)
    );
    assert_eq!(shop.one("SELECT count(*) FROM events"), "0", "a dry run writes nothing");

    let done = reconcile(&shop, &[]);
    assert!(done.status.success(), "{}{}", said(&done), String::from_utf8_lossy(&done.stderr));
    assert!(
        said(&done).starts_with("Stripe has 33, here 0, added 33, differing 0, cannot 0\n"),
        "{}",
        said(&done)
    );
    assert_eq!(facts(&shop), expected);
    assert_eq!(
        shop.rows("SELECT topic, state, outcome FROM outbox WHERE outcome IS NOT 'past'"),
        [""; 0]
    );
    shop.check();

    // A hook that is set from now on is notified of what comes from now on.
    let heard = shop.dir.path().join("heard");
    let hook = shop.dir.path().join("hook");
    std::fs::write(
        &hook,
        format!("#!/bin/sh\ncat > /dev/null\necho \"$1 $FULFILLD_KEY\" >> {}\n", heard.display()),
    )
    .and_then(|()| std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)))
    .expect("a hook");
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), hook.display().to_string()));
    shop.start();
    let fresh = shop.buy("card", 1, "snapshot").remove(0);
    fresh.events.iter().for_each(|(event, _)| assert_eq!(shop.deliver(event), 200));
    let order = wait_for("the new order", || {
        shop.rows(&format!("SELECT id FROM orders WHERE checkout_session_id = '{}'", fresh.session))
            .pop()
    });
    wait_for("it is heard", || {
        std::fs::read_to_string(&heard).ok().filter(|text| text.ends_with('\n'))
    });
    wait_for_count(&shop, "SELECT count(*) FROM outbox WHERE state = 'pending'", 0);
    let heard = std::fs::read_to_string(&heard).expect("it was told");
    assert_eq!(
        heard,
        format!("order.paid order:{order}:paid@{}\n", fresh.session),
        "and of nothing older"
    );

    let again = reconcile(&shop, &["--json"]);
    assert!(again.status.success());
    assert_eq!(
        said(&again),
        "{\"added\":0,\"cannot\":0,\"differing\":0,\"here\":34,\"stripe\":34}\n"
    );
}

fn newest_sale(shop: &Shop) -> u64 {
    let (_, events) = crate::shop::request(
        &shop.stripe.url,
        "GET",
        "/v1/events?limit=1",
        &[("Authorization", "Bearer rk_test_1")],
        b"",
    )
    .expect("Stripe answers");
    serde_json::from_str::<Value>(&events).expect("JSON")["data"][0]["created"]
        .as_u64()
        .expect("a time")
}

#[test]
fn what_differs_is_repaired_and_what_cannot_be_is_said() {
    let mut shop = looking();
    trade(&shop, 3);
    wait_for_count(&shop, "SELECT count(*) FROM orders", 3);
    wait_for_count(&shop, "SELECT count(*) FROM refunds", 1);
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 1);
    shop.settle();
    shop.stop();
    let expected = facts(&shop);
    // As only somebody can who knows how to get past the file's own guard.
    shop.shell(
        "UPDATE actor SET name = 'fulfilld:test';
         UPDATE orders SET amount_total = amount_total + 1, as_of = '2026-01-01' WHERE id = 2;
         UPDATE refunds SET status = 'pending', as_of = '2026-01-01';
         UPDATE actor SET name = 'operator';",
    )
    .expect("damage");
    let dry = reconcile(&shop, &["--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(1));
    let rows: Vec<Value> =
        said(&dry).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows[0], json!({"stripe": 5, "here": 3, "missing": 0, "differing": 2, "cannot": 0}));
    assert!(
        rows[1]["of"] == "sessions"
            && rows[1]["outcome"] == "differs"
            && rows[2]["of"] == "refunds",
        "{rows:?}"
    );

    // Beside a running desk the repair is its work.
    shop.settings.push(("FULFILLD_BACKFILL_EVERY".into(), "0".into()));
    shop.start();
    let done = reconcile(&shop, &["--since", "1d"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).starts_with("Stripe has 5, here 3, added 0, differing 2, cannot 0\n"),
        "{}",
        said(&done)
    );
    assert_eq!(facts(&shop), expected);

    shop.stop();
    shop.control(
        "POST",
        "/_sandbox/faults",
        json!({"endpoint": "checkout_session", "kind": "status", "status": 404}),
    );
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    let cannot = reconcile(&shop, &[]);
    assert_eq!(cannot.status.code(), Some(1));
    assert!(
        said(&cannot).starts_with("Stripe has 6, here 5, added 0, differing 0, cannot 1\n"),
        "{}",
        said(&cannot)
    );
    assert!(
        said(&cannot).contains("cannot: failed: Stripe has no such object"),
        "{}",
        said(&cannot)
    );
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    assert!(reconcile(&shop, &[]).status.success());
    assert_eq!(
        shop.one(&format!(
            "SELECT count(*) FROM orders WHERE checkout_session_id = '{}'",
            purchase.session
        )),
        "1"
    );

    shop.control("POST", "/_sandbox/faults", json!({"kind": "status", "status": 500}));
    let down = reconcile(&shop, &[]);
    assert_eq!((down.status.code(), said(&down)), (Some(75), String::new()), "nothing is claimed");
    assert_eq!(reconcile(&shop, &["--since", "yesterday"]).status.code(), Some(64));
}

#[test]
fn an_order_costs_one_request_and_a_replay_another() {
    let shop =
        Shop::open_with(&[("FULFILLD_ECHO_AFTER", "4")], &["--webhook", "none", "--rate", "0"]);
    for purchase in shop.buy("card", 20, "snapshot") {
        // The echo first, as Stripe makes them: a later request covers it. One that comes after the
        // answer needs a request of its own.
        assert_eq!(purchase.events[0].1, "payment_intent.succeeded");
        for (event, _) in &purchase.events {
            assert_eq!(shop.deliver(event), 200);
        }
    }
    shop.settle();
    assert_eq!(shop.rows("SELECT state, count(*) FROM events GROUP BY 1"), ["done|40"]);
    let before = requested(&shop);
    // On a machine that is busy with other work, one or another is requested twice.
    assert!((20..30).contains(&requests(&before, "checkout_session")), "{before}");
    assert!(requests(&before, "checkout_sessions") < 10, "{before}");
    let event = shop.one("SELECT id FROM events WHERE type = 'payment_intent.succeeded' LIMIT 1");
    shop.shell(&format!("UPDATE events SET state = 'pending' WHERE id = '{event}'"))
        .expect("it is due again");
    wait_for("it was requested", || {
        (requests(
            &shop.control("GET", "/_sandbox/stats", Value::Null)["requests"],
            "checkout_session",
        ) == 1)
            .then_some(())
    });
    shop.settle();
}

#[test]
fn how_far_it_has_looked_moves_only_when_all_of_a_list_was_seen() {
    let mut shop = looking();
    // A list of one page would be whole.
    shop.stop();
    let broken = json!({"endpoint": "events", "kind": "half", "only": "starting_after"});
    shop.control("POST", "/_sandbox/faults", broken);
    trade(&shop, 120);
    shop.start();
    // The first page is worked on; the second never comes. The sessions are another list, which
    // nothing holds up.
    wait_for_count(&shop, "SELECT count(*) FROM orders", 120);
    let until = "SELECT count(*) FROM sweeps WHERE name = 'events'";
    for _ in 0..2 {
        requested(&shop);
        wait_for("another look", || {
            (requests(&shop.control("GET", "/_sandbox/stats", Value::Null)["requests"], "events")
                >= 2)
                .then_some(())
        });
        assert_eq!(count(&shop, until), 0);
    }
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    wait_for_count(&shop, until, 1);
}

#[test]
fn a_dispute_that_is_won_lost_and_won_again_without_an_event_ends_won() {
    let shop = looking();
    let session = shop.buy("card", 1, "snapshot").remove(0).session;
    wait_for_count(&shop, "SELECT count(*) FROM orders", 1);
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost"}));
    let order = json!({"session": session, "amount": 100, "deliver": false});
    let dispute =
        shop.control("POST", "/_sandbox/dispute", order)["id"].as_str().expect("an id").to_string();
    wait_for_count(&shop, "SELECT count(*) FROM disputes", 1);
    for status in ["won", "lost", "won", "lost", "won"] {
        let order = json!({"status": status, "deliver": false});
        shop.control("POST", &format!("/_sandbox/disputes/{dispute}"), order);
        wait_for_count(
            &shop,
            &format!("SELECT count(*) FROM disputes WHERE status = '{status}'"),
            1,
        );
    }
    assert_eq!(
        shop.rows("SELECT id, source FROM events WHERE object_id GLOB 'du_*'"),
        [format!("fulfilld_{dispute}|backfill")],
        "one event of our own, however often it rang"
    );
    shop.check();
}

#[test]
fn a_review_and_a_fraud_warning_of_which_no_event_was_made_are_found() {
    let shop = looking();
    let session = shop.buy("card", 1, "snapshot").remove(0).session;
    wait_for_count(&shop, "SELECT count(*) FROM orders", 1);
    shop.control("POST", "/_sandbox/faults", json!({"kind": "lost"}));
    let order = json!({"session": session, "deliver": false});
    let review = shop.control("POST", "/_sandbox/review", order.clone())["id"]
        .as_str()
        .expect("an id")
        .to_string();
    wait_for_count(&shop, "SELECT count(*) FROM to_ship", 0);
    let closed = json!({"status": "approved", "deliver": false});
    shop.control("POST", &format!("/_sandbox/reviews/{review}"), closed);
    wait_for_count(&shop, "SELECT count(DISTINCT order_id) FROM to_ship", 1);
    shop.control("POST", "/_sandbox/fraud_warning", order.clone());
    wait_for_count(&shop, "SELECT count(*) FROM attention WHERE reason = 'fraud_warning'", 1);
    // Refunded, it is no longer actionable.
    shop.control("POST", "/_sandbox/refund", order);
    wait_for_count(&shop, "SELECT count(*) FROM fraud_warnings WHERE actionable = 0", 1);
    shop.settle();
    shop.check();
}

#[test]
fn an_order_without_its_lines_or_its_payment_gets_them() {
    let mut shop = looking();
    shop.buy("subscription", 1, "snapshot");
    shop.buy("card", 1, "snapshot");
    wait_for_count(&shop, "SELECT count(*) FROM orders WHERE payment_intent_id IS NOT NULL", 2);
    shop.settle();
    let expected = shop.rows("SELECT id, payment_intent_id FROM orders ORDER BY id");
    shop.stop();
    shop.shell(
        "UPDATE actor SET name = 'fulfilld:test'; UPDATE orders \
         SET payment_intent_id = NULL; UPDATE actor SET name = 'operator';",
    )
    .expect("damage");
    let dry = reconcile(&shop, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1), "{}", said(&dry));
    assert_eq!(said(&dry).matches("no payment").count(), 2, "{}", said(&dry));
    assert!(reconcile(&shop, &[]).status.success());
    assert_eq!(shop.rows("SELECT id, payment_intent_id FROM orders ORDER BY id"), expected);
    shop.check();
}

#[test]
fn a_list_that_fails_or_may_not_be_seen_stops_no_other() {
    for fault in [
        json!({"kind": "status", "status": 500}),
        json!({"kind": "status", "status": 403}),
        json!({"kind": "garbage"}),
    ] {
        for endpoint in ["events", "refunds", "reviews", "fraud_warnings"] {
            let shop = looking();
            let mut fault = fault.clone();
            fault["endpoint"] = json!(endpoint);
            shop.control("POST", "/_sandbox/faults", fault);
            let session = shop.buy("card", 1, "snapshot").remove(0).session;
            shop.control(
                "POST",
                "/_sandbox/dispute",
                json!({"session": session, "amount": 100, "deliver": false}),
            );
            wait_for_count(&shop, "SELECT count(*) FROM orders", 1);
            wait_for_count(&shop, "SELECT count(*) FROM disputes", 1);
            shop.check();
        }
    }
}

#[test]
fn a_second_event_of_the_same_second_is_not_taken_for_the_twin_of_a_thin_one() {
    let mut shop = Shop::open();
    let session = shop.buy("card", 1, "snapshot").remove(0).session;
    // Two events of one second, thin and as snapshots: one of them arrives, without the name of its
    // twin; the other is lost.
    let order = json!({"session": session, "amount": 100, "status": "pending", "deliver": false});
    let refund =
        shop.control("POST", "/_sandbox/refund", order)["id"].as_str().expect("an id").to_string();
    let [first, _] = ["succeeded", "failed"].map(|status| {
        let order = json!({"status": status, "deliver": false, "shape": "both"});
        Purchase::of(&shop.control("POST", &format!("/_sandbox/refunds/{refund}"), order))
    });
    let body = first.events.iter().map(|(id, _)| shop.body(id)).find(|body| {
        serde_json::from_slice::<Value>(body)
            .is_ok_and(|event| event["type"] == "v1.refund.updated")
    });
    let mut thin: Value = serde_json::from_slice(&body.expect("a thin event")).expect("JSON");
    thin.as_object_mut().expect("an object").remove("snapshot_event");
    assert_eq!(shop.post(thin.to_string().as_bytes()).expect("an answer").0, 200);
    shop.settle();
    shop.stop();
    for name in ["FULFILLD_BACKFILL_EVERY", "FULFILLD_SWEEP_EVERY"] {
        shop.settings.push((name.into(), "1".into()));
    }
    shop.start();
    let named = "SELECT count(*) FROM events WHERE shape = 'thin' AND snapshot_event IS NOT NULL";
    wait_for_count(&shop, named, 1);
    let twin = shop.one("SELECT snapshot_event FROM events WHERE shape = 'thin'");
    assert_eq!(
        count(&shop, &format!("SELECT count(*) FROM events WHERE id = '{twin}'")),
        0,
        "it is one piece of news"
    );
    wait_for_count(
        &shop,
        "SELECT count(*) FROM events WHERE type = 'refund.updated' AND source = 'backfill'",
        1,
    );
    shop.settle();
    shop.check();
}
