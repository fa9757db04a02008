//! One file: what is copied, moved, linked and put back, while the desk runs, stands still or was
//! killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use crate::shop::{Running, SECRET, Shop, fulfilld, post_signed, rows, shell, wait_for};

/// The file under this name and more: `-wal`, `-shm`, `.lock`.
pub fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Posts so many events of a type that leads to nothing; each is acknowledged.
pub fn acknowledged(shop: &Shop, from: usize, n: usize) {
    for n in from..from + n {
        let body =
            format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(2000));
        assert_eq!(shop.post(body.as_bytes()).expect("the desk answers").0, 200);
    }
}

fn events(file: &Path) -> usize {
    rows(file, "SELECT count(*) FROM events")[0].parse().expect("a count")
}

/// How a start that is to be refused ends: its exit code and what it says.
pub fn refused(shop: &Shop) -> (Option<i32>, String) {
    let mut child = shop
        .serve()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let status = wait_for("the start is refused", || child.try_wait().expect("it is ours"));
    let mut said = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut said).expect("text");
    (status.code(), said)
}

/// Types the line that a message names after these words, as the person would who reads it.
pub fn type_after(message: &str, words: &str, dir: &Path) {
    let line = message.split_once(words).unwrap_or_else(|| panic!("{words:?} in {message}")).1;
    let line = line.split([';', '\n']).next().expect("a line").trim();
    let typed = Command::new("sh").args(["-c", line]).current_dir(dir).status();
    assert!(typed.is_ok_and(|status| status.success()), "{line}");
}

pub fn run(args: &[&str], db: &Path) -> Output {
    fulfilld().args(args).arg("--db").arg(db).output().expect("the program starts")
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A stock shell that stays open, as somebody's second terminal does.
struct Terminal {
    child: Child,
    stdin: ChildStdin,
    answers: BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn open(file: &Path) -> Terminal {
        let mut child = Command::new("sqlite3")
            .args(["-cmd", ".timeout 5000"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 is installed (tests/setup)");
        let stdin = child.stdin.take().expect("it was piped");
        let answers = BufReader::new(child.stdout.take().expect("it was piped"));
        Terminal { child, stdin, answers }
    }

    /// Types a line and waits until it is done.
    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}\nSELECT 'said';").expect("it reads");
        let mut answer = String::new();
        while answer.trim_end() != "said" {
            answer.clear();
            assert!(self.answers.read_line(&mut answer).expect("it writes") > 0, "the shell ended");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn after_a_clean_stop_a_copy_of_the_one_file_is_everything() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 200);
    for purchase in shop.buy("card", 5, "snapshot") {
        assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    }
    shop.settle();
    shop.stop();
    let copy = shop.dir.path().join("copy.db");
    std::fs::copy(shop.file(), &copy).expect("it can be copied");
    assert_eq!(events(&copy), 205);
    assert_eq!(rows(&copy, "SELECT count(*) FROM orders"), ["5"]);
    assert_eq!(std::fs::metadata(beside(&shop.file(), "-wal")).map_or(0, |meta| meta.len()), 0);
}

#[test]
fn a_verb_beside_no_desk_leaves_everything_in_the_one_file() {
    let mut shop = Shop::open();
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    for end in ["TERM", "KILL"] {
        if end == "TERM" {
            shop.stop()
        } else {
            shop.kill()
        }
        let held = run(&["hold", "1", "--reason", end], &shop.file());
        assert!(held.status.success(), "{}", said(&held));
        let copy = shop.dir.path().join(format!("copy.{end}.db"));
        std::fs::copy(shop.file(), &copy).expect("it can be copied");
        assert_eq!(rows(&copy, "SELECT hold_reason FROM orders"), [end]);
        shop.start();
    }
}

#[test]
fn the_log_stays_short_whatever_is_posted_and_is_empty_in_quiet_moments() {
    let shop = Shop::open();
    let log = beside(&shop.file(), "-wal");
    let pages = || std::fs::metadata(&log).map_or(0, |meta| meta.len() / 4120);
    let mut longest = 0;
    std::thread::scope(|threads| {
        let posting: Vec<_> = (0..8)
            .map(|caller| {
                threads.spawn({
                    let shop = &shop;
                    move || acknowledged(shop, caller * 1000, 150)
                })
            })
            .collect();
        while !posting.iter().all(|thread| thread.is_finished()) {
            longest = longest.max(pages());
        }
    });
    // The largest bodies there can be.
    for n in 0..4 {
        let body = format!(
            "{{\"id\":\"evt_large_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}",
            "p".repeat(1_000_000)
        );
        assert_eq!(shop.post(body.as_bytes()).expect("the desk answers").0, 200);
        longest = longest.max(pages());
    }
    println!("{longest} pages at most");
    // 400, and what the next bodies bring; a reader that a busy machine stops for long may cost a
    // try or two. Where a failed try waited for a second, this reached 4,600.
    assert!((100..2000).contains(&longest), "{longest} pages");
    wait_for("the log is empty", || (pages() == 0).then_some(()));
    // A shell's edit is in the file soon, too.
    shop.shell(
        "UPDATE orders SET note = 'x'; INSERT INTO alarms(name, message, next, since) \
                VALUES ('t', 't', 't', '2026-01-01T00:00:00Z')",
    )
    .expect("it is allowed");
    wait_for("the log is empty again", || (pages() == 0).then_some(()));
}

/// What a person may put in the place of the file: each must end in a refusal that says what to
/// type, or in a file that is whole.
#[test]
fn a_backup_put_over_a_killed_shop_is_never_mixed_with_the_log_of_before() {
    type Put = fn(&Path, &Path);
    let ways: [(&str, Put); 2] = [
        ("mv", |backup, file| std::fs::rename(backup, file).expect("mv")),
        ("cp", |backup, file| std::fs::copy(backup, file).map(drop).expect("cp")),
    ];
    for (way, put) in ways {
        for kind in ["copied when stopped", "VACUUM INTO", ".backup"] {
            let mut shop = Shop::open();
            acknowledged(&shop, 0, 20);
            shop.stop();
            let backup = shop.dir.path().join("backup.db");
            match kind {
                "VACUUM INTO" => {
                    drop(shell(&shop.file(), &format!("VACUUM INTO '{}'", backup.display())))
                }
                ".backup" => drop(shell(&shop.file(), &format!(".backup '{}'", backup.display()))),
                _ => std::fs::copy(shop.file(), &backup).map(drop).expect("a copy"),
            }
            // An edit that changes no page 1, in a shell beside no desk.
            shell(&shop.file(), "UPDATE actor SET name = 'operator'").expect("an edit");
            shop.start();
            acknowledged(&shop, 20, 30);
            shop.kill();
            assert!(
                std::fs::metadata(beside(&shop.file(), "-wal")).is_ok_and(|log| log.len() > 0),
                "{way} {kind}"
            );
            put(&backup, &shop.file());
            let (code, message) = refused(&shop);
            assert_eq!(code, Some(78), "{way} {kind}: {message}");
            assert!(message.contains("shop.db-wal"), "{message}");
            for verb in ["check", "orders", "hold 1 --reason x"] {
                let args: Vec<&str> = verb.split(' ').collect();
                let asked = run(&args, &shop.file());
                assert_eq!(asked.status.code(), Some(78), "{verb}: {}", said(&asked));
            }
            let doctor = run(&["doctor", "--offline", "--json"], &shop.file());
            assert!(
                String::from_utf8_lossy(&doctor.stdout).contains("file_log_foreign"),
                "{doctor:?}"
            );
            type_after(&message, "the file that is there: ", shop.dir.path());
            shop.start();
            acknowledged(&shop, 50, 5);
            assert_eq!(events(&shop.file()), 25, "{way} {kind}");
            shop.settle();
            shop.check();
        }
    }
}

#[test]
fn a_shop_that_was_killed_continues_wherever_all_its_files_are_moved() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 30);
    shop.kill();
    let elsewhere = tempfile::tempdir().expect("a directory");
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let name = format!("shop.db{suffix}");
        std::fs::copy(shop.dir.path().join(&name), elsewhere.path().join(&name))
            .expect("it can be copied");
    }
    std::fs::remove_file(elsewhere.path().join("shop.db-shm")).expect("it is there");
    shop.dir = elsewhere;
    shop.start();
    assert_eq!(events(&shop.file()), 30);
    // Without the note, too.
    acknowledged(&shop, 30, 10);
    shop.kill();
    std::fs::remove_file(beside(&shop.file(), ".lock")).expect("it is there");
    shop.start();
    assert_eq!(events(&shop.file()), 40);
    shop.check();
}

