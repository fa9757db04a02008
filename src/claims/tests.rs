//! What is claimed when, and what an answer finishes.

use super::waking::UNFINISHED_MAX;
use super::*;
use crate::inbox::Source;

const NOON: i64 = 1_795_489_500;

fn at(second: i64) -> Timestamp {
    clock::from_unix(NOON + second).unwrap()
}

fn file() -> Connection {
    let c = Connection::open_in_memory().unwrap();
    c.execute_batch(db::SCHEMA).unwrap();
    c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
    c
}

/// Inserts an event about an object, received and due at that second.
fn insert(c: &Connection, id: &str, kind: &str, object: &str, second: i64) {
    let body =
        format!(r#"{{"id":"{id}","type":"{kind}","data":{{"object":{{"id":"{object}"}}}}}}"#);
    let event = Event::parse(body.as_bytes()).unwrap();
    assert!(inbox::insert(c, &event, &body, Source::Webhook, at(second), at(second)).unwrap());
}

fn session(c: &Connection, n: usize) {
    insert(c, &format!("evt_{n}"), "checkout.session.completed", &format!("cs_{n}"), 0);
}

const ALL: Room = Room { workers: 16, late: 8, idle: true, suspects_turn: false };

/// What is claimed at that second, by the ids of its events.
fn claim_all(
    c: &Connection,
    room: Room,
    in_progress: &InProgress,
    second: i64,
) -> (Vec<Claim>, Vec<String>) {
    let claims = claim(c, room, in_progress, at(second)).unwrap();
    let ids = |claim: &Claim| {
        claim.events.iter().map(|e| e.event.id.as_str()).collect::<Vec<_>>().join("+")
    };
    let named = claims.iter().map(ids).collect();
    (claims, named)
}

fn one(c: &Connection, sql: &str) -> String {
    c.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn states(c: &Connection) -> String {
    one(
        c,
        "SELECT group_concat(id || ' ' || state, ', ') FROM (SELECT * FROM events ORDER BY rowid)",
    )
}

const DONE: Outcome = Outcome::Done { awaits: None };

#[test]
fn events_about_one_object_are_one_request() {
    let c = file();
    insert(&c, "evt_1", "payment_intent.payment_failed", "pi_1", 0);
    insert(&c, "evt_2", "checkout.session.completed", "cs_1", 0);
    insert(&c, "evt_3", "payment_intent.payment_failed", "pi_1", 50);
    insert(&c, "evt_4", "payment_intent.succeeded", "pi_1", 50);
    insert(&c, "evt_5", "payment_intent.created", "pi_1", 0);
    let (claims, named) = claim_all(&c, ALL, &InProgress::default(), 1);
    assert_eq!(
        named,
        ["evt_1+evt_3+evt_4", "evt_2"],
        "those not due as well, but what asks nothing"
    );
    let in_progress = InProgress::of(claims.iter());
    // What comes meanwhile waits for the answer.
    insert(&c, "evt_6", "payment_intent.canceled", "pi_1", 1);
    assert_eq!(claim_all(&c, ALL, &in_progress, 2).1, ["evt_5"; 0]);
    finish(&c, &claims[0], &DONE, at(2)).unwrap();
    let in_progress = InProgress::of(claims[1..].iter());
    let (claims, named) = claim_all(&c, ALL, &in_progress, 2);
    assert_eq!(named, ["evt_5"]);
    finish(
        &c,
        &claims[0],
        &Outcome::Ignored { why: Reason::new(Code::NotASale, "no"), awaits: None },
        at(2),
    )
    .unwrap();
    assert_eq!(claim_all(&c, ALL, &in_progress, 2).1, ["evt_6"]);
    assert_eq!(
        one(
            &c,
            "SELECT group_concat(DISTINCT state || attempts) FROM events WHERE id IN('evt_1', 'evt_3', 'evt_4')"
        ),
        "done1"
    );
}

#[test]
fn an_answer_finishes_what_came_before_its_request_and_nothing_later_whatever_the_clock_says() {
    let c = file();
    insert(&c, "evt_1", "checkout.session.completed", "cs_1", 0);
    insert(&c, "evt_2", "payment_intent.succeeded", "pi_1", 50);
    insert(&c, "evt_3", "checkout.session.expired", "pi_1", 50);
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 1);
    // The clock is set back by a minute, and then by an hour.
    insert(&c, "evt_4", "payment_intent.succeeded", "pi_1", -60);
    let covered = finish_covered(&c, &["cs_1", "pi_1"], claims[0].asked, at(-3600)).unwrap();
    finish(&c, &claims[0], &DONE, at(-3600)).unwrap();
    assert_eq!(covered, ["evt_2"]);
    assert_eq!(states(&c), "evt_1 done, evt_2 done, evt_3 pending, evt_4 pending");
}

#[test]
fn what_is_in_progress_is_not_claimed_again_though_the_clock_jumps_a_day() {
    let c = file();
    (1..=3).for_each(|n| session(&c, n));
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    let in_progress = InProgress::of(claims.iter());
    assert_eq!(claim_all(&c, ALL, &in_progress, 86_400).1, [""; 0]);
    let in_progress = InProgress::of([&claims[0], &claims[2]].into_iter());
    assert_eq!(claim_all(&c, ALL, &in_progress, 86_400).1, ["evt_2"], "its lease is over");
}

#[test]
fn what_came_or_was_tried_while_the_clock_was_ahead_is_due() {
    let c = file();
    // Two months ahead, and a try that failed then.
    insert(&c, "evt_1", "checkout.session.completed", "cs_1", 5_000_000);
    insert(&c, "evt_2", "checkout.session.completed", "cs_2", 5_000_000);
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 5_000_000);
    let again = Outcome::Again { why: Reason::new(Code::Temporary, "busy"), pause: None };
    finish(&c, &claims[0], &again, at(5_000_000)).unwrap();
    finish(&c, &claims[1], &again, at(5_000_000)).unwrap();
    insert(&c, "evt_3", "checkout.session.completed", "cs_3", 5_000_000);
    assert!(is_any_due(&c, at(0)).unwrap());
    let (_, mut named) = claim_all(&c, ALL, &InProgress::default(), 0);
    named.sort();
    assert_eq!(named, ["evt_1", "evt_2", "evt_3"]);
    // A pause of an hour is none of that.
    let c = file();
    insert(&c, "evt_1", "checkout.session.completed", "cs_1", 3600);
    assert!(!is_any_due(&c, at(0)).unwrap());
}

