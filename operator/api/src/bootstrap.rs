//! How a new ensemble begins.

use k8s_openapi::api::core::v1::LocalObjectReference;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The data that a new ensemble begins with. Volumes of this ensemble that are kept from before win over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    pub restore: Restore,
}

/// An archive: of a ZkBackup, or a file on a volume claim. Its sessions and their ephemeral nodes are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.backupRef) != has(self.persistentVolumeClaim)")
    .message("restore from one source: set either backupRef or persistentVolumeClaim"))]
pub struct Restore {
    /// A ZkBackup in the same namespace that has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<LocalObjectReference>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ArchiveOnClaim>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveOnClaim {
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// The archive's file, from the root of the claim.
    #[schemars(length(min = 1, max = 1_024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')")
        .message("path must be a file inside of the claim: relative, and without '..'"))]
    pub path: String,

    /// What the file must have, as 64 hex digits. When absent, the archive's own checksums decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64))]
    pub sha256: Option<String>,
}
