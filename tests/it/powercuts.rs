//! Power cuts: whatever the disk had written by then, every 2xx is in the file, and every paid
//! session has one order.
//!
//! What the real daemon writes is recorded, call by call, while it is posted to, killed, stopped
//! and started again. The sender notes with each 200 how long the recording was by then. Then power
//! is cut anywhere in the recording, again and again: a disk (`disk.rs`) says what may be left, the
//! real daemon starts on that, and the sender's notes are compared.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;

use crate::disk::{Disk, Record, recorder, records};
use crate::proof;
use crate::shop::{Purchase, Running, Shop, fulfilld, rows, seeds, wait_for};

/// Purchases in a recorded run, two events each.
const PURCHASES: usize = 40;

/// Power cuts tried in a recording.
const CUTS: usize = 6;

/// What a process that starts after a failed sync writes until its log is in the file, about.
const HEALING: usize = 60;

/// What is recorded.
#[derive(Clone, Copy, Default)]
struct Plan {
    /// One fsync of the log fails and syncs nothing; the ones after it succeed.
    fsync_fails_once: bool,
    /// A log is moved into the file, and the next one written over it, every few commits.
    short_logs: bool,
    /// A bug that is planted: the debug build's `FULFILLD_SABOTAGE`.
    planted: Option<&'static str>,
}

/// A run of the daemon as its disk saw it, and as the sender saw it.
struct Recording {
    before: Disk,
    records: Vec<Record>,
    /// Events that were answered 200, and how long the recording was when the answer had come.
    acknowledged: Vec<(String, u64)>,
    purchases: Vec<Purchase>,
}

/// What a number of power cuts came to.
#[derive(Default)]
struct Tally {
    cuts: usize,
    acknowledged: usize,
    /// One line for each thing that must not be.
    faults: Vec<String>,
}

#[test]
fn power_cuts_lose_no_acknowledged_event_and_double_no_order() {
    let mut tally = Tally::default();
    for seed in seeds("FULFILLD_TEST_POWERCUTS", 5) {
        let plan =
            Plan { fsync_fails_once: seed % 2 == 1, short_logs: seed % 4 >= 2, planted: None };
        // A recording that breaks does not take what the others came to with it.
        match std::panic::catch_unwind(|| try_seed(seed, plan, Tally::default())) {
            Ok(told) => {
                tally.cuts += told.cuts;
                tally.acknowledged += told.acknowledged;
                tally.faults.extend(told.faults);
            }
            Err(panic) => {
                tally.faults.push(format!("seed {seed}: {}", proof::said_by(&*panic)));
            }
        }
        let (lost, doubled) = tally.lost_and_doubled();
        proof::so_far(format!("{} cuts", tally.cuts), tally.acknowledged, lost, doubled);
    }
    let (lost, doubled) = tally.lost_and_doubled();
    proof::came_to(format!("{} cuts", tally.cuts), tally.acknowledged, lost, doubled);
    assert_eq!(tally.faults, [""; 0]);
}

impl Tally {
    /// Cuts that lost what was acknowledged, and cuts that made an order twice.
    fn lost_and_doubled(&self) -> (usize, usize) {
        let with = |word| self.faults.iter().filter(|fault| fault.contains(word)).count();
        (with("acknowledged"), with("orders"))
    }
}

/// The controls: without an fsync before each 200 the same power cuts lose events, and so they do
/// after an fsync that failed where nobody moves the log into the file.
#[test]
fn control_power_cuts_catch_a_desk_that_does_not_sync() {
    caught(Plan { planted: Some("synchronous_normal"), ..Plan::default() });
}

#[test]
fn control_power_cuts_catch_a_desk_that_writes_on_in_a_log_with_a_hole() {
    caught(Plan { planted: Some("log_without_owner"), fsync_fails_once: true, ..Plan::default() });
}

#[test]
fn control_power_cuts_catch_a_start_that_moves_a_log_with_a_hole_into_the_file() {
    caught(Plan {
        planted: Some("hole_moved_into_file"),
        fsync_fails_once: true,
        ..Plan::default()
    });
}

fn caught(plan: Plan) {
    let caught = seeds("FULFILLD_TEST_POWERCUTS", 20).find_map(|seed| {
        let tally = try_seed(seed, plan, Tally::default());
        tally.faults.into_iter().next()
    });
    let how = caught.expect("twenty recordings did not show the planted bug");
    proof::caught(plan.planted.unwrap_or_default(), how);
}

