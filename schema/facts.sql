-- What is a fact stays a fact: rows that are never deleted and never replaced, columns that nobody
-- or only fulfilld changes. Written by the program's tests from src/columns.rs and
-- src/columns/rules.rs: UPDATE_GOLDEN=1 cargo test --bin fulfilld columns

CREATE TRIGGER shop_insert BEFORE INSERT ON shop
  WHEN EXISTS(SELECT 1 FROM shop)
BEGIN
  SELECT RAISE(ABORT, 'shop: written when the file was made');
END;

CREATE TRIGGER shop_update BEFORE UPDATE ON shop
  WHEN (SELECT is_person FROM actor) OR NEW.one IS NOT OLD.one OR NEW.livemode IS NOT OLD.livemode
BEGIN
  SELECT RAISE(ABORT, 'shop: written when the file was made');
END;

CREATE TRIGGER shop_delete BEFORE DELETE ON shop
BEGIN
  SELECT RAISE(ABORT, 'shop: written when the file was made');
END;

CREATE TRIGGER actor_insert BEFORE INSERT ON actor
BEGIN
  SELECT RAISE(ABORT, 'actor: it has one row');
END;

CREATE TRIGGER actor_delete BEFORE DELETE ON actor
BEGIN
  SELECT RAISE(ABORT, 'actor: it has one row');
END;

CREATE TRIGGER sequence_insert BEFORE INSERT ON sequence
BEGIN
  SELECT RAISE(ABORT, 'sequence: it has one row');
END;

CREATE TRIGGER sequence_delete BEFORE DELETE ON sequence
BEGIN
  SELECT RAISE(ABORT, 'sequence: it has one row');
END;

CREATE TRIGGER events_facts BEFORE UPDATE OF id, type, object_id, created, livemode, api_version,
  account, context, shape, snapshot_event, payload, source, received_at, awaits
  ON events
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT,
    'events: what Stripe sent is not changed; to process it again: UPDATE events SET state = ''pending'' WHERE id = …');
END;

CREATE TRIGGER events_delete BEFORE DELETE ON events
BEGIN
  SELECT RAISE(ABORT,
    'events: never deleted; to put one aside: UPDATE events SET state = ''ignored'' WHERE id = …');
END;

CREATE TRIGGER orders_insert BEFORE INSERT ON orders
  WHEN (SELECT is_person FROM actor)
    OR EXISTS(SELECT 1 FROM orders WHERE id = NEW.id)
    OR EXISTS(SELECT 1 FROM orders WHERE checkout_session_id = NEW.checkout_session_id)
    OR EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = NEW.payment_intent_id)
BEGIN
  SELECT RAISE(ABORT,
    'orders: rows come from Stripe and are never replaced; sell it through Checkout, or correct the order with UPDATE');
END;

CREATE TRIGGER orders_facts BEFORE UPDATE OF payment_intent_id, mode, payment_status,
  amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, presentment_amount,
  presentment_currency, customer_id, subscription_id, invoice_id, payment_link_id,
  client_reference_id, capture_method, amount_capturable, amount_captured, amount_awaited,
  amount_credited, capture_before, shipping_option, custom_fields, tax_ids, metadata, created_at,
  paid_at, line_items_at, as_of, asked
  ON orders
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT,
    'orders: that column is a fact from Stripe; yours are note, hold_reason, cancel…, name, email, phone, shipping_…');
END;

CREATE TRIGGER orders_identity BEFORE UPDATE ON orders
  WHEN NEW.id IS NOT OLD.id
    OR NEW.checkout_session_id IS NOT OLD.checkout_session_id
    OR NEW.livemode IS NOT OLD.livemode
    OR NEW.currency IS NOT OLD.currency
    OR NEW.origin IS NOT OLD.origin
BEGIN
  SELECT RAISE(ABORT, 'orders: an order keeps its number, session, mode and currency');
END;

CREATE TRIGGER orders_delete BEFORE DELETE ON orders
BEGIN
  SELECT RAISE(ABORT, 'orders: never deleted; to cancel: set canceled_at and cancel_reason');
END;

CREATE TRIGGER line_items_insert BEFORE INSERT ON line_items
  WHEN (SELECT is_person FROM actor)
    OR NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)
    OR EXISTS(SELECT 1 FROM line_items WHERE id = NEW.id)
    OR EXISTS(SELECT 1 FROM line_items WHERE order_id = NEW.order_id AND position = NEW.position)
BEGIN
  SELECT RAISE(ABORT, 'line_items: rows come from Stripe and are never replaced');
END;

CREATE TRIGGER line_items_facts BEFORE UPDATE OF id, order_id, position, price_id, product_id, sku,
  name, options, quantity, currency, unit_amount, unit_amount_decimal, amount_subtotal,
  amount_discount, amount_tax, amount_total, requires_shipping, metadata, weight_g
  ON line_items
