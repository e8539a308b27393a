//! One record of the log on disk: a 24-byte header, a payload, zeros up to the next multiple of 8.
//!
//! ```text
//!  0 len    u32   bytes of payload
//!  4 crc32c u32   over the member id, the header without this field, and the payload
//!  8 seq    u64   number of the record on this disk, from 1, without gaps
//! 16 place  u32   how many records before this one belong to the same flush
//! 20 kind   u8    21..24 zero
//! ```
//!
//! `seq` keeps bytes of a recycled segment from being taken for records. `seq - place` is the first record that was
//! not yet durable when this one was written, so a record proves that everything below that number once was.

use bytes::Bytes;
use zke_tree::MemberId;

use super::entry::{Entry, LogId, Payload, Vote};
use crate::codec::{Fields, put_log_id, put_option, take_log_id};

pub(super) const HEADER_BYTES: usize = 24;

/// Records start at multiples of it, so that a search through damaged bytes has few places to look at.
pub(super) const ALIGN: usize = 8;

/// No entry is larger: well above any `jute.maxbuffer` that is in use, well below what fits the length field.
pub(super) const MAX_PAYLOAD_BYTES: usize = 1 << 28;

const MARK: u8 = 1;
const HEAD: u8 = 2;
const VOTE: u8 = 3;
const BLANK: u8 = 4;
const MEMBERSHIP: u8 = 5;
const PROPOSAL: u8 = 6;
const TRUNCATE: u8 = 7;
const PURGE: u8 = 8;
const CLOSED: u8 = 9;

/// What can be written to the log.
#[derive(Debug, Clone)]
pub(super) enum Record {
    /// Written, not synced, right after a flush: by being there it proves that the flush was complete.
    Mark,
    /// Opens every segment, so that older ones can go.
    Head(Head),
    Vote(Vote),
    Entry(Entry),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    /// The last record of a full segment. Its number is that of the next segment's first record.
    Closed,
}

/// The state of the log that does not fit in its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    /// The last entry, or what was purged or truncated to.
    pub last: Option<LogId>,
}

impl Head {
    /// The state after `record`.
    pub fn follow(&mut self, record: &Record) {
        match record {
            Record::Mark | Record::Head(_) | Record::Closed => {}
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Entry(entry) => self.last = Some(entry.id),
            Record::TruncateAfter(after) => self.last = *after,
            Record::Purge(upto) => self.purge(*upto),
        }
    }

    pub fn purge(&mut self, upto: LogId) {
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// The index that the next appended entry must have.
    pub fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index.saturating_add(1))
    }

    /// The lowest index that is not purged.
    pub fn first_index(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index.saturating_add(1))
    }
}

impl Record {
    /// Bytes on disk, header and padding included.
    pub fn encoded_bytes(&self) -> usize {
        let payload = match self {
            Record::Mark | Record::Closed => 0,
            // Small and of few; a length of its own would be one more thing to keep in step.
            Record::Head(_) | Record::Vote(_) | Record::TruncateAfter(_) | Record::Purge(_) => {
                let mut payload = Vec::new();
                self.put_payload(&mut payload);
                payload.len()
            }
            Record::Entry(entry) => 16 + entry.payload.bytes().len(),
        };
        (HEADER_BYTES + payload).next_multiple_of(ALIGN)
    }

