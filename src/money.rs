//! Amounts as decimal text.

/// Minor units, written as whole ones: the point moves and no digit is lost. `-5` with 2 decimals is
/// `-0.05`.
pub fn decimal(minor: &str, decimals: usize) -> String {
    let (sign, digits) = match minor.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", minor),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole:0>width$}", width = decimals + 1);
    let (units, below) = padded.split_at(padded.len() - decimals);
    match below.len() + rest.len() {
        0 => format!("{sign}{units}"),
        _ => format!("{sign}{units}.{below}{rest}"),
    }
}

/// The minor units of an amount as a person writes it, `12.5`. `None` when it is no number, has more
/// decimals than the currency, or is too large.
pub fn minor(amount: &str, decimals: usize) -> Option<i64> {
    let (whole, below) = amount.split_once('.').unwrap_or((amount, ""));
    if !is_number(amount) || below.len() > decimals {
        return None;
    }
    format!("{whole}{below:0<decimals$}").parse().ok()
}

/// Digits, perhaps after a minus, perhaps with a point and more of them.
pub fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_point_moves_and_no_digit_is_lost() {
        for (minor, decimals, written) in [
            ("4200", 2, "42.00"),
            ("5", 2, "0.05"),
            ("-5", 2, "-0.05"),
            ("0", 3, "0.000"),
            ("12345", 3, "12.345"),
            ("1500", 0, "1500"),
            ("0.5", 2, "0.005"),
            ("1234.25", 2, "12.3425"),
            ("-9223372036854775808", 2, "-92233720368547758.08"),
        ] {
            assert_eq!(decimal(minor, decimals), written);
        }
    }

    #[test]
    fn the_views_write_amounts_as_they_are_up_to_fifteen_digits() {
        let c = rusqlite::Connection::open_in_memory().unwrap();
        let sql = "SELECT printf('%.*f', ?1, 1.0 * ?2 / ?3)";
        let mut written = c.prepare(sql).unwrap();
        for (decimals, unit) in [(0, 1), (2, 100), (3, 1000)] {
            let powers = (0..16).map(|n| 10i64.pow(n));
            let near = powers.flat_map(|p| [p - 1, p, p + 1, 5 * p + 5, p / 3, p / 7]);
            for amount in near.filter(|n| *n <= 1_000_000_000_000_000).flat_map(|n| [n, -n]) {
                let said: String =
                    written.query_row((decimals as i64, amount, unit), |row| row.get(0)).unwrap();
                assert_eq!(said, decimal(&amount.to_string(), decimals), "{amount} / {unit}");
            }
        }
    }

    #[test]
    fn an_amount_that_is_typed_is_whole_minor_units_or_none() {
        for (typed, decimals, minor) in [
            ("12.5", 2, Some(1250)),
            ("12", 2, Some(1200)),
            ("0.05", 2, Some(5)),
            ("1500", 0, Some(1500)),
            ("1.5", 0, None),
            ("1.234", 2, None),
            ("1e3", 2, None),
            ("", 2, None),
            ("99999999999999999999", 2, None),
        ] {
            assert_eq!(super::minor(typed, decimals), minor, "{typed}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_of_every_currency_reads_back_to_the_last_minor_unit(minor: i64, decimals in 0usize..=3) {
            let written = decimal(&minor.to_string(), decimals);
            prop_assert!(is_number(&written), "{}", written);
            prop_assert_eq!(written.split_once('.').map_or(0, |(_, rest)| rest.len()), decimals);
            prop_assert_eq!(super::minor(&written, decimals), Some(minor));
        }
    }
}
