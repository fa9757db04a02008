//! Bugs that the tests plant, to see that they notice them; a release build has none of them. Two
//! are none, but modes in which more happens: `short_logs`, and `no_patience`, a disk that stalls.

/// True in a debug build whose `FULFILLD_SABOTAGE` names this bug.
pub fn is(bug: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("FULFILLD_SABOTAGE").is_some_and(|planted| planted == bug)
}

/// Panics in the thread of this name, in a debug build, when `FULFILLD_SABOTAGE` is
/// `panic:NAME:FILE` and that file is there. It removes the file first, so that it happens once,
/// and when a test wants it.
pub fn panic_in(thread: &str) {
    if cfg!(debug_assertions)
        && let Ok(planted) = std::env::var("FULFILLD_SABOTAGE")
        && let Some((name, file)) =
            planted.strip_prefix("panic:").and_then(|rest| rest.split_once(':'))
        && name == thread
        && std::fs::remove_file(file).is_ok()
    {
        panic!("the thread {thread} was told to panic");
    }
}
