//! checkout.session.*: the buyer has gone through Checkout; what did they buy, and is it paid?

use serde_json::{Value, json};

use super::fields::Fields;
use super::payment;
use super::{Handled, Look, Missing};
use crate::change::{Address, Change, Hold, LineItem, Order, PaymentStatus};
use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::reason::{Code, Reason};
use crate::stripe::{Answer, PaidBy, Sight, Stripe};

/// Completed, or a delayed payment has settled one way or the other.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    let event = FromEvent {
        payment_failed: look.event("checkout.session.async_payment_failed").is_some(),
        settled_at: look
            .event("checkout.session.async_payment_succeeded")
            .and_then(|event| event.created),
    };
    request(look.object_id()?, stripe, event)
}

/// What the event itself says; the answer says it only to a key that may read payments.
#[derive(Default, Clone, Copy)]
pub struct FromEvent {
    /// A delayed payment has failed.
    pub payment_failed: bool,
    /// A delayed payment's money was there then.
    pub settled_at: Option<Timestamp>,
}

/// Abandoned: counted by being kept.
pub fn expired() -> Result<Handled> {
    Ok(not_a_sale("the checkout expired without a purchase"))
}

fn not_a_sale(why: &str) -> Handled {
    Handled::Ignore(Reason::new(Code::NotASale, why))
}

/// Requests the session as it is now.
pub fn request(session: &str, stripe: &Stripe, event: FromEvent) -> Result<Handled> {
    let answer = stripe.checkout_session(session)?;
    if let Some(why) = stripe.not_the_shops(&answer.value) {
        return Ok(Handled::Ignore(why));
    }
    match read(&answer, event)? {
        Handled::Change(Change::Order(order)) => completed(order, stripe),
        other => Ok(other),
    }
}

/// The order with its payment, and what of it Stripe does not show yet.
fn completed(mut order: Box<Order>, stripe: &Stripe) -> Result<Handled> {
    let mut missing = None;
    if order.payment_status.is_sale() && order.lines.is_empty() {
        let (why, of) = ("Stripe names nothing that was bought", order.checkout_session_id.clone());
        missing = Some(Missing { why: why.into(), of, hidden: false });
    }
    // A subscription's session names its invoice, not its payment; refunds and disputes know only
    // the payment.
    if let (None, Some(invoice)) = (&order.payment_intent_id, order.invoice_id.clone()) {
        let (paid_by, hidden) = match stripe.who_paid(&invoice)? {
            Sight::Seen(paid_by) => (paid_by, false),
            Sight::Hidden => (PaidBy::default(), true),
            Sight::Unsaid => (PaidBy::default(), false),
        };
        let mut payments = paid_by.payment_intents.into_iter();
        order.payment_intent_id = payments.next();
        order.other_payments = payments.collect();
        order.amount_credited = paid_by.credited;
        let is_sold = order.payment_status.is_sale() && order.amount_total > 0;
        if is_sold && order.payment_intent_id.is_none() && !hidden {
            // Nothing was left to pay, or the payment is not listed yet.
            let covers = |credited: &i64| *credited >= order.amount_total;
            order.amount_credited = stripe.credit_that_paid(&invoice)?.filter(covers);
        }
        let is_paid_by_credit = order.amount_credited.is_some_and(|n| n >= order.amount_total);
        let was_paid = order.payment_status == PaymentStatus::Paid && order.amount_total > 0;
        if was_paid && order.payment_intent_id.is_none() && !is_paid_by_credit {
            let why = "Stripe does not show which payment paid the invoice".into();
            missing = Some(Missing { why, of: invoice, hidden });
        }
    }
    Ok(payment::kept(Change::Order(order), missing))
}

