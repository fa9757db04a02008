//! What was sold, as it is typed: `2 x MUG-01`, `Mug, blue @ 12.00`.

use rusqlite::{Connection, OptionalExtension, params};

use crate::db;
use crate::error::{Error, Result};
use crate::money;
use crate::text;

/// One thing as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    quantity: i64,
    /// An SKU, or a name.
    thing: String,
    /// Of one, as it was typed.
    price: Option<String>,
}

/// A line of the order.
pub struct Sold {
    name: String,
    options: Option<String>,
    sku: Option<String>,
    quantity: i64,
    /// Minor units, of one.
    unit_amount: i64,
    /// Minor units, of all.
    pub amount: i64,
    weight_g: Option<i64>,
    requires_shipping: bool,
}

/// More is a slip of the hand.
const QUANTITY_MAX: i64 = 1_000_000;

/// As the file has it of any amount.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

impl Item {
    /// `Usage` when nothing is named, or the quantity or the price is no number.
    pub fn parse(typed: &str) -> Result<Item> {
        let odd = |why: &str| {
            Error::Usage(format!(
                "--item \"{}\" {why}; write it as \"2 x Mug, blue @ 12.00\"",
                text::clean(typed)
            ))
        };
        let cleaned = text::clean(typed.trim());
        let (rest, price) = match cleaned.rsplit_once('@') {
            Some((rest, price)) => (rest.trim(), Some(price.trim().replace(',', "."))),
            None => (cleaned.as_str(), None),
        };
        let (quantity, thing) = match rest.split_once([' ', 'x', '×']) {
            Some((n, thing)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
                let thing = thing.trim_start();
                match thing.strip_prefix(['x', '×']) {
                    // `2 x Mug`, or `2x Mug`, whose x is gone already.
                    Some(after) if after.is_empty() || after.starts_with(' ') => {
                        (Some(n), after.trim())
                    }
                    _ if rest[n.len()..].starts_with(['x', '×']) => (Some(n), thing),
                    // `7 Wonders` is a name.
                    _ => (None, rest),
                }
            }
            _ => (None, rest),
        };
        let quantity = match quantity.map(str::parse) {
            None => 1,
            Some(Ok(n)) if (1..=QUANTITY_MAX).contains(&n) => n,
            Some(_) => return Err(odd("has no quantity from 1 to 1000000")),
        };
        if thing.is_empty() {
            return Err(odd("names nothing"));
        }
        if price.as_deref().is_some_and(|p| p.starts_with('-') || !money::is_number(p)) {
            return Err(odd("has a price that is not an amount"));
        }
        Ok(Item { quantity, thing: thing.into(), price })
    }

    /// The line that it makes: what was sold last under that SKU, else a thing of that name.
    pub fn sold(&self, c: &Connection, currency: &str, decimals: usize) -> Result<Sold> {
        let known = c
            .query_row(LAST_SOLD, [&self.thing, currency], |row| {
                Ok(Sold {
                    name: row.get(0)?,
                    options: row.get(1)?,
                    sku: row.get(2)?,
                    quantity: self.quantity,
                    unit_amount: row.get(3)?,
                    amount: 0,
                    weight_g: row.get(4)?,
                    requires_shipping: row.get(5)?,
                })
            })
            .optional()
            .map_err(db::translate)?;
        let mut sold = known.unwrap_or_else(|| Sold {
            name: self.thing.clone(),
            options: None,
            sku: None,
            quantity: self.quantity,
            unit_amount: 0,
            amount: 0,
            weight_g: None,
            requires_shipping: true,
        });
        let too_much = || {
            Error::Usage(format!(
                "the price of {} is not an amount of {currency} that can be stored",
                self.thing
            ))
        };
        if let Some(price) = &self.price {
            sold.unit_amount = money::minor(price, decimals).ok_or_else(too_much)?;
        }
        let amount = sold.unit_amount.checked_mul(sold.quantity);
        sold.amount = amount.filter(|amount| *amount <= AMOUNT_MAX).ok_or_else(too_much)?;
        Ok(sold)
    }
}

/// The latest line with that SKU, and its price where it was in the same currency.
const LAST_SOLD: &str = "
    SELECT name, options, sku, CASE WHEN currency = ?2 THEN coalesce(unit_amount, 0) ELSE 0 END,
      weight_g, requires_shipping
    FROM line_items WHERE sku = ?1 ORDER BY order_id DESC, position LIMIT 1";

impl Sold {
    /// Writes it as a line of the order.
    pub fn insert(&self, c: &Connection, order: i64, position: i64, currency: &str) -> Result<()> {
        c.prepare_cached(
            "INSERT INTO line_items(id, order_id, position, sku, name, options, quantity, currency, unit_amount,
               amount_subtotal, amount_total, requires_shipping, weight_g)
             VALUES('added_' || ?1 || '_' || ?2, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                order,
                position,
                self.sku,
                self.name,
                self.options,
                self.quantity,
                currency,
                self.unit_amount,
                self.amount,
                self.requires_shipping,
                self.weight_g,
            ])
        })
        .map(drop)
        .map_err(db::translate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_a_thing_with_a_quantity_before_it_and_a_price_behind_it() {
        for (typed, quantity, thing, price) in [
            ("MUG-01", 1, "MUG-01", None),
            ("2 x Mug, blue @ 12.00", 2, "Mug, blue", Some("12.00")),
            ("2x Mug @12,5", 2, "Mug", Some("12.5")),
            ("3 × Mug", 3, "Mug", None),
            ("7 Wonders", 1, "7 Wonders", None),
            ("2 xylophones", 1, "2 xylophones", None),
            ("2xMUG", 2, "MUG", None),
            ("Postcard @0", 1, "Postcard", Some("0")),
        ] {
            let item = Item { quantity, thing: thing.into(), price: price.map(String::from) };
            assert_eq!(Item::parse(typed), Ok(item), "{typed}");
        }
        for odd in [
            "",
            "  ",
            "2 x ",
            "0 x Mug",
            "9999999 x Mug",
            "Mug @",
            "Mug @ -1",
            "Mug @ cheap",
            "@ 5",
        ] {
            assert!(matches!(Item::parse(odd), Err(Error::Usage(_))), "{odd}");
        }
    }
}
