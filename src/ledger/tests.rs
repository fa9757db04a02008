//! Answers in any order, older after newer, end in the same rows.

use super::*;
use crate::change::{Address, Dispute, FraudWarning, Hold, LineItem, Order, PaymentStatus, Review};
use serde_json::json;

fn file() -> Connection {
    let c = Connection::open_in_memory().unwrap();
    c.execute_batch(db::SCHEMA).unwrap();
    c.execute("UPDATE actor SET name = 'stripe:evt_1'", []).unwrap();
    c
}

const BEGAN: i64 = 1_795_489_500;

/// The clock goes backwards in these tests, because nothing depends on it: the later a
/// question, the earlier it says.
fn clock_at(question: i64) -> clock::Timestamp {
    clock::from_unix(BEGAN - question).unwrap()
}

/// Applies an answer as that of the question that its time was made from.
fn hear(c: &Connection, change: &Change) {
    let as_of = match change {
        Change::Order(order) => order.as_of,
        Change::Refunds(refunds) => refunds[0].about.as_of,
        Change::Dispute(dispute) => dispute.about.as_of,
        Change::Review(review) => review.about.as_of,
        Change::FraudWarning(warning) => warning.about.as_of,
    };
    apply(c, change, BEGAN - as_of.as_second()).unwrap();
}

/// What Stripe said to this question: a mug and an e-book.
fn answer(question: i64, payment_status: PaymentStatus, total: i64) -> Change {
    let line = |id: &str, requires_shipping: bool| LineItem {
        id: id.into(),
        price_id: None,
        product_id: None,
        sku: None,
        name: "Mug".into(),
        options: None,
        quantity: 2,
        currency: "eur".into(),
        unit_amount: Some(100),
        unit_amount_decimal: None,
        amount_subtotal: 200,
        amount_discount: 0,
        amount_tax: 0,
        amount_total: 200,
        requires_shipping,
        weight_g: None,
        metadata: json!({}),
    };
    let at = clock_at(question);
    Change::Order(Box::new(Order {
        as_of: at,
        checkout_session_id: "cs_1".into(),
        payment_intent_id: (total > 0).then(|| "pi_1".into()),
        livemode: false,
        mode: "payment".into(),
        payment_status,
        currency: "eur".into(),
        amount_subtotal: total,
        amount_discount: 0,
        amount_shipping: 0,
        amount_tax: 0,
        amount_total: total,
        presentment: None,
        customer_id: None,
        subscription_id: None,
        invoice_id: None,
        payment_link_id: None,
        client_reference_id: None,
        email: Some("ada@example.com".into()),
        name: None,
        business_name: None,
        phone: None,
        shipping: Address::default(),
        shipping_option: None,
        custom_fields: json!([]),
        tax_ids: json!([]),
        metadata: json!({}),
        created_at: at,
        paid_at: payment_status.is_sale().then_some(at),
        settled_at: None,
        hold: None,
        other_payments: Vec::new(),
        amount_awaited: None,
        amount_credited: None,
        lines: vec![line("li_1", true), line("li_2", false)],
    }))
}

fn about(question: i64, id: &str) -> About {
    let at = clock_at(question);
    About {
        as_of: at,
        id: id.into(),
        payment_intent_id: "pi_1".into(),
        charge_id: None,
        invoice_id: None,
        subscription_id: None,
        created_at: at,
    }
}

fn refund(question: i64, id: &str, status: &'static str, amount: i64) -> Refund {
    let currency = "eur".into();
    Refund {
        about: about(question, id),
        amount,
        currency,
        status: status.into(),
        reason: None,
        failure_reason: None,
        balance_transaction_id: Some("txn_1".into()),
        failed_at: None,
    }
}

fn dispute(question: i64, status: &str) -> Change {
    Change::Dispute(Dispute {
        about: about(question, "du_1"),
        amount: 400,
        currency: "eur".into(),
        status: status.into(),
        reason: Some("fraudulent".into()),
        evidence_due_by: clock::from_unix(BEGAN),
        amount_lost: 0,
        is_charge_refundable: false,
        money_moves: Vec::new(),
        settled: None,
    })
}

