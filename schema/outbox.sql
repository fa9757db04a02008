-- Notifications for hooks. Those of an order's own change stand where the change is: events.sql,
-- orders.sql, fulfillment.sql.

-- What was held and is let go was never taken, so nothing is refunded.
CREATE TRIGGER refunds_notify AFTER INSERT ON refunds WHEN NEW.status = 'succeeded'
BEGIN
  INSERT INTO notify SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL);
END;

CREATE TRIGGER refunds_notify_later AFTER UPDATE ON refunds
  WHEN NEW.status = 'succeeded' AND (OLD.status <> NEW.status OR OLD.amount <> NEW.amount)
BEGIN
  INSERT INTO notify SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL)
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'refund:' || NEW.id);
END;

-- Hooks that were notified that money went back, or is on its way, are notified when it did not.
CREATE TRIGGER refunds_failed AFTER INSERT ON refunds WHEN NEW.status = 'failed'
BEGIN
  INSERT INTO notify SELECT 'order.refund_failed', o.id, 'refund_failed:' || NEW.id,
    coalesce(NEW.failed_at, NEW.created_at)
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

CREATE TRIGGER refunds_failed_later AFTER UPDATE OF status ON refunds
  WHEN NEW.status = 'failed' AND OLD.status <> 'failed'
BEGIN
  INSERT INTO notify SELECT 'order.refund_failed', o.id, 'refund_failed:' || NEW.id,
    coalesce(NEW.failed_at, NEW.created_at)
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'refund_failed:' || NEW.id);
END;

CREATE TRIGGER disputes_notify AFTER INSERT ON disputes
BEGIN
  INSERT INTO notify SELECT 'order.disputed', o.id, 'dispute:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;

-- What an operator does leads to three kinds of notifications; no other, and none that is not true.
CREATE TRIGGER outbox_insert BEFORE INSERT ON outbox
  WHEN EXISTS(SELECT 1 FROM outbox WHERE id = NEW.id OR key = NEW.key)
    OR ((SELECT is_person FROM actor)
      AND NOT EXISTS(SELECT 1 FROM fulfillments f
        WHERE f.id = NEW.fulfillment_id AND f.order_id = NEW.order_id
          AND NEW.topic = 'fulfillment.' || f.status
          AND (NEW.key = 'fulfillment:' || f.id || ':' || f.status
            OR EXISTS(SELECT 1 FROM outbox u WHERE u.outcome = 'undone'
              AND NEW.key = 'fulfillment:' || f.id || ':' || f.status || ':' ||
                (SELECT max(id) FROM outbox)))
          AND f.status <> 'pending'
          AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = f.id))
      AND NOT EXISTS(SELECT 1 FROM orders
        WHERE id = NEW.order_id AND canceled_at IS NOT NULL AND NEW.topic = 'order.canceled'
          AND (NEW.key = 'order:' || id || ':canceled'
            OR EXISTS(SELECT 1 FROM outbox u WHERE u.outcome = 'undone'
              AND NEW.key = 'order:' || NEW.order_id || ':canceled:' ||
                (SELECT max(id) FROM outbox))))
      AND NOT EXISTS(SELECT 1 FROM line_items
        WHERE order_id = NEW.order_id AND canceled_quantity > 0 AND NEW.topic = 'order.canceled'
          AND NEW.key = 'order:' || NEW.order_id || ':canceled:' ||
            strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
      AND NOT EXISTS(SELECT 1 FROM fulfillments f
        WHERE f.id = NEW.fulfillment_id AND f.order_id = NEW.order_id AND f.status = 'shipped'
          AND NEW.topic = 'fulfillment.updated'
          AND NEW.key = 'fulfillment:' || f.id || ':updated:' ||
            strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
BEGIN
  SELECT RAISE(ABORT,
    'outbox: written by the database; to run its hooks again: fulfilld hooks retry ID');
END;

CREATE TRIGGER outbox_outcome BEFORE UPDATE ON outbox
  WHEN (SELECT is_person FROM actor) AND (NEW.attempts <> OLD.attempts
    OR (NEW.next_attempt_at IS NOT NULL AND NEW.next_attempt_at IS NOT OLD.next_attempt_at)
    OR (NEW.last_error IS NOT OLD.last_error AND NEW.last_error IS NOT NULL)
    OR (NEW.outcome IS NOT OLD.outcome AND NEW.outcome IS NOT NULL AND NEW.outcome IS NOT 'again'))
BEGIN
  SELECT RAISE(ABORT,
    'outbox: fulfilld writes what came of it; yours is state: pending (notify its hooks again) or done (dealt with)');
END;

CREATE TRIGGER outbox_undone BEFORE UPDATE OF state ON outbox
  WHEN NEW.state = 'pending' AND OLD.outcome = 'undone'
BEGIN SELECT RAISE(ABORT, 'outbox: it was undone, so there is nothing to notify of'); END;

-- Made pending by hand: the hooks that gave up start anew, or all of them when each was notified.
CREATE TRIGGER outbox_again AFTER UPDATE OF state ON outbox
  WHEN NEW.state = 'pending' AND OLD.state <> 'pending'
BEGIN
  UPDATE outbox SET next_attempt_at = NULL, outcome = 'again', last_error = NULL WHERE id = NEW.id;
END;

-- The triggers' own: what Stripe reported goes into the outbox. What was fetched from Stripe's
-- lists and happened before this file was made is history, and no hook runs for it: so a shop's
-- past orders can be taken in.
CREATE VIEW notify AS SELECT topic, order_id, key, created_at AS happened_at FROM outbox WHERE 0;
CREATE TRIGGER notify_insert INSTEAD OF INSERT ON notify
  WHEN (SELECT is_person FROM actor) = 0
BEGIN
  INSERT INTO outbox(topic, order_id, key, state, outcome)
  SELECT NEW.topic, NEW.order_id, NEW.key, CASE WHEN past THEN 'done' ELSE 'pending' END,
    CASE WHEN past THEN 'past' END
  FROM (SELECT NEW.happened_at < (SELECT created_at FROM shop)
    AND EXISTS(SELECT 1 FROM events
      WHERE id = (SELECT substr(name, 8) FROM actor) AND source = 'backfill') AS past);
END;
