//! `fulfilld drill`: whether what is kept for the worst day can be restored, tried for real.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::File;
use crate::access;
use crate::alarms::{self, Alarm};
use crate::backups;
use crate::clock::{self, Timestamp};
use crate::db;
use crate::error::{Error, Result};
use crate::litestream;
use crate::migrations;
use crate::place;
use crate::table;
use crate::text::clean;

/// The directory of a drill, in the directory of backups.
const PLACE: &str = ".fulfilld-drill";

/// An event that came in so shortly before the copy may be missing from it: a large file takes a
/// while to be copied.
const GRACE: Duration = Duration::from_secs(600);

/// So long a replica may be behind.
const REPLICA_GRACE: Duration = Duration::from_secs(60);

/// Restore the newest backup, and Litestream's replica, for a try
///
/// Restores what is kept for the worst day into a directory beside the backups, checks every page
/// of it and that the newest events of the file are in it, and removes it again. It tries the newest
/// backup of `fulfilld backup` and, where Litestream is set up, its replica. What fails is in
/// `fulfilld attention` until a later drill succeeds; fulfilld-drill.timer does one every month. The
/// file itself is only read, and fulfilld may be running.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld drill")]
pub struct Args {
    /// Try this backup alone
    #[arg(value_name = "BACKUP")]
    backup: Option<PathBuf>,
    /// How Litestream is set up; where this file is missing, it is not
    #[arg(long, value_name = "FILE", default_value = "/etc/fulfilld/litestream.yml")]
    litestream: PathBuf,
    #[command(flatten)]
    file: File,
}

/// Prints a line for each. `Permanent` when one cannot be restored or lacks what it should have,
/// or when there is none.
pub fn run(args: &Args) -> Result<()> {
    let path = place::real(&args.file.path()?)?;
    let live = args.file.read()?;
    let room = Room::take(&path)?;
    let newest = || backups::all(&path).into_iter().max_by_key(|(_, at)| *at);
    let backup = match &args.backup {
        Some(named) => {
            let made = named.metadata().and_then(|meta| meta.modified());
            let made = made.map_err(|e| Error::Config(access::why_not(named, &e)))?;
            Some((place::real(named)?, made))
        }
        None => newest(),
    };
    let with_litestream = args.backup.is_none() && args.litestream.exists();
    let mut failed = Vec::new();
    let mut tried = |what: String, result: Result<String>| match result {
        Ok(found) => table::print(&format!("{what}: {found}\n")),
        Err(why) => {
            failed.push(format!("{what}: {why}"));
            table::print(&format!("{what}: FAILED: {why}\n"))
        }
    };
    match backup {
        Some((backup, made)) => {
            let result = restore_copy(&backup, &room)
                .and_then(|restored| compare(&restored, &live, at(made) - GRACE));
            tried(backup.display().to_string(), result)?;
        }
        None if with_litestream => {}
        None => tried(
            "backup".into(),
            Err(Error::Permanent("there is none; make one: sudo fulfilld backup".into())),
        )?,
    }
    if with_litestream {
        let began = clock::now();
        let result = restore_replica(&args.litestream, &path, &room)
            .and_then(|restored| compare(&restored, &live, began - REPLICA_GRACE));
        tried("Litestream's replica".into(), result)?;
    }
    drop(room);
    let message = failed.join("; ");
    let alarm = Alarm::drill_failing(message.clone());
    args.file.write(|c| match failed.is_empty() {
        true => alarms::clear(c, alarm.name),
        false => alarms::raise(c, &alarm, clock::now()),
    })?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Permanent(format!("the restore drill failed: {message}"))),
    }
}

fn at(made: SystemTime) -> Timestamp {
    let since = made.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    clock::from_unix(since.as_secs() as i64).unwrap_or_default()
}

/// Where things are restored; it goes when it is dropped. What a killed drill left goes with the
/// next one.
struct Room {
    path: PathBuf,
    _lock: std::fs::File,
}

impl Room {
    fn take(path: &Path) -> Result<Room> {
        let directory = backups::directory(path);
        let directory = if directory.is_dir() { directory } else { place::folder(path) };
        let room = directory.join(PLACE);
        let cannot = |e: std::io::Error| {
            Error::Config(format!(
                "cannot restore into {}: {}",
                room.display(),
                access::why_not(&directory, &e)
            ))
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&room) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(cannot(e)),
            _ => {}
        }
        let lock = std::fs::File::open(&room).map_err(cannot)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Temporary("another drill is under way".into()))?;
        let room = Room { path: room, _lock: lock };
        room.clear();
        Ok(room)
    }

    /// An empty place for one file.
    fn file(&self) -> PathBuf {
        self.clear();
        self.path.join("restored.db")
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path())
                .or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// What was restored, and how long that took.
struct Restored {
    file: PathBuf,
    took: Duration,
}

fn restore_copy(backup: &Path, room: &Room) -> Result<Restored> {
    let (began, file) = (Instant::now(), room.file());
    place::check_log(backup)?;
    let copied = std::fs::copy(backup, &file);
    copied.map_err(|e| Error::Config(format!("it cannot be copied: {e}")))?;
    Ok(Restored { file, took: began.elapsed() })
}

fn restore_replica(set_up: &Path, path: &Path, room: &Room) -> Result<Restored> {
    let (began, file) = (Instant::now(), room.file());
    if let Some(version) = litestream::installed()
        && !litestream::is_new_enough(&version)
    {
        let why = "is too old: earlier ones than 0.5.17 stop without a word; install a newer one";
        return Err(Error::Config(format!("litestream {} {why}", clean(&version))));
    }
    let output = Command::new("litestream")
        .arg("restore")
        .arg("-config")
        .arg(set_up)
        .arg("-o")
        .arg(&file)
        .arg(path)
        .output()
        .map_err(|e| Error::Config(format!("litestream cannot be run: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() && file.exists() {
        true => Ok(Restored { file, took: began.elapsed() }),
        false => {
            let last = said.lines().last().unwrap_or("it restored nothing");
            Err(Error::Permanent(format!("litestream restore: {}", clean(last))))
        }
    }
}

/// What was found, where every page is whole, today's version opens it, and each of the file's
/// events from before `until` is in it.
fn compare(restored: &Restored, live: &Connection, until: Timestamp) -> Result<String> {
    let mut c = db::open_of_any_version(&restored.file)?;
    let said: String =
        c.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(db::translate)?;
    if said != "ok" {
        return Err(Error::Permanent(format!("it is damaged: {}", clean(&said))));
    }
    migrations::upgrade(&mut c, None)?;
    let until = clock::text(until);
    let of = |c: &Connection, sql: &str, param: &str| -> Result<Option<(i64, String)>> {
        use rusqlite::OptionalExtension;
        c.query_row(sql, [param], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(db::translate)
    };
    let before = "SELECT seq, id FROM events WHERE received_at < ?1 ORDER BY seq DESC LIMIT 1";
    let has = "SELECT seq, id FROM events WHERE id = ?1";
    if let Some((_, id)) = of(live, before, &until)?
        && of(&c, has, &id)?.is_none()
    {
        return Err(Error::Permanent(format!("event {id} is missing from it")));
    }
    let newest = of(&c, before, "9999")?;
    if let Some((_, id)) = &newest
        && of(live, has, id)?.is_none()
    {
        let why = "which the file has not: it is another shop's, or the file went back";
        return Err(Error::Permanent(format!("its newest event is {id}, {why}")));
    }
    let orders: i64 =
        c.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).map_err(db::translate)?;
    Ok(format!("restored in {:.1} s and whole, {orders} orders", restored.took.as_secs_f64()))
}