#[test]
fn what_a_killed_shell_wrote_beside_no_desk_is_kept() {
    let mut shop = Shop::open();
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    shop.stop();
    let mut terminal = Terminal::open(&shop.file());
    terminal.say("UPDATE orders SET note = 'typed' WHERE id = 1;");
    drop(terminal);
    assert!(std::fs::metadata(beside(&shop.file(), "-wal")).is_ok_and(|log| log.len() > 0));
    shop.start();
    assert_eq!(shop.one("SELECT note FROM orders"), "typed");
}

#[test]
fn a_file_copied_over_while_it_is_served_is_never_acknowledged_into() {
    for log in ["with a log", "with an empty log"] {
        let mut shop = Shop::open();
        acknowledged(&shop, 0, 20);
        shop.stop();
        let backup = shop.dir.path().join("backup.db");
        std::fs::copy(shop.file(), &backup).expect("a copy");
        shop.start();
        // Whoever reads keeps the log from being moved into the file, at the very moment of the cp too.
        let reader = rusqlite::Connection::open(shop.file()).expect("the file opens");
        let no_move = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        reader.set_db_config(no_move, true).expect("it moves nothing by itself");
        if log == "with a log" {
            reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
        }
        acknowledged(&shop, 20, 30);
        let wal = beside(&shop.file(), "-wal");
        if log == "with an empty log" {
            wait_for("the log is empty", || {
                std::fs::metadata(&wal).is_ok_and(|log| log.len() == 0).then_some(())
            });
        }
        std::fs::copy(&backup, shop.file()).expect("cp");
        let answer = shop.post(b"{\"id\":\"evt_late\",\"type\":\"x\"}");
        assert!(!matches!(answer, Ok((200, _))), "{log}: {answer:?}");
        drop(reader);
        let mut desk = shop.desk.take().expect("it was running");
        let status = wait_for("it ends", || desk.child.try_wait().expect("it is ours"));
        assert_eq!(status.code(), Some(75), "{log}");
        if std::fs::metadata(&wal).is_ok_and(|log| log.len() > 0) {
            let (code, message) = refused(&shop);
            assert_eq!(code, Some(78), "{log}: {message}");
            type_after(&message, "the file that is there: ", shop.dir.path());
        }
        shop.start();
        acknowledged(&shop, 50, 5);
        assert_eq!(events(&shop.file()), 25, "{log}");
        shop.check();
    }
}

