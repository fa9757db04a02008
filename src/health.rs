//! What the daemon says of itself: alive, ready, counted. It looks and writes nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::alarms;
use crate::backups;
use crate::clock::{self, Timestamp};
use crate::context::Context;
use crate::db::{self, Reader, Version};
use crate::door::{Answer, Door};
use crate::error::Result;
use crate::hooks;
use crate::inbox;
use crate::metrics::Metrics;
use crate::room;
use crate::sync::lock;

/// A transaction that takes longer than this is a disk that hangs.
const COMMIT_MAX: Duration = Duration::from_secs(10);

/// A lock of somebody else's is worth a word after this long.
const LOCKED_MAX: Duration = Duration::from_secs(2);

/// Events that wait longer than this are behind.
const BACKLOG_MAX: Duration = Duration::from_secs(600);

/// What keeps orders from going through: a stable name for programs, and a sentence for people.
pub struct Cause {
    /// Stable, for programs: what stands before the colon in `/readyz`.
    pub name: &'static str,
    what: String,
}

/// The file is not ready yet.
pub const STARTING: &str = "starting";
/// The file is locked by somebody else.
pub const FILE_LOCKED: &str = "file_locked";
/// No event can be stored: the disk is full.
pub const DISK_FULL: &str = "disk_full";
/// No event can be stored: the file's own rules refuse it.
const EVENTS_REFUSED: &str = "events_refused";
/// Stripe refuses the key, or does not answer.
pub const STRIPE_PAUSED: &str = "stripe_paused";
/// Events have been due for too long.
pub const EVENTS_WAITING: &str = "events_waiting";
/// The process should be replaced.
const ILL: &str = "ill";

/// Alarms without which `/readyz` would be 200, by their names in the file.
pub const ALARMS: &[&str] = &["clock_wrong", "silence"];

/// Looks at everything and holds nothing but a connection for reading.
pub struct Health {
    reader: Reader,
    file: PathBuf,
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    started: Instant,
    /// Why the page's door no longer works.
    page_closed: Mutex<Option<String>>,
    seen: Mutex<Seen>,
}

/// What need not be looked up again until somebody has committed, by the file's version.
#[derive(Default)]
struct Seen {
    /// It could be read.
    readable: Option<Version>,
    /// Nothing in it kept orders from going through: no event waited, and no alarm stood.
    quiet: Option<Version>,
}

impl Health {
    /// Looks at the file through `reader`.
    pub fn new(
        reader: Reader,
        file: PathBuf,
        context: Arc<Context>,
        metrics: Arc<Metrics>,
    ) -> Health {
        let page_closed = Mutex::new(None);
        let seen = Mutex::default();
        Health { reader, file, context, metrics, started: Instant::now(), page_closed, seen }
    }

    /// The page's door broke, and is closed until the next start.
    pub fn page_is_closed(&self, why: String) {
        *lock(&self.page_closed) = Some(why);
    }

    /// `GET /healthz`: 200 while the process serves and the writer commits. Somebody else's lock is
    /// not our illness.
    pub fn alive(&self) -> Answer {
        match self.illness() {
            None => Answer::text(200, "ok".into()),
            Some(why) => Answer::text(503, why),
        }
    }

    /// Why the process should be replaced; `None` while it is well.
    pub fn illness(&self) -> Option<String> {
        let state = self.context.writer.state();
        if let Some(why) = state.failed {
            return Some(format!("the writer has stopped: {why}"));
        }
        if let Some(busy) =
            state.busy_since.map(|since| since.elapsed()).filter(|busy| *busy > COMMIT_MAX)
        {
            return Some(format!("the disk has not answered for {} s", busy.as_secs()));
        }
        self.read_once().err().map(|error| format!("the file cannot be read: {error}"))
    }

    /// Reads a row, where somebody has committed since the last one was read.
    fn read_once(&self) -> Result<()> {
        let version = self.reader.version()?;
        if lock(&self.seen).readable == Some(version) {
            return Ok(());
        }
        let row = self.reader.get()?.query_row("SELECT livemode FROM shop", [], |_| Ok(()));
        row.map_err(db::translate)?;
        lock(&self.seen).readable = Some(version);
        Ok(())
    }

