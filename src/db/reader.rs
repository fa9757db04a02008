//! One connection for looking that several modules share: the writer's while hardly anything is
//! written (`lent.rs`); else one of its own, opened when somebody looks, closed when nobody has for a
//! while.
//!
//! Each connection that has read the schema holds more than 1 MB, which a shop at rest does without.
//! To see that nothing was committed, a connection that has read no schema is enough; it stays open.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{CLI_BUSY, Lent, lent, open, translate, unopened};
use crate::error::Result;
use crate::sync::lock;

/// Pages that it keeps, for it looks at few rows, over and over; less than nothing means KB.
const CACHE_KB: i64 = -256;

/// In a file larger than this a look may take as long as nobody who writes is to wait.
const LENT_MAX: u64 = 100 << 20;

/// Opening it again costs some ms of CPU.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Shared; a query at a time.
#[derive(Clone)]
pub struct Reader(Arc<Inside>);

struct Inside {
    /// The real path.
    path: PathBuf,
    /// The writer's connection.
    lent: Option<Lent>,
    looking: Mutex<Looking>,
    /// Has read no schema; `None` until it is needed.
    watching: Mutex<Option<Connection>>,
}

struct Looking {
    /// `None` at rest.
    connection: Option<Connection>,
    used: Instant,
}

/// The connection, as long as nobody else may have it. Whoever has it writes nothing, not by the
/// writer either.
pub struct Guard<'a> {
    /// Before the turn ends.
    lent: Option<lent::Looking<'a>>,
    looking: MutexGuard<'a, Looking>,
}

impl Deref for Guard<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.lent {
            Some(lent) => lent,
            None => self.looking.connection.as_ref().expect("it was opened before it was lent"),
        }
    }
}

impl Reader {
    /// Of the file at the real path, which a connection of this process has open: that it is ours
    /// and of today's version is not verified again. Opens nothing yet.
    pub fn of(path: &Path) -> Reader {
        Reader::borrowing(path, None)
    }

    /// The same, beside the writer in the same process.
    pub fn beside(path: &Path, lent: Lent) -> Reader {
        Reader::borrowing(path, Some(lent))
    }

    fn borrowing(path: &Path, lent: Option<Lent>) -> Reader {
        Reader(Arc::new(Inside {
            path: path.to_path_buf(),
            lent,
            looking: Mutex::new(Looking { connection: None, used: Instant::now() }),
            watching: Mutex::default(),
        }))
    }

