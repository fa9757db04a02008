-- The orders that no line was read of, or whose lines do not add up to their subtotal, from schema 3 on. Never changed.
CREATE TABLE unbalanced_orders(
  order_id   INTEGER PRIMARY KEY REFERENCES orders(id),
  lines      INTEGER NOT NULL,
  difference INTEGER NOT NULL
) STRICT;
INSERT INTO unbalanced_orders(order_id, lines, difference)
SELECT o.id, count(li.id), o.amount_subtotal - coalesce(sum(li.amount_subtotal), 0)
FROM orders o LEFT JOIN line_items li ON li.order_id = o.id
GROUP BY o.id HAVING count(li.id) = 0 OR o.amount_subtotal <> sum(li.amount_subtotal);
