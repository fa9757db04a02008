-- Parcels and what is in them: never more than was bought, and never less than is left.

-- Fulfillments: pending -> shipped | delivered | canceled; shipped -> delivered | canceled.
CREATE TRIGGER fulfillments_insert BEFORE INSERT ON fulfillments
BEGIN
  SELECT RAISE(ABORT, 'fulfillments: that id is taken; rows are never replaced')
    WHERE EXISTS(SELECT 1 FROM fulfillments WHERE id = NEW.id);
  SELECT RAISE(ABORT,
      'fulfillments: there is nothing more to send; what is left is in a pending one (ship_items splits it)')
    WHERE NEW.status <> 'pending' OR (NEW.replacement IS NULL
      AND NOT EXISTS(SELECT 1 FROM line_item_balance b JOIN orders o ON o.id = b.order_id
        WHERE o.id = NEW.order_id AND o.payment_status IN('paid', 'no_payment_required')
          AND o.canceled_at IS NULL
          AND b.requires_shipping = NEW.requires_shipping AND b.left_to_send > b.pending));
  SELECT RAISE(ABORT, 'fulfillments: nothing of the order has been sent that could be replaced')
    WHERE NEW.replacement IS NOT NULL AND NOT EXISTS(SELECT 1 FROM line_item_balance b
      WHERE b.order_id = NEW.order_id AND b.requires_shipping = NEW.requires_shipping
        AND b.sent > 0);
  SELECT RAISE(ABORT,
      'fulfillments: a new one is made now, and its other dates are set by changing the status')
    WHERE coalesce(NEW.shipped_at, NEW.delivered_at, NEW.canceled_at) IS NOT NULL
      OR ((SELECT is_person FROM actor)
          AND NEW.created_at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));
END;

CREATE TRIGGER fulfillments_dates BEFORE UPDATE OF shipped_at, delivered_at, canceled_at
  ON fulfillments
  WHEN (SELECT is_undo FROM actor) = 0
BEGIN
  SELECT RAISE(ABORT,
      'fulfillments: a date is set by changing the status; afterwards it may be corrected, not removed')
    WHERE (OLD.shipped_at IS NOT NULL AND NEW.shipped_at IS NULL)
      OR (OLD.delivered_at IS NOT NULL AND NEW.delivered_at IS NULL)
      OR (OLD.canceled_at IS NOT NULL AND NEW.canceled_at IS NULL)
      OR (NEW.shipped_at IS NOT NULL AND NEW.status NOT IN('shipped', 'delivered', 'canceled'))
      OR (NEW.delivered_at IS NOT NULL AND NEW.status <> 'delivered')
      OR (NEW.canceled_at IS NOT NULL AND NEW.status <> 'canceled');
  SELECT RAISE(ABORT,
      'fulfillments: a date is a time in UTC, e.g. strftime(''%Y-%m-%dT%H:%M:%SZ'', ''now'')')
    WHERE strftime('%Y-%m-%dT%H:%M:%SZ', NEW.shipped_at, '+0 days') IS NOT NEW.shipped_at
      OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.delivered_at, '+0 days') IS NOT NEW.delivered_at
      OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.canceled_at, '+0 days') IS NOT NEW.canceled_at
      OR min(coalesce(NEW.shipped_at, '0000'), coalesce(NEW.delivered_at, '0000'),
          coalesce(NEW.canceled_at, '0000')) < '0000';
END;

-- Where an order has a parcel, the number is the parcel's: its digital goods are passed over and
-- wait to be delivered.
CREATE TRIGGER fulfillments_tracking BEFORE UPDATE OF tracking_number ON fulfillments
  WHEN NEW.tracking_number IS NOT OLD.tracking_number
BEGIN
  SELECT RAISE(IGNORE) WHERE OLD.requires_shipping = 0 AND NEW.tracking_number IS NOT NULL
    AND EXISTS(SELECT 1 FROM fulfillments WHERE order_id = OLD.order_id AND requires_shipping = 1
      AND (status = 'pending'
          OR tracking_number = trim(NEW.tracking_number, (SELECT signs FROM blanks))));
END;

CREATE TRIGGER fulfillments_status BEFORE UPDATE OF status ON fulfillments
  WHEN NEW.status IS NOT OLD.status AND (SELECT is_undo FROM actor) = 0
