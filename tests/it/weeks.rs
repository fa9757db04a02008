//! Random weeks of a shop: whatever happens at Stripe, on the way and on the machine, in the end
//! the file says what Stripe says.
//!
//! Sales, refunds, disputes, reviews and warnings; events that are lost, never made, repeated, in
//! any order and shape; kills and stops; a Stripe that fails in every way; a clock that is set
//! forth and back under the daemon; an operator at the stock shell; a backup put back in the
//! middle. Then everything is left alone, and the file is compared with the simulated Stripe's own
//! lists, and by `fulfilld reconcile`.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::arrivals::SCENARIOS;
use crate::lives::LIVES;
use crate::proof;
use crate::shop::{Running, Shop, fulfilld, request, rows, seeds, shell};

/// Things that happen in a week.
const HAPPENINGS: usize = 90;

/// So many weeks are lived at once; each waits most of the time.
const AT_ONCE: usize = 3;

/// After a week is over, what it left is put right within this time: the longest pauses of what
/// failed are 40 s. A control does not wait so long: most weeks are over in a few seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const CAUGHT_WITHIN: Duration = Duration::from_secs(20);

/// So many times as long at most, while something still changes.
const MOVES_MAX: u32 = 5;

/// Within a signature's age the webhooks are still accepted; beyond it the daemon refuses them all
/// until the clock is right again.
const STEPS_S: [i64; 10] =
    [-31, 31, -240, 240, -7_200, 7_200, -172_800, 172_800, -4_000_000, 4_000_000];

const KEY: (&str, &str) = ("Authorization", "Bearer rk_test_of_the_shop");

#[test]
fn random_weeks_end_with_no_difference_to_stripe() {
    let faults = live_weeks("FULFILLD_TEST_WEEKS", 3, None);
    assert_eq!(faults, [""; 0]);
}

/// The controls: weeks like these catch a desk that never sweeps, and one for which the clock says
/// which answer is newer.
#[test]
fn control_weeks_catch_what_is_planted() {
    for bug in ["never_sweep", "newer_by_the_clock"] {
        let faults = (0..4).map(|_| live_weeks("", 3, Some(bug))).find(|faults| !faults.is_empty());
        let faults = faults.unwrap_or_else(|| panic!("twelve weeks did not show {bug}"));
        proof::caught(bug, faults[0].split([';', '\n']).next().unwrap_or_default());
    }
}

/// Lives them and gives what is wrong in the end, with the week's diary.
fn live_weeks(variable: &str, count: u64, bug: Option<&'static str>) -> Vec<String> {
    let seeds = Mutex::new(seeds(variable, count));
    let faults = Mutex::new(Vec::new());
    let lived = Mutex::new(0);
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().expect("no panic").next() else { return };
                    let outcome = std::panic::catch_unwind(|| Week::live(seed, bug));
                    let outcome = outcome.unwrap_or_else(|panic| {
                        Err(format!("seed {seed}: {}", proof::said_by(&*panic)))
                    });
                    let mut lived = lived.lock().expect("no panic");
                    *lived += 1;
                    let mut faults = faults.lock().expect("no panic");
                    faults.extend(outcome.err());
                    if bug.is_none() {
                        proof::found_so_far(format!("{lived} weeks"), faults.len());
                    }
                }
            });
        }
    });
    let lived = lived.into_inner().expect("no panic");
    let faults = faults.into_inner().expect("no panic");
    if bug.is_none() {
        proof::found(format!("{lived} weeks"), faults.len());
    }
    faults
}

