//! A shop for one test: a directory, a simulated Stripe and the order desk, all real processes on
//! loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::outside::installed;
pub use crate::reader::rows;
use crate::reader::together;

/// What every test's endpoint is signed with.
pub const SECRET: &str = "whsec_test_of_the_shop";

/// Nothing in a test waits longer than this; a condition that has not come true by then is a
/// failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub fn fulfilld() -> Command {
    let mut command = without_settings(env!("CARGO_BIN_EXE_fulfilld"));
    // No service of this machine's is meant.
    command.env("FULFILLD_ETC", "/nowhere");
    command
}

/// A program that inherits no setting of whoever runs the tests.
pub fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if name.starts_with("FULFILLD_")
            || name.starts_with("STRIPE_")
            || name.starts_with("WEBHOOK_")
        {
            command.env_remove(name);
        }
    }
    command
}

/// A process of the program that is killed when the test ends, however it ends.
pub struct Running {
    pub child: Child,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// Its one line on standard output.
    pub line: String,
}

impl Running {
    /// Starts it and waits for its one line on standard output.
    pub fn start(command: &mut Command) -> Running {
        Running::start_with(command, Stdio::null())
    }

    /// The same with something on its standard input.
    pub fn start_with(command: &mut Command, stdin: Stdio) -> Running {
        Running::try_start(command.stdin(stdin))
            .unwrap_or_else(|(status, said)| panic!("it did not become ready ({status}): {said}"))
    }

    /// The same, or how it ended and what it said instead, where standard error is piped that too.
    pub fn try_start(command: &mut Command) -> Result<Running, (ExitStatus, String)> {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut said = String::new();
        stdout.read_line(&mut said).expect("its output can be read");
        let port: Option<String> = said
            .split_once("http://127.0.0.1:")
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
        let stderr = child.stderr.take();
        let Some(port) = port else {
            stderr.map(|mut stderr| stderr.read_to_string(&mut said));
            return Err((child.wait().expect("it is ours"), said));
        };
        let url = format!("http://127.0.0.1:{port}");
        // Whatever it says later must not block it.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        stderr.map(|mut stderr| {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()))
        });
        Ok(Running { child, url, line: said })
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|p| p.parse().ok()).expect("the URL ends in a port")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by number, to this process alone.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(
            sent.is_ok_and(|s| s.success()),
            "the process {} was there to be told {name}",
            self.pid()
        );
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("the process ends", || self.child.try_wait().expect("it is ours"))
    }

    /// SIGKILL, and nothing of it is left.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The shop.
pub struct Shop {
    pub dir: tempfile::TempDir,
    pub stripe: Running,
    pub desk: Option<Running>,
    /// Settings beyond the usual ones, for every start of the desk.
    pub settings: Vec<(String, String)>,
    /// Where its clock is written, once it has one of its own.
    clock: Option<tempfile::TempDir>,
}

impl Shop {
    /// A shop that is open: the sandbox delivers nothing until a test posts an event or orders a
    /// delivery.
    pub fn open() -> Shop {
        Shop::open_with(&[], &["--webhook", "none", "--rate", "0"])
    }

    /// With more settings for the desk, and other arguments for the simulated Stripe.
    pub fn open_with(settings: &[(&str, &str)], sandbox: &[&str]) -> Shop {
        let stripe = Running::start(
            fulfilld()
                .args(["sandbox", "--listen", "127.0.0.1:0", "--secret", SECRET])
                .args(sandbox),
        );
        let settings = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let dir = tempfile::tempdir().expect("a directory for the test");
        let mut shop = Shop { dir, stripe, desk: None, settings, clock: None };
        shop.start();
        shop
    }

    /// Starts the desk on its file; it must not be running.
    pub fn start(&mut self) {
        assert!(self.desk.is_none(), "the desk is running already");
        let mut command = self.serve();
        self.desk = Some(Running::start(&mut command));
    }

