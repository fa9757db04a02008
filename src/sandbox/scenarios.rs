//! What can happen at the checkout: one table, each scenario a line, with the events that Stripe sends for it.

use serde_json::{Value, json};

use super::checkout::{Checkout, Oddity};
use crate::error::{Error, Result};
use crate::text;

/// How the money stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A delayed payment that is under way.
    Unpaid,
    Paid,
    /// Nothing to pay.
    Free,
    Failed,
    Canceled,
    Expired,
}

/// A type of event, and how the money stands when it is sent.
pub type News = (&'static str, Stage);

/// One thing that can happen.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// What Stripe sends, in its order. The last one's stage is how it ends.
    pub news: &'static [News],
    /// Fills the basket of the n-th checkout.
    pub fill: fn(Checkout, usize) -> Checkout,
    /// What is odd about the session, put on the usual one.
    pub dress: fn(&mut Value),
}

pub const SCENARIOS: &[Scenario] = &[
    scenario("card", "by card, to be shipped", PAID, |c, n| c.parcels(n)),
    scenario("delayed", "by direct debit, which settles right away", SETTLED, |c, n| c.by_debit().parcels(n)),
    scenario("delayed-fails", "by direct debit, which fails", FAILED, |c, n| c.by_debit().parcels(n)),
    scenario("unpaid", "by direct debit, under way until it is settled", UNPAID, |c, n| c.by_debit().parcels(n)),
    scenario("canceled", "by direct debit, whose payment is canceled", CANCELED, |c, n| c.by_debit().parcels(n)),
    scenario("free", "a coupon for all of it: nothing to pay", FREE, |c, n| c.download(n).discount(100)),
    scenario("payment-link", "through a payment link of the shop's", PAID, |c, n| c.by_link(n).parcels(n)),
    scenario("digital", "downloads only", PAID, |c, n| c.download(n).download(n + 1)),
    scenario("mixed", "something to ship and something to download", PAID, |c, n| c.parcel(n, 1).download(n).ship(490)),
    scenario("many-lines", "a hundred lines, Stripe's most", PAID, |c, n| c.prints(n, 100).ship(0)),
    scenario("yen", "in a currency without decimals", PAID, |c, n| c.priced_in("jpy").parcels(n)),
    scenario("dinar", "in a currency with three decimals", PAID, |c, n| c.priced_in("kwd").parcels(n)),
    scenario("discount", "with discount, tax and shipping", PAID, |c, n| c.parcels(n).discount(10).tax(19).ship(690)),
    scenario("adaptive", "the buyer saw another currency", PAID, |c, n| c.presented_in("usd").parcels(n)),
    scenario("subscription", "the first purchase of a subscription", SUBSCRIBED, |c, _| c.membership()),
    scenario("setup", "a card is kept for later, nothing is sold", FREE, |c, _| c.setup()),
    scenario("expired", "abandoned", EXPIRED, |c, n| c.parcels(n)),
    scenario("strange", "nulls, new words, hostile text", PAID, |c, n| strange_lines(c.parcels(n))).dressed(strange),
    scenario("sums-differ", "the total is not its parts' sum", PAID, |c, n| c.parcels(n)).dressed(sums_differ),
    scenario("old-api", "the address where it stood in 2019", PAID, |c, n| c.parcels(n)).dressed(old_api),
];

const PAID: &[News] = &[("payment_intent.succeeded", Stage::Paid), ("checkout.session.completed", Stage::Paid)];
const UNPAID: &[News] = &[("checkout.session.completed", Stage::Unpaid)];
const SETTLED: &[News] = &[UNPAID[0], SUCCEEDS[0], SUCCEEDS[1]];
const FAILED: &[News] = &[UNPAID[0], FAILS[0], FAILS[1]];
const CANCELED: &[News] = &[UNPAID[0], ("payment_intent.canceled", Stage::Canceled)];
const FREE: &[News] = &[("checkout.session.completed", Stage::Free)];
const SUBSCRIBED: &[News] = &[("checkout.session.completed", Stage::Paid)];
const EXPIRED: &[News] = &[("checkout.session.expired", Stage::Expired)];

/// What follows on an unpaid checkout when the money comes.
pub const SUCCEEDS: &[News] =
    &[("payment_intent.succeeded", Stage::Paid), ("checkout.session.async_payment_succeeded", Stage::Paid)];

/// What follows on an unpaid checkout when it does not.
pub const FAILS: &[News] =
    &[("payment_intent.payment_failed", Stage::Failed), ("checkout.session.async_payment_failed", Stage::Failed)];

