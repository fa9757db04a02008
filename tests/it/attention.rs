//! Everything that needs a person is one row with one reason in `attention`, and the line to type
//! next runs.

use std::collections::BTreeSet;

use rusqlite::Connection;

const SCHEMA: &str = include!("../../schema/whole.rs");

/// A file with one paid order of two mugs, all well.
fn shop() -> Connection {
    let c = Connection::open_in_memory().expect("memory");
    c.execute_batch(SCHEMA).expect("the schema is sound");
    by_stripe(
        &c,
        "INSERT INTO shop VALUES(1, 0, '2026-11-24T00:00:00Z');
         INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
           amount_subtotal, amount_total, email, shipping_line1, created_at, as_of)
         VALUES('cs_1', 'pi_1', 0, 'payment', 'unpaid', 'eur', 3000, 3000, 'ada@example.com', '12 Rue Exemple',
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1');
         INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_subtotal,
         amount_total, requires_shipping)
         VALUES('li_1', 1, 1, 'Mug', 2, 'eur', 3000, 3000, 1);
         UPDATE orders SET payment_status = 'paid', paid_at = created_at WHERE id = 1;",
    );
    c
}

/// Writes as the daemon does when Stripe has reported something.
fn by_stripe(c: &Connection, sql: &str) {
    let all = format!(
        "UPDATE actor SET name = 'stripe:evt_1';\n{sql}\nUPDATE actor SET name = 'operator';"
    );
    c.execute_batch(&all).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

fn rows(c: &Connection, sql: &str) -> Vec<(String, String)> {
    let mut query = c.prepare(sql).expect("the query is sound");
    let rows =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(|rows| rows.collect());
    rows.expect("the query runs")
}

const SHIPPED: &str = "INSERT INTO ship VALUES(1, 'DHL', 'JD01', NULL);";

/// The reason, what Stripe reports, and what the operator does before that.
const CASES: &[(&str, &str, &str)] = &[
    ("unsent", "UPDATE orders SET paid_at = '2026-01-01T00:00:00Z';", ""),
    ("no_address", "", "UPDATE orders SET shipping_line1 = NULL;"),
    (
        "no_lines",
        "INSERT INTO orders(checkout_session_id, livemode, mode, payment_status, currency,
           amount_total, created_at, paid_at, as_of)
         VALUES('cs_2', 0, 'payment', 'no_payment_required', 'eur', 0, NOW, NOW, '1');",
        "",
    ),
    ("partly_refunded", "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, \
                         created_at, as_of) VALUES('re_1', 'pi_1', 1500, 'eur', 'succeeded', NOW, \
                         '1');", ""),
    (
        "paid_twice",
        "UPDATE orders SET client_reference_id = 'cart-17';
         INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
         payment_status, currency, amount_subtotal, amount_total,
           client_reference_id, created_at, paid_at, as_of)
         VALUES('cs_2', 'pi_2', 0, 'payment', 'unpaid', 'eur', 3000, 3000, 'cart-17', NOW, NOW, '1');
         INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_subtotal,
         amount_total, requires_shipping)
         VALUES('li_2', 2, 1, 'Mug', 2, 'eur', 3000, 3000, 0);
         UPDATE orders SET payment_status = 'paid', paid_at = created_at WHERE id = 2;",
        "",
    ),
    (
        "capture_due",
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
           payment_status, currency, amount_total, capture_method,
           amount_capturable, capture_before, created_at, as_of)
         VALUES('cs_2', 'pi_2', 0, 'payment', 'unpaid', 'eur', 0, 'manual', 900,
         strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 days'), NOW, '1');",
        "",
    ),
    (
        "authorization_ended",
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
           payment_status, currency, amount_total, capture_method,
           created_at, as_of) VALUES('cs_2', 'pi_2', 0, 'payment', 'failed', 'eur', 0, 'manual', NOW, '1');",
        "",
    ),
    (
        "payment_overdue",
        "INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode,
           payment_status, currency, amount_total, amount_awaited, line_items_at, created_at, as_of)
         VALUES('cs_2', 'pi_2', 0, 'payment', 'unpaid', 'eur', 0, 900, NOW,
         strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-8 days'), '1');",
        "",
    ),
    ("sums_differ", "UPDATE orders SET amount_total = 3001;", ""),
    (
        "held",
        "",
        "INSERT INTO hold VALUES(1, 'asks for blue');
         DROP TRIGGER order_history_update; UPDATE order_history SET at = '2026-01-01T00:00:00Z';",
    ),
    ("canceled_not_refunded", "", "INSERT INTO cancel VALUES(1, 'customer');"),
    ("refunded_not_canceled", "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, \
                               currency, status, reason, failure_reason, created_at, as_of) \
                               VALUES('re_1', 'pi_1', 'ch_1', 3000, 'eur', 'succeeded', NULL, \
                               NULL, NOW, '1');", ""),
    ("refunded_after_shipping", "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, \
                                 currency, status, reason, failure_reason, created_at, as_of) \
                                 VALUES('re_1', 'pi_1', 'ch_1', 100, 'eur', 'succeeded', NULL, \
                                 NULL, LATER, '1');", SHIPPED),
    ("refund_failed", "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, \
                       status, reason, failure_reason, created_at, as_of) \
                       VALUES('re_1', 'pi_1', 'ch_1', 100, 'eur', 'failed', NULL, \
                       'lost_or_stolen_card', NOW, '1');", ""),
    ("refund_unknown", "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, \
                        status, reason, failure_reason, created_at, as_of) \
                        VALUES('re_1', 'pi_1', 'ch_1', 100, 'eur', 'on_its_way', NULL, NULL, NOW, \
                        '1');", ""),
    (
        "dispute_due",
        "INSERT INTO disputes(id, payment_intent_id, charge_id, amount, currency, status, reason, \
         evidence_due_by, created_at, as_of) VALUES('dp_1', 'pi_1', 'ch_1', 3000, 'eur', \
         'needs_response', 'fraudulent', '2026-12-24T00:00:00Z', NOW, '1');",
        "",
    ),
    (
        "other_currency",
        "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, amount_lost, \
         created_at, as_of) VALUES('dp_1', 'pi_1', 3000, 'usd', 'won', 1000, NOW, '1');
         UPDATE orders SET canceled_at = paid_at, cancel_reason = 'other';",
        "",
    ),
    ("dispute_lost", "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, \
                      amount_lost, created_at, as_of) VALUES('dp_1', 'pi_1', 3000, 'eur', 'lost', \
                      3000, NOW, '1');", ""),
    ("in_review", "INSERT INTO reviews(id, payment_intent_id, charge_id, open, reason, \
                   closed_reason, created_at, as_of) VALUES('prv_1', 'pi_1', 'ch_1', 1, 'rule', \
                   NULL, NOW, '1');", ""),
    ("in_review", "INSERT INTO reviews(id, payment_intent_id, charge_id, open, reason, \
                   closed_reason, created_at, as_of) VALUES('prv_1', 'pi_1', 'ch_1', 0, 'rule', \
                   'refunded_as_fraud', NOW, '1');", ""),
    ("fraud_warning", "INSERT INTO fraud_warnings(id, payment_intent_id, charge_id, actionable, \
                       fraud_type, created_at, as_of) VALUES('issfr_1', 'pi_1', 'ch_1', 1, \
                       'made_with_stolen_card', NOW, '1');", ""),
    (
        "event_failed",
        "INSERT INTO events(id, type, shape, source, received_at, state, state_reason)
         VALUES('evt_1', 'refund.created', 'snapshot', 'webhook', NOW, 'failed', 'why');",
        "",
    ),
    (
        "event_stuck",
        "INSERT INTO events(id, type, shape, source, received_at, next_attempt_at)
         VALUES('evt_1', 'refund.created', 'snapshot', 'webhook', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');",
        "",
    ),
    ("key_refused", "INSERT INTO alarms VALUES('key_refused', 'the key is refused', 'fulfilld doctor', NOW, '');", ""),
    ("key_lacks_permission", "INSERT INTO alarms VALUES('key_lacks_permission', \
                              'the key may not read refunds', 'fulfilld doctor', NOW, '');", ""),
    ("silence", "INSERT INTO alarms VALUES('silence', 'webhooks do not come', 'fulfilld doctor', NOW, '');", ""),
    ("file_went_back", "INSERT INTO alarms VALUES('file_went_back', \
                        'the file is older than it was', 'DELETE FROM alarms \
                        WHERE name = ''file_went_back'';', NOW, '');", ""),
    ("backfill_failing", "INSERT INTO alarms VALUES('backfill_failing', 'a list fails', \
                          'fulfilld doctor', NOW, '');", ""),
    ("only_matches_nothing", "INSERT INTO alarms VALUES('only_matches_nothing', \
                              'FULFILLD_ONLY matches none', 'fulfilld doctor', NOW, '');", ""),
    ("clock_wrong", "INSERT INTO alarms VALUES('clock_wrong', 'the clock is fast', \
                     'sudo timedatectl set-ntp true', NOW, '');", ""),
    ("hook_missing", "INSERT INTO alarms VALUES('hook_missing', 'a hook cannot be run', \
                      'fulfilld doctor', NOW, '');", ""),
    ("hook_dead", "UPDATE outbox SET state = 'dead', last_error = 'exit 1';", ""),
    (
        "hook_fails",
        "INSERT INTO hook_runs(outbox_id, target, order_id, tries, first_try_at, next_attempt_at, last_error)
         SELECT id, '/opt/hook', 1, 5, '2026-01-01T00:00:00Z', NOW, 'exit code 75' FROM outbox;",
        "",
    ),
];

