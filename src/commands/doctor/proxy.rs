//! What the public URL leads to: one post that fulfilld refuses, and nobody else in its words. It
//! is signed as Stripe signs, so the refusal also says whether header and body arrive unchanged.

use std::time::Duration;

use ureq::tls::TlsConfig;

use super::daemon::Daemon;
use super::{Report, Shop};
use crate::clock;
use crate::config::{self, is_loopback};
use crate::signature::Refusal;
use crate::stripe::{self, Unreached};
use crate::text;
use crate::webhook::REFUSAL;

/// What Checkout waits, and more than a proxy needs.
const WITHIN: Duration = Duration::from_secs(10);

/// So much of an answer is read; fulfilld's is a line.
const ANSWER_MAX: u64 = 64 << 10;

/// As large as a large event, so that a proxy that keeps bodies in a file has to do so.
const BODY_LEN: usize = 60 << 10;

/// What is wrong with the public URL: an id, a sentence, and what fixes it.
type Wrong = (&'static str, String, String);

/// Posts once to the public URL and reports what does not lead to this fulfilld as it was sent.
pub fn check(shop: &Shop, report: &mut Report) {
    let Some(url) = config::PUBLIC_URL.set() else {
        return report.skip("not tried: FULFILLD_PUBLIC_URL is not set");
    };
    if ["file_hard_links", "file_log_foreign"].iter().any(|id| report.has(id)) {
        return report.skip("not tried: fulfilld ends by itself until the file is alone");
    }
    if report.has("public_url_") {
        return report.skip("not tried: fix FULFILLD_PUBLIC_URL first");
    }
    if shop.offline && !is_loopback(&url) {
        return report.skip("not tried (--offline)");
    }
    let before = shop.daemon.refusals();
    let probe = Probe::new();
    let mut answer = probe.post(&url, true);
    if let Err(Unreached::Tls(said)) = &answer {
        let name = url.split('/').nth(2).unwrap_or_default();
        found(
            report,
            (
                "public_url_tls",
                format!("{url} has no TLS that Stripe would accept: {said}"),
                format!(
                    "renew the certificate (certbot renew; Caddy does it by itself), with the \
                     whole chain and for {name}"
                ),
            ),
        );
        // What else is wrong is still seen.
        answer = probe.post(&url, false);
        if matches!(answer, Err(Unreached::Tls(_))) {
            return;
        }
    }
    // Without a fulfilld behind it, a proxy can only say so.
    let nobody_there =
        ["daemon_not_running", "daemon_silent", "daemon_waits"].iter().any(|id| report.has(id));
    let wrong = match answer {
        Ok(Answer { status: 400, said, .. }) if said.starts_with(REFUSAL) => {
            let after = Daemon::ask(&shop.daemon.listen, &shop.file).refusals();
            match before.zip(after).is_none_or(|(before, after)| after > before) {
                true => probe.arrived(&url, &said, shop),
                false => Some(another_fulfilld(&url, shop)),
            }
        }
        Ok(Answer { status: 502..=504, .. }) | Err(Unreached::Refused(_)) if nobody_there => {
            return report.skip("the proxy reaches nobody, because fulfilld does not run");
        }
        Ok(Answer { status: 403, is_challenge: false, .. }) => {
            return report.advice(
                "public_url_forbidden",
                format!("{url} forbids a post from here (403)"),
                "That is right where the proxy lets only Stripe's addresses in; a firewall for \
                 web pages turns Stripe away as well.",
                "Stripe's Dashboard, Workbench, Webhooks, the endpoint, Send test event: it must \
                 be answered 200",
            );
        }
        Ok(answer) => Some(somebody_else(&url, &answer, shop)),
        Err(unreached) => Some(nobody(&url, unreached)),
    };
    match wrong {
        Some(wrong) => found(report, wrong),
        None if report.has("public_url_tls") => {}
        None if probe.signature.is_none() => report.good(format!("{url} leads to this fulfilld")),
        None => report.good(format!(
            "{url} leads to this fulfilld, and hands on header and body as they came"
        )),
    }
}

fn found(report: &mut Report, (id, what, remedy): Wrong) {
    let why = "Stripe counts every answer but 2xx as failed, tries for three days, and disables \
               one that fails for long.";
    report.problem(id, what, why, remedy);
}

fn another_fulfilld(url: &str, shop: &Shop) -> Wrong {
    (
        "public_url_other_fulfilld",
        format!(
            "{url} leads to another fulfilld than the one that listens at {}",
            shop.daemon.listen
        ),
        "look at the port in the proxy's configuration, and at FULFILLD_LISTEN and fulfilld.socket"
            .into(),
    )
}

/// An answer that is not fulfilld's.
fn somebody_else(url: &str, answer: &Answer, shop: &Shop) -> Wrong {
    let Answer { status, said, is_challenge } = answer;
    let listen = &shop.daemon.listen;
    let forward = "let the proxy forward /webhook as systemd/nginx.conf and systemd/Caddyfile do; \
                   then reload it";
    match status {
        _ if *is_challenge => (
            "public_url_challenge",
            format!(
                "Cloudflare answers {url} with a challenge ({status}), which Stripe cannot solve"
            ),
            "Cloudflare's dashboard, Security, WAF, Custom rules: skip everything for the path \
             /webhook; or publish that name without the proxy (DNS only)"
                .into(),
        ),
        300..=399 => (
            "public_url_redirects",
            format!("{url} redirects ({status} to {said}), and Stripe follows no redirect"),
            "give Stripe and FULFILLD_PUBLIC_URL the URL that it leads to, or let the proxy \
             forward /webhook without a redirect"
                .into(),
        ),
        401 => (
            "public_url_password",
            format!("{url} asks for a password (401), and Stripe has none"),
            "leave the password out for /webhook (nginx: auth_basic off; in its location); \
             fulfilld verifies each post by its signature"
                .into(),
        ),
        404 => (
            "public_url_not_found",
            format!("{url} is not there (404)"),
            format!(
                "{forward}; where it does, another site answers for that name: nginx -T | grep -n \
                 server_name"
            ),
        ),
        413 => (
            "public_url_too_small",
            format!("{url} refuses a body of {} KB (413)", BODY_LEN >> 10),
            "let the proxy take 1 MB for /webhook (nginx: client_max_body_size 1m;)".into(),
        ),
        500 => (
            "public_url_fails",
            format!("the proxy at {url} fails by itself (500)"),
            "its log says why, often a directory for bodies that it cannot write, or a full disk: \
             sudo tail /var/log/nginx/error.log; journalctl -u caddy -e"
                .into(),
        ),
        502..=504 => (
            "public_url_bad_gateway",
            format!("the proxy at {url} does not reach fulfilld at {listen} ({status})"),
            format!(
                "the proxy has to forward to {listen}: grep -rn proxy_pass /etc/nginx; grep -n \
                 reverse_proxy /etc/caddy/Caddyfile"
            ),
        ),
        _ => (
            "public_url_someone_else",
            format!(
                "something else answers at {url}: {status} to a post that fulfilld answers 400"
            ),
            format!(
                "{forward}; where it does, another site answers for that name: nginx -T | grep -n \
                 server_name"
            ),
        ),
    }
}

fn nobody(url: &str, unreached: Unreached) -> Wrong {
    match unreached {
        Unreached::NoSuchHost(_) => (
            "public_url_no_host",
            format!("the name in {url} cannot be resolved"),
            "make the DNS record (A) of that name point to this server, or correct \
             FULFILLD_PUBLIC_URL"
                .into(),
        ),
        Unreached::TimedOut(_) => (
            "public_url_silent",
            format!("{url} does not answer within {} s", WITHIN.as_secs()),
            format!(
                "let the firewall pass port 443 to the proxy; where only this server cannot \
                 reach itself (NAT): {}",
                curl(url)
            ),
        ),
        Unreached::Refused(said) | Unreached::Garbage(said) | Unreached::Tls(said) => (
            "public_url_refused",
            format!("{url} does not take a post: {said}"),
            format!(
                "start the proxy (nginx, caddy) and let the firewall pass port 443; where only \
                 this server cannot reach itself (NAT): {}",
                curl(url)
            ),
        ),
    }
}

/// The same post, to be made from another machine.
fn curl(url: &str) -> String {
    format!("curl -si -d '{{}}' {url} from elsewhere says 400 {REFUSAL}…")
}

/// Who answered, as far as it matters here.
struct Answer {
    status: u16,
    /// The text; of a redirect where it leads to.
    said: String,
    /// It is a test for people in a browser.
    is_challenge: bool,
}

/// A post that is no event: fulfilld refuses it, and stores nothing.
struct Probe {
    body: String,
    /// `None` where this user cannot read the secrets.
    signature: Option<String>,
}

impl Probe {
    fn new() -> Probe {
        // Each of these is written in another way by a program that reads JSON and writes it again.
        let mut body = String::from("{\r\n  \"from\": \"fulfilld doctor\", \"a\": 1.0, ");
        body += "\"b\": \"é \\u00e9 \\/ <&>\",\n\t\"a\": 1.00, \"padding\": \"";
        body += &"0".repeat(BODY_LEN.saturating_sub(body.len()));
        body += "\"  }\n";
        let secrets = config::WEBHOOK_SECRET.read().value.filter(|secrets| !secrets.is_empty());
        let signature = secrets.map(|secrets| {
            let t = clock::now().as_second().to_string();
            let each =
                secrets.iter().map(|secret| format!(",v1={}", secret.v1(&t, body.as_bytes())));
            format!("t={t}{}", each.collect::<String>())
        });
        Probe { body, signature }
    }

    /// What fulfilld's refusal says of the way there; `None` when it got what was sent.
    fn arrived(&self, url: &str, said: &str, shop: &Shop) -> Option<Wrong> {
        self.signature.as_ref()?;
        let refused_for =
            |said: &str, why: &[Refusal]| why.iter().any(|why| said == format!("{REFUSAL}{why}"));
        let header = [Refusal::Missing, Refusal::NoTimestamp, Refusal::NoSignature];
        if refused_for(said, &header) {
            return Some((
                "public_url_header_lost",
                format!("{url} leads to this fulfilld, and the proxy removes the header Stripe-Signature"),
                "let the proxy hand on every header: grep -rnEi 'stripe-signature|pass_request_headers' \
                 /etc/nginx /etc/caddy; then reload it"
                    .into(),
            ));
        }
        if !refused_for(said, &[Refusal::NoMatch]) {
            return None;
        }
        let listen = &shop.daemon.listen;
        let direct = self.post(&format!("http://{listen}/webhook"), true).ok()?;
        if refused_for(&direct.said, &[Refusal::NoMatch]) {
            return Some((
                "daemon_other_secret",
                format!(
                    "the fulfilld at {listen} has another signing secret than WEBHOOK_SECRET here"
                ),
                "sudo systemctl restart fulfilld reads it again".into(),
            ));
        }
        Some((
            "public_url_body_changed",
            format!("{url} leads to this fulfilld, and the proxy changes the body on the way"),
            "let the proxy hand on the bytes as they came: no rewriting, no WAF or filter on \
             /webhook, no program between the two"
                .into(),
        ))
    }

    fn post(&self, url: &str, verified: bool) -> std::result::Result<Answer, Unreached> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().disable_verification(!verified).build())
            .user_agent(concat!("fulfilld/", env!("CARGO_PKG_VERSION"), " doctor"));
        let mut request = stripe::agent(config.build())
            .post(url)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("Connection", "close");
        if let Some(signature) = &self.signature {
            request = request.header("Stripe-Signature", signature);
        }
        let mut answer = request.send(self.body.as_str()).map_err(|e| Unreached::of(&e))?;
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let is_challenge = header("cf-mitigated") == Some("challenge");
        if (300..400).contains(&status) {
            let said = text::clean(header("Location").unwrap_or("nowhere"));
            return Ok(Answer { status, said, is_challenge });
        }
        let body =
            answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().unwrap_or_default();
        let said = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, said, is_challenge })
    }
}
