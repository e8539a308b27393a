//! Which behaviour apply has: a number in the replicated state that only rises, and only through the log.
//!
//! A change of what a command does to the state gets the next level, so that members of different versions do the same with
//! the same entry: all of them the old thing below the level, and nobody anything above the newest that it has. Old levels
//! stay for as long as a log, a snapshot or an archive of them may be read.

/// What a fresh ensemble begins with.
pub const OLDEST_APPLY_LEVEL: u32 = 1;

/// The newest behaviour in this program. Those built for tests have one more, which is of no use but to be told apart.
pub(crate) const NEWEST_APPLY_LEVEL: u32 = if cfg!(feature = "fault") { 2 } else { 1 };

/// The newest behaviour that this process may be asked for.
pub fn newest_apply_level() -> u32 {
    #[cfg(feature = "fault")]
    return crate::fault::apply_level().clamp(OLDEST_APPLY_LEVEL, NEWEST_APPLY_LEVEL);
    #[cfg(not(feature = "fault"))]
    NEWEST_APPLY_LEVEL
}

/// Whether a program that has the levels up to `newest` may go on with what is of level `needed`.
///
/// # Errors
/// If it may not: it would do something else than the other members do.
pub fn expect_apply_level(needed: u32, newest: u32) -> Result<(), ApplyLevelTooNew> {
    if needed <= newest { Ok(()) } else { Err(ApplyLevelTooNew { needed, newest }) }
}

/// The ensemble agreed on a behaviour that this program does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ensemble is at apply level {needed} and this program has up to {newest}: run the version of the other members, \
     or a newer one; the data are right and stay as they are"
)]
pub struct ApplyLevelTooNew {
    pub needed: u32,
    pub newest: u32,
}

/// What an entry's time is taken for.
pub(crate) fn time_of_entry_ms(level: u32, time_ms: i64) -> i64 {
    match level {
        #[cfg(feature = "fault")]
        2.. => time_ms - time_ms.rem_euclid(10),
        _ => time_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_level_is_refused_with_both_numbers() {
        assert_eq!(expect_apply_level(2, 2), Ok(()));
        assert_eq!(expect_apply_level(1, 2), Ok(()));
        let refused = expect_apply_level(3, 2).unwrap_err();
        assert_eq!(refused, ApplyLevelTooNew { needed: 3, newest: 2 });
        assert!(refused.to_string().contains("level 3") && refused.to_string().contains("up to 2"));
    }
}