    /// From its next start on the desk lives on a clock of its own, which [`Shop::set_clock`] sets.
    pub fn own_clock(&mut self) {
        self.clock = Some(tempfile::tempdir().expect("a directory for the clock"));
        self.set_clock(0);
        let preloaded = installed(".tools/debian/libfaketime.so");
        let settings = [
            ("LD_PRELOAD", preloaded.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.clock_file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        self.settings.extend(settings.map(|(name, value)| (name.to_string(), value)));
    }

    /// Its clock is so many seconds ahead of everybody else's, from now on.
    pub fn set_clock(&self, ahead_s: i64) {
        let new = self.clock_file().with_extension("new");
        // Everybody else's may be days ahead of the machine's (tests/ahead).
        let days = std::env::var("FAKETIME")
            .ok()
            .and_then(|ahead| ahead.trim_matches(['+', 'd']).parse::<i64>().ok());
        let ahead_s = days.unwrap_or(0) * 86_400 + ahead_s;
        std::fs::write(&new, format!("{ahead_s:+}s")).expect("it can be written");
        std::fs::rename(new, self.clock_file()).expect("it can be set");
    }

    fn clock_file(&self) -> PathBuf {
        self.clock.as_ref().expect("it has a clock of its own").path().join("clock")
    }

    /// The command that serves this shop.
    pub fn serve(&self) -> Command {
        let mut command = fulfilld();
        command
            .arg("serve")
            .env("FULFILLD_DB", self.file())
            .env("FULFILLD_LISTEN", "127.0.0.1:0")
            .env("FULFILLD_STRIPE_API", &self.stripe.url)
            .env("FULFILLD_STRIPE_RATE", "2000")
            // What a test does not post is not to come by itself.
            .env("FULFILLD_BACKFILL_EVERY", "0")
            // And what it posts is to be taken in that order.
            .env("FULFILLD_ECHO_AFTER", "0")
            .env("FULFILLD_LOG", "error")
            .env("STRIPE_SECRET_KEY", "rk_test_of_the_shop")
            .env("WEBHOOK_SECRET", SECRET)
            .envs(self.settings.iter().map(|(k, v)| (k, v)));
        if self.clock.is_some() {
            command.env_remove("FAKETIME");
        }
        command
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    pub fn desk(&self) -> &Running {
        self.desk.as_ref().expect("the desk is running")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.desk.take().expect("the desk is running").kill();
    }

    /// SIGTERM; it must end by itself and well.
    pub fn stop(&mut self) {
        let status = self.desk.take().expect("the desk is running").stop();
        assert!(status.success(), "serve ended with {status}");
    }

    /// Asks the simulated Stripe's control.
    pub fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) =
            request(&self.stripe.url, method, path, &[], body.to_string().as_bytes())
                .expect("Stripe answers");
        assert_eq!(status, 200, "{method} {path}: {answer}");
        serde_json::from_str(&answer).expect("the control answers JSON")
    }

    /// Purchases of a scenario; their events wait to be posted.
    pub fn buy(&self, scenario: &str, count: usize, shape: &str) -> Vec<Purchase> {
        let asked = json!({"scenario": scenario, "count": count, "shape": shape, "deliver": false});
        let made = self.control("POST", "/_sandbox/trigger", asked);
        made["purchases"].as_array().expect("purchases").iter().map(Purchase::of).collect()
    }

    /// The exact bytes that Stripe would post for an event.
    pub fn body(&self, event: &str) -> Vec<u8> {
        let path = format!("/_sandbox/events/{event}/body");
        let (status, body) =
            request(&self.stripe.url, "GET", &path, &[], b"").expect("Stripe answers");
        assert_eq!(status, 200, "{path}: {body}");
        body.into_bytes()
    }

    /// Posts one of Stripe's events, signed now; the status of the answer.
    pub fn deliver(&self, event: &str) -> u16 {
        self.post(&self.body(event)).expect("the desk answers").0
    }

    /// Posts a body signed now.
    pub fn post(&self, body: &[u8]) -> std::io::Result<(u16, String)> {
        post_signed(&self.desk().url, body, SECRET)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        request(&self.desk().url, "GET", path, &[], b"").expect("the desk answers")
    }

    /// Rows of a query, columns joined by `|` as the shell's list mode does, read beside the
    /// running desk.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.file(), sql)
    }

