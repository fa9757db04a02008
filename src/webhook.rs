//! The webhook: verify, store, answer. 200 means that the event is on disk.
//!
//! A handler verifies and hands the event to the writer; `webhook/responder.rs` answers when it is
//! committed.

mod responder;
mod secrets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::clock;
use crate::context::Context;
use crate::door::{Answer, Request};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::forgotten;
use crate::handlers;
use crate::inbox::{self, Source};
use crate::metrics::Metrics;
use crate::sabotage;
use crate::signature::{self, Refusal, SigningSecret};
use crate::writer::{Note, Task};
use responder::{Outbox, Responder, Waiting, not_stored};
use secrets::Secrets;

/// Our clock is this far behind Stripe's before it is worth a line in the log.
const CLOCK_BEHIND_S: i64 = 60;

/// What the answer to a refused post begins with, as in Stripe's own examples.
pub const REFUSAL: &str = "Webhook Error: ";

/// What the webhook needs to verify an event and to store it.
pub struct Webhook {
    /// What signatures are verified with.
    pub secrets: Secrets,
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    responder: Responder,
    /// An event's signature has matched since the start, so at least one of the secrets is right.
    has_matched: AtomicBool,
    /// How long an event that only echoes another is left to wait.
    echo_after: Duration,
}

impl Webhook {
    /// Starts the responders.
    pub fn new(
        secrets: Vec<SigningSecret>,
        context: Arc<Context>,
        metrics: Arc<Metrics>,
        echo_after: Duration,
    ) -> Webhook {
        let worker = context.clone();
        Webhook {
            secrets: Secrets::new(secrets, metrics.clone()),
            responder: Responder::start(move || worker.event_came(), metrics.clone()),
            context,
            metrics,
            has_matched: AtomicBool::new(false),
            echo_after,
        }
    }

    /// True once a thread that answers has ended by a panic.
    pub fn is_dead(&self) -> bool {
        self.responder.is_dead()
    }

    /// After the last request: the threads that answer end.
    pub fn close(&self) {
        self.responder.close();
    }

    /// Answers `POST /webhook`, once the event is on disk. 400: not Stripe's, or not to be
    /// understood even as an envelope. 503: Stripe's, but not on disk; Stripe sends it again.
    pub fn post(&self, request: Request) {
        let began = Instant::now();
        let event = match self.verify(&request) {
            Ok(event) => event,
            Err(answer) => return self.answer(request, &answer),
        };
        let bytes = request.body.len();
        let (waiting, body) = match self.responder.keep(request, began) {
            Ok(kept) => kept,
            Err(request) => {
                let error = Error::Temporary("too many wait for the disk".into());
                log::warn!("a webhook was answered 503: {error}");
                return self.answer(*request, &not_stored(&error));
            }
        };
        let payload = String::from_utf8(body).expect("what was parsed is UTF-8");
        let outbox = self.responder.outbox();
        if sabotage::is("answer_before_commit") {
            outbox.put(waiting.clone(), Ok(true));
        }
        let echo_after = self.echo_after;
        let keeping = Keeping { event, payload, echo_after, waiting, outbox, new: false };
        self.context.writer.hand_over(bytes, Box::new(keeping));
    }

    fn answer(&self, request: Request, answer: &Answer) {
        self.metrics.http_answered("/webhook", answer.status);
        request.answer(answer);
    }

