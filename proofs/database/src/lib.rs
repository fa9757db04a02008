//! As much of `rusqlite` as the writer uses, over a file that is a set of numbers: it fails where a
//! model says so, and anybody can see what is committed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a call on the database can fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Somebody else has the write lock.
    Busy,
    /// The disk is full.
    Full,
    /// The disk failed.
    Io,
    /// The statement is refused.
    Constraint,
}

pub type Result<T> = std::result::Result<T, Error>;

/// What is on the disk, for whoever wants to compare.
pub type Disk = Arc<Mutex<BTreeSet<u64>>>;

/// Says whether a statement fails, and how.
pub type Chance = Box<dyn Fn(&str) -> Option<Error> + Send>;

pub struct Connection {
    disk: Disk,
    chance: Chance,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// What the open transaction has written.
    transaction: Option<Vec<u64>>,
    /// How much of it was there when the savepoint began.
    savepoint: usize,
    changes: u64,
}

impl Connection {
    pub fn new(disk: Disk, chance: Chance) -> Connection {
        Connection { disk, chance, state: RefCell::default() }
    }

    pub fn busy_timeout(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    pub fn total_changes(&self) -> u64 {
        self.state.borrow().changes
    }

    pub fn is_autocommit(&self) -> bool {
        self.state.borrow().transaction.is_none()
    }

    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        self.execute(sql)
    }

    pub fn prepare_cached<'a>(&'a self, sql: &'a str) -> Result<Statement<'a>> {
        Ok(Statement { connection: self, sql })
    }

    /// The row of a job, or why not: refused, or a full disk that takes the whole transaction.
    pub fn insert(&self, number: u64) -> Result<()> {
        let mut state = self.state.borrow_mut();
        match (self.chance)("INSERT") {
            Some(Error::Full) => {
                state.transaction = None;
                Err(Error::Full)
            }
            Some(error) => Err(error),
            None => {
                state.changes += 1;
                state.transaction.as_mut().expect("inside a transaction").push(number);
                Ok(())
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<()> {
        if let Some(error) = (self.chance)(sql) {
            return Err(error);
        }
        let mut state = self.state.borrow_mut();
        match sql {
            "BEGIN IMMEDIATE" => {
                assert!(state.transaction.is_none(), "a transaction within a transaction");
                state.transaction = Some(Vec::new());
            }
            "COMMIT" => {
                let written = state.transaction.take().expect("a transaction to commit");
                self.disk.lock().expect("no panic").extend(written);
            }
            "ROLLBACK" => drop(state.transaction.take().expect("a transaction to take back")),
            "SAVEPOINT job" => {
                state.savepoint = state.transaction.as_ref().expect("a transaction").len();
            }
            "ROLLBACK TO job" => {
                let to = state.savepoint;
                state.transaction.as_mut().expect("a transaction").truncate(to);
            }
            "RELEASE job" | "PRAGMA optimize" => {}
            other => panic!("the stand-in does not know {other}"),
        }
        Ok(())
    }
}

pub struct Statement<'a> {
    connection: &'a Connection,
    sql: &'a str,
}

impl Statement<'_> {
    pub fn execute(&mut self, _: [(); 0]) -> Result<usize> {
        self.connection.execute(self.sql).map(|()| 0)
    }
}
