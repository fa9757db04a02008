//! The reaper of the front door: looks at every connection five times a second and cuts what is
//! refused, slow or too much.
//!
//! tiny_http lends nobody its sockets. The kernel does: /proc/self/fd has their numbers, and
//! pidfd_getfd(2) makes a descriptor of our own from a number.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::process::{self, PidfdFlags, PidfdGetfdFlags};
use socket2::SockRef;

use super::handler::can_be_drained;
use super::request::tell;
use super::sockets::open_connections;
use super::{Doing, Hall, Inside, LINGER, knock, spawn};
use crate::sabotage;
use crate::sync::lock;

/// A connection that still exists so long after being cut is leaked; longer than any handler waits
/// for a commit.
const LEAKED_AFTER: Duration = Duration::from_secs(6);

/// Knocks in one round for those whom tiny_http lets wait.
const KNOCKS_MAX: usize = 16;

/// What the reaper saw in its last round.
pub struct Seen {
    /// When this was counted.
    pub at: Instant,
    /// Open connections.
    pub connections: usize,
    /// Connections that outlived being cut: their threads hang in tiny_http.
    pub leaked: usize,
    /// Threads of the process.
    pub threads: u64,
    /// Bytes that no file backs.
    pub memory: u64,
    /// Connections cut since the start.
    pub cut: u64,
    /// False where the kernel lends no sockets, and nobody can be cut.
    pub reach: bool,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            at: Instant::now(),
            connections: 0,
            leaked: 0,
            threads: 0,
            memory: 0,
            cut: 0,
            reach: false,
        }
    }
}

/// Looks at every connection, and cuts those that break the limits.
pub struct Reaper {
    inside: Arc<Inside>,
    /// Where to knock.
    address: SocketAddr,
    street: Option<Street>,
    /// Where nobody can be cut: the connections without a request that were there a round ago, and
    /// how many of them a knock was made for.
    silent: usize,
    knocked_for: usize,
}

impl Reaper {
    /// `address` is the listener's own.
    pub fn new(inside: Arc<Inside>, address: SocketAddr) -> Reaper {
        let street = Street::new(address.port()).inspect_err(|error| {
            log::info!(
                "slow clients are left to the proxy, as the shipped unit has it; without one in \
                 front, permit pidfd_open and pidfd_getfd in its SystemCallFilter ({error})"
            );
        });
        Reaper { inside, address, street: street.ok(), silent: 0, knocked_for: 0 }
    }

    /// Until the door is closed.
    pub fn run(mut self) {
        let mut knocked = Instant::now();
        while !self.inside.stopping.load(Relaxed) {
            {
                // Under one lock, so that the times stand in the order of the queue.
                let mut hall = lock(&self.inside.hall);
                hall.markers.push_back(Instant::now());
                self.inside.server.unblock();
            }
            // accept(2) must not be alone for as long as a silent client may be: the time-out is
            // the listener's too.
            if knocked.elapsed() >= self.inside.limits.silence / 5 {
                knocked = Instant::now();
                knock(self.address);
            }
            if catch_unwind(AssertUnwindSafe(|| self.round())).is_err() {
                log::error!(
                    "a bug in fulfilld: the reaper of the front door panicked; please report it"
                );
            }
            std::thread::sleep(self.inside.limits.round);
        }
    }

