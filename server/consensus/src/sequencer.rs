//! The leader's side of "once, in order": which batch of each origin it appends next.
//!
//! For each origin the leader appends only the next sequence in line. What arrives early (a batch before it was
//! refused) or late (the link before already delivered it) is dropped, and the origin is told where to go on.
//! When Raft refuses a batch that was in line, those behind it may still have been appended; apply skips such
//! batches because of the gap, so the line starts again from the replicated mark once nothing is in flight.
//!
//! Pure, and valid for one term: a new term starts with a new sequencer.

use std::collections::HashMap;

use zke_tree::Origin;

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next in line: append it.
    Append,
    /// Already appended in this term, or the line is being restored: drop it, the origin will hear.
    Drop,
    /// Not the next in line: tell the origin to go on at this sequence.
    ResumeAt(u64),
}

#[derive(Debug)]
struct Line {
    next: u64,
    in_flight: usize,
    /// Raft refused a batch of this line: nothing is appended until the ones in flight are resolved.
    broken: bool,
}

/// One line for each origin that this leader has heard from.
#[derive(Debug, Default)]
pub struct Sequencer {
    lines: HashMap<Origin, Line>,
}

impl Sequencer {
    /// Where `origin` shall go on, given the mark in replicated state, which is exact only when it is first asked
    /// in a term: all entries of earlier terms are applied then.
    pub fn resume_at(&mut self, origin: Origin, mark: u64) -> u64 {
        let line = self.lines.entry(origin).or_insert(Line { next: mark + 1, in_flight: 0, broken: false });
        line.next
    }

    /// Where `origin` shall go on, if it was heard from in this term and its line is whole.
    pub fn next(&self, origin: Origin) -> Option<u64> {
        self.lines.get(&origin).filter(|line| !line.broken).map(|line| line.next)
    }

    pub fn offer(&mut self, origin: Origin, first_sequence: u64, last_sequence: u64) -> Verdict {
        assert!(first_sequence <= last_sequence, "the decoder refuses empty batches");
        let Some(line) = self.lines.get_mut(&origin) else { return Verdict::Drop };
        if line.broken || last_sequence < line.next {
            return Verdict::Drop;
        }
        if first_sequence != line.next {
            return Verdict::ResumeAt(line.next);
        }
        line.next = last_sequence + 1;
        line.in_flight += 1;
        Verdict::Append
    }

    /// A batch in flight was applied, or refused by Raft. Says where the origin shall resume, if the line was
    /// broken and nothing of it is in flight any more; `mark` is then the replicated mark.
    pub fn resolved(&mut self, origin: Origin, appended: bool, mark: u64) -> Option<u64> {
        let line = self.lines.get_mut(&origin)?;
        assert!(line.in_flight > 0, "each append is resolved once");
        line.in_flight -= 1;
        line.broken |= !appended;
        if !line.broken || line.in_flight > 0 {
            return None;
        }
        line.broken = false;
        line.next = mark + 1;
        Some(line.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zke_tree::MemberId;

    const ORIGIN: Origin = Origin { member: MemberId(1), incarnation: 1 };

    #[test]
    fn batches_are_appended_once_and_in_line() {
        let mut sequencer = Sequencer::default();
        assert_eq!(sequencer.offer(ORIGIN, 1, 2), Verdict::Drop);
        assert_eq!(sequencer.resume_at(ORIGIN, 4), 5);
        assert_eq!(sequencer.offer(ORIGIN, 5, 6), Verdict::Append);
        assert_eq!(sequencer.offer(ORIGIN, 5, 6), Verdict::Drop);
        assert_eq!(sequencer.offer(ORIGIN, 9, 9), Verdict::ResumeAt(7));
        assert_eq!(sequencer.offer(ORIGIN, 7, 7), Verdict::Append);
    }

    #[test]
    fn a_reconnected_origin_resumes_behind_what_is_in_flight() {
        let mut sequencer = Sequencer::default();
        sequencer.resume_at(ORIGIN, 0);
        assert_eq!(sequencer.offer(ORIGIN, 1, 3), Verdict::Append);
        assert_eq!(sequencer.resume_at(ORIGIN, 0), 4);
    }

    #[test]
    fn a_refused_batch_breaks_the_line_until_nothing_is_in_flight() {
        let mut sequencer = Sequencer::default();
        sequencer.resume_at(ORIGIN, 0);
        for sequence in 1..=3 {
            assert_eq!(sequencer.offer(ORIGIN, sequence, sequence), Verdict::Append);
        }
        assert_eq!(sequencer.resolved(ORIGIN, true, 1), None);
        assert_eq!(sequencer.resolved(ORIGIN, false, 1), None);
        assert_eq!(sequencer.offer(ORIGIN, 4, 4), Verdict::Drop);
        // 3 was appended behind the gap: apply skips it, so the mark is still 1.
        assert_eq!(sequencer.resolved(ORIGIN, true, 1), Some(2));
        assert_eq!(sequencer.offer(ORIGIN, 2, 2), Verdict::Append);
    }
}
