//! Upgrades the file of an older version to today's schema: tables by steps, the rest by its text.
//!
//! **Only tables migrate.** Views, triggers and indexes hold no data: where a file's differ from
//! today's text, by a comma or because somebody dropped one, they are dropped and made again. So a
//! change of theirs needs no step, only its text in `schema.sql` or `schema/*.sql`; a name that is given
//! up goes into [`GIVEN_UP`].
//!
//! **To change a table** (a column, a CHECK, a UNIQUE, a row that every file has from its start):
//! 1. Change the table in `schema.sql`. A new column stands after the last one.
//! 2. Add one to `db::SCHEMA_VERSION`, and a [`Step`] at the end of [`STEPS`] that does the same to
//!    a file of the version before; [`SHAPED`] follows. `ALTER TABLE … ADD COLUMN` is enough for a
//!    column; for everything else there is [`rebuild`]. A step carries its own text and never uses
//!    today's: it is right for good, and is not changed after a release. No trigger runs meanwhile.
//! 3. Run `cargo test --test it upgrades`. It takes the dump of every released version
//!    (`tests/databases/`) through all steps, kills the process on the way, and compares the result
//!    with a new file.
//! 4. With a release, add its dump: `sqlite3 FILE .dump`, with the two PRAGMAs in front.
//!
//! The steps run in one transaction together with what is made again, after a verified backup
//! (`FILE.before-schema-N`), under the lock of whoever serves the file. A process that dies in the
//! middle leaves the file as it was.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::db;
use crate::error::{Error, Result};
use crate::place::{beside, folder};
use crate::sabotage;
use crate::shape::{self, Object, name};

/// Upgrades the tables from one version to the next.
struct Step {
    /// The `user_version` that it reaches, from the one before.
    to: i64,
    /// What it does, for the log.
    what: &'static str,
    run: fn(&Connection) -> Result<()>,
}

/// All of them, oldest first; the last reaches `db::SCHEMA_VERSION`.
const STEPS: &[Step] = &[
    Step {
        to: 2,
        what: "orders may be added by hand, and line items have a weight",
        run: |c| {
            let orders = include_str!("../schema/steps/2_orders.sql");
            rebuild(c, "orders", orders, &[("origin", "NULL")])?;
            c.execute_batch(
                "ALTER TABLE line_items ADD COLUMN weight_g INTEGER
                 CONSTRAINT \"a weight is between 1 and 1000000 grams\" CHECK(weight_g BETWEEN 1 AND 1000000)",
            )
            .map_err(db::translate)
        },
    },
    Step {
        to: 3,
        what: "people can be forgotten; what was dismissed stands on facts, not on how they are \
               worded; unbalanced orders are known",
        run: |c| {
            let columns = [
                ("since", "substr(facts, 1, instr(facts, ' ') - 1)"),
                ("what", "substr(facts, instr(facts, ' ') + 1)"),
                ("facts", include_str!("../schema/steps/3_facts.sql")),
            ];
            rebuild(c, "dismissals", include_str!("../schema/steps/3_dismissals.sql"), &columns)?;
            // A person may be one of the page's.
            rebuild(c, "actor", include_str!("../schema/steps/3_actor.sql"), &[])?;
            reword(
                c,
                "events",
                "CHECK(state IN('pending', 'done', 'ignored', 'failed'))",
                "CHECK(state IN('pending', 'done') OR state IN('ignored', 'failed'))",
            )?;
            for sql in [
                "ALTER TABLE alarms ADD COLUMN about TEXT NOT NULL DEFAULT ''",
                "ALTER TABLE events ADD COLUMN reason_code TEXT",
                "ALTER TABLE orders ADD COLUMN amount_awaited INTEGER
                 CHECK(amount_awaited BETWEEN 0 AND 1000000000000)",
                "ALTER TABLE orders ADD COLUMN amount_credited INTEGER NOT NULL DEFAULT 0
                 CHECK(amount_credited BETWEEN -1000000000000 AND 1000000000000)",
                "ALTER TABLE disputes ADD COLUMN settled_currency TEXT",
                "ALTER TABLE disputes ADD COLUMN settled_amount INTEGER
                 CHECK(settled_amount BETWEEN 0 AND 1000000000000)",
                "ALTER TABLE disputes ADD COLUMN settled_lost INTEGER
                 CHECK(settled_lost BETWEEN 0 AND 1000000000000)",
                include_str!("../schema/steps/3_unbalanced_orders.sql"),
                include_str!("../schema/steps/3_forgotten.sql"),
                include_str!("../schema/steps/3_hook_tests.sql"),
                include_str!("../schema/steps/3_search.sql"),
            ] {
                c.execute_batch(sql).map_err(db::translate)?;
            }
            Ok(())
        },
    },
];

