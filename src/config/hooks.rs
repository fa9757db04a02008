//! The settings FULFILLD_HOOK_…: which hooks there are, what each is notified of, and how long a
//! notification is held back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::fault::{Fault, Read};
use super::plain;
use crate::text;

/// A value, or what is wrong with the text.
type Parsed<T> = Result<T, Fault>;

/// Everything that hooks are notified of.
pub const TOPICS: [&str; 10] = [
    "order.paid",
    "order.canceled",
    "order.refunded",
    "order.refund_failed",
    "order.disputed",
    "fulfillment.shipped",
    "fulfillment.updated",
    "fulfillment.delivered",
    "fulfillment.canceled",
    "event.failed",
];

/// What a secret has in bytes, by the specification of Standard Webhooks.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The longest that a notification may be held back.
const DELAY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Someone who wants to be notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The command's path or the URL as it was set: `hook_runs.target`.
    pub name: String,
    /// A command or a URL.
    pub kind: Kind,
    topics: Vec<&'static str>,
}

/// How a target is notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An executable, run without a shell.
    Command(PathBuf),
    /// An HTTP POST to this address.
    Post(String),
}

impl Kind {
    /// The label `kind` of the metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Command(_) => "command",
            Kind::Post(_) => "post",
        }
    }
}

impl Target {
    /// True when it wants this topic.
    pub fn wants(&self, topic: &str) -> bool {
        self.topics.contains(&topic)
    }

    /// Its name for a log line: of a URL the host alone, because the rest is often as good as a
    /// password.
    pub fn shown(&self) -> String {
        match &self.kind {
            Kind::Command(_) => text::clean(&self.name),
            Kind::Post(url) => url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"),
        }
    }
}

/// How long notifications wait, by topic.
pub type Delays = BTreeMap<&'static str, Duration>;

/// All of the settings.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order of the settings.
    pub targets: Vec<Target>,
    /// What posts are signed with: the bytes of each secret.
    pub secrets: Vec<SignKey>,
    delays: Delays,
}

/// The bytes of a secret; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SignKey(pub Vec<u8>);

impl std::fmt::Debug for SignKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignKey(hidden)")
    }
}

impl Plan {
    /// The settings together. A fault where two of them contradict each other.
    pub fn new(
        commands: Vec<Target>,
        urls: Vec<Target>,
        secrets: Vec<SignKey>,
        delays: Delays,
    ) -> Result<Plan, Fault> {
        if secrets.is_empty() && !urls.is_empty() {
            let what = "FULFILLD_HOOK_URL is set and FULFILLD_HOOK_SECRET is not, so nobody could \
                        detect a forged post";
            return Err(Fault::fatal("hook_setting_odd", what, MAKE_ONE));
        }
        Ok(Plan { targets: [commands, urls].concat(), secrets, delays })
    }

    /// How long a notification of this topic waits for an `undo` before its hooks are run.
    pub fn delay(&self, topic: &str) -> Duration {
        self.delays.get(topic).copied().unwrap_or_default()
    }

    /// The longest of them.
    pub fn delay_max(&self) -> Duration {
        self.delays.values().copied().max().unwrap_or_default()
    }
}

const MAKE_ONE: &str = "make one: echo whsec_$(openssl rand -base64 32)";

fn odd(what: impl Into<String>) -> Fault {
    let remedy = "correct it, or remove the line; docs/hooks.md says what may stand there";
    Fault::fatal("hook_setting_odd", what, remedy)
}

/// The programs of `FULFILLD_HOOK_COMMAND`.
pub fn commands(name: &'static str, text: &str) -> Read<Vec<Target>> {
    targets(name, text, command).into()
}

/// The addresses of `FULFILLD_HOOK_URL`.
pub fn urls(name: &'static str, text: &str) -> Read<Vec<Target>> {
    targets(name, text, post).into()
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|entry| !entry.is_empty())
}

