//! The yardstick that keeps events: verify, one transaction for all that wait, answer after COMMIT,
//! and none of what fulfilld promises besides. What fulfilld takes more is what its promises cost;
//! what the limit says less is what handing over costs.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use tiny_http::{Request, Server};

use crate::Result;
use crate::deliveries;
use crate::yardstick::{self, Table};

/// An event whose signature is right, and the way to answer it.
struct Verified {
    id: String,
    session: String,
    body: String,
    reply: Box<dyn Write + Send>,
}

/// What waits for the next transaction.
#[derive(Default)]
struct Waiting {
    events: Mutex<Vec<Verified>>,
    came: Condvar,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 17\r\nConnection: close\r\n\r\n{\"received\":true}";

/// Be it, until standard input ends. It keeps its events in the file KEEPER_DB, in a plain table or
/// in fulfilld's own.
pub fn serve(own: bool) -> Result<()> {
    let file = std::env::var_os("KEEPER_DB").map(PathBuf::from).ok_or("KEEPER_DB is not set")?;
    let table = Table::open(&file, own)?;
    let server = Server::http("127.0.0.1:0").map_err(|e| format!("cannot listen: {e}"))?;
    println!("keeper listens on http://{}/webhook", server.server_addr());
    let (server, waiting) = (Arc::new(server), Arc::new(Waiting::default()));
    let (kept, to_answer) = channel();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        thread.map(drop).map_err(|e| format!("cannot start a thread: {e}"))
    };
    for _ in 0..2 {
        let (server, waiting) = (server.clone(), waiting.clone());
        spawn("handler", Box::new(move || handle(&server, &waiting)))?;
    }
    spawn("writer", Box::new(move || write(table, &waiting, &kept)))?;
    spawn("responder", Box::new(move || answer(&to_answer)))?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

fn handle(server: &Server, waiting: &Waiting) {
    let key = Hmac::<Sha256>::new_from_slice(deliveries::SECRET.as_bytes())
        .expect("HMAC takes a key of any length");
    while let Ok(mut request) = server.recv() {
        let Some((id, session, body)) = verified(&mut request, &key) else { continue };
        let reply = request.into_writer();
        let mut events = waiting.events.lock().expect("nobody panics");
        events.push(Verified { id, session, body, reply });
        let is_first = events.len() == 1;
        drop(events);
        if is_first {
            waiting.came.notify_one();
        }
    }
}

fn verified(request: &mut Request, key: &Hmac<Sha256>) -> Option<(String, String, String)> {
    let mut body = Vec::with_capacity(request.body_length().unwrap_or(0));
    request.as_reader().read_to_end(&mut body).ok()?;
    let (id, session) =
        yardstick::envelope(&body).filter(|_| yardstick::is_signed(request, key, &body))?;
    Some((id, session, String::from_utf8(body).ok()?))
}

fn write(mut table: Table, waiting: &Waiting, kept: &Sender<Vec<Verified>>) {
    loop {
        let events = waiting.events.lock().expect("nobody panics");
        let mut events =
            waiting.came.wait_while(events, |events| events.is_empty()).expect("nobody panics");
        let batch = std::mem::take(&mut *events);
        drop(events);
        let rows = batch.iter().map(|e| (&*e.id, &*e.session, &*e.body));
        if table.insert(rows).is_err() || kept.send(batch).is_err() {
            return;
        }
    }
}

fn answer(kept: &Receiver<Vec<Verified>>) {
    for mut event in kept.iter().flatten() {
        let _ = event.reply.write_all(ANSWER).and_then(|()| event.reply.flush());
    }
}
