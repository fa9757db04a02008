//! `fulfilld hooks test` beside a running desk: the desk runs the hooks, as it does in earnest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::shop::{Shop, fulfilld};

fn script(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a hook");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may be run");
    path.to_str().expect("a path").to_owned()
}

/// The verb of somebody who has none of the desk's settings: how it ended, and what it said.
fn test(shop: &Shop, topic: &str) -> (Option<i32>, String) {
    let mut verb = fulfilld();
    let out =
        verb.args(["hooks", "test", topic, "--db"]).arg(shop.file()).output().expect("it runs");
    (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn hooks_are_tested_by_the_running_desk_with_its_own_settings() {
    let hooks = tempfile::tempdir().expect("a directory");
    let dir = hooks.path().to_str().expect("a path");
    let teller = script(hooks.path(), "teller", r#"cat >"$HOOK_DIR/told""#);
    let failing = script(hooks.path(), "failing", "echo no >&2; exit 3");
    let command = format!("{teller} order.paid; {failing} order.canceled");
    let mut shop = Shop::open_with(
        &[("FULFILLD_HOOK_COMMAND", command.as_str()), ("HOOK_DIR", dir)],
        &["--webhook", "none", "--rate", "0"],
    );
    let (code, said) = test(&shop, "order.paid");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("by the running fulfilld"), "{said}");
    let told = fs::read_to_string(hooks.path().join("told")).expect("it was run with HOOK_DIR");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["topic"], &told["test"]), (&"order.paid".into(), &true.into()));

    let (code, said) = test(&shop, "order.canceled");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("exit code 3: no") && said.contains("1 of 1 hooks failed"), "{said}");
    let (code, said) = test(&shop, "event.failed");
    assert_eq!(code, Some(78), "{said}");
    // Nothing of it is left in the file, or in what hooks are notified of.
    assert_eq!(shop.one("SELECT count(*) FROM hook_tests"), "0");
    assert_eq!(shop.one("SELECT count(*) FROM outbox"), "0");

    // Nobody serves the file: then it is the verb's own settings, and here there are none.
    shop.stop();
    let (code, said) = test(&shop, "order.paid");
    assert_eq!(code, Some(78), "{said}");
}
