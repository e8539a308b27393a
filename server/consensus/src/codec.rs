//! Our own encoding of what members say to each other and of memberships on disk.
//!
//! Big-endian, length-prefixed, one version byte in the hello of each stream. openraft's own types are never
//! dumped as they are: they change between its releases, and these bytes outlive a rolling upgrade.
//! Decoders check every length against what is left and never panic.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::AsyncRuntime;
use openraft::impls::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use zke_tree::EnsembleId;

use crate::types::{
    Payload, PeerNode, RaftEntry, RaftLogId, RaftMembership, RaftStoredMembership, RaftVote, TypeConfig,
    log_id,
};

/// Bytes from another member, or from disk, that do not follow the encoding.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {what} from a peer: the members run incompatible versions or the bytes are damaged")]
pub struct DecodeError {
    pub what: &'static str,
}

pub type Decoded<T> = Result<T, DecodeError>;

/// A cursor that names what it was reading when the bytes ran out.
pub struct Decoder {
    bytes: Bytes,
    what: &'static str,
}

impl Decoder {
    pub fn new(bytes: Bytes, what: &'static str) -> Decoder {
        Decoder { bytes, what }
    }

    pub fn wrong(&self) -> DecodeError {
        DecodeError { what: self.what }
    }

    pub fn u8(&mut self) -> Decoded<u8> {
        self.bytes.try_get_u8().map_err(|_| self.wrong())
    }

    pub fn bool(&mut self) -> Decoded<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong()),
        }
    }

    pub fn u32(&mut self) -> Decoded<u32> {
        self.bytes.try_get_u32().map_err(|_| self.wrong())
    }

    pub fn u64(&mut self) -> Decoded<u64> {
        self.bytes.try_get_u64().map_err(|_| self.wrong())
    }

    pub fn i64(&mut self) -> Decoded<i64> {
        self.bytes.try_get_i64().map_err(|_| self.wrong())
    }

    /// What [`put_ensemble`] wrote.
    pub fn ensemble(&mut self) -> Decoded<Option<EnsembleId>> {
        let mut id = [0; 16];
        self.bytes.try_copy_to_slice(&mut id).map_err(|_| self.wrong())?;
        Ok((id != [0; 16]).then_some(EnsembleId(id)))
    }

    pub fn blob(&mut self) -> Decoded<Bytes> {
        let len = self.u32()? as usize;
        if len > self.bytes.remaining() {
            return Err(self.wrong());
        }
        Ok(self.bytes.split_to(len))
    }

    pub fn string(&mut self) -> Decoded<String> {
        let blob = self.blob()?;
        String::from_utf8(blob.to_vec()).map_err(|_| self.wrong())
    }

    /// A count of items of at least `item_bytes_min` bytes each: never more than the bytes that are left could hold.
    pub fn count(&mut self, item_bytes_min: usize) -> Decoded<usize> {
        let count = self.u32()? as usize;
        if count.saturating_mul(item_bytes_min) > self.bytes.remaining() {
            return Err(self.wrong());
        }
        Ok(count)
    }

    pub fn is_at_end(&self) -> bool {
        !self.bytes.has_remaining()
    }

    pub fn end(self) -> Decoded<()> {
        if self.is_at_end() { Ok(()) } else { Err(self.wrong()) }
    }

    pub fn vote(&mut self) -> Decoded<RaftVote> {
        let (term, member, committed) = (self.u64()?, self.u64()?, self.bool()?);
        Ok(if committed { RaftVote::new_committed(term, member) } else { RaftVote::new(term, member) })
    }

    fn log_id(&mut self) -> Decoded<RaftLogId> {
        Ok(log_id(self.u64()?, self.u64()?))
    }

    pub fn optional_log_id(&mut self) -> Decoded<Option<RaftLogId>> {
        if self.bool()? { self.log_id().map(Some) } else { Ok(None) }
    }

    fn membership(&mut self) -> Decoded<RaftMembership> {
        let sets = self.count(4)?;
        let mut configs = Vec::with_capacity(sets);
        for _ in 0..sets {
            let ids = self.count(8)?;
            configs.push((0..ids).map(|_| self.u64()).collect::<Decoded<BTreeSet<u64>>>()?);
        }
        let nodes = self.count(16)?;
        let nodes = (0..nodes)
            .map(|_| Ok((self.u64()?, PeerNode { pod: self.string()?, address: self.string()? })))
            .collect::<Decoded<BTreeMap<u64, PeerNode>>>()?;
        RaftMembership::new(configs, nodes).map_err(|_| self.wrong())
    }

    pub fn stored_membership(&mut self) -> Decoded<RaftStoredMembership> {
        Ok(RaftStoredMembership::new(self.optional_log_id()?, self.membership()?))
    }

    fn entry(&mut self) -> Decoded<RaftEntry> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Payload(self.blob()?)),
            2 => EntryPayload::Membership(self.membership()?),
            _ => return Err(self.wrong()),
        };
        Ok(RaftEntry { log_id, payload })
    }
}

