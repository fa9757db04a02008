//! The sockets of the webhook and of the page: systemd's, else our own.

use std::net::TcpListener;

use crate::config::Settings;
use crate::door;
use crate::error::{Error, Result};

/// `FileDescriptorName` of the page's socket in systemd/fulfilld-page.socket.
const PAGE: &str = "page";

/// The webhook's listener and the page's: the sockets that systemd holds over a restart, else our
/// own. The page's is known by its name or by its port. `Config` where one cannot be used, or the
/// page's can be reached from outside.
pub fn listeners(settings: &Settings) -> Result<(TcpListener, Option<TcpListener>)> {
    let unusable = |e: std::io::Error| {
        Error::Config(format!("the socket handed over by systemd cannot be used: {e}"))
    };
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut handed = listenfd::ListenFd::from_env();
    let (mut webhook, mut page) = (None, None);
    for n in 0..handed.len() {
        let Some(listener) = handed.take_tcp_listener(n).map_err(unusable)? else { continue };
        let address = listener.local_addr().map_err(unusable)?;
        let is_named = names.get(n) == Some(&PAGE);
        match &settings.page {
            Some(settings) if is_named || settings.listen.port() == address.port() => {
                if !address.ip().to_canonical().is_loopback() {
                    return Err(Error::Config(format!(
                        "the page's socket {address} can be reached from outside this server; set \
                         ListenStream=127.0.0.1:{} (systemctl edit fulfilld-page.socket)",
                        address.port()
                    )));
                }
                page = Some(listener);
            }
            None if is_named => log::warn!(
                "nobody answers at {address}: FULFILLD_PAGE_LISTEN is not set; set it, or \
                 systemctl disable --now fulfilld-page.socket"
            ),
            _ => webhook = webhook.or(Some(listener)),
        }
    }
    let webhook = match webhook {
        Some(listener) => listener,
        None => door::bind(settings.listen, settings.allow_public_listen)?,
    };
    let page = match (&settings.page, page) {
        (None, _) => None,
        (Some(_), Some(listener)) => Some(listener),
        (Some(settings), None) => Some(door::bind_page(settings.listen)?),
    };
    Ok((webhook, page))
}