/// The last version that gave a table another shape: a file that has today's is of no version before,
/// whatever its number says.
const SHAPED: i64 = 3;

/// A step that tests plant with `FULFILLD_SABOTAGE=schema_of_tomorrow`: it writes every row of the
/// two longest tables anew.
const TOMORROW: Step = Step {
    to: db::SCHEMA_VERSION + 1,
    what: "every order and its history is written anew",
    run: |c| {
        for table in ["orders", "order_history"] {
            let text = shape::text(c, table).map_err(db::translate)?;
            rebuild(c, table, &text, &[])?;
        }
        Ok(())
    },
};

/// Views, triggers and indexes that an older version had and this one has not: a file loses them.
const GIVEN_UP: &[&str] = &[
    "parcel_names",
    "news",
    "news_insert",
    "refunds_news",
    "refunds_news_later",
    "disputes_news",
    "ship_wanted",
    "dismissals_told",
    "outbox_told",
    "told_beside",
];

/// Opens the file for the daemon as [`db::open_for_serving`] does, and upgrades an older one to
/// today's schema. The caller holds the lock. `Config` when that cannot be done, `Full` without
/// room for the backup, `Temporary` while somebody else is writing; the file is as it was then.
pub fn open_for_serving(path: &Path, livemode: bool) -> Result<Connection> {
    let mut connection = db::open_for_serving(path, livemode)?;
    upgrade(&mut connection, Some(path))?;
    Ok(connection)
}

/// Upgrades the file to today's schema where needed. Before a table changes, a verified backup is
/// made beside the file at `path`; without a path the caller has one.
pub fn upgrade(c: &mut Connection, path: Option<&Path>) -> Result<()> {
    if version(c)? == db::schema_version() && is_todays_text(c)? {
        return Ok(());
    }
    let fresh = shape::fresh(db::SCHEMA).map_err(db::translate)?;
    let is_today = |c: &Connection| -> Result<bool> {
        Ok(version(c)? == db::schema_version() && differing(c, &fresh)?.is_empty())
    };
    if is_today(c)? {
        return Ok(());
    }
    let from = version(c)?;
    if from < SHAPED && db::has_todays_tables(c).map_err(db::translate)? {
        log::warn!(
            "user_version was set to {from}, but the tables have schema {SHAPED}; fixing it"
        );
        c.pragma_update(None, "user_version", SHAPED).map_err(db::translate)?;
        return upgrade(c, path);
    }
    if let (true, Some(path)) = (from < db::schema_version(), path) {
        let kept = back_up(c, path)?;
        log::info!(
            "upgrading {} from schema {from} to {}; the file as it was: {}",
            path.display(),
            db::schema_version(),
            kept.display()
        );
    }
    // A table that is rebuilt is dropped for a moment, and what refers to it must not mind.
    c.pragma_update(None, "foreign_keys", false).map_err(db::translate)?;
    let done = in_one_transaction(c, &fresh);
    c.pragma_update(None, "foreign_keys", true).map_err(db::translate)?;
    done
}

