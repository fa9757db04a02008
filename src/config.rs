//! Settings: one table of environment variables; secrets come from files or variables and are never
//! printed.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access;
use crate::env;
use crate::error::{Error, Result};
use crate::signature::SigningSecret;
use crate::text;

mod known; // every setting there is

pub use known::{SETTINGS, Setting};

/// What Stripe permits to one of its endpoints, in requests a second (docs.stripe.com/rate-limits).
const STRIPE_RATE_MAX: f64 = 25.0;

/// Signing secrets at once. Two are there in a roll, a few more where several endpoints lead here;
/// each costs every webhook.
const SIGNING_SECRETS_MAX: usize = 16;

/// A text that must not be seen: its `Debug` and `Display` say so instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
    /// The text itself; the one place to look at when asking where a secret goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What `serve` needs to know, checked; the secrets of the endpoint are read apart, because they
/// are read again on SIGHUP.
#[derive(Debug, Clone)]
pub struct Settings {
    pub db: PathBuf,
    pub listen: SocketAddr,
    pub allow_public_listen: bool,
    pub stripe: StripeAccess,
    pub account: Option<String>,
    pub workers: usize,
    /// How long an event that only echoes another is left to wait.
    pub echo_after: Duration,
    pub backfill: Backfill,
    pub hooks: HookSettings,
}

/// How often is looked for what never arrived.
#[derive(Debug, Clone, Copy)]
pub struct Backfill {
    /// At Stripe's events; zero is never, and then the others are not looked at either.
    pub every: Duration,
    /// At the sessions, refunds and disputes themselves.
    pub sweep_every: Duration,
}

/// The settings of the hooks, as they stand; `hooks/target.rs` reads them.
#[derive(Debug, Clone)]
pub struct HookSettings {
    pub command: String,
    pub url: String,
    pub secret: Secret,
    pub delay: String,
}

impl HookSettings {
    /// `Config` when the secret's file cannot be read, or can be by everybody.
    pub fn from_env() -> Result<HookSettings> {
        Ok(HookSettings {
            command: value("FULFILLD_HOOK_COMMAND"),
            url: value("FULFILLD_HOOK_URL"),
            secret: Secret::new(secret("FULFILLD_HOOK_SECRET")?),
            delay: value("FULFILLD_HOOK_DELAY"),
        })
    }

    /// Nobody is told.
    pub fn none() -> HookSettings {
        HookSettings {
            command: String::new(),
            url: String::new(),
            secret: Secret::new(""),
            delay: String::new(),
        }
    }
}

/// How to reach Stripe, and as whom.
#[derive(Debug, Clone)]
pub struct StripeAccess {
    pub key: Secret,
    /// What the key says of itself: `sk_live_`/`rk_live_` or `sk_test_`/`rk_test_`.
    pub livemode: bool,
    /// No trailing slash.
    pub base_url: String,
    /// Requests a second to one endpoint.
    pub rate: f64,
    /// The whole of one request, connecting included.
    pub timeout: Duration,
    /// Which of the account's sessions are the shop's; all of them without it.
    pub only: Option<Only>,
}

/// `FULFILLD_ONLY`: a field of a Checkout Session, and the values it has in the shop's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// As it was set.
    pub setting: String,
    /// The field as a JSON pointer.
    pub pointer: String,
    /// One of these.
    pub values: Vec<String>,
}

impl Only {
    /// `None` for an empty text. `Config` when it names no field that can be looked at, or no
    /// value.
    pub fn parse(text: &str) -> Result<Option<Only>> {
        if text.is_empty() {
            return Ok(None);
        }
        let (field, values) = text.split_once('=').unwrap_or((text, ""));
        let key = field.trim().strip_prefix("metadata.").filter(|key| !key.is_empty());
        let pointer = match key {
            Some(key) => format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1")),
            None => "/payment_link".into(),
        };
        let values: Vec<String> = values
            .split(',')
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(String::from)
            .collect();
        if values.is_empty() || (key.is_none() && field.trim() != "payment_link") {
            return Err(Error::Config(format!(
                "FULFILLD_ONLY={text} names no sessions; write payment_link=plink_1,plink_2 or metadata.KEY=VALUE"
            )));
        }
        Ok(Some(Only { setting: text.into(), pointer, values }))
    }
}

