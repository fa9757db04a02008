//! Backups of the file: where they are, what they are called, and how old the newest is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::clock::{self, Timestamp};
use crate::config::BACKUP_DIR;
use crate::error::{Error, Result};
use crate::litestream;
use crate::place;

/// The newest backup should not be older: the timer makes one a day, and one may be missed.
pub const AGE_MAX: Duration = Duration::from_secs(2 * 24 * 3600);

/// The directory beside the file where no other is set.
const DIRECTORY: &str = "backups";

/// What every file of SQLite's begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where the backups of a file go: `FULFILLD_BACKUP_DIR`, else `backups` beside it.
pub fn directory(file: &Path) -> PathBuf {
    match BACKUP_DIR.get() {
        Ok(Some(set)) => set.into(),
        _ => place::folder(file).join(DIRECTORY),
    }
}

/// The name of a backup that is made now; by name they are in the order in which they were made.
pub fn name(file: &Path, at: Timestamp) -> String {
    format!("{}{}", prefix(file), clock::text(at).replace(['-', ':'], ""))
}

fn prefix(file: &Path) -> String {
    format!("{}.backup-", file.file_name().unwrap_or_default().to_string_lossy())
}

/// The backups in `directory` that bear a [`name`], oldest first. Others, made by hand, are not
/// among them.
pub fn dated(file: &Path, directory: &Path) -> Vec<PathBuf> {
    let prefix = prefix(file);
    let is_dated = |name: &str| {
        name.strip_prefix(&prefix).is_some_and(|stamp| {
            let digits = stamp.bytes().filter(u8::is_ascii_digit).count();
            stamp.len() == 16 && digits == 14 && stamp.ends_with('Z')
        })
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_dated(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Every backup in the backup directory and beside the file, whoever made it, with the time at
/// which it was finished.
pub fn all(file: &Path) -> Vec<(PathBuf, SystemTime)> {
    let begins = format!("{}.backup", file.file_name().unwrap_or_default().to_string_lossy());
    let mut places = vec![place::folder(file), directory(file)];
    places.dedup();
    let entries = places.iter().flat_map(std::fs::read_dir).flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins))
        .map(|entry| entry.path())
        .filter(|path| is_a_database(path))
        .filter_map(|path| {
            let at = path.metadata().and_then(|meta| meta.modified()).ok()?;
            Some((path, at))
        })
        .collect()
}

/// False for what is certainly no backup; one that this user may not read counts.
fn is_a_database(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    match File::open(path).and_then(|mut file| file.read_exact(&mut start)) {
        Ok(()) => &start == MAGIC,
        Err(e) => e.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// The newest state of the file that a backup or Litestream's replica has; `None` when neither is
/// there.
pub fn newest(file: &Path) -> Option<SystemTime> {
    let replicated = litestream::ask(file).and_then(|said| said.replicated_at);
    all(file).into_iter().map(|(_, at)| at).chain(replicated).max()
}

/// How long ago that was; nothing for a clock that was set back since.
pub fn age(at: SystemTime) -> Duration {
    SystemTime::now().duration_since(at).unwrap_or_default()
}

/// An age in words.
pub fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..120 => format!("{} s", age.as_secs()),
        120..7_200 => format!("{} minutes", age.as_secs() / 60),
        7_200..172_800 => format!("{} hours", age.as_secs() / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// [`is_running`] holds the lock for a moment; who makes a backup waits so long for it.
const LOCK_WITHIN: Duration = Duration::from_secs(1);

/// Held while the file is copied, so that the daemon knows why its log cannot be emptied, and that
/// one backup runs at a time.
pub struct Copying {
    _folder: File,
}

/// Takes it. `Temporary` while another backup of the same directory's files runs.
pub fn begin(file: &Path) -> Result<Copying> {
    let folder = place::folder(file);
    let opened = File::open(&folder)
        .map_err(|e| Error::Config(format!("cannot open {}: {e}", folder.display())))?;
    let until = Instant::now() + LOCK_WITHIN;
    while flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            return Err(Error::Temporary(format!(
                "a backup or a restore of {} is under way; wait until it is done",
                file.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Copying { _folder: opened })
}

/// True while a backup of the file is being made.
pub fn is_running(file: &Path) -> bool {
    File::open(place::folder(file)).is_ok_and(|folder| {
        flock(&folder, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_backups_sort_by_time_and_others_are_not_among_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (older, newer) =
            (name(&file, at("2026-11-01T23:59:59Z")), name(&file, at("2026-11-02T00:00:00Z")));
        assert_eq!(older, "shop.db.backup-20261101T235959Z");
        for made in [
            newer.as_str(),
            &older,
            "shop.db.backup-2026-11-01",
            "shop.db.backup",
            "shop.db",
            "shop.db.backup-20261101T235959Z.old",
        ] {
            std::fs::write(dir.path().join(made), MAGIC).unwrap();
        }
        let dated = dated(&file, dir.path());
        assert_eq!(dated, [dir.path().join(older), dir.path().join(newer)]);
        assert_eq!(all(&file).len(), 5);
    }

    #[test]
    fn a_file_that_is_no_database_is_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        assert_eq!(newest(&file), None);
        std::fs::write(dir.path().join("shop.db.backup"), "").unwrap();
        std::fs::write(dir.path().join("shop.db.backup-2"), "a note about the backup").unwrap();
        assert_eq!(newest(&file), None);
    }

    #[test]
    fn one_backup_at_a_time_and_the_daemon_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        assert!(!is_running(&file));
        let running = begin(&file).unwrap();
        assert!(is_running(&file));
        assert!(matches!(begin(&file), Err(Error::Temporary(_))));
        drop(running);
        assert!(!is_running(&file));
    }
}
