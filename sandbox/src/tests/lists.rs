//! Objects, lists and their filters, requested as the daemon requests them.

use serde_json::{Value, json};

use super::*;
use crate::scenarios;

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
