//! systemd itself reads the units that are shipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::outside::{machine_program, shipped};

/// What `systemd-analyze security` may say at most. Of it, 0.8 is the network that Stripe is
/// reached over.
const EXPOSURE_MAX: f64 = 1.1;

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let units = Units::installed();
    let output = units.analyze(
        &["verify", "--man=no"],
        &["fulfilld.service", "fulfilld.socket", "fulfilld-page.socket"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    // What other units of this machine lack is not ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("fulfilld")).collect();
    assert!(ours.is_empty(), "systemd-analyze verify: {ours:#?}");
}

#[test]
fn systemd_would_notice_a_mistake_in_the_unit() {
    let units = Units::installed();
    units.edit("WatchdogSec=30", "WatchdogSecs=30");
    let output = units.analyze(&["verify", "--man=no"], &["fulfilld.service"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("WatchdogSecs"), "{said}");
}

#[test]
fn the_service_is_shut_off_from_what_it_does_not_need() {
    let units = Units::installed();
    let exposure = units.exposure();
    assert!(
        exposure <= EXPOSURE_MAX,
        "systemd-analyze security says {exposure}, more than {EXPOSURE_MAX}"
    );
    units.edit("ProtectSystem=strict", "ProtectSystem=no");
    assert!(units.exposure() > EXPOSURE_MAX, "the measure does not notice a hole");
}

#[test]
fn the_service_ends_restarts_and_is_watched_as_the_program_expects() {
    let unit = shipped("systemd/fulfilld.service");
    for line in [
        "Type=notify",
        "Restart=always",
        "RestartSec=100ms",
        "StartLimitIntervalSec=0",
        "ExecStart=fulfilld serve",
        "User=fulfilld",
        "Group=fulfilld",
        "UMask=0007",
        "StateDirectory=fulfilld",
        "StateDirectoryMode=2770",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line} is not in fulfilld.service");
    }
    // The credentials bear the names that the program looks for: its secret settings in lower case.
    for (secret, _) in settings().iter().filter(|(name, _)| !name.starts_with("FULFILLD_")) {
        let name = secret.to_lowercase();
        let line = format!("LoadCredential={name}:/etc/fulfilld/{name}");
        assert!(unit.lines().any(|l| l == line), "{line} is not in fulfilld.service");
    }
    let (_, listen) = settings()
        .into_iter()
        .find(|(name, _)| name == "FULFILLD_LISTEN")
        .expect("there is such a setting");
    assert!(shipped("systemd/fulfilld.socket").contains(&format!("\nListenStream={}\n", listen)));
}

#[test]
fn the_template_for_several_shops_is_the_unit_for_one() {
    let one = shipped("systemd/fulfilld.service");
    let of_a_shop = shipped("systemd/fulfilld@.service")
        .replace("Environment=FULFILLD_ETC=/etc/fulfilld/%i\n", "")
        .replace("desk of %i:", "desk:")
        .replace("@%i", "")
        .replace("/%i", "")
        .replace("-%i", "");
    assert_eq!(of_a_shop, one);
    assert!(!of_a_shop.contains('%'), "every place of a shop is its own");
}

/// What runs beside the service: a template for each, which differs in the shop's places alone.
#[test]
fn backups_drills_and_litestream_have_sound_units_for_one_shop_and_for_several() {
    let units = Units::installed();
    let names = [
        "fulfilld-backup.service",
        "fulfilld-backup.timer",
        "fulfilld-drill.service",
        "fulfilld-drill.timer",
        "fulfilld-litestream.service",
        "fulfilld-page.socket",
    ];
    let output = units.analyze(&["verify", "--man=no"], &names);
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("fulfilld-")).collect();
    assert!(ours.is_empty(), "systemd-analyze verify: {ours:#?}");
    // From the first section on, the comments above it aside.
    let settings = |name: &str| {
        let text = shipped(&format!("systemd/{name}"));
        text[text.find("[Unit]").expect("a unit has a section")..].to_string()
    };
    for name in names {
        let of_a_shop = settings(&name.replace('.', "@."))
            .replace(", shop %i", "")
            .replace("The address of %i", "The address")
            // Each shop's is in a drop-in.
            .replace("#ListenStream=127.0.0.1:4253", "ListenStream=127.0.0.1:4243")
            .replace(" Each shop has an address of its own, in a drop-in.", "")
            .replace("@%i", "")
            .replace("/%i", "")
            .replace("-%i", "");
        assert_eq!(of_a_shop, settings(name), "{name}");
    }
}

