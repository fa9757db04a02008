//! The file: opening it, what every connection is set to, and the one door where SQLite's errors
//! become ours.

mod lent; // the writer's connection, for looking
mod reader; // the shared connection for looking

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, RenameFlags};

use crate::access;
use crate::clock;
use crate::error::{Error, Result};
use crate::place::{self, beside, hint};
use crate::room;
use crate::sabotage;
use crate::shape;
use crate::text::quoted;

pub use lent::{Lent, is_borrowed_here};
pub use reader::{Reader, Version};

// Older ones can damage a file when two processes move its log into it at once
// (sqlite.org/wal.html#walresetbug).
const _: () = assert!(rusqlite::ffi::SQLITE_VERSION_NUMBER >= 3_051_003);

/// Marks the file as ours for `file(1)` and for every verb: the letters `flfd`.
pub const APPLICATION_ID: i32 = 0x666c_6664;

/// The version of the tables that `schema.sql` describes; `user_version` in the file.
pub const SCHEMA_VERSION: i64 = 3;

/// The version that this program makes and serves; a test may plant a later one.
pub fn schema_version() -> i64 {
    SCHEMA_VERSION + i64::from(sabotage::is("schema_of_tomorrow"))
}

/// Today's tables, triggers, views and verbs.
pub const SCHEMA: &str = include!("../schema/whole.rs");

/// How long a verb of the command line waits for somebody else's write.
const CLI_BUSY: Duration = Duration::from_secs(5);

/// Opens the file for the daemon, creating it when it is not there: born live or test, mode 0660,
/// so that an operator in the group and the daemon can both open it. The path is the real one.
/// Refuses, with `Error::Config`, a file of the other mode, of a newer version, not ours, empty,
/// with a second name, or beside the log of another file. An older one stays older:
/// `migrations::open_for_serving` leads it to today's version.
pub fn open_for_serving(path: &Path, livemode: bool) -> Result<Connection> {
    place::check_log(path)?;
    create_if_missing(path, livemode)?;
    let connection = open_of_any_version(path)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|e| unopened(path, e))?;
    check_mode(&connection, path, livemode)?;
    Ok(connection)
}

/// Makes a file that was not there, as [`open_for_serving`] does. `Usage` when there is one: it is
/// never overwritten.
pub fn create(path: &Path, livemode: bool) -> Result<Connection> {
    place::check_log(path)?;
    match create_if_missing(path, livemode)? {
        true => open_for_serving(path, livemode),
        false => Err(Error::Usage(format!(
            "{} is there already and is not overwritten; move it away, or name another file",
            path.display()
        ))),
    }
}

/// Moves the log into the file, which is whole without it then. False where a reader prevents it.
pub fn empty_log(connection: &Connection) -> Result<bool> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map(|busy: bool| !busy)
        .map_err(translate)
}

/// Removes a file that [`create`] made, and what SQLite keeps beside it.
pub fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}

/// Opens an existing file for a verb that writes; a missing file is never created by surprise.
pub fn open_for_writing(path: &Path) -> Result<Connection> {
    let connection = open_of_any_version(path)?;
    refuse_older(&connection, path)?;
    Ok(connection)
}

/// The same, also of a file that an older version wrote.
pub fn open_of_any_version(path: &Path) -> Result<Connection> {
    let connection = existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // SQLite opens for reading what it may not write, and says so at the first write only.
    if connection.is_readonly("main").map_err(translate)? {
        let path = place::real(path)?;
        return Err(Error::Config(format!(
            "{} cannot be written by this user: {}",
            path.display(),
            hint(&path)
        )));
    }
    Ok(connection)
}

