//! What the public URL leads to: one post without a signature, which fulfilld refuses, and nobody
//! else in its words.

use std::time::Duration;

use super::daemon::Daemon;
use super::{Report, Shop};
use crate::config::{self, is_loopback};
use crate::stripe::{self, Unreached};
use crate::text;
use crate::webhook::REFUSAL;

/// What Checkout waits, and more than a proxy needs.
const WITHIN: Duration = Duration::from_secs(10);

/// So much of an answer is read; fulfilld's is a line.
const ANSWER_MAX: u64 = 64 << 10;

/// Posts once, unsigned, to the public URL and reports what does not lead to this fulfilld.
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
    let refused_before = shop.daemon.unsigned();
    let answer = post(&url);
    // Without a fulfilld behind it, a proxy can only say so.
    let nobody_there =
        ["daemon_not_running", "daemon_silent", "daemon_waits"].iter().any(|id| report.has(id));
    let why = "Stripe counts every answer but 2xx as failed, tries for three days, and disables \
               one that fails for long.";
    let (id, what, remedy) = match answer {
        Ok((400, said)) if said.starts_with(REFUSAL) => {
            let ours = refused_before.zip(Daemon::ask(&shop.daemon.listen, &shop.file).unsigned());
            if ours.is_none_or(|(before, after)| after > before) {
                return report.good(format!("{url} leads to this fulfilld"));
            }
            (
                "public_url_other_fulfilld",
                format!("{url} leads to another fulfilld than the one that listens at {}", shop.daemon.listen),
                "look at the port in the proxy's configuration, and at FULFILLD_LISTEN and fulfilld.socket".to_string(),
            )
        }
        Ok((status @ 300..=399, to)) => (
            "public_url_redirects",
            format!("{url} redirects ({status} to {to}), and Stripe follows no redirect"),
            "give Stripe and FULFILLD_PUBLIC_URL the URL that it leads to, or let the proxy \
             forward /webhook without a redirect".into(),
        ),
        Ok((404, _)) => (
            "public_url_not_found",
            format!("{url} is not there (404)"),
            "let the proxy forward /webhook as systemd/nginx.conf and systemd/Caddyfile do; then reload it".into(),
        ),
        Ok((502..=504, _)) | Err(Unreached::Refused(_)) if nobody_there => {
            return report.skip("the proxy reaches nobody, because fulfilld does not run");
        }
        Ok((status @ 502..=504, _)) => (
            "public_url_bad_gateway",
            format!("the proxy at {url} does not reach fulfilld ({status})"),
            format!("the proxy has to forward to {}; look at its log", shop.daemon.listen),
        ),
        Ok((401 | 403, _)) => {
            return report.advice(
                "public_url_forbidden",
                format!("{url} forbids a post from here (401 or 403)"),
                "That is right where the proxy lets only Stripe's addresses in; with a password or \
                 a challenge in front, Stripe is turned away as well.",
                "Stripe's Dashboard, Workbench, Webhooks, the endpoint, Send test event: it must be answered 200",
            );
        }
        Ok((status, _)) => (
            "public_url_someone_else",
            format!("something else answers at {url}: {status} to a post without a signature, \
                     which fulfilld answers 400"),
            "let the proxy forward /webhook as systemd/nginx.conf and systemd/Caddyfile do; then reload it".into(),
        ),
        Err(Unreached::NoSuchHost(_)) => (
            "public_url_no_host",
            format!("the name in {url} cannot be resolved"),
            "make the DNS record (A, AAAA) of that name point to this server, or correct FULFILLD_PUBLIC_URL".into(),
        ),
        Err(Unreached::Tls(said)) => (
            "public_url_tls",
            format!("{url} has no TLS that Stripe would accept: {said}"),
            "renew the certificate (certbot renew; Caddy does it by itself), with the whole chain \
             and for that name".into(),
        ),
        Err(Unreached::TimedOut(_)) => (
            "public_url_silent",
            format!("{url} does not answer within {} s", WITHIN.as_secs()),
            format!("let the firewall pass port 443 to the proxy; where only this server cannot \
                     reach itself (NAT): {}", curl(&url)),
        ),
        Err(Unreached::Refused(said) | Unreached::Garbage(said)) => (
            "public_url_refused",
            format!("{url} does not take a post: {said}"),
            format!("start the proxy (nginx, caddy) and let the firewall pass port 443; where only \
                     this server cannot reach itself (NAT): {}", curl(&url)),
        ),
    };
    report.problem(id, what, why, remedy);
}

/// The same post, to be made from another machine.
fn curl(url: &str) -> String {
    format!("curl -si -d '{{}}' {url} from elsewhere says 400 {REFUSAL}…")
}

/// The status and the text of the answer; of a redirect where it leads to.
fn post(url: &str) -> std::result::Result<(u16, String), Unreached> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(WITHIN))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("fulfilld/", env!("CARGO_PKG_VERSION"), " doctor"));
    let request = stripe::agent(config.build())
        .post(url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Connection", "close");
    let mut answer = request.send("{}").map_err(|e| Unreached::of(&e))?;
    let status = answer.status().as_u16();
    if (300..400).contains(&status) {
        let to =
            answer.headers().get("Location").and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return Ok((status, text::clean(to)));
    }
    let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec().unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
