//! ZkBackup: one consistent snapshot of an ensemble, as a file on a claim. Short-lived work with an immutable spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A consistent snapshot of an ensemble, written to a claim and read back.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "zkensemble.dev",
    version = "v1alpha1",
    kind = "ZkBackup",
    plural = "zkbackups",
    shortname = "zkb",
    namespaced,
    status = "ZkBackupStatus",
    derive = "PartialEq",
    doc = "A consistent snapshot of an ensemble, written to a claim and read back.",
    validation = Rule::new("size(self.metadata.name) <= 55 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes part of a Job's name: use at most 55 lower-case letters, digits and '-'"),
    validation = Rule::new("self.spec == oldSelf.spec")
        .message("the spec of a ZkBackup cannot change: create another ZkBackup"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ensemble", type_ = "string", json_path = ".spec.ensembleRef.name"),
    printcolumn(name = "Zxid", type_ = "string", json_path = ".status.artifact.zxid"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.artifact.sizeBytes"),
    printcolumn(name = "Completed", type_ = "string", json_path = ".status.completionTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Sha256", type_ = "string", json_path = ".status.artifact.sha256", priority = 1),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.artifact.path", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ZkBackupSpec {
    pub ensemble_ref: EnsembleRef,

    pub destination: Destination,

    /// How long the backup may take, waiting included. Then it has failed.
    #[serde(default = "deadline_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub deadline_seconds: u32,

    /// What becomes of the file when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    #[serde(default)]
    pub source: BackupSource,
}

/// A ZkEnsemble in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnsembleRef {
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// Where the file goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    pub persistent_volume_claim: ClaimDestination,
}

/// A claim in the same namespace. Backups that share one take turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimDestination {
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Folder on the volume, made when it is not there; the volume itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$') && !self.matches('(^|/)[.]{1,2}(/|$)')")
        .message("subPath must stay within the volume: names of letters, digits, '.', '_' and '-' with '/' between them, and none of them . or .."))]
    pub sub_path: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The file stays.
    #[default]
    Retain,
    /// The file goes as well.
    Delete,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupSource {
    /// A follower that is in sync; the leader when there is none.
    #[default]
    PreferFollower,
}

/// How far a backup is, and what it has made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZkBackupStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,

    /// The Job that does the work. Once it was here, its disappearance is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,

    /// The pod from which the snapshot is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,

    /// The ensemble as it was when the Job began, 32 hex digits.
    #[serde(default, rename = "ensembleID", skip_serializing_if = "Option::is_none")]
    pub ensemble_id: Option<String>,

    /// The image that the Job runs, and the one that removes the file later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When it succeeded or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// The file, once it was read back and its checksum was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    /// Its Job has not begun; the condition Ready says what it waits for.
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl BackupPhase {
    /// Whether it is over: nothing changes any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A snapshot archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Below the destination.
    pub path: String,
    pub size_bytes: u64,
    /// Of the whole file, 64 hex digits.
    pub sha256: String,
    pub format_version: u32,
    /// Index and term of the last log entry in it.
    pub index: u64,
    pub term: u64,
    /// Of the last write in it.
    pub zxid: String,
    #[serde(rename = "ensembleID")]
    pub ensemble_id: String,
    /// The disk from which it was taken, 16 hex digits.
    #[serde(rename = "memberID")]
    pub member_id: String,
    pub server_version: String,
}

pub(crate) const fn deadline_seconds() -> u32 {
    3600
}