fn targets(
    setting: &str,
    text: &str,
    kind: fn(&str) -> Result<Kind, String>,
) -> Parsed<Vec<Target>> {
    let mut found: Vec<Target> = Vec::new();
    for entry in entries(text) {
        let target = target(setting, entry, kind)?;
        if found.iter().any(|other| other.name == target.name) {
            return Err(odd(format!(
                "{setting}: {} is set twice as a hook; name it once, with all its topics",
                target.shown()
            )));
        }
        found.push(target);
    }
    Ok(found)
}

fn target(setting: &str, entry: &str, kind: fn(&str) -> Result<Kind, String>) -> Parsed<Target> {
    let mut words = entry.split_whitespace();
    let name = words.next().unwrap_or_default();
    let kind = kind(name).map_err(|why| odd(format!("{setting}: {why}")))?;
    let mut wanted = Vec::new();
    for word in words {
        wanted.extend(matching(setting, word)?);
    }
    let topics =
        TOPICS.into_iter().filter(|topic| wanted.is_empty() || wanted.contains(topic)).collect();
    Ok(Target { name: name.into(), kind, topics })
}

fn command(name: &str) -> Result<Kind, String> {
    match name.starts_with('/') {
        true => Ok(Kind::Command(name.into())),
        false => Err(format!(
            "{} is not an absolute path; write /PATH/OF/THE/HOOK, then its topics",
            text::clean(name)
        )),
    }
}

fn post(name: &str) -> Result<Kind, String> {
    let url: Option<ureq::http::Uri> = name.parse().ok();
    let (scheme, authority) = url
        .as_ref()
        .and_then(|url| Some((url.scheme_str()?, url.authority()?)))
        .ok_or("there is something that is no URL; write https://HOST/PATH, then its topics")?;
    let host = authority.host();
    if authority.as_str().contains('@') {
        return Err(format!(
            "the URL of {host} has a user or a password in it, which is stored nowhere"
        ));
    }
    match scheme {
        "https" => Ok(Kind::Post(name.into())),
        "http" if plain::is_loopback(name) => Ok(Kind::Post(name.into())),
        "http" => {
            Err(format!("customers' addresses would go to {host} in the clear; write https://"))
        }
        _ => Err(format!(
            "{host}: a hook's URL begins with https://, or with http:// on this machine"
        )),
    }
}

/// The topics that a word names: one, or with a star at its end all that begin so.
fn matching(setting: &str, word: &str) -> Parsed<Vec<&'static str>> {
    let named: Vec<&'static str> = match word.strip_suffix('*') {
        Some(start) => TOPICS.into_iter().filter(|topic| topic.starts_with(start)).collect(),
        None => TOPICS.into_iter().filter(|topic| *topic == word).collect(),
    };
    match named.is_empty() {
        false => Ok(named),
        true => Err(odd(format!(
            "{setting}: there is no topic {}; there are {}",
            text::clean(word),
            TOPICS.join(", ")
        ))),
    }
}

/// The secrets of `FULFILLD_HOOK_SECRET`, one a line.
pub fn secrets(name: &'static str, text: &str) -> Read<Vec<SignKey>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.enumerate().map(|(n, line)| {
        let bytes =
            line.strip_prefix("whsec_").and_then(|base64| BASE64_STANDARD.decode(base64).ok());
        match bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len())) {
            Some(bytes) => Ok(SignKey(bytes)),
            None => {
                let what = "this is not whsec_ and the base64 of 24 to 64 bytes";
                let what = format!("{name}, line {}: {what}", n + 1);
                Err(Fault::fatal("hook_setting_odd", what, MAKE_ONE))
            }
        }
    });
    keys.collect::<Parsed<_>>().into()
}

/// The delays of `FULFILLD_HOOK_DELAY`.
pub fn delays(name: &'static str, text: &str) -> Read<Delays> {
    let read = || {
        let mut delays = BTreeMap::new();
        for entry in entries(text) {
            let odd = || {
                odd(format!(
                    "{name}: {} is not TOPIC=DURATION; write e.g. fulfillment.shipped=10m (s, m or \
                     h, a week at most)",
                    text::clean(entry)
                ))
            };
            let (topic, long) = entry.split_once('=').ok_or_else(odd)?;
            let long = duration(long.trim()).filter(|long| *long <= DELAY_MAX).ok_or_else(odd)?;
            for topic in matching(name, topic.trim())? {
                delays.insert(topic, long);
            }
        }
        Ok(delays)
    };
    read().into()
}