fn in_one_transaction(c: &mut Connection, fresh: &Connection) -> Result<()> {
    let tx = c.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db::translate)?;
    let from = version(&tx)?;
    let steps: Vec<&Step> = STEPS
        .iter()
        .chain(sabotage::is("schema_of_tomorrow").then_some(&TOMORROW))
        .filter(|step| step.to > from)
        .collect();
    let differing = differing(&tx, fresh)?;
    let owners = drop_rules(&tx, fresh)?;
    run_steps(&tx, &steps)?;
    make_rules(&tx, fresh, &owners)?;
    for step in &steps {
        log::info!("schema {}: {}", step.to, step.what);
    }
    if steps.is_empty() {
        let (first, more) = (differing.first().map_or("", String::as_str), differing.len() - 1);
        log::info!("bringing views, triggers and indexes up to date: {first} and {more} more");
    }
    tx.commit().map_err(db::translate)
}

/// The steps one after the other, and that nothing refers to what is no longer there.
fn run_steps(tx: &Transaction, steps: &[&Step]) -> Result<()> {
    let broken = |c: &Connection| -> Result<i64> {
        let sql = "SELECT count(*) FROM pragma_foreign_key_check";
        c.query_row(sql, [], |row| row.get(0)).map_err(db::translate)
    };
    let Some(last) = steps.last() else { return Ok(()) };
    let before = broken(tx)?;
    for step in steps {
        (step.run)(tx)?;
    }
    if broken(tx)? > before {
        return Err(Error::Corrupt(format!(
            "the way to schema {} would lose rows that others refer to; nothing was changed: report it",
            last.to
        )));
    }
    tx.pragma_update(None, "user_version", last.to).map_err(db::translate)
}

fn version(c: &Connection) -> Result<i64> {
    c.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(db::translate)
}

/// True when the file has everything that today's schema makes, word for word, and nothing that was
/// given up: the usual case, recognized without a second file to compare with, which takes 20 ms
/// and 2 MB.
fn is_todays_text(c: &Connection) -> Result<bool> {
    let mut made: Vec<&str> =
        db::SCHEMA.match_indices("\nCREATE ").map(|(at, _)| &db::SCHEMA[at + 1..]).collect();
    made.sort_unstable();
    let here = shape::objects(c).map_err(db::translate)?;
    let is_made = |sql: &str| {
        let statement = format!("{sql};");
        let at = made.partition_point(|text| *text < statement.as_str());
        made.get(at).is_some_and(|text| text.starts_with(&statement))
    };
    let same = here.iter().filter(|o| o.sql.as_deref().is_some_and(is_made)).count();
    let given_up = here.iter().any(|o| is_rule(o) && GIVEN_UP.contains(&o.name.as_str()));
    Ok(same == made.len() && !given_up)
}

/// What is made again: everything but tables, and but the indexes that are part of a table.
fn is_rule(object: &Object) -> bool {
    object.kind != "table" && object.sql.is_some()
}

/// The views, triggers and indexes that the file lacks, has with another text, or has no more.
fn differing(c: &Connection, fresh: &Connection) -> Result<Vec<String>> {
    let here = shape::objects(c).map_err(db::translate)?;
    let wanted = shape::objects(fresh).map_err(db::translate)?;
    let lacking = wanted.iter().filter(|o| is_rule(o) && !here.contains(o));
    let given_up = here.iter().filter(|o| is_rule(o) && GIVEN_UP.contains(&o.name.as_str()));
    Ok(lacking.chain(given_up).map(Object::to_string).collect())
}

/// Drops all our views and triggers, and the indexes that differ. Returns the triggers that the
/// file's owner hung on one of our views, which went with it.
fn drop_rules(tx: &Transaction, fresh: &Connection) -> Result<Vec<Object>> {
    let here = shape::objects(tx).map_err(db::translate)?;
    let wanted = shape::objects(fresh).map_err(db::translate)?;
    let is_ours = |name: &str| {
        GIVEN_UP.contains(&name) || wanted.iter().any(|o| o.kind != "table" && o.name == name)
    };
    let (ours, others): (Vec<Object>, Vec<Object>) =
        here.into_iter().filter(is_rule).partition(|o| is_ours(&o.name));
    // A view takes its triggers with it.
    for object in &ours {
        if object.kind != "index" || !wanted.contains(object) {
            drop_object(tx, object)?;
        }
    }
    let views: Vec<&str> =
        ours.iter().filter(|o| o.kind == "view").map(|o| o.name.as_str()).collect();
    Ok(others
        .into_iter()
        .filter(|o| o.kind == "trigger" && views.contains(&o.table.as_str()))
        .collect())
}

