-- Every change is history: who, what, from what, to what. Nothing of it is ever changed.

CREATE TRIGGER orders_created AFTER INSERT ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.id, name, 'order', NEW.payment_status || coalesce(', added: ' || NEW.origin, '')
    FROM actor;
  INSERT INTO settle(order_id) SELECT NEW.id
    WHERE NEW.payment_status IN('paid', 'no_payment_required');
END;

CREATE TRIGGER orders_changed AFTER UPDATE ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.id, actor.name, c.what, c.old, nullif(trim(c.new, b.signs), '') FROM actor, blanks b, (
    SELECT 'payment_status' AS what, OLD.payment_status AS old, NEW.payment_status AS new
    UNION ALL SELECT 'amount_total', OLD.amount_total, NEW.amount_total
    UNION ALL SELECT 'amount_capturable', OLD.amount_capturable, NEW.amount_capturable
    UNION ALL SELECT 'amount_captured', OLD.amount_captured, NEW.amount_captured
    UNION ALL SELECT 'capture_before', OLD.capture_before, NEW.capture_before
    UNION ALL SELECT 'note', OLD.note, NEW.note
    UNION ALL SELECT 'hold_reason', OLD.hold_reason, NEW.hold_reason
    UNION ALL SELECT 'canceled_at', OLD.canceled_at, NEW.canceled_at
    UNION ALL SELECT 'cancel_reason', OLD.cancel_reason, NEW.cancel_reason
    UNION ALL SELECT 'email', OLD.email, NEW.email
    UNION ALL SELECT 'name', OLD.name, NEW.name
    UNION ALL SELECT 'business_name', OLD.business_name, NEW.business_name
    UNION ALL SELECT 'phone', OLD.phone, NEW.phone
    UNION ALL SELECT 'shipping_name', OLD.shipping_name, NEW.shipping_name
    UNION ALL SELECT 'shipping_line1', OLD.shipping_line1, NEW.shipping_line1
    UNION ALL SELECT 'shipping_line2', OLD.shipping_line2, NEW.shipping_line2
    UNION ALL SELECT 'shipping_city', OLD.shipping_city, NEW.shipping_city
    UNION ALL SELECT 'shipping_state', OLD.shipping_state, NEW.shipping_state
    UNION ALL SELECT 'shipping_postal_code', OLD.shipping_postal_code, NEW.shipping_postal_code
    UNION ALL SELECT 'shipping_country', OLD.shipping_country, NEW.shipping_country) c
  WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');
  -- It became a sale: what was bought is now to be sent.
  INSERT INTO settle(order_id) SELECT NEW.id
  WHERE NEW.payment_status IN('paid', 'no_payment_required')
    AND NEW.payment_status <> OLD.payment_status;
  INSERT INTO news SELECT 'order.paid', NEW.id, 'order:' || NEW.id || ':paid',
    coalesce(NEW.paid_at, NEW.created_at)
  WHERE NEW.payment_status IN('paid', 'no_payment_required')
    AND NEW.payment_status <> OLD.payment_status;
  -- It was canceled: nothing is to be sent any more.
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.id AND status = 'pending' AND NEW.canceled_at IS NOT NULL
    AND OLD.canceled_at IS NULL;
  INSERT INTO outbox(topic, order_id, key) SELECT 'order.canceled', NEW.id, 'order:' || NEW.id ||
    ':canceled'
    || CASE WHEN EXISTS(SELECT 1 FROM outbox WHERE key = 'order:' || NEW.id || ':canceled')
      THEN ':' || (SELECT max(id) FROM outbox) ELSE '' END
  WHERE NEW.canceled_at IS NOT NULL AND OLD.canceled_at IS NULL;
END;

CREATE TRIGGER line_items_changed AFTER UPDATE OF canceled_quantity, cancel_reason ON line_items
  WHEN NEW.canceled_quantity <> OLD.canceled_quantity OR NEW.cancel_reason IS NOT OLD.cancel_reason
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, name, 'line ' || NEW.position || ' ' || c.what, c.old, c.new FROM actor, (
    SELECT 'canceled_quantity' AS what, OLD.canceled_quantity AS old, NEW.canceled_quantity AS new
    UNION ALL SELECT 'cancel_reason', OLD.cancel_reason, NEW.cancel_reason) c
  WHERE c.old IS NOT c.new;
  INSERT INTO settle(order_id) SELECT NEW.order_id FROM actor
    WHERE is_undo = 0 AND NEW.canceled_quantity <> OLD.canceled_quantity;
  -- Goods will not be sent: the same news as of a whole order, once a statement.
  INSERT INTO outbox(topic, order_id, key)
  SELECT 'order.canceled', NEW.order_id, 'order:' || NEW.order_id || ':canceled:' ||
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM actor
  WHERE is_undo = 0 AND NEW.canceled_quantity > OLD.canceled_quantity
    AND NOT EXISTS(SELECT 1 FROM outbox
        WHERE key = 'order:' || NEW.order_id || ':canceled:' ||
        strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;

CREATE TRIGGER refunds_came AFTER INSERT ON refunds
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'refund ' || NEW.id, NEW.status || ' ' || NEW.amount FROM actor, orders o
    WHERE o.payment_intent_id = NEW.payment_intent_id;
  -- What was held and is let go was never taken, so nothing is refunded.
  INSERT INTO news SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id AND NEW.status = 'succeeded'
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL);
END;

