//! Faults on demand: what is to go wrong, where and how often.

use std::collections::HashMap;
use std::sync::Mutex;

use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Manner, Response};
use crate::mutation::mutate;
use crate::refusals;
use crate::sync::lock;

/// One fault, as `POST /_sandbox/faults` takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `*`, or a route's name as `/_sandbox/stats` has it.
    #[serde(rename = "endpoint", default = "everywhere")]
    pub route: String,
    kind: Kind,
    /// Of the answer; by itself 429 with `status` and 200 with the other kinds that have one.
    pub status: Option<u16>,
    /// So often; `None` until all faults are ended.
    times: Option<u32>,
    /// Only what contains this text: a request's path, query or key; an event's type or its
    /// session's id.
    only: Option<String>,
    /// Of a mutation: the seed that repeats it.
    #[serde(default)]
    seed: u64,
    /// Of a mutation: one request in so many, by chance.
    #[serde(default = "one")]
    one_in: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Stripe's own words for the status.
    Status,
    /// No answer; the connection stays open.
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
    /// The connection is closed without an answer.
    Close,
    /// `{}`.
    Shrug,
    /// The right answer under another object's id.
    Stranger,
    /// A list with unreadable rows among the right ones.
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
    /// The right answer with one random change; `/_sandbox/mutations` lists them.
    Mutate,
    /// An event that is never made.
    Lost,
    /// An event that is listed and never delivered.
    Undelivered,
}

/// What goes wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFault {
    /// It is never made.
    Lost,
    /// It is listed and never delivered.
    Undelivered,
}

/// The faults in force, oldest first.
#[derive(Default)]
pub struct Faults {
    in_force: Mutex<Vec<Fault>>,
    /// What was mutated, in order.
    mutations: Mutex<Vec<String>>,
    /// Of each route and seed, how many requests a mutation has seen: with the seed it decides
    /// each, whatever other routes are requested in between.
    seen: Mutex<HashMap<(String, u64), u64>>,
}

impl Faults {
    /// Says how many are in force now.
    pub fn add(&self, fault: Fault) -> usize {
        let mut faults = lock(&self.in_force);
        faults.push(fault);
        faults.len()
    }

    /// Says how many there were.
    pub fn end_all(&self) -> usize {
        lock(&self.in_force).drain(..).count()
    }

    /// The response to a request: the right one, or what the first fault that matches this request
    /// makes of it. `text` is the path with its query, and the key.
    pub fn respond(&self, route: &str, text: &str, right: impl FnOnce() -> Response) -> Response {
        let matching = |f: &Fault| {
            !f.kind.is_of_events() && (f.route == "*" || f.route == route) && f.matches(text)
        };
        match self.take(matching) {
            Some(fault) if fault.kind == Kind::Mutate => self.mutated(&fault, route, text, right()),
            Some(fault) => fault.apply(right),
            None => right(),
        }
    }

    /// All mutations until now, oldest first.
    pub fn mutations(&self) -> Vec<String> {
        lock(&self.mutations).clone()
    }

    fn mutated(&self, fault: &Fault, route: &str, text: &str, right: Response) -> Response {
        let n = {
            let mut seen = lock(&self.seen);
            let n = seen.entry((route.into(), fault.seed)).or_default();
            *n += 1;
            *n
        };
        let own =
            route.bytes().fold(fault.seed, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
        let mut random = Rng::with_seed(own.wrapping_add(n << 40));
        if right.status != 200 || random.u64(..fault.one_in.max(1)) > 0 {
            return right;
        }
        let (body, what) = mutate(&right.body, &mut random);
        let asked = text.split(['?', ' ']).next().unwrap_or_default();
        lock(&self.mutations).push(format!("{asked} {what}"));
        Response { body, ..right }
    }

    /// What is to go wrong with an event about a session.
    pub fn of_event(&self, kind: &str, session: &str) -> Option<EventFault> {
        match self.take(|f| f.kind.is_of_events() && (f.matches(kind) || f.matches(session))) {
            Some(fault) if fault.kind == Kind::Lost => Some(EventFault::Lost),
            Some(_) => Some(EventFault::Undelivered),
            None => None,
        }
    }

    /// The first fault that matches, with one use less left.
    fn take(&self, matching: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = lock(&self.in_force);
        let at = faults.iter().position(matching)?;
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
    fn matches(&self, text: &str) -> bool {
        self.only.as_ref().is_none_or(|only| text.contains(only.as_str()))
    }

    fn apply(&self, right: impl FnOnce() -> Response) -> Response {
        let status = self.status.unwrap_or(200);
        let raw =
            |content_type: &str, body: &[u8]| Response::raw(status, content_type, body.to_vec());
        let right_but = |manner: Manner| Response { manner, ..right() };
        match self.kind {
            Kind::Status => refusals::with_status(self.status.unwrap_or(429)),
            Kind::Garbage => raw("application/json", b"\x00\xff\xfe{]\x1b[31m not JSON"),
            Kind::Html => raw(
                "text/html",
                b"<!doctype html><title>Error</title><h1>Something went wrong</h1>",
            ),
            Kind::Redirect => {
                Response::raw(302, "text/html", Vec::new()).with("Location", "/elsewhere")
            }
            Kind::Empty => raw("application/json", b""),
            Kind::Shrug => raw("application/json", b"{}"),
            Kind::Stranger => with_other_id(right_but(Manner::Whole)),
            Kind::Odd
            | Kind::Ahead
            | Kind::Repeat
            | Kind::Skip
            | Kind::Loop
            | Kind::Cut
            | Kind::Short => with_other_rows(right_but(Manner::Whole), self.kind),
            Kind::Unlisted => without_rows(right_but(Manner::Whole)),
            Kind::Drip => right_but(Manner::Drip),
            Kind::Half => right_but(Manner::Half),
            Kind::Huge => right_but(Manner::Huge),
            Kind::Hang => right_but(Manner::Hang),
            Kind::Reset => right_but(Manner::Reset),
            Kind::Close | Kind::Mutate | Kind::Lost | Kind::Undelivered => right_but(Manner::Close),
        }
    }
}

/// The same object under another id; a list stays as it is.
fn with_other_id(right: Response) -> Response {
    let mut object: Value = serde_json::from_slice(&right.body).unwrap_or_default();
    let Some(id) = object["id"].as_str().map(|id| format!("{id}x")) else {
        return right;
    };
    object["id"] = id.into();
    Response::json(right.status, &object)
}

/// The same without rows, at the top or as line items.
fn without_rows(right: Response) -> Response {
    let mut answer: Value = serde_json::from_slice(&right.body).unwrap_or_default();
    for list in ["", "/line_items"] {
        if let Some(list) = answer.pointer_mut(list).filter(|list| list["data"].is_array()) {
            list["data"] = json!([]);
            list["has_more"] = json!(false);
        }
    }
    Response::json(right.status, &answer)
}

/// The same list with other rows, or another word on whether there are more; what is no list stays
/// as it is.
fn with_other_rows(right: Response, how: Kind) -> Response {
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
    Response::json(right.status, &list)
}

fn one() -> u64 {
    1
}

fn everywhere() -> String {
    "*".into()
}
