//! `fulfilld demo`: the order desk, a simulated Stripe and a few purchases in one command, with no
//! account and no network.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sandbox::{KEY, Options, Purchase, Sandbox, Trigger};

use super::sandbox::translate;
use crate::config::hooks::Plan;
use crate::config::{self, Backfill, PageSettings, Settings, StripeAccess};
use crate::db;
use crate::error::{Error, Result};
use crate::serve::{self, Serving};
use crate::table::{self, Table};
use crate::text;

/// Everything the demo waits for takes a moment; a machine that needs longer has a problem worth
/// seeing.
const PATIENCE: Duration = Duration::from_secs(30);

const SECRET: &str = "whsec_demo";

/// What the demo's buyers do, in which order Stripe's events come, and what is worth noticing.
const PURCHASES: &[(&str, &[usize], &str)] = &[
    ("card", &[0, 1], ""),
    ("mixed", &[1, 1, 1, 0], "the same event three times"),
    ("delayed", &[2, 0, 1], "the payment settles before the checkout"),
    ("digital", &[0, 1], ""),
    ("discount", &[1, 0], ""),
    ("yen", &[0, 1], ""),
    ("unpaid", &[0], "the money is still under way"),
    ("refunded-in-part", &[0, 1, 2, 3], "a third goes back before it is packed"),
    ("authorized", &[1], "the money is held until you capture it"),
];

/// See it work: the order desk, a simulated Stripe and a few purchases, in one command
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld demo")]
#[command(
    long_about = "See it work: the order desk, a simulated Stripe and a few purchases, in one \
                  command

