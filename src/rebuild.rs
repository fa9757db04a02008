//! Derives the tables that come from Stripe once more, from the stored events and from Stripe, into
//! a second file, and compares the two. It repairs nothing in the first.
//!
//! `handlers` and `ledger` send the requests and make rows of the answers, as for a worker. Here is
//! only which requests the stored events lead to, each once; `compare.rs` has where the two files
//! then differ.

mod compare;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Row, params_from_iter};

use crate::change::Change;
use crate::clock;
use crate::db;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::forgotten;
use crate::handlers::{self, Handled, Look};
use crate::inbox;
use crate::ledger;
use crate::stripe::Stripe;
use crate::sync::lock;
pub use compare::compare;

/// Requests at once; `Stripe` paces them.
const REQUESTS_AT_ONCE: usize = 16;

/// Pauses before a request that failed for now is sent again, once Stripe has answered another
/// one.
const PAUSES_S: [u64; 5] = [1, 2, 4, 8, 16];

/// Between two lines of progress.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What was derived.
pub struct Derived {
    /// Requests that were sent.
    pub requests: usize,
    /// Events that the file was made from and that Stripe no longer knows: the event, and why.
    pub lost: Vec<(String, String)>,
    /// What the requests were about that `lost` names.
    lost_objects: HashSet<String>,
    /// The last number of the sequence when it began: what has a higher one came meanwhile.
    began: i64,
}

/// One request to Stripe: about an object that stored events name.
struct Request {
    /// One of them, which is as good as any other of its kind.
    event: Event,
    /// Those that the file was made from.
    done: Vec<String>,
    /// Among the requests, by the event that came first.
    place: usize,
}

/// Copies the events of `here` into `new`, which is empty, and derives from them and from Stripe
/// what comes from Stripe. The orders get the numbers that they have in `here`. An error leaves
/// `new` empty; `Temporary` when Stripe fails.
pub fn derive(
    here: &Connection,
    new: &Connection,
    stripe: &Stripe,
    account: Option<&str>,
    report: &dyn Fn(&str),
) -> Result<Derived> {
    let moment = here.unchecked_transaction().map_err(db::translate)?;
    let tx = new.unchecked_transaction().map_err(db::translate)?;
    let numbers = numbers(here)?;
    copy_forgotten(here, new)?;
    let mut sessions = requests(here, account)?;
    let mut deriving = Deriving {
        new,
        numbers,
        unnumbered: Vec::new(),
        payments: HashSet::new(),
        derived: Derived {
            requests: 0,
            lost: Vec::new(),
            lost_objects: HashSet::new(),
            began: copy_events(here, new)?,
        },
    };
    // Asking may take hours, and a reader that stays keeps the log of a running daemon growing.
    drop(moment);

    let mut rest = sessions.split_off(sessions.partition_point(|q| q.is_of_session()));
    let total = sessions.len() + rest.len();
    request_all(sessions, stripe, total, report, &mut deriving)?;
    // A payment whose session has been read leads to that session again.
    rest.retain(|q| {
        !(q.event.name().starts_with("payment_intent.") && deriving.payments.contains(q.object()))
    });
    let total = deriving.derived.requests + rest.len();
    request_all(rest, stripe, total, report, &mut deriving)?;
    deriving.unnumbered.sort_by_key(|(request, _)| request.place);
    for (request, change) in std::mem::take(&mut deriving.unnumbered) {
        deriving.write(&request, &change, None)?;
    }
    // What was known long before is not shown.
    let quiet = "UPDATE outbox SET state = 'done', outcome = 'past' WHERE state = 'pending'";
    let as_they_were =
        "UPDATE events SET awaits = (SELECT awaits FROM awaited a WHERE a.id = events.id)
                          WHERE id IN(SELECT id FROM awaited); DROP TABLE awaited;";
    inbox::as_author(new, "fulfilld:rebuild", |c| {
        c.execute(quiet, []).and_then(|_| c.execute_batch(as_they_were)).map_err(db::translate)
    })?;
    tx.commit().map_err(db::translate)?;
    Ok(deriving.derived)
}

/// The second file while it is being made.
struct Deriving<'a> {
    new: &'a Connection,
    /// The orders' numbers by their sessions.
    numbers: HashMap<String, i64>,
    /// Orders that had none; they get the next ones when all others have theirs.
    unnumbered: Vec<(Request, Change)>,
    /// Payment intents of the orders.
    payments: HashSet<String>,
    derived: Derived,
}

