//! The shop's own programs: whether a hook's target can be run or posted to, and whether one has
//! given up.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Report, Shop, file, settings};
use crate::config;
use crate::config::hooks::Kind;
use crate::hooks::command;
use crate::text;

/// Reports hooks that cannot be run or have failed.
pub fn check(shop: &Shop, report: &mut Report) {
    let before = report.lines.len();
    let mut some = false;
    for fault in config::faults().into_iter().filter(settings::is_of_hooks) {
        report.fault(fault);
    }
    if let Ok(plan) = config::hook_plan() {
        some = !plan.targets.is_empty();
        for target in &plan.targets {
            if let Kind::Command(program) = &target.kind {
                runs(program, report);
            }
        }
    }
    gave_up(&shop.file, report);
    if report.lines.len() == before {
        report.good(if some { "every program is there" } else { "none are set" });
    }
}

fn runs(program: &Path, report: &mut Report) {
    let why = "Notifications of paid and sent orders wait, and reach nobody meanwhile.";
    let shown = program.display();
    match std::fs::metadata(program) {
        Err(e) => report.problem(
            "hook_command_missing",
            format!("FULFILLD_HOOK_COMMAND: {shown} cannot be looked at: {e}"),
            why,
            "put the program there, or write its whole path, /usr/local/bin/… for one",
        ),
        Ok(meta) if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 => report.problem(
            "hook_command_not_executable",
            format!(
                "FULFILLD_HOOK_COMMAND: {shown} cannot be run (mode {:04o})",
                meta.permissions().mode() & 0o7777
            ),
            why,
            format!("chmod 755 {}", text::shell_word(&shown.to_string())),
        ),
        // It may be run, and the kernel would still not start it.
        Ok(_) => {
            let fault = command::disk_fault(program).or_else(|| command::script_fault(program));
            if let Some(fault) = fault {
                report.problem(
                    "hook_command_cannot_start",
                    format!("FULFILLD_HOOK_COMMAND: {fault}"),
                    why,
                    "then try it: fulfilld hooks test order.paid",
                );
            }
        }
    }
}

fn gave_up(path: &Path, report: &mut Report) {
    let sql = "SELECT count(*) FROM attention WHERE reason = 'hook_dead'";
    let dead = file::open(path)
        .and_then(|c| c.query_row(sql, [], |row| row.get::<_, i64>(0)))
        .unwrap_or(0);
    if dead > 0 {
        report.problem(
            "hooks_dead",
            format!("{dead} hooks were tried for long and given up"),
            "Nobody was notified of what they stand for.",
            "fulfilld hooks list; then: fulfilld hooks retry --dead",
        );
    }
}
