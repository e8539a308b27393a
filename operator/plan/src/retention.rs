//! Which backups of a schedule may go.
//!
//! Only successes count: a row of failures never pushes a good backup out. Whatever the numbers say, the newest good
//! one stays, and so does one that something still needs or that has not ended.

use std::collections::BTreeSet;

use jiff::Timestamp;

/// How much is kept. A success stays when either of the first two wants it; when neither is set, all stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// This many of the newest successes.
    pub keep_last: Option<u32>,
    /// Successes not older than this.
    pub keep_within_s: Option<i64>,
    /// This many of the newest failures.
    pub failed_history_limit: u32,
}

/// A backup that a schedule has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub outcome: Outcome,
    /// An ensemble is to be restored from it.
    pub referenced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Unfinished,
    Succeeded { at: Timestamp },
    Failed { at: Timestamp },
}

/// The names of those that are no longer wanted, oldest first.
pub fn superfluous(backups: &[Kept], retention: &Retention, now: Timestamp) -> Vec<String> {
    let mut succeeded = Vec::new();
    let mut failed = Vec::new();
    for backup in backups {
        match backup.outcome {
            Outcome::Unfinished => {}
            Outcome::Succeeded { at } => succeeded.push((at, backup)),
            Outcome::Failed { at } => failed.push((at, backup)),
        }
    }
    let Retention { keep_last, keep_within_s, failed_history_limit } = *retention;
    let keeps_all = keep_last.is_none() && keep_within_s.is_none();
    let is_recent = |at: Timestamp| {
        keep_within_s.is_some_and(|within| now.as_second().saturating_sub(at.as_second()) <= within)
    };
    let successes = keep_last.unwrap_or(0).max(1);
    let mut wanted: BTreeSet<&str> = newest(&mut succeeded, successes);
    wanted.extend(
        succeeded
            .iter()
            .filter(|(at, _)| keeps_all || is_recent(*at))
            .map(|(_, backup)| backup.name.as_str()),
    );
    wanted.extend(newest(&mut failed, failed_history_limit));

    let mut ended: Vec<_> = succeeded.into_iter().chain(failed).collect();
    ended.sort_unstable_by(by_age);
    let unwanted =
        |(_, backup): &(Timestamp, &Kept)| !backup.referenced && !wanted.contains(backup.name.as_str());
    ended.into_iter().filter(unwanted).map(|(_, backup)| backup.name.clone()).collect()
}

/// Two that ended in the same second stand in the order of their names, which are made of their slots.
fn by_age((at, backup): &(Timestamp, &Kept), (other_at, other): &(Timestamp, &Kept)) -> std::cmp::Ordering {
    (at, &backup.name).cmp(&(other_at, &other.name))
}

