//! Every answer of Stripe's is wrong in one place: another type, sign, size or object, an absence, a
//! repetition, a cut. No panic, nothing half written, no event without a state and a reason; and
//! once the answers are right again, the file is as if they always had been.
//!
//! `FULFILLD_TEST_MUTATIONS=100000 cargo test --test it answers_that_are_wrong -- --nocapture` is
//! the long form, for a release; `FULFILLD_SEED` repeats the mutations of one round.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};
use serde_json::{Value, json};

use crate::arrivals::{afresh, facts};
use crate::proof;
use crate::shop::{PATIENCE, Running, Shop, fulfilld, number_of, seeds};

/// So many wrong answers in `cargo test`.
const MUTATIONS: u64 = 2000;

/// Wrong answers of one round: then a new shop begins.
const OF_A_ROUND: u64 = 250;

/// Rounds that run at once; a desk mostly waits for its next retry.
const AT_ONCE: usize = 8;

/// What is bought in a round, once each: every kind of object that the desk requests.
const BOUGHT: &[&str] = &[
    "card",
    "delayed",
    "unpaid",
    "free",
    "payment-link",
    "mixed",
    "discount",
    "yen",
    "adaptive",
    "captured-in-part",
    "subscription",
    "strange",
    "refunded-twice",
    "refund-fails",
    "disputed-twice",
    "review-approved",
    "fraud-warning-refunded",
    "subscription-refunded",
];

/// What a round came to.
struct Round {
    mutations: Vec<String>,
    /// What did not hold; empty in a good round.
    faults: Vec<String>,
}

