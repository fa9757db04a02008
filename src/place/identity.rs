//! Whether the file is still the one that was opened.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::companions::{Companions, InUse};
use super::descriptors::kept;
use super::lock::{Lock, Note};
use super::log::{LOOKS_MAX, Look};
use super::{beside, second_name};
use crate::error::{Error, Result};
use crate::sabotage;
use crate::wal::{self, Header, Whose};

/// Which file is open, so that one that is deleted, replaced or written over under the daemon is
/// noticed before anything is acknowledged.
pub struct Identity {
    path: PathBuf,
    file: Arc<File>,
    device: u64,
    inode: u64,
    /// As it was left by us, or by somebody who did it no harm.
    stamp: Stamp,
    /// Its first bytes when its log was last empty.
    header: Header,
    /// Its first bytes when it was last looked at.
    seen: Header,
    companions: Companions,
    /// Pages that were moved into it, the last one first.
    recent: Vec<u32>,
    /// Its first bytes after the log was moved into it, until it is remembered so.
    moved: Option<Header>,
}

/// Pages that no checkpoint may change, as they were before it.
pub struct Witnesses(Vec<(u32, Vec<u8>)>);

/// So many of the pages that were written last, and of the last ones in the file. A file that was
/// copied over this one differs in what was written since, or has nothing to differ in.
const WITNESSES: usize = 8;

/// Pages that are remembered as the last ones that were moved.
const RECENT: usize = 512;

/// Changes when anybody writes the file.
type Stamp = (u64, i64, i64, i64, i64);

