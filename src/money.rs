//! Money: whole minor units with their currency, and how many decimals a person sees.

/// Decimals between Stripe's minor unit and the amount a person reads, by lower-case currency code.
///
/// ISK and UGX have none in ISO 4217, but Stripe sends them times 100 (docs.stripe.com/currencies, "special cases"), so
/// on the wire they have two. The table in `schema.sql` (`currency_decimals`) is the same list for the shell; a test
/// compares the two.
pub fn decimals(currency: &str) -> usize {
    match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd" | "vuv" | "xaf"
        | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    }
}

/// `4200, "eur"` as a person reads it: `42.00 EUR`. Exact for every `i64`.
pub fn show(amount: i64, currency: &str) -> String {
    let places = decimals(currency);
    let digits = format!("{:0width$}", amount.unsigned_abs(), width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let sign = if amount < 0 { "-" } else { "" };
    let point = if places > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{part} {}", currency.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        for (amount, currency, text) in [
            (4200, "eur", "42.00 EUR"),
            (5, "usd", "0.05 USD"),
            (0, "usd", "0.00 USD"),
            (500, "jpy", "500 JPY"),
            (0, "jpy", "0 JPY"),
            (12340, "bhd", "12.340 BHD"),
            (50000, "isk", "500.00 ISK"),
            (-150, "eur", "-1.50 EUR"),
            (i64::MIN, "eur", "-92233720368547758.08 EUR"),
            (i64::MAX, "kwd", "9223372036854775.807 KWD"),
        ] {
            assert_eq!(show(amount, currency), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back_to_the_last_minor_unit(amount: i64, which in 0usize..4) {
            let currency = ["eur", "jpy", "bhd", "isk"][which];
            let shown = show(amount, currency);
            let digits: String = shown.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
            proptest::prop_assert_eq!(digits.parse::<i64>().unwrap(), amount);
        }
    }
}
