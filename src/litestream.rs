//! Litestream beside the file: whether it follows the file's log, and what it says of itself.
//!
//! Litestream holds a read transaction, copies the log once a second, and moves it into the file
//! by itself. Whoever else empties the log between two of its looks makes it copy the whole file
//! anew; so while it follows, the log is its own (checkpoint.rs).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::LITESTREAM_SOCKET;
use crate::place::{beside, folder};

/// Earlier versions stop without a word, or bring an SQLite that can damage the file when two
/// processes empty its log (sqlite.org/wal.html#walresetbug).
pub const VERSION_MIN: (u32, u32, u32) = (0, 5, 17);

/// It looks once a second; one that lags longer behind the log does not follow it.
const LAG_MAX: Duration = Duration::from_secs(10);

/// It answers on its own machine in a moment, or it hangs.
const WITHIN: Duration = Duration::from_millis(500);

/// So much of an answer is read.
const ANSWER_MAX: u64 = 64 << 10;

/// Where Litestream keeps what it has copied of a file.
pub fn state(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    folder(file).join(format!(".{name}-litestream"))
}

/// Whether Litestream follows the log, judged by the times at which the kernel saw both change.
#[derive(Default)]
pub struct Follower {
    lags_since: Option<Instant>,
}

impl Follower {
    /// True while what Litestream has copied is as new as the log, or has been older for a moment
    /// only.
    pub fn follows(&mut self, file: &Path) -> bool {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
        let Ok(copied) = changed(&state(file).join("ltx/0")) else {
            self.lags_since = None;
            return false;
        };
        if changed(&beside(file, "-wal")).is_ok_and(|written| copied >= written) {
            self.lags_since = None;
            return true;
        }
        self.lags_since.get_or_insert_with(Instant::now).elapsed() < LAG_MAX
    }
}

/// What the running Litestream says at its control socket.
pub struct Said {
    /// As Litestream writes it.
    pub version: String,
    /// When its replica was last as new as the file; `None` when it does not follow this file.
    pub replicated_at: Option<SystemTime>,
}

/// Asks it; `None` when no control socket is set, or nobody answers there.
pub fn ask(file: &Path) -> Option<Said> {
    let socket = LITESTREAM_SOCKET.get().ok()?;
    let info = get(&socket, "/info")?;
    let list = get(&socket, "/list")?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let own = list["databases"].as_array()?.iter().find(|database| {
        database["path"].as_str().is_some_and(|path| real(Path::new(path)) == real(file))
    });
    let at = own.and_then(|own| own["last_sync_at"].as_str()?.parse::<Timestamp>().ok());
    Some(Said {
        version: info["version"].as_str().unwrap_or_default().into(),
        replicated_at: at.map(|at| {
            SystemTime::UNIX_EPOCH + Duration::from_millis(at.as_millisecond().unsigned_abs())
        }),
    })
}

fn get(socket: &Path, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    stream.set_write_timeout(Some(WITHIN)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: litestream\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|status| *status == "200")?;
    serde_json::from_str(body).ok()
}

/// The version of the program in PATH; `None` when there is none.
pub fn installed() -> Option<String> {
    let output = Command::new("litestream").arg("version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// True for a version that can be relied on; what is before it is refused by name.
pub fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|n| n.parse::<u32>());
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next(), next()) >= VERSION_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_0_5_17_are_too_old() {
        for old in ["0.3.13", "v0.5.16", "0.5", "", "development build"] {
            assert!(!is_new_enough(old), "{old}");
        }
        for new in ["0.5.17", "v0.5.17\n", "0.6.0", "1.0"] {
            assert!(is_new_enough(new), "{new}");
        }
    }

    #[test]
    fn it_follows_while_its_copies_are_as_new_as_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        let mut follower = Follower::default();
        assert!(!follower.follows(&file), "there is none");
        let copies = state(&file).join("ltx/0");
        assert_eq!(copies, dir.path().join(".shop.db-litestream/ltx/0"));
        std::fs::create_dir_all(&copies).unwrap();
        std::fs::write(beside(&file, "-wal"), "log").unwrap();
        assert!(follower.follows(&file), "it may be about to look");
        assert!(follower.lags_since.is_some() || follower.follows(&file));
        let long_ago = Instant::now().checked_sub(LAG_MAX * 2);
        let log = File::open(beside(&file, "-wal")).unwrap();
        log.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
        follower.lags_since = long_ago;
        assert!(long_ago.is_none() || !follower.follows(&file), "it has ended");
        std::fs::write(copies.join("1-1.ltx"), "copy").unwrap();
        log.set_modified(SystemTime::now() - Duration::from_secs(1)).unwrap();
        assert!(follower.follows(&file), "it is back");
    }

    use std::fs::File;
}
