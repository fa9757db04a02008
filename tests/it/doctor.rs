//! `fulfilld doctor`: every broken set-up gives its own finding with a remedy, and a healthy shop
//! none.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::outside::{Process, free_address};
use crate::shop::{self, Running, SECRET, Shop, fulfilld, post_signed, request, sign, unix_now};

const KEY: &str = "rk_test_of_the_shop";

/// A shop in which everything is as it should be, until something is done to it.
struct Clinic {
    shop: Shop,
    /// What `fulfilld doctor` is started with.
    env: BTreeMap<String, String>,
    args: Vec<String>,
    /// What has to live until the end.
    open: Vec<Box<dyn std::any::Any>>,
}

/// The kernel's clock, which dates a file, need not be the shop's (tests/ahead).
fn made_now(file: &Path) {
    std::fs::File::open(file).unwrap().set_modified(SystemTime::now()).unwrap();
}

impl Clinic {
    fn healthy() -> Clinic {
        let shop = Shop::open();
        let backup = shop.dir.path().join("shop.db.backup-today");
        std::fs::write(&backup, "SQLite format 3\0").unwrap();
        made_now(&backup);
        chmod(&backup, 0o600);
        let address = shop.desk().url.trim_start_matches("http://").to_string();
        let env = BTreeMap::from([
            ("FULFILLD_DB".into(), shop.file().display().to_string()),
            ("FULFILLD_LISTEN".into(), address.clone()),
            ("FULFILLD_PUBLIC_URL".into(), String::new()),
            ("FULFILLD_STRIPE_API".into(), shop.stripe.url.clone()),
            ("STRIPE_SECRET_KEY".into(), KEY.into()),
            ("WEBHOOK_SECRET".into(), SECRET.into()),
        ]);
        let mut clinic = Clinic { shop, env, args: Vec::new(), open: Vec::new() };
        clinic.public(&format!("http://{address}/webhook"));
        clinic
    }

    fn set(&mut self, name: &str, value: impl ToString) {
        self.env.insert(name.into(), value.to_string());
    }

    fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// A file of that text and mode, in the shop's directory.
    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.shop.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        chmod(&path, mode);
        path
    }

    /// Stripe posts to that URL, and the shop knows.
    fn public(&mut self, url: &str) {
        self.set("FULFILLD_PUBLIC_URL", url);
        self.endpoint(json!({}));
    }

    /// Stripe's endpoint for the public URL, usual but for what is said.
    fn endpoint(&self, odd: Value) {
        self.shop.control("POST", "/_sandbox/endpoint", self.endpoint_of(odd));
    }

    fn endpoint_of(&self, odd: Value) -> Value {
        let mut endpoint = json!({"url": self.env["FULFILLD_PUBLIC_URL"]});
        endpoint.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        endpoint
    }

    fn fault(&self, endpoint: &str, kind: &str, status: u16) {
        let fault = json!({"endpoint": endpoint, "kind": kind, "status": status});
        self.shop.control("POST", "/_sandbox/faults", fault);
    }

    /// Somebody who listens somewhere else, for as long as the clinic is open; its address.
    fn stranger(
        &mut self,
        answer: impl Fn(&str, u64) -> (u16, String) + Send + Sync + 'static,
    ) -> String {
        let stranger = Stranger::listen(answer);
        let address = stranger.address.clone();
        self.open.push(Box::new(stranger));
        address
    }

    /// fulfilld as the unit starts it, which waits because its signing secret is wrong.
    fn waits(&mut self) {
        self.shop.stop();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        self.set("FULFILLD_LISTEN", address);
        let runtime = tempfile::TempDir::new().unwrap();
        let start = || {
            let mut serve = crate::restarts::handed_over(&self.shop);
            serve.env("WEBHOOK_SECRET", "rk_test_1").env("NOTIFY_SOCKET", "/nowhere");
            serve.env("RUNTIME_DIRECTORY", runtime.path()).stderr(std::process::Stdio::null());
            serve.stdin(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
            Process(serve.spawn().unwrap())
        };
        let first = start();
        shop::wait_for("it has said why", || runtime.path().join("refused").exists().then_some(()));
        drop(first);
        // The next one has nothing new to say, and waits for minutes.
        self.open.push(Box::new(start()));
        let url = format!("http://{address}");
        shop::wait_for("it answers", || request(&url, "GET", "/readyz", &[], b"").ok());
        self.open.push(Box::new(runtime));
    }

    /// Somebody who passes for the running fulfilld and is the public URL as well.
    fn pretender(&mut self, page: &'static str, ready: &'static str) {
        let address = self.stranger(move |path, asked| match path {
            "/metrics" => (
                200,
                format!(
                    "fulfilld_uptime_seconds 7200\n{page}\n\
                fulfilld_webhook_refused_total{{cause=\"no_header\"}} {asked}\n"
                ),
            ),
            "/readyz" if ready.is_empty() => (200, "ready".into()),
            "/readyz" => (503, ready.into()),
            _ => (400, "Webhook Error: the event has no id".into()),
        });
        self.set("FULFILLD_LISTEN", &address);
        self.public(&format!("http://{address}/webhook"));
    }

    /// Another connection to the file, past the triggers that keep the operator from it.
    fn sql(&self, sql: &str) {
        let c = Connection::open(self.shop.file()).unwrap();
        c.busy_timeout(Duration::from_secs(10)).unwrap();
        c.execute_batch(&format!(
            "BEGIN IMMEDIATE; UPDATE actor SET name = 'stripe:evt_1'; {sql}; \
            UPDATE actor SET name = 'operator'; COMMIT;"
        ))
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = fulfilld();
        command
            .arg("doctor")
            .args(args)
            .args(&self.args)
            .env("FULFILLD_LOG", "error")
            .envs(&self.env);
        command.args(["--etc", "/nowhere"]).current_dir(self.shop.dir.path());
        command.output().unwrap()
    }

    /// What is found, and the exit code.
    fn findings(&self) -> (Vec<Value>, Option<i32>) {
        let output = self.run(&["--json"]);
        let said = String::from_utf8(output.stdout).unwrap();
        let seen = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        for secret in [KEY, SECRET, "sk_test_all", "hush"] {
            assert!(!seen.contains(secret), "a secret is printed: {seen}");
        }
        (
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            output.status.code(),
        )
    }
}