/// The shop in a case.
fn needing(told: &str, done: &str) -> Connection {
    let c = shop();
    c.execute_batch(done).unwrap_or_else(|e| panic!("{done}: {e}"));
    let told = told
        .replace("NOW", "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')")
        .replace("LATER", "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 minutes')");
    by_stripe(&c, &told);
    c
}

#[test]
fn each_reason_is_one_row_and_its_next_line_runs() {
    for (reason, told, done) in CASES {
        let c = needing(told, done);
        let found = rows(&c, "SELECT reason, next FROM attention");
        assert_eq!(
            found.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>(),
            [*reason],
            "{told}{done}"
        );
        let what: String = c
            .query_row("SELECT what || since FROM attention", [], |row| row.get(0))
            .expect("a sentence");
        assert!(what.len() > 20, "{reason}: {what}");
        let next = &found[0].1;
        let sql = next.split("hold it: ").last().filter(|line| line.ends_with(';'));
        match sql {
            Some(sql) => c.execute_batch(sql).unwrap_or_else(|e| panic!("{reason}: {sql}: {e}")),
            None => assert!(next.len() > 10, "{reason}: {next}"),
        }
    }
}

/// What makes a matter another one: the reason, what changes, and the lines that change it.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "held",
        "why",
        "UPDATE orders SET hold_reason = 'asks for red'; UPDATE order_history SET at = '2026-01-01T00:00:00Z';",
    ),
    (
        "capture_due",
        "until when",
        "UPDATE orders SET capture_before = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+30 hours') WHERE id = 2;",
    ),
    ("payment_overdue", "how much", "UPDATE orders SET amount_awaited = 800 WHERE id = 2;"),
    ("other_currency", "how much", "UPDATE disputes SET amount = 3001;"),
    ("sums_differ", "by how much", "UPDATE orders SET amount_total = 3002;"),
    ("partly_refunded", "how much", "UPDATE refunds SET amount = 1501;"),
    ("refund_failed", "why", "UPDATE refunds SET failure_reason = 'unknown';"),
    ("refund_unknown", "its status", "UPDATE refunds SET status = 'nearly_there';"),
    ("dispute_due", "until when", "UPDATE disputes SET evidence_due_by = '2026-12-25T00:00:00Z';"),
    ("dispute_due", "its status", "UPDATE disputes SET status = 'appeal_needs_response';"),
    ("fraud_warning", "its kind", "UPDATE fraud_warnings SET fraud_type = 'misc';"),
    (
        "event_failed",
        "it failed again",
        "UPDATE events SET state = 'pending'; UPDATE events SET state = 'failed', state_reason = 'why';",
    ),
    ("hook_missing", "which hook", "UPDATE alarms SET about = '/opt/other';"),
    ("silence", "it began anew", "UPDATE alarms SET since = '2025-04-01T00:00:00Z';"),
    ("hook_dead", "it gave up again", "UPDATE outbox SET attempts = attempts + 1;"),
];

