//! The load: real sockets, a new connection for each delivery, one thread that waits on all of
//! them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::deliveries::Deliveries;

/// Connections open at once when the pace is more than the server answers; later ones wait,
/// and that counts.
const OPEN_MAX: usize = 512;

/// A delivery without an answer for so long is broken off, as Stripe would.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the generator looks for such.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the next delivery is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many clients, each sending its next delivery as soon as the last one is answered.
    Clients(usize),
    /// So many deliveries a second, answered or not. Time runs from when one was due, not from when
    /// it could be sent.
    PerSecond(u32),
}

/// What a load came to.
#[derive(Default)]
pub struct Outcome {
    /// From the first delivery to the deadline.
    pub took: Duration,
    pub sent: u64,
    /// Deliveries answered 2xx by the deadline.
    pub in_time: usize,
    /// Microseconds from due to answered, of every 2xx.
    pub latencies_us: Vec<u32>,
    /// The numbers of all that were answered 2xx: what must be in the file.
    pub acknowledged: Vec<u64>,
    /// Other answers, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that ended without an answer.
    pub broken: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Outcome {
    /// Adds another round to this one.
    pub fn add(&mut self, other: Outcome) {
        self.took += other.took;
        self.sent += other.sent;
        self.in_time += other.in_time;
        self.latencies_us.extend(other.latencies_us);
        self.acknowledged.extend(other.acknowledged);
        for (status, n) in other.refused {
            *self.refused.entry(status).or_default() += n;
        }
        self.broken += other.broken;
    }

    pub fn per_second(&self) -> f64 {
        self.in_time as f64 / self.took.as_secs_f64()
    }

    pub fn latency(&self) -> Latency {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let at = |share: f64| match sorted.len() {
            0 => 0.0,
            n => f64::from(sorted[((n as f64 * share).ceil() as usize).clamp(1, n) - 1]) / 1000.0,
        };
        Latency { p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1.0) }
    }
}

/// Sends deliveries with numbers from `first` on to `target` for so long, then waits for those
/// under way.
pub fn run(target: SocketAddr, pace: Pace, lasting: Duration, first: u64) -> Result<Outcome> {
    let mut load = Load {
        target,
        deliveries: Deliveries::default(),
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| format!("cannot wait on sockets: {e}"))?,
        under_way: Vec::new(),
        free: Vec::new(),
        outcome: Outcome::default(),
        body: Vec::new(),
        number: first,
    };
    load.run(pace, lasting)?;
    Ok(load.outcome)
}

struct Load {
    target: SocketAddr,
    deliveries: Deliveries,
    epoll: OwnedFd,
    /// By slot, which is also the name under which epoll knows it.
    under_way: Vec<Option<Delivery>>,
    free: Vec<usize>,
    outcome: Outcome,
    body: Vec<u8>,
    number: u64,
}

struct Delivery {
    socket: Socket,
    number: u64,
    due: Instant,
    request: Vec<u8>,
    sent: usize,
    status: Option<u16>,
    answered: Instant,
}

/// What there is to wait for.
enum Next {
    Writable,
    Readable,
    End,
}

impl Load {
    fn run(&mut self, pace: Pace, lasting: Duration) -> Result<()> {
        let began = Instant::now();
        let end = began + lasting;
        let mut due = began;
        let mut looked = began;
        let mut events = Vec::with_capacity(OPEN_MAX);
        loop {
            let now = Instant::now();
            match pace {
                Pace::Clients(n) => {
                    while now < end && self.open() < n {
                        self.start(Instant::now())?;
                    }
                }
                Pace::PerSecond(n) => {
                    while due <= now && due < end && self.open() < OPEN_MAX {
                        self.start(due)?;
                        due += Duration::from_secs(1) / n;
                    }
                }
            }
            if self.open() == 0 && (now >= end || due >= end) {
                break;
            }
            let until = match pace {
                Pace::PerSecond(_) if due < end && self.open() < OPEN_MAX => due,
                _ => now + Duration::from_millis(100),
            };
            self.wait(until.saturating_duration_since(Instant::now()), &mut events)?;
            for event in &events {
                let event: &epoll::Event = event;
                self.step(event.data.u64() as usize, end)?;
            }
            if looked.elapsed() > LOOK_EVERY {
                self.break_off_the_silent();
                looked = Instant::now();
            }
        }
        self.outcome.took = lasting;
        Ok(())
    }

