//! `fulfilld sandbox`: a simulated Stripe in the foreground, until a signal ends it.

use std::net::SocketAddr;
use std::time::Duration;

use sandbox::{KEY, Options, Sandbox, Shape};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// Run a simulated Stripe on this machine, until stopped
///
/// It sells, answers as Stripe's API does, and delivers signed events. `fulfilld trigger` makes
/// purchases in it. Nothing leaves this machine and nothing is kept.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld sandbox --shape thin")]
pub struct Args {
    /// Address and port of its API; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// Where events are delivered, or none
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4242/webhook")]
    webhook: String,
    /// What deliveries are signed with; the desk's WEBHOOK_SECRET
    #[arg(long, value_name = "SECRET", default_value = "whsec_sandbox")]
    secret: String,
    /// Of Stripe's two shapes of event: snapshot, thin or both
    #[arg(long, default_value = "snapshot")]
    shape: Shape,
    /// Milliseconds before each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Requests a second to one endpoint before it answers 429, as Stripe does; 0 means no limit
    #[arg(long, value_name = "N", default_value_t = 25)]
    rate: u32,
}

/// Starts, says on standard output where it listens, and returns after SIGTERM or SIGINT. `Usage`
/// when an argument cannot be used or the port is taken.
pub fn run(args: &Args) -> Result<()> {
    let webhook = (args.webhook != "none").then(|| args.webhook.clone());
    let to = webhook.clone().unwrap_or_else(|| "nobody".into());
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .map_err(|e| Error::Temporary(format!("cannot listen for signals: {e}")))?;
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        webhook,
        secret: args.secret.clone(),
        shape: args.shape,
        latency: Duration::from_millis(args.latency),
        rate_per_s: args.rate,
    })
    .map_err(translate)?;
    println!("sandbox: Stripe's API at {} (key {KEY}), events to {to}", sandbox.base_url());
    let _ = signals.forever().next();
    Ok(())
}

/// The one place where the sandbox's errors become the program's.
pub fn translate(error: sandbox::Error) -> Error {
    let why = error.to_string();
    match error {
        sandbox::Error::Refused(_) | sandbox::Error::Missing(_) => Error::Usage(why),
        sandbox::Error::Unavailable(_) => Error::Temporary(why),
    }
}

#[cfg(test)]
mod tests {
    use crate::signature::{SigningSecret, verify};

    /// Two implementations that share no code.
    #[test]
    fn the_desk_verifies_what_the_sandbox_signs() {
        let signing = ["whsec_a".to_string(), "whsec_b".to_string()];
        let header = sandbox::signature(&signing, 1_795_489_500, b"{}");
        for ours in ["whsec_a", "whsec_b"] {
            let secrets = [SigningSecret::new(ours)];
            assert!(verify(Some(&header), b"{}", &secrets, 1_795_489_500).is_ok(), "{ours}");
            assert!(verify(Some(&header), b"{ }", &secrets, 1_795_489_500).is_err(), "{ours}");
        }
    }
}
