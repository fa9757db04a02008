-- Orders and their line items: rows and facts come from Stripe; a sale stays a sale.

-- A file is of one mode; so is an order.
CREATE TRIGGER orders_livemode BEFORE INSERT ON orders
  WHEN NEW.livemode <> (SELECT livemode FROM shop)
BEGIN
  SELECT RAISE(ABORT,
    'orders: a file holds live orders or test orders, never both; this one is of the other mode');
END;

CREATE TRIGGER orders_payment_intent BEFORE UPDATE OF payment_intent_id ON orders
  WHEN EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = NEW.payment_intent_id AND id <> OLD.id)
BEGIN SELECT RAISE(ABORT, 'orders: another order has that payment'); END;

CREATE TRIGGER orders_sale_is_final BEFORE UPDATE OF payment_status ON orders
  WHEN OLD.payment_status IN('paid', 'no_payment_required')
    AND NEW.payment_status <> OLD.payment_status
BEGIN SELECT RAISE(ABORT, 'orders: a paid order stays paid; money going back is a refund'); END;

CREATE TRIGGER orders_cancel BEFORE UPDATE OF canceled_at ON orders
  WHEN NEW.canceled_at IS NOT OLD.canceled_at
BEGIN
  SELECT RAISE(ABORT,
      'orders: a canceled order stays canceled (fulfilld undo takes back what you typed last)')
    WHERE OLD.canceled_at IS NOT NULL AND NEW.canceled_at IS NULL
      AND (SELECT is_undo FROM actor) = 0;
  SELECT RAISE(ABORT,
      'orders: canceled_at is a time in UTC, e.g. strftime(''%Y-%m-%dT%H:%M:%SZ'', ''now'')')
    WHERE strftime('%Y-%m-%dT%H:%M:%SZ', NEW.canceled_at, '+0 days') IS NOT NEW.canceled_at
      OR NEW.canceled_at < '0000';
  SELECT RAISE(ABORT,
      'orders: something has shipped already; what is left is canceled with line_items.canceled_quantity')
    WHERE OLD.canceled_at IS NULL
      AND EXISTS(SELECT 1 FROM fulfillments
          WHERE order_id = OLD.id AND status IN('shipped', 'delivered'));
END;

-- What each line adds and each new subtotal changes; an order that is balanced has no row.
CREATE TRIGGER orders_balance AFTER INSERT ON orders
BEGIN INSERT INTO unbalanced_orders VALUES(NEW.id, 0, NEW.amount_subtotal); END;

CREATE TRIGGER orders_balance_changed AFTER UPDATE OF amount_subtotal ON orders
  WHEN NEW.amount_subtotal <> OLD.amount_subtotal
BEGIN
  INSERT INTO unbalanced_orders
    VALUES(NEW.id, (SELECT count(*) FROM line_items WHERE order_id = NEW.id),
      NEW.amount_subtotal - OLD.amount_subtotal)
  ON CONFLICT(order_id) DO UPDATE SET difference = difference + excluded.difference;
  DELETE FROM unbalanced_orders WHERE order_id = NEW.id AND lines > 0 AND difference = 0;
END;

CREATE TRIGGER line_items_balance AFTER INSERT ON line_items
BEGIN
  INSERT INTO unbalanced_orders VALUES(NEW.order_id, 1, -NEW.amount_subtotal)
  ON CONFLICT(order_id) DO UPDATE SET lines = lines + 1,
    difference = difference + excluded.difference;
  DELETE FROM unbalanced_orders WHERE order_id = NEW.order_id AND difference = 0;
END;

-- What came before its order gets into its history once the order has its payment.
CREATE TRIGGER orders_early_insert AFTER INSERT ON orders WHEN NEW.payment_intent_id IS NOT NULL
BEGIN INSERT INTO early VALUES(NEW.id, NEW.payment_intent_id); END;

CREATE TRIGGER orders_early_update AFTER UPDATE OF payment_intent_id ON orders
  WHEN NEW.payment_intent_id IS NOT NULL AND OLD.payment_intent_id IS NULL
BEGIN INSERT INTO early VALUES(NEW.id, NEW.payment_intent_id); END;

