//! What an ensemble shows of its backups: the newest good one, and whether the last one that ended was good.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use zke_api::condition::{self, condition};
use zke_api::{BackupPhase, LastBackup, ZkBackup, ZkBackupStatus, ZkEnsembleStatus};

/// Nothing is said while no backup has ended: whether there should be one is not for the operator to know.
pub(super) fn report_backups(status: &mut ZkEnsembleStatus, backups: &[ZkBackup], now: Timestamp) {
    status.backup =
        newest(backups, |phase| phase == BackupPhase::Succeeded).map(|(backup, ended, at)| LastBackup {
            last_success_time: Time(at),
            last_backup: backup.name_any(),
            zxid: ended.artifact.as_ref().map(|artifact| artifact.zxid.clone()),
        });
    let Some((backup, ended, at)) = newest(backups, BackupPhase::is_final) else {
        condition::clear(&mut status.conditions, condition::BACKUP_HEALTHY);
        return;
    };
    let good = ended.phase == Some(BackupPhase::Succeeded);
    let (reason, message) = if good {
        ("BackupSucceeded", format!("zkb/{} succeeded at {at:.0}", backup.name_any()))
    } else {
        let why = ended.conditions.iter().find(|known| known.type_ == condition::READY);
        let why = why.map_or_else(String::new, |why| format!(": {}: {}", why.reason, why.message));
        ("BackupFailed", format!("zkb/{} failed at {at:.0}{why}", backup.name_any()))
    };
    let generation = status.observed_generation;
    let healthy = condition(condition::BACKUP_HEALTHY, good, reason, message, generation, Time(now));
    condition::set(&mut status.conditions, healthy);
}

/// The one that ended last of those in such a phase.
fn newest(
    backups: &[ZkBackup],
    phase: impl Fn(BackupPhase) -> bool,
) -> Option<(&ZkBackup, &ZkBackupStatus, Timestamp)> {
    let ended = backups.iter().filter_map(|backup| {
        let status = backup.status.as_ref().filter(|status| status.phase.is_some_and(&phase))?;
        Some((backup, status, status.completion_time.as_ref()?.0))
    });
    ended.max_by_key(|(backup, _, at)| (*at, backup.name_any()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str, phase: &str, completed: &str) -> ZkBackup {
        let manifest = format!(
            r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkBackup
metadata: {{name: {name}, namespace: retail}}
spec:
  ensembleRef: {{name: shop}}
  destination: {{persistentVolumeClaim: {{claimName: vault}}}}
status:
  phase: {phase}
  completionTime: {completed}
  conditions:
  - {{type: Ready, status: "False", reason: NoSpace, message: "the volume is full", lastTransitionTime: "{completed}"}}
"#
        );
        serde_saphyr::from_str(&manifest).unwrap()
    }

    fn reported(status: &mut ZkEnsembleStatus, backups: &[ZkBackup]) -> Option<(String, String)> {
        report_backups(status, backups, Timestamp::from_second(1_800_000_000).unwrap());
        let healthy = status.conditions.iter().find(|known| known.type_ == condition::BACKUP_HEALTHY)?;
        Some((healthy.status.clone(), healthy.message.clone()))
    }

    #[test]
    fn the_last_that_ended_decides_and_the_last_good_one_is_named() {
        let mut status = ZkEnsembleStatus::default();
        assert_eq!(reported(&mut status, &[]), None);

        let good = backup("good", "Succeeded", "2026-06-01T00:00:00Z");
        let said = |healthy: &str, message: &str| Some((healthy.to_owned(), message.to_owned()));
        assert_eq!(
            reported(&mut status, std::slice::from_ref(&good)),
            said("True", "zkb/good succeeded at 2026-06-01T00:00:00Z")
        );
        let backups = [
            backup("full", "Failed", "2026-06-02T00:00:00Z"),
            good,
            backup("at-work", "Running", "2026-06-03T00:00:00Z"),
        ];
        assert_eq!(
            reported(&mut status, &backups),
            said("False", "zkb/full failed at 2026-06-02T00:00:00Z: NoSpace: the volume is full")
        );
        assert_eq!(status.backup.as_ref().unwrap().last_backup, "good");

        assert_eq!(reported(&mut status, &backups[2..]), None);
        assert_eq!(status.backup, None);
    }
}
