//! The file for a label service, and everything that is not in it as the parcel has it.

use std::collections::BTreeSet;

use rust_iso3166::from_alpha2;

use super::format::{Column, Format, LineEnd, Rows, Template};
use super::parcels::{FIELDS, Item, Parcel, day};
use super::{Sender, street};
use crate::clock;
use crate::config::SENDER;
use crate::error::{Error, Result};
use crate::money;
use crate::text;

/// A file that is ready, and what a person should know of it.
#[derive(Debug)]
pub struct Written {
    /// The file, in the format's charset.
    pub bytes: Vec<u8>,
    /// How many parcels are in it.
    pub parcels: usize,
    /// Those that are not, and why.
    pub left_out: Vec<Note>,
    /// What is missing, or is written otherwise, of those that are.
    pub notes: Vec<Note>,
    /// The last parcel that the row limit left room for, where some had none.
    pub full_after: Option<String>,
    /// How many had none.
    pub waiting: usize,
}

impl Written {
    /// How many parcels are left out; one may have several faults.
    pub fn left_out_parcels(&self) -> usize {
        self.left_out.iter().map(|note| &note.reference).collect::<BTreeSet<_>>().len()
    }
}

/// One sentence about a parcel.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// Which parcel: order and parcel, `1042-1`.
    pub reference: String,
    /// What was changed or why it was left out, for people.
    pub says: String,
}

/// Writes the parcels in the form of a service. `weight_g` is what a parcel weighs of which the file
/// does not know it. `Config` when the sender lacks what the form needs.
pub fn write(
    format: &Format,
    sender: &Sender,
    parcels: &[Parcel],
    weight_g: Option<i64>,
) -> Result<Written> {
    let form = Form { format, sender, weight_g };
    let mut written = Written {
        bytes: Vec::new(),
        parcels: 0,
        left_out: Vec::new(),
        notes: Vec::new(),
        full_after: None,
        waiting: 0,
    };
    let mut rows = vec![format.columns.iter().map(|column| column.name.clone()).collect()];
    if format.has_sender_row() {
        rows.push(form.sender_row()?);
    }
    form.check_sender()?;
    let room = format.row_limit.map_or(usize::MAX, |limit| limit + 1);
    let room_for_one = room.saturating_sub(rows.len());
    for (n, parcel) in parcels.iter().enumerate() {
        let made = form.rows(parcel, room_for_one);
        if !made.is_whole() {
            written.left_out.extend(made.faults);
            continue;
        }
        if rows.len() + made.rows.len() > room {
            written.waiting = parcels.len() - n;
            break;
        }
        written.parcels += 1;
        written.full_after = Some(parcel.reference());
        rows.extend(made.rows);
        written.notes.extend(made.notes);
    }
    written.full_after = written.full_after.filter(|_| written.waiting > 0);
    written.bytes = form.encoded(&rows)?;
    Ok(written)
}

/// The rows of one parcel.
#[derive(Default)]
struct Made {
    rows: Vec<Vec<String>>,
    /// Why it cannot be written.
    faults: Vec<Note>,
    notes: Vec<Note>,
}

impl Made {
    fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

struct Form<'a> {
    format: &'a Format,
    sender: &'a Sender,
    weight_g: Option<i64>,
}

