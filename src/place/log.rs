//! The log beside the file: whether it is the file's own, before SQLite plays it back.

use std::fs::File;
use std::path::Path;

use super::beside;
use super::descriptors::kept;
use super::lock::{Note, noted};
use crate::access;
use crate::error::{Error, Result};
use crate::sabotage;
use crate::text::quoted;
use crate::wal::{self, Header, Whose};

/// A log that changes while it is looked at is looked at again, so often at most.
pub(super) const LOOKS_MAX: usize = 10;

/// A file and its log as they were read one after the other.
pub(super) struct Look {
    pub header: Header,
    pub salt: Option<[u8; 8]>,
    pub whose: Whose,
    /// False when one of them changed meanwhile: whoever serves the file may have moved the log
    /// into it, and the two never stood beside each other.
    pub is_of_one_moment: bool,
}

impl Look {
    /// Reads the log to its end.
    pub fn at(file: &File, log: Option<&File>) -> std::io::Result<Look> {
        let glance = || -> std::io::Result<(Header, Option<[u8; 8]>)> {
            Ok((wal::header(file)?, log.map(wal::salt).transpose()?.flatten()))
        };
        let (header, salt) = glance()?;
        let whose = log.map_or(Ok(Whose::Nobodys), |log| wal::whose(&header, log))?;
        Ok(Look { header, salt, whose, is_of_one_moment: glance()? == (header, salt) })
    }
}

/// Whether a log that lies beside the file is the file's own, which is to be known before SQLite
/// opens it and plays the log back. `Config` with the line to type when it is another file's, or
/// lies beside no file. The path is the real one.
pub fn check_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    let unreadable = |path: &Path, e: std::io::Error| Error::Config(access::why_not(path, &e));
    if std::fs::metadata(&log).map_or(0, |meta| meta.len()) == 0 || sabotage::is("any_log") {
        return Ok(());
    }
    let mut looks = 0;
    loop {
        let (file, _) = match kept(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Config(orphan(path, &log)));
            }
            file => file.map_err(|e| unreadable(path, e))?,
        };
        let read = |e| unreadable(&log, e);
        let opened = match File::open(&log) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(read)?,
        };
        let look = Look::at(&file, Some(&opened)).map_err(read)?;
        if belongs(&look, noted(path).as_ref()) {
            return Ok(());
        }
        looks += 1;
        if look.is_of_one_moment || looks == LOOKS_MAX {
            return Err(Error::Config(foreign(path, &log)));
        }
    }
}

/// What the file's bytes leave open, the note decides.
fn belongs(look: &Look, noted: Option<&Note>) -> bool {
    let Look { header, salt, whose, .. } = look;
    let is_the_noted = (*salt).zip(noted).is_none_or(|(salt, noted)| noted.may_have(salt));
    let noted = noted.and_then(Note::header);
    let count = wal::changes;
    match whose {
        Whose::Nobodys | Whose::TheFiles => true,
        Whose::Anothers => false,
        Whose::BegunForIt => noted.is_none_or(|noted| match noted == *header {
            true => is_the_noted,
            false => count(&noted) != count(header),
        }),
        Whose::Unsaid => noted.is_none_or(|noted| match noted == *header {
            true => is_the_noted,
            false => count(header) > count(&noted),
        }),
    }
}

/// The line that sets a log aside.
pub fn set_aside(log: &Path) -> String {
    format!("mv {} {}", quoted(log), quoted(&beside(log, ".old")))
}

fn foreign(path: &Path, log: &Path) -> String {
    format!(
        "{} is the log of another file than {}, which was put in its place; played back it would \
         destroy it. To go on with the file that is there: {}; or put a backup in its place: \
         fulfilld restore BACKUP",
        log.display(),
        path.display(),
        set_aside(log)
    )
}

fn orphan(path: &Path, log: &Path) -> String {
    format!(
        "there is no file {}, only its log {}; put the file back that belongs to it, or begin with a new one: {}",
        path.display(),
        log.display(),
        set_aside(log)
    )
}
