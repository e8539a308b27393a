//! When a schedule makes its next backup.
//!
//! However many slots were missed, they are one. A backup that runs makes the next slot wait, never run beside it. A
//! slot that cannot begin within the starting deadline is missed, and said so. Slots that pass while the schedule is
//! suspended are over: resuming starts nothing by itself.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Cron;

/// What the spec asks for.
#[derive(Clone, Debug)]
pub struct Timetable {
    pub cron: Cron,
    pub zone: TimeZone,
    pub suspend: bool,
    /// Make one backup as soon as the schedule exists.
    pub immediate: bool,
    /// How long after its slot a backup may still begin; without one, a late one is better than none.
    pub starting_deadline_s: Option<u32>,
}

/// What became of it so far.
#[derive(Clone, Debug)]
pub struct Progress {
    pub created: Timestamp,
    /// Every slot up to this one is over: started, missed or passed.
    pub settled: Option<Timestamp>,
    /// A backup of this schedule has not ended.
    pub under_way: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Make the backup of this slot now.
    Start(Timestamp),
    /// It is too late for this slot.
    Miss(Timestamp),
    /// This slot came while the schedule was suspended.
    Pass(Timestamp),
    /// This slot is due, and the backup before it has not ended.
    Hold(Timestamp),
    /// No slot is due.
    Rest,
}

/// What is to be done at this moment.
pub fn turn(timetable: &Timetable, progress: &Progress, now: Timestamp) -> Turn {
    let at_once = timetable.immediate && progress.settled.is_none();
    let since = progress.settled.unwrap_or(progress.created);
    let due = match timetable.cron.latest(since, now, &timetable.zone) {
        None if at_once => progress.created,
        None => return Turn::Rest,
        Some(slot) => slot,
    };
    if timetable.suspend {
        // The immediate one is not a slot that passes: it is made when the schedule first may.
        return if due == progress.created { Turn::Rest } else { Turn::Pass(due) };
    }
    let late_s = now.as_second().saturating_sub(due.as_second());
    let too_late = timetable.starting_deadline_s.is_some_and(|limit| late_s > i64::from(limit));
    if too_late && !at_once {
        Turn::Miss(due)
    } else if progress.under_way {
        Turn::Hold(due)
    } else {
        Turn::Start(due)
    }
}

/// The next slot that is still to come; none while suspended.
pub fn next_slot(timetable: &Timetable, now: Timestamp) -> Option<Timestamp> {
    if timetable.suspend { None } else { timetable.cron.next_after(now, &timetable.zone) }
}

/// What the backup of a slot is called: the same however often the slot is looked at, so that it is made once.
pub fn backup_name(schedule: &str, slot: Timestamp) -> String {
    format!("{schedule}-{}", slot.strftime("%Y%m%d-%H%M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-06-01T{time}Z").parse().unwrap()
    }

    /// Every hour on the hour, made at 08:30.
    fn hourly() -> (Timetable, Progress) {
        let timetable = Timetable {
            cron: "0 * * * *".parse().unwrap(),
            zone: TimeZone::UTC,
            suspend: false,
            immediate: false,
            starting_deadline_s: Some(900),
        };
        (timetable, Progress { created: at("08:30:00"), settled: None, under_way: false })
    }

    #[test]
    fn a_slot_starts_once() {
        let (timetable, mut progress) = hourly();
        assert_eq!(turn(&timetable, &progress, at("08:59:59")), Turn::Rest);
        assert_eq!(turn(&timetable, &progress, at("09:00:00")), Turn::Start(at("09:00:00")));
        progress.settled = Some(at("09:00:00"));
        assert_eq!(turn(&timetable, &progress, at("09:00:01")), Turn::Rest);
        assert_eq!(next_slot(&timetable, at("09:00:01")), Some(at("10:00:00")));
    }

    #[test]
    fn missed_slots_are_one_and_a_late_one_is_missed() {
        let (mut timetable, progress) = hourly();
        assert_eq!(turn(&timetable, &progress, at("13:10:00")), Turn::Start(at("13:00:00")));
        assert_eq!(turn(&timetable, &progress, at("13:15:01")), Turn::Miss(at("13:00:00")));
        timetable.starting_deadline_s = None;
        assert_eq!(turn(&timetable, &progress, at("13:59:00")), Turn::Start(at("13:00:00")));
    }

    #[test]
    fn a_running_backup_makes_the_slot_wait_until_it_is_too_late() {
        let (timetable, mut progress) = hourly();
        progress.under_way = true;
        assert_eq!(turn(&timetable, &progress, at("09:00:10")), Turn::Hold(at("09:00:00")));
        assert_eq!(turn(&timetable, &progress, at("09:15:10")), Turn::Miss(at("09:00:00")));
    }

    #[test]
    fn slots_that_pass_while_suspended_are_over() {
        let (mut timetable, mut progress) = hourly();
        timetable.suspend = true;
        assert_eq!(turn(&timetable, &progress, at("09:00:10")), Turn::Pass(at("09:00:00")));
        assert_eq!(next_slot(&timetable, at("09:00:10")), None);
        progress.settled = Some(at("09:00:00"));
        timetable.suspend = false;
        assert_eq!(turn(&timetable, &progress, at("09:00:20")), Turn::Rest);
    }

    #[test]
    fn the_immediate_one_is_made_whenever_the_schedule_first_may() {
        let (mut timetable, mut progress) = hourly();
        timetable.immediate = true;
        timetable.suspend = true;
        assert_eq!(turn(&timetable, &progress, at("08:31:00")), Turn::Rest);
        timetable.suspend = false;
        assert_eq!(turn(&timetable, &progress, at("08:59:00")), Turn::Start(at("08:30:00")));
        progress.settled = Some(at("08:30:00"));
        assert_eq!(turn(&timetable, &progress, at("08:59:00")), Turn::Rest);
    }

    #[test]
    fn names_are_made_of_the_slot_alone() {
        assert_eq!(backup_name("nightly", at("03:00:00")), "nightly-20260601-0300");
        assert_eq!(backup_name("nightly", at("03:00:41")), "nightly-20260601-0300");
    }
}
