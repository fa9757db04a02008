//! `fulfilld serve`: the daemon. What it does is in the room `serve`; here is what the operator reads about it.

use crate::config::SETTINGS;
use crate::error::Result;

/// Take Stripe's webhooks and turn them into orders, until stopped
///
/// Keeps every event before it answers, asks Stripe what was bought, and writes orders, line items and what is to be
/// sent into the file, which it creates when it is not there. SIGTERM and SIGINT stop it after what is in hand is done; the
/// signing secrets are read again when their file has changed, or at once on SIGHUP.
///
/// Settings are environment variables. Each of the secrets can be a file instead, named by STRIPE_SECRET_KEY_FILE,
/// WEBHOOK_SECRET_FILE and FULFILLD_HOOK_SECRET_FILE, or a systemd credential called stripe_secret_key, webhook_secret or
/// hook_secret. The other verbs, typed beside a service, use its settings in /etc/fulfilld (or FULFILLD_ETC) for what this
/// environment does not set.
#[derive(clap::Args)]
#[command(before_help = "Example: STRIPE_SECRET_KEY=rk_test_… WEBHOOK_SECRET=whsec_… fulfilld serve")]
#[command(after_long_help = settings())]
pub struct Args {}

/// Runs the daemon. `Config` names a setting that is missing or wrong.
pub fn run(_: &Args) -> Result<()> {
    crate::serve::serve()
}

fn settings() -> String {
    SETTINGS.iter().fold("Settings:".into(), |table, setting| {
        let default = match setting.default {
            "" => String::new(),
            value => format!(" [default: {value}]"),
        };
        format!("{table}\n  {}{default}\n          {}", setting.name, setting.about)
    })
}
