-- fulfilld: the whole database as it is today, written for the person who opens it.
--
--   SELECT * FROM readme;             what there is to look at and to type
--
-- First the tables, with a word beside every column; then the views to look at; last the verbs to type.
-- The rules that keep the file true, whoever writes, stand by subject in schema/. The shell enforces no
-- foreign keys and REPLACE skips delete triggers, so the rules hold what must stay true.
--
-- Nothing here is newer than SQLite 3.37. Times are UTC text, 2026-11-24T03:05:00Z. Amounts are whole
-- minor units of their currency (4200 eur is 42.00 EUR; views show both).

----------------------------------------------------------------------------------------------------
-- Tables
----------------------------------------------------------------------------------------------------

-- What this file is. One row, written when the file was made.
CREATE TABLE shop(
  one        INTEGER PRIMARY KEY CHECK(one = 1),
  livemode   INTEGER NOT NULL CHECK(livemode IN(0, 1)),  -- 1: real money; a file never holds both
  created_at TEXT NOT NULL
) STRICT;

-- Who is writing. One row: the daemon names itself inside its own transaction and sets it back
-- before COMMIT, so whoever comes through a shell is `operator`.
CREATE TABLE actor(
  one  INTEGER PRIMARY KEY CHECK(one = 1),
  name TEXT NOT NULL CHECK(name IN('operator', 'operator-override') OR name GLOB 'page:?*'
      OR name GLOB 'stripe:?*' OR name GLOB 'fulfilld:?*'),
  is_person INTEGER AS(name GLOB 'operator*' OR name GLOB 'page:*'),  -- the rules for people hold
  is_undo   INTEGER AS(name GLOB 'fulfilld:undo*')                    -- it may put things back
) STRICT;
INSERT INTO actor VALUES(1, 'operator');

-- The order of things. Each stored event and each request to Stripe takes the next number, so what
-- is newer never depends on a clock: an answer covers the events with a lower number, and never
-- overwrites the answer to a later request.
CREATE TABLE sequence(
  one INTEGER PRIMARY KEY CHECK(one = 1),
  n   INTEGER NOT NULL                                    -- the last number that was given out
) STRICT;
INSERT INTO sequence VALUES(1, 0);

-- The inbox: one row per Stripe event, stored before Stripe gets its 200. The id makes it
-- idempotent.
CREATE TABLE events(
  id              TEXT PRIMARY KEY CHECK(length(id) BETWEEN 1 AND 255),  -- evt_…
  type            TEXT NOT NULL,                          -- as received, e.g. checkout.session.completed
  object_id       TEXT,                                   -- what it is about, e.g. cs_…
  created         TEXT,                                   -- when Stripe made it
  livemode        INTEGER CHECK(livemode IN(0, 1)),
  api_version     TEXT,                                   -- of a snapshot
  account         TEXT,                                   -- acct_…, the connected account it happened in
  context         TEXT,                                   -- acct_…, the account to name when asking
  shape           TEXT NOT NULL CHECK(shape IN('snapshot', 'thin')),
  snapshot_event  TEXT,                                   -- a thin event's twin
  payload         TEXT,                                   -- the exact body; NULL once retention has cleared it
  source          TEXT NOT NULL CHECK(source IN('webhook', 'backfill')),
  received_at     TEXT NOT NULL,
  seq             INTEGER NOT NULL DEFAULT 0,             -- its place in the sequence; a trigger fills it in
  state           TEXT NOT NULL DEFAULT 'pending'
                  CONSTRAINT "an event's state is pending, done, ignored or failed"
                  -- two short lists: for a long one SQLite fills a table with each insert
                  CHECK(state IN('pending', 'done') OR state IN('ignored', 'failed')),
  state_reason    TEXT,                                   -- why ignored, why failed, why not yet
  awaits          TEXT,                                   -- the payment, invoice or subscription without an order yet
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),
  -- how often the daemon ended in the middle of it; from 3 on it is tried alone
  crashes         INTEGER NOT NULL DEFAULT 0 CHECK(crashes >= 0),
  panics          INTEGER NOT NULL DEFAULT 0 CHECK(panics >= 0),   -- how often its handler did
  taken_at        TEXT,                                   -- a worker has it since
  next_attempt_at TEXT DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),  -- due when pending
  processed_at    TEXT,
  reason_code     TEXT,                                   -- one word for state_reason, e.g. temporary
  CHECK(rowid > 0)
) STRICT;
-- What retention looks through.
CREATE INDEX events_stored ON events(received_at)
  WHERE payload IS NOT NULL AND state IN('done', 'ignored');
-- What waits, the fresh before what is tried again or was fetched later: so neither keeps a buyer
-- waiting.
CREATE INDEX events_due ON events(attempts > 0 OR source = 'backfill', next_attempt_at)
  WHERE state = 'pending';
CREATE INDEX events_pending ON events(received_at) WHERE state = 'pending';
-- By the end of the object's id: it is as good as the whole, and the index is a fifth as long. In
-- eight groups, which grow at their ends: ids are random, and a commit would else write a page of
-- the index for almost every event. Whoever looks for an object goes through one group.
CREATE INDEX events_object ON events(unicode(substr(object_id, -1)) % 8, seq, substr(object_id, -6))
  WHERE state = 'pending';
CREATE INDEX events_taken ON events(taken_at) WHERE taken_at IS NOT NULL;
CREATE INDEX events_twin ON events(snapshot_event) WHERE snapshot_event IS NOT NULL;
CREATE INDEX events_thin ON events(object_id) WHERE shape = 'thin' AND snapshot_event IS NULL;
CREATE INDEX events_suspect ON events(next_attempt_at) WHERE state = 'pending' AND crashes >= 3;
CREATE INDEX events_awaits ON events(awaits) WHERE awaits IS NOT NULL;
CREATE INDEX events_failed ON events(received_at) WHERE state = 'failed';