/// It lacks what the shell moved, so the log begun since is another file's for it.
#[test]
fn an_older_copy_is_refused_beside_a_log_that_was_begun_after_a_shell_moved_the_last_one() {
    let mut shop = Shop::open();
    let backup = shop.dir.path().join("backup.db");
    let other = rusqlite::Connection::open(shop.file()).expect("the file opens");
    let no_move = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    other.set_db_config(no_move, true).expect("it moves nothing by itself");
    let beginning = |path: &Path| std::fs::read(path).expect("it is read")[..100].to_vec();
    // In a quiet moment the daemon moves the log itself, and a copy of then has everything.
    let older = (0..).step_by(5).find(|n| {
        acknowledged(&shop, *n, 5);
        shop.settle();
        std::fs::copy(shop.file(), &backup).expect("cp");
        let moved = other.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
            let (busy, pages, moved): (bool, i64, i64) = row.try_into()?;
            Ok(!busy && pages == moved)
        });
        moved.expect("it is moved") && beginning(&backup) != beginning(&shop.file())
    });
    let next = older.expect("a log was moved") + 5;
    acknowledged(&shop, next, 5);
    // Whoever reads keeps the log from being cut off.
    other.execute_batch("BEGIN; SELECT count(*) FROM events").expect("it reads");
    acknowledged(&shop, next + 5, 1);
    shop.kill();
    std::fs::copy(&backup, shop.file()).expect("cp");
    let (code, message) = refused(&shop);
    assert_eq!(code, Some(78), "{message}");
    drop(other);
    type_after(&message, "the file that is there: ", shop.dir.path());
    shop.start();
    acknowledged(&shop, next + 6, 5);
    shop.check();
}

#[test]
fn a_second_desk_is_refused_by_whatever_name_it_comes() {
    let mut shop = Shop::open();
    let link = shop.dir.path().join("link.db");
    std::os::unix::fs::symlink(shop.file(), &link).expect("a link");
    let through = |shop: &Shop, path: &Path| {
        let mut command = shop.serve();
        let child =
            command.env("FULFILLD_DB", path).stdout(Stdio::null()).stderr(Stdio::piped()).output();
        let output = child.expect("the program starts");
        (output.status.code(), said(&output))
    };
    let (code, message) = through(&shop, &link);
    assert!(code == Some(78) && message.contains("another fulfilld"), "{message}");
    shop.stop();
    // Served through the link, the lock and the log lie beside the file itself.
    let mut command = shop.serve();
    shop.desk = Some(Running::start(command.env("FULFILLD_DB", &link)));
    assert!(!beside(&link, ".lock").exists() && !beside(&link, "-wal").exists());
    let (code, message) = refused(&shop);
    assert!(code == Some(78) && message.contains("another fulfilld"), "{message}");
    acknowledged(&shop, 0, 5);
    let other = shop.dir.path().join("other.db");
    std::fs::hard_link(shop.file(), &other).expect("a link");
    // A second name while it is served: no more is acknowledged.
    let answer = shop.post(b"{\"id\":\"evt_late\",\"type\":\"x\"}");
    assert!(!matches!(answer, Ok((200, _))), "{answer:?}");
    let mut desk = shop.desk.take().expect("it was running");
    wait_for("it ends", || desk.child.try_wait().expect("it is ours"));
    for path in [&other, &shop.file()] {
        let (code, message) = through(&shop, path);
        assert!(code == Some(78) && message.contains("2 names"), "{message}");
    }
    assert!(!beside(&other, ".lock").exists());
    let orders = run(&["orders"], &other);
    assert_eq!(orders.status.code(), Some(78), "{}", said(&orders));
    std::fs::remove_file(&other).expect("it is there");
    shop.start();
    acknowledged(&shop, 5, 5);
    shop.check();
}

/// Acknowledges more events than these and kills the desk while some of it is in the log alone, which
/// a checkpoint may have emptied in between. Returns how many events there are.
fn killed_with_a_log(shop: &mut Shop, mut stored: usize) -> usize {
    wait_for("it dies with a log", || {
        acknowledged(shop, stored, 3);
        stored += 3;
        shop.kill();
        let log = std::fs::metadata(beside(&shop.file(), "-wal"));
        if log.is_ok_and(|log| log.len() > 0) {
            return Some(stored);
        }
        shop.start();
        None
    })
}

