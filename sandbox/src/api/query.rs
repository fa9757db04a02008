//! A request's parameters as Stripe takes them: filters, paging by cursor, expansion, and its
//! refusals.

use serde_json::Value;

use crate::http::{Request, Response};
use crate::refusals;
use crate::world::sale::Sale;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
const LEVELS_MAX: usize = 4; // of an expansion

/// What can be expanded in what, and what it is then. A price and a shipping cost come whole: they
/// are a way through.
const EXPANDABLE: &[(&str, &str, &str)] = &[
    ("list of checkout.session", "data", "checkout.session"),
    ("checkout.session", "line_items", "list of item"),
    ("checkout.session", "payment_intent", "payment_intent"),
    ("checkout.session", "shipping_cost", "shipping_cost"),
    ("shipping_cost", "shipping_rate", "shipping_rate"),
    ("list of item", "data", "item"),
    ("item", "price", "price"),
    ("price", "product", "product"),
    ("payment_intent", "latest_charge", "charge"),
    ("charge", "payment_intent", "payment_intent"),
    ("charge", "balance_transaction", "balance_transaction"),
    ("follow_up", "failure_balance_transaction", "balance_transaction"),
    ("invoice_payment", "invoice", "invoice"),
    ("list of follow_up", "data", "follow_up"),
    ("follow_up", "charge", "charge"),
    ("follow_up", "payment_intent", "payment_intent"),
    ("list of invoice_payment", "data", "invoice_payment"),
];

/// The object or list that was requested, or Stripe's refusal.
pub type Reply = Result<Value, Response>;

/// A request's parameters; `expand[0]` counts as `expand[]`.
pub struct Query<'a>(Vec<(String, &'a str)>);

impl<'a> Query<'a> {
    /// The parameters of a request, in its order.
    pub fn of(request: &'a Request) -> Query<'a> {
        let unnumbered = |name: &str| match name.split_once('[') {
            Some((list, index)) if index.trim_end_matches(']').parse::<u32>().is_ok() => {
                format!("{list}[]")
            }
            _ => name.to_string(),
        };
        Query(
            request.query.iter().map(|(name, value)| (unnumbered(name), value.as_str())).collect(),
        )
    }

    /// Every value of a parameter, in the order of the request.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| *value)
    }