/// A server that answers whatever a test says, by the path and how many posts came before.
struct Stranger {
    address: String,
}

impl Stranger {
    fn listen(answer: impl Fn(&str, u64) -> (u16, String) + Send + Sync + 'static) -> Stranger {
        let posts = AtomicU64::new(0);
        Stranger::speak(move |asked| {
            let is_post = asked.starts_with(b"POST");
            let before = posts.fetch_add(u64::from(is_post), Ordering::SeqCst);
            let asked = String::from_utf8_lossy(asked);
            let (status, body) = answer(asked.split(' ').nth(1).unwrap_or_default(), before);
            let location = match status {
                300..400 => format!("Location: {body}\r\n"),
                _ => String::new(),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} \r\n{location}Content-Length: {length}\r\n");
            format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
        })
    }

    /// Answers each request, head and body, with these bytes.
    fn speak(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Stranger {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut asked = Vec::new();
                let mut chunk = [0; 4096];
                while !is_whole(&asked) {
                    match stream.read(&mut chunk) {
                        Ok(n) if n > 0 => asked.extend_from_slice(&chunk[..n]),
                        _ => break,
                    }
                }
                let _ = stream.write_all(&answer(&asked));
            }
        });
        Stranger { address }
    }
}

/// True once a request's head is there, and a body as long as the head says.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:").and_then(|n| n.trim().parse::<usize>().ok())
    });
    request.len() >= head.len() + 4 + length.unwrap_or(0)
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A port where nobody listens.
fn nobody() -> String {
    free_address().to_string()
}

const NOT_VERIFIED: &str = "we_1NotASecret";

const EVENT: &str = "INSERT INTO events(id, type, object_id, livemode, shape, payload, source, received_at, state, \
    state_reason, attempts, next_attempt_at, processed_at) VALUES ('evt_1', 'checkout.session.completed', 'cs_1', 0, \
    'snapshot', '{}', 'webhook', '2025-03-01T09:00:01Z', ";

/// What is due much later was put off by a wrong clock, and the daemon would take it at once.
const IN_AN_HOUR: &str = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 hours')";

/// An endpoint that sends what is needed and no more.
const USUAL: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "review.opened",
    "review.closed",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
];

/// One thing that is wrong.
type Break = fn(&mut Clinic);

