//! The replicated state, and how log entries change it.

use std::collections::BTreeSet;
use std::mem;

use zke_wire::{Acl, ErrorCode, SessionId, Zxid, perms};

use crate::command::{Command, RAISE_EPOCH_MAX, WriteOp};
use crate::configuration::{CONFIG_PATH, CONFIG_VERSION, Configuration};
use crate::digest::Digest;
use crate::event::{Applied, Event, Reply};
use crate::ids::{LogIndex, MemberId, Origin, Term};
use crate::level::{OLDEST_APPLY_LEVEL, time_of_entry_ms};
use crate::marks::Marks;
use crate::owner::Owner;
use crate::proposal::{Proposal, Settings};
use crate::quota::OverQuota;
use crate::session::{Session, Sessions};
use crate::transaction::Transaction;
use crate::tree::{NewNode, Tree};

/// Everything that all members agree on: znodes, sessions, marks, the zxid, and what the operator has set.
///
/// Two states to which the same entries were applied answer every read alike and have the same [`digest`](Self::digest),
/// whatever snapshots were taken or restored in between.
pub struct State {
    pub(crate) tree: Tree,
    pub(crate) sessions: Sessions,
    pub(crate) marks: Marks,
    pub(crate) facts: Facts,
    /// Emptied and filled by each command; kept for its allocation alone.
    events: Vec<Event>,
}

/// What one command is applied with, and what it leaves besides its result.
#[derive(Default)]
pub(crate) struct Scratch {
    settings: Settings,
    events: Vec<Event>,
    over_quota: Vec<OverQuota>,
}

/// The replicated state besides the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub zxid: Zxid,
    pub applied: (LogIndex, Term),
    pub now_ms: i64,
    pub serving: bool,
    pub control_epoch: u64,
    /// Which behaviour apply has; raised through the log only, once every member supports the next.
    pub apply_level: u32,
    pub retired: BTreeSet<MemberId>,
}

impl State {
    /// A fresh ZooKeeper: `/zookeeper` with `config` and `quota`, everything at zxid 0 and time 0. Not serving.
    pub fn new() -> State {
        let facts = Facts {
            zxid: Zxid(0),
            applied: (LogIndex(0), Term(0)),
            now_ms: 0,
            serving: false,
            control_epoch: 0,
            apply_level: OLDEST_APPLY_LEVEL,
            retired: BTreeSet::new(),
        };
        Self::of_parts(tree_of_fresh_zookeeper(), Sessions::new(), Marks::default(), facts)
    }

    pub(crate) fn of_parts(tree: Tree, sessions: Sessions, marks: Marks, facts: Facts) -> State {
        State { tree, sessions, marks, facts, events: Vec::new() }
    }

    /// To be called for every committed entry in order, blank and membership ones too, before its commands. The first
    /// entry of a higher term raises the zxid's epoch by one; the entry itself consumes no zxid.
    pub fn begin_entry(&mut self, index: LogIndex, term: Term) {
        if term > self.facts.applied.1 {
            self.facts.zxid = Zxid::new(self.facts.zxid.epoch() + 1, first_counter());
        }
        self.facts.applied = (index, term);
    }

    /// Applies one proposal, but skips commands that are not the next ones of their origin: they were applied
    /// before, or one before them is missing and they will come again.
    /// `sink` is called for each applied command in order, after its effect and before that of the next.
    pub fn apply(&mut self, proposal: &Proposal, sink: &mut dyn FnMut(&State, Applied<'_>)) {
        // Leaders have different clocks; what clients compare must not go back.
        self.facts.now_ms = self.facts.now_ms.max(time_of_entry_ms(self.facts.apply_level, proposal.time_ms));
        let events = mem::take(&mut self.events);
        let mut scratch = Scratch { settings: proposal.settings, events, over_quota: Vec::new() };
        // In this order no number is asked for behind the last command, where there may be none.
        for (command, sequence) in proposal.commands.iter().zip(proposal.first_sequence..) {
            if !self.marks.advance(proposal.origin, sequence) {
                continue;
            }
            scratch.events.clear();
            scratch.over_quota.clear();
            let result = self.apply_command(command, &mut scratch);
            let zxid = self.facts.zxid;
            let (events, over_quota) = (&scratch.events, &scratch.over_quota);
            sink(self, Applied { sequence, command, zxid, result, events, over_quota });
        }
        self.events = scratch.events;
    }

    /// The zxid of the last command that consumed one; after an election, the new epoch with counter 0.
    pub fn last_zxid(&self) -> Zxid {
        self.facts.zxid
    }

    /// The last entry that began.
    pub fn applied(&self) -> (LogIndex, Term) {
        self.facts.applied
    }

    /// The latest time that a proposal brought, in ms since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.facts.now_ms
    }