BEGIN
  SELECT RAISE(ABORT,
      'fulfillments: pending may become shipped, delivered or canceled, shipped delivered or canceled; nothing else')
    WHERE NEW.status IS NULL
      OR NOT((OLD.status = 'pending' AND NEW.status IN('shipped', 'delivered', 'canceled'))
        OR (OLD.status = 'shipped' AND NEW.status IN('delivered', 'canceled')));
END;

-- What may not go out says why. The override is an author of its own, so that the history names it.
CREATE TRIGGER fulfillments_blocked BEFORE UPDATE OF status ON fulfillments
  WHEN OLD.status = 'pending' AND NEW.status IN('shipped', 'delivered')
    AND (SELECT is_undo OR name = 'operator-override' FROM actor) = 0
BEGIN
  SELECT CASE (SELECT blocked_by FROM order_blocks WHERE order_id = OLD.order_id)
    WHEN 'unpaid' THEN RAISE(ABORT,
        'fulfillments: the order is not paid; it can be sent once Stripe says that it is')
    WHEN 'canceled' THEN RAISE(ABORT,
        'fulfillments: the order is canceled; nothing of it can be sent')
    WHEN 'on hold' THEN RAISE(ABORT,
        'fulfillments: the order is on hold; first: INSERT INTO release VALUES(…)')
    WHEN 'disputed' THEN RAISE(ABORT,
        'fulfillments: the buyer disputes the payment; answer in Stripe''s Dashboard, and send it once it is won')
    WHEN 'dispute lost' THEN RAISE(ABORT,
      'fulfillments: the money went back to the buyer in a dispute; cancel it: INSERT INTO cancel VALUES(…, ''fraud'')')
    WHEN 'in review' THEN RAISE(ABORT,
        'fulfillments: Stripe holds the payment for review; approve it in the Dashboard first')
    WHEN 'refunded' THEN RAISE(ABORT,
        'fulfillments: all of the money is refunded; cancel it: INSERT INTO cancel VALUES(…, ''customer'')') END;
END;

CREATE TRIGGER fulfillments_moved AFTER UPDATE OF status ON fulfillments
  WHEN NEW.status <> OLD.status AND (SELECT is_undo FROM actor) = 0
