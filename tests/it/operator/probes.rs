//! For every trigger, lines that do harm where it is missing.

/// Lines that do harm where one trigger is missing; after `stripe:` the daemon's.
pub(super) const PROBES: &[(&str, &[&str])] = &[
    ("actor_delete", &["DELETE FROM actor"]),
    ("actor_insert", &["REPLACE INTO actor VALUES(1, 'fulfilld:me')"]),
    ("cancel_insert", &["INSERT INTO cancel VALUES(1, 'customer')"]),
    ("currency_decimals_delete", &["DELETE FROM currency_decimals"]),
    ("currency_decimals_insert", &["INSERT INTO currency_decimals VALUES('eur', 0, 1)"]),
    ("currency_decimals_update", &["UPDATE currency_decimals SET unit = 0"]),
    ("deliver_insert", &["INSERT INTO deliver VALUES(3)"]),
    ("deliver_parcel_insert", &["INSERT INTO deliver_parcel VALUES(3)"]),
    ("dismiss_insert", &["INSERT INTO dismiss VALUES(2, 'fraud_warning')"]),
    (
        "dismissals_delete",
        &["INSERT INTO dismiss VALUES(2, 'fraud_warning')", "DELETE FROM dismissals"],
    ),
    (
        "dismissals_insert",
        &["INSERT INTO dismissals(reason, subject, order_id, since, facts, what, actor) \
             VALUES('silence', 'x', 1, '', '[]', 'x', 'operator')"],
    ),
    ("dismissals_recorded", &["INSERT INTO dismiss VALUES(2, 'fraud_warning')"]),
    (
        "dismissals_undone",
        &["INSERT INTO dismiss VALUES(2, 'fraud_warning')", "stripe: DELETE FROM dismissals"],
    ),
    (
        "dismissals_update",
        &["INSERT INTO dismiss VALUES(2, 'fraud_warning')", "UPDATE dismissals SET facts = '[]'"],
    ),
    (
        "disputes_came",
        &["stripe: INSERT INTO disputes(id, payment_intent_id, amount, currency, status, \
             created_at, as_of) VALUES('x', 'pi_1', 300, 'eur', 'needs_response', \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    ("disputes_changed", &["stripe: UPDATE disputes SET status = 'won' WHERE id = 'dp_11'"]),
    ("disputes_delete", &["DELETE FROM disputes"]),
    ("disputes_facts", &["UPDATE disputes SET status = 'won' WHERE id = 'dp_11'"]),
    (
        "disputes_insert",
        &["INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, \
             as_of) VALUES('x', 'pi_98', 300, 'eur', 'needs_response', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    ("disputes_moves", &["stripe: UPDATE disputes SET money_moves = '[5]' WHERE id = 'dp_11'"]),
    (
        "disputes_moves_insert",
        &["stripe: INSERT INTO disputes(id, payment_intent_id, amount, currency, status, \
             money_moves, created_at, as_of) \
             VALUES('x', 'pi_1', 300, 'eur', 'needs_response', '[5]', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    (
        "disputes_notify",
        &["stripe: INSERT INTO disputes(id, payment_intent_id, amount, currency, status, \
             created_at, as_of) \
             VALUES('x', 'pi_1', 300, 'eur', 'needs_response', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    ("early_insert", &["stripe: UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24"]),
    ("events_delete", &["DELETE FROM events"]),
    ("events_facts", &["UPDATE events SET payload = '{}' WHERE id = 'evt_4'"]),
    (
        "events_insert",
        &[
            "REPLACE INTO events(id, type, shape, source, received_at) \
             VALUES('evt_1', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z')",
            "INSERT INTO events(id, type, shape, source, received_at, state) \
             VALUES('x', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z', 'failed')",
        ],
    ),
    (
        "events_numbered",
        &["INSERT INTO events(id, type, shape, source, received_at) \
             VALUES('x', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z')"],
    ),
    ("events_parked", &["stripe: UPDATE events SET state = 'failed' WHERE id = 'evt_2'"]),
    ("events_place", &["UPDATE OR REPLACE events SET rowid = 2 WHERE id = 'evt_1'"]),
    (
        "events_replay",
        &[
            "UPDATE events SET state = 'pending' WHERE id = 'evt_1'",
            "UPDATE events SET state_reason = 'due' WHERE id = 'evt_1' AND attempts = 0",
        ],
    ),
    ("events_seq", &["UPDATE events SET seq = 1 WHERE id = 'evt_2'"]),
    ("events_state", &["UPDATE events SET state = 'done' WHERE id = 'evt_2'"]),
    ("events_tries", &["UPDATE events SET attempts = 9223372036854775807 WHERE id = 'evt_2'"]),
    (
        "forgotten_delete",
        &[
            "stripe: INSERT INTO forgotten VALUES('cs_x', '2026-11-22T09:00:00Z')",
            "DELETE FROM forgotten",
        ],
    ),
    ("forgotten_insert", &["INSERT INTO forgotten VALUES('cs_x', '2026-11-22T09:00:00Z')"]),
    (
        "forgotten_update",
        &[
            "stripe: INSERT INTO forgotten VALUES('cs_x', '2026-11-22T09:00:00Z')",
            "UPDATE forgotten SET subject = 'cs_y'",
        ],
    ),
    (
        "fraud_warnings_came",
        &["stripe: INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, \
             as_of) VALUES('x', 'pi_1', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "fraud_warnings_changed",
        &["stripe: UPDATE fraud_warnings SET actionable = 0 WHERE id = 'issfr_2'"],
    ),
    ("fraud_warnings_delete", &["DELETE FROM fraud_warnings"]),
    ("fraud_warnings_facts", &["UPDATE fraud_warnings SET actionable = 0 WHERE id = 'issfr_2'"]),
    (
        "fraud_warnings_insert",
        &["INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, as_of) \
             VALUES('x', 'pi_98', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "fulfillment_line_items_changed",
        &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"],
    ),
    (
        "fulfillment_line_items_delete",
        &["DELETE FROM fulfillment_line_items WHERE fulfillment_id IN(SELECT id \
             FROM fulfillments WHERE status = 'shipped')"],
    ),
    (
        "fulfillment_line_items_insert",
        &["INSERT INTO fulfillment_line_items VALUES(1, 'li_2_1', 1)"],
    ),
    (
        "fulfillment_line_items_out",
        &["DELETE FROM fulfillment_line_items WHERE line_item_id = 'li_2_1'"],
    ),
    (
        "fulfillment_line_items_put",
        &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"],
    ),
    (
        "fulfillment_line_items_split",
        &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"],
    ),
    (
        "fulfillment_line_items_taken",
        &["UPDATE line_items SET canceled_quantity = quantity WHERE id = 'li_2_1'"],
    ),
    (
        "fulfillment_line_items_update",
        &["UPDATE fulfillment_line_items SET quantity = 99 WHERE fulfillment_id = 1"],
    ),
    ("fulfillments_blocked", &["UPDATE fulfillments SET status = 'shipped' WHERE order_id = 17"]),
    ("fulfillments_changed", &["UPDATE fulfillments SET note = 'blue' WHERE id = 1"]),
    ("fulfillments_created", &["stripe: UPDATE orders SET payment_status = 'paid' WHERE id = 5"]),
    ("fulfillments_dates", &["UPDATE fulfillments SET shipped_at = NULL WHERE order_id = 18"]),
    ("fulfillments_delete", &["DELETE FROM fulfillments WHERE order_id = 18"]),
    ("fulfillments_identity", &["UPDATE fulfillments SET order_id = 2 WHERE id = 1"]),
    (
        "fulfillments_insert",
        &[
            "INSERT INTO fulfillments(order_id) VALUES(1)",
            "INSERT INTO fulfillments(order_id, replacement, shipped_at) \
             VALUES(3, 'lost', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("fulfillments_moved", &["UPDATE fulfillments SET status = 'shipped' WHERE id = 1"]),
    ("fulfillments_status", &["UPDATE fulfillments SET status = 'shipped' WHERE order_id = 19"]),
    (
        "fulfillments_tracking",
        &[
            "UPDATE fulfillments SET status = 'shipped', \
             tracking_number = 'JD4' WHERE order_id = 4",
            "UPDATE fulfillments SET note = 'waits' WHERE order_id = 4 AND status = 'pending'",
        ],
    ),
    (
        "fulfillments_typed",
        &[
            "INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)",
            "UPDATE fulfillments SET note = 'followed' WHERE order_id = 1 AND tracking_url LIKE '%JD1'",
        ],
    ),
    ("hold_insert", &["INSERT INTO hold VALUES(1, 'asks for blue')"]),
    (
        "hook_runs_delete",
        &[
            "stripe: INSERT INTO hook_runs(outbox_id, target, next_attempt_at) \
             VALUES(1, '/opt/hook', '1')",
            "DELETE FROM hook_runs",
        ],
    ),
    (
        "hook_runs_insert",
        &["INSERT INTO hook_runs(outbox_id, target, next_attempt_at) VALUES(1, '/opt/hook', '1')"],
    ),
    (
        "hook_runs_update",
        &[
            "stripe: INSERT INTO hook_runs(outbox_id, target, next_attempt_at) \
             VALUES(1, '/opt/hook', '1')",
            "UPDATE hook_runs SET state = 'done'",
        ],
    ),
    (
        "line_items_balance",
        &["stripe: INSERT INTO line_items(id, order_id, position, name, quantity, currency, \
             amount_subtotal, amount_total, requires_shipping) \
             VALUES('x', 24, 9, 'Cup', 1, 'eur', 1, 1, 1)"],
    ),
    ("line_items_canceled", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_18_1'"]),
    ("line_items_changed", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_2_1'"]),
    (
        "line_items_currency",
        &["stripe: INSERT INTO line_items(id, order_id, position, name, quantity, currency, \
             amount_total, requires_shipping) VALUES('x', 22, 1, 'Cup', 1, 'usd', 1, 1)"],
    ),
    ("line_items_delete", &["DELETE FROM line_items WHERE order_id = 5"]),
    ("line_items_facts", &["UPDATE line_items SET name = 'Cup'"]),
    (
        "line_items_insert",
        &["INSERT INTO line_items(id, order_id, position, name, quantity, currency, \
             amount_total, requires_shipping) VALUES('x', 5, 9, 'Cup', 1, 'eur', 1, 1)"],
    ),
    ("line_items_unsent", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_2_1'"]),
    (
        "notify_insert",
        &["stripe: UPDATE orders SET payment_status = 'paid' WHERE payment_status = 'unpaid'"],
    ),
    ("order_history_delete", &["DELETE FROM order_history"]),
    (
        "order_history_grows",
        &["INSERT INTO order_history(id, order_id, actor, what) \
             VALUES(99999, 1, 'operator', 'note')"],
    ),
    (
        "order_history_insert",
        &["INSERT INTO order_history(order_id, actor, what) VALUES(1, 'stripe:evt_1', 'note')"],
    ),
    ("order_history_update", &["UPDATE order_history SET new = 'unpaid'"]),
    (
        "orders_balance",
        &["stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, \
             mode, payment_status, currency, amount_total, created_at, as_of) \
             VALUES(25, 'cs_25', 'pi_25', 0, 'payment', 'unpaid', 'eur', 100, \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "orders_balance_changed",
        &["stripe: UPDATE orders SET amount_subtotal = amount_subtotal + 1 WHERE id = 22"],
    ),
    (
        "orders_cancel",
        &["UPDATE orders SET canceled_at = NULL, cancel_reason = NULL WHERE id = 16"],
    ),
    ("orders_canceled", &["INSERT INTO cancel VALUES(1, 'customer')"]),
    ("orders_changed", &["UPDATE orders SET note = 'blue' WHERE id = 1"]),
    ("orders_corrected", &["UPDATE orders SET shipping_city = 'Lyon' WHERE id = 18"]),
    (
        "orders_created",
        &["stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, \
             mode, payment_status, currency, amount_total, created_at, as_of) \
             VALUES(25, 'cs_25', 'pi_25', 0, 'payment', 'unpaid', 'eur', 100, \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    ("orders_delete", &["DELETE FROM orders WHERE id = 22"]),
    (
        "orders_early_insert",
        &["stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, \
             mode, payment_status, currency, amount_total, created_at, as_of) \
             VALUES(25, 'cs_25', 'pi_99', 0, 'payment', 'unpaid', 'eur', 100, \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "orders_early_update",
        &["stripe: UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24"],
    ),
    ("orders_facts", &["UPDATE orders SET metadata = '[]' WHERE id = 1"]),
    ("orders_identity", &["stripe: UPDATE orders SET id = 99 WHERE id = 22"]),
    (
        "orders_insert",
        &["INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, \
             payment_status, currency, amount_total, created_at, as_of) \
             VALUES(25, 'cs_25', 'pi_25', 0, 'payment', 'unpaid', 'eur', 100, \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "orders_livemode",
        &["stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, \
             mode, payment_status, currency, amount_total, created_at, as_of) \
             VALUES(25, 'cs_25', 'pi_25', 1, 'payment', 'unpaid', 'eur', 100, \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "orders_payment_intent",
        &["stripe: UPDATE OR REPLACE orders SET payment_intent_id = 'pi_1' WHERE id = 2"],
    ),
    (
        "orders_sale_is_final",
        &["stripe: UPDATE orders SET payment_status = 'unpaid' WHERE id = 22"],
    ),
    ("orders_sold", &["stripe: UPDATE orders SET payment_status = 'paid' WHERE id = 5"]),
    ("orders_tidy", &["UPDATE orders SET note = ' blue ' WHERE id = 1"]),
    (
        "outbox_again",
        &[
            "stripe: UPDATE outbox SET state = 'dead', \
             next_attempt_at = '2026-11-22T09:00:00Z' WHERE id = 1",
            "UPDATE outbox SET state = 'pending' WHERE id = 1",
            "UPDATE outbox SET state = 'done' WHERE id = 1 AND next_attempt_at IS NULL AND outcome = 'again'",
        ],
    ),
    ("outbox_delete", &["DELETE FROM outbox"]),
    ("outbox_identity", &["UPDATE outbox SET key = 'x' WHERE id = 1"]),
    (
        "outbox_insert",
        &["INSERT INTO outbox(topic, order_id, key) \
             VALUES('fulfillment.shipped', 1, 'fulfillment:1:shipped')"],
    ),
    ("outbox_outcome", &["UPDATE outbox SET next_attempt_at = '9999-01-01T00:00:00Z'"]),
    (
        "outbox_undone",
        &[
            "stripe: UPDATE outbox SET state = 'done', outcome = 'undone' WHERE id = 1",
            "UPDATE outbox SET state = 'pending' WHERE id = 1",
        ],
    ),
    ("part_insert", &["INSERT INTO ship_items VALUES(2, '1', 'DHL', 'JD2', NULL)"]),
    (
        "refunds_came",
        &["stripe: INSERT INTO refunds(id, payment_intent_id, amount, currency, status, \
             created_at, as_of) VALUES('x', 'pi_1', 300, 'eur', 'succeeded', \
             '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    ("refunds_changed", &["stripe: UPDATE refunds SET status = 'succeeded' WHERE id = 're_10'"]),
    ("refunds_delete", &["DELETE FROM refunds"]),
    ("refunds_facts", &["UPDATE refunds SET status = 'succeeded' WHERE id = 're_10'"]),
    (
        "refunds_failed",
        &["stripe: INSERT INTO refunds(id, payment_intent_id, amount, currency, status, \
             created_at, as_of) \
             VALUES('x', 'pi_1', 300, 'eur', 'failed', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    ("refunds_failed_later", &["stripe: UPDATE refunds SET status = 'failed' WHERE id = 're_10'"]),
    (
        "refunds_insert",
        &["INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, \
             as_of) VALUES('x', 'pi_98', 300, 'eur', 'succeeded', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    (
        "refunds_notify",
        &["stripe: INSERT INTO refunds(id, payment_intent_id, amount, currency, status, \
             created_at, as_of) \
             VALUES('x', 'pi_1', 300, 'eur', 'succeeded', '2026-11-22T09:00:00Z', \
             '2026-11-22T09:00:00Z')"],
    ),
    (
        "refunds_notify_later",
        &["stripe: UPDATE refunds SET status = 'succeeded' WHERE id = 're_10'"],
    ),
    ("release_insert", &["INSERT INTO release VALUES(17)"]),
    ("reship_insert", &["INSERT INTO reship VALUES(18, 'lost')"]),
    ("reship_items_insert", &["INSERT INTO reship_items VALUES(18, '1', 'lost')"]),
    ("reship_wanted_insert", &["INSERT INTO reship_items VALUES(18, '1', 'lost')"]),
    (
        "reviews_came",
        &["stripe: INSERT INTO reviews(id, payment_intent_id, open, created_at, as_of) \
             VALUES('x', 'pi_1', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    ("reviews_changed", &["stripe: UPDATE reviews SET open = 0 WHERE id = 'prv_14'"]),
    ("reviews_delete", &["DELETE FROM reviews"]),
    ("reviews_facts", &["UPDATE reviews SET open = 0 WHERE id = 'prv_14'"]),
    (
        "reviews_insert",
        &["INSERT INTO reviews(id, payment_intent_id, open, created_at, as_of) \
             VALUES('x', 'pi_98', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')"],
    ),
    (
        "search_blocks_delete",
        &["stripe: INSERT INTO search_blocks VALUES(0, x'00')", "DELETE FROM search_blocks"],
    ),
    ("search_blocks_insert", &["INSERT INTO search_blocks VALUES(0, x'00')"]),
    (
        "search_blocks_update",
        &[
            "stripe: INSERT INTO search_blocks VALUES(0, x'00')",
            "UPDATE search_blocks SET orders = x'01'",
        ],
    ),
    ("search_state_delete", &["DELETE FROM search_state"]),
    ("search_state_insert", &["REPLACE INTO search_state VALUES(1, 9)"]),
    ("search_state_update", &["UPDATE search_state SET history = 9"]),
    ("sequence_delete", &["DELETE FROM sequence"]),
    ("sequence_forward", &["UPDATE sequence SET n = 0"]),
    ("sequence_insert", &["REPLACE INTO sequence VALUES(1, 0)"]),
    ("settle_insert", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_2_1'"]),
    ("ship_insert", &["INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)"]),
    ("ship_items_insert", &["INSERT INTO ship_items VALUES(2, '1', 'DHL', 'JD2', NULL)"]),
    ("ship_parcel_insert", &["INSERT INTO ship_parcel VALUES(1, 'DHL', 'JD1', NULL)"]),
    ("ship_part_insert", &["INSERT INTO ship_items VALUES(2, '1', 'DHL', 'JD2', NULL)"]),
    ("ship_wanted_insert", &["INSERT INTO ship_items VALUES(2, '1', 'DHL', 'JD2', NULL)"]),
    ("shop_delete", &["DELETE FROM shop"]),
    ("shop_insert", &["REPLACE INTO shop VALUES(1, 1, '2026-11-01T00:00:00Z')"]),
    ("shop_update", &["UPDATE shop SET livemode = 1"]),
    ("sweeps_delete", &["DELETE FROM sweeps"]),
    ("sweeps_insert", &["REPLACE INTO sweeps VALUES('events', '2036-11-20T00:00:00Z')"]),
    ("sweeps_update", &["UPDATE sweeps SET until = 'next year'"]),
    ("unbalanced_orders_delete", &["DELETE FROM unbalanced_orders"]),
    ("unbalanced_orders_insert", &["INSERT INTO unbalanced_orders VALUES(1, 0, 1)"]),
    ("unbalanced_orders_update", &["UPDATE unbalanced_orders SET lines = lines + 1"]),
    ("wanted_insert", &["INSERT INTO ship_items VALUES(2, 'all', 'DHL', 'JD2', NULL)"]),
];
