//! Stripe's objects of a payment and of what followed it, as the same API has them.

use serde_json::{Value, json};

use crate::world::checkout::Stage;
use crate::world::sale::{FollowUp, Kind, Sale};

/// A card's hold lives so long.
const HELD_FOR_S: i64 = 7 * 24 * 3600;

/// From a dispute to the last moment for evidence; the card networks permit seven to twenty-one
/// days.
const EVIDENCE_WITHIN_S: i64 = 9 * 24 * 3600;

/// What a bank charges for a dispute, in minor units.
const DISPUTE_FEE: i64 = 2000;

/// What can be said against a dispute, and this shop has not.
const EVIDENCE: &str = "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure \
    cancellation_rebuttal customer_communication customer_email_address customer_name customer_purchase_ip \
    customer_signature duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id \
    product_description receipt refund_policy refund_policy_disclosure refund_refusal_explanation service_date \
    service_documentation shipping_address shipping_carrier shipping_date shipping_documentation \
    shipping_tracking_number uncategorized_file uncategorized_text";

impl Sale {
    /// `Null` where there is none.
    pub fn payment_intent(&self) -> Value {
        let c = &*self.checkout;
        let Some(id) = c.payment_intent() else {
            return Value::Null;
        };
        let received =
            if self.stage == Stage::Paid { self.captured.unwrap_or(c.charged()) } else { 0 };
        let canceled = if c.manual { "automatic" } else { "requested_by_customer" };
        let error = json!({"code": "payment_intent_payment_attempt_failed", "type": "card_error",
            "message": "The customer's bank has refused the debit."});
        json!({
            "id": id, "object": "payment_intent", "amount": c.charged(),
            "amount_capturable": if self.stage == Stage::Held { c.charged() } else { 0 },
            "amount_received": received,
            "status": match self.stage {
                Stage::Paid | Stage::Free => "succeeded",
                Stage::Unpaid if c.method == "customer_balance" => "requires_action",
                Stage::Unpaid => "processing",
                Stage::Held => "requires_capture",
                Stage::Failed | Stage::Expired => "requires_payment_method",
                Stage::Canceled => "canceled",
            },
            "canceled_at": (self.stage == Stage::Canceled).then_some(c.ended),
            "cancellation_reason": (self.stage == Stage::Canceled).then_some(canceled),
            "last_payment_error": if self.stage == Stage::Failed { error } else { Value::Null },
            "capture_method": if c.manual { "manual" } else { "automatic_async" }, "client_secret": null,
            "confirmation_method": "automatic",
            "created": c.ended, "currency": c.currency, "customer": self.customer(), "description": null,
            "latest_charge": c.charge(), "livemode": false, "metadata": {}, "next_action": self.next_action(),
            "payment_method": c.id_of("pm"), "payment_method_types": [c.method],
            "presentment_details": self.presentment(c.charged()), "processing": null, "receipt_email": null,
            "review": self.review_id(), "shipping": self.shipping(), "statement_descriptor": null,
            "transfer_group": null,
        })
    }

    /// What a buyer who pays by bank transfer has to send.
    fn next_action(&self) -> Value {
        let c = &*self.checkout;
        if c.method != "customer_balance" || self.stage != Stage::Unpaid {
            return Value::Null;
        }
        json!({"type": "display_bank_transfer_instructions", "display_bank_transfer_instructions": {
            "amount_remaining": c.charged() - c.charged() / 2, "currency": c.currency,
            "financial_addresses": [], "hosted_instructions_url": null, "reference": "TRANSFER1",
            "type": "eu_bank_transfer"}})
    }

