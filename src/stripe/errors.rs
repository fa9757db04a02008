//! What failed requests mean: whether to retry, whose fault it is, and Stripe's own sentence.

use serde_json::Value;
use ureq::http::{HeaderMap, StatusCode};

use super::names::NotFound;
use crate::error::Error;
use crate::text;

/// Why nobody answered, with a sentence each.
#[derive(Debug)]
pub enum Unreached {
    NoSuchHost(String),
    Tls(String),
    Refused(String),
    TimedOut(String),
    /// Something was sent, and it is no HTTP.
    Garbage(String),
}

impl Unreached {
    /// What `error` means for whoever has to fix it.
    pub fn of(error: &ureq::Error) -> Unreached {
        let why = text::clean(&error.to_string());
        match error {
            ureq::Error::HostNotFound => Unreached::NoSuchHost(why),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Unreached::Tls(why),
            ureq::Error::Timeout(ureq::Timeout::Resolve) => Unreached::NoSuchHost(why),
            ureq::Error::Timeout(_) => Unreached::TimedOut(why),
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                Unreached::Refused(why)
            }
            // rustls reports bad certificates, and a server that speaks no TLS, through these.
            ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Unreached::Tls(why)
            }
            ureq::Error::Other(e) if e.is::<NotFound>() => Unreached::NoSuchHost(why),
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => Unreached::Refused(why),
            _ => Unreached::Garbage(why),
        }
    }

    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Unreached::NoSuchHost(why)
            | Unreached::Tls(why)
            | Unreached::Refused(why)
            | Unreached::TimedOut(why)
            | Unreached::Garbage(why) => why,
        }
    }
}

/// What a failed request means for the next try.
pub struct Failure {
    /// What the caller gets.
    pub error: Error,
    /// The same request may succeed when it is sent again at once.
    pub again: bool,
    /// 429: too many at once.
    pub busy: bool,
    /// 403: the key may not see all of it.
    pub forbidden: bool,
}

impl Failure {
    /// The connection failed. After a time-out the event waits as a whole: a retry at once
    /// would hold a worker.
    pub fn of(what: &str, error: ureq::Error) -> Failure {
        let again = !matches!(error, ureq::Error::Timeout(_));
        Failure { again, ..Failure::retry(format!("{what}: {error}")) }
    }

    /// The key may not: not retried.
    pub fn forbidden(why: String) -> Failure {
        Failure { error: Error::Forbidden(why), again: false, busy: false, forbidden: true }
    }

    /// fulfilld stops: not retried.
    pub fn stopping() -> Failure {
        Failure { again: false, ..Failure::retry("fulfilld is stopping".into()) }
    }

    /// `Temporary`, retried at once.
    pub fn retry(why: String) -> Failure {
        Failure {
            error: Error::Temporary(text::clean(&why)),
            again: true,
            busy: false,
            forbidden: false,
        }
    }
}

/// What matters of an answer's head, and how it is named in a log.
pub struct Head {
    /// The HTTP status.
    pub status: StatusCode,
    request_id: String,
    should_retry: Option<bool>,
    rate_limited: String,
}

impl Head {
    /// The head of an answer.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Head {
        let text = |name: &str| {
            text::clean(
                &headers
                    .get(name)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default()
                    .chars()
                    .take(80)
                    .collect::<String>(),
            )
        };
        Head {
            status,
            request_id: text("Request-Id"),
            should_retry: text("Stripe-Should-Retry").parse().ok(),
            rate_limited: text("Stripe-Rate-Limited-Reason"),
        }
    }

    /// Stripe's status as one of our errors (docs.stripe.com/api/errors); `Stripe-Should-Retry`
    /// wins.
    pub fn failure(&self, body: &[u8]) -> Failure {
        let said = said(&serde_json::from_slice(body).unwrap_or_default());
        let (error, again) = match self.status.as_u16() {
            401 => (
                Error::Config(format!(
                    "Stripe refuses the key in STRIPE_SECRET_KEY: {said} ({self})"
                )),
                false,
            ),
            403 => (
                Error::Config(format!(
                    "the key in STRIPE_SECRET_KEY lacks a permission: {said} ({self})"
                )),
                false,
            ),
            404 => (Error::Permanent(format!("Stripe has no such object: {said} ({self})")), false),
            409 | 429 | 500.. => {
                (Error::Temporary(format!("Stripe is busy or failing: {said} ({self})")), true)
            }
            300..=399 => (
                Error::Temporary(format!(
                    "Stripe's API redirects, which it never does; is FULFILLD_STRIPE_API right? ({self})"
                )),
                false,
            ),
            _ => (Error::Permanent(format!("Stripe refuses the request: {said} ({self})")), false),
        };
        Failure {
            error,
            again: self.should_retry.unwrap_or(again),
            busy: self.status == StatusCode::TOO_MANY_REQUESTS,
            forbidden: self.status == StatusCode::FORBIDDEN,
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if !self.rate_limited.is_empty() {
            write!(f, " {}", self.rate_limited)?;
        }
        if !self.request_id.is_empty() {
            write!(f, ", request {}", self.request_id)?;
        }
        Ok(())
    }
}

/// The sentence of Stripe's error. Stripe names keys only shortened; still nothing that looks like
/// one is passed on.
pub fn said(answer: &Value) -> String {
    let said = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let said = text::clean(said);
    said.split(' ')
        .filter(|w| !w.contains("_live_") && !w.contains("_test_"))
        .take(40)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do_next() {
        let failure = |status: u16, retry: Option<bool>| {
            let head = Head {
                status: StatusCode::from_u16(status).unwrap(),
                request_id: "req_1".into(),
                should_retry: retry,
                rate_limited: String::new(),
            };
            head.failure(
                br#"{"error":{"message":"Invalid API Key provided: sk_live_abc\u001b[31m"}}"#,
            )
        };
        for (status, again, kind) in [
            (401, false, 'c'),
            (403, false, 'c'),
            (404, false, 'p'),
            (400, false, 'p'),
            (409, true, 't'),
            (429, true, 't'),
            (500, true, 't'),
            (302, false, 't'),
        ] {
            let f = failure(status, None);
            let is = match f.error {
                Error::Config(_) => 'c',
                Error::Permanent(_) => 'p',
                _ => 't',
            };
            assert_eq!((f.again, is), (again, kind), "{status}");
            assert!(
                !f.error.to_string().contains("sk_live_abc")
                    && !f.error.to_string().contains('\u{1b}')
            );
        }
        assert!(!failure(500, Some(false)).again && failure(400, Some(true)).again);
    }
}
