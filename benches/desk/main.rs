//! `cargo bench`: fulfilld beside its yardsticks, over real sockets, in one run. README.md beside
//! this file says how.

mod backfill;
mod contender;
mod deliveries;
mod keeper;
mod load;
mod machine;
mod orders;
mod report;
mod scale;
mod views;
mod yardstick;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};

use contender::{Contender, Loaded, Program};
use load::Pace;
use machine::{Facts, Side};
use orders::Orders;
use report::{Figures, Report, Start};
use yardstick::{Inserter, Rows};

/// A sentence for the person at the terminal; no caller decides by its kind.
type Result<T> = std::result::Result<T, String>;

/// Load before the clock runs, so that caches, pools and files are as in the middle of a day.
const WARM_UP: Duration = Duration::from_millis(300);

/// An idle server has settled after this long.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Transactions as large as the writer makes them, and smaller.
const BATCHES: [usize; 4] = [1, 8, 64, 256];

/// The batch that 64 clients lead to: the row cost of the compound limit.
const LIMIT_BATCH: usize = 64;

/// Measures fulfilld beside its yardsticks: `cargo bench -- [PARTS] [OPTIONS]`.
#[derive(Parser)]
#[command(name = "cargo bench --")]
struct Arguments {
    /// What to measure; everything when not said
    parts: Vec<Part>,
    /// One short round of everything, in about half a minute
    #[arg(long)]
    quick: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Clients of the closed loop, each with one delivery under way
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_name = "N,…")]
    clients: Vec<usize>,
    /// Deliveries a second of the open loop
    #[arg(long, value_delimiter = ',', default_value = "300,2300", value_name = "N,…")]
    rates: Vec<u32>,
    /// Seconds of one measurement
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Measurements of each kind, the contenders taking turns
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Another fulfilld to measure beside this one (may be given several times)
    #[arg(long, value_name = "PROGRAM")]
    versus: Vec<PathBuf>,
    /// A peer to measure beside them, see benches/peers (may be given several times)
    #[arg(long, value_name = "NAME=PROGRAM")]
    peer: Vec<String>,
    /// Put the load on a server that runs already and whose signing secret is whsec_bench; for
    /// profiling it
    #[arg(long, value_name = "ADDRESS")]
    at: Option<SocketAddr>,
    /// Of the large shop: its orders, events, and a file to make it in and to use again
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    orders: u64,
    #[arg(long, default_value_t = 300_000, value_name = "N")]
    events: u64,
    #[arg(long, value_name = "FILE")]
    shop: Option<PathBuf>,
    /// Measure the large shop with so much memory for everything, the kernel's cache included; needs
    /// the right to make a control group
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be a yardstick's server
    #[arg(long, hide = true)]
    yardstick: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From exec to the first 200, and memory at rest
    Start,
    /// As fast as so many clients can
    Burst,
    /// At a given rate
    Steady,
    /// SQLite alone, in batches
    Sqlite,
    /// From the webhook to the order
    Orders,
    /// Webhooks while 10,000 events that never arrived are fetched
    Backfill,
    /// The operator's shell in a shop of 100,000 orders
    Views,
    /// A large shop's start, intake, views and search; only when it is named
    Scale,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    fn paces(&self) -> Vec<Pace> {
        let bursts =
            self.clients.iter().map(|n| Pace::Clients(*n)).filter(|_| self.wants(Part::Burst));
        let steady =
            self.rates.iter().map(|n| Pace::PerSecond(*n)).filter(|_| self.wants(Part::Steady));
        bursts.chain(steady).collect()
    }

    fn lasting(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.7 } else { 3.0 }))
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.yardstick {
        return exit(match name.as_str() {
            yardstick::PLAINLY => keeper::serve(false),
            yardstick::IN_OURS => keeper::serve(true),
            name => yardstick::serve(name == yardstick::VERIFY),
        });
    }
    if let Some(address) = arguments.at {
        return exit(load_only(&arguments, address));
    }
    exit(measure(&arguments).and_then(|report| report.print(arguments.json)))
}

