//! What waits for a parcel, and what can be said of it in a file for a label service.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use crate::db;
use crate::error::{Error, Result};
use crate::money;
use crate::text;

/// Every field that a format can name, and the column of `orders` to correct where it is wrong.
pub const FIELDS: &[(&str, Option<&str>)] = &[
    ("reference", None), // ORDER-PARCEL, such as 1042-1
    ("order", None),
    ("parcel", None),
    ("date", None),  // when it was ordered
    ("today", None), // in UTC
    ("name", Some("shipping_name")),
    ("first_name", Some("shipping_name")),
    ("last_name", Some("shipping_name")),
    ("company", Some("business_name")),
    ("line1", Some("shipping_line1")),
    ("street", Some("shipping_line1")),
    ("house_number", Some("shipping_line1")),
    ("line2", Some("shipping_line2")),
    ("post_number", Some("shipping_line2")), // the buyer's at a German Packstation
    ("postal_code", Some("shipping_postal_code")),
    ("city", Some("shipping_city")),
    ("state", Some("shipping_state")),
    ("country", Some("shipping_country")),
    ("phone", Some("phone")),
    ("phone_digits", Some("phone")),
    ("email", Some("email")),
    ("shipping_option", None),
    ("client_reference_id", None),
    ("items", None),    // 2 × Mug, 1 × Poster
    ("quantity", None), // of all items
    ("weight_g", None), // of the parcel; empty where any item's is not known
    ("weight_kg", None),
    ("weight_oz", None),
    ("weight_lb", None),
    ("total", None), // what the order cost
    ("goods", None), // what of it is in the parcel, as paid
    ("currency", None),
    ("item_name", None), // these in a form with a row an item
    ("item_sku", None),
    ("item_quantity", None),
    ("item_price", None), // of one
    ("item_weight_g", None),
    ("item_weight_kg", None),
    ("item_weight_oz", None),
];

/// A parcel that waits, as the file has it.
#[derive(Debug)]
pub struct Parcel {
    /// `fulfillments.id`.
    pub fulfillment: i64,
    /// The order's number.
    pub order: i64,
    /// Which of the order's parcels it is, from 1; it never changes.
    pub number: i64,
    /// When the order was placed, UTC.
    pub ordered_at: String,
    /// What whoever packs must know: money that went back, the buyer's wishes, a note.
    pub caution: Option<String>,
    /// Texts by the names of [`FIELDS`], those that are the same in every form.
    pub texts: BTreeMap<&'static str, String>,
    /// What is in the parcel.
    pub items: Vec<Item>,
}

/// So many of one thing in it.
#[derive(Debug)]
pub struct Item {
    /// As Checkout showed it.
    pub name: String,
    /// The chosen variant, such as a size.
    pub options: Option<String>,
    /// The shop's own number for it.
    pub sku: Option<String>,
    /// How many of it are in this parcel.
    pub quantity: i64,
    /// Of one, minor units, in decimal text; `None` where Stripe names none.
    pub price: Option<String>,
    /// Of one; `None` where it is not known.
    pub weight_g: Option<i64>,
}

impl Parcel {
    /// `1042-1`: what a label service is given, and gives back.
    pub fn reference(&self) -> String {
        format!("{}-{}", self.order, self.number)
    }

    /// True where it goes to a locker or a counter of DHL's, which the buyer's post number opens.
    pub fn is_to_packstation(&self) -> bool {
        let line1 = self.texts["line1"].to_lowercase();
        self.texts["country"] == "DE"
            && ["packstation", "postfiliale"].iter().any(|word| line1.starts_with(word))
    }

    /// What is in it weighs so much; `None` where any of it is not known.
    pub fn weight_g(&self) -> Option<i64> {
        self.items.iter().map(|item| item.weight_g?.checked_mul(item.quantity)).sum()
    }
}

/// Which of the parcels that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    order: i64,
    parcel: Option<i64>,
}

