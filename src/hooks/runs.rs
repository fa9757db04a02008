//! The SQL of `hook_runs` and of `outbox` as their sum: fan-out, claiming, finishing, and when
//! to try again.
//!
//! ```text
//!  outbox       hook_runs, one a target
//!  pending --fan out---> pending --claim (attempts + 1)--> running --finish--> done | dead
//!                           ^                                  |
//!                           +---------- again, later ----------+
//! ```

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::clock::{self, Timestamp};
use crate::config::hooks::{Plan, Target};
use crate::db;
use crate::error::Result;
use crate::queue::LEASE;
use crate::queue::retry::Retry;

/// What fails for now is tried for three days at least before it is dead; the pauses alone take as
/// long, so that the last try is not far behind the third day.
const RETRY: Retry = Retry {
    pauses_s: &[5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800],
    jitter: (1.0, 1.25),
    tries_min: 18,
    give_up_after: Duration::from_secs(3 * 24 * 3600),
};

/// No pause of a run that was tried is longer than this, Stripe's or a receiver's own wish
/// included; one that is due later was put off by a clock that was wrong.
const PAUSE_MAX: Duration = Duration::from_secs(11 * 3600);

/// The same for what was not tried yet, beside the delay that is set.
const DELAY_GRACE: Duration = Duration::from_secs(60);

/// A command that says of itself that it failed (any exit code but 0 and 75) is run so many times
/// before it is dead.
const FAILURES_MAX: i64 = 5;

/// Notifications fanned out in one transaction.
pub const AT_ONCE: usize = 256;

/// A run that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The notification.
    pub outbox_id: i64,
    /// The hook, as the settings write it.
    pub target: String,
    /// What happened.
    pub topic: String,
    /// The same notification has the same key.
    pub key: String,
    /// This run's number, from 1.
    pub attempts: i64,
    /// True when the target has been tried with this notification before.
    pub again: bool,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It failed for now; after how long it is tried again, where the other side said so.
    Again {
        why: String,
        pause: Option<Duration>,
    },
    /// A command said that it failed.
    Failed(String),
    /// The receiver wants no more of it.
    Dead(String),
    /// It could not even be started, which is no try.
    NotRun(String),
}

impl Outcome {
    /// `hook_runs.outcome`, and the label of the metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Again { .. } => "again",
            Outcome::Failed(_) => "failed",
            Outcome::Dead(_) => "dead",
            Outcome::NotRun(_) => "not_run",
        }
    }

    /// Why it is not done.
    pub fn why(&self) -> &str {
        match self {
            Outcome::Done => "",
            Outcome::Again { why, .. }
            | Outcome::Failed(why)
            | Outcome::Dead(why)
            | Outcome::NotRun(why) => why,
        }
    }
}

