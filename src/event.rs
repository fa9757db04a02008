//! What an event says of itself: the envelope, in either of Stripe's two shapes. The inside is not
//! read here.

use serde::Deserialize;
use serde_json::Value;

use crate::clock::{self, Timestamp};
use crate::reason::{Code, Reason};
use crate::text;

/// The two shapes in which Stripe delivers the same event (docs.stripe.com/event-destinations).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `object: "event"`, the object inside as it was.
    Snapshot,
    /// `object: "v2.core.event"`, only the object's type and id.
    Thin,
}

impl Shape {
    /// The word in `events.shape`.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::Snapshot => "snapshot",
            Shape::Thin => "thin",
        }
    }
}

/// The envelope of one event. Everything but the id is optional, because what Stripe adds or
/// changes tomorrow must be kept today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`; 1 to 255 characters, none of them a control character. The idempotency of the whole
    /// desk.
    pub id: String,
    /// The type as received (`v1.checkout.session.completed` in the thin shape); empty when there
    /// was none.
    pub kind: String,
    /// The id of the object the event is about.
    pub object_id: Option<String>,
    /// When Stripe made it. Whole seconds at best: never used to order or to deduplicate.
    pub created: Option<Timestamp>,
    /// Real money or not; `None` where the event does not say.
    pub livemode: Option<bool>,
    /// The API version the snapshot was rendered with, from 2019 on.
    pub api_version: Option<String>,
    /// The connected account it happened in (Connect only).
    pub account: Option<String>,
    /// The account to name in requests about it; set for Connect and organizations, sometimes for
    /// the shop's own.
    pub context: Option<String>,
    /// Snapshot or thin.
    pub shape: Shape,
    /// The thin shape's twin.
    pub snapshot_event: Option<String>,
}

impl Event {
    /// Reads the envelope of a signed body. The error is the `<why>` of `400 Webhook Error: <why>`:
    /// only a body that is not a UTF-8 JSON object with a usable string `id` has one. Whatever else
    /// is odd is for the worker to park.
    pub fn parse(body: &[u8]) -> Result<Event, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_string())?;
        match serde_json::from_str::<Envelope>(text) {
            Ok(envelope) if text.trim_ascii_start().starts_with('{') => {
                Event::from_envelope(envelope)
            }
            // Not an object, a field of an unexpected kind, the same key twice: read it the slow
            // and tolerant way.
            _ => {
                let value: Value =
                    serde_json::from_str(text).map_err(|e| format!("the body is not JSON: {e}"))?;
                Event::from_value(&value)
            }
        }
    }

    /// Reads the envelope of an event that Stripe's API gave back, under the same rules.
    pub fn from_value(value: &Value) -> Result<Event, String> {
        if !value.is_object() {
            return Err("the body is not a JSON object".into());
        }
        let string =
            |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(String::from);
        Event::from_envelope(Envelope {
            id: string("/id"),
            kind: string("/type"),
            object: string("/object"),
            created: value.get("created").map(|c| match c {
                Value::String(text) => Created::Text(text.clone()),
                other => Created::Unix(other.as_i64().unwrap_or(i64::MAX)),
            }),
            livemode: value.get("livemode").and_then(Value::as_bool),
            api_version: string("/api_version"),
            account: string("/account"),
            context: string("/context"),
            data: Some(Data { object: Some(Named { id: string("/data/object/id") }) }),
            related_object: Some(Named { id: string("/related_object/id") }),
            snapshot_event: string("/snapshot_event"),
        })
    }

    fn from_envelope(envelope: Envelope) -> Result<Event, String> {
        let id = envelope.id.ok_or("the body has no string id")?;
        if id.is_empty() || id.len() > 255 || id.chars().any(char::is_control) {
            return Err(
                "the id is empty, longer than 255 bytes or holds a control character".into()
            );
        }
        let shape = match envelope.object.as_deref() {
            Some("v2.core.event") => Shape::Thin,
            _ => Shape::Snapshot,
        };
        let named = |n: Option<Named>| n.and_then(|n| n.id).filter(|id| is_object_id(id));
        let object_id = match shape {
            Shape::Thin => named(envelope.related_object),
            Shape::Snapshot => named(envelope.data.and_then(|d| d.object)),
        };
        Ok(Event {
            id,
            kind: text::clean(&envelope.kind.unwrap_or_default()),
            object_id,
            created: envelope.created.and_then(|c| match c {
                Created::Unix(seconds) => clock::from_unix(seconds),
                Created::Text(text) => text.parse().ok(),
            }),
            livemode: envelope.livemode,
            api_version: envelope.api_version,
            account: envelope.account.filter(|a| !a.is_empty()),
            context: envelope.context.filter(|a| !a.is_empty()),
            shape,
            snapshot_event: envelope.snapshot_event,
        })
    }

    /// The type's name in the table of handlers: the thin shape's without its `v1.`.
    pub fn name(&self) -> &str {
        match self.shape {
            Shape::Thin => self.kind.strip_prefix("v1.").unwrap_or(&self.kind),
            Shape::Snapshot => &self.kind,
        }
    }

    /// Why the event is none of the shop's, by the file's mode and the account that was set; `None`
    /// when it is.
    pub fn foreign_to(&self, livemode: bool, account: Option<&str>) -> Option<Reason> {
        let word = |live: bool| if live { "live" } else { "test" };
        if let Some(live) = self.livemode.filter(|live| *live != livemode) {
            let text = format!("a {} event in a {} file", word(live), word(livemode));
            return Some(Reason::new(Code::OtherMode, text));
        }
        let text = match (account, &self.account, &self.context) {
            (Some(ours), Some(other), _) | (Some(ours), None, Some(other)) if ours != other => {
                format!("of account {}, not {ours}", text::clean(other))
            }
            (None, Some(other), _) => format!(
                "of the connected account {}; set FULFILLD_ACCOUNT if that is the shop",
                text::clean(other)
            ),
            _ => return None,
        };
        Some(Reason::new(Code::OtherAccount, text))
    }
}

