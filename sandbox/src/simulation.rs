//! What all threads of a sandbox share. It makes purchases and what follows them, and answers the
//! API's requests.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{self, Rates};
use crate::error::{Error, Result};
use crate::faults::{EventFault, Faults};
use crate::http::{Manner, Request, Response};
use crate::queue::Queue;
use crate::stats::Stats;
use crate::sync::lock;
use crate::world::account::Account;
use crate::world::checkout::Stage;
use crate::world::sale::{Draft, Kind, Notice};
use crate::world::scenarios::{self, FAILS, SUCCEEDS, Step};
use crate::world::webhook_endpoints::Shape;

/// How a sandbox is to behave.
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where events are delivered; `None` delivers nothing.
    pub webhook: Option<String>,
    /// Signs the deliveries (`whsec_…`).
    pub secret: String,
    /// Of the deliveries, where a trigger names none.
    pub shape: Shape,
    /// Waited before each answer of the API.
    pub latency: Duration,
    /// Requests a second to one endpoint before it answers 429; 0 means no limit.
    pub rate_per_s: u32,
}

impl Default for Options {
    /// A free port, no deliveries, and what `fulfilld sandbox` has otherwise.
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook: None,
            secret: "whsec_sandbox".into(),
            shape: Shape::Snapshot,
            latency: Duration::ZERO,
            rate_per_s: 25,
        }
    }
}

/// Purchases of one trigger; ten times as many fit into memory.
const COUNT_MAX: usize = 10_000;

/// Deliveries of one event at once.
const TIMES_MAX: usize = 1000;

/// Purchases to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A scenario's name, or an event type that one of them sends.
    pub scenario: String,
    /// At most 10,000.
    #[serde(default = "one")]
    pub count: usize,
    /// `None` is the sandbox's own.
    pub shape: Option<Shape>,
    /// Deliveries of each event, at once.
    #[serde(default = "one")]
    pub times: usize,
    /// False keeps the events for the caller to post.
    #[serde(default = "yes")]
    pub deliver: bool,
    /// It happened so many seconds ago.
    #[serde(default)]
    pub ago_s: i64,
}

impl Trigger {
    /// One purchase, delivered once in the sandbox's own shape.
    pub fn of(scenario: &str) -> Trigger {
        Trigger {
            scenario: scenario.into(),
            count: 1,
            shape: None,
            times: 1,
            deliver: true,
            ago_s: 0,
        }
    }
}

/// Ends a delayed payment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// `cs_test_…`
    pub session: String,
    pub outcome: Outcome,
    /// `shape`, `times` and `deliver` are as in [`Trigger`].
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// Adds what follows a session's payment. `None` is as usual: all the money that is left, the first
/// status.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// `cs_test_…`
    pub session: String,
    /// Whole minor units.
    pub amount: Option<i64>,
    pub status: Option<String>,
    pub reason: Option<String>,
    /// Of a dispute that is prevented: by giving the money back.
    #[serde(default)]
    pub settled: bool,
    /// It happened so many seconds ago.
    #[serde(default)]
    pub ago_s: i64,
    /// `shape`, `times` and `deliver` are as in [`Trigger`].
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// Changes the status of what followed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStatus {
    /// Of a review, why it is closed.
    #[serde(alias = "closed_reason")]
    pub status: String,
    /// `shape`, `times` and `deliver` are as in [`Trigger`].
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// How a delayed payment ends.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Purchase {
    /// `cs_test_…`
    pub session: String,
    /// Of the refund, dispute, review or warning that was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `pi_…`; `None` where nothing was to pay.
    pub payment_intent: Option<String>,
    /// Those for the endpoint, in the order in which Stripe makes them.
    pub events: Vec<Made>,
}

/// An event that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// `evt_…`
    pub id: String,
    /// As it is sent, e.g. `v1.refund.created` for a thin one.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The account and how it is to behave.
pub struct Simulation {
    pub account: Mutex<Account>,
    pub faults: Faults,
    pub stats: Stats,
    pub queue: Queue,
    /// Each of them signs every delivery, as while a secret is rolled.
    pub secrets: Mutex<Vec<String>>,
    rates: Rates,
    latency: Duration,
    shape: Shape,
    /// How far its clock is ahead of this machine's, in seconds.
    pub skew_s: AtomicI64,
}

impl Simulation {
    /// `Refused` when the webhook is no URL.
    pub fn new(options: Options) -> Result<Simulation> {
        let simulation = Simulation {
            account: Mutex::default(),
            faults: Faults::default(),
            stats: Stats::default(),
            queue: Queue::default(),
            secrets: Mutex::new(vec![options.secret]),
            rates: Rates::new(options.rate_per_s),
            latency: options.latency,
            shape: options.shape,
            skew_s: AtomicI64::new(0),
        };
        simulation.deliver_to(options.webhook.as_deref())?;
        Ok(simulation)
    }

