//! Faults on demand: what is to go wrong, where and how often.

use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Value, json};

use super::errors;
use super::http::{Answer, Manner};
use crate::sync::lock;

/// One order for trouble, as `POST /_sandbox/faults` takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `*`, or an endpoint's name as `/_sandbox/stats` has it.
    #[serde(default = "everywhere")]
    pub endpoint: String,
    kind: Kind,
    /// Of the answer; by itself 429 with `status` and 200 with the other kinds that have one.
    pub status: Option<u16>,
    /// So often; `None` until all faults are ended.
    times: Option<u32>,
    /// Only what contains this text: a request's path, query or key; an event's type or its
    /// session's id.
    only: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Stripe's own words for the status.
    Status,
    /// No answer, and no end.
    Hang,
    /// The right answer, a byte a second.
    Drip,
    /// Half of the right answer.
    Half,
    /// Bytes that are no text.
    Garbage,
    /// A page for people.
    Html,
    Redirect,
    /// 500 MB.
    Huge,
    Reset,
    /// An answer without a body.
    Empty,
    /// The end instead of an answer.
    Close,
    /// `{}`: an answer that says nothing.
    Shrug,
    /// The right answer about another object: what is asked for was mixed up on the way.
    Stranger,
    /// A list with rows that nobody can read among the right ones.
    Odd,
    /// A list whose newest row was made in ten years.
    Ahead,
    /// A list with every row twice.
    Repeat,
    /// A list without every other row, as if those were not made yet.
    Skip,
    /// A list that shows nothing yet; a session that does not name its lines.
    Unlisted,
    /// A list that says there is more, for ever.
    Loop,
    /// A list that ends after a few rows and says there is no more.
    Cut,
    /// A list with fewer rows on a page than there could be.
    Short,
    /// An event that is never made.
    Lost,
    /// An event that is listed and never delivered.
    Undelivered,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Usual,
    Lost,
    Undelivered,
}

/// The faults in force, oldest first.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Says how many are in force now.
    pub fn add(&self, fault: Fault) -> usize {
        let mut faults = lock(&self.0);
        faults.push(fault);
        faults.len()
    }

    /// Says how many there were.
    pub fn end_all(&self) -> usize {
        lock(&self.0).drain(..).count()
    }

    /// The answer to a request: the right one, or what the first fault that means this request
    /// makes of it. `asked` is the path with its query, and the key.
    pub fn answer(&self, endpoint: &str, asked: &str, right: impl FnOnce() -> Answer) -> Answer {
        let meant = |f: &Fault| {
            !f.kind.is_of_events()
                && (f.endpoint == "*" || f.endpoint == endpoint)
                && f.means(asked)
        };
        match self.strike(meant) {
            Some(fault) => fault.spoil(right),
            None => right(),
        }
    }

    /// What is to become of an event about a session.
    pub fn fate(&self, kind: &str, session: &str) -> Fate {
        match self.strike(|f| f.kind.is_of_events() && (f.means(kind) || f.means(session))) {
            Some(fault) if fault.kind == Kind::Lost => Fate::Lost,
            Some(_) => Fate::Undelivered,
            None => Fate::Usual,
        }
    }

    /// The first fault that is meant, used up by one.
    fn strike(&self, meant: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = lock(&self.0);
        let at = faults.iter().position(meant)?;
        match &mut faults[at].times {
            Some(times) if *times <= 1 => Some(faults.remove(at)),
            times => {
                *times = times.map(|n| n - 1);
                Some(faults[at].clone())
            }
        }
    }
}

impl Kind {
    fn is_of_events(self) -> bool {
        matches!(self, Kind::Lost | Kind::Undelivered)
    }
}

impl Fault {
    fn means(&self, text: &str) -> bool {
        self.only.as_ref().is_none_or(|only| text.contains(only.as_str()))
    }

