//! House numbers: a street's line in two, where a service wants them apart.

/// Where the number stands before the street. Everywhere else it stands behind.
const NUMBER_FIRST: &[&str] =
    &["AU", "CA", "FR", "GB", "IE", "IN", "LU", "MA", "MC", "NZ", "PH", "SG", "TN", "US", "ZA"];

/// Street and house number of an address line. `None` where it is not clear which is which, and a
/// person has to.
pub fn split(line: &str, country: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if NUMBER_FIRST.contains(&country) {
        return leading(&words);
    }
    trailing(&words).or_else(|| leading(&words))
}

/// `12 Rue Exemple`, `12 bis, rue Exemple`, `12 1/2 Example Street`.
fn leading(words: &[&str]) -> Option<(String, String)> {
    let first = words.first()?.trim_end_matches(',');
    if !is_number(first) {
        return None;
    }
    let suffix = words.get(1).map(|word| word.trim_end_matches(','));
    let has_suffix = suffix.is_some_and(|word| {
        ["bis", "ter", "quater", "1/2"].contains(&word.to_lowercase().as_str())
    });
    let taken = if has_suffix { 2 } else { 1 };
    let street = words[taken..].join(" ");
    let number = words[..taken].join(" ").trim_end_matches(',').to_string();
    street.chars().any(char::is_alphabetic).then_some((street, number))
}

/// `Lange Straße 12`, `Lange Straße 12 a`, `Lange Gasse 12/3/4`, `Lange Str.12`, `C 4, 11`.
fn trailing(words: &[&str]) -> Option<(String, String)> {
    let apart = words.last().copied().and_then(after_the_point);
    let words: Vec<&str> = match apart {
        Some((street, number)) => {
            words[..words.len() - 1].iter().copied().chain([street, number]).collect()
        }
        None => words.to_vec(),
    };
    let mut from = words.len().checked_sub(1)?;
    let is_letter = |word: &str| word.len() == 1 && word.bytes().all(|b| b.is_ascii_alphabetic());
    let is_joint = |word: &str| ["-", "–", "/", "+"].contains(&word);
    if is_letter(words[from]) && from > 1 {
        from -= 1;
    }
    if !is_number(words[from]) {
        return None;
    }
    while from > 2 && is_joint(words[from - 1]) && is_number(words[from - 2]) {
        from -= 2;
    }
    let street = words[..from].join(" ");
    let street = street.trim_end_matches(',');
    // Two numbers, one of them perhaps a flat's (`Via Roma 12 int. 3`): which is the house's? Behind
    // one or two letters it is a block's (`C 4, 11`).
    let is_of_a_flat = |n: usize| {
        let number = words[n].trim_end_matches([',', ';']);
        is_number(number) && n > 0 && words[n - 1].chars().count() > 2
    };
    let is_clear = from > 0 && !is_number(words[from - 1]) && !(0..from).any(is_of_a_flat);
    let is_street = street.chars().any(char::is_alphabetic);
    // `123 Main St 4` begins with a number, too.
    let is_alone = !is_number(words[0]);
    (is_clear && is_street && is_alone).then(|| (street.to_string(), words[from..].join(" ")))
}

/// `Str.12` in two.
fn after_the_point(word: &str) -> Option<(&str, &str)> {
    let (street, number) = word.split_at(word.rfind('.')? + 1);
    (street.chars().count() > 2 && is_number(number)).then_some((street, number))
}

/// Digits, perhaps with letters, or with a dash or a slash and more of them: `12`, `12a`, `12-14`,
/// `12/3/4`. Not `17.` or `5th`.
fn is_number(word: &str) -> bool {
    word.split(['-', '–', '/', '+']).enumerate().all(|(n, part)| {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        let letters = &part[digits..];
        let few = letters.len() <= if n == 0 { 1 } else { 3 };
        (digits > 0 || n > 0 && !letters.is_empty())
            && few
            && letters.bytes().all(|b| b.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_number_is_split_off_or_left_to_a_person() {
        for (line, country, street, number) in [
            ("Lange Straße 12", "DE", "Lange Straße", "12"),
            ("Lange Straße 12a", "DE", "Lange Straße", "12a"),
            ("Lange Straße 12 a", "DE", "Lange Straße", "12 a"),
            ("Lange Straße 12-14", "DE", "Lange Straße", "12-14"),
            ("Lange Straße 12 - 14", "DE", "Lange Straße", "12 - 14"),
            ("Straße des 17. Juni 135", "DE", "Straße des 17. Juni", "135"),
            ("C 4, 11", "DE", "C 4", "11"),
            ("Lange Str.12", "DE", "Lange Str.", "12"),
            ("Langestr.12a", "DE", "Langestr.", "12a"),
            ("Lange Straße Nr. 12", "DE", "Lange Straße Nr.", "12"),
            ("Q7 24", "DE", "Q7", "24"),
            ("Packstation 145", "DE", "Packstation", "145"),
            ("Lange Gasse 12/3/4", "AT", "Lange Gasse", "12/3/4"),
            ("Keizersgracht 12-2hg", "NL", "Keizersgracht", "12-2hg"),
            ("12 Rue Exemple", "FR", "Rue Exemple", "12"),
            ("12 bis, rue Exemple", "FR", "rue Exemple", "12 bis"),
            ("12B rue Exemple", "FR", "rue Exemple", "12B"),
            ("12 1/2 Example Street", "US", "Example Street", "12 1/2"),
            ("12 High Street, Flat 3", "GB", "High Street, Flat 3", "12"),
            ("500 5th Ave", "US", "5th Ave", "500"),
            ("123 Main St Apt 4", "US", "Main St Apt 4", "123"),
            ("7 Example Road", "DE", "Example Road", "7"),
        ] {
            assert_eq!(split(line, country), Some((street.into(), number.into())), "{line}");
        }
        for (line, country) in [
            ("Straße des 17. Juni", "DE"),
            ("Am Ring 5 Hinterhaus", "DE"),
            ("Lange Straße 12 34", "DE"),
            ("Platz der Republik", "DE"),
            ("Via Roma 12 int. 3", "IT"),
            ("Via Roma, 12, scala 3", "IT"),
            ("Lange Gasse 12 Top 3", "AT"),
            ("Lange Straße 12, Whg. 3", "DE"),
            ("Keizersgracht 12 bel 3", "NL"),
            ("Flat 3, 12 High Street", "GB"),
            ("PO Box 12", "US"),
            ("The Old Mill", "GB"),
            ("12", "DE"),
            ("", "DE"),
            ("12 34", "FR"),
            ("日本 🫖", "JP"),
        ] {
            assert_eq!(split(line, country), None, "{line}");
        }
    }
}
