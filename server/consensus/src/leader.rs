//! What a member does while it leads, beside Raft: it puts the members' proposals in line, answers barriers and
//! lease requests, and expires sessions.
//!
//! All of it starts once the leader's own blank entry is applied here: from then on the replicated marks and
//! sessions include everything of earlier terms. All of it belongs to one term and ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::async_runtime::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::ClientWriteResult;
use openraft::{AsyncRuntime, ReadPolicy};
use tokio::sync::{mpsc, oneshot};
use zke_tree::{Command, CorruptProposal, MemberId, Origin, Proposal, Session};
use zke_wire::SessionId;

use crate::agreement::Agreement;
use crate::codec::term_of;
use crate::ensemble::{Inner, detach};
use crate::link_frame::{FromLeader, ToLeader};
use crate::options::ELECTION_TIMEOUT_MS_MAX;
use crate::peer::FrameStream;
use crate::reaper::{FOUND_MAX, Reaper};
use crate::sequencer::{Sequencer, Verdict};
use crate::session_clock::{SessionClock, Timed};
use crate::space;
use crate::sync_tracker::{SAMPLE_INTERVAL_MS, SyncTracker};
use crate::types::{CommittedLeaderId, Completion, Payload, TypeConfig};

/// How often sessions are looked at, in milliseconds. A session ends at most this much late.
const EXPIRY_INTERVAL_MS: u64 = 100;
/// Appends whose fate is not known yet. A member has at most four batches in flight, and there are at most nine
/// members, so this only bounds what a broken peer could do.
const APPENDS_UNRESOLVED_MAX: usize = 1_024;
/// Before an origin is told to send again what Raft refused: a leader that lost its quorum refuses everything at
/// once, and would otherwise be asked again and again for as long as it does not know that it was replaced.
const REFUSAL_PAUSE: Duration = Duration::from_millis(10);
/// Barriers being answered for one link. A member asks again only after it was answered, so one is usual.
const BARRIERS_OPEN_MAX: usize = 16;

type Fate<R> = oneshot::Receiver<ClientWriteResult<TypeConfig<R>>>;

/// The duties of one term.
pub(crate) struct Leading<R: AsyncRuntime> {
    pub(crate) term: u64,
    sequencer: Sequencer,
    sessions: SessionClock,
    /// Sorted, since all are told in this order when holding ends, and a simulation has to repeat it.
    links: BTreeMap<Origin, mpsc::Sender<Bytes>>,
    fates: mpsc::Sender<(Origin, Fate<R>)>,
    pub(crate) sync: SyncTracker,
    /// While leadership is being handed over nothing new is appended; the next leader gets it.
    holding: bool,
    /// Members that told of little room on their volumes.
    low_on_space: BTreeSet<MemberId>,
    /// What members said with their links in this term.
    pub(crate) apply_levels: BTreeMap<MemberId, u32>,
    pub(crate) agreement: Agreement,
}

impl<R: AsyncRuntime> Leading<R> {
    /// To these members.
    pub(crate) fn links_of(&self, members: &BTreeSet<MemberId>) -> Vec<mpsc::Sender<Bytes>> {
        let links = self.links.iter().filter(|(origin, _)| members.contains(&origin.member));
        links.map(|(_, link)| link.clone()).collect()
    }