/// True for text that may stand in a path to Stripe: letters, digits, `_` and `-`, at most 255. Ids
/// come from a body that Stripe signed, and still nothing else may shape a URL of ours.
pub fn is_object_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    object: Option<String>,
    created: Option<Created>,
    livemode: Option<bool>,
    api_version: Option<String>,
    account: Option<String>,
    context: Option<String>,
    data: Option<Data>,
    related_object: Option<Named>,
    snapshot_event: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Unix(i64),
    Text(String),
}

#[derive(Deserialize)]
struct Data {
    object: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_give_one_envelope() {
        let snapshot = br#"{"id":"evt_1","object":"event","type":"checkout.session.completed","created":1795489500,
            "livemode":false,"api_version":"2019-02-19","data":{"object":{"id":"cs_test_1","amount_total":1e400x"#;
        assert!(Event::parse(snapshot).unwrap_err().starts_with("the body is not JSON"));
        let snapshot = br#"{"id":"evt_1","object":"event","type":"checkout.session.completed","created":1795489500,
            "livemode":false,"api_version":"2019-02-19","data":{"object":{"id":"cs_test_1"}},"new":{"a":[1]}}"#;
        let thin =
            br#"{"id":"evt_2","object":"v2.core.event","type":"v1.checkout.session.completed",
            "created":"2026-11-24T03:05:00.000Z","livemode":false,"snapshot_event":"evt_1",
            "related_object":{"id":"cs_test_1","type":"checkout.session","url":"/v1/evil"}}"#;
        let (a, b) = (Event::parse(snapshot).unwrap(), Event::parse(thin).unwrap());
        assert_eq!(
            (a.name(), a.object_id.as_deref(), a.created),
            (b.name(), b.object_id.as_deref(), b.created)
        );
        assert_eq!(
            (a.name(), a.object_id.as_deref()),
            ("checkout.session.completed", Some("cs_test_1"))
        );
        assert_eq!((a.shape, b.shape), (Shape::Snapshot, Shape::Thin));
        assert_eq!((a.shape.as_str(), b.shape.as_str()), ("snapshot", "thin"));
        assert_eq!(b.snapshot_event.as_deref(), Some("evt_1"));
    }

