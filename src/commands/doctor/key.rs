//! The key: whether Stripe takes it, and whether it may read what fulfilld reads, and no more.

use std::path::Path;
use std::sync::Arc;

use super::file;
use super::{Report, Shop, clock};
use crate::clock::now;
use crate::config::{self, StripeAccess};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::stripe::{Looked, Stripe, Unreached};

/// Where a key's permissions are changed.
const EDIT: &str = "Stripe's Dashboard, Developers, API keys, the key, Edit key";

/// A permission of the Dashboard's list that fulfilld needs.
struct Permission {
    id: &'static str,
    /// As the Dashboard calls it.
    name: &'static str,
    /// Requests that show whether the key has it; 404 is an answer too.
    paths: &'static [&'static str],
    without: &'static str,
}

/// Requested in this order. Checkout Sessions come first, by [`check`] itself.
const PERMISSIONS: &[Permission] = &[
    Permission {
        id: "permission_line_items",
        name: "Checkout Sessions",
        paths: &["/v1/checkout/sessions/cs_of_no_one/line_items?limit=1"],
        without: "An order has no lines without it.",
    },
    Permission {
        id: "permission_payment_intents",
        name: "PaymentIntents",
        paths: &["/v1/payment_intents?limit=1"],
        without: "An order does not say how it was paid, and cannot be found by its payment.",
    },
    Permission {
        id: "permission_charges_and_refunds",
        name: "Charges and Refunds",
        paths: &["/v1/charges?limit=1", "/v1/refunds?limit=1"],
        without: "Refunds wait, and a refunded order is sent all the same.",
    },
    Permission {
        id: "permission_disputes",
        name: "Disputes",
        paths: &["/v1/disputes?limit=1"],
        without: "Disputes wait, and a disputed order is sent all the same.",
    },
    Permission {
        id: "permission_radar",
        name: "Radar",
        paths: &["/v1/reviews?limit=1", "/v1/radar/early_fraud_warnings?limit=1"],
        without: "Reviews and early fraud warnings wait, and such an order is sent all the same.",
    },
    Permission {
        id: "permission_invoices",
        name: "Invoices",
        paths: &["/v1/invoice_payments?limit=1"],
        without: "A subscription's payment cannot be found, nor its refund.",
    },
    Permission {
        id: "permission_products",
        name: "Products",
        paths: &["/v1/products?limit=1"],
        without: "Lines have no SKU, and what needs no parcel is packed.",
    },
    Permission {
        id: "permission_prices",
        name: "Prices",
        paths: &["/v1/prices?limit=1"],
        without: "Lines have no options and no SKU.",
    },
    Permission {
        id: "permission_shipping_rates",
        name: "Shipping Rates",
        paths: &["/v1/shipping_rates?limit=1"],
        without: "An order does not say which way of shipping was paid for.",
    },
    Permission {
        id: "permission_balance",
        name: "Balance",
        paths: &["/v1/balance"],
        without: "A delayed payment is booked on the day that Stripe first said it was paid, not \
                  on the day the money was there.",
    },
    Permission {
        id: "permission_events",
        name: "Events",
        paths: &["/v1/events?limit=1"],
        without: "What was missed during a long downtime cannot be found in Stripe's events.",
    },
];

/// Harmless requests that fulfilld itself never sends, and what answers them.
const TOO_MUCH: &[(&str, &str)] =
    &[("/v1/customers?limit=1", "Customers"), ("/v1/payouts?limit=1", "Payouts")];

/// A client with the key, and the key's mode, where Stripe accepts the key at all.
pub fn usable(shop: &Shop, report: &mut Report) -> Option<(Stripe, bool)> {
    let key = config::KEY.read().value.zip(config::STRIPE_API.read().value);
    let access = key.and_then(|(key, base_url)| StripeAccess::with(key, base_url, 1.0).ok());
    if let Some(access) = &access {
        same_mode(&shop.file, access.livemode, report);
    }
    match access {
        _ if shop.offline => report.skip("not checked (--offline)"),
        _ if report.has("stripe_api_odd") => {
            report.skip("not checked: fix FULFILLD_STRIPE_API first")
        }
        None => report.skip("not checked: fix the key first"),
        Some(access) => {
            let livemode = access.livemode;
            return Some((Stripe::new(access, Arc::new(Metrics::default())), livemode));
        }
    }
    None
}

/// A file is born live or test.
fn same_mode(path: &Path, livemode: bool, report: &mut Report) {
    let Some(born) = file::livemode(path).filter(|born| *born != livemode) else { return };
    let word = |live: bool| if live { "live" } else { "test" };
    report.problem(
        "key_mode_differs",
        format!(
            "STRIPE_SECRET_KEY is a {} key, and {} holds {} orders",
            word(livemode),
            path.display(),
            word(born)
        ),
        "fulfilld does not start: live and test orders never share a file.",
        format!("use the {} key, or another file: FULFILLD_DB=…", word(born)),
    );
}

/// What the key lacks, by the names of the Dashboard's list, for who sets up a shop.
pub fn missing_permissions(stripe: &Stripe) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    let sessions = ("Checkout Sessions", &["/v1/checkout/sessions?limit=1"] as &[&str]);
    let all = PERMISSIONS.iter().map(|permission| (permission.name, permission.paths));
    for (name, paths) in std::iter::once(sessions).chain(all) {
        for path in paths {
            let answer = stripe.look(path).map_err(|e| Error::Temporary(e.why().to_string()))?;
            match answer.status {
                401 => {
                    return Err(Error::Config(format!(
                        "Stripe refuses the key ({}); copy it again, or make a new one: Stripe's Dashboard, \
                         Developers, API keys",
                        answer.said
                    )));
                }
                403 if !missing.contains(&name) => missing.push(name),
                429 | 500.. => return Err(Error::Temporary("Stripe is busy or failing".into())),
                _ => {}
            }
        }
    }
    Ok(missing)
}

