//! Whether the members' states are the same: what a bug of apply or a bit that flipped in memory would show as.
//!
//! Behind each 256th entry every member tells its leader a digest of all its replicated state. One that differs from what a
//! majority of the voters agrees on stops serving at once, marks its disk, hands leadership over if it has it, and ends; its
//! disk does not start again, and is replaced as a corrupt one is. Where no majority agrees nobody can say who is wrong, so
//! all go on and an alarm is raised.
//!
//! Since those who are told to go are never in the majority that agrees, a quorum stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use openraft::AsyncRuntime;
use parking_lot::Mutex;
use tokio::sync::Notify;
use zke_tree::{LogIndex, MemberId, State};

use crate::ensemble::Inner;
use crate::link_frame::FromLeader;

/// Entries from one comparison to the next: a digest costs less than a microsecond, its message about thirty bytes.
const INTERVAL: u64 = 256;
/// Comparisons that wait for members: one that lags further is compared at a later one.
const OPEN_MAX: usize = 64;
/// For a leader that is wrong to hand over; without it the others elect one.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(1);

/// A member's state behind one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub index: LogIndex,
    pub apply_level: u32,
    pub digest: u64,
}

/// What this member has to tell its leader: the newest only, since a link may be away for long.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    newest: Mutex<Option<Seen>>,
    more: Notify,
}

impl Reports {
    /// To be called with the state behind each entry.
    pub(crate) fn applied(&self, state: &State) {
        let index = state.applied().0;
        if !index.0.is_multiple_of(INTERVAL) {
            return;
        }
        let seen = Seen { index, apply_level: state.apply_level(), digest: state.digest() };
        *self.newest.lock() = Some(seen);
        self.more.notify_one();
    }

    pub(crate) async fn next(&self) -> Seen {
        loop {
            if let Some(seen) = self.newest.lock().take() {
                return seen;
            }
            self.more.notified().await;
        }
    }
}

/// What the members told the leader of one term.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    told: BTreeMap<LogIndex, BTreeMap<MemberId, Seen>>,
}

/// What comes of one more report.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody contradicts anybody, as far as is known.
    Alike,
    /// A majority of the voters agrees, and these say otherwise.
    Wrong(BTreeSet<MemberId>),
    /// There are several states, and no majority has told of one of them.
    Unclear,
}

impl Agreement {
    fn hear(&mut self, voters: &BTreeSet<MemberId>, member: MemberId, seen: Seen) -> Verdict {
        self.told.entry(seen.index).or_default().insert(member, seen);
        if self.told.len() > OPEN_MAX {
            self.told.pop_first();
        }
        let Some(told) = self.told.get(&seen.index) else { return Verdict::Alike };
        if told.values().all(|other| *other == seen) {
            return Verdict::Alike;
        }
        let votes_for = |state: &Seen| {
            told.iter().filter(|(member, other)| *other == state && voters.contains(member)).count()
        };
        match told.values().find(|state| 2 * votes_for(state) > voters.len()) {
            Some(right) => {
                let wrong = told.iter().filter(|(_, other)| *other != right);
                Verdict::Wrong(wrong.map(|(member, _)| *member).collect())
            }
            None => Verdict::Unclear,
        }
    }
}

/// What this member heard of its own state.
#[derive(Debug, Default)]
pub(crate) struct Divergence {
    behind: Mutex<Option<LogIndex>>,
    told: Notify,
}

impl Divergence {
    pub(crate) fn is_known(&self) -> bool {
        self.behind.lock().is_some()
    }

