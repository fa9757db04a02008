//! A second machine: the real Litestream beside the desk, a machine that is lost, and the shop that
//! continues from the replica.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::outside::{installed, machine_program, shipped};
use crate::shop::{
    PATIENCE, Running, SECRET, Shop, fulfilld, number_of, post_signed, rows, unix_now, wait_for,
};

/// Where the replica goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Directory,
    Bucket,
}

/// Another machine: what it keeps outlives the shop's.
struct Away {
    dir: TempDir,
    store: Option<(Child, String)>,
}

impl Away {
    fn open(target: Target) -> Away {
        let store = (target == Target::Bucket).then(|| {
            let mut child = machine_program("python3")
                .arg(installed("s3.py"))
                .stdout(Stdio::piped())
                .spawn()
                .expect("the bucket store starts");
            let mut port = String::new();
            BufReader::new(child.stdout.take().expect("it was piped"))
                .read_line(&mut port)
                .expect("it prints its port");
            (child, port.trim().to_string())
        });
        Away { dir: tempfile::tempdir().expect("a directory"), store }
    }

    /// The shipped set-up, with this test's places in it.
    fn set_up(&self, file: &Path) -> PathBuf {
        let shipped = shipped("systemd/litestream.yml");
        let (head, _) = shipped.split_once("    replica:\n").expect("it names a replica");
        let head = head
            .replace("/var/lib/fulfilld/fulfilld.db", &file.display().to_string())
            .replace("/run/fulfilld-litestream/control.sock", &socket(file).display().to_string());
        let replica = match &self.store {
            Some((_, port)) => shipped[shipped.find("    replica:\n").expect("as before")..]
                .replace("bucket: BUCKET", "bucket: orders")
                .replace(
                    "#endpoint: https://s3.example.org",
                    &format!("endpoint: http://127.0.0.1:{port}"),
                )
                .replace("#force-path-style", "force-path-style"),
            None => format!(
                "    replica:\n      type: file\n      path: {}\n",
                self.dir.path().join("replica").display()
            ),
        };
        let path = file.with_extension("yml");
        std::fs::write(&path, head + &replica).expect("it can be written");
        path
    }

    fn litestream(&self) -> Command {
        let mut command = Command::new(installed(".venv/bin/litestream"));
        command
            .env_remove("AWS_CA_BUNDLE")
            .env("LITESTREAM_ACCESS_KEY_ID", "a key")
            .env("LITESTREAM_SECRET_ACCESS_KEY", "hush");
        command
    }

    /// Litestream beside the shop.
    fn follow(&self, shop: &Shop) -> Following {
        let log = shop.dir.path().join("litestream.log");
        let said = std::fs::File::create(&log).expect("it can be written");
        let mut command = self.litestream();
        command.args(["replicate", "-config"]).arg(self.set_up(&shop.file()));
        command.stdout(said.try_clone().expect("a handle")).stderr(said);
        let following = Following(command.spawn().expect("litestream starts"));
        wait_for("the first copy is on the other machine", || (replicated(shop) > 0).then_some(()));
        following
    }

