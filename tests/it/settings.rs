//! A missing or wrong setting ends with exit 78 and one sentence that names the fix.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::shop::{SECRET, Shop, fulfilld};

/// Serves with these settings in a directory of its own; how it ended and what it said.
fn refused(dir: &std::path::Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = fulfilld();
    command
        .arg("serve")
        .env("FULFILLD_LISTEN", "127.0.0.1:0")
        .env("FULFILLD_DB", dir.join("shop.db"))
        .env("STRIPE_SECRET_KEY", "rk_test_1")
        .env("WEBHOOK_SECRET", SECRET)
        .envs(settings.iter().copied());
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let status =
        crate::shop::wait_for("it ends by itself", || child.try_wait().expect("it is ours"));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut said)
        .expect("text");
    (status.code(), said)
}

#[test]
fn each_wrong_setting_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let open_to_all = dir.path().join("secret");
    std::fs::write(&open_to_all, "whsec_hush").unwrap();
    std::fs::set_permissions(&open_to_all, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open_to_all = open_to_all.to_str().unwrap();
    for (settings, named) in [
        (vec![("WEBHOOK_SECRET", "")], "WEBHOOK_SECRET is not set"),
        (vec![("WEBHOOK_SECRET", " \n ")], "WEBHOOK_SECRET is not set or blank"),
        (vec![("WEBHOOK_SECRET", "we_123")], "the endpoint's id (we_…)"),
        (vec![("WEBHOOK_SECRET", "sk_test_1")], "belongs in STRIPE_SECRET_KEY"),
        (vec![("WEBHOOK_SECRET_FILE", open_to_all)], "chmod 600"),
        (vec![("WEBHOOK_SECRET_FILE", "/nowhere/secret")], "cannot read /nowhere/secret"),
        (vec![("STRIPE_SECRET_KEY", "")], "STRIPE_SECRET_KEY is not set"),
        (vec![("STRIPE_SECRET_KEY", "pk_test_1")], "publishable key"),
        (vec![("STRIPE_SECRET_KEY", "whsec_1")], "belongs in WEBHOOK_SECRET"),
        (
            vec![("STRIPE_SECRET_KEY", "rk_live_1"), ("FULFILLD_STRIPE_API", "http://127.0.0.1:1")],
            "sent unencrypted",
        ),
        (vec![("FULFILLD_STRIPE_API", "api.stripe.com")], "is not a URL"),
        (vec![("FULFILLD_STRIPE_RATE", "90")], "more than Stripe permits"),
        (vec![("FULFILLD_LISTEN", "4242")], "is not an address and port"),
        (vec![("FULFILLD_LISTEN", "0.0.0.0:0")], "FULFILLD_ALLOW_PUBLIC_LISTEN"),
        (vec![("FULFILLD_WORKERS", "0")], "FULFILLD_WORKERS=0"),
        (
            vec![("FULFILLD_ALLOW_PUBLIC_LISTEN", "yes")],
            "FULFILLD_ALLOW_PUBLIC_LISTEN=yes is not a number from 0 to 1",
        ),
        (vec![("FULFILLD_HOOK_COMMAND", "mail")], "mail is not an absolute path"),
        (vec![("FULFILLD_HOOK_COMMAND", "/opt/mail order.payed")], "there is no topic order.payed"),
        (vec![("FULFILLD_HOOK_URL", "https://example.org/")], "FULFILLD_HOOK_SECRET is not"),
        (vec![("FULFILLD_HOOK_SECRET", "whsec_hush")], "FULFILLD_HOOK_SECRET, line 1"),
        (vec![("FULFILLD_HOOK_SECRET_FILE", open_to_all)], "chmod 600"),
        (vec![("FULFILLD_HOOK_DELAY", "order.paid=soon")], "is not TOPIC=DURATION"),
        (vec![("FULFILLD_DB", "/nowhere/shop.db")], "cannot create /nowhere/shop.db"),
    ] {
        let (code, said) = refused(dir.path(), &settings);
        assert_eq!(code, Some(78), "{settings:?}: {said}");
        assert!(
            said.contains(named) && said.trim_end().lines().count() == 1,
            "{settings:?}: {said}"
        );
        assert!(
            !said.contains("whsec_hush") && !said.contains("rk_live_1"),
            "no secret is printed: {said}"
        );
    }
}

