//! Whose each column of the file is: the one table that says which are facts and which are the
//! operator's.
//!
//! The rules that follow from it (`schema/facts.sql`, `schema/history.sql`) are written from here by
//! `UPDATE_GOLDEN=1 cargo test --bin fulfilld columns`; without the variable the same tests compare.

#[cfg(test)]
mod rules; // writes the rules

/// A table of the file. Each of its columns stands in one of the four lists, which are names with
/// blanks between.
#[cfg_attr(not(test), expect(dead_code, reason = "the rules are written by the tests"))]
pub struct Columns {
    /// Its name.
    pub table: &'static str,
    /// Who the row is: nobody changes it.
    pub fixed: &'static str,
    /// What Stripe said or fulfilld keeps: the operator does not change it.
    pub facts: &'static str,
    /// The operator's to change.
    pub yours: &'static str,
    /// Guarded by a rule of its own in `schema/`.
    pub ruled: &'static str,
}

/// Every table, in the order of `schema.sql`.
#[rustfmt::skip]
pub const TABLES: &[Columns] = &[
    Columns { table: "shop", fixed: "one livemode", facts: "created_at", yours: "", ruled: "" },
    Columns { table: "actor", fixed: "", facts: "", yours: "", ruled: "one name" },
    Columns { table: "sequence", fixed: "", facts: "", yours: "", ruled: "one n" },
    Columns {
        table: "events",
        fixed: "",
        facts: "id type object_id created livemode api_version account context shape snapshot_event payload source \
                received_at awaits",
        yours: "",
        ruled: "seq state state_reason attempts crashes panics taken_at next_attempt_at processed_at reason_code",
    },
    Columns {
        table: "orders",
        fixed: "id checkout_session_id livemode currency origin",
        facts: "payment_intent_id mode payment_status amount_subtotal amount_discount amount_shipping amount_tax \
                amount_total presentment_amount presentment_currency customer_id subscription_id invoice_id \
                payment_link_id client_reference_id capture_method amount_capturable amount_captured amount_awaited \
                amount_credited capture_before \
                shipping_option custom_fields tax_ids metadata created_at paid_at line_items_at as_of asked",
        yours: "note hold_reason canceled_at cancel_reason email name business_name phone shipping_name \
                shipping_line1 shipping_line2 shipping_city shipping_state shipping_postal_code shipping_country",
        ruled: "",
    },
    Columns {
        table: "line_items",
        fixed: "",
        facts: "id order_id position price_id product_id sku name options quantity currency unit_amount \
                unit_amount_decimal amount_subtotal amount_discount amount_tax amount_total requires_shipping \
                metadata weight_g",
        yours: "canceled_quantity cancel_reason",
        ruled: "",
    },
    Columns { table: "unbalanced_orders", fixed: "order_id", facts: "lines difference", yours: "", ruled: "" },
    Columns {
        table: "fulfillments",
        fixed: "id order_id requires_shipping replacement created_at",
        facts: "",
        yours: "status tracking_company tracking_number tracking_url note shipped_at delivered_at canceled_at",
        ruled: "",
    },
    Columns { table: "fulfillment_line_items", fixed: "", facts: "", yours: "",
        ruled: "fulfillment_id line_item_id quantity" },
    Columns {
        table: "refunds",
        fixed: "id",
        facts: "payment_intent_id charge_id amount currency status reason failure_reason subscription_id \
                balance_transaction_id failed_at created_at as_of asked",
        yours: "",
        ruled: "",
    },
    Columns {
        table: "disputes",
        fixed: "id",
        facts: "payment_intent_id charge_id amount currency status reason evidence_due_by amount_lost \
                is_charge_refundable money_moves subscription_id created_at as_of asked settled_currency \
                settled_amount settled_lost",
        yours: "",
        ruled: "",
    },
    Columns {
        table: "reviews",
        fixed: "id",
        facts: "payment_intent_id charge_id open reason closed_reason subscription_id created_at as_of asked",
        yours: "",
        ruled: "",
    },
    Columns {
        table: "fraud_warnings",
        fixed: "id",
        facts: "payment_intent_id charge_id actionable fraud_type subscription_id created_at as_of asked",
        yours: "",
        ruled: "",
    },
    Columns { table: "order_history", fixed: "", facts: "", yours: "",
        ruled: "id order_id actor what old new at moment" },
    Columns {
        table: "outbox",
        fixed: "id topic order_id fulfillment_id event_id key created_at",
        facts: "",
        yours: "",
        ruled: "state attempts next_attempt_at outcome last_error",
    },
    Columns {
        table: "hook_runs",
        fixed: "outbox_id target",
        facts: "order_id state attempts tries failures first_try_at taken_at next_attempt_at ended_at outcome \
                last_error",
        yours: "",
        ruled: "",
    },
    Columns { table: "hook_tests", fixed: "", facts: "", yours: "id topic asked_at result", ruled: "" },
    Columns { table: "sweeps", fixed: "", facts: "", yours: "", ruled: "name until" },
    Columns { table: "alarms", fixed: "", facts: "", yours: "name message next since about", ruled: "" },
    Columns { table: "dismissals", fixed: "reason subject order_id since facts what actor at", facts: "",
        yours: "", ruled: "" },
    Columns { table: "forgotten", fixed: "subject at", facts: "", yours: "", ruled: "" },
    Columns { table: "search_blocks", fixed: "id", facts: "orders", yours: "", ruled: "" },
    Columns { table: "search_state", fixed: "one", facts: "history", yours: "", ruled: "" },
    Columns { table: "carriers", fixed: "", facts: "", yours: "company url", ruled: "" },
    Columns { table: "currency_decimals", fixed: "currency decimals unit", facts: "", yours: "", ruled: "" },
];

/// True where the column is the operator's to change.
pub fn is_yours(table: &str, column: &str) -> bool {
    TABLES.iter().any(|t| t.table == table && t.yours.split(' ').any(|yours| yours == column))
}