impl Form<'_> {
    /// `Config` when a column that must be filled is the sender's alone and has nothing.
    fn check_sender(&self) -> Result<()> {
        let own = |template: &Template| {
            let mut fields = template.fields().peekable();
            fields.peek().is_some() && fields.all(|field| field.starts_with("sender."))
        };
        let column = self.format.columns.iter().find(|column| {
            column.required && own(&column.value) && column.abroad.is_none() && {
                self.filled(&column.value, None, None).is_empty()
            }
        });
        column.map_or(Ok(()), |column| Err(self.no_sender(column, &column.value)))
    }

    fn no_sender(&self, column: &Column, template: &Template) -> Error {
        let keys: Vec<&str> =
            template.fields().filter_map(|field| field.strip_prefix("sender.")).collect();
        Error::Config(format!(
            "{} needs the sender's {} for the column {}; set {}=\"name=…; street=…; house_number=…; \
             postal_code=…; city=…; country=DE\"",
            text::clean(&self.format.name),
            keys.join(" or "),
            column.name,
            SENDER.name,
        ))
    }

    fn sender_row(&self) -> Result<Vec<String>> {
        let cell = |column: &Column| {
            let Some(template) = &column.sender else { return Ok(String::new()) };
            let cell = self.format.encoding.fitted(&self.filled(template, None, None));
            if column.required && cell.is_empty() {
                return Err(self.no_sender(column, template));
            }
            match self.format.encoding.lacks(&cell) {
                None => Ok(cell),
                Some(sign) => Err(Error::Config(format!(
                    "{} has the sign {sign}, which {} lacks, and {} is written in that",
                    SENDER.name,
                    self.format.encoding.name(),
                    text::clean(&self.format.name)
                ))),
            }
        };
        self.format.columns.iter().map(cell).collect()
    }

    /// The parcel's rows, where a file has room for so many of one parcel.
    fn rows(&self, parcel: &Parcel, room: usize) -> Made {
        let mut made = Made::default();
        let note = |says: String| Note { reference: parcel.reference(), says };
        let mut said = BTreeSet::new();
        let items: Vec<Option<&Item>> = match self.format.rows {
            Rows::Parcel => vec![None],
            Rows::Item => parcel.items.iter().map(Some).collect(),
        };
        for item in items {
            let mut row = Vec::new();
            for column in &self.format.columns {
                let (cell, faults, notes) = self.cell(column, parcel, item);
                row.push(cell);
                made.faults.extend(faults.into_iter().filter(|f| said.insert(f.clone())).map(note));
                made.notes.extend(notes.into_iter().filter(|n| said.insert(n.clone())).map(note));
            }
            made.rows.push(row);
        }
        if made.rows.is_empty() {
            made.faults.push(note("nothing is in it, and this form has a row an item".into()));
        }
        if made.rows.len() > room {
            let count = made.rows.len();
            made.faults
                .push(note(format!("it needs {count} rows, and a file has room for {room}")));
        }
        let unwritten = self.unwritten(parcel).map(note);
        made.notes.extend(unwritten);
        made.notes.extend(parcel.caution.iter().map(|caution| note(format!("caution: {caution}"))));
        made
    }

    /// Parts of the address for which the form has no column.
    fn unwritten(&self, parcel: &Parcel) -> impl Iterator<Item = String> {
        ["company", "line2", "state"].into_iter().filter_map(|name| {
            let is_there = self.format.columns.iter().any(|column| {
                [Some(&column.value), column.abroad.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|template| template.fields().any(|field| field == name))
            });
            let value = &parcel.texts[name];
            (!is_there && !value.is_empty()).then(|| {
                format!(
                    "{name} '{value}' is not in the file: {} has no column for it",
                    self.format.name
                )
            })
        })
    }

    /// A cell, why the parcel cannot be written, and what a person should know.
    fn cell(
        &self,
        column: &Column,
        parcel: &Parcel,
        item: Option<&Item>,
    ) -> (String, Vec<String>, Vec<String>) {
        let (mut faults, mut notes) = (Vec::new(), Vec::new());
        let country = parcel.texts["country"].to_uppercase();
        let template = match &column.abroad {
            Some(abroad) if self.sender.is_abroad(&country) => abroad,
            _ => &column.value,
        };
        let filled = self.filled(template, Some(parcel), item);
        let mut cell = self.format.encoding.fitted(&text::clean(filled.trim()));
        let fix = |column: Option<&str>| match column {
            Some(column) => format!(
                "; put it right: fulfilld sql \"UPDATE orders SET {column} = '…' WHERE id = {}\"",
                parcel.order
            ),
            None => String::new(),
        };
        let of_orders =
            template.fields().find_map(|name| FIELDS.iter().find(|(field, _)| *field == name)?.1);
        if let Some(plain) = without_formula(&cell) {
            notes.push(format!(
                "{} is '{plain}' in the file: a spreadsheet would take '{cell}' for a formula",
                column.name
            ));
            cell = plain;
        }
        if let Some(max) = column.max
            && cell.chars().count() > max
        {
            if column.cut {
                cell = cell.chars().take(max).collect();
            } else {
                faults.push(format!(
                    "{} holds {max} characters and '{cell}' has {}{}",
                    column.name,
                    cell.chars().count(),
                    fix(of_orders)
                ));
            }
        }
        if let Some(sign) = self.format.encoding.lacks(&cell) {
            faults.push(format!(
                "{}: '{cell}' has the sign {sign}, which {} lacks{}",
                column.name,
                self.format.encoding.name(),
                fix(of_orders)
            ));
        }
        let is_post_number = template.fields().any(|field| field == "post_number");
        if is_post_number && parcel.is_to_packstation() && parcel.texts["post_number"].is_empty() {
            faults.push(format!("a Packstation needs the buyer's post number{}", fix(of_orders)));
        }
        let is_required = column.required || column.required_in.contains(&country);
        if cell.is_empty() && (is_required || column.wanted) {
            let says = self.empty(column, template, parcel, of_orders, &fix(of_orders));
            if is_required { faults.push(says) } else { notes.push(says) }
        }
        (cell, faults, notes)
    }

    /// Why a cell that should be filled has nothing.
    fn empty(
        &self,
        column: &Column,
        template: &Template,
        parcel: &Parcel,
        of_orders: Option<&str>,
        fix: &str,
    ) -> String {
        let of = |name: &str| template.fields().any(|field| field == name);
        let line1 = &parcel.texts["line1"];
        if (of("house_number") || of("street")) && !line1.is_empty() {
            return format!("the house number cannot be told from '{line1}'{fix}");
        }
        if of("country") && !parcel.texts["country"].is_empty() {
            return format!(
                "'{}' is not a country code of two letters{fix}",
                parcel.texts["country"]
            );
        }
        if template.fields().any(|field| field.starts_with("weight_")) {
            return "nothing says what it weighs; give the product a weight in Stripe, or all such parcels one: \
                    --weight GRAMS"
                .into();
        }
        if let Some(key) = template.fields().find_map(|field| field.strip_prefix("sender.")) {
            return format!("{} has no {key}, which the column {} needs", SENDER.name, column.name);
        }
        match of_orders {
            Some(orders_column) => format!("it has no {orders_column}{fix}"),
            None => format!("it has nothing for the column {}", column.name),
        }
    }

    fn filled(&self, template: &Template, parcel: Option<&Parcel>, item: Option<&Item>) -> String {
        template.fill(&|name| match name.strip_prefix("sender.") {
            Some("country") => self.country(self.sender.get("country").unwrap_or_default()),
            Some(key) => self.sender.get(key).unwrap_or_default().to_string(),
            None => parcel.map(|parcel| self.field(name, parcel, item)).unwrap_or_default(),
        })
    }

    /// The value of one field in this form.
    fn field(&self, name: &str, parcel: &Parcel, item: Option<&Item>) -> String {
        let weight = |grams: Option<i64>| match name.rsplit_once('_') {
            Some((_, unit)) => grams.map(|grams| self.weight(grams, unit)).unwrap_or_default(),
            None => String::new(),
        };
        let street =
            || street::split(&parcel.texts["line1"], &parcel.texts["country"].to_uppercase());
        match name {
            "date" => self.day(day(&parcel.ordered_at)),
            "today" => self.day(day(&clock::text(clock::now()))),
            "country" => self.country(&parcel.texts["country"]),
            "street" => street().map(|(street, _)| street).unwrap_or_default(),
            "house_number" => street().map(|(_, number)| number).unwrap_or_default(),
            "total" | "goods" => self.decimal(&parcel.texts[name]),
            name if name.starts_with("weight_") => weight(parcel.weight_g().or(self.weight_g)),
            name if name.starts_with("item_weight_") => weight(item.and_then(|i| i.weight_g)),
            "item_name" => item.map(item_name).unwrap_or_default(),
            "item_sku" => item.and_then(|item| item.sku.clone()).unwrap_or_default(),
            "item_quantity" => item.map(|item| item.quantity.to_string()).unwrap_or_default(),
            "item_price" => item
                .and_then(|item| item.price.as_deref())
                .map(|p| self.decimal(p))
                .unwrap_or_default(),
            name => parcel.texts.get(name).cloned().unwrap_or_default(),
        }
    }

    fn day(&self, day: Option<jiff::civil::Date>) -> String {
        let written = day.and_then(|day| jiff::fmt::strtime::format(&self.format.date, day).ok());
        written.unwrap_or_default()
    }

    /// The code of a country as wide as the form has it; empty when there is no such country.
    fn country(&self, code: &str) -> String {
        let known = from_alpha2(&code.to_uppercase());
        let code = known.map(|country| match self.format.country {
            2 => country.alpha2,
            _ => country.alpha3,
        });
        code.unwrap_or_default().to_string()
    }

    fn decimal(&self, amount: &str) -> String {
        amount.replace('.', self.format.decimal.encode_utf8(&mut [0; 4]))
    }

    /// Rounded up, because a parcel that weighs more than its label says is held up.
    fn weight(&self, grams: i64, unit: &str) -> String {
        let hundredths = |per_unit: f64| {
            let hundredths = (grams as f64 / per_unit * 100.0 - 1e-6).ceil().max(1.0) as i64;
            money::decimal(&hundredths.to_string(), 2)
        };
        let written = match unit {
            "kg" => money::decimal(&grams.to_string(), 3),
            "oz" => hundredths(GRAMS_OF_AN_OUNCE),
            "lb" => hundredths(16.0 * GRAMS_OF_AN_OUNCE),
            _ => grams.to_string(),
        };
        self.decimal(&written)
    }

    fn encoded(&self, rows: &[Vec<String>]) -> Result<Vec<u8>> {
        let lost = |why: String| Error::Permanent(format!("the file could not be written: {why}"));
        let mut csv = csv::WriterBuilder::new()
            .delimiter(self.format.separator as u8)
            .terminator(match self.format.line_end {
                LineEnd::Crlf => csv::Terminator::CRLF,
                LineEnd::Lf => csv::Terminator::Any(b'\n'),
            })
            .from_writer(Vec::new());
        for row in rows {
            csv.write_record(row).map_err(|error| lost(error.to_string()))?;
        }
        let utf8 = csv.into_inner().map_err(|error| lost(error.to_string()))?;
        let text = String::from_utf8(utf8).map_err(|error| lost(error.to_string()))?;
        self.format.encoding.encode(&text).ok_or_else(|| lost("a sign does not fit".into()))
    }
}

