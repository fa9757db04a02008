//! The lock beside the file: who serves it, and what is noted of it.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::{beside, folder, hint};
use crate::error::{Error, Result};
use crate::sync;
use crate::wal::Header;

/// A verb that moves the log holds the lock for a moment; who serves waits so long for it.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// The daemon's hold on the file: while it lives, a second daemon is refused. What is noted beside
/// the file stands in it.
pub struct Lock {
    file: File, // closing it releases the lock
    notes: Mutex<Notes>,
}

/// Two lines: of the file itself, and of how far it had got.
#[derive(Default)]
struct Notes {
    file: Option<Note>,
    rest: Vec<u8>,
}

/// What the file was when its log was last empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    device: u64,
    inode: u64,
    size: u64,
    /// Its first 100 bytes, in base64.
    header: String,
    /// True when whoever served it stopped in good order.
    pub clean: bool,
    /// Salt and size of a log that was left in good order, because Litestream empties it.
    #[serde(default)]
    left: Option<(String, u64)>,
}

impl Note {
    /// What the file is now.
    pub fn of(meta: &Metadata, header: &Header, clean: bool) -> Note {
        let header = BASE64.encode(header);
        Note { device: meta.dev(), inode: meta.ino(), size: meta.len(), header, clean, left: None }
    }

    /// The same with a log that is left in good order, or with one that is not.
    pub fn leaving(self, log: Option<(String, u64)>) -> Note {
        Note { clean: log.is_some(), left: log, ..self }
    }

    /// True when this very log was left in good order.
    pub fn has_left(&self, log: Option<(String, u64)>) -> bool {
        log.is_some() && self.left == log
    }

    /// Its first bytes.
    pub fn header(&self) -> Option<Header> {
        BASE64.decode(&self.header).ok()?.try_into().ok()
    }
}

impl Lock {
    /// What stands beside the file about how far it had got; empty when nothing does.
    pub fn noted(&self) -> Vec<u8> {
        sync::lock(&self.notes).rest.clone()
    }

    /// Writes that, in place of the one before.
    pub fn note(&self, text: &[u8]) -> std::io::Result<()> {
        let mut notes = sync::lock(&self.notes);
        notes.rest = text.to_vec();
        self.write(&notes)
    }

    /// What was noted of the file; `None` when nothing was.
    pub fn file_noted(&self) -> Option<Note> {
        sync::lock(&self.notes).file.clone()
    }

    /// Writes what the file is now.
    pub fn note_file(&self, note: Note) -> std::io::Result<()> {
        let mut notes = sync::lock(&self.notes);
        notes.file = Some(note);
        self.write(&notes)
    }

    fn write(&self, notes: &Notes) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(&notes.file)?;
        text.push(b'\n');
        text.extend_from_slice(&notes.rest);
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}

fn parsed(text: &[u8]) -> Notes {
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    // A note that cannot be read is one that was never made.
    let file = serde_json::from_slice(&text[..end]).unwrap_or_default();
    Notes { file, rest: text.get(end + 1..).unwrap_or_default().to_vec() }
}

/// Takes `<file>.lock`, which belongs to the file's owner whoever makes it. A second daemon gets
/// `Error::Config` with one sentence. The path is the real one.
pub fn lock(path: &Path) -> Result<Lock> {
    take(path, LOCK_WITHIN)?.ok_or_else(|| {
        Error::Config(format!(
            "another fulfilld is serving {}; stop it first (systemctl stop fulfilld), or name \
             another file with FULFILLD_DB",
            path.display()
        ))
    })
}

/// The same for a moment, where nobody serves the file; `None` where somebody does, or this user
/// may not take it.
pub fn lock_if_free(path: &Path) -> Option<Lock> {
    take(path, Duration::ZERO).ok().flatten()
}

/// True while somebody serves the file, as far as this user can tell.
pub fn is_served(path: &Path) -> bool {
    let Ok(file) = File::open(beside(path, ".lock")) else { return false };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

fn take(path: &Path, within: Duration) -> Result<Option<Lock>> {
    let name = beside(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o660)
        .open(&name)
        .map_err(|e| {
            Error::Config(format!("cannot create {}: {e}; {}", name.display(), hint(path)))
        })?;
    let until = Instant::now() + within;
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    give_to_owner(path, &file);
    let mut text = vec![0; file.metadata().map_or(0, |m| m.len().min(1 << 20)) as usize];
    let notes = file.read_exact_at(&mut text, 0).map(|()| parsed(&text)).unwrap_or_default();
    Ok(Some(Lock { file, notes: Mutex::new(notes) }))
}

/// What root makes beside the file of another user is to be that user's, or the service cannot
/// start with it.
fn give_to_owner(path: &Path, made: &File) {
    let owner = std::fs::metadata(path).or_else(|_| std::fs::metadata(folder(path)));
    let (Ok(owner), Ok(now)) = (owner, made.metadata()) else { return };
    if rustix::process::geteuid().is_root() && (now.uid(), now.gid()) != (owner.uid(), owner.gid())
    {
        let _ = std::os::unix::fs::fchown(made, Some(owner.uid()), Some(owner.gid()));
    }
    if now.permissions().mode() & 0o777 != 0o660 {
        let _ = made.set_permissions(std::fs::Permissions::from_mode(0o660));
    }
}

/// What stands beside the file about how far it had got, for whoever only looks; empty when nothing
/// does.
pub fn noted_beside(path: &Path) -> Vec<u8> {
    std::fs::read(beside(path, ".lock")).map(|text| parsed(&text).rest).unwrap_or_default()
}

/// What was noted of the file; `None` when nothing was.
pub fn noted(path: &Path) -> Option<Note> {
    parsed(&std::fs::read(beside(path, ".lock")).ok()?).file
}
