//! The hooks that are shipped: mail over SMTP, and a packing slip.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::outside::{free_address, machine_program};
use crate::shop::{PATIENCE, Shop, fulfilld, shell, wait_for};

fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks").join(name).to_string_lossy().into_owned()
}

/// The JSON of a sample order, as a hook is given it but for the mark of a test.
fn sample(topic: &str) -> Value {
    let out = fulfilld().args(["hooks", "test", topic, "--print"]).output().unwrap();
    let mut news: Value = serde_json::from_slice(&out.stdout).unwrap();
    news.as_object_mut().unwrap().remove("test");
    news["key"] = format!("{topic}:1042").into();
    news
}

/// Runs a hook as fulfilld does: its exit code and what it said.
fn run(name: &str, news: &Value, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    machine_program("python3");
    let mut hook = Command::new(shipped(name));
    hook.arg(news["topic"].as_str().unwrap())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    hook.envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut hook = hook.spawn().unwrap();
    hook.stdin.take().unwrap().write_all(news.to_string().as_bytes()).unwrap();
    let out = hook.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn mail_goes_to_the_buyer_when_it_is_shipped_and_to_the_shop_when_it_is_paid() {
    let server = Smtp::start("250 ok");
    let url = server.url();
    let settings = [
        ("HOOK_MAIL_SMTP", url.as_str()),
        ("HOOK_MAIL_FROM", "shop@example.org"),
        ("HOOK_MAIL_TO", "packing@example.org"),
        ("HOOK_MAIL_NAME", "Zoë's mugs"),
    ];
    let news = sample("fulfillment.shipped");
    assert_eq!(run("mail", &news, &settings), (Some(0), String::new()));
    assert_eq!(run("mail", &news, &settings), (Some(0), String::new()));
    assert_eq!(run("mail", &sample("order.paid"), &settings), (Some(0), String::new()));
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("shop@example.org", ["ada@example.com".to_string()].as_slice())
    );
    assert_eq!(mails[0].header("Subject"), "Your order 1042 is on its way");
    assert_eq!(mails[0].header("To"), "ada@example.com");
    assert!(mails[0].header("From").ends_with("<shop@example.org>"), "{}", mails[0].header("From"));
    // A second delivery of the same notification can be recognized.
    assert_eq!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    assert_ne!(mails[0].header("Message-ID"), mails[2].header("Message-ID"));
    for words in
        ["Dear Ada Lovelace,", "Stoneware mug (blue)", "JD0146000034", "https://www.dhl.com/"]
    {
        assert!(mails[0].text().contains(words), "{words} is not in {}", mails[0].text());
    }
    assert_eq!(mails[2].to, ["packing@example.org"]);
    assert_eq!(mails[2].header("Subject"), "Order 1042 is paid");
    assert!(
        mails[2].text().contains("46.90 EUR") && mails[2].text().contains("12 Rue Exemple"),
        "{}",
        mails[2].text()
    );

    // A test of the hook writes to no customer.
    let mut test = sample("fulfillment.shipped");
    test["test"] = true.into();
    assert_eq!(run("mail", &test, &settings).0, Some(0));
    assert_eq!(server.mails()[3].to, ["packing@example.org"]);
    // What it does not write about, and whom it cannot write to.
    assert_eq!(run("mail", &sample("order.refunded"), &settings).0, Some(0));
    let mut nobody = news.clone();
    nobody["order"]["email"] = Value::Null;
    assert_eq!(run("mail", &nobody, &settings).0, Some(0));
    assert_eq!(server.mails().len(), 4);
}