#[test]
fn a_file_of_another_mode_version_kind_or_owner_is_refused() {
    let mut shop = Shop::open();
    let (code, said) = refused(shop.dir.path(), &[]);
    assert_eq!(code, Some(78));
    assert!(said.contains("another fulfilld is serving"), "{said}");
    shop.stop();

    let (code, said) = refused(shop.dir.path(), &[("STRIPE_SECRET_KEY", "rk_live_1")]);
    assert_eq!(code, Some(78));
    assert!(
        said.contains("holds test orders") && said.contains("another file with FULFILLD_DB"),
        "{said}"
    );

    shop.shell("PRAGMA user_version = 99").unwrap();
    let (code, said) = refused(shop.dir.path(), &[]);
    assert_eq!(code, Some(78));
    assert!(said.contains("newer fulfilld"), "{said}");

    std::fs::remove_file(shop.file()).unwrap();
    std::fs::write(shop.file(), "these are somebody's notes, and no database at all\n".repeat(100))
        .unwrap();
    let (code, said) = refused(shop.dir.path(), &[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("is not a fulfilld database"), "{said}");
    assert!(
        std::fs::read_to_string(shop.file()).unwrap().starts_with("these are"),
        "it was not touched"
    );
}

#[test]
fn a_file_of_another_user_is_refused_with_the_line_to_type() {
    // Only root can give files away and be somebody else; `nobody` stands for the service's user.
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be given away");
        return;
    }
    let mut shop = Shop::open();
    shop.stop();
    std::fs::set_permissions(shop.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(shop.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let program = shop.dir.path().join("fulfilld");
    std::fs::copy(env!("CARGO_BIN_EXE_fulfilld"), &program).unwrap();
    let lock = shop.dir.path().join("shop.db.lock");
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("serve");
    command.envs(shop.serve().get_envs().filter_map(|(k, v)| Some((k, v?))));
    let out = command.output().expect("setpriv is there");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("chown") && said.trim_end().lines().count() == 1, "{said}");
}

#[test]
fn a_file_that_root_put_there_is_refused_with_the_line_that_gives_it_back() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: nothing can be given away");
        return;
    }
    let mut shop = Shop::open();
    shop.stop();
    let dir = shop.dir.path();
    std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let program = dir.join("fulfilld");
    std::fs::copy(env!("CARGO_BIN_EXE_fulfilld"), &program).unwrap();
    for mode in [0o600, 0o640, 0o644] {
        std::os::unix::fs::chown(shop.file(), Some(0), Some(0)).unwrap();
        std::fs::set_permissions(shop.file(), std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.arg("serve").envs(shop.serve().get_envs().filter_map(|(k, v)| Some((k, v?))));
        let out = command.output().expect("setpriv is there");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{mode:o}: {said}");
        let line = said.split("type: ").nth(1).unwrap_or_else(|| panic!("{mode:o}: {said}"));
        let line = line.trim_end().replace("sudo ", "");
        let typed = std::process::Command::new("sh").args(["-ec", &line]).status().unwrap();
        assert!(typed.success(), "{line}");
        for file in ["shop.db", "shop.db.lock"] {
            let meta = std::fs::metadata(dir.join(file)).unwrap();
            let is = (meta.uid(), meta.gid(), meta.permissions().mode() & 0o777);
            assert_eq!(is, (65534, 65534, 0o660), "{file}: {line}");
        }
    }
}

#[test]
fn the_file_and_its_companions_are_the_group_s() {
    let shop = Shop::open();
    for file in ["shop.db", "shop.db-wal", "shop.db-shm"] {
        let mode = std::fs::metadata(shop.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{file}");
    }
}
