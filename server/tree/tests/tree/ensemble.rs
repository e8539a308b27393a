//! A log of one member, applied at once: what tests drive a [`State`] with.

use zke_tree::{
    Command, Event, LogIndex, MemberId, Origin, OverQuota, Proposal, Reply, Settings, State, Term,
};
use zke_wire::{ErrorCode, Zxid};

pub struct Ensemble {
    pub state: State,
    pub time_ms: i64,
    pub settings: Settings,
    index: u64,
    term: u64,
    sequence: u64,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub zxid: Zxid,
    pub result: Result<Reply, ErrorCode>,
    pub events: Vec<Event>,
    pub over_quota: Vec<OverQuota>,
}

/// Of no member that random commands name.
const ORIGIN: Origin = Origin { member: MemberId(1000), incarnation: 1 };

impl Ensemble {
    pub fn new() -> Self {
        let mut ensemble = Self {
            state: State::new(),
            time_ms: 0,
            settings: Settings::default(),
            index: 0,
            term: 0,
            sequence: 0,
        };
        ensemble.elect();
        ensemble
    }

    /// A new leader's blank entry.
    pub fn elect(&mut self) {
        self.term += 1;
        self.begin_entry();
    }

    pub fn apply(&mut self, command: Command) -> Outcome {
        self.sequence += 1;
        self.begin_entry();
        let proposal = Proposal {
            time_ms: self.time_ms,
            settings: self.settings,
            origin: ORIGIN,
            first_sequence: self.sequence,
            commands: vec![command],
        };
        // Through bytes, as every entry goes.
        let proposal = Proposal::decode(proposal.encode()).expect("what was encoded is decoded");
        let mut outcome = None;
        self.state.apply(&proposal, &mut |_, applied| {
            let (zxid, events) = (applied.zxid, applied.events.to_vec());
            let over_quota = applied.over_quota.to_vec();
            outcome = Some(Outcome { zxid, result: applied.result, events, over_quota });
        });
        outcome.expect("a new sequence is applied")
    }

    fn begin_entry(&mut self) {
        self.index += 1;
        self.state.begin_entry(LogIndex(self.index), Term(self.term));
    }
}