-- One row per completed Checkout Session, and per order that was added by hand. Facts come from
-- Stripe; the operator's columns are note, hold_reason, canceled_at with cancel_reason, and
-- corrections of contact and shipping. No status is stored but Stripe's own: see order_overview.
CREATE TABLE orders(
  id                   INTEGER PRIMARY KEY CHECK(id > 0),  -- the shop's order number
  checkout_session_id  TEXT UNIQUE,                       -- cs_…; NULL for an order that was added by hand
  payment_intent_id    TEXT UNIQUE,                       -- pi_…; none when nothing was to pay
  livemode             INTEGER NOT NULL CHECK(livemode IN(0, 1)),
  mode                 TEXT NOT NULL,                     -- payment, or subscription (its first purchase)
  payment_status       TEXT NOT NULL
                       CHECK(payment_status IN('unpaid', 'paid', 'no_payment_required', 'failed')),
  currency             TEXT NOT NULL
                       CONSTRAINT "a currency is three small letters" CHECK(currency GLOB '[a-z][a-z][a-z]'),
  amount_subtotal      INTEGER NOT NULL DEFAULT 0,        -- before discount, shipping and tax
  amount_discount      INTEGER NOT NULL DEFAULT 0,
  amount_shipping      INTEGER NOT NULL DEFAULT 0,
  amount_tax           INTEGER NOT NULL DEFAULT 0,
  amount_total         INTEGER NOT NULL
                       CONSTRAINT "an order's total is never negative" CHECK(amount_total >= 0),
  presentment_amount   INTEGER,                           -- what the buyer saw, in
  presentment_currency TEXT,                              -- another currency
  customer_id          TEXT,                              -- cus_…
  subscription_id      TEXT,                              -- sub_…
  invoice_id           TEXT,                              -- in_…
  payment_link_id      TEXT,                              -- plink_…
  client_reference_id  TEXT,                              -- the shop's own reference
  capture_method       TEXT                               -- manual: the buyer's money is only held until you capture it
                       CHECK(capture_method = 'manual'),
  amount_capturable    INTEGER NOT NULL DEFAULT 0         -- so much is held now
                       CHECK(amount_capturable BETWEEN 0 AND 1000000000000),
  amount_captured      INTEGER                            -- so much of it was taken: what the books say
                       CHECK(amount_captured BETWEEN 0 AND 1000000000000),
  capture_before       TEXT,                              -- the hold ends then; NULL where Stripe does not say
  email                TEXT,                              -- contact and shipping: yours to correct
  name                 TEXT,
  business_name        TEXT,
  phone                TEXT,
  shipping_name        TEXT,
  shipping_line1       TEXT,
  shipping_line2       TEXT,
  shipping_city        TEXT,
  shipping_state       TEXT,
  shipping_postal_code TEXT,
  shipping_country     TEXT,                              -- two letters
  shipping_option      TEXT,                              -- what the buyer chose, e.g. Express
  custom_fields        TEXT NOT NULL DEFAULT '[]' CHECK(json_valid(custom_fields)),
  tax_ids              TEXT NOT NULL DEFAULT '[]' CHECK(json_valid(tax_ids)),
  metadata             TEXT NOT NULL DEFAULT '{}' CHECK(json_valid(metadata)),
  created_at           TEXT NOT NULL,                     -- when the checkout began
  paid_at              TEXT,                              -- when the money was there, by Stripe's record
  line_items_at        TEXT,                              -- when its lines were read
  as_of                TEXT NOT NULL,                     -- when Stripe was asked, for people
  asked                INTEGER NOT NULL DEFAULT 0,
    -- that request's place in the sequence; an older answer changes nothing
  note                 TEXT,                              -- yours
  hold_reason          TEXT,                              -- yours: while set, nothing can be sent
  canceled_at          TEXT,                              -- yours, together with
  cancel_reason        TEXT
                       CONSTRAINT "cancel_reason is customer, fraud, inventory, declined, staff or other"
                       CHECK(cancel_reason IN('customer', 'fraud', 'inventory', 'declined', 'staff',
                             'other')),
  origin               TEXT                               -- where an added order came from, e.g. phone; NULL: Checkout
                       CONSTRAINT "an order came through Checkout, or it was added and has an origin"
                       CHECK((origin IS NULL) = (checkout_session_id IS NOT NULL)),
  amount_awaited       INTEGER                            -- so much of a bank transfer has not come; else NULL
                       CHECK(amount_awaited BETWEEN 0 AND 1000000000000),
  amount_credited      INTEGER NOT NULL DEFAULT 0         -- so much of the total a credit balance paid
                       CHECK(amount_credited BETWEEN -1000000000000 AND 1000000000000),
  CONSTRAINT "set canceled_at and cancel_reason together" CHECK((canceled_at IS NULL) = (cancel_reason IS NULL)),
  -- What no bank knows is no amount: so no sum over any number of rows can overflow and stop a
  -- view.
  CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(
    min(amount_subtotal, amount_discount, amount_shipping, amount_tax,
        coalesce(presentment_amount, 0), amount_capturable,
      coalesce(amount_captured, 0)) >= -1000000000000
    AND max(amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total,
        coalesce(presentment_amount, 0),
      amount_capturable, coalesce(amount_captured, 0)) <= 1000000000000)
) STRICT;
CREATE INDEX orders_created ON orders(created_at);
CREATE INDEX orders_email ON orders(lower(email)) WHERE email IS NOT NULL;
CREATE INDEX orders_invoice ON orders(invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX orders_subscription ON orders(subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX orders_reference ON orders(client_reference_id) WHERE client_reference_id IS NOT NULL;
CREATE INDEX orders_referenced ON orders(created_at, client_reference_id)
  WHERE client_reference_id IS NOT NULL;
CREATE INDEX orders_held ON orders(capture_before) WHERE amount_capturable > 0;
CREATE INDEX orders_on_hold ON orders(id) WHERE hold_reason IS NOT NULL;
CREATE INDEX orders_canceled ON orders(canceled_at) WHERE canceled_at IS NOT NULL;
-- Not while it is written: most are sales a moment later.
CREATE INDEX orders_unpaid ON orders(created_at)
  WHERE payment_status = 'unpaid' AND line_items_at IS NOT NULL;
CREATE INDEX orders_manual ON orders(payment_status) WHERE capture_method IS NOT NULL;
CREATE INDEX orders_total_differs ON orders(id)
  WHERE amount_total - (amount_subtotal - amount_discount + amount_shipping) NOT BETWEEN 0 AND amount_tax;

-- What was bought, with names and prices as sold.
CREATE TABLE line_items(
  id                  TEXT PRIMARY KEY,                   -- li_…
  order_id            INTEGER NOT NULL REFERENCES orders(id),
  position            INTEGER NOT NULL,                   -- 1, 2, 3 … as on the receipt
  price_id            TEXT,
  product_id          TEXT,
  sku                 TEXT,                               -- metadata.sku of the price or the product
  name                TEXT NOT NULL,
  options             TEXT,                               -- the variant, e.g. a size
  quantity            INTEGER NOT NULL
                      CONSTRAINT "a line item has a quantity between 1 and 1000000000"
                      CHECK(quantity BETWEEN 1 AND 1000000000),
  currency            TEXT NOT NULL,
  unit_amount         INTEGER,                            -- NULL where Stripe has no whole one; then
  unit_amount_decimal TEXT,                               -- as Stripe writes it
  amount_subtotal     INTEGER NOT NULL DEFAULT 0,
  amount_discount     INTEGER NOT NULL DEFAULT 0,
  amount_tax          INTEGER NOT NULL DEFAULT 0,
  amount_total        INTEGER NOT NULL,
  -- 0: a download, a ticket
  requires_shipping   INTEGER NOT NULL CHECK(requires_shipping IN(0, 1)),
  metadata            TEXT NOT NULL DEFAULT '{}' CHECK(json_valid(metadata)),
  canceled_quantity   INTEGER NOT NULL DEFAULT 0          -- yours: so many will not be sent
                      CONSTRAINT "canceled_quantity is between 0 and quantity"
                      CHECK(canceled_quantity BETWEEN 0 AND quantity),
  cancel_reason       TEXT                                -- yours: why
                      CONSTRAINT "a line's cancel_reason is customer, fraud, inventory, declined, staff or other"
                      CHECK(cancel_reason IN('customer', 'fraud', 'inventory', 'declined', 'staff',
                            'other')),
  weight_g            INTEGER                             -- of one, in grams; NULL where nobody has said it
                      CONSTRAINT "a weight is between 1 and 1000000 grams" CHECK(weight_g BETWEEN 1 AND 1000000),
  UNIQUE(order_id, position),
  CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(
    min(coalesce(unit_amount, 0), amount_subtotal, amount_discount, amount_tax,
        amount_total) >= -1000000000000
    AND max(coalesce(unit_amount, 0), amount_subtotal, amount_discount, amount_tax,
        amount_total) <= 1000000000000)
) STRICT, WITHOUT ROWID;
CREATE INDEX line_items_sums ON line_items(order_id, amount_subtotal);
CREATE INDEX line_items_canceled ON line_items(order_id) WHERE canceled_quantity > 0;
CREATE INDEX line_items_weighed ON line_items(order_id) WHERE weight_g IS NOT NULL;

-- The few orders that no line was read of, or whose lines do not add up to amount_subtotal; kept by
-- triggers, so that `attention` need not look at every order.
CREATE TABLE unbalanced_orders(
  order_id   INTEGER PRIMARY KEY REFERENCES orders(id),
  lines      INTEGER NOT NULL,                            -- so many were read; more than 0 for any number
  difference INTEGER NOT NULL                             -- amount_subtotal less that of its lines
) STRICT;

-- A parcel, or a delivery of what needs none. What is left to send of a paid order is always in a
-- pending one.
CREATE TABLE fulfillments(
  id                INTEGER PRIMARY KEY CHECK(id > 0),
  order_id          INTEGER NOT NULL REFERENCES orders(id),
  requires_shipping INTEGER NOT NULL DEFAULT 1 CHECK(requires_shipping IN(0, 1)),  -- 0: digital
  replacement       TEXT  -- why it is sent beside what was bought; NULL for what was bought
                    CONSTRAINT "a parcel is sent again because it is lost, damaged, wrong or other"
                    CHECK(replacement IN('lost', 'damaged', 'wrong', 'other')),
  status            TEXT NOT NULL DEFAULT 'pending'
                    CONSTRAINT "a fulfillment's status is pending, shipped, delivered or canceled"
                    CHECK(status IN('pending', 'shipped', 'delivered', 'canceled')),
  tracking_company  TEXT,                                 -- yours, as all below
  tracking_number   ANY                                   -- text; ANY keeps what was typed, so a number is noticed
                    CONSTRAINT
                    "put a tracking number in quotes: as a number it loses zeros in front and digits at the end"
                    CHECK(typeof(tracking_number) IN('text', 'null')),
  tracking_url      TEXT,
  note              TEXT,
  created_at        TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  shipped_at        TEXT,                                 -- filled in when the status changes
  delivered_at      TEXT,
  canceled_at       TEXT
) STRICT;
CREATE INDEX fulfillments_order ON fulfillments(order_id);
CREATE INDEX fulfillments_pending ON fulfillments(requires_shipping, order_id)
  WHERE status = 'pending';
CREATE INDEX fulfillments_tracking ON fulfillments(tracking_number)
  WHERE tracking_number IS NOT NULL;

-- What is in it.
CREATE TABLE fulfillment_line_items(
  fulfillment_id INTEGER NOT NULL REFERENCES fulfillments(id),
  line_item_id   TEXT NOT NULL REFERENCES line_items(id),
  quantity       INTEGER NOT NULL                         -- set to 0, it is taken out
                 CONSTRAINT "a fulfillment holds 1 or more of a line item" CHECK(quantity >= 0),
  PRIMARY KEY(fulfillment_id, line_item_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX fulfillment_line_items_item ON fulfillment_line_items(line_item_id);

-- Money going back: one row per refund. It may come before its order, which it finds by its
-- payment. Where several payments paid one invoice, payment_intent_id is the one that the order
-- names, here and in disputes, reviews and fraud_warnings; charge_id is of the payment itself.
CREATE TABLE refunds(
  id                TEXT PRIMARY KEY,                     -- re_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  amount            INTEGER NOT NULL
                    CONSTRAINT "a refund has an amount between 1 and 1000000000000"
                    CHECK(amount BETWEEN 1 AND 1000000000000),
  currency          TEXT NOT NULL CHECK(currency GLOB '[a-z][a-z][a-z]'),
  status            TEXT NOT NULL CHECK(status <> ''),
    -- Stripe's word; only succeeded counts, and all but failed and canceled hold the goods
  reason            TEXT,
  failure_reason    TEXT,
  subscription_id   TEXT,                                 -- of a subscription's later payment: sub_…
  balance_transaction_id TEXT,                            -- txn_…; none where a hold was let go and no money moved
  failed_at         TEXT,                                 -- the money came back to the shop: it failed, or was canceled
  created_at        TEXT NOT NULL,                        -- the money left the shop
  as_of             TEXT NOT NULL,                        -- when Stripe was asked, for people
  asked             INTEGER NOT NULL DEFAULT 0            -- that request's place in the sequence
) STRICT, WITHOUT ROWID;
CREATE INDEX refunds_payment_intent ON refunds(payment_intent_id);
CREATE INDEX refunds_charge ON refunds(charge_id);
CREATE INDEX refunds_succeeded ON refunds(created_at) WHERE status = 'succeeded';
CREATE INDEX refunds_open ON refunds(status) WHERE status <> 'succeeded';

-- A buyer's bank takes the money back: one row per dispute. While an open one, or what was lost,
-- leaves no part of the payment to the shop, nothing can be sent.
CREATE TABLE disputes(
  id                TEXT PRIMARY KEY,                     -- dp_… or du_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  amount            INTEGER NOT NULL
                    CONSTRAINT "an amount is at most 1000000000000 minor units"
                    CHECK(amount BETWEEN -1000000000000 AND 1000000000000),
  currency          TEXT NOT NULL CHECK(currency GLOB '[a-z][a-z][a-z]'),
  status            TEXT NOT NULL,                        -- Stripe's word; see open_disputes
  reason            TEXT,                                 -- e.g. fraudulent, product_not_received
  evidence_due_by   TEXT,                                 -- answer in Stripe's Dashboard until then
  amount_lost       INTEGER NOT NULL DEFAULT 0  -- gone for good: the dispute is lost, or was settled by giving it back
                    CHECK(amount_lost BETWEEN 0 AND 1000000000000),
  is_charge_refundable INTEGER NOT NULL DEFAULT 0         -- 0: Stripe refuses a refund while it is open
                    CHECK(is_charge_refundable IN(0, 1)),
  money_moves       TEXT NOT NULL DEFAULT '[]'            -- what left the shop (less than 0) and
                                                          -- came back: [{"amount": -4200, "at": …}]
                    CHECK(json_valid(money_moves)),
  subscription_id   TEXT,                                 -- of a subscription's later payment
  created_at        TEXT NOT NULL,
  as_of             TEXT NOT NULL,
  asked             INTEGER NOT NULL DEFAULT 0,
  settled_currency  TEXT,                                 -- of the balance that it was taken from, if another
  settled_amount    INTEGER CHECK(settled_amount BETWEEN 0 AND 1000000000000),  -- taken, in that
  settled_lost      INTEGER CHECK(settled_lost BETWEEN 0 AND 1000000000000)     -- gone for good, in that
) STRICT, WITHOUT ROWID;
CREATE INDEX disputes_payment_intent ON disputes(payment_intent_id);
CREATE INDEX disputes_status ON disputes(status);
CREATE INDEX disputes_open ON disputes(id)
  WHERE status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded');
CREATE INDEX disputes_lost ON disputes(payment_intent_id) WHERE amount_lost > 0;

-- Stripe's Radar wants somebody to look at a payment. While it is open, or closed as anything but
-- approved, nothing can be sent.
CREATE TABLE reviews(
  id                TEXT PRIMARY KEY,                     -- prv_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  open              INTEGER NOT NULL CHECK(open IN(0, 1)),
  reason            TEXT,                                 -- why it was opened
  closed_reason     TEXT,                                 -- approved and acknowledged let the order go on
  subscription_id   TEXT,                                 -- of a subscription's later payment
  created_at        TEXT NOT NULL,
  as_of             TEXT NOT NULL,
  asked             INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_payment_intent ON reviews(payment_intent_id);
CREATE INDEX reviews_holding ON reviews(payment_intent_id)
  WHERE open = 1 OR coalesce(closed_reason, '') NOT IN('approved', 'acknowledged');

-- The card's issuer suspects fraud: a dispute may follow. It holds nothing; attention shows it
-- until it is acted on.
CREATE TABLE fraud_warnings(
  id                TEXT PRIMARY KEY,                     -- issfr_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  actionable        INTEGER NOT NULL CHECK(actionable IN(0, 1)),  -- 0 once refunded or disputed
  fraud_type        TEXT,
  subscription_id   TEXT,                                 -- of a subscription's later payment
  created_at        TEXT NOT NULL,
  as_of             TEXT NOT NULL,
  asked             INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX fraud_warnings_payment_intent ON fraud_warnings(payment_intent_id);
CREATE INDEX fraud_warnings_actionable ON fraud_warnings(payment_intent_id) WHERE actionable = 1;

-- Every change by anyone, written by triggers; nothing here is ever changed.
CREATE TABLE order_history(
  id       INTEGER PRIMARY KEY CHECK(id > 0),
  order_id INTEGER NOT NULL,
  actor    TEXT NOT NULL,                                 -- stripe:evt_…, operator, fulfilld:…
  what     TEXT NOT NULL,                                 -- a column of orders, or e.g. fulfillment 7 status
  old      TEXT,
  new      TEXT,
  at       TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  moment   TEXT NOT NULL DEFAULT(strftime('%f', 'now'))   -- its seconds to a thousandth: all that
                                                          -- one statement did has the same
) STRICT;
CREATE INDEX order_history_order ON order_history(order_id);
CREATE INDEX order_history_typed ON order_history(id) WHERE actor GLOB 'operator*'
  OR actor GLOB 'page:*';

-- Notifications for the shop's hooks, written by triggers, so that an edit in the shell makes one
-- too.
CREATE TABLE outbox(
  id              INTEGER PRIMARY KEY CHECK(id > 0),
  topic           TEXT NOT NULL,                          -- e.g. fulfillment.shipped
  order_id        INTEGER,
  fulfillment_id  INTEGER,
  event_id        TEXT,
  key             TEXT NOT NULL UNIQUE,                   -- the same notification has the same key
  state           TEXT NOT NULL DEFAULT 'pending'         -- done: every hook was notified; dead: one gave up
                  CONSTRAINT "a piece of news is pending, done or dead"
                  CHECK(state IN('pending', 'done', 'dead')),
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),  -- runs of all its hooks
  next_attempt_at TEXT,  -- when the first of them is due; NULL before it has runs
  -- told; no_hook: none has its topic; past: before this file; undone; gave_up; again: it is sent
  -- again
  outcome         TEXT
                  CHECK(outcome IN('told', 'no_hook', 'past', 'undone', 'gave_up', 'again')),
  last_error      TEXT,                                   -- for people
  created_at      TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE INDEX outbox_pending ON outbox(next_attempt_at) WHERE state = 'pending';
CREATE INDEX outbox_dead ON outbox(id) WHERE state = 'dead';

-- What became of a notification at each hook, written by the daemon: one row a hook.
CREATE TABLE hook_runs(
  outbox_id       INTEGER NOT NULL REFERENCES outbox(id),
  target          TEXT NOT NULL,                          -- the command's path or the URL, as it is set
  order_id        INTEGER,                                -- those of one order go to one hook one after the other
  state           TEXT NOT NULL DEFAULT 'pending'         -- gone: the hook is no longer set, or
                                                          -- there is nothing left to notify of
                  CHECK(state IN('pending', 'done', 'dead', 'gone')),
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),  -- counted before each run
  -- of them, those since a person last had it run again
  tries           INTEGER NOT NULL DEFAULT 0 CHECK(tries >= 0),
  -- of them, those that ended in any code but 0 and 75
  failures        INTEGER NOT NULL DEFAULT 0 CHECK(failures >= 0),
  first_try_at    TEXT,
  taken_at        TEXT,                                   -- it is running since
  next_attempt_at TEXT NOT NULL,
  ended_at        TEXT,                                   -- its last run
  outcome         TEXT  -- what that came to; or why it has none and needs none any more
                  CHECK(outcome IN('done', 'again', 'failed', 'dead', 'not_run', 'interrupted',
                        'not_set', 'not_asked', 'put_aside')),
  last_error      TEXT,                                   -- for people
  PRIMARY KEY(outbox_id, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX hook_runs_due ON hook_runs(target, tries > 0, next_attempt_at) WHERE state = 'pending';
CREATE INDEX hook_runs_order ON hook_runs(order_id, target, outbox_id) WHERE state = 'pending';

-- Hooks to be run once with a sample order (fulfilld hooks test); a row lives as long as somebody
-- waits for it.
CREATE TABLE hook_tests(
  id       INTEGER PRIMARY KEY CHECK(id > 0),
  topic    TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  result   TEXT CHECK(json_valid(result))                 -- what each hook did, by the daemon
) STRICT;

-- How far Stripe's lists have been looked through for what never arrived. Set `until` back to have
-- it looked through again.
CREATE TABLE sweeps(
  name  TEXT PRIMARY KEY CHECK(name IN('events', 'sessions', 'refunds', 'disputes', 'reviews',
        'fraud_warnings')),
  until TEXT NOT NULL                                     -- everything that Stripe made before is here
) STRICT, WITHOUT ROWID;

-- What the daemon itself wants a person to know; a row goes when the matter is fixed.
CREATE TABLE alarms(
  name    TEXT PRIMARY KEY,
  message TEXT NOT NULL,
  next    TEXT NOT NULL,                                  -- what to do or to type
  since   TEXT NOT NULL,
  about   TEXT NOT NULL DEFAULT ''                        -- which list, hook, permission; another one is shown again
) STRICT, WITHOUT ROWID;

-- What a person has dealt with, so that `attention` no longer shows it: INSERT INTO dismiss
-- VALUES(1042, 'refunded_after_shipping').
CREATE TABLE dismissals(
  reason   TEXT NOT NULL,
  subject  TEXT NOT NULL,  -- what it was about: a refund, an event …, else the order's number
  order_id INTEGER,
  since    TEXT NOT NULL,                                 -- when the matter began, and
  facts    TEXT NOT NULL CHECK(json_valid(facts)),        -- what else it stood on; with other facts it is shown again
  what     TEXT NOT NULL,                                 -- as it was shown, for people
  actor    TEXT NOT NULL,
  at       TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  PRIMARY KEY(reason, subject, since, facts)
) STRICT, WITHOUT ROWID;

-- Objects of people who are forgotten (fulfilld forget): sessions, payments, customers, events. No
-- name comes back with them. A copy of this list lies beside the file, so that an older backup
-- forgets again when it is served.
CREATE TABLE forgotten(
  subject TEXT PRIMARY KEY CHECK(subject <> ''),
  at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Makes `fulfilld orders --search` fast in a file of many orders; kept by the daemon, and nothing is
-- lost with it. It says of 64 orders together which groups of letters stand in one of them.
CREATE TABLE search_blocks(
  id     INTEGER PRIMARY KEY,                             -- which 4,096 orders and which groups
  orders BLOB NOT NULL                                    -- a bit for each group and 64 orders
) STRICT;
CREATE TABLE search_state(
  one     INTEGER PRIMARY KEY CHECK(one = 1),
  history INTEGER NOT NULL                                -- search_blocks knows orders as they were
                                                          -- at this row of order_history
) STRICT;
INSERT INTO search_state VALUES(1, 0);

-- Where a parcel is followed, by the carrier; the number takes the place of {}. Yours to add to. A
-- name is found however it is written: capitals, accents and dots do not matter, and what follows
-- it neither (`carrier_names`, `parcel_carriers`).
CREATE TABLE carriers(
  company TEXT PRIMARY KEY CONSTRAINT "a carrier has a name" CHECK(trim(company) <> ''),
  url     TEXT NOT NULL CONSTRAINT "a carrier's url has {} where the number goes" CHECK(instr(url,
        '{}') > 0)
) STRICT, WITHOUT ROWID;
INSERT INTO carriers VALUES
  ('DHL', 'https://www.dhl.com/global-en/home/tracking.html?tracking-id={}'),
  ('DHL Express', 'https://www.dhl.com/en/express/tracking.html?AWB={}'),
  ('DHL Paket', 'https://www.dhl.de/de/privatkunden/pakete-empfangen/verfolgen.html?piececode={}'),
  ('Deutsche Post',
      'https://www.deutschepost.de/sendung/simpleQueryResult.html?form.sendungsnummer={}'),
  ('UPS', 'https://www.ups.com/track?tracknum={}'),
  ('United Parcel Service', 'https://www.ups.com/track?tracknum={}'),
  ('FedEx', 'https://www.fedex.com/fedextrack/?trknbr={}'),
  ('Federal Express', 'https://www.fedex.com/fedextrack/?trknbr={}'),
  ('USPS', 'https://tools.usps.com/go/TrackConfirmAction?tLabels={}'),
  ('DPD', 'https://tracking.dpd.de/status/en_US/parcel/{}'),
  ('GLS', 'https://gls-group.com/track/{}'),
  ('Hermes', 'https://www.myhermes.de/empfangen/sendungsverfolgung/sendungsinformation/#{}'),
  ('Evri', 'https://www.evri.com/track/parcel/{}'),
  ('Royal Mail', 'https://www.royalmail.com/track-your-item#/tracking-results/{}'),
  ('La Poste', 'https://www.laposte.fr/outils/suivre-vos-envois?code={}'),
  ('Colissimo', 'https://www.laposte.fr/outils/suivre-vos-envois?code={}'),
  ('PostNL', 'https://postnl.nl/tracktrace/?B={}'),
  ('Österreichische Post', 'https://www.post.at/sv/sendungsdetails?snr={}'),
  ('Swiss Post', 'https://service.post.ch/ekp-web/ui/entry/search/{}'),
  ('Die Schweizerische Post', 'https://service.post.ch/ekp-web/ui/entry/search/{}'),
  ('Canada Post', 'https://www.canadapost-postescanada.ca/track-reperage/en#/search?searchFor={}'),
  ('Australia Post', 'https://auspost.com.au/mypost/track/#/details/{}');

-- Currencies whose minor unit is not a hundredth, by Stripe's list. (Stripe sends ISK and UGX in
-- hundredths, so they are not here.)
CREATE TABLE currency_decimals(
  currency TEXT PRIMARY KEY,
  decimals INTEGER NOT NULL,
  unit     INTEGER NOT NULL                               -- minor units in one
) STRICT, WITHOUT ROWID;
INSERT INTO currency_decimals VALUES
  ('bif', 0, 1), ('clp', 0, 1), ('djf', 0, 1), ('gnf', 0, 1), ('jpy', 0, 1), ('kmf', 0, 1),
  ('krw', 0, 1), ('mga', 0, 1), ('pyg', 0, 1), ('rwf', 0, 1), ('vnd', 0, 1), ('vuv', 0, 1),
  ('xaf', 0, 1), ('xof', 0, 1), ('xpf', 0, 1),
  ('bhd', 3, 1000), ('jod', 3, 1000), ('kwd', 3, 1000), ('omr', 3, 1000), ('tnd', 3, 1000);

----------------------------------------------------------------------------------------------------
-- Views to look at
----------------------------------------------------------------------------------------------------

-- The signs that stand around what is typed or pasted and mean nothing: every blank that Unicode
-- has, tabs and line ends.
CREATE VIEW blanks AS
SELECT char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197,
  8198, 8199, 8200, 8201, 8202, 8203, 8232, 8233, 8239, 8287, 8288, 12288, 65279) AS signs;

-- Names of carriers as people write them, and what is compared: small letters without accents, dots
-- and dashes. The same of what is known and of what was typed of a parcel. For each of `marks`,
-- `plain` has two letters.
CREATE VIEW letters AS
SELECT 'ÄäÖöÜüßÆæØøÅåÀàÁáÂâÃãÇçČčÈèÉéÊêËëÍíÎîŁłÑñÓóÔôÕõŠšÚúÛûŽž̧̀́̂̃̊̌̈.''’-_/&,' AS marks,
  'aeaeoeoeueuessaeaeoeoea a a a a a a a a a c c c c e e e e e e e e i i i i ' ||
  'l l n n o o o o o o s s u u u u z z               e                 ' AS plain;
-- `fulfillment_id` is NULL for a carrier that is known.
CREATE VIEW carrier_names AS
SELECT fulfillment_id, company, (
  WITH RECURSIVE signs(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM signs WHERE n < length(company))
  SELECT trim(replace(replace(group_concat(CASE instr(marks, sign) WHEN 0 THEN lower(sign)
      ELSE rtrim(substr(plain, 2 * instr(marks, sign) - 1, 2))
        || CASE WHEN sign IN('-', '_', '/', '&', ',') THEN ' ' ELSE '' END END, ''),
    '  ', ' '), '  ', ' '))
  FROM (SELECT substr(company, n, 1) AS sign, marks, plain FROM signs, letters ORDER BY n))
  AS written
FROM (SELECT NULL AS fulfillment_id, company FROM carriers
  UNION ALL
  SELECT id, nullif(trim(tracking_company, (SELECT signs FROM blanks)), '') FROM fulfillments);

-- Whose parcel it is: the carrier that is known by the longest name which what was typed begins
-- with, else what was typed.
CREATE VIEW parcel_carriers AS
SELECT p.fulfillment_id,
  CASE WHEN p.company IS NULL THEN ''
    ELSE coalesce((SELECT k.company FROM carrier_names k
        WHERE k.fulfillment_id IS NULL
          AND substr(p.written || ' ', 1, length(k.written) + 1) = k.written || ' '
        ORDER BY length(k.written) DESC, k.company LIMIT 1), p.written) END AS carrier
FROM carrier_names p WHERE p.fulfillment_id IS NOT NULL;

-- Where a parcel is followed, for a carrier that is known; of its number everything but letters,
-- digits and -._~ is escaped.
CREATE VIEW parcel_links AS
SELECT f.id AS fulfillment_id, replace(k.url, '{}', (
  WITH RECURSIVE bytes(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM bytes
      WHERE n < length(CAST(f.tracking_number AS BLOB)))
  SELECT group_concat(CASE WHEN CAST(byte AS TEXT) GLOB '[A-Za-z0-9._~-]' THEN CAST(byte AS TEXT)
      ELSE '%' || hex(byte) END, '')
  FROM (SELECT substr(CAST(f.tracking_number AS BLOB), n, 1) AS byte FROM bytes ORDER BY n))) AS url
FROM fulfillments f
JOIN carriers k ON k.company = (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = f.id)
WHERE f.tracking_number IS NOT NULL;

-- One carrier's number on parcels of two orders that go to different places, canceled ones aside:
-- one of the numbers is wrong.
CREATE VIEW tracking_clashes AS
SELECT f.id AS fulfillment_id, f.order_id, g.order_id AS other_order_id, f.tracking_number
FROM fulfillments f
JOIN fulfillments g ON g.tracking_number = f.tracking_number AND g.order_id <> f.order_id
JOIN orders o ON o.id = f.order_id
JOIN orders p ON p.id = g.order_id
WHERE f.status <> 'canceled' AND g.status <> 'canceled'
  -- Where no carrier is named it may be any.
  AND ((SELECT carrier FROM parcel_carriers WHERE fulfillment_id = f.id)
      IN('', (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = g.id))
    OR (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = g.id) = '')
  AND (o.shipping_line1 IS NULL OR p.shipping_line1 IS NULL
    OR lower(replace(o.shipping_line1 || '/' || coalesce(o.shipping_line2, '') || '/' ||
        coalesce(o.shipping_postal_code, '') || '/' || coalesce(o.shipping_country, ''), ' ', ''))
      <> lower(replace(p.shipping_line1 || '/' || coalesce(p.shipping_line2, '') || '/' ||
        coalesce(p.shipping_postal_code, '') || '/' || coalesce(p.shipping_country, ''), ' ', '')));

-- Where each line stands: bought = canceled + sent + left; `pending` of it is in a pending
-- fulfillment. Replacements are beside it.
CREATE VIEW line_item_balance AS
SELECT order_id, line_item_id, requires_shipping, quantity, canceled, sent,
  quantity - canceled - sent AS left_to_send, pending
FROM (SELECT li.order_id, li.id AS line_item_id, li.requires_shipping, li.quantity,
    li.canceled_quantity AS canceled,
    (SELECT coalesce(sum(fl.quantity), 0)
      FROM fulfillment_line_items fl JOIN fulfillments f ON f.id = fl.fulfillment_id
      WHERE fl.line_item_id = li.id AND f.replacement IS NULL
        AND f.status IN('shipped', 'delivered')) AS sent,
    (SELECT coalesce(sum(fl.quantity), 0)
      FROM fulfillment_line_items fl JOIN fulfillments f ON f.id = fl.fulfillment_id
      WHERE fl.line_item_id = li.id AND f.replacement IS NULL
        AND f.status = 'pending') AS pending
  FROM line_items li);

-- Refunds that Stripe may still change.
CREATE VIEW pending_refunds AS
SELECT * FROM refunds WHERE status NOT IN('succeeded', 'failed', 'canceled');

-- Disputes that are not decided yet.
CREATE VIEW open_disputes AS
SELECT * FROM disputes
WHERE status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded');

-- Disputes and refunds that hold, or took, money in another currency than their order's.
CREATE VIEW foreign_disputes AS
SELECT o.id AS order_id, d.id, d.amount, d.currency, d.status, d.created_at,
  o.currency AS order_currency, d.payment_intent_id
FROM disputes d JOIN orders o ON o.payment_intent_id = d.payment_intent_id
WHERE d.currency <> o.currency AND d.settled_currency IS NOT o.currency
  AND (d.amount_lost > 0 OR EXISTS(SELECT 1 FROM open_disputes x WHERE x.id = d.id));
CREATE VIEW foreign_refunds AS
SELECT o.id AS order_id, r.id, r.amount, r.currency, r.status, r.created_at,
  o.currency AS order_currency, r.payment_intent_id
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE r.currency <> o.currency AND r.status NOT IN('failed', 'canceled');

-- What has happened to an order's money and goods, as whole numbers. `amount_paid` is what the shop
-- was given; a refund that only let go of money that was held, and never taken, gave nothing back:
-- no balance transaction belongs to it, and it was made before the shop was paid, or is of what was
-- not captured. Sums are in the order's currency. A refund or dispute in another one is in none of
-- them, unless Stripe took it from a balance in the order's: `has_foreign_claim` tells.
CREATE VIEW order_totals AS
SELECT o.id,
  CASE WHEN o.payment_status IN('paid', 'no_payment_required')
    THEN coalesce(o.amount_captured, o.amount_total) ELSE 0 END AS amount_paid,
  (SELECT coalesce(sum(r.amount), 0) FROM refunds r
    WHERE r.payment_intent_id = o.payment_intent_id AND r.status = 'succeeded'
      AND r.currency = o.currency
      AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL
        AND (r.created_at <= coalesce(o.paid_at, '9')
          OR r.amount = o.amount_total - coalesce(o.amount_captured, o.amount_total))) = 0)
    AS amount_refunded,
  (SELECT coalesce(sum(r.amount), 0) FROM pending_refunds r
    WHERE r.payment_intent_id = o.payment_intent_id AND r.currency = o.currency) AS refund_pending,
  (SELECT coalesce(sum(CASE o.currency WHEN d.currency THEN d.amount_lost
      WHEN d.settled_currency THEN d.settled_lost END), 0) FROM disputes d
    WHERE d.payment_intent_id = o.payment_intent_id) AS amount_charged_back,
  (SELECT coalesce(sum(CASE o.currency WHEN d.currency THEN d.amount
      WHEN d.settled_currency THEN d.settled_amount END), 0) FROM open_disputes d
    WHERE d.payment_intent_id = o.payment_intent_id) AS amount_disputed,
  EXISTS(SELECT 1 FROM foreign_disputes f WHERE f.payment_intent_id = o.payment_intent_id)
    OR EXISTS(SELECT 1 FROM foreign_refunds f WHERE f.payment_intent_id = o.payment_intent_id)
    AS has_foreign_claim,
  (SELECT count(*) FROM open_disputes d
    WHERE d.payment_intent_id = o.payment_intent_id) AS open_disputes,
  (SELECT count(*) FROM disputes d
    WHERE d.payment_intent_id = o.payment_intent_id
      AND (d.status = 'lost' OR d.amount_lost > 0)) AS lost_disputes,
  (SELECT count(*) FROM reviews w
    WHERE w.payment_intent_id = o.payment_intent_id
      AND (w.open = 1 OR coalesce(w.closed_reason, '') NOT IN('approved', 'acknowledged')))
    AS holding_reviews,
  (SELECT coalesce(sum(b.quantity - b.canceled), 0) FROM line_item_balance b
    WHERE b.order_id = o.id) AS quantity_due,
  (SELECT coalesce(sum(b.sent), 0) FROM line_item_balance b
    WHERE b.order_id = o.id) AS quantity_fulfilled
FROM orders o;

-- Why nothing of an order may be sent; NULL when it may. Money is compared by amount: what is
-- disputed, taken or refunded in part leaves the rest to be sent (see order_cautions).
CREATE VIEW order_blocks AS
SELECT o.id AS order_id,
  CASE WHEN o.payment_status NOT IN('paid', 'no_payment_required') THEN 'unpaid'
       WHEN o.canceled_at IS NOT NULL THEN 'canceled'
       WHEN o.hold_reason IS NOT NULL THEN 'on hold'
       -- Most payments have none of these, which three indexes show; the sums are for the others.
       WHEN o.payment_intent_id IN(SELECT payment_intent_id FROM refunds)
         OR o.payment_intent_id IN(SELECT payment_intent_id FROM disputes)
         OR o.payment_intent_id IN(SELECT payment_intent_id FROM reviews)
       THEN (SELECT
         -- A bank may dispute a little less than was paid: it converts, or leaves the postage. What
         -- is left then pays for no goods.
         -- What is in another currency cannot be compared: it may be all of it.
         CASE WHEN has_foreign_claim THEN
             CASE WHEN open_disputes > 0 THEN 'disputed'
               WHEN lost_disputes > 0 THEN 'dispute lost' ELSE 'refunded' END
           WHEN open_disputes > 0
             AND amount_disputed + amount_charged_back + amount_refunded + refund_pending
               >= amount_paid - max(o.amount_shipping, amount_paid / 20)
             THEN 'disputed'
           WHEN amount_charged_back > 0
             AND amount_charged_back + amount_refunded + refund_pending
               >= amount_paid - max(o.amount_shipping, amount_paid / 20)
             THEN 'dispute lost'
           WHEN holding_reviews > 0 THEN 'in review'
           WHEN amount_paid > 0 AND amount_refunded + refund_pending >= amount_paid
             THEN 'refunded' END
         -- LIMIT keeps it a step of its own, which works each sum out once.
         FROM (SELECT has_foreign_claim, open_disputes, lost_disputes, holding_reviews, amount_paid,
             amount_refunded, refund_pending, amount_charged_back, amount_disputed
           FROM order_totals WHERE id = o.id LIMIT 1) sums) END AS blocked_by
FROM orders o;

-- What the buyer wrote and chose in your own fields, as a person reads it: of a dropdown the label.
CREATE VIEW order_custom_fields AS
SELECT o.id AS order_id, f.key + 1 AS position,
  coalesce(json_extract(o.custom_fields, f.fullkey || '.label.custom'),
    json_extract(o.custom_fields, f.fullkey || '.key')) AS label,
  coalesce(json_extract(o.custom_fields, f.fullkey || '.text.value'),
    json_extract(o.custom_fields, f.fullkey || '.numeric.value'),
    (SELECT json_extract(o.custom_fields, c.fullkey || '.label')
      FROM json_each(CASE json_type(o.custom_fields, f.fullkey || '.dropdown.options')
        WHEN 'array' THEN o.custom_fields END, f.fullkey || '.dropdown.options') c
      WHERE json_extract(o.custom_fields, c.fullkey || '.value')
        = json_extract(o.custom_fields, f.fullkey || '.dropdown.value')),
    json_extract(o.custom_fields, f.fullkey || '.dropdown.value')) AS value
-- A list, or it says nothing: a name in an object may be a path that is none.
FROM orders o, json_each(CASE json_type(o.custom_fields) WHEN 'array' THEN o.custom_fields END) f;

-- What whoever packs must know, in one line: money that went back, or was taken, in part, the buyer's
-- wishes, your note. Most orders have nothing of that, which three indexes show.
CREATE VIEW order_cautions AS
SELECT m.order_id, m.money,
  CASE WHEN m.note <> '' OR m.custom_fields <> '[]' OR m.has_moved THEN
    (SELECT group_concat(part, '; ') FROM (
      SELECT m.money AS part
      UNION ALL
      SELECT label || ': ' || value FROM order_custom_fields w
        WHERE w.order_id = m.order_id AND value <> ''
      UNION ALL
      SELECT 'note: ' || m.note WHERE m.note <> '')) END AS caution
FROM (
  SELECT h.order_id, h.note, h.custom_fields, h.has_moved,
    CASE WHEN h.has_moved THEN (
      SELECT group_concat(printf('%.*f%s %s %s', coalesce(c.decimals, 2),
          1.0 * p.amount / coalesce(c.unit, 100),
          CASE WHEN p.whole IS NULL THEN '' ELSE
            printf(' of %.*f', coalesce(c.decimals, 2), 1.0 * p.whole / coalesce(c.unit, 100)) END,
          upper(p.currency), p.what), '; ')
      FROM (
        SELECT h.amount_total AS whole, h.amount_captured AS amount, h.currency AS currency,
            'captured' AS what
          WHERE h.amount_captured < h.amount_total
        UNION ALL
        SELECT t.amount_paid, CASE moves.what WHEN 'refunded' THEN t.amount_refunded + t.refund_pending
            WHEN 'charged back' THEN t.amount_charged_back ELSE t.amount_disputed END,
          h.currency, moves.what
          FROM order_totals t CROSS JOIN (SELECT 'refunded' AS what
            UNION ALL SELECT 'charged back' UNION ALL SELECT 'disputed') moves WHERE t.id = h.order_id
        UNION ALL
        SELECT NULL, f.amount, f.currency, 'dispute ' || f.status
          FROM foreign_disputes f WHERE f.order_id = h.order_id
        UNION ALL
        SELECT NULL, f.amount, f.currency, 'refund ' || f.status
          FROM foreign_refunds f WHERE f.order_id = h.order_id) p
      LEFT JOIN currency_decimals c ON c.currency = p.currency
      WHERE p.amount > 0) END AS money
  FROM (
    SELECT o.id AS order_id, o.note, o.custom_fields, o.currency, o.amount_total, o.amount_captured,
      coalesce(o.amount_captured < o.amount_total, 0)
        OR o.payment_intent_id IN(SELECT payment_intent_id FROM refunds)
        OR o.payment_intent_id IN(SELECT payment_intent_id FROM disputes)
        AS has_moved
    FROM orders o) h) m;

-- One row an order: money, parcels, and whether anything may be sent. Newest last.
CREATE VIEW order_overview AS
SELECT o.id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  coalesce(o.name, o.shipping_name, o.email) AS customer, o.email,
  (SELECT group_concat(quantity || ' × ' || name, ', ')
    FROM (SELECT quantity, name FROM line_items WHERE order_id = o.id ORDER BY position)) AS items,
  printf('%.*f %s', coalesce(c.decimals, 2), 1.0 * o.amount_total / coalesce(c.unit, 100),
    upper(o.currency)) AS total,
  CASE WHEN o.payment_status = 'failed' THEN 'voided'
       WHEN o.payment_status = 'unpaid' THEN
         CASE WHEN o.amount_capturable > 0 THEN 'authorized' ELSE 'pending' END
       -- A subscription that begins with a trial: its money comes later, if it comes.
       WHEN o.mode = 'subscription' AND o.amount_total = 0 AND o.amount_discount = 0 THEN 'pending'
       WHEN t.has_foreign_claim AND t.open_disputes = 0 THEN
         CASE WHEN t.lost_disputes > 0 THEN 'charged_back' ELSE 'refunded' END
       WHEN t.amount_charged_back > 0 THEN
         CASE WHEN t.amount_refunded + t.amount_charged_back < t.amount_paid
           THEN 'partially_charged_back' ELSE 'charged_back' END
       WHEN t.amount_refunded = 0 THEN 'paid'
       WHEN t.amount_refunded < t.amount_paid THEN 'partially_refunded'
       ELSE 'refunded' END AS financial_status,
  CASE WHEN t.quantity_due = 0 THEN 'not_required'
       WHEN t.quantity_fulfilled >= t.quantity_due THEN 'fulfilled'
       WHEN b.blocked_by IN('on hold', 'disputed', 'dispute lost', 'in review') THEN 'on_hold'
       WHEN t.quantity_fulfilled > 0 THEN 'partially_fulfilled'
       ELSE 'unfulfilled' END AS fulfillment_status,
  o.canceled_at IS NOT NULL AS canceled, b.blocked_by IS NULL AS fulfillable, b.blocked_by,
  o.hold_reason, o.note, o.currency, o.amount_total,
  t.amount_paid, t.amount_refunded, t.refund_pending, t.amount_charged_back, t.amount_disputed,
  t.open_disputes, t.lost_disputes
FROM orders o
JOIN order_totals t ON t.id = o.id
JOIN order_blocks b ON b.order_id = o.id
LEFT JOIN currency_decimals c ON c.currency = o.currency
ORDER BY o.id;

-- One row a line: what was bought, what of it has been sent.
CREATE VIEW order_lines AS
SELECT li.order_id, li.position, li.quantity, li.name, li.options, li.sku,
  CASE WHEN li.unit_amount IS NOT NULL THEN printf('%.*f %s', coalesce(c.decimals, 2),
    1.0 * li.unit_amount / coalesce(c.unit, 100), upper(li.currency)) END AS price,
  printf('%.*f %s', coalesce(c.decimals, 2), 1.0 * li.amount_total / coalesce(c.unit, 100),
    upper(li.currency)) AS total,
  b.sent, b.left_to_send, b.canceled, li.requires_shipping, li.currency, li.unit_amount,
  li.amount_total, li.id AS line_item_id
FROM line_items li
JOIN line_item_balance b ON b.line_item_id = li.id
LEFT JOIN currency_decimals c ON c.currency = li.currency
ORDER BY li.order_id, li.position;

-- The packing queue: one row a parcel that may go out now, oldest first.
CREATE VIEW to_ship AS
SELECT o.id AS order_id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  (SELECT group_concat(quantity || ' × ' || name || coalesce(' (' || options || ')', ''), ', ')
    FROM (SELECT fl.quantity, li.name, li.options
      FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
      WHERE fl.fulfillment_id = f.id ORDER BY li.position)) AS items,
  coalesce(o.shipping_name, o.name, o.email, '') ||
    coalesce(', ' || nullif(o.business_name, coalesce(o.shipping_name, o.name, '')), '') ||
    coalesce(', ' || o.shipping_line1, '') || coalesce(', ' || o.shipping_line2, '') ||
    coalesce(', ' || nullif(trim(coalesce(o.shipping_postal_code, '') || ' ' ||
      coalesce(o.shipping_city, '')), ''), '') ||
    coalesce(', ' || o.shipping_state, '') || coalesce(', ' || o.shipping_country, '') AS ship_to,
  o.shipping_option,
  nullif(rtrim(coalesce('replacement: ' || f.replacement || '; ', '') ||
    coalesce(q.caution, ''), '; '), '') AS caution,
  o.business_name,
  CASE WHEN o.custom_fields <> '[]' THEN
    (SELECT group_concat(label || ': ' || value, '; ') FROM order_custom_fields w
      WHERE w.order_id = o.id AND value <> '') END AS custom_fields,
  o.phone, o.email, o.note, f.replacement, f.id AS fulfillment_id,
  -- Its name for label services. Parcels are never deleted, so it never changes.
  o.id || '-' || (1 + (SELECT count(*) FROM fulfillments g
    WHERE g.order_id = o.id AND g.requires_shipping = 1 AND g.id < f.id)) AS parcel,
  -- Many shops weigh nothing, which an index shows once.
  CASE WHEN EXISTS(SELECT 1 FROM line_items WHERE weight_g IS NOT NULL) THEN
    (SELECT CASE WHEN count(*) = count(li.weight_g) THEN sum(li.weight_g * fl.quantity) END
      FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
      WHERE fl.fulfillment_id = f.id) END AS weight_g
FROM fulfillments f
JOIN orders o ON o.id = f.order_id
JOIN order_blocks b ON b.order_id = f.order_id
JOIN order_cautions q ON q.order_id = f.order_id
WHERE f.status = 'pending' AND f.requires_shipping = 1 AND b.blocked_by IS NULL
ORDER BY f.order_id, f.id;

-- Money that is only held: capture it in Stripe's Dashboard before the hold ends, soonest first.
-- Nothing is sent before some of it was captured.
CREATE VIEW to_capture AS
SELECT o.id AS order_id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  coalesce(o.name, o.shipping_name, o.email) AS customer,
  (SELECT group_concat(quantity || ' × ' || name, ', ')
    FROM (SELECT quantity, name FROM line_items WHERE order_id = o.id ORDER BY position)) AS items,
  printf('%.*f %s', coalesce(c.decimals, 2), 1.0 * o.amount_capturable / coalesce(c.unit, 100),
    upper(o.currency)) AS held,
  o.capture_before, o.hold_reason, o.note, o.amount_capturable, o.currency, o.payment_intent_id
FROM orders o LEFT JOIN currency_decimals c ON c.currency = o.currency
WHERE o.amount_capturable > 0 AND o.payment_status IN('unpaid', 'paid') AND o.canceled_at IS NULL
ORDER BY coalesce(o.capture_before, strftime('%Y-%m-%dT%H:%M:%SZ', o.created_at, '+7 days')), o.id;

-- The same by line, digital goods included: what may be sent now.
CREATE VIEW to_fulfill AS
SELECT f.order_id, f.id AS fulfillment_id, fl.line_item_id, li.sku, li.name, li.options,
  fl.quantity, f.requires_shipping
FROM fulfillments f
JOIN order_blocks b ON b.order_id = f.order_id
JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id
JOIN line_items li ON li.id = fl.line_item_id
WHERE f.status = 'pending' AND b.blocked_by IS NULL
ORDER BY f.order_id, f.id, li.position;

-- Events that have waited for more than ten minutes, and why.
CREATE VIEW stuck_events AS
SELECT id, type, object_id, received_at, attempts, next_attempt_at, reason_code, state_reason
FROM events
WHERE state = 'pending' AND received_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-10 minutes')
ORDER BY received_at;

-- The books: one row each time that money came or went, on the moment it did, so that a day that is
-- over stays as it is. A sale is booked when the money was there; a refund when it left, and again,
-- the other way, when it failed; a dispute when the bank took the money, and the other way when it
-- gave it back. What is captured in parts is sold with the first; the others are booked when they
-- were seen. Later payments of a subscription are not here, nor orders added by hand. What a
-- customer's credit balance paid of a sale is in its total, and did not come in at Stripe.
CREATE VIEW bookings AS
SELECT o.paid_at AS at, 'sale' AS what, o.id AS order_id, o.checkout_session_id AS source,
  o.currency, o.amount_subtotal, o.amount_discount, o.amount_shipping, o.amount_tax,
  coalesce(CASE WHEN o.capture_method IS NOT NULL THEN
      (SELECT CAST(h.old AS INTEGER) FROM order_history h
        WHERE h.order_id = o.id AND h.what = 'amount_captured' AND h.old IS NOT NULL
        ORDER BY h.id LIMIT 1) END,
    o.amount_captured, o.amount_total) AS amount_total,
  0 AS amount_refunded, 0 AS amount_charged_back, o.amount_credited
FROM orders o
WHERE o.payment_status IN('paid', 'no_payment_required')
  AND NOT(o.mode = 'subscription' AND o.amount_total = 0 AND o.amount_discount = 0)
  AND o.origin IS NULL
UNION ALL
SELECT h.at, 'capture', o.id, o.checkout_session_id, o.currency, 0, 0, 0, 0,
  CAST(h.new AS INTEGER) - CAST(h.old AS INTEGER), 0, 0, 0
FROM orders o CROSS JOIN order_history h ON h.order_id = o.id
WHERE o.payment_status = 'paid' AND o.capture_method IS NOT NULL AND o.origin IS NULL
  AND h.what = 'amount_captured' AND h.old IS NOT NULL
UNION ALL
SELECT r.created_at, 'refund', o.id, r.id, r.currency, 0, 0, 0, 0, 0, r.amount, 0, 0
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE o.payment_status IN('paid', 'no_payment_required')
  AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL
      AND (r.created_at <= coalesce(o.paid_at, '9')
        OR r.amount = o.amount_total - coalesce(o.amount_captured, o.amount_total))) = 0
UNION ALL
SELECT r.failed_at, 'refund failed', o.id, r.id, r.currency, 0, 0, 0, 0, 0, -r.amount, 0, 0
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE r.status IN('failed', 'canceled') AND r.failed_at IS NOT NULL
  AND o.payment_status IN('paid', 'no_payment_required')
  AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL
      AND (r.created_at <= coalesce(o.paid_at, '9')
        OR r.amount = o.amount_total - coalesce(o.amount_captured, o.amount_total))) = 0
UNION ALL
SELECT at, iif(amount < 0, 'chargeback', 'chargeback returned'), order_id, id, currency,
  0, 0, 0, 0, 0, 0, -amount, 0
FROM (SELECT json_extract(d.money_moves, m.fullkey || '.at') AS at, o.id AS order_id, d.id,
    CASE o.currency WHEN d.currency THEN d.currency
      WHEN d.settled_currency THEN d.settled_currency ELSE d.currency END AS currency,
    json_extract(d.money_moves, m.fullkey || CASE o.currency WHEN d.currency THEN '.amount'
      WHEN d.settled_currency THEN '.settled' ELSE '.amount' END) AS amount
  FROM disputes d JOIN orders o ON o.payment_intent_id = d.payment_intent_id,
    json_each(d.money_moves) m
  WHERE o.payment_status IN('paid', 'no_payment_required') AND json_type(d.money_moves) = 'array')
WHERE typeof(amount) = 'integer';

-- What the shop took and gave back, by the day (UTC) on which the money moved and by currency:
-- whole numbers for a spreadsheet, and the net for eyes.
CREATE VIEW sales_by_day AS
SELECT day, currency, orders, amount_subtotal, amount_discount, amount_shipping, amount_tax,
  amount_total, amount_refunded, amount_charged_back, amount_net, amount_credited,
  printf('%.*f %s', coalesce(c.decimals, 2), 1.0 * amount_net / coalesce(c.unit, 100),
    upper(currency)) AS net
FROM (SELECT substr(b.at, 1, 10) AS day, b.currency AS currency, sum(b.what = 'sale') AS orders,
    sum(b.amount_subtotal) AS amount_subtotal, sum(b.amount_discount) AS amount_discount,
    sum(b.amount_shipping) AS amount_shipping, sum(b.amount_tax) AS amount_tax,
    sum(b.amount_total) AS amount_total, sum(b.amount_refunded) AS amount_refunded,
    sum(b.amount_charged_back) AS amount_charged_back,
    sum(b.amount_total - b.amount_refunded - b.amount_charged_back) AS amount_net,
    sum(b.amount_credited) AS amount_credited
  FROM bookings b GROUP BY 1, 2) s
LEFT JOIN currency_decimals c USING(currency)
ORDER BY day, currency;

-- Everything that needs a person, dealt with or not: what `attention` shows, and what somebody has
-- dismissed. `subject` is the refund, dispute, event … that it is about, where it is not the order
-- as a whole. `since` and `facts` are what it stands on: a matter that was dismissed comes back
-- when they change, and not when its wording does.
CREATE VIEW matters AS
-- Since it could be sent: since it was paid, or since the last hold, dispute or review let it go, a
-- refund of what was left failed, or a parcel came back; of a replacement, since it was ordered.
SELECT 'unsent' AS reason, u.order_id, NULL AS subject, min(u.since) AS since,
  'could be sent more than three days ago and is not' AS what,
  CASE WHEN u.requires_shipping = 0 THEN 'INSERT INTO deliver VALUES(' || u.order_id || ');'
    WHEN (SELECT count(*) FROM fulfillments g
      WHERE g.order_id = u.order_id AND g.status = 'pending' AND g.requires_shipping = 1) > 1
    THEN 'INSERT INTO ship_parcel VALUES(' || min(u.fulfillment_id) ||
      ', ''company'', ''number'', NULL);'
    ELSE 'INSERT INTO ship VALUES(' || u.order_id || ', ''company'', ''number'', NULL);'
    END AS next,
  '[]' AS facts
FROM (SELECT o.id AS order_id, f.id AS fulfillment_id, f.requires_shipping,
    max(o.paid_at,
      coalesce((SELECT max(h.at) FROM order_history h
        WHERE h.order_id = o.id
          AND (h.what = 'hold_reason' OR h.what GLOB 'dispute *' OR h.what GLOB 'review *')), ''),
      coalesce((SELECT max(r.failed_at) FROM refunds r JOIN order_totals t ON t.id = o.id
        WHERE r.payment_intent_id = o.payment_intent_id AND r.status IN('failed', 'canceled')
          AND r.amount + t.amount_refunded + t.refund_pending >= t.amount_paid), ''),
      coalesce((SELECT max(g.canceled_at) FROM fulfillments g
        WHERE g.order_id = o.id AND g.shipped_at IS NOT NULL AND g.status = 'canceled'), ''),
      CASE WHEN f.replacement IS NULL THEN '' ELSE f.created_at END) AS since
  FROM fulfillments f JOIN orders o ON o.id = f.order_id
  WHERE f.status = 'pending' AND o.paid_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-3 days')
    AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL) u
WHERE u.since < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-3 days')
GROUP BY u.order_id, u.requires_shipping
UNION ALL
SELECT 'no_address', o.id, NULL, o.paid_at, 'goods to ship and no address',
  'UPDATE orders SET shipping_name = ''…'', shipping_line1 = ''…'', ' ||
    'shipping_postal_code = ''…'', shipping_city = ''…'', shipping_country = ''…'' WHERE id = ' ||
    o.id || ';',
  '[]'
FROM fulfillments f JOIN orders o ON o.id = f.order_id
-- A shipping option that costs nothing and asks for no address is how a shop offers to pick it up.
WHERE f.status = 'pending' AND f.requires_shipping = 1 AND o.shipping_line1 IS NULL
  AND (o.shipping_option IS NULL OR o.amount_shipping > 0)
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
UNION ALL
SELECT 'no_lines', o.id, NULL, o.paid_at, 'paid, and Stripe names nothing that was bought',
  'look at the session ' || o.checkout_session_id || ' in Stripe''s Dashboard', '[]'
FROM unbalanced_orders u CROSS JOIN orders o ON o.id = u.order_id
WHERE u.lines = 0 AND o.payment_status IN('paid', 'no_payment_required') AND o.canceled_at IS NULL
UNION ALL
SELECT 'sums_differ', o.id, NULL, o.created_at,
  'the parts do not add up to the total that Stripe names',
  'SELECT * FROM order_lines WHERE order_id = ' || o.id || ';',
  json_array(o.amount_total, o.amount_subtotal, o.amount_discount, o.amount_shipping, o.amount_tax)
FROM orders o
WHERE o.payment_status <> 'failed' AND o.canceled_at IS NULL AND o.id IN(
  -- Tax may be inside the prices or on top of them, so the difference it explains lies between
  -- nothing and all of it.
  SELECT id FROM orders
    WHERE amount_total - (amount_subtotal - amount_discount + amount_shipping)
      NOT BETWEEN 0 AND amount_tax
  UNION SELECT order_id FROM unbalanced_orders WHERE difference <> 0)
UNION ALL
SELECT 'held', o.id, NULL, o.at, 'on hold for more than a week: ' || o.hold_reason,
  'INSERT INTO release VALUES(' || o.id || ');', json_array(o.hold_reason)
FROM (SELECT id, hold_reason,
    (SELECT max(h.at) FROM order_history h
      WHERE h.order_id = orders.id AND h.what = 'hold_reason') AS at
  FROM orders WHERE hold_reason IS NOT NULL) o
WHERE o.at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-7 days')
UNION ALL
SELECT 'capture_due', o.id, NULL, o.created_at,
  CASE o.payment_status WHEN 'paid' THEN 'a part of the money' ELSE 'the money' END ||
    ' is only held' || coalesce(' until ' || o.capture_before, '') ||
    ': capture it, or it goes back to the buyer',
  'capture ' || coalesce(o.payment_intent_id, 'the payment') || ' in Stripe''s Dashboard',
  json_array(o.capture_before)
FROM orders o
WHERE o.amount_capturable > 0 AND o.payment_status IN('unpaid', 'paid') AND o.canceled_at IS NULL
  AND coalesce(o.capture_before, '9') > strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
  -- A card's hold lives seven days; Stripe does not say it of every way to pay.
  AND coalesce(o.capture_before, strftime('%Y-%m-%dT%H:%M:%SZ', o.created_at, '+7 days'))
    < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+2 days')
UNION ALL
SELECT 'authorization_ended', o.id, NULL, coalesce(o.capture_before, o.created_at),
  'the money was held and never captured: the buyer has not paid',
  'INSERT INTO cancel VALUES(' || o.id || ', ''declined'');', '[]'
FROM orders o
WHERE o.capture_method IS NOT NULL AND o.canceled_at IS NULL
  AND (o.payment_status = 'failed' OR (o.payment_status = 'unpaid'
    AND o.capture_before <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))
UNION ALL
-- A transfer takes a working day or two, a debit up to two weeks; what a buyer pays in a shop expires.
SELECT 'payment_overdue', o.id, NULL, o.created_at,
  CASE WHEN o.amount_awaited IS NULL THEN 'the payment has been on its way for more than two weeks'
    ELSE printf('the buyer has not sent %.*f of %.*f %s by bank transfer for more than a week',
      coalesce(c.decimals, 2), 1.0 * o.amount_awaited / coalesce(c.unit, 100),
      coalesce(c.decimals, 2), 1.0 * o.amount_total / coalesce(c.unit, 100), upper(o.currency)) END,
  'remind the buyer, or cancel ' || coalesce(o.payment_intent_id, 'the payment') ||
    ' in Stripe''s Dashboard',
  json_array(o.amount_awaited)
FROM orders o LEFT JOIN currency_decimals c ON c.currency = o.currency
WHERE o.payment_status = 'unpaid' AND o.line_items_at IS NOT NULL AND o.origin IS NULL
  AND o.capture_method IS NULL AND o.canceled_at IS NULL
  AND o.created_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now',
    iif(o.amount_awaited IS NULL, '-14 days', '-7 days'))
UNION ALL
SELECT 'paid_twice', o.id, NULL, o.paid_at,
  'order ' || e.id || ' was paid with the same reference, ' || o.client_reference_id ||
    ': does the buyer want both?',
  'SELECT * FROM order_overview WHERE id IN(' || e.id || ', ' || o.id || ');', json_array(e.id)
-- The pairs first, which two indexes show without the orders themselves; LIMIT keeps it a step of
-- its own.
FROM (SELECT r.id AS later, s.id AS earlier
    FROM orders r
    CROSS JOIN orders s ON s.client_reference_id = r.client_reference_id AND s.id < r.id
    WHERE r.client_reference_id IS NOT NULL
      AND r.created_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-30 days') LIMIT -1) p
JOIN orders o ON o.id = p.later
JOIN orders e ON e.id = p.earlier
WHERE o.payment_status = 'paid' AND e.payment_status = 'paid'
  AND o.amount_total > 0 AND e.amount_total > 0
  AND o.canceled_at IS NULL AND e.canceled_at IS NULL
  -- The same reference on another day is a customer's, and one in a link that many use is nobody's.
  AND abs(julianday(o.created_at) - julianday(e.created_at)) < 2
  AND (o.payment_link_id IS NULL OR lower(o.email) = lower(e.email))
  AND (SELECT amount_refunded + refund_pending + amount_charged_back < amount_paid
    FROM order_totals t WHERE t.id = o.id)
  AND (SELECT amount_refunded + refund_pending + amount_charged_back < amount_paid
    FROM order_totals t WHERE t.id = e.id)
GROUP BY o.id
UNION ALL
SELECT 'partly_refunded', o.id, NULL,
  max(coalesce((SELECT max(r.created_at) FROM refunds r
      WHERE r.payment_intent_id = o.payment_intent_id), ''),
    coalesce((SELECT max(d.created_at) FROM disputes d
      WHERE d.payment_intent_id = o.payment_intent_id), '')),
  (SELECT money FROM order_cautions q WHERE q.order_id = o.id) ||
    ', and goods still wait to be sent: which of them?',
  'SELECT * FROM order_lines WHERE order_id = ' || o.id || ';',
  json_array(t.amount_refunded + t.refund_pending, t.amount_charged_back, t.amount_disputed)
FROM fulfillments f
JOIN orders o ON o.id = f.order_id
JOIN order_totals t ON t.id = o.id
WHERE f.status = 'pending'
  -- The few payments of which any money moved, which two indexes show.
  AND (+o.payment_intent_id IN(SELECT payment_intent_id FROM refunds)
    OR +o.payment_intent_id IN(SELECT payment_intent_id FROM disputes))
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back > 0
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
  AND NOT EXISTS(SELECT 1 FROM refunds r WHERE r.payment_intent_id = o.payment_intent_id
    AND r.status NOT IN('pending', 'requires_action', 'succeeded', 'failed', 'canceled'))
  -- What was refunded for goods that are canceled is dealt with.
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back >
    (SELECT coalesce(sum(
        (li.amount_total * li.canceled_quantity + li.quantity - 1) / li.quantity), 0)
      FROM line_items li WHERE li.order_id = o.id)
GROUP BY o.id
UNION ALL
SELECT 'canceled_not_refunded', o.id, NULL, o.canceled_at,
  CASE WHEN o.payment_status = 'paid' THEN 'canceled, and the buyer''s money is not refunded'
    ELSE 'canceled, and the buyer''s money is still held' END,
  CASE WHEN o.payment_status = 'paid' THEN 'refund ' ELSE 'cancel ' END ||
    coalesce(o.payment_intent_id, o.checkout_session_id) || ' in Stripe''s Dashboard',
  json_array(o.payment_status = 'paid')
FROM orders o JOIN order_totals t ON t.id = o.id
WHERE o.origin IS NULL AND o.canceled_at IS NOT NULL
  AND (o.amount_capturable > 0 OR (o.payment_status = 'paid' AND NOT t.has_foreign_claim
    AND t.amount_refunded + t.refund_pending + t.amount_charged_back < t.amount_paid))
  -- While it is disputed Stripe refuses a refund, but for an inquiry: then the dispute decides.
  AND NOT EXISTS(SELECT 1 FROM open_disputes d
    WHERE d.payment_intent_id = o.payment_intent_id AND d.is_charge_refundable = 0)
UNION ALL
SELECT 'canceled_not_refunded', o.id, NULL,
  (SELECT max(h.at) FROM order_history h
    WHERE h.order_id = o.id AND h.what GLOB 'line * canceled_quantity'),
  'goods are canceled for more than was refunded',
  'refund ' || coalesce(o.payment_intent_id, o.checkout_session_id) ||
    ' in part in Stripe''s Dashboard',
  '[]'
FROM (SELECT li.order_id, sum(li.amount_total * li.canceled_quantity / li.quantity) AS amount
  FROM line_items li WHERE li.canceled_quantity > 0 GROUP BY li.order_id) g
JOIN orders o ON o.id = g.order_id
JOIN order_totals t ON t.id = o.id
WHERE o.origin IS NULL AND o.canceled_at IS NULL AND o.payment_status = 'paid'
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back < min(g.amount, t.amount_paid)
  AND NOT EXISTS(SELECT 1 FROM open_disputes d
    WHERE d.payment_intent_id = o.payment_intent_id AND d.is_charge_refundable = 0)
UNION ALL
SELECT 'refunded_not_canceled', o.id, NULL, o.paid_at,
  CASE WHEN (SELECT refund_pending > 0 FROM order_totals t WHERE t.id = o.id)
    THEN 'all of the money is refunded or on its way to the buyer'
    ELSE 'all of the money is refunded' END || ', and goods still wait to be sent',
  'INSERT INTO cancel VALUES(' || o.id || ', ''customer'');', '[]'
FROM fulfillments f JOIN orders o ON o.id = f.order_id
WHERE f.status = 'pending'
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) = 'refunded'
GROUP BY o.id
UNION ALL
SELECT 'refunded_after_shipping', o.id, r.id, r.created_at,
  'refunded after it was shipped: are the goods coming back?',
  'SELECT * FROM order_history WHERE order_id = ' || o.id || ';', '[]'
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE r.status = 'succeeded' AND r.created_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-14 days')
  AND EXISTS(SELECT 1 FROM fulfillments f
    WHERE f.order_id = o.id AND f.status IN('shipped', 'delivered')
      AND coalesce(f.shipped_at, f.delivered_at) < r.created_at)
UNION ALL
-- Shown until what was refunded later covers it.
SELECT 'refund_failed',
  coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = r.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = r.subscription_id)),
  r.id, r.created_at,
  'a refund did not reach the buyer (' || coalesce(r.failure_reason, r.status) || ')' ||
    CASE WHEN r.subscription_id IS NULL THEN ''
      ELSE ', of a later payment of ' || r.subscription_id END,
  'look at ' || r.id || ' in Stripe''s Dashboard', json_array(r.status, r.failure_reason)
