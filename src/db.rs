//! The file: opening it, what every connection is set to, and the one door where SQLite's errors become ours.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::access;
use crate::clock;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::shape;
use crate::text;

/// Marks the file as ours for `file(1)` and for every verb: the letters `flfd`.
pub const APPLICATION_ID: i32 = 0x666c_6664;

/// The version of the tables that `schema.sql` describes; `user_version` in the file.
pub const SCHEMA_VERSION: i64 = 1;

/// Today's tables, triggers, views and verbs.
pub const SCHEMA: &str = include_str!("../schema.sql");

/// After a checkpoint the log is cut back to this size, so that one long reader does not leave it large for good.
const JOURNAL_SIZE_LIMIT: i64 = 16 << 20;

/// How long a verb of the command line waits for somebody else's write.
const CLI_BUSY: Duration = Duration::from_secs(5);

/// Opens the file for the daemon, creating it when it is not there: born live or test, mode 0660, so that an operator in
/// the group and the daemon can both open it. Refuses, with `Error::Config`, a file of the other mode, of a newer version,
/// or not ours.
pub fn open_for_serving(path: &Path, livemode: bool) -> Result<Connection> {
    create_if_missing(path)?;
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // The writer waits by itself (writer.rs), because it must go on taking callers meanwhile.
    connection.busy_timeout(CLI_BUSY).map_err(translate)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(|e| unopened(path, e))?;
    if is_empty(&connection)? {
        create_tables(&mut connection, livemode)?;
    }
    check_version(&connection, path)?;
    check_mode(&connection, path, livemode)?;
    Ok(connection)
}

/// Makes a file that was not there, as [`open_for_serving`] does. `Usage` when there is one: it is never overwritten.
pub fn create(path: &Path, livemode: bool) -> Result<Connection> {
    match create_if_missing(path)? {
        true => open_for_serving(path, livemode),
        false => Err(Error::Usage(format!(
            "{} is there already and is not overwritten; move it away, or name another file",
            path.display()
        ))),
    }
}

/// Removes a file that [`create`] made, and what SQLite keeps beside it.
pub fn remove(path: &Path) {
    for beside in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// Opens an existing file for a verb that writes; a missing file is never created by surprise.
pub fn open_for_writing(path: &Path) -> Result<Connection> {
    existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// One connection for looking that several rooms share, a query at a time: each costs memory and the time to read the schema.
pub type Reader = Arc<Mutex<Connection>>;

/// Opens an existing file for looking only.
pub fn open_for_reading(path: &Path) -> Result<Connection> {
    let connection = existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| existing(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    connection.pragma_update(None, "query_only", true).map_err(translate)?;
    Ok(connection)
}

/// The same, and the file's bytes stay as they are even when its write-ahead log has not been moved into it yet.
pub fn open_untouched(path: &Path) -> Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let waits = std::fs::metadata(PathBuf::from(log)).is_ok_and(|log| log.len() > 0);
    let connection = open_for_reading(path)?;
    // Whoever closes a file last moves the log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, waits).map_err(translate)?;
    Ok(connection)
}

fn existing(path: &Path, flags: OpenFlags) -> Result<Connection> {
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Config(format!(
                "there is no file {}; name it with --db or FULFILLD_DB (only `fulfilld serve` and `fulfilld demo` create one)",
                path.display()
            )));
        }
        Err(e) => return Err(Error::Config(access::why_not(path, &e))),
    }
    let connection = open(path, flags)?;
    connection.busy_timeout(CLI_BUSY).map_err(translate)?;
    check_version(&connection, path)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(|e| unopened(path, e))?;
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        connection.pragma_update(None, name, value).map_err(|e| unopened(path, e))
    };
    // A commit is on the disk before anybody is told (promise 1).
    set("synchronous", &"FULL")?;
    if sabotage::is("synchronous_normal") {
        set("synchronous", &"NORMAL")?;
    }
    set("foreign_keys", &true)?;
    set("journal_size_limit", &JOURNAL_SIZE_LIMIT)?;
    // What stands in the file may call SQLite's own functions and nothing else.
    set("trusted_schema", &false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The daemon's hold on the file: while it lives, a second daemon is refused.
pub struct Lock(File); // closing it releases the lock

impl Lock {
    /// Writes a note into the lock's file, in place of the one before.
    pub fn note(&self, text: &[u8]) -> std::io::Result<()> {
        self.0.write_all_at(text, 0)?;
        self.0.set_len(text.len() as u64)
    }

    /// The last note; empty when there is none.
    pub fn noted(&self) -> Vec<u8> {
        let mut text = vec![0; self.0.metadata().map_or(0, |m| m.len().min(1 << 20)) as usize];
        let read = self.0.read_exact_at(&mut text, 0);
        if read.is_ok() { text } else { Vec::new() }
    }
}

/// Takes `<file>.lock`. A second daemon gets `Error::Config` with one sentence.
pub fn lock(path: &Path) -> Result<Lock> {
    let name = lock_path(path);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o660)
        .open(&name)
        .map_err(|e| Error::Config(format!("cannot create {}: {e}; {}", name.display(), hint(path))))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(_) => Err(Error::Config(format!(
            "another fulfilld is serving {}; stop it first (systemctl stop fulfilld), or name another file with FULFILLD_DB",
            path.display()
        ))),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Which file is open, so that a file deleted or replaced under the daemon is noticed before anything is acknowledged.
#[derive(Debug, Clone)]
pub struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    /// Remembers the file that is at the path now.
    pub fn of(path: &Path) -> Result<Identity> {
        let meta =
            std::fs::metadata(path).map_err(|e| Error::Config(format!("cannot look at {}: {e}", path.display())))?;
        Ok(Identity { path: path.to_path_buf(), device: meta.dev(), inode: meta.ino() })
    }

    /// `Corrupt` when the path no longer leads to that file.
    pub fn check(&self) -> Result<()> {
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.dev() == self.device && meta.ino() == self.inode && meta.nlink() > 0 => Ok(()),
            _ => Err(Error::Corrupt(format!(
                "{} was deleted or replaced while fulfilld was serving it; put the file back and start again",
                self.path.display()
            ))),
        }
    }
}