    fn spoil(&self, right: impl FnOnce() -> Answer) -> Answer {
        let status = self.status.unwrap_or(200);
        let raw =
            |content_type: &str, body: &[u8]| Answer::raw(status, content_type, body.to_vec());
        let right_but = |manner: Manner| Answer { manner, ..right() };
        match self.kind {
            Kind::Status => errors::with_status(self.status.unwrap_or(429)),
            Kind::Garbage => raw("application/json", b"\x00\xff\xfe{]\x1b[31m not JSON"),
            Kind::Html => raw(
                "text/html",
                b"<!doctype html><title>Error</title><h1>Something went wrong</h1>",
            ),
            Kind::Redirect => {
                Answer::raw(302, "text/html", Vec::new()).with("Location", "/elsewhere")
            }
            Kind::Empty => raw("application/json", b""),
            Kind::Shrug => raw("application/json", b"{}"),
            Kind::Stranger => stranger(right_but(Manner::Whole)),
            Kind::Odd
            | Kind::Ahead
            | Kind::Repeat
            | Kind::Skip
            | Kind::Loop
            | Kind::Cut
            | Kind::Short => listed(right_but(Manner::Whole), self.kind),
            Kind::Unlisted => unlisted(right_but(Manner::Whole)),
            Kind::Drip => right_but(Manner::Drip),
            Kind::Half => right_but(Manner::Half),
            Kind::Huge => right_but(Manner::Huge),
            Kind::Hang => right_but(Manner::Hang),
            Kind::Reset => right_but(Manner::Reset),
            Kind::Close | Kind::Lost | Kind::Undelivered => right_but(Manner::Close),
        }
    }
}

/// The same object under another id; a list stays as it is.
fn stranger(right: Answer) -> Answer {
    let mut object: Value = serde_json::from_slice(&right.body).unwrap_or_default();
    let Some(id) = object["id"].as_str().map(|id| format!("{id}x")) else {
        return right;
    };
    object["id"] = id.into();
    Answer::json(right.status, &object)
}

/// The same without rows, at the top or as line items.
fn unlisted(right: Answer) -> Answer {
    let mut answer: Value = serde_json::from_slice(&right.body).unwrap_or_default();
    for list in ["", "/line_items"] {
        if let Some(list) = answer.pointer_mut(list).filter(|list| list["data"].is_array()) {
            list["data"] = json!([]);
            list["has_more"] = json!(false);
        }
    }
    Answer::json(right.status, &answer)
}

/// The same list with other rows, or another word on whether there are more; what is no list stays
/// as it is.
fn listed(right: Answer, how: Kind) -> Answer {
    let mut list: Value = serde_json::from_slice(&right.body).unwrap_or_default();
    let Some(rows) = list.get_mut("data").and_then(Value::as_array_mut).map(std::mem::take) else {
        return right;
    };
    let (all, more) = (rows.len(), list["has_more"] == true);
    let few = |rows: Vec<Value>| rows.into_iter().take(3).collect();
    let (rows, more): (Vec<Value>, bool) = match how {
        Kind::Odd => {
            let odd = [
                json!(null),
                json!({"object": 7}),
                json!({"id": "../../v1/x?y=z", "object": "refund"}),
            ];
            (odd.into_iter().chain(rows).collect(), more)
        }
        Kind::Ahead => {
            let mut rows = rows;
            if let Some(created) = rows.first_mut().and_then(|row| row.get_mut("created")) {
                *created = (created.as_i64().unwrap_or(0) + 10 * 366 * 86_400).into();
            }
            (rows, more)
        }
        Kind::Repeat => (rows.iter().chain(&rows).cloned().collect(), more),
        Kind::Skip => (rows.into_iter().step_by(2).collect(), more),
        Kind::Cut => (few(rows), false),
        Kind::Short => (few(rows), more || all > 3),
        _ => (rows, true),
    };
    list["data"] = rows.into();
    list["has_more"] = more.into();
    Answer::json(right.status, &list)
}

fn everywhere() -> String {
    "*".into()
}
