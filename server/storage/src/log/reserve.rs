//! Space of the log that nobody else can take: for the day on which its volume is full.
//!
//! A few files of the length of a segment. When there is no room for the next segment, one of them becomes it; so a
//! member of a full volume still votes, and still takes what makes room again: deletes, the ends of sessions, and the
//! purge that follows a snapshot. While one is missing, [`Reserve::is_whole`] says so, and whoever leads refuses what
//! would grow the tree.
//!
//! Nothing of it counts: a file that is lost or cut short by a crash is made anew. It never takes more than its files,
//! and it never waits.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::UNFINISHED;
use crate::{Disk, DiskFile, StorageError};

/// How many segments are kept in reserve. One would be enough to purge the others; the second is for what comes while
/// the snapshot is written that has to be there first.
pub const SEGMENTS: usize = 2;

const PREFIX: &str = "log.reserve";

/// The reserve of one log. Clones are handles to the same one.
pub struct Reserve<D: Disk> {
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    disk: D,
    segment_bytes: u64,
    /// The files with the numbers below it are there.
    held: Mutex<usize>,
}

impl<D: Disk> Clone for Reserve<D> {
    fn clone(&self) -> Self {
        Reserve { shared: self.shared.clone() }
    }
}

impl<D: Disk> Reserve<D> {
    /// Finds what an earlier process set aside, in segments of `segment_bytes`; what has another length goes.
    pub fn open(disk: D, segment_bytes: u64) -> Result<Reserve<D>, StorageError> {
        let names = disk.list().map_err(|e| StorageError::io("list", "the data directory", e))?;
        let mut held = 0;
        for found in names.iter().filter(|name| name.starts_with(PREFIX)) {
            // They are sorted, and of one digit each.
            if *found == name(held) && held < SEGMENTS && len(&disk, found)? == segment_bytes {
                held += 1;
            } else {
                disk.remove(found).map_err(|e| StorageError::io("remove", found, e))?;
            }
        }
        Ok(Reserve { shared: Arc::new(Shared { disk, segment_bytes, held: Mutex::new(held) }) })
    }

    pub fn segment_bytes(&self) -> u64 {
        self.shared.segment_bytes
    }

    /// Whether all of it is there.
    pub fn is_whole(&self) -> bool {
        *self.shared.held.lock() == SEGMENTS
    }

    /// Sets aside what is missing, as far as there is room. Never called by two at a time. Whether all is there now.
    pub fn fill(&self) -> Result<bool, StorageError> {
        while !self.is_whole() {
            match self.shared.make() {
                Err(error) if error.is_full() => return Ok(false),
                made => made?,
            }
        }
        Ok(true)
    }

    /// Gives a segment of zeros the name `to`, which the caller makes durable. `false` if none is left.
    pub(super) fn take(&self, to: &str) -> Result<bool, StorageError> {
        let Shared { disk, held, .. } = &*self.shared;
        let mut held = held.lock();
        let Some(last) = held.checked_sub(1) else { return Ok(false) };
        let from = name(last);
        disk.rename(&from, to).map_err(|e| StorageError::io("take", &from, e))?;
        *held = last;
        Ok(true)
    }

    /// Gives a segment's room back to the volume, for something small that must be written now. `false` if none is left.
    pub fn give_back(&self) -> Result<bool, StorageError> {
        let Shared { disk, held, .. } = &*self.shared;
        let mut held = held.lock();
        let Some(last) = held.checked_sub(1) else { return Ok(false) };
        let name = name(last);
        disk.remove(&name).map_err(|e| StorageError::io("remove", &name, e))?;
        *held = last;
        Ok(true)
    }
}

impl<D: Disk> Shared<D> {
    /// Sets one more segment aside. On failure it does not keep the space it took.
    fn make(&self) -> Result<(), StorageError> {
        let unfinished = format!("{PREFIX}{UNFINISHED}");
        let failed = |attempt| {
            let name = &unfinished;
            move |source| StorageError::io(attempt, name, source)
        };
        match self.disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let file = self.disk.create(&unfinished).map_err(failed("create"))?;
        let made = file.allocate(self.segment_bytes).and_then(|()| file.sync_data());
        if let Err(error) = made {
            let _ = self.disk.remove(&unfinished);
            return Err(failed("allocate")(error));
        }
        // Whoever takes one meanwhile waits for this name only, not for the disk.
        let mut held = self.held.lock();
        self.disk.rename(&unfinished, &name(*held)).map_err(failed("name"))?;
        *held += 1;
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("{PREFIX}-{number}")
}

fn len(disk: &impl Disk, name: &str) -> Result<u64, StorageError> {
    let len = disk.open(name).and_then(|file| file.len());
    len.map_err(|e| StorageError::io("read the length of", name, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;

    const SEGMENT_BYTES: u64 = 4096;

    #[test]
    fn it_is_filled_taken_and_filled_again() {
        let disk = SimDisk::new(1);
        let reserve = Reserve::open(disk.clone(), SEGMENT_BYTES).unwrap();
        assert!(!reserve.is_whole() && !reserve.take("log.spare").unwrap());
        assert!(reserve.fill().unwrap() && reserve.is_whole());
        assert!(reserve.take("log.spare").unwrap() && !reserve.is_whole());
        assert_eq!(disk.list().unwrap(), ["log.reserve-0", "log.spare"]);
        assert!(reserve.give_back().unwrap() && !reserve.give_back().unwrap());
        assert!(reserve.fill().unwrap());
    }

    #[test]
    fn a_full_volume_keeps_what_it_has_and_no_unfinished_file() {
        let disk = SimDisk::new(1);
        disk.set_capacity_bytes(2 * SEGMENT_BYTES - 1);
        let reserve = Reserve::open(disk.clone(), SEGMENT_BYTES).unwrap();
        assert!(!reserve.fill().unwrap());
        assert_eq!(disk.list().unwrap(), ["log.reserve-0"]);
        disk.set_capacity_bytes(2 * SEGMENT_BYTES);
        assert!(reserve.fill().unwrap());
    }

    #[test]
    fn a_start_keeps_whole_files_only() {
        let disk = SimDisk::new(1);
        assert!(Reserve::open(disk.clone(), SEGMENT_BYTES).unwrap().fill().unwrap());
        disk.create("log.reserve.tmp").unwrap();
        assert!(Reserve::open(disk.clone(), SEGMENT_BYTES).unwrap().is_whole());
        assert!(!Reserve::open(disk.clone(), 2 * SEGMENT_BYTES).unwrap().is_whole());
        assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    }
}
