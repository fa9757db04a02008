//! A simulated Stripe on loopback, for first runs, development and tests: it sells, keeps, answers and delivers.

mod account; // what it keeps
mod api; // /v1, as Stripe answers
mod cast; // who buys, and what
mod checkout; // the facts of one checkout
mod control; // /_sandbox, for triggers and faults
mod deliver; // signed events to the shop
mod errors; // Stripe's refusals
mod faults; // what is to go wrong
mod http; // the server below
mod json; // as Stripe writes it
mod objects; // Stripe's objects
mod scenarios; // what can happen
mod stats; // counts

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use account::Account;
use api::Rates;
use deliver::{Deliverers, Queue};
use faults::{Fate, Faults};
use http::{Answer, Manner, Request, Server};
use scenarios::{FAILS, News, SCENARIOS, SUCCEEDS};
use stats::Stats;

use crate::clock;
use crate::error::{Error, Result};
use crate::locks::lock;
use crate::text;

/// Purchases of one trigger; ten thousand more fit into memory as well.
const COUNT_MAX: usize = 10_000;

/// Deliveries of one event at once.
const TIMES_MAX: usize = 1000;

/// A key that the sandbox accepts; it accepts any other test key as well.
pub const KEY: &str = "sk_test_sandbox";

/// The names of all scenarios, and what each is.
pub fn scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCENARIOS.iter().map(|scenario| (scenario.name, scenario.about))
}

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
    /// Requests a second to one endpoint before it answers 429; 0 is no limit.
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

/// Which of Stripe's two shapes of event are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Snapshot,
    Thin,
    Both,
}

impl FromStr for Shape {
    type Err = Error;

    /// `Usage` for any other word.
    fn from_str(word: &str) -> Result<Shape> {
        match word {
            "snapshot" => Ok(Shape::Snapshot),
            "thin" => Ok(Shape::Thin),
            "both" => Ok(Shape::Both),
            _ => Err(Error::Usage(format!("{word} is no shape of event; it is snapshot, thin or both"))),
        }
    }
}

/// Purchases to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A scenario's name, or an event type that one of them sends.
    pub scenario: String,
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
}

impl Trigger {
    /// One purchase, delivered once in the sandbox's own shape.
    pub fn of(scenario: &str) -> Trigger {
        Trigger { scenario: scenario.into(), count: 1, shape: None, times: 1, deliver: true }
    }
}

