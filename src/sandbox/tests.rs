//! The sandbox asked over HTTP, as the daemon asks it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::simulation::Made;
use super::*;
use crate::clock;
use crate::signature::{SigningSecret, verify};

impl Sandbox {
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
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
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_string())
        .collect()
}

#[test]
fn the_sums_of_every_scenario_are_right() {
    let sandbox = sandbox();
    for (name, _) in scenarios().filter(|(name, _)| *name != "setup") {
        for purchase in sandbox.buy(name, 9) {
            let session = sandbox.get(&format!("/v1/checkout/sessions/{}", purchase.session));
            let lines = sandbox
                .get(&format!("/v1/checkout/sessions/{}/line_items?limit=100", purchase.session));
            let total = |name: &str| {
                lines["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|l| l[name].as_i64().unwrap())
                    .sum::<i64>()
            };
            let of = |name: &str| session["total_details"][name].as_i64().unwrap();
            let off = if name == "sums-differ" { 100 } else { 0 };
            let sum = of("amount_shipping") + of("amount_tax") - of("amount_discount")
                + total("amount_subtotal");
            assert_eq!(session["amount_total"], sum + off, "{name}: {session}");
            assert_eq!(session["amount_subtotal"], total("amount_subtotal"), "{name}");
            assert_eq!(total("amount_total") + of("amount_shipping"), sum, "{name}");
            if let Some(intent) = purchase.payment_intent {
                assert_eq!(
                    sandbox.get(&format!("/v1/payment_intents/{intent}"))["amount"],
                    sum,
                    "{name}"
                );
            }
            assert!(
                session["status"] == "expired" || sum > 0 || name == "free" || name == "trial",
                "{name}"
            );
        }
    }
}

#[test]
fn a_list_is_walked_to_its_end_in_both_directions() {
    let sandbox = sandbox();
    let session = &sandbox.buy("many-lines", 1)[0].session;
    sandbox.buy("card", 24);
    for (path, total) in [
        (format!("/v1/checkout/sessions/{session}/line_items"), 100),
        ("/v1/checkout/sessions".into(), 25),
    ] {
        let all = ids(&sandbox.get(&format!("{path}?limit=100")));
        assert_eq!(all.len(), total);
        for limit in [1, 7, 10, total] {
            let walk = |first: &str, direction: &str| {
                let (mut pages, mut more, mut cursor) = (Vec::new(), true, first.to_string());
                while more {
                    let page = sandbox.get(&format!("{path}?limit={limit}&{direction}={cursor}"));
                    more = page["has_more"].as_bool().unwrap();
                    let rows = ids(&page);
                    cursor = if direction == "starting_after" { rows.last() } else { rows.first() }
                        .unwrap()
                        .clone();
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
    assert_eq!(
        (ids(&session["line_items"]).len(), &session["line_items"]["has_more"]),
        (10, &json!(true))
    );
    assert_eq!(session["line_items"]["data"][9]["price"]["product"]["name"], "Print No. 10");
    assert_eq!(session["payment_intent"]["latest_charge"]["status"], "succeeded");
    let listed =
        sandbox.get("/v1/checkout/sessions?expand[]=data.payment_intent&expand[]=data.line_items");
    assert_eq!(listed["data"][0]["payment_intent"]["object"], "payment_intent");
    assert!(listed["data"][0]["line_items"]["data"][0]["price"]["product"].is_string());
    for (path, why) in [
        (
            format!("/v1/checkout/sessions/{many}?expand[]=buyer"),
            "This property cannot be expanded (buyer).",
        ),
        (
            format!("/v1/checkout/sessions/{many}?expand[]=payment_intent.amount"),
            "cannot be expanded (amount)",
        ),
        (
            format!("/v1/checkout/sessions/{many}/line_items?expand[]=price"),
            "try expanding 'data.price' instead",
        ),
        (
            "/v1/checkout/sessions?expand[]=data.line_items.data.price.product".into(),
            "more than 4 levels",
        ),
    ] {
        let (status, message) = sandbox.refusal(&path);
        assert!(status == 400 && message.contains(why), "{path}: {status} {message}");
    }
    let strange = &sandbox.buy("strange", 1)[0].session;
    let lines = sandbox
        .get(&format!("/v1/checkout/sessions/{strange}/line_items?expand[]=data.price.product"));
    let products: Vec<&Value> =
        lines["data"].as_array().unwrap().iter().map(|l| &l["price"]["product"]).collect();
    assert!(
        products.iter().any(|p| p["deleted"] == true) && products.iter().any(|p| p.is_null()),
        "{products:?}"
    );
}

fn kinds(purchase: &Purchase) -> Vec<&str> {
    purchase.events.iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn every_event_type_leads_to_a_scenario_that_sends_it() {
    let sandbox = sandbox();
    for (kind, _) in scenarios::BY_EVENT {
        let kind = format!("v1.{kind}");
        let made =
            sandbox.trigger(&Trigger { shape: Some(Shape::Both), ..Trigger::of(&kind) }).unwrap();
        assert!(kinds(&made[0]).contains(&kind.as_str()), "{kind}: {:?}", kinds(&made[0]));
    }
}

#[test]
fn what_follows_a_payment_agrees_with_its_charge() {
    let sandbox = sandbox();
    for (name, _) in scenarios() {
        let bought = sandbox.buy(name, 2).remove(1);
        let session = sandbox.get(&format!("/v1/checkout/sessions/{}", bought.session));
        let invoice = session["invoice"].as_str().unwrap_or("in_none");
        let paid = sandbox.get(&format!("/v1/invoice_payments?invoice={invoice}"));
        let intent = bought
            .payment_intent
            .as_deref()
            .or(paid["data"][0]["payment"]["payment_intent"].as_str());
        let Some(intent) = intent else { continue };
        let payment = sandbox.get(&format!("/v1/payment_intents/{intent}?expand[]=latest_charge"));
        let charge = &payment["latest_charge"];
        let list = |path: &str| {
            let (mut rows, mut page) = (Vec::<Value>::new(), json!({"has_more": true}));
            while page["has_more"] == true {
                let after = rows
                    .last()
                    .map(|row| format!("&starting_after={}", row["id"].as_str().unwrap()));
                let after = after.unwrap_or_default();
                page = sandbox.get(&format!("/v1/{path}?payment_intent={intent}&limit=100{after}"));
                rows.extend(page["data"].as_array().unwrap().clone());
            }
            rows
        };
        let sum = |rows: &[Value], counted: &dyn Fn(&str) -> bool| -> i64 {
            let counted = rows.iter().filter(|row| counted(row["status"].as_str().unwrap()));
            counted.map(|row| row["amount"].as_i64().unwrap()).sum()
        };
        let (refunds, disputes) = (list("refunds"), list("disputes"));
        let refunded = sum(&refunds, &|status| !matches!(status, "failed" | "canceled"));
        let disputed =
            sum(&disputes, &|status| status == "lost" || status.ends_with("needs_response"));
        let charged = charge["amount"].as_i64().unwrap_or(0);
        assert_eq!(charge["amount_refunded"].as_i64().unwrap_or(0), refunded, "{name}");
        assert!(refunded + disputed <= charged, "{name}: {refunded} and {disputed} of {charged}");
        assert_eq!(charge["refunded"] == true, refunded > 0 && refunded == charged, "{name}");
        assert_eq!(charge["disputed"] == true, !disputes.is_empty(), "{name}");
        assert!(charge.get("refunds").is_none());
        let warnings = list("radar/early_fraud_warnings");
        let reviews = sandbox.get("/v1/reviews?limit=100")["data"].as_array().unwrap().clone();
        let reviews = reviews.into_iter().filter(|row| row["payment_intent"] == intent);
        for row in
            refunds.iter().chain(&disputes).chain(&warnings).chain(&reviews.collect::<Vec<_>>())
        {
            assert_eq!(
                (&row["payment_intent"], &row["charge"]),
                (&json!(intent), &charge["id"]),
                "{name}: {row}"
            );
            assert!(
                row["amount"].is_null() || row["currency"] == payment["currency"],
                "{name}: {row}"
            );
        }
    }
}

#[test]
fn a_hundred_and_twenty_refunds_are_walked_page_by_page() {
    let sandbox = sandbox();
    sandbox.buy("refunded", 3);
    let intent = sandbox.buy("many-refunds", 1)[0].payment_intent.clone().unwrap();
    sandbox.buy("disputed", 3);
    let charge = sandbox.get(&format!("/v1/payment_intents/{intent}"))["latest_charge"]
        .as_str()
        .unwrap()
        .to_string();
    for filter in [format!("payment_intent={intent}"), format!("charge={charge}")] {
        let first = sandbox.get(&format!("/v1/refunds?{filter}&limit=100"));
        let last = ids(&first).pop().unwrap();
        let second = sandbox.get(&format!("/v1/refunds?{filter}&limit=100&starting_after={last}"));
        assert_eq!((ids(&first).len(), &first["has_more"]), (100, &json!(true)));
        assert_eq!((ids(&second).len(), &second["has_more"]), (20, &json!(false)));
        let back = sandbox
            .get(&format!("/v1/refunds?{filter}&limit=100&ending_before={}", ids(&second)[0]));
        assert_eq!(ids(&back), ids(&first));
        assert!(ids(&second).iter().all(|id| !ids(&first).contains(id)));
    }
    assert_eq!(ids(&sandbox.get("/v1/refunds?limit=100&payment_intent=pi_none")).len(), 0);
    let newest =
        sandbox.get("/v1/refunds?limit=1&expand[]=data.charge&expand[]=data.payment_intent");
    assert_eq!(newest["data"][0]["charge"]["id"], charge);
    assert_eq!(
        sandbox.refusal(&format!("/v1/disputes/{}", newest["data"][0]["id"].as_str().unwrap())).0,
        404
    );
    assert_eq!(sandbox.refusal("/v1/reviews?payment_intent=pi_none").0, 400);
}

#[test]
fn a_refund_is_told_at_every_step_in_both_shapes() {
    let sandbox = sandbox();
    let bought = &sandbox.buy("card", 1)[0];
    let post = |path: &str, body: Value| {
        let (status, said) = sandbox.call("POST", &format!("/_sandbox/{path}"), &body.to_string());
        assert_eq!(status, 200, "{path}: {said}");
        let kinds: Vec<String> = said["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap().into())
            .collect();
        (said, kinds)
    };
    let (said, told) = post(
        "refund",
        json!({"session": bought.session, "amount": 100, "status": "pending", "shape": "both"}),
    );
    assert_eq!(
        told,
        ["refund.created", "v1.refund.created", "charge.refunded", "v1.charge.refunded"]
    );
    let id = said["id"].as_str().unwrap();
    let thin: Value = serde_json::from_slice(
        &sandbox.simulation.event_body(said["events"][1]["id"].as_str().unwrap()).unwrap(),
    )
    .unwrap();
    assert_eq!(
        thin["related_object"],
        json!({"id": id, "type": "refund", "url": format!("/v1/refunds/{id}")})
    );
    assert_eq!(sandbox.get(thin["related_object"]["url"].as_str().unwrap())["status"], "pending");
    let (_, told) = post(&format!("refunds/{id}"), json!({"status": "failed"}));
    assert_eq!(told, ["refund.updated", "refund.failed", "charge.refund.updated"]);
    assert_eq!(
        sandbox.get(&format!("/v1/refunds/{id}"))["failure_reason"],
        "expired_or_canceled_card"
    );
    // The news of then stays as it was then.
    let created = sandbox.get(&format!("/v1/events/{}", said["events"][0]["id"].as_str().unwrap()));
    assert_eq!(created["data"]["object"]["status"], "pending");
}

#[test]
fn disputes_reviews_and_warnings_are_told_as_they_go() {
    let sandbox = sandbox();
    let disputed = &sandbox.buy("dispute-won", 1)[0];
    let told = ["created", "funds_withdrawn", "updated", "funds_reinstated", "closed"]
        .map(|w| format!("charge.dispute.{w}"));
    assert_eq!(kinds(disputed)[2..], told);
    let warned = &sandbox.buy("dispute-warning-closed", 1)[0];
    let told = ["created", "updated", "closed"].map(|what| format!("charge.dispute.{what}"));
    assert_eq!(kinds(warned)[2..], told);
    let refused = &sandbox.buy("review-refused", 1)[0];
    assert_eq!(
        kinds(refused)[2..],
        ["review.opened", "refund.created", "charge.refunded", "review.closed"]
    );
    let suspected = &sandbox.buy("fraud-warning-refunded", 1)[0];
    let warning = "radar.early_fraud_warning";
    let told = [
        &format!("{warning}.created"),
        "refund.created",
        "charge.refunded",
        &format!("{warning}.updated"),
    ];
    assert_eq!(kinds(suspected)[2..], told);
    let actionable = |n: usize| {
        sandbox.get(&format!("/v1/events/{}", suspected.events[n].id))["data"]["object"]["actionable"].clone()
    };
    assert_eq!((actionable(2), actionable(5)), (json!(true), json!(false)));
    let early = &sandbox.buy("refund-first", 1)[0];
    assert_eq!(
        kinds(early)[1..],
        ["refund.created", "charge.refunded", "checkout.session.completed"]
    );
}

#[test]
fn a_subscriptions_payment_is_found_through_its_invoice() {
    let sandbox = sandbox();
    sandbox.buy("card", 1);
    let bought = &sandbox.buy("subscription-refunded", 2)[0];
    let session = sandbox.get(&format!("/v1/checkout/sessions/{}", bought.session));
    assert_eq!(session["payment_intent"], Value::Null);
    let paid = sandbox
        .get(&format!("/v1/invoice_payments?invoice={}", session["invoice"].as_str().unwrap()));
    let intent = paid["data"][0]["payment"]["payment_intent"].as_str().unwrap();
    assert_eq!(ids(&sandbox.get(&format!("/v1/refunds?payment_intent={intent}"))).len(), 1);
    let back = format!(
        "/v1/invoice_payments?payment[type]=payment_intent&payment[payment_intent]={intent}"
    );
    assert_eq!(sandbox.get(&back)["data"], paid["data"]);
    assert_eq!(ids(&sandbox.get("/v1/invoice_payments")).len(), 2);
    assert_eq!(
        ids(&sandbox.get(&format!("/v1/checkout/sessions?payment_intent={intent}"))).len(),
        0
    );
    let (status, why) =
        sandbox.refusal(&format!("/v1/invoice_payments?payment[payment_intent]={intent}"));
    assert!(status == 400 && why.contains("payment[type]"), "{why}");
}

#[test]
fn a_delayed_payment_settles_once() {
    let sandbox = sandbox();
    let bought = &sandbox.buy("unpaid", 1)[0];
    let path = format!("/v1/checkout/sessions/{}", bought.session);
    assert_eq!(sandbox.get(&path)["payment_status"], "unpaid");
    let order =
        json!({"session": bought.session, "outcome": "succeeded", "shape": "both"}).to_string();
    let (status, settled) = sandbox.call("POST", "/_sandbox/settle", &order);
    let kinds: Vec<&str> =
        settled["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    let session = "checkout.session.async_payment_succeeded";
    let expected = [
        "payment_intent.succeeded",
        "v1.payment_intent.succeeded",
        session,
        &format!("v1.{session}"),
    ];
    assert_eq!((status, kinds.as_slice()), (200, expected.as_slice()));
    assert_eq!(sandbox.get(&path)["payment_status"], "paid");
    assert_eq!(sandbox.call("POST", "/_sandbox/settle", &order).0, 400);
    // The news of then stays as it was then.
    let body: Value =
        serde_json::from_slice(&sandbox.simulation.event_body(&bought.events[0].id).unwrap())
            .unwrap();
    assert_eq!(body["data"]["object"]["payment_status"], "unpaid");
}

#[test]
fn events_are_listed_by_type_time_and_delivery() {
    let sandbox = sandbox();
    let card = sandbox.buy("card", 2);
    let thin =
        sandbox.trigger(&Trigger { shape: Some(Shape::Thin), ..Trigger::of("expired") }).unwrap();
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
        serde_json::from_slice(&sandbox.simulation.event_body(&thin[0].events[0].id).unwrap())
            .unwrap();
    let twin =
        sandbox.get(&format!("/v1/events/{}", notification["snapshot_event"].as_str().unwrap()));
    assert_eq!(twin["data"]["object"]["id"], notification["related_object"]["id"]);
}

#[test]
fn faults_strike_where_and_as_often_as_ordered() {
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
fn bad_orders_and_keys_get_a_sentence() {
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
fn an_endpoint_asked_too_fast_answers_429() {
    let sandbox = Sandbox::start(Options { rate_per_s: 3, ..Options::default() }).unwrap();
    let statuses: Vec<u16> = (0..8).map(|_| sandbox.refusal("/v1/events").0).collect();
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(sandbox.refusal("/v1/checkout/sessions").0, 200);
}

#[test]
fn an_endpoint_is_listed_as_its_payload_has_it_and_hears_what_it_wants_while_it_is_enabled() {
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
    let told: Vec<Made> = scenarios().flat_map(|(name, _)| keep(name).events).collect();
    let enabled = listed().0["data"][0]["enabled_events"].clone();
    let enabled = enabled.as_array().unwrap();
    assert!(
        told.iter().all(|event| enabled.contains(&json!(event.kind))),
        "the usual endpoint hears all of it"
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
            told.iter().map(|event| account.place_of_event(&event.id).unwrap()).collect();
        drop(account);
        all.into_iter().filter(|event| sandbox.simulation.url_for(*event).is_some()).count()
    };
    let of = |kind: &str| told.iter().filter(|event| event.kind == kind).count();
    assert_eq!(goes(), told.len());
    order(json!({"url": url, "enabled_events": ["refund.created"]}));
    assert_eq!(goes(), of("refund.created"));
    order(json!({"url": url, "status": "disabled"}));
    assert_eq!(goes(), 0);
    sandbox.buy("card", 1);
    assert!(sandbox.simulation.queue.is_empty(), "what happens meanwhile is not even tried");
    order(json!({"url": url, "enabled_events": ["*"]}));
    assert_eq!(goes(), told.len());
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
    let date = clock::from_http(&ask("rk_test_1", "/v1/events").1).unwrap();
    assert!((3590..3610).contains(&(clock::now().as_second() - date.as_second())), "{date}");
}

/// A shop's endpoint that fails three times under two deliveries of one event, so that one of them
/// is tried thrice.
#[test]
fn an_event_is_delivered_until_it_is_answered_2xx() {
    let shop = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = sandbox();
    sandbox.buy("card", 1); // for nobody yet
    sandbox.deliver_to(&format!("http://{}/webhook", shop.local_addr().unwrap())).unwrap();
    let bought = sandbox.trigger(&Trigger { times: 2, ..Trigger::of("free") }).unwrap();
    let (mut heard, secrets) =
        (HashMap::<Vec<u8>, usize>::new(), [SigningSecret::new("whsec_sandbox")]);
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