/// True when it was missing.
fn create_if_missing(path: &Path) -> Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o660).open(path) {
        // The umask may have taken the group's bits; SQLite gives -wal and -shm the mode of this file.
        Ok(file) => file
            .set_permissions(std::fs::Permissions::from_mode(0o660))
            .map(|()| true)
            .map_err(|e| Error::Config(format!("cannot set the mode of {}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::Config(format!("cannot create {}: {e}; {}", path.display(), hint(path)))),
    }
}

fn create_tables(connection: &mut Connection, livemode: bool) -> Result<()> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(translate)?;
    // Somebody else may have been quicker.
    if is_empty(&tx)? {
        tx.execute_batch(SCHEMA).map_err(translate)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(translate)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(translate)?;
        tx.execute(
            "INSERT INTO shop(one, livemode, created_at) VALUES (1, ?1, ?2)",
            (livemode, clock::text(clock::now())),
        )
        .map_err(translate)?;
    }
    tx.commit().map_err(translate)
}

fn is_empty(connection: &Connection) -> Result<bool> {
    let sql = "SELECT NOT EXISTS(SELECT 1 FROM sqlite_schema)";
    connection.query_row(sql, [], |row| row.get(0)).map_err(translate)
}

fn check_version(connection: &Connection, path: &Path) -> Result<()> {
    let shown = path.display();
    let pragma = |name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(|e| unopened(path, e))
    };
    let mark = pragma("application_id")?;
    if mark == 0 && shape::is_alike(connection).map_err(|e| unopened(path, e))? {
        return Err(unmarked(connection, path)?);
    }
    if mark != i64::from(APPLICATION_ID) {
        return Err(Error::Config(format!(
            "{shown} is not a fulfilld database; name the right file with --db or FULFILLD_DB"
        )));
    }
    let version = pragma("user_version")?;
    if version > SCHEMA_VERSION {
        return Err(Error::Config(format!(
            "{shown} was written by a newer fulfilld (schema {version}, this one knows {SCHEMA_VERSION}); install that version, \
             or restore the backup it made before it migrated"
        )));
    }
    Ok(())
}

