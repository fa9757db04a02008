//! The SQL of `events`: one row per Stripe event, whatever happens around it. `claims.rs` takes and
//! finishes them.

use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::{Error, Result};
use crate::event::{Event, Shape};
use crate::forgotten;

/// How an event came here: `events.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Stripe posted it.
    Webhook,
    /// It never arrived, and was found by looking for it.
    Backfill,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Source::Webhook => "webhook",
            Source::Backfill => "backfill",
        }
    }
}

/// The next number of the file's sequence, for a request that is made after this transaction.
pub fn next_number(c: &Connection) -> Result<i64> {
    c.prepare_cached("UPDATE sequence SET n = n + 1 RETURNING n")
        .and_then(|mut next| next.query_row([], |row| row.get(0)))
        .map_err(db::translate)
}

/// Inserts an event that is due at `due`. True when it is new; the same id again is a success that
/// changes nothing (the schema sees to it). The body of an event about somebody who is forgotten is
/// not stored.
pub fn insert(
    c: &Connection,
    event: &Event,
    payload: &str,
    source: Source,
    now: Timestamp,
    due: Timestamp,
) -> Result<bool> {
    let payload = forgotten::storable(c, forgotten::anyone(c)?, event, payload)?;
    insert_at(c, next_number(c)?, event, payload, source, now, due)
}

/// The same with a place in the sequence that was taken in this transaction, and a body, where it is
/// to be stored. Events that are stored together may share the place: no request was made between
/// them.
pub fn insert_at(
    c: &Connection,
    seq: i64,
    event: &Event,
    payload: Option<&str>,
    source: Source,
    now: Timestamp,
    due: Timestamp,
) -> Result<bool> {
    c.prepare_cached(
        "INSERT INTO events(id, type, object_id, created, livemode, api_version, account, context, shape,
           snapshot_event, payload, source, received_at, seq, next_attempt_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .and_then(|mut insert| {
        insert.execute((
            &event.id,
            &event.kind,
            &event.object_id,
            event.created.map(clock::text),
            event.livemode,
            &event.api_version,
            &event.account,
            &event.context,
            event.shape.as_str(),
            &event.snapshot_event,
            payload,
            source.as_str(),
            clock::text(now),
            seq,
            clock::text(due),
        ))
    })
    .map(|rows| rows == 1)
    .map_err(db::translate)
}

/// True when Stripe's event is here, in either of its two shapes: by its id, or as the twin that a
/// thin one names.
pub fn is_here(c: &Connection, event: &Event) -> Result<bool> {
    c.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM events WHERE id = ?1) OR EXISTS(SELECT 1 FROM events WHERE snapshot_event = ?1)",
    )
    .and_then(|mut q| q.query_row([&event.id], |row| row.get(0)))
    .map_err(db::translate)
}

/// Thin events that name no twin and may be this snapshot's, by what they are about and when.
/// (Parameters: the object, the type, the moments between which it was made.)
const NAMELESS: &str =
    "SELECT id FROM events WHERE object_id = ?1 AND shape = 'thin' AND snapshot_event IS NULL
    AND type = 'v1.' || ?2 AND created BETWEEN ?3 AND ?4";

fn nameless(event: &Event) -> (&Option<String>, &str, Option<String>, Option<String>) {
    let created = |away_s: i64| {
        event.created.and_then(|at| clock::from_unix(at.as_second() + away_s)).map(clock::text)
    };
    (&event.object_id, event.name(), created(-2), created(2))
}

/// True when there is such a thin event; for a connection that only reads.
pub fn may_be_the_twin_of_one(c: &Connection, event: &Event) -> Result<bool> {
    c.prepare_cached(&format!("SELECT EXISTS({NAMELESS})"))
        .and_then(|mut q| q.query_row(nameless(event), |row| row.get(0)))
        .map_err(db::translate)
}

/// Lets the first of them name this snapshot as its twin. False when there was none left.
pub fn name_the_twin(c: &Connection, event: &Event) -> Result<bool> {
    let (object, name, from, to) = nameless(event);
    c.prepare_cached(&format!(
        "UPDATE events SET snapshot_event = ?5 WHERE id = ({NAMELESS} ORDER BY created, seq LIMIT 1)"
    ))
    .and_then(|mut update| update.execute((object, name, from, to, &event.id)))
    .map(|n| n == 1)
    .map_err(db::translate)
}

