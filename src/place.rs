//! Where the file lies: its real path, its lock, what is noted beside it, and whether it is still
//! the file that was opened.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::access;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync;
use crate::text::quoted;
use crate::wal::{self, Header, Whose};

/// A verb that moves the log holds the lock for a moment; who serves waits so long for it.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// A log that changes while it is looked at is looked at again, so often at most.
const LOOKS_MAX: usize = 10;

/// What lies beside the file under its name and this: `-wal`, `-shm`, `.lock`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory that a file is in.
pub fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The path without symbolic links, so that the lock and the log lie beside the file itself
/// whatever it is called. The file may be missing, its directory too. `Config` for a link that
/// leads to nothing.
pub fn real(path: &Path) -> Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    if let Ok(to) = std::fs::read_link(path) {
        return Err(Error::Config(format!(
            "{} is a symbolic link to {}, which is not there; point it to the file, or remove it",
            path.display(),
            to.display()
        )));
    }
    match (folder(path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => Ok(folder.join(name)),
        _ => Ok(path.to_path_buf()),
    }
}

/// `Config` when the file has more than one name, or is mounted by itself: its log lies beside it
/// under its name, and who comes by another does not see it. A file that is not there is fine.
pub fn has_one_name(path: &Path) -> Result<()> {
    let Ok(meta) = std::fs::metadata(path) else { return Ok(()) };
    if meta.nlink() > 1 {
        return Err(Error::Config(second_name(path, &meta)));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|at| unescaped(at) == path.as_os_str().as_encoded_bytes())
    {
        return Err(Error::Config(format!(
            "{} is mounted by itself, so its log ({}-wal) would stay outside and orders be lost with it; mount its \
             directory instead",
            path.display(),
            path.display()
        )));
    }
    Ok(())
}

fn second_name(path: &Path, meta: &Metadata) -> String {
    format!(
        "{} has {} names (hard links), and opened by another it gets a second log, which destroys \
         it; remove the others, which this finds: find {} -xdev -samefile {}",
        path.display(),
        meta.nlink(),
        quoted(&folder(path)),
        quoted(path)
    )
}

/// The kernel writes blanks in mount points as `\040`.
fn unescaped(field: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), field.as_bytes());
    while let [first, after @ ..] = rest {
        let octal =
            after.get(..3).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match octal.filter(|_| *first == b'\\') {
            Some(byte) => (bytes.push(byte), rest = &after[3..]).1,
            None => (bytes.push(*first), rest = after).1,
        }
    }
    bytes
}

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
}

impl Note {
    fn of(meta: &Metadata, header: &Header, clean: bool) -> Note {
        let header = BASE64.encode(header);
        Note { device: meta.dev(), inode: meta.ino(), size: meta.len(), header, clean }
    }

    fn header(&self) -> Option<Header> {
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

    fn note_file(&self, note: Note) -> std::io::Result<()> {
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

/// What to look at when a file or its lock cannot be opened or made: its owner, its mode, its
/// directory.
pub fn hint(path: &Path) -> String {
    let me = rustix::process::geteuid().as_raw();
    match std::fs::metadata(path) {
        Ok(meta) if meta.uid() != me => match access::give_back(path) {
            Some(remedy) => {
                format!("it belongs to user {} and this is user {me}; type: {remedy}", meta.uid())
            }
            None => format!(
                "it belongs to user {} and this is user {me}; run: sudo chown {me} {}, or join its group",
                meta.uid(),
                quoted(path)
            ),
        },
        Ok(_) => "look at the mode of the file and of its directory".into(),
        Err(_) => "make its directory and let this user write there, or name another file with FULFILLD_DB".into(),
    }
}

/// Descriptors of SQLite's files stay open until the process ends: closing one drops the locks that
/// SQLite holds on the file through others (fcntl(2)).
static KEPT: Mutex<Vec<(u64, u64, Arc<File>)>> = Mutex::new(Vec::new());

fn kept(path: &Path) -> std::io::Result<(Arc<File>, Metadata)> {
    let mut kept = sync::lock(&KEPT);
    let meta = std::fs::metadata(path)?;
    if let Some((.., file)) =
        kept.iter().find(|(device, inode, _)| (*device, *inode) == (meta.dev(), meta.ino()))
    {
        return Ok((file.clone(), meta));
    }
    let file = Arc::new(File::open(path)?);
    let meta = file.metadata()?;
    kept.push((meta.dev(), meta.ino(), file.clone()));
    Ok((file, meta))
}

/// Whether a log that lies beside the file is the file's own, which is to be known before SQLite
/// opens it and plays the log back. `Config` with the line to type when it is another file's, or
/// lies beside no file. The path is the real one.
pub fn check_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    let unreadable = |path: &Path, e: std::io::Error| Error::Config(access::why_not(path, &e));
    if std::fs::metadata(&log).map_or(0, |meta| meta.len()) == 0 || sabotage::is("any_log") {
        return Ok(());
    }
    let mut looks = 0;
    loop {
        let (file, _) = match kept(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Config(orphan(path, &log)));
            }
            file => file.map_err(|e| unreadable(path, e))?,
        };
        let read = |e| unreadable(&log, e);
        let opened = match File::open(&log) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(read)?,
        };
        let header = wal::header(&file).map_err(|e| unreadable(path, e))?;
        let salt = wal::salt(&opened).map_err(read)?;
        let whose = wal::whose(&header, &opened).map_err(read)?;
        if belongs(whose, &header, noted(path).as_ref()) {
            return Ok(());
        }
        // Whoever serves the file may have moved the log into it meanwhile.
        let same = wal::header(&file).is_ok_and(|now| now == header)
            && wal::salt(&opened).is_ok_and(|now| now == salt);
        looks += 1;
        if same || looks == LOOKS_MAX {
            return Err(Error::Config(foreign(path, &log)));
        }
    }
}

