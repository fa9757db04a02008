//! Deliveries: events posted to the shop's endpoint, signed as Stripe signs, and tried again until
//! it answers 2xx.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::error::{Error, Result};
use crate::queue::Due;
use crate::simulation::Simulation;
use crate::sync::lock;

const ANSWER_WITHIN: Duration = Duration::from_secs(10); // what Checkout waits before the buyer sees its end
const ANSWER_MAX: u64 = 64 << 10;
const DELIVERERS: usize = 16; // a receiver that is slow with one event gets the others meanwhile
const PAUSE_FIRST: Duration = Duration::from_millis(500); // Stripe's is longer; a test's patience is not
const PAUSE_MAX: Duration = Duration::from_secs(60);
const TRIES_MAX: u32 = 20; // about ten minutes; Stripe retries for three days
const STACK: usize = 512 << 10;

/// The threads that deliver. Dropping it ends them, and what they have under way.
pub struct Deliverers {
    simulation: Arc<Simulation>,
    agent: ureq::Agent,
    threads: Vec<JoinHandle<()>>,
}

impl Deliverers {
    /// Delivers what is queued from now on.
    pub fn start(simulation: &Arc<Simulation>) -> Result<Deliverers> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            // A redirect is no 2xx; Stripe does not follow it.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent("Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .accept("*/*; q=0.5, application/xml")
            .build()
            .into();
        let mut deliverers =
            Deliverers { simulation: simulation.clone(), agent, threads: Vec::new() };
        for _ in 0..DELIVERERS {
            let (simulation, agent) = (simulation.clone(), deliverers.agent.clone());
            let deliver = move || {
                while let Some(due) = simulation.queue.next() {
                    deliver(&simulation, &agent, due);
                }
            };
            let thread = std::thread::Builder::new()
                .name("sandbox-deliver".into())
                .stack_size(STACK)
                .spawn(deliver);
            deliverers.threads.push(
                thread.map_err(|e| Error::Unavailable(format!("cannot start a thread: {e}")))?,
            );
        }
        Ok(deliverers)
    }

    /// Delivers the event at a place in the account once, now; the status that was answered, 0 for
    /// none.
    pub fn deliver_now(&self, event: usize) -> u16 {
        let url = self.simulation.url_for(event);
        url.map_or(0, |url| attempt(&self.simulation, &self.agent, &url, event))
    }
}

impl Drop for Deliverers {
    fn drop(&mut self) {
        self.simulation.queue.stop();
        self.agent.clone().shutdown();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One attempt, and when it failed, the next one's time.
fn deliver(simulation: &Simulation, agent: &ureq::Agent, due: Due) {
    // An endpoint that is gone, disabled, or does not want it ends the attempts, as at Stripe.
    let Some(url) = simulation.url_for(due.event) else {
        return;
    };
    let status = attempt(simulation, agent, &url, due.event);
    let tries = due.tries + 1;
    if !(200..300).contains(&status) && tries < TRIES_MAX {
        let pause = PAUSE_FIRST.saturating_mul(1 << due.tries.min(16)).min(PAUSE_MAX);
        simulation.queue.put(Due { at: Instant::now() + pause, event: due.event, tries });
    }
}

/// Posts the event at a place in the account, and records the status.
fn attempt(simulation: &Simulation, agent: &ureq::Agent, url: &str, event: usize) -> u16 {
    let body = lock(&simulation.account).events[event].body();
    let secrets = lock(&simulation.secrets).clone();
    let status = post(agent, url, &secrets, &body);
    simulation.stats.delivered(status);
    let mut account = lock(&simulation.account);
    let event = &mut account.events[event];
    event.answers.push(status);
    event.delivered += usize::from((200..300).contains(&status));
    status
}

/// The status that was answered, 0 for none within the time.
fn post(agent: &ureq::Agent, url: &str, secrets: &[String], body: &[u8]) -> u16 {
    let answer = agent
        .post(url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Cache-Control", "no-cache")
        .header("Connection", "close")
        .header("Stripe-Signature", signature(secrets, Timestamp::now().as_second(), body))
        .send(body);
    answer.map_or(0, |mut answer| {
        let _ = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        answer.status().as_u16()
    })
}

/// `t=…,v1=…,v0=…`, made anew for each attempt, with a v1 for each secret. The v0 is what Stripe
/// sends from test mode: it matches nothing.
pub fn signature(secrets: &[String], now: i64, body: &[u8]) -> String {
    let signed = |key: &str| -> String {
        let mac =
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
        let digest =
            mac.chain_update(now.to_string()).chain_update(b".").chain_update(body).finalize();
        digest.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let v1: String = secrets.iter().map(|secret| format!(",v1={}", signed(secret))).collect();
    format!("t={now}{v1},v0={}", signed("the test scheme"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1795489500.{}' | openssl dgst -sha256 -hmac whsec_a`, and the same with the others.
    #[test]
    fn a_delivery_is_signed_with_each_secret_as_openssl_signs() {
        let header = signature(&["whsec_a".into(), "whsec_b".into()], 1_795_489_500, b"{}");
        assert_eq!(
            header,
            "t=1795489500,\
             v1=8aa6ea4660aa609750a73f9338b3fc1fbaca17cf45c75a988d86a80e2b79de84,\
             v1=b492554bc8a023a50e359e2e3e2a48e6e2a19b9aba0ce0fc0eb97f5a7d34b568,\
             v0=907e0a6cce75cc40f0c52cae0448f69e737aaac71c09fd44c49ec497848b2764"
        );
    }
}
