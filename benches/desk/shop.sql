-- A shop of some years, as the daemon and the triggers would have left it: $ORDERS orders of three lines, the last
-- $WAITING not sent yet, refunds on 5 %, disputes on 1 %, $EVENTS events, of which the last $BODIES still have
-- their body. Runs without triggers, in a file that has no orders yet. Ids are as Stripe makes them: a session's is
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
SELECT printf('li_1%09d%d', id, column1), id, column1, 'price_1Mug', 'prod_Mug', printf('MUG-%03d', (id + column1) % 500),
  'Mug', 2, 'eur', 50, 100, 100, 1 FROM orders, (VALUES(1), (2), (3));
INSERT INTO fulfillments(id, order_id, status, tracking_company, tracking_number, tracking_url, created_at, shipped_at)
SELECT id, id, 'shipped', 'DHL', printf('JD%016d', id), printf('https://dhl.example/JD%016d', id), created_at, created_at
FROM orders WHERE id <= $ORDERS - $WAITING;
INSERT INTO fulfillments(id, order_id, created_at) SELECT id, id, created_at FROM orders WHERE id > $ORDERS - $WAITING;
INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity) SELECT order_id, id, 2 FROM line_items;
INSERT INTO order_history(order_id, actor, what, old, new, at, moment)
SELECT id, CASE column1 WHEN 1 THEN 'operator' ELSE 'stripe:evt_bench' END, column2, column3, column4, created_at, '00.000'
FROM orders, (VALUES(0, 'order', NULL, 'paid'), (0, 'fulfillment 1 status', NULL, 'pending'),
  (1, 'fulfillment 1 status', 'pending', 'shipped'), (1, 'fulfillment 1 tracking_number', NULL, 'JD1'));
INSERT INTO outbox(topic, order_id, key, state, outcome, created_at)
SELECT column1, id, column1 || ':' || id, 'done', 'no_hook', created_at
FROM orders, (VALUES('order.paid'), ('fulfillment.shipped'));
INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT printf('re_3%09d', id), payment_intent_id, 100, 'eur', 'succeeded', created_at, as_of FROM orders
WHERE id % 20 = 0;
INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT printf('dp_1%09d', id), payment_intent_id, 300, 'eur', 'won', created_at, as_of FROM orders WHERE id % 100 = 1;
INSERT INTO events(id, type, object_id, created, livemode, api_version, shape, payload, source, received_at, seq,
  state, state_reason, attempts, next_attempt_at, processed_at)
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < $EVENTS)
SELECT printf('evt_1%010d%08xQpZ', i, r), CASE i % 3 WHEN 0 THEN 'checkout.session.completed' ELSE 'charge.succeeded' END,
  printf('cs_test_a1%08x%08xQpZ3vLkT9mN2cXbR7yWd', r, i), at, 0, '2026-09-30.clover', 'snapshot',
  CASE WHEN i > $EVENTS - $BODIES THEN printf('{"id":"evt_1","object":"event","filler":"%.4200c"}', 'x') END,
  'webhook', at, i, CASE i % 3 WHEN 0 THEN 'done' ELSE 'ignored' END,
  CASE i % 3 WHEN 0 THEN NULL ELSE 'no handler for this type' END, 1, NULL, at
FROM (SELECT i, (i * 2654435761) % 4294967296 AS r,
    strftime('%Y-%m-%dT%H:%M:%SZ', 'now', (10 * (i - $EVENTS)) || ' seconds') AS at FROM n LIMIT -1);
