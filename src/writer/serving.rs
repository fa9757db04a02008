//! The writer's thread: makes the file ready, then runs what waits, batch by batch.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::batch::{self, answer_all};
use super::{First, Job, LOCK_BUDGET, LOCK_POLL, Shared};
use crate::checkpoint::{Checkpointer, QUIET};
use crate::db::Lent;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::sync::{PoisonError, lock, thread};

/// After this long of back-to-back transactions the writer pauses, so that a shell's edit gets its
/// turn.
const YIELD_EVERY: Duration = Duration::from_millis(100);
const YIELD_FOR: Duration = Duration::from_millis(2);

/// How long a start waits for whoever reads just then.
const SETTLE_WITHIN: Duration = Duration::from_millis(500);

/// Between two tries to make the file ready at a start.
const START_POLL: Duration = Duration::from_millis(20);

impl Shared {
    /// Until the queue is closed and empty, or the file can no longer be trusted.
    pub fn run(&self, lent: Lent, mut checkpointer: Checkpointer, first: First) {
        let ready = {
            let connection = lent.hold();
            // The writer waits for a lock by itself: it goes on taking callers, and each has its own
            // budget.
            let _ = connection.busy_timeout(Duration::ZERO);
            self.make_ready(&connection, &mut checkpointer, first)
        };
        let served = ready.and_then(|ready| match ready {
            true => self.serve(&lent, &mut checkpointer),
            false => {
                let stopping = Error::Temporary("fulfilld is stopping".into());
                answer_all(self.all_waiting(), &stopping);
                Ok(())
            }
        });
        let ended = served.and_then(|()| {
            let connection = lent.hold();
            let _ = connection.execute_batch("PRAGMA optimize");
            checkpointer.finish(&connection)
        });
        if let Err(error) = ended {
            self.abandon(&error);
        }
        lent.close();
    }

    /// What has to be so before the first job: the file is whole, its log of before is in it, and
    /// `first` is committed. Waits for whoever keeps it from that, and answers callers meanwhile.
    /// False when it was closed before.
    fn make_ready(
        &self,
        connection: &Connection,
        checkpointer: &mut Checkpointer,
        mut first: First,
    ) -> Result<bool> {
        checkpointer.verify(connection)?;
        let began = Instant::now();
        let mut said = false;
        while !lock(&self.queue).closed {
            let settled = checkpointer.settle(connection);
            let ready =
                settled.and_then(|()| self.commit_first(connection, checkpointer, &mut first));
            match ready {
                Ok(()) => {
                    self.settle_first(connection, checkpointer)?;
                    lock(&self.state).starting = None;
                    if said {
                        log::info!("the file is ready");
                    }
                    return Ok(true);
                }
                Err(error) if error.is_temporary() => {
                    self.note(&error);
                    lock(&self.state).starting = Some(error.to_string());
                    if !said && began.elapsed() >= LOCK_BUDGET {
                        log::error!(
                            "webhooks are answered 503 until the file is ready, and Stripe retries them: {error}"
                        );
                        said = true;
                    }
                    let late: VecDeque<Job> = {
                        let mut queue = lock(&self.queue);
                        let (late, still) = queue
                            .jobs
                            .drain(..)
                            .partition(|job| job.asked_at.elapsed() >= LOCK_BUDGET);
                        queue.jobs = still;
                        late
                    };
                    answer_all(late, &error);
                    thread::sleep(START_POLL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What was done to the file without us does not count in its page 1: from here on it does.
    /// Somebody who reads keeps it from that no longer than a moment.
    fn settle_first(&self, connection: &Connection, checkpointer: &mut Checkpointer) -> Result<()> {
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            checkpointer.empty(connection)?;
            let is_left = checkpointer.condition().pages == 0 || checkpointer.is_followed();
            if is_left || Instant::now() >= until {
                return Ok(());
            }
            thread::sleep(LOCK_POLL);
        }
    }

    fn commit_first(
        &self,
        connection: &Connection,
        checkpointer: &mut Checkpointer,
        first: &mut First,
    ) -> Result<()> {
        let committed = batch::execute(connection, "BEGIN IMMEDIATE").and_then(|()| {
            while checkpointer.catch_up(connection)? {
                batch::execute(connection, "BEGIN IMMEDIATE")?;
            }
            first(connection)?;
            checkpointer.mark(connection)?;
            batch::execute(connection, "COMMIT")
        });
        if committed.is_err() {
            checkpointer.rolled_back();
            if !connection.is_autocommit() {
                batch::execute(connection, "ROLLBACK")?;
            }
        }
        committed.and_then(|()| checkpointer.committed())
    }

    fn serve(&self, lent: &Lent, checkpointer: &mut Checkpointer) -> Result<()> {
        let mut busy_since = Instant::now();
        while let Some(mut batch) = self.next_batch(checkpointer.has_log()) {
            sabotage::panic_in("writer");
            let connection = lent.hold();
            if batch.is_empty() {
                checkpointer.empty(&connection)?;
                self.note_log(checkpointer);
                continue;
            }
            // Nothing is written into a log beside a file that is not ours any more.
            let began = self.begin(&connection, &mut batch).and_then(|()| {
                while checkpointer.catch_up(&connection)? {
                    self.begin(&connection, &mut batch)?;
                }
                checkpointer.check(&connection)
            });
            if let Err(error) = began {
                let fatal = self.note(&error);
                answer_all(batch, &error);
                if fatal {
                    return Err(error);
                }
                continue;
            }
            self.commit(&connection, checkpointer, batch)?;
            if checkpointer.is_due() {
                checkpointer.empty_amid_work(&connection)?;
                self.note_log(checkpointer);
            }
            if lock(&self.queue).jobs.is_empty() {
                busy_since = Instant::now();
            } else if busy_since.elapsed() > YIELD_EVERY {
                thread::sleep(YIELD_FOR);
                busy_since = Instant::now();
            }
        }
        Ok(())
    }

    fn note_log(&self, checkpointer: &Checkpointer) {
        lock(&self.state).log = checkpointer.condition().clone();
    }

    /// Blocks until somebody wants something; an empty batch when there is a log and nobody did for
    /// a while; `None` once closed and empty.
    fn next_batch(&self, log: bool) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        while queue.jobs.is_empty() {
            if queue.closed {
                return None;
            }
            queue.asleep = true;
            if !log {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, quiet) =
                self.arrived.wait_timeout(queue, QUIET).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if quiet.timed_out() && queue.jobs.is_empty() && !queue.closed {
                queue.asleep = false;
                return Some(Vec::new());
            }
        }
        // Whoever is about to bring a job brings it first, so that more of them share a commit. Where
        // nobody is, this takes no time.
        drop(queue);
        thread::yield_now();
        let mut batch = Vec::new();
        lock(&self.queue).take(&mut batch);
        Some(batch)
    }

    /// The last act: no further job is taken, those waiting get the error, and the reason is left
    /// for `serve.rs`.
    fn abandon(&self, error: &Error) {
        log::error!("the writer stops: {error}");
        lock(&self.queue).closed = true;
        lock(&self.state).failed = Some(error.clone());
        answer_all(self.all_waiting(), error);
    }

    fn all_waiting(&self) -> VecDeque<Job> {
        std::mem::take(&mut lock(&self.queue).jobs)
    }
}