    /// What changes whenever anybody has committed to the file.
    pub fn version(&self) -> Option<Version> {
        self.reader.version().ok()
    }

    /// `GET /readyz`: 200, or 503 with one cause a line, its name before the colon. A line that
    /// begins with `advice` keeps no order from going through.
    pub fn ready(&self) -> Answer {
        let lines: Vec<String> =
            self.causes().iter().map(|cause| format!("{}: {}", cause.name, cause.what)).collect();
        let (status, mut lines) =
            if lines.is_empty() { (200, vec!["ready".to_string()]) } else { (503, lines) };
        lines.extend(self.backup_is_old().map(|what| format!("advice backup_old: {what}")));
        lines.extend(lock(&self.page_closed).iter().map(|why| {
            format!(
                "advice page_closed: the page is closed, because {why}; events are accepted; \
                 systemctl restart fulfilld opens it"
            )
        }));
        Answer::text(status, lines.join("\n"))
    }

    /// What to think about the newest backup; `None` while it is new enough, or the file is so new
    /// that no backup is expected.
    fn backup_is_old(&self) -> Option<String> {
        let max = backups::AGE_MAX;
        if let Some(at) = backups::newest(&self.file) {
            let age = Some(backups::age(at)).filter(|age| *age > max)?;
            return Some(format!(
                "the newest backup was made {} ago; fulfilld doctor says what stops them",
                backups::ago(age)
            ));
        }
        let sql = "SELECT created_at FROM shop";
        let born: String = self.reader.get().ok()?.query_row(sql, [], |row| row.get(0)).ok()?;
        let born: Timestamp = born.parse().ok()?;
        let is_new = clock::now().as_second() - born.as_second() <= max.as_secs() as i64;
        (!is_new).then(|| {
            "there is no backup; daily from now on: systemctl enable --now fulfilld-backup.timer"
                .into()
        })
    }

    /// 1 while the alarm of this name is in `attention`, else 0.
    fn stands(&self, alarm: &str) -> f64 {
        let message = self.reader.get().and_then(|c| alarms::message(&c, alarm));
        f64::from(u8::from(matches!(message, Ok(Some(_)))))
    }

    /// What keeps orders from going through.
    pub fn causes(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut add = |name, what| causes.push(Cause { name, what });
        if let Some(why) = self.illness() {
            add(ILL, why);
        }
        let state = self.context.writer.state();
        if let Some(why) = state.starting {
            add(STARTING, format!("events are answered 503 and Stripe retries them: {why}"));
        }
        for (alarm, what) in state.log.trouble() {
            add(alarm, what);
        }
        if let Some(locked) =
            state.locked_since.map(|since| since.elapsed()).filter(|locked| *locked > LOCKED_MAX)
        {
            let text = "by somebody else (an open BEGIN in a sqlite3 shell? type COMMIT there)";
            add(FILE_LOCKED, format!("file locked for {} s {text}", locked.as_secs()));
        }
        if let Some(full) = state.full_since {
            let fix = room::why_none().unwrap_or("free some space");
            let text = format!("{fix}; events are answered 503 and Stripe retries them");
            add(DISK_FULL, format!("disk full for {} s: {text}", full.elapsed().as_secs()));
        }
        if let Some((refused, why)) = self.metrics.events_refused() {
            let fix = "a trigger or an index of your own on the table events? drop it; until then \
                       events are answered 503 and Stripe retries them";
            let text = format!("events refused for {} s: {why}; {fix}", refused.as_secs());
            add(EVENTS_REFUSED, text);
        }
        if let Some((why, since)) = self.context.trouble_with_stripe() {
            add(
                STRIPE_PAUSED,
                format!("requests to Stripe are paused for {} s: {why}", since.as_secs()),
            );
        }
        let version = self.version();
        if version.is_some() && lock(&self.seen).quiet == version {
            return causes;
        }
        let mut is_quiet = true;
        for &alarm in ALARMS {
            let message = self.reader.get().and_then(|c| alarms::message(&c, alarm));
            is_quiet = is_quiet && matches!(message, Ok(None));
            if let Ok(Some(what)) = message {
                add(alarm, what);
            }
        }
        let backlog = self.reader.get().and_then(|c| inbox::backlog(&c, clock::now()));
        if is_quiet && matches!(backlog, Ok((0, _))) {
            lock(&self.seen).quiet = version;
        }
        if let Ok((waiting, age)) = backlog
            && age > BACKLOG_MAX.as_secs() as i64
        {
            let text = "(fulfilld events --state pending)";
            add(
                EVENTS_WAITING,
                format!("{waiting} events waiting, the oldest for {} min {text}", age / 60),
            );
        }
        causes
    }

