//! What can follow a payment: refunds, disputes, reviews and early fraud warnings, and what Stripe
//! tells of each.

use super::account::About;
use super::checkout::random_id;
use super::objects::Sale;
use super::scenarios::Stage;
use crate::error::{Error, Result};
use crate::text;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Refund,
    Dispute,
    Review,
    FraudWarning,
}

/// One of them, as it stands at one moment.
#[derive(Clone)]
pub struct Sequel {
    pub kind: Kind,
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    /// Of a refund or a dispute.
    pub amount: i64,
    /// Stripe's word for it; of a review `open` or why it was closed.
    pub status: &'static str,
    /// Stripe's word for why it is there.
    pub reason: String,
    /// Unix seconds: when it got its status.
    pub changed: i64,
    /// A refund of what was held and never taken: no money moves.
    pub lets_go: bool,
    /// A dispute that was settled before it was one, by giving the money back.
    pub settled: bool,
}

/// What is to follow. What is `None` is as usual: the whole of what is left, and the first of the
/// kind's statuses.
#[derive(Default)]
pub struct Draft<'a> {
    pub amount: Option<i64>,
    pub status: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// Of a dispute that is `prevented`: by giving the money back.
    pub settled: bool,
}

/// A type of event, and what it is about.
pub type Told = (&'static str, About);

impl Kind {
    /// Its object's name, and its list's path under /v1/.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Refund => ("refund", "refunds"),
            Kind::Dispute => ("dispute", "disputes"),
            Kind::Review => ("review", "reviews"),
            Kind::FraudWarning => ("radar.early_fraud_warning", "radar/early_fraud_warnings"),
        }
    }

    fn statuses(self) -> &'static [&'static str] {
        match self {
            Kind::Refund => &["succeeded", "pending", "requires_action", "failed", "canceled"],
            Kind::Dispute => &[
                "needs_response",
                "under_review",
                "won",
                "lost",
                "warning_needs_response",
                "warning_under_review",
                "warning_closed",
                "appeal_needs_response",
                "appeal_under_review",
                "prevented",
            ],
            Kind::Review => &[
                "open",
                "approved",
                "acknowledged",
                "refunded",
                "refunded_as_fraud",
                "disputed",
                "canceled",
                "payment_never_settled",
                "redacted",
            ],
            Kind::FraudWarning => &["received"],
        }
    }

    /// `Usage` names all there are.
    fn status(self, wanted: &str) -> Result<&'static str> {
        self.statuses().iter().find(|status| **status == wanted).copied().ok_or_else(|| {
            let (kind, all) = (self.words().0, self.statuses().join(", "));
            Error::Usage(format!("a {kind} is never {:?}; it is {all}", text::clean(wanted)))
        })
    }

    fn new_id(self) -> String {
        match self {
            Kind::Refund => random_id("re_3", 23),
            Kind::Dispute => random_id("du_1", 23),
            Kind::Review => random_id("prv_1", 23),
            Kind::FraudWarning => random_id("issfr_1", 23),
        }
    }
}

impl Sequel {
    /// It takes money from the shop, or will: what is under way is taken already, and comes back
    /// when it fails.
    pub fn takes(&self) -> bool {
        match self.kind {
            Kind::Refund => !matches!(self.status, "failed" | "canceled"),
            Kind::Dispute => self.moves_money() && self.status != "won",
            Kind::Review | Kind::FraudWarning => false,
        }
    }
}

impl Sequel {
    /// A dispute's money left the shop.
    pub fn moves_money(&self) -> bool {
        self.settled || is_withdrawn(self.status)
    }
}

/// A dispute's money has been with the bank; not so for an inquiry.
pub fn is_withdrawn(status: &str) -> bool {
    !status.starts_with("warning_") && status != "prevented"
}

/// How what follows comes about.
impl Sale {
    /// Lets it follow, and says what is told of it. `Usage` when there is no money to take, or
    /// less.
    pub fn follow(&mut self, kind: Kind, draft: &Draft, now: i64) -> Result<Vec<Told>> {
        let status = kind.status(draft.status.unwrap_or(kind.statuses()[0]))?;
        let id = &self.checkout.id;
        if self.stage != Stage::Paid || self.checkout.charge().is_none() {
            return Err(Error::Usage(format!(
                "{id} has no payment that a {} could follow",
                kind.words().0
            )));
        }
        let (left, name) = (self.left(), kind.words().0);
        let amount = match kind {
            Kind::Refund | Kind::Dispute => draft.amount.unwrap_or(left),
            Kind::Review | Kind::FraudWarning => 0,
        };
        if matches!(kind, Kind::Refund | Kind::Dispute) && !(1..=left).contains(&amount) {
            return Err(Error::Usage(format!(
                "of {id} there is {left} left, so a {name} cannot be of {amount}"
            )));
        }
        let was_actionable = self.is_actionable();
        let reason = draft.reason.unwrap_or(self.usual_reason(kind)).into();
        let (lets_go, settled) =
            (false, draft.settled && kind == Kind::Dispute && status == "prevented");
        let id = kind.new_id();
        self.sequels.push(Sequel {
            kind,
            id,
            created: now,
            amount,
            status,
            reason,
            changed: now,
            lets_go,
            settled,
        });
        let at = self.sequels.len() - 1;
        Ok(self.told(at, None, was_actionable))
    }

