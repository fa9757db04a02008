//! The stock `sqlite3` shell of today and that of SQLite 3.37 open the file of a running desk.
//!
//! They read every table and view, and run every line of SQL that the documents or the file
//! itself show.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::file::{end, traced};
use crate::outside::{installed, machine_program, shipped};
use crate::proof;
use crate::shop::{PATIENCE, Shop, fulfilld, number_of, seed, seeds};

/// The oldest SQLite that must be able to work on the file: Ubuntu 22.04's.
const OLDEST: &str = "3.37";

#[test]
fn every_table_and_view_is_readable_in_both_shells() {
    let shop = shop_of_the_readme();
    for shell in Shell::all() {
        let names = shell.types(
            &shop.file(),
            "SELECT name FROM sqlite_schema WHERE type IN('table', 'view') ORDER BY 1;",
        );
        let names = names.unwrap_or_else(|e| panic!("{}: {e}", shell.name));
        for expected in [
            "events",
            "orders",
            "order_overview",
            "to_ship",
            "to_fulfill",
            "attention",
            "readme",
            "ship",
        ] {
            assert!(
                names.lines().any(|name| name == expected),
                "{}: no {expected} in {names}",
                shell.name
            );
        }
        for name in names.lines() {
            let rows = shell.types(&shop.file(), &format!("SELECT * FROM \"{name}\" LIMIT 5;"));
            rows.unwrap_or_else(|e| panic!("{}: {name}: {e}", shell.name));
        }
        for (line, answer) in
            [("PRAGMA integrity_check;", "ok\n"), ("SELECT count(*) FROM to_ship;", "4\n")]
        {
            assert_eq!(
                shell.types(&shop.file(), line).as_deref(),
                Ok(answer),
                "{}: {line}",
                shell.name
            );
        }
        let dump =
            shell.types(&shop.file(), ".dump").unwrap_or_else(|e| panic!("{}: {e}", shell.name));
        assert!(dump.ends_with("COMMIT;\n"), "{}: the dump broke off", shell.name);
    }
}

/// What a document says to type is typed into the file of the demo, in order: each change must
/// change a row, and each line of the README must print one.
#[test]
fn what_the_documents_tell_to_type_does_something_on_the_file_of_the_demo() {
    let home = tempfile::tempdir().unwrap();
    let demo = fulfilld().args(["demo", "--once", "--keep"]).arg(home.path()).output().unwrap();
    assert!(demo.status.success(), "{demo:?}");
    for shell in Shell::all() {
        for document in ["README.md", "docs/books.md", "docs/hooks.md", "docs/operations.md"] {
            let copy = home.path().join("copy.db");
            let _ = std::fs::remove_file(&copy);
            std::fs::copy(home.path().join("fulfilld.db"), &copy).unwrap();
            let text = shipped(document);
            let statements = statements(&text);
            assert!(!statements.is_empty(), "{document}");
            for statement in statements {
                let typed = format!("{statement}\nSELECT total_changes();");
                let said = shell.types(&copy, &typed).unwrap_or_else(|e| {
                    panic!("{}: {document} says\n{statement}\nand the shell\n{e}", shell.name)
                });
                let is_seen = match statement.starts_with("SELECT") {
                    true => document != "README.md" || said != "0\n",
                    false => said != "0\n",
                };
                assert!(is_seen, "{}: {document}: this does nothing:\n{statement}", shell.name);
            }
            if document == "README.md" {
                run_commands(section(&text, "The day's work"), &copy);
                goes_on(&copy);
            }
        }
    }
}

/// Runs each `$ fulfilld` line of a text on this file; each must succeed and print something.
fn run_commands(text: &str, file: &Path) {
    let lines: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("$ fulfilld ")).collect();
    assert!(lines.len() > 8, "{lines:?}");
    for line in lines {
        let output = machine_program("sh")
            .args(["-c", &format!("\"$0\" {line}")])
            .arg(fulfilld().get_program())
            .env("FULFILLD_DB", file)
            .output()
            .unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {output:?}");
    }
}

/// A desk serves this file, and takes the next order in.
fn goes_on(file: &Path) {
    let mut shop = Shop::open();
    shop.stop();
    std::fs::copy(file, shop.file()).unwrap();
    shop.start();
    buy(&shop, "card");
    assert_eq!(shop.one("SELECT count(*) FROM orders"), "10");
    let left = "SELECT group_concat(id) FROM (SELECT id FROM order_overview
        WHERE fulfillment_status = 'unfulfilled' AND financial_status = 'paid'
        AND NOT canceled ORDER BY id)";
    assert_eq!(shop.one(left), "6,10");
    assert_eq!(shop.one("PRAGMA integrity_check"), "ok");
}