/// Reads a session as Stripe answered it. `Permanent` when it cannot be an order.
pub fn read(answer: &Answer, event: FromEvent) -> Result<Handled> {
    let session = Fields(&answer.value);
    let mode = session.text("/mode").unwrap_or_else(|| "payment".into());
    if mode == "setup" {
        return Ok(not_a_sale("a setup session sells nothing"));
    }
    match session.word("/status") {
        Some("expired") => return expired(),
        // The event can be quicker than the session that it is about.
        Some("open") => {
            return Ok(Handled::NotYet("Stripe says that the session is still open".into()));
        }
        _ => {}
    }
    let payment_status = payment_status(session, event.payment_failed)?;
    let needed = |name: &str| Error::Permanent(format!("the session has no {name}"));
    // A session of 2019 leaves the money to its payment.
    let currency = session.text("/currency").or_else(|| session.text("/payment_intent/currency"));
    let currency = currency.ok_or_else(|| needed("currency"))?.to_lowercase();
    let amount_total = match session.amount("/amount_total")? {
        None => session.amount("/payment_intent/amount")?,
        amount => amount,
    };
    let amount_total = amount_total.ok_or_else(|| needed("amount_total"))?;
    let created_at = session.amount("/created")?.and_then(clock::from_unix).unwrap_or(answer.at);
    let shipping = shipping(session);
    let shipping_option = session
        .text("/shipping_cost/shipping_rate/display_name")
        .or_else(|| session.id("/shipping_cost/shipping_rate"));
    // Who chooses how it is sent, or picks it up, buys something that can be.
    let collected = shipping.is_some() || shipping_option.is_some();
    let settled = session.amount("/payment_intent/latest_charge/balance_transaction/created")?;
    let settled_at = settled
        .and_then(clock::from_unix)
        .or(event.settled_at)
        .filter(|_| payment_status.is_sale());
    let hold = hold(session, payment_status)?;
    let amount_awaited = awaited(session, payment_status, amount_total)?;
    let lines =
        session.at("/line_items").and_then(Value::as_array).ok_or_else(|| needed("line_items"))?;
    Ok(Handled::Change(Change::Order(Box::new(Order {
        as_of: answer.at,
        checkout_session_id: session.id("/id").ok_or_else(|| needed("id"))?,
        payment_intent_id: session.id("/payment_intent"),
        other_payments: Vec::new(),
        livemode: session.at("/livemode").and_then(Value::as_bool).unwrap_or(false),
        mode,
        payment_status,
        amount_subtotal: session.amount("/amount_subtotal")?.unwrap_or(amount_total),
        amount_discount: session.amount("/total_details/amount_discount")?.unwrap_or(0),
        amount_shipping: session.amount("/total_details/amount_shipping")?.unwrap_or(0),
        amount_tax: session.amount("/total_details/amount_tax")?.unwrap_or(0),
        amount_total,
        presentment: match session.amount("/presentment_details/presentment_amount")? {
            Some(amount) => session
                .text("/presentment_details/presentment_currency")
                .map(|c| (amount, c.to_lowercase())),
            None => None,
        },
        customer_id: session.id("/customer"),
        subscription_id: session.id("/subscription"),
        invoice_id: session.id("/invoice"),
        payment_link_id: session.id("/payment_link"),
        client_reference_id: session.text("/client_reference_id"),
        email: session.text("/customer_details/email").or_else(|| session.text("/customer_email")),
        name: session
            .text("/customer_details/name")
            .or_else(|| session.text("/customer_details/individual_name"))
            .or_else(|| session.text("/collected_information/individual_name")),
        business_name: session
            .text("/customer_details/business_name")
            .or_else(|| session.text("/collected_information/business_name")),
        // Stripe's versions before 2022 had a phone beside the address.
        phone: session
            .text("/customer_details/phone")
            .or_else(|| session.text("/shipping_details/phone"))
            .or_else(|| session.text("/shipping/phone")),
        shipping: shipping.unwrap_or_else(|| address(session, "/customer_details")),
        shipping_option,
        custom_fields: session.json("/custom_fields", json!([])),
        tax_ids: session.json("/customer_details/tax_ids", json!([])),
        metadata: session.json("/metadata", json!({})),
        created_at,
        paid_at: payment_status.is_sale().then(|| {
            let places =
                ["/payment_intent/latest_charge/created", "/payment_intent/charges/data/0/created"];
            let charged = places.into_iter().find_map(|place| session.amount(place).ok().flatten());
            // A charge that was held first was made when the hold was.
            let charged = charged.filter(|_| hold.is_none()).and_then(clock::from_unix);
            let else_at = if hold.is_some() { answer.at } else { created_at };
            settled_at.or(charged).unwrap_or(else_at)
        }),
        settled_at,
        hold,
        amount_awaited,
        amount_credited: None,
        lines: lines
            .iter()
            .filter_map(|line| line_item(Fields(line), &currency, collected).transpose())
            .collect::<Result<_>>()?,
        currency,
    }))))
}

