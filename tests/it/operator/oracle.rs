//! What must be true after every line, whoever typed it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::daemon::{BY_STRIPE, STRIPE};
use super::harness::all;
use super::looks::{
    FACTS_SQL, FULFILLMENT_CELLS, FULFILLMENTS_SQL, HISTORY_SQL_SINCE, LINES_SQL, NEVER, NOTHING,
    ORDER_CELLS, ORDERS_SQL, PACKED_SQL, RECEIVED_SQL, SEPARATOR,
};

/// A line of the history: id, order, actor, what, old, new.
pub(super) type Told = (i64, i64, String, String, Option<String>, Option<String>);

#[derive(Clone, PartialEq, Default)]
pub(super) struct State {
    facts: BTreeSet<String>,
    received: BTreeSet<String>,
    orders: BTreeMap<i64, (String, bool)>,
    fulfillments: BTreeMap<i64, (String, String, i64)>,
    packed: BTreeMap<(i64, String), i64>,
    lines: BTreeMap<String, (i64, i64, i64)>,
    /// Why lines are canceled.
    reasons: BTreeMap<(i64, String), String>,
    /// Refunds and the like, as the history names them.
    money: BTreeMap<(i64, String), String>,
    events: BTreeMap<String, String>,
    /// What was dismissed of an order: the order, the reason with what it is about, the facts.
    dismissed: BTreeSet<(i64, String, String)>,
    history: (i64, i64),
    /// All of it, because nothing of it may change.
    past: String,
    outbox: Vec<String>,
    actor: String,
}