/// Opens an existing file for looking only.
pub fn open_for_reading(path: &Path) -> Result<Connection> {
    let connection = existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| existing(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    refuse_older(&connection, path)?;
    connection.pragma_update(None, "query_only", true).map_err(translate)?;
    Ok(connection)
}

fn existing(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let typed = path;
    let path = &place::real(path)?;
    // Beside a missing file a log is another matter than no file at all.
    place::check_log(path)?;
    let size = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Config(format!(
                "there is no file {}; name it with --db or FULFILLD_DB (only `fulfilld serve`, \
                 `fulfilld demo` and `fulfilld restore` create one)",
                typed.display()
            )));
        }
        Err(e) => return Err(Error::Config(access::why_not(path, &e))),
        Ok(meta) => meta.len(),
    };
    if size == 0 {
        return Err(without_tables(path));
    }
    place::has_one_name(path)?;
    let connection = open(path, flags)?;
    connection.busy_timeout(CLI_BUSY).map_err(translate)?;
    if is_empty(&connection).map_err(|e| unopened(path, e))? {
        return Err(without_tables(path));
    }
    check_version(&connection, path)?;
    Ok(connection)
}

/// A file that is there is never taken for a new one: what is missing from it may lie elsewhere.
fn without_tables(path: &Path) -> Error {
    Error::Config(format!(
        "{} is there and has no tables: a copy that was made without its -wal? Put the right file there, or a backup \
         (fulfilld restore BACKUP); to begin with a new one: rm {}",
        path.display(),
        quoted(path)
    ))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| unopened(path, e))?;
    // The log has one owner, checkpoint.rs: nobody else moves it, not even when closing. This comes
    // first, because what follows reads the file, which fails beside the log of another.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|e| unopened(path, e))?;
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(|e| unopened(path, e))
    };
    // A commit is on the disk before anybody is answered (promise 1).
    set("synchronous", &"FULL")?;
    if sabotage::is("synchronous_normal") {
        set("synchronous", &"NORMAL")?;
    }
    set("foreign_keys", &true)?;
    set("wal_autocheckpoint", &0)?;
    // What is deleted is overwritten, so that a person who was forgotten is in no free page.
    set("secure_delete", &true)?;
    // What stands in the file may call SQLite's own functions and nothing else.
    set("trusted_schema", &false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// True when it was missing. It is made whole under another name and then gets its own, so a file
/// at the path is never half made, whenever the process dies.
fn create_if_missing(path: &Path, livemode: bool) -> Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let new = beside(path, ".new");
    let cannot = |e: std::io::Error| {
        Error::Config(format!("cannot create {}: {e}; {}", path.display(), hint(path)))
    };
    remove(&new);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o660)
        .open(&new)
        .map_err(cannot)?;
    // The umask may have taken the group's bits; SQLite gives -wal and -shm the mode of this file.
    file.set_permissions(std::fs::Permissions::from_mode(0o660)).map_err(cannot)?;
    let named = create_tables(&new, livemode).and_then(|()| {
        file.sync_all().map_err(cannot)?;
        give_name(&new, path).map_err(cannot)
    });
    if !matches!(named, Ok(true)) {
        remove(&new);
    }
    File::open(place::folder(path)).and_then(|folder| folder.sync_all()).map_err(cannot)?;
    named
}

/// False when somebody else was quicker. The file never has two names at once where the file system
/// can do that.
fn give_name(new: &Path, path: &Path) -> std::io::Result<bool> {
    let named = match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(new, path).and_then(|()| std::fs::remove_file(new))
        }
        named => named.map_err(std::io::Error::from),
    };
    match named {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        named => named.map(|()| true),
    }
}

fn create_tables(new: &Path, livemode: bool) -> Result<()> {
    let mut connection = Connection::open(new).map_err(translate)?;
    let tx = connection.transaction().map_err(translate)?;
    tx.execute_batch(SCHEMA).map_err(translate)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(translate)?;
    tx.pragma_update(None, "user_version", schema_version()).map_err(translate)?;
    tx.execute(
        "INSERT INTO shop(one, livemode, created_at) VALUES (1, ?1, ?2)",
        (livemode, clock::text(clock::now())),
    )
    .map_err(translate)?;
    tx.commit().map_err(translate)?;
    // The file itself says it, and this connection, the last one, leaves no log.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(translate)?;
    connection.close().map_err(|(_, e)| translate(e))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS(SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

fn check_version(connection: &Connection, path: &Path) -> Result<()> {
    let shown = path.display();
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|e| unopened(path, e))
    };
    let mark = pragma("application_id")?;
    if mark != i64::from(APPLICATION_ID)
        && shape::is_alike(connection).map_err(|e| unopened(path, e))?
    {
        return Err(unmarked(connection, path)?);
    }
    if mark != i64::from(APPLICATION_ID) {
        return Err(Error::Config(format!(
            "{shown} is not a fulfilld database; name the right file with --db or FULFILLD_DB"
        )));
    }
    let version = pragma("user_version")?;
    if version > schema_version() {
        let word = quoted(path);
        let typed = match has_todays_tables(connection).map_err(|e| unopened(path, e))? {
            true => format!(
                "; or, where somebody typed that number, for its tables are those of schema {SCHEMA_VERSION}: \
                 sqlite3 {word} 'PRAGMA user_version = {SCHEMA_VERSION}'"
            ),
            false => String::new(),
        };
        return Err(Error::Config(format!(
            "{shown} was written by a newer fulfilld (schema {version}, this one knows {}); install that version, \
             or restore the backup it made before it migrated ({word}.before-schema-{version}){typed}",
            schema_version(),
        )));
    }
    Ok(())
}

