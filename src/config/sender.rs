//! Who sends it: the setting `FULFILLD_SENDER`.

use std::collections::BTreeMap;

use super::fault::{Fault, Read, Weight};
use crate::text;

/// What may be said of a sender. `billing` is the number that a carrier bills, `billing_abroad` the
/// one for other countries.
pub const KEYS: &[&str] = &[
    "name",
    "company",
    "street",
    "house_number",
    "postal_code",
    "city",
    "state",
    "country",
    "email",
    "phone",
    "billing",
    "billing_abroad",
];

/// The shop as the sender of its parcels; nothing of it need be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender(BTreeMap<String, String>);

/// A fault when it is not `key=value; key=value` with the keys of [`KEYS`].
pub fn parse(name: &'static str, text: &str) -> Read<Sender> {
    let mut known = BTreeMap::new();
    for pair in text.split(';').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (key.trim(), text::clean(value.trim()));
        if !KEYS.contains(&key) || value.is_empty() {
            let what = format!("{name} has the part '{}'", text::clean(pair.trim()));
            let keys = KEYS.join(", ");
            let remedy = format!("write key=value with a ; between, the key one of {keys}");
            let fault = Fault::fatal("setting_odd", what, remedy)
                .because("No file for a label service can be made with it.")
                .of_weight(Weight::Problem);
            return Read::wrong(fault);
        }
        known.insert(key.into(), value);
    }
    Read::good(Sender(known))
}

impl Sender {
    /// What is known under a key; `None` where nothing is.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// True where a parcel to that country is abroad. A sender without a country knows no abroad.
    pub fn is_abroad(&self, country: &str) -> bool {
        self.get("country").is_some_and(|own| !own.eq_ignore_ascii_case(country))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_keys_and_values_and_anything_else_is_named() {
        let read = |text: &str| parse("FULFILLD_SENDER", text).into_result();
        let sender = read(" name=Zoë's Mugs; country=DE ;").unwrap();
        assert_eq!((sender.get("name"), sender.get("city")), (Some("Zoë's Mugs"), None));
        assert!(sender.is_abroad("FR") && !sender.is_abroad("de"));
        assert_eq!(read(""), Ok(Sender::default()));
        assert!(!Sender::default().is_abroad("FR"));
        for odd in ["nam=x", "name", "name=", "Zoë's Mugs, Berlin"] {
            let said = read(odd).unwrap_err().to_string();
            assert!(said.contains(odd) && said.contains("postal_code"), "{said}");
        }
    }
}
