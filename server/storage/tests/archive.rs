//! Archives: whole, or refused with a reason that says what is wrong with them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::io::{Read, Write};

use zke_storage::{ArchiveError, ArchiveHeader, ArchiveReader, ArchiveWriter, LogId};
use zke_tree::{EnsembleId, MemberId};
use zke_wire::Zxid;

const VERSION_AT: usize = 8;

fn header() -> ArchiveHeader {
    ArchiveHeader {
        ensemble: EnsembleId([0xe5; 16]),
        member: MemberId(0xabcd),
        last: LogId { term: 12, index: 918_200 },
        zxid: Zxid::new(12, 0xe02b8),
        created_ms: 1_764_137_435_000,
        server_version: "0.1.0".to_owned(),
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn archive(content: &[u8]) -> Vec<u8> {
    let mut writer = ArchiveWriter::create(Vec::new(), &header()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// Everything that was handed out before the end or the first error.
fn read(bytes: &[u8]) -> (Vec<u8>, Result<(), ArchiveError>) {
    let mut content = Vec::new();
    let mut reader = match ArchiveReader::open(bytes, "a.zks") {
        Ok(reader) => reader,
        Err(error) => return (content, Err(error)),
    };
    assert_eq!(reader.header(), &header());
    let read = reader.read_to_end(&mut content);
    (content, read.map(drop).map_err(|error| error.downcast().unwrap()))
}

#[test]
fn content_reads_back_at_every_size_around_a_block() {
    for len in [0, 1, 262_143, 262_144, 262_145, 1_000_000] {
        let bytes = archive(&content(len));
        let (found, end) = read(&bytes);
        end.unwrap();
        assert_eq!(found, content(len), "{len} bytes");
        assert_eq!(ArchiveReader::open(&bytes[..], "a.zks").unwrap().verify().unwrap(), header());
    }
}

/// Some bytes long, so that a reader that asks for whole blocks is not what makes it work.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf.len().min(13);
        self.0.read(&mut buf[..len])
    }
}

#[test]
fn a_stream_that_comes_in_small_pieces_is_the_same() {
    let bytes = archive(&content(300_000));
    let mut found = Vec::new();
    ArchiveReader::open(Slow(&bytes), "a.zks").unwrap().read_to_end(&mut found).unwrap();
    assert_eq!(found, content(300_000));
}

#[test]
fn every_flipped_bit_is_noticed_before_a_wrong_byte_is_handed_out() {
    let good = content(700);
    let bytes = archive(&good);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (handed_out, end) = read(&damaged);
        assert!(good.starts_with(&handed_out), "bit {bit}");
        match end.unwrap_err() {
            ArchiveError::Damaged { file, offset, .. } => {
                assert_eq!(file, "a.zks");
                assert!(offset <= bit as u64 / 8, "bit {bit}: {offset}");
            }
            ArchiveError::NotAnArchive { .. } => assert!(bit / 8 < VERSION_AT),
            ArchiveError::Newer { .. } => assert_eq!(bit / 8, VERSION_AT),
            // A length that lies may lead beyond the end.
            ArchiveError::Cut { .. } => {}
            other => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn every_cut_is_called_one() {
    let good = content(300_000);
    let bytes = archive(&good);
    // Each in the header, in the first block's beginning, at its end, and in the trailer.
    let block_end = bytes.len() - 16 - (300_000 - 262_144) - 8;
    for cut in (0..300).chain(block_end - 20..block_end + 20).chain(bytes.len() - 40..bytes.len()) {
        let (handed_out, end) = read(&bytes[..cut]);
        assert!(good.starts_with(&handed_out), "cut to {cut}");
        let error = end.unwrap_err();
        assert!(matches!(error, ArchiveError::Cut { .. }), "cut to {cut}: {error}");
    }
}

#[test]
fn appended_bytes_and_a_newer_format_have_errors_of_their_own() {
    let bytes = archive(&content(700));
    for tail in [&b"\0"[..], b"x", &bytes] {
        let (_, end) = read(&[&bytes[..], tail].concat());
        let error = end.unwrap_err();
        assert!(
            matches!(error, ArchiveError::Appended { offset, .. } if offset == bytes.len() as u64),
            "{error}"
        );
    }
    let mut newer = bytes.clone();
    newer[VERSION_AT] = 2;
    let error = read(&newer).1.unwrap_err();
    assert_eq!(error.to_string(), "a.zks has archive format 2, this build reads up to 1; use a newer build");
    let error = read(b"PK\x03\x04 and so on, long enough").1.unwrap_err();
    assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
}

#[test]
fn blocks_in_another_order_or_dropped_are_noticed() {
    const BLOCK: usize = 8 + 262_144;
    let bytes = archive(&content(3 * 262_144));
    let header_bytes = bytes.len() - 16 - 3 * BLOCK;
    let block = |n: usize| &bytes[header_bytes + n * BLOCK..header_bytes + (n + 1) * BLOCK];
    let (head, trailer) = (&bytes[..header_bytes], &bytes[bytes.len() - 16..]);
    for order in [&[1, 0, 2][..], &[0, 2], &[0, 1], &[0, 1, 1, 2]] {
        let blocks: Vec<u8> = order.iter().flat_map(|n| block(*n).to_vec()).collect();
        let error = read(&[head, &blocks, trailer].concat()).1.unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{order:?}: {error}");
    }
}

#[test]
fn a_reader_stays_at_its_error() {
    let mut bytes = archive(&content(2 * 262_144));
    bytes[1_000] ^= 1;
    let mut reader = ArchiveReader::open(&bytes[..], "a.zks").unwrap();
    for _ in 0..3 {
        assert!(reader.read(&mut [0; 10]).is_err());
    }
}
