-- A shop with an order of every kind, written as the daemon writes and as an operator goes on. Order 16 has the session cs_16,
-- the payment pi_16 and the lines li_16_1, li_16_2 …

BEGIN;
INSERT INTO shop VALUES(1, 0, '2026-11-01T00:00:00Z');
UPDATE actor SET name = 'stripe:evt_made';

INSERT INTO events(id, type, object_id, shape, payload, source, received_at, state, attempts)
VALUES('evt_1', 'checkout.session.completed', 'cs_1', 'snapshot', '{}', 'webhook', '2026-11-20T08:00:00Z', 'done', 1),
  ('evt_2', 'refund.created', 're_8', 'thin', '{}', 'webhook', '2026-11-20T08:00:00Z', 'pending', 0),
  ('evt_3', 'checkout.session.completed', 'cs_x', 'thin', '{}', 'webhook', '2026-11-20T08:00:00Z', 'pending', 7),
  ('evt_4', 'product.created', 'prod_1', 'snapshot', NULL, 'backfill', '2026-11-20T08:00:00Z', 'ignored', 1);
UPDATE events SET state = 'failed', state_reason = 'Stripe answered 404' WHERE id = 'evt_3';

-- Before their orders, 23 and none.
INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
VALUES('re_23', 'pi_23', 300, 'eur', 'succeeded', '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z'),
  ('re_99', 'pi_99', 300, 'eur', 'pending', '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z');
INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of)
VALUES('dp_23', 'pi_23', 300, 'eur', 'won', '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z');
INSERT INTO reviews(id, payment_intent_id, open, closed_reason, created_at, as_of)
VALUES('prv_23', 'pi_23', 0, 'approved', '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z');
INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, as_of)
VALUES('issfr_23', 'pi_23', 0, '2026-11-20T09:00:00Z', '2026-11-20T09:00:00Z');

-- 7 was free, 21 is a subscription, 24 does not know its payment yet.
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_subtotal,
  amount_total, email, name, shipping_name, shipping_line1, shipping_city, shipping_country, created_at, as_of)
WITH RECURSIVE n(id) AS (VALUES(1) UNION ALL SELECT id + 1 FROM n WHERE id < 24)
SELECT id, 'cs_' || id, CASE WHEN id NOT IN(7, 21, 24) THEN 'pi_' || id END, 0,
  CASE id WHEN 21 THEN 'subscription' ELSE 'payment' END, 'unpaid', 'eur', total, total,
  'ada@example.com', 'Ada', 'Ada', (12 + id / 3) || ' Rue Exemple', 'Paris', 'FR', '2026-11-20T08:00:00Z', '2026-11-20T08:00:01.000000Z'
FROM (SELECT id, CASE id WHEN 7 THEN 0 ELSE 1000 END AS total FROM n);

INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_total, requires_shipping)
WITH l(order_id, position, quantity, requires_shipping) AS (VALUES
  (1, 1, 1, 1), (2, 1, 3, 1), (2, 2, 2, 1), (3, 1, 1, 0), (4, 1, 2, 1), (4, 2, 1, 0), (4, 3, 1, 1), (5, 1, 2, 1), (6, 1, 1, 1),
  (7, 1, 1, 1), (7, 2, 2, 0), (8, 1, 2, 1), (9, 1, 1, 1), (10, 1, 1, 1), (11, 1, 2, 1), (11, 2, 1, 0), (12, 1, 1, 1),
  (13, 1, 1, 1), (14, 1, 1, 1), (15, 1, 1, 1), (16, 1, 2, 1), (16, 2, 1, 0), (17, 1, 2, 1), (18, 1, 2, 1), (18, 2, 1, 0),
  (19, 1, 1, 1), (20, 1, 4, 1), (20, 2, 2, 1), (21, 1, 1, 1), (21, 2, 3, 0), (23, 1, 3, 1), (24, 1, 2, 1))
SELECT 'li_' || order_id || '_' || position, order_id, position, 'Mug', quantity, 'eur', 100, requires_shipping FROM l;

UPDATE orders SET line_items_at = '2026-11-20T08:00:01Z',
  paid_at = CASE WHEN id NOT IN(5, 6, 24) THEN '2026-11-20T08:00:00Z' END,
  payment_status = CASE WHEN id IN(5, 24) THEN 'unpaid' WHEN id = 6 THEN 'failed' WHEN id = 7 THEN 'no_payment_required' ELSE 'paid' END;

INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT 're_' || column1, 'pi_' || column1, column2, 'eur', column3, '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z'
FROM (VALUES(8, 400, 'succeeded'), (9, 1000, 'succeeded'), (10, 1000, 'pending'), (12, 1000, 'failed'));
INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT 'dp_' || column1, 'pi_' || column1, 1000, 'eur', column2, '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z'
FROM (VALUES(11, 'needs_response'), (12, 'won'), (13, 'lost'));
INSERT INTO reviews(id, payment_intent_id, open, closed_reason, created_at, as_of)
SELECT 'prv_' || column1, 'pi_' || column1, column2, column3, '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z'
FROM (VALUES(14, 1, NULL), (15, 0, 'approved'));
INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, as_of)
VALUES('issfr_2', 'pi_2', 1, '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z');
INSERT INTO sweeps VALUES('events', strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-2 hours')),
  ('sessions', strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-2 days'));
INSERT INTO hook_runs(outbox_id, target, next_attempt_at) SELECT id, '/opt/other', '2026-11-21T09:00:00Z' FROM outbox LIMIT 3;
INSERT INTO alarms VALUES('silence', 'nothing has come for a day', 'fulfilld doctor', '2026-11-20T08:00:00Z', '');

UPDATE actor SET name = 'operator';
INSERT INTO cancel VALUES(16, 'customer');
INSERT INTO hold VALUES(17, 'asks for another color');
INSERT INTO ship VALUES(18, 'DHL', 'JD18', NULL), (19, 'UPS', '1Z19', NULL);
INSERT INTO deliver VALUES(19);
UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_20_1';
UPDATE fulfillments SET status = 'shipped', tracking_number = 'JD20' WHERE id = (SELECT min(id) FROM fulfillments WHERE order_id = 20);
COMMIT;