#[test]
fn a_file_without_tables_is_never_taken_for_a_new_one() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 3);
    shop.stop();
    let whole = std::fs::read(shop.file()).expect("it can be read");
    for bytes in [&b""[..], &[0; 4096]] {
        std::fs::write(shop.file(), bytes).expect("it can be written");
        let (code, message) = refused(&shop);
        assert_eq!(code, Some(78), "{message}");
        assert_eq!(std::fs::read(shop.file()).expect("it can be read"), bytes, "{message}");
    }
    std::fs::write(shop.file(), &whole).expect("it can be written");
    shop.start();
    let stored = killed_with_a_log(&mut shop, 3);
    // The log without its file is no reason to begin with a new one.
    let kept = shop.dir.path().join("kept.db");
    std::fs::rename(shop.file(), &kept).expect("mv");
    let (code, message) = refused(&shop);
    assert!(code == Some(78) && message.contains("shop.db-wal"), "{message}");
    assert!(!shop.file().exists());
    std::fs::rename(&kept, shop.file()).expect("mv");
    shop.start();
    assert_eq!(events(&shop.file()), stored);
    // Typed as the message says, a new file is made.
    killed_with_a_log(&mut shop, stored);
    std::fs::remove_file(shop.file()).expect("rm");
    let (_, message) = refused(&shop);
    type_after(&message, "begin with a new one: ", shop.dir.path());
    shop.start();
    assert_eq!(events(&shop.file()), 0);
}

#[test]
fn a_start_that_dies_at_any_moment_leaves_no_half_file() {
    for call in ["fsync", "renameat2", "pwrite64"] {
        for when in 1..=3 {
            let dir = tempfile::tempdir().expect("a directory");
            let db = dir.path().join("new.db");
            let mut serve = Command::new("strace");
            serve.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            serve.args(["-e", &format!("inject={call}:signal=SIGKILL:when={when}")]);
            serve.arg(env!("CARGO_BIN_EXE_fulfilld")).arg("serve");
            serve.envs([
                ("FULFILLD_DB", db.to_str().expect("text")),
                ("FULFILLD_LISTEN", "127.0.0.1:0"),
                ("FULFILLD_STRIPE_API", "http://127.0.0.1:9"),
                ("STRIPE_SECRET_KEY", "rk_test_x"),
                ("WEBHOOK_SECRET", SECRET),
            ]);
            let mut child = serve
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("strace is installed");
            wait_for("it dies or makes the file", || {
                (child.try_wait().expect("it is ours").is_some() || db.exists()).then_some(())
            });
            if db.exists() {
                assert!(run(&["check", "--quick"], &db).status.success(), "{call} {when}");
            }
            // strace passes the signal on to what it traces.
            if child.try_wait().expect("it is ours").is_none() {
                let traced = format!("/proc/{0}/task/{0}/children", child.id());
                for pid in std::fs::read_to_string(traced).unwrap_or_default().split_whitespace() {
                    let _ = Command::new("kill").args(["-KILL", pid]).status();
                }
                wait_for("it ends", || child.try_wait().expect("it is ours"));
            }
        }
    }
}

#[test]
fn a_restart_while_a_shell_holds_begin_answers_503_and_recovers_by_itself() {
    for end in ["TERM", "KILL"] {
        let mut shop = Shop::open();
        acknowledged(&shop, 0, 5);
        let mut terminal = Terminal::open(&shop.file());
        if end == "TERM" {
            terminal.say("BEGIN IMMEDIATE;");
            let status = shop.desk.take().expect("it is running").stop();
            assert!(status.success(), "{status}");
        } else {
            terminal.say("BEGIN IMMEDIATE;");
            shop.kill();
        }
        shop.start();
        let (ready, why) = shop.get("/readyz");
        assert!(ready == 503 && why.contains("locked"), "{ready} {why}");
        assert_eq!(shop.get("/healthz").0, 200);
        let answer = shop.post(b"{\"id\":\"evt_late\",\"type\":\"x\"}").expect("the desk answers");
        assert_eq!(answer.0, 503, "{answer:?}");
        terminal.say("COMMIT;");
        wait_for("it is ready by itself", || (shop.get("/readyz").0 == 200).then_some(()));
        acknowledged(&shop, 5, 5);
        assert_eq!(events(&shop.file()), 10);
    }
}

#[test]
fn a_read_that_never_ends_keeps_no_restart_from_serving() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 5);
    let mut terminal = Terminal::open(&shop.file());
    terminal.say("BEGIN; SELECT count(*) FROM events;");
    acknowledged(&shop, 5, 20);
    shop.kill();
    shop.start();
    wait_for("it serves", || (shop.get("/readyz").0 == 200).then_some(()));
    acknowledged(&shop, 25, 5);
    terminal.say("COMMIT;");
    let log = beside(&shop.file(), "-wal");
    wait_for("the log is empty", || {
        std::fs::metadata(&log).is_ok_and(|log| log.len() == 0).then_some(())
    });
    assert_eq!(events(&shop.file()), 30);
}

#[test]
fn a_log_that_grows_is_reported_with_its_cause() {
    let shop = Shop::open();
    acknowledged(&shop, 0, 5);
    let mut terminal = Terminal::open(&shop.file());
    terminal.say("BEGIN; SELECT count(*) FROM events;");
    for n in 0..5 {
        let body = format!(
            "{{\"id\":\"evt_large_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}",
            "p".repeat(1_000_000)
        );
        assert_eq!(shop.post(body.as_bytes()).expect("the desk answers").0, 200);
    }
    let why = wait_for("readyz tells it", || {
        let (status, why) = shop.get("/readyz");
        (status == 503).then_some(why)
    });
    assert!(why.contains("log grows") && why.contains("BEGIN"), "{why}");
    wait_for("attention tells it", || {
        (!shop.rows("SELECT 1 FROM attention WHERE reason = 'log_grows'").is_empty()).then_some(())
    });
    terminal.say("COMMIT;");
    wait_for("it is over", || (shop.get("/readyz").0 == 200).then_some(()));
    wait_for("attention is empty", || {
        shop.rows("SELECT 1 FROM attention").is_empty().then_some(())
    });
}