fn failed(e: std::io::Error) -> Error {
    Error::Corrupt(format!("the disk failed: {e}"))
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

impl Identity {
    /// Remembers the file that is at the path now.
    pub fn of(path: &Path) -> Result<Identity> {
        let cannot = |e| Error::Config(format!("cannot look at {}: {e}", path.display()));
        let (file, meta) = kept(path).map_err(cannot)?;
        let header = wal::header(&file).map_err(cannot)?;
        let (device, inode) = (meta.dev(), meta.ino());
        Ok(Identity {
            path: path.to_path_buf(),
            file,
            device,
            inode,
            stamp: stamp(&meta),
            header,
            seen: header,
            companions: Companions::of(path),
            recent: Vec::new(),
            moved: None,
        })
    }

    /// The real path, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its first bytes when its log was last empty.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// So many bytes a page takes in its log.
    pub fn frame_size(&self) -> u64 {
        wal::frame_size(&self.header)
    }

    /// What there is of its log; `None` while that cannot be said.
    pub fn log_in_use(&self) -> Option<InUse> {
        self.companions.in_use()
    }

    /// `Corrupt` when the path no longer leads to that file, or its log's to the log that is
    /// written, or somebody put other bytes into one of them. Costs three stat(2) and a few reads.
    pub fn check(&mut self) -> Result<()> {
        let meta = self.meta()?;
        if !sabotage::is("log_not_watched") {
            self.companions.check()?;
        }
        // A stamp stays the same for some milliseconds in which the file may be written again.
        let header = wal::header(&self.file).map_err(failed)?;
        if (stamp(&meta) != self.stamp || header != self.seen)
            && let Some(header) = self.explained()?
        {
            (self.stamp, self.seen) = (stamp(&meta), header);
        }
        Ok(())
    }

    /// `Corrupt` when the log's index leads to other pages than the log has. Inside a transaction,
    /// before anything is read.
    pub fn check_index(&mut self) -> Result<()> {
        match sabotage::is("log_not_watched") {
            true => Ok(()),
            false => self.companions.check_index(&self.file),
        }
    }

    /// Before the log is moved into the file: `Corrupt` when it is not what was committed, or the
    /// file is not what it was. What is returned is for [`Identity::has_moved`].
    pub fn check_frames(&mut self) -> Result<Witnesses> {
        if !sabotage::is("log_not_watched") {
            self.companions.check_frames(&self.file)?;
        }
        let witnesses = self.witnesses().map_err(failed)?;
        // Reading all this took a while; a file copied over this one since would be mixed with it.
        self.check()?;
        Ok(witnesses)
    }

    /// After the log was moved into the file, and before it is emptied: `Corrupt` when the file does
    /// not hold what is in the log, or differs elsewhere from what it was, as a file that was copied
    /// over it meanwhile does. False when that cannot be seen, because others write just then.
    pub fn has_moved(&mut self, witnesses: &Witnesses) -> Result<bool> {
        if sabotage::is("log_not_watched") {
            return Ok(true);
        }
        let mut seen_wrong = false;
        for _ in 0..LOOKS_MAX {
            let header = wal::header(&self.file).map_err(failed)?;
            let Some(moved) = self.companions.moved(&self.file).map_err(failed)? else { continue };
            let is_kept =
                |(page, was): &(u32, Vec<u8>)| moved.may_change(*page) || self.page(*page) == *was;
            if moved.is_whole && witnesses.0.iter().all(is_kept) {
                self.moved = Some(header);
                return Ok(true);
            }
            // Somebody else may have moved what is newer just then.
            if std::mem::replace(&mut seen_wrong, true) {
                return Err(self.written_over());
            }
        }
        Ok(false)
    }

    /// Pages that are not in the log: those that were written last, and the last ones.
    fn witnesses(&self) -> std::io::Result<Witnesses> {
        let in_log: HashSet<u32> = self.companions.pages().iter().copied().collect();
        let size = self.file.metadata()?.len() / self.page_size() as u64;
        let is_witness = |page: &u32| !in_log.contains(page) && u64::from(*page) <= size;
        let recent = self.recent.iter().copied().filter(is_witness).take(WITNESSES);
        let last = (1..=size as u32).rev().filter(is_witness).take(WITNESSES);
        Ok(Witnesses(recent.chain(last).map(|page| (page, self.page(page))).collect()))
    }

    /// A page of the file; empty where it has no such page.
    fn page(&self, page: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.page_size()];
        let at = u64::from(page - 1) * bytes.len() as u64;
        self.file.read_exact_at(&mut bytes, at).map_or(Vec::new(), |()| bytes)
    }

    fn page_size(&self) -> usize {
        wal::page_size(&self.header)
    }

    /// The log is empty now: its pages were written last.
    fn remember(&mut self) {
        self.companions.forget();
        let mut seen = HashSet::new();
        let pages = self.companions.pages().iter().rev().chain(&self.recent);
        self.recent = pages.copied().filter(|page| seen.insert(*page)).take(RECENT).collect();
    }

    /// The log was moved into the file: remembers it as it is now, and notes it. `Corrupt` as for
    /// [`Identity::check`].
    pub fn renew(&mut self, noting: Option<&Lock>, clean: bool) -> Result<()> {
        let meta = self.meta()?;
        let header = wal::header(&self.file).map_err(failed)?;
        let was = self.moved.take();
        let is_moved = was == Some(header);
        let grown = wal::changes(&header).wrapping_sub(wal::changes(&was.unwrap_or(self.header)));
        if !is_moved && (grown == 0 && was.is_some() || grown > i32::MAX as u32)
            || !wal::is_sqlite(&header)
        {
            return Err(self.written_over());
        }
        (self.stamp, self.header, self.seen) = (stamp(&meta), header, header);
        self.remember();
        if let Some(lock) = noting
            && let Err(e) = lock.note_file(Note::of(&meta, &header, clean))
        {
            log::debug!("what the file is now could not be noted: {e}");
        }
        Ok(())
    }

    /// The log stays, and is whole: notes that. What was noted of the file stays, because its log
    /// has not been empty since. `Corrupt` as for [`Identity::check`].
    pub fn note_log(&self, noting: Option<&Lock>, left: Option<(String, u64)>) -> Result<()> {
        let (meta, Some(lock)) = (self.meta()?, noting) else { return Ok(()) };
        let before = lock.file_noted().unwrap_or_else(|| Note::of(&meta, &self.header, true));
        if let Err(e) = lock.note_file(before.leaving(left)) {
            log::debug!("the log that is left could not be noted: {e}");
        }
        Ok(())
    }

    fn meta(&self) -> Result<Metadata> {
        match std::fs::metadata(&self.path) {
            Ok(meta)
                if (meta.dev(), meta.ino()) == (self.device, self.inode) && meta.nlink() == 1 =>
            {
                Ok(meta)
            }
            Ok(meta) if (meta.dev(), meta.ino()) == (self.device, self.inode) => {
                Err(Error::Corrupt(second_name(&self.path, &meta)))
            }
            _ => Err(Error::Corrupt(format!(
                "{} was deleted or replaced while fulfilld was serving it; put the file back, or a \
                 backup in its place: fulfilld restore BACKUP",
                self.path.display()
            ))),
        }
    }

    /// The file's first bytes when the log explains what is in it, as after a checkpoint of
    /// somebody else's. `None` when it cannot be seen yet: others go on moving the log and
    /// beginning it anew, and what was read of the two is not of one moment.
    fn explained(&self) -> Result<Option<Header>> {
        for _ in 0..LOOKS_MAX {
            let log = File::open(beside(&self.path, "-wal")).ok();
            let look = Look::at(&self.file, log.as_ref()).map_err(failed)?;
            let grown = wal::changes(&look.header) > wal::changes(&self.header);
            let explained = match look.whose {
                Whose::TheFiles => true,
                Whose::BegunForIt | Whose::Nobodys | Whose::Unsaid => {
                    look.header == self.header || grown
                }
                Whose::Anothers => false,
            };
            if explained {
                return Ok(Some(look.header));
            }
            if look.is_of_one_moment {
                return Err(self.written_over());
            }
        }
        Ok(None)
    }

    fn written_over(&self) -> Error {
        Error::Corrupt(format!(
            "{} was written over by something else than SQLite while fulfilld was serving it \
             (cp?); put a backup in its place: fulfilld restore BACKUP",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A file that has been written for a while, as it is kept: with a log that is not empty.
    struct Kept {
        dir: tempfile::TempDir,
        c: Connection,
        identity: Identity,
    }

    impl Kept {
        fn new() -> Kept {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kept.db");
            let c = Connection::open(&path).unwrap();
            c.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
            )
            .unwrap();
            let identity = Identity::of(&path).unwrap();
            let mut kept = Kept { dir, c, identity };
            for _ in 0..3 {
                kept.write();
                assert_eq!(kept.empty(|_| ()), Ok(true));
            }
            kept
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("kept.db")
        }

        /// New rows, and a change of page 1.
        fn write(&self) {
            self.c
                .execute_batch(
                    "BEGIN; UPDATE t SET b = zeroblob(6000) WHERE a = 1;
                     INSERT INTO t VALUES (NULL, zeroblob(9000)); PRAGMA user_version = 3; COMMIT",
                )
                .unwrap();
        }

        fn checkpoint(&self, mode: &str) {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            assert_eq!(self.c.query_row(&sql, [], |row| row.get(0)), Ok(0));
        }

        /// As the log's owner does it, with what happens in the very instant.
        fn empty(&mut self, instant: impl Fn(&Kept)) -> std::result::Result<bool, String> {
            self.empty_with(instant, |_| ())
        }

        /// With what happens before the log is moved, and after it.
        fn empty_with(
            &mut self,
            before: impl Fn(&Kept),
            after: impl Fn(&Kept),
        ) -> std::result::Result<bool, String> {
            let said = |e: Error| e.to_string();
            self.identity.check().map_err(said)?;
            let witnesses = self.identity.check_frames().map_err(said)?;
            before(self);
            self.checkpoint("FULL");
            after(self);
            let moved = self.identity.has_moved(&witnesses).map_err(said)?;
            self.checkpoint("TRUNCATE");
            self.identity.renew(None, false).map_err(said)?;
            self.identity.check().map_err(said)?;
            Ok(moved)
        }
    }

    fn is_seen(emptied: std::result::Result<bool, String>) -> bool {
        emptied.is_err_and(|why| why.contains("written over"))
    }

    #[test]
    fn a_file_copied_over_in_the_instant_of_a_checkpoint_is_seen() {
        // Older by several checkpoints, and by one, whose pages are in the log again or are not.
        for later in [3, 1] {
            let mut kept = Kept::new();
            let copied = std::fs::read(kept.path()).unwrap();
            for _ in 0..later {
                kept.write();
                assert_eq!(kept.empty(|_| ()), Ok(true));
            }
            kept.write();
            let emptied = kept.empty(|kept| std::fs::write(kept.path(), &copied).unwrap());
            assert!(is_seen(emptied), "{later}");
        }
    }

    #[test]
    fn a_copy_that_runs_beside_a_checkpoint_is_seen_wherever_it_has_got() {
        // The copy is of the file as it is, so it differs in the pages of the log alone.
        for from in [0, 4096] {
            let mut kept = Kept::new();
            let copied = std::fs::read(kept.path()).unwrap();
            kept.write();
            let emptied = kept.empty(|kept| {
                kept.checkpoint("FULL");
                let file = File::options().write(true).open(kept.path()).unwrap();
                file.write_all_at(&copied[from..], from as u64).unwrap();
            });
            assert!(is_seen(emptied), "{from}");
        }
    }

    #[test]
    fn what_sqlite_does_to_the_file_in_that_instant_is_no_harm() {
        let mut kept = Kept::new();
        kept.write();
        let other = |kept: &Kept| Connection::open(kept.path()).unwrap();
        let written = kept.empty(|kept| {
            let other = other(kept);
            other
                .execute_batch("UPDATE t SET b = 5 WHERE a = 2; DELETE FROM t WHERE a = 1")
                .unwrap();
        });
        assert_eq!(written, Ok(true));
        kept.write();
        assert_eq!(
            kept.empty(|kept| drop(other(kept).execute_batch("DELETE FROM t; VACUUM"))),
            Ok(true)
        );
        kept.write();
        let moved = kept.empty(|kept| {
            let _ = other(kept).query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()));
        });
        assert_eq!(moved, Ok(true));
    }

    #[test]
    fn what_others_write_right_after_the_log_was_moved_is_no_harm() {
        let mut kept = Kept::new();
        let other = Connection::open(kept.path()).unwrap();
        let write = |_: &Kept| other.execute_batch("UPDATE t SET b = 5 WHERE a = 1").unwrap();
        // It begins a new log, and nobody can say any more what was in the last one.
        kept.write();
        assert_eq!(kept.empty_with(|_| (), write), Ok(false));
        // Somebody who reads keeps it from that, so it is written behind the last one.
        kept.write();
        let reader = Connection::open(kept.path()).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let until_then = |_: &Kept| reader.execute_batch("COMMIT").unwrap();
        let write_and_end = |kept: &Kept| {
            write(kept);
            until_then(kept);
        };
        assert_eq!(kept.empty_with(|_| (), write_and_end), Ok(true));
    }

    #[test]
    fn a_file_copied_over_right_after_a_checkpoint_is_seen_by_its_first_bytes() {
        let mut kept = Kept::new();
        let copied = std::fs::read(kept.path()).unwrap();
        let file = File::options().write(true).open(kept.path()).unwrap();
        kept.write();
        assert_eq!(kept.empty(|_| ()), Ok(true));
        file.write_all_at(&copied, 0).unwrap();
        // As within a tick of the clock by which files are stamped.
        kept.identity.stamp = stamp(&std::fs::metadata(kept.path()).unwrap());
        assert!(kept.identity.check().is_err_and(|why| why.to_string().contains("written over")));
    }
}
