//! `FULFILLD_ONLY`: which of the account's sessions are the shop's.

use super::fault::{Fault, Read};

/// A field of a Checkout Session, and the values it has in the shop's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// As it was set.
    pub setting: String,
    /// The field as a JSON pointer.
    pub pointer: String,
    /// One of these.
    pub values: Vec<String>,
}

/// `None` for an empty text. A fault when it names no field that can be looked at, or no value.
pub fn parse(name: &'static str, text: &str) -> Read<Option<Only>> {
    if text.is_empty() {
        return Read::good(None);
    }
    let (field, values) = text.split_once('=').unwrap_or((text, ""));
    let key = field.trim().strip_prefix("metadata.").filter(|key| !key.is_empty());
    let pointer = match key {
        Some(key) => format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1")),
        None => "/payment_link".into(),
    };
    let values: Vec<String> = values
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(String::from)
        .collect();
    if values.is_empty() || (key.is_none() && field.trim() != "payment_link") {
        let remedy = "write payment_link=plink_1,plink_2 or metadata.KEY=VALUE";
        let what = format!("{name}={text} names no sessions");
        return Read::wrong(Fault::fatal("setting_odd", what, remedy));
    }
    Read::good(Some(Only { setting: text.into(), pointer, values }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shop_s_sessions_are_named_by_link_or_by_metadata() {
        let parse = |text: &str| parse("FULFILLD_ONLY", text).into_result();
        assert_eq!(parse(""), Ok(None));
        let only = |text: &str| parse(text).unwrap().unwrap();
        assert_eq!(only("payment_link = plink_1, plink_2,").values, ["plink_1", "plink_2"]);
        assert_eq!(only("payment_link=plink_1").pointer, "/payment_link");
        assert_eq!(only("metadata.a/b~c=desk").pointer, "/metadata/a~1b~0c");
        for odd in
            ["plink_1", "payment_link=", "metadata.=x", "customer=cus_1", "=", "payment_link= ,"]
        {
            let why = parse(odd).unwrap_err().to_string();
            assert!(why.contains(odd) && why.contains("metadata.KEY=VALUE"), "{why}");
        }
    }
}