/// True for a payment whose money is held until somebody captures it.
fn is_manual(session: Fields) -> bool {
    let intent = "/payment_intent";
    let options =
        session.at(&format!("{intent}/payment_method_options")).and_then(Value::as_object);
    session.word(&format!("{intent}/status")) == Some("requires_capture")
        || session.word(&format!("{intent}/capture_method")) == Some("manual")
        || options.is_some_and(|all| {
            all.values().any(|of| Fields(of).word("/capture_method") == Some("manual"))
        })
}

/// How much of it was taken so far.
fn captured(session: Fields) -> Result<Option<i64>> {
    match session.amount("/payment_intent/amount_received")? {
        None => session.amount("/payment_intent/latest_charge/amount_captured"),
        amount => Ok(amount),
    }
}

/// How much the buyer still has to send by bank transfer.
fn awaited(session: Fields, status: PaymentStatus, whole: i64) -> Result<Option<i64>> {
    let to_send = "/payment_intent/next_action/display_bank_transfer_instructions";
    if status != PaymentStatus::Unpaid || session.at(to_send).is_none() {
        return Ok(None);
    }
    let remaining = session.amount(&format!("{to_send}/amount_remaining"))?;
    Ok(Some(remaining.unwrap_or(whole).clamp(0, whole)))
}

/// How much is held, and until when; how much was taken.
fn hold(session: Fields, payment_status: PaymentStatus) -> Result<Option<Hold>> {
    if !is_manual(session) {
        return Ok(None);
    }
    let details = session
        .at("/payment_intent/latest_charge/payment_method_details")
        .and_then(Value::as_object);
    // Each way to pay has its own place for it.
    let before = details
        .into_iter()
        .flatten()
        .find_map(|(_, of)| Fields(of).amount("/capture_before").ok().flatten());
    let held = session.word("/payment_intent/status") == Some("requires_capture");
    let amount = session.amount("/payment_intent/amount_capturable")?;
    let whole = session.amount("/payment_intent/amount")?;
    Ok(Some(Hold {
        capturable: if held { amount.or(whole).unwrap_or(0) } else { 0 },
        captured: captured(session)?.filter(|_| payment_status == PaymentStatus::Paid),
        before: before.and_then(clock::from_unix),
    }))
}

fn payment_status(session: Fields, payment_failed: bool) -> Result<PaymentStatus> {
    // A confirmed payment that is back at wanting a method, or canceled, has failed.
    let intent = session.word("/payment_intent/status");
    // What is captured by hand is paid when it was, whatever the session says of the hold.
    match intent {
        // It is captured in several parts: what was taken is the shop's, the rest is still held.
        Some("requires_capture") if captured(session)?.is_some_and(|amount| amount > 0) => {
            return Ok(PaymentStatus::Paid);
        }
        Some("requires_capture") => return Ok(PaymentStatus::Unpaid),
        Some("succeeded") if is_manual(session) => return Ok(PaymentStatus::Paid),
        Some("canceled") if is_manual(session) => return Ok(PaymentStatus::Failed),
        _ => {}
    }
    let intent_failed = matches!(intent, Some("requires_payment_method" | "canceled"));
    match session
        .word("/payment_status")
        .or(intent.map(|status| if status == "succeeded" { "paid" } else { "unpaid" }))
    {
        Some("paid") => Ok(PaymentStatus::Paid),
        Some("no_payment_required") => Ok(PaymentStatus::NoPaymentRequired),
        Some("unpaid") if payment_failed || intent_failed => Ok(PaymentStatus::Failed),
        Some("unpaid") => Ok(PaymentStatus::Unpaid),
        other => Err(Error::Permanent(format!(
            "payment_status is {}, which this version does not know; upgrade fulfilld, then: fulfilld replay",
            crate::text::clean(other.unwrap_or("missing"))
        ))),
    }
}

/// Where the buyer wants it sent, in the three places where Stripe's versions since 2019 have put
/// it; `None` when the checkout asked for no shipping address.
fn shipping(session: Fields) -> Option<Address> {
    ["/collected_information/shipping_details", "/shipping_details", "/shipping"]
        .into_iter()
        .find(|place| session.at(&format!("{place}/address")).is_some())
        .map(|place| address(session, place))
}

