//! Bugs that the models plant in the product's own source, as `src/sabotage.rs` does for the tests.

use std::sync::Mutex;

static PLANTED: Mutex<Option<&'static str>> = Mutex::new(None);

pub fn plant(bug: Option<&'static str>) {
    *PLANTED.lock().expect("no panic") = bug;
}

pub fn is(bug: &str) -> bool {
    *PLANTED.lock().expect("no panic") == Some(bug)
}

pub fn panic_in(_: &str) {}