    fn round(&mut self) {
        let inside = &self.inside;
        let limits = &inside.limits;
        let mut seen = Seen::default();
        (seen.threads, seen.memory) = itself();
        let Some(street) = &mut self.street else {
            *lock(&inside.seen) = seen;
            see_off_the_refused(inside);
            return self.knock_for_the_silent();
        };
        let complete = street.look();
        // Heads alone can fill the memory, and faster than any clock of theirs runs out.
        street.cut_older_than(match street.ours().count() > limits.connections_max {
            _ if seen.memory > limits.memory_max => limits.round,
            true => limits.connection_within_when_crowded,
            false => limits.connection_within,
        });
        let patience = inside.patience();
        let mut finished = Vec::new();
        let mut hall = lock(&inside.hall);
        hall.visits.retain(|peer, visit| {
            match &visit.doing {
                // Gone, with all that it sent: its address may come again.
                Doing::Refused(_) | Doing::Ending(_)
                    if complete && visit.since < seen.at && !street.has(peer) =>
                {
                    finished.append(&mut visit.held);
                    return false;
                }
                Doing::Reading if visit.since.elapsed() > patience => drop(street.cut(peer)),
                Doing::Refused(text) if street.tell(peer, text) => {
                    visit.doing = Doing::Ending(Instant::now() + LINGER)
                }
                Doing::Ending(at) if *at <= Instant::now() && street.cut(peer) => {
                    finished.append(&mut visit.held)
                }
                _ => {}
            }
            true
        });
        let unheard = street.unheard(self.inside.limits.round, &hall);
        drop(hall);
        finished.into_iter().for_each(dispose);
        seen.connections = street.ours().count();
        seen.leaked =
            street.ours().filter(|c| c.cut.is_some_and(|at| at.elapsed() > LEAKED_AFTER)).count();
        seen.cut = street.cut;
        seen.reach = true;
        *lock(&inside.seen) = seen;
        (0..unheard.min(KNOCKS_MAX)).all(|_| knock(self.address));
    }

    /// As [`Street::unheard`], where only the number of connections is known. One knock for each: a
    /// connection that hangs in tiny_http stays for ever, and is not knocked for again.
    fn knock_for_the_silent(&mut self) {
        let silent =
            open_connections(self.address.port()).saturating_sub(lock(&self.inside.hall).in_hand());
        let waiting = silent.min(std::mem::replace(&mut self.silent, silent));
        self.knocked_for = self.knocked_for.min(silent);
        let knocks = waiting.saturating_sub(self.knocked_for).min(KNOCKS_MAX);
        self.knocked_for += (0..knocks).take_while(|_| knock(self.address)).count();
    }
}

/// Drops what a connection held that is cut, so that there is nothing to drain; or leaks it.
fn dispose(raw: tiny_http::Request) {
    if can_be_drained(&raw) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(raw.into_writer())));
    } else {
        std::mem::forget(raw);
    }
}

/// Where nobody can be cut, a refused request is drained on a thread of its own, for as long as its
/// client likes, and the rest is leaked.
fn see_off_the_refused(inside: &Inside) {
    lock(&inside.hall).visits.retain(|_, visit| {
        if let Doing::Refused(text) = &mut visit.doing {
            let text = std::mem::take(text);
            visit.doing = Doing::Ending(Instant::now());
            if let Some(raw) = visit.held.pop_if(|raw| can_be_drained(raw)) {
                let _ = spawn("farewell".into(), move || {
                    drop(catch_unwind(AssertUnwindSafe(|| tell(raw, &text))))
                });
            }
        }
        if !visit.in_hand() {
            visit.held.drain(..).for_each(std::mem::forget);
        }
        visit.in_hand() || visit.since.elapsed() < inside.limits.connection_within
    });
}

/// How many threads this process has, and how many bytes of memory that no file backs.
fn itself() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next())
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    (number("Threads:"), number("RssAnon:") << 10)
}

/// The connections of this process, by inode: a number may name another file a moment later, an
/// inode does not come twice while it is open.
struct Street {
    me: OwnedFd,
    port: u16,
    sockets: HashMap<u64, Socket>,
    /// Which of them a client's address is.
    peers: HashMap<SocketAddr, u64>,
    looks: u64,
    /// Connections cut so far.
    cut: u64,
}

struct Socket {
    number: RawFd,
    /// A connection to the door; others are the process's own affairs.
    ours: bool,
    /// `None` when it was reset before we looked.
    peer: Option<SocketAddr>,
    since: Instant,
    cut: Option<Instant>,
    look: u64,
}

impl Street {
    /// Fails where the kernel, or a filter of system calls, does not lend.
    fn new(port: u16) -> rustix::io::Result<Street> {
        // As in a container with Docker's filter of system calls.
        if sabotage::is("no_pidfd_getfd") {
            return Err(rustix::io::Errno::PERM);
        }
        let me = process::pidfd_open(process::getpid(), PidfdFlags::empty())?;
        process::pidfd_getfd(&me, me.as_raw_fd(), PidfdGetfdFlags::empty())?;
        Ok(Street { me, port, sockets: HashMap::new(), peers: HashMap::new(), looks: 0, cut: 0 })
    }

