-- The table orders from schema 2 on: one that was added by hand has an origin and no session. Never changed.
CREATE TABLE orders(
  id                   INTEGER PRIMARY KEY CHECK(id > 0),
  checkout_session_id  TEXT UNIQUE,
  payment_intent_id    TEXT UNIQUE,
  livemode             INTEGER NOT NULL CHECK(livemode IN(0, 1)),
  mode                 TEXT NOT NULL,
  payment_status       TEXT NOT NULL
                       CHECK(payment_status IN('unpaid', 'paid', 'no_payment_required', 'failed')),
  currency             TEXT NOT NULL
                       CONSTRAINT "a currency is three small letters" CHECK(currency GLOB '[a-z][a-z][a-z]'),
  amount_subtotal      INTEGER NOT NULL DEFAULT 0,
  amount_discount      INTEGER NOT NULL DEFAULT 0,
  amount_shipping      INTEGER NOT NULL DEFAULT 0,
  amount_tax           INTEGER NOT NULL DEFAULT 0,
  amount_total         INTEGER NOT NULL
                       CONSTRAINT "an order's total is never negative" CHECK(amount_total >= 0),
  presentment_amount   INTEGER,
  presentment_currency TEXT,
  customer_id          TEXT,
  subscription_id      TEXT,
  invoice_id           TEXT,
  payment_link_id      TEXT,
  client_reference_id  TEXT,
  capture_method       TEXT
                       CHECK(capture_method = 'manual'),
  amount_capturable    INTEGER NOT NULL DEFAULT 0
                       CHECK(amount_capturable BETWEEN 0 AND 1000000000000),
  amount_captured      INTEGER
                       CHECK(amount_captured BETWEEN 0 AND 1000000000000),
  capture_before       TEXT,
  email                TEXT,
  name                 TEXT,
  business_name        TEXT,
  phone                TEXT,
  shipping_name        TEXT,
  shipping_line1       TEXT,
  shipping_line2       TEXT,
  shipping_city        TEXT,
  shipping_state       TEXT,
  shipping_postal_code TEXT,
  shipping_country     TEXT,
  shipping_option      TEXT,
  custom_fields        TEXT NOT NULL DEFAULT '[]' CHECK(json_valid(custom_fields)),
  tax_ids              TEXT NOT NULL DEFAULT '[]' CHECK(json_valid(tax_ids)),
  metadata             TEXT NOT NULL DEFAULT '{}' CHECK(json_valid(metadata)),
  created_at           TEXT NOT NULL,
  paid_at              TEXT,
  line_items_at        TEXT,
  as_of                TEXT NOT NULL,
  asked                INTEGER NOT NULL DEFAULT 0,
  note                 TEXT,
  hold_reason          TEXT,
  canceled_at          TEXT,
  cancel_reason        TEXT
                       CONSTRAINT "cancel_reason is customer, fraud, inventory, declined, staff or other"
                       CHECK(cancel_reason IN('customer', 'fraud', 'inventory', 'declined', 'staff', 'other')),
  origin               TEXT
                       CONSTRAINT "an order came through Checkout, or it was added and has an origin"
                       CHECK((origin IS NULL) = (checkout_session_id IS NOT NULL)),
  CONSTRAINT "set canceled_at and cancel_reason together" CHECK((canceled_at IS NULL) = (cancel_reason IS NULL)),
  CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(
    min(amount_subtotal, amount_discount, amount_shipping, amount_tax, coalesce(presentment_amount, 0),
      amount_capturable, coalesce(amount_captured, 0)) >= -1000000000000
    AND max(amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, coalesce(presentment_amount, 0),
      amount_capturable, coalesce(amount_captured, 0)) <= 1000000000000)
) STRICT;
