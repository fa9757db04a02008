//! Why an event is not done: a code for programs beside a sentence for people.

use std::fmt;

use crate::error::Error;

/// Why an event is ignored, parked, or still waits: `events.reason_code` and `events.state_reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For programs.
    pub code: Code,
    /// One sentence for people; no program reads it.
    pub text: String,
}

impl Reason {
    /// `text` is a sentence for people.
    pub fn new(code: Code, text: impl Into<String>) -> Reason {
        Reason { code, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Reason {
        let code = match error {
            Error::Temporary(_) => Code::Temporary,
            Error::Full(_) => Code::DiskFull,
            Error::Config(_) => Code::KeyRefused,
            Error::Forbidden(_) => Code::Forbidden,
            Error::Permanent(_) | Error::Usage(_) | Error::Corrupt(_) => Code::Permanent,
        };
        Reason::new(code, error.to_string())
    }
}

/// Declares the codes once: the variant, the word in the file, and what it means.
macro_rules! codes {
    ($($(#[$more:meta])* $variant:ident $word:literal $about:literal,)*) => {
        /// The codes; their words are a contract (docs/failures.md lists them).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $(#[doc = $about] $(#[$more])* $variant,)* }

        impl Code {
            /// The word in `events.reason_code`.
            pub fn word(self) -> &'static str {
                match self { $(Code::$variant => $word,)* }
            }

            #[cfg(test)]
            const ALL: &[(&str, &str)] = &[$(($word, $about),)*];
        }
    };
}

codes! {
    OtherMode "other_mode" "it is of live mode in a test file, or the other way round",
    OtherAccount "other_account" "it is of another Stripe account than the shop's",
    OtherShop "other_shop" "`FULFILLD_ONLY` leaves its session to another shop",
    UnknownType "unknown_type" "this version does nothing on its type",
    NotASale "not_a_sale" "the checkout expired, or sold nothing",
    CheckoutOpen "checkout_open" "the buyer may still pay; a success has an event of its own",
    NoSession "no_session" "no Checkout Session belongs to the payment",
    NotYet "not_yet" "Stripe does not show all of it yet",
    Temporary "temporary" "Stripe is busy or out of reach, or the file is locked",
    DiskFull "disk_full" "the disk is full",
    KeyRefused "key_refused" "Stripe refuses the key",
    Forbidden "forbidden" "the key lacks a permission",
    Interrupted "interrupted" "fulfilld ended while it worked on it",
    #[allow(dead_code)] // the trigger `events_replay` writes it
    Replayed "replayed" "it is to be processed again",
    Panicked "panicked" "a bug in fulfilld",
    Permanent "permanent" "Stripe or the file refuses it for good, or an answer cannot be read",
    InPart "in_part" "a part of the answer was stored; the rest cannot be read",
    GivenUp "given_up" "it failed for three days",
    Crashed "crashed" "fulfilld kept ending while it worked on it alone",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_meaning() {
        let documented = include_str!("../docs/failures.md");
        for (word, about) in Code::ALL {
            let row = format!("| `{word}` | {about} |");
            assert!(documented.contains(&row), "docs/failures.md lacks: {row}");
        }
    }
}