#[test]
fn a_log_that_cannot_be_moved_into_the_file_is_reported_and_nothing_is_lost() {
    let mut shop = Shop::open();
    shop.stop();
    let desk = traced(
        &shop,
        &["-P", shop.file().to_str().expect("text"), "-e", "trace=pwrite64"],
        "pwrite64:error=EIO:when=3+",
    );
    let post = |n: usize| {
        let body =
            format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(9000));
        post_signed(&desk.url, body.as_bytes(), SECRET).expect("the desk answers").0
    };
    for n in 0..50 {
        assert_eq!(post(n), 200);
    }
    let ready =
        || crate::shop::request(&desk.url, "GET", "/readyz", &[], b"").expect("the desk answers");
    let why = wait_for("readyz tells it", || Some(ready()).filter(|(status, _)| *status == 503)).1;
    assert!(why.contains("cannot be moved into the file"), "{why}");
    wait_for("attention tells it", || {
        (!shop.rows("SELECT 1 FROM attention WHERE reason = 'checkpoint_failing'").is_empty())
            .then_some(())
    });
    assert_eq!(post(50), 200);
    let status = end(desk);
    assert_eq!(status, Some(0), "a stop is a stop");
    shop.start();
    assert_eq!(events(&shop.file()), 51);
    wait_for("it is over", || (shop.get("/readyz").0 == 200).then_some(()));
    wait_for("attention is empty", || {
        shop.rows("SELECT 1 FROM attention").is_empty().then_some(())
    });
    shop.check();
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk_and_what_was_acknowledged_is_kept() {
    let mut shop = Shop::open();
    let limit = |to: &str| {
        let desk = shop.desk().pid().to_string();
        let mut limited = Command::new("prlimit");
        limited.args(["--pid", &desk, &format!("--fsize={to}:")]);
        assert!(limited.status().expect("util-linux is installed").success());
    };
    let post = |n: usize| {
        let body =
            format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(60_000));
        shop.post(body.as_bytes()).expect("the desk answers").0
    };
    // No longer than the file is already.
    limit("100000");
    let taken = (0..200).take_while(|n| post(*n) == 200).count();
    assert!(taken < 200, "the log reaches the limit");
    let why = wait_for("readyz names the limit", || {
        Some(shop.get("/readyz"))
            .filter(|(status, why)| *status == 503 && why.contains("disk full"))
    });
    assert!(why.1.contains("LimitFSIZE="), "{why:?}");
    limit("unlimited");
    wait_for("it goes on by itself", || (post(taken) == 200).then_some(()));
    wait_for("it is ready", || (shop.get("/readyz").0 == 200).then_some(()));
    assert_eq!(events(&shop.file()), taken + 1);
    shop.stop();
    shop.check();
}

/// The desk with a fault in its system calls.
pub fn traced(shop: &Shop, args: &[&str], inject: &str) -> Running {
    let mut serve = Command::new("strace");
    serve
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(args)
        .args(["-e", &format!("inject={inject}")]);
    serve.arg(env!("CARGO_BIN_EXE_fulfilld")).arg("serve");
    serve.envs(shop.serve().get_envs().filter_map(|(name, value)| Some((name, value?))));
    Running::start(&mut serve)
}

/// SIGTERM to what strace traces; the exit code of that.
pub fn end(mut desk: Running) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", desk.pid()))
        .unwrap_or_default();
    for pid in children.split_whitespace() {
        let told = Command::new("kill").args(["-TERM", pid]).status();
        assert!(told.is_ok_and(|status| status.success()));
    }
    wait_for("the desk ends", || desk.child.try_wait().expect("it is ours")).code()
}

#[test]
fn a_damaged_file_is_not_served_after_an_unclean_end() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 100);
    let log = beside(&shop.file(), "-wal");
    wait_for("the log is empty", || {
        std::fs::metadata(&log).is_ok_and(|log| log.len() == 0).then_some(())
    });
    shop.kill();
    let mut bytes = std::fs::read(shop.file()).expect("it can be read");
    let middle = bytes.len() / 4096 * 2 / 3 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(shop.file(), bytes).expect("it can be written");
    let (code, message) = refused(&shop);
    assert_eq!(code, Some(78), "{message}");
    assert!(message.contains("damaged") && message.contains("fulfilld restore"), "{message}");
}

#[test]
fn a_large_file_is_served_at_once_after_an_unclean_end_and_not_for_long_when_it_is_damaged() {
    let mut shop = Shop::open();
    shop.stop();
    let large =
        "CREATE TABLE my_films(film BLOB); INSERT INTO my_films VALUES(zeroblob(104000000));";
    shell(&shop.file(), large).expect("the owner may have a table");
    shop.start();
    shop.kill();
    shop.start();
    acknowledged(&shop, 0, 1);
    shop.kill();
    // In the middle of the film, which nothing reads but who reads everything.
    let file = std::fs::OpenOptions::new().write(true).open(shop.file()).expect("it is there");
    let middle = file.metadata().expect("it is there").len() / 4096 / 2 * 4096;
    file.write_all_at(&[0xA5; 4096], middle).expect("it can be written");
    let serve = shop.serve().output().expect("the program starts");
    let message = said(&serve);
    assert_eq!(serve.status.code(), Some(78), "{message}");
    let listened = String::from_utf8_lossy(&serve.stdout).contains("listens on");
    assert!(
        listened && message.contains("damaged") && message.contains("fulfilld restore"),
        "{message}"
    );
}

