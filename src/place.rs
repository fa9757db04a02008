//! Where the file lies: its real path, what is beside it, and that it has one name.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::access;
use crate::error::{Error, Result};
use crate::text::quoted;

mod identity; // whether it is still the file that was opened
mod companions; // whether its log and the log's index still are what SQLite writes
mod log; // whether the log beside it is its own
mod lock; // who serves it, and what is noted in the lock
mod descriptors; // SQLite's files, which stay open

pub use identity::{Identity, Witnesses};
pub use lock::{Lock, is_served, lock, lock_if_free, noted_beside};
pub use log::{check_log, set_aside};

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
