//! What the operator reports about an ensemble. One writer: its reconciler, whole, guarded by resourceVersion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was last seen and, in `operation`, what is being done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZkEnsembleStatus {
    /// The generation of the spec that was last worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// For display only; rely on conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,

    /// Chosen once; the same id is on every disk. 32 hex digits.
    #[serde(default, rename = "ensembleID", skip_serializing_if = "Option::is_none")]
    pub ensemble_id: Option<String>,

    /// Label selector of the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Number of members that the last finished operation left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,

    /// Voters that accept clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<u32>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<u32>,

    /// Pod of the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,

    /// Raft term of the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_index: Option<u64>,

    /// Log index of the newest membership that an operation ended with; an older view is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_index: Option<u64>,

    /// The highest zxid ever seen; a restore must go above its epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_zxid: Option<String>,

    /// Version that every member runs; absent while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<String>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,

    /// The target version when everything was last as the spec asks: the one in use while the spec names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_version: Option<String>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,

    /// A pod template that failed on the first member; the last good one stands in for it until the spec changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedTemplate>,

    /// The newest good backup that still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<LastBackup>,

    /// The operation under way: one at a time, written before it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<MemberStatus>,

    /// Claims of this ensemble that no member uses; yours to keep or delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphaned_claims: Vec<String>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A backup that succeeded, as far as its ensemble shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastBackup {
    pub last_success_time: Time,
    /// Its ZkBackup.
    pub last_backup: String,
    /// All writes up to this zxid are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zxid: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// host:port of the client Service.
    pub client: String,
    /// ConfigMap with the connection string.
    pub config_map: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Bootstrap, Adopt, ScaleUp, ScaleDown or Update.
    #[serde(rename = "type")]
    pub type_: String,
    /// Number of members that the operation leads to.
    pub replicas: u32,
    /// Generation of the spec that asked for it.
    pub spec_generation: i64,
    /// What was done last or is being done now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Pod, claim or object that the step is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the step was allowed to act on; when it finds something else, it does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// The disk that was chosen to start the ensemble, 16 hex digits; never another one under the same ensembleID.
    #[serde(default, rename = "seedMemberID", skip_serializing_if = "Option::is_none")]
    pub seed_member_id: Option<String>,
    /// An ensembleID that was given up before any client was served; its marks on claims may be replaced.
    #[serde(default, rename = "abandonedID", skip_serializing_if = "Option::is_none")]
    pub abandoned_id: Option<String>,
    /// Update: the ControllerRevision that members ran before; put back if the new template fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_revision: Option<String>,
    /// Update: the member that is being renewed. The next one may go once this one is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalStatus>,
    pub started_at: Time,
    /// When the operation counts as stalled.
    pub deadline: Time,
    /// How often the present step was tried.
    #[serde(default)]
    pub attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovalStatus {
    pub pod: String,
    /// The pod that was removed; its successor has another.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    #[serde(rename = "memberID")]
    pub member_id: String,
    /// The leader's commit index at that moment: the successor's disk must hold it.
    pub log_index: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedTemplate {
    /// Digest of the template as the spec renders it; another one is tried again.
    pub template: String,
    /// The ControllerRevision of the template that failed.
    pub revision: String,
    /// The ControllerRevision that stands in for it.
    pub good_revision: String,
    /// What was wrong with the pod that was made from it.
    pub message: String,
    pub since: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    #[serde(default, rename = "memberID", skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_index: Option<u64>,
    #[serde(default, rename = "claimUID", skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The pod.
    pub name: String,
    /// 16 hex digits, minted once for its disk.
    #[serde(default, rename = "memberID", skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    pub role: MemberRole,
    pub state: MemberState,
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    #[serde(default, rename = "pvcUID", skip_serializing_if = "Option::is_none")]
    pub pvc_uid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Entries behind the leader's commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// Why it does not accept clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What the ensemble's membership says about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    Voter,
    Learner,
    /// Not in the membership.
    Outside,
    /// The membership is not known right now.
    Unknown,
}

/// What its disk and its process say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    InSync,
    CatchingUp,
    Joining,
    Blank,
    Retired,
    Corrupt,
    /// Its admin API did not answer.
    Unreachable,
}
