//! The front door: everything we do about tiny_http, which accepts connections and reads the heads
//! of requests.
//!
//! tiny_http 0.12 has no time-outs and no limits, drains what it drops into a buffer as large as
//! its Content-Length claims, and ends for good at the first error of accept(2). So:
//! - A *handler* (`door/handler.rs`) takes one request a connection: it checks the framing before
//!   it touches the body, reads the body within bounds, and hands the request on.
//! - A *request* (`door/request.rs`) is answered once, by any thread, with a head of our own that
//!   says `Connection: close`. So nobody has to sleep until an answer is known.
//! - The *reaper* (`door/reaper.rs`) looks at all connections five times a second and cuts the
//!   refused, the slow and the too many.
//! - Where both end, [`Door::broken`] says why a new process is needed. Nothing acknowledged is
//!   lost by that, and a socket unit holds the line meanwhile; no guard here has to be cleverer
//!   than a restart.

mod handler;
mod reaper;
mod request;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use crate::config;
use crate::error::{Error, Result};
use crate::sync::lock;
use reaper::{Reaper, Seen};

pub use request::{Answer, Request};

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
    pub waiting_max: Duration,
    /// A connection's whole life, the queue, the body and the commit included; the proxy waits no
    /// longer ...
    pub connection_within: Duration,
    /// ... and while more than `connections_max` are open. Above `memory_max` bytes it is one round
    /// of the reaper.
    pub connection_within_when_crowded: Duration,
    /// Each takes a thread and two descriptors; the proxy is told to open half as many.
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

/// Connections that the kernel completes while we are busy or being replaced.
const BACKLOG: i32 = 4096;

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

/// Enough for JSON, HMAC and the queries of the metrics page; only what is touched costs memory.
const STACK: usize = 512 << 10;

/// Opens the webhook's socket. `Config` when the address is taken or not to be had, and when it is
/// not loopback without `allow_public`.
pub fn bind(address: SocketAddr, allow_public: bool) -> Result<TcpListener> {
    if let Some(fault) = config::public_listen(address, allow_public) {
        return Err(fault.error());
    }
    bind_as("FULFILLD_LISTEN", address)
}

/// Opens the page's socket, which its setting has on loopback.
pub fn bind_page(address: SocketAddr) -> Result<TcpListener> {
    bind_as("FULFILLD_PAGE_LISTEN", address)
}

fn bind_as(setting: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        Error::Config(match error.kind() {
            ErrorKind::AddrInUse => format!(
                "{address} is in use; stop what listens there (ss -ltnp names it; another fulfilld?), or set \
                 {setting} to a free port"
            ),
            _ => format!("cannot listen on {address}: {error}; set {setting} to an address of this server"),
        })
    })
}

/// Lets the process have as many descriptors as it may: tiny_http ends for good when there are none
/// left.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
}

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
    /// The reaper is to tell the client why.
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

    /// Why the process should be replaced; `None` while the door works. Cheap enough to ask several
    /// times a second.
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

/// Sets on the socket what connections inherit from it; one that systemd holds still has what the
/// last process set.
fn prepare(listener: &TcpListener, limits: &Limits) -> std::io::Result<SocketAddr> {
    listener.set_nonblocking(false)?;
    rustix::net::listen(listener, BACKLOG)?;
    SockRef::from(listener).set_read_timeout(Some(limits.silence))?;
    SockRef::from(listener).set_write_timeout(Some(limits.silence))?;
    listener.local_addr()
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(run)
        .map(drop)
        .map_err(cannot_open)
}

fn cannot_open(why: impl std::fmt::Display) -> Error {
    Error::Temporary(format!("the front door cannot be opened: {why}; try again"))
}

/// A client that says nothing, so that accept(2) returns. False when nobody opens.
fn knock(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Connections to that port that a process has accepted and not closed, by the kernel's own list;
/// one that waits in the queue has no inode yet, one that is closed has none any more.
fn open_connections(port: u16) -> usize {
    let port = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return false };
        local.ends_with(&port) && state != "0A" && inode != "0"
    };
    let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .map(|list| std::fs::read_to_string(list).unwrap_or_default());
    lists.iter().map(|list| list.lines().skip(1).filter(is_open).count()).sum()
}