BEGIN
  UPDATE fulfillments SET
    shipped_at = CASE WHEN NEW.status = 'shipped'
      THEN coalesce(shipped_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE shipped_at END,
    delivered_at = CASE WHEN NEW.status = 'delivered'
      THEN coalesce(delivered_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE delivered_at END,
    canceled_at = CASE WHEN NEW.status = 'canceled'
      THEN coalesce(canceled_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE canceled_at END
  WHERE id = NEW.id;
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.' || NEW.status, NEW.order_id, NEW.id,
    'fulfillment:' || NEW.id || ':' || NEW.status
    -- Done again after an undo, it has a key of its own, and hooks are notified again.
    || CASE WHEN EXISTS(SELECT 1 FROM outbox
        WHERE key = 'fulfillment:' || NEW.id || ':' || NEW.status)
      THEN ':' || (SELECT max(id) FROM outbox) ELSE '' END
  WHERE EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = NEW.id);
  -- What was in a canceled one is to be sent again, unless the order is canceled too.
  INSERT INTO settle(order_id) SELECT NEW.order_id
  WHERE NEW.status = 'canceled'
    AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = NEW.id);
END;

-- What is typed of a parcel is kept without the blanks around it, and what is empty is NULL. A
-- carrier's number is on one parcel, or on those of orders that go to one place: so a forgotten
-- WHERE changes nothing. The link follows the number. Of what is corrected on the way hooks are
-- notified once a statement.
CREATE TRIGGER fulfillments_typed AFTER UPDATE OF tracking_company, tracking_number, tracking_url,
  note ON fulfillments
BEGIN
  UPDATE fulfillments SET
    tracking_company = nullif(trim(tracking_company, b.signs), ''),
    tracking_number = nullif(trim(tracking_number, b.signs), ''),
    tracking_url = nullif(trim(tracking_url, b.signs), ''),
    note = nullif(trim(note, b.signs), '')
  FROM blanks b WHERE id = NEW.id AND (SELECT is_person FROM actor) AND (
    NEW.tracking_company IS NOT nullif(trim(NEW.tracking_company, b.signs), '')
    OR NEW.tracking_number IS NOT nullif(trim(NEW.tracking_number, b.signs), '')
    OR NEW.tracking_url IS NOT nullif(trim(NEW.tracking_url, b.signs), '')
    OR NEW.note IS NOT nullif(trim(NEW.note, b.signs), ''));
  -- The same statement has put it on another order's parcel.
  SELECT RAISE(ABORT,
      'fulfillments: one tracking number for several orders; a bulk UPDATE needs WHERE order_id = …')
    WHERE EXISTS(SELECT 1 FROM tracking_clashes c
        JOIN order_history h ON h.order_id = c.other_order_id
      WHERE c.fulfillment_id = NEW.id AND h.what GLOB 'fulfillment * tracking_number'
        AND h.new = NEW.tracking_number
        AND h.at || h.moment = strftime('%Y-%m-%dT%H:%M:%SZ%f', 'now'));
  SELECT RAISE(ABORT,
    'fulfillments: that is on a parcel of another order (SELECT order_id FROM fulfillments WHERE tracking_number = …)')
    WHERE EXISTS(SELECT 1 FROM tracking_clashes WHERE fulfillment_id = NEW.id);
  -- A link that was typed stays, unless it leads to the old number.
  UPDATE fulfillments SET tracking_url =
    coalesce((SELECT url FROM parcel_links WHERE fulfillment_id = NEW.id),
      CASE WHEN instr(OLD.tracking_url, OLD.tracking_number) > 0 THEN NULL ELSE tracking_url END)
  WHERE id = NEW.id AND (NEW.tracking_url IS OLD.tracking_url
      OR trim(coalesce(NEW.tracking_url, ''), (SELECT signs FROM blanks)) = '')
    AND (SELECT is_undo FROM actor) = 0
    AND (NEW.tracking_number IS NOT OLD.tracking_number
      OR NEW.tracking_company IS NOT OLD.tracking_company);
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.updated', NEW.order_id, NEW.id,
    'fulfillment:' || NEW.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  FROM blanks b
  WHERE OLD.status = 'shipped' AND NEW.status = 'shipped'
    AND (SELECT is_undo OR name = 'fulfilld:forget' FROM actor) = 0
    AND (nullif(trim(OLD.tracking_company, b.signs), '')
        IS NOT nullif(trim(NEW.tracking_company, b.signs), '')
      OR nullif(trim(OLD.tracking_number, b.signs), '')
        IS NOT nullif(trim(NEW.tracking_number, b.signs), '')
      -- The link that follows the number is no correction of its own.
      OR (nullif(trim(OLD.tracking_url, b.signs), '')
          IS NOT nullif(trim(NEW.tracking_url, b.signs), '')
        AND NEW.tracking_url IS NOT (SELECT url FROM parcel_links WHERE fulfillment_id = NEW.id)))
    AND NOT EXISTS(SELECT 1 FROM outbox
      WHERE key = 'fulfillment:' || NEW.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;

CREATE TRIGGER fulfillment_line_items_insert BEFORE INSERT ON fulfillment_line_items
BEGIN
  SELECT RAISE(ABORT, 'fulfillment_line_items: it is in there already; change its quantity')
    WHERE EXISTS(SELECT 1 FROM fulfillment_line_items
        WHERE fulfillment_id = NEW.fulfillment_id AND line_item_id = NEW.line_item_id);
  SELECT RAISE(ABORT,
      'fulfillment_line_items: the fulfillment is not a pending one of the same order and kind')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments f
      JOIN line_items li ON li.order_id = f.order_id AND li.requires_shipping = f.requires_shipping
      WHERE f.id = NEW.fulfillment_id AND f.status = 'pending' AND li.id = NEW.line_item_id);
  SELECT RAISE(ABORT, 'fulfillment_line_items: a fulfillment holds 1 or more of a line item')
    WHERE NEW.quantity < 1;
  SELECT RAISE(ABORT, 'fulfillment_line_items: more than is left (see order_lines)')
    WHERE (SELECT is_undo FROM actor) = 0 AND NEW.quantity >
      (SELECT CASE WHEN f.replacement IS NULL THEN b.left_to_send - b.pending ELSE b.sent END
        FROM line_item_balance b, fulfillments f
        WHERE b.line_item_id = NEW.line_item_id AND f.id = NEW.fulfillment_id);
END;

CREATE TRIGGER fulfillment_line_items_update BEFORE UPDATE ON fulfillment_line_items
BEGIN
  SELECT RAISE(ABORT,
      'fulfillment_line_items: only the quantity changes, and only while the fulfillment is pending')
    WHERE NEW.fulfillment_id <> OLD.fulfillment_id OR NEW.line_item_id <> OLD.line_item_id
      OR (SELECT status FROM fulfillments WHERE id = OLD.fulfillment_id) <> 'pending';
  SELECT RAISE(ABORT, 'fulfillment_line_items: more than is left (see order_lines)')
    WHERE NEW.quantity > OLD.quantity AND (SELECT is_undo FROM actor) = 0 AND NEW.quantity >
      (SELECT CASE WHEN f.replacement IS NULL THEN b.left_to_send - b.pending + OLD.quantity
          ELSE b.sent END
        FROM line_item_balance b, fulfillments f
        WHERE b.line_item_id = NEW.line_item_id AND f.id = NEW.fulfillment_id);
END;

CREATE TRIGGER fulfillment_line_items_delete BEFORE DELETE ON fulfillment_line_items
  WHEN (SELECT status FROM fulfillments WHERE id = OLD.fulfillment_id) <> 'pending'
BEGIN
  SELECT RAISE(ABORT,
    'fulfillment_line_items: that is sent or canceled already; out of a pending parcel it goes into another one');
END;

-- What is taken out of a pending parcel by hand, in part or as a whole, waits in another one. Out
-- of a replacement it goes for good.
CREATE TRIGGER fulfillment_line_items_split AFTER UPDATE OF quantity ON fulfillment_line_items
  WHEN NEW.quantity < OLD.quantity AND (SELECT is_undo FROM actor) = 0
BEGIN
  DELETE FROM fulfillment_line_items
    WHERE fulfillment_id = NEW.fulfillment_id AND line_item_id = NEW.line_item_id AND quantity = 0;
  INSERT INTO settle(order_id, not_into)
  SELECT order_id, id FROM fulfillments
  WHERE id = NEW.fulfillment_id AND replacement IS NULL;
END;

CREATE TRIGGER fulfillment_line_items_out AFTER DELETE ON fulfillment_line_items
  WHEN (SELECT is_undo FROM actor) = 0
BEGIN
  INSERT INTO settle(order_id, not_into)
  SELECT order_id, id FROM fulfillments
  WHERE id = OLD.fulfillment_id AND replacement IS NULL
    AND (SELECT left_to_send > pending FROM line_item_balance
      WHERE line_item_id = OLD.line_item_id);
  UPDATE fulfillments SET status = 'canceled'
  WHERE id = OLD.fulfillment_id AND replacement IS NOT NULL AND status = 'pending'
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = OLD.fulfillment_id);
END;

