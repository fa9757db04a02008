//! The page: the packing table in a browser, for people who never open a terminal. Off by default.
//!
//! HTML on a door of its own, behind the proxy's login. It holds no rule of its own: it reads views,
//! and writes through the verbs of the file (`change.rs`) in the name of whoever the proxy says it is
//! (`guard.rs`). Its handlers, limits and connection to the file are its own, so that the webhook's
//! door does not wait for it.

mod actions; // what may be done with an order
mod attention; // what needs a person
mod books; // the month
mod change; // what a form does
mod form; // what a form sends
mod guard; // who may see it, and that a form comes from it
mod health; // what readyz and doctor say
mod layout; // what every page has around it
mod order; // everything of one order
mod pack; // what waits for a parcel
mod paper; // slips and label files
mod rows; // rows of a query
mod tracking; // a file of tracking numbers

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maud::html;
use rusqlite::Connection;

use crate::config::PageSettings;
use crate::context::Context;
use crate::db::{self, Reader};
use crate::door::{Answer, Door, Limits, Request};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::sabotage;
use form::Form;
use guard::{Guard, Person, Refusal};

/// Threads that answer, at most: a few people look at it.
const HANDLERS: usize = 8;

/// Bytes of a form; a file of 10,000 tracking numbers has about one million.
const BODY_MAX: usize = 4 << 20;

/// Connections at once, far from what would cost the webhook descriptors or threads.
const CONNECTIONS_MAX: usize = 64;

/// What a page comes to.
type Reply = Result<Answer>;

/// Its door, while it is open.
pub struct Open {
    door: Door,
    reader: Reader,
}

/// What its handlers share.
struct Page {
    settings: PageSettings,
    guard: Guard,
    context: Arc<Context>,
    health: Arc<Health>,
    /// The label service that is offered first.
    first_service: Option<&'static str>,
    reader: Reader,
}

impl Open {
    /// Serves the listener. `Temporary` where threads or descriptors are not to be had.
    pub fn start(
        listener: TcpListener,
        settings: &PageSettings,
        context: Arc<Context>,
        health: Arc<Health>,
        file: &Path,
    ) -> Result<Open> {
        // Its own, so that a long search keeps nobody else waiting.
        let reader = Reader::of(file);
        let page = Page {
            settings: settings.clone(),
            guard: Guard::new(settings)?,
            context,
            health,
            first_service: paper::first_service(),
            reader: reader.clone(),
        };
        let limits = Limits {
            handlers: HANDLERS,
            body_max: BODY_MAX,
            connections_max: CONNECTIONS_MAX,
            body_within: Duration::from_secs(10),
            ..Limits::default()
        };
        let door = Door::open(listener, limits, move |request| page.answer(request))?;
        Ok(Open { door, reader })
    }

    /// Where the proxy finds it.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.door.address(), layout::ROOT)
    }

    /// Why its door no longer works; `None` while it does.
    pub fn broken(&self) -> Option<String> {
        let planted = sabotage::is("page_door_breaks").then(|| "a test broke its door".into());
        self.door.broken().or(planted)
    }

    /// Closes what nobody uses; for whoever comes by often.
    pub fn rest(&self) {
        self.reader.rest();
    }

    /// Lets nobody in any more and answers everybody who is; true when all were in time.
    pub fn close(&self, deadline: Instant) -> bool {
        self.door.close(deadline)
    }
}

