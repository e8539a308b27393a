//! The rows of the test plan that need real processes: what each breaks.
//!
//! A row breaks a handful of things in one run, at moments that the seed draws; the volumes of the plan are runs of it. It
//! returns an error where a promise does not hold that no history can show: a process that should have ended, a member that
//! should not serve. Everything else is left to the checker.

mod clients;
mod damage;
mod disk;
mod full;
mod kill;
mod partition;
mod pause;
mod snapshot;

use anyhow::Result;

use crate::scene::Scene;

pub struct Row {
    /// As in the test plan.
    pub name: &'static str,
    pub about: &'static str,
    pub members: usize,
    /// Of the members' `zoo.cfg`.
    pub lines: &'static str,
    /// How much each member's disk holds; else as much as the machine's.
    pub volume_mib: Option<u32>,
    /// Whether the members' disks can.
    pub loses_power: bool,
    pub(crate) play: fn(&mut Scene) -> Result<()>,
}

const NO_LINES: &str = "";

/// T1 (a crash at each step of the disk) is a test of `zkd`; T13 and T26 are not here.
pub const ROWS: &[Row] = &[
    Row::of("T2", "the leader is killed", kill::the_leader),
    Row::of("T3", "all members are killed at once", kill::all),
    Row::of("T4", "machines lose their power, and what was not synced", kill::power).with_power_loss(),
    Row::of("T6", "a disk fails to flush, once or for ever", disk::fails),
    Row::of("T7", "disks are full, one or all, and have room again", full::volumes)
        .with_volumes_of(full::VOLUME_MIB),
    Row::of("T8", "a bit flips in a file of a member", damage::flips).with_lines(snapshot::OFTEN),
    Row::of("T9", "a member gets a blank disk, then a foreign one", damage::wrong_disks),
    Row::of("T10", "members do not reach each other", partition::cuts).with_members(5),
    Row::of("T11", "links lose packets", partition::losses),
    Row::of("T12", "a process stops for longer than sessions live", pause::long),
    Row::of("T14", "a disk is slow to flush", disk::is_slow),
    Row::of("T15", "a process gets hardly any time", pause::starves),
    Row::of("T16", "a member far behind is killed while it gets a snapshot", snapshot::cut_short)
        .with_lines(snapshot::OFTEN),
    Row::of("T19", "a lost disk is replaced under a new id", damage::lost_disk),
    Row::of("T20", "the members are restarted one by one", kill::rolling),
    Row::of("T22", "clients reconnect again and again, with their watches", clients::watch_storm),
    Row::of("T24", "clients go elsewhere while their old member does not notice", clients::moved_sessions),
];

impl Row {
    const fn of(name: &'static str, about: &'static str, play: fn(&mut Scene) -> Result<()>) -> Row {
        Row { name, about, members: 3, lines: NO_LINES, loses_power: false, volume_mib: None, play }
    }

    const fn with_members(self, members: usize) -> Row {
        Row { members, ..self }
    }

    const fn with_power_loss(self) -> Row {
        Row { loses_power: true, ..self }
    }

    const fn with_lines(self, lines: &'static str) -> Row {
        Row { lines, ..self }
    }

    const fn with_volumes_of(self, mib: u32) -> Row {
        Row { volume_mib: Some(mib), ..self }
    }

    pub fn find(name: &str) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_alone() {
        for row in ROWS {
            let named = ROWS.iter().filter(|other| other.name == row.name).count();
            assert_eq!((named, Row::find(row.name).map(|found| found.about)), (1, Some(row.about)));
        }
    }
}
