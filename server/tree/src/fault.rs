//! Faults that a test switches on to see that it finds them. Compiled only with the feature `fault`, which no program
//! that is shipped has, and silent unless `ZKE_MUTANT` names one.

use std::env;
use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `fault` is for tests: it must not be in a program without debug assertions");

/// Up to which apply level this process is to be able to go: `ZKE_APPLY_LEVEL`, without it 1.
pub fn apply_level() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| env::var("ZKE_APPLY_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(1))
}

/// Whether this process was asked to have this fault. The environment is read once.
pub fn is_on(name: &str) -> bool {
    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    ASKED.get_or_init(|| env::var("ZKE_MUTANT").ok()).as_deref() == Some(name)
}