struct Week {
    shop: Shop,
    random: Rng,
    /// What Stripe has yet to post.
    undelivered: Vec<String>,
    sessions: Vec<String>,
    /// Refunds, disputes and reviews, with their path at the control.
    sequels: Vec<(&'static str, String)>,
    backup: Option<PathBuf>,
    put_back: bool,
    diary: String,
    began: Instant,
    settled_within: Duration,
}

impl Week {
    fn live(seed: u64, bug: Option<&str>) -> Result<(), String> {
        let mut shop = Shop::open();
        // A busy machine may not let it end its first requests.
        let _ = shop.desk.take().expect("it is running").stop();
        shop.own_clock();
        shop.settings.extend(
            [
                ("FULFILLD_BACKFILL_EVERY", "1"),
                ("FULFILLD_SWEEP_EVERY", "2"),
                ("FULFILLD_LOG", "off"),
            ]
            .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        shop.settings.extend(bug.map(|bug| ("FULFILLD_SABOTAGE".into(), bug.into())));
        let mut week = Week {
            shop,
            random: Rng::with_seed(seed),
            undelivered: vec![],
            sessions: vec![],
            sequels: vec![],
            backup: None,
            put_back: false,
            diary: String::new(),
            began: Instant::now(),
            settled_within: if bug.is_none() { SETTLED_WITHIN } else { CAUGHT_WITHIN },
        };
        week.start();
        for _ in 0..HAPPENINGS {
            week.something_happens();
        }
        week.be_left_alone();
        week.compare().map_err(|difference| {
            week.shop.dir.disable_cleanup(bug.is_none());
            let remains = week.shop.dir.path().display();
            format!("seed {seed}: {difference}\n{}(the file is in {remains})", week.diary)
        })
    }

    fn note(&mut self, what: String) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.diary, "  {at:6.2} {what}").expect("memory");
    }

    fn something_happens(&mut self) {
        match self.random.u32(..100) {
            0..=21 => self.sell(),
            22..=39 => self.let_follow(),
            40..=54 => self.let_become(),
            55..=69 => self.deliver(),
            70..=78 => self.stripe_fails(),
            79..=88 => self.type_something(),
            89..=92 => self.set_the_clock(),
            93..=95 => self.die(),
            96..=97 => self.end_well(),
            _ => self.backup(),
        }
        if self
            .shop
            .desk
            .as_mut()
            .is_some_and(|desk| desk.child.try_wait().expect("it is ours").is_some())
        {
            self.note("it ended by itself".into());
            self.shop.desk = None;
            self.start();
        }
    }

