//! The sandbox asked over HTTP, as the daemon asks it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::clock;
use crate::signature::{SigningSecret, verify};

impl Sandbox {
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url()))
            .header("Authorization", format!("Bearer {KEY}"));
        let mut answer = agent.run(request.body(body.to_string()).unwrap()).unwrap();
        let body = answer.body_mut().read_to_vec().unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, "");
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn refusal(&self, path: &str) -> (u16, String) {
        let (status, value) = self.call("GET", path, "");
        (status, value["error"]["message"].as_str().unwrap_or_default().into())
    }

    fn buy(&self, scenario: &str, count: usize) -> Vec<Purchase> {
        self.trigger(&Trigger { count, ..Trigger::of(scenario) }).unwrap()
    }
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options { rate_per_s: 0, ..Options::default() }).unwrap()
}

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn the_sums_of_every_scenario_are_right() {
    let sandbox = sandbox();
    for (name, _) in scenarios().filter(|(name, _)| *name != "setup") {
        for purchase in sandbox.buy(name, 9) {
            let session = sandbox.get(&format!("/v1/checkout/sessions/{}", purchase.session));
            let lines = sandbox.get(&format!("/v1/checkout/sessions/{}/line_items?limit=100", purchase.session));
            let total =
                |name: &str| lines["data"].as_array().unwrap().iter().map(|l| l[name].as_i64().unwrap()).sum::<i64>();
            let of = |name: &str| session["total_details"][name].as_i64().unwrap();
            let off = if name == "sums-differ" { 100 } else { 0 };
            let sum = of("amount_shipping") + of("amount_tax") - of("amount_discount") + total("amount_subtotal");
            assert_eq!(session["amount_total"], sum + off, "{name}: {session}");
            assert_eq!(session["amount_subtotal"], total("amount_subtotal"), "{name}");
            assert_eq!(total("amount_total") + of("amount_shipping"), sum, "{name}");
            if let Some(intent) = purchase.payment_intent {
                assert_eq!(sandbox.get(&format!("/v1/payment_intents/{intent}"))["amount"], sum, "{name}");
            }
            assert!(session["status"] == "expired" || sum > 0 || name == "free", "{name}");
        }
    }
}

#[test]
fn a_list_is_walked_to_its_end_in_both_directions() {
    let sandbox = sandbox();
    let session = &sandbox.buy("many-lines", 1)[0].session;
    sandbox.buy("card", 24);
    for (path, total) in
        [(format!("/v1/checkout/sessions/{session}/line_items"), 100), ("/v1/checkout/sessions".into(), 25)]
    {
        let all = ids(&sandbox.get(&format!("{path}?limit=100")));
        assert_eq!(all.len(), total);
        for limit in [1, 7, 10, total] {
            let walk = |first: &str, direction: &str| {
                let (mut pages, mut more, mut cursor) = (Vec::new(), true, first.to_string());
                while more {
                    let page = sandbox.get(&format!("{path}?limit={limit}&{direction}={cursor}"));
                    more = page["has_more"].as_bool().unwrap();
                    let rows = ids(&page);
                    cursor = if direction == "starting_after" { rows.last() } else { rows.first() }.unwrap().clone();
                    pages.push(rows);
                    assert!(pages.len() <= total, "a walk without an end");
                }
                pages
            };
            assert_eq!(walk(&all[0], "starting_after").concat(), all[1..]);
            let mut back = walk(&all[total - 1], "ending_before");
            back.reverse();
            assert_eq!(back.concat(), all[..total - 1]);
        }
        assert_eq!(ids(&sandbox.get(&path)).len(), 10);
        for (query, why) in [
            ("limit=0", "greater than or equal to 1"),
            ("limit=101", "less than or equal to 100"),
            ("limit=many", "Invalid integer"),
            ("starting_after=li_none", "No such object"),
            ("page=2", "Received unknown parameter: page"),
            (&format!("starting_after={0}&ending_before={0}", all[0]), "only specify one"),
        ] {
            let (status, message) = sandbox.refusal(&format!("{path}?{query}"));
            assert!(status == 400 && message.contains(why), "{query}: {status} {message}");
        }
    }
}

