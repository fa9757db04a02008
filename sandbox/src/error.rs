//! Why the sandbox could not do what was requested.

use std::fmt;

/// One sentence for a person, by what the caller should do about it. What it repeats of the request
/// has its control characters replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It cannot be done as requested; nothing was changed.
    Refused(String),
    /// There is nothing under that name.
    Missing(String),
    /// This machine did not have what it takes; try again.
    Unavailable(String),
}

/// A result with the sandbox's own error.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Refused(why) | Error::Missing(why) | Error::Unavailable(why)) = self;
        why.chars()
            .map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c })
            .try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl std::error::Error for Error {}

/// A control character, or one that changes the direction of the text around it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
