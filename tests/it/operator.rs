//! A random operator: whatever is typed into a shell, the file stays true; and each trigger is needed for that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::outside::{installed, machine_program};

const SCHEMA: &str = include_str!("../../schema.sql");

/// An order of every kind.
const ORDERS: &str = include_str!("../operator/orders.sql");

/// How long the random operator types; longer with FUZZ_SECONDS. Two of them type at the same time.
const FUZZ_FOR: Duration = Duration::from_secs(20);

/// Statements until a new file: short, so that the history stays small and a failure is soon made smaller.
const ROUND: usize = 400;

/// Compiled statements that a connection keeps.
const STATEMENTS_KEPT: usize = 256;

/// Replays of a failing round while it is made smaller.
const SHRINK_REPLAYS: usize = 1500;

#[test]
fn whatever_an_operator_types_the_file_stays_true() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let lasting = seconds.map_or(FUZZ_FOR, Duration::from_secs);
    let seed = seed();
    println!("FUZZ_SEED={seed} repeats this run");
    let typists: Vec<_> =
        [seed, !seed].map(|seed| std::thread::spawn(move || type_at_random(seed, lasting))).into_iter().collect();
    let counts = typists.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
    let (typed, done) = counts.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    println!("{typed} statements, {done} of them changed something");
    assert!(done > 0, "none of {typed} statements changed anything, so nothing was tested");
}

/// The one that was named, or a new one.
fn seed() -> u64 {
    std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// Types rounds until the time is over: how many statements, and how many of them changed something.
fn type_at_random(seed: u64, lasting: Duration) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + lasting;
    let (mut typed, mut done) = (0, 0);
    while Instant::now() < end {
        let mut operator = Operator { rng: &mut rng, columns: columns(), keys: 0 };
        let script: Vec<String> = (0..ROUND).map(|_| operator.line()).collect();
        match replay(&script) {
            Ok(lines) => done += lines.iter().filter(|(changed, _)| *changed).count(),
            Err((at, why)) => {
                let (small, why) = shrink(&script[..=at], why);
                let text = small.iter().fold(String::new(), |text, line| text + line + ";\n");
                panic!("after schema.sql and tests/operator/orders.sql:\n\n{text}\n{why}\n\nFUZZ_SEED={seed}");
            }
        }
        typed += script.len();
    }
    (typed, done)
}

#[test]
fn the_stock_shells_do_with_the_same_lines_what_the_program_s_sqlite_does() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut operator = Operator { rng: &mut rng, columns: columns(), keys: 0 };
    let mut script: Vec<String> = (0..ROUND).map(|_| operator.line()).collect();
    // What depends on chance or on the second in which it is typed may differ.
    script.retain(|line| {
        !["random()", "char(0)", "now", "9223372036854775", "9e999"].iter().any(|odd| line.contains(odd))
    });
    let c = made(SCHEMA);
    for line in &script {
        let _ = typed(&c, line);
    }
    let _ = typed(&c, "COMMIT");
    let looks = [ORDERS_SQL, FULFILLMENTS_SQL, PACKED_SQL, LINES_SQL, TOLD_SQL, OUTBOX_SQL, FACTS_SQL, RECEIVED_SQL];
    let here: Vec<String> = looks.iter().map(|sql| masked(&rows(&c, sql))).collect();
    let old = installed(".tools/sqlite-3.37/libsqlite3.so.0");
    for library in [None, old.parent()] {
        let mut typed = format!("{SCHEMA}\n{ORDERS}\n");
        // Each on a line of its own, because the shell leaves the rest of a line that is refused.
        script.iter().for_each(|line| typed += &format!("{};\n", line.replace("; ", ";\n")));
        typed += "COMMIT;\n.output stdout\n.mode list\n";
        looks.iter().for_each(|sql| typed += &format!(".print {LOOK}\n{sql};\n"));
        let said = masked(&shell(library, &typed));
        let there: Vec<&str> = said.split(LOOK).skip(1).map(str::trim).collect();
        assert_eq!(there.len(), looks.len(), "FUZZ_SEED={seed}: the shell stopped: {said}");
        for ((here, there), sql) in here.iter().zip(there).zip(looks) {
            let differ = here.trim().lines().zip(there.lines()).find(|(here, there)| here != there);
            assert_eq!(differ, None, "FUZZ_SEED={seed}, {library:?}: {sql}");
            assert_eq!(here.lines().count(), there.lines().count(), "FUZZ_SEED={seed}, {library:?}: {sql}");
        }
    }
}

const LOOK: &str = "-- look --";