pub fn put_vote(out: &mut BytesMut, vote: &RaftVote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(vote.committed.into());
}

fn put_log_id(out: &mut BytesMut, log_id: &RaftLogId) {
    out.put_u64(log_id.leader_id.term);
    out.put_u64(log_id.index);
}

pub fn put_optional_log_id(out: &mut BytesMut, log_id: Option<&RaftLogId>) {
    out.put_u8(log_id.is_some().into());
    if let Some(log_id) = log_id {
        put_log_id(out, log_id);
    }
}

/// Sixteen bytes, all of them 0 where there is no ensemble yet: no ensemble has that id.
pub fn put_ensemble(out: &mut BytesMut, ensemble: Option<EnsembleId>) {
    out.put_slice(&ensemble.map_or([0; 16], |id| id.0));
}

pub fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    out.put_u32(u32::try_from(blob.len()).expect("a frame is at most 16 MiB"));
    out.put_slice(blob);
}

fn put_membership(out: &mut BytesMut, membership: &RaftMembership) {
    let sets = membership.get_joint_config();
    out.put_u32(sets.len() as u32);
    for set in sets {
        out.put_u32(set.len() as u32);
        set.iter().for_each(|id| out.put_u64(*id));
    }
    out.put_u32(membership.nodes().count() as u32);
    for (id, node) in membership.nodes() {
        out.put_u64(*id);
        put_blob(out, node.pod.as_bytes());
        put_blob(out, node.address.as_bytes());
    }
}

pub fn put_stored_membership(out: &mut BytesMut, stored: &RaftStoredMembership) {
    put_optional_log_id(out, stored.log_id().as_ref());
    put_membership(out, stored.membership());
}

/// The term of the leader that appended the entry with this id.
pub fn term_of(log_id: &RaftLogId) -> u64 {
    log_id.leader_id.term
}

pub fn encode_membership(membership: &RaftMembership) -> Bytes {
    let mut out = BytesMut::new();
    put_membership(&mut out, membership);
    out.freeze()
}

pub fn decode_membership(bytes: Bytes) -> Decoded<RaftMembership> {
    let mut decoder = Decoder::new(bytes, "membership");
    let membership = decoder.membership()?;
    decoder.end()?;
    Ok(membership)
}

pub fn encode_append<R: AsyncRuntime>(request: &AppendEntriesRequest<TypeConfig<R>>) -> Bytes {
    let payload_bytes: usize = request.entries.iter().map(entry_bytes).sum();
    let mut out = BytesMut::with_capacity(64 + payload_bytes);
    put_vote(&mut out, &request.vote);
    put_optional_log_id(&mut out, request.prev_log_id.as_ref());
    put_optional_log_id(&mut out, request.leader_commit.as_ref());
    out.put_u32(request.entries.len() as u32);
    for entry in &request.entries {
        put_log_id(&mut out, &entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => out.put_u8(0),
            EntryPayload::Normal(payload) => {
                out.put_u8(1);
                put_blob(&mut out, &payload.0);
            }
            EntryPayload::Membership(membership) => {
                out.put_u8(2);
                put_membership(&mut out, membership);
            }
        }
    }
    out.freeze()
}

fn entry_bytes(entry: &RaftEntry) -> usize {
    const HEADER_BYTES: usize = 24;
    match &entry.payload {
        EntryPayload::Normal(payload) => HEADER_BYTES + payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => HEADER_BYTES,
    }
}

pub fn decode_append<R: AsyncRuntime>(bytes: Bytes) -> Decoded<AppendEntriesRequest<TypeConfig<R>>> {
    const ENTRY_BYTES_MIN: usize = 17;
    let mut decoder = Decoder::new(bytes, "append request");
    let vote = decoder.vote()?;
    let prev_log_id = decoder.optional_log_id()?;
    let leader_commit = decoder.optional_log_id()?;
    let count = decoder.count(ENTRY_BYTES_MIN)?;
    let entries = (0..count).map(|_| decoder.entry()).collect::<Decoded<Vec<_>>>()?;
    decoder.end()?;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub fn encode_append_result<R: AsyncRuntime>(result: &StreamAppendResult<TypeConfig<R>>) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    match result {
        Ok(matched) => {
            out.put_u8(0);
            put_optional_log_id(&mut out, matched.as_ref());
        }
        Err(StreamAppendError::Conflict(log_id)) => {
            out.put_u8(1);
            put_log_id(&mut out, log_id);
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(2);
            put_vote(&mut out, vote);
        }
    }
    out.freeze()
}