/// A delayed payment is to end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    pub session: String,
    pub outcome: Outcome,
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// What a trigger made.
#[derive(Debug, Clone, Serialize)]
pub struct Purchase {
    pub session: String,
    pub payment_intent: Option<String>,
    /// Those for the endpoint, in the order in which Stripe makes them.
    pub events: Vec<Made>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Made {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A running sandbox. Dropping it ends its threads.
pub struct Sandbox {
    simulation: Arc<Simulation>,
    // Dropped in this order: nobody is answered by a sandbox that no longer delivers.
    server: Server,
    deliverers: Option<Deliverers>,
}

impl Sandbox {
    /// Listens and delivers from now on. `Usage` when the address is not loopback or taken, or the webhook is no URL.
    pub fn start(options: Options) -> Result<Sandbox> {
        let simulation = Arc::new(Simulation {
            account: Mutex::default(),
            faults: Faults::default(),
            stats: Stats::default(),
            queue: Queue::default(),
            rates: Rates::new(options.rate_per_s),
            latency: options.latency,
            secret: options.secret,
            shape: options.shape,
            delivers: options.webhook.is_some(),
        });
        let deliverers = options.webhook.map(|url| Deliverers::start(&simulation, &url)).transpose()?;
        let answering = simulation.clone();
        let server = Server::start(options.listen, move |request| answering.answer(request))?;
        Ok(Sandbox { simulation, server, deliverers })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the API is, for `FULFILLD_STRIPE_API`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Makes purchases; their events are delivered meanwhile, unless told otherwise. `Usage` when there is no such
    /// scenario, or when it is too many.
    pub fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        self.simulation.trigger(order)
    }

    /// Delivers an event once, now, and says which status was answered, 0 for none. `Usage` when there is no such event, or
    /// nobody to deliver to.
    pub fn deliver(&self, id: &str) -> Result<u16> {
        let event = lock(&self.simulation.account).place_of_event(id);
        match (event, &self.deliverers) {
            (Some(event), Some(deliverers)) => Ok(deliverers.deliver_now(event)),
            _ => Err(Error::Usage(format!("there is no event {}, or nobody to deliver to", text::clean(id)))),
        }
    }
}

/// What all its threads share.
struct Simulation {
    account: Mutex<Account>,
    faults: Faults,
    stats: Stats,
    queue: Queue,
    rates: Rates,
    latency: Duration,
    secret: String,
    shape: Shape,
    delivers: bool,
}

impl Simulation {
    fn answer(&self, request: &Request) -> Answer {
        if request.path.starts_with(control::ROOT) {
            return control::answer(self, request);
        }
        std::thread::sleep(self.latency);
        let endpoint = api::name_of(request);
        let asked = api::asked(request);
        let right = || api::stamped(api::answer(&self.account, request, &self.rates), request);
        let answer = self.faults.answer(endpoint, &asked, right);
        let silent = matches!(answer.manner, Manner::Hang | Manner::Reset | Manner::Close);
        self.stats.answered(endpoint, if silent { 0 } else { answer.status });
        answer
    }

    fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        let scenario = scenarios::find(&order.scenario)?;
        if order.count > COUNT_MAX {
            return Err(Error::Usage(format!("{} purchases at once are too many; {COUNT_MAX} are not", order.count)));
        }
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let sell = |_| {
            let mut account = lock(&self.account);
            let sale = account.sell(scenario, clock::now());
            self.tell(&mut account, sale, scenario.news, &telling)
        };
        Ok((0..order.count).map(sell).collect())
    }

    fn settle(&self, order: &Settle) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.unpaid(&order.session).ok_or_else(|| {
            Error::Usage(format!(
                "{} is no session with a payment under way; the scenario unpaid makes one",
                text::clean(&order.session)
            ))
        })?;
        let news = match order.outcome {
            Outcome::Succeeded => SUCCEEDS,
            Outcome::Failed => FAILS,
        };
        Ok(self.tell(&mut account, sale, news, &telling))
    }

    fn telling(&self, shape: Option<Shape>, times: usize, deliver: bool) -> Result<Telling> {
        if times > TIMES_MAX {
            return Err(Error::Usage(format!("{times} deliveries of one event are too many; {TIMES_MAX} are not")));
        }
        let times = if deliver && self.delivers { times } else { 0 };
        Ok(Telling { shape: shape.unwrap_or(self.shape), times })
    }

    /// Lets it happen to a sale, one piece of news after the other, and has it delivered.
    fn tell(&self, account: &mut Account, sale: usize, news: &[News], telling: &Telling) -> Purchase {
        let checkout = account.sales[sale].checkout.clone();
        let mut events = Vec::new();
        for (kind, stage) in news {
            account.sales[sale].stage = *stage;
            let fate = self.faults.fate(kind, &checkout.id);
            if fate == Fate::Lost {
                continue;
            }
            for at in account.tell(sale, kind, telling.shape, clock::now()) {
                let event = &account.events[at];
                events.push(Made { id: event.id.clone(), kind: event.kind() });
                let times = if fate == Fate::Undelivered { 0 } else { telling.times };
                (0..times).for_each(|_| self.queue.push(at));
            }
        }
        Purchase { session: checkout.id.clone(), payment_intent: checkout.payment_intent(), events }
    }

    fn event_body(&self, id: &str) -> Option<Vec<u8>> {
        let event = lock(&self.account).event(id).cloned();
        event.map(|event| event.body())
    }
}

/// How news travels.
struct Telling {
    shape: Shape,
    times: usize,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
