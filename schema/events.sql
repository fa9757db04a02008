-- Events: the same id again is a success that changes nothing; what was received stays as it was.

CREATE TRIGGER events_place BEFORE UPDATE ON events WHEN NEW.rowid <> OLD.rowid OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'events: a row keeps its id and its place'); END;

-- A row has more names than its id: rowid, oid and _rowid_ lead to it too, and no UPDATE OF names
-- them. So what guards a row's place looks at all updates, and at the rowid that an insert brings.
CREATE TRIGGER events_insert BEFORE INSERT ON events
  WHEN EXISTS(SELECT 1 FROM events WHERE id = NEW.id)
    OR EXISTS(SELECT 1 FROM events WHERE rowid = NEW.rowid)
    OR (NEW.state = 'pending' AND NEW.next_attempt_at IS NULL)
    OR ((SELECT is_person FROM actor)
      AND (NEW.state IS NOT 'pending' OR NEW.seq NOT IN(0, (SELECT n FROM sequence))
          OR NEW.attempts <> 0 OR NEW.crashes <> 0 OR NEW.taken_at IS NOT NULL))
BEGIN
  SELECT RAISE(IGNORE) WHERE EXISTS(SELECT 1 FROM events WHERE id = NEW.id);
  SELECT RAISE(ABORT, 'events: rows are never replaced')
    WHERE EXISTS(SELECT 1 FROM events WHERE rowid = NEW.rowid);
  SELECT RAISE(ABORT,
      'events: a new one is pending, due and not tried yet; its seq comes by itself, the rest from Stripe');
END;

-- A row that came without its number gets the next one.
CREATE TRIGGER events_numbered AFTER INSERT ON events WHEN NEW.seq = 0
BEGIN
  UPDATE sequence SET n = n + 1;
  UPDATE events SET seq = (SELECT n FROM sequence) WHERE id = NEW.id;
END;

CREATE TRIGGER events_seq BEFORE UPDATE OF seq ON events
  WHEN NEW.seq IS NOT (SELECT n FROM sequence)
BEGIN SELECT RAISE(ABORT, 'events: an event keeps its place in the sequence'); END;

-- A number that cannot be counted on, or no time to be due at, would keep it waiting for good.
CREATE TRIGGER events_tries BEFORE UPDATE OF attempts, crashes, panics, next_attempt_at ON events
  WHEN NEW.attempts NOT IN(0, OLD.attempts, OLD.attempts + 1)
    OR NEW.crashes NOT IN(0, min(OLD.crashes, 3), OLD.crashes, OLD.crashes + 1)
    OR NEW.panics NOT IN(0, OLD.panics, OLD.panics + 1)
    OR (NEW.state = 'pending' AND NEW.next_attempt_at IS NULL AND OLD.next_attempt_at IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT,
    'events: fulfilld counts its tries; to process it again: UPDATE events SET state = ''pending'' WHERE id = …');
END;

CREATE TRIGGER sequence_forward BEFORE UPDATE ON sequence
  WHEN NEW.one <> OLD.one OR NEW.n <= OLD.n
    OR ((SELECT is_person FROM actor) AND NEW.n <> OLD.n + 1)
BEGIN
  SELECT RAISE(ABORT, 'sequence: it goes forward by one; nothing here is for people to change');
END;

CREATE TRIGGER events_state BEFORE UPDATE OF state ON events
  WHEN (SELECT is_person FROM actor) AND NEW.state <> OLD.state
    AND NEW.state NOT IN('pending', 'ignored')
BEGIN
  SELECT RAISE(ABORT,
    'events: the shell may set state to pending (process it again) or to ignored (it is dealt with)');
END;

-- Made pending: it gets a new number, so that no answer to an earlier request finishes it; it
-- starts anew and is due now. One that a worker has is due when that one is through.
CREATE TRIGGER events_replay AFTER UPDATE OF state ON events WHEN NEW.state = 'pending'
BEGIN
  UPDATE sequence SET n = n + 1;
  UPDATE events SET seq = (SELECT n FROM sequence) WHERE id = NEW.id;
  UPDATE events SET attempts = 0, crashes = 0, panics = 0, taken_at = NULL,
    state_reason = 'to be processed again', reason_code = 'replayed',
    processed_at = NULL, next_attempt_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
  WHERE id = NEW.id AND (OLD.state <> 'pending' OR OLD.taken_at IS NULL);
END;

CREATE TRIGGER events_parked AFTER UPDATE OF state ON events
  WHEN NEW.state = 'failed' AND OLD.state <> 'failed'
BEGIN
  INSERT INTO outbox(topic, event_id, key)
  SELECT 'event.failed', NEW.id, 'event:' || NEW.id || ':failed'
  WHERE NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'event:' || NEW.id || ':failed');
END;

-- What lies between the time that is typed and now is looked for; with a time that is none, or not
-- yet, nothing would be. The daemon's own are Stripe's times, also where this server's clock is
-- slow.
CREATE TRIGGER sweeps_insert BEFORE INSERT ON sweeps
  WHEN EXISTS(SELECT 1 FROM sweeps WHERE name = NEW.name)
    OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.until, '+0 days') IS NOT NEW.until
    OR NEW.until < '0000'
    OR ((SELECT is_person FROM actor)
      AND NEW.until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN
  SELECT RAISE(ABORT,
    'sweeps: `until` is a past time in UTC: UPDATE sweeps SET until = ''2026-11-24T00:00:00Z'' WHERE name = …');
END;

CREATE TRIGGER sweeps_update BEFORE UPDATE ON sweeps
  WHEN NEW.name <> OLD.name OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.until, '+0 days') IS NOT NEW.until
    OR NEW.until < '0000'
    OR ((SELECT is_person FROM actor)
      AND NEW.until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN
  SELECT RAISE(ABORT,
    'sweeps: `until` is a past time in UTC: UPDATE sweeps SET until = ''2026-11-24T00:00:00Z'' WHERE name = …');
END;
