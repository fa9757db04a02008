//! What is wrong with a setting, in words that `serve` and `doctor` share.

use crate::error::{Error, Result};

/// How much a fault matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// fulfilld does not start with it.
    Fatal,
    /// It starts, and orders do not arrive, or will not one day.
    Problem,
    /// They arrive, and it could be better.
    Advice,
}

/// One thing that is wrong with a setting. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A stable name for scripts, which `doctor --json` prints.
    pub id: String,
    /// Whether fulfilld can start anyway.
    pub weight: Weight,
    /// What is so, in one sentence; it names the setting.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to type or to click.
    pub remedy: String,
}

impl Fault {
    /// One that keeps fulfilld from starting.
    pub fn fatal(
        id: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Fault {
        Fault {
            id: id.into(),
            weight: Weight::Fatal,
            what: what.into(),
            why: "fulfilld does not start with it.",
            remedy: remedy.into(),
        }
    }

    /// A plain setting that has a value which it cannot have.
    pub fn odd(what: impl Into<String>) -> Fault {
        let remedy = "correct it, or remove it: fulfilld serve --help says what holds without it";
        Fault::fatal("setting_odd", what, remedy)
    }

    /// Another reason why it matters.
    pub fn because(self, why: &'static str) -> Fault {
        Fault { why, ..self }
    }

    /// fulfilld starts with it nevertheless.
    pub fn of_weight(self, weight: Weight) -> Fault {
        Fault { weight, ..self }
    }

    /// The same as the error that a program ends with.
    pub fn error(&self) -> Error {
        Error::Config(format!("{}; {}", self.what, self.remedy))
    }
}

/// A setting that was read: its value, and what is wrong with it. Without a value there is at least
/// one fault.
#[derive(Debug)]
pub struct Read<T> {
    /// `None` where the text cannot be used.
    pub value: Option<T>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl<T> Read<T> {
    /// Without a fault.
    pub fn good(value: T) -> Read<T> {
        Read { value: Some(value), faults: Vec::new() }
    }

    /// Without a value.
    pub fn wrong(fault: Fault) -> Read<T> {
        Read { value: None, faults: vec![fault] }
    }

    /// The value as another type.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Read<U> {
        Read { value: self.value.map(to), faults: self.faults }
    }

    /// The value where nothing fatal is wrong; else `Config` with the first such fault.
    pub fn into_result(self) -> Result<T> {
        let fatal = self.faults.iter().find(|fault| fault.weight == Weight::Fatal);
        match (self.value, fatal.or(self.faults.first())) {
            (Some(value), _) if fatal.is_none() => Ok(value),
            (_, Some(fault)) => Err(fault.error()),
            (_, None) => Err(Error::Config("a setting has no value".into())),
        }
    }
}

impl<T> From<std::result::Result<T, Fault>> for Read<T> {
    fn from(read: std::result::Result<T, Fault>) -> Read<T> {
        read.map_or_else(Read::wrong, Read::good)
    }
}
