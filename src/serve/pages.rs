//! Reads every page of a large file after an unclean end, while it is served.
//!
//! A crash does no harm to a file of SQLite's, and a disk that lost what it had confirmed may have.
//! A small file is read before the first 200. To read a large one takes seconds, or minutes on a
//! small server; buyers do not wait for that. A page that cannot be read ends the process as it
//! would have at the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::InterruptHandle;

use crate::db;
use crate::error::{Error, Result};

/// What is to be read, and who reads it.
pub enum Pages {
    /// Nothing, or no more.
    Read,
    /// The file, as soon as it is served; and where to say that it is being read.
    Unread(PathBuf, Arc<AtomicBool>),
    Reading(InterruptHandle, JoinHandle<Result<()>>),
}

impl Pages {
    /// `large` says whether the file at `path` was left to be read while it is served, and
    /// `own_reader` is true as long as that is done.
    pub fn of(path: &Path, large: bool, own_reader: Arc<AtomicBool>) -> Pages {
        if large { Pages::Unread(path.to_path_buf(), own_reader) } else { Pages::Read }
    }

    /// Starts the reading, once, and looks what came of it. An error says that the file is damaged
    /// or the disk failed, and that the process must end.
    pub fn look(&mut self) -> Result<()> {
        match std::mem::replace(self, Pages::Read) {
            Pages::Read => Ok(()),
            Pages::Unread(path, own_reader) => {
                Pages::start(path, own_reader).map(|reading| *self = reading)
            }
            Pages::Reading(_, thread) if thread.is_finished() => match thread.join() {
                Ok(Err(why @ (Error::Config(_) | Error::Corrupt(_)))) => Err(why),
                Ok(Err(why)) => {
                    log::warn!(
                        "cannot read every page of the file: {why}; next, type: fulfilld check"
                    );
                    Ok(())
                }
                Ok(Ok(())) | Err(_) => Ok(()),
            },
            reading => {
                *self = reading;
                Ok(())
            }
        }
    }

    fn start(path: PathBuf, own_reader: Arc<AtomicBool>) -> Result<Pages> {
        let connection = db::open_for_reading(&path)?;
        let interrupt = connection.get_interrupt_handle();
        log::info!(
            "fulfilld did not shut down cleanly; reading every page of the file in the background"
        );
        let body = move || {
            let began = Instant::now();
            own_reader.store(true, Relaxed);
            let read = db::read_every_page(&connection, &path);
            own_reader.store(false, Relaxed);
            read?;
            let took = began.elapsed().as_secs_f64();
            log::info!("every page of the file is readable; checking them took {took:.1} s");
            Ok(())
        };
        let thread = std::thread::Builder::new()
            .name("pages".into())
            .stack_size(512 << 10)
            .spawn(body)
            .map_err(|e| Error::Temporary(format!("cannot start a thread: {e}")))?;
        Ok(Pages::Reading(interrupt, thread))
    }

    /// Breaks the reading off; the next start begins it again after another unclean end.
    pub fn stop(&mut self) {
        if let Pages::Reading(interrupt, thread) = std::mem::replace(self, Pages::Read) {
            interrupt.interrupt();
            let _ = thread.join();
        }
    }
}