impl Page {
    /// Looks into the file.
    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let c = self.reader.get()?;
        // One moment for all of it, whatever is written meanwhile.
        let c = c.unchecked_transaction().map_err(db::translate)?;
        look(&c)
    }

    fn answer(&self, request: Request) {
        let answer = match self.guard.admit(&request) {
            Err(refusal) => refused(None, &refusal),
            Ok(person) => {
                self.routed(&request, &person).unwrap_or_else(|error| failed(&person, error))
            }
        };
        request.answer(&answer);
    }

    fn routed(&self, request: &Request, person: &Person) -> Reply {
        let Some(path) = request.path().strip_prefix(layout::ROOT) else {
            return Ok(match request.path() {
                "/" | "/desk" => layout::see_other("pack".into()),
                _ => refused(Some(person), &(404, "There is no such page".into())),
            });
        };
        let words: Vec<&str> = path.split('/').collect();
        match request.method() {
            "GET" | "HEAD" => self.look(person, &words, &Form::of(request.query().as_bytes())),
            "POST" => {
                let kind = request.header("Content-Type").unwrap_or_default();
                let (form, file) = match kind.starts_with("multipart/form-data") {
                    true => form::multipart(kind, &request.body).ok_or_else(|| {
                        Error::Permanent("the form arrived incomplete; send it again".into())
                    })?,
                    false => (Form::of(&request.body), &request.body[..0]),
                };
                match self.guard.check(request, person, form.text("token")) {
                    Err(refusal) => Ok(refused(Some(person), &refusal)),
                    Ok(()) => self.act(person, &words, &form, file),
                }
            }
            _ => {
                let mut answer = refused(Some(person), &(405, "Use GET or POST".into()));
                answer.headers.push(("Allow", "GET, HEAD, POST"));
                Ok(answer)
            }
        }
    }

    /// What may be looked at.
    fn look(&self, person: &Person, words: &[&str], query: &Form) -> Reply {
        match words {
            [""] => Ok(layout::see_other("pack".into())),
            ["pack"] => self.pack(person, query),
            ["parcel", parcel] => self.parcel(person, parcel, query),
            ["tracking"] => Ok(self.upload(person)),
            ["orders"] => self.orders(person, query),
            ["order", order] => self.order(person, number(order)?),
            ["attention" | "books" | "books.csv" | "health"] if !person.may_do_all() => {
                Ok(refused(Some(person), &not_for(person)))
            }
            ["attention"] => self.attention(person),
            ["books"] => self.books(person, query),
            ["books.csv"] => self.books_file(query),
            ["health"] => self.health(person),
            _ => Ok(refused(Some(person), &(404, "There is no such page".into()))),
        }
    }

    /// What may be done.
    fn act(&self, person: &Person, words: &[&str], form: &Form, file: &[u8]) -> Reply {
        match words {
            ["slips"] => self.slips(form),
            ["labels"] => self.labels(person, form),
            ["labels.csv"] => self.label_file(form),
            ["parcel", parcel] => self.ship(person, parcel, form),
            ["tracking", "dry-run"] => self.try_tracking(person, file),
            ["tracking", "apply"] => self.apply_tracking(person, form),
            ["tracking", "undo"] => self.undo_tracking(person, form),
            ["order", order, action] => self.act_on(person, number(order)?, action, form),
            ["attention", action] if person.may_do_all() => self.deal_with(person, action, form),
            ["attention", _] => Ok(refused(Some(person), &not_for(person))),
            _ => Ok(refused(Some(person), &(404, "There is no such page".into()))),
        }
    }
}

fn not_for(person: &Person) -> Refusal {
    (403, format!("{} may pack and ship; for more add the name to FULFILLD_PAGE_ALL", person.name))
}

/// An order's number in a path.
fn number(order: &str) -> Result<i64> {
    order.parse().map_err(|_| Error::Permanent("an order's number is a whole number".into()))
}

/// A page that says why somebody is not let in, or what is not there.
fn refused(person: Option<&Person>, (status, why): &Refusal) -> Answer {
    layout::whole(*status, person, None, "That is not possible", html! { p { (why) } })
}

/// A page for what failed; nothing was changed.
fn failed(person: &Person, error: Error) -> Answer {
    let (status, why) = match error {
        Error::Permanent(why) | Error::Usage(why) | Error::Forbidden(why) => {
            (422, change::refusal(&why, None))
        }
        Error::Config(why) => (500, why),
        Error::Temporary(why) | Error::Full(why) => (503, format!("{why}; then repeat it")),
        Error::Corrupt(why) => {
            log::error!("the page could not be shown: {why}");
            (500, "The file cannot be read; the log of fulfilld says more".into())
        }
    };
    let main = html! {
        (layout::note("bad", &why))
        p { "Nothing was changed. " a href={ (layout::ROOT) "pack" } { "What waits" } }
    };
    layout::whole(status, Some(person), None, "That did not work", main)
}
