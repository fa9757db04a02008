//! What is set, by whom, and whether it can be used. One broken setting does not hide the next.

use super::{Report, Shop};
use crate::config::{self, Fault, SETTINGS};
use crate::env::{self, ETC_VARIABLE};

/// Everything that can be checked without a request.
pub fn check(_: &Shop, report: &mut Report) {
    if let Some(why) = &env::all().unreadable {
        return report.problem(
            "settings_unreadable",
            format!("the service's settings cannot be read: {why}"),
            "Neither they nor the secrets can be checked; what follows assumes the defaults.",
            "sudo fulfilld doctor",
        );
    }
    // Those of the hooks stand with what else is to be said of hooks.
    let found = config::faults().into_iter().filter(|fault| !is_of_hooks(fault));
    let (key, found): (Vec<Fault>, Vec<Fault>) = found.partition(|fault| is_about(fault, "key"));
    let (secret, plain): (Vec<Fault>, Vec<Fault>) =
        found.into_iter().partition(|fault| is_about(fault, "webhook_secret"));
    let before = report.lines.len();
    plain.into_iter().for_each(|fault| report.fault(fault));
    unknown(report);
    if report.lines.len() == before {
        report.good("every setting is valid");
    }
    if key.is_empty() {
        let live = config::KEY.read().value.is_some_and(|key| key.livemode);
        let mode = if live { "live" } else { "test" };
        report.good(format!("STRIPE_SECRET_KEY: a restricted {mode} key"));
    }
    key.into_iter().for_each(|fault| report.fault(fault));
    if secret.is_empty() {
        let n = config::WEBHOOK_SECRET.read().value.map_or(0, |secrets| secrets.len());
        report.good(format!("WEBHOOK_SECRET: {n} signing secret{}", if n == 1 { "" } else { "s" }));
    }
    secret.into_iter().for_each(|fault| report.fault(fault));
}

/// True for what `doctor` says of hooks.
pub fn is_of_hooks(fault: &Fault) -> bool {
    is_about(fault, "hook")
}

fn is_about(fault: &Fault, id: &str) -> bool {
    fault.id.strip_prefix(id).is_some_and(|rest| rest.starts_with('_'))
}

/// Variables that begin as ours do and are none of ours.
fn unknown(report: &mut Report) {
    for name in env::all().names().filter(|name| name.starts_with("FULFILLD_")) {
        let is_known = SETTINGS.iter().any(|setting| {
            let file = name.strip_suffix("_FILE").filter(|_| setting.is_secret());
            setting.name == name || file == Some(setting.name)
        });
        if !is_known && ![ETC_VARIABLE, "FULFILLD_SABOTAGE"].contains(&name) {
            report.advice(
                "setting_unknown",
                format!("{name} is not a setting of fulfilld"),
                "fulfilld does not read it; perhaps another name was meant.",
                "fulfilld serve --help lists them all",
            );
        }
    }
}