/// Pending events about the object of the first parameter, by the index `events_object`. The terms
/// stand in the order in which the index has them, so that the events themselves are read last.
/// Without the plus SQLite puts the parameter in place of `object_id` in the others, which then say
/// nothing, and goes through every pending event.
pub const ABOUT: &str = "unicode(substr(object_id, -1)) % 8 = unicode(substr(?1, -1)) % 8
    AND substr(object_id, -6) = substr(?1, -6) AND +object_id = ?1 AND state = 'pending'";

/// True when an event about this object has not been concluded yet.
pub fn is_awaited(c: &Connection, object: &str) -> Result<bool> {
    c.prepare_cached(&format!("SELECT EXISTS(SELECT 1 FROM events WHERE {ABOUT})"))
        .and_then(|mut q| q.query_row([object], |row| row.get(0)))
        .map_err(db::translate)
}

/// A look at an object that we request ourselves, because Stripe made no event of what became of
/// it. It is a row of `events` without a payload: one for each object, whatever was found out about
/// it and however often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The event type whose handler requests such objects.
    pub kind: &'static str,
    /// The object to look at.
    pub object_id: String,
    /// When the object was made, or became what it is; the older one is looked at first.
    pub created: Option<Timestamp>,
}

/// What the id of a lookup begins with, and how long an event's id may be.
const OWN: &str = "fulfilld_";
const ID_MAX: usize = 255;

impl Lookup {
    /// `events.id`.
    pub fn id(&self) -> String {
        let id = format!("{OWN}{}", self.object_id);
        if id.len() <= ID_MAX {
            return id;
        }
        let digest = Sha256::digest(&self.object_id);
        digest.iter().fold(OWN.into(), |id, byte| format!("{id}{byte:02x}"))
    }

    /// Makes it due, for the first time or once more. False when it is pending anyway.
    pub fn upsert(&self, c: &Connection, now: Timestamp) -> Result<bool> {
        let due = self.created.unwrap_or(now).min(now);
        let seq = next_number(c)?;
        let is_new = c
            .prepare_cached(
                "INSERT INTO events(id, type, object_id, created, shape, source, received_at, seq, next_attempt_at)
                 VALUES (?1, ?2, ?3, ?4, 'snapshot', ?5, ?6, ?7, ?8)",
            )
            .and_then(|mut insert| {
                insert.execute((
                    self.id(),
                    self.kind,
                    &self.object_id,
                    self.created.map(clock::text),
                    Source::Backfill.as_str(),
                    clock::text(now),
                    seq,
                    clock::text(due),
                ))
            })
            .map_err(db::translate)?
            == 1;
        Ok(is_new || make_pending(c, &self.id())?)
    }
}

/// Makes an event pending that was concluded; false when it is pending anyway, or there is none.
fn make_pending(c: &Connection, id: &str) -> Result<bool> {
    c.prepare_cached("UPDATE events SET state = 'pending' WHERE id = ?1 AND state <> 'pending'")
        .and_then(|mut update| update.execute([id]))
        .map(|n| n == 1)
        .map_err(db::translate)
}

/// The columns that [`event`] reads, and how many they are.
pub const EVENT: &str =
    "id, type, object_id, created, livemode, api_version, account, context, shape, snapshot_event";
/// The number of columns in [`EVENT`].
pub const EVENT_COLUMNS: usize = 10;

/// The envelope as it was read at the door. The columns are all that is ever needed of it; the
/// payload is for people.
pub fn event(row: &Row) -> rusqlite::Result<Event> {
    let (created, shape): (Option<String>, String) = (row.get(3)?, row.get(8)?);
    Ok(Event {
        id: row.get(0)?,
        kind: row.get(1)?,
        object_id: row.get(2)?,
        created: created.and_then(|at| at.parse().ok()),
        livemode: row.get(4)?,
        api_version: row.get(5)?,
        account: row.get(6)?,
        context: row.get(7)?,
        shape: if shape == Shape::Thin.as_str() { Shape::Thin } else { Shape::Snapshot },
        snapshot_event: row.get(9)?,
    })
}

/// Makes an event due again, whatever its state. False when there is no such event.
pub fn replay(c: &Connection, id: &str) -> Result<bool> {
    c.execute("UPDATE events SET state = 'pending' WHERE id = ?1", [id])
        .map(|n| n == 1)
        .map_err(db::translate)
}

