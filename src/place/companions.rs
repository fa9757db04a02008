//! The log and its index beside the file: whether they are still the ones that SQLite writes, and
//! hold what was committed.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beside;
use super::descriptors::kept;
use super::log::LOOKS_MAX;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::wal::{self, End, Expected, Pages};

/// What a log that is gone means. The file is as it was when the log was last moved into it.
const LOG_LOST: &str = "what came last is fetched from Stripe again, and `fulfilld attention` \
                        names what was typed and is lost";

const INDEX_LOST: &str = "nothing is lost, the next start makes it again";

/// The log of a file and the log's index, once it has them: as long as the file is open SQLite keeps
/// the same.
pub struct Companions {
    path: PathBuf,
    log: Option<Opened>,
    index: Option<Opened>,
    expected: Expected,
    /// So many frames of the log with this salt are known to be in the file.
    in_file: ([u8; 8], u32),
    /// What the log had when it was read up to this end, until it is moved into the file.
    read: Option<(End, Pages)>,
}

/// What there is of a log, as its index says.
pub struct InUse {
    pub frames: u32,
    pub salt: [u8; 8],
    /// All of it is in the file, so that whoever writes next may begin it anew.
    pub is_moved: bool,
    /// ... and was found there.
    pub is_found: bool,
}

/// What of a log is in the file.
pub struct Moved {
    /// All of it is.
    pub is_whole: bool,
    pages: HashSet<u32>,
    /// Pages that the file has.
    size: u32,
}

impl Moved {
    /// True for a page that the log brought, or with which the file no longer ends.
    pub fn may_change(&self, page: u32) -> bool {
        self.pages.contains(&page) || page > self.size
    }
}

/// A file that stays open.
struct Opened {
    file: Arc<File>,
    device: u64,
    inode: u64,
}

impl Companions {
    pub fn of(path: &Path) -> Companions {
        Companions {
            path: path.to_path_buf(),
            log: None,
            index: None,
            expected: Expected::default(),
            in_file: ([0; 8], 0),
            read: None,
        }
    }

    /// `None` while the index says nothing.
    pub fn in_use(&self) -> Option<InUse> {
        let index = &self.index.as_ref()?.file;
        let (end, moved) = (wal::end(index).ok()??, wal::moved(index).ok()?);
        Some(InUse {
            frames: end.frames,
            salt: end.salt,
            is_moved: moved >= end.frames,
            is_found: self.in_file == (end.salt, end.frames),
        })
    }

    /// `Corrupt` when a path leads to another file than before, or the log does not end as its
    /// index says. Without the index that everybody else uses nobody sees what the other writes,
    /// and both write over each other.
    pub fn check(&mut self) -> Result<()> {
        if !same(&beside(&self.path, "-wal"), &mut self.log) {
            return Err(self.lost("-wal", LOG_LOST));
        }
        if !same(&beside(&self.path, "-shm"), &mut self.index) {
            return Err(self.lost("-shm", INDEX_LOST));
        }
        self.agree("-wal", |log, _, end| end.is_of(log))
    }

    /// `Corrupt` when the index does not find what is in the log, or says that more of it is in the
    /// file than is. Before a transaction reads anything.
    pub fn check_index(&mut self, file: &File) -> Result<()> {
        let mut expected = std::mem::take(&mut self.expected);
        let in_file = self.in_file;
        let mut seen = in_file;
        let agreed = self.agree("-shm", |log, index, end| {
            if !expected.is_of(index, log, end)? {
                return Ok(false);
            }
            let moved = wal::moved(index)?;
            seen = if in_file.0 == end.salt { in_file } else { (end.salt, 0) };
            if moved <= seen.1 {
                return Ok(true);
            }
            seen.1 = moved;
            let is_in = |pages: Pages| pages.are_in(file, moved, end.size);
            Ok(moved <= end.frames && wal::pages(log, end)?.map_or(Ok(false), is_in)?)
        });
        (self.expected, self.in_file) = (expected, seen);
        agreed
    }