/// True when no table is other than this version makes it, whatever the file's marks say.
pub fn has_todays_tables(c: &Connection) -> rusqlite::Result<bool> {
    Ok(shape::lacking(c, SCHEMA)?.iter().all(|lacking| lacking.kind != "table"))
}

/// Puts the two marks right that a person can change with a PRAGMA, inside a transaction.
pub fn mark_again(c: &Connection) -> Result<()> {
    for (name, right) in
        [("application_id", i64::from(APPLICATION_ID)), ("user_version", schema_version())]
    {
        let is: i64 = c.pragma_query_value(None, name, |row| row.get(0)).map_err(translate)?;
        if is != right {
            log::warn!("{name} was set to {is}; setting it back to {right}");
            c.pragma_update(None, name, right).map_err(translate)?;
        }
    }
    Ok(())
}

/// The daemon alone leads a file to a new version; until then no verb knows what it looks at.
fn refuse_older(connection: &Connection, path: &Path) -> Result<()> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| unopened(path, e))?;
    if version < schema_version() {
        return Err(Error::Config(format!(
            "{} was written by an older fulfilld (schema {version}, this one needs {}); start the \
             service once, which makes a backup and upgrades it: sudo systemctl restart fulfilld",
            path.display(),
            schema_version()
        )));
    }
    Ok(())
}

/// What to say of a `.dump` that was read into a new file: it leaves out the two marks, and may
/// have been read by half.
fn unmarked(connection: &Connection, path: &Path) -> Result<Error> {
    let (shown, word) = (path.display(), quoted(path));
    let lacking = shape::lacking(connection, SCHEMA).map_err(translate)?;
    Ok(Error::Config(match lacking.first() {
        None => format!(
            "{shown} is whole but not marked as a fulfilld database, as a .dump read into a new \
             file is; type: sqlite3 {word} 'PRAGMA application_id = {APPLICATION_ID}; PRAGMA \
             user_version = {SCHEMA_VERSION};' && fulfilld check --db {word}"
        ),
        Some(first) => format!(
            "{shown} looks like a .dump of a fulfilld database that was read by half, or of \
             another version: it lacks {first} and {} more; read all of it into a new file, or put \
             a backup in its place: fulfilld restore BACKUP",
            lacking.len() - 1
        ),
    }))
}

/// `Config` when the key is not of the mode that the file was born with.
pub fn check_mode(connection: &Connection, path: &Path, livemode: bool) -> Result<()> {
    let word = |live: bool| if live { "live" } else { "test" };
    let born: bool = connection
        .query_row("SELECT livemode FROM shop", [], |row| row.get(0))
        .map_err(translate)?;
    if born == livemode {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} holds {} orders and STRIPE_SECRET_KEY is a {} key; use the {} key, or another file with FULFILLD_DB",
        path.display(),
        word(born),
        word(livemode),
        word(born),
    )))
}

/// Why a file could not be opened, with the line to type.
fn unopened(path: &Path, error: rusqlite::Error) -> Error {
    let shown = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Config(format!(
            "{shown} is not a fulfilld database; name the right file with --db or FULFILLD_DB, or \
             put a backup in its place: fulfilld restore BACKUP"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
            if is_denied(path) =>
        {
            Error::Config(access::denied(path))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            Error::Config(format!("cannot open {shown} for writing: {error}; {}", hint(path)))
        }
        _ => translate(error),
    }
}

/// Whether the kernel refuses the file to this user. Opening it to find out would cost SQLite's
/// locks on it.
fn is_denied(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK) == Err(rustix::io::Errno::ACCESS)
}