impl Choice {
    /// `1042` or `1042-1`. `Usage` for anything else.
    pub fn parse(typed: &str) -> Result<Choice> {
        let (order, parcel) = match typed.split_once('-') {
            Some((order, parcel)) => (order, Some(parcel)),
            None => (typed, None),
        };
        let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n > 0);
        let choice = match parcel {
            None => number(order).map(|order| Choice { order, parcel: None }),
            Some(parcel) => number(order)
                .zip(number(parcel))
                .map(|(order, parcel)| Choice { order, parcel: Some(parcel) }),
        };
        choice.ok_or_else(|| {
            Error::Usage(format!(
                "{} is neither an order nor a parcel; write 1042, or 1042-1 for its first parcel",
                text::clean(typed)
            ))
        })
    }

    /// The order's number.
    pub fn order(&self) -> i64 {
        self.order
    }

    /// Which of the order's parcels; `None` where none is named.
    pub fn parcel(&self) -> Option<i64> {
        self.parcel
    }

    /// True when it stands before this parcel in the queue.
    pub fn is_before(&self, parcel: &Parcel) -> bool {
        (self.order, self.parcel.unwrap_or(i64::MAX)) < (parcel.order, parcel.number)
    }

    /// True when it means this parcel.
    pub fn is(&self, parcel: &Parcel) -> bool {
        self.order == parcel.order && self.parcel.is_none_or(|number| number == parcel.number)
    }
}

/// The packing queue, oldest first, or those of it that are chosen. `Permanent` when one that is
/// chosen does not wait.
pub fn waiting(c: &Connection, chosen: &[Choice]) -> Result<Vec<Parcel>> {
    // One moment for all of it, whatever is written meanwhile.
    let c = c.unchecked_transaction().map_err(db::translate)?;
    let mut query = c.prepare(QUEUE).map_err(db::translate)?;
    let mut parcels = query
        .query_map([], parcel)
        .and_then(Iterator::collect::<rusqlite::Result<Vec<Parcel>>>)
        .map_err(db::translate)?;
    if let Some(absent) = chosen.iter().find(|choice| !parcels.iter().any(|p| choice.is(p))) {
        let name = match absent.parcel {
            None => format!("no parcel of order {}", absent.order),
            Some(parcel) => format!("no parcel {}-{parcel}", absent.order),
        };
        return Err(Error::Permanent(format!(
            "{name} waits to be shipped; what waits: fulfilld orders --to-ship"
        )));
    }
    parcels.retain(|p| chosen.is_empty() || chosen.iter().any(|choice| choice.is(p)));
    let mut query = c.prepare(ITEMS).map_err(db::translate)?;
    for parcel in &mut parcels {
        parcel.items = query
            .query_map([parcel.fulfillment], item)
            .and_then(Iterator::collect)
            .map_err(db::translate)?;
        let quantity: i64 = parcel.items.iter().map(|item| item.quantity).sum();
        parcel.texts.insert("quantity", quantity.to_string());
    }
    Ok(parcels)
}

/// The queue's rows with what a label needs. A parcel's number counts the order's parcels, which are
/// never deleted.
const QUEUE: &str = "
    SELECT t.fulfillment_id, t.order_id,
      (SELECT count(*) FROM fulfillments g WHERE g.order_id = t.order_id AND g.requires_shipping = 1
         AND g.id <= t.fulfillment_id) AS parcel,
      o.created_at, t.caution, coalesce(o.shipping_name, o.name) AS name,
      nullif(o.business_name, coalesce(o.shipping_name, o.name, '')) AS company,
      o.shipping_line1 AS line1, o.shipping_line2 AS line2, o.shipping_postal_code AS postal_code,
      o.shipping_city AS city, o.shipping_state AS state, o.shipping_country AS country, o.phone, o.email,
      o.shipping_option, o.client_reference_id, t.items, upper(o.currency) AS currency,
      CAST(o.amount_total AS TEXT) AS total,
      -- What is in it, of what was paid for each line.
      (SELECT CAST(sum(li.amount_total * fl.quantity / li.quantity) AS TEXT) FROM fulfillment_line_items fl
         JOIN line_items li ON li.id = fl.line_item_id WHERE fl.fulfillment_id = t.fulfillment_id) AS goods,
      coalesce((SELECT decimals FROM currency_decimals d WHERE d.currency = o.currency), 2) AS decimals
    FROM to_ship t JOIN orders o ON o.id = t.order_id
    ORDER BY t.order_id, t.fulfillment_id";

