//! A disk in memory that fails as real ones do, the same way for the same seed.
//!
//! It keeps two images of everything: what a running process sees, and what a power loss leaves. Between them stand
//! the writes and the directory changes that were not synced; a crash keeps an arbitrary part of them, torn at 512
//! bytes. It is never kinder than the contract in [`super`]: syncing a file does not save its name, and a failed sync
//! marks its writes clean without having saved them, as ext4, XFS and Btrfs do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Point};

/// What disks write whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A handle to a simulated disk. Clones share it; [`SimDisk::crash`] and [`SimDisk::kill`] leave them dead.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    boot: u64,
}

/// What happens to one changing operation, counted from the first one of the disk's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes off in the middle of it. Everything after it fails until [`SimDisk::crash`].
    PowerLoss,
    /// The power goes off just before it: nothing of it was done.
    PowerLossBefore,
    /// The power goes off when it is done, a sync with all that it saves, and nobody was told.
    PowerLossAfter,
    /// The power goes off in the middle of a write: of this file everything before it is saved, and of it what stands
    /// in its first `sectors` sectors. Any other operation is as with [`Fault::PowerLoss`].
    TornWrite { sectors: usize },
    /// It reports EIO. A write may have been done in part; a sync has saved nothing and forgets what it had to save.
    Eio,
    /// It reports ENOSPC and does nothing.
    NoSpace,
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            random: Random(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            points: Vec::new(),
            faults: BTreeMap::new(),
            awaited: Vec::new(),
            capacity_bytes: u64::MAX,
            boot: 0,
            powered: true,
        };
        SimDisk { state: Arc::new(Mutex::new(state)), boot: 0 }
    }

    /// Power loss, then power again: the returned handle sees what survived, all others are dead.
    #[must_use]
    pub fn crash(&self) -> SimDisk {
        let mut state = self.state.lock();
        state.lose_power();
        self.reboot(&mut state)
    }

    /// The process dies, the machine goes on: what was written is still there, synced or not.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let mut state = self.state.lock();
        if !state.powered {
            state.lose_power();
        }
        self.reboot(&mut state)
    }

    /// How many changing operations were begun since [`SimDisk::new`].
    pub fn operations(&self) -> u64 {
        self.state.lock().points.len() as u64
    }

    /// Of each changing operation since [`SimDisk::new`] the point at which it was begun.
    pub fn points(&self) -> Vec<Point> {
        self.state.lock().points.clone()
    }

    /// Whether the power is on: it goes off with a fault, and on with the next boot.
    pub fn has_power(&self) -> bool {
        self.state.lock().powered
    }

    /// Lets operation number `operation` (the first one is 0) fail, unless the disk is booted before.
    pub fn inject(&self, operation: u64, fault: Fault) {
        self.state.lock().faults.insert(operation, fault);
    }

    /// Lets an operation that is begun at `point` fail, after `hits` that do not, unless the disk is booted before.
    pub fn inject_at(&self, point: Point, hits: u64, fault: Fault) {
        self.state.lock().awaited.push(Awaited { point, hits, fault });
    }

    /// Writes that would let all files together grow beyond it fail with ENOSPC.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// What all files together take.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Rot: inverts the bits of `mask` in one byte, synced or not. `false` when there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> bool {
        let mut state = self.state.lock();
        let Some(&inode) = state.names.get(name) else { return false };
        let inode = &mut state.inodes[inode];
        let Some(byte) = inode.visible.get_mut(offset) else { return false };
        *byte ^= mask;
        if let Some(byte) = inode.durable.get_mut(offset) {
            *byte ^= mask;
        }
        true
    }

    /// An independent copy in the same state, for trying several futures of one past.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.state.lock().clone())), ..self.clone() }
    }

    fn reboot(&self, state: &mut State) -> SimDisk {
        state.boot += 1;
        state.powered = true;
        state.faults.clear();
        state.awaited.clear();
        state.forget_nameless();
        SimDisk { state: self.state.clone(), boot: state.boot }
    }

    fn seen<T>(&self, look: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = self.state.lock();
        state.alive(self.boot)?;
        look(&state)
    }

    /// Runs one changing operation under the fault that was injected for it, if any.
    #[track_caller]
    fn change<T>(&self, change: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>) -> io::Result<T> {
        let point = Point::here();
        let mut state = self.state.lock();
        state.alive(self.boot)?;
        let fault = state.begin(point);
        let result = match fault {
            Some(Fault::NoSpace) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::PowerLossBefore) => Err(power_is_off()),
            Some(Fault::PowerLossAfter) => change(&mut state, None),
            _ => change(&mut state, fault),
        };
        match fault {
            None => result,
            Some(Fault::Eio) => result.and(Err(eio())),
            Some(_) => {
                state.powered = false;
                Err(power_is_off())
            }
        }
    }

    #[track_caller]
    fn change_names(&self, change: impl FnOnce(&mut State) -> io::Result<NameChange>) -> io::Result<()> {
        self.change(|state, fault| {
            if fault == Some(Fault::Eio) {
                return Err(eio());
            }
            let change = change(state)?;
            change.apply(&mut state.names);
            state.unsynced_names.push(change);
            Ok(())
        })
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut created = 0;
        self.change_names(|state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            created = state.inodes.len();
            state.inodes.push(Inode::default());
            Ok(NameChange::Create(name.to_owned(), created))
        })?;
        Ok(SimFile { disk: self.clone(), inode: created })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.seen(|state| state.named(name))?;
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.seen(|state| Ok(state.names.keys().cloned().collect()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(|state| {
            state.named(name)?;
            Ok(NameChange::Remove(name.to_owned()))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(|state| {
            state.named(from)?;
            Ok(NameChange::Rename(from.to_owned(), to.to_owned()))
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(|state, fault| {
            // After a failure the changes stay in the journal: they may be saved by a later sync, or by a crash.
            if fault.is_none() {
                let changes = std::mem::take(&mut state.unsynced_names);
                changes.iter().for_each(|change| change.apply(&mut state.durable_names));
            }
            Ok(())
        })
    }

    fn available_bytes(&self) -> io::Result<u64> {
        self.seen(|state| Ok(state.capacity_bytes.saturating_sub(state.used_bytes())))
    }
}

/// A file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.disk.change(|state, fault| {
            let growth = (offset + bytes.len()).saturating_sub(state.inodes[self.inode].visible.len());
            if growth > 0 && state.used_bytes() + growth as u64 > state.capacity_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let done = match fault {
                Some(Fault::Eio) => state.random.below(bytes.len() + 1),
                _ => bytes.len(),
            };
            let write = Write { offset, bytes: bytes[..done].to_vec() };
            match fault {
                Some(Fault::TornWrite { sectors }) => state.inodes[self.inode].tear(write, sectors),
                _ => state.inodes[self.inode].write(write),
            }
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.disk.seen(|state| {
            let visible = &state.inodes[self.inode].visible;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(visible.len());
            let read = buf.len().min(visible.len() - from);
            buf[..read].copy_from_slice(&visible[from..from + read]);
            Ok(read)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.seen(|state| Ok(state.inodes[self.inode].visible.len() as u64))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.change(|state, fault| {
            let inode = &mut state.inodes[self.inode];
            match fault {
                None => inode.sync(),
                // The pages are marked clean, so a later sync does not save them either.
                Some(Fault::Eio) => inode.unsynced.clear(),
                Some(_) => {}
            }
            Ok(())
        })
    }
}

#[derive(Clone)]
struct State {
    random: Random,
    /// Never removed: an open file outlives its name.
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// Of all operations that were begun.
    points: Vec<Point>,
    /// By the number of the operation.
    faults: BTreeMap<u64, Fault>,
    awaited: Vec<Awaited>,
    capacity_bytes: u64,
    boot: u64,
    powered: bool,
}

#[derive(Clone)]
struct Awaited {
    point: Point,
    /// As many are let through.
    hits: u64,
    fault: Fault,
}

impl State {
    /// Counts an operation; returns what is to become of it.
    fn begin(&mut self, point: Point) -> Option<Fault> {
        let operation = self.points.len() as u64;
        self.points.push(point);
        let mut reached = None;
        for (at, awaited) in self.awaited.iter_mut().enumerate().filter(|(_, awaited)| awaited.point == point)
        {
            match awaited.hits.checked_sub(1) {
                Some(hits) => awaited.hits = hits,
                None => reached = Some(at),
            }
        }
        let awaited = reached.map(|at| self.awaited.swap_remove(at).fault);
        self.faults.remove(&operation).or(awaited)
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.powered && self.boot == boot { Ok(()) } else { Err(power_is_off()) }
    }

    fn named(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].visible.len() as u64).sum()
    }

    fn lose_power(&mut self) {
        // Journals keep the order of directory changes, so what survives of them is a beginning.
        let kept = self.random.below(self.unsynced_names.len() + 1);
        for change in self.unsynced_names.drain(..).take(kept) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for inode in &mut self.inodes {
            inode.lose_power(&mut self.random);
        }
    }

    /// No handle is left by which a file without a name could be reached.
    fn forget_nameless(&mut self) {
        let created = self.unsynced_names.iter().filter_map(|change| match change {
            NameChange::Create(_, inode) => Some(inode),
            _ => None,
        });
        let named: BTreeSet<usize> =
            self.names.values().chain(self.durable_names.values()).chain(created).copied().collect();
        for (number, inode) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&number) {
                *inode = Inode::default();
            }
        }
    }
}

