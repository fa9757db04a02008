//! What bounds a client: sizes, times, numbers.

use std::time::Duration;

/// What bounds a client; `default()` is what serves.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Threads that take requests, at most. Two do for requests that are there at once; more are
    /// started while bodies are waited for.
    pub handlers: usize,
    /// Bytes of a body; Stripe's events have a few thousand.
    pub body_max: usize,
    /// Silence while a connection is read or written: a proxy on this server is never silent for
    /// long.
    pub silence: Duration,
    /// From a request's head to the end of its body ...
    pub body_within: Duration,
    /// ... and while others have been waiting longer than `waiting_max`, whom a slow client must
    /// not keep out.
    pub body_within_when_waited_for: Duration,
    /// See `body_within_when_waited_for`.
    pub waiting_max: Duration,
    /// A connection's whole life, the queue, the body and the commit included; the proxy waits no
    /// longer ...
    pub connection_within: Duration,
    /// ... and while more than `connections_max` are open. Above `memory_max` bytes it is one round
    /// of the reaper.
    pub connection_within_when_crowded: Duration,
    /// Each takes a thread and two descriptors; the proxy is configured to open half as many.
    pub connections_max: usize,
    /// tiny_http keeps a head of any size; this is below the unit's MemoryHigh.
    pub memory_max: u64,
    /// A request that has waited so long is answered 503: whoever sent it has given up, and sends
    /// it again.
    pub shed_after: Duration,
    /// Connections that outlive being cut. `GET / HTTP/2.0` hangs a thread of tiny_http's for ever,
    /// for one.
    pub leaks_max: usize,
    /// The same where nobody can be cut, and leaks are known by their threads only.
    pub threads_max: u64,
    /// Between two rounds of the reaper.
    pub round: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handlers: 64,
            body_max: 1 << 20,
            silence: Duration::from_secs(5),
            body_within: Duration::from_secs(5),
            body_within_when_waited_for: Duration::from_secs(1),
            waiting_max: Duration::from_millis(500),
            connection_within: Duration::from_secs(15),
            connection_within_when_crowded: Duration::from_secs(2),
            connections_max: 512,
            memory_max: 128 << 20,
            shed_after: Duration::from_secs(10),
            leaks_max: 100,
            threads_max: 1500,
            round: Duration::from_millis(200),
        }
    }
}
