//! The report: figures as a table for eyes, or as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Result;
use crate::backfill::Beside;
use crate::contender::Loaded;
use crate::load::{Latency, Outcome, Pace};
use crate::machine::Facts;
use crate::orders::Orders;
use crate::scale::Waited;
use crate::views::Typed;
use crate::yardstick::Rows;
use crate::{LIMIT_BATCH, median};

/// The contenders' names, as the tables show them.
pub const BARE: &str = "tiny_http, 200 at once";
pub const VERIFY: &str = "tiny_http, verify, keep nothing";
pub const PLAINLY: &str = "tiny_http, keep plainly";
pub const IN_OURS: &str = "tiny_http, keep in our tables";
pub const FULFILLD: &str = "fulfilld";
pub const OTHER: &str = "the other fulfilld";

/// With more than this share of the machine used by others, figures are not to be quoted.
const DISTURBED: f64 = 0.05;

#[derive(Serialize)]
pub struct Report {
    pub facts: Facts,
    pub starts: Vec<Start>,
    pub figures: Vec<Figures>,
    pub rows: Vec<Rows>,
    pub orders: Vec<Orders>,
    /// A row for each round.
    pub backfill: Vec<Beside>,
    pub views: Vec<Typed>,
    pub scale: Option<Scale>,
    limit: Option<Limit>,
}

/// A large shop.
#[derive(Serialize)]
pub struct Scale {
    pub what: String,
    pub waited: Vec<Waited>,
}

/// Starting, and memory.
#[derive(Default, Serialize)]
pub struct Start {
    pub contender: String,
    /// From exec to the first 200, with a new file and, the middle of several, with a file that is
    /// there.
    pub first_ms: f64,
    pub again_ms: Option<f64>,
    pub idle_mb: f64,
    /// At most, in all loads of the run together.
    pub peak_mb: f64,
}

/// One contender under one pace.
#[derive(Serialize)]
pub struct Figures {
    pub contender: String,
    #[serde(skip)]
    pace: Pace,
    pub under: String,
    pub events: usize,
    /// The middle of all rounds.
    pub events_per_s: f64,
    pub latency: Latency,
    pub cpu_s_per_1000: f64,
    /// What the generator used of its core: near 1 it is the generator that is measured.
    pub generator_busy: f64,
    /// Answers other than 2xx, and connections that ended without one.
    pub refused: BTreeMap<u16, u64>,
    pub broken: u64,
    pub used_by_others: f64,
}

/// The most that one core can do: verifying costs so much, and a row so much.
#[derive(Serialize)]
pub struct Limit {
    pub verify_us: f64,
    pub row_us: f64,
    pub events_per_s: f64,
    /// What fulfilld reaches of it in events a second, and in CPU time, which a disturbed machine
    /// changes less.
    pub reached: f64,
    pub reached_in_cpu: f64,
}

impl Report {
    pub fn of(facts: Facts) -> Report {
        let (starts, figures, rows, orders) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (views, backfill, scale, limit) = (Vec::new(), Vec::new(), None, None);
        Report { facts, starts, figures, rows, orders, backfill, views, scale, limit }
    }

    /// Prints everything; fails when a contender refused or dropped what it should have kept.
    pub fn print(mut self, json: bool) -> Result<()> {
        self.limit = self.limit();
        if json {
            println!("{}", serde_json::to_string_pretty(&self).map_err(|e| e.to_string())?);
        } else {
            self.print_tables();
        }
        let failed = self.figures.iter().find(|f| f.broken > 0 || !f.refused.is_empty());
        match failed {
            None => Ok(()),
            Some(f) => Err(format!(
                "{} under {}: {} unanswered, refused {:?}",
                f.contender, f.under, f.broken, f.refused
            )),
        }
    }