#[test]
fn what_was_dismissed_comes_back_with_other_facts_and_not_with_other_words() {
    let attention = "SELECT DISTINCT coalesce(subject, order_id, '') || '', reason FROM attention";
    for (reason, told, done) in CASES {
        let c = needing(told, done);
        for (about, reason) in rows(&c, attention) {
            let about = Some(about).filter(|about| !about.is_empty());
            c.execute("INSERT INTO dismiss VALUES(?1, ?2)", (about, reason)).expect("it is shown");
        }
        assert_eq!(rows(&c, attention), [], "{reason}");
        let matters: String = c
            .query_row("SELECT sql FROM sqlite_schema WHERE name = 'matters'", [], |row| row.get(0))
            .expect("a view");
        let before = matters.replacen("VIEW matters", "VIEW matters_before", 1);
        c.execute_batch(&format!(
            "DROP VIEW matters; {before};
             CREATE VIEW matters AS SELECT reason, order_id, subject, since, 'worded anew: ' || what AS what,
               'done otherwise: ' || next AS next, facts FROM matters_before"
        ))
        .expect("the view is made anew");
        assert_eq!(rows(&c, attention), [], "{reason}, worded anew");
        for (_, what, change) in CHANGES.iter().filter(|(of, ..)| of == reason) {
            c.execute_batch("SAVEPOINT facts").expect("a savepoint");
            by_stripe(&c, change);
            let back = rows(&c, attention);
            assert_eq!(back.len(), 1, "{reason}, {what}: {back:?}");
            c.execute_batch("ROLLBACK TO facts; RELEASE facts").expect("as it was");
        }
    }
}