fn address(session: Fields, place: &str) -> Address {
    let text = |field: &str| session.text(&format!("{place}/{field}"));
    Address {
        name: text("name"),
        line1: text("address/line1"),
        line2: text("address/line2"),
        city: text("address/city"),
        state: text("address/state"),
        postal_code: text("address/postal_code"),
        country: text("address/country"),
    }
}

/// One line as sold. `collected`: the checkout asked for a shipping address, which tells physical
/// from digital where the product itself does not. `None` for a line of which the buyer took none.
fn line_item(line: Fields, currency: &str, collected: bool) -> Result<Option<LineItem>> {
    let amount = |pointer: &str| Ok(line.amount(pointer)?.unwrap_or(0));
    let id = line.id("/id").ok_or_else(|| Error::Permanent("a line item has no id".into()))?;
    let line_currency =
        line.text("/currency").map_or_else(|| currency.to_string(), |c| c.to_lowercase());
    if line_currency != currency {
        return Err(Error::Permanent(format!(
            "the line item {id} is in {line_currency}, its order in {currency}"
        )));
    }
    let product = "/price/product";
    // Stripe may leave it out; a line that was bought was bought once at least.
    let quantity = line.quantity("/quantity")?.unwrap_or(1);
    // A line whose quantity the buyer may set to nothing stays in the list.
    if quantity == 0 && amount("/amount_total")? == 0 {
        return Ok(None);
    }
    let quantity = if quantity == 0 { 1 } else { quantity };
    let unit_amount = line.amount("/price/unit_amount")?;
    let unit_amount_decimal = line.text("/price/unit_amount_decimal");
    // A price in several currencies names itself in its first one; one that the buyer chose, and
    // one in steps, names none. What was paid for one is then all that the line shows.
    let foreign =
        line.text("/price/currency").is_some_and(|other| other.to_lowercase() != line_currency);
    let unsaid = unit_amount.is_none() && unit_amount_decimal.is_none();
    let (unit_amount, unit_amount_decimal) = if foreign || unsaid {
        let subtotal = line.amount("/amount_subtotal")?.unwrap_or(0);
        ((quantity > 0 && subtotal % quantity == 0).then(|| subtotal / quantity), None)
    } else {
        (unit_amount, unit_amount_decimal)
    };
    Ok(Some(LineItem {
        price_id: line.id("/price"),
        product_id: line.id(product),
        sku: [
            "/price/metadata/sku",
            "/price/metadata/SKU",
            "/price/product/metadata/sku",
            "/price/product/metadata/SKU",
            "/price/lookup_key",
        ]
        .iter()
        .find_map(|place| line.text(place)),
        name: line
            .text("/description")
            .or_else(|| line.text("/price/product/name"))
            .or_else(|| line.text("/price/nickname"))
            .or_else(|| line.id(product))
            .unwrap_or_else(|| "(no name)".into()),
        options: line.text("/price/nickname"),
        quantity,
        currency: line_currency,
        unit_amount,
        unit_amount_decimal,
        amount_subtotal: amount("/amount_subtotal")?,
        amount_discount: amount("/amount_discount")?,
        amount_tax: amount("/amount_tax")?,
        amount_total: amount("/amount_total")?,
        requires_shipping: requires_shipping(line).unwrap_or(collected),
        weight_g: weight_g(line),
        metadata: metadata(line),
        id,
    }))
}

const GRAMS_OF_AN_OUNCE: f64 = 28.349523125;

/// What one weighs: as the price says, else the product in Stripe's own place for it (ounces), else
/// in its metadata. `None` for what is no weight: a parcel without one is reported.
fn weight_g(line: Fields) -> Option<i64> {
    let said = |place: &str| {
        let value = line.at(place)?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let ounces = || {
        line.at("/price/product/package_dimensions/weight")?
            .as_f64()
            .map(|ounces| ounces * GRAMS_OF_AN_OUNCE)
    };
    let grams = said("/price/metadata/weight_g")
        .or_else(ounces)
        .or_else(|| said("/price/product/metadata/weight_g"))?;
    // Stripe keeps two decimals of an ounce, so a gram may be a little more than one.
    let whole = (grams - 0.15).ceil();
    (1.0..=1_000_000.0).contains(&whole).then_some(whole as i64)
}

/// What the product or the price say of themselves; Stripe's `shippable` first, then the shop's own
/// `requires_shipping`.
fn requires_shipping(line: Fields) -> Option<bool> {
    let shippable = line.at("/price/product/shippable").and_then(Value::as_bool);
    shippable.or_else(|| {
        let said = line
            .text("/price/metadata/requires_shipping")
            .or_else(|| line.text("/price/product/metadata/requires_shipping"))?;
        match said.to_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        }
    })
}