/// The one finding that says what is wrong (where one thing cannot be wrong without another: both),
/// and how it comes about.
const BROKEN: &[(&str, Break)] = &[
    // Settings and secrets.
    ("webhook_secret_missing", |c| c.unset("WEBHOOK_SECRET")),
    ("webhook_secret_blank", |c| c.set("WEBHOOK_SECRET", " \n\n")),
    ("webhook_secret_is_endpoint_id", |c| {
        c.set("WEBHOOK_SECRET", format!("{SECRET}\n{NOT_VERIFIED}"))
    }),
    ("webhook_secret_is_api_key", |c| c.set("WEBHOOK_SECRET", "sk_test_all")),
    ("webhook_secret_malformed", |c| c.set("WEBHOOK_SECRET", "hush")),
    ("webhook_secret_twice", |c| c.set("WEBHOOK_SECRET", format!("{SECRET}\nwhsec_b\n\n{SECRET}"))),
    ("webhook_secret_readable", |c| {
        let file = c.write("secret", SECRET, 0o644);
        c.set("WEBHOOK_SECRET_FILE", file.display());
    }),
    ("webhook_secret_unreadable", |c| c.set("WEBHOOK_SECRET_FILE", "/nowhere/secret")),
    ("key_missing", |c| c.unset("STRIPE_SECRET_KEY")),
    ("key_blank", |c| c.set("STRIPE_SECRET_KEY", " ")),
    ("key_publishable", |c| c.set("STRIPE_SECRET_KEY", "pk_test_hush")),
    ("key_is_signing_secret", |c| c.set("STRIPE_SECRET_KEY", SECRET)),
    ("key_malformed", |c| c.set("STRIPE_SECRET_KEY", "hush")),
    ("key_full_access", |c| c.set("STRIPE_SECRET_KEY", "sk_test_all")),
    ("key_readable", |c| {
        let file = c.write("key", KEY, 0o604);
        c.set("STRIPE_SECRET_KEY_FILE", file.display());
    }),
    ("key_mode_differs", |c| {
        c.set("STRIPE_SECRET_KEY", "rk_live_hush");
        c.unset("FULFILLD_STRIPE_API");
        c.args = vec!["--offline".into()];
    }),
    ("setting_odd", |c| c.set("FULFILLD_WORKERS", 100)),
    ("setting_odd", |c| c.set("FULFILLD_ONLY", "customer=cus_1")),
    ("setting_odd", |c| c.set("FULFILLD_LOG", "loud")),
    ("stripe_api_elsewhere setting_odd", |c| {
        c.set("FULFILLD_STRIPE_RATE", 26);
        c.set("FULFILLD_STRIPE_API", "https://stripe.example.org");
        c.args = vec!["--offline".into()];
    }),
    ("setting_unknown", |c| c.set("FULFILLD_WORKER", 4)),
    ("stripe_api_odd", |c| c.set("FULFILLD_STRIPE_API", "ftp://stripe")),
    ("stripe_api_odd", |c| c.set("FULFILLD_STRIPE_API", format!("{}/v1", c.shop.stripe.url))),
    ("stripe_api_odd", |c| c.set("STRIPE_SECRET_KEY", "rk_live_hush")),
    ("stripe_api_elsewhere", |c| {
        c.set("FULFILLD_STRIPE_API", "https://stripe.example.org");
        c.args = vec!["--offline".into()];
    }),
    ("public_url_missing", |c| c.unset("FULFILLD_PUBLIC_URL")),
    ("public_url_odd", |c| c.set("FULFILLD_PUBLIC_URL", "https://shop.example.org/")),
    ("public_url_odd", |c| c.set("FULFILLD_PUBLIC_URL", "shop.example.org/webhook")),
    ("public_url_not_https", |c| {
        c.public("https://shop.example.org/webhook");
        c.set("FULFILLD_PUBLIC_URL", "http://shop.example.org/webhook");
    }),
    // The key, and Stripe.
    ("key_refused", |c| c.fault("*", "status", 401)),
    ("key_expired", |c| c.set("STRIPE_SECRET_KEY", "rk_test_expired")),
    ("permission_checkout_sessions", |c| c.fault("checkout_sessions", "status", 403)),
    ("permission_line_items", |c| c.fault("checkout_session_line_items", "status", 403)),
    ("permission_payment_intents", |c| c.fault("payment_intents", "status", 403)),
    ("permission_charges_and_refunds", |c| {
        c.fault("charges", "status", 403);
        c.fault("refunds", "status", 403);
    }),
    ("permission_charges_and_refunds", |c| c.fault("refunds", "status", 403)),
    ("permission_disputes", |c| c.fault("disputes", "status", 403)),
    ("permission_radar", |c| c.fault("reviews", "status", 403)),
    ("permission_radar", |c| c.fault("fraud_warnings", "status", 403)),
    ("permission_invoices", |c| c.fault("invoice_payments", "status", 403)),
    ("permission_products", |c| c.fault("products", "status", 403)),
    ("permission_prices", |c| c.fault("prices", "status", 403)),
    ("permission_shipping_rates", |c| c.fault("shipping_rates", "status", 403)),
    ("permission_balance", |c| c.fault("balance", "status", 403)),
    ("permission_events", |c| c.fault("events", "status", 403)),
    ("key_may_too_much", |c| {
        c.fault("payouts", "shrug", 200);
        c.fault("customers", "shrug", 200);
    }),
    ("stripe_unreachable", |c| c.set("FULFILLD_STRIPE_API", format!("http://{}", nobody()))),
    ("stripe_api_elsewhere stripe_no_host", |c| {
        c.set("FULFILLD_STRIPE_API", "http://no-such-host.invalid")
    }),
    ("stripe_tls", |c| c.set("FULFILLD_STRIPE_API", c.shop.stripe.url.replace("http:", "https:"))),
    ("stripe_garbage", |c| c.fault("*", "html", 200)),
    ("stripe_garbage", |c| c.fault("*", "garbage", 200)),
    ("stripe_garbage", |c| c.fault("disputes", "redirect", 302)),
    ("stripe_fails", |c| c.fault("*", "status", 500)),
    ("stripe_fails", |c| c.fault("refunds", "status", 429)),
    ("clock_off", |c| drop(c.shop.control("POST", "/_sandbox/clock", json!({"skew_s": 90})))),
    ("clock_off", |c| drop(c.shop.control("POST", "/_sandbox/clock", json!({"skew_s": -90})))),
    // The endpoint.
    ("endpoint_missing", |c| drop(c.shop.control("POST", "/_sandbox/endpoint", Value::Null))),
    ("endpoint_missing", |c| c.endpoint(json!({"url": "https://shop.example.org/webhook"}))),
    ("endpoint_disabled", |c| c.endpoint(json!({"status": "disabled"}))),
    ("endpoint_disabled", |c| c.endpoint(json!({"status": "disabled", "payload": "thin"}))),
    ("endpoint_twice", |c| {
        let two = json!([c.endpoint_of(json!({})), c.endpoint_of(json!({}))]);
        c.shop.control("POST", "/_sandbox/endpoint", two);
    }),
    ("endpoint_both_shapes", |c| c.endpoint(json!({"payload": "both"}))),
    ("endpoint_events_missing", |c| {
        c.endpoint(json!({"enabled_events": ["checkout.session.completed"]}))
    }),
    ("endpoint_events_missing", |c| {
        c.endpoint(
            json!({"payload": "thin", "enabled_events": ["v1.checkout.session.completed", "v1.refund.created"]}),
        );
    }),
    ("endpoint_held_money", |c| {
        c.sql(
            "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
               payment_status, currency, amount_total,
               capture_method, created_at, as_of) VALUES('cs_9', 'pi_9', 0, 'payment', 'unpaid',
               'eur', 0, 'manual', '2026-01-01T00:00:00Z', '1')",
        );
        c.endpoint(json!({"enabled_events": USUAL}));
    }),
    ("endpoint_transfers", |c| {
        c.sql(
            "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
               payment_status, currency, amount_total,
               amount_awaited, created_at, as_of) VALUES('cs_9', 'pi_9', 0, 'payment', 'unpaid',
               'eur', 900, 400, '2026-01-01T00:00:00Z', '1')",
        );
        c.endpoint(json!({"enabled_events": USUAL}));
    }),
    ("endpoint_all_events", |c| c.endpoint(json!({"enabled_events": ["*"]}))),
    ("endpoint_version_old", |c| c.endpoint(json!({"api_version": "2017-08-15"}))),
    ("endpoint_mode_differs", |c| c.endpoint(json!({"livemode": true}))),
    ("public_url_missing endpoint_not_https", |c| {
        c.public("http://shop.example.org/webhook");
        c.unset("FULFILLD_PUBLIC_URL");
    }),
    ("endpoints_not_listed", |c| {
        c.fault("webhook_endpoints", "status", 403);
        c.fault("event_destinations", "status", 403);
    }),
    // What is hidden in one list does not matter where the endpoint stands in the other.
    ("endpoint_disabled", |c| {
        c.endpoint(json!({"status": "disabled"}));
        c.fault("event_destinations", "status", 404);
    }),
    // The public URL.
    ("public_url_redirects", |c| elsewhere(c, 301, "https://shop.example.org/webhook/")),
    ("public_url_redirects", |c| elsewhere(c, 302, "/login")),
    ("public_url_redirects", |c| elsewhere(c, 308, "https://www.shop.example.org/webhook")),
    ("public_url_not_found", |c| elsewhere(c, 404, "nothing here")),
    ("public_url_bad_gateway", |c| elsewhere(c, 502, "Bad Gateway")),
    ("public_url_bad_gateway", |c| elsewhere(c, 504, "Gateway Time-out")),
    ("public_url_forbidden", |c| elsewhere(c, 403, "no")),
    ("public_url_challenge", |c| {
        let page = "HTTP/1.1 403 \r\ncf-mitigated: challenge\r\nContent-Length: 0\r\n\r\n";
        let stranger = Stranger::speak(|_| page.as_bytes().to_vec());
        c.public(&format!("http://{}/webhook", stranger.address));
    }),
    ("public_url_password", |c| elsewhere(c, 401, "who are you?")),
    ("public_url_too_small", |c| elsewhere(c, 413, "too large")),
    ("public_url_fails", |c| elsewhere(c, 500, "Internal Server Error")),
    ("public_url_header_lost", |c| {
        between(c, |head, body| {
            let kept = head.lines().filter(|line| !line.to_lowercase().starts_with("stripe-sig"));
            (kept.map(|line| format!("{line}\r\n")).collect(), body.to_vec())
        });
    }),
    ("public_url_body_changed", |c| {
        between(c, |head, body| {
            let read: Value = serde_json::from_slice(body).unwrap();
            (head.to_string(), serde_json::to_vec(&read).unwrap())
        });
    }),
    ("daemon_other_secret", |c| c.set("WEBHOOK_SECRET", "whsec_thenextsecretofthisshop")),
    ("public_url_someone_else", |c| elsewhere(c, 200, "ok")),
    ("public_url_someone_else", |c| elsewhere(c, 400, "Bad Request")),
    ("public_url_other_fulfilld", |c| {
        elsewhere(c, 400, "Webhook Error: there is no Stripe-Signature header")
    }),
    ("public_url_refused", |c| c.public(&format!("http://{}/webhook", nobody()))),
    ("public_url_no_host", |c| c.public("https://no-such-host.invalid/webhook")),
    ("public_url_tls public_url_bad_gateway", |c| {
        let tls = SelfSigned::listen(c.shop.dir.path());
        c.public(&format!("https://127.0.0.1:{}/webhook", tls.port));
        c.open.push(Box::new(tls));
    }),
    // The file.
    ("file_missing", |c| c.set("FULFILLD_DB", c.shop.dir.path().join("none.db").display())),
    ("file_not_a_database", |c| {
        let notes = c.write("notes.db", &"these are somebody's notes\n".repeat(500), 0o660);
        c.write("notes.db.backup", "", 0o600);
        c.set("FULFILLD_DB", notes.display());
    }),
    ("file_newer", |c| {
        // The running desk would put it back in its next transaction.
        let held = Connection::open(c.shop.file()).unwrap();
        held.execute_batch("PRAGMA user_version = 99; BEGIN IMMEDIATE").unwrap();
        c.open.push(Box::new(held));
    }),
    ("file_readable", |c| chmod(&c.shop.file(), 0o664)),
    ("file_mode", |c| {
        chmod(c.shop.dir.path(), 0o2770);
        chmod(&c.shop.file(), 0o640);
    }),
    ("directory_open", |c| chmod(c.shop.dir.path(), 0o777)),
    ("directory_not_setgid", |c| chmod(c.shop.dir.path(), 0o770)),
    ("file_hard_links", |c| {
        std::fs::hard_link(c.shop.file(), c.shop.dir.path().join("second.db")).unwrap()
    }),
    ("wal_large", |c| {
        // A reader that stays open: without one the running fulfilld cuts the log back.
        let reader = Connection::open(c.shop.file()).unwrap();
        reader
            .execute_batch("UPDATE actor SET name = 'operator'; BEGIN; SELECT count(*) FROM actor;")
            .unwrap();
        c.open.push(Box::new(reader));
        let log = std::fs::OpenOptions::new()
            .append(true)
            .open(c.shop.dir.path().join("shop.db-wal"))
            .unwrap();
        log.set_len(65 << 20).unwrap();
    }),
    ("file_own_rules", |c| {
        c.sql("CREATE TRIGGER mine AFTER INSERT ON orders BEGIN SELECT 1; END");
    }),
    ("file_locked", |c| {
        let shell = Connection::open(c.shop.file()).unwrap();
        shell.busy_timeout(Duration::from_secs(10)).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        c.open.push(Box::new(shell));
    }),
    ("file_damaged", |c| {
        let shell = Connection::open(c.shop.file()).unwrap();
        shell.busy_timeout(Duration::from_secs(10)).unwrap();
        shell.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        // A page that the running desk does not read where nothing is sold.
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'events_thin'";
        let page: i64 = shell.query_row(sql, [], |row| row.get(0)).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(c.shop.file()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], (page as u64 - 1) * 4096)
            .unwrap();
    }),
    ("events_waiting", |c| c.sql(&format!("{EVENT} 'pending', 'x', 7, {IN_AN_HOUR}, NULL)"))),
    ("key_full_access events_waiting", |c| {
        c.set("STRIPE_SECRET_KEY", "sk_test_all");
        c.sql(&format!("{EVENT} 'pending', 'x', 7, {IN_AN_HOUR}, NULL)"));
    }),
    ("endpoint_all_events alarm_silence", |c| {
        c.endpoint(json!({"enabled_events": ["*"]}));
        alarm(c, "silence");
    }),
    ("endpoint_disabled", |c| {
        c.endpoint(json!({"status": "disabled"}));
        alarm(c, "silence");
    }),
    ("events_failed", |c| {
        c.sql(&format!("{EVENT} 'failed', 'x', 7, NULL, '2025-03-01T09:00:01Z')"))
    }),
    ("backup_missing", |c| {
        std::fs::remove_file(c.shop.dir.path().join("shop.db.backup-today")).unwrap()
    }),
    ("backup_missing", |c| {
        let backup = std::fs::File::open(c.shop.dir.path().join("shop.db.backup-today")).unwrap();
        backup.set_modified(SystemTime::now() - Duration::from_secs(8 * 24 * 3600)).unwrap();
    }),
    ("backup_missing", |c| {
        let backup = c.shop.dir.path().join("shop.db.backup-today");
        std::fs::write(backup, "a note about the backup").unwrap();
    }),
    ("litestream_stopped", |c| {
        let state = c.shop.dir.path().join(".shop.db-litestream/ltx/0");
        std::fs::create_dir_all(state).unwrap();
    }),
    ("litestream_old litestream_stopped", |c| {
        let state = c.shop.dir.path().join(".shop.db-litestream/ltx/0");
        std::fs::create_dir_all(state).unwrap();
        c.write("litestream", "#!/bin/sh\necho v0.5.16\n", 0o755);
        c.set("PATH", format!("{}:/usr/bin:/bin", c.shop.dir.path().display()));
    }),
    ("backup_readable", |c| chmod(&c.shop.dir.path().join("shop.db.backup-today"), 0o644)),
    ("shell_missing", |c| c.set("PATH", "/nowhere")),
    ("shell_old", |c| {
        c.write("sqlite3", "#!/bin/sh\necho '3.31.1 2020-01-27 19:55:54'\n", 0o755);
        c.set("PATH", format!("{}:/usr/bin:/bin", c.shop.dir.path().display()));
    }),
    // The running fulfilld.
    ("daemon_not_running", |c| c.shop.stop()),
    ("daemon_waits", Clinic::waits),
    ("daemon_silent", |c| c.set("FULFILLD_LISTEN", nobody())),
    ("listen_taken", |c| {
        let other = c.stranger(|_, _| (200, "<h1>It works!</h1>".into()));
        c.set("FULFILLD_LISTEN", other);
    }),
    ("daemon_other_file", |c| {
        let mut other = Shop::open();
        other.stop();
        let backup = other.dir.path().join("shop.db.backup");
        std::fs::copy(c.shop.dir.path().join("shop.db.backup-today"), &backup).unwrap();
        made_now(&backup);
        c.set("FULFILLD_DB", other.file().display());
        c.open.push(Box::new(other));
    }),
    ("daemon_version", |c| c.pretender("fulfilld_build_info{version=\"0.0.1\"} 1", "")),
    ("daemon_version", |c| c.pretender("", "")),
    // What was found here and now is not said twice, and what an older or newer fulfilld calls
    // something is.
    ("daemon_not_ready", |c| c.pretender(BUILD, "something_new: the moon is full")),
    ("daemon_not_ready", |c| c.pretender(BUILD, "disk_full: disk full for 3 s: free some space")),
    ("alarm_silence", |c| alarm(c, "silence")),
    ("alarm_key_refused", |c| alarm(c, "key_refused")),
    ("signatures_do_not_match", |c| {
        assert_eq!(
            post_signed(&c.shop.desk().url, b"{\"id\":\"evt_1\"}", "whsec_other").unwrap().0,
            400
        );
    }),
    ("signatures_sometimes_wrong", |c| {
        let event = c.shop.buy("card", 1, "snapshot").remove(0).events.pop().unwrap().0;
        assert_eq!(c.shop.deliver(&event), 200);
        c.shop.settle();
        assert_eq!(
            post_signed(&c.shop.desk().url, b"{\"id\":\"evt_1\"}", "whsec_other").unwrap().0,
            400
        );
    }),
    ("signatures_too_old", |c| {
        let signature = sign(b"{}", SECRET, unix_now() - 1000);
        let headers = [("Stripe-Signature", signature.as_str())];
        assert_eq!(
            request(&c.shop.desk().url, "POST", "/webhook", &headers, b"{}").unwrap().0,
            400
        );
    }),
    ("secret_can_go", |c| {
        c.pretender(
            "fulfilld_build_info{version=\"0.1.0\"} 1\nfulfilld_webhook_secrets 2\n\
             fulfilld_webhook_secret_verified_total{secret=\"1\"} \
             3\nfulfilld_webhook_secret_verified_total{secret=\"2\"} 2\n\
             fulfilld_webhook_secret_needed_total{secret=\"1\"} 1",
            "",
        );
    }),
    // Hooks.
    ("hook_command_missing", |c| c.set("FULFILLD_HOOK_COMMAND", "/nowhere/hook")),
    ("hook_command_not_executable", |c| {
        let hook = c.write("hook", "#!/bin/sh\n", 0o640);
        c.set("FULFILLD_HOOK_COMMAND", hook.display());
    }),
    ("hook_command_cannot_start", |c| {
        let hook = c.write("hook", "#!/nowhere/python3\n", 0o755);
        c.set("FULFILLD_HOOK_COMMAND", hook.display());
    }),
    ("hook_command_cannot_start", |c| {
        let hook = c.write("hook", "#!/bin/sh\r\nexit 0\r\n", 0o755);
        c.set("FULFILLD_HOOK_COMMAND", hook.display());
    }),
    ("hook_setting_odd", |c| {
        c.set("FULFILLD_HOOK_URL", "http://erp.example.org/hook");
        c.set("FULFILLD_HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }),
    ("hook_setting_odd", |c| c.set("FULFILLD_HOOK_URL", "https://erp.example.org/hook")),
    ("hook_setting_odd", |c| {
        c.set("FULFILLD_HOOK_URL", "http://127.0.0.1:9/hook");
        c.set("FULFILLD_HOOK_SECRET", "hush");
    }),
    ("hooks_dead", |c| {
        c.sql("INSERT INTO outbox(topic, key, state, last_error) VALUES ('order.paid', 'k', 'dead', 'exit code 1')");
    }),
];

const BUILD: &str = concat!("fulfilld_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");

/// A proxy whose certificate nobody has signed but itself, and which reaches nobody.
struct SelfSigned {
    server: std::process::Child,
    port: String,
}

impl SelfSigned {
    fn listen(dir: &Path) -> SelfSigned {
        let line = "req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=127.0.0.1";
        let mut openssl = std::process::Command::new("openssl");
        let made = openssl.args(line.split(' ')).current_dir(dir).output();
        assert!(made.expect("openssl is installed").status.success());
        let mut python = std::process::Command::new("python3");
        python.args(["-c", BAD_GATEWAY]).current_dir(dir).stdout(std::process::Stdio::piped());
        let mut server = python.stderr(std::process::Stdio::null()).spawn().expect("python3");
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        SelfSigned { server, port: port.trim().into() }
    }
}

const BAD_GATEWAY: &str = r#"
import http.server, ssl
class Proxy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(502)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("tls.crt", "tls.key")
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

impl Drop for SelfSigned {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A proxy in front of fulfilld that changes the head or the body of what it hands on.
fn between(c: &mut Clinic, change: fn(&str, &[u8]) -> (String, Vec<u8>)) {
    let desk = c.shop.desk().url.trim_start_matches("http://").to_string();
    let proxy = Stranger::speak(move |asked| {
        let end = asked.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 2;
        let (head, body) = change(std::str::from_utf8(&asked[..end]).unwrap(), &asked[end + 2..]);
        let kept = head.lines().filter(|line| !line.to_lowercase().starts_with("content-length"));
        let mut sent: Vec<u8> = kept.flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        sent.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        sent.extend(body);
        let mut desk = std::net::TcpStream::connect(&desk).unwrap();
        desk.write_all(&sent).unwrap();
        let mut answer = Vec::new();
        desk.read_to_end(&mut answer).unwrap();
        answer
    });
    c.public(&format!("http://{}/webhook", proxy.address));
}

/// The public URL leads to somebody who answers so.
fn elsewhere(c: &mut Clinic, status: u16, body: &'static str) {
    let address = c.stranger(move |_, _| (status, body.into()));
    c.public(&format!("http://{address}/webhook"));
}

fn alarm(c: &mut Clinic, name: &str) {
    c.sql(&format!(
        "INSERT INTO alarms VALUES ('{name}', 'something is the matter', 'see to it', '2026-01-01T00:00:00Z', '')"
    ));
}

/// Nothing else than this, and the exit code that belongs to it.
fn assert_found(name: &str, clinic: &Clinic, expected: &[&str]) {
    let (findings, code) = clinic.findings();
    let ids: Vec<&str> = findings.iter().map(|f| f["id"].as_str().unwrap()).collect();
    assert_eq!(ids, expected, "{name}: {findings:#?}");
    for finding in &findings {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "level", "remedy", "subject", "what", "why"]);
        assert!(
            keys.iter().all(|key| finding[*key].as_str().is_some_and(|text| !text.is_empty())),
            "{finding}"
        );
    }
    let failed = findings.iter().any(|f| f["level"] == "problem");
    assert_eq!(code, Some(i32::from(failed)), "{name}");
}

#[test]
fn every_broken_set_up_gives_its_own_finding_and_no_other() {
    let next = AtomicU64::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((id, how)) = BROKEN.get(next.fetch_add(1, Ordering::SeqCst) as usize)
                {
                    let tried = std::panic::catch_unwind(|| {
                        let mut clinic = Clinic::healthy();
                        how(&mut clinic);
                        assert_found(id, &clinic, &Vec::from_iter(id.split(' ')));
                    });
                    if tried.is_err() {
                        failures.lock().unwrap().push(*id);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}: {failures:?}", failures.len(), BROKEN.len());
}

#[test]
fn a_healthy_shop_gives_no_finding_and_costs_few_requests() {
    let clinic = Clinic::healthy();
    assert_found("healthy", &clinic, &[]);
    let asked = clinic.shop.control("GET", "/_sandbox/stats", json!({}));
    let count: u64 = asked["requests"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|codes| codes.as_object().unwrap().values())
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(count, 18, "{asked}");
    let output = clinic.run(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    // Of the shell's version it says something where that is an old one.
    let said: String =
        said.split_inclusive('\n').filter(|line| !line.starts_with("  - sqlite3 ")).collect();
    assert!(
        output.status.success() && said.contains("  ✓ ") && said.ends_with("\nNothing to fix.\n"),
        "{said}"
    );
    assert!(!said.contains('✗') && !said.contains('!'), "{said}");
    // The document shows these very lines.
    let shown = said
        .replace(&clinic.env["FULFILLD_PUBLIC_URL"], "https://shop.example.org/webhook")
        .replace(&clinic.env["FULFILLD_DB"], "/var/lib/fulfilld/fulfilld.db")
        .replace(&clinic.env["FULFILLD_LISTEN"], "127.0.0.1:4242")
        .replace("settings of this environment", "settings of the service in /etc/fulfilld")
        .replace("test key", "live key");
    let backup = "fulfilld.db.backup-today";
    let ago = shown.lines().find(|line| line.ends_with(backup)).expect("a backup is shown");
    let shown = shown.replace(
        ago,
        "  ✓ the newest backup is of 7 hours ago: \
         /var/lib/fulfilld/backups/fulfilld.db.backup-20261128T031502Z",
    );
    let document = crate::outside::shipped("docs/operations.md");
    assert!(document.contains(&format!("```\n{shown}```\n")), "{shown}");
    clinic.endpoint(json!({"payload": "thin"}));
    assert_found("thin", &clinic, &[]);
    chmod(clinic.shop.dir.path(), 0o1777);
    assert_found("in a directory like /tmp", &clinic, &[]);
    chmod(clinic.shop.dir.path(), 0o2770);
    assert_found("in the unit's own directory", &clinic, &[]);
    let purchase = clinic.shop.buy("card", 1, "snapshot").remove(0);
    for (event, _) in &purchase.events {
        assert_eq!(clinic.shop.deliver(event), 200);
    }
    clinic.shop.settle();
    assert_found("with an order", &clinic, &[]);
}

#[test]
fn several_things_are_found_at_once_and_offline_sends_no_request() {
    let mut clinic = Clinic::healthy();
    clinic.set("WEBHOOK_SECRET", "we_1\nhush");
    clinic.set("STRIPE_SECRET_KEY", "pk_test_hush");
    clinic.set("FULFILLD_WORKERS", "many");
    chmod(&clinic.shop.file(), 0o666);
    let expected = [
        "setting_odd",
        "key_publishable",
        "webhook_secret_is_endpoint_id",
        "webhook_secret_malformed",
        "file_readable",
    ];
    assert_found("several", &clinic, &expected);
    let output = clinic.run(&[]);
    let (said, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(said.matches("  ✗ ").count(), 5, "{said}");
    assert_eq!(said.matches("      → ").count(), 5, "{said}");
    assert_eq!(errors, "fulfilld: doctor found 5 things to fix (✗)\n");

    let mut clinic = Clinic::healthy();
    clinic.fault("*", "status", 401);
    clinic.args = vec!["--offline".into()];
    assert_found("offline", &clinic, &[]);
    let asked = clinic.shop.control("GET", "/_sandbox/stats", json!({}));
    assert_eq!(asked["requests"], json!({}), "{asked}");
}

#[test]
fn nothing_is_written_even_where_a_log_was_left_behind() {
    let stops: [fn(&mut Shop); 2] = [Shop::stop, Shop::kill];
    for stop in stops {
        let mut clinic = Clinic::healthy();
        let purchase = clinic.shop.buy("card", 1, "snapshot").remove(0);
        assert_eq!(clinic.shop.deliver(&purchase.events[0].0), 200);
        clinic.shop.settle();
        stop(&mut clinic.shop);
        let contents = || -> BTreeMap<PathBuf, Vec<u8>> {
            let all = std::fs::read_dir(clinic.shop.dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().path());
            // SQLite's index of the log is nobody's data.
            let kept = all.filter(|path| !path.to_string_lossy().ends_with("-shm"));
            kept.map(|path| (path.clone(), std::fs::read(path).unwrap()))
                .filter(|(_, bytes)| !bytes.is_empty())
                .collect()
        };
        let before = contents();
        assert_found("stopped", &clinic, &["daemon_not_running"]);
        assert!(contents() == before, "a file was changed");
    }
}

#[test]
fn the_service_s_settings_are_found_where_the_unit_has_them() {
    let clinic = Clinic::healthy();
    let etc = clinic.shop.dir.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let in_etc = |name: &str, text: &str, mode: u32| {
        std::fs::write(etc.join(name), text).unwrap();
        chmod(&etc.join(name), mode);
    };
    let listed = |name: &str| format!("{name}=\"{}\"\n", clinic.env[name]);
    let env = ["FULFILLD_DB", "FULFILLD_LISTEN", "FULFILLD_PUBLIC_URL", "FULFILLD_STRIPE_API"]
        .map(listed)
        .concat();
    in_etc("fulfilld.env", &format!("# the shop\n#FULFILLD_WORKERS=many\n{env}"), 0o640);
    in_etc("stripe_secret_key", &format!("{KEY}\n"), 0o600);
    in_etc("webhook_secret", &format!("{SECRET}\n"), 0o600);
    let run = || {
        let output = fulfilld().args(["doctor", "--json", "--etc"]).arg(&etc).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), "");
    in_etc("webhook_secret", NOT_VERIFIED, 0o600);
    assert!(run().contains("webhook_secret_is_endpoint_id"));
    std::fs::remove_file(etc.join("webhook_secret")).unwrap();
    assert!(run().contains("webhook_secret_missing"));
}

#[test]
fn what_only_root_can_break_is_found_too() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be given away");
        return;
    }
    let clinic = Clinic::healthy();
    let log = clinic.shop.dir.path().join("shop.db-wal");
    std::os::unix::fs::chown(&log, Some(65534), Some(65534)).unwrap();
    assert_found("a log of somebody else's", &clinic, &["file_companion_owner"]);
    std::os::unix::fs::chown(&log, Some(65534), Some(0)).unwrap();
    assert_found("a log that an operator of the group made", &clinic, &[]);

    let clinic = Clinic::healthy();
    std::os::unix::fs::chown(clinic.shop.dir.path(), None, Some(65534)).unwrap();
    chmod(clinic.shop.dir.path(), 0o2770);
    assert_found("a file of another group", &clinic, &["file_group"]);

    let clinic = Clinic::healthy();
    std::os::unix::fs::chown(clinic.shop.dir.path(), Some(65534), Some(65534)).unwrap();
    chmod(clinic.shop.dir.path(), 0o2770);
    chmod(&clinic.shop.file(), 0o600);
    assert_found("a file that root put there", &clinic, &["file_owner"]);
}

#[test]
fn an_operator_who_may_not_read_the_service_s_settings_is_advised_to_use_sudo() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nobody else can be played");
        return;
    }
    let clinic = Clinic::healthy();
    let dir = clinic.shop.dir.path();
    let (etc, program) = (dir.join("etc"), dir.join("fulfilld"));
    std::fs::copy(env!("CARGO_BIN_EXE_fulfilld"), &program).unwrap();
    std::fs::create_dir(&etc).unwrap();
    clinic.write("etc/fulfilld.env", "FULFILLD_WORKERS=many\n", 0o640);
    chmod(dir, 0o755);
    let run = || {
        let mut doctor = std::process::Command::new("setpriv");
        doctor.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        doctor
            .args(["doctor", "--offline", "--json", "--etc"])
            .arg(&etc)
            .env_clear()
            .env("PATH", env!("PATH"));
        let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
        let first: Value = serde_json::from_str(said.lines().next().unwrap_or("{}")).unwrap();
        assert_eq!(
            (&first["id"], &first["remedy"]),
            (&json!("settings_unreadable"), &json!("sudo fulfilld doctor")),
            "{said}"
        );
        assert!(!said.contains("missing\",\"level\":\"problem\",\"subject\":\"settings"), "{said}");
    };
    run();
    std::fs::remove_file(etc.join("fulfilld.env")).unwrap();
    chmod(&etc, 0o700);
    run();
}

