-- A shop's file as fulfilld 0.1 left it: a demo, lines typed into a shell, hooks that ran. Made with .dump; never edit it.
PRAGMA application_id = 1718380132;
PRAGMA user_version = 1;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE shop(
  one        INTEGER PRIMARY KEY CHECK(one = 1),
  livemode   INTEGER NOT NULL CHECK(livemode IN(0, 1)),  -- 1: real money; a file never holds both
  created_at TEXT NOT NULL
) STRICT;
INSERT INTO shop VALUES(1,0,'2025-11-28T06:33:25Z');
CREATE TABLE actor(
  one  INTEGER PRIMARY KEY CHECK(one = 1),
  name TEXT NOT NULL CHECK(name IN('operator', 'operator-override') OR name GLOB 'stripe:?*' OR name GLOB 'fulfilld:?*')
) STRICT;
INSERT INTO actor VALUES(1,'operator');
CREATE TABLE sequence(
  one INTEGER PRIMARY KEY CHECK(one = 1),
  n   INTEGER NOT NULL                                    -- the last number that was given out
) STRICT;
INSERT INTO sequence VALUES(1,44);
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
                  CHECK(state IN('pending', 'done', 'ignored', 'failed')),
  state_reason    TEXT,                                   -- why ignored, why failed, why not yet
  awaits          TEXT,                                   -- the payment, invoice or subscription without an order yet
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),
  crashes         INTEGER NOT NULL DEFAULT 0 CHECK(crashes >= 0),  -- how often the daemon ended in the middle of it; from 3 on it is tried alone
  panics          INTEGER NOT NULL DEFAULT 0 CHECK(panics >= 0),   -- how often its handler did
  taken_at        TEXT,                                   -- a worker has it since
  next_attempt_at TEXT DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),  -- due when pending
  processed_at    TEXT,
  CHECK(rowid > 0)
) STRICT;
INSERT INTO events VALUES('evt_1xKoPdzzAHz4SQvDNnbm9UpU','payment_intent.succeeded','pi_3gdObIFZmRVhYbRvTj8sLs7A','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1xKoPdzzAHz4SQvDNnbm9UpU",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_3gdObIFZmRVhYbRvTj8sLs7A",\n      "object": "payment_intent",\n      "amount": 1890,\n      "amount_capturable": 0,\n      "amount_received": 1890,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_3gdObIFZmRVhYbRvTj8sLs7A",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_3gdObIFZmRVhYbRvTj8sLs7A",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Lyon",\n          "country": "FR",\n          "line1": "12 rue des Lices",\n          "line2": null,\n          "postal_code": "69002",\n          "state": null\n        },\n        "name": "Marie Dubois"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',1,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1jKabQBQNp5Tb9q39e3HSgxU','checkout.session.completed','cs_test_a1YmEqZjiPeWuCmAZihaVZooRtQRTsNjKMMcegdObIFZmRVhYbRvTj8sLs7A','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1jKabQBQNp5Tb9q39e3HSgxU",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1YmEqZjiPeWuCmAZihaVZooRtQRTsNjKMMcegdObIFZmRVhYbRvTj8sLs7A",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 1400,\n      "amount_total": 1890,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Lyon",\n            "country": "FR",\n            "line1": "12 rue des Lices",\n            "line2": null,\n            "postal_code": "69002",\n            "state": null\n          },\n          "name": "Marie Dubois"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [\n        {\n          "key": "engraving",\n          "label": {\n            "custom": "Engraving",\n            "type": "custom"\n          },\n          "optional": true,\n          "text": {\n            "default_value": null,\n            "maximum_length": 20,\n            "minimum_length": null,\n            "value": "Pour Mamie"\n          },\n          "type": "text"\n        },\n        {\n          "dropdown": {\n            "default_value": null,\n            "options": [\n              {\n                "label": "in tissue paper",\n                "value": "wrap1"\n              },\n              {\n                "label": "in a gift box",\n                "value": "wrap2"\n              }\n            ],\n            "value": "wrap2"\n          },\n          "key": "wrapping",\n          "label": {\n            "custom": "Wrapping",\n            "type": "custom"\n          },\n          "optional": true,\n          "type": "dropdown"\n        }\n      ],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Lyon",\n          "country": "FR",\n          "line1": "12 rue des Lices",\n          "line2": null,\n          "postal_code": "69002",\n          "state": null\n        },\n        "business_name": null,\n        "email": "marie.dubois@example.com",\n        "individual_name": null,\n        "name": "Marie Dubois",\n        "phone": "+33612345678",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "card",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3gdObIFZmRVhYbRvTj8sLs7A",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 490,\n        "amount_tax": 0,\n        "amount_total": 490,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 490,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',3,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_14P6hXNFNfgY7lmL4qUNS62Z','checkout.session.completed','cs_test_a1F6w5IjBJ58BmE6xjtKQwcwAaKLxXQ4YXGYM8Yom1BMwm3woNTLdnsx5y3p','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_14P6hXNFNfgY7lmL4qUNS62Z",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1F6w5IjBJ58BmE6xjtKQwcwAaKLxXQ4YXGYM8Yom1BMwm3woNTLdnsx5y3p",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 2700,\n      "amount_total": 3190,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Berlin",\n            "country": "DE",\n            "line1": "Kastanienallee 7",\n            "line2": null,\n            "postal_code": "10435",\n            "state": null\n          },\n          "name": "Jonas Weber"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Berlin",\n          "country": "DE",\n          "line1": "Kastanienallee 7",\n          "line2": null,\n          "postal_code": "10435",\n          "state": null\n        },\n        "business_name": "Weber & Söhne GmbH",\n        "email": "einkauf@weber.example",\n        "individual_name": null,\n        "name": "Jonas Weber",\n        "phone": "+4930123456",\n        "tax_exempt": "none",\n        "tax_ids": [\n          {\n            "type": "eu_vat",\n            "value": "DE123456789"\n          }\n        ]\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "mixed",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_38Yom1BMwm3woNTLdnsx5y3p",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 490,\n        "amount_tax": 0,\n        "amount_total": 490,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 490,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',6,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1GkRjQU9sG0LkOK2KYbRpvvD','payment_intent.succeeded','pi_38Yom1BMwm3woNTLdnsx5y3p','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1GkRjQU9sG0LkOK2KYbRpvvD",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_38Yom1BMwm3woNTLdnsx5y3p",\n      "object": "payment_intent",\n      "amount": 3190,\n      "amount_capturable": 0,\n      "amount_received": 3190,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_38Yom1BMwm3woNTLdnsx5y3p",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_38Yom1BMwm3woNTLdnsx5y3p",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Berlin",\n          "country": "DE",\n          "line1": "Kastanienallee 7",\n          "line2": null,\n          "postal_code": "10435",\n          "state": null\n        },\n        "name": "Jonas Weber"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',10,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1RxGA9WB0VkXz8mtpHBJzuH4','checkout.session.async_payment_succeeded','cs_test_a1iLP40cLKMJRJ8GbDdUPm26xyFkyO1pr7EntYi32e0eWpdiscdXCuckdrsg','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1RxGA9WB0VkXz8mtpHBJzuH4",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1iLP40cLKMJRJ8GbDdUPm26xyFkyO1pr7EntYi32e0eWpdiscdXCuckdrsg",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 4900,\n      "amount_total": 4900,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Galway",\n            "country": "IE",\n            "line1": "3 Quay Street",\n            "line2": null,\n            "postal_code": "H91 XY45",\n            "state": null\n          },\n          "name": "Aoife O''Brien"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Galway",\n          "country": "IE",\n          "line1": "3 Quay Street",\n          "line2": null,\n          "postal_code": "H91 XY45",\n          "state": null\n        },\n        "business_name": null,\n        "email": "aoife@example.org",\n        "individual_name": null,\n        "name": "Aoife O''Brien",\n        "phone": "+353861234567",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "delayed",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3Yi32e0eWpdiscdXCuckdrsg",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card",\n        "sepa_debit"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 0,\n        "amount_tax": 0,\n        "amount_total": 0,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 0,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.async_payment_succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',11,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1RpYOZvOiU2fwYZkiDGeMJpY','checkout.session.completed','cs_test_a1iLP40cLKMJRJ8GbDdUPm26xyFkyO1pr7EntYi32e0eWpdiscdXCuckdrsg','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1RpYOZvOiU2fwYZkiDGeMJpY",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1iLP40cLKMJRJ8GbDdUPm26xyFkyO1pr7EntYi32e0eWpdiscdXCuckdrsg",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 4900,\n      "amount_total": 4900,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Galway",\n            "country": "IE",\n            "line1": "3 Quay Street",\n            "line2": null,\n            "postal_code": "H91 XY45",\n            "state": null\n          },\n          "name": "Aoife O''Brien"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Galway",\n          "country": "IE",\n          "line1": "3 Quay Street",\n          "line2": null,\n          "postal_code": "H91 XY45",\n          "state": null\n        },\n        "business_name": null,\n        "email": "aoife@example.org",\n        "individual_name": null,\n        "name": "Aoife O''Brien",\n        "phone": "+353861234567",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "delayed",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3Yi32e0eWpdiscdXCuckdrsg",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card",\n        "sepa_debit"\n      ],\n      "payment_status": "unpaid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 0,\n        "amount_tax": 0,\n        "amount_total": 0,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 0,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',14,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1gTVCo9ozHq3OdlEzypg8nAZ','payment_intent.succeeded','pi_3Yi32e0eWpdiscdXCuckdrsg','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1gTVCo9ozHq3OdlEzypg8nAZ",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_3Yi32e0eWpdiscdXCuckdrsg",\n      "object": "payment_intent",\n      "amount": 4900,\n      "amount_capturable": 0,\n      "amount_received": 4900,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_3Yi32e0eWpdiscdXCuckdrsg",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_3Yi32e0eWpdiscdXCuckdrsg",\n      "payment_method_types": [\n        "sepa_debit"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Galway",\n          "country": "IE",\n          "line1": "3 Quay Street",\n          "line2": null,\n          "postal_code": "H91 XY45",\n          "state": null\n        },\n        "name": "Aoife O''Brien"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',15,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1bwvsDLqXpBTjm35hQrcBrfe','payment_intent.succeeded','pi_3cx0u9X9hFB0nxIz8fQdEUGM','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1bwvsDLqXpBTjm35hQrcBrfe",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_3cx0u9X9hFB0nxIz8fQdEUGM",\n      "object": "payment_intent",\n      "amount": 1700,\n      "amount_capturable": 0,\n      "amount_received": 1700,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_3cx0u9X9hFB0nxIz8fQdEUGM",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_3cx0u9X9hFB0nxIz8fQdEUGM",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": null,\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',17,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1QKeKKk8b00TWvzFMUsFzVQV','checkout.session.completed','cs_test_a1gDgAMvVxO3gXaNn9zWu0ydIYEXQ9Sa9C35Jcx0u9X9hFB0nxIz8fQdEUGM','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1QKeKKk8b00TWvzFMUsFzVQV",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1gDgAMvVxO3gXaNn9zWu0ydIYEXQ9Sa9C35Jcx0u9X9hFB0nxIz8fQdEUGM",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 1700,\n      "amount_total": 1700,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": null\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Madrid",\n          "country": "ES",\n          "line1": "Calle Mayor 21, 3º B",\n          "line2": null,\n          "postal_code": "28013",\n          "state": null\n        },\n        "business_name": null,\n        "email": "sofia@example.com",\n        "individual_name": null,\n        "name": "Sofía Núñez",\n        "phone": null,\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "digital",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3cx0u9X9hFB0nxIz8fQdEUGM",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": false\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": null,\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 0,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',19,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:25Z');
INSERT INTO events VALUES('evt_1sRCUONiVzrwl4SvuKqBl97C','checkout.session.completed','cs_test_a15zewaf9ZrUOvdDyVGGcvK7Pe7NWyPPETeRb0mCSs7lyWfg6akcWc05qUEL','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1sRCUONiVzrwl4SvuKqBl97C",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a15zewaf9ZrUOvdDyVGGcvK7Pe7NWyPPETeRb0mCSs7lyWfg6akcWc05qUEL",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 2400,\n      "amount_total": 3259,\n      "automatic_tax": {\n        "enabled": true,\n        "liability": null,\n        "provider": null,\n        "status": "complete"\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "渋谷区",\n            "country": "JP",\n            "line1": "神南1-2-3",\n            "line2": null,\n            "postal_code": "150-0041",\n            "state": "東京都"\n          },\n          "name": "佐藤 花子"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "渋谷区",\n          "country": "JP",\n          "line1": "神南1-2-3",\n          "line2": null,\n          "postal_code": "150-0041",\n          "state": "東京都"\n        },\n        "business_name": null,\n        "email": "hanako@example.jp",\n        "individual_name": null,\n        "name": "佐藤 花子",\n        "phone": "+81312345678",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [\n        {\n          "coupon": "SANDBOX",\n          "promotion_code": null\n        }\n      ],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "discount",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_30mCSs7lyWfg6akcWc05qUEL",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 690,\n        "amount_tax": 0,\n        "amount_total": 690,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 240,\n        "amount_shipping": 690,\n        "amount_tax": 409\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',21,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1eCB7QToiZqXh0ErojlIe9qm','payment_intent.succeeded','pi_30mCSs7lyWfg6akcWc05qUEL','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1eCB7QToiZqXh0ErojlIe9qm",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_30mCSs7lyWfg6akcWc05qUEL",\n      "object": "payment_intent",\n      "amount": 3259,\n      "amount_capturable": 0,\n      "amount_received": 3259,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_30mCSs7lyWfg6akcWc05qUEL",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_30mCSs7lyWfg6akcWc05qUEL",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "渋谷区",\n          "country": "JP",\n          "line1": "神南1-2-3",\n          "line2": null,\n          "postal_code": "150-0041",\n          "state": "東京都"\n        },\n        "name": "佐藤 花子"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',22,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1ZCsM1nHAEuAhZsjQYf3bfpc','payment_intent.succeeded','pi_3GFmohK9RUDXAt59QPx6jZNt','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1ZCsM1nHAEuAhZsjQYf3bfpc",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_3GFmohK9RUDXAt59QPx6jZNt",\n      "object": "payment_intent",\n      "amount": 10160,\n      "amount_capturable": 0,\n      "amount_received": 10160,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "jpy",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_3GFmohK9RUDXAt59QPx6jZNt",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_3GFmohK9RUDXAt59QPx6jZNt",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Stockholm",\n          "country": "SE",\n          "line1": "Götgatan 44",\n          "line2": null,\n          "postal_code": "118 26",\n          "state": null\n        },\n        "name": "Nora Lindqvist"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',23,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1uo4udR4qi96IAyY92zgFZ0T','checkout.session.completed','cs_test_a1mO9vSTzEdh0sw9bxXGwc5W9npXIkx8KGr68GFmohK9RUDXAt59QPx6jZNt','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1uo4udR4qi96IAyY92zgFZ0T",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1mO9vSTzEdh0sw9bxXGwc5W9npXIkx8KGr68GFmohK9RUDXAt59QPx6jZNt",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 10160,\n      "amount_total": 10160,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Stockholm",\n            "country": "SE",\n            "line1": "Götgatan 44",\n            "line2": null,\n            "postal_code": "118 26",\n            "state": null\n          },\n          "name": "Nora Lindqvist"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "jpy",\n      "custom_fields": [\n        {\n          "key": "engraving",\n          "label": {\n            "custom": "Engraving",\n            "type": "custom"\n          },\n          "optional": true,\n          "text": {\n            "default_value": null,\n            "maximum_length": 20,\n            "minimum_length": null,\n            "value": "Till Ebba 🎈"\n          },\n          "type": "text"\n        },\n        {\n          "dropdown": {\n            "default_value": null,\n            "options": [\n              {\n                "label": "in tissue paper",\n                "value": "wrap1"\n              },\n              {\n                "label": "in a gift box",\n                "value": "wrap2"\n              }\n            ],\n            "value": "wrap2"\n          },\n          "key": "wrapping",\n          "label": {\n            "custom": "Wrapping",\n            "type": "custom"\n          },\n          "optional": true,\n          "type": "dropdown"\n        }\n      ],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Stockholm",\n          "country": "SE",\n          "line1": "Götgatan 44",\n          "line2": null,\n          "postal_code": "118 26",\n          "state": null\n        },\n        "business_name": null,\n        "email": "nora@example.se",\n        "individual_name": null,\n        "name": "Nora Lindqvist",\n        "phone": "+46701234567",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "yen",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3GFmohK9RUDXAt59QPx6jZNt",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 0,\n        "amount_tax": 0,\n        "amount_total": 0,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 0,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',24,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_15HKWRhUNZoBFoPE6hGDIINT','checkout.session.completed','cs_test_a127uZqiXCPHPHfjJRW6T9WldQ7a1SDehiTAwUqmISvv251ogXcxnFX6PVpY','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_15HKWRhUNZoBFoPE6hGDIINT",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a127uZqiXCPHPHfjJRW6T9WldQ7a1SDehiTAwUqmISvv251ogXcxnFX6PVpY",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 3600,\n      "amount_total": 4090,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Seattle",\n            "country": "US",\n            "line1": "410 Pine St, Apt 5",\n            "line2": null,\n            "postal_code": "98101",\n            "state": "WA"\n          },\n          "name": "Sam Carter"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Seattle",\n          "country": "US",\n          "line1": "410 Pine St, Apt 5",\n          "line2": null,\n          "postal_code": "98101",\n          "state": "WA"\n        },\n        "business_name": null,\n        "email": "sam@example.net",\n        "individual_name": null,\n        "name": "Sam Carter",\n        "phone": "+12065550100",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "unpaid",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3UqmISvv251ogXcxnFX6PVpY",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card",\n        "sepa_debit"\n      ],\n      "payment_status": "unpaid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 490,\n        "amount_tax": 0,\n        "amount_total": 490,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 490,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',26,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1CbhkbIQti6lQRcoDnvIvX1b','payment_intent.succeeded','pi_3dnAQxMPg7exrWce3aa0K7rC','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1CbhkbIQti6lQRcoDnvIvX1b",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "pi_3dnAQxMPg7exrWce3aa0K7rC",\n      "object": "payment_intent",\n      "amount": 4240,\n      "amount_capturable": 0,\n      "amount_received": 4240,\n      "canceled_at": null,\n      "cancellation_reason": null,\n      "capture_method": "automatic_async",\n      "client_secret": null,\n      "confirmation_method": "automatic",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "description": null,\n      "last_payment_error": null,\n      "latest_charge": "ch_3dnAQxMPg7exrWce3aa0K7rC",\n      "livemode": false,\n      "metadata": {},\n      "next_action": null,\n      "payment_method": "pm_3dnAQxMPg7exrWce3aa0K7rC",\n      "payment_method_types": [\n        "card"\n      ],\n      "presentment_details": null,\n      "processing": null,\n      "receipt_email": null,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Amsterdam",\n          "country": "NL",\n          "line1": "Prinsengracht 263",\n          "line2": null,\n          "postal_code": "1016 GV",\n          "state": null\n        },\n        "name": "Zoë de Vries"\n      },\n      "statement_descriptor": null,\n      "status": "succeeded",\n      "transfer_group": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "payment_intent.succeeded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',27,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_19HWzHCkoL2dLxiYHMgZ3B3Z','checkout.session.completed','cs_test_a1JkuCmJJDUUOGndMhVqeQx3WDZYgjqZcQiItdnAQxMPg7exrWce3aa0K7rC','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_19HWzHCkoL2dLxiYHMgZ3B3Z",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a1JkuCmJJDUUOGndMhVqeQx3WDZYgjqZcQiItdnAQxMPg7exrWce3aa0K7rC",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 3750,\n      "amount_total": 4240,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Amsterdam",\n            "country": "NL",\n            "line1": "Prinsengracht 263",\n            "line2": null,\n            "postal_code": "1016 GV",\n            "state": null\n          },\n          "name": "Zoë de Vries"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Amsterdam",\n          "country": "NL",\n          "line1": "Prinsengracht 263",\n          "line2": null,\n          "postal_code": "1016 GV",\n          "state": null\n        },\n        "business_name": null,\n        "email": "zoe@example.nl",\n        "individual_name": null,\n        "name": "Zoë de Vries",\n        "phone": "+31612345678",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "refunded-in-part",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3dnAQxMPg7exrWce3aa0K7rC",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "paid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 490,\n        "amount_tax": 0,\n        "amount_total": 490,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 490,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',28,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1ZMAFSF7u9bUJA9R4Bv8RzeB','refund.created','re_3mDMEySuofE4lBOOEWQOUNjx','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1ZMAFSF7u9bUJA9R4Bv8RzeB",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "re_3mDMEySuofE4lBOOEWQOUNjx",\n      "object": "refund",\n      "amount": 1410,\n      "balance_transaction": "txn_3mDMEySuofE4lBOOEWQOUNjx",\n      "charge": "ch_3dnAQxMPg7exrWce3aa0K7rC",\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "destination_details": {\n        "card": {},\n        "type": "card"\n      },\n      "metadata": {},\n      "payment_intent": "pi_3dnAQxMPg7exrWce3aa0K7rC",\n      "payment_method": "pm_3dnAQxMPg7exrWce3aa0K7rC",\n      "reason": "requested_by_customer",\n      "receipt_number": null,\n      "source_transfer_reversal": null,\n      "status": "succeeded",\n      "transfer_reversal": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "refund.created"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',29,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1gBIzKiNrsjHMYu7VUKOXvSa','charge.refunded','ch_3dnAQxMPg7exrWce3aa0K7rC','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1gBIzKiNrsjHMYu7VUKOXvSa",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "ch_3dnAQxMPg7exrWce3aa0K7rC",\n      "object": "charge",\n      "amount": 4240,\n      "amount_captured": 4240,\n      "amount_refunded": 1410,\n      "balance_transaction": "txn_3dnAQxMPg7exrWce3aa0K7rC",\n      "billing_details": {\n        "address": {\n          "city": "Amsterdam",\n          "country": "NL",\n          "line1": "Prinsengracht 263",\n          "line2": null,\n          "postal_code": "1016 GV",\n          "state": null\n        },\n        "email": "zoe@example.nl",\n        "name": "Zoë de Vries",\n        "phone": "+31612345678"\n      },\n      "captured": true,\n      "created": 1795847605,\n      "currency": "eur",\n      "customer": null,\n      "disputed": false,\n      "failure_code": null,\n      "livemode": false,\n      "metadata": {},\n      "paid": true,\n      "payment_intent": "pi_3dnAQxMPg7exrWce3aa0K7rC",\n      "payment_method": "pm_3dnAQxMPg7exrWce3aa0K7rC",\n      "payment_method_details": {\n        "card": {\n          "brand": "visa",\n          "capture_before": null,\n          "last4": "4242"\n        },\n        "type": "card"\n      },\n      "presentment_details": null,\n      "receipt_url": null,\n      "refunded": false,\n      "review": null,\n      "shipping": {\n        "address": {\n          "city": "Amsterdam",\n          "country": "NL",\n          "line1": "Prinsengracht 263",\n          "line2": null,\n          "postal_code": "1016 GV",\n          "state": null\n        },\n        "name": "Zoë de Vries"\n      },\n      "status": "succeeded"\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "charge.refunded"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',30,'done',NULL,NULL,0,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_1f7OjZyQ0uLbL0B8ekuacFUQ','checkout.session.completed','cs_test_a16EeY5PVM8CrzfF137mBtl5RZB4jrH70v6nQlbUgx4URE7vUaVwhcxp07dK','2025-11-28T06:33:25Z',0,'2026-10-28.endive',NULL,NULL,'snapshot',NULL,replace('{\n  "id": "evt_1f7OjZyQ0uLbL0B8ekuacFUQ",\n  "object": "event",\n  "api_version": "2026-10-28.endive",\n  "created": 1795847605,\n  "data": {\n    "object": {\n      "id": "cs_test_a16EeY5PVM8CrzfF137mBtl5RZB4jrH70v6nQlbUgx4URE7vUaVwhcxp07dK",\n      "object": "checkout.session",\n      "adaptive_pricing": {\n        "enabled": false\n      },\n      "after_expiration": null,\n      "allow_promotion_codes": null,\n      "amount_subtotal": 6750,\n      "amount_total": 6750,\n      "automatic_tax": {\n        "enabled": false,\n        "liability": null,\n        "provider": null,\n        "status": null\n      },\n      "billing_address_collection": null,\n      "branding_settings": null,\n      "cancel_url": "https://shop.example.com/basket",\n      "client_reference_id": null,\n      "client_secret": null,\n      "collected_information": {\n        "business_name": null,\n        "individual_name": null,\n        "shipping_details": {\n          "address": {\n            "city": "Lyon",\n            "country": "FR",\n            "line1": "12 rue des Lices",\n            "line2": null,\n            "postal_code": "69002",\n            "state": null\n          },\n          "name": "Marie Dubois"\n        }\n      },\n      "consent": null,\n      "consent_collection": null,\n      "created": 1795847485,\n      "currency": "eur",\n      "custom_fields": [\n        {\n          "key": "engraving",\n          "label": {\n            "custom": "Engraving",\n            "type": "custom"\n          },\n          "optional": true,\n          "text": {\n            "default_value": null,\n            "maximum_length": 20,\n            "minimum_length": null,\n            "value": "Pour Mamie"\n          },\n          "type": "text"\n        },\n        {\n          "dropdown": {\n            "default_value": null,\n            "options": [\n              {\n                "label": "in tissue paper",\n                "value": "wrap1"\n              },\n              {\n                "label": "in a gift box",\n                "value": "wrap2"\n              }\n            ],\n            "value": "wrap2"\n          },\n          "key": "wrapping",\n          "label": {\n            "custom": "Wrapping",\n            "type": "custom"\n          },\n          "optional": true,\n          "type": "dropdown"\n        }\n      ],\n      "custom_text": {\n        "after_submit": null,\n        "shipping_address": null,\n        "submit": null,\n        "terms_of_service_acceptance": null\n      },\n      "customer": null,\n      "customer_account": null,\n      "customer_creation": "if_required",\n      "customer_details": {\n        "address": {\n          "city": "Lyon",\n          "country": "FR",\n          "line1": "12 rue des Lices",\n          "line2": null,\n          "postal_code": "69002",\n          "state": null\n        },\n        "business_name": null,\n        "email": "marie.dubois@example.com",\n        "individual_name": null,\n        "name": "Marie Dubois",\n        "phone": "+33612345678",\n        "tax_exempt": "none",\n        "tax_ids": []\n      },\n      "customer_email": null,\n      "discounts": [],\n      "expires_at": 1795933885,\n      "invoice": null,\n      "invoice_creation": {\n        "enabled": false\n      },\n      "livemode": false,\n      "locale": null,\n      "metadata": {\n        "scenario": "authorized",\n        "shop": "sandbox"\n      },\n      "mode": "payment",\n      "optional_items": [],\n      "origin_context": null,\n      "payment_intent": "pi_3lbUgx4URE7vUaVwhcxp07dK",\n      "payment_link": null,\n      "payment_method_collection": "if_required",\n      "payment_method_configuration_details": null,\n      "payment_method_options": {},\n      "payment_method_types": [\n        "card"\n      ],\n      "payment_status": "unpaid",\n      "permissions": null,\n      "phone_number_collection": {\n        "enabled": true\n      },\n      "presentment_details": null,\n      "recovered_from": null,\n      "saved_payment_method_options": null,\n      "setup_intent": null,\n      "shipping_address_collection": null,\n      "shipping_cost": {\n        "amount_subtotal": 0,\n        "amount_tax": 0,\n        "amount_total": 0,\n        "shipping_rate": "shr_1StandardOfTheSandbox"\n      },\n      "shipping_options": [],\n      "status": "complete",\n      "submit_type": null,\n      "subscription": null,\n      "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",\n      "total_details": {\n        "amount_discount": 0,\n        "amount_shipping": 0,\n        "amount_tax": 0\n      },\n      "ui_mode": "hosted_page",\n      "url": null,\n      "wallet_options": null\n    }\n  },\n  "livemode": false,\n  "pending_webhooks": 1,\n  "request": {\n    "id": null,\n    "idempotency_key": null\n  },\n  "type": "checkout.session.completed"\n}','\n',char(10)),'webhook','2025-11-28T06:33:25Z',32,'done',NULL,NULL,1,0,0,NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO events VALUES('evt_refuses','checkout.session.completed','cs_test_gone','2025-11-24T03:05:00Z',0,NULL,NULL,NULL,'snapshot',NULL,'{"id":"evt_refuses"}','webhook','2025-11-24T03:05:00Z',41,'failed','Stripe has no such session',NULL,3,0,0,NULL,NULL,'2025-11-28T06:33:50Z');
CREATE TABLE orders(
  id                   INTEGER PRIMARY KEY CHECK(id > 0),  -- the shop's order number
  checkout_session_id  TEXT NOT NULL UNIQUE,              -- cs_…
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
  asked                INTEGER NOT NULL DEFAULT 0,        -- that question's place in the sequence; an older answer changes nothing
  note                 TEXT,                              -- yours
  hold_reason          TEXT,                              -- yours: while set, nothing can be sent
  canceled_at          TEXT,                              -- yours, together with
  cancel_reason        TEXT
                       CONSTRAINT "cancel_reason is customer, fraud, inventory, declined, staff or other"
                       CHECK(cancel_reason IN('customer', 'fraud', 'inventory', 'declined', 'staff', 'other')),
  CONSTRAINT "set canceled_at and cancel_reason together" CHECK((canceled_at IS NULL) = (cancel_reason IS NULL)),
  -- What no bank knows is no amount: so no sum over any number of rows can overflow and stop a view.
  CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(
    min(amount_subtotal, amount_discount, amount_shipping, amount_tax, coalesce(presentment_amount, 0), amount_capturable,
      coalesce(amount_captured, 0)) >= -1000000000000
    AND max(amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, coalesce(presentment_amount, 0),
      amount_capturable, coalesce(amount_captured, 0)) <= 1000000000000)
) STRICT;
INSERT INTO orders VALUES(1,'cs_test_a1YmEqZjiPeWuCmAZihaVZooRtQRTsNjKMMcegdObIFZmRVhYbRvTj8sLs7A','pi_3gdObIFZmRVhYbRvTj8sLs7A',0,'payment','paid','eur',1400,0,490,0,1890,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'marie.dubois@example.com','Marie Dubois',NULL,'+33612345678','Marie Dubois','12 rue des Lices',NULL,'Lyon',NULL,'69002','FR','Standard','[{"key":"engraving","label":{"custom":"Engraving","type":"custom"},"optional":true,"text":{"default_value":null,"maximum_length":20,"minimum_length":null,"value":"Pour Mamie"},"type":"text"},{"dropdown":{"default_value":null,"options":[{"label":"in tissue paper","value":"wrap1"},{"label":"in a gift box","value":"wrap2"}],"value":"wrap2"},"key":"wrapping","label":{"custom":"Wrapping","type":"custom"},"optional":true,"type":"dropdown"}]','[]','{"scenario":"card","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',5,NULL,NULL,NULL,NULL);
INSERT INTO orders VALUES(2,'cs_test_a1F6w5IjBJ58BmE6xjtKQwcwAaKLxXQ4YXGYM8Yom1BMwm3woNTLdnsx5y3p','pi_38Yom1BMwm3woNTLdnsx5y3p',0,'payment','paid','eur',2700,0,490,0,3190,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'einkauf@weber.example','Jonas Weber','Weber & Söhne GmbH','+4930123456','Jonas Weber','Kastanienallee 7',NULL,'Berlin',NULL,'10435','DE','Standard','[]','[{"type":"eu_vat","value":"DE123456789"}]','{"scenario":"mixed","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',12,'ring twice',NULL,NULL,NULL);
INSERT INTO orders VALUES(3,'cs_test_a1iLP40cLKMJRJ8GbDdUPm26xyFkyO1pr7EntYi32e0eWpdiscdXCuckdrsg','pi_3Yi32e0eWpdiscdXCuckdrsg',0,'payment','paid','eur',4900,0,0,0,4900,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'aoife@example.org','Aoife O''Brien',NULL,'+353861234567','Aoife O''Brien','3 Quay Street',NULL,'Galway',NULL,'H91 XY45','IE','Standard','[]','[]','{"scenario":"delayed","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',20,NULL,NULL,'2025-11-28T06:33:42Z','customer');
INSERT INTO orders VALUES(4,'cs_test_a1gDgAMvVxO3gXaNn9zWu0ydIYEXQ9Sa9C35Jcx0u9X9hFB0nxIz8fQdEUGM','pi_3cx0u9X9hFB0nxIz8fQdEUGM',0,'payment','paid','eur',1700,0,0,0,1700,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'sofia@example.com','Sofía Núñez',NULL,NULL,'Sofía Núñez','Calle Mayor 21, 3º B',NULL,'Madrid',NULL,'28013','ES',NULL,'[]','[]','{"scenario":"digital","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',25,NULL,NULL,NULL,NULL);
INSERT INTO orders VALUES(5,'cs_test_a15zewaf9ZrUOvdDyVGGcvK7Pe7NWyPPETeRb0mCSs7lyWfg6akcWc05qUEL','pi_30mCSs7lyWfg6akcWc05qUEL',0,'payment','paid','eur',2400,240,690,409,3259,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'hanako@example.jp','佐藤 花子',NULL,'+81312345678','佐藤 花子','神南1-2-3',NULL,'渋谷区','東京都','150-0041','JP','Standard','[]','[]','{"scenario":"discount","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',33,NULL,'asks for another color',NULL,NULL);
INSERT INTO orders VALUES(6,'cs_test_a1mO9vSTzEdh0sw9bxXGwc5W9npXIkx8KGr68GFmohK9RUDXAt59QPx6jZNt','pi_3GFmohK9RUDXAt59QPx6jZNt',0,'payment','paid','jpy',10160,0,0,0,10160,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'nora@example.se','Nora Lindqvist',NULL,'+46701234567','Nora Lindqvist','Götgatan 44',NULL,'Stockholm',NULL,'118 26','SE','Standard','[{"key":"engraving","label":{"custom":"Engraving","type":"custom"},"optional":true,"text":{"default_value":null,"maximum_length":20,"minimum_length":null,"value":"Till Ebba 🎈"},"type":"text"},{"dropdown":{"default_value":null,"options":[{"label":"in tissue paper","value":"wrap1"},{"label":"in a gift box","value":"wrap2"}],"value":"wrap2"},"key":"wrapping","label":{"custom":"Wrapping","type":"custom"},"optional":true,"type":"dropdown"}]','[]','{"scenario":"yen","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:25Z',35,NULL,NULL,NULL,NULL);
INSERT INTO orders VALUES(7,'cs_test_a127uZqiXCPHPHfjJRW6T9WldQ7a1SDehiTAwUqmISvv251ogXcxnFX6PVpY','pi_3UqmISvv251ogXcxnFX6PVpY',0,'payment','unpaid','eur',3600,0,490,0,4090,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'sam@example.net','Sam Carter',NULL,'+12065550100','Sam Carter','410 Pine St, Apt 5',NULL,'Seattle','WA','98101','US','Standard','[]','[]','{"scenario":"unpaid","shop":"sandbox"}','2025-11-28T06:31:25Z',NULL,'2025-11-28T06:33:26Z','2025-11-28T06:33:26Z',36,NULL,NULL,NULL,NULL);
INSERT INTO orders VALUES(8,'cs_test_a1JkuCmJJDUUOGndMhVqeQx3WDZYgjqZcQiItdnAQxMPg7exrWce3aa0K7rC','pi_3dnAQxMPg7exrWce3aa0K7rC',0,'payment','paid','eur',3750,0,490,0,4240,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'zoe@example.nl','Zoë de Vries',NULL,'+31612345678','Zoë de Vries','Prinsengracht 263',NULL,'Amsterdam',NULL,'1016 GV','NL','Standard','[]','[]','{"scenario":"refunded-in-part","shop":"sandbox"}','2025-11-28T06:31:25Z','2025-11-28T06:33:25Z','2025-11-28T06:33:26Z','2025-11-28T06:33:26Z',38,NULL,NULL,NULL,NULL);
INSERT INTO orders VALUES(9,'cs_test_a16EeY5PVM8CrzfF137mBtl5RZB4jrH70v6nQlbUgx4URE7vUaVwhcxp07dK','pi_3lbUgx4URE7vUaVwhcxp07dK',0,'payment','unpaid','eur',6750,0,0,0,6750,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'manual',6750,NULL,'2026-12-05T06:33:25Z','marie.dubois@example.com','Marie Dubois',NULL,'+33612345678','Marie Dubois','12 rue des Lices',NULL,'Lyon',NULL,'69002','FR','Standard','[{"key":"engraving","label":{"custom":"Engraving","type":"custom"},"optional":true,"text":{"default_value":null,"maximum_length":20,"minimum_length":null,"value":"Pour Mamie"},"type":"text"},{"dropdown":{"default_value":null,"options":[{"label":"in tissue paper","value":"wrap1"},{"label":"in a gift box","value":"wrap2"}],"value":"wrap2"},"key":"wrapping","label":{"custom":"Wrapping","type":"custom"},"optional":true,"type":"dropdown"}]','[]','{"scenario":"authorized","shop":"sandbox"}','2025-11-28T06:31:25Z',NULL,'2025-11-28T06:33:26Z','2025-11-28T06:33:26Z',40,NULL,NULL,NULL,NULL);
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
                      CONSTRAINT "a line item has a quantity between 1 and 1000000000" CHECK(quantity BETWEEN 1 AND 1000000000),
  currency            TEXT NOT NULL,
  unit_amount         INTEGER,                            -- NULL where Stripe has no whole one; then
  unit_amount_decimal TEXT,                               -- as Stripe writes it
  amount_subtotal     INTEGER NOT NULL DEFAULT 0,
  amount_discount     INTEGER NOT NULL DEFAULT 0,
  amount_tax          INTEGER NOT NULL DEFAULT 0,
  amount_total        INTEGER NOT NULL,
  requires_shipping   INTEGER NOT NULL CHECK(requires_shipping IN(0, 1)),  -- 0: a download, a ticket
  metadata            TEXT NOT NULL DEFAULT '{}' CHECK(json_valid(metadata)),
  canceled_quantity   INTEGER NOT NULL DEFAULT 0          -- yours: so many will not be sent
                      CONSTRAINT "canceled_quantity is between 0 and quantity"
                      CHECK(canceled_quantity BETWEEN 0 AND quantity),
  cancel_reason       TEXT                                -- yours: why
                      CONSTRAINT "a line's cancel_reason is customer, fraud, inventory, declined, staff or other"
                      CHECK(cancel_reason IN('customer', 'fraud', 'inventory', 'declined', 'staff', 'other')),
  UNIQUE(order_id, position),
  CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(
    min(coalesce(unit_amount, 0), amount_subtotal, amount_discount, amount_tax, amount_total) >= -1000000000000
    AND max(coalesce(unit_amount, 0), amount_subtotal, amount_discount, amount_tax, amount_total) <= 1000000000000)
) STRICT, WITHOUT ROWID;
INSERT INTO line_items VALUES('li_12e0eWpdiscdXCuckdrsg000',3,1,'price_TOWELLINENeur950','prod_TOWELLINEN','TOWEL-LINEN','Linen tea towel',NULL,2,'eur',950,'950',1900,0,0,1900,1,'{"sku":"TOWEL-LINEN"}',0,NULL);
INSERT INTO line_items VALUES('li_12e0eWpdiscdXCuckdrsg001',3,2,'price_PINFOXeur600','prod_PINFOX','PIN-FOX','Enamel pin “Fox”',NULL,2,'eur',600,'600',1200,0,0,1200,1,'{"sku":"PIN-FOX"}',0,NULL);
INSERT INTO line_items VALUES('li_12e0eWpdiscdXCuckdrsg002',3,3,'price_CANDLEFIGeur1800','prod_CANDLEFIG','CANDLE-FIG','Candle, fig',NULL,1,'eur',1800,'1800',1800,0,0,1800,1,'{"sku":"CANDLE-FIG"}',0,NULL);
INSERT INTO line_items VALUES('li_1ISvv251ogXcxnFX6PVpY000',7,1,'price_CANDLEFIGeur1800','prod_CANDLEFIG','CANDLE-FIG','Candle, fig',NULL,2,'eur',1800,'1800',3600,0,0,3600,1,'{"sku":"CANDLE-FIG"}',0,NULL);
INSERT INTO line_items VALUES('li_1QxMPg7exrWce3aa0K7rC000',8,1,'price_MUGBLUEeur1400','prod_MUGBLUE','MUG-BLUE','Stoneware mug','blue',2,'eur',1400,'1400',2800,0,0,2800,1,'{"sku":"MUG-BLUE"}',0,NULL);
INSERT INTO line_items VALUES('li_1QxMPg7exrWce3aa0K7rC001',8,2,'price_TOWELLINENeur950','prod_TOWELLINEN','TOWEL-LINEN','Linen tea towel',NULL,1,'eur',950,'950',950,0,0,950,1,'{"sku":"TOWEL-LINEN"}',0,NULL);
INSERT INTO line_items VALUES('li_1Ss7lyWfg6akcWc05qUEL000',5,1,'price_PINFOXeur600','prod_PINFOX','PIN-FOX','Enamel pin “Fox”',NULL,1,'eur',600,'600',600,60,102,642,1,'{"sku":"PIN-FOX"}',0,NULL);
INSERT INTO line_items VALUES('li_1Ss7lyWfg6akcWc05qUEL001',5,2,'price_CANDLEFIGeur1800','prod_CANDLEFIG','CANDLE-FIG','Candle, fig',NULL,1,'eur',1800,'1800',1800,180,307,1927,1,'{"sku":"CANDLE-FIG"}',0,NULL);
INSERT INTO line_items VALUES('li_1bIFZmRVhYbRvTj8sLs7A000',1,1,'price_MUGBLUEeur1400','prod_MUGBLUE','MUG-BLUE','Stoneware mug','blue',1,'eur',1400,'1400',1400,0,0,1400,1,'{"sku":"MUG-BLUE"}',0,NULL);
INSERT INTO line_items VALUES('li_1gx4URE7vUaVwhcxp07dK000',9,1,'price_POSTERHARBOURA2eur2200','prod_POSTERHARBOURA2','POSTER-HARBOUR-A2','Poster “Harbour at dawn”','A2',1,'eur',2200,'2200',2200,0,0,2200,1,'{"sku":"POSTER-HARBOUR-A2"}',0,NULL);
INSERT INTO line_items VALUES('li_1gx4URE7vUaVwhcxp07dK001',9,2,'price_NOTEDOTeur1250','prod_NOTEDOT','NOTE-DOT','Notebook, dotted','A5',1,'eur',1250,'1250',1250,0,0,1250,1,'{"sku":"NOTE-DOT"}',0,NULL);
INSERT INTO line_items VALUES('li_1gx4URE7vUaVwhcxp07dK002',9,3,'price_SOCKS42eur1650','prod_SOCKS42','SOCKS-42','Wool socks','42–45',2,'eur',1650,'1650',3300,0,0,3300,1,'{"sku":"SOCKS-42"}',0,NULL);
INSERT INTO line_items VALUES('li_1m1BMwm3woNTLdnsx5y3p000',2,1,'price_POSTERHARBOURA2eur2200','prod_POSTERHARBOURA2','POSTER-HARBOUR-A2','Poster “Harbour at dawn”','A2',1,'eur',2200,'2200',2200,0,0,2200,1,'{"sku":"POSTER-HARBOUR-A2"}',0,NULL);
INSERT INTO line_items VALUES('li_1m1BMwm3woNTLdnsx5y3p001',2,2,'price_PATTERNSCARFeur500','prod_PATTERNSCARF','PATTERN-SCARF','Knitting pattern “Scarf”','PDF',1,'eur',500,'500',500,0,0,500,0,'{"sku":"PATTERN-SCARF"}',0,NULL);
INSERT INTO line_items VALUES('li_1ohK9RUDXAt59QPx6jZNt000',6,1,'price_SOCKS42jpy2640','prod_SOCKS42','SOCKS-42','Wool socks','42–45',1,'jpy',2640,'2640',2640,0,0,2640,1,'{"sku":"SOCKS-42"}',0,NULL);
INSERT INTO line_items VALUES('li_1ohK9RUDXAt59QPx6jZNt001',6,2,'price_MUGBLUEjpy2240','prod_MUGBLUE','MUG-BLUE','Stoneware mug','blue',2,'jpy',2240,'2240',4480,0,0,4480,1,'{"sku":"MUG-BLUE"}',0,NULL);
INSERT INTO line_items VALUES('li_1ohK9RUDXAt59QPx6jZNt002',6,3,'price_TOWELLINENjpy1520','prod_TOWELLINEN','TOWEL-LINEN','Linen tea towel',NULL,2,'jpy',1520,'1520',3040,0,0,3040,1,'{"sku":"TOWEL-LINEN"}',0,NULL);
INSERT INTO line_items VALUES('li_1u9X9hFB0nxIz8fQdEUGM000',4,1,'price_EBOOKBREADeur1200','prod_EBOOKBREAD','EBOOK-BREAD','E-book “Bread at home”','EPUB',1,'eur',1200,'1200',1200,0,0,1200,0,'{"sku":"EBOOK-BREAD"}',0,NULL);
INSERT INTO line_items VALUES('li_1u9X9hFB0nxIz8fQdEUGM001',4,2,'price_PATTERNSCARFeur500','prod_PATTERNSCARF','PATTERN-SCARF','Knitting pattern “Scarf”','PDF',1,'eur',500,'500',500,0,0,500,0,'{"sku":"PATTERN-SCARF"}',0,NULL);
CREATE TABLE fulfillments(
  id                INTEGER PRIMARY KEY CHECK(id > 0),
  order_id          INTEGER NOT NULL REFERENCES orders(id),
  requires_shipping INTEGER NOT NULL DEFAULT 1 CHECK(requires_shipping IN(0, 1)),  -- 0: digital
  replacement       TEXT                                  -- why it is sent beside what was bought; NULL for what was bought
                    CONSTRAINT "a parcel is sent again because it is lost, damaged, wrong or other"
                    CHECK(replacement IN('lost', 'damaged', 'wrong', 'other')),
  status            TEXT NOT NULL DEFAULT 'pending'
                    CONSTRAINT "a fulfillment's status is pending, shipped, delivered or canceled"
                    CHECK(status IN('pending', 'shipped', 'delivered', 'canceled')),
  tracking_company  TEXT,                                 -- yours, as all below
  tracking_number   ANY                                   -- text; ANY keeps what was typed, so that a number is noticed
                    CONSTRAINT "put a tracking number in quotes: as a number it loses zeros in front and digits at the end"
                    CHECK(typeof(tracking_number) IN('text', 'null')),
  tracking_url      TEXT,
  note              TEXT,
  created_at        TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  shipped_at        TEXT,                                 -- filled in when the status changes
  delivered_at      TEXT,
  canceled_at       TEXT
) STRICT;
INSERT INTO fulfillments VALUES(1,1,1,NULL,'delivered','DHL','JD0123456789','https://www.dhl.com/global-en/home/tracking.html?tracking-id=JD0123456789',NULL,'2025-11-28T06:33:25Z','2025-11-28T06:33:42Z','2025-11-28T06:33:42Z',NULL);
INSERT INTO fulfillments VALUES(2,2,1,NULL,'shipped','UPS','1Z999AA10123456784','https://www.ups.com/track?tracknum=1Z999AA10123456784',NULL,'2025-11-28T06:33:25Z','2025-11-28T06:33:42Z',NULL,NULL);
INSERT INTO fulfillments VALUES(3,2,0,NULL,'pending',NULL,NULL,NULL,NULL,'2025-11-28T06:33:25Z',NULL,NULL,NULL);
INSERT INTO fulfillments VALUES(4,3,1,NULL,'canceled',NULL,NULL,NULL,NULL,'2025-11-28T06:33:25Z',NULL,NULL,'2025-11-28T06:33:42Z');
INSERT INTO fulfillments VALUES(5,4,0,NULL,'delivered',NULL,NULL,NULL,NULL,'2025-11-28T06:33:25Z',NULL,'2025-11-28T06:33:42Z',NULL);
INSERT INTO fulfillments VALUES(6,5,1,NULL,'pending',NULL,NULL,NULL,NULL,'2025-11-28T06:33:26Z',NULL,NULL,NULL);
INSERT INTO fulfillments VALUES(7,6,1,NULL,'pending',NULL,NULL,NULL,NULL,'2025-11-28T06:33:26Z',NULL,NULL,NULL);
INSERT INTO fulfillments VALUES(8,8,1,NULL,'pending',NULL,NULL,NULL,NULL,'2025-11-28T06:33:26Z',NULL,NULL,NULL);
INSERT INTO fulfillments VALUES(9,1,1,'lost','pending',NULL,NULL,NULL,NULL,'2025-11-28T06:33:42Z',NULL,NULL,NULL);
CREATE TABLE fulfillment_line_items(
  fulfillment_id INTEGER NOT NULL REFERENCES fulfillments(id),
  line_item_id   TEXT NOT NULL REFERENCES line_items(id),
  quantity       INTEGER NOT NULL                         -- set to 0, it is taken out
                 CONSTRAINT "a fulfillment holds 1 or more of a line item" CHECK(quantity >= 0),
  PRIMARY KEY(fulfillment_id, line_item_id)
) STRICT, WITHOUT ROWID;
INSERT INTO fulfillment_line_items VALUES(1,'li_1bIFZmRVhYbRvTj8sLs7A000',1);
INSERT INTO fulfillment_line_items VALUES(2,'li_1m1BMwm3woNTLdnsx5y3p000',1);
INSERT INTO fulfillment_line_items VALUES(3,'li_1m1BMwm3woNTLdnsx5y3p001',1);
INSERT INTO fulfillment_line_items VALUES(4,'li_12e0eWpdiscdXCuckdrsg000',2);
INSERT INTO fulfillment_line_items VALUES(4,'li_12e0eWpdiscdXCuckdrsg001',2);
INSERT INTO fulfillment_line_items VALUES(4,'li_12e0eWpdiscdXCuckdrsg002',1);
INSERT INTO fulfillment_line_items VALUES(5,'li_1u9X9hFB0nxIz8fQdEUGM000',1);
INSERT INTO fulfillment_line_items VALUES(5,'li_1u9X9hFB0nxIz8fQdEUGM001',1);
INSERT INTO fulfillment_line_items VALUES(6,'li_1Ss7lyWfg6akcWc05qUEL000',1);
INSERT INTO fulfillment_line_items VALUES(6,'li_1Ss7lyWfg6akcWc05qUEL001',1);
INSERT INTO fulfillment_line_items VALUES(7,'li_1ohK9RUDXAt59QPx6jZNt000',1);
INSERT INTO fulfillment_line_items VALUES(7,'li_1ohK9RUDXAt59QPx6jZNt001',2);
INSERT INTO fulfillment_line_items VALUES(7,'li_1ohK9RUDXAt59QPx6jZNt002',2);
INSERT INTO fulfillment_line_items VALUES(8,'li_1QxMPg7exrWce3aa0K7rC000',2);
INSERT INTO fulfillment_line_items VALUES(8,'li_1QxMPg7exrWce3aa0K7rC001',1);
INSERT INTO fulfillment_line_items VALUES(9,'li_1bIFZmRVhYbRvTj8sLs7A000',1);
CREATE TABLE refunds(
  id                TEXT PRIMARY KEY,                     -- re_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  amount            INTEGER NOT NULL
                    CONSTRAINT "a refund has an amount between 1 and 1000000000000" CHECK(amount BETWEEN 1 AND 1000000000000),
  currency          TEXT NOT NULL CHECK(currency GLOB '[a-z][a-z][a-z]'),
  status            TEXT NOT NULL CHECK(status <> ''),     -- Stripe's word; only succeeded counts, and all but failed and canceled hold the goods
  reason            TEXT,
  failure_reason    TEXT,
  subscription_id   TEXT,                                 -- of a subscription's later payment: sub_…
  balance_transaction_id TEXT,                            -- txn_…; none where a hold was let go and no money moved
  failed_at         TEXT,                                 -- the money came back to the shop: it failed, or was canceled
  created_at        TEXT NOT NULL,                        -- the money left the shop
  as_of             TEXT NOT NULL,                        -- when Stripe was asked, for people
  asked             INTEGER NOT NULL DEFAULT 0            -- that question's place in the sequence
) STRICT, WITHOUT ROWID;
INSERT INTO refunds VALUES('re_3mDMEySuofE4lBOOEWQOUNjx','pi_3dnAQxMPg7exrWce3aa0K7rC','ch_3dnAQxMPg7exrWce3aa0K7rC',1410,'eur','succeeded','requested_by_customer',NULL,NULL,'txn_3mDMEySuofE4lBOOEWQOUNjx',NULL,'2025-11-28T06:33:25Z','2025-11-28T06:33:26Z',39);
CREATE TABLE disputes(
  id                TEXT PRIMARY KEY,                     -- dp_… or du_…
  payment_intent_id TEXT,
  charge_id         TEXT,
  amount            INTEGER NOT NULL
                    CONSTRAINT "an amount is at most 1000000000000 minor units" CHECK(amount BETWEEN -1000000000000 AND 1000000000000),
  currency          TEXT NOT NULL CHECK(currency GLOB '[a-z][a-z][a-z]'),
  status            TEXT NOT NULL,                        -- open unless won, lost, warning_closed or prevented
  reason            TEXT,                                 -- e.g. fraudulent, product_not_received
  evidence_due_by   TEXT,                                 -- answer in Stripe's Dashboard until then
  amount_lost       INTEGER NOT NULL DEFAULT 0            -- gone for good: the dispute is lost, or was settled by giving it back
                    CHECK(amount_lost BETWEEN 0 AND 1000000000000),
  is_charge_refundable INTEGER NOT NULL DEFAULT 0         -- 0: Stripe refuses a refund while it is open
                    CHECK(is_charge_refundable IN(0, 1)),
  money_moves       TEXT NOT NULL DEFAULT '[]'            -- what left the shop (less than 0) and came back: [{"amount": -4200, "at": …}]
                    CHECK(json_valid(money_moves)),
  subscription_id   TEXT,                                 -- of a subscription's later payment
  created_at        TEXT NOT NULL,
  as_of             TEXT NOT NULL,
  asked             INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
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
CREATE TABLE order_history(
  id       INTEGER PRIMARY KEY CHECK(id > 0),
  order_id INTEGER NOT NULL,
  actor    TEXT NOT NULL,                                 -- stripe:evt_…, operator, fulfilld:…
  what     TEXT NOT NULL,                                 -- a column of orders, or e.g. fulfillment 7 status
  old      TEXT,
  new      TEXT,
  at       TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  moment   TEXT NOT NULL DEFAULT(strftime('%f', 'now'))   -- its seconds to a thousandth: all that one statement did has the same
) STRICT;
INSERT INTO order_history VALUES(1,1,'stripe:evt_1xKoPdzzAHz4SQvDNnbm9UpU','order',NULL,'unpaid','2025-11-28T06:33:25Z','25.591');
INSERT INTO order_history VALUES(2,1,'stripe:evt_1xKoPdzzAHz4SQvDNnbm9UpU','payment_status','unpaid','paid','2025-11-28T06:33:25Z','25.594');
INSERT INTO order_history VALUES(3,1,'stripe:evt_1xKoPdzzAHz4SQvDNnbm9UpU','fulfillment 1 status',NULL,'pending','2025-11-28T06:33:25Z','25.594');
INSERT INTO order_history VALUES(4,2,'stripe:evt_14P6hXNFNfgY7lmL4qUNS62Z','order',NULL,'unpaid','2025-11-28T06:33:25Z','25.692');
INSERT INTO order_history VALUES(5,2,'stripe:evt_14P6hXNFNfgY7lmL4qUNS62Z','payment_status','unpaid','paid','2025-11-28T06:33:25Z','25.692');
INSERT INTO order_history VALUES(6,2,'stripe:evt_14P6hXNFNfgY7lmL4qUNS62Z','fulfillment 2 status',NULL,'pending','2025-11-28T06:33:25Z','25.692');
INSERT INTO order_history VALUES(7,2,'stripe:evt_14P6hXNFNfgY7lmL4qUNS62Z','fulfillment 3 status',NULL,'pending','2025-11-28T06:33:25Z','25.692');
INSERT INTO order_history VALUES(8,3,'stripe:evt_1RxGA9WB0VkXz8mtpHBJzuH4','order',NULL,'unpaid','2025-11-28T06:33:25Z','25.746');
INSERT INTO order_history VALUES(9,3,'stripe:evt_1RxGA9WB0VkXz8mtpHBJzuH4','payment_status','unpaid','paid','2025-11-28T06:33:25Z','25.746');
INSERT INTO order_history VALUES(10,3,'stripe:evt_1RxGA9WB0VkXz8mtpHBJzuH4','fulfillment 4 status',NULL,'pending','2025-11-28T06:33:25Z','25.746');
INSERT INTO order_history VALUES(11,4,'stripe:evt_1QKeKKk8b00TWvzFMUsFzVQV','order',NULL,'unpaid','2025-11-28T06:33:25Z','25.936');
INSERT INTO order_history VALUES(12,4,'stripe:evt_1QKeKKk8b00TWvzFMUsFzVQV','payment_status','unpaid','paid','2025-11-28T06:33:25Z','25.936');
INSERT INTO order_history VALUES(13,4,'stripe:evt_1QKeKKk8b00TWvzFMUsFzVQV','fulfillment 5 status',NULL,'pending','2025-11-28T06:33:25Z','25.936');
INSERT INTO order_history VALUES(14,5,'stripe:evt_1sRCUONiVzrwl4SvuKqBl97C','order',NULL,'unpaid','2025-11-28T06:33:26Z','26.039');
INSERT INTO order_history VALUES(15,5,'stripe:evt_1sRCUONiVzrwl4SvuKqBl97C','payment_status','unpaid','paid','2025-11-28T06:33:26Z','26.040');
INSERT INTO order_history VALUES(16,5,'stripe:evt_1sRCUONiVzrwl4SvuKqBl97C','fulfillment 6 status',NULL,'pending','2025-11-28T06:33:26Z','26.040');
INSERT INTO order_history VALUES(17,6,'stripe:evt_1ZCsM1nHAEuAhZsjQYf3bfpc','order',NULL,'unpaid','2025-11-28T06:33:26Z','26.136');
INSERT INTO order_history VALUES(18,6,'stripe:evt_1ZCsM1nHAEuAhZsjQYf3bfpc','payment_status','unpaid','paid','2025-11-28T06:33:26Z','26.136');
INSERT INTO order_history VALUES(19,6,'stripe:evt_1ZCsM1nHAEuAhZsjQYf3bfpc','fulfillment 7 status',NULL,'pending','2025-11-28T06:33:26Z','26.136');
INSERT INTO order_history VALUES(20,7,'stripe:evt_15HKWRhUNZoBFoPE6hGDIINT','order',NULL,'unpaid','2025-11-28T06:33:26Z','26.236');
INSERT INTO order_history VALUES(21,8,'stripe:evt_1CbhkbIQti6lQRcoDnvIvX1b','refund re_3mDMEySuofE4lBOOEWQOUNjx',NULL,'succeeded 1410','2025-11-28T06:33:26Z','26.286');
INSERT INTO order_history VALUES(22,8,'stripe:evt_1CbhkbIQti6lQRcoDnvIvX1b','order',NULL,'unpaid','2025-11-28T06:33:26Z','26.286');
INSERT INTO order_history VALUES(23,8,'stripe:evt_1CbhkbIQti6lQRcoDnvIvX1b','payment_status','unpaid','paid','2025-11-28T06:33:26Z','26.286');
INSERT INTO order_history VALUES(24,8,'stripe:evt_1CbhkbIQti6lQRcoDnvIvX1b','fulfillment 8 status',NULL,'pending','2025-11-28T06:33:26Z','26.286');
INSERT INTO order_history VALUES(25,9,'stripe:evt_1f7OjZyQ0uLbL0B8ekuacFUQ','order',NULL,'unpaid','2025-11-28T06:33:26Z','26.386');
INSERT INTO order_history VALUES(26,9,'stripe:evt_1f7OjZyQ0uLbL0B8ekuacFUQ','amount_capturable','0','6750','2025-11-28T06:33:26Z','26.390');
INSERT INTO order_history VALUES(27,9,'stripe:evt_1f7OjZyQ0uLbL0B8ekuacFUQ','capture_before',NULL,'2026-12-05T06:33:25Z','2025-11-28T06:33:26Z','26.390');
INSERT INTO order_history VALUES(28,1,'operator','fulfillment 1 status','pending','shipped','2025-11-28T06:33:42Z','42.783');
INSERT INTO order_history VALUES(29,1,'operator','fulfillment 1 tracking_company',NULL,'DHL','2025-11-28T06:33:42Z','42.783');
INSERT INTO order_history VALUES(30,1,'operator','fulfillment 1 tracking_number',NULL,'JD0123456789','2025-11-28T06:33:42Z','42.783');
INSERT INTO order_history VALUES(31,1,'operator','fulfillment 1 tracking_url',NULL,'https://www.dhl.com/global-en/home/tracking.html?tracking-id=JD0123456789','2025-11-28T06:33:42Z','42.783');
INSERT INTO order_history VALUES(32,1,'operator','fulfillment 1 shipped_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.783');
INSERT INTO order_history VALUES(33,2,'operator','fulfillment 2 status','pending','shipped','2025-11-28T06:33:42Z','42.813');
INSERT INTO order_history VALUES(34,2,'operator','fulfillment 2 tracking_company',NULL,'UPS','2025-11-28T06:33:42Z','42.813');
INSERT INTO order_history VALUES(35,2,'operator','fulfillment 2 tracking_number',NULL,'1Z999AA10123456784','2025-11-28T06:33:42Z','42.813');
INSERT INTO order_history VALUES(36,2,'operator','fulfillment 2 tracking_url',NULL,'https://www.ups.com/track?tracknum=1Z999AA10123456784','2025-11-28T06:33:42Z','42.813');
INSERT INTO order_history VALUES(37,2,'operator','fulfillment 2 shipped_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.813');
INSERT INTO order_history VALUES(38,4,'operator','fulfillment 5 status','pending','delivered','2025-11-28T06:33:42Z','42.829');
INSERT INTO order_history VALUES(39,4,'operator','fulfillment 5 delivered_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.829');
INSERT INTO order_history VALUES(40,5,'operator','hold_reason',NULL,'asks for another color','2025-11-28T06:33:42Z','42.841');
INSERT INTO order_history VALUES(41,6,'operator','hold_reason',NULL,'call first','2025-11-28T06:33:42Z','42.864');
INSERT INTO order_history VALUES(42,6,'operator','hold_reason','call first',NULL,'2025-11-28T06:33:42Z','42.884');
INSERT INTO order_history VALUES(43,3,'operator','canceled_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.902');
INSERT INTO order_history VALUES(44,3,'operator','cancel_reason',NULL,'customer','2025-11-28T06:33:42Z','42.902');
INSERT INTO order_history VALUES(45,3,'operator','fulfillment 4 status','pending','canceled','2025-11-28T06:33:42Z','42.902');
INSERT INTO order_history VALUES(46,3,'operator','fulfillment 4 canceled_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.902');
INSERT INTO order_history VALUES(47,6,'operator','note',NULL,'gift wrap','2025-11-28T06:33:42Z','42.935');
INSERT INTO order_history VALUES(48,6,'operator','shipping_line1','Götgatan 44','12 Rue Exemple','2025-11-28T06:33:42Z','42.935');
INSERT INTO order_history VALUES(49,1,'operator','fulfillment 1 status','shipped','delivered','2025-11-28T06:33:42Z','42.958');
INSERT INTO order_history VALUES(50,1,'operator','fulfillment 1 delivered_at',NULL,'2025-11-28T06:33:42Z','2025-11-28T06:33:42Z','42.958');
INSERT INTO order_history VALUES(51,1,'operator','fulfillment 9 status',NULL,'pending','2025-11-28T06:33:42Z','42.982');
INSERT INTO order_history VALUES(52,1,'operator','fulfillment 9 replacement',NULL,'lost','2025-11-28T06:33:42Z','42.982');
INSERT INTO order_history VALUES(53,1,'operator','fulfillment 9 quantity of li_1bIFZmRVhYbRvTj8sLs7A000',NULL,'1','2025-11-28T06:33:42Z','42.982');
INSERT INTO order_history VALUES(54,3,'operator','attention canceled_not_refunded 3',NULL,'2025-11-28T06:33:42Z canceled, and the buyer''s money is not refunded','2025-11-28T06:33:43Z','43.064');
INSERT INTO order_history VALUES(55,6,'fulfilld:undo','note','gift wrap',NULL,'2025-11-28T06:33:43Z','43.166');
INSERT INTO order_history VALUES(56,6,'fulfilld:undo','shipping_line1','12 Rue Exemple','Götgatan 44','2025-11-28T06:33:43Z','43.166');
INSERT INTO order_history VALUES(57,2,'operator','note',NULL,'ring twice','2025-11-28T06:34:33Z','33.406');
CREATE TABLE outbox(
  id              INTEGER PRIMARY KEY CHECK(id > 0),
  topic           TEXT NOT NULL,                          -- e.g. fulfillment.shipped
  order_id        INTEGER,
  fulfillment_id  INTEGER,
  event_id        TEXT,
  key             TEXT NOT NULL UNIQUE,                   -- the same news has the same key
  state           TEXT NOT NULL DEFAULT 'pending'         -- done: every hook was told; dead: one gave up
                  CONSTRAINT "a piece of news is pending, done or dead"
                  CHECK(state IN('pending', 'done', 'dead')),
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),  -- runs of all its hooks
  next_attempt_at TEXT,                                   -- when the first of them is due; NULL before it was handed to them
  outcome         TEXT                                    -- told; no_hook: none asks for it; past: before this file; undone; gave_up;
                  CHECK(outcome IN('told', 'no_hook', 'past', 'undone', 'gave_up', 'again')),  -- again: to be told anew
  last_error      TEXT,                                   -- for people
  created_at      TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
INSERT INTO outbox VALUES(1,'order.paid',1,NULL,NULL,'order:1:paid','done',0,NULL,'no_hook',NULL,'2025-11-28T06:33:25Z');
INSERT INTO outbox VALUES(2,'order.paid',2,NULL,NULL,'order:2:paid','done',0,NULL,'no_hook',NULL,'2025-11-28T06:33:25Z');
INSERT INTO outbox VALUES(3,'order.paid',3,NULL,NULL,'order:3:paid','done',0,NULL,'no_hook',NULL,'2025-11-28T06:33:25Z');
INSERT INTO outbox VALUES(4,'order.paid',4,NULL,NULL,'order:4:paid','done',0,NULL,'no_hook',NULL,'2025-11-28T06:33:25Z');
INSERT INTO outbox VALUES(5,'order.paid',5,NULL,NULL,'order:5:paid','done',1,NULL,'told',NULL,'2025-11-28T06:33:26Z');
INSERT INTO outbox VALUES(6,'order.paid',6,NULL,NULL,'order:6:paid','done',1,NULL,'told',NULL,'2025-11-28T06:33:26Z');
INSERT INTO outbox VALUES(7,'order.refunded',8,NULL,NULL,'refund:re_3mDMEySuofE4lBOOEWQOUNjx','pending',2,'2025-11-28T06:34:25Z',NULL,'exit code 1','2025-11-28T06:33:26Z');
INSERT INTO outbox VALUES(8,'order.paid',8,NULL,NULL,'order:8:paid','pending',0,'2025-11-28T06:33:26Z',NULL,NULL,'2025-11-28T06:33:26Z');
INSERT INTO outbox VALUES(9,'fulfillment.shipped',1,1,NULL,'fulfillment:1:shipped','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(10,'fulfillment.shipped',2,2,NULL,'fulfillment:2:shipped','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(11,'fulfillment.delivered',4,5,NULL,'fulfillment:5:delivered','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(12,'fulfillment.canceled',3,4,NULL,'fulfillment:4:canceled','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(13,'order.canceled',3,NULL,NULL,'order:3:canceled','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(14,'fulfillment.delivered',1,1,NULL,'fulfillment:1:delivered','done',1,NULL,'told',NULL,'2025-11-28T06:33:42Z');
INSERT INTO outbox VALUES(15,'event.failed',NULL,NULL,'evt_refuses','event:evt_refuses:failed','pending',0,NULL,NULL,NULL,'2025-11-28T06:34:33Z');
CREATE TABLE hook_runs(
  outbox_id       INTEGER NOT NULL REFERENCES outbox(id),
  target          TEXT NOT NULL,                          -- the command's path or the URL, as it is set
  order_id        INTEGER,                                -- the news of one order go to one hook one after the other
  state           TEXT NOT NULL DEFAULT 'pending'         -- gone: the hook is no longer set, or there is nothing to tell any more
                  CHECK(state IN('pending', 'done', 'dead', 'gone')),
  attempts        INTEGER NOT NULL DEFAULT 0 CHECK(attempts >= 0),  -- counted before each run
  tries           INTEGER NOT NULL DEFAULT 0 CHECK(tries >= 0),     -- of them, those since it was last told to run again
  failures        INTEGER NOT NULL DEFAULT 0 CHECK(failures >= 0),  -- of them, those that ended in any code but 0 and 75
  first_try_at    TEXT,
  taken_at        TEXT,                                   -- it is running since
  next_attempt_at TEXT NOT NULL,
  ended_at        TEXT,                                   -- its last run
  outcome         TEXT                                    -- what that came to; or why it has none and needs none any more
                  CHECK(outcome IN('done', 'again', 'failed', 'dead', 'not_run', 'interrupted', 'not_set', 'not_asked', 'put_aside')),
  last_error      TEXT,                                   -- for people
  PRIMARY KEY(outbox_id, target)
) STRICT, WITHOUT ROWID;
INSERT INTO hook_runs VALUES(5,'/usr/local/lib/shop/hook',5,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(6,'/usr/local/lib/shop/hook',6,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(7,'/usr/local/lib/shop/hook',8,'pending',2,2,2,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:34:25Z','2025-11-28T06:33:49Z','failed','exit code 1');
INSERT INTO hook_runs VALUES(8,'/usr/local/lib/shop/hook',8,'pending',0,0,0,NULL,NULL,'2025-11-28T06:33:26Z',NULL,NULL,NULL);
INSERT INTO hook_runs VALUES(9,'/usr/local/lib/shop/hook',1,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(10,'/usr/local/lib/shop/hook',2,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(11,'/usr/local/lib/shop/hook',4,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(12,'/usr/local/lib/shop/hook',3,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(13,'/usr/local/lib/shop/hook',3,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
INSERT INTO hook_runs VALUES(14,'/usr/local/lib/shop/hook',1,'done',1,1,0,'2025-11-28T06:33:43Z',NULL,'2025-11-28T06:33:43Z','2025-11-28T06:33:43Z','done',NULL);
CREATE TABLE sweeps(
  name  TEXT PRIMARY KEY CHECK(name IN('events', 'sessions', 'refunds', 'disputes', 'reviews', 'fraud_warnings')),
  until TEXT NOT NULL                                     -- everything that Stripe made before is here
) STRICT, WITHOUT ROWID;
INSERT INTO sweeps VALUES('events','2025-11-28T06:33:25Z');
INSERT INTO sweeps VALUES('sessions','2025-11-28T06:31:25Z');
CREATE TABLE alarms(
  name    TEXT PRIMARY KEY,
  message TEXT NOT NULL,
  next    TEXT NOT NULL,                                  -- what to do or to type
  since   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dismissals(
  reason   TEXT NOT NULL,
  subject  TEXT NOT NULL,                                 -- what it was about: a refund, an event …, else the order's number
  order_id INTEGER,
  facts    TEXT NOT NULL,                                 -- as they were; others are shown again
  actor    TEXT NOT NULL,
  at       TEXT NOT NULL DEFAULT(strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  PRIMARY KEY(reason, subject, facts)
) STRICT, WITHOUT ROWID;
INSERT INTO dismissals VALUES('canceled_not_refunded','3',3,'2025-11-28T06:33:42Z canceled, and the buyer''s money is not refunded','operator','2025-11-28T06:33:43Z');
CREATE TABLE carriers(
  company TEXT PRIMARY KEY CONSTRAINT "a carrier has a name" CHECK(trim(company) <> ''),
  url     TEXT NOT NULL CONSTRAINT "a carrier's url has {} where the number goes" CHECK(instr(url, '{}') > 0)
) STRICT, WITHOUT ROWID;
INSERT INTO carriers VALUES('Australia Post','https://auspost.com.au/mypost/track/#/details/{}');
INSERT INTO carriers VALUES('Canada Post','https://www.canadapost-postescanada.ca/track-reperage/en#/search?searchFor={}');
INSERT INTO carriers VALUES('Colissimo','https://www.laposte.fr/outils/suivre-vos-envois?code={}');
INSERT INTO carriers VALUES('DHL','https://www.dhl.com/global-en/home/tracking.html?tracking-id={}');
INSERT INTO carriers VALUES('DHL Express','https://www.dhl.com/en/express/tracking.html?AWB={}');
INSERT INTO carriers VALUES('DHL Paket','https://www.dhl.de/de/privatkunden/pakete-empfangen/verfolgen.html?piececode={}');
INSERT INTO carriers VALUES('DPD','https://tracking.dpd.de/status/en_US/parcel/{}');
INSERT INTO carriers VALUES('Deutsche Post','https://www.deutschepost.de/sendung/simpleQueryResult.html?form.sendungsnummer={}');
INSERT INTO carriers VALUES('Die Schweizerische Post','https://service.post.ch/ekp-web/ui/entry/search/{}');
INSERT INTO carriers VALUES('Evri','https://www.evri.com/track/parcel/{}');
INSERT INTO carriers VALUES('FedEx','https://www.fedex.com/fedextrack/?trknbr={}');
INSERT INTO carriers VALUES('Federal Express','https://www.fedex.com/fedextrack/?trknbr={}');
INSERT INTO carriers VALUES('GLS','https://gls-group.com/track/{}');
INSERT INTO carriers VALUES('Hermes','https://www.myhermes.de/empfangen/sendungsverfolgung/sendungsinformation/#{}');
INSERT INTO carriers VALUES('La Poste','https://www.laposte.fr/outils/suivre-vos-envois?code={}');
INSERT INTO carriers VALUES('PostNL','https://postnl.nl/tracktrace/?B={}');
INSERT INTO carriers VALUES('Radkurier','https://radkurier.example/{}');
INSERT INTO carriers VALUES('Royal Mail','https://www.royalmail.com/track-your-item#/tracking-results/{}');
INSERT INTO carriers VALUES('Swiss Post','https://service.post.ch/ekp-web/ui/entry/search/{}');
INSERT INTO carriers VALUES('UPS','https://www.ups.com/track?tracknum={}');
INSERT INTO carriers VALUES('USPS','https://tools.usps.com/go/TrackConfirmAction?tLabels={}');
INSERT INTO carriers VALUES('United Parcel Service','https://www.ups.com/track?tracknum={}');
INSERT INTO carriers VALUES('Österreichische Post','https://www.post.at/sv/sendungsdetails?snr={}');
CREATE TABLE currency_decimals(
  currency TEXT PRIMARY KEY,
  decimals INTEGER NOT NULL,
  unit     INTEGER NOT NULL                               -- minor units in one
) STRICT, WITHOUT ROWID;
INSERT INTO currency_decimals VALUES('bhd',3,1000);
INSERT INTO currency_decimals VALUES('bif',0,1);
INSERT INTO currency_decimals VALUES('clp',0,1);
INSERT INTO currency_decimals VALUES('djf',0,1);
INSERT INTO currency_decimals VALUES('gnf',0,1);
INSERT INTO currency_decimals VALUES('jod',3,1000);
INSERT INTO currency_decimals VALUES('jpy',0,1);
INSERT INTO currency_decimals VALUES('kmf',0,1);
INSERT INTO currency_decimals VALUES('krw',0,1);
INSERT INTO currency_decimals VALUES('kwd',3,1000);
INSERT INTO currency_decimals VALUES('mga',0,1);
INSERT INTO currency_decimals VALUES('omr',3,1000);
INSERT INTO currency_decimals VALUES('pyg',0,1);
INSERT INTO currency_decimals VALUES('rwf',0,1);
INSERT INTO currency_decimals VALUES('tnd',3,1000);
INSERT INTO currency_decimals VALUES('vnd',0,1);
INSERT INTO currency_decimals VALUES('vuv',0,1);
INSERT INTO currency_decimals VALUES('xaf',0,1);
INSERT INTO currency_decimals VALUES('xof',0,1);
INSERT INTO currency_decimals VALUES('xpf',0,1);
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 VALUES('orders','orders_manual','1 1');
INSERT INTO sqlite_stat1 VALUES('orders','orders_held','1 1');
INSERT INTO sqlite_stat1 VALUES('orders','orders_reference','0 0');
INSERT INTO sqlite_stat1 VALUES('orders','orders_subscription','0 0');
INSERT INTO sqlite_stat1 VALUES('orders','orders_invoice','0 0');
INSERT INTO sqlite_stat1 VALUES('orders','orders_created','9 9');
INSERT INTO sqlite_stat1 VALUES('orders','sqlite_autoindex_orders_2','9 1');
INSERT INTO sqlite_stat1 VALUES('orders','sqlite_autoindex_orders_1','9 1');
INSERT INTO sqlite_stat1 VALUES('line_items','line_items_canceled','0 0');
INSERT INTO sqlite_stat1 VALUES('line_items','sqlite_autoindex_line_items_2','19 3 1');
INSERT INTO sqlite_stat1 VALUES('line_items','line_items','19 1');
INSERT INTO sqlite_stat1 VALUES('carriers','carriers','22 1');
INSERT INTO sqlite_stat1 VALUES('fulfillments','fulfillments_tracking','0 0');
INSERT INTO sqlite_stat1 VALUES('fulfillments','fulfillments_pending','8 4 1');
INSERT INTO sqlite_stat1 VALUES('fulfillments','fulfillments_order','8 2');
INSERT INTO sqlite_stat1 VALUES('events','events_failed','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_awaits','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_suspect','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_thin','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_twin','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_object','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_pending','0 0');
INSERT INTO sqlite_stat1 VALUES('events','events_due','0 0 0');
INSERT INTO sqlite_stat1 VALUES('events','sqlite_autoindex_events_1','19 1');
INSERT INTO sqlite_stat1 VALUES('order_history','order_history_order','27 3');
INSERT INTO sqlite_stat1 VALUES('refunds','refunds_charge','1 1');
INSERT INTO sqlite_stat1 VALUES('refunds','refunds_payment_intent','1 1');
INSERT INTO sqlite_stat1 VALUES('refunds','refunds','1 1');
INSERT INTO sqlite_stat1 VALUES('sweeps','sweeps','2 1');
INSERT INTO sqlite_stat1 VALUES('fulfillment_line_items','fulfillment_line_items_item','15 1');
INSERT INTO sqlite_stat1 VALUES('fulfillment_line_items','fulfillment_line_items','15 2 1');
INSERT INTO sqlite_stat1 VALUES('outbox','outbox_dead','0 0');
INSERT INTO sqlite_stat1 VALUES('outbox','outbox_pending','4 4');
INSERT INTO sqlite_stat1 VALUES('outbox','sqlite_autoindex_outbox_1','8 1');
INSERT INTO sqlite_stat1 VALUES('currency_decimals','currency_decimals','20 1');
INSERT INTO sqlite_stat1 VALUES('hook_runs','hook_runs_order','2 2 2 1');
INSERT INTO sqlite_stat1 VALUES('hook_runs','hook_runs_due','2 2 1 1');
INSERT INTO sqlite_stat1 VALUES('hook_runs','hook_runs','10 1 1');
INSERT INTO sqlite_stat1 VALUES('dismissals','dismissals','1 1 1 1');
ANALYZE sqlite_schema;
CREATE INDEX events_due ON events(attempts > 0 OR source = 'backfill', next_attempt_at) WHERE state = 'pending';
CREATE INDEX events_pending ON events(received_at) WHERE state = 'pending';
CREATE INDEX events_object ON events(object_id) WHERE state = 'pending';
CREATE INDEX events_twin ON events(snapshot_event) WHERE snapshot_event IS NOT NULL;
CREATE INDEX events_thin ON events(object_id) WHERE shape = 'thin' AND snapshot_event IS NULL;
CREATE INDEX events_suspect ON events(next_attempt_at) WHERE state = 'pending' AND crashes >= 3;
CREATE INDEX events_awaits ON events(awaits) WHERE awaits IS NOT NULL;
CREATE INDEX events_failed ON events(received_at) WHERE state = 'failed';
CREATE INDEX orders_created ON orders(created_at);
CREATE INDEX orders_invoice ON orders(invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX orders_subscription ON orders(subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX orders_reference ON orders(client_reference_id) WHERE client_reference_id IS NOT NULL;
CREATE INDEX orders_held ON orders(capture_before) WHERE amount_capturable > 0;
CREATE INDEX orders_manual ON orders(payment_status) WHERE capture_method IS NOT NULL;
CREATE INDEX line_items_canceled ON line_items(order_id) WHERE canceled_quantity > 0;
CREATE INDEX fulfillments_order ON fulfillments(order_id);
CREATE INDEX fulfillments_pending ON fulfillments(requires_shipping, order_id) WHERE status = 'pending';
CREATE INDEX fulfillments_tracking ON fulfillments(tracking_number) WHERE tracking_number IS NOT NULL;
CREATE INDEX fulfillment_line_items_item ON fulfillment_line_items(line_item_id);
CREATE INDEX refunds_payment_intent ON refunds(payment_intent_id);
CREATE INDEX refunds_charge ON refunds(charge_id);
CREATE INDEX disputes_payment_intent ON disputes(payment_intent_id);
CREATE INDEX reviews_payment_intent ON reviews(payment_intent_id);
CREATE INDEX fraud_warnings_payment_intent ON fraud_warnings(payment_intent_id);
CREATE INDEX order_history_order ON order_history(order_id);
CREATE INDEX outbox_pending ON outbox(next_attempt_at) WHERE state = 'pending';
CREATE INDEX outbox_dead ON outbox(id) WHERE state = 'dead';
CREATE INDEX hook_runs_due ON hook_runs(target, tries > 0, next_attempt_at) WHERE state = 'pending';
CREATE INDEX hook_runs_order ON hook_runs(order_id, target, outbox_id) WHERE state = 'pending';
CREATE VIEW blanks AS SELECT char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199,
  8200, 8201, 8202, 8203, 8232, 8233, 8239, 8287, 8288, 12288, 65279) AS signs;
CREATE VIEW carrier_names AS
SELECT company, (
  WITH RECURSIVE signs(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM signs WHERE n < length(company))
  SELECT trim(replace(replace(group_concat(CASE instr(marks, sign) WHEN 0 THEN lower(sign) ELSE rtrim(substr(plain, 2 * instr(marks, sign) - 1, 2))
    || CASE WHEN sign IN('-', '_', '/', '&', ',') THEN ' ' ELSE '' END END, ''), '  ', ' '), '  ', ' '))
  FROM (SELECT substr(company, n, 1) AS sign, 'ÄäÖöÜüßÆæØøÅåÀàÁáÂâÃãÇçČčÈèÉéÊêËëÍíÎîŁłÑñÓóÔôÕõŠšÚúÛûŽž̧̀́̂̃̊̌̈.''’-_/&,' AS marks,
          'aeaeoeoeueuessaeaeoeoea a a a a a a a a a c c c c e e e e e e e e i i i i l l n n o o o o o o s s u u u u z z               e                 ' AS plain FROM signs ORDER BY n)) AS written
FROM carriers;
CREATE VIEW parcel_names AS
SELECT fulfillment_id, company, (
  WITH RECURSIVE signs(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM signs WHERE n < length(company))
  SELECT trim(replace(replace(group_concat(CASE instr(marks, sign) WHEN 0 THEN lower(sign) ELSE rtrim(substr(plain, 2 * instr(marks, sign) - 1, 2))
    || CASE WHEN sign IN('-', '_', '/', '&', ',') THEN ' ' ELSE '' END END, ''), '  ', ' '), '  ', ' '))
  FROM (SELECT substr(company, n, 1) AS sign, 'ÄäÖöÜüßÆæØøÅåÀàÁáÂâÃãÇçČčÈèÉéÊêËëÍíÎîŁłÑñÓóÔôÕõŠšÚúÛûŽž̧̀́̂̃̊̌̈.''’-_/&,' AS marks,
          'aeaeoeoeueuessaeaeoeoea a a a a a a a a a c c c c e e e e e e e e i i i i l l n n o o o o o o s s u u u u z z               e                 ' AS plain FROM signs ORDER BY n)) AS written
FROM (SELECT id AS fulfillment_id, nullif(trim(tracking_company, (SELECT signs FROM blanks)), '') AS company FROM fulfillments);
CREATE VIEW parcel_carriers AS
SELECT p.fulfillment_id, CASE WHEN p.company IS NULL THEN '' ELSE coalesce((SELECT k.company FROM carrier_names k
  WHERE substr(p.written || ' ', 1, length(k.written) + 1) = k.written || ' ' ORDER BY length(k.written) DESC, k.company LIMIT 1), p.written) END AS carrier
FROM parcel_names p;
CREATE VIEW parcel_links AS
SELECT f.id AS fulfillment_id, replace(k.url, '{}', (
  WITH RECURSIVE bytes(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM bytes WHERE n < length(CAST(f.tracking_number AS BLOB)))
  SELECT group_concat(CASE WHEN CAST(byte AS TEXT) GLOB '[A-Za-z0-9._~-]' THEN CAST(byte AS TEXT) ELSE '%' || hex(byte) END, '')
  FROM (SELECT substr(CAST(f.tracking_number AS BLOB), n, 1) AS byte FROM bytes ORDER BY n))) AS url
FROM fulfillments f JOIN carriers k ON k.company = (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = f.id)
WHERE f.tracking_number IS NOT NULL;
CREATE VIEW tracking_clashes AS
SELECT f.id AS fulfillment_id, f.order_id, g.order_id AS other_order_id, f.tracking_number
FROM fulfillments f JOIN fulfillments g ON g.tracking_number = f.tracking_number AND g.order_id <> f.order_id
JOIN orders o ON o.id = f.order_id JOIN orders p ON p.id = g.order_id
WHERE f.status <> 'canceled' AND g.status <> 'canceled'
  -- Where no carrier is named it may be any.
  AND ((SELECT carrier FROM parcel_carriers WHERE fulfillment_id = f.id) IN('', (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = g.id))
    OR (SELECT carrier FROM parcel_carriers WHERE fulfillment_id = g.id) = '')
  AND (o.shipping_line1 IS NULL OR p.shipping_line1 IS NULL
    OR lower(replace(o.shipping_line1 || '/' || coalesce(o.shipping_line2, '') || '/' || coalesce(o.shipping_postal_code, '') || '/'
         || coalesce(o.shipping_country, ''), ' ', ''))
      <> lower(replace(p.shipping_line1 || '/' || coalesce(p.shipping_line2, '') || '/' || coalesce(p.shipping_postal_code, '') || '/'
         || coalesce(p.shipping_country, ''), ' ', '')))
;
CREATE VIEW line_item_balance AS
SELECT order_id, line_item_id, requires_shipping, quantity, canceled, sent, quantity - canceled - sent AS left_to_send, pending
FROM (SELECT li.order_id, li.id AS line_item_id, li.requires_shipping, li.quantity, li.canceled_quantity AS canceled,
        (SELECT coalesce(sum(fl.quantity), 0) FROM fulfillment_line_items fl JOIN fulfillments f ON f.id = fl.fulfillment_id
         WHERE fl.line_item_id = li.id AND f.replacement IS NULL AND f.status IN('shipped', 'delivered')) AS sent,
        (SELECT coalesce(sum(fl.quantity), 0) FROM fulfillment_line_items fl JOIN fulfillments f ON f.id = fl.fulfillment_id
         WHERE fl.line_item_id = li.id AND f.replacement IS NULL AND f.status = 'pending') AS pending
      FROM line_items li);
CREATE VIEW order_totals AS
SELECT o.id,
  CASE WHEN o.payment_status IN('paid', 'no_payment_required') THEN coalesce(o.amount_captured, o.amount_total) ELSE 0 END AS amount_paid,
  (SELECT coalesce(sum(r.amount), 0) FROM refunds r
   WHERE r.payment_intent_id = o.payment_intent_id AND r.status = 'succeeded'
     AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL AND r.created_at <= coalesce(o.paid_at, '9')) = 0) AS amount_refunded,
  (SELECT coalesce(sum(r.amount), 0) FROM refunds r
   WHERE r.payment_intent_id = o.payment_intent_id AND r.status NOT IN('succeeded', 'failed', 'canceled')) AS refund_pending,
  (SELECT coalesce(sum(d.amount_lost), 0) FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id) AS amount_charged_back,
  (SELECT coalesce(sum(d.amount), 0) FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id
     AND d.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')) AS amount_disputed,
  (SELECT count(*) FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id
     AND d.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')) AS open_disputes,
  (SELECT count(*) FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id AND (d.status = 'lost' OR d.amount_lost > 0)) AS lost_disputes,
  (SELECT count(*) FROM reviews w WHERE w.payment_intent_id = o.payment_intent_id
     AND (w.open = 1 OR coalesce(w.closed_reason, '') NOT IN('approved', 'acknowledged'))) AS holding_reviews,
  (SELECT coalesce(sum(b.quantity - b.canceled), 0) FROM line_item_balance b WHERE b.order_id = o.id) AS quantity_due,
  (SELECT coalesce(sum(b.sent), 0) FROM line_item_balance b WHERE b.order_id = o.id) AS quantity_fulfilled
FROM orders o;
CREATE VIEW order_blocks AS
SELECT o.id AS order_id,
  CASE WHEN o.payment_status NOT IN('paid', 'no_payment_required') THEN 'unpaid'
       WHEN o.canceled_at IS NOT NULL THEN 'canceled'
       WHEN o.hold_reason IS NOT NULL THEN 'on hold'
       WHEN o.payment_intent_id IS NULL THEN NULL
       WHEN t.open_disputes > 0 AND t.amount_disputed + t.amount_charged_back + t.amount_refunded + t.refund_pending >= t.amount_paid THEN 'disputed'
       WHEN t.amount_charged_back > 0 AND t.amount_charged_back + t.amount_refunded + t.refund_pending >= t.amount_paid THEN 'dispute lost'
       WHEN t.holding_reviews > 0 THEN 'in review'
       WHEN t.amount_paid > 0 AND t.amount_refunded + t.refund_pending >= t.amount_paid THEN 'refunded' END AS blocked_by
FROM orders o JOIN order_totals t ON t.id = o.id;
CREATE VIEW order_custom_fields AS
SELECT o.id AS order_id, f.key + 1 AS position,
  coalesce(json_extract(o.custom_fields, f.fullkey || '.label.custom'), json_extract(o.custom_fields, f.fullkey || '.key')) AS label,
  coalesce(json_extract(o.custom_fields, f.fullkey || '.text.value'), json_extract(o.custom_fields, f.fullkey || '.numeric.value'),
    (SELECT json_extract(o.custom_fields, c.fullkey || '.label') FROM json_each(
        CASE json_type(o.custom_fields, f.fullkey || '.dropdown.options') WHEN 'array' THEN o.custom_fields END, f.fullkey || '.dropdown.options') c
     WHERE json_extract(o.custom_fields, c.fullkey || '.value') = json_extract(o.custom_fields, f.fullkey || '.dropdown.value')),
    json_extract(o.custom_fields, f.fullkey || '.dropdown.value')) AS value
-- A list, or it says nothing: a name in an object may be a path that is none.
FROM orders o, json_each(CASE json_type(o.custom_fields) WHEN 'array' THEN o.custom_fields END) f
;
CREATE VIEW order_cautions AS
SELECT m.order_id, m.money, (SELECT group_concat(part, '; ') FROM (
  SELECT m.money AS part WHERE m.money IS NOT NULL
  UNION ALL SELECT label || ': ' || value FROM order_custom_fields w WHERE w.order_id = m.order_id AND value <> ''
  UNION ALL SELECT 'note: ' || m.note WHERE m.note <> '')) AS caution
FROM (SELECT o.id AS order_id, o.note, (SELECT group_concat((p.amount / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
      substr('00' || (p.amount % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' of ' ||
      (t.amount_paid / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
      substr('00' || (t.amount_paid % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(o.currency) || ' ' || p.what, '; ')
    FROM (SELECT t.amount_refunded + t.refund_pending AS amount, 'refunded' AS what
          UNION ALL SELECT t.amount_charged_back, 'charged back' UNION ALL SELECT t.amount_disputed, 'disputed') p
    WHERE p.amount > 0) AS money
  FROM orders o JOIN order_totals t ON t.id = o.id LEFT JOIN currency_decimals c ON c.currency = o.currency) m;
CREATE VIEW order_overview AS
SELECT o.id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  coalesce(o.name, o.shipping_name, o.email) AS customer, o.email,
  (SELECT group_concat(quantity || ' × ' || name, ', ')
   FROM (SELECT quantity, name FROM line_items WHERE order_id = o.id ORDER BY position)) AS items,
  (o.amount_total / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
    substr('00' || (o.amount_total % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(o.currency) AS total,
  CASE WHEN o.payment_status = 'failed' THEN 'voided'
       WHEN o.payment_status = 'unpaid' THEN CASE WHEN o.amount_capturable > 0 THEN 'authorized' ELSE 'pending' END
       -- A subscription that begins with a trial: its money comes later, if it comes.
       WHEN o.mode = 'subscription' AND o.amount_total = 0 AND o.amount_discount = 0 THEN 'pending'
       WHEN t.amount_charged_back > 0 THEN
         CASE WHEN t.amount_refunded + t.amount_charged_back < t.amount_paid THEN 'partially_charged_back' ELSE 'charged_back' END
       WHEN t.amount_refunded = 0 THEN 'paid' WHEN t.amount_refunded < t.amount_paid THEN 'partially_refunded'
       ELSE 'refunded' END AS financial_status,
  CASE WHEN t.quantity_due = 0 THEN 'not_required' WHEN t.quantity_fulfilled >= t.quantity_due THEN 'fulfilled'
       WHEN b.blocked_by IN('on hold', 'disputed', 'dispute lost', 'in review') THEN 'on_hold'
       WHEN t.quantity_fulfilled > 0 THEN 'partially_fulfilled' ELSE 'unfulfilled' END AS fulfillment_status,
  o.canceled_at IS NOT NULL AS canceled, b.blocked_by IS NULL AS fulfillable, b.blocked_by, o.hold_reason, o.note,
  o.currency, o.amount_total, t.amount_paid, t.amount_refunded, t.refund_pending, t.amount_charged_back, t.amount_disputed,
  t.open_disputes, t.lost_disputes
FROM orders o
JOIN order_totals t ON t.id = o.id
JOIN order_blocks b ON b.order_id = o.id
LEFT JOIN currency_decimals c ON c.currency = o.currency
ORDER BY o.id
;
CREATE VIEW order_lines AS
SELECT li.order_id, li.position, li.quantity, li.name, li.options, li.sku,
  (li.unit_amount / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
    substr('00' || (li.unit_amount % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(li.currency) AS price,
  (li.amount_total / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
    substr('00' || (li.amount_total % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(li.currency) AS total,
  b.sent, b.left_to_send, b.canceled, li.requires_shipping, li.currency, li.unit_amount, li.amount_total, li.id AS line_item_id
FROM line_items li
JOIN line_item_balance b ON b.line_item_id = li.id
LEFT JOIN currency_decimals c ON c.currency = li.currency
ORDER BY li.order_id, li.position;
CREATE VIEW to_ship AS
SELECT o.id AS order_id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  (SELECT group_concat(quantity || ' × ' || name || coalesce(' (' || options || ')', ''), ', ')
   FROM (SELECT fl.quantity, li.name, li.options FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
         WHERE fl.fulfillment_id = f.id ORDER BY li.position)) AS items,
  coalesce(o.shipping_name, o.name, o.email, '') || coalesce(', ' || nullif(o.business_name, coalesce(o.shipping_name, o.name, '')), '') ||
    coalesce(', ' || o.shipping_line1, '') || coalesce(', ' || o.shipping_line2, '') ||
    coalesce(', ' || nullif(trim(coalesce(o.shipping_postal_code, '') || ' ' || coalesce(o.shipping_city, '')), ''), '') ||
    coalesce(', ' || o.shipping_state, '') || coalesce(', ' || o.shipping_country, '') AS ship_to,
  o.shipping_option,
  nullif(rtrim(coalesce('replacement: ' || f.replacement || '; ', '') || coalesce((SELECT caution FROM order_cautions q WHERE q.order_id = o.id), ''), '; '), '')
    AS caution,
  o.business_name,
  (SELECT group_concat(label || ': ' || value, '; ') FROM order_custom_fields w WHERE w.order_id = o.id AND value <> '') AS custom_fields,
  o.phone, o.email, o.note, f.replacement, f.id AS fulfillment_id
FROM fulfillments f JOIN orders o ON o.id = f.order_id
WHERE f.status = 'pending' AND f.requires_shipping = 1
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
ORDER BY o.id, f.id;
CREATE VIEW to_capture AS
SELECT o.id AS order_id, replace(substr(o.created_at, 1, 16), 'T', ' ') AS placed_at,
  coalesce(o.name, o.shipping_name, o.email) AS customer,
  (SELECT group_concat(quantity || ' × ' || name, ', ')
   FROM (SELECT quantity, name FROM line_items WHERE order_id = o.id ORDER BY position)) AS items,
  (o.amount_capturable / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
    substr('00' || (o.amount_capturable % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(o.currency) AS held,
  o.capture_before, o.hold_reason, o.note, o.amount_capturable, o.currency, o.payment_intent_id
FROM orders o LEFT JOIN currency_decimals c ON c.currency = o.currency
WHERE o.amount_capturable > 0 AND o.payment_status = 'unpaid' AND o.canceled_at IS NULL
ORDER BY coalesce(o.capture_before, strftime('%Y-%m-%dT%H:%M:%SZ', o.created_at, '+7 days')), o.id;
CREATE VIEW to_fulfill AS
SELECT f.order_id, f.id AS fulfillment_id, fl.line_item_id, li.sku, li.name, li.options, fl.quantity, f.requires_shipping
FROM fulfillments f JOIN orders o ON o.id = f.order_id
JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id JOIN line_items li ON li.id = fl.line_item_id
WHERE f.status = 'pending'
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
ORDER BY f.order_id, f.id, li.position;
CREATE VIEW stuck_events AS
SELECT id, type, object_id, received_at, attempts, next_attempt_at, state_reason
FROM events
WHERE state = 'pending' AND received_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-10 minutes')
ORDER BY received_at;
CREATE VIEW bookings AS
SELECT o.paid_at AS at, 'sale' AS what, o.id AS order_id, o.checkout_session_id AS source, o.currency,
  o.amount_subtotal, o.amount_discount, o.amount_shipping, o.amount_tax, coalesce(o.amount_captured, o.amount_total) AS amount_total,
  0 AS amount_refunded, 0 AS amount_charged_back
FROM orders o
WHERE o.payment_status IN('paid', 'no_payment_required') AND NOT(o.mode = 'subscription' AND o.amount_total = 0 AND o.amount_discount = 0)
UNION ALL
SELECT r.created_at, 'refund', o.id, r.id, r.currency, 0, 0, 0, 0, 0, r.amount, 0
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE o.payment_status IN('paid', 'no_payment_required')
  AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL AND r.created_at <= coalesce(o.paid_at, '9')) = 0
UNION ALL
SELECT r.failed_at, 'refund failed', o.id, r.id, r.currency, 0, 0, 0, 0, 0, -r.amount, 0
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE r.status IN('failed', 'canceled') AND r.failed_at IS NOT NULL AND o.payment_status IN('paid', 'no_payment_required')
  AND (o.capture_method IS 'manual' AND r.balance_transaction_id IS NULL AND r.created_at <= coalesce(o.paid_at, '9')) = 0
UNION ALL
SELECT json_extract(d.money_moves, m.fullkey || '.at'),
  CASE WHEN json_extract(d.money_moves, m.fullkey || '.amount') < 0 THEN 'chargeback' ELSE 'chargeback returned' END,
  o.id, d.id, d.currency, 0, 0, 0, 0, 0, 0, -json_extract(d.money_moves, m.fullkey || '.amount')
FROM disputes d JOIN orders o ON o.payment_intent_id = d.payment_intent_id, json_each(d.money_moves) m
WHERE o.payment_status IN('paid', 'no_payment_required') AND json_type(d.money_moves) = 'array'
  AND json_type(d.money_moves, m.fullkey || '.amount') = 'integer';
CREATE VIEW sales_by_day AS
SELECT day, currency, orders, amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, amount_refunded,
  amount_charged_back, amount_net,
  CASE WHEN amount_net < 0 THEN '-' ELSE '' END || (abs(amount_net) / coalesce(c.unit, 100)) || CASE coalesce(c.decimals, 2) WHEN 0 THEN '' ELSE '.' ||
    substr('00' || (abs(amount_net) % coalesce(c.unit, 100)), -coalesce(c.decimals, 2)) END || ' ' || upper(currency) AS net
FROM (SELECT substr(b.at, 1, 10) AS day, b.currency AS currency, sum(b.what = 'sale') AS orders, sum(b.amount_subtotal) AS amount_subtotal,
        sum(b.amount_discount) AS amount_discount, sum(b.amount_shipping) AS amount_shipping, sum(b.amount_tax) AS amount_tax,
        sum(b.amount_total) AS amount_total, sum(b.amount_refunded) AS amount_refunded, sum(b.amount_charged_back) AS amount_charged_back,
        sum(b.amount_total - b.amount_refunded - b.amount_charged_back) AS amount_net
      FROM bookings b GROUP BY 1, 2) s
LEFT JOIN currency_decimals c USING(currency)
ORDER BY day, currency;
CREATE VIEW matters AS
-- Since it could be sent: since it was paid, or since the last hold, dispute or review let it go.
SELECT 'unsent' AS reason, o.id AS order_id, NULL AS subject, max(o.paid_at, coalesce((SELECT max(h.at) FROM order_history h
    WHERE h.order_id = o.id AND (h.what = 'hold_reason' OR h.what GLOB 'dispute *' OR h.what GLOB 'review *')), '')) AS since,
  'could be sent more than three days ago and is not' AS what,
  CASE f.requires_shipping
    WHEN 1 THEN 'INSERT INTO ship VALUES(' || o.id || ', ''company'', ''number'', NULL);'
    ELSE 'INSERT INTO deliver VALUES(' || o.id || ');' END AS next
FROM fulfillments f JOIN orders o ON o.id = f.order_id
WHERE f.status = 'pending' AND o.paid_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-3 days')
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
  AND NOT EXISTS(SELECT 1 FROM order_history h WHERE h.order_id = o.id AND h.at >= strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-3 days')
    AND (h.what = 'hold_reason' OR h.what GLOB 'dispute *' OR h.what GLOB 'review *'))
UNION ALL
SELECT 'no_address', o.id, NULL, o.paid_at, 'goods to ship and no address',
  'UPDATE orders SET shipping_name = ''…'', shipping_line1 = ''…'', shipping_postal_code = ''…'', shipping_city = ''…'', shipping_country = ''…'' WHERE id = ' || o.id || ';'
FROM fulfillments f JOIN orders o ON o.id = f.order_id
-- A shipping option that costs nothing and asks for no address is how a shop offers to pick it up.
WHERE f.status = 'pending' AND f.requires_shipping = 1 AND o.shipping_line1 IS NULL
  AND (o.shipping_option IS NULL OR o.amount_shipping > 0)
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
UNION ALL
SELECT 'no_lines', o.id, NULL, o.paid_at, 'paid, and Stripe names nothing that was bought',
  'look at the session ' || o.checkout_session_id || ' in Stripe''s Dashboard'
FROM orders o
WHERE o.payment_status IN('paid', 'no_payment_required') AND o.canceled_at IS NULL
  AND NOT EXISTS(SELECT 1 FROM line_items li WHERE li.order_id = o.id)
UNION ALL
SELECT 'sums_differ', o.id, NULL, o.created_at, 'the parts do not add up to the total that Stripe names',
  'SELECT * FROM order_lines WHERE order_id = ' || o.id || ';'
FROM orders o
WHERE o.payment_status <> 'failed' AND o.canceled_at IS NULL
  -- Tax may be inside the prices or on top of them, so the difference it explains lies between nothing and all of it.
  AND (o.amount_total - (o.amount_subtotal - o.amount_discount + o.amount_shipping) NOT BETWEEN 0 AND o.amount_tax
    OR o.amount_subtotal <> (SELECT coalesce(sum(li.amount_subtotal), 0) FROM line_items li WHERE li.order_id = o.id))
UNION ALL
SELECT 'held', o.id, NULL, h.at, 'on hold for more than a week: ' || o.hold_reason, 'INSERT INTO release VALUES(' || o.id || ');'
FROM orders o JOIN (SELECT order_id, max(at) AS at FROM order_history WHERE what = 'hold_reason' GROUP BY order_id) h ON h.order_id = o.id
WHERE o.hold_reason IS NOT NULL AND h.at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-7 days')
UNION ALL
SELECT 'capture_due', o.id, NULL, o.created_at,
  'the money is only held' || coalesce(' until ' || o.capture_before, '') || ': capture it, or it goes back to the buyer',
  'capture ' || coalesce(o.payment_intent_id, 'the payment') || ' in Stripe''s Dashboard'
FROM orders o
WHERE o.amount_capturable > 0 AND o.payment_status = 'unpaid' AND o.canceled_at IS NULL
  AND coalesce(o.capture_before, '9') > strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
  -- A card's hold lives seven days; Stripe does not say it of every way to pay.
  AND coalesce(o.capture_before, strftime('%Y-%m-%dT%H:%M:%SZ', o.created_at, '+7 days')) < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+2 days')
UNION ALL
SELECT 'authorization_ended', o.id, NULL, coalesce(o.capture_before, o.created_at),
  'the money was held and never captured: the buyer has not paid', 'INSERT INTO cancel VALUES(' || o.id || ', ''declined'');'
FROM orders o
WHERE o.capture_method IS NOT NULL AND o.canceled_at IS NULL AND (o.payment_status = 'failed'
  OR (o.payment_status = 'unpaid' AND o.capture_before <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))
UNION ALL
SELECT 'paid_twice', o.id, NULL, o.paid_at, 'order ' || e.id || ' was paid with the same reference, ' || o.client_reference_id || ': does the buyer want both?',
  'SELECT * FROM order_overview WHERE id IN(' || e.id || ', ' || o.id || ');'
FROM orders o JOIN orders e ON e.client_reference_id = o.client_reference_id AND e.id < o.id
WHERE o.payment_status = 'paid' AND e.payment_status = 'paid' AND o.amount_total > 0 AND e.amount_total > 0
  AND o.canceled_at IS NULL AND e.canceled_at IS NULL
  -- The same reference on another day is a customer's, and one in a link that many use is nobody's.
  AND o.created_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-30 days') AND abs(julianday(o.created_at) - julianday(e.created_at)) < 2
  AND (o.payment_link_id IS NULL OR lower(o.email) = lower(e.email))
  AND (SELECT amount_refunded + refund_pending + amount_charged_back < amount_paid FROM order_totals t WHERE t.id = o.id)
  AND (SELECT amount_refunded + refund_pending + amount_charged_back < amount_paid FROM order_totals t WHERE t.id = e.id)
GROUP BY o.id
UNION ALL
SELECT 'partly_refunded', o.id, NULL,
  max(coalesce((SELECT max(r.created_at) FROM refunds r WHERE r.payment_intent_id = o.payment_intent_id), ''),
    coalesce((SELECT max(d.created_at) FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id), '')),
  (SELECT money FROM order_cautions q WHERE q.order_id = o.id) || ', and goods still wait to be sent: which of them?',
  'SELECT * FROM order_lines WHERE order_id = ' || o.id || ';'
FROM fulfillments f JOIN orders o ON o.id = f.order_id JOIN order_totals t ON t.id = o.id
WHERE f.status = 'pending' AND t.amount_refunded + t.refund_pending + t.amount_charged_back > 0
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) IS NULL
  AND NOT EXISTS(SELECT 1 FROM refunds r WHERE r.payment_intent_id = o.payment_intent_id
    AND r.status NOT IN('pending', 'requires_action', 'succeeded', 'failed', 'canceled'))
  -- What was refunded for goods that are canceled is dealt with.
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back
    > (SELECT coalesce(sum(li.amount_total * li.canceled_quantity / li.quantity), 0) FROM line_items li WHERE li.order_id = o.id)
GROUP BY o.id
UNION ALL
SELECT 'canceled_not_refunded', o.id, NULL, o.canceled_at,
  CASE WHEN o.payment_status = 'paid' THEN 'canceled, and the buyer''s money is not refunded'
    ELSE 'canceled, and the buyer''s money is still held' END,
  CASE WHEN o.payment_status = 'paid' THEN 'refund ' ELSE 'cancel ' END || coalesce(o.payment_intent_id, o.checkout_session_id) || ' in Stripe''s Dashboard'
FROM orders o JOIN order_totals t ON t.id = o.id
WHERE o.canceled_at IS NOT NULL AND (o.amount_capturable > 0 OR (o.payment_status = 'paid'
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back < t.amount_paid))
  -- While it is disputed Stripe refuses a refund, but for an inquiry: then the dispute decides.
  AND NOT EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id AND d.is_charge_refundable = 0
    AND d.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded'))
UNION ALL
SELECT 'canceled_not_refunded', o.id, NULL,
  (SELECT max(h.at) FROM order_history h WHERE h.order_id = o.id AND h.what GLOB 'line * canceled_quantity'),
  'goods are canceled for more than was refunded', 'refund ' || coalesce(o.payment_intent_id, o.checkout_session_id) || ' in part in Stripe''s Dashboard'
FROM (SELECT li.order_id, sum(li.amount_total * li.canceled_quantity / li.quantity) AS amount FROM line_items li
      WHERE li.canceled_quantity > 0 GROUP BY li.order_id) g
JOIN orders o ON o.id = g.order_id JOIN order_totals t ON t.id = o.id
WHERE o.canceled_at IS NULL AND o.payment_status = 'paid'
  AND t.amount_refunded + t.refund_pending + t.amount_charged_back < min(g.amount, t.amount_paid)
  AND NOT EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id AND d.is_charge_refundable = 0
    AND d.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded'))
UNION ALL
SELECT 'refunded_not_canceled', o.id, NULL, o.paid_at, 'all of the money is refunded, and goods still wait to be sent',
  'INSERT INTO cancel VALUES(' || o.id || ', ''customer'');'
FROM fulfillments f JOIN orders o ON o.id = f.order_id
WHERE f.status = 'pending' AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) = 'refunded'
GROUP BY o.id
UNION ALL
SELECT 'refunded_after_shipping', o.id, r.id, r.created_at, 'refunded after it was shipped: are the goods coming back?',
  'SELECT * FROM order_history WHERE order_id = ' || o.id || ';'
FROM refunds r JOIN orders o ON o.payment_intent_id = r.payment_intent_id
WHERE r.status = 'succeeded' AND r.created_at > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-14 days')
  AND EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = o.id AND f.status IN('shipped', 'delivered') AND coalesce(f.shipped_at, f.delivered_at) < r.created_at)
UNION ALL
-- Told until what was refunded later covers it.
SELECT 'refund_failed', coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = r.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = r.subscription_id)), r.id, r.created_at,
  'a refund did not reach the buyer (' || coalesce(r.failure_reason, r.status) || ')' ||
    CASE WHEN r.subscription_id IS NULL THEN '' ELSE ', of a later payment of ' || r.subscription_id END,
  'look at ' || r.id || ' in Stripe''s Dashboard'
FROM refunds r
WHERE r.status IN('failed', 'requires_action')
  AND (SELECT coalesce(sum(l.amount), 0) FROM refunds l WHERE l.payment_intent_id = r.payment_intent_id AND l.id <> r.id
         AND l.created_at >= r.created_at AND l.status NOT IN('failed', 'canceled', 'requires_action'))
    < (SELECT sum(l.amount) FROM refunds l WHERE l.payment_intent_id = r.payment_intent_id
         AND l.created_at >= r.created_at AND l.status IN('failed', 'requires_action'))
  AND NOT EXISTS(SELECT 1 FROM orders o JOIN order_totals t ON t.id = o.id WHERE o.payment_intent_id = r.payment_intent_id
    AND t.amount_paid > 0 AND t.amount_refunded + t.amount_charged_back >= t.amount_paid)
UNION ALL
SELECT 'refund_unknown', coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = r.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = r.subscription_id)), r.id, r.created_at, 'a refund is ' || r.status || ', a word that this version does not know; it is not counted as succeeded',
  'look at ' || r.id || ' in Stripe''s Dashboard, and upgrade fulfilld'
FROM refunds r
WHERE r.status NOT IN('pending', 'requires_action', 'succeeded', 'failed', 'canceled')
UNION ALL
SELECT 'dispute_due', coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = d.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = d.subscription_id)), d.id, d.created_at,
  'the buyer disputes ' || CASE WHEN d.subscription_id IS NULL THEN 'the payment' ELSE 'a later payment of ' || d.subscription_id END ||
    ' (' || coalesce(d.reason, 'no reason') || '); answer ' || coalesce('by ' || d.evidence_due_by, 'soon'),
  'look at ' || d.id || ' in Stripe''s Dashboard'
FROM disputes d
WHERE d.status IN('warning_needs_response', 'needs_response', 'appeal_needs_response')
UNION ALL
SELECT 'dispute_lost', o.id, NULL, max(d.created_at), 'a dispute took the money, and goods still wait to be sent',
  'INSERT INTO cancel VALUES(' || o.id || ', ''fraud'');'
FROM disputes d JOIN orders o ON o.payment_intent_id = d.payment_intent_id
WHERE d.amount_lost > 0 AND EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = o.id AND f.status = 'pending')
  AND (SELECT blocked_by FROM order_blocks b WHERE b.order_id = o.id) = 'dispute lost'
GROUP BY o.id
UNION ALL
SELECT 'in_review', coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = w.subscription_id)), w.id, w.created_at,
  CASE w.open WHEN 1 THEN 'Stripe holds ' || CASE WHEN w.subscription_id IS NULL THEN 'the payment' ELSE 'a later payment of ' || w.subscription_id END
    || ' for review' ELSE 'a review ended with: ' || coalesce(w.closed_reason, 'no reason') END,
  CASE w.open WHEN 1 THEN 'approve or refund it in Stripe''s Dashboard'
    ELSE 'INSERT INTO cancel VALUES(' || (SELECT o.id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id) || ', ''fraud'');' END
FROM reviews w
WHERE NOT EXISTS(SELECT 1 FROM orders o WHERE o.payment_intent_id = w.payment_intent_id AND o.canceled_at IS NOT NULL)
  AND (w.open = 1 OR (coalesce(w.closed_reason, '') NOT IN('approved', 'acknowledged')
    AND EXISTS(SELECT 1 FROM orders o JOIN fulfillments f ON f.order_id = o.id WHERE o.payment_intent_id = w.payment_intent_id AND f.status = 'pending')))
UNION ALL
SELECT 'fraud_warning', coalesce((SELECT id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id),
    (SELECT max(id) FROM orders o WHERE o.subscription_id = w.subscription_id)), w.id, w.created_at, 'the card''s issuer suspects fraud (' || coalesce(w.fraud_type, 'no type') || ')' ||
    CASE WHEN w.subscription_id IS NULL THEN '' ELSE ' in a later payment of ' || w.subscription_id END,
  'refund it in Stripe''s Dashboard' || coalesce(', or hold it: INSERT INTO hold VALUES(' ||
    (SELECT o.id FROM orders o WHERE o.payment_intent_id = w.payment_intent_id) || ', ''fraud warning'');', '')
FROM fraud_warnings w
WHERE w.actionable = 1
  -- Canceled, held, given back already, or in a dispute during which Stripe refuses a refund.
  AND NOT EXISTS(SELECT 1 FROM orders o JOIN order_totals t ON t.id = o.id WHERE o.payment_intent_id = w.payment_intent_id
    AND (o.canceled_at IS NOT NULL OR o.hold_reason IS NOT NULL
      OR (t.amount_paid > 0 AND t.amount_refunded + t.refund_pending + t.amount_charged_back >= t.amount_paid)))
  AND NOT EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = w.payment_intent_id AND d.is_charge_refundable = 0
    AND d.status NOT IN('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded'))
UNION ALL
SELECT 'event_failed', NULL, e.id, e.received_at, e.type || ': ' || coalesce(e.state_reason, 'no reason'),
  'fulfilld events show ' || e.word || '; then: fulfilld replay ' || e.word
FROM (SELECT id, type, received_at, state_reason,
        -- An id is text from outside: in a line for the shell it is one word and no option.
        CASE WHEN id GLOB '[A-Za-z0-9]*' AND id NOT GLOB '*[^A-Za-z0-9_]*' THEN id
          ELSE '-- ''' || replace(id, '''', '''\''''') || '''' END AS word
      FROM events WHERE state = 'failed') e
UNION ALL
SELECT 'event_stuck', NULL, e.id, e.received_at, e.type || ' waits: ' || coalesce(e.state_reason, 'not tried yet; is fulfilld running?'),
  'SELECT * FROM stuck_events;'
FROM events e
WHERE e.state = 'pending' AND e.received_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hours')
UNION ALL
SELECT a.name, NULL, NULL, a.since, a.message, a.next FROM alarms a
UNION ALL
SELECT 'hook_dead', x.order_id, coalesce(x.event_id, 'news ' || x.id), x.created_at, 'a hook for ' || x.topic || ' gave up: ' || coalesce(x.last_error, 'no reason'),
  'fulfilld hooks retry ' || x.id
FROM outbox x WHERE x.state = 'dead'
UNION ALL
SELECT 'hook_fails', NULL, r.target, min(r.first_try_at),
  'the hook ' || r.target || ' has failed for more than an hour, its news waits (' || count(*) || '): ' || max(r.last_error), 'fulfilld hooks list; once it is mended they go on by themselves'
FROM hook_runs r JOIN outbox x ON x.id = r.outbox_id AND x.state = 'pending'
WHERE r.state = 'pending' AND r.last_error IS NOT NULL AND r.first_try_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 hours')
GROUP BY r.target
;
CREATE VIEW attention AS
SELECT reason, order_id, (SELECT e.id FROM events e WHERE e.id = m.subject) AS event_id, since, what, next, subject
FROM matters m
WHERE NOT EXISTS(SELECT 1 FROM dismissals d WHERE d.reason = m.reason AND d.subject = CAST(coalesce(m.subject, m.order_id, '') AS TEXT)
  AND d.facts = coalesce(m.since, '') || ' ' || m.what);
CREATE VIEW readme AS
SELECT 'look' AS kind, 'what is to be packed' AS what, 'SELECT * FROM to_ship;' AS type UNION ALL VALUES
  ('look', 'every order, newest last', 'SELECT * FROM order_overview;'),
  ('look', 'one order', 'SELECT * FROM order_overview WHERE id = 1;'),
  ('look', 'what was bought', 'SELECT * FROM order_lines WHERE order_id = 1;'),
  ('look', 'what needs you', 'SELECT * FROM attention;'),
  ('look', 'money that is only held, to be captured', 'SELECT * FROM to_capture;'),
  ('look', 'what the shop took and gave back, by day', 'SELECT * FROM sales_by_day;'),
  ('look', 'money that went back', 'SELECT * FROM refunds;'),
  ('look', 'who changed what', 'SELECT * FROM order_history WHERE order_id = 1;'),
  ('look', 'what is left, by line', 'SELECT * FROM to_fulfill;'),
  ('look', 'what your hooks were told', 'SELECT * FROM hook_runs;'),
  ('do', 'of line 1 all goes first; the rest waits in a parcel of its own', 'INSERT INTO ship_items VALUES(5, ''1'', ''DHL'', ''JD0123456788'', NULL);'),
  ('do', 'ship an order', 'INSERT INTO ship VALUES(1, ''DHL'', ''JD0123456789'', NULL);'),
  ('do', 'ship it, the long way', 'UPDATE fulfillments SET status = ''shipped'', tracking_company = ''DHL'', tracking_number = ''JD0123456789'' WHERE order_id = 1 AND status = ''pending'';'),
  ('do', 'it arrived; digital goods are sent', 'INSERT INTO deliver VALUES(1);'),
  ('do', 'hold an order', 'INSERT INTO hold VALUES(1, ''asks for another color'');'),
  ('do', 'let it go on', 'INSERT INTO release VALUES(1);'),
  ('do', 'cancel what has not been sent', 'INSERT INTO cancel VALUES(2, ''customer'');'),
  ('do', 'correct an address', 'UPDATE orders SET shipping_line1 = ''12 Rue Exemple'' WHERE id = 1;'),
  ('do', 'what attention shows of an order is dealt with', 'INSERT INTO dismiss SELECT order_id, reason FROM attention WHERE order_id = 2;'),
  ('do', 'write a note', 'UPDATE orders SET note = ''gift wrap'' WHERE id = 1;'),
  ('do', 'process an event again', 'UPDATE events SET state = ''pending'' WHERE id = ''evt_1'';'),
  ('know', 'take back what you typed last', 'fulfilld undo'),
  ('know', 'before you edit', '.timeout 5000'),
  ('know', 'an open BEGIN keeps new orders waiting', 'COMMIT;');
CREATE TRIGGER events_insert BEFORE INSERT ON events
  WHEN EXISTS(SELECT 1 FROM events WHERE id = NEW.id) OR EXISTS(SELECT 1 FROM events WHERE rowid = NEW.rowid)
    OR (NEW.state = 'pending' AND NEW.next_attempt_at IS NULL)
    OR ((SELECT name FROM actor) GLOB 'operator*'
      AND (NEW.state IS NOT 'pending' OR NEW.seq NOT IN(0, (SELECT n FROM sequence)) OR NEW.attempts <> 0 OR NEW.crashes <> 0 OR NEW.taken_at IS NOT NULL))
BEGIN
  SELECT RAISE(IGNORE) WHERE EXISTS(SELECT 1 FROM events WHERE id = NEW.id);
  SELECT RAISE(ABORT, 'events: rows are never replaced') WHERE EXISTS(SELECT 1 FROM events WHERE rowid = NEW.rowid);
  SELECT RAISE(ABORT, 'events: a new one is pending, due, not tried yet, and gets its seq by itself; fulfilld asks Stripe what it is about');
END;
CREATE TRIGGER events_numbered AFTER INSERT ON events WHEN NEW.seq = 0
BEGIN
  UPDATE sequence SET n = n + 1;
  UPDATE events SET seq = (SELECT n FROM sequence) WHERE id = NEW.id;
END;
CREATE TRIGGER events_seq BEFORE UPDATE OF seq ON events WHEN NEW.seq IS NOT (SELECT n FROM sequence)
BEGIN SELECT RAISE(ABORT, 'events: an event keeps its place in the sequence'); END;
CREATE TRIGGER events_place BEFORE UPDATE ON events WHEN NEW.rowid <> OLD.rowid OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'events: a row keeps its id and its place'); END;
CREATE TRIGGER events_tries BEFORE UPDATE OF attempts, crashes, panics, next_attempt_at ON events
  WHEN NEW.attempts NOT IN(0, OLD.attempts, OLD.attempts + 1)
    OR NEW.crashes NOT IN(0, min(OLD.crashes, 3), OLD.crashes, OLD.crashes + 1)
    OR NEW.panics NOT IN(0, OLD.panics, OLD.panics + 1)
    OR (NEW.state = 'pending' AND NEW.next_attempt_at IS NULL AND OLD.next_attempt_at IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'events: its tries are counted by fulfilld; to process it again: UPDATE events SET state = ''pending'' WHERE id = …'); END;
CREATE TRIGGER sequence_insert BEFORE INSERT ON sequence BEGIN SELECT RAISE(ABORT, 'sequence: it has one row'); END;
CREATE TRIGGER sequence_delete BEFORE DELETE ON sequence BEGIN SELECT RAISE(ABORT, 'sequence: it has one row'); END;
CREATE TRIGGER sequence_forward BEFORE UPDATE ON sequence
  WHEN NEW.one <> OLD.one OR NEW.n <= OLD.n OR ((SELECT name FROM actor) GLOB 'operator*' AND NEW.n <> OLD.n + 1)
BEGIN SELECT RAISE(ABORT, 'sequence: it goes forward by one; nothing here is for people to change'); END;
CREATE TRIGGER events_facts BEFORE UPDATE OF id, type, object_id, created, livemode, api_version, account, shape,
  context, snapshot_event, payload, source, received_at, awaits ON events WHEN (SELECT name FROM actor) GLOB 'operator*'
BEGIN SELECT RAISE(ABORT, 'events: what Stripe sent is not changed; to process it again: UPDATE events SET state = ''pending'' WHERE id = …'); END;
CREATE TRIGGER events_state BEFORE UPDATE OF state ON events
  WHEN (SELECT name FROM actor) GLOB 'operator*' AND NEW.state <> OLD.state AND NEW.state NOT IN('pending', 'ignored')
BEGIN SELECT RAISE(ABORT, 'events: the shell may set state to pending (process it again) or to ignored (it is dealt with)'); END;
CREATE TRIGGER events_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events: never deleted; to put one aside: UPDATE events SET state = ''ignored'' WHERE id = …'); END;
CREATE TRIGGER events_replay AFTER UPDATE OF state ON events WHEN NEW.state = 'pending'
BEGIN
  UPDATE sequence SET n = n + 1;
  UPDATE events SET seq = (SELECT n FROM sequence) WHERE id = NEW.id;
  UPDATE events SET attempts = 0, crashes = 0, panics = 0, taken_at = NULL, state_reason = 'to be processed again',
    processed_at = NULL, next_attempt_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
  WHERE id = NEW.id AND (OLD.state <> 'pending' OR OLD.taken_at IS NULL);
END;
CREATE TRIGGER events_parked AFTER UPDATE OF state ON events WHEN NEW.state = 'failed' AND OLD.state <> 'failed'
BEGIN
  INSERT INTO outbox(topic, event_id, key) SELECT 'event.failed', NEW.id, 'event:' || NEW.id || ':failed'
  WHERE NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'event:' || NEW.id || ':failed');
END;
CREATE TRIGGER orders_insert BEFORE INSERT ON orders
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM orders WHERE id = NEW.id
    OR checkout_session_id = NEW.checkout_session_id OR payment_intent_id = NEW.payment_intent_id)
BEGIN SELECT RAISE(ABORT, 'orders: rows come from Stripe and are never replaced; sell it through Checkout, or correct the order with UPDATE'); END;
CREATE TRIGGER orders_facts BEFORE UPDATE OF checkout_session_id, payment_intent_id, livemode, mode, payment_status,
  currency, amount_subtotal, amount_discount, amount_shipping, amount_tax, amount_total, presentment_amount,
  presentment_currency, capture_method, amount_capturable, amount_captured, capture_before, customer_id, subscription_id,
  invoice_id, payment_link_id, client_reference_id, shipping_option, custom_fields, tax_ids, metadata, created_at, paid_at, line_items_at, as_of, asked ON orders
  WHEN (SELECT name FROM actor) GLOB 'operator*'
BEGIN SELECT RAISE(ABORT, 'orders: that column is a fact from Stripe; yours are note, hold_reason, canceled_at with cancel_reason, email, name, business_name, phone and shipping_…'); END;
CREATE TRIGGER orders_livemode BEFORE INSERT ON orders WHEN NEW.livemode <> (SELECT livemode FROM shop)
BEGIN SELECT RAISE(ABORT, 'orders: a file holds live orders or test orders, never both; this one is of the other mode'); END;
CREATE TRIGGER orders_identity BEFORE UPDATE ON orders
  WHEN NEW.id <> OLD.id OR NEW.checkout_session_id <> OLD.checkout_session_id OR NEW.livemode <> OLD.livemode
    OR NEW.currency <> OLD.currency
BEGIN SELECT RAISE(ABORT, 'orders: an order keeps its number, session, mode and currency'); END;
CREATE TRIGGER orders_payment_intent BEFORE UPDATE OF payment_intent_id ON orders
  WHEN EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = NEW.payment_intent_id AND id <> OLD.id)
BEGIN SELECT RAISE(ABORT, 'orders: another order has that payment'); END;
CREATE TRIGGER orders_sale_is_final BEFORE UPDATE OF payment_status ON orders
  WHEN OLD.payment_status IN('paid', 'no_payment_required') AND NEW.payment_status <> OLD.payment_status
BEGIN SELECT RAISE(ABORT, 'orders: a paid order stays paid; money going back is a refund'); END;
CREATE TRIGGER orders_delete BEFORE DELETE ON orders
BEGIN SELECT RAISE(ABORT, 'orders: never deleted; to cancel: set canceled_at and cancel_reason'); END;
CREATE TRIGGER orders_cancel BEFORE UPDATE OF canceled_at ON orders WHEN NEW.canceled_at IS NOT OLD.canceled_at
BEGIN
  SELECT RAISE(ABORT, 'orders: a canceled order stays canceled (fulfilld undo takes back what you typed last)')
    WHERE OLD.canceled_at IS NOT NULL AND NEW.canceled_at IS NULL AND (SELECT name FROM actor) <> 'fulfilld:undo';
  SELECT RAISE(ABORT, 'orders: canceled_at is a time in UTC, e.g. strftime(''%Y-%m-%dT%H:%M:%SZ'', ''now'')')
    WHERE strftime('%Y-%m-%dT%H:%M:%SZ', NEW.canceled_at, '+0 days') IS NOT NEW.canceled_at OR NEW.canceled_at < '0000';
  SELECT RAISE(ABORT, 'orders: something has shipped already; what is left is canceled with line_items.canceled_quantity')
    WHERE OLD.canceled_at IS NULL
      AND EXISTS(SELECT 1 FROM fulfillments WHERE order_id = OLD.id AND status IN('shipped', 'delivered'));
END;
CREATE TRIGGER orders_created AFTER INSERT ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, new) SELECT NEW.id, name, 'order', NEW.payment_status FROM actor;
  INSERT INTO settle(order_id) SELECT NEW.id WHERE NEW.payment_status IN('paid', 'no_payment_required');
END;
CREATE TRIGGER orders_early_insert AFTER INSERT ON orders WHEN NEW.payment_intent_id IS NOT NULL
BEGIN INSERT INTO early VALUES(NEW.id, NEW.payment_intent_id); END;
CREATE TRIGGER orders_early_update AFTER UPDATE OF payment_intent_id ON orders
  WHEN NEW.payment_intent_id IS NOT NULL AND OLD.payment_intent_id IS NULL
BEGIN INSERT INTO early VALUES(NEW.id, NEW.payment_intent_id); END;
CREATE TRIGGER orders_tidy AFTER UPDATE OF note, hold_reason, email, name, phone, shipping_name, shipping_line1, shipping_line2,
  shipping_city, shipping_state, shipping_postal_code, shipping_country ON orders WHEN (SELECT name FROM actor) GLOB 'operator*'
BEGIN
  UPDATE orders SET
    note = nullif(trim(note, b.signs), ''),
    hold_reason = nullif(trim(hold_reason, b.signs), ''),
    email = nullif(trim(email, b.signs), ''),
    name = nullif(trim(name, b.signs), ''),
    phone = nullif(trim(phone, b.signs), ''),
    shipping_name = nullif(trim(shipping_name, b.signs), ''),
    shipping_line1 = nullif(trim(shipping_line1, b.signs), ''),
    shipping_line2 = nullif(trim(shipping_line2, b.signs), ''),
    shipping_city = nullif(trim(shipping_city, b.signs), ''),
    shipping_state = nullif(trim(shipping_state, b.signs), ''),
    shipping_postal_code = nullif(trim(shipping_postal_code, b.signs), ''),
    shipping_country = nullif(trim(shipping_country, b.signs), '')
  FROM blanks b WHERE id = NEW.id AND (
    NEW.note IS NOT nullif(trim(NEW.note, b.signs), '')
    OR NEW.hold_reason IS NOT nullif(trim(NEW.hold_reason, b.signs), '')
    OR NEW.email IS NOT nullif(trim(NEW.email, b.signs), '')
    OR NEW.name IS NOT nullif(trim(NEW.name, b.signs), '')
    OR NEW.phone IS NOT nullif(trim(NEW.phone, b.signs), '')
    OR NEW.shipping_name IS NOT nullif(trim(NEW.shipping_name, b.signs), '')
    OR NEW.shipping_line1 IS NOT nullif(trim(NEW.shipping_line1, b.signs), '')
    OR NEW.shipping_line2 IS NOT nullif(trim(NEW.shipping_line2, b.signs), '')
    OR NEW.shipping_city IS NOT nullif(trim(NEW.shipping_city, b.signs), '')
    OR NEW.shipping_state IS NOT nullif(trim(NEW.shipping_state, b.signs), '')
    OR NEW.shipping_postal_code IS NOT nullif(trim(NEW.shipping_postal_code, b.signs), '')
    OR NEW.shipping_country IS NOT nullif(trim(NEW.shipping_country, b.signs), ''));
END;
CREATE TRIGGER orders_changed AFTER UPDATE ON orders
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.id, actor.name, c.what, c.old, nullif(trim(c.new, b.signs), '') FROM actor, blanks b, (
    SELECT 'payment_status' AS what, OLD.payment_status AS old, NEW.payment_status AS new
    UNION ALL SELECT 'amount_total', OLD.amount_total, NEW.amount_total
    UNION ALL SELECT 'amount_capturable', OLD.amount_capturable, NEW.amount_capturable
    UNION ALL SELECT 'amount_captured', OLD.amount_captured, NEW.amount_captured
    UNION ALL SELECT 'capture_before', OLD.capture_before, NEW.capture_before
    UNION ALL SELECT 'note', OLD.note, NEW.note
    UNION ALL SELECT 'hold_reason', OLD.hold_reason, NEW.hold_reason
    UNION ALL SELECT 'canceled_at', OLD.canceled_at, NEW.canceled_at
    UNION ALL SELECT 'cancel_reason', OLD.cancel_reason, NEW.cancel_reason
    UNION ALL SELECT 'email', OLD.email, NEW.email
    UNION ALL SELECT 'name', OLD.name, NEW.name
    UNION ALL SELECT 'business_name', OLD.business_name, NEW.business_name
    UNION ALL SELECT 'phone', OLD.phone, NEW.phone
    UNION ALL SELECT 'shipping_name', OLD.shipping_name, NEW.shipping_name
    UNION ALL SELECT 'shipping_line1', OLD.shipping_line1, NEW.shipping_line1
    UNION ALL SELECT 'shipping_line2', OLD.shipping_line2, NEW.shipping_line2
    UNION ALL SELECT 'shipping_city', OLD.shipping_city, NEW.shipping_city
    UNION ALL SELECT 'shipping_state', OLD.shipping_state, NEW.shipping_state
    UNION ALL SELECT 'shipping_postal_code', OLD.shipping_postal_code, NEW.shipping_postal_code
    UNION ALL SELECT 'shipping_country', OLD.shipping_country, NEW.shipping_country) c
  WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');
  -- It became a sale: what was bought is now to be sent.
  INSERT INTO settle(order_id) SELECT NEW.id
  WHERE NEW.payment_status IN('paid', 'no_payment_required') AND NEW.payment_status <> OLD.payment_status;
  INSERT INTO news SELECT 'order.paid', NEW.id, 'order:' || NEW.id || ':paid', coalesce(NEW.paid_at, NEW.created_at)
  WHERE NEW.payment_status IN('paid', 'no_payment_required') AND NEW.payment_status <> OLD.payment_status;
  -- It was canceled: nothing is to be sent any more.
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.id AND status = 'pending' AND NEW.canceled_at IS NOT NULL AND OLD.canceled_at IS NULL;
  INSERT INTO outbox(topic, order_id, key) SELECT 'order.canceled', NEW.id, 'order:' || NEW.id || ':canceled'
    || CASE WHEN EXISTS(SELECT 1 FROM outbox WHERE key = 'order:' || NEW.id || ':canceled') THEN ':' || (SELECT max(id) FROM outbox) ELSE '' END
  WHERE NEW.canceled_at IS NOT NULL AND OLD.canceled_at IS NULL;
END
;
CREATE TRIGGER orders_corrected AFTER UPDATE OF email, shipping_name, shipping_line1, shipping_line2, shipping_city, shipping_state,
  shipping_postal_code, shipping_country ON orders WHEN (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.updated', f.order_id, f.id, 'fulfillment:' || f.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  FROM fulfillments f, blanks b WHERE f.order_id = NEW.id AND f.status = 'shipped' AND f.requires_shipping = 1
    AND (nullif(trim(OLD.email, b.signs), '') IS NOT nullif(trim(NEW.email, b.signs), '')
      OR nullif(trim(OLD.shipping_name, b.signs), '') IS NOT nullif(trim(NEW.shipping_name, b.signs), '')
      OR nullif(trim(OLD.shipping_line1, b.signs), '') IS NOT nullif(trim(NEW.shipping_line1, b.signs), '')
      OR nullif(trim(OLD.shipping_line2, b.signs), '') IS NOT nullif(trim(NEW.shipping_line2, b.signs), '')
      OR nullif(trim(OLD.shipping_city, b.signs), '') IS NOT nullif(trim(NEW.shipping_city, b.signs), '')
      OR nullif(trim(OLD.shipping_state, b.signs), '') IS NOT nullif(trim(NEW.shipping_state, b.signs), '')
      OR nullif(trim(OLD.shipping_postal_code, b.signs), '') IS NOT nullif(trim(NEW.shipping_postal_code, b.signs), '')
      OR nullif(trim(OLD.shipping_country, b.signs), '') IS NOT nullif(trim(NEW.shipping_country, b.signs), ''))
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'fulfillment:' || f.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;
CREATE TRIGGER line_items_insert BEFORE INSERT ON line_items
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM line_items WHERE id = NEW.id
      OR (order_id = NEW.order_id AND position = NEW.position))
    OR NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)
BEGIN SELECT RAISE(ABORT, 'line_items: rows come from Stripe and are never replaced'); END;
CREATE TRIGGER line_items_currency BEFORE INSERT ON line_items
  WHEN NEW.currency <> (SELECT currency FROM orders WHERE id = NEW.order_id)
BEGIN SELECT RAISE(ABORT, 'line_items: a line is in the currency of its order; look at the session in Stripe''s Dashboard'); END;
CREATE TRIGGER line_items_facts BEFORE UPDATE OF id, order_id, position, price_id, product_id, sku, name, options, quantity,
  currency, unit_amount, unit_amount_decimal, amount_subtotal, amount_discount, amount_tax, amount_total,
  requires_shipping, metadata ON line_items
BEGIN SELECT RAISE(ABORT, 'line_items: that column is a fact from Stripe; yours are canceled_quantity and cancel_reason'); END;
CREATE TRIGGER line_items_delete BEFORE DELETE ON line_items
BEGIN SELECT RAISE(ABORT, 'line_items: never deleted; what will not be sent is canceled_quantity'); END;
CREATE TRIGGER line_items_canceled BEFORE UPDATE OF canceled_quantity ON line_items
  WHEN NEW.canceled_quantity <= NEW.quantity
    AND NEW.canceled_quantity > NEW.quantity - (SELECT sent FROM line_item_balance WHERE line_item_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'line_items: that many have been sent already (see order_lines)'); END;
CREATE TRIGGER line_items_changed AFTER UPDATE OF canceled_quantity, cancel_reason ON line_items
  WHEN NEW.canceled_quantity <> OLD.canceled_quantity OR NEW.cancel_reason IS NOT OLD.cancel_reason
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, name, 'line ' || NEW.position || ' ' || c.what, c.old, c.new FROM actor, (
    SELECT 'canceled_quantity' AS what, OLD.canceled_quantity AS old, NEW.canceled_quantity AS new
    UNION ALL SELECT 'cancel_reason', OLD.cancel_reason, NEW.cancel_reason) c
  WHERE c.old IS NOT c.new;
  INSERT INTO settle(order_id) SELECT NEW.order_id FROM actor WHERE name <> 'fulfilld:undo' AND NEW.canceled_quantity <> OLD.canceled_quantity;
  -- Goods will not be sent: the same news as of a whole order, once a statement.
  INSERT INTO outbox(topic, order_id, key)
  SELECT 'order.canceled', NEW.order_id, 'order:' || NEW.order_id || ':canceled:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM actor
  WHERE name <> 'fulfilld:undo' AND NEW.canceled_quantity > OLD.canceled_quantity
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'order:' || NEW.order_id || ':canceled:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END
;
CREATE TRIGGER refunds_insert BEFORE INSERT ON refunds
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM refunds WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'refunds: rows come from Stripe and are never replaced; make the refund in Stripe''s Dashboard'); END;
CREATE TRIGGER refunds_facts BEFORE UPDATE ON refunds WHEN (SELECT name FROM actor) GLOB 'operator*' OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'refunds: a fact from Stripe; make the refund in Stripe''s Dashboard'); END;
CREATE TRIGGER refunds_delete BEFORE DELETE ON refunds
BEGIN SELECT RAISE(ABORT, 'refunds: never deleted'); END;
CREATE TRIGGER refunds_came AFTER INSERT ON refunds
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'refund ' || NEW.id, NEW.status || ' ' || NEW.amount FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
  -- What was held and is let go was never taken, so nothing is refunded.
  INSERT INTO news SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id AND NEW.status = 'succeeded'
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL);
END
;
CREATE TRIGGER refunds_changed AFTER UPDATE ON refunds WHEN OLD.status || ' ' || OLD.amount <> NEW.status || ' ' || NEW.amount
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'refund ' || NEW.id, OLD.status || ' ' || OLD.amount, NEW.status || ' ' || NEW.amount
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
  INSERT INTO news SELECT 'order.refunded', o.id, 'refund:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id AND NEW.status = 'succeeded'
    AND NOT(o.capture_method IS 'manual' AND NEW.balance_transaction_id IS NULL)
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'refund:' || NEW.id);
END;
CREATE TRIGGER disputes_insert BEFORE INSERT ON disputes
BEGIN
  SELECT RAISE(ABORT, 'disputes: rows come from Stripe and are never replaced; answer it in Stripe''s Dashboard')
    WHERE (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM disputes WHERE id = NEW.id);
  SELECT RAISE(ABORT, 'disputes: money_moves is a list of amounts and times: [{"amount": -4200, "at": "2026-11-24T03:05:00Z"}]')
    WHERE json_type(NEW.money_moves) IS NOT 'array' OR EXISTS(SELECT 1 FROM json_each(NEW.money_moves) m
      WHERE json_type(NEW.money_moves, m.fullkey || '.amount') IS NOT 'integer' OR json_type(NEW.money_moves, m.fullkey || '.at') IS NOT 'text'
        OR json_extract(NEW.money_moves, m.fullkey || '.amount') NOT BETWEEN -1000000000000 AND 1000000000000);
END;
CREATE TRIGGER disputes_moves BEFORE UPDATE OF money_moves ON disputes
BEGIN
  SELECT RAISE(ABORT, 'disputes: money_moves is a list of amounts and times: [{"amount": -4200, "at": "2026-11-24T03:05:00Z"}]')
    WHERE json_type(NEW.money_moves) IS NOT 'array' OR EXISTS(SELECT 1 FROM json_each(NEW.money_moves) m
      WHERE json_type(NEW.money_moves, m.fullkey || '.amount') IS NOT 'integer' OR json_type(NEW.money_moves, m.fullkey || '.at') IS NOT 'text'
        OR json_extract(NEW.money_moves, m.fullkey || '.amount') NOT BETWEEN -1000000000000 AND 1000000000000);
END;
CREATE TRIGGER disputes_facts BEFORE UPDATE ON disputes WHEN (SELECT name FROM actor) GLOB 'operator*' OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'disputes: a fact from Stripe; answer it in Stripe''s Dashboard'); END;
CREATE TRIGGER disputes_delete BEFORE DELETE ON disputes
BEGIN SELECT RAISE(ABORT, 'disputes: never deleted'); END;
CREATE TRIGGER disputes_came AFTER INSERT ON disputes
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'dispute ' || NEW.id, NEW.status FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
  INSERT INTO news SELECT 'order.disputed', o.id, 'dispute:' || NEW.id, NEW.created_at
  FROM orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER disputes_changed AFTER UPDATE ON disputes WHEN OLD.status <> NEW.status
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'dispute ' || NEW.id, OLD.status, NEW.status
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER reviews_insert BEFORE INSERT ON reviews
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM reviews WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'reviews: rows come from Stripe and are never replaced; approve or refund it in Stripe''s Dashboard'); END;
CREATE TRIGGER reviews_facts BEFORE UPDATE ON reviews WHEN (SELECT name FROM actor) GLOB 'operator*' OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'reviews: a fact from Stripe; approve or refund it in Stripe''s Dashboard'); END;
CREATE TRIGGER reviews_delete BEFORE DELETE ON reviews
BEGIN SELECT RAISE(ABORT, 'reviews: never deleted'); END;
CREATE TRIGGER reviews_came AFTER INSERT ON reviews
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'review ' || NEW.id, CASE NEW.open WHEN 1 THEN 'open' ELSE coalesce(NEW.closed_reason, 'closed') END FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER reviews_changed AFTER UPDATE ON reviews WHEN CASE OLD.open WHEN 1 THEN 'open' ELSE coalesce(OLD.closed_reason, 'closed') END <> CASE NEW.open WHEN 1 THEN 'open' ELSE coalesce(NEW.closed_reason, 'closed') END
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'review ' || NEW.id, CASE OLD.open WHEN 1 THEN 'open' ELSE coalesce(OLD.closed_reason, 'closed') END, CASE NEW.open WHEN 1 THEN 'open' ELSE coalesce(NEW.closed_reason, 'closed') END
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER fraud_warnings_insert BEFORE INSERT ON fraud_warnings
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM fraud_warnings WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'fraud_warnings: rows come from Stripe and are never replaced; act on it in Stripe''s Dashboard'); END;
CREATE TRIGGER fraud_warnings_facts BEFORE UPDATE ON fraud_warnings WHEN (SELECT name FROM actor) GLOB 'operator*' OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'fraud_warnings: a fact from Stripe; act on it in Stripe''s Dashboard'); END;
CREATE TRIGGER fraud_warnings_delete BEFORE DELETE ON fraud_warnings
BEGIN SELECT RAISE(ABORT, 'fraud_warnings: never deleted'); END;
CREATE TRIGGER fraud_warnings_came AFTER INSERT ON fraud_warnings
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT o.id, actor.name, 'fraud warning ' || NEW.id, CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER fraud_warnings_changed AFTER UPDATE ON fraud_warnings WHEN CASE OLD.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END <> CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT o.id, actor.name, 'fraud warning ' || NEW.id, CASE OLD.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END, CASE NEW.actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
  FROM actor, orders o WHERE o.payment_intent_id = NEW.payment_intent_id;
END;
CREATE TRIGGER fulfillments_insert BEFORE INSERT ON fulfillments
BEGIN
  SELECT RAISE(ABORT, 'fulfillments: that id is taken; rows are never replaced') WHERE EXISTS(SELECT 1 FROM fulfillments WHERE id = NEW.id);
  SELECT RAISE(ABORT, 'fulfillments: there is nothing more to send; what is left is in a pending one already (see to_fulfill; to split it, lower a quantity in fulfillment_line_items)')
    WHERE NEW.status <> 'pending' OR (NEW.replacement IS NULL
      AND NOT EXISTS(SELECT 1 FROM line_item_balance b JOIN orders o ON o.id = b.order_id
        WHERE o.id = NEW.order_id AND o.payment_status IN('paid', 'no_payment_required') AND o.canceled_at IS NULL
          AND b.requires_shipping = NEW.requires_shipping AND b.left_to_send > b.pending));
  SELECT RAISE(ABORT, 'fulfillments: nothing of the order has been sent that could be replaced')
    WHERE NEW.replacement IS NOT NULL AND NOT EXISTS(SELECT 1 FROM line_item_balance b
      WHERE b.order_id = NEW.order_id AND b.requires_shipping = NEW.requires_shipping AND b.sent > 0);
  SELECT RAISE(ABORT, 'fulfillments: a new one is made now, and its other dates are set by changing the status')
    WHERE coalesce(NEW.shipped_at, NEW.delivered_at, NEW.canceled_at) IS NOT NULL
      OR ((SELECT name FROM actor) GLOB 'operator*' AND NEW.created_at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));
END;
CREATE TRIGGER fulfillments_identity BEFORE UPDATE ON fulfillments
  WHEN NEW.id IS NOT OLD.id OR NEW.order_id IS NOT OLD.order_id OR NEW.requires_shipping IS NOT OLD.requires_shipping
    OR NEW.replacement IS NOT OLD.replacement OR NEW.created_at IS NOT OLD.created_at
BEGIN SELECT RAISE(ABORT, 'fulfillments: it stays with its order; yours are status, tracking_…, note and the dates'); END;
CREATE TRIGGER fulfillments_dates BEFORE UPDATE OF shipped_at, delivered_at, canceled_at ON fulfillments
  WHEN (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  SELECT RAISE(ABORT, 'fulfillments: a date is set by changing the status; afterwards it may be corrected, not removed')
    WHERE (OLD.shipped_at IS NOT NULL AND NEW.shipped_at IS NULL) OR (OLD.delivered_at IS NOT NULL AND NEW.delivered_at IS NULL)
      OR (OLD.canceled_at IS NOT NULL AND NEW.canceled_at IS NULL)
      OR (NEW.shipped_at IS NOT NULL AND NEW.status NOT IN('shipped', 'delivered', 'canceled'))
      OR (NEW.delivered_at IS NOT NULL AND NEW.status <> 'delivered') OR (NEW.canceled_at IS NOT NULL AND NEW.status <> 'canceled');
  SELECT RAISE(ABORT, 'fulfillments: a date is a time in UTC, e.g. strftime(''%Y-%m-%dT%H:%M:%SZ'', ''now'')')
    WHERE strftime('%Y-%m-%dT%H:%M:%SZ', NEW.shipped_at, '+0 days') IS NOT NEW.shipped_at
      OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.delivered_at, '+0 days') IS NOT NEW.delivered_at
      OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.canceled_at, '+0 days') IS NOT NEW.canceled_at
      OR min(coalesce(NEW.shipped_at, '0000'), coalesce(NEW.delivered_at, '0000'), coalesce(NEW.canceled_at, '0000')) < '0000';
END;
CREATE TRIGGER fulfillments_delete BEFORE DELETE ON fulfillments
BEGIN SELECT RAISE(ABORT, 'fulfillments: never deleted; set status to canceled and its items are to be sent again'); END;
CREATE TRIGGER fulfillments_tracking BEFORE UPDATE OF tracking_number ON fulfillments WHEN NEW.tracking_number IS NOT OLD.tracking_number
BEGIN
  SELECT RAISE(IGNORE) WHERE OLD.requires_shipping = 0 AND NEW.tracking_number IS NOT NULL
    AND EXISTS(SELECT 1 FROM fulfillments WHERE order_id = OLD.order_id AND requires_shipping = 1
      AND (status = 'pending' OR tracking_number = trim(NEW.tracking_number, (SELECT signs FROM blanks))));
END;
CREATE TRIGGER fulfillments_status BEFORE UPDATE OF status ON fulfillments
  WHEN NEW.status IS NOT OLD.status AND (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  SELECT RAISE(ABORT, 'fulfillments: pending may become shipped, delivered or canceled; shipped may become delivered or canceled; nothing else')
    WHERE NEW.status IS NULL OR NOT((OLD.status = 'pending' AND NEW.status IN('shipped', 'delivered', 'canceled'))
      OR (OLD.status = 'shipped' AND NEW.status IN('delivered', 'canceled')));
END;
CREATE TRIGGER fulfillments_blocked BEFORE UPDATE OF status ON fulfillments
  WHEN OLD.status = 'pending' AND NEW.status IN('shipped', 'delivered') AND (SELECT name FROM actor) NOT IN('operator-override', 'fulfilld:undo')
BEGIN
  SELECT CASE (SELECT blocked_by FROM order_blocks WHERE order_id = OLD.order_id)
    WHEN 'unpaid' THEN RAISE(ABORT, 'fulfillments: the order is not paid; it can be sent once Stripe says that it is')
    WHEN 'canceled' THEN RAISE(ABORT, 'fulfillments: the order is canceled; nothing of it can be sent')
    WHEN 'on hold' THEN RAISE(ABORT, 'fulfillments: the order is on hold; first: INSERT INTO release VALUES(…)')
    WHEN 'disputed' THEN RAISE(ABORT, 'fulfillments: the buyer disputes the payment; answer in Stripe''s Dashboard, and send it once it is won')
    WHEN 'dispute lost' THEN RAISE(ABORT, 'fulfillments: the money went back to the buyer in a dispute; cancel it: INSERT INTO cancel VALUES(…, ''fraud'')')
    WHEN 'in review' THEN RAISE(ABORT, 'fulfillments: Stripe holds the payment for review; approve it in the Dashboard first')
    WHEN 'refunded' THEN RAISE(ABORT, 'fulfillments: all of the money is refunded; cancel it: INSERT INTO cancel VALUES(…, ''customer'')') END;
END;
CREATE TRIGGER fulfillments_created AFTER INSERT ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' status', NEW.status FROM actor;
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT NEW.order_id, name, 'fulfillment ' || NEW.id || ' replacement', NEW.replacement FROM actor WHERE NEW.replacement IS NOT NULL;
  -- A replacement begins with everything that was sent; a quantity may be lowered.
  INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity)
  SELECT NEW.id, line_item_id, sent FROM line_item_balance
  WHERE NEW.replacement IS NOT NULL AND order_id = NEW.order_id AND requires_shipping = NEW.requires_shipping AND sent > 0;
END
;
CREATE TRIGGER fulfillments_moved AFTER UPDATE OF status ON fulfillments
  WHEN NEW.status <> OLD.status AND (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  UPDATE fulfillments SET
    shipped_at = CASE WHEN NEW.status = 'shipped' THEN coalesce(shipped_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE shipped_at END,
    delivered_at = CASE WHEN NEW.status = 'delivered' THEN coalesce(delivered_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE delivered_at END,
    canceled_at = CASE WHEN NEW.status = 'canceled' THEN coalesce(canceled_at, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ELSE canceled_at END
  WHERE id = NEW.id;
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.' || NEW.status, NEW.order_id, NEW.id, 'fulfillment:' || NEW.id || ':' || NEW.status
    -- Done again after an undo it is news again.
    || CASE WHEN EXISTS(SELECT 1 FROM outbox WHERE key = 'fulfillment:' || NEW.id || ':' || NEW.status)
         THEN ':' || (SELECT max(id) FROM outbox) ELSE '' END
  WHERE EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = NEW.id);
  -- What was in a canceled one is to be sent again, unless the order is canceled too.
  INSERT INTO settle(order_id) SELECT NEW.order_id
  WHERE NEW.status = 'canceled' AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = NEW.id);
END
;
CREATE TRIGGER fulfillments_typed AFTER UPDATE OF tracking_company, tracking_number, tracking_url, note ON fulfillments
BEGIN
  UPDATE fulfillments SET
    tracking_company = nullif(trim(tracking_company, b.signs), ''),
    tracking_number = nullif(trim(tracking_number, b.signs), ''),
    tracking_url = nullif(trim(tracking_url, b.signs), ''),
    note = nullif(trim(note, b.signs), '')
  FROM blanks b WHERE id = NEW.id AND (SELECT name FROM actor) GLOB 'operator*' AND (
    NEW.tracking_company IS NOT nullif(trim(NEW.tracking_company, b.signs), '')
    OR NEW.tracking_number IS NOT nullif(trim(NEW.tracking_number, b.signs), '')
    OR NEW.tracking_url IS NOT nullif(trim(NEW.tracking_url, b.signs), '')
    OR NEW.note IS NOT nullif(trim(NEW.note, b.signs), ''));
  SELECT RAISE(ABORT, 'fulfillments: that tracking number is on a parcel of another order, which goes elsewhere (SELECT order_id FROM fulfillments WHERE tracking_number = …); a bulk UPDATE needs WHERE order_id = …')
    WHERE EXISTS(SELECT 1 FROM tracking_clashes WHERE fulfillment_id = NEW.id);
  -- A link that was typed stays, unless it leads to the old number.
  UPDATE fulfillments SET tracking_url = coalesce((SELECT url FROM parcel_links WHERE fulfillment_id = NEW.id),
    CASE WHEN instr(OLD.tracking_url, OLD.tracking_number) > 0 THEN NULL ELSE tracking_url END)
  WHERE id = NEW.id AND (NEW.tracking_url IS OLD.tracking_url OR trim(coalesce(NEW.tracking_url, ''), (SELECT signs FROM blanks)) = '')
    AND (SELECT name FROM actor) <> 'fulfilld:undo'
    AND (NEW.tracking_number IS NOT OLD.tracking_number OR NEW.tracking_company IS NOT OLD.tracking_company);
  INSERT INTO outbox(topic, order_id, fulfillment_id, key)
  SELECT 'fulfillment.updated', NEW.order_id, NEW.id, 'fulfillment:' || NEW.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  FROM blanks b WHERE OLD.status = 'shipped' AND NEW.status = 'shipped' AND (SELECT name FROM actor) <> 'fulfilld:undo'
    AND (nullif(trim(OLD.tracking_company, b.signs), '') IS NOT nullif(trim(NEW.tracking_company, b.signs), '')
      OR nullif(trim(OLD.tracking_number, b.signs), '') IS NOT nullif(trim(NEW.tracking_number, b.signs), '')
      -- The link that follows the number is no news of its own.
      OR (nullif(trim(OLD.tracking_url, b.signs), '') IS NOT nullif(trim(NEW.tracking_url, b.signs), '')
        AND NEW.tracking_url IS NOT (SELECT url FROM parcel_links WHERE fulfillment_id = NEW.id)))
    AND NOT EXISTS(SELECT 1 FROM outbox WHERE key = 'fulfillment:' || NEW.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END
;
CREATE TRIGGER fulfillments_changed AFTER UPDATE ON fulfillments
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT NEW.order_id, actor.name, 'fulfillment ' || NEW.id || ' ' || c.what, c.old, nullif(trim(c.new, b.signs), '') FROM actor, blanks b, (
    SELECT 'status' AS what, OLD.status AS old, NEW.status AS new
    UNION ALL SELECT 'tracking_company', OLD.tracking_company, NEW.tracking_company
    UNION ALL SELECT 'tracking_number', OLD.tracking_number, NEW.tracking_number
    UNION ALL SELECT 'tracking_url', OLD.tracking_url, NEW.tracking_url
    UNION ALL SELECT 'note', OLD.note, NEW.note
    UNION ALL SELECT 'shipped_at', OLD.shipped_at, NEW.shipped_at
    UNION ALL SELECT 'delivered_at', OLD.delivered_at, NEW.delivered_at
    UNION ALL SELECT 'canceled_at', OLD.canceled_at, NEW.canceled_at) c
  WHERE nullif(trim(c.old, b.signs), '') IS NOT nullif(trim(c.new, b.signs), '');
END;
CREATE TRIGGER fulfillment_line_items_insert BEFORE INSERT ON fulfillment_line_items
BEGIN
  SELECT RAISE(ABORT, 'fulfillment_line_items: it is in there already; change its quantity')
    WHERE EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = NEW.fulfillment_id AND line_item_id = NEW.line_item_id);
  SELECT RAISE(ABORT, 'fulfillment_line_items: the fulfillment is not a pending one of the same order and kind')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments f JOIN line_items li ON li.order_id = f.order_id AND li.requires_shipping = f.requires_shipping
      WHERE f.id = NEW.fulfillment_id AND f.status = 'pending' AND li.id = NEW.line_item_id);
  SELECT RAISE(ABORT, 'fulfillment_line_items: a fulfillment holds 1 or more of a line item') WHERE NEW.quantity < 1;
  SELECT RAISE(ABORT, 'fulfillment_line_items: more than is left (see order_lines)')
    WHERE (SELECT name FROM actor) <> 'fulfilld:undo' AND NEW.quantity > (SELECT CASE WHEN f.replacement IS NULL THEN b.left_to_send - b.pending ELSE b.sent END
      FROM line_item_balance b, fulfillments f WHERE b.line_item_id = NEW.line_item_id AND f.id = NEW.fulfillment_id);
END;
CREATE TRIGGER fulfillment_line_items_update BEFORE UPDATE ON fulfillment_line_items
BEGIN
  SELECT RAISE(ABORT, 'fulfillment_line_items: only the quantity changes, and only while the fulfillment is pending')
    WHERE NEW.fulfillment_id <> OLD.fulfillment_id OR NEW.line_item_id <> OLD.line_item_id
      OR (SELECT status FROM fulfillments WHERE id = OLD.fulfillment_id) <> 'pending';
  SELECT RAISE(ABORT, 'fulfillment_line_items: more than is left (see order_lines)')
    WHERE NEW.quantity > OLD.quantity AND (SELECT name FROM actor) <> 'fulfilld:undo'
      AND NEW.quantity > (SELECT CASE WHEN f.replacement IS NULL THEN b.left_to_send - b.pending + OLD.quantity ELSE b.sent END
        FROM line_item_balance b, fulfillments f WHERE b.line_item_id = NEW.line_item_id AND f.id = NEW.fulfillment_id);
END;
CREATE TRIGGER fulfillment_line_items_delete BEFORE DELETE ON fulfillment_line_items
  WHEN (SELECT status FROM fulfillments WHERE id = OLD.fulfillment_id) <> 'pending'
BEGIN SELECT RAISE(ABORT, 'fulfillment_line_items: that is sent or canceled already; out of a pending parcel it goes into another one'); END;
CREATE TRIGGER fulfillment_line_items_changed AFTER UPDATE OF quantity ON fulfillment_line_items WHEN NEW.quantity <> OLD.quantity
BEGIN
  INSERT INTO order_history(order_id, actor, what, old, new)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || NEW.line_item_id, OLD.quantity, nullif(NEW.quantity, 0)
  FROM actor, fulfillments f WHERE f.id = NEW.fulfillment_id;
END;
CREATE TRIGGER fulfillment_line_items_put AFTER INSERT ON fulfillment_line_items WHEN (SELECT name FROM actor) NOT GLOB 'stripe:*'
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || NEW.line_item_id, NEW.quantity
  FROM actor, fulfillments f WHERE f.id = NEW.fulfillment_id;
END;
CREATE TRIGGER fulfillment_line_items_taken AFTER DELETE ON fulfillment_line_items WHEN OLD.quantity > 0
BEGIN
  INSERT INTO order_history(order_id, actor, what, old)
  SELECT f.order_id, actor.name, 'fulfillment ' || f.id || ' quantity of ' || OLD.line_item_id, OLD.quantity
  FROM actor, fulfillments f WHERE f.id = OLD.fulfillment_id;
END;
CREATE TRIGGER fulfillment_line_items_split AFTER UPDATE OF quantity ON fulfillment_line_items
  WHEN NEW.quantity < OLD.quantity AND (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  DELETE FROM fulfillment_line_items WHERE fulfillment_id = NEW.fulfillment_id AND line_item_id = NEW.line_item_id AND quantity = 0;
  INSERT INTO settle(order_id, not_into) SELECT order_id, id FROM fulfillments WHERE id = NEW.fulfillment_id AND replacement IS NULL;
END;
CREATE TRIGGER fulfillment_line_items_out AFTER DELETE ON fulfillment_line_items WHEN (SELECT name FROM actor) <> 'fulfilld:undo'
BEGIN
  INSERT INTO settle(order_id, not_into) SELECT order_id, id FROM fulfillments WHERE id = OLD.fulfillment_id AND replacement IS NULL
    AND (SELECT left_to_send > pending FROM line_item_balance WHERE line_item_id = OLD.line_item_id);
  UPDATE fulfillments SET status = 'canceled' WHERE id = OLD.fulfillment_id AND replacement IS NOT NULL AND status = 'pending'
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = OLD.fulfillment_id);
END;
CREATE TRIGGER dismissals_insert BEFORE INSERT ON dismissals
  WHEN NEW.actor IS NOT (SELECT name FROM actor) OR NEW.at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
    OR NOT EXISTS(SELECT 1 FROM attention m WHERE m.reason = NEW.reason AND CAST(coalesce(m.subject, m.order_id, '') AS TEXT) = NEW.subject
      AND m.order_id IS NEW.order_id AND coalesce(m.since, '') || ' ' || m.what = NEW.facts)
BEGIN SELECT RAISE(ABORT, 'dismissals: written by INSERT INTO dismiss(order_id, reason), of what attention shows'); END;
CREATE TRIGGER dismissals_update BEFORE UPDATE ON dismissals
BEGIN SELECT RAISE(ABORT, 'dismissals: never changed; fulfilld undo brings back what you dismissed last'); END;
CREATE TRIGGER dismissals_delete BEFORE DELETE ON dismissals WHEN (SELECT name FROM actor) GLOB 'operator*'
BEGIN SELECT RAISE(ABORT, 'dismissals: never deleted; fulfilld undo brings back what you dismissed last'); END;
CREATE TRIGGER dismissals_told AFTER INSERT ON dismissals WHEN NEW.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, new)
  VALUES(NEW.order_id, NEW.actor, 'attention ' || NEW.reason || ' ' || NEW.subject, NEW.facts);
END;
CREATE TRIGGER dismissals_undone AFTER DELETE ON dismissals WHEN OLD.order_id IS NOT NULL
BEGIN
  INSERT INTO order_history(order_id, actor, what, old)
  SELECT OLD.order_id, name, 'attention ' || OLD.reason || ' ' || OLD.subject, OLD.facts FROM actor;
END;
CREATE TRIGGER order_history_insert BEFORE INSERT ON order_history
  WHEN EXISTS(SELECT 1 FROM order_history WHERE id = NEW.id) OR NEW.actor IS NOT (SELECT name FROM actor)
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;
CREATE TRIGGER order_history_grows AFTER INSERT ON order_history
  WHEN NEW.id <> 1 + (SELECT coalesce(max(id), 0) FROM order_history WHERE id < NEW.id) OR EXISTS(SELECT 1 FROM order_history WHERE id > NEW.id)
    OR NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id)
    OR ((SELECT name FROM actor) GLOB 'operator*' AND NEW.at <> strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;
CREATE TRIGGER order_history_update BEFORE UPDATE ON order_history
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;
CREATE TRIGGER order_history_delete BEFORE DELETE ON order_history
BEGIN SELECT RAISE(ABORT, 'order_history: written by the database and never changed'); END;
CREATE TRIGGER outbox_insert BEFORE INSERT ON outbox
  WHEN EXISTS(SELECT 1 FROM outbox WHERE id = NEW.id OR key = NEW.key)
    OR ((SELECT name FROM actor) GLOB 'operator*'
      AND NOT EXISTS(SELECT 1 FROM fulfillments f WHERE f.id = NEW.fulfillment_id AND f.order_id = NEW.order_id AND NEW.topic = 'fulfillment.' || f.status
        AND (NEW.key = 'fulfillment:' || f.id || ':' || f.status OR EXISTS(SELECT 1 FROM outbox u WHERE u.outcome = 'undone'
          AND NEW.key = 'fulfillment:' || f.id || ':' || f.status || ':' || (SELECT max(id) FROM outbox)))
        AND f.status <> 'pending'
        AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = f.id))
      AND NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND canceled_at IS NOT NULL AND NEW.topic = 'order.canceled'
        AND (NEW.key = 'order:' || id || ':canceled' OR EXISTS(SELECT 1 FROM outbox u WHERE u.outcome = 'undone'
          AND NEW.key = 'order:' || NEW.order_id || ':canceled:' || (SELECT max(id) FROM outbox))))
      AND NOT EXISTS(SELECT 1 FROM line_items WHERE order_id = NEW.order_id AND canceled_quantity > 0 AND NEW.topic = 'order.canceled'
        AND NEW.key = 'order:' || NEW.order_id || ':canceled:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
      AND NOT EXISTS(SELECT 1 FROM fulfillments f WHERE f.id = NEW.fulfillment_id AND f.order_id = NEW.order_id AND f.status = 'shipped'
        AND NEW.topic = 'fulfillment.updated' AND NEW.key = 'fulfillment:' || f.id || ':updated:' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
BEGIN SELECT RAISE(ABORT, 'outbox: written by the database; to run its hooks again: fulfilld hooks retry ID'); END;
CREATE TRIGGER outbox_identity BEFORE UPDATE ON outbox
  WHEN NEW.id <> OLD.id OR NEW.topic <> OLD.topic OR NEW.order_id IS NOT OLD.order_id OR NEW.fulfillment_id IS NOT OLD.fulfillment_id
    OR NEW.event_id IS NOT OLD.event_id OR NEW.key <> OLD.key OR NEW.created_at <> OLD.created_at
BEGIN SELECT RAISE(ABORT, 'outbox: written by the database; to run its hooks again: fulfilld hooks retry ID'); END;
CREATE TRIGGER outbox_told BEFORE UPDATE ON outbox
  WHEN (SELECT name FROM actor) GLOB 'operator*' AND (NEW.attempts <> OLD.attempts
    OR (NEW.next_attempt_at IS NOT NULL AND NEW.next_attempt_at IS NOT OLD.next_attempt_at)
    OR (NEW.last_error IS NOT OLD.last_error AND NEW.last_error IS NOT NULL)
    OR (NEW.outcome IS NOT OLD.outcome AND NEW.outcome IS NOT NULL AND NEW.outcome IS NOT 'again'))
BEGIN SELECT RAISE(ABORT, 'outbox: what came of it is written by fulfilld; yours is state: pending (tell its hooks again) or done (it is dealt with)'); END;
CREATE TRIGGER outbox_delete BEFORE DELETE ON outbox
BEGIN SELECT RAISE(ABORT, 'outbox: never deleted'); END;
CREATE TRIGGER outbox_undone BEFORE UPDATE OF state ON outbox WHEN NEW.state = 'pending' AND OLD.outcome = 'undone'
BEGIN SELECT RAISE(ABORT, 'outbox: it was undone, so there is nothing to tell'); END;
CREATE TRIGGER outbox_again AFTER UPDATE OF state ON outbox WHEN NEW.state = 'pending' AND OLD.state <> 'pending'
BEGIN UPDATE outbox SET next_attempt_at = NULL, outcome = 'again', last_error = NULL WHERE id = NEW.id; END;
CREATE TRIGGER hook_runs_insert BEFORE INSERT ON hook_runs
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR EXISTS(SELECT 1 FROM hook_runs WHERE outbox_id = NEW.outbox_id AND target = NEW.target)
BEGIN SELECT RAISE(ABORT, 'hook_runs: written by fulfilld; to run its hooks again: fulfilld hooks retry ID'); END;
CREATE TRIGGER hook_runs_update BEFORE UPDATE ON hook_runs
  WHEN (SELECT name FROM actor) GLOB 'operator*' OR NEW.outbox_id <> OLD.outbox_id OR NEW.target <> OLD.target
BEGIN SELECT RAISE(ABORT, 'hook_runs: written by fulfilld; to run its hooks again: fulfilld hooks retry ID'); END;
CREATE TRIGGER hook_runs_delete BEFORE DELETE ON hook_runs
BEGIN SELECT RAISE(ABORT, 'hook_runs: never deleted'); END;
CREATE TRIGGER actor_insert BEFORE INSERT ON actor BEGIN SELECT RAISE(ABORT, 'actor: it has one row'); END;
CREATE TRIGGER actor_delete BEFORE DELETE ON actor BEGIN SELECT RAISE(ABORT, 'actor: it has one row'); END;
CREATE TRIGGER shop_insert BEFORE INSERT ON shop WHEN EXISTS(SELECT 1 FROM shop) BEGIN SELECT RAISE(ABORT, 'shop: written when the file was made'); END;
CREATE TRIGGER shop_update BEFORE UPDATE ON shop
  WHEN NEW.one <> OLD.one OR NEW.livemode <> OLD.livemode OR (SELECT name FROM actor) GLOB 'operator*'
BEGIN SELECT RAISE(ABORT, 'shop: written when the file was made'); END;
CREATE TRIGGER shop_delete BEFORE DELETE ON shop BEGIN SELECT RAISE(ABORT, 'shop: written when the file was made'); END;
CREATE TRIGGER currency_decimals_insert BEFORE INSERT ON currency_decimals
BEGIN SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it'); END;
CREATE TRIGGER currency_decimals_update BEFORE UPDATE ON currency_decimals
BEGIN SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it'); END;
CREATE TRIGGER currency_decimals_delete BEFORE DELETE ON currency_decimals
BEGIN SELECT RAISE(ABORT, 'currency_decimals: Stripe''s list; every amount is read by it'); END;
CREATE TRIGGER sweeps_insert BEFORE INSERT ON sweeps
  WHEN EXISTS(SELECT 1 FROM sweeps WHERE name = NEW.name) OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.until, '+0 days') IS NOT NEW.until
    OR NEW.until < '0000' OR ((SELECT name FROM actor) GLOB 'operator*' AND NEW.until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN SELECT RAISE(ABORT, 'sweeps: `until` is a time in UTC and not in the future, e.g. UPDATE sweeps SET until = ''2026-11-24T00:00:00Z'' WHERE name = ''events'''); END;
CREATE TRIGGER sweeps_update BEFORE UPDATE ON sweeps
  WHEN NEW.name <> OLD.name OR strftime('%Y-%m-%dT%H:%M:%SZ', NEW.until, '+0 days') IS NOT NEW.until
    OR NEW.until < '0000' OR ((SELECT name FROM actor) GLOB 'operator*' AND NEW.until > strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
BEGIN SELECT RAISE(ABORT, 'sweeps: `until` is a time in UTC and not in the future, e.g. UPDATE sweeps SET until = ''2026-11-24T00:00:00Z'' WHERE name = ''events'''); END;
CREATE TRIGGER sweeps_delete BEFORE DELETE ON sweeps
BEGIN SELECT RAISE(ABORT, 'sweeps: never deleted; to have a list looked through again, set its `until` back'); END;
CREATE VIEW settle AS SELECT order_id, id AS not_into FROM fulfillments WHERE 0;
CREATE TRIGGER settle_insert INSTEAD OF INSERT ON settle
  WHEN EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND canceled_at IS NULL AND payment_status IN('paid', 'no_payment_required'))
BEGIN
  -- A parcel of which nothing is to be sent is canceled with all that is in it; out of others goes what is too much.
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL
    AND EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = fulfillments.id)
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl WHERE fl.fulfillment_id = fulfillments.id
      AND fl.quantity > (SELECT pending - left_to_send FROM line_item_balance b WHERE b.line_item_id = fl.line_item_id)
        - (SELECT coalesce(sum(n.quantity), 0) FROM fulfillment_line_items n JOIN fulfillments f ON f.id = n.fulfillment_id
           WHERE n.line_item_id = fl.line_item_id AND n.fulfillment_id > fl.fulfillment_id AND f.status = 'pending' AND f.replacement IS NULL));
  DELETE FROM fulfillment_line_items
  WHERE fulfillment_id IN(SELECT id FROM fulfillments WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL)
    -- From the newest parcel first: what those newer than this one hold goes before.
    AND quantity <= (SELECT pending - left_to_send FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id)
      - (SELECT coalesce(sum(n.quantity), 0) FROM fulfillment_line_items n JOIN fulfillments f ON f.id = n.fulfillment_id
         WHERE n.line_item_id = fulfillment_line_items.line_item_id AND n.fulfillment_id > fulfillment_line_items.fulfillment_id
           AND f.status = 'pending' AND f.replacement IS NULL);
  UPDATE fulfillment_line_items
  SET quantity = quantity - (SELECT pending - left_to_send FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id)
  WHERE fulfillment_id IN(SELECT id FROM fulfillments WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL)
    AND (SELECT pending > left_to_send AND pending - left_to_send < fulfillment_line_items.quantity
         FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id);
  UPDATE fulfillments SET status = 'canceled'
  WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL
    AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items WHERE fulfillment_id = fulfillments.id);

  INSERT INTO fulfillments(order_id, requires_shipping)
  SELECT DISTINCT b.order_id, b.requires_shipping FROM line_item_balance b
  WHERE b.order_id = NEW.order_id AND b.left_to_send > b.pending
    AND NOT EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = b.order_id AND f.status = 'pending' AND f.replacement IS NULL
      AND f.requires_shipping = b.requires_shipping AND f.id IS NOT NEW.not_into)
  ORDER BY b.requires_shipping DESC;
  UPDATE fulfillment_line_items
  SET quantity = quantity + (SELECT left_to_send - pending FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id)
  WHERE fulfillment_id IN(SELECT max(id) FROM fulfillments WHERE order_id = NEW.order_id AND status = 'pending' AND replacement IS NULL AND id IS NOT NEW.not_into
                          GROUP BY requires_shipping)
    AND (SELECT left_to_send > pending FROM line_item_balance b WHERE b.line_item_id = fulfillment_line_items.line_item_id);
  INSERT INTO fulfillment_line_items(fulfillment_id, line_item_id, quantity)
  SELECT (SELECT max(id) FROM fulfillments f WHERE f.order_id = b.order_id AND f.status = 'pending' AND f.replacement IS NULL
            AND f.requires_shipping = b.requires_shipping AND f.id IS NOT NEW.not_into),
    b.line_item_id, b.left_to_send - b.pending
  FROM line_item_balance b WHERE b.order_id = NEW.order_id AND b.left_to_send > b.pending;
END
;
CREATE VIEW news AS SELECT topic, order_id, key, created_at AS happened_at FROM outbox WHERE 0;
CREATE TRIGGER news_insert INSTEAD OF INSERT ON news WHEN (SELECT name FROM actor) NOT GLOB 'operator*'
BEGIN
  INSERT INTO outbox(topic, order_id, key, state, outcome)
  SELECT NEW.topic, NEW.order_id, NEW.key, CASE WHEN past THEN 'done' ELSE 'pending' END, CASE WHEN past THEN 'past' END
  FROM (SELECT NEW.happened_at < (SELECT created_at FROM shop)
    AND EXISTS(SELECT 1 FROM events WHERE id = (SELECT substr(name, 8) FROM actor) AND source = 'backfill') AS past);
END;
CREATE VIEW early AS SELECT id AS order_id, payment_intent_id FROM orders WHERE 0;
CREATE TRIGGER early_insert INSTEAD OF INSERT ON early WHEN (SELECT name FROM actor) NOT GLOB 'operator*'
BEGIN
  INSERT INTO order_history(order_id, actor, what, new) SELECT NEW.order_id, actor.name, e.what, e.new FROM actor, (
    SELECT 'refund ' || id AS what, status || ' ' || amount AS new FROM refunds WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'dispute ' || id, status FROM disputes WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'review ' || id, CASE open WHEN 1 THEN 'open' ELSE coalesce(closed_reason, 'closed') END
      FROM reviews WHERE payment_intent_id = NEW.payment_intent_id
    UNION ALL SELECT 'fraud warning ' || id, CASE actionable WHEN 1 THEN 'actionable' ELSE 'settled' END
      FROM fraud_warnings WHERE payment_intent_id = NEW.payment_intent_id) e;
  INSERT INTO news SELECT 'order.refunded', NEW.order_id, 'refund:' || id, created_at FROM refunds
  WHERE payment_intent_id = NEW.payment_intent_id AND status = 'succeeded'
    AND NOT(balance_transaction_id IS NULL AND EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id AND capture_method IS 'manual'));
  INSERT INTO news SELECT 'order.disputed', NEW.order_id, 'dispute:' || id, created_at FROM disputes WHERE payment_intent_id = NEW.payment_intent_id;
