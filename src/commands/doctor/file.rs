//! The file: ours, whole, shared as it has to be, not locked, with room to grow, and worked
//! off.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Report, Shop, shell};
use crate::access;
use crate::clock::{self, Timestamp};
use crate::db::{self, APPLICATION_ID};
use crate::place::{self, beside, folder};
use crate::rollback_guard;
use crate::shape;
use crate::text;

/// As long as a webhook waits for somebody else's lock.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// The log is cut back to 16 MiB after a checkpoint; what is larger has a reader that stays open.
const WAL_MAX: u64 = 64 << 20;

/// Less room than this is next to none.
const FREE_MIN: u64 = 200 << 20;

/// At the pace so far, fewer days than this are worth a word.
const DAYS_MIN: u64 = 30;

/// Events that wait longer are behind, as for `/readyz`.
const WAITING_MAX: &str = "-10 minutes";

/// Whether a file holds live orders; `None` when it cannot be read.
pub fn livemode(path: &Path) -> Option<bool> {
    open(path).ok()?.query_row("SELECT livemode FROM shop", [], |row| row.get(0)).ok()
}

/// Reports a file that is damaged, not shared as it should be, locked, or on a disk that fills.
pub fn check(shop: &Shop, report: &mut Report) {
    let path = &shop.file;
    shell::check(report);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return report.problem(
                "file_missing",
                format!("there is no file {}", path.display()),
                "fulfilld makes it at its first start; where it ran before, it kept its orders elsewhere.",
                "systemctl start fulfilld; or name the file with FULFILLD_DB or --db",
            );
        }
        Err(e) => {
            return report.problem(
                "file_denied",
                access::why_not(path, &e),
                "Whether it is there, whole and shared cannot be seen.",
                "do as it says, or: sudo fulfilld doctor",
            );
        }
    };
    let before = report.lines.len();
    shared(path, &meta, report);
    if !report.has("file_owner") {
        companions(shop, &meta, report);
    }
    links(path, &meta, report);
    log_size(path, report);
    let real = place::real(path).unwrap_or_else(|_| path.clone());
    if let Err(why) = place::check_log(&real) {
        return report.problem(
            "file_log_foreign",
            why.to_string(),
            "fulfilld does not start, because the file would be destroyed.",
            format!(
                "{}; or: fulfilld restore BACKUP",
                place::set_aside(&place::beside(&real, "-wal"))
            ),
        );
    }
    let c = match open(path).and_then(|c| is_ours(&c).map(|ours| (c, ours))) {
        Ok((c, Ours::Yes)) => c,
        Ok((_, ours)) => return not_ours(path, &ours, report),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return not_ours(path, &Ours::No, report);
        }
        Err(e) => {
            return report.problem(
                "file_cannot_be_opened",
                format!("{} cannot be opened: {e}", path.display()),
                "Neither can whoever is to read and edit it as this user.",
                "sudo adduser \"$USER\" fulfilld, and log in again; or run this with sudo",
            );
        }
    };
    whole(&c, path, report);
    if let Ok(Some(lost)) = rollback_guard::lost(&real, &c) {
        report.problem(
            "file_went_back",
            lost,
            "No list of Stripe's has it.",
            "type it again; from the next start on, fulfilld attention names it",
        );
    }
    own_rules(&c, path, report);
    locked(path, report);
    room(&c, path, meta.len(), report);
    backlog(&c, report);
    if report.lines.len() == before {
        report.good(format!("{} is whole, shared with its group alone, and free", path.display()));
    }
}

/// For looking only: what is open for reading writes nothing back when it is closed.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    // A log that is another file's must not be played back, not even into what is only read.
    let own = place::real(path).and_then(|real| place::check_log(&real));
    own.map_err(|_| rusqlite::Error::InvalidPath(path.into()))?;
    let c = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    c.busy_timeout(LOCK_WITHIN)?;
    Ok(c)
}

enum Ours {
    Yes,
    No,
    /// Of a version to come.
    Newer(i64),
}

fn is_ours(c: &Connection) -> rusqlite::Result<Ours> {
    let pragma = |name: &str| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != i64::from(APPLICATION_ID) {
        return Ok(Ours::No);
    }
    let version = pragma("user_version")?;
    Ok(if version > db::schema_version() { Ours::Newer(version) } else { Ours::Yes })
}

fn not_ours(path: &Path, ours: &Ours, report: &mut Report) {
    let shown = path.display();
    let why = "fulfilld does not start with it.";
    match ours {
        Ours::Newer(version) => report.problem(
            "file_newer",
            format!("{shown} was written by a newer fulfilld (schema {version}, this one knows \
                     {})", db::schema_version()),
            why,
            "install that version again, or restore the backup it made",
        ),
        _ => report.problem(
            "file_not_a_database",
            format!("{shown} is not a fulfilld database"),
            why,
            "name the right file with FULFILLD_DB, or put a backup in its place: fulfilld restore BACKUP",
        ),
    }
}

