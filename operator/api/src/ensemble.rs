//! ZkEnsemble: the one YAML that describes an ensemble.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, Toleration, TopologySpreadConstraint};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bootstrap, Quantity, Server, Storage, ZkEnsembleStatus};

/// An ensemble of replicated servers that speak ZooKeeper's client protocol.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "zkensemble.dev",
    version = "v1alpha1",
    kind = "ZkEnsemble",
    plural = "zkensembles",
    shortname = "zke",
    namespaced,
    status = "ZkEnsembleStatus",
    derive = "PartialEq",
    doc = "An ensemble of replicated servers that speak ZooKeeper's client protocol.",
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes part of host names: use at most 40 lower-case letters, digits and '-', starting with a letter"),
    validation = Rule::new("!has(self.spec.bootstrap) || (has(oldSelf.spec.bootstrap) && self.spec.bootstrap == oldSelf.spec.bootstrap) || !has(self.status) || !has(self.status.ensembleID)")
        .message("bootstrap says how the ensemble began, and it has begun: to restore, create another ZkEnsemble"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.currentVersion"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Available')].status",
        priority = 1
    ),
    printcolumn(name = "Op", type_ = "string", json_path = ".status.operation.type", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ZkEnsembleSpec {
    /// Number of members: 1, 3, 5 or 7.
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message(
        "replicas must be 1, 3, 5 or 7: an even ensemble survives no more failures than the odd one below it, so choose the odd one"
    ))]
    pub replicas: u32,

    /// Version of the servers, for example 0.4.2. When absent: the one that the ensemble has; at first, the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+[.][0-9]+[.][0-9]+([-.][0-9A-Za-z.-]+)?$')")
        .message("version must look like 0.4.2; to run another image tag or digest, set image"))]
    pub version: Option<String>,

    /// Where the servers' image comes from.
    #[serde(default)]
    pub image: Image,

    /// Stop acting: the operator only observes and reports. The servers go on serving.
    #[serde(default)]
    pub suspend: bool,

    pub storage: Storage,

    #[serde(default)]
    pub server: Server,

    #[serde(default)]
    pub services: Services,

    #[serde(default)]
    pub pod_disruption_budget: PodDisruptionBudget,

    #[serde(default)]
    pub scheduling: Scheduling,

    /// Compute resources of each member. There is no CPU limit by default: throttling looks like a failing disk.
    #[serde(default)]
    pub resources: Resources,

    /// The cluster's DNS domain.
    #[serde(default = "cluster_domain")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("clusterDomain must be a DNS name such as cluster.local"))]
    pub cluster_domain: String,

    #[serde(default)]
    pub update_policy: UpdatePolicy,

    /// The data that a new ensemble begins with; empty when absent. Says nothing to one that has served clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,

    /// How long one operation may take before it is reported as stalled. The operator never gives up.
    #[serde(default = "progress_deadline_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub progress_deadline_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository; the tag is `version`.
    #[serde(default = "image_repository")]
    #[schemars(length(min = 1, max = 255))]
    pub repository: String,

    /// Use exactly this image instead of the tag, for example sha256:….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = Rule::new("self.matches('^sha256:[0-9a-f]{64}$')")
        .message("digest must be sha256: and 64 hex digits"))]
    pub digest: Option<String>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,

    /// Secrets in the same namespace that let the nodes pull the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<LocalObjectReference>,
}

impl Default for Image {
    fn default() -> Self {
        Self { repository: image_repository(), digest: None, pull_policy: None, pull_secrets: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The Service that clients use.
    #[serde(default)]
    pub client: ClientService,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientService {
    #[serde(default, rename = "type")]
    pub type_: ClientServiceType,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default = "client_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
}

impl Default for ClientService {
    fn default() -> Self {
        Self { type_: ClientServiceType::default(), annotations: BTreeMap::new(), port: client_port() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodDisruptionBudget {
    /// Keep drains from taking the quorum away. An ensemble of one never has a budget.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

impl Default for PodDisruptionBudget {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Spread members evenly over zones or nodes, as far as the cluster allows.
    #[serde(default)]
    pub spread: Spread,
    /// Whether two members may share a node.
    #[serde(default)]
    pub anti_affinity: AntiAffinity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Replaces what `spread` stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    #[default]
    Zone,
    Node,
    Anywhere,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// Share a node only when there is no other.
    #[default]
    Preferred,
    /// Never share a node.
    Required,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Quantity>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Quantity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePolicy {
    /// How long a renewed member must be ready before the next one may go.
    #[serde(default = "min_ready_seconds")]
    #[schemars(range(min = 0, max = 3_600))]
    pub min_ready_seconds: u32,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self { min_ready_seconds: min_ready_seconds() }
    }
}

fn image_repository() -> String {
    "ghcr.io/zkensemble/zkd".to_owned()
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

const fn client_port() -> u16 {
    2181
}

const fn enabled() -> bool {
    true
}

const fn min_ready_seconds() -> u32 {
    10
}

const fn progress_deadline_seconds() -> u32 {
    600
}
