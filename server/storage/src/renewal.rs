//! Giving a retired disk a new beginning: its data is set aside, and it gets another member id.
//!
//! The id must be another one, for an id stands for one log for ever. The data stays on the volume under names that
//! nothing reads, until the disk is renewed again: somebody may still want to look at it.
//!
//! A crash at any point is harmless: the identity says that the renewal is under way until the new one is written.

use zke_tree::MemberId;

use crate::{Disk, DiskState, Identity, StorageError, log, snapshot};

const PREFIX: &str = "set-aside-";

impl Identity {
    /// Sets the log and the snapshots of a disk in state [`DiskState::Renewing`] aside and makes it blank, with the
    /// member id that `fresh_id` returns, which must be random. Durable when it returns.
    pub fn renew(
        &self,
        disk: &impl Disk,
        log_disk: &impl Disk,
        fresh_id: impl FnOnce() -> u64,
    ) -> Result<Identity, StorageError> {
        assert!(self.state == DiskState::Renewing, "only a disk whose member is gone for ever is renewed");
        set_aside(disk, self.member)?;
        set_aside(log_disk, self.member)?;
        let member = MemberId(fresh_id());
        let renewed = Identity { ensemble: None, member, incarnation: 0, state: DiskState::Blank };
        renewed.save(disk)?;
        Ok(renewed)
    }
}

fn set_aside(disk: &impl Disk, member: MemberId) -> Result<(), StorageError> {
    let own = format!("{PREFIX}{member}-");
    for name in disk.list().map_err(|e| StorageError::io("list", "the data directory", e))? {
        if log::is_segment(&name) || snapshot::is_snapshot(&name) {
            let aside = format!("{own}{name}");
            disk.rename(&name, &aside).map_err(|e| StorageError::io("set aside", &name, e))?;
        } else if name.starts_with(PREFIX) && !name.starts_with(&own) || snapshot::is_partial(&name) {
            disk.remove(&name).map_err(|e| StorageError::io("remove", &name, e))?;
        }
    }
    disk.sync_dir().map_err(|e| StorageError::io("sync", "the data directory", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Fault;
    use crate::{Log, LogOptions, SimDisk, Vote};

    /// A disk that was used, retired, and told to begin anew.
    fn renewing(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        let mut identity = Identity::load_or_mint(&disk, || 7).unwrap();
        let (mut log, _) = Log::open(disk.clone(), LogOptions::new(identity.member)).unwrap();
        log.save_vote(Vote { term: 3, member: Some(7), committed: true });
        log.flush().unwrap();
        identity.state = DiskState::Renewing;
        identity.save(&disk).unwrap();
        disk
    }

    fn renew(disk: &SimDisk, fresh_id: u64) -> Result<Identity, StorageError> {
        let identity = Identity::load(disk)?.expect("it has one");
        match identity.state {
            DiskState::Renewing => identity.renew(disk, disk, || fresh_id),
            _ => Ok(identity),
        }
    }

    #[test]
    fn a_renewed_disk_is_blank_under_another_id_and_keeps_the_old_data_once() {
        let disk = renewing(1);
        let renewed = renew(&disk, 8).unwrap();
        assert_eq!((renewed.member, renewed.state), (MemberId(8), DiskState::Blank));
        let (_, recovered) = Log::open(disk.clone(), LogOptions::new(renewed.member)).unwrap();
        assert_eq!(recovered.vote, None);
        let aside = |disk: &SimDisk| {
            disk.list().unwrap().into_iter().filter(|name| name.starts_with(PREFIX)).collect::<Vec<_>>()
        };
        assert_eq!(aside(&disk), ["set-aside-0000000000000007-log-0000000000000001"]);
        Identity { state: DiskState::Renewing, ..renewed }.save(&disk).unwrap();
        renew(&disk, 9).unwrap();
        assert_eq!(aside(&disk), ["set-aside-0000000000000008-log-0000000000000001"]);
    }

    #[test]
    fn power_loss_at_every_operation_ends_in_a_renewed_disk() {
        let before = renewing(2);
        let whole = before.fork();
        renew(&whole, 8).unwrap();
        for operation in before.operations()..whole.operations() {
            let disk = before.fork();
            disk.inject(operation, Fault::PowerLoss);
            assert!(renew(&disk, 8).is_err());
            let disk = disk.crash();
            let renewed = renew(&disk, 9).unwrap();
            assert_eq!(renewed.state, DiskState::Blank);
            let (_, recovered) = Log::open(disk, LogOptions::new(renewed.member)).unwrap();
            assert_eq!(recovered.vote, None);
        }
    }
}
