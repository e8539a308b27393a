//! Up to where each origin's commands were applied, so that a command proposed twice happens once.

use std::collections::BTreeMap;

use bytes::BufMut;

use crate::codec::{Malformed, Put, Reader};
use crate::digest::Digest;
use crate::ids::{MemberId, Origin};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    last_sequence: BTreeMap<Origin, u64>,
    /// Incarnations below are forgotten: what still comes from them is skipped, since nothing tells any more whether
    /// it was applied.
    oldest_incarnation: BTreeMap<MemberId, u64>,
}

impl Marks {
    /// The last applied sequence; 0 for none.
    pub fn get(&self, origin: Origin) -> u64 {
        self.last_sequence.get(&origin).copied().unwrap_or(0)
    }

    /// Moves the mark to `sequence` if that is the next one; false if it was passed already, if one before it is missing,
    /// or if the origin is forgotten.
    ///
    /// One is missing when Raft refused the batch before and took this one: both come again, in their order. To apply this
    /// one first would lose the other for good and answer one request with the result of another.
    pub fn advance(&mut self, origin: Origin, sequence: u64) -> bool {
        if self.oldest_incarnation.get(&origin.member).is_some_and(|&oldest| origin.incarnation < oldest) {
            return false;
        }
        let is_next = sequence.checked_sub(1) == Some(self.get(origin));
        #[cfg(feature = "fault")]
        let is_next =
            if crate::fault::is_on("mark-over-gap") { sequence > self.get(origin) } else { is_next };
        if is_next {
            self.last_sequence.insert(origin, sequence);
        }
        is_next
    }

    pub fn forget(&mut self, member: MemberId, below_incarnation: u64) {
        let oldest = self.oldest_incarnation.entry(member).or_insert(0);
        *oldest = below_incarnation.max(*oldest);
        let oldest = *oldest;
        self.last_sequence.retain(|origin, _| origin.member != member || origin.incarnation >= oldest);
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.last_sequence.len() as u64);
        for (origin, &sequence) in &self.last_sequence {
            out.put_u64(origin.member.0);
            out.put_u64(origin.incarnation);
            out.put_u64(sequence);
        }
        out.put_varint(self.oldest_incarnation.len() as u64);
        for (member, &oldest) in &self.oldest_incarnation {
            out.put_u64(member.0);
            out.put_u64(oldest);
        }
    }

    pub fn read(from: &mut Reader) -> Result<Self, Malformed> {
        let mut marks = Self::default();
        for _ in 0..from.count(24, "marks")? {
            let member = MemberId(from.u64("member of a mark")?);
            let origin = Origin { member, incarnation: from.u64("incarnation of a mark")? };
            marks.last_sequence.insert(origin, from.u64("sequence of a mark")?);
        }
        for _ in 0..from.count(16, "forgotten incarnations")? {
            let member = MemberId(from.u64("member of a forgotten incarnation")?);
            marks.oldest_incarnation.insert(member, from.u64("forgotten incarnation")?);
        }
        Ok(marks)
    }

    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        Digest::new(4).bytes(&bytes).value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(incarnation: u64) -> Origin {
        Origin { member: MemberId(7), incarnation }
    }

    #[test]
    fn each_sequence_passes_once() {
        let mut marks = Marks::default();
        assert!(marks.advance(origin(1), 1));
        assert!(!marks.advance(origin(1), 1));
        assert!(marks.advance(origin(1), 2));
        assert!(!marks.advance(origin(1), 1));
        assert!(marks.advance(origin(2), 1));
        assert_eq!((marks.get(origin(1)), marks.get(origin(2)), marks.get(origin(3))), (2, 1, 0));
    }

    #[test]
    fn none_is_left_out() {
        let mut marks = Marks::default();
        assert!(marks.advance(origin(1), 1));
        assert!(!marks.advance(origin(1), 3));
        assert!(!marks.advance(origin(2), 2));
        assert!(marks.advance(origin(1), 2) && marks.advance(origin(1), 3));
        assert_eq!((marks.get(origin(1)), marks.get(origin(2))), (3, 0));
    }

    #[test]
    fn a_forgotten_incarnation_stays_silent() {
        let mut marks = Marks::default();
        for sequence in 1..=5 {
            assert!(marks.advance(origin(1), sequence) && marks.advance(origin(2), sequence));
        }
        let before = marks.digest();
        marks.forget(MemberId(7), 2);
        assert_ne!(marks.digest(), before);
        assert_eq!((marks.get(origin(1)), marks.get(origin(2))), (0, 5));
        assert!(!marks.advance(origin(1), 6));
        marks.forget(MemberId(7), 1);
        assert!(!marks.advance(origin(1), 6));
        assert!(marks.advance(origin(2), 6));
    }
}
