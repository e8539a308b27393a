//! Faults that a test switches on to see that it finds them. Compiled only with the feature `fault`, which no program
//! that is shipped has, and silent unless `ZKE_MUTANT` names one.

use std::env;
use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `fault` is for tests: it must not be in a program without debug assertions");

/// Whether this process was asked to have this fault. The environment is read once.
pub fn is_on(name: &str) -> bool {
    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    ASKED.get_or_init(|| env::var("ZKE_MUTANT").ok()).as_deref() == Some(name)
}