#[test]
fn expansion_nests_as_stripe_does() {
    let sandbox = sandbox();
    let many = &sandbox.buy("many-lines", 1)[0].session;
    let plain = sandbox.get(&format!("/v1/checkout/sessions/{many}"));
    assert!(plain.get("line_items").is_none() && plain["payment_intent"].is_string());
    let whole = "expand[]=line_items.data.price.product&expand[1]=payment_intent.latest_charge";
    let session = sandbox.get(&format!("/v1/checkout/sessions/{many}?{whole}"));
    assert_eq!((ids(&session["line_items"]).len(), &session["line_items"]["has_more"]), (10, &json!(true)));
    assert_eq!(session["line_items"]["data"][9]["price"]["product"]["name"], "Print No. 10");
    assert_eq!(session["payment_intent"]["latest_charge"]["status"], "succeeded");
    let listed = sandbox.get("/v1/checkout/sessions?expand[]=data.payment_intent&expand[]=data.line_items");
    assert_eq!(listed["data"][0]["payment_intent"]["object"], "payment_intent");
    assert!(listed["data"][0]["line_items"]["data"][0]["price"]["product"].is_string());
    for (path, why) in [
        (format!("/v1/checkout/sessions/{many}?expand[]=buyer"), "This property cannot be expanded (buyer)."),
        (format!("/v1/checkout/sessions/{many}?expand[]=payment_intent.amount"), "cannot be expanded (amount)"),
        (format!("/v1/checkout/sessions/{many}/line_items?expand[]=price"), "try expanding 'data.price' instead"),
        ("/v1/checkout/sessions?expand[]=data.line_items.data.price.product".into(), "more than 4 levels"),
    ] {
        let (status, message) = sandbox.refusal(&path);
        assert!(status == 400 && message.contains(why), "{path}: {status} {message}");
    }
    let strange = &sandbox.buy("strange", 1)[0].session;
    let lines = sandbox.get(&format!("/v1/checkout/sessions/{strange}/line_items?expand[]=data.price.product"));
    let products: Vec<&Value> = lines["data"].as_array().unwrap().iter().map(|l| &l["price"]["product"]).collect();
    assert!(products.iter().any(|p| p["deleted"] == true) && products.iter().any(|p| p.is_null()), "{products:?}");
}

