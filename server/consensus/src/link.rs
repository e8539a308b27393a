//! The member's end of the link to its leader: proposals out, read barriers and the serving lease back.
//!
//! There is one link at a time, also from the leader to itself. What was on the way when a link is lost is not
//! lost: proposals are kept until they are applied, questions for a barrier are asked again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, ServerState};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use zke_tree::MemberId;
use zke_wire::SessionId;

use crate::ensemble::{Inner, detach};
use crate::lease::renew_interval_ms;
use crate::link_frame::{FromLeader, ToLeader};
use crate::peer::{FrameStream, StreamKind};
use crate::types::PeerNode;

/// After a link ended: whoever ended it may not have found out who leads now.
const RELINK_PAUSE: Duration = Duration::from_millis(2);
/// Between attempts to open a link to a leader that does not answer.
const REDIAL_INTERVAL: Duration = Duration::from_millis(25);
/// ... and to one that refuses this member: it was retired, or the leader has yet to hear of it.
const REFUSED_INTERVAL: Duration = Duration::from_millis(500);
/// A dial that takes longer is given up: the leader's heartbeats take the same way and a new leader may exist.
const DIAL_DEADLINE: Duration = Duration::from_millis(500);
/// After the leader closed the link, how often and how far apart to ask for an election. Leases still refuse, so
/// this is safe; it only finds the first moment at which they do not.
const ELECTION_HINTS_MAX: u32 = 20;
const ELECTION_HINT_INTERVAL: Duration = Duration::from_millis(25);
/// Voters take turns, so that two rarely ask in the same moment and split the votes.
const ELECTION_STAGGER: Duration = Duration::from_millis(8);

/// Questions for a read barrier that wait for a link.
#[derive(Default)]
pub(crate) struct Barriers {
    waiting: Mutex<Vec<oneshot::Sender<u64>>>,
    asked: Notify,
}

impl Barriers {
    /// The index that the leader answers; the receiver fails only if the process ends.
    pub(crate) fn ask(&self) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().push(sender);
        self.asked.notify_one();
        receiver
    }

    /// Takes all who wait, less those who gave up, so that the queue cannot grow while no leader answers.
    fn take(&self) -> Vec<oneshot::Sender<u64>> {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.retain(|waiter| !waiter.is_closed());
        waiting
    }

    fn put_back(&self, waiters: impl Iterator<Item = oneshot::Sender<u64>>) {
        self.waiting.lock().extend(waiters);
        self.asked.notify_one();
    }
}

/// What is under way on one link.
struct Underway {
    next_barrier: u64,
    barriers: BTreeMap<u64, Vec<oneshot::Sender<u64>>>,
    /// Sessions named in lease requests that were not answered yet.
    leases: VecDeque<(u64, Vec<SessionId>)>,
}

impl<R: AsyncRuntime> Inner<R> {
    /// Runs for the life of the process: keeps a link to whoever leads.
    pub(crate) async fn run_links(self: Arc<Self>) {
        let mut touched_in_doubt = Vec::new();
        let mut metrics = self.raft.server_metrics();
        while !self.is_stopping() && !self.member.is_retired() {
            let Some((leader, address)) = self.leader_address() else {
                if metrics.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.open_link(leader, address).await {
                Ok(stream) => {
                    let underway =
                        self.drive_link(leader, stream, std::mem::take(&mut touched_in_doubt)).await;
                    self.proposals.link_lost();
                    touched_in_doubt =
                        underway.leases.into_iter().flat_map(|(_, sessions)| sessions).collect();
                    self.barriers.put_back(underway.barriers.into_values().flatten());
                    if leader != self.member.id() {
                        self.hint_election(leader).await;
                    }
                    R::sleep(RELINK_PAUSE).await;
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(%leader, %error, "the leader refuses this member");
                    R::sleep(REFUSED_INTERVAL).await;
                }
                Err(error) => {
                    tracing::debug!(%leader, %error, "no link to the leader yet");
                    R::sleep(REDIAL_INTERVAL).await;
                }
            }
        }
    }

    fn leader_address(&self) -> Option<(MemberId, PeerNode)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let node = metrics.membership_config.get_node(&leader)?;
        Some((MemberId(leader), node.clone()))
    }

