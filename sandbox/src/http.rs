//! The sandbox's server, on bare sockets because it must be able to misbehave below HTTP.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use crate::error::{Error, Result};
use crate::rendering::json;
use crate::sync::lock;

const HEAD_MAX: usize = 32 << 10; // a page's worth of expand[] is below 1 KiB
const HEADERS_MAX: usize = 64;
const BODY_MAX: usize = 1 << 20; // only our own controls have a body
const CONNECTIONS_MAX: usize = 1000; // a thread each; below the usual descriptor limit of 1024
const STACK: usize = 512 << 10; // unoptimised JSON of a whole session, with room
const IDLE_MAX: Duration = Duration::from_secs(60);
const HUGE: usize = 500 << 20; // more than anybody should read

/// A request, its path and query decoded.
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names and values, percent-decoded, in the order of the request.
    pub query: Vec<(String, String)>,
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
    keep_alive: bool,
}

impl Request {
    /// The value of a header; capitals in the name do not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A response, and how well it is sent.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// How a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Whole,
    /// Nothing is sent, and the connection stays.
    Hang,
    /// A byte of the body a second.
    Drip,
    /// Half of the body under the whole's length, then the end.
    Half,
    /// A body of 500 MB.
    Huge,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
}

impl Response {
    /// An answer of JSON.
    pub fn json(status: u16, value: &Value) -> Response {
        Response::raw(status, "application/json", json::bytes(value))
    }

    /// An answer of these bytes.
    pub fn raw(status: u16, content_type: &str, body: Vec<u8>) -> Response {
        Response {
            status,
            headers: vec![("Content-Type", content_type.into())],
            body,
            manner: Manner::Whole,
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

/// A running server: one thread accepts connections, and one serves each of them. Dropping it
/// closes all of them.
pub struct Server {
    address: SocketAddr,
    open: Arc<Open>,
    accepting: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

#[derive(Default)]
struct Open {
    stopping: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<TcpStream>>>,
}

impl Server {
    /// Listens from now on. `Refused` when the address is not loopback or cannot be had.
    pub fn start(
        listen: SocketAddr,
        respond: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Result<Server> {
        if !listen.ip().is_loopback() {
            return Err(Error::Refused(format!(
                "{listen} is not loopback; a sandbox serves its own machine only"
            )));
        }
        let taken = |e: io::Error| {
            Error::Refused(format!(
                "the sandbox cannot listen on {listen}: {e}; port 0 takes a free one"
            ))
        };
        let listener = TcpListener::bind(listen).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let open = Arc::new(Open::default());
        let accepting = {
            let (open, respond): (_, Arc<Handler>) = (open.clone(), Arc::new(respond));
            move || accept(&listener, &open, &respond)
        };
        let accepting =
            std::thread::Builder::new().name("sandbox".into()).spawn(accepting).map_err(taken)?;
        Ok(Server { address, open, accepting: Some(accepting) })
    }

    /// Where it listens; the port is a real one where port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.stopping.store(true, Ordering::SeqCst);
        // Only a connection wakes a thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in lock(&self.open.connections).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, open: &Arc<Open>, respond: &Arc<Handler>) {
    for (n, stream) in listener.incoming().enumerate() {
        if open.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors: those in use come back.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (n, stream) = (n as u64, Arc::new(stream));
        {
            let mut connections = lock(&open.connections);
            if connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            connections.insert(n, stream.clone());
        }
        let listed = Listed { n, open: open.clone() };
        let respond = respond.clone();
        let conversation = move || {
            let listed = listed;
            // A connection that broke is the client's to notice.
            let _ = serve(&stream, &*respond);
            drop(listed);
        };
        // A thread that cannot be started drops the connection with the closure.
        let _ = std::thread::Builder::new()
            .name("sandbox-http".into())
            .stack_size(STACK)
            .spawn(conversation);
    }
}

/// Keeps a connection on the list of those to be closed on stopping, for as long as its thread
/// lives.
struct Listed {
    n: u64,
    open: Arc<Open>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.open.connections).remove(&self.n);
    }
}

/// Serves one request after the other, until either side closes.
fn serve(stream: &TcpStream, respond: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_MAX))?;
    stream.set_write_timeout(Some(IDLE_MAX))?;
    let mut received = Vec::new();
    loop {
        match next_request(stream, &mut received) {
            Ok(None) => return Ok(()),
            Ok(Some(request)) if send(stream, respond(&request), request.keep_alive)? => {}
            Ok(Some(_)) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                let why = serde_json::json!({"error": {"message": e.to_string(), "type": "invalid_request_error"}});
                send(stream, Response::json(400, &why), false)?;
                return Ok(());
            }
            Err(e) => return Err(e),
        }
    }
}