    /// The one value of a query.
    pub fn one(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// Types a line into the stock shell: standard output, or what it said on standard error.
    pub fn shell(&self, sql: &str) -> Result<String, String> {
        shell(&self.file(), sql)
    }

    /// Waits until no event is pending.
    pub fn settle(&self) {
        let pending = "SELECT count(*) FROM events WHERE state = 'pending'";
        wait_for("every event is concluded", || (self.one(pending) == "0").then_some(()));
    }

    /// What must hold of every file at every moment that a test can look at it.
    pub fn check(&self) {
        together(|| self.check_rows());
    }

    fn check_rows(&self) {
        assert_eq!(self.rows("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(self.rows("PRAGMA foreign_key_check"), [""; 0]);
        for (what, sql) in [
            (
                "every sale has its lines in fulfillments, and no line more than was bought",
                "SELECT b.* FROM line_item_balance b JOIN orders o ON o.id = b.order_id
                 WHERE b.pending <> CASE WHEN o.payment_status IN('paid', 'no_payment_required')
                 AND o.canceled_at IS NULL
                   THEN b.left_to_send ELSE 0 END OR b.left_to_send < 0",
            ),
            (
                "at most one pending fulfillment of a kind until somebody splits it",
                "SELECT order_id, requires_shipping, count(*) FROM fulfillments WHERE status = 'pending'
                 GROUP BY 1, 2 HAVING count(*) > 1",
            ),
            ("a session has one order", "SELECT checkout_session_id FROM orders GROUP BY 1 HAVING count(*) > 1"),
            ("nobody is left named as the author", "SELECT name FROM actor WHERE name <> 'operator'"),
        ] {
            assert_eq!(self.rows(sql), [""; 0], "{what}");
        }
    }
}

/// One purchase in the simulated Stripe.
#[derive(Debug, Clone)]
pub struct Purchase {
    pub session: String,
    /// Ids and types in the order in which Stripe made them.
    pub events: Vec<(String, String)>,
}

impl Purchase {
    pub fn of(value: &Value) -> Purchase {
        let text = |v: &Value| v.as_str().expect("a text").to_string();
        Purchase {
            session: text(&value["session"]),
            events: value["events"]
                .as_array()
                .expect("events")
                .iter()
                .map(|e| (text(&e["id"]), text(&e["type"])))
                .collect(),
        }
    }
}

/// Waits until the closure gives something; fails the test with `what` after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    together(|| {
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

/// The seed of a random test: `FULFILLD_SEED` where one is repeated, else the first. It is printed.
pub fn seed() -> u64 {
    let seed = number_of("FULFILLD_SEED").unwrap_or_else(first_seed);
    println!("FULFILLD_SEED={seed}");
    seed
}

/// Where random tests begin: `FULFILLD_FIRST_SEED`, which `tests/run` makes of the tree that it
/// tests, so that a red run can be run again; else a new number.
fn first_seed() -> u64 {
    number_of("FULFILLD_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40))
}

/// The seeds of so many random rounds, or of as many as the variable says; of one, where that is
/// repeated. Each is printed as it is taken. `FULFILLD_TEST_MINUTES` takes no more of them, but for
/// the first, when so much time is over.
pub fn seeds(variable: &str, count: u64) -> impl Iterator<Item = u64> {
    let again = number_of("FULFILLD_SEED");
    let count = if again.is_some() { 1 } else { number_of(variable).unwrap_or(count) };
    let first = again.unwrap_or_else(first_seed);
    let minutes = number_of("FULFILLD_TEST_MINUTES");
    let (began, limit) = (Instant::now(), minutes.map(|n| Duration::from_secs(60 * n)));
    (0..count)
        .take_while(move |n| *n == 0 || limit.is_none_or(|limit| began.elapsed() < limit))
        .map(move |n| first + n)
        .inspect(|seed| println!("FULFILLD_SEED={seed}"))
}

/// A variable that makes a test do more.
pub fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// `Stripe-Signature` for a body, made at the unix second `t`.
pub fn sign(body: &[u8], secret: &str, t: u64) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{t}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={t},v1={hex}")
}

/// The variables by which a process lives on the clock of this one, where that is not the machine's
/// (tests/ahead).
pub fn clock() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name == "LD_PRELOAD" || name.contains("FAKE"))
}

/// The present unix second.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Posts a body to the webhook, signed now.
pub fn post_signed(url: &str, body: &[u8], secret: &str) -> std::io::Result<(u16, String)> {
    let signature = sign(body, secret, unix_now());
    let headers = [
        ("Stripe-Signature", signature.as_str()),
        ("Content-Type", "application/json; charset=utf-8"),
    ];
    request(url, "POST", "/webhook", &headers, body)
}

/// One HTTP request on a connection of its own: the status and the body. An answer that is cut off
/// is an error.
pub fn request(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse_answer(&answer).ok_or_else(|| std::io::Error::other("the answer was cut off"))
}

/// Status and body of a whole answer with a Content-Length.
pub fn parse_answer(answer: &[u8]) -> Option<(u16, String)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let body = answer.get(end..end + length)?;
    Some((status, String::from_utf8_lossy(body).into_owned()))
}

/// Types a line into the stock `sqlite3` shell, as an operator would.
pub fn shell(file: &std::path::Path, sql: &str) -> Result<String, String> {
    let out = Command::new("sqlite3")
        .args(["-cmd", ".timeout 5000"])
        .arg(file)
        .arg(sql)
        .output()
        .expect("sqlite3 is installed (tests/setup)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
}