#[test]
fn every_line_that_the_file_itself_offers_runs_in_both_shells() {
    let shop = shop_of_the_readme();
    let line_item = shop.one("SELECT id FROM line_items WHERE order_id = 1 AND position = 1");
    for shell in Shell::all() {
        // One after the other, as they stand there.
        let copy = shop.dir.path().join("copy.db");
        let _ = std::fs::remove_file(&copy);
        shop.rows(&format!("VACUUM INTO '{}'", copy.display()));
        for line in shop.rows("SELECT type FROM readme WHERE kind <> 'know'") {
            let typed = format!("{};", line.trim_end_matches(';')).replace("li_1", &line_item);
            shell.types(&copy, &typed).unwrap_or_else(|e| panic!("{}: {typed}: {e}", shell.name));
        }
    }
}

#[test]
fn what_would_make_the_file_untrue_is_refused_in_both_shells() {
    let shop = shop_of_the_readme();
    let before = shop.rows("SELECT * FROM orders");
    for shell in Shell::all() {
        for (line, why) in [
            ("DELETE FROM orders;", "never deleted"),
            ("UPDATE orders SET amount_total = 1;", "fact from Stripe"),
            ("INSERT INTO ship VALUES(99, 'DHL', 'JD99', NULL);", "no such order"),
            ("UPDATE fulfillments SET tracking_number = 'JD0000';", "needs WHERE"),
            ("UPDATE actor SET name = 'me';", "CHECK"),
        ] {
            let said = shell.types(&shop.file(), line).expect_err(line);
            assert!(said.contains(why), "{}: {line}: {said}", shell.name);
        }
    }
    assert_eq!(shop.rows("SELECT * FROM orders"), before);
    shop.check();
}

/// A `.dump` leaves out the marks by which a file is known; `.recover` keeps them.
#[test]
fn a_dump_read_into_a_new_file_is_a_shop_again_after_the_line_that_the_error_names() {
    let mut shop = shop_of_the_readme();
    shop.stop();
    for shell in Shell::all() {
        let dump =
            shell.types(&shop.file(), ".dump").unwrap_or_else(|e| panic!("{}: {e}", shell.name));
        // By half: the rows are there, and what keeps them true is not.
        let (half, _) =
            dump.split_once("CREATE TRIGGER orders_delete").expect("the dump has the triggers");
        let cut = shop.dir.path().join(format!("cut-{}.db", shell.library.is_some()));
        shell
            .types(&cut, &format!("{half}COMMIT;"))
            .unwrap_or_else(|e| panic!("{}: {e}", shell.name));
        let (code, said) = verb(&cut, "orders");
        assert_eq!(code, Some(78), "{said}");
        assert!(
            said.contains("it lacks trigger orders_delete and") && said.contains("read all of it"),
            "{said}"
        );

        let whole = shop.dir.path().join(format!("Ada's {}.db", shell.library.is_some()));
        shell.types(&whole, &dump).unwrap_or_else(|e| panic!("{}: {e}", shell.name));
        let (code, said) = verb(&whole, "orders");
        assert_eq!(code, Some(78), "{said}");
        let (_, line) = said
            .trim_end()
            .split_once("; type: ")
            .unwrap_or_else(|| panic!("no line to type: {said}"));
        let script = format!("fulfilld() {{ {} \"$@\"; }}\n{line}", env!("CARGO_BIN_EXE_fulfilld"));
        let typed = machine_program("sh").args(["-c", &script]).output().expect("sh starts");
        assert!(typed.status.success(), "{line}: {}", String::from_utf8_lossy(&typed.stderr));
        assert_eq!(verb(&whole, "orders"), verb(&shop.file(), "orders"));
        assert_eq!(verb(&whole, "check").0, Some(0));
    }
}

/// The situation of SQLite's WAL-reset bug: one process moves the log into the file, slowly, while
/// others write and reset the log. `FULFILLD_TEST_ONE_LOG_S=3600` is the long form, in seconds.
#[test]
fn two_shells_that_write_and_reset_the_log_of_a_desk_with_a_slow_disk_lose_nothing() {
    let lasts = number_of("FULFILLD_TEST_ONE_LOG_S").unwrap_or(8);
    let told = three_on_one_log(seed(), Duration::from_secs(lasts), None);
    println!("{} events, {} rows typed", told.posted, told.typed);
    proof::came_to(format!("{} rows typed", told.typed), told.posted, told.lost.len(), 0);
    assert_eq!((told.lost, told.damage), (vec![], vec![]));
    assert!(told.posted > 20 && told.typed > 1, "{} {}", told.posted, told.typed);
}

