//! The webhook: verify, store, answer. 200 means that the event is on disk.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::clock;
use crate::config;
use crate::door::{Answer, Request};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::handlers;
use crate::inbox::{self, Source};
use crate::metrics::Metrics;
use crate::signature::{self, SigningSecret};
use crate::worker::Desk;

/// Our clock is this far behind Stripe's before it is worth a line in the log.
const CLOCK_BEHIND_S: i64 = 60;

/// What the webhook needs to believe an event and to keep it.
pub struct Webhook {
    secrets: RwLock<Arc<[SigningSecret]>>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    /// How long an event that only echoes another is left to wait.
    echo_after: Duration,
}

impl Webhook {
    pub fn new(secrets: Vec<SigningSecret>, desk: Arc<Desk>, metrics: Arc<Metrics>, echo_after: Duration) -> Webhook {
        Webhook { secrets: RwLock::new(secrets.into()), desk, metrics, echo_after }
    }

    /// Reads the secrets again, so that rolling one loses nothing. A mistake in the new ones leaves the old ones in force.
    pub fn reload_secrets(&self) -> Result<usize> {
        let secrets = config::signing_secrets()?;
        let n = secrets.len();
        *self.secrets.write().unwrap_or_else(|e| e.into_inner()) = secrets.into();
        Ok(n)
    }

    /// Answers `POST /webhook`. 400: not Stripe's, or not to be understood even as an envelope. 503: Stripe's, but not on
    /// disk; Stripe sends it again.
    pub fn post(&self, request: &Request) -> Answer {
        let began = Instant::now();
        let event = match self.believe(request) {
            Ok(event) => event,
            Err(answer) => return answer,
        };
        let echo_after = self.echo_after;
        let payload = String::from_utf8(request.body.clone()).expect("what was parsed is UTF-8");
        #[cfg(debug_assertions)]
        // The tests' control: a desk that answers before COMMIT must be caught by them.
        if std::env::var_os("FULFILLD_SABOTAGE").is_some_and(|how| how == "answer_before_commit") {
            let writer = self.desk.writer.clone();
            std::thread::spawn(move || writer.write(move |c| keep(c, &event, &payload, echo_after)));
            return received();
        }
        match self.desk.writer.write(move |c| keep(c, &event, &payload, echo_after)) {
            Ok(new) => {
                if new {
                    self.desk.event_came();
                }
                self.metrics.event_received(new, began.elapsed());
                received()
            }
            // What SQLite refuses as such can be stored no better by being sent again, but it is not lost either.
            Err(error) => {
                log::warn!("a webhook was answered 503: {error}");
                not_stored(&error)
            }
        }
    }

    fn believe(&self, request: &Request) -> std::result::Result<Event, Answer> {
        let refuse = |cause: &'static str, why: &str| {
            self.metrics.webhook_refused(cause);
            log::debug!("a webhook was answered 400: {why}");
            Answer::text(400, format!("Webhook Error: {why}"))
        };
        let secrets = self.secrets.read().unwrap_or_else(|e| e.into_inner()).clone();
        let now = clock::now().as_second();
        let verified = signature::verify(request.header("Stripe-Signature"), &request.body, &secrets, now)
            .map_err(|refusal| refuse(refusal.cause(), &refusal.to_string()))?;
        if verified.age_s < -CLOCK_BEHIND_S {
            log::warn!("Stripe signs {} s in the future: is this server's clock slow?", -verified.age_s);
        }
        Event::parse(&request.body).map_err(|why| refuse("not_an_event", &why))
    }
}

fn keep(c: &Connection, event: &Event, payload: &str, echo_after: Duration) -> Result<bool> {
    let now = clock::now();
    let due = if handlers::is_an_echo(event) { now + echo_after } else { now };
    inbox::keep(c, event, payload, Source::Webhook, now, due)
}

fn received() -> Answer {
    Answer::json(200, r#"{"received":true}"#.into())
}

fn not_stored(error: &Error) -> Answer {
    let mut answer = Answer::text(503, format!("The event could not be stored: {error}"));
    answer.headers.push(("Retry-After", "10"));
    answer
}
