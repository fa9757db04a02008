//! What the log says: nothing alarming while all is well, and what repeats once.

use std::fs::{self, File};
use std::path::PathBuf;

use crate::shop::{Running, SECRET, Shop, post_signed};

/// A shop whose desk logs into a file, from a level on.
fn logging(level: &str) -> (Shop, PathBuf) {
    let mut shop =
        Shop::open_with(&[("FULFILLD_LOG", level)], &["--webhook", "none", "--rate", "0"]);
    shop.stop();
    let log = shop.dir.path().join("log");
    let mut serve = shop.serve();
    serve.stderr(File::create(&log).expect("a log"));
    shop.desk = Some(Running::start(&mut serve));
    (shop, log)
}

/// The lines of the log after a stop.
fn lines(shop: &mut Shop, log: &PathBuf) -> Vec<String> {
    shop.stop();
    fs::read_to_string(log).expect("a log").lines().map(String::from).collect()
}

#[test]
fn a_healthy_day_has_no_alarming_line() {
    let (mut shop, log) = logging("info");
    for (id, _) in shop.buy("card", 3, "snapshot").iter().flat_map(|purchase| &purchase.events) {
        assert_eq!(shop.deliver(id), 200);
    }
    shop.settle();
    let alarming = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
    let lines = lines(&mut shop, &log);
    assert_eq!(lines.iter().filter(alarming).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn webhooks_that_are_refused_for_a_wrong_secret_are_one_line_with_the_cause_and_their_number() {
    let (mut shop, log) = logging("warn");
    let body = br#"{"id": "evt_1", "type": "x", "livemode": false}"#;
    for _ in 0..24 {
        assert_eq!(post_signed(&shop.desk().url, body, "whsec_wrong").unwrap().0, 400);
    }
    // Once another one has matched, the likely cause is another.
    assert_eq!(post_signed(&shop.desk().url, body, SECRET).unwrap().0, 200);
    assert_eq!(post_signed(&shop.desk().url, body, "whsec_wrong").unwrap().0, 400);
    let lines = lines(&mut shop, &log);
    let told: Vec<&String> =
        lines.iter().filter(|line| line.contains("no signature matches")).collect();
    assert_eq!(told.len(), 3, "{lines:#?}");
    assert!(
        told[0].contains(" WARN ") && told[0].contains("not the signing secret"),
        "{}",
        told[0]
    );
    assert!(told[1].contains("a second endpoint"), "{}", told[1]);
    assert!(told[2].contains("23 more like this in "), "{}", told[2]);
}
