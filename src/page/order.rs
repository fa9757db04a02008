//! Order: everything of one order, who changed what, and what may be done with it.

use maud::{Markup, html};
use rusqlite::{Connection, OptionalExtension};

use super::change::{self, Change};
use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT, hidden, note};
use super::rows::{Row, rows};
use super::{Page, Reply};
use crate::db;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::text;
use crate::verbs::search;

/// Orders on one page of the list.
const ON_A_PAGE: i64 = 50;

/// Reasons for which an order is canceled, as the file knows them.
const CANCEL_REASONS: &[&str] = &["customer", "fraud", "inventory", "declined", "staff", "other"];

/// Reasons for which something is sent once more.
const RESHIP_REASONS: &[&str] = &["lost", "damaged", "wrong", "other"];

/// What may be corrected of an order, with the words above the field.
pub const CONTACT: &[(&str, &str)] = &[
    ("shipping_name", "Name on the parcel"),
    ("shipping_line1", "Street and number"),
    ("shipping_line2", "Addition"),
    ("shipping_postal_code", "Postal code"),
    ("shipping_city", "Town"),
    ("shipping_state", "State"),
    ("shipping_country", "Country (two letters)"),
    ("name", "Buyer"),
    ("email", "E-mail"),
    ("phone", "Phone"),
];

const HEAD: &str = "SELECT v.placed_at, v.total, v.financial_status, v.fulfillment_status, v.blocked_by,
      o.hold_reason, o.canceled_at, o.cancel_reason, o.note, o.origin, o.business_name, o.name, o.email, o.phone,
      o.shipping_name, o.shipping_line1, o.shipping_line2, o.shipping_postal_code, o.shipping_city, o.shipping_state,
      o.shipping_country, o.shipping_option, o.client_reference_id, o.checkout_session_id, o.payment_intent_id,
      o.capture_before, o.livemode, (SELECT caution FROM order_cautions q WHERE q.order_id = o.id) AS caution,
      (SELECT group_concat(label || ': ' || value, '; ') FROM order_custom_fields w
       WHERE w.order_id = o.id AND value <> '') AS custom_fields
    FROM order_overview v JOIN orders o ON o.id = v.id WHERE v.id = ?1";

const LINES: &str =
    "SELECT position, quantity, name, options, sku, price, total, sent, left_to_send, canceled
    FROM order_lines WHERE order_id = ?1";

const PARCELS: &str = "SELECT f.id, f.status, f.requires_shipping, f.replacement, f.tracking_company, f.tracking_number,
      coalesce(f.tracking_url, (SELECT url FROM parcel_links k WHERE k.fulfillment_id = f.id)) AS url, f.shipped_at,
      f.delivered_at, f.order_id || '-' || (SELECT count(*) FROM fulfillments g WHERE g.order_id = f.order_id
        AND g.requires_shipping = 1 AND g.id <= f.id) AS parcel
    FROM fulfillments f WHERE f.order_id = ?1 ORDER BY f.id";

const CONTENTS: &str = "SELECT fl.fulfillment_id, li.position, fl.quantity, li.name, li.options
    FROM fulfillments f JOIN fulfillment_line_items fl ON fl.fulfillment_id = f.id
    JOIN line_items li ON li.id = fl.line_item_id WHERE f.order_id = ?1 ORDER BY f.id, li.position";

const MONEY_BACK: &str =
    "SELECT b.what, b.at FROM bookings b WHERE b.order_id = ?1 AND b.what <> 'sale' ORDER BY b.at";

const MATTERS: &str = "SELECT reason, what FROM attention WHERE order_id = ?1";

/// What is shown of an order.
struct Shown {
    head: Row,
    lines: Vec<Row>,
    parcels: Vec<Row>,
    contents: Vec<Row>,
    money_back: Vec<Row>,
    matters: Vec<Row>,
    history: Vec<Change>,
    seen: i64,
    last: Option<String>,
}

