-- A shop of some years, as the daemon and the triggers would have left it (a test compares): $ORDERS
-- orders of three lines, the last $WAITING not sent yet, refunds on 5 %, disputes on 1 %, $EVENTS
-- events in the same time, of which those of the last 90 days still have their body. Runs without
-- triggers, in a file that has no orders yet. Ids are as Stripe makes them: a session's is
-- random, the others grow. LIMIT -1 has SQLite work out a row's time and number once.
UPDATE sequence SET n = n + $EVENTS + $ORDERS;
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
  amount_subtotal, amount_total, client_reference_id, name, email, phone, shipping_name, shipping_line1,
  shipping_city, shipping_postal_code, shipping_country, created_at, paid_at, line_items_at, as_of, asked)
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < $ORDERS)
SELECT i, printf('cs_test_a1%08x%08xQpZ3vLkT9mN2cXbR7yWd', r, i), printf('pi_3%09d%08xQpZ', i, r), 0, 'payment', 'paid',
  'eur', 300, 300, CASE WHEN i % 2 = 0 THEN printf('cart-%08x', r) END, printf('Ada %08x', r),
  printf('ada.%08x@example.com', r), printf('+33 6 %08d', r % 100000000), printf('Ada %08x', r),
  (r % 400) || ' Rue Exemple', 'Lyon', printf('690%02d', r % 100), 'FR', at, at, at, at, i
FROM (SELECT i, (i * 2654435761) % 4294967296 AS r,
    strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-4 hours', (2 * (i - $ORDERS)) || ' minutes') AS at FROM n LIMIT -1);
INSERT INTO line_items(id, order_id, position, price_id, product_id, sku, name, quantity, currency, unit_amount,
  amount_subtotal, amount_total, requires_shipping)
SELECT printf('li_1%09d%d', id, column1), id, column1, 'price_1Mug', 'prod_Mug',
  printf('MUG-%03d', (id + column1) % 500),
  'Mug', 2, 'eur', 50, 100, 100, 1 FROM orders, (VALUES(1), (2), (3));
INSERT INTO fulfillments(id, order_id, status, tracking_company, tracking_number, tracking_url, created_at, shipped_at)
SELECT id, id, 'shipped', 'DHL', printf('JD%016d', id), printf('https://dhl.example/JD%016d', id),
  created_at, created_at
FROM orders WHERE id <= $ORDERS - $WAITING;
INSERT INTO fulfillments(id, order_id, created_at) SELECT id, id, created_at FROM orders WHERE id > $ORDERS - $WAITING;
INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity) SELECT order_id, id, 2 FROM line_items;
INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT printf('re_3%09d', id), payment_intent_id, 100, 'eur', 'succeeded', created_at, as_of FROM orders
WHERE id % 20 = 0;
INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT printf('dp_1%09d', id), payment_intent_id, 300, 'eur', 'won', created_at, as_of FROM orders WHERE id % 100 = 1;
INSERT INTO order_history(order_id, actor, what, old, new, at, moment)
SELECT id, iif(step BETWEEN 4 AND 8, 'operator', 'stripe:evt_bench'),
  CASE WHEN step = 9 THEN printf('refund re_3%09d', id) WHEN step = 10 THEN printf('dispute dp_1%09d', id)
    ELSE replace(what, '#', id) END,
  old, CASE step WHEN 6 THEN printf('JD%016d', id) WHEN 7 THEN printf('https://dhl.example/JD%016d', id)
    WHEN 8 THEN created_at ELSE new END, created_at, '00.000'
FROM orders CROSS JOIN (SELECT column1 AS step, column2 AS what, column3 AS old, column4 AS new FROM (VALUES
  (1, 'order', NULL, 'unpaid'), (2, 'payment_status', 'unpaid', 'paid'), (3, 'fulfillment # status', NULL, 'pending'),
  (4, 'fulfillment # status', 'pending', 'shipped'), (5, 'fulfillment # tracking_company', NULL, 'DHL'),
  (6, 'fulfillment # tracking_number', NULL, NULL), (7, 'fulfillment # tracking_url', NULL, NULL),
  (8, 'fulfillment # shipped_at', NULL, NULL), (9, NULL, NULL, 'succeeded 100'), (10, NULL, NULL, 'won')))
WHERE step <= 3 OR (step <= 8 AND id <= $ORDERS - $WAITING) OR (step = 9 AND id % 20 = 0)
  OR (step = 10 AND id % 100 = 1);
INSERT INTO outbox(topic, order_id, fulfillment_id, key, state, outcome, created_at)
SELECT topic, id, iif(step = 2, id, NULL),
  CASE step WHEN 1 THEN 'order:' || id || ':paid' WHEN 2 THEN 'fulfillment:' || id || ':shipped'
    WHEN 3 THEN printf('refund:re_3%09d', id) ELSE printf('dispute:dp_1%09d', id) END,
  'done', 'no_hook', created_at
FROM orders CROSS JOIN (SELECT column1 AS step, column2 AS topic FROM (VALUES
  (1, 'order.paid'), (2, 'fulfillment.shipped'), (3, 'order.refunded'), (4, 'order.disputed')))
WHERE step = 1 OR (step = 2 AND id <= $ORDERS - $WAITING) OR (step = 3 AND id % 20 = 0)
  OR (step = 4 AND id % 100 = 1);
INSERT INTO events(id, type, object_id, created, livemode, api_version, shape, payload, source, received_at, seq,
  state, state_reason, attempts, next_attempt_at, processed_at)
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < $EVENTS)
SELECT printf('evt_1%010d%08xQpZ', i, r),
  CASE i % 3 WHEN 0 THEN 'checkout.session.completed' ELSE 'charge.succeeded' END,
  printf('cs_test_a1%08x%08xQpZ3vLkT9mN2cXbR7yWd', r, i), at, 0, '2026-09-30.clover', 'snapshot',
  CASE WHEN at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-90 days')
    THEN printf('{"id":"evt_1","object":"event","filler":"%.4200c"}', 'x') END,
  'webhook', at, i, CASE i % 3 WHEN 0 THEN 'done' ELSE 'ignored' END,
  CASE i % 3 WHEN 0 THEN NULL ELSE 'no handler for this type' END, 1, NULL, at
FROM (SELECT i, (i * 2654435761) % 4294967296 AS r,
    strftime('%Y-%m-%dT%H:%M:%SZ', 'now',
      ((i - $EVENTS) * 120 * $ORDERS / $EVENTS) || ' seconds') AS at FROM n LIMIT -1);