    /// The last applied sequence of this origin; 0 for none.
    pub fn mark(&self, origin: Origin) -> u64 {
        self.marks.get(origin)
    }

    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// In the order of ids.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Paths of the containers and TTL nodes that are due to go at `now_ms`, at most `max`: what
    /// [`Command::DeleteContainer`] is for.
    pub fn outlived(&self, now_ms: i64, max: usize) -> Vec<String> {
        self.tree.outlived(now_ms).take(max).map(|slot| self.tree.path_of(slot)).collect()
    }

    pub fn serving(&self) -> bool {
        self.facts.serving
    }

    pub fn control_epoch(&self) -> u64 {
        self.facts.control_epoch
    }

    /// The servers that clients are shown; `None` where nobody has written them, or a client has written over them.
    pub fn configuration(&self) -> Option<Configuration> {
        let node = self.tree.node(self.tree.find(CONFIG_PATH)?);
        if node.version == CONFIG_VERSION { Configuration::parse(node.data()?) } else { None }
    }

    /// Whether this id may never be used again.
    pub fn is_retired(&self, member: MemberId) -> bool {
        self.facts.retired.contains(&member)
    }

    /// Which behaviour of apply is in force.
    pub fn apply_level(&self) -> u32 {
        self.facts.apply_level
    }

    /// Of all replicated state: equal on members that applied the same entries. Costs no walk through the tree.
    pub fn digest(&self) -> u64 {
        let facts = &self.facts;
        let (LogIndex(index), Term(term)) = facts.applied;
        let digest = Digest::new(6).signed(facts.zxid.0).word(index).word(term).signed(facts.now_ms);
        let digest =
            digest.word(facts.serving.into()).word(facts.control_epoch).word(facts.apply_level.into());
        let digest = digest.word(facts.retired.len() as u64);
        let digest = facts.retired.iter().fold(digest, |digest, member| digest.word(member.0));
        digest.word(self.tree.digest()).word(self.sessions.digest()).word(self.marks.digest()).value()
    }

    pub(crate) fn apply_command(
        &mut self,
        command: &Command,
        scratch: &mut Scratch,
    ) -> Result<Reply, ErrorCode> {
        match *command {
            Command::Client { session, attach_epoch, ref identities, op: WriteOp::Reconfig(ref change) } => {
                let configuration = self.configuration();
                let transaction = self.begin_transaction(scratch);
                transaction.reconfig(session, attach_epoch, identities, configuration, change)
            }
            Command::Client { session, attach_epoch, ref identities, ref op } => {
                self.begin_transaction(scratch).write(session, attach_epoch, identities, op)
            }
            Command::CreateSession { session, password, timeout_ms } => {
                self.begin_transaction(scratch).create_session(session, password, timeout_ms)
            }
            Command::CloseSession { session, attach_epoch } => {
                self.begin_transaction(scratch).close_session(session, attach_epoch)
            }
            Command::DeleteContainer { ref path } => self.begin_transaction(scratch).delete_container(path),
            Command::Refused { code } => {
                self.begin_transaction(scratch);
                Err(code)
            }
            Command::AttachSession { session, password, timeout_ms } => {
                let session = self.sessions.attach(session, &password, timeout_ms)?;
                Ok(Reply::of_session(session))
            }
            Command::SetServing { control_epoch, serving } => {
                self.check_control(control_epoch)?;
                self.facts.serving = serving;
                Ok(Reply::Done)
            }
            Command::TakeControl {} => {
                self.facts.control_epoch += 1;
                Ok(Reply::ControlEpoch(self.facts.control_epoch))
            }
            Command::RetireMember { control_epoch, member } => {
                self.check_control(control_epoch)?;
                self.facts.retired.insert(member);
                Ok(Reply::Done)
            }
            Command::Configure { expect, ref servers } => {
                let found = self.configuration().map_or(Zxid(0), |configuration| configuration.version());
                let transaction = self.begin_transaction(scratch);
                if found == expect { transaction.configure(servers) } else { Err(ErrorCode::BadVersion) }
            }
            Command::ForgetMarks { member, below_incarnation } => {
                self.marks.forget(member, below_incarnation);
                Ok(Reply::Done)
            }
            Command::RaiseEpoch { to } => self.raise_epoch(to),
            Command::RaiseApplyLevel { to } => self.raise_apply_level(to),
        }
    }

