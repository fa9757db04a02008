//! Runs hooks once with a sample order, so that a shop sees whether they work.
//!
//! `fulfilld hooks test` leaves its request in the table `hook_tests`, and the daemon runs them: with
//! the settings, the user and the sandbox that they have in earnest. Where no daemon serves the file
//! the verb runs them itself.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::command::{self, Call};
use super::post::Post;
use super::runs::Outcome;
use super::sample;
use crate::clock;
use crate::config::hooks::{Kind, Plan};
use crate::db::{self, Reader};
use crate::error::Result;
use crate::inbox;
use crate::sync::lock;
use crate::writer::Writer;

/// What one hook did with the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The hook, as the settings write it.
    pub target: String,
    /// `done`, or the word for what else it came to.
    pub outcome: String,
    /// Why, for people; empty when it is done.
    pub why: String,
    /// How long it ran, in milliseconds.
    pub ms: i64,
}

impl Trial {
    /// True when the hook accepted the sample.
    pub fn is_done(&self) -> bool {
        self.outcome == Outcome::Done.word()
    }
}

/// Runs the hooks that want the topic, one after the other. `Usage` when there is no such topic.
pub fn run(
    plan: &Plan,
    db: &Path,
    topic: &str,
    is_stopping: &dyn Fn() -> bool,
) -> Result<Vec<Trial>> {
    let post = Post::new(plan.secrets.clone());
    // A key that no other notification has, and no other test.
    let key = format!("test:{:016x}", fastrand::u64(..));
    let json = sample::of(topic, &key)?;
    let mut trials = Vec::new();
    for target in plan.targets.iter().filter(|target| target.wants(topic)) {
        let began = Instant::now();
        let outcome = match &target.kind {
            Kind::Post(url) => post.send(url, &key, json.as_bytes()),
            Kind::Command(path) => {
                let call = Call { path, topic, key: &key, attempt: 1, db };
                command::run(&call, json.as_bytes(), is_stopping)
            }
        };
        trials.push(Trial {
            target: target.name.clone(),
            outcome: outcome.word().into(),
            why: outcome.why().into(),
            ms: began.elapsed().as_millis() as i64,
        });
    }
    Ok(trials)
}

/// Leaves a request for the daemon: its id.
pub fn request(c: &Connection, topic: &str) -> Result<i64> {
    // No id comes twice, so that the daemon does not mix up two requests.
    let id = fastrand::i64(1..);
    c.execute(
        "INSERT INTO hook_tests(id, topic, asked_at) VALUES (?1, ?2, ?3)",
        (id, topic, clock::text(clock::now())),
    )
    .map_err(db::translate)?;
    Ok(id)
}

/// What came of a request; `None` before the daemon has run it.
pub fn answer(c: &Connection, id: i64) -> Result<Option<Vec<Trial>>> {
    let text: Option<Option<String>> = c
        .prepare_cached("SELECT result FROM hook_tests WHERE id = ?1")
        .and_then(|mut q| q.query_row([id], |row| row.get(0)).optional())
        .map_err(db::translate)?;
    Ok(text.flatten().and_then(|text| serde_json::from_str(&text).ok()))
}

/// Removes a request that is answered, or that nobody waits for any more.
pub fn withdraw(c: &Connection, id: i64) -> Result<()> {
    c.execute("DELETE FROM hook_tests WHERE id = ?1", [id]).map(drop).map_err(db::translate)
}

/// The daemon's part: runs what is requested, one request at a time, beside the real runs.
pub struct Trials {
    /// The last request that was taken.
    taken: AtomicI64,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Trials {
    /// None is known yet.
    pub fn new() -> Trials {
        Trials { taken: AtomicI64::new(0), running: Mutex::default() }
    }

    /// Starts the next request, where none is running.
    pub fn look(
        &self,
        reader: &Reader,
        writer: &Writer,
        plan: &Arc<Plan>,
        db: &Path,
        is_stopping: impl Fn() -> bool + Send + 'static,
    ) -> Result<()> {
        let mut running = lock(&self.running);
        if running.as_ref().is_some_and(|thread| !thread.is_finished()) || is_stopping() {
            return Ok(());
        }
        let next: Option<(i64, String)> = reader
            .get()?
            .prepare_cached(
                "SELECT id, topic FROM hook_tests WHERE result IS NULL AND id <> ?1 ORDER BY asked_at LIMIT 1",
            )
            .and_then(|mut q| {
                q.query_row([self.taken.load(Ordering::SeqCst)], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
            })
            .map_err(db::translate)?;
        let Some((id, topic)) = next else { return Ok(()) };
        self.taken.store(id, Ordering::SeqCst);
        let (writer, plan, db) = (writer.clone(), plan.clone(), db.to_path_buf());
        let body = move || {
            let trials = run(&plan, &db, &topic, &is_stopping).unwrap_or_default();
            let result = serde_json::to_string(&trials).expect("texts and numbers can be written");
            let written = writer.write(move |c| {
                inbox::as_author(c, super::AUTHOR, |c| {
                    c.execute("UPDATE hook_tests SET result = ?2 WHERE id = ?1", (id, result))
                        .map_err(db::translate)
                })
            });
            if let Err(error) = written {
                log::warn!("cannot save the result of a hooks test: {error}");
            }
        };
        // A failed test is tested again by hand.
        *running = std::thread::Builder::new()
            .name("hook test".into())
            .stack_size(512 << 10)
            .spawn(body)
            .ok();
        Ok(())
    }

    /// What was requested of a process before is requested no more.
    pub fn begin(c: &Connection) -> Result<()> {
        c.execute("DELETE FROM hook_tests", []).map(drop).map_err(db::translate)
    }

    /// Waits until the one that runs has ended and is written. False when it was not done
    /// in time.
    pub fn stop(&self, deadline: Instant) -> bool {
        let Some(running) = lock(&self.running).take() else { return true };
        while !running.is_finished() && Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running.is_finished()
    }
}