    /// The replica, restored to a new machine.
    fn restore(&self, to: &Path) {
        let mut command = self.litestream();
        command.args(["restore", "-config"]).arg(self.set_up(to)).arg(to);
        let output = command.output().expect("litestream starts");
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.store {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn socket(file: &Path) -> PathBuf {
    file.with_extension("sock")
}

struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The unix second at which the replica last had everything.
fn replicated(shop: &Shop) -> u64 {
    let (_, page) = shop.get("/metrics");
    let metric = "fulfilld_backup_success_timestamp_seconds ";
    let at = page.lines().find_map(|line| line.strip_prefix(metric)).expect("it is measured");
    at.parse::<f64>().expect("a number") as u64
}

fn with_litestream(shop: &mut Shop) {
    let setting = "FULFILLD_LITESTREAM_SOCKET";
    shop.settings.retain(|(name, _)| name != setting);
    shop.settings.push((setting.into(), socket(&shop.file()).display().to_string()));
    if shop.desk.is_some() {
        shop.stop();
    }
    shop.start();
}

/// So many machines are lost, by turns with a replica in a directory and in a bucket.
const FAILOVERS: u64 = 2;

/// A shop's machine is lost under load. What was acknowledged is whole again on another one, by the
/// replica and by Stripe; what was typed in the last moments is lost, and the shop says that it
/// cannot know. `FULFILLD_TEST_FAILOVERS=10` runs more, and prints the figures.
#[test]
fn a_shop_whose_machine_is_lost_continues_from_the_replica_on_another() {
    let failovers = number_of("FULFILLD_TEST_FAILOVERS").unwrap_or(FAILOVERS);
    println!(
        "target      acknowledged  missing  window s  typed  lost  restore s  ready s  whole s"
    );
    for n in 0..failovers {
        let target = if n % 2 == 0 { Target::Directory } else { Target::Bucket };
        fail_over(target, Duration::from_millis(1500 + n * 370 % 1000));
    }
}

fn fail_over(target: Target, load: Duration) {
    let away = Away::open(target);
    let mut shop = Shop::open();
    with_litestream(&mut shop);
    let following = away.follow(&shop);

    // Purchases come, and somebody types, until everything is gone at once.
    let purchases = shop.buy("card", 150, "snapshot");
    let events: Vec<(String, Vec<u8>)> = purchases
        .iter()
        .flat_map(|purchase| &purchase.events)
        .map(|(id, _)| (id.clone(), shop.body(id)))
        .collect();
    let (url, gone) = (shop.desk().url.clone(), AtomicBool::new(false));
    let (acknowledged, typed, lost_at) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for (id, body) in events.iter().cycle().take_while(|_| !gone.load(Ordering::Relaxed)) {
                if post_signed(&url, body, SECRET).is_ok_and(|(status, _)| status == 200) {
                    acknowledged.push((id.clone(), Instant::now()));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            acknowledged
        });
        let mut typed = Vec::new();
        let began = Instant::now();
        // The replica has the beginning of it, however busy this machine is.
        let is_over = |typed: &[u64]| {
            began.elapsed() >= load
                && typed.len() >= 3
                && (replicated(&shop) > typed[0] + 1 || began.elapsed() > PATIENCE)
        };
        while !is_over(&typed) {
            let note = format!("note {}", typed.len());
            let line = format!(
                "UPDATE orders SET note = '{note}' WHERE id = (SELECT min(id) FROM orders) RETURNING id"
            );
            if shop.shell(&line).is_ok_and(|said| !said.trim().is_empty()) {
                typed.push(unix_now());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(following);
        shop.kill();
        let lost_at = Instant::now();
        gone.store(true, Ordering::Relaxed);
        (sender.join().expect("it sends"), typed, lost_at)
    });

    // Another machine.
    let began = Instant::now();
    shop.dir = tempfile::tempdir().expect("another machine");
    away.restore(&shop.file());
    let restored = began.elapsed();
    shop.settings.push(("FULFILLD_BACKFILL_EVERY".into(), "1".into()));
    let there: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
    let missing: Vec<_> = acknowledged.iter().filter(|(id, _)| !there.contains(id)).collect();
    let window = missing.iter().map(|(_, at)| lost_at.duration_since(*at)).max();
    let last = "SELECT coalesce(max(CAST(substr(new, 6) AS INTEGER)), -1) FROM order_history
                WHERE what = 'note'";
    let kept: i64 = shop.one(last).parse().expect("a number");
    let lost = typed.len() as i64 - 1 - kept;
    with_litestream(&mut shop);
    let ready = began.elapsed();
    let sold = purchases.len().to_string();
    wait_for("Stripe's part is whole again", || {
        (shop.one("SELECT count(*) FROM orders") == sold).then_some(())
    });
    shop.settle();
    let whole = began.elapsed();
    println!(
        "{:<11} {:>12} {:>8} {:>9.2} {:>6} {:>5} {:>10.2} {:>8.2} {:>8.2}",
        format!("{target:?}"),
        acknowledged.len(),
        missing.len(),
        window.unwrap_or_default().as_secs_f64(),
        typed.len(),
        lost,
        restored.as_secs_f64(),
        ready.as_secs_f64(),
        whole.as_secs_f64()
    );
    // Whoever was answered 200 is there, by the replica or from Stripe, which needs one event of each.
    let now: HashSet<String> =
        shop.rows("SELECT checkout_session_id FROM orders").into_iter().collect();
    let sent: HashSet<&String> = acknowledged.iter().map(|(id, _)| id).collect();
    for purchase in &purchases {
        let answered = purchase.events.iter().any(|(id, _)| sent.contains(id));
        assert!(!answered || now.contains(&purchase.session), "{purchase:?}");
    }
    let said = shop.one("SELECT message FROM alarms WHERE name = 'file_without_note'");
    assert!(said.contains("served here for the first time"), "{said}");
    assert!(kept >= 0, "nothing that was typed came over");
    shop.check();
    // And on this machine Litestream follows again.
    drop(away.follow(&shop));
}

/// The desk leaves the log to Litestream: no alarm is raised, a stop waits for nobody, a start does
/// not doubt the log that was left, and the replica has everything.
#[test]
fn a_shop_beside_litestream_stays_ready_and_its_restarts_wait_for_nobody() {
    let said = restarted_beside_litestream(None);
    assert!(!said.contains("somebody") && !said.contains("503"), "{said}");
    // The control: a desk that does not see Litestream takes it for somebody who never ends.
    let said = restarted_beside_litestream(Some("litestream_unseen"));
    assert!(said.contains("somebody still reads"), "{said}");
}

/// What the desk said that was stopped and started beside Litestream.
fn restarted_beside_litestream(bug: Option<&str>) -> String {
    let away = Away::open(Target::Directory);
    let mut shop = Shop::open();
    shop.settings.extend(bug.map(|bug| ("FULFILLD_SABOTAGE".to_string(), bug.to_string())));
    shop.settings.push(("FULFILLD_LOG".into(), "warn".into()));
    with_litestream(&mut shop);
    let _following = away.follow(&shop);
    let mut n = 0;
    // More than a thousand pages.
    let mut post = |shop: &Shop| {
        for _ in 0..60 {
            n += 1;
            let pad = "p".repeat(90_000);
            let body = format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{pad}\"}}");
            assert_eq!(shop.post(body.as_bytes()).expect("it answers").0, 200);
        }
    };
    post(&shop);
    shop.stop();
    let log = shop.dir.path().join("desk.log");
    let mut command = shop.serve();
    command.stderr(std::fs::File::create(&log).expect("it can be written"));
    shop.desk = Some(Running::start(&mut command));
    assert_eq!(shop.get("/readyz").0, 200, "{}", shop.get("/readyz").1);
    post(&shop);
    // Another death than a stop: what is left is looked at, and Litestream follows on.
    shop.kill();
    shop.desk = Some(Running::start(&mut command));
    wait_for("the desk is ready", || (shop.get("/readyz").0 == 200).then_some(()));
    post(&shop);
    shop.stop();
    shop.start();
    let there = shop.one("SELECT max(seq) FROM events");
    wait_for("the replica has everything", || {
        let dir = tempfile::tempdir().expect("a directory");
        let copy = dir.path().join("copy.db");
        away.restore(&copy);
        (rows(&copy, "SELECT max(seq) FROM events") == [there.clone()]).then_some(())
    });
    shop.check();
    std::fs::read_to_string(log).expect("it is there")
}

#[test]
fn doctor_counts_litestream_as_a_backup_and_finds_one_that_stopped() {
    let away = Away::open(Target::Directory);
    let mut shop = Shop::open();
    with_litestream(&mut shop);
    let following = away.follow(&shop);
    let doctor = |shop: &Shop| {
        let mut command = fulfilld();
        command.args(["doctor", "--offline"]).env("FULFILLD_DB", shop.file());
        command.env("FULFILLD_LITESTREAM_SOCKET", socket(&shop.file()));
        String::from_utf8(command.output().expect("it starts").stdout).expect("text")
    };
    let said = doctor(&shop);
    assert!(said.contains("✓ Litestream 0.5.17 replicates"), "{said}");
    assert!(!said.contains("no backup"), "{said}");
    drop(following);
    let said = doctor(&shop);
    assert!(said.contains("✗ Litestream has replicated") && said.contains("restart"), "{said}");

    // A backup is put in place, and Litestream begins its log before the desk is back.
    let copy = shop.dir.path().join("copy.db");
    shop.shell(&format!("VACUUM INTO '{}'", copy.display())).expect("a backup");
    shop.post(br#"{"id":"evt_1","type":"x"}"#).expect("it answers");
    shop.stop();
    let mut restore = fulfilld();
    restore.arg("restore").arg(&copy).arg("--db").arg(shop.file());
    let output = restore.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let mut command = away.litestream();
    command.args(["replicate", "-once", "-config"]).arg(shop.file().with_extension("yml"));
    assert!(command.output().expect("litestream starts").status.success());
    shop.start();
    assert_eq!(shop.get("/readyz").0, 200);

    // A drill restores the replica, and says so when it cannot.
    let drill = |shop: &Shop| {
        let mut command = fulfilld();
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = installed(".venv/bin/litestream");
        let bin = bin.parent().expect("a directory").display().to_string();
        command.arg("drill").arg("--litestream").arg(shop.file().with_extension("yml"));
        command.env("FULFILLD_DB", shop.file()).env("PATH", format!("{bin}:{path}"));
        command.output().expect("it starts")
    };
    let output = drill(&shop);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("replica: restored in"), "{said}{output:?}");
    std::fs::remove_dir_all(away.dir.path().join("replica")).expect("it is there");
    let output = drill(&shop);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = "SELECT count(*) FROM attention WHERE reason = 'drill_failing'";
    assert_eq!(shop.one(told), "1");
}