/// Loads a server that is not ours and measures only what a client can see.
fn load_only(arguments: &Arguments, address: SocketAddr) -> Result<()> {
    machine::pin(Side::Load);
    // Not the numbers of an earlier run.
    let mut next =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    for pace in arguments.paces() {
        let outcome = load::run(address, pace, arguments.lasting(), next)?;
        next += outcome.sent;
        let (rate, latency) = (outcome.per_second(), outcome.latency());
        println!(
            "{}: {rate:.0} events/s, {latency:?}, {:?}, {} unanswered",
            report::pace(pace),
            outcome.refused,
            outcome.broken
        );
    }
    Ok(())
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<Report> {
    // On the disk that holds the build, because the usual place for temporary files may be memory.
    let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .map_err(|e| format!("no room to work in: {e}"))?;
    let mut report = Report::of(Facts::of(room.path())?);
    machine::pin(Side::Load);
    if [Part::Start, Part::Burst, Part::Steady].iter().any(|part| arguments.wants(*part)) {
        servers(arguments, room.path(), &mut report)?;
    }
    if arguments.wants(Part::Sqlite) || arguments.wants(Part::Burst) {
        report.rows = sqlite(arguments, room.path())?;
    }
    if arguments.wants(Part::Orders) {
        report.orders = drains(arguments, room.path())?;
    }
    if arguments.wants(Part::Backfill) {
        let program = Path::new(env!("CARGO_BIN_EXE_fulfilld"));
        let events = if arguments.quick { 2_000 } else { 10_000 };
        let (lasting, rounds) = (arguments.lasting(), arguments.rounds());
        report.backfill = backfill::run(program, room.path(), events, lasting, rounds)?;
    }
    if arguments.wants(Part::Views) {
        eprintln!("bench: the operator's shell");
        report.views = views::run(room.path())?;
    }
    if arguments.parts.contains(&Part::Scale) {
        let program = Path::new(env!("CARGO_BIN_EXE_fulfilld"));
        let size = scale::Size {
            orders: arguments.orders.max(2_000),
            events: arguments.events,
            file: arguments.shop.as_deref(),
            memory_mb: arguments.memory,
        };
        let (megabytes, waited) = scale::run(program, room.path(), &size, arguments.lasting())?;
        let what =
            format!("a file of {megabytes:.0} MB: {} orders, {} events", size.orders, size.events);
        let what = match size.memory_mb {
            Some(memory) => format!("{what}, {memory} MB of memory for everything"),
            None => what,
        };
        report.scale = Some(report::Scale { what, waited });
    }
    Ok(report)
}

/// Starts, bursts and steady loads of every contender.
fn servers(arguments: &Arguments, room: &Path, report: &mut Report) -> Result<()> {
    let mut programs = vec![
        (report::BARE.to_string(), Program::Yardstick(yardstick::BARE)),
        (report::VERIFY.to_string(), Program::Yardstick(yardstick::VERIFY)),
        (report::PLAINLY.to_string(), Program::Yardstick(yardstick::PLAINLY)),
        (report::IN_OURS.to_string(), Program::Yardstick(yardstick::IN_OURS)),
        (report::FULFILLD.to_string(), Program::Fulfilld(env!("CARGO_BIN_EXE_fulfilld").into())),
    ];
    let others = arguments.versus.iter().enumerate();
    programs.extend(others.map(|(n, path)| {
        (format!("{} {}", report::OTHER, n + 1), Program::Fulfilld(path.clone()))
    }));

    for peer in &arguments.peer {
        let named = peer.split_once('=').ok_or("--peer takes NAME=PROGRAM")?;
        programs.push((named.0.into(), Program::Peer(named.1.into())));
    }

    let mut contenders = Vec::new();
    for (name, program) in programs {
        let mut contender = Contender::start(&name, program, room)?;
        let first_ms = ms(contender.started_in);
        let mut again: Vec<f64> = Vec::new();
        let restarts = if arguments.quick { 3 } else { 9 };
        for _ in 0..if arguments.wants(Part::Start) { restarts } else { 0 } {
            again.push(ms(contender.restart()?));
        }
        contenders.push(contender);
        report.starts.push(Start {
            contender: name,
            first_ms,
            again_ms: (!again.is_empty()).then(|| median(again)),
            ..Start::default()
        });
    }
    std::thread::sleep(SETTLED_AFTER);
    for (start, contender) in report.starts.iter_mut().zip(&contenders) {
        start.idle_mb = machine::memory_mb(contender.pid()).0;
    }
    for pace in arguments.paces() {
        eprintln!("bench: {}", report::pace(pace));
        report.figures.extend(one_pace(arguments, &mut contenders, pace)?);
    }
    for (start, contender) in report.starts.iter_mut().zip(&contenders) {
        start.peak_mb = machine::memory_mb(contender.pid()).1;
    }
    contenders.into_iter().try_for_each(Contender::stop)
}

/// Every contender under one pace, taking turns.
fn one_pace(
    arguments: &Arguments,
    contenders: &mut [Contender],
    pace: Pace,
) -> Result<Vec<Figures>> {
    let mut rounds: Vec<Vec<Loaded>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds() {
        for turn in 0..contenders.len() {
            // Nobody is always the first.
            let i = (turn + round) % contenders.len();
            contenders[i].load(pace, WARM_UP)?;
            rounds[i].push(contenders[i].load(pace, arguments.lasting())?);
        }
    }
    Ok(contenders
        .iter()
        .zip(rounds)
        .map(|(c, rounds)| Figures::of(&c.name, pace, rounds))
        .collect())
}

/// SQLite alone, in every batch size and, for the limit, in fulfilld's own tables; taking turns.
fn sqlite(arguments: &Arguments, room: &Path) -> Result<Vec<Rows>> {
    eprintln!("bench: SQLite alone");
    let mut inserters = Vec::new();
    for batch in BATCHES {
        inserters.push(Inserter::new(room, false, batch)?);
    }
    inserters.push(Inserter::new(room, true, LIMIT_BATCH)?);
    let mut rounds: Vec<Vec<Rows>> = inserters.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.rounds() {
        for (inserter, rounds) in inserters.iter_mut().zip(&mut rounds) {
            rounds.push(inserter.run(arguments.lasting() / 2)?);
        }
    }
    Ok(rounds.into_iter().map(Rows::median).collect())
}

/// From webhooks to orders, as Stripe permits it and as fast as the settings let it.
fn drains(arguments: &Arguments, room: &Path) -> Result<Vec<Orders>> {
    let program = Path::new(env!("CARGO_BIN_EXE_fulfilld"));
    let seconds = if arguments.quick { 3 } else { 20 };
    let settings =
        [("usual settings", 25, 20), ("at Stripe's rate", 25, 25), ("no limit at Stripe", 0, 25)];
    let wanted = if arguments.quick { &settings[..1] } else { &settings[..] };
    let drain = |(setting, permitted, asked): &(&'static str, u32, u32)| {
        eprintln!("bench: webhook to order, {setting}");
        orders::run(program, room, setting, *permitted, *asked, (*asked * seconds) as usize)
    };
    wanted.iter().map(drain).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
