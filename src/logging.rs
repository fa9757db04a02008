//! The log: one event a line on standard error, for journald or for eyes. No line can be forged
//! from outside, and a warning that repeats is counted.

mod repeats; // counts what repeats

use std::io::Write;
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use log::{Level, LevelFilter};

use crate::clock::{self, Timestamp};
use crate::config;
use crate::error::{Error, Result};
use crate::sync::lock;
use crate::text;
use repeats::Repeats;

/// Warnings and errors of the last minutes.
static REPEATS: LazyLock<Mutex<Repeats>> = LazyLock::new(Mutex::default);

/// Starts the log of this program's own rooms, from `level` on where `FULFILLD_LOG` says nothing
/// else. What the crates below say stays out: it is neither the operator's story nor checked for
/// secrets. `Config` when `FULFILLD_LOG` is not a level. Called once, before any thread.
pub fn start(level: LevelFilter) -> Result<()> {
    let level = match std::env::var_os("FULFILLD_LOG") {
        None => level,
        Some(_) => config::LOG.get()?,
    };
    let journald = leads_to_journald();
    env_logger::Builder::new()
        .filter(Some("fulfilld"), level)
        .format(move |out, record| {
            let (level, text) = (record.level(), record.args().to_string());
            let site =
                (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
            if level <= Level::Warn && !lock(&REPEATS).is_new(level, site, &text, Instant::now()) {
                return Ok(());
            }
            out.write_all(line(level, &text, journald, clock::now()).as_bytes())
        })
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map_or("an unknown place".into(), |place| place.to_string());
        // The message of a panic may quote a customer's data, so the place has to do.
        match at.contains("/tiny_http-") {
            true => log::debug!("a connection ended with a panic at {at}"),
            false => log::error!("a bug in fulfilld at {at}; please report it"),
        }
    }));
    Ok(())
}

/// Writes how often warnings came that were not written, where ten minutes have passed since the
/// first of them; at the `end` all of them.
pub fn write_counted(end: bool) {
    let counted = lock(&REPEATS).counted(Instant::now(), end);
    let journald = !counted.is_empty() && leads_to_journald();
    for (level, text) in counted {
        let text = line(level, &text, journald, clock::now());
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Says why the program ends: to journald as an error, in words to a terminal.
pub fn report(error: &Error) {
    let text = format!("fulfilld: {error}");
    let text = if leads_to_journald() {
        line(Level::Error, &text, true, clock::now())
    } else {
        text + "\n"
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// systemd names the socket it gave us, so that a standard error which leads elsewhere by now is
/// not mistaken for it.
fn leads_to_journald() -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|named| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// journald keeps the time itself and reads the level from a number in front, sd-daemon(3).
fn line(level: Level, message: &str, journald: bool, at: Timestamp) -> String {
    let message = text::clean(message);
    match (journald, level) {
        (false, _) => format!("{} {level:<5} {message}\n", clock::text(at)),
        (true, Level::Error) => format!("<3>{message}\n"),
        (true, Level::Warn) => format!("<4>{message}\n"),
        (true, Level::Info) => format!("<6>{message}\n"),
        (true, Level::Debug | Level::Trace) => format!("<7>{message}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_the_message_brings() {
        let at = clock::from_unix(1_795_489_500).unwrap();
        let forged = "event evt_1 ignored: \u{1b}[2J\n2026-11-24T03:05:00Z ERROR all is lost";
        let shown = "event evt_1 ignored: \u{FFFD}[2J 2026-11-24T03:05:00Z ERROR all is lost";
        assert_eq!(
            line(Level::Info, forged, false, at),
            format!("2026-11-24T03:05:00Z INFO  {shown}\n")
        );
        assert_eq!(line(Level::Info, forged, true, at), format!("<6>{shown}\n"));
        assert_eq!(line(Level::Error, "\n<7>", true, at), "<3> <7>\n");
    }
}
