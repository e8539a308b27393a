//! The leader's clock of sessions: who has not been heard from for longer than its timeout.
//!
//! Time is its own: it advances by at most one step a call, and only while a quorum acknowledges the leader. A process
//! that was stopped and goes on, or a leader that is cut off, therefore expires nobody. A session that is first seen,
//! as all are by a new leader, gets its full timeout. Every timeout is longer by the serving lease, so that the
//! member serving the session has closed its connection before the session can end.
//!
//! Pure. Expiring is only proposed: the replicated log decides, and a session that re-attached meanwhile lives on.

use std::collections::HashMap;

use zke_wire::SessionId;

/// What the clock has to know of a replicated session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    pub id: SessionId,
    pub timeout_ms: i32,
    pub attach_epoch: u32,
}

#[derive(Debug)]
struct Deadline {
    at_ms: u64,
    attach_epoch: u32,
}

#[derive(Debug)]
pub struct SessionClock {
    now_ms: u64,
    lease_ms: u64,
    deadlines: HashMap<SessionId, Deadline>,
}

impl SessionClock {
    pub fn new(lease_ms: u64) -> SessionClock {
        SessionClock { now_ms: 0, lease_ms, deadlines: HashMap::new() }
    }

    /// The session was heard from, by whichever member serves it.
    pub fn touch(&mut self, session: Timed) {
        let deadline = self.full(session);
        self.deadlines.insert(session.id, deadline);
    }

    /// Advances by `elapsed_ms`, at most `step_ms_max`, and says which of the replicated sessions are to be expired,
    /// in the order of their ids, with the attach epoch they had. Those start again with a full timeout, in case
    /// the proposal is lost.
    pub fn advance(
        &mut self,
        elapsed_ms: u64,
        step_ms_max: u64,
        sessions: impl Iterator<Item = Timed>,
    ) -> Vec<(SessionId, u32)> {
        self.now_ms += elapsed_ms.min(step_ms_max);
        let mut seen = HashMap::with_capacity(self.deadlines.len());
        let mut expired = Vec::new();
        for session in sessions {
            let kept = self.deadlines.remove(&session.id).filter(|d| d.attach_epoch == session.attach_epoch);
            let deadline = match kept {
                Some(deadline) if deadline.at_ms > self.now_ms => deadline,
                Some(_) => {
                    expired.push((session.id, session.attach_epoch));
                    self.full(session)
                }
                None => self.full(session),
            };
            seen.insert(session.id, deadline);
        }
        self.deadlines = seen;
        expired.sort_unstable();
        expired
    }

    fn full(&self, session: Timed) -> Deadline {
        // A timeout is negotiated within positive bounds; the log could hold anything, and 0 only expires sooner.
        let timeout_ms = u64::try_from(session.timeout_ms).unwrap_or(0);
        Deadline { at_ms: self.now_ms + timeout_ms + self.lease_ms, attach_epoch: session.attach_epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: i64, timeout_ms: i32, attach_epoch: u32) -> Timed {
        Timed { id: SessionId(id), timeout_ms, attach_epoch }
    }

    #[test]
    fn a_silent_session_expires_after_timeout_and_lease_and_a_touched_one_does_not() {
        let mut clock = SessionClock::new(1_000);
        let sessions = [session(1, 4_000, 0), session(2, 4_000, 0)];
        assert_eq!(clock.advance(0, 500, sessions.into_iter()), []);
        for _ in 0..9 {
            assert_eq!(clock.advance(500, 500, sessions.into_iter()), []);
            clock.touch(sessions[1]);
        }
        assert_eq!(clock.advance(500, 500, sessions.into_iter()), [(SessionId(1), 0)]);
    }

    #[test]
    fn a_process_that_slept_expires_nobody() {
        let mut clock = SessionClock::new(1_000);
        let sessions = [session(1, 4_000, 0)];
        clock.advance(0, 500, sessions.into_iter());
        assert_eq!(clock.advance(60_000, 500, sessions.into_iter()), []);
    }

    #[test]
    fn a_re_attached_session_starts_with_its_full_timeout() {
        let mut clock = SessionClock::new(0);
        let (before, after) = ([session(1, 1_000, 0)], [session(1, 1_000, 1)]);
        clock.advance(0, 500, before.into_iter());
        clock.advance(500, 500, before.into_iter());
        assert_eq!(clock.advance(500, 500, after.into_iter()), []);
        assert_eq!(clock.advance(500, 500, after.into_iter()), []);
        assert_eq!(clock.advance(500, 500, after.into_iter()), [(SessionId(1), 1)]);
    }
}
