//! `fulfilld doctor`: asks Stripe, the machine and fulfilld itself whether orders can arrive, and
//! says how to fix what is wrong.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Common;
use crate::config::{self, Fault, Weight};
use crate::env;
use crate::error::{Error, Result};
use crate::place;
use crate::service::Service;
use crate::stripe::Stripe;
use crate::table;
use crate::text;

mod settings; // what is set, and whether it can be used
mod key; // the key: whose, and what it may read
mod clock; // this server's against Stripe's
mod endpoint; // what Stripe sends, and where to
mod proxy; // what the public URL leads to
mod file; // the file, its owner, its disk
mod backups; // what is left when the disk is not
mod shell; // the operator's sqlite3
mod daemon; // what the running fulfilld says of itself
mod hooks; // the shop's own programs

pub use daemon::Daemon;

/// Find what keeps orders from arriving, and how to fix it
///
/// Checks the settings and secrets, what the key may read, the webhook endpoint in Stripe and what
/// it sends, the public URL (one signed post that is no event), the clock, the file, the disk and
/// the running fulfilld. It makes at most 18 requests to Stripe, writes nothing here or there, and
/// prints no secret.
///
/// It uses the service's settings (/etc/fulfilld/fulfilld.env and the secrets beside it), and
/// before them what this environment sets. Where this environment names a file or a secret, only
/// this environment counts. Exit code 1 when something must be fixed; advice (!) alone is 0.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld doctor")]
pub struct Args {
    /// Send no request to Stripe or to the public URL
    #[arg(long)]
    offline: bool,
    /// Where the service's settings and secrets are [default: /etc/fulfilld]
    #[arg(long, value_name = "DIR")]
    etc: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// Another directory of the service's settings than the usual one.
    pub fn etc(&self) -> Option<&Path> {
        self.etc.as_deref()
    }
}

/// Everything that the checks look at.
struct Shop {
    offline: bool,
    /// The SQLite file.
    file: PathBuf,
    /// What lies beside it, as it was before anything was opened: as root SQLite gives these files
    /// to the file's owner.
    companions: Vec<(PathBuf, Metadata)>,
    daemon: Daemon,
    /// The units that run it; `None` where systemd does not.
    service: Option<Service>,
}

/// Looks at one subject.
type Check = fn(&Shop, &mut Report);

/// The checks in the order in which things have to work, under the words that stand above them.
const CHECKS: &[(&str, &str, Check)] = &[
    ("settings", "Settings and secrets", settings::check),
    ("stripe", "Stripe", ask_stripe),
    ("file", "The file", file::check),
    ("backups", "Backups", backups::check),
    ("daemon", "The running fulfilld", daemon::check),
    ("public_url", "The public URL", proxy::check),
    ("hooks", "Hooks", hooks::check),
];

/// Prints what it finds. `Permanent` when something must be fixed.
pub fn run(args: &Args) -> Result<()> {
    let file = args.common.file.db.clone().unwrap_or_else(|| config::DB.text().into());
    // Each of several shops has a socket of its own.
    let service = Service::running(&place::real(&file).unwrap_or_else(|_| file.clone()));
    let listen = service.as_ref().map_or_else(|| config::LISTEN.text(), Service::listens);
    let daemon = Daemon::ask(&listen, &file);
    let companions = file::companions_of(&file);
    let shop = Shop { offline: args.offline, file, companions, daemon, service };
    let mut report = Report::default();
    for (subject, title, check) in CHECKS {
        report.lines.push(Line::Title(title));
        report.subject = subject;
        check(&shop, &mut report);
    }
    table::print(&if args.common.output.json { report.json() } else { report.text(&shop) })?;
    let (problems, advice) = (report.count(Level::Problem), report.count(Level::Advice));
    match problems {
        0 if args.common.output.json => Ok(()),
        0 if advice == 0 => table::print("\nNothing to fix.\n"),
        0 => table::print(&format!(
            "\nNothing to fix; {advice} {} to think about (!).\n",
            things(advice)
        )),
        n => Err(Error::Permanent(format!("doctor found {n} {} to fix (✗)", things(n)))),
    }
}

fn things(n: usize) -> &'static str {
    if n == 1 { "thing" } else { "things" }
}

