//! What the tests against other people's programs share: where those programs are, the daemon that they meet, and an HTTP
//! client that sends exactly the bytes it is given.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::TempDir;

/// The signing secrets that the daemon under test is given: it is in the middle of rolling the first to the second.
pub const SECRETS: [&str; 2] = ["whsec_outside_old", "whsec_outside_new"];

/// For anything that should happen at once, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// A file below `tests/outside`, as `tests/setup` puts it there.
pub fn installed(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside").join(path);
    assert!(file.exists(), "tests/outside/{path} is missing; run tests/setup");
    file
}

/// A program of the machine itself; the test that needs it names the script that installs it.
pub fn machine_program(name: &str) -> Command {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).exists());
    assert!(found, "{name} is not installed; run tests/setup");
    Command::new(name)
}

/// A process that ends with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts the program under test and gives it back with the first line that it prints, which says that it is ready.
    pub fn fulfilld(command: &mut Command) -> (Process, String) {
        let mut child = Process(command.stdout(Stdio::piped()).spawn().expect("fulfilld starts"));
        let mut line = String::new();
        let stdout = child.0.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("fulfilld prints text");
        assert!(!line.is_empty(), "fulfilld ended before it was ready: {:?}", child.0.wait());
        (child, line)
    }

    /// False once the process has ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// The daemon, on a port and in a directory of its own.
pub struct Desk {
    pub process: Process,
    pub address: SocketAddr,
    pub directory: TempDir,
}

impl Desk {
    /// A daemon that cannot reach Stripe: it receives and keeps.
    pub fn receiving() -> Desk {
        Desk::asking("http://127.0.0.1:9")
    }

    /// A daemon that asks this address for what was bought.
    pub fn asking(stripe_api: &str) -> Desk {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let (process, line) = Process::fulfilld(
            Command::new(env!("CARGO_BIN_EXE_fulfilld"))
                .arg("serve")
                .env("STRIPE_SECRET_KEY", "rk_test_outside")
                .env("WEBHOOK_SECRET", SECRETS.join("\n"))
                .env("FULFILLD_DB", directory.path().join("fulfilld.db"))
                .env("FULFILLD_LISTEN", "127.0.0.1:0")
                .env("FULFILLD_STRIPE_API", stripe_api)
                .env("FULFILLD_LOG", "error"),
        );
        Desk { process, address: address_in(&line), directory }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("fulfilld.db")
    }

    /// What `GET /metrics` says of one counter; 0 when it has not counted yet.
    pub fn counted(&self, counter: &str) -> u64 {
        let page = exchange(self.address, &get("/metrics")).expect("the daemon answers");
        let value = page.body.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok());
        value.unwrap_or(0)
    }
}

/// The address in `… http://127.0.0.1:PORT/webhook …`.
pub fn address_in(line: &str) -> SocketAddr {
    let rest = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|e| panic!("no address in {line:?}: {e}"))
}

/// An answer, as a client reads it.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Reads one answer and leaves the connection where the next one begins. `None` when it was closed without one.
    pub fn read(from: &mut BufReader<TcpStream>) -> Option<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match from.read_line(&mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        match length {
            Some(_) => from.read_exact(&mut body).ok()?,
            None if status < 200 => {}
            None => drop(from.read_to_end(&mut body)),
        }
        Some(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Opens a connection, sends these bytes and reads the answer. `None` when the other side closes without one. A side that
/// stops reading, because it has answered already, is no error.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Option<Reply> {
    let mut stream = connect(address);
    if let Err(e) = stream.write_all(request) {
        assert!(matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "sending to {address}: {e}");
    }
    Reply::read(&mut BufReader::new(stream))
}

/// A connection that gives up after `SOON` of silence.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, SOON).unwrap_or_else(|e| panic!("connecting to {address}: {e}"));
    stream.set_read_timeout(Some(SOON)).expect("a time-out can be set");
    stream.set_write_timeout(Some(SOON)).expect("a time-out can be set");
    stream
}

/// A request without a body.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.org\r\n\r\n").into_bytes()
}

/// A webhook as Stripe posts it, over a connection that stays open.
pub fn webhook(signature: Option<&str>, body: &[u8]) -> Vec<u8> {
    let signature = signature.map(|header| format!("Stripe-Signature: {header}\r\n")).unwrap_or_default();
    let mut request = format!(
        "POST /webhook HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
         Accept: */*; q=0.5, application/xml\r\nContent-Type: application/json; charset=utf-8\r\n{signature}\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A webhook that is believed, of an event with this id that leads to nothing.
pub fn good_webhook(id: &str) -> Vec<u8> {
    let body = event(id);
    webhook(Some(&signed_now(SECRETS[1], body.as_bytes())), body.as_bytes())
}

/// An event that the daemon keeps and does nothing about.
pub fn event(id: &str) -> String {
    format!(r#"{{"id":"{id}","object":"event","type":"product.created","livemode":false,"data":{{"object":{{}}}}}}"#)
}

/// `t=…,v1=…` for this moment.
pub fn signed_now(secret: &str, body: &[u8]) -> String {
    let t = now().to_string();
    format!("t={t},v1={}", signature(secret, &t, body))
}

/// The 64 hex digits.
pub fn signature(secret: &str, t: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    hex(&mac.chain_update(t).chain_update(b".").chain_update(body).finalize().into_bytes())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() as i64
}

/// Waits until it holds; fails with what was awaited when it does not within the time.
pub fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
