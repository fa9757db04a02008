//! Whole lives of orders, paid, refunded, disputed, reviewed, in any order of arrival: the same rows, and nothing sent that
//! must not be.

use std::time::Instant;

use serde_json::Value;

use crate::arrivals::{afresh, facts, permutations};
use crate::shop::Shop;

/// The lives; `tests/it/arrivals.rs` has those that end with the purchase.
const LIVES: &[&str] = &[
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

/// In each round the lives are told into a new file, each in another order, all of them mixed with one another.
const ROUNDS: usize = 200;

/// A life of at most so many events is told in each of its orders (5! is below [`ROUNDS`]), a longer one in random ones.
const EVERY_ORDER_UP_TO: usize = 5;

/// The same with `FULFILLD_TEST_LIVES=long`, which takes hours.
const ROUNDS_LONG: usize = 10_000;
const EVERY_ORDER_UP_TO_LONG: usize = 7;

/// An event's bodies: the snapshot, and its thin twin.
type Bodies = [Vec<u8>; 2];

/// Lets a life happen at Stripe, to be told later.
fn live(shop: &Shop, scenario: &str) -> Vec<Bodies> {
    let purchase = shop.buy(scenario, 1, "both").remove(0);
    let bodies: Vec<Vec<u8>> = purchase.events.iter().map(|(id, _)| shop.body(id)).collect();
    let parsed: Vec<Value> = bodies.iter().map(|b| serde_json::from_slice(b).expect("JSON")).collect();
    let twin = |snapshot: usize| {
        let thin = parsed.iter().position(|e| e["snapshot_event"] == parsed[snapshot]["id"]).expect("it has a twin");
        [bodies[snapshot].clone(), bodies[thin].clone()]
    };
    (0..bodies.len()).filter(|i| parsed[*i]["object"] == "event").map(twin).collect()
}

#[test]
fn every_life_of_an_order_ends_in_the_same_rows_in_any_order_of_arrival() {
    let long = std::env::var("FULFILLD_TEST_LIVES").is_ok_and(|word| word == "long");
    let (rounds, every_up_to) = if long { (ROUNDS_LONG, EVERY_ORDER_UP_TO_LONG) } else { (ROUNDS, EVERY_ORDER_UP_TO) };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut shop = Shop::open();
    let lives: Vec<Vec<Bodies>> = LIVES.iter().map(|scenario| live(&shop, scenario)).collect();
    let orders: Vec<Vec<Vec<usize>>> = lives
        .iter()
        .map(|life| if life.len() <= every_up_to { permutations(life.len()) } else { Vec::new() })
        .collect();
    assert!(orders.iter().all(|orders| orders.len() <= rounds));
    let (mut told_before, mut expected, mut told_in_all) = (0, Vec::new(), 0);
    let began = Instant::now();
    for round in 0..rounds {
        // A life that has been told in each of its orders is left out from then on.
        let left: Vec<usize> = (0..lives.len()).filter(|i| orders[*i].is_empty() || round < orders[*i].len()).collect();
        if told_before != left.len() {
            told_before = left.len();
            let in_order: Vec<&[u8]> =
                left.iter().flat_map(|i| &lives[*i]).map(|bodies| bodies[0].as_slice()).collect();
            expected = told(&mut shop, &in_order);
        }
        // Whose turn it is, again and again: each life keeps its own order within the crowd.
        let mut queues: Vec<Vec<&[u8]>> = Vec::new();
        for (life, orders) in left.iter().map(|i| (&lives[*i], &orders[*i])) {
            let mut order: Vec<usize> = (0..life.len()).collect();
            match orders.get(round) {
                None => random.shuffle(&mut order),
                Some(next) => order.clone_from(next),
            }
            queues.push(order.into_iter().map(|event| life[event][random.usize(..2)].as_slice()).collect());
        }
        let mut turns: Vec<usize> = queues.iter().enumerate().flat_map(|(i, q)| vec![i; q.len()]).collect();
        random.shuffle(&mut turns);
        queues.iter_mut().for_each(|queue| queue.reverse());
        let mut mixed: Vec<&[u8]> = turns.into_iter().filter_map(|life| queues[life].pop()).collect();
        // Now and then Stripe sends one again.
        if round % 10 == 0 {
            let again: Vec<&[u8]> = random.choose_multiple(mixed.iter().copied(), mixed.len() / 4);
            mixed.extend(again);
        }
        told_in_all += mixed.len();
        let found = told(&mut shop, &mixed);
        let differs = |a: &[String], b: &[String]| a.iter().filter(|row| !b.contains(row)).cloned().collect::<Vec<_>>();
        assert!(
            found == expected,
            "seed {seed}, round {round}: there is {:#?} instead of {:#?}",
            differs(&found, &expected),
            differs(&expected, &found)
        );
    }
    println!("{rounds} rounds, {told_in_all} events, in {:.0} s", began.elapsed().as_secs_f64());
}

/// A new file, the events posted a few at a time, and what the file says in the end.
fn told(shop: &mut Shop, bodies: &[&[u8]]) -> Vec<String> {
    afresh(shop);
    let next = std::sync::Mutex::new(bodies.iter());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while let Some(body) = next.lock().expect("nobody panics with it").next() {
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
