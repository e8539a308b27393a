//! Ways of being wrong on purpose, which a test switches on to see that it finds them: `ZKE_MUTANT=name` in a process's
//! environment. `docs/simulation.md` says what finds each.
//!
//! Compiled only with the feature `fault`, which no program that is shipped has, and silent unless one is asked for. All
//! of them are in one build, so that they cost its compile time once.

use std::env;
use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `fault` is for tests: it must not be in a program without debug assertions");

/// Up to which apply level this process is to be able to go: `ZKE_APPLY_LEVEL`, without it 1.
pub fn apply_level() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| env::var("ZKE_APPLY_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(1))
}

/// Where the counter of zxids begins in each epoch: `ZKE_FIRST_COUNTER`, without it 0. Near its end, every epoch of a test
/// gets there. The same for all members of an ensemble, and for all that ever apply its log.
pub fn first_counter() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| {
        env::var("ZKE_FIRST_COUNTER").ok().and_then(|counter| counter.parse().ok()).unwrap_or(0)
    })
}

/// Behind which entry of the log a bit flips in the state of this process: `ZKE_DAMAGE_AT`.
pub fn damage_at() -> Option<u64> {
    static ASKED: OnceLock<Option<u64>> = OnceLock::new();
    *ASKED.get_or_init(|| env::var("ZKE_DAMAGE_AT").ok().and_then(|index| index.parse().ok()))
}

/// All there are. Each stands in the sources once more, where it is wrong.
pub const MUTANTS: [&str; 15] = [
    "ack-before-fsync",
    "no-directory-sync",
    "unsynced-vote",
    "unsynced-snapshot",
    "cut-tail",
    "reused-id",
    "out-of-order",
    "mark-over-gap",
    "idle-sync",
    "deposed-sync",
    "barrier-asked-once",
    "endless-lease",
    "hasty-expiry",
    "left-ephemeral",
    "lost-watch",
];

/// Whether this process was asked to be wrong in this way.
pub fn is_on(mutant: &str) -> bool {
    asked().is_some_and(|asked| asked == mutant)
}

/// What this process was asked for. The environment is read once.
///
/// # Panics
/// On a name that no mutant has: a test would look for something that is not there.
pub fn asked() -> Option<&'static str> {
    static ASKED: OnceLock<Option<&str>> = OnceLock::new();
    *ASKED.get_or_init(|| {
        let name = env::var("ZKE_MUTANT").ok()?;
        let known = MUTANTS.into_iter().find(|known| *known == name);
        Some(known.unwrap_or_else(|| panic!("there is no mutant called {name}")))
    })
}