    fn limit(&self) -> Option<Limit> {
        let most = self.figures.iter().filter_map(|f| match f.pace {
            Pace::Clients(n) => Some(n),
            Pace::PerSecond(_) => None,
        });
        let most = most.max()?;
        let of = |name: &str| {
            self.figures
                .iter()
                .find(|f| f.contender == name && matches!(f.pace, Pace::Clients(n) if n == most))
        };
        let row = self.rows.iter().find(|r| r.table == "plain" && r.batch == LIMIT_BATCH)?;
        let (verify_us, row_us) = (of(VERIFY)?.cpu_s_per_1000 * 1000.0, row.cpu_us_per_row);
        let events_per_s = 1e6 / (verify_us + row_us);
        let fulfilld = of(FULFILLD)?;
        let reached = fulfilld.events_per_s / events_per_s;
        let reached_in_cpu = (verify_us + row_us) / (fulfilld.cpu_s_per_1000 * 1000.0);
        Some(Limit { verify_us, row_us, events_per_s, reached, reached_in_cpu })
    }

    /// How many times as fast fulfilld is under the same load.
    fn times(&self, row: &Figures) -> String {
        let is_its = |f: &&Figures| f.contender == FULFILLD && f.pace == row.pace;
        match self.figures.iter().find(is_its) {
            Some(own) if row.contender != FULFILLD && matches!(row.pace, Pace::Clients(_)) => {
                format!("{:.2}x", own.events_per_s / row.events_per_s)
            }
            _ => String::new(),
        }
    }

    fn print_tables(&self) {
        let f = &self.facts;
        println!(
            "{} cores ({}), {} MB, Linux {}, {}",
            f.cores, f.cpu, f.memory_mb, f.kernel, f.file_system
        );
        println!(
            "fsync {:.2} ms, SQLite {}, WAL, synchronous=FULL; {}",
            f.fsync_ms,
            f.sqlite,
            if f.pinned {
                "server on one core, load on another"
            } else {
                "server and load share the one core"
            },
        );
        println!(
            "events: checkout.session.completed, 4.2 KB, signed, unique; a new connection for each"
        );
        let mut under = "";
        for row in &self.figures {
            if row.under != under {
                under = &row.under;
                println!(
                    "\n{under:<34}{:>9}{:>9}{:>9}{:>9}{:>9}{:>13}{:>12}",
                    "events/s", "p50 ms", "p99", "p99.9", "max", "CPU-s/1,000", "fulfilld is"
                );
            }
            let l = &row.latency;
            print!(
                "  {:<32}{:>9.0}{:>9.2}{:>9.2}",
                row.contender, row.events_per_s, l.p50_ms, l.p99_ms
            );
            println!(
                "{:>9.2}{:>9.2}{:>13.3}{:>12}{}",
                l.p999_ms,
                l.max_ms,
                row.cpu_s_per_1000,
                self.times(row),
                row.warning()
            );
        }
        if !self.rows.is_empty() {
            println!("\n{:<34}{:>9}{:>13}", "SQLite alone", "rows/s", "CPU us/row");
        }
        for row in &self.rows {
            let name = format!("{} table, batches of {}", row.table, row.batch);
            println!("  {name:<32}{:>9.0}{:>13.1}", row.rows_per_s, row.cpu_us_per_row);
        }
        if let Some(limit) = &self.limit {
            println!(
                "\nOne core cannot pass {:.0} events/s: verifying takes {:.0} us, a row {:.0} us.",
                limit.events_per_s, limit.verify_us, limit.row_us
            );
            let (reached, in_cpu) = (limit.reached * 100.0, limit.reached_in_cpu * 100.0);
            println!("fulfilld reaches {reached:.0} % of it, {in_cpu:.0} % by its CPU time.");
        }
        if !self.starts.is_empty() {
            println!(
                "\n{:<34}{:>9}{:>9}{:>9}{:>9}",
                "start to first 200, memory", "first ms", "again", "idle MB", "peak MB"
            );
        }
        for s in &self.starts {
            let again = s.again_ms.map_or("-".into(), |ms| format!("{ms:.0}"));
            println!(
                "  {:<32}{:>9.0}{again:>9}{:>9.1}{:>9.1}",
                s.contender, s.first_ms, s.idle_mb, s.peak_mb
            );
        }
        if !self.orders.is_empty() {
            println!(
                "\n{:<34}{:>9}{:>13}{:>13}{:>9}{:>9}",
                "webhook to order, Stripe 100 ms",
                "orders/s",
                "calls/order",
                "of the rate",
                "429s",
                "ms"
            );
        }
        for o in &self.orders {
            let share =
                o.share_of_permitted.map_or("-".into(), |share| format!("{:.0} %", share * 100.0));
            print!("  {:<32}{:>9.1}{:>13.2}", o.setting, o.orders_per_s, o.calls_per_order);
            println!("{share:>13}{:>9}{:>9.0}", o.answered_429, o.webhook_to_order_ms);
        }
        if !self.backfill.is_empty() {
            println!(
                "\n{:<34}{:>9}{:>9}{:>9}{:>9}",
                "webhooks at 300 a second", "p50 ms", "p99", "p99.9", "max"
            );
        }
        for b in &self.backfill {
            let meanwhile = format!("{} fetched meanwhile, {:.0}/s", b.fetched, b.fetched_per_s);
            for (what, l) in [("nothing to fetch", &b.quiet), (&meanwhile, &b.meanwhile)] {
                println!(
                    "  {what:<32}{:>9.2}{:>9.2}{:>9.2}{:>9.2}",
                    l.p50_ms, l.p99_ms, l.p999_ms, l.max_ms
                );
            }
        }
        if !self.backfill.is_empty() {
            let times = median(self.backfill.iter().map(|b| b.times).collect());
            println!("  p99 is {times:.1} times as long, the middle round's (goal: at most 2)");
        }
        if !self.views.is_empty() {
            println!(
                "\n{:<78}{:>9}{:>9}{:>9}",
                "the sqlite3 shell at 100,000 orders, 300,000 lines, 1,000 to send",
                "ms",
                "CPU ms",
                "goal"
            );
        }
        for v in &self.views {
            let late = if v.ms > v.goal_ms { "  (TOO LATE)" } else { "" };
            let (ms, cpu, goal) = (v.ms, v.cpu_ms, v.goal_ms);
            println!("  {:<76}{ms:>9.0}{cpu:>9.0}{goal:>9.0}{late}", v.line);
        }
        if let Some(scale) = &self.scale {
            println!("\n{:<78}{:>9}{:>9}{:>9}", scale.what, "ms", "CPU ms", "goal");
            for w in &scale.waited {
                let missed = if w.is_met() { "" } else { "  (MISSED)" };
                let places = if w.is_share { 2 } else { 0 };
                let cpu = w.cpu_ms.map_or("-".into(), |ms| format!("{ms:.0}"));
                print!("  {:<76}{:>9.places$}", w.what, w.took);
                println!("{cpu:>9}{:>9.places$}{missed}", w.goal);
            }
        }
    }
}

