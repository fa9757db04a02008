//! The file speaks SQL: its refusals and the lines to type next name statements and views. Here
//! they become verbs.

/// A verb of the file, the verb of the command line, and the options that its columns become; blank
/// is an argument.
const VERBS: &[(&str, &str, &[&str])] = &[
    ("ship", "ship", &["", "--company", "--number", "--url"]),
    ("ship_parcel", "ship N", &["--parcel", "--company", "--number", "--url"]),
    ("ship_items", "ship", &["", "--items", "--company", "--number", "--url"]),
    ("deliver", "deliver", &[""]),
    ("deliver_parcel", "deliver N", &["--parcel"]),
    ("cancel", "cancel", &["", "--reason"]),
    ("hold", "hold", &["", "--reason"]),
    ("release", "release", &[""]),
    ("reship", "reship", &["", "--reason"]),
    ("reship_items", "reship", &["", "--items", "--reason"]),
    ("dismiss", "dismiss", &["", ""]),
];

/// A view or table, and the verb that shows the same.
const LOOKS: &[(&str, &str)] = &[
    ("order_overview", "fulfilld orders"),
    ("order_lines", "fulfilld orders N"),
    ("order_history", "fulfilld orders N"),
    ("to_ship", "fulfilld orders --to-ship"),
    ("to_fulfill", "fulfilld orders N"),
    ("attention", "fulfilld attention"),
    ("stuck_events", "fulfilld events --state pending"),
    ("events", "fulfilld events"),
    ("outbox", "fulfilld hooks"),
];

/// What only somebody who types SQL understands.
const SQL: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "WHERE", "VALUES"];

/// A refusal of the file in the words of verbs, about that order where it is about one. What it
/// says about SQL alone is left out.
pub fn refusal(sentence: &str, order: Option<i64>) -> String {
    let translated = numbered(&translated(sentence), order);
    let mut parts = Vec::new();
    for part in translated.split("; ") {
        // A remark in brackets that is SQL, then the part of a sentence that is.
        let remark = part.find(" (").and_then(|at| Some((at, at + part[at..].find(')')? + 1)));
        let part = match remark {
            Some((from, to)) if is_sql(&part[from..to]) => {
                format!("{}{}", &part[..from], &part[to..])
            }
            _ => part.to_string(),
        };
        if !is_sql(&part) {
            parts.push(part);
        }
    }
    if parts.is_empty() { translated } else { parts.join("; ") }
}

/// A line to type next, as it is typed into this machine's shell.
pub fn to_type(line: &str, order: Option<i64>) -> String {
    let typed = numbered(&translated(line.trim_end_matches(';')), order);
    match SQL.iter().any(|word| typed.starts_with(word)) {
        true => format!("fulfilld sql \"{typed}\""),
        false => typed,
    }
}

/// With statements and names of views as verbs, as far as there are such.
fn translated(text: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at_word = !done.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let verb =
            at_word.then(|| insert(rest).or_else(|| select(rest)).or_else(|| look(rest))).flatten();
        let (verb, length) = verb.unwrap_or((first.to_string(), first.len_utf8()));
        done += &verb;
        rest = &rest[length..];
    }
    done
}

/// `INSERT INTO verb VALUES(…)` at the beginning, as a verb, and how long it is.
fn insert(text: &str) -> Option<(String, usize)> {
    let (name, values) = text.strip_prefix("INSERT INTO ")?.split_once(" VALUES(")?;
    let (_, verb, options) = VERBS.iter().find(|(verb, ..)| *verb == name)?;
    let (values, after) = values_of(values)?;
    let mut typed = format!("fulfilld {verb}");
    for (value, option) in values.iter().zip(*options).filter(|(value, _)| *value != "NULL") {
        let value = if value == "…" && option.is_empty() { "N" } else { value };
        let is_word =
            !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "_-.,…".contains(c));
        let value = if is_word { value.to_string() } else { format!("\"{value}\"") };
        typed += &[" ", option, if option.is_empty() { "" } else { " " }, &value].concat();
    }
    Some((typed, text.len() - after.len()))
}

/// The values up to the closing bracket, texts without their quotes, and what comes after it.
fn values_of(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut values, mut value, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if quoted && chars.next_if(|(_, next)| *next == '\'').is_some() => {
                value.push('\'')
            }
            '\'' => quoted = !quoted,
            ',' if !quoted => values.push(std::mem::take(&mut value)),
            ')' if !quoted => {
                values.push(value);
                return Some((values, &text[at + 1..]));
            }
            ' ' if !quoted => {}
            c => value.push(c),
        }
    }
    None
}