END;
CREATE VIEW ship AS SELECT order_id, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_insert INSTEAD OF INSERT ON ship
BEGIN
  SELECT RAISE(ABORT, 'ship: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT CASE (SELECT blocked_by FROM order_blocks WHERE order_id = NEW.order_id)
    WHEN 'unpaid' THEN RAISE(ABORT, 'ship: the order is not paid; it can be shipped once Stripe says that it is')
    WHEN 'canceled' THEN RAISE(ABORT, 'ship: the order is canceled; nothing of it can be shipped') END;
  SELECT RAISE(ABORT, 'ship: everything of it that needs a parcel has been shipped already (see order_lines)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1)
      AND EXISTS(SELECT 1 FROM line_items WHERE order_id = NEW.order_id AND requires_shipping = 1);
  SELECT RAISE(ABORT, 'ship: nothing in it needs a parcel; digital goods: INSERT INTO deliver VALUES(…)')
    WHERE NOT EXISTS(SELECT 1 FROM line_items WHERE order_id = NEW.order_id AND requires_shipping = 1);
  SELECT RAISE(ABORT, 'ship: several parcels of it wait (see to_ship); one of them: INSERT INTO ship_parcel VALUES(fulfillment_id, ''company'', ''number'', NULL)')
    WHERE (SELECT count(*) FROM fulfillments WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1) > 1;
  UPDATE fulfillments SET status = 'shipped', tracking_company = NEW.tracking_company, tracking_number = NEW.tracking_number,
    tracking_url = NEW.tracking_url
  WHERE order_id = NEW.order_id AND status = 'pending' AND requires_shipping = 1;
END;
CREATE VIEW ship_parcel AS SELECT id AS fulfillment_id, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_parcel_insert INSTEAD OF INSERT ON ship_parcel
BEGIN
  SELECT RAISE(ABORT, 'ship_parcel: no such parcel waits (see fulfillment_id in to_ship)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments WHERE id = NEW.fulfillment_id AND status = 'pending' AND requires_shipping = 1);
  UPDATE fulfillments SET status = 'shipped', tracking_company = NEW.tracking_company, tracking_number = NEW.tracking_number,
    tracking_url = NEW.tracking_url
  WHERE id = NEW.fulfillment_id;
END;
CREATE VIEW part AS SELECT id AS fulfillment_id, '{}' AS wanted FROM fulfillments WHERE 0;
CREATE TRIGGER part_insert INSTEAD OF INSERT ON part
BEGIN
  UPDATE fulfillment_line_items SET quantity = coalesce((SELECT coalesce(w.value, fulfillment_line_items.quantity)
    FROM json_each(NEW.wanted) w JOIN line_items li ON li.position = CAST(w.key AS INTEGER)
    WHERE li.id = fulfillment_line_items.line_item_id), 0)
  WHERE fulfillment_id = NEW.fulfillment_id;
END;
CREATE VIEW ship_items AS SELECT order_id, '' AS items, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_items_insert INSTEAD OF INSERT ON ship_items
BEGIN
  SELECT RAISE(ABORT, 'ship_items: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  INSERT INTO wanted VALUES(NEW.items);
  INSERT INTO ship_wanted SELECT NEW.order_id, (SELECT json_group_object(CAST(CAST(j.value AS INTEGER) AS TEXT),
      CASE WHEN instr(j.value, 'x') > 0 THEN CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) END)
    FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j), NEW.tracking_company, NEW.tracking_number, NEW.tracking_url;
END;
CREATE VIEW ship_wanted AS SELECT order_id, '{}' AS wanted, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_wanted_insert INSTEAD OF INSERT ON ship_wanted
BEGIN
  SELECT RAISE(ABORT, 'ship_items: not so much of that waits for a parcel (see position and left_to_send in order_lines)')
    WHERE EXISTS(SELECT 1 FROM json_each(NEW.wanted) w WHERE NOT EXISTS(SELECT 1 FROM line_items li JOIN line_item_balance b ON b.line_item_id = li.id
      WHERE li.order_id = NEW.order_id AND li.position = CAST(w.key AS INTEGER) AND li.requires_shipping = 1 AND b.pending >= coalesce(w.value, 1)));
  SELECT RAISE(ABORT, 'ship_items: that waits in several parcels (see to_ship); one after the other: INSERT INTO ship_parcel VALUES(fulfillment_id, ''company'', ''number'', NULL)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = NEW.order_id AND f.status = 'pending' AND f.replacement IS NULL AND NOT EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
      WHERE NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
        WHERE fl.fulfillment_id = f.id AND li.position = CAST(w.key AS INTEGER) AND fl.quantity >= coalesce(w.value, 1))));
  INSERT INTO ship_part
  SELECT min(f.id), NEW.wanted, NEW.tracking_company, NEW.tracking_number, NEW.tracking_url
  FROM fulfillments f WHERE f.order_id = NEW.order_id AND f.status = 'pending' AND f.replacement IS NULL AND NOT EXISTS(SELECT 1 FROM json_each(NEW.wanted) w
      WHERE NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
        WHERE fl.fulfillment_id = f.id AND li.position = CAST(w.key AS INTEGER) AND fl.quantity >= coalesce(w.value, 1)));
