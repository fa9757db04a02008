//! What a daemon does that cannot start until a person fixes something: it says why, answers 503
//! instead of letting callers hang on systemd's socket, and ends as soon as something was changed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::{self, SETTINGS};
use crate::env;
use crate::error::Error;
use crate::place;

/// How long `systemctl start` waits before it reports a failure.
const FIRST_FOR: Duration = Duration::from_secs(5);

/// How long a cause that was reported already is waited out before it is tried again; below the
/// unit's TimeoutStartSec.
const AGAIN_FOR: Duration = Duration::from_secs(300);

/// How often it looks for callers, signals and changes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// For all of one caller.
const CALLER_WITHIN: Duration = Duration::from_secs(1);

/// A header of each of its answers, by which `doctor` knows that it is fulfilld who answers.
pub const WAITS_HEADER: &str = "Fulfilld-Waits";

/// The cause that the process before reported, in the unit's RuntimeDirectory.
const NOTE: &str = "refused";

/// True when the process before ended with the same error, so that the log has it.
pub fn is_reported(why: &Error) -> bool {
    note().is_some_and(|note| fs::read_to_string(note).is_ok_and(|text| text == why.to_string()))
}

/// To be called by a daemon that serves: whatever stops the next start is reported anew.
pub fn forget() {
    if let Some(note) = note() {
        let _ = fs::remove_file(note);
    }
}

/// Under systemd, and for an error that only a person can fix: answers 503 until a setting, a
/// secret or the file was changed, until a signal comes, or for so long at most. Returns at once
/// everywhere else. systemd then starts a new process.
pub fn hold(why: &Error) {
    let for_a_person =
        matches!(why, Error::Usage(_) | Error::Config(_) | Error::Forbidden(_) | Error::Corrupt(_));
    if !for_a_person || std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let within = if is_reported(why) { AGAIN_FOR } else { FIRST_FOR };
    if let Some(note) = note() {
        let _ = fs::write(note, why.to_string());
    }
    let status = format!("not serving: {why}");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
    let signaled = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        let _ = signal_hook::flag::register(signal, signaled.clone());
    }
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0).ok().flatten();
    let places = places();
    let before = prints(&places);
    let until = Instant::now() + within;
    while Instant::now() < until && prints(&places) == before {
        if signaled.load(Ordering::Relaxed) {
            // Whoever stops it and starts it again wants to see the cause again.
            return forget();
        }
        answer_all(listener.as_ref(), &status);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn note() -> Option<PathBuf> {
    let directory = std::env::var_os("RUNTIME_DIRECTORY").filter(|d| !d.is_empty())?;
    Some(Path::new(&directory).join(NOTE))
}

/// What a person changes to fix something: the settings, the secrets, the file, what is beside it.
fn places() -> Vec<PathBuf> {
    let etc = std::env::var_os(env::ETC_VARIABLE).map_or_else(|| env::ETC.into(), PathBuf::from);
    let file = PathBuf::from(config::DB.text());
    let file = place::real(&file).unwrap_or(file);
    let mut places = vec![etc.join(env::FILE)];
    for secret in SETTINGS.iter().filter(|setting| setting.is_secret()) {
        places.push(etc.join(env::credential(secret.name)));
        places.extend(env::all().secret_file(secret.name));
    }
    places.push(etc);
    places.push(place::folder(&file));
    places.extend(["-wal", "-shm", ".lock"].map(|suffix| place::beside(&file, suffix)));
    places.push(file);
    places
}

/// Which file each place is, and when it was last written, renamed, or given another owner or mode.
fn prints(places: &[PathBuf]) -> Vec<Option<(u64, i64, i64)>> {
    let print = |place: &PathBuf| {
        fs::metadata(place).ok().map(|meta| (meta.ino(), meta.ctime(), meta.ctime_nsec()))
    };
    places.iter().map(print).collect()
}

fn answer_all(listener: Option<&TcpListener>, status: &str) {
    let Some(listener) = listener else { return };
    let _ = listener.set_nonblocking(true);
    let until = Instant::now() + CALLER_WITHIN;
    while let Ok((caller, _)) = listener.accept() {
        let _ = answer(caller, status);
        if Instant::now() >= until {
            return;
        }
    }
}

/// Reads the head and what has come of the body, and answers; only the paths of this machine's own
/// monitor get the cause.
fn answer(mut caller: TcpStream, status: &str) -> std::io::Result<()> {
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(CALLER_WITHIN))?;
    caller.set_write_timeout(Some(CALLER_WITHIN))?;
    let until = Instant::now() + CALLER_WITHIN;
    let (mut head, mut part) = (Vec::new(), [0; 16 << 10]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < part.len() {
        match caller.read(&mut part)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&part[..n]),
        }
        if Instant::now() >= until {
            return Ok(());
        }
    }
    let own = ["GET /readyz ", "GET /healthz "].iter().any(|p| head.starts_with(p.as_bytes()));
    let text = if own { status } else { "not serving yet; send it again" };
    write!(
        caller,
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Retry-After: 30\r\n{WAITS_HEADER}: for a person\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )?;
    // A connection that is closed with something unread is reset, and the answer lost.
    caller.shutdown(std::net::Shutdown::Write)?;
    caller.set_read_timeout(Some(Duration::from_millis(100)))?;
    while Instant::now() < until && caller.read(&mut part)? > 0 {}
    Ok(())
}