    /// Completes when the others agreed on another state, with the entry behind which they did.
    pub(crate) async fn found(&self) -> LogIndex {
        loop {
            if let Some(index) = *self.behind.lock() {
                return index;
            }
            self.told.notified().await;
        }
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// The leader compares what a member says with what the others said.
    pub(crate) fn hear_state(&self, term: u64, member: MemberId, seen: Seen) {
        let voters = self.raft.voter_ids().map(MemberId).collect();
        let wrong: Vec<_> = {
            let mut leading = self.leading.lock();
            let Some(leading) = leading.as_mut().filter(|leading| leading.term == term) else { return };
            match leading.agreement.hear(&voters, member, seen) {
                Verdict::Alike => return,
                Verdict::Unclear => {
                    self.count_disagreement();
                    let told = &leading.agreement.told[&seen.index];
                    tracing::error!(
                        ?told,
                        "the members' states differ, and no majority agrees on one so far"
                    );
                    return;
                }
                Verdict::Wrong(members) => {
                    self.count_disagreement();
                    tracing::error!(
                        ?members,
                        index = seen.index.0,
                        "these members have another state than a majority"
                    );
                    leading.links_of(&members)
                }
            }
        };
        for link in wrong {
            // One whose link is gone or does not move is told at a later comparison.
            let _ = link.try_send(FromLeader::Diverged { index: seen.index }.encode());
        }
    }

    fn count_disagreement(&self) {
        self.disagreements.fetch_add(1, Relaxed);
    }

    pub(crate) fn disagreements(&self) -> u64 {
        self.disagreements.load(Relaxed)
    }

    /// The leader says that a majority agrees on another state behind this entry.
    pub(crate) fn hear_divergence(&self, index: LogIndex) {
        self.divergence.behind.lock().get_or_insert(index);
        self.review_serving();
        self.divergence.told.notify_one();
    }

    /// Marks the disk, so that nothing is served from it again, and lets another lead. Then the process has to end.
    pub(crate) async fn leave_diverged(&self) {
        if let Err(error) = self.member.diverge() {
            tracing::error!(%error, "cannot record that the state of this disk is wrong");
        }
        if self.raft.is_leader() {
            // Without success the others elect one as soon as this process has ended.
            let _ = R::timeout(HAND_OVER_DEADLINE, self.hand_over(None)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[u64]) -> BTreeSet<MemberId> {
        ids.iter().copied().map(MemberId).collect()
    }

    fn seen(index: u64, digest: u64) -> Seen {
        Seen { index: LogIndex(index), apply_level: 1, digest }
    }

    /// The verdicts on reports of members 1, 2, ... with these digests, in this order.
    fn verdicts(voters: &[u64], digests: &[u64]) -> Vec<Verdict> {
        let mut agreement = Agreement::default();
        let report = |(member, digest): (u64, &u64)| {
            agreement.hear(&members(voters), MemberId(member), seen(256, *digest))
        };
        (1..).zip(digests).map(report).collect()
    }

    #[test]
    fn whoever_differs_from_a_majority_of_the_voters_is_wrong() {
        let wrong = |ids: &[u64]| Verdict::Wrong(members(ids));
        assert_eq!(verdicts(&[1, 2, 3], &[7, 7, 8]), [Verdict::Alike, Verdict::Alike, wrong(&[3])]);
        assert_eq!(verdicts(&[1, 2, 3], &[8, 7, 7]), [Verdict::Alike, Verdict::Unclear, wrong(&[1])]);
        assert_eq!(verdicts(&[1, 2, 3], &[7, 8, 9]), [Verdict::Alike, Verdict::Unclear, Verdict::Unclear]);
        assert_eq!(verdicts(&[1, 2], &[7, 8]), [Verdict::Alike, Verdict::Unclear]);
        assert_eq!(verdicts(&[1], &[7]), [Verdict::Alike]);
    }

    #[test]
    fn one_that_learns_has_no_vote_and_can_be_wrong() {
        assert_eq!(verdicts(&[1], &[7, 8]), [Verdict::Alike, Verdict::Wrong(members(&[2]))]);
        assert_eq!(verdicts(&[1, 2], &[7, 8, 7]), [Verdict::Alike, Verdict::Unclear, Verdict::Unclear]);
    }

    #[test]
    fn another_apply_level_is_another_state() {
        let mut agreement = Agreement::default();
        let voters = members(&[1]);
        assert_eq!(agreement.hear(&voters, MemberId(1), seen(256, 7)), Verdict::Alike);
        let raised = Seen { apply_level: 2, ..seen(256, 7) };
        assert_eq!(agreement.hear(&voters, MemberId(2), raised), Verdict::Wrong(members(&[2])));
    }

    #[test]
    fn only_so_many_comparisons_wait() {
        let mut agreement = Agreement::default();
        for turn in 1..1_000 {
            agreement.hear(&members(&[1, 2, 3]), MemberId(1), seen(turn * INTERVAL, 7));
            assert!(agreement.told.len() <= OPEN_MAX);
        }
        // Too late to be compared, and no harm.
        assert_eq!(agreement.hear(&members(&[1, 2, 3]), MemberId(2), seen(INTERVAL, 8)), Verdict::Alike);
    }
}
