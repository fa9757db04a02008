//! `fulfilld export --for`: the parcels that wait, in the form that a label service imports.

use std::io::Write;

use crate::commands::File;
use crate::config;
use crate::error::{Error, Result};
use crate::labels::{self, Choice, Format, Note, Written};

/// Which parcels, in whose form.
#[derive(clap::Args)]
pub struct LabelArgs {
    /// Write the parcels that wait for the label service FORMAT, not the books: dhl-business,
    /// dhl-private, internetmarke, pirate-ship, royal-mail, sendcloud, shippo, shipstation, stamps, or
    /// a file of your own such as ./mine.toml
    #[arg(long = "for", value_name = "FORMAT", conflicts_with_all = ["lines", "since", "until", "tz", "format"])]
    service: Option<String>,
    /// With --for: only these, as 1042 or 1042-1; without any, all that wait
    #[arg(value_name = "ORDER[-PARCEL]", requires = "service")]
    parcels: Vec<String>,
    /// With --for: those behind this one, where a file's rows did not suffice
    #[arg(long, value_name = "ORDER-PARCEL", requires = "service", conflicts_with = "parcels")]
    after: Option<String>,
    /// With --for: what a parcel weighs where nothing says it, in grams
    #[arg(long, value_name = "GRAMS", requires = "service",
        value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    weight: Option<i64>,
}

impl LabelArgs {
    /// The label service's format; `None` for the books.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }
}

/// Prints the file, and on standard error what of it a person should know. `Permanent` when a parcel
/// is not in it; then the others are.
pub fn run(args: &LabelArgs, service: &str, file: &File) -> Result<()> {
    let format = Format::named(service)?;
    let sender = config::SENDER.get()?;
    let chosen = args.parcels.iter().map(|p| Choice::parse(p)).collect::<Result<Vec<_>>>()?;
    let after = args.after.as_deref().map(Choice::parse).transpose()?;
    let mut parcels = labels::waiting(&file.read()?, &chosen)?;
    if let Some(after) = after {
        parcels.retain(|parcel| after.is_before(parcel));
    }
    let written = labels::write(&format, &sender, &parcels, args.weight)?;
    print(&written.bytes)?;
    tell(&written, service)
}

fn tell(written: &Written, service: &str) -> Result<()> {
    let mut notes = std::io::stderr().lock();
    let mut say = |note: &Note, of: &str| {
        let _ = writeln!(notes, "{}{of}: {}", note.reference, note.says);
    };
    written.notes.iter().for_each(|note| say(note, ""));
    written.left_out.iter().for_each(|note| say(note, " is left out"));
    let mut lacking = Vec::new();
    if let Some(last) = &written.full_after {
        lacking.push(format!(
            "{} more wait for the next file, because {service} takes no more rows: fulfilld export --for {service} \
             --after {last}",
            written.waiting
        ));
    }
    let left_out = written.left_out_parcels();
    if left_out > 0 {
        lacking.push(format!("{left_out} left out, as said above"));
    }
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Error::Permanent(format!(
            "{} parcels are in the file; {}",
            written.parcels,
            lacking.join("; ")
        ))),
    }
}

/// Bytes, because a label service's code page need not be the terminal's.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Temporary(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
