//! Time as the file keeps it: UTC text, `2026-11-24T03:05:00Z`.

use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;

pub use jiff::Timestamp;

/// A change of the clock that no adjustment makes between two looks: somebody set it.
const STEP_MIN_MS: i64 = 1000;

/// The present moment.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since the machine was started, also while it slept; nobody can set it.
pub fn since_boot() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Notices that the clock was set.
pub struct Steps {
    /// The clock less [`since_boot`], in milliseconds, at the last look.
    offset_ms: i64,
}

impl Steps {
    /// Looks from now on.
    pub fn begin() -> Steps {
        Steps { offset_ms: Steps::offset() }
    }

    fn offset() -> i64 {
        now().as_millisecond() - since_boot().as_millis() as i64
    }

    /// By how many milliseconds the clock was set since the last look, negative when it was set
    /// back; `None` when it was not.
    pub fn look(&mut self) -> Option<i64> {
        let offset = Steps::offset();
        let by = offset - std::mem::replace(&mut self.offset_ms, offset);
        (by.abs() >= STEP_MIN_MS).then_some(by)
    }
}

/// Whole seconds, as every `_at` column is written.
pub fn text(at: Timestamp) -> String {
    const WHOLE_SECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    WHOLE_SECONDS.timestamp_to_string(&at)
}

/// Stripe's whole unix seconds; `None` when out of any calendar's range.
pub fn from_unix(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

/// The `Date` of an HTTP answer (RFC 9110, in the one form that is still sent); `None` when it is
/// none.
pub fn from_http(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_takes_no_step() {
        let mut steps = Steps::begin();
        assert_eq!(steps.look(), None);
        steps.offset_ms += 3_600_000;
        let by = steps.look().unwrap();
        assert!((-3_600_100..=-3_599_900).contains(&by), "{by}");
        assert_eq!(steps.look(), None, "it is told once");
    }

    #[test]
    fn times_are_utc_text_that_sorts() {
        let t = from_unix(1_795_489_500).unwrap();
        assert_eq!(text(t), "2026-11-24T03:05:00Z");
        assert!(text(from_unix(0).unwrap()) < text(t));
        // What is less than a second is left out, before 1970 too.
        let early: Timestamp = "0999-12-31T23:59:58.25Z".parse().unwrap();
        assert_eq!(text(early), "0999-12-31T23:59:58Z");
        assert_eq!(from_unix(i64::MAX), None);
        assert_eq!(from_http("Tue, 24 Nov 2026 03:05:00 GMT"), Some(t));
        assert_eq!(from_http("yesterday"), None);
    }
}
