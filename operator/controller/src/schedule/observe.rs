//! One look at a schedule: its backups, and those that some ensemble is to be restored from. All read live.

use std::collections::BTreeSet;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::DeserializeGuard;
use kube::{Api, Client, ResourceExt};
use zke_api::{BackupPhase, SCHEDULE_LABEL, ZkBackup, ZkBackupSchedule, ZkEnsemble};
use zke_plan::retention::{Kept, Outcome};

use crate::error::Error;

/// What was seen.
pub struct Look {
    /// Made by this very schedule, and not being deleted.
    pub backups: Vec<ZkBackup>,
    /// Names of backups that an ensemble's spec refers to.
    pub referenced: BTreeSet<String>,
}

impl Look {
    pub async fn take(client: &Client, schedule: &ZkBackupSchedule) -> Result<Self, Error> {
        let namespace = schedule.namespace().unwrap_or_default();
        let backups: Api<DeserializeGuard<ZkBackup>> = Api::namespaced(client.clone(), &namespace);
        let ours = ListParams::default().labels(&format!("{SCHEDULE_LABEL}={}", schedule.name_any()));
        let listed = backups.list(&ours).await.map_err(Error::kubernetes("listing the backups"))?;
        let readable = listed.items.into_iter().filter_map(|backup| backup.0.ok());
        let backups = readable
            .filter(|backup| is_own(backup, schedule) && backup.metadata.deletion_timestamp.is_none())
            .collect();

        // As plain data: an ensemble that cannot be read in full must not leave its backup unprotected.
        let resource = ApiResource::erase::<ZkEnsemble>(&());
        let ensembles: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let ensembles = ensembles
            .list(&ListParams::default())
            .await
            .map_err(Error::kubernetes("listing the ensembles"))?;
        let referenced = ensembles.items.iter().filter_map(|ensemble| restored_from(&ensemble.data));
        Ok(Self { backups, referenced: referenced.map(str::to_owned).collect() })
    }

    /// The oldest that has not ended. There is one at most, unless somebody made more with our labels.
    pub fn active(&self) -> Option<&ZkBackup> {
        let unfinished = self.backups.iter().filter(|backup| outcome(backup) == Outcome::Unfinished);
        unfinished.min_by_key(|backup| backup.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// The one that ended last, and how.
    pub fn newest_ended(&self) -> Option<(&ZkBackup, Outcome)> {
        self.ended().max_by_key(|(at, _, _)| *at).map(|(_, backup, outcome)| (backup, outcome))
    }

    pub fn newest_success(&self) -> Option<&ZkBackup> {
        let good = self.ended().filter(|(_, _, outcome)| matches!(outcome, Outcome::Succeeded { .. }));
        good.max_by_key(|(at, _, _)| *at).map(|(_, backup, _)| backup)
    }

    fn ended(&self) -> impl Iterator<Item = (jiff::Timestamp, &ZkBackup, Outcome)> {
        self.backups.iter().filter_map(|backup| match outcome(backup) {
            Outcome::Unfinished => None,
            ended @ (Outcome::Succeeded { at } | Outcome::Failed { at }) => Some((at, backup, ended)),
        })
    }

    /// What retention decides on.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |backup: &ZkBackup| Kept {
            name: backup.name_any(),
            outcome: outcome(backup),
            referenced: self.referenced.contains(&backup.name_any()),
        };
        self.backups.iter().map(kept).collect()
    }
}

pub fn is_own(backup: &ZkBackup, schedule: &ZkBackupSchedule) -> bool {
    backup.owner_references().iter().any(|owner| Some(&owner.uid) == schedule.metadata.uid.as_ref())
}

fn outcome(backup: &ZkBackup) -> Outcome {
    let Some(status) = &backup.status else { return Outcome::Unfinished };
    let at = status.completion_time.as_ref().or(backup.metadata.creation_timestamp.as_ref());
    let at = at.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0);
    match status.phase {
        Some(BackupPhase::Succeeded) => Outcome::Succeeded { at },
        Some(BackupPhase::Failed) => Outcome::Failed { at },
        Some(BackupPhase::Pending | BackupPhase::Running) | None => Outcome::Unfinished,
    }
}

fn restored_from(ensemble: &serde_json::Value) -> Option<&str> {
    ensemble.pointer("/spec/bootstrap/restore/backupRef/name")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_found_where_a_restore_says_it() {
        let data =
            serde_json::json!({"spec": {"bootstrap": {"restore": {"backupRef": {"name": "last-good"}}}}});
        assert_eq!(restored_from(&data), Some("last-good"));
        assert_eq!(restored_from(&serde_json::json!({"spec": {"replicas": 3}})), None);
    }
}
