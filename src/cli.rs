//! The command line: arguments, help, exit codes.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use log::LevelFilter;

use crate::commands;
use crate::env;
use crate::error::Result;
use crate::logging;
use crate::standby;
use crate::table;

/// The order desk for a shop on Stripe Checkout: one daemon, one SQLite file
///
/// Stripe posts events to it. It stores them, asks Stripe what was bought, and writes orders, line
/// items and what is to be sent into one file. You read and edit that file with these verbs or with
/// sqlite3.
#[derive(Parser)]
#[command(name = "fulfilld", version, max_term_width = 100)]
#[command(before_help = "Example: fulfilld demo", after_help = exit_codes())]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    Init(commands::init::Args),
    Serve(commands::serve::Args),
    Demo(commands::demo::Args),
    Orders(commands::orders::Args),
    Ship(commands::ship::Args),
    Add(Box<commands::add::Args>),
    Slips(commands::slips::Args),
    Deliver(commands::deliver::Args),
    Reship(commands::reship::Args),
    Cancel(commands::cancel::Args),
    Hold(commands::hold::Args),
    Release(commands::release::Args),
    Undo(commands::undo::Args),
    Attention(commands::attention::Args),
    Dismiss(commands::dismiss::Args),
    Events(commands::events::Args),
    Replay(commands::replay::Args),
    Hooks(commands::hooks::Args),
    Subject(commands::subject::Args),
    Forget(commands::forget::Args),
    Export(commands::export::Args),
    Reconcile(commands::reconcile::Args),
    Check(commands::check::Args),
    Rebuild(commands::rebuild::Args),
    Backup(commands::backup::Args),
    Restore(commands::restore::Args),
    Drill(commands::drill::Args),
    Doctor(commands::doctor::Args),
    Sql(commands::sql::Args),
    Sandbox(commands::sandbox::Args),
    Trigger(commands::trigger::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

/// What is printed for `fulfilld` alone.
const WELCOME: &str = "\
fulfilld: the order desk for a shop on Stripe Checkout. One daemon, one SQLite file.

  fulfilld demo                     see it work: a simulated Stripe and a few purchases
  fulfilld serve                    take Stripe's webhooks (settings: fulfilld serve --help)
  fulfilld orders --to-ship         what is to be packed
  fulfilld ship 1042 --company DHL --number JD0146000034
  fulfilld undo                     take back what you typed last

All verbs: fulfilld --help. One verb: fulfilld ship --help. As a manual: fulfilld man | man -l -
";

/// What a script learns from the process, after BSD's sysexits(3); `error.rs` says which error is
/// which.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "refused by the file's rules, not found, or a check found something"),
    (64, "the command line was not understood"),
    (74, "the disk failed or the file is damaged"),
    (75, "try again later: the file is locked, the disk is full, Stripe does not answer"),
    (78, "fix a setting, a key, or the file's place or owner first"),
];

/// EX_USAGE of sysexits(3).
const EXIT_USAGE: u8 = 64;

/// Runs what was typed. An error is said once, on standard error, and ends in its exit code.
pub fn run() -> ExitCode {
    let typed = match is_serve_alone(std::env::args_os().skip(1)) {
        true => Ok(Some(Verb::Serve(commands::serve::Args {}))),
        false => Cli::try_parse().map(|cli| cli.verb),
    };
    let verb = match typed {
        Ok(verb) => verb,
        Err(refusal) => {
            let _ = refusal.print();
            return if refusal.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let serves = matches!(verb, Some(Verb::Serve(_)));
    let outcome = dispatch(verb);
    logging::write_counted(true);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !serves || !standby::is_reported(&error) {
                logging::report(&error);
            }
            if serves {
                standby::hold(&error);
            }
            error.exit_code().into()
        }
    }
}

/// How the daemon is started: to describe every verb first would leave it with 0.4 MB that it never
/// needs again.
fn is_serve_alone(typed: impl Iterator<Item = std::ffi::OsString>) -> bool {
    typed.eq(["serve"])
}

