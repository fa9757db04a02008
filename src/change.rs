//! What a handler found out: facts about the shop's orders as Stripe had them at one moment. Plain
//! values, no effects.

use serde_json::{Value, json};

use crate::clock::Timestamp;

/// One answer of Stripe's, ready to be written. Applying the same Change again, or the answer to an
/// older question after that to a newer one, changes nothing; which question is older says its
/// place in the file's sequence, never a clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A completed Checkout Session: an order, its line items, and once it is a sale, something to
    /// send.
    Order(Box<Order>),
    /// All the refunds of one payment.
    Refunds(Vec<Refund>),
    Dispute(Dispute),
    Review(Review),
    FraudWarning(FraudWarning),
}

impl Change {
    /// The objects that it covers, so that an event about one of them needs no request of its own.
    pub fn covers(&self) -> Vec<&str> {
        match self {
            Change::Order(order) => {
                [Some(&order.checkout_session_id), order.payment_intent_id.as_ref()]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Change::Refunds(refunds) => {
                let mut charges: Vec<&String> =
                    refunds.iter().filter_map(|r| r.about.charge_id.as_ref()).collect();
                charges.dedup();
                refunds.iter().map(|r| &r.about.id).chain(charges).collect()
            }
            Change::Dispute(dispute) => vec![&dispute.about.id],
            Change::Review(review) => vec![&review.about.id],
            Change::FraudWarning(warning) => vec![&warning.about.id],
        }
        .into_iter()
        .map(String::as_str)
        .collect()
    }
}

/// What an object of Stripe's says of itself whatever it is, and which payment it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// When the request was sent, for people.
    pub as_of: Timestamp,
    /// Stripe's id.
    pub id: String,
    /// The payment that it is about.
    pub payment_intent_id: String,
    /// Its charge, where Stripe names one.
    pub charge_id: Option<String>,
    /// What the payment pays, where it is a subscription's.
    pub invoice_id: Option<String>,
    /// The subscription whose later payment it is; `None` for a payment of a session's own.
    pub subscription_id: Option<String>,
    /// When Stripe made it.
    pub created_at: Timestamp,
}

/// Money going back. Only a `succeeded` one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// What every such object has.
    pub about: About,
    /// Minor units of `currency`, 1 or more.
    pub amount: i64,
    /// ISO code in lower case.
    pub currency: String,
    /// Stripe's word, whatever it is; one that is not known gives no money back, and holds the
    /// goods as a pending one does.
    pub status: String,
    /// In Stripe's own word.
    pub reason: Option<String>,
    /// Why it failed, in Stripe's own word.
    pub failure_reason: Option<String>,
    /// `None` where no money moved: a hold was let go.
    pub balance_transaction_id: Option<String>,
    /// When the money came back to the shop, by Stripe's record; `None` where it did not, or the
    /// key may not see when.
    pub failed_at: Option<Timestamp>,
}

/// A buyer's bank takes money back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// What every such object has.
    pub about: About,
    /// Minor units of `currency`.
    pub amount: i64,
    /// ISO code in lower case.
    pub currency: String,
    /// Stripe's word, whatever it is; one that is not known holds the order as an open one does.
    pub status: String,
    /// In Stripe's own word.
    pub reason: Option<String>,
    /// Until when the shop may answer.
    pub evidence_due_by: Option<Timestamp>,
    /// What it took for good, minor units of `currency`; 0 while it is open.
    pub amount_lost: i64,
    /// Stripe accepts a refund of the payment meanwhile.
    pub is_charge_refundable: bool,
    /// Each time that its money left the shop or came back.
    pub money_moves: Vec<MoneyMove>,
    /// What Stripe made of it in the currency of the shop's balance, where that is another one.
    pub settled: Option<Settled>,
}

/// What a dispute took from a balance in another currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub currency: String,
    /// Minor units of `currency`, 0 or more.
    pub amount: i64,
    /// The part of it that is gone for good.
    pub lost: i64,
}

/// A dispute's money left the shop (less than 0), or came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyMove {
    /// Minor units of the dispute's currency.
    pub amount: i64,
    pub at: Timestamp,
    /// What Stripe made of it in the currency of the shop's balance, where that is another one, and
    /// that currency.
    pub settled: Option<(i64, String)>,
}

/// Stripe's Radar wants somebody to look at a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// What every such object has.
    pub about: About,
    /// False once somebody has decided.
    pub open: bool,
    /// Why it was opened.
    pub reason: Option<String>,
    /// How it was decided, in Stripe's own word.
    pub closed_reason: Option<String>,
}

/// The card's issuer suspects fraud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FraudWarning {
    /// What every such object has.
    pub about: About,
    /// False once the payment is refunded or disputed.
    pub actionable: bool,
    /// In Stripe's own word.
    pub fraud_type: Option<String>,
}