    /// `Null` where no money has moved.
    pub fn charge(&self) -> Value {
        let c = &*self.checkout;
        let Some(id) = c.charge() else {
            return Value::Null;
        };
        let paid = self.stage == Stage::Paid;
        let status = match self.stage {
            Stage::Paid | Stage::Held => "succeeded",
            Stage::Canceled if c.manual => "succeeded",
            Stage::Unpaid => "pending",
            _ => "failed",
        };
        let captured = if paid { self.captured.unwrap_or(c.charged()) } else { 0 };
        let before = c.manual.then_some(c.ended + HELD_FOR_S);
        let details = match c.method {
            "card" => {
                json!({"type": "card", "card": {"brand": "visa", "capture_before": before, "last4": "4242"}})
            }
            other => {
                json!({"type": other, other: {"country": c.buyer.address[4], "last4": "3000"}})
            }
        };
        json!({
            "id": id, "object": "charge", "amount": c.charged(), "amount_captured": captured,
            "amount_refunded": self.refunded(), "balance_transaction": paid.then(|| c.id_of("txn")),
            "billing_details": {
                "address": self.address(), "email": c.buyer.email, "name": c.buyer.name, "phone": c.buyer.phone},
            "captured": paid, "created": c.ended, "currency": c.currency, "customer": self.customer(),
            "disputed": self.is_disputed(),
            "failure_code": (status == "failed").then_some("insufficient_funds"), "livemode": false, "metadata": {},
            "paid": paid, "payment_intent": c.payment_intent(), "payment_method": c.id_of("pm"),
            "payment_method_details": details,
            "presentment_details": self.presentment(c.charged()), "receipt_url": null,
            "refunded": paid && self.refunded() == c.charged(), "review": self.review_id(), "shipping": self.shipping(),
            "status": status,
        })
    }

    /// The Refund, Dispute, Review or Early Fraud Warning at this place.
    pub fn follow_up(&self, at: usize) -> Value {
        let (follow_up, c) = (&self.follow_ups[at], &*self.checkout);
        let mut object = match follow_up.kind {
            Kind::Refund => self.refund(follow_up),
            Kind::Dispute => self.dispute(follow_up),
            Kind::Review => review(follow_up),
            Kind::FraudWarning => {
                json!({"actionable": self.is_actionable(), "fraud_type": follow_up.reason, "livemode": false})
            }
        };
        object["id"] = json!(follow_up.id);
        object["object"] = json!(follow_up.kind.words().0);
        object["created"] = json!(follow_up.created);
        object["charge"] = json!(c.charge());
        object["payment_intent"] = json!(c.payment_intent());
        object
    }

    fn refund(&self, refund: &FollowUp) -> Value {
        let c = &*self.checkout;
        let (txn, email) = (format!("txn_{}", &refund.id[3..]), c.buyer.email);
        let mut object = json!({
            "amount": refund.amount, "currency": c.currency, "status": refund.status, "reason": refund.reason,
            "balance_transaction": (!refund.releases_hold).then_some(&txn), "customer": self.customer(), "metadata": {},
            "payment_method": c.id_of("pm"), "receipt_number": null, "source_transfer_reversal": null,
            "transfer_reversal": null, "destination_details": {"type": c.method, c.method: {}},
        });
        if c.presented_in.is_some() {
            object["presentment_details"] = self.presentment(refund.amount);
        }
        match refund.status {
            "failed" | "canceled" => {
                let why = if refund.status == "failed" {
                    "expired_or_canceled_card"
                } else {
                    "merchant_request"
                };
                object["failure_reason"] = json!(why);
                object["failure_balance_transaction"] = json!(format!("{txn}back"));
            }
            "pending" => object["pending_reason"] = json!("processing"),
            "requires_action" => {
                object["instructions_email"] = json!(email);
                object["next_action"] = json!({"type": "display_details", "display_details": {
                    "email_sent": {"email_sent_at": refund.created, "email_sent_to": email},
                    "expires_at": refund.created + EVIDENCE_WITHIN_S}});
            }
            _ => {}
        }
        object
    }

