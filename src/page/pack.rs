//! Pack: what waits for a parcel, express first; one parcel with its carrier and number, then the
//! next.

use std::collections::BTreeSet;

use maud::{Markup, html};
use rusqlite::{Connection, OptionalExtension};

use super::change::{self, Outcome, Shown};
use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT, hidden, note};
use super::{Page, Reply};
use crate::db;
use crate::error::{Error, Result};
use crate::labels::{self, Choice};
use crate::text;
use crate::verbs::{self, search};

/// Parcels on one page of the queue.
const ON_A_PAGE: usize = 200;

/// Orders that a search finds and that do not wait, named at most.
const ALSO_FOUND: usize = 20;

/// A parcel that may go out now, as `to_ship` has it.
pub struct Waiting {
    /// The order's number.
    pub order: i64,
    /// The parcel's `fulfillments.id`.
    pub fulfillment: i64,
    /// `1042-1`.
    pub parcel: String,
    placed_at: String,
    items: String,
    name: String,
    address: String,
    option: Option<String>,
    caution: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    weight_g: Option<i64>,
    is_first: bool,
}

impl Page {
    /// The queue, of one order where it is named: first what is to go first, then the oldest.
    fn queue(&self, c: &Connection, order: Option<i64>) -> Result<Vec<Waiting>> {
        let of_order = if order.is_some() { "WHERE t.order_id = ?1" } else { "WHERE ?1 IS NULL" };
        let sql = format!(
            "SELECT t.order_id, t.fulfillment_id, t.parcel, t.placed_at, t.items, t.ship_to, t.shipping_option,
               t.caution, t.phone, t.email, t.weight_g, coalesce(o.shipping_name, o.name, o.email)
             FROM to_ship t JOIN orders o ON o.id = t.order_id {of_order}"
        );
        let waiting = |row: &rusqlite::Row| {
            let shown = |i: usize| {
                row.get::<_, Option<String>>(i).map(|value| value.map(|text| text::clean(&text)))
            };
            let option = shown(6)?;
            let (name, ship_to) = (shown(11)?.unwrap_or_default(), shown(5)?.unwrap_or_default());
            let address = ship_to.strip_prefix(&name).unwrap_or(&ship_to);
            Ok(Waiting {
                order: row.get(0)?,
                fulfillment: row.get(1)?,
                parcel: row.get(2)?,
                placed_at: row.get(3)?,
                items: shown(4)?.unwrap_or_default(),
                address: address.trim_start_matches(", ").into(),
                name,
                is_first: option.as_deref().is_some_and(|option| self.settings.goes_first(option)),
                option,
                caution: shown(7)?,
                phone: shown(8)?,
                email: shown(9)?,
                weight_g: row.get(10)?,
            })
        };
        let mut queue: Vec<Waiting> = c
            .prepare_cached(&sql)
            .and_then(|mut query| query.query_map([order], waiting)?.collect())
            .map_err(db::translate)?;
        queue.sort_by_key(|parcel| !parcel.is_first);
        Ok(queue)
    }

    /// `GET pack`: the queue, or what of it a search finds. A search that finds one parcel leads to
    /// it, so that a scanner can open it.
    pub fn pack(&self, person: &Person, query: &Form) -> Reply {
        let (wanted, done) = (query.text("q"), query.filled("done"));
        let (queue, also, done) = self.read(|c| {
            let mut queue = self.queue(c, None)?;
            let mut also = Vec::new();
            if !wanted.is_empty() {
                let found: BTreeSet<i64> = search::orders(c, wanted)?.into_iter().collect();
                queue.retain(|parcel| found.contains(&parcel.order) || parcel.parcel == wanted);
                let waiting: BTreeSet<i64> = queue.iter().map(|parcel| parcel.order).collect();
                also = found.difference(&waiting).copied().collect();
            }
            Ok((queue, also, done.map(|parcel| self.done(c, person, parcel)).transpose()?))
        })?;
        if let ([only], false, true) = (&queue[..], wanted.is_empty(), also.is_empty()) {
            return Ok(layout::see_other(format!("parcel/{}", only.parcel)));
        }
        let page = query.number("page").and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
        let pages = queue.len().div_ceil(ON_A_PAGE).max(1);
        let shown = queue.iter().skip((page - 1) * ON_A_PAGE).take(ON_A_PAGE);
        let title = match queue.len() {
            1 => "1 parcel to pack".into(),
            n => format!("{n} parcels to pack"),
        };
        let main = html! {
            @if let Some(done) = done { (done) }
            form.row method="get" action={ (ROOT) "pack" } role="search" {
                div.wide {
                    label for="q" { "Order, name, number or SKU" }
                    input #q name="q" type="search" value=(wanted) autocomplete="off" autofocus[wanted.is_empty()];
                }
                button { "Search" }
                @if !wanted.is_empty() { a.button href={ (ROOT) "pack" } { "All" } }
            }
            @if queue.is_empty() {
                p { "Nothing that waits " @if wanted.is_empty() { "now." } @else { "has that in it." } }
            }
            @if !also.is_empty() {
                p { "Found, and not waiting: "
                    @for order in also.iter().rev().take(ALSO_FOUND) {
                        a href={ (ROOT) "order/" (order) } { (order) } " "
                    } }
            }
            @if !queue.is_empty() {
                form.card method="post" action={ (ROOT) "slips" } {
                    (hidden(&[("token", &self.guard.token(person))]))
                    (paper_buttons(self.first_service))
                    ul.queue { @for parcel in shown { (row(parcel)) } }
                    (pager(page, pages, wanted))
                }
            }
        };
        Ok(layout::page(person, Some(Part::Pack), &title, main))
    }

