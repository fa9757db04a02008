//! Stripe's API of any year since 2019: the same purchase is the same order, whatever the event and
//! the answers look like.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::arrivals::{afresh, facts};
use crate::lives::answering;
use crate::shop::{Shop, rows};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events")
}

/// The names in a directory, without their `.json`.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let names = entries
        .map(|entry| entry.expect("it can be listed").file_name().into_string().expect("a name"));
    names.map(|name| name.trim_end_matches(".json").to_string()).collect()
}

/// The types that `handlers::TABLE` acts on.
fn types() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/handlers/mod.rs");
    let table = std::fs::read_to_string(source).expect("the table is there");
    table
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("(\"")?.split('"').next()?.to_string()))
        .collect()
}

/// A fixture about one purchase, by its ids: `{session}`, `{charge}` and so on in the fixture.
fn filled(path: &Path, event: &str, ids: &Value) -> Vec<u8> {
    let mut text =
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (name, id) in ids.as_object().expect("names and ids") {
        text = text.replace(&format!("{{{name}}}"), id.as_str().unwrap_or("none"));
    }
    text.replace("{event}", event)
        .replace("{snapshot_event}", &event.replace("thin", "snapshot"))
        .into_bytes()
}

/// The ids of a purchase and of what followed it, by what the fixtures call them.
fn ids(shop: &Shop, session: &str, events: &[(String, String)]) -> Value {
    let mut ids = json!({"session": session});
    for (event, _) in events {
        let body: Value = serde_json::from_slice(&shop.body(event)).expect("JSON");
        let object = &body["data"]["object"];
        let name = object["object"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("radar.early_")
            .to_string();
        ids[name] = object["id"].clone();
        for named in ["payment_intent", "charge"] {
            if object[named].is_string() {
                ids[named] = object[named].clone();
            }
        }
    }
    ids
}

#[test]
fn every_event_type_has_a_fixture_in_both_shapes_and_either_leads_to_the_same_rows() {
    let snapshots = types();
    let both: BTreeSet<String> =
        snapshots.iter().flat_map(|kind| [kind.clone(), format!("v1.{kind}")]).collect();
    let there: BTreeSet<String> =
        names(&fixtures()).into_iter().filter(|name| name != "versions").collect();
    assert!(both.len() > 40 && there == both, "{:?}", there.symmetric_difference(&both));
    let shop = Shop::open();
    for kind in &snapshots {
        let purchase = shop.buy(kind, 1, "snapshot").remove(0);
        let ids = ids(&shop, &purchase.session, &purchase.events);
        let mut told = Vec::new();
        for (name, event) in [
            (kind.clone(), format!("evt_snapshot_{kind}")),
            (format!("v1.{kind}"), format!("evt_thin_{kind}")),
        ] {
            let event = event.replace('.', "_");
            let body = filled(&fixtures().join(format!("{name}.json")), &event, &ids);
            let parsed: Value = serde_json::from_slice(&body).expect("a fixture is JSON");
            assert_eq!(parsed["type"], name.as_str(), "a fixture is named as Stripe names it");
            assert_eq!(shop.post(&body).expect("the desk answers").0, 200);
            shop.settle();
            let state = shop
                .one(&format!("SELECT state || coalesce(': ' || state_reason, '') FROM events WHERE id = '{event}'"));
            match kind.as_str() {
                "checkout.session.expired" => {
                    assert!(state.starts_with("ignored: the checkout expired"), "{name}: {state}")
                }
                _ => assert_eq!(state, "done", "{name}"),
            }
            told.push(facts(&shop));
        }
        assert!(told[0] == told[1], "{kind}: the thin twin led to something else");
    }
    shop.check();
}

#[test]
fn an_event_of_any_api_version_leads_to_the_same_rows() {
    let mut shop = Shop::open();
    let purchase = shop.buy("refunded-and-disputed", 1, "snapshot").remove(0);
    let ids = ids(&shop, &purchase.session, &purchase.events);
    for (id, _) in &purchase.events {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    let expected = facts(&shop);
    let versions = names(&fixtures().join("versions"));
    assert!(
        versions.len() > 12 && versions.first().is_some_and(|first| first.starts_with("2019")),
        "{versions:?}"
    );
    for version in versions.iter().map(String::as_str).chain(["thin"]) {
        afresh(&mut shop);
        for kind in ["charge.refunded", "charge.dispute.created", "checkout.session.completed"] {
            let path = match version {
                "thin" => fixtures().join(format!("v1.{kind}.json")),
                _ => fixtures().join("versions").join(version).join(format!("{kind}.json")),
            };
            let body = filled(&path, &format!("evt_{}", kind.replace('.', "_")), &ids);
            assert_eq!(shop.post(&body).expect("the desk answers").0, 200, "{version}: {kind}");
        }
        shop.settle();
        assert_eq!(
            shop.rows("SELECT type, state_reason FROM events WHERE state <> 'done'"),
            [""; 0],
            "{version}"
        );
        assert_eq!(facts(&shop), expected, "{version}");
        if version != "thin" {
            assert_eq!(shop.rows("SELECT DISTINCT api_version FROM events"), [version]);
        }
    }
}

/// What Stripe answers today about one purchase that was refunded in part, disputed and reviewed.
fn today() -> Value {
    let address = json!({"line1": "12 rue des Lices", "line2": null, "city": "Lyon", "state": null,
        "postal_code": "69002", "country": "FR"});
    let line = |id: &str, name: &str, shippable: bool| {
        json!({
            "id": id, "object": "item", "description": name, "quantity": 1, "currency": "eur", "amount_subtotal": 700,
            "amount_discount": 0, "amount_tax": 0, "amount_total": 700, "metadata": {},
            "price": {"id": "price_1", "object": "price", "unit_amount": 700,
                "unit_amount_decimal": "700", "nickname": "blue", "lookup_key": null,
                "metadata": {"sku": "MUG-BLUE"}, "product": {"id": "prod_1", "object": "product",
                    "name": name, "shippable": shippable, "metadata": {}}},
        })
    };
    let charge = json!({"id": "ch_1", "object": "charge", "created": 1795489560,
        "payment_intent": "pi_1", "amount": 1890, "amount_refunded": 300});
    let session = json!({
        "id": "cs_test_1", "object": "checkout.session", "livemode": false, "mode": "payment",
        "status": "complete", "payment_status": "paid",
        "currency": "eur", "amount_subtotal": 1400, "amount_total": 1890, "created": 1795489500,
        "ui_mode": "hosted_page",
        "total_details": {"amount_discount": 0, "amount_shipping": 490, "amount_tax": 0},
        "payment_intent": {"id": "pi_1", "object": "payment_intent", "status": "succeeded",
            "amount": 1890, "currency": "eur", "latest_charge": charge},
        "customer": null, "customer_email": null, "subscription": null, "invoice": null,
        "payment_link": "plink_1", "client_reference_id": "basket-7",
        "customer_details": {"email": "marie@example.com", "name": "Marie \
         Dubois", "phone": "+33612345678", "address": address, "tax_ids": [],
            "business_name": null, "individual_name": null},
        "collected_information": {"business_name": null, "individual_name": null,
            "shipping_details": {"name": "Marie Dubois", "address": address}},
        "shipping_cost": {"amount_total": 490, "shipping_rate": {"id": "shr_1", "display_name": "Standard"}},
        "custom_fields": [], "metadata": {"shop": "desk"}, "presentment_details": null,
        "line_items": {"object": "list", "has_more": false, "data": [line("li_1", "Mug", true),
            line("li_2", "Tea towel", true)]},
    });
    let refund = json!({"id": "re_1", "object": "refund", "amount": 300, "currency": "eur",
        "status": "succeeded", "reason": null, "charge": "ch_1",
        "payment_intent": "pi_1", "created": 1795489700});
    let list = |row: &Value| json!({"object": "list", "has_more": false, "data": [row]});
    json!({
        "/v1/checkout/sessions/cs_test_1": session,
        "/v1/checkout/sessions": list(&json!({"id": "cs_test_1", "object": "checkout.session",
            "payment_intent": "pi_1"})),
        "/v1/refunds/re_1": refund, "/v1/refunds": list(&refund), "/v1/charges/ch_1": charge,
        "/v1/disputes/du_1": {"id": "du_1", "object": "dispute", "amount": 500, "currency": "eur",
            "status": "won", "reason": "fraudulent", "charge": "ch_1",
            "payment_intent": "pi_1", "created": 1795489800, "evidence_details": {"due_by": 1796000000}},
        "/v1/reviews/prv_1": {"id": "prv_1", "object": "review", "open": false,
            "opened_reason": "rule", "reason": "approved", "closed_reason": "approved",
            "charge": "ch_1", "payment_intent": "pi_1", "created": 1795489600},
    })
}

/// What the desk writes when Stripe answers like that: each table's rows, without those columns.
fn written(answers: &Value, but: &[&str]) -> Vec<String> {
    let shop = Shop::open_with(
        &[("FULFILLD_STRIPE_API", &answering(answers.clone()))],
        &["--webhook", "none"],
    );
    for (kind, object) in [
        ("checkout.session.completed", "cs_test_1"),
        ("payment_intent.succeeded", "pi_1"),
        ("refund.created", "re_1"),
        ("charge.refunded", "ch_1"),
        ("charge.dispute.closed", "du_1"),
        ("review.closed", "prv_1"),
    ] {
        let event = json!({"id": format!("evt_{object}_{}", kind.len()), "object": "event",
            "type": kind, "livemode": false, "data": {"object": {"id": object}}});
        assert_eq!(shop.post(event.to_string().as_bytes()).expect("the desk answers").0, 200);
    }
    shop.settle();
    assert_eq!(shop.rows("SELECT type, state_reason FROM events WHERE state <> 'done'"), [""; 0]);
    shop.check();
    let mut written = Vec::new();
    for table in [
        "orders",
        "line_items",
        "refunds",
        "disputes",
        "reviews",
        "fulfillments",
        "fulfillment_line_items",
    ] {
        let file = shop.file();
        let mut columns = rows(&file, &format!("SELECT name FROM pragma_table_info('{table}')"));
        columns.retain(|c| {
            !["as_of", "asked", "line_items_at"].contains(&c.as_str()) && !but.contains(&c.as_str())
        });
        columns.retain(|c| table != "fulfillments" || c != "created_at");
        let shown = columns
            .iter()
            .map(|c| format!("'{c}=' || coalesce({c}, '')"))
            .collect::<Vec<_>>()
            .join(", ");
        written.extend(rows(&file, &format!("SELECT '{table}', {shown} FROM {table} ORDER BY 2")));
    }
    written
}

#[test]
fn an_answer_of_any_api_version_is_read_as_the_same_order() {
    type Change = fn(&mut Value);
    const SESSION: &str = "/v1/checkout/sessions/cs_test_1";
    fn session(answers: &mut Value) -> &mut Value {
        &mut answers[SESSION]
    }
    fn without(object: &mut Value, names: &[&str]) {
        object
            .as_object_mut()
            .expect("an object")
            .retain(|name, _| !names.contains(&name.as_str()));
    }
    /// The address moves from where it is today.
    fn address_at(answers: &mut Value, place: &str) {
        let session = session(answers);
        session[place] = session["collected_information"]["shipping_details"].take();
        session[place]["carrier"] = Value::Null;
        without(session, &["collected_information"]);
    }
    fn each_line(answers: &mut Value, change: fn(&mut Value)) {
        session(answers)["line_items"]["data"]
            .as_array_mut()
            .expect("lines")
            .iter_mut()
            .for_each(change);
    }
    let today = today();
    let changes: &[(&str, &[&str], Change)] = &[
        // What was not known in 2019 is not known: the sums' parts, and the buyer's own name and
        // phone.
        (
            "2019-12-03",
            &["amount_subtotal", "amount_shipping", "name", "phone", "shipping_option"],
            |a| {
                address_at(a, "shipping");
                let session = session(a);
                session["customer_email"] = json!("marie@example.com");
                let newer = [
                    "customer_details",
                    "total_details",
                    "amount_total",
                    "amount_subtotal",
                    "currency",
                    "payment_status",
                    "mode",
                    "status",
                    "custom_fields",
                    "shipping_cost",
                    "presentment_details",
                    "ui_mode",
                ];
                without(session, &newer);
                session["payment_intent"]["charges"] = json!({"object": "list",
                    "data": [session["payment_intent"]["latest_charge"].take()]});
                without(&mut session["payment_intent"], &["latest_charge"]);
                without(&mut a["/v1/disputes/du_1"], &["payment_intent"]);
            },
        ),
        ("2020-08-27", &["shipping_option"], |a| {
            address_at(a, "shipping");
            without(session(a), &["shipping_cost", "custom_fields", "presentment_details"]);
            let intent = &mut session(a)["payment_intent"];
            intent["charges"] = json!({"object": "list", "data": [intent["latest_charge"].take()]});
            without(intent, &["latest_charge"]);
            a["/v1/charges/ch_1"]["refunds"] = json!({"object": "list",
                "data": [{"id": "re_of_the_charge", "amount": 1, "status": "pending"}]});
        }),
        ("2022-08-01", &[], |a| {
            address_at(a, "shipping_details");
            session(a)["customer"] = Value::Null;
            a["/v1/charges/ch_1"]["refunds"] = json!({"object": "list", "data": []});
        }),
        ("2022-11-15", &[], |a| {
            address_at(a, "shipping_details");
            a["/v1/charges/ch_1"]["refunds"] = Value::Null;
        }),
        ("2025-02-24.acacia", &[], |a| {
            session(a)["shipping_details"] =
                json!({"name": "an older place", "address": {"line1": "an older place"}});
            session(a)["ui_mode"] = json!("hosted");
        }),
        ("2025-03-31.basil", &[], |a| {
            without(&mut session(a)["collected_information"], &["business_name", "individual_name"])
        }),
        ("the address is the buyer's own", &["shipping_name"], |a| {
            session(a)["collected_information"]["shipping_details"] = Value::Null;
        }),
        ("words that are new", &[], |a| {
            session(a)["ui_mode"] = json!("hologram");
            session(a)["customer_details"]["tax_exempt"] = json!("levitating");
            session(a)["payment_intent"]["capture_method"] = json!("by_net");
            a["/v1/refunds/re_1"]["pending_reason"] = json!("moon");
        }),
        ("a dispute's state that is new", &["status"], |a| {
            a["/v1/disputes/du_1"]["status"] = json!("appeal_in_space")
        }),
        ("products are ids", &[], |a| {
            each_line(a, |line| line["price"]["product"] = json!("prod_1"))
        }),
        ("products are deleted", &[], |a| {
            each_line(a, |line| {
                line["price"]["product"] =
                    json!({"id": "prod_1", "object": "product", "deleted": true})
            });
        }),
        ("lines without a description", &[], |a| {
            each_line(a, |line| line["description"] = Value::Null)
        }),
        ("lines without a quantity", &[], |a| each_line(a, |line| line["quantity"] = Value::Null)),
        ("lines without discount and tax", &[], |a| {
            each_line(a, |line| {
                without(line, &["amount_discount", "amount_tax", "metadata", "currency"])
            })
        }),
        (
            "lines without a price",
            &[
                "price_id",
                "product_id",
                "sku",
                "options",
                "unit_amount",
                "unit_amount_decimal",
                "metadata",
            ],
            |a| {
                each_line(a, |line| line["price"] = Value::Null);
            },
        ),
        ("lines on a page of their own", &[], |a| {
            let more = session(a)["line_items"]["data"].as_array_mut().expect("lines").split_off(1);
            session(a)["line_items"]["has_more"] = json!(true);
            a[format!("{SESSION}/line_items")] =
                json!({"object": "list", "has_more": false, "data": more});
        }),
        ("sums that the payment alone names", &[], |a| {
            without(session(a), &["amount_total", "currency", "payment_status"]);
        }),
        ("a payment that is an id", &["paid_at"], |a| session(a)["payment_intent"] = json!("pi_1")),
        ("objects where ids were", &[], |a| {
            session(a)["payment_link"] = json!({"id": "plink_1", "object": "payment_link"});
            for object in ["/v1/refunds/re_1", "/v1/disputes/du_1", "/v1/reviews/prv_1"] {
                a[object]["charge"] = json!({"id": "ch_1", "object": "charge"});
                a[object]["payment_intent"] = json!({"id": "pi_1", "object": "payment_intent"});
            }
            a["/v1/charges/ch_1"]["payment_intent"] =
                json!({"id": "pi_1", "object": "payment_intent"});
        }),
        ("a payment that the charge alone names", &[], |a| {
            for object in ["/v1/refunds/re_1", "/v1/disputes/du_1", "/v1/reviews/prv_1"] {
                a[object]["payment_intent"] = Value::Null;
            }
            a["/v1/refunds"]["data"][0]["payment_intent"] = Value::Null;
        }),
        ("capitals", &[], |a| {
            session(a)["currency"] = json!("EUR");
            a["/v1/refunds"]["data"][0]["currency"] = json!("EUR");
        }),
    ];
    let whole = written(&today, &[]);
    assert_eq!(whole.len(), 1 + 2 + 1 + 1 + 1 + 1 + 2, "{whole:#?}");
    for (name, lost, change) in changes {
        let mut answers = today.clone();
        change(&mut answers);
        assert_ne!(answers, today, "{name} is another answer");
        let expected = if lost.is_empty() { whole.clone() } else { written(&today, lost) };
        assert_eq!(written(&answers, lost), expected, "{name}");
    }
}