/// Standard output of the shell that was told this; what it refuses is not listened to.
fn shell(library: Option<&Path>, typed: &str) -> String {
    let mut command = machine_program("sqlite3");
    command.args(["-batch", ":memory:"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(library) = library {
        command.env("LD_LIBRARY_PATH", library);
    }
    let mut child = command.spawn().expect("sqlite3 starts");
    let mut keyboard = child.stdin.take().expect("stdin is piped");
    let lines = typed.to_string();
    let typist = std::thread::spawn(move || keyboard.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("sqlite3 ends");
    let _ = typist.join();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Times of day, which differ from run to run, out of sight; and where one took the place of another, which may be the same.
fn masked(text: &str) -> String {
    let lines = times_masked(text);
    lines.lines().filter(|line| !line.ends_with("|TIME|TIME")).fold(String::new(), |text, line| text + line + "\n")
}

fn times_masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        out += &rest[..at];
        let time = rest.get(at..at + 20).is_some_and(|t| {
            t.bytes()
                .zip("0000-00-00T00:00:00Z".bytes())
                .all(|(b, m)| if m == b'0' { b.is_ascii_digit() } else { b == m })
        });
        let taken = if time { 20 } else { 2 };
        out += if time { "TIME" } else { "20" };
        rest = &rest[at + taken..];
    }
    out + rest
}

/// For every trigger, a line that does harm without it. With all triggers the same line does none.
#[test]
fn the_loss_of_any_trigger_would_be_noticed() {
    let triggers = rows(&made(SCHEMA), "SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1");
    assert_eq!(triggers.lines().collect::<Vec<_>>(), PROBES.map(|(trigger, _)| trigger), "every trigger has its probe");
    let mut silent = Vec::new();
    for (trigger, probe) in PROBES {
        let line = |line: &&str| line.strip_prefix("stripe: ").map_or_else(|| line.to_string(), stripe);
        let script: Vec<String> = probe.iter().map(line).collect();
        let whole = replay(&script).unwrap_or_else(|(at, why)| panic!("{}: {why}", script[at]));
        let c = made(SCHEMA);
        c.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("it is there");
        // Something is untrue then, or a line does other than it did, or is refused with another sentence.
        if watch(&c, &script).is_ok_and(|without| without == whole) {
            silent.push(trigger);
        }
    }
    assert_eq!(silent, [""; 0], "nothing notices the loss of these");
}

/// A file with all orders.
fn made(schema: &str) -> Connection {
    let c = Connection::open_in_memory().expect("memory");
    // As the shell has it.
    c.execute_batch("PRAGMA foreign_keys = OFF").expect("a pragma");
    c.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    c.execute_batch(schema).expect("schema.sql runs");
    c.execute_batch(ORDERS).expect("the orders can be made");
    c
}

/// What each line came to: whether it changed something, and what SQLite said. Or the line after which something is not true.
type Watched = Result<Vec<(bool, String)>, (usize, String)>;

/// Types the script into a new file.
fn replay(script: &[String]) -> Watched {
    watch(&made(SCHEMA), script)
}

/// Types the script and looks after every line.
fn watch(c: &Connection, script: &[String]) -> Watched {
    let mut state = State::of(c);
    if let Some(why) = state.untrue(c) {
        return Err((0, format!("before anything was typed: {why}")));
    }
    // What a ROLLBACK leads back to.
    let mut savepoints: Vec<(String, State)> = Vec::new();
    let mut lines = Vec::new();
    for (n, line) in script.iter().enumerate() {
        let (was_open, before) = (!c.is_autocommit(), c.total_changes());
        let said = typed(c, line);
        let open = !c.is_autocommit();
        let word = line.split(' ').next().unwrap_or_default();
        let went_back = was_open && !open && (word == "ROLLBACK" || said.is_err());
        let same = c.total_changes() == before && !went_back && !line.starts_with("ROLLBACK");
        if !same || n + 1 == script.len() {
            let next = State::of(c);
            let expected = if went_back {
                savepoints.first().map(|(_, state)| state)
            } else if line.starts_with("ROLLBACK TO ") {
                let name = line.trim_start_matches("ROLLBACK TO ");
                savepoints.iter().rfind(|(known, _)| said.is_ok() && known == name).map(|(_, state)| state)
            } else {
                None
            };
            let why = match expected {
                Some(expected) if *expected != next => Some("what was rolled back is still there".into()),
                Some(_) => None,
                None => next.untrue(c).or_else(|| next.wrong_since(&state, c, line)),
            };
            if let Some(why) = why {
                return Err((n, format!("{why} (SQLite said: {said:?})")));
            }
            state = next;
        }
        lines.push((!same, said.as_ref().map_or_else(|e| e.to_string(), |()| String::new())));
        match (open, line.strip_prefix("SAVEPOINT ").filter(|_| !line.starts_with(BY_STRIPE))) {
            (false, _) => savepoints.clear(),
            (true, Some(name)) if said.is_ok() => savepoints.push((name.into(), state.clone())),
            (true, None) if !was_open => savepoints.push((String::new(), state.clone())),
            (true, _) => {
                let to = line.strip_prefix("ROLLBACK TO ").or(line.strip_prefix("RELEASE "));
                if let Some(at) =
                    to.and_then(|name| savepoints.iter().rposition(|(known, _)| said.is_ok() && known == name))
                {
                    savepoints.truncate(at + usize::from(word == "ROLLBACK"));
                }
            }
        }
    }
    if rows(c, "PRAGMA integrity_check") != "ok\n" || !rows(c, "PRAGMA foreign_key_check").is_empty() {
        return Err((script.len() - 1, "the file is damaged, or a row refers to none".into()));
    }
    Ok(lines)
}

/// One line, as a shell does it: after one statement that is refused it goes on with the next. To compile the triggers takes
/// longer than to run them, so a line that differs from an earlier one in its values alone is not compiled again.
fn typed(c: &Connection, line: &str) -> rusqlite::Result<()> {
    let said = match without_values(line) {
        Some((shape, values)) => {
            c.prepare_cached(&shape).and_then(|mut known| known.execute(params_from_iter(values)).map(drop))
        }
        None => c.execute_batch(line),
    };
    if said.is_err() && line.starts_with(BY_STRIPE) {
        let _ = c.execute_batch("UPDATE actor SET name = 'operator'; RELEASE daemon");
    }
    said
}

/// A statement with its texts and whole numbers taken out, and these. None for what is more than one statement, or no edit.
fn without_values(line: &str) -> Option<(String, Vec<Value>)> {
    let edit = ["INSERT ", "REPLACE ", "UPDATE ", "DELETE "].iter().any(|word| line.starts_with(word));
    if !edit || line.contains(';') {
        return None;
    }
    let (mut shape, mut values, mut rest) = (String::with_capacity(line.len()), Vec::new(), line);
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let (value, length) = match first {
            '\'' => {
                let mut end = 1 + rest[1..].find('\'')?;
                while rest[end + 1..].starts_with('\'') {
                    end += 2 + rest[end + 2..].find('\'')?;
                }
                (Some(Value::Text(rest[1..end].replace("''", "'"))), end + 1)
            }
            // Bytes.
            'x' if word == "x" && rest[1..].starts_with('\'') => (None, 2 + rest[2..].find('\'')? + 1),
            '0'..='9' => (word.parse().ok().map(Value::Integer), word.len()),
            _ => (None, word.len().max(first.len_utf8())),
        };
        match value {
            Some(value) => {
                shape.push('?');
                values.push(value);
            }
            None => shape += &rest[..length],
        }
        rest = &rest[length..];
    }
    Some((shape, values))
}

/// The fewest lines that still do harm, by leaving out ever smaller pieces.
fn shrink(script: &[String], why: String) -> (Vec<String>, String) {
    let (mut best, mut why) = (script.to_vec(), why);
    let (mut piece, mut left) = (best.len() / 2, SHRINK_REPLAYS);
    while piece > 0 && left > 0 {
        let mut at = 0;
        while at < best.len() && left > 0 {
            let mut fewer = best.clone();
            fewer.drain(at..(at + piece).min(best.len()));
            left -= 1;
            match replay(&fewer) {
                Err((end, reason)) if !fewer.is_empty() => {
                    fewer.truncate(end + 1);
                    (best, why) = (fewer, reason);
                }
                _ => at += piece,
            }
        }
        piece = if piece == 1 { 0 } else { piece / 2 };
    }
    (best, why)
}

// What is looked at after every line.

/// Cells that an operator or a payment may change, in the words of the history, joined by a character that no text has.
const ORDER_CELLS: [&str; 16] = [
    "payment_status",
    "amount_total",
    "note",
    "hold_reason",
    "canceled_at",
    "cancel_reason",
    "email",
    "name",
    "phone",
    "shipping_name",
    "shipping_line1",
    "shipping_line2",
    "shipping_city",
    "shipping_state",
    "shipping_postal_code",
    "shipping_country",
];
const FULFILLMENT_CELLS: [&str; 8] = [
    "status",
    "tracking_company",
    "tracking_number",
    "tracking_url",
    "note",
    "shipped_at",
    "delivered_at",
    "canceled_at",
];
const SEPARATOR: char = '\u{1f}';
const NOTHING: &str = "\u{1e}";

const ORDERS_SQL: &str = "SELECT id, payment_status || char(31) || amount_total
    || char(31) || coalesce(note, char(30)) || char(31) || coalesce(hold_reason, char(30))
    || char(31) || coalesce(canceled_at, char(30)) || char(31) || coalesce(cancel_reason, char(30))
    || char(31) || coalesce(email, char(30)) || char(31) || coalesce(name, char(30)) || char(31) || coalesce(phone, char(30))
    || char(31) || coalesce(shipping_name, char(30)) || char(31) || coalesce(shipping_line1, char(30))
    || char(31) || coalesce(shipping_line2, char(30)) || char(31) || coalesce(shipping_city, char(30))
    || char(31) || coalesce(shipping_state, char(30)) || char(31) || coalesce(shipping_postal_code, char(30))
    || char(31) || coalesce(shipping_country, char(30)),
    -- In other words than order_blocks.
    payment_status IN('unpaid', 'failed') OR canceled_at IS NOT NULL OR hold_reason IS NOT NULL
    OR EXISTS(SELECT 1 FROM disputes d WHERE d.payment_intent_id = o.payment_intent_id
              AND d.status NOT IN('won', 'warning_closed', 'prevented', 'charge_refunded'))
    OR EXISTS(SELECT 1 FROM reviews w WHERE w.payment_intent_id = o.payment_intent_id
              AND (w.open OR w.closed_reason IS NULL OR w.closed_reason NOT IN('approved', 'acknowledged')))
    OR (amount_total > 0 AND amount_total <= (SELECT coalesce(sum(amount), 0) FROM refunds r
        WHERE r.payment_intent_id = o.payment_intent_id AND r.status NOT IN('failed', 'canceled')))
  FROM orders o ORDER BY id";
const FULFILLMENTS_SQL: &str = "SELECT id, order_id || ' ' || requires_shipping || ' ' || created_at, status
    || char(31) || coalesce(tracking_company, char(30)) || char(31) || coalesce(tracking_number, char(30))
    || char(31) || coalesce(tracking_url, char(30)) || char(31) || coalesce(note, char(30))
    || char(31) || coalesce(shipped_at, char(30)) || char(31) || coalesce(delivered_at, char(30))
    || char(31) || coalesce(canceled_at, char(30)), order_id FROM fulfillments ORDER BY id";
const PACKED_SQL: &str = "SELECT fulfillment_id, line_item_id, quantity FROM fulfillment_line_items ORDER BY 1, 2";
const LINES_SQL: &str = "SELECT id, order_id, position, canceled_quantity FROM line_items ORDER BY 1";
const TOLD_SQL: &str = "SELECT order_id, actor, what, old, new FROM order_history ORDER BY id";
const OUTBOX_SQL: &str =
    "SELECT id, topic, order_id, fulfillment_id, event_id, key, created_at FROM outbox ORDER BY id";
/// What Stripe said, and what else nobody changes.
const FACTS_SQL: &str = "
  SELECT quote(id) || quote(checkout_session_id) || quote(payment_intent_id) || quote(livemode) || quote(mode)
    || quote(payment_status) || quote(currency) || quote(amount_subtotal) || quote(amount_discount)
    || quote(amount_shipping) || quote(amount_tax) || quote(amount_total) || quote(presentment_amount)
    || quote(presentment_currency) || quote(customer_id) || quote(subscription_id) || quote(invoice_id)
    || quote(payment_link_id) || quote(client_reference_id) || quote(shipping_option) || quote(custom_fields)
    || quote(tax_ids) || quote(metadata) || quote(created_at) || quote(paid_at) || quote(line_items_at) || quote(as_of)
  FROM orders
  UNION ALL SELECT quote(id) || quote(order_id) || quote(position) || quote(price_id) || quote(product_id) || quote(sku)
    || quote(name) || quote(options) || quote(quantity) || quote(currency) || quote(unit_amount)
    || quote(unit_amount_decimal) || quote(amount_subtotal) || quote(amount_discount) || quote(amount_tax)
    || quote(amount_total) || quote(requires_shipping) || quote(metadata) FROM line_items
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(amount) || quote(currency)
    || quote(status) || quote(reason) || quote(failure_reason) || quote(created_at) || quote(as_of) FROM refunds
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(amount) || quote(currency)
    || quote(status) || quote(reason) || quote(evidence_due_by) || quote(created_at) || quote(as_of) FROM disputes
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(open) || quote(reason)
    || quote(closed_reason) || quote(created_at) || quote(as_of) FROM reviews
  UNION ALL SELECT quote(id) || quote(payment_intent_id) || quote(charge_id) || quote(actionable) || quote(fraud_type)
    || quote(created_at) || quote(as_of) FROM fraud_warnings
  UNION ALL SELECT quote(one) || quote(livemode) || quote(created_at) FROM shop";
/// An event that was received stays as it was; that another is written by hand does no harm, because Stripe is asked.
const RECEIVED_SQL: &str = "SELECT quote(id) || quote(type) || quote(object_id) || quote(created) || quote(livemode)
    || quote(api_version) || quote(account) || quote(shape) || quote(snapshot_event) || quote(payload) || quote(source)
    || quote(received_at) FROM events";

/// Each selects what must not be.
const NEVER: [(&str, &str); 9] = [
    (
        "what is left to send of a sale is not what is in its pending fulfillments, or more is sent than was bought",
        "SELECT b.line_item_id || ' left ' || b.left_to_send || ', pending ' || b.pending
         FROM line_item_balance b JOIN orders o ON o.id = b.order_id
         WHERE b.left_to_send < 0 OR b.pending <> CASE
           WHEN o.payment_status IN('paid', 'no_payment_required') AND o.canceled_at IS NULL THEN b.left_to_send ELSE 0 END",
    ),
    (
        "a fulfillment holds what is of another order or kind",
        "SELECT fl.fulfillment_id || ' ' || fl.line_item_id FROM fulfillment_line_items fl
         LEFT JOIN fulfillments f ON f.id = fl.fulfillment_id LEFT JOIN line_items li ON li.id = fl.line_item_id
         WHERE f.order_id IS NOT li.order_id OR f.requires_shipping IS NOT li.requires_shipping OR f.id IS NULL",
    ),
    (
        "a fulfillment is empty",
        "SELECT id FROM fulfillments f WHERE status <> 'canceled'
         AND NOT EXISTS(SELECT 1 FROM fulfillment_line_items fl WHERE fl.fulfillment_id = f.id)",
    ),
    (
        "a date and a status do not agree",
        "SELECT id FROM fulfillments WHERE (status = 'shipped' AND shipped_at IS NULL)
           OR (status = 'delivered') <> (delivered_at IS NOT NULL) OR (status = 'canceled') <> (canceled_at IS NOT NULL)
           OR (status = 'pending' AND shipped_at IS NOT NULL)",
    ),
    (
        "a time is not a time",
        "SELECT t FROM (SELECT shipped_at AS t FROM fulfillments UNION ALL SELECT delivered_at FROM fulfillments
           UNION ALL SELECT canceled_at FROM fulfillments UNION ALL SELECT canceled_at FROM orders)
         WHERE t NOT GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z'",
    ),
    (
        "a canceled order has sent something, or is canceled by half",
        "SELECT id FROM orders o WHERE (canceled_at IS NULL) <> (cancel_reason IS NULL) OR (canceled_at IS NOT NULL
         AND EXISTS(SELECT 1 FROM fulfillments f WHERE f.order_id = o.id AND f.status IN('pending', 'shipped', 'delivered')))",
    ),
    (
        "the author is not one",
        "SELECT count(*) FROM actor HAVING count(*) <> 1 OR max(name) NOT IN('operator', 'operator-override')",
    ),
    (
        "a tracking number is on parcels of two orders",
        "SELECT tracking_number FROM fulfillments WHERE tracking_number IS NOT NULL GROUP BY 1
         HAVING count(DISTINCT order_id) > 1",
    ),
    ("two rows have one payment", "SELECT payment_intent_id FROM orders WHERE payment_intent_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"),
];

