//! The writer's connection, lent to whoever looks while hardly anything is written.
//!
//! A second connection holds a second copy of the schema, more than 1 MB, and what it leaves behind
//! when it is closed lies amid the heap. A shop at rest looks a few times a second, so it does with
//! one.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::CLI_BUSY;
use crate::sync::lock;

/// With more transactions than that in a second nobody is to wait for a look.
const TRANSACTIONS_MAX: u32 = 20;

/// How long a look waits for the writer, which at a start makes the file ready first.
const PATIENCE: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(1);

/// The writer's connection. Clones lead to the same one.
#[derive(Clone)]
pub struct Lent(Arc<Mutex<Held>>);

struct Held {
    /// `None` once the writer has ended.
    connection: Option<Connection>,
    /// When the present second began, and what was written in it.
    second: Instant,
    transactions: u32,
    /// In the second before.
    before: u32,
}

impl Held {
    /// Begins a new second where the last one is over.
    fn pass(&mut self) {
        let passed = self.second.elapsed();
        if passed >= Duration::from_secs(1) {
            self.before = if passed < Duration::from_secs(2) { self.transactions } else { 0 };
            self.transactions = 0;
            self.second = Instant::now();
        }
    }

    fn is_busy(&mut self) -> bool {
        self.pass();
        self.transactions.max(self.before) > TRANSACTIONS_MAX
    }
}

impl From<Connection> for Lent {
    fn from(connection: Connection) -> Lent {
        let connection = Some(connection);
        let second = Instant::now();
        Lent(Arc::new(Mutex::new(Held { connection, second, transactions: 0, before: 0 })))
    }
}

impl Lent {
    /// For the writer: its connection for the next transaction. Waits while somebody looks. Only
    /// before [`Lent::close`].
    pub fn hold(&self) -> Writing<'_> {
        let mut held = lock(&self.0);
        held.pass();
        held.transactions += 1;
        Writing(held)
    }

    /// For the writer, at its end: nobody borrows the connection any more.
    pub fn close(&self) {
        lock(&self.0).connection = None;
    }

    /// True while [`Lent::borrow`] would not lend, or not at once.
    pub fn is_busy(&self) -> bool {
        let Ok(mut held) = self.0.try_lock() else { return true };
        held.is_busy() || held.connection.is_none()
    }

    /// For a look. `None` when the writer is busy, or has ended.
    pub fn borrow(&self) -> Option<Looking<'_>> {
        let until = Instant::now() + PATIENCE;
        let mut held = loop {
            match self.0.try_lock() {
                Ok(held) => break held,
                Err(TryLockError::Poisoned(_)) => return None,
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
            }
        };
        if held.is_busy() {
            return None;
        }
        let connection = held.connection.as_ref()?;
        // The writer itself never waits inside SQLite.
        connection.busy_timeout(CLI_BUSY).ok()?;
        let changes = connection.total_changes();
        LOOKS.set(true);
        Some(Looking { held, changes })
    }
}

thread_local! {
    static LOOKS: Cell<bool> = const { Cell::new(false) };
}

/// True while this thread has borrowed the writer's connection: it would wait for itself if it
/// waited for the writer.
pub fn is_borrowed_here() -> bool {
    LOOKS.get()
}

/// The connection, while the writer has it.
pub struct Writing<'a>(MutexGuard<'a, Held>);

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.connection.as_ref().expect("the writer closes it last of all")
    }
}

/// The connection, while somebody looks.
pub struct Looking<'a> {
    held: MutexGuard<'a, Held>,
    /// Of the connection so far: a look makes none.
    changes: u64,
}

impl Deref for Looking<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.held.connection.as_ref().expect("it was there when it was lent")
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        LOOKS.set(false);
        let _ = self.busy_timeout(Duration::ZERO);
        if std::thread::panicking() {
            return;
        }
        debug_assert!(self.is_autocommit(), "a look ends its transaction");
        debug_assert_eq!(self.total_changes(), self.changes, "a look changes nothing");
    }
}
