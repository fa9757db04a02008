//! A file that is put back, moved or copied by hand, in every state: what is answered 200
//! afterwards stands in a file that is whole, or the desk refuses to serve and the line that it
//! prints works.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;

use crate::arrivals::afresh;
use crate::proof;
use crate::shop::{Running, Shop, fulfilld, number_of, rows, seed, shell, wait_for};

/// What the desk is doing while somebody handles its file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Desk {
    Running,
    Stopped,
    Killed,
}

/// How the copy was made that is put back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Backup {
    /// `cp` of the one file, whatever lies beside it.
    File,
    /// `cp` of the file and its log.
    FileAndLog,
    /// `cp` of all that is there.
    AllThree,
    /// The shell's `.backup`.
    Shell,
    Vacuum,
}

/// How it comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Put {
    /// Into the same inode.
    Cp,
    /// In place of it.
    Mv,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    /// While the copy is made.
    copied: Desk,
    backup: Backup,
    /// More orders came after the copy.
    older: bool,
    /// While it comes back.
    desk: Desk,
    put: Put,
    /// The old log and its index are removed first, as a careful person does.
    cleared: bool,
}

/// Every one that can be.
fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for copied in [Desk::Running, Desk::Stopped] {
        for backup in
            [Backup::File, Backup::FileAndLog, Backup::AllThree, Backup::Shell, Backup::Vacuum]
        {
            for desk in [Desk::Running, Desk::Stopped, Desk::Killed] {
                for put in [Put::Cp, Put::Mv] {
                    for (older, cleared) in
                        [(true, false), (true, true), (false, false), (false, true)]
                    {
                        all.push(Case { copied, backup, older, desk, put, cleared });
                    }
                }
            }
        }
    }
    all
}

/// Of the 240 so many are tried in random order; `FULFILLD_TEST_RESTORES` sets another number.
const TRIED: u64 = 24;

#[test]
fn whatever_file_is_put_back_no_200_goes_into_one_that_is_not_whole() {
    let tried = number_of("FULFILLD_TEST_RESTORES").unwrap_or(TRIED) as usize;
    let mut all = cases();
    Rng::with_seed(seed()).shuffle(&mut all);
    let mut shop = Shop::open();
    let (mut served, mut refused) = (0, 0);
    let mut faults = Vec::new();
    for case in all.iter().take(tried) {
        match try_case(&mut shop, *case) {
            Ok(Outcome::Served) => served += 1,
            Ok(Outcome::Refused) => refused += 1,
            Err(fault) => faults.push(format!("{case:?}: {fault}")),
        }
        proof::found_so_far(format!("{} files put back", served + refused), faults.len());
    }
    println!("{served} served, {refused} refused with a line that works");
    proof::found(format!("{} files put back", served + refused), faults.len());
    assert_eq!(faults, [""; 0]);
}

/// The control: the same cases, those in which an old log is left beside the file, catch a desk
/// that plays back whatever log lies there.
#[test]
fn control_restores_catch_a_desk_that_plays_back_any_log() {
    let mut left: Vec<Case> = cases();
    left.retain(|case| {
        case.older
            && !case.cleared
            && case.desk == Desk::Killed
            && matches!(case.backup, Backup::File | Backup::Vacuum)
    });
    Rng::with_seed(seed()).shuffle(&mut left);
    let mut shop = Shop::open();
    shop.settings.push(("FULFILLD_SABOTAGE".into(), "any_log".into()));
    let fault = left.iter().find_map(|case| try_case(&mut shop, *case).err());
    proof::caught("any_log", fault.expect("no file that was put back showed the planted bug"));
}

enum Outcome {
    /// Without a word.
    Served,
    /// Until the line that it printed was typed.
    Refused,
}

fn try_case(shop: &mut Shop, case: Case) -> Result<Outcome, String> {
    afresh(shop);
    let kept = tempfile::tempdir().expect("a directory for the copy");
    sell(shop, 4);
    if case.copied == Desk::Stopped {
        shop.stop();
    }
    let copied = copy(&shop.file(), kept.path(), case.backup);
    if shop.desk.is_none() {
        shop.start();
    }
    if case.older {
        sell(shop, 4);
    }
    match case.desk {
        Desk::Running => {}
        Desk::Stopped => shop.stop(),
        Desk::Killed => shop.kill(),
    }
    if case.cleared {
        for name in ["-wal", "-shm"].map(|end| beside(&shop.file(), end)) {
            let _ = std::fs::remove_file(name);
        }
    }
    for (from, to) in &copied {
        let how = if case.put == Put::Cp { "cp" } else { "mv" };
        let done = Command::new(how).arg(from).arg(to).status().expect("every machine has it");
        assert!(done.success(), "{how} {} {}", from.display(), to.display());
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_it(shop)));
    shop.desk = None;
    outcome.unwrap_or_else(|panic| {
        Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into()))
    })
}