FROM refunds r
WHERE r.status <> 'succeeded' AND r.status IN('failed', 'requires_action')
  AND (SELECT coalesce(sum(l.amount), 0) FROM refunds l
      WHERE l.payment_intent_id = r.payment_intent_id AND l.id <> r.id
        AND l.currency = r.currency AND l.created_at >= r.created_at
        AND l.status NOT IN('failed', 'canceled', 'requires_action'))
    < (SELECT sum(l.amount) FROM refunds l
      WHERE l.payment_intent_id = r.payment_intent_id
        AND l.currency = r.currency AND l.created_at >= r.created_at
        AND l.status IN('failed', 'requires_action'))
  AND NOT EXISTS(SELECT 1 FROM orders o JOIN order_totals t ON t.id = o.id
    WHERE o.payment_intent_id = r.payment_intent_id AND t.amount_paid > 0
      AND t.amount_refunded + t.amount_charged_back >= t.amount_paid)
UNION ALL
SELECT 'refund_unknown',
  coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = r.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = r.subscription_id)),
  r.id, r.created_at,
  'a refund is ' || r.status ||
    ', a word that this version does not know; it is not counted as succeeded',
  'look at ' || r.id || ' in Stripe''s Dashboard, and upgrade fulfilld', json_array(r.status)
