//! Compares what Stripe lists with the file, and says what differs. It writes nothing.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::Owners;
use crate::clock::{self, Timestamp};
use crate::db::{self, Reader};
use crate::error::{Error, Result};
use crate::handlers;
use crate::inbox::Lookup;
use crate::stripe::{Listed, Stripe};
use crate::text;

/// How much of what was seen is looked at again: Stripe's lists may be late, a session is made up
/// to a day before it is completed, a bank may send a refund back for thirty days, and a dispute
/// lasts for months, as a warning of fraud does.
const OVERLAP_SESSIONS: Duration = Duration::from_secs(25 * 3600);
const OVERLAP_REVIEWS: Duration = Duration::from_secs(8 * 24 * 3600);
const OVERLAP_REFUNDS: Duration = Duration::from_secs(31 * 24 * 3600);
const OVERLAP_DISPUTES: Duration = Duration::from_secs(90 * 24 * 3600);

/// What is not settled is requested once in this time, so many at once at most; a session whose
/// money has not come after a month waits for its event alone.
const UNSETTLED_EVERY: Duration = Duration::from_secs(24 * 3600);
const UNSETTLED_MAX: usize = 500;
const UNSETTLED_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is made later than so much from now was made by no clock that counts.
pub const AHEAD_MAX: Duration = Duration::from_secs(300);

/// What is compared with Stripe, in the order in which one leads to the next: a refund is the
/// shop's when its payment is an order's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Session,
    Refund,
    Dispute,
    Review,
    FraudWarning,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Subject; 5] = [
        Subject::Session,
        Subject::Refund,
        Subject::Dispute,
        Subject::Review,
        Subject::FraudWarning,
    ];

    /// Stripe's word for many of them; `sweeps.name`.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Session => "sessions",
            Subject::Refund => "refunds",
            Subject::Dispute => "disputes",
            Subject::Review => "reviews",
            Subject::FraudWarning => "fraud_warnings",
        }
    }

    fn listed(self) -> Listed {
        match self {
            Subject::Session => Listed::Sessions,
            Subject::Refund => Listed::Refunds,
            Subject::Dispute => Listed::Disputes,
            Subject::Review => Listed::Reviews,
            Subject::FraudWarning => Listed::FraudWarnings,
        }
    }

    /// How much of what was seen is looked at again.
    pub fn overlap(self) -> Duration {
        match self {
            Subject::Session => OVERLAP_SESSIONS,
            Subject::Refund => OVERLAP_REFUNDS,
            Subject::Dispute | Subject::FraudWarning => OVERLAP_DISPUTES,
            Subject::Review => OVERLAP_REVIEWS,
        }
    }

    /// The look at one of them.
    pub fn lookup(self, id: &str, created: Option<Timestamp>) -> Lookup {
        let kind = match self {
            Subject::Session => "checkout.session.completed",
            Subject::Refund => "refund.updated",
            Subject::Dispute => "charge.dispute.updated",
            Subject::Review => "review.closed",
            Subject::FraudWarning => "radar.early_fraud_warning.updated",
        };
        Lookup { kind, object_id: id.into(), created }
    }

    /// What the file says of one, in the words of [`Subject::said`]; `None` when it is not there.
    fn here(self, c: &Connection, id: &str) -> Result<Option<Here>> {
        let sql = match self {
            Subject::Session => {
                "SELECT replace(payment_status, 'failed', 'unpaid') || ' ' || amount_total || ' ' || currency,
                   coalesce(payment_intent_id,
                     CASE WHEN amount_credited >= amount_total THEN invoice_id END),
                   EXISTS(SELECT 1 FROM line_items WHERE order_id = orders.id), 0 FROM orders
                 WHERE checkout_session_id = ?1"
            }
            Subject::Refund => {
                "SELECT status || ' ' || amount || ' ' || currency, NULL, 1, 0
                 FROM refunds WHERE id = ?1"
            }
            Subject::Dispute => {
                "SELECT status || ' ' || amount || ' ' || currency, NULL, 1, json_array_length(money_moves)
                 FROM disputes WHERE id = ?1"
            }
            Subject::Review => {
                "SELECT CASE open WHEN 1 THEN 'open' ELSE 'closed ' || coalesce(closed_reason, 'none') END, NULL, 1, 0
                 FROM reviews WHERE id = ?1"
            }
            Subject::FraudWarning => {
                "SELECT CASE actionable WHEN 1 THEN 'actionable' ELSE 'not actionable' END, NULL, 1, 0
                 FROM fraud_warnings WHERE id = ?1"
            }
        };
        let row = |row: &rusqlite::Row| {
            Ok(Here {
                state: row.get(0)?,
                payment: row.get(1)?,
                has_lines: row.get(2)?,
                moves: row.get::<_, i64>(3)? as usize,
            })
        };
        c.prepare_cached(sql)
            .and_then(|mut q| q.query_row([id], row).optional())
            .map_err(db::translate)
    }

    /// What Stripe says of one: its status, its amount in minor units, its currency.
    fn said(self, value: &Value) -> Said {
        let word = |name: &str| match &value[name] {
            Value::String(word) => text::clean(word).to_lowercase(),
            Value::Null => "none".into(),
            other => other.to_string(),
        };
        let state = match self {
            Subject::Session => {
                [word("payment_status"), word("amount_total"), word("currency")].join(" ")
            }
            Subject::Refund | Subject::Dispute => {
                [word("status"), word("amount"), word("currency")].join(" ")
            }
            Subject::Review if value["open"] == true => "open".into(),
            Subject::Review => ["closed".into(), word("closed_reason")].join(" "),
            Subject::FraudWarning if value["actionable"] == true => "actionable".into(),
            Subject::FraudWarning => "not actionable".into(),
        };
        let id = |name: &str| value[name].as_str().map(text::clean);
        let is_paid = value["payment_status"] == "paid"
            && value["amount_total"].as_i64().is_some_and(|n| n > 0);
        let payment = match self {
            Subject::Session if value["payment_intent"].is_string() => {
                Payment::By(id("payment_intent").unwrap_or_default())
            }
            // A subscription's session names its invoice; which payment paid it is for the handler
            // to find.
            Subject::Session if is_paid && value["invoice"].is_string() => {
                Payment::OfInvoice(id("invoice").unwrap_or_default())
            }
            _ => Payment::None,
        };
        let moves = if self == Subject::Dispute { handlers::times_moved(value) } else { 0 };
        Said { state, payment, moves }
    }
}

