//! Every setting there is: one row each.
//!
//! `serve --help`, the manual, `serve` at its start, `doctor` and every verb read this table, and
//! the list in docs/settings.md and systemd/fulfilld.env are written from it. CONTRIBUTING.md says
//! how to add a row.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::fault::Read;
use super::hooks::{self, Delays, SignKey, Target};
use super::page;
use super::plain;
use super::secrets::{self, Key, Secret};
use super::sender::{self, Sender};
use super::sessions::{self, Only};
use super::setting::{Kind, Row, Setting};
use crate::signature::SigningSecret;

/// Makes a constant of each row, and the list of them all.
macro_rules! settings {
    ($($constant:ident: $value:ty = { $($field:tt)* })*) => {
        $(pub const $constant: Setting<$value> = Setting { $($field)* };)*

        /// Every setting there is, in the order in which lists show them.
        pub const SETTINGS: &[Row] = &[$(Row {
            name: $constant.name,
            default: $constant.default,
            about: $constant.about,
            #[cfg(test)]
            note: $constant.note,
            kind: $constant.kind,
            faults: || $constant.read().faults,
            #[cfg(test)]
            faults_of: |text| $constant.of(text).faults,
        }),*];
    };
}

// `NAME_FILE` works for the secrets; under systemd a credential of the lower-case name, without
// `fulfilld_`, wins.
settings! {
    KEY: Key = {
        name: "STRIPE_SECRET_KEY",
        default: "",
        about: "restricted key (rk_live_… or rk_test_…) that may read Checkout Sessions, Events, \
                PaymentIntents, Charges and Refunds, Disputes, Radar, Invoices, Balance, \
                Products, Prices and Shipping Rates",
        note: "Under systemd it is the file /etc/fulfilld/stripe_secret_key, which wins; in here \
                other programs could see it.",
        kind: Kind::Secret { id: "key", needed: Some(secrets::MAKE_KEY) },
        parse: secrets::key,
    }
    WEBHOOK_SECRET: Vec<SigningSecret> = {
        name: "WEBHOOK_SECRET",
        default: "",
        about: "signing secret of the webhook endpoint (whsec_…); several, one a line, while one \
                is being rolled",
        note: "Under systemd it is the file /etc/fulfilld/webhook_secret, which wins; in here \
                other programs could see it.",
        kind: Kind::Secret { id: "webhook_secret", needed: Some(secrets::REVEAL) },
        parse: secrets::signing_secrets,
    }
    DB: PathBuf = {
        name: "FULFILLD_DB",
        default: "fulfilld.db",
        about: "the SQLite file",
        note: "The unit lets fulfilld write in /var/lib/fulfilld alone; another directory also \
                needs ReadWritePaths= in a drop-in.",
        kind: Kind::Plain,
        parse: |_, text| Read::good(text.into()),
    }
    LISTEN: SocketAddr = {
        name: "FULFILLD_LISTEN",
        default: "127.0.0.1:4242",
        about: "address and port that the proxy forwards /webhook to",
        note: "Does not count while fulfilld.socket is active: the address is there.",
        kind: Kind::Plain,
        parse: plain::address,
    }
    ALLOW_PUBLIC_LISTEN: bool = {
        name: "FULFILLD_ALLOW_PUBLIC_LISTEN",
        default: "0",
        about: "1 permits an address that is not loopback; a proxy in front is still needed for \
                TLS",
        note: "",
        kind: Kind::Plain,
        parse: plain::switch,
    }
    STRIPE_API: String = {
        name: "FULFILLD_STRIPE_API",
        default: "https://api.stripe.com",
        about: "base URL of Stripe's API; http only for a sandbox with a test key",
        note: "",
        kind: Kind::Plain,
        parse: plain::stripe_api,
    }
    STRIPE_RATE: u32 = {
        name: "FULFILLD_STRIPE_RATE",
        default: "20",
        about: "requests a second to each of Stripe's endpoints, at most 25 (a sandbox takes more)",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::number(name, text, 1..=10_000),
    }
    ACCOUNT: Option<String> = {
        name: "FULFILLD_ACCOUNT",
        default: "",
        about: "acct_… whose events are the shop's, where one endpoint receives events of several \
                accounts",
        note: "",
        kind: Kind::Plain,
        parse: plain::optional,
    }
    ONLY: Option<Only> = {
        name: "FULFILLD_ONLY",
        default: "",
        about: "which sessions are the shop's, where the account sells other things too: \
                payment_link=plink_1,plink_2 or metadata.KEY=VALUE",
        note: "",
        kind: Kind::Plain,
        parse: sessions::parse,
    }
    BACKFILL_EVERY: Duration = {
        name: "FULFILLD_BACKFILL_EVERY",
        default: "600",
        about: "seconds between two checks of Stripe's events for what did not arrive; 0 never \
                checks",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::seconds(name, text, 0..=86_400),
    }
    SWEEP_EVERY: Duration = {
        name: "FULFILLD_SWEEP_EVERY",
        default: "21600",
        about: "seconds between two checks of Stripe's sessions, refunds and disputes themselves",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::seconds(name, text, 1..=604_800),
    }
    ECHO_AFTER: Duration = {
        name: "FULFILLD_ECHO_AFTER",
        default: "2",
        about: "seconds that an event waits which only repeats another, so that both cost one \
                request (payment_intent.succeeded after checkout.session.completed)",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::seconds(name, text, 0..=3600),
    }
    PAYLOAD_DAYS: Option<Duration> = {
        name: "FULFILLD_PAYLOAD_DAYS",
        default: "90",
        about: "days after which the body of a processed event is cleared, because it names the \
                buyer and nothing needs it; 0 keeps all",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::days(name, text, 0..=36_500),
    }
    PUBLIC_URL: Option<String> = {
        name: "FULFILLD_PUBLIC_URL",
        default: "",
        about: "where Stripe posts to, e.g. https://shop.example.org/webhook; fulfilld doctor \
                tries it and finds the endpoint in Stripe by it",
        note: "",
        kind: Kind::Plain,
        parse: plain::public_url,
    }
    HOOK_COMMAND: Vec<Target> = {
        name: "FULFILLD_HOOK_COMMAND",
        default: "",
        about: "programs to notify: /PATH and the topics it wants (none: all; order.* is \
                permitted); several with a ; between",
        note: "It runs as the service's user, inside its sandbox: see the end of \
                fulfilld.service for a directory that it may write into.",
        kind: Kind::Plain,
        parse: hooks::commands,
    }
    HOOK_URL: Vec<Target> = {
        name: "FULFILLD_HOOK_URL",
        default: "",
        about: "URLs to notify by POST: https://HOST/PATH and the topics (http on this machine \
                only); several with a ; between",
        note: "",
        kind: Kind::Plain,
        parse: hooks::urls,
    }
    HOOK_SECRET: Vec<SignKey> = {
        name: "FULFILLD_HOOK_SECRET",
        default: "",
        about: "what those posts are signed with, by Standard Webhooks (whsec_ and base64); \
                several, one a line, while one is being rolled",
        note: "Under systemd it is the file /etc/fulfilld/hook_secret, which wins once its line \
                in fulfilld.service is in force.",
        kind: Kind::Secret { id: "hook_secret", needed: None },
        parse: hooks::secrets,
    }
    HOOK_DELAY: Delays = {
        name: "FULFILLD_HOOK_DELAY",
        default: "",
        about: "how long a notification waits, so that undo can take it back, e.g. \
                fulfillment.shipped=10m; several with a ; between",
        note: "",
        kind: Kind::Plain,
        parse: hooks::delays,
    }
    SENDER: Sender = {
        name: "FULFILLD_SENDER",
        default: "",
        about: "who sends the parcels, for the files of label services: name=…; company=…; \
                street=…; house_number=…; postal_code=…; city=…; country=DE; email=…; phone=…; \
                billing=…",
        note: "",
        kind: Kind::Plain,
        parse: sender::parse,
    }
    PAGE_LISTEN: Option<SocketAddr> = {
        name: "FULFILLD_PAGE_LISTEN",
        default: "",
        about: "address and port of the page for people who pack, behind the proxy's login, e.g. \
                127.0.0.1:4243; without it there is none",
        note: "docs/page.md says what the proxy has to do.",
        kind: Kind::Plain,
        parse: page::listen,
    }
    PAGE_SECRET: Option<Secret> = {
        name: "FULFILLD_PAGE_SECRET",
        default: "",
        about: "what the proxy sends as X-Fulfilld-Page-Secret, so that no other program can say \
                who is logged in (openssl rand -hex 32)",
        note: "Under systemd it is the file /etc/fulfilld/page_secret, which wins once its line \
                in fulfilld.service is in force.",
        kind: Kind::Secret { id: "page_secret", needed: None },
        parse: page::secret,
    }
    PAGE_USER_HEADER: String = {
        name: "FULFILLD_PAGE_USER_HEADER",
        default: "X-Fulfilld-User",
        about: "header in which the proxy names whoever is logged in",
        note: "",
        kind: Kind::Plain,
        parse: page::header,
    }
    PAGE_PACK: Vec<String> = {
        name: "FULFILLD_PAGE_PACK",
        default: "",
        about: "who may look and ship on the page: names with a , between, or * for everybody who \
                is logged in",
        note: "",
        kind: Kind::Plain,
        parse: page::list,
    }
    PAGE_ALL: Vec<String> = {
        name: "FULFILLD_PAGE_ALL",
        default: "",
        about: "who may do everything on the page: names with a , between, or *",
        note: "",
        kind: Kind::Plain,
        parse: page::list,
    }
    PAGE_FIRST: Vec<String> = {
        name: "FULFILLD_PAGE_FIRST",
        default: "express,priority,overnight,next day,same day",
        about: "words of the shipping options that are packed first, with a , between",
        note: "",
        kind: Kind::Plain,
        parse: page::list,
    }
    BACKUP_DIR: Option<String> = {
        name: "FULFILLD_BACKUP_DIR",
        default: "",
        about: "where fulfilld backup puts its files; without it the directory backups beside the \
                SQLite file",
        note: "The backup unit may write in /var/lib/fulfilld alone; another directory also needs \
                ReadWritePaths= in a drop-in.",
        kind: Kind::Plain,
        parse: plain::optional,
    }
    BACKUPS_KEPT: u32 = {
        name: "FULFILLD_BACKUPS_KEPT",
        default: "14",
        about: "how many backups are kept there; the oldest is removed once a new one is verified",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::number(name, text, 1..=10_000),
    }
    LITESTREAM_SOCKET: PathBuf = {
        name: "FULFILLD_LITESTREAM_SOCKET",
        default: "/run/fulfilld-litestream/control.sock",
        about: "the control socket of Litestream, which counts as a backup while it replicates \
                the file",
        note: "",
        kind: Kind::Plain,
        parse: |_, text| Read::good(text.into()),
    }
    WORKERS: u32 = {
        name: "FULFILLD_WORKERS",
        default: "16",
        about: "events processed at once, 1 to 64",
        note: "",
        kind: Kind::Plain,
        parse: |name, text| plain::number(name, text, 1..=64),
    }
    LOG: LevelFilter = {
        name: "FULFILLD_LOG",
        default: "info",
        about: "error, warn, info, debug or trace",
        note: "",
        kind: Kind::Plain,
        parse: plain::level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Weight;

    #[test]
    fn each_default_is_a_value_of_its_setting_and_a_wrong_one_is_named() {
        for setting in SETTINGS.iter().filter(|setting| !setting.is_secret()) {
            let name = setting.name;
            let faults = (setting.faults_of)(setting.default);
            assert!(faults.iter().all(|fault| fault.weight == Weight::Advice), "{name}");
            for fault in (setting.faults_of)("-7") {
                assert!(fault.what.starts_with(name), "{name}: {}", fault.what);
            }
        }
        let refused = |name: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            (setting.faults_of)("-7").iter().any(|fault| fault.weight == Weight::Fatal)
        };
        assert!(refused("FULFILLD_WORKERS") && refused("FULFILLD_LISTEN"));
        assert!(refused("STRIPE_SECRET_KEY") && !refused("FULFILLD_DB"));
    }
}
