//! SIGTERM: whoever was let in is answered, what is in hand is written, and it takes a bounded
//! time.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shop::{Shop, wait_for};

#[test]
fn a_stop_under_load_loses_nothing_and_ends_well() {
    let mut shop = Shop::open();
    let purchases = shop.buy("card", 500, "snapshot");
    let bodies: Vec<(String, Vec<u8>)> = purchases
        .iter()
        .flat_map(|p| &p.events)
        .map(|(id, _)| (id.clone(), shop.body(id)))
        .collect();
    let acknowledged = Mutex::new(HashSet::new());
    for _ in 0..5 {
        let (over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let (id, body) =
                            &bodies[next.fetch_add(1, Ordering::SeqCst) % bodies.len()];
                        if shop.post(body).is_ok_and(|(status, _)| status == 200) {
                            acknowledged.lock().expect("no panic").insert(id.clone());
                        }
                    }
                });
            }
            wait_for("the load is on", || (next.load(Ordering::SeqCst) > 100).then_some(()));
            shop.desk().signal("TERM");
            // The process still gets requests; what it answers from now on counts as well.
            let pid = shop.desk().pid();
            wait_for("it ends", || {
                let state =
                    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                (state.is_empty() || state.contains(") Z ")).then_some(())
            });
            over.store(true, Ordering::SeqCst);
        });
        let status = shop.desk.take().expect("it was running").child.wait().expect("it is ours");
        assert!(status.success(), "serve ended with {status}");
        shop.start();
    }
    let kept: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
    let acknowledged = acknowledged.into_inner().expect("no panic");
    assert!(acknowledged.len() > 100 && acknowledged.is_subset(&kept));
    shop.settle();
    shop.check();
    assert_eq!(
        shop.one("SELECT count(*) FROM events WHERE crashes > 0"),
        "0",
        "nothing was broken off"
    );
}

#[test]
fn a_stop_does_not_wait_for_a_stripe_that_hangs_and_its_orders_come_at_the_next_start() {
    let mut shop = Shop::open();
    let fault = json!({"endpoint": "*", "kind": "hang", "times": Value::Null});
    shop.control("POST", "/_sandbox/faults", fault);
    let purchases = shop.buy("card", 30, "snapshot");
    for (event, _) in purchases.iter().flat_map(|p| &p.events) {
        assert_eq!(shop.deliver(event), 200);
    }
    wait_for("workers are waiting for Stripe", || {
        (shop.one("SELECT count(*) FROM events WHERE taken_at IS NOT NULL") != "0").then_some(())
    });
    let began = Instant::now();
    shop.stop();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    shop.control("DELETE", "/_sandbox/faults", json!({}));
    shop.start();
    wait_for("every order is there", || {
        (shop.one("SELECT count(*) FROM orders") == "30").then_some(())
    });
    shop.settle();
    shop.check();
}