/// A line of the history: id, order, actor, what, old, new.
type Told = (i64, i64, String, String, Option<String>, Option<String>);

#[derive(Clone, PartialEq, Default)]
struct State {
    facts: BTreeSet<String>,
    received: BTreeSet<String>,
    orders: BTreeMap<i64, (String, bool)>,
    fulfillments: BTreeMap<i64, (String, String, i64)>,
    packed: BTreeMap<(i64, String), i64>,
    lines: BTreeMap<String, (i64, i64, i64)>,
    /// Refunds and the like, as the history names them.
    money: BTreeMap<(i64, String), String>,
    events: BTreeMap<String, String>,
    history: (i64, i64),
    /// All of it, because nothing of it may change.
    past: String,
    outbox: Vec<String>,
    actor: String,
}

impl State {
    fn of(c: &Connection) -> State {
        State {
            facts: all(c, FACTS_SQL, |r| r.get(0)).into_iter().collect(),
            received: all(c, RECEIVED_SQL, |r| r.get(0)).into_iter().collect(),
            orders: all(c, ORDERS_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?)))).into_iter().collect(),
            fulfillments: all(c, FULFILLMENTS_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?))))
                .into_iter()
                .collect(),
            packed: all(c, PACKED_SQL, |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?))).into_iter().collect(),
            lines: all(c, LINES_SQL, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?, r.get(3)?)))).into_iter().collect(),
            money: all(
                c,
                "SELECT o.id, 'refund ' || m.id, m.status || ' ' || m.amount FROM refunds m JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'dispute ' || m.id, m.status FROM disputes m JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'review ' || m.id, CASE WHEN m.open THEN 'open' ELSE coalesce(m.closed_reason, 'closed') END
                   FROM reviews m JOIN orders o USING(payment_intent_id)
                 UNION ALL SELECT o.id, 'fraud warning ' || m.id, CASE WHEN m.actionable THEN 'actionable' ELSE 'settled' END
                   FROM fraud_warnings m JOIN orders o USING(payment_intent_id)",
                |r| Ok(((r.get(0)?, r.get(1)?), r.get(2)?)),
            )
            .into_iter()
            .collect(),
            events: all(c, "SELECT id, state FROM events", |r| Ok((r.get(0)?, r.get(1)?))).into_iter().collect(),
            history: all(c, "SELECT count(*), coalesce(max(id), 0) FROM order_history", |r| Ok((r.get(0)?, r.get(1)?))).swap_remove(0),
            past: all(c, "SELECT coalesce(group_concat(quote(id) || quote(order_id) || quote(actor) || quote(what) || quote(old)
                || quote(new) || quote(at), ''), '') FROM (SELECT * FROM order_history ORDER BY id)", |r| r.get(0)).swap_remove(0),
            outbox: all(
                c,
                "SELECT key || ' ' || topic || ' ' || coalesce(order_id, '') || ' ' || coalesce(fulfillment_id, '') || ' '
                   || coalesce(event_id, '') FROM outbox ORDER BY id",
                |r| r.get(0),
            ),
            actor: all(c, "SELECT name FROM actor", |r| r.get(0)).pop().unwrap_or_default(),
        }
    }

    /// What must never be and is.
    fn untrue(&self, c: &Connection) -> Option<String> {
        NEVER.iter().find_map(|(what, sql)| {
            let found: Vec<String> = all(c, sql, |r| r.get_ref(0).map(|v| format!("{v:?}")));
            (!found.is_empty()).then(|| format!("{what}: {}", found.join(", ")))
        })
    }

    /// What cannot have become of an earlier state in one line.
    fn wrong_since(&self, before: &State, c: &Connection, line: &str) -> Option<String> {
        let by_stripe = line.starts_with(BY_STRIPE);
        if !by_stripe && self.facts != before.facts {
            let (were, are) = (before.facts.difference(&self.facts), self.facts.difference(&before.facts));
            let changes: Vec<_> = [were.collect::<Vec<_>>(), are.collect()].concat();
            return Some(format!("what Stripe said is changed: {changes:#?}"));
        }
        if let Some(event) = before.received.difference(&self.received).next() {
            return Some(format!("an event is not as it was received: {event}"));
        }
        if let Some(gone) = [
            before.orders.keys().find(|id| !self.orders.contains_key(id)).map(|id| format!("order {id}")),
            before.lines.keys().find(|id| !self.lines.contains_key(*id)).map(|id| format!("line {id}")),
            before
                .fulfillments
                .keys()
                .find(|id| !self.fulfillments.contains_key(id))
                .map(|id| format!("fulfillment {id}")),
            before.events.keys().find(|id| !self.events.contains_key(*id)).map(|id| format!("event {id}")),
            before.money.keys().find(|id| !self.money.contains_key(id)).map(|(_, id)| id.clone()),
        ]
        .into_iter()
        .flatten()
        .next()
        {
            return Some(format!("{gone} is gone"));
        }
        for (id, (cells, _)) in &before.orders {
            let (was, is) = (cells.split(SEPARATOR).nth(4), self.orders[id].0.split(SEPARATOR).nth(4));
            if was != Some(NOTHING) && is == Some(NOTHING) {
                return Some(format!("order {id} is no longer canceled"));
            }
            let (was, is) = (cells.split(SEPARATOR).next(), self.orders[id].0.split(SEPARATOR).next());
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
                let at = |cells: &str| cells.split(SEPARATOR).nth(5 + n).is_none_or(|t| t == NOTHING);
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
    fn wrong_history(&self, before: &State, c: &Connection, author: &str, line: &str) -> Option<String> {
        let told: Vec<Told> = all(c, &format!("{HISTORY_SQL_SINCE} {} ORDER BY id", before.history.1), |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
        });
        if self.history.0 != before.history.0 + told.len() as i64 || self.history.1 != self.history.0 {
            return Some(format!(
                "the history did not grow at its end, by ones: {:?} {:?}",
                before.history, self.history
            ));
        }
        if !self.past.starts_with(&before.past) {
            return Some("what the history said is changed".into());
        }
        if let Some(order) = self
            .orders
            .keys()
            .find(|id| !before.orders.contains_key(id) && !told.iter().any(|t| t.1 == **id && t.3 == "order"))
        {
            return Some(format!("the history does not tell that order {order} came"));
        }
        // One line may change a cell there and back.
        let named: BTreeSet<i64> = told.iter().map(|t| t.1).collect();
        let cells_were = before.cells(self, &named);
        let cells_are = self.cells(before, &named);
        let mut now = cells_were.clone();
        let mut expected = BTreeSet::new();
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
            if old != now.get(&key).unwrap_or(&None) || old == new {
                return Some(format!(
                    "the history says {what} went from {old:?} to {new:?}, and it was {:?}",
                    now.get(&key)
                ));
            }
            match (&what.split(' ').collect::<Vec<_>>()[..], new.as_deref()) {
                (["fulfillment", id, "status"], Some(status)) if old.is_some() && self.has_lines(id) => {
                    expected.insert(format!("fulfillment:{id}:{status} fulfillment.{status} {order} {id} "));
                }
                (["payment_status"], Some("paid" | "no_payment_required")) => {
                    expected.insert(format!("order:{order}:paid order.paid {order}  "));
                }
                (["canceled_at"], Some(_)) if old.is_none() => {
                    expected.insert(format!("order:{order}:canceled order.canceled {order}  "));
                }
                (["refund", id], Some(new)) if new.starts_with("succeeded") => {
                    expected.insert(format!("refund:{id} order.refunded {order}  "));
                }
                (["dispute", id], Some(_)) if old.is_none() => {
                    expected.insert(format!("dispute:{id} order.disputed {order}  "));
                }
                _ => {}
            }
            now.insert(key, new.clone());
        }
        for key in now.keys().chain(cells_are.keys()) {
            let (is, said) = (cells_are.get(key).unwrap_or(&None), now.get(key).unwrap_or(&None));
            // What a new order begins with is what was bought, and not told.
            let bought = author.starts_with("stripe:") && said.is_none() && key.1.contains(" quantity of ");
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
        let news: BTreeSet<String> = news.iter().cloned().collect();
        let expected: BTreeSet<String> = expected.into_iter().filter(|key| !before.outbox.contains(key)).collect();
        (news != expected).then(|| format!("the news is {news:?}, and should be {expected:?}"))
    }

    fn has_lines(&self, fulfillment: &str) -> bool {
        fulfillment
            .parse()
            .is_ok_and(|id| self.packed.range((id, String::new())..(id + 1, String::new())).next().is_some())
    }

    /// The cells of orders and fulfillments that are not the same in the other state, and of these orders all.
    fn cells(&self, other: &State, named: &BTreeSet<i64>) -> BTreeMap<(i64, String), Option<String>> {
        let mut cells = BTreeMap::new();
        let text = |cell: &str| (cell != NOTHING).then(|| cell.to_string());
        for (id, (mine, _)) in &self.orders {
            if other.orders.get(id).is_some_and(|(theirs, _)| theirs != mine || named.contains(id)) {
                cells.extend(
                    ORDER_CELLS
                        .iter()
                        .zip(mine.split(SEPARATOR))
                        .map(|(name, cell)| ((*id, name.to_string()), text(cell))),
                );
            }
        }
        for (id, (_, mine, order)) in &self.fulfillments {
            if other.fulfillments.get(id).is_none_or(|(_, theirs, _)| theirs != mine || named.contains(order)) {
                let named = FULFILLMENT_CELLS.iter().zip(mine.split(SEPARATOR));
                cells.extend(named.map(|(name, cell)| ((*order, format!("fulfillment {id} {name}")), text(cell))));
            }
        }
        for (id, (order, position, canceled)) in &self.lines {
            if other.lines.get(id).is_some_and(|line| line.2 != *canceled || named.contains(order)) {
                cells.insert((*order, format!("line {position} canceled_quantity")), Some(canceled.to_string()));
            }
        }
        for (key, value) in &self.money {
            if other.money.get(key) != Some(value) || named.contains(&key.0) {
                cells.insert(key.clone(), Some(value.clone()));
            }
        }
        for ((id, line), quantity) in &self.packed {
            let order = self.fulfillments.get(id).map_or(0, |f| f.2);
            if other.packed.get(&(*id, line.clone())) != Some(quantity) || named.contains(&order) {
                cells.insert((order, format!("fulfillment {id} quantity of {line}")), Some(quantity.to_string()));
            }
        }
        cells
    }
}