#[test]
fn the_caddyfile_for_2_6_differs_in_its_buffers_alone() {
    let without_buffers = |file: &str| -> Vec<String> {
        let text = shipped(file);
        let lines = text.lines().map(str::trim).filter(|line| {
            !["# ", "request_buffers", "buffer_requests", "max_buffer_size"]
                .iter()
                .any(|start| line.starts_with(start))
        });
        lines.map(String::from).collect()
    };
    assert_eq!(without_buffers("systemd/Caddyfile"), without_buffers("systemd/Caddyfile-2.6"));
    let old = shipped("systemd/Caddyfile-2.6");
    assert!(old.contains("\tbuffer_requests\n") && old.contains("\tmax_buffer_size 1048576\n"));
}

#[test]
fn the_user_and_the_directories_are_made_as_the_unit_expects() {
    let root = TempDir::new().expect("a temporary directory can be made");
    let at_root = |program: &str, arguments: &[&str]| {
        let mut command = machine_program(program);
        let output =
            command.arg(format!("--root={}", root.path().display())).args(arguments).output();
        output.unwrap_or_else(|e| panic!("{program}: {e}"))
    };
    fs::create_dir(root.path().join("etc")).expect("a directory can be made");
    let sysusers = path_of("systemd/fulfilld.sysusers");
    let output = at_root("systemd-sysusers", &[&sysusers.to_string_lossy()]);
    assert!(output.status.success(), "{output:?}");
    for list in ["etc/passwd", "etc/group"] {
        let list = fs::read_to_string(root.path().join(list)).expect("it was written");
        assert!(list.lines().any(|line| line.starts_with("fulfilld:")), "{list}");
    }
    let tmpfiles = path_of("systemd/fulfilld.tmpfiles");
    let output = at_root("systemd-tmpfiles", &["--create", &tmpfiles.to_string_lossy()]);
    for (directory, mode) in [("var/lib/fulfilld", 0o2770), ("etc/fulfilld", 0o750)] {
        let made = fs::metadata(root.path().join(directory))
            .unwrap_or_else(|e| panic!("{directory}: {e}; {output:?}"));
        // Without root the owner cannot be set, and then systemd leaves the mode alone.
        if output.status.success() {
            assert_eq!(made.permissions().mode() & 0o7777, mode, "{directory}");
        }
    }
}

/// The units as they are installed, in a directory of their own, with the program that they start
/// in its place.
struct Units(TempDir);

impl Units {
    fn installed() -> Units {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let units = fs::read_dir(path_of("systemd")).expect("it can be listed");
        for unit in units.map(|unit| unit.expect("an entry").file_name()) {
            let unit = unit.to_string_lossy().into_owned();
            if ![".service", ".socket", ".timer"].iter().any(|end| unit.ends_with(end)) {
                continue;
            }
            let program = concat!("ExecStart=", env!("CARGO_BIN_EXE_fulfilld"));
            let text = shipped(&format!("systemd/{unit}"))
                .replace("ExecStart=fulfilld", program)
                .replace("ExecStart=litestream", program);
            fs::write(directory.path().join(unit), text).expect("a unit can be written");
        }
        Units(directory)
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.0.path().join("fulfilld.service");
        let text = fs::read_to_string(&path).expect("the unit is there");
        assert!(text.contains(from), "{from} is not in fulfilld.service");
        fs::write(path, text.replace(from, to)).expect("a unit can be written");
    }

    fn analyze(&self, how: &[&str], units: &[&str]) -> Output {
        machine_program("systemd-analyze")
            .args(how)
            .args(units.iter().map(|unit| self.0.path().join(unit)))
            .env("SYSTEMD_LOG_LEVEL", "warning")
            .output()
            .expect("systemd-analyze runs")
    }

    fn exposure(&self) -> f64 {
        let output =
            self.analyze(&["security", "--offline=true", "--no-pager"], &["fulfilld.service"]);
        let said = String::from_utf8_lossy(&output.stdout);
        let number = said
            .split("exposure level for fulfilld.service:")
            .nth(1)
            .and_then(|s| s.split_whitespace().next());
        number
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no exposure level in: {output:?}"))
    }
}

/// Every setting and its default, from the environment file; a test inside the program holds that
/// against the table.
fn settings() -> Vec<(String, String)> {
    let file = shipped("systemd/fulfilld.env");
    let lines = file.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let settings = lines.filter(|(name, _)| !name.contains(' '));
    settings.map(|(name, default)| (name.into(), default.into())).collect()
}

fn path_of(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
