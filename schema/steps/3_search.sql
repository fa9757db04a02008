CREATE TABLE search_blocks(
  id     INTEGER PRIMARY KEY,
  orders BLOB NOT NULL
) STRICT;
CREATE TABLE search_state(
  one     INTEGER PRIMARY KEY CHECK(one = 1),
  history INTEGER NOT NULL
) STRICT;
INSERT INTO search_state VALUES(1, 0);
