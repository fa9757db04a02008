//! Catching up: Stripe's events since the newest one seen, and which of them never arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;

use super::compare::AHEAD_MAX;
use super::cursors::{self, OVERLAP_EVENTS};
use super::{AUTHOR, Backfill, add};
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{self, Reader};
use crate::error::Result;
use crate::event::Event;
use crate::handlers;
use crate::inbox::{self, Source};
use crate::stripe::Listed;

/// How long Stripe keeps events.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// An event that has not arrived this long after Stripe made it is missed, sooner where looks are
/// more frequent; until then it is left to the webhook.
const MISSED_AFTER: Duration = Duration::from_secs(60);

/// Stripe says when an event was made in whole seconds.
const ITS_SECOND: Duration = Duration::from_secs(1);

impl Backfill {
    /// Takes in the events that never arrived.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let now = self.context.stripe.skew().now();
        let reader = self.reader.clone();
        let since = reader
            .look(|c| cursors::since(c, "events", OVERLAP_EVENTS, now))?
            .max(now - EVENTS_KEPT);
        let began = now - clock::since_boot().saturating_sub(self.began);
        let missed_before = now - MISSED_AFTER.min(self.how_often.every / 2) - ITS_SECOND;
        let (mut newest, mut left) = (None, None);
        let mut missed: BTreeMap<String, usize> = BTreeMap::new();
        let mut found = 0;
        let (mut unreadable, context) = (0, &self.context);
        unreadable += context.stripe.list(Listed::Events(&handlers::LISTED), since, |page| {
            let mut new = Vec::new();
            for value in page {
                let Ok(event) = Event::from_value(&value) else {
                    unreadable += 1;
                    continue;
                };
                let made = event.created.filter(|made| *made <= now + AHEAD_MAX);
                newest = newest.max(made);
                if reader.look(|c| inbox::is_here(c, &event))?
                    || is_the_twin_of_one(context, &reader, &event)?
                {
                    continue;
                }
                // The endpoint need not send these, so they are not missed; they matter where an
                // order waits for its money.
                if handlers::is_about_awaited_money(event.name()) {
                    if reader.look(|c| awaits_money(c, event.object_id.as_deref()))? {
                        new.push((event, value.to_string()));
                    }
                    continue;
                }
                if let Some(made) = made.filter(|made| *made > began) {
                    // It may still be on its way.
                    if made > missed_before {
                        left = Some(left.map_or(made, |left: Timestamp| left.min(made)));
                        continue;
                    }
                    *missed.entry(event.name().to_string()).or_default() += 1;
                }
                new.push((event, value.to_string()));
            }
            found += add(context, new, insert_missed)?;
            Ok(())
        })?;
        if found > 0 {
            log::info!("{found} events had not arrived; fetched them from Stripe");
            context.metrics.backfill_found("event", found);
        }
        cursors::advance(
            context,
            "events",
            newest.min(left.map_or(newest, |left| Some(left - ITS_SECOND))),
            now,
        )?;
        self.note_unreadable("events", unreadable);
        self.note_silence(&missed)
    }
}

/// True for the payment of an order that is not paid yet.
fn awaits_money(c: &Connection, payment_intent: Option<&str>) -> Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM orders WHERE payment_intent_id = ?1 AND payment_status = 'unpaid')";
    c.prepare_cached(sql)
        .and_then(|mut q| q.query_row([payment_intent], |row| row.get(0)))
        .map_err(db::translate)
}

/// A thin event that names no twin stands for one snapshot: the first that is about the same
/// object, of the same type, made at the same time. From then on it names that one, so that the
/// next is reported on its own.
fn is_the_twin_of_one(context: &Context, reader: &Reader, event: &Event) -> Result<bool> {
    if !reader.look(|c| inbox::may_be_the_twin_of_one(c, event))? {
        return Ok(false);
    }
    let snapshot = event.clone();
    context
        .writer
        .write(move |c| inbox::as_author(c, AUTHOR, |c| inbox::name_the_twin(c, &snapshot)))
}

/// An event that Stripe made and that never arrived, with its body; the oldest is due first.
fn insert_missed(c: &Connection, missed: &(Event, String), now: Timestamp) -> Result<bool> {
    let (event, payload) = missed;
    let due = event.created.unwrap_or(now).min(now);
    inbox::insert(c, event, payload, Source::Backfill, now, due)
}