----------------------------------------------------------------------------------------------------
-- Verbs: one statement each, whole or not at all
----------------------------------------------------------------------------------------------------

-- The triggers' own: what is left to send of an order goes into a pending fulfillment, one a kind;
-- what is no longer left comes out. `not_into` names one that the rest must not go back to. It
-- changes nothing where nothing is wrong.
CREATE VIEW settle AS SELECT order_id, id AS not_into FROM fulfillments WHERE 0;

CREATE TRIGGER settle_insert INSTEAD OF INSERT ON settle
  WHEN EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND canceled_at IS NULL
    AND payment_status IN('paid', 'no_payment_required'))
BEGIN
  -- A parcel of which nothing is to be sent is canceled with all that is in it; out of others goes
  -- what is too much.
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL
    AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = fulfillments.id)
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl
      WHERE fl.fulfillment_id = fulfillments.id AND fl.quantity >
        (SELECT pending - left_to_send FROM line_item_balance b
          WHERE b.line_item_id = fl.line_item_id)
        - (SELECT coalesce(sum(n.quantity), 0)
          FROM fulfillment_line_items n JOIN fulfillments f ON f.id = n.fulfillment_id
          WHERE n.line_item_id = fl.line_item_id AND n.fulfillment_id > fl.fulfillment_id
            AND f.status = 'pending' AND f.replacement IS NULL));
  DELETE FROM fulfillment_line_items
  WHERE fulfillment_id IN(SELECT id FROM fulfillments
      WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL)
    -- From the newest parcel first: what those newer than this one hold goes before.
    AND quantity <=
      (SELECT pending - left_to_send FROM line_item_balance b
        WHERE b.line_item_id = fulfillment_line_items.line_item_id)
      - (SELECT coalesce(sum(n.quantity), 0)
        FROM fulfillment_line_items n JOIN fulfillments f ON f.id = n.fulfillment_id
        WHERE n.line_item_id = fulfillment_line_items.line_item_id
          AND n.fulfillment_id > fulfillment_line_items.fulfillment_id
          AND f.status = 'pending' AND f.replacement IS NULL);
  UPDATE fulfillment_line_items
  SET quantity = quantity - (SELECT pending - left_to_send FROM line_item_balance b
      WHERE b.line_item_id = fulfillment_line_items.line_item_id)
  WHERE fulfillment_id IN(SELECT id FROM fulfillments
      WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL)
    AND (SELECT pending > left_to_send AND pending - left_to_send < fulfillment_line_items.quantity
      FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id);
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = fulfillments.id);

  INSERT INTO fulfillments(order_id, requires_shipping)
  SELECT DISTINCT b.order_id, b.requires_shipping FROM line_item_balance b
  WHERE b.order_id = NEW.order_id AND b.left_to_send > b.pending
    AND NOT EXISTS(SELECT 1 FROM fulfillments f
      WHERE f.order_id = b.order_id AND f.status = 'pending' AND f.replacement IS NULL
        AND f.requires_shipping = b.requires_shipping AND f.id IS NOT NEW.not_into)
  ORDER BY b.requires_shipping DESC;
  UPDATE fulfillment_line_items
  SET quantity = quantity + (SELECT left_to_send - pending FROM line_item_balance b
      WHERE b.line_item_id = fulfillment_line_items.line_item_id)
  WHERE fulfillment_id IN(SELECT max(id) FROM fulfillments
      WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL
        AND id IS NOT NEW.not_into
      GROUP BY requires_shipping)
    AND (SELECT left_to_send > pending FROM line_item_balance b
      WHERE b.line_item_id = fulfillment_line_items.line_item_id);
  INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity)
  SELECT
    (SELECT max(id) FROM fulfillments f
      WHERE f.order_id = b.order_id AND f.status = 'pending' AND f.replacement IS NULL
        AND f.requires_shipping = b.requires_shipping AND f.id IS NOT NEW.not_into),
    b.line_item_id, b.left_to_send - b.pending
  FROM line_item_balance b WHERE b.order_id = NEW.order_id AND b.left_to_send > b.pending;
