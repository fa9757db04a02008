//! Stands in for `src/checkpoint.rs`: a log that is never long, and is emptied on request.

use std::time::Duration;

use rusqlite::Connection;

use crate::error::Result;

pub const PAGES: i64 = 400;
pub const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub struct Condition {
    pub pages: i64,
}

#[derive(Default)]
pub struct Checkpointer {
    condition: Condition,
    reused: bool,
}

impl Checkpointer {
    pub fn verify(&self, _: &Connection) -> Result<()> {
        Ok(())
    }

    pub fn settle(&mut self, _: &Connection) -> Result<()> {
        Ok(())
    }

    pub fn is_followed(&mut self) -> bool {
        false
    }

    pub fn catch_up(&mut self, _: &Connection) -> Result<bool> {
        Ok(false)
    }

    pub fn check(&mut self, _: &Connection) -> Result<()> {
        Ok(())
    }

    pub fn mark(&mut self, _: &Connection) -> Result<()> {
        Ok(())
    }

    pub fn committed(&mut self) -> Result<()> {
        self.condition.pages += 1;
        Ok(())
    }

    pub fn rolled_back(&mut self) {}

    pub fn is_due(&self) -> bool {
        self.condition.pages >= 3
    }

    pub fn has_log(&self) -> bool {
        self.condition.pages > 0 || self.reused
    }

    pub fn empty(&mut self, _: &Connection) -> Result<()> {
        (self.condition.pages, self.reused) = (0, false);
        Ok(())
    }

    pub fn empty_amid_work(&mut self, _: &Connection) -> Result<()> {
        (self.condition.pages, self.reused) = (0, true);
        Ok(())
    }

    pub fn finish(&mut self, _: &Connection) -> Result<()> {
        Ok(())
    }

    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}
