//! What the simulated account keeps: checkouts and events, in the order they were made, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Shape;
use super::checkout::{Checkout, random_id};
use super::json;
use super::objects::{OLD_VERSION, Sale, VERSION};
use super::scenarios::{Scenario, Stage};
use crate::clock::Timestamp;

#[derive(Default)]
pub struct Account {
    pub sales: Vec<Sale>,
    pub events: Vec<Event>,
    index: HashMap<String, Found>,
}

/// What an id stands for, by its place in the account.
#[derive(Clone, Copy)]
pub enum Found {
    Session(usize),
    PaymentIntent(usize),
    Charge(usize),
    /// Of a sale, and a line of it.
    Price(usize, usize),
    Product(usize, usize),
    Event(usize),
}

/// Something that Stripe tells: in one of its shapes, about a sale as it stood then.
#[derive(Clone)]
pub struct Event {
    pub id: String,
    /// Without the thin shape's `v1.`.
    kind: &'static str,
    /// The thin shape's snapshot event; `None` in the snapshot shape.
    twin: Option<String>,
    pub at: Timestamp,
    pub sale: Sale,
    /// The endpoint is to have it; not so a snapshot where it wants the thin shape.
    pub wanted: bool,
    /// Answers of 2xx, and the statuses of all; 0 is no answer.
    pub delivered: usize,
    pub answers: Vec<u16>,
}

impl Account {
    /// Opens the next checkout and says where it is.
    pub fn sell(&mut self, scenario: &'static Scenario, now: Timestamp) -> usize {
        let at = self.sales.len();
        let checkout = Arc::new(Checkout::new(scenario, at, now.as_second()));
        self.index.insert(checkout.id.clone(), Found::Session(at));
        let moved = [
            checkout.payment_intent().zip(Some(Found::PaymentIntent(at))),
            checkout.charge().zip(Some(Found::Charge(at))),
        ];
        self.index.extend(moved.into_iter().flatten());
        for (n, line) in checkout.lines.iter().enumerate() {
            self.index.entry(line.product_id()).or_insert(Found::Product(at, n));
            self.index.entry(checkout.price_id(line)).or_insert(Found::Price(at, n));
        }
        self.sales.push(Sale { checkout, stage: Stage::Unpaid });
        at
    }

    /// Makes the event that tells how a sale stands now. Returns the places of those that are for the endpoint: one, or
    /// with both shapes two.
    pub fn tell(&mut self, sale: usize, kind: &'static str, shape: Shape, now: Timestamp) -> Vec<usize> {
        let snapshot = random_id("evt_1", 23);
        let mut make = |id: String, twin: Option<String>, wanted: bool| {
            let at = self.events.len();
            self.index.insert(id.clone(), Found::Event(at));
            let sale = self.sales[sale].clone();
            self.events.push(Event { id, kind, twin, at: now, sale, wanted, delivered: 0, answers: Vec::new() });
            at
        };
        // The snapshot is always made, and listed, whichever shape the endpoint wants.
        let first = make(snapshot.clone(), None, shape != Shape::Thin);
        match shape {
            Shape::Snapshot => vec![first],
            Shape::Thin => vec![make(random_id("evt_test_65", 42), Some(snapshot), true)],
            Shape::Both => vec![first, make(random_id("evt_test_65", 42), Some(snapshot), true)],
        }
    }

    /// The place of this session's sale, when its payment is under way.
    pub fn unpaid(&self, session: &str) -> Option<usize> {
        match self.find(session)? {
            Found::Session(at) if self.sales[at].stage == Stage::Unpaid => Some(at),
            _ => None,
        }
    }

    pub fn find(&self, id: &str) -> Option<Found> {
        self.index.get(id).copied()
    }

    pub fn event(&self, id: &str) -> Option<&Event> {
        self.place_of_event(id).map(|at| &self.events[at])
    }

    pub fn place_of_event(&self, id: &str) -> Option<usize> {
        match self.find(id)? {
            Found::Event(at) => Some(at),
            _ => None,
        }
    }
}

impl Event {
    /// The type as it is sent.
    pub fn kind(&self) -> String {
        if self.is_thin() { format!("v1.{}", self.kind) } else { self.kind.into() }
    }

    pub fn is_thin(&self) -> bool {
        self.twin.is_some()
    }

    /// As the API gives it and a delivery carries it.
    pub fn object(&self) -> Value {
        match &self.twin {
            None => self.snapshot(),
            Some(twin) => self.thin(twin),
        }
    }

    /// The bytes that every delivery of it carries.
    pub fn body(&self) -> Vec<u8> {
        json::bytes(&self.object())
    }

    fn about_payment(&self) -> bool {
        self.kind.starts_with("payment_intent.")
    }

    fn snapshot(&self) -> Value {
        let object = if self.about_payment() { self.sale.payment_intent() } else { self.sale.session() };
        let old = self.sale.checkout.scenario.name == "old-api";
        json!({
            "id": self.id, "object": "event", "type": self.kind, "created": self.at.as_second(), "livemode": false,
            "api_version": if old { OLD_VERSION } else { VERSION }, "data": {"object": object}, "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
        })
    }

    fn thin(&self, twin: &str) -> Value {
        let id = if self.about_payment() { self.sale.checkout.own("pi") } else { self.sale.checkout.id.clone() };
        let (kind, path) = match self.about_payment() {
            true => ("payment_intent", "payment_intents"),
            false => ("checkout.session", "checkout/sessions"),
        };
        json!({
            "id": self.id, "object": "v2.core.event", "type": self.kind(), "livemode": false,
            "created": self.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(), "snapshot_event": twin,
            "related_object": {"id": id, "type": kind, "url": format!("/v1/{path}/{id}")},
        })
    }
}
