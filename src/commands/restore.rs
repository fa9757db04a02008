//! `fulfilld restore`: a backup in the place of the file, in an order of steps that may be broken
//! off anywhere.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, OptionalExtension};
use rustix::fs::{CWD, RenameFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::File;
use crate::access;
use crate::backups;
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::litestream;
use crate::migrations;
use crate::place::{self, Identity, beside};
use crate::rollback_guard;
use crate::service::{self, Service};
use crate::table;
use crate::text::quoted;

mod catch_up; // after it: what happened since

use catch_up::catch_up;

/// Put a backup in the place of the file, which is kept
///
/// Checks the backup first: that it is whole, not of a newer version, and of the same mode (live or test).
/// Then the backup takes the place of the file, with the file's owner and mode; the old file stays
/// beside it under a name that is printed. There is a file at every moment: if restore is
/// interrupted, run it again.
///
/// As root, beside the service, it stops the service's units that run, starts them again, and waits until
/// fulfilld is ready and has fetched from Stripe what happened since the backup. Any other fulfilld must
/// be stopped first. What you had typed since is named, here and in `fulfilld attention`.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld restore \
                   /var/lib/fulfilld/backups/fulfilld.db.backup-20261101T031502Z")]
pub struct Args {
    /// The backup: a file made by fulfilld backup, VACUUM INTO or .backup, or a copy that was made
    /// while fulfilld was stopped
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    #[command(flatten)]
    file: File,
}

/// Prints each step, where the file of before is, and what was typed since. `Config` when the backup
/// is none, is damaged or of the other mode, `Usage` when somebody has the file open; then nothing
/// has changed, and the service runs as before. `Temporary` when fulfilld runs on the restored file
/// and does not catch up with Stripe.
pub fn run(args: &Args) -> Result<()> {
    let path = place::real(&args.file.path()?)?;
    let backup = place::real(&args.backup)?;
    if backup == path {
        return Err(Error::Usage(format!("{} is the file itself; name a backup", path.display())));
    }
    // Reading a pipe would wait for ever.
    if std::fs::metadata(&backup).is_ok_and(|backup| !backup.is_file()) {
        return Err(Error::Usage(format!("{} is not a file; name a backup", backup.display())));
    }
    place::has_one_name(&path)?;
    let service = Service::running(&path);
    if !service.as_ref().is_some_and(Service::is_serving) {
        place::lock_if_free(&path).ok_or_else(|| in_use(&path, "fulfilld is serving", None))?;
    }
    // From here on one restore at a time, and no backup.
    let alone = backups::begin(&path)?;
    let steps = Steps { backup, path, stamp: clock::text(clock::now()).replace([':', '-'], "") };
    let new = steps.copy()?;
    // A key that is pressed between the stop and the start must not leave the shop stopped.
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Some(service) = &service {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let _ = signal_hook::flag::register(signal, interrupted.clone());
        }
        table::print(&format!("{} is whole; stopping {}\n", steps.named(), service.names()))?;
    }
    let stopped = service.as_ref().map_or(Ok(()), Service::stop);
    let done = stopped.and_then(|()| steps.put(&new, service.as_ref()));
    if done.is_err() {
        db::remove(&new);
    }
    drop(alone);
    let started = service.as_ref().map_or(Ok(()), Service::start);
    // The service is as it was: that is what the person must know.
    table::print(&done?)?;
    started?;
    let Some(service) = service.filter(Service::is_serving) else {
        return table::print(&format!(
            "next: sudo systemctl start {}; then: fulfilld attention\n",
            service::typed()
        ));
    };
    table::print(&format!(
        "started {}; waiting until what happened since is fetched from Stripe (Ctrl-C ends only the \
         waiting)\n",
        service.names()
    ))?;
    let caught_up = catch_up(&service.listens(), &steps.path, &interrupted)?;
    table::print(&format!("{caught_up}\nnext: fulfilld attention\n"))
}

/// What is restored, and where.
struct Steps {
    backup: PathBuf,
    path: PathBuf,
    /// When, as a part of names.
    stamp: String,
}

