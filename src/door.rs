//! The front door: everything we do about tiny_http, which accepts connections and reads the heads
//! of requests.
//!
//! tiny_http 0.12 has no time-outs and no limits, drains what it drops into a buffer as large as
//! its Content-Length claims, and ends for good at the first error of accept(2). So:
//! - A *handler* (`door/handler.rs`) takes one request a connection: it checks the framing before
//!   it touches the body, reads the body within bounds, and hands the request on.
//! - A *request* (`door/request.rs`) is answered once, by any thread, with a head of our own that
//!   says `Connection: close`. So nobody has to sleep until an answer is known, and of a request
//!   that waits for its answer only its *reply* is kept: tiny_http's thread serves others.
//! - The *reaper* (`door/reaper.rs`) looks at all connections five times a second and cuts the
//!   refused, the slow and the too many.
//! - Where both end, [`Door::broken`] says why a new process is needed. Nothing acknowledged is
//!   lost by that, and a socket unit holds the line meanwhile; no guard here has to be cleverer
//!   than a restart.

mod handler; // takes a request and reads it whole
mod limits; // what bounds a client
mod reaper; // looks at all connections, and cuts
mod request; // is answered once
mod sockets; // the listener, and what the kernel says of connections
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync::lock;
use reaper::{Reaper, Seen};

#[cfg(any(fuzzing, test))]
pub use handler::{can_be_drained, framing};
pub use limits::Limits;
pub use request::{Answer, Reply, Request};
pub use sockets::{bind, bind_page, raise_descriptor_limit};
use sockets::{cannot_open, knock, open_connections, prepare, reachable, spawn};

/// A client that is still sending would lose its answer if its connection were cut as soon as that
/// is written.
const LINGER: Duration = Duration::from_secs(1);

/// A queue or a reaper that stands still for so long has died.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// For a probe to connect, and again to be answered.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// On closing: nothing in hand for so long means that everybody who was let in has been answered.
const QUIET: Duration = Duration::from_millis(100);

/// On closing: whoever was let in and has not said anything yet is waited for so long.
const SILENT_WITHIN: Duration = Duration::from_secs(1);

/// An open door. Its threads serve until [`Door::close`].
pub struct Door {
    inside: Arc<Inside>,
    address: SocketAddr,
    /// Leads to the same socket as tiny_http's descriptor; `None` once closed.
    listener: Mutex<Option<TcpListener>>,
    /// tiny_http's descriptor by its name in /proc, and what it names there.
    accepting: Option<(PathBuf, PathBuf)>,
}

/// What the threads share.
struct Inside {
    server: tiny_http::Server,
    serve: Box<dyn Fn(Request) + Send + Sync>,
    limits: Limits,
    hall: Mutex<Hall>,
    seen: Mutex<Seen>,
    /// Handlers that live, and those of them that wait for a request.
    handlers: AtomicUsize,
    idle: AtomicUsize,
    refused: AtomicU64,
    /// Why accept(2) failed, which it does once.
    ended: Mutex<Option<String>>,
    stopping: AtomicBool,
}

/// Who is inside.
#[derive(Default)]
struct Hall {
    /// By the client's address, which names a connection as long as it is open.
    visits: HashMap<SocketAddr, Visit>,
    /// When each marker was put into tiny_http's queue that is still there. A request's age cannot
    /// be known, a marker's can, and all that stands before it is older.
    markers: VecDeque<Instant>,
}

struct Visit {
    since: Instant,
    doing: Doing,
    /// Not to be dropped while the connection is open: dropping a request reads its body to the
    /// end.
    held: Vec<tiny_http::Request>,
}

enum Doing {
    /// A handler waits for the body.
    Reading,
    /// Somebody has it and will answer it, or writes the answer.
    Answering,
    /// The reaper should tell the client why.
    Refused(Vec<u8>),
    /// The reaper is to cut the connection then.
    Ending(Instant),
}