/// The owner's and the group's, nobody else's; and where a group shares the directory, new files
/// are the group's as well.
fn shared(path: &Path, meta: &Metadata, report: &mut Report) {
    let (shown, mode) = (path.display(), meta.permissions().mode() & 0o7777);
    if mode & 0o006 != 0 {
        report.problem(
            "file_readable",
            format!("{shown} can be read by every user of this server (mode {mode:04o})"),
            "It holds your customers' names and addresses.",
            format!("chmod 660 {}", text::shell_word(&shown.to_string())),
        );
    }
    let folder = folder(path);
    let Ok(around) = std::fs::metadata(&folder) else { return };
    let (folder, around_mode) = (folder.display(), around.permissions().mode() & 0o7777);
    if around_mode & 0o1002 == 0o002 {
        return report.problem(
            "directory_open",
            format!(
                "every user of this server can replace files in {folder} (mode {around_mode:04o})"
            ),
            "Whoever does gets your orders, or loses them.",
            format!("chmod 2770 {}", text::shell_word(&folder.to_string())),
        );
    }
    // A directory like /tmp, where everybody keeps their own, is nobody's to share.
    let group_shares = around_mode & 0o1020 == 0o020;
    if group_shares && around_mode & 0o2000 == 0 {
        report.problem(
            "directory_not_setgid",
            format!("{folder} is its group's, and new files in it are not (mode {around_mode:04o})"),
            "SQLite's -wal and -shm belong to whoever opens the file first, and shut the others out.",
            format!("chmod 2770 {}", text::shell_word(&folder.to_string())),
        );
    }
    if group_shares && around.uid() != meta.uid() && mode & 0o060 != 0o060 {
        return report.problem(
            "file_owner",
            format!(
                "{shown} belongs to user {}, its directory to user {}",
                meta.uid(),
                around.uid()
            ),
            "fulfilld cannot write it, and answers 503 or does not start.",
            access::give_back(path).unwrap_or_default(),
        );
    }
    if group_shares && around.gid() != meta.gid() {
        report.problem(
            "file_group",
            format!("{shown} is of group {}, its directory of group {}", meta.gid(), around.gid()),
            "Who is in the one group cannot edit, or fulfilld cannot write.",
            access::give_back(path).unwrap_or_else(|| {
                format!("sudo chgrp {} {}", around.gid(), text::shell_word(&shown.to_string()))
            }),
        );
    }
    let needed = if group_shares { 0o660 } else { 0o600 };
    if mode & needed != needed {
        report.problem(
            "file_mode",
            format!("{shown} cannot be written by everybody who has to (mode {mode:04o})"),
            "fulfilld answers 503, or the shell refuses the operator's edit.",
            access::give_back(path)
                .unwrap_or_else(|| format!("chmod 660 {}", text::shell_word(&shown.to_string()))),
        );
    }
}

/// What SQLite and the daemon keep beside a file, as far as it is there.
pub fn companions_of(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let beside = ["-wal", "-shm", ".lock"].map(|suffix| beside(path, suffix));
    beside
        .into_iter()
        .filter_map(|path| std::fs::metadata(&path).ok().map(|meta| (path, meta)))
        .collect()
}

/// They must be as open to those who write as the file is.
fn companions(shop: &Shop, meta: &Metadata, report: &mut Report) {
    for (beside, other) in &shop.companions {
        let group_may = other.gid() == meta.gid() && other.permissions().mode() & 0o060 == 0o060;
        if other.uid() != meta.uid() && !group_may {
            let (word, beside) = (text::shell_word(&beside.to_string_lossy()), beside.display());
            let one =
                format!("sudo chown {}:{} {word} && sudo chmod 660 {word}", meta.uid(), meta.gid());
            report.problem(
                "file_companion_owner",
                format!(
                    "{beside} belongs to user {}, {} to user {}",
                    other.uid(),
                    shop.file.display(),
                    meta.uid()
                ),
                "fulfilld cannot write it, and answers 503 or does not start.",
                access::give_back(&shop.file).unwrap_or(one),
            );
        }
    }
}

fn links(path: &Path, meta: &Metadata, report: &mut Report) {
    if meta.nlink() > 1 {
        let shown = path.display();
        report.problem(
            "file_hard_links",
            format!("{shown} has {} names (hard links)", meta.nlink()),
            "Opened by another name it gets a log of its own, and the two destroy each other.",
            format!(
                "find {} -xdev -samefile {shown}; remove the other names",
                folder(path).display()
            ),
        );
    }
}

fn log_size(path: &Path, report: &mut Report) {
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |meta| meta.len());
    if log > WAL_MAX {
        report.problem(
            "wal_large",
            format!("the write-ahead log {}-wal has grown to {} MiB", path.display(), log >> 20),
            "A reader that stays open stops the log from being cut; it grows, and every query gets slower.",
            format!(
                "end {}: leave the shell, or type COMMIT there; a fulfilld verb ends by itself",
                holders(path)
            ),
        );
    }
}

fn whole(c: &Connection, path: &Path, report: &mut Report) {
    let said = c.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let damage = match said {
        Ok(said) if said == "ok" => return,
        Ok(said) => said,
        Err(e) => e.to_string(),
    };
    report.problem(
        "file_damaged",
        format!("{} is damaged: {}", path.display(), damage.lines().last().unwrap_or_default()),
        "What stands on the damaged pages is lost, and fulfilld stops when it meets them.",
        "sudo systemctl stop fulfilld.socket fulfilld && sudo fulfilld restore BACKUP; the damaged file is kept",
    );
}