fn try_seed(seed: u64, plan: Plan, mut tally: Tally) -> Tally {
    let mut random = Rng::with_seed(seed);
    let mut shop = Shop::open();
    let recording = record(&mut shop, plan, &mut random);
    for n in 0..CUTS {
        let all = recording.records.len();
        // Every other cut hits the process that starts after a sync that failed, in its first writes.
        let failed = recording.records.iter().position(Record::is_failed_sync);
        let at = match failed.filter(|_| n % 2 == 0) {
            Some(failed) => random.usize(failed..=all.min(failed + HEALING)),
            None => random.usize(..=all),
        };
        let mut disk = recording.before.clone();
        recording.records[..at].iter().for_each(|record| disk.take(record, &mut random));
        let until = recording.records[..at].last().map_or(0, |record| record.end);
        shop.dir = tempfile::tempdir().expect("a directory for the remains");
        let how = disk.cut(shop.dir.path(), &mut random);
        let promised: HashSet<&str> = recording
            .acknowledged
            .iter()
            .filter(|(_, end)| *end <= until)
            .map(|(id, _)| id.as_str())
            .collect();
        tally.cuts += 1;
        tally.acknowledged += promised.len();
        if let Err(fault) = try_remains(&mut shop, &recording.purchases, &promised) {
            // What a test finds is kept to be looked at; what was planted is not.
            shop.dir.disable_cleanup(plan.planted.is_none());
            let remains = shop.dir.path().display();
            tally
                .faults
                .push(format!("seed {seed}, cut {n}, record {at}, {how}: {fault} (in {remains})"));
        }
    }
    tally
}

/// Runs the daemon on a file that is whole on the disk, and records what it does to it until it is
/// killed.
fn record(shop: &mut Shop, plan: Plan, random: &mut Rng) -> Recording {
    let tools = tempfile::tempdir().expect("a directory for the recording");
    let library = recorder(tools.path());
    let tape = tools.path().join("recording");
    let early = shop.buy("card", 5, "snapshot");
    for (id, _) in early.iter().flat_map(|p| &p.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    shop.stop();
    let before = Disk::of(shop.dir.path());

    let mut purchases = shop.buy("card", PURCHASES, "both");
    let bodies: Vec<(String, Vec<u8>)> = purchases
        .iter()
        .flat_map(|p| &p.events)
        .map(|(id, _)| (id.clone(), shop.body(id)))
        .collect();
    let plain = shop.settings.clone();
    let set = |name: &str, value: String| (name.to_string(), value);
    // The clock may be preloaded already (tests/ahead).
    let preloaded: Vec<_> =
        std::env::var("LD_PRELOAD").into_iter().chain([library.display().to_string()]).collect();
    shop.settings.extend([
        set("LD_PRELOAD", preloaded.join(":")),
        set("RECORD_DIR", shop.dir.path().display().to_string()),
        set("RECORD_TO", tape.display().to_string()),
    ]);
    let planted = plan.planted.or(plan.short_logs.then_some("short_logs"));
    shop.settings.extend(planted.map(|bug| set("FULFILLD_SABOTAGE", bug.into())));
    // How many events each process has been answered for when it ends; the last one takes the rest.
    let mut ends: Vec<usize> =
        (0..random.usize(1..3)).map(|_| bodies.len() * random.usize(10..90) / 100).collect();
    ends.sort_unstable();
    ends.push(bodies.len());
    let queue = Mutex::new(VecDeque::from(bodies));
    let acknowledged = Mutex::new(Vec::new());
    for (n, end) in ends.iter().enumerate() {
        let usual = shop.settings.clone();
        let fails = plan.fsync_fails_once && n == 0;
        shop.settings
            .extend(fails.then(|| set("RECORD_FAIL_FSYNC", random.u32(2..30).to_string())));
        let started = Running::try_start(shop.serve().stdin(Stdio::null()));
        shop.settings = usual;
        match started {
            Ok(desk) => shop.desk = Some(desk),
            // It failed before anything was posted.
            Err(_) if fails => continue,
            Err((status, said)) => panic!("it does not start ({status}): {said}"),
        }
        let refused = std::thread::scope(|threads| {
            let post = || {
                while acknowledged.lock().expect("no panic").len() < *end {
                    let (id, body) = queue.lock().expect("no panic").pop_front()?;
                    match shop.post(&body) {
                        Ok((200, _)) => {
                            let end = std::fs::metadata(&tape).expect("it is being written").len();
                            acknowledged.lock().expect("no panic").push((id, end));
                        }
                        other => {
                            // Stripe sends it again.
                            queue.lock().expect("no panic").push_back((id, body));
                            return Some(format!("{other:?}"));
                        }
                    }
                }
                None
            };
            let posting: Vec<_> = (0..3).map(|_| threads.spawn(post)).collect();
            posting.into_iter().filter_map(|thread| thread.join().expect("no panic")).next()
        });
        let mut desk = shop.desk.take().expect("it was started");
        if let Some(refused) = refused {
            assert!(fails, "nothing but a failed fsync is answered so: {refused}");
            // It ends by itself, which may move the log into the file from memory, or has no time
            // for that.
            match plan.planted.is_some() || random.bool() {
                true => kill(desk),
                false => drop(wait_for("it makes room for a new one", || {
                    desk.child.try_wait().expect("it is ours")
                })),
            }
        } else {
            // A moment for the work behind the door.
            std::thread::sleep(Duration::from_millis(random.u64(..400)));
            match n + 1 < ends.len() && random.bool() {
                true => assert!(desk.stop().success() || fails),
                false => kill(desk),
            }
        }
    }
    shop.settings = plain;
    let recording = records(&std::fs::read(&tape).expect("it was recorded"));
    nothing_was_missed(&before, &recording, shop.dir.path());
    purchases.extend(early);
    Recording {
        before,
        records: recording,
        acknowledged: acknowledged.into_inner().expect("no panic"),
        purchases,
    }
}

/// A process that is killed in the midst of writing a record leaves half of one, though it may have
/// done what that is about. So it is stopped first, which it is at no call's half.
fn kill(desk: Running) {
    desk.signal("STOP");
    let threads = format!("/proc/{}/task", desk.child.id());
    wait_for("all its threads are stopped", || {
        let threads = std::fs::read_dir(&threads).ok()?.flatten();
        let is_stopped = |thread: std::fs::DirEntry| {
            // The name before the state may be any: it ends with the last parenthesis.
            let said = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            said.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 'Z']))
        };
        threads.into_iter().all(is_stopped).then_some(())
    });
    desk.kill();
}

