//! Errors that answer one question: what should the caller do now?

use std::fmt;

/// What went wrong, sorted by what the caller should do about it. The text is one sentence for a
/// person: it names the thing, the act and the next step, and never carries a secret, a body or an
/// address.
///
/// Foreign errors become one of these at one door each: SQLite's in `db.rs` by result code,
/// Stripe's in `stripe.rs` by status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Try again later: a lock, Stripe busy, a broken connection.
    Temporary(String),
    /// Try again once there is room on the disk.
    Full(String),
    /// Trying again will not help: park it and show it to the operator.
    Permanent(String),
    /// The person typed something that cannot be done; nothing was changed.
    Usage(String),
    /// A setting, a key or a file's owner must be fixed first.
    Config(String),
    /// The key may not do this one thing: wait with it, and continue with everything else.
    Forbidden(String),
    /// The disk or the file cannot be trusted: stop, and check before going on.
    Corrupt(String),
}

/// A result whose error says what to do next.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process exit code, after BSD's sysexits(3); the table is in docs/settings.md.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Permanent(_) => 1,
            Error::Usage(_) => 64,
            Error::Corrupt(_) => 74,
            Error::Temporary(_) | Error::Full(_) => 75,
            Error::Config(_) | Error::Forbidden(_) => 78,
        }
    }

    /// True when the same attempt may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Temporary(_) | Error::Full(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Temporary(why)
            | Error::Full(why)
            | Error::Permanent(why)
            | Error::Usage(why)
            | Error::Config(why)
            | Error::Forbidden(why)
            | Error::Corrupt(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
