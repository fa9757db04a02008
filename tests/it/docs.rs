//! The documents are true: what they list is what there is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::shop::{Shop, fulfilld};

/// The page of settings, exit codes and metrics.
const SETTINGS: &str = "docs/settings.md";

/// Every document, by its path from the root.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "docs/", "benches/", ".github/"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{directory}{name}"));
            }
        }
    }
    found
}

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
fn the_documents_list_every_metric_and_no_other() {
    let shop = Shop::open();
    assert_eq!(shop.post(b"{\"id\":\"evt_1\"}").unwrap().0, 200);
    let (_, page) = shop.get("/metrics");
    let there: BTreeSet<String> = page
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next().map(String::from))
        .collect();
    assert_eq!(named(section(&read(SETTINGS), "Metrics"), "fulfilld_"), there);
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let value = line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
        assert!(value.is_some_and(f64::is_finite), "{line}");
    }
}

#[test]
fn the_documents_list_every_setting_and_exit_code_as_the_help_does() {
    let help =
        String::from_utf8(fulfilld().args(["serve", "--help"]).output().unwrap().stdout).unwrap();
    let page = read(SETTINGS);
    let settings = section(&page, "Settings");
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
    for row in section(&page, "Exit codes")
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
    let rows: Vec<&str> = section(&architecture, "Limits")
        .split("\n- ")
        .filter(|item| item.contains(".rs`"))
        .collect();
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
fn every_test_that_the_documents_name_exists() {
    let failures = read("docs/failures.md");
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
    for row in failures.lines().filter_map(|line| line.trim().strip_prefix("Test: ")) {
        for name in row.split('`').skip(1).step_by(2) {
            match name.strip_suffix('…') {
                Some(start) => assert!(tests.contains(&format!("fn {start}")), "{row}"),
                None => drop(read(name)),
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn every_event_type_is_documented_and_every_link_leads_somewhere() {
    let operations = read("docs/operations.md");
    let table = read("src/handlers/mod.rs");
    let types: Vec<&str> =
        table.lines().filter_map(|l| l.trim().strip_prefix("(\"")?.split('"').next()).collect();
    assert!(types.len() > 5);
    for kind in types {
        assert!(operations.contains(&format!("`{kind}`")), "{kind}");
    }
    for document in documents() {
        let directory = Path::new(&document).parent().unwrap().to_path_buf();
        for link in read(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&directory).join(file);
            assert!(
                link.starts_with("https://") || file.is_empty() || path.exists(),
                "{document}: {link}"
            );
        }
    }
}

#[test]
fn no_line_of_a_document_is_wider_than_120_columns() {
    let documents = documents();
    assert!(documents.iter().any(|name| name == "docs/failures.md"), "{documents:?}");
    assert_eq!(wide(&documents), [""; 0]);
}

#[test]
fn no_line_of_the_schema_is_wider_than_120_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_dir(root.join("schema")).expect("the rules");
    let mut texts: Vec<String> = rules
        .map(|file| file.expect("a file").file_name().into_string().expect("text"))
        .filter(|name| name.ends_with(".sql"))
        .map(|name| format!("schema/{name}"))
        .collect();
    // What is written here is what the program has.
    let whole = read("schema/whole.rs");
    assert!(texts.iter().all(|name| whole.contains(&name["schema/".len()..])), "{texts:?}");
    texts.push("schema.sql".into());
    assert_eq!(wide(&texts), [""; 0]);
}

/// The lines of these files that are wider than 120 columns, as `file:line`. A document's table has
/// a row a line, however much the proofs write into it.
fn wide(files: &[String]) -> Vec<String> {
    let mut wide = Vec::new();
    for name in files {
        for (n, line) in read(name).lines().enumerate() {
            let is_row = name.ends_with(".md") && line.starts_with('|');
            if line.chars().count() > 120 && !is_row {
                wide.push(format!("{name}:{}", n + 1));
            }
        }
    }
    wide
}
