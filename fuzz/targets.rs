//! What is fed to whoever reads bytes from outside. `FUZZ_TARGET` says which.
//!
//! None may panic, and each says what must hold of its answer besides. The tests feed them the
//! inputs that are kept in `fuzz/corpus`, and those changed at random.

#[cfg(fuzzing)]
use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

use crate::stripe::Answer;
use crate::{clock, commands, door, event, handlers, labels, signature};

#[cfg(fuzzing)]
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let planted = ("control", a_planted_panic as Target);
    let found = TARGETS.into_iter().chain([planted]).find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?}")).1
});

#[cfg(fuzzing)]
fuzz_target!(|data: &[u8]| TARGET(data));

type Target = fn(&[u8]);

/// By name: what is fed.
const TARGETS: [(&str, Target); 6] = [
    ("signature", a_signature),
    ("envelope", an_envelope),
    ("answers", an_answer),
    ("framing", a_head),
    ("tracking", a_file_of_tracking_numbers),
    ("times", a_time),
];

const SECRET: &str = "whsec_fuzz";
const NOW: i64 = 1_795_489_500;

fn signed(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
    mac.update(format!("{NOW}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A header and a body, parted by a line. Nobody can guess a signature; and whatever else stands
/// beside a right one, it counts, unless a second time does.
fn a_signature(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (header, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(header) = std::str::from_utf8(header) else { return };
    let secrets = [signature::SigningSecret::new(SECRET)];
    let right = signed(body);
    let guessed = signature::verify(Some(header), body, &secrets, NOW);
    assert!(guessed.is_err() || header.contains(&right), "a signature was guessed");
    let beside = format!("{header},t={NOW},v1={right}");
    let has_time = header.split(',').any(|pair| pair.starts_with("t="));
    let verified = signature::verify(Some(&beside), body, &secrets, NOW);
    assert_eq!(verified.is_ok(), !has_time, "{beside}");
}

/// The body of a webhook. What is taken has an id that can be a key, and both ways of reading agree.
fn an_envelope(data: &[u8]) {
    let read = event::Event::parse(data);
    let value: Result<Value, _> = serde_json::from_slice(data);
    let Ok(value) = value else { return assert!(read.is_err(), "what is no JSON was taken") };
    let Ok(event) = &read else { return };
    assert!((1..=255).contains(&event.id.len()) && !event.id.chars().any(char::is_control));
    assert!(event.object_id.as_deref().is_none_or(event::is_object_id));
    assert_eq!(read, event::Event::from_value(&value), "two ways of reading differ");
}

/// An answer of Stripe's: a session, or a list of refunds.
fn an_answer(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    // So that an event is a seed for it.
    let value = value.pointer("/data/object").cloned().unwrap_or(value);
    handlers::read(&Answer { at: clock::from_unix(NOW).expect("it is a time"), value });
}

/// The headers of a request, one a line. What is let in has one length, or is chunked, never both.
fn a_head(data: &[u8]) {
    const BODY_MAX: usize = 1 << 20;
    const BODY: &str = match std::str::from_utf8(&[b' '; 1024]) {
        Ok(spaces) => spaces,
        Err(_) => unreachable!(),
    };
    // tiny_http reads a body of up to 1,024 bytes at once, and this makes no request without it.
    let mut request = tiny_http::TestRequest::new().with_body(BODY);
    let mut lines = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut pair = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (pair.next().unwrap_or_default(), pair.next().unwrap_or_default());
        if let Ok(header) = tiny_http::Header::from_bytes(name, value) {
            lines.push((header.field.to_string().to_lowercase(), header.value.to_string()));
            request = request.with_header(header);
        }
    }
    let named = |name: &str| -> Vec<&str> {
        lines.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    };
    let (lengths, encodings) = (named("content-length"), named("transfer-encoding"));
    let raw: tiny_http::Request = request.into();
    match door::framing(&raw, BODY_MAX) {
        Ok(Some(n)) => {
            assert!(encodings.is_empty() && lengths.len() <= 1 && n <= BODY_MAX);
            assert!(lengths.iter().all(|text| text.parse() == Ok(n)));
        }
        Ok(None) => {
            assert!(lengths.is_empty() && encodings.len() == 1);
            assert!(encodings[0].eq_ignore_ascii_case("chunked"));
        }
        Err(_) => {}
    }
    // What claims too much cannot be dropped: see door.rs.
    if !door::can_be_drained(&raw) || raw.body_length().is_some_and(|n| n > BODY_MAX) {
        std::mem::forget(raw);
    }
}

/// A file of a label service. A row is one line of it at most.
fn a_file_of_tracking_numbers(data: &[u8]) {
    if let Ok(rows) = labels::read_tracking(data) {
        assert!(rows.len() <= data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1);
    }
}

/// `--since`, and the date of an answer.
fn a_time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now = clock::from_unix(NOW).expect("it is a time");
    if let Ok(since) = commands::reconcile::moment(text, now) {
        let _ = clock::text(since);
    }
    if let Some(date) = clock::from_http(text) {
        let _ = clock::text(date);
    }
    if let Ok(time) = text.parse::<clock::Timestamp>() {
        let _ = clock::text(time);
    }
}

/// The control: only whoever is led by what code an input reaches finds it.
#[cfg(fuzzing)]
fn a_planted_panic(data: &[u8]) {
    let found = data.iter().zip(b"paid!").take_while(|(there, wanted)| there == wanted).count();
    assert!(found < 5, "this one is planted");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Inputs that are made of the kept ones, for each target.
    const CHANGED: usize = 2000;

    /// The kept inputs of a target, and Stripe's events.
    fn kept(target: &str) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dirs = [root.join("fuzz/corpus").join(target), root.join("tests/events")];
        let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).expect("inputs are kept"));
        let files = files.flatten().map(|entry| entry.path());
        let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
        // So that a seed repeats a run.
        files.sort();
        files.iter().map(|file| std::fs::read(file).expect("it can be read")).collect()
    }

    /// One change: a bit, a byte, a cut, a repetition, or a piece of another input.
    fn change(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut fastrand::Rng) {
        let at = random.usize(..=input.len());
        match random.u32(..6) {
            0 if at < input.len() => input[at] ^= 1 << random.u32(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input.truncate(at),
            3 => input.insert(at, *b"\0\n,=:\"{}-0".get(random.usize(..10)).expect("ten")),
            4 => {
                let again = input[at..].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = &others[random.usize(..others.len())];
                input.truncate(at);
                input.extend(&other[random.usize(..=other.len())..]);
            }
        }
        input.truncate(4096);
    }

    #[test]
    fn kept_inputs_and_what_is_made_of_them_break_nothing() {
        // As the tests of the real program take theirs.
        let given = |name| std::env::var(name).ok().and_then(|seed| seed.parse().ok());
        let seed = given("FULFILLD_SEED")
            .or_else(|| given("FULFILLD_FIRST_SEED"))
            .unwrap_or_else(|| fastrand::u64(..1 << 40));
        println!("FULFILLD_SEED={seed}");
        std::thread::scope(|threads| {
            for (name, target) in TARGETS {
                threads.spawn(move || {
                    let inputs = kept(name);
                    inputs.iter().for_each(|input| target(input));
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..CHANGED {
                        let mut input = inputs[random.usize(..inputs.len())].clone();
                        (0..random.u32(1..4))
                            .for_each(|_| change(&mut input, &inputs, &mut random));
                        target(&input);
                    }
                });
            }
        });
    }
}
