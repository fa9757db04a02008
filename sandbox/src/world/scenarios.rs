//! What can happen to a purchase: one table, each scenario a line, with the events that Stripe
//! sends for it.

use serde_json::Value;

use Step::{Becomes, Capture, Dispute, DisputePart, FraudWarning, Refund, Review, Settled};

use super::checkout::{Checkout, Stage};
use super::oddities::{old_api, strange, strange_lines, sums_differ};
use crate::error::{Error, Result};

/// A type of event, and how the money stands when it is sent.
pub type PaymentStep = (&'static str, Stage);

/// What happens after it.
#[derive(Clone, Copy)]
pub enum Step {
    Payment(PaymentStep),
    /// A part of the payment, and the refund's status.
    Refund(Part, &'static str),
    /// Of what is held.
    Capture(Part),
    /// The dispute's status.
    Dispute(&'static str),
    /// A dispute over the payment's n-th part.
    DisputePart(i64),
    /// What would have been a dispute: the money is given back.
    Settled,
    Review,
    FraudWarning,
    /// What was the n-th to follow, from 0, gets another status.
    Becomes(usize, &'static str),
}

/// How much of the money.
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
    /// What it is, for the help.
    pub about: &'static str,
    /// What Stripe sends for the purchase, in its order. The last one's stage is how that ends.
    pub payment: &'static [PaymentStep],
    /// What happens then.
    pub then: &'static [Step],
    /// Fills the basket of the n-th checkout.
    pub fill: fn(Checkout, usize) -> Checkout,
    /// What is odd about the session, put on the usual one.
    pub dress: fn(&mut Value),
}

/// Every scenario, in the order of the help.
pub const SCENARIOS: &[Scenario] = &[
    scenario("card", "by card, to be shipped", PAID, |c, n| c.parcels(n)),
    scenario("delayed", "by direct debit, which settles right away", SETTLED, |c, n| {
        c.by_debit().parcels(n)
    }),
    scenario("delayed-fails", "by direct debit, which fails", FAILED, |c, n| {
        c.by_debit().parcels(n)
    }),
    scenario("unpaid", "by direct debit, under way until it is settled", UNPAID, |c, n| {
        c.by_debit().parcels(n)
    }),
    scenario("bank-transfer", "by bank transfer, of which half has come", FUNDED, |c, n| {
        c.by_transfer().parcels(n)
    }),
    scenario("canceled", "by direct debit, whose payment is canceled", CANCELED, |c, n| {
        c.by_debit().parcels(n)
    }),
    scenario("free", "a coupon for all of it: nothing to pay", FREE, |c, n| {
        c.download(n).discount(100)
    }),
    scenario("payment-link", "through a payment link of the shop's", PAID, |c, n| {
        c.by_link(n).parcels(n)
    }),
    scenario("digital", "downloads only", PAID, |c, n| c.download(n).download(n + 1)),
    scenario("mixed", "something to ship and something to download", PAID, |c, n| c.mixed(n)),
    scenario("many-lines", "a hundred lines, Stripe's most", PAID, |c, n| c.prints(n, 100).ship(0)),
    scenario("yen", "in a currency without decimals", PAID, |c, n| c.priced_in("jpy").parcels(n)),
    scenario("dinar", "in a currency with three decimals", PAID, |c, n| {
        c.priced_in("kwd").parcels(n)
    }),
    scenario("discount", "with discount, tax and shipping", PAID, |c, n| {
        c.parcels(n).discount(10).tax(19).ship(690)
    }),
    scenario("adaptive", "the buyer saw another currency", PAID, |c, n| {
        c.presented_in("usd").parcels(n)
    }),
    scenario("authorized", "the money is held until it is captured", HELD, |c, n| {
        c.held().parcels(n)
    }),
    scenario("captured", "held, then taken", HELD, |c, n| c.held().parcels(n))
        .then(&[Capture(Part::Rest)]),
    scenario("captured-in-part", "held, then half of it taken", HELD, |c, n| c.held().parcels(n))
        .then(&[Capture(Part::Nth(2))]),
    scenario("authorization-lapsed", "held, and never taken", LAPSED, |c, n| c.held().parcels(n)),
    scenario("trial", "a subscription whose first month costs nothing", FREE, |c, _| {
        c.membership().on_trial()
    }),
    scenario("pick-up", "to be fetched", PAID, |c, n| {
        c.line("BOARD", "Oak board", None, 4500, 1 + n as i64 % 2, true).picked_up()
    }),
    scenario("priced-abroad", "the price names itself in dollars", PAID, |c, n| {
        c.parcels(n).priced_abroad()
    }),
    scenario("subscription", "the first purchase of a subscription", PAID, |c, _| c.membership()),
    scenario("credit", "a subscription that a credit balance pays", CREDIT, |c, _| {
        c.membership().by_credit(100)
    }),
    scenario("credit-in-part", "a subscription, half of it paid by credit", PAID, |c, _| {
        c.membership().by_credit(50)
    }),
    scenario("setup", "a card is kept for later, nothing is sold", FREE, |c, _| c.setup()),
    scenario("expired", "abandoned", EXPIRED, |c, n| c.parcels(n)),
    scenario("strange", "nulls, new words, hostile text", PAID, |c, n| strange_lines(c.parcels(n)))
        .dressed(strange),
    scenario("sums-differ", "the total is not its parts' sum", PAID, |c, n| c.parcels(n))
        .dressed(sums_differ),
    scenario("old-api", "the address where it stood in 2019", PAID, |c, n| c.parcels(n))
        .dressed(old_api),
    bought("refunded", "all of it", &[REFUND]),
    bought("refunded-in-part", "a third of it", &[REFUND_THIRD]),
    bought("refunded-twice", "a third, then the rest", &[REFUND_THIRD, REFUND]),
    bought("refund-pending", "the refund stays under way", &[REFUND_LATE]),
    bought(
        "refund-pending-then-succeeds",
        "the refund takes its time",
        &[REFUND_LATE, Becomes(0, "succeeded")],
    ),
    bought(
        "refund-requires-action",
        "the buyer is asked where to",
        &[Refund(Part::Rest, "requires_action")],
    ),
    bought("refund-fails", "the buyer's bank sends it back", &[REFUND, Becomes(0, "failed")]),
    bought(
        "refund-canceled",
        "the shop thinks better of it",
        &[REFUND_LATE, Becomes(0, "canceled")],
    ),
    bought(
        "refund-first",
        "the refund's events come before the purchase's",
        &[REFUND, Step::Payment(COMPLETED)],
    )
    .after(MONEY),
    bought("disputed", "the shop is to respond", &[DISPUTE]),
    bought("dispute-under-review", "the shop has responded", &[DISPUTE, RESPOND]),
    bought("dispute-won", "the money comes back", &[DISPUTE, RESPOND, Becomes(0, "won")]),
    bought("dispute-lost", "the money stays away", &[DISPUTE, RESPOND, Becomes(0, "lost")]),
    bought("dispute-warning", "the bank inquires", &[INQUIRE]),
    bought(
        "dispute-warning-closed",
        "the bank inquires no more",
        &[INQUIRE, EXPLAIN, Becomes(0, "warning_closed")],
    ),
    bought(
        "dispute-warning-escalates",
        "the inquiry becomes a dispute",
        &[INQUIRE, Becomes(0, "needs_response")],
    ),
    bought("dispute-prevented", "settled before it was one", &[Dispute("prevented")]),
    bought("dispute-settled", "settled before it was one, by giving the money back", &[Settled]),
    bought("disputed-in-part", "a third of it", &[DisputePart(3)]),
    bought("dispute-appeal", "lost, and not the last word", &[DISPUTE, Becomes(0, "lost"), APPEAL]),
    bought("disputed-twice", "one is won, one is open", &[DISPUTE, Becomes(0, "won"), DISPUTE]),
    bought(
        "refunded-and-disputed",
        "a third refunded, the rest disputed",
        &[REFUND_THIRD, DISPUTE],
    ),
    bought("in-review", "somebody should look at it", &[Review]),
    bought("review-approved", "somebody looked at it", &[Review, Becomes(0, "approved")]),
    bought(
        "review-refused",
        "somebody refunded it as fraud",
        &[Review, REFUND, Becomes(0, "refunded_as_fraud")],
    ),
    bought("fraud-warning", "the card's issuer suspects fraud", &[FraudWarning]),
    bought("fraud-warning-refunded", "and the shop refunds it", &[FraudWarning, REFUND]),
    scenario("delayed-refunded", "late, by direct debit", SETTLED, |c, n| c.by_debit().parcels(n))
        .then(&[REFUND_LATE, Becomes(0, "succeeded")]),
    scenario("delayed-disputed", "a debit taken back for good", SETTLED, |c, n| {
        c.by_debit().parcels(n)
    })
    .then(&[LOSS]),
    scenario("subscription-refunded", "its first purchase", PAID, |c, _| c.membership())
        .then(&[REFUND]),
    scenario("subscription-disputed", "its first purchase", PAID, |c, _| c.membership())
        .then(&[DISPUTE]),
    scenario("mixed-refunded-in-part", "a third of it", PAID, |c, n| c.mixed(n))
        .then(&[REFUND_THIRD]),
    scenario("yen-refunded", "all of it", PAID, |c, n| c.priced_in("jpy").parcels(n))
        .then(&[REFUND]),
    scenario("dinar-refunded-in-part", "a third", PAID, |c, n| c.priced_in("kwd").parcels(n))
        .then(&[REFUND_THIRD]),
    scenario("adaptive-refunded", "in two currencies", PAID, |c, n| {
        c.presented_in("usd").parcels(n)
    })
    .then(&[REFUND]),
    scenario("many-refunds", "a hundred and twenty", PAID, |c, n| c.prints(n, 100).ship(0))
        .then(&[REFUND_BIT; 120]),
];

const COMPLETED: PaymentStep = ("checkout.session.completed", Stage::Paid);
const CREDIT: &[PaymentStep] = &[COMPLETED];
const MONEY: &[PaymentStep] = &[("payment_intent.succeeded", Stage::Paid)];
const PAID: &[PaymentStep] = &[MONEY[0], COMPLETED];
const HELD: &[PaymentStep] = &[
    ("payment_intent.amount_capturable_updated", Stage::Held),
    ("checkout.session.completed", Stage::Held),
];
const LAPSED: &[PaymentStep] = &[HELD[0], HELD[1], ("payment_intent.canceled", Stage::Canceled)];
const UNPAID: &[PaymentStep] = &[("checkout.session.completed", Stage::Unpaid)];
const FUNDED: &[PaymentStep] = &[UNPAID[0], ("payment_intent.partially_funded", Stage::Unpaid)];
const SETTLED: &[PaymentStep] = &[UNPAID[0], SUCCEEDS[0], SUCCEEDS[1]];
const FAILED: &[PaymentStep] = &[UNPAID[0], FAILS[0], FAILS[1]];
const CANCELED: &[PaymentStep] = &[UNPAID[0], ("payment_intent.canceled", Stage::Canceled)];
const FREE: &[PaymentStep] = &[("checkout.session.completed", Stage::Free)];
const EXPIRED: &[PaymentStep] = &[("checkout.session.expired", Stage::Expired)];

const REFUND: Step = Refund(Part::Rest, "succeeded");
const REFUND_LATE: Step = Refund(Part::Rest, "pending");
const REFUND_THIRD: Step = Refund(Part::Nth(3), "succeeded");
const REFUND_BIT: Step = Refund(Part::Nth(200), "succeeded");
const DISPUTE: Step = Dispute("needs_response");
const RESPOND: Step = Becomes(0, "under_review");
const APPEAL: Step = Becomes(0, "appeal_needs_response");
const INQUIRE: Step = Dispute("warning_needs_response");
const EXPLAIN: Step = Becomes(0, "warning_under_review");
const LOSS: Step = Dispute("lost"); // a debit's dispute cannot be contested

/// What follows on an unpaid checkout when the money comes.
pub const SUCCEEDS: &[PaymentStep] = &[
    ("payment_intent.succeeded", Stage::Paid),
    ("checkout.session.async_payment_succeeded", Stage::Paid),
];

/// What follows on an unpaid checkout when it does not.
pub const FAILS: &[PaymentStep] = &[
    ("payment_intent.payment_failed", Stage::Failed),
    ("checkout.session.async_payment_failed", Stage::Failed),
];

/// The event types that can be triggered, and the scenario that sends each.
pub const BY_EVENT: &[(&str, &str)] = &[
    ("checkout.session.completed", "card"),
    ("checkout.session.async_payment_succeeded", "delayed"),
    ("checkout.session.async_payment_failed", "delayed-fails"),
    ("checkout.session.expired", "expired"),
    ("payment_intent.amount_capturable_updated", "authorized"),
    ("payment_intent.partially_funded", "bank-transfer"),
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

/// The scenario of that name, or the one that sends that type of event, in either shape. `Refused`
/// names all there are.
pub fn find(wanted: &str) -> Result<&'static Scenario> {
    let kind = wanted.strip_prefix("v1.").unwrap_or(wanted);
    let name = BY_EVENT.iter().find(|(event, _)| *event == kind).map_or(wanted, |(_, name)| name);
    SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS
            .iter()
            .map(|s| s.name)
            .chain(BY_EVENT.iter().map(|(event, _)| *event))
            .collect();
        let wanted: String = wanted.chars().take(80).collect();
        Error::Refused(format!(
            "there is no scenario and no event type {wanted:?} here; there are {}",
            names.join(", ")
        ))
    })
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    payment: &'static [PaymentStep],
    fill: fn(Checkout, usize) -> Checkout,
) -> Scenario {
    Scenario { name, about, payment, then: &[], fill, dress: |_| {} }
}

/// What follows a usual purchase by card.
const fn bought(name: &'static str, about: &'static str, then: &'static [Step]) -> Scenario {
    scenario(name, about, PAID, |c, n| c.parcels(n)).then(then)
}

impl Scenario {
    const fn after(self, payment: &'static [PaymentStep]) -> Scenario {
        Scenario { payment, ..self }
    }

    const fn then(self, then: &'static [Step]) -> Scenario {
        Scenario { then, ..self }
    }

    const fn dressed(self, dress: fn(&mut Value)) -> Scenario {
        Scenario { dress, ..self }
    }

    /// The n-th checkout of the sandbox; the same n buys the same.
    pub fn checkout(&self, n: usize, now: i64) -> Checkout {
        (self.fill)(Checkout::open(self.name, self.ends(), self.dress, n, now), n)
    }

    /// How the money stands when the purchase is made.
    fn ends(&self) -> Stage {
        self.payment.last().map_or(Stage::Unpaid, |(_, stage)| *stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_list_of_names() {
        let error = find("fax\u{1b}[2J").err().unwrap().to_string();
        assert!(
            error.contains("many-lines") && error.contains("payment_intent.canceled"),
            "{error}"
        );
        assert!(!error.contains('\u{1b}'));
    }
}