    /// Appends the record to `out`. `salt` is [`salt`] of the disk's member id.
    pub fn encode(&self, out: &mut Vec<u8>, salt: u32, seq: u64, place: u32) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.put_payload(out);
        let len = (out.len() - start - HEADER_BYTES) as u32;
        let header = &mut out[start..start + HEADER_BYTES];
        header[0..4].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&seq.to_le_bytes());
        header[16..20].copy_from_slice(&place.to_le_bytes());
        header[20] = self.kind();
        let crc = checksum(salt, &out[start..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        let padded = (out.len() - start).next_multiple_of(ALIGN);
        out.resize(start + padded, 0);
    }

    fn kind(&self) -> u8 {
        match self {
            Record::Mark => MARK,
            Record::Head(_) => HEAD,
            Record::Vote(_) => VOTE,
            Record::Entry(Entry { payload: Payload::Blank, .. }) => BLANK,
            Record::Entry(Entry { payload: Payload::Membership(_), .. }) => MEMBERSHIP,
            Record::Entry(Entry { payload: Payload::Proposal(_), .. }) => PROPOSAL,
            Record::TruncateAfter(_) => TRUNCATE,
            Record::Purge(_) => PURGE,
            Record::Closed => CLOSED,
        }
    }

    fn put_payload(&self, out: &mut Vec<u8>) {
        match self {
            Record::Mark | Record::Closed => {}
            Record::Head(head) => {
                put_option(out, head.vote, put_vote);
                put_option(out, head.purged, put_log_id);
                put_option(out, head.last, put_log_id);
            }
            Record::Vote(vote) => put_vote(out, *vote),
            Record::Entry(entry) => {
                put_log_id(out, entry.id);
                out.extend_from_slice(entry.payload.bytes());
            }
            Record::TruncateAfter(after) => put_option(out, *after, put_log_id),
            Record::Purge(upto) => put_log_id(out, *upto),
        }
    }
}

/// The length that a header claims, padding included; `None` when no record can have this header.
pub(super) fn claimed_bytes(header: &[u8]) -> Option<usize> {
    let mut fields = Fields(header);
    let len = fields.u32()? as usize;
    (len <= MAX_PAYLOAD_BYTES + 16).then(|| (HEADER_BYTES + len).next_multiple_of(ALIGN))
}

/// A record whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub seq: u64,
    pub place: u32,
    kind: u8,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the record at the start of `bytes`. `None` when what stands there is none.
    pub fn parse(bytes: &'a [u8], salt: u32) -> Option<Frame<'a>> {
        let mut fields = Fields(bytes);
        let len = fields.u32()? as usize;
        let crc = fields.u32()?;
        let (seq, place, kind) = (fields.u64()?, fields.u32()?, fields.u8()?);
        let reserved = fields.array::<3>()?;
        let payload = fields.bytes(len)?;
        // Kind 0 would make a run of zeros worth a checksum.
        if kind == 0 || reserved != [0; 3] || checksum(salt, &bytes[..HEADER_BYTES + len]) != crc {
            return None;
        }
        Some(Frame { seq, place, kind, payload })
    }

    pub fn encoded_bytes(&self) -> usize {
        (HEADER_BYTES + self.payload.len()).next_multiple_of(ALIGN)
    }

    /// Everything below this number was durable when this record was written.
    pub fn proves_durable_below(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.place))
    }

    /// `None` when the checksum is right but the content is not ours: a newer build's, or a bug.
    pub fn record(&self) -> Option<Record> {
        let mut fields = Fields(self.payload);
        let record = match self.kind {
            MARK => Record::Mark,
            CLOSED => Record::Closed,
            HEAD => Record::Head(Head {
                vote: fields.option(take_vote)?,
                purged: fields.option(take_log_id)?,
                last: fields.option(take_log_id)?,
            }),
            VOTE => Record::Vote(take_vote(&mut fields)?),
            BLANK => Record::Entry(Entry { id: take_log_id(&mut fields)?, payload: Payload::Blank }),
            TRUNCATE => Record::TruncateAfter(fields.option(take_log_id)?),
            PURGE => Record::Purge(take_log_id(&mut fields)?),
            // Recovery needs only where entries stand; copying what they carry would double its work.
            MEMBERSHIP | PROPOSAL => {
                let id = take_log_id(&mut fields)?;
                fields.0 = &[];
                Record::Entry(Entry { id, payload: Payload::Blank })
            }
            _ => return None,
        };
        fields.end()?;
        Some(record)
    }
}