    /// Gives it another status, and says what is told of it. `Usage` when the payment has not got
    /// that much left.
    pub fn becomes(&mut self, at: usize, status: &str, now: i64) -> Result<Vec<Told>> {
        let status = self.sequels[at].kind.status(status)?;
        let (old, was_actionable) = (self.sequels[at].status, self.is_actionable());
        self.sequels[at].status = status;
        if self.left() < 0 {
            self.sequels[at].status = old;
            let id = &self.sequels[at].id;
            return Err(Error::Usage(format!(
                "{id} cannot be {status} any more: the payment has not got that much left"
            )));
        }
        self.sequels[at].changed = now;
        Ok(self.told(at, Some(old), was_actionable))
    }

    /// Takes so much of the money that is held, or all of it, and says what is told. What is left
    /// of it is let go, which Stripe lists as a refund. `Usage` when nothing is held, or not so
    /// much.
    pub fn capture(&mut self, amount: Option<i64>, now: i64) -> Result<Vec<Told>> {
        let (id, total) = (&self.checkout.id, self.checkout.total());
        let amount = amount.unwrap_or(total);
        if self.stage != Stage::Held || !(1..=total).contains(&amount) {
            return Err(Error::Usage(format!(
                "of {id} no {amount} are held; the scenario authorized holds money"
            )));
        }
        (self.stage, self.settled, self.captured) = (Stage::Paid, now, Some(amount));
        let mut told = vec![("payment_intent.succeeded", About::PaymentIntent)];
        if amount < total {
            self.sequels.push(Sequel {
                kind: Kind::Refund,
                id: Kind::Refund.new_id(),
                created: now,
                amount: total - amount,
                status: "succeeded",
                reason: String::new(),
                changed: now,
                lets_go: true,
                settled: false,
            });
            told.push(("charge.refunded", About::Charge));
        }
        Ok(told)
    }

    fn told(&self, at: usize, old: Option<&str>, was_actionable: bool) -> Vec<Told> {
        let (sequel, about) = (&self.sequels[at], About::Sequel(at));
        let mut told: Vec<Told> = Vec::new();
        match (sequel.kind, old) {
            (Kind::Refund, None) => {
                told.push(("refund.created", about));
                told.extend(sequel.takes().then_some(("charge.refunded", About::Charge)));
                told.extend((sequel.status == "failed").then_some(("refund.failed", about)));
            }
            (Kind::Refund, Some(_)) => {
                told.push(("refund.updated", about));
                told.extend((sequel.status == "failed").then_some(("refund.failed", about)));
                told.push(("charge.refund.updated", about));
            }
            (Kind::Dispute, old) => {
                let withdrawn = old.is_some_and(is_withdrawn);
                let closed =
                    matches!(sequel.status, "won" | "lost" | "warning_closed" | "prevented");
                told.extend(old.is_none().then_some(("charge.dispute.created", about)));
                told.extend(
                    (old.is_some() && !closed).then_some(("charge.dispute.updated", about)),
                );
                let withdrawn_now = !withdrawn && is_withdrawn(sequel.status);
                told.extend(withdrawn_now.then_some(("charge.dispute.funds_withdrawn", about)));
                told.extend(
                    (sequel.status == "won").then_some(("charge.dispute.funds_reinstated", about)),
                );
                told.extend(closed.then_some(("charge.dispute.closed", about)));
            }
            (Kind::Review, old) => {
                told.extend(old.is_none().then_some(("review.opened", about)));
                told.extend((sequel.status != "open").then_some(("review.closed", about)));
            }
            (Kind::FraudWarning, _) => told.push(("radar.early_fraud_warning.created", about)),
        }
        if was_actionable != self.is_actionable() {
            let warnings =
                (0..self.sequels.len()).filter(|at| self.sequels[*at].kind == Kind::FraudWarning);
            told.extend(
                warnings.map(|at| ("radar.early_fraud_warning.updated", About::Sequel(at))),
            );
        }
        told
    }

    fn usual_reason(&self, kind: Kind) -> &'static str {
        let suspected =
            self.sequels.iter().any(|s| matches!(s.kind, Kind::Review | Kind::FraudWarning));
        match kind {
            Kind::Refund | Kind::Dispute if suspected => "fraudulent",
            Kind::Refund => "requested_by_customer",
            Kind::Dispute if self.checkout.method != "card" => "debit_not_authorized",
            Kind::Dispute => "product_not_received",
            Kind::Review => "rule",
            Kind::FraudWarning => "made_with_stolen_card",
        }
    }

    /// Of all refunds but those that failed or were canceled, as a charge counts them.
    pub fn refunded(&self) -> i64 {
        let refunds = self.sequels.iter().filter(|s| s.kind == Kind::Refund && s.takes());
        refunds.map(|s| s.amount).sum()
    }

    pub fn is_disputed(&self) -> bool {
        self.sequels.iter().any(|s| s.kind == Kind::Dispute)
    }

    /// What can still be refunded or disputed.
    pub fn left(&self) -> i64 {
        self.checkout.total()
            - self.sequels.iter().filter(|s| s.takes()).map(|s| s.amount).sum::<i64>()
    }

    /// Of a warning: neither has the payment been disputed, nor is all of it refunded.
    pub fn is_actionable(&self) -> bool {
        !self.is_disputed() && self.refunded() < self.checkout.total()
    }
}