    /// The last value of a parameter.
    pub fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// Refuses what is none of these.
    pub fn knows(&self, names: &[&str]) -> Result<(), Response> {
        let known = |name: &str| {
            name == "expand[]"
                || names.contains(&name)
                || name.starts_with("created[") && names.contains(&"created")
        };
        match self.0.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(refusals::invalid(
                "parameter_unknown",
                &format!("Received unknown parameter: {name}"),
                name,
            )),
            None => Ok(()),
        }
    }

    fn whole(&self, name: &str) -> Result<Option<i64>, Response> {
        let number = |text: &str| {
            text.parse().map_err(|_| {
                refusals::invalid(
                    "parameter_invalid_integer",
                    &format!("Invalid integer: {text}"),
                    name,
                )
            })
        };
        self.one(name).map(number).transpose()
    }

    /// True for a time that `created` and its bounds permit.
    pub fn created(&self) -> Result<impl Fn(i64) -> bool + use<>, Response> {
        let (at, gt, gte) =
            (self.whole("created")?, self.whole("created[gt]")?, self.whole("created[gte]")?);
        let (lt, lte) = (self.whole("created[lt]")?, self.whole("created[lte]")?);
        Ok(move |time: i64| {
            at.is_none_or(|at| time == at)
                && gt.is_none_or(|gt| time > gt)
                && gte.is_none_or(|gte| time >= gte)
                && lt.is_none_or(|lt| time < lt)
                && lte.is_none_or(|lte| time <= lte)
        })
    }

    /// Stripe's paging by cursor over rows in the list's order: the places of the rows on this
    /// page, and whether there are more in its direction. `place` finds a cursor's row.
    pub fn page(
        &self,
        total: usize,
        place: impl Fn(&str) -> Option<usize>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(Vec<usize>, bool), Response> {
        let limit = match self.whole("limit")? {
            None => LIMIT_DEFAULT,
            Some(limit) if (1..=LIMIT_MAX as i64).contains(&limit) => limit as usize,
            Some(limit) => {
                let bound = if limit < 1 {
                    "greater than or equal to 1"
                } else {
                    "less than or equal to 100"
                };
                let message = format!("This value must be {bound} (it currently is '{limit}').");
                return Err(refusals::invalid("parameter_invalid_integer", &message, "limit"));
            }
        };
        let cursor = |name: &str| match self.one(name).map(|id| (id, place(id))) {
            Some((id, None)) => {
                Err(refusals::invalid("resource_missing", &format!("No such object: '{id}'"), name))
            }
            found => Ok(found.and_then(|(_, at)| at)),
        };
        let (after, before) = (cursor("starting_after")?, cursor("ending_before")?);
        let mut rows: Vec<usize> = match (after, before) {
            (Some(_), Some(_)) => {
                let message =
                    "You may only specify one of these parameters: ending_before, starting_after.";
                return Err(refusals::invalid("parameter_invalid", message, "starting_after"));
            }
            (None, Some(before)) => {
                (0..before).rev().filter(|at| wanted(*at)).take(limit + 1).collect()
            }
            (after, None) => (after.map_or(0, |at| at + 1)..total)
                .filter(|at| wanted(*at))
                .take(limit + 1)
                .collect(),
        };
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        if before.is_some() {
            rows.reverse();
        }
        Ok((rows, has_more))
    }

    /// The expansions that the request wants of an object of this kind, as paths; or Stripe's
    /// refusal.
    pub fn expansions(&self, kind: &'static str) -> Result<Vec<Vec<&'a str>>, Response> {
        self.all("expand[]").map(|path| checked(kind, path)).collect()
    }

    /// The object, with what the request wants expanded.
    pub fn expanded(&self, mut value: Value, kind: &'static str, sale: &Sale) -> Reply {
        for path in self.expansions(kind)? {
            expand(&mut value, &path, sale);
        }
        Ok(value)
    }
}

/// Puts what an id stands for in its place, along a path that was checked.
pub fn expand(value: &mut Value, path: &[&str], sale: &Sale) {
    let Some((field, rest)) = path.split_first() else {
        return;
    };
    if let Some(rows) = value.get_mut("data").and_then(Value::as_array_mut) {
        return rows.iter_mut().for_each(|row| expand(row, rest, sale));
    }
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let slot = object.entry(*field).or_insert(Value::Null);
    let whole = match *field {
        "line_items" if slot.is_null() => sale.first_lines(),
        "payment_intent" if slot.is_string() => sale.payment_intent(),
        "charge" | "latest_charge" if slot.is_string() => sale.charge(),
        "shipping_rate" if slot.is_string() => sale.shipping_rate(),
        "balance_transaction" | "failure_balance_transaction" => sale.balance_transaction(slot),
        "invoice" if slot.is_string() => sale.invoice(),
        "product" => {
            let line = sale.checkout.lines.iter().find(|line| *slot == line.product_id());
            line.map_or_else(|| slot.take(), |line| sale.product(line))
        }
        _ => slot.take(),
    };
    *slot = whole;
    expand(slot, rest, sale);
}

fn checked<'a>(kind: &'static str, path: &'a str) -> Result<Vec<&'a str>, Response> {
    let fields: Vec<&str> = path.split('.').collect();
    if fields.len() > LEVELS_MAX {
        let message =
            format!("You cannot expand more than 4 levels of a property. Property: {path}");
        return Err(refusals::invalid("parameter_invalid", &message, "expand"));
    }
    let inside = |kind: &str, field: &str| {
        EXPANDABLE.iter().find(|(of, name, _)| *of == kind && *name == field)
    };
    let mut at = kind;
    for field in &fields {
        let Some((.., inner)) = inside(at, field) else {
            let mut message = format!("This property cannot be expanded ({field}).");
            if inside(at, "data").is_some_and(|(.., row)| inside(row, field).is_some()) {
                message += &format!(" You may want to try expanding 'data.{field}' instead.");
            }
            return Err(refusals::invalid("parameter_invalid", &message, "expand"));
        };
        at = inner;
    }
    Ok(fields)
}