END;

-- The triggers' own: of a pending parcel only so much stays; the rest waits in another one.
-- `wanted` is a JSON object of positions and quantities, null for all of it.
CREATE VIEW part AS SELECT id AS fulfillment_id, '{}' AS wanted FROM fulfillments WHERE 0;

CREATE TRIGGER part_insert INSTEAD OF INSERT ON part
BEGIN
  UPDATE fulfillment_line_items SET quantity =
    coalesce((SELECT coalesce(w.value, fulfillment_line_items.quantity)
      FROM json_each(NEW.wanted) w JOIN line_items li ON li.position = CAST(w.key AS INTEGER)
      WHERE li.id = fulfillment_line_items.line_item_id), 0)
  WHERE fulfillment_id = NEW.fulfillment_id;
END;

-- The triggers' own: which lines of an order a verb is about. `wanted` is as in `part`.
CREATE VIEW wanted_lines AS
SELECT '' AS verb, order_id, '{}' AS wanted, tracking_company, tracking_number, tracking_url,
  replacement AS reason
FROM fulfillments WHERE 0;

CREATE TRIGGER ship_wanted_insert INSTEAD OF INSERT ON wanted_lines WHEN NEW.verb = 'ship'
BEGIN
  SELECT RAISE(ABORT,
      'ship_items: not so much of that waits for a parcel (see position and left_to_send in order_lines)')
    WHERE EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
      WHERE NOT EXISTS(SELECT 1
        FROM line_items li JOIN line_item_balance b ON b.line_item_id = li.id
        WHERE li.order_id = NEW.order_id AND li.position = CAST(w.key AS INTEGER)
          AND li.requires_shipping = 1 AND b.pending >= coalesce(w.value, 1)));
  SELECT RAISE(ABORT,
      'ship_items: that waits in several parcels (see to_ship): INSERT INTO ship_parcel VALUES(fulfillment_id, …)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments f
      WHERE f.order_id = NEW.order_id AND f.status = 'pending' AND f.replacement IS NULL
        AND NOT EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
          WHERE NOT EXISTS(SELECT 1
            FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
            WHERE fl.fulfillment_id = f.id AND li.position = CAST(w.key AS INTEGER)
              AND fl.quantity >= coalesce(w.value, 1))));
  INSERT INTO ship_part
  SELECT min(f.id), NEW.wanted, NEW.tracking_company, NEW.tracking_number, NEW.tracking_url
  FROM fulfillments f
  WHERE f.order_id = NEW.order_id AND f.status = 'pending' AND f.replacement IS NULL
    AND NOT EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
      WHERE NOT EXISTS(SELECT 1
        FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
        WHERE fl.fulfillment_id = f.id AND li.position = CAST(w.key AS INTEGER)
          AND fl.quantity >= coalesce(w.value, 1)));
