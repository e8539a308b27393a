//! What openraft sends to other members, over a [`Transport`].

use std::collections::BTreeSet;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::AsyncRuntime;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, Snapshot};
use parking_lot::Mutex;
use zke_tree::MemberId;

use crate::codec;
use crate::member::Member;
use crate::peer::{self, FrameStream, Hello, StreamKind, Transport};
use crate::snapshots::SnapshotHandle;
use crate::transfer;
use crate::transfer_frame::Header;
use crate::types::{CommittedLeaderId, PeerNode, RaftVote, TypeConfig};

type Rpc<R, T> = Result<T, RPCError<TypeConfig<R>>>;

/// Between attempts to reach a member that does not answer. Short, because a restarted member should be found
/// again at once, and cheap, because an attempt is one refused connection.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The first attempts: a stream often breaks without its member being away.
const RETRY_FIRST: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(50)];

/// Makes one [`PeerClient`] for each other member.
pub struct Network<R> {
    member: Arc<Member>,
    transport: Arc<dyn Transport>,
    away: Arc<Away>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Network<R> {
    pub fn new(member: Arc<Member>, transport: Arc<dyn Transport>) -> Network<R> {
        Network { member, transport, away: Arc::default(), runtime: PhantomData }
    }
}

impl<R: AsyncRuntime> RaftNetworkFactory<TypeConfig<R>> for Network<R> {
    type Network = PeerClient<R>;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> PeerClient<R> {
        PeerClient {
            member: self.member.clone(),
            transport: self.transport.clone(),
            away: self.away.clone(),
            target: MemberId(target),
            node: node.clone(),
            idle: Arc::default(),
            runtime: PhantomData,
        }
    }
}

/// Calls one other member.
pub struct PeerClient<R> {
    member: Arc<Member>,
    transport: Arc<dyn Transport>,
    away: Arc<Away>,
    target: MemberId,
    node: PeerNode,
    /// An append stream on which nothing is under way.
    idle: Arc<Mutex<Option<FrameStream>>>,
    runtime: PhantomData<fn() -> R>,
}

/// Members that could not be reached when they were last tried. That is many times a second, and openraft would log each.
#[derive(Default)]
struct Away(Mutex<BTreeSet<MemberId>>);

impl Away {
    /// Logs that a member is away, with what its first failure says, and that it is back.
    fn note(&self, member: MemberId, node: &PeerNode, error: Option<&io::Error>) {
        let mut away = self.0.lock();
        match error {
            Some(error) if away.insert(member) => {
                tracing::warn!(to = %node, error = error as &dyn std::error::Error, "cannot reach a member");
            }
            None if away.remove(&member) => tracing::info!(to = %node, "reached a member again"),
            _ => {}
        }
    }
}

impl<R: AsyncRuntime> PeerClient<R> {
    fn hello(&self, kind: StreamKind) -> io::Result<Hello> {
        self.member.hello(kind, self.target)
    }

    async fn open(&self, kind: StreamKind) -> io::Result<FrameStream> {
        let opened = self.transport.open(self.node.clone(), self.hello(kind)?).await;
        self.away.note(self.target, &self.node, opened.as_ref().err());
        opened.inspect_err(|error| self.member.hear_refusal(error))
    }

    /// One request and its answer within the deadline that openraft sets.
    async fn call(&self, kind: StreamKind, request: Bytes, deadline: Duration) -> Rpc<R, Bytes> {
        let call = async { self.open(kind).await?.call(request).await };
        match R::timeout(deadline, call).await {
            Ok(answer) => answer.map_err(unreachable::<R>),
            Err(_) => Err(unreachable::<R>(io::ErrorKind::TimedOut.into())),
        }
    }
}

fn unreachable<R: AsyncRuntime>(error: io::Error) -> RPCError<TypeConfig<R>> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn garbled<R: AsyncRuntime>(error: codec::DecodeError) -> RPCError<TypeConfig<R>> {
    RPCError::Network(NetworkError::new(&error))
}

impl<R: AsyncRuntime> NetBackoff<TypeConfig<R>> for PeerClient<R> {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(RETRY_FIRST.into_iter().chain(iter::repeat(RETRY_INTERVAL))))
    }
}

