//! Why a write finds no room although the disk is not full: a quota, or a limit on the size of
//! files.
//!
//! SQLite reports both as a disk that failed. Nothing failed: a person makes room, and the desk goes
//! on, as it does when the disk was full.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use signal_hook::consts::SIGXFSZ;

/// The file that this process writes.
static SERVED: OnceLock<PathBuf> = OnceLock::new();

/// A write that is larger than the room that is left fails as a whole.
const LARGEST_WRITE: u64 = 2 << 20;

/// A quota counts in blocks; so much does not fit into what is left of the last one.
static PROBE: [u8; 65_536] = [0x5A; 65_536];

/// A write beyond a limit on the size of files would end the process by a signal; from here on it
/// fails, and [`why_none`] says why.
pub fn watch(file: &Path) {
    let _ = SERVED.set(file.to_path_buf());
    // A handler that does nothing: a signal that is ignored would be ignored by hooks' commands too.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// After a write that failed: which limit stands in the way, and what to do; `None` when none does.
pub fn why_none() -> Option<&'static str> {
    let file = SERVED.get()?;
    if is_limited(file) {
        return Some("a file may not grow any more; raise the limit (LimitFSIZE=, ulimit -f)");
    }
    is_beyond_quota(file)
        .then_some("this user's disk quota is used up; free some space or raise it (edquota)")
}

fn is_limited(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let largest = size(file).max(size(log.as_ref()));
    getrlimit(Resource::Fsize).current.is_some_and(|limit| largest + LARGEST_WRITE > limit)
}

/// Tries it with a file that has no name.
fn is_beyond_quota(file: &Path) -> bool {
    let folder = file.parent().unwrap_or(Path::new("."));
    rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR)
        .and_then(|probe| rustix::io::pwrite(&probe, &PROBE, 0))
        == Err(Errno::DQUOT)
}