impl Page {
    /// `GET orders`: the latest, or those in which a text is found.
    pub fn orders(&self, person: &Person, query: &Form) -> Reply {
        let wanted = query.text("q");
        let before = query.number("before").unwrap_or(i64::MAX);
        let (found, list) = self.read(|c| {
            let found = match wanted {
                "" => None,
                text => Some(search::orders(c, text)?),
            };
            let which = match &found {
                None => "SELECT id FROM orders WHERE id < ?2",
                Some(_) => "SELECT value FROM json_each(?1) WHERE value < ?2",
            };
            let sql = format!(
                "SELECT v.id, v.placed_at, v.customer, v.items, v.total, v.financial_status,
                   CASE v.canceled WHEN 1 THEN 'canceled' ELSE v.fulfillment_status END AS goods
                 FROM order_overview v WHERE v.id IN ({which} ORDER BY 1 DESC LIMIT {ON_A_PAGE}) ORDER BY v.id DESC"
            );
            let ids = serde_json::json!(found).to_string();
            Ok((found, Table::query(c, &sql, (ids, before))?))
        })?;
        if let Some([only]) = found.as_deref() {
            return Ok(layout::see_other(format!("order/{only}")));
        }
        let ids: Vec<i64> = list
            .rows
            .iter()
            .filter_map(|row| match row.first() {
                Some(rusqlite::types::Value::Integer(id)) => Some(*id),
                _ => None,
            })
            .collect();
        let shown = |cell: &rusqlite::types::Value| match cell {
            rusqlite::types::Value::Text(words) => text::clean(words).replace('_', " "),
            _ => String::new(),
        };
        let main = html! {
            form.row method="get" action={ (ROOT) "orders" } role="search" {
                div.wide {
                    label for="q" { "Order, name, address, number, item" }
                    input #q name="q" type="search" value=(wanted) autocomplete="off" autofocus;
                }
                button { "Search" }
            }
            @if ids.is_empty() { p { "No order " @if wanted.is_empty() { "yet." } @else { "has that in it." } } }
            @if !ids.is_empty() { ul.queue.card {
                @for (id, row) in ids.iter().zip(&list.rows) {
                    li { div.what {
                        div { a.whole href={ (ROOT) "order/" (id) } { (id) } div.soft { (shown(&row[1])) } }
                        div.name { (shown(&row[2])) }
                        div { (shown(&row[3])) }
                        div { (shown(&row[4])) div.soft { (shown(&row[5])) ", " (shown(&row[6])) } }
                    } }
                }
            } }
            @if ids.len() as i64 == ON_A_PAGE {
                form.row method="get" action={ (ROOT) "orders" } {
                    (hidden(&[("q", wanted), ("before", &ids.last().map(i64::to_string).unwrap_or_default())]))
                    button { "Older" }
                }
            }
        };
        Ok(layout::page(person, Some(Part::Orders), "Orders", main))
    }

    /// `GET order/1042`.
    pub fn order(&self, person: &Person, order: i64) -> Reply {
        self.order_page(200, person, order, None, html! {})
    }

    /// The page of one order, with what was typed into one of its forms, below what is to be said first.
    pub fn order_page(
        &self,
        status: u16,
        person: &Person,
        order: i64,
        typed: Option<(&str, &Form)>,
        said: Markup,
    ) -> Reply {
        let Some(shown) = self.read(|c| shown(c, order))? else {
            return Err(Error::Permanent(format!("there is no order {order}")));
        };
        let forms =
            Forms { order, token: self.guard.token(person), seen: shown.seen.to_string(), typed };
        let head = &shown.head;
        let main = html! {
            (said)
            (state(head, &shown.matters))
            div.columns {
                div {
                    div.card { (lines(&shown.lines)) }
                    @for parcel in &shown.parcels { div.card { (self.parcel_of(person, &forms, parcel, &shown)) } }
                    (money(&shown.money_back))
                }
                div {
                    div.card { (address(head)) }
                    @if person.may_do_all() { div.card { (verbs(&forms, &shown)) } }
                    @if self.may_undo(person, &shown) {
                        (forms.form("undo", html! { p.row { button { "Undo the last change" } } }))
                    }
                }
            }
            div.card {
                h2 #history { "History" }
                div.scroll { table.stack {
                    thead { tr { th { "UTC" } th { "Who" } th { "What" } th { "From" } th { "To" } } }
                    tbody { @for row in shown.history.iter().rev() { tr {
                        td.when data-label="UTC" { (change::minute(&row.at)) }
                        td.long data-label="Who" { (row.actor) }
                        td.long data-label="What" { (text::clean(&row.what)) }
                        td data-label="From" { (text::clean(row.old.as_deref().unwrap_or_default())) }
                        td.long data-label="To" { (text::clean(row.new.as_deref().unwrap_or_default())) }
                    } } }
                } }
            }
        };
        let title = format!("Order {order}");
        Ok(layout::whole(status, Some(person), Some(Part::Orders), &title, main))
    }