END;
CREATE VIEW ship_part AS SELECT id AS fulfillment_id, '{}' AS wanted, tracking_company, tracking_number, tracking_url FROM fulfillments WHERE 0;
CREATE TRIGGER ship_part_insert INSTEAD OF INSERT ON ship_part
BEGIN
  INSERT INTO part VALUES(NEW.fulfillment_id, NEW.wanted);
  INSERT INTO ship_parcel VALUES(NEW.fulfillment_id, NEW.tracking_company, NEW.tracking_number, NEW.tracking_url);
END;
CREATE VIEW wanted AS SELECT '' AS items WHERE 0;
CREATE TRIGGER wanted_insert INSTEAD OF INSERT ON wanted
BEGIN
  SELECT RAISE(ABORT, 'items: name positions of order_lines, each once, with a quantity where it is not all: ''1,2x3'' is all of 1 and three of 2')
    WHERE coalesce(NEW.items GLOB '*[^0-9x, ]*' OR NEW.items NOT GLOB '*[0-9]*', 1);
  SELECT RAISE(ABORT, 'items: name positions of order_lines, each once, with a quantity where it is not all: ''1,2x3'' is all of 1 and three of 2')
    WHERE EXISTS(SELECT 1 FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j
        WHERE length(j.value) > 15 OR j.value GLOB 'x*' OR j.value GLOB '*x' OR j.value GLOB '*x*x*' OR j.value NOT GLOB '*[0-9]*'
          OR (instr(j.value, 'x') > 0 AND CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) = 0))
      OR (SELECT count(DISTINCT CAST(j.value AS INTEGER)) < count(*) FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j);
