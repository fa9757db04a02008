//! What the simulated account keeps: checkouts and events, in the order they were made, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::checkout::{Checkout, Stage, random_id};
use super::sale::{Draft, Kind, Notice, Sale, Subject};
use super::scenarios::{self, Part, Scenario, Step};
use super::webhook_endpoints::{Shape, WebhookEndpoints};
use crate::error::Result;

/// Everything that was made; places in its lists never change.
#[derive(Default)]
pub struct Account {
    /// Every checkout, as it stands now.
    pub sales: Vec<Sale>,
    /// All that followed: the sale, and the place among what followed it.
    pub follow_ups: Vec<(usize, usize)>,
    /// Every event, each with the sale as it stood then.
    pub events: Vec<Event>,
    pub webhook_endpoints: WebhookEndpoints,
    index: HashMap<String, Found>,
    /// What the API shows otherwise of the objects with these ids.
    said: HashMap<String, Value>,
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
    FollowUp(usize, usize),
    InvoicePayment(usize),
    Invoice(usize),
    Event(usize),
}

/// An event in one of Stripe's shapes, about a sale as it stood when the event was made.
#[derive(Clone)]
pub struct Event {
    pub id: String,
    /// Without the thin shape's `v1.`.
    pub(crate) kind: &'static str,
    pub(crate) subject: Subject,
    /// The thin shape's snapshot event; `None` in the snapshot shape.
    pub(crate) twin: Option<String>,
    /// When Stripe made it.
    pub at: Timestamp,
    /// The sale as it stood then.
    pub sale: Sale,
    /// The endpoint is to have it; not so a snapshot where it wants the thin shape.
    pub wanted: bool,
    /// Answers of 2xx, and the statuses of all; 0 is no answer.
    pub delivered: usize,
    pub answers: Vec<u16>,
}

impl Account {
    /// From now on the object of that id is shown with these fields changed, over what was said of
    /// it before. Returns how many objects are changed by now.
    pub fn say(&mut self, id: &str, with: Value) -> usize {
        merge(
            self.said.entry(id.into()).or_insert_with(|| Value::Object(Default::default())),
            &with,
            false,
        );
        self.said.len()
    }

