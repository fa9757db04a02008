//! A simulated Stripe on loopback, for first runs, development and tests: it sells, answers the API
//! as Stripe does, and delivers signed events. It shares no code with the order desk, so that a
//! mistake in one of them shows in the other.
//!
//! The modules stand in reading order, and imports point down this page.

#[cfg(test)]
mod tests; // the sandbox over HTTP

mod control; // /_sandbox: purchases and what follows them, faults, counts
mod delivery; // signed events to the shop
mod simulation; // what its threads share

mod faults; // what is to go wrong
mod mutation; // one change to a right answer
mod api; // /v1, as Stripe answers
mod refusals; // Stripe's refusals
mod http; // the server below
mod rendering; // Stripe's objects and events
mod world; // what the account holds, and what can happen in it

mod queue; // deliveries that wait
mod stats; // counts
mod sync; // a lock that a panic does not poison
mod error; // why something was not done

use std::net::SocketAddr;
use std::sync::Arc;

use delivery::Deliverers;
pub use delivery::signature;
pub use error::{Error, Result};
use http::{Request, Server};
use simulation::Simulation;
pub use simulation::{Made, Options, Purchase, Trigger};
use sync::lock;
pub use world::webhook_endpoints::Shape;

/// A key that the sandbox accepts; it accepts any other test key as well.
pub const KEY: &str = "sk_test_sandbox";

/// The names of all scenarios, and what each is.
pub fn scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    world::scenarios::SCENARIOS.iter().map(|scenario| (scenario.name, scenario.about))
}

/// A running sandbox. Dropping it ends its threads.
pub struct Sandbox {
    simulation: Arc<Simulation>,
    server: Server,
    deliverers: Deliverers,
}

impl Sandbox {
    /// Listens and delivers from now on. `Refused` when the address is not loopback or taken, or
    /// the webhook is no URL.
    pub fn start(options: Options) -> Result<Sandbox> {
        let listen = options.listen;
        let simulation = Arc::new(Simulation::new(options)?);
        let deliverers = Deliverers::start(&simulation)?;
        let responding = simulation.clone();
        let respond = move |request: &Request| match request.path.starts_with(control::ROOT) {
            true => control::respond(&responding, request),
            false => responding.respond(request),
        };
        let server = Server::start(listen, respond)?;
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

    /// Delivers to this URL from now on, also what waits for another attempt. `Refused` when it is
    /// no URL.
    pub fn deliver_to(&self, webhook: &str) -> Result<()> {
        self.simulation.deliver_to(Some(webhook))
    }

    /// Makes purchases; their events are delivered meanwhile, unless `deliver` is false. `Refused`
    /// when there is no such scenario, or when it is too many.
    pub fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        self.simulation.trigger(order)
    }

    /// Delivers an event once, now, and returns the status that was answered, 0 for none. `Missing`
    /// when there is no such event.
    pub fn deliver(&self, id: &str) -> Result<u16> {
        let event = lock(&self.simulation.account).place_of_event(id);
        let event = event.ok_or_else(|| Error::Missing(format!("there is no event {id}")))?;
        Ok(self.deliverers.deliver_now(event))
    }
}