    fn verify(&self, request: &Request) -> std::result::Result<Event, Answer> {
        let refuse = |cause: &'static str, why: &str| {
            self.metrics.webhook_refused(cause);
            log::debug!("a webhook was answered 400: {why}");
            Answer::text(400, format!("{REFUSAL}{why}"))
        };
        // Held until they are counted, so that a count goes to the secret that matched.
        let secrets = self.secrets.in_force();
        // Where the two clocks differ, a signature's age is the smaller of the two: the `Date` of
        // an answer may be wrong as well, and an event that comes again changes nothing.
        let now = self.context.stripe.skew().now().min(clock::now()).as_second();
        let verified = signature::verify(
            request.header("Stripe-Signature"),
            &request.body,
            &secrets,
            now,
        )
        .map_err(|refusal| {
            // Stripe signs well, so the rest comes from strangers. The log counts what
            // repeats.
            match refusal {
                Refusal::NoMatch => log::warn!(
                    "a webhook was answered 400: no signature matches; {}; then: fulfilld doctor",
                    likely_cause(
                        &request.body,
                        self.context.livemode,
                        self.has_matched.load(Ordering::Relaxed)
                    )
                ),
                Refusal::TooOld => log::warn!("a webhook was answered 400: {refusal}"),
                _ => {}
            }
            refuse(refusal.cause(), &refusal.to_string())
        })?;
        if verified.age_s < -CLOCK_BEHIND_S {
            log::warn!(
                "a signature is from {} s in the future: is this server's clock slow?",
                -verified.age_s
            );
        }
        let event = Event::parse(&request.body).map_err(|why| refuse("not_an_event", &why))?;
        // What doctor signs is no event, and shows nothing about Stripe's endpoint.
        self.has_matched.store(true, Ordering::Relaxed);
        self.metrics.verified_by(&verified.secrets);
        Ok(event)
    }
}

/// Why none of our secrets has signed a body that is not to be trusted: what the shop may fix.
fn likely_cause(body: &[u8], livemode: bool, has_matched: bool) -> &'static str {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return "its body is not a Stripe event, so it came from a stranger, or a proxy on the way cuts bodies";
    };
    match body["livemode"].as_bool() {
        Some(true) if !livemode => {
            "it is of live mode, and this shop's key is a test key: post to each shop what is of its own mode"
        }
        Some(false) if livemode => {
            "it is of test mode, and this shop's key is live: WEBHOOK_SECRET, or the endpoint, is the test one"
        }
        _ if has_matched => {
            "others have matched, so a second endpoint posts here whose signing secret is missing \
             in WEBHOOK_SECRET, or somebody else signs"
        }
        _ => {
            "WEBHOOK_SECRET is probably not the signing secret (whsec_…) of this endpoint, else a \
             proxy on the way changes the body"
        }
    }
}

/// An event on its way to the disk.
struct Keeping {
    event: Event,
    payload: String,
    echo_after: Duration,
    waiting: Arc<Waiting>,
    outbox: Outbox,
    new: bool,
}

impl Task for Keeping {
    fn run(&mut self, c: &Connection, note: &mut Option<Note>) -> Result<()> {
        let now = clock::now();
        let due = if handlers::is_an_echo(&self.event) { now + self.echo_after } else { now };
        // Events that are committed together came together, and share one place in the sequence.
        let Note { seq, anyone_forgotten } = match *note {
            Some(note) => note,
            None => *note.insert(Note {
                seq: inbox::next_number(c)?,
                anyone_forgotten: forgotten::anyone(c)?,
            }),
        };
        let event = &self.event;
        let payload = forgotten::storable(c, anyone_forgotten, event, &self.payload)?;
        self.new = inbox::insert_at(c, seq, event, payload, Source::Webhook, now, due)?;
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        self.outbox.put(self.waiting, outcome.map(|()| self.new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_cause_of_a_wrong_signature_is_what_the_shop_can_fix() {
        let event = |livemode: bool| format!(r#"{{"id": "evt_1", "livemode": {livemode}}}"#);
        for (body, livemode, has_matched, cause) in [
            (event(true), true, false, "probably not the signing secret"),
            (event(false), true, true, "is the test one"),
            (event(true), false, true, "this shop's key is a test key"),
            (event(true), true, true, "a second endpoint"),
            (String::new(), true, true, "a stranger"),
            (r#"{"id": "evt_1""#.into(), true, false, "cuts bodies"),
        ] {
            let told = likely_cause(body.as_bytes(), livemode, has_matched);
            assert!(told.contains(cause), "{body}: {told}");
        }
    }
}
