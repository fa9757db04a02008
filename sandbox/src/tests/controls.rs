//! Faults, refusals, keys, limits, webhook endpoints and deliveries.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[test]
fn faults_apply_where_and_as_often_as_requested() {
    let sandbox = sandbox();
    let session = &sandbox.buy("card", 1)[0].session;
    let path = format!("/v1/checkout/sessions/{session}?expand[]=payment_intent");
    let order = |fault: Value| {
        assert_eq!(sandbox.call("POST", "/_sandbox/faults", &fault.to_string()).0, 200, "{fault}")
    };
    order(
        json!({"endpoint": "checkout_session", "kind": "status", "status": 403, "only": "payment_intent"}),
    );
    order(json!({"kind": "garbage", "times": 2, "only": "/line_items"}));
    let lines = format!("/v1/checkout/sessions/{session}/line_items");
    assert_eq!((sandbox.refusal(&path).0, sandbox.refusal(&path).0), (403, 403));
    assert_eq!(sandbox.call("GET", &lines, "").1, Value::Null);
    assert_eq!(sandbox.call("GET", &lines, "").1, Value::Null);
    assert!(sandbox.call("GET", &lines, "").1.is_object());
    order(json!({"kind": "lost", "times": 1, "only": "checkout.session"}));
    let kinds: Vec<String> =
        sandbox.buy("card", 1)[0].events.iter().map(|e| e.kind.clone()).collect();
    assert_eq!(kinds, ["payment_intent.succeeded"]);
    assert_eq!(sandbox.call("DELETE", "/_sandbox/faults", "").0, 200);
    assert_eq!(sandbox.call("GET", &path, "").0, 200);
    assert_eq!(
        sandbox.get("/_sandbox/stats")["requests"]["checkout_session"],
        json!({"200": 1, "403": 2})
    );
}

