//! `fulfilld man`: the manual page, from the same table as `--help`.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config::SETTINGS;
use crate::error::{Error, Result};
use crate::table;

/// Print the manual page, fulfilld(1)
///
/// Made from the same table of verbs and options as this help.
#[derive(clap::Args)]
#[command(before_help = "Example: fulfilld man | man -l -")]
pub struct Args {}

/// Prints the page to standard output.
pub fn run(_: &Args, program: Command, exit_codes: &[(u8, &str)]) -> Result<()> {
    let page = page(program, exit_codes)
        .map_err(|e| Error::Permanent(format!("cannot make the page: {e}")))?;
    table::print(&page)
}

fn page(mut program: Command, exit_codes: &[(u8, &str)]) -> io::Result<String> {
    program.build();
    let man = Man::new(program.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned() + ".SH VERBS\n";
    for verb in program.get_subcommands() {
        add_verb(&mut page, verb)?;
    }
    let settings = SETTINGS.iter().map(|s| match s.default {
        "" => (s.name.to_string(), s.about),
        default => (format!("{} [default: {default}]", s.name), s.about),
    });
    page += &definitions("ENVIRONMENT", settings);
    page += &definitions(
        "EXIT STATUS",
        exit_codes.iter().map(|(code, meaning)| (code.to_string(), *meaning)),
    );
    Ok(page + ".SH SEE ALSO\n.BR sqlite3 (1)\n")
}

/// A verb and what stands below it: `orders`, then `orders list` and `orders show`.
fn add_verb(page: &mut String, verb: &Command) -> io::Result<()> {
    if verb.get_name() == "help" {
        return Ok(());
    }
    let man = Man::new(verb.clone().mut_arg("help", |help| help.hide(true)));
    let mut head = Roff::new();
    head.control("SS", [verb.get_bin_name().unwrap_or_else(|| verb.get_name())]);
    if let Some(example) = verb.get_before_help() {
        head.text([bold(example.to_string())]).control("PP", []);
    }
    *page += &head.render();
    for section in
        [Man::render_description_section, Man::render_synopsis_section, Man::render_options_section]
    {
        let mut text = Vec::new();
        section(&man, &mut text)?;
        *page += ".PP\n";
        // Its own heading would make it a section of the whole page.
        let lines = String::from_utf8_lossy(&text).into_owned();
        page.extend(lines.lines().filter(|l| !l.starts_with(".SH")).flat_map(|line| [line, "\n"]));
    }
    verb.get_subcommands().try_for_each(|below| add_verb(page, below))
}

fn definitions<'a>(heading: &str, all: impl Iterator<Item = (String, &'a str)>) -> String {
    let mut section = Roff::new();
    section.control("SH", [heading]);
    for (term, meaning) in all {
        section.control("TP", []).text([bold(term)]).text([roman(meaning)]);
    }
    section.render()
}