#[test]
fn a_lock_that_root_makes_is_the_owners() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut shop = Shop::open();
    shop.stop();
    std::fs::remove_file(beside(&shop.file(), ".lock")).expect("it is there");
    std::os::unix::fs::chown(shop.file(), Some(12_345), Some(12_345)).expect("root may");
    let done = run(&["replay", "--type", "nothing"], &shop.file());
    assert!(done.status.code().is_some(), "{}", said(&done));
    shop.start();
    let meta = std::fs::metadata(beside(&shop.file(), ".lock")).expect("it is there");
    let (uid, gid) =
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
    assert_eq!((uid, gid), (12_345, 12_345));
}

/// Shops with their backup, and a desk that ended in each way.
fn shop_with_a_backup(kind: &str, end: &str) -> (Shop, PathBuf) {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 20);
    let backup = shop.dir.path().join("the backup.db");
    match kind {
        "copy" => {
            shop.stop();
            std::fs::copy(shop.file(), &backup).expect("a copy");
            shop.start();
        }
        "VACUUM INTO" => drop(shop.shell(&format!("VACUUM INTO '{}'", backup.display()))),
        _ => drop(shop.shell(&format!(".backup '{}'", backup.display()))),
    }
    acknowledged(&shop, 20, 30);
    if end == "killed" {
        shop.kill()
    } else {
        shop.stop()
    }
    (shop, backup)
}

fn kept(shop: &Shop, which: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(shop.dir.path()).expect("it can be listed");
    let paths = all.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.to_string_lossy().contains(which)).collect()
}

#[test]
fn restore_puts_every_kind_of_backup_in_place_and_keeps_the_file_of_before() {
    for kind in ["copy", "VACUUM INTO", ".backup"] {
        for end in ["stopped", "killed"] {
            let (mut shop, backup) = shop_with_a_backup(kind, end);
            let mode = std::fs::metadata(shop.file()).expect("it is there").mode();
            let restored = run(&["restore", backup.to_str().expect("text")], &shop.file());
            assert!(restored.status.success(), "{kind} {end}: {}", said(&restored));
            assert_eq!(std::fs::metadata(shop.file()).expect("it is there").mode(), mode);
            let before = kept(&shop, ".before-");
            assert_eq!(before.len(), 1, "{before:?}");
            assert_eq!(
                events(&before[0]),
                50,
                "{kind} {end}: the log of before is in the file of before"
            );
            shop.start();
            assert_eq!(events(&shop.file()), 20, "{kind} {end}");
            acknowledged(&shop, 50, 5);
            shop.check();
        }
    }
}

#[test]
fn restore_refuses_what_is_in_use_or_no_backup_and_changes_nothing() {
    let (mut shop, backup) = shop_with_a_backup("copy", "stopped");
    let whole = std::fs::read(shop.file()).expect("it can be read");
    let noise = shop.dir.path().join("noise.db");
    std::fs::write(&noise, "no database".repeat(1000)).expect("it can be written");
    let damaged = shop.dir.path().join("damaged.db");
    let mut bytes = std::fs::read(&backup).expect("it can be read");
    let middle = bytes.len() / 4096 * 2 / 3 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(&damaged, bytes).expect("it can be written");
    let live = shop.dir.path().join("live.db");
    std::fs::copy(&backup, &live).expect("a copy");
    let c = rusqlite::Connection::open(&live).expect("it opens");
    c.execute_batch("PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE type = 'trigger'")
        .expect("allowed");
    drop(c);
    let c = rusqlite::Connection::open(&live).expect("it opens");
    c.execute_batch("UPDATE shop SET livemode = 1; PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("no trigger forbids it");
    drop(c);
    let pipe = shop.dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|made| made.success()));
    for (what, code, why) in [
        (&noise, 78, "noise.db"),
        (&damaged, 78, "damaged"),
        (&live, 78, "live orders"),
        (&shop.dir.path().join("none.db"), 78, "none.db"),
        (&shop.file(), 64, "the file itself"),
        (&pipe, 64, "not a file"),
        (&shop.dir.path().to_path_buf(), 64, "not a file"),
    ] {
        let refused = run(&["restore", what.to_str().expect("text")], &shop.file());
        assert_eq!(refused.status.code(), Some(code), "{what:?}: {}", said(&refused));
        assert!(
            said(&refused).contains(why) && !said(&refused).contains("restoring"),
            "{}",
            said(&refused)
        );
        assert_eq!(std::fs::read(shop.file()).expect("it can be read"), whole, "{what:?}");
    }
    let mut terminal = Terminal::open(&shop.file());
    terminal.say("SELECT count(*) FROM events;");
    let refused = run(&["restore", backup.to_str().expect("text")], &shop.file());
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    drop(terminal);
    shop.start();
    let refused = run(&["restore", backup.to_str().expect("text")], &shop.file());
    assert!(
        refused.status.code() == Some(64) && said(&refused).contains("systemctl stop"),
        "{}",
        said(&refused)
    );
    assert_eq!(events(&shop.file()), 50);
    assert!(kept(&shop, "restoring").is_empty());
}

