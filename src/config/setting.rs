//! One setting: where its text is found, and what it means.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fault::{Fault, Read, Weight};
use crate::access;
use crate::env;
use crate::error::Result;
use crate::text;

/// A setting that has a value of type `T`.
pub struct Setting<T> {
    /// The environment variable.
    pub name: &'static str,
    /// What holds when it is not set; empty when there is none.
    pub default: &'static str,
    /// What it is, in a line of `serve --help`, the manual, docs/settings.md and the environment
    /// file.
    pub about: &'static str,
    /// What the environment file says besides; often nothing.
    #[cfg_attr(not(test), expect(dead_code, reason = "the shipped file is written by a test"))]
    pub note: &'static str,
    /// Plain or secret.
    pub kind: Kind,
    /// Its value from its text, white space around it taken off. The first argument is `name`.
    pub parse: fn(&'static str, &str) -> Read<T>,
}

/// Who may see a setting.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Plain,
    /// Nobody. It may also be in a file.
    Secret {
        /// What the names of its faults begin with.
        id: &'static str,
        /// Where to get one, for a secret that fulfilld does not start without.
        needed: Option<&'static str>,
    },
}

/// A setting of any type, as lists show it.
pub struct Row {
    /// The environment variable.
    pub name: &'static str,
    /// As text; empty for none.
    pub default: &'static str,
    /// One sentence for help and documents.
    pub about: &'static str,
    #[cfg(test)]
    pub note: &'static str,
    /// Plain or secret.
    pub kind: Kind,
    /// What is wrong with it as it is set.
    pub faults: fn() -> Vec<Fault>,
    /// What would be wrong with a text.
    #[cfg(test)]
    pub faults_of: fn(&str) -> Vec<Fault>,
}

impl Row {
    /// True for what is never printed.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }
}

impl<T> Setting<T> {
    /// What it is set to; `None` when that is nothing, or blank.
    pub fn set(&self) -> Option<String> {
        env::get(self.name).map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
    }

    /// What it is set to, else its default. Not for a secret, which may be in a file.
    pub fn text(&self) -> String {
        self.set().unwrap_or_else(|| self.default.into())
    }

    /// Its value and what is wrong with it.
    pub fn read(&self) -> Read<T> {
        let (id, needed) = match self.kind {
            Kind::Plain => return self.of(&self.text()),
            Kind::Secret { id, needed } => (id, needed),
        };
        let mut found = secret(self.name, id);
        match (found.value.as_deref(), needed) {
            (None, _) => Read { value: None, faults: found.faults },
            (Some(text), Some(remedy)) if text.trim().is_empty() => {
                found.faults.push(missing(self.name, id, remedy));
                Read { value: None, faults: found.faults }
            }
            (Some(text), _) => {
                let mut read = self.of(text);
                read.faults.splice(0..0, found.faults);
                read
            }
        }
    }

    /// Its value. `Config` names the setting, and says what to do, and shows no secret.
    pub fn get(&self) -> Result<T> {
        self.read().into_result()
    }

    /// The value that a text would be.
    pub fn of(&self, text: &str) -> Read<T> {
        (self.parse)(self.name, text.trim())
    }
}

/// A secret that is nowhere, or blank where it is.
fn missing(name: &str, id: &str, remedy: &str) -> Fault {
    let (kind, what) = match (env::all().secret_file(name), env::get(name)) {
        (Some(file), _) => ("blank", format!("{name}: {} is blank", file.display())),
        (None, Some(_)) => ("blank", format!("{name} is not set or blank")),
        (None, None) => ("missing", format!("{name} is not set")),
    };
    Fault::fatal(format!("{id}_{kind}"), what, remedy)
        .because("fulfilld does not start without it.")
}

/// A secret's text: that of the file it is in, else the variable, else empty. No value where the
/// file cannot be read; one that others can read is a fault.
fn secret(name: &str, id: &str) -> Read<String> {
    match env::all().secret_file(name) {
        Some(path) => private_file(name, id, &path),
        None => Read::good(env::get(name).unwrap_or_default()),
    }
}

fn private_file(name: &str, id: &str, path: &Path) -> Read<String> {
    let shown = path.display();
    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
    let (mode, text) = match mode.and_then(|mode| Ok((mode, std::fs::read_to_string(path)?))) {
        Ok(read) => read,
        Err(e) => {
            let what = match e.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    format!("{name}: {}", access::denied(path))
                }
                _ => format!("{name}: cannot read {shown}: {e}"),
            };
            let remedy = "sudo fulfilld doctor checks it; if the file is missing, create it";
            let why = "If the service cannot read it either, fulfilld does not start.";
            return Read::wrong(
                Fault::fatal(format!("{id}_unreadable"), what, remedy).because(why),
            );
        }
    };
    let mut read = Read::good(text);
    if mode & 0o007 != 0 {
        let mode = mode & 0o7777;
        read.faults.push(Fault {
            id: format!("{id}_readable"),
            weight: Weight::Fatal,
            what: format!("{name}: {shown} can be read by every user of this server (mode {mode:04o})"),
            why: "Who can read it can forge events or read your sales; fulfilld does not start with it.",
            remedy: format!("chmod 600 {}", text::shell_word(&path.to_string_lossy())),
        });
    }
    read
}