/// Reads back an entry, its payload sharing `bytes`. `None` when they hold no entry.
pub(super) fn read_entry(bytes: &Bytes, salt: u32) -> Option<Entry> {
    let frame = Frame::parse(bytes, salt)?;
    let mut fields = Fields(frame.payload);
    let id = take_log_id(&mut fields)?;
    let payload = match frame.kind {
        BLANK => Payload::Blank,
        MEMBERSHIP => Payload::Membership(bytes.slice_ref(fields.0)),
        PROPOSAL => Payload::Proposal(bytes.slice_ref(fields.0)),
        _ => return None,
    };
    Some(Entry { id, payload })
}

/// Where the checksum of every record of a member's disk starts, so that a record of another disk is never valid.
pub(super) fn salt(member: MemberId) -> u32 {
    crc32c::crc32c(&member.0.to_le_bytes())
}

/// `record` begins with the header; its checksum field is left out.
pub(super) fn checksum(salt: u32, record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &record[..4]), &record[8..])
}

fn put_vote(out: &mut Vec<u8>, vote: Vote) {
    out.extend_from_slice(&vote.term.to_le_bytes());
    put_option(out, vote.member, |out, member| out.extend_from_slice(&member.to_le_bytes()));
    out.push(u8::from(vote.committed));
}

fn take_vote(fields: &mut Fields<'_>) -> Option<Vote> {
    let term = fields.u64()?;
    let member = fields.option(Fields::u64)?;
    let committed = match fields.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Vote { term, member, committed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let id = LogId { term: 3, index: 9 };
        let vote = Vote { term: 4, member: Some(7), committed: true };
        let entry = |payload| Record::Entry(Entry { id, payload });
        vec![
            Record::Mark,
            Record::Closed,
            Record::Head(Head { vote: Some(vote), purged: None, last: Some(id) }),
            Record::Vote(vote),
            Record::Vote(Vote { term: 0, member: None, committed: false }),
            entry(Payload::Blank),
            entry(Payload::Membership(Bytes::from_static(b"abc"))),
            entry(Payload::Proposal(Bytes::from_static(b""))),
            Record::TruncateAfter(None),
            Record::TruncateAfter(Some(id)),
            Record::Purge(id),
        ]
    }

    #[test]
    fn records_read_back_as_written() {
        for record in samples() {
            let mut out = Vec::new();
            record.encode(&mut out, salt(MemberId(1)), 42, 5);
            assert_eq!(out.len(), record.encoded_bytes());
            assert_eq!(claimed_bytes(&out), Some(out.len()));
            let frame = Frame::parse(&out, salt(MemberId(1))).unwrap();
            assert_eq!((frame.seq, frame.proves_durable_below(), frame.encoded_bytes()), (42, 37, out.len()));
            assert!(
                Frame::parse(&out, salt(MemberId(2))).is_none(),
                "a record of another member's disk was accepted"
            );
            match &record {
                Record::Entry(entry) => {
                    assert_eq!(read_entry(&out.into(), salt(MemberId(1))).as_ref(), Some(entry))
                }
                other => assert_eq!(format!("{:?}", frame.record().unwrap()), format!("{other:?}")),
            }
        }
    }

    #[test]
    fn any_flipped_bit_and_any_missing_byte_is_noticed() {
        for record in samples() {
            let mut out = Vec::new();
            record.encode(&mut out, salt(MemberId(1)), 42, 5);
            let meaningful = HEADER_BYTES + u32::from_le_bytes(out[..4].try_into().unwrap()) as usize;
            for bit in 0..meaningful * 8 {
                out[bit / 8] ^= 1 << (bit % 8);
                assert!(Frame::parse(&out, salt(MemberId(1))).is_none(), "bit {bit} of {record:?}");
                out[bit / 8] ^= 1 << (bit % 8);
            }
            for len in 0..meaningful {
                assert!(Frame::parse(&out[..len], salt(MemberId(1))).is_none());
            }
        }
        assert!(Frame::parse(&[0; 64], 0).is_none());
    }
}
