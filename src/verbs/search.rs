//! Finds orders by a text: names, addresses, numbers, ids, items, custom fields, in any case.

use rusqlite::Connection;

use crate::db;
use crate::error::Result;

/// What is looked through, a line each. SQLite knows upper and lower case of ASCII alone, so the
/// comparing is done here.
const WORDS: &str = "SELECT o.id, concat_ws(char(10), o.name, o.business_name, o.shipping_name, o.email, o.phone,
      o.shipping_line1, o.shipping_line2, o.shipping_postal_code, o.shipping_city,
      o.checkout_session_id, o.payment_intent_id, o.client_reference_id, o.invoice_id, o.note, o.origin,
      (SELECT group_concat(concat_ws(char(10), li.sku, li.name), char(10)) FROM line_items li WHERE li.order_id = o.id),
      (SELECT group_concat(f.tracking_number, char(10)) FROM fulfillments f WHERE f.order_id = o.id),
      (SELECT group_concat(cf.value, char(10)) FROM order_custom_fields cf WHERE cf.order_id = o.id))
    FROM orders o ORDER BY o.id";

/// The numbers of the orders in which each word of `text` is found; a number is also the order's
/// own. Blanks and dashes in a phone or tracking number do not count. None for a text of blanks.
pub fn orders(c: &Connection, text: &str) -> Result<Vec<i64>> {
    let wanted: Vec<String> = text.to_lowercase().split_whitespace().map(String::from).collect();
    let number = text.trim().trim_start_matches('#').parse::<i64>().ok();
    let closed_up = together(&text.to_lowercase());
    let mut query = c.prepare(WORDS).map_err(db::translate)?;
    let mut rows = query.query([]).map_err(db::translate)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let id: i64 = row.get(0).map_err(db::translate)?;
        let words: String = row.get(1).map_err(db::translate)?;
        let words = words.to_lowercase();
        let has_each = || wanted.iter().all(|word| words.contains(word));
        // With a digit it may be a number that is written in another way.
        let has_number = || {
            closed_up.bytes().any(|b| b.is_ascii_digit())
                && words.lines().any(|line| together(line).contains(&closed_up))
        };
        if !wanted.is_empty() && (number == Some(id) || has_each() || has_number()) {
            found.push(id);
        }
    }
    Ok(found)
}

fn together(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}