FROM refunds r
WHERE r.status <> 'succeeded'
  AND r.status NOT IN('pending', 'requires_action', 'failed', 'canceled')
UNION ALL
-- The few disputes that are open or lost, and refunds of two weeks: Stripe makes none of those.
SELECT 'other_currency', claim.order_id, claim.id, claim.created_at,
  printf('a %s of %.*f %s belongs to a payment in %s: no sum of the order has it, the books have it in %s',
    claim.kind, coalesce(c.decimals, 2), 1.0 * claim.amount / coalesce(c.unit, 100),
    upper(claim.currency), upper(claim.order_currency), upper(claim.currency)),
  'look in Stripe''s Dashboard what ' || claim.id || ' took from your balance',
  json_array(claim.amount, claim.currency, claim.status)
FROM (SELECT v.*, 'dispute' AS kind
      FROM open_disputes d CROSS JOIN foreign_disputes v ON v.id = d.id
    UNION SELECT v.*, 'dispute' FROM disputes d CROSS JOIN foreign_disputes v ON v.id = d.id
      WHERE d.amount_lost > 0
    UNION SELECT v.*, 'refund' FROM refunds r CROSS JOIN foreign_refunds v ON v.id = r.id
      WHERE r.status = 'succeeded'
        AND r.created_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-14 days')) claim
LEFT JOIN currency_decimals c ON c.currency = claim.currency
UNION ALL
SELECT 'dispute_due',
  coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = d.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = d.subscription_id)),
  d.id, d.created_at,
  -- An inquiry takes no money yet, and a refund ends it.
  CASE d.status WHEN 'warning_needs_response' THEN 'the buyer''s bank inquires about '
      ELSE 'the buyer disputes ' END ||
    CASE WHEN d.subscription_id IS NULL THEN 'the payment'
      ELSE 'a later payment of ' || d.subscription_id END ||
    ' (' || coalesce(d.reason, 'no reason') || '); ' ||
    CASE WHEN d.evidence_due_by < strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
      THEN 'it could be answered until ' || d.evidence_due_by
      ELSE CASE d.status WHEN 'warning_needs_response' THEN 'answer or refund it '
        ELSE 'answer ' END || coalesce('by ' || d.evidence_due_by, 'soon') END ||
    -- What a bank asks first of a shop that has given the money back already.
    CASE WHEN EXISTS(SELECT 1 FROM refunds r WHERE r.payment_intent_id = d.payment_intent_id
        AND r.status NOT IN('failed', 'canceled')) THEN '; say what was refunded' ELSE '' END,
  'look at ' || d.id || ' in Stripe''s Dashboard',
  json_array(d.status, d.reason, d.evidence_due_by)
