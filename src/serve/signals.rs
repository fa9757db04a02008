//! Signals: what wakes the daemon up to stop or to read its secrets again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};
use crate::sabotage;

/// What the main thread is woken for.
pub enum Wake {
    Stop,
    Reload,
}

/// SIGTERM and SIGINT end, SIGHUP reloads; a second SIGTERM or SIGINT ends at once.
pub fn signals() -> Result<Receiver<Wake>> {
    let (tell, told) = channel();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|e| Error::Temporary(format!("cannot listen for signals: {e}")))?;
    static STOPPING: AtomicBool = AtomicBool::new(false);
    let listening = move || {
        for signal in signals.forever() {
            sabotage::panic_in("signals");
            let wake = match signal {
                SIGHUP => Wake::Reload,
                _ if STOPPING.swap(true, Ordering::SeqCst) => std::process::exit(130),
                _ => Wake::Stop,
            };
            if tell.send(wake).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(128 << 10)
        .spawn(listening)
        .map_err(|e| Error::Temporary(format!("cannot start a thread: {e}")))?;
    Ok(told)
}
