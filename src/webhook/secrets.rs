//! The signing secrets in force: read at start, again on SIGHUP, and when their file has changed.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::config;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::signature::SigningSecret;
use crate::sync::lock;

/// The secrets that signatures are verified with.
pub struct Secrets {
    in_force: RwLock<Vec<SigningSecret>>,
    last_look: Mutex<Look>,
    metrics: Arc<Metrics>,
}

/// What the secrets' file said when it was last read.
struct Look {
    found: Result<Vec<SigningSecret>>,
    /// It is in force, or its mistake is in the log.
    is_settled: bool,
}

impl Secrets {
    /// `secrets` are the ones that were read at the start.
    pub fn new(secrets: Vec<SigningSecret>, metrics: Arc<Metrics>) -> Secrets {
        metrics.secrets_are(&vec![None; secrets.len()]);
        let last_look = Mutex::new(Look { found: Ok(secrets.clone()), is_settled: true });
        Secrets { in_force: RwLock::new(secrets), last_look, metrics }
    }

    /// The secrets in force, which do not change while the guard is held.
    pub fn in_force(&self) -> RwLockReadGuard<'_, Vec<SigningSecret>> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the secrets again, now. A mistake in the new ones leaves the old ones in force.
    pub fn reload(&self) {
        let found = config::WEBHOOK_SECRET.get();
        self.put_in_force(&found);
        *lock(&self.last_look) = Look { found, is_settled: true };
    }

    /// Puts changed secrets in force without a reload, so that a forgotten reload loses no event;
    /// to be called every second. A file that is being written is incomplete for a moment, so the
    /// change counts once two reads in a row agree.
    pub fn follow(&self) {
        let found = config::WEBHOOK_SECRET.get();
        let mut look = lock(&self.last_look);
        if look.found != found {
            *look = Look { found, is_settled: false };
        } else if !std::mem::replace(&mut look.is_settled, true) {
            self.put_in_force(&found);
        }
    }

    fn put_in_force(&self, found: &Result<Vec<SigningSecret>>) {
        let new = match found {
            Ok(new) => new,
            Err(error) => return log::error!("the signing secrets stay as they were: {error}"),
        };
        let mut secrets = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let old_place = |secret: &SigningSecret| secrets.iter().position(|old| old == secret);
        self.metrics.secrets_are(&new.iter().map(old_place).collect::<Vec<_>>());
        secrets.clone_from(new);
        log::info!("the signing secrets were read again: {} are valid", new.len());
    }
}
