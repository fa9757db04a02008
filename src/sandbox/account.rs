//! What the simulated account keeps: checkouts and events, in the order they were made, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Shape;
use super::checkout::{Checkout, random_id};
use super::endpoints::Endpoints;
use super::json;
use super::objects::{OLD_VERSION, Sale, VERSION};
use super::scenarios::{Act, Part, Scenario, Stage};
use super::sequel::{Draft, Kind, Told};
use crate::clock::Timestamp;
use crate::error::Result;

#[derive(Default)]
pub struct Account {
    pub sales: Vec<Sale>,
    /// All that followed: the sale, and the place among what followed it.
    pub sequels: Vec<(usize, usize)>,
    pub events: Vec<Event>,
    pub endpoints: Endpoints,
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
    /// Of a sale, and a place among what followed it.
    Sequel(usize, usize),
    InvoicePayment(usize),
    Event(usize),
}

/// Which of a sale's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Session,
    PaymentIntent,
    Charge,
    /// At a place among what followed.
    Sequel(usize),
}

/// Something that Stripe tells: in one of its shapes, about a sale as it stood then.
#[derive(Clone)]
pub struct Event {
    pub id: String,
    /// Without the thin shape's `v1.`.
    kind: &'static str,
    about: About,
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
        self.sell_as(scenario, now, None)
    }

    fn sell_as(
        &mut self,
        scenario: &'static Scenario,
        now: Timestamp,
        renews: Option<String>,
    ) -> usize {
        let at = self.sales.len();
        let checkout =
            Arc::new(Checkout { renews, ..Checkout::new(scenario, at, now.as_second()) });
        self.index.insert(checkout.id.clone(), Found::Session(at));
        let moved = [
            checkout.payment_intent().zip(Some(Found::PaymentIntent(at))),
            checkout.charge().zip(Some(Found::Charge(at))),
            checkout.invoice().map(|_| (checkout.own("inpay"), Found::InvoicePayment(at))),
        ];
        self.index.extend(moved.into_iter().flatten());
        for (n, line) in checkout.lines.iter().enumerate() {
            self.index.entry(line.product_id()).or_insert(Found::Product(at, n));
            self.index.entry(checkout.price_id(line)).or_insert(Found::Price(at, n));
        }
        self.sales.push(Sale {
            settled: checkout.ended,
            checkout,
            stage: Stage::Unpaid,
            captured: None,
            sequels: Vec::new(),
        });
        at
    }

    /// Lets a scenario's act happen to a sale, and says what is to be told. `Usage` when it cannot.
    pub fn perform(&mut self, sale: usize, act: Act, now: Timestamp) -> Result<Vec<Told>> {
        let total = self.sales[sale].checkout.total();
        let mut follow = |kind, draft: &Draft| self.follow(sale, kind, draft, now);
        match act {
            Act::News((kind, stage)) => {
                if stage == Stage::Paid && self.sales[sale].stage != Stage::Paid {
                    self.sales[sale].settled = now.as_second();
                }
                self.sales[sale].stage = stage;
                let about = if kind.starts_with("payment_intent.") {
                    About::PaymentIntent
                } else {
                    About::Session
                };
                Ok(vec![(kind, about)])
            }
            Act::Refund(part, status) => {
                let amount = match part {
                    Part::Rest => None,
                    // A last digit of 0 suits every currency.
                    Part::Nth(n) => Some(total / n / 10 * 10),
                };
                self.follow(
                    sale,
                    Kind::Refund,
                    &Draft { amount, status: Some(status), ..Draft::default() },
                    now,
                )
            }
            Act::Capture(part) => {
                let amount = match part {
                    Part::Rest => total,
                    Part::Nth(n) => total / n / 10 * 10,
                };
                self.capture(sale, Some(amount), now)
            }
            Act::DisputePart(n) => {
                let amount = Some(total / n / 10 * 10);
                follow(Kind::Dispute, &Draft { amount, ..Draft::default() })
            }
            Act::Settled => follow(
                Kind::Dispute,
                &Draft { status: Some("prevented"), settled: true, ..Draft::default() },
            ),
            Act::Dispute(status) => {
                follow(Kind::Dispute, &Draft { status: Some(status), ..Draft::default() })
            }
            Act::Review => follow(Kind::Review, &Draft::default()),
            Act::FraudWarning => follow(Kind::FraudWarning, &Draft::default()),
            Act::Becomes(at, status) => self.sales[sale].becomes(at, status, now.as_second()),
        }
    }

    /// Takes money that is held, and says what is to be told. `Usage` when there is none.
    pub fn capture(
        &mut self,
        sale: usize,
        amount: Option<i64>,
        now: Timestamp,
    ) -> Result<Vec<Told>> {
        let before = self.sales[sale].sequels.len();
        let told = self.sales[sale].capture(amount, now.as_second())?;
        if let Some(let_go) = self.sales[sale].sequels.get(before) {
            self.index.insert(let_go.id.clone(), Found::Sequel(sale, before));
            self.sequels.push((sale, before));
        }
        Ok(told)
    }

    /// A later payment of a subscription: a sale whose session Stripe does not show.
    pub fn renew(&mut self, sale: usize, now: Timestamp) -> Option<usize> {
        let first = &self.sales[sale].checkout;
        let (subscription, scenario) = (first.subscription()?, first.scenario);
        let at = self.sell_as(scenario, now, Some(subscription));
        (self.sales[at].stage, self.sales[at].settled) = (Stage::Paid, now.as_second());
        Some(at)
    }

    /// Lets something follow a sale's payment, and says what is to be told. `Usage` when it cannot.
    pub fn follow(
        &mut self,
        sale: usize,
        kind: Kind,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<Vec<Told>> {
        let told = self.sales[sale].follow(kind, draft, now.as_second())?;
        let at = self.sales[sale].sequels.len() - 1;
        self.index.insert(self.sales[sale].sequels[at].id.clone(), Found::Sequel(sale, at));
        self.sequels.push((sale, at));
        Ok(told)
    }

    /// Makes the event that tells how one of a sale's objects stands now. Returns the places of
    /// those that are for the endpoint: one, or with both shapes two.
    pub fn tell(
        &mut self,
        sale: usize,
        (kind, about): Told,
        shape: Shape,
        now: Timestamp,
    ) -> Vec<usize> {
        let snapshot = random_id("evt_1", 23);
        let mut make = |id: String, twin: Option<String>, wanted: bool| {
            let at = self.events.len();
            self.index.insert(id.clone(), Found::Event(at));
            let sale = self.sales[sale].clone();
            self.events.push(Event {
                id,
                kind,
                about,
                twin,
                at: now,
                sale,
                wanted,
                delivered: 0,
                answers: Vec::new(),
            });
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
        self.sale(session).filter(|at| self.sales[*at].stage == Stage::Unpaid)
    }

    /// The place of this session's sale.
    pub fn sale(&self, session: &str) -> Option<usize> {
        match self.find(session)? {
            Found::Session(at) => Some(at),
            _ => None,
        }
    }

    /// The sale that it followed, and its place among what did.
    pub fn sequel(&self, kind: Kind, id: &str) -> Option<(usize, usize)> {
        match self.find(id)? {
            Found::Sequel(sale, at) if self.sales[sale].sequels[at].kind == kind => {
                Some((sale, at))
            }
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

    fn snapshot(&self) -> Value {
        let object = match self.about {
            About::Session => self.sale.session(),
            About::PaymentIntent => self.sale.payment_intent(),
            About::Charge => self.sale.charge(),
            About::Sequel(at) => self.sale.sequel(at),
        };
        let old = self.sale.checkout.scenario.name == "old-api";
        json!({
            "id": self.id, "object": "event", "type": self.kind, "created": self.at.as_second(), "livemode": false,
            "api_version": if old { OLD_VERSION } else { VERSION }, "data": {"object": object}, "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
        })
    }

    fn thin(&self, twin: &str) -> Value {
        let checkout = &self.sale.checkout;
        let (id, (kind, path)) = match self.about {
            About::Session => (checkout.id.clone(), ("checkout.session", "checkout/sessions")),
            About::PaymentIntent => (checkout.own("pi"), ("payment_intent", "payment_intents")),
            About::Charge => (checkout.own("ch"), ("charge", "charges")),
            About::Sequel(at) => {
                (self.sale.sequels[at].id.clone(), self.sale.sequels[at].kind.words())
            }
        };
        json!({
            "id": self.id, "object": "v2.core.event", "type": self.kind(), "livemode": false,
            "created": self.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(), "snapshot_event": twin,
            "related_object": {"id": id, "type": kind, "url": format!("/v1/{path}/{id}")},
        })
    }
}