impl<R: AsyncRuntime> NetVote<TypeConfig<R>> for PeerClient<R> {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Rpc<R, VoteResponse<TypeConfig<R>>> {
        let answer = self.call(StreamKind::Vote, codec::encode_vote_request(&rpc), option.hard_ttl()).await?;
        codec::decode_vote_response(answer).map_err(garbled::<R>)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Rpc<R, VoteResponse<TypeConfig<R>>> {
        let answer =
            self.call(StreamKind::PreVote, codec::encode_vote_request(&rpc), option.hard_ttl()).await?;
        codec::decode_vote_response(answer).map_err(garbled::<R>)
    }
}

impl<R: AsyncRuntime> NetTransferLeader<TypeConfig<R>> for PeerClient<R> {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> Rpc<R, TransferLeaderResponse<TypeConfig<R>>> {
        let answer =
            self.call(StreamKind::TransferLeader, codec::encode_transfer(&req), option.hard_ttl()).await?;
        codec::decode_transfer_response(answer).map_err(garbled::<R>)
    }
}

type AppendResults<'s, R> = BoxStream<'s, Rpc<R, StreamAppendResult<TypeConfig<R>>>>;

impl<R: AsyncRuntime> NetStreamAppend<TypeConfig<R>> for PeerClient<R> {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<R, AppendResults<'s, R>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = Some(input);
            let idle = self.idle.lock().take();
            let (stream, next) = match idle {
                Some(stream) => (stream, None),
                None => {
                    // openraft pauses after a failure where it makes the request, not before it asks for a stream: whoever
                    // dials first dials a member that is away a thousand times a second.
                    let next = next_of(&mut input).await.map(|request| codec::encode_append(&request));
                    if next.is_none() {
                        return Ok(stream::empty().boxed());
                    }
                    let opened = R::timeout(option.hard_ttl(), self.open(StreamKind::Append)).await;
                    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    (opened.map_err(unreachable::<R>)?, next)
                }
            };
            let appending = Appending { input, next, in_flight: 0, stream, idle: self.idle.clone() };
            Ok(stream::unfold(Some(appending), |appending| async { appending?.next_result::<R>().await })
                .boxed())
        })
    }
}

/// Requests on their way over one stream, and their results on the way back.
struct Appending<S> {
    /// `None` once it has ended.
    input: Option<S>,
    /// Encoded, and waiting for room.
    next: Option<Bytes>,
    in_flight: usize,
    stream: FrameStream,
    idle: Arc<Mutex<Option<FrameStream>>>,
}

type NextResult<R, S> = Option<(Rpc<R, StreamAppendResult<TypeConfig<R>>>, Option<Appending<S>>)>;

impl<S> Appending<S> {
    /// Sends what there is and returns the next result, and itself unless that was the last one on this stream. After
    /// the last result of all the stream is kept for the next time: a heartbeat is a stream of one request, twenty
    /// times a second for each member, and opening one costs many times what the request does.
    async fn next_result<R: AsyncRuntime>(mut self) -> NextResult<R, S>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Unpin,
    {
        loop {
            if self.input.is_none() && self.next.is_none() && self.in_flight == 0 {
                *self.idle.lock() = Some(self.stream);
                return None;
            }
            let Appending { input, next, in_flight, stream, .. } = &mut self;
            let result = tokio::select! {
                biased;
                frame = stream.incoming.recv(), if *in_flight > 0 => {
                    *in_flight -= 1;
                    let decode = |frame| codec::decode_append_result::<R>(frame).map_err(garbled::<R>);
                    frame.ok_or_else(closed::<R>).and_then(decode)
                }
                permit = stream.outgoing.reserve(), if next.is_some() => match permit {
                    Ok(permit) => {
                        if let Some(frame) = next.take() {
                            permit.send(frame);
                            *in_flight += 1;
                        }
                        continue;
                    }
                    Err(_) => Err(closed::<R>()),
                },
                request = next_of(input), if next.is_none() && input.is_some() => {
                    *next = request.map(|request| codec::encode_append(&request));
                    if next.is_none() {
                        *input = None;
                    }
                    continue;
                }
            };
            // A refusal ends the stream at the other side.
            let goes_on = matches!(result, Ok(Ok(_)));
            return Some((result, goes_on.then_some(self)));
        }
    }
}

fn closed<R: AsyncRuntime>() -> RPCError<TypeConfig<R>> {
    unreachable::<R>(peer::closed())
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    input.as_mut()?.next().await
}

impl<R: AsyncRuntime> NetSnapshot<TypeConfig<R>> for PeerClient<R> {
    type SnapshotData = SnapshotHandle;

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot<CommittedLeaderId, u64, PeerNode, SnapshotHandle>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        let send = async {
            let file = snapshot.snapshot.outgoing().await?;
            let stream = transfer::in_time::<R, _>(self.open(StreamKind::Snapshot)).await??;
            transfer::send::<R>(stream, Header::of(vote, snapshot.meta, file.fingerprint()), &file).await
        };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => {
                    tracing::debug!(to = %self.node, %error, "a snapshot did not get through");
                    Err(StreamingError::Unreachable(Unreachable::new(&error)))
                }
            },
        }
    }
}
