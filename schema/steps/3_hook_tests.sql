CREATE TABLE hook_tests(
  id       INTEGER PRIMARY KEY CHECK(id > 0),
  topic    TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  result   TEXT CHECK(json_valid(result))
) STRICT;
