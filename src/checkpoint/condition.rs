//! How the log is doing, for `readyz`, `/metrics` and the alarms.

use std::time::{Duration, Instant};

/// A log that somebody who reads has kept long for so long is one to report.
const GROWN_FOR: Duration = Duration::from_secs(10);

/// How the log is doing.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// Pages in it, until all of them are in the file.
    pub pages: u64,
    /// Since when it could not be moved into the file, and why not.
    pub failing: Option<(Instant, String)>,
    /// Since when it has been long with somebody reading who keeps it from being emptied.
    pub grown: Option<Instant>,
}

impl Condition {
    /// The log grows, and it is time to say so.
    pub fn grows(&self) -> Option<Duration> {
        self.grown.map(|since| since.elapsed()).filter(|grown| *grown >= GROWN_FOR)
    }

    /// What is wrong with the log: the alarm's name, and a sentence.
    pub fn trouble(&self) -> Vec<(&'static str, String)> {
        let failing = self.failing.as_ref().map(|(since, why)| {
            format!(
                "the write-ahead log cannot be moved into the file for {} s and is growing ({} pages): {why}",
                since.elapsed().as_secs(),
                self.pages
            )
        });
        let grows = self.grows().map(|since| {
            format!(
                "the write-ahead log grows ({} pages): somebody has been reading for {} s (an open \
                 BEGIN in a sqlite3 shell? type COMMIT there; check or rebuild of a large file? \
                 it ends by itself)",
                self.pages,
                since.as_secs()
            )
        });
        [("checkpoint_failing", failing), ("log_grows", grows)]
            .into_iter()
            .filter_map(|(name, what)| Some((name, what?)))
            .collect()
    }
}