#[test]
fn no_name_or_address_adds_a_header_or_a_recipient() {
    let server = Smtp::start("250 ok");
    let url = server.url();
    let settings = [("HOOK_MAIL_SMTP", url.as_str()), ("HOOK_MAIL_FROM", "shop@example.org")];
    let news = sample("fulfillment.shipped");
    for evil in [
        "ada@example.com\r\nBcc: all@example.org",
        "ada@example.com\nX: y",
        "ada@example.com, eve@example.org",
        "ada@example.com> RCPT TO:<eve@example.org",
        "<ada@example.com>",
        "Ada <ada@example.com>",
        "ada",
        "",
        "@example.com",
        "ada@example.com\0",
        "ada@exa mple.com",
        "\u{202e}ada@example.com",
    ] {
        let mut news = news.clone();
        news["order"]["email"] = evil.into();
        let (code, said) = run("mail", &news, &settings);
        assert!(
            matches!(code, Some(0 | 1)) && (code == Some(1)) != evil.is_empty(),
            "{evil:?}: {code:?} {said}"
        );
        assert!(!said.contains("example"), "no address is in what it says: {said}");
    }
    assert_eq!(server.mails().len(), 0);
    // In the text they are text.
    let mut news = news;
    let evil = "Ada\r\nBcc: all@example.org\r\n\r\n.\r\nMAIL FROM:<x@example.org>\u{1b}[2J";
    for (part, field) in [
        ("order", "name"),
        ("fulfillment", "tracking_number"),
        ("fulfillment", "tracking_company"),
        ("fulfillment", "tracking_url"),
    ] {
        news[part][field] = evil.into();
    }
    news["fulfillment"]["line_items"][0]["name"] = evil.into();
    assert_eq!(run("mail", &news, &settings), (Some(0), String::new()));
    let mails = server.mails();
    assert_eq!(
        (mails.len(), mails[0].to.as_slice()),
        (1, ["ada@example.com".to_string()].as_slice())
    );
    assert!(
        !mails[0]
            .data
            .lines()
            .any(|line| line.starts_with("Bcc") || line.starts_with("MAIL") || line == ".")
    );
    assert!(!mails[0].text().contains('\u{1b}'));
}