/// At start: what failed before is due, because it may be fixed; what was running when fulfilld
/// ended runs again (at once the first times, because a restart is nobody's fault), what waits for
/// a hook that is no longer set does not wait any more, and all that waits is fanned out anew, so
/// that a new hook is notified too.
pub fn begin(c: &Connection, plan: &Plan, now: Timestamp) -> Result<usize> {
    let interrupted: Vec<(i64, String, i64)> = all(
        c,
        "SELECT outbox_id, target, tries FROM hook_runs WHERE state = 'pending' AND taken_at IS NOT NULL",
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    run(
        c,
        "UPDATE hook_runs SET next_attempt_at = ?1 WHERE state = 'pending' AND tries > 0
           AND next_attempt_at > ?1 AND taken_at IS NULL AND outcome IS NOT 'interrupted'",
        [clock::text(now)],
    )?;
    for (id, target, tries) in &interrupted {
        let pause = if *tries <= 3 { Duration::ZERO } else { RETRY.pause(*tries) };
        run(
            c,
            "UPDATE hook_runs SET taken_at = NULL, next_attempt_at = ?3, outcome = 'interrupted',
               last_error = 'fulfilld ended while it ran'
             WHERE outbox_id = ?1 AND target = ?2",
            (id, target, clock::text(now + pause)),
        )?;
    }
    let known = vec!["?"; plan.targets.len()].join(", ");
    c.execute(
        &format!(
            "UPDATE hook_runs SET state = 'gone', outcome = 'not_set', \
                  last_error = 'no longer set' WHERE state = 'pending' \
                  AND target NOT IN ({known})"
        ),
        params_from_iter(plan.targets.iter().map(|target| &target.name)),
    )
    .map_err(db::translate)?;
    correct_due(c, plan, now)?;
    run(c, "UPDATE outbox SET next_attempt_at = NULL WHERE state = 'pending'", ())?;
    Ok(interrupted.len())
}

/// What is due later than any pause or delay can be is due now, or after its delay: it was put off
/// by a clock that was ahead.
pub fn correct_due(c: &Connection, plan: &Plan, now: Timestamp) -> Result<()> {
    run(
        c,
        "UPDATE hook_runs SET next_attempt_at = ?1 WHERE state = 'pending' AND tries > 0 AND next_attempt_at > ?2",
        (clock::text(now), clock::text(now + PAUSE_MAX)),
    )?;
    let topics: Vec<String> = all(
        c,
        "SELECT DISTINCT x.topic FROM hook_runs r JOIN outbox x ON x.id = r.outbox_id \
         WHERE r.state = 'pending' AND r.tries = 0",
        |row| row.get(0),
    )?;
    for topic in topics {
        let due = now + plan.delay(&topic);
        run(
            c,
            "UPDATE hook_runs SET next_attempt_at = ?1 WHERE state = 'pending' AND tries = 0 AND next_attempt_at > ?2
               AND ?3 = (SELECT topic FROM outbox WHERE id = outbox_id)",
            (clock::text(due), clock::text(due + DELAY_GRACE), &topic),
        )?;
    }
    Ok(())
}

/// The clock was set: what failed is tried again now, and what is held back waits no longer than
/// its delay from now on.
pub fn wake_all(c: &Connection, plan: &Plan, now: Timestamp) -> Result<()> {
    correct_due(c, plan, now)?;
    run(
        c,
        "UPDATE hook_runs SET next_attempt_at = ?1 WHERE state = 'pending' AND tries > 0 AND taken_at IS NULL
           AND next_attempt_at > ?1",
        [clock::text(now)],
    )
}

/// True when the target's next run is due later than it can be; for a connection that only reads.
pub fn is_put_off(plan: &Plan, next: Timestamp, now: Timestamp) -> bool {
    next > now + PAUSE_MAX.max(plan.delay_max() + DELAY_GRACE)
}

/// True when a notification was not fanned out yet; for a connection that only reads.
pub fn is_any_new(c: &Connection) -> Result<bool> {
    c.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM outbox WHERE state = 'pending' AND next_attempt_at IS NULL)",
    )
    .and_then(|mut q| q.query_row([], |row| row.get(0)))
    .map_err(db::translate)
}

/// Hands out notifications to every hook that wants them, at the earliest when the delay is over. What nobody
/// wants is done. Returns how many there were, at most [`AT_ONCE`].
pub fn fan_out(c: &Connection, plan: &Plan, now: Timestamp) -> Result<usize> {
    type New = (i64, String, Option<i64>, String, bool);
    let new: Vec<New> = all(
        c,
        &format!(
            "SELECT id, topic, order_id, created_at, outcome IS 'again' FROM outbox
             WHERE state = 'pending' AND next_attempt_at IS NULL ORDER BY id LIMIT {AT_ONCE}"
        ),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
    )?;
    for (id, topic, order, created_at, again) in &new {
        let told = "SELECT count(*) > 0 AND count(*) = total(state = 'done') FROM hook_runs \
                    WHERE outbox_id = ?1 AND state <> 'gone'";
        let all_told: bool = c
            .prepare_cached(told)
            .and_then(|mut q| q.query_row([id], |row| row.get(0)))
            .map_err(db::translate)?;
        // Made by a clock that was ahead, it is made now.
        let made = created_at.parse().unwrap_or(now).min(now);
        let due = clock::text(made + plan.delay(topic));
        for target in plan.targets.iter().filter(|target| target.wants(topic)) {
            run(
                c,
                "INSERT INTO hook_runs(outbox_id, target, order_id, next_attempt_at) SELECT ?1, ?2, ?3, ?4
                 WHERE NOT EXISTS(SELECT 1 FROM hook_runs WHERE outbox_id = ?1 AND target = ?2)",
                (id, &target.name, order, &due),
            )?;
            let anew = "tries = 0, failures = 0, first_try_at = NULL, state = 'pending', next_attempt_at = ?3";
            run(
                c,
                &format!(
                    "UPDATE hook_runs SET {anew} WHERE outbox_id = ?1 AND target = ?2 AND state = 'gone'"
                ),
                (id, &target.name, &due),
            )?;
            if *again {
                // By hand: those that gave up or wait start anew now; all of them where each had
                // been notified.
                run(
                    c,
                    &format!(
                        "UPDATE hook_runs SET {anew} WHERE outbox_id = ?1 AND target = ?2 AND taken_at IS NULL
                           AND (state IN('pending', 'dead') OR ?4)"
                    ),
                    (id, &target.name, clock::text(now), all_told),
                )?;
            }
        }
        sum(c, *id, true)?;
    }
    Ok(new.len())
}