FROM disputes d
WHERE d.status IN('warning_needs_response', 'needs_response', 'appeal_needs_response')
UNION ALL
SELECT 'dispute_lost', o.id, NULL, max(d.created_at),
  'a dispute took the money, and goods still wait to be sent',
  'INSERT INTO cancel VALUES(' || o.id || ', ''fraud'');', '[]'
-- the few disputes first
FROM disputes d CROSS JOIN orders o ON o.payment_intent_id = d.payment_intent_id
WHERE d.amount_lost > 0
  AND EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = o.id AND f.status = 'pending')
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) = 'dispute lost'
GROUP BY o.id
UNION ALL
SELECT 'in_review',
  coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = w.subscription_id)),
  w.id, w.created_at,
  CASE w.open WHEN 1 THEN 'Stripe holds ' ||
      CASE WHEN w.subscription_id IS NULL THEN 'the payment'
        ELSE 'a later payment of ' || w.subscription_id END || ' for review'
    ELSE 'a review ended with: ' || coalesce(w.closed_reason, 'no reason') END,
  CASE w.open WHEN 1 THEN 'approve or refund it in Stripe''s Dashboard'
    ELSE 'INSERT INTO cancel VALUES(' ||
      (SELECT o.id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id) ||
      ', ''fraud'');' END,
  json_array(w.open, w.closed_reason)