const HISTORY_SQL_SINCE: &str = "SELECT id, order_id, actor, what, old, new FROM order_history WHERE id >";

fn all<T>(c: &Connection, sql: &str, map: impl FnMut(&Row) -> rusqlite::Result<T>) -> Vec<T> {
    let mut query = c.prepare_cached(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let rows = query.query_map([], map).and_then(|rows| rows.collect());
    rows.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Rows as the shell's list mode prints them.
fn rows(c: &Connection, sql: &str) -> String {
    let mut out = String::new();
    let mut query = c.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let n = query.column_count();
    let lines = all_of(&mut query, n);
    lines.iter().for_each(|line| writeln!(out, "{line}").expect("a text grows"));
    out
}

fn all_of(query: &mut rusqlite::Statement, columns: usize) -> Vec<String> {
    use rusqlite::types::ValueRef::*;
    let text = |row: &Row, i| {
        Ok(match row.get_ref(i)? {
            Null => String::new(),
            Integer(i) => i.to_string(),
            Real(x) => x.to_string(),
            Text(t) | Blob(t) => String::from_utf8_lossy(t).into_owned(),
        })
    };
    let line = |row: &Row| Ok((0..columns).map(|i| text(row, i)).collect::<rusqlite::Result<Vec<_>>>()?.join("|"));
    query.query_map([], line).and_then(|rows| rows.collect()).expect("the query runs")
}

/// Every table with its columns, and whether each holds text.
fn columns() -> BTreeMap<String, Vec<(String, bool)>> {
    let c = made(SCHEMA);
    let sql = "SELECT m.name, p.name, p.type = 'TEXT' FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table'";
    let mut tables: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for (table, column, text) in all(&c, sql, |r| Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?))) {
        tables.entry(table).or_default().push((column, text));
    }
    tables
}