END;
CREATE VIEW reship AS SELECT order_id, replacement AS reason FROM fulfillments WHERE 0;
CREATE TRIGGER reship_insert INSTEAD OF INSERT ON reship
BEGIN
  SELECT RAISE(ABORT, 'reship: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'reship: the reason is lost, damaged, wrong or other')
    WHERE NEW.reason IS NULL OR NEW.reason NOT IN('lost', 'damaged', 'wrong', 'other');
  SELECT RAISE(ABORT, 'reship: nothing of it has been shipped yet that could be sent once more (see order_lines)')
    WHERE NOT EXISTS(SELECT 1 FROM line_item_balance WHERE order_id = NEW.order_id AND requires_shipping = 1 AND sent > 0);
  INSERT INTO fulfillments(order_id, replacement) VALUES(NEW.order_id, NEW.reason);
END;
CREATE VIEW reship_items AS SELECT order_id, '' AS items, replacement AS reason FROM fulfillments WHERE 0;
CREATE TRIGGER reship_items_insert INSTEAD OF INSERT ON reship_items
BEGIN
  INSERT INTO wanted VALUES(NEW.items);
  SELECT RAISE(ABORT, 'reship: not so much of that has been sent (see position and sent in order_lines)')
    WHERE EXISTS(SELECT 1 FROM json_each((SELECT json_group_object(CAST(CAST(j.value AS INTEGER) AS TEXT),
      CASE WHEN instr(j.value, 'x') > 0 THEN CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) END)
    FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j)) w WHERE NOT EXISTS(SELECT 1 FROM line_items li JOIN line_item_balance b ON b.line_item_id = li.id
      WHERE li.order_id = NEW.order_id AND li.position = CAST(w.key AS INTEGER) AND li.requires_shipping = 1 AND b.sent >= coalesce(w.value, 1)));
  INSERT INTO reship VALUES(NEW.order_id, NEW.reason);
  INSERT INTO part SELECT max(id), (SELECT json_group_object(CAST(CAST(j.value AS INTEGER) AS TEXT),
      CASE WHEN instr(j.value, 'x') > 0 THEN CAST(substr(j.value, instr(j.value, 'x') + 1) AS INTEGER) END)
    FROM json_each('["' || replace(replace(NEW.items, ' ', ''), ',', '","') || '"]') j) FROM fulfillments WHERE order_id = NEW.order_id;