/// The product's metadata, over it the price's, over it the line's own.
fn metadata(line: Fields) -> Value {
    let mut all = serde_json::Map::new();
    for place in ["/price/product/metadata", "/price/metadata", "/metadata"] {
        if let Value::Object(map) = line.json(place, json!({})) {
            all.extend(map);
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(mut session: Value) -> Result<Handled> {
        let base = json!({"id": "cs_test_1", "mode": "payment", "status": "complete",
            "payment_status": "paid", "currency": "eur",
            "amount_total": 1000, "created": 1795489500, "line_items": []});
        for (key, value) in base.as_object().unwrap() {
            session.as_object_mut().unwrap().entry(key).or_insert(value.clone());
        }
        read(&Answer { at: clock::now(), value: session }, FromEvent::default())
    }

    fn made(session: Value) -> Order {
        match order(session).unwrap() {
            Handled::Change(Change::Order(order)) => *order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn shipping_is_found_in_each_of_its_places_newest_first() {
        let at = |line1: &str| json!({"name": "Ada", "address": {"line1": line1, "country": "FR"}});
        for (session, line1) in [
            (
                json!({"collected_information": {"shipping_details": at("new")}, "shipping": at("old")}),
                "new",
            ),
            (
                json!({"collected_information": {"shipping_details": null}, "shipping_details": at("2022")}),
                "2022",
            ),
            (json!({"shipping": at("2019")}), "2019"),
            (json!({"customer_details": at("billing")}), "billing"),
        ] {
            assert_eq!(made(session).shipping.line1.as_deref(), Some(line1));
        }
        assert_eq!(made(json!({})).shipping, Address::default());
    }

    #[test]
    fn what_is_to_be_shipped_follows_from_product_then_metadata_then_address() {
        let line = |product: Value| json!({"id": "li_1", "price": {"product": product}});
        let needs = |product: Value, address: bool| {
            let mut session = json!({"line_items": [line(product)]});
            if address {
                session["shipping"] = json!({"address": {"line1": "x"}});
            }
            made(session).lines[0].requires_shipping
        };
        assert!(needs(json!({"shippable": true}), false));
        assert!(!needs(json!({"shippable": false}), true));
        assert!(needs(json!({"shippable": null, "metadata": {"requires_shipping": "yes"}}), false));
        assert!(needs(json!("prod_1"), true));
        assert!(!needs(json!({"id": "prod_1", "deleted": true}), false));
    }

    #[test]
    fn a_weight_is_the_products_in_stripes_place_or_in_metadata_or_nobodys() {
        let weight = |price: Value| {
            made(json!({"line_items": [{"id": "li_1", "price": price}]})).lines[0].weight_g
        };
        let ounces = |n: f64| json!({"package_dimensions": {"weight": n, "height": 1, "length": 1, "width": 1}});
        assert_eq!(weight(json!({"product": ounces(12.35)})), Some(350));
        assert_eq!(weight(json!({"product": ounces(0.01)})), Some(1));
        assert_eq!(
            weight(
                json!({"product": {"package_dimensions": null, "metadata": {"weight_g": "350"}}})
            ),
            Some(350)
        );
        assert_eq!(
            weight(json!({"product": ounces(12.35), "metadata": {"weight_g": " 99.5 "}})),
            Some(100)
        );
        for odd in [
            json!("prod_1"),
            json!({"metadata": {"weight_g": "heavy"}}),
            ounces(-1.0),
            ounces(1e12),
            json!(null),
        ] {
            assert_eq!(weight(json!({"product": odd})), None, "{odd}");
        }
    }

    #[test]
    fn strange_lines_are_kept_with_what_they_have() {
        let strange = json!({"id": "li_1", "quantity": null, "description": null, "price": null, "amount_total": 5});
        let order = made(json!({"line_items": [strange]}));
        assert_eq!((order.lines[0].name.as_str(), order.lines[0].quantity), ("(no name)", 1));
        let deleted = json!({"id": "li_1", "price": {"id": "price_1", "product": {"id": "prod_9", "deleted": true}}});
        assert_eq!(made(json!({"line_items": [deleted]})).lines[0].name, "prod_9");
    }

    #[test]
    fn a_line_without_a_price_of_its_own_has_the_price_that_was_paid() {
        let price = |line: Value| {
            let mut line = line;
            line["id"] = json!("li_1");
            made(json!({"line_items": [line]})).lines.first().map(|line| line.unit_amount)
        };
        let chosen = json!({"currency": "eur", "unit_amount": null, "custom_unit_amount": {}});
        let of = |quantity: i64, subtotal: i64, price: &Value| {
            json!({"quantity": quantity, "price": price,
            "amount_subtotal": subtotal, "amount_total": subtotal})
        };
        assert_eq!(price(of(1, 1750, &chosen)), Some(Some(1750)), "what the buyer chose to pay");
        assert_eq!(price(of(3, 1000, &chosen)), Some(None), "prices in steps do not divide");
        assert_eq!(price(of(2, 1000, &Value::Null)), Some(Some(500)));
        let exact = json!({"currency": "eur", "unit_amount": null, "unit_amount_decimal": "0.5"});
        assert_eq!(price(of(10, 5, &exact)), Some(None), "Stripe's decimal says it");
        assert_eq!(price(of(0, 0, &chosen)), None, "the buyer took none of it");
        assert_eq!(price(of(0, 900, &chosen)), Some(Some(900)), "what was paid for was bought");
    }

    #[test]
    fn who_buys_is_found_in_each_place_where_stripe_puts_it() {
        let person = json!({"individual_name": "Ada", "business_name": "Ada & Co"});
        let order = made(json!({"collected_information": person}));
        assert_eq!(
            (order.name.as_deref(), order.business_name.as_deref()),
            (Some("Ada"), Some("Ada & Co"))
        );
        let phone = json!({"address": {"line1": "x"}, "phone": "+49 30 1"});
        assert_eq!(made(json!({"shipping": phone})).phone.as_deref(), Some("+49 30 1"));
    }

    #[test]
    fn what_is_captured_in_parts_is_paid_from_the_first_part_on() {
        let intent = |received: i64| {
            json!({"payment_status": "unpaid", "payment_intent": {"id": "pi_1",
            "status": "requires_capture", "amount": 1000, "amount_received": received,
            "amount_capturable": 1000 - received, "capture_method": "manual"}})
        };
        let held = made(intent(0));
        assert_eq!((held.payment_status, held.paid_at), (PaymentStatus::Unpaid, None));
        let part = made(intent(400));
        assert_eq!(part.payment_status, PaymentStatus::Paid);
        let hold = part.hold.unwrap();
        assert_eq!((hold.capturable, hold.captured), (600, Some(400)));
    }

    #[test]
    fn what_is_no_sale_makes_no_order_and_says_why() {
        assert!(matches!(
            order(json!({"mode": "setup", "amount_total": null})),
            Ok(Handled::Ignore(_))
        ));
        assert!(matches!(order(json!({"status": "expired"})), Ok(Handled::Ignore(_))));
        assert!(matches!(order(json!({"status": "open"})), Ok(Handled::NotYet(_))));
        for (odd, why) in [
            (json!({"amount_total": null}), "no amount_total"),
            (json!({"amount_total": 18446744073709551615u64}), "18446744073709551615"),
            (json!({"amount_total": 0.5}), "0.5"),
            (json!({"payment_status": "half"}), "half"),
            (json!({"currency": null}), "no currency"),
        ] {
            let error = order(odd).unwrap_err();
            assert!(matches!(&error, Error::Permanent(m) if m.contains(why)), "{error}");
        }
    }

    #[test]
    fn a_delayed_payment_has_failed_when_its_intent_says_so() {
        let status = |intent: Value| {
            made(json!({"payment_status": "unpaid", "payment_intent": intent})).payment_status
        };
        assert_eq!(status(json!({"id": "pi_1", "status": "processing"})), PaymentStatus::Unpaid);
        assert_eq!(
            status(json!({"id": "pi_1", "status": "requires_payment_method"})),
            PaymentStatus::Failed
        );
        assert_eq!(status(json!("pi_1")), PaymentStatus::Unpaid);
    }
}