/// Somebody who types.
struct Operator<'a> {
    rng: &'a mut fastrand::Rng,
    columns: BTreeMap<String, Vec<(String, bool)>>,
    /// For ids that are new.
    keys: u32,
}

const TABLES: [&str; 21] = [
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillment_line_items",
    "fulfillment_line_items",
    "fulfillment_line_items",
    "line_items",
    "line_items",
    "orders",
    "orders",
    "orders",
    "events",
    "refunds",
    "disputes",
    "reviews",
    "outbox",
    "hook_runs",
    "order_history",
    "fraud_warnings",
];
const YOURS: [(&str, &[&str]); 5] = [
    ("orders", &["note", "hold_reason", "canceled_at", "cancel_reason", "email", "shipping_line1", "name"]),
    ("line_items", &["canceled_quantity"]),
    (
        "fulfillments",
        &[
            "status",
            "status",
            "status",
            "tracking_company",
            "tracking_number",
            "tracking_url",
            "note",
            "shipped_at",
            "delivered_at",
            "canceled_at",
        ],
    ),
    ("fulfillment_line_items", &["quantity"]),
    ("events", &["state"]),
];
const ODD: [&str; 22] = [
    "NULL",
    "''",
    "' '",
    "0",
    "-1",
    "1",
    "2",
    "1.5",
    "'1'",
    "'x'",
    "x'00ff'",
    "9223372036854775807",
    "-9223372036854775808",
    "9e999",
    "9223372036854775808",
    "'ﬁ€\u{202e}'",
    "'it''s'",
    "char(0)",
    "zeroblob(3)",
    "random()",
    "TRUE",
    "'pending'",
];
const TIMES: [&str; 14] = [
    "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')",
    "'2026-11-24T03:05:00Z'",
    "'2026-11-24T03:05:00Z'",
    "'2026-11-24'",
    "'2026-11-24T03:05:00+01:00'",
    "'2026-11-24 03:05:00'",
    "'now'",
    "'2026-02-30T00:00:00Z'",
    "'0000-01-01T00:00:00Z'",
    "'2461000.5'",
    "1795489500",
    "datetime('now')",
    "'9999-12-31T23:59:59Z'",
    "'-4713-11-24T12:00:00Z'",
];

