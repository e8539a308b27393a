//! A snapshot that a peer sends: it goes on where it stopped, whatever stopped it, and counts only when it is whole.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::io::{Read, Write};

use bytes::Bytes;
use zke_storage::disk::Fault;
use zke_storage::{
    Disk, LogId, SimDisk, SnapshotFingerprint, SnapshotMeta, SnapshotReceiver, SnapshotStore, StorageError,
    VerifiedSnapshot,
};

const CHUNK_BYTES: usize = 450_000;
/// A block and what stands before it.
const BLOCK_BYTES: u64 = 8 + 262_144;
/// As many as make more than is written before a sync.
const LARGE_BYTES: usize = 5 << 20;

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: LogId { term: 3, index },
        membership_id: Some(LogId { term: 2, index: 1 }),
        membership: Bytes::from_static(b"members 1 2 3"),
    }
}

fn content(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8 ^ salt).collect()
}

/// A file of a snapshot as another member has it.
struct Sent {
    of: SnapshotFingerprint,
    file: Vec<u8>,
}

fn sent(index: u64, content: &[u8]) -> Sent {
    let store = SnapshotStore::open(SimDisk::new(0), 1).unwrap();
    let mut writer = store.create(&meta(index)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap();
    let source = store.source(meta(index).last).unwrap();
    let file = source.chunk(0, usize::MAX).unwrap();
    Sent { of: source.fingerprint().unwrap(), file }
}

fn open(disk: &SimDisk) -> SnapshotStore<SimDisk> {
    SnapshotStore::open(disk.clone(), 2).unwrap()
}

/// Sends from where the receiver is up to `end`.
fn send(receiver: &mut SnapshotReceiver<SimDisk>, sent: &Sent, end: usize) -> Result<(), StorageError> {
    let from = usize::try_from(receiver.offset()).unwrap();
    sent.file[from..end].chunks(CHUNK_BYTES).try_for_each(|chunk| receiver.write(chunk))
}

fn transfer(store: &SnapshotStore<SimDisk>, sent: &Sent) -> Result<SnapshotMeta, StorageError> {
    let mut receiver = store.receive(sent.of)?;
    send(&mut receiver, sent, sent.file.len())?;
    receiver.verify()?.publish()
}

fn load(store: &SnapshotStore<SimDisk>, index: u64) -> Vec<u8> {
    let mut content = Vec::new();
    store.read(meta(index).last).unwrap().read_to_end(&mut content).unwrap();
    content
}

fn partials(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.starts_with("partial-")).collect()
}