impl Door {
    /// Serves the listener: `serve` is called from many threads and answers each request, at once or
    /// later. A request that is dropped without an answer, be it by a panic, is answered 500.
    /// `Temporary` when threads or descriptors are not to be had.
    pub fn open(
        listener: TcpListener,
        limits: Limits,
        serve: impl Fn(Request) + Send + Sync + 'static,
    ) -> Result<Door> {
        let address = prepare(&listener, &limits).map_err(cannot_open)?;
        let kept = listener.try_clone().map_err(cannot_open)?;
        let name = PathBuf::from(format!("/proc/self/fd/{}", listener.as_raw_fd()));
        let accepting = std::fs::read_link(&name).ok().map(|target| (name, target));
        let server = tiny_http::Server::from_listener(listener, None).map_err(cannot_open)?;
        let inside = Arc::new(Inside {
            server,
            serve: Box::new(serve),
            limits,
            hall: Mutex::default(),
            seen: Mutex::default(),
            handlers: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            ended: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        for _ in 0..inside.handlers_min() {
            inside.start_handler()?;
        }
        let reaper = Reaper::new(inside.clone(), reachable(address));
        spawn("reaper".into(), move || reaper.run())?;
        Ok(Door { inside, address, listener: Mutex::new(Some(kept)), accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET path` on a connection of its own, as any client: how long a 200 took. `Temporary` when
    /// none came in time.
    pub fn probe(&self, path: &str) -> Result<Duration> {
        let began = Instant::now();
        let fetch = || {
            let mut stream = TcpStream::connect_timeout(&reachable(self.address), PROBE_WITHIN)?;
            stream.set_read_timeout(Some(PROBE_WITHIN))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut status = [0; "HTTP/1.1 200".len()];
            stream.read_exact(&mut status).map(|()| String::from_utf8_lossy(&status).into_owned())
        };
        match fetch() {
            Ok(status) if status == "HTTP/1.1 200" => Ok(began.elapsed()),
            Ok(status) => Err(Error::Temporary(format!(
                "GET {path} on {} was answered {status}",
                self.address
            ))),
            Err(error) => Err(Error::Temporary(format!(
                "GET {path} on {} was not answered: {error}",
                self.address
            ))),
        }
    }

    /// Why the process should be replaced; `None` while the door works. Cheap enough to check
    /// several times a second.
    pub fn broken(&self) -> Option<String> {
        if !self.accepts() {
            let why = lock(&self.inside.ended).clone();
            let why = why.unwrap_or_else(|| "out of descriptors or threads".into());
            return Some(format!("connections are no longer accepted ({why})"));
        }
        let waiting = lock(&self.inside.hall).waiting();
        let limits = &self.inside.limits;
        match &*lock(&self.inside.seen) {
            seen if seen.leaked > limits.leaks_max => {
                Some(format!("{} connections are leaked", seen.leaked))
            }
            seen if !seen.reach && seen.threads > limits.threads_max => {
                Some(format!("{} threads are too many", seen.threads))
            }
            seen if !seen.reach && seen.memory > limits.memory_max => {
                Some(format!("{} MiB of memory are too much", seen.memory >> 20))
            }
            seen if seen.at.elapsed().max(waiting) > STALLED_AFTER => {
                Some("requests are no longer taken up".into())
            }
            _ => None,
        }
    }

    /// Name, help and value, for `GET /metrics`.
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        let (in_hand, waiting) = {
            let hall = lock(&self.inside.hall);
            (hall.in_hand() as f64, hall.waiting().as_secs_f64())
        };
        let refused = self.inside.refused.load(Relaxed) as f64;
        let seen = lock(&self.inside.seen);
        vec![
            ("fulfilld_http_in_hand", "Requests being read or answered.", in_hand),
            (
                "fulfilld_http_waiting_seconds",
                "How long the next request has been waiting.",
                waiting,
            ),
            ("fulfilld_http_connections", "Connections open.", seen.connections as f64),
            ("fulfilld_http_refused", "Requests refused unread since the start.", refused),
            ("fulfilld_http_cut", "Connections cut since the start.", seen.cut as f64),
            ("fulfilld_http_leaked", "Connections that outlived being cut.", seen.leaked as f64),
            ("fulfilld_threads", "Threads of the process.", seen.threads as f64),
            (
                "fulfilld_memory_bytes",
                "Memory of the process that no file backs.",
                seen.memory as f64,
            ),
        ]
    }

    /// Lets nobody in any more and answers everybody who is. A socket that systemd holds goes on
    /// queueing, so nobody is refused. True when all were answered in time. Afterwards the threads
    /// end.
    pub fn close(&self, deadline: Instant) -> bool {
        let in_time = |done: &mut dyn FnMut() -> bool| loop {
            match done() {
                true => return true,
                false if Instant::now() > deadline => return false,
                false => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        // From now on accept(2) fails when nobody waits to be let in, and the knock ends the sleep
        // that it may be in.
        if let Some(listener) = &*lock(&self.listener) {
            let _ = listener.set_nonblocking(true);
            knock(reachable(self.address));
        }
        let shut = in_time(&mut || !self.accepts());
        lock(&self.listener).take();
        let (shut_at, mut quiet_since) = (Instant::now(), Instant::now());
        let answered = in_time(&mut || {
            let hall = lock(&self.inside.hall);
            if hall.in_hand() > 0 || !hall.markers.is_empty() {
                quiet_since = Instant::now();
            }
            drop(hall);
            let quiet = quiet_since.elapsed() > QUIET;
            if quiet
                && shut_at.elapsed() < SILENT_WITHIN
                && open_connections(self.address.port()) > 0
            {
                quiet_since = Instant::now();
                return false;
            }
            quiet
        });
        self.inside.stopping.store(true, Relaxed);
        (0..self.inside.limits.handlers).for_each(|_| self.inside.server.unblock());
        shut && answered
    }

    /// True while tiny_http's accept loop lives; it takes its descriptor with it, be it by an error
    /// or by a panic.
    fn accepts(&self) -> bool {
        let is_there = |(name, target): &(PathBuf, PathBuf)| {
            std::fs::read_link(name).is_ok_and(|t| t == *target)
        };
        lock(&self.inside.ended).is_none() && self.accepting.as_ref().is_none_or(is_there)
    }
}

impl Hall {
    /// How long the next request has been waiting, at least.
    fn waiting(&self) -> Duration {
        self.markers.front().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn in_hand(&self) -> usize {
        self.visits.values().filter(|visit| visit.in_hand()).count()
    }
}

impl Visit {
    fn in_hand(&self) -> bool {
        matches!(self.doing, Doing::Reading | Doing::Answering)
    }
}

impl Inside {
    /// How long a client may take to send a body.
    fn patience(&self) -> Duration {
        let pressed = lock(&self.hall).waiting() > self.limits.waiting_max;
        if pressed { self.limits.body_within_when_waited_for } else { self.limits.body_within }
    }
}
