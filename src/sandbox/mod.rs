//! A simulated Stripe on loopback, for first runs, development and tests: it sells, keeps, answers
//! and delivers.

mod account; // what it keeps
mod api; // /v1, as Stripe answers
mod cast; // who buys, and what
mod checkout; // the facts of one checkout
mod control; // /_sandbox, for triggers and faults
mod deliver; // signed events to the shop
mod endpoints; // where they go
mod errors; // Stripe's refusals
mod faults; // what is to go wrong
mod http; // the server below
mod json; // as Stripe writes it
mod objects; // Stripe's objects of a checkout
mod oddities; // sessions as no shop would like them
mod payments; // Stripe's objects of a payment
mod query; // parameters, as Stripe takes them
mod scenarios; // what can happen
mod sequel; // refunds, disputes, reviews, warnings
mod simulation; // what its threads share: it sells, settles and tells
mod stats; // counts

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use deliver::Deliverers;
use http::Server;
use simulation::Simulation;
pub use simulation::{Purchase, Trigger};

use crate::error::{Error, Result};
use crate::sync::lock;
use crate::text;

/// A key that the sandbox accepts; it accepts any other test key as well.
pub const KEY: &str = "sk_test_sandbox";

/// The names of all scenarios, and what each is.
pub fn scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    scenarios::SCENARIOS.iter().map(|scenario| (scenario.name, scenario.about))
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
            _ => Err(Error::Usage(format!(
                "{word} is no shape of event; it is snapshot, thin or both"
            ))),
        }
    }
}

/// A running sandbox. Dropping it ends its threads.
pub struct Sandbox {
    simulation: Arc<Simulation>,
    server: Server,
    deliverers: Deliverers,
}

impl Sandbox {
    /// Listens and delivers from now on. `Usage` when the address is not loopback or taken, or the
    /// webhook is no URL.
    pub fn start(options: Options) -> Result<Sandbox> {
        let listen = options.listen;
        let simulation = Arc::new(Simulation::new(options)?);
        let deliverers = Deliverers::start(&simulation)?;
        let answering = simulation.clone();
        let server = Server::start(listen, move |request| answering.answer(request))?;
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

    /// Delivers to this URL from now on, what waits for another attempt as well. `Usage` when it is
    /// none.
    pub fn deliver_to(&self, webhook: &str) -> Result<()> {
        self.simulation.deliver_to(Some(webhook))
    }

    /// Makes purchases; their events are delivered meanwhile, unless told otherwise. `Usage` when
    /// there is no such scenario, or when it is too many.
    pub fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        self.simulation.trigger(order)
    }

    /// Delivers an event once, now, and says which status was answered, 0 for none. `Usage` when
    /// there is no such event.
    pub fn deliver(&self, id: &str) -> Result<u16> {
        let event = lock(&self.simulation.account).place_of_event(id);
        let event =
            event.ok_or_else(|| Error::Usage(format!("there is no event {}", text::clean(id))))?;
        Ok(self.deliverers.deliver_now(event))
    }
}