    /// Consumes the next zxid. When the counter overflows, that raises the epoch by itself.
    fn begin_transaction<'a>(&'a mut self, scratch: &'a mut Scratch) -> Transaction<'a> {
        self.facts.zxid = Zxid(self.facts.zxid.0 + 1);
        Transaction {
            tree: &mut self.tree,
            sessions: &mut self.sessions,
            zxid: self.facts.zxid,
            time_ms: self.facts.now_ms,
            settings: scratch.settings,
            events: &mut scratch.events,
            over_quota: &mut scratch.over_quota,
            undo: None,
        }
    }

    fn check_control(&self, control_epoch: u64) -> Result<(), ErrorCode> {
        if control_epoch == self.facts.control_epoch { Ok(()) } else { Err(ErrorCode::BadVersion) }
    }

    /// Whoever calls apply has made sure that this program has that level.
    fn raise_apply_level(&mut self, to: u32) -> Result<Reply, ErrorCode> {
        if Some(to) != self.facts.apply_level.checked_add(1) {
            return Err(ErrorCode::BadVersion);
        }
        self.facts.apply_level = to;
        Ok(Reply::Done)
    }

    fn raise_epoch(&mut self, to: u32) -> Result<Reply, ErrorCode> {
        if to > RAISE_EPOCH_MAX {
            return Err(ErrorCode::BadArguments);
        }
        if to > self.facts.zxid.epoch() {
            self.facts.zxid = Zxid::new(to, 0);
        }
        Ok(Reply::Done)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    pub(crate) fn of_session(session: &Session) -> Self {
        Reply::Session {
            session: session.id,
            password: session.password,
            timeout_ms: session.timeout_ms,
            attach_epoch: session.attach_epoch,
        }
    }
}

#[cfg(feature = "fault")]
impl State {
    /// As a bit that flipped in memory, or a bug that only one member has: this state is not the others' any more.
    pub fn damage(&mut self) {
        let root = self.tree.root();
        self.tree.change_extra(root, |extra| extra.cversion += 1);
    }
}

/// What an election begins to count from.
fn first_counter() -> u32 {
    #[cfg(feature = "fault")]
    return crate::fault::first_counter();
    #[cfg(not(feature = "fault"))]
    0
}

fn tree_of_fresh_zookeeper() -> Tree {
    let mut tree = Tree::new();
    let open = [Acl::open()];
    let readable = [Acl { perms: perms::READ, ..Acl::open() }];
    let node =
        |name, acl| NewNode { name, data: Some(b""), acl, owner: Owner::Nobody, zxid: Zxid(0), time_ms: 0 };
    let zookeeper = tree.adopt(tree.root(), &node("zookeeper", &open));
    tree.adopt(zookeeper, &node("quota", &open));
    let config = tree.adopt(zookeeper, &node("config", &open));
    // Upstream makes the node and then sets this list "at version -1", which stays visible.
    tree.replace_acl(config, &readable, -1);
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(state: &mut State, command: &Command) -> Result<Reply, ErrorCode> {
        state.apply_command(command, &mut Scratch::default())
    }

    #[test]
    fn the_epoch_rises_when_its_counter_is_used_up() {
        let mut state = State::new();
        state.facts.zxid = Zxid::new(3, u32::MAX - 1);
        let mut consume = || {
            let refused = applied(&mut state, &Command::Refused { code: ErrorCode::QuotaExceeded });
            assert_eq!(refused, Err(ErrorCode::QuotaExceeded));
            state.last_zxid()
        };
        assert_eq!([consume(), consume()], [Zxid::new(3, u32::MAX), Zxid::new(4, 0)]);
        state.begin_entry(LogIndex(1), Term(1));
        assert_eq!(state.last_zxid(), Zxid::new(5, 0));
    }

    #[test]
    fn names_of_sequential_nodes_go_on_behind_2_to_the_31() {
        const SEQUENTIAL: i32 = 2;
        let mut state = State::new();
        let session = SessionId(7);
        let begin = Command::CreateSession { session, password: [1; 16], timeout_ms: 10_000 };
        applied(&mut state, &begin).expect("a session begins");
        let root = state.tree.root();
        state.tree.change_extra(root, |extra| extra.cversion = i64::from(i32::MAX));
        let mut created = || {
            let (path, acl) = ("/n-".to_owned(), vec![Acl::open()]);
            let op = WriteOp::Create { path, data: None, acl, flags: SEQUENTIAL, with_stat: false };
            let command = Command::Client { session, attach_epoch: 0, identities: Vec::new(), op };
            match applied(&mut state, &command) {
                Ok(Reply::Created { path, .. }) => path,
                other => panic!("a create was answered {other:?}"),
            }
        };
        assert_eq!([created(), created()], ["/n-2147483647", "/n-2147483648"]);
    }
}
