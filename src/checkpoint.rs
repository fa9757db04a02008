//! The log's one owner: moves it into the file before it is long, in quiet moments, at the start
//! and at the end.
//!
//! SQLite would move the log in passing and report to nobody how that went. Here the writer does it
//! after its callers have their answers, looks at what came of it, and begins each log with a
//! change of page 1, which shows that a log is the file's own (wal.rs).

mod condition; // how the log is doing
mod steps; // what is done to the log

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::backups;
use crate::db;
use crate::error::Result;
use crate::litestream::Follower;
use crate::place::{self, Identity, Lock, Witnesses};
use crate::rollback_guard::Running;
use crate::sabotage;
use crate::wal;

pub use condition::Condition;
use steps::Moved;

/// The log is moved into the file from here on. With the largest batch on top it stays below a
/// thousand pages, where older shells begin to move it themselves.
pub const PAGES: u64 = 400;

/// A quiet moment: so long nobody wanted anything.
pub const QUIET: Duration = Duration::from_secs(1);

/// Between two tries while somebody keeps the log from being emptied.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// ... or when the log has grown by so many pages since: a reader that was in the way for a moment
/// must not cost a busy second's worth of log.
const AGAIN_AFTER_PAGES: u64 = 100;

/// The log's file is cut off at least so often, however much is written: what was in it, as about
/// somebody who is forgotten, is not to stay there.
const CUT_EVERY: Duration = Duration::from_secs(5);

/// A try at a long log waits so long for those who read to come to their end, which takes most of
/// them a few milliseconds. It holds the write lock meanwhile: so a short log never waits, and after
/// a wait in vain no try does until one has succeeded. Who reads without an end costs buyers and
/// other shells this much, once.
const PATIENCE: Duration = Duration::from_millis(100);

/// A log of so many pages that cannot be emptied has somebody who reads and never ends.
const GROWN_PAGES: u64 = 1_000;

/// After an unclean end, a file of more pages than this is read while it is served already, so that
/// no start takes a time in proportion to the file.
const READ_FIRST: i64 = 25_000;

/// Litestream moves the log by itself once a minute and at 1,000 pages; one that is longer than this
/// has somebody else who reads and never ends.
const FOLLOWED_PAGES: u64 = 15_000;

/// At a stop: how long to wait for whoever keeps the log from being emptied.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Owns the log of one file. It is used by the thread that owns the write connection.
pub struct Checkpointer {
    identity: Identity,
    noting: Option<Arc<Lock>>,
    log: Option<File>,
    /// Set once this log has a change of page 1 in it.
    marked: bool,
    marking: bool,
    /// The log as it was begun; another one has been begun by somebody else.
    salt: Option<[u8; 8]>,
    condition: Condition,
    /// Since when the log's file has not been cut off, though all that is in it was moved.
    reused: Option<Instant>,
    /// When it was last tried in vain, and how long the log was then.
    tried: Option<(Instant, u64)>,
    /// The last try that waited for those who read did so in vain.
    in_vain: bool,
    /// How whoever served the file before ended.
    unclean: bool,
    /// Whether the log is Litestream's to empty.
    follower: Follower,
    /// What is in the file.
    running: Running,
    /// The daemon itself reads the file from end to end.
    own_reader: Arc<AtomicBool>,
}

impl Checkpointer {
    /// For the file at the real path, before anything of it is written. `noting` is the lock of
    /// whoever serves it.
    pub fn of(identity: Identity, noting: Option<Arc<Lock>>) -> Checkpointer {
        let note = noting.as_ref().map(|lock| lock.file_noted());
        let clean = note.as_ref().is_some_and(|note| note.as_ref().is_none_or(|note| note.clean));
        let mut checkpointer = Checkpointer {
            identity,
            noting,
            log: None,
            marked: false,
            marking: false,
            salt: None,
            condition: Condition::default(),
            reused: None,
            tried: None,
            in_vain: false,
            unclean: false,
            follower: Follower::default(),
            running: Running::default(),
            own_reader: Arc::default(),
        };
        checkpointer.measure();
        let left = note.flatten().is_some_and(|note| note.has_left(checkpointer.log_left()));
        checkpointer.unclean = !clean || (checkpointer.condition.pages > 0 && !left);
        checkpointer
    }

