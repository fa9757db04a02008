-- The table dismissals from schema 3 on: what a matter stood on, instead of the sentence that was shown. Never changed.
CREATE TABLE dismissals(
  reason   TEXT NOT NULL,
  subject  TEXT NOT NULL,
  order_id INTEGER,
  since    TEXT NOT NULL,
  facts    TEXT NOT NULL CHECK(json_valid(facts)),
  what     TEXT NOT NULL,
  actor    TEXT NOT NULL,
  at       TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  PRIMARY KEY(reason, subject, since, facts)
) STRICT, WITHOUT ROWID;
