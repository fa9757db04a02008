-- What a matter stood on that was dismissed before schema 3, by the sentence of then: `facts` was `since`, a blank, the
-- sentence. Where the rows that it was about say something else by now, it is [], and the matter is shown again. Never
-- changed.
SELECT coalesce(CASE reason
  WHEN 'sums_differ' THEN (
    SELECT json_array(amount_total, amount_subtotal, amount_discount, amount_shipping, amount_tax)
    FROM orders o WHERE o.id = d.order_id)
  WHEN 'held' THEN json_array(substr(what, length('on hold for more than a week: ') + 1))
  WHEN 'capture_due' THEN (
    SELECT json_array(capture_before) FROM orders o
    WHERE o.id = d.order_id AND instr(what, coalesce(' until ' || capture_before, '')) > 0)
  WHEN 'paid_twice' THEN json_array(CAST(substr(what, length('order ') + 1) AS INTEGER))
  WHEN 'partly_refunded' THEN (
    SELECT json_array(
      (SELECT coalesce(sum(r.amount), 0) FROM refunds r
       WHERE r.payment_intent_id = o.payment_intent_id AND r.status NOT IN('failed', 'canceled')
         AND NOT(o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL AND r.status = 'succeeded'
           AND r.created_at <= coalesce(o.paid_at, '9'))),
      (SELECT coalesce(sum(x.amount_lost), 0) FROM disputes x WHERE x.payment_intent_id = o.payment_intent_id),
      (SELECT coalesce(sum(x.amount), 0) FROM disputes x WHERE x.payment_intent_id = o.payment_intent_id
         AND x.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')))
    FROM orders o
    WHERE o.id = d.order_id AND NOT EXISTS(SELECT 1 FROM order_history h WHERE h.order_id = o.id AND h.at > d.at
      AND (h.what GLOB 'refund *' OR h.what GLOB 'dispute *')))
  WHEN 'canceled_not_refunded' THEN CASE what
    WHEN 'canceled, and the buyer''s money is not refunded' THEN '[1]'
    WHEN 'canceled, and the buyer''s money is still held' THEN '[0]' ELSE '[]' END
  WHEN 'refund_failed' THEN (
    SELECT json_array(status, failure_reason) FROM refunds r
    WHERE r.id = d.subject AND instr(what, '(' || coalesce(failure_reason, status) || ')') > 0)
  WHEN 'refund_unknown' THEN (
    SELECT json_array(status) FROM refunds r
    WHERE r.id = d.subject AND instr(what, ' ' || status || ', a word ') > 0)
  WHEN 'dispute_due' THEN (
    SELECT json_array(status, reason, evidence_due_by) FROM disputes x
    WHERE x.id = d.subject AND instr(what, '(' || coalesce(x.reason, 'no reason') || ')') > 0
      AND instr(what, 'answer ' || coalesce('by ' || evidence_due_by, 'soon')) > 0)
  WHEN 'in_review' THEN (
    SELECT json_array(open, closed_reason) FROM reviews w
    WHERE w.id = d.subject AND CASE open WHEN 1 THEN what GLOB 'Stripe holds *'
      ELSE what = 'a review ended with: ' || coalesce(closed_reason, 'no reason') END)
  WHEN 'fraud_warning' THEN (
    SELECT json_array(fraud_type) FROM fraud_warnings w
    WHERE w.id = d.subject AND instr(what, '(' || coalesce(fraud_type, 'no type') || ')') > 0)
  WHEN 'event_failed' THEN (
    SELECT json_array(seq) FROM events e
    WHERE e.id = d.subject AND what = e.type || ': ' || coalesce(state_reason, 'no reason'))
  WHEN 'event_stuck' THEN (SELECT json_array(seq) FROM events e WHERE e.id = d.subject)
  WHEN 'hook_dead' THEN (
    SELECT json_array(attempts) FROM outbox x
    WHERE coalesce(x.event_id, 'news ' || x.id) = d.subject AND x.state = 'dead'
      AND what = 'a hook for ' || x.topic || ' gave up: ' || coalesce(x.last_error, 'no reason'))
  WHEN 'unsent' THEN '[]' WHEN 'no_address' THEN '[]' WHEN 'no_lines' THEN '[]'
  WHEN 'authorization_ended' THEN '[]' WHEN 'refunded_not_canceled' THEN '[]'
  WHEN 'refunded_after_shipping' THEN '[]' WHEN 'dispute_lost' THEN '[]' WHEN 'hook_fails' THEN '[]'
  -- An alarm: nothing of it was told apart.
  ELSE '[""]' END, '[]')
FROM (SELECT reason, subject, order_id, at, substr(facts, instr(facts, ' ') + 1) AS what) d