pub fn decode_append_result<R: AsyncRuntime>(bytes: Bytes) -> Decoded<StreamAppendResult<TypeConfig<R>>> {
    let mut decoder = Decoder::new(bytes, "append result");
    let result = match decoder.u8()? {
        0 => Ok(decoder.optional_log_id()?),
        1 => Err(StreamAppendError::Conflict(decoder.log_id()?)),
        2 => Err(StreamAppendError::HigherVote(decoder.vote()?)),
        _ => return Err(decoder.wrong()),
    };
    decoder.end()?;
    Ok(result)
}

pub fn encode_vote_request<R: AsyncRuntime>(request: &VoteRequest<TypeConfig<R>>) -> Bytes {
    let mut out = BytesMut::with_capacity(40);
    put_vote(&mut out, &request.vote);
    put_optional_log_id(&mut out, request.last_log_id.as_ref());
    out.put_u8(request.leadership_transfer.into());
    out.freeze()
}

pub fn decode_vote_request<R: AsyncRuntime>(bytes: Bytes) -> Decoded<VoteRequest<TypeConfig<R>>> {
    let mut decoder = Decoder::new(bytes, "vote request");
    let mut request = VoteRequest::new(decoder.vote()?, decoder.optional_log_id()?);
    request.leadership_transfer = decoder.bool()?;
    decoder.end()?;
    Ok(request)
}

pub fn encode_vote_response<R: AsyncRuntime>(response: &VoteResponse<TypeConfig<R>>) -> Bytes {
    let mut out = BytesMut::with_capacity(40);
    put_vote(&mut out, &response.vote);
    put_optional_log_id(&mut out, response.last_log_id.as_ref());
    out.put_u8(response.vote_granted.into());
    out.freeze()
}

pub fn decode_vote_response<R: AsyncRuntime>(bytes: Bytes) -> Decoded<VoteResponse<TypeConfig<R>>> {
    let mut decoder = Decoder::new(bytes, "vote response");
    let (vote, last_log_id, granted) = (decoder.vote()?, decoder.optional_log_id()?, decoder.bool()?);
    decoder.end()?;
    Ok(VoteResponse::new(vote, last_log_id, granted))
}

pub fn encode_transfer<R: AsyncRuntime>(request: &TransferLeaderRequest<TypeConfig<R>>) -> Bytes {
    let mut out = BytesMut::with_capacity(48);
    put_vote(&mut out, request.from_leader());
    out.put_u64(*request.to_node_id());
    put_optional_log_id(&mut out, request.last_log_id());
    out.freeze()
}

pub fn decode_transfer<R: AsyncRuntime>(bytes: Bytes) -> Decoded<TransferLeaderRequest<TypeConfig<R>>> {
    let mut decoder = Decoder::new(bytes, "transfer request");
    let request = TransferLeaderRequest::new(decoder.vote()?, decoder.u64()?, decoder.optional_log_id()?);
    decoder.end()?;
    Ok(request)
}

pub fn encode_transfer_response<R: AsyncRuntime>(
    response: &Result<(), TransferLeaderError<TypeConfig<R>>>,
) -> Bytes {
    let mut out = BytesMut::with_capacity(40);
    match response {
        Ok(()) => out.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(1);
            put_vote(&mut out, expected);
            put_vote(&mut out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(2);
            put_optional_log_id(&mut out, expected.as_ref());
            put_optional_log_id(&mut out, actual.as_ref());
        }
    }
    out.freeze()
}

pub fn decode_transfer_response<R: AsyncRuntime>(
    bytes: Bytes,
) -> Decoded<Result<(), TransferLeaderError<TypeConfig<R>>>> {
    let mut decoder = Decoder::new(bytes, "transfer response");
    let response = match decoder.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged { expected: decoder.vote()?, actual: decoder.vote()? }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: decoder.optional_log_id()?,
            actual: decoder.optional_log_id()?,
        }),
        _ => return Err(decoder.wrong()),
    };
    decoder.end()?;
    Ok(response)
}
