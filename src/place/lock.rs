//! The lock on the file and the one beside it: who serves it, and what is noted of it.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::descriptors::kept;
use super::{beside, folder, hint};
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync;
use crate::wal::Header;

/// A verb that moves the log holds the lock for a moment; who serves waits so long for it.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// File systems over a network make a lock of the whole file of flock(2), which would keep every
/// shell out. What statfs(2) calls NFS, SMB and CIFS.
const NETWORKS: [u32; 3] = [0x6969, 0xfe53_4d42, 0xff53_4d42];

/// The daemon's hold on the file: while it lives, a second daemon is refused. What is noted beside
/// the file stands in it. Both the file itself and `<file>.lock` are locked: who deletes the one
/// beside it lets nobody in.
pub struct Lock {
    name: PathBuf,
    beside: Mutex<File>, // closing it releases the lock
    itself: Mutex<Option<Arc<File>>>,
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
    /// Salt of the log that was begun for it.
    #[serde(default)]
    log: Option<String>,
}

impl Note {
    /// What the file is now.
    pub fn of(meta: &Metadata, header: &Header, clean: bool) -> Note {
        let header = BASE64.encode(header);
        let (device, inode, size) = (meta.dev(), meta.ino(), meta.len());
        Note { device, inode, size, header, clean, left: None, log: None }
    }

    /// The same with the log that was begun for it.
    pub fn with_log(self, salt: [u8; 8]) -> Note {
        Note { log: Some(BASE64.encode(salt)), ..self }
    }

    /// False when another log was begun for it than the one with this salt.
    pub fn may_have(&self, salt: [u8; 8]) -> bool {
        self.log.as_ref().is_none_or(|log| *log == BASE64.encode(salt))
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
        let mut beside = sync::lock(&self.beside);
        self.make_again(&mut beside)?;
        beside.write_all_at(&text, 0)?;
        beside.set_len(text.len() as u64)
    }

    /// A `.lock` that somebody deleted or replaced comes back. The file itself is locked meanwhile.
    fn make_again(&self, beside: &mut File) -> std::io::Result<()> {
        let held = beside.metadata()?;
        let is_there = std::fs::metadata(&self.name)
            .is_ok_and(|at| (at.dev(), at.ino()) == (held.dev(), held.ino()));
        if is_there {
            return Ok(());
        }
        let again = open(&self.name)?;
        flock(&again, FlockOperation::NonBlockingLockExclusive)?;
        again.set_permissions(held.permissions())?;
        let _ = std::os::unix::fs::fchown(&again, Some(held.uid()), Some(held.gid()));
        log::warn!("{} was deleted or replaced; creating it again", self.name.display());
        *beside = again;
        Ok(())
    }

    /// Locks the file itself, too, which may have been made since the lock was taken. `Config` when
    /// somebody else has.
    pub fn hold(&self, path: &Path) -> Result<()> {
        match self.holds(path) {
            true => Ok(()),
            false => Err(Error::Config(served(path))),
        }
    }

    /// False when somebody else holds the file. One that is not there is nobody's.
    fn holds(&self, path: &Path) -> bool {
        let Some(file) = lockable(path) else { return true };
        if sabotage::is("file_not_locked") {
            return true;
        }
        let is_held = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_held {
            *sync::lock(&self.itself) = Some(file);
        }
        is_held
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // This descriptor stays open.
        if let Some(file) = sync::lock(&self.itself).take() {
            let _ = flock(&file, FlockOperation::Unlock);
        }
    }
}

/// The file, where it is there and can be locked.
fn lockable(path: &Path) -> Option<Arc<File>> {
    let (file, _) = kept(path).ok()?;
    let kind = rustix::fs::fstatfs(&file).ok()?.f_type as u32;
    (!NETWORKS.contains(&kind)).then_some(file)
}

fn open(name: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o660).open(name)
}

fn served(path: &Path) -> String {
    format!(
        "another fulfilld is serving {}; stop it first (systemctl stop fulfilld), or name another \
         file with FULFILLD_DB",
        path.display()
    )
}

fn parsed(text: &[u8]) -> Notes {
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    // A note that cannot be read is one that was never made.
    let file = serde_json::from_slice(&text[..end]).unwrap_or_default();
    Notes { file, rest: text.get(end + 1..).unwrap_or_default().to_vec() }
}

/// Takes `<file>.lock`, which belongs to the file's owner whoever makes it, and the file itself. A
/// second daemon gets `Error::Config` with one sentence. The path is the real one.
pub fn lock(path: &Path) -> Result<Lock> {
    take(path, LOCK_WITHIN)?.ok_or_else(|| Error::Config(served(path)))
}

/// The same for a moment, where nobody serves the file; `None` where somebody does, or this user
/// may not take it.
pub fn lock_if_free(path: &Path) -> Option<Lock> {
    take(path, Duration::ZERO).ok().flatten()
}

/// True while somebody serves the file, as far as this user can tell.
pub fn is_served(path: &Path) -> bool {
    let is_held = |file: &File| {
        let held = flock(file, FlockOperation::NonBlockingLockShared).is_err();
        if !held {
            let _ = flock(file, FlockOperation::Unlock);
        }
        held
    };
    File::open(beside(path, ".lock")).is_ok_and(|file| is_held(&file))
        || lockable(path).is_some_and(|file| is_held(&file))
}

fn take(path: &Path, within: Duration) -> Result<Option<Lock>> {
    let name = beside(path, ".lock");
    let file = open(&name).map_err(|e| {
        Error::Config(format!("cannot create {}: {e}; {}", name.display(), hint(path)))
    })?;
    let mut lock =
        Lock { name, beside: Mutex::new(file), itself: Mutex::default(), notes: Mutex::default() };
    let until = Instant::now() + within;
    while flock(&*sync::lock(&lock.beside), FlockOperation::NonBlockingLockExclusive).is_err()
        || !lock.holds(path)
    {
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let beside = sync::lock(&lock.beside);
    give_to_owner(path, &beside);
    let mut text = vec![0; beside.metadata().map_or(0, |m| m.len().min(1 << 20)) as usize];
    let notes = beside.read_exact_at(&mut text, 0).map(|()| parsed(&text)).unwrap_or_default();
    drop(beside);
    lock.notes = Mutex::new(notes);
    Ok(Some(lock))
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