/// The key that a receiver gets for a row `x` of the outbox. It carries the order's session,
/// because order numbers may be given out otherwise after a backup was put back, and then a
/// receiver must not take one order's notification for another's.
pub const KEY: &str = "x.key || coalesce('@' || (SELECT o.checkout_session_id FROM orders o \
                       WHERE o.id = x.order_id), '')";

/// What may be run now at a target: due, and no earlier notification of the same order is on its way there.
/// (Parameters: the target, now, whether it was tried before.)
const DUE: &str = "r.target = ?1 AND r.state = 'pending' AND (r.tries > 0) = ?3 AND r.next_attempt_at <= ?2
    AND NOT EXISTS(SELECT 1 FROM hook_runs e JOIN outbox x ON x.id = e.outbox_id AND x.state = 'pending'
      WHERE e.order_id = r.order_id AND e.target = r.target AND e.outbox_id < r.outbox_id AND e.state = 'pending')";

/// True when something may be run at the target that was tried there before, or was not; for a
/// connection that only reads.
pub fn is_any_due(c: &Connection, target: &Target, again: bool, now: Timestamp) -> Result<bool> {
    c.prepare_cached(&format!("SELECT EXISTS(SELECT 1 FROM hook_runs r WHERE {DUE})"))
        .and_then(|mut q| q.query_row((&target.name, clock::text(now), again), |row| row.get(0)))
        .map_err(db::translate)
}

/// When the target's next run is due that is not due now.
pub fn next_due(c: &Connection, target: &Target, now: Timestamp) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(r.next_attempt_at) FROM hook_runs r
        WHERE r.target = ?1 AND r.state = 'pending' AND (r.tries > 0) = ?3 AND r.next_attempt_at > ?2";
    let mut next = None;
    for again in [false, true] {
        let at: Option<String> = c
            .prepare_cached(sql)
            .and_then(|mut q| {
                q.query_row((&target.name, clock::text(now), again), |row| row.get(0))
            })
            .map_err(db::translate)?;
        next = [next, at.and_then(|at| at.parse().ok())].into_iter().flatten().min();
    }
    Ok(next)
}

/// Claims up to `n` due runs of a target, those that were tried before or the others: apart, so that
/// what hangs does not keep others waiting. What is `in_progress` runs already,
/// however late the clock says that it is. The attempt is counted, and committed by the caller,
/// before anything is run.
pub fn claim(
    c: &Connection,
    target: &Target,
    n: usize,
    again: bool,
    in_progress: &[i64],
    now: Timestamp,
) -> Result<Vec<Run>> {
    let due: Vec<(i64, String, String, bool)> = c
        .prepare_cached(&format!(
            "SELECT r.outbox_id, x.topic, {KEY}, x.state = 'pending' FROM hook_runs r
               JOIN outbox x ON x.id = r.outbox_id
             WHERE {DUE} ORDER BY r.next_attempt_at, r.outbox_id LIMIT ?4"
        ))
        .and_then(|mut q| {
            let row =
                |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            q.query_map(
                (&target.name, clock::text(now), again, (n + in_progress.len()) as i64),
                row,
            )?
            .collect()
        })
        .map_err(db::translate)?;
    let mut taken = Vec::new();
    for (id, topic, key, is_pending) in
        due.into_iter().filter(|due| !in_progress.contains(&due.0)).take(n)
    {
        // It was undone or put aside meanwhile, or the hook no longer asks for the topic.
        if !is_pending || !target.wants(&topic) {
            let outcome = if is_pending { "not_asked" } else { "put_aside" };
            let gone = "UPDATE hook_runs SET state = 'gone', outcome = ?3 WHERE outbox_id = ?1 AND target = ?2";
            run(c, gone, (id, &target.name, outcome))?;
            sum(c, id, false)?;
            continue;
        }
        let attempts = c
            .prepare_cached(
                "UPDATE hook_runs SET attempts = attempts + 1, tries = tries + 1, taken_at = ?3, next_attempt_at = ?4,
                   first_try_at = coalesce(first_try_at, ?3)
                 WHERE outbox_id = ?1 AND target = ?2 RETURNING attempts",
            )
            .and_then(|mut q| {
                let params = (id, &target.name, clock::text(now), clock::text(now + LEASE));
                q.query_row(params, |row| row.get(0))
            })
            .map_err(db::translate)?;
        sum(c, id, false)?;
        taken.push(Run { outbox_id: id, target: target.name.clone(), topic, key, attempts, again });
    }
    Ok(taken)
}