    /// Learns who is there. False when not everybody could be looked at.
    fn look(&mut self) -> bool {
        self.looks += 1;
        self.peers.clear();
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return false };
        let mut complete = true;
        for number in
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok())
        {
            let Some(inode) = socket_inode(number) else { continue };
            if !self.sockets.contains_key(&inode) {
                match self.borrow(number, inode) {
                    Some(socket) => {
                        self.sockets.insert(inode, Socket::new(&socket, self.port));
                    }
                    None => complete &= socket_inode(number) != Some(inode),
                }
            }
            if let Some(socket) = self.sockets.get_mut(&inode) {
                (socket.number, socket.look) = (number, self.looks);
                self.peers.extend(socket.peer.map(|peer| (peer, inode)));
            }
        }
        self.sockets.retain(|_, socket| socket.look == self.looks);
        complete
    }

    fn ours(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.values().filter(|s| s.ours)
    }

    /// Connections that have sent no request for a round. tiny_http lets some wait for a thread
    /// that serves another, and for good when that one stays: its count of idle threads is stale in
    /// a burst. A knock gets a thread, which takes them on.
    fn unheard(&self, age: Duration, hall: &Hall) -> usize {
        let visits = |s: &Socket| s.peer.is_some_and(|peer| hall.visits.contains_key(&peer));
        self.ours().filter(|s| s.cut.is_none() && s.since.elapsed() > age && !visits(s)).count()
    }

    fn has(&self, peer: &SocketAddr) -> bool {
        self.peers.contains_key(peer)
    }

    /// Writes what fits without waiting, and that it is the last. False when the connection is not
    /// in sight.
    fn tell(&self, peer: &SocketAddr, text: &[u8]) -> bool {
        let Some(inode) = self.peers.get(peer) else { return false };
        let Some(socket) = self.sockets.get(inode).and_then(|s| self.borrow(s.number, *inode))
        else {
            return false;
        };
        let _ = rustix::net::send(&socket, text, SendFlags::DONTWAIT);
        let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
        true
    }

    /// Ends a connection: whoever reads or writes it sees that at once. False when it is not in
    /// sight.
    fn cut(&mut self, peer: &SocketAddr) -> bool {
        self.peers.get(peer).copied().is_some_and(|inode| self.cut_inode(inode))
    }

    fn cut_older_than(&mut self, age: Duration) {
        let old = self
            .sockets
            .iter()
            .filter(|(_, s)| s.ours && s.since.elapsed() > age)
            .map(|(inode, _)| *inode);
        for inode in old.collect::<Vec<u64>>() {
            self.cut_inode(inode);
        }
    }

    fn cut_inode(&mut self, inode: u64) -> bool {
        let Some(socket) = self.sockets.get(&inode) else { return false };
        if sabotage::is("nobody_is_cut") {
            return false;
        }
        if socket.cut.is_some() {
            return true;
        }
        let Some(borrowed) = self.borrow(socket.number, inode) else { return false };
        let borrowed = SockRef::from(&borrowed);
        // The kernel is to forget it as well, with all that it has not handed over.
        let _ = borrowed.set_linger(Some(Duration::ZERO));
        let _ = borrowed.shutdown(Shutdown::Both);
        self.cut += 1;
        self.sockets.entry(inode).and_modify(|s| s.cut = Some(Instant::now()));
        true
    }

    /// A descriptor of our own for the socket of that number, if it still is the one of that inode.
    fn borrow(&self, number: RawFd, inode: u64) -> Option<OwnedFd> {
        let socket = process::pidfd_getfd(&self.me, number, PidfdGetfdFlags::empty()).ok()?;
        rustix::fs::fstat(&socket).is_ok_and(|stat| stat.st_ino == inode).then_some(socket)
    }
}

impl Socket {
    fn new(socket: &OwnedFd, port: u16) -> Socket {
        let number = socket.as_raw_fd();
        let socket = SockRef::from(socket);
        let local = socket.local_addr().ok().and_then(|a| a.as_socket());
        let ours = local.is_some_and(|a| a.port() == port) && !socket.is_listener().unwrap_or(true);
        let peer = socket.peer_addr().ok().and_then(|a| a.as_socket()).filter(|_| ours);
        Socket { number, ours, peer, since: Instant::now(), cut: None, look: 0 }
    }
}

fn socket_inode(number: RawFd) -> Option<u64> {
    let target = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
