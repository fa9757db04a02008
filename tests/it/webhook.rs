//! What the webhook answers: 200 means on disk, and everything else says why.

use std::process::Command;

use serde_json::{Value, json};

use crate::shop::{
    Running, SECRET, Shop, fulfilld, parse_answer, post_signed, request, sign, unix_now, wait_for,
};

fn event(id: &str) -> Vec<u8> {
    json!({"id": id, "object": "event", "type": "customer.created", "created": 1795489500, "livemode": false,
        "data": {"object": {"id": "cus_1", "object": "customer"}}})
    .to_string()
    .into_bytes()
}

#[test]
fn a_new_event_and_its_duplicates_are_answered_200_and_kept_once_as_signed() {
    let shop = Shop::open();
    let body = event("evt_1");
    for _ in 0..3 {
        assert_eq!(shop.post(&body).unwrap(), (200, r#"{"received":true}"#.into()));
    }
    shop.settle();
    let before = shop.rows("SELECT * FROM events");
    assert_eq!(shop.post(&body).unwrap().0, 200);
    // The same id with another body is a duplicate too, and changes not one byte.
    assert_eq!(shop.post(&[body.as_slice(), b" "].concat()).unwrap().0, 200);
    assert_eq!(shop.rows("SELECT * FROM events"), before);
    assert_eq!(shop.one("SELECT payload FROM events").as_bytes(), body);
    assert_eq!(shop.one("SELECT id, state FROM events"), "evt_1|ignored");
}

#[test]
fn what_is_not_stripe_s_is_answered_400_with_the_reason_and_not_kept() {
    let shop = Shop::open();
    let url = &shop.desk().url;
    let body = event("evt_1");
    let now = unix_now();
    let post = |signature: Option<String>, body: &[u8]| {
        let headers: Vec<(&str, &str)> =
            signature.iter().map(|s| ("Stripe-Signature", s.as_str())).collect();
        request(url, "POST", "/webhook", &headers, body).unwrap()
    };
    let good = sign(&body, SECRET, now);
    for (signature, body, why) in [
        (None, body.as_slice(), "there is no Stripe-Signature header"),
        (Some(String::new()), &body, "t=<unix seconds>"),
        (Some(sign(&body, "whsec_other", now)), &body, "no signature matches"),
        (Some(good.clone()), b"{}", "a proxy on the way changes the body"),
        (Some(good.replace(",v1=", ",v0=")), &body, "no v1="),
        (Some(sign(&body, SECRET, now - 301)), &body, "older than 300 seconds"),
        (Some(sign(b"{", SECRET, now)), b"{", "the body is not JSON"),
        (Some(sign(b"", SECRET, now)), b"", "the body is not JSON"),
        (Some(sign(b"[]", SECRET, now)), b"[]", "not a JSON object"),
        (Some(sign(b"{\"id\":\"\xff\"}", SECRET, now)), b"{\"id\":\"\xff\"}", "not UTF-8"),
        (Some(sign(b"{\"type\":\"x\"}", SECRET, now)), b"{\"type\":\"x\"}", "no string id"),
    ] {
        let (status, said) = post(signature, body);
        assert_eq!(status, 400, "{said}");
        assert!(said.starts_with("Webhook Error: ") && said.contains(why), "{said}");
    }
    // From the future: our own clock may be the slow one.
    assert_eq!(post(Some(sign(&body, SECRET, now + 4000)), &body).0, 200);
    assert_eq!(shop.rows("SELECT id FROM events"), ["evt_1"]);
    let (_, metrics) = shop.get("/metrics");
    assert!(metrics.contains("fulfilld_webhook_refused_total{cause=\"too_old\"} 1"), "{metrics}");
}

#[test]
fn a_body_that_a_proxy_changes_is_named_in_the_answer_and_once_in_the_log() {
    let shop = Shop::open();
    let mut command = shop.serve();
    let (db, log) = (shop.dir.path().join("other.db"), shop.dir.path().join("log"));
    command
        .env("FULFILLD_DB", db)
        .env("FULFILLD_LOG", "warn")
        .stderr(std::fs::File::create(&log).unwrap());
    let desk = Running::start(&mut command);
    let (body, now) = (event("evt_1"), unix_now());
    // The same JSON, written without its line ends and blanks.
    let changed = serde_json::from_slice::<Value>(&body).unwrap().to_string().replace(":", ": ");
    let post = |body: &[u8]| {
        request(
            &desk.url,
            "POST",
            "/webhook",
            &[("Stripe-Signature", &sign(&event("evt_1"), SECRET, now))],
            body,
        )
        .unwrap()
    };
    let said = || std::fs::read_to_string(&log).unwrap();
    // Once a signature has matched, the secret is right, and the likely cause is another.
    for cause in ["a proxy on the way changes the body", "others have matched"] {
        for _ in 0..3 {
            let (status, said) = post(changed.as_bytes());
            assert!(
                status == 400 && said.contains("WEBHOOK_SECRET") && said.contains("proxy"),
                "{said}"
            );
        }
        wait_for("it is in the log", || said().contains(cause).then_some(()));
        assert_eq!(said().matches(cause).count(), 1, "once: {}", said());
        assert_eq!(post(&body).0, 200);
    }
    assert_eq!(desk.stop().code(), Some(0));
    assert_eq!(said().matches("2 more like this in").count(), 2, "then counted: {}", said());
}

#[test]
fn the_other_paths_and_methods_say_what_they_are_for() {
    let shop = Shop::open();
    let url = &shop.desk().url;
    let ask = |method: &str, path: &str| request(url, method, path, &[], b"").unwrap();
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        assert_eq!(ask(method, "/webhook").0, 405, "{method}");
    }
    for (path, status) in [
        ("/", 404),
        ("/webhooks", 404),
        ("/webhook/x", 404),
        ("/../etc/passwd", 404),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
    ] {
        assert_eq!(ask("GET", path).0, status, "{path}");
    }
    assert_eq!(ask("POST", "/healthz").0, 405);
    let body = event("evt_slash");
    let signature = sign(&body, SECRET, unix_now());
    for path in ["/webhook/", "/webhook?from=stripe"] {
        assert_eq!(
            request(url, "POST", path, &[("Stripe-Signature", &signature)], &body).unwrap().0,
            200,
            "{path}"
        );
    }
    let mut big = event("evt_big");
    big.resize(1 << 20, b' ');
    assert_eq!(shop.post(&big).unwrap().0, 200, "1 MiB is not over 1 MiB");
    big.push(b' ');
    assert_eq!(shop.post(&big).unwrap().0, 413);
}

#[test]
fn a_signed_event_that_cannot_be_understood_is_kept_and_parked_with_the_reason() {
    let shop = Shop::open();
    for (n, (body, state, why)) in [
        (
            json!({"type": "checkout.session.completed", "data": {"object": {}}}),
            "failed|permanent",
            "does not name its object",
        ),
        (json!({"type": "checkout.session.completed", "data": 7}), "failed|permanent", "does not name its object"),
        (
            json!({"type": "checkout.session.completed", "data": {"object": {"id": "../charges"}}}),
            "failed|permanent",
            "does not name",
        ),
        (json!({"type": 7}), "failed|permanent", "no type"),
        (json!({}), "failed|permanent", "no type"),
        (json!({"type": "something.new", "livemode": "yes"}), "ignored|unknown_type", "does nothing on something.new"),
        (
            json!({"type": "checkout.session.completed", "livemode": true, "data": {"object": {"id": "cs_live_1"}}}),
            "ignored|other_mode",
            "a live event in a test file",
        ),
        (
            json!({"type": "checkout.session.completed", "account": "acct_9", "data": {"object": {"id": "cs_1"}}}),
            "ignored|other_account",
            "acct_9",
        ),
        (
            json!({"type": "checkout.session.completed", "data": {"object": {"id": "cs_test_unknown"}}}),
            "failed|permanent",
            "Stripe has no such object",
        ),
        (
            json!({"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_elsewhere"}}}),
            "ignored|no_session",
            "no Checkout Session",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("evt_{n}");
        let mut body = body;
        body["id"] = id.clone().into();
        assert_eq!(shop.post(body.to_string().as_bytes()).unwrap().0, 200);
        shop.settle();
        let row = shop.one(&format!("SELECT state, reason_code, state_reason FROM events WHERE id = '{id}'"));
        assert!(row.starts_with(&format!("{state}|")) && row.contains(why), "{body}: {row}");
    }
    // The parked ones wait for a person, and their hooks for whoever runs them.
    let parked = shop.one("SELECT count(*) FROM events WHERE state = 'failed'");
    assert_eq!(shop.one("SELECT count(*) FROM attention WHERE reason = 'event_failed'"), parked);
    assert_eq!(shop.one("SELECT count(*) FROM outbox WHERE topic = 'event.failed'"), parked);
    assert_eq!(shop.rows("SELECT * FROM orders"), [""; 0]);
}

