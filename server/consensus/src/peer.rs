//! The network between members as the rest of this crate sees it: streams of frames, opened with a hello.
//!
//! One trait, [`Transport`], with two implementations: gRPC over mutual TLS ([`crate::grpc`]) and the simulated
//! network of the tests. Everything that members say to each other goes through it.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use zke_tree::{EnsembleId, MemberId, OLDEST_APPLY_LEVEL};

use crate::codec::{DecodeError, Decoder, put_blob, put_ensemble};
use crate::types::PeerNode;

/// Frames waiting in one direction of a stream. A frame is at most about 1 MiB (replication cuts by bytes), so a
/// stalled stream holds at most 64 MiB; the sender then waits, which is the back-pressure.
const FRAMES_QUEUED_MAX: usize = 64;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Raft's append requests one way, their results the other.
    Append,
    /// One request, one answer.
    Vote,
    PreVote,
    TransferLeader,
    /// A snapshot file, from where the other end wants it; see `transfer.rs`.
    Snapshot,
    /// A member's proposals, barriers and lease requests to the leader, and its answers.
    Link,
    /// Asks a disk what it holds, before there is an ensemble.
    Probe,
}

impl StreamKind {
    const ALL: [StreamKind; 7] = [
        StreamKind::Append,
        StreamKind::Vote,
        StreamKind::PreVote,
        StreamKind::TransferLeader,
        StreamKind::Snapshot,
        StreamKind::Link,
        StreamKind::Probe,
    ];

    /// Version of the frames that follow a hello of this kind. A member refuses what it does not know: that stream alone,
    /// so that members of two builds vote and replicate while a kind that changed waits for the older one to be renewed.
    fn version(self) -> u8 {
        match self {
            // 1 had no offsets: always the whole file.
            StreamKind::Snapshot => 2,
            _ => 1,
        }
    }
}

/// Who opens a stream, to whom and for what. The acceptor checks all of it before it looks at a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub kind: StreamKind,
    /// `None` only in a [`StreamKind::Probe`].
    pub ensemble: Option<EnsembleId>,
    pub from: MemberId,
    pub from_pod: String,
    /// Raised at each start of the sender's process.
    pub from_incarnation: u64,
    /// Up to which apply level the sender goes.
    pub newest_apply_level: u32,
    /// The member that must be at the other end; `None` only in a probe.
    pub to: Option<MemberId>,
}

impl Hello {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(self.kind.version());
        let kind = StreamKind::ALL.iter().position(|kind| *kind == self.kind).expect("ALL lists every kind");
        out.put_u8(kind as u8);
        put_ensemble(&mut out, self.ensemble);
        out.put_u64(self.from.0);
        put_blob(&mut out, self.from_pod.as_bytes());
        out.put_u64(self.from_incarnation);
        out.put_u64(self.to.map_or(0, |id| id.0));
        // Builds that have no other do not know the field either.
        if self.newest_apply_level > OLDEST_APPLY_LEVEL {
            out.put_u32(self.newest_apply_level);
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Hello, DecodeError> {
        let wrong = || DecodeError { what: "hello" };
        let mut decoder = Decoder::new(bytes, "hello");
        let version = decoder.u8()?;
        let kind = *StreamKind::ALL.get(usize::from(decoder.u8()?)).ok_or_else(wrong)?;
        if version != kind.version() {
            return Err(DecodeError { what: "the hello of another protocol version" });
        }
        let ensemble = decoder.ensemble()?;
        let hello = Hello {
            kind,
            ensemble,
            from: MemberId(decoder.u64()?),
            from_pod: decoder.string()?,
            from_incarnation: decoder.u64()?,
            to: Some(MemberId(decoder.u64()?)).filter(|id| id.0 != 0),
            newest_apply_level: if decoder.is_at_end() { OLDEST_APPLY_LEVEL } else { decoder.u32()? },
        };
        decoder.end()?;
        let complete = hello.from.0 != 0
            && (kind == StreamKind::Probe || hello.ensemble.is_some() && hello.to.is_some());
        if complete { Ok(hello) } else { Err(wrong()) }
    }
}

/// One end of an open stream. Dropping `outgoing` tells the other end that no more comes.
pub struct FrameStream {
    pub outgoing: mpsc::Sender<Bytes>,
    pub incoming: mpsc::Receiver<Bytes>,
}

impl FrameStream {
    /// Both ends of a stream inside this process.
    pub fn pair() -> (FrameStream, FrameStream) {
        let (here_out, there_in) = mpsc::channel(FRAMES_QUEUED_MAX);
        let (there_out, here_in) = mpsc::channel(FRAMES_QUEUED_MAX);
        (
            FrameStream { outgoing: here_out, incoming: here_in },
            FrameStream { outgoing: there_out, incoming: there_in },
        )
    }

    /// Sends the only request of a stream and waits for the only answer.
    pub async fn call(mut self, request: Bytes) -> io::Result<Bytes> {
        self.outgoing.send(request).await.map_err(|_| closed())?;
        drop(self.outgoing);
        self.incoming.recv().await.ok_or_else(closed)
    }
}

pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the other member closed the stream")
}

/// Opens streams to other members.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream and sends the hello. The peer's certificate, where there is one, has to name `to.pod`.
    /// A peer that refuses the hello closes the stream.
    fn open(&self, to: PeerNode, hello: Hello) -> BoxFuture<'static, io::Result<FrameStream>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_its_encoding_and_an_incomplete_one_is_refused() {
        let hello = Hello {
            kind: StreamKind::Link,
            ensemble: Some(EnsembleId([7; 16])),
            from: MemberId(1),
            from_pod: "prod-0".into(),
            from_incarnation: 4,
            newest_apply_level: 7,
            to: Some(MemberId(2)),
        };
        assert_eq!(Hello::decode(hello.encode()).expect("own encoding"), hello);
        assert!(Hello::decode(Hello { ensemble: None, ..hello.clone() }.encode()).is_err());
        assert!(Hello::decode(Hello { to: None, ..hello.clone() }.encode()).is_err());
        let probe = Hello { kind: StreamKind::Probe, ensemble: None, to: None, ..hello };
        assert_eq!(Hello::decode(probe.encode()).expect("own encoding"), probe);
        assert!(Hello::decode(Bytes::from_static(b"\x02")).is_err());
    }

    #[test]
    fn a_kind_that_changed_is_refused_in_its_older_version_and_no_other() {
        let other_version = |kind| {
            let (from_pod, ensemble) = ("prod-0".to_owned(), Some(EnsembleId([7; 16])));
            let to = Some(MemberId(2));
            let (from, from_incarnation, newest_apply_level) = (MemberId(1), 4, 1);
            let hello = Hello { kind, ensemble, from, from_pod, from_incarnation, newest_apply_level, to };
            let mut bytes = BytesMut::from(&hello.encode()[..]);
            bytes[0] = 1;
            Hello::decode(bytes.freeze())
        };
        for kind in StreamKind::ALL {
            assert_eq!(other_version(kind).is_err(), kind == StreamKind::Snapshot, "{kind:?}");
        }
    }
}