#[derive(Clone, Default)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

impl Inode {
    fn write(&mut self, write: Write) {
        write.apply(&mut self.visible);
        self.unsynced.push(write);
    }

    /// Saves all but the end of `write`.
    fn tear(&mut self, mut write: Write, sectors: usize) {
        self.write(write.clone());
        self.unsynced.pop();
        self.sync();
        let cut = (write.offset / SECTOR_BYTES + sectors) * SECTOR_BYTES;
        write.bytes.truncate(cut.saturating_sub(write.offset));
        write.apply(&mut self.durable);
    }

    fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            write.apply(&mut self.durable);
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        let mut writes = std::mem::take(&mut self.unsynced);
        match random.below(4) {
            0 => {}
            1 => writes.iter().for_each(|write| write.apply(&mut self.durable)),
            // In order, the last one torn.
            2 => {
                writes.truncate(random.below(writes.len() + 1));
                if let Some(last) = writes.last_mut() {
                    let end = last.offset + random.below(last.bytes.len() + 1);
                    let cut = end / SECTOR_BYTES * SECTOR_BYTES;
                    last.bytes.truncate(cut.saturating_sub(last.offset));
                }
                writes.iter().for_each(|write| write.apply(&mut self.durable));
            }
            // Any sectors of the image after any of the writes.
            _ => {
                let mut reached = self.durable.clone();
                let count = random.below(writes.len() + 1);
                writes[..count].iter().for_each(|write| write.apply(&mut reached));
                for (index, sector) in reached.chunks(SECTOR_BYTES).enumerate() {
                    if random.below(2) == 1 {
                        Write { offset: index * SECTOR_BYTES, bytes: sector.to_vec() }
                            .apply(&mut self.durable);
                    }
                }
            }
        }
        self.visible = self.durable.clone();
    }
}

