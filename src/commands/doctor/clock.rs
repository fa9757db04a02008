//! This server's clock against Stripe's, by the `Date` of an answer.

use super::Report;
use crate::clock::Timestamp;

/// As much may an answer take on its way; a signature may be 300 s old.
const OFF_MAX_S: i64 = 60;

/// Reports a clock that is a minute or more away from Stripe's. `stripe`: the `Date` of an answer.
pub fn check(here: Timestamp, stripe: Option<Timestamp>, report: &mut Report) {
    let Some(stripe) = stripe else {
        return report.skip("the clock: Stripe's answer has no date");
    };
    let off = here.as_second() - stripe.as_second();
    if off.abs() <= OFF_MAX_S {
        return report.good("the clock is Stripe's to within a minute");
    }
    let direction = if off > 0 { "fast" } else { "slow" };
    report.problem(
        "clock_off",
        format!("this server's clock is {} s {direction}, by the date of Stripe's answer", off.abs()),
        "A signature that seems older than 300 s is refused; and the times of orders and parcels are wrong.",
        "sudo timedatectl set-ntp true; where there is none: sudo apt install systemd-timesyncd",
    );
}
