//! The format of one service's file: read from TOML and checked; errors say what is wrong.

use serde::Deserialize;

use super::charset::Charset;
use super::parcels::FIELDS;
use crate::config::sender;
use crate::error::{Error, Result};
use crate::text;

/// The forms that are built in, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("dhl-business", include_str!("../../formats/dhl-business.toml")),
    ("dhl-private", include_str!("../../formats/dhl-private.toml")),
    ("internetmarke", include_str!("../../formats/internetmarke.toml")),
    ("pirate-ship", include_str!("../../formats/pirate-ship.toml")),
    ("royal-mail", include_str!("../../formats/royal-mail.toml")),
    ("sendcloud", include_str!("../../formats/sendcloud.toml")),
    ("shippo", include_str!("../../formats/shippo.toml")),
    ("shipstation", include_str!("../../formats/shipstation.toml")),
    ("stamps", include_str!("../../formats/stamps.toml")),
];

/// Their names.
pub const NAMES: &str = "dhl-business, dhl-private, internetmarke, pirate-ship, royal-mail, \
                         sendcloud, shippo, shipstation, stamps";

/// The form of a file that a label service imports.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    /// As the person gave it: a name, or a path.
    #[serde(skip)]
    pub name: String,
    /// Whose form it is, for people.
    #[allow(dead_code, reason = "for whoever reads the file")]
    about: Option<String>,
    /// The bytes of the file.
    pub encoding: Charset,
    /// Between two fields.
    #[serde(default = "comma")]
    pub separator: char,
    /// After each row.
    #[serde(default)]
    pub line_end: LineEnd,
    /// Between whole and part, in weights and amounts.
    #[serde(default = "point")]
    pub decimal: char,
    /// How many letters a country's code has: 2 or 3.
    #[serde(default = "two")]
    pub country: u8,
    /// A day, in the signs of strftime.
    #[serde(default = "iso_day")]
    pub date: String,
    /// What one row is about.
    #[serde(default)]
    pub rows: Rows,
    /// At most so many rows below the heading, the sender's included.
    pub row_limit: Option<usize>,
    /// In the order of the file.
    #[serde(rename = "column")]
    pub columns: Vec<Column>,
}

/// Of what there is a row.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    #[default]
    Parcel,
    Item,
}

/// What ends a row.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnd {
    #[default]
    Crlf,
    Lf,
}

/// One column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// What a row has under it.
    pub value: Template,
    /// The value for a parcel to another country than the sender's.
    pub abroad: Option<Template>,
    /// The value in the row of the sender, which is the first one where any column has it.
    pub sender: Option<Template>,
    /// At most so many characters.
    pub max: Option<usize>,
    /// What is longer may be cut; else such a parcel is left out.
    #[serde(default)]
    pub cut: bool,
    /// A parcel that has nothing here is left out.
    #[serde(default)]
    pub required: bool,
    /// The same for parcels to these countries, two letters each.
    #[serde(default)]
    pub required_in: Vec<String>,
    /// A parcel that has nothing here is written, and reported.
    #[serde(default)]
    pub wanted: bool,
}

fn comma() -> char {
    ','
}

fn point() -> char {
    '.'
}

fn two() -> u8 {
    2
}

fn iso_day() -> String {
    "%Y-%m-%d".into()
}

/// What a cell is made of: text, and fields in braces, `{company|name}` the first that has anything.
/// Of several texts those that have anything stand with a comma between.
#[derive(Debug, Deserialize)]
#[serde(try_from = "OneOrMore")]
pub struct Template(Vec<Vec<Part>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Field(Vec<String>),
}

impl TryFrom<OneOrMore> for Template {
    type Error = String;

    fn try_from(texts: OneOrMore) -> std::result::Result<Template, String> {
        let texts = match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        texts.iter().map(|text| parts(text)).collect::<std::result::Result<_, _>>().map(Template)
    }
}