/// What the file has of an object.
struct Here {
    state: String,
    payment: Option<String>,
    has_lines: bool,
    /// How often a dispute's money moved.
    moves: usize,
}

/// What Stripe says of an object, as far as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    state: String,
    payment: Payment,
    moves: usize,
}

/// Which payment an order must name, so that refunds, disputes and reviews find it.
#[derive(Debug, Clone, PartialEq)]
enum Payment {
    None,
    By(String),
    /// One or another, that paid this invoice.
    OfInvoice(String),
}

impl Said {
    /// Both in words, the file's first, where they differ.
    fn differs_from(&self, here: &Here) -> Option<(String, String)> {
        let (mut ours, mut stripes) = (vec![here.state.as_str()], vec![self.state.as_str()]);
        match (&self.payment, &here.payment) {
            (Payment::By(one), Some(other)) if one != other => {
                ours.push(other);
                stripes.push(one);
            }
            (Payment::By(payment) | Payment::OfInvoice(payment), None) => {
                ours.push("no payment");
                stripes.push(payment);
            }
            _ => {}
        }
        if !here.has_lines {
            ours.push("no lines");
            stripes.push("lines");
        }
        let moves = [here.moves, self.moves].map(|n| format!("moved {n} times"));
        if moves[0] != moves[1] {
            ours.push(&moves[0]);
            stripes.push(&moves[1]);
        }
        (ours != stripes).then(|| (ours.join(" "), stripes.join(" ")))
    }
}

/// What Stripe has and the file has not, or has otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What kind of object it is.
    pub subject: Subject,
    /// Stripe's id.
    pub id: String,
    /// `None` when it is missing.
    pub here: Option<String>,
    /// Its state at Stripe, for people.
    pub stripe: String,
    said: Said,
    /// What repairs it.
    pub lookup: Lookup,
}

