//! `fulfilld sandbox`: a simulated Stripe in the foreground, until a signal ends it.

use std::net::SocketAddr;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};
use crate::sandbox::{KEY, Options, Sandbox, Shape};

/// Starts, says on standard output where it listens, and returns after SIGTERM or SIGINT. `webhook` is a URL, or `none`
/// to deliver nothing; `rate_per_s` counts requests to one endpoint, 0 is no limit. `Usage` when an argument cannot be
/// used or the port is taken.
pub fn run(
    listen: SocketAddr,
    webhook: &str,
    secret: &str,
    shape: Shape,
    latency_ms: u64,
    rate_per_s: u32,
) -> Result<()> {
    let webhook = (webhook != "none").then(|| webhook.to_string());
    let latency = Duration::from_millis(latency_ms);
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Error::Temporary(format!("cannot listen for signals: {e}")))?;
    let to = webhook.clone().unwrap_or_else(|| "nobody".into());
    let sandbox = Sandbox::start(Options { listen, webhook, secret: secret.into(), shape, latency, rate_per_s })?;
    println!("sandbox: Stripe's API at {} (key {KEY}), events to {to}", sandbox.base_url());
    let _ = signals.forever().next();
    Ok(())
}
