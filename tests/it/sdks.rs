//! Stripe's official libraries sign, verify and read; the daemon and the sandbox must agree with
//! them.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::outside::{
    Process, SECRETS, address_of, event, exchange, installed, machine_program,
    shop_with_two_secrets, webhook,
};
use crate::shop::{PATIENCE, Running, fulfilld, request, sign, unix_now, wait_for};

#[test]
fn what_stripe_s_libraries_sign_is_acknowledged() {
    let shop = shop_with_two_secrets();
    let desk = address_of(shop.desk());
    for library in Library::all() {
        for (body, name) in [
            (event(&format!("evt_{}", library.name)), "a snapshot event"),
            (thin(&format!("evt_thin_{}", library.name)), "a thin event"),
            (
                event(&format!("evt_utf8_{}", library.name))
                    .replace("{}", r#"{"name":"Zoë 🛒 Ōsaka"}"#),
                "other scripts",
            ),
            (
                format!("\n{}\n", event(&format!("evt_lines_{}", library.name))),
                "line ends around the body",
            ),
        ] {
            for secret in SECRETS {
                let header = library.sign(body.as_bytes(), secret);
                let reply =
                    exchange(desk, &webhook(Some(&header), body.as_bytes())).expect("an answer");
                assert_eq!(
                    (reply.status, reply.body.as_str()),
                    (200, r#"{"received":true}"#),
                    "{}, {name}",
                    library.name
                );
            }
        }
    }
    // Four bodies of each library are eight events, each delivered twice.
    assert_eq!(shop.one("SELECT count(*) FROM events"), "8");
}

/// Every situation is put to both libraries and to the running daemon. Where the libraries agree,
/// the daemon must decide as they do, unless the situation stands in `apart` with its reason.
#[test]
fn the_daemon_accepts_what_stripe_s_libraries_accept() {
    let shop = shop_with_two_secrets();
    let desk = address_of(shop.desk());
    let libraries = Library::all();
    let mut wrong = Vec::new();
    let mut judge = |s: &Situation, expected: Verdicts| {
        let [node, python] = libraries.each_ref().map(|library| library.accepts(s));
        let request = webhook(s.header.as_deref(), &s.body);
        let fulfilld = match exchange(desk, &request) {
            Some(reply) if reply.status == 200 => true,
            Some(reply) if reply.status == 400 => false,
            // A header that is not ASCII ends the connection.
            None if s.header.as_deref().is_some_and(|h| !h.is_ascii()) => false,
            reply => panic!("{}: {reply:?}", s.name),
        };
        let found = Verdicts { node, python, fulfilld };
        if found != expected {
            wrong.push(format!(
                "{}: expected {expected:?}, found {found:?}\n  {:?}",
                s.name, s.header
            ));
        }
    };
    for (situation, accepted) in unanimous() {
        judge(&situation, Verdicts { node: accepted, python: accepted, fulfilld: accepted });
    }
    for (situation, expected, _why) in apart() {
        judge(&situation, expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What our own sandbox signs and serves must be Stripe's to a program that was written for Stripe,
/// or tests against it would prove nothing.
#[test]
fn stripe_s_libraries_take_the_sandbox_for_stripe() {
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/webhook", receiver.local_addr().expect("it is bound"));
    let mut sandbox = fulfilld();
    sandbox.args([
        "sandbox",
        "--listen",
        "127.0.0.1:0",
        "--secret",
        SECRETS[1],
        "--shape",
        "both",
        "--webhook",
        &url,
    ]);
    let sandbox = Running::start(&mut sandbox);
    let api = &sandbox.url;
    let asked = json!({"scenario": "many-lines"}).to_string();
    let (status, made) = request(api, "POST", "/_sandbox/trigger", &[], asked.as_bytes())
        .expect("the sandbox answers");
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).expect("the control answers JSON");
    let session = &made["purchases"][0]["session"];

    let libraries = Library::all();
    let mut shapes = Vec::new();
    while shapes.len() < 2 {
        let (header, body) = receive(&receiver);
        let said: Value = serde_json::from_slice(&body).expect("the sandbox sends JSON");
        let thin = said["object"] == "v2.core.event";
        for library in &libraries {
            let verdict = library.ask(&json!({
                "do": "verify", "body": hex(&body), "header": header, "secret": SECRETS[1], "thin": thin
            }));
            assert_eq!(verdict["accepted"], true, "{}: {verdict}", library.name);
        }
        if !shapes.contains(&thin) {
            shapes.push(thin);
        }
    }
    for library in &libraries {
        let bought = library.ask(&json!({"do": "purchase", "api": api, "session": session}));
        assert_eq!(bought["session"]["id"], *session, "{}: {bought}", library.name);
        assert_eq!(bought["session"]["payment_status"], "paid", "{}", library.name);
        let lines =
            bought["line_items"].as_array().unwrap_or_else(|| panic!("{}: {bought}", library.name));
        assert_eq!(lines.len(), 100, "{}", library.name);
        assert!(
            lines.iter().all(|line| line["price"]["product"]["name"].is_string()),
            "{}: {bought}",
            library.name
        );
    }
}

/// A request as it reaches a webhook.
struct Situation {
    name: &'static str,
    header: Option<String>,
    body: Vec<u8>,
}

/// Who accepts it.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Verdicts {
    node: bool,
    python: bool,
    fulfilld: bool,
}

const ACCEPTED: bool = true;
const REFUSED: bool = false;

fn situation(name: &'static str, header: impl Into<String>, body: &[u8]) -> Situation {
    Situation { name, header: Some(header.into()), body: body.to_vec() }
}

/// Situations in which the libraries agree, and what they say.
fn unanimous() -> Vec<(Situation, bool)> {
    let body = event("evt_situation");
    let body = body.as_bytes();
    let t = unix_now().to_string();
    let good = signature(SECRETS[1], &t, body);
    let first_secret = signature(SECRETS[0], &t, body);
    let other = signature("whsec_of_somebody_else", &t, body);
    let aged = |age: i64| {
        let t = (unix_now() as i64 - age).to_string();
        format!("t={t},v1={}", signature(SECRETS[1], &t, body))
    };
    let signed = |name, body: &[u8]| situation(name, signed_now(body), body);
    let header = |name, header: String| situation(name, header, body);
    let none_good = (0..16)
        .map(|i| format!(",v1={}", signature("whsec_x", &i.to_string(), body)))
        .collect::<String>();
    let mut changed = body.to_vec();
    *changed.last_mut().expect("it is not empty") = b' ';
    let oversize = format!(
        "{{\"id\":\"evt_long\",\"object\":\"event\",\"type\":\"product.created\",\"pad\":\"{}\"}}",
        "x".repeat(200_000)
    );
    vec![
        (header("good", format!("t={t},v1={good}")), ACCEPTED),
        (header("as delivered: t, v1, v0", format!("t={t},v1={good},v0={other}")), ACCEPTED),
        (header("v1 before t", format!("v1={good},t={t}")), ACCEPTED),
        (header("v0 before v1", format!("t={t},v0={other},v1={good}")), ACCEPTED),
        (header("the other secret of a roll", format!("t={t},v1={first_secret}")), ACCEPTED),
        (header("both secrets of a roll", format!("t={t},v1={first_secret},v1={good}")), ACCEPTED),
        (header("a wrong one before a good one", format!("t={t},v1={other},v1={good}")), ACCEPTED),
        (header("a good one before a wrong one", format!("t={t},v1={good},v1={other}")), ACCEPTED),
        (header("good beside bad_signature", format!("t={t},v1={good},v1=bad_signature")), ACCEPTED),
        (header("good after sixteen wrong ones", format!("t={t}{none_good},v1={good}")), ACCEPTED),
        (header("a pair without =", format!("t={t},v1={good},potato")), ACCEPTED),
        (header("stray commas", format!(",t={t},,v1={good},")), ACCEPTED),
        (header("a scheme of the future beside", format!("t={t},v2={other},v1={good}")), ACCEPTED),
        (header("290 s old", aged(290)), ACCEPTED),
        (header("10 min ahead: our clock is slow", aged(-600)), ACCEPTED),
        (header("a day ahead", aged(-86_400)), ACCEPTED),
        (
            signed(
                "other scripts",
                r#"{"id":"evt_scripts","object":"event","type":"product.created","name":"Zoë 🛒 Ōsaka"}"#.as_bytes(),
            ),
            ACCEPTED,
        ),
        (
            signed(
                "printed over lines",
                b"{\n  \"id\": \"evt_lines\",\n  \"object\": \"event\",\n  \"type\": \"product.created\"\n}\n",
            ),
            ACCEPTED,
        ),
        (
            signed("a key twice", br#"{"id":"evt_one","id":"evt_twice","object":"event","type":"product.created"}"#),
            ACCEPTED,
        ),
        (signed("200 kB", oversize.as_bytes()), ACCEPTED),
        (signed("a thin event", thin("evt_thin").as_bytes()), ACCEPTED),
        (signed("a type of the future", br#"{"id":"evt_future","object":"event","type":"moon.landed"}"#), ACCEPTED),
        (Situation { name: "no header", header: None, body: body.to_vec() }, REFUSED),
        (header("an empty header", String::new()), REFUSED),
        (header("bad_header", "bad_header".into()), REFUSED),
        (header("a sentence", "I'm not even a real signature header".into()), REFUSED),
        (header("v1,t=1", "v1,t=1".into()), REFUSED),
        (header("no t", format!("v1={good}")), REFUSED),
        (header("t without a value", format!("t=,v1={good}")), REFUSED),
        (header("T", format!("T={t},v1={good}")), REFUSED),
        (header("t=-1", format!("t=-1,v1={}", signature(SECRETS[1], "-1", body))), REFUSED),
        (header("t=12345", format!("t=12345,v1={}", signature(SECRETS[1], "12345", body))), REFUSED),
        (header("310 s old", aged(310)), REFUSED),
        (header("a year old", aged(365 * 86_400)), REFUSED),
        (header("another t than was signed", format!("t={},v1={good}", unix_now() - 1)), REFUSED),
        (header("no signature", format!("t={t}")), REFUSED),
        (header("only v0", format!("t={t},v0={good}")), REFUSED),
        (header("V1", format!("t={t},V1={good}")), REFUSED),
        (header("v10", format!("t={t},v10={good}")), REFUSED),
        (header("blank after the comma", format!("t={t}, v1={good}")), REFUSED),
        (header("bad_signature", format!("t={t},v1=bad_signature")), REFUSED),
        (header("somebody else's secret", format!("t={t},v1={other}")), REFUSED),
        (header("all zeros", format!("t={t},v1={}", "0".repeat(64))), REFUSED),
        (header("sixteen wrong ones", format!("t={t}{none_good}")), REFUSED),
        (header("capital digits", format!("t={t},v1={}", good.to_uppercase())), REFUSED),
        (header("one digit short", format!("t={t},v1={}", &good[..63])), REFUSED),
        (header("one digit long", format!("t={t},v1={good}0")), REFUSED),
        (header("quoted", format!("t={t},v1=\"{good}\"")), REFUSED),
        (header("digits that are not ASCII", format!("t={t},v1={}", "é".repeat(32))), REFUSED),
        (situation("one byte of the body changed", format!("t={t},v1={good}"), &changed), REFUSED),
        (
            situation("signed over the body alone", format!("t={t},v1={}", signature(SECRETS[1], "", body)), body),
            REFUSED,
        ),
        (signed("no body", b""), REFUSED),
        (signed("rubbish, rightly signed", b"this is not JSON"), REFUSED),
        (signed("half a body, rightly signed", &body[..body.len() / 2]), REFUSED),
        (signed("not UTF-8, rightly signed", b"{\"id\":\"evt_\xff\",\"object\":\"event\"}"), REFUSED),
        (situation("a thin event, wrongly signed", format!("t={t},v1={good}"), thin("evt_2").as_bytes()), REFUSED),
    ]
}

/// Situations in which the libraries disagree, or in which the daemon differs from them on purpose;
/// with the reason. Stripe sends none of these.
fn apart() -> Vec<(Situation, Verdicts, &'static str)> {
    let body = event("evt_apart");
    let body = body.as_bytes();
    let t = unix_now().to_string();
    let earlier = (unix_now() - 1).to_string();
    let good = signature(SECRETS[1], &t, body);
    let header = |name, header: String| situation(name, header, body);
    let signed = |name, body: &[u8]| situation(name, signed_now(body), body);
    let padded = format!("0{t}");
    let bom = [b"\xef\xbb\xbf", body].concat();
    let verdicts = |node, python, fulfilld| Verdicts { node, python, fulfilld };
    let one_time =
        "t is one run of 1 to 12 digits, and the text that stands there is what was signed";
    let an_event =
        "an event is a JSON object with an id: without one it could neither be kept nor told apart";
    vec![
        (
            header("t=+n", format!("t=+{t},v1={good}")),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header("t= n", format!("t= {t},v1={good}")),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header("t=0n, signed as n", format!("t={padded},v1={good}")),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header(
                "t=0n, signed as it stands",
                format!("t={padded},v1={}", signature(SECRETS[1], &padded, body)),
            ),
            verdicts(REFUSED, REFUSED, ACCEPTED),
            "the library for .NET signs what stands there; whoever can do this has the secret",
        ),
        (
            header("t=nabc", format!("t={t}abc,v1={good}")),
            verdicts(ACCEPTED, REFUSED, REFUSED),
            one_time,
        ),
        (
            header("t=n.5", format!("t={t}.5,v1={good}")),
            verdicts(ACCEPTED, REFUSED, REFUSED),
            one_time,
        ),
        (
            header("t=n_n", format!("t={}_{},v1={good}", &t[..4], &t[4..])),
            verdicts(REFUSED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header("t=yesterday", format!("t=yesterday,v1={}", signature(SECRETS[1], "NaN", body))),
            verdicts(ACCEPTED, REFUSED, REFUSED),
            "a signature over NaN has no age",
        ),
        (
            header("the same t twice", format!("t={t},t={t},v1={good}")),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header("two t, the first signed", format!("t={t},t={earlier},v1={good}")),
            verdicts(REFUSED, ACCEPTED, REFUSED),
            one_time,
        ),
        (
            header("two t, the last signed", format!("t={earlier},t={t},v1={good}")),
            verdicts(ACCEPTED, REFUSED, REFUSED),
            one_time,
        ),
        (
            header("a second = after v1", format!("t={t},v1={good}=")),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            "the libraries for Go, Ruby and PHP refuse it too: it is no longer 64 digits",
        ),
        (
            header("an empty v1 beside a good one", format!("t={t},v1=,v1={good}")),
            verdicts(REFUSED, ACCEPTED, ACCEPTED),
            "the library for Node.js throws; all the others skip it",
        ),
        (
            signed("a byte order mark, signed with it", &bom),
            verdicts(REFUSED, ACCEPTED, REFUSED),
            "JSON has none (RFC 8259, section 8.1)",
        ),
        (
            situation("a byte order mark, signed without it", signed_now(body), &bom),
            verdicts(ACCEPTED, REFUSED, REFUSED),
            "not the bytes that were signed",
        ),
        (signed("null", b"null"), verdicts(ACCEPTED, REFUSED, REFUSED), an_event),
        (signed("a number", b"42"), verdicts(ACCEPTED, REFUSED, REFUSED), an_event),
        (signed("a text", br#""evt_1""#), verdicts(ACCEPTED, REFUSED, REFUSED), an_event),
        (signed("a list", b"[]"), verdicts(ACCEPTED, REFUSED, REFUSED), an_event),
        (
            signed("an object without an id", br#"{"object":"event"}"#),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            an_event,
        ),
        (
            signed("an id that is a number", br#"{"id":7,"object":"event"}"#),
            verdicts(ACCEPTED, ACCEPTED, REFUSED),
            an_event,
        ),
    ]
}

fn signed_now(body: &[u8]) -> String {
    sign(body, SECRETS[1], unix_now())
}

/// The 64 digits over any text in the place of the time.
fn signature(secret: &str, t: &str, body: &[u8]) -> String {
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    hex(&mac.chain_update(t).chain_update(b".").chain_update(body).finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A thin event that is kept and leads to nothing.
fn thin(id: &str) -> String {
    json!({
        "id": id, "object": "v2.core.event", "type": "v1.product.created", "livemode": false,
        "created": "2026-11-24T03:05:00.000Z", "context": null,
        "related_object": {"id": "prod_1", "type": "product", "url": "/v1/products/prod_1"}
    })
    .to_string()
}

/// One of Stripe's libraries, running in its own language.
struct Library {
    name: &'static str,
    _process: Process,
    questions: RefCell<ChildStdin>,
    answers: RefCell<BufReader<ChildStdout>>,
}

impl Library {
    fn all() -> [Library; 2] {
        installed("node_modules/stripe");
        let mut node = machine_program("node");
        node.arg(installed("stripe-node.mjs"));
        let mut python = Command::new(installed(".venv/bin/python"));
        python.arg(installed("stripe_python.py"));
        [Library::start("node", node), Library::start("python", python)]
    }

    fn start(name: &'static str, mut command: Command) -> Library {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Process(spawned.unwrap_or_else(|e| panic!("{name}: {e}")));
        let questions = RefCell::new(process.0.stdin.take().expect("stdin is piped"));
        let answers =
            RefCell::new(BufReader::new(process.0.stdout.take().expect("stdout is piped")));
        Library { name, _process: process, questions, answers }
    }

    fn ask(&self, question: &Value) -> Value {
        writeln!(self.questions.borrow_mut(), "{question}")
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let mut line = String::new();
        self.answers
            .borrow_mut()
            .read_line(&mut line)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{}: {e}; run tests/setup ({line:?})", self.name))
    }

    fn sign(&self, body: &[u8], secret: &str) -> String {
        let answer = self.ask(
            &json!({"do": "sign", "body": hex(body), "secret": secret, "timestamp": unix_now()}),
        );
        answer["header"].as_str().unwrap_or_else(|| panic!("{}: {answer}", self.name)).into()
    }

    /// True when it accepts the request under either of the secrets, as a server does that is
    /// rolling one.
    fn accepts(&self, s: &Situation) -> bool {
        let body: Value = serde_json::from_slice(&s.body).unwrap_or_default();
        let thin = body["object"] == "v2.core.event";
        SECRETS.iter().any(|secret| {
            let question = json!({
                "do": "verify", "body": hex(&s.body), "header": s.header, "secret": secret, "thin": thin
            });
            self.ask(&question)["accepted"].as_bool().unwrap_or_else(|| panic!("{}: {}", self.name, s.name))
        })
    }
}

/// Takes one delivery, acknowledges it, and gives back its signature header and its body.
fn receive(receiver: &TcpListener) -> (String, Vec<u8>) {
    receiver.set_nonblocking(true).expect("a listener can be asked");
    let (stream, _) = wait_for("the sandbox delivers", || receiver.accept().ok());
    stream.set_nonblocking(false).expect("a stream can be waited for");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut reader = BufReader::new(&stream);
    let mut header = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head is text");
        let (name, value) = match line.trim_end().split_once(": ") {
            Some(pair) => pair,
            None if line.trim_end().is_empty() => break,
            None => continue,
        };
        match name.to_ascii_lowercase().as_str() {
            "stripe-signature" => header = value.into(),
            "content-length" => length = value.parse().expect("a length is a number"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body is as long as it says");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    (&stream).write_all(answer).expect("the sandbox reads the answer");
    (header, body)
}
