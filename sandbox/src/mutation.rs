//! One change to a right answer, chosen by a random source: another type, sign, size or object, an
//! absence, a repetition, or a cut.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::rendering::json;

/// The changed body, and what was changed. A body that is no JSON is cut.
pub fn mutate(body: &[u8], random: &mut Rng) -> (Vec<u8>, String) {
    let whole: Option<Value> = serde_json::from_slice(body).ok();
    let Some(mut answer) = whole.filter(|_| random.u8(..) >= 16) else {
        let end = random.usize(..body.len().max(1));
        return (body[..end.min(body.len())].to_vec(), format!("cut after {end} bytes"));
    };
    let mut places = Vec::new();
    list_places(&answer, "", &mut places);
    let place = places[random.usize(..places.len())].clone();
    let other = places[random.usize(..places.len())].clone();
    let other = answer.pointer(&other).cloned().unwrap_or_default();
    let change = match random.u8(..6) {
        0 => change(&mut answer, &place, |value| retyped(value, random)),
        1 => change(&mut answer, &place, |value| negated(value, random)),
        2 => change(&mut answer, &place, |value| resized(value, random)),
        3 => remove(&mut answer, &place),
        4 => change(&mut answer, &place, |value| exchanged(value, other)),
        _ => repeat(&mut answer, &place),
    };
    (json::bytes(&answer), format!("{place}: {change}"))
}

/// The JSON pointers of all values but nulls: what is null in Stripe's objects is mostly not read.
fn list_places(value: &Value, at: &str, places: &mut Vec<String>) {
    if !value.is_null() {
        places.push(at.to_string());
    }
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                list_places(item, &format!("{at}/{n}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                list_places(field, &format!("{at}/{name}"), places);
            }
        }
        _ => {}
    }
}

fn change(answer: &mut Value, place: &str, how: impl FnOnce(Value) -> (Value, String)) -> String {
    let Some(value) = answer.pointer_mut(place) else { return "nothing".into() };
    let (changed, what) = how(value.take());
    *value = changed;
    what
}

/// A value of another type.
fn retyped(value: Value, random: &mut Rng) -> (Value, String) {
    let others =
        [json!(null), json!(true), json!(7), json!(1.5), json!("seven"), json!([]), json!({})];
    let differs = |other: &&Value| std::mem::discriminant(*other) != std::mem::discriminant(&value);
    let others: Vec<&Value> = others.iter().filter(differs).collect();
    let other = others[random.usize(..others.len())].clone();
    let what = format!("now {other}");
    (other, what)
}

/// The same amount with the other sign; what is no number gets another type.
fn negated(value: Value, random: &mut Rng) -> (Value, String) {
    match value.as_i64() {
        Some(0) => (json!(-1), "now -1".into()),
        Some(number) => (json!(-number), format!("now {}", -number)),
        None => retyped(value, random),
    }
}

/// Far too large, or empty.
fn resized(value: Value, random: &mut Rng) -> (Value, String) {
    match value {
        Value::Number(_) => {
            let sizes = [json!(i64::MAX), json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(0)];
            let size = sizes[random.usize(..sizes.len())].clone();
            let what = format!("now {size}");
            (size, what)
        }
        Value::String(text) => match random.u8(..3) {
            0 => (json!(""), "now empty".into()),
            1 => (json!("é".repeat(60_000)), "now 60,000 characters".into()),
            _ => (json!(format!("{text}x")), "one character longer".into()),
        },
        Value::Array(_) => (json!([]), "now empty".into()),
        Value::Object(_) => (Value::Object(Map::new()), "now empty".into()),
        other => retyped(other, random),
    }
}

/// Another value of the same answer; the other's id where both are objects.
fn exchanged(value: Value, other: Value) -> (Value, String) {
    match (value, other) {
        (Value::String(text), _) if text.contains('_') => {
            (json!(format!("{text}0")), "the id of another object".into())
        }
        (_, other) => (other, "another value of this answer".into()),
    }
}

fn remove(answer: &mut Value, place: &str) -> String {
    let (above, name) = place.rsplit_once('/').unwrap_or_default();
    match answer.pointer_mut(above) {
        Some(Value::Object(fields)) => {
            fields.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            let n = name.parse().unwrap_or(0);
            items.remove(n);
        }
        _ => *answer = json!({}),
    }
    "removed".into()
}

/// A row twice; what is no row is wrapped in a list.
fn repeat(answer: &mut Value, place: &str) -> String {
    let again = answer.pointer(place).cloned().unwrap_or_default();
    let above = place.rsplit_once('/').unwrap_or_default().0;
    match answer.pointer_mut(above) {
        Some(Value::Array(items)) if !place.is_empty() => items.push(again),
        _ => {
            return change(answer, place, |value| {
                (json!([value, again]), "twice, in a list".into())
            });
        }
    }
    "a second time".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_mutation_and_most_seeds_change_the_answer() {
        let right =
            br#"{"id": "cs_1", "amount": 5, "data": [{"id": "li_1", "a/b~c": {"n": null}}]}"#;
        let whole: Value = serde_json::from_slice(right).unwrap();
        let made = |seed| mutate(right, &mut Rng::with_seed(seed));
        let differs = |seed: &u64| {
            serde_json::from_slice::<Value>(&made(*seed).0).ok() != Some(whole.clone())
        };
        assert!((0..2000).all(|seed| made(seed) == made(seed)));
        assert!((0..2000).filter(differs).count() > 1900);
        let kinds = ["cut after", "now", "removed", "twice", "second time", "another"];
        for kind in kinds {
            assert!((0..2000).any(|seed| made(seed).1.contains(kind)), "{kind}");
        }
    }
}