    /// `GET parcel/1042-1`.
    pub fn parcel(&self, person: &Person, parcel: &str, query: &Form) -> Reply {
        let done = query.filled("done");
        let done = self.read(|c| done.map(|done| self.done(c, person, done)).transpose())?;
        self.parcel_page(200, person, parcel, &Form::default(), done.unwrap_or_default())
    }

    /// The page of one parcel with what was typed of it, below what is to be said first.
    fn parcel_page(
        &self,
        status: u16,
        person: &Person,
        parcel: &str,
        typed: &Form,
        said: Markup,
    ) -> Reply {
        let choice = choice(parcel)?;
        let (found, inside, seen, carriers, last, gone) = self.read(|c| {
            let queue = self.queue(c, Some(choice.order()))?;
            let found = queue.into_iter().find(|waiting| waiting.parcel == parcel);
            let gone = if found.is_none() { Some(why_gone(c, &choice)?) } else { None };
            let seen = change::version(c, choice.order())?;
            let inside = found.as_ref().map(|found| inside(c, found)).transpose()?;
            Ok((found, inside.unwrap_or_default(), seen, carriers(c)?, last_carrier(c)?, gone))
        })?;
        let Some(found) = found else {
            let main = html! {
                (said)
                (note("warn", &gone.unwrap_or_default()))
                div.row {
                    a.button href={ (ROOT) "order/" (choice.order()) } { "Order " (choice.order()) }
                    a.button href={ (ROOT) "pack" } { "What waits" }
                }
            };
            let status = if status == 200 { 404 } else { status };
            return Ok(layout::whole(status, Some(person), Some(Part::Pack), parcel, main));
        };
        let company = typed.filled("company").map(String::from).or(last).unwrap_or_default();
        let is_filled = !company.is_empty();
        let main = html! {
            (said)
            p.badges {
                @if let Some(option) = &found.option { span.badge.first[found.is_first] { (option) } }
                span.soft { "ordered " (found.placed_at)
                    @if let Some(weight) = found.weight_g { " · " (weight) " g" } }
            }
            div.columns {
                div {
                    div.card {
                        h2 { "In this parcel" }
                        ul { @for (quantity, item, sku) in &inside {
                            li { strong { (quantity) } " × " (item)
                                @if let Some(sku) = sku { " " span.soft { (sku) } } }
                        } }
                        @if let Some(caution) = &found.caution { p { span.caution { (caution) } } }
                    }
                    div.card {
                        h2 { "Ship to" }
                        address { strong { (found.name) } "\n" (found.address.replace(", ", "\n")) }
                        @for text in [&found.phone, &found.email].into_iter().flatten() { p.soft { (text) } }
                    }
                }
                form.card method="post" action={ (ROOT) "parcel/" (parcel) } {
                    h2 { "Ship it" }
                    (hidden(&[("token", &self.guard.token(person)), ("seen", &seen.to_string())]))
                    label for="company" { "Company" }
                    input #company name="company" list="carriers" value=(company) autocomplete="off"
                        autofocus[!is_filled];
                    datalist #carriers { @for carrier in &carriers { option value=(carrier) {} } }
                    label for="number" { "Tracking number" }
                    input #number name="number" value=(typed.text("number")) autocomplete="off"
                        autocapitalize="characters" spellcheck="false" autofocus[is_filled];
                    p.soft { "A scanner types it and sends Enter. Leave it empty for a parcel without a number." }
                    p { button.main { "Shipped, next" } }
                }
            }
            div.row {
                a.button href={ (ROOT) "order/" (found.order) } { "Everything about order " (found.order) }
                a.button href={ (ROOT) "pack" } { "All parcels" }
            }
        };
        Ok(layout::whole(status, Some(person), Some(Part::Pack), &format!("Parcel {parcel}"), main))
    }

