//! The first state of an ensemble that begins with the data of another one.
//!
//! Znodes stay as they are, down to their zxids, times and versions, for clients compare them. Whatever else the other
//! ensemble agreed on ends here: sessions with their ephemerals, who proposed what, who was retired, who operates.

use zke_wire::{SessionId, Zxid};

use crate::command::{Command, RAISE_EPOCH_MAX};
use crate::configuration::CONFIG_PATH;
use crate::ids::{LogIndex, Term};
use crate::marks::Marks;
use crate::state::{Scratch, State};

/// How far epoch and term are raised above all that was seen. Members of the other ensemble that nobody heard of may
/// have gone on for as many elections, one every second for most of a day, before a zxid could mean two things.
pub const EPOCH_MARGIN: u32 = 65_536;

/// The log of the new ensemble begins behind this entry. Not 0, which consensus has for its first membership.
pub const FIRST_INDEX: LogIndex = LogIndex(1);

/// Why no ensemble can begin with a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotBegin {
    #[error(
        "begin an ensemble anew: epoch {seen} leaves no room for {EPOCH_MARGIN} more below {RAISE_EPOCH_MAX}; \
         load the data with a client instead"
    )]
    EpochTooHigh { seen: u64 },
    #[error(
        "begin an ensemble anew: {path:?} is ephemeral without a session or has children; use another archive"
    )]
    Orphan { path: String },
}

impl State {
    /// Makes this the state of a new ensemble at [`FIRST_INDEX`] of its log, in which nobody has a session and no
    /// client is let in yet.
    ///
    /// Sessions end as if they had been closed, each at a zxid of the new epoch. Epoch and term rise by
    /// [`EPOCH_MARGIN`] above the higher of their own and `seen`, the highest that is known from elsewhere.
    ///
    /// # Errors
    /// [`CannotBegin`]; the state is of no use then.
    pub fn begin_anew(&mut self, seen: u64) -> Result<(), CannotBegin> {
        self.check_ephemerals()?;
        let (_, Term(term)) = self.facts.applied;
        let epoch =
            raised(self.facts.zxid.epoch().into(), seen).filter(|epoch| *epoch <= RAISE_EPOCH_MAX.into());
        let epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok());
        let too_high = CannotBegin::EpochTooHigh { seen: seen.max(self.facts.zxid.epoch().into()).max(term) };
        let (Some(epoch), Some(term)) = (epoch, raised(term, seen)) else { return Err(too_high) };
        self.facts.zxid = Zxid::new(epoch, 0);
        self.facts.applied = (FIRST_INDEX, Term(term));
        self.facts.serving = false;
        self.facts.control_epoch = 0;
        self.facts.retired.clear();
        self.marks = Marks::default();
        // Its servers are those of the other ensemble, whom nobody here may follow.
        if let Some(place) = self.tree.find(CONFIG_PATH) {
            self.tree.set_data_at(place, 0, b"", Zxid(0), 0);
        }
        let sessions: Vec<(SessionId, u32)> =
            self.sessions.iter().map(|session| (session.id, session.attach_epoch)).collect();
        for (session, attach_epoch) in sessions {
            // Nobody is there to hear of it.
            let closed =
                self.apply_command(&Command::CloseSession { session, attach_epoch }, &mut Scratch::default());
            closed.expect("the session is there, at this attach epoch");
        }
        Ok(())
    }

    /// No command makes such nodes, but these bytes came from outside, and removing them would break the tree.
    fn check_ephemerals(&self) -> Result<(), CannotBegin> {
        let is_orphan = |slot, owner| {
            self.tree.extra(slot).num_children > 0
                || self.sessions.get(owner).is_none()
                || slot == self.tree.root().slot
        };
        match self.tree.owned().find(|(slot, owner)| is_orphan(*slot, *owner)) {
            Some((slot, _)) => Err(CannotBegin::Orphan { path: self.tree.path_of(slot) }),
            None => Ok(()),
        }
    }
}