impl State {
    pub(super) fn of(c: &Connection) -> State {
        State {
            facts: all(c, FACTS_SQL, |r| r.get(0)).into_iter().collect(),
            received: all(c, RECEIVED_SQL, |r| r.get(0)).into_iter().collect(),
            orders: all(c, ORDERS_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?))))
                .into_iter()
                .collect(),
            fulfillments: all(c, FULFILLMENTS_SQL, |r| {
                Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?)))
            })
            .into_iter()
            .collect(),
            packed: all(c, PACKED_SQL, |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)))
                .into_iter()
                .collect(),
            lines: all(c, LINES_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?))))
                .into_iter()
                .collect(),
            reasons: all(
                c,
                "SELECT order_id, 'line ' || position || ' cancel_reason', cancel_reason \
                 FROM line_items WHERE cancel_reason IS NOT NULL",
                |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)),
            )
            .into_iter()
            .collect(),
            money: all(
                c,
                "SELECT o.id, 'refund ' || m.id, m.status || ' ' || m.amount FROM refunds m
                   JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'dispute ' || m.id, m.status FROM disputes m
                 JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'review ' || m.id, CASE WHEN m.open THEN 'open' ELSE
                 coalesce(m.closed_reason, 'closed') END
                   FROM reviews m JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'fraud warning ' || m.id,
                 CASE WHEN m.actionable THEN 'actionable' ELSE 'settled' END
                   FROM fraud_warnings m JOIN orders o USING(payment_intent_id)",
                |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)),
            )
            .into_iter()
            .collect(),
            events: all(c, "SELECT id, state FROM events", |r| Ok((r.get(0)?, r.get(1)?)))
                .into_iter()
                .collect(),
            dismissed: all(
                c,
                "SELECT order_id, 'attention ' || reason || ' ' || subject, since || ' ' || what \
                 FROM dismissals WHERE order_id IS NOT NULL",
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
            )
            .into_iter()
            .collect(),
            history: all(
                c,
                "SELECT count(*), coalesce(max(id), 0) \
                             FROM order_history",
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .swap_remove(0),
            past: all(
                c,
                "SELECT coalesce(group_concat(quote(id) || quote(order_id)
                            || quote(actor) || quote(what) || quote(old)
                || quote(new) || quote(at), ''), '') FROM (SELECT * FROM order_history
                ORDER BY id)",
                |r| r.get(0),
            )
            .swap_remove(0),
            outbox: all(
                c,
                "SELECT key || ' ' || topic || ' ' || coalesce(order_id, '') || ' '
                   || coalesce(fulfillment_id, '') || ' '
                   || coalesce(event_id, '') FROM outbox ORDER BY id",
                |r| r.get(0),
            ),
            actor: all(c, "SELECT name FROM actor", |r| r.get(0)).pop().unwrap_or_default(),
        }
    }

    /// What must never be and is.
    pub(super) fn untrue(&self, c: &Connection) -> Option<String> {
        NEVER.iter().find_map(|(what, sql)| {
            let found: Vec<String> = all(c, sql, |r| r.get_ref(0).map(|v| format!("{v:?}")));
            (!found.is_empty()).then(|| format!("{what}: {}", found.join(", ")))
        })
    }

    /// What cannot have become of an earlier state in one line.
    pub(super) fn wrong_since(&self, before: &State, c: &Connection, line: &str) -> Option<String> {
        let by_stripe = line.starts_with(BY_STRIPE);
        if !by_stripe && self.facts != before.facts {
            let (were, are) =
                (before.facts.difference(&self.facts), self.facts.difference(&before.facts));
            let changes: Vec<_> = [were.collect::<Vec<_>>(), are.collect()].concat();
            return Some(format!("what Stripe said is changed: {changes:#?}"));
        }
        if let Some(event) = before.received.difference(&self.received).next() {
            return Some(format!("an event is not as it was received: {event}"));
        }
        if let Some(gone) = [
            before
                .orders
                .keys()
                .find(|id| !self.orders.contains_key(id))
                .map(|id| format!("order {id}")),
            before
                .lines
                .keys()
                .find(|id| !self.lines.contains_key(*id))
                .map(|id| format!("line {id}")),
            before
                .fulfillments
                .keys()
                .find(|id| !self.fulfillments.contains_key(id))
                .map(|id| format!("fulfillment {id}")),
            before
                .events
                .keys()
                .find(|id| !self.events.contains_key(*id))
                .map(|id| format!("event {id}")),
            before.money.keys().find(|id| !self.money.contains_key(id)).map(|(_, id)| id.clone()),
        ]
        .into_iter()
        .flatten()
        .next()
        {
            return Some(format!("{gone} is gone"));
        }
        for (id, (cells, _)) in &before.orders {
            let (was, is) =
                (cells.split(SEPARATOR).nth(4), self.orders[id].0.split(SEPARATOR).nth(4));
            if was != Some(NOTHING) && is == Some(NOTHING) {
                return Some(format!("order {id} is no longer canceled"));
            }
            let (was, is) =
                (cells.split(SEPARATOR).next(), self.orders[id].0.split(SEPARATOR).next());
            if matches!(was, Some("paid" | "no_payment_required")) && is != was {
                return Some(format!("order {id} is no longer paid"));
            }
        }
        let author = if by_stripe { STRIPE } else { &before.actor };
        self.wrong_fulfillments(before).or_else(|| self.wrong_history(before, c, author, line))
    }

    fn wrong_fulfillments(&self, before: &State) -> Option<String> {
        for (id, (identity, cells, order)) in &self.fulfillments {
            let is = cells.split(SEPARATOR).next().unwrap_or_default();
            let Some((identity_was, cells_were, _)) = before.fulfillments.get(id) else {
                if is != "pending" && is != "canceled" {
                    return Some(format!("fulfillment {id} began as {is}"));
                }
                continue;
            };
            if identity != identity_was {
                return Some(format!("fulfillment {id} is another: {identity_was}, {identity}"));
            }
            let was = cells_were.split(SEPARATOR).next().unwrap_or_default();
            let allowed = was == is
                || (was == "pending" && ["shipped", "delivered", "canceled"].contains(&is))
                || (was == "shipped" && ["delivered", "canceled"].contains(&is));
            if !allowed {
                return Some(format!("fulfillment {id} went from {was} to {is}"));
            }
            let blocked = before.orders.get(order).is_some_and(|(_, blocked)| *blocked);
            if was == "pending"
                && (is == "shipped" || is == "delivered")
                && blocked
                && before.actor != "operator-override"
            {
                return Some(format!("fulfillment {id} was sent, and its order was blocked"));
            }
            for (n, date) in ["shipped_at", "delivered_at", "canceled_at"].into_iter().enumerate() {
                let at =
                    |cells: &str| cells.split(SEPARATOR).nth(5 + n).is_none_or(|t| t == NOTHING);
                if at(cells) && !at(cells_were) {
                    return Some(format!("fulfillment {id} lost its {date}"));
                }
            }
            let of = |s: &State| {
                s.packed
                    .range((*id, String::new())..(*id + 1, String::new()))
                    .map(|(k, q)| (k.clone(), *q))
                    .collect::<Vec<_>>()
            };
            if was != "pending" && of(before) != of(self) {
                return Some(format!("what was in fulfillment {id} is changed"));
            }
        }
        None
    }

    /// The history and the outbox say exactly what happened.
    fn wrong_history(
        &self,
        before: &State,
        c: &Connection,
        author: &str,
        line: &str,
    ) -> Option<String> {
        let told: Vec<Told> =
            all(c, &format!("{HISTORY_SQL_SINCE} {} ORDER BY id", before.history.1), |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
            });
        if self.history.0 != before.history.0 + told.len() as i64
            || self.history.1 != self.history.0
        {
            return Some(format!(
                "the history did not grow at its end, by ones: {:?} {:?}",
                before.history, self.history
            ));
        }
        if !self.past.starts_with(&before.past) {
            return Some("what the history said is changed".into());
        }
        if let Some(order) = self.orders.keys().find(|id| {
            !before.orders.contains_key(id) && !told.iter().any(|t| t.1 == **id && t.3 == "order")
        }) {
            return Some(format!("the history does not tell that order {order} came"));
        }
        // One line may change a cell there and back.
        let named: BTreeSet<i64> = told.iter().map(|t| t.1).collect();
        let cells_were = before.cells(self, &named);
        let cells_are = self.cells(before, &named);
        let mut now = cells_were.clone();
        let (mut expected, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        let mut dismissed = before.dismissed.clone();
        for (_, order, actor, what, old, new) in &told {
            if actor != author {
                return Some(format!("the history names {actor}, and it was {author}"));
            }
            let key = (*order, what.clone());
            // A remark.
            if line.contains("INTO order_history") {
                continue;
            }
            if what == "order" && !before.orders.contains_key(order) {
                continue;
            }
            if what.starts_with("attention ") {
                match (old, new) {
                    (None, Some(facts)) => dismissed.insert((*order, what.clone(), facts.clone())),
                    (facts, _) => {
                        dismissed.remove(&(*order, what.clone(), facts.clone().unwrap_or_default()))
                    }
                };
                continue;
            }
            if old != now.get(&key).unwrap_or(&None) || old == new {
                return Some(format!(
                    "the history says {what} went from {old:?} to {new:?}, and it was {:?}",
                    now.get(&key)
                ));
            }
            match (&what.split(' ').collect::<Vec<_>>()[..], new.as_deref()) {
                (["fulfillment", id, "status"], Some(status))
                    if old.is_some() && self.has_lines(id) =>
                {
                    expected.insert(format!(
                        "fulfillment:{id}:{status} fulfillment.{status} {order} {id} "
                    ));
                }
                (["payment_status"], Some("paid" | "no_payment_required")) => {
                    expected.insert(format!("order:{order}:paid order.paid {order}  "));
                }
                (["line", _, "canceled_quantity"], Some(new)) => {
                    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
                    if number(new) > number(old.as_deref().unwrap_or_default()) {
                        expected.insert(format!(
                            "order:{order}:canceled:part order.canceled {order}  "
                        ));
                    }
                }
                (["fulfillment", id, column], _)
                    if column.starts_with("tracking_") && self.is_on_its_way(before, id) =>
                {
                    let news =
                        format!("fulfillment:{id}:updated fulfillment.updated {order} {id} ");
                    // A link that follows its number is no notification of its own.
                    if *column == "tracking_url" {
                        allowed.insert(news);
                    } else {
                        expected.insert(news);
                    };
                }
                ([column], _)
                    if ["email", "name", "business_name", "phone"].contains(column)
                        || column.starts_with("shipping_") =>
                {
                    for (id, (identity, ..)) in &self.fulfillments {
                        if identity.starts_with(&format!("{order} 1 "))
                            && self.is_on_its_way(before, &id.to_string())
                        {
                            expected.insert(format!(
                                "fulfillment:{id}:updated fulfillment.updated {order} {id} "
                            ));
                        }
                    }
                }
                (["canceled_at"], Some(_)) if old.is_none() => {
                    expected.insert(format!("order:{order}:canceled order.canceled {order}  "));
                }
                (["refund", id], Some(new)) if new.starts_with("succeeded") => {
                    expected.insert(format!("refund:{id} order.refunded {order}  "));
                }
                (["refund", id], Some(new)) if new.starts_with("failed") => {
                    expected.insert(format!("refund_failed:{id} order.refund_failed {order}  "));
                }
                (["dispute", id], Some(_)) if old.is_none() => {
                    expected.insert(format!("dispute:{id} order.disputed {order}  "));
                }
                _ => {}
            }
            now.insert(key, new.clone());
        }
        if dismissed != self.dismissed {
            return Some(format!(
                "dismissed is {:?}, and by the history {dismissed:?}",
                self.dismissed
            ));
        }
        for key in now.keys().chain(cells_are.keys()) {
            let (is, said) = (cells_are.get(key).unwrap_or(&None), now.get(key).unwrap_or(&None));
            // What a new order begins with is what was bought, and is no history.
            let bought =
                author.starts_with("stripe:") && said.is_none() && key.1.contains(" quantity of ");
            if is != said && !bought {
                return Some(format!("{key:?} is {is:?}, and by the history it is {said:?}"));
            }
        }
        for (id, state) in &self.events {
            if state == "failed" && before.events.get(id) != Some(state) {
                expected.insert(format!("event:{id}:failed event.failed   {id}"));
            }
        }
        let Some(news) = self.outbox.strip_prefix(&before.outbox[..]) else {
            return Some("the outbox did not grow at its end".into());
        };
        // What may be sent again carries the moment: two statements of the same moment are one
        // notification.
        let told: BTreeSet<String> =
            before.outbox.iter().map(|news| without_moment(news)).collect();
        let news: BTreeSet<String> = news.iter().map(|news| without_moment(news)).collect();
        let missing = expected.difference(&news).any(|news| !told.contains(news));
        let surplus = news.iter().any(|news| !expected.contains(news) && !allowed.contains(news));
        (missing || surplus).then(|| format!("the news is {news:?}, and should be {expected:?}"))
    }

    /// Shipped before this line and after it.
    fn is_on_its_way(&self, before: &State, fulfillment: &str) -> bool {
        let status = |state: &State| {
            let cells = fulfillment
                .parse()
                .ok()
                .and_then(|id: i64| state.fulfillments.get(&id).map(|f| f.1.clone()));
            cells.is_some_and(|cells| cells.split(SEPARATOR).next() == Some("shipped"))
        };
        status(before) && status(self)
    }

    fn has_lines(&self, fulfillment: &str) -> bool {
        fulfillment.parse().is_ok_and(|id| {
            self.packed.range((id, String::new())..(id + 1, String::new())).next().is_some()
        })
    }

    /// The cells of orders and fulfillments that are not the same in the other state, and of these
    /// orders all.
    fn cells(
        &self,
        other: &State,
        named: &BTreeSet<i64>,
    ) -> BTreeMap<(i64, String), Option<String>> {
        let mut cells = BTreeMap::new();
        let text = |cell: &str| (cell != NOTHING).then(|| cell.to_string());
        for (id, (mine, _)) in &self.orders {
            if other.orders.get(id).is_some_and(|(theirs, _)| theirs != mine || named.contains(id))
            {
                cells.extend(
                    ORDER_CELLS
                        .iter()
                        .zip(mine.split(SEPARATOR))
                        .map(|(name, cell)| ((*id, name.to_string()), text(cell))),
                );
            }
        }
        for (id, (_, mine, order)) in &self.fulfillments {
            if other
                .fulfillments
                .get(id)
                .is_none_or(|(_, theirs, _)| theirs != mine || named.contains(order))
            {
                let named = FULFILLMENT_CELLS.iter().zip(mine.split(SEPARATOR));
                cells.extend(named.map(|(name, cell)| {
                    ((*order, format!("fulfillment {id} {name}")), text(cell))
                }));
            }
        }
        for (id, (order, position, canceled)) in &self.lines {
            if other.lines.get(id).is_some_and(|line| line.2 != *canceled || named.contains(order))
            {
                cells.insert(
                    (*order, format!("line {position} canceled_quantity")),
                    Some(canceled.to_string()),
                );
            }
        }
        for (key, value) in self.money.iter().chain(&self.reasons) {
            if other.money.get(key).or(other.reasons.get(key)) != Some(value)
                || named.contains(&key.0)
            {
                cells.insert(key.clone(), Some(value.clone()));
            }
        }
        for ((id, line), quantity) in &self.packed {
            let order = self.fulfillments.get(id).map_or(0, |f| f.2);
            if other.packed.get(&(*id, line.clone())) != Some(quantity) || named.contains(&order) {
                cells.insert(
                    (order, format!("fulfillment {id} quantity of {line}")),
                    Some(quantity.to_string()),
                );
            }
        }
        cells
    }
}

/// A key without its time: of notifications that may be sent more than once.
fn without_moment(news: &str) -> String {
    let (key, rest) = news.split_once(' ').unwrap_or((news, ""));
    let bare = match key.char_indices().filter(|(_, c)| *c == ':').nth(2) {
        Some((at, _)) if key.starts_with("order:") => format!("{}:part", &key[..at]),
        Some((at, _)) => key[..at].into(),
        None => key.into(),
    };
    format!("{bare} {rest}")
}
