//! One sale: how its payment stands, what follows it (refunds, disputes, reviews, early fraud
//! warnings), and which events Stripe makes at each change.

use std::sync::Arc;

use super::checkout::{Checkout, Stage, random_id};
use crate::error::{Error, Result};

/// What can follow a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Refund,
    Dispute,
    Review,
    FraudWarning,
}

/// What followed a payment, as it stands at one moment.
#[derive(Clone)]
pub struct FollowUp {
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
    /// A refund of what was held and never captured: no money moves.
    pub releases_hold: bool,
    /// A dispute that was settled before it was one, by giving the money back.
    pub settled: bool,
}

/// What is to follow a payment. `None` is as usual: all of the money that is left, and the first of
/// the kind's statuses.
#[derive(Default)]
pub struct Draft<'a> {
    /// Whole minor units; `None` is all that is left.
    pub amount: Option<i64>,
    pub status: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// Of a dispute that is `prevented`: by giving the money back.
    pub settled: bool,
}

/// Which of a sale's objects an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Session,
    PaymentIntent,
    Charge,
    /// At a place among what followed.
    FollowUp(usize),
}

/// A checkout, how its money stands at one moment, and what has followed until then, in that order.
#[derive(Clone)]
pub struct Sale {
    /// It never changes.
    pub checkout: Arc<Checkout>,
    /// How the payment stands.
    pub stage: Stage,
    /// Unix seconds: when the money was there.
    pub settled: i64,
    /// So much of what was held was taken; `None` is all of it.
    pub captured: Option<i64>,
    /// What followed the payment, oldest first.
    pub follow_ups: Vec<FollowUp>,
}

