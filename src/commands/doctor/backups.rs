//! The backups: how old the newest is, who can read them, and whether Litestream replicates.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{Report, Shop};
use crate::backups;
use crate::env;
use crate::litestream;
use crate::place;
use crate::text::{clean, shell_word};

/// It replicates every second; what lasts longer does not pass by itself.
const LAG_MAX: Duration = Duration::from_secs(300);

/// Reports when the newest backup is old, or Litestream does not follow.
pub fn check(shop: &Shop, report: &mut Report) {
    let path = place::real(&shop.file).unwrap_or_else(|_| shop.file.clone());
    if !path.exists() || report.has("file_not_a_database") {
        return report.skip("there is nothing to back up");
    }
    readable(&path, report);
    let replicates = litestream(&path, report);
    let newest = backups::all(&path).into_iter().max_by_key(|(_, at)| *at);
    match newest.map(|(backup, at)| (backup, backups::age(at))) {
        Some((backup, age)) if age <= backups::AGE_MAX => report.good(format!(
            "the newest backup is of {} ago: {}",
            backups::ago(age),
            backup.display()
        )),
        _ if replicates => {}
        found => report.advice(
            "backup_missing",
            match found {
                Some((backup, age)) => format!(
                    "the newest backup, {}, is of {} ago",
                    backup.display(),
                    backups::ago(age)
                ),
                None => format!("{} has no backup", path.display()),
            },
            "Tracking numbers and notes are nowhere else. Where a backup is kept elsewhere, this is nothing.",
            "sudo fulfilld backup; daily: sudo systemctl enable --now fulfilld-backup.timer; and a \
             copy on another machine",
        ),
    }
}

fn readable(path: &Path, report: &mut Report) {
    let is_open =
        |backup: &Path| backup.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o006 != 0);
    if let Some((open, _)) = backups::all(path).iter().find(|(backup, _)| is_open(backup)) {
        report.problem(
            "backup_readable",
            format!("the backup {} can be read by every user of this server", open.display()),
            "It holds your customers' names and addresses, as the file does.",
            format!("chmod 600 {}", shell_word(&open.to_string_lossy())),
        );
    }
}

/// True when the service's directory says what Litestream is to replicate.
fn is_set_up() -> bool {
    env::all().etc.as_ref().is_some_and(|etc| etc.join("litestream.yml").exists())
}

/// True when Litestream's replica has what the file has.
fn litestream(path: &Path, report: &mut Report) -> bool {
    let state = litestream::state(path);
    let said = litestream::ask(path);
    let follows = said.as_ref().is_some_and(|said| said.replicated_at.is_some());
    let is_used = state.exists() || follows;
    if !is_used && !is_set_up() {
        return false;
    }
    let version = said.as_ref().map(|said| said.version.clone()).or_else(litestream::installed);
    let (a, b, c) = litestream::VERSION_MIN;
    if let Some(version) = version.as_ref().filter(|found| !litestream::is_new_enough(found)) {
        report.problem(
            "litestream_old",
            format!("Litestream is of version {}, older than {a}.{b}.{c}", clean(version)),
            "Earlier ones stop without a word, or can damage the file when they empty its log.",
            "install a newer one (litestream.io/install), then: sudo systemctl restart fulfilld-litestream",
        );
    }
    if !is_used {
        // Whether it is started already, and why not, is the unit's to say.
        return false;
    }
    let log = "journalctl -u fulfilld-litestream -e says why";
    let Some(said) = said else {
        report.problem(
            "litestream_stopped",
            format!("Litestream has replicated {} and does not answer any more", path.display()),
            "What is typed from now on is on this machine alone.",
            format!(
                "sudo systemctl restart fulfilld-litestream; {log}; when it is not wanted any more: sudo rm -r {}",
                shell_word(&state.to_string_lossy())
            ),
        );
        return false;
    };
    let Some(age) = said.replicated_at.map(backups::age) else {
        report.problem(
            "litestream_other_file",
            format!("Litestream runs and does not replicate {}", path.display()),
            "What is typed is on this machine alone.",
            "name the file in /etc/fulfilld/litestream.yml, then: sudo systemctl restart fulfilld-litestream",
        );
        return false;
    };
    if age > LAG_MAX {
        report.problem(
            "litestream_behind",
            format!("Litestream's replica has been behind for {}", backups::ago(age)),
            "What was typed since is on this machine alone.",
            format!("{log} (credentials, network, bucket)"),
        );
        return false;
    }
    report.good(format!(
        "Litestream {} replicates; its replica had everything {} ago",
        clean(&said.version),
        backups::ago(age)
    ));
    true
}
