//! Why webhooks do not come, as far as that can be told from here.

use std::collections::BTreeMap;

use crate::config;
use crate::endpoint;
use crate::stripe::Stripe;
use crate::text;

/// What Stripe says of the shop's endpoint, where the key may see it: why nothing of what was
/// `missed`, by type, comes from there.
pub fn endpoint_trouble(stripe: &Stripe, missed: &BTreeMap<String, usize>) -> Option<String> {
    let (mut all, mut hidden) = (Vec::new(), false);
    for (path, read) in endpoint::LISTS {
        match stripe.look(path) {
            Ok(answer) if answer.status == 200 => endpoint::add(&mut all, *read, &answer.value),
            _ => hidden = true,
        }
    }
    let url = Some(config::value("FULFILLD_PUBLIC_URL")).filter(|url| !url.is_empty());
    all.retain(|endpoint| endpoint.is_at(url.as_deref()));
    let Some(first) = all.first() else {
        let url = url.unwrap_or_else(|| "…/webhook".into());
        return (!hidden).then(|| {
            format!("Stripe has no webhook endpoint for {url}: add it in the Dashboard, Webhooks")
        });
    };
    if all.iter().all(|endpoint| !endpoint.enabled) {
        let url = text::clean(&first.url);
        return Some(format!(
            "Stripe's endpoint {url} is disabled: enable it in the Dashboard, Webhooks"
        ));
    }
    let unsent: Vec<String> = missed
        .keys()
        .filter(|kind| !all.iter().any(|endpoint| endpoint.enabled && endpoint.sends(kind)))
        .map(|kind| text::clean(kind))
        .collect();
    (!unsent.is_empty()).then(|| {
        format!(
            "the endpoint does not send {}: add it in the Dashboard, Webhooks",
            unsent.join(", ")
        )
    })
}