impl Steps {
    fn named(&self) -> std::path::Display<'_> {
        self.backup.display()
    }

    /// The backup beside the file, checked; nothing else has changed.
    fn copy(&self) -> Result<PathBuf> {
        // What a restore that was broken off left there may be the file of before.
        let new = beside(&self.path, ".restoring");
        if new.exists() {
            rename(&new, &beside(&self.path, &format!(".left-{}", self.stamp)))?;
        }
        let old = std::fs::metadata(&self.path).ok();
        match make(&self.backup, &new, &self.path, old.as_ref()) {
            Ok(()) => Ok(new),
            Err(why) => {
                db::remove(&new);
                Err(why)
            }
        }
    }

    /// Puts that copy in the place of the file; what there is to say then.
    fn put(&self, new: &Path, service: Option<&Service>) -> Result<String> {
        let path = &self.path;
        let held = place::lock_if_free(path)
            .ok_or_else(|| in_use(path, "fulfilld is serving", service))?;
        let is_there = path.exists();
        set_aside_log(path, &self.stamp, service)?;
        let kept = beside(path, &format!(".before-{}", self.stamp));
        let is_strange = is_there && shares_no_order(new, path).unwrap_or(false);
        exchange(new, path, is_there.then_some(&kept))?;
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(path, suffix));
        }
        synced(&place::folder(path))?;
        // A log that somebody begins beside it before the next start, as Litestream does, is its
        // own.
        Identity::of(path)?.renew(Some(&held), true)?;
        let lost = db::open_of_any_version(path).and_then(|c| rollback_guard::lost(path, &c));
        let lost = lost.unwrap_or_default().map_or_else(String::new, |lost| format!("{lost}\n"));
        let mut before = match is_there {
            true => format!("the file of before is kept as {}\n", kept.display()),
            false => String::new(),
        };
        if is_strange {
            before += &format!(
                "it has none of the backup's orders: if the backup is another shop's, go back with: \
                 fulfilld restore {}\n",
                quoted(&kept)
            );
        }
        Ok(format!("{} is in the place of {}\n{before}{lost}", self.named(), path.display()))
    }
}

/// True when both files have orders, and the first of the backup's is not in the file of before: it
/// is another shop's.
fn shares_no_order(backup: &Path, path: &Path) -> Result<bool> {
    let first = "SELECT checkout_session_id FROM orders WHERE origin IS NULL ORDER BY id LIMIT 1";
    let of_backup: Option<String> = db::open_of_any_version(backup)?
        .query_row(first, [], |row| row.get(0))
        .optional()
        .map_err(db::translate)?;
    let Some(of_backup) = of_backup else { return Ok(false) };
    db::open_of_any_version(path)?
        .query_row(
            "SELECT EXISTS(SELECT 1 FROM orders)
               AND NOT EXISTS(SELECT 1 FROM orders WHERE checkout_session_id = ?1)",
            [of_backup],
            |row| row.get(0),
        )
        .map_err(db::translate)
}

fn in_use(path: &Path, who: &str, service: Option<&Service>) -> Error {
    let litestream = if litestream::state(path).exists() { " fulfilld-litestream" } else { "" };
    let stop = match service {
        // It is stopped and started by whoever restores.
        Some(_) => String::new(),
        None => {
            format!("stop it first: sudo systemctl stop {}{litestream}; and ", service::typed())
        }
    };
    Error::Usage(format!(
        "{who} {}, and a file in use is not replaced; {stop}leave every sqlite3 shell",
        path.display()
    ))
}

/// The backup under its new name: whole, checked, the owner's, on the disk, and without a log.
fn make(backup: &Path, new: &Path, path: &Path, old: Option<&Metadata>) -> Result<()> {
    place::check_log(backup)?;
    let copied = |from: &Path, to: &Path| {
        std::fs::copy(from, to).map_err(|e| {
            Error::Config(format!(
                "{} cannot be copied: {}",
                from.display(),
                access::why_not(from, &e)
            ))
        })
    };
    copied(backup, new)?;
    let log = beside(backup, "-wal");
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        copied(&log, &beside(new, "-wal"))?;
    }
    let checked = check(new, path).map_err(|why| of_the_backup(why, new, backup))?;
    db::empty_log(&checked)?;
    drop(checked);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(new, suffix));
    }
    let around = std::fs::metadata(place::folder(path)).ok();
    let (owner, mode) = match old {
        Some(old) => (Some(old), old.permissions().mode() & 0o770 | 0o600),
        None => (around.as_ref(), 0o660),
    };
    let cannot = |e: std::io::Error| {
        Error::Config(format!("cannot give {} its owner and mode: {e}", new.display()))
    };
    if let Some(owner) = owner
        && rustix::process::geteuid().is_root()
    {
        std::os::unix::fs::chown(new, Some(owner.uid()), Some(owner.gid())).map_err(cannot)?;
    }
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(mode)).map_err(cannot)?;
    synced(new)
}

