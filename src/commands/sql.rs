//! `fulfilld sql`: the stock sqlite3 shell, set up for the file.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::File;
use crate::error::{Error, Result};

/// The first release that reads STRICT tables.
const OLDEST_SQLITE: (u32, u32) = (3, 37);

/// Open the file in the stock sqlite3 shell, set up for it
///
/// The shell waits 5 s for somebody else's write instead of giving up, enforces foreign keys, and
/// prints a value a line, because a box of these views is wider than a terminal (.mode box draws it;
/// tabs when piped). Whatever follows is handed to sqlite3: a statement, a dot-command, its options;
/// the exit code is sqlite3's. Begin with SELECT * FROM readme.
#[derive(clap::Args)]
#[command(
    before_help = "Example: fulfilld sql \"UPDATE orders SET note = 'gift wrap' WHERE id = 1042\""
)]
pub struct Args {
    #[command(flatten)]
    file: File,
    /// For looking only: every write is refused
    #[arg(long)]
    ro: bool,
    /// For sqlite3
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Becomes sqlite3, so it returns only when that cannot be: `Config` when sqlite3 is missing or too
/// old, or the file is not there or not ours.
pub fn run(args: &Args) -> Result<()> {
    check_shell()?;
    drop(args.file.read()?);
    let path = args.file.path()?;
    // Beyond 19 bytes the shell cuts a prompt off.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(12).collect();
    let mode = if std::io::stdout().is_terminal() { ".mode line" } else { ".mode tabs" };
    let set_up = [
        ".timeout 5000",
        "PRAGMA foreign_keys = ON;",
        // The log has one owner, and before 3.51.3 a second one can damage the file.
        ".once /dev/null",
        "PRAGMA wal_autocheckpoint = 0;",
        ".headers on",
        mode,
        &format!(".prompt '{name}{}> ' '  ...> '", if args.ro { " ro" } else { "" }),
    ];
    let mut shell = Command::new("sqlite3");
    shell.args(set_up.iter().flat_map(|command| ["-cmd", command]));
    shell
        .args(args.ro.then_some("-readonly"))
        .arg(path.canonicalize().unwrap_or(path))
        .args(&args.args);
    Err(cannot_run(shell.exec()))
}

fn check_shell() -> Result<()> {
    let output = Command::new("sqlite3").arg("--version").output().map_err(cannot_run)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().next().unwrap_or("of unknown version");
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST_SQLITE => Ok(()),
        _ => Err(Error::Config(format!(
            "sqlite3 {version} is too old to read the file; install {}.{} or later (sqlite.org/download.html)",
            OLDEST_SQLITE.0, OLDEST_SQLITE.1
        ))),
    }
}

fn cannot_run(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Config(
            "the sqlite3 shell is not installed; on Debian and Ubuntu: apt install sqlite3".into(),
        ),
        _ => Error::Config(format!("cannot run sqlite3: {error}")),
    }
}
