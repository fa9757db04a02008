//! What is set, by whom, and whether it can be used. One broken setting does not hide the next.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use ureq::http::Uri;

use super::{Report, Shop};
use crate::access;
use crate::config::{self, SETTINGS, Setting, StripeAccess};
use crate::env::{ETC_VARIABLE, Variables};
use crate::text;

/// The base URL of the real Stripe.
const STRIPE: &str = "https://api.stripe.com";

/// Where the signing secret of an endpoint is.
const REVEAL: &str = "Stripe's Dashboard, Workbench, Webhooks, the endpoint, Signing secret: copy the whsec_… into WEBHOOK_SECRET";

/// Where keys are made.
const MAKE_KEY: &str = "Stripe's Dashboard, Developers, API keys, Create restricted key; the permissions are in docs/operations.md";

/// The settings that count.
pub struct Settings(pub &'static Variables);

/// The text of a secret and the file that it is in; a variable has none.
pub struct SecretText {
    pub file: Option<PathBuf>,
    /// Or why it could not be read.
    pub text: std::result::Result<String, String>,
}

impl Settings {
    /// A setting's value, or what holds without it.
    pub fn get(&self, name: &str) -> String {
        self.set(name).unwrap_or_else(|| Setting::named(name).default.into())
    }

    /// What it is set to; a blank is nothing.
    pub fn set(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.trim().to_string()).filter(|value| !value.is_empty())
    }

    /// A secret as `fulfilld serve` would find it; `None` when it is nowhere.
    pub fn secret(&self, name: &str) -> Option<SecretText> {
        match self.0.secret_file(name) {
            Some(file) => {
                let text = std::fs::read_to_string(&file).map_err(|e| access::why_not(&file, &e));
                Some(SecretText { file: Some(file), text })
            }
            None => self.0.get(name).map(|text| SecretText { file: None, text: Ok(text) }),
        }
    }
}

/// Everything that can be seen without asking anybody.
pub fn check(shop: &Shop, report: &mut Report) {
    if let Some(why) = &shop.settings.0.unreadable {
        return unreadable(why, report);
    }
    plain_settings(&shop.settings, report);
    public_url(&shop.settings, report);
    webhook_secret(&shop.settings, report);
    key(&shop.settings, report);
}

fn unreadable(why: &str, report: &mut Report) {
    report.problem(
        "settings_unreadable",
        format!("the service's settings cannot be read: {why}"),
        "Neither they nor the secrets can be checked; what follows assumes the defaults.",
        "sudo fulfilld doctor",
    );
}

fn plain_settings(settings: &Settings, report: &mut Report) {
    let before = report.lines.len();
    let mut odd = |why: String, remedy: &str| {
        report.problem("setting_odd", why, "fulfilld does not start with it.", remedy);
    };
    let remove =
        "correct it, or remove the line: what holds without it is in `fulfilld serve --help`";
    for setting in SETTINGS {
        if let Err(why) = setting.check(&settings.get(setting.name)) {
            odd(why.to_string(), remove);
        }
    }
    let listen = settings.get("FULFILLD_LISTEN");
    let is_public = listen.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback());
    if is_public && settings.get("FULFILLD_ALLOW_PUBLIC_LISTEN") != "1" {
        odd(
            format!("FULFILLD_LISTEN={listen} can be reached from outside, which is refused"),
            "FULFILLD_LISTEN=127.0.0.1:4242, with the proxy in front (systemd/nginx.conf, systemd/Caddyfile)",
        );
    }
    stripe_api(settings, report);
    for name in settings.0.names().filter(|name| name.starts_with("FULFILLD_")) {
        let known =
            SETTINGS.iter().any(|s| s.name == name || name.strip_suffix("_FILE") == Some(s.name));
        if !known && ![ETC_VARIABLE, "FULFILLD_SABOTAGE"].contains(&name) {
            report.advice(
                "setting_unknown",
                format!("{name} is not a setting of fulfilld"),
                "fulfilld does not read it; perhaps another name was meant.",
                "fulfilld serve --help lists them all",
            );
        }
    }
    if report.lines.len() == before {
        report.good("every setting is valid");
    }
}