fn drop_object(tx: &Transaction, object: &Object) -> Result<()> {
    let sql = format!("DROP {} IF EXISTS {}", object.kind, name(&object.name));
    tx.execute_batch(&sql).map_err(db::translate)
}

/// Makes what is not there, in the schema's order, and what the owner had on it.
fn make_rules(tx: &Transaction, fresh: &Connection, owners: &[Object]) -> Result<()> {
    let here = shape::objects(tx).map_err(db::translate)?;
    let wanted = shape::objects(fresh).map_err(db::translate)?;
    for object in wanted.iter().filter(|o| is_rule(o) && !here.contains(o)) {
        tx.execute_batch(object.sql.as_deref().unwrap_or_default()).map_err(|e| {
            Error::Config(format!(
                "{object} cannot be made: {e}; nothing was changed. Rename what is in its way, or put a backup in the \
                 place of the file: fulfilld restore BACKUP"
            ))
        })?;
    }
    for object in owners {
        let sql = object.sql.as_deref().unwrap_or_default();
        if let Err(error) = tx.execute_batch(sql) {
            log::warn!("removed your own {object}, which no longer fits: {error}; it was: {sql}");
        }
    }
    Ok(())
}

/// Writes a rule of a table in another way that means the same and touches no row, as
/// sqlite.org/lang_altertable.html describes: a long table takes no longer. A rule that reads
/// otherwise stays.
fn reword(c: &Connection, table: &str, old: &str, new: &str) -> Result<()> {
    let run = || {
        let version: i64 = c.pragma_query_value(None, "schema_version", |row| row.get(0))?;
        c.pragma_update(None, "writable_schema", true)?;
        c.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ?2, ?3) WHERE type = 'table' AND name = ?1",
            (table, old, new),
        )?;
        c.pragma_update(None, "schema_version", version + 1)?;
        // From here on this connection goes by the new text.
        c.pragma_update(None, "writable_schema", "RESET")
    };
    run().map_err(db::translate)
}

/// Gives a table the shape that `create`, the text of a CREATE TABLE, has, as SQLite recommends:
/// a new one takes all rows, each at its rowid, and then the name. What hung on the old one, its
/// owner's triggers and indexes too, hangs on the new one. A column of both is copied;
/// `values` are the others of the new one, each with an expression over the old row, and of a
/// column that is given up as `("", column)`. `Config` when the old one has a column that nobody
/// names: it is somebody's.
pub fn rebuild(c: &Connection, table: &str, create: &str, values: &[(&str, &str)]) -> Result<()> {
    let columns = |table: &str| {
        c.prepare("SELECT name FROM pragma_table_info(?1)")
            .and_then(|mut q| q.query_map([table], |row| row.get::<_, String>(0))?.collect())
            .map_err(db::translate)
    };
    let run = |sql: String| c.execute_batch(&sql).map_err(db::translate);
    let number =
        |sql: String| c.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(db::translate);
    let old: Vec<String> = columns(table)?;
    let hung: Vec<Object> = shape::objects(c)
        .map_err(db::translate)?
        .into_iter()
        .filter(|o| o.table == table && is_rule(o))
        .collect();
    let (new_name, old_name) = (name(&format!("{table} of tomorrow")), name(table));
    let create = create.find("CREATE TABLE").map_or(create, |at| &create[at..]);
    let body = create.find('(').map(|at| &create[at..]).unwrap_or_default();
    run(format!("CREATE TABLE {new_name}{body}"))?;
    let new: Vec<String> = columns(&format!("{table} of tomorrow"))?;
    let given_up = |column: &str| values.contains(&("", column));
    if let Some(other) = old.iter().find(|c| !new.contains(c) && !given_up(c)) {
        return Err(Error::Config(format!(
            "{table} has a column {other} that is not fulfilld's, and would lose it; \
             nothing was changed. Move it to a table of your own (CREATE TABLE my_{table} AS \
             SELECT rowid, {other} FROM {table}; ALTER TABLE {table} DROP COLUMN {other};) and \
             start again"
        )));
    }
    let mut pairs: Vec<(String, String)> = values
        .iter()
        .filter(|(column, _)| !column.is_empty())
        .map(|(column, value)| (name(column), format!("({value})")))
        .collect();
    let copied = new.iter().filter(|c| old.contains(c) && !values.iter().any(|(v, _)| v == c));
    pairs.extend(copied.map(|column| (name(column), name(column))));
    if has_hidden_rowid(c, table)? {
        pairs.push(("rowid".into(), "rowid".into()));
    }
    let (into, from): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
    let before = number(format!("SELECT count(*) FROM {old_name}"))?;
    run(format!(
        "INSERT INTO {new_name}({}) SELECT {} FROM {old_name}",
        into.join(", "),
        from.join(", ")
    ))?;
    if number(format!("SELECT count(*) FROM {new_name}"))? != before {
        return Err(Error::Corrupt(format!("{table} would lose rows; nothing was changed")));
    }
    // Views that somebody made over the table name it, and must not follow the old one.
    run(format!(
        "PRAGMA legacy_alter_table = ON; DROP TABLE {old_name};
         ALTER TABLE {new_name} RENAME TO {old_name}; PRAGMA legacy_alter_table = OFF"
    ))?;
    for object in hung {
        let sql = object.sql.as_deref().unwrap_or_default();
        if let Err(error) = c.execute_batch(sql) {
            log::warn!(
                "removed {object}, which no longer fits the table {table}: {error}; it was: {sql}"
            );
        }
    }
    Ok(())
}