#[test]
fn a_delayed_payment_settles_once() {
    let sandbox = sandbox();
    let bought = &sandbox.buy("unpaid", 1)[0];
    let path = format!("/v1/checkout/sessions/{}", bought.session);
    assert_eq!(sandbox.get(&path)["payment_status"], "unpaid");
    let order = json!({"session": bought.session, "outcome": "succeeded", "shape": "both"}).to_string();
    let (status, settled) = sandbox.call("POST", "/_sandbox/settle", &order);
    let kinds: Vec<&str> = settled["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    let session = "checkout.session.async_payment_succeeded";
    let expected = ["payment_intent.succeeded", "v1.payment_intent.succeeded", session, &format!("v1.{session}")];
    assert_eq!((status, kinds.as_slice()), (200, expected.as_slice()));
    assert_eq!(sandbox.get(&path)["payment_status"], "paid");
    assert_eq!(sandbox.call("POST", "/_sandbox/settle", &order).0, 400);
    // The news of then stays as it was then.
    let body: Value = serde_json::from_slice(&sandbox.simulation.event_body(&bought.events[0].id).unwrap()).unwrap();
    assert_eq!(body["data"]["object"]["payment_status"], "unpaid");
}

#[test]
fn events_are_listed_by_type_time_and_delivery() {
    let sandbox = sandbox();
    let card = sandbox.buy("card", 2);
    let thin = sandbox.trigger(&Trigger { shape: Some(Shape::Thin), ..Trigger::of("expired") }).unwrap();
    let at = sandbox.get("/v1/events")["data"][0]["created"].as_i64().unwrap();
    for (query, count) in [
        (String::new(), 5),
        ("types[]=checkout.session.completed&types[]=checkout.session.expired".into(), 3),
        ("type=payment_intent.*".into(), 2),
        (format!("created[gte]={at}&type=checkout.session.expired"), 1),
        (format!("created[gt]={at}"), 0),
        ("delivery_success=false".into(), 4),
        (format!("starting_after={}", card[0].events[0].id), 0),
        (format!("ending_before={}", card[0].events[1].id), 3),
    ] {
        assert_eq!(ids(&sandbox.get(&format!("/v1/events?{query}"))).len(), count, "{query}");
    }
    let notification: Value =
        serde_json::from_slice(&sandbox.simulation.event_body(&thin[0].events[0].id).unwrap()).unwrap();
    let twin = sandbox.get(&format!("/v1/events/{}", notification["snapshot_event"].as_str().unwrap()));
    assert_eq!(twin["data"]["object"]["id"], notification["related_object"]["id"]);
}

#[test]
fn faults_strike_where_and_as_often_as_ordered() {
    let sandbox = sandbox();
    let session = &sandbox.buy("card", 1)[0].session;
    let path = format!("/v1/checkout/sessions/{session}?expand[]=payment_intent");
    let order =
        |fault: Value| assert_eq!(sandbox.call("POST", "/_sandbox/faults", &fault.to_string()).0, 200, "{fault}");
    order(json!({"endpoint": "checkout_session", "kind": "status", "status": 403, "only": "payment_intent"}));
    order(json!({"kind": "garbage", "times": 2, "only": "/line_items"}));
    let lines = format!("/v1/checkout/sessions/{session}/line_items");
    assert_eq!((sandbox.refusal(&path).0, sandbox.refusal(&path).0), (403, 403));
    assert_eq!(sandbox.call("GET", &lines, "").1, Value::Null);
    assert_eq!(sandbox.call("GET", &lines, "").1, Value::Null);
    assert!(sandbox.call("GET", &lines, "").1.is_object());
    order(json!({"kind": "lost", "times": 1, "only": "checkout.session"}));
    let kinds: Vec<String> = sandbox.buy("card", 1)[0].events.iter().map(|e| e.kind.clone()).collect();
    assert_eq!(kinds, ["payment_intent.succeeded"]);
    assert_eq!(sandbox.call("DELETE", "/_sandbox/faults", "").0, 200);
    assert_eq!(sandbox.call("GET", &path, "").0, 200);
    assert_eq!(sandbox.get("/_sandbox/stats")["requests"]["checkout_session"], json!({"200": 1, "403": 2}));
}

#[test]
fn bad_orders_and_keys_get_a_sentence() {
    let sandbox = sandbox();
    for (path, body, why) in [
        ("trigger", "", "does not understand"),
        ("trigger", r#"{"scenario":"fax"}"#, "there are card"),
        ("trigger", r#"{"scenario":"card","count":10001}"#, "too many"),
        ("trigger", r#"{"scenario":"card","cuont":1}"#, "cuont"),
        ("settle", r#"{"session":"cs_none","outcome":"failed"}"#, "no session"),
        ("faults", r#"{"endpoint":"fax","kind":"hang"}"#, "checkout_session_line_items"),
        ("faults", r#"{"kind":"melt"}"#, "melt"),
        ("faults", r#"{"kind":"status","status":99}"#, "200 to 599"),
        ("webhook", r#"{"url":"ftp://shop"}"#, "no URL"),
        ("dance", "", "it has POST trigger"),
    ] {
        let (status, said) = sandbox.call("POST", &format!("/_sandbox/{path}"), body);
        assert!(status >= 400 && said["error"]["message"].as_str().unwrap().contains(why), "{path} {body}: {said}");
    }
    assert_eq!(sandbox.refusal("/v1/checkout/sessions/cs_none").0, 404);
    assert_eq!(sandbox.refusal("/v1/fax").0, 404);
    let anonymous = ureq::get(format!("{}/v1/events", sandbox.base_url())).call();
    assert!(matches!(anonymous, Err(ureq::Error::StatusCode(401))));
}

#[test]
fn an_endpoint_asked_too_fast_answers_429() {
    let sandbox = Sandbox::start(Options { rate_per_s: 3, ..Options::default() }).unwrap();
    let statuses: Vec<u16> = (0..8).map(|_| sandbox.refusal("/v1/events").0).collect();
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(sandbox.refusal("/v1/checkout/sessions").0, 200);
}

/// A shop's endpoint that fails three times under two deliveries of one event, so that one of them is tried thrice.
#[test]
fn an_event_is_delivered_until_it_is_answered_2xx() {
    let shop = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = sandbox();
    sandbox.buy("card", 1); // for nobody yet
    sandbox.deliver_to(&format!("http://{}/webhook", shop.local_addr().unwrap())).unwrap();
    let bought = sandbox.trigger(&Trigger { times: 2, ..Trigger::of("free") }).unwrap();
    let (mut heard, secrets) = (HashMap::<Vec<u8>, usize>::new(), [SigningSecret::new("whsec_sandbox")]);
    for _ in 0..5 {
        let (mut stream, _) = shop.accept().unwrap();
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk).unwrap();
            bytes.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let Some(end) = text.find("\r\n\r\n") else { continue };
            let length = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if bytes.len() == end + 4 + length.parse::<usize>().unwrap() {
                break (text[..end].to_string(), bytes[end + 4..].to_vec());
            }
        };
        let header = head.split("stripe-signature: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(verify(Some(header), &body, &secrets, clock::now().as_second()).is_ok(), "{head}");
        let times = heard.entry(body).or_default();
        *times += 1;
        let status = if *times <= 3 { 500 } else { 200 };
        write!(stream, "HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n").unwrap();
    }
    assert_eq!(
        heard.into_iter().collect::<Vec<_>>(),
        [(sandbox.simulation.event_body(&bought[0].events[0].id).unwrap(), 5)]
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while sandbox.get("/_sandbox/stats")["deliveries"] != json!({"200": 2, "500": 3}) {
        assert!(Instant::now() < deadline, "{}", sandbox.get("/_sandbox/stats"));
        std::thread::yield_now();
    }
    assert_eq!(ids(&sandbox.get("/v1/events?delivery_success=true")).len(), 1);
}