fn stripe_api(settings: &Settings, report: &mut Report) {
    let url = settings.get("FULFILLD_STRIPE_API");
    let why = "The key is sent to that address with every request.";
    let remedy = "remove FULFILLD_STRIPE_API; only a sandbox needs it";
    let uri: Option<Uri> = url.parse().ok();
    let usable = StripeAccess::new("rk_test_any", &url, 1.0).is_ok()
        && uri.as_ref().is_some_and(|u| u.host().is_some());
    let path = uri.as_ref().map_or("", Uri::path).trim_matches('/');
    let rate = settings.get("FULFILLD_STRIPE_RATE").parse().unwrap_or(1.0);
    if let (true, Err(why)) = (usable, StripeAccess::new("rk_test_any", &url, rate)) {
        report.problem(
            "setting_odd",
            why.to_string(),
            "fulfilld does not start with it.",
            "remove FULFILLD_STRIPE_RATE",
        );
    }
    if !usable || !path.is_empty() {
        let what = format!(
            "FULFILLD_STRIPE_API={url} is not the base URL of an API; Stripe's is {STRIPE}"
        );
        return report.problem(
            "stripe_api_odd",
            what,
            "No request to Stripe can succeed there.",
            remedy,
        );
    }
    let live = settings.get_key().is_some_and(|key| config::key_mode(&key).is_ok_and(|live| live));
    if live && url.starts_with("http://") {
        let what = format!("FULFILLD_STRIPE_API={url} is not https, and the key is a live one");
        return report.problem(
            "stripe_api_odd",
            what,
            "fulfilld does not start: the key would be sent unencrypted.",
            remedy,
        );
    }
    if url.trim_end_matches('/') != STRIPE && !is_loopback(&url) {
        report.advice(
            "stripe_api_elsewhere",
            format!("FULFILLD_STRIPE_API={url} is not Stripe"),
            why,
            remedy,
        );
    }
}

fn public_url(settings: &Settings, report: &mut Report) {
    let Some(url) = settings.set("FULFILLD_PUBLIC_URL") else {
        return report.advice(
            "public_url_missing",
            "FULFILLD_PUBLIC_URL is not set",
            "doctor cannot test whether Stripe's posts reach this server, and finds the endpoint in Stripe by its path alone.",
            "FULFILLD_PUBLIC_URL=https://shop.example.org/webhook with your name, in /etc/fulfilld/fulfilld.env",
        );
    };
    let uri: Option<Uri> = url.parse().ok();
    let web =
        |uri: &&Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    if uri.as_ref().filter(web).is_none_or(|uri| uri.path() == "/") {
        return report.problem(
            "public_url_odd",
            format!("FULFILLD_PUBLIC_URL={url} is not the URL that Stripe posts to"),
            "It has a path, /webhook unless the proxy calls it otherwise.",
            "FULFILLD_PUBLIC_URL=https://shop.example.org/webhook with your name",
        );
    }
    if !url.starts_with("https://") && !is_loopback(&url) {
        report.problem(
            "public_url_not_https",
            format!("FULFILLD_PUBLIC_URL={url} is not https"),
            "Stripe posts live events over https only, and names and addresses would be sent unencrypted.",
            "let the proxy terminate TLS (systemd/nginx.conf, systemd/Caddyfile), then FULFILLD_PUBLIC_URL=https://…",
        );
    }
}

/// True for a URL of this machine, which may do without TLS.
pub fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    uri.and_then(|uri| uri.host().map(String::from)).is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// What can be wrong with a secret whatever it is; its text when it can be looked at.
fn secret(
    settings: &Settings,
    name: &str,
    id: &str,
    report: &mut Report,
    remedy: &str,
) -> Option<String> {
    let Some(found) = settings.secret(name) else {
        report.problem(
            format!("{id}_missing"),
            format!("{name} is not set"),
            "fulfilld does not start without it.",
            remedy,
        );
        return None;
    };
    let shown =
        found.file.as_ref().map(|file| file.display().to_string()).unwrap_or_else(|| name.into());
    let text = match found.text {
        Ok(text) => text,
        Err(why) => {
            report.problem(
                format!("{id}_unreadable"),
                format!("{name}: {shown} cannot be read: {why}"),
                "It cannot be checked; if the service cannot read it either, fulfilld does not start.",
                "sudo fulfilld doctor; if the file is missing, create it",
            );
            return None;
        }
    };
    let mode = found
        .file
        .and_then(|file| std::fs::metadata(file).ok())
        .map_or(0, |meta| meta.permissions().mode());
    if mode & 0o007 != 0 {
        report.problem(
            format!("{id}_readable"),
            format!(
                "{name}: {shown} can be read by every user of this server (mode {:04o})",
                mode & 0o7777
            ),
            "Who can read it can forge events or read your sales; fulfilld does not start with it.",
            format!("chmod 600 {}", text::shell_word(&shown.to_string())),
        );
    }
    if text.trim().is_empty() {
        report.problem(
            format!("{id}_blank"),
            format!("{name}: {shown} is blank"),
            "fulfilld does not start without it.",
            remedy,
        );
        return None;
    }
    Some(text)
}

