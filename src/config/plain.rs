//! What the plain settings may be: numbers, addresses, URLs.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ureq::http::Uri;

use super::fault::{Fault, Read, Weight};

/// The base URL of the real Stripe.
pub const STRIPE: &str = "https://api.stripe.com";

/// Any text; `None` when it is empty.
pub fn optional(_: &'static str, text: &str) -> Read<Option<String>> {
    Read::good(Some(text.to_string()).filter(|text| !text.is_empty()))
}

/// A whole number.
pub fn number(name: &'static str, text: &str, range: RangeInclusive<u32>) -> Read<u32> {
    match text.parse() {
        Ok(n) if range.contains(&n) => Read::good(n),
        _ => Read::wrong(Fault::odd(format!(
            "{name}={text} is not a number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

/// 1 for yes and 0 for no.
pub fn switch(name: &'static str, text: &str) -> Read<bool> {
    number(name, text, 0..=1).map(|n| n == 1)
}

/// A whole number of seconds.
pub fn seconds(name: &'static str, text: &str, range: RangeInclusive<u32>) -> Read<Duration> {
    number(name, text, range).map(|n| Duration::from_secs(n.into()))
}

/// A whole number of days; 0 is no end.
pub fn days(name: &'static str, text: &str, range: RangeInclusive<u32>) -> Read<Option<Duration>> {
    number(name, text, range).map(|n| (n > 0).then(|| Duration::from_secs(u64::from(n) * 86_400)))
}

/// An IP address and a port.
pub fn address(name: &'static str, text: &str) -> Read<SocketAddr> {
    let odd = || Fault::odd(format!("{name}={text} is not an address and port"));
    text.parse().map_err(|_| odd()).into()
}

/// How much the log says.
pub fn level(name: &'static str, text: &str) -> Read<log::LevelFilter> {
    let odd = || format!("{name}={text} is not a level; use error, warn, info, debug or trace");
    text.parse().map_err(|_| Fault::odd(odd())).into()
}

/// The base URL of an API of Stripe's, without a slash at its end.
pub fn stripe_api(name: &'static str, text: &str) -> Read<String> {
    let url = text.trim_end_matches('/');
    let remedy = format!("remove {name}; only a sandbox needs it");
    let uri: Option<Uri> = url.parse().ok();
    let is_web = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let Some(uri) = uri.filter(|uri| is_web && uri.host().is_some()) else {
        let what = format!("{name}={text} is not a URL; Stripe's is {STRIPE}");
        return Read::wrong(Fault::fatal("stripe_api_odd", what, remedy));
    };
    let mut read = Read::good(url.to_string());
    if !uri.path().trim_matches('/').is_empty() {
        let what = format!("{name}={text} is not the base URL of an API; Stripe's is {STRIPE}");
        let why = "No request to Stripe can succeed there.";
        let fault = Fault::fatal("stripe_api_odd", what, remedy).because(why);
        read.faults.push(fault.of_weight(Weight::Problem));
    } else if url != STRIPE && !is_loopback(url) {
        let what = format!("{name}={text} is not Stripe");
        let why = "The key is sent to that address with every request.";
        let fault = Fault::fatal("stripe_api_elsewhere", what, remedy).because(why);
        read.faults.push(fault.of_weight(Weight::Advice));
    }
    read
}

/// Where Stripe posts to, where that is set.
pub fn public_url(name: &'static str, text: &str) -> Read<Option<String>> {
    let fault = |id: &str, weight, what: String, why, remedy: &str| Read {
        value: Some(Some(text.to_string()).filter(|text| !text.is_empty())),
        faults: vec![Fault::fatal(id, what, remedy).because(why).of_weight(weight)],
    };
    let uri: Option<Uri> = text.parse().ok();
    let is_web =
        |uri: &&Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    if text.is_empty() {
        return fault(
            "public_url_missing",
            Weight::Advice,
            format!("{name} is not set"),
            "doctor cannot test whether Stripe's posts reach this server, and finds the endpoint in \
             Stripe by its path alone.",
            "FULFILLD_PUBLIC_URL=https://shop.example.org/webhook with your name, in \
             /etc/fulfilld/fulfilld.env",
        );
    }
    if uri.as_ref().filter(is_web).is_none_or(|uri| uri.path() == "/") {
        return fault(
            "public_url_odd",
            Weight::Problem,
            format!("{name}={text} is not the URL that Stripe posts to"),
            "It has a path, /webhook unless the proxy calls it otherwise.",
            "FULFILLD_PUBLIC_URL=https://shop.example.org/webhook with your name",
        );
    }
    if !text.starts_with("https://") && !is_loopback(text) {
        return fault(
            "public_url_not_https",
            Weight::Problem,
            format!("{name}={text} is not https"),
            "Stripe posts live events over https only, and names and addresses would be sent \
             unencrypted.",
            "let the proxy terminate TLS (systemd/nginx.conf, systemd/Caddyfile), then \
             FULFILLD_PUBLIC_URL=https://…",
        );
    }
    Read::good(Some(text.into()))
}

/// True for a URL of this machine, which may do without TLS.
pub fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    uri.and_then(|uri| uri.host().map(String::from)).is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
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