    /// What the last moves of the log came to.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// What is to hold before the first 200: after an unclean end every page can be read, of a large
    /// file what was written last; the rest is left to whoever [`Checkpointer::reads_later`].
    /// `Config` when the file is damaged.
    pub fn verify(&self, c: &Connection) -> Result<()> {
        match (self.unclean, self.reads_later(c)?) {
            (true, true) => db::read_the_newest(c, self.identity.path()),
            (true, false) => db::read_every_page(c, self.identity.path()),
            (false, _) => Ok(()),
        }
    }

    /// True after an unclean end of a large file, whose pages are to be read while it is served.
    pub fn reads_later(&self, c: &Connection) -> Result<bool> {
        let pages: i64 =
            c.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(db::translate)?;
        Ok(self.unclean && pages > READ_FIRST)
    }

    /// To be true while that is done: the daemon's own reading keeps the log from being emptied, and
    /// nobody is to be told to end it.
    pub fn own_reader(&self) -> Arc<AtomicBool> {
        self.own_reader.clone()
    }

    /// The log at a start, which may have a hole where a sync failed: what it has in memory alone is
    /// written to it again, before anything of it is moved. Else a power cut leaves a file that is
    /// ahead of its log. `Temporary` while somebody else writes.
    pub fn settle(&mut self, c: &Connection) -> Result<()> {
        if sabotage::is("log_without_owner") {
            return Ok(());
        }
        self.measure();
        if self.unclean && self.condition.pages > 0 && !sabotage::is("hole_moved_into_file") {
            steps::write_again(c, self.identity.path())?;
        }
        self.empty(c)?;
        self.note_another()
    }

    /// A file that was put in the place of the noted one is noted before its first log is begun.
    /// Where a reader keeps that log from being emptied, the next one may have no page 1, and by the
    /// old note it would be another file's.
    fn note_another(&mut self) -> Result<()> {
        let noted = self.noting.as_ref().and_then(|lock| lock.file_noted());
        let is_another = noted.is_some_and(|note| note.header() != Some(*self.identity.header()));
        match self.condition.pages == 0 && is_another {
            true => self.identity.renew(self.noting.as_deref(), false),
            false => Ok(()),
        }
    }

    /// Inside a transaction, before anything is read or written. It begins the next log when all of
    /// this one is in the file, as a shell may have moved it. Then the file is to be noted as it is
    /// now, and page 1 read anew, so the transaction is taken back: true, and it is to be begun
    /// again. `Corrupt` as for [`Checkpointer::check`].
    pub fn catch_up(&mut self, c: &Connection) -> Result<bool> {
        let is_moved = || self.identity.log_in_use().is_some_and(|log| log.is_moved);
        if !self.marked || !is_moved() {
            return Ok(false);
        }
        c.execute_batch("ROLLBACK").map_err(db::translate)?;
        self.identity.check()?;
        self.reused.get_or_insert_with(Instant::now);
        self.note_moved(c)?;
        Ok(true)
    }

    /// Inside a transaction, before anything is written: `Corrupt` when the file is no longer the
    /// one that was opened, or what is in it has gone back.
    pub fn check(&mut self, c: &Connection) -> Result<()> {
        if sabotage::is("locks_dropped") {
            // A close of any descriptor of a file drops all locks that the process has on it.
            drop(std::fs::File::open(format!("{}-shm", self.identity.path().display())));
        }
        self.identity.check()?;
        self.identity.check_index()?;
        self.running.check(c)
    }

    /// Inside a transaction that wrote something: a log begins with a change of page 1.
    pub fn mark(&mut self, c: &Connection) -> Result<()> {
        self.running.note(c)?;
        if !self.marked && !sabotage::is("unmarked_log") {
            c.pragma_update(None, "user_version", db::schema_version()).map_err(db::translate)?;
            self.marking = true;
        }
        Ok(())
    }