#[test]
fn late_ones_never_take_more_workers_than_they_may() {
    let c = file();
    (1..=20).for_each(|n| session(&c, n));
    c.execute("UPDATE events SET attempts = 1", []).unwrap();
    for (workers, late, n) in [(16, 8, 8), (1, 0, 0), (1, 1, 1), (16, 0, 0)] {
        let (claims, _) = claim_all(&c, Room { workers, late, ..ALL }, &InProgress::default(), 0);
        assert_eq!(claims.len(), n, "{workers} workers, {late} late");
    }
    (21..=30).for_each(|n| session(&c, n));
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    assert_eq!((claims.len(), claims.iter().filter(|claim| claim.late).count()), (16, 6));
}

/// The process dies with everything in progress that was claimed; and starts again a second later.
fn die(c: &Connection, second: i64) {
    release_interrupted(c, at(second + 1)).unwrap();
}

#[test]
fn the_event_in_which_the_process_dies_is_found_and_its_neighbors_are_not_blamed() {
    let c = file();
    (1..=5).for_each(|n| session(&c, n));
    let mut second = 0;
    let mut deaths = 0;
    // evt_3 kills the process as soon as it is worked on; the others are done when it is not in
    // hand.
    while one(&c, "SELECT state FROM events WHERE id = 'evt_3'") == "pending" {
        second += 3600;
        let (claims, named) = claim_all(&c, ALL, &InProgress::default(), second);
        assert!(!claims.is_empty() && deaths < 30);
        assert!(claims.iter().all(|claim| !claim.alone) || claims.len() == 1, "{named:?}");
        match named.contains(&"evt_3".into()) {
            true => {
                deaths += 1;
                die(&c, second);
            }
            false => claims.iter().for_each(|claim| finish(&c, claim, &DONE, at(second)).unwrap()),
        }
    }
    assert_eq!(states(&c), "evt_1 done, evt_2 done, evt_3 failed, evt_4 done, evt_5 done");
    assert_eq!(deaths, 15, "three forgiven, twelve alone");
    let why = one(&c, "SELECT state_reason FROM events WHERE id = 'evt_3'");
    assert_eq!(why, "fulfilld ended 15 times while working on it, the last 12 times on it alone");
}