Everything is on 127.0.0.1 and nothing leaves this machine; no Stripe account is needed. The \
orders are in a real file, which another terminal reads and edits while the demo runs. Ctrl-C ends \
it and removes the file."
)]
pub struct Args {
    /// End when every order is there; exit 0 only if each is there exactly once
    #[arg(long)]
    once: bool,
    /// Keep the file, in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo. An error says what could not be started.
pub fn run(args: &Args) -> Result<()> {
    let stopped = serve::signals()?;
    let home = Home::make(args.keep.as_deref())?;
    let file = home.dir.join("fulfilld.db");
    let began = Instant::now();

    let options = Options { secret: SECRET.into(), ..Options::default() };
    let stripe = Sandbox::start(options).map_err(translate)?;
    let settings = Settings {
        db: file.clone(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        allow_public_listen: false,
        stripe: StripeAccess::new(KEY, &stripe.base_url(), 20.0)?,
        account: None,
        workers: 4,
        echo_after: Duration::ZERO,
        backfill: Backfill {
            every: Duration::from_secs(600),
            sweep_every: Duration::from_secs(21_600),
        },
        keep_payloads: None,
        hooks: Plan::default(),
        page: Some(PageSettings::of_the_demo()),
    };
    let desk = Serving::start(&settings, config::WEBHOOK_SECRET.of(SECRET).into_result()?)?;
    let webhook = format!("http://{}/webhook", desk.address());
    stripe.deliver_to(&webhook).map_err(translate)?;
    table::print(&format!(
        "fulfilld demo: everything on 127.0.0.1, nothing leaves this machine\n\n\
         \x20 a simulated Stripe   {}\n  the order desk       {webhook}\n  the packing table    \
         {}\n  the file             {}\n\n",
        stripe.base_url(),
        desk.page_url().unwrap_or_default(),
        file.display()
    ))?;

    let looking = db::open_for_reading(&file)?;
    let mut sessions = Vec::new();
    for (scenario, order_of_arrival, remark) in PURCHASES {
        let purchase = stripe.trigger(&Trigger { deliver: false, ..Trigger::of(scenario) });
        let purchase = purchase.map_err(translate)?.remove(0);
        let answers = delivered(&stripe, &purchase, order_of_arrival)?;
        let line = format!("  {scenario:16} {answers:<18} {remark}");
        table::print(&format!("{}\n", line.trim_end()))?;
        sessions.push(purchase.session);
        // One after the other, so that the orders have the numbers that the documents name.
        wait_for_orders(&looking, &sessions)?;
    }
    let orders = Table::query(
        &looking,
        "SELECT id AS \"order\", placed_at, customer, items, total, financial_status AS money,
           fulfillment_status AS goods
         FROM order_overview",
        [],
    )?;
    table::print(&format!(
        "\n{} orders on disk, each exactly once, after {:.1} s:\n\n{}\n",
        sessions.len(),
        began.elapsed().as_secs_f64(),
        orders.fitted(table::terminal_width().unwrap_or(100))
    ))?;

    if !args.once {
        table::print(&what_to_try(&file))?;
        let _ = stopped.recv();
    }
    desk.stop();
    Ok(())
}

/// Delivers a purchase's events as they are to come; what each was answered.
fn delivered(stripe: &Sandbox, purchase: &Purchase, order_of_arrival: &[usize]) -> Result<String> {
    let answers: Result<Vec<String>> = order_of_arrival
        .iter()
        .map(|n| Ok(stripe.deliver(&purchase.events[*n].id).map_err(translate)?.to_string()))
        .collect();
    Ok(answers?.join(" "))
}

/// Waits until each session has its order and no event is pending. `Permanent` when that does not
/// come about.
fn wait_for_orders(c: &Connection, sessions: &[String]) -> Result<()> {
    let count = |sql: &str, session: &str| -> Result<i64> {
        c.prepare_cached(sql)
            .and_then(|mut q| q.query_row([session], |row| row.get(0)))
            .map_err(db::translate)
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pending =
            count("SELECT count(*) FROM events WHERE state = 'pending' AND id <> ?1", "")?;
        let orders: Vec<i64> = sessions
            .iter()
            .map(|session| {
                count("SELECT count(*) FROM orders WHERE checkout_session_id = ?1", session)
            })
            .collect::<Result<_>>()?;
        if pending == 0 && orders.iter().all(|n| *n == 1) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Permanent(format!(
                "after {} s {pending} events are pending, and the purchases have {orders:?} orders; please report it",
                PATIENCE.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn what_to_try(file: &Path) -> String {
    let word = |path: &Path| text::shell_word(&path.to_string_lossy());
    let (file, program) =
        (word(file), std::env::current_exe().map_or("fulfilld".into(), |path| word(&path)));
    format!(
        "Now it is yours. In another terminal, with plain SQL or with the command:\n\n\
         \x20 sqlite3 -box {file} 'SELECT id, customer, total FROM order_overview'\n\
         \x20 sqlite3 -line {file} 'SELECT * FROM to_ship'\n\
         \x20 sqlite3 -line {file} 'SELECT * FROM to_capture'\n\
         \x20 sqlite3 {file} \"INSERT INTO ship VALUES(1, 'DHL', 'JD0146000034', NULL)\"\n\
         \x20 {program} ship 2 --company DHL --number JD0146000035 --db {file}\n\
         \x20 {program} orders show 2 --db {file}\n\
         \x20 sqlite3 -line {file} 'SELECT * FROM readme'\n\n\
         Ctrl-C ends the demo.\n"
    )
}

/// Where the file is; removed in the end unless it is to be kept.
struct Home {
    dir: PathBuf,
    keep: bool,
}

impl Home {
    fn make(keep: Option<&Path>) -> Result<Home> {
        let dir = match keep {
            Some(dir) => dir.to_path_buf(),
            None => std::env::temp_dir().join(format!("fulfilld-demo.{:08x}", fastrand::u32(..))),
        };
        let cannot = |e| {
            Error::Usage(format!(
                "cannot make the directory {}: {e}; name another with --keep",
                dir.display()
            ))
        };
        match keep {
            Some(_) => std::fs::create_dir_all(&dir).map_err(cannot)?,
            None => std::fs::create_dir(&dir).map_err(cannot)?,
        }
        Ok(Home { dir, keep: keep.is_some() })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