impl Write {
    fn apply(&self, image: &mut Vec<u8>) {
        let end = self.offset + self.bytes.len();
        if self.bytes.is_empty() {
            return;
        }
        if image.len() < end {
            image.resize(end, 0);
        }
        image[self.offset..end].copy_from_slice(&self.bytes);
    }
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// SplitMix64: a seed is all that a failing run needs to be seen again.
#[derive(Clone)]
struct Random(u64);

impl Random {
    /// In `0..bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated machine is off")
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(disk: &SimDisk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let (mut lost_name, mut lost_bytes, mut torn, mut kept) = (0, 0, 0, 0);
        for seed in 0..400 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            file.write_at(0, &[1; 1024]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(1024, &[2; 1024]).unwrap();
            disk.create("b").unwrap();
            let disk = disk.crash();
            assert!(file.sync_data().is_err(), "a handle outlived the crash");

            let bytes = contents(&disk, "a");
            assert_eq!(bytes[..1024], [1; 1024]);
            match bytes.iter().filter(|&&byte| byte == 2).count() {
                0 => lost_bytes += 1,
                512 => torn += 1,
                1024 => kept += 1,
                other => panic!("torn inside a sector: {other}"),
            }
            lost_name += usize::from(disk.open("b").is_err());
        }
        assert!(lost_name > 50 && lost_bytes > 50 && torn > 50 && kept > 50);
    }

    #[test]
    fn a_failed_sync_loses_its_writes_although_they_can_still_be_read() {
        let disk = SimDisk::new(7);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_at(0, b"lost").unwrap();
        disk.inject(disk.operations(), Fault::Eio);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(contents(&disk, "a"), b"lost");
        assert_eq!(contents(&disk.crash(), "a"), b"");
    }

    #[test]
    fn power_loss_stops_everything_until_the_next_boot() {
        let disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        disk.inject(disk.operations(), Fault::PowerLoss);
        assert!(file.write_at(0, b"x").is_err());
        assert!(disk.list().is_err());
        assert_eq!(disk.crash().list().unwrap(), ["a"]);
    }

    #[test]
    fn a_full_disk_refuses_growth_only() {
        let disk = SimDisk::new(1);
        disk.set_capacity_bytes(4);
        let file = disk.create("a").unwrap();
        file.write_at(0, b"1234").unwrap();
        assert_eq!(file.write_at(4, b"5").unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(0, b"4321").unwrap();
    }

    #[test]
    fn power_is_lost_at_a_point_before_it_and_after_it_and_inside_of_a_write() {
        let write = |disk: &SimDisk, content: &[u8]| -> io::Result<()> {
            let file = disk.open("a")?;
            file.write_at(0, content)?;
            file.sync_data()
        };
        let disk = SimDisk::new(1);
        disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        let created = disk.operations() as usize;
        write(&disk, &[1; 1024]).unwrap();
        let points = disk.points();
        let (written, synced) = (points[created], points[created + 1]);
        assert_eq!((written.file, written.line + 1), ("server/storage/src/disk/sim.rs", synced.line));

        for (point, fault, expected) in [
            (written, Fault::PowerLossBefore, [1, 1]),
            (synced, Fault::PowerLossAfter, [2, 2]),
            (written, Fault::TornWrite { sectors: 1 }, [2, 1]),
        ] {
            let disk = disk.fork();
            disk.inject_at(point, 1, fault);
            write(&disk, &[1; 1024]).unwrap();
            assert!(disk.has_power(), "the first hit was to be let through");
            assert!(write(&disk, &[2; 1024]).is_err());
            assert!(!disk.has_power());
            let found = contents(&disk.crash(), "a");
            assert_eq!([found[0], found[1023]], expected, "{fault:?}");
        }
    }
}