/// `90s`, `10m`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let number: u64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(command: &str, url: &str, secret: &str, delay: &str) -> crate::error::Result<Plan> {
        let plan = Plan::new(
            commands("FULFILLD_HOOK_COMMAND", command).into_result()?,
            urls("FULFILLD_HOOK_URL", url).into_result()?,
            secrets("FULFILLD_HOOK_SECRET", secret).into_result()?,
            delays("FULFILLD_HOOK_DELAY", delay).into_result()?,
        );
        plan.map_err(|fault| fault.error())
    }

    #[test]
    fn a_hook_is_a_path_or_a_url_and_its_topics() {
        let plan = read(
            "/opt/mail fulfillment.shipped order.paid; /opt/all;",
            "https://example.org/hook?token=1 order.*",
            &format!("{WHSEC}\n\n {WHSEC} \n"),
            "fulfillment.*=10m; fulfillment.shipped=90s",
        )
        .unwrap();
        let wanted = |n: usize| -> Vec<&str> {
            TOPICS.into_iter().filter(|t| plan.targets[n].wants(t)).collect()
        };
        assert_eq!(wanted(0), ["order.paid", "fulfillment.shipped"]);
        assert_eq!(wanted(1), TOPICS);
        let of_orders = TOPICS.into_iter().filter(|topic| topic.starts_with("order."));
        assert_eq!(wanted(2), of_orders.collect::<Vec<_>>());
        assert_eq!(plan.targets[2].shown(), "https://example.org");
        assert_eq!(plan.secrets.len(), 2);
        assert_eq!(plan.secrets[0].0.len(), 24);
        assert_eq!(plan.delay("fulfillment.shipped"), Duration::from_secs(90));
        assert_eq!(plan.delay("fulfillment.canceled"), Duration::from_secs(600));
        assert_eq!(plan.delay("order.paid"), Duration::ZERO);
        assert!(read("", "", "", "").unwrap().targets.is_empty());
        assert!(
            !format!("{plan:?}").contains("MfKQ")
                && !format!("{:?}", plan.secrets[0]).contains("49")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (command, url, secret, delay, why) in [
            ("mail order.paid", "", "", "", "mail is not an absolute path"),
            (
                "/opt/mail order.payed",
                "",
                "",
                "",
                "there is no topic order.payed; there are order.paid,",
            ),
            ("/opt/mail shop.*", "", "", "", "there is no topic shop.*"),
            ("/opt/mail; /opt/mail order.paid", "", "", "", "/opt/mail is set twice"),
            ("", "example.org/hook", WHSEC, "", "no URL"),
            ("", "ftp://example.org/", WHSEC, "", "begins with https://"),
            ("", "http://example.org/", WHSEC, "", "in the clear"),
            ("", "http://127.0.0.1.example.org/", WHSEC, "", "in the clear"),
            ("", "https://me:hush@example.org/", WHSEC, "", "a user or a password"),
            ("", "https://example.org/", " ", "", "FULFILLD_HOOK_SECRET is not"),
            ("", "", "whsec_short", "", "line 1: this is not whsec_"),
            ("", "", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "", "whsec_$(openssl rand -base64 32)"),
            ("", "", "", "order.paid", "order.paid is not TOPIC=DURATION"),
            ("", "", "", "order.paid=10", "is not TOPIC=DURATION"),
            ("", "", "", "order.paid=+1m", "is not TOPIC=DURATION"),
            ("", "", "", "order.paid=999999999999999999h", "is not TOPIC=DURATION"),
            ("", "", "", "paid=1m", "there is no topic paid"),
        ] {
            let error = read(command, url, secret, delay).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hush"), "{why}: {error}");
        }
        for url in
            ["http://127.0.0.1:9/x", "http://localhost/", "http://[::1]:80/", "https://example.org"]
        {
            read("", url, WHSEC, "").unwrap();
        }
    }
}