#[test]
fn a_clean_shop_has_none_and_every_reason_is_tried() {
    let c = shop();
    assert_eq!(rows(&c, "SELECT reason, what FROM attention"), []);
    let (from, to) = (SCHEMA.find("CREATE VIEW matters"), SCHEMA.find("CREATE VIEW attention"));
    let view = &SCHEMA[from.expect("the view is there")..to.expect("and the next")];
    let is_name =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let named: BTreeSet<&str> = view
        .split("SELECT '")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next())
        .filter(is_name)
        // What the daemon itself raises stands in `alarms`.
        .chain([
            "key_refused",
            "key_lacks_permission",
            "silence",
            "backfill_failing",
            "file_went_back",
            "clock_wrong",
            "only_matches_nothing",
            "hook_missing",
        ])
        .collect();
    assert_eq!(named, CASES.iter().map(|(reason, ..)| *reason).collect());
}

#[test]
fn what_blocks_an_order_is_one_word_and_each_refusal_a_sentence() {
    for (told, done, blocked, sentence) in [
        ("", "INSERT INTO hold VALUES(1, 'why');", "on hold", "INSERT INTO release"),
        ("", "INSERT INTO cancel VALUES(1, 'customer');", "canceled", "is canceled"),
        (
            "INSERT INTO disputes(id, payment_intent_id, charge_id, amount, currency, status, \
             reason, evidence_due_by, created_at, as_of) VALUES('dp_1', 'pi_1', 'ch_1', 3000, \
             'eur', 'under_review', NULL, NULL, 'x', '1');",
            "",
            "disputed",
            "disputes the payment",
        ),
        (
            "INSERT INTO disputes(id, payment_intent_id, charge_id, amount, currency, status, \
             reason, evidence_due_by, created_at, as_of) VALUES('dp_1', 'pi_1', 'ch_1', 3000, \
             'eur', 'some_new_word', NULL, NULL, 'x', '1');",
            "",
            "disputed",
            "disputes the payment",
        ),
        (
            "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, amount_lost, \
             created_at, as_of) VALUES('dp_1', 'pi_1', 3000, 'eur', 'lost', 3000, 'x', '1');",
            "",
            "dispute lost",
            "went back to the buyer",
        ),
        (
            "INSERT INTO reviews(id, payment_intent_id, charge_id, open, reason, closed_reason, \
             created_at, as_of) VALUES('prv_1', 'pi_1', 'ch_1', 1, NULL, NULL, 'x', '1');",
            "",
            "in review",
            "holds the payment for review",
        ),
        (
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, \
             reason, failure_reason, created_at, as_of) VALUES('re_1', 'pi_1', 'ch_1', 3000, \
             'eur', 'pending', NULL, NULL, 'x', '1');",
            "",
            "refunded",
            "is refunded",
        ),
        (
            "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, \
             reason, failure_reason, created_at, as_of) VALUES('re_1', 'pi_1', 'ch_1', 3000, \
             'eur', 'some_new_word', NULL, NULL, 'x', '1');",
            "",
            "refunded",
            "is refunded",
        ),
    ] {
        let c = shop();
        by_stripe(&c, told);
        c.execute_batch(done).expect("it may be done");
        let by: String = c
            .query_row("SELECT blocked_by FROM order_overview", [], |row| row.get(0))
            .expect("a word");
        assert_eq!(by, blocked);
        assert_eq!(rows(&c, "SELECT order_id || '', items FROM to_ship"), []);
        for line in [
            SHIPPED,
            "UPDATE fulfillments SET status = 'shipped' WHERE status = 'pending' OR \
             (SELECT canceled_at FROM orders) IS NOT NULL",
        ] {
            let said = c.execute_batch(line).expect_err("it is refused").to_string();
            assert!(said.contains(sentence) || blocked == "canceled", "{blocked}: {said}");
        }
        // The crowbar is explicit, and the history names it.
        if blocked != "canceled" {
            c.execute_batch(&format!(
                "UPDATE actor SET name = 'operator-override'; {SHIPPED} UPDATE actor SET name = 'operator';"
            ))
            .expect("it is lifted");
            let by: String = c
                .query_row("SELECT actor FROM order_history WHERE new = 'shipped'", [], |row| {
                    row.get(0)
                })
                .expect("the history tells");
            assert_eq!(by, "operator-override");
        }
    }
    for won in ["won", "warning_closed", "prevented"] {
        let c = shop();
        by_stripe(
            &c,
            &format!(
                "INSERT INTO disputes(id, payment_intent_id, charge_id, amount, currency, status, \
                 reason, evidence_due_by, created_at, as_of) \
                 VALUES('dp_1', 'pi_1', 'ch_1', 1, 'eur', '{won}', NULL, NULL, 'x', '1');"
            ),
        );
        c.execute_batch(SHIPPED).expect("it may go out");
    }
}

