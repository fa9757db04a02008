//! A new version takes over the file of every version before, whenever it is killed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// A version to come, which writes every order and its history anew (src/migrations.rs).
const TOMORROW: &str = "schema_of_tomorrow";

/// What released versions left: their dumps.
fn dumps() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases");
    let files = std::fs::read_dir(dir).expect("the dumps").map(|f| f.expect("a dump").path());
    let dumps = files.filter(|f| f.extension().is_some_and(|e| e == "sql")).map(|f| {
        let name = f.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(f).expect("a dump is text"))
    });
    let dumps: Vec<_> = dumps.collect();
    assert!(!dumps.is_empty(), "there is a dump at least");
    dumps
}

/// A file as a dump has it, in a directory of its own.
fn loaded(dump: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("shop.db");
    let c = Connection::open(&file).expect("a file");
    // Speed alone: nobody pulls the plug here.
    c.execute_batch("PRAGMA synchronous = OFF").expect("a pragma");
    c.execute_batch(dump).expect("the dump is read");
    (dir, file)
}

/// A start that ends by itself as soon as the file is open and upgraded: its port is taken.
fn start(taken: &TcpListener, file: &Path, sabotage: &str, before: &[String]) -> Output {
    let program = env!("CARGO_BIN_EXE_fulfilld");
    let mut command = match before.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.arg("serve").stdin(Stdio::null()).envs([
        ("FULFILLD_DB", file.to_str().expect("text")),
        ("FULFILLD_LISTEN", &taken.local_addr().expect("a port").to_string()),
        ("FULFILLD_STRIPE_API", "http://127.0.0.1:9"),
        ("STRIPE_SECRET_KEY", "rk_test_x"),
        ("WEBHOOK_SECRET", "whsec_x"),
        ("FULFILLD_SABOTAGE", sabotage),
    ]);
    command.output().expect("it can be started")
}

fn check(file: &Path, sabotage: &str) -> Output {
    let mut check = Command::new(env!("CARGO_BIN_EXE_fulfilld"));
    check.arg("check").arg("--db").arg(file).env("FULFILLD_SABOTAGE", sabotage);
    check.output().expect("it can be started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// Every row of every table, by table.
fn rows(c: &Connection) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = c
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
        .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
        .expect("tables");
    let all = |table: &String| {
        let mut query = c.prepare(&format!("SELECT * FROM {table}")).expect("a table");
        let columns: Vec<String> = query.column_names().map(String::from).collect();
        let mut rows: Vec<String> = query
            .query_map([], |row| {
                let cells = columns.iter().enumerate().map(|(n, column)| {
                    row.get::<_, Value>(n).map(|value| format!("{column}={value:?} "))
                });
                cells.collect::<Result<String, _>>()
            })
            .and_then(Iterator::collect)
            .expect("rows");
        rows.sort();
        rows
    };
    tables.iter().map(|table| (table.clone(), all(table))).collect()
}

/// Views, triggers and indexes by their text, tables by their columns.
fn shape(c: &Connection) -> Vec<String> {
    let sql = "SELECT o.type || ' ' || o.name || ' ' || o.sql FROM sqlite_schema o
               WHERE o.type <> 'table' AND o.sql IS NOT NULL AND o.name NOT GLOB 'my_*'
               UNION ALL
               SELECT 'column ' || o.name || ' ' || x.cid || ' ' || x.name || ' ' || x.type || ' '
               || x.\"notnull\" || ' ' ||
                 coalesce(x.dflt_value, '') || ' ' || x.pk
               FROM sqlite_schema o, pragma_table_xinfo(o.name) x
               WHERE o.type = 'table' AND o.name NOT GLOB 'sqlite_*'
               ORDER BY 1";
    c.prepare(sql).and_then(|mut q| q.query_map([], |row| row.get(0))?.collect()).expect("a schema")
}

fn version(c: &Connection) -> i64 {
    c.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number")
}

fn open(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("a file")
}

/// Of each table of before, every row is there, with what its columns held.
fn nothing_is_lost(before: &BTreeMap<String, Vec<String>>, c: &Connection, when: &str) {
    let after = rows(c);
    for (table, rows) in before {
        let after = after.get(table).unwrap_or_else(|| panic!("{when}: {table} is gone"));
        // A file that was never served at its place is pointed out.
        let after: Vec<&String> =
            after.iter().filter(|row| !row.contains("file_without_note")).collect();
        assert_eq!(after.len(), rows.len(), "{when}: rows of {table}");
        for (was, is) in rows.iter().zip(after) {
            for cell in was.split_terminator(' ') {
                // Since schema 3 a dismissal's sentence has columns of its own.
                let cell = if table == "dismissals" { value_of(cell) } else { cell };
                assert!(is.contains(cell), "{when}: {table} had {was} and has {is}");
            }
        }
    }
}

/// A cell without its column's name.
fn value_of(cell: &str) -> &str {
    cell.split_once('=').map_or(cell, |(_, value)| value)
}

/// Its schema is that of a new file.
fn is_like(new: &[String], c: &Connection, when: &str) {
    let shape = shape(c);
    let lacking: Vec<_> = new.iter().filter(|o| !shape.contains(o)).collect();
    let beside: Vec<_> = shape.iter().filter(|o| !new.contains(o)).collect();
    assert!(lacking.is_empty() && beside.is_empty(), "{when}: lacks {lacking:?}, has {beside:?}");
}

/// What a new file of today's version looks like, and its number.
fn a_new_file(taken: &TcpListener) -> (Vec<String>, i64) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("new.db");
    start(taken, &file, "", &[]);
    let c = open(&file);
    (shape(&c), version(&c))
}

