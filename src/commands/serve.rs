//! `fulfilld serve`: the daemon. What it does is in the room `serve`; here is what the operator
//! reads about it.

use crate::config::SETTINGS;
use crate::error::Result;

/// Take Stripe's webhooks and turn them into orders, until stopped
///
/// Stores every event before it answers, asks Stripe what was bought, and writes orders, line items
/// and what is to be sent into the file, which it creates if it is missing. SIGTERM and SIGINT stop
/// it once the work in progress is done. It reads the signing secrets again when their file
/// changes, and at once on SIGHUP.
///
/// Settings are environment variables. A secret can be in a file instead, named by
/// STRIPE_SECRET_KEY_FILE, WEBHOOK_SECRET_FILE and FULFILLD_HOOK_SECRET_FILE, or a systemd
/// credential called stripe_secret_key, webhook_secret or hook_secret. The other verbs use the
/// settings of the service in /etc/fulfilld (or FULFILLD_ETC) for what this environment does not
/// set.
#[derive(clap::Args)]
#[command(
    before_help = "Example: STRIPE_SECRET_KEY=rk_test_… WEBHOOK_SECRET=whsec_… fulfilld serve"
)]
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
