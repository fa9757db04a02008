//! Text from outside in the lines for a person to type: it is one word there, and does nothing.

use std::process::Command;

use super::harness::{all, made};
use super::{SCHEMA, stripe};

/// What an event's id may be, by the only rule that there is: a text of 1 to 255 characters.
const IDS: [&str; 9] = [
    "evt_1AbC",
    "evt_'; touch pwned #",
    "evt_\"$(touch pwned)`touch pwned`",
    "'; DROP TABLE orders; --",
    "--all",
    "-",
    "evt_*?[a]{b,c}~ \\",
    "evt_\ntouch pwned\n",
    "evt_é🫖\u{202e}",
];

#[test]
fn an_id_with_quotes_is_one_word_of_the_line_to_type() {
    let c = made(SCHEMA);
    for id in IDS {
        let sql = format!(
            "INSERT INTO events(id, type, shape, source, received_at, state) \
             VALUES('{}', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z', 'failed')",
            id.replace('\'', "''")
        );
        c.execute_batch(&stripe(&sql)).expect("the event is kept");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let lines =
        all(&c, "SELECT subject, next FROM attention WHERE reason = 'event_failed'", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
    let mut told = 0;
    for (id, next) in lines.iter().filter(|(id, _)| IDS.contains(&&id[..])) {
        let (show, replay) = next.split_once("; then: ").expect("two lines to type");
        for (line, verb) in [(show, "events\0show\0"), (replay, "replay\0")] {
            for shell in ["sh", "bash"] {
                let script = format!("fulfilld() {{ printf '%s\\0' \"$@\"; }}\n{line}");
                let said = Command::new(shell)
                    .arg("-c")
                    .arg(script)
                    .current_dir(dir.path())
                    .output()
                    .expect("a shell");
                let words = String::from_utf8(said.stdout).expect("text");
                let expected = [format!("{verb}{id}\0"), format!("{verb}--\0{id}\0")];
                assert!(expected.contains(&words), "{line}: {words:?}");
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0, "{next}");
        told += 1;
    }
    assert_eq!(told, IDS.len());
    // What Stripe writes needs no quotes.
    let plain = lines.iter().find(|(id, _)| id == IDS[0]).map(|(_, next)| &next[..]);
    assert_eq!(plain, Some("fulfilld events show evt_1AbC; then: fulfilld replay evt_1AbC"));
}
