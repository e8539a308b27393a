//! This member's copy of the replicated state, and the one path by which it changes.
//!
//! Entries are applied in log order under the write lock, and the [`Observer`] hears of every effect before the
//! lock is released: so what a reader sees under the read lock, the watchers of it have been told already.
//! Never decides anything: the state machine does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::impls::EntryPayload;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use zke_tree::{Applied, Command, LogIndex, Origin, Proposal, State, Term, expect_apply_level};
use zke_wire::SessionId;

use crate::agreement::Reports;
use crate::codec::term_of;
use crate::proposals::Proposals;
use crate::types::{RaftEntry, RaftLogId, RaftStoredMembership};

/// What the daemon does with what was applied.
///
/// Called in log order, under the state's write lock; must not block. Only [`Observer::drain_touched`] is called
/// from elsewhere.
pub trait Observer: Send + Sync + 'static {
    /// A command took effect. `own`: this process proposed it, so the client waiting for `applied.sequence` is here.
    /// Not every own sequence has a client: expiry and administration propose too.
    fn applied(&self, state: &State, applied: &Applied<'_>, own: bool);
    /// All of the entry at `index` is applied; also called for entries without commands.
    fn entry_done(&self, state: &State, index: LogIndex);
    /// A snapshot replaced the state: events in between are unknown, so every client connection has to be closed.
    fn replaced(&self, state: &State);
    /// Appends the sessions heard from since the last call.
    fn drain_touched(&self, out: &mut Vec<SessionId>);
}

pub struct Replica {
    state: RwLock<State>,
    /// The last applied entry and membership. The first entry of a log is index 0 of term 0, so `State` alone cannot
    /// tell it from none.
    applied: Mutex<(Option<RaftLogId>, RaftStoredMembership)>,
    origin: Origin,
    newest_apply_level: u32,
    proposals: Arc<Proposals>,
    reports: Reports,
    observer: Arc<dyn Observer>,
    applied_index: AtomicU64,
    applied_more: Notify,
    /// Rises when a snapshot is installed: barriers taken before do not vouch for the state after.
    installs: AtomicU64,
}

impl Replica {
    pub fn new(
        state: State,
        applied: (Option<RaftLogId>, RaftStoredMembership),
        origin: Origin,
        newest_apply_level: u32,
        proposals: Arc<Proposals>,
        observer: Arc<dyn Observer>,
    ) -> Replica {
        let applied_index = AtomicU64::new(state.applied().0.0);
        Replica {
            state: RwLock::new(state),
            applied: Mutex::new(applied),
            origin,
            newest_apply_level,
            proposals,
            reports: Reports::default(),
            observer,
            applied_index,
            applied_more: Notify::new(),
            installs: AtomicU64::new(0),
        }
    }

    pub fn state(&self) -> &RwLock<State> {
        &self.state
    }

    pub fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// The last applied entry, `None` on a blank disk, and the last applied membership.
    pub fn applied(&self) -> (Option<RaftLogId>, RaftStoredMembership) {
        self.applied.lock().clone()
    }

    pub fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    pub fn installs(&self) -> u64 {
        self.installs.load(Ordering::Acquire)
    }

    /// Waits until the entry at `index` is applied here. Unbounded: the caller knows how long it is willing to wait.
    pub async fn wait_applied(&self, index: u64) {
        loop {
            let more = self.applied_more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.applied_index() >= index {
                return;
            }
            more.await;
        }
    }

    /// Applies one committed entry. An error means that this binary cannot read what the ensemble agreed on:
    /// the member must stop rather than skip it.
    pub fn apply(&self, entry: RaftEntry) -> io::Result<()> {
        let proposal = match &entry.payload {
            EntryPayload::Normal(payload) => {
                Some(Proposal::decode(payload.0.clone()).map_err(io::Error::other)?)
            }
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        if let Some(proposal) = &proposal {
            self.expect_levels(proposal)?;
        }
        let index = LogIndex(entry.log_id.index);
        let mut state = self.state.write();
        state.begin_entry(index, Term(term_of(&entry.log_id)));
        {
            let mut applied = self.applied.lock();
            applied.0 = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                applied.1 = RaftStoredMembership::new(Some(entry.log_id), membership);
            }
        }
        if let Some(proposal) = proposal {
            self.apply_proposal(&mut state, &proposal);
        }
        #[cfg(feature = "fault")]
        if zke_tree::fault::damage_at() == Some(index.0) {
            state.damage();
        }
        self.reports.applied(&state);
        self.observer.entry_done(&state, index);
        // Before the lock is released: whoever sees the state sees an applied index at least as high.
        self.applied_index.store(index.0, Ordering::Release);
        drop(state);
        self.applied_more.notify_waiters();
        Ok(())
    }

    /// Before any of it is applied: what stands behind a raise in the same entry is of the new level already.
    fn expect_levels(&self, proposal: &Proposal) -> io::Result<()> {
        proposal.commands.iter().try_for_each(|command| match command {
            Command::RaiseApplyLevel { to } => self.expect_level(*to),
            _ => Ok(()),
        })
    }

    /// An error for what this member cannot go on with.
    pub fn expect_level(&self, needed: u32) -> io::Result<()> {
        expect_apply_level(needed, self.newest_apply_level).map_err(io::Error::other)
    }

    fn apply_proposal(&self, state: &mut State, proposal: &Proposal) {
        let own = proposal.origin == self.origin;
        let mut last_own = None;
        state.apply(proposal, &mut |state, applied| {
            #[cfg(feature = "fault")]
            let applied = crate::fault::told(applied);
            self.observer.applied(state, &applied, own);
            if own {
                self.proposals.hear(&applied);
                last_own = Some(applied.sequence);
            }
        });
        if let Some(sequence) = last_own {
            self.proposals.applied(sequence);
        }
    }

    /// Puts a snapshot's state in the place of this one.
    pub fn replace(&self, installed: State, applied: (Option<RaftLogId>, RaftStoredMembership)) {
        let mut state = self.state.write();
        let index = installed.applied().0;
        assert!(index >= state.applied().0, "Raft installs only snapshots that are ahead of what is applied");
        *state = installed;
        *self.applied.lock() = applied;
        self.installs.fetch_add(1, Ordering::AcqRel);
        self.observer.replaced(&state);
        // Own commands inside the snapshot are done; their clients are gone with the connections.
        let mark = state.mark(self.origin);
        if mark > 0 {
            self.proposals.applied(mark);
        }
        self.applied_index.store(index.0, Ordering::Release);
        drop(state);
        self.applied_more.notify_waiters();
    }
}