#[test]
fn the_three_axes_move_apart_from_each_other_and_the_days_add_up() {
    let c = shop();
    let axes = || {
        let sql = "SELECT financial_status || ' ' || fulfillment_status || ' ' || canceled FROM order_overview";
        c.query_row(sql, [], |row| row.get::<_, String>(0)).expect("one order")
    };
    assert_eq!(axes(), "paid unfulfilled 0");
    c.execute_batch(
        "UPDATE fulfillment_line_items SET quantity = 1; UPDATE fulfillments SET status = 'shipped' WHERE id = 1;",
    )
    .unwrap();
    assert_eq!(axes(), "paid partially_fulfilled 0");
    by_stripe(
        &c,
        "INSERT INTO refunds(id, payment_intent_id, charge_id, amount, currency, status, reason,
           failure_reason, created_at, as_of) VALUES('re_1', 'pi_1', 'ch_1', 1000, 'eur',
           'succeeded', NULL, NULL, '2026-11-24T00:00:00Z', '1');
         UPDATE orders SET paid_at = '2026-10-31T23:59:59Z';",
    );
    assert_eq!(axes(), "partially_refunded partially_fulfilled 0");
    by_stripe(&c, "UPDATE refunds SET status = 'failed';");
    assert_eq!(axes(), "paid partially_fulfilled 0");
    by_stripe(&c, "UPDATE refunds SET status = 'succeeded', amount = 3000;");
    assert_eq!(axes(), "refunded partially_fulfilled 0");
    c.execute_batch("INSERT INTO cancel VALUES(1, 'customer');").unwrap();
    assert_eq!(axes(), "refunded fulfilled 0", "what was sent is all that is due");
    let day = "SELECT orders || ' ' || amount_total || ' ' || amount_refunded || ' ' \
               || amount_net, net FROM sales_by_day";
    let booked = |figures: &str, net: &str| (figures.to_string(), net.to_string());
    assert_eq!(
        rows(&c, day),
        [booked("1 3000 0 3000", "30.00 EUR"), booked("0 0 3000 -3000", "-30.00 EUR")]
    );
}

/// Tables that stay short, however many orders there are.
const SHORT: &[&str] = &["a", "u", "unbalanced_orders"];

#[test]
fn what_people_look_at_costs_the_same_however_many_orders_there_were() {
    let c = shop();
    for look in [
        "SELECT * FROM attention",
        "SELECT * FROM to_ship",
        "SELECT * FROM to_fulfill",
        "SELECT * FROM to_capture",
        "SELECT * FROM stuck_events",
        "SELECT * FROM order_overview WHERE id = 1",
        "SELECT * FROM order_lines WHERE order_id = 1",
    ] {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let tables: BTreeSet<String> = c
            .prepare(tables)
            .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
            .expect("tables");
        let plan: Vec<String> = c
            .prepare(&format!("EXPLAIN QUERY PLAN {look}"))
            .and_then(|mut q| q.query_map([], |row| row.get(3))?.collect())
            .expect("a plan");
        // A scan without an index goes through a whole table; through an index of its own it goes
        // through the few rows that need somebody.
        let whole = |step: &&String| {
            let mut words = step.split(' ');
            let (scan, of) = (words.next() == Some("SCAN"), words.next().unwrap_or_default());
            let by_index = step.contains("USING") || step.contains("VIRTUAL TABLE");
            scan && !by_index && !SHORT.contains(&of) && (of.len() == 1 || tables.contains(of))
        };
        let of_views = ["SCAN m", "SCAN g", "SCAN p"];
        let found: Vec<&String> =
            plan.iter().filter(whole).filter(|s| !of_views.contains(&s.as_str())).collect();
        assert!(found.is_empty(), "{look}: {found:?}");
    }
}
