//! Files that nobody honest wrote.
//!
//! Built for tests and for `fuzz/` alone, so that what runs for seconds in every test run is what a fuzzer runs for
//! hours. A checksum keeps random bytes out of everything behind it; so here checksums are made right, and what they
//! cover is the input's.

use std::io::{Read as _, Write as _};

use crate::archive::{self, ArchiveReader};
use crate::blocks::{BlockWriter, TRAILER_BYTES};
use crate::codec::{Fields, take_log_id};
use crate::snapshot::{SnapshotFingerprint, SnapshotMeta, SnapshotStore, VerifiedSnapshot};
use crate::{LogId, SimDisk, snapshot};

pub use crate::log::hostile::records;

/// The bytes as an archive, and as the header and the content of one whose checksums are right.
///
/// # Panics
/// If a good archive does not give back what went in.
pub fn archive(bytes: &[u8]) {
    if let Ok(mut archive) = ArchiveReader::open(bytes, "fuzzed") {
        // Damage is an error like others.
        let _ = archive.read_to_end(&mut Vec::new());
    }
    let (header, content) = parts(bytes);
    let mut file = archive::FORMAT.header(header);
    append_blocks(&mut file, content);
    if let Ok(mut archive) = ArchiveReader::open(file.as_slice(), "fuzzed") {
        let mut read = Vec::new();
        archive.read_to_end(&mut read).expect("its checksums are right");
        assert_eq!(read, content);
    }
}

/// The bytes as header and content of a snapshot that a peer sends, its checksums right.
///
/// # Panics
/// If a snapshot that is taken for good does not give back what was sent.
pub fn snapshot(bytes: &[u8]) {
    const NO_FAULTS: &str = "a simulated disk without faults";
    let (header, content) = parts(bytes);
    let mut file = snapshot::FORMAT.header(header);
    append_blocks(&mut file, content);
    let store = SnapshotStore::open(SimDisk::new(1), 3).expect(NO_FAULTS);
    let of = announced(header, &file);
    let mut receiver = store.receive(of).expect(NO_FAULTS);
    receiver.write(&file).expect("it is as long as was announced");
    let Ok(received) = receiver.verify() else { return };
    let meta = received.publish().expect(NO_FAULTS);
    let mut newest = store.read(meta.last).expect("it was taken for good");
    assert_eq!(newest.meta(), &meta);
    let mut read = Vec::new();
    newest.read_to_end(&mut read).expect("its checksums are right");
    assert_eq!(read, content);
}

/// A part of a file of which anything was received, and then its rest: the first two bytes say where the rest begins to be
/// what the file has there.
///
/// # Panics
/// If what is mixed of both is taken for good, or is in the way of the file itself.
pub fn partial(bytes: &[u8]) {
    const NO_FAULTS: &str = "a simulated disk without faults";
    const LAST: LogId = LogId { term: 0, index: 1 };
    let from = SnapshotStore::open(SimDisk::new(1), 1).expect(NO_FAULTS);
    let meta = SnapshotMeta { last: LAST, membership_id: None, membership: bytes::Bytes::new() };
    let mut writer = from.create(&meta).expect(NO_FAULTS);
    writer.write_all(bytes).expect(NO_FAULTS);
    writer.finish().expect(NO_FAULTS);
    let source = from.source(LAST).expect("it was finished");
    let (of, file) = (source.fingerprint().expect(NO_FAULTS), source.chunk(0, usize::MAX).expect(NO_FAULTS));

    let to = SnapshotStore::open(SimDisk::new(1), 1).expect(NO_FAULTS);
    let good = bytes.iter().take(2).fold(0, |good, byte| good * 256 + usize::from(*byte)) % file.len();
    let mut receiver = to.receive(of).expect(NO_FAULTS);
    receiver.write(&file[..good]).expect("that many were announced");
    // Some of these are more than were announced.
    let _ = receiver.write(bytes);
    let _ = receiver.verify().map(VerifiedSnapshot::publish);
    // What is good of it stays; if that is not all that is there, the second time begins anew.
    for _ in 0..2 {
        let mut receiver = to.receive(of).expect(NO_FAULTS);
        let offset = usize::try_from(receiver.offset()).expect("no more than was announced");
        receiver.write(&file[offset..]).expect("that many were announced");
        if receiver.verify().and_then(VerifiedSnapshot::publish).is_ok() {
            break;
        }
    }
    let mut read = Vec::new();
    to.read(LAST).expect("the whole was sent").read_to_end(&mut read).expect("its checksums are right");
    assert_eq!(read, bytes);
}

/// What a peer would say of such a file.
fn announced(header: &[u8], file: &[u8]) -> SnapshotFingerprint {
    let mut fields = Fields(header);
    let last = take_log_id(&mut fields).unwrap_or(LogId { term: 0, index: 0 });
    let trailer = &file[file.len() - TRAILER_BYTES..];
    let crc = trailer[4..].first_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
    SnapshotFingerprint { last, file_bytes: file.len() as u64, crc }
}

/// What the first byte says is the header, at most 255 bytes of it, and the rest.
fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = bytes.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(*len).min(rest.len()))
}

fn append_blocks(file: &mut Vec<u8>, mut content: &[u8]) {
    let mut blocks = BlockWriter::after(file);
    while !content.is_empty() {
        let taken = blocks.write(content, |block| file.write_all(block)).expect("memory is written");
        content = &content[taken..];
    }
    blocks.finish(|block| file.write_all(block)).expect("memory is written");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..400)) {
            archive(&bytes);
            snapshot(&bytes);
            partial(&bytes);
            records(&bytes);
        }

        /// Ids that are often small, so that headers are often believable.
        #[test]
        fn believable_headers(numbers in vec(0..4u64, 0..8), flag in 0..2u8, content in vec(any::<u8>(), 0..50)) {
            let mut header: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            header.push(flag);
            let bytes = [&[header.len() as u8][..], &header, &content].concat();
            archive(&bytes);
            snapshot(&bytes);
        }

        /// Kinds and payloads of records, most of which could be one.
        #[test]
        fn believable_records(
            records_of in vec((1..10u8, 0..4u8, vec(0..3u8, 0..3), vec(0..4u64, 0..4)), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (kind, place, flags, numbers) in records_of {
                let mut payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                payload.extend_from_slice(&flags);
                bytes.extend_from_slice(&[kind, place, payload.len() as u8]);
                bytes.extend_from_slice(&payload);
            }
            records(&bytes);
        }
    }
}