/// True for a table whose rows have a place that is none of its columns.
fn has_hidden_rowid(c: &Connection, table: &str) -> Result<bool> {
    let sql = "SELECT NOT (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1)
                 AND (SELECT group_concat(upper(type)) IS NOT 'INTEGER' FROM pragma_table_info(?1) WHERE pk > 0)";
    c.query_row(sql, [table], |row| row.get(0)).map_err(db::translate)
}

/// Copies the file as it is into `FILE.before-schema-N`, looks whether the copy is whole, and gives
/// it its name; one of an upgrade that was broken off before is the same, and is replaced.
fn back_up(c: &Connection, path: &Path) -> Result<PathBuf> {
    let kept = beside(path, &format!(".before-schema-{}", db::schema_version()));
    let new = beside(&kept, ".new");
    db::remove(&new);
    let made = copy(c, &new).and_then(|()| {
        std::fs::rename(&new, &kept)
            .and_then(|()| File::open(folder(path))?.sync_all())
            .map_err(|e| Error::Config(format!("cannot name {}: {e}", kept.display())))
    });
    if let Err(why) = made {
        db::remove(&new);
        let text =
            format!("the backup before the upgrade cannot be made, nothing was changed: {why}");
        return Err(match why {
            Error::Full(_) => Error::Full(text),
            Error::Temporary(_) => Error::Temporary(text),
            _ => Error::Config(text),
        });
    }
    Ok(kept)
}