#[test]
fn a_peer_gets_the_same_file_by_chunks() {
    let disk = SimDisk::new(2);
    let sent = sent(9, &content(600_000, 0));
    assert_eq!(transfer(&open(&disk), &sent).unwrap(), meta(9));
    let disk = disk.crash();
    let store = open(&disk);
    assert_eq!(load(&store, 9), content(600_000, 0));
    assert_eq!(store.source(meta(9).last).unwrap().fingerprint().unwrap(), sent.of);
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn a_transfer_goes_on_behind_the_last_good_block() {
    let sent = sent(9, &content(1_000_000, 0));
    for end in [0, 10, 300, 262_000, 263_000, 600_000, sent.file.len() - 20, sent.file.len()] {
        let disk = SimDisk::new(1);
        let store = open(&disk);
        let mut receiver = store.receive(sent.of).unwrap();
        assert_eq!((receiver.offset(), receiver.file_bytes()), (0, sent.file.len() as u64));
        send(&mut receiver, &sent, end).unwrap();
        drop(receiver);
        assert_eq!(store.list().unwrap(), [], "a part of a snapshot is none");
        assert_eq!(store.partial().unwrap(), Some(sent.of));

        let from = store.receive(sent.of).unwrap().offset();
        assert!(from <= end as u64 && end as u64 - from < BLOCK_BYTES, "from {from}, of {end}");
        assert_eq!((from == 0, from == sent.of.file_bytes), (end < 100, end == sent.file.len()));
        let store = open(&disk.kill());
        assert_eq!(
            store.receive(sent.of).unwrap().offset(),
            from,
            "another process goes on as this one does"
        );
        transfer(&store, &sent).unwrap();
        assert_eq!(load(&store, 9), content(1_000_000, 0));
    }
}

#[test]
fn a_part_and_the_rest_are_the_whole() {
    let sent = sent(9, &content(1_000_000, 0));
    let disk = SimDisk::new(1);
    let mut total = 0;
    for end in [300_000, 500_000, 900_000, sent.file.len()] {
        let store = open(&disk);
        let mut receiver = store.receive(sent.of).unwrap();
        total += end as u64 - receiver.offset();
        send(&mut receiver, &sent, end).unwrap();
        match receiver.verify().and_then(VerifiedSnapshot::publish) {
            Ok(found) => assert_eq!((found, end), (meta(9), sent.file.len())),
            Err(StorageError::Incomplete { bytes, of }) => {
                assert_eq!((bytes, of), (end as u64, sent.file.len() as u64));
            }
            other => panic!("up to {end}: {other:?}"),
        }
    }
    assert!(total < sent.file.len() as u64 + 3 * BLOCK_BYTES, "{total} bytes were sent");
    let store = open(&disk);
    assert_eq!(load(&store, 9), content(1_000_000, 0));
    assert_eq!(partials(&disk), [""; 0]);
    // Sent once more, since the answer was lost: all of it is there.
    let receiver = store.receive(sent.of).unwrap();
    assert_eq!(receiver.offset(), receiver.file_bytes());
    assert_eq!(receiver.verify().unwrap().publish().unwrap(), meta(9));
    assert_eq!(load(&store, 9), content(1_000_000, 0));
}

#[test]
fn the_bytes_of_another_snapshot_are_never_mixed_in() {
    let length = 700_000;
    let (one, other) = (sent(9, &content(length, 0)), sent(9, &content(length, 1)));
    assert_eq!((one.of.last, one.of.file_bytes), (other.of.last, other.of.file_bytes));
    let newer = sent(10, &content(length, 0));
    for next in [&other, &newer] {
        let disk = SimDisk::new(1);
        let store = open(&disk);
        let mut receiver = store.receive(one.of).unwrap();
        send(&mut receiver, &one, 600_000).unwrap();
        let mut late = receiver;
        let receiver = store.receive(next.of).unwrap();
        assert_eq!((receiver.offset(), partials(&disk).len()), (0, 1));
        drop(receiver);
        assert!(matches!(late.write(b"x"), Err(StorageError::Superseded)));
        assert!(matches!(late.verify(), Err(StorageError::Superseded)));
        transfer(&store, next).unwrap();
        assert_eq!((store.list().unwrap(), partials(&disk)), (vec![next.of.last], vec![]));
    }
    // What is here is that of another file, whatever its name says.
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let mut receiver = store.receive(one.of).unwrap();
    other.file[..600_000].chunks(CHUNK_BYTES).for_each(|chunk| receiver.write(chunk).unwrap());
    assert!(matches!(transfer(&store, &one), Err(StorageError::Corrupt { .. })));
    assert_eq!((store.list().unwrap(), partials(&disk)), (vec![], vec![]));
    assert_eq!(store.receive(one.of).unwrap().offset(), 0);
    transfer(&store, &one).unwrap();
}

#[test]
fn two_streams_of_the_same_snapshot_do_not_disturb_each_other() {
    let sent = sent(9, &content(700_000, 0));
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let mut late = store.receive(sent.of).unwrap();
    send(&mut late, &sent, 500_000).unwrap();
    let mut receiver = store.receive(sent.of).unwrap();
    assert!(receiver.offset() > 0);
    assert!(matches!(late.write(b"x"), Err(StorageError::Superseded)));
    drop(late);
    send(&mut receiver, &sent, sent.file.len()).unwrap();
    assert_eq!(receiver.verify().unwrap().publish().unwrap(), meta(9));
    assert_eq!(load(&store, 9), content(700_000, 0));
}

#[test]
fn what_is_flipped_in_a_part_is_sent_again_or_noticed_at_the_end() {
    let sent = sent(9, &content(600_000, 0));
    let disk = SimDisk::new(1);
    let mut receiver = open(&disk).receive(sent.of).unwrap();
    send(&mut receiver, &sent, 590_000).unwrap();
    drop(receiver);
    let name = partials(&disk).pop().unwrap();
    for offset in (0..590_000).step_by(30_011).chain([0, 8, 9, 20, 60, 100, 589_999]) {
        let damaged = disk.fork();
        assert!(damaged.flip(&name, offset, 1));
        let store = open(&damaged);
        let receiver = store.receive(sent.of).unwrap();
        assert!(
            receiver.offset() <= offset as u64,
            "{} is behind the flipped byte {offset}",
            receiver.offset()
        );
        drop(receiver);
        assert_eq!(transfer(&store, &sent).unwrap(), meta(9), "offset {offset}");
    }
    // Between the time that it was received and the time that it is looked at as a whole.
    let store = open(&disk);
    let mut receiver = store.receive(sent.of).unwrap();
    send(&mut receiver, &sent, sent.file.len()).unwrap();
    assert!(disk.flip(&name, 1000, 1));
    assert!(matches!(receiver.verify(), Err(StorageError::Corrupt { .. })));
    assert_eq!(disk.list().unwrap(), [""; 0], "what is corrupt is gone");
    assert_eq!(store.receive(sent.of).unwrap().offset(), 0);
}

#[test]
fn what_a_peer_lies_about_is_an_error_and_never_a_snapshot() {
    let sent = sent(9, &content(1000, 0));
    let (len, of) = (sent.file.len(), sent.of);
    for (announced, complaint) in [
        (SnapshotFingerprint { file_bytes: len as u64 - 1, ..of }, "above the limit"),
        (SnapshotFingerprint { file_bytes: 0, ..of }, "above the limit"),
        (SnapshotFingerprint { file_bytes: len as u64 + 1, ..of }, "is to send the rest"),
        (SnapshotFingerprint { file_bytes: u64::MAX, ..of }, "is to send the rest"),
        (SnapshotFingerprint { crc: of.crc ^ 1, ..of }, "is corrupt"),
        (SnapshotFingerprint { last: LogId { term: 3, index: 8 }, ..of }, "is corrupt"),
    ] {
        let disk = SimDisk::new(1);
        let store = open(&disk);
        let mut receiver = store.receive(announced).unwrap();
        let sending = receiver.write(&sent.file);
        let error = sending.and_then(|()| receiver.verify()).err().expect("it is not what was announced");
        assert!(error.to_string().contains(complaint), "{announced:?}: {error}");
        assert_eq!(store.list().unwrap(), []);
        transfer(&store, &sent).unwrap();
        assert_eq!(disk.list().unwrap().len(), 1);
    }
    let store = open(&SimDisk::new(1));
    let mut receiver = store.receive(SnapshotFingerprint { file_bytes: u64::MAX, ..of }).unwrap();
    assert!(matches!(receiver.write(&vec![0; LARGE_BYTES]), Err(StorageError::TooLarge { .. })));
    let nothing = SnapshotFingerprint { file_bytes: 0, ..of };
    assert!(matches!(store.receive(nothing).unwrap().verify(), Err(StorageError::Corrupt { .. })));
    // Good, and not what the caller wanted.
    let mut receiver = store.receive(of).unwrap();
    send(&mut receiver, &sent, len).unwrap();
    receiver.verify().unwrap().discard();
    assert_eq!((store.list().unwrap(), store.receive(of).unwrap().offset()), (vec![], 0));
}

#[test]
fn a_part_that_is_of_no_use_any_more_goes() {
    let sent = sent(9, &content(600_000, 0));
    let disk = SimDisk::new(1);
    let mut receiver = open(&disk).receive(sent.of).unwrap();
    send(&mut receiver, &sent, 500_000).unwrap();
    drop(receiver);
    for (index, stays) in [(8, true), (9, false), (10, false)] {
        let disk = disk.fork();
        let store = open(&disk);
        let mut writer = store.create(&meta(index)).unwrap();
        writer.write_all(b"own").unwrap();
        writer.finish().unwrap();
        assert_eq!(!partials(&disk).is_empty(), stays, "beside a snapshot of entry {index}");
    }
}

#[test]
fn after_a_failure_of_the_disk_nothing_is_gone_on_with() {
    let large = content(LARGE_BYTES, 0);
    let sent = sent(9, &large);
    let whole = SimDisk::new(1);
    transfer(&open(&whole), &sent).unwrap();
    for at in 0..whole.operations() {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let disk = SimDisk::new(1);
            disk.inject(at, fault);
            let store = open(&disk);
            let Err(error) = transfer(&store, &sent) else {
                panic!("operation {at} failed and nobody was told")
            };
            assert!(matches!(error, StorageError::Io { .. }), "{error}");
            if disk.list().unwrap().iter().any(|name| name.starts_with("partial-")) {
                // Created, and not one byte of it written; or whole, and about to get its name.
                let offset = store.receive(sent.of).unwrap().offset();
                assert!(offset == 0 || offset == sent.of.file_bytes, "operation {at}: {offset}");
            }
            transfer(&store, &sent).unwrap();
            assert_eq!(load(&open(&disk.crash()), 9), large, "operation {at}, {fault:?}");
        }
    }
}

