//! Watches this server's clock: that it was set, and that it is wrong by Stripe's.
//!
//! Neither may cost an order. What waits for a time is looked at again when the clock was set.
//! While it is wrong, signatures and Stripe's lists are judged by Stripe's clock (`skew.rs`), and
//! an alarm says what to type.

use std::time::{Duration, Instant};

use crate::alarms::{self, Alarm};
use crate::claims;
use crate::clock::{self, Steps};
use crate::context::Context;
use crate::inbox;
use crate::skew::WRONG_FROM_S;

/// The alarm ends when the clock is this much nearer than where it begins, so that it does not come
/// and go.
const NEARER_S: i64 = 10;

/// Between two tries to write what the file did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is known of the clock.
pub struct Watch {
    steps: Steps,
    /// By how much the alarm in the file says that the clock is fast, 0 for no alarm; `None` when
    /// the file was not read yet.
    told_s: Option<i64>,
    /// What waits is still to be woken.
    to_wake: bool,
    /// The next time that something may be written.
    write_at: Instant,
}

impl Watch {
    /// Begins with the clock as it is now.
    pub fn begin() -> Watch {
        Watch { steps: Steps::begin(), told_s: None, to_wake: false, write_at: Instant::now() }
    }

    /// One look, cheap enough for five in a second. True when the clock was set; then events that
    /// wait are due again, and the caller wakes whatever else waits for a time.
    pub fn look(&mut self, context: &Context) -> bool {
        let step = self.steps.look();
        if let Some(by) = step {
            let way = if by > 0 { "forward" } else { "back" };
            log::warn!(
                "this server's clock was set {way} by {} s; checking again what is due",
                by.abs() / 1000
            );
            context.stripe.skew().doubt();
            self.to_wake = true;
        }
        if Instant::now() >= self.write_at {
            self.write_at = Instant::now() + AGAIN_AFTER;
            self.wake(context);
            self.tell(context);
        }
        step.is_some()
    }

    fn wake(&mut self, context: &Context) {
        if !self.to_wake {
            return;
        }
        match context
            .writer
            .write(|c| inbox::as_author(c, "fulfilld:clock", |c| claims::wake_all(c, clock::now())))
        {
            Ok(_) => {
                self.to_wake = false;
                context.event_came();
            }
            Err(error) => log::debug!("what waits is woken a little later: {error}"),
        }
    }

    /// Raises the alarm, renews it when the clock is another minute off, or ends it.
    fn tell(&mut self, context: &Context) {
        let skew = context.stripe.skew();
        let (true, Some(fast_s)) = (skew.is_known(), skew.fast_s()) else { return };
        let told_s = self.told_s.unwrap_or(0);
        let is_wrong = fast_s.abs() >= WRONG_FROM_S - if told_s == 0 { 0 } else { NEARER_S };
        if is_wrong && (fast_s - told_s).abs() < WRONG_FROM_S || !is_wrong && self.told_s == Some(0)
        {
            return;
        }
        let alarm = Alarm::clock_wrong(fast_s);
        let said = alarm.message.clone();
        let written = context.writer.write(move |c| match is_wrong {
            true => alarms::raise(c, &alarm, clock::now()),
            false => alarms::clear(c, alarm.name),
        });
        match written {
            Ok(()) if is_wrong && told_s == 0 => log::error!("{said}"),
            Ok(()) if !is_wrong && told_s != 0 => {
                log::info!("this server's clock is right again, by Stripe's")
            }
            Ok(()) => {}
            Err(error) => {
                return log::debug!("the alarm about the clock is written a little later: {error}");
            }
        }
        self.told_s = Some(if is_wrong { fast_s } else { 0 });
    }
}