#[test]
fn a_file_that_somebody_keeps_locked_costs_503_within_the_budget_and_recovers() {
    let shop = Shop::open();
    let other = rusqlite::Connection::open(shop.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, why) = shop.post(&event("evt_1")).unwrap();
    assert_eq!(status, 503, "{why}");
    // Beyond its budget the answer would be another one.
    assert!(why.contains("locked"), "{why}");
    let ready = wait_for("readyz names the lock", || {
        Some(shop.get("/readyz")).filter(|(status, _)| *status == 503)
    });
    assert!(ready.1.contains("file locked for"), "{}", ready.1);
    assert_eq!(shop.get("/healthz").0, 200, "a lock of somebody else's is not our illness");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(shop.post(&event("evt_1")).unwrap().0, 200);
    wait_for("it is ready again", || (shop.get("/readyz").0 == 200).then_some(()));
}

#[test]
fn a_trigger_of_the_shop_s_own_that_refuses_events_is_named_and_nothing_is_lost() {
    let shop = Shop::open();
    let shell = rusqlite::Connection::open(shop.file()).unwrap();
    shell
        .execute_batch(
            "CREATE TRIGGER my_rule BEFORE INSERT ON events
             BEGIN SELECT RAISE(ABORT, 'not on Saturdays'); END",
        )
        .unwrap();
    let (status, why) = shop.post(&event("evt_1")).unwrap();
    assert_eq!(status, 503, "{why}");
    let (status, ready) = shop.get("/readyz");
    assert_eq!(status, 503, "{ready}");
    assert!(ready.contains("events_refused: ") && ready.contains("not on Saturdays"), "{ready}");
    assert_eq!(shop.get("/healthz").0, 200, "a new process would change nothing");
    let check = || {
        let run = fulfilld().arg("check").arg("--db").arg(shop.file()).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    // It is no damage, and whoever put it there may want it.
    let (code, rows, told) = check();
    assert_eq!(code, Some(0), "{rows}{told}");
    assert!(told.contains("can refuse events and orders: trigger my_rule on events"), "{told}");
    let (_, line) = told.trim_end().split_once("shell: ").expect("it says what to type");
    shell.execute_batch(line).unwrap();
    assert_eq!(shop.post(&event("evt_1")).unwrap().0, 200);
    assert_eq!(shop.get("/readyz"), (200, "ready".into()));
    // What refuses nothing is named, too.
    shell
        .execute_batch("CREATE VIEW my_sales AS SELECT 1; CREATE INDEX my_index ON orders(email)")
        .unwrap();
    let (code, rows, told) = check();
    assert_eq!(code, Some(0), "{rows}{told}");
    assert!(told.contains("view my_sales") && told.contains("index my_index"), "{told}");
}

#[test]
fn a_full_disk_is_answered_503_and_recovers_when_there_is_room() {
    // A disk of 2 MB, in a mount namespace of the desk's own.
    let mut shop = Shop::open();
    shop.stop();
    std::fs::create_dir(shop.dir.path().join("disk")).unwrap();
    let disk = shop.dir.path().join("disk");
    let mut serve = Command::new("unshare");
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$1\" serve";
    serve.args(["-rm", "sh", "-c", script]).arg(&disk).arg(env!("CARGO_BIN_EXE_fulfilld"));
    serve
        .envs(shop.serve().get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("FULFILLD_DB", disk.join("shop.db"));
    let desk = crate::shop::Running::start(&mut serve);
    let inside = format!("/proc/{}/root{}", desk.pid(), disk.display());
    let post = |id: &str| post_signed(&desk.url, &event(id), SECRET).unwrap();
    assert_eq!(post("evt_before").0, 200);
    // Fill it to the last byte.
    let ballast = format!("{inside}/ballast");
    let filled = std::fs::write(&ballast, vec![0u8; 4 << 20]);
    assert!(filled.is_err(), "the disk is full");
    let mut acknowledged = vec!["evt_before".to_string()];
    let refused = (0..500).find_map(|n| {
        let id = format!("evt_{n}");
        let (status, why) = post(&id);
        if status == 200 {
            acknowledged.push(id);
        }
        (status != 200).then_some((status, why))
    });
    let (status, why) = refused.expect("a full disk stores no 500 events");
    assert!(status == 503 && why.contains("the disk is full"), "{status} {why}");
    assert!(request(&desk.url, "GET", "/readyz", &[], b"").unwrap().1.contains("disk full"));
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(post("evt_after").0, 200);
    acknowledged.push("evt_after".into());
    let mut look = Command::new("nsenter");
    look.args(["-U", "-m", "--preserve-credentials", "-t", &desk.pid().to_string(), "sqlite3"]);
    let kept = look.arg(disk.join("shop.db")).arg("SELECT id FROM events").output().unwrap();
    let kept: Vec<String> =
        String::from_utf8_lossy(&kept.stdout).lines().map(String::from).collect();
    assert!(acknowledged.iter().all(|id| kept.contains(id)), "every 2xx is on disk");
    assert_eq!(request(&desk.url, "GET", "/readyz", &[], b"").unwrap().0, 200);
}

#[test]
fn a_file_deleted_or_replaced_under_the_desk_is_never_acknowledged_into() {
    let mut shop = Shop::open();
    assert_eq!(shop.post(&event("evt_1")).unwrap().0, 200);
    std::fs::rename(shop.file(), shop.dir.path().join("elsewhere.db")).unwrap();
    let answer = shop.post(&event("evt_2"));
    assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status == 503));
    let mut desk = shop.desk.take().unwrap();
    let status = wait_for("the desk makes room for a new one", || desk.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(75));
}