BEGIN
  SELECT RAISE(ABORT,
    'line_items: that column is a fact from Stripe; yours are canceled_quantity and cancel_reason');
END;

CREATE TRIGGER line_items_delete BEFORE DELETE ON line_items
BEGIN
  SELECT RAISE(ABORT, 'line_items: never deleted; what will not be sent is canceled_quantity');
END;

CREATE TRIGGER unbalanced_orders_insert BEFORE INSERT ON unbalanced_orders
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT, 'unbalanced_orders: kept by triggers; nothing is typed here');
END;

CREATE TRIGGER unbalanced_orders_update BEFORE UPDATE ON unbalanced_orders
  WHEN (SELECT is_person FROM actor) OR NEW.order_id IS NOT OLD.order_id
BEGIN
  SELECT RAISE(ABORT, 'unbalanced_orders: kept by triggers; nothing is typed here');
END;

CREATE TRIGGER unbalanced_orders_delete BEFORE DELETE ON unbalanced_orders
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT, 'unbalanced_orders: kept by triggers; nothing is typed here');
END;

CREATE TRIGGER fulfillments_identity BEFORE UPDATE ON fulfillments
  WHEN NEW.id IS NOT OLD.id
    OR NEW.order_id IS NOT OLD.order_id
    OR NEW.requires_shipping IS NOT OLD.requires_shipping
    OR NEW.replacement IS NOT OLD.replacement
    OR NEW.created_at IS NOT OLD.created_at
BEGIN
  SELECT RAISE(ABORT,
    'fulfillments: it stays with its order; yours are status, tracking_…, note and the dates');
END;

CREATE TRIGGER fulfillments_delete BEFORE DELETE ON fulfillments
BEGIN
  SELECT RAISE(ABORT,
    'fulfillments: never deleted; set status to canceled and its items are to be sent again');
END;

CREATE TRIGGER refunds_insert BEFORE INSERT ON refunds
  WHEN (SELECT is_person FROM actor) OR EXISTS(SELECT 1 FROM refunds WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT,
    'refunds: rows come from Stripe and are never replaced; make the refund in Stripe''s Dashboard');
END;

CREATE TRIGGER refunds_facts BEFORE UPDATE ON refunds
  WHEN (SELECT is_person FROM actor) OR NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'refunds: a fact from Stripe; make the refund in Stripe''s Dashboard');
END;

CREATE TRIGGER refunds_delete BEFORE DELETE ON refunds
BEGIN
  SELECT RAISE(ABORT, 'refunds: never deleted');
END;

CREATE TRIGGER disputes_insert BEFORE INSERT ON disputes
  WHEN (SELECT is_person FROM actor) OR EXISTS(SELECT 1 FROM disputes WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT,
    'disputes: rows come from Stripe and are never replaced; answer it in Stripe''s Dashboard');
END;

CREATE TRIGGER disputes_facts BEFORE UPDATE ON disputes
  WHEN (SELECT is_person FROM actor) OR NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'disputes: a fact from Stripe; answer it in Stripe''s Dashboard');
END;

CREATE TRIGGER disputes_delete BEFORE DELETE ON disputes
BEGIN
  SELECT RAISE(ABORT, 'disputes: never deleted');
END;

CREATE TRIGGER reviews_insert BEFORE INSERT ON reviews
  WHEN (SELECT is_person FROM actor) OR EXISTS(SELECT 1 FROM reviews WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT,
    'reviews: rows come from Stripe and are never replaced; approve or refund it in Stripe''s Dashboard');
END;

CREATE TRIGGER reviews_facts BEFORE UPDATE ON reviews
  WHEN (SELECT is_person FROM actor) OR NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'reviews: a fact from Stripe; approve or refund it in Stripe''s Dashboard');
END;

CREATE TRIGGER reviews_delete BEFORE DELETE ON reviews
BEGIN
  SELECT RAISE(ABORT, 'reviews: never deleted');
END;

CREATE TRIGGER fraud_warnings_insert BEFORE INSERT ON fraud_warnings
  WHEN (SELECT is_person FROM actor) OR EXISTS(SELECT 1 FROM fraud_warnings WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT,
    'fraud_warnings: rows come from Stripe and are never replaced; act on it in Stripe''s Dashboard');
END;

CREATE TRIGGER fraud_warnings_facts BEFORE UPDATE ON fraud_warnings
  WHEN (SELECT is_person FROM actor) OR NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'fraud_warnings: a fact from Stripe; act on it in Stripe''s Dashboard');
END;

CREATE TRIGGER fraud_warnings_delete BEFORE DELETE ON fraud_warnings
BEGIN
  SELECT RAISE(ABORT, 'fraud_warnings: never deleted');
END;

CREATE TRIGGER order_history_insert BEFORE INSERT ON order_history
  WHEN NEW.actor IS NOT (SELECT name FROM actor)
    OR EXISTS(SELECT 1 FROM order_history WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'order_history: written by the database and never changed');