#[test]
fn a_crash_loop_from_elsewhere_parks_no_event() {
    let c = file();
    (1..=20).for_each(|n| session(&c, n));
    // Stripe hangs, and the process dies every two seconds of something else.
    for death in 0..2000 {
        let second = death * 2;
        claim_all(&c, ALL, &InProgress::default(), second);
        if death % 100 == 50 {
            insert(
                &c,
                &format!("evt_new_{death}"),
                "checkout.session.completed",
                &format!("cs_new_{death}"),
                second,
            );
            let (_, named) = claim_all(&c, ALL, &InProgress::default(), second);
            assert!(
                named.contains(&format!("evt_new_{death}")),
                "a new order is not kept waiting: {named:?}"
            );
        }
        die(&c, second);
    }
    assert_eq!(one(&c, "SELECT group_concat(DISTINCT state) FROM events"), "pending");
}

#[test]
fn a_suspect_gets_its_turn_and_then_nothing_is_beside_it() {
    let c = file();
    (1..=3).for_each(|n| session(&c, n));
    for _ in 0..3 {
        c.execute(
            "UPDATE events SET crashes = crashes + 1, attempts = attempts + 1 WHERE id = 'evt_1'",
            [],
        )
        .unwrap();
    }
    let none = InProgress::default();
    let busy = Room { workers: 10, late: 8, idle: false, suspects_turn: true };
    assert_eq!(claim_all(&c, Room { workers: 0, ..busy }, &none, 1).1, [""; 0]);
    // It has not waited long: the others continue, and it is not among them.
    assert_eq!(claim(&c, Room { suspects_turn: false, ..ALL }, &none, at(1)).unwrap().len(), 2);
    assert_eq!(
        claim_all(&c, Room { suspects_turn: false, ..ALL }, &none, 1).1,
        ["evt_1"],
        "nothing else was due"
    );
    let c = file();
    (1..=3).for_each(|n| session(&c, n));
    for _ in 0..3 {
        c.execute(
            "UPDATE events SET crashes = crashes + 1, attempts = attempts + 1 WHERE id = 'evt_1'",
            [],
        )
        .unwrap();
    }
    // A while more, and the workers that are free go on with the others.
    assert_eq!(claim_all(&c, Room { workers: 1, ..busy }, &none, 5).1, ["evt_2"]);
    assert_eq!(
        claim_all(&c, busy, &none, 40).1,
        [""; 0],
        "it has waited for long: the workers are to become idle"
    );
    let (claims, named) = claim_all(&c, Room { suspects_turn: true, ..ALL }, &none, 40);
    assert!(claims[0].alone && named == ["evt_1"], "{named:?}");
}

#[test]
fn an_event_that_is_replayed_while_it_is_in_progress_is_due_again() {
    let c = file();
    session(&c, 1);
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    assert!(inbox::replay(&c, "evt_1").unwrap());
    finish(&c, &claims[0], &DONE, at(1)).unwrap();
    assert_eq!(states(&c), "evt_1 pending");
    let (claims, named) = claim_all(&c, ALL, &InProgress::default(), 1);
    assert_eq!(named, ["evt_1"]);
    finish(&c, &claims[0], &DONE, at(1)).unwrap();
    assert_eq!(states(&c), "evt_1 done");
}

#[test]
fn pauses_grow_with_jitter_to_an_hour() {
    for attempts in 1..60 {
        let full = 2f64.powi((attempts - 1).min(20)).min(3600.0);
        let pause = RETRY.pause(attempts as i64).as_secs_f64();
        assert!(pause >= full / 2.0 && pause <= full, "{attempts}: {pause}");
    }
    assert_eq!(pause_after(3), Duration::ZERO);
    assert_eq!(pause_after(4), Duration::from_secs(2));
    assert!(pause_after(1000) <= Duration::from_secs(3600));
}

#[test]
fn what_waits_is_woken_unless_its_own_deaths_make_it_wait() {
    let c = file();
    for (n, crashes, panics) in [(1, 0, 0), (2, 1, 0), (3, 3, 3), (4, 4, 0), (5, 0, 4)] {
        session(&c, n);
        let id = format!("evt_{n}");
        for (column, times) in [("crashes", crashes), ("panics", panics)] {
            for _ in 0..times {
                let sql = format!(
                    "UPDATE events SET {column} = {column} + 1, attempts = attempts + 1 WHERE id = ?1"
                );
                c.execute(&sql, [&id]).unwrap();
            }
        }
        let later = clock::text(at(3000));
        c.execute("UPDATE events SET next_attempt_at = ?2 WHERE id = ?1", (id, later)).unwrap();
    }
    assert_eq!(wake_all(&c, at(10)).unwrap(), 3);
    let due = "SELECT group_concat(id) FROM (SELECT id FROM events WHERE next_attempt_at = ?1 ORDER BY id)";
    let due: String = c.query_row(due, [clock::text(at(10))], |row| row.get(0)).unwrap();
    assert_eq!(due, "evt_1,evt_2,evt_3");
}