/// Writes what a run came to; true when it is given up by it. A run that somebody finished
/// meanwhile, or that was claimed again, stays as it is.
pub fn finish(c: &Connection, ran: &Run, outcome: &Outcome, now: Timestamp) -> Result<bool> {
    let known: Option<(i64, i64, Option<String>)> = c
        .prepare_cached(
            "SELECT tries, failures, first_try_at FROM hook_runs
             WHERE outbox_id = ?1 AND target = ?2 AND attempts = ?3 AND state = 'pending' AND taken_at IS NOT NULL",
        )
        .and_then(|mut q| {
            let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            q.query_row((ran.outbox_id, &ran.target, ran.attempts), row).optional()
        })
        .map_err(db::translate)?;
    let Some((tries, failures, first)) = known else { return Ok(false) };
    let first = first.and_then(|at| at.parse::<Timestamp>().ok()).unwrap_or(now);
    let (state, pause) = match outcome {
        Outcome::Done => ("done", Duration::ZERO),
        Outcome::Dead(_) => ("dead", Duration::ZERO),
        Outcome::Failed(_) if failures + 1 >= FAILURES_MAX => ("dead", Duration::ZERO),
        Outcome::Again { .. } if RETRY.is_spent(tries, first, now) => ("dead", Duration::ZERO),
        Outcome::Again { pause, .. } => ("pending", pause.unwrap_or_else(|| RETRY.pause(tries))),
        Outcome::Failed(_) => ("pending", RETRY.pause(tries)),
        Outcome::NotRun(_) => ("pending", Duration::ZERO),
    };
    let (failed, not_run) =
        (matches!(outcome, Outcome::Failed(_)), matches!(outcome, Outcome::NotRun(_)));
    let why = Some(outcome.why()).filter(|why| !why.is_empty());
    run(
        c,
        "UPDATE hook_runs SET state = ?3, taken_at = NULL, next_attempt_at = ?4, ended_at = ?5, last_error = ?6,
           outcome = ?9,
           failures = failures + ?7, attempts = attempts - ?8, tries = tries - ?8,
           first_try_at = CASE WHEN tries - ?8 > 0 THEN first_try_at END
         WHERE outbox_id = ?1 AND target = ?2",
        (
            ran.outbox_id,
            &ran.target,
            state,
            clock::text(now + pause),
            clock::text(now),
            why,
            failed,
            not_run,
            outcome.word(),
        ),
    )?;
    sum(c, ran.outbox_id, false)?;
    Ok(state == "dead")
}

/// The outbox row says what its runs come to. A row that waits to be handed out again is left
/// alone, but by the fan-out.
fn sum(c: &Connection, id: i64, handed_out: bool) -> Result<()> {
    run(
        c,
        "UPDATE outbox SET attempts = (SELECT coalesce(sum(attempts), 0) FROM hook_runs \
         WHERE outbox_id = ?1) WHERE id = ?1",
        [id],
    )?;
    run(
        c,
        "UPDATE outbox SET
           state = CASE WHEN pending > 0 THEN 'pending' WHEN dead > 0 THEN 'dead' ELSE 'done' END,
           next_attempt_at = next,
           outcome = CASE WHEN pending > 0 THEN NULL WHEN dead > 0 THEN 'gave_up' WHEN done > 0
           THEN 'told' ELSE 'no_hook' END,
           last_error = CASE WHEN pending + dead > 0 THEN why END
         FROM (SELECT total(state = 'pending') AS pending, total(state = 'dead') AS dead, total(state = 'done') AS done,
                 min(CASE state WHEN 'pending' THEN next_attempt_at END) AS next,
                 (SELECT last_error FROM hook_runs WHERE outbox_id = ?1
                 AND state IN('pending', 'dead') AND last_error IS NOT NULL
                  ORDER BY ended_at DESC LIMIT 1) AS why
               FROM hook_runs WHERE outbox_id = ?1)
         WHERE id = ?1 AND outbox.state = 'pending' AND (?2 OR next_attempt_at IS NOT NULL)",
        (id, handed_out),
    )
}

/// Notifications that wait, and those whose hook gave up, for `/metrics`.
pub fn counts(c: &Connection) -> Result<(i64, i64)> {
    c.prepare_cached(
        "SELECT (SELECT count(*) FROM outbox WHERE state = 'pending'), (SELECT count(*) \
         FROM outbox WHERE state = 'dead')",
    )
    .and_then(|mut q| q.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
    .map_err(db::translate)
}

fn run(c: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<()> {
    c.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map(drop)
        .map_err(db::translate)
}

fn all<T>(
    c: &Connection,
    sql: &str,
    row: fn(&rusqlite::Row) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    c.prepare_cached(sql).and_then(|mut q| q.query_map([], row)?.collect()).map_err(db::translate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_alone_last_three_days() {
        let pause = |tries: i64| RETRY.pauses_s[(tries as usize - 1).min(RETRY.pauses_s.len() - 1)];
        let least = Duration::from_secs((1..RETRY.tries_min).map(pause).sum());
        let days = RETRY.give_up_after;
        assert!(least >= days && least < days * 4 / 3, "{least:?}");
    }
}