fn parts(text: &str) -> std::result::Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) =
            after.split_once('}').ok_or_else(|| format!("'{text}' has a {{ without its }}"))?;
        let names: Vec<String> = field.split('|').map(|name| name.trim().to_string()).collect();
        if let Some(unknown) = names.iter().find(|name| !is_field(name)) {
            let fields: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "there is no field {{{unknown}}}; there are {}, and of the sender {}",
                fields.join(", "),
                sender::KEYS
                    .iter()
                    .map(|key| format!("sender.{key}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        parts.push(Part::Text(before.into()));
        parts.push(Part::Field(names));
        rest = after;
    }
    parts.push(Part::Text(rest.into()));
    Ok(parts)
}

fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|(field, _)| *field == name)
        || name.strip_prefix("sender.").is_some_and(|key| sender::KEYS.contains(&key))
}

impl Template {
    /// The cell, with the value of each field.
    pub fn fill(&self, field: &dyn Fn(&str) -> String) -> String {
        let one = |parts: &Vec<Part>| -> String {
            parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Field(names) => names
                        .iter()
                        .map(|name| field(name))
                        .find(|value| !value.is_empty())
                        .unwrap_or_default(),
                })
                .collect()
        };
        let filled: Vec<String> =
            self.0.iter().map(one).filter(|text| !text.trim().is_empty()).collect();
        filled.join(", ")
    }

    /// The names of the fields in it.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().flat_map(|part| match part {
            Part::Text(_) => [].iter().map(String::as_str),
            Part::Field(names) => names.iter().map(String::as_str),
        })
    }
}

impl Format {
    /// The form of that name, or in that file. `Usage` when there is none, `Config` when it is none.
    pub fn named(name: &str) -> Result<Format> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        if let Some((_, toml)) = built_in {
            return Format::parse(name, toml);
        }
        let is_file = name.contains('/') || name.ends_with(".toml");
        if !is_file {
            return Err(Error::Usage(format!(
                "there is no format {}; there are {NAMES}, and your own: --for ./mine.toml",
                text::clean(name)
            )));
        }
        let toml = std::fs::read_to_string(name).map_err(|error| {
            Error::Usage(format!("the format {} cannot be read: {error}", text::clean(name)))
        })?;
        Format::parse(name, &toml)
    }

    /// `Config` with a sentence for each mistake in it.
    fn parse(name: &str, toml: &str) -> Result<Format> {
        let wrong = |faults: &[String]| {
            let faults: Vec<String> = faults.iter().map(|why| text::clean(why.trim())).collect();
            let name = text::clean(name);
            Error::Config(match &faults[..] {
                [only] => format!("the format {name} is not one: {only}"),
                several => format!("the format {name} is not one:\n  {}", several.join("\n  ")),
            })
        };
        let table: toml::Table = toml::from_str(toml).map_err(|error| {
            let before = error.span().map_or("", |span| toml.get(..span.start).unwrap_or_default());
            let line = before.matches('\n').count() + 1;
            wrong(&[format!("line {line}: {}", error.message())])
        })?;
        let mut faults = read_alone(&table);
        if !faults.is_empty() {
            return Err(wrong(&faults));
        }
        let mut format: Format =
            table.try_into().map_err(|error: toml::de::Error| wrong(&[error.message().into()]))?;
        format.name = name.into();
        faults.extend(format.faults());
        if faults.is_empty() { Ok(format) } else { Err(wrong(&faults)) }
    }

    /// What cannot be meant, though each part of it can be read.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut not = |is_wrong: bool, why: &str| {
            if is_wrong {
                faults.push(why.to_string());
            }
        };
        let country = self.country;
        not(!(2..=3).contains(&country), "country is 2 or 3, the letters of a country's code");
        let is_plain = |sign: char| sign.is_ascii() && (sign == '\t' || !sign.is_control());
        let (separator, decimal) = (self.separator, self.decimal);
        not(
            !is_plain(separator) || !is_plain(decimal),
            "separator and decimal are one plain sign each",
        );
        let is_text = separator == '"' || separator.is_alphanumeric();
        not(is_text, "separator is a sign that stands in no text, such as ; or a tab");
        let day = jiff::civil::date(2026, 1, 31);
        let is_day = jiff::fmt::strtime::format(&self.date, day).is_ok();
        not(!is_day, "date is a day in the signs of strftime, such as %d.%m.%Y");
        not(self.columns.is_empty(), "it has no [[column]]");
        // The sender's row is one of them.
        let room = self.row_limit.map(|limit| limit.saturating_sub(self.has_sender_row().into()));
        not(room == Some(0), "row_limit leaves room for no parcel");
        for column in &self.columns {
            let fault = |why: String| format!("column {}: {why}", column.name);
            faults.extend(self.faults_of(column).into_iter().map(fault));
        }
        faults
    }

    fn faults_of(&self, column: &Column) -> Vec<String> {
        let mut faults = Vec::new();
        if self.encoding.lacks(&column.name).is_some() {
            faults.push(format!("the heading has a sign that {} lacks", self.encoding.name()));
        }
        if column.max == Some(0) {
            faults.push("max is 1 or more".into());
        }
        if column.cut && column.max.is_none() {
            faults.push("cut = true needs a max".into());
        }
        let odd = column.required_in.iter().find(|code| {
            code.to_uppercase() != **code || rust_iso3166::from_alpha2(code).is_none()
        });
        if let Some(odd) = odd {
            faults.push(format!("required_in: '{odd}' is not a country code such as US"));
        }
        let templates = [Some(&column.value), column.abroad.as_ref()].into_iter().flatten();
        let of_item = templates.flat_map(Template::fields).find(|field| field.starts_with("item_"));
        if let (Rows::Parcel, Some(field)) = (self.rows, of_item) {
            faults.push(format!("{{{field}}} is of one item; set rows = \"item\""));
        }
        let of_order = column.sender.iter().flat_map(Template::fields);
        if let Some(field) = of_order.into_iter().find(|field| !field.starts_with("sender.")) {
            faults
                .push(format!("sender: {{{field}}} is of an order, and that row is the sender's"));
        }
        faults
    }

    /// True where the first row is the sender.
    pub fn has_sender_row(&self) -> bool {
        self.columns.iter().any(|column| column.sender.is_some())
    }
}

