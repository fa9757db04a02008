//! Why the kernel keeps this user from a file, and the command that gives access.

use std::fs::Permissions;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid, getgroups};

/// Why `path` could not be looked at, read or opened, in a sentence with its remedy where it has
/// one.
pub fn why_not(path: &Path, error: &Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => denied(path),
        _ => format!("{}: {error}", path.display()),
    }
}

/// Gives files the modes that those need who share their directory, and nobody else any access;
/// where they are another user's, only their owner can. True when something was changed.
pub fn share(files: &[PathBuf]) -> bool {
    let mut changed = false;
    for file in files {
        let Ok(meta) = std::fs::symlink_metadata(file) else { continue };
        let around = file.parent().and_then(|folder| std::fs::metadata(folder).ok());
        let around = around.map_or(0, |meta| meta.permissions().mode());
        // A directory like /tmp, where everybody keeps their own, is nobody's to share.
        let needed = if around & 0o1020 == 0o020 { 0o660 } else { 0o600 };
        let mode = meta.permissions().mode() & 0o777;
        let right = (mode | needed) & 0o770;
        if meta.is_file() && mode != right {
            changed |= std::fs::set_permissions(file, Permissions::from_mode(right)).is_ok();
        }
    }
    changed
}

/// Which file or directory on the way to `path` is closed to this user, and what opens it: a new
/// login for somebody who has joined its group since they logged in, the group for others, or
/// `sudo`.
pub fn denied(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    // What is behind a closed directory cannot be looked at, so the first that can is the closed
    // one.
    let closed = path.ancestors().find_map(|place| Some((place, std::fs::metadata(place).ok()?)));
    let uid = geteuid().as_raw();
    let user = name_of(uid, "/etc/passwd").unwrap_or_else(|| uid.to_string());
    let Some((place, meta)) = closed else {
        return format!("user {user} may not open {}; run it with sudo", path.display());
    };
    if let Some(remedy) = is_out_of_place(place, &meta).then(|| give_back(place)).flatten() {
        let place = place.display();
        return format!(
            "user {user} may not open {place}, which was put there with another owner; type: {remedy}"
        );
    }
    let place = place.display();
    let gid = meta.gid();
    let for_group = meta.permissions().mode() & 0o060 != 0;
    let Some(group) = name_of(gid, "/etc/group").filter(|_| for_group && !is_in_force(gid)) else {
        return format!("user {user} may not open {place}; run it with sudo");
    };
    match is_member(&user, gid) {
        true => format!(
            "user {user} may not open {place}: it is for the group {group}, and you joined that \
             after you logged in; log in again, or type: newgrp {group}"
        ),
        false => format!(
            "user {user} may not open {place}, which is for the group {group}; type: sudo adduser \
             {user} {group}, and log in again; or run it with sudo"
        ),
    }
}

/// The line that gives a file, and what SQLite keeps beside it, to the owner of its directory, and
/// to the group where that shares the directory. `None` where the directory is everybody's, or
/// cannot be looked at.
pub fn give_back(file: &Path) -> Option<String> {
    let folder = std::fs::metadata(file.parent()?).ok()?;
    let folder_mode = folder.permissions().mode();
    if folder_mode & 0o1002 != 0 {
        return None;
    }
    let called = |number: u32, list| name_of(number, list).unwrap_or_else(|| number.to_string());
    let (owner, group) = (called(folder.uid(), "/etc/passwd"), called(folder.gid(), "/etc/group"));
    let mode = if folder_mode & 0o020 == 0 { 600 } else { 660 };
    // No pattern: whoever types the line may not be able to list the directory.
    let files = ["", "-wal", "-shm", ".lock", ".forgotten"].map(|suffix| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    let there = files.iter().filter(|name| std::fs::symlink_metadata(name).is_ok());
    let words: String = there
        .map(|name| format!(" {}", crate::text::shell_word(&name.to_string_lossy())))
        .collect();
    Some(format!("sudo chown {owner}:{group}{words} && sudo chmod {mode}{words}"))
}

/// A file in a directory that this user may write to, of an owner and a group who are neither.
fn is_out_of_place(place: &Path, meta: &std::fs::Metadata) -> bool {
    let Some(Ok(folder)) = place.parent().map(std::fs::metadata) else { return false };
    let shared = folder.permissions().mode() & 0o020 != 0 && is_in_force(folder.gid());
    let is_mine = folder.uid() == geteuid().as_raw();
    let is_right = meta.uid() == folder.uid() || shared && meta.gid() == folder.gid();
    meta.is_file() && (is_mine || shared) && !is_right
}

/// Whether this process has the group's rights.
fn is_in_force(gid: u32) -> bool {
    getegid().as_raw() == gid
        || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// Whether the next login of a user will have the group's rights.
fn is_member(user: &str, gid: u32) -> bool {
    let has = |file: &str, column: usize, number: usize, named: &dyn Fn(&[&str]) -> bool| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| {
            let cells: Vec<&str> = line.split(':').collect();
            cells.len() > column && cells[number].parse() == Ok(gid) && named(&cells)
        })
    };
    has("/etc/group", 3, 2, &|cells| cells[3].split(',').any(|member| member == user))
        || has("/etc/passwd", 3, 3, &|cells| cells[0] == user)
}

/// The name of a user or group in one of the machine's lists, whose third column is its number.
fn name_of(number: u32, list: &str) -> Option<String> {
    let text = std::fs::read_to_string(list).ok()?;
    let line = text
        .lines()
        .find(|line| line.split(':').nth(2).is_some_and(|column| column.parse() == Ok(number)))?;
    Some(crate::text::clean(line.split(':').next()?))
}
