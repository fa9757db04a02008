//! Counts warnings that repeat instead of writing them: a full disk fails every webhook with the
//! same words. Pure; the clock is the caller's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::Level;

/// For so long a line is written once, and then how often it came.
pub const WINDOW: Duration = Duration::from_secs(600);

/// Lines of one place in the source that differ, such as by an event's id, are written so often in
/// that time.
pub const DIFFERENT_MAX: usize = 20;

/// A place in the source: its file and line.
pub type Site = (&'static str, u32);

/// What has been written lately.
#[derive(Default)]
pub struct Repeats(HashMap<Site, Lately>);

/// What one place has said since the window began.
struct Lately {
    level: Level,
    since: Instant,
    /// What was written, and how often it came again.
    lines: HashMap<String, u64>,
    /// What was not written at all: how many lines, and the last of them.
    others: u64,
    last: String,
}

impl Repeats {
    /// True when the line is to be written.
    pub fn is_new(&mut self, level: Level, site: Site, text: &str, now: Instant) -> bool {
        let lately = self.0.entry(site).or_insert_with(|| Lately {
            level,
            since: now,
            lines: HashMap::new(),
            others: 0,
            last: String::new(),
        });
        if let Some(again) = lately.lines.get_mut(text) {
            *again += 1;
            return false;
        }
        if lately.lines.len() < DIFFERENT_MAX {
            lately.lines.insert(text.into(), 0);
            return true;
        }
        lately.others += 1;
        lately.last = text.into();
        false
    }

    /// What was counted in windows that are over, or in all with `now` as their end: lines to
    /// write. What keeps coming stays counted.
    pub fn counted(&mut self, now: Instant, all: bool) -> Vec<(Level, String)> {
        let mut told = Vec::new();
        self.0.retain(|_, lately| {
            let for_so_long = now.saturating_duration_since(lately.since);
            if !all && for_so_long < WINDOW {
                return true;
            }
            let within = match for_so_long.as_secs() {
                s @ 0..120 => format!("{} s", s.max(1)),
                s => format!("{} min", s / 60),
            };
            let mut said: Vec<(&String, u64)> =
                lately.lines.iter().filter(|(_, n)| **n > 0).map(|(text, n)| (text, *n)).collect();
            said.sort();
            if lately.others > 0 {
                said.push((&lately.last, lately.others));
            }
            told.extend(said.iter().map(|(text, n)| {
                (lately.level, format!("{n} more like this in {within}: {text}"))
            }));
            let goes_on = !said.is_empty() && !all;
            lately.since = now;
            lately.others = 0;
            lately.lines.retain(|_, n| std::mem::take(n) > 0);
            goes_on
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Site = ("here.rs", 1);

    #[test]
    fn a_warning_that_repeats_is_written_once_and_then_counted_every_ten_minutes() {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut repeats = Repeats::default();
        let written = (0..940)
            .filter(|n| repeats.is_new(Level::Warn, HERE, "the disk is full", at(n / 2)))
            .count();
        assert_eq!(written, 1);
        assert!(repeats.is_new(Level::Warn, ("there.rs", 1), "the disk is full", at(1)));
        assert_eq!(repeats.counted(at(599), false), []);
        let line = "939 more like this in 10 min: the disk is full".to_owned();
        assert_eq!(repeats.counted(at(601), false), [(Level::Warn, line)]);
        // It goes on, and then it ends.
        assert!(!repeats.is_new(Level::Warn, HERE, "the disk is full", at(700)));
        assert_eq!(repeats.counted(at(1201), false).len(), 1);
        assert_eq!(repeats.counted(at(1802), false), []);
        assert!(repeats.is_new(Level::Warn, HERE, "the disk is full", at(1803)));
    }

    #[test]
    fn lines_that_differ_by_an_id_are_written_up_to_a_number() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        let written = (0..100)
            .filter(|n| repeats.is_new(Level::Error, HERE, &format!("event evt_{n} failed"), now))
            .count();
        assert_eq!(written, DIFFERENT_MAX);
        let last = "80 more like this in 1 s: event evt_99 failed".to_owned();
        assert_eq!(repeats.counted(now, true), [(Level::Error, last)]);
        assert_eq!(repeats.counted(now, true), []);
    }
}
