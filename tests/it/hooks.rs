//! Hooks, the shop's own programs, are notified: whatever they do, at least once, in order for each
//! order, and at nobody else's cost.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::outside::{free_address, installed, machine_program, shipped};
use crate::shop::{PATIENCE, Running, Shop, fulfilld, wait_for};
use crate::verbs::assert_golden;

/// Writes down what it was notified of: a file a run.
const TELLER: &str = r#"
json=$(cat)
file=$(mktemp "$HOOK_DIR/.XXXXXXXX")
printf '%s\n' "$(date +%s%N)" "${0##*/}" "$1" "$FULFILLD_KEY" "$FULFILLD_ATTEMPT" "$json" >"$file"
mv "$file" "$HOOK_DIR/run-${file##*.}"
"#;

/// What the posts of these tests are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const TOPICS: [&str; 9] = [
    "order.paid",
    "order.canceled",
    "order.refunded",
    "order.refund_failed",
    "order.disputed",
    "fulfillment.shipped",
    "fulfillment.delivered",
    "fulfillment.canceled",
    "event.failed",
];

/// One run of a hook.
#[derive(Debug, Clone)]
struct Run {
    at: u128,
    hook: String,
    topic: String,
    key: String,
    attempt: i64,
    payload: Value,
}

/// Hooks in a directory of their own.
struct Hooks(TempDir);