impl Settings {
    /// Reads and checks the environment. Every error names the setting and its remedy, and never
    /// its secret value.
    pub fn from_env() -> Result<Settings> {
        SETTINGS.iter().try_for_each(|setting| setting.check(&value(setting.name)))?;
        let listen = value("FULFILLD_LISTEN").parse();
        Ok(Settings {
            db: db_path()?,
            listen: listen
                .map_err(|_| Error::Config("FULFILLD_LISTEN is not an address and port".into()))?,
            allow_public_listen: value("FULFILLD_ALLOW_PUBLIC_LISTEN") == "1",
            stripe: StripeAccess::from_env()?,
            account: account(),
            workers: number("FULFILLD_WORKERS")? as usize,
            echo_after: Duration::from_secs(number("FULFILLD_ECHO_AFTER")?.into()),
            backfill: Backfill {
                every: Duration::from_secs(number("FULFILLD_BACKFILL_EVERY")?.into()),
                sweep_every: Duration::from_secs(number("FULFILLD_SWEEP_EVERY")?.into()),
            },
            hooks: HookSettings::from_env()?,
        })
    }
}

impl StripeAccess {
    /// Reads and checks the key, the base URL, the rate and which sessions are the shop's. Beside a
    /// service the service's own, which root can read.
    pub fn from_env() -> Result<StripeAccess> {
        readable()?;
        let access = StripeAccess::new(
            &secret("STRIPE_SECRET_KEY")?,
            &value("FULFILLD_STRIPE_API"),
            number("FULFILLD_STRIPE_RATE")? as f64,
        )?;
        Ok(StripeAccess { only: Only::parse(&value("FULFILLD_ONLY"))?, ..access })
    }

    /// A key with a base URL that suit each other: a live key travels over https only.
    pub fn new(key: &str, base_url: &str, rate: f64) -> Result<StripeAccess> {
        let key = key.trim();
        let livemode = key_mode(key)?;
        let base_url = base_url.trim_end_matches('/').to_string();
        let plain = base_url.starts_with("http://");
        if !plain && !base_url.starts_with("https://") {
            return Err(Error::Config(format!(
                "FULFILLD_STRIPE_API={base_url} is not a URL; leave it unset for https://api.stripe.com"
            )));
        }
        if plain && livemode {
            return Err(Error::Config(
                "FULFILLD_STRIPE_API is not https and STRIPE_SECRET_KEY is a live key: it would be sent unencrypted; use \
                 a test key with a sandbox, or unset FULFILLD_STRIPE_API"
                    .into(),
            ));
        }
        if !plain && rate > STRIPE_RATE_MAX {
            return Err(Error::Config(format!(
                "FULFILLD_STRIPE_RATE={rate} is more than Stripe permits, {STRIPE_RATE_MAX} a second; leave it unset"
            )));
        }
        let timeout = Duration::from_secs(20);
        Ok(StripeAccess { key: Secret::new(key), livemode, base_url, rate, timeout, only: None })
    }
}

