//! This server's clock is wrong, or is set: no order is lost by it, nothing waits for hours, and
//! an alarm says so.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::shop::{SECRET, Shop, request, sign, unix_now, wait_for};

/// A shop that looks once a second; by its Stripe, this server's clock is so many seconds fast.
fn shop_with_a_clock_that_is_fast(fast_s: i64) -> Shop {
    let mut shop = Shop::open_with(
        &[("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "1")],
        &["--webhook", "none", "--rate", "0"],
    );
    shop.stop();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", shop.file().display()));
    }
    shop.control("POST", "/_sandbox/clock", json!({"skew_s": -fast_s}));
    shop.start();
    shop
}

/// Posts an event as Stripe would, signed by Stripe's clock.
fn post_at(shop: &Shop, event: &str, t: i64) -> u16 {
    let body = shop.body(event);
    let signature = sign(&body, SECRET, t.try_into().expect("after 1970"));
    request(&shop.desk().url, "POST", "/webhook", &[("Stripe-Signature", &signature)], &body)
        .expect("an answer")
        .0
}

fn alarm(shop: &Shop, sign: &str) -> String {
    wait_for("attention tells of the clock", || {
        shop.rows("SELECT what || ' -> ' || next FROM attention WHERE reason = 'clock_wrong'")
            .pop()
            .filter(|told| told.contains(sign))
    })
}

#[test]
fn a_shop_born_with_a_fast_clock_takes_its_webhooks_and_raises_an_alarm() {
    let shop = shop_with_a_clock_that_is_fast(7200);
    let told = alarm(&shop, "fast");
    assert!(told.contains("s fast by Stripe's") && told.contains("timedatectl"), "{told}");
    wait_for("readyz says so", || {
        Some(shop.get("/readyz")).filter(|(s, why)| *s == 503 && why.contains("clock_wrong: "))
    });
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    let stripes_now = unix_now() as i64 - 7200;
    for (event, _) in &purchase.events {
        assert_eq!(post_at(&shop, event, stripes_now), 200, "signed just now, by Stripe's clock");
    }
    let body = shop.body(&purchase.events[0].0);
    let old = sign(&body, SECRET, (stripes_now - 400).try_into().expect("after 1970"));
    let headers = [("Stripe-Signature", old.as_str())];
    let answer = request(&shop.desk().url, "POST", "/webhook", &headers, &body).expect("an answer");
    assert_eq!(answer.0, 400, "an old signature is old by Stripe's clock too: {}", answer.1);
    wait_for("the order is there", || {
        (shop.one("SELECT count(*) FROM orders") == "1").then_some(())
    });

    shop.control("POST", "/_sandbox/clock", json!({"skew_s": 0}));
    wait_for("it ends", || {
        (shop.one("SELECT count(*) FROM alarms WHERE name = 'clock_wrong'") == "0").then_some(())
    });
    assert!(!shop.get("/readyz").1.contains("clock_wrong: "));
}

/// A shop that looks once a second, born by a clock of its own.
fn shop_of_its_own_time(ahead_s: i64, settings: &[(&str, &str)]) -> Shop {
    let mut shop = Shop::open_with(settings, &["--webhook", "none", "--rate", "0"]);
    shop.stop();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", shop.file().display()));
    }
    shop.own_clock();
    shop.set_clock(ahead_s);
    shop.start();
    shop
}

const LOOKING: [(&str, &str); 2] =
    [("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "1")];

/// The events alone: the other lists are looked through once, at the start.
const LOOKING_AT_EVENTS: [(&str, &str); 2] =
    [("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "86400")];

/// A condition on the file, however this process's own clock stands.
fn wait_until(shop: &Shop, what: &str, sql: &str) {
    wait_for(what, || (shop.one(sql) == "1").then_some(()));
}

/// A hook that notes each run in `runs` and ends as the file `code` says.
fn hook(shop: &mut Shop) {
    let path = shop.dir.path().join("hook");
    let dir = shop.dir.path().display();
    let script =
        format!("#!/bin/sh\ncat > /dev/null\necho \"$1\" >> {dir}/runs\nexit $(cat {dir}/code)\n");
    std::fs::write(&path, script)
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::write(shop.dir.path().join("code"), "0"))
        .expect("a hook");
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), path.display().to_string()));
}

#[test]
fn a_shop_born_two_days_ahead_finds_what_was_sold_since_and_notifies_its_hooks() {
    let shop = shop_of_its_own_time(172_800, &LOOKING);
    shop.buy("card", 1, "snapshot");
    wait_until(&shop, "the order is found", "SELECT count(*) FROM orders");
    let born = "SELECT created_at <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now') FROM shop";
    wait_until(&shop, "it was born when it was", born);
    assert_eq!(shop.rows("SELECT topic FROM outbox WHERE outcome = 'past'"), [""; 0]);
    assert!(alarm(&shop, "fast").contains("fast"));
}