impl Hooks {
    fn new() -> Hooks {
        Hooks(tempfile::tempdir().expect("a directory for the hooks"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// Puts an executable there whole. Another process writes it, because a file that any process
    /// of ours still has open for writing cannot be run.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let new = format!("{path}.new");
        let script = r#"cat >"$1" && chmod 755 "$1" && mv "$1" "$2""#;
        let mut writer = Command::new("sh")
            .args(["-c", script, "sh", &new, &path])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    /// A shell script.
    fn script(&self, name: &str, text: &str) -> String {
        self.write(name, &format!("#!/bin/sh\n{text}"))
    }

    fn touch(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    fn wait_for(&self, name: &str) -> String {
        wait_for(name, || {
            fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n'))
        })
    }

    /// What the hooks have written down, oldest first.
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-"))
            })
            .map(|path| {
                let text = fs::read_to_string(path).unwrap();
                let lines: Vec<&str> = text.splitn(6, '\n').collect();
                let payload: Value =
                    serde_json::from_str(lines[5]).unwrap_or_else(|e| panic!("{e}: {}", lines[5]));
                assert_eq!(payload["key"], lines[3], "the same key everywhere");
                // Of an order it carries the session, whatever number the order has.
                let (key, session) = lines[3].split_once('@').unwrap_or((lines[3], ""));
                let of_order = payload["order"]["checkout_session_id"]
                    .as_str()
                    .filter(|_| payload["test"] != true);
                assert_eq!(of_order.unwrap_or_default(), session);
                Run {
                    at: lines[0].parse().unwrap(),
                    hook: lines[1].into(),
                    topic: lines[2].into(),
                    key: key.into(),
                    attempt: lines[4].parse().unwrap(),
                    payload,
                }
            })
            .collect();
        runs.sort_by_key(|run| run.at);
        runs
    }

    /// The same of one hook, as `order topic`.
    fn runs_of(&self, hook: &str) -> Vec<String> {
        let of = |run: &Run| format!("{} {}", run.payload["order"]["id"], run.topic);
        self.runs().iter().filter(|run| run.hook == hook).map(of).collect()
    }

    /// A shop whose desk runs these, with more settings.
    fn shop(&self, command: &str, more: &[(&str, &str)]) -> Shop {
        let dir = self.0.path().to_string_lossy().into_owned();
        let mut settings = vec![("FULFILLD_HOOK_COMMAND", command), ("HOOK_DIR", dir.as_str())];
        settings.extend(more);
        Shop::open_with(&settings, &["--webhook", "none", "--rate", "0"])
    }
}

/// So many paid orders, one after the other.
fn sell(shop: &Shop, count: usize) {
    for purchase in shop.buy("card", count, "snapshot") {
        for (event, _) in &purchase.events {
            assert_eq!(shop.deliver(event), 200);
        }
        shop.settle();
    }
}

fn ship(shop: &Shop, order: i64) {
    shop.shell(&format!("INSERT INTO ship VALUES({order}, 'DHL', 'JD0{order}', NULL)")).unwrap();
}

/// Columns of the latest notification of a topic.
fn notification(shop: &Shop, topic: &str, columns: &str) -> String {
    shop.one(&format!("SELECT {columns} FROM outbox WHERE id = (SELECT max(id) FROM outbox WHERE topic = '{topic}')"))
}

fn wait_for_state(shop: &Shop, topic: &str, state: &str) {
    wait_for(&format!("{topic} is {state}"), || {
        (notification(shop, topic, "state") == state).then_some(())
    });
}

/// Edits `hook_runs` as the daemon does: time goes by in no other way.
fn as_daemon(shop: &Shop, sql: &str) {
    let line = format!(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test'; {sql}; UPDATE actor SET name = 'operator'; COMMIT;"
    );
    shop.shell(&line).unwrap();
}

/// A verb on the shop's file.
fn verb(shop: &Shop, line: &str) -> (Option<i32>, String) {
    let out = fulfilld().args(line.split(' ')).env("FULFILLD_DB", shop.file()).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

/// The disk answers nobody in time, and commits everything: whoever has claimed an event or a run
/// by that has to know it, or it waits ten minutes for the next to claim it.
#[test]
fn orders_and_hooks_do_not_wait_for_a_lease_when_the_disk_stalls() {
    let hooks = Hooks::new();
    let teller = hooks.script("teller", TELLER);
    let shop = hooks.shop(&format!("{teller} order.paid"), &[("FULFILLD_SABOTAGE", "no_patience")]);
    sell(&shop, 3);
    for order in 1..=3 {
        wait_for("the hook is notified", || {
            hooks.runs_of("teller").contains(&format!("{order} order.paid")).then_some(())
        });
    }
}

#[test]
fn what_waits_for_its_next_try_is_tried_at_a_start_because_it_may_be_fixed() {
    let hooks = Hooks::new();
    let fails = hooks.script("teller", "exit 1\n");
    let mut shop = hooks.shop(&format!("{fails} order.paid"), &[]);
    sell(&shop, 1);
    let tried = "SELECT count(*) FROM hook_runs WHERE tries > 0 AND taken_at IS NULL";
    wait_for("the hook has failed", || (shop.one(tried) == "1").then_some(()));
    shop.control("POST", "/_sandbox/faults", json!({"kind": "status", "status": 500}));
    for (event, _) in &shop.buy("card", 1, "snapshot")[0].events {
        assert_eq!(shop.deliver(event), 200);
    }
    let tried = "SELECT count(*) FROM events WHERE state = 'pending' AND attempts > 0";
    wait_for("Stripe was asked", || (shop.one(tried) != "0").then_some(()));
    shop.stop();
    // As late as after many tries.
    let later = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+50 minutes')";
    as_daemon(
        &shop,
        &format!(
            "UPDATE events SET next_attempt_at = {later} WHERE state = 'pending';
             UPDATE hook_runs SET next_attempt_at = {later} WHERE state = 'pending'"
        ),
    );
    hooks.script("teller", TELLER);
    shop.control("DELETE", "/_sandbox/faults", Value::Null);
    shop.start();
    for order in 1..=2 {
        wait_for("the hook is notified", || {
            hooks.runs_of("teller").contains(&format!("{order} order.paid")).then_some(())
        });
    }
}

#[test]
fn a_parcel_shipped_in_the_stock_shell_has_its_hook_run_within_two_seconds() {
    let hooks = Hooks::new();
    let teller = hooks.script("teller", TELLER);
    let shop = hooks.shop(&format!("{teller} fulfillment.*"), &[]);
    sell(&shop, 3);
    let mut took = Vec::new();
    for order in 1..=3 {
        ship(&shop, order);
        let typed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let run =
            wait_for("the hook is notified", || hooks.runs().get(order as usize - 1).cloned());
        took.push(Duration::from_nanos(run.at.saturating_sub(typed) as u64));
    }
    // The quickest of three: the machine may be busy, the daemon may not dawdle.
    assert!(took.iter().min() < Some(&Duration::from_secs(2)), "{took:?}");

    let run = hooks.runs().remove(0);
    assert_eq!(
        (run.topic.as_str(), run.key.as_str(), run.attempt),
        ("fulfillment.shipped", "fulfillment:1:shipped", 1)
    );
    let payload = &run.payload;
    let row = |sql: &str| shop.one(sql);
    assert_eq!(payload["version"], 1);
    assert_eq!(payload["topic"], "fulfillment.shipped");
    assert_eq!(payload["livemode"], false);
    assert_eq!(payload["order"]["id"], 1);
    assert_eq!(
        payload["order"]["amount_total"].to_string(),
        row("SELECT amount_total FROM orders WHERE id = 1")
    );
    assert_eq!(payload["order"]["total"], row("SELECT total FROM order_overview WHERE id = 1"));
    assert_eq!(payload["shipping"]["line1"], row("SELECT shipping_line1 FROM orders WHERE id = 1"));
    assert_eq!(
        payload["line_items"][0]["name"],
        row("SELECT name FROM line_items WHERE order_id = 1 AND position = 1")
    );
    assert_eq!(payload["fulfillment"]["tracking_number"], "JD01");
    assert_eq!(payload["fulfillment"]["status"], "shipped");
    assert_eq!(
        payload["fulfillment"]["line_items"][0]["line_item_id"],
        payload["line_items"][0]["id"]
    );
    wait_for_state(&shop, "fulfillment.shipped", "done");
    assert_eq!(
        notification(&shop, "fulfillment.shipped", "attempts, next_attempt_at, last_error"),
        "1||"
    );
    // A topic that no hook is set for is done, and nobody waits for it.
    assert_eq!(notification(&shop, "order.paid", "state, attempts, outcome"), "done|0|no_hook");
    let (_, page) = shop.get("/metrics");
    for line in [
        "fulfilld_hooks_run_total{kind=\"command\",outcome=\"done\"} 3",
        "fulfilld_hooks_pending 0",
        "fulfilld_hooks_dead 0",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    shop.check();
}

#[test]
fn a_daemon_killed_before_during_or_after_a_hook_runs_it_again_with_the_same_key() {
    let hooks = Hooks::new();
    let slow = format!(
        "{TELLER}\ntouch \"$HOOK_DIR/began\"\nwhile [ ! -e \"$HOOK_DIR/go\" ]; do sleep 0.05; done"
    );
    let slow = hooks.script("slow", &slow);
    let mut shop = hooks.shop(&format!("{slow} fulfillment.shipped"), &[]);
    sell(&shop, 3);

    // Before: nobody is there when the line is typed.
    shop.kill();
    ship(&shop, 1);
    hooks.touch("go");
    shop.start();
    wait_for_state(&shop, "fulfillment.shipped", "done");
    assert_eq!(
        hooks.runs().iter().map(|t| (t.key.as_str(), t.attempt)).collect::<Vec<_>>(),
        [("fulfillment:1:shipped", 1)]
    );

    // During: the attempt is on disk before the hook runs.
    fs::remove_file(hooks.path("go")).unwrap();
    fs::remove_file(hooks.path("began")).unwrap();
    ship(&shop, 2);
    wait_for("the hook runs", || fs::metadata(hooks.path("began")).ok());
    assert_eq!(notification(&shop, "fulfillment.shipped", "state, attempts"), "pending|1");
    shop.kill();
    assert_eq!(notification(&shop, "fulfillment.shipped", "state, attempts"), "pending|1");
    hooks.touch("go");
    shop.start();
    wait_for_state(&shop, "fulfillment.shipped", "done");
    let second: Vec<i64> = hooks
        .runs()
        .iter()
        .filter(|t| t.key == "fulfillment:2:shipped")
        .map(|t| t.attempt)
        .collect();
    assert_eq!(second, [1, 2]);

    // After: it has ended, and nothing could be written of it.
    fs::remove_file(hooks.path("go")).unwrap();
    fs::remove_file(hooks.path("began")).unwrap();
    ship(&shop, 3);
    wait_for("the hook runs", || fs::metadata(hooks.path("began")).ok());
    let lock = rusqlite::Connection::open(shop.file()).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    hooks.touch("go");
    let children = format!("/proc/{0}/task/{0}/children", shop.desk().pid());
    let no_child = || {
        fs::read_dir(format!("/proc/{}/task", shop.desk().pid())).unwrap().all(|task| {
            fs::read_to_string(task.unwrap().path().join("children"))
                .unwrap_or_default()
                .trim()
                .is_empty()
        })
    };
    assert!(Path::new(&children).exists());
    wait_for("the hook has ended", || no_child().then_some(()));
    shop.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    shop.start();
    wait_for_state(&shop, "fulfillment.shipped", "done");
    let third: Vec<i64> = hooks
        .runs()
        .iter()
        .filter(|t| t.key == "fulfillment:3:shipped")
        .map(|t| t.attempt)
        .collect();
    assert_eq!(third, [1, 2]);
    assert_eq!(notification(&shop, "fulfillment.shipped", "attempts"), "2");
    shop.check();
}

#[test]
fn a_stop_ends_a_hook_that_hangs_and_the_next_start_runs_it_again() {
    let hooks = Hooks::new();
    let slow = hooks.script(
        "slow",
        &format!("{TELLER}\ntouch \"$HOOK_DIR/began\"\n[ -e \"$HOOK_DIR/go\" ] || exec sleep 1000"),
    );
    let mut shop = hooks.shop(&format!("{slow} fulfillment.shipped"), &[]);
    sell(&shop, 1);
    ship(&shop, 1);
    wait_for("the hook runs", || fs::metadata(hooks.path("began")).ok());
    shop.stop();
    assert_eq!(
        notification(&shop, "fulfillment.shipped", "state, attempts, last_error"),
        "pending|1|fulfilld was stopped while it ran"
    );
    hooks.touch("go");
    shop.start();
    wait_for_state(&shop, "fulfillment.shipped", "done");
    assert_eq!(hooks.runs().iter().map(|run| run.attempt).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn notifications_of_one_order_go_to_a_hook_in_order_and_hold_up_no_other() {
    let hooks = Hooks::new();
    let picky = format!(
        "{TELLER}\ncase $json in *'\"order\":{{\"id\":1,'*) [ ! -e \"$HOOK_DIR/fail\" ] || exit 75 ;; esac"
    );
    let picky = hooks.script("picky", &picky);
    let easy = hooks.script("easy", TELLER);
    let shop = hooks.shop(&format!("{picky} fulfillment.*; {easy} fulfillment.*"), &[]);
    sell(&shop, 2);
    hooks.touch("fail");
    for order in [1, 2] {
        ship(&shop, order);
        shop.shell(&format!("INSERT INTO deliver VALUES({order})")).unwrap();
    }
    let both = |order: i64| {
        [format!("{order} fulfillment.shipped"), format!("{order} fulfillment.delivered")]
    };
    // The other hook has both orders, this one the other order, each in order.
    wait_for("everything else is sent", || {
        let (picky, easy) = (hooks.runs_of("picky"), hooks.runs_of("easy"));
        (picky.iter().filter(|run| run.starts_with("2 ")).count() == 2 && easy.len() == 4)
            .then_some(())
    });
    // A hook that is retried while it runs would run twice.
    wait_for("the desk knows", || {
        (shop.one("SELECT count(*) FROM hook_runs WHERE state = 'done'") == "6").then_some(())
    });
    let of = |hook: &str, order: &str| -> Vec<String> {
        hooks.runs_of(hook).into_iter().filter(|run| run.starts_with(order)).collect()
    };
    assert_eq!(of("picky", "2 "), both(2));
    assert_eq!((of("easy", "1 "), of("easy", "2 ")), (both(1).to_vec(), both(2).to_vec()));
    // The second notification of the first order waits behind the first, again and again.
    let id = shop.one("SELECT id FROM outbox WHERE topic = 'fulfillment.shipped' AND order_id = 1");
    for tries in 2..4 {
        assert_eq!(verb(&shop, &format!("hooks retry {id}")).0, Some(0));
        wait_for("it is tried again", || (of("picky", "1 ").len() >= tries).then_some(()));
    }
    assert!(of("picky", "1 ").iter().all(|run| *run == both(1)[0]), "{:?}", hooks.runs_of("picky"));
    fs::remove_file(hooks.path("fail")).unwrap();
    assert_eq!(verb(&shop, &format!("hooks retry {id}")).0, Some(0));
    wait_for("all is sent", || {
        (shop.one("SELECT count(*) FROM outbox WHERE state = 'pending'") == "0").then_some(())
    });
    let runs = of("picky", "1 ");
    assert_eq!(runs[runs.len() - 2..], both(1));
    // The other hook was notified once.
    assert_eq!(hooks.runs_of("easy").len(), 4);
    shop.check();
}

#[test]
fn a_hook_that_hangs_floods_forks_dies_or_does_not_listen_delays_only_itself() {
    let hooks = Hooks::new();
    let mut command = String::new();
    for (name, text) in [
        (
            "hangs",
            "echo $$ >\"$HOOK_DIR/hangs.pid\"\nsleep 1000 &\necho $! >\"$HOOK_DIR/hangs.child\"\nwait",
        ),
        ("floods", "yes 'a line that nobody asked for' >&2"),
        ("prints", "yes | head -c 3000000\nexit 0"),
        ("forks", "sleep 1000 &\necho $! >\"$HOOK_DIR/forks.child\"\nexit 0"),
        ("hides", "setsid sleep 70 &\nexit 0"),
        ("dies", "echo dying words >&2\nkill -9 $$"),
        ("deaf", "exec <&-\nexit 0"),
        ("sleepy", "sleep 0.2\nexit 0"),
        ("good", TELLER),
    ] {
        command += &format!("{} fulfillment.shipped;", hooks.script(name, text));
    }
    let elsewhere = Receiver::start(|_| "204 No Content".into());
    let to = elsewhere.url("/elsewhere");
    let receiver = Receiver::start(move |posted| match posted.path.as_str() {
        "/500" => "500 Internal Server Error".into(),
        "/redirect" => format!("307 Temporary Redirect\r\nLocation: {to}"),
        _ => "200 OK".into(),
    });
    let urls = ["/500", "/redirect", "/fine"]
        .map(|path| format!("{} fulfillment.shipped", receiver.url(path)))
        .join(";");
    // A port where nobody listens.
    let closed = format!("http://{}/ fulfillment.shipped", free_address());
    let shop = hooks.shop(
        &command,
        &[("FULFILLD_HOOK_URL", &format!("{urls};{closed}")), ("FULFILLD_HOOK_SECRET", SECRET)],
    );
    sell(&shop, 2);
    // More than a pipe holds.
    shop.shell("UPDATE orders SET note = replace(hex(zeroblob(100000)), '0', 'x')").unwrap();
    ship(&shop, 1);
    ship(&shop, 2);

    let state = |hook: &str, columns: &str| {
        shop.rows(&format!(
            "SELECT {columns} FROM hook_runs WHERE target LIKE '%/{hook}' ORDER BY outbox_id"
        ))
    };
    for hook in ["good", "forks", "hides", "prints", "deaf", "sleepy", "fine"] {
        wait_for(hook, || (state(hook, "state, attempts") == ["done|1", "done|1"]).then_some(()));
    }
    // Two orders have no order between them.
    let mut runs = hooks.runs_of("good");
    runs.sort();
    assert_eq!(runs, ["1 fulfillment.shipped", "2 fulfillment.shipped"]);
    let note = hooks.runs()[0].payload["order"]["note"].as_str().map(str::len);
    assert_eq!(note, Some(200_000));
    for (hook, why) in [
        ("500", "answered 500"),
        ("redirect", "answered 307, a redirect"),
        ("dies", "ended by signal 9: dying words"),
    ] {
        let errors = wait_for(hook, || {
            Some(state(hook, "last_error")).filter(|errors| errors.iter().all(|t| !t.is_empty()))
        });
        assert!(errors.iter().all(|error| error.starts_with(why)), "{hook}: {errors:?}");
        assert!(state(hook, "state").iter().all(|state| state == "pending"));
    }
    let refused = wait_for("nobody listens", || {
        Some(shop.rows(&format!(
            "SELECT last_error FROM hook_runs WHERE target = '{}'",
            closed.split(' ').next().unwrap()
        )))
        .filter(|errors| errors.iter().all(|t| !t.is_empty()))
    });
    assert!(refused.iter().all(|error| error.starts_with("no answer")), "{refused:?}");
    assert_eq!(elsewhere.posted().len(), 0, "a redirect was followed");
    // They are still at it, while everybody else was done long ago.
    for hook in ["hangs", "floods"] {
        assert_eq!(
            state(hook, "state, attempts, last_error"),
            ["pending|1|", "pending|1|"],
            "{hook}"
        );
    }
    // In the end they are killed, with all that they started; so was what the others left behind.
    for (hook, why) in [("hangs", "killed after 30 s"), ("floods", "killed after 30 s: ")] {
        let errors = wait_for(hook, || {
            Some(state(hook, "last_error")).filter(|errors| errors.iter().all(|t| !t.is_empty()))
        });
        assert!(
            errors.iter().all(|error| error.starts_with(why) && error.chars().count() <= 500),
            "{hook}: {errors:?}"
        );
    }
    for pid in ["hangs.pid", "hangs.child", "forks.child"] {
        let pid = hooks.wait_for(pid);
        let stat = format!("/proc/{}/stat", pid.trim());
        wait_for("the process is gone", || {
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")).then_some(())
        });
    }
    let status = fs::read_to_string(format!("/proc/{}/status", shop.desk().pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap();
    assert!(peak < 150_000, "{peak} kB were used");
    shop.check();
}

#[test]
fn orders_on_which_a_hook_hangs_leave_it_runs_for_others() {
    let hooks = Hooks::new();
    let text = format!(
        "{TELLER}\n[ ! -e \"$HOOK_DIR/fail\" ] || exit 75\n[ \"$FULFILLD_ATTEMPT\" = 1 ] || exec sleep 1000"
    );
    let moody = hooks.script("moody", &text);
    let mut shop = hooks.shop(&format!("{moody} order.paid"), &[]);
    hooks.touch("fail");
    sell(&shop, 6);
    let waiting =
        "SELECT count(*) FROM hook_runs WHERE state = 'pending' AND tries > 0 AND taken_at IS NULL";
    wait_for("each failed once", || (shop.one(waiting) == "6").then_some(()));
    fs::remove_file(hooks.path("fail")).unwrap();
    as_daemon(&shop, "UPDATE hook_runs SET next_attempt_at = '2026-01-01T00:00:00Z'");
    let running = "SELECT count(*) FROM hook_runs WHERE taken_at IS NOT NULL";
    wait_for("they hang", || (shop.one(running) != "0").then_some(()));
    sell(&shop, 4);
    wait_for("the new ones are sent", || {
        (shop.one("SELECT count(*) FROM hook_runs WHERE state = 'done'") == "4").then_some(())
    });
    // Not because those that hang were killed meanwhile.
    assert_eq!(shop.one("SELECT count(*) FROM hook_runs WHERE last_error LIKE 'killed%'"), "0");
    assert_eq!(shop.one(running), "2");
    shop.stop();
    shop.check();
}

#[test]
fn an_exit_code_says_whether_to_try_again_and_how_often() {
    let hooks = Hooks::new();
    let coded = hooks.script(
        "coded",
        &format!(
            "{TELLER}\necho 'first word' >&2\necho 'then undone' >&2\nexit $(cat \"$HOOK_DIR/code\")"
        ),
    );
    let shop = hooks.shop(&format!("{coded} order.paid"), &[]);
    let code = |code: &str| fs::write(hooks.path("code"), code).unwrap();
    code("75");
    sell(&shop, 1);
    let failed = |n: usize| {
        wait_for("it was tried", || (hooks.runs().len() == n).then_some(()));
        wait_for("it is written", || {
            (shop.one("SELECT count(*) FROM hook_runs WHERE taken_at IS NULL AND attempts > 0")
                == "1")
                .then_some(())
        });
        shop.one("SELECT state, attempts, tries, failures, last_error FROM hook_runs")
    };
    assert_eq!(failed(1), "pending|1|1|0|exit code 75, try again: first word / then undone");
    let pause = "SELECT CAST(round((julianday(next_attempt_at) - julianday(ended_at)) * 86400) AS \
                 INTEGER) FROM hook_runs";
    assert!((5..=7).contains(&shop.one(pause).parse::<i64>().unwrap()));
    // Seventeen tries later it has waited two days: not yet. Then three: that is all.
    let due = "next_attempt_at = '2026-01-01T00:00:00Z'";
    let ago =
        |days: i64| format!("first_try_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-{days} days')");
    as_daemon(&shop, &format!("UPDATE hook_runs SET tries = 30, {}, {due}", ago(2)));
    assert!(failed(2).starts_with("pending|2|31|0|"));
    assert!((28_800..=36_001).contains(&shop.one(pause).parse::<i64>().unwrap()));
    as_daemon(&shop, &format!("UPDATE hook_runs SET {}, {due}", ago(4)));
    assert!(failed(3).starts_with("dead|3|32|0|"));
    let why = "exit code 75, try again: first word / then undone";
    assert_eq!(
        notification(&shop, "order.paid", "state, attempts, last_error"),
        format!("dead|3|{why}")
    );
    let id = notification(&shop, "order.paid", "id");
    let needs = shop.one("SELECT reason, order_id, what, next FROM attention");
    assert_eq!(
        needs,
        format!("hook_dead|1|a hook for order.paid gave up: {why}|fulfilld hooks retry {id}")
    );
    let (_, page) = shop.get("/metrics");
    assert!(
        page.contains("fulfilld_hooks_dead 1") && page.contains("outcome=\"dead\"} 1"),
        "{page}"
    );
    assert_eq!(shop.get("/readyz").0, 200, "a hook is no reason not to take webhooks");

    // A code of its own is a failure: five of them are enough.
    code("3");
    assert_eq!(
        verb(&shop, "hooks retry --dead"),
        (Some(0), "1 notification goes to its hooks again\n".into())
    );
    assert_eq!(failed(4), "pending|4|1|1|exit code 3: first word / then undone");
    as_daemon(&shop, &format!("UPDATE hook_runs SET failures = 3, {due}"));
    assert!(failed(5).starts_with("pending|5|2|4|"));
    as_daemon(&shop, &format!("UPDATE hook_runs SET {due}"));
    assert!(failed(6).starts_with("dead|6|3|5|"));

    // From the shell it is the same; the key never changes, and the runs are counted on.
    code("0");
    shop.shell(&format!("UPDATE outbox SET state = 'pending' WHERE id = {id}")).unwrap();
    assert!(failed(7).starts_with("done|7|1|0|"));
    wait_for_state(&shop, "order.paid", "done");
    assert_eq!(hooks.runs().iter().map(|t| t.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(hooks.runs().iter().all(|run| run.key == "order:1:paid"));
    assert_eq!(shop.one("SELECT count(*) FROM attention"), "0");
    // A hook that was notified is not notified again, until somebody insists.
    let (code_, said) = verb(&shop, &format!("hooks retry {id}"));
    assert!(code_ == Some(1) && said.contains("is done; to notify its hooks again"), "{said}");
    let typed = "hooks resend 1 order.paid";
    assert!(said.trim_end().ends_with(&format!("fulfilld {typed}")), "{said}");
    for n in 8..=10 {
        let (code_, said) = verb(&shop, typed);
        assert_eq!(code_, Some(0), "{said}");
        wait_for("it is sent again", || (hooks.runs().len() == n).then_some(()));
    }
    let keys: std::collections::BTreeSet<String> =
        hooks.runs().into_iter().map(|run| run.key).collect();
    assert_eq!(keys.len(), 4, "a receiver takes none for what it has seen: {keys:?}");
    shop.check();
}

#[test]
fn a_post_is_tried_again_when_the_other_side_says_and_never_where_it_says_stop() {
    let receiver = Receiver::start(|posted| match posted.path.as_str() {
        "/busy" => "503 Service Unavailable\r\nRetry-After: 1000".into(),
        "/soon" => "429 Too Many Requests\r\nRetry-After: 1".into(),
        _ => "410 Gone".into(),
    });
    let urls = ["/busy", "/soon", "/gone"].map(|path| receiver.url(path)).join(";");
    let hooks = Hooks::new();
    let shop = hooks.shop("", &[("FULFILLD_HOOK_URL", &urls), ("FULFILLD_HOOK_SECRET", SECRET)]);
    sell(&shop, 1);
    let run = |path: &str, columns: &str| {
        shop.one(&format!(
            "SELECT {columns} FROM hook_runs WHERE target = '{}'",
            receiver.url(path)
        ))
    };
    let tried = "SELECT count(*) FROM hook_runs WHERE ended_at IS NOT NULL";
    wait_for("each was tried", || (shop.one(tried) == "3").then_some(()));
    let pause =
        "CAST(round((julianday(next_attempt_at) - julianday(ended_at)) * 86400) AS INTEGER)";
    assert_eq!(
        run("/busy", &format!("state, attempts, last_error, {pause}")),
        "pending|1|answered 503|1000"
    );
    assert_eq!(
        run("/gone", "state, attempts, last_error"),
        "dead|1|answered 410, it wants to hear no more"
    );
    // A try is counted before it is made.
    wait_for("it is posted again soon", || {
        let tries = run("/soon", "attempts").parse::<i64>().unwrap();
        (tries >= 3 && receiver.posted().len() >= 5).then_some(())
    });
    // One of three gave up, and the notification is dead only when the others are through.
    assert_eq!(notification(&shop, "order.paid", "state"), "pending");
    let keys: Vec<String> =
        receiver.posted().iter().map(|posted| posted.header("webhook-id")).collect();
    assert!(keys.iter().all(|key| key.starts_with("order:1:paid@cs_test_")), "{keys:?}");
}

#[test]
fn the_official_verifiers_accept_a_post_and_no_changed_one() {
    let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let receiver = Receiver::start(|_| "200 OK".into());
    let hooks = Hooks::new();
    let shop = hooks.shop(
        "",
        &[
            ("FULFILLD_HOOK_URL", &receiver.url("/")),
            ("FULFILLD_HOOK_SECRET", &format!("{SECRET}\n{old}")),
        ],
    );
    shop.shell("SELECT 1").unwrap();
    for (event, _) in &shop.buy("mixed", 1, "snapshot")[0].events {
        assert_eq!(shop.deliver(event), 200);
    }
    shop.settle();
    shop.shell("UPDATE orders SET note = 'Zoë 🛒 Ōsaka'").unwrap();
    ship(&shop, 1);
    let posted =
        wait_for("both are posted", || Some(receiver.posted()).filter(|posted| posted.len() == 2));
    let mut python = Command::new(installed(".venv/bin/python"));
    python.arg(installed("standardwebhooks_python.py"));
    installed("node_modules/standardwebhooks");
    let mut node = machine_program("node");
    node.arg(installed("standardwebhooks-node.mjs"));
    for (name, mut verifier) in [("python", python), ("node", node)] {
        let mut questions = String::new();
        let mut expected = Vec::new();
        let mut ask = |posted: &Posted, body: &[u8], id: &str, secret: &str, accepted: bool| {
            let headers = json!({
                "webhook-id": id, "webhook-timestamp": posted.header("webhook-timestamp"),
                "webhook-signature": posted.header("webhook-signature"),
            });
            let body: String = body.iter().map(|b| format!("{b:02x}")).collect();
            questions +=
                &format!("{}\n", json!({"headers": headers, "body": body, "secret": secret}));
            expected.push(accepted);
        };
        for post in &posted {
            let id = post.header("webhook-id");
            let mut changed = post.body.clone();
            let at = changed.windows(8).position(|w| w == b"\"order\":").unwrap();
            changed[at + 1] ^= 1;
            for secret in [SECRET, old] {
                ask(post, &post.body, &id, secret, true);
                ask(post, &changed, &id, secret, false);
                ask(post, &post.body, "order:2:paid", secret, false);
            }
            ask(post, &post.body, &id, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false);
        }
        let mut process = verifier.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(questions.as_bytes()).unwrap();
        let out = process.wait_with_output().unwrap();
        let answers: Vec<Value> = String::from_utf8_lossy(&out.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let accepted: Vec<bool> = answers.iter().map(|answer| answer["accepted"] == true).collect();
        assert_eq!(accepted, expected, "{name}: {answers:?}");
    }
    let shipped: Value = serde_json::from_slice(&posted[1].body).unwrap();
    assert_eq!(shipped["order"]["note"], "Zoë 🛒 Ōsaka");
    assert_eq!(posted[1].header("content-type"), "application/json; charset=utf-8");
}

#[test]
fn an_undo_stops_a_hook_that_is_delayed_and_not_one_that_was_notified() {
    let hooks = Hooks::new();
    let teller = hooks.script("teller", TELLER);
    let shop = hooks.shop(
        &format!("{teller} fulfillment.*"),
        &[("FULFILLD_HOOK_DELAY", "fulfillment.shipped=1h")],
    );
    sell(&shop, 1);
    ship(&shop, 1);
    let held = "SELECT next_attempt_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+50 minutes') \
                FROM hook_runs ORDER BY outbox_id DESC LIMIT 1";
    let held_back = |runs: usize| {
        wait_for("it is handed out", || {
            (shop.rows("SELECT 1 FROM hook_runs").len() == runs).then_some(())
        });
        assert_eq!(shop.one(held), "1");
    };
    held_back(1);
    let (code, said) = verb(&shop, "undo");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        notification(&shop, "fulfillment.shipped", "state, attempts, outcome"),
        "done|0|undone"
    );
    let refused =
        shop.shell("UPDATE outbox SET state = 'pending' WHERE outcome = 'undone'").unwrap_err();
    assert!(refused.contains("nothing to notify of"), "{refused}");

    // Typed again, it notifies again; and the hour goes by.
    ship(&shop, 1);
    held_back(2);
    as_daemon(&shop, "UPDATE hook_runs SET next_attempt_at = '2026-01-01T00:00:00Z'");
    wait_for_state(&shop, "fulfillment.shipped", "done");
    wait_for("the undone one is put aside", || {
        (shop.rows("SELECT state FROM hook_runs ORDER BY outbox_id") == ["gone", "done"])
            .then_some(())
    });
    let runs = hooks.runs();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(runs[0].key.starts_with("fulfillment:1:shipped:"), "{}", runs[0].key);
    // Now the hook was notified.
    let (code, said) = verb(&shop, "undo");
    assert!(
        code == Some(1)
            && said.contains("a hook was already notified of it (fulfillment.shipped of order 1)"),
        "{said}"
    );
    let (code, said) = verb(&shop, "undo --force");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        notification(&shop, "fulfillment.shipped", "state, outcome, last_error"),
        "done|undone|sent, then undone"
    );
    ship(&shop, 1);
    held_back(3);
    shop.check();
}

#[test]
fn without_a_hook_nothing_waits_and_nobody_was_notified() {
    let hooks = Hooks::new();
    let mut shop = Shop::open();
    sell(&shop, 2);
    ship(&shop, 1);
    wait_for_state(&shop, "fulfillment.shipped", "done");
    assert_eq!(
        shop.rows("SELECT DISTINCT state, attempts, outcome FROM outbox"),
        ["done|0|no_hook"]
    );
    assert_eq!(shop.one("SELECT count(*) FROM hook_runs"), "0");
    // An undo needs no --force, and the same act notifies again.
    let (code, said) = verb(&shop, "undo");
    assert_eq!(code, Some(0), "{said}");
    ship(&shop, 1);
    wait_for("it notifies again", || {
        (shop.rows("SELECT outcome FROM outbox WHERE topic = 'fulfillment.shipped'")
            == ["undone", "no_hook"])
        .then_some(())
    });
    shop.stop();
    let teller = hooks.script("teller", TELLER);
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), teller));
    shop.settings.push(("HOOK_DIR".into(), hooks.path("")));
    shop.start();
    ship(&shop, 2);
    wait_for("the new one is notified", || (!hooks.runs().is_empty()).then_some(()));
    assert_eq!(hooks.runs_of("teller"), ["2 fulfillment.shipped"]);
    shop.check();
}

#[test]
fn a_hook_that_is_no_longer_set_is_not_waited_for_and_a_new_one_is_notified() {
    let hooks = Hooks::new();
    let failing = hooks.script("failing", "exit 75");
    let mut shop = hooks.shop(&failing, &[]);
    sell(&shop, 1);
    wait_for("it was tried", || {
        (notification(&shop, "order.paid", "last_error IS NOT NULL") == "1").then_some(())
    });
    shop.stop();
    let teller = hooks.script("teller", TELLER);
    shop.settings[0].1 = teller;
    shop.start();
    wait_for_state(&shop, "order.paid", "done");
    assert_eq!(hooks.runs_of("teller"), ["1 order.paid"]);
    assert_eq!(shop.rows("SELECT state FROM hook_runs ORDER BY target"), ["gone", "done"]);
    shop.check();
}

#[test]
fn a_hook_sees_what_it_needs_and_no_secret() {
    let hooks = Hooks::new();
    let nosy = hooks.script(
        "nosy",
        "env >\"$HOOK_DIR/env\"\nls -l /proc/$$/fd >\"$HOOK_DIR/fds\"\ncut -d' \
         ' -f5 /proc/$$/stat >\"$HOOK_DIR/group\"\n\
         echo $$ >\"$HOOK_DIR/pid\"\necho \"$#\" >\"$HOOK_DIR/arguments\"",
    );
    let credentials = tempfile::tempdir().unwrap();
    let shop = hooks.shop(
        &nosy,
        &[
            ("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap()),
            ("FULFILLD_HOOK_SECRET", SECRET),
            ("HOOK_MAIL_TO", "me@example.org"),
        ],
    );
    sell(&shop, 1);
    assert_eq!(hooks.wait_for("arguments"), "1\n");
    let environment = hooks.wait_for("env");
    let mut names: Vec<&str> =
        environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // What the shell itself sets.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    let mut known = vec![
        "FULFILLD_ATTEMPT",
        "FULFILLD_DB",
        "FULFILLD_KEY",
        "FULFILLD_TOPIC",
        "HOOK_DIR",
        "HOOK_MAIL_TO",
    ];
    known.extend(["HOME", "LANG", "PATH"].iter().filter(|name| std::env::var_os(name).is_some()));
    known.sort_unstable();
    assert_eq!(names, known);
    for secret in ["rk_test_of_the_shop", "whsec_", credentials.path().to_str().unwrap()] {
        assert!(!environment.contains(secret), "{environment}");
    }
    assert!(environment.contains(&format!("FULFILLD_DB={}\n", shop.file().display())));
    assert!(environment.contains("FULFILLD_KEY=order:1:paid@cs_test_"));
    // Neither the file, nor a socket, nor a pipe of another hook: nothing that the daemon opened
    // but the three of the call.
    let inherited: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    let open = fs::read_to_string(hooks.path("fds")).unwrap();
    let mut open: Vec<&str> =
        open.lines().filter_map(|line| Some(line.split_once(" -> ")?.1)).collect();
    open.retain(|to| {
        !inherited.iter().any(|known| known == to) && *to != nosy && !to.starts_with("/dev/")
    });
    assert!(open.iter().all(|to| to.starts_with("pipe:") || to.ends_with("/fds")), "{open:?}");
    assert!(open.iter().filter(|to| to.starts_with("pipe:")).count() <= 3, "{open:?}");
    assert_eq!(hooks.wait_for("group"), hooks.wait_for("pid"));
}

#[test]
fn a_command_that_cannot_be_run_is_one_finding_and_its_notifications_continue_once_it_is_fixed() {
    let hooks = Hooks::new();
    for mistake in ["missing", "not executable", "no interpreter"] {
        let path = hooks.path("teller");
        match mistake {
            "missing" => {}
            "not executable" => fs::write(&path, "#!/bin/sh\n").unwrap(),
            _ => drop(hooks.write("teller", "#!/nowhere/interpreter\n")),
        }
        let mut shop = hooks.shop(&format!("{path} order.paid"), &[]);
        shop.stop();
        let log = shop.dir.path().join("log");
        let mut serve = shop.serve();
        serve.stderr(fs::File::create(&log).unwrap());
        shop.desk = Some(Running::start(&mut serve));
        sell(&shop, 3);
        let needs = "SELECT reason, what FROM attention";
        let found =
            wait_for("it is found", || Some(shop.rows(needs)).filter(|rows| !rows.is_empty()));
        assert_eq!(found.len(), 1, "{mistake}: {found:?}");
        assert!(
            found[0].starts_with(&format!(
                "hook_missing|a hook cannot be run; its notifications wait: {path}"
            )),
            "{found:?}"
        );
        wait_for("all of it waits", || {
            (shop.one("SELECT count(*) FROM hook_runs WHERE taken_at IS NULL") == "3").then_some(())
        });
        assert_eq!(
            shop.one("SELECT group_concat(attempts) FROM outbox WHERE state = 'pending'"),
            "0,0,0",
            "{mistake}"
        );
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(
            said.lines().filter(|line| line.contains("cannot be run")).count(),
            1,
            "{mistake}: {said}"
        );
        hooks.script("teller", TELLER);
        wait_for("it is sent", || (hooks.runs().len() == 3).then_some(()));
        assert!(hooks.runs().iter().all(|run| run.attempt == 1), "{mistake}");
        wait_for("the finding is gone", || shop.rows(needs).is_empty().then_some(()));
        for file in fs::read_dir(hooks.0.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn the_json_is_what_it_was() {
    let mut all = String::new();
    for topic in TOPICS {
        let (code, said) = {
            let out = fulfilld().args(["hooks", "test", topic, "--print"]).output().unwrap();
            (out.status.code(), String::from_utf8(out.stdout).unwrap())
        };
        assert_eq!(code, Some(0));
        all += &said;
    }
    // The sample is of 2025; what the triggers date is dated now.
    let mut stable = String::new();
    let mut rest = all.as_str();
    while let Some(at) = rest.find("\"202") {
        let (before, from) = rest.split_at(at + 1);
        let (date, after) = from.split_at(20);
        stable += before;
        stable += if date.starts_with("2025-") || !date.ends_with('Z') { date } else { "NOW" };
        rest = after;
    }
    assert_golden("hooks.jsonl", &(stable + rest));
}

#[test]
fn the_verb_lists_shows_and_tries_hooks() {
    let hooks = Hooks::new();
    let teller = hooks.script("teller", TELLER);
    let failing = hooks.script("failing", "echo no >&2; exit 3");
    let shop = hooks.shop(&format!("{teller} order.paid; {failing} order.paid"), &[]);
    sell(&shop, 1);
    wait_for("both were tried", || {
        (shop.one("SELECT count(*) FROM hook_runs WHERE ended_at IS NOT NULL") == "2").then_some(())
    });
    let (_, listed) = verb(&shop, "hooks");
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!(
        (row[1], row[4], row[5], row[7]),
        ("order.paid", "pending", "2", "exit code 3: no"),
        "{listed}"
    );
    let (_, shown) = verb(&shop, &format!("hooks show {}", row[0]));
    assert!(
        shown.contains(&format!("{failing}\tpending\t1\t"))
            && shown.contains(&format!("{teller}\tdone\t1\t")),
        "{shown}"
    );
    let json: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!((&json["order"]["id"], &json["attempt"]), (&1.into(), &2.into()));
    assert_eq!(verb(&shop, "hooks show 99").0, Some(1));
    assert_eq!(verb(&shop, "hooks retry 99").0, Some(1));
    assert_eq!(verb(&shop, "hooks retry").0, Some(64));
    assert_eq!(
        verb(&shop, "hooks retry --dead"),
        (Some(0), "0 notifications go to their hooks again\n".into())
    );
    assert_eq!(verb(&shop, "hooks list --json --limit 1").1.lines().count(), 1);

    let test = |command: &str, topic: &str| {
        let mut verb = fulfilld();
        verb.args(["hooks", "test", topic])
            .env("FULFILLD_HOOK_COMMAND", command)
            .env("HOOK_DIR", hooks.path(""));
        let out = verb.output().unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    };
    let before = hooks.runs().len();
    let (code, said) = test(&format!("{teller}; {failing}; /nowhere/hook"), "fulfillment.shipped");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("{teller}\tdone\t\t"))
            && said.contains(&format!("{failing}\tfailed\texit code 3: no\t")),
        "{said}"
    );
    assert!(
        said.contains("/nowhere/hook\tnot_run\t") && said.contains("2 of 3 hooks failed"),
        "{said}"
    );
    let runs = hooks.runs().split_off(before);
    assert_eq!(
        (runs.len(), &runs[0].payload["test"], &runs[0].payload["order"]["id"]),
        (1, &true.into(), &1042.into())
    );
    assert_eq!(runs[0].payload["key"], runs[0].key);
    assert!(runs[0].key.starts_with("test:"));
    assert_eq!(test(&format!("{teller} order.paid"), "order.paid").0, Some(0));
    assert_eq!(test(&format!("{teller} order.paid"), "event.failed").0, Some(78));
    assert_eq!(test(&teller, "order.payed").0, Some(64));
}

#[test]
fn what_the_documents_show_of_hooks_runs() {
    let section = shipped("docs/hooks.md");
    for topic in TOPICS {
        assert!(section.contains(&format!("`{topic}`")), "{topic}");
    }
    // The settings are read by a shell, as an environment file is by systemd; the hooks are those
    // of this repository.
    let settings = section
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("there are settings");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    let settings = settings.replace("/etc/fulfilld/hooks", &here.to_string_lossy());
    let said = machine_program("sh")
        .args(["-c", &format!("set -a\n{settings}\nenv")])
        .env_clear()
        .output()
        .unwrap();
    let slips = tempfile::tempdir().unwrap();
    let mut shown: Vec<(String, String)> = String::from_utf8(said.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with("FULFILLD_HOOK_"))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    assert_eq!(shown.len(), 3);
    // Nobody answers there, and the mail server is closed.
    shown.push(("FULFILLD_HOOK_SECRET".into(), SECRET.into()));
    shown.push(("HOOK_SLIPS_DIR".into(), slips.path().to_string_lossy().into_owned()));
    let mut shop = Shop::open();
    shop.stop();
    shop.settings = shown;
    shop.start();
    let lines: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("$ fulfilld ")).collect();
    // What is sent once more needs an order that had notifications.
    let lines: Vec<&str> =
        lines.into_iter().filter(|line| !line.starts_with("hooks resend")).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let settings = shop
            .settings
            .iter()
            .filter(|(name, _)| name != "FULFILLD_HOOK_URL")
            .map(|(k, v)| (k.as_str(), v.as_str()));
        let out = fulfilld()
            .args(line.split(' '))
            .env("FULFILLD_DB", shop.file())
            .envs(settings)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        match line.contains(" test ") {
            // The mail has no server to go to.
            true => {
                assert!(
                    said.contains("1 of 2 hooks failed")
                        && slips.path().join("order-test.html").exists(),
                    "{said}"
                )
            }
            false => assert!(out.status.success(), "{line}: {said}"),
        }
    }
}

/// A server that stores what is posted to it and gives the answers that it was set to give.
struct Receiver {
    address: std::net::SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
}

#[derive(Debug, Clone)]
struct Posted {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Posted {
    fn header(&self, name: &str) -> String {
        let found: Vec<&String> = self
            .headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value)
            .collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers);
        found[0].clone()
    }

    fn read(stream: &TcpStream) -> Option<Posted> {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_string()),
            }
        }
        let path = head[0].split(' ').nth(1)?.to_string();
        let headers: Vec<(String, String)> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .and_then(|(_, n)| n.parse().ok())?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Posted { path, headers, body })
    }
}

impl Receiver {
    /// `answer` gives a status line without its version, and headers after it.
    fn start(answer: impl Fn(&Posted) -> String + Send + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let receiver = Receiver { address: listener.local_addr().unwrap(), posted: Arc::default() };
        let posted = receiver.posted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(PATIENCE));
                if let Some(post) = Posted::read(&stream) {
                    let answer = format!(
                        "HTTP/1.1 {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                        answer(&post)
                    );
                    posted.lock().unwrap().push(post);
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        receiver
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }
}
