//! ZkBackupSchedule: backups by the clock, and how many of them are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::deadline_seconds;
use crate::{BackupSource, DeletionPolicy, Destination, Duration, EnsembleRef};

/// Backs an ensemble up by the clock, one backup at a time, and removes the ones no longer wanted.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "zkensemble.dev",
    version = "v1alpha1",
    kind = "ZkBackupSchedule",
    plural = "zkbackupschedules",
    shortname = "zkbs",
    namespaced,
    status = "ZkBackupScheduleStatus",
    derive = "PartialEq",
    doc = "Backs an ensemble up by the clock, one backup at a time, and removes the ones no longer wanted.",
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes part of its backups' names: use at most 40 lower-case letters, digits and '-'"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active.name"),
    printcolumn(name = "Last success", type_ = "date", json_path = ".status.lastSuccessfulTime"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduleTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ensemble", type_ = "string", json_path = ".spec.ensembleRef.name", priority = 1),
    printcolumn(name = "Time zone", type_ = "string", json_path = ".spec.timeZone", priority = 1),
    printcolumn(
        name = "Failing",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Failing')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ZkBackupScheduleSpec {
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("ensembleRef cannot change: create another ZkBackupSchedule"))]
    pub ensemble_ref: EnsembleRef,

    /// Minute, hour, day of the month, month, day of the week, as in a CronJob; or @hourly, @daily, @weekly, @monthly.
    #[schemars(length(min = 1, max = 120))]
    #[x_kube(validation = Rule::new("self.matches('^ *(@[a-z]+|[^ @]+( +[^ ]+){4}) *$')")
        .message("schedule must have five fields, as in \"0 3 * * *\", or be @hourly, @daily, @weekly or @monthly"))]
    pub schedule: String,

    /// IANA name of the time zone in which the schedule is read, for example Europe/Berlin.
    #[serde(default = "time_zone")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,

    /// Make no backups. Slots that pass meanwhile are not made up for.
    #[serde(default)]
    pub suspend: bool,

    /// Make a first backup at once.
    #[serde(default)]
    pub immediate: bool,

    /// A slot that cannot begin within this time is missed. When absent, a late backup is better than none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 604_800))]
    pub starting_deadline_seconds: Option<u32>,

    #[serde(default)]
    pub retention: BackupRetention,

    pub template: BackupTemplate,
}

/// Which backups of this schedule stay. Only successes count for the first two, the newest one always stays, and when
/// neither is set all stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRetention {
    /// At least this many of the newest successes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub keep_last: Option<u32>,

    /// Every success that is not older than this, for example 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<Duration>,

    /// This many of the newest failures.
    #[serde(default = "failed_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub failed_history_limit: u32,
}

impl Default for BackupRetention {
    fn default() -> Self {
        Self { keep_last: None, keep_within: None, failed_history_limit: failed_history_limit() }
    }
}

/// What each backup looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupTemplate {
    pub destination: Destination,

    /// How long a backup may take, waiting included. Then it has failed.
    #[serde(default = "deadline_seconds")]
    #[schemars(range(min = 10, max = 86_400))]
    pub deadline_seconds: u32,

    /// What becomes of the file when its ZkBackup goes.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,

    #[serde(default)]
    pub source: BackupSource,
}

/// What the schedule has done and will do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZkBackupScheduleStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The newest slot whose backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,

    /// The newest slot that could not begin in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_missed_time: Option<Time>,

    /// Slots up to this one are over: made, missed, or passed while suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_time: Option<Time>,

    /// When the newest good backup was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,

    /// The newest good backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_backup: Option<String>,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,

    /// The backup that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveBackup>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveBackup {
    pub name: String,
}

fn time_zone() -> String {
    "UTC".to_owned()
}

const fn failed_history_limit() -> u32 {
    3
}

const fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
}
