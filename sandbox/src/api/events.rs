//! Events, as the API lists them: snapshots only.

use std::sync::Mutex;

use super::query::{Query, Reply};
use crate::refusals;
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::{Account, Event, Found};

/// Types of event in one request.
const TYPES_MAX: usize = 20;

/// `GET /v1/events`: newest first, one page.
pub fn events(account: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&[
        "type",
        "types[]",
        "created",
        "delivery_success",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let created = query.created()?;
    let types: Vec<&str> = query.all("types[]").chain(query.one("type")).collect();
    if types.len() > TYPES_MAX || query.one("type").is_some() && types.len() > 1 {
        let message = "You may give one type, or up to 20 types[], not both.";
        return Err(refusals::invalid("parameter_invalid", message, "types"));
    }
    let is = |kind: &str, wanted: &str| match wanted.split_once('*') {
        Some((before, after)) => kind.starts_with(before) && kind.ends_with(after),
        None => kind == wanted,
    };
    let success = match query.one("delivery_success") {
        None => None,
        Some(word) => Some(word.parse::<bool>().map_err(|_| {
            refusals::invalid(
                "parameter_invalid",
                &format!("Invalid boolean: {word}"),
                "delivery_success",
            )
        })?),
    };
    let account = lock(account);
    let newest = |at: usize| account.events.len() - 1 - at;
    let place = |id: &str| match account.find(id) {
        Some(Found::Event(at)) if !account.events[at].is_thin() => Some(newest(at)),
        _ => None,
    };
    let wanted = |at: usize| {
        let event = &account.events[newest(at)];
        let answered = event.delivered > 0 || !event.wanted;
        !event.is_thin()
            && created(event.at.as_second())
            && success.is_none_or(|success| success == answered)
            && (types.is_empty() || types.iter().any(|wanted| is(&event.kind(), wanted)))
    };
    let (rows, has_more) = query.page(account.events.len(), place, wanted)?;
    let rows: Vec<Event> = rows.into_iter().map(|at| account.events[newest(at)].clone()).collect();
    drop(account);
    Ok(list("/v1/events", rows.iter().map(Event::object).collect(), has_more))
}

/// `GET /v1/events/ID`; 404 for an id that is not there.
pub fn event(account: &Mutex<Account>, query: &Query, id: &str) -> Reply {
    query.knows(&[])?;
    let found = lock(account).event(id).filter(|event| !event.is_thin()).cloned();
    found.map(|event| event.object()).ok_or_else(|| refusals::missing("event", id))
}
