//! Sessions as no shop would like them: hostile text, sums that differ, an API of 2019.

use serde_json::{Value, json};

use super::checkout::{Checkout, Oddity};

/// Text that reads backwards, drives a terminal, begins a formula, or would like to be SQL or HTML.
const HOSTILE: [&str; 4] = [
    "Robert'); DROP TABLE orders;--",
    "invoice\u{202e}gpj.exe \u{1b}[2J\u{1b}]0;owned\u{7} \u{9b}31m",
    "=HYPERLINK(\"http://127.0.0.1/\",\"free\")",
    "<script>alert('é\u{0}')</script>\r\nforged: line",
];

/// Adds lines with hostile text, a deleted product, and a price that names none.
pub fn strange_lines(checkout: Checkout) -> Checkout {
    let checkout = checkout.line("ODD-1", HOSTILE[0], None, 333, 3, true).odd(Oddity::Deleted);
    let checkout = checkout.line("ODD-2", HOSTILE[1], None, 333, 3, true);
    checkout.line("ODD-3", "", None, 333, 3, true).odd(Oddity::Bare)
}

/// Puts hostile text, nulls and unknown words into a session.
pub fn strange(session: &mut Value) {
    session["customer_details"]["name"] = json!(HOSTILE[1]);
    session["customer_details"]["phone"] = json!("\u{202d}+1 555");
    session["collected_information"]["shipping_details"]["name"] = json!(HOSTILE[2]);
    session["collected_information"]["shipping_details"]["address"] = json!({
        "line1": HOSTILE[0], "line2": HOSTILE[3], "city": null, "country": null, "planet": "Mars"
    });
    session["client_reference_id"] = json!("'; DELETE FROM orders WHERE ''='");
    session["metadata"] = json!({"": "", HOSTILE[1]: HOSTILE[3], "long": "x".repeat(500)});
    session["custom_fields"] = json!([
        {"key": "hologram", "type": "hologram", "hologram": {"value": null}, "label": null}
    ]);
    session["ui_mode"] = json!("hologram");
    session["submit_type"] = json!("teleport");
    session["total_details"]["amount_levitation"] = json!(0);
    session["custom_text"] = Value::Null;
    session["shipping_options"] = Value::Null;
}

/// Makes the total 100 minor units more than its parts.
pub fn sums_differ(session: &mut Value) {
    session["amount_total"] = json!(session["amount_total"].as_i64().unwrap_or(0) + 100);
}

/// Puts the address where it stood in Stripe's API of 2019.
pub fn old_api(session: &mut Value) {
    let collected = session["collected_information"]["shipping_details"].take();
    session["shipping"] = json!({"address": collected["address"], "name": collected["name"], "carrier": null,
        "phone": session["customer_details"]["phone"], "tracking_number": null});
    for newer in [
        "collected_information",
        "presentment_details",
        "ui_mode",
        "origin_context",
        "adaptive_pricing",
    ] {
        session.as_object_mut().and_then(|fields| fields.remove(newer));
    }
}