#[test]
fn restore_repairs_what_a_backup_put_over_a_killed_shop_and_a_damaged_file_lead_to() {
    let (mut shop, backup) = shop_with_a_backup("copy", "killed");
    std::fs::copy(&backup, shop.file()).expect("cp");
    assert_eq!(refused(&shop).0, Some(78));
    let restored = run(&["restore", backup.to_str().expect("text")], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    shop.start();
    assert_eq!(events(&shop.file()), 20);
    shop.kill();
    std::fs::write(shop.file(), vec![0xA5; 40_960]).expect("it can be written");
    assert_eq!(refused(&shop).0, Some(78));
    let restored = run(&["restore", backup.to_str().expect("text")], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    shop.start();
    assert_eq!(events(&shop.file()), 20);
    shop.check();
}

/// SIGKILL at each of its steps: afterwards the old file or the new one is there and whole, and
/// restore can be typed again.
#[test]
fn a_restore_that_is_interrupted_anywhere_leaves_a_file_and_continues() {
    for call in ["fsync", "rename", "renameat2", "unlink", "ftruncate"] {
        for when in 1..=2 {
            let (mut shop, backup) = shop_with_a_backup("copy", "killed");
            let mut restore = Command::new("strace");
            restore.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            restore.args(["-e", &format!("inject={call}:signal=SIGKILL:when={when}")]);
            restore
                .arg(env!("CARGO_BIN_EXE_fulfilld"))
                .arg("restore")
                .arg(&backup)
                .arg("--db")
                .arg(shop.file());
            let ended = restore.output().expect("strace is installed");
            assert!(shop.file().exists(), "{call} {when}: {ended:?}");
            shop.start();
            let now = events(&shop.file());
            assert!(now == 20 || now == 50, "{call} {when}: {now} events");
            shop.check();
            shop.stop();
            let again = run(&["restore", backup.to_str().expect("text")], &shop.file());
            assert!(again.status.success(), "{call} {when}: {}", said(&again));
            shop.start();
            assert_eq!(events(&shop.file()), 20, "{call} {when}");
        }
    }
}

#[test]
fn another_shops_backup_is_pointed_out_and_the_line_to_type_takes_it_back() {
    let order = |shop: &Shop, scenario| {
        let purchase = &shop.buy(scenario, 1, "snapshot")[0];
        assert_eq!(shop.deliver(&purchase.events[0].0), 200);
        shop.settle();
        shop.one("SELECT group_concat(checkout_session_id) FROM orders")
    };
    let mut shops = [Shop::open(), Shop::open()];
    let ours = order(&shops[0], "card");
    order(&shops[1], "digital");
    let theirs = order(&shops[1], "card");
    let backups = [0, 1].map(|n| {
        let backup = shops[n].dir.path().join("backup.db");
        shops[n].shell(&format!("VACUUM INTO '{}'", backup.display())).expect("a backup");
        backup
    });
    let shop = &mut shops[0];
    shop.stop();
    let orders = "SELECT group_concat(checkout_session_id) FROM orders";
    let restored = run(&["restore", backups[0].to_str().expect("text")], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    let printed = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(!printed.contains("another shop"), "{printed}");

    let restored = run(&["restore", backups[1].to_str().expect("text")], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    assert_eq!(rows(&shop.file(), orders), [theirs]);
    let printed = String::from_utf8_lossy(&restored.stdout).into_owned();
    let (_, kept) =
        printed.split_once("go back with: fulfilld restore ").expect("it is pointed out");
    let kept = kept.lines().next().expect("a path");
    let restored = run(&["restore", kept], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    assert_eq!(rows(&shop.file(), orders), [ours]);
}

#[test]
fn what_was_typed_and_is_lost_with_an_old_file_is_reported_before_the_next_start() {
    let mut shop = Shop::open();
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    let backup = shop.dir.path().join("backup.db");
    shop.shell(&format!("VACUUM INTO '{}'", backup.display())).expect("a backup");
    shop.shell("UPDATE orders SET note = 'gift wrap' WHERE id = 1").expect("an edit");
    shop.stop();
    let restored = run(&["restore", backup.to_str().expect("text")], &shop.file());
    assert!(restored.status.success(), "{}", said(&restored));
    assert!(String::from_utf8_lossy(&restored.stdout).contains("order 1: note"), "{restored:?}");
    let attention = run(&["attention"], &shop.file());
    assert!(said(&attention).contains("order 1: note"), "{}", said(&attention));
    let check = run(&["check"], &shop.file());
    assert!(String::from_utf8_lossy(&check.stdout).contains("order 1: note"), "{check:?}");
    let doctor = run(&["doctor", "--offline", "--json"], &shop.file());
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("file_went_back"), "{doctor:?}");
    shop.start();
    wait_for("attention tells it", || {
        (!shop.rows("SELECT 1 FROM attention WHERE reason = 'file_went_back'").is_empty())
            .then_some(())
    });
}

/// The controls: without the look at the log, without a mark in it, or without the last act of a
/// stop, the tests above would see it.
#[test]
fn control_copies_catch_a_desk_that_does_not_own_its_log() {
    let planted = |bug: &str| ("FULFILLD_SABOTAGE".to_string(), bug.to_string());
    // A stop that leaves the log: the one file is not everything.
    let mut shop = Shop::open();
    shop.kill();
    shop.settings.push(planted("log_left_at_stop"));
    shop.start();
    acknowledged(&shop, 0, 20);
    shop.stop();
    let copy = shop.dir.path().join("copy.db");
    std::fs::copy(shop.file(), &copy).expect("a copy");
    assert!(events(&copy) < 20);

    // A log without a mark: an older file is taken for the one that it was begun for.
    let mut shop = Shop::open();
    shop.stop();
    shop.settings.push(planted("unmarked_log"));
    let backup = shop.dir.path().join("backup.db");
    std::fs::copy(shop.file(), &backup).expect("a copy");
    shell(&shop.file(), "UPDATE actor SET name = 'operator'").expect("an edit");
    shop.start();
    acknowledged(&shop, 0, 3);
    shop.kill();
    std::fs::copy(&backup, shop.file()).expect("cp");
    shop.settings.clear();
    shop.start();
    shop.kill();

    // No look at all: the log of before is played into the backup.
    let (shop, backup) = shop_with_a_backup("copy", "killed");
    std::fs::copy(&backup, shop.file()).expect("cp");
    assert_eq!(refused(&shop).0, Some(78));
    let c = run_with(&["orders", "--json"], &shop.file(), "any_log");
    assert!(c.status.code() != Some(78), "{}", said(&c));
    assert_ne!(events(&shop.file()), 20);
}

fn run_with(args: &[&str], db: &Path, sabotage: &str) -> Output {
    fulfilld()
        .args(args)
        .arg("--db")
        .arg(db)
        .env("FULFILLD_SABOTAGE", sabotage)
        .output()
        .expect("the program starts")
}

/// The kernel forgets what it could not sync, so the disk may have a hole where its memory has
/// none: everything is moved into the file, and synced there, before the first 200 of the next
/// start.
#[test]
fn after_one_failed_sync_the_next_start_has_everything_in_the_file_before_it_answers() {
    let mut shop = Shop::open();
    shop.stop();
    let log = beside(&shop.file(), "-wal");
    let mut desk = traced(
        &shop,
        &["-P", log.to_str().expect("text"), "-e", "trace=fsync"],
        "fsync:error=EIO:when=12",
    );
    let mut kept = 0;
    let refused = (0..200).find_map(|n| {
        let body = format!("{{\"id\":\"evt_{n}\",\"type\":\"x\"}}");
        match post_signed(&desk.url, body.as_bytes(), SECRET) {
            Ok((200, _)) => kept += 1,
            answer => return Some(answer),
        }
        None
    });
    assert!(!matches!(refused.expect("a sync failed"), Ok((200, _))));
    let status = wait_for("the process makes room for a new one", || {
        desk.child.try_wait().expect("it is ours")
    });
    assert_eq!(status.code(), Some(75));
    assert!(std::fs::metadata(&log).is_ok_and(|log| log.len() > 0), "there was something to move");
    shop.start();
    let copy = shop.dir.path().join("copy.db");
    std::fs::copy(shop.file(), &copy).expect("a copy");
    assert!(
        kept > 0 && events(&copy) >= kept,
        "{kept} acknowledged, {} in the file",
        events(&copy)
    );
}

#[test]
fn a_file_that_is_mounted_by_itself_is_refused() {
    let mut shop = Shop::open();
    acknowledged(&shop, 0, 1);
    shop.stop();
    let mounted = shop.dir.path().join("mounted here.db");
    std::fs::write(&mounted, "").expect("it can be written");
    let script = "mount --bind \"$1\" \"$2\" || exit 99; exec \"$0\" orders --db \"$2\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_fulfilld")])
        .arg(shop.file())
        .arg(&mounted);
    let output = command.output().expect("unshare is installed");
    if output.status.code() == Some(99) || said(&output).contains("unshare") {
        return println!("not permitted to mount: {}", said(&output));
    }
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("mounted by itself"), "{}", said(&output));
}

