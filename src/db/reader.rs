//! One connection for looking that several modules share: the writer's while hardly anything is
//! written (`lent.rs`); else one of its own, opened when somebody looks, closed when nobody has
//! needed it for a while.
//!
//! Each connection that has read the schema holds more than 1 MB, which a shop at rest does without.

use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{CLI_BUSY, Lent, lent, open, translate};
use crate::error::{Error, Result};
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
    /// The file there, by its device and its number.
    file: Option<(u64, u64)>,
    /// The writer's connection.
    lent: Option<Lent>,
    looking: Mutex<Looking>,
}

struct Looking {
    /// `None` at rest.
    connection: Option<Connection>,
    /// How many there were so far.
    opened: u64,
    /// When somebody last looked who could not borrow the writer's.
    needed: Instant,
}

/// Differs from the one before where anybody has committed since: this process, or a shell. It may
/// differ without that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which connection it is of: each counts for itself. The writer's is 0.
    connection: u64,
    /// What others committed.
    of_others: i64,
    /// What the connection itself changed.
    own: u64,
}

impl Version {
    fn of(connection: u64, c: &Connection) -> Result<Version> {
        let of_others = c
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut query| query.query_row([], |row| row.get(0)))
            .map_err(translate)?;
        Ok(Version { connection, of_others, own: c.total_changes() })
    }
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
            file: at(path),
            lent,
            looking: Mutex::new(Looking { connection: None, opened: 0, needed: Instant::now() }),
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
            self.open(&mut looking)?;
            if !self.lends() {
                looking.needed = Instant::now();
            }
        }
        Ok(Guard { lent, looking })
    }

    /// Opens it where it is not.
    fn open(&self, looking: &mut Looking) -> Result<()> {
        if looking.connection.is_none() {
            looking.connection = Some(self.with_schema()?);
            looking.opened += 1;
            looking.needed = Instant::now();
        }
        Ok(())
    }

    /// The writer's connection, where nobody is kept waiting by that.
    fn lent(&self) -> Option<lent::Looking<'_>> {
        self.0.lent.as_ref().filter(|_| self.is_small())?.borrow()
    }

    fn lends(&self) -> bool {
        self.0.lent.as_ref().is_some_and(|lent| !lent.is_busy()) && self.is_small()
    }

    fn is_small(&self) -> bool {
        std::fs::metadata(&self.0.path).is_ok_and(|file| file.len() <= LENT_MAX)
    }

    /// What a look finds; nobody waits for it longer than that.
    pub fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look(&*self.get()?)
    }

    /// What to compare, to see whether anybody has committed. Takes a moment, and is no look that
    /// keeps the connection open.
    pub fn version(&self) -> Result<Version> {
        let mut looking = lock(&self.0.looking);
        if looking.connection.is_none() {
            if let Some(lent) = self.0.lent.as_ref().and_then(Lent::borrow) {
                return Version::of(0, &lent);
            }
            self.open(&mut looking)?;
        }
        let opened = looking.opened;
        Version::of(opened, looking.connection.as_ref().expect("it was opened just now"))
    }

    /// Closes the connection where nobody has needed it for a while; for whoever comes by often.
    pub fn rest(&self) {
        self.close_after(IDLE_MAX);
    }

    fn close_after(&self, idle: Duration) {
        // Who looks just now is not to lose it.
        if let Ok(mut looking) = self.0.looking.try_lock()
            && looking.needed.elapsed() >= idle
        {
            looking.connection = None;
        }
    }

    /// Not of another file that was put in the place of ours, beside whose log it would be read.
    fn with_schema(&self) -> Result<Connection> {
        if at(&self.0.path) != self.0.file {
            let path = self.0.path.display();
            return Err(Error::Temporary(format!("{path} was deleted or replaced")));
        }
        let connection = open(&self.0.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(CLI_BUSY).map_err(translate)?;
        connection.pragma_update(None, "query_only", true).map_err(translate)?;
        connection.pragma_update(None, "cache_size", CACHE_KB).map_err(translate)?;
        Ok(connection)
    }
}

fn at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::open_for_serving;

    #[test]
    fn what_is_closed_at_rest_is_open_again_for_whoever_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        drop(open_for_serving(&path, false).unwrap());
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

    /// Until looks are through a connection of their own.
    fn make_busy(shop: &Shop) {
        let until = Instant::now() + Duration::from_secs(60);
        while !looks(shop) {
            assert!(Instant::now() < until, "a busy writer still lends");
            (0..30).for_each(|_| drop(shop.lent.hold()));
        }
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
    fn whoever_commits_is_noticed_at_rest_and_in_a_busy_shop() {
        let shop = shop();
        let shell = Connection::open(&shop.path).unwrap();
        let mut last = shop.reader.version().unwrap();
        let mut is_new = || {
            let before = std::mem::replace(&mut last, shop.reader.version().unwrap());
            assert_eq!(shop.reader.version(), Ok(last), "nobody committed in between");
            before != last
        };
        let edit = "UPDATE actor SET name = 'page:' || hex(randomblob(4))";
        assert!(!is_new());
        for busy in [false, true] {
            if busy {
                make_busy(&shop);
            }
            assert_eq!(is_new(), busy, "another connection counts for itself");
            shop.lent.hold().execute(edit, []).unwrap();
            assert!(is_new());
            shell.execute(edit, []).unwrap();
            assert!(is_new());
            assert!(!is_new());
        }
        // One that was opened anew is not taken for the one before, which saw less.
        shop.reader.close_after(Duration::ZERO);
        assert!(is_new());
    }

    #[test]
    fn nobody_who_writes_waits_for_a_look_in_a_busy_shop_or_a_large_one() {
        make_busy(&shop());

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
    fn a_file_that_was_put_in_the_place_of_ours_is_not_looked_at() {
        let shop = shop();
        let other = shop.path.with_extension("other");
        std::fs::copy(&shop.path, &other).unwrap();
        std::fs::rename(&other, &shop.path).unwrap();
        shop.lent.close();
        assert!(shop.reader.get().is_err());
        assert!(shop.reader.version().is_err());
    }

    #[test]
    #[should_panic(expected = "a look changes nothing")]
    fn a_look_that_writes_is_seen_in_tests() {
        let shop = shop();
        shop.reader.get().unwrap().execute("UPDATE actor SET name = 'page:anna'", []).unwrap();
    }
}
