//! Stripe's objects of a checkout, rendered as its API of 2026-10-28.endive has them, unexpanded.

use serde_json::{Value, json};

use crate::world::checkout::{LIFE_S, Line, Oddity, SHOP_OPENED, Stage};
use crate::world::sale::Sale;

/// The version that objects are rendered in.
pub const VERSION: &str = "2026-10-28.endive";

const SHIPPING_RATE: &str = "shr_1StandardOfTheSandbox";

/// Lines that come with an expanded session: "the first handful".
const HANDFUL: usize = 10;

/// What a session also has, and this shop's have not.
const UNSET: &str = "after_expiration allow_promotion_codes billing_address_collection branding_settings client_secret \
    consent consent_collection customer_account customer_email locale origin_context permissions recovered_from \
    payment_method_configuration_details saved_payment_method_options shipping_address_collection submit_type url \
    wallet_options";

impl Sale {
    /// A Checkout Session, without its line items.
    pub fn session(&self) -> Value {
        let c = &*self.checkout;
        let sold = c.mode != "setup";
        let amount = |amount: i64| if sold { json!(amount) } else { Value::Null };
        let mut session = json!({
            "id": c.id, "object": "checkout.session", "livemode": false, "mode": c.mode, "created": c.created,
            "status": self.status(),
            "payment_status": match self.stage {
                Stage::Paid => "paid",
                Stage::Free => "no_payment_required",
                Stage::Unpaid | Stage::Held | Stage::Failed | Stage::Canceled | Stage::Expired => "unpaid",
            },
            "currency": if sold { json!(c.currency) } else { Value::Null },
            "amount_subtotal": amount(c.subtotal()), "amount_total": amount(c.total()),
            "total_details": if sold { self.total_details() } else { Value::Null },
            "payment_intent": c.named_payment_intent(),
            "subscription": c.subscription(),
            "invoice": c.invoice(), "customer": self.customer(),
            "setup_intent": (!sold).then(|| c.id_of("seti")),
            "payment_link": c.reference.as_ref().map(|_| "plink_1SpringSaleOfTheSandbox"),
            "client_reference_id": c.reference,
            "customer_details": if self.stage == Stage::Expired { Value::Null } else { self.customer_details() },
            "collected_information": {
                "business_name": null, "individual_name": null, "shipping_details": self.shipping()},
            "shipping_cost": c.shipping.map(|amount| json!({"amount_subtotal": amount, "amount_tax": 0,
                "amount_total": amount, "shipping_rate": SHIPPING_RATE})),
            "presentment_details": self.presentment(c.total()),
            "custom_fields": self.custom_fields(), "metadata": {"shop": "sandbox", "scenario": c.scenario},
        });
        let usual = json!({
            "adaptive_pricing": {"enabled": c.presented_in.is_some()}, "automatic_tax": {"enabled": c.taxed() > 0,
                "liability": null, "provider": null, "status": (c.taxed() > 0).then_some("complete")},
            "cancel_url": "https://shop.example.com/basket", "customer_creation": "if_required",
            "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
                "terms_of_service_acceptance": null},
            "discounts": (c.discounted() > 0).then(|| json!({"coupon": "SANDBOX", "promotion_code": null})).as_slice(),
            "expires_at": c.created + LIFE_S, "invoice_creation": {"enabled": false}, "optional_items": [],
            "payment_method_collection": if sold { "if_required" } else { "always" }, "payment_method_options": {},
            "payment_method_types": if c.method == "card" { json!(["card"]) } else { json!(["card", c.method]) },
            "phone_number_collection": {"enabled": c.shipping.is_some()}, "shipping_options": [],
            "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}", "ui_mode": "hosted_page",
        });
        with(&mut session, usual);
        with(
            &mut session,
            UNSET.split_whitespace().map(|name| (name.to_string(), Value::Null)).collect(),
        );
        (c.dress)(&mut session);
        session
    }

    /// The first lines, as they come with an expanded session.
    pub fn first_lines(&self) -> Value {
        let lines = &self.checkout.lines;
        let rows = (0..lines.len().min(HANDFUL)).map(|at| self.line_item(at)).collect();
        list(
            &format!("/v1/checkout/sessions/{}/line_items", self.checkout.id),
            rows,
            lines.len() > HANDFUL,
        )
    }

    /// A line of the session, by its place from 0.
    pub fn line_item(&self, at: usize) -> Value {
        let (c, line) = (&*self.checkout, &self.checkout.lines[at]);
        let bare = line.oddity == Oddity::Bare;
        let unless_bare = |value: Value| if bare { Value::Null } else { value };
        json!({
            "id": c.line_id(at), "object": "item", "adjustable_quantity": null, "currency": c.currency,
            "amount_subtotal": line.subtotal(), "amount_discount": line.discount, "amount_tax": line.tax,
            "amount_total": line.subtotal() - line.discount + line.tax, "metadata": {},
            "description": unless_bare(json!(line.name)), "quantity": unless_bare(json!(line.quantity)),
            "price": unless_bare(self.price(line)),
        })
    }

    /// The Price of a line.
    pub fn price(&self, line: &Line) -> Value {
        let c = &*self.checkout;
        let monthly = json!({"interval": "month", "interval_count": 1, "meter": null, "trial_period_days": null,
            "usage_type": "licensed"});
        let recurs = c.mode == "subscription";
        let unit = line.priced.map_or(line.unit, |(_, unit)| unit);
        json!({
            "id": c.price_id(line), "object": "price", "active": true, "billing_scheme": "per_unit",
            "created": SHOP_OPENED, "currency": line.priced.map_or(c.currency, |(currency, _)| currency),
            "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {"sku": line.sku},
            "nickname": line.option, "product": line.product_id(),
            "recurring": if recurs { monthly } else { Value::Null }, "tax_behavior": "exclusive", "tiers_mode": null,
            "transform_quantity": null, "type": if recurs { "recurring" } else { "one_time" },
            "unit_amount": unit, "unit_amount_decimal": unit.to_string(),
        })
    }

    /// The Product of a line, or what Stripe shows of a deleted one.
    pub fn product(&self, line: &Line) -> Value {
        if line.oddity == Oddity::Deleted {
            return json!({"id": line.product_id(), "object": "product", "deleted": true});
        }
        json!({
            "id": line.product_id(), "object": "product", "active": true, "created": SHOP_OPENED,
            "default_price": self.checkout.price_id(line), "description": null, "images": [], "livemode": false,
            "marketing_features": [], "metadata": {}, "name": line.name, "package_dimensions": null,
            "shippable": line.shippable, "statement_descriptor": null, "tax_code": null, "type": "good",
            "unit_label": null, "updated": SHOP_OPENED, "url": null,
        })
    }

    /// The one way in which the shop sends.
    pub fn shipping_rate(&self) -> Value {
        let amount = self.checkout.shipping.unwrap_or(0);
        json!({
            "id": SHIPPING_RATE, "object": "shipping_rate", "active": true, "created": SHOP_OPENED,
            "delivery_estimate": null, "display_name": "Standard",
            "fixed_amount": {"amount": amount, "currency": self.checkout.currency}, "livemode": false, "metadata": {},
            "tax_behavior": "unspecified", "tax_code": null, "type": "fixed_amount",
        })
    }

    /// Kept for later, where there is a later.
    pub fn customer(&self) -> Option<String> {
        (self.checkout.mode != "payment").then(|| self.checkout.id_of("cus"))
    }

    fn total_details(&self) -> Value {
        let c = &*self.checkout;
        json!({"amount_discount": c.discounted(), "amount_shipping": c.shipping.unwrap_or(0), "amount_tax": c.taxed()})
    }

    /// This much, as the buyer saw it; `Null` where that was the same.
    pub fn presentment(&self, amount: i64) -> Value {
        let details = |currency| json!({"presentment_amount": amount * 109 / 100, "presentment_currency": currency});
        self.checkout.presented_in.map_or(Value::Null, details)
    }

    fn customer_details(&self) -> Value {
        let (c, buyer) = (&*self.checkout, self.checkout.buyer);
        let tax_ids = buyer.business.map(|(_, id)| json!({"type": "eu_vat", "value": id}));
        json!({
            "address": self.address(), "business_name": buyer.business.map(|(name, _)| name), "individual_name": null,
            "email": buyer.email, "name": buyer.name, "phone": c.shipping.map(|_| buyer.phone), "tax_exempt": "none",
            "tax_ids": Vec::from_iter(tax_ids),
        })
    }

    /// Name and address; `Null` where the checkout asked for none or expired.
    pub fn shipping(&self) -> Value {
        let asked = self.checkout.shipping.is_some()
            && !self.checkout.pick_up
            && self.stage != Stage::Expired;
        if asked {
            json!({"address": self.address(), "name": self.checkout.buyer.name})
        } else {
            Value::Null
        }
    }

    /// The buyer's address.
    pub fn address(&self) -> Value {
        let [line1, city, state, postal_code, country] = self.checkout.buyer.address;
        let state = (!state.is_empty()).then_some(state);
        json!({"city": city, "country": country, "line1": line1, "line2": null, "postal_code": postal_code,
            "state": state})
    }

    fn custom_fields(&self) -> Value {
        let wish = self.checkout.buyer.engraving.filter(|_| self.checkout.shipping.is_some());
        wish.map_or(json!([]), |text| {
            let options = json!([{"label": "in tissue paper", "value": "wrap1"},
                {"label": "in a gift box", "value": "wrap2"}]);
            json!([{"key": "engraving", "label": {"custom": "Engraving", "type": "custom"}, "optional": true,
                "text": {"default_value": null, "maximum_length": 20, "minimum_length": null, "value": text},
                "type": "text"},
                {"key": "wrapping", "label": {"custom": "Wrapping", "type": "custom"}, "optional": true,
                "type": "dropdown",
                "dropdown": {"default_value": null, "options": options, "value": "wrap2"}}])
        })
    }
}

/// A list as Stripe sends one.
pub fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({"object": "list", "data": data, "has_more": has_more, "url": url})
}

fn with(object: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (object, more) {
        fields.extend(more);
    }
}
