//! Time as the file keeps it: UTC text, `2026-11-24T03:05:00Z`.

pub use jiff::Timestamp;

/// The present moment.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Whole seconds, as every `_at` column is written.
pub fn text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Stripe's whole unix seconds; `None` when out of any calendar's range.
pub fn from_unix(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

/// The `Date` of an HTTP answer (RFC 9110, in the one form that is still sent); `None` when it is none.
pub fn from_http(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_text_that_sorts() {
        let t = from_unix(1_795_489_500).unwrap();
        assert_eq!(text(t), "2026-11-24T03:05:00Z");
        assert!(text(from_unix(0).unwrap()) < text(t));
        assert_eq!(from_unix(i64::MAX), None);
        assert_eq!(from_http("Tue, 24 Nov 2026 03:05:00 GMT"), Some(t));
        assert_eq!(from_http("yesterday"), None);
    }
}
