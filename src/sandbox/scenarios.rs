//! What can happen to a purchase: one table, each scenario a line, with the events that Stripe sends for it.

use serde_json::{Value, json};

use Act::{Becomes, Dispute, FraudWarning, Refund, Review};
use Part::{Nth, Rest};

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

/// What happens after it.
#[derive(Clone, Copy)]
pub enum Act {
    News(News),
    /// A part of the payment, and the refund's status.
    Refund(Part, &'static str),
    /// The dispute's status.
    Dispute(&'static str),
    Review,
    FraudWarning,
    /// What was the n-th to follow, from 0, gets another status.
    Becomes(usize, &'static str),
}

#[derive(Clone, Copy)]
pub enum Part {
    /// All that is left.
    Rest,
    /// The payment's n-th part.
    Nth(i64),
}

/// One thing that can happen.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// What Stripe sends for the purchase, in its order. The last one's stage is how that ends.
    pub news: &'static [News],
    /// What happens then.
    pub then: &'static [Act],
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
    bought("refunded", "all of it").then(&[Refund(Rest, "succeeded")]),
    bought("refunded-in-part", "a third of it").then(&[Refund(Nth(3), "succeeded")]),
    bought("refunded-twice", "a third, then the rest").then(&[Refund(Nth(3), "succeeded"), Refund(Rest, "succeeded")]),
    bought("refund-pending", "the refund stays under way").then(&[Refund(Rest, "pending")]),
    bought("refund-pending-then-succeeds", "late").then(&[Refund(Rest, "pending"), Becomes(0, "succeeded")]),
    bought("refund-requires-action", "the buyer is asked where to").then(&[Refund(Rest, "requires_action")]),
    bought("refund-fails", "the buyer's bank sends it back").then(&[Refund(Rest, "succeeded"), Becomes(0, "failed")]),
    bought("refund-canceled", "the shop thinks better of it").then(&[Refund(Rest, "pending"), Becomes(0, "canceled")]),
    scenario("refund-first", "refunded before the session's event is made", MONEY_ONLY, |c, n| c.parcels(n))
        .then(&[Refund(Rest, "succeeded"), Act::News(COMPLETED)]),
    bought("disputed", "the shop is to respond").then(&[Dispute("needs_response")]),
    bought("dispute-under-review", "the shop has responded")
        .then(&[Dispute("needs_response"), Becomes(0, "under_review")]),
    bought("dispute-won", "the money comes back").then(&[
        Dispute("needs_response"),
        Becomes(0, "under_review"),
        Becomes(0, "won"),
    ]),
    bought("dispute-lost", "the money stays away").then(&[
        Dispute("needs_response"),
        Becomes(0, "under_review"),
        Becomes(0, "lost"),
    ]),
    bought("dispute-warning", "the bank inquires").then(&[Dispute("warning_needs_response")]),
    bought("dispute-warning-closed", "it inquires no more").then(&[
        Dispute("warning_needs_response"),
        Becomes(0, "warning_under_review"),
        Becomes(0, "warning_closed"),
    ]),
    bought("dispute-warning-escalates", "the inquiry becomes a dispute")
        .then(&[Dispute("warning_needs_response"), Becomes(0, "needs_response")]),
    bought("dispute-prevented", "settled before it was one").then(&[Dispute("prevented")]),
    bought("dispute-appeal", "lost, and not the last word").then(&[
        Dispute("needs_response"),
        Becomes(0, "lost"),
        Becomes(0, "appeal_needs_response"),
    ]),
    bought("disputed-twice", "one is won, one is open").then(&[
        Dispute("needs_response"),
        Becomes(0, "won"),
        Dispute("needs_response"),
    ]),
    bought("refunded-and-disputed", "a third refunded, the rest disputed")
        .then(&[Refund(Nth(3), "succeeded"), Dispute("needs_response")]),
    bought("in-review", "somebody should look at it").then(&[Review]),
    bought("review-approved", "somebody looked at it").then(&[Review, Becomes(0, "approved")]),
    bought("review-refused", "somebody refunded it as fraud").then(&[
        Review,
        Refund(Rest, "succeeded"),
        Becomes(0, "refunded_as_fraud"),
    ]),
    bought("fraud-warning", "the card's issuer suspects fraud").then(&[FraudWarning]),
    bought("fraud-warning-refunded", "and the shop refunds it").then(&[FraudWarning, Refund(Rest, "succeeded")]),
    scenario("delayed-refunded", "by direct debit, refunded", SETTLED, |c, n| c.by_debit().parcels(n))
        .then(&[Refund(Rest, "pending"), Becomes(0, "succeeded")]),
    scenario("delayed-disputed", "by direct debit, taken back for good", SETTLED, |c, n| c.by_debit().parcels(n))
        .then(&[Dispute("lost")]),
    scenario("subscription-refunded", "its first purchase", SUBSCRIBED, |c, _| c.membership())
        .then(&[Refund(Rest, "succeeded")]),
    scenario("subscription-disputed", "its first purchase", SUBSCRIBED, |c, _| c.membership())
        .then(&[Dispute("needs_response")]),
    scenario("mixed-refunded-in-part", "a third of it", PAID, |c, n| c.parcel(n, 1).download(n).ship(490))
        .then(&[Refund(Nth(3), "succeeded")]),
    scenario("yen-refunded", "in a currency without decimals", PAID, |c, n| c.priced_in("jpy").parcels(n))
        .then(&[Refund(Rest, "succeeded")]),
    scenario("dinar-refunded-in-part", "in one with three decimals", PAID, |c, n| c.priced_in("kwd").parcels(n))
        .then(&[Refund(Nth(3), "succeeded")]),
    scenario("many-refunds", "120 refunds of a large payment", PAID, |c, n| c.prints(n, 100).ship(0))
        .then(&[Refund(Nth(200), "succeeded"); 120]),
];

const COMPLETED: News = ("checkout.session.completed", Stage::Paid);
const MONEY_ONLY: &[News] = &[("payment_intent.succeeded", Stage::Paid)];
const PAID: &[News] = &[MONEY_ONLY[0], COMPLETED];
const UNPAID: &[News] = &[("checkout.session.completed", Stage::Unpaid)];
const SETTLED: &[News] = &[UNPAID[0], SUCCEEDS[0], SUCCEEDS[1]];
const FAILED: &[News] = &[UNPAID[0], FAILS[0], FAILS[1]];
const CANCELED: &[News] = &[UNPAID[0], ("payment_intent.canceled", Stage::Canceled)];
const FREE: &[News] = &[("checkout.session.completed", Stage::Free)];
const SUBSCRIBED: &[News] = &[COMPLETED];
const EXPIRED: &[News] = &[("checkout.session.expired", Stage::Expired)];

/// What follows on an unpaid checkout when the money comes.
pub const SUCCEEDS: &[News] =
    &[("payment_intent.succeeded", Stage::Paid), ("checkout.session.async_payment_succeeded", Stage::Paid)];

/// What follows on an unpaid checkout when it does not.
pub const FAILS: &[News] =
    &[("payment_intent.payment_failed", Stage::Failed), ("checkout.session.async_payment_failed", Stage::Failed)];

/// The event types that can be triggered, and the scenario that sends each.
pub const BY_EVENT: &[(&str, &str)] = &[
    ("checkout.session.completed", "card"),
    ("checkout.session.async_payment_succeeded", "delayed"),
    ("checkout.session.async_payment_failed", "delayed-fails"),
    ("checkout.session.expired", "expired"),
    ("payment_intent.succeeded", "card"),
    ("payment_intent.payment_failed", "delayed-fails"),
    ("payment_intent.canceled", "canceled"),
    ("refund.created", "refunded"),
    ("refund.updated", "refund-pending-then-succeeds"),
    ("refund.failed", "refund-fails"),
    ("charge.refunded", "refunded"),
    ("charge.refund.updated", "refund-pending-then-succeeds"),
    ("charge.dispute.created", "disputed"),
    ("charge.dispute.updated", "dispute-under-review"),
    ("charge.dispute.closed", "dispute-lost"),
    ("charge.dispute.funds_withdrawn", "disputed"),
    ("charge.dispute.funds_reinstated", "dispute-won"),
    ("review.opened", "in-review"),
    ("review.closed", "review-approved"),
    ("radar.early_fraud_warning.created", "fraud-warning"),
    ("radar.early_fraud_warning.updated", "fraud-warning-refunded"),
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
    Scenario { name, about, news, then: &[], fill, dress: |_| {} }
}

/// What follows a usual purchase by card.
const fn bought(name: &'static str, about: &'static str) -> Scenario {
    scenario(name, about, PAID, |c, n| c.parcels(n))
}

impl Scenario {
    const fn then(self, then: &'static [Act]) -> Scenario {
        Scenario { then, ..self }
    }

    const fn dressed(self, dress: fn(&mut Value)) -> Scenario {
        Scenario { dress, ..self }
    }

    /// How the money stands when the purchase is made.
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
    fn an_unknown_name_is_told_what_there_is() {
        let error = find("fax\u{1b}[2J").err().unwrap().to_string();
        assert!(error.contains("many-lines") && error.contains("payment_intent.canceled"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }
}
