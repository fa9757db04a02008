//! Bugs that the tests plant, to see that they notice them; a release build has none of them.

/// True in a debug build whose `FULFILLD_SABOTAGE` names this bug.
pub fn is(bug: &str) -> bool {
    cfg!(debug_assertions) && std::env::var_os("FULFILLD_SABOTAGE").is_some_and(|planted| planted == bug)
}