/// Some purchases, delivered and processed.
fn sell(shop: &Shop, n: usize) {
    for (id, _) in shop.buy("card", n, "snapshot").iter().flat_map(|p| &p.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Makes the copy: what it consists of, and where each piece belongs.
fn copy(file: &Path, into: &Path, how: Backup) -> Vec<(PathBuf, PathBuf)> {
    let target = into.join("copy.db");
    let ends: &[&str] = match how {
        Backup::File => &[""],
        Backup::FileAndLog => &["", "-wal"],
        Backup::AllThree => &["", "-wal", "-shm"],
        Backup::Shell | Backup::Vacuum => {
            let line = match how {
                Backup::Shell => format!(".backup '{}'", target.display()),
                _ => format!("VACUUM INTO '{}'", target.display()),
            };
            shell(file, &line).expect("a backup can be made");
            &[]
        }
    };
    for end in ends {
        if beside(file, end).exists() {
            std::fs::copy(beside(file, end), beside(&target, end)).expect("it can be copied");
        }
    }
    ["", "-wal", "-shm"]
        .map(|end| (beside(&target, end), beside(file, end)))
        .into_iter()
        .filter(|(from, _)| from.exists())
        .collect()
}

/// Goes on in business with the file as it is now, as systemd, Stripe and a shopkeeper would who
/// reads what is printed.
fn use_it(shop: &mut Shop) -> Result<Outcome, String> {
    let mut acknowledged = HashSet::new();
    let mut outcome = Outcome::Served;
    let mut typed = HashSet::new();
    let mut starts = 0;
    let purchases = shop.buy("card", 6, "snapshot");
    let events: Vec<String> =
        purchases.iter().flat_map(|p| &p.events).map(|(id, _)| id.clone()).collect();
    let mut next = 0;
    while next < events.len() {
        if shop
            .desk
            .as_mut()
            .is_none_or(|desk| desk.child.try_wait().expect("it is ours").is_some())
        {
            starts += 1;
            if starts > 6 {
                return Err("it was started six times and still does not serve".into());
            }
            match Running::try_start(shop.serve().stdin(Stdio::null()).stderr(Stdio::piped())) {
                Ok(desk) => shop.desk = Some(desk),
                Err((status, said)) if status.code() == Some(78) => {
                    outcome = Outcome::Refused;
                    let line = remedy(&said)
                        .ok_or_else(|| format!("it refuses without a line to type: {said}"))?;
                    if !typed.insert(line.clone()) {
                        return Err(format!("the line that it printed does not help: {said}"));
                    }
                    let done = Command::new("sh")
                        .args(["-c", &line])
                        .env("PATH", path())
                        .output()
                        .expect("a shell");
                    if !done.status.success() {
                        return Err(format!("{line}: {}", String::from_utf8_lossy(&done.stderr)));
                    }
                    continue;
                }
                // systemd starts it again.
                Err((status, _)) if status.code() == Some(75) => continue,
                Err((status, said)) => return Err(format!("it ends ({status}): {said}")),
            }
        }
        if shop.post(&shop.body(&events[next])).is_ok_and(|(status, _)| status == 200) {
            acknowledged.insert(events[next].clone());
            next += 1;
        } else {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    shop.settle();
    shop.stop();
    let whole = rows(&shop.file(), "PRAGMA integrity_check");
    if whole != ["ok"] {
        return Err(format!("the file is not whole: {}", whole[0]));
    }
    let kept: HashSet<String> = rows(&shop.file(), "SELECT id FROM events").into_iter().collect();
    let lost = acknowledged.difference(&kept).count();
    if lost > 0 {
        return Err(format!(
            "{lost} of {} events that were answered 200 are gone",
            acknowledged.len()
        ));
    }
    let checked =
        fulfilld().arg("check").env("FULFILLD_DB", shop.file()).output().expect("the program runs");
    if !checked.status.success() {
        return Err(format!("check: {}", String::from_utf8_lossy(&checked.stdout)));
    }
    shop.start();
    wait_for("it serves", || {
        (shop.post(br#"{"id":"evt_0","type":"x"}"#).ok()?.0 == 200).then_some(())
    });
    shop.stop();
    Ok(outcome)
}

/// The line to type in what the desk says as it refuses: the first one, which continues with the
/// file that is there.
fn remedy(said: &str) -> Option<String> {
    let line = said.split_once(": mv ")?.1;
    let line = line.split([';', '\n']).next().unwrap_or(line);
    Some(format!("mv {}", line.trim()))
}

/// Where a shell finds `fulfilld`.
fn path() -> std::ffi::OsString {
    let ours = Path::new(env!("CARGO_BIN_EXE_fulfilld")).parent().expect("it has a directory");
    let mut path = ours.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