    /// `POST parcel/1042-1`: it is shipped, and the next one is shown.
    pub fn ship(&self, person: &Person, parcel: &str, form: &Form) -> Reply {
        let choice = choice(parcel)?;
        let order = choice.order();
        let seen = form.number("seen").ok_or_else(|| change::lacking("version"))?;
        let (queue, waiting) = self.read(|c| {
            let queue = self.queue(c, None)?;
            let at = queue.iter().position(|waiting| waiting.parcel == parcel);
            Ok((queue, at))
        })?;
        let shown = Shown { order, seen };
        let Some(at) = waiting else {
            let said = html! { (note("bad", &format!("{parcel} is not shipped by you: it no longer waits."))) };
            return self.parcel_page(409, person, parcel, form, said);
        };
        let fulfillment = queue[at].fulfillment;
        let company = form.filled("company").map(String::from);
        let number = form.filled("number").map(String::from);
        let done = self.change(person, Some(shown), move |c| {
            let with = [company.as_deref(), number.as_deref(), None];
            verbs::insert(c, "ship_parcel", &with, &[fulfillment]).map_err(|error| match error {
                Error::Permanent(why) => Error::Permanent(
                    verbs::taken(c, "ship_parcel", &with, &[fulfillment]).unwrap_or(why),
                ),
                other => other,
            })
        });
        match done {
            Ok(Outcome::Done(())) => {
                let next = queue.get(at + 1).or(queue.first()).filter(|next| next.parcel != parcel);
                Ok(layout::see_other(match next {
                    Some(next) => format!("parcel/{}?done={parcel}", next.parcel),
                    None => format!("pack?done={parcel}"),
                }))
            }
            Ok(Outcome::Stale) => {
                let said = self.read(|c| change::since(c, shown))?;
                self.parcel_page(409, person, parcel, form, said)
            }
            Err(Error::Permanent(why)) => {
                let said =
                    note("bad", &format!("Not shipped: {}", change::refusal(&why, Some(order))));
                self.parcel_page(422, person, parcel, form, said)
            }
            Err(other) => Err(other),
        }
    }

    /// That a parcel was shipped just now, as the file has it, with the way back.
    fn done(&self, c: &Connection, person: &Person, parcel: &str) -> Result<Markup> {
        let choice = choice(parcel)?;
        let Some(sent) = sent(c, &choice)? else { return Ok(html! {}) };
        let seen = change::version(c, choice.order())?.to_string();
        Ok(html! {
            div.note.good role="status" {
                form.row method="post" action={ (ROOT) "order/" (choice.order()) "/undo" } {
                    p.wide { (parcel) " is shipped" @if !sent.is_empty() { ": " (sent) } }
                    (hidden(&[("token", &self.guard.token(person)), ("seen", &seen)]))
                    button { "Undo" }
                }
            }
        })
    }
}

/// `1042-1` alone names a parcel. `Permanent` for anything else.
fn choice(parcel: &str) -> Result<Choice> {
    let choice = Choice::parse(parcel).ok().filter(|choice| choice.parcel().is_some());
    choice.ok_or_else(|| Error::Permanent("there is no such parcel".into()))
}

/// What is in a parcel: quantity, name with options, SKU.
type Inside = Vec<(i64, String, Option<String>)>;

fn inside(c: &Connection, parcel: &Waiting) -> Result<Inside> {
    let sql = "SELECT fl.quantity, li.name || coalesce(' (' || li.options || ')', ''), li.sku
        FROM fulfillment_line_items fl JOIN line_items li ON li.id = fl.line_item_id
        WHERE fl.fulfillment_id = ?1 ORDER BY li.position";
    let row = |row: &rusqlite::Row| {
        let name: String = row.get(1)?;
        Ok((row.get(0)?, text::clean(&name), row.get(2)?))
    };
    c.prepare_cached(sql)
        .and_then(|mut query| query.query_map([parcel.fulfillment], row)?.collect())
        .map_err(db::translate)
}

/// The order's parcel of that number, whatever became of it.
const PARCEL: &str =
    "SELECT f.id, f.status, f.tracking_company, f.tracking_number, f.order_id FROM fulfillments f
    WHERE f.order_id = ?1 AND f.requires_shipping = 1 ORDER BY f.id LIMIT 1 OFFSET ?2 - 1";