FROM reviews w
WHERE NOT EXISTS(SELECT 1 FROM orders o
    WHERE o.payment_intent_id = w.payment_intent_id AND o.canceled_at IS NOT NULL)
  AND (w.open = 1 OR coalesce(w.closed_reason, '') NOT IN('approved', 'acknowledged'))
  AND (w.open = 1 OR (EXISTS(SELECT 1 FROM orders o JOIN fulfillments f ON f.order_id = o.id
    WHERE o.payment_intent_id = w.payment_intent_id AND f.status = 'pending')))
UNION ALL
SELECT 'fraud_warning',
  coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = w.subscription_id)),
  w.id, w.created_at,
  'the card''s issuer suspects fraud (' || coalesce(w.fraud_type, 'no type') || ')' ||
    CASE WHEN w.subscription_id IS NULL THEN ''
      ELSE ' in a later payment of ' || w.subscription_id END,
  'refund it in Stripe''s Dashboard' ||
    coalesce(', or hold it: INSERT INTO hold VALUES(' ||
      (SELECT o.id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id) ||
      ', ''fraud warning'');', ''),
  json_array(w.fraud_type)
FROM fraud_warnings w
WHERE w.actionable = 1
  -- Canceled, held, given back already, or in a dispute during which Stripe refuses a refund.
  AND NOT EXISTS(SELECT 1 FROM orders o JOIN order_totals t ON t.id = o.id
    WHERE o.payment_intent_id = w.payment_intent_id
      AND (o.canceled_at IS NOT NULL OR o.hold_reason IS NOT NULL OR (t.amount_paid > 0
        AND t.amount_refunded + t.refund_pending + t.amount_charged_back >= t.amount_paid)))
  AND NOT EXISTS(SELECT 1 FROM open_disputes d
    WHERE d.payment_intent_id = w.payment_intent_id AND d.is_charge_refundable = 0)