    async fn open_link(self: &Arc<Self>, leader: MemberId, address: PeerNode) -> io::Result<FrameStream> {
        let hello = self.member.hello(StreamKind::Link, leader)?;
        if leader == self.member.id() {
            let (near, far) = FrameStream::pair();
            detach::<R>(self.clone().serve_stream(hello, far));
            return Ok(near);
        }
        let opened = R::timeout(DIAL_DEADLINE, self.transport.open(address, hello)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.inspect_err(|error| self.member.hear_refusal(error))
    }

    /// Drives a link until it closes or another member leads.
    async fn drive_link(&self, leader: MemberId, stream: FrameStream, touched: Vec<SessionId>) -> Underway {
        let FrameStream { outgoing, mut incoming } = stream;
        let mut underway =
            Underway { next_barrier: 0, barriers: BTreeMap::new(), leases: VecDeque::from([(0, touched)]) };
        let renew = Duration::from_millis(renew_interval_ms(self.lease_ms));
        let mut metrics = self.raft.server_metrics();
        if self.space.is_low() && outgoing.send(self.space.report().encode()).await.is_err() {
            return underway;
        }
        // The first request leaves at once: a member must not wait for a lease after a failover.
        let mut renew_timer = Box::pin(R::sleep(Duration::ZERO));
        loop {
            let frame = tokio::select! {
                biased;
                frame = incoming.recv() => match frame {
                    Some(frame) => { self.hear_leader(frame, &mut underway); None }
                    None => return underway,
                },
                changed = metrics.changed() => {
                    let still = metrics.borrow_watched().current_leader == Some(leader.0);
                    if changed.is_err() || !still {
                        return underway;
                    }
                    None
                }
                () = &mut renew_timer => {
                    renew_timer = Box::pin(R::sleep(renew));
                    Some(self.lease_request(&mut underway))
                }
                () = self.space.changed() => Some(self.space.report()),
                seen = self.replica.reports().next() => Some(ToLeader::State(seen)),
                () = self.barriers.asked.notified() => underway.ask(self.barriers.take()),
                () = self.proposals.more_to_send() => {
                    while let Some(batch) = self.proposals.next_batch() {
                        let (first_sequence, last_sequence) = (batch.first_sequence, batch.last_sequence);
                        let propose = ToLeader::Propose { first_sequence, last_sequence, encoded: batch.encoded };
                        if outgoing.send(propose.encode()).await.is_err() {
                            return underway;
                        }
                    }
                    None
                }
            };
            if let Some(frame) = frame
                && outgoing.send(frame.encode()).await.is_err()
            {
                return underway;
            }
        }
    }

    fn lease_request(&self, underway: &mut Underway) -> ToLeader {
        // Unanswered requests are asked again in one, so the queue never holds more than two.
        let mut touched: Vec<SessionId> =
            underway.leases.drain(..).flat_map(|(_, sessions)| sessions).collect();
        self.replica.observer().drain_touched(&mut touched);
        touched.sort_unstable();
        touched.dedup();
        let sent_ms = self.clock.boot_ms();
        underway.leases.push_back((sent_ms, touched.clone()));
        ToLeader::Lease { sent_ms, touched }
    }

    fn hear_leader(&self, frame: Bytes, underway: &mut Underway) {
        match FromLeader::decode(frame) {
            Ok(FromLeader::Resume { next_sequence }) => self.proposals.resume(next_sequence),
            Ok(FromLeader::BarrierAt { id, index }) => {
                for waiter in underway.barriers.remove(&id).into_iter().flatten() {
                    // Whoever asked may have given up.
                    let _ = waiter.send(index);
                }
            }
            Ok(FromLeader::LeaseGranted { sent_ms }) => {
                underway.leases.retain(|(sent, _)| *sent > sent_ms);
                self.lease.granted(sent_ms, self.lease_ms);
                self.review_serving();
            }
            Ok(FromLeader::Diverged { index }) => self.hear_divergence(index),
            Err(error) => tracing::warn!(%error, "ignoring a frame from the leader"),
        }
    }

    /// The leader closed the link. If it died, its lease is the only thing between us and an election: ask for one
    /// again and again until somebody leads.
    async fn hint_election(&self, lost: MemberId) {
        let me = self.member.id().0;
        let voters: Vec<u64> = self.raft.voter_ids().collect();
        let Some(rank) = voters.iter().position(|voter| *voter == me) else { return };
        R::sleep(ELECTION_STAGGER * rank as u32).await;
        for _ in 0..ELECTION_HINTS_MAX {
            let metrics = self.raft.server_metrics().borrow_watched().clone();
            let led_by_another = metrics.current_leader.is_some_and(|leader| leader != lost.0);
            if led_by_another || self.raft.is_leader() || self.leader_answers(lost).await {
                return;
            }
            // A vote round of ours is under way as long as we are a candidate.
            if metrics.state != ServerState::Candidate && self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            R::sleep(ELECTION_HINT_INTERVAL).await;
        }
    }

    /// A leader that only closed one stream is still there.
    async fn leader_answers(&self, leader: MemberId) -> bool {
        let Some((known, address)) = self.leader_address() else { return false };
        if known != leader {
            return true;
        }
        let probe =
            async { self.transport.open(address, self.member.probe_hello()).await?.call(Bytes::new()).await };
        matches!(R::timeout(ELECTION_HINT_INTERVAL, probe).await, Ok(Ok(_)))
    }
}

impl Underway {
    fn ask(&mut self, waiters: Vec<oneshot::Sender<u64>>) -> Option<ToLeader> {
        if waiters.is_empty() {
            return None;
        }
        let id = self.next_barrier;
        self.next_barrier += 1;
        self.barriers.insert(id, waiters);
        Some(ToLeader::Barrier { id })
    }
}