/// What the file's bytes leave open, the note decides.
fn belongs(whose: Whose, header: &Header, noted: Option<&Note>) -> bool {
    let noted = noted.and_then(Note::header);
    let count = wal::changes;
    match whose {
        Whose::Nobodys | Whose::TheFiles => true,
        Whose::Anothers => false,
        Whose::BegunForIt => {
            noted.is_none_or(|noted| count(&noted) != count(header) || noted == *header)
        }
        Whose::Unsaid => {
            noted.is_none_or(|noted| count(header) > count(&noted) || noted == *header)
        }
    }
}

/// What stands beside the file about how far it had got, for whoever only looks; empty when nothing
/// does.
pub fn noted_beside(path: &Path) -> Vec<u8> {
    std::fs::read(beside(path, ".lock")).map(|text| parsed(&text).rest).unwrap_or_default()
}

fn noted(path: &Path) -> Option<Note> {
    parsed(&std::fs::read(beside(path, ".lock")).ok()?).file
}

/// The line that sets a log aside.
pub fn set_aside(log: &Path) -> String {
    format!("mv {} {}", quoted(log), quoted(&beside(log, ".old")))
}

fn foreign(path: &Path, log: &Path) -> String {
    format!(
        "{} is the log of another file than {}, which was put in its place; played back it would \
         destroy it. To go on with the file that is there: {}; or put a backup in its place: \
         fulfilld restore BACKUP",
        log.display(),
        path.display(),
        set_aside(log)
    )
}

fn orphan(path: &Path, log: &Path) -> String {
    format!(
        "there is no file {}, only its log {}; put the file back that belongs to it, or begin with a new one: {}",
        path.display(),
        log.display(),
        set_aside(log)
    )
}

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
        if stamp(&meta) != self.stamp {
            self.look_inside()?;
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

    /// A checkpoint of somebody else's leaves what the log explains.
    fn look_inside(&self) -> Result<()> {
        let failed = |e| Error::Corrupt(format!("the disk failed: {e}"));
        let header = wal::header(&self.file).map_err(failed)?;
        let whose = match File::open(beside(&self.path, "-wal")) {
            Ok(log) => wal::whose(&header, &log).map_err(failed)?,
            Err(_) => Whose::Nobodys,
        };
        let grown = wal::changes(&header) > wal::changes(&self.header);
        let explained = match whose {
            Whose::TheFiles => true,
            Whose::BegunForIt | Whose::Nobodys | Whose::Unsaid => header == self.header || grown,
            Whose::Anothers => false,
        };
        if explained { Ok(()) } else { Err(self.written_over()) }
    }

    fn written_over(&self) -> Error {
        Error::Corrupt(format!(
            "{} was written over by something else than SQLite while fulfilld was serving it \
             (cp?); put a backup in its place: fulfilld restore BACKUP",
            self.path.display()
        ))
    }
}
