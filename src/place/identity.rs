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
    /// Device and inode of its log, once it has one: as long as the file is open SQLite keeps the
    /// same.
    log: Option<(u64, u64)>,
}

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
    /// written, or somebody put other bytes into the file. Costs two stat(2).
    pub fn check(&mut self) -> Result<()> {
        let meta = self.meta()?;
        self.check_log()?;
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

    fn check_log(&mut self) -> Result<()> {
        let log = beside(&self.path, "-wal");
        let found = std::fs::metadata(&log).ok().map(|meta| (meta.dev(), meta.ino()));
        if self.log.is_none() {
            self.log = found;
        }
        if found == self.log {
            return Ok(());
        }
        Err(Error::Corrupt(format!(
            "{} was deleted or replaced while fulfilld was writing it; put a backup in the place \
             of {}: fulfilld restore BACKUP",
            log.display(),
            self.path.display()
        )))
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