/// Live or test, from the key's own prefix.
pub fn key_mode(key: &str) -> Result<bool> {
    let form = |p: &str| ["sk_", "rk_"].iter().any(|kind| key.starts_with(&format!("{kind}{p}_")));
    let usable = key.bytes().all(|b| b.is_ascii_graphic());
    match key {
        "" => Err(Error::Config(
            "STRIPE_SECRET_KEY is not set; make a restricted key in Stripe's Dashboard (Developers, API keys) and put it in \
             the credential file or the variable"
                .into(),
        )),
        _ if key.starts_with("pk_") => Err(Error::Config(
            "STRIPE_SECRET_KEY holds a publishable key (pk_…); it needs a restricted (rk_…) or secret key (sk_…)".into(),
        )),
        _ if key.starts_with("whsec_") => Err(Error::Config(
            "STRIPE_SECRET_KEY holds a webhook signing secret (whsec_…); that one belongs in WEBHOOK_SECRET".into(),
        )),
        _ if form("live") && usable => Ok(true),
        _ if form("test") && usable => Ok(false),
        _ => Err(Error::Config(
            "STRIPE_SECRET_KEY is not an API key; it begins with rk_live_, rk_test_, sk_live_ or sk_test_".into(),
        )),
    }
}

/// The endpoint's signing secrets, one a line; blank lines and white space around them do not
/// count.
pub fn signing_secrets() -> Result<Vec<SigningSecret>> {
    parse_signing_secrets(&secret("WEBHOOK_SECRET")?)
}

/// The same from a text.
pub fn parse_signing_secrets(text: &str) -> Result<Vec<SigningSecret>> {
    let mut secrets = Vec::new();
    for (n, line) in text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let mistaken = |what: &str| {
            Err(Error::Config(format!(
                "WEBHOOK_SECRET, line {}: {what}; the signing secret begins with whsec_ (Stripe's Dashboard, Webhooks, the \
                 endpoint, Signing secret)",
                n + 1
            )))
        };
        match line {
            _ if line.starts_with("we_") => {
                return mistaken("this is the endpoint's id (we_…), not its signing secret");
            }
            _ if line.starts_with("sk_") || line.starts_with("rk_") => {
                return mistaken("this is an API key, which belongs in STRIPE_SECRET_KEY");
            }
            _ if line.strip_prefix("whsec_").is_none_or(|rest| rest.is_empty()) => {
                return mistaken("this is not a signing secret");
            }
            _ if n == SIGNING_SECRETS_MAX => {
                return Err(Error::Config(format!(
                    "WEBHOOK_SECRET, line {}: {SIGNING_SECRETS_MAX} signing secrets are the most at once; remove those that \
                     Stripe signs with no more",
                    n + 1
                )));
            }
            _ => secrets.push(SigningSecret::new(line)),
        }
    }
    if secrets.is_empty() {
        return Err(Error::Config(
            "WEBHOOK_SECRET is not set or blank; without it no event can be verified: copy the endpoint's signing secret \
             (whsec_…) from Stripe's Dashboard, Webhooks"
                .into(),
        ));
    }
    Ok(secrets)
}

/// `Config` when settings that count, the service's, cannot be read; it says what gives access to
/// them.
pub fn readable() -> Result<()> {
    match &env::all().unreadable {
        Some(why) => Err(Error::Config(format!("the service's settings cannot be read: {why}"))),
        None => Ok(()),
    }
}

/// The file to work on. `Config` when it stands in settings that cannot be read.
pub fn db_path() -> Result<PathBuf> {
    readable()?;
    Ok(PathBuf::from(value("FULFILLD_DB")))
}

/// The account whose events are the shop's, where that is set.
pub fn account() -> Option<String> {
    Some(value("FULFILLD_ACCOUNT")).filter(|account| !account.is_empty())
}

/// The base URL of Stripe or of a sandbox, for the verbs that talk to the latter.
pub fn stripe_api() -> String {
    value("FULFILLD_STRIPE_API").trim_end_matches('/').to_string()
}

/// The value of a plain setting, or its default.
pub fn value(name: &'static str) -> String {
    match env::get(name) {
        Some(text) if !text.trim().is_empty() => text.trim().to_string(),
        _ => Setting::named(name).default.to_string(),
    }
}

/// A number; `Config` names the setting and what it may be.
fn number(name: &'static str) -> Result<u32> {
    let text = value(name);
    Setting::named(name).check(&text)?;
    text.parse().map_err(|_| Error::Config(format!("{name}={text} is not a number")))
}

