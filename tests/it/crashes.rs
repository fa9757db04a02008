//! `kill -9` at any instant: every 2xx is on disk, every paid session has exactly one order.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::shop::{Purchase, Shop};

/// What a run of rounds came to.
struct Tally {
    acknowledged: usize,
    lost: usize,
}

/// Rounds of: start, post from three threads, kill after 0 to 120 ms. The sender's own record is what is compared with the file.
fn rounds(shop: &mut Shop, n: usize, purchases: &[Purchase]) -> Tally {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let bodies: Vec<(String, Vec<u8>)> =
        purchases.iter().flat_map(|p| &p.events).map(|(id, _)| (id.clone(), shop.body(id))).collect();
    let acknowledged = Mutex::new(HashSet::new());
    let next = AtomicUsize::new(0);
    let mut lost = HashSet::new();
    for round in 0..n {
        if shop.desk.is_none() {
            shop.start();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let (id, body) = &bodies[next.fetch_add(1, Ordering::SeqCst) % bodies.len()];
                        if shop.post(body).is_ok_and(|(status, _)| status == 200) {
                            acknowledged.lock().expect("no panic").insert(id.clone());
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_micros(random.u64(0..120_000)));
            shop.desk().signal("KILL");
            over.store(true, Ordering::SeqCst);
        });
        shop.kill();
        if round % 10 == 9 || round == n - 1 {
            let kept: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
            lost.extend(acknowledged.lock().expect("no panic").difference(&kept).cloned());
        }
    }
    Tally { acknowledged: acknowledged.into_inner().expect("no panic").len(), lost: lost.len() }
}

#[test]
fn three_hundred_kills_lose_no_acknowledged_event_and_double_no_order() {
    let mut shop = Shop::open();
    let mut purchases = shop.buy("card", 1500, "both");
    purchases.extend(shop.buy("delayed", 300, "snapshot"));
    let tally = rounds(&mut shop, 300, &purchases);
    shop.start();
    // Stripe goes on until it has its 200; a thousand more would say the same.
    for (id, _) in purchases.iter().flat_map(|p| &p.events) {
        if shop.rows(&format!("SELECT 1 FROM events WHERE id = '{id}'")).is_empty() {
            assert_eq!(shop.deliver(id), 200);
        }
    }
    shop.settle();
    shop.check();
    let orders = shop.one("SELECT count(*) FROM orders WHERE payment_status = 'paid'");
    let failed = shop.rows("SELECT id, state_reason FROM events WHERE state = 'failed'");
    println!("300 rounds: {} events acknowledged, {} lost, {orders} orders", tally.acknowledged, tally.lost);
    assert_eq!(failed, [""; 0]);
    assert_eq!(tally.lost, 0);
    assert_eq!(orders, purchases.len().to_string());
    assert!(tally.acknowledged > 1000, "the load was real: {}", tally.acknowledged);
}

/// The control: a desk that answers before COMMIT must be caught by the same rounds.
#[test]
fn the_same_rounds_catch_a_desk_that_answers_before_commit() {
    let mut shop = Shop::open();
    shop.kill();
    shop.settings.push(("FULFILLD_SABOTAGE".into(), "answer_before_commit".into()));
    let purchases = shop.buy("card", 2000, "snapshot");
    for _ in 0..20 {
        let tally = rounds(&mut shop, 10, &purchases);
        if tally.lost > 0 {
            println!("caught: {} of {} acknowledged events are lost", tally.lost, tally.acknowledged);
            return;
        }
    }
    panic!("two hundred kills did not show that events are acknowledged before they are on disk");
}
