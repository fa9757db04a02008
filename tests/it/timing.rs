//! This server's clock is wrong, or is set: no order is lost by it, nothing waits for hours, and somebody is told.

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
    request(&shop.desk().url, "POST", "/webhook", &[("Stripe-Signature", &signature)], &body).expect("an answer").0
}

fn alarm(shop: &Shop, sign: &str) -> String {
    wait_for("attention tells of the clock", || {
        shop.rows("SELECT what || ' -> ' || next FROM attention WHERE reason = 'clock_wrong'")
            .pop()
            .filter(|told| told.contains(sign))
    })
}

#[test]
fn a_shop_born_with_a_fast_clock_takes_its_webhooks_and_is_told() {
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
    wait_for("the order is there", || (shop.one("SELECT count(*) FROM orders") == "1").then_some(()));

    shop.control("POST", "/_sandbox/clock", json!({"skew_s": 0}));
    wait_for("it ends", || (shop.one("SELECT count(*) FROM alarms WHERE name = 'clock_wrong'") == "0").then_some(()));
    assert!(!shop.get("/readyz").1.contains("clock_wrong: "));
}
