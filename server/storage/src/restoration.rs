//! Making a blank disk the first member of a new ensemble that begins with the data of an archive.
//!
//! What comes of the archive is written as a staged snapshot, which means nothing by itself. One replaced file, the
//! identity, then says that it counts: a crash before leaves a blank disk, and one after it is finished by the next
//! start. Nothing else on the disk is older than that moment, since a blank disk has no entries and no ensemble.

use crate::{Disk, DiskState, Identity, Log, LogId, LogOptions, SnapshotStore, StorageError, Vote};

impl Identity {
    /// Makes the staged snapshot of a disk in state [`DiskState::Restoring`] its only one, and its log one that begins
    /// behind it. Durable when it returns the identity that the disk has then.
    pub fn finish_restoration<D: Disk>(
        &self,
        snapshots: &SnapshotStore<D>,
        disk: &D,
        log_disk: &D,
        segment_bytes: u64,
    ) -> Result<Identity, StorageError> {
        assert!(self.state == DiskState::Restoring, "only a disk that was told to is restored");
        let missing = || StorageError::Missing { file: "staged-*".to_owned() };
        let last = snapshots.publish_staged()?.ok_or_else(missing)?;
        self.begin_log_behind(last, log_disk, segment_bytes)?;
        let restored = Identity { state: DiskState::Member, ..self.clone() };
        restored.save(disk)?;
        Ok(restored)
    }

    /// The vote keeps this member from standing for a term that is not above the snapshot's.
    fn begin_log_behind(
        &self,
        last: LogId,
        log_disk: &impl Disk,
        segment_bytes: u64,
    ) -> Result<(), StorageError> {
        let options = LogOptions { segment_bytes, ..LogOptions::new(self.member) };
        let (mut log, _) = Log::open(log_disk.clone(), options)?;
        log.save_vote(Vote { term: last.term, member: Some(self.member.0), committed: false });
        log.purge(last);
        log.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zke_tree::{EnsembleId, MemberId};

    use super::*;
    use crate::disk::Fault;
    use crate::{SimDisk, SnapshotMeta};

    const LAST: LogId = LogId { term: 65_540, index: 1 };
    const ENSEMBLE: EnsembleId = EnsembleId([7; 16]);
    const SEGMENT_BYTES: u64 = 4096;

    /// Nothing but an id, and a log in which nothing stands.
    fn blank(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        start(&disk, false).unwrap();
        disk
    }

    /// What a process does with the disk. `restore`: it is asked to, if the disk is blank.
    fn start(disk: &SimDisk, restore: bool) -> Result<Identity, StorageError> {
        let mut identity = Identity::load_or_mint(disk, || 7)?;
        let snapshots = SnapshotStore::open(disk.clone(), 3)?;
        if identity.state == DiskState::Blank {
            snapshots.discard_staged()?;
        }
        if restore && identity.state == DiskState::Blank {
            let meta =
                SnapshotMeta { last: LAST, membership_id: Some(LAST), membership: bytes::Bytes::new() };
            let mut writer = snapshots.create(&meta)?;
            writer.write_all(b"state").map_err(|_| StorageError::Poisoned)?;
            writer.finish_staged()?;
            identity = Identity { ensemble: Some(ENSEMBLE), state: DiskState::Restoring, ..identity };
            identity.save(disk)?;
        }
        if identity.state == DiskState::Restoring {
            identity = identity.finish_restoration(&snapshots, disk, disk, SEGMENT_BYTES)?;
        }
        let must_exist = identity.has_log();
        let options =
            LogOptions { must_exist, segment_bytes: SEGMENT_BYTES, ..LogOptions::new(identity.member) };
        let (_, recovered) = Log::open(disk.clone(), options)?;
        let expected = (identity.state == DiskState::Member).then_some(LAST);
        assert_eq!(snapshots.newest()?.map(|snapshot| snapshot.verify().unwrap().last), expected);
        assert_eq!((recovered.purged, recovered.last), (expected, expected));
        assert_eq!(recovered.vote.map(|vote| vote.term), expected.map(|last| last.term));
        Ok(identity)
    }

    #[test]
    fn power_loss_at_every_operation_leaves_a_blank_disk_or_the_restored_one() {
        let (mut left_blank, mut left_restored) = (0, 0);
        for seed in 0..8 {
            let before = blank(seed);
            let whole = before.fork();
            let restored = start(&whole, true).unwrap();
            assert_eq!((restored.member, restored.ensemble), (MemberId(7), Some(ENSEMBLE)));
            for operation in before.operations()..whole.operations() {
                let disk = before.fork();
                disk.inject(operation, Fault::PowerLoss);
                if start(&disk, true).is_ok() {
                    continue;
                }
                let disk = disk.crash();
                let found = start(&disk, false).unwrap();
                match found.state {
                    DiskState::Blank => {
                        left_blank += 1;
                        assert!(!disk.list().unwrap().iter().any(|name| name.contains("staged")));
                    }
                    DiskState::Member => left_restored += 1,
                    other => panic!("operation {operation}: {other:?}"),
                }
                assert_eq!(start(&disk, true).unwrap(), restored, "operation {operation}");
            }
        }
        assert!(left_blank > 8 && left_restored > 8, "{left_blank} blank, {left_restored} restored");
    }

    #[test]
    fn a_lost_snapshot_is_noticed() {
        let disk = blank(1);
        let identity = Identity::load(&disk).unwrap().unwrap();
        Identity { ensemble: Some(ENSEMBLE), state: DiskState::Restoring, ..identity }.save(&disk).unwrap();
        assert!(start(&disk, false).unwrap_err().damage().is_some());
    }
}
