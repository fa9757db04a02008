//! What the daemon's threads share: the writer, Stripe's client, how Stripe is, and who is woken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::alarms::{self, Alarm};
use crate::breaker::{Breaker, Turn};
use crate::claims;
use crate::clock;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::queue::Signal;
use crate::stripe::{INVOICE_PAYMENTS, Stripe};
use crate::sync::lock;
use crate::writer::Writer;

/// One a process.
pub struct Context {
    /// All writes of the daemon.
    pub writer: Writer,
    /// The client, paced for all threads together.
    pub stripe: Stripe,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// The mode the file was born with.
    pub livemode: bool,
    /// The account whose events are the shop's, where that was set.
    pub account: Option<String>,
    /// Wakes and stops the work on events.
    pub events: Arc<Signal>,
    /// Whether Stripe fails for everyone.
    pub breaker: Breaker,
    /// The permissions that the key lacks, as `attention` shows them; locked until it shows them.
    forbidden: Mutex<Vec<(&'static str, String)>>,
}

impl Context {
    /// One for the process; every thread shares it.
    pub fn new(
        writer: Writer,
        stripe: Stripe,
        metrics: Arc<Metrics>,
        livemode: bool,
        account: Option<String>,
    ) -> Arc<Context> {
        let forbidden = Mutex::new(stripe.forbidden());
        Arc::new(Context {
            writer,
            stripe,
            metrics,
            livemode,
            account,
            events: Arc::default(),
            breaker: Breaker::default(),
            forbidden,
        })
    }

    /// Why requests to Stripe are paused, for `/readyz`: the sentence, and since when.
    pub fn trouble_with_stripe(&self) -> Option<(String, Duration)> {
        self.breaker.trouble()
    }

    /// A new event is on disk.
    pub fn event_came(&self) {
        self.events.job_came();
    }

    /// Takes note of how Stripe answered a request that is not about an event. What may as well be
    /// the file's failure does not count.
    pub fn note_asked(&self, answer: Result<(), &Error>) {
        use Error::*;
        match answer {
            Err(Temporary(_) | Full(_) | Permanent(_) | Corrupt(_)) => self.note_forbidden(),
            answer => self.note_answer(answer),
        }
    }

    /// Takes note of how Stripe answered, and of the permissions that the key lacks.
    pub fn note_answer(&self, answer: Result<(), &Error>) {
        // A request that is broken off by stopping is no outage.
        if !self.events.is_stopping() {
            match self.breaker.note(answer) {
                Some(Turn::Opened { why, key_refused }) => {
                    log::error!(
                        "requests to Stripe are paused; events are stored and will be processed later: {why}"
                    );
                    if key_refused {
                        self.raise_alarm(Alarm::key_refused(why));
                    }
                }
                Some(Turn::Closed(after)) => {
                    log::info!(
                        "Stripe answers again after {} s; everything that waited continues",
                        after.as_secs()
                    );
                    self.note_recovery("key_refused", false);
                }
                None => {}
            }
        }
        self.note_forbidden();
    }

    /// Shows the permissions that the key lacks in `attention`, and lets what waited continue once
    /// one is granted.
    fn note_forbidden(&self) {
        let mut shown = lock(&self.forbidden);
        let now = self.stripe.forbidden();
        if *shown == now {
            return;
        }
        let lacks = |name: &str| now.iter().any(|(left, _)| *left == name);
        let granted: Vec<&str> =
            shown.iter().map(|(name, _)| *name).filter(|name| !lacks(name)).collect();
        shown.clone_from(&now);
        if !granted.is_empty() {
            self.note_recovery("key_lacks_permission", granted.contains(&INVOICE_PAYMENTS));
        }
        if !now.is_empty() {
            let alarm = Alarm::key_lacks_permission(&now);
            log::error!(
                "a permission is missing; what needs it waits, orders continue: {}",
                alarm.message
            );
            self.raise_alarm(alarm);
        }
    }

    fn raise_alarm(&self, alarm: Alarm) {
        let raised = self.writer.write(move |c| alarms::raise(c, &alarm, clock::now()));
        if let Err(error) = raised {
            log::warn!("cannot store the alarm: {error}");
        }
    }

    /// What waited is due now; `shown`: so is what was read without what the key shows by now.
    fn note_recovery(&self, alarm: &'static str, shown: bool) {
        let woken = self.writer.write(move |c| {
            alarms::clear(c, alarm)?;
            if shown {
                claims::request_again_what_is_taken(c)?;
            }
            claims::wake_all(c, clock::now())
        });
        let woken = woken.and_then(|n| {
            // A buyer's event waits for one of these transactions at most.
            let mut below = shown.then_some(i64::MAX);
            while let Some(before) = below {
                below = self.writer.write(move |c| claims::wake_unfinished(c, before))?;
            }
            Ok(n)
        });
        match woken {
            Ok(n) => log::debug!("{n} events that waited are due again"),
            Err(error) => {
                log::warn!(
                    "cannot wake the events that wait: {error}; they will be retried when due"
                )
            }
        }
        self.events.wake();
    }
}
