//! `fulfilld drill`: a backup that could not be restored is known before the day on which it is
//! needed.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Output;

use crate::shop::{Shop, fulfilld};

fn verb(shop: &Shop, verb: &str, backups: Option<&PathBuf>) -> Output {
    let mut command = fulfilld();
    command.arg(verb).env("FULFILLD_DB", shop.file());
    command.envs(backups.map(|directory| ("FULFILLD_BACKUP_DIR", directory)));
    if verb == "drill" {
        command.args(["--litestream", "/nowhere/litestream.yml"]);
    }
    command.output().expect("the program starts")
}

fn alarm(shop: &Shop) -> Vec<String> {
    shop.rows("SELECT what FROM attention WHERE reason = 'drill_failing'")
}

fn measured(shop: &Shop) -> bool {
    shop.get("/metrics").1.lines().any(|line| line == "fulfilld_drill_failing 1")
}

#[test]
fn a_drill_that_fails_stays_in_attention_and_the_metrics_until_one_succeeds() {
    let shop = Shop::open();
    for n in 0..200 {
        let body = format!("{{\"id\":\"evt_{n}\",\"type\":\"x\",\"pad\":\"{}\"}}", "p".repeat(500));
        assert_eq!(shop.post(body.as_bytes()).expect("it answers").0, 200);
    }
    // Backups in a directory that is not the file's.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let backups = elsewhere.path().join("nightly");
    let place = Some(&backups);

    // There is none yet.
    let output = verb(&shop, "drill", place);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(alarm(&shop)[0].contains("sudo fulfilld backup"), "{:?}", alarm(&shop));
    assert!(measured(&shop));

    let made = verb(&shop, "backup", place);
    assert!(made.status.success(), "{made:?}");
    let output = verb(&shop, "drill", place);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((alarm(&shop).len(), measured(&shop)), (0, false), "it is over");

    // The disk has damaged a page of it since.
    let backup = std::fs::read_dir(&backups).expect("it is there").next().expect("a backup");
    let backup = backup.expect("an entry").path();
    let damaged = std::fs::OpenOptions::new().write(true).open(&backup).expect("it is ours");
    let pages = damaged.metadata().expect("it is there").len() / 4096;
    for page in pages / 2..pages {
        damaged.write_all_at(&[0xA5; 4096], page * 4096).expect("it can be written");
    }
    let output = verb(&shop, "drill", place);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = alarm(&shop);
    assert!(told.len() == 1 && told[0].contains("nightly"), "it names the backup: {told:?}");
    assert!(measured(&shop));
    let left: Vec<_> = std::fs::read_dir(&backups).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "nothing of the drill is left: {left:?}");

    // Another shop's backup has the name of ours.
    let other = Shop::open();
    assert_eq!(other.post(b"{\"id\":\"evt_other\",\"type\":\"x\"}").expect("it answers").0, 200);
    std::fs::remove_file(&backup).expect("it is ours");
    other.shell(&format!("VACUUM INTO '{}'", backup.display())).expect("a backup");
    let output = verb(&shop, "drill", place);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(alarm(&shop)[0].contains("another shop's"), "{:?}", alarm(&shop));

    std::fs::remove_file(&backup).expect("it is ours");
    assert!(verb(&shop, "backup", place).status.success());
    assert!(verb(&shop, "drill", place).status.success());
    assert_eq!((alarm(&shop).len(), measured(&shop)), (0, false), "it is over");
    shop.check();
}