    /// Puts what was said into an answer, wherever the objects stand in it.
    pub fn put_said(&self, answer: &mut Value) {
        if self.said.is_empty() {
            return;
        }
        match answer {
            Value::Array(rows) => rows.iter_mut().for_each(|row| self.put_said(row)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.put_said(field));
                let id = answer["id"].as_str().and_then(|id| self.said.get(id));
                id.into_iter().for_each(|with| merge(answer, with, true));
            }
            _ => {}
        }
    }

    /// Opens the next checkout and says where it is.
    pub fn sell(&mut self, scenario: &'static Scenario, now: Timestamp) -> usize {
        self.sell_as(scenario, now, None, None)
    }

    fn sell_as(
        &mut self,
        scenario: &'static Scenario,
        now: Timestamp,
        renews: Option<String>,
        pays: Option<String>,
    ) -> usize {
        let at = self.sales.len();
        let checkout =
            Arc::new(Checkout { renews, pays, ..scenario.checkout(at, now.as_second()) });
        self.index.insert(checkout.id.clone(), Found::Session(at));
        let moved = [
            checkout.payment_intent().zip(Some(Found::PaymentIntent(at))),
            checkout.charge().zip(Some(Found::Charge(at))),
            checkout.invoice().map(|_| (checkout.id_of("inpay"), Found::InvoicePayment(at))),
            checkout.invoice().filter(|_| checkout.pays.is_none()).zip(Some(Found::Invoice(at))),
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
            follow_ups: Vec::new(),
        });
        at
    }

    /// Does a scenario's step to a sale, and returns the events it makes. `Refused` when it cannot.
    pub fn perform(&mut self, sale: usize, step: Step, now: Timestamp) -> Result<Vec<Notice>> {
        let total = self.sales[sale].checkout.charged();
        let mut follow = |kind, draft: &Draft| self.follow(sale, kind, draft, now);
        match step {
            Step::Payment((kind, stage)) => {
                if stage == Stage::Paid && self.sales[sale].stage != Stage::Paid {
                    self.sales[sale].settled = now.as_second();
                }
                self.sales[sale].stage = stage;
                let subject = if kind.starts_with("payment_intent.") {
                    Subject::PaymentIntent
                } else {
                    Subject::Session
                };
                Ok(vec![(kind, subject)])
            }
            Step::Refund(part, status) => {
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
            Step::Capture(part) => {
                let amount = match part {
                    Part::Rest => total,
                    Part::Nth(n) => total / n / 10 * 10,
                };
                self.capture(sale, Some(amount), now)
            }
            Step::DisputePart(n) => {
                let amount = Some(total / n / 10 * 10);
                follow(Kind::Dispute, &Draft { amount, ..Draft::default() })
            }
            Step::Settled => follow(
                Kind::Dispute,
                &Draft { status: Some("prevented"), settled: true, ..Draft::default() },
            ),
            Step::Dispute(status) => {
                follow(Kind::Dispute, &Draft { status: Some(status), ..Draft::default() })
            }
            Step::Review => follow(Kind::Review, &Draft::default()),
            Step::FraudWarning => follow(Kind::FraudWarning, &Draft::default()),
            Step::Becomes(at, status) => self.sales[sale].set_status(at, status, now.as_second()),
        }
    }

    /// Captures money that is held, and returns the events it makes. `Refused` when there is none.
    pub fn capture(
        &mut self,
        sale: usize,
        amount: Option<i64>,
        now: Timestamp,
    ) -> Result<Vec<Notice>> {
        let before = self.sales[sale].follow_ups.len();
        let notices = self.sales[sale].capture(amount, now.as_second())?;
        if let Some(released) = self.sales[sale].follow_ups.get(before) {
            self.index.insert(released.id.clone(), Found::FollowUp(sale, before));
            self.follow_ups.push((sale, before));
        }
        Ok(notices)
    }

    /// A later payment of a subscription: a sale whose session Stripe does not show. It pays an
    /// invoice of its own, or is one more payment of the same one.
    pub fn renew(&mut self, sale: usize, same_invoice: bool, now: Timestamp) -> Option<usize> {
        let first = &self.sales[sale].checkout;
        let subscription = first.subscription()?;
        let pays = first.invoice().filter(|_| same_invoice);
        let scenario = scenarios::find(first.scenario).ok()?;
        let at = self.sell_as(scenario, now, Some(subscription), pays);
        (self.sales[at].stage, self.sales[at].settled) = (Stage::Paid, now.as_second());
        Some(at)
    }

    /// Adds what follows a sale's payment, and returns the events it makes. `Refused` when it
    /// cannot.
    pub fn follow(
        &mut self,
        sale: usize,
        kind: Kind,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<Vec<Notice>> {
        let notices = self.sales[sale].follow(kind, draft, now.as_second())?;
        let at = self.sales[sale].follow_ups.len() - 1;
        self.index.insert(self.sales[sale].follow_ups[at].id.clone(), Found::FollowUp(sale, at));
        self.follow_ups.push((sale, at));
        Ok(notices)
    }

    /// Makes the event about one of a sale's objects as it stands now. Returns the places of those
    /// that are for the endpoint: one, or with both shapes two.
    pub fn make_event(
        &mut self,
        sale: usize,
        (kind, subject): Notice,
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
                subject,
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
    pub fn follow_up(&self, kind: Kind, id: &str) -> Option<(usize, usize)> {
        match self.find(id)? {
            Found::FollowUp(sale, at) if self.sales[sale].follow_ups[at].kind == kind => {
                Some((sale, at))
            }
            _ => None,
        }
    }

    /// What an id stands for; `None` when nothing has it.
    pub fn find(&self, id: &str) -> Option<Found> {
        self.index.get(id).copied()
    }

    /// The event of that id.
    pub fn event(&self, id: &str) -> Option<&Event> {
        self.place_of_event(id).map(|at| &self.events[at])
    }

    /// The event's place in `events`.
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

    /// True for the thin shape.
    pub fn is_thin(&self) -> bool {
        self.twin.is_some()
    }
}

/// RFC 7396: a `null` removes a field where `removes`, and is kept for later where not.
fn merge(target: &mut Value, with: &Value, removes: bool) {
    let Value::Object(changes) = with else {
        *target = with.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes {
        match change {
            Value::Null if removes => drop(fields.remove(name)),
            change => merge(fields.entry(name).or_insert(Value::Null), change, removes),
        }
    }
}
