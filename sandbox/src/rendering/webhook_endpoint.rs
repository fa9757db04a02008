//! Webhook endpoints as the first version of the API has them, and as the second does.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::session::VERSION;
use crate::world::checkout::SHOP_OPENED;
use crate::world::webhook_endpoints::{Shape, WebhookEndpoint};

impl WebhookEndpoint {
    /// A `webhook_endpoint` of the API's first version.
    pub fn object(&self) -> Value {
        json!({
            "id": self.id, "object": "webhook_endpoint", "api_version": self.api_version, "application": null,
            "created": SHOP_OPENED, "description": null, "enabled_events": self.events(), "livemode": self.livemode,
            "metadata": {}, "status": self.status, "url": self.url,
        })
    }

    /// A `v2.core.event_destination`; the URL is there when the request includes it.
    pub fn destination(&self, with_url: bool) -> Value {
        let version = self.api_version.as_deref().unwrap_or(VERSION);
        let at = rfc3339(SHOP_OPENED);
        json!({
            "id": self.id, "object": "v2.core.event_destination", "created": at, "description": "",
            "enabled_events": self.events(), "event_payload": self.payload, "events_from": ["self"],
            "livemode": self.livemode, "metadata": {}, "name": "the shop",
            "snapshot_api_version": (self.payload == Shape::Snapshot).then_some(version),
            "status": self.status, "status_details": null, "type": "webhook_endpoint", "updated": at,
            "webhook_endpoint": with_url.then(|| json!({"signing_secret": null, "url": self.url})),
        })
    }
}

/// Unix seconds as the second version of the API writes a time.
fn rfc3339(unix_s: i64) -> Option<String> {
    Some(Timestamp::from_second(unix_s).ok()?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
