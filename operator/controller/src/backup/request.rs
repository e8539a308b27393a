//! One ZkBackup with everything that follows from its name: what the rest of this folder works on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use zke_api::{BackupPhase, ZkBackup, ZkBackupSpec, ZkBackupStatus};

/// A ZkBackup as it was read.
#[derive(Clone, Debug)]
pub struct Request {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub created: Timestamp,
    pub spec: ZkBackupSpec,
    pub status: ZkBackupStatus,
    pub owner: OwnerReference,
}

impl Request {
    pub fn resolve(object: ZkBackup) -> Self {
        let owner = object.controller_owner_ref(&()).unwrap_or_default();
        let ZkBackup { metadata, spec, status } = object;
        Self {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            spec,
            status: status.unwrap_or_default(),
            owner,
        }
    }

    pub fn job(&self) -> String {
        format!("{}-backup", self.name)
    }

    /// Of the Job that removes the archive. It may outlive this object, so another one of the same name must not
    /// find it.
    pub fn removal_job(&self) -> String {
        format!("zkb-remove-{}", self.uid)
    }

    /// What the archive is called: the same at each attempt of this backup, and never that of an earlier ZkBackup of
    /// the same name, whose file may have been kept.
    pub fn archive(&self) -> String {
        let uid = self.uid.get(..8).unwrap_or(&self.uid);
        format!("{}-{uid}", self.name)
    }

    /// Below the destination, as `zkd backup` writes it.
    pub fn archive_path(&self, ensemble_id: &str) -> String {
        format!("{ensemble_id}/{}.zks", self.archive())
    }

    pub fn claim(&self) -> &str {
        &self.spec.destination.persistent_volume_claim.claim_name
    }

    /// The destination inside of a Job's container.
    pub fn folder(&self, mount: &str) -> String {
        match self.spec.destination.persistent_volume_claim.sub_path.as_deref() {
            None | Some("") => mount.to_owned(),
            Some(path) => format!("{mount}/{path}"),
        }
    }

    pub fn deadline(&self) -> Timestamp {
        let second = self.created.as_second().saturating_add(i64::from(self.spec.deadline_seconds));
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
    }

    pub fn phase(&self) -> BackupPhase {
        self.status.phase.unwrap_or(BackupPhase::Pending)
    }
}