fn newest<'a>(backups: &mut [(Timestamp, &'a Kept)], count: u32) -> BTreeSet<&'a str> {
    backups.sort_unstable_by(by_age);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    backups.iter().rev().take(count).map(|(_, backup)| backup.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn at(age_s: i64) -> Timestamp {
        Timestamp::from_second(NOW_S - age_s).unwrap()
    }

    fn kept(name: &str, outcome: Outcome) -> Kept {
        Kept { name: name.to_owned(), outcome, referenced: false }
    }

    fn gone(backups: &[Kept], keep_last: Option<u32>, keep_within_s: Option<i64>) -> Vec<String> {
        superfluous(backups, &Retention { keep_last, keep_within_s, failed_history_limit: 1 }, at(0))
    }

    #[test]
    fn failures_push_no_success_out() {
        let mut backups: Vec<_> =
            (0..50).map(|n| kept(&format!("bad-{n:02}"), Outcome::Failed { at: at(n) })).collect();
        backups.push(kept("good", Outcome::Succeeded { at: at(1_000_000) }));
        let gone = gone(&backups, Some(1), Some(60));
        assert_eq!(gone.len(), 49);
        assert!(gone.iter().all(|name| name != "good" && name != "bad-00"), "{gone:?}");
    }

    #[test]
    fn a_success_stays_when_either_rule_wants_it() {
        let success = |age| kept(&format!("age-{age}"), Outcome::Succeeded { at: at(age) });
        let backups = [success(10), success(20), success(30), success(40)];
        assert_eq!(gone(&backups, Some(2), None), ["age-40", "age-30"]);
        assert_eq!(gone(&backups, Some(1), Some(30)), ["age-40"]);
        assert_eq!(gone(&backups, None, Some(5)), ["age-40", "age-30", "age-20"], "the last good one stays");
        assert!(gone(&backups, None, None).is_empty());
    }

    #[test]
    fn what_a_restore_needs_stays_and_takes_nobody_elses_place() {
        let mut old = kept("old", Outcome::Succeeded { at: at(900) });
        old.referenced = true;
        let backups = [
            old,
            kept("middle", Outcome::Succeeded { at: at(500) }),
            kept("new", Outcome::Succeeded { at: at(1) }),
        ];
        assert_eq!(gone(&backups, Some(1), None), ["middle"]);
    }

    fn any_backup() -> impl Strategy<Value = (Outcome, bool)> {
        // Few different ages, so that some are the same.
        let outcome = prop_oneof![
            Just(Outcome::Unfinished),
            (0..20_i64).prop_map(|age| Outcome::Succeeded { at: at(age * 10) }),
            (0..20_i64).prop_map(|age| Outcome::Failed { at: at(age * 10) }),
        ];
        (outcome, prop::bool::weighted(0.1))
    }

    fn any_retention() -> impl Strategy<Value = Retention> {
        (prop::option::of(0..5_u32), prop::option::of(0..250_i64), 0..4_u32).prop_map(
            |(keep_last, keep_within_s, failed_history_limit)| Retention {
                keep_last,
                keep_within_s,
                failed_history_limit,
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_the_numbers_say(
            drawn in prop::collection::vec(any_backup(), 0..30),
            retention in any_retention(),
            shuffled in any::<prop::sample::Index>(),
        ) {
            let mut backups: Vec<Kept> = drawn
                .into_iter()
                .enumerate()
                .map(|(place, (outcome, referenced))| Kept { name: format!("b{place:02}"), outcome, referenced })
                .collect();
            let gone = superfluous(&backups, &retention, at(0));
            let left = |backup: &&Kept| !gone.contains(&backup.name);
            let succeeded = |backup: &Kept| matches!(backup.outcome, Outcome::Succeeded { .. });
            let age = |backup: &Kept| match backup.outcome {
                Outcome::Succeeded { at } | Outcome::Failed { at } => NOW_S - at.as_second(),
                Outcome::Unfinished => 0,
            };

            for backup in backups.iter().filter(|backup| !left(backup)) {
                prop_assert!(backup.outcome != Outcome::Unfinished);
                prop_assert!(!backup.referenced);
                if succeeded(backup) {
                    prop_assert!(retention.keep_last.is_some() || retention.keep_within_s.is_some());
                    prop_assert!(retention.keep_within_s.is_none_or(|within| age(backup) > within));
                    // Enough better ones stay, and none that is older stays without a reason of its own.
                    let better = backups.iter().filter(left).filter(|other| {
                        succeeded(other) && age(other) <= age(backup)
                    });
                    prop_assert!(better.count() >= retention.keep_last.unwrap_or(1).max(1) as usize);
                }
            }
            // The last good one is there.
            let newest = backups.iter().filter(|backup| succeeded(backup)).map(age).min();
            let newest_left = backups.iter().filter(left).filter(|backup| succeeded(backup)).map(age).min();
            prop_assert_eq!(newest, newest_left);
            // Failures are bounded.
            let failures = backups.iter().filter(left).filter(|backup| {
                matches!(backup.outcome, Outcome::Failed { .. }) && !backup.referenced
            });
            prop_assert!(failures.count() <= retention.failed_history_limit as usize);

            // Neither the order in which they are listed matters, nor that the first are gone already.
            if !backups.is_empty() {
                let middle = shuffled.index(backups.len());
                backups.rotate_left(middle);
            }
            prop_assert_eq!(&superfluous(&backups, &retention, at(0)), &gone);
            backups.retain(|backup| !gone.contains(&backup.name));
            prop_assert!(superfluous(&backups, &retention, at(0)).is_empty());
        }
    }
}