/// What the recorder saw must be all that happened: put together, it is what is in the directory.
fn nothing_was_missed(before: &Disk, records: &[Record], dir: &Path) {
    let (mut disk, mut random) = (before.clone(), Rng::with_seed(0));
    records.iter().for_each(|record| disk.take(record, &mut random));
    let seen = disk.read();
    for (name, bytes) in &seen {
        assert!(
            std::fs::read(dir.join(name)).is_ok_and(|there| there == *bytes),
            "{name} is as it was recorded"
        );
    }
    let there = std::fs::read_dir(dir).expect("the directory is there").flatten();
    let there: Vec<String> =
        there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in there.iter().filter(|name| !name.ends_with("-shm")) {
        assert!(seen.contains_key(name), "{name} was recorded");
    }
}

/// Starts the real daemon on what is left, lets Stripe send again, and looks for what was promised.
pub fn try_remains(
    shop: &mut Shop,
    purchases: &[Purchase],
    promised: &HashSet<&str>,
) -> Result<(), String> {
    let started = Running::try_start(shop.serve().stdin(Stdio::null()).stderr(Stdio::piped()));
    shop.desk =
        Some(started.map_err(|(status, said)| format!("it does not start ({status}): {said}"))?);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let events =
            || rows(&shop.file(), "SELECT id FROM events").into_iter().collect::<HashSet<_>>();
        wait_for("it takes webhooks", || {
            (shop.post(br#"{"id":"evt_0","type":"x"}"#).ok()?.0 == 200).then_some(())
        });
        let kept = events();
        let lost = promised.iter().filter(|id| !kept.contains(**id)).count();
        if lost > 0 {
            return Err(format!("{lost} of {} acknowledged events are lost", promised.len()));
        }
        for (id, _) in purchases.iter().flat_map(|p| &p.events).filter(|(id, _)| !kept.contains(id))
        {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        shop.check();
        let paid = "SELECT count(*), count(DISTINCT checkout_session_id) FROM orders WHERE payment_status = 'paid'";
        let n = purchases.len();
        assert_eq!(shop.one(paid), format!("{n}|{n}"), "orders");
        let checked = fulfilld()
            .arg("check")
            .env("FULFILLD_DB", shop.file())
            .output()
            .expect("the program runs");
        assert!(checked.status.success(), "check: {}", String::from_utf8_lossy(&checked.stdout));
        Ok(())
    }));
    shop.desk.take().expect("it was started").kill();
    outcome.unwrap_or_else(|panic| Err(proof::said_by(&*panic)))
}
