//! The settings of the page: where it is, and who may see it.

use std::net::SocketAddr;

use super::fault::{Fault, Read};
use super::secrets::Secret;

/// A shorter secret could be guessed.
const SECRET_MIN: usize = 16;

/// How a secret is made, and where it goes.
const MAKE_ONE: &str = "make one with openssl rand -hex 32, and let the proxy send it as \
                        X-Fulfilld-Page-Secret (docs/page.md)";

/// What the page needs to know, checked.
#[derive(Debug, Clone)]
pub struct PageSettings {
    /// On loopback.
    pub listen: SocketAddr,
    /// In which the proxy names whoever is logged in.
    pub user_header: String,
    /// By which the proxy shows that it is the proxy; `None` where every program on this server may
    /// say who is logged in.
    pub secret: Option<Secret>,
    /// Who may look and ship; `*` is everybody who is logged in.
    pub pack: Vec<String>,
    /// Who may do everything.
    pub all: Vec<String>,
    /// Words of the shipping options that are packed first.
    pub first: Vec<String>,
    /// Who is looking where no proxy is in front: the demo's visitor, and no setting.
    pub visitor: Option<&'static str>,
}

impl PageSettings {
    /// Of the settings as they were read. A fault where nobody could see the page, or anybody.
    pub fn new(
        listen: SocketAddr,
        secret: Option<Secret>,
        user_header: String,
        [pack, all, first]: [Vec<String>; 3],
    ) -> Result<PageSettings, Fault> {
        let Some(secret) = secret else {
            return Err(Fault::fatal(
                "page_secret_missing",
                "FULFILLD_PAGE_LISTEN is set and FULFILLD_PAGE_SECRET is not",
                format!(
                    "{MAKE_ONE}; where no other user is on this server, and the proxy cannot send \
                     it, set it to none"
                ),
            )
            .because("Without it every program on this server could say who is logged in."));
        };
        if pack.is_empty() && all.is_empty() {
            return Err(Fault::fatal(
                "page_for_nobody",
                "FULFILLD_PAGE_LISTEN is set and nobody may see the page",
                "name people in FULFILLD_PAGE_ALL or FULFILLD_PAGE_PACK, or remove FULFILLD_PAGE_LISTEN",
            ));
        }
        let secret = Some(secret).filter(|secret| secret.reveal() != NO_SECRET);
        Ok(PageSettings { listen, user_header, secret, pack, all, first, visitor: None })
    }

    /// The demo's: no proxy, a free port of this machine, and its visitor may do everything.
    pub fn of_the_demo() -> PageSettings {
        PageSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            user_header: String::new(),
            secret: None,
            pack: Vec::new(),
            all: Vec::new(),
            first: vec!["express".into()],
            visitor: Some("visitor"),
        }
    }

    /// True for a shipping option that is packed before others.
    pub fn goes_first(&self, option: &str) -> bool {
        let option = option.to_lowercase();
        self.first.iter().any(|word| option.contains(&word.to_lowercase()))
    }
}

/// Says that there is no secret on purpose.
const NO_SECRET: &str = "none";

/// Where the page is: loopback, because the login is the proxy's.
pub fn listen(name: &'static str, text: &str) -> Read<Option<SocketAddr>> {
    if text.is_empty() {
        return Read::good(None);
    }
    match text.parse::<SocketAddr>() {
        Err(_) => Read::wrong(Fault::odd(format!("{name}={text} is not an address and port"))),
        Ok(address) if !address.ip().to_canonical().is_loopback() => Read::wrong(Fault::fatal(
            "setting_odd",
            format!("{name}={text} can be reached from outside this server"),
            "listen on 127.0.0.1 behind a proxy that asks for a login (docs/page.md)",
        )),
        Ok(address) => Read::good(Some(address)),
    }
}

/// The proxy's secret.
pub fn secret(name: &'static str, text: &str) -> Read<Option<Secret>> {
    match text.trim() {
        "" => Read::good(None),
        NO_SECRET => Read::good(Some(Secret::new(NO_SECRET))),
        text if text.len() >= SECRET_MIN && text.bytes().all(|b| b.is_ascii_graphic()) => {
            Read::good(Some(Secret::new(text)))
        }
        _ => Read::wrong(Fault::fatal(
            "page_secret_odd",
            format!("{name} has not {SECRET_MIN} letters and digits, or a blank in it"),
            MAKE_ONE,
        )),
    }
}

/// The name of a header.
pub fn header(name: &'static str, text: &str) -> Read<String> {
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    match !text.is_empty() && text.bytes().all(is_sign) {
        true => Read::good(text.to_string()),
        false => Read::wrong(Fault::odd(format!("{name}={text} is not the name of a header"))),
    }
}

/// Names or words with a comma between.
pub fn list(_: &'static str, text: &str) -> Read<Vec<String>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Read::good(names.map(String::from).collect())
}
