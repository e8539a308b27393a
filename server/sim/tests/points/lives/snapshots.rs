//! Of snapshots: one that was finished is whole and the newest, what was not is gone when the store is opened.

use std::io::Write;

use bytes::Bytes;
use zke_storage::{Disk, LogId, SimDisk, SnapshotMeta, SnapshotStore, SnapshotWriter};

use crate::cut::{Failed, Life};

const KEEP: usize = 2;
/// More than a block, so that one is written before the snapshot is finished.
const CONTENT_BYTES: usize = 300_000;

/// Taken, received, given up, staged and discarded. Told: the last that was finished.
pub fn whole() -> Life<Option<LogId>> {
    Life { begin: SimDisk::new, play, check }
}

fn meta(index: u64) -> SnapshotMeta {
    let last = LogId { term: 3, index };
    SnapshotMeta { last, membership_id: Some(last), membership: Bytes::from_static(b"members") }
}

fn written(store: &SnapshotStore<SimDisk>, index: u64) -> Result<SnapshotWriter<SimDisk>, Failed> {
    let mut writer = store.create(&meta(index))?;
    writer.write_all(&[index as u8; CONTENT_BYTES])?;
    Ok(writer)
}

fn play(disk: &SimDisk, told: &mut Option<LogId>) -> Result<(), Failed> {
    let store = SnapshotStore::open(disk.clone(), KEEP)?;
    for index in 1..=3 {
        written(&store, index)?.finish()?;
        *told = Some(meta(index).last);
    }
    drop(written(&store, 4)?);
    let mut receiver = store.receive()?;
    receiver.write(&sent(5))?;
    receiver.finish()?;
    *told = Some(meta(5).last);
    written(&store, 6)?.finish_staged()?;
    store.discard_staged()?;
    Ok(())
}

/// The file of a snapshot, as a peer sends it.
fn sent(index: u64) -> Vec<u8> {
    let store = SnapshotStore::open(SimDisk::new(0), KEEP).unwrap();
    written(&store, index).unwrap().finish().unwrap();
    let source = store.source(meta(index).last).unwrap();
    source.chunk(0, source.file_bytes() as usize).unwrap()
}

fn check(disk: &SimDisk, told: &Option<LogId>) {
    let store = SnapshotStore::open(disk.clone(), KEEP).expect("a crash is no damage");
    let found = store.list().unwrap();
    for &last in &found {
        assert_eq!(store.verify(last).unwrap(), meta(last.index));
    }
    assert!(found.first() >= told.as_ref(), "{found:?} without {told:?}");
    store.discard_staged().unwrap();
    let left = disk.list().unwrap();
    assert_eq!(left.len(), found.len(), "{left:?}");
}
