//! `fulfilld backup` and what comes of its files: nothing that was acknowledged before it began is
//! missing, and nothing that is not whole counts.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::shop::{SECRET, Shop, fulfilld, post_signed, rows, shell, wait_for};

fn backup(shop: &Shop, args: &[&str]) -> Output {
    let mut command = fulfilld();
    command.arg("backup").args(args).arg("--db").arg(shop.file());
    command.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file in a directory whose name contains that.
fn files(directory: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().unwrap_or_default().to_string_lossy().contains(part))
        .collect();
    found.sort();
    found
}

fn backups_of(shop: &Shop) -> Vec<PathBuf> {
    files(&shop.dir.path().join("backups"), "shop.db.backup-")
}

fn event(id: &str) -> Vec<u8> {
    format!("{{\"id\":\"{id}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(2000)).into_bytes()
}

#[test]
fn a_backup_has_all_that_was_acknowledged_before_it_began_and_restores_to_the_whole_shop() {
    let mut shop = Shop::open();
    let before = shop.buy("card", 3, "snapshot");
    for (id, _) in before.iter().flat_map(|purchase| &purchase.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    shop.shell("UPDATE orders SET note = 'gift wrap' WHERE id = 2").expect("an edit");
    let (url, stop) = (shop.desk().url.clone(), AtomicBool::new(false));
    let acknowledged = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let (url, stop) = (&url, &stop);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("evt_{sender}_{}", acknowledged.len());
                        if post_signed(url, &event(&id), SECRET).is_ok_and(|(code, _)| code == 200)
                        {
                            acknowledged.push((id, SystemTime::now()));
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let count = "SELECT count(*) FROM events";
        let start: i64 = shop.one(count).parse().expect("a count");
        let mut made = Vec::new();
        for n in 1..=3 {
            wait_for("the senders go on", || {
                (shop.one(count).parse::<i64>().ok()? > start + 20 * n).then_some(())
            });
            made.push(SystemTime::now());
            let output = backup(&shop, &[&format!("{}/{n}.db", shop.dir.path().display())]);
            assert!(output.status.success(), "{}", said(&output));
        }
        stop.store(true, Ordering::Relaxed);
        let all: Vec<_> =
            senders.into_iter().flat_map(|sender| sender.join().expect("it sends")).collect();
        for (n, began) in made.iter().enumerate() {
            let copy = shop.dir.path().join(format!("{}.db", n + 1));
            let there: HashSet<String> = rows(&copy, "SELECT id FROM events").into_iter().collect();
            let missing: Vec<_> =
                all.iter().filter(|(id, at)| at <= began && !there.contains(id)).collect();
            assert!(missing.is_empty(), "backup {}: {missing:?}", n + 1);
        }
        all.len()
    });
    assert!(acknowledged > 60, "{acknowledged}");

    // What happens after the backup is on Stripe's side alone.
    shop.buy("card", 2, "snapshot");
    shop.shell("UPDATE orders SET note = 'no ribbon' WHERE id = 1").expect("an edit");
    shop.stop();
    let backup = shop.dir.path().join("3.db");
    let restored = fulfilld()
        .arg("restore")
        .arg(&backup)
        .arg("--db")
        .arg(shop.file())
        .output()
        .expect("the program starts");
    assert!(restored.status.success(), "{}", said(&restored));
    shop.settings.push(("FULFILLD_BACKFILL_EVERY".into(), "1".into()));
    shop.start();
    wait_for("Stripe's part is back", || {
        (shop.one("SELECT count(*) FROM orders") == "5").then_some(())
    });
    assert_eq!(shop.rows("SELECT id, note FROM orders WHERE note IS NOT NULL"), ["2|gift wrap"]);
    wait_for("what was typed since is named", || {
        let sql = "SELECT 1 FROM alarms WHERE name = 'file_went_back'
                   AND message LIKE '%order 1: note%'";
        (!shop.rows(sql).is_empty()).then_some(())
    });
    shop.check();
}

#[test]
fn backups_are_dated_private_and_the_oldest_go_once_a_new_one_is_verified() {
    let mut shop = Shop::open();
    let directory = shop.dir.path().join("backups");
    std::fs::create_dir(&directory).expect("a directory");
    let old = |name: &str| directory.join(name);
    let first = backup(&shop, &[old("shop.db.backup-20200101T000000Z").to_str().expect("text")]);
    assert!(first.status.success(), "{}", said(&first));
    for name in ["shop.db.backup-20200102T000000Z", "shop.db.backup-of-mine"] {
        std::fs::copy(old("shop.db.backup-20200101T000000Z"), old(name)).expect("a copy");
    }
    // Another shop's of the same name, and one that is none, are nobody's to remove.
    let other = Shop::open();
    shell(&other.file(), &format!("VACUUM INTO '{}'", old("other.db").display())).expect("a copy");
    let c = rusqlite::Connection::open(old("other.db")).expect("it opens");
    c.execute_batch("PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE type = 'trigger'")
        .expect("allowed");
    drop(c);
    let c = rusqlite::Connection::open(old("other.db")).expect("it opens");
    c.execute("UPDATE shop SET created_at = '2019-01-01T00:00:00Z'", []).expect("no trigger");
    drop(c);
    std::fs::rename(old("other.db"), old("shop.db.backup-20190101T000000Z")).expect("a name");
    std::fs::write(old("shop.db.backup-20190102T000000Z"), "a note").expect("a note");

    shop.stop();
    let mut command = fulfilld();
    command.arg("backup").env("FULFILLD_DB", shop.file()).env("FULFILLD_BACKUPS_KEPT", "2");
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
    let names: Vec<String> = backups_of(&shop)
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(
        names[..3],
        [
            "shop.db.backup-20190101T000000Z",
            "shop.db.backup-20190102T000000Z",
            "shop.db.backup-20200102T000000Z"
        ],
        "the oldest of this shop went"
    );
    assert_eq!(names[4], "shop.db.backup-of-mine");
    let new = old(&names[3]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&names[3]) && text.ends_with("verified\n"), "{text}");
    assert_eq!(new.metadata().expect("it is there").permissions().mode() & 0o7777, 0o600);
    assert_eq!(files(&directory, "partial"), Vec::<PathBuf>::new());
    assert_eq!(rows(&new, "PRAGMA integrity_check"), ["ok"]);

    // A clock that was set forward once must not make each new backup the first to go.
    std::fs::copy(&new, old("shop.db.backup-29990101T000000Z")).expect("a copy");
    std::fs::copy(&new, old("shop.db.backup-29990102T000000Z")).expect("a copy");
    let mut command = fulfilld();
    command.arg("backup").env("FULFILLD_DB", shop.file()).env("FULFILLD_BACKUPS_KEPT", "2");
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let named = text.split(": ").next().expect("a path");
    assert!(output.status.success() && Path::new(named).exists(), "{text} {}", said(&output));
}

