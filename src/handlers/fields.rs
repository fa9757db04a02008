//! Reading Stripe's objects: every field may be missing, null or new; an amount is whole or the
//! event is parked.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::text::clean;

/// No bank knows more than this, in minor units; the largest amounts Stripe takes have twelve
/// digits.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// Stripe lets a buyer choose up to 999,999 of a thing.
const QUANTITY_MAX: i64 = 1_000_000_000;

/// An object of Stripe's, looked at by JSON pointer.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    /// The value at a JSON pointer; `None` where it is missing or null.
    pub fn at(self, pointer: &str) -> Option<&'a Value> {
        self.0.pointer(pointer).filter(|v| !v.is_null())
    }

    /// A text for people: cleaned, trimmed, and `None` when nothing is left.
    pub fn text(self, pointer: &str) -> Option<String> {
        let text = clean(self.at(pointer)?.as_str()?);
        Some(text.trim().to_string()).filter(|t| !t.is_empty())
    }

    /// A word of Stripe's own, such as a status.
    pub fn word(self, pointer: &str) -> Option<&'a str> {
        self.at(pointer)?.as_str()
    }

    /// The id of a thing that Stripe gives as an id or, expanded, as an object.
    pub fn id(self, pointer: &str) -> Option<String> {
        let value = self.at(pointer)?;
        let id = value.as_str().or_else(|| value.get("id").and_then(Value::as_str))?;
        Some(clean(id))
    }

    /// Whole minor units, or a time. `None` when missing; `Permanent` when it is no whole number,
    /// or more than [`AMOUNT_MAX`] either way: sums over such amounts would fail for the whole
    /// shop.
    pub fn amount(self, pointer: &str) -> Result<Option<i64>> {
        self.whole(pointer, AMOUNT_MAX, "amount")
    }

    /// How many of something, under the same rules with [`QUANTITY_MAX`].
    pub fn quantity(self, pointer: &str) -> Result<Option<i64>> {
        self.whole(pointer, QUANTITY_MAX, "quantity")
    }

    fn whole(self, pointer: &str, most: i64, what: &str) -> Result<Option<i64>> {
        let Some(value) = self.at(pointer) else {
            return Ok(None);
        };
        let whole = value.as_i64().filter(|n| (-most..=most).contains(n));
        whole.map(Some).ok_or_else(|| {
            let name = pointer.trim_start_matches('/').replace('/', ".");
            Error::Permanent(format!(
                "{name} is {}, which is not a whole {what} that can be stored",
                clean(&value.to_string())
            ))
        })
    }

    /// A JSON value to keep, its texts cleaned for display.
    pub fn json(self, pointer: &str, empty: Value) -> Value {
        self.at(pointer).map_or(empty, cleaned)
    }
}

fn cleaned(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => items.iter().map(cleaned).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (clean(key), cleaned(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_whole_or_the_event_is_parked() {
        let v = json!({"a": 4200, "none": null, "half": 0.5, "text": "1", "most": 1_000_000_000_000i64,
            "less": -1_000_000_000_000i64, "beyond": 1_000_000_000_001i64, "below": i64::MIN,
            "over": 18446744073709551615u64,
            "many": 1_000_000_000i64});
        let fields = Fields(&v);
        assert_eq!(fields.amount("/a"), Ok(Some(4200)));
        assert_eq!(fields.amount("/none"), Ok(None));
        assert_eq!(fields.amount("/missing"), Ok(None));
        assert_eq!(fields.amount("/most"), Ok(Some(1_000_000_000_000)));
        assert_eq!(fields.amount("/less"), Ok(Some(-1_000_000_000_000)));
        assert_eq!(fields.quantity("/many"), Ok(Some(1_000_000_000)));
        assert!(fields.quantity("/most").is_err());
        for odd in ["/half", "/text", "/over", "/beyond", "/below"] {
            assert!(matches!(fields.amount(odd), Err(Error::Permanent(_))), "{odd}");
        }
    }

    #[test]
    fn texts_are_cleaned_and_ids_come_from_either_form() {
        let v = json!({"name": "  \u{1b}[2J ", "blank": " ", "a": "prod_1", "b": {"id": "prod_1",
            "deleted": true}, "m": {"k\u{0}": ["\u{202e}x"]}});
        let fields = Fields(&v);
        assert_eq!(fields.text("/name").as_deref(), Some("\u{FFFD}[2J"));
        assert_eq!(fields.text("/blank"), None);
        assert_eq!(
            (fields.id("/a"), fields.id("/b")),
            (Some("prod_1".into()), Some("prod_1".into()))
        );
        assert_eq!(fields.json("/m", Value::Null), json!({"k\u{FFFD}": ["x"]}));
    }
}
