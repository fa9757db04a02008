//! `fulfilld init`: what a shop needs before its first start is tried and written as the service
//! needs it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::shop::{SECRET, Shop, fulfilld};

const KEY: &str = "rk_test_of_the_shop";

#[test]
fn what_is_typed_is_tried_and_written_and_typed_again_it_is_kept() {
    let shop = Shop::open();
    let etc = shop.dir.path().join("etc");
    fs::create_dir(&etc).expect("a directory can be made");
    let env = etc.join("fulfilld.env");
    fs::write(&env, format!("# mine\nFULFILLD_STRIPE_API={}\n", shop.stripe.url)).expect("written");
    let said = init(&etc, &[], &format!("shop.example.com\n{KEY}\n{SECRET}\n"));
    assert!(said.contains("may read everything"), "{said}");
    assert!(said.contains("https://shop.example.com/webhook"), "{said}");
    assert!(said.contains("charge.dispute.created") && said.contains("next login"), "{said}");
    assert!(!said.contains(KEY) && !said.contains(SECRET), "a secret is shown: {said}");
    for (name, text, mode) in [
        ("stripe_secret_key", format!("{KEY}\n"), 0o600),
        ("webhook_secret", format!("{SECRET}\n"), 0o600),
    ] {
        assert_eq!(fs::read_to_string(etc.join(name)).expect("it was written"), text);
        assert_eq!(mode_of(&etc.join(name)), mode, "{name}");
    }
    let settings = fs::read_to_string(&env).expect("it is there");
    assert!(settings.contains("# mine\n"), "{settings}");
    assert!(settings.contains("\nFULFILLD_PUBLIC_URL=https://shop.example.com/webhook\n"));
    assert_eq!(mode_of(&env), 0o640);

    // It asks no question, and changes nothing but a mode that was wrong.
    fs::set_permissions(etc.join("webhook_secret"), fs::Permissions::from_mode(0o644)).expect("ok");
    let said = init(&etc, &[], "");
    assert_eq!(said.matches("kept").count(), 2, "{said}");
    assert_eq!(mode_of(&etc.join("webhook_secret")), 0o600);
    assert_eq!(fs::read_to_string(&env).expect("it is there"), settings);

    let page = init(&etc, &["--print-proxy", "nginx"], "");
    assert!(page.contains("server_name shop.example.com;"), "{page}");
}

#[test]
fn a_script_sets_up_a_shop_without_a_question() {
    let shop = Shop::open();
    let etc = shop.dir.path().join("etc");
    let output = fulfilld()
        .args(["init", "--from-env", "--etc"])
        .arg(&etc)
        .env("STRIPE_SECRET_KEY", KEY)
        .env("WEBHOOK_SECRET", SECRET)
        .env("FULFILLD_PUBLIC_URL", "https://shop.example.com/webhook")
        .env("FULFILLD_STRIPE_API", &shop.stripe.url)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mode_of(&etc.join("webhook_secret")), 0o600);
    assert_eq!(mode_of(&etc), 0o750);
}

#[test]
fn what_cannot_be_used_is_refused_in_a_sentence_and_not_written() {
    let shop = Shop::open();
    let etc = shop.dir.path().join("etc");
    for (typed, word) in [
        ("shop.example.com\nwhsec_x\n", "belongs in WEBHOOK_SECRET"),
        ("shop.example.com\npk_live_x\n", "publishable key"),
        ("my shop\n", "not a host name"),
        ("", "--from-env"),
    ] {
        let _ = fs::remove_dir_all(&etc);
        let output = typed_into(&etc, &[], typed);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && said.contains(word), "{typed:?}: {said}");
        assert!(!etc.join("stripe_secret_key").exists(), "{typed:?}");
    }
}

fn init(etc: &Path, arguments: &[&str], typed: &str) -> String {
    let output = typed_into(etc, arguments, typed);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

fn typed_into(etc: &Path, arguments: &[&str], typed: &str) -> Output {
    let mut command = fulfilld();
    command.arg("init").args(arguments).arg("--etc").arg(etc);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It may have ended before everything was read.
    let _ = child.stdin.take().expect("it is piped").write_all(typed.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode()
        & 0o7777
}