/// The event types that can be triggered, and the scenario that sends each.
const BY_EVENT: &[(&str, &str)] = &[
    ("checkout.session.completed", "card"),
    ("checkout.session.async_payment_succeeded", "delayed"),
    ("checkout.session.async_payment_failed", "delayed-fails"),
    ("checkout.session.expired", "expired"),
    ("payment_intent.succeeded", "card"),
    ("payment_intent.payment_failed", "delayed-fails"),
    ("payment_intent.canceled", "canceled"),
];

/// The scenario of that name, or the one that sends that type of event, in either shape. `Usage` names all there are.
pub fn find(wanted: &str) -> Result<&'static Scenario> {
    let kind = wanted.strip_prefix("v1.").unwrap_or(wanted);
    let name = BY_EVENT.iter().find(|(event, _)| *event == kind).map_or(wanted, |(_, name)| name);
    SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).chain(BY_EVENT.iter().map(|(event, _)| *event)).collect();
        let wanted: String = text::clean(wanted).chars().take(80).collect();
        Error::Usage(format!("there is no scenario and no event type {wanted:?} here; there are {}", names.join(", ")))
    })
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    news: &'static [News],
    fill: fn(Checkout, usize) -> Checkout,
) -> Scenario {
    Scenario { name, about, news, fill, dress: |_| {} }
}

impl Scenario {
    const fn dressed(self, dress: fn(&mut Value)) -> Scenario {
        Scenario { dress, ..self }
    }

    /// How the money stands in the end.
    pub fn ends(&self) -> Stage {
        self.news.last().map_or(Stage::Unpaid, |(_, stage)| *stage)
    }
}

/// Text that reads backwards, drives a terminal, begins a formula, or would like to be SQL or HTML.
const HOSTILE: [&str; 4] = [
    "Robert'); DROP TABLE orders;--",
    "invoice\u{202e}gpj.exe \u{1b}[2J\u{1b}]0;owned\u{7} \u{9b}31m",
    "=HYPERLINK(\"http://127.0.0.1/\",\"free\")",
    "<script>alert('é\u{0}')</script>\r\nforged: line",
];

fn strange_lines(checkout: Checkout) -> Checkout {
    let checkout = checkout.line("ODD-1", HOSTILE[0], None, 333, 3, true).odd(Oddity::Deleted);
    let checkout = checkout.line("ODD-2", HOSTILE[1], None, 333, 3, true);
    checkout.line("ODD-3", "", None, 333, 3, true).odd(Oddity::Bare)
}

fn strange(session: &mut Value) {
    session["customer_details"]["name"] = json!(HOSTILE[1]);
    session["customer_details"]["phone"] = json!("\u{202d}+1 555");
    session["collected_information"]["shipping_details"]["name"] = json!(HOSTILE[2]);
    session["collected_information"]["shipping_details"]["address"] =
        json!({"line1": HOSTILE[0], "line2": HOSTILE[3], "city": null, "country": null, "planet": "Mars"});
    session["client_reference_id"] = json!("'; DELETE FROM orders WHERE ''='");
    session["metadata"] = json!({"": "", HOSTILE[1]: HOSTILE[3], "long": "x".repeat(500)});
    session["custom_fields"] =
        json!([{"key": "hologram", "type": "hologram", "hologram": {"value": null}, "label": null}]);
    session["ui_mode"] = json!("hologram");
    session["submit_type"] = json!("teleport");
    session["total_details"]["amount_levitation"] = json!(0);
    session["custom_text"] = Value::Null;
    session["shipping_options"] = Value::Null;
}

fn sums_differ(session: &mut Value) {
    session["amount_total"] = json!(session["amount_total"].as_i64().unwrap_or(0) + 100);
}

fn old_api(session: &mut Value) {
    let collected = session["collected_information"]["shipping_details"].take();
    session["shipping"] = json!({"address": collected["address"], "name": collected["name"], "carrier": null,
        "phone": session["customer_details"]["phone"], "tracking_number": null});
    for newer in ["collected_information", "presentment_details", "ui_mode", "origin_context", "adaptive_pricing"] {
        session.as_object_mut().and_then(|fields| fields.remove(newer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_leads_to_a_scenario_that_sends_it() {
        for (kind, _) in BY_EVENT {
            let found = find(&format!("v1.{kind}")).unwrap();
            assert!(found.news.iter().any(|(sent, _)| sent == kind), "{kind}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let error = find("fax\u{1b}[2J").err().unwrap().to_string();
        assert!(error.contains("many-lines") && error.contains("payment_intent.canceled"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }
}
