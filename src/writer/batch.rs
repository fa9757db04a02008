//! One transaction: gets the write lock, runs what waits, commits, and only then answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rusqlite::Connection;

use super::{Job, LOCK_BUDGET, LOCK_BUDGET_WHEN_LOCKED, LOCK_POLL, Shared};
use crate::checkpoint::Checkpointer;
use crate::db;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::{lock, thread};

/// What came of the jobs of a batch, before the transaction ends.
#[derive(Default)]
struct Ran {
    outcomes: Vec<(Job, Result<()>)>,
    /// Why the transaction is gone, or cannot be trusted: nobody's work was kept.
    broken: Option<Error>,
    /// Jobs that were not run because of that.
    left: Vec<Job>,
}

impl Shared {
    /// Keeps why a transaction failed; true when the process must end.
    pub fn note(&self, error: &Error) -> bool {
        let mut state = lock(&self.state);
        if matches!(error, Error::Full(_)) {
            state.full_since.get_or_insert_with(Instant::now);
        }
        matches!(error, Error::Corrupt(_) | Error::Config(_))
    }

    /// Gets the write lock, or says why not. While somebody else has it, newcomers join the batch
    /// and those whose budget is spent get an error.
    pub fn begin(&self, connection: &Connection, batch: &mut Vec<Job>) -> Result<()> {
        loop {
            let error = match execute(connection, "BEGIN IMMEDIATE") {
                Ok(()) => {
                    lock(&self.state).locked_since = None;
                    return Ok(());
                }
                Err(error) => error,
            };
            if !error.is_temporary() {
                return Err(error);
            }
            let first = lock(&self.state).locked_since.get_or_insert_with(Instant::now).elapsed();
            let budget = if first > LOCK_BUDGET { LOCK_BUDGET_WHEN_LOCKED } else { LOCK_BUDGET };
            let (late, still): (Vec<Job>, Vec<Job>) =
                batch.drain(..).partition(|job| job.asked_at.elapsed() >= budget);
            if !late.is_empty() && first >= LOCK_BUDGET {
                log::debug!("the file has been locked by somebody else for {} s", first.as_secs());
            }
            answer_all(late, &error);
            *batch = still;
            if batch.is_empty() {
                return Err(error);
            }
            thread::sleep(LOCK_POLL);
            lock(&self.queue).take(batch);
        }
    }

    /// Runs the jobs, commits, and answers. An error means that the process must end.
    pub fn commit(
        &self,
        connection: &Connection,
        checkpointer: &mut Checkpointer,
        batch: Vec<Job>,
    ) -> Result<()> {
        lock(&self.state).busy_since = Some(Instant::now());
        let before = connection.total_changes();
        let ran = run(connection, batch);
        ran.outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).for_each(|error| {
            self.note(error);
        });
        let committed = match &ran.broken {
            Some(error) => Err(error.clone()),
            None if sabotage::is("commit_left_out") => Ok(()),
            None if connection.total_changes() == before => execute(connection, "COMMIT"),
            None => checkpointer.mark(connection).and_then(|()| execute(connection, "COMMIT")),
        };
        let committed = committed.and_then(|()| checkpointer.committed());
        let mut state = lock(&self.state);
        state.busy_since = None;
        match committed {
            Ok(()) => {
                state.commits += 1;
                state.jobs += ran.outcomes.len() as u64;
                state.full_since = None;
                state.log = checkpointer.condition().clone();
                drop(state);
                for (job, outcome) in ran.outcomes {
                    job.task.answer(outcome);
                }
                Ok(())
            }
            Err(error) => {
                drop(state);
                checkpointer.rolled_back();
                if !connection.is_autocommit() {
                    let _ = execute(connection, "ROLLBACK");
                }
                let fatal = self.note(&error);
                answer_all(ran.outcomes.into_iter().map(|(job, _)| job).chain(ran.left), &error);
                if fatal { Err(error) } else { Ok(()) }
            }
        }
    }
}

/// Runs those together that bear to be run twice; when one of them fails, the transaction is begun
/// anew. Then, and for all others, each has a savepoint. A savepoint copies the pages that change
/// in it, and around many jobs these copies go to the disk.
fn run(connection: &Connection, batch: Vec<Job>) -> Ran {
    let mut ran = Ran::default();
    let (mut together, mut alone): (Vec<Job>, Vec<Job>) =
        batch.into_iter().partition(|job| job.together);
    let mut note = None;
    let group =
        caught(|| together.iter_mut().try_for_each(|job| job.task.run(connection, &mut note)));
    match group {
        Ok(()) => ran.outcomes.extend(together.into_iter().map(|job| (job, Ok(())))),
        Err(error) => {
            ran.broken = lost(connection, &error).or_else(|| {
                let anew = execute(connection, "ROLLBACK");
                anew.and_then(|()| execute(connection, "BEGIN IMMEDIATE")).err()
            });
            together.append(&mut alone);
            alone = together;
        }
    }
    for mut job in alone {
        if ran.broken.is_some() {
            ran.left.push(job);
            continue;
        }
        let outcome = in_savepoint(connection, || job.task.run(connection, &mut None));
        ran.broken = outcome.as_ref().err().and_then(|error| lost(connection, error));
        ran.outcomes.push((job, outcome));
    }
    ran
}

/// The error, when it took the whole transaction with it.
fn lost(connection: &Connection, error: &Error) -> Option<Error> {
    let is_lost = matches!(error, Error::Corrupt(_)) || connection.is_autocommit();
    is_lost.then(|| error.clone())
}

fn in_savepoint(connection: &Connection, work: impl FnOnce() -> Result<()>) -> Result<()> {
    execute(connection, "SAVEPOINT job")?;
    let outcome = caught(work);
    if outcome.is_err() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK TO job")?;
    }
    if !connection.is_autocommit() {
        execute(connection, "RELEASE job")?;
    }
    outcome
}

fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::Permanent(
            "a bug in fulfilld: the writer's job panicked; please report it".into(),
        ))
    })
}

/// Runs SQL, with SQLite's errors translated.
pub fn execute(connection: &Connection, sql: &str) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(db::translate)
}

/// Gives every job the same error.
pub fn answer_all(jobs: impl IntoIterator<Item = Job>, error: &Error) {
    for job in jobs {
        job.task.answer(Err(error.clone()));
    }
}