#[test]
fn secrets_are_several_and_read_again_on_sighup() {
    let mut shop = Shop::open();
    shop.stop();
    let secrets = shop.dir.path().join("secrets");
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&secrets, text).unwrap();
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("whsec_old\n");
    let mut serve = shop.serve();
    serve.env_remove("WEBHOOK_SECRET").env("WEBHOOK_SECRET_FILE", &secrets);
    shop.desk = Some(crate::shop::Running::start(&mut serve));
    let url = shop.desk().url.clone();
    let post = |id: &str, secret: &str| post_signed(&url, &event(id), secret).unwrap().0;
    assert_eq!((post("evt_1", "whsec_old"), post("evt_2", "whsec_new")), (200, 400));
    write("whsec_old\n\n  whsec_new \n");
    shop.desk().signal("HUP");
    wait_for("the new secret is accepted", || (post("evt_3", "whsec_new") == 200).then_some(()));
    assert_eq!(post("evt_4", "whsec_old"), 200);
    // A mistake leaves what was in force.
    write("we_123\n");
    shop.desk().signal("HUP");
    assert_eq!(post("evt_5", "whsec_new"), 200);
    write("whsec_new\n");
    shop.desk().signal("HUP");
    wait_for("the old secret is no longer accepted", || {
        (post("evt_6", "whsec_old") == 400).then_some(())
    });
    shop.stop();
}

#[test]
fn expect_continue_chunked_and_head_are_understood() {
    use std::io::{Read, Write};
    let shop = Shop::open();
    let body = event("evt_chunked");
    let signature = sign(&body, SECRET, unix_now());
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", shop.desk().port())).unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\nTransfer-Encoding: \
         chunked\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = Vec::new();
    while !go_on.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        go_on.push(byte[0]);
    }
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    for part in body.chunks(7) {
        write!(stream, "{:x}\r\n", part.len()).unwrap();
        stream.write_all(part).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(parse_answer(&answer).unwrap().0, 200);
    assert_eq!(shop.rows("SELECT id FROM events"), ["evt_chunked"]);
}