impl Operator<'_> {
    fn line(&mut self) -> String {
        match self.rng.u32(0..100) {
            0..32 => self.update(),
            32..47 => self.insert(),
            47..52 => self.delete(),
            52..76 => self.verb(),
            76..84 => self.stripe(),
            84..94 => self.frame(),
            // Seldom, because every compiled statement goes with it.
            94 if self.one_in(6) => "PRAGMA recursive_triggers = ON".into(),
            95 if self.one_in(6) => "PRAGMA recursive_triggers = OFF".into(),
            94..97 => self.verb(),
            97 => "UPDATE actor SET name = 'operator-override'".into(),
            _ => "UPDATE actor SET name = 'operator'".into(),
        }
    }

    fn frame(&mut self) -> String {
        let name = self.pick(&["a", "b"]);
        match self.rng.u32(0..10) {
            0..2 => "BEGIN".into(),
            2..5 => "COMMIT".into(),
            5 => "ROLLBACK".into(),
            6..8 => format!("SAVEPOINT {name}"),
            8 => format!("RELEASE {name}"),
            _ => format!("ROLLBACK TO {name}"),
        }
    }

    fn update(&mut self) -> String {
        let table = self.pick(&TABLES);
        let or = self.or();
        let sets = self.sets(table);
        let from = if self.one_in(12) { " FROM orders AS o" } else { "" };
        let condition = self.condition(table);
        let condition = if from.is_empty() || condition.is_empty() {
            condition
        } else {
            condition.replace(" id ", &format!(" {table}.id "))
        };
        format!("UPDATE {or}{table} SET {sets}{from}{condition}")
    }

    fn sets(&mut self, table: &str) -> String {
        let mut sets = BTreeMap::new();
        for _ in 0..if self.one_in(3) { self.rng.usize(2..4) } else { 1 } {
            let yours = YOURS.iter().find(|(t, _)| *t == table).map(|(_, columns)| *columns);
            let column = match yours {
                Some(columns) if !self.one_in(6) => self.pick(columns).to_string(),
                _ => self.column(table),
            };
            let value = self.value(table, &column);
            sets.insert(column, value);
        }
        sets.iter().map(|(column, value)| format!("{column} = {value}")).collect::<Vec<_>>().join(", ")
    }

    fn insert(&mut self) -> String {
        let table = self.pick(&TABLES);
        let verb = match self.rng.u32(0..3) {
            0 => "REPLACE ".to_string(),
            _ => format!("INSERT {}", self.or()),
        };
        let condition = self.condition(table);
        if self.one_in(3) {
            // A row again, or all but one column of it.
            let names: Vec<String> = self.columns[table].iter().map(|(name, _)| name.clone()).collect();
            let other = self.column(table);
            let value = self.value(table, &other);
            let values: Vec<&str> = names.iter().map(|name| if *name == other { &value[..] } else { name }).collect();
            return format!("{verb}INTO {table} SELECT {} FROM {table}{condition}", values.join(", "));
        }
        let mut names: Vec<String> = self.columns[table].iter().map(|(name, _)| name.clone()).collect();
        names.retain(|_| !self.one_in(4));
        if names.is_empty() {
            return format!("{verb}INTO {table} DEFAULT VALUES");
        }
        let rows = if self.one_in(4) { 2 } else { 1 };
        let row = |me: &mut Self| names.iter().map(|name| me.value(table, name)).collect::<Vec<_>>().join(", ");
        let rows: Vec<String> = (0..rows).map(|_| format!("({})", row(self))).collect();
        let upsert = if verb.starts_with("INSERT INTO") || self.one_in(2) {
            match self.rng.u32(0..4) {
                0 => " ON CONFLICT DO NOTHING".into(),
                1 => format!(" ON CONFLICT DO UPDATE SET {}", self.sets(table)),
                _ => String::new(),
            }
        } else {
            String::new()
        };
        format!("{verb}INTO {table}({}) VALUES{}{upsert}", names.join(", "), rows.join(", "))
    }

    fn delete(&mut self) -> String {
        let table = self.pick(&TABLES);
        format!("DELETE FROM {table}{}", self.condition(table))
    }

    fn verb(&mut self) -> String {
        let or = if self.one_in(4) { self.or() } else { String::new() };
        let rows = if self.one_in(5) { 2 } else { 1 };
        let verb = self.pick(&["ship", "ship", "ship", "deliver", "cancel", "hold", "release", "settle", "early"]);
        let rows: Vec<String> = (0..rows)
            .map(|_| {
                let order = self.order();
                let values = match verb {
                    "ship" => format!(
                        "{}, {}, {}",
                        self.value("fulfillments", "tracking_company"),
                        self.value("fulfillments", "tracking_number"),
                        self.value("fulfillments", "tracking_url")
                    ),
                    "cancel" => self.value("orders", "cancel_reason"),
                    "hold" => self.value("orders", "hold_reason"),
                    "settle" => self.value("fulfillment_line_items", "fulfillment_id"),
                    "early" => self.value("refunds", "payment_intent_id"),
                    _ => return format!("({order})"),
                };
                format!("({order}, {values})")
            })
            .collect();
        format!("INSERT {or}INTO {verb} VALUES{}", rows.join(", "))
    }

    /// In between, the daemon writes.
    fn stripe(&mut self) -> String {
        self.keys += 1;
        let (order, key) = (self.rng.u32(1..25), self.keys);
        let refund = self.pick(&["pending", "succeeded", "failed", "canceled", "requires_action", "some_new_word"]);
        let dispute = self.pick(&["needs_response", "under_review", "won", "lost"]);
        let closed = self.pick(&["'approved'", "'refunded'", "NULL"]);
        let row = "'eur', '2026-11-21T09:00:00Z', '2026-11-21T09:00:00Z'";
        let fact = match self.rng.u32(0..9) {
            0 => format!(
                "INSERT INTO refunds(id, payment_intent_id, status, amount, currency, created_at, as_of) VALUES('re_n{key}', 'pi_{order}', '{refund}', 300, {row})"
            ),
            1 => format!("UPDATE refunds SET status = '{refund}' WHERE payment_intent_id = 'pi_{order}'"),
            2 => format!(
                "INSERT INTO disputes(id, payment_intent_id, status, amount, currency, created_at, as_of) VALUES('dp_n{key}', 'pi_{order}', '{dispute}', 300, {row})"
            ),
            3 => format!("UPDATE disputes SET status = '{dispute}' WHERE payment_intent_id = 'pi_{order}'"),
            4 => {
                format!("UPDATE reviews SET open = 0, closed_reason = {closed} WHERE payment_intent_id = 'pi_{order}'")
            }
            5 => {
                "UPDATE orders SET payment_status = 'paid', paid_at = '2026-11-22T09:00:00Z' WHERE id IN(5, 24)".into()
            }
            6 => "UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24 AND payment_intent_id IS NULL".into(),
            7 => format!(
                "UPDATE events SET state = 'done', processed_at = '2026-11-22T09:00:00Z' WHERE id = 'evt_{}'",
                self.rng.u32(1..5)
            ),
            _ => format!(
                "UPDATE fraud_warnings SET actionable = {} WHERE payment_intent_id = 'pi_{order}'",
                self.rng.u32(0..2)
            ),
        };
        stripe(&fact)
    }

    fn or(&mut self) -> String {
        match self.rng.u32(0..12) {
            0..2 => "OR REPLACE ",
            2..4 => "OR IGNORE ",
            4 => "OR ROLLBACK ",
            5 => "OR FAIL ",
            _ => "",
        }
        .into()
    }

    fn condition(&mut self, table: &str) -> String {
        let id = if table == "fulfillment_line_items" { "fulfillment_id" } else { "id" };
        let value = self.value(table, id);
        match self.rng.u32(0..10) {
            0 => String::new(),
            1 => " WHERE 1".into(),
            2 if self.columns[table].iter().any(|(name, _)| name == "status") => {
                format!(" WHERE status = {}", self.value(table, "status"))
            }
            3..6 if self.columns[table].iter().any(|(name, _)| name == "order_id") => {
                format!(" WHERE order_id = {}", self.order())
            }
            6 => format!(" WHERE {id} IN({value}, {})", self.value(table, id)),
            7 => format!(" WHERE {id} = (SELECT max({id}) FROM {table})"),
            _ => format!(" WHERE {id} = {value}"),
        }
    }

    fn value(&mut self, table: &str, column: &str) -> String {
        if self.one_in(9) {
            return match self.rng.u32(0..6) {
                0 => self.column(table),
                1 => format!("{column} + 1"),
                2 => format!("(SELECT max({column}) FROM {table})"),
                3 => "NULL".into(),
                _ => self.pick(&ODD).into(),
            };
        }
        let order = self.rng.u32(1..25);
        match (table, column) {
            (_, "status") => format!(
                "'{}'",
                self.pick(&["pending", "shipped", "delivered", "canceled", "succeeded", "won", "Shipped"])
            ),
            (_, "payment_status") => format!("'{}'", self.pick(&["paid", "unpaid", "failed", "no_payment_required"])),
            (_, "state") => format!("'{}'", self.pick(&["pending", "done", "ignored", "failed", "dead"])),
            (_, "cancel_reason") if !self.one_in(4) => {
                format!("'{}'", self.pick(&["customer", "fraud", "inventory", "other"]))
            }
            (_, "cancel_reason" | "hold_reason" | "note" | "tracking_url") if self.one_in(3) => "NULL".into(),
            (_, "tracking_number") => format!("'JD{}'", self.rng.u32(0..12)),
            (_, "tracking_company") => self.pick(&["'DHL'", "' ups '", "'Bike'", "NULL"]).into(),
            (_, "order_id") => self.order(),
            (_, "canceled_at") if self.one_in(3) => "NULL".into(),
            (_, "id" | "line_item_id") if table.contains("line_item") => format!("'li_{order}_{}'", self.rng.u32(1..3)),
            ("events", "id") | (_, "event_id") => format!("'evt_{}'", self.rng.u32(1..6)),
            ("refunds", "id") => format!("'re_{order}'"),
            ("disputes", "id") => format!("'dp_{}'", self.rng.u32(11..14)),
            ("reviews", "id") => format!("'prv_{}'", self.rng.u32(14..16)),
            ("fraud_warnings", "id") => "'issfr_2'".into(),
            (_, "id" | "fulfillment_id") => self.rng.u32(1..45).to_string(),
            (_, "payment_intent_id") => format!("'pi_{order}'"),
            (_, "checkout_session_id") => format!("'cs_{order}'"),
            (_, "currency") => "'eur'".into(),
            (_, "custom_fields" | "tax_ids" | "metadata") => "'[]'".into(),
            (_, "what") => self.pick(&["'note'", "'fulfillment 1 status'", "'order'"]).into(),
            (_, "actor") => self.pick(&["'operator'", "'stripe:evt_1'", "'fulfilld:undo'"]).into(),
            (_, "topic") => self.pick(&["'fulfillment.shipped'", "'order.paid'", "'order.canceled'"]).into(),
            (_, "key") => {
                format!("'{}'", self.pick(&["order:1:canceled", "fulfillment:1:shipped", "refund:re_9", "x"]))
            }
            (_, name) if name.ends_with("_at") || name == "as_of" || name == "at" => self.pick(&TIMES).into(),
            (_, name) if self.columns[table].iter().any(|(known, text)| known == name && *text) => {
                self.pick(&["''", "'DHL'", "'blue'", "'https://example.org/'", "NULL"]).into()
            }
            _ => self.rng.u32(0..5).to_string(),
        }
    }

    fn order(&mut self) -> String {
        if self.one_in(15) { self.pick(&ODD).into() } else { self.rng.u32(1..26).to_string() }
    }

    fn column(&mut self, table: &str) -> String {
        let n = self.rng.usize(0..self.columns[table].len());
        self.columns[table][n].0.clone()
    }

    fn pick<'b>(&mut self, from: &[&'b str]) -> &'b str {
        from[self.rng.usize(0..from.len())]
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }
}

