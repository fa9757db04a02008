//! The yardsticks: what tiny_http can do without fulfilld, and what SQLite can do without HTTP.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tiny_http::{Header, Request, Response, Server};

use crate::Result;
use crate::deliveries::{self, Deliveries};
use crate::machine::{self, Side};

/// tiny_http alone: the body is read, then 200.
pub const BARE: &str = "bare";
/// The same, and the signature is checked and the envelope is read; nothing is kept.
pub const VERIFY: &str = "verify";

/// The same, and it is kept: in a plain table, and in fulfilld's own (keeper.rs).
pub const PLAINLY: &str = "plainly";
pub const IN_OURS: &str = "in-ours";

/// Threads that answer; on one core more make no difference.
const HANDLERS: usize = 16;

/// Rows made before the clock runs, so that only SQLite is measured.
const ROWS_AT_ONCE: usize = 2048;

/// Be a yardstick, until standard input ends.
pub fn serve(verify: bool) -> Result<()> {
    let server = Server::http("127.0.0.1:0").map_err(|e| format!("cannot listen: {e}"))?;
    println!("yardstick listens on http://{}/webhook", server.server_addr());
    let server = Arc::new(server);
    for _ in 0..HANDLERS {
        let server = server.clone();
        let handler = std::thread::Builder::new().name("handler".into());
        let started = handler.spawn(move || {
            let key = Hmac::new_from_slice(deliveries::SECRET.as_bytes())
                .expect("HMAC takes a key of any length");
            while let Ok(request) = server.recv() {
                answer(request, verify.then_some(&key));
            }
        });
        started.map_err(|e| format!("cannot start a thread: {e}"))?;
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

fn answer(mut request: Request, key: Option<&Hmac<Sha256>>) {
    let mut body = Vec::with_capacity(request.body_length().unwrap_or(0));
    let read = request.as_reader().read_to_end(&mut body).is_ok();
    let good =
        read && key.is_none_or(|key| is_signed(&request, key, &body) && envelope(&body).is_some());
    let json = Header::from_bytes("Content-Type", "application/json").expect("a header of our own");
    let answer = Response::from_string(r#"{"received":true}"#).with_header(json);
    let _ = request.respond(answer.with_status_code(if good { 200 } else { 400 }));
}

/// Whether the secret of the benchmark signed the body.
pub fn is_signed(request: &Request, key: &Hmac<Sha256>, body: &[u8]) -> bool {
    let header = request.headers().iter().find(|h| h.field.equiv("Stripe-Signature"));
    let text = header.map(|h| h.value.as_str()).unwrap_or_default();
    let part =
        |name: &str| text.split(',').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default();
    let nibble = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    let v1: Vec<u8> =
        part("v1=").as_bytes().chunks_exact(2).map(|d| nibble(d[0]) << 4 | nibble(d[1])).collect();
    key.clone()
        .chain_update(part("t="))
        .chain_update(b".")
        .chain_update(body)
        .verify_slice(&v1)
        .is_ok()
}

/// The ids of an event and of what it is about.
pub fn envelope(body: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Envelope {
        id: String,
        #[serde(rename = "type")]
        kind: String,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        object: Object,
    }
    #[derive(Deserialize)]
    struct Object {
        id: String,
    }
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let is_one = envelope.id.starts_with("evt_") && !envelope.kind.is_empty();
    is_one.then_some((envelope.id, envelope.data.object.id))
}

/// What SQLite alone did in one batch size.
#[derive(Debug, Clone, Serialize)]
pub struct Rows {
    pub table: &'static str,
    pub batch: usize,
    pub rows_per_s: f64,
    pub cpu_us_per_row: f64,
}

impl Rows {
    /// The middle of several rounds, in each figure.
    pub fn median(rounds: Vec<Rows>) -> Rows {
        let middle = |figure: fn(&Rows) -> f64| crate::median(rounds.iter().map(figure).collect());
        let (rows_per_s, cpu_us_per_row) = (middle(|r| r.rows_per_s), middle(|r| r.cpu_us_per_row));
        Rows { table: rounds[0].table, batch: rounds[0].batch, rows_per_s, cpu_us_per_row }
    }
}

/// The events table as plain as it can be: its columns, its key and the index of what is due.
const PLAIN: &str = "
    CREATE TABLE events(id TEXT PRIMARY KEY, type TEXT NOT NULL, object_id TEXT, created TEXT, livemode INTEGER,
      api_version TEXT, account TEXT, shape TEXT NOT NULL, snapshot_event TEXT, payload TEXT, source TEXT NOT NULL,
      received_at TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending', state_reason TEXT,
      attempts INTEGER NOT NULL DEFAULT 0, next_attempt_at TEXT, processed_at TEXT) STRICT;
    CREATE INDEX events_due ON events(next_attempt_at) WHERE state = 'pending';";

/// fulfilld's own tables, with every check and trigger.
const SCHEMA: &str = include!("../../schema/whole.rs");

/// The statements of `inbox::keep_at` and of what takes a number for it.
const NEXT: &str = "UPDATE sequence SET n = n + 1 RETURNING n";
const KEEP: &str = "INSERT INTO events(id, type, object_id, created, livemode, api_version,
                      account, shape, snapshot_event,
    payload, source, received_at, next_attempt_at)
    VALUES (?1, 'checkout.session.completed', ?2, '2026-11-24T03:05:00Z', 0, '2026-10-28.endive',
    NULL, 'snapshot', NULL,
      ?3, 'webhook', ?4, ?4)";

/// A file that takes rows in batches of one size, each batch a transaction that is on disk before
/// the next.
pub struct Inserter {
    file: Table,
    table: &'static str,
    batch: usize,
    number: u64,
}

/// A file that takes rows, durably.
pub struct Table {
    connection: Connection,
    own: bool,
}

impl Table {
    /// With fulfilld's own tables, or a plain one.
    pub fn open(file: &Path, own: bool) -> Result<Table> {
        let open = || {
            let connection = Connection::open(file)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(if own { SCHEMA } else { PLAIN })?;
            Ok(connection)
        };
        let connection =
            open().map_err(|e: rusqlite::Error| format!("cannot make the table: {e}"))?;
        Ok(Table { connection, own })
    }

    /// Inserts rows (the ids of event and session, and the body) in one transaction, which is on
    /// the disk when this returns.
    pub fn insert<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> rusqlite::Result<()> {
        let numbered = KEEP
            .replace("received_at", "received_at, seq")
            .replace("?4, ?4", "?4, (SELECT n FROM sequence), ?4");
        let mut insert = self.connection.prepare_cached(if self.own { &numbered } else { KEEP })?;
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        if self.own {
            // Events that are committed together share a number.
            self.connection.prepare_cached(NEXT)?.query_row([], |row| row.get::<_, i64>(0))?;
        }
        for (id, session, body) in rows {
            insert.execute((id, session, body, "2026-11-24T03:05:00Z"))?;
        }
        self.connection.execute_batch("COMMIT")
    }
}

impl Inserter {
    /// With fulfilld's own tables, or a plain one.
    pub fn new(dir: &Path, own: bool, batch: usize) -> Result<Inserter> {
        let table = if own { "fulfilld's" } else { "plain" };
        let file = dir.join(format!("{}-{batch}.db", if own { "own" } else { "plain" }));
        Ok(Inserter { file: Table::open(&file, own)?, table, batch, number: 1 })
    }

    /// Inserts for so long, on the servers' core.
    pub fn run(&mut self, lasting: Duration) -> Result<Rows> {
        machine::pin(Side::Server);
        let done = self.insert(lasting).map_err(|e| format!("cannot insert: {e}"));
        machine::pin(Side::Load);
        done
    }

    fn insert(&mut self, lasting: Duration) -> rusqlite::Result<Rows> {
        let (mut rows, mut took, mut cpu) = (0, Duration::ZERO, Duration::ZERO);
        while took < lasting {
            let chunk = self.chunk();
            let (began, cpu_before) = (Instant::now(), machine::thread_cpu_time());
            for batch in chunk.chunks(self.batch) {
                self.file
                    .insert(batch.iter().map(|(id, session, body)| (&**id, &**session, &**body)))?;
                rows += batch.len();
                if began.elapsed() + took > lasting {
                    break;
                }
            }
            took += began.elapsed();
            cpu += machine::thread_cpu_time() - cpu_before;
        }
        Ok(Rows {
            table: self.table,
            batch: self.batch,
            rows_per_s: rows as f64 / took.as_secs_f64(),
            cpu_us_per_row: cpu.as_secs_f64() * 1e6 / rows as f64,
        })
    }

    /// The next rows: ids of event and session, and the body.
    fn chunk(&mut self) -> Vec<(String, String, String)> {
        let (writer, mut body) = (Deliveries::default(), Vec::new());
        let first = self.number;
        self.number += ROWS_AT_ONCE as u64;
        (first..self.number)
            .map(|number| {
                writer.write_body(number, &mut body);
                let text = String::from_utf8(body.clone()).expect("the event is UTF-8");
                (deliveries::event_id(number), deliveries::session_id(number), text)
            })
            .collect()
    }
}
