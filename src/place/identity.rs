//! Whether the file is still the one that was opened.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::descriptors::kept;
use super::lock::{Lock, Note};
use super::log::LOOKS_MAX;
use super::{beside, second_name};
use crate::error::{Error, Result};
use crate::sabotage;
use crate::wal::{self, End, Header, Whose};

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
    /// Its log and the log's index, once it has them: as long as the file is open SQLite keeps the
    /// same.
    log: Option<Opened>,
    index: Option<Opened>,
}

/// A file beside it, which stays open.
struct Opened {
    file: Arc<File>,
    device: u64,
    inode: u64,
}

/// What a log that is gone means. The file is as it was when the log was last moved into it.
const LOG_LOST: &str = "what came last is fetched from Stripe again, and `fulfilld attention` \
                        names what was typed and is lost";

/// Changes when anybody writes the file.
type Stamp = (u64, i64, i64, i64, i64);

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
            log: None,
            index: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// So many bytes a page takes in its log.
    pub fn frame_size(&self) -> u64 {
        wal::frame_size(&self.header)
    }

    /// `Corrupt` when the path no longer leads to that file, or its log's to the log that is
    /// written, or somebody put other bytes into one of them. Costs three stat(2) and two reads.
    pub fn check(&mut self) -> Result<()> {
        let meta = self.meta()?;
        self.check_beside()?;
        if stamp(&meta) != self.stamp && self.is_explained()? {
            self.stamp = stamp(&meta);
        }
        Ok(())
    }

    /// The log was moved into the file: remembers it as it is now, and notes it. `Corrupt` as for
    /// [`Identity::check`].
    pub fn renew(&mut self, noting: Option<&Lock>, clean: bool) -> Result<()> {
        let meta = self.meta()?;
        let header =
            wal::header(&self.file).map_err(|e| Error::Corrupt(format!("the disk failed: {e}")))?;
        if wal::changes(&header) < wal::changes(&self.header) || !wal::is_sqlite(&header) {
            return Err(self.written_over());
        }
        (self.stamp, self.header) = (stamp(&meta), header);
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

    /// The log and its index. Without the index that everybody else uses nobody sees what the
    /// other writes, and both write over each other.
    fn check_beside(&mut self) -> Result<()> {
        if sabotage::is("log_not_watched") {
            return Ok(());
        }
        if !same(&beside(&self.path, "-wal"), &mut self.log) {
            return Err(self.lost("-wal", LOG_LOST));
        }
        if !same(&beside(&self.path, "-shm"), &mut self.index) {
            return Err(self.lost("-shm", "nothing is lost, the next start makes it again"));
        }
        self.agree(|log, end| end.is_of(log))
    }

    /// `Corrupt` when the log is not what was committed. Before any of it is moved into the file.
    pub fn check_frames(&self) -> Result<()> {
        match sabotage::is("log_not_watched") {
            true => Ok(()),
            false => self.agree(wal::is_whole),
        }
    }

    /// Whether the log is as its index says.
    fn agree(&self, is_so: impl Fn(&File, &End) -> std::io::Result<bool>) -> Result<()> {
        let (Some(log), Some(index)) = (&self.log, &self.index) else { return Ok(()) };
        let failed = |e| Error::Corrupt(format!("the disk failed: {e}"));
        let mut before = None;
        for _ in 0..LOOKS_MAX {
            let Some(end) = wal::end(&index.file).map_err(failed)? else { return Ok(()) };
            if is_so(&log.file, &end).map_err(failed)? {
                return Ok(());
            }
            if before == Some(end) {
                return Err(self.lost("-wal", LOG_LOST));
            }
            before = Some(end);
        }
        Ok(())
    }

    fn lost(&self, suffix: &str, what: &str) -> Error {
        Error::Corrupt(format!(
            "{} was deleted, replaced or written over while fulfilld was serving {}; {what}",
            beside(&self.path, suffix).display(),
            self.path.display()
        ))
    }

    /// True when the log explains what is in the file, as after a checkpoint of somebody else's.
    /// False when it cannot be seen yet: others go on moving the log and beginning it anew, and
    /// what was read of the two is not of one moment.
    fn is_explained(&self) -> Result<bool> {
        let failed = |e| Error::Corrupt(format!("the disk failed: {e}"));
        for _ in 0..LOOKS_MAX {
            let log = File::open(beside(&self.path, "-wal")).ok();
            let glance = || -> std::io::Result<(Header, Option<[u8; 8]>)> {
                let salt = log.as_ref().map(wal::salt).transpose()?.flatten();
                Ok((wal::header(&self.file)?, salt))
            };
            let before = glance().map_err(failed)?;
            let header = before.0;
            let whose = match &log {
                Some(log) => wal::whose(&header, log).map_err(failed)?,
                None => Whose::Nobodys,
            };
            let grown = wal::changes(&header) > wal::changes(&self.header);
            let explained = match whose {
                Whose::TheFiles => true,
                Whose::BegunForIt | Whose::Nobodys | Whose::Unsaid => {
                    header == self.header || grown
                }
                Whose::Anothers => false,
            };
            if explained {
                return Ok(true);
            }
            if glance().map_err(failed)? == before {
                return Err(self.written_over());
            }
        }
        Ok(false)
    }

    fn written_over(&self) -> Error {
        Error::Corrupt(format!(
            "{} was written over by something else than SQLite while fulfilld was serving it \
             (cp?); put a backup in its place: fulfilld restore BACKUP",
            self.path.display()
        ))
    }
}

/// False when the path no longer leads to the file that was first there.
fn same(path: &Path, opened: &mut Option<Opened>) -> bool {
    let found = std::fs::metadata(path).ok();
    match (found, &opened) {
        (Some(meta), Some(known)) => (meta.dev(), meta.ino()) == (known.device, known.inode),
        (None, Some(_)) => false,
        (None, None) => true,
        (Some(_), None) => {
            let opening = kept(path).ok();
            *opened =
                opening.map(|(file, meta)| Opened { file, device: meta.dev(), inode: meta.ino() });
            true
        }
    }
}
