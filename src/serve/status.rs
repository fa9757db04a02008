//! What `systemctl status` shows of a running daemon.

use std::time::{Duration, Instant};

use crate::health::Health;

/// How often what waits is counted.
const EVERY: Duration = Duration::from_secs(60);

/// So much longer than the counting is the pause after it: a large file is counted seldom.
const PAUSE_SHARE: u32 = 1000;

/// What was last reported to systemd.
#[derive(Default)]
pub struct Status {
    ready: Option<bool>,
    next: Option<Instant>,
}

impl Status {
    /// Tells it once in a while, and at once when orders stop or begin to go through. Where no
    /// systemd listens, it does nothing.
    pub fn look(&mut self, health: &Health) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let ready = health.causes().is_empty();
        let now = Instant::now();
        if self.ready == Some(ready) && self.next.is_some_and(|next| next > now) {
            return;
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&health.status())]);
        self.ready = Some(ready);
        self.next = Some(Instant::now() + EVERY.max(now.elapsed() * PAUSE_SHARE));
    }
}