#[test]
fn an_older_refund_dispute_review_or_warning_never_overwrites_a_newer_one() {
    let review = |question: i64, open: bool| {
        let closed_reason = (!open).then(|| "approved".into());
        Change::Review(Review {
            about: about(question, "prv_1"),
            open,
            reason: None,
            closed_reason,
        })
    };
    let warning = |question: i64, actionable: bool| {
        Change::FraudWarning(FraudWarning {
            about: about(question, "issfr_1"),
            actionable,
            fraud_type: None,
        })
    };
    let refunds = |question: i64, status: &'static str| {
        Change::Refunds(vec![refund(question, "re_1", status, 400)])
    };
    for (older, newer, sql, left) in [
        (refunds(1, "pending"), refunds(2, "failed"), "SELECT status FROM refunds", "failed"),
        (
            dispute(1, "needs_response"),
            dispute(2, "won"),
            "SELECT status || evidence_due_by FROM disputes",
            "won2026-11-24T03:05:00Z",
        ),
        (
            review(1, true),
            review(2, false),
            "SELECT open || closed_reason FROM reviews",
            "0approved",
        ),
        (warning(1, true), warning(2, false), "SELECT actionable || '' FROM fraud_warnings", "0"),
    ] {
        for answers in [[&older, &newer], [&newer, &older]] {
            let c = file();
            for answer in answers.into_iter().chain(answers) {
                hear(&c, answer);
            }
            assert_eq!(one(&c, sql), left);
        }
    }
}

#[test]
fn what_comes_before_its_order_finds_it_and_holds_it() {
    let order = answer(3, PaymentStatus::Paid, 400);
    let back = Change::Refunds(vec![
        refund(1, "re_1", "succeeded", 100),
        refund(1, "re_2", "pending", 50),
    ]);
    let left = "SELECT financial_status || amount_refunded || refund_pending \
                || fulfillment_status || blocked_by FROM order_overview";
    for changes in [
        [&order, &back, &dispute(2, "needs_response")],
        [&dispute(2, "needs_response"), &back, &order],
    ] {
        let c = file();
        for change in changes {
            hear(&c, change);
        }
        assert_eq!(one(&c, left), "partially_refunded10050on_holddisputed");
        assert_eq!(
            one(&c, "SELECT count(*) || '' FROM outbox WHERE topic = 'order.disputed'"),
            "1"
        );
    }
}