/// Carrier and number of a parcel that was shipped; `None` where it was not.
fn sent(c: &Connection, choice: &Choice) -> Result<Option<String>> {
    let row = |row: &rusqlite::Row| {
        let (company, number): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        let words: Vec<String> = [company, number].into_iter().flatten().collect();
        Ok((row.get::<_, String>(1)?, words.join(" ")))
    };
    let found = c
        .query_row(PARCEL, (choice.order(), choice.parcel()), row)
        .optional()
        .map_err(db::translate)?;
    Ok(found.filter(|(status, _)| status == "shipped").map(|(_, words)| words))
}

/// Why a parcel does not wait, in a sentence that names who has it.
fn why_gone(c: &Connection, choice: &Choice) -> Result<String> {
    let parcel = format!("{}-{}", choice.order(), choice.parcel().unwrap_or_default());
    let row = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let found = c
        .query_row(PARCEL, (choice.order(), choice.parcel()), row)
        .optional()
        .map_err(db::translate)?;
    let Some((fulfillment, status)) = found else {
        return Ok(format!("There is no parcel {parcel}."));
    };
    if status == "pending" {
        let sql = "SELECT coalesce(blocked_by, 'not paid') FROM order_blocks WHERE order_id = ?1";
        let why: String =
            c.query_row(sql, [choice.order()], |row| row.get(0)).map_err(db::translate)?;
        return Ok(format!("{parcel} cannot be shipped now: its order is {why}."));
    }
    let sql = "SELECT actor, at FROM order_history WHERE order_id = ?1 AND what = 'fulfillment ' || ?2 || ' status'
        ORDER BY id DESC LIMIT 1";
    let by = c
        .query_row(sql, (choice.order(), fulfillment), |row| {
            Ok(format!(
                " by {} at {} UTC",
                row.get::<_, String>(0)?,
                change::minute(&row.get::<_, String>(1)?)
            ))
        })
        .optional()
        .map_err(db::translate)?
        .unwrap_or_default();
    let with = sent(c, choice)?
        .filter(|with| !with.is_empty())
        .map_or(String::new(), |with| format!(" with {with}"));
    Ok(format!("{parcel} was {status}{by}{with}."))
}

fn carriers(c: &Connection) -> Result<Vec<String>> {
    c.prepare_cached("SELECT company FROM carriers ORDER BY company")
        .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
        .map_err(db::translate)
}

/// Who carried the last parcel that somebody shipped.
fn last_carrier(c: &Connection) -> Result<Option<String>> {
    let sql = "SELECT tracking_company FROM (SELECT tracking_company, shipped_at, id FROM fulfillments
        ORDER BY id DESC LIMIT 500) WHERE tracking_company IS NOT NULL ORDER BY shipped_at DESC, id DESC LIMIT 1";
    c.query_row(sql, [], |row| row.get(0)).optional().map_err(db::translate)
}

/// A parcel in the queue.
fn row(parcel: &Waiting) -> Markup {
    html! {
        li {
            label.tick {
                input type="checkbox" name="parcel" value=(parcel.parcel) aria-label={ "Tick " (parcel.parcel) };
            }
            div.what {
                div {
                    a.whole href={ (ROOT) "parcel/" (parcel.parcel) } { (parcel.parcel) }
                    div.soft { (parcel.placed_at) }
                }
                div { div.name { (parcel.name) } div.soft { (parcel.address) } }
                div { (parcel.items) }
                div {
                    @if let Some(option) = &parcel.option { span.badge.first[parcel.is_first] { (option) } " " }
                    @if let Some(caution) = &parcel.caution { span.caution { (caution) } }
                }
            }
        }
    }
}

/// What can be printed or exported of the ticked parcels.
fn paper_buttons(first_service: Option<&str>) -> Markup {
    html! {
        div.row.bar {
            button { "Slips" }
            select name="for" aria-label="Label service" {
                @for name in labels::FORMATS.split(", ") {
                    option value=(name) selected[Some(name) == first_service] { (name) }
                }
            }
            button formaction={ (ROOT) "labels" } { "Label file" }
            p.soft { "For the ticked parcels, or for all if none is ticked." }
        }
    }
}

fn pager(page: usize, pages: usize, wanted: &str) -> Markup {
    let link = |n: usize| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("q", wanted)
            .append_pair("page", &n.to_string())
            .finish();
        format!("{ROOT}pack?{query}")
    };
    html! {
        @if pages > 1 {
            div.row {
                @if page > 1 { a.button href=(link(page - 1)) { "Previous" } }
                p { "Page " (page) " of " (pages) }
                @if page < pages { a.button href=(link(page + 1)) { "Next" } }
            }
        }
    }
}
