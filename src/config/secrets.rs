//! Secrets: the key to Stripe and the endpoint's signing secrets. None of them is ever shown.

use std::fmt;

use super::fault::{Fault, Read, Weight};
use crate::signature::SigningSecret;

/// Where keys are made.
pub const MAKE_KEY: &str = "Stripe's Dashboard, Developers, API keys, Create restricted key; the \
                            permissions are in docs/operations.md";

/// Where the signing secret of an endpoint is.
pub const REVEAL: &str = "Stripe's Dashboard, Workbench, Webhooks, the endpoint, Signing secret: \
                          copy the whsec_… into WEBHOOK_SECRET";

/// Signing secrets at once. Two are there in a roll, a few more where several endpoints lead here;
/// each costs every webhook.
const SIGNING_SECRETS_MAX: usize = 16;

/// A text that must not be seen: its `Debug` and `Display` say so instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// `Debug` and `Display` never show `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
    /// The text itself; the one place that shows where a secret goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A key to Stripe's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key itself.
    pub secret: Secret,
    /// What the key says of itself: `sk_live_`/`rk_live_` or `sk_test_`/`rk_test_`.
    pub livemode: bool,
    /// It may do everything in the account, which fulfilld does not need.
    pub is_full: bool,
}

/// A key, its mode by its own prefix.
pub fn key(name: &'static str, key: &str) -> Read<Key> {
    let form = |p: &str| ["sk_", "rk_"].iter().any(|kind| key.starts_with(&format!("{kind}{p}_")));
    let (live, test) = (form("live"), form("test"));
    if (live || test) && key.bytes().all(|b| b.is_ascii_graphic()) {
        let is_full = key.starts_with("sk_");
        let mut read = Read::good(Key { secret: Secret::new(key), livemode: live, is_full });
        if is_full {
            let what = format!("{name} is a full key (sk_…)");
            let why = "Whoever gets hold of it can refund and pay out; fulfilld only reads.";
            let fault = Fault::fatal("key_full_access", what, MAKE_KEY).because(why);
            read.faults.push(fault.of_weight(Weight::Advice));
        }
        return read;
    }
    let (id, what) = match key {
        "" => ("key_missing", "is not set"),
        _ if key.starts_with("pk_") => {
            ("key_publishable", "holds a publishable key (pk_…), which is for web pages")
        }
        _ if key.starts_with("whsec_") => (
            "key_is_signing_secret",
            "holds a signing secret (whsec_…), which belongs in WEBHOOK_SECRET",
        ),
        _ => (
            "key_malformed",
            "is not an API key, which begins with rk_live_, rk_test_, sk_live_ or sk_test_",
        ),
    };
    let why = "Stripe refuses it, and fulfilld does not start.";
    Read::wrong(Fault::fatal(id, format!("{name} {what}"), MAKE_KEY).because(why))
}

/// The endpoint's signing secrets, one a line; blank lines and white space around them do not
/// count.
pub fn signing_secrets(name: &'static str, text: &str) -> Read<Vec<SigningSecret>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut faults = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let none = "No event can be verified with it, and fulfilld does not start.";
        let fault = |kind: &str, what: &str, remedy: &str| {
            let what = format!("{name}, line {}: {what}", n + 1);
            Fault::fatal(format!("webhook_secret_{kind}"), what, remedy).because(none)
        };
        faults.extend(match *line {
            _ if line.starts_with("we_") || line.starts_with("ed_") => Some(fault(
                "is_endpoint_id",
                "this is the endpoint's id (we_…), not its signing secret",
                REVEAL,
            )),
            _ if line.starts_with("sk_") || line.starts_with("rk_") => Some(fault(
                "is_api_key",
                "this is an API key, which belongs in STRIPE_SECRET_KEY",
                REVEAL,
            )),
            _ if line.strip_prefix("whsec_").is_none_or(|rest| rest.is_empty()) => Some(fault(
                "malformed",
                "this is not a signing secret, which begins with whsec_",
                REVEAL,
            )),
            _ if n == SIGNING_SECRETS_MAX => Some(fault(
                "too_many",
                &format!("{SIGNING_SECRETS_MAX} signing secrets are the most at once"),
                "remove those that Stripe signs with no more",
            )),
            _ if lines[..n].contains(line) => Some(
                fault(
                    "twice",
                    "the same secret stands above",
                    "remove the line, or put the other secret there",
                )
                .because(
                    "While a secret is rolled, the new one and the old one are both listed; here \
                     one of them is missing.",
                )
                .of_weight(Weight::Advice),
            ),
            _ => None,
        });
    }
    if lines.is_empty() {
        let what = format!("{name} is not set or blank");
        faults.push(
            Fault::fatal("webhook_secret_blank", what, REVEAL)
                .because("fulfilld does not start without it."),
        );
    }
    let usable = faults.iter().all(|fault| fault.weight == Weight::Advice);
    let secrets = || lines.iter().map(|line| SigningSecret::new(line)).collect();
    Read { value: usable.then(secrets), faults }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_secrets_are_one_a_line_and_mistakes_are_named() {
        let parse = |text: &str| signing_secrets("WEBHOOK_SECRET", text).into_result();
        assert_eq!(parse("\n  whsec_a \r\n\n\twhsec_b\n").unwrap().len(), 2);
        assert_eq!(parse(&"whsec_a\n".repeat(16)).unwrap().len(), 16);
        for (text, why) in [
            ("", "not set or blank"),
            (" \n\t\n", "not set or blank"),
            ("we_1abc", "endpoint's id"),
            ("whsec_a\nsk_test_1", "line 2: this is an API key"),
            ("whsec_", "not a signing secret"),
            ("secret", "not a signing secret"),
            (&"whsec_a\n".repeat(17), "line 17: 16 signing secrets are the most"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("abc"), "{text:?}: {error}");
        }
    }
}