#[test]
fn a_mail_server_that_fails_for_now_is_tried_again_and_one_that_refuses_is_not() {
    let news = sample("fulfillment.shipped");
    let from = ("HOOK_MAIL_FROM", "shop@example.org");
    for (answer, code) in [("451 busy", 75), ("421 going down", 75), ("550 no such user", 1)] {
        let server = Smtp::start(answer);
        let (ended, said) = run("mail", &news, &[("HOOK_MAIL_SMTP", &server.url()), from]);
        assert_eq!(ended, Some(code), "{answer}: {said}");
        assert!(!said.contains("ada@example.com"), "{said}");
    }
    let closed = format!("smtp://{}", free_address());
    assert_eq!(run("mail", &news, &[("HOOK_MAIL_SMTP", &closed), from]).0, Some(75));
    for (settings, named) in [
        (vec![from], "HOOK_MAIL_SMTP is not set"),
        (vec![("HOOK_MAIL_SMTP", closed.as_str())], "HOOK_MAIL_FROM is not set"),
        (vec![("HOOK_MAIL_SMTP", "mail.example.org"), from], "HOOK_MAIL_SMTP is not smtps://"),
    ] {
        let (code, said) = run("mail", &news, &settings);
        assert!(code == Some(1) && said.contains(named), "{said}");
    }
    // A password goes only over a connection that is secret; this server is on this machine, and
    // has no use for it.
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "hush\n").unwrap();
    let server = Smtp::start("250 ok");
    let settings = [
        ("HOOK_MAIL_SMTP", server.url()),
        ("HOOK_MAIL_USER", "me".into()),
        ("HOOK_MAIL_PASSWORD_FILE", password.to_string_lossy().into_owned()),
    ];
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(k, v)| (*k, v.as_str())).chain([from]).collect();
    let (code, said) = run("mail", &news, &settings);
    assert!(code == Some(1) && !said.contains("hush"), "{said}");
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn a_packing_slip_is_whole_escaped_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        [("HOOK_SLIPS_DIR", dir.path().to_str().unwrap()), ("HOOK_SLIPS_NAME", "Mugs & more")];
    let mut news = sample("order.paid");
    let evil = "<script src=https://example.org/x.js></script>\" onload='x' & {number}";
    for (part, field) in
        [("shipping", "name"), ("shipping", "line1"), ("order", "note"), ("shipping", "option")]
    {
        news[part][field] = evil.into();
    }
    for field in ["name", "options", "sku"] {
        news["line_items"][0][field] = evil.into();
    }
    // What a run that was killed has left.
    fs::write(dir.path().join(".order-1042.html.new"), "<!doctype ht").unwrap();
    assert_eq!(run("packing-slip", &news, &settings), (Some(0), String::new()));
    let page = fs::read_to_string(dir.path().join("order-1042.html")).unwrap();
    assert!(
        page.contains("Order 1042")
            && page.contains("Mugs &amp; more")
            && page.contains("75001 Paris"),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("onload='"), "{page}");
    assert_eq!(page.matches("&lt;script src=https://example.org/x.js&gt;").count(), 7);
    assert!(page.contains(
        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-"
    ));
    // Only what is shipped is packed.
    assert!(!page.contains("Knitting pattern"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");
    // Nothing to pack, nobody's order, nowhere to write.
    let mut digital = news.clone();
    digital["line_items"] = json!([news["line_items"][1]]);
    digital["order"]["id"] = 7.into();
    assert_eq!(run("packing-slip", &digital, &settings).0, Some(0));
    assert_eq!(run("packing-slip", &sample("event.failed"), &settings).0, Some(0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(run("packing-slip", &news, &[("HOOK_SLIPS_DIR", "/nowhere/slips")]).0, Some(75));
    assert_eq!(run("packing-slip", &news, &[]).0, Some(1));
}

#[test]
fn the_slip_of_a_shipped_parcel_lists_that_parcel_and_says_what_was_refunded() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("HOOK_SLIPS_DIR", dir.path().to_str().unwrap())];
    let mut news = sample("fulfillment.shipped");
    let id = news["fulfillment"]["id"].as_i64().unwrap();
    news["fulfillment"]["line_items"][0]["quantity"] = 1.into();
    news["fulfillment"]["replacement"] = "lost".into();
    news["order"]["amount_refunded"] = 1200.into();
    news["order"]["refunded"] = "12.00 EUR".into();
    assert_eq!(run("packing-slip", &news, &settings), (Some(0), String::new()));
    let page = fs::read_to_string(dir.path().join(format!("order-1042-parcel-{id}.html"))).unwrap();
    assert!(page.contains("<td>1</td><td>Stoneware mug (blue)</td>"), "{page}");
    assert!(
        page.contains("Refunded: 12.00 EUR of 46.90 EUR") && page.contains("Replacement: lost"),
        "{page}"
    );
    // The order's slip says so, too, and nothing where nothing was refunded; the company and the
    // wishes stand on each.
    let mut order = sample("order.paid");
    order["order"]["business_name"] = "Mill & Sons".into();
    order["order"]["wishes"] = "Engraving: for A. L.".into();
    assert_eq!(run("packing-slip", &order, &settings), (Some(0), String::new()));
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let slip = page("order-1042.html");
    assert!(
        !slip.contains("Refunded") && slip.contains("Ada Lovelace<br>Mill &amp; Sons<br>"),
        "{slip}"
    );
    assert!(
        slip.contains("Engraving: for A. L.")
            && slip.contains("+33 1 23 45 67 89, ada@example.com"),
        "{slip}"
    );
    order["order"]["amount_refunded"] = 1200.into();
    assert_eq!(run("packing-slip", &order, &settings), (Some(0), String::new()));
    assert!(page("order-1042.html").contains("Refunded: "));
}

#[test]
fn carrier_and_numbers_go_to_the_payment_at_stripe_with_a_key_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let keep = |text: &str, mode: u32| {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    };
    keep("rk_test_of_the_hook\n", 0o600);
    let file = key.to_str().unwrap();
    let mut news = sample("fulfillment.shipped");
    news["order"]["shipments"].as_array_mut().unwrap().push(json!({"id": 2, "status": "shipped",
        "tracking_company": "DHL", "tracking_number": "JD02", "tracking_url": null}));
    for (status, code) in [(200, 0), (429, 75), (500, 75), (409, 75), (400, 1), (403, 1), (302, 1)]
    {
        let stripe = Stripe::start(status);
        let settings = [("HOOK_STRIPE_KEY_FILE", file), ("HOOK_STRIPE_API", &stripe.url)];
        let (ended, said) = run("stripe-tracking", &news, &settings);
        assert_eq!(ended, Some(code), "{status}: {said}");
        let asked = stripe.asked.lock().unwrap().concat();
        assert!(asked.starts_with("POST /v1/payment_intents/pi_sample HTTP/1.1"), "{asked}");
        for part in [
            "Authorization: Bearer rk_test_of_the_hook",
            "shipping%5Bcarrier%5D=DHL&",
            "shipping%5Btracking_number%5D=JD0146000034%2CJD02",
            "shipping%5Bname%5D=Ada+Lovelace",
            "shipping%5Baddress%5D%5Bline1%5D=12+Rue+Exemple",
        ] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
        assert!(
            !said.contains("rk_test") && !said.contains("Ada") && !said.contains("12 Rue"),
            "{said}"
        );
        assert_eq!(said.contains("(parameter_unknown, shipping)"), [302, 400].contains(&status));
    }
    let stripe = Stripe::start(200);
    let settings = [("HOOK_STRIPE_KEY_FILE", file), ("HOOK_STRIPE_API", stripe.url.as_str())];
    // A canceled parcel takes its number away.
    let mut none = news.clone();
    none["topic"] = "fulfillment.canceled".into();
    none["order"]["shipments"] = json!([]);
    assert_eq!(run("stripe-tracking", &none, &settings).0, Some(0));
    assert!(stripe.asked.lock().unwrap().concat().contains("shipping%5Btracking_number%5D=&"));
    // What is no business of Stripe's, and what was not set well.
    let mut free = news.clone();
    free["order"]["payment_intent_id"] = Value::Null;
    let mut test = news.clone();
    test["test"] = true.into();
    for quiet in [&free, &test, &sample("order.paid")] {
        assert_eq!(run("stripe-tracking", quiet, &settings).0, Some(0));
    }
    let mut live = news.clone();
    live["livemode"] = true.into();
    for (news, text, mode, named) in [
        (&live, "rk_test_x", 0o600, "the other mode"),
        (&news, "rk_test_x", 0o644, "everybody may read"),
        (&news, "whsec_x", 0o600, "holds no key of Stripe's"),
    ] {
        keep(text, mode);
        let (code, said) = run("stripe-tracking", news, &settings);
        assert!(code == Some(1) && said.contains(named) && !said.contains("_x"), "{said}");
    }
    keep("rk_test_x", 0o600);
    let far = [("HOOK_STRIPE_KEY_FILE", file), ("HOOK_STRIPE_API", "http://stripe.example.org")];
    assert!(run("stripe-tracking", &news, &far).1.contains("is not https"));
    assert!(run("stripe-tracking", &news, &[]).1.contains("HOOK_STRIPE_KEY_FILE is not set"));
    let closed = format!("http://{}", free_address());
    let closed = [("HOOK_STRIPE_KEY_FILE", file), ("HOOK_STRIPE_API", closed.as_str())];
    assert_eq!(run("stripe-tracking", &news, &closed).0, Some(75));
    assert_eq!(stripe.asked.lock().unwrap().len(), 1);
}

