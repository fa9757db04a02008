//! One request that was read whole, and its answer, which any thread may give.

use std::collections::hash_map::Entry;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Doing, Inside};
use crate::sync::lock;

/// The values of the headers of that name, whatever its case.
pub fn headers<'a>(raw: &'a tiny_http::Request, name: &str) -> impl Iterator<Item = &'a str> {
    let named = move |h: &&tiny_http::Header| h.field.as_str().as_str().eq_ignore_ascii_case(name);
    raw.headers().iter().filter(named).map(|h| h.value.as_str())
}

/// A request, read to its end. Whoever has it answers it, once; dropped without an answer, it is
/// answered 500.
pub struct Request {
    /// Whole, and no longer than the limit `body_max`.
    pub body: Vec<u8>,
    /// Until it is answered.
    raw: Option<tiny_http::Request>,
    peer: SocketAddr,
    inside: Arc<Inside>,
}

impl Request {
    /// For a request whose visit has begun; the visit ends with the answer.
    pub(super) fn new(raw: tiny_http::Request, peer: SocketAddr, inside: Arc<Inside>) -> Request {
        Request { body: Vec::new(), raw: Some(raw), peer, inside }
    }

    pub(super) fn raw(&self) -> &tiny_http::Request {
        self.raw.as_ref().expect("it is there until it is answered")
    }

    pub(super) fn raw_mut(&mut self) -> &mut tiny_http::Request {
        self.raw.as_mut().expect("it is there until it is answered")
    }

    /// Takes it back, so that this answers nothing and ends no visit.
    pub(super) fn into_raw(mut self) -> tiny_http::Request {
        self.raw.take().expect("it is there until it is answered")
    }

    /// `GET`, `POST` and so on.
    pub fn method(&self) -> &str {
        self.raw().method().as_str()
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        self.raw().url().split(['?', '#']).next().unwrap_or_default()
    }

    /// What stands behind the first `?`; empty where nothing does.
    pub fn query(&self) -> &str {
        let url = self.raw().url().split('#').next().unwrap_or_default();
        url.split_once('?').map_or("", |(_, query)| query)
    }

    /// The header of that name; `None` where there is none, or several, of which nobody can say which
    /// one the proxy wrote.
    pub fn only_header(&self, name: &str) -> Option<&str> {
        let mut named = headers(self.raw(), name);
        named.next().filter(|_| named.next().is_none())
    }

    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        headers(self.raw(), name).next()
    }

    /// Lets go of everything but the way to answer it: the head, and the thread and the buffer with
    /// which tiny_http reads the connection, which it keeps until then. For whoever has read all that
    /// is needed, and can answer only later.
    pub fn into_reply(mut self) -> Reply {
        self.let_go().expect("it is there until it is answered")
    }

    /// `None` when that was done before.
    fn let_go(&mut self) -> Option<Reply> {
        let raw = self.raw.take()?;
        let with_body = raw.method() != &tiny_http::Method::Head;
        // tiny_http may panic over a connection that broke.
        let writer = catch_unwind(AssertUnwindSafe(|| raw.into_writer())).ok();
        Some(Reply { writer, with_body, told: false, peer: self.peer, inside: self.inside.clone() })
    }

    /// Answers it. Short answers do not block: they fit into the socket's buffer.
    pub fn answer(self, answer: &Answer) {
        self.into_reply().answer(answer);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A reply that is dropped answers 500.
        drop(self.let_go());
    }
}

/// The way to answer a request. Whoever has it answers, once; dropped without an answer, it answers
/// 500.
pub struct Reply {
    /// `None` when the connection broke.
    writer: Option<Box<dyn Write + Send>>,
    /// An answer to HEAD has none.
    with_body: bool,
    told: bool,
    peer: SocketAddr,
    inside: Arc<Inside>,
}

impl Reply {
    /// Answers. Short answers do not block: they fit into the socket's buffer.
    pub fn answer(mut self, answer: &Answer) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: &Answer) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        // tiny_http makes us wait here for an earlier request of the same connection; the reaper
        // cuts it first.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(mut writer) = self.writer.take()
                && self.inside.turn(self.peer, Doing::Answering)
            {
                write(&mut *writer, &answer.wire(self.with_body));
            }
        }));
        if let Entry::Occupied(entry) = lock(&self.inside.hall).visits.entry(self.peer)
            && entry.get().in_hand()
        {
            entry.remove();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.told {
            self.tell(&Answer::text(500, "A bug in fulfilld; its log says more".into()));
        }
    }
}

/// What a request is answered. No header can repeat text of a request: they are all `'static`.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers, by name and value.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Where to look instead; no header where it is not a path of plain signs.
    pub location: Option<String>,
    /// The bytes that follow the head.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer without further headers.
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Answer {
        Answer { status, content_type, headers: vec![], location: None, body }
    }
    /// The same as plain text.
    pub fn text(status: u16, body: String) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", body.into_bytes())
    }
    /// The same as JSON; `body` is its text.
    pub fn json(status: u16, body: String) -> Answer {
        Answer::new(status, "application/json", body.into_bytes())
    }

    /// All of it in one piece, so that it goes out in one packet.
    pub(super) fn wire(&self, with_body: bool) -> Vec<u8> {
        let mut wire = Vec::with_capacity(256 + self.body.len());
        let reason = tiny_http::StatusCode(self.status).default_reason_phrase();
        let (kind, length) = (self.content_type, self.body.len());
        let _ = write!(wire, "HTTP/1.1 {} {reason}\r\nContent-Type: {kind}\r\n", self.status);
        let _ = write!(wire, "Content-Length: {length}\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            let _ = write!(wire, "{name}: {value}\r\n");
        }
        let is_path =
            |path: &&String| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        if let Some(path) = self.location.as_ref().filter(is_path) {
            let _ = write!(wire, "Location: {path}\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        if with_body {
            wire.extend_from_slice(&self.body);
        }
        wire
    }
}

/// Drains a request, which tiny_http does by itself, and answers it. A client that has gone gets
/// nothing.
pub fn tell(raw: tiny_http::Request, text: &[u8]) {
    write(&mut *raw.into_writer(), text);
}

fn write(writer: &mut dyn Write, text: &[u8]) {
    let _ = writer.write_all(text).and_then(|()| writer.flush());
}