/// True while an event is pending, due or not.
pub fn is_any_pending(c: &Connection) -> Result<bool> {
    c.prepare_cached("SELECT EXISTS(SELECT 1 FROM events WHERE state = 'pending')")
        .and_then(|mut q| q.query_row([], |row| row.get(0)))
        .map_err(db::translate)
}

/// Pending events and the age of the oldest in seconds, for `/readyz` and `/metrics`.
pub fn backlog(c: &Connection, now: Timestamp) -> Result<(i64, i64)> {
    let (count, oldest): (i64, Option<String>) = c
        .prepare_cached(
            "SELECT count(*), min(received_at) FROM events INDEXED BY events_pending WHERE state = 'pending'",
        )
        .and_then(|mut q| q.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(db::translate)?;
    let age = oldest
        .and_then(|at| at.parse::<Timestamp>().ok())
        .map_or(0, |at| (now.as_second() - at.as_second()).max(0));
    Ok((count, age))
}

/// In the name of `author`: sets `actor` for the work and sets it back, so that history knows who
/// wrote. The savepoint around the caller undoes both together.
pub fn as_author<T>(
    c: &Connection,
    author: &str,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    let name = |name: &str| {
        c.prepare_cached("UPDATE actor SET name = ?1")
            .and_then(|mut u| u.execute([name]))
            .map_err(db::translate)
    };
    if name(author)? != 1 {
        return Err(Error::Corrupt(
            "the table actor has lost its row; put a backup in its place: fulfilld restore BACKUP"
                .into(),
        ));
    }
    let value = work(c)?;
    name("operator")?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_object_is_found_by_the_end_of_its_id() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        let at = clock::now();
        for object in ["pi_1abcdef", "pi_2abcdef", "cs_1", "1"] {
            let json = serde_json::json!({"id": format!("evt_{object}"), "data": {"object": {"id": object}}});
            let event = Event::from_value(&json).unwrap();
            assert_eq!(insert(&c, &event, "{}", Source::Webhook, at, at), Ok(true));
            assert_eq!(is_awaited(&c, event.object_id.as_deref().unwrap_or_default()), Ok(true));
        }
        for object in ["pi_3abcdef", "abcdef", "cs", ""] {
            assert_eq!(is_awaited(&c, object), Ok(false), "{object}");
        }
        let plan = format!("EXPLAIN QUERY PLAN SELECT id FROM events WHERE {ABOUT} ORDER BY seq");
        let step: String = c.query_row(&plan, ["cs_1"], |row| row.get(3)).unwrap();
        assert_eq!(step, "SEARCH events USING INDEX events_object (<expr>=?)");
    }

    #[test]
    fn a_body_is_stored_unless_it_is_about_somebody_who_is_forgotten() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
        let now = clock::now();
        forgotten::add(&c, ["cs_2".to_string()], now).unwrap();
        for (id, object) in [("evt_1", "cs_1"), ("evt_2", "cs_2")] {
            let json = serde_json::json!({"id": id, "data": {"object": {"id": object}}});
            let event = Event::from_value(&json).unwrap();
            assert!(insert(&c, &event, &json.to_string(), Source::Webhook, now, now).unwrap());
            assert!(!insert(&c, &event, &json.to_string(), Source::Webhook, now, now).unwrap());
        }
        let stored = "SELECT group_concat(id || ' ' || (payload IS NOT NULL), ', ')
            FROM (SELECT * FROM events ORDER BY id)";
        let stored: String = c.query_row(stored, [], |row| row.get(0)).unwrap();
        assert_eq!(stored, "evt_1 1, evt_2 0");
    }

    /// Stripe writes the two shapes of one event within a second or so.
    #[test]
    fn a_snapshot_is_the_twin_of_a_thin_event_of_its_object_and_its_moment() {
        let noon = 1_795_489_500;
        let event = |shape: Shape, id: &str, at: i64| Event {
            kind: match shape {
                Shape::Thin => "v1.checkout.session.completed".into(),
                Shape::Snapshot => "checkout.session.completed".into(),
            },
            object_id: Some("cs_1".into()),
            created: clock::from_unix(at),
            shape,
            ..Event::from_value(&serde_json::json!({"id": id})).unwrap()
        };
        for (away_s, is_twin) in [(-3, false), (-2, true), (0, true), (2, true), (3, false)] {
            let c = Connection::open_in_memory().unwrap();
            c.execute_batch(db::SCHEMA).unwrap();
            c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
            let now = clock::now();
            let thin = event(Shape::Thin, "evt_thin", noon);
            assert!(insert(&c, &thin, "{}", Source::Webhook, now, now).unwrap());
            let snapshot = event(Shape::Snapshot, "evt_snapshot", noon + away_s);
            assert_eq!(may_be_the_twin_of_one(&c, &snapshot), Ok(is_twin), "{away_s} s");
            assert_eq!(name_the_twin(&c, &snapshot), Ok(is_twin), "{away_s} s");
            assert_eq!(is_here(&c, &snapshot), Ok(is_twin), "{away_s} s");
            assert_eq!(name_the_twin(&c, &snapshot), Ok(false), "it has one twin");
        }
    }

    #[test]
    fn the_author_is_named_for_the_work_alone_and_nothing_is_written_without_one() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        let named = |c: &Connection| {
            c.query_row("SELECT name FROM actor", [], |row| row.get::<_, String>(0))
                .map_err(db::translate)
        };
        assert_eq!(as_author(&c, "stripe:evt_1", named).unwrap(), "stripe:evt_1");
        assert_eq!(named(&c).unwrap(), "operator");
        let nothing = Connection::open_in_memory().unwrap();
        nothing.execute_batch("CREATE TABLE actor(name TEXT)").unwrap();
        let written = as_author(&nothing, "stripe:evt_1", |_| Ok(()));
        assert!(matches!(written, Err(Error::Corrupt(_))), "{written:?}");
    }

    #[test]
    fn an_event_is_read_as_it_was_stored_whatever_its_shape() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        let now = clock::now();
        for (id, shape) in [("evt_1", Shape::Thin), ("evt_2", Shape::Snapshot)] {
            let json = serde_json::json!({"id": id, "type": "review.opened", "livemode": true});
            let stored = Event { shape, ..Event::from_value(&json).unwrap() };
            assert!(insert(&c, &stored, "{}", Source::Webhook, now, now).unwrap());
            let sql = format!("SELECT {EVENT} FROM events WHERE id = ?1");
            assert_eq!(c.query_row(&sql, [id], event), Ok(stored));
        }
    }

    #[test]
    fn the_backlog_is_what_is_pending_and_as_old_as_the_oldest_of_it() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
        let at = |away_s: i64| clock::from_unix(1_795_489_500 + away_s).unwrap();
        let now = at(0);
        let told = || (backlog(&c, now).unwrap(), is_any_pending(&c).unwrap());
        assert_eq!(told(), ((0, 0), false));
        for (id, away_s) in [("evt_1", -100), ("evt_2", -30), ("evt_3", 20)] {
            let event = Event::from_value(&serde_json::json!({"id": id})).unwrap();
            assert!(insert(&c, &event, "{}", Source::Webhook, at(away_s), at(away_s)).unwrap());
        }
        assert_eq!(told(), ((3, 100), true));
        let done = |id| c.execute("UPDATE events SET state = 'done' WHERE id = ?1", [id]).unwrap();
        done("evt_1");
        assert_eq!(told(), ((2, 30), true));
        done("evt_2");
        assert_eq!(told(), ((1, 0), true), "a clock that stepped back makes none younger than new");
        done("evt_3");
        assert_eq!(told(), ((0, 0), false));
    }

    #[test]
    fn one_object_has_one_lookup_however_often_it_is_needed() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'fulfilld:test'", []).unwrap();
        let now = clock::from_unix(1_795_489_500).unwrap();
        let lookup = |kind, object: &str| Lookup { kind, object_id: object.into(), created: None };
        let dispute = lookup("charge.dispute.updated", "dp_1");
        assert!(dispute.upsert(&c, now).unwrap());
        assert!(!dispute.upsert(&c, now).unwrap(), "it is pending");
        c.execute("UPDATE events SET state = 'done'", []).unwrap();
        assert!(dispute.upsert(&c, now).unwrap(), "it is pending again");
        let row = "SELECT id || ' ' || type || ' ' || object_id || ' ' || state || ' ' \
                   || (payload IS NULL) FROM events";
        let row: String = c.query_row(row, [], |row| row.get(0)).unwrap();
        assert_eq!(row, "fulfilld_dp_1 charge.dispute.updated dp_1 pending 1");
        let long = lookup("charge.dispute.updated", &"d".repeat(255));
        assert!(long.id().starts_with(OWN) && long.id().len() <= ID_MAX);
        assert!(long.upsert(&c, now).unwrap());
    }
}
