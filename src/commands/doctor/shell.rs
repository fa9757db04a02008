//! The operator's tool: whether `sqlite3` is there, and new enough for the file.

use std::process::Command;

use super::Report;
use crate::text;

/// The shell has to know STRICT tables.
const SHELL_MIN: (u32, u32) = (3, 37);

/// From here on it may move the log into the file beside others (sqlite.org/wal.html#walresetbug).
const SHELL_WITHOUT_BUG: (u32, u32, u32) = (3, 51, 3);

/// Reports a `sqlite3` that is missing or too old for the schema.
pub fn check(report: &mut Report) {
    let Ok(output) = Command::new("sqlite3").arg("--version").output() else {
        return report.advice(
            "shell_missing",
            "sqlite3 is not installed",
            "The file is read and edited with it; fulfilld's own verbs do without.",
            "sudo apt install sqlite3",
        );
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split(' ').next().unwrap_or_default();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let parsed = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let patch = numbers.next().unwrap_or(0);
    if parsed >= SHELL_MIN && (parsed.0, parsed.1, patch) < SHELL_WITHOUT_BUG {
        report.skip(format!(
            "sqlite3 {} can damage a file when it moves the log into it (fixed in 3.51.3); it \
             never has to, because fulfilld keeps the log below 1,000 pages. Do not type PRAGMA \
             wal_checkpoint in it",
            text::clean(version)
        ));
    }
    if parsed < SHELL_MIN {
        report.problem(
            "shell_old",
            format!(
                "sqlite3 is of version {}, older than {}.{}",
                text::clean(version),
                SHELL_MIN.0,
                SHELL_MIN.1
            ),
            "It does not know the file's tables (STRICT), and calls them malformed.",
            "install a newer sqlite3 (sqlite.org/download.html); until then fulfilld's verbs",
        );
    }
}