/// The permissions that fulfilld needs and the key has not, by their names in the Dashboard.
/// `Config` when Stripe refuses the key, `Temporary` when Stripe does not answer.
pub fn missing_permissions(stripe: &Stripe) -> Result<Vec<&'static str>> {
    key::missing_permissions(stripe)
}

/// Whether a file holds live orders; `None` when that cannot be seen.
pub fn livemode(file: &Path) -> Option<bool> {
    file::livemode(file)
}

/// All requests to Stripe; each needs the answer to the one before.
fn ask_stripe(shop: &Shop, report: &mut Report) {
    if let Some((stripe, livemode)) = key::usable(shop, report) {
        key::check(&stripe, report);
        endpoint::check(shop, &stripe, livemode, report);
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Orders do not arrive, or will not one day.
    Problem,
    /// They do, and it could be better.
    Advice,
}

/// Something that was found.
struct Finding {
    /// A stable name for scripts.
    id: String,
    level: Level,
    /// What is so, in one sentence.
    what: String,
    /// Why it matters.
    why: String,
    /// The command or the click.
    remedy: String,
}

/// What was looked at, in order.
#[derive(Default)]
struct Report {
    subject: &'static str,
    lines: Vec<Line>,
}

enum Line {
    Title(&'static str),
    /// As it should be.
    Good(String),
    /// Could not be looked at, and why.
    Skipped(String),
    Found(&'static str, Finding),
}

impl Report {
    fn good(&mut self, what: impl Into<String>) {
        self.lines.push(Line::Good(what.into()));
    }

    fn skip(&mut self, what: impl Into<String>) {
        self.lines.push(Line::Skipped(what.into()));
    }

    /// Something must be fixed.
    fn problem(
        &mut self,
        id: impl Into<String>,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.found(Level::Problem, id.into(), what.into(), why, remedy.into());
    }

    /// Something could be better.
    fn advice(
        &mut self,
        id: impl Into<String>,
        what: impl Into<String>,
        why: &str,
        remedy: impl Into<String>,
    ) {
        self.found(Level::Advice, id.into(), what.into(), why, remedy.into());
    }

    /// What is wrong with a setting.
    fn fault(&mut self, fault: Fault) {
        let level = match fault.weight {
            Weight::Fatal | Weight::Problem => Level::Problem,
            Weight::Advice => Level::Advice,
        };
        self.found(level, fault.id, fault.what, fault.why, fault.remedy);
    }

    fn found(&mut self, level: Level, id: String, what: String, why: &str, remedy: String) {
        let finding = Finding { id, level, what, why: why.into(), remedy };
        self.lines.push(Line::Found(self.subject, finding));
    }

    fn findings(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Found(subject, finding) => Some((*subject, finding)),
            _ => None,
        })
    }

    /// True when a problem with an id that begins so was found: what follows from it needs no
    /// finding of its own.
    fn has(&self, id: &str) -> bool {
        self.findings()
            .any(|(_, finding)| finding.level == Level::Problem && finding.id.starts_with(id))
    }

    fn count(&self, level: Level) -> usize {
        self.findings().filter(|(_, finding)| finding.level == level).count()
    }

    /// A finding a line.
    fn json(&self) -> String {
        let line = |(subject, finding): (&str, &Finding)| {
            let level = if finding.level == Level::Problem { "problem" } else { "advice" };
            let object = json!({"id": finding.id, "level": level, "subject": subject, "what": finding.what,
                "why": finding.why, "remedy": finding.remedy});
            text::escape_json(&object.to_string()) + "\n"
        };
        self.findings().map(line).collect()
    }

    /// A list for eyes: what is well in a line, what is not with its reason and its remedy.
    fn text(&self, shop: &Shop) -> String {
        let mut page = format!("fulfilld doctor: {}, {}\n", shop.file.display(), env::all().origin);
        for line in &self.lines {
            page += &match line {
                Line::Title(title) => format!("\n{title}\n"),
                Line::Good(what) => format!("  ✓ {}\n", text::clean(what)),
                Line::Skipped(what) => format!("  - {}\n", text::clean(what)),
                Line::Found(_, Finding { level, what, why, remedy, .. }) => {
                    let mark = if *level == Level::Problem { '✗' } else { '!' };
                    format!(
                        "  {mark} {}\n      {}\n      → {}\n",
                        text::clean(what),
                        text::clean(why),
                        text::clean(remedy)
                    )
                }
            };
        }
        page
    }
}
