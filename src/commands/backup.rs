//! `fulfilld backup`: a verified copy of the file, made beside the running daemon.

use std::fs::{DirBuilder, File as Opened, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock};

use super::File;
use crate::access;
use crate::backups;
use crate::clock;
use crate::config::BACKUPS_KEPT;
use crate::db;
use crate::error::{Error, Result};
use crate::place;
use crate::table;
use crate::text::clean;

/// What a backup is called until it is whole and verified.
const PARTIAL: &str = ".fulfilld-partial";

/// Make a verified backup of the file, while fulfilld runs or is stopped
///
/// Copies the file as it is at this moment, opens the copy, checks every page of it, and only then
/// gives it its name. The copy is one file that needs no other, for its owner alone (mode 0600).
/// Without a name it goes into FULFILLD_BACKUP_DIR (the directory backups beside the file) and is
/// named after the time in UTC; the oldest are removed there once the new one is verified, so that
/// FULFILLD_BACKUPS_KEPT (14) stay. fulfilld-backup.timer does this every day.
///
/// To put a backup in the place of the file: fulfilld restore BACKUP.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld backup")]
pub struct Args {
    /// Where it goes: a file, or a directory. A file that is there is replaced only if it is an
    /// older backup of this shop
    #[arg(value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    file: File,
}

/// Prints where it is and what is in it. On an error nothing is left of it, and no older backup was
/// touched: `Usage` when something else is in its place, `Full` when the disk is, `Corrupt` when
/// the copy is not whole, `Temporary` while another backup is being made.
pub fn run(args: &Args) -> Result<()> {
    let path = place::real(&args.file.path()?)?;
    let source = db::open_of_any_version(&path)?;
    let shop = Shop::of(&source).map_err(db::translate)?;
    let before = Held::of(&source).map_err(db::translate)?;
    let kept = BACKUPS_KEPT.get()? as usize;
    let name = backups::name(&path, clock::now());
    let target = match &args.to {
        None => made(backups::directory(&path), &path)?.join(name),
        Some(to) if to.is_dir() => place::real(to)?.join(name),
        Some(to) => place::real(to)?,
    };
    let replaces = may_take(&target, &path, &shop)?;
    let copying = backups::begin(&path)?;
    let partial = Partial::begin(&target, &path)?;
    partial.copy(&source, &path)?;
    drop(copying);
    let held = partial.verify(&shop, &before)?;
    let size = partial.finish(&target, replaces)?;
    if args.to.is_none() {
        remove_oldest(&path, &target, &shop, kept);
    }
    table::print(&format!(
        "{}: {} orders, the newest event of {}, {:.1} MB, verified\n",
        target.display(),
        held.orders,
        held.newest.as_deref().unwrap_or("never"),
        size as f64 / 1e6
    ))
}

/// Which shop's a file is.
#[derive(PartialEq, Eq)]
struct Shop {
    livemode: bool,
    created_at: String,
}

impl Shop {
    fn of(c: &Connection) -> rusqlite::Result<Shop> {
        c.query_row("SELECT livemode, created_at FROM shop", [], |row| {
            Ok(Shop { livemode: row.get(0)?, created_at: row.get(1)? })
        })
    }

    /// `None` when the file is none of ours, or cannot be read.
    fn in_file(path: &Path) -> Option<Shop> {
        let c = open(path).ok()?;
        let mark = c.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0)).ok()?;
        (mark == db::APPLICATION_ID).then(|| Shop::of(&c).ok())?
    }
}

/// What is in a file.
struct Held {
    orders: i64,
    /// Of the sequence of events.
    last: i64,
    /// When the newest event was received.
    newest: Option<String>,
}

impl Held {
    fn of(c: &Connection) -> rusqlite::Result<Held> {
        let one = |sql: &str| c.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Held {
            orders: one("SELECT count(*) FROM orders")?,
            last: one("SELECT coalesce(max(seq), 0) FROM events")?,
            newest: c.query_row("SELECT max(received_at) FROM events", [], |row| row.get(0))?,
        })
    }
}

