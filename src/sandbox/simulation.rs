//! What all threads of a sandbox share: it sells, settles and tells, and answers whatever is asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::api::Rates;
use super::deliver::Queue;
use super::faults::{Fate, Faults};
use super::http::{Answer, Manner, Request};
use super::scenarios::{Act, FAILS, SUCCEEDS, Stage};
use super::sequel::{Draft, Kind, Told};
use super::stats::Stats;
use super::{Options, Shape, api, control, scenarios};
use crate::clock::{self, Timestamp};
use crate::error::{Error, Result};
use crate::sync::lock;
use crate::text;

/// Purchases of one trigger; ten times as many fit into memory.
const COUNT_MAX: usize = 10_000;

/// Deliveries of one event at once.
const TIMES_MAX: usize = 1000;

/// Purchases to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A scenario's name, or an event type that one of them sends.
    pub scenario: String,
    #[serde(default = "one")]
    pub count: usize,
    /// `None` is the sandbox's own.
    pub shape: Option<Shape>,
    /// Deliveries of each event, at once.
    #[serde(default = "one")]
    pub times: usize,
    /// False keeps the events for the caller to post.
    #[serde(default = "yes")]
    pub deliver: bool,
    /// It happened so many seconds ago.
    #[serde(default)]
    pub ago_s: i64,
}

impl Trigger {
    /// One purchase, delivered once in the sandbox's own shape.
    pub fn of(scenario: &str) -> Trigger {
        Trigger {
            scenario: scenario.into(),
            count: 1,
            shape: None,
            times: 1,
            deliver: true,
            ago_s: 0,
        }
    }
}

/// A delayed payment is to end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    pub session: String,
    pub outcome: Outcome,
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// Something is to follow a session's payment. What is not said is as usual: all that is left, a
/// first status.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    pub session: String,
    pub amount: Option<i64>,
    pub status: Option<String>,
    pub reason: Option<String>,
    /// Of a dispute that is prevented: by giving the money back.
    #[serde(default)]
    pub settled: bool,
    /// It happened so many seconds ago.
    #[serde(default)]
    pub ago_s: i64,
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// What followed is to have another status.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Become {
    /// Of a review, why it is closed.
    #[serde(alias = "closed_reason")]
    pub status: String,
    pub shape: Option<Shape>,
    #[serde(default = "one")]
    pub times: usize,
    #[serde(default = "yes")]
    pub deliver: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// What an order made.
