//! `fulfilld add`: an order that came from elsewhere, such as a market stall or the phone.

use rusqlite::{Connection, OptionalExtension, params};

use super::Common;
use super::orders::overview;
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::text;
use crate::verbs::ADDED;

mod item; // what was sold, as it is typed

use item::{Item, Sold};

/// Add an order that came from elsewhere, such as a market stall or the phone
///
/// It waits in `to_ship` like any other and is packed, shipped, held and canceled in the same way,
/// and it counts as paid. It bears where it came from (`origin`), and Stripe knows nothing of it: it
/// is in no books that `export` and `sales_by_day` write, and `reconcile` and `rebuild` pass it over.
/// The history names the author fulfilld:add. What was added is not taken back; cancel it instead.
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld add --origin phone --name \"Ada Lovelace\" --line1 \"12 Rue \
                   Exemple\" --city Paris --postal-code 75001 --country FR --item \"2 x MUG-01\""
)]
pub struct Args {
    /// Where it came from, in your words, e.g. "market stall"
    #[arg(long, value_name = "TEXT")]
    origin: String,
    /// What was sold: an SKU that was sold before, whose name, price and weight it takes, or a name;
    /// with a quantity before it and a price behind it: "2 x Mug, blue @ 12.00". Several times for
    /// several things
    #[arg(long = "item", value_name = "ITEM", required = true)]
    items: Vec<String>,
    /// Who gets it
    #[arg(long)]
    name: String,
    #[arg(long)]
    company: Option<String>,
    /// Where the shop's hooks write to
    #[arg(long)]
    email: Option<String>,
    #[arg(long)]
    phone: Option<String>,
    /// Street and house number
    #[arg(long)]
    line1: String,
    #[arg(long)]
    line2: Option<String>,
    #[arg(long)]
    city: String,
    #[arg(long)]
    postal_code: Option<String>,
    #[arg(long)]
    state: Option<String>,
    /// Two letters, e.g. FR
    #[arg(long)]
    country: String,
    /// How it is sent, e.g. Express
    #[arg(long, value_name = "TEXT")]
    shipping: Option<String>,
    /// For whoever packs
    #[arg(long)]
    note: Option<String>,
    /// Of the prices, e.g. eur; without it that of the latest order
    #[arg(long)]
    currency: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Adds it and prints it. `Usage` for what is no item, no country, or an amount that is none; then
/// nothing was added.
pub fn run(args: &Args) -> Result<()> {
    let country = args.country.trim().to_uppercase();
    if rust_iso3166::from_alpha2(&country).is_none() {
        return Err(Error::Usage(format!(
            "--country {} is not a country code; it has two letters, e.g. FR",
            text::clean(&args.country)
        )));
    }
    for (option, value) in [
        ("origin", &args.origin),
        ("name", &args.name),
        ("line1", &args.line1),
        ("city", &args.city),
    ] {
        if text::clean(value).trim().is_empty() {
            return Err(Error::Usage(format!("--{option} is empty; say what it is")));
        }
    }
    let items = args.items.iter().map(|typed| Item::parse(typed)).collect::<Result<Vec<_>>>()?;
    let table = args.common.file.write_as(ADDED, |c| {
        let order = insert(c, args, &country, &items)?;
        Table::query(c, &format!("{} WHERE v.id = ?1", overview(&args.common.output)), [order])
    })?;
    table.print(args.common.output.json, "")
}

fn insert(c: &Connection, args: &Args, country: &str, items: &[Item]) -> Result<i64> {
    let currency = currency(c, args.currency.as_deref())?;
    let decimals: Option<u16> = c
        .query_row(
            "SELECT decimals FROM currency_decimals WHERE currency = ?1",
            [&currency],
            |row| row.get(0),
        )
        .optional()
        .map_err(db::translate)?;
    let decimals = usize::from(decimals.unwrap_or(2));
    let sold = items
        .iter()
        .map(|item| item.sold(c, &currency, decimals))
        .collect::<Result<Vec<Sold>>>()?;
    let total: i64 = sold.iter().map(|line| line.amount).sum();
    let now = clock::text(clock::now());
    let clean = |text: &str| Some(text::clean(text.trim())).filter(|text| !text.is_empty());
    let optional = |text: &Option<String>| text.as_deref().and_then(clean);
    let order = c
        .prepare(
            "INSERT INTO orders(livemode, mode, payment_status, currency, amount_subtotal, amount_total,
               origin, email, name, business_name, phone, shipping_name, shipping_line1, shipping_line2,
               shipping_city, shipping_state, shipping_postal_code, shipping_country, shipping_option, note,
               created_at, paid_at, line_items_at, as_of)
             SELECT livemode, 'payment', ?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?6, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
               ?16, ?17, ?17, ?17, ?17 FROM shop",
        )
        .and_then(|mut insert| {
            insert.insert(params![
                if total > 0 { "paid" } else { "no_payment_required" },
                currency,
                total,
                clean(&args.origin),
                optional(&args.email),
                clean(&args.name),
                optional(&args.company),
                optional(&args.phone),
                clean(&args.line1),
                optional(&args.line2),
                clean(&args.city),
                optional(&args.state),
                optional(&args.postal_code),
                country,
                optional(&args.shipping),
                optional(&args.note),
                now,
            ])
        })
        .map_err(db::translate)?;
    for (position, line) in (1i64..).zip(&sold) {
        line.insert(c, order, position, &currency)?;
    }
    c.execute("INSERT INTO settle(order_id) VALUES(?1)", [order]).map_err(db::translate)?;
    Ok(order)
}

/// The currency that is named, else that of the latest order.
fn currency(c: &Connection, named: Option<&str>) -> Result<String> {
    let is_one = |code: &str| code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase());
    match named.map(|code| code.trim().to_lowercase()) {
        Some(code) if is_one(&code) => Ok(code),
        Some(code) => Err(Error::Usage(format!(
            "--currency {} is none; it has three letters, e.g. eur",
            text::clean(&code)
        ))),
        None => c
            .query_row("SELECT currency FROM orders ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
            .optional()
            .map_err(db::translate)?
            .ok_or_else(|| {
                Error::Usage(
                    "there is no order yet that names a currency; add --currency eur".into(),
                )
            }),
    }
}
