//! Each call that touches the file, its log or its lock fails in turn, or is the last thing that the
//! process does: every 2xx is on disk, and every paid session has one order.
//!
//! `tests/powercuts/recorder.c` is loaded beside the real daemon and counts the calls. A round is a
//! start, three purchases, the work on them, and a stop; in the n-th round the n-th call is the one.
//! `FULFILLD_TEST_SYSCALLS=5000` tries that many of them in turn, of each kind of fault, until a
//! round is over before its fault is reached; fewer are spread over the whole of a round.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use fastrand::Rng;

use crate::disk::{recorder, records};
use crate::proof;
use crate::shop::{Purchase, Running, Shop, number_of, rows, seed, wait_for};

/// What happens instead of the call: see `tests/powercuts/recorder.c`.
const FAULTS: [&str; 4] = ["kill", "EIO", "EIO+", "ENOSPC+"];

/// Calls that fail in `cargo test`, of each kind of fault.
const TRIED: u64 = 8;

/// Shops that are open at once.
const AT_ONCE: usize = 4;

/// A shop with a few orders, whose file is put back before each round.
struct Bench {
    shop: Shop,
    before: tempfile::TempDir,
    tape: PathBuf,
    /// Where the library and the tape are.
    _tools: tempfile::TempDir,
}

/// What came of a round.
#[derive(Default)]
struct Round {
    /// The call was made, or would have been.
    reached: bool,
    calls: u64,
    acknowledged: usize,
    fault: Option<String>,
}

impl Bench {
    fn open(planted: Option<&str>) -> Bench {
        let tools = tempfile::tempdir().expect("a directory for the recording");
        let library = recorder(tools.path());
        let tape = tools.path().join("recording");
        let mut shop = Shop::open();
        for (id, _) in shop.buy("card", 3, "snapshot").iter().flat_map(|p| &p.events) {
            assert_eq!(shop.deliver(id), 200);
        }
        shop.settle();
        shop.stop();
        let before = tempfile::tempdir().expect("a directory for the file of before");
        copy(shop.dir.path(), before.path());
        // The clock may be preloaded already (tests/ahead).
        let preloaded: Vec<_> = std::env::var("LD_PRELOAD")
            .into_iter()
            .chain([library.display().to_string()])
            .collect();
        let mut set = |name: &str, value: String| shop.settings.push((name.into(), value));
        set("LD_PRELOAD", preloaded.join(":"));
        set("RECORD_TO", tape.display().to_string());
        if let Some(bug) = planted {
            set("FULFILLD_SABOTAGE", bug.into());
        }
        Bench { shop, before, tape, _tools: tools }
    }

    /// One round whose n-th call is the one, and what was found afterwards.
    fn round(&mut self, fault: &str, n: u64) -> Round {
        self.shop.dir = tempfile::tempdir().expect("a directory for the round");
        copy(self.before.path(), self.shop.dir.path());
        let _ = std::fs::remove_file(&self.tape);
        let purchases = self.shop.buy("card", 3, "both");
        let events: Vec<&str> =
            purchases.iter().flat_map(|p| &p.events).map(|(id, _)| id.as_str()).collect();
        let mut acknowledged = Vec::new();
        let mut serve = self.shop.serve();
        serve
            .env("RECORD_DIR", self.shop.dir.path())
            .env("RECORD_FAULT", fault)
            .env("RECORD_FAULT_AT", n.to_string())
            .env("FULFILLD_LOG", "off")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if let Ok(desk) = Running::try_start(&mut serve) {
            self.shop.desk = Some(desk);
            for id in &events {
                let body = self.shop.body(id);
                if self.shop.post(&body).is_ok_and(|(status, _)| status == 200) {
                    acknowledged.push(*id);
                }
            }
            let mut desk = self.shop.desk.take().expect("it was started");
            wait_for("its work is done, or it has ended, or it cannot work", || {
                let pending =
                    "SELECT count(*) FROM events WHERE state = 'pending' AND attempts = 0";
                let ended = desk.child.try_wait().expect("it is ours").is_some();
                (ended || rows(&self.shop.file(), pending) == ["0"] || fault.ends_with('+'))
                    .then_some(())
            });
            if desk.child.try_wait().expect("it is ours").is_none() {
                desk.stop();
            }
        }
        let seen = records(&std::fs::read(&self.tape).unwrap_or_default());
        let found = self.found(&purchases, &events, &acknowledged);
        Round {
            reached: seen.iter().any(|record| record.is_fault()),
            calls: seen.len() as u64,
            acknowledged: acknowledged.len(),
            fault: found.err().map(|why| format!("{fault} at call {n}: {why}")),
        }
    }

