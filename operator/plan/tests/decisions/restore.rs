//! A new ensemble that begins with the data of an archive.

use zke_plan::{DiskState, JobState, OperationKind, Reason, Step};

use crate::situation::{FRESH, OURS, Situation, member_id, operation};

fn restoring(change: impl FnOnce(&mut Situation)) -> Situation {
    Situation::bootstrapping(Some(member_id(0))).with(|s| {
        s.desired.restore = true;
        change(s);
    })
}

#[test]
fn the_archive_is_read_before_the_first_pod() {
    let begun = |check| {
        Situation::new(3).with(|s| {
            s.desired.restore = true;
            s.observed.ensemble_id = Some(OURS);
            s.observed.archive_check = check;
            s.operation = Some(operation(OperationKind::Bootstrap, 3));
        })
    };
    begun(JobState::Absent).acts(Step::CheckArchive);
    begun(JobState::Running).waits(Reason::ArchivePending);
    begun(JobState::Failed).waits(Reason::ArchiveRefused);
    begun(JobState::Succeeded).acts(Step::SetReplicas { from: None, to: 3 });
}

#[test]
fn the_first_voter_is_restored_in_place_of_founded() {
    let restore = Step::Restore { ordinal: 0, member_id: member_id(0), ensemble_id: OURS };
    restoring(|_| {}).acts(restore);
    for job in [JobState::Running, JobState::Succeeded] {
        restoring(|s| s.observed.restore = job).waits(Reason::Restoring);
    }
    restoring(|s| s.observed.restore = JobState::Failed).waits(Reason::RestoreFailed);
}

#[test]
fn volumes_that_have_served_win_over_an_archive() {
    let kept = Situation::running(3).with(|s| {
        s.desired.restore = true;
        s.observed.ensemble_id = None;
        s.observed.initialized = false;
        s.observed.replicas = None;
    });
    kept.acts(Step::Begin(operation(OperationKind::Adopt, 3)));
}

#[test]
fn a_disk_that_was_lost_while_it_was_restored_spends_the_id() {
    let lost = restoring(|s| {
        let disk = s.observed.disks.get_mut(&0).expect("a disk");
        (disk.member_id, disk.state) = (member_id(7), DiskState::Blank);
    });
    let begun = zke_plan::Operation {
        abandoned: Some(OURS),
        ensemble_id: FRESH,
        ..operation(OperationKind::Bootstrap, 3)
    };
    lost.acts(Step::Begin(begun));
}
