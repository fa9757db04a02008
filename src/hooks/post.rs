//! A hook that is a URL: an HTTP POST signed by the Standard Webhooks scheme
//! (standardwebhooks.com).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::http::{HeaderMap, StatusCode};

use super::runs::Outcome;
use crate::clock::{self, Timestamp};
use crate::config::hooks::SignKey;
use crate::text;

/// The whole of one post, connecting included; below what stopping may take.
const POST_MAX: Duration = Duration::from_secs(15);

/// `Retry-After` is heeded between these.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(8 * 3600);

/// The largest head of an answer; its body is not read.
const HEAD_MAX: usize = 16 << 10;

/// Posts to whoever wants to be notified.
pub struct Post {
    plain: ureq::Agent,
    tls: ureq::Agent,
    secrets: Vec<SignKey>,
}

impl Post {
    /// Signs with each of these keys.
    pub fn new(secrets: Vec<SignKey>) -> Post {
        let agent = |https: bool| {
            ureq::Agent::config_builder()
                .timeout_global(Some(POST_MAX))
                .timeout_connect(Some(Duration::from_secs(5)))
                .timeout_resolve(Some(Duration::from_secs(5)))
                .http_status_as_error(false)
                // What is signed for one address is not carried to another.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .https_only(https)
                .proxy(if https { ureq::Proxy::try_from_env() } else { None })
                .max_idle_connections(0)
                .max_response_header_size(HEAD_MAX)
                .user_agent(concat!("fulfilld/", env!("CARGO_PKG_VERSION")))
                .build()
                .into()
        };
        Post { plain: agent(false), tls: agent(true), secrets }
    }

    /// Posts the notification. 2xx is done, 410 wants no more of it, everything else is tried
    /// again; a redirect is not followed.
    pub fn send(&self, url: &str, key: &str, json: &[u8]) -> Outcome {
        let now = clock::now();
        let agent = if url.starts_with("https://") { &self.tls } else { &self.plain };
        let answer = agent
            .post(url)
            .header("content-type", "application/json; charset=utf-8")
            .header("webhook-id", key)
            .header("webhook-timestamp", now.as_second().to_string())
            .header("webhook-signature", signature(&self.secrets, key, now.as_second(), json))
            .send(json);
        match answer {
            Ok(answer) => judged(answer.status(), answer.headers(), clock::now()),
            Err(ureq::Error::Timeout(_)) => {
                again(format!("no answer within {} s", POST_MAX.as_secs()), None)
            }
            Err(error) => again(format!("no answer: {}", text::clean(&error.to_string())), None),
        }
    }
}

fn judged(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    match status.as_u16() {
        200..=299 => Outcome::Done,
        410 => Outcome::Dead("answered 410, it wants to hear no more".into()),
        code @ 300..=399 => again(
            format!("answered {code}, a redirect, which is not followed; set the URL it leads to"),
            None,
        ),
        code @ (429 | 503) => again(format!("answered {code}"), retry_after(headers, now)),
        code => again(format!("answered {code}"), None),
    }
}

fn again(why: String, pause: Option<Duration>) -> Outcome {
    Outcome::Again { why, pause }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(at.as_second() - now.as_second()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).clamp(PAUSE_MIN, PAUSE_MAX))
}

/// `webhook-signature`: over `id.timestamp.body`, one `v1,<base64>` a secret.
fn signature(secrets: &[SignKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let sign = |secret: &SignKey| {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = SignKey(BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let body = br#"{"test": 2432232314}"#;
        let signed =
            signature(&[key.clone(), key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed, format!("{one} {one}"));
    }

    #[test]
    fn an_answer_says_whether_to_try_again_and_when() {
        let now: Timestamp = "2026-11-24T03:05:00Z".parse().unwrap();
        let answer = |code: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert("retry-after", after.parse().unwrap());
            }
            judged(StatusCode::from_u16(code).unwrap(), &headers, now)
        };
        let pause = |outcome: Outcome| match outcome {
            Outcome::Again { pause, .. } => pause.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer(204, None), Outcome::Done);
        assert!(matches!(answer(410, None), Outcome::Dead(_)));
        for (code, after, seconds) in [
            (500, Some("7"), None),
            (302, None, None),
            (429, None, None),
            (429, Some("7"), Some(7)),
            (503, Some("0"), Some(1)),
            (503, Some("999999999"), Some(28_800)),
            (503, Some("soon"), None),
            (503, Some("Tue, 24 Nov 2026 03:06:40 GMT"), Some(100)),
            (503, Some("Mon, 23 Nov 2026 03:06:40 GMT"), Some(1)),
        ] {
            assert_eq!(pause(answer(code, after)), seconds, "{code} {after:?}");
        }
    }
}