    fn dispute(&self, dispute: &FollowUp) -> Value {
        let (c, status) = (&*self.checkout, dispute.status);
        let inquiry = status.starts_with("warning_");
        let moved = |amount: i64, fee: i64, n: usize, at: i64| {
            json!({"id": format!("txn_{}{n}", &dispute.id[3..]), "object": "balance_transaction", "amount": amount,
                "created": at, "currency": c.currency, "fee": fee, "net": amount - fee,
                "source": dispute.id, "type": "adjustment"})
        };
        let mut moves = Vec::new();
        moves.extend(
            dispute.moves_money().then(|| moved(-dispute.amount, DISPUTE_FEE, 1, dispute.created)),
        );
        moves.extend((status == "won").then(|| moved(dispute.amount, 0, 2, dispute.changed)));
        let case = match status {
            "prevented" => "resolution",
            _ if inquiry => "inquiry",
            _ => "chargeback",
        };
        let code = if dispute.reason == "fraudulent" { "10.4" } else { "13.1" };
        let card = json!({"type": "card", "card": {"brand": "visa", "case_type": case, "network_reason_code": code}});
        let mut evidence: Value =
            EVIDENCE.split_whitespace().map(|name| (name.to_string(), Value::Null)).collect();
        evidence["enhanced_evidence"] = json!({});
        let answered = !matches!(status, "needs_response" | "warning_needs_response" | "prevented");
        json!({
            "amount": dispute.amount, "currency": c.currency, "status": status, "reason": dispute.reason,
            "balance_transactions": moves, "enhanced_eligibility_types": [], "evidence": evidence,
            "evidence_details": {"due_by": (status != "prevented").then_some(dispute.created + EVIDENCE_WITHIN_S),
                "enhanced_eligibility": {}, "has_evidence": answered, "past_due": false,
                "submission_count": i64::from(answered)},
            "is_charge_refundable": inquiry && status != "warning_closed", "livemode": false, "metadata": {},
            "payment_method_details": if c.method == "card" { card } else { Value::Null },
        })
    }

    /// What moved on the shop's balance, by the id that stands in the charge or in a failed refund;
    /// `Null` for any other.
    pub fn balance_transaction(&self, id: &Value) -> Value {
        let c = &*self.checkout;
        let id = id.as_str().unwrap_or_default();
        let of = |amount: i64, at: i64, kind: &str| {
            json!({"id": id, "object": "balance_transaction", "amount": amount, "created": at, "currency": c.currency,
                "fee": 0, "net": amount, "status": "available", "type": kind})
        };
        if id == c.id_of("txn") {
            return of(self.captured.unwrap_or(c.charged()), self.settled, "charge");
        }
        let failed = self
            .follow_ups
            .iter()
            .find(|s| s.kind == Kind::Refund && format!("txn_{}back", &s.id[3..]) == id);
        failed.map_or(Value::Null, |refund| of(refund.amount, refund.changed, "refund_failure"))
    }

    /// The invoice that was paid.
    pub fn invoice(&self) -> Value {
        let c = &*self.checkout;
        let reason = if c.renews.is_some() && c.pays.is_none() {
            "subscription_cycle"
        } else {
            "subscription_create"
        };
        json!({"id": c.invoice(), "object": "invoice", "billing_reason": reason,
            "currency": c.currency, "total": c.total(), "amount_due": c.charged(),
            "amount_paid": if self.stage == Stage::Paid { c.charged() } else { 0 },
            "status": if matches!(self.stage, Stage::Paid | Stage::Free) { "paid" } else { "open" },
            "starting_balance": -c.credited, "ending_balance": 0,
            "livemode": false, "parent": {"quote_details": null, "type": "subscription_details",
                "subscription_details": {"metadata": {}, "subscription": c.subscription()}}})
    }

    /// The Invoice Payment of a subscription's first invoice; `Null` where there is no invoice.
    pub fn invoice_payment(&self) -> Value {
        let c = &*self.checkout;
        let Some(invoice) = c.invoice() else {
            return Value::Null;
        };
        let paid = self.stage == Stage::Paid;
        json!({
            "id": c.id_of("inpay"), "object": "invoice_payment", "amount_requested": c.charged(),
            "amount_paid": if paid { json!(c.charged()) } else { Value::Null }, "created": c.ended,
            "currency": c.currency, "invoice": invoice, "is_default": true, "livemode": false,
            "payment": {"type": "payment_intent", "payment_intent": c.payment_intent()},
            "status": if paid { "paid" } else { "open" },
            "status_transitions": {"canceled_at": null, "paid_at": paid.then_some(c.ended)},
        })
    }

    /// The last review, open or closed.
    pub fn review_id(&self) -> Option<&str> {
        self.follow_ups.iter().rev().find(|s| s.kind == Kind::Review).map(|s| s.id.as_str())
    }
}

fn review(review: &FollowUp) -> Value {
    let open = review.status == "open";
    json!({
        "billing_zip": null, "closed_reason": (!open).then_some(review.status), "ip_address": "192.0.2.7",
        "ip_address_location": null, "livemode": false, "open": open, "opened_reason": review.reason,
        "reason": if open { &review.reason } else { review.status }, "session": null,
    })
}