/// For looking only, without a log: a backup is one file.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

/// The directory of backups, made where it is missing: as open as the file's own is, and its
/// owner's.
fn made(directory: PathBuf, path: &Path) -> Result<PathBuf> {
    if directory.is_dir() {
        return place::real(&directory);
    }
    let cannot = |e: std::io::Error| {
        Error::Config(format!(
            "cannot make the directory {}: {}; make it, or name another with FULFILLD_BACKUP_DIR",
            directory.display(),
            access::why_not(&place::folder(&directory), &e)
        ))
    };
    let around = std::fs::metadata(place::folder(path)).map_err(cannot)?;
    let mode = 0o700 | (around.permissions().mode() & 0o2070);
    DirBuilder::new().mode(mode & 0o777).create(&directory).map_err(cannot)?;
    own(&directory, path).map_err(cannot)?;
    // The umask may have taken some; a sandbox lets nobody set what is set already (2000).
    let made = std::fs::metadata(&directory).map_err(cannot)?;
    if made.permissions().mode() & 0o7777 != mode {
        std::fs::set_permissions(&directory, Permissions::from_mode(mode)).map_err(cannot)?;
    }
    place::real(&directory)
}

/// What root makes belongs to the file's owner.
fn own(made: &Path, path: &Path) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let meta = std::fs::metadata(path)?;
        std::os::unix::fs::chown(made, Some(meta.uid()), Some(meta.gid()))?;
    }
    Ok(())
}

/// Whether an older backup of this shop is in its place; `Usage` when anything else is.
fn may_take(target: &Path, path: &Path, shop: &Shop) -> Result<bool> {
    let same = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
    let Ok(there) = std::fs::symlink_metadata(target) else { return Ok(false) };
    if std::fs::metadata(path).is_ok_and(|file| same(&file) == same(&there)) {
        return Err(Error::Usage(format!(
            "{} is the file itself; name another one for its backup",
            target.display()
        )));
    }
    match there.is_file() && Shop::in_file(target).as_ref() == Some(shop) {
        true => Ok(true),
        false => Err(Error::Usage(format!(
            "{} exists and is not a backup of this shop, so it is not replaced; name another file",
            target.display()
        ))),
    }
}

/// A backup that is not whole yet. It goes when it is dropped; one that a killed process left goes
/// when the next one is made in that directory.
struct Partial {
    path: PathBuf,
    /// Locked as long as somebody writes it.
    file: Opened,
}

impl Partial {
    /// An empty file of mode 0600, of the file's owner.
    fn begin(target: &Path, path: &Path) -> Result<Partial> {
        let folder = place::folder(target);
        remove_left(&folder);
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let partial = folder.join(format!(".{name}{PARTIAL}"));
        let cannot = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Temporary(format!(
                "another backup is being written to {}; wait until it is done",
                target.display()
            )),
            std::io::ErrorKind::StorageFull => full(target, path),
            _ => Error::Config(format!(
                "cannot write into {}: {}",
                folder.display(),
                access::why_not(&folder, &e)
            )),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(cannot)?;
        let partial = Partial { path: partial, file };
        flock(&partial.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| cannot(e.into()))?;
        // Between the two somebody may have taken it for what a killed process left.
        if partial.file.metadata().map_err(cannot)?.nlink() == 0 {
            return Err(cannot(std::io::ErrorKind::AlreadyExists.into()));
        }
        own(&partial.path, path).map_err(cannot)?;
        Ok(partial)
    }

    fn copy(&self, source: &Connection, path: &Path) -> Result<()> {
        let name = self.path.to_str().ok_or_else(|| {
            Error::Usage(format!("{} is not UTF-8; name another file", self.path.display()))
        })?;
        source.execute("VACUUM INTO ?1", [name]).map_err(|e| match db::translate(e) {
            Error::Full(_) => full(&self.path, path),
            error => error,
        })?;
        self.file.sync_all().map_err(|e| match e.kind() {
            std::io::ErrorKind::StorageFull => full(&self.path, path),
            _ => self.broken(&e.to_string()),
        })
    }