    /// Responds to a request to the API, or as a fault wants it.
    pub fn respond(&self, request: &Request) -> Response {
        std::thread::sleep(self.latency);
        let route = api::name_of(request);
        let right = || api::respond(&self.account, request, &self.rates);
        let response = self.faults.respond(route, &api::request_text(request), right);
        let silent = matches!(response.manner, Manner::Hang | Manner::Reset | Manner::Close);
        self.stats.answered(route, if silent { 0 } else { response.status });
        let now = Timestamp::now().as_second().saturating_add(self.skew_s.load(Ordering::Relaxed));
        let at = Timestamp::from_second(now).unwrap_or_else(|_| Timestamp::now());
        api::with_headers(response, request, at)
    }

    /// Makes purchases. `Refused` when there is no such scenario, or when it is too many.
    pub fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        let scenario = scenarios::find(&order.scenario)?;
        if order.count > COUNT_MAX {
            return Err(Error::Refused(format!(
                "{} purchases at once are too many; {COUNT_MAX} are not",
                order.count
            )));
        }
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let sell = |_| {
            let mut account = lock(&self.account);
            let now = ago(order.ago_s);
            let sale = account.sell(scenario, now);
            let payment = scenario.payment.iter().map(|step| Step::Payment(*step));
            self.perform(
                &mut account,
                sale,
                payment.chain(scenario.then.iter().copied()),
                &routing,
                now,
            )
        };
        (0..order.count).map(sell).collect()
    }

    /// Ends a delayed payment. `Refused` when none is under way.
    pub fn settle(&self, order: &Settle) -> Result<Purchase> {
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.unpaid(&order.session).ok_or_else(|| {
            Error::Refused(format!(
                "{} is no session with a payment under way; the scenario unpaid makes one",
                order.session
            ))
        })?;
        let payment = match order.outcome {
            Outcome::Succeeded => SUCCEEDS,
            Outcome::Failed => FAILS,
        };
        self.perform(
            &mut account,
            sale,
            payment.iter().map(|step| Step::Payment(*step)),
            &routing,
            Timestamp::now(),
        )
    }

    /// Adds a refund, dispute, review or warning. `Refused` when there is no such payment, or
    /// when it cannot.
    pub fn follow(&self, kind: Kind, order: &Follow) -> Result<Purchase> {
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| {
            Error::Refused(format!("there is no session {}; a trigger makes one", order.session))
        })?;
        let draft = Draft {
            amount: order.amount,
            status: order.status.as_deref(),
            reason: order.reason.as_deref(),
            settled: order.settled,
        };
        let notices = account.follow(sale, kind, &draft, ago(order.ago_s))?;
        let mut purchase = purchase(&account, sale);
        purchase.id = account.sales[sale].follow_ups.last().map(|follow_up| follow_up.id.clone());
        self.notify(&mut account, sale, &notices, &routing, &mut purchase.events);
        Ok(purchase)
    }

    /// Captures money that is held, or some of it. `Refused` when there is none.
    pub fn capture(&self, order: &Follow) -> Result<Purchase> {
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| no_session(&order.session))?;
        let notices = account.capture(sale, order.amount, ago(order.ago_s))?;
        let mut purchase = purchase(&account, sale);
        self.notify(&mut account, sale, &notices, &routing, &mut purchase.events);
        Ok(purchase)
    }

    /// Releases money that is held, as the bank does when nobody captures it. `Refused` when there
    /// is none.
    pub fn lapse(&self, order: &Follow) -> Result<Purchase> {
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let held = |at: &usize| account.sales[*at].stage == Stage::Held;
        let sale =
            account.sale(&order.session).filter(held).ok_or_else(|| no_session(&order.session))?;
        let lapsed = [Step::Payment(("payment_intent.canceled", Stage::Canceled))];
        self.perform(&mut account, sale, lapsed.into_iter(), &routing, ago(order.ago_s))
    }

    /// A subscription is paid once more; what follows that payment names the session that is
    /// answered here, which Stripe does not show. `Refused` when the session begins no
    /// subscription. With `same_invoice` it is one more payment of the session's invoice.
    pub fn renew(&self, order: &Follow, same_invoice: bool) -> Result<Purchase> {
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| no_session(&order.session))?;
        let renewed = account
            .renew(sale, same_invoice, ago(order.ago_s))
            .ok_or_else(|| no_session(&order.session))?;
        Ok(purchase(&account, renewed))
    }

    /// Changes the status of what followed. `Refused` when there is none of that kind and id, or
    /// when it cannot have it.
    pub fn set_status(&self, kind: Kind, id: &str, order: &SetStatus) -> Result<Purchase> {
        let routing = self.routing(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let (sale, at) = account.follow_up(kind, id).ok_or_else(|| {
            Error::Refused(format!(
                "there is no {} {}; a POST without an id makes one",
                kind.words().0,
                id
            ))
        })?;
        let notices =
            account.sales[sale].set_status(at, &order.status, Timestamp::now().as_second())?;
        let mut purchase = Purchase { id: Some(id.into()), ..purchase(&account, sale) };
        self.notify(&mut account, sale, &notices, &routing, &mut purchase.events);
        Ok(purchase)
    }

    /// `Refused` when it is no URL; `None` delivers nothing any more.
    pub fn deliver_to(&self, webhook: Option<&str>) -> Result<()> {
        lock(&self.account).webhook_endpoints.deliver_to(webhook, self.shape)
    }

    /// Where the event at a place in the account goes; `None` when no endpoint is there for it now.
    pub fn url_for(&self, event: usize) -> Option<String> {
        let account = lock(&self.account);
        let kind = account.events[event].kind();
        account.webhook_endpoints.url_for(kind.trim_start_matches("v1."))
    }

    /// `Refused` when there is none, or one of them is no signing secret.
    pub fn sign_with(&self, secrets: Vec<String>) -> Result<()> {
        if secrets.is_empty() || !secrets.iter().all(|secret| secret.starts_with("whsec_")) {
            return Err(Error::Refused(
                "deliveries are signed with one secret or more, each a whsec_…".into(),
            ));
        }
        *lock(&self.secrets) = secrets;
        Ok(())
    }

    fn routing(&self, shape: Option<Shape>, times: usize, deliver: bool) -> Result<Routing> {
        if times > TIMES_MAX {
            return Err(Error::Refused(format!(
                "{times} deliveries of one event are too many; {TIMES_MAX} are not"
            )));
        }
        let account = lock(&self.account);
        let times = if deliver && account.webhook_endpoints.any_enabled() { times } else { 0 };
        Ok(Routing {
            shape: shape.or(account.webhook_endpoints.shape()).unwrap_or(self.shape),
            times,
        })
    }

    /// Does one step after the other to a sale, and makes the events of each.
    fn perform(
        &self,
        account: &mut Account,
        sale: usize,
        steps: impl Iterator<Item = Step>,
        routing: &Routing,
        now: Timestamp,
    ) -> Result<Purchase> {
        let mut purchase = purchase(account, sale);
        for step in steps {
            let notices = account.perform(sale, step, now)?;
            self.notify(account, sale, &notices, routing, &mut purchase.events);
        }
        Ok(purchase)
    }

    /// Makes the events about a sale as it stands now, and queues their deliveries.
    fn notify(
        &self,
        account: &mut Account,
        sale: usize,
        notices: &[Notice],
        routing: &Routing,
        made: &mut Vec<Made>,
    ) {
        for (kind, subject) in notices {
            let fault = self.faults.of_event(kind, &account.sales[sale].checkout.id);
            if fault == Some(EventFault::Lost) {
                continue;
            }
            for at in account.make_event(sale, (kind, *subject), routing.shape, Timestamp::now()) {
                let event = &account.events[at];
                made.push(Made { id: event.id.clone(), kind: event.kind() });
                let times = if fault.is_some() { 0 } else { routing.times };
                (0..times).for_each(|_| self.queue.push(at));
            }
        }
    }

    /// The bytes that every delivery of an event carries.
    pub fn event_body(&self, id: &str) -> Option<Vec<u8>> {
        let event = lock(&self.account).event(id).cloned();
        event.map(|event| event.body())
    }
}

/// Without events yet.
fn purchase(account: &Account, sale: usize) -> Purchase {
    let checkout = &account.sales[sale].checkout;
    let payment_intent = checkout.named_payment_intent();
    Purchase { session: checkout.id.clone(), id: None, payment_intent, events: Vec::new() }
}

/// So many seconds before now.
fn ago(seconds: i64) -> Timestamp {
    let then = Timestamp::now().as_second().saturating_sub(seconds);
    Timestamp::from_second(then).unwrap_or_else(|_| Timestamp::now())
}

fn no_session(session: &str) -> Error {
    Error::Refused(format!(
        "there is no session {} that this could happen to; a trigger makes one",
        session
    ))
}

/// How events are delivered.
struct Routing {
    shape: Shape,
    times: usize,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