/// Every page, and whether its orders are of the file's kind; an older one is led to today's schema.
fn check(new: &Path, path: &Path) -> Result<Connection> {
    let mut c = db::open_of_any_version(new)?;
    let said: String =
        c.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(db::translate)?;
    if said != "ok" {
        return Err(Error::Config(format!("{} is damaged: {said}", new.display())));
    }
    let before = db::open_of_any_version(path).and_then(|c| {
        c.query_row("SELECT livemode FROM shop", [], |row| row.get::<_, bool>(0))
            .map_err(db::translate)
    });
    // Where the file of before cannot be read, the next start compares it with the key.
    if let Ok(livemode) = before {
        let now: bool = c
            .query_row("SELECT livemode FROM shop", [], |row| row.get(0))
            .map_err(db::translate)?;
        if now != livemode {
            let word = |live| if live { "live" } else { "test" };
            return Err(Error::Config(format!(
                "{} holds {} orders, and {} holds {} orders; name another backup",
                new.display(),
                word(now),
                path.display(),
                word(livemode)
            )));
        }
    }
    // The backup itself stays as it is.
    migrations::upgrade(&mut c, None)?;
    Ok(c)
}

/// The person named the backup, not its copy.
fn of_the_backup(why: Error, new: &Path, backup: &Path) -> Error {
    let text = why.to_string().replace(&new.display().to_string(), &backup.display().to_string());
    match why {
        Error::Temporary(_) => Error::Temporary(text),
        _ => Error::Config(format!("{text}; nothing was changed")),
    }
}

/// The log of before goes into the file of before, where it is its own, else under a name of its
/// own: beside the new file it would be another file's.
fn set_aside_log(path: &Path, stamp: &str, service: Option<&Service>) -> Result<()> {
    let log = beside(path, "-wal");
    if path.exists() {
        let merged = db::open_of_any_version(path).and_then(|c| {
            // Nobody else has it open: a shell would go on writing into the file of before.
            let alone = c
                .pragma_update(None, "locking_mode", "EXCLUSIVE")
                .and_then(|()| c.execute_batch("BEGIN EXCLUSIVE; COMMIT"));
            match alone.map_err(db::translate) {
                Err(Error::Temporary(_)) => {
                    return Err(in_use(path, "somebody has opened", service));
                }
                alone => alone?,
            }
            db::empty_log(&c)
        });
        match merged {
            Err(why @ Error::Usage(_)) => return Err(why),
            Err(why) => log::warn!("the old log is kept in a file of its own: {why}"),
            Ok(_) => {}
        }
    }
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        rename(&log, &beside(path, &format!(".before-{stamp}-wal")))?;
    }
    Ok(())
}

/// Both names change hands at once, so there is a file at the path at every moment.
fn exchange(new: &Path, path: &Path, kept: Option<&PathBuf>) -> Result<()> {
    let cannot = |e: std::io::Error| {
        Error::Config(format!(
            "cannot put {} in the place of {}: {e}",
            new.display(),
            path.display()
        ))
    };
    let Some(kept) = kept else { return std::fs::rename(new, path).map_err(cannot) };
    match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => rename(new, kept),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(path, kept).and_then(|()| std::fs::rename(new, path)).map_err(cannot)
        }
        Err(e) => Err(cannot(e.into())),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| {
        Error::Config(format!("cannot rename {} to {}: {e}", quoted(from), quoted(to)))
    })
}

fn synced(path: &Path) -> Result<()> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| Error::Corrupt(format!("{} cannot be put on the disk: {e}", path.display())))
}
