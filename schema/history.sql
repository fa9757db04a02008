-- Every change is history: who, what, from what, to what. Written by the program's tests from
-- src/columns.rs and src/columns/rules.rs: UPDATE_GOLDEN=1 cargo test --bin fulfilld columns

CREATE TRIGGER orders_changed AFTER UPDATE ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.id, a.name, c.what, c.old, nullif(trim(c.new, b.signs), '')
  FROM actor a, blanks b, (
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
END;

CREATE TRIGGER line_items_changed AFTER UPDATE ON line_items
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, a.name, 'line ' || NEW.position || ' ' || c.what, c.old, nullif(trim(c.new, b.signs), '')
  FROM actor a, blanks b, (
    SELECT 'canceled_quantity' AS what, OLD.canceled_quantity AS old, NEW.canceled_quantity AS new
    UNION ALL SELECT 'cancel_reason', OLD.cancel_reason, NEW.cancel_reason) c
  WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');
END;

CREATE TRIGGER fulfillments_changed AFTER UPDATE ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, a.name, 'fulfillment ' || NEW.id || ' ' || c.what, c.old, nullif(trim(c.new, b.signs), '')
  FROM actor a, blanks b, (
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

-- What comes beside an order, with its state as the history shows it; the order may come later.
CREATE VIEW payment_matters AS
SELECT payment_intent_id, 'refund ' || id AS what,
  status || ' ' || amount AS state
FROM refunds
UNION ALL
SELECT payment_intent_id, 'dispute ' || id,
  status
FROM disputes
UNION ALL
SELECT payment_intent_id, 'review ' || id,
  CASE open WHEN 1 THEN 'open' ELSE coalesce(closed_reason, 'closed') END
FROM reviews
UNION ALL
SELECT payment_intent_id, 'fraud warning ' || id,
  CASE actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
FROM fraud_warnings;

CREATE TRIGGER refunds_came AFTER INSERT ON refunds
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, a.name, 'refund ' || NEW.id,
    NEW.status || ' ' || NEW.amount
  FROM actor a, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER refunds_changed AFTER UPDATE ON refunds
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, a.name, 'refund ' || NEW.id, c.old, c.new
  FROM actor a, orders o, (SELECT
    OLD.status || ' ' || OLD.amount AS old,
    NEW.status || ' ' || NEW.amount AS new) c
  WHERE o.payment_intent_id = NEW.payment_intent_id AND c.old <> c.new;
END;

CREATE TRIGGER disputes_came AFTER INSERT ON disputes
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, a.name, 'dispute ' || NEW.id,
    NEW.status
  FROM actor a, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER disputes_changed AFTER UPDATE ON disputes
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, a.name, 'dispute ' || NEW.id, c.old, c.new
  FROM actor a, orders o, (SELECT
    OLD.status AS old,
    NEW.status AS new) c
  WHERE o.payment_intent_id = NEW.payment_intent_id AND c.old <> c.new;
END;

CREATE TRIGGER reviews_came AFTER INSERT ON reviews
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, a.name, 'review ' || NEW.id,
    CASE NEW.open WHEN 1 THEN 'open' ELSE coalesce(NEW.closed_reason, 'closed') END
  FROM actor a, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER reviews_changed AFTER UPDATE ON reviews
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, a.name, 'review ' || NEW.id, c.old, c.new
  FROM actor a, orders o, (SELECT
    CASE OLD.open WHEN 1 THEN 'open' ELSE coalesce(OLD.closed_reason, 'closed') END AS old,
    CASE NEW.open WHEN 1 THEN 'open' ELSE coalesce(NEW.closed_reason, 'closed') END AS new) c
  WHERE o.payment_intent_id = NEW.payment_intent_id AND c.old <> c.new;
END;

CREATE TRIGGER fraud_warnings_came AFTER INSERT ON fraud_warnings
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, a.name, 'fraud warning ' || NEW.id,
    CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
  FROM actor a, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER fraud_warnings_changed AFTER UPDATE ON fraud_warnings
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, a.name, 'fraud warning ' || NEW.id, c.old, c.new
  FROM actor a, orders o, (SELECT
    CASE OLD.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END AS old,
    CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END AS new) c
  WHERE o.payment_intent_id = NEW.payment_intent_id AND c.old <> c.new;
END;