/// Takes the clock from the first answer on the way.
pub fn check(stripe: &Stripe, report: &mut Report) {
    let Some(sessions) = ask(stripe, "/v1/checkout/sessions?limit=1", report) else { return };
    clock::check(now(), sessions.date, report);
    let vital = Permission {
        id: "permission_checkout_sessions",
        name: "Checkout Sessions",
        paths: &[],
        without: "There are no orders without it.",
    };
    let mut missing = 0;
    if sessions.status == 403 {
        missing += 1;
        lacks(&vital, &sessions, report);
    }
    for permission in PERMISSIONS.iter().skip(missing) {
        for path in permission.paths {
            let Some(answer) = ask(stripe, path, report) else { return };
            if answer.status == 403 {
                missing += 1;
                lacks(permission, &answer, report);
                break;
            }
        }
    }
    if missing == 0 {
        report.good("the key may read everything that fulfilld reads");
    }
    too_much(stripe, report);
}

fn lacks(permission: &Permission, answer: &Looked, report: &mut Report) {
    let Permission { id, name, without, .. } = permission;
    let said = if answer.said.is_empty() { "403" } else { &answer.said };
    let what = format!("the key may not read {name}; Stripe says: {said}");
    report.problem(*id, what, without, format!("{EDIT}: {name}, Read"));
}

fn too_much(stripe: &Stripe, report: &mut Report) {
    // A full key may do everything, which was said.
    if config::KEY.read().value.is_some_and(|key| key.is_full) {
        return;
    }
    let mut names = Vec::new();
    for (path, name) in TOO_MUCH {
        let Some(answer) = ask(stripe, path, report) else { return };
        if answer.status == 200 {
            names.push(*name);
        }
    }
    if !names.is_empty() {
        report.advice(
            "key_may_too_much",
            format!("the key may read what fulfilld never reads: {}", names.join(", ")),
            "Whoever gets hold of the key sees more than orders.",
            format!(
                "{EDIT}: {}, None; the list in docs/operations.md is all it needs",
                names.join(", ")
            ),
        );
    }
}

/// One request. `None` when no more can be sent, and then a finding says why.
pub fn ask(stripe: &Stripe, path: &str, report: &mut Report) -> Option<Looked> {
    let answer = match stripe.look(path) {
        Ok(answer) => answer,
        Err(unreached) => {
            unreachable(&unreached, report);
            return None;
        }
    };
    let said = if answer.said.is_empty() { answer.status.to_string() } else { answer.said.clone() };
    let (id, what, why, remedy) = match answer.status {
        401 if answer.code == "api_key_expired" => (
            "key_expired",
            format!("the key in STRIPE_SECRET_KEY has expired; Stripe says: {said}"),
            "Events are kept, and no order follows until there is a new key.",
            "Stripe's Dashboard, Developers, API keys: the new key goes into STRIPE_SECRET_KEY; \
             then: systemctl restart fulfilld",
        ),
        401 => (
            "key_refused",
            format!("Stripe refuses the key in STRIPE_SECRET_KEY: {said}"),
            "Events are stored, and no order follows until the key is fixed.",
            "Stripe's Dashboard, Developers, API keys: copy the key again, or make a new one; \
             then: systemctl restart fulfilld",
        ),
        429 | 500.. => (
            "stripe_fails",
            format!("Stripe is busy or failing: {said}"),
            "Events are kept, and orders follow once it answers.",
            "https://status.stripe.com; then run this again",
        ),
        200 | 400 | 403 | 404 if answer.value.is_object() => return Some(answer),
        status => (
            "stripe_garbage",
            format!("what answers for Stripe is not Stripe ({status} to {path})"),
            "No order can be read from it.",
            "remove FULFILLD_STRIPE_API, and look at the proxy that HTTPS_PROXY names",
        ),
    };
    report.problem(id, what, why, remedy);
    None
}

fn unreachable(unreached: &Unreached, report: &mut Report) {
    let why = unreached.why();
    let (id, what, remedy) = match unreached {
        Unreached::NoSuchHost(_) => (
            "stripe_no_host",
            format!("the name of Stripe's API cannot be resolved: {why}"),
            "resolvectl query api.stripe.com; look at /etc/resolv.conf, and at FULFILLD_STRIPE_API",
        ),
        Unreached::Tls(_) => (
            "stripe_tls",
            format!("the connection to Stripe is not to be trusted: {why}"),
            "look for something that opens TLS on the way (a proxy, a firewall); and at FULFILLD_STRIPE_API",
        ),
        Unreached::Refused(_) => (
            "stripe_unreachable",
            format!("Stripe cannot be reached: {why}"),
            "curl -sS https://api.stripe.com/healthcheck; let the firewall pass port 443 to the \
             outside; look at FULFILLD_STRIPE_API",
        ),
        Unreached::TimedOut(_) => (
            "stripe_silent",
            format!("Stripe does not answer: {why}"),
            "https://status.stripe.com; curl -sS https://api.stripe.com/healthcheck",
        ),
        Unreached::Garbage(_) => (
            "stripe_garbage",
            format!("what answers for Stripe is not Stripe: {why}"),
            "remove FULFILLD_STRIPE_API, and look at the proxy that HTTPS_PROXY names",
        ),
    };
    report.problem(
        id,
        what,
        "Events are stored, and no order follows until Stripe answers.",
        remedy,
    );
}
