//! A thread that does the same thing again and again until the daemon stops.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The thread.
pub struct Rounds {
    name: &'static str,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Rounds {
    /// Does a first round after so long; each says how long the pause after it is.
    pub fn start(
        name: &'static str,
        first: Duration,
        mut round: impl FnMut() -> Duration + Send + 'static,
    ) -> Rounds {
        let (stop, stopped) = channel();
        let body = move || {
            let mut pause = first;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = round();
            }
        };
        let thread =
            std::thread::Builder::new().name(name.into()).stack_size(128 << 10).spawn(body);
        Rounds { name, stop, thread: thread.expect("a thread can be started at start-up") }
    }

    /// What it is for, where the thread is gone.
    pub fn dead(&self) -> Option<&'static str> {
        self.thread.is_finished().then_some(self.name)
    }

    /// Ends it. False when it was not done in time.
    pub fn stop(self, deadline: Instant) -> bool {
        drop(self.stop);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.thread.is_finished()
    }
}
