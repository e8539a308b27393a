//! A segment file: a 64-byte header, then records. Its name says the number of its first record.
//!
//! A file named `log-…` was complete when it got that name: full length, header and first record synced. So whatever
//! is wrong with those three is damage, never a crash.

use std::sync::Arc;

use zke_tree::MemberId;

use super::record::{self, Frame};
use crate::codec::Fields;
use crate::disk::{DiskFile, read_exact_at};
use crate::{Disk, StorageError};

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"zke-log\n";
const VERSION: u8 = 1;
const CHECKSUM_AT: usize = 60;

/// A segment of this disk.
pub(super) struct Segment<F> {
    /// Counts the segments that this process has seen; consecutive.
    pub number: u32,
    pub first_seq: u64,
    /// Of the whole file.
    pub bytes: u64,
    pub file: Arc<F>,
    /// The highest index of an entry that was ever written to it; once that is purged, nothing in it is needed.
    pub last_index: Option<u64>,
}

pub(super) fn name(first_seq: u64) -> String {
    format!("log-{first_seq:016x}")
}

/// The number in a segment's name; `None` for other files.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?;
    let canonical = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

pub(super) fn encode_header(member: MemberId, first_seq: u64, bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8] = VERSION;
    header[16..24].copy_from_slice(&member.0.to_le_bytes());
    header[24..32].copy_from_slice(&first_seq.to_le_bytes());
    header[32..40].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32c::crc32c(&header[..CHECKSUM_AT]);
    header[CHECKSUM_AT..].copy_from_slice(&crc.to_le_bytes());
    header
}

impl<F: DiskFile> Segment<F> {
    /// Opens the segment that starts with record `first_seq` and checks its header.
    pub fn open<D: Disk<File = F>>(
        disk: &D,
        member: MemberId,
        first_seq: u64,
        number: u32,
    ) -> Result<Segment<F>, StorageError> {
        let name = name(first_seq);
        let file = disk.open(&name).map_err(|e| StorageError::io("open", &name, e))?;
        let len = file.len().map_err(|e| StorageError::io("read the length of", &name, e))?;
        let mut header = [0; HEADER_BYTES];
        if len < HEADER_BYTES as u64 {
            return Err(StorageError::corrupt(&name, len, "the file ends inside of its header"));
        }
        read_exact_at(&file, 0, &mut header).map_err(|e| StorageError::io("read", &name, e))?;
        let bytes = check_header(&name, &header, member, first_seq)?;
        if len < bytes {
            return Err(StorageError::corrupt(&name, len, format!("the file was cut, it had {bytes} bytes")));
        }
        Ok(Segment { number, first_seq, bytes, file: Arc::new(file), last_index: None })
    }
}

/// Returns the length that the segment must have.
fn check_header(
    name: &str,
    header: &[u8; 64],
    member: MemberId,
    first_seq: u64,
) -> Result<u64, StorageError> {
    let malformed = |what: &str| StorageError::corrupt(name, 0, what);
    let mut fields = Fields(header);
    let mut parse =
        || Some((fields.array::<8>()?, fields.array::<8>()?, fields.u64()?, fields.u64()?, fields.u64()?));
    let (magic, version, owner, first, bytes) =
        parse().ok_or_else(|| malformed("the header is too short"))?;
    if magic != MAGIC {
        return Err(malformed("this is no segment of a log"));
    }
    // Before the checksum: a newer version may have another header.
    if version[0] > VERSION {
        return Err(StorageError::Version { file: name.to_owned(), found: version[0], supported: VERSION });
    }
    if header[CHECKSUM_AT..] != crc32c::crc32c(&header[..CHECKSUM_AT]).to_le_bytes() {
        return Err(malformed("the checksum of the header is wrong"));
    }
    if owner != member.0 {
        let (expected, found) = (member, MemberId(owner));
        return Err(StorageError::Foreign { file: name.to_owned(), expected, found });
    }
    if first != first_seq {
        return Err(malformed("the header names another first record than the file name"));
    }
    if !(HEADER_BYTES as u64..=u64::from(u32::MAX)).contains(&bytes) {
        return Err(malformed("no segment has the length that the header names"));
    }
    Ok(bytes)
}

/// A view of a segment that moves forward, so that reading back a log needs little memory.
pub(super) struct Window<'a, F> {
    file: &'a F,
    name: String,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// Large enough that the calls do not count, small enough to stay in cache.
const WINDOW_BYTES: u64 = 1 << 20;

impl<'a, F: DiskFile> Window<'a, F> {
    pub fn new(segment: &'a Segment<F>) -> Self {
        let (file, name) = (&*segment.file, name(segment.first_seq));
        Window { file, name, end: segment.bytes, start: 0, bytes: Vec::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `len` bytes at `offset`; `None` when the segment ends before.
    pub fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, StorageError> {
        let wanted_end = offset + len as u64;
        if wanted_end > self.end {
            return Ok(None);
        }
        if offset < self.start || wanted_end > self.start + self.bytes.len() as u64 {
            let fill = (self.end - offset).min(WINDOW_BYTES.max(len as u64));
            self.bytes.resize(fill as usize, 0);
            self.start = offset;
            read_exact_at(self.file, offset, &mut self.bytes)
                .map_err(|e| StorageError::io("read", &self.name, e))?;
        }
        let at = (offset - self.start) as usize;
        Ok(Some(&self.bytes[at..at + len]))
    }

    /// The record at `offset`, or `None` when there is no valid one.
    pub fn frame(&mut self, offset: u64, salt: u32) -> Result<Option<Frame<'_>>, StorageError> {
        let Some(header) = self.get(offset, record::HEADER_BYTES)? else { return Ok(None) };
        let Some(bytes) = record::claimed_bytes(header) else { return Ok(None) };
        Ok(self.get(offset, bytes)?.and_then(|record| Frame::parse(record, salt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_numbers_and_read_back() {
        assert_eq!(name(0xab), "log-00000000000000ab");
        assert_eq!(parse_name(&name(u64::MAX)), Some(u64::MAX));
        for other in ["log.spare", "log-ab", "log-00000000000000AB", "log-00000000000000ab.tmp", "identity"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_of_another_member_or_version_or_with_a_flip_is_told_apart() {
        let good = encode_header(MemberId(7), 3, 4096);
        assert_eq!(check_header("f", &good, MemberId(7), 3).unwrap(), 4096);
        assert!(matches!(
            check_header("f", &good, MemberId(8), 3),
            Err(StorageError::Foreign { found: MemberId(7), .. })
        ));
        assert!(matches!(check_header("f", &good, MemberId(7), 4), Err(StorageError::Corrupt { .. })));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check_header("f", &bad, MemberId(7), 3).is_err(), "bit {bit}");
        }
    }
}
