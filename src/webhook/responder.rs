//! Answers webhooks after their COMMIT, so that no thread sleeps for a commit of its own.
//!
//! A handler leaves its request here and hands the event to the writer. What the writer says of it
//! wakes a responder, which answers all that were committed together. A request that waits too long
//! is answered 503, whatever keeps the writer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::door::{Answer, Reply, Request};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::sabotage;
use crate::sync::lock;
use crate::writer::PATIENCE;

/// One answers while the other may have to wait for a connection that the reaper is about to cut.
const RESPONDERS: usize = 2;

/// Between two looks for requests that have waited too long; those are answered before their time
/// is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bodies that wait for their commit: a thousand of the usual size. Whoever brings more waits with
/// its own in hand.
const BYTES_MAX: usize = 4 << 20;

/// Only an answer is written here.
const STACK: usize = 128 << 10;

/// The threads and what waits for them.
pub struct Responder {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A request that waits for its event's commit.
pub struct Waiting {
    since: Instant,
    bytes: usize,
    /// Until it is answered.
    reply: Mutex<Option<Reply>>,
}

/// Where the writer leaves what became of an event.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    /// Called when new events are on the disk.
    stored: Box<dyn Fn() + Send + Sync>,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    /// There is something to answer.
    came: Condvar,
    /// Some bodies have gone.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    /// With what became of each: whether it was new.
    decided: Vec<(Arc<Waiting>, Result<bool>)>,
    /// In the order of `since`; those that were answered are taken out when they come first.
    waiting: VecDeque<Arc<Waiting>>,
    bytes: usize,
    /// Responders that sleep, and whether one of them looks for those who wait too long.
    asleep: usize,
    looked_after: bool,
    /// Handlers that wait for room.
    crowded: usize,
    closed: bool,
}

impl Responder {
    /// `stored` is called when new events are on the disk, once for all that came together.
    pub fn start(stored: impl Fn() + Send + Sync + 'static, metrics: Arc<Metrics>) -> Responder {
        let shared = Arc::new(Shared {
            stored: Box::new(stored),
            metrics,
            queue: Mutex::default(),
            came: Condvar::new(),
            room: Condvar::new(),
        });
        let start = |_| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("responder".into())
                .stack_size(STACK)
                .spawn(move || while shared.turn() {})
                .expect("a thread can be started at start-up")
        };
        Responder { threads: (0..RESPONDERS).map(start).collect(), shared }
    }

    /// The end that the writer puts results into.
    pub fn outbox(&self) -> Outbox {
        Outbox(self.shared.clone())
    }

    /// Keeps the way to answer a request until [`Outbox::put`] tells what became of its event; the
    /// body, which the event is stored with, is the caller's. Waits while there are too many; gives
    /// the request back when that takes too long.
    pub fn keep(
        &self,
        mut request: Request,
        since: Instant,
    ) -> std::result::Result<(Arc<Waiting>, Vec<u8>), Box<Request>> {
        let bytes = request.body.len();
        let mut queue = lock(&self.shared.queue);
        while queue.bytes > 0 && queue.bytes + bytes > BYTES_MAX {
            let left = PATIENCE.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(Box::new(request));
            }
            queue.crowded += 1;
            let room = self.shared.room.wait_timeout(queue, left);
            queue = room.unwrap_or_else(PoisonError::into_inner).0;
            queue.crowded -= 1;
        }
        queue.bytes += bytes;
        drop(queue);
        let body = std::mem::take(&mut request.body);
        // This wakes the thread that read the head, which has nothing more to do.
        let reply = Mutex::new(Some(request.into_reply()));
        let waiting = Arc::new(Waiting { since, bytes, reply });
        lock(&self.shared.queue).waiting.push_back(waiting.clone());
        Ok((waiting, body))
    }

    /// True once a thread has ended by a panic.
    pub fn is_dead(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// The threads end when everybody has been answered.
    pub fn close(&self) {
        lock(&self.shared.queue).closed = true;
        self.shared.came.notify_all();
    }
}

impl Outbox {
    /// Tells what became of the event: whether it was new, or why it is not stored.
    pub fn put(&self, waiting: Arc<Waiting>, outcome: Result<bool>) {
        let mut queue = lock(&self.0.queue);
        queue.decided.push((waiting, outcome));
        let wake = queue.decided.len() == 1 && queue.asleep > 0;
        drop(queue);
        if wake {
            self.0.came.notify_one();
        }
    }
}

