//! Refunds, disputes, reviews and early fraud warnings.

use std::sync::Mutex;

use super::query::{Query, Reply, expand};
use crate::refusals;
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::{Account, Found};
use crate::world::sale::Kind;

/// What of a kind followed, newest first: everything, or what followed one payment.
pub fn follow_ups(account: &Mutex<Account>, query: &Query, kind: Kind) -> Reply {
    let paging =
        ["created", "limit", "starting_after", "ending_before", "payment_intent", "charge"];
    query.knows(if kind == Kind::Review { &paging[..4] } else { &paging })?;
    let paths = query.expansions("list of follow_up")?;
    let created = query.created()?;
    let account = lock(account);
    let payments = [query.one("payment_intent"), query.one("charge")];
    let mut sales = payments.iter().flatten().map(|id| match account.find(id) {
        Some(Found::PaymentIntent(at) | Found::Charge(at)) => Some(at),
        _ => None,
    });
    let all: Vec<(usize, usize)> = match (sales.next(), sales.next()) {
        (None, _) => account.follow_ups.iter().rev().copied().collect(),
        (Some(None), _) => Vec::new(),
        (Some(one), Some(other)) if one != other => Vec::new(),
        (Some(Some(sale)), _) => {
            (0..account.sales[sale].follow_ups.len()).rev().map(|at| (sale, at)).collect()
        }
    };
    let place = |id: &str| {
        account.follow_up(kind, id).and_then(|found| all.iter().position(|row| *row == found))
    };
    let wanted = |at: usize| {
        let (sale, at) = all[at];
        let follow_up = &account.sales[sale].follow_ups[at];
        follow_up.kind == kind && created(follow_up.created)
    };
    let (rows, has_more) = query.page(all.len(), place, wanted)?;
    let rows = rows.into_iter().map(|at| {
        let (sale, at) = (&account.sales[all[at].0], all[at].1);
        let mut object = sale.follow_up(at);
        paths.iter().for_each(|path| expand(&mut object, &path[1..], sale));
        object
    });
    Ok(list(&format!("/v1/{}", kind.words().1), rows.collect(), has_more))
}

/// `GET /v1/refunds/ID`, and so for each kind; 404 for an id that is not there.
pub fn follow_up(account: &Mutex<Account>, query: &Query, kind: Kind, id: &str) -> Reply {
    query.knows(&[])?;
    let (sale, at) = {
        let account = lock(account);
        let (sale, at) =
            account.follow_up(kind, id).ok_or_else(|| refusals::missing(kind.words().0, id))?;
        (account.sales[sale].clone(), at)
    };
    query.expanded(sale.follow_up(at), "follow_up", &sale)
}