#[derive(Debug, Clone, Serialize)]
pub struct Purchase {
    pub session: String,
    /// Of the refund, dispute, review or warning that was ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub payment_intent: Option<String>,
    /// Those for the endpoint, in the order in which Stripe makes them.
    pub events: Vec<Made>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Made {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// What all its threads share.
pub struct Simulation {
    pub account: Mutex<Account>,
    pub faults: Faults,
    pub stats: Stats,
    pub queue: Queue,
    /// Every one signs every delivery, as in a roll.
    pub secrets: Mutex<Vec<String>>,
    rates: Rates,
    latency: Duration,
    shape: Shape,
    /// How far its clock is ahead of this machine's, in seconds.
    pub skew_s: AtomicI64,
}

impl Simulation {
    /// `Usage` when the webhook is no URL.
    pub fn new(options: Options) -> Result<Simulation> {
        let simulation = Simulation {
            account: Mutex::default(),
            faults: Faults::default(),
            stats: Stats::default(),
            queue: Queue::default(),
            secrets: Mutex::new(vec![options.secret]),
            rates: Rates::new(options.rate_per_s),
            latency: options.latency,
            shape: options.shape,
            skew_s: AtomicI64::new(0),
        };
        simulation.deliver_to(options.webhook.as_deref())?;
        Ok(simulation)
    }

    /// Answers whatever is asked: a control, the API, or a fault.
    pub fn answer(&self, request: &Request) -> Answer {
        if request.path.starts_with(control::ROOT) {
            return control::answer(self, request);
        }
        std::thread::sleep(self.latency);
        let endpoint = api::name_of(request);
        let asked = api::asked(request);
        let answer = self
            .faults
            .answer(endpoint, &asked, || api::answer(&self.account, request, &self.rates));
        let silent = matches!(answer.manner, Manner::Hang | Manner::Reset | Manner::Close);
        self.stats.answered(endpoint, if silent { 0 } else { answer.status });
        let now = clock::now().as_second().saturating_add(self.skew_s.load(Ordering::Relaxed));
        api::stamped(answer, request, clock::from_unix(now).unwrap_or_else(clock::now))
    }

    pub fn trigger(&self, order: &Trigger) -> Result<Vec<Purchase>> {
        let scenario = scenarios::find(&order.scenario)?;
        if order.count > COUNT_MAX {
            return Err(Error::Usage(format!(
                "{} purchases at once are too many; {COUNT_MAX} are not",
                order.count
            )));
        }
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let sell = |_| {
            let mut account = lock(&self.account);
            let now = ago(order.ago_s);
            let sale = account.sell(scenario, now);
            let news = scenario.news.iter().map(|news| Act::News(*news));
            self.perform(
                &mut account,
                sale,
                news.chain(scenario.then.iter().copied()),
                &telling,
                now,
            )
        };
        (0..order.count).map(sell).collect()
    }

    pub fn settle(&self, order: &Settle) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.unpaid(&order.session).ok_or_else(|| {
            Error::Usage(format!(
                "{} is no session with a payment under way; the scenario unpaid makes one",
                text::clean(&order.session)
            ))
        })?;
        let news = match order.outcome {
            Outcome::Succeeded => SUCCEEDS,
            Outcome::Failed => FAILS,
        };
        self.perform(
            &mut account,
            sale,
            news.iter().map(|news| Act::News(*news)),
            &telling,
            clock::now(),
        )
    }

    /// Lets a refund, dispute, review or warning follow. `Usage` when there is no such payment, or
    /// when it cannot.
    pub fn follow(&self, kind: Kind, order: &Follow) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| {
            Error::Usage(format!(
                "there is no session {}; a trigger makes one",
                text::clean(&order.session)
            ))
        })?;
        let draft = Draft {
            amount: order.amount,
            status: order.status.as_deref(),
            reason: order.reason.as_deref(),
            settled: order.settled,
        };
        let told = account.follow(sale, kind, &draft, ago(order.ago_s))?;
        let mut purchase = purchase(&account, sale);
        purchase.id = account.sales[sale].sequels.last().map(|sequel| sequel.id.clone());
        self.tell(&mut account, sale, &told, &telling, &mut purchase.events);
        Ok(purchase)
    }

    /// Takes money that is held, or some of it. `Usage` when there is none.
    pub fn capture(&self, order: &Follow) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| no_session(&order.session))?;
        let told = account.capture(sale, order.amount, ago(order.ago_s))?;
        let mut purchase = purchase(&account, sale);
        self.tell(&mut account, sale, &told, &telling, &mut purchase.events);
        Ok(purchase)
    }

    /// Lets money go that is held, as the bank does when nobody captures it. `Usage` when there is
    /// none.
    pub fn lapse(&self, order: &Follow) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let held = |at: &usize| account.sales[*at].stage == Stage::Held;
        let sale =
            account.sale(&order.session).filter(held).ok_or_else(|| no_session(&order.session))?;
        let lapsed = [Act::News(("payment_intent.canceled", Stage::Canceled))];
        self.perform(&mut account, sale, lapsed.into_iter(), &telling, ago(order.ago_s))
    }

    /// A subscription is paid once more; what follows that payment names the session that is
    /// answered here, which Stripe does not show. `Usage` when the session begins no subscription.
    pub fn renew(&self, order: &Follow) -> Result<Purchase> {
        let mut account = lock(&self.account);
        let sale = account.sale(&order.session).ok_or_else(|| no_session(&order.session))?;
        let renewed =
            account.renew(sale, ago(order.ago_s)).ok_or_else(|| no_session(&order.session))?;
        Ok(purchase(&account, renewed))
    }

    /// Gives what followed another status. `Usage` when there is none of that kind and id, or when
    /// it cannot have it.
    pub fn becomes(&self, kind: Kind, id: &str, order: &Become) -> Result<Purchase> {
        let telling = self.telling(order.shape, order.times, order.deliver)?;
        let mut account = lock(&self.account);
        let (sale, at) = account.sequel(kind, id).ok_or_else(|| {
            Error::Usage(format!(
                "there is no {} {}; a POST without an id makes one",
                kind.words().0,
                text::clean(id)
            ))
        })?;
        let told = account.sales[sale].becomes(at, &order.status, clock::now().as_second())?;
        let mut purchase = Purchase { id: Some(id.into()), ..purchase(&account, sale) };
        self.tell(&mut account, sale, &told, &telling, &mut purchase.events);
        Ok(purchase)
    }

    /// `Usage` when it is no URL; `None` delivers nothing any more.
    pub fn deliver_to(&self, webhook: Option<&str>) -> Result<()> {
        lock(&self.account).endpoints.deliver_to(webhook, self.shape)
    }

    /// Where the event at a place in the account goes; `None` when no endpoint is there for it now.
    pub fn url_for(&self, event: usize) -> Option<String> {
        let account = lock(&self.account);
        account.endpoints.url_for(&account.events[event])
    }

    /// `Usage` when there is none, or one of them is no signing secret.
    pub fn sign_with(&self, secrets: Vec<String>) -> Result<()> {
        if secrets.is_empty() || !secrets.iter().all(|secret| secret.starts_with("whsec_")) {
            return Err(Error::Usage(
                "deliveries are signed with one secret or more, each a whsec_…".into(),
            ));
        }
        *lock(&self.secrets) = secrets;
        Ok(())
    }

    fn telling(&self, shape: Option<Shape>, times: usize, deliver: bool) -> Result<Telling> {
        if times > TIMES_MAX {
            return Err(Error::Usage(format!(
                "{times} deliveries of one event are too many; {TIMES_MAX} are not"
            )));
        }
        let account = lock(&self.account);
        let times = if deliver && account.endpoints.any_enabled() { times } else { 0 };
        Ok(Telling { shape: shape.or(account.endpoints.shape()).unwrap_or(self.shape), times })
    }

    /// Lets it happen to a sale, one act after the other, and has each told.
    fn perform(
        &self,
        account: &mut Account,
        sale: usize,
        acts: impl Iterator<Item = Act>,
        telling: &Telling,
        now: Timestamp,
    ) -> Result<Purchase> {
        let mut purchase = purchase(account, sale);
        for act in acts {
            let told = account.perform(sale, act, now)?;
            self.tell(account, sale, &told, telling, &mut purchase.events);
        }
        Ok(purchase)
    }

    /// Makes the events about a sale as it stands now, and has them delivered.
    fn tell(
        &self,
        account: &mut Account,
        sale: usize,
        told: &[Told],
        telling: &Telling,
        made: &mut Vec<Made>,
    ) {
        for (kind, about) in told {
            let fate = self.faults.fate(kind, &account.sales[sale].checkout.id);
            if fate == Fate::Lost {
                continue;
            }
            for at in account.tell(sale, (kind, *about), telling.shape, clock::now()) {
                let event = &account.events[at];
                made.push(Made { id: event.id.clone(), kind: event.kind() });
                let times = if fate == Fate::Undelivered { 0 } else { telling.times };
                (0..times).for_each(|_| self.queue.push(at));
            }
        }
    }

    pub fn event_body(&self, id: &str) -> Option<Vec<u8>> {
        let event = lock(&self.account).event(id).cloned();
        event.map(|event| event.body())
    }
}

/// Without events yet.
fn purchase(account: &Account, sale: usize) -> Purchase {
    let checkout = &account.sales[sale].checkout;
    let payment_intent = checkout.named_payment_intent();
    Purchase { session: checkout.id.clone(), id: None, payment_intent, events: Vec::new() }
}

/// So many seconds before now.
fn ago(seconds: i64) -> Timestamp {
    clock::from_unix(clock::now().as_second().saturating_sub(seconds)).unwrap_or_else(clock::now)
}

fn no_session(session: &str) -> Error {
    Error::Usage(format!(
        "there is no session {} that this could happen to; a trigger makes one",
        text::clean(session)
    ))
}

/// How news travels.
struct Telling {
    shape: Shape,
    times: usize,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
