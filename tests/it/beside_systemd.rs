//! Verbs where systemd runs the shop: restore stops and starts the units by itself and ends when the
//! shop has caught up with Stripe; doctor connects to the shop's own socket.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use crate::shop::{Shop, fulfilld, wait_for};

/// Stands in for systemctl: shows what `show.UNIT` says, and has the test stop and start it.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
for last; do :; done
case $* in
  show*) cat "show.$last" 2>/dev/null || echo LoadState=not-found ;;
  *) echo "$*" >asking; mv asking asked
     while [ -e asked ]; do sleep 0.05; done
     read -r why <refused && echo "$why" >&2 && exit 1
     exit 0 ;;
esac
"#;

/// A shop that systemd runs: the units of an instance, in the place of the real ones.
struct Served {
    shop: Shop,
    bin: tempfile::TempDir,
}

impl Served {
    fn open() -> Served {
        let settings = [("FULFILLD_BACKFILL_EVERY", "600")];
        let shop = Shop::open_with(&settings, &["--webhook", "none", "--rate", "0"]);
        let bin = tempfile::tempdir().expect("a directory");
        let systemctl = bin.path().join("systemctl");
        std::fs::write(&systemctl, SYSTEMCTL).expect("it can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&systemctl, mode).expect("it is ours");
        std::fs::write(bin.path().join("refused"), "").expect("it can be written");
        let etc = bin.path().join("mugs");
        std::fs::create_dir(&etc).expect("a directory");
        let settings = format!("FULFILLD_DB={}\n", shop.file().display());
        std::fs::write(etc.join("fulfilld.env"), settings).expect("it can be written");
        let served = Served { shop, bin };
        served.show();
        served
    }

    /// What systemd says of the units while they run.
    fn show(&self) {
        let up = "LoadState=loaded\nActiveState=active\n";
        let reads = self.bin.path().join("mugs/fulfilld.env");
        let service = format!("{up}EnvironmentFiles={} (ignore_errors=yes)\n", reads.display());
        let socket = format!("{up}Listen=127.0.0.1:{} (Stream)\n", self.shop.desk().port());
        for (unit, said) in [("service", service), ("socket", socket)] {
            let file = self.bin.path().join(format!("show.fulfilld@mugs.{unit}"));
            std::fs::write(file, said).expect("it can be written");
        }
    }

    fn backup(&self) -> PathBuf {
        let backup = self.shop.dir.path().join("monday.db");
        self.shop.shell(&format!("VACUUM INTO '{}'", backup.display())).expect("a backup");
        backup
    }

    /// A verb of this shop's, beside its units.
    fn verb(&self, verb: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = fulfilld();
        command.arg(verb).env("FULFILLD_ETC", self.bin.path().join("mugs"));
        command.env("PATH", format!("{}:{path}", self.bin.path().display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn restore(&self, backup: &PathBuf) -> Child {
        self.verb("restore").arg(backup).spawn().expect("it starts")
    }

    /// The next command that systemd gets; it waits for [`Served::done`].
    fn asked(&self) -> String {
        let asked = self.bin.path().join("asked");
        wait_for("systemd is asked", || std::fs::read_to_string(&asked).ok()).trim().into()
    }

    fn done(&self) {
        std::fs::remove_file(self.bin.path().join("asked")).expect("it is there");
    }
}

const UNITS: &str = "fulfilld@mugs.socket fulfilld@mugs.service";

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn restore_stops_the_service_starts_it_and_ends_when_what_happened_since_is_back() {
    let mut served = Served::open();
    let before = served.shop.buy("card", 2, "snapshot");
    for (id, _) in before.iter().flat_map(|purchase| &purchase.events) {
        assert_eq!(served.shop.deliver(id), 200);
    }
    served.shop.settle();
    let backup = served.backup();
    served.shop.shell("UPDATE orders SET note = 'gift wrap' WHERE id = 2").expect("an edit");
    served.shop.buy("card", 3, "snapshot");
    wait_for("the daemon has noted the edit beside the file", || {
        let noted = std::fs::read_to_string(served.shop.dir.path().join("shop.db.lock")).ok()?;
        noted.contains("note").then_some(())
    });

    let restoring = served.restore(&backup);
    assert_eq!(served.asked(), format!("--no-ask-password stop {UNITS}"));
    served.shop.stop();
    served.done();
    assert_eq!(served.asked(), format!("--no-ask-password start {UNITS}"));
    served.shop.start();
    served.show();
    served.done();
    let output = restoring.wait_with_output().expect("it ends");
    let said = text(&output);
    // It listens at another port than the one that the socket had before.
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(served.shop.one("SELECT count(*) FROM orders"), "5", "it has waited for them");
    let steps =
        ["is whole; stopping", "is in the place of", "order 2: note", "started", "is ready"];
    let places: Vec<_> = steps.iter().map(|step| said.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {said}");
    served.shop.check();
}

#[test]
fn a_restore_that_cannot_be_done_leaves_the_service_running() {
    let mut served = Served::open();
    let backup = served.backup();
    // No backup: the service is not even stopped.
    let letter = served.shop.dir.path().join("letter.txt");
    std::fs::write(&letter, "dear customer ".repeat(400)).expect("it can be written");
    let output = served.restore(&letter).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert_eq!(served.shop.get("/readyz").0, 200);

    // systemd refuses somebody who is not root; nothing has changed.
    std::fs::write(served.bin.path().join("refused"), "Access denied\n").expect("it is ours");
    // Its bytes may change: the daemon moves its log into it whenever it is quiet.
    let inode = |served: &Served| std::fs::metadata(served.shop.file()).expect("it is there").ino();
    let before = inode(&served);
    let restoring = served.restore(&backup);
    assert!(served.asked().contains("stop"));
    served.done();
    assert!(served.asked().contains("start"));
    served.done();
    let output = restoring.wait_with_output().expect("it ends");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("Access denied") && said.contains("sudo"), "{said}");
    assert_eq!(inode(&served), before);
    std::fs::write(served.bin.path().join("refused"), "").expect("it is ours");

    // Somebody's shell has the file open: the service is started again on the file of before.
    let mut shell = Command::new("sqlite3");
    shell.arg(served.shop.file()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("sqlite3 is installed");
    let mut typed = shell.stdin.take().expect("it was piped");
    let mut answers = std::io::BufReader::new(shell.stdout.take().expect("it was piped"));
    std::io::Write::write_all(&mut typed, b"SELECT count(*) FROM orders;\n").expect("it reads");
    std::io::BufRead::read_line(&mut answers, &mut String::new()).expect("it answers");
    let restoring = served.restore(&backup);
    assert!(served.asked().contains("stop"));
    served.shop.stop();
    served.done();
    assert!(served.asked().contains("start"));
    served.shop.start();
    served.done();
    let output = restoring.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    assert!(text(&output).contains("leave every sqlite3 shell"), "{}", text(&output));
    assert_eq!(served.shop.get("/readyz").0, 200);
    drop(typed);
    shell.wait().expect("it ends");

    // Another shop's units are left alone.
    let reads = served.bin.path().join("show.fulfilld@mugs.service");
    let other = "LoadState=loaded\nActiveState=active\nEnvironmentFiles=/etc/other.env (x)\n";
    std::fs::write(reads, other).expect("it is ours");
    let output = served.restore(&backup).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let line = "sudo systemctl stop fulfilld@mugs.socket fulfilld@mugs";
    assert!(text(&output).contains(line), "{}", text(&output));
}

#[test]
fn a_shop_that_was_stopped_stays_stopped_and_only_litestream_is_started_again() {
    let mut served = Served::open();
    let backup = served.backup();
    served.shop.stop();
    let reads = served.bin.path().join("mugs/fulfilld.env");
    let stopped =
        format!("LoadState=loaded\nActiveState=inactive\nEnvironmentFiles={}\n", reads.display());
    for (unit, said) in [
        ("fulfilld@mugs.service", stopped.as_str()),
        ("fulfilld@mugs.socket", &stopped),
        ("fulfilld-litestream@mugs.service", "LoadState=loaded\nActiveState=active\n"),
    ] {
        std::fs::write(served.bin.path().join(format!("show.{unit}")), said).expect("it is ours");
    }
    let restoring = served.restore(&backup);
    for verb in ["stop", "start"] {
        let units = "fulfilld-litestream@mugs.service";
        assert_eq!(served.asked(), format!("--no-ask-password {verb} {units}"));
        served.done();
    }
    let output = restoring.wait_with_output().expect("it ends");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let next = "next: sudo systemctl start fulfilld@mugs.socket fulfilld@mugs;";
    assert!(said.contains(next), "{said}");
    served.shop.start();
    served.shop.check();
}

#[test]
fn restore_does_not_wait_for_ever_for_a_shop_that_does_not_come_back() {
    let mut served = Served::open();
    let backup = served.backup();
    let mut restore = served.verb("restore");
    let restoring = restore.arg(&backup).env("FULFILLD_SABOTAGE", "an_hour_is_a_second");
    let restoring = restoring.spawn().expect("it starts");
    assert!(served.asked().contains("stop"));
    served.shop.stop();
    served.done();
    // It is said to have started, and nobody answers.
    assert!(served.asked().contains("start"));
    served.done();
    let output = restoring.wait_with_output().expect("it ends");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("fulfilld is not ready") && said.contains("fulfilld doctor"), "{said}");
    served.shop.start();
    served.shop.check();
}

#[test]
fn doctor_asks_the_shop_s_own_socket_and_names_what_the_units_and_litestream_lack() {
    let served = Served::open();
    let doctor = |served: &Served| {
        text(&served.verb("doctor").arg("--offline").output().expect("it starts"))
    };
    let said = doctor(&served);
    let listens = format!("listens at 127.0.0.1:{}, and is ready", served.shop.desk().port());
    assert!(said.contains(&listens) && !said.contains("Litestream"), "{said}");
    let unread = "mugs/fulfilld.env was changed after fulfilld was started";
    let settings = std::fs::File::open(served.bin.path().join("mugs/fulfilld.env")).expect("ours");
    settings.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
    let said = doctor(&served);
    assert!(!said.contains(unread) && said.contains(&listens), "{said}");
    settings.set_modified(SystemTime::now()).expect("it is ours");
    let said = doctor(&served);
    assert!(said.contains(unread) && said.contains("restart fulfilld@mugs.service"), "{said}");

    let shows = |unit: &str, from: &str, to: &str| {
        let file = served.bin.path().join(format!("show.fulfilld@mugs.{unit}"));
        let said = std::fs::read_to_string(&file).expect("it is there");
        std::fs::write(&file, said.replace(from, to)).expect("it is ours");
    };
    shows("service", "ActiveState=active\n", "ActiveState=active\nUnitFileState=disabled\n");
    shows("socket", "ActiveState=active\n", "ActiveState=inactive\nUnitFileState=enabled\n");
    let said = doctor(&served);
    for line in [
        "✗ systemd does not start fulfilld@mugs.service with the machine",
        "→ sudo systemctl enable fulfilld@mugs.service",
        "! fulfilld@mugs.service runs, and fulfilld@mugs.socket is not open",
        "→ sudo systemctl stop fulfilld@mugs.service && sudo systemctl start fulfilld@mugs.socket ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    let litestream = served.bin.path().join("litestream");
    std::fs::write(&litestream, "#!/bin/sh\necho v0.3.13\n").expect("it can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&litestream, mode).expect("it is ours");
    std::fs::write(served.bin.path().join("mugs/litestream.yml"), "dbs: []\n").expect("it is ours");
    let said = doctor(&served);
    assert!(said.contains("✗ Litestream is of version v0.3.13, older than 0.5.17"), "{said}");
}