impl Finding {
    /// True once the file says what Stripe said.
    pub fn is_repaired(&self, c: &Connection) -> Result<bool> {
        Ok(self
            .subject
            .here(c, &self.id)?
            .is_some_and(|here| self.said.differs_from(&here).is_none()))
    }
}

/// How many of the shop's objects Stripe listed, how many of them are here as they should be, how
/// many rows nobody could read, and the newest one's making.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects that Stripe listed.
    pub stripe: usize,
    /// Of these, how many the file has as Stripe does.
    pub here: usize,
    /// Rows that could not be read.
    pub unreadable: usize,
    /// When the newest was made; `None` for an empty list.
    pub newest: Option<Timestamp>,
}

/// Goes through what Stripe lists of a subject since then, and hands over what differs, a page at a
/// time. `owners` says of what is not here whether it is the shop's.
pub fn compare(
    stripe: &Stripe,
    reader: &Reader,
    subject: Subject,
    since: Timestamp,
    owners: &mut Owners,
    mut found: impl FnMut(Vec<Finding>) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    let latest = stripe.skew().now() + AHEAD_MAX;
    tally.unreadable = stripe.list(subject.listed(), since, |page| {
        let mut findings = Vec::new();
        for value in page {
            let created = value["created"].as_i64().and_then(clock::from_unix);
            tally.newest = tally.newest.max(created.filter(|created| *created <= latest));
            let id = value["id"].as_str().unwrap_or_default();
            // A list that grows while it is read shows a row twice.
            if !seen.insert(id.to_string()) {
                continue;
            }
            let here = reader.look(|c| subject.here(c, id))?;
            let is_the_shops = match subject {
                Subject::Session => {
                    value["mode"] != "setup" && stripe.not_the_shops(&value).is_none()
                }
                _ => here.is_some() || owners.own(stripe, reader, &value)?,
            };
            if !is_the_shops {
                continue;
            }
            tally.stripe += 1;
            let said = subject.said(&value);
            let (here, stripe) = match here.as_ref().map(|here| said.differs_from(here)) {
                Some(None) => {
                    tally.here += 1;
                    continue;
                }
                Some(Some((here, stripe))) => (Some(here), stripe),
                None => (None, said.state.clone()),
            };
            if subject == Subject::Session {
                owners.is_missing(&value);
            }
            let lookup = subject.lookup(id, created);
            findings.push(Finding { subject, id: id.into(), here, stripe, said, lookup });
        }
        found(findings)
    })?;
    Ok(tally)
}

/// What is not settled and has not been requested for a while, the longest waiting first. A time
/// later than now was written by a clock that was ahead.
pub fn unsettled(c: &Connection, now: Timestamp) -> Result<Vec<Lookup>> {
    let sql = "SELECT id, subject FROM (
           SELECT checkout_session_id AS id, 'sessions' AS subject, as_of FROM orders
           WHERE payment_status = 'unpaid' AND created_at > ?2 AND origin IS NULL
           UNION ALL SELECT checkout_session_id, 'sessions', as_of FROM orders
           WHERE amount_capturable > 0 AND payment_status = 'paid' AND created_at > ?2
           UNION ALL SELECT id, 'refunds', as_of FROM pending_refunds
           UNION ALL SELECT id, 'disputes', as_of FROM open_disputes
           UNION ALL SELECT id, 'reviews', as_of FROM reviews WHERE open = 1)
         WHERE as_of < ?1 OR as_of > ?3 ORDER BY as_of LIMIT ?4";
    let (day, month) = (now - UNSETTLED_EVERY, now - UNSETTLED_MAX_AGE);
    let params = [day, month, now + AHEAD_MAX].map(clock::text);
    let rows: Vec<(String, String)> = c
        .prepare_cached(sql)
        .and_then(|mut q| {
            let [day, month, ahead] = &params;
            let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?));
            q.query_map((day, month, ahead, UNSETTLED_MAX as i64), row)?.collect()
        })
        .map_err(db::translate)?;
    let of = |name: &str| Subject::ALL.into_iter().find(|subject| subject.name() == name);
    Ok(rows.iter().filter_map(|(id, name)| Some(of(name)?.lookup(id, Some(now)))).collect())
}