/// The texts that are columns of [`QUEUE`].
const TEXTS: &[&str] = &[
    "name",
    "company",
    "line1",
    "line2",
    "postal_code",
    "city",
    "state",
    "country",
    "phone",
    "email",
    "shipping_option",
    "client_reference_id",
    "items",
    "currency",
];

fn parcel(row: &Row) -> rusqlite::Result<Parcel> {
    let (order, number): (i64, i64) = (row.get("order_id")?, row.get("parcel")?);
    let mut texts = BTreeMap::new();
    for name in TEXTS {
        let value: Option<String> = row.get(*name)?;
        texts.insert(*name, text::clean(value.unwrap_or_default().trim()));
    }
    let decimals = usize::from(row.get::<_, u16>("decimals")?);
    for name in ["total", "goods"] {
        let minor: Option<String> = row.get(name)?;
        texts.insert(name, minor.map(|m| money::decimal(&m, decimals)).unwrap_or_default());
    }
    texts.insert("reference", format!("{order}-{number}"));
    texts.insert("order", order.to_string());
    texts.insert("parcel", number.to_string());
    let (first, last) = match texts["name"].rsplit_once(' ') {
        Some((first, last)) => (first.trim().to_string(), last.to_string()),
        None => (String::new(), texts["name"].clone()),
    };
    texts.insert("first_name", first);
    texts.insert("last_name", last);
    let digits = texts["phone"].chars().filter(char::is_ascii_digit).collect();
    texts.insert("phone_digits", digits);
    // 6 to 10 digits, in whichever line the checkout had room for them.
    let post_number = ["line2", "company"].iter().find_map(|line| {
        let digits: String = texts[line].chars().filter(char::is_ascii_digit).collect();
        (6..=10).contains(&digits.len()).then_some(digits)
    });
    let mut parcel = Parcel {
        fulfillment: row.get("fulfillment_id")?,
        order,
        number,
        ordered_at: row.get("created_at")?,
        caution: row.get("caution")?,
        texts,
        items: Vec::new(),
    };
    let post_number = post_number.filter(|_| parcel.is_to_packstation()).unwrap_or_default();
    parcel.texts.insert("post_number", post_number);
    Ok(parcel)
}

const ITEMS: &str = "
    SELECT li.name, li.options, li.sku, fl.quantity,
      coalesce(CAST(li.unit_amount AS TEXT), li.unit_amount_decimal) AS price,
      li.weight_g,
      coalesce((SELECT decimals FROM currency_decimals d WHERE d.currency = li.currency), 2) AS decimals
    FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
    WHERE fl.fulfillment_id = ?1 ORDER BY li.position";

fn item(row: &Row) -> rusqlite::Result<Item> {
    let decimals = usize::from(row.get::<_, u16>("decimals")?);
    let price: Option<String> = row.get("price")?;
    Ok(Item {
        name: row.get("name")?,
        options: row.get("options")?,
        sku: row.get("sku")?,
        quantity: row.get("quantity")?,
        price: price.filter(|p| money::is_number(p)).map(|p| money::decimal(&p, decimals)),
        weight_g: row.get("weight_g")?,
    })
}

/// The day of a time in the file.
pub fn day(at: &str) -> Option<jiff::civil::Date> {
    at.parse::<Timestamp>().ok().map(|at| at.to_zoned_datetime(jiff::tz::TimeZone::UTC).date())
}