/// An event that Stripe makes: its type, and what it is about.
pub type Notice = (&'static str, Subject);

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

    /// `Refused` names all there are.
    fn status(self, wanted: &str) -> Result<&'static str> {
        self.statuses().iter().find(|status| **status == wanted).copied().ok_or_else(|| {
            let (kind, all) = (self.words().0, self.statuses().join(", "));
            Error::Refused(format!("a {kind} is never {:?}; it is {all}", wanted))
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

impl FollowUp {
    /// It takes money from the shop. What is still under way counts as taken, and comes back when
    /// it fails.
    pub fn reduces_balance(&self) -> bool {
        match self.kind {
            Kind::Refund => !matches!(self.status, "failed" | "canceled"),
            Kind::Dispute => self.moves_money() && self.status != "won",
            Kind::Review | Kind::FraudWarning => false,
        }
    }

    /// A dispute's money left the shop.
    pub fn moves_money(&self) -> bool {
        self.settled || is_withdrawn(self.status)
    }
}

/// A dispute's money has been with the bank; not so for an inquiry.
pub fn is_withdrawn(status: &str) -> bool {
    !status.starts_with("warning_") && status != "prevented"
}

/// The session, the payment, and what changes them.
impl Sale {
    /// Of the session.
    pub fn status(&self) -> &'static str {
        if self.stage == Stage::Expired { "expired" } else { "complete" }
    }

    /// Adds what follows the payment, and returns the events it makes. `Refused` when there is no
    /// payment, or less money is left.
    pub fn follow(&mut self, kind: Kind, draft: &Draft, now: i64) -> Result<Vec<Notice>> {
        let status = kind.status(draft.status.unwrap_or(kind.statuses()[0]))?;
        let id = &self.checkout.id;
        if self.stage != Stage::Paid || self.checkout.charge().is_none() {
            return Err(Error::Refused(format!(
                "{id} has no payment that a {} could follow",
                kind.words().0
            )));
        }
        let (remaining, name) = (self.remaining(), kind.words().0);
        let amount = match kind {
            Kind::Refund | Kind::Dispute => draft.amount.unwrap_or(remaining),
            Kind::Review | Kind::FraudWarning => 0,
        };
        if matches!(kind, Kind::Refund | Kind::Dispute) && !(1..=remaining).contains(&amount) {
            return Err(Error::Refused(format!(
                "of {id} there is {remaining} left, so a {name} cannot be of {amount}"
            )));
        }
        let was_actionable = self.is_actionable();
        let reason = draft.reason.unwrap_or(self.usual_reason(kind)).into();
        let (releases_hold, settled) =
            (false, draft.settled && kind == Kind::Dispute && status == "prevented");
        let id = kind.new_id();
        self.follow_ups.push(FollowUp {
            kind,
            id,
            created: now,
            amount,
            status,
            reason,
            changed: now,
            releases_hold,
            settled,
        });
        let at = self.follow_ups.len() - 1;
        Ok(self.notices(at, None, was_actionable))
    }

    /// Changes the status of what followed, and returns the events it makes. `Refused` when the
    /// payment has not that much left.
    pub fn set_status(&mut self, at: usize, status: &str, now: i64) -> Result<Vec<Notice>> {
        let status = self.follow_ups[at].kind.status(status)?;
        let (old, was_actionable) = (self.follow_ups[at].status, self.is_actionable());
        self.follow_ups[at].status = status;
        if self.remaining() < 0 {
            self.follow_ups[at].status = old;
            let id = &self.follow_ups[at].id;
            return Err(Error::Refused(format!(
                "{id} cannot be {status} any more: the payment has not got that much left"
            )));
        }
        self.follow_ups[at].changed = now;
        Ok(self.notices(at, Some(old), was_actionable))
    }

    /// Captures this much of the money that is held, or all of it, and returns the events it
    /// makes. The rest is released, which Stripe lists as a refund. `Refused` when nothing is held,
    /// or not that much.
    pub fn capture(&mut self, amount: Option<i64>, now: i64) -> Result<Vec<Notice>> {
        let (id, total) = (&self.checkout.id, self.checkout.charged());
        let amount = amount.unwrap_or(total);
        if self.stage != Stage::Held || !(1..=total).contains(&amount) {
            return Err(Error::Refused(format!(
                "of {id} no {amount} are held; the scenario authorized holds money"
            )));
        }
        (self.stage, self.settled, self.captured) = (Stage::Paid, now, Some(amount));
        let mut notices = vec![("payment_intent.succeeded", Subject::PaymentIntent)];
        if amount < total {
            self.follow_ups.push(FollowUp {
                kind: Kind::Refund,
                id: Kind::Refund.new_id(),
                created: now,
                amount: total - amount,
                status: "succeeded",
                reason: String::new(),
                changed: now,
                releases_hold: true,
                settled: false,
            });
            notices.push(("charge.refunded", Subject::Charge));
        }
        Ok(notices)
    }

    /// The events of a change of what followed; `old` is its status before.
    fn notices(&self, at: usize, old: Option<&str>, was_actionable: bool) -> Vec<Notice> {
        let (follow_up, subject) = (&self.follow_ups[at], Subject::FollowUp(at));
        let mut notices: Vec<Notice> = Vec::new();
        match (follow_up.kind, old) {
            (Kind::Refund, None) => {
                notices.push(("refund.created", subject));
                notices.extend(
                    follow_up.reduces_balance().then_some(("charge.refunded", Subject::Charge)),
                );
                notices
                    .extend((follow_up.status == "failed").then_some(("refund.failed", subject)));
            }
            (Kind::Refund, Some(_)) => {
                notices.push(("refund.updated", subject));
                notices
                    .extend((follow_up.status == "failed").then_some(("refund.failed", subject)));
                notices.push(("charge.refund.updated", subject));
            }
            (Kind::Dispute, old) => {
                let withdrawn = old.is_some_and(is_withdrawn);
                let closed =
                    matches!(follow_up.status, "won" | "lost" | "warning_closed" | "prevented");
                notices.extend(old.is_none().then_some(("charge.dispute.created", subject)));
                notices.extend(
                    (old.is_some() && !closed).then_some(("charge.dispute.updated", subject)),
                );
                let withdrawn_now = !withdrawn && is_withdrawn(follow_up.status);
                notices
                    .extend(withdrawn_now.then_some(("charge.dispute.funds_withdrawn", subject)));
                notices.extend(
                    (follow_up.status == "won")
                        .then_some(("charge.dispute.funds_reinstated", subject)),
                );
                notices.extend(closed.then_some(("charge.dispute.closed", subject)));
            }
            (Kind::Review, old) => {
                notices.extend(old.is_none().then_some(("review.opened", subject)));
                notices.extend((follow_up.status != "open").then_some(("review.closed", subject)));
            }
            (Kind::FraudWarning, _) => notices.push(("radar.early_fraud_warning.created", subject)),
        }
        if was_actionable != self.is_actionable() {
            let warnings = (0..self.follow_ups.len())
                .filter(|at| self.follow_ups[*at].kind == Kind::FraudWarning);
            notices.extend(
                warnings.map(|at| ("radar.early_fraud_warning.updated", Subject::FollowUp(at))),
            );
        }
        notices
    }

    fn usual_reason(&self, kind: Kind) -> &'static str {
        let suspected =
            self.follow_ups.iter().any(|s| matches!(s.kind, Kind::Review | Kind::FraudWarning));
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
        let refunds =
            self.follow_ups.iter().filter(|s| s.kind == Kind::Refund && s.reduces_balance());
        refunds.map(|s| s.amount).sum()
    }

    /// True once there was a dispute, however it ended.
    pub fn is_disputed(&self) -> bool {
        self.follow_ups.iter().any(|s| s.kind == Kind::Dispute)
    }

    /// What can still be refunded or disputed.
    pub fn remaining(&self) -> i64 {
        self.checkout.charged()
            - self.follow_ups.iter().filter(|s| s.reduces_balance()).map(|s| s.amount).sum::<i64>()
    }

    /// Of a warning: neither has the payment been disputed, nor is all of it refunded.
    pub fn is_actionable(&self) -> bool {
        !self.is_disputed() && self.refunded() < self.checkout.charged()
    }
}