#[test]
fn a_disk_with_no_room_to_grow_is_found() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be mounted");
        return;
    }
    let mut clinic = Clinic::healthy();
    clinic.shop.stop();
    let small = clinic.shop.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=50m,mode=0700 tmpfs \"$0\" && (umask 077; \
                  printf 'SQLite format 3\\0' >\"$0/shop.db.backup\"; \
                  touch -d \"@$(date +%s)\" \"$0/shop.db.backup\") && exec \"$1\" serve";
    let mut serve = shop::without_settings("unshare");
    serve.args(["-m", "sh", "-c", script]).arg(&small).arg(env!("CARGO_BIN_EXE_fulfilld"));
    serve
        .envs(clinic.shop.serve().get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("FULFILLD_DB", small.join("shop.db"));
    let desk = Running::start(&mut serve);
    clinic.set("FULFILLD_DB", small.join("shop.db").display());
    clinic.set("FULFILLD_LISTEN", desk.url.trim_start_matches("http://"));
    clinic.public(&format!("{}/webhook", desk.url));
    let mut doctor = shop::without_settings("nsenter");
    doctor
        .args(["-t", &desk.pid().to_string(), "-m"])
        .arg(env!("CARGO_BIN_EXE_fulfilld"))
        .args(["doctor", "--json"]);
    let said = String::from_utf8(doctor.envs(&clinic.env).output().unwrap().stdout).unwrap();
    let ids: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].take())
        .collect();
    assert_eq!(ids, ["disk_nearly_full"], "{said}");
}

