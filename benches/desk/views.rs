//! The stock `sqlite3` shell in a large shop: how long the operator waits for a view or a verb.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde::Serialize;

use crate::{Result, median};

/// A shop of some years: 100,000 orders of three lines, the last 1,000 not sent yet, refunds on 5 %
/// and disputes on 1 %.
const SHOP: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
BEGIN;
INSERT INTO shop VALUES(1, 0, '2026-01-01T00:00:00Z');
UPDATE actor SET name = 'stripe:evt_bench';
INSERT INTO orders(checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency, amount_subtotal,
  amount_total, name, email, shipping_name, shipping_line1, created_at, as_of)
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
SELECT 'cs_' || i, 'pi_' || i, 0, 'payment', 'unpaid', 'eur', 300, 300, 'Ada', 'ada@example.com',
'Ada', '12 Rue Exemple',
  strftime('%Y-%m-%dT%H:%M:%SZ', 'now', (4 * (i - 100000)) || ' minutes'), '2026-01-01T00:00:00.000000Z' FROM n;
INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_subtotal,
amount_total, requires_shipping)
SELECT 'li_' || id || '_' || column1, id, column1, 'Mug', 2, 'eur', 100, 100, 1 FROM orders, (VALUES(1), (2), (3));
UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at;
UPDATE fulfillments SET status = 'shipped', tracking_number = 'JD' || order_id WHERE order_id <= 99000;
INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT 're_' || id, payment_intent_id, 100, 'eur', 'succeeded', created_at, as_of FROM orders WHERE id % 20 = 0;
INSERT INTO disputes(id, payment_intent_id, amount, currency, status, created_at, as_of)
SELECT 'dp_' || id, payment_intent_id, 300, 'eur', 'won', created_at, as_of FROM orders WHERE id % 100 = 1;
UPDATE actor SET name = 'operator';
COMMIT;";

/// What is typed, with the order's number in place of {}, and how long it may take.
const TYPED: [(&str, f64); 16] = [
    ("SELECT * FROM order_overview WHERE id = {}", 20.0),
    ("SELECT * FROM order_lines WHERE order_id = {}", 20.0),
    ("SELECT * FROM order_history WHERE order_id = {}", 20.0),
    ("SELECT * FROM to_ship WHERE order_id = {}", 20.0),
    ("SELECT * FROM order_overview ORDER BY id DESC LIMIT 50", 20.0),
    ("UPDATE fulfillment_line_items SET quantity = 1 WHERE fulfillment_id = {} + 700", 20.0),
    ("INSERT INTO hold VALUES({}, 'asks for blue')", 20.0),
    ("INSERT INTO release VALUES({})", 20.0),
    ("INSERT INTO ship VALUES({}, 'DHL', 'JD{}', NULL)", 20.0),
    ("INSERT INTO deliver VALUES({})", 20.0),
    ("INSERT INTO cancel VALUES({} + 500, 'customer')", 20.0),
    ("SELECT * FROM to_ship", 300.0),
    ("SELECT * FROM to_fulfill", 300.0),
    ("SELECT * FROM attention", 1000.0),
    ("SELECT * FROM sales_by_day", 1000.0),
    ("SELECT * FROM order_overview", 5000.0),
];

/// How often each line is typed, for another order each time.
const TIMES: usize = 5;

/// The first of the orders for which something is typed; not sent yet.
const FIRST: usize = 99_100;

/// How long one line took, from Enter to the last row.
#[derive(Debug, Serialize)]
pub struct Typed {
    pub line: &'static str,
    /// The middle of several.
    pub ms: f64,
    /// Of the shell's CPU, which a busy machine changes less.
    pub cpu_ms: f64,
    pub goal_ms: f64,
}

/// Makes the shop and types every line into a shell.
pub fn run(room: &Path) -> Result<Vec<Typed>> {
    let file = room.join("views.db");
    let schema = include!("../../schema/whole.rs");
    Connection::open(&file)
        .and_then(|c| c.execute_batch(schema).and_then(|()| c.execute_batch(SHOP)))
        .map_err(|e| format!("cannot make a large shop: {e}"))?;
    TYPED
        .iter()
        .map(|(line, goal_ms)| {
            let (ms, cpu_ms) =
                typed(|n| timed(&file, &line.replace("{}", &(FIRST + n).to_string())))?;
            Ok(Typed { line, ms, cpu_ms, goal_ms: *goal_ms })
        })
        .collect()
}

/// Each time in a shell of its own, as somebody who opens the file for that one line: the middle of
/// the times and of the CPU times.
pub fn typed(mut one: impl FnMut(usize) -> Result<(f64, f64)>) -> Result<(f64, f64)> {
    let (mut real, mut cpu) = (Vec::new(), Vec::new());
    for n in 0..TIMES {
        let (ms, cpu_ms) = one(n)?;
        real.push(ms);
        cpu.push(cpu_ms);
        // What takes as long as this is known from one time.
        if ms > 1000.0 {
            break;
        }
    }
    Ok((median(real), median(cpu)))
}

/// How many ms one line takes in a shell of its own, and how many of CPU.
pub fn timed(file: &Path, line: &str) -> Result<(f64, f64)> {
    timed_after(file, "", line)
}

/// The same in a shell that did something before, such as reading the schema.
pub fn timed_after(file: &Path, before: &str, line: &str) -> Result<(f64, f64)> {
    let said = shell(file, &format!("{before}\n.timer on\n{line};\n"))?;
    // Run Time: real 0.019 user 0.018012 sys 0.000401
    let told = said.lines().find_map(|l| l.strip_prefix("Run Time: ")).unwrap_or_default();
    let mut seconds = told.split(' ').filter_map(|word| word.parse::<f64>().ok());
    match (seconds.next(), seconds.next(), seconds.next()) {
        (Some(real), Some(user), Some(system)) => Ok((1000.0 * real, 1000.0 * (user + system))),
        _ => Err(format!("sqlite3 told no time for {line}")),
    }
}

/// Types lines into a `sqlite3` shell; returns what it says.
pub fn shell(file: &Path, lines: &str) -> Result<String> {
    let failed = |e: std::io::Error| format!("sqlite3 cannot be asked ({e}); run tests/setup");
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut keyboard = child.stdin.take().ok_or("the shell has no keyboard")?;
    keyboard.write_all(lines.as_bytes()).map_err(failed)?;
    drop(keyboard);
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(format!("sqlite3 refused a line: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