UNION ALL
SELECT 'event_failed', NULL, e.id, e.received_at,
  e.type || ': ' || coalesce(e.state_reason, 'no reason'),
  'fulfilld events show ' || e.word || '; then: fulfilld replay ' || e.word,
  json_array(e.seq)  -- it gets another one when it is processed again
FROM (SELECT id, type, received_at, state_reason, seq,
    -- An id is text from outside: in a line for the shell it is one word and no option.
    CASE WHEN id GLOB '[A-Za-z0-9]*' AND id NOT GLOB '*[^A-Za-z0-9_]*' THEN id
      ELSE '-- ''' || replace(id, '''', '''\''''') || '''' END AS word
  FROM events WHERE state = 'failed') e
UNION ALL
SELECT 'event_stuck', NULL, e.id, e.received_at,
  e.type || ' waits: ' || coalesce(e.state_reason, 'not tried yet; is fulfilld running?'),
  'SELECT * FROM stuck_events;', json_array(e.seq)
FROM events e
WHERE e.state = 'pending' AND e.received_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hours')
UNION ALL
SELECT a.name, NULL, NULL, a.since, a.message, a.next, json_array(a.about) FROM alarms a
UNION ALL
SELECT 'hook_dead', x.order_id, coalesce(x.event_id, 'news ' || x.id), x.created_at,
  'a hook for ' || x.topic || ' gave up: ' || coalesce(x.last_error, 'no reason'),
  'fulfilld hooks retry ' || x.id, json_array(x.attempts)
FROM outbox x WHERE x.state = 'dead'
UNION ALL
SELECT 'hook_fails', NULL, r.target, min(r.first_try_at),
  'the hook ' || r.target || ' has failed for more than an hour, its notifications wait (' ||
    count(*) || '): ' || max(r.last_error),
  'fulfilld hooks list; once it is fixed they continue by themselves', '[]'
FROM hook_runs r JOIN outbox x ON x.id = r.outbox_id AND x.state = 'pending'
WHERE r.state = 'pending' AND r.last_error IS NOT NULL
  AND r.first_try_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hours')
GROUP BY r.target;

-- What nobody has dismissed as it is now.
CREATE VIEW open_matters AS
SELECT reason, order_id, subject, coalesce(subject, order_id, '') || '' AS about, since, what,
  next, facts
FROM matters m
WHERE NOT EXISTS(SELECT 1 FROM dismissals d
  WHERE d.reason = m.reason AND d.subject = coalesce(m.subject, m.order_id, '') || ''
    AND d.since = coalesce(m.since, '') AND d.facts = m.facts);

-- Everything that needs a person: one row and one reason each, with the line to type next. Empty in
-- a clean shop.
CREATE VIEW attention AS
SELECT reason, order_id, (SELECT e.id FROM events e WHERE e.id = m.subject) AS event_id, since,
  what, next, subject
FROM open_matters m;

-- For whoever opens the file first.
CREATE VIEW readme AS
SELECT 'look' AS kind, 'what is to be packed' AS what, 'SELECT * FROM to_ship;' AS type
UNION ALL VALUES
  ('look', 'every order, newest last', 'SELECT * FROM order_overview;'),
  ('look', 'one order', 'SELECT * FROM order_overview WHERE id = 1;'),
  ('look', 'what was bought', 'SELECT * FROM order_lines WHERE order_id = 1;'),
  ('look', 'what needs you', 'SELECT * FROM attention;'),
  ('look', 'money that is only held, to be captured', 'SELECT * FROM to_capture;'),
  ('look', 'what the shop took and gave back, by day', 'SELECT * FROM sales_by_day;'),
  ('look', 'money that went back', 'SELECT * FROM refunds;'),
  ('look', 'who changed what', 'SELECT * FROM order_history WHERE order_id = 1;'),
  ('look', 'what is left, by line', 'SELECT * FROM to_fulfill;'),
  ('look', 'what your hooks were notified of', 'SELECT * FROM hook_runs;'),
  ('do', 'of line 1 all goes first; the rest waits in a parcel of its own',
      'INSERT INTO ship_items VALUES(5, ''1'', ''DHL'', ''JD0123456788'', NULL);'),
  ('do', 'ship an order', 'INSERT INTO ship VALUES(1, ''DHL'', ''JD0123456789'', NULL);'),
  ('do', 'ship it, the long way',
      'UPDATE fulfillments SET status = ''shipped'', tracking_company = ''DHL'', ' ||
      'tracking_number = ''JD0123456789'' WHERE order_id = 1 AND status = ''pending'';'),
  ('do', 'it arrived; digital goods are sent', 'INSERT INTO deliver VALUES(1);'),
  ('do', 'hold an order', 'INSERT INTO hold VALUES(1, ''asks for another color'');'),
  ('do', 'release it from hold', 'INSERT INTO release VALUES(1);'),
  ('do', 'cancel what has not been sent', 'INSERT INTO cancel VALUES(2, ''customer'');'),
  ('do', 'correct an address',
      'UPDATE orders SET shipping_line1 = ''12 Rue Exemple'' WHERE id = 1;'),
  ('do', 'what attention shows of an order is dealt with',
      'INSERT INTO dismiss SELECT order_id, reason FROM attention WHERE order_id = 2;'),
  ('do', 'write a note', 'UPDATE orders SET note = ''gift wrap'' WHERE id = 1;'),
  ('do', 'process an event again', 'UPDATE events SET state = ''pending'' WHERE id = ''evt_1'';'),
  ('know', 'take back what you typed last', 'fulfilld undo'),
  ('know', 'before you edit', '.timeout 5000'),
  ('know', 'an open BEGIN keeps new orders waiting', 'COMMIT;');

-- INSERT INTO ship VALUES(1042, 'DHL', 'JD0123456789', NULL): everything of the order that is to be
-- shipped goes out.
CREATE VIEW ship AS
SELECT order_id, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_insert INSTEAD OF INSERT ON ship
BEGIN
  SELECT RAISE(ABORT, 'ship: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT CASE (SELECT blocked_by FROM order_blocks WHERE order_id = NEW.order_id)
    WHEN 'unpaid' THEN RAISE(ABORT,
        'ship: the order is not paid; it can be shipped once Stripe says that it is')
    WHEN 'canceled' THEN RAISE(ABORT,
        'ship: the order is canceled; nothing of it can be shipped') END;
  SELECT RAISE(ABORT,
      'ship: everything of it that needs a parcel has been shipped already (see order_lines)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments
        WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1)
      AND EXISTS(SELECT 1 FROM line_items WHERE order_id = NEW.order_id AND requires_shipping = 1);
  SELECT RAISE(ABORT,
      'ship: nothing in it needs a parcel; digital goods: INSERT INTO deliver VALUES(…)')
    WHERE NOT EXISTS(SELECT 1 FROM line_items
        WHERE order_id = NEW.order_id AND requires_shipping = 1);
  SELECT RAISE(ABORT,
      'ship: several parcels wait (see to_ship): INSERT INTO ship_parcel VALUES(fulfillment_id, …)')
    WHERE (SELECT count(*) FROM fulfillments
        WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1) > 1;
  UPDATE fulfillments SET status = 'shipped', tracking_company = NEW.tracking_company,
    tracking_number = NEW.tracking_number, tracking_url = NEW.tracking_url
  WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1;
END;

-- INSERT INTO ship_parcel VALUES(17, 'DHL', 'JD0123456789', NULL): one of several parcels goes out,
-- by its fulfillment_id in to_ship.
CREATE VIEW ship_parcel AS
SELECT id AS fulfillment_id, tracking_company, tracking_number, tracking_url
FROM fulfillments WHERE 0;
CREATE TRIGGER ship_parcel_insert INSTEAD OF INSERT ON ship_parcel
BEGIN
  SELECT RAISE(ABORT, 'ship_parcel: no such parcel waits (see fulfillment_id in to_ship)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments
        WHERE id = NEW.fulfillment_id AND status = 'pending' AND requires_shipping = 1);
  UPDATE fulfillments SET status = 'shipped', tracking_company = NEW.tracking_company,
    tracking_number = NEW.tracking_number, tracking_url = NEW.tracking_url
  WHERE id = NEW.fulfillment_id;
END;

-- INSERT INTO ship_items VALUES(1042, '1,2x3', 'DHL', 'JD0123456789', NULL): all of line 1 and
-- three of line 2 go out (position in order_lines); the rest waits in a parcel of its own.
CREATE VIEW ship_items AS
SELECT order_id, '' AS items, tracking_company, tracking_number, tracking_url
FROM fulfillments WHERE 0;
CREATE TRIGGER ship_items_insert INSTEAD OF INSERT ON ship_items
BEGIN
  SELECT RAISE(ABORT, 'ship_items: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  INSERT INTO wanted VALUES('ship', NEW.order_id, NEW.items, NEW.tracking_company,
    NEW.tracking_number, NEW.tracking_url, NULL);
END;

-- INSERT INTO reship VALUES(1042, 'lost'): everything that was sent is sent once more, in a parcel
-- beside what was bought. The reason is lost, damaged, wrong or other. A part of it: INSERT INTO
-- reship_items VALUES(1042, '1,2x3', 'damaged').
CREATE VIEW reship AS SELECT order_id, replacement AS reason FROM fulfillments WHERE 0;
CREATE TRIGGER reship_insert INSTEAD OF INSERT ON reship
BEGIN
  SELECT RAISE(ABORT, 'reship: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'reship: the reason is lost, damaged, wrong or other')
    WHERE NEW.reason IS NULL OR NEW.reason NOT IN('lost', 'damaged', 'wrong', 'other');
  SELECT RAISE(ABORT,
      'reship: nothing of it has been shipped yet that could be sent once more (see order_lines)')
    WHERE NOT EXISTS(SELECT 1 FROM line_item_balance
        WHERE order_id = NEW.order_id AND requires_shipping = 1 AND sent > 0);
  INSERT INTO fulfillments(order_id, replacement) VALUES(NEW.order_id, NEW.reason);
END;
CREATE VIEW reship_items AS
SELECT order_id, '' AS items, replacement AS reason FROM fulfillments WHERE 0;
CREATE TRIGGER reship_items_insert INSTEAD OF INSERT ON reship_items
BEGIN
  INSERT INTO wanted VALUES('reship', NEW.order_id, NEW.items, NULL, NULL, NULL, NEW.reason);
END;

-- INSERT INTO deliver VALUES(1042): its parcels have arrived, and its digital goods are sent.
CREATE VIEW deliver AS SELECT order_id FROM fulfillments WHERE 0;
CREATE TRIGGER deliver_insert INSTEAD OF INSERT ON deliver
BEGIN
  SELECT RAISE(ABORT, 'deliver: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT,
      'deliver: nothing of it is on its way and nothing digital waits; first: INSERT INTO ship VALUES(…)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id
      AND (status = 'shipped' OR (status = 'pending' AND requires_shipping = 0)));
  UPDATE fulfillments SET status = 'delivered'
  WHERE order_id = NEW.order_id
    AND (status = 'shipped' OR (status = 'pending' AND requires_shipping = 0));
END;

-- INSERT INTO deliver_parcel VALUES(17): one of several parcels on their way has arrived, by its id
-- in fulfillments.
CREATE VIEW deliver_parcel AS SELECT id AS fulfillment_id FROM fulfillments WHERE 0;
CREATE TRIGGER deliver_parcel_insert INSTEAD OF INSERT ON deliver_parcel
BEGIN
  SELECT RAISE(ABORT, 'deliver_parcel: no such parcel is on its way (see fulfillments)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments WHERE id = NEW.fulfillment_id
      AND (status = 'shipped' OR (status = 'pending' AND requires_shipping = 0)));
  UPDATE fulfillments SET status = 'delivered' WHERE id = NEW.fulfillment_id;
END;

-- INSERT INTO cancel VALUES(1042, 'customer'): what has not been sent will not be, a replacement
-- included. The money goes back in Stripe's Dashboard.
CREATE VIEW cancel AS SELECT id AS order_id, cancel_reason AS reason FROM orders WHERE 0;
CREATE TRIGGER cancel_insert INSTEAD OF INSERT ON cancel
BEGIN
  SELECT RAISE(ABORT, 'cancel: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'cancel: the reason is customer, fraud, inventory, declined, staff or other')
    WHERE NEW.reason IS NULL
      OR NEW.reason NOT IN('customer', 'fraud', 'inventory', 'declined', 'staff', 'other');
  SELECT RAISE(ABORT, 'cancel: it is canceled already')
    WHERE (SELECT canceled_at FROM orders WHERE id = NEW.order_id) IS NOT NULL;
  SELECT RAISE(ABORT,
      'cancel: all of it has been sent already; a refund is made in Stripe''s Dashboard')
    WHERE EXISTS(SELECT 1 FROM fulfillments
        WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'))
      AND NOT EXISTS(SELECT 1 FROM line_item_balance
          WHERE order_id = NEW.order_id AND left_to_send > 0)
      AND NOT EXISTS(SELECT 1 FROM fulfillments
          WHERE order_id = NEW.order_id AND status = 'pending');
  UPDATE line_items SET cancel_reason = NEW.reason, canceled_quantity = quantity -
    (SELECT sent FROM line_item_balance b WHERE b.line_item_id = line_items.id)
  WHERE order_id = NEW.order_id
    AND (SELECT left_to_send > 0 FROM line_item_balance b WHERE b.line_item_id = line_items.id)
    AND EXISTS(SELECT 1 FROM fulfillments
      WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'));
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NOT NULL
    AND EXISTS(SELECT 1 FROM fulfillments
      WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'));
  UPDATE orders SET canceled_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), cancel_reason = NEW.reason
  WHERE id = NEW.order_id
    AND NOT EXISTS(SELECT 1 FROM fulfillments
      WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'));
END;

-- INSERT INTO hold VALUES(1042, 'asks for another color'): nothing of it can be sent until it is
-- released.
CREATE VIEW hold AS SELECT id AS order_id, hold_reason AS reason FROM orders WHERE 0;
CREATE TRIGGER hold_insert INSTEAD OF INSERT ON hold
BEGIN
  SELECT RAISE(ABORT, 'hold: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'hold: say why, for whoever packs next')
    WHERE trim(coalesce(NEW.reason, '')) = '';
  UPDATE orders SET hold_reason = NEW.reason WHERE id = NEW.order_id;
END;

-- INSERT INTO release VALUES(1042): the order is no longer on hold.
CREATE VIEW release AS SELECT id AS order_id FROM orders WHERE 0;
CREATE TRIGGER release_insert INSTEAD OF INSERT ON release
BEGIN
  SELECT RAISE(ABORT, 'release: there is no such order (see order_overview)')
    WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'release: it is not on hold')
    WHERE (SELECT hold_reason FROM orders WHERE id = NEW.order_id) IS NULL;
  UPDATE orders SET hold_reason = NULL WHERE id = NEW.order_id;
END;

-- INSERT INTO dismiss VALUES(1042, 'refunded_after_shipping'): a person has dealt with it, and
-- attention shows it no more until its facts change. What has no order is named by its subject:
-- INSERT INTO dismiss VALUES('dp_1', 'dispute_due').
CREATE VIEW dismiss AS SELECT order_id, reason FROM dismissals WHERE 0;
CREATE TRIGGER dismiss_insert INSTEAD OF INSERT ON dismiss
BEGIN
  SELECT RAISE(ABORT,
      'dismiss: attention shows no such thing; what it shows: SELECT order_id, subject, reason FROM attention')
    WHERE NOT EXISTS(SELECT 1 FROM attention m WHERE m.reason = NEW.reason
      AND (m.order_id IS NEW.order_id OR CAST(m.order_id AS TEXT) = CAST(NEW.order_id AS TEXT)
          OR m.subject = NEW.order_id));
  INSERT INTO dismissals(reason, subject, order_id, since, facts, what, actor)
  SELECT m.reason, m.about, m.order_id, coalesce(m.since, '') AS began, m.facts, min(m.what),
    actor.name
  FROM open_matters m, actor
  WHERE m.reason = NEW.reason
    AND (m.order_id IS NEW.order_id OR CAST(m.order_id AS TEXT) = CAST(NEW.order_id AS TEXT)
        OR m.subject = NEW.order_id)
  GROUP BY m.reason, m.about, m.order_id, began, m.facts, actor.name;
END;
