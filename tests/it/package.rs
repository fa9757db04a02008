//! The package has every file that it is to have, and the documents print the lines for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::outside::{machine_program, shipped};

#[test]
fn every_unit_and_example_that_is_shipped_is_in_the_package() {
    let manifest = shipped("Cargo.toml");
    for file in names_in("systemd") {
        let asset = manifest.lines().find(|line| is_of(line, &file));
        let asset = asset.unwrap_or_else(|| panic!("systemd/{file} is not in the package"));
        let place = match file.rsplit('.').next() {
            Some("service" | "socket" | "timer") => "usr/lib/systemd/system/",
            Some("sysusers") => "usr/lib/sysusers.d/",
            Some("tmpfiles") => "usr/lib/tmpfiles.d/",
            Some("env") => "etc/fulfilld/",
            _ => "usr/share/doc/fulfilld/examples/",
        };
        assert!(asset.contains(&format!("\"{place}")), "{asset} is not in {place}");
    }
    // What runs on a timer, or for a shop of a template, is started and stopped with the package.
    let scripts =
        ["postinst", "prerm", "postrm"].map(|s| shipped(&format!("packaging/debian/{s}")));
    for timer in names_in("systemd").iter().filter(|f| f.ends_with(".timer") && !f.contains('@')) {
        for script in &scripts {
            assert!(script.contains(timer.as_str()), "{timer} is not in {script}");
        }
    }
}

#[test]
fn the_scripts_of_the_package_are_read_by_their_shells() {
    for script in ["build", "prove", "prove.inside", "prove.wrong"] {
        reads("bash", &format!("packaging/{script}"));
    }
    for script in names_in("packaging/debian") {
        reads("sh", &format!("packaging/debian/{script}"));
    }
}

#[test]
fn the_documents_name_the_package_of_this_version() {
    let name = format!("fulfilld_{}_", env!("CARGO_PKG_VERSION"));
    for document in ["README.md", "docs/operations.md"] {
        let text = shipped(document);
        let named: Vec<&str> = text.split("fulfilld_0.").skip(1).collect();
        assert!(!named.is_empty(), "{document} names no package");
        assert_eq!(named.len(), text.matches(&name).count(), "{document} names another version");
    }
}

/// Whether a line of the package's list takes this file of systemd/; it may have one `*`.
fn is_of(line: &str, file: &str) -> bool {
    let pattern = line.trim().strip_prefix("[\"systemd/").and_then(|rest| rest.split('"').next());
    match pattern.map(|pattern| pattern.split_once('*').ok_or(pattern)) {
        Some(Ok((start, end))) => file.starts_with(start) && file.ends_with(end),
        Some(Err(name)) => name == file,
        None => false,
    }
}

fn names_in(directory: &str) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&directory).expect("the directory can be listed");
    entries.map(|entry| entry.unwrap().file_name().into_string().expect("a plain name")).collect()
}

/// Has the shell read a script without running it.
fn reads(shell: &str, script: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let mut command: Command = machine_program(shell);
    let output = command.arg("-n").arg(path).output().expect("the shell starts");
    assert!(output.status.success(), "{script}: {output:?}");
}