    /// What is in it, once every page of it can be read and nothing is missing.
    fn verify(&self, shop: &Shop, before: &Held) -> Result<Held> {
        let looked = || -> rusqlite::Result<(String, i32, i64, Shop, Held)> {
            let c = open(&self.path)?;
            let number = |name| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok((
                c.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?,
                number("application_id")? as i32,
                number("user_version")?,
                Shop::of(&c)?,
                Held::of(&c)?,
            ))
        };
        let (said, mark, version, of, held) = looked().map_err(|e| self.broken(&e.to_string()))?;
        let marked = mark == db::APPLICATION_ID && (1..=db::schema_version()).contains(&version);
        match said == "ok" && marked && of == *shop {
            true if held.orders >= before.orders && held.last >= before.last => Ok(held),
            true => Err(self.broken("orders or events are missing from it")),
            false => Err(self.broken(&said)),
        }
    }

    fn broken(&self, why: &str) -> Error {
        Error::Corrupt(format!(
            "the copy in {} is not whole ({}), and was removed; older backups are as they were. \
             Type: fulfilld check; and look at the disk: dmesg",
            place::folder(&self.path).display(),
            clean(why.lines().last().unwrap_or_default())
        ))
    }

    /// Gives it its name, on the disk; its size.
    fn finish(&self, target: &Path, replaces: bool) -> Result<u64> {
        let flags = if replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let named = match rustix::fs::renameat_with(CWD, &self.path, CWD, target, flags) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !target.exists() => {
                std::fs::rename(&self.path, target)
            }
            named => named.map_err(std::io::Error::from),
        };
        let folder = place::folder(target);
        named
            .and_then(|()| Opened::open(&folder)?.sync_all())
            .and_then(|()| self.file.metadata())
            .map(|meta| meta.len())
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => Error::Temporary(format!(
                    "{} was made by somebody else in the meantime; try again",
                    target.display()
                )),
                _ => Error::Config(format!("cannot name the backup {}: {e}", target.display())),
            })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        db::remove(&self.path);
    }
}

fn full(at: &Path, path: &Path) -> Error {
    let folder = place::folder(at);
    let free = rustix::fs::statvfs(&folder).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
    Error::Full(format!(
        "there is no room for the backup in {}: it needs about {:.0} MB, and {:.0} MB are free. \
         Nothing is left of it; free some space, keep fewer (FULFILLD_BACKUPS_KEPT), or name \
         another directory (FULFILLD_BACKUP_DIR)",
        folder.display(),
        (size as f64 / 1e6).ceil(),
        free as f64 / 1e6
    ))
}

/// What backups that were broken off have left in a directory.
fn remove_left(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().ends_with(PARTIAL) {
            continue;
        }
        let Ok(left) = Opened::open(entry.path()) else { continue };
        if flock(&left, FlockOperation::NonBlockingLockExclusive).is_ok() {
            log::info!("removing what an interrupted backup left: {}", entry.path().display());
            db::remove(&entry.path());
        }
    }
}

/// Of this shop's dated backups, `new` and the newest others stay. One that cannot be removed is
/// said, and keeps nothing from being a backup.
fn remove_oldest(path: &Path, new: &Path, shop: &Shop, kept: usize) {
    let mut others = backups::dated(path, &place::folder(new));
    // Another shop's file may have the same name.
    others.retain(|other| other != new && Shop::in_file(other).as_ref() == Some(shop));
    let surplus = (others.len() + 1).saturating_sub(kept);
    for oldest in others.into_iter().take(surplus) {
        if let Err(e) = std::fs::remove_file(&oldest) {
            log::warn!("the backup {} cannot be removed: {e}", oldest.display());
        }
    }
}