CREATE TRIGGER refunds_changed AFTER UPDATE ON refunds
  WHEN OLD.status || ' ' || OLD.amount <> NEW.status || ' ' || NEW.amount
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'refund ' || NEW.id, OLD.status || ' ' || OLD.amount, NEW.status || ' '
    || NEW.amount
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
  INSERT INTO news SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id AND NEW.status = 'succeeded'
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL)
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'refund:' || NEW.id);
END;

CREATE TRIGGER disputes_came AFTER INSERT ON disputes
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'dispute ' || NEW.id, NEW.status FROM actor, orders o
    WHERE o.payment_intent_id = NEW.payment_intent_id;
  INSERT INTO news SELECT 'order.disputed', o.id, 'dispute:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER disputes_changed AFTER UPDATE ON disputes WHEN OLD.status <> NEW.status
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'dispute ' || NEW.id, OLD.status, NEW.status
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER reviews_came AFTER INSERT ON reviews
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'review ' || NEW.id, CASE NEW.open WHEN 1 THEN 'open'
    ELSE coalesce(NEW.closed_reason, 'closed') END FROM actor, orders o
    WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER reviews_changed AFTER UPDATE ON reviews
  WHEN CASE OLD.open WHEN 1 THEN 'open'
  ELSE coalesce(OLD.closed_reason, 'closed') END <> CASE NEW.open WHEN 1 THEN 'open'
  ELSE coalesce(NEW.closed_reason, 'closed') END
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'review ' || NEW.id, CASE OLD.open WHEN 1 THEN 'open'
    ELSE coalesce(OLD.closed_reason, 'closed') END, CASE NEW.open WHEN 1 THEN 'open'
    ELSE coalesce(NEW.closed_reason, 'closed') END
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER fraud_warnings_came AFTER INSERT ON fraud_warnings
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'fraud warning ' || NEW.id, CASE NEW.actionable WHEN 1 THEN 'actionable'
    ELSE 'settled' END FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER fraud_warnings_changed AFTER UPDATE ON fraud_warnings
  WHEN CASE OLD.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END <> CASE NEW.actionable
  WHEN 1 THEN 'actionable' ELSE 'settled' END
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'fraud warning ' || NEW.id, CASE OLD.actionable WHEN 1 THEN 'actionable'
    ELSE 'settled' END, CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER fulfillments_created AFTER INSERT ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' status', NEW.status FROM actor;
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' replacement', NEW.replacement FROM actor
    WHERE NEW.replacement IS NOT NULL;
  -- A replacement begins with everything that was sent; a quantity may be lowered.
  INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity)
  SELECT NEW.id, line_item_id, sent FROM line_item_balance
  WHERE NEW.replacement IS NOT NULL AND order_id = NEW.order_id
    AND requires_shipping = NEW.requires_shipping AND sent > 0;
END;

CREATE TRIGGER fulfillments_changed AFTER UPDATE ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, actor.name, 'fulfillment ' || NEW.id || ' ' || c.what, c.old,
    nullif(trim(c.new, b.signs), '') FROM actor, blanks b, (
    SELECT 'status' AS what, OLD.status AS old, NEW.status AS new
    UNION ALL SELECT 'tracking_company', OLD.tracking_company, NEW.tracking_company
    UNION ALL SELECT 'tracking_number', OLD.tracking_number, NEW.tracking_number
    UNION ALL SELECT 'tracking_url', OLD.tracking_url, NEW.tracking_url
    UNION ALL SELECT 'note', OLD.note, NEW.note
    UNION ALL SELECT 'shipped_at', OLD.shipped_at, NEW.shipped_at
    UNION ALL SELECT 'delivered_at', OLD.delivered_at, NEW.delivered_at
    UNION ALL SELECT 'canceled_at', OLD.canceled_at, NEW.canceled_at) c
  WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');
