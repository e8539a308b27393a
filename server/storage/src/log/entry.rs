//! What consensus stores: plain types of ours, so that this crate knows no consensus library.

use bytes::Bytes;

/// The vote of this member: the highest term it saw, and for whom it stands in that term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    /// The member id voted for.
    pub member: Option<u64>,
    /// A quorum granted this vote: `member` leads `term`.
    pub committed: bool,
}

impl Vote {
    /// Whether a member that stored `before` may store this. Terms never fall, and within one term nobody votes for
    /// two members; that a term's elected leader replaces the candidate voted for is no second vote.
    pub(super) fn may_follow(&self, before: &Vote) -> bool {
        match self.term.cmp(&before.term) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                before.member.is_none()
                    || before.member == self.member
                    || (self.committed && !before.committed)
            }
        }
    }
}

/// Where an entry stands. The first index of a log is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub term: u64,
    pub index: u64,
}

/// One entry of the log. A clone shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: LogId,
    pub payload: Payload,
}

/// What an entry carries; the bytes mean nothing to this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Written by a new leader to commit what it inherited.
    Blank,
    Membership(Bytes),
    Proposal(Bytes),
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Blank => &[],
            Payload::Membership(bytes) | Payload::Proposal(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_never_goes_back_and_is_given_once_a_term() {
        let vote = |term, member, committed| Vote { term, member, committed };
        let before = vote(5, Some(1), false);
        assert!(vote(6, None, false).may_follow(&before));
        assert!(vote(5, Some(1), true).may_follow(&before));
        assert!(vote(5, Some(2), true).may_follow(&before), "another candidate of the term was elected");
        assert!(!vote(5, Some(2), false).may_follow(&before), "a second vote in the term");
        assert!(!vote(5, None, false).may_follow(&before));
        assert!(!vote(4, Some(1), true).may_follow(&before));
        assert!(!vote(5, Some(2), true).may_follow(&vote(5, Some(1), true)), "two leaders in one term");
    }
}
