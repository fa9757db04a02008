//! What people and programs do to the file's companions and marks while the desk serves it: its
//! lock, its log, the log's index, a `.restore` or a PRAGMA in a shell.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::file::{acknowledged, beside, refused, run, said};
use crate::shop::{Running, Shop, rows, wait_for};

/// How the desk ended, by itself.
fn ended(shop: &mut Shop) -> Option<i32> {
    let mut desk = shop.desk.take().expect("it was running");
    wait_for("the desk ends", || desk.child.try_wait().expect("it is ours")).code()
}

fn plant(shop: &mut Shop, bug: Option<&str>) {
    shop.kill();
    shop.settings = bug.map(|bug| ("FULFILLD_SABOTAGE".into(), bug.into())).into_iter().collect();
    shop.start();
}

/// Whether a second desk starts on the file after the lock beside it was deleted.
fn second_desk_starts(shop: &mut Shop) -> bool {
    std::fs::remove_file(beside(&shop.file(), ".lock")).expect("it is there");
    let first = shop.desk.take();
    let mut second = shop.serve();
    let started = Running::try_start(second.stderr(Stdio::piped()));
    let why = started.as_ref().err().map(|(status, said)| (status.code(), said.clone()));
    assert!(
        why.as_ref()
            .is_none_or(|(code, said)| *code == Some(78) && said.contains("another fulfilld")),
        "{why:?}"
    );
    drop(started);
    shop.desk = first;
    why.is_none()
}

#[test]
fn a_lock_that_is_deleted_lets_no_second_desk_in_and_comes_back() {
    let mut shop = Shop::open();
    assert!(!second_desk_starts(&mut shop));
    let lock = beside(&shop.file(), ".lock");
    std::fs::remove_file(&lock).expect("the second one made it");
    // A verb beside it moves no log, either, and the note comes back with the next change.
    acknowledged(&shop, 0, 3);
    wait_for("the lock is there again", || lock.exists().then_some(()));
    assert_eq!(refused(&shop).0, Some(78));
    shop.stop();
    shop.start();
    assert_eq!(shop.rows("SELECT message FROM alarms WHERE name = 'file_without_note'"), [""; 0]);
    plant(&mut shop, Some("file_not_locked"));
    // A note may make it again before the second desk looks.
    let caught = (0..10).any(|_| second_desk_starts(&mut shop));
    assert!(caught, "the test sees a desk that locks the `.lock` alone");
}

/// Whether a desk plays back the log of a copy of its shop that was served elsewhere: both have
/// counted the same number of changes.
fn log_of_a_copy_is_played_back(bug: Option<&str>) -> bool {
    let mut shops = [Shop::open(), Shop::open()];
    plant(&mut shops[0], bug);
    shops.iter_mut().for_each(Shop::stop);
    std::fs::copy(shops[0].file(), shops[1].file()).expect("a copy");
    std::fs::remove_file(beside(&shops[1].file(), ".lock")).expect("the copy's own note");
    for (n, shop) in shops.iter_mut().enumerate() {
        shop.start();
        // It keeps the log from being emptied.
        let reader = rusqlite::Connection::open(shop.file()).expect("the file opens");
        let no_move = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        reader.set_db_config(no_move, true).expect("it moves nothing by itself");
        reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
        acknowledged(shop, n, 1);
        shop.kill();
    }
    let [shop, copy] = &mut shops;
    std::fs::copy(beside(&copy.file(), "-wal"), beside(&shop.file(), "-wal")).expect("swapped");
    let started = Running::try_start(shop.serve().stderr(Stdio::piped()));
    let why = started.as_ref().err().map(|(status, said)| (status.code(), said.clone()));
    assert!(
        why.as_ref().is_none_or(|(code, said)| *code == Some(78)
            && said.contains("the log of another file")
            && said.contains("mv ")),
        "{why:?}"
    );
    why.is_none()
}