    /// After a COMMIT and before anybody is answered: `Corrupt` when the file is no longer the one
    /// that was opened.
    pub fn committed(&mut self) -> Result<()> {
        let begun = std::mem::take(&mut self.marking);
        self.marked |= begun;
        self.running.ended(true);
        self.identity.check()?;
        self.measure_in_use();
        if begun && self.marked {
            self.note_begun();
        }
        Ok(())
    }

    /// A transaction was taken back.
    pub fn rolled_back(&mut self) {
        self.marking = false;
        self.running.ended(false);
    }

    /// True when the log is long enough to be moved into the file.
    pub fn is_due(&self) -> bool {
        self.condition.pages >= if sabotage::is("short_logs") { 16 } else { PAGES }
            && self.tried.is_none_or(|(at, pages)| {
                at.elapsed() >= AGAIN_AFTER || self.condition.pages >= pages + AGAIN_AFTER_PAGES
            })
    }

    /// True when the log's file may have something in it.
    pub fn has_log(&self) -> bool {
        self.condition.pages > 0 || self.reused.is_some()
    }

    /// Moves the log into the file, as far as nobody who reads or writes keeps it from that, and
    /// cuts the log's file off. An error means that the process must end; what else goes wrong is in
    /// [`Checkpointer::condition`].
    pub fn empty(&mut self, c: &Connection) -> Result<()> {
        self.end_log(c, false)
    }

    /// The same amid work: the log's file keeps its length, and the next log is written over it. So
    /// a commit has its pages to sync and no new size of a file, which takes most disks a second
    /// write.
    pub fn empty_amid_work(&mut self, c: &Connection) -> Result<()> {
        let is_recent = self.reused.is_none_or(|since| since.elapsed() < CUT_EVERY);
        self.end_log(c, is_recent)
    }

    fn end_log(&mut self, c: &Connection, reuse: bool) -> Result<()> {
        if sabotage::is("log_without_owner") {
            return Ok(());
        }
        self.identity.check()?;
        match reuse {
            true => self.measure_in_use(),
            false => self.measure(),
        }
        if self.condition.pages == 0 {
            self.reused = self.reused.filter(|_| reuse);
            return Ok(());
        }
        self.tried = Some((Instant::now(), self.condition.pages));
        if self.is_followed() {
            self.condition.failing = None;
            match self.condition.pages >= FOLLOWED_PAGES && !self.own_reader.load(Relaxed) {
                true => drop(self.condition.grown.get_or_insert_with(Instant::now)),
                false => self.condition.grown = None,
            }
            return Ok(());
        }
        let moved = match self.identity.log_in_use() {
            Some(log) if log.is_moved && log.is_found => steps::cut_off(c, &self.identity),
            _ => {
                // A log that somebody else began has no mark yet.
                if !self.marked && !self.mark_alone(c)? {
                    return Ok(());
                }
                let witnesses = self.identity.check_frames()?;
                self.move_log(c, &witnesses, reuse)?
            }
        };
        match moved {
            // Somebody who reads may keep it from being cut off; the next one begins without it all
            // the same.
            Ok(moved @ (Moved::Whole | Moved::AndCutOff)) => {
                self.note_moved(c)?;
                let is_left = moved == Moved::Whole;
                self.in_vain &= is_left && !reuse;
                self.reused = is_left.then(|| self.reused.unwrap_or_else(Instant::now));
                if self.condition.failing.is_some() || self.condition.grows().is_some() {
                    log::info!("the write-ahead log was moved into the file again");
                }
                self.condition = Condition::default();
            }
            Ok(Moved::InPart) => {
                self.condition.failing = None;
                if self.own_reader.load(Relaxed) || backups::is_running(self.identity.path()) {
                    self.condition.grown = None;
                } else if self.condition.pages >= GROWN_PAGES {
                    self.condition.grown.get_or_insert_with(Instant::now);
                }
            }
            Err(error) if db::is_damage(&error) => return Err(db::translate(error)),
            Err(error) => {
                if self.condition.failing.is_none() {
                    log::error!(
                        "the write-ahead log cannot be moved into the file and is growing: {error}"
                    );
                }
                self.condition.failing.get_or_insert_with(|| (Instant::now(), error.to_string()));
            }
        }
        Ok(())
    }