-- What is typed is kept without the blanks around it, and what is empty is NULL.
CREATE TRIGGER orders_tidy AFTER UPDATE OF note, hold_reason, email, name, business_name, phone,
  shipping_name, shipping_line1, shipping_line2, shipping_city, shipping_state, shipping_postal_code,
  shipping_country ON orders
  WHEN (SELECT is_person FROM actor)
BEGIN
  UPDATE orders SET
    note = nullif(trim(note, b.signs), ''),
    hold_reason = nullif(trim(hold_reason, b.signs), ''),
    email = nullif(trim(email, b.signs), ''),
    name = nullif(trim(name, b.signs), ''),
    business_name = nullif(trim(business_name, b.signs), ''),
    phone = nullif(trim(phone, b.signs), ''),
    shipping_name = nullif(trim(shipping_name, b.signs), ''),
    shipping_line1 = nullif(trim(shipping_line1, b.signs), ''),
    shipping_line2 = nullif(trim(shipping_line2, b.signs), ''),
    shipping_city = nullif(trim(shipping_city, b.signs), ''),
    shipping_state = nullif(trim(shipping_state, b.signs), ''),
    shipping_postal_code = nullif(trim(shipping_postal_code, b.signs), ''),
    shipping_country = nullif(trim(shipping_country, b.signs), '')
  FROM blanks b WHERE id = NEW.id AND (
    NEW.note IS NOT nullif(trim(NEW.note, b.signs), '')
    OR NEW.hold_reason IS NOT nullif(trim(NEW.hold_reason, b.signs), '')
    OR NEW.email IS NOT nullif(trim(NEW.email, b.signs), '')
    OR NEW.name IS NOT nullif(trim(NEW.name, b.signs), '')
    OR NEW.business_name IS NOT nullif(trim(NEW.business_name, b.signs), '')
    OR NEW.phone IS NOT nullif(trim(NEW.phone, b.signs), '')
    OR NEW.shipping_name IS NOT nullif(trim(NEW.shipping_name, b.signs), '')
    OR NEW.shipping_line1 IS NOT nullif(trim(NEW.shipping_line1, b.signs), '')
    OR NEW.shipping_line2 IS NOT nullif(trim(NEW.shipping_line2, b.signs), '')
    OR NEW.shipping_city IS NOT nullif(trim(NEW.shipping_city, b.signs), '')
    OR NEW.shipping_state IS NOT nullif(trim(NEW.shipping_state, b.signs), '')
    OR NEW.shipping_postal_code IS NOT nullif(trim(NEW.shipping_postal_code, b.signs), '')
    OR NEW.shipping_country IS NOT nullif(trim(NEW.shipping_country, b.signs), ''));
END;

-- Where it goes, or whom to write to, is corrected while a parcel is on its way: hooks are notified
-- of it, once a statement.
CREATE TRIGGER orders_corrected AFTER UPDATE OF email, name, business_name, phone, shipping_name,
  shipping_line1, shipping_line2, shipping_city, shipping_state, shipping_postal_code,
  shipping_country ON orders
  WHEN (SELECT is_undo OR name = 'fulfilld:forget' FROM actor) = 0
