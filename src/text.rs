//! Text from outside, made safe to show: no control character reaches a terminal, a log line or a
//! column people read.

use std::path::Path;

/// A name, an address, a description as it is stored for display: C0 and C1 controls become U+FFFD
/// (line ends and tabs a blank), so that nobody's terminal is driven; marks of direction go without
/// a trace, so that no text reads backwards: phones put them round numbers and names by themselves.
/// What joins letters and emoji stays. The raw event payload keeps what was received.
pub fn clean(text: &str) -> String {
    let shown = text.chars().filter(|c| !is_direction(*c));
    shown.map(|c| if is_hidden(c) { replacement(c) } else { c }).collect()
}

/// The same characters in a JSON text, as JSON's own escapes: it means what it meant, and a
/// terminal shows it.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match is_hidden(c) {
            true => escaped += &format!("\\u{:04x}", c as u32),
            false => escaped.push(c),
        }
    }
    escaped
}

/// A path or an id as one word of a line for the shell: as it is when it is plain, else in single
/// quotes.
pub fn shell_word(raw: &str) -> String {
    let is_plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | ',')
    };
    match !raw.is_empty() && raw.chars().all(is_plain) {
        true => raw.to_string(),
        false => format!("'{}'", raw.replace('\'', r"'\''")),
    }
}

/// The same for a path.
pub fn quoted(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

fn replacement(c: char) -> char {
    if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { '\u{FFFD}' }
}

/// Says only in which direction the text around it runs (UAX #9), or nothing at all, as a byte
/// order mark does.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Unicode's control characters, and those that reorder or hide text (UAX #9; "Trojan Source",
/// CVE-2021-42574).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || is_direction(c)
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FFF9}'..='\u{FFFB}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_replaced_and_ordinary_text_is_kept() {
        for (raw, shown) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Ünïcode 🫖 日本", "Ünïcode 🫖 日本"),
            ("two\nlines\tand tab", "two lines and tab"),
            ("\u{1b}[31mred", "\u{FFFD}[31mred"),
            ("nul\0here", "nul\u{FFFD}here"),
            ("c1\u{9b}31m", "c1\u{FFFD}31m"),
            ("evil\u{202e}gpj.exe", "evilgpj.exe"),
            ("\u{2068}Ada\u{2069} \u{200e}+33 6\u{202c}", "Ada +33 6"),
            ("👩\u{200d}🍳 می\u{200c}خواهم", "👩\u{200d}🍳 می\u{200c}خواهم"),
        ] {
            assert_eq!(clean(raw), shown);
        }
    }

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        for (raw, word) in [
            ("/var/lib/fulfilld/fulfilld.db", "/var/lib/fulfilld/fulfilld.db"),
            ("my shop.db", "'my shop.db'"),
            ("Ada's $(x).db", r"'Ada'\''s $(x).db'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(raw), word);
            assert_eq!(quoted(Path::new(raw)), word);
        }
    }

    #[test]
    fn json_keeps_its_meaning_and_shows_no_control() {
        let raw = "a\u{9b}31m\u{202e}b\u{1b}é🫖";
        let json = escape_json(&serde_json::Value::from(raw).to_string());
        assert_eq!(json, r#""a\u009b31m\u202eb\u001bé🫖""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), raw);
    }
}
