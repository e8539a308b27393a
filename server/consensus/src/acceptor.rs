//! Streams that other members opened to this one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, Snapshot};
use zke_tree::Origin;

use crate::codec;
use crate::ensemble::Inner;
use crate::first_start::ProbeAnswer;
use crate::member::{Known, Refusal};
use crate::peer::{FrameStream, Hello, StreamKind};
use crate::transfer;
use crate::transfer_frame::{Answer, Header};

/// For the caller's word that no more comes, which it gives with its request.
const END_DEADLINE: Duration = Duration::from_secs(1);

impl<R: AsyncRuntime> Inner<R> {
    /// Checks a hello before anything of the stream is read. `certified_pod` is the pod that the peer's certificate
    /// names, where there is one.
    pub(crate) fn welcome(&self, hello: &Hello, certified_pod: Option<&str>) -> Result<(), Refusal> {
        if certified_pod.is_some_and(|pod| pod != hello.from_pod) {
            return Err(Refusal::WrongCertificate);
        }
        let membership = self.replica.applied().1;
        let (retired, apply_level) = {
            let state = self.replica.state().read();
            (state.is_retired(hello.from), state.apply_level())
        };
        let known = Known {
            retired,
            apply_level,
            pod: membership.get_node(&hello.from.0).map(|node| node.pod.as_str()),
        };
        self.member.welcome(hello, known)
    }

    /// Serves a stream whose hello was welcome, until either side ends it.
    pub(crate) async fn serve_stream(self: Arc<Self>, hello: Hello, stream: FrameStream) {
        let served = match hello.kind {
            StreamKind::Append => self.serve_append(stream).await,
            StreamKind::Vote | StreamKind::PreVote | StreamKind::TransferLeader => {
                self.serve_call(hello.kind, stream).await
            }
            StreamKind::Snapshot => self.serve_snapshot(stream).await,
            StreamKind::Link => {
                let origin = Origin { member: hello.from, incarnation: hello.from_incarnation };
                self.serve_link(origin, hello.newest_apply_level, stream).await
            }
            StreamKind::Probe => self.serve_probe(&hello, stream).await,
        };
        if let Err(error) = served {
            tracing::debug!(from = %hello.from_pod, kind = ?hello.kind, %error, "a stream from a member ended");
        }
    }

    async fn serve_append(&self, stream: FrameStream) -> io::Result<()> {
        let FrameStream { outgoing, incoming } = stream;
        let requests = stream::unfold(incoming, |mut incoming| async move {
            let frame = incoming.recv().await?;
            match codec::decode_append::<R>(frame) {
                Ok(request) => Some((request, incoming)),
                Err(error) => {
                    tracing::warn!(%error, "closing a replication stream");
                    None
                }
            }
        });
        let mut results = std::pin::pin!(self.raft.stream_append(requests));
        while let Some(result) = results.next().await {
            let result = result.map_err(io::Error::other)?;
            if outgoing.send(codec::encode_append_result(&result)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn serve_call(&self, kind: StreamKind, mut stream: FrameStream) -> io::Result<()> {
        let Some(request) = stream.incoming.recv().await else { return Ok(()) };
        let answer = match kind {
            StreamKind::Vote => {
                let request = codec::decode_vote_request(request).map_err(io::Error::other)?;
                codec::encode_vote_response(&self.raft.vote(request).await.map_err(io::Error::other)?)
            }
            StreamKind::PreVote => {
                let request = codec::decode_vote_request(request).map_err(io::Error::other)?;
                codec::encode_vote_response(&self.raft.pre_vote(request).await.map_err(io::Error::other)?)
            }
            _ => {
                let request = codec::decode_transfer(request).map_err(io::Error::other)?;
                let response = self.raft.handle_transfer_leader(request).await.map_err(io::Error::other)?;
                codec::encode_transfer_response(&response)
            }
        };
        answer_and_end::<R>(stream, answer).await;
        Ok(())
    }

    async fn serve_snapshot(&self, mut stream: FrameStream) -> io::Result<()> {
        let Some(header) = transfer::in_time::<R, _>(stream.incoming.recv()).await? else { return Ok(()) };
        let header = Header::decode(header).map_err(io::Error::other)?;
        let own_vote = self.raft.metrics().borrow_watched().vote;
        if own_vote > header.vote {
            // Raft would say the same at the end: a leader that was deposed must not take the turn of the one that leads.
            answer_and_end::<R>(stream, Answer::Done { vote: own_vote }.encode()).await;
            return Ok(());
        }
        let snapshot = transfer::receive::<R>(&self.snapshots, &mut stream, &header).await?;
        let install = self.raft.install_full_snapshot(header.vote, Snapshot { meta: header.meta, snapshot });
        let response =
            transfer::working::<R, _>(&stream.outgoing, install).await.map_err(io::Error::other)?;
        answer_and_end::<R>(stream, Answer::Done { vote: response.vote }.encode()).await;
        Ok(())
    }

    async fn serve_probe(&self, hello: &Hello, stream: FrameStream) -> io::Result<()> {
        let identity = self.member.identity();
        answer_and_end::<R>(stream, ProbeAnswer::of(&identity, self.member.pod()).encode()).await;
        if self.member.is_wanted_again(hello) {
            tracing::warn!(
                "this server was removed and is wanted again: it starts anew, with its old data set aside"
            );
            self.member.renew().map_err(io::Error::other)?;
            self.restart.notify_one();
        }
        Ok(())
    }
}

/// Gives the only answer of a stream, and holds on to it until the caller has said that no more comes: a stream that is
/// dropped before that is reset, and a reset overtakes the answer.
async fn answer_and_end<R: AsyncRuntime>(stream: FrameStream, answer: Bytes) {
    let FrameStream { outgoing, mut incoming } = stream;
    // A caller that went away has timed out already.
    let _ = outgoing.send(answer).await;
    drop(outgoing);
    let _ = R::timeout(END_DEADLINE, async { while incoming.recv().await.is_some() {} }).await;
}