/// Reads every page of the file at `path`, which takes a time in proportion to it. `Config` with
/// what to do when one is damaged.
pub fn read_every_page(c: &Connection, path: &Path) -> Result<()> {
    match c.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(said) if said == "ok" => Ok(()),
        Ok(said) => Err(damaged(path, said.lines().last().unwrap_or_default())),
        Err(e) if is_damage(&e) => Err(damaged(path, &e.to_string())),
        Err(e) => Err(translate(e)),
    }
}

/// So many rows of each table were written last, as far as their order says it.
const NEWEST: u32 = 1_000;

/// Reads what was written last: the newest rows of every table of ours with all that they hold, and
/// finds the newest events again by their ids, as a 200 does. `Config` when that is damaged.
pub fn read_the_newest(c: &Connection, path: &Path) -> Result<()> {
    let read = |sql: &str| -> rusqlite::Result<()> {
        let mut query = c.prepare(sql)?;
        let columns = query.column_count();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            (0..columns).try_for_each(|column| row.get_ref(column).map(drop))?;
        }
        Ok(())
    };
    let all = || -> rusqlite::Result<()> {
        let ours = shape::objects(&shape::fresh(SCHEMA)?)?;
        for table in ours.iter().filter(|object| object.kind == "table") {
            let order = match table.sql.as_deref().is_some_and(|sql| sql.contains("WITHOUT ROWID"))
            {
                true => "1",
                false => "rowid",
            };
            let name = &table.name;
            read(&format!("SELECT * FROM {name} ORDER BY {order} DESC LIMIT {NEWEST}"))?;
        }
        read(&format!(
            "SELECT e.rowid FROM (SELECT id FROM events ORDER BY rowid DESC LIMIT {NEWEST}) n
             CROSS JOIN events e ON e.id = n.id"
        ))
    };
    all().map_err(|e| if is_damage(&e) { damaged(path, &e.to_string()) } else { translate(e) })
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Config(format!(
        "{} is damaged: {what}; keep a copy of it and put a backup in its place: fulfilld restore BACKUP",
        path.display()
    ))
}

/// True when SQLite says that the file's bytes make no sense.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A column's value for people and hooks. A terminal that is not set to UTF-8 types text that is no
/// UTF-8; what cannot be read of it is replaced, and hides nothing else of the row.
pub fn shown(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Value> {
    match row.get_ref(column)? {
        ValueRef::Text(text) => Ok(Value::Text(String::from_utf8_lossy(text).into_owned())),
        _ => row.get(column),
    }
}

/// Why there was no room for what was to be written, where that is all that is wrong.
fn no_room(error: &rusqlite::Error) -> Option<&'static str> {
    let is_write =
        error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE);
    room::why_none().filter(|_| is_write)
}

