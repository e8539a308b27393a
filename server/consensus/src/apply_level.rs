//! When the ensemble takes up the next behaviour of apply: once every member can.
//!
//! Each member says with the hello of its link up to which level it can go. The leader proposes the next level when all of
//! the membership, those who learn too, have said so in this term; so no member that is merely away is left behind without
//! having been able to. Whoever comes later and cannot is turned away, and one that finds the level in its log or in a
//! snapshot stops before it applies anything: see [`zke_tree::expect_apply_level`].

use std::collections::BTreeMap;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use zke_tree::{Command, MemberId};

use crate::ensemble::Inner;

/// The level to propose, if there is one. `said` is what members can, as far as they have said it.
fn next_level(
    current: u32,
    mut members: impl Iterator<Item = MemberId>,
    said: &BTreeMap<MemberId, u32>,
) -> Option<u32> {
    let next = current + 1;
    members.all(|member| said.get(&member).is_some_and(|newest| *newest >= next)).then_some(next)
}

impl<R: AsyncRuntime> Inner<R> {
    /// One look of the leader of `term`; it comes back to it, so what gets lost here is no harm.
    pub(crate) fn raise_apply_level(&self, term: u64) {
        let current = self.replica.state().read().apply_level();
        if self.options.newest_apply_level <= current {
            return;
        }
        let next = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let members = metrics.membership_config.nodes().map(|(id, _)| MemberId(*id));
            let leading = self.leading.lock();
            let Some(leading) = leading.as_ref().filter(|leading| leading.term == term) else { return };
            next_level(current, members, &leading.apply_levels)
        };
        if let Some(to) = next
            && self.proposals.propose(Command::RaiseApplyLevel { to }).is_ok()
        {
            tracing::info!(from = current, to, "every member can do it: raising the apply level");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_rises_by_one_and_only_when_everybody_can() {
        let members = || [1, 2, 3].into_iter().map(MemberId);
        let said = |levels: [(u64, u32); 3]| levels.map(|(id, level)| (MemberId(id), level)).into();
        assert_eq!(next_level(1, members(), &said([(1, 2), (2, 3), (3, 2)])), Some(2));
        assert_eq!(next_level(1, members(), &said([(1, 2), (2, 1), (3, 2)])), None);
        assert_eq!(next_level(1, members(), &said([(1, 2), (2, 2), (4, 2)])), None);
        assert_eq!(next_level(2, members(), &said([(1, 2), (2, 2), (3, 2)])), None);
    }
}