    #[test]
    fn nothing_but_an_id_gets_into_a_path_to_stripe() {
        for id in ["cs_test_a1", "sub-1", "9", &"i".repeat(255)] {
            assert!(is_object_id(id), "{id}");
        }
        for id in ["", "cs_1/lines", "a?b", "a.b", "a b", "é", "%2e", &"i".repeat(256)] {
            assert!(!is_object_id(id), "{id}");
        }
    }

    #[test]
    fn an_event_of_another_mode_or_account_is_not_the_shop_s() {
        let event =
            |more: &str| Event::parse(format!(r#"{{"id":"evt_1"{more}}}"#).as_bytes()).unwrap();
        for (more, account, why) in [
            ("", None, None),
            (r#","livemode":false"#, None, None),
            (r#","livemode":true"#, None, Some("a live event in a test file")),
            (
                r#","account":"acct_2""#,
                None,
                Some("of the connected account acct_2; set FULFILLD_ACCOUNT"),
            ),
            (r#","account":"acct_2""#, Some("acct_1"), Some("of account acct_2, not acct_1")),
            (r#","account":"acct_1""#, Some("acct_1"), None),
            (r#","context":"acct_1""#, None, None),
            (r#","context":"acct_2""#, Some("acct_1"), Some("of account acct_2, not acct_1")),
            ("", Some("acct_1"), None),
        ] {
            let said = event(more).foreign_to(false, account);
            assert_eq!(said.is_some(), why.is_some(), "{more} {account:?}: {said:?}");
            assert!(
                said.map(|said| said.text).unwrap_or_default().starts_with(why.unwrap_or_default()),
                "{more} {account:?}"
            );
        }
    }

    #[test]
    fn strange_envelopes_are_kept_as_long_as_they_have_an_id() {
        for body in [
            r#"{"id":"evt_1"}"#,
            r#"{"id":"evt_1","type":7,"created":"soon","livemode":"yes","data":[]}"#,
            r#"{"id":"evt_0","id":"evt_1","type":"a"}"#,
            r#"{"id":"evt_1","created":18446744073709551616,"data":{"object":{"id":"../../v1/charges"}}}"#,
        ] {
            let event = Event::parse(body.as_bytes()).unwrap();
            assert_eq!((event.id.as_str(), event.object_id), ("evt_1", None), "{body}");
        }
    }

    #[test]
    fn depth_is_skipped_without_recursion() {
        let deep =
            format!("{{\"id\":\"evt_1\",\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Event::parse(deep.as_bytes()).unwrap().id, "evt_1");
    }

    #[test]
    fn what_has_no_usable_id_is_refused_with_the_reason() {
        for (body, why) in [
            ("", "not JSON"),
            ("null", "not a JSON object"),
            ("42", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"["evt_1","t","event",1,true,"v","a","c",null,null,"s"]"#, "not a JSON object"),
            ("{}", "no string id"),
            (r#"{"id":7}"#, "no string id"),
            (r#"{"id":""}"#, "the id is empty"),
            (r#"{"id":"evt_\u0000z"}"#, "control character"),
            ("\u{feff}{\"id\":\"evt_1\"}", "not JSON"),
        ] {
            let error = Event::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
        assert_eq!(Event::parse(b"{\"id\":\"\xff\"}").unwrap_err(), "the body is not UTF-8");
        let of_length =
            |n: usize| Event::parse(format!(r#"{{"id":"{}"}}"#, "e".repeat(n)).as_bytes());
        assert!(of_length(255).is_ok() && of_length(256).is_err());
    }
}