#[test]
fn giving_up_takes_three_days_and_twenty_tries() {
    let c = file();
    session(&c, 1);
    let (mut claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    let again = Outcome::Again { why: Reason::new(Code::Temporary, "busy"), pause: None };
    for (attempts, days, state) in [(19, 10, "pending"), (100, 2, "pending"), (20, 4, "failed")] {
        claims[0].events[0].attempts = attempts;
        finish(&c, &claims[0], &again, at(days * 86_400)).unwrap();
        assert_eq!(states(&c), format!("evt_1 {state}"), "{attempts} tries in {days} days");
    }
}

#[test]
fn a_handler_that_panics_counts_for_its_own_event_alone() {
    let c = file();
    (1..=2).for_each(|n| session(&c, n));
    for panic in 1..=12 {
        assert_eq!(
            one(&c, "SELECT state || crashes FROM events WHERE id = 'evt_1'"),
            "pending0",
            "{panic}"
        );
        let (claims, _) = claim_all(&c, ALL, &InProgress::default(), panic * 7200);
        for claim in &claims {
            let what = if claim.object_id() == Some("cs_1") {
                Outcome::Panicked(Reason::new(Code::Panicked, "a bug"))
            } else {
                DONE
            };
            finish(&c, claim, &what, at(panic * 7200)).unwrap();
        }
    }
    assert_eq!(states(&c), "evt_1 failed, evt_2 done");
}

#[test]
fn what_waits_for_an_order_is_due_when_its_payment_is_known() {
    let c = file();
    insert(&c, "evt_1", "charge.dispute.created", "dp_1", 0);
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    let ignored = Outcome::Ignored {
        why: Reason::new(Code::NoSession, "no session"),
        awaits: Some("pi_1".into()),
    };
    finish(&c, &claims[0], &ignored, at(0)).unwrap();
    let told = "SELECT state || ' ' || awaits || ' ' || reason_code FROM events";
    assert_eq!(one(&c, told), "ignored pi_1 no_session");
    // The order came during the request: the event is not ignored but due again.
    inbox::replay(&c, "evt_1").unwrap();
    assert_eq!(one(&c, told), format!("pending pi_1 {}", Code::Replayed.word()));
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 1);
    c.execute(
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
           payment_status, currency, amount_total,
           created_at, as_of) VALUES('cs_1', 'pi_1', 0, 'payment', 'unpaid', 'eur', 100, 'x', 'x')",
        [],
    )
    .unwrap();
    finish(&c, &claims[0], &ignored, at(1)).unwrap();
    assert_eq!(states(&c), "evt_1 pending");
}

#[test]
fn the_history_names_an_event_that_stripe_posted_where_there_is_one() {
    let c = file();
    let of_one_session = |id: &str, source: Source| {
        let body = format!(
            r#"{{"id":"{id}","type":"checkout.session.completed","data":{{"object":{{"id":"cs_1"}}}}}}"#
        );
        let event = Event::parse(body.as_bytes()).unwrap();
        assert!(inbox::insert(&c, &event, &body, source, at(0), at(0)).unwrap());
    };
    of_one_session("evt_fetched", Source::Backfill);
    let author =
        |c: &Connection, second| claim_all(c, ALL, &InProgress::default(), second).0[0].author();
    assert_eq!(author(&c, 1), "stripe:evt_fetched");
    of_one_session("evt_posted", Source::Webhook);
    assert_eq!(author(&c, 2 * LEASE.as_secs() as i64), "stripe:evt_posted");
}

#[test]
fn what_is_to_be_tried_again_waits_for_its_pause() {
    let c = file();
    session(&c, 1);
    let claim = claim_all(&c, ALL, &InProgress::default(), 0).0.remove(0);
    let why = Reason::new(Code::Temporary, "busy");
    let again = Outcome::Again { why, pause: Some(Duration::from_secs(60)) };
    finish(&c, &claim, &again, at(0)).unwrap();
    let claimed_at = |second| claim_all(&c, ALL, &InProgress::default(), second).1;
    assert_eq!(claimed_at(59), [""; 0]);
    assert_eq!(claimed_at(60), ["evt_1"]);
}

