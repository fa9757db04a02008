//! What a Rust shop would run: axum and sqlx. It verifies an event, stores it durably, and answers
//! 200. Tuned as fulfilld is: WAL, FULL, prepared statements; one write connection, because more
//! would only wait for each other, and one thread, because the server has one core.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

/// How old a signature may be, in seconds.
const TOLERANCE_S: u64 = 300;

struct Desk {
    key: Hmac<Sha256>,
    pool: SqlitePool,
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: Option<i64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::var("PEER_DB")?;
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{file}"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS events(id TEXT PRIMARY KEY, type TEXT NOT NULL, created INTEGER,
           payload TEXT NOT NULL, received_at TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending') STRICT",
    )
    .execute(&pool)
    .await?;
    let key = Hmac::new_from_slice(std::env::var("WEBHOOK_SECRET")?.as_bytes())?;
    let app = axum::Router::new()
        .route("/webhook", post(receive))
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(Arc::new(Desk { key, pool }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("axum listens on http://{}/webhook", listener.local_addr()?);
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = term.recv().await;
        })
        .await?;
    Ok(())
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    if !is_signed(&desk.key, &headers, &body) {
        return (StatusCode::BAD_REQUEST, "no signature matches");
    }
    let (Ok(event), Ok(text)) =
        (serde_json::from_slice::<Envelope>(&body), std::str::from_utf8(&body))
    else {
        return (StatusCode::BAD_REQUEST, "not an event");
    };
    let stored = sqlx::query(
        "INSERT INTO events(id, type, created, payload, received_at)
         VALUES (?1, ?2, ?3, ?4, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) ON CONFLICT DO NOTHING",
    )
    .bind(event.id)
    .bind(event.kind)
    .bind(event.created)
    .bind(text)
    .execute(&desk.pool)
    .await;
    match stored {
        Ok(_) => (StatusCode::OK, r#"{"received":true}"#),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not stored"),
    }
}

fn is_signed(key: &Hmac<Sha256>, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("stripe-signature").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let parts =
        |name: &'static str| header.split(',').filter_map(move |pair| pair.strip_prefix(name));
    let Some(t) = parts("t=").next() else { return false };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if t.parse::<u64>().is_ok_and(|t| t + TOLERANCE_S < now) {
        return false;
    }
    let signed = key.clone().chain_update(t).chain_update(b".").chain_update(body);
    let nibble = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    parts("v1=").any(|hex| {
        let digest: Vec<u8> =
            hex.as_bytes().chunks_exact(2).map(|d| nibble(d[0]) << 4 | nibble(d[1])).collect();
        signed.clone().verify_slice(&digest).is_ok()
    })
}