/// A secret's text: the systemd credential of its lower-case name without `fulfilld_`, else the
/// file that `NAME_FILE` names, else the variable. Empty when there is none. A file that others can
/// read is refused.
fn secret(name: &'static str) -> Result<String> {
    match env::all().secret_file(name) {
        Some(path) => read_private(name, &path),
        None => Ok(env::get(name).unwrap_or_default()),
    }
}

fn read_private(name: &str, path: &Path) -> Result<String> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Error::Config(format!("{name}: {}", access::denied(path)))
        }
        _ => Error::Config(format!("{name}: cannot read {shown}: {e}")),
    };
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(Error::Config(format!(
            "{name}: {shown} can be read by every user of this server (mode {:04o}); run: chmod 600 {}",
            mode & 0o7777,
            text::shell_word(&path.to_string_lossy())
        )));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_secrets_are_one_a_line_and_mistakes_are_named() {
        assert_eq!(parse_signing_secrets("\n  whsec_a \r\n\n\twhsec_b\n").unwrap().len(), 2);
        assert_eq!(parse_signing_secrets(&"whsec_a\n".repeat(16)).unwrap().len(), 16);
        for (text, why) in [
            ("", "not set or blank"),
            (" \n\t\n", "not set or blank"),
            ("we_1abc", "endpoint's id"),
            ("whsec_a\nsk_test_1", "line 2: this is an API key"),
            ("whsec_", "not a signing secret"),
            ("secret", "not a signing secret"),
            (&"whsec_a\n".repeat(17), "line 17: 16 signing secrets are the most"),
        ] {
            let error = parse_signing_secrets(text).unwrap_err();
            assert!(matches!(&error, Error::Config(m) if m.contains(why)), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_shop_s_sessions_are_named_by_link_or_by_metadata() {
        assert_eq!(Only::parse(""), Ok(None));
        let only = |text: &str| Only::parse(text).unwrap().unwrap();
        assert_eq!(only("payment_link = plink_1, plink_2,").values, ["plink_1", "plink_2"]);
        assert_eq!(only("payment_link=plink_1").pointer, "/payment_link");
        assert_eq!(only("metadata.a/b~c=desk").pointer, "/metadata/a~1b~0c");
        for odd in
            ["plink_1", "payment_link=", "metadata.=x", "customer=cus_1", "=", "payment_link= ,"]
        {
            assert!(matches!(Only::parse(odd), Err(Error::Config(m)) if m.contains(odd)), "{odd}");
        }
    }

    #[test]
    fn a_key_says_its_mode_and_a_live_one_travels_over_https_only() {
        let access = |key, url| StripeAccess::new(key, url, 20.0);
        assert!(StripeAccess::new("rk_test_1", "https://api.stripe.com", 26.0).is_err());
        assert!(access("rk_live_1", "https://api.stripe.com/").unwrap().livemode);
        assert!(!access(" sk_test_1\n", "http://127.0.0.1:1").unwrap().livemode);
        for (key, url, why) in [
            ("", "https://api.stripe.com", "not set"),
            ("pk_live_1", "https://api.stripe.com", "publishable"),
            ("whsec_1", "https://api.stripe.com", "belongs in WEBHOOK_SECRET"),
            ("hello", "https://api.stripe.com", "not an API key"),
            ("sk_test_a b", "https://api.stripe.com", "not an API key"),
            ("rk_live_1", "http://127.0.0.1:1", "sent unencrypted"),
            ("rk_test_1", "ftp://x", "not a URL"),
        ] {
            let error = access(key, url).unwrap_err();
            assert!(matches!(&error, Error::Config(m) if m.contains(why)), "{key}: {error}");
        }
        assert!(!format!("{:?}", access("sk_test_hush", "http://x").unwrap()).contains("hush"));
    }
}