END;

CREATE TRIGGER fulfillment_line_items_changed AFTER UPDATE OF quantity ON fulfillment_line_items
  WHEN NEW.quantity <> OLD.quantity
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || NEW.line_item_id,
    OLD.quantity, nullif(NEW.quantity, 0)
  FROM actor, fulfillments f WHERE f.id = NEW.fulfillment_id;
END;

-- What goes in and out is told too, so that undo can put it back; what a new order begins with is
-- what was bought.
CREATE TRIGGER fulfillment_line_items_put AFTER INSERT ON fulfillment_line_items
  WHEN (SELECT name FROM actor) NOT GLOB 'stripe:*'
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || NEW.line_item_id,
    NEW.quantity
  FROM actor, fulfillments f WHERE f.id = NEW.fulfillment_id;
END;

CREATE TRIGGER fulfillment_line_items_taken AFTER DELETE ON fulfillment_line_items
  WHEN OLD.quantity > 0
BEGIN
  INSERT INTO order_history(order_id, actor, what, old)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || OLD.line_item_id,
    OLD.quantity
  FROM actor, fulfillments f WHERE f.id = OLD.fulfillment_id;
END;

-- What is dismissed is something that `attention` shows, and the history of its order tells who did
-- so.

CREATE TRIGGER dismissals_insert BEFORE INSERT ON dismissals
  WHEN NEW.actor IS NOT (SELECT name FROM actor) OR NEW.at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
    OR NOT EXISTS(SELECT 1 FROM open_matters m
        WHERE m.reason = NEW.reason AND m.about = NEW.subject AND m.order_id IS NEW.order_id
      AND coalesce(m.since, '') = NEW.since AND m.facts = NEW.facts AND m.what = NEW.what)
BEGIN
  SELECT RAISE(ABORT,
    'dismissals: written by INSERT INTO dismiss(order_id, reason), of what attention shows');
END;

CREATE TRIGGER dismissals_told AFTER INSERT ON dismissals WHEN NEW.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  VALUES(NEW.order_id, NEW.actor, 'attention ' || NEW.reason || ' ' || NEW.subject, NEW.since || ' '
      || NEW.what);
END;

CREATE TRIGGER dismissals_undone AFTER DELETE ON dismissals WHEN OLD.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, old)
  SELECT OLD.order_id, name, 'attention ' || OLD.reason || ' ' || OLD.subject, OLD.since || ' ' ||
    OLD.what FROM actor;
END;

-- A line that is typed stands at the end and at its time, under its author's name.
CREATE TRIGGER order_history_grows AFTER INSERT ON order_history
  WHEN NEW.id <> 1 + (SELECT coalesce(max(id), 0) FROM order_history WHERE id < NEW.id)
    OR EXISTS(SELECT 1 FROM order_history WHERE id > NEW.id)
    OR NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)
    OR ((SELECT is_person FROM actor)
        AND NEW.at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;

-- The triggers' own: refunds and disputes that were here before their order get into its history,
-- and become news.
CREATE VIEW early AS SELECT id AS order_id, payment_intent_id FROM orders WHERE 0;
CREATE TRIGGER early_insert INSTEAD OF INSERT ON early
  WHEN (SELECT is_person FROM actor) = 0
BEGIN
  INSERT INTO order_history(order_id, actor, what, new) SELECT NEW.order_id, actor.name, e.what,
    e.new FROM actor, (
    SELECT 'refund ' || id AS what, status || ' ' || amount AS new FROM refunds
      WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'dispute ' || id, status FROM disputes
      WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'review ' || id, CASE open WHEN 1 THEN 'open'
      ELSE coalesce(closed_reason, 'closed') END
      FROM reviews WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'fraud warning ' || id, CASE actionable WHEN 1 THEN 'actionable'
      ELSE 'settled' END
      FROM fraud_warnings WHERE payment_intent_id = NEW.payment_intent_id) e;
  INSERT INTO news SELECT 'order.refunded', NEW.order_id, 'refund:' || id, created_at FROM refunds
  WHERE payment_intent_id = NEW.payment_intent_id AND status = 'succeeded'
    AND NOT(balance_transaction_id IS NULL
        AND EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND capture_method IS 'manual'));
  INSERT INTO news SELECT 'order.disputed', NEW.order_id, 'dispute:' || id, created_at FROM disputes
    WHERE payment_intent_id = NEW.payment_intent_id;
END;