/// Triggers and unique indexes that somebody put on fulfilld's tables.
fn own_rules(c: &Connection, path: &Path, report: &mut Report) {
    let rules = shape::rules_besides(c, db::SCHEMA).unwrap_or_default();
    let Some(first) = rules.first() else { return };
    let named: Vec<String> = rules.iter().map(|rule| format!("{rule} on {}", rule.table)).collect();
    report.advice(
        "file_own_rules",
        format!("not fulfilld's: {}", text::clean(&named.join(", "))),
        "What such a rule refuses is not stored: an event is answered 503 until the rule is gone.",
        format!(
            "if you do not need it: sqlite3 {} {}",
            text::quoted(path),
            text::shell_word(&text::clean(&first.drop_line()))
        ),
    );
}

/// Asks for the write lock and gives it back.
fn locked(path: &Path, report: &mut Report) {
    let ask = || {
        let mut c = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        c.busy_timeout(LOCK_WITHIN)?;
        // Closing it must not write the log into the file.
        c.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        c.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()
    };
    match ask() {
        Ok(()) => {}
        Err(e)
            if matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            report.problem(
                "file_locked",
                format!(
                    "somebody has kept the file locked for {} s and more",
                    LOCK_WITHIN.as_secs()
                ),
                "Webhooks are answered 503 until the lock is given back.",
                format!("type COMMIT or ROLLBACK where a BEGIN was left open: {}", holders(path)),
            )
        }
        Err(e) => report.problem(
            "file_not_writable",
            format!("{} cannot be written by this user: {e}", path.display()),
            "Neither can whoever is to edit it as this user.",
            "sudo adduser \"$USER\" fulfilld, and log in again; or run this with sudo",
        ),
    }
}

/// Who has the file open besides the daemon, as far as this user can see.
fn holders(path: &Path) -> String {
    let Ok(file) = path.canonicalize() else { return "nobody in sight".into() };
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        let Ok(name) = std::fs::read_to_string(process.path().join("comm")) else { continue };
        let open = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has_it =
            open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|link| link == file);
        if !has_it || pid == own {
            continue;
        }
        // A verb that reads a large file is one, too.
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let verb = words.split(|byte| *byte == 0).nth(1).map(String::from_utf8_lossy);
        let name = match (name.trim(), verb.as_deref()) {
            ("fulfilld", Some("serve") | None) => continue,
            ("fulfilld", Some(verb)) => format!("fulfilld {}", text::clean(verb)),
            (name, _) => name.into(),
        };
        found.push(format!("{name} (process {pid})"));
    }
    if found.is_empty() {
        "a sqlite3 shell or another program (sudo shows which)".into()
    } else {
        found.join(", ")
    }
}

fn room(c: &Connection, path: &Path, size: u64, report: &mut Report) {
    let Ok(disk) = rustix::fs::statvfs(folder(path)) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let why = "When the disk is full, events are answered 503 and no order arrives.";
    let remedy = format!(
        "df -h {}; du -xh / | sort -h | tail; free some space, or a larger disk",
        folder(path).display()
    );
    if free < FREE_MIN {
        let what = format!("{} MiB are left on the disk of {}", free >> 20, path.display());
        return report.problem("disk_nearly_full", what, why, remedy);
    }
    let born = c.query_row("SELECT created_at FROM shop", [], |row| row.get::<_, String>(0)).ok();
    let born = born.and_then(|at| at.parse::<Timestamp>().ok());
    let days =
        born.map_or(0, |at| (clock::now().as_second() - at.as_second()).max(0) as u64 / 86_400);
    // A week says something about the next month.
    if days >= 7 && free / (size / days).max(1) < DAYS_MIN {
        let left = free / (size / days).max(1);
        report.advice(
            "disk_days",
            format!("at the file's pace so far the disk is full in {left} days"),
            why,
            remedy,
        );
    }
}

fn backlog(c: &Connection, report: &mut Report) {
    let count = |sql: &str| c.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or(0);
    let waiting = count(&format!(
        "SELECT count(*) FROM events WHERE state = 'pending'
         AND received_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '{WAITING_MAX}')"
    ));
    // With a cause that was found, they go on once it is fixed.
    let explained = ["key_", "permission_", "stripe_"].iter().any(|id| report.has(id));
    if waiting > 0 && !explained {
        report.problem(
            "events_waiting",
            format!("{waiting} events have waited for more than ten minutes"),
            "Their orders are not there yet.",
            "fulfilld events --state pending says what each waits for",
        );
    }
    let failed = count("SELECT count(*) FROM events WHERE state = 'failed'");
    if failed > 0 {
        report.problem(
            "events_failed",
            format!("{failed} events could not be processed, and were parked"),
            "What they report is not in the orders.",
            "fulfilld events --state failed; once that is fixed: fulfilld replay ID",
        );
    }
}