#[test]
fn what_a_demo_keeps_is_in_the_one_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = fulfilld()
        .args(["demo", "--once", "--keep"])
        .arg(dir.path())
        .output()
        .expect("the program starts");
    assert!(demo.status.success(), "{}", said(&demo));
    let copy = dir.path().join("copy.db");
    std::fs::copy(dir.path().join("fulfilld.db"), &copy).expect("a copy");
    let orders = &rows(&copy, "SELECT count(*) FROM orders")[0];
    let told = String::from_utf8_lossy(&demo.stdout);
    assert!(told.contains(&format!("\n{orders} orders on disk")), "{orders} in the copy: {told}");
}

#[test]
fn a_quiet_shop_has_its_file_open_once_while_it_is_sold_packed_and_watched() {
    let shop = Shop::open();
    // What is open for reading only is for looking at the file itself.
    let connections = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", shop.desk().pid())).expect("it runs");
        open.flatten()
            .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == shop.file()))
            .filter(|fd| fd.path().symlink_metadata().is_ok_and(|link| link.mode() & 0o200 != 0))
            .count()
    };
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    shop.shell("UPDATE orders SET note = 'blue paper'").expect("it can be typed");
    // A look that met a long transaction has had a connection of its own for a while.
    wait_for("only the writer has the file open", || {
        assert_eq!(shop.get("/readyz").0, 200);
        assert!(shop.get("/metrics").1.contains("fulfilld_ready 1"));
        (connections() == 1).then_some(())
    });
}