impl Figures {
    /// Sums up the rounds.
    pub fn of(contender: &str, pace: Pace, rounds: Vec<Loaded>) -> Figures {
        let rates = rounds.iter().map(|r| r.outcome.per_second()).collect();
        let others = rounds.iter().map(|r| r.others).sum::<f64>() / rounds.len() as f64;
        let cpu: f64 = rounds.iter().map(|r| r.cpu.as_secs_f64()).sum();
        let generator: f64 = rounds.iter().map(|r| r.generator_cpu.as_secs_f64()).sum();
        let mut all = Outcome::default();
        for round in rounds {
            all.add(round.outcome);
        }
        let events = all.acknowledged.len();
        Figures {
            contender: contender.into(),
            pace,
            under: self::pace(pace),
            events,
            events_per_s: median(rates),
            latency: all.latency(),
            cpu_s_per_1000: cpu * 1000.0 / events.max(1) as f64,
            generator_busy: generator / all.took.as_secs_f64(),
            refused: all.refused,
            broken: all.broken,
            used_by_others: others,
        }
    }

    fn warning(&self) -> String {
        let broken = self.broken + self.refused.values().sum::<u64>();
        match (broken, self.used_by_others) {
            (0, ..DISTURBED) => String::new(),
            (0, others) => format!("  (others used {:.0} % of the machine)", others * 100.0),
            (n, _) => format!("  ({n} FAILED)"),
        }
    }
}

/// A pace in words.
pub fn pace(pace: Pace) -> String {
    match pace {
        Pace::Clients(1) => "1 client".into(),
        Pace::Clients(n) => format!("{n} clients"),
        Pace::PerSecond(n) => format!("{n} a second"),
    }
}