/// The control: a desk that drops its locks in the middle of a transaction, as any close(2) of a
/// descriptor of the file does.
#[test]
fn control_shells_catch_a_desk_that_drops_its_locks() {
    let caught = seeds("", 12).find_map(|seed| {
        let told = three_on_one_log(seed, Duration::from_secs(5), Some("locks_dropped"));
        let lost = told.lost.len();
        (lost > 0 || !told.damage.is_empty())
            .then(|| format!("{lost} acknowledged and lost; {}", told.damage.join("; ")))
    });
    let how = caught.expect("twelve runs did not show that the locks were dropped");
    proof::caught("locks_dropped", how.lines().next().unwrap_or_default());
}

/// What a desk and two shells on one log came to.
struct OneLog {
    posted: usize,
    typed: usize,
    /// What was acknowledged to the sender or to a shell, and is not there.
    lost: Vec<String>,
    /// What else is wrong with the file or with how the desk ended.
    damage: Vec<String>,
}

fn three_on_one_log(seed: u64, lasts: Duration, planted: Option<&str>) -> OneLog {
    let mut shop = Shop::open();
    shop.stop();
    shop.settings.extend(planted.map(|bug| ("FULFILLD_SABOTAGE".into(), bug.into())));
    let file = shop.file();
    let path = file.display().to_string();
    let slow = ["-P", &path, "-e", "trace=pwrite64"];
    shop.desk = Some(traced(&shop, &slow, "pwrite64:delay_enter=2000"));
    let shells = Shell::all();
    let table = "CREATE TABLE typed(shell TEXT NOT NULL, n INTEGER NOT NULL);";
    shells[1].types(&file, table).expect("a table of one's own is the operator's affair");
    let mut random = fastrand::Rng::with_seed(seed);
    let (over, typed_so_far) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (posted, typed) = std::thread::scope(|threads| {
        let writers: Vec<_> = shells
            .iter()
            .map(|shell| (shell, random.fork()))
            .map(|(shell, mut random)| {
                let (file, over, typed_so_far) = (&file, &over, &typed_so_far);
                threads.spawn(move || {
                    let mut kept = Vec::new();
                    for n in 0.. {
                        if over.load(Ordering::SeqCst) {
                            break;
                        }
                        let modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
                        let mode = modes[random.usize(..modes.len())];
                        let insert = format!("INSERT INTO typed VALUES('{}', {n});", shell.name.replace('\'', ""));
                        let lines = match random.u8(..3) {
                            0 => format!("{insert}\nPRAGMA wal_checkpoint({mode});"),
                            1 => format!("PRAGMA wal_checkpoint({mode});\nBEGIN IMMEDIATE;\n{insert}\nCOMMIT;"),
                            _ => insert,
                        };
                        if shell.types(file, &lines).is_ok() {
                            typed_so_far.fetch_add(1, Ordering::SeqCst);
                            kept.push(n);
                        }
                    }
                    kept
                })
            })
            .collect();
        let (began, mut posted) = (Instant::now(), Vec::new());
        // Longer where the machine is so busy that next to nothing was written.
        let is_enough = |posted: usize| posted > 20 && typed_so_far.load(Ordering::SeqCst) > 1;
        for n in 0.. {
            let most = if planted.is_some() || is_enough(posted.len()) { lasts } else { PATIENCE };
            if began.elapsed() > most.max(lasts) {
                break;
            }
            let pad = "p".repeat(2000);
            let body = format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{pad}\"}}");
            if shop.post(body.as_bytes()).is_ok_and(|(status, _)| status == 200) {
                posted.push(format!("evt_{n}"));
            }
        }
        over.store(true, Ordering::SeqCst);
        let typed: Vec<Vec<i64>> = writers
            .into_iter()
            .map(|writer| writer.join().expect("a shell's thread ends"))
            .collect();
        (posted, typed)
    });
    let mut damage = Vec::new();
    let ended = end(shop.desk.take().expect("it runs"));
    if ended != Some(0) {
        damage.push(format!("the desk ended with {ended:?}"));
    }
    for shell in &shells {
        let said = shell.types(&file, "PRAGMA integrity_check;");
        if said.as_deref() != Ok("ok\n") {
            damage.push(format!("{}: {said:?}", shell.name));
        }
    }
    // A shell, which says what it cannot read instead of ending the test.
    let stored = shells[0].types(&file, "SELECT id FROM events;").unwrap_or_default();
    let stored: HashSet<&str> = stored.lines().collect();
    let mut lost: Vec<String> =
        posted.iter().filter(|id| !stored.contains(id.as_str())).cloned().collect();
    for (shell, typed) in shells.iter().zip(&typed) {
        let name = shell.name.replace('\'', "");
        let sql = format!("SELECT n FROM typed WHERE shell = '{name}';");
        let rows = shells[0].types(&file, &sql).unwrap_or_default();
        let rows: HashSet<&str> = rows.lines().collect();
        let gone = typed.iter().filter(|n| !rows.contains(n.to_string().as_str()));
        lost.extend(gone.map(|n| format!("{name}: {n}")));
    }
    OneLog { posted: posted.len(), typed: typed.iter().map(Vec::len).sum(), lost, damage }
}