/// Where we reach ourselves when we listen everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers with what it was asked, so that a test sees what came through.
    fn echo(request: Request) {
        match request.path() {
            "/panic" => panic!("on purpose"),
            "/slow" => std::thread::sleep(Duration::from_millis(700)),
            _ => {}
        }
        let x = request.header("x-test").unwrap_or_default();
        let (method, path, length) = (request.method(), request.path(), request.body.len());
        let answer = Answer::text(200, format!("{method} {path} {length} {x}"));
        request.answer(&answer);
    }

    fn limits() -> Limits {
        Limits { round: Duration::from_millis(20), ..Limits::default() }
    }

    fn open(limits: Limits) -> Door {
        Door::open(bind("127.0.0.1:0".parse().unwrap(), false).unwrap(), limits, echo).unwrap()
    }

    fn send(door: &Door, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(door.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        stream
    }

    /// All that comes back until the connection ends.
    fn hear(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request that asks for the connection to be closed, and its answer.
    fn ask(door: &Door, request: &str) -> String {
        hear(send(door, request.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()))
    }

    fn status(answer: &str) -> &str {
        answer.get(9..12).unwrap_or("none")
    }

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_request_of_any_ordinary_shape_is_answered_and_told_to_close() {
        let door = open(limits());
        for (request, answer) in [
            ("GET /a?b=c#d HTTP/1.1\r\nX-Test: yes\r\n\r\n", "GET /a 0 yes"),
            ("POST /a/ HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", "POST /a/ 5 "),
            ("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "POST / 0 "),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
                "POST / 3 ",
            ),
            ("PURGE / HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n", "PURGE / 0 "),
            ("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", "POST / 2 "),
        ] {
            let said = ask(&door, request);
            assert!(
                said.contains("HTTP/1.1 200 OK\r\n") && said.contains("\r\nConnection: close\r\n"),
                "{said}"
            );
            assert!(said.ends_with(answer), "{request}: {said}");
        }
        let large =
            format!("POST / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n{}", "x".repeat(1 << 20));
        assert!(ask(&door, &large).ends_with("POST / 1048576 "));
        let head = ask(&door, "HEAD / HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 9\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let bug = ask(&door, "GET /panic HTTP/1.1\r\n\r\n");
        assert_eq!(status(&bug), "500", "{bug}");
        assert!(door.probe("/").is_ok() && door.probe("/panic").is_err());
        assert_eq!(door.broken(), None);
        assert!(door.close(Instant::now() + PATIENCE));
        assert!(TcpStream::connect(door.address()).is_err(), "nobody listens any more");
    }

    #[test]
    fn what_does_not_say_where_it_ends_is_refused_and_nothing_after_it_is_served() {
        let door = open(limits());
        let smuggled = "GET /smuggled HTTP/1.1\r\n\r\n".repeat(3);
        for (head, expected) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400"),
            ("Transfer-Encoding: gzip, chunked", "400"),
            ("Transfer-Encoding: x", "400"),
            ("Content-Length: 5\r\nContent-Length: 5", "400"),
            ("Content-Length: 5\r\nContent-Length: 6", "400"),
            ("Content-Length: 30, 30", "400"),
            ("Content-Length: -1", "400"),
            ("Content-Length: +5", "400"),
            ("Content-Length: 0x5", "400"),
            ("Content-Length:", "400"),
            ("Content-Length: 1048577", "413"),
            ("Content-Length: 100000000000000", "413"),
            ("Content-Length: 18446744073709551615", "413"),
            ("Content-Length: 99999999999999999999999", "413"),
            ("Connection: Upgrade\r\nUpgrade: h2c", "400"),
            ("Connection: close\r\nConnection: upgrade", "400"),
            ("X: a\nContent-Length: 5", "400"),
        ] {
            let alone =
                hear(send(&door, format!("POST / HTTP/1.1\r\n{head}\r\n\r\nhello").as_bytes()));
            assert_eq!(status(&alone), expected, "{head}: {alone}");
            let said = hear(send(
                &door,
                format!("POST / HTTP/1.1\r\n{head}\r\n\r\n{smuggled}").as_bytes(),
            ));
            assert!([expected, "none"].contains(&status(&said)), "{head}: {said}");
            assert!(!said.contains("HTTP/1.1 2") && !said.contains("smuggled"), "{head}: {said}");
        }
        for (chunks, expected) in [
            ("5\r\nabc\r\n0\r\n\r\n", "400"),
            ("zz\r\nabc\r\n0\r\n\r\n", "400"),
            ("FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", "400"),
            (&format!("{:x}\r\n{}\r\n0\r\n\r\n", 1 << 21, "x".repeat(1 << 21)), "413"),
        ] {
            let request =
                format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}");
            let said = hear(send(&door, request.as_bytes()));
            assert!(status(&said) == expected && !said.contains("smuggled"), "{said}");
        }
        assert_eq!(
            status(&ask(&door, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            "400"
        );
        assert_eq!(status(&ask(&door, "GET / HTTP/0.9\r\n\r\n")), "505");
        wait_for("the refused are gone", || {
            door.gauges().iter().any(|g| g.0 == "fulfilld_http_connections" && g.2 < 5.0)
        });
        assert_eq!(door.broken(), None);
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
        door.close(Instant::now());
    }

    #[test]
    fn a_body_that_breaks_off_is_400_and_one_that_stalls_is_ended() {
        let door = open(Limits { body_within: Duration::from_millis(200), ..limits() });
        let mut half = TcpStream::connect(door.address()).unwrap();
        half.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf").unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        half.read_to_string(&mut said).unwrap();
        assert_eq!(status(&said), "400", "{said}");
        let began = Instant::now();
        ask(&door, "POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        door.close(Instant::now());
    }

    #[test]
    fn slow_clients_keep_nobody_out() {
        let door = open(Limits { handlers: 4, ..limits() });
        let mut slow: Vec<TcpStream> =
            (0..12).map(|_| TcpStream::connect(door.address()).unwrap()).collect();
        for stream in &mut slow {
            stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n").unwrap();
        }
        let began = Instant::now();
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        door.close(Instant::now());
    }

    #[test]
    fn a_burst_is_answered_though_nobody_hangs_up() {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // On a busy server tiny_http's threads wake late, and it gives them more to do than
            // they are.
            (0..4).for_each(|_| {
                drop(scope.spawn(|| {
                    while !over.load(Relaxed) {
                        std::hint::spin_loop()
                    }
                }))
            });
            for _ in 0..8 {
                let door = open(Limits { silence: Duration::from_secs(60), ..limits() });
                assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
                let mut callers: Vec<_> =
                    (0..60).map(|_| send(&door, b"GET / HTTP/1.1\r\n\r\n")).collect();
                let unanswered = callers.iter_mut().filter(|caller| {
                    caller.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    caller.peek(&mut [0]).is_err()
                });
                let unanswered = unanswered.count();
                over.store(unanswered > 0, Relaxed);
                assert_eq!(unanswered, 0);
                door.close(Instant::now());
            }
            over.store(true, Relaxed);
        });
    }

    #[test]
    fn what_waited_too_long_is_answered_503() {
        let door =
            open(Limits { handlers: 1, shed_after: Duration::from_millis(1200), ..limits() });
        let codes: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> =
                (0..6).map(|_| scope.spawn(|| ask(&door, "GET /slow HTTP/1.1\r\n\r\n"))).collect();
            asked.into_iter().map(|a| status(&a.join().unwrap()).to_string()).collect()
        });
        assert!(codes.iter().filter(|c| *c == "200").count() >= 2, "{codes:?}");
        assert!(codes.iter().filter(|c| *c == "503").count() >= 2, "{codes:?}");
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200", "it is over");
        door.close(Instant::now());
    }

    #[test]
    fn silence_ends_a_connection_and_not_the_door() {
        let minute = Duration::from_secs(60);
        let door = open(Limits {
            silence: Duration::from_millis(200),
            connection_within: minute,
            ..limits()
        });
        let mut silent = TcpStream::connect(door.address()).unwrap();
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was ended");
        let quiet = Instant::now();
        wait_for("some silence", || quiet.elapsed() > Duration::from_secs(1));
        assert_eq!(door.broken(), None);
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
        door.close(Instant::now());
    }

    #[test]
    fn a_connection_has_its_time_and_less_in_a_crowd() {
        let second = Duration::from_secs(1);
        let door = open(Limits {
            connection_within: 60 * second,
            connection_within_when_crowded: second / 5,
            connections_max: 20,
            silence: 60 * second,
            // The other tests' memory is this process's too.
            memory_max: u64::MAX,
            ..limits()
        });
        let mut few: Vec<TcpStream> =
            (0..10).map(|_| TcpStream::connect(door.address()).unwrap()).collect();
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
        few[0].set_read_timeout(Some(second)).unwrap();
        assert!(few[0].read(&mut [0]).is_err(), "it is still open");
        few.extend((0..20).map(|_| TcpStream::connect(door.address()).unwrap()));
        few[0].set_read_timeout(Some(PATIENCE)).unwrap();
        let ended = few[0].read(&mut [0]);
        assert!(
            matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
            "it was ended"
        );
        assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
        door.close(Instant::now());
    }

    #[test]
    fn leaks_past_the_budget_and_a_dead_listener_are_told() {
        let door = open(Limits {
            leaks_max: 3,
            connection_within: Duration::from_millis(100),
            ..limits()
        });
        for _ in 0..5 {
            let mut stream = TcpStream::connect(door.address()).unwrap();
            stream.write_all(b"GET / HTTP/2.0\r\n\r\n").unwrap();
        }
        wait_for("the leaks are seen", || door.broken().is_some_and(|why| why.contains("leaked")));
        assert!(door.probe("/").is_ok(), "it still serves");
        // What an error of accept(2) does.
        let listener = lock(&door.listener).as_ref().unwrap().try_clone().unwrap();
        SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        wait_for("the end of the accept loop is seen", || {
            door.broken().is_some_and(|why| why.contains("no longer"))
        });
        assert!(door.probe("/").is_err());
        door.close(Instant::now() + Duration::from_secs(2));
    }

    #[test]
    fn closing_answers_those_inside_and_leaves_the_others_to_the_next() {
        let held = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let old = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| ask(&old, "GET /slow HTTP/1.1\r\n\r\n"));
            wait_for("the request is in hand", || lock(&old.inside.hall).in_hand() == 1);
            assert!(old.close(Instant::now() + PATIENCE));
            assert_eq!(status(&inside.join().unwrap()), "200");
        });
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| ask(&old, "GET /next HTTP/1.1\r\n\r\n"));
            let new = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
            assert!(outside.join().unwrap().contains("GET /next"));
            assert!(new.close(Instant::now() + PATIENCE));
        });
    }

    #[test]
    fn closing_waits_for_those_who_are_in_and_have_not_spoken_yet() {
        let held = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let door = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
        let mut late = TcpStream::connect(door.address()).unwrap();
        wait_for("it is let in", || open_connections(door.address().port()) > 0);
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| door.close(Instant::now() + PATIENCE));
            let shut = Instant::now();
            wait_for("the door is shut, and more than quiet", || {
                lock(&door.listener).is_none() && shut.elapsed() > 3 * QUIET
            });
            late.write_all(b"GET /late HTTP/1.1\r\n\r\n").unwrap();
            assert!(hear(late).contains("GET /late"));
            assert!(closing.join().unwrap());
        });
        // Who never speaks is not waited for longer than that.
        let door = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
        let _mute = TcpStream::connect(door.address()).unwrap();
        wait_for("it is let in", || open_connections(door.address().port()) > 0);
        assert!(door.close(Instant::now() + PATIENCE));
    }

    #[test]
    fn a_bind_says_what_is_wrong_with_it() {
        let taken = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        for (address, why) in [
            (taken.local_addr().unwrap(), "is in use"),
            ("0.0.0.0:0".parse().unwrap(), "FULFILLD_ALLOW_PUBLIC_LISTEN=1"),
            ("[::ffff:10.0.0.1]:0".parse().unwrap(), "FULFILLD_ALLOW_PUBLIC_LISTEN=1"),
        ] {
            assert!(
                matches!(bind(address, false), Err(Error::Config(text)) if text.contains(why)),
                "{address}"
            );
        }
        assert!(bind("[::ffff:127.0.0.1]:0".parse().unwrap(), false).is_ok());
        assert!(bind("0.0.0.0:0".parse().unwrap(), true).is_ok());
        assert!(matches!(bind("192.0.2.1:1".parse().unwrap(), true),
                Err(Error::Config(text)) if text.contains("set FULFILLD_LISTEN")));
    }
}
