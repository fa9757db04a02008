//! Lists of which fulfilld reads no row: it checks whether its key may read them.

use std::collections::HashSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::query::{Query, Reply};
use crate::rendering::session::list;
use crate::sync::lock;
use crate::world::account::Account;
use crate::world::sale::Sale;

/// `GET /v1/balance`: the shop has been paid out.
pub fn balance(_: &Mutex<Account>, query: &Query, _: &str) -> Reply {
    query.knows(&[])?;
    Ok(json!({"object": "balance", "available": [], "livemode": false, "pending": []}))
}

/// A list of what a shop on Checkout has none of: `GET /v1/payouts`, and customers that nobody
/// kept.
pub fn nothing(path: &'static str, query: &Query) -> Reply {
    query.knows(&["created", "limit", "starting_after", "ending_before"])?;
    let (_, more) = query.page(0, |_| None, |_| true)?;
    Ok(list(path, Vec::new(), more))
}

/// One object of each sale that has one, newest first.
pub fn of_sales(
    path: &'static str,
    account: &Mutex<Account>,
    query: &Query,
    object: fn(&Sale) -> Option<Value>,
) -> Reply {
    query.knows(&["created", "limit", "starting_after", "ending_before"])?;
    let created = query.created()?;
    let sales = lock(account).sales.clone();
    let mut all: Vec<Value> = sales.iter().rev().filter_map(object).collect();
    let mut seen = HashSet::new();
    // Products, prices and ways of shipping are the same in many sales.
    all.retain(|one| seen.insert(one["id"].to_string()));
    let wanted = |at: usize| created(all[at]["created"].as_i64().unwrap_or_default());
    let (rows, more) =
        query.page(all.len(), |id| all.iter().position(|one| one["id"] == id), wanted)?;
    Ok(list(path, rows.into_iter().map(|at| all[at].clone()).collect(), more))
}