#[test]
fn webhooks_that_do_not_come_are_noticed_by_a_fast_clock_and_by_a_slow_one() {
    for ahead_s in [7200, -7200] {
        let shop = shop_of_its_own_time(ahead_s, &LOOKING_AT_EVENTS);
        wait_until(
            &shop,
            "the clock is known to be wrong",
            "SELECT count(*) FROM alarms WHERE name = 'clock_wrong'",
        );
        // Stripe gives times in whole seconds: one that was made in the second of the start may
        // have been before it.
        let started = unix_now();
        wait_for("another second", || (unix_now() > started + 1).then_some(()));
        shop.buy("in-review", 1, "snapshot");
        let review = "SELECT count(*) FROM events WHERE type = 'review.opened' AND id GLOB 'evt_*' \
                      AND source = 'backfill'";
        wait_until(&shop, "what was lost is fetched", review);
        wait_until(
            &shop,
            "silence is told",
            "SELECT count(*) FROM attention WHERE reason = 'silence'",
        );
        let until = "SELECT max(until) <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now') FROM sweeps";
        wait_until(&shop, "no cursor passes now", until);
    }
}

#[test]
fn one_row_from_the_future_moves_no_list_there() {
    let shop = shop_of_its_own_time(0, &LOOKING);
    let ahead = json!({"kind": "ahead"});
    shop.control("POST", "/_sandbox/faults", ahead);
    let session = shop.buy("card", 1, "snapshot").remove(0).session;
    let order = json!({"session": session, "amount": 100, "deliver": false});
    for what in ["refund", "dispute"] {
        shop.control("POST", &format!("/_sandbox/{what}"), order.clone());
    }
    wait_until(
        &shop,
        "all is there",
        "SELECT (SELECT count(*) FROM refunds) = 1 AND (SELECT count(*) FROM disputes) = 1",
    );
    let until =
        "SELECT count(*) > 0 AND max(until) <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now') FROM sweeps";
    wait_until(&shop, "no cursor is ahead", until);
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    shop.buy("card", 1, "snapshot");
    wait_until(&shop, "the next is found", "SELECT count(*) = 2 FROM orders");
}

#[test]
fn what_came_while_the_clock_was_ahead_is_processed_when_it_is_set_back() {
    // An hour ahead is no longer than a pause may be, so the next process knows by its note alone.
    for (running, ahead_s) in [(true, 86_400), (false, 86_400), (false, 3600)] {
        let mut shop = shop_of_its_own_time(0, &[]);
        hook(&mut shop);
        shop.stop();
        shop.set_clock(ahead_s);
        shop.start();
        let told = shop.buy("card", 1, "snapshot").remove(0);
        // The hook fails for now, and so does the request for the next order: both wait, by a
        // clock that is ahead.
        std::fs::write(shop.dir.path().join("code"), "75").expect("the hook's code");
        for (event, _) in &told.events {
            assert_eq!(post_at(&shop, event, unix_now() as i64 + ahead_s), 200);
        }
        let waits = "SELECT count(*) FROM hook_runs WHERE state = 'pending' AND tries > 0 AND taken_at IS NULL";
        wait_until(&shop, "the hook waits", waits);
        let failing =
            json!({"endpoint": "checkout_session", "kind": "status", "status": 500, "times": null});
        shop.control("POST", "/_sandbox/faults", failing);
        let waiting = shop.buy("card", 1, "snapshot").remove(0);
        for (event, _) in
            waiting.events.iter().filter(|(_, kind)| kind == "checkout.session.completed")
        {
            assert_eq!(post_at(&shop, event, unix_now() as i64 + ahead_s), 200);
        }
        let waits = "SELECT count(*) FROM events WHERE state = 'pending' AND attempts > 0 AND taken_at IS NULL";
        wait_until(&shop, "the event waits", waits);
        shop.control("DELETE", "/_sandbox/faults", json!({}));
        std::fs::write(shop.dir.path().join("code"), "0").expect("the hook's code");
        if !running {
            shop.stop();
        }
        shop.set_clock(0);
        if !running {
            shop.start();
        }
        wait_until(&shop, "the second order is there", "SELECT count(*) = 2 FROM orders");
        wait_until(
            &shop,
            "both are told",
            "SELECT count(*) = 2 FROM outbox WHERE topic = 'order.paid' AND state = 'done'",
        );
    }
}

#[test]
fn a_hook_that_runs_while_the_clock_is_set_forward_runs_once() {
    let mut shop = shop_of_its_own_time(0, &LOOKING);
    shop.stop();
    let (dir, path) = (shop.dir.path().display().to_string(), shop.dir.path().join("slow"));
    let script = format!(
        "#!/bin/sh\ncat > /dev/null\necho run >> {dir}/runs\nwhile [ ! -e {dir}/go ]; do sleep 0.05; done\n"
    );
    std::fs::write(&path, script)
        .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
        .expect("a hook");
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), path.display().to_string()));
    shop.start();
    shop.buy("card", 1, "snapshot");
    wait_until(&shop, "it runs", "SELECT count(*) FROM hook_runs WHERE taken_at IS NOT NULL");
    // Beyond its lease.
    shop.set_clock(3600);
    assert!(alarm(&shop, "fast").contains("fast"), "the step was noticed");
    std::fs::write(format!("{dir}/go"), "").expect("it may end");
    wait_until(
        &shop,
        "it was told",
        "SELECT count(*) FROM outbox WHERE topic = 'order.paid' AND state = 'done'",
    );
    assert_eq!(std::fs::read_to_string(format!("{dir}/runs")).expect("it ran").lines().count(), 1);
}
