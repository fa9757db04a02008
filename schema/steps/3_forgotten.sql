CREATE TABLE forgotten(
  subject TEXT PRIMARY KEY CHECK(subject <> ''),
  at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
