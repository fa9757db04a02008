//! Events, in Stripe's two shapes.

use serde_json::{Value, json};

use super::session::VERSION;
use crate::world::account::Event;
use crate::world::sale::Subject;

/// The version of an endpoint that was made in 2019.
const OLD_VERSION: &str = "2019-12-03";

impl Event {
    /// As the API gives it and a delivery carries it.
    pub fn object(&self) -> Value {
        match &self.twin {
            None => self.snapshot(),
            Some(twin) => self.thin(twin),
        }
    }

    /// The bytes that every delivery of it carries.
    pub fn body(&self) -> Vec<u8> {
        super::json::bytes(&self.object())
    }

    fn snapshot(&self) -> Value {
        let object = match self.subject {
            Subject::Session => self.sale.session(),
            Subject::PaymentIntent => self.sale.payment_intent(),
            Subject::Charge => self.sale.charge(),
            Subject::FollowUp(at) => self.sale.follow_up(at),
        };
        let old = self.sale.checkout.scenario == "old-api";
        json!({
            "id": self.id, "object": "event", "type": self.kind, "created": self.at.as_second(), "livemode": false,
            "api_version": if old { OLD_VERSION } else { VERSION }, "data": {"object": object}, "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
        })
    }

    fn thin(&self, twin: &str) -> Value {
        let checkout = &self.sale.checkout;
        let (id, (kind, path)) = match self.subject {
            Subject::Session => (checkout.id.clone(), ("checkout.session", "checkout/sessions")),
            Subject::PaymentIntent => (checkout.id_of("pi"), ("payment_intent", "payment_intents")),
            Subject::Charge => (checkout.id_of("ch"), ("charge", "charges")),
            Subject::FollowUp(at) => {
                (self.sale.follow_ups[at].id.clone(), self.sale.follow_ups[at].kind.words())
            }
        };
        json!({
            "id": self.id, "object": "v2.core.event", "type": self.kind(), "livemode": false,
            "created": self.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(), "snapshot_event": twin,
            "related_object": {"id": id, "type": kind, "url": format!("/v1/{path}/{id}")},
        })
    }
}
