//! Bugs that the tests plant, to see that they notice them; a release build has none of them. One
//! is none, but a mode in which more happens: `short_logs`.

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