/// The next request; what was received of the one after it stays in `received`. `None` at the end,
/// `InvalidData` with the reason when it is no request.
fn next_request(stream: &TcpStream, received: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_string());
    let read_more = |received: &mut Vec<u8>| {
        let mut chunk = [0; 8 << 10];
        let n = { stream }.read(&mut chunk)?;
        received.extend_from_slice(&chunk[..n]);
        io::Result::Ok(n > 0)
    };
    let (head, mut request) = loop {
        match parse(received) {
            Err(e) => return Err(bad(&format!("this is not an HTTP request: {e}"))),
            Ok(Some(parsed)) => break parsed,
            Ok(None) if received.len() > HEAD_MAX => {
                return Err(bad("the request's head is longer than 32 KiB"));
            }
            Ok(None) if !read_more(received)? => return Ok(None),
            Ok(None) => {}
        }
    };
    if request.header("Transfer-Encoding").is_some() {
        return Err(bad("the sandbox takes a body with a Content-Length only"));
    }
    let length = request.header("Content-Length").unwrap_or("0").parse().unwrap_or(usize::MAX);
    if length > BODY_MAX {
        return Err(bad("the Content-Length is no number, or above 1 MiB"));
    }
    if request.header("Expect").is_some() {
        { stream }.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while received.len() < head + length {
        if !read_more(received)? {
            return Ok(None);
        }
    }
    request.body = received[head..head + length].to_vec();
    received.drain(..head + length);
    Ok(Some(request))
}

/// A head and its length; `None` while it is not whole.
fn parse(received: &[u8]) -> std::result::Result<Option<(usize, Request)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(received)? else {
        return Ok(None);
    };
    let target = head.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut request = Request {
        method: head.method.unwrap_or_default().into(),
        path: decoded(path),
        query: pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(n, v)| (decoded(n), decoded(v)))
            .collect(),
        body: Vec::new(),
        headers: head
            .headers
            .iter()
            .map(|h| (h.name.into(), String::from_utf8_lossy(h.value).into()))
            .collect(),
        keep_alive: head.version == Some(1),
    };
    request.keep_alive &=
        !request.header("Connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
    Ok(Some((length, request)))
}

/// Percent-encoding taken off; what is none stays as it is.
fn decoded(text: &str) -> String {
    let raw = text.as_bytes();
    let digit = |at: usize| raw.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(raw.len()), 0);
    while at < raw.len() {
        match (raw[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (other, ..) => bytes.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into()
}

/// Sends an answer in its manner; true when the connection can be used again.
fn send(mut stream: &TcpStream, response: Response, keep_alive: bool) -> io::Result<bool> {
    let length = if response.manner == Manner::Huge { HUGE } else { response.body.len() };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut head = format!(
        "HTTP/1.1 {} \r\nContent-Length: {length}\r\nConnection: {connection}\r\n",
        response.status
    );
    for (name, value) in &response.headers {
        // Some values echo the request; a line's end in one would be a header of the client's
        // making.
        head += &format!("{name}: {}\r\n", value.replace(char::is_control, "?"));
    }
    let mut head = (head + "\r\n").into_bytes();
    match response.manner {
        Manner::Whole => {
            head.extend_from_slice(&response.body);
            stream.write_all(&head)?;
            return Ok(keep_alive);
        }
        Manner::Hang => while stream.read(&mut [0; 512])? > 0 {},
        Manner::Drip => {
            stream.write_all(&head)?;
            for byte in response.body {
                stream.write_all(&[byte])?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Manner::Half => {
            head.extend_from_slice(&response.body[..length / 2]);
            stream.write_all(&head)?;
        }
        Manner::Huge => {
            stream.write_all(&head)?;
            let blanks = [b' '; 64 << 10];
            for _ in 0..HUGE / blanks.len() {
                stream.write_all(&blanks)?;
            }
        }
        Manner::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO))?,
        Manner::Close => {}
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Server {
        let answer = |r: &Request| {
            Response::raw(200, "text/plain", format!("{} {:?}", r.path, r.query).into_bytes())
        };
        Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), answer).unwrap()
    }

    fn said(server: &Server, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        let server = echo();
        let two = "GET /a?expand%5B%5D=x.y&b HTTP/1.1\r\n\r\nPOST /%62%zz HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        let text = said(&server, two.as_bytes());
        assert_eq!(text.matches("200").count(), 2, "{text}");
        assert!(
            text.contains(r#"/a [("expand[]", "x.y"), ("b", "")]"#) && text.contains("/b%zz []"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_request_gets_a_json_error() {
        let server = echo();
        let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(HEAD_MAX));
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for bytes in
            ["\u{1}\u{2}\r\n\r\n", &long, chunked, "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
        {
            let text = said(&server, bytes.as_bytes());
            assert!(text.starts_with("HTTP/1.1 400") && text.contains("\"message\""), "{text}");
        }
        assert_eq!(said(&server, b"GET / HTT"), "");
    }

    #[test]
    fn a_stopped_server_closes_what_hangs() {
        let answer = |_: &Request| Response {
            manner: Manner::Hang,
            ..Response::raw(200, "text/plain", Vec::new())
        };
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), answer).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let open = server.open.clone();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while lock(&open.connections).is_empty() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        drop(server);
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}