/// A Stripe on this machine that answers every request with one status.
struct Stripe {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stripe {
    fn start(status: u16) -> Stripe {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stripe = Stripe { url, asked: asked.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let (mut request, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                    request += &line;
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                asked.lock().unwrap().push(request + &String::from_utf8_lossy(&body));
                let body =
                    r#"{"error":{"code":"parameter_unknown","param":"shipping","message":"Ada"}}"#;
                let _ = (&stream).write_all(
                    format!(
                        "HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: {}\r\n\
                         Connection: close\r\n\r\n{body}",
                        body.len()
                    )
                    .as_bytes(),
                );
            }
        });
        stripe
    }
}

#[test]
fn what_is_corrected_after_shipping_is_a_new_mail() {
    let server = Smtp::start("250 ok");
    let url = server.url();
    let settings = [("HOOK_MAIL_SMTP", url.as_str()), ("HOOK_MAIL_FROM", "shop@example.org")];
    for topic in ["fulfillment.shipped", "fulfillment.updated"] {
        let mut news = sample(topic);
        news["key"] = format!("key of {topic}").into();
        assert_eq!(run("mail", &news, &settings), (Some(0), String::new()));
    }
    let mails = server.mails();
    assert_eq!(mails[1].header("Subject"), "Your order 1042 was corrected");
    assert_ne!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
    for words in ["was corrected", "JD0146000035", "12 Rue Exemple"] {
        assert!(mails[1].text().contains(words), "{words} is not in {}", mails[1].text());
    }
}