END;
CREATE VIEW deliver AS SELECT order_id FROM fulfillments WHERE 0;
CREATE TRIGGER deliver_insert INSTEAD OF INSERT ON deliver
BEGIN
  SELECT RAISE(ABORT, 'deliver: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'deliver: nothing of it is on its way and nothing digital waits; first: INSERT INTO ship VALUES(…)')
    WHERE NOT EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id
      AND (status = 'shipped' OR (status = 'pending' AND requires_shipping = 0)));
  UPDATE fulfillments SET status = 'delivered'
  WHERE order_id = NEW.order_id AND (status = 'shipped' OR (status = 'pending' AND requires_shipping = 0));
END;
CREATE VIEW cancel AS SELECT id AS order_id, cancel_reason AS reason FROM orders WHERE 0;
CREATE TRIGGER cancel_insert INSTEAD OF INSERT ON cancel
BEGIN
  SELECT RAISE(ABORT, 'cancel: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'cancel: the reason is customer, fraud, inventory, declined, staff or other')
    WHERE NEW.reason IS NULL OR NEW.reason NOT IN('customer', 'fraud', 'inventory', 'declined', 'staff', 'other');
  SELECT RAISE(ABORT, 'cancel: it is canceled already') WHERE (SELECT canceled_at FROM orders WHERE id = NEW.order_id) IS NOT NULL;
  SELECT RAISE(ABORT, 'cancel: all of it has been sent already; a refund is made in Stripe''s Dashboard')
    WHERE EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'))
      AND NOT EXISTS(SELECT 1 FROM line_item_balance WHERE order_id = NEW.order_id AND left_to_send > 0);
  UPDATE line_items SET cancel_reason = NEW.reason,
    canceled_quantity = quantity - (SELECT sent FROM line_item_balance b WHERE b.line_item_id = line_items.id)
  WHERE order_id = NEW.order_id AND (SELECT left_to_send > 0 FROM line_item_balance b WHERE b.line_item_id = line_items.id) AND EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'));
  UPDATE orders SET canceled_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), cancel_reason = NEW.reason
  WHERE id = NEW.order_id AND NOT EXISTS(SELECT 1 FROM fulfillments WHERE order_id = NEW.order_id AND status IN('shipped', 'delivered'));