fn webhook_secret(settings: &Settings, report: &mut Report) {
    let before = report.lines.len();
    let Some(text) = secret(settings, "WEBHOOK_SECRET", "webhook_secret", report, REVEAL) else {
        return;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for (n, line) in lines.iter().enumerate() {
        let at = format!("WEBHOOK_SECRET, line {}:", n + 1);
        let none = "No event can be verified with it, and fulfilld does not start.";
        let mut wrong = |kind: &str, what: &str, remedy: &str| {
            report.problem(format!("webhook_secret_{kind}"), format!("{at} {what}"), none, remedy);
        };
        match *line {
            _ if line.starts_with("we_") || line.starts_with("ed_") => {
                wrong("is_endpoint_id", "this is the endpoint's id, not its signing secret", REVEAL);
            }
            _ if line.starts_with("sk_") || line.starts_with("rk_") => {
                wrong("is_api_key", "this is an API key, which belongs in STRIPE_SECRET_KEY", REVEAL);
            }
            _ if config::parse_signing_secrets(line).is_err() => {
                wrong("malformed", "this is not a signing secret, which begins with whsec_", REVEAL);
            }
            _ if lines[..n].contains(line) => report.advice(
                "webhook_secret_twice",
                format!("{at} the same secret stands above"),
                "While a secret is rolled, the new one and the old one are both listed; here one of them is missing.",
                "remove the line, or put the other secret there",
            ),
            _ => {}
        }
    }
    if report.lines.len() == before {
        let n = lines.len();
        report.good(format!("WEBHOOK_SECRET: {n} signing secret{}", if n == 1 { "" } else { "s" }));
    }
}

impl Settings {
    /// The key's text, where there is one to be read.
    pub fn get_key(&self) -> Option<String> {
        let text = self.secret("STRIPE_SECRET_KEY")?.text.ok()?;
        Some(text.trim().to_string()).filter(|key| !key.is_empty())
    }
}

fn key(settings: &Settings, report: &mut Report) {
    let before = report.lines.len();
    let Some(text) = secret(settings, "STRIPE_SECRET_KEY", "key", report, MAKE_KEY) else { return };
    let key = text.trim();
    let none = "Stripe refuses it, and fulfilld does not start.";
    match config::key_mode(key) {
        Err(_) if key.starts_with("pk_") => {
            let what = "STRIPE_SECRET_KEY holds a publishable key (pk_…), which is for web pages";
            report.problem("key_publishable", what, none, MAKE_KEY);
        }
        Err(_) if key.starts_with("whsec_") => {
            let what = "STRIPE_SECRET_KEY holds a signing secret (whsec_…), which belongs in WEBHOOK_SECRET";
            report.problem("key_is_signing_secret", what, none, MAKE_KEY);
        }
        Err(_) => {
            let what = "STRIPE_SECRET_KEY is not an API key, which begins with rk_live_, rk_test_, sk_live_ or sk_test_";
            report.problem("key_malformed", what, none, MAKE_KEY);
        }
        Ok(_) if key.starts_with("sk_") => report.advice(
            "key_full_access",
            "STRIPE_SECRET_KEY is a full key (sk_…)",
            "Whoever gets hold of it can refund and pay out; fulfilld only reads.",
            MAKE_KEY,
        ),
        Ok(_) => {}
    }
    if report.lines.len() == before {
        let mode = if config::key_mode(key).unwrap_or(false) { "live" } else { "test" };
        report.good(format!("STRIPE_SECRET_KEY: a restricted {mode} key"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_and_nothing_else() {
        for url in
            ["http://127.0.0.1:1/webhook", "http://localhost/webhook", "http://[::1]:1/webhook"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in
            ["http://shop.example.org/webhook", "http://127.0.0.1.example.org/", "/webhook", ""]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
