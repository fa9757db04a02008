//! Webhooks that do not come: the alarm, and the cause as far as it shows from here.

use std::collections::BTreeMap;

use super::Backfill;
use crate::alarms::{self, Alarm};
use crate::clock;
use crate::config;
use crate::endpoint::{Endpoints, Trouble};
use crate::error::Result;
use crate::stripe::Stripe;
use crate::text;

impl Backfill {
    /// Raises the alarm that webhooks do not come, and clears it when one has come.
    pub(super) fn note_silence(&mut self, missed: &BTreeMap<String, usize>) -> Result<()> {
        let turned_away = self.context.metrics.webhooks_turned_away();
        let (refused, unstored) =
            (turned_away.0 - self.turned_away.0, turned_away.1 - self.turned_away.1);
        self.turned_away = turned_away;
        if missed.is_empty() {
            // Silence ends with a webhook, not because Stripe makes no more events.
            let heard = self.context.metrics.webhooks_acknowledged() > self.heard;
            if heard && self.reader.look(|c| alarms::message(c, "silence"))?.is_some() {
                log::info!("webhooks arrive again");
                self.context.writer.write(|c| alarms::clear(c, "silence"))?;
            }
            return Ok(());
        }
        self.heard = self.context.metrics.webhooks_acknowledged();
        let types: Vec<String> =
            missed.iter().map(|(name, n)| format!("{n} {}", text::clean(name))).collect();
        let cause = match (unstored, refused) {
            (1.., _) => {
                format!("fulfilld could not store {unstored} webhooks meanwhile (see /readyz)")
            }
            (_, 1..) => format!(
                "fulfilld refused {refused} webhooks meanwhile: is WEBHOOK_SECRET this endpoint's?"
            ),
            _ => endpoint_trouble(&self.context.stripe, missed).unwrap_or_else(|| {
                "the endpoint in Stripe is as it should be, or may not be looked at; does the \
                 proxy pass /webhook on?"
                    .into()
            }),
        };
        let message = format!(
            "webhooks do not come: Stripe made {} that had to be fetched; orders are complete, only later. {cause}",
            types.join(", ")
        );
        log::error!("{message}");
        self.context.writer.write(move |c| alarms::raise(c, &Alarm::silence(message), clock::now()))
    }
}

/// What Stripe says of the shop's endpoint, where the key may see it: why nothing of what was
/// `missed`, by type, comes from there.
fn endpoint_trouble(stripe: &Stripe, missed: &BTreeMap<String, usize>) -> Option<String> {
    let url = config::PUBLIC_URL.set();
    let endpoints = Endpoints::list(url.as_deref(), |path| stripe.look(path)).ok()?;
    let kinds: Vec<&str> = missed.keys().map(String::as_str).collect();
    Some(match endpoints.trouble(&kinds)? {
        Trouble::NotShown(_) => return None,
        Trouble::Missing => format!(
            "Stripe has no webhook endpoint for {}: add it in the Dashboard, Webhooks",
            url.as_deref().unwrap_or("…/webhook")
        ),
        Trouble::Disabled(endpoint) => format!(
            "Stripe's endpoint {} is disabled: enable it in the Dashboard, Webhooks",
            text::clean(&endpoint.url)
        ),
        Trouble::DoesNotSend(kinds) => format!(
            "the endpoint does not send {}: add it in the Dashboard, Webhooks",
            text::clean(&kinds.join(", "))
        ),
    })
}
