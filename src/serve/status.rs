//! What `systemctl status` shows of a running daemon.

use std::time::{Duration, Instant};

use crate::db::Version;
use crate::health::Health;

/// How often what waits is counted, and how often while nobody commits: then only time can change it.
const EVERY: Duration = Duration::from_secs(60);
const EVERY_AT_REST: Duration = Duration::from_secs(600);

/// So much longer than the counting is the pause after it: a large file is counted seldom.
const PAUSE_SHARE: u32 = 1000;

/// What was last reported to systemd.
#[derive(Default)]
pub struct Status {
    ready: Option<bool>,
    /// The file's version then.
    version: Option<Version>,
    told: Option<Instant>,
    took: Duration,
}

impl Status {
    /// Tells it once in a while, and at once when orders stop or begin to go through. Where no
    /// systemd listens, it does nothing.
    pub fn look(&mut self, health: &Health) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let ready = health.causes().is_empty();
        let version = health.version();
        let every = if version == self.version { EVERY_AT_REST } else { EVERY };
        let pause = every.max(self.took * PAUSE_SHARE);
        if self.ready == Some(ready) && self.told.is_some_and(|told| told.elapsed() < pause) {
            return;
        }
        let began = Instant::now();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&health.status())]);
        *self = Status {
            ready: Some(ready),
            version,
            told: Some(Instant::now()),
            took: began.elapsed(),
        };
    }
}