    /// `Corrupt` when the log is not what was committed. Before any of it is moved into the file.
    pub fn check_frames(&mut self, file: &File) -> Result<()> {
        let mut read = None;
        self.agree("-wal", |log, _, end| {
            read = wal::pages(log, end)?.map(|pages| (*end, pages));
            Ok(read.is_some())
        })?;
        self.read = read;
        self.check_index(file)
    }

    /// The page of each frame in the log, as of the last [`Companions::check_index`].
    pub fn pages(&self) -> &[u32] {
        self.expected.pages()
    }

    /// What of the log is in the file; `None` when the log changed meanwhile, or is another one
    /// than [`Companions::check_frames`] read, which somebody else began.
    pub fn moved(&mut self, file: &File) -> std::io::Result<Option<Moved>> {
        let (Some(log), Some(index)) = (&self.log, &self.index) else { return Ok(None) };
        let Some(end) = wal::end(&index.file)? else { return Ok(None) };
        // What somebody wrote since is not moved yet.
        let moved = wal::moved(&index.file)?;
        let read_now;
        let read = match &self.read {
            Some((of, _)) if of.salt != end.salt || moved < of.frames => return Ok(None),
            Some((of, pages)) if *of == end => Some(pages),
            _ => {
                read_now = wal::pages(&log.file, &end)?;
                read_now.as_ref()
            }
        };
        let is_whole = is_there(self.expected.is_of(&index.file, &log.file, &end))?
            && read.map_or(Ok(false), |pages| pages.are_in(file, moved, end.size))?;
        let pages = self.expected.pages().iter().copied().collect();
        let same = wal::end(&index.file)? == Some(end);
        if is_whole && same {
            self.in_file = (end.salt, moved);
        }
        Ok(same.then_some(Moved { is_whole, pages, size: end.size }))
    }

    /// What was read of the log is needed no more.
    pub fn forget(&mut self) {
        self.read = None;
    }

    /// Whether the log is as its index says.
    fn agree(
        &self,
        harmed: &str,
        mut is_so: impl FnMut(&File, &File, &End) -> std::io::Result<bool>,
    ) -> Result<()> {
        let (Some(log), Some(index)) = (&self.log, &self.index) else { return Ok(()) };
        let failed = |e| Error::Corrupt(format!("the disk failed: {e}"));
        let mut before = None;
        for _ in 0..LOOKS_MAX {
            let Some(end) = wal::end(&index.file).map_err(failed)? else { return Ok(()) };
            if is_there(is_so(&log.file, &index.file, &end)).map_err(failed)? {
                return Ok(());
            }
            if before == Some(end) {
                self.drop_index();
                return Err(self.lost(harmed, if harmed == "-wal" { LOG_LOST } else { INDEX_LOST }));
            }
            before = Some(end);
        }
        Ok(())
    }

    /// Whoever has the file open, and moves the log into it when closing it last, would move what
    /// the index says: it is to verify the log first.
    fn drop_index(&self) {
        let path = beside(&self.path, "-shm");
        if sabotage::is("harmed_log_left_to_shells") {
            return;
        }
        let dropped = OpenOptions::new().write(true).open(&path).and_then(|index| {
            let done = wal::invalidate(&index);
            // Closed, it would drop SQLite's locks; the process ends now.
            std::mem::forget(index);
            done
        });
        if let Err(e) = dropped {
            log::warn!("{} could not be made invalid: {e}", path.display());
        }
    }

    fn lost(&self, suffix: &str, what: &str) -> Error {
        Error::Corrupt(format!(
            "{} was deleted, replaced or written over while fulfilld was serving {}; {what}",
            beside(&self.path, suffix).display(),
            self.path.display()
        ))
    }
}

/// False for a log that ends too early, too: a shell that empties it while it is read cuts it off, and
/// the index has another end then.
fn is_there(read: std::io::Result<bool>) -> std::io::Result<bool> {
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        read => read,
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
