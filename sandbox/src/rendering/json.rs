//! JSON as Stripe writes it: two blanks of indentation, `id` and `object` before the other fields,
//! which are sorted.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// The bytes of an answer or of an event.
pub fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(&Ordered(value)).expect("a Value's keys are text")
}

struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                let first = |name: &str| matches!(name, "id" | "object");
                let named =
                    ["id", "object"].into_iter().filter_map(|name| fields.get_key_value(name));
                for (name, field) in named.chain(fields.iter().filter(|(name, _)| !first(name))) {
                    map.serialize_entry(name, &Ordered(field))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_object_begins_with_its_id_and_its_kind() {
        let value = serde_json::json!({"a": {"b": 1, "id": "x"}, "object": "event", "id": "evt_1"});
        let expected = r#"{
  "id": "evt_1",
  "object": "event",
  "a": {
    "id": "x",
    "b": 1
  }
}"#;
        assert_eq!(String::from_utf8(super::bytes(&value)).unwrap(), expected);
    }
}
