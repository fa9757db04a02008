//! Other people's programs: where they are, proxies that run with our snippets, and a client that
//! sends exactly the bytes that it is given.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::shop::{PATIENCE, Running, Shop, sign, unix_now, wait_for};

/// The signing secrets of a desk that is in the middle of rolling the first to the second.
pub const SECRETS: [&str; 2] = ["whsec_outside_old", "whsec_outside_new"];

/// A shop whose desk knows both secrets.
pub fn shop_with_two_secrets() -> Shop {
    Shop::open_with(&[("WEBHOOK_SECRET", &SECRETS.join("\n"))], &["--webhook", "none"])
}

/// A file below `tests/outside`, as `tests/setup` puts it there.
pub fn installed(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside").join(path);
    assert!(file.exists(), "tests/outside/{path} is missing; run tests/setup");
    file
}

/// A program of the machine itself.
pub fn machine_program(name: &str) -> Command {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(name).exists());
    assert!(found, "{name} is not installed; run tests/setup");
    Command::new(name)
}

/// A file of the repository.
pub fn shipped(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Somebody else's process, which ends with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a process of ours listens.
pub fn address_of(running: &Running) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, running.port()).into()
}

/// An answer, as a client reads it.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    /// Reads one answer and leaves the connection where the next one begins. `None` when it was
    /// closed without one.
    pub fn read(from: &mut BufReader<TcpStream>) -> Option<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match from.read_line(&mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let head = head.to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        match length {
            Some(_) => from.read_exact(&mut body).ok()?,
            None if status < 200 => {}
            None => drop(from.read_to_end(&mut body)),
        }
        Some(Reply { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Opens a connection, sends these bytes and reads the answer. `None` when the other side closes
/// without one. A side that stops reading, because it has answered already, is no error.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Option<Reply> {
    let mut stream = connect(address);
    if let Err(e) = stream.write_all(request) {
        assert!(
            matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "sending to {address}: {e}"
        );
    }
    Reply::read(&mut BufReader::new(stream))
}

/// A connection that gives up after [`PATIENCE`].
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE);
    let stream = stream.unwrap_or_else(|e| panic!("connecting to {address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream
}

/// A webhook as Stripe posts it, over a connection that stays open.
pub fn webhook(signature: Option<&str>, body: &[u8]) -> Vec<u8> {
    let signature =
        signature.map(|header| format!("Stripe-Signature: {header}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: shop.example.org\r\n\
         User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nAccept: */*; q=0.5, application/xml\r\n\
         Content-Type: application/json; charset=utf-8\r\n{signature}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A webhook with a valid signature, of an event with this id that leads to nothing.
pub fn good_webhook(id: &str) -> Vec<u8> {
    let body = event(id);
    webhook(Some(&sign(body.as_bytes(), SECRETS[1], unix_now())), body.as_bytes())
}

/// An event that the desk keeps and does nothing about.
pub fn event(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","object":"event","type":"product.created","livemode":false,"data":{{"object":{{}}}}}}"#
    )
}

/// An address on which nothing listens until the test starts something there. A socket that is
/// bound and does not listen keeps everybody else from getting the port, for as long as the tests
/// run; a program that sets `SO_REUSEADDR`, as servers do, can still listen.
pub fn free_address() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("it is new");
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any_port.into()).expect("a port is free");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    std::mem::forget(socket);
    address.expect("it is bound")
}

/// Replaces what must be there in a snippet.
pub fn replace(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from:?} is no longer in the snippet");
    *text = text.replace(from, to);
}

/// A proxy that runs with a shipped snippet; only ports, people, certificates and directories are
/// others.
pub struct Proxy {
    /// Which one it is, as a word for event ids and messages.
    pub word: &'static str,
    pub address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// Runs it and waits until it listens.
    pub fn start(
        word: &'static str,
        address: SocketAddr,
        mut command: Command,
        directory: TempDir,
    ) -> Proxy {
        let log = fs::File::create(directory.path().join("stderr")).expect("a log can be written");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut process = Process(
            spawned.unwrap_or_else(|e| panic!("{word} does not start: {e}; run tests/setup")),
        );
        let logs = || {
            ["stderr", "log"]
                .map(|f| fs::read_to_string(directory.path().join(f)).unwrap_or_default())
                .concat()
        };
        wait_for(&format!("{word} listens on {address}"), || {
            assert!(matches!(process.0.try_wait(), Ok(None)), "{word} ended: {}", logs());
            TcpStream::connect(address).ok()
        });
        Proxy { word, address, _process: process, _directory: directory }
    }
}
