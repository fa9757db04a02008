//! Who is forgotten: a list in the file, and a copy of it beside the file, so that a backup which is
//! put back forgets again.
//!
//! The list names objects (a session, a payment, an event …) and no person, so nothing of a person
//! stays for the sake of forgetting them, and somebody who buys again is a new buyer.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::place;

/// True when this object is of a person who is forgotten.
pub fn is(c: &Connection, subject: &str) -> Result<bool> {
    c.prepare_cached("SELECT EXISTS(SELECT 1 FROM forgotten WHERE subject = ?1)")
        .and_then(|mut q| q.query_row([subject], |row| row.get(0)))
        .map_err(db::translate)
}

/// True when somebody is forgotten; most shops have forgotten nobody.
pub fn anyone(c: &Connection) -> Result<bool> {
    c.prepare_cached("SELECT EXISTS(SELECT 1 FROM forgotten)")
        .and_then(|mut q| q.query_row([], |row| row.get(0)))
        .map_err(db::translate)
}

/// The body to store with an event: none where it is about somebody who is forgotten. `anyone` is
/// what [`anyone`] says in the same transaction.
pub fn storable<'a>(
    c: &Connection,
    anyone: bool,
    event: &Event,
    payload: &'a str,
) -> Result<Option<&'a str>> {
    let is_theirs = anyone && concerns(c, event, payload)?;
    Ok((!is_theirs).then_some(payload))
}

/// True when an event is about somebody who is forgotten, by itself or by what its body refers to.
fn concerns(c: &Connection, event: &Event, payload: &str) -> Result<bool> {
    let mut subjects = vec![event.id.clone()];
    subjects.extend(event.object_id.clone());
    let body: Value = serde_json::from_str(payload).unwrap_or_default();
    let object = &body["data"]["object"];
    for name in REFERENCES {
        // An object that Stripe expanded has its id inside.
        let id = object[name].as_str().or_else(|| object[name]["id"].as_str());
        subjects.extend(id.map(String::from));
    }
    for subject in subjects {
        if is(c, &subject)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where an object of Stripe's names another one that is on the list.
const REFERENCES: [&str; 6] =
    ["payment_intent", "customer", "invoice", "subscription", "charge", "latest_charge"];

/// Puts objects on the list. The caller has named itself in `actor`.
pub fn add(
    c: &Connection,
    subjects: impl IntoIterator<Item = String>,
    at: Timestamp,
) -> Result<()> {
    let mut insert = c
        .prepare_cached("INSERT INTO forgotten(subject, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .map_err(db::translate)?;
    let at = clock::text(at);
    for subject in subjects {
        insert.execute((subject, &at)).map_err(db::translate)?;
    }
    Ok(())
}

/// The file beside the file.
pub fn beside(path: &Path) -> PathBuf {
    place::beside(path, ".forgotten")
}

/// What the file beside `path` lists; nothing where there is none. `Config` when it cannot be read,
/// because then nobody knows who is to be forgotten again.
pub fn listed_beside(path: &Path) -> Result<Vec<String>> {
    let list = beside(path);
    match std::fs::read_to_string(&list) {
        Ok(text) => Ok(text.lines().filter(|line| !line.is_empty()).map(String::from).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::Config(format!("cannot read {}: {e}", list.display()))),
    }
}

/// Those of `listed` that the file does not list: a backup from before they were forgotten.
pub fn missing(c: &Connection, listed: &[String]) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for subject in listed {
        if !is(c, subject)? {
            missing.push(subject.clone());
        }
    }
    Ok(missing)
}

/// Writes the file's list beside it, one subject a line, together with what was listed there; does
/// nothing when it says so already. On the disk when it returns.
pub fn write_beside(path: &Path, c: &Connection) -> Result<()> {
    let mut subjects = listed_beside(path)?;
    let listed = subjects.len();
    let here: Vec<String> = c
        .prepare("SELECT subject FROM forgotten ORDER BY at, subject")
        .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
        .map_err(db::translate_row)?;
    let known: std::collections::HashSet<String> = subjects.iter().cloned().collect();
    subjects.extend(here.into_iter().filter(|subject| !known.contains(subject)));
    if subjects.len() == listed {
        return Ok(());
    }
    let (list, new) = (beside(path), place::beside(path, ".forgotten.new"));
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o660).open(&new)?;
        file.set_permissions(Permissions::from_mode(0o660))?;
        // What root writes is the file's owner's, as the file is.
        if let (true, Ok(owner)) = (rustix::process::geteuid().is_root(), std::fs::metadata(path)) {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all((subjects.join("\n") + "\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &list)?;
        File::open(place::folder(path))?.sync_all()
    };
    write().map_err(|e| Error::Config(format!("cannot write {}: {e}", list.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_refers_to_somebody_forgotten_is_known_by_what_it_names() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        let body = |object: &str| {
            format!(
                r#"{{"id": "evt_9", "type": "charge.refunded", "data": {{"object": {object}}}}}"#
            )
        };
        let concerns = |object: &str| {
            let body = body(object);
            let event = Event::from_value(&serde_json::from_str(&body).unwrap()).unwrap();
            concerns(&c, &event, &body).unwrap()
        };
        assert!(!concerns(r#"{"id": "cs_1"}"#), "nobody is forgotten");
        c.execute("UPDATE actor SET name = 'fulfilld:forget'", []).unwrap();
        let list = ["cs_1", "pi_1", "cus_1"].map(String::from);
        add(&c, list.clone(), clock::now()).unwrap();
        add(&c, list, clock::now()).unwrap();
        for (object, is) in [
            (r#"{"id": "cs_1"}"#, true),
            (r#"{"id": "ch_1", "payment_intent": "pi_1"}"#, true),
            (r#"{"id": "ch_1", "payment_intent": {"id": "pi_1"}}"#, true),
            (r#"{"id": "in_1", "customer": "cus_1"}"#, true),
            (r#"{"id": "cs_2", "customer": "cus_2", "payment_intent": null}"#, false),
        ] {
            assert_eq!(concerns(object), is, "{object}");
        }
    }

    #[test]
    fn the_list_beside_the_file_grows_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fulfilld.db");
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c.execute("UPDATE actor SET name = 'fulfilld:forget'", []).unwrap();
        write_beside(&path, &c).unwrap();
        assert!(!beside(&path).exists(), "nobody is forgotten");
        std::fs::write(beside(&path), "cs_old\n").unwrap();
        add(&c, ["cs_1".to_owned()], clock::now()).unwrap();
        write_beside(&path, &c).unwrap();
        let listed = listed_beside(&path).unwrap();
        assert_eq!(listed, ["cs_old", "cs_1"]);
        assert_eq!(missing(&c, &listed).unwrap(), ["cs_old"]);
    }
}