/// One verb on a file: its exit code, and what it says.
fn verb(file: &Path, verb: &str) -> (Option<i32>, String) {
    let output =
        crate::shop::fulfilld().args([verb, "--db"]).arg(file).output().expect("fulfilld starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// One object that is too new makes the whole file unreadable for an old shell, so that must be
/// noticed here.
#[test]
fn a_word_that_is_too_new_would_be_noticed() {
    let shop = shop_of_the_readme();
    let copy = shop.dir.path().join("copy.db");
    shop.rows(&format!("VACUUM INTO '{}'", copy.display()));
    let [stock, oldest] = Shell::all();
    assert!(
        stock.types(&copy, "CREATE VIEW too_new AS SELECT metadata ->> 'x' FROM orders;").is_ok()
    );
    assert!(stock.types(&copy, "SELECT count(*) FROM orders;").is_ok());
    let said = oldest.types(&copy, "SELECT count(*) FROM orders;").unwrap_err();
    assert!(said.contains("malformed database schema"), "{said}");
}

/// The orders that the README speaks of: three of goods, one of a download, one of many lines.
fn shop_of_the_readme() -> Shop {
    let shop = Shop::open();
    for scenario in ["card", "card", "card", "digital", "many-lines"] {
        buy(&shop, scenario);
    }
    shop
}

/// One purchase, delivered to the desk and processed to its end.
fn buy(shop: &Shop, scenario: &str) {
    for (event, _) in &shop.buy(scenario, 1, "snapshot")[0].events {
        assert_eq!(shop.deliver(event), 200);
    }
    shop.settle();
}

/// A `sqlite3` that a person may sit in front of.
struct Shell {
    name: &'static str,
    /// Where it finds its engine, when that is not the machine's.
    library: Option<PathBuf>,
}

impl Shell {
    fn all() -> [Shell; 2] {
        let library = installed(".tools/sqlite-3.37/libsqlite3.so.0");
        let old = Shell { name: OLDEST, library: library.parent().map(Path::to_path_buf) };
        let version = old.types(Path::new(":memory:"), "SELECT sqlite_version();");
        assert!(
            version.as_ref().is_ok_and(|v| v.starts_with(OLDEST)),
            "{version:?}; run tests/setup"
        );
        [Shell { name: "the machine's sqlite3", library: None }, old]
    }

    /// Types this, line by line: what it prints, or what it says on standard error.
    fn types(&self, file: &Path, lines: &str) -> Result<String, String> {
        let mut command = machine_program("sqlite3");
        command.args(["-batch", "-bail", "-cmd", ".timeout 5000"]).arg(file);
        if let Some(library) = &self.library {
            command.env("LD_LIBRARY_PATH", library);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sqlite3 starts");
        let mut keyboard = child.stdin.take().expect("stdin is piped");
        // A shell that has refused a line no longer listens to the next.
        let _ = keyboard.write_all(format!("{lines}\n").as_bytes());
        drop(keyboard);
        let output = child.wait_with_output().expect("sqlite3 ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// The statements between ```` ```sql ```` and ```` ``` ````, one by one.
fn statements(markdown: &str) -> Vec<String> {
    let (mut statements, mut open) = (Vec::new(), None);
    for line in markdown.lines().map(str::trim) {
        match (&mut open, line) {
            (None, "```sql") => open = Some(String::new()),
            (Some(_), "```") => open = None,
            (Some(statement), line) => {
                *statement += &format!("{line}\n");
                if line.ends_with(';') {
                    statements.push(std::mem::take(statement));
                }
            }
            (None, _) => {}
        }
    }
    statements
}

/// A section of a document, to the next one of its level.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let rest = text.split_once(&format!("\n## {title}\n")).expect("there is such a section").1;
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}
