//! The page for people who pack: who is let in, what each form does, and what it refuses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::shop::{Running, Shop, fulfilld, wait_for};

/// What the proxy sends.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A shop with the page, and purchases of these scenarios as orders 1, 2, 3 …
pub struct Desk {
    pub shop: Shop,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

/// What the page answered.
pub struct Seen {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Seen {
    /// The value of a hidden field in the first form that has it.
    pub fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, rest) =
            self.body.split_once(&mark).unwrap_or_else(|| panic!("no {name}: {}", self.body));
        rest.split('"').next().unwrap_or_default().to_string()
    }

    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find(|line| {
            line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        });
        line.and_then(|line| line.split_once(": ")).map(|(_, v)| v.to_string()).unwrap_or_default()
    }

    pub fn shows(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}

impl Desk {
    pub fn open(scenarios: &[&str]) -> Desk {
        Desk::open_with(&[], scenarios)
    }

    fn open_with(more: &[(&str, &str)], scenarios: &[&str]) -> Desk {
        let settings = [
            ("FULFILLD_PAGE_LISTEN", "127.0.0.1:0"),
            ("FULFILLD_PAGE_SECRET", SECRET),
            ("FULFILLD_PAGE_PACK", "bert, berta"),
            ("FULFILLD_PAGE_ALL", "anna"),
        ];
        let settings = [&settings, more].concat();
        let shop = Shop::open_with(&settings, &["--webhook", "none", "--rate", "0"]);
        let host = page_of(shop.desk());
        let desk = Desk { shop, host };
        desk.sell(scenarios);
        desk
    }

    fn sell(&self, scenarios: &[&str]) {
        for scenario in scenarios {
            for purchase in self.shop.buy(scenario, 1, "snapshot") {
                for (event, _) in &purchase.events {
                    assert_eq!(self.shop.deliver(event), 200);
                }
                self.shop.settle();
            }
        }
    }

    /// A request as the proxy passes it on for that user.
    fn ask(
        &self,
        user: &str,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> Seen {
        let mut headers = vec![("X-Fulfilld-Page-Secret", SECRET), ("X-Fulfilld-User", user)];
        headers.extend(more);
        self.raw(method, path, &headers, body)
    }

    fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
        Desk::ask_at(&self.host, method, path, headers, body)
    }

