//! The sockets of the webhook and of the page: systemd's, else our own.

use std::net::TcpListener;

use crate::config::Settings;
use crate::door;
use crate::error::{Error, Result};

/// The webhook's listener and the page's: the sockets that systemd holds over a restart, known by
/// their ports, else our own.
pub fn listeners(settings: &Settings) -> Result<(TcpListener, Option<TcpListener>)> {
    let unusable = |e: std::io::Error| {
        Error::Config(format!("the socket handed over by systemd cannot be used: {e}"))
    };
    let mut handed = listenfd::ListenFd::from_env();
    let (mut webhook, mut page) = (None, None);
    for n in 0..handed.len() {
        let Some(listener) = handed.take_tcp_listener(n).map_err(unusable)? else { continue };
        let port = listener.local_addr().map_err(unusable)?.port();
        match &settings.page {
            Some(settings) if settings.listen.port() == port => page = Some(listener),
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