fn raised(own: u64, seen: u64) -> Option<u64> {
    own.max(seen).checked_add(EPOCH_MARGIN.into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zke_wire::Acl;

    use super::*;
    use crate::command::WriteOp;
    use crate::ids::{MemberId, Origin};
    use crate::proposal::{Proposal, Settings};

    const ORIGIN: Origin = Origin { member: MemberId(3), incarnation: 9 };

    fn create(session: i64, path: &str, flags: i32) -> Command {
        let op = WriteOp::Create {
            path: path.to_owned(),
            data: Some(Bytes::from_static(b"data")),
            acl: vec![Acl::open()],
            flags,
            with_stat: false,
        };
        Command::Client { session: SessionId(session), attach_epoch: 0, identities: Vec::new(), op }
    }

    fn session(id: i64) -> Command {
        Command::CreateSession { session: SessionId(id), password: [1; 16], timeout_ms: 4_000 }
    }

    /// Two sessions, a node of each kind, an operator, a retired member.
    fn used() -> State {
        let mut state = State::new();
        state.begin_entry(LogIndex(70), Term(12));
        let commands = vec![
            session(1),
            session(2),
            create(1, "/kept", 0),
            create(1, "/kept/e-1", 1),
            create(2, "/kept/e-2", 1),
            create(2, "/kept/n-", 2),
            Command::TakeControl {},
            Command::SetServing { control_epoch: 1, serving: true },
            Command::RetireMember { control_epoch: 1, member: MemberId(5) },
            Command::Configure { expect: Zxid(0), servers: "server.1=a:1:2".to_owned() },
        ];
        let proposal = Proposal {
            origin: ORIGIN,
            time_ms: 1_000,
            settings: Settings::default(),
            first_sequence: 1,
            commands,
        };
        state.apply(&proposal, &mut |_, applied| assert!(applied.result.is_ok(), "{:?}", applied.command));
        state
    }

    fn stat(state: &State, path: &str) -> zke_wire::Stat {
        state.exists(path, &[]).expect("it is there")
    }

    #[test]
    fn nodes_stay_and_everything_of_the_other_ensemble_ends() {
        let (before, mut state) = (used(), used());
        state.begin_anew(0).expect("there is room");
        assert_eq!((state.session_count(), state.ephemerals_count()), (0, 0));
        assert_eq!((state.serving(), state.control_epoch(), state.mark(ORIGIN)), (false, 0, 0));
        assert!(!state.is_retired(MemberId(5)));
        assert!(before.configuration().is_some() && state.configuration().is_none());
        assert_eq!(state.applied(), (FIRST_INDEX, Term(12 + 65_536)));
        assert!(state.exists("/kept/e-1", &[]).is_err() && state.exists("/kept/e-2", &[]).is_err());
        assert_eq!(stat(&state, "/kept/n-0000000002"), stat(&before, "/kept/n-0000000002"));
        // As closing one session after the other leaves it.
        let (old, new) = (stat(&before, "/kept"), stat(&state, "/kept"));
        assert_eq!((new.num_children, new.cversion), (old.num_children - 2, old.cversion + 2));
        assert_eq!((new.pzxid, state.last_zxid()), (Zxid::new(1 + 65_536, 2), Zxid::new(1 + 65_536, 2)));
        assert_eq!((new.czxid, new.mzxid, new.version), (old.czxid, old.mzxid, old.version));
        // What comes next is a state like any other.
        let mut out = Vec::new();
        let mut snapshot = state.snapshot_begin();
        while !state.snapshot_next(&mut snapshot, &mut out, 1_000) {}
        assert_eq!(State::restore([out]).expect("own bytes").digest(), state.digest());
    }

    #[test]
    fn epoch_and_term_rise_above_the_highest_seen_anywhere() {
        for (seen, epoch, term) in [(0, 1, 12), (5, 5, 12), (100, 100, 100)] {
            let mut state = used();
            state.begin_anew(seen).expect("there is room");
            let margin = u64::from(EPOCH_MARGIN);
            assert_eq!(state.last_zxid().epoch(), epoch + EPOCH_MARGIN);
            assert_eq!(state.applied().1, Term(term + margin));
        }
        let last = u64::from(RAISE_EPOCH_MAX - EPOCH_MARGIN);
        assert_eq!(used().begin_anew(last), Ok(()));
        for seen in [last + 1, u64::MAX] {
            assert_eq!(used().begin_anew(seen), Err(CannotBegin::EpochTooHigh { seen }));
        }
    }

    #[test]
    fn a_tree_that_no_command_makes_is_refused() {
        let mut state = used();
        state.sessions.remove(SessionId(1));
        assert_eq!(state.begin_anew(0), Err(CannotBegin::Orphan { path: "/kept/e-1".to_owned() }));
    }
}