fn dispatch(verb: Option<Verb>) -> Result<()> {
    let Some(verb) = verb else { return table::print(WELCOME) };
    match &verb {
        // They have the settings of their own environment, whatever else is served on this machine.
        Verb::Init(_) | Verb::Serve(_) | Verb::Demo(_) | Verb::Sandbox(_) | Verb::Trigger(_) => {}
        Verb::Doctor(args) => env::use_the_services(args.etc()),
        _ => env::use_the_services(None),
    }
    let log = logging::start(match verb {
        Verb::Serve(_) => LevelFilter::Info,
        _ => LevelFilter::Warn,
    });
    // Doctor tells of a wrong FULFILLD_LOG beside whatever else is wrong.
    if !matches!(verb, Verb::Doctor(_)) {
        log?;
    }
    match &verb {
        Verb::Init(args) => commands::init::run(args),
        Verb::Serve(args) => commands::serve::run(args),
        Verb::Demo(args) => commands::demo::run(args),
        Verb::Orders(args) => commands::orders::run(args),
        Verb::Ship(args) => commands::ship::run(args),
        Verb::Add(args) => commands::add::run(args),
        Verb::Slips(args) => commands::slips::run(args),
        Verb::Deliver(args) => commands::deliver::run(args),
        Verb::Reship(args) => commands::reship::run(args),
        Verb::Cancel(args) => commands::cancel::run(args),
        Verb::Hold(args) => commands::hold::run(args),
        Verb::Release(args) => commands::release::run(args),
        Verb::Undo(args) => commands::undo::run(args),
        Verb::Attention(args) => commands::attention::run(args),
        Verb::Dismiss(args) => commands::dismiss::run(args),
        Verb::Events(args) => commands::events::run(args),
        Verb::Replay(args) => commands::replay::run(args),
        Verb::Hooks(args) => commands::hooks::run(args),
        Verb::Subject(args) => commands::subject::run(args),
        Verb::Forget(args) => commands::forget::run(args),
        Verb::Export(args) => commands::export::run(args),
        Verb::Reconcile(args) => commands::reconcile::run(args),
        Verb::Check(args) => commands::check::run(args),
        Verb::Rebuild(args) => commands::rebuild::run(args),
        Verb::Backup(args) => commands::backup::run(args),
        Verb::Restore(args) => commands::restore::run(args),
        Verb::Drill(args) => commands::drill::run(args),
        Verb::Doctor(args) => commands::doctor::run(args),
        Verb::Sql(args) => commands::sql::run(args),
        Verb::Sandbox(args) => commands::sandbox::run(args),
        Verb::Trigger(args) => commands::trigger::run(args),
        Verb::Completions(args) => commands::completions::run(args, Cli::command()),
        Verb::Man(args) => commands::man::run(args, Cli::command(), EXIT_CODES),
    }
}

fn exit_codes() -> String {
    EXIT_CODES.iter().fold("Exit codes:".into(), |table, (code, meaning)| {
        format!("{table}\n  {code:<3} {meaning}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_alone_means_what_the_definition_says() {
        let said = |typed: &[&str]| is_serve_alone(typed.iter().map(Into::into));
        assert!(said(&["serve"]));
        assert!(!said(&[]) && !said(&["serve", "--help"]) && !said(&["orders"]));
        let Ok(Cli { verb: Some(Verb::Serve(commands::serve::Args {})) }) =
            Cli::try_parse_from(["fulfilld", "serve"])
        else {
            panic!("it is another verb");
        };
    }

    #[test]
    fn every_verb_begins_its_help_with_an_example_of_itself() {
        let program = Cli::command();
        let mut verbs: Vec<&clap::Command> = program.get_subcommands().collect();
        verbs.extend(program.get_subcommands().flat_map(|verb| verb.get_subcommands()));
        for verb in verbs {
            let name = verb.get_name();
            let help = verb.clone().render_help().to_string();
            let first = help.lines().next().unwrap_or_default();
            assert!(
                first.starts_with("Example: ") && first.contains("fulfilld "),
                "{name}: {first}"
            );
            assert!(first.contains(name), "{name}: {first}");
        }
    }

    #[test]
    fn every_error_has_an_exit_code_that_is_documented() {
        use crate::error::Error::*;
        for error in [Temporary, Full, Permanent, Usage, Config, Forbidden, Corrupt]
            .map(|kind| kind(String::new()))
        {
            assert!(EXIT_CODES.iter().any(|(code, _)| *code == error.exit_code()), "{error:?}");
        }
        assert!(EXIT_CODES.iter().any(|(code, _)| *code == EXIT_USAGE));
    }
}
