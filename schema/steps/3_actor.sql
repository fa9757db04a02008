-- The table actor from schema 3 on: a person may be one of the page's. Never changed.
CREATE TABLE actor(
  one  INTEGER PRIMARY KEY CHECK(one = 1),
  name TEXT NOT NULL CHECK(name IN('operator', 'operator-override') OR name GLOB 'page:?*'
      OR name GLOB 'stripe:?*' OR name GLOB 'fulfilld:?*'),
  is_person INTEGER AS(name GLOB 'operator*' OR name GLOB 'page:*'),
  is_undo   INTEGER AS(name GLOB 'fulfilld:undo*')
) STRICT;