/// Bytes that a sync failed to save can be read until the power goes off: they must not be taken for saved.
#[test]
fn what_a_process_left_in_memory_is_written_again_before_it_counts() {
    let large = content(LARGE_BYTES, 0);
    let sent = sent(9, &large);
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut receiver = open(&disk).receive(sent.of).unwrap();
        send(&mut receiver, &sent, 900_000).unwrap();
        drop(receiver);
        // As if the process had died before it could remove the file: a sync of another handle fails.
        let name = partials(&disk).pop().unwrap();
        disk.inject(disk.operations(), Fault::Eio);
        assert!(zke_storage::DiskFile::sync_data(&disk.open(&name).unwrap()).is_err());
        let disk = disk.kill();
        let store = open(&disk);
        assert!(store.receive(sent.of).unwrap().offset() > 700_000, "it can be read");
        transfer(&store, &sent).unwrap();
        let store = open(&disk.crash());
        assert_eq!(load(&store, 9), large, "seed {seed}");
    }
}

#[test]
fn a_crash_at_any_operation_costs_no_more_than_was_not_synced() {
    let large = content(LARGE_BYTES, 0);
    let sent = sent(9, &large);
    let whole = SimDisk::new(1);
    transfer(&open(&whole), &sent).unwrap();
    let total = whole.operations();
    for at in 0..total {
        for seed in 0..4 {
            let disk = SimDisk::new(seed);
            disk.inject(at, Fault::PowerLoss);
            let mut known = 0;
            if let Ok(mut receiver) = open(&disk).receive(sent.of) {
                let _ = send(&mut receiver, &sent, sent.file.len());
                known = receiver.offset();
                let _ = receiver.verify().and_then(VerifiedSnapshot::publish);
            }
            // And once more while the next process takes it up.
            let disk = disk.crash();
            disk.inject(disk.operations() + 1, Fault::PowerLoss);
            let _ = open(&disk).receive(sent.of);
            let disk = disk.crash();
            let store = open(&disk);
            for last in store.list().unwrap() {
                assert_eq!(store.verify(last).unwrap(), meta(9), "operation {at}, seed {seed}");
            }
            let receiver = store.receive(sent.of).unwrap();
            let lost = known.saturating_sub(receiver.offset());
            assert!(lost <= (4 << 20) + BLOCK_BYTES, "operation {at}, seed {seed}: {lost} bytes are lost");
            drop(receiver);
            assert_eq!(transfer(&store, &sent).unwrap(), meta(9));
            assert_eq!(disk.list().unwrap().len(), 1, "operation {at}, seed {seed}");
            assert_eq!(load(&store, 9), large);
        }
    }
}
