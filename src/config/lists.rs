//! The documents list the settings as the table has them. `UPDATE_GOLDEN=1 cargo test --bin
//! fulfilld lists` writes the lists.

use std::path::Path;

use super::SETTINGS;
use crate::env;

/// Lines of at most 100 columns, the further ones after an indent.
fn wrapped(text: &str, first: &str, further: &str) -> String {
    let mut lines = vec![first.to_string()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(format!("{further}{word}"));
        } else {
            if !line.ends_with(' ') {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// The list of docs/settings.md.
fn for_the_page() -> String {
    let item = |name: &str, default: &str, about: &str| match default {
        "" => wrapped(&format!("`{name}`: {about}"), "- ", "  "),
        _ => wrapped(&format!("`{name}` (`{default}`): {about}"), "- ", "  "),
    };
    SETTINGS.iter().map(|setting| item(setting.name, setting.default, setting.about)).collect()
}

/// The environment file below its heading. The service has its own place for the orders.
fn for_the_service() -> String {
    let block = |name: &str, default: &str, about: &str, note: &str| {
        let note = if note.is_empty() { String::new() } else { wrapped(note, "# ", "# ") };
        format!("\n{}{note}#{name}={default}\n", wrapped(about, "# ", "# "))
    };
    let blocks = SETTINGS.iter().map(|setting| {
        let default = match setting.name {
            "FULFILLD_DB" => env::SERVICE_DB,
            _ => setting.default,
        };
        block(setting.name, default, setting.about, setting.note)
    });
    blocks.collect()
}

/// Compares a part of a file, from the first `from` up to `to` or the end.
fn assert_lists(file: &str, from: &str, to: Option<&str>, list: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let begin = text.find(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
    let end = to.map_or(text.len(), |to| begin + text[begin..].find(to).expect("the list ends"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{}{list}{}", &text[..begin], &text[end..]);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{file}: {e}"));
        return;
    }
    assert!(text[begin..end] == *list, "{file} lists other settings; see src/config/lists.rs");
}

#[test]
fn the_page_and_the_environment_file_list_every_setting_with_its_default_and_its_words() {
    assert_lists("docs/settings.md", "- `STRIPE_SECRET_KEY`", Some("\n## "), &for_the_page());
    assert_lists("systemd/fulfilld.env", "\n# restricted key", None, &for_the_service());
}