END;

CREATE TRIGGER order_history_delete BEFORE DELETE ON order_history
BEGIN
  SELECT RAISE(ABORT, 'order_history: written by the database and never changed');
END;

CREATE TRIGGER outbox_identity BEFORE UPDATE ON outbox
  WHEN NEW.id IS NOT OLD.id
    OR NEW.topic IS NOT OLD.topic
    OR NEW.order_id IS NOT OLD.order_id
    OR NEW.fulfillment_id IS NOT OLD.fulfillment_id
    OR NEW.event_id IS NOT OLD.event_id
    OR NEW.key IS NOT OLD.key
    OR NEW.created_at IS NOT OLD.created_at
BEGIN
  SELECT RAISE(ABORT,
    'outbox: written by the database; to run its hooks again: fulfilld hooks retry ID');
END;

CREATE TRIGGER outbox_delete BEFORE DELETE ON outbox
BEGIN
  SELECT RAISE(ABORT, 'outbox: never deleted');
END;

CREATE TRIGGER hook_runs_insert BEFORE INSERT ON hook_runs
  WHEN (SELECT is_person FROM actor)
    OR EXISTS(SELECT 1 FROM hook_runs WHERE outbox_id = NEW.outbox_id AND target = NEW.target)
BEGIN
  SELECT RAISE(ABORT,
    'hook_runs: written by fulfilld; to run its hooks again: fulfilld hooks retry ID');
END;

CREATE TRIGGER hook_runs_update BEFORE UPDATE ON hook_runs
  WHEN (SELECT is_person FROM actor)
    OR NEW.outbox_id IS NOT OLD.outbox_id
    OR NEW.target IS NOT OLD.target
BEGIN
  SELECT RAISE(ABORT,
    'hook_runs: written by fulfilld; to run its hooks again: fulfilld hooks retry ID');
END;

CREATE TRIGGER hook_runs_delete BEFORE DELETE ON hook_runs
BEGIN
  SELECT RAISE(ABORT, 'hook_runs: never deleted');
END;

CREATE TRIGGER sweeps_delete BEFORE DELETE ON sweeps
BEGIN
  SELECT RAISE(ABORT,
    'sweeps: never deleted; to have a list looked through again, set its `until` back');
END;

CREATE TRIGGER dismissals_update BEFORE UPDATE ON dismissals
BEGIN
  SELECT RAISE(ABORT,
    'dismissals: never changed; fulfilld undo brings back what you dismissed last');
END;

CREATE TRIGGER dismissals_delete BEFORE DELETE ON dismissals
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT,
    'dismissals: never deleted; fulfilld undo brings back what you dismissed last');
END;

CREATE TRIGGER forgotten_insert BEFORE INSERT ON forgotten
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT, 'forgotten: written by fulfilld forget EMAIL');
END;

CREATE TRIGGER forgotten_update BEFORE UPDATE ON forgotten
BEGIN
  SELECT RAISE(ABORT, 'forgotten: never changed; who buys again is a new buyer');
END;

CREATE TRIGGER forgotten_delete BEFORE DELETE ON forgotten
BEGIN
  SELECT RAISE(ABORT, 'forgotten: never deleted; who buys again is a new buyer');
END;

CREATE TRIGGER search_blocks_insert BEFORE INSERT ON search_blocks
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT, 'search_blocks: kept by fulfilld; nothing is typed here');
END;

CREATE TRIGGER search_blocks_update BEFORE UPDATE ON search_blocks
  WHEN (SELECT is_person FROM actor) OR NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'search_blocks: kept by fulfilld; nothing is typed here');
END;

CREATE TRIGGER search_blocks_delete BEFORE DELETE ON search_blocks
  WHEN (SELECT is_person FROM actor)
BEGIN
  SELECT RAISE(ABORT, 'search_blocks: kept by fulfilld; nothing is typed here');
END;

CREATE TRIGGER search_state_insert BEFORE INSERT ON search_state
BEGIN
  SELECT RAISE(ABORT, 'search_state: it has one row');
END;

CREATE TRIGGER search_state_update BEFORE UPDATE ON search_state
  WHEN (SELECT is_person FROM actor) OR NEW.one IS NOT OLD.one
BEGIN
  SELECT RAISE(ABORT, 'search_state: kept by fulfilld; nothing is typed here');
END;

CREATE TRIGGER search_state_delete BEFORE DELETE ON search_state
BEGIN
  SELECT RAISE(ABORT, 'search_state: it has one row');
END;

CREATE TRIGGER currency_decimals_insert BEFORE INSERT ON currency_decimals
BEGIN
  SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it');
END;

CREATE TRIGGER currency_decimals_update BEFORE UPDATE ON currency_decimals
BEGIN
  SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it');
END;

CREATE TRIGGER currency_decimals_delete BEFORE DELETE ON currency_decimals
BEGIN
  SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it');
END;