BEGIN
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.updated', f.order_id, f.id,
    'fulfillment:' || f.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  FROM fulfillments f, blanks b
  WHERE f.order_id = NEW.id AND f.status = 'shipped' AND f.requires_shipping = 1
    AND (nullif(trim(OLD.email, b.signs), '') IS NOT nullif(trim(NEW.email, b.signs), '')
      OR nullif(trim(OLD.name, b.signs), '') IS NOT nullif(trim(NEW.name, b.signs), '')
      OR nullif(trim(OLD.business_name, b.signs), '')
        IS NOT nullif(trim(NEW.business_name, b.signs), '')
      OR nullif(trim(OLD.phone, b.signs), '') IS NOT nullif(trim(NEW.phone, b.signs), '')
      OR nullif(trim(OLD.shipping_name, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_name, b.signs), '')
      OR nullif(trim(OLD.shipping_line1, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_line1, b.signs), '')
      OR nullif(trim(OLD.shipping_line2, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_line2, b.signs), '')
      OR nullif(trim(OLD.shipping_city, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_city, b.signs), '')
      OR nullif(trim(OLD.shipping_state, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_state, b.signs), '')
      OR nullif(trim(OLD.shipping_postal_code, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_postal_code, b.signs), '')
      OR nullif(trim(OLD.shipping_country, b.signs), '')
        IS NOT nullif(trim(NEW.shipping_country, b.signs), ''))
    AND NOT EXISTS(SELECT 1 FROM outbox
      WHERE key = 'fulfillment:' || f.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;

CREATE TRIGGER line_items_currency BEFORE INSERT ON line_items
  WHEN NEW.currency <> (SELECT currency FROM orders WHERE id = NEW.order_id)
BEGIN
  SELECT RAISE(ABORT,
    'line_items: a line is in the currency of its order; look at the session in Stripe''s Dashboard');
END;

CREATE TRIGGER line_items_canceled BEFORE UPDATE OF canceled_quantity ON line_items
  WHEN NEW.canceled_quantity <= NEW.quantity AND NEW.canceled_quantity > NEW.quantity -
    (SELECT sent FROM line_item_balance WHERE line_item_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'line_items: that many have been sent already (see order_lines)'); END;

CREATE TRIGGER disputes_moves_insert BEFORE INSERT ON disputes
BEGIN
  SELECT RAISE(ABORT,
      'disputes: money_moves is a list of amounts and times: [{"amount": -4200, "at": "2026-11-24T03:05:00Z"}]')
    WHERE json_type(NEW.money_moves) IS NOT 'array'
      OR EXISTS(SELECT 1 FROM json_each(NEW.money_moves) m
        WHERE json_type(NEW.money_moves, m.fullkey || '.amount') IS NOT 'integer'
          OR json_type(NEW.money_moves, m.fullkey || '.at') IS NOT 'text'
          OR json_extract(NEW.money_moves, m.fullkey || '.amount')
            NOT BETWEEN -1000000000000 AND 1000000000000
          OR coalesce(json_type(NEW.money_moves, m.fullkey || '.settled'), 'integer') <> 'integer'
          OR json_extract(NEW.money_moves, m.fullkey || '.settled')
            NOT BETWEEN -1000000000000 AND 1000000000000);
END;

CREATE TRIGGER disputes_moves BEFORE UPDATE OF money_moves ON disputes
BEGIN
  SELECT RAISE(ABORT,
      'disputes: money_moves is a list of amounts and times: [{"amount": -4200, "at": "2026-11-24T03:05:00Z"}]')
    WHERE json_type(NEW.money_moves) IS NOT 'array'
      OR EXISTS(SELECT 1 FROM json_each(NEW.money_moves) m
        WHERE json_type(NEW.money_moves, m.fullkey || '.amount') IS NOT 'integer'
          OR json_type(NEW.money_moves, m.fullkey || '.at') IS NOT 'text'
          OR json_extract(NEW.money_moves, m.fullkey || '.amount')
            NOT BETWEEN -1000000000000 AND 1000000000000
          OR coalesce(json_type(NEW.money_moves, m.fullkey || '.settled'), 'integer') <> 'integer'
          OR json_extract(NEW.money_moves, m.fullkey || '.settled')
            NOT BETWEEN -1000000000000 AND 1000000000000);
END;

-- It is canceled: nothing is to be sent any more.
CREATE TRIGGER orders_canceled AFTER UPDATE OF canceled_at ON orders
  WHEN NEW.canceled_at IS NOT NULL AND OLD.canceled_at IS NULL
BEGIN
  UPDATE fulfillments SET status = 'canceled' WHERE order_id = NEW.id AND status = 'pending';
  INSERT INTO outbox(topic, order_id, key)
  SELECT 'order.canceled', NEW.id, 'order:' || NEW.id || ':canceled' ||
    CASE WHEN EXISTS(SELECT 1 FROM outbox WHERE key = 'order:' || NEW.id || ':canceled')
      THEN ':' || (SELECT max(id) FROM outbox) ELSE '' END;
END;

-- It became a sale: what was bought is now to be sent.
CREATE TRIGGER orders_sold AFTER UPDATE OF payment_status ON orders
  WHEN NEW.payment_status IN('paid', 'no_payment_required')
    AND NEW.payment_status <> OLD.payment_status
BEGIN
  INSERT INTO settle(order_id) VALUES(NEW.id);
  INSERT INTO notify VALUES('order.paid', NEW.id, 'order:' || NEW.id || ':paid',
    coalesce(NEW.paid_at, NEW.created_at));
END;

-- Goods will not be sent: the rest is settled, and hooks are notified as of a whole order, once a
-- statement.
CREATE TRIGGER line_items_unsent AFTER UPDATE OF canceled_quantity ON line_items
  WHEN NEW.canceled_quantity <> OLD.canceled_quantity AND (SELECT is_undo FROM actor) = 0
BEGIN
  INSERT INTO settle(order_id) VALUES(NEW.order_id);
  INSERT INTO outbox(topic, order_id, key)
  SELECT 'order.canceled', NEW.order_id, c.key
  FROM (SELECT 'order:' || NEW.order_id || ':canceled:' ||
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS key) c
  WHERE NEW.canceled_quantity > OLD.canceled_quantity
    AND NOT EXISTS(SELECT 1 FROM outbox x WHERE x.key = c.key);
END;

CREATE TRIGGER orders_created AFTER INSERT ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.id, name, 'order', NEW.payment_status || coalesce(', added: ' || NEW.origin, '')
  FROM actor;
  INSERT INTO settle(order_id)
  SELECT NEW.id WHERE NEW.payment_status IN('paid', 'no_payment_required');
END;

-- The triggers' own: refunds and disputes that were here before their order get into its history,
-- and hooks are notified of them.
CREATE VIEW early AS SELECT id AS order_id, payment_intent_id FROM orders WHERE 0;

CREATE TRIGGER early_insert INSTEAD OF INSERT ON early
  WHEN (SELECT is_person FROM actor) = 0
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, a.name, t.what, t.state FROM actor a, payment_matters t
  WHERE t.payment_intent_id = NEW.payment_intent_id ORDER BY t.what;
  INSERT INTO notify
  SELECT 'order.refunded', NEW.order_id, 'refund:' || id, created_at FROM refunds
  WHERE payment_intent_id = NEW.payment_intent_id AND status = 'succeeded'
    AND NOT(balance_transaction_id IS NULL
      AND EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND capture_method IS 'manual'));
  INSERT INTO notify
  SELECT 'order.refund_failed', NEW.order_id, 'refund_failed:' || id,
    coalesce(failed_at, created_at)
  FROM refunds WHERE payment_intent_id = NEW.payment_intent_id AND status = 'failed';
  INSERT INTO notify
  SELECT 'order.disputed', NEW.order_id, 'dispute:' || id, created_at FROM disputes
  WHERE payment_intent_id = NEW.payment_intent_id;
END;

-- Forgetting a person blanks what the history quotes of them, and nothing else of it.
CREATE TRIGGER order_history_update BEFORE UPDATE ON order_history
  WHEN (SELECT name FROM actor) <> 'fulfilld:forget' OR NEW.id <> OLD.id
    OR NEW.order_id <> OLD.order_id OR NEW.actor <> OLD.actor
    OR NEW.what <> OLD.what OR NEW.at <> OLD.at OR NEW.moment <> OLD.moment
    OR NEW.old IS NOT CASE WHEN OLD.old IS NOT NULL THEN 'erased' END
    OR NEW.new IS NOT CASE WHEN OLD.new IS NOT NULL THEN 'erased' END
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;

-- A line that is typed stands at the end and at its time, under its author's name.
CREATE TRIGGER order_history_grows AFTER INSERT ON order_history
  WHEN NEW.id <> 1 + (SELECT coalesce(max(id), 0) FROM order_history WHERE id < NEW.id)
    OR EXISTS(SELECT 1 FROM order_history WHERE id > NEW.id)
    OR NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)
    OR ((SELECT is_person FROM actor)
        AND NEW.at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;
