//! How many pods drains must leave alone.

use std::collections::BTreeSet;

use crate::MemberId;

/// The budget that keeps a quorum of *every* voter set: of the present one and, while it changes, of the next.
///
/// All voters together, less what the least tolerant set can spare. `None` for a single voter: a budget could only
/// forbid draining its node at all, and its downtime is declared.
pub fn min_available<'a>(voter_sets: impl IntoIterator<Item = &'a BTreeSet<MemberId>>) -> Option<u32> {
    let mut union: BTreeSet<MemberId> = BTreeSet::new();
    let mut spare = usize::MAX;
    for set in voter_sets {
        union.extend(set);
        spare = spare.min(set.len() - quorum(set.len()));
    }
    let needed = union.len().saturating_sub(spare);
    (union.len() > 1).then(|| u32::try_from(needed).unwrap_or(u32::MAX))
}

const fn quorum(voters: usize) -> usize {
    if voters == 0 { 0 } else { voters / 2 + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: impl IntoIterator<Item = u64>) -> BTreeSet<MemberId> {
        ids.into_iter().map(MemberId).collect()
    }

    #[test]
    fn a_uniform_set_keeps_its_quorum() {
        for (voters, expected) in [(1, None), (3, Some(2)), (5, Some(3)), (7, Some(4))] {
            assert_eq!(min_available([&set(1..=voters)]), expected, "{voters} voters");
        }
    }

    #[test]
    fn a_joint_change_keeps_the_quorum_of_both_sets() {
        for (old, new, expected) in [(1, 3, 3), (3, 1, 3), (3, 5, 4), (5, 3, 4), (5, 7, 5)] {
            assert_eq!(min_available([&set(1..=old), &set(1..=new)]), Some(expected), "{old} to {new}");
        }
        // A replaced disk: {1,2,3} to {1,2,4}.
        assert_eq!(min_available([&set([1, 2, 3]), &set([1, 2, 4])]), Some(3));
    }

    #[test]
    fn whoever_may_go_leaves_a_quorum_of_both_sets() {
        for (old, new) in [(1, 3), (3, 5), (5, 3), (3, 1), (5, 7), (1, 7)] {
            let (old, new) = (set(1..=old), set(1..=new));
            let all: Vec<_> = old.union(&new).copied().collect();
            let keep = min_available([&old, &new]).unwrap();
            for gone in 0..(1u32 << all.len()) {
                if all.len() as u32 - gone.count_ones() < keep {
                    continue;
                }
                let left: BTreeSet<_> = all
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| gone & (1 << bit) == 0)
                    .map(|(_, id)| *id)
                    .collect();
                for set in [&old, &new] {
                    assert!(set.intersection(&left).count() >= quorum(set.len()));
                }
            }
        }
    }
}
