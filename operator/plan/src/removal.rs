//! How a backup that is being deleted takes its archive along.
//!
//! The archive goes if it can; the backup goes in any case. A claim that is gone, a Job that cannot remove the file, or
//! simply too much time: then the file is left behind, and its path is said.

use jiff::Timestamp;

/// Longer than a removal takes that first waits until another node lets go of the volume.
const REMOVAL_LIMIT_S: i64 = 30 * 60;

/// What was seen of a backup whose archive is to go.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub deleted: Timestamp,
    /// Its own backup Job is still there, and may yet write.
    pub backup_job: bool,
    /// Whether there can be an archive: a backup that never began has none.
    pub archive: bool,
    pub claim: ClaimState,
    pub removal: RemovalJob,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    There,
    /// Gone or going: whoever deletes the volume deletes what is on it.
    Gone,
}

/// The Job that removes the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalJob {
    Absent,
    Active,
    Succeeded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// End the backup's own Job first.
    StopBackup,
    /// Make the Job that removes the archive.
    Start,
    Wait,
    /// Let the backup go.
    Done(Farewell),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    NothingToRemove,
    Removed,
    LeftBehind(LeftBehind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    ClaimGone,
    JobFailed,
    TooLong,
}

pub fn removal(leaving: &Leaving, now: Timestamp) -> Removal {
    let late = now.as_second().saturating_sub(leaving.deleted.as_second()) > REMOVAL_LIMIT_S;
    if !leaving.archive && !leaving.backup_job {
        return Removal::Done(Farewell::NothingToRemove);
    }
    match leaving.removal {
        RemovalJob::Succeeded => return Removal::Done(Farewell::Removed),
        RemovalJob::Failed => return Removal::Done(Farewell::LeftBehind(LeftBehind::JobFailed)),
        RemovalJob::Absent | RemovalJob::Active => {}
    }
    if leaving.claim == ClaimState::Gone {
        return Removal::Done(Farewell::LeftBehind(LeftBehind::ClaimGone));
    }
    match (leaving.removal, late) {
        (_, true) => Removal::Done(Farewell::LeftBehind(LeftBehind::TooLong)),
        (RemovalJob::Active, false) => Removal::Wait,
        _ if leaving.backup_job => Removal::StopBackup,
        _ => Removal::Start,
    }
}

impl LeftBehind {
    /// Why, for a sentence that goes on.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::ClaimGone => "the claim is gone",
            Self::JobFailed => "the Job that should have removed it failed",
            Self::TooLong => "it could not be removed within 30 minutes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LEAVING: Leaving = Leaving {
        deleted: Timestamp::UNIX_EPOCH,
        backup_job: false,
        archive: true,
        claim: ClaimState::There,
        removal: RemovalJob::Absent,
    };

    #[test]
    fn the_writer_is_stopped_before_its_archive_is_removed() {
        let running = Leaving { backup_job: true, ..LEAVING };
        assert_eq!(removal(&running, at(1)), Removal::StopBackup);
        assert_eq!(removal(&LEAVING, at(2)), Removal::Start);
        assert_eq!(removal(&Leaving { removal: RemovalJob::Active, ..LEAVING }, at(3)), Removal::Wait);
        let removed = Leaving { removal: RemovalJob::Succeeded, ..LEAVING };
        assert_eq!(removal(&removed, at(4)), Removal::Done(Farewell::Removed));
    }

    #[test]
    fn a_backup_that_never_began_just_goes() {
        let fresh = Leaving { archive: false, claim: ClaimState::Gone, ..LEAVING };
        assert_eq!(removal(&fresh, at(1)), Removal::Done(Farewell::NothingToRemove));
    }

    #[test]
    fn it_never_blocks_for_ever_whatever_is_seen() {
        for backup_job in [false, true] {
            for archive in [false, true] {
                for claim in [ClaimState::There, ClaimState::Gone] {
                    for job in
                        [RemovalJob::Absent, RemovalJob::Active, RemovalJob::Succeeded, RemovalJob::Failed]
                    {
                        let leaving = Leaving { backup_job, archive, claim, removal: job, ..LEAVING };
                        let end = removal(&leaving, at(REMOVAL_LIMIT_S + 1));
                        assert!(matches!(end, Removal::Done(_)), "{leaving:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_claim_that_is_gone_is_waited_for_no_longer() {
        let gone = Leaving { claim: ClaimState::Gone, removal: RemovalJob::Active, ..LEAVING };
        assert_eq!(removal(&gone, at(1)), Removal::Done(Farewell::LeftBehind(LeftBehind::ClaimGone)));
    }
}
