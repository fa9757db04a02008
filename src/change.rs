//! What a handler found out: facts about the shop's orders as Stripe had them at one moment. Plain values, no effects.

use serde_json::Value;

use crate::clock::Timestamp;

/// One answer of Stripe's, ready to be written. Applying the same Change again, or an older one after a newer one, changes
/// nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A completed Checkout Session: an order, its line items, and once it is a sale, something to send.
    Order(Box<Order>),
}

/// A completed session that is the shop's. Texts are cleaned for display; amounts are minor units of `currency`.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The moment Stripe was asked: an older answer never overwrites a newer one.
    pub as_of: Timestamp,
    pub checkout_session_id: String,
    pub payment_intent_id: Option<String>,
    pub livemode: bool,
    pub mode: String,
    pub payment_status: PaymentStatus,
    pub currency: String,
    pub amount_subtotal: i64,
    pub amount_discount: i64,
    pub amount_shipping: i64,
    pub amount_tax: i64,
    pub amount_total: i64,
    /// What the buyer saw, where Adaptive Pricing showed another currency.
    pub presentment: Option<(i64, String)>,
    pub customer_id: Option<String>,
    pub subscription_id: Option<String>,
    pub invoice_id: Option<String>,
    pub payment_link_id: Option<String>,
    pub client_reference_id: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone: Option<String>,
    pub shipping: Address,
    pub shipping_option: Option<String>,
    pub custom_fields: Value,
    pub tax_ids: Value,
    pub metadata: Value,
    /// When the session was made, which is before it was paid.
    pub created_at: Timestamp,
    /// When the payment was made, by Stripe's record; `None` until it is a sale.
    pub paid_at: Option<Timestamp>,
    pub lines: Vec<LineItem>,
}

/// `orders.payment_status`. The order of the variants is the only direction it may move in: what was paid stays paid.
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

    /// Where it stands after hearing `news`: only forward, and a sale is final.
    pub fn forward(self, news: PaymentStatus) -> PaymentStatus {
        if self.is_sale() { self } else { self.max(news) }
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
    pub name: Option<String>,
    pub line1: Option<String>,
    pub line2: Option<String>,
    pub city: Option<String>,
    pub state: Option<String>,
    pub postal_code: Option<String>,
    /// Two letters, ISO 3166-1.
    pub country: Option<String>,
}

/// One line as sold.
#[derive(Debug, Clone, PartialEq)]
pub struct LineItem {
    pub id: String,
    pub price_id: Option<String>,
    pub product_id: Option<String>,
    pub sku: Option<String>,
    pub name: String,
    /// The variant as sold, such as a size.
    pub options: Option<String>,
    pub quantity: i64,
    pub currency: String,
    /// `None` where Stripe has no whole number of minor units; then `unit_amount_decimal` has the text.
    pub unit_amount: Option<i64>,
    pub unit_amount_decimal: Option<String>,
    pub amount_subtotal: i64,
    pub amount_discount: i64,
    pub amount_tax: i64,
    pub amount_total: i64,
    pub requires_shipping: bool,
    pub metadata: Value,
}
