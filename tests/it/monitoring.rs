//! The alerts and the dashboard that are shipped: they use metrics that exist, and Prometheus's
//! own checker reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::outside::{installed, shipped};
use crate::shop::Shop;

const ALERTS: &str = "packaging/alerts.yml";
const DASHBOARD: &str = "packaging/dashboard.json";

/// What Prometheus itself adds to every metric.
const FROM_THE_SCRAPE: [&str; 2] = ["job", "instance"];

#[test]
fn the_alerts_and_the_dashboard_ask_for_metrics_and_labels_that_exist() {
    let families = documented();
    let expressions: Vec<String> =
        alert_expressions().into_iter().chain(dashboard_expressions()).collect();
    assert!(expressions.len() > 30, "{expressions:#?}");
    for expression in &expressions {
        for (name, matchers) in selectors(expression) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let about = families
                .get(name)
                .or_else(|| families.get(base?))
                .unwrap_or_else(|| panic!("there is no metric {name}: {expression}"));
            for (label, value) in matchers {
                if FROM_THE_SCRAPE.contains(&label) {
                    continue;
                }
                let is_a_label = about
                    .split(':')
                    .next()
                    .is_some_and(|head| head.split([' ', ',']).any(|word| word == label));
                assert!(is_a_label, "{name} has no label {label}: {expression}");
                let known = value.starts_with('/') || about.contains(value);
                assert!(known, "{label} is never {value}: {expression}");
            }
        }
    }
}

#[test]
fn a_metric_that_does_not_exist_would_be_noticed() {
    let found = selectors(r#"rate(fulfilld_nothing{cause="x", job=~"y"}[5m]) / fulfilld_ready"#);
    let expected = vec![("cause", "x"), ("job", "y")];
    assert_eq!(found, [("fulfilld_nothing", expected), ("fulfilld_ready", vec![])]);
    assert!(!documented().contains_key("fulfilld_nothing"));
}

#[test]
fn prometheus_reads_the_alerts_and_each_fires_when_it_should() {
    let ran = promtool(&["check", "rules", "--lint-fatal"], &path_of(ALERTS));
    assert!(ran.contains("SUCCESS"), "{ran}");
    let ran = promtool(&["test", "rules"], &path_of("packaging/alerts.test.yml"));
    assert!(ran.contains("SUCCESS"), "{ran}");
    // No alert is without such a test.
    let tests = shipped("packaging/alerts.test.yml");
    for name in shipped(ALERTS).lines().filter_map(|l| l.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname=\"{name}\"");
        assert!(tests.contains(&fires), "no hour of alerts.test.yml makes {name} fire");
    }
}

#[test]
fn prometheus_reads_every_panel_of_the_dashboard() {
    // promtool checks rules, so that each panel's expression becomes one.
    let mut rules = String::from("groups:\n- name: panels\n  rules:\n");
    for (n, expression) in dashboard_expressions().iter().enumerate() {
        // Grafana puts its own values there.
        let expression = expression.replace("$__rate_interval", "5m").replace("$shop", ".*");
        rules += &format!("  - record: panel_{n}\n    expr: {}\n", Value::from(expression));
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("panels.yml");
    fs::write(&file, rules).expect("the rules can be written");
    let ran = promtool(&["check", "rules"], &file);
    assert!(ran.contains("SUCCESS"), "{ran}");
}

#[test]
fn prometheus_finds_no_error_in_the_page_of_metrics() {
    let shop = Shop::open();
    assert_eq!(shop.post(b"{\"id\":\"evt_1\"}").unwrap().0, 200);
    let directory = TempDir::new().expect("a temporary directory can be made");
    let page = directory.path().join("metrics");
    fs::write(&page, shop.get("/metrics").1).expect("the page can be written");
    let output = Command::new(installed(".tools/debian/usr/bin/promtool"))
        .args(["check", "metrics"])
        .stdin(fs::File::open(&page).expect("the page can be read"))
        .output()
        .expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    // 3 is advice on names; 1 is a page that Prometheus cannot read.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}

/// The metrics of docs/settings.md, which another test holds against `/metrics`: for each what is
/// said of it, its labels before the first colon.
fn documented() -> BTreeMap<String, String> {
    let page = shipped("docs/settings.md");
    let section = page.split("\n## Metrics\n").nth(1).expect("there is a section on metrics");
    let section = section.split("\n## ").next().unwrap_or_default().replace("\n  ", " ");
    let mut found = BTreeMap::new();
    for item in section.lines().filter_map(|line| line.strip_prefix("- ")) {
        for name in item.split('`').filter(|word| word.starts_with("fulfilld_")) {
            found.insert(name.to_string(), item.to_string());
        }
    }
    found
}

fn alert_expressions() -> Vec<String> {
    let rules = shipped(ALERTS);
    rules.lines().filter_map(|l| l.trim().strip_prefix("expr: ")).map(String::from).collect()
}

/// Of panels, of the variables and of the annotations.
fn dashboard_expressions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(String::from));
                fields.values().for_each(|field| collect(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).expect("it is JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    found
}

/// The metrics of ours that an expression names, each with its matchers' labels and values.
fn selectors(expression: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("fulfilld_") {
        let rest = &expression[at..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        let inside = rest.strip_prefix('{').and_then(|inside| inside.split('}').next());
        let matchers = inside.into_iter().flat_map(|inside| inside.split(','));
        let halves = matchers.filter_map(|matcher| {
            let (label, value) = matcher.split_once('=')?;
            Some((label.trim(), value.trim_matches(['~', '"', ' '])))
        });
        found.push((name, halves.collect()));
    }
    found
}

fn path_of(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Runs Prometheus's checker on a file; what it said.
fn promtool(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new(installed(".tools/debian/usr/bin/promtool"));
    let output = command.args(arguments).arg(file).output().expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said.into_owned()
}