    /// Starts or ends holding new proposals back. At the end, the frames that tell each origin where to go on.
    pub(crate) fn hold(&mut self, holding: bool) -> Vec<(mpsc::Sender<Bytes>, Bytes)> {
        self.holding = holding;
        if holding {
            return Vec::new();
        }
        let Leading { links, sequencer, .. } = self;
        let resume = |(origin, link): (&Origin, &mpsc::Sender<Bytes>)| {
            let next_sequence = sequencer.next(*origin)?;
            Some((link.clone(), FromLeader::Resume { next_sequence }.encode()))
        };
        links.iter().filter_map(resume).collect()
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// Runs for the life of the process: takes up the duties of each term that this member leads.
    pub(crate) async fn run_leader(self: Arc<Self>) {
        // Not the server metrics: they change first, when what `is_leader` looks at may still be the state before.
        let mut metrics = self.raft.metrics();
        while !self.is_stopping() {
            if self.raft.is_leader()
                && let Some(term) = self.wait_own_blank().await
            {
                self.clone().lead(term).await;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until an entry of the term that this member leads is applied here. `None` if it leads no more.
    async fn wait_own_blank(&self) -> Option<u64> {
        loop {
            let term = self.raft.as_leader().ok()?.term();
            let (applied, _) = self.replica.applied();
            if applied.is_some_and(|log_id| term_of(&log_id) == term) {
                return Some(term);
            }
            let next = applied.map_or(0, |log_id| log_id.index) + 1;
            // Leadership may end without another entry: look again from time to time.
            let _ =
                R::timeout(Duration::from_millis(EXPIRY_INTERVAL_MS), self.replica.wait_applied(next)).await;
        }
    }

    /// The duties of `term`, until it ends.
    async fn lead(self: Arc<Self>, term: u64) {
        tracing::info!(term, "leading");
        let (fates, resolving) = mpsc::channel(APPENDS_UNRESOLVED_MAX);
        *self.leading.lock() = Some(Leading {
            term,
            sequencer: Sequencer::default(),
            sessions: SessionClock::new(self.lease_ms),
            links: BTreeMap::new(),
            fates,
            sync: SyncTracker::default(),
            holding: false,
            low_on_space: BTreeSet::new(),
            apply_levels: BTreeMap::new(),
            agreement: Agreement::default(),
        });
        self.leading_changed.notify_waiters();
        detach::<R>(self.clone().resolve_fates(term, resolving));
        self.start_serving_if_wanted();
        detach::<R>(self.clone().keep_configuration(term));
        self.keep_time(term).await;
        self.solitude.set(false);
        *self.leading.lock() = None;
        self.leading_changed.notify_waiters();
        tracing::info!(term, "leading no more");
    }

    /// Expires sessions, removes what outlived its use and samples who is in sync, until the term ends.
    async fn keep_time(&self, term: u64) {
        let mut before_ms = self.clock.boot_ms();
        let mut sampled_ms = before_ms;
        let mut reaper = Reaper::new(self.options.container_check_interval_ms);
        while self.leads(term) {
            self.solitude.set(self.is_alone());
            R::sleep(Duration::from_millis(EXPIRY_INTERVAL_MS)).await;
            let now_ms = self.clock.boot_ms();
            let knows_that_it_leads = self.quorum_is_fresh();
            #[cfg(feature = "fault")]
            let knows_that_it_leads = knows_that_it_leads || zke_tree::fault::is_on("hasty-expiry");
            if knows_that_it_leads {
                let elapsed_ms = now_ms.saturating_sub(before_ms);
                self.expire_sessions(elapsed_ms);
                self.remove_outlived(&mut reaper, elapsed_ms);
            }
            before_ms = now_ms;
            if now_ms.saturating_sub(sampled_ms) >= SAMPLE_INTERVAL_MS {
                sampled_ms = now_ms;
                self.sample_sync();
                self.raise_apply_level(term);
            }
        }
    }

    fn expire_sessions(&self, elapsed_ms: u64) {
        let expired = {
            let state = self.replica.state().read();
            let mut leading = self.leading.lock();
            let Some(leading) = leading.as_mut() else { return };
            // Twice the interval: a late wake-up counts, a stopped process does not.
            let step_ms_max = 2 * EXPIRY_INTERVAL_MS;
            #[cfg(feature = "fault")]
            let step_ms_max = if zke_tree::fault::is_on("hasty-expiry") { u64::MAX } else { step_ms_max };
            leading.sessions.advance(elapsed_ms, step_ms_max, state.sessions().map(timed))
        };
        for (session, attach_epoch) in expired {
            tracing::info!(%session, "expiring a session that was not heard from");
            if self.proposals.propose(Command::CloseSession { session, attach_epoch }).is_err() {
                // The clock gave it a full timeout again and will come back to it.
                return;
            }
        }
    }

    fn remove_outlived(&self, reaper: &mut Reaper, elapsed_ms: u64) {
        let search = || {
            let state = self.replica.state().read();
            // Apply compares with a time that never falls, and is behind this one.
            state.outlived(self.clock.wall_ms().max(state.now_ms()), FOUND_MAX)
        };
        for path in reaper.look(elapsed_ms, search) {
            if self.proposals.propose(Command::DeleteContainer { path }).is_err() {
                // Clients come first; the next search finds it again.
                return;
            }
        }
    }

    fn sample_sync(&self) {
        let commit_index =
            self.raft.metrics().borrow_watched().local_committed.map_or(0, |log_id| log_id.index);
        let matched = self.matched();
        if let Some(leading) = self.leading.lock().as_mut() {
            leading.sync.sample(commit_index, &matched);
        }
    }

    /// Without an operator, an ensemble lets clients in as soon as it can.
    fn start_serving_if_wanted(&self) {
        let (serving, control_epoch) = {
            let state = self.replica.state().read();
            (state.serving(), state.control_epoch())
        };
        if self.options.serve_at_once && !serving {
            // A full backlog means that clients are served already.
            let _ = self.proposals.propose(Command::SetServing { control_epoch, serving: true });
        }
    }

    /// Hears what became of each append, in the order of the log, and restores lines that Raft broke.
    async fn resolve_fates(self: Arc<Self>, term: u64, mut fates: mpsc::Receiver<(Origin, Fate<R>)>) {
        while let Some((origin, fate)) = fates.recv().await {
            let appended = matches!(fate.await, Ok(Ok(_)));
            if !appended {
                R::sleep(REFUSAL_PAUSE).await;
            }
            let mark = self.replica.state().read().mark(origin);
            let resume = {
                let mut leading = self.leading.lock();
                let Some(leading) = leading.as_mut().filter(|leading| leading.term == term) else { return };
                let resume = leading.sequencer.resolved(origin, appended, mark);
                resume.and_then(|next_sequence| {
                    let link = leading.links.get(&origin)?.clone();
                    Some((link, FromLeader::Resume { next_sequence }.encode()))
                })
            };
            if let Some((link, frame)) = resume {
                // A link that is gone hears it when it comes back.
                let _ = link.send(frame).await;
            }
        }
    }

    pub(crate) fn leads(&self, term: u64) -> bool {
        self.raft.as_leader().is_ok_and(|leader| leader.term() == term)
    }

    /// Whether a quorum acknowledged this leader so recently that no other can have been elected.
    fn quorum_is_fresh(&self) -> bool {
        if self.is_its_own_quorum() {
            return true;
        }
        let Ok(leader) = self.raft.as_leader() else { return false };
        let lease = Duration::from_millis(ELECTION_TIMEOUT_MS_MAX);
        leader.last_quorum_acked().is_some_and(|acked| acked.elapsed() < lease)
    }

    /// Whether this member leads and is the only voter.
    pub(crate) fn is_its_own_quorum(&self) -> bool {
        self.raft.is_leader() && self.raft.voter_ids().eq([self.member.id().0])
    }

    /// Whether there is nobody else, not even one who learns.
    fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.nodes().map(|(id, _)| *id).eq([self.member.id().0])
    }

    fn has_member(&self, member: MemberId) -> bool {
        self.raft.server_metrics().borrow_watched().membership_config.get_node(&member.0).is_some()
    }

    /// Waits until this member has taken up a term's duties. `None` if it is not the leader.
    async fn wait_leading(&self) -> Option<u64> {
        loop {
            let changed = self.leading_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(leading) = &*self.leading.lock() {
                return Some(leading.term);
            }
            if !self.raft.is_leader() {
                return None;
            }
            // Leadership may end before the duties begin, which no one announces.
            let _ = R::timeout(Duration::from_millis(EXPIRY_INTERVAL_MS), changed).await;
        }
    }

    /// The leader's end of a member's link.
    pub(crate) async fn serve_link(
        self: Arc<Self>,
        origin: Origin,
        newest_apply_level: u32,
        mut stream: FrameStream,
    ) -> io::Result<()> {
        let Some(term) = self.wait_leading().await else { return Ok(()) };
        let mark = self.replica.state().read().mark(origin);
        let next_sequence = {
            let mut leading = self.leading.lock();
            let Some(leading) = leading.as_mut().filter(|leading| leading.term == term) else {
                return Ok(());
            };
            leading.links.insert(origin, stream.outgoing.clone());
            leading.apply_levels.insert(origin.member, newest_apply_level);
            leading.sequencer.resume_at(origin, mark)
        };
        send(&stream.outgoing, FromLeader::Resume { next_sequence }).await?;
        let barriers = Arc::new(tokio::sync::Semaphore::new(BARRIERS_OPEN_MAX));
        loop {
            let changed = self.leading_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.leads(term) {
                return Ok(());
            }
            let frame = tokio::select! {
                biased;
                () = changed => continue,
                frame = stream.incoming.recv() => frame,
            };
            let Some(frame) = frame else { return Ok(()) };
            match ToLeader::decode(frame).map_err(io::Error::other)? {
                ToLeader::Propose { first_sequence, last_sequence, encoded } => {
                    let next = self.append(term, origin, (first_sequence, last_sequence), encoded).await?;
                    if let Some(next_sequence) = next {
                        send(&stream.outgoing, FromLeader::Resume { next_sequence }).await?;
                    }
                }
                ToLeader::Barrier { id } => {
                    let Ok(permit) = barriers.clone().acquire_owned().await else { return Ok(()) };
                    let (inner, outgoing) = (self.clone(), stream.outgoing.clone());
                    detach::<R>(async move {
                        if let Some(index) = inner.barrier_of(term, &outgoing).await {
                            let _ = send(&outgoing, FromLeader::BarrierAt { id, index }).await;
                        }
                        drop(permit);
                    });
                }
                ToLeader::State(seen) => self.hear_state(term, origin.member, seen),
                ToLeader::Space { low } => self.hear_space(term, origin.member, low),
                ToLeader::Lease { sent_ms, touched } => {
                    if !self.has_member(origin.member) {
                        // It gets no entries any more. When it calls again it hears why.
                        return Ok(());
                    }
                    self.touch(term, &touched);
                    if self.quorum_is_fresh() {
                        send(&stream.outgoing, FromLeader::LeaseGranted { sent_ms }).await?;
                    }
                }
            }
        }
    }

    /// Appends a batch if it is the next in line. Says where the origin shall go on instead, if it has to be told.
    async fn append(
        &self,
        term: u64,
        origin: Origin,
        span: (u64, u64),
        encoded: Bytes,
    ) -> io::Result<Option<u64>> {
        let (completion, fate) = Completion::channel();
        let fates = {
            let mut leading = self.leading.lock();
            let Some(leading) = leading.as_mut().filter(|leading| leading.term == term && !leading.holding)
            else {
                return Ok(None);
            };
            match leading.sequencer.offer(origin, span.0, span.1) {
                Verdict::Drop => return Ok(None),
                Verdict::ResumeAt(next) => return Ok(Some(next)),
                Verdict::Append => leading.fates.clone(),
            }
        };
        let encoded = self.without_growth(term, encoded).map_err(io::Error::other)?;
        let mut stamped = BytesMut::from(&encoded[..]);
        let stamp = Proposal::stamp(&mut stamped, self.clock.wall_ms(), self.options.settings);
        // From here on the fate has to be resolved: a dropped completion counts as refused.
        let queued = fates.send((origin, fate)).await.is_ok();
        stamp.map_err(io::Error::other)?;
        if queued {
            let write = self.raft.write(Payload(stamped.freeze()));
            let write = write.with_leader(CommittedLeaderId::new(term)).responder(completion);
            write.await.map_err(io::Error::other)?;
        }
        Ok(None)
    }

    fn hear_space(&self, term: u64, member: MemberId, low: bool) {
        let mut leading = self.leading.lock();
        let Some(leading) = leading.as_mut().filter(|leading| leading.term == term) else { return };
        if low {
            leading.low_on_space.insert(member);
        } else {
            leading.low_on_space.remove(&member);
        }
    }

    /// The batch as it goes into the log: where there is little room, without what would grow the tree.
    fn without_growth(&self, term: u64, batch: Bytes) -> Result<Bytes, CorruptProposal> {
        let refuses = {
            let leading = self.leading.lock();
            let low =
                leading.as_ref().filter(|leading| leading.term == term).map(|leading| &leading.low_on_space);
            low.is_some_and(|low| {
                // Asked for every batch, and nearly always so.
                if low.is_empty() {
                    return false;
                }
                let voters = self.raft.voter_ids().map(MemberId).collect();
                space::refuses_growth(self.member.id(), &voters, low)
            })
        };
        if !refuses {
            return Ok(batch);
        }
        let (batch, refused) = space::refuse_growth(batch, &self.replica.state().read())?;
        self.space.count_refused(refused);
        Ok(batch)
    }

    /// The index at which everything acknowledged before now is in the log, proven by a quorum. `None` if this
    /// member cannot prove that it leads.
    pub(crate) async fn barrier_index(&self) -> Option<u64> {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("deposed-sync") {
            return Some(self.replica.applied_index());
        }
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        Some(linearizer.read_log_id().index())
    }

    /// The same for a member that asked: a quorum that was silent for a moment is asked again, since the member waits for
    /// an answer as long as its link lives. `None` once the term is over or the link is gone; then it asks elsewhere.
    async fn barrier_of(&self, term: u64, link: &mpsc::Sender<Bytes>) -> Option<u64> {
        while self.leads(term) && !link.is_closed() {
            if let Some(index) = self.barrier_index().await {
                return Some(index);
            }
            #[cfg(feature = "fault")]
            if zke_tree::fault::is_on("barrier-asked-once") {
                return None;
            }
            R::sleep(REFUSAL_PAUSE).await;
        }
        None
    }

    fn touch(&self, term: u64, touched: &[SessionId]) {
        let state = self.replica.state().read();
        let mut leading = self.leading.lock();
        let Some(leading) = leading.as_mut().filter(|leading| leading.term == term) else { return };
        for id in touched {
            if let Some(session) = state.session(*id) {
                leading.sessions.touch(timed(session));
            }
        }
    }
}

fn timed(session: &Session) -> Timed {
    Timed { id: session.id, timeout_ms: session.timeout_ms, attach_epoch: session.attach_epoch }
}

async fn send(link: &mpsc::Sender<Bytes>, frame: FromLeader) -> io::Result<()> {
    let closed = || io::Error::new(io::ErrorKind::ConnectionReset, "the member closed its link");
    link.send(frame.encode()).await.map_err(|_| closed())
}
