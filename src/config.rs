//! Settings: one table of environment variables; secrets come from files or variables and are never
//! printed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::env;
use crate::error::{Error, Result};

mod known; // every setting there is: the table
mod setting; // one row: where its text is found, and what it means
pub mod hooks; // who is notified of what, and when
mod secrets; // the key and the signing secrets
pub mod sender; // who sends the parcels
mod sessions; // which sessions are the shop's
mod page; // who may see the page
mod plain; // numbers, addresses, URLs
mod fault; // what is wrong with a setting
#[cfg(test)]
mod lists; // the documents list what the table has

pub use fault::{Fault, Weight};
pub use known::*;
pub use page::PageSettings;
pub use plain::is_loopback;
pub use secrets::{Key, Secret};
pub use sessions::Only;
pub use setting::Setting;

use hooks::Plan;

/// What Stripe permits to one of its endpoints, in requests a second (docs.stripe.com/rate-limits).
const STRIPE_RATE_MAX: f64 = 25.0;

/// What `serve` needs to know, checked; the secrets of the endpoint are read apart, because they
/// are read again on SIGHUP.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shop's file.
    pub db: PathBuf,
    /// Where webhooks arrive.
    pub listen: SocketAddr,
    /// `listen` may be reached from other machines.
    pub allow_public_listen: bool,
    /// How to reach Stripe.
    pub stripe: StripeAccess,
    /// The only account whose events count; `None` for any.
    pub account: Option<String>,
    /// Events in progress at once.
    pub workers: usize,
    /// How long an event that only echoes another is left to wait.
    pub echo_after: Duration,
    /// When to look for what did not arrive.
    pub backfill: Backfill,
    /// How long the bodies of processed events are kept; `None` is for good.
    pub keep_payloads: Option<Duration>,
    /// What is notified of what.
    pub hooks: Plan,
    /// `None`: there is no page.
    pub page: Option<PageSettings>,
}

/// How often is looked for what never arrived.
#[derive(Debug, Clone, Copy)]
pub struct Backfill {
    /// At Stripe's events; zero is never, and then the others are not looked at either.
    pub every: Duration,
    /// At the sessions, refunds and disputes themselves.
    pub sweep_every: Duration,
}