    /// What is in the file now is what the next log is begun for.
    fn note_moved(&mut self, c: &Connection) -> Result<()> {
        self.identity.renew(self.noting.as_deref(), false)?;
        // Page 1 is read anew, so that its next change counts from what is in the file now.
        let _ = c.release_memory();
        (self.marked, self.salt, self.tried) = (false, None, None);
        Ok(())
    }

    /// True while Litestream copies the log and moves it into the file itself: whoever else empties
    /// it makes Litestream copy the whole file anew.
    pub fn is_followed(&mut self) -> bool {
        !sabotage::is("litestream_unseen") && self.follower.follows(self.identity.path())
    }

    /// A long log waits for those who read, unless that was in vain the last time. A connection that
    /// waits longer by itself, as a verb's does, goes on doing so.
    fn move_log(
        &mut self,
        c: &Connection,
        witnesses: &Witnesses,
        reuse: bool,
    ) -> Result<rusqlite::Result<Moved>> {
        let own = c.pragma_query_value(None, "busy_timeout", |row| row.get::<_, u32>(0));
        let own = Duration::from_millis(own.map_err(db::translate)?.into());
        let wait = self.condition.pages >= PAGES && !self.in_vain && own < PATIENCE;
        if !wait {
            return steps::move_log(c, &mut self.identity, witnesses, reuse);
        }
        let patience = |wait| c.busy_timeout(wait).map_err(db::translate);
        patience(PATIENCE)?;
        let moved = steps::move_log(c, &mut self.identity, witnesses, reuse)?;
        self.in_vain = true;
        patience(own)?;
        Ok(moved)
    }

