//! Verbs that are typed beside the service: each finds its file and settings, and says what keeps
//! it from them.
//!
//! The machine is played: its /etc and /var/lib are directories of the test's, seen by the program
//! alone.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use crate::verbs::Books;

/// The group that may read and edit the file.
const GROUP: u32 = 4242;

/// Who types: their user and the groups that their login gave them.
type Login = (u32, &'static [u32]);

const ROOT: Login = (0, &[0]);
const ADA: Login = (4301, &[GROUP]);
/// She was added to the group, and has not logged in again.
const ADA_OF_BEFORE: Login = (4301, &[]);
const A_STRANGER: Login = (4302, &[]);

/// Verbs of every kind: they look, write, open the shell, ask Stripe.
const VERBS: &[&str] = &[
    "orders",
    "attention",
    "ship 1041",
    "undo",
    "export",
    "events",
    "hooks",
    "check",
    "sql --ro .tables",
];

/// A machine on which the package is installed, with five orders in the service's file.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// `None` where nobody else can be played, because this is not root.
    fn installed() -> Option<Machine> {
        if rustix::process::geteuid().as_raw() != 0 {
            eprintln!("not root: nobody else can be played");
            return None;
        }
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        machine.directory("", 0, 0o755);
        for directory in ["etc", "var", "home"] {
            machine.directory(directory, 0, 0o755);
        }
        machine.directory("etc/fulfilld", GROUP, 0o750);
        machine.directory("var/fulfilld", GROUP, 0o2770);
        machine.file(
            "etc/passwd",
            0,
            0o644,
            "root:x:0:0::/root:/bin/sh\nada:x:4301:4301::/home/ada:/bin/sh\n",
        );
        machine.file("etc/group", 0, 0o644, &format!("root:x:0:\nfulfilld:x:{GROUP}:bob,ada\n"));
        machine.file(
            "etc/fulfilld/fulfilld.env",
            GROUP,
            0o640,
            "#FULFILLD_DB=/elsewhere\nFULFILLD_WORKERS=4\n",
        );
        machine.books("var/fulfilld/fulfilld.db");
        std::fs::copy(env!("CARGO_BIN_EXE_fulfilld"), machine.dir.path().join("fulfilld")).unwrap();
        Some(machine)
    }

    fn directory(&self, name: &str, group: u32, mode: u32) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Machine::give(&path, group, mode);
    }

    fn file(&self, name: &str, group: u32, mode: u32, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Machine::give(&path, group, mode);
    }

    fn give(path: &Path, group: u32, mode: u32) {
        chown(path, None, Some(group)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A file with five orders.
    fn books(&self, name: &str) {
        let path = self.dir.path().join(name);
        std::fs::copy(Books::open().db(), &path).unwrap();
        Machine::give(&path, GROUP, 0o660);
    }

    /// Types a line, in an environment that cron could have made.
    fn types(&self, (user, groups): Login, line: &str) -> Output {
        self.types_with(&[], (user, groups), line)
    }

    fn types_with(&self, env: &[(&str, &str)], (user, groups): Login, line: &str) -> Output {
        let mounted = "mount --bind \"$0/etc\" /etc && mount --bind \"$0/var\" /var/lib && cd \
                       \"$0/home\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", mounted]).arg(self.dir.path()).arg("setpriv");
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        match groups.is_empty() {
            true => command.arg("--clear-groups"),
            false => command.arg(format!("--groups={}", groups.join(","))),
        };
        command.arg(self.dir.path().join("fulfilld")).args(line.split(' '));
        command.env_clear().env("PATH", env!("PATH")).envs(env.iter().copied());
        command.output().expect("unshare and setpriv are there")
    }

    /// What it says when it is refused as a set-up that has to be fixed first.
    fn refused(&self, login: Login, line: &str) -> String {
        let output = self.types(login, line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{line}: {said}");
        assert!(
            said.trim_end().lines().count() == 1 && !said.contains("there is no file"),
            "{line}: {said}"
        );
        said
    }

    fn succeeds(&self, login: Login, line: &str) -> String {
        let output = self.types(login, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_group_member_before_the_next_login_is_advised_to_log_in_again() {
    let Some(machine) = Machine::installed() else { return };
    for verb in VERBS {
        let said = machine.refused(ADA_OF_BEFORE, verb);
        assert!(
            said.contains("user ada")
                && said.contains("newgrp fulfilld")
                && said.contains("log in again"),
            "{said}"
        );
    }
    // The same where no settings stand in the way, with the file named and with the file alone
    // closed.
    let said = machine.refused(ADA_OF_BEFORE, "orders --db /var/lib/fulfilld/fulfilld.db");
    assert!(said.contains("/var/lib/fulfilld: ") && said.contains("newgrp fulfilld"), "{said}");
    machine.directory("etc/fulfilld", GROUP, 0o755);
    std::fs::remove_file(machine.dir.path().join("etc/fulfilld/fulfilld.env")).unwrap();
    assert!(
        machine
            .refused(ADA_OF_BEFORE, "attention")
            .contains("/var/lib/fulfilld: it is for the group fulfilld")
    );
    std::fs::remove_dir(machine.dir.path().join("etc/fulfilld")).unwrap();
    assert!(
        machine
            .refused(ADA_OF_BEFORE, "attention")
            .contains("/var/lib/fulfilld: it is for the group fulfilld")
    );
    machine.directory("var/fulfilld", GROUP, 0o2771);
    assert!(machine.refused(ADA_OF_BEFORE, "ship 1041").contains("newgrp fulfilld"));
}

#[test]
fn somebody_outside_the_group_reads_how_to_join_it() {
    let Some(machine) = Machine::installed() else { return };
    for verb in VERBS {
        let said = machine.refused(A_STRANGER, verb);
        assert!(
            said.contains("sudo adduser 4302 fulfilld") && said.contains("with sudo"),
            "{said}"
        );
    }
    let doctor = machine.types(A_STRANGER, "doctor --offline --json");
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        said.contains("settings_unreadable") && said.contains("sudo adduser 4302 fulfilld"),
        "{said}"
    );
    assert!(!said.contains("file_missing"), "{said}");
}

#[test]
fn root_cron_and_a_group_member_find_the_service_s_file() {
    let Some(machine) = Machine::installed() else { return };
    for login in [ROOT, ADA] {
        assert!(machine.succeeds(login, "orders").contains("Ada Lovelace"));
        assert!(machine.succeeds(login, "sql --ro .tables").contains("orders"));
    }
    machine.succeeds(ADA, "hold 1041 --reason counted");
    machine.succeeds(ROOT, "undo");
    machine.succeeds(ADA, "ship 1041");
    // Whatever of these opened the file first, the other can still write.
    machine.succeeds(ROOT, "undo");
    machine.succeeds(ADA, "hold 1041 --reason counted");
    std::fs::remove_dir_all(machine.dir.path().join("etc/fulfilld")).unwrap();
    assert!(
        machine.succeeds(ROOT, "orders").contains("Ada Lovelace"),
        "without a directory of settings"
    );
}

#[test]
fn the_service_s_settings_count_for_every_verb_and_this_environment_s_before_them() {
    let Some(machine) = Machine::installed() else { return };
    machine.books("home/other.db");
    Machine::give(&machine.dir.path().join("home"), GROUP, 0o2775);
    let other = machine.dir.path().join("home/other.db").display().to_string();
    let env =
        format!("FULFILLD_DB=\"{other}\"\nFULFILLD_HOOK_COMMAND=/etc/fulfilld/mail order.paid\n");
    machine.file("etc/fulfilld/fulfilld.env", GROUP, 0o640, &env);
    machine.succeeds(ADA, "hold 1041 --reason counted");
    assert!(machine.succeeds(ADA, &format!("orders show 1041 --db {other}")).contains("counted"));
    assert!(
        !machine
            .succeeds(ADA, "orders show 1041 --db /var/lib/fulfilld/fulfilld.db")
            .contains("counted")
    );
    let show = |env: &[(&str, &str)]| {
        let output = machine.types_with(env, ADA, "orders show 1041");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!show(&[("FULFILLD_DB", "/var/lib/fulfilld/fulfilld.db")]).contains("counted"));
    assert!(show(&[("FULFILLD_DB", "")]).contains("counted"), "a blank is not set");
    // The hooks that the service has are those that are tried, unless others are named.
    let hooks = |env: &[(&str, &str)]| {
        String::from_utf8(machine.types_with(env, ADA, "hooks test order.paid").stdout).unwrap()
    };
    assert!(hooks(&[]).contains("/etc/fulfilld/mail"));
    assert!(hooks(&[("FULFILLD_HOOK_COMMAND", "/bin/true")]).contains("/bin/true"));
    // Secrets are root's alone.
    machine.file("etc/fulfilld/stripe_secret_key", 0, 0o600, "rk_test_hush");
    let said = machine.refused(ADA, "reconcile");
    assert!(said.contains("STRIPE_SECRET_KEY") && said.contains("run it with sudo"), "{said}");
    let elsewhere = "FULFILLD_STRIPE_API=http://127.0.0.1:1\n";
    machine.file("etc/fulfilld/fulfilld.env", GROUP, 0o640, elsewhere);
    let output = machine.types(ROOT, "reconcile");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(75),
        "the key was found, and Stripe does not answer: {said}"
    );
}
