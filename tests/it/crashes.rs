//! `kill -9` at any instant, and a disk that fails: every 2xx is on disk, every paid session has
//! exactly one order.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::proof;
use crate::shop::{Purchase, Running, SECRET, Shop, number_of, post_signed, seeds, wait_for};

/// Kills of one shop, and its purchases of two events and more each; then a new shop begins.
const KILLS: u64 = 300;
const PURCHASES: usize = 1800;

/// What a run of rounds came to.
#[derive(Default)]
struct Tally {
    acknowledged: usize,
    lost: usize,
}

/// Rounds of: start, post from three threads, kill after 0 to 120 ms. The sender's own record is
/// what is compared with the file.
fn rounds(shop: &mut Shop, n: u64, purchases: &[Purchase], random: &mut Rng) -> Tally {
    let bodies: Vec<(String, Vec<u8>)> = purchases
        .iter()
        .flat_map(|p| &p.events)
        .map(|(id, _)| (id.clone(), shop.body(id)))
        .collect();
    let acknowledged = Mutex::new(HashSet::new());
    let next = AtomicUsize::new(0);
    let mut lost = HashSet::new();
    for round in 0..n {
        // From the half on a log is moved into the file, and the next one written over it, every few
        // commits.
        if round == n / 2 && !shop.settings.iter().any(|(name, _)| name == "FULFILLD_SABOTAGE") {
            shop.settings.push(("FULFILLD_SABOTAGE".into(), "short_logs".into()));
        }
        if shop.desk.is_none() {
            shop.start();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..3 {
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

/// `FULFILLD_TEST_KILLS=10000` is the long form.
#[test]
fn three_hundred_kills_lose_no_acknowledged_event_and_double_no_order() {
    let wanted = number_of("FULFILLD_TEST_KILLS").unwrap_or(KILLS);
    let (mut kills, mut tally, mut doubled) = (0, Tally::default(), 0);
    let mut faults = Vec::new();
    for seed in seeds("", wanted.div_ceil(KILLS)) {
        let n = KILLS.min(wanted - kills);
        kills += n;
        // A shop that breaks does not take what the others came to with it.
        match std::panic::catch_unwind(|| kill_a_shop(seed, n)) {
            Ok((told, orders)) => {
                tally.acknowledged += told.acknowledged;
                tally.lost += told.lost;
                doubled += orders;
            }
            Err(panic) => faults.push(format!("seed {seed}: {}", proof::said_by(&*panic))),
        }
        proof::so_far(format!("{kills} kills"), tally.acknowledged, tally.lost, doubled);
    }
    proof::came_to(format!("{kills} kills"), tally.acknowledged, tally.lost, doubled);
    assert_eq!(faults, [""; 0]);
    assert_eq!((tally.lost, doubled), (0, 0));
}

/// One shop's kills, and how many orders are there twice in the end.
fn kill_a_shop(seed: u64, kills: u64) -> (Tally, usize) {
    let mut shop = Shop::open();
    let mut purchases = shop.buy("card", PURCHASES * 5 / 6, "both");
    purchases.extend(shop.buy("delayed", PURCHASES / 6, "snapshot"));
    let tally = rounds(&mut shop, kills, &purchases, &mut Rng::with_seed(seed));
    shop.start();
    // Stripe retries until it has its 200.
    let kept: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
    for (id, _) in purchases.iter().flat_map(|p| &p.events).filter(|(id, _)| !kept.contains(id)) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    shop.check();
    assert_eq!(shop.rows("SELECT id, state_reason FROM events WHERE state = 'failed'"), [""; 0]);
    let (orders, sessions) = proof::orders_and_sessions(&shop);
    assert_eq!(sessions, purchases.len(), "seed {seed}: every purchase has its order");
    assert!(tally.acknowledged as u64 > kills, "the load was real: {}", tally.acknowledged);
    (tally, orders - sessions)
}

/// The control: the same rounds catch a desk that answers before COMMIT.
#[test]
fn control_kills_catch_a_desk_that_answers_before_commit() {
    let mut shop = Shop::open();
    shop.kill();
    shop.settings.push(("FULFILLD_SABOTAGE".into(), "answer_before_commit".into()));
    let purchases = shop.buy("card", 2000, "snapshot");
    for seed in seeds("", 20) {
        let tally = rounds(&mut shop, 10, &purchases, &mut Rng::with_seed(seed));
        if tally.lost > 0 {
            proof::caught(
                "answer_before_commit",
                format!("{} of {} acknowledged events are lost", tally.lost, tally.acknowledged),
            );
            return;
        }
    }
    panic!("two hundred kills did not show that events are acknowledged before they are on disk");
}

/// After a failed fsync(2) nobody knows what is on the disk, so the process must end
/// (PostgreSQL's fsyncgate, 2018).
#[test]
fn a_disk_that_fails_is_never_acknowledged_into() {
    for (call, error, from) in
        [("fsync", "EIO", 40), ("pwrite64", "EIO", 200), ("fsync", "ENOSPC", 40)]
    {
        let mut shop = Shop::open();
        shop.stop();
        let mut serve = Command::new("strace");
        serve.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        serve
            .args(["-e", &format!("inject={call}:error={error}:when={from}+")])
            .arg(env!("CARGO_BIN_EXE_fulfilld"))
            .arg("serve");
        serve.envs(shop.serve().get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut desk = Running::start(&mut serve);
        let mut acknowledged = Vec::new();
        let refused = (0..200).find_map(|n| {
            let id = format!("evt_{n}");
            match post_signed(
                &desk.url,
                format!("{{\"id\":\"{id}\",\"type\":\"x\"}}").as_bytes(),
                SECRET,
            ) {
                Ok((200, _)) => acknowledged.push(id),
                answer => return Some(answer),
            }
            None
        });
        let refused = refused.expect("a disk that fails stores no 200 events");
        assert!(matches!(refused, Ok((503, _))), "{call} {error}: {refused:?}");
        if error == "EIO" {
            let status = wait_for("the process makes room for a new one", || {
                desk.child.try_wait().expect("it is ours")
            });
            assert_eq!(status.code(), Some(75), "{call} {error}");
        }
        // strace passes the signal on, and does not wait for what it traces.
        let traced = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", desk.pid()))
            .unwrap_or_default();
        if desk.child.try_wait().expect("it is ours").is_none() {
            desk.stop();
        }
        for pid in traced.split_whitespace() {
            wait_for("the desk ends", || {
                (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
            });
        }
        shop.start();
        let kept: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
        assert!(
            acknowledged.len() > 3 && acknowledged.iter().all(|id| kept.contains(id)),
            "{call} {error}"
        );
        shop.settle();
        shop.check();
    }
}

/// Each thread is killed once by a panic: the process ends with 75 and a sentence, and the next one
/// has every order.
#[test]
fn a_thread_that_dies_is_noticed_and_the_orders_still_come() {
    std::thread::scope(|threads| {
        for name in
            ["writer", "responder", "events", "worker", "backfill", "hooks", "hook", "signals"]
        {
            threads.spawn(move || a_dead_thread_is_noticed(name));
        }
    });
}

fn a_dead_thread_is_noticed(name: &str) {
    let mut shop = Shop::open_with(
        &[("FULFILLD_BACKFILL_EVERY", "1"), ("FULFILLD_SWEEP_EVERY", "1"), ("FULFILLD_LOG", "off")],
        &["--webhook", "none", "--rate", "0"],
    );
    shop.stop();
    let order = shop.dir.path().join("die");
    let hook = shop.dir.path().join("hook");
    std::fs::write(&hook, "#!/bin/sh\ncat > /dev/null\n")
        .and_then(|()| std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)))
        .expect("a hook");
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), hook.display().to_string()));
    shop.settings.push(("FULFILLD_SABOTAGE".into(), format!("panic:{name}:{}", order.display())));
    shop.start();
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    std::fs::write(&order, "").expect("the order to die");
    for (event, _) in &purchase.events {
        // It may be the last request that this process gets.
        let _ = shop.post(&shop.body(event));
    }
    if name == "signals" {
        shop.desk().signal("HUP");
    }
    let mut desk = shop.desk.take().expect("it was started");
    let ended = wait_for(&format!("the process without its {name}"), || {
        desk.child.try_wait().expect("it is ours")
    });
    assert_eq!(ended.code(), Some(75), "{name}");
    assert!(!order.exists(), "{name}");
    shop.start();
    wait_for(&format!("the order, after its {name} died"), || {
        (shop.one("SELECT count(*) FROM orders WHERE payment_status = 'paid'") == "1").then_some(())
    });
    shop.settle();
    shop.check();
    shop.stop();
}