    /// The last act of a stop: the file alone is whole. What keeps it from that is said and is no
    /// failure.
    pub fn finish(&mut self, c: &Connection) -> Result<()> {
        let until = Instant::now() + STOP_WITHIN;
        if sabotage::is("log_left_at_stop") {
            return Ok(());
        }
        loop {
            self.empty(c)?;
            if !self.has_log() {
                break;
            }
            if self.is_followed() {
                return self.leave_log();
            }
            if Instant::now() > until {
                let path = self.identity.path().display();
                if self.condition.pages > 0 {
                    log::warn!(
                        "the latest orders are in {path}-wal alone: somebody still reads {path}, or \
                         the disk failed; copy both files together"
                    );
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // A log that is left has a page 1 of its own, so what the file is noted as need not change.
        if self.condition.pages == 0 {
            self.identity.renew(self.noting.as_deref(), true)
        } else {
            Ok(())
        }
    }

    /// For a verb beside no daemon: what it wrote is moved into the file, and whether the last
    /// daemon ended well stays noted.
    pub fn leave(&mut self, c: &Connection) -> Result<()> {
        let clean =
            self.noting.as_ref().and_then(|lock| lock.file_noted()).is_none_or(|note| note.clean);
        self.empty(c)?;
        if self.condition.pages == 0 {
            self.identity.renew(self.noting.as_deref(), clean)
        } else {
            Ok(())
        }
    }

    /// Every commit in the log is on the disk, so the next start need not doubt it.
    fn leave_log(&mut self) -> Result<()> {
        self.measure();
        let left = self.log_left().filter(|_| self.condition.failing.is_none());
        self.identity.note_log(self.noting.as_deref(), left)
    }

    /// The log as a note names it; `None` when there is none.
    fn log_left(&self) -> Option<(String, u64)> {
        let salt = self.salt?.iter().map(|byte| format!("{byte:02x}")).collect();
        Some((salt, self.log.as_ref()?.metadata().ok()?.len()))
    }

    /// False when it has to wait for somebody else's write.
    fn mark_alone(&mut self, c: &Connection) -> Result<bool> {
        if sabotage::is("unmarked_log") {
            return Ok(true);
        }
        let _ = c.release_memory();
        let marked = c
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| c.pragma_update(None, "user_version", db::schema_version()))
            .and_then(|()| c.execute_batch("COMMIT"));
        match marked.map_err(db::translate) {
            Ok(()) => {
                self.marked = true;
                self.measure();
                Ok(true)
            }
            Err(error) => {
                if !c.is_autocommit() {
                    let _ = c.execute_batch("ROLLBACK");
                }
                if error.is_temporary() { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Notes which log was begun for the file as it is noted: another shop's may count from the same
    /// number. It has a change of page 1, so once it is in the file that note no longer holds.
    fn note_begun(&self) {
        let (Some(lock), Some(salt)) = (&self.noting, self.salt) else { return };
        let Some(note) = lock.file_noted().filter(|_| !sabotage::is("log_not_noted")) else {
            return;
        };
        if let Err(e) = lock.note_file(note.with_log(salt)) {
            log::debug!("which log was begun could not be noted: {e}");
        }
    }

    /// How much of the log is not in the file yet, and whether it is still the same. Only after SQLite
    /// has read the log, which makes the index right.
    fn measure_in_use(&mut self) {
        let Some(log) = self.identity.log_in_use() else { return self.measure() };
        self.condition.pages = if log.is_moved { 0 } else { log.frames.into() };
        if log.is_moved || self.salt.is_some_and(|salt| salt != log.salt) {
            self.marked = false;
        }
        if log.is_moved && log.frames > 0 {
            self.reused.get_or_insert_with(Instant::now);
        }
        self.salt = (!log.is_moved).then_some(log.salt);
    }

    /// How long the log's file is, and whether it is still the same log.
    fn measure(&mut self) {
        if self.log.is_none() {
            self.log = File::open(place::beside(self.identity.path(), "-wal")).ok();
        }
        let size =
            self.log.as_ref().and_then(|log| log.metadata().ok()).map_or(0, |meta| meta.len());
        self.condition.pages = size / self.identity.frame_size();
        let salt =
            self.log.as_ref().and_then(|log| wal::salt(log).ok().flatten()).filter(|_| size > 0);
        if self.salt.is_some() && self.salt != salt {
            self.marked = false;
        }
        self.salt = salt;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_try_waits_once_in_vain_and_a_connection_keeps_its_own_patience() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let c = Connection::open(&path).unwrap();
        c.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(a);
             INSERT INTO t VALUES (1)",
        )
        .unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let patience = |ms: u64| c.busy_timeout(Duration::from_millis(ms)).unwrap();
        let own =
            || c.pragma_query_value(None, "busy_timeout", |row| row.get::<_, u32>(0)).unwrap();
        let mut log = Checkpointer::of(Identity::of(&path).unwrap(), None);
        patience(0);
        // A short log, as in a quiet moment, keeps no other shell from writing.
        log.empty(&c).unwrap();
        assert!(log.condition().pages > 0 && !log.in_vain);
        let more = format!("INSERT INTO t VALUES (zeroblob({}))", (PAGES + 50) * 4096);
        c.execute_batch(&more).unwrap();
        log.empty(&c).unwrap();
        assert!(log.in_vain, "a long one waits");
        assert_eq!(own(), 0);
        // A verb waits as long as it always does.
        patience(200);
        log.empty(&c).unwrap();
        assert_eq!(own(), 200);
        // A backup that runs is no reason to look for somebody who reads without an end.
        c.execute_batch(&more).unwrap();
        c.execute_batch(&more).unwrap();
        let backup = backups::begin(&path).unwrap();
        log.empty(&c).unwrap();
        assert!(log.condition().pages > GROWN_PAGES && log.condition().grown.is_none());
        drop(backup);
        // Nor is the daemon's own reading of a large file.
        log.own_reader().store(true, Relaxed);
        log.empty(&c).unwrap();
        assert!(log.condition().grown.is_none());
        log.own_reader().store(false, Relaxed);
        log.empty(&c).unwrap();
        assert!(log.condition().grown.is_some());
        reader.execute_batch("COMMIT").unwrap();
        log.empty(&c).unwrap();
        assert_eq!((log.condition().pages, log.in_vain, own()), (0, false, 200));
    }

    /// A file with its log's owner, as the writer has them.
    fn owned(path: &Path) -> (Connection, Checkpointer) {
        let c = Connection::open(path).unwrap();
        c.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL;
             CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        )
        .unwrap();
        let mut owner = Checkpointer::of(Identity::of(path).unwrap(), None);
        owner.settle(&c).unwrap();
        (c, owner)
    }

    /// One transaction as the writer makes it.
    fn commit(c: &Connection, owner: &mut Checkpointer, bytes: u32) {
        c.execute_batch("BEGIN IMMEDIATE").unwrap();
        owner.identity.check().unwrap();
        owner.identity.check_index().unwrap();
        c.execute("INSERT INTO t VALUES (NULL, zeroblob(?1))", [bytes]).unwrap();
        c.pragma_update(None, "user_version", 3).unwrap();
        owner.marking = true;
        c.execute_batch("COMMIT").unwrap();
        owner.committed().unwrap();
    }

    fn rows(path: &Path) -> i64 {
        let c = Connection::open(path).unwrap();
        c.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn amid_work_a_log_is_written_over_the_last_one_and_a_quiet_moment_cuts_it_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let (c, mut owner) = owned(&path);
        let size = || place::beside(&path, "-wal").metadata().unwrap().len();
        let large = PAGES as u32 * 4096;
        commit(&c, &mut owner, large);
        assert!(owner.is_due() && owner.marked);
        let (longest, first) = (size(), owner.salt);
        owner.empty_amid_work(&c).unwrap();
        assert_eq!((owner.condition.pages, owner.has_log(), owner.marked), (0, true, false));
        assert_eq!(size(), longest, "the file of the log stays");
        for n in 1..=3 {
            commit(&c, &mut owner, 9_000);
            assert!(owner.condition.pages < 10 * n && owner.marked && !owner.is_due());
            assert!(owner.salt.is_some() && owner.salt != first, "it is another log");
            assert_eq!(size(), longest, "which is written over the last one");
        }
        // What is beside the file then is all of it: after a crash, and after a copy of both.
        let copy = dir.path().join("copy.db");
        for suffix in ["", "-wal"] {
            std::fs::copy(place::beside(&path, suffix), place::beside(&copy, suffix)).unwrap();
        }
        let log = File::open(place::beside(&copy, "-wal")).unwrap();
        let header = wal::header(&File::open(&copy).unwrap()).unwrap();
        assert_eq!(wal::whose(&header, &log).unwrap(), wal::Whose::BegunForIt);
        assert_eq!(rows(&copy), 4);
        // Moved, and not cut off yet, the log is the file's still.
        owner.empty_amid_work(&c).unwrap();
        let (log, header) = (File::open(place::beside(&path, "-wal")).unwrap(), &owner.identity);
        let header = wal::header(&File::open(header.path()).unwrap()).unwrap();
        assert_eq!(wal::whose(&header, &log).unwrap(), wal::Whose::TheFiles);
        owner.identity.check().unwrap();
        owner.empty(&c).unwrap();
        assert_eq!((size(), owner.has_log()), (0, false));
        assert_eq!(rows(&path), 4);
        commit(&c, &mut owner, 10);
        assert!(owner.condition.pages > 0 && owner.marked);
    }

    #[test]
    fn a_log_that_is_always_busy_is_cut_off_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let (c, mut owner) = owned(&path);
        commit(&c, &mut owner, 9_000);
        owner.empty_amid_work(&c).unwrap();
        let size = || place::beside(&path, "-wal").metadata().unwrap().len();
        assert!(size() > 0);
        owner.reused = Instant::now().checked_sub(CUT_EVERY);
        commit(&c, &mut owner, 9_000);
        owner.empty_amid_work(&c).unwrap();
        assert_eq!((size(), owner.has_log()), (0, false));
    }

    #[test]
    fn a_log_that_somebody_else_moved_is_cut_off_in_a_quiet_moment_and_the_next_one_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let (c, mut owner) = owned(&path);
        let shell = Connection::open(&path).unwrap();
        commit(&c, &mut owner, 9_000);
        assert!(steps::checkpoint(&shell, "FULL").unwrap());
        assert!(owner.has_log());
        owner.empty_amid_work(&c).unwrap();
        assert!(owner.has_log() && !owner.marked);
        owner.empty(&c).unwrap();
        assert_eq!(place::beside(&path, "-wal").metadata().unwrap().len(), 0);
        assert!(!owner.has_log());
        // Nor does one that it has cut off keep the writer from its sleep.
        commit(&c, &mut owner, 9_000);
        owner.empty_amid_work(&c).unwrap();
        assert!(steps::checkpoint(&shell, "TRUNCATE").unwrap());
        owner.empty(&c).unwrap();
        assert!(!owner.has_log());
    }

    /// Somebody who reads keeps the log from being cut off, and not from being moved.
    #[test]
    fn a_log_that_is_cut_off_only_at_a_second_try_leaves_a_note_of_the_file_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        drop(owned(&path));
        let lock = Arc::new(place::lock(&path).unwrap());
        let c = Connection::open(&path).unwrap();
        c.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        let mut owner = Checkpointer::of(Identity::of(&path).unwrap(), Some(lock.clone()));
        owner.settle(&c).unwrap();
        commit(&c, &mut owner, 9_000);
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let is_noted = || {
            let header = wal::header(&File::open(&path).unwrap()).unwrap();
            lock.file_noted().and_then(|note| note.header()) == Some(header)
        };
        owner.empty(&c).unwrap();
        assert!(owner.condition.pages == 0 && owner.has_log(), "it could not be cut off");
        assert!(is_noted());
        reader.execute_batch("COMMIT").unwrap();
        owner.empty(&c).unwrap();
        assert_eq!((owner.condition.pages, owner.has_log()), (0, false));
        assert!(is_noted());
    }

    /// Killed right after its first commit, a log that does not say for which file it was begun
    /// would be played back into another one.
    #[test]
    fn a_log_is_marked_from_its_first_commit_on_whoever_moved_the_last_one() {
        for moved in ["by a shell", "by its owner, who could not cut it off"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c.db");
            let c = db::create(&path, false).unwrap();
            let mut owner = Checkpointer::of(Identity::of(&path).unwrap(), None);
            owner.settle(&c).unwrap();
            // It needs no new page, so nothing but the mark changes page 1.
            let write = |owner: &mut Checkpointer| {
                c.execute_batch("BEGIN IMMEDIATE").unwrap();
                if owner.catch_up(&c).unwrap() {
                    c.execute_batch("BEGIN IMMEDIATE").unwrap();
                }
                owner.check(&c).unwrap();
                c.execute("UPDATE sequence SET n = n + 1", []).unwrap();
                owner.mark(&c).unwrap();
                c.execute_batch("COMMIT").unwrap();
                owner.committed().unwrap();
            };
            write(&mut owner);
            write(&mut owner);
            assert!(owner.marked);
            let other = Connection::open(&path).unwrap();
            if moved == "by a shell" {
                assert!(steps::checkpoint(&other, "FULL").unwrap());
            } else {
                other.execute_batch("BEGIN; SELECT * FROM sequence").unwrap();
                owner.empty(&c).unwrap();
                other.execute_batch("COMMIT").unwrap();
            }
            let mut header = wal::header(&File::open(&path).unwrap()).unwrap();
            write(&mut owner);
            let log = File::open(place::beside(&path, "-wal")).unwrap();
            assert_eq!(wal::whose(&header, &log).unwrap(), wal::Whose::BegunForIt, "{moved}");
            let changes = wal::changes(&header);
            // As it was before, and as it is later.
            for of_another in [changes - 1, changes + 2] {
                header[24..28].copy_from_slice(&of_another.to_be_bytes());
                assert_eq!(wal::whose(&header, &log).unwrap(), wal::Whose::Anothers, "{moved}");
            }
        }
    }
}
