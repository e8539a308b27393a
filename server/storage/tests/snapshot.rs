//! Snapshots: whole or not there, and never read as good when they are not.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::io::{Read, Write};

use bytes::Bytes;
use zke_storage::disk::Fault;
use zke_storage::{
    Disk, LogId, RealDisk, SimDisk, SnapshotFingerprint, SnapshotMeta, SnapshotStore, StorageError,
};

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: LogId { term: 3, index },
        membership_id: Some(LogId { term: 2, index: 1 }),
        membership: Bytes::from_static(b"members 1 2 3"),
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn save<D: Disk>(store: &SnapshotStore<D>, index: u64, content: &[u8]) -> Result<(), StorageError> {
    let mut writer = store.create(&meta(index))?;
    writer.write_all(content).map_err(|_| StorageError::Poisoned)?;
    writer.finish()
}

fn load<D: Disk>(store: &SnapshotStore<D>, index: u64) -> std::io::Result<Vec<u8>> {
    let mut reader = store.read(meta(index).last).map_err(std::io::Error::other)?;
    assert_eq!(reader.meta(), &meta(index));
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    Ok(content)
}

fn file(disk: &impl Disk) -> String {
    disk.list().unwrap().into_iter().find(|name| name.starts_with("snapshot-")).unwrap()
}

#[test]
fn content_reads_back_at_every_size_around_a_block() {
    let temp = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(RealDisk::open(temp.path()).unwrap(), 2).unwrap();
    for (index, len) in [0, 1, 262_143, 262_144, 262_145, 1_000_000].into_iter().enumerate() {
        save(&store, index as u64, &content(len)).unwrap();
        assert_eq!(load(&store, index as u64).unwrap(), content(len), "{len} bytes");
    }
    let kept = store.list().unwrap();
    assert_eq!(kept, [meta(5).last, meta(4).last], "newest first, two of them");
    assert_eq!(store.newest().unwrap().unwrap().verify().unwrap(), meta(5));
    assert!(matches!(store.verify(meta(0).last), Err(StorageError::Missing { .. })));
}

#[test]
fn any_flipped_byte_is_noticed() {
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk.clone(), 3).unwrap();
    save(&store, 1, &content(700)).unwrap();
    let (name, len) = (file(&disk), store.source(meta(1).last).unwrap().file_bytes() as usize);
    for offset in 0..len {
        for mask in [1, 0x80, 0xff] {
            let damaged = disk.fork();
            assert!(damaged.flip(&name, offset, mask));
            let store = SnapshotStore::open(damaged, 3).unwrap();
            match store.verify(meta(1).last) {
                Err(StorageError::Corrupt { file, .. }) => assert_eq!(file, name),
                Err(StorageError::Version { .. }) => assert_eq!(offset, 8),
                other => panic!("offset {offset}, mask {mask}: {other:?}"),
            }
        }
    }
}

#[test]
fn blocks_in_another_order_or_dropped_are_noticed() {
    const BLOCK: usize = 8 + 262_144;
    let disk = SimDisk::new(1);
    let store = SnapshotStore::open(disk, 3).unwrap();
    save(&store, 1, &content(4 * 262_144)).unwrap();
    let whole = store.source(meta(1).last).unwrap().chunk(0, usize::MAX).unwrap();
    let header = whole.len() - 16 - 4 * BLOCK;
    let block = |number: usize| &whole[header + number * BLOCK..header + (number + 1) * BLOCK];
    let (start, end) = (&whole[..header], &whole[whole.len() - 16..]);
    for order in [&[0, 1, 2, 3][..], &[0, 2, 1, 3], &[0, 1, 2], &[1, 2, 3], &[0, 1, 1, 2, 3], &[]] {
        let blocks: Vec<_> = order.iter().flat_map(|&number| block(number)).copied().collect();
        let file = [start, &blocks, end].concat();
        let crc = u32::from_le_bytes(end[4..8].try_into().unwrap());
        let announced = SnapshotFingerprint { last: meta(1).last, file_bytes: file.len() as u64, crc };
        let there = SnapshotStore::open(SimDisk::new(2), 3).unwrap();
        let mut receiver = there.receive(announced).unwrap();
        file.chunks(100_000).for_each(|chunk| receiver.write(chunk).unwrap());
        assert_eq!(receiver.verify().is_ok(), order == [0, 1, 2, 3], "{order:?}");
    }
}

#[test]
fn a_crash_at_any_operation_leaves_whole_snapshots_only() {
    let operations = {
        let disk = SimDisk::new(0);
        let store = SnapshotStore::open(disk.clone(), 2).unwrap();
        (0..4).for_each(|index| save(&store, index, &content(20_000)).unwrap());
        disk.operations()
    };
    assert!(operations > 20);
    for at in 0..operations {
        for seed in 0..8 {
            let disk = SimDisk::new(seed);
            disk.inject(at, Fault::PowerLoss);
            let store = SnapshotStore::open(disk.clone(), 2).unwrap();
            let mut finished = None;
            for index in 0..4 {
                if save(&store, index, &content(20_000)).is_err() {
                    break;
                }
                finished = Some(index);
            }
            let disk = disk.crash();
            let store = SnapshotStore::open(disk.clone(), 2).unwrap();
            let found = store.list().unwrap();
            let newest = found.first().map(|last| last.index);
            assert!(newest >= finished, "operation {at}: {finished:?} was finished, {found:?} was found");
            found.iter().for_each(|last| assert_eq!(load(&store, last.index).unwrap(), content(20_000)));
            assert_eq!(disk.list().unwrap().len(), found.len(), "something unfinished stayed");
        }
    }
}

#[test]
fn a_failed_write_or_sync_is_never_finished() {
    for at in 0..6 {
        let disk = SimDisk::new(3);
        let store = SnapshotStore::open(disk.clone(), 2).unwrap();
        disk.inject(disk.operations() + at, Fault::Eio);
        assert!(save(&store, 1, &content(300_000)).is_err(), "operation {at}");
        let store = SnapshotStore::open(disk.crash(), 2).unwrap();
        store.list().unwrap().iter().for_each(|&last| drop(store.verify(last).unwrap()));
    }
}

#[test]
fn a_snapshot_that_is_not_finished_leaves_nothing() {
    let disk = SimDisk::new(3);
    let store = SnapshotStore::open(disk.clone(), 2).unwrap();
    let mut writer = store.create(&meta(1)).unwrap();
    writer.write_all(&content(300_000)).unwrap();
    drop(writer);
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn a_reader_goes_on_when_its_snapshot_is_removed() {
    let disk = SimDisk::new(3);
    let store = SnapshotStore::open(disk, 1).unwrap();
    save(&store, 1, &content(600_000)).unwrap();
    let mut reader = store.newest().unwrap().unwrap();
    save(&store, 2, &content(10)).unwrap();
    assert_eq!(store.list().unwrap(), [meta(2).last]);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, content(600_000));
}
