//! The shop's webhook endpoints as Stripe lists them, in either of its two lists.

use serde_json::Value;
use ureq::http::Uri;

/// One endpoint of either of Stripe's two lists.
pub struct Endpoint {
    pub id: String,
    pub url: String,
    pub enabled: bool,
    /// Without the thin shape's `v1.`.
    pub events: Vec<String>,
    pub thin: bool,
    pub version: Option<String>,
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
    pub fn is_at(&self, url: Option<&str>) -> bool {
        url.map_or(place(&self.url).1 == "/webhook", |url| place(url) == place(&self.url))
    }

    /// True when events of this type are posted to it.
    pub fn sends(&self, kind: &str) -> bool {
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
pub type Read = fn(&Value) -> Endpoint;

/// Stripe's two lists; the second shows a URL only when asked to.
pub const LISTS: &[(&str, Read)] = &[
    ("/v1/webhook_endpoints?limit=100", Endpoint::snapshot),
    (
        "/v2/core/event_destinations?limit=100&include[0]=webhook_endpoint.url",
        Endpoint::destination,
    ),
];

/// Adds the endpoints of one of the lists; one that stands in both is one.
pub fn add(all: &mut Vec<Endpoint>, read: Read, list: &Value) {
    for new in list["data"].as_array().into_iter().flatten().map(read) {
        if !all.iter().any(|old| same(old, &new)) {
            all.push(new);
        }
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