END;

CREATE TRIGGER reship_wanted_insert INSTEAD OF INSERT ON wanted_lines WHEN NEW.verb = 'reship'
BEGIN
  SELECT RAISE(ABORT,
      'reship: not so much of that has been sent (see position and sent in order_lines)')
    WHERE EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
      WHERE NOT EXISTS(SELECT 1
        FROM line_items li JOIN line_item_balance b ON b.line_item_id = li.id
        WHERE li.order_id = NEW.order_id AND li.position = CAST(w.key AS INTEGER)
          AND li.requires_shipping = 1 AND b.sent >= coalesce(w.value, 1)));
  INSERT INTO reship VALUES(NEW.order_id, NEW.reason);
  INSERT INTO part SELECT max(id), NEW.wanted FROM fulfillments WHERE order_id = NEW.order_id;
END;

CREATE VIEW ship_part AS
SELECT id AS fulfillment_id, '{}' AS wanted, tracking_company, tracking_number, tracking_url
FROM fulfillments WHERE 0;

CREATE TRIGGER ship_part_insert INSTEAD OF INSERT ON ship_part
BEGIN
  INSERT INTO part VALUES(NEW.fulfillment_id, NEW.wanted);
  INSERT INTO ship_parcel
    VALUES(NEW.fulfillment_id, NEW.tracking_company, NEW.tracking_number, NEW.tracking_url);
END;

-- The triggers' own: reads a list of positions and quantities, or refuses what is none.
CREATE VIEW wanted AS
SELECT '' AS verb, order_id, '' AS items, tracking_company, tracking_number, tracking_url,
  replacement AS reason
FROM fulfillments WHERE 0;

CREATE TRIGGER wanted_insert INSTEAD OF INSERT ON wanted
BEGIN
  SELECT RAISE(ABORT,
      'items: name positions of order_lines, each once: ''1,2x3'' is all of line 1 and three of line 2')
    WHERE coalesce(NEW.items GLOB '*[^0-9x, ]*' OR NEW.items NOT GLOB '*[0-9]*', 1);
  SELECT RAISE(ABORT,
      'items: name positions of order_lines, each once: ''1,2x3'' is all of line 1 and three of line 2')
    WHERE EXISTS(SELECT 1
        FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j
        WHERE length(j.value) > 15 OR j.value GLOB 'x*' OR j.value GLOB '*x' OR j.value GLOB '*x*x*'
          OR j.value NOT GLOB '*[0-9]*'
          OR (instr(j.value, 'x') > 0
            AND CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) = 0))
      OR (SELECT count(DISTINCT CAST(j.value AS INTEGER)) < count(*)
        FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j);
  INSERT INTO wanted_lines
  SELECT NEW.verb, NEW.order_id,
    (SELECT json_group_object(CAST(CAST(j.value AS INTEGER) AS TEXT),
        CASE WHEN instr(j.value, 'x') > 0
          THEN CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) END)
      FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j),
    NEW.tracking_company, NEW.tracking_number, NEW.tracking_url, NEW.reason;
END;

CREATE TRIGGER fulfillments_created AFTER INSERT ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' status', NEW.status FROM actor;
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' replacement', NEW.replacement
  FROM actor WHERE NEW.replacement IS NOT NULL;
  -- A replacement begins with everything that was sent; a quantity may be lowered.
  INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity)
  SELECT NEW.id, line_item_id, sent FROM line_item_balance
  WHERE NEW.replacement IS NOT NULL AND order_id = NEW.order_id
    AND requires_shipping = NEW.requires_shipping AND sent > 0;
END;

CREATE TRIGGER fulfillment_line_items_changed AFTER UPDATE OF quantity ON fulfillment_line_items
  WHEN NEW.quantity <> OLD.quantity
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || NEW.line_item_id,
    OLD.quantity, nullif(NEW.quantity, 0)
  FROM actor, fulfillments f WHERE f.id = NEW.fulfillment_id;
END;

-- What goes in and out is history too, so that undo can put it back; what a new order begins with
-- is what was bought.
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
