//! The sockets: the one that listens, and what the kernel says of connections.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use super::Limits;
use crate::config;
use crate::error::{Error, Result};

/// Connections that the kernel completes while we are busy or being replaced.
const BACKLOG: i32 = 4096;

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
                "{address} is in use; stop what listens there (ss -ltnp names it; another \
                 fulfilld?), or set {setting} to a free port"
            ),
            _ => format!(
                "cannot listen on {address}: {error}; set {setting} to an address of this server"
            ),
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
        log::warn!("cannot raise the limit on open files: {error}");
    }
}

/// Sets on the socket what connections inherit from it; one that systemd holds still has what the
/// last process set.
pub fn prepare(listener: &TcpListener, limits: &Limits) -> std::io::Result<SocketAddr> {
    listener.set_nonblocking(false)?;
    rustix::net::listen(listener, BACKLOG)?;
    SockRef::from(listener).set_read_timeout(Some(limits.silence))?;
    SockRef::from(listener).set_write_timeout(Some(limits.silence))?;
    listener.local_addr()
}

/// Starts a named thread. `Temporary` when the system gives none.
pub fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(run)
        .map(drop)
        .map_err(cannot_open)
}

/// The error of a listener that cannot be opened.
pub fn cannot_open(why: impl std::fmt::Display) -> Error {
    Error::Temporary(format!("the front door cannot be opened: {why}; try again"))
}

/// A client that says nothing, so that accept(2) returns. False when nobody opens.
pub fn knock(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Connections to that port that a process has accepted and not closed, by the kernel's own list;
/// one that waits in the queue has no inode yet, one that is closed has none any more.
pub fn open_connections(port: u16) -> usize {
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
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