    /// Whoever may do all takes back any last change, a packer their own.
    fn may_undo(&self, person: &Person, shown: &Shown) -> bool {
        let last = shown.last.as_deref().filter(|last| !last.starts_with("fulfilld:undo"));
        last.is_some_and(|last| person.may_do_all() || last == person.actor())
    }

    fn parcel_of(&self, person: &Person, forms: &Forms, parcel: &Row, shown: &Shown) -> Markup {
        let (id, reference) =
            (parcel.get("id").unwrap_or_default(), parcel.get("parcel").unwrap_or_default());
        let is_digital = parcel.is("requires_shipping", "0");
        let is_pending = parcel.is("status", "pending");
        let inside: Vec<&Row> =
            shown.contents.iter().filter(|row| row.is("fulfillment_id", id)).collect();
        let several = inside.len() > 1 || inside.iter().any(|row| !row.is("quantity", "1"));
        html! {
            h2 { @if is_digital { "Digital" } @else { "Parcel " (reference) }
                " · " (parcel.get("status").unwrap_or_default())
                @if let Some(why) = parcel.get("replacement") { " · replacement: " (why) } }
            ul { @for row in &inside { li {
                (row.get("quantity").unwrap_or_default()) " × " (row.get("name").unwrap_or_default())
                @if let Some(options) = row.get("options") { " (" (options) ")" }
            } } }
            @if let Some(company) = parcel.get("tracking_company") { (company) " " }
            @if let Some(number) = parcel.get("tracking_number") {
                @match parcel.get("url").filter(|url| url.starts_with("https://")) {
                    Some(url) => a href=(url) rel="noreferrer noopener" target="_blank" { (number) },
                    None => (number),
                }
            }
            @if let Some(at) = parcel.get("shipped_at") { p.soft { "shipped " (change::minute(at)) } }
            @if let Some(at) = parcel.get("delivered_at") { p.soft { "delivered " (change::minute(at)) } }
            @if is_pending && !is_digital && shown.head.get("blocked_by").is_none() {
                p { a.button href={ (ROOT) "parcel/" (reference) } { "Ship it" } }
            }
            @if person.may_do_all() && is_pending && !is_digital && several {
                details { summary { "Split it" }
                    (forms.form("split", html! {
                        input type="hidden" name="fulfillment" value=(id);
                        p.soft { "What stays in this parcel; the rest waits in another one." }
                        @for row in &inside {
                            @let position = row.get("position").unwrap_or_default();
                            label for={ "q" (id) "-" (position) } { (row.get("name").unwrap_or_default()) }
                            input.few id={ "q" (id) "-" (position) } name={ "q_" (position) } type="number" min="0"
                                max=(row.get("quantity").unwrap_or_default())
                                value=(row.get("quantity").unwrap_or_default());
                        }
                        p { button { "Split" } }
                    }))
                }
            }
            @if person.may_do_all() && is_on_its_way(parcel) && shown.parcels.len() > 1 {
                (forms.form("deliver", html! {
                    input type="hidden" name="fulfillment" value=(id);
                    p.row { button { "Mark " (if is_digital { "this" } else { reference }) " as delivered" } }
                }))
            }
            @if person.may_do_all() && parcel.is("status", "shipped") {
                details { summary { "Correct carrier or number" }
                    (forms.form("tracking", html! {
                        input type="hidden" name="fulfillment" value=(id);
                        label for={ "company" (id) } { "Company" }
                        input id={ "company" (id) } name="company"
                            value=(forms.value("tracking", "company", parcel.get("tracking_company")));
                        label for={ "number" (id) } { "Tracking number" }
                        input id={ "number" (id) } name="number"
                            value=(forms.value("tracking", "number", parcel.get("tracking_number")));
                        p { button { "Correct" } }
                    }))
                }
            }
        }
    }
}