#[test]
fn bad_requests_and_keys_get_a_sentence() {
    let sandbox = sandbox();
    let (paid, unpaid) = (&sandbox.buy("card", 1)[0].session, &sandbox.buy("unpaid", 1)[0].session);
    for (path, body, why) in [
        ("trigger", "", "does not understand"),
        ("trigger", r#"{"scenario":"fax"}"#, "there are card"),
        ("trigger", r#"{"scenario":"card","count":10001}"#, "too many"),
        ("trigger", r#"{"scenario":"card","cuont":1}"#, "cuont"),
        ("settle", r#"{"session":"cs_none","outcome":"failed"}"#, "no session"),
        ("refund", r#"{"session":"cs_none"}"#, "a trigger makes one"),
        ("refunds/re_none", r#"{"status":"failed"}"#, "no refund re_none"),
        ("refund", &format!(r#"{{"session":"{paid}","amount":99999999}}"#), "left"),
        ("refund", &format!(r#"{{"session":"{paid}","amount":-1}}"#), "left"),
        ("dispute", &format!(r#"{{"session":"{paid}","status":"lots"}}"#), "is needs_response"),
        ("review", &format!(r#"{{"session":"{unpaid}"}}"#), "no payment"),
        ("faults", r#"{"endpoint":"fax","kind":"hang"}"#, "checkout_session_line_items"),
        ("faults", r#"{"kind":"melt"}"#, "melt"),
        ("faults", r#"{"kind":"status","status":99}"#, "200 to 599"),
        ("webhook", r#"{"url":"ftp://shop"}"#, "no URL"),
        ("endpoint", r#"{"url":"/webhook"}"#, "no URL"),
        ("endpoint", r#"{"uri":"http://shop/webhook"}"#, "does not understand"),
        ("clock", r#"{"skew":1}"#, "skew"),
        ("dance", "", "it has POST trigger"),
    ] {
        let (status, said) = sandbox.call("POST", &format!("/_sandbox/{path}"), body);
        assert!(
            status >= 400 && said["error"]["message"].as_str().unwrap().contains(why),
            "{path} {body}: {said}"
        );
    }
    assert_eq!(sandbox.refusal("/v1/checkout/sessions/cs_none").0, 404);
    assert_eq!(sandbox.refusal("/v1/fax").0, 404);
    let anonymous = ureq::get(format!("{}/v1/events", sandbox.base_url())).call();
    assert!(matches!(anonymous, Err(ureq::Error::StatusCode(401))));
}

#[test]
fn a_route_requested_too_fast_answers_429() {
    let sandbox = Sandbox::start(Options { rate_per_s: 3, ..Options::default() }).unwrap();
    let statuses: Vec<u16> = (0..8).map(|_| sandbox.refusal("/v1/events").0).collect();
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(sandbox.refusal("/v1/checkout/sessions").0, 200);
}

#[test]
fn an_endpoint_is_listed_as_its_payload_has_it_and_gets_what_it_wants_while_it_is_enabled() {
    let sandbox = sandbox();
    let url = "http://127.0.0.1:9/webhook";
    sandbox.deliver_to(url).unwrap();
    let order = |order: Value| {
        assert_eq!(sandbox.call("POST", "/_sandbox/endpoint", &order.to_string()).0, 200)
    };
    let with_url = "/v2/core/event_destinations?include[0]=webhook_endpoint.url";
    let listed = || (sandbox.get("/v1/webhook_endpoints"), sandbox.get(with_url));
    let counted = || (ids(&listed().0).len(), ids(&listed().1).len());
    assert_eq!(counted(), (1, 0));
    let keep = |scenario: &str| {
        sandbox.trigger(&Trigger { deliver: false, ..Trigger::of(scenario) }).unwrap().remove(0)
    };
    let made: Vec<Made> = scenarios().flat_map(|(name, _)| keep(name).events).collect();
    let enabled = listed().0["data"][0]["enabled_events"].clone();
    let enabled = enabled.as_array().unwrap();
    assert!(
        made.iter().all(|event| enabled.contains(&json!(event.kind))),
        "the usual endpoint gets all of it"
    );

    order(
        json!({"url": url, "payload": "thin", "enabled_events": ["v1.refund.created"], "status": "disabled"}),
    );
    let destination = listed().1["data"][0].clone();
    assert_eq!(counted(), (0, 1));
    assert_eq!(
        (&destination["webhook_endpoint"]["url"], &destination["status"]),
        (&json!(url), &json!("disabled"))
    );
    assert_eq!(
        sandbox.get("/v2/core/event_destinations")["data"][0]["webhook_endpoint"],
        Value::Null
    );
    order(json!([{"url": url}, {"url": url, "payload": "both"}]));
    assert_eq!(counted(), (2, 1));

    // Which of a purchase's events would go out now, at the first attempt and at each later one.
    let goes = || {
        let account = lock(&sandbox.simulation.account);
        let all: Vec<usize> =
            made.iter().map(|event| account.place_of_event(&event.id).unwrap()).collect();
        drop(account);
        all.into_iter().filter(|event| sandbox.simulation.url_for(*event).is_some()).count()
    };
    let of = |kind: &str| made.iter().filter(|event| event.kind == kind).count();
    assert_eq!(goes(), made.len());
    order(json!({"url": url, "enabled_events": ["refund.created"]}));
    assert_eq!(goes(), of("refund.created"));
    order(json!({"url": url, "status": "disabled"}));
    assert_eq!(goes(), 0);
    sandbox.buy("card", 1);
    assert!(sandbox.simulation.queue.is_empty(), "what happens meanwhile is not even tried");
    order(json!({"url": url, "enabled_events": ["*"]}));
    assert_eq!(goes(), made.len());
    order(Value::Null);
    assert_eq!((goes(), counted()), (0, (0, 0)));
}

#[test]
fn a_restricted_key_reads_what_fulfilld_reads_and_the_clock_can_be_wrong() {
    let sandbox = sandbox();
    sandbox.buy("mixed", 2);
    let ask = |key: &str, path: &str| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let url = format!("{}{path}", sandbox.base_url());
        let mut answer =
            agent.get(url).header("Authorization", format!("Bearer {key}")).call().unwrap();
        let date = answer.headers()["Date"].to_str().unwrap().to_string();
        let body: Value =
            serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap();
        (answer.status().as_u16(), date, body)
    };
    for path in
        ["/v1/payment_intents", "/v1/charges", "/v1/products", "/v1/prices", "/v1/shipping_rates"]
    {
        let (status, _, list) = ask("rk_test_1", &format!("{path}?limit=1"));
        assert_eq!((status, list["data"].as_array().unwrap().len()), (200, 1), "{path}");
        let all = ids(&ask("rk_test_1", path).2);
        assert_eq!(all.len(), all.iter().collect::<std::collections::HashSet<_>>().len(), "{path}");
    }
    for path in ["/v1/customers?limit=1", "/v1/payouts?limit=1"] {
        let (status, _, refusal) = ask("rk_test_1", path);
        assert!(
            status == 403 && refusal["error"]["message"].as_str().unwrap().contains("Read ('"),
            "{refusal}"
        );
        assert_eq!(ask("sk_test_1", path).0, 200);
    }
    let (status, _, refusal) = ask("rk_test_expired", "/v1/events");
    assert_eq!((status, &refusal["error"]["code"]), (401, &json!("api_key_expired")));
    assert_eq!(sandbox.call("POST", "/_sandbox/clock", r#"{"skew_s":-3600}"#).0, 200);
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(&ask("rk_test_1", "/v1/events").1)
        .unwrap();
    assert!((3590..3610).contains(&(Timestamp::now().as_second() - date.as_second())), "{date}");
}

/// is tried thrice.
#[test]
fn an_event_is_delivered_until_it_is_answered_2xx() {
    let shop = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = sandbox();
    sandbox.buy("card", 1); // for nobody yet
    sandbox.deliver_to(&format!("http://{}/webhook", shop.local_addr().unwrap())).unwrap();
    let bought = sandbox.trigger(&Trigger { times: 2, ..Trigger::of("free") }).unwrap();
    let mut received = HashMap::<Vec<u8>, usize>::new();
    for _ in 0..5 {
        let (mut stream, _) = shop.accept().unwrap();
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk).unwrap();
            bytes.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let Some(end) = text.find("\r\n\r\n") else { continue };
            let length =
                text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if bytes.len() == end + 4 + length.parse::<usize>().unwrap() {
                break (text[..end].to_string(), bytes[end + 4..].to_vec());
            }
        };
        let header = head.split("stripe-signature: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let at = header[2..].split(',').next().unwrap().parse().unwrap();
        assert_eq!(header, signature(&["whsec_sandbox".into()], at, &body));
        assert!((0..60).contains(&(Timestamp::now().as_second() - at)), "{head}");
        let times = received.entry(body).or_default();
        *times += 1;
        let status = if *times <= 3 { 500 } else { 200 };
        write!(stream, "HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n").unwrap();
    }
    assert_eq!(
        received.into_iter().collect::<Vec<_>>(),
        [(sandbox.simulation.event_body(&bought[0].events[0].id).unwrap(), 5)]
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while sandbox.get("/_sandbox/stats")["deliveries"] != json!({"200": 2, "500": 3}) {
        assert!(Instant::now() < deadline, "{}", sandbox.get("/_sandbox/stats"));
        std::thread::yield_now();
    }
    assert_eq!(ids(&sandbox.get("/v1/events?delivery_success=true")).len(), 1);
}

#[test]
fn what_is_said_of_an_object_is_shown_wherever_it_stands() {
    let sandbox = sandbox();
    let purchase = &sandbox.buy("card", 1)[0];
    let payment = purchase.payment_intent.as_deref().unwrap();
    let say = |with: Value| {
        let order = json!({"id": payment, "with": with});
        assert_eq!(sandbox.call("POST", "/_sandbox/say", &order.to_string()).0, 200)
    };
    say(json!({"status": "requires_capture", "customer": null}));
    say(json!({"metadata": {"gift": "yes"}}));
    let path = format!("/v1/checkout/sessions/{}?expand[]=payment_intent", purchase.session);
    let alone = format!("/v1/payment_intents/{payment}");
    for shown in [&sandbox.get(&path)["payment_intent"], &sandbox.get(&alone)] {
        assert_eq!(shown["status"], "requires_capture");
        assert_eq!((&shown["metadata"]["gift"], &shown["customer"]), (&json!("yes"), &Value::Null));
        assert!(shown["amount"].is_number(), "all else is as it was");
    }
}
