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

    proptest! {
        #[test]
        fn every_amount_of_every_currency_reads_back_to_the_last_minor_unit(minor: i64, decimals in 0usize..=3) {
            let written = decimal(&minor.to_string(), decimals);
            prop_assert!(is_number(&written), "{}", written);
            prop_assert_eq!(written.split_once('.').map_or(0, |(_, rest)| rest.len()), decimals);
            prop_assert_eq!(written.replace('.', "").parse::<i64>().ok(), Some(minor));
        }
    }
}
