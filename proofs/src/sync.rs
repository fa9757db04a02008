//! What `src/sync.rs` gives the daemon, by shuttle: it decides at each lock, wake-up and sleep which
//! thread goes on, and a thread that nobody wakes is a failure.

pub use shuttle::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic};
use std::time::Duration;

use shuttle::rand::Rng;

/// As in `src/sync.rs`.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits without an end, so that a wake-up that is lost is seen; only who is idle may be told
/// that its time is over, at random.
#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

pub struct TimedOut(bool);

impl TimedOut {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

type Waited<'a, T> =
    Result<(MutexGuard<'a, T>, TimedOut), PoisonError<(MutexGuard<'a, T>, TimedOut)>>;

impl Condvar {
    pub fn new() -> Condvar {
        Condvar::default()
    }

    pub fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>> {
        self.0.wait(guard)
    }

    /// For whoever is idle: one time in eight it is over at once.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, _: Duration) -> Waited<'a, T> {
        if shuttle::rand::thread_rng().gen_range(0..8) == 0 {
            return Ok((guard, TimedOut(true)));
        }
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok((guard, TimedOut(false)))
    }

    /// For whoever waits for something: never over before it has come.
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> Waited<'a, T> {
        let guard = self.0.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner);
        Ok((guard, TimedOut(false)))
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// `std::thread` as far as it is used.
pub mod thread {
    pub use shuttle::thread::{Thread, current, panicking, park_timeout, yield_now};

    use std::time::Duration;

    use super::Arc;
    use super::atomic::{AtomicBool, Ordering};

    /// Lets the others go on, whatever the schedule.
    pub fn sleep(_: Duration) {
        shuttle::thread::yield_now();
    }

    /// A handle that knows whether its thread has ended.
    pub struct JoinHandle<T> {
        thread: shuttle::thread::JoinHandle<T>,
        ended: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> std::thread::Result<T> {
            self.thread.join()
        }

        pub fn is_finished(&self) -> bool {
            self.ended.load(Ordering::SeqCst)
        }
    }

    #[derive(Default)]
    pub struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub fn new() -> Builder {
            Builder::default()
        }

        pub fn name(self, name: String) -> Builder {
            Builder(self.0.name(name))
        }

        pub fn stack_size(self, _: usize) -> Builder {
            self
        }

        pub fn spawn<F, T>(self, work: F) -> std::io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            let ended = Arc::new(AtomicBool::new(false));
            let told = ended.clone();
            let thread = self.0.spawn(move || {
                let value = work();
                told.store(true, Ordering::SeqCst);
                value
            })?;
            Ok(JoinHandle { thread, ended })
        }
    }
}