    /// The connection, opened where it is not. Waits while somebody else has it.
    pub fn get(&self) -> Result<Guard<'_>> {
        let mut looking = lock(&self.0.looking);
        let lent = match &looking.connection {
            None => self.lent(),
            Some(_) => None,
        };
        if lent.is_none() {
            if looking.connection.is_none() {
                looking.connection = Some(self.with_schema()?);
            }
            looking.used = Instant::now();
        }
        Ok(Guard { lent, looking })
    }

    /// The writer's connection, where nobody is kept waiting by that.
    fn lent(&self) -> Option<lent::Looking<'_>> {
        let lent = self.0.lent.as_ref()?;
        let size = std::fs::metadata(&self.0.path).ok()?.len();
        (size <= LENT_MAX).then(|| lent.borrow())?
    }

    /// What a look finds; nobody waits for it longer than that.
    pub fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look(&*self.get()?)
    }

    /// A number that changes whenever anybody has committed: this process, or a shell.
    pub fn version(&self) -> Result<i64> {
        let mut watching = lock(&self.0.watching);
        let connection = match &mut *watching {
            Some(connection) => connection,
            none => none.insert(self.without_schema()?),
        };
        connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(translate)
    }

    /// Closes the connection where nobody has looked for a while; for whoever comes by often.
    pub fn rest(&self) {
        self.close_after(IDLE_MAX);
    }

    fn close_after(&self, idle: Duration) {
        // Who looks just now has used it just now.
        if let Ok(mut looking) = self.0.looking.try_lock()
            && looking.used.elapsed() >= idle
        {
            looking.connection = None;
        }
    }

    fn with_schema(&self) -> Result<Connection> {
        let connection = open(&self.0.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(CLI_BUSY).map_err(translate)?;
        connection.pragma_update(None, "query_only", true).map_err(translate)?;
        connection.pragma_update(None, "cache_size", CACHE_KB).map_err(translate)?;
        Ok(connection)
    }

    /// Nothing that it is set to here needs the schema.
    fn without_schema(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.0.path, flags)
            .map_err(|e| unopened(&self.0.path, e))?;
        connection.busy_timeout(CLI_BUSY).map_err(translate)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(translate)?;
        connection.pragma_update(None, "query_only", true).map_err(translate)?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::open_for_serving;

    #[test]
    fn what_is_closed_at_rest_is_open_again_for_whoever_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let writer = open_for_serving(&path, false).unwrap();
        let reader = Reader::of(&path);
        let live = |reader: &Reader| -> bool {
            reader.get().unwrap().query_row("SELECT livemode FROM shop", [], |r| r.get(0)).unwrap()
        };
        let is_open = || lock(&reader.0.looking).connection.is_some();
        assert!(!live(&reader));
        reader.rest();
        assert!(is_open(), "it was used just now");
        {
            let _used = reader.get().unwrap();
            reader.close_after(Duration::ZERO);
        }
        assert!(is_open(), "somebody looks");
        reader.close_after(Duration::ZERO);
        assert!(!is_open());

        // Closed, it still sees that somebody commits.
        let before = reader.version().unwrap();
        assert_eq!(reader.version(), Ok(before));
        writer.execute("UPDATE actor SET name = 'page:anna'", []).unwrap();
        assert_ne!(reader.version(), Ok(before));
        assert!(!is_open());

        assert!(!live(&reader));
        assert!(reader.get().unwrap().execute("DELETE FROM shop", []).is_err());
        assert!(is_open());
    }

    /// A shop whose writer lends, and whether a look opened a connection of its own.
    fn looks(shop: &Shop) -> bool {
        let query = "SELECT livemode FROM shop";
        let live: bool = shop.reader.get().unwrap().query_row(query, [], |r| r.get(0)).unwrap();
        assert!(!live);
        lock(&shop.reader.0.looking).connection.is_some()
    }

    struct Shop {
        _dir: tempfile::TempDir,
        path: PathBuf,
        lent: Lent,
        reader: Reader,
    }

    fn shop() -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let lent = Lent::from(open_for_serving(&path, false).unwrap());
        let reader = Reader::beside(&path, lent.clone());
        Shop { _dir: dir, path, lent, reader }
    }

    #[test]
    fn a_shop_at_rest_is_looked_at_through_the_writer_s_connection() {
        let shop = shop();
        assert!(!looks(&shop));
        shop.lent.hold().execute("UPDATE actor SET name = 'page:anna'", []).unwrap();
        assert!(!looks(&shop));
        assert!(!super::lent::is_borrowed_here(), "it was given back");

        let writing = shop.lent.hold();
        let waited = std::thread::scope(|s| s.spawn(|| looks(&shop)).join().unwrap());
        assert!(waited, "a look does not wait for a transaction that takes long");
        drop(writing);
        shop.reader.close_after(Duration::ZERO);
        assert!(!looks(&shop));
    }

    #[test]
    fn nobody_who_writes_waits_for_a_look_in_a_busy_shop_or_a_large_one() {
        let busy = shop();
        (0..30).for_each(|_| drop(busy.lent.hold()));
        assert!(looks(&busy));

        let large = shop();
        large.lent.hold().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&large.path).unwrap();
        file.set_len(LENT_MAX + 4096).unwrap();
        assert!(looks(&large));

        let stopped = shop();
        stopped.lent.close();
        assert!(looks(&stopped));
    }

    #[test]
    #[should_panic(expected = "a look changes nothing")]
    fn a_look_that_writes_is_seen_in_tests() {
        let shop = shop();
        shop.reader.get().unwrap().execute("UPDATE actor SET name = 'page:anna'", []).unwrap();
    }
}