/// `SELECT … FROM view` at the beginning, with an order's number if it asks for one.
fn select(text: &str) -> Option<(String, usize)> {
    let statement = &text[..text.find([';', ')']).unwrap_or(text.len())];
    let (_, from) = statement.strip_prefix("SELECT ")?.split_once(" FROM ")?;
    let (name, rest) = from.split_once(' ').unwrap_or((from, ""));
    let (_, verb) = LOOKS.iter().find(|(view, _)| *view == name)?;
    let order = rest.strip_prefix("WHERE order_id = ").and_then(|number| number.parse().ok());
    Some((numbered(verb, order), statement.len()))
}

/// The name of a view at the beginning.
fn look(text: &str) -> Option<(String, usize)> {
    let name =
        &text[..text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len())];
    // Of the others, the name is an English word as well.
    let (_, verb) = LOOKS.iter().find(|(view, _)| *view == name && view.contains('_'))?;
    Some((verb.to_string(), name.len()))
}

/// With the order's number where a verb leaves it open.
fn numbered(text: &str, order: Option<i64>) -> String {
    let Some(order) = order else { return text.to_string() };
    let words = text.split_inclusive(' ').map(|word| match word.strip_prefix('N') {
        Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric()) => format!("{order}{rest}"),
        _ => word.to_string(),
    });
    words.collect()
}

fn is_sql(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphabetic()).any(|word| SQL.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::SCHEMA;

    #[test]
    fn statements_become_verbs_and_what_is_sql_alone_is_left_out() {
        for (sentence, verbs) in [
            (
                "nothing in it needs a parcel; digital goods: INSERT INTO deliver VALUES(…)",
                "nothing in it needs a parcel; digital goods: fulfilld deliver 7",
            ),
            (
                "cancel it: INSERT INTO cancel VALUES(…, 'fraud'), or wait",
                "cancel it: fulfilld cancel 7 --reason fraud, or wait",
            ),
            (
                "there is no such order (see order_overview)",
                "there is no such order (see fulfilld orders)",
            ),
            (
                "that waits (see position in order_lines)",
                "that waits (see position in fulfilld orders 7)",
            ),
            (
                "no such thing; what it shows: SELECT subject FROM attention",
                "no such thing; what it shows: fulfilld attention",
            ),
            (
                "it is taken (SELECT id FROM x WHERE y = …); a bulk UPDATE needs WHERE order_id = …",
                "it is taken",
            ),
            ("it is on hold: 'N (No)'; wait", "it is on hold: 'N (No)'; wait"),
            ("an UPDATE needs a WHERE", "an UPDATE needs a WHERE"),
        ] {
            assert_eq!(refusal(sentence, Some(7)), verbs);
        }
        for (next, typed) in [
            (
                "INSERT INTO ship VALUES(7, 'company', 'number', NULL);",
                "fulfilld ship 7 --company company --number number",
            ),
            (
                "INSERT INTO hold VALUES(7, 'it''s (late), so');",
                "fulfilld hold 7 --reason \"it's (late), so\"",
            ),
            ("INSERT INTO release VALUES(7);", "fulfilld release 7"),
            ("INSERT INTO nothing VALUES(7);", "fulfilld sql \"INSERT INTO nothing VALUES(7)\""),
            ("SELECT * FROM order_lines WHERE order_id = 7;", "fulfilld orders 7"),
            ("SELECT * FROM stuck_events;", "fulfilld events --state pending"),
            (
                "UPDATE orders SET note = '…' WHERE id = 7;",
                "fulfilld sql \"UPDATE orders SET note = '…' WHERE id = 7\"",
            ),
            ("fulfilld hooks retry 7", "fulfilld hooks retry 7"),
            (
                "approve or refund it in Stripe's Dashboard",
                "approve or refund it in Stripe's Dashboard",
            ),
        ] {
            assert_eq!(to_type(next, None), typed);
        }
    }

    #[test]
    fn the_line_for_one_of_several_parcels_names_its_order() {
        for (next, typed) in [
            (
                "INSERT INTO ship_parcel VALUES(17, 'DHL', 'JD1', NULL);",
                "fulfilld ship 7 --parcel 17 --company DHL --number JD1",
            ),
            ("INSERT INTO deliver_parcel VALUES(17);", "fulfilld deliver 7 --parcel 17"),
        ] {
            assert_eq!(to_type(next, Some(7)), typed);
        }
    }

    #[test]
    fn no_refusal_of_a_command_asks_for_sql() {
        let mut seen = 0;
        for raised in SCHEMA.split("RAISE(ABORT,").skip(1) {
            let raised = raised.trim_start().strip_prefix('\'').expect("a literal");
            let sentence = raised.replace("''", "\u{1}");
            let sentence = sentence.split('\'').next().unwrap().replace('\u{1}', "'");
            let verb = sentence.split(": ").next().unwrap();
            // What a verb can run into: its own view's refusals, and those of the parcels it
            // changes.
            if VERBS.iter().any(|(name, ..)| *name == verb) || verb == "fulfillments" {
                let said = refusal(&sentence, Some(7));
                assert!(!is_sql(&said), "{said}");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