impl Shared {
    /// Sleeps until there is something to answer, and answers it. False when there will be nothing
    /// any more.
    fn turn(&self) -> bool {
        let mut queue = lock(&self.queue);
        if queue.decided.is_empty() {
            if queue.closed && queue.waiting.is_empty() {
                return false;
            }
            queue.asleep += 1;
            if std::mem::replace(&mut queue.looked_after, true) {
                queue = self.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let woken = self.came.wait_timeout(queue, LOOK_EVERY);
                queue = woken.unwrap_or_else(PoisonError::into_inner).0;
                queue.looked_after = false;
            }
            queue.asleep -= 1;
        }
        let decided = std::mem::take(&mut queue.decided);
        let late = queue.late();
        drop(queue);
        sabotage::panic_in("responder");
        let new = decided.iter().any(|(_, outcome)| *outcome == Ok(true));
        let answered: usize = decided.iter().map(|(waiting, _)| waiting.bytes).sum();
        for (waiting, outcome) in decided {
            self.answer(&waiting, &outcome);
        }
        let no_answer = Err(Error::Temporary("the disk did not answer within 5 s".into()));
        for waiting in late {
            self.answer(&waiting, &no_answer);
        }
        if new {
            (self.stored)();
        }
        let mut queue = lock(&self.queue);
        queue.bytes = queue.bytes.saturating_sub(answered);
        if queue.crowded > 0 && answered > 0 {
            self.room.notify_all();
        }
        true
    }

    /// Answers once; a caller that was answered already has read that the event is not stored, and
    /// sends it again.
    fn answer(&self, waiting: &Waiting, outcome: &Result<bool>) {
        let Some(reply) = lock(&waiting.reply).take() else { return };
        let answer = match outcome {
            Ok(new) => {
                self.metrics.event_received(*new, waiting.since.elapsed());
                received()
            }
            // What SQLite refuses as such can be stored no better by being sent again, but it is
            // not lost either.
            Err(error) => {
                log::warn!("a webhook was answered 503: {error}");
                if let Error::Permanent(why) = error {
                    self.metrics.event_refused(why);
                }
                not_stored(error)
            }
        };
        self.metrics.http_answered("/webhook", answer.status);
        reply.answer(&answer);
    }
}

impl Queue {
    /// Forgets those who were answered, and takes out those who have waited too long.
    fn late(&mut self) -> Vec<Arc<Waiting>> {
        let mut late = Vec::new();
        while let Some(first) = self.waiting.front() {
            let is_answered = lock(&first.reply).is_none();
            if !is_answered && first.since.elapsed() + LOOK_EVERY < PATIENCE {
                break;
            }
            let first = self.waiting.pop_front();
            late.extend(first.filter(|_| !is_answered));
        }
        late
    }
}

/// 200: the event is on disk.
pub fn received() -> Answer {
    Answer::json(200, r#"{"received":true}"#.into())
}

/// 503 with `Retry-After`: the event is not on disk, and why.
pub fn not_stored(error: &Error) -> Answer {
    let mut answer = Answer::text(503, format!("The event could not be stored: {error}"));
    answer.headers.push(("Retry-After", "10"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{Door, Limits, bind};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn a_writer_that_says_nothing_costs_a_webhook_five_seconds_and_not_its_answer() {
        let responder = Responder::start(|| (), Arc::default());
        let outbox = responder.outbox();
        let decided: Mutex<Vec<Arc<Waiting>>> = Mutex::default();
        let serve = move |request: Request| {
            let hangs = request.path() == "/hangs";
            let (waiting, _) = responder.keep(request, Instant::now()).ok().expect("there is room");
            match hangs {
                true => lock(&decided).push(waiting),
                false => outbox.put(waiting, Ok(true)),
            }
        };
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        // The other tests' memory is this process's too.
        let limits = Limits { memory_max: u64::MAX, ..Limits::default() };
        let door = Door::open(listener, limits, serve).unwrap();
        let ask = |path: &str| {
            let (began, mut answer) = (Instant::now(), String::new());
            let mut stream = TcpStream::connect(door.address()).unwrap();
            write!(stream, "POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
            stream.read_to_string(&mut answer).unwrap();
            (answer, began.elapsed())
        };
        std::thread::scope(|scope| {
            let hanging = scope.spawn(|| ask("/hangs"));
            let (answer, _) = ask("/");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let (answer, took) = hanging.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("5 s"), "{answer}");
            // At most the answer says; how late it is read depends on how busy the machine is.
            assert!(took > PATIENCE / 2, "{took:?}");
        });
    }
}