END;
CREATE VIEW hold AS SELECT id AS order_id, hold_reason AS reason FROM orders WHERE 0;
CREATE TRIGGER hold_insert INSTEAD OF INSERT ON hold
BEGIN
  SELECT RAISE(ABORT, 'hold: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'hold: say why, for whoever packs next') WHERE trim(coalesce(NEW.reason, '')) = '';
  UPDATE orders SET hold_reason = NEW.reason WHERE id = NEW.order_id;
END;
CREATE VIEW release AS SELECT id AS order_id FROM orders WHERE 0;
CREATE TRIGGER release_insert INSTEAD OF INSERT ON release
BEGIN
  SELECT RAISE(ABORT, 'release: there is no such order (see order_overview)') WHERE NOT EXISTS(SELECT 1 FROM orders WHERE id = NEW.order_id);
  SELECT RAISE(ABORT, 'release: it is not on hold') WHERE (SELECT hold_reason FROM orders WHERE id = NEW.order_id) IS NULL;
  UPDATE orders SET hold_reason = NULL WHERE id = NEW.order_id;
END;
CREATE VIEW dismiss AS SELECT order_id, reason FROM dismissals WHERE 0;
CREATE TRIGGER dismiss_insert INSTEAD OF INSERT ON dismiss
BEGIN
  SELECT RAISE(ABORT, 'dismiss: attention shows no such thing; what it shows: SELECT order_id, subject, reason FROM attention')
    WHERE NOT EXISTS(SELECT 1 FROM attention m WHERE m.reason = NEW.reason
      AND (m.order_id IS NEW.order_id OR CAST(m.order_id AS TEXT) = CAST(NEW.order_id AS TEXT) OR m.subject = NEW.order_id));
  INSERT INTO dismissals(reason, subject, order_id, facts, actor)
  SELECT DISTINCT m.reason, CAST(coalesce(m.subject, m.order_id, '') AS TEXT), m.order_id, coalesce(m.since, '') || ' ' || m.what, actor.name
  FROM attention m, actor WHERE m.reason = NEW.reason
    AND (m.order_id IS NEW.order_id OR CAST(m.order_id AS TEXT) = CAST(NEW.order_id AS TEXT) OR m.subject = NEW.order_id);
END;
CREATE VIEW my_week AS SELECT id, note FROM orders WHERE note IS NOT NULL;
COMMIT;