/// How to reach Stripe, and as whom.
#[derive(Debug, Clone)]
pub struct StripeAccess {
    /// A restricted or a secret key.
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

impl Settings {
    /// Reads and checks the environment. Every error names the setting and its remedy, and never
    /// its secret value.
    pub fn from_env() -> Result<Settings> {
        if let Some(fatal) = faults().iter().find(|fault| fault.weight == Weight::Fatal) {
            return Err(fatal.error());
        }
        Ok(Settings {
            db: db_path()?,
            listen: LISTEN.get()?,
            allow_public_listen: ALLOW_PUBLIC_LISTEN.get()?,
            stripe: StripeAccess::from_env()?,
            account: ACCOUNT.get()?,
            workers: WORKERS.get()? as usize,
            echo_after: ECHO_AFTER.get()?,
            backfill: Backfill { every: BACKFILL_EVERY.get()?, sweep_every: SWEEP_EVERY.get()? },
            keep_payloads: PAYLOAD_DAYS.get()?,
            hooks: hook_plan()?,
            page: page_settings()?,
        })
    }
}

/// Everything that is wrong with the settings that count: each by itself, then two together.
pub fn faults() -> Vec<Fault> {
    let mut found: Vec<Fault> = SETTINGS.iter().flat_map(|row| (row.faults)()).collect();
    let key = KEY.read().value;
    if let (Some(url), Some(rate)) = (STRIPE_API.read().value, STRIPE_RATE.read().value) {
        found.extend(access_fault(key.as_ref(), &url, rate.into()));
    }
    if let (Some(address), Some(allowed)) = (LISTEN.read().value, ALLOW_PUBLIC_LISTEN.read().value)
    {
        // systemd's socket takes the place of this address.
        let fault = public_listen(address, allowed);
        found.extend(fault.map(|fault| fault.of_weight(Weight::Problem)));
    }
    if let (Some(commands), Some(urls), Some(secrets), Some(delays)) = (
        HOOK_COMMAND.read().value,
        HOOK_URL.read().value,
        HOOK_SECRET.read().value,
        HOOK_DELAY.read().value,
    ) {
        found.extend(Plan::new(commands, urls, secrets, delays).err());
    }
    found.extend(read_page().err());
    found
}

/// What is wrong with an address to listen on, where others than this server reach it.
pub fn public_listen(address: SocketAddr, allowed: bool) -> Option<Fault> {
    if allowed || address.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(Fault::fatal(
        "setting_odd",
        format!("FULFILLD_LISTEN={address} can be reached from outside this server"),
        "listen on 127.0.0.1 behind a proxy that does TLS (systemd/nginx.conf, systemd/Caddyfile), \
         or set FULFILLD_ALLOW_PUBLIC_LISTEN=1 if the proxy is elsewhere",
    ))
}

/// What is wrong with a key, a base URL and a rate together: a live key travels over https only.
fn access_fault(key: Option<&Key>, base_url: &str, rate: f64) -> Option<Fault> {
    let is_plain = base_url.starts_with("http://");
    if is_plain && key.is_some_and(|key| key.livemode) {
        let what = "FULFILLD_STRIPE_API is not https and STRIPE_SECRET_KEY is a live key: it would \
                    be sent unencrypted";
        let remedy = "use a test key with a sandbox, or unset FULFILLD_STRIPE_API";
        return Some(Fault::fatal("stripe_api_odd", what, remedy));
    }
    if !is_plain && rate > STRIPE_RATE_MAX {
        let what = format!(
            "FULFILLD_STRIPE_RATE={rate} is more than Stripe permits, {STRIPE_RATE_MAX} a second"
        );
        return Some(Fault::fatal("setting_odd", what, "remove FULFILLD_STRIPE_RATE"));
    }
    None
}

/// Who is notified of what. `Config` when that cannot be meant, or a secret's file not be read.
pub fn hook_plan() -> Result<Plan> {
    readable()?;
    Plan::new(HOOK_COMMAND.get()?, HOOK_URL.get()?, HOOK_SECRET.get()?, HOOK_DELAY.get()?)
        .map_err(|fault| fault.error())
}

/// Who may see the page; `None` where there is none.
fn page_settings() -> Result<Option<PageSettings>> {
    read_page().map_err(|fault| fault.error())
}

/// The same; `None` also where one of its settings has a fault of its own.
fn read_page() -> std::result::Result<Option<PageSettings>, Fault> {
    let (Some(Some(listen)), Some(secret), Some(user_header)) =
        (PAGE_LISTEN.read().value, PAGE_SECRET.read().value, PAGE_USER_HEADER.read().value)
    else {
        return Ok(None);
    };
    let lists =
        [&PAGE_PACK, &PAGE_ALL, &PAGE_FIRST].map(|list| list.read().value.unwrap_or_default());
    PageSettings::new(listen, secret, user_header, lists).map(Some)
}

impl StripeAccess {
    /// Reads and checks the key, the base URL, the rate and which sessions are the shop's. Beside a
    /// service the service's own, which root can read.
    pub fn from_env() -> Result<StripeAccess> {
        readable()?;
        let rate = STRIPE_RATE.get()?.into();
        let access = StripeAccess::with(KEY.get()?, STRIPE_API.get()?, rate)?;
        Ok(StripeAccess { only: ONLY.get()?, ..access })
    }

    /// A key with a base URL that suit each other, from texts.
    pub fn new(key: &str, base_url: &str, rate: f64) -> Result<StripeAccess> {
        let base_url = STRIPE_API.of(base_url).into_result()?;
        StripeAccess::with(KEY.of(key).into_result()?, base_url, rate)
    }

    /// The same, checked by themselves. `Config` when they do not suit each other.
    pub fn with(key: Key, base_url: String, rate: f64) -> Result<StripeAccess> {
        match access_fault(Some(&key), &base_url, rate) {
            Some(fault) => Err(fault.error()),
            None => Ok(StripeAccess {
                key: key.secret,
                livemode: key.livemode,
                base_url,
                rate,
                timeout: Duration::from_secs(20),
                only: None,
            }),
        }
    }
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
    DB.get()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_address_that_others_reach_is_refused_unless_it_is_permitted() {
        for (address, open) in [
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.0.2.1:1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(public_listen(address, false).is_some(), open, "{address}");
            assert_eq!(public_listen(address, true), None);
        }
    }
}