const GRAMS_OF_AN_OUNCE: f64 = 28.349523125;

fn item_name(item: &Item) -> String {
    match &item.options {
        Some(options) => format!("{} ({options})", item.name),
        None => item.name.clone(),
    }
}

/// The text without the signs by which a spreadsheet knows a formula; `None` where it has none. A
/// phone number and an amount keep theirs.
fn without_formula(cell: &str) -> Option<String> {
    const SIGNS: &[char] = &['=', '+', '-', '@', '\t', '＝', '＋', '－', '＠'];
    let is_number = cell.chars().all(|c| c.is_ascii_digit() || " +-()/.,".contains(c));
    (cell.starts_with(SIGNS) && !is_number)
        .then(|| cell.trim_start_matches(|c| SIGNS.contains(&c) || c == ' ').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_loses_its_sign_and_a_phone_number_does_not() {
        for (cell, plain) in [
            ("=cmd|' /C calc'!A0", Some("cmd|' /C calc'!A0")),
            ("＝1+1x", Some("1+1x")),
            ("@home", Some("home")),
            ("-=+x", Some("x")),
            ("+49 30 123-45/6", None),
            ("-2.50", None),
            ("Ada", None),
            ("", None),
        ] {
            assert_eq!(without_formula(cell).as_deref(), plain, "{cell}");
        }
    }

    #[test]
    fn a_weight_is_rounded_up_in_the_unit_and_with_the_sign_of_the_form() {
        let format = Format::named("dhl-business").unwrap();
        let form = Form { format: &format, sender: &Sender::default(), weight_g: None };
        for (grams, unit, written) in [
            (350, "kg", "0,350"),
            (12_000, "kg", "12,000"),
            (350, "g", "350"),
            (350, "oz", "12,35"),
            (1, "oz", "0,04"),
            (454, "lb", "1,01"),
        ] {
            assert_eq!(form.weight(grams, unit), written);
        }
    }
}
