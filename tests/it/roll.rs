//! A new signing secret, rolled while events come: nobody is refused, nothing is lost, and the
//! counts say who is needed.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use crate::shop::{Running, SECRET, Shop, request, sign, unix_now, wait_for};

const OLD: &str = SECRET;
const NEW: &str = "whsec_the_new_one_of_the_shop";

/// What happens next, under load.
enum Step {
    /// Stripe signs with these from now on.
    Stripe(&'static [&'static str]),
    /// The file of secrets is replaced by another, and so many are in force then.
    Renamed(&'static str, usize),
    /// The file is written in place, piece by piece.
    InPlace(&'static str, usize),
    /// The same, and the desk gets a SIGHUP.
    InPlaceAndTold(&'static str, usize),
    /// The file is spoiled; the desk says so, and uses the secrets that it has.
    Spoiled(fn(&Path)),
}

const READ_AGAIN: &str = "the signing secrets were read again";
const KEPT: &str = "the signing secrets stay as they were";

const BOTH: &str = "whsec_test_of_the_shop\nwhsec_the_new_one_of_the_shop\n";
const NEW_ALONE: &str = "whsec_the_new_one_of_the_shop\n";
const OLD_ALONE: &str = "whsec_test_of_the_shop\n";

#[test]
fn a_secret_rolled_in_stripe_s_order_costs_no_event() {
    let counts = rolled(&[
        Step::Stripe(&[OLD, NEW]),
        Step::Renamed(BOTH, 2),
        Step::Stripe(&[NEW]),
        Step::InPlaceAndTold(NEW_ALONE, 1),
    ]);
    // The counts of the new one, which went from the second line to the first.
    assert!(
        counts[0].0 > counts[0].1 && counts[0].1 > 100,
        "it was needed once Stripe signed with it alone: {counts:?}"
    );
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[test]
fn a_secret_rolled_in_any_order_within_stripe_s_overlap_costs_no_event() {
    let counts = rolled(&[
        Step::Stripe(&[NEW, OLD]),
        Step::InPlace(NEW_ALONE, 1),
        Step::Spoiled(|file| write(file, b"")),
        Step::Renamed(OLD_ALONE, 1),
        Step::Spoiled(|file| write(file, b"we_1NotASecret\n")),
        Step::Renamed(NEW_ALONE, 1),
        Step::Spoiled(|file| fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap()),
        Step::InPlaceAndTold(BOTH, 2),
        Step::Spoiled(|file| fs::remove_file(file).unwrap()),
        Step::Stripe(&[NEW]),
    ]);
    assert_eq!(counts.len(), 2, "the last secrets that were good are in force: {counts:?}");
    let [(old, old_needed), (new, new_needed)] = counts[..] else { panic!("{counts:?}") };
    assert!(
        old > 100 && old_needed == 0,
        "while both are in the file, the old one is not needed: {counts:?}"
    );
    assert!(new > old && new_needed > 100, "{counts:?}");
}

/// Takes the steps under load, each once events have come after the one before. How often each
/// secret in force matched, and was needed. Every event was answered 200 at once and is in the
/// file.
fn rolled(steps: &[Step]) -> Vec<(u64, u64)> {
    let mut shop = Shop::open();
    shop.stop();
    let file = shop.dir.path().join("webhook_secret");
    write(&file, OLD_ALONE.as_bytes());
    shop.settings.push(("WEBHOOK_SECRET_FILE".into(), file.to_str().expect("a plain path").into()));
    shop.settings.push(("FULFILLD_LOG".into(), "info".into()));
    let log = shop.dir.path().join("log");
    shop.desk = Some(Running::start(shop.serve().stderr(File::create(&log).expect("a log"))));
    shop.control(
        "POST",
        "/_sandbox/webhook",
        json!({"url": format!("{}/webhook", shop.desk().url)}),
    );

    let (signing, posted, over) =
        (Mutex::new(vec![OLD]), AtomicUsize::new(0), AtomicBool::new(false));
    let others = Mutex::new(HashMap::new());
    std::thread::scope(|threads| {
        for poster in 0..3 {
            let (shop, signing, posted, over, others) = (&shop, &signing, &posted, &over, &others);
            threads.spawn(move || {
                for n in (0..).take_while(|_| !over.load(SeqCst)) {
                    // What the simulated Stripe delivers by itself, many at once.
                    if n % 20 == 0 {
                        shop.control(
                            "POST",
                            "/_sandbox/trigger",
                            json!({"scenario": "card", "shape": "both"}),
                        );
                    }
                    let body = format!("{{\"id\":\"evt_{poster}_{n}\",\"type\":\"x\"}}");
                    let with = signing.lock().expect("no panic").clone();
                    match post(&shop.desk().url, body.as_bytes(), &with) {
                        Ok(200) => drop(posted.fetch_add(1, SeqCst)),
                        other => {
                            *others
                                .lock()
                                .expect("no panic")
                                .entry(format!("{other:?}"))
                                .or_insert(0) += 1
                        }
                    }
                }
            });
        }
        let (mut spoiled, reloads) = (0, Cell::new(0));
        let in_force = |n: usize| {
            reloads.set(reloads.get() + 1);
            wait_for("the new secrets are in force", || {
                (said(&log, READ_AGAIN) == reloads.get()).then_some(())
            });
            assert_eq!(counts(&shop).len(), n);
        };
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in steps {
                let before = posted.load(SeqCst);
                wait_for("events come", || {
                    (posted.load(SeqCst) > before + 150
                        || !others.lock().expect("no panic").is_empty())
                    .then_some(())
                });
                match step {
                    Step::Stripe(secrets) => {
                        shop.control("POST", "/_sandbox/secrets", json!({"secrets": secrets}));
                        *signing.lock().expect("no panic") = secrets.to_vec();
                    }
                    Step::Renamed(text, n) => {
                        write(&file.with_extension("new"), text.as_bytes());
                        fs::rename(file.with_extension("new"), &file).expect("it is renamed");
                        in_force(*n);
                    }
                    Step::InPlace(text, n) => {
                        write(&file, text.as_bytes());
                        in_force(*n);
                    }
                    Step::InPlaceAndTold(text, n) => {
                        write(&file, text.as_bytes());
                        shop.desk().signal("HUP");
                        in_force(*n);
                    }
                    Step::Spoiled(spoil) => {
                        spoil(&file);
                        spoiled += 1;
                        wait_for("the desk says that it keeps what it has", || {
                            (said(&log, KEPT) == spoiled).then_some(())
                        });
                    }
                }
            }
            let before = posted.load(SeqCst);
            wait_for("events come", || {
                (posted.load(SeqCst) > before + 150 || !others.lock().expect("no panic").is_empty())
                    .then_some(())
            });
        }));
        over.store(true, SeqCst);
        if let Err(panic) = happened {
            std::panic::resume_unwind(panic);
        }
        assert_eq!(said(&log, KEPT), spoiled, "each mistake is said once");
    });

    assert_eq!(
        others.into_inner().expect("no panic"),
        HashMap::new(),
        "every post was answered 200"
    );
    let delivered = wait_for("all is delivered", || {
        let events = shop.control("GET", "/_sandbox/events", json!({}));
        let events = events["data"].as_array().expect("events").clone();
        events.iter().all(|e| e["delivered"].as_u64() > Some(0)).then_some(events)
    });
    for event in &delivered {
        assert_eq!(event["answers"], json!([200]), "{event}");
    }
    let posted = posted.into_inner();
    println!("{posted} posts and {} deliveries, each answered 200", delivered.len());
    assert_eq!(shop.one("SELECT count(*) FROM events"), (posted + delivered.len()).to_string());
    assert!(!shop.get("/metrics").1.contains("fulfilld_webhook_refused_total{"));
    shop.settle();
    shop.check();
    counts(&shop)
}