#[test]
fn the_file_of_every_version_is_upgraded_to_today_s_schema_with_all_its_rows() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (new, today) = a_new_file(&taken);
    for (name, dump) in dumps() {
        let (_dir, file) = loaded(&dump);
        let before = rows(&open(&file));
        let output = start(&taken, &file, "", &[]);
        let c = open(&file);
        nothing_is_lost(&before, &c, &name);
        assert_eq!(version(&c), today, "{name}: {}", said(&output));
        is_like(&new, &c, &name);
        let output = check(&file, "");
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

#[test]
fn an_upgrade_that_is_killed_anywhere_loses_nothing_and_is_done_at_the_next_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (new, today) = a_new_file(&taken);
    // Each call that changes a file, one after the other: 50 in all.
    let calls = [("pwrite64", 40), ("fsync", 4), ("fdatasync", 3), ("rename", 1), ("unlink", 2)];
    let moments: Vec<(&str, usize)> = calls
        .iter()
        .flat_map(|(call, times)| (1..=*times).map(move |n| (*call, n * usize::div_ceil(n, 8))))
        .collect();
    assert_eq!(moments.len(), 50);
    for (name, dump) in dumps() {
        let (dir, file) = loaded(&dump);
        let (old, before) = (version(&open(&file)), rows(&open(&file)));
        let pristine = std::fs::read(&file).expect("a file");
        let halves: Vec<_> = moments.chunks(25).collect();
        let killed: usize = std::thread::scope(|scope| {
            let half = |moments: &[(&str, usize)], n: usize| {
                let dir = dir.path().join(n.to_string());
                std::fs::create_dir(&dir).expect("a directory");
                let file = dir.join("shop.db");
                let mut killed = 0;
                for (call, when) in moments {
                    let at = format!("{name}, killed at {call} {when}");
                    for rest in std::fs::read_dir(&dir).expect("a directory") {
                        std::fs::remove_file(rest.expect("a file").path()).expect("it is ours");
                    }
                    std::fs::write(&file, &pristine).expect("a file");
                    let inject = format!("inject={call}:signal=SIGKILL:when={when}");
                    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
                    start(&taken, &file, TOMORROW, &strace.map(String::from));
                    {
                        let c = open(&file);
                        nothing_is_lost(&before, &c, &at);
                        killed += usize::from(version(&c) == old);
                    }
                    let output = start(&taken, &file, TOMORROW, &[]);
                    let c = open(&file);
                    assert_eq!(version(&c), today + 1, "{at}: {}", said(&output));
                    nothing_is_lost(&before, &c, &at);
                    is_like(&new, &c, &at);
                    let backup = dir.join(format!("shop.db.before-schema-{}", today + 1));
                    let mode = backup.metadata().expect("a backup").permissions().mode();
                    assert_eq!(mode & 0o777, 0o600, "{at}");
                    assert!(
                        !dir.join(format!("shop.db.before-schema-{}.new", today + 1)).exists(),
                        "{at}"
                    );
                    let backup = open(&backup);
                    assert_eq!(version(&backup), old, "{at}");
                    nothing_is_lost(&before, &backup, &at);
                }
                let output = check(&file, TOMORROW);
                assert!(output.status.success(), "{name}: {}", said(&output));
                killed
            };
            let halves: Vec<_> = halves
                .iter()
                .enumerate()
                .map(|(n, moments)| scope.spawn(move || half(moments, n)))
                .collect();
            halves.into_iter().map(|half| half.join().expect("a half")).sum()
        });
        assert!(killed > 25, "{name}: only {killed} of 50 were killed before the end");
    }
}

#[test]
fn an_older_fulfilld_refuses_the_file_of_a_newer_one_and_says_where_its_own_is() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (_, today) = a_new_file(&taken);
    let (_, dump) = dumps().pop().expect("a dump");
    let (_dir, file) = loaded(&dump);
    // A verb of the newer one names what to do first.
    let early = check(&file, TOMORROW);
    assert_eq!(early.status.code(), Some(78));
    assert!(said(&early).contains("start the service once"), "{}", said(&early));
    let output = start(&taken, &file, TOMORROW, &[]);
    assert!(said(&output).contains("the file as it was"), "{}", said(&output));
    let before = std::fs::read(&file).expect("a file");
    for output in [start(&taken, &file, "", &[]), check(&file, "")] {
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains("was written by a newer fulfilld"), "{}", said(&output));
        let backup = format!(".before-schema-{}", today + 1);
        assert!(said(&output).contains(&backup), "{}", said(&output));
    }
    assert!(std::fs::read(&file).expect("a file") == before, "nothing has changed");
}

#[test]
fn views_and_triggers_that_somebody_dropped_are_named_and_made_again_at_the_next_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("shop.db");
    start(&taken, &file, "", &[]);
    let whole = shape(&open(&file));
    open(&file)
        .execute_batch(
            "DROP TRIGGER orders_delete; DROP VIEW ship; DROP INDEX orders_created;
             CREATE VIEW my_notes AS SELECT id, note FROM orders",
        )
        .expect("they are dropped");
    let output = check(&file, "");
    assert_eq!(output.status.code(), Some(1));
    for lost in [
        "trigger orders_delete",
        "view ship",
        "trigger ship_insert",
        "made again at the next start",
    ] {
        assert!(said(&output).contains(lost), "{lost}: {}", said(&output));
    }
    let output = start(&taken, &file, "", &[]);
    assert!(
        said(&output).contains("bringing views, triggers and indexes up to date"),
        "{}",
        said(&output)
    );
    assert_eq!(shape(&open(&file)), whole);
    open(&file).execute_batch("SELECT * FROM my_notes").expect("what is the owner's stays");
    assert!(check(&file, "").status.success());
}