impl Deriving<'_> {
    /// Takes an answer. The error is Stripe's or the key's, and ends it all.
    fn answered(&mut self, request: Request, answer: Result<Handled>) -> Result<()> {
        self.derived.requests += 1;
        let change = match answer {
            // What of it cannot be kept is not in the first file either.
            Ok(
                Handled::Change(change)
                | Handled::InPart(change, _)
                | Handled::Unfinished(change, _),
            ) => change,
            Ok(Handled::Ignore(_) | Handled::Await { .. }) => return Ok(()),
            Ok(Handled::NotYet(why)) | Err(Error::Permanent(why)) => {
                self.derived.lose(&request, &why);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Change::Order(order) = &change {
            self.payments.extend(order.payment_intent_id.clone());
            self.payments.extend(order.other_payments.iter().cloned());
            match self.numbers.get(&order.checkout_session_id).copied() {
                number @ Some(_) => return self.write(&request, &change, number),
                None => self.unnumbered.push((request, change)),
            }
            return Ok(());
        }
        self.write(&request, &change, None)
    }

    /// Applies a fact as the worker does. What the file's own rules refuse cannot be rebuilt.
    fn write(&mut self, request: &Request, change: &Change, number: Option<i64>) -> Result<()> {
        let batch = |sql: &str| self.new.execute_batch(sql).map_err(db::translate);
        batch("SAVEPOINT fact")?;
        let author = format!("stripe:{}", request.event.id);
        match inbox::as_author(self.new, &author, |c| {
            ledger::apply_numbered(c, change, inbox::next_number(c)?, number)
        }) {
            Ok(()) => batch("RELEASE fact"),
            Err(Error::Permanent(why)) => {
                batch("ROLLBACK TO fact; RELEASE fact")?;
                self.derived.lose(request, &why);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Request {
    fn object(&self) -> &str {
        self.event.object_id.as_deref().unwrap_or_default()
    }

    fn is_of_session(&self) -> bool {
        self.event.name().starts_with("checkout.session.")
    }
}

impl Derived {
    fn lose(&mut self, request: &Request, why: &str) {
        self.lost.extend(request.done.iter().map(|event| (event.clone(), why.to_string())));
        self.lost_objects.insert(request.object().into());
    }
}

/// The orders' numbers by their sessions.
fn numbers(c: &Connection) -> Result<HashMap<String, i64>> {
    let sql = "SELECT checkout_session_id, id FROM orders WHERE origin IS NULL";
    c.prepare(sql)
        .and_then(|mut q| q.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(db::translate)
}

/// What the stored events lead to, each object once: the sessions, then the rest, each in the order
/// in which they came. Events that wait are left out, and so are those of another mode or account.
fn requests(c: &Connection, account: Option<&str>) -> Result<Vec<Request>> {
    let livemode: bool =
        c.query_row("SELECT livemode FROM shop", [], |row| row.get(0)).map_err(db::translate)?;
    let sql = format!(
        "SELECT {}, state = 'done' FROM events WHERE state <> 'pending' AND object_id IS NOT NULL ORDER BY rowid",
        inbox::EVENT
    );
    let mut statement = c.prepare(&sql).map_err(db::translate)?;
    let mut rows = statement.query([]).map_err(db::translate)?;
    let mut found: HashMap<String, Request> = HashMap::new();
    while let Some(row) = rows.next().map_err(db::translate)? {
        let event = inbox::event(row).map_err(db::translate)?;
        // Whether the file was made from it.
        let done: bool = row.get(inbox::EVENT_COLUMNS).map_err(db::translate)?;
        let known = handlers::TABLE.iter().any(|(name, _)| *name == event.name());
        if !known || event.foreign_to(livemode, account).is_some() {
            continue;
        }
        let (place, id) = (found.len(), event.id.clone());
        let object = event.object_id.clone().unwrap_or_default();
        let request = found.entry(object).or_insert(Request {
            event: event.clone(),
            done: Vec::new(),
            place,
        });
        if weight(&event) > weight(&request.event) {
            request.event = event;
        }
        request.done.extend(done.then_some(id));
    }
    let mut requests: Vec<Request> = found.into_values().collect();
    requests.sort_by_key(|q| (!q.is_of_session(), q.place));
    Ok(requests)
}

/// Which of several events about one object is used: only its own event says that a payment failed,
/// or when a delayed one came where the key may not see balances; an expiry leads to no request.
fn weight(event: &Event) -> u8 {
    match event.name() {
        "checkout.session.async_payment_failed" | "checkout.session.async_payment_succeeded" => 2,
        "checkout.session.expired" => 0,
        _ => 1,
    }
}

/// Copies who is forgotten, so that the ledger takes them in as it did here.
fn copy_forgotten(here: &Connection, new: &Connection) -> Result<()> {
    let subjects: Vec<String> = here
        .prepare("SELECT subject FROM forgotten")
        .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
        .map_err(db::translate)?;
    inbox::as_author(new, "fulfilld:rebuild", |c| forgotten::add(c, subjects, clock::now()))
}

/// Copies the rows as they are, and says which number was the last.
fn copy_events(here: &Connection, new: &Connection) -> Result<i64> {
    let columns = columns(new, "events", &[])?;
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    let names = columns.join(", ");
    let copy = || -> rusqlite::Result<i64> {
        let mut from = here.prepare(&format!("SELECT {names} FROM events ORDER BY seq"))?;
        let mut into =
            new.prepare(&format!("INSERT INTO events({names}) VALUES({})", places.join(", ")))?;
        let mut rows = from.query([])?;
        while let Some(row) = rows.next()? {
            into.execute(params_from_iter(cells(row, columns.len())?))?;
        }
        let began: i64 = here.query_row("SELECT n FROM sequence", [], |row| row.get(0))?;
        new.execute("UPDATE sequence SET n = max(n + 1, ?1)", [began])?;
        // The orders come anew, and no event is to be woken by that.
        new.execute_batch(
            "CREATE TEMP TABLE awaited AS SELECT id, awaits FROM events WHERE awaits IS NOT NULL;
             UPDATE events SET awaits = NULL WHERE awaits IS NOT NULL;",
        )?;
        Ok(began)
    };
    inbox::as_author(new, "fulfilld:rebuild", |_| copy().map_err(db::translate))
}

/// Asks, many at once, and hands on each answer as it comes. The first failure that is Stripe's or
/// the key's ends it.
fn request_all(
    requests: Vec<Request>,
    stripe: &Stripe,
    total: usize,
    report: &dyn Fn(&str),
    deriving: &mut Deriving,
) -> Result<()> {
    let (stop, any) = (AtomicBool::new(false), AtomicBool::new(deriving.derived.requests > 0));
    let next = Mutex::new(requests.into_iter());
    let (give, take) = channel();
    let ask = |request: &Request| {
        for pause in PAUSES_S {
            match handlers::handle(&Look::of([&request.event]), stripe) {
                // Stripe that has not answered at all is down; else this is a hiccup among hours of
                // answers.
                Err(Error::Temporary(_))
                    if any.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) =>
                {
                    std::thread::sleep(Duration::from_secs(pause));
                }
                answer => return answer,
            }
        }
        handlers::handle(&Look::of([&request.event]), stripe)
    };
    std::thread::scope(|threads| {
        for _ in 0..REQUESTS_AT_ONCE {
            let (give, next, ask, stop) = (give.clone(), &next, &ask, &stop);
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some(request) = lock(next).next() else { return };
                    let answer = ask(&request);
                    // Nobody receives it when another request has ended the rebuild.
                    let _ = give.send((request, answer));
                }
            });
        }
        drop(give);
        let mut reported = Instant::now();
        for (request, answer) in take {
            any.fetch_or(!matches!(answer, Err(Error::Temporary(_))), Ordering::Relaxed);
            if let Err(error) = deriving.answered(request, answer) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                report(&format!(
                    "requests sent to Stripe: {} of {total}",
                    deriving.derived.requests
                ));
            }
        }
        Ok(())
    })
}

/// The names of a table's columns.
fn columns(c: &Connection, table: &str, but: &[&str]) -> Result<Vec<String>> {
    let mut names: Vec<String> = c
        .prepare("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut q| q.query_map([table], |row| row.get(0))?.collect())
        .map_err(db::translate)?;
    names.retain(|name| !but.contains(&name.as_str()));
    Ok(names)
}

fn cells(row: &Row, n: usize) -> rusqlite::Result<Vec<Cell>> {
    (0..n).map(|i| row.get(i)).collect()
}