fn one(c: &Connection, sql: &str) -> String {
    c.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn an_older_answer_never_overwrites_a_newer_one_and_a_sale_is_final() {
    use PaymentStatus::*;
    for (answers, left) in [
        ([(1, Unpaid, 400), (2, Paid, 400)], "paid 400 2"),
        ([(1, Unpaid, 400), (2, Paid, 300)], "paid 300 2"),
        ([(1, Paid, 400), (2, Paid, 300)], "paid 300 2"),
        ([(1, Paid, 400), (1, Paid, 999)], "paid 400 2"), // a question has one answer
        ([(2, Paid, 400), (1, Unpaid, 999)], "paid 400 2"),
        ([(2, Unpaid, 400), (1, Paid, 999)], "paid 400 2"),
        ([(1, Failed, 400), (2, Paid, 400)], "paid 400 2"),
        ([(1, Paid, 400), (2, Failed, 400)], "paid 400 2"),
        ([(1, Failed, 400), (2, Unpaid, 400)], "failed 400 0"),
        ([(1, NoPaymentRequired, 0), (1, NoPaymentRequired, 0)], "no_payment_required 0 2"),
    ] {
        let c = file();
        for (question, status, total) in answers.into_iter().chain(answers) {
            hear(&c, &answer(question, status, total));
        }
        let sql = "SELECT payment_status || ' ' || amount_total || ' ' || (SELECT count(*) \
                   FROM fulfillments) FROM orders";
        assert_eq!(one(&c, sql), left, "{answers:?}");
        assert_eq!(one(&c, "SELECT count(*) || '' FROM line_items"), "2");
    }
}

#[test]
fn a_sale_has_its_parcels_the_moment_it_is_one() {
    let c = file();
    hear(&c, &answer(1, PaymentStatus::Paid, 400));
    let kinds = "SELECT group_concat(requires_shipping || status || quantity)
                 FROM (SELECT * FROM fulfillments f JOIN fulfillment_line_items l ON
                 l.fulfillment_id = f.id ORDER BY f.id)";
    assert_eq!(one(&c, kinds), "1pending2,0pending2");
    assert_eq!(one(&c, "SELECT group_concat(topic) FROM outbox"), "order.paid");
}

#[test]
fn an_order_that_came_without_its_lines_has_its_parcels_when_they_are_named() {
    let c = file();
    let Change::Order(mut bare) = answer(1, PaymentStatus::Paid, 400) else { unreachable!() };
    bare.lines.clear();
    let bare = Change::Order(bare);
    let told =
        "SELECT (SELECT count(*) FROM line_items) || ' ' || (SELECT count(*) FROM fulfillments)";
    hear(&c, &bare);
    assert_eq!(one(&c, told), "0 0");
    for again in [answer(2, PaymentStatus::Paid, 400), answer(3, PaymentStatus::Paid, 400), bare] {
        hear(&c, &again);
        assert_eq!(one(&c, told), "2 2");
    }
}

#[test]
fn money_that_is_held_says_how_much_and_until_when_and_what_was_taken_of_it() {
    let c = file();
    let held = |question, status, capturable, captured, before| {
        let Change::Order(mut order) = answer(question, status, 400) else { unreachable!() };
        order.hold = Some(Hold { capturable, captured, before });
        hear(&c, &Change::Order(order));
        one(
            &c,
            "SELECT capture_method || ' ' || amount_capturable || ' '
               || coalesce(amount_captured, 'none') || ' ' || coalesce(capture_before, 'never')
               || ' ' || iif(paid_at IS NULL, 'unpaid', 'paid') FROM orders",
        )
    };
    let until = clock::from_unix(BEGAN);
    let text = clock::text(until.unwrap());
    let unpaid = PaymentStatus::Unpaid;
    assert_eq!(held(1, unpaid, 0, None, None), "manual 0 none never unpaid");
    assert_eq!(held(2, unpaid, 400, None, until), format!("manual 400 none {text} unpaid"));
    let taken = held(3, PaymentStatus::Paid, 0, Some(300), None);
    assert_eq!(taken, format!("manual 0 300 {text} paid"), "what is not named stays");
}

/// Several payments may pay an invoice, and its order names one of them.
fn with_both(question: i64) -> Change {
    let Change::Order(mut order) = answer(question, PaymentStatus::Paid, 400) else {
        unreachable!()
    };
    order.other_payments = vec!["pi_1".into(), "pi_2".into()];
    Change::Order(order)
}

#[test]
fn a_refund_of_another_payment_of_the_invoice_is_the_order_s_whichever_comes_first() {
    let mut of_the_other = refund(2, "re_1", "succeeded", 150);
    of_the_other.about.payment_intent_id = "pi_2".into();
    let back = Change::Refunds(vec![of_the_other]);
    let told = "SELECT amount_refunded || ' ' || (SELECT payment_intent_id FROM refunds) || ' '
          || (SELECT group_concat(what) FROM order_history WHERE what GLOB 'refund *')
        FROM order_overview";
    for answers in [
        vec![&back, &with_both(1)],
        vec![&answer(1, PaymentStatus::Paid, 400), &back, &with_both(3)],
    ] {
        let c = file();
        answers.into_iter().for_each(|answer| hear(&c, answer));
        assert_eq!(one(&c, told), "150 pi_1 refund re_1");
    }
}

#[test]
fn the_operator_s_corrections_outlive_every_later_answer() {
    let c = file();
    hear(&c, &answer(1, PaymentStatus::Unpaid, 400));
    c.execute("UPDATE orders SET email = 'ada@example.org', shipping_line1 = '1 New Street', note = 'gift'", [])
        .unwrap();
    hear(&c, &answer(2, PaymentStatus::Paid, 400));
    let kept = "SELECT email || shipping_line1 || note || payment_status FROM orders";
    assert_eq!(one(&c, kept), "ada@example.org1 New Streetgiftpaid");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn what_the_views_show_reads_back_to_the_last_minor_unit(
        amount in 0..=1_000_000_000_000i64,
        which in 0usize..8,
    ) {
        // By Stripe's list (docs.stripe.com/currencies): ISK and UGX travel in hundredths, HUF
        // and TWD have them.
        let (currency, decimals) =
            [("eur", 2), ("jpy", 0), ("krw", 0), ("kwd", 3), ("bhd", 3), ("isk", 2), ("ugx", 2), ("huf", 2)][which];
        let c = file();
        let Change::Order(mut order) = answer(1, PaymentStatus::Paid, amount) else { panic!("an order") };
        order.currency = currency.into();
        for line in &mut order.lines {
            (line.amount_total, line.unit_amount, line.currency) = (amount, Some(amount), currency.into());
        }
        hear(&c, &Change::Order(order));
        let places = if decimals == 0 { String::new() } else { format!(".{}", "0".repeat(decimals)) };
        let shown = [
            one(&c, "SELECT total FROM order_overview"),
            one(&c, "SELECT total FROM order_lines LIMIT 1"),
            one(&c, "SELECT price FROM order_lines LIMIT 1"),
        ];
        for text in shown {
            let (number, unit) = text.split_once(' ').unwrap();
            proptest::prop_assert_eq!(unit, currency.to_uppercase());
            proptest::prop_assert_eq!(number.find('.').map_or(0, |dot| number.len() - dot), places.len());
            proptest::prop_assert_eq!(number.replace('.', "").parse::<i64>().unwrap(), amount);
        }
    }
}

/// A list of Stripe's once said that a failed refund had another status, and the next one did not
/// show the payment by which its money came back.
#[test]
fn a_failed_refund_stays_in_the_books_of_its_month_whatever_a_wrong_answer_says() {
    let c = file();
    let booked = || {
        let sql = "SELECT status || ' ' || coalesce(failed_at, 'never') FROM refunds";
        c.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let mut asked = 0;
    let mut hear = |status, failed_at: Option<i64>| {
        asked += 1;
        let failed_at = failed_at.and_then(clock::from_unix);
        let refund = Refund { failed_at, ..refund(asked, "re_1", status, 400) };
        apply(&c, &Change::Refunds(vec![refund]), asked).unwrap();
        booked()
    };
    let [first, second] = [BEGAN + 1000, BEGAN + 2000];
    let text = |at| clock::text(clock::from_unix(at).unwrap());
    assert_eq!(hear("pending", None), "pending never");
    let failed = format!("failed {}", text(first));
    assert_eq!(hear("failed", Some(first)), failed);
    assert_eq!(hear("failed", Some(second)), failed, "what is booked stays");
    hear("succeeded", None);
    assert_eq!(hear("failed", None), failed);
    // One that was wrongly reported as failed, and fails later.
    hear("succeeded", None);
    assert_eq!(hear("failed", Some(second)), format!("failed {}", text(second)));
}

/// An order of an invoice, whose payment Stripe did not show, and an event that waits for that.
fn unjoined(session: &str, payment: Option<&str>) -> Change {
    let Change::Order(mut order) = answer(1, PaymentStatus::Paid, 400) else { unreachable!() };
    order.checkout_session_id = session.into();
    order.payment_intent_id = payment.map(String::from);
    order.invoice_id = Some("in_1".into());
    order.lines.clear();
    Change::Order(order)
}

/// An event that waits for a payment.
const WAIT: &str =
    "INSERT INTO events(id, type, shape, payload, source, received_at, state, awaits)
     VALUES('evt_1', 'charge.dispute.created', 'snapshot', '{}', 'webhook', 'x', 'ignored', ?1)";

#[test]
fn what_waits_for_another_payment_is_due_once_the_order_has_that_one_too() {
    let c = file();
    hear(&c, &answer(1, PaymentStatus::Paid, 400));
    c.execute(WAIT, ["pi_2"]).unwrap();
    hear(&c, &answer(2, PaymentStatus::Paid, 400));
    assert_eq!(one(&c, "SELECT state FROM events"), "ignored");
    hear(&c, &with_both(3));
    assert_eq!(one(&c, "SELECT state FROM events"), "pending");
}

#[test]
fn an_order_learns_by_a_refund_which_payment_paid_its_invoice_and_what_waited_for_it_is_due() {
    let of_the_invoice = || {
        let mut refund = refund(2, "re_1", "succeeded", 100);
        refund.about.payment_intent_id = "pi_9".into();
        refund.about.invoice_id = Some("in_1".into());
        Change::Refunds(vec![refund])
    };
    let told = "SELECT group_concat(coalesce(payment_intent_id, 'none')) || ' ' || (SELECT state FROM events)
        FROM (SELECT * FROM orders ORDER BY id)";
    for (awaits, orders, left) in [
        ("pi_9", vec![unjoined("cs_1", None)], "pi_9 pending"),
        ("pi_8", vec![unjoined("cs_1", None)], "pi_9 ignored"),
        // It is another order's, so this one's is still to be shown.
        ("pi_9", vec![unjoined("cs_1", Some("pi_9")), unjoined("cs_2", None)], "pi_9,none ignored"),
    ] {
        let c = file();
        orders.iter().for_each(|order| hear(&c, order));
        c.execute(WAIT, [awaits]).unwrap();
        hear(&c, &of_the_invoice());
        assert_eq!(one(&c, told), left);
    }
}
