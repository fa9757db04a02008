//! Who sends it: the setting `FULFILLD_SENDER`.

use std::collections::BTreeMap;

use crate::config;
use crate::error::{Error, Result};
use crate::text;

/// The setting that it is read from.
pub const SETTING: &str = "FULFILLD_SENDER";

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

impl Sender {
    /// Reads the setting. `Config` when it is not `key=value; key=value` with the keys of [`KEYS`].
    pub fn from_env() -> Result<Sender> {
        Sender::parse(&config::value(SETTING))
    }

    /// The same of a text.
    pub fn parse(setting: &str) -> Result<Sender> {
        let mut known = BTreeMap::new();
        for pair in setting.split(';').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (key.trim(), text::clean(value.trim()));
            if !KEYS.contains(&key) || value.is_empty() {
                return Err(Error::Config(format!(
                    "{SETTING} has the part '{}'; write key=value with a ; between, the key one of {}",
                    text::clean(pair.trim()),
                    KEYS.join(", ")
                )));
            }
            known.insert(key.into(), value);
        }
        Ok(Sender(known))
    }

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
        let sender = Sender::parse(" name=Zoë's Mugs; country=DE ;").unwrap();
        assert_eq!((sender.get("name"), sender.get("city")), (Some("Zoë's Mugs"), None));
        assert!(sender.is_abroad("FR") && !sender.is_abroad("de"));
        assert_eq!(Sender::parse(""), Ok(Sender::default()));
        assert!(!Sender::default().is_abroad("FR"));
        for odd in ["nam=x", "name", "name=", "Zoë's Mugs, Berlin"] {
            let said = Sender::parse(odd).unwrap_err().to_string();
            assert!(said.contains(odd) && said.contains("postal_code"), "{said}");
        }
    }
}