    /// A request to an address, which is also its Host.
    pub fn ask_at(
        host: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Seen {
        let mut stream = TcpStream::connect(host).expect("the page listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", host);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).expect("it takes the request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // The style is the same everywhere, and would hide what a failure shows.
        let answer = match (answer.find("<style>:root"), answer.find("</style>")) {
            (Some(from), Some(to)) => format!("{}{}", &answer[..from], &answer[to + 8..]),
            _ => answer,
        };
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Seen { status, head: head.into(), body: body.into() }
    }

    fn look(&self, user: &str, path: &str) -> Seen {
        self.ask(user, "GET", path, &[], b"")
    }

    /// A form as a browser sends it from the page itself.
    fn send(&self, user: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
        let origin = format!("http://{}", self.host);
        let more = [
            ("Origin", origin.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.ask(user, "POST", path, &more, encoded(fields).as_bytes())
    }

    /// Opens a page, and sends its form back with those fields.
    fn fill_in(&self, user: &str, page: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
        let seen = self.look(user, page);
        assert_eq!(seen.status, 200, "{page}: {}", seen.body);
        let (token, version) = (seen.field("token"), seen.field("seen"));
        let known = [("token", token.as_str()), ("seen", version.as_str())];
        self.send(user, path, &[&known, fields].concat())
    }
}

/// The page's `127.0.0.1:PORT`, as `serve` says it.
fn page_of(desk: &Running) -> String {
    let (_, rest) = desk.line.split_once("the page is http://").expect("serve names the page");
    rest.split('/').next().unwrap_or_default().to_string()
}

pub fn encoded(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        text.bytes()
            .map(|b| match b.is_ascii_alphanumeric() {
                true => (b as char).to_string(),
                false => format!("%{b:02X}"),
            })
            .collect::<String>()
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

#[test]
fn nobody_sees_the_page_but_through_the_proxy_and_with_a_name_that_it_knows() {
    let desk = Desk::open(&["card"]);
    let secret = ("X-Fulfilld-Page-Secret", SECRET);
    for (headers, why) in [
        (vec![], "through the proxy alone"),
        (vec![("X-Fulfilld-User", "anna")], "through the proxy alone"),
        (
            vec![("X-Fulfilld-User", "anna"), ("X-Fulfilld-Page-Secret", "0123")],
            "through the proxy alone",
        ),
        (vec![("X-Fulfilld-User", "anna"), secret, secret], "through the proxy alone"),
        (vec![secret], "Nobody is logged in"),
        // A name that came along with the one of the proxy's.
        (
            vec![secret, ("X-Fulfilld-User", "bert"), ("x-fulfilld-user", "anna")],
            "Nobody is logged in",
        ),
        (vec![secret, ("X-Fulfilld-User", "bert, anna")], "letters, digits"),
        (vec![secret, ("X_Fulfilld_User", "anna")], "Nobody is logged in"),
        (vec![secret, ("X-Fulfilld-User", "Anna")], "Anna is in neither"),
        (vec![secret, ("X-Fulfilld-User", "mallory")], "mallory is in neither"),
        (vec![secret, ("X-Fulfilld-User", "<b>anna</b>")], "letters, digits"),
    ] {
        for path in ["/desk/pack", "/desk/order/1", "/desk/books.csv", "/nothing"] {
            let seen = desk.raw("GET", path, &headers, b"");
            assert!(
                seen.status == 403 && seen.shows(why),
                "{headers:?} {path}: {} {}",
                seen.status,
                seen.body
            );
            assert!(!seen.shows("Ada"), "{}", seen.body);
        }
    }
    let seen = desk.look("bert", "/desk/pack");
    assert!(seen.status == 200 && seen.shows("1 parcel to pack"), "{}", seen.body);
    // Packers look and ship, and no more.
    for path in ["attention", "books", "books.csv", "health"] {
        assert_eq!(desk.look("bert", &format!("/desk/{path}")).status, 403, "{path}");
        assert_eq!(desk.look("anna", &format!("/desk/{path}")).status, 200, "{path}");
    }
    let history = || desk.shop.one("SELECT count(*) FROM order_history");
    let before = history();
    for action in [
        "hold", "release", "deliver", "note", "address", "reship", "cancel", "split", "tracking",
        "dismiss",
    ] {
        let fields = [("reason", "other"), ("note", "x"), ("fulfillment", "1"), ("number", "JD1")];
        let path = format!("/desk/order/1/{action}");
        let refused = desk.fill_in("bert", "/desk/parcel/1-1", &path, &fields);
        let why = "bert may pack and ship, not ";
        assert!(refused.status == 422 && refused.shows(why), "{action}: {}", refused.body);
    }
    for action in ["dismiss", "again"] {
        let fields = [("subject", "evt_1"), ("reason", "event_failed")];
        let path = format!("/desk/attention/{action}");
        assert_eq!(desk.fill_in("bert", "/desk/parcel/1-1", &path, &fields).status, 403, "{path}");
    }
    let undo = desk.fill_in("bert", "/desk/parcel/1-1", "/desk/tracking/undo", &[("orders", "1")]);
    assert!(undo.status == 422 && undo.shows("not yours to take back"), "{}", undo.body);
    assert_eq!(history(), before);
    // No spelling of a path leads a packer past that, or out of the page.
    for path in [
        "/desk/../desk/books",
        "/desk/%62ooks",
        "/desk/%2e%2e/desk/books",
        "/desk//books",
        "//desk/books",
        "/desk/books/",
        "/desk/Books",
        "/desk/order/1/../../books",
        "/desk/books.csv?month=2026-11",
        "/desk/parcel/../books",
        "/desk/order/1;books",
        "/desk/style.css",
        "/desk/../../etc/passwd",
        "http://127.0.0.1/desk/books",
    ] {
        let seen = desk.look("bert", path);
        assert!((300..500).contains(&seen.status), "{path}: {}", seen.status);
        assert!(!seen.shows("By day") && !seen.shows("root:"), "{path}: {}", seen.body);
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let seen = desk.ask("anna", method, "/desk/pack", &[], b"");
        assert!(seen.status == 405 && !seen.shows("parcel to pack"), "{method}: {}", seen.body);
    }
    let head = desk.ask("bert", "HEAD", "/desk/pack", &[], b"");
    assert!(head.status == 200 && head.body.is_empty(), "{}", head.body);
    // The page is on its own door: the webhook's has none of it, and the page's has no webhook.
    assert_eq!(desk.shop.get("/desk/pack").0, 404);
    assert_eq!(desk.look("anna", "/webhook").status, 404);
}

#[test]
fn a_browser_stores_frames_and_runs_nothing_of_it_whatever_a_customer_is_called() {
    let desk = Desk::open(&["card", "card"]);
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    // Whatever a buyer, a seller's Dashboard, a label service or a colleague can type.
    let update = format!(
        "UPDATE orders SET shipping_name = '{0}', name = '{0}', note = '{0}', hold_reason = NULL,
           shipping_line1 = '{0}', shipping_line2 = '{0}', shipping_city = '{0}', phone = '{0}', email = '{0}'
         WHERE id = 1;
         BEGIN IMMEDIATE; UPDATE actor SET name = 'stripe:{0}';
         UPDATE orders SET shipping_option = '{0}', business_name = '{0}', client_reference_id = '{0}',
           custom_fields = json_array(json_object('key', '{0}', 'label', json_object('custom', '{0}'),
             'text', json_object('value', '{0}'))), metadata = json_object('{0}', '{0}') WHERE id = 1;
         INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status, currency, amount_total, name,
           shipping_name, shipping_line1, created_at, as_of)
         SELECT 3, 'cs_3', 0, 'payment', 'unpaid', 'eur', 100, name, name, name, created_at, as_of
         FROM orders WHERE id = 1;
         INSERT INTO line_items(id, order_id, position, name, options, sku, quantity, currency, amount_total,
           requires_shipping) VALUES('li_3', 3, 1, '{0}', '{0}', '{0}', 2, 'eur', 100, 1);
         UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at WHERE id = 3;
         UPDATE actor SET name = 'operator'; COMMIT;
         INSERT INTO ship VALUES(2, '{0}', '{0}', 'javascript:alert(1)//{0}');
         INSERT INTO reship VALUES(2, 'other');
         INSERT INTO hold VALUES(2, '{0}');",
        evil.replace('\'', "''")
    );
    desk.shop.shell(&update).expect("the operator may correct it");
    for path in [
        "pack",
        "pack?q=%3Cscript%3E",
        "parcel/1-1",
        "order/1",
        "order/2",
        "parcel/3-1",
        "order/3",
        "orders",
        "orders?q=%22%3E%3Cscript%3E",
        "tracking",
        "attention",
    ] {
        let seen = desk.look("anna", &format!("/desk/{path}"));
        assert!(seen.status == 200 || seen.status == 303, "{path}: {}", seen.body);
        let lower = seen.body.to_lowercase();
        assert!(!lower.contains("<script") && !lower.contains("<img"), "{path}: {}", seen.body);
        assert!(!lower.contains("href=\"javascript"), "{path}: {}", seen.body);
        assert_eq!(seen.header("Cache-Control"), "no-store", "{path}");
        assert_eq!(seen.header("X-Frame-Options"), "DENY", "{path}");
        let policy = seen.header("Content-Security-Policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("script"),
            "{path}: {policy}"
        );
        assert!(
            seen.status == 303 || policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
    }
    let seen = desk.look("anna", "/desk/order/1");
    assert!(seen.shows("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", seen.body);
    let token = desk.look("anna", "/desk/pack").field("token");
    let slips = desk.send("anna", "/desk/slips", &[("token", &token)]);
    assert!(
        slips.status == 200 && !slips.body.to_lowercase().contains("<script"),
        "{}",
        slips.body
    );
}

#[test]
fn a_form_of_another_site_of_another_user_or_without_a_token_does_nothing() {
    let desk = Desk::open(&["card"]);
    let seen = desk.look("anna", "/desk/order/1");
    let (token, version) = (seen.field("token"), seen.field("seen"));
    let origin = format!("http://{}", desk.host);
    let typed = ("Content-Type", "application/x-www-form-urlencoded");
    let post = |user: &str, headers: &[(&str, &str)], token: &str| {
        let body = encoded(&[("token", token), ("seen", &version), ("reason", "a stranger's")]);
        desk.ask(user, "POST", "/desk/order/1/hold", headers, body.as_bytes())
    };
    let (own, foreign) = (("Origin", origin.as_str()), ("Origin", "https://evil.example"));
    let old = token.replacen(&token[..3], "100", 1);
    for (what, answer) in [
        ("another site", post("anna", &[foreign, typed], &token)),
        ("a site that hides its name", post("anna", &[("Origin", "null"), typed], &token)),
        ("no site at all", post("anna", &[typed], &token)),
        ("a sister site", post("anna", &[own, ("Sec-Fetch-Site", "same-site"), typed], &token)),
        (
            "a site, as the browser says",
            post("anna", &[own, ("Sec-Fetch-Site", "cross-site"), typed], &token),
        ),
        ("no token", post("anna", &[own, typed], "")),
        ("a token that was made up", post("anna", &[own, typed], &old)),
        ("a text as the token", post("anna", &[own, typed], "a.b")),
    ] {
        assert_eq!(answer.status, 403, "{what}: {}", answer.body);
    }
    let others = desk.look("bert", "/desk/pack").field("token");
    assert_eq!(post("anna", &[own, typed], &others).status, 403, "the token of another user");
    assert_eq!(desk.ask("anna", "GET", "/desk/order/1/hold", &[], b"").status, 404, "a link");
    assert_eq!(desk.ask("anna", "PUT", "/desk/order/1/hold", &[own, typed], b"").status, 405);
    assert_eq!(desk.shop.one("SELECT hold_reason FROM orders"), "");
    assert_eq!(post("anna", &[own, typed], &token).status, 303, "the page's own form");
    assert_eq!(desk.shop.one("SELECT hold_reason FROM orders"), "a stranger's");
    // The same form again shows an order as it no longer is.
    let again = post("anna", &[own, typed], &token);
    assert!(again.status == 409 && again.shows("has changed since"), "{}", again.body);
}

#[test]
fn the_tests_of_foreign_and_old_forms_would_notice_a_page_that_takes_any() {
    let desk = Desk::open_with(&[("FULFILLD_SABOTAGE", "page_takes_any_form")], &["card"]);
    let typed = ("Content-Type", "application/x-www-form-urlencoded");
    for reason in ["first", "second"] {
        let body = encoded(&[("token", ""), ("seen", "1"), ("reason", reason)]);
        let foreign = [("Origin", "https://evil.example"), typed];
        let done = desk.ask("anna", "POST", "/desk/order/1/hold", &foreign, body.as_bytes());
        assert_eq!(done.status, 303, "{}", done.body);
    }
    assert_eq!(desk.shop.one("SELECT hold_reason FROM orders"), "second");
}

#[test]
fn a_scanner_ships_one_parcel_after_the_other_express_first() {
    let mut desk = Desk::open(&["card", "card", "card"]);
    // The second one's buyer chose Express.
    desk.shop.kill();
    let c = rusqlite::Connection::open(desk.shop.file()).expect("the file opens");
    c.execute_batch(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test';
         UPDATE orders SET shipping_option = 'Express' WHERE id = 2;
         UPDATE actor SET name = 'operator'; COMMIT;",
    )
    .expect("a fact can be set by who is no person");
    drop(c);

    desk.shop.start();
    desk.host = page_of(desk.shop.desk());

    let queue = desk.look("bert", "/desk/pack");
    let at = |parcel: &str| queue.body.find(&format!("value=\"{parcel}\"")).expect("it waits");
    assert!(at("2-1") < at("1-1") && at("1-1") < at("3-1"), "{}", queue.body);

    let shipped = |parcel: &str, number: &str| {
        let path = format!("/desk/parcel/{parcel}");
        let fields = [("company", "DHL"), ("number", number)];
        desk.fill_in("bert", &path, &path, &fields)
    };
    assert_eq!(shipped("2-1", "JD0146000021").header("Location"), "/desk/parcel/1-1?done=2-1");
    let next = desk.look("bert", "/desk/parcel/1-1?done=2-1");
    assert!(next.shows("2-1 is shipped: DHL JD0146000021"), "{}", next.body);
    assert!(next.shows("value=\"DHL\""), "the carrier stays: {}", next.body);
    // The number of another order is refused in a sentence without SQL, and what was typed stays.
    let refused = shipped("1-1", "JD0146000021");
    if refused.status == 422 {
        assert!(refused.shows("order 2") && !refused.shows("SELECT"), "{}", refused.body);
    }
    assert_eq!(shipped("1-1", "JD0146000011").header("Location"), "/desk/parcel/3-1?done=1-1");
    assert_eq!(shipped("3-1", "JD0146000031").header("Location"), "/desk/pack?done=3-1");
    assert_eq!(
        desk.shop.rows(
            "SELECT DISTINCT actor FROM order_history \
                        WHERE what GLOB 'fulfillment * status' AND new = 'shipped'"
        ),
        ["page:bert"]
    );
    // A packer takes back what was their own, and no more.
    let undone = desk.fill_in("bert", "/desk/pack?done=3-1", "/desk/order/3/undo", &[]);
    assert_eq!(undone.status, 303, "{}", undone.body);
    assert_eq!(
        desk.shop
            .one("SELECT status FROM fulfillments WHERE order_id = 3 AND status <> 'canceled'"),
        "pending"
    );
    let last = "SELECT actor FROM order_history WHERE order_id = 3 ORDER BY id DESC LIMIT 1";
    assert_eq!(desk.shop.one(last), "fulfilld:undo page:bert");
    let others = desk.fill_in("berta", "/desk/pack?done=1-1", "/desk/order/1/undo", &[]);
    assert!(others.status == 422 && others.shows("not yours to take back"), "{}", others.body);
    desk.shop.check();
}

#[test]
fn two_packers_at_one_parcel_ship_it_once_and_the_second_sees_by_whom() {
    let desk = Desk::open(&["card", "card"]);
    let page = desk.look("bert", "/desk/parcel/1-1");
    let same = desk.look("berta", "/desk/parcel/1-1");
    let ship = |user: &str, page: &Seen, number: &str| {
        let (token, seen) = (page.field("token"), page.field("seen"));
        let fields =
            [("token", token.as_str()), ("seen", &seen), ("company", "DHL"), ("number", number)];
        desk.send(user, "/desk/parcel/1-1", &fields)
    };
    assert_eq!(ship("bert", &page, "JD0146000001").status, 303);
    let second = ship("berta", &same, "JD0146000002");
    assert_eq!(second.status, 409, "{}", second.body);
    assert!(
        second.shows("shipped by page:bert") && second.shows("JD0146000001"),
        "{}",
        second.body
    );
    assert_eq!(
        desk.shop.rows("SELECT tracking_number FROM fulfillments WHERE order_id = 1"),
        ["JD0146000001"]
    );
    // An order that changed while its parcel still waits: what was typed stays, and what changed is said.
    let old = desk.look("bert", "/desk/parcel/2-1");
    desk.shop
        .shell("UPDATE orders SET note = 'gift wrap' WHERE id = 2")
        .expect("the operator writes a note");
    let (token, seen) = (old.field("token"), old.field("seen"));
    let fields = [
        ("token", token.as_str()),
        ("seen", &seen),
        ("company", "DHL"),
        ("number", "JD0146000003"),
    ];
    let refused = desk.send("bert", "/desk/parcel/2-1", &fields);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.shows("operator: note: gift wrap") && refused.shows("JD0146000003"),
        "{}",
        refused.body
    );
    assert_eq!(desk.shop.one("SELECT status FROM fulfillments WHERE order_id = 2"), "pending");
}

#[test]
fn everything_of_an_order_can_be_done_and_taken_back_in_the_name_of_a_person() {
    let desk = Desk::open(&["mixed"]);
    let page = "/desk/order/1";
    let act = |action: &str, fields: &[(&str, &str)]| {
        let done = desk.fill_in("anna", page, &format!("{page}/{action}"), fields);
        assert_eq!(done.status, 303, "{action}: {}", done.body);
    };
    let one = |sql: &str| desk.shop.one(sql);
    act("hold", &[("reason", "asks for another color")]);
    assert_eq!(one("SELECT hold_reason FROM orders"), "asks for another color");
    assert!(desk.look("anna", page).shows("On hold: asks for another color"));
    // The command line takes back what somebody did on the page.
    let out = fulfilld().args(["undo", "--db"]).arg(desk.shop.file()).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(one("SELECT coalesce(hold_reason, '') FROM orders"), "");
    act("hold", &[("reason", "asks for another color")]);
    act("release", &[]);
    act("note", &[("note", "gift wrap")]);
    act(
        "address",
        &[
            ("shipping_line1", "12 Rue Exemple"),
            ("shipping_city", "Lyon"),
            ("shipping_country", "FR"),
            ("shipping_postal_code", "69001"),
            ("shipping_name", "Zoé"),
            ("email", "zoe@example.org"),
        ],
    );
    assert_eq!(
        one("SELECT note || '|' || shipping_line1 || '|' || shipping_city FROM orders"),
        "gift wrap|12 Rue Exemple|Lyon"
    );
    act("undo", &[]);
    assert_ne!(one("SELECT shipping_line1 FROM orders"), "12 Rue Exemple");
    // Nothing that the file refuses, and what was typed is still there.
    let refused = desk.fill_in("anna", page, &format!("{page}/hold"), &[("reason", " ")]);
    assert!(
        refused.status == 422 && refused.shows("say why, for whoever packs next"),
        "{}",
        refused.body
    );
    let parcel =
        one("SELECT id FROM fulfillments WHERE requires_shipping = 1 AND status = 'pending'");
    let fields = [("company", "DHL"), ("number", "JD0146000001")];
    assert_eq!(desk.fill_in("anna", "/desk/parcel/1-1", "/desk/parcel/1-1", &fields).status, 303);
    act("tracking", &[("fulfillment", &parcel), ("company", "DHL"), ("number", "JD0146000009")]);
    assert_eq!(
        one(&format!("SELECT tracking_number FROM fulfillments WHERE id = {parcel}")),
        "JD0146000009"
    );
    act("reship", &[("reason", "lost"), ("items", "")]);
    assert_eq!(one("SELECT count(*) FROM to_ship WHERE replacement = 'lost'"), "1");
    act("undo", &[]);
    // One of several has arrived, and not a parcel of another order.
    let deliver = format!("{page}/deliver");
    let refused = desk.fill_in("anna", page, &deliver, &[("fulfillment", "99")]);
    assert!(refused.status == 422 && refused.shows("there is no such parcel"), "{}", refused.body);
    assert!(desk.look("anna", page).shows("Mark 1-1 as delivered"));
    act("deliver", &[("fulfillment", &parcel)]);
    let states = "SELECT group_concat(status, ' ') FROM
        (SELECT status FROM fulfillments ORDER BY requires_shipping DESC)";
    assert_eq!(one(states), "delivered canceled pending");
    act("deliver", &[]);
    assert_eq!(one(states), "delivered canceled delivered");
    let authors = "SELECT group_concat(actor, ' ') FROM (SELECT DISTINCT actor FROM order_history
        WHERE actor NOT GLOB 'stripe:*' AND actor NOT GLOB 'fulfilld:start' ORDER BY actor)";
    assert_eq!(one(authors), "fulfilld:undo fulfilld:undo page:anna page:anna");
    assert_eq!(one("SELECT name FROM actor"), "operator");
    desk.shop.check();
}

#[test]
fn an_order_is_split_and_canceled_on_the_page_as_in_the_shell() {
    let desk = Desk::open(&["discount", "card"]);
    let lines = desk.shop.rows(
        "SELECT f.id, li.position, fl.quantity FROM fulfillments f
           JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id
         JOIN line_items li ON li.id = fl.line_item_id WHERE f.order_id = 1
         AND f.requires_shipping = 1 ORDER BY li.position",
    );
    let cells: Vec<&str> = lines[0].split('|').collect();
    let total: i64 =
        lines.iter().map(|line| line.rsplit('|').next().unwrap().parse::<i64>().unwrap()).sum();
    if total > 1 {
        let name = format!("q_{}", cells[1]);
        let mut fields = vec![("fulfillment", cells[0]), (name.as_str(), "1")];
        let others: Vec<String> = lines[1..]
            .iter()
            .map(|line| format!("q_{}", line.split('|').nth(1).unwrap()))
            .collect();
        fields.extend(others.iter().map(|name| (name.as_str(), "0")));
        let done = desk.fill_in("anna", "/desk/order/1", "/desk/order/1/split", &fields);
        assert_eq!(done.status, 303, "{}", done.body);
        assert_eq!(desk.shop.one("SELECT count(*) FROM to_ship WHERE order_id = 1"), "2");
        let undone = desk.fill_in("anna", "/desk/order/1", "/desk/order/1/undo", &[]);
        assert_eq!(undone.status, 303, "{}", undone.body);
        assert_eq!(desk.shop.one("SELECT count(*) FROM to_ship WHERE order_id = 1"), "1");
    }
    let done =
        desk.fill_in("anna", "/desk/order/2", "/desk/order/2/cancel", &[("reason", "customer")]);
    assert_eq!(done.status, 303, "{}", done.body);
    // What is canceled and not refunded needs somebody, with the way to the Dashboard; and can be dismissed.
    let attention = desk.look("anna", "/desk/attention");
    assert!(attention.shows("canceled not refunded"), "{}", attention.body);
    assert!(
        attention.shows("https://dashboard.stripe.com/test/payments/pi_"),
        "{}",
        attention.body
    );
    let (token, seen) = (attention.field("token"), attention.field("seen"));
    let fields = [
        ("token", token.as_str()),
        ("seen", &seen),
        ("from", "attention"),
        ("reason", "canceled_not_refunded"),
    ];
    let dismissed = desk.send("anna", "/desk/order/2/dismiss", &fields);
    assert_eq!((dismissed.status, dismissed.header("Location").as_str()), (303, "/desk/attention"));
    assert!(desk.look("anna", "/desk/attention").shows("Nothing needs you"));
    assert_eq!(desk.shop.one("SELECT actor FROM dismissals"), "page:anna");
}

#[test]
fn a_file_of_tracking_numbers_is_shown_first_and_ships_what_was_shown_or_nothing() {
    let desk = Desk::open(&["card", "card", "card"]);
    let upload = |csv: &str| {
        let token = desk.look("bert", "/desk/tracking").field("token");
        let body = format!(
            "--xx\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}\r\n--xx\r\nContent-Disposition: \
             form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n{csv}\r\n--xx--\r\n"
        );
        let origin = format!("http://{}", desk.host);
        let more =
            [("Origin", origin.as_str()), ("Content-Type", "multipart/form-data; boundary=xx")];
        desk.ask("bert", "POST", "/desk/tracking/dry-run", &more, body.as_bytes())
    };
    let waiting = || desk.shop.one("SELECT count(*) FROM to_ship");
    let shown =
        upload("Order ID,Tracking Number,Carrier\n1-1,JD0146000001,DHL\n2-1,JD0146000002,DHL\n");
    assert!(
        shown.status == 200 && shown.shows("JD0146000002") && shown.shows("2 parcels"),
        "{}",
        shown.body
    );
    assert_eq!(waiting(), "3");
    let apply = |shown: &Seen| {
        let fields = [
            ("token", shown.field("token")),
            ("csv", shown.field("csv")),
            ("shown", shown.field("shown")),
        ];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        desk.send("bert", "/desk/tracking/apply", &fields)
    };
    // Somebody was quicker with one of them: nothing is shipped before it was looked at again.
    desk.shop
        .shell("INSERT INTO ship VALUES(2, 'DHL', 'JD0146000002', NULL)")
        .expect("the operator ships it");
    let refused = apply(&shown);
    assert!(
        refused.status == 409 && refused.shows("has changed since it was shown"),
        "{}",
        refused.body
    );
    assert_eq!(waiting(), "2");
    let shown =
        upload("Order ID,Tracking Number,Carrier\n1-1,JD0146000001,DHL\n2-1,JD0146000002,DHL\n");
    assert!(shown.shows("is shipped with that number already"), "{}", shown.body);
    let done = apply(&shown);
    assert!(done.status == 200 && done.shows("Parcels shipped: 1"), "{}", done.body);
    assert_eq!(waiting(), "1");
    // The same form again ships nothing more.
    assert_eq!(apply(&shown).status, 409);
    // One button takes the whole file back, and only while nothing else was changed.
    let shown =
        upload("Order ID,Tracking Number,Carrier\n1-1,JD0146000001,DHL\n3-1,JD0146000003,DHL\n");
    let done_again = apply(&shown);
    assert_eq!(waiting(), "0", "{}", done_again.body);
    let undo = |user: &str, done: &Seen| {
        let fields = ["token", "orders", "seen"].map(|name| (name, done.field(name)));
        let mut fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let token = desk.look(user, "/desk/tracking").field("token");
        fields[0].1 = &token;
        desk.send(user, "/desk/tracking/undo", &fields)
    };
    let others = undo("berta", &done_again);
    assert!(others.status == 422 && others.shows("not yours to take back"), "{}", others.body);
    assert_eq!(undo("bert", &done_again).status, 303);
    assert_eq!(waiting(), "1", "what the first file shipped stays shipped");
    assert_eq!(undo("bert", &done_again).status, 422, "it is taken back once");
    let line = "3-1,JD0146000003,DHL\n";
    let large = upload(&format!("Order ID,Tracking Number,Carrier\n{}", line.repeat(120_000)));
    assert!(large.status == 422 && large.shows("more than 2 MB"), "{}", large.status);
    for (csv, why) in [
        ("Order ID,Tracking Number\n77,JD1\n", "there is no such order"),
        ("hello\n", "file"),
        ("", "empty"),
    ] {
        let seen = upload(csv);
        assert!(seen.status == 422 && seen.shows(why), "{csv}: {} {}", seen.status, seen.body);
    }
    assert_eq!(waiting(), "1");
}

#[test]
fn slips_label_files_books_and_health_say_what_the_command_line_says() {
    let desk = Desk::open(&["card", "yen"]);
    slips_and_label_files_are_of_the_ticked_parcels_or_of_all_that_wait(&desk);
    books_and_health_say_what_the_command_line_says(&desk);
}

fn slips_and_label_files_are_of_the_ticked_parcels_or_of_all_that_wait(desk: &Desk) {
    let pack = desk.look("bert", "/desk/pack");
    let token = pack.field("token");
    // Without a sender's address the first one that needs none is offered.
    assert!(pack.shows("value=\"pirate-ship\" selected"), "{}", pack.body);
    let all = desk.send("bert", "/desk/slips", &[("token", &token)]);
    assert!(all.shows("Order 1-1") && all.shows("Order 2-1"), "{}", all.body);
    let one = desk.send("bert", "/desk/slips", &[("token", &token), ("parcel", "2-1")]);
    assert!(!one.shows("Order 1-1") && one.shows("Order 2-1"), "{}", one.body);
    let fields = [("token", token.as_str()), ("for", "sendcloud"), ("parcel", "1-1")];
    let told = desk.send("bert", "/desk/labels", &fields);
    assert!(told.status == 200 && told.shows("parcels are in the file"), "{}", told.body);
    let file = desk.send("bert", "/desk/labels.csv", &fields);
    assert_eq!(file.status, 200, "{}", file.body);
    assert!(file.header("Content-Disposition").contains("labels.csv"));
    assert!(file.shows("1-1") && !file.shows("2-1"), "{}", file.body);
    // A format is one of the built-in ones: no file of the server's is read.
    let fields = [("token", token.as_str()), ("for", "/etc/passwd")];
    assert_eq!(desk.send("bert", "/desk/labels.csv", &fields).status, 422);
}

fn books_and_health_say_what_the_command_line_says(desk: &Desk) {
    let books = desk.look("anna", "/desk/books");
    assert!(books.shows("JPY") && books.shows("By day"), "{}", books.body);
    let csv = desk.look("anna", "/desk/books.csv");
    assert!(
        csv.header("Content-Type").starts_with("text/csv") && csv.body.lines().count() == 3,
        "{}",
        csv.body
    );
    assert_eq!(desk.look("anna", "/desk/books?month=x").status, 422);
    assert_eq!(desk.look("anna", "/desk/books.csv?tz=Nowhere").status, 422);
    let health = desk.look("anna", "/desk/health");
    assert!(
        health.shows("Orders go through") && health.shows("Settings and secrets"),
        "{}",
        health.body
    );
}

#[test]
fn a_search_finds_by_order_name_number_and_sku_and_leads_a_scanner_to_the_only_parcel() {
    let desk = Desk::open(&["card", "card", "digital"]);
    desk.shop
        .shell("UPDATE orders SET shipping_name = 'Zora Unique' WHERE id = 2")
        .expect("it is corrected");
    let found = desk.look("bert", "/desk/pack?q=zora");
    assert_eq!((found.status, found.header("Location").as_str()), (303, "/desk/parcel/2-1"));
    assert_eq!(desk.look("bert", "/desk/pack?q=1-1").header("Location"), "/desk/parcel/1-1");
    let none = desk.look("bert", "/desk/pack?q=nothing-like-that");
    assert!(none.status == 200 && none.shows("Nothing that waits"), "{}", none.body);
    let digital = desk.look("bert", "/desk/orders?q=3");
    assert!(digital.status == 303 || digital.status == 200, "{}", digital.body);
    let gone = desk.look("bert", "/desk/parcel/9-1");
    assert!(gone.status == 404 && gone.shows("There is no parcel 9-1"), "{}", gone.body);
}

#[test]
fn without_the_setting_there_is_no_page_and_with_half_of_it_serve_says_what_is_missing() {
    let mut shop = Shop::open();
    assert!(!shop.desk().line.contains("the page"), "{}", shop.desk().line);
    shop.stop();
    for (settings, why) in [
        (vec![("FULFILLD_PAGE_ALL", "anna")], "FULFILLD_PAGE_SECRET"),
        (
            vec![("FULFILLD_PAGE_SECRET", "short"), ("FULFILLD_PAGE_ALL", "anna")],
            "openssl rand -hex 32",
        ),
        (vec![("FULFILLD_PAGE_SECRET", SECRET)], "FULFILLD_PAGE_PACK"),
        (
            vec![("FULFILLD_PAGE_LISTEN", "0.0.0.0:1"), ("FULFILLD_PAGE_SECRET", SECRET)],
            "listen on 127.0.0.1",
        ),
    ] {
        let mut command = shop.serve();
        command.env("FULFILLD_PAGE_LISTEN", "127.0.0.1:0").envs(settings);
        let out = command.output().expect("it ends by itself");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && said.contains(why) && !said.contains(SECRET),
            "{why}: {said}"
        );
    }
}

#[test]
fn where_the_page_breaks_it_is_closed_readyz_names_it_and_events_are_accepted() {
    let desk = Desk::open_with(&[("FULFILLD_SABOTAGE", "page_door_breaks")], &[]);
    wait_for("readyz names the page", || {
        let (status, said) = desk.shop.get("/readyz");
        (status == 200 && said.contains("advice page_closed: ")).then_some(())
    });
    wait_for("nobody listens there", || TcpStream::connect(&desk.host).is_err().then_some(()));
    desk.sell(&["card"]);
    assert_eq!(desk.shop.one("SELECT count(*) FROM to_ship"), "1");
}

#[test]
fn the_page_answers_on_the_socket_that_systemd_holds_whichever_is_handed_over_first() {
    let (webhook, page) = (bound(), bound());
    let mut shop = Shop::open();
    shop.stop();
    let start = |names: &str, [first, second]: [&TcpListener; 2], settings: &[(&str, &str)]| {
        let handle = |listener: &TcpListener| -> Stdio {
            OwnedFd::from(listener.try_clone().expect("a second handle")).into()
        };
        let handed =
            "exec 3<&0 4<&2 0</dev/null 2>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" serve";
        let mut command = Command::new("sh");
        command.args(["-c", handed, env!("CARGO_BIN_EXE_fulfilld")]);
        command.envs(shop.serve().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LISTEN_FDNAMES", names).envs(settings.iter().copied()).stderr(handle(second));
        Running::start_with(&mut command, handle(first))
    };
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    // Not the port of the socket: the name counts.
    let settings = [
        ("FULFILLD_PAGE_LISTEN", "127.0.0.1:4243"),
        ("FULFILLD_PAGE_SECRET", SECRET),
        ("FULFILLD_PAGE_ALL", "anna"),
    ];
    for (names, sockets) in
        [("page:fulfilld.socket", [&page, &webhook]), ("fulfilld.socket:page", [&webhook, &page])]
    {
        let desk = start(names, sockets, &settings);
        assert_eq!(desk.port(), port(&webhook), "{}", desk.line);
        let host = page_of(&desk);
        assert_eq!(host, format!("127.0.0.1:{}", port(&page)), "{}", desk.line);
        let headers = [("X-Fulfilld-Page-Secret", SECRET), ("X-Fulfilld-User", "anna")];
        assert_eq!(Desk::ask_at(&host, "GET", "/desk/pack", &headers, b"").status, 200);
    }
    // Where there is no page, its socket is not taken for the webhook's.
    let desk = start("page:fulfilld.socket", [&page, &webhook], &[]);
    assert_eq!(desk.port(), port(&webhook), "{}", desk.line);
}

fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn a_thousand_parcels_are_shown_in_a_moment_and_the_webhook_does_not_wait_for_the_page() {
    let desk = Desk::open(&["card"]);
    let c = rusqlite::Connection::open(desk.shop.file()).expect("the file opens");
    c.busy_timeout(Duration::from_secs(10)).expect("it can be set");
    let orders_between = |first: i64, last: i64| {
        c.execute_batch(&format!(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test';
         WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
         INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status, currency, amount_total, name,
           shipping_name, shipping_line1, created_at, paid_at, as_of, line_items_at)
         SELECT i, 'cs_' || i, 0, 'payment', 'unpaid', 'eur', 100, 'Buyer ' || i, 'Buyer ' || i, i || ' Road',
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), NULL, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), NULL FROM n;
         INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_total, requires_shipping)
         SELECT 'li_' || id, id, 1, 'Mug', 1, 'eur', 100, 1 FROM orders WHERE id >= {first};
         UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at
         WHERE id >= {first};
         UPDATE actor SET name = 'operator'; COMMIT;",
    ))
    .expect("many orders");
    };
    orders_between(2, 1000);
    let waiting = desk.shop.one("SELECT count(*) FROM to_ship");
    assert_eq!(waiting, "1000");
    let best = (0..5)
        .map(|_| {
            let began = Instant::now();
            let seen = desk.look("bert", "/desk/pack");
            assert!(seen.status == 200 && seen.shows("1000 parcels to pack"), "{}", seen.status);
            began.elapsed()
        })
        .min()
        .expect("five looks");
    println!("1,000 parcels: {best:?} in a debug build");
    // Clients that hang at the page's door keep no event out.
    let held: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(&desk.host).expect("it connects");
            let half = format!(
                "POST /desk/slips HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\nabc",
                desk.host
            );
            stream.write_all(half.as_bytes()).expect("it takes the head");
            stream
        })
        .collect();
    desk.sell(&["card"]);
    assert_eq!(desk.shop.get("/healthz").0, 200);
    drop(held);
    wait_for("the page answers again", || {
        (desk.look("bert", "/desk/orders").status == 200).then_some(())
    });
    // Nor for a file of tracking numbers, which keeps the lock while it is shipped.
    orders_between(1002, 2002);
    let label = |order: i64| format!("{order}-1,JD0146{order},DHL\n");
    let file: String = (1..=2001).map(label).collect();
    let path = desk.shop.file().with_file_name("tracking.csv");
    std::fs::write(&path, format!("Order ID,Tracking Number,Carrier\n{file}")).expect("a file");
    let mut ship = fulfilld();
    ship.args(["ship", "--from"]).arg(&path).arg("--db").arg(desk.shop.file());
    let out = ship.output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("ships 2001 parcels, and one file may ship 2000"), "{said}");
    assert_eq!(desk.shop.one("SELECT count(*) FROM to_ship"), "2002");
}