#[test]
fn a_backup_takes_the_place_of_an_older_one_of_this_shop_and_of_nothing_else() {
    let shop = Shop::open();
    let path = |name: &str| shop.dir.path().join(name).display().to_string();
    let output = backup(&shop, &[&path("mine.db")]);
    assert!(output.status.success(), "{}", said(&output));
    let purchase = shop.buy("card", 1, "snapshot").remove(0);
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    let output = backup(&shop, &[&path("mine.db")]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(rows(Path::new(&path("mine.db")), "SELECT count(*) FROM orders"), ["1"]);

    std::fs::write(path("letter.txt"), "dear customer").expect("a letter");
    std::os::unix::fs::symlink(shop.file(), path("link.db")).expect("a link");
    shell(Path::new(&path("books.db")), "CREATE TABLE books(x); INSERT INTO books VALUES(1)")
        .expect("another database");
    for (name, code, why) in [
        ("letter.txt", 64, "not a backup of this shop"),
        ("books.db", 64, "not a backup of this shop"),
        ("shop.db", 64, "the file itself"),
        ("link.db", 64, "the file itself"),
        ("none/here.db", 78, "cannot write into"),
    ] {
        // The bytes of the file itself may change: the desk moves its log into it.
        let served = ["shop.db", "link.db"].contains(&name);
        let read = || (!served).then(|| std::fs::read(path(name)).ok());
        let before = read();
        let refused = backup(&shop, &[&path(name)]);
        assert_eq!(refused.status.code(), Some(code), "{name}: {}", said(&refused));
        assert!(said(&refused).contains(why), "{name}: {}", said(&refused));
        assert!(read() == before, "{name} was changed");
    }
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "1");
    assert_eq!(files(shop.dir.path(), "partial"), Vec::<PathBuf>::new());
    shop.check();
}