#[test]
fn a_shop_with_both_of_them_packs_and_writes() {
    let server = Smtp::start("250 ok");
    let dir = tempfile::tempdir().unwrap();
    let command = format!(
        "{} order.paid fulfillment.shipped; {} order.paid",
        shipped("mail"),
        shipped("packing-slip")
    );
    let settings = [
        ("FULFILLD_HOOK_COMMAND", command.as_str()),
        ("HOOK_MAIL_SMTP", &server.url()),
        ("HOOK_MAIL_FROM", "shop@example.org"),
        ("HOOK_SLIPS_DIR", dir.path().to_str().unwrap()),
    ];
    let shop = Shop::open_with(&settings, &["--webhook", "none", "--rate", "0"]);
    for (event, _) in &shop.buy("card", 1, "thin")[0].events {
        assert_eq!(shop.deliver(event), 200);
    }
    // A slip says what is left to pack when it is written.
    wait_for("the slip is there", || dir.path().join("order-1.html").exists().then_some(()));
    shell(&shop.file(), "INSERT INTO ship VALUES(1, 'DHL', 'JD01', NULL)").unwrap();
    let told = "SELECT count(*) FROM outbox WHERE state = 'done' AND last_error IS NULL";
    wait_for("both are told", || (shop.one(told) == "2").then_some(()));
    let subjects: Vec<String> = server.mails().iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(subjects, ["Order 1 is paid", "Your order 1 is on its way"]);
    assert_eq!(server.mails()[1].to, [shop.one("SELECT email FROM orders")]);
}

/// A mail server on this machine that answers every recipient the same.
struct Smtp {
    address: std::net::SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

#[derive(Debug, Clone, Default)]
struct Mail {
    from: String,
    to: Vec<String>,
    /// As it came, without the dot at the end.
    data: String,
}

impl Mail {
    fn header(&self, name: &str) -> String {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let found: Vec<&str> =
            head.split("\r\n").filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
        assert_eq!(found.len(), 1, "{name} in {head}");
        found[0].into()
    }

    /// Its text, decoded by Python's own reader of mail.
    fn text(&self) -> String {
        let read = "import email, email.policy, sys\n\
            mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
            sys.stdout.buffer.write(mail.get_content().encode())";
        let mut python = machine_program("python3")
            .args(["-c", read])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(self.data.as_bytes()).unwrap();
        String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap()
    }
}

impl Smtp {
    fn start(to_recipients: &'static str) -> Smtp {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let smtp = Smtp { address: listener.local_addr().unwrap(), mails: Arc::default() };
        let mails = smtp.mails.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let mails = mails.clone();
                std::thread::spawn(move || talk(&stream, to_recipients, &mails));
            }
        });
        smtp
    }

    fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

fn talk(mut stream: &TcpStream, to_recipients: &str, mails: &Mutex<Vec<Mail>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut say = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes()).ok();
    let address = |line: &str| Some(line.split_once('<')?.1.split('>').next()?.to_string());
    let mut mail = Mail::default();
    say("220 mail.example.org")?;
    loop {
        let line = lines.next()?.ok()?;
        match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => say("250-mail.example.org\r\n250 8BITMIME")?,
            "MAIL" => {
                mail = Mail { from: address(&line)?, ..Mail::default() };
                say("250 ok")?
            }
            "RCPT" => {
                if to_recipients.starts_with('2') {
                    mail.to.push(address(&line)?);
                }
                say(to_recipients)?
            }
            "DATA" => {
                say("354 go on")?;
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    mail.data += &format!("{}\r\n", line.strip_prefix('.').unwrap_or(&line));
                }
                mails.lock().unwrap().push(std::mem::take(&mut mail));
                say("250 ok")?
            }
            "QUIT" => {
                say("221 bye")?;
                return None;
            }
            _ => say("250 ok")?,
        };
    }
}
