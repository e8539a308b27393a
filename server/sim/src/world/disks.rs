//! The disks of a world's machines, and what goes wrong with them.

use std::ops::Range;

use zke_storage::disk::{Fault, Point};
use zke_storage::{Disk, DiskFile, SimDisk};

use super::{End, Outage, World};
use crate::slow_disk::Flushes;

impl World {
    pub(super) fn disk(&self, member: usize) -> SimDisk {
        self.inner.machines.lock()[member].disk.clone()
    }

    /// The files on a machine's disk.
    pub fn files(&self, member: usize) -> Vec<String> {
        self.disk(member).list().unwrap_or_default()
    }

    pub fn file_bytes(&self, member: usize, file: &str) -> usize {
        let bytes = self.disk(member).open(file).and_then(|file| file.len()).unwrap_or_default();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Inverts a bit on the disk of a machine; again, and it is as before.
    pub fn flip(&self, member: usize, file: &str, byte: usize, bit: u32) {
        assert!(self.disk(member).flip(file, byte, 1 << bit), "{file} has that byte");
        self.note(format!("bit {bit} of byte {byte} of {file} flips at member {member}"));
    }

    pub(super) fn flushes(&self, member: usize) -> Flushes {
        self.inner.machines.lock()[member].flushes.clone()
    }

    /// How long each flush of a member's log takes that begins from now on; `None` for no time.
    pub fn set_flush_time_ms(&self, member: usize, takes_ms: Option<Range<u64>>) {
        self.flushes(member).set_time_ms(takes_ms);
    }

    /// Every change of a machine's disk, by its point.
    pub fn points(&self, member: usize) -> Vec<Point> {
        self.disk(member).points()
    }

    /// Whether its disk did not lose it since the machine was booted.
    pub fn has_power(&self, member: usize) -> bool {
        self.disk(member).has_power()
    }

    /// Lets the power go off when the time has come, from the next start of that machine on.
    pub fn expect(&self, outage: Outage) {
        self.inner.outages.lock().push(outage);
    }

    /// Lets one of the machine's next changes of its disk go wrong, `operations` from now.
    pub fn break_disk_after(&self, member: usize, operations: u64, fault: Fault) {
        let disk = self.disk(member);
        disk.inject(disk.operations() + operations, fault);
    }

    /// Lets the power of one member's machine go off at one of its next changes of the disk, `operations` from now.
    pub fn lose_power_after(&self, member: usize, operations: u64) {
        self.break_disk_after(member, operations, Fault::PowerLoss);
    }

    pub(super) fn reboot_disk(&self, member: usize, how: End) {
        let (disk, flushes) = (self.disk(member), self.flushes(member));
        let disk = if how == End::PowerLoss {
            flushes.lose_power(&disk);
            disk.crash()
        } else {
            flushes.end();
            disk.kill()
        };
        self.inner.machines.lock()[member].disk = disk;
    }

    /// The machine gets a new, empty disk in the place of its old one, which nobody sees again.
    pub fn lose_disk(&self, member: usize) {
        let mut machines = self.inner.machines.lock();
        assert!(machines[member].process.is_none(), "a process loses its disk only when it is gone");
        machines[member].disk = SimDisk::new(self.inner.seed ^ self.inner.chronicle.now_us());
    }

    /// Leaves no byte of room on a member's volume, or as much as it likes.
    pub fn set_full(&self, member: usize, full: bool) {
        let disk = self.disk(member);
        disk.set_capacity_bytes(if full { disk.used_bytes() } else { u64::MAX });
    }

    /// Of a machine's disk.
    pub fn used_bytes(&self, member: usize) -> u64 {
        self.disk(member).used_bytes()
    }
}
