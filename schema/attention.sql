-- What is dismissed is something that `attention` shows, and the history of its order names who did
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

CREATE TRIGGER dismissals_recorded AFTER INSERT ON dismissals WHEN NEW.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  VALUES(NEW.order_id, NEW.actor, 'attention ' || NEW.reason || ' ' || NEW.subject,
    NEW.since || ' ' || NEW.what);
END;

CREATE TRIGGER dismissals_undone AFTER DELETE ON dismissals WHEN OLD.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, old)
  SELECT OLD.order_id, name, 'attention ' || OLD.reason || ' ' || OLD.subject,
    OLD.since || ' ' || OLD.what
  FROM actor;
END;