#[test]
fn a_hook_on_a_disk_that_runs_nothing_is_named() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be mounted");
        return;
    }
    let clinic = Clinic::healthy();
    let disk = clinic.shop.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o noexec,mode=0700 tmpfs \"$0\" && \
                  printf '#!/bin/sh\\n' >\"$0/hook\" && chmod 755 \"$0/hook\" && \
                  exec \"$1\" doctor --json --offline --etc /nowhere";
    let mut doctor = shop::without_settings("unshare");
    doctor.args(["-m", "sh", "-c", script]).arg(&disk).arg(env!("CARGO_BIN_EXE_fulfilld"));
    doctor.envs(&clinic.env).env("FULFILLD_HOOK_COMMAND", disk.join("hook"));
    let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    let finding: Value = serde_json::from_str(said.trim()).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(finding["id"], "hook_command_cannot_start", "{said}");
    assert!(finding["what"].as_str().unwrap().contains("(noexec); put it into"), "{said}");
}

#[test]
fn whoever_holds_the_lock_is_named() {
    let clinic = Clinic::healthy();
    let mut shell = std::process::Command::new("sqlite3");
    shell.arg(clinic.shop.file()).stdin(std::process::Stdio::piped());
    let mut shell = shell.spawn().expect("sqlite3 is installed (tests/setup)");
    shell.stdin.as_mut().unwrap().write_all(b".timeout 5000\nBEGIN IMMEDIATE;\n").unwrap();
    let locked = shop::wait_for("the shell holds the lock, and is named", || {
        clinic.findings().0.into_iter().find(|finding| finding["id"] == "file_locked")
    });
    assert!(
        locked["remedy"].as_str().unwrap().contains(&format!("sqlite3 (process {})", shell.id())),
        "{locked}"
    );
    shell.kill().unwrap();
    shell.wait().unwrap();
}