/// Posts a body signed now with each of these secrets; the status.
fn post(url: &str, body: &[u8], secrets: &[&str]) -> std::io::Result<u16> {
    let t = unix_now();
    let v1 = secrets
        .iter()
        .map(|secret| sign(body, secret, t).split_once(',').expect("t and v1").1.to_string());
    let signature = format!("t={t},{}", v1.collect::<Vec<_>>().join(","));
    request(url, "POST", "/webhook", &[("Stripe-Signature", &signature)], body)
        .map(|(status, _)| status)
}

/// Writes a file in place, in pieces, so that a reader may come in between.
fn write(file: &Path, text: &[u8]) {
    let mut file: File = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(PathBuf::from(file))
        .expect("it can be written");
    file.set_permissions(fs::Permissions::from_mode(0o600)).expect("it is ours");
    for piece in text.chunks(9) {
        file.write_all(piece).expect("there is room");
    }
}

/// For each secret in force: how often it matched, and how often it was needed.
fn counts(shop: &Shop) -> Vec<(u64, u64)> {
    let page = shop.get("/metrics").1;
    let of = |name: &str| -> Vec<u64> {
        let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{secret=")));
        lines
            .map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
            .collect()
    };
    let verified = of("fulfilld_webhook_secret_verified_total");
    assert!(page.contains(&format!("\nfulfilld_webhook_secrets {}\n", verified.len())), "{page}");
    verified.into_iter().zip(of("fulfilld_webhook_secret_needed_total")).collect()
}

fn said(log: &Path, what: &str) -> usize {
    fs::read_to_string(log).expect("there is a log").matches(what).count()
}
