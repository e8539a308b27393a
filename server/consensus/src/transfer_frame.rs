//! What the two ends of a transfer of a snapshot say to each other, beside its bytes; see [`crate::transfer`].

use bytes::{BufMut, Bytes, BytesMut};
use zke_storage::SnapshotFingerprint;

use crate::codec::{Decoded, Decoder, put_optional_log_id, put_stored_membership, put_vote};
use crate::types::{RaftSnapshotMeta, RaftVote};

/// The first frame of the member that sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub vote: RaftVote,
    pub meta: RaftSnapshotMeta,
    /// Of the whole file.
    pub file_bytes: u64,
    /// Tells the file from others with the same last entry; see [`SnapshotFingerprint`].
    pub crc: u32,
}

/// What the member that receives answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Something moved: a piece is written, or what is written is being read.
    Working,
    /// The bytes are wanted from here on.
    From { offset: u64 },
    /// The snapshot is installed, or the vote is a later one than the sender's and says why not.
    Done { vote: RaftVote },
}

impl Header {
    pub fn of(vote: RaftVote, meta: RaftSnapshotMeta, file: SnapshotFingerprint) -> Header {
        Header { vote, meta, file_bytes: file.file_bytes, crc: file.crc }
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_vote(&mut out, &self.vote);
        put_optional_log_id(&mut out, self.meta.last_log_id.as_ref());
        put_stored_membership(&mut out, &self.meta.last_membership);
        out.put_u64(self.file_bytes);
        out.put_u32(self.crc);
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Decoded<Header> {
        let mut decoder = Decoder::new(bytes, "snapshot header");
        let vote = decoder.vote()?;
        let meta = RaftSnapshotMeta {
            last_log_id: decoder.optional_log_id()?,
            last_membership: decoder.stored_membership()?,
        };
        let header = Header { vote, meta, file_bytes: decoder.u64()?, crc: decoder.u32()? };
        decoder.end()?;
        Ok(header)
    }
}

impl Answer {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Answer::Working => out.put_u8(0),
            Answer::From { offset } => {
                out.put_u8(1);
                out.put_u64(*offset);
            }
            Answer::Done { vote } => {
                out.put_u8(2);
                put_vote(&mut out, vote);
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Decoded<Answer> {
        let mut decoder = Decoder::new(bytes, "snapshot answer");
        let answer = match decoder.u8()? {
            0 => Answer::Working,
            1 => Answer::From { offset: decoder.u64()? },
            2 => Answer::Done { vote: decoder.vote()? },
            _ => return Err(decoder.wrong()),
        };
        decoder.end()?;
        Ok(answer)
    }
}
