//! What a member and its leader say to each other on a link.
//!
//! Not part of Raft: proposals on their way to the log, questions for a read barrier, and the serving lease.

use bytes::{BufMut, Bytes, BytesMut};
use zke_tree::LogIndex;
use zke_wire::SessionId;

use crate::agreement::Seen;
use crate::codec::{DecodeError, Decoder, put_blob};

/// Member to leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// A batch for the log. The origin is the sender of the hello.
    Propose { first_sequence: u64, last_sequence: u64, encoded: Bytes },
    /// "At which index is everything that was acknowledged before now?"
    Barrier { id: u64 },
    /// Asks for a serving lease; `sent_ms` is the sender's own clock and comes back as it is.
    Lease { sent_ms: u64, touched: Vec<SessionId> },
    /// Whether the sender has little room on its volumes. Not said of one that has always had enough.
    Space { low: bool },
    /// What the sender's state is.
    State(Seen),
}

/// Leader to member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLeader {
    /// The next sequence of yours that the leader will append.
    Resume {
        next_sequence: u64,
    },
    /// Everything acknowledged before the question is at or below `index`.
    BarrierAt {
        id: u64,
        index: u64,
    },
    LeaseGranted {
        sent_ms: u64,
    },
    /// A majority has another state behind this entry than you.
    Diverged {
        index: LogIndex,
    },
}

impl ToLeader {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            ToLeader::Propose { first_sequence, last_sequence, encoded } => {
                out.reserve(encoded.len() + 24);
                out.put_u8(0);
                out.put_u64(*first_sequence);
                out.put_u64(*last_sequence);
                put_blob(&mut out, encoded);
            }
            ToLeader::Barrier { id } => {
                out.put_u8(1);
                out.put_u64(*id);
            }
            ToLeader::Lease { sent_ms, touched } => {
                out.put_u8(2);
                out.put_u64(*sent_ms);
                out.put_u32(touched.len() as u32);
                touched.iter().for_each(|session| out.put_i64(session.0));
            }
            ToLeader::Space { low } => {
                out.put_u8(3);
                out.put_u8((*low).into());
            }
            ToLeader::State(Seen { index, apply_level, digest }) => {
                out.put_u8(4);
                out.put_u64(index.0);
                out.put_u32(*apply_level);
                out.put_u64(*digest);
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<ToLeader, DecodeError> {
        const WHAT: &str = "a frame to the leader";
        let mut decoder = Decoder::new(bytes, WHAT);
        let frame = match decoder.u8()? {
            0 => {
                let (first_sequence, last_sequence) = (decoder.u64()?, decoder.u64()?);
                if first_sequence == 0 || first_sequence > last_sequence {
                    return Err(DecodeError { what: WHAT });
                }
                ToLeader::Propose { first_sequence, last_sequence, encoded: decoder.blob()? }
            }
            1 => ToLeader::Barrier { id: decoder.u64()? },
            2 => {
                let sent_ms = decoder.u64()?;
                let count = decoder.count(8)?;
                let touched = (0..count).map(|_| decoder.i64().map(SessionId)).collect::<Result<_, _>>()?;
                ToLeader::Lease { sent_ms, touched }
            }
            3 => ToLeader::Space { low: decoder.bool()? },
            4 => ToLeader::State(Seen {
                index: LogIndex(decoder.u64()?),
                apply_level: decoder.u32()?,
                digest: decoder.u64()?,
            }),
            _ => return Err(DecodeError { what: WHAT }),
        };
        decoder.end()?;
        Ok(frame)
    }
}

impl FromLeader {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(17);
        match self {
            FromLeader::Resume { next_sequence } => {
                out.put_u8(0);
                out.put_u64(*next_sequence);
            }
            FromLeader::BarrierAt { id, index } => {
                out.put_u8(1);
                out.put_u64(*id);
                out.put_u64(*index);
            }
            FromLeader::LeaseGranted { sent_ms } => {
                out.put_u8(2);
                out.put_u64(*sent_ms);
            }
            FromLeader::Diverged { index } => {
                out.put_u8(3);
                out.put_u64(index.0);
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<FromLeader, DecodeError> {
        const WHAT: &str = "a frame from the leader";
        let mut decoder = Decoder::new(bytes, WHAT);
        let frame = match decoder.u8()? {
            0 => FromLeader::Resume { next_sequence: decoder.u64()? },
            1 => FromLeader::BarrierAt { id: decoder.u64()?, index: decoder.u64()? },
            2 => FromLeader::LeaseGranted { sent_ms: decoder.u64()? },
            3 => FromLeader::Diverged { index: LogIndex(decoder.u64()?) },
            _ => return Err(DecodeError { what: WHAT }),
        };
        decoder.end()?;
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_their_encoding() {
        let to_leader = [
            ToLeader::Propose { first_sequence: 3, last_sequence: 9, encoded: Bytes::from_static(b"batch") },
            ToLeader::Barrier { id: 5 },
            ToLeader::Lease { sent_ms: 77, touched: vec![SessionId(-4), SessionId(9)] },
            ToLeader::Space { low: true },
            ToLeader::State(Seen { index: LogIndex(512), apply_level: 2, digest: u64::MAX }),
        ];
        for frame in to_leader {
            assert_eq!(ToLeader::decode(frame.encode()).expect("own encoding"), frame);
        }
        let from_leader = [
            FromLeader::Resume { next_sequence: 1 },
            FromLeader::BarrierAt { id: 1, index: 2 },
            FromLeader::LeaseGranted { sent_ms: 3 },
            FromLeader::Diverged { index: LogIndex(512) },
        ];
        for frame in from_leader {
            assert_eq!(FromLeader::decode(frame.encode()).expect("own encoding"), frame);
        }
    }

    #[test]
    fn a_count_larger_than_the_frame_is_refused() {
        let mut lease = ToLeader::Lease { sent_ms: 1, touched: vec![SessionId(1)] }.encode().to_vec();
        lease[9..13].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(ToLeader::decode(Bytes::from(lease)).is_err());
    }
}