    fn open(&self) -> usize {
        self.under_way.len() - self.free.len()
    }

    fn start(&mut self, due: Instant) -> Result<()> {
        let failed =
            |e: std::io::Error| format!("the load generator cannot open a connection: {e}");
        let socket =
            Socket::new(Domain::for_address(self.target), Type::STREAM.nonblocking(), None)
                .map_err(failed)?;
        match socket.connect(&self.target.into()) {
            Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(failed(e));
            }
            _ => {}
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.under_way.push(None);
            self.under_way.len() - 1
        });
        let mut request = Vec::with_capacity(6 << 10);
        self.deliveries.write(self.number, unix_now(), &mut request, &mut self.body);
        let mut delivery = Delivery {
            socket,
            number: self.number,
            due,
            request,
            sent: 0,
            status: None,
            answered: due,
        };
        self.number += 1;
        self.outcome.sent += 1;
        // On loopback the connection usually stands already and takes everything at once.
        let flags = match delivery.write() {
            Next::Writable => epoll::EventFlags::OUT,
            Next::Readable | Next::End => epoll::EventFlags::IN,
        };
        epoll::add(&self.epoll, &delivery.socket, epoll::EventData::new_u64(slot as u64), flags)
            .map_err(|e| format!("cannot wait on a socket: {e}"))?;
        self.under_way[slot] = Some(delivery);
        Ok(())
    }

    /// Returns when something happened, or after the time-out.
    fn wait(&self, timeout: Duration, events: &mut Vec<epoll::Event>) -> Result<()> {
        let zero = Timespec::default();
        let mut timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        events.clear();
        let waited = (|| {
            // epoll rounds up to whole milliseconds, poll does not.
            if timeout.tv_sec == 0 && timeout.tv_nsec < 20_000_000 {
                poll(
                    &mut [PollFd::from_borrowed_fd(self.epoll.as_fd(), PollFlags::IN)],
                    Some(&timeout),
                )?;
                timeout = zero;
            }
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout))
        })();
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(format!("cannot wait on sockets: {e}")),
        }
    }

    fn step(&mut self, slot: usize, end: Instant) -> Result<()> {
        let Some(delivery) = &mut self.under_way[slot] else { return Ok(()) };
        let writing = delivery.sent < delivery.request.len();
        let next = if writing { delivery.write() } else { delivery.read() };
        match next {
            Next::Readable if writing => {
                let data = epoll::EventData::new_u64(slot as u64);
                epoll::modify(&self.epoll, &delivery.socket, data, epoll::EventFlags::IN)
                    .map_err(|e| format!("cannot wait on a socket: {e}"))
            }
            Next::Writable | Next::Readable => Ok(()),
            Next::End => {
                self.finish(slot, end);
                Ok(())
            }
        }
    }

    fn finish(&mut self, slot: usize, end: Instant) {
        let Some(delivery) = self.under_way[slot].take() else { return };
        self.free.push(slot);
        match delivery.status {
            Some(200..=299) => {
                let took = delivery.answered.saturating_duration_since(delivery.due);
                self.outcome.latencies_us.push(took.as_micros().min(u128::from(u32::MAX)) as u32);
                self.outcome.acknowledged.push(delivery.number);
                self.outcome.in_time += usize::from(delivery.answered <= end);
            }
            Some(status) => *self.outcome.refused.entry(status).or_default() += 1,
            None => self.outcome.broken += 1,
        }
    }

    fn break_off_the_silent(&mut self) {
        for slot in 0..self.under_way.len() {
            if self.under_way[slot].as_ref().is_some_and(|d| d.due.elapsed() > PATIENCE) {
                self.finish(slot, Instant::now());
            }
        }
    }
}

impl Delivery {
    fn write(&mut self) -> Next {
        while self.sent < self.request.len() {
            match self.socket.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Next::Writable;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // An answer may have come before everything was sent.
                Err(_) => {
                    self.sent = self.request.len();
                    return Next::Readable;
                }
            }
        }
        Next::Readable
    }

    /// Reads to the end of the connection; the answer counts from its last byte.
    fn read(&mut self) -> Next {
        let mut answer = [0; 2048];
        loop {
            match self.socket.read(&mut answer) {
                Ok(0) => return Next::End,
                Ok(n) => {
                    self.answered = Instant::now();
                    self.status = self.status.or_else(|| status_of(&answer[..n]));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Next::Readable,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }
}

/// `HTTP/1.1 200 …`
fn status_of(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
