//! Who may see the page, and that a form comes from it: the proxy's word, and nobody else's.

use std::io::Read;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock;
use crate::config::{PageSettings, Secret};
use crate::door::Request;
use crate::error::{Error, Result};
use crate::sabotage;

/// By this header the proxy shows that it is the proxy: its value is `FULFILLD_PAGE_SECRET`.
pub const SECRET_HEADER: &str = "X-Fulfilld-Page-Secret";

/// A form that was opened longer ago is refused: whoever fills it in looks at an old page.
const FORM_LIVES_S: i64 = 12 * 3600;

/// A user's name is no longer than this.
const NAME_MAX: usize = 64;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Look at what waits, print for it, and ship it.
    Pack,
    /// Everything.
    All,
}

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As the proxy names them: letters, digits and `._@+-`.
    pub name: String,
    /// What this person may do.
    pub role: Role,
}

impl Person {
    /// True for whoever may do everything.
    pub fn may_do_all(&self) -> bool {
        self.role == Role::All
    }

    /// The author that the history names for what they do.
    pub fn actor(&self) -> String {
        format!("page:{}", self.name)
    }
}

/// Why somebody is not let in: the status, and a sentence that says what to do.
pub type Refusal = (u16, String);

/// Knows the proxy, the people and the forms.
pub struct Guard {
    user_header: String,
    visitor: Option<&'static str>,
    secret: Option<Secret>,
    pack: Vec<String>,
    all: Vec<String>,
    key: Vec<u8>,
}

impl Guard {
    /// Forms stay valid over a restart where there is a secret to derive their key from. `Temporary`
    /// when the system has no random numbers.
    pub fn new(settings: &PageSettings) -> Result<Guard> {
        let key = match &settings.secret {
            Some(secret) => mac(secret.reveal().as_bytes(), b"forms of the page"),
            None => random()?,
        };
        Ok(Guard {
            user_header: settings.user_header.clone(),
            visitor: settings.visitor,
            secret: settings.secret.clone(),
            pack: settings.pack.clone(),
            all: settings.all.clone(),
            key,
        })
    }

    /// Who sends the request. 403 where it does not come through the proxy, names nobody, or names
    /// somebody who is in neither list.
    pub fn admit(&self, request: &Request) -> std::result::Result<Person, Refusal> {
        let refuse = |why: String| Err((403, why));
        if let Some(visitor) = self.visitor {
            return Ok(Person { name: visitor.into(), role: Role::All });
        }
        if let Some(secret) = &self.secret {
            let given = request.only_header(SECRET_HEADER).unwrap_or_default();
            if !is_same(given.as_bytes(), secret.reveal().as_bytes()) {
                return refuse(format!(
                    "This page is seen through the proxy alone, which sends FULFILLD_PAGE_SECRET as {SECRET_HEADER}"
                ));
            }
        }
        let Some(name) = request.only_header(&self.user_header) else {
            return refuse(format!(
                "Nobody is logged in: the proxy has to send the user's name as {}, once",
                self.user_header
            ));
        };
        if !is_name(name) {
            return refuse(format!(
                "A user's name has 1 to {NAME_MAX} letters, digits and ._@+-; name the user otherwise in the proxy"
            ));
        }
        let is_in = |list: &[String]| list.iter().any(|known| known == name || known == "*");
        let role = match (is_in(&self.all), is_in(&self.pack)) {
            (true, _) => Role::All,
            (false, true) => Role::Pack,
            (false, false) => {
                return refuse(format!(
                    "{name} is in neither FULFILLD_PAGE_ALL nor FULFILLD_PAGE_PACK; add the name to one of them"
                ));
            }
        };
        Ok(Person { name: name.into(), role })
    }

    /// What every form of that person carries.
    pub fn token(&self, person: &Person) -> String {
        self.token_of(person, clock::now().as_second())
    }

    fn token_of(&self, person: &Person, made_at: i64) -> String {
        let signed = mac(&self.key, format!("{made_at} {}", person.name).as_bytes());
        let hex: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{made_at}.{hex}")
    }

    /// 403 where a form was not sent by our own page to that person: by another site, by another
    /// program, or from a page that is hours old.
    pub fn check(
        &self,
        request: &Request,
        person: &Person,
        token: &str,
    ) -> std::result::Result<(), Refusal> {
        if sabotage::is("page_takes_any_form") {
            return Ok(());
        }
        let foreign = || {
            Err((
                403,
                "This form was sent by another site; open the page itself and repeat it".into(),
            ))
        };
        if request.header("Sec-Fetch-Site").is_some_and(|site| site != "same-origin") {
            return foreign();
        }
        let host = request.only_header("Host").unwrap_or_default();
        let origin = request.only_header("Origin").unwrap_or_default();
        let from = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if host.is_empty() || !from.is_some_and(|from| from.eq_ignore_ascii_case(host)) {
            return foreign();
        }
        let made_at: i64 =
            token.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
        if !is_same(token.as_bytes(), self.token_of(person, made_at).as_bytes()) {
            return foreign();
        }
        if !(0..FORM_LIVES_S).contains(&(clock::now().as_second() - made_at).max(0)) {
            return Err((
                403,
                "This page was opened hours ago; go back, reload it and repeat".into(),
            ));
        }
        Ok(())
    }
}

/// True for what can stand in the history and in a log line as it is.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Compares in constant time, which does not reveal where they differ.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(b"compare").expect("HMAC takes a key of any length");
    mac.update(given);
    let mut other =
        Hmac::<Sha256>::new_from_slice(b"compare").expect("HMAC takes a key of any length");
    other.update(wanted);
    mac.verify_slice(&other.finalize().into_bytes()).is_ok()
}

fn random() -> Result<Vec<u8>> {
    let mut bytes = vec![0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|e| Error::Temporary(format!("/dev/urandom cannot be read: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_a_comparison_is_exact() {
        for (name, is) in [
            ("anna", true),
            ("anna.b@example.org", true),
            ("", false),
            ("a b", false),
            ("<script>", false),
            ("anna\u{1b}", false),
            ("ännä", false),
        ] {
            assert_eq!(is_name(name), is, "{name}");
        }
        assert!(!is_name(&"a".repeat(NAME_MAX + 1)));
        assert!(is_same(b"abc", b"abc") && !is_same(b"abc", b"abd") && !is_same(b"", b"abc"));
    }
}