    /// For `systemctl status`: whether orders go through, and how many wait for a person.
    pub fn status(&self) -> String {
        let causes = self.causes();
        let state = match causes.first() {
            None => "ready".into(),
            Some(cause) => format!("not ready ({}: {})", cause.name, cause.what),
        };
        let count = |view: &str| {
            let sql = format!("SELECT count(*) FROM {view}");
            let count =
                self.reader.get().map(|c| c.query_row(&sql, [], |row| row.get::<_, i64>(0)));
            count.and_then(|count| count.map_err(db::translate))
        };
        match (count("to_ship"), count("attention")) {
            (Ok(ship), Ok(attention)) => {
                format!("{state}, {ship} to ship, {attention} need attention")
            }
            _ => state,
        }
    }

    /// `GET /metrics`: the counters, and what is measured now.
    pub fn metrics(&self, door: Option<&Door>) -> Answer {
        let backlog = self.reader.get().and_then(|c| inbox::backlog(&c, clock::now()));
        let (pending, oldest) = backlog.unwrap_or_default();
        let (waiting, dead) =
            self.reader.get().and_then(|c| hooks::runs::counts(&c)).unwrap_or_default();
        let writer = self.context.writer.state();
        let bytes = |suffix: &str| {
            let mut name = self.file.clone().into_os_string();
            name.push(suffix);
            std::fs::metadata(name).map_or(0.0, |m| m.len() as f64)
        };
        let locked = writer.locked_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let backup = backups::newest(&self.file)
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map_or(0.0, |since| since.as_secs() as f64);
        let mut gauges = vec![
            (
                "fulfilld_ready",
                "1 when /readyz answers 200.",
                f64::from(u8::from(self.causes().is_empty())),
            ),
            ("fulfilld_events_pending", "Events kept and not yet concluded.", pending as f64),
            ("fulfilld_events_oldest_pending_seconds", "Age of the oldest of them.", oldest as f64),
            (
                "fulfilld_stripe_paused",
                "1 while requests to Stripe are paused.",
                f64::from(u8::from(self.context.trouble_with_stripe().is_some())),
            ),
            (
                "fulfilld_backfill_success_timestamp_seconds",
                "When Stripe's events were last looked through to the end; 0 for not yet.",
                self.metrics.backfilled_at() as f64,
            ),
            (
                "fulfilld_silence",
                "1 while Stripe makes events that do not come by webhook.",
                self.stands("silence"),
            ),
            (
                "fulfilld_drill_failing",
                "1 while the last restore drill failed.",
                self.stands("drill_failing"),
            ),
            ("fulfilld_hooks_pending", "Notifications that wait for a hook.", waiting as f64),
            ("fulfilld_hooks_dead", "Notifications that a hook gave up.", dead as f64),
            ("fulfilld_db_bytes", "Size of the file.", bytes("")),
            ("fulfilld_db_wal_bytes", "Size of its write-ahead log.", bytes("-wal")),
            (
                "fulfilld_backup_success_timestamp_seconds",
                "When the newest good backup was made, or Litestream last had everything; 0 for none.",
                backup,
            ),
            (
                "fulfilld_db_locked_seconds",
                "How long somebody else has held the write lock.",
                locked,
            ),
            (
                "fulfilld_db_commits",
                "Transactions committed since the start.",
                writer.commits as f64,
            ),
            ("fulfilld_db_writes", "Pieces of work in them.", writer.jobs as f64),
            ("fulfilld_uptime_seconds", "Since the start.", self.started.elapsed().as_secs_f64()),
        ];
        if let Some(door) = door {
            gauges.extend(door.gauges());
        }
        Answer::new(200, "text/plain; version=0.0.4", self.metrics.page(&gauges).into_bytes())
    }
}
