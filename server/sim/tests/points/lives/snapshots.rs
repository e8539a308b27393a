//! Of snapshots: one that was finished is whole and the newest, what was not is gone when the store is opened; but what was
//! received of one is gone on with.

use std::io::Write;

use bytes::Bytes;
use zke_storage::{Disk, LogId, SimDisk, SnapshotFingerprint, SnapshotMeta, SnapshotStore, SnapshotWriter};

use crate::cut::{Failed, Life};

const KEEP: usize = 2;
/// More than a block, so that one is written before the snapshot is finished.
const CONTENT_BYTES: usize = 300_000;
/// Where a stream breaks: behind the first block.
const BROKEN_AT: usize = 280_000;

/// Taken, given up, received in part and as a whole, staged and discarded. Told: the last that was finished.
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
    let (one, other) = (sent(4), sent(5));
    store.receive(one.0)?.write(&one.1[..BROKEN_AT])?;
    store.receive(other.0)?.write(&other.1[..BROKEN_AT])?;
    receive_rest(&store, &other)?;
    *told = Some(meta(5).last);
    written(&store, 6)?.finish_staged()?;
    store.discard_staged()?;
    Ok(())
}

/// The file of a snapshot, as a peer announces and sends it.
fn sent(index: u64) -> (SnapshotFingerprint, Vec<u8>) {
    let store = SnapshotStore::open(SimDisk::new(0), KEEP).unwrap();
    written(&store, index).unwrap().finish().unwrap();
    let source = store.source(meta(index).last).unwrap();
    (source.fingerprint().unwrap(), source.chunk(0, usize::MAX).unwrap())
}

fn receive_rest(
    store: &SnapshotStore<SimDisk>,
    (of, file): &(SnapshotFingerprint, Vec<u8>),
) -> Result<(), Failed> {
    let mut receiver = store.receive(*of)?;
    let from = usize::try_from(receiver.offset())?;
    receiver.write(&file[from..])?;
    receiver.verify()?.publish()?;
    Ok(())
}

fn check(disk: &SimDisk, told: &Option<LogId>) {
    let store = SnapshotStore::open(disk.clone(), KEEP).expect("a crash is no damage");
    let found = store.list().unwrap();
    for &last in &found {
        assert_eq!(store.verify(last).unwrap(), meta(last.index));
    }
    assert!(found.first() >= told.as_ref(), "{found:?} without {told:?}");
    store.discard_staged().unwrap();
    let partial = store.partial().unwrap();
    let left = disk.list().unwrap();
    assert_eq!(left.len(), found.len() + usize::from(partial.is_some()), "{left:?}");
    if let Some(partial) = partial {
        receive_rest(&store, &sent(partial.last.index)).unwrap();
        assert_eq!(store.verify(partial.last).unwrap(), meta(partial.last.index));
    }
}