/// SQLite's result codes as what to do next.
pub fn translate(error: rusqlite::Error) -> Error {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Temporary(
            "the file is locked: somebody else is writing (an open BEGIN in a sqlite3 shell? type COMMIT there)".into(),
        ),
        Some(ErrorCode::DiskFull) => Error::Full("the disk is full; free some space".into()),
        Some(ErrorCode::SystemIoFailure) if let Some(why) = no_room(&error) => {
            Error::Full(why.into())
        }
        Some(ErrorCode::SystemIoFailure) => Error::Corrupt(format!("the disk failed: {text}")),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt(format!("the file is damaged: {text}; put a backup in its place: fulfilld restore BACKUP"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Error::Config(format!(
            "the file cannot be written: {text}; look at the owner and mode of the file and of its directory"
        )),
        Some(ErrorCode::OutOfMemory) => Error::Temporary("out of memory".into()),
        // A trigger's sentence, or a CHECK: the statement is not allowed.
        _ => Error::Permanent(text),
    }
}

/// The same of a row read from a table itself: a value that its column cannot have is damage, too.
/// Not for views, where it would be a bug of ours.
pub fn translate_row(error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..) => Error::Corrupt(format!(
            "the file is damaged: {error}; put a backup in its place: fulfilld restore BACKUP"
        )),
        _ => translate(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_its_table_cannot_have_is_damage() {
        let c = Connection::open_in_memory().unwrap();
        let at = |value: &str| {
            let sql = format!("SELECT {value} AS at");
            c.query_row(&sql, [], |row| row.get::<_, String>(0)).map_err(translate_row)
        };
        assert_eq!(at("'2026'").unwrap(), "2026");
        for damaged in ["NULL", "7", "CAST(x'ff' AS TEXT)"] {
            let error = at(damaged).unwrap_err();
            assert!(
                matches!(&error, Error::Corrupt(m) if m.contains("fulfilld restore")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_opened_beside_the_log_of_another_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, put) = (dir.path().join("shop.db"), dir.path().join("put.db"));
        let c = open_for_serving(&path, false).unwrap();
        c.execute_batch("PRAGMA user_version = 3").unwrap();
        std::fs::copy(beside(&path, "-wal"), beside(&put, "-wal")).unwrap();
        // Its pages stand elsewhere, so with the first page of the log it cannot be read.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0);
        std::fs::write(&put, &bytes).unwrap();
        open(&put, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap_err();
        assert!(std::fs::read(&put).unwrap() == bytes, "the log was moved into it");
    }

    #[test]
    fn a_new_file_is_group_writable_ours_and_of_one_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        drop(open_for_serving(&path, false).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = open_for_serving(&path, true).unwrap_err();
        assert!(matches!(&error, Error::Config(m) if m.contains("holds test orders")), "{error}");
        assert!(
            open_for_reading(&path)
                .unwrap()
                .execute("UPDATE actor SET name = 'operator'", [])
                .is_err()
        );
    }

    #[test]
    fn a_second_daemon_a_foreign_file_and_a_newer_one_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let held = place::lock(&path).unwrap();
        assert!(
            matches!(place::lock(&path), Err(Error::Config(m)) if m.contains("another fulfilld"))
        );
        drop(held);
        drop(place::lock(&path).unwrap());

        let noise = dir.path().join("noise.db");
        std::fs::write(
            &noise,
            "not a database at all, but long enough to look like one".repeat(50),
        )
        .unwrap();
        assert!(open_for_reading(&noise).is_err());

        let connection = open_for_serving(&path, false).unwrap();
        connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(connection);
        assert!(
            matches!(open_for_writing(&path), Err(Error::Config(m)) if m.contains("newer fulfilld"))
        );
        assert!(
            matches!(open_for_writing(&dir.path().join("none.db")), Err(Error::Config(m)) if m.contains("no file"))
        );
    }

    #[test]
    fn damage_in_what_was_written_last_is_found_without_reading_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let c = open_for_serving(&path, false).unwrap();
        c.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        let insert =
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
            INSERT INTO events(id, type, shape, source, received_at, payload)
            SELECT 'evt_' || i, 'x', 'snapshot', 'webhook', '2026-01-01T00:00:00Z',
              printf('<%d>%.*c', i, 3000, 'p') FROM n";
        c.execute(insert, []).unwrap();
        assert!(empty_log(&c).unwrap());
        let damage = |event: &str| {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(event.len()).position(|w| w == event.as_bytes()).unwrap();
            bytes[at / 4096 * 4096..][..4096].fill(0xA5);
            let other = dir.path().join("damaged.db");
            std::fs::write(&other, bytes).unwrap();
            let c = open_for_reading(&other).unwrap();
            [read_the_newest(&c, &other), read_every_page(&c, &other)].map(|read| read.is_err())
        };
        assert_eq!(read_the_newest(&c, &path), Ok(()));
        assert_eq!(damage("<1150>"), [true, true]);
        assert_eq!(damage("<10>"), [false, true]);
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        std::fs::write(&path, "one").unwrap();
        let mut identity = place::Identity::of(&path).unwrap();
        identity.check().unwrap();
        std::fs::write(dir.path().join("two"), "two").unwrap();
        std::fs::rename(dir.path().join("two"), &path).unwrap();
        assert!(matches!(identity.check(), Err(Error::Corrupt(_))));
    }
}