/// An order whose money is under way or held, which Stripe's list of sessions does not tell from
/// one whose money will never come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The order's session.
    pub id: String,
    /// How its money stands, for people.
    pub state: String,
    /// What requests it.
    pub lookup: Lookup,
}

impl UnderWay {
    /// All those begun since then.
    pub fn since(c: &Connection, since: Timestamp) -> Result<Vec<UnderWay>> {
        let sql = format!(
            "SELECT checkout_session_id, {MONEY} FROM orders
             WHERE (payment_status = 'unpaid' OR amount_capturable > 0 AND payment_status = 'paid')
               AND created_at >= ?1 AND origin IS NULL ORDER BY id"
        );
        let rows: Vec<(String, String)> = c
            .prepare(&sql)
            .and_then(|mut q| {
                q.query_map([clock::text(since)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(db::translate)?;
        let one = |(id, state): (String, String)| {
            let lookup = Subject::Session.lookup(&id, None);
            UnderWay { id, state, lookup }
        };
        Ok(rows.into_iter().map(one).collect())
    }

    /// How its money stands by now.
    pub fn now(&self, c: &Connection) -> Result<String> {
        let sql = format!("SELECT {MONEY} FROM orders WHERE checkout_session_id = ?1");
        c.query_row(&sql, [&self.id], |row| row.get(0)).map_err(db::translate)
    }
}

/// How an order's money stands, in words.
const MONEY: &str = "payment_status || ' ' || amount_total || ' ' || currency
    || iif(amount_capturable > 0, ', held ' || amount_capturable, '')
    || coalesce(', captured ' || amount_captured, '')
    || coalesce(', awaited ' || amount_awaited, '')";

/// A time that stands in the file; `Corrupt` when it is none.
pub fn time(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| {
        Error::Corrupt(format!(
            "{} in the file is not a time; put a backup in its place: fulfilld restore BACKUP",
            text::clean(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(payment: Payment) -> Said {
        Said { state: "paid 900 eur".into(), payment, moves: 0 }
    }

    fn here(payment: Option<&str>, has_lines: bool) -> Here {
        Here {
            state: "paid 900 eur".into(),
            payment: payment.map(String::from),
            has_lines,
            moves: 0,
        }
    }

    #[test]
    fn a_payment_and_lines_that_are_missing_are_differences() {
        let differs = |said: Said, here: Here| {
            said.differs_from(&here).map(|(ours, stripes)| format!("{ours} / {stripes}"))
        };
        let by = || said(Payment::By("pi_1".into()));
        assert_eq!(differs(by(), here(Some("pi_1"), true)), None);
        assert_eq!(
            differs(by(), here(Some("pi_2"), true)).unwrap(),
            "paid 900 eur pi_2 / paid 900 eur pi_1"
        );
        assert_eq!(
            differs(by(), here(None, false)).unwrap(),
            "paid 900 eur no payment no lines / paid 900 eur pi_1 lines"
        );
        let invoice = || said(Payment::OfInvoice("in_1".into()));
        assert_eq!(
            differs(invoice(), here(Some("pi_9"), true)),
            None,
            "any payment of the invoice's will do"
        );
        assert_eq!(
            differs(invoice(), here(None, true)).unwrap(),
            "paid 900 eur no payment / paid 900 eur in_1"
        );
        assert_eq!(differs(said(Payment::None), here(Some("pi_1"), true)), None);
    }

    #[test]
    fn a_free_first_month_needs_no_payment() {
        let session = json!({"payment_status": "paid", "amount_total": 0, "currency": "eur",
            "payment_intent": null, "invoice": "in_1"});
        assert_eq!(Subject::Session.said(&session).payment, Payment::None);
        let session = json!({"payment_status": "paid", "amount_total": 900, "currency": "eur",
            "payment_intent": null, "invoice": "in_1"});
        assert_eq!(Subject::Session.said(&session).payment, Payment::OfInvoice("in_1".into()));
    }
}
