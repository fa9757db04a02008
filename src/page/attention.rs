//! Attention: each matter that needs a person, with its button or the link to Stripe's Dashboard.

use maud::{Markup, html};
use rusqlite::Connection;

use super::change::{self, Outcome};
use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT, hidden};
use super::{Page, Reply};
use crate::db;
use crate::error::{Error, Result};
use crate::text;
use crate::verbs::wording;

/// One row of `attention`.
struct Matter {
    reason: String,
    order: Option<i64>,
    event: Option<String>,
    since: String,
    what: String,
    next: String,
    subject: Option<String>,
    payment: Option<String>,
    /// Where the order's history ends.
    seen: i64,
}

const MATTERS: &str =
    "SELECT a.reason, a.order_id, a.event_id, coalesce(a.since, ''), a.what, coalesce(a.next, ''),
      CAST(a.subject AS TEXT), o.payment_intent_id,
      (SELECT coalesce(max(h.id), 0) FROM order_history h WHERE h.order_id = a.order_id)
    FROM attention a LEFT JOIN orders o ON o.id = a.order_id ORDER BY a.since";

/// What is dealt with by a cancellation, and the reason of it.
const CANCELED: &[(&str, &str)] = &[
    ("authorization_ended", "declined"),
    ("refunded_not_canceled", "customer"),
    ("dispute_lost", "fraud"),
];

impl Page {
    /// `GET attention`.
    pub fn attention(&self, person: &Person) -> Reply {
        let (matters, live) = self.read(|c| Ok((matters(c)?, is_live(c)?)))?;
        let token = self.guard.token(person);
        let title = match matters.len() {
            0 => "Nothing needs you".into(),
            1 => "1 matter needs somebody".into(),
            n => format!("{n} matters need somebody"),
        };
        let main = html! {
            @for matter in &matters { div.card {
                h2 { (matter.reason.replace('_', " "))
                    @if let Some(order) = matter.order {
                        " · " a href={ (ROOT) "order/" (order) } { "order " (order) }
                    }
                }
                p { (matter.what)
                    @if !matter.since.is_empty() {
                        " " span.soft { "since " (change::minute(&matter.since)) " UTC" }
                    }
                }
                div.row { (buttons(matter, &token, live)) }
            } }
        };
        Ok(layout::page(person, Some(Part::Attention), &title, main))
    }

    /// `POST attention/dismiss` and `POST attention/again`: what is not about an order.
    pub fn deal_with(&self, person: &Person, action: &str, form: &Form) -> Reply {
        let (subject, reason) = (form.text("subject").to_string(), form.text("reason").to_string());
        let sql = match action {
            "dismiss" => "INSERT INTO dismiss VALUES(?1, ?2)",
            "again" => {
                "UPDATE events SET state = 'pending' WHERE id = ?1 AND state = 'failed' AND ?2 <> ''"
            }
            _ => return Err(Error::Permanent("there is no such form".into())),
        };
        let done = self.change(person, None, move |c| {
            c.execute(sql, (subject, reason)).map_err(db::translate)
        })?;
        match done {
            Outcome::Done(0) if action == "again" => {
                Err(Error::Permanent("the event is no longer parked; somebody was quicker".into()))
            }
            _ => Ok(layout::see_other("attention".into())),
        }
    }
}

fn matters(c: &Connection) -> Result<Vec<Matter>> {
    let clean = |text: String| text::clean(&text);
    let row = |row: &rusqlite::Row| {
        Ok(Matter {
            reason: row.get(0)?,
            order: row.get(1)?,
            event: row.get(2)?,
            since: row.get(3)?,
            what: row.get(4).map(clean)?,
            next: row.get(5).map(clean)?,
            subject: row.get(6)?,
            payment: row.get(7)?,
            seen: row.get(8)?,
        })
    };
    c.prepare_cached(MATTERS)
        .and_then(|mut query| query.query_map([], row)?.collect())
        .map_err(db::translate)
}

fn is_live(c: &Connection) -> Result<bool> {
    c.query_row("SELECT livemode FROM shop", [], |row| row.get(0)).map_err(db::translate)
}

/// The page of Stripe's Dashboard that a matter is about, by the kind of its subject.
fn dashboard(matter: &Matter, live: bool) -> Option<String> {
    let is_id = |id: &&str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let subject = matter.subject.as_deref().filter(is_id).unwrap_or_default();
    let kinds =
        [("dp_", "disputes"), ("du_", "disputes"), ("evt_", "events"), ("prv_", "radar/reviews")];
    let kind = kinds.iter().find(|(prefix, _)| subject.starts_with(prefix));
    let (path, id) = match (kind, matter.payment.as_deref().filter(is_id)) {
        (Some((_, path)), _) => (*path, subject),
        (None, Some(payment)) => ("payments", payment),
        (None, None) => return None,
    };
    Some(format!("https://dashboard.stripe.com/{}{path}/{id}", if live { "" } else { "test/" }))
}

/// What can be done about it here, and the line to type where it cannot.
fn buttons(matter: &Matter, token: &str, live: bool) -> Markup {
    let reason = matter.reason.as_str();
    let seen = matter.seen.to_string();
    let cancel = CANCELED.iter().find(|(known, _)| *known == reason).map(|(_, why)| *why);
    let of_order = |action: &str, fields: &[(&str, &str)], words: &str| {
        html! {
            form method="post" action={ (ROOT) "order/" (matter.order.unwrap_or_default()) "/" (action) } {
                (hidden(&[("token", token), ("seen", &seen), ("from", "attention")])) (hidden(fields))
                button { (words) }
            }
        }
    };
    let link = dashboard(matter, live);
    let dealt_with = html! {
        @match (matter.order, &matter.subject) {
            (Some(_), _) => (of_order("dismiss", &[("reason", reason)], "Dismiss")),
            (None, Some(subject)) => form method="post" action={ (ROOT) "attention/dismiss" } {
                (hidden(&[("token", token), ("subject", subject), ("reason", reason)]))
                button { "Dismiss" }
            },
            (None, None) => {},
        }
    };
    html! {
        @if let Some(order) = matter.order {
            @match reason {
                "unsent" => a.button href={ (ROOT) "pack?q=" (order) } { "Pack it" },
                "no_address" => a.button href={ (ROOT) "order/" (order) "#address" } { "Add the address" },
                "held" => (of_order("release", &[], "Release it")),
                "fraud_warning" => (of_order("hold", &[("reason", "fraud warning")], "Hold it")),
                _ => {},
            }
            @if let Some(why) = cancel { (of_order("cancel", &[("reason", why)], "Cancel it")) }
        }
        @if let (true, Some(event)) = (reason == "event_failed", &matter.event) {
            form method="post" action={ (ROOT) "attention/again" } {
                (hidden(&[("token", token), ("subject", event), ("reason", reason)]))
                button { "Process it again" }
            }
        }
        @if let Some(link) = link {
            a.button href=(link) rel="noreferrer noopener" target="_blank" { "Stripe's Dashboard" }
        } @else if matter.order.is_none() && !matter.next.is_empty() {
            code { (wording::to_type(&matter.next, matter.order)) }
        }
        (dealt_with)
    }
}