    /// The next process, on a machine that works, and what it must find.
    fn found(
        &mut self,
        purchases: &[Purchase],
        events: &[&str],
        acknowledged: &[&str],
    ) -> Result<(), String> {
        let mut serve = self.shop.serve();
        serve.env_remove("RECORD_DIR").env_remove("RECORD_TO").env_remove("FULFILLD_SABOTAGE");
        serve.stdin(Stdio::null()).stderr(Stdio::piped());
        let desk = Running::try_start(&mut serve)
            .map_err(|(status, said)| format!("it does not start again ({status}): {said}"))?;
        self.shop.desk = Some(desk);
        let kept = self.shop.rows("SELECT id FROM events");
        let lost: Vec<_> =
            acknowledged.iter().filter(|id| !kept.iter().any(|k| k == *id)).collect();
        if !lost.is_empty() {
            return Err(format!("acknowledged and lost: {lost:?}"));
        }
        for id in events {
            let body = self.shop.body(id);
            wait_for("it takes what Stripe sends again", || {
                (self.shop.post(&body).ok()?.0 == 200).then_some(())
            });
        }
        self.shop.settle();
        self.shop.check();
        let (orders, sessions) = proof::orders_and_sessions(&self.shop);
        self.shop.stop();
        match orders == sessions && sessions == 3 + purchases.len() {
            true => Ok(()),
            false => Err(format!("{orders} orders of {sessions} sessions")),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the directory is there").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// Rounds of these faults, each at its call, some at once.
fn rounds(all: &[(&str, u64)], planted: Option<&str>) -> Vec<Round> {
    let next = Mutex::new(all.iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE.min(all.len()) {
            threads.spawn(|| {
                let mut bench = Bench::open(planted);
                loop {
                    let Some((fault, n)) = next.lock().expect("no panic").next() else { return };
                    let round = bench.round(fault, *n);
                    let mut done = done.lock().expect("no panic");
                    done.push(round);
                    if planted.is_none() {
                        let (reached, acknowledged, lost, doubled) = told(&done);
                        proof::so_far(format!("{reached} faults"), acknowledged, lost, doubled);
                    }
                }
            });
        }
    });
    done.into_inner().expect("no panic")
}

/// How many of these rounds reached their fault, how many events were answered 200, in how many
/// rounds one of those was lost, and in how many an order was there twice.
fn told(rounds: &[Round]) -> (usize, usize, usize, usize) {
    let with = |word| {
        let fault = |round: &&Round| round.fault.as_ref().is_some_and(|fault| fault.contains(word));
        rounds.iter().filter(fault).count()
    };
    let reached = rounds.iter().filter(|round| round.reached).count();
    let acknowledged = rounds.iter().map(|round| round.acknowledged).sum();
    (reached, acknowledged, with("lost"), with("orders of"))
}

/// The calls of a round in which nothing fails.
fn calls_of_a_round() -> u64 {
    let round = Bench::open(None).round("EIO", u64::from(u32::MAX));
    assert!(!round.reached && round.fault.is_none(), "{:?}", round.fault);
    assert_eq!(round.acknowledged, 12, "both shapes of two events of three purchases");
    round.calls
}

#[test]
fn whichever_call_on_the_file_fails_no_acknowledged_event_is_lost() {
    let wanted = number_of("FULFILLD_TEST_SYSCALLS").unwrap_or(TRIED);
    let mut random = Rng::with_seed(seed());
    // What happens beside it makes a round a few calls longer or shorter.
    let calls = calls_of_a_round() * 11 / 10;
    let at = |fault: &'static str| -> Vec<(&'static str, u64)> {
        let every = (calls / wanted).max(1);
        let first = random.u64(1..=every);
        (0..wanted.min(calls)).map(|n| (fault, first + n * every)).collect()
    };
    let all: Vec<_> = FAULTS.into_iter().flat_map(at).collect();
    let rounds = rounds(&all, None);
    let told = told(&rounds);
    proof::came_to(format!("{} faults at {calls} calls", told.0), told.1, told.2, told.3);
    let faults: Vec<&String> = rounds.iter().filter_map(|round| round.fault.as_ref()).collect();
    let reached = told.0;
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(reached > all.len() / 4, "{reached} of {} faults were reached", all.len());
}

/// The control: a desk that answers before COMMIT is caught by one call or another.
#[test]
fn control_faults_catch_a_desk_that_answers_before_commit() {
    let calls = calls_of_a_round();
    for tenth in [5, 6, 4, 7, 3, 8, 2, 9] {
        let near = calls * tenth / 10;
        let all: Vec<_> = (0..4).flat_map(|n| [("EIO+", near + n), ("kill", near + n)]).collect();
        let rounds = rounds(&all, Some("answer_before_commit"));
        if let Some(how) = rounds.into_iter().find_map(|round| round.fault) {
            return proof::caught("answer_before_commit", how);
        }
    }
    panic!("no call that failed showed that events are acknowledged before they are on disk");
}
