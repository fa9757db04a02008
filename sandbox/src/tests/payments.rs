//! What becomes of a payment, and the events about it.

use serde_json::{Value, json};

use super::*;

#[test]
fn every_event_type_leads_to_a_scenario_that_sends_it() {
    let sandbox = sandbox();
    for (kind, _) in world::scenarios::BY_EVENT {
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
fn a_refund_makes_events_at_every_step_in_both_shapes() {
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
    let (said, made) = post(
        "refund",
        json!({"session": bought.session, "amount": 100, "status": "pending", "shape": "both"}),
    );
    assert_eq!(
        made,
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
    let (_, made) = post(&format!("refunds/{id}"), json!({"status": "failed"}));
    assert_eq!(made, ["refund.updated", "refund.failed", "charge.refund.updated"]);
    assert_eq!(
        sandbox.get(&format!("/v1/refunds/{id}"))["failure_reason"],
        "expired_or_canceled_card"
    );
    // The old event keeps the state of its time.
    let created = sandbox.get(&format!("/v1/events/{}", said["events"][0]["id"].as_str().unwrap()));
    assert_eq!(created["data"]["object"]["status"], "pending");
}

#[test]
fn disputes_reviews_and_warnings_make_events_as_they_go() {
    let sandbox = sandbox();
    let disputed = &sandbox.buy("dispute-won", 1)[0];
    let made = ["created", "funds_withdrawn", "updated", "funds_reinstated", "closed"]
        .map(|w| format!("charge.dispute.{w}"));
    assert_eq!(kinds(disputed)[2..], made);
    let warned = &sandbox.buy("dispute-warning-closed", 1)[0];
    let made = ["created", "updated", "closed"].map(|what| format!("charge.dispute.{what}"));
    assert_eq!(kinds(warned)[2..], made);
    let refused = &sandbox.buy("review-refused", 1)[0];
    assert_eq!(
        kinds(refused)[2..],
        ["review.opened", "refund.created", "charge.refunded", "review.closed"]
    );
    let suspected = &sandbox.buy("fraud-warning-refunded", 1)[0];
    let warning = "radar.early_fraud_warning";
    let made = [
        &format!("{warning}.created"),
        "refund.created",
        "charge.refunded",
        &format!("{warning}.updated"),
    ];
    assert_eq!(kinds(suspected)[2..], made);
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
    // The old event keeps the state of its time.
    let body: Value =
        serde_json::from_slice(&sandbox.simulation.event_body(&bought.events[0].id).unwrap())
            .unwrap();
    assert_eq!(body["data"]["object"]["payment_status"], "unpaid");
}