/// SIGKILL at each of its steps: what is left under the name of a backup is a whole one, and the
/// next one clears up.
#[test]
fn a_backup_that_is_interrupted_anywhere_leaves_nothing_that_counts() {
    let shop = Shop::open();
    for n in 0..20 {
        assert_eq!(shop.post(&event(&format!("evt_{n}"))).expect("it answers").0, 200);
    }
    let mut left = 0;
    for (call, when) in [("pwrite64", 2), ("pwrite64", 60), ("fsync", 1), ("fsync", 2)] {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={when}")]);
        command.arg(env!("CARGO_BIN_EXE_fulfilld")).arg("backup").arg("--db").arg(shop.file());
        let ended = command.output().expect("strace is installed");
        assert!(!ended.status.success(), "{call} {when}: it was killed");
        left += files(&shop.dir.path().join("backups"), "partial").len();
        for whole in
            backups_of(&shop).iter().filter(|path| !path.to_string_lossy().contains("partial"))
        {
            assert_eq!(rows(whole, "PRAGMA integrity_check"), ["ok"], "{call} {when}");
        }
    }
    assert!(left > 0, "it was killed before anything was written");
    let output = backup(&shop, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(files(&shop.dir.path().join("backups"), "partial"), Vec::<PathBuf>::new());
    let metric = "fulfilld_backup_success_timestamp_seconds ";
    let (_, page) = shop.get("/metrics");
    let at = page.lines().find_map(|line| line.strip_prefix(metric)).expect("it is measured");
    assert!(at.parse::<f64>().is_ok_and(|at| at > 0.0), "{at}");
}

#[test]
fn a_disk_that_is_full_leaves_no_half_backup_and_the_old_ones() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be mounted");
        return;
    }
    let shop = Shop::open();
    for n in 0..200 {
        assert_eq!(shop.post(&event(&format!("evt_{n}"))).expect("it answers").0, 200);
    }
    let small = shop.dir.path().join("small");
    std::fs::create_dir(&small).expect("a directory");
    let script = "mount -t tmpfs -o size=700k,mode=0700 tmpfs \"$0\" && cd \"$0\" && \
                  head -c 300000 /dev/zero >older && \"$1\" backup --db \"$2\"; echo $?; ls -A";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&small).arg(env!("CARGO_BIN_EXE_fulfilld"));
    command.arg(shop.file()).env("FULFILLD_BACKUP_DIR", &small).env("FULFILLD_ETC", "/nowhere");
    let output = command.output().expect("unshare is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "75\nolder\n", "{}", said(&output));
    assert!(said(&output).contains("there is no room for the backup"), "{}", said(&output));
    assert_eq!(shop.post(&event("evt_after")).expect("it answers").0, 200);
}

#[test]
fn the_newest_backup_is_advice_in_readyz_and_never_keeps_a_shop_from_being_ready() {
    let shop = Shop::open();
    assert_eq!(shop.get("/readyz"), (200, "ready".into()), "a new file needs none yet");
    let output = backup(&shop, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(shop.get("/readyz"), (200, "ready".into()));
    let made = std::fs::File::open(&backups_of(&shop)[0]).expect("it is there");
    made.set_modified(SystemTime::now() - Duration::from_secs(3 * 24 * 3600)).expect("it is ours");
    let (status, body) = shop.get("/readyz");
    assert_eq!(status, 200, "{body}");
    assert!(
        body.starts_with("ready\nadvice backup_old: the newest backup was made 3 days"),
        "{body}"
    );
}
