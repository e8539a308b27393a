//! The rows of the test plan that need real processes: what each breaks.
//!
//! A row breaks a handful of things in one run, at moments that the seed draws; the volumes of the plan are runs of it. It
//! returns an error where a promise does not hold that no history can show: a process that should have ended, a member that
//! should not serve. Everything else is left to the checker.

mod clients;
mod counter;
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
    /// Whether each member has a time of day that can be set.
    pub own_clocks: bool,
    /// What each epoch's zxids begin to count from.
    pub first_counter: u32,
    /// So many of it make the volume that the test plan states.
    pub stated_runs: u64,
    pub(crate) play: fn(&mut Scene) -> Result<()>,
}

const NO_LINES: &str = "";

/// T1 (a crash at each step of the disk) is a test of `zkd`.
pub const ROWS: &[Row] = &[
    Row::of("T2", "the leader is killed", kill::the_leader, 250),
    Row::of("T3", "all members are killed at once", kill::all, 100),
    Row::of("T4", "machines lose their power, and what was not synced", kill::power, 50).with_power_loss(),
    Row::of("T6", "a disk fails to flush, once or for ever", disk::fails, 34),
    Row::of("T7", "disks are full, one or all, and have room again", full::volumes, 50)
        .with_volumes_of(full::VOLUME_MIB),
    Row::of("T8", "a bit flips in a file of a member", damage::flips, 500).with_lines(snapshot::OFTEN),
    Row::of("T9", "a member gets a blank disk, then a foreign one", damage::wrong_disks, 5),
    Row::of("T10", "members do not reach each other", partition::cuts, 167).with_members(5),
    Row::of("T11", "links lose packets", partition::losses, 100),
    Row::of("T12", "a process stops for longer than sessions live", pause::long, 150),
    Row::of("T13", "a time of day jumps, or runs fast", pause::clocks_jump, 34).with_own_clocks(),
    Row::of("T14", "a disk is slow to flush", disk::is_slow, 25),
    Row::of("T15", "a process gets hardly any time", pause::starves, 25),
    Row::of("T16", "a member far behind is killed while it gets a snapshot", snapshot::cut_short, 100)
        .with_lines(snapshot::OFTEN),
    Row::of("T19", "a lost disk is replaced under a new id", damage::lost_disk, 100),
    Row::of("T20", "the members are restarted one by one", kill::rolling, 25),
    Row::of("T22", "clients reconnect again and again, with their watches", clients::watch_storm, 20),
    Row::of(
        "T24",
        "clients go elsewhere while their old member does not notice",
        clients::moved_sessions,
        50,
    ),
    Row::of("T26", "the counter of zxids comes to its end", counter::overflows, 10)
        .with_first_counter(counter::FIRST_COUNTER),
];

impl Row {
    /// Three members that lack nothing.
    const fn of(
        name: &'static str,
        about: &'static str,
        play: fn(&mut Scene) -> Result<()>,
        stated_runs: u64,
    ) -> Row {
        Row {
            name,
            about,
            members: 3,
            lines: NO_LINES,
            volume_mib: None,
            loses_power: false,
            own_clocks: false,
            first_counter: 0,
            stated_runs,
            play,
        }
    }

    const fn with_members(self, members: usize) -> Row {
        Row { members, ..self }
    }

    const fn with_power_loss(self) -> Row {
        Row { loses_power: true, ..self }
    }

    const fn with_own_clocks(self) -> Row {
        Row { own_clocks: true, ..self }
    }

    const fn with_first_counter(self, first_counter: u32) -> Row {
        Row { first_counter, ..self }
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