/// A completed session that is the shop's. Texts are cleaned for display; amounts are minor units
/// of `currency`.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// When the request was sent, for people.
    pub as_of: Timestamp,
    /// The session that made it; unique in the file.
    pub checkout_session_id: String,
    /// The payment; `None` where nothing is paid, or not by Checkout itself.
    pub payment_intent_id: Option<String>,
    /// More payments of its invoice. What is about them is filed under `payment_intent_id`.
    pub other_payments: Vec<String>,
    /// Real money or not.
    pub livemode: bool,
    /// `payment`, `subscription` or `setup`.
    pub mode: String,
    /// Whether the money is there.
    pub payment_status: PaymentStatus,
    /// ISO code in lower case.
    pub currency: String,
    /// Minor units, before discount, shipping and tax.
    pub amount_subtotal: i64,
    /// Minor units.
    pub amount_discount: i64,
    /// Minor units.
    pub amount_shipping: i64,
    /// Minor units.
    pub amount_tax: i64,
    /// Minor units; what the buyer pays.
    pub amount_total: i64,
    /// What the buyer saw, where Adaptive Pricing showed another currency.
    pub presentment: Option<(i64, String)>,
    /// Stripe's id of the customer.
    pub customer_id: Option<String>,
    /// Stripe's id of the subscription.
    pub subscription_id: Option<String>,
    /// Stripe's id of the invoice.
    pub invoice_id: Option<String>,
    /// Stripe's id of the Payment Link that led to it.
    pub payment_link_id: Option<String>,
    /// The shop's own reference.
    pub client_reference_id: Option<String>,
    /// The buyer's address for mail.
    pub email: Option<String>,
    /// A person's name.
    pub name: Option<String>,
    /// The buyer's company.
    pub business_name: Option<String>,
    /// The buyer's number.
    pub phone: Option<String>,
    /// Where it goes.
    pub shipping: Address,
    /// The way of shipping that the buyer chose.
    pub shipping_option: Option<String>,
    /// A JSON array in Stripe's form.
    pub custom_fields: Value,
    /// A JSON array in Stripe's form.
    pub tax_ids: Value,
    /// A JSON object of texts.
    pub metadata: Value,
    /// When the session was made, which is before it was paid.
    pub created_at: Timestamp,
    /// When the payment was made, by Stripe's record; `None` until it is a sale.
    pub paid_at: Option<Timestamp>,
    /// When the money was there; `None` where Stripe does not show it. A delayed payment is made
    /// days before.
    pub settled_at: Option<Timestamp>,
    /// Of a payment that is captured by hand.
    pub hold: Option<Hold>,
    /// So much of a bank transfer has not come; `None` where the buyer sends none.
    pub amount_awaited: Option<i64>,
    /// So much of the total the customer's credit balance paid, minor units; less than 0 where an
    /// older debt was paid besides. `None` where Stripe does not say.
    pub amount_credited: Option<i64>,
    /// What was bought, in the order of the session.
    pub lines: Vec<LineItem>,
}

impl Order {
    /// The same order of a buyer who is forgotten: what the books need, and nothing that names
    /// anybody.
    pub fn without_person(&self) -> Order {
        let Address { state, country, .. } = self.shipping.clone();
        Order {
            client_reference_id: None,
            email: None,
            name: None,
            business_name: None,
            phone: None,
            shipping: Address { state, country, ..Address::default() },
            custom_fields: json!([]),
            tax_ids: json!([]),
            metadata: json!({}),
            ..self.clone()
        }
    }
}

/// Money that the buyer's bank holds for the shop until it is captured. Minor units of the order's
/// currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Held now.
    pub capturable: i64,
    /// Taken; `None` until it is.
    pub captured: Option<i64>,
    /// When the hold ends, where Stripe says so.
    pub before: Option<Timestamp>,
}

/// `orders.payment_status`. The order of the variants is the only direction it may move in: what
/// was paid stays paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PaymentStatus {
    Unpaid,
    Failed,
    NoPaymentRequired,
    Paid,
}

impl PaymentStatus {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentStatus::Unpaid => "unpaid",
            PaymentStatus::Failed => "failed",
            PaymentStatus::NoPaymentRequired => "no_payment_required",
            PaymentStatus::Paid => "paid",
        }
    }

    /// True when there is something to send: paid, or free.
    pub fn is_sale(self) -> bool {
        matches!(self, PaymentStatus::Paid | PaymentStatus::NoPaymentRequired)
    }

    /// The status after an answer that says `next`: only forward, and a sale is final.
    pub fn forward(self, next: PaymentStatus) -> PaymentStatus {
        if self.is_sale() { self } else { self.max(next) }
    }

    /// The status of a word in the file; the schema's CHECK permits no other.
    pub fn from_word(word: &str) -> Option<PaymentStatus> {
        use PaymentStatus::*;
        [Unpaid, Failed, NoPaymentRequired, Paid].into_iter().find(|s| s.as_str() == word)
    }
}

/// Where a parcel goes. All fields may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// A person's name.
    pub name: Option<String>,
    /// Street and house number.
    pub line1: Option<String>,
    /// What follows the street.
    pub line2: Option<String>,
    /// The town.
    pub city: Option<String>,
    /// State, province or prefecture.
    pub state: Option<String>,
    /// The postal code.
    pub postal_code: Option<String>,
    /// Two letters, ISO 3166-1.
    pub country: Option<String>,
}

/// One line as sold.
#[derive(Debug, Clone, PartialEq)]
pub struct LineItem {
    /// Stripe's id.
    pub id: String,
    /// Stripe's id of the price.
    pub price_id: Option<String>,
    /// Stripe's id of the product.
    pub product_id: Option<String>,
    /// The shop's own number for it.
    pub sku: Option<String>,
    /// As Checkout showed it.
    pub name: String,
    /// The variant as sold, such as a size.
    pub options: Option<String>,
    /// How many were bought.
    pub quantity: i64,
    /// ISO code in lower case.
    pub currency: String,
    /// `None` where Stripe has no whole number of minor units; then `unit_amount_decimal` has the
    /// text.
    pub unit_amount: Option<i64>,
    /// Minor units for one, as decimal text; may have fractions.
    pub unit_amount_decimal: Option<String>,
    /// Minor units, before discount and tax.
    pub amount_subtotal: i64,
    /// Minor units.
    pub amount_discount: i64,
    /// Minor units.
    pub amount_tax: i64,
    /// Minor units; what the buyer pays for the line.
    pub amount_total: i64,
    /// True for what needs a parcel.
    pub requires_shipping: bool,
    /// Of one, in grams; `None` where nobody has said it.
    pub weight_g: Option<i64>,
    /// A JSON object of texts.
    pub metadata: Value,
}