fn shown(c: &Connection, order: i64) -> Result<Option<Shown>> {
    let known = c.query_row("SELECT 1 FROM orders WHERE id = ?1", [order], |_| Ok(())).optional();
    if known.map_err(db::translate)?.is_none() {
        return Ok(None);
    }
    let Some(head) = rows(c, HEAD, order)?.pop() else { return Ok(None) };
    Ok(Some(Shown {
        head,
        lines: rows(c, LINES, order)?,
        parcels: rows(c, PARCELS, order)?,
        contents: rows(c, CONTENTS, order)?,
        money_back: rows(c, MONEY_BACK, order)?,
        matters: rows(c, MATTERS, order)?,
        history: change::history(c, order, 0)?,
        seen: change::version(c, order)?,
        last: change::last_person(c, order)?,
    }))
}

/// The forms of one order's page.
struct Forms<'a> {
    order: i64,
    token: String,
    seen: String,
    /// What was typed into which of them.
    typed: Option<(&'a str, &'a Form)>,
}

impl Forms<'_> {
    fn form(&self, action: &str, fields: Markup) -> Markup {
        html! {
            form method="post" action={ (ROOT) "order/" (self.order) "/" (action) } {
                (hidden(&[("token", &self.token), ("seen", &self.seen)]))
                (fields)
            }
        }
    }

    /// What stands in a field: what was typed into it, else what is so.
    fn value<'b>(&'b self, action: &str, field: &str, now: Option<&'b str>) -> &'b str {
        match self.typed {
            Some((typed, form)) if typed == action => form.text(field),
            _ => now.unwrap_or_default(),
        }
    }

    fn is_open(&self, action: &str) -> bool {
        self.typed.is_some_and(|(typed, _)| typed == action)
    }
}

fn state(head: &Row, matters: &[Row]) -> Markup {
    let word = |column: &str| head.get(column).unwrap_or_default().replace('_', " ");
    html! {
        p.badges {
            span.badge { (word("financial_status")) }
            span.badge {
                @if head.get("canceled_at").is_some() { "canceled" } @else { (word("fulfillment_status")) }
            }
            @if let Some(option) = head.get("shipping_option") { span.badge { (option) } }
            strong { (head.get("total").unwrap_or_default()) }
            span.soft { (head.get("placed_at").unwrap_or_default())
                @if let Some(origin) = head.get("origin") { " · " (origin) } }
        }
        @if let Some(why) = head.get("hold_reason") { (note("warn", &format!("On hold: {why}"))) }
        @else if let Some(why) = head.get("blocked_by") { (note("warn", &format!("Nothing of it may be sent: {why}"))) }
        @if let Some(caution) = head.get("caution") { p { span.caution { (caution) } } }
        @for matter in matters {
            (note("warn", &format!("{}: {}", matter.get("reason").unwrap_or_default().replace('_', " "),
                matter.get("what").unwrap_or_default())))
        }
    }
}

fn lines(lines: &[Row]) -> Markup {
    html! {
        h2 { "Items" }
        div.scroll { table {
            thead { tr {
                th.number { "" } th { "Item" } th.number.roomy { "Price" } th.number { "Total" }
                th.number { "Sent" }
            } }
            tbody { @for line in lines { tr {
                td.number { (line.get("quantity").unwrap_or_default()) }
                td { (line.get("name").unwrap_or_default())
                    @if let Some(options) = line.get("options") { " (" (options) ")" }
                    @if let Some(sku) = line.get("sku") { div.soft { (sku) } } }
                td.number.roomy { (line.get("price").unwrap_or_default()) }
                td.number { (line.get("total").unwrap_or_default()) }
                td.number { (line.get("sent").unwrap_or_default())
                    @if let Some(canceled) = line.get("canceled").filter(|n| *n != "0") {
                        div.soft { (canceled) " canceled" }
                    } }
            } } }
        } }
    }
}

fn money(back: &[Row]) -> Markup {
    html! {
        @if !back.is_empty() {
            div.card {
                h2 { "Money returned" }
                ul { @for row in back { li {
                    (row.get("what").unwrap_or_default()) " "
                    span.soft { (change::minute(row.get("at").unwrap_or_default())) }
                } } }
            }
        }
    }
}

