//! Every setting there is, once: its name, what holds without it, its help, and which values it may
//! have.
//!
//! `serve --help`, the manual, `serve` at its start and `doctor` read this table; a test keeps
//! README.md and the environment file in step with it. A new setting is a row here and one line
//! where it is used.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::Only;
use crate::error::{Error, Result};

/// One setting.
pub struct Setting {
    pub name: &'static str,
    pub form: Form,
    /// What holds when it is not set; empty when there is none.
    pub default: &'static str,
    pub about: &'static str,
}

/// Which values a setting may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Whatever the room that uses it understands.
    Text,
    /// Not seen by anybody; its own reader checks it.
    Secret,
    /// A whole number.
    Number(RangeInclusive<u32>),
    /// An IP address and a port.
    Address,
    /// Sessions as `FULFILLD_ONLY` names them.
    Sessions,
    /// How much the log says.
    Level,
}

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> &'static Setting {
        SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .expect("every setting that is read stands in SETTINGS")
    }

    /// `Config` when the text is no value of this setting; it names both and says what it may be.
    pub fn check(&self, text: &str) -> Result<()> {
        let name = self.name;
        let wrong = |what: String| Err(Error::Config(format!("{name}={text} is not {what}")));
        match &self.form {
            Form::Text | Form::Secret => Ok(()),
            Form::Number(range) if !text.parse().is_ok_and(|n| range.contains(&n)) => {
                wrong(format!("a number from {} to {}", range.start(), range.end()))
            }
            Form::Address if text.parse::<SocketAddr>().is_err() => {
                wrong(format!("an address and port; try {}", self.default))
            }
            Form::Level if text.parse::<log::LevelFilter>().is_err() => {
                wrong("a level; use error, warn, info, debug or trace".into())
            }
            Form::Sessions => Only::parse(text).map(drop),
            Form::Number(_) | Form::Address | Form::Level => Ok(()),
        }
    }
}

/// Every setting there is. `NAME_FILE` works for the secrets; under systemd a credential of the
/// lower-case name, without `fulfilld_`, wins.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "STRIPE_SECRET_KEY",
        form: Form::Secret,
        default: "",
        about: "restricted key (rk_live_… or rk_test_…) that may read Checkout Sessions, Events, PaymentIntents, Charges and Refunds, Disputes, Radar, Invoices, Balance, Products, Prices and Shipping Rates",
    },
    Setting {
        name: "WEBHOOK_SECRET",
        form: Form::Secret,
        default: "",
        about: "signing secret of the webhook endpoint (whsec_…); several, one a line, while one is being rolled",
    },
    Setting {
        name: "FULFILLD_DB",
        form: Form::Text,
        default: "fulfilld.db",
        about: "the SQLite file",
    },
    Setting {
        name: "FULFILLD_LISTEN",
        form: Form::Address,
        default: "127.0.0.1:4242",
        about: "address and port that the proxy forwards /webhook to",
    },
    Setting {
        name: "FULFILLD_ALLOW_PUBLIC_LISTEN",
        form: Form::Number(0..=1),
        default: "0",
        about: "1 permits an address that is not loopback; a proxy in front is still needed for TLS",
    },
    Setting {
        name: "FULFILLD_STRIPE_API",
        form: Form::Text,
        default: "https://api.stripe.com",
        about: "base URL of Stripe's API; http only for a sandbox with a test key",
    },
    Setting {
        name: "FULFILLD_STRIPE_RATE",
        form: Form::Number(1..=10_000),
        default: "20",
        about: "requests a second to each of Stripe's endpoints, at most 25 (a sandbox takes more)",
    },
    Setting {
        name: "FULFILLD_ACCOUNT",
        form: Form::Text,
        default: "",
        about: "acct_… whose events are the shop's, where one endpoint receives events of several accounts",
    },
    Setting {
        name: "FULFILLD_ONLY",
        form: Form::Sessions,
        default: "",
        about: "which sessions are the shop's, where the account sells other things too: payment_link=plink_1,plink_2 or metadata.KEY=VALUE",
    },
    Setting {
        name: "FULFILLD_BACKFILL_EVERY",
        form: Form::Number(0..=86_400),
        default: "600",
        about: "seconds between two checks of Stripe's events for what did not arrive; 0 never checks",
    },
    Setting {
        name: "FULFILLD_SWEEP_EVERY",
        form: Form::Number(1..=604_800),
        default: "21600",
        about: "seconds between two checks of Stripe's sessions, refunds and disputes themselves",
    },
    Setting {
        name: "FULFILLD_ECHO_AFTER",
        form: Form::Number(0..=3600),
        default: "2",
        about: "seconds that an event waits which only repeats another, so that both cost one request (payment_intent.succeeded after checkout.session.completed)",
    },
    Setting {
        name: "FULFILLD_PUBLIC_URL",
        form: Form::Text,
        default: "",
        about: "where Stripe posts to, e.g. https://shop.example.org/webhook; fulfilld doctor tries it and finds the endpoint in Stripe by it",
    },
    Setting {
        name: "FULFILLD_HOOK_COMMAND",
        form: Form::Text,
        default: "",
        about: "programs to notify: /PATH and the topics it wants (none: all; order.* is permitted); several with a ; between",
    },
    Setting {
        name: "FULFILLD_HOOK_URL",
        form: Form::Text,
        default: "",
        about: "URLs to notify by POST: https://HOST/PATH and the topics (http on this machine only); several with a ; between",
    },
    Setting {
        name: "FULFILLD_HOOK_SECRET",
        form: Form::Secret,
        default: "",
        about: "what those posts are signed with, by Standard Webhooks (whsec_ and base64); several, one a line, while one is being rolled",
    },
    Setting {
        name: "FULFILLD_HOOK_DELAY",
        form: Form::Text,
        default: "",
        about: "how long a notification waits, so that undo can take it back, e.g. fulfillment.shipped=10m; several with a ; between",
    },
    Setting {
        name: "FULFILLD_SENDER",
        form: Form::Text,
        default: "",
        about: "who sends the parcels, for the files of label services: name=…; company=…; street=…; house_number=…; postal_code=…; city=…; country=DE; email=…; phone=…; billing=…",
    },
    Setting {
        name: "FULFILLD_WORKERS",
        form: Form::Number(1..=64),
        default: "16",
        about: "events processed at once, 1 to 64",
    },
    Setting {
        name: "FULFILLD_LOG",
        form: Form::Level,
        default: "info",
        about: "error, warn, info, debug or trace",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_a_value_of_its_setting_and_a_wrong_one_is_named() {
        for setting in SETTINGS {
            assert_eq!(setting.check(setting.default), Ok(()), "{}", setting.name);
            let free = matches!(setting.form, Form::Text | Form::Secret);
            let said = setting.check("-7").err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(
                said.starts_with(&format!("{}=-7 ", setting.name)),
                !free,
                "{}: {said}",
                setting.name
            );
        }
    }
}