/// Processes every event again, whatever its state.
fn replay(shop: &Shop) {
    let replayed = fulfilld()
        .arg("replay")
        .args(shop.rows("SELECT id FROM events"))
        .arg("--db")
        .arg(shop.file())
        .output()
        .expect("replay runs");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

/// Waits until each event is finished, or waits with a reason as well: nothing that is left would be
/// tried for the first time.
///
/// While too many answers in a row are wrong, the desk takes it for an outage of Stripe's and sends
/// one request in up to 30 s. So there is a limit to the time without a try, and none to that of all
/// tries.
fn tried(shop: &Shop, or_waits: bool) {
    let file = Connection::open(shop.file()).expect("the file opens");
    file.busy_timeout(PATIENCE).expect("a time-out can be set");
    let of = if or_waits { "state_reason IS NULL" } else { "1" };
    let sql = format!(
        "SELECT total(state = 'pending' AND {of}), total(attempts), max(seq),
           group_concat(id || ' ' || type || ' ' || coalesce(state_reason, 'not tried'), '; ')
             FILTER(WHERE state = 'pending' AND {of}) FROM events"
    );
    let mut left = file.prepare(&sql).expect("a query");
    let mut before = None;
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let row = |row: &Row| {
            Ok((row.get::<_, f64>(0)?, row.get::<_, f64>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
        };
        let (n, tries, seq, which): (_, _, _, Option<String>) =
            left.query_row([], row).expect("a row");
        if n == 0.0 {
            return;
        }
        let now = Some((n, tries, seq));
        if now != before {
            (before, deadline) = (now, Instant::now() + PATIENCE);
        }
        let trouble = || shop.get("/readyz").1;
        assert!(
            Instant::now() < deadline,
            "{n} events were not tried, and none for {} s: {}; {}",
            PATIENCE.as_secs(),
            which.unwrap_or_default(),
            trouble()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mutations(shop: &Shop) -> Vec<String> {
    let said = shop.control("GET", "/_sandbox/mutations", Value::Null);
    let all = said["mutations"].as_array().expect("a list");
    all.iter().map(|one| one.as_str().expect("a text").to_string()).collect()
}

/// What every answer brings up to date. The rest is written once, by the first answer that can be
/// read: an order's contact and address, which are the operator's from then on, and when a refund
/// failed, which is in the books of that month.
fn brought_up_to_date(shop: &Shop) -> BTreeSet<String> {
    let orders = "SELECT checkout_session_id, payment_intent_id, payment_status, amount_subtotal, amount_discount,
        amount_shipping, amount_tax, amount_total, metadata FROM orders";
    let refunds = "SELECT 'refunds', NULL, id, payment_intent_id, charge_id, amount, currency, status, reason,
        failure_reason, subscription_id, balance_transaction_id, created_at,
        status IN('failed', 'canceled') AND failed_at IS NULL FROM refunds";
    let rest = ["disputes", "reviews", "fraud_warnings"];
    let rest = facts(shop).into_iter().filter(|row| rest.iter().any(|of| row.starts_with(of)));
    shop.rows(orders).into_iter().chain(shop.rows(refunds)).chain(rest).collect()
}

/// True for a refund, say, that a list showed whole, under an id that is one character longer than a
/// right one. It looks like a new one, so it is stored, and it stays: what is no longer
/// listed is not taken for gone. `fulfilld rebuild` shows it.
fn is_invented(row: &str, expected: &BTreeSet<String>) -> bool {
    let id = |row: &str| row.split('|').nth(2).map(String::from);
    let (Some(wrong), Some(of)) = (id(row), row.split('|').next()) else { return false };
    let right =
        expected.iter().filter(|row| row.split('|').next() == Some(of)).filter_map(|row| id(row));
    right.into_iter().any(|id| wrong.len() == id.len() + 1 && wrong.starts_with(&id))
}

/// In an even seed's round the first answers are wrong already; in an odd one's the desk knows all
/// of it from right answers, and nothing of that may change for good.
fn live_round(seed: u64, bug: Option<&str>) -> Round {
    let wrong_from_the_start = seed.is_multiple_of(2);
    let known = |shop: &Shop| match wrong_from_the_start {
        true => brought_up_to_date(shop),
        false => facts(shop).into_iter().collect(),
    };
    let mut shop = Shop::open();
    // One worker sends its requests in one order, so that a seed repeats its mutations.
    shop.settings.push(("FULFILLD_WORKERS".into(), "1".into()));
    let events: Vec<Vec<u8>> = BOUGHT
        .iter()
        .flat_map(|scenario| shop.buy(scenario, 1, "snapshot").remove(0).events)
        .map(|(id, _)| shop.body(&id))
        .collect();
    let post_all = |shop: &Shop| {
        for event in &events {
            assert_eq!(shop.post(event).expect("the desk answers").0, 200);
        }
    };
    post_all(&shop);
    shop.settle();
    let expected = known(&shop);

    if wrong_from_the_start {
        afresh(&mut shop);
    }
    shop.kill();
    let log = shop.dir.path().join("stderr");
    let mut serve = shop.serve();
    serve.stderr(File::create(&log).expect("a file for what it says"));
    serve.envs(bug.map(|bug| ("FULFILLD_SABOTAGE", bug)));
    shop.desk = Some(Running::start(&mut serve));
    let fault = json!({"kind": "mutate", "seed": seed, "one_in": 1});
    shop.control("POST", "/_sandbox/faults", fault);
    post_all(&shop);
    while (mutations(&shop).len() as u64) < OF_A_ROUND {
        replay(&shop);
        tried(&shop, true);
        shop.check();
    }
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    replay(&shop);
    tried(&shop, false);
    shop.check();
    let said = std::fs::read_to_string(&log).expect("what it said");
    let mut faults: Vec<String> =
        said.lines().filter(|line| line.contains("panicked")).map(String::from).collect();
    let found = known(&shop);
    // The payments with an invented object; all rows about their orders end with this text.
    let payment = |row: &String| {
        row.split('|').find_map(|field| field.strip_prefix("pi_3").map(String::from))
    };
    let invented: Vec<String> = found
        .difference(&expected)
        .filter(|row| is_invented(row, &expected))
        .filter_map(payment)
        .collect();
    let counts = |row: &&String| !invented.iter().any(|payment| row.contains(payment.as_str()));
    let missing = expected.difference(&found).filter(counts);
    faults.extend(missing.map(|row| format!("missing: {row}")));
    let too_much = found.difference(&expected).filter(counts);
    faults.extend(too_much.map(|row| format!("too much: {row}")));
    faults.extend(shop.rows("SELECT id, type, state_reason FROM events WHERE state = 'failed'"));
    Round { mutations: mutations(&shop), faults }
}

/// The round of a seed; one that broke off has that for its fault.
fn round(seed: u64, bug: Option<&str>) -> Round {
    catch_unwind(AssertUnwindSafe(|| live_round(seed, bug))).unwrap_or_else(|panic| {
        let fault = format!("the round broke off: {}", proof::said_by(&*panic));
        Round { mutations: Vec::new(), faults: vec![fault] }
    })
}

/// The rounds of these seeds, some at once.
fn rounds(seeds: &[u64], bug: Option<&str>) -> Vec<(u64, Round)> {
    let live = |batch: &[u64]| -> Vec<(u64, Round)> {
        std::thread::scope(|threads| {
            let rounds: Vec<_> = batch
                .iter()
                .map(|seed| (*seed, threads.spawn(move || round(*seed, bug))))
                .collect();
            let ended = |round: std::thread::ScopedJoinHandle<Round>| {
                round.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            rounds.into_iter().map(|(seed, round)| (seed, ended(round))).collect()
        })
    };
    seeds.chunks(AT_ONCE).flat_map(live).collect()
}

#[test]
fn answers_that_are_wrong_in_one_place_leave_nothing_wrong_behind() {
    let wanted = number_of("FULFILLD_TEST_MUTATIONS").unwrap_or(MUTATIONS);
    // No variable counts rounds; the one above counts wrong answers.
    let mut seeds = seeds("", wanted.div_ceil(OF_A_ROUND));
    let (mut made, mut faults, mut wrong) = (0, 0, Vec::new());
    loop {
        let batch: Vec<u64> = seeds.by_ref().take(AT_ONCE).collect();
        if batch.is_empty() {
            break;
        }
        for (seed, round) in rounds(&batch, None) {
            made += round.mutations.len();
            faults += round.faults.len();
            // The others are not kept: a long run has thousands.
            if !round.faults.is_empty() {
                wrong.push((seed, round));
            }
        }
        proof::found_so_far(format!("{made} wrong answers"), faults);
    }
    proof::found(format!("{made} wrong answers"), faults);
    for (seed, Round { mutations, faults }) in wrong {
        proof::holds(seed, &faults, &mutations);
    }
}

/// The control: a desk that panics when an object has no id or no name.
#[test]
fn control_wrong_answers_catch_a_desk_that_relies_on_an_id() {
    let all = rounds(&[2, 4, 6], Some("an_object_has_an_id"));
    let panics = |fault: &&String| fault.contains("panicked");
    let fault = all.iter().flat_map(|(_, round)| &round.faults).find(panics);
    proof::caught("an_object_has_an_id", fault.expect("no round saw the planted bug"));
}