    /// As systemd does: again and again.
    fn start(&mut self) {
        for _ in 0..20 {
            let started =
                Running::try_start(self.shop.serve().stdin(Stdio::null()).stderr(Stdio::piped()));
            match started {
                Ok(desk) => {
                    self.shop.desk = Some(desk);
                    return;
                }
                Err((status, said)) => self.note(format!("it does not start ({status}): {said}")),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("it does not start any more:\n{}", self.diary);
    }

    /// The control of the simulated Stripe; `None` where it refuses.
    fn control(&self, path: &str, order: &Value) -> Option<Value> {
        let body = order.to_string();
        let (status, answer) = request(&self.shop.stripe.url, "POST", path, &[], body.as_bytes())
            .expect("Stripe answers");
        (status == 200).then(|| serde_json::from_str(&answer).expect("JSON"))
    }

    fn shape(&mut self) -> &'static str {
        self.random.choice(["snapshot", "thin", "both"]).expect("one")
    }

    /// Orders something of Stripe; now and then it makes no event of it.
    fn happen(&mut self, path: &str, mut order: Value) -> Option<Value> {
        order["shape"] = self.shape().into();
        order["deliver"] = false.into();
        if self.random.u32(..8) == 0 {
            let times = self.random.u32(1..4);
            self.note(format!("Stripe will fail to make {times} events"));
            self.control("/_sandbox/faults", &json!({"kind": "lost", "times": times}))?;
        }
        let made = self.control(path, &order);
        self.note(format!("{path} {order}{}", if made.is_none() { ": refused" } else { "" }));
        made
    }

    /// What Stripe makes is posted once, twice or never.
    fn hear(&mut self, made: &Value) {
        for event in made["events"].as_array().into_iter().flatten() {
            let id = event["id"].as_str().expect("a text").to_string();
            let times = [1, 1, 1, 1, 1, 1, 1, 2, 2, 0][self.random.usize(..10)];
            self.note(format!(
                "  {id} {} is posted {times} times",
                event["type"].as_str().expect("a text")
            ));
            self.undelivered.extend(std::iter::repeat_n(id, times));
        }
    }

    fn sell(&mut self) {
        let scenarios: Vec<&str> =
            SCENARIOS.iter().chain(LIVES).copied().chain(["unpaid", "canceled"]).collect();
        let scenario = *self.random.choice(&scenarios).expect("one");
        let count = self.random.usize(1..4);
        let Some(made) =
            self.happen("/_sandbox/trigger", json!({"scenario": scenario, "count": count}))
        else {
            return;
        };
        for purchase in made["purchases"].as_array().expect("purchases") {
            self.sessions.push(purchase["session"].as_str().expect("a text").into());
            self.hear(purchase);
        }
    }

    fn let_follow(&mut self) {
        let Some(session) = self.random.choice(&self.sessions).cloned() else { return };
        let kind = self
            .random
            .choice(["refund", "refund", "dispute", "review", "fraud_warning", "settle"])
            .expect("one");
        let mut order = json!({"session": session});
        match kind {
            "refund" | "dispute" if self.random.bool() => {
                order["amount"] = self.random.u32(1..900).into()
            }
            "settle" => {
                order["outcome"] =
                    if self.random.u32(..4) > 0 { "succeeded" } else { "failed" }.into()
            }
            _ => {}
        }
        if kind == "refund" && self.random.bool() {
            order["status"] = "pending".into();
        }
        let Some(made) = self.happen(&format!("/_sandbox/{kind}"), order) else { return };
        self.hear(&made);
        if let (Some(id), "refund" | "dispute" | "review") = (made["id"].as_str(), kind) {
            self.sequels.push((
                if kind == "refund" {
                    "refunds"
                } else {
                    ["disputes", "reviews"][usize::from(kind == "review")]
                },
                id.into(),
            ));
        }
    }

    fn let_become(&mut self) {
        let Some((path, id)) = self.random.choice(&self.sequels).cloned() else { return };
        let status = match path {
            "refunds" => self.random.choice(["succeeded", "pending", "failed", "canceled"]),
            "disputes" => self.random.choice([
                "under_review",
                "won",
                "lost",
                "won",
                "warning_closed",
                "needs_response",
            ]),
            _ => self.random.choice(["approved", "refunded_as_fraud", "disputed"]),
        };
        let order = json!({"status": status.expect("one")});
        if let Some(made) = self.happen(&format!("/_sandbox/{path}/{id}"), order) {
            self.hear(&made);
        }
    }

    /// Some of what waits, in any order; what is not taken is sent again.
    fn deliver(&mut self) {
        self.random.shuffle(&mut self.undelivered);
        let some = self.random.usize(..=self.undelivered.len().min(30));
        let posts: Vec<String> = self.undelivered.drain(..some).collect();
        let refused: Vec<String> = std::thread::scope(|threads| {
            let shop = &self.shop;
            let post = |id: String| {
                let body = shop.body(&id);
                threads.spawn(move || match shop.post(&body) {
                    Ok((200, _)) => None,
                    _ => Some(id),
                })
            };
            let posts: Vec<_> = posts.into_iter().map(post).collect();
            posts.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        });
        self.note(format!("{some} posts, {} of them refused", refused.len()));
        self.undelivered.extend(refused);
    }

    fn stripe_fails(&mut self) {
        let endpoints = [
            "*",
            "*",
            "checkout_session",
            "checkout_sessions",
            "events",
            "refund",
            "refunds",
            "dispute",
            "disputes",
            "review",
            "reviews",
            "fraud_warnings",
            "charge",
            "invoice_payments",
        ];
        let endpoint = self.random.choice(endpoints).expect("one");
        let kinds = [
            "status", "status", "status", "half", "garbage", "html", "empty", "close", "reset",
            "shrug", "hang", "repeat", "skip", "loop", "cut", "short",
        ];
        let kind = self.random.choice(kinds).expect("one");
        let mut fault = json!({"endpoint": endpoint, "kind": kind});
        fault["times"] = if kind == "hang" { 1 } else { self.random.u32(1..12) }.into();
        if kind == "status" {
            fault["status"] =
                self.random.choice([429, 429, 500, 502, 503, 409, 401, 403]).expect("one").into();
        }
        self.note(format!("Stripe fails: {fault}"));
        self.control("/_sandbox/faults", &fault).expect("a fault");
        if self.random.u32(..4) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.u64(..900)));
        }
    }

    fn type_something(&mut self) {
        let n = self.random.u32(1..60);
        let line = match self.random.u32(..9) {
            0..=2 => {
                format!(
                    "INSERT INTO ship(order_id, tracking_company, tracking_number) VALUES({n}, 'DHL', 'JD{}')",
                    self.random.u32(..)
                )
            }
            3 => format!("INSERT INTO deliver(order_id) VALUES({n})"),
            4 => format!("INSERT INTO hold(order_id, reason) VALUES({n}, 'ask first')"),
            5 => format!("INSERT INTO release(order_id) VALUES({n})"),
            6 => format!("INSERT INTO cancel(order_id, reason) VALUES({n}, 'customer')"),
            7 => format!("UPDATE orders SET note = 'n{n}', shipping_name = 'N {n}' WHERE id = {n}"),
            _ => "BEGIN IMMEDIATE;\n.shell sleep 0.4\nCOMMIT;".into(),
        };
        let said = match line.contains('\n') {
            true => shell_script(&self.shop, &line),
            false => shell(&self.shop.file(), &line),
        };
        let said = said.err().unwrap_or_default();
        self.note(format!("the operator: {line} {said}"));
    }

    fn set_the_clock(&mut self) {
        let step = self.random.choice(STEPS_S).expect("one");
        self.note(format!("the daemon's clock is {step} s off"));
        self.shop.set_clock(step);
        std::thread::sleep(Duration::from_millis(self.random.u64(..1_500)));
        // A clock that is far off is noticed by somebody.
        if step.abs() > 300 && self.random.u32(..3) > 0 {
            self.note("and right again".into());
            self.shop.set_clock(0);
        }
    }

    fn die(&mut self) {
        self.note("kill -9".into());
        self.shop.kill();
        self.start();
    }

    fn end_well(&mut self) {
        let status = self.shop.desk.take().expect("it is running").stop();
        self.note(format!("stopped ({status})"));
        // In the meantime customers buy.
        for _ in 0..self.random.usize(..4) {
            self.sell();
            self.let_become();
        }
        self.start();
    }

    /// Makes a backup, or puts the last one back, as the README says.
    fn backup(&mut self) {
        let file = self.shop.file();
        if let Some(backup) = self.backup.take() {
            self.note("the backup is put back".into());
            self.put_back = true;
            let _ = self.shop.desk.take().expect("it is running").stop();
            for end in ["-wal", "-shm"] {
                let mut beside = file.clone().into_os_string();
                beside.push(end);
                let _ = std::fs::remove_file(beside);
            }
            std::fs::rename(backup, file).expect("it can be moved");
            self.start();
            return;
        }
        let backup = self.shop.dir.path().join("backup.db");
        if shell(&file, &format!("VACUUM INTO '{}'", backup.display())).is_ok() {
            self.note("a backup is made".into());
            self.backup = Some(backup);
        }
    }

    /// Stripe is well, the clock is right, and what Stripe still has to post is posted until it is
    /// taken.
    fn be_left_alone(&mut self) {
        self.note("the week is over".into());
        self.shop.control("DELETE", "/_sandbox/faults", Value::Null);
        self.shop.set_clock(0);
        let deadline = Instant::now() + self.settled_within;
        while !self.undelivered.is_empty() && Instant::now() < deadline {
            self.deliver();
            if self
                .shop
                .desk
                .as_mut()
                .is_some_and(|desk| desk.child.try_wait().expect("it is ours").is_some())
            {
                self.start();
            }
        }
    }

    /// What Stripe's lists say and the file does not, or the other way round, once nothing changes
    /// any more.
    fn compare(&mut self) -> Result<(), String> {
        let stripe = self.of_stripe();
        // On a busy computer it takes as long as something still moves.
        let (mut before, mut deadline) = (None, Instant::now());
        let last = Instant::now() + MOVES_MAX * self.settled_within;
        loop {
            let file: BTreeSet<String> =
                FACTS.iter().flat_map(|sql| rows(&self.shop.file(), sql)).collect();
            let pending = rows(
                &self.shop.file(),
                "SELECT id, type, state_reason, next_attempt_at FROM events WHERE state = 'pending'",
            );
            if file == stripe && pending.is_empty() {
                break;
            }
            let now = Some((file.clone(), pending.clone()));
            if now != before {
                (before, deadline) = (now, last.min(Instant::now() + self.settled_within));
            }
            if Instant::now() > deadline {
                let here: Vec<_> = file.difference(&stripe).collect();
                let there: Vec<_> = stripe.difference(&file).collect();
                return Err(format!(
                    "the file has {here:#?} and Stripe {there:#?}; pending: {pending:#?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.note("nothing differs".into());
        for verb in [&["reconcile", "--since", "30d", "--dry-run"][..], &["check"]] {
            let said = fulfilld()
                .args(verb)
                .env("FULFILLD_DB", self.shop.file())
                .env("FULFILLD_STRIPE_API", &self.shop.stripe.url)
                .env("FULFILLD_STRIPE_RATE", "2000")
                .env("STRIPE_SECRET_KEY", "rk_test_of_the_shop")
                .output()
                .expect("the program runs");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            // After a backup was put back, what was typed since is gone, and check says so.
            let lost = text(&said.stdout)
                .lines()
                .skip(1)
                .all(|row| row.starts_with("what was typed is still there"));
            let as_expected = self.put_back && verb[0] == "check" && lost;
            if !said.status.success() && !as_expected {
                return Err(format!("{verb:?}: {}{}", text(&said.stdout), text(&said.stderr)));
            }
        }
        Ok(())
    }

    /// The same facts as [`FACTS`], from the lists of the simulated Stripe.
    fn of_stripe(&self) -> BTreeSet<String> {
        let mut facts = BTreeSet::new();
        let payments: HashMap<String, Value> = self
            .list("/v1/payment_intents")
            .into_iter()
            .map(|p| (p["id"].as_str().expect("an id").into(), p))
            .collect();
        for mut session in self.list("/v1/checkout/sessions") {
            if session["status"] == "complete" && session["mode"] != "setup" {
                // A payment that is back at wanting a method, or canceled, will not come.
                let payment = session["payment_intent"].as_str().and_then(|id| payments.get(id));
                let over = payment.is_some_and(|p| {
                    p["status"] == "requires_payment_method" || p["status"] == "canceled"
                });
                if over && session["payment_status"] == "unpaid" {
                    session["payment_status"] = "failed".into();
                }
                // One of an invoice is not named by its session, but the order has to name it.
                session["has_payment"] = (session["payment_intent"].is_string()
                    || session["invoice"].is_string()
                        && session["payment_status"] == "paid"
                        && session["amount_total"] != 0)
                    .into();
                facts.insert(row(
                    "order",
                    &session,
                    &["id", "payment_status", "currency", "amount_total", "has_payment"],
                ));
            }
        }
        for refund in self.list("/v1/refunds") {
            facts.insert(row(
                "refund",
                &refund,
                &["id", "payment_intent", "amount", "currency", "status"],
            ));
        }
        for dispute in self.list("/v1/disputes") {
            facts.insert(row(
                "dispute",
                &dispute,
                &["id", "payment_intent", "amount", "currency", "status"],
            ));
        }
        for review in self.list("/v1/reviews") {
            facts.insert(row("review", &review, &["id", "open", "closed_reason"]));
        }
        for warning in self.list("/v1/radar/early_fraud_warnings") {
            facts.insert(row("warning", &warning, &["id", "actionable"]));
        }
        facts
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all
                .last()
                .map(|last| format!("&starting_after={}", last["id"].as_str().expect("an id")));
            let asked = format!("{path}?limit=100{}", after.unwrap_or_default());
            let (status, page) =
                request(&self.shop.stripe.url, "GET", &asked, &[KEY], b"").expect("Stripe answers");
            assert_eq!(status, 200, "{asked}: {page}");
            let page: Value = serde_json::from_str(&page).expect("JSON");
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            if page["has_more"] != true {
                return all;
            }
        }
    }
}

/// What the file says of Stripe's objects; a payment that is known by an invoice alone is found by
/// it.
const FACTS: [&str; 5] = [
    "SELECT 'order', checkout_session_id, payment_status, currency, amount_total,
       payment_intent_id IS NOT NULL OR amount_credited >= amount_total AND amount_total > 0 FROM orders",
    "SELECT 'refund', id, payment_intent_id, amount, currency, status FROM refunds",
    "SELECT 'dispute', id, payment_intent_id, amount, currency, status FROM disputes",
    "SELECT 'review', id, open, closed_reason FROM reviews",
    "SELECT 'warning', id, actionable FROM fraud_warnings",
];

fn row(of: &str, object: &Value, fields: &[&str]) -> String {
    let text = |field: &&str| match &object[*field] {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => u8::from(*yes).to_string(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    [of.to_string()].into_iter().chain(fields.iter().map(text)).collect::<Vec<_>>().join("|")
}

/// Several lines, as they are typed one after the other.
fn shell_script(shop: &Shop, lines: &str) -> Result<String, String> {
    use std::io::Write;
    let mut shell = Command::new("sqlite3")
        .args(["-cmd", ".timeout 5000"])
        .arg(shop.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed (tests/setup)");
    shell.stdin.take().expect("it was piped").write_all(lines.as_bytes()).expect("it reads");
    let out = shell.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { Ok(said) } else { Err(said) }
}