/// What a `.dump` that was read into a new file is told: it leaves out the two marks, and may have been read by half.
fn unmarked(connection: &Connection, path: &Path) -> Result<Error> {
    let (shown, word) = (path.display(), text::shell_word(&path.to_string_lossy()));
    let lacking = shape::lacking(connection, SCHEMA).map_err(translate)?;
    Ok(Error::Config(match lacking.first() {
        None => format!(
            "{shown} is whole but not marked as a fulfilld database, as a .dump read into a new file is; type: sqlite3 {word} \
             'PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};' && fulfilld check --db {word}"
        ),
        Some(first) => format!(
            "{shown} looks like a .dump of a fulfilld database that was read by half, or of another version: it lacks {first} and \
             {} more; read all of it into a new file, or restore a backup",
            lacking.len() - 1
        ),
    }))
}

/// `Config` when the key is not of the mode that the file was born with.
pub fn check_mode(connection: &Connection, path: &Path, livemode: bool) -> Result<()> {
    let word = |live: bool| if live { "live" } else { "test" };
    let born: bool = connection.query_row("SELECT livemode FROM shop", [], |row| row.get(0)).map_err(translate)?;
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
            "{shown} is not a fulfilld database; name the right file with --db or FULFILLD_DB, or restore a backup"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) if is_denied(path) => {
            Error::Config(access::denied(path))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            Error::Config(format!("cannot open {shown} for writing: {error}; {}", hint(path)))
        }
        _ => translate(error),
    }
}

/// Whether the kernel refuses the file to this user.
fn is_denied(path: &Path) -> bool {
    File::open(path).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What to look at when a file or its lock cannot be opened or made: its owner, its mode, its directory.
fn hint(path: &Path) -> String {
    let me = rustix::process::geteuid().as_raw();
    let shown = text::shell_word(&path.to_string_lossy());
    match std::fs::metadata(path) {
        Ok(meta) if meta.uid() != me => format!(
            "it belongs to user {} and this is user {me}; run: sudo chown {me} {shown}*, or join its group",
            meta.uid()
        ),
        Ok(_) => "look at the mode of the file and of its directory".into(),
        Err(_) => "make its directory and let this user write there, or name another file with FULFILLD_DB".into(),
    }
}

/// SQLite's result codes as what to do next.
pub fn translate(error: rusqlite::Error) -> Error {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Temporary(
            "the file is locked: somebody else is writing (an open BEGIN in a sqlite3 shell? type COMMIT there)".into(),
        ),
        Some(ErrorCode::DiskFull) => Error::Temporary("the disk is full; free some space".into()),
        Some(ErrorCode::SystemIoFailure) => Error::Corrupt(format!("the disk failed: {text}")),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt(format!("the file is damaged: {text}; restore a backup"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Error::Config(format!(
            "the file cannot be written: {text}; look at the owner and mode of the file and of its directory"
        )),
        Some(ErrorCode::OutOfMemory) => Error::Temporary("out of memory".into()),
        // A trigger's sentence, or a CHECK: what was asked for is not allowed.
        _ => Error::Permanent(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_group_writable_ours_and_of_one_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        drop(open_for_serving(&path, false).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = open_for_serving(&path, true).unwrap_err();
        assert!(matches!(&error, Error::Config(m) if m.contains("holds test orders")), "{error}");
        assert!(open_for_reading(&path).unwrap().execute("UPDATE actor SET name = 'operator'", []).is_err());
    }

    #[test]
    fn a_second_daemon_a_foreign_file_and_a_newer_one_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(Error::Config(m)) if m.contains("another fulfilld")));
        drop(held);
        drop(lock(&path).unwrap());

        let noise = dir.path().join("noise.db");
        std::fs::write(&noise, "not a database at all, but long enough to look like one".repeat(50)).unwrap();
        assert!(open_for_reading(&noise).is_err());

        let connection = open_for_serving(&path, false).unwrap();
        connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(connection);
        assert!(matches!(open_for_writing(&path), Err(Error::Config(m)) if m.contains("newer fulfilld")));
        assert!(
            matches!(open_for_writing(&dir.path().join("none.db")), Err(Error::Config(m)) if m.contains("no file"))
        );
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        std::fs::write(&path, "one").unwrap();
        let identity = Identity::of(&path).unwrap();
        identity.check().unwrap();
        std::fs::write(dir.path().join("two"), "two").unwrap();
        std::fs::rename(dir.path().join("two"), &path).unwrap();
        assert!(matches!(identity.check(), Err(Error::Corrupt(_))));
    }
}
