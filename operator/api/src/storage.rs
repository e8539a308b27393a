//! Where a member keeps its data, and what becomes of it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// The volume of each member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot change: back up, and restore into a new ZkEnsemble that uses the other class"),
    validation = Rule::new("type(self.size) == int || type(oldSelf.size) == int || !isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("size may only grow: set it to the present size or more; to go smaller, restore a backup into a new ZkEnsemble"),
)]
pub struct Storage {
    /// Size of each member's volume, for example 20Gi. It may only grow.
    pub size: Quantity,

    /// Storage class of the volumes; the cluster's default class when absent. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,

    /// Labels and annotations for the volume claims, for example for a backup tool.
    #[serde(default)]
    pub claim_metadata: ClaimMetadata,

    /// What becomes of volume claims that are no longer needed.
    #[serde(default)]
    pub retention: Retention,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimMetadata {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// The claims of an ensemble that is deleted. With Retain, creating it again brings the data back.
    #[serde(default)]
    pub when_deleted: RetentionPolicy,
    /// The claims of members that scaling down removed.
    #[serde(default)]
    pub when_scaled: RetentionPolicy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetentionPolicy {
    #[default]
    Retain,
    Delete,
}
