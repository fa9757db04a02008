//! The documents tell the truth: what they list is what there is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::shop::{Shop, fulfilld};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Everything between backticks that begins so, and is a name.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.starts_with(prefix));
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    names.filter(is_name).map(String::from).collect()
}

fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let from = text
        .find(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("there is a section {title}"));
    let rest = &text[from + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

#[test]
fn the_readme_lists_every_metric_and_no_other() {
    let shop = Shop::open();
    assert_eq!(shop.post(b"{\"id\":\"evt_1\"}").unwrap().0, 200);
    let (_, page) = shop.get("/metrics");
    let there: BTreeSet<String> = page
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next().map(String::from))
        .collect();
    assert_eq!(named(section(&read("README.md"), "Metrics"), "fulfilld_"), there);
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let value = line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
        assert!(value.is_some_and(f64::is_finite), "{line}");
    }
}

#[test]
fn the_readme_lists_every_setting_and_exit_code_as_the_help_does() {
    let help =
        String::from_utf8(fulfilld().args(["serve", "--help"]).output().unwrap().stdout).unwrap();
    let readme = read("README.md");
    let settings = section(&readme, "Settings");
    for prefix in ["FULFILLD_", "STRIPE_SECRET_KEY", "WEBHOOK_SECRET"] {
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let there: BTreeSet<String> =
            words.filter(|w| w.starts_with(prefix)).map(String::from).collect();
        let listed = named(settings, prefix);
        assert!(!there.is_empty() && there.is_subset(&listed), "{there:?} {listed:?}");
        assert!(
            listed.iter().all(|name| help.contains(name.trim_end_matches("_FILE"))),
            "{listed:?}"
        );
    }
    let help = String::from_utf8(fulfilld().arg("--help").output().unwrap().stdout).unwrap();
    for row in section(&readme, "Exit codes")
        .lines()
        .filter(|l| l.starts_with("| ") && l.as_bytes()[2].is_ascii_digit())
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(
            help.lines().any(|l| l.trim().starts_with(cells[1]) && l.contains(cells[2])),
            "{row}"
        );
    }
}

#[test]
fn every_limit_of_the_architecture_stands_where_it_says() {
    let architecture = read("ARCHITECTURE.md");
    let rows: Vec<&str> =
        section(&architecture, "Limits").lines().filter(|l| l.contains(".rs`")).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let mut source = String::new();
        for name in row.split('`').skip(1).step_by(2) {
            match name.strip_suffix(".rs") {
                Some(_) => source = read(&format!("src/{name}")),
                None => assert!(source.contains(name), "{row}: {name}"),
            }
        }
    }
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = read("README.md");
    let mut tests = String::new();
    let mut rooms = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")];
    while let Some(room) = rooms.pop() {
        match room.is_dir() {
            true => {
                rooms.extend(std::fs::read_dir(room).unwrap().map(|entry| entry.unwrap().path()))
            }
            false => tests += &std::fs::read_to_string(room).unwrap(),
        }
    }
    let mut checked = 0;
    for row in
        section(&readme, "How it can fail, and what happens").lines().filter(|l| l.ends_with("` |"))
    {
        let name = row.rsplit('`').nth(1).unwrap();
        match name.strip_suffix('…') {
            Some(start) => assert!(tests.contains(&format!("fn {start}")), "{row}"),
            None => drop(read(name)),
        }
        checked += 1;
    }
    assert!(checked > 8, "{checked}");
}

#[test]
fn every_event_type_is_in_the_readme_and_every_link_leads_somewhere() {
    let readme = read("README.md");
    let table = read("src/handlers/mod.rs");
    let types: Vec<&str> =
        table.lines().filter_map(|l| l.trim().strip_prefix("(\"")?.split('"').next()).collect();
    assert!(types.len() > 5);
    for kind in types {
        assert!(readme.contains(&format!("`{kind}`")), "{kind}");
    }
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"] {
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(
                link.starts_with("https://") || file.is_empty() || !read(file).is_empty(),
                "{document}: {link}"
            );
        }
    }
}