#[test]
fn what_panics_again_and_again_waits_longer_each_time() {
    let c = file();
    session(&c, 1);
    let panicked = Outcome::Panicked(Reason::new(Code::Panicked, "a bug"));
    let mut second = 0;
    // As many as are forgiven have no pause.
    for pause in [0, 0, 0, 2, 4] {
        let (mut claims, named) = claim_all(&c, ALL, &InProgress::default(), second);
        assert_eq!(named, ["evt_1"], "after {second} s");
        finish(&c, &claims.remove(0), &panicked, at(second)).unwrap();
        let due = clock::text(at(second + pause));
        assert_eq!(one(&c, "SELECT next_attempt_at FROM events"), due);
        second += pause;
    }
}

#[test]
fn a_claim_was_tried_as_often_as_its_oldest_event() {
    let c = file();
    insert(&c, "evt_1", "payment_intent.succeeded", "pi_1", 0);
    let claim = |second| claim_all(&c, ALL, &InProgress::default(), second).0.remove(0);
    assert_eq!(claim(0).attempts(), 1);
    insert(&c, "evt_2", "payment_intent.succeeded", "pi_1", 1);
    assert_eq!(claim(2 * LEASE.as_secs() as i64).attempts(), 2);
}

#[test]
fn what_the_key_may_see_now_is_requested_once_more_and_nothing_else() {
    let c = file();
    (1..=3).for_each(|n| session(&c, n));
    let (claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    let no_sale = Reason::new(Code::NotASale, "no");
    for (claim, outcome) in claims.iter().zip([
        Outcome::Done { awaits: Some("in_1".into()) },
        DONE,
        Outcome::Ignored { why: no_sale, awaits: Some("pi_3".into()) },
    ]) {
        finish(&c, claim, &outcome, at(0)).unwrap();
    }
    assert_eq!(wake_unfinished(&c, i64::MAX).unwrap(), None);
    assert_eq!(states(&c), "evt_1 pending, evt_2 done, evt_3 ignored");
}

#[test]
fn what_was_being_requested_when_the_key_was_granted_more_is_requested_once_more() {
    for granted in [false, true] {
        let c = file();
        session(&c, 1);
        let (mut claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
        if granted {
            request_again_what_is_taken(&c).unwrap();
            assert_eq!(wake_unfinished(&c, i64::MAX).unwrap(), None);
        }
        let hidden = Outcome::Done { awaits: Some("in_1".into()) };
        finish(&c, &claims.remove(0), &hidden, at(1)).unwrap();
        assert_eq!(states(&c), if granted { "evt_1 pending" } else { "evt_1 done" });
        let (again, _) = claim_all(&c, ALL, &InProgress::default(), 2);
        assert_eq!(again.len(), usize::from(granted));
    }
}

#[test]
fn whatever_the_key_may_see_now_is_requested_however_much_it_is() {
    let c = file();
    let all = UNFINISHED_MAX as usize + 2;
    (1..=all).for_each(|n| session(&c, n));
    c.execute("UPDATE events SET state = 'done', awaits = 'in_' || id", []).unwrap();
    let left = "SELECT count(*) FROM events WHERE state = 'done'";
    let left = || c.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap();
    let more = wake_unfinished(&c, i64::MAX).unwrap();
    assert_eq!(left(), 2);
    assert_eq!(wake_unfinished(&c, more.expect("there is more")).unwrap(), None);
    assert_eq!(left(), 0);
}

#[test]
fn what_stripe_did_not_show_is_requested_daily_for_a_month() {
    const DAY: i64 = 24 * 3600;
    let c = file();
    session(&c, 1);
    let (mut claims, _) = claim_all(&c, ALL, &InProgress::default(), 0);
    finish(&c, &claims.remove(0), &Outcome::Done { awaits: Some("in_1".into()) }, at(0)).unwrap();
    for (days, due) in [(0, 0), (1, 0), (30, 0), (2, 1)] {
        let unfinished = unfinished_daily(&c, at(days * DAY)).unwrap();
        assert_eq!(unfinished.len(), due, "{days} days later");
    }
    replay(&c, "evt_1").unwrap();
    assert_eq!(states(&c), "evt_1 pending");
}
