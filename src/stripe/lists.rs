//! Lists of Stripe's: page by page to their end, and nothing that is not a list passes for one.

use std::collections::HashSet;

use serde_json::Value;

use super::transport::{AS_IT_IS, Get};
use super::{PAGE, Stripe};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::event::is_object_id;

/// Pages of one list, at most; Stripe permits a hundred lines in a session, this a hundred times as
/// many.
const PAGES_MAX: usize = 100;

/// What Stripe lists, newest first, and by when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Events of these types, at most 20; Stripe keeps them for 30 days.
    Events(&'static [&'static str]),
    /// Completed Checkout Sessions.
    Sessions,
    Refunds,
    Disputes,
    Reviews,
    FraudWarnings,
}

impl Listed {
    /// The endpoint's name, its path, and the parameters besides the time.
    fn request(self) -> (&'static str, &'static str, Vec<(&'static str, String)>) {
        match self {
            Listed::Events(types) => (
                "events",
                "/v1/events",
                types.iter().map(|name| ("types[]", name.to_string())).collect(),
            ),
            Listed::Sessions => (
                "checkout_sessions",
                "/v1/checkout/sessions",
                vec![("status", "complete".to_string())],
            ),
            Listed::Refunds => ("refunds", "/v1/refunds", Vec::new()),
            Listed::Disputes => ("disputes", "/v1/disputes", Vec::new()),
            Listed::Reviews => ("reviews", "/v1/reviews", Vec::new()),
            Listed::FraudWarnings => {
                ("early_fraud_warnings", "/v1/radar/early_fraud_warnings", Vec::new())
            }
        }
    }

    /// What Stripe calls one row: its `object`.
    fn object(self) -> &'static str {
        match self {
            Listed::Events(_) => "event",
            Listed::Sessions => "checkout.session",
            Listed::Refunds => "refund",
            Listed::Disputes => "dispute",
            Listed::Reviews => "review",
            Listed::FraudWarnings => "radar.early_fraud_warning",
        }
    }
}

impl Stripe {
    /// Goes through a list from the newest to the oldest that was made at `since` or later, page by
    /// page; `look` takes each page. Only when this returns well was all of it seen: a list that
    /// breaks off, or leads back to where it was, is `Temporary`. Each row that is handed over is
    /// of the list's kind and has an id that may stand in a path; a row that is not holds up no
    /// other, it is left out. Returns how many were.
    pub fn list(
        &self,
        listed: Listed,
        since: Timestamp,
        mut look: impl FnMut(Vec<Value>) -> Result<()>,
    ) -> Result<usize> {
        let (endpoint, path, mut query) = listed.request();
        query.push(("created[gte]", since.as_second().to_string()));
        let mut ends = HashSet::new();
        let mut next = query.clone();
        let mut unreadable = 0;
        loop {
            let get = Get { endpoint, path, query: &next, expansions: AS_IT_IS };
            let (mut rows, more) = page_of(self.transport.page(get)?)?;
            let all = rows.len();
            rows.retain(|row| is_row(row, listed.object()));
            unreadable += all - rows.len();
            let last =
                rows.last().and_then(|row| row.get("id")).and_then(Value::as_str).map(String::from);
            let goes_on = last.filter(|last| ends.insert(last.clone()));
            // What was made earlier is somebody else's to take in, also when a list shows more than
            // was requested.
            rows.retain(|row| {
                row["created"].as_i64().is_none_or(|created| created >= since.as_second())
            });
            look(rows)?;
            match (more, goes_on) {
                (false, _) => return Ok(unreadable),
                (true, Some(last)) => {
                    next = query.iter().cloned().chain([("starting_after", last)]).collect()
                }
                (true, None) => {
                    return Err(Error::Temporary(format!(
                        "Stripe's list {path} leads back to where it was"
                    )));
                }
            }
        }
    }

    /// Follows a list of such objects from its first page to its end. One row that is none makes
    /// all of it `Temporary`.
    pub(super) fn rest_of(&self, get: Get, object: &str, first: Value) -> Result<Vec<Value>> {
        let path = get.path;
        let (mut rows, mut more) = page_of(first)?;
        for _ in 0..PAGES_MAX {
            if !rows.iter().all(|row| is_row(row, object)) {
                return Err(Error::Temporary(format!(
                    "Stripe's list {path} has a row that is not of the kind {object}"
                )));
            }
            if !more {
                return Ok(rows);
            }
            let mut query = get.query.to_vec();
            if let Some(last) = rows.last().and_then(|l| l.get("id")).and_then(Value::as_str) {
                query.push(("starting_after", last.to_string()));
            }
            let (next, has_more) = page_of(self.transport.page(Get { query: &query, ..get })?)?;
            // A page that brings nothing new would be requested for ever.
            if has_more && next.is_empty() {
                return Err(Error::Temporary(format!(
                    "Stripe's list {path} says there is more and sends none"
                )));
            }
            rows.extend(next);
            more = has_more;
        }
        Err(Error::Permanent(format!(
            "Stripe's list {path} has more than {} rows",
            PAGE * PAGES_MAX
        )))
    }
}

/// True for a row of a list that is such an object and says which.
pub fn is_row(row: &Value, object: &str) -> bool {
    row["object"] == object && row["id"].as_str().is_some_and(is_object_id)
}

/// A list's rows and whether there are more; a list that is not one is tried again later, never
/// taken for an empty one.
pub fn page_of(mut list: Value) -> Result<(Vec<Value>, bool)> {
    let is_list = list["object"] == "list";
    match (list.get_mut("data").map(Value::take), list.get("has_more").and_then(Value::as_bool)) {
        (Some(Value::Array(rows)), Some(more)) if is_list => Ok((rows, more)),
        _ => Err(Error::Temporary(
            "Stripe's answer is not a list, or has no data or no has_more".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_one_is_never_taken_for_an_empty_one() {
        assert!(
            page_of(serde_json::json!({"object": "list", "data": [], "has_more": false})).is_ok()
        );
        for odd in [
            serde_json::json!({}),
            serde_json::json!({"object": "list", "data": []}),
            serde_json::json!({"object": "list", "data": {}, "has_more": false}),
            serde_json::json!({"object": "dispute", "data": [], "has_more": false}),
            Value::Null,
        ] {
            assert!(page_of(odd).is_err());
        }
    }
}