fn address(head: &Row) -> Markup {
    let get = |column: &str| head.get(column).unwrap_or_default();
    let town = format!("{} {}", get("shipping_postal_code"), get("shipping_city"));
    let land = format!("{} {}", get("shipping_state"), get("shipping_country"));
    let lines = [
        get("shipping_name"),
        get("business_name"),
        get("shipping_line1"),
        get("shipping_line2"),
        town.trim(),
        land.trim(),
    ];
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let live = if head.is("livemode", "1") { "" } else { "test/" };
    html! {
        h2 { "Ship to" }
        address { (lines.join("\n")) }
        dl {
            @for (name, column) in [("Buyer", "name"), ("E-mail", "email"), ("Phone", "phone"),
                ("Fields", "custom_fields"), ("Note", "note"), ("Reference", "client_reference_id"),
                ("Captured until", "capture_before")] {
                @if let Some(value) = head.get(column) { dt { (name) } dd { (value) } }
            }
            @if let Some(payment) = head.get("payment_intent_id") {
                dt { "Stripe" }
                dd { a href={ "https://dashboard.stripe.com/" (live) "payments/" (payment) } rel="noreferrer noopener"
                    target="_blank" { "Payment in the Dashboard" } }
            }
        }
    }
}

/// True for what may have arrived: it was sent, or needs no parcel.
fn is_on_its_way(parcel: &Row) -> bool {
    parcel.is("status", "shipped")
        || parcel.is("status", "pending") && parcel.is("requires_shipping", "0")
}

/// What may be done with the order, each in a form that opens.
fn verbs(forms: &Forms, shown: &Shown) -> Markup {
    let head = &shown.head;
    let is_held = head.get("hold_reason").is_some();
    let is_canceled = head.get("canceled_at").is_some();
    let status = |status: &str| shown.parcels.iter().any(|parcel| parcel.is("status", status));
    let sent = status("shipped") || status("delivered");
    let on_their_way = shown.parcels.iter().filter(|parcel| is_on_its_way(parcel)).count();
    let options = |action: &str, list: &[&str]| {
        html! { @for reason in list {
            option value=(reason) selected[forms.value(action, "reason", None) == *reason] { (reason) }
        } }
    };
    html! {
        h2 { "Actions" }
        @if on_their_way > 0 {
            @let which = if on_their_way > 1 { "all as delivered" } else { "as delivered" };
            (forms.form("deliver", html! { p.row { button { "Mark " (which) } } }))
        }
        @if is_held {
            (forms.form("release", html! { p.row { button.main { "Release it" } } }))
        } @else if !is_canceled {
            details open[forms.is_open("hold")] { summary { "Hold it" }
                (forms.form("hold", html! {
                    label for="hold-reason" { "Why, for whoever packs next" }
                    input #hold-reason name="reason" value=(forms.value("hold", "reason", None)) required;
                    p { button { "Hold" } }
                }))
            }
        }
        details open[forms.is_open("note")] { summary { "Note" }
            (forms.form("note", html! {
                label for="note" { "Note" }
                textarea #note name="note" rows="3" { (forms.value("note", "note", head.get("note"))) }
                p { button { "Save the note" } }
            }))
        }
        details open[forms.is_open("address")] #address { summary { "Correct address or contact" }
            (forms.form("address", html! {
                @for (column, name) in CONTACT {
                    label for=(column) { (name) }
                    input id=(column) name=(column) autocomplete="off"
                        value=(forms.value("address", column, head.get(column)));
                }
                p { button { "Correct" } }
            }))
        }
        @if sent {
            details open[forms.is_open("reship")] { summary { "Send it again" }
                (forms.form("reship", html! {
                    label for="reship-reason" { "Why" }
                    select #reship-reason name="reason" { (options("reship", RESHIP_REASONS)) }
                    label for="reship-items" {
                        "Which lines (1,2x3 is all of line 1 and three of line 2; empty is all)"
                    }
                    input #reship-items name="items" autocomplete="off"
                        value=(forms.value("reship", "items", None));
                    p { button { "Send again" } }
                }))
            }
        }
        @if !is_canceled {
            details open[forms.is_open("cancel")] { summary { "Cancel what is not sent" }
                (forms.form("cancel", html! {
                    p.soft { "The money goes back in Stripe's Dashboard, not here." }
                    label for="cancel-reason" { "Why" }
                    select #cancel-reason name="reason" { (options("cancel", CANCEL_REASONS)) }
                    p { button { "Cancel it" } }
                }))
            }
        }
    }
}
