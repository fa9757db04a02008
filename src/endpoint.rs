//! The shop's webhook endpoints as Stripe lists them, and what keeps events from being posted.

use serde_json::Value;
use ureq::http::Uri;

use crate::stripe::Looked;

/// One endpoint of either of Stripe's two lists.
pub struct Endpoint {
    /// Stripe's id.
    pub id: String,
    /// Where Stripe posts to.
    pub url: String,
    /// False when it was disabled, by a person or by Stripe.
    pub enabled: bool,
    /// Without the thin shape's `v1.`.
    pub events: Vec<String>,
    /// It sends thin events, not snapshots.
    pub thin: bool,
    /// Its API version; `None` for the account's default.
    pub version: Option<String>,
    /// Real money or not, where Stripe says so.
    pub livemode: Option<bool>,
}

impl Endpoint {
    /// Of `/v1/webhook_endpoints`.
    fn snapshot(row: &Value) -> Endpoint {
        Endpoint {
            id: text(row, "/id"),
            url: text(row, "/url"),
            enabled: text(row, "/status") != "disabled",
            events: events(row),
            thin: false,
            version: row["api_version"].as_str().map(String::from),
            livemode: row["livemode"].as_bool(),
        }
    }

    /// Of `/v2/core/event_destinations`.
    fn destination(row: &Value) -> Endpoint {
        Endpoint {
            url: text(row, "/webhook_endpoint/url"),
            thin: text(row, "/event_payload") == "thin",
            version: row["snapshot_api_version"].as_str().map(String::from),
            ..Endpoint::snapshot(row)
        }
    }

    /// True for the endpoint of this URL; without one, for any that ends as ours does.
    fn is_at(&self, url: Option<&str>) -> bool {
        url.map_or(place(&self.url).1 == "/webhook", |url| place(url) == place(&self.url))
    }

    /// True when events of this type are posted to it.
    fn sends(&self, kind: &str) -> bool {
        self.events.iter().any(|name| name == "*" || name == kind)
    }
}

fn text(row: &Value, field: &str) -> String {
    row.pointer(field).and_then(Value::as_str).unwrap_or_default().into()
}

fn events(row: &Value) -> Vec<String> {
    let names = row["enabled_events"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| name.trim_start_matches("v1.").to_string()).collect()
}

/// Reads a row of a list.
type Read = fn(&Value) -> Endpoint;

/// Stripe's two lists; the second shows a URL only on request.
const LISTS: &[(&str, Read)] = &[
    ("/v1/webhook_endpoints?limit=100", Endpoint::snapshot),
    (
        "/v2/core/event_destinations?limit=100&include[0]=webhook_endpoint.url",
        Endpoint::destination,
    ),
];

/// What Stripe lists, an endpoint that stands in both lists once.
pub struct Endpoints {
    /// Those that post to the shop's URL.
    pub ours: Vec<Endpoint>,
    /// Endpoints with another URL.
    pub others: Vec<Endpoint>,
    /// What Stripe answered instead of one of the lists: others may exist.
    hidden: Option<Looked>,
}

/// Why events of some types are not posted.
pub enum Trouble<'a> {
    /// Stripe does not show this key all of its endpoints, and none of those shown is the shop's.
    NotShown(&'a Looked),
    Missing,
    /// All of the shop's are; this is the first.
    Disabled(&'a Endpoint),
    /// None that is enabled sends these types.
    DoesNotSend(Vec<&'a str>),
}

impl Endpoints {
    /// Asks for both lists. `url` is where Stripe posts to; without it any endpoint is the shop's
    /// whose path is ours. An error of `look`, which sends one request, ends it.
    pub fn list<E>(
        url: Option<&str>,
        mut look: impl FnMut(&str) -> Result<Looked, E>,
    ) -> Result<Endpoints, E> {
        let (mut all, mut hidden): (Vec<Endpoint>, _) = (Vec::new(), None);
        for (path, read) in LISTS {
            let answer = look(path)?;
            if answer.status != 200 {
                hidden = Some(answer);
                continue;
            }
            for new in answer.value["data"].as_array().into_iter().flatten().map(read) {
                if !all.iter().any(|old| same(old, &new)) {
                    all.push(new);
                }
            }
        }
        let (ours, others) = all.into_iter().partition(|endpoint| endpoint.is_at(url));
        Ok(Endpoints { ours, others, hidden })
    }

    /// Those of the shop's that are enabled.
    pub fn enabled(&self) -> Vec<&Endpoint> {
        self.ours.iter().filter(|endpoint| endpoint.enabled).collect()
    }

    /// Those of these types that no enabled endpoint of the shop's sends.
    pub fn unsent<'a>(&self, kinds: &[&'a str]) -> Vec<&'a str> {
        let enabled = self.enabled();
        kinds.iter().copied().filter(|kind| !enabled.iter().any(|e| e.sends(kind))).collect()
    }

    /// Why events of these types are not posted, as far as Stripe shows it; `None` where its
    /// endpoints are as they should be.
    pub fn trouble<'a>(&'a self, kinds: &[&'a str]) -> Option<Trouble<'a>> {
        match (self.ours.first(), &self.hidden) {
            (None, Some(answer)) => return Some(Trouble::NotShown(answer)),
            (None, None) => return Some(Trouble::Missing),
            (Some(first), _) if self.enabled().is_empty() => return Some(Trouble::Disabled(first)),
            _ => {}
        }
        let unsent = self.unsent(kinds);
        (!unsent.is_empty()).then_some(Trouble::DoesNotSend(unsent))
    }
}

/// One endpoint in both lists: by its id, or the same snapshots to the same URL under an id of each
/// list's own.
fn same(old: &Endpoint, new: &Endpoint) -> bool {
    let other_list = old.id.starts_with("we_") != new.id.starts_with("we_");
    old.id == new.id || other_list && old.url == new.url && old.thin == new.thin
}

/// Host and path of a URL as they are compared: the path with or without a slash at its end is one.
fn place(url: &str) -> (String, String) {
    let uri: Option<Uri> = url.parse().ok();
    let uri = uri.unwrap_or_default();
    let port = match uri.port_u16() {
        None | Some(443 | 80) => String::new(),
        Some(port) => format!(":{port}"),
    };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    (host + &port, uri.path().trim_end_matches('/').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_however_its_url_is_spelt() {
        let one = place("https://Shop.example.org/webhook");
        for same in ["https://shop.example.org:443/webhook/", "http://shop.example.org/webhook"] {
            assert_eq!(place(same), one, "{same}");
        }
        for other in [
            "https://shop.example.org/stripe",
            "https://example.org/webhook",
            "https://shop.example.org:8443/webhook",
            "",
        ] {
            assert_ne!(place(other), one, "{other}");
        }
    }
}