/// What begins a line that the daemon writes.
const BY_STRIPE: &str = "SAVEPOINT daemon;";
const STRIPE: &str = "stripe:evt_9";

/// A fact as the daemon writes it: one transaction, or a part of the one that is open.
fn stripe(fact: &str) -> String {
    format!(
        "{BY_STRIPE} UPDATE actor SET name = '{STRIPE}'; {fact}; UPDATE actor SET name = 'operator'; RELEASE daemon"
    )
}

/// Lines that do harm where one trigger is missing; after `stripe:` the daemon's.
const PROBES: [(&str, &[&str]); 85] = [
    ("actor_delete", &["DELETE FROM actor"]),
    ("actor_insert", &["REPLACE INTO actor VALUES(1, 'fulfilld:me')"]),
    ("cancel_insert", &["INSERT INTO cancel VALUES(1, 'customer')"]),
    ("deliver_insert", &["INSERT INTO deliver VALUES(3)"]),
    (
        "disputes_came",
        &[
            "stripe: INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of) VALUES('x', 'pi_1', 300, 'eur', 'needs_response', '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("disputes_changed", &["stripe: UPDATE disputes SET status = 'won' WHERE id = 'dp_11'"]),
    ("disputes_delete", &["DELETE FROM disputes"]),
    ("disputes_facts", &["UPDATE disputes SET status = 'won' WHERE id = 'dp_11'"]),
    (
        "disputes_insert",
        &[
            "INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of) VALUES('x', 'pi_98', 300, 'eur', 'needs_response', '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("early_insert", &["stripe: UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24"]),
    ("events_delete", &["DELETE FROM events"]),
    ("events_facts", &["UPDATE events SET payload = '{}' WHERE id = 'evt_4'"]),
    (
        "events_insert",
        &[
            "REPLACE INTO events(id, type, shape, source, received_at) VALUES('evt_1', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z')",
            "INSERT INTO events(id, type, shape, source, received_at, state) VALUES('x', 'x', 'thin', 'webhook', '2026-11-20T08:00:00Z', 'failed')",
        ],
    ),
    ("events_parked", &["stripe: UPDATE events SET state = 'failed' WHERE id = 'evt_2'"]),
    (
        "events_replay",
        &[
            "UPDATE events SET state = 'pending' WHERE id = 'evt_1'",
            "UPDATE events SET state_reason = 'due' WHERE id = 'evt_1' AND attempts = 0",
        ],
    ),
    ("events_state", &["UPDATE events SET state = 'done' WHERE id = 'evt_2'"]),
    (
        "fraud_warnings_came",
        &[
            "stripe: INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, as_of) VALUES('x', 'pi_1', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("fraud_warnings_changed", &["stripe: UPDATE fraud_warnings SET actionable = 0 WHERE id = 'issfr_2'"]),
    ("fraud_warnings_delete", &["DELETE FROM fraud_warnings"]),
    ("fraud_warnings_facts", &["UPDATE fraud_warnings SET actionable = 0 WHERE id = 'issfr_2'"]),
    (
        "fraud_warnings_insert",
        &[
            "INSERT INTO fraud_warnings(id, payment_intent_id, actionable, created_at, as_of) VALUES('x', 'pi_98', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    (
        "fulfillment_line_items_changed",
        &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"],
    ),
    ("fulfillment_line_items_delete", &["DELETE FROM fulfillment_line_items WHERE fulfillment_id = 1"]),
    ("fulfillment_line_items_insert", &["INSERT INTO fulfillment_line_items VALUES(1, 'li_2_1', 1)"]),
    ("fulfillment_line_items_put", &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"]),
    ("fulfillment_line_items_split", &["UPDATE fulfillment_line_items SET quantity = 1 WHERE line_item_id = 'li_2_1'"]),
    ("fulfillment_line_items_taken", &["UPDATE line_items SET canceled_quantity = quantity WHERE id = 'li_2_1'"]),
    ("fulfillment_line_items_update", &["UPDATE fulfillment_line_items SET quantity = 99 WHERE fulfillment_id = 1"]),
    ("fulfillments_blocked", &["UPDATE fulfillments SET status = 'shipped' WHERE order_id = 17"]),
    ("fulfillments_changed", &["UPDATE fulfillments SET note = 'blue' WHERE id = 1"]),
    ("fulfillments_created", &["stripe: UPDATE orders SET payment_status = 'paid' WHERE id = 5"]),
    ("fulfillments_dates", &["UPDATE fulfillments SET shipped_at = NULL WHERE order_id = 18"]),
    ("fulfillments_delete", &["DELETE FROM fulfillments WHERE order_id = 18"]),
    ("fulfillments_identity", &["UPDATE fulfillments SET order_id = 2 WHERE id = 1"]),
    ("fulfillments_insert", &["INSERT INTO fulfillments(order_id) VALUES(1)"]),
    ("fulfillments_moved", &["UPDATE fulfillments SET status = 'shipped' WHERE id = 1"]),
    ("fulfillments_status", &["UPDATE fulfillments SET status = 'shipped' WHERE order_id = 19"]),
    ("fulfillments_tracking", &["UPDATE fulfillments SET tracking_number = 'JD18' WHERE order_id = 1"]),
    (
        "fulfillments_url",
        &[
            "INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)",
            "UPDATE fulfillments SET note = 'followed' WHERE order_id = 1 AND tracking_url LIKE '%JD1'",
        ],
    ),
    ("hold_insert", &["INSERT INTO hold VALUES(1, 'asks for blue')"]),
    (
        "hook_runs_delete",
        &[
            "stripe: INSERT INTO hook_runs(outbox_id, target, next_attempt_at) VALUES(1, '/opt/hook', '1')",
            "DELETE FROM hook_runs",
        ],
    ),
    ("hook_runs_insert", &["INSERT INTO hook_runs(outbox_id, target, next_attempt_at) VALUES(1, '/opt/hook', '1')"]),
    (
        "hook_runs_update",
        &[
            "stripe: INSERT INTO hook_runs(outbox_id, target, next_attempt_at) VALUES(1, '/opt/hook', '1')",
            "UPDATE hook_runs SET state = 'done'",
        ],
    ),
    ("line_items_canceled", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_18_1'"]),
    ("line_items_changed", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_2_1'"]),
    ("line_items_delete", &["DELETE FROM line_items WHERE order_id = 5"]),
    ("line_items_facts", &["UPDATE line_items SET name = 'Cup'"]),
    (
        "line_items_insert",
        &[
            "INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_total, requires_shipping) VALUES('x', 5, 9, 'Cup', 1, 'eur', 1, 1)",
        ],
    ),
    ("news_insert", &["stripe: UPDATE orders SET payment_status = 'paid' WHERE payment_status = 'unpaid'"]),
    ("order_history_delete", &["DELETE FROM order_history"]),
    (
        "order_history_grows",
        &["INSERT INTO order_history(id, order_id, actor, what) VALUES(-5, 1, 'operator', 'note')"],
    ),
    ("order_history_insert", &["INSERT INTO order_history(order_id, actor, what) VALUES(1, 'stripe:evt_1', 'note')"]),
    ("order_history_update", &["UPDATE order_history SET new = 'unpaid'"]),
    ("orders_cancel", &["UPDATE orders SET canceled_at = NULL, cancel_reason = NULL WHERE id = 16"]),
    ("orders_changed", &["UPDATE orders SET note = 'blue' WHERE id = 1"]),
    (
        "orders_created",
        &[
            "stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_total, created_at, as_of) VALUES(25, 'cs_25', 'pi_25', 0, 'payment', 'unpaid', 'eur', 100, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("orders_delete", &["DELETE FROM orders WHERE id = 22"]),
    (
        "orders_early_insert",
        &[
            "stripe: INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_total, created_at, as_of) VALUES(25, 'cs_25', 'pi_99', 0, 'payment', 'unpaid', 'eur', 100, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("orders_early_update", &["stripe: UPDATE orders SET payment_intent_id = 'pi_99' WHERE id = 24"]),
    ("orders_facts", &["UPDATE orders SET metadata = '[]' WHERE id = 1"]),
    ("orders_identity", &["stripe: UPDATE orders SET id = 99 WHERE id = 22"]),
    (
        "orders_insert",
        &[
            "INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_total, created_at, as_of) VALUES(25, 'cs_25', 'pi_25', 0, 'payment', 'unpaid', 'eur', 100, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("orders_payment_intent", &["stripe: UPDATE OR REPLACE orders SET payment_intent_id = 'pi_1' WHERE id = 2"]),
    ("orders_sale_is_final", &["stripe: UPDATE orders SET payment_status = 'unpaid' WHERE id = 22"]),
    (
        "outbox_again",
        &[
            "UPDATE outbox SET state = 'dead', next_attempt_at = '2026-11-22T09:00:00Z' WHERE id = 1",
            "UPDATE outbox SET state = 'pending' WHERE id = 1",
            "UPDATE outbox SET attempts = 1 WHERE id = 1 AND next_attempt_at IS NULL AND last_error = 'again'",
        ],
    ),
    ("outbox_delete", &["DELETE FROM outbox"]),
    ("outbox_identity", &["UPDATE outbox SET key = 'x' WHERE id = 1"]),
    (
        "outbox_insert",
        &["INSERT INTO outbox(topic, order_id, key) VALUES('fulfillment.shipped', 1, 'fulfillment:1:shipped')"],
    ),
    (
        "outbox_undone",
        &[
            "UPDATE outbox SET state = 'done', last_error = 'undone' WHERE id = 1",
            "UPDATE outbox SET state = 'pending' WHERE id = 1",
        ],
    ),
    (
        "refunds_came",
        &[
            "stripe: INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of) VALUES('x', 'pi_1', 300, 'eur', 'succeeded', '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("refunds_changed", &["stripe: UPDATE refunds SET status = 'succeeded' WHERE id = 're_10'"]),
    ("refunds_delete", &["DELETE FROM refunds"]),
    ("refunds_facts", &["UPDATE refunds SET status = 'succeeded' WHERE id = 're_10'"]),
    (
        "refunds_insert",
        &[
            "INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of) VALUES('x', 'pi_98', 300, 'eur', 'succeeded', '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("release_insert", &["INSERT INTO release VALUES(17)"]),
    (
        "reviews_came",
        &[
            "stripe: INSERT INTO reviews(id, payment_intent_id, open, created_at, as_of) VALUES('x', 'pi_1', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("reviews_changed", &["stripe: UPDATE reviews SET open = 0 WHERE id = 'prv_14'"]),
    ("reviews_delete", &["DELETE FROM reviews"]),
    ("reviews_facts", &["UPDATE reviews SET open = 0 WHERE id = 'prv_14'"]),
    (
        "reviews_insert",
        &[
            "INSERT INTO reviews(id, payment_intent_id, open, created_at, as_of) VALUES('x', 'pi_98', 1, '2026-11-22T09:00:00Z', '2026-11-22T09:00:00Z')",
        ],
    ),
    ("settle_insert", &["UPDATE line_items SET canceled_quantity = 1 WHERE id = 'li_2_1'"]),
    ("ship_insert", &["INSERT INTO ship VALUES(1, 'DHL', 'JD1', NULL)"]),
    ("shop_delete", &["DELETE FROM shop"]),
    ("shop_insert", &["REPLACE INTO shop VALUES(1, 1, '2026-11-01T00:00:00Z')"]),
    ("shop_update", &["UPDATE shop SET livemode = 1"]),
];