/// Reads each setting and each column alone, so that one mistake hides no other one.
fn read_alone(table: &toml::Table) -> Vec<String> {
    let mut faults = Vec::new();
    let complete = |key: &str, value: &toml::Value| {
        let mut alone = toml::Table::new();
        alone.insert("encoding".into(), "utf-8".into());
        alone.insert("column".into(), toml::Value::Array(Vec::new()));
        alone.insert(key.into(), value.clone());
        alone.try_into::<Format>().err().map(|error| format!("{key}: {}", error.message()))
    };
    for (key, value) in table.iter().filter(|(key, _)| *key != "column") {
        faults.extend(complete(key, value));
    }
    if !table.contains_key("encoding") {
        faults.push("it has no encoding, such as encoding = \"utf-8\"".into());
    }
    match table.get("column") {
        None => faults.push("it has no [[column]]".into()),
        Some(toml::Value::Array(columns)) => {
            for (n, column) in columns.iter().enumerate() {
                let name = column.get("name").and_then(toml::Value::as_str).unwrap_or_default();
                let read = column.clone().try_into::<Column>();
                faults.extend(
                    read.err().map(|e| format!("column {} {name}: {}", n + 1, e.message())),
                );
            }
        }
        Some(_) => faults.push("a column begins with [[column]], in two brackets".into()),
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_that_is_named_is_built_in_and_is_one() {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.join(", "), NAMES);
        for name in names {
            let format = Format::named(name).unwrap();
            let of = |field: &str| {
                format.columns.iter().any(|column| column.value.fields().any(|f| f == field))
            };
            assert!(of("country") && (of("line1") || of("street")), "{name}");
        }
    }

    #[test]
    fn errors_in_a_shops_own_format_are_named() {
        let parse = |toml: &str| Format::parse("mine.toml", toml);
        let column = "\n[[column]]\nname = 'Name'\nvalue = '{name}'\n";
        assert_eq!(parse(&format!("encoding = 'utf-8'{column}")).unwrap().columns.len(), 1);
        for (toml, why) in [
            ("encoding = 'utf-8'".to_string(), "column"),
            (column.to_string(), "encoding"),
            (format!("encoding = 'klingon'{column}"), "klingon"),
            (format!("encoding = 'utf-8'\ncountry = 4{column}"), "country is 2 or 3"),
            (format!("encoding = 'utf-8'\nseparater = ','{column}"), "separater"),
            (format!("encoding = 'utf-8'\ndate = '%'{column}"), "strftime"),
            (format!("encoding = 'utf-8'{}", column.replace("{name}", "{nome}")), "{nome}"),
            (format!("encoding = 'utf-8'{}", column.replace("{name}", "{name")), "without its }"),
            (format!("encoding = 'iso-8859-1'{}", column.replace("Name", "Łame")), "Łame"),
            (format!("encoding = 'utf-8'\nseparator = '\"'{column}"), "stands in no text"),
            (format!("encoding = 'utf-8'\nseparator = ';;'{column}"), "separator: "),
            (format!("encoding = 'utf-8'\nrow_limit = 0{column}"), "room for no parcel"),
            (
                format!("encoding = 'utf-8'\nrow_limit = 1{column}sender = 'x'"),
                "room for no parcel",
            ),
            (format!("encoding = 'utf-8'\nrow_limit = -1{column}"), "row_limit: "),
            (format!("encoding = 'utf-8'{column}max = 0"), "max is 1"),
            (format!("encoding = 'utf-8'{column}cut = true"), "needs a max"),
            (format!("encoding = 'utf-8'{column}required_in = ['USA']"), "'USA'"),
            (format!("encoding = 'utf-8'{column}sender = '{{name}}'"), "the sender's"),
            (format!("encoding = 'utf-8'{}", column.replace("{name}", "{item_sku}")), "rows ="),
            ("encoding = 'utf-8'\n[column]\nname = 'Name'".to_string(), "two brackets"),
            (format!("encoding = 'utf-8'\ndate ={column}"), "line 2: "),
        ] {
            let said = parse(&toml).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with("the format mine.toml is not one: "), "{toml}: {said}");
            assert!(said.contains(why), "{toml}: {said}");
        }
        let toml = "encoding = 'utf-9'\ncountry = 'two'\n[[column]]\nname = 'A'\nvalue = '{a}'\n\
            [[column]]\nname = 'B'\nvalue = '{b'\n";
        let said = parse(toml).unwrap_err().to_string();
        for why in ["encoding: ", "country: ", "column 1 A: ", "column 2 B: "] {
            assert!(said.lines().any(|line| line.trim_start().starts_with(why)), "{why}: {said}");
        }
    }

    #[test]
    fn a_cell_is_text_and_fields_and_what_is_empty_leaves_no_comma() {
        let fill = |texts: &[&str]| {
            let texts = OneOrMore::More(texts.iter().map(|text| text.to_string()).collect());
            Template::try_from(texts).unwrap().fill(&|field| match field {
                "order" => "1042".into(),
                "parcel" => "1".into(),
                "name" => "Ada".into(),
                _ => String::new(),
            })
        };
        assert_eq!(fill(&["{order}-{parcel}!"]), "1042-1!");
        assert_eq!(fill(&["{company|name}"]), "Ada");
        assert_eq!(fill(&["{company}", "{name}", "{line2}"]), "Ada");
        assert_eq!(fill(&["{name}", "{order}"]), "Ada, 1042");
    }
}
