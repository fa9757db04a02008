//! Handlers: threads that take requests from tiny_http, read them whole, and hand them on.

use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::request::{Answer, Request, headers, tell};
use super::{Doing, Inside, LINGER, Visit, spawn};
use crate::sync::lock;

/// A status, and why.
type Refusal = (u16, &'static str);

const TOO_LARGE: Refusal = (413, "The body is larger than any event of Stripe's");

/// Handlers that are always there: one takes the next request while the other reads a body.
const HANDLERS_MIN: usize = 2;

impl Inside {
    /// So many handler threads stay, whatever the load.
    pub fn handlers_min(&self) -> usize {
        HANDLERS_MIN.min(self.limits.handlers)
    }

    /// Starts one more handler thread. `Temporary` when the system gives none.
    pub fn start_handler(self: &Arc<Self>) -> crate::error::Result<()> {
        let inside = self.clone();
        self.handlers.fetch_add(1, Relaxed);
        let started = spawn("handler".into(), move || inside.handle());
        if started.is_err() {
            self.handlers.fetch_sub(1, Relaxed);
        }
        started
    }

    /// A handler's life. Whoever takes a request while nobody else waits for the next one starts
    /// another handler first, because a body may be long in coming.
    fn handle(self: Arc<Self>) {
        loop {
            self.idle.fetch_add(1, Relaxed);
            let received = self.server.recv();
            let waiting = self.idle.fetch_sub(1, Relaxed) - 1;
            match received {
                Ok(request) => {
                    if waiting == 0 && self.handlers.load(Relaxed) < self.limits.handlers {
                        let _ = self.start_handler();
                    }
                    drop(catch_unwind(AssertUnwindSafe(|| self.receive(request))));
                }
                Err(error) if error.raw_os_error().is_some() => {
                    *lock(&self.ended) = Some(error.to_string())
                }
                Err(_) if self.stopping.load(Relaxed) => return,
                Err(_) => {
                    lock(&self.hall).markers.pop_front();
                    if waiting >= HANDLERS_MIN && self.may_leave() {
                        return;
                    }
                }
            }
        }
    }

    /// True, once for each handler that is more than are needed.
    fn may_leave(&self) -> bool {
        let less = |n: usize| (n > HANDLERS_MIN).then(|| n - 1);
        self.handlers.fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    fn receive(self: &Arc<Self>, raw: tiny_http::Request) {
        let Some(peer) = raw.remote_addr().copied() else { return };
        let mut hall = lock(&self.hall);
        let too_late = hall.waiting() > self.limits.shed_after;
        match hall.visits.entry(peer) {
            Entry::Vacant(entry) => {
                entry.insert(Visit { since: Instant::now(), doing: Doing::Reading, held: vec![] });
            }
            // What is left of a refused request, or sent before the answer to another; two handlers
            // cannot tell which of them has the first, and an answer to the wrong one would be a
            // lie. So nobody is answered.
            Entry::Occupied(mut entry) => {
                if entry.get().in_hand() {
                    entry.get_mut().doing = Doing::Ending(Instant::now());
                }
                return entry.get_mut().held.push(raw);
            }
        }
        drop(hall);
        let mut request = Request::new(raw, peer, self.clone());
        let read = framing(request.raw(), self.limits.body_max)
            .and_then(|length| self.read(request.raw_mut(), length));
        match read {
            Ok(body) => request.body = body,
            Err(refusal) => return self.refuse(peer, request.into_raw(), refusal),
        }
        self.turn(peer, Doing::Answering);
        match too_late {
            true => request.answer(&overloaded()),
            false => (self.serve)(request),
        }
    }

    /// The body, whole. A chunked one that breaks off inside a chunk looks whole to tiny_http; its
    /// signature tells.
    fn read(
        &self,
        raw: &mut tiny_http::Request,
        length: Option<usize>,
    ) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        // A chunked one gets a byte more than it may have, to show that it has.
        let mut body = vec![0; length.unwrap_or(self.limits.body_max + 1)];
        let mut filled = 0;
        while filled < body.len() {
            match raw.as_reader().read(&mut body[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err((408, "The body did not come in time"));
                }
                Err(_) => return Err((400, "The body cannot be read to its end")),
            }
            if filled < body.len() && began.elapsed() > self.patience() {
                return Err((408, "The body did not come in time"));
            }
        }
        match length {
            Some(length) if filled < length => {
                Err((400, "The body is shorter than its Content-Length"))
            }
            None if filled > self.limits.body_max => Err(TOO_LARGE),
            _ => {
                body.truncate(filled);
                Ok(body)
            }
        }
    }

    /// Answers a request that is not read. One that has more to come is left to the reaper: to
    /// drain it would pin a handler, and drown us if its Content-Length lies.
    fn refuse(&self, peer: SocketAddr, raw: tiny_http::Request, (status, why): Refusal) {
        log::debug!("a request was refused with {status}: {why}");
        self.refused.fetch_add(1, Relaxed);
        let text = Answer::text(status, why.into()).wire(true);
        // Whatever follows it is nobody's request, so the visit goes on until the connection has
        // ended.
        if nothing_to_drain(&raw) && self.turn(peer, Doing::Ending(Instant::now() + LINGER)) {
            return tell(raw, &text);
        }
        self.turn(peer, Doing::Refused(text));
        if let Some(visit) = lock(&self.hall).visits.get_mut(&peer) {
            visit.held.push(raw);
        }
    }

    /// What is done next for that client. False when its connection ends, and it is not to be
    /// answered.
    pub fn turn(&self, peer: SocketAddr, next: Doing) -> bool {
        let mut hall = lock(&self.hall);
        let visit = hall.visits.get_mut(&peer).filter(|visit| visit.in_hand());
        visit.map(|visit| visit.doing = next).is_some()
    }
}

/// The length of the body, `None` when it is chunked; or why nobody can be sure of its end. The
/// proxy, tiny_http and we must agree on it, and tiny_http alone takes any Transfer-Encoding for
/// chunked, and the first Content-Length for the only one.
pub fn framing(raw: &tiny_http::Request, body_max: usize) -> Result<Option<usize>, Refusal> {
    let version = (raw.http_version().0, raw.http_version().1);
    if !matches!(version, (1, 0) | (1, 1)) {
        return Err((505, "HTTP/1.0 and HTTP/1.1 are spoken here"));
    }
    if raw.headers().iter().any(|header| header.value.as_str().contains(['\r', '\n', '\0'])) {
        return Err((400, "A header breaks its line"));
    }
    if headers(raw, "Connection").any(|value| value.to_ascii_lowercase().contains("upgrade")) {
        return Err((400, "No other protocol is spoken here"));
    }
    let encodings: Vec<&str> = headers(raw, "Transfer-Encoding").collect();
    let lengths: Vec<&str> = headers(raw, "Content-Length").collect();
    match (encodings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(Some(0)),
        ([], [digits]) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            match digits.parse() {
                Ok(length) if length <= body_max => Ok(Some(length)),
                _ => Err(TOO_LARGE),
            }
        }
        ([encoding], []) if encoding.eq_ignore_ascii_case("chunked") && version == (1, 1) => {
            Ok(None)
        }
        _ => Err((400, "The body needs one Content-Length, or Transfer-Encoding: chunked")),
    }
}

/// True when tiny_http has read all of it already, which it does up to 1,024 bytes.
fn nothing_to_drain(raw: &tiny_http::Request) -> bool {
    let has = |name| headers(raw, name).next().is_some();
    !has("Connection")
        && !has("Transfer-Encoding")
        && !has("Expect")
        && raw.body_length().is_none_or(|n| n <= 1024)
}

/// False when to drain it would end the process: tiny_http makes as much room as its Content-Length
/// claims.
pub fn can_be_drained(raw: &tiny_http::Request) -> bool {
    Vec::<u8>::new().try_reserve_exact(raw.body_length().unwrap_or(0).saturating_mul(2)).is_ok()
}

fn overloaded() -> Answer {
    let mut answer = Answer::text(503, "Too many requests are waiting; send it again".into());
    answer.headers.push(("Retry-After", "10"));
    answer
}