fn copy(c: &Connection, new: &Path) -> Result<()> {
    let cannot = |e: std::io::Error| Error::Config(format!("cannot write {}: {e}", new.display()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new);
    let file = file.map_err(cannot)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(cannot)?;
    let text = new.to_str().ok_or_else(|| {
        Error::Config(format!("{} is not UTF-8; move the file elsewhere", new.display()))
    })?;
    c.execute("VACUUM INTO ?1", [text]).map_err(db::translate)?;
    file.sync_all().map_err(cannot)?;
    let copy = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(db::translate)?;
    let said: String =
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(db::translate)?;
    match said.as_str() {
        "ok" if version(&copy)? == version(c)? => Ok(()),
        _ => Err(Error::Config(format!("the copy is not whole: {said}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_lead_to_today_one_by_one() {
        let to: Vec<i64> = STEPS.iter().map(|step| step.to).collect();
        assert_eq!(to, (2..=db::SCHEMA_VERSION).collect::<Vec<_>>());
    }

    fn file() -> Connection {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(db::SCHEMA).unwrap();
        c
    }

    #[test]
    fn what_differs_is_made_again_and_what_is_the_owners_stays() {
        let mut c = file();
        c.execute_batch(
            "DROP VIEW ship; DROP TRIGGER orders_delete; DROP INDEX orders_created;
             DROP VIEW attention; CREATE VIEW attention AS SELECT 1;
             CREATE VIEW my_orders AS SELECT id FROM order_overview;
             CREATE TRIGGER my_hold INSTEAD OF DELETE ON hold BEGIN SELECT 1; END;
             CREATE TRIGGER my_orders_note AFTER UPDATE ON orders BEGIN SELECT 1; END;
             CREATE INDEX my_names ON orders(name);",
        )
        .unwrap();
        assert_eq!(shape::lacking(&c, db::SCHEMA).unwrap().len(), 5);
        assert!(is_todays_text(&file()).unwrap() && !is_todays_text(&c).unwrap());
        c.pragma_update(None, "user_version", db::SCHEMA_VERSION).unwrap();
        upgrade(&mut c, None).unwrap();
        assert_eq!(shape::lacking(&c, db::SCHEMA).unwrap(), []);
        assert!(is_todays_text(&c).unwrap(), "what is the owner's makes no difference");
        let owners: i64 = c
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name GLOB 'my_*'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(owners, 4);
        assert!(c.query_row("PRAGMA foreign_keys", [], |row| row.get::<_, bool>(0)).unwrap());
    }

    #[test]
    fn a_table_is_rebuilt_with_every_row_at_its_place_and_what_hangs_on_it() {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(
            "CREATE TABLE t(id TEXT PRIMARY KEY, old INTEGER, gone TEXT) STRICT;
             INSERT INTO t(rowid, id, old, gone) VALUES(7, 'a', 1, 'x'), (3, 'b', 2, 'y');
             CREATE INDEX t_old ON t(old);
             CREATE VIEW v AS SELECT * FROM t;
             CREATE TRIGGER t_delete BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'never'); END;",
        )
        .unwrap();
        let create =
            "CREATE TABLE t(id TEXT PRIMARY KEY, old INTEGER, twice INTEGER NOT NULL) STRICT";
        let refused = rebuild(&c, "t", create, &[("twice", "old * 2")]).unwrap_err();
        assert!(refused.to_string().contains("a column gone"), "{refused}");
        c.execute_batch("DROP TABLE \"t of tomorrow\"").unwrap();
        rebuild(&c, "t", create, &[("twice", "old * 2"), ("", "gone")]).unwrap();
        let rows: String = c
            .query_row(
                "SELECT group_concat(rowid || id || old || twice) FROM (SELECT rowid, * FROM t ORDER BY id)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(rows, "7a12,3b24");
        assert!(c.execute("DELETE FROM t", []).is_err());
        let hung: i64 = c
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name IN('t_old', 'v')",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(hung, 2);
        let text = shape::text(&c, "t").unwrap();
        assert_eq!(shape::table(&text), shape::table(create));
    }

    /// What an older file shows in attention beside what its dump has.
    const MATTERS: &str = "
        UPDATE actor SET name = 'stripe:evt_1';
        UPDATE orders SET amount_total = amount_total + 1 WHERE id = 4;
        UPDATE orders SET shipping_line1 = NULL WHERE id = 1;
        UPDATE orders SET capture_method = 'manual', amount_capturable = 900,
          capture_before = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 days') WHERE id = 7;
        UPDATE orders SET capture_method = 'manual', amount_capturable = 900,
          created_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-6 days') WHERE id = 9;
        UPDATE orders SET client_reference_id = 'cart-17', email = 'ada@example.com',
          created_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 days') WHERE id IN(2, 6);
        INSERT INTO refunds(id, payment_intent_id, amount, currency, status, failure_reason, created_at, as_of)
          SELECT 're_1', payment_intent_id, 100, currency, 'failed', 'lost_or_stolen_card',
            strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1' FROM orders WHERE id = 4
          UNION ALL SELECT 're_2', payment_intent_id, 100, currency, 'nearly_there', NULL,
            strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), '1' FROM orders WHERE id = 2;
        INSERT INTO disputes(id, payment_intent_id, amount, currency, status, reason,
        evidence_due_by, created_at, as_of)
          SELECT 'dp_1', payment_intent_id, 100, currency, 'needs_response', 'fraudulent', '2026-12-24T00:00:00Z',
            '2026-12-01T00:00:00Z', '1' FROM orders WHERE id = 1;
        INSERT INTO reviews(id, payment_intent_id, open, created_at, as_of)
          SELECT 'prv_1', payment_intent_id, 1, '2026-12-01T00:00:00Z', '1' FROM orders WHERE id = 1;
        INSERT INTO fraud_warnings(id, payment_intent_id, actionable, fraud_type, created_at, as_of)
          SELECT 'issfr_1', payment_intent_id, 1, 'misc', '2026-12-01T00:00:00Z', '1' FROM orders WHERE id = 6;
        INSERT INTO events(id, type, shape, source, received_at)
          VALUES('evt_stuck', 'refund.created', 'thin', 'webhook', '2025-12-01T00:00:00Z');
        INSERT INTO alarms(name, message, next, since)
          VALUES('silence', 'webhooks do not come', 'fulfilld doctor', '2025-12-01T00:00:00Z');
        UPDATE outbox SET state = 'dead', attempts = 18, last_error = 'exit code 1' WHERE id = 1;
        UPDATE actor SET name = 'operator';";

    #[test]
    fn what_was_dismissed_in_an_older_file_stays_dismissed_until_its_facts_change() {
        let mut c = Connection::open_in_memory().unwrap();
        c.execute_batch(include_str!("../tests/databases/0.1.sql")).unwrap();
        c.execute_batch(MATTERS).unwrap();
        let shown = |c: &Connection| -> Vec<(Option<String>, String)> {
            c.prepare("SELECT DISTINCT coalesce(subject, order_id) || '', reason FROM attention")
                .unwrap()
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap()
        };
        let before = shown(&c);
        let mut reasons: Vec<&str> = before.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.sort();
        reasons.dedup();
        assert!(reasons.len() > 14, "{reasons:?}");
        for matter in &before {
            c.execute("INSERT INTO dismiss VALUES(?1, ?2)", (&matter.0, &matter.1)).unwrap();
        }
        assert_eq!(shown(&c), []);
        // One that is gone by now and one that has changed since.
        c.execute_batch(
            "INSERT INTO release VALUES(5); UPDATE actor SET name = 'stripe:evt_1';
             UPDATE disputes SET evidence_due_by = '2026-12-25T00:00:00Z'; UPDATE actor SET name = 'operator'",
        )
        .unwrap();
        let sentences = "SELECT group_concat(s) FROM (SELECT new AS s FROM order_history
            WHERE what GLOB 'attention *' AND new IS NOT NULL ORDER BY 1)";
        let said: String = c.query_row(sentences, [], |row| row.get(0)).unwrap();
        upgrade(&mut c, None).unwrap();
        let changed = |about: &str, reason: &str| (Some(about.into()), reason.to_string());
        assert_eq!(shown(&c), [changed("dp_1", "dispute_due")]);
        let kept: String = c
            .query_row(
                "SELECT group_concat(s) FROM (SELECT since || ' ' || what AS s FROM dismissals
                 WHERE order_id IS NOT NULL ORDER BY 1)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(kept, said, "undo finds each by its line of the history");
    }

    #[test]
    fn a_step_that_fails_leaves_everything_as_it_was() {
        let mut c = file();
        let tx = c.transaction().unwrap();
        let fails =
            Step { to: 2, what: "", run: |c| rebuild(c, "orders", "CREATE TABLE orders(id)", &[]) };
        assert!(run_steps(&tx, &[&fails]).is_err());
        tx.rollback().unwrap();
        assert_eq!(shape::lacking(&c, db::SCHEMA).unwrap(), []);
    }
}