#[test]
fn the_log_of_a_copy_of_the_shop_is_never_played_back() {
    for _ in 0..3 {
        assert!(!log_of_a_copy_is_played_back(None));
    }
    let caught = (0..10).any(|_| log_of_a_copy_is_played_back(Some("log_not_noted")));
    assert!(caught, "the test sees a desk that does not note which log it began");
}

/// The number of changes of page 1 that the file counts.
fn changes(file: &Path) -> u32 {
    let mut count = [0; 4];
    let file = std::fs::File::open(file).expect("the file is there");
    file.read_exact_at(&mut count, 24).expect("it has a header");
    u32::from_be_bytes(count)
}

/// A connection that reads, and moves nothing when it ends.
fn reader(shop: &Shop) -> rusqlite::Connection {
    let reader = rusqlite::Connection::open(shop.file()).expect("the file opens");
    let no_move = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    reader.set_db_config(no_move, true).expect("it moves nothing by itself");
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
    reader
}

/// The desk moved its first log into the file, which a reader kept from being emptied; then a shell
/// began the next one, which has no page 1, and the desk was killed. What was noted beside the file
/// was of the one before, which had counted more changes.
#[test]
fn a_desk_that_is_killed_soon_after_a_backup_was_put_back_starts_again() {
    let mut shop = Shop::open();
    for (id, _) in &shop.buy("card", 1, "snapshot")[0].events {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    shop.stop();
    let backup = shop.dir.path().join("backup.db");
    std::fs::copy(shop.file(), &backup).expect("a copy");
    while changes(&shop.file()) < changes(&backup) + 2 {
        shop.start();
        shop.stop();
    }
    std::fs::rename(&backup, shop.file()).expect("it can be moved");
    let before = changes(&shop.file());
    let first = reader(&shop);
    shop.start();
    wait_for("the desk has begun its log", || {
        let log = std::fs::metadata(beside(&shop.file(), "-wal")).map_or(0, |log| log.len());
        (log > 0).then_some(())
    });
    let second = reader(&shop);
    drop(first);
    wait_for("the log is in the file", || (changes(&shop.file()) > before).then_some(()));
    wait_for("the desk is ready", || (shop.get("/readyz").0 == 200).then_some(()));
    drop(second);
    shop.shell("UPDATE orders SET note = 'a gift'").expect("a shell may write");
    shop.kill();
    shop.start();
    assert_eq!(shop.rows("SELECT note FROM orders"), ["a gift"]);
    shop.check();
}

/// What is done to a log, or its index, of a desk that serves.
const MISCHIEF: [&str; 6] = [
    "log deleted",
    "log emptied",
    "log cut",
    "log copied over",
    "index deleted",
    "index written over",
];

/// Does it, and posts on. What was wrong afterwards.
fn fault(shop: &mut Shop, what: &str) -> Result<(), String> {
    // Whoever reads keeps the log from being moved into the file while it is harmed, against which
    // nobody could do anything.
    let reader = rusqlite::Connection::open(shop.file()).expect("the file opens");
    let no_move = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    reader.set_db_config(no_move, true).expect("it moves nothing by itself");
    reader.execute_batch("BEGIN").expect("a transaction");
    let count = "SELECT count(*) FROM events";
    let first: i64 = reader.query_row(count, [], |row| row.get(0)).expect("a count");
    let first = first as usize;
    acknowledged(shop, first, 20);
    // Nor could anybody against what happens in the middle of a commit.
    shop.settle();
    let (log, index) = (beside(&shop.file(), "-wal"), beside(&shop.file(), "-shm"));
    let cut = |part: u64| {
        let file = OpenOptions::new().write(true).open(&log).expect("it opens");
        let size = file.metadata().expect("it is open").len();
        file.set_len(size / 100 * part).expect("it is cut");
    };
    match what {
        "log deleted" => std::fs::remove_file(&log).expect("it is there"),
        "log emptied" => cut(0),
        "log cut" => cut(50),
        // As cp does, which keeps the inode.
        "log copied over" => std::fs::write(&log, [0x5A; 600_000]).expect("it can be written"),
        // Which page each frame holds, and not the header, whose check sum SQLite verifies.
        "index written over" => {
            let file = OpenOptions::new().read(true).write(true).open(&index).expect("it opens");
            let mut noise = [0; 400];
            file.read_exact_at(&mut noise, 136).expect("it is longer");
            noise.chunks_exact_mut(8).for_each(|pair| pair.rotate_left(4));
            file.write_all_at(&noise, 136).expect("it can be written");
        }
        _ => std::fs::remove_file(&index).expect("it is there"),
    }
    if what == "index deleted" {
        // Who comes now makes another index, and neither sees what the other writes.
        shop.shell("UPDATE events SET state = 'pending' WHERE id = 'evt_0'").expect("an edit");
    }
    let mut acknowledged_after = Vec::new();
    for n in 0..10 {
        let id = format!("evt_after_{first}_{n}");
        let body = format!("{{\"id\":\"{id}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(2000));
        if matches!(shop.post(body.as_bytes()), Ok((200, _))) {
            acknowledged_after.push(id);
        }
    }
    drop(reader);
    let mut desk = shop.desk.take().expect("it was running");
    if desk.child.try_wait().expect("it is ours").is_none() {
        desk.signal("TERM");
    }
    wait_for("the desk ends", || desk.child.try_wait().expect("it is ours"));
    let started = Running::try_start(shop.serve().stderr(Stdio::piped()))
        .map_err(|(status, said)| format!("{what}: {status}: {said}"));
    shop.desk = Some(started?);
    let whole = shop.rows("PRAGMA quick_check(1)");
    let lost: Vec<&String> = acknowledged_after
        .iter()
        .filter(|id| shop.rows(&format!("SELECT 1 FROM events WHERE id = '{id}'")).is_empty())
        .collect();
    match (whole == ["ok"], lost.is_empty()) {
        (true, true) => Ok(()),
        _ => Err(format!("{what}: {whole:?}, lost {lost:?}")),
    }
}

#[test]
fn whatever_is_done_to_the_log_nothing_is_acknowledged_into_it_and_the_file_stays_whole() {
    let mut shop = Shop::open();
    for what in MISCHIEF {
        fault(&mut shop, what).expect("no harm is done");
    }
    plant(&mut shop, Some("log_not_watched"));
    let seen = wait_for("the test sees a desk that does not look", || {
        let kept = std::fs::read(shop.file()).expect("it is there");
        let seen = fault(&mut shop, "log emptied").err();
        if seen.is_none() && shop.rows("PRAGMA quick_check(1)") != ["ok"] {
            std::fs::write(shop.file(), kept).expect("it is put back");
        }
        seen
    });
    println!("{seen}");
}

/// What a log comes to that was harmed while a shell had the file open, which closes it last.
fn closed_last(bug: Option<&str>) -> Vec<String> {
    let mut shop = Shop::open();
    plant(&mut shop, bug);
    // A log that is begun anew in place has old bytes behind its end, which harm nobody.
    let empty = || std::fs::metadata(beside(&shop.file(), "-wal")).is_ok_and(|log| log.len() == 0);
    wait_for("the log is empty", || empty().then_some(()));
    let shell = rusqlite::Connection::open(shop.file()).expect("the file opens");
    shell.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
    acknowledged(&shop, 0, 30);
    let log = OpenOptions::new().write(true).open(beside(&shop.file(), "-wal")).expect("it opens");
    let middle = log.metadata().expect("it is open").len() / 2;
    log.write_all_at(&[0x5A; 40_000], middle).expect("it can be written");
    // The desk looks at the whole log before it moves any of it.
    shell.execute_batch("COMMIT").expect("it ends");
    assert_eq!(ended(&mut shop), Some(75));
    drop(shell);
    shop.rows("PRAGMA quick_check(1)")
}

#[test]
fn a_shell_that_closes_last_moves_nothing_of_a_log_that_was_harmed() {
    assert_eq!(closed_last(None), ["ok"]);
    // The harmed pages may stand once more behind them.
    let seen = (0..10).any(|_| closed_last(Some("harmed_log_left_to_shells")) != ["ok"]);
    assert!(seen, "the test sees the harm");
}

/// A backup that holds an order, and a note that somebody typed later and the desk has seen.
fn typed_after_a_backup(shop: &Shop) -> PathBuf {
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    let backup = shop.dir.path().join(format!("{}.backup", purchase.session));
    shop.shell(&format!(".backup '{}'", backup.display())).expect("a backup");
    shop.shell("UPDATE orders SET note = 'gift wrap' WHERE id = 1").expect("an edit");
    let lock = beside(&shop.file(), ".lock");
    wait_for("what was typed is noted", || {
        std::fs::read_to_string(&lock).ok()?.contains("\"note\"").then_some(())
    });
    backup
}

fn restore_in_a_shell(shop: &Shop, backup: &Path) {
    shop.shell(&format!(".restore '{}'", backup.display())).expect("it is restored");
}

#[test]
fn a_backup_that_a_shell_restores_into_the_running_desk_is_reported_at_once() {
    let mut shop = Shop::open();
    let backup = typed_after_a_backup(&shop);
    restore_in_a_shell(&shop, &backup);
    assert_eq!(ended(&mut shop), Some(75));
    shop.start();
    let told = "SELECT message FROM alarms WHERE name = 'file_went_back'";
    wait_for("attention names what was typed", || {
        shop.rows(told).iter().any(|said| said.contains("order 1: note")).then_some(())
    });
    acknowledged(&shop, 0, 3);
    shop.check();
    // Another shop's file is another shop's.
    let other = Shop::open();
    let others = typed_after_a_backup(&other);
    restore_in_a_shell(&shop, &others);
    assert_eq!(ended(&mut shop), Some(75));

    let mut shop = Shop::open();
    plant(&mut shop, Some("may_go_back"));
    let backup = typed_after_a_backup(&shop);
    restore_in_a_shell(&shop, &backup);
    acknowledged(&shop, 0, 3);
    assert_eq!(shop.rows(told), [""; 0], "the test sees a desk that does not look");
}

#[test]
fn a_mark_of_the_file_that_somebody_overwrote_is_put_right() {
    let marks = "SELECT (SELECT * FROM pragma_application_id) || ' ' || (SELECT * FROM pragma_user_version)";
    let mut shop = Shop::open();
    let right = shop.one(marks);
    shop.shell("PRAGMA application_id = 1; PRAGMA user_version = 9").expect("typed");
    wait_for("the running desk puts them right", || (shop.one(marks) == right).then_some(()));
    acknowledged(&shop, 0, 3);
    shop.stop();
    // Too small a number is no older file.
    for typed in [0, 2] {
        shop.shell(&format!("PRAGMA user_version = {typed}")).expect("typed");
        shop.start();
        assert_eq!(shop.one(marks), right);
        shop.stop();
    }
    assert!(!beside(&shop.file(), ".before-schema-3").exists());
    // Too large a one, or another program's mark, may mean something: the message has the line.
    for typed in ["user_version = 9", "application_id = 7"] {
        shop.shell(&format!("PRAGMA {typed}")).expect("typed");
        let (code, message) = refused(&shop);
        assert_eq!(code, Some(78), "{message}");
        let orders = run(&["orders"], &shop.file());
        assert_eq!(orders.status.code(), Some(78), "{}", said(&orders));
        let typed = message.rsplit_once(": sqlite3 ").expect("it names a line").1;
        let typed = format!("sqlite3 {typed}");
        let typed = typed.lines().next().expect("a line").split(" && ").next().expect("a line");
        let status = Command::new("sh").args(["-c", typed]).status();
        assert!(status.is_ok_and(|status| status.success()), "{typed}");
        assert_eq!(rows(&shop.file(), marks), [right.as_str()], "{typed}");
        shop.start();
        shop.stop();
    }
}
