//! `fulfilld completions`: what the shell suggests after Tab.

use clap_complete::{Shell, generate};

use crate::error::Result;
use crate::table;

/// Print the completions for a shell
///
/// Made from the same table of verbs and options as this help.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld completions bash > /etc/bash_completion.d/fulfilld")]
pub struct Args {
    shell: Shell,
}

/// Prints the script to standard output.
pub fn run(args: &Args, mut program: clap::Command) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut program, "fulfilld", &mut script);
    table::print(&String::from_utf8_lossy(&script))
}
