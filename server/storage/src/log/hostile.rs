//! A log whose checksums and numbers are right and whose records are anything.

use crate::disk::{Disk as _, DiskFile as _};
use crate::log::{Log, LogOptions, record, segment};
use crate::{SimDisk, StorageError};
use zke_tree::MemberId;

const MEMBER: MemberId = MemberId(7);
const SEGMENT_BYTES: usize = 1 << 14;

/// The bytes are records of one segment: kind, place in its flush, length and payload. Such a log must be refused, or
/// be the same when it is opened again.
///
/// # Panics
/// If it is not.
pub fn records(bytes: &[u8]) {
    let disk = disk(bytes);
    let Ok(first) = open(&disk) else { return };
    let second = open(&disk.kill()).expect("a log that was opened before");
    assert_eq!(second, first);
}

fn disk(bytes: &[u8]) -> SimDisk {
    const NO_FAULTS: &str = "a simulated disk without faults";
    let disk = SimDisk::new(1);
    let file = disk.create(&segment::name(1)).expect(NO_FAULTS);
    file.write_at(0, &segment(bytes)).expect(NO_FAULTS);
    disk
}

/// All that a log tells: how it was found, and every entry that it holds.
fn open(disk: &SimDisk) -> Result<String, StorageError> {
    let options =
        LogOptions { segment_bytes: SEGMENT_BYTES as u64, must_exist: true, ..LogOptions::new(MEMBER) };
    let (log, recovered) = Log::open(disk.clone(), options)?;
    let reader = log.reader();
    let first = recovered.purged.map_or(0, |purged| purged.index.saturating_add(1));
    let entries = match recovered.last.filter(|last| last.index >= first) {
        Some(last) => {
            reader.entries(first..last.index.saturating_add(1), usize::MAX).map_err(|error| error.to_string())
        }
        None => Ok(Vec::new()),
    };
    Ok(format!("{:?} {:?} {:?} {entries:?}", recovered.vote, recovered.purged, recovered.last))
}

fn segment(mut bytes: &[u8]) -> Vec<u8> {
    let salt = record::salt(MEMBER);
    let mut file = segment::encode_header(MEMBER, 1, SEGMENT_BYTES as u64).to_vec();
    let mut seq = 1u64;
    while let Some(([kind, place, len], rest)) = bytes.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        let padded = (record::HEADER_BYTES + payload.len()).next_multiple_of(record::ALIGN);
        if file.len() + padded > SEGMENT_BYTES {
            break;
        }
        let start = file.len();
        file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&seq.to_le_bytes());
        file.extend_from_slice(&u32::from(*place).to_le_bytes());
        file.extend_from_slice(&[*kind, 0, 0, 0]);
        file.extend_from_slice(payload);
        let crc = record::checksum(salt, &file[start..]);
        file[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        file.resize(start + padded, 0);
        (seq, bytes) = (seq + 1, rest);
    }
    file.resize(SEGMENT_BYTES, 0);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_records_are_a_log() {
        const HEAD: [u8; 6] = [2, 0, 3, 0, 0, 0];
        const VOTE: [u8; 13] = [3, 0, 10, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let log = open(&disk(&[&HEAD[..], &VOTE].concat())).expect("a log");
        assert!(log.starts_with("Some(Vote { term: 5, member: None, committed: true })"), "{log}");
        open(&disk(&VOTE)).expect_err("it begins without a head");
    }
}
