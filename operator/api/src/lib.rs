//! The custom resources of zkensemble, as Rust types.
//!
//! `crds/*.yaml` is generated from here ([`render`]) and never edited. What the API server can check by itself
//! stands in the schema as CEL rules whose messages say what to do; what it cannot (Secrets, live state) becomes
//! a condition. Defaults that will never change are in the schema; the rest is resolved by the operator in memory.
//! Nothing here decides or talks to anyone.

mod backup;
mod bootstrap;
pub mod condition;
mod crd;
mod duration;
mod ensemble;
mod quantity;
mod schedule;
mod server;
mod status;
mod storage;

pub use backup::{
    Artifact, BackupPhase, BackupSource, ClaimDestination, DeletionPolicy, Destination, EnsembleRef,
    ZkBackup, ZkBackupSpec, ZkBackupStatus,
};
pub use bootstrap::{ArchiveOnClaim, Bootstrap, Restore};
pub use crd::{crds, render};
pub use duration::Duration;
pub use ensemble::{
    AntiAffinity, ClientService, ClientServiceType, Image, PodDisruptionBudget, PullPolicy, Resources,
    Scheduling, Services, Spread, UpdatePolicy, ZkEnsemble, ZkEnsembleSpec,
};
pub use quantity::Quantity;
pub use schedule::{
    ActiveBackup, BackupRetention, BackupTemplate, ZkBackupSchedule, ZkBackupScheduleSpec,
    ZkBackupScheduleStatus,
};
pub use server::{FourLetterWord, Limits, LogFormat, LogLevel, Logging, Server, Session};
pub use status::{
    Endpoints, Expectation, LastBackup, MemberRole, MemberState, MemberStatus, OperationStatus,
    RejectedTemplate, RemovalStatus, ZkEnsembleStatus,
};
pub use storage::{ClaimMetadata, Retention, RetentionPolicy, Storage};

/// The API group of every kind.
pub const GROUP: &str = "zkensemble.dev";

/// The label, on every object of an ensemble, that holds the ensemble's name.
pub const NAME_LABEL: &str = "zkensemble.dev/name";

/// On a claim: the ensemble its disk belongs to, 32 hex digits. A disk without it has never been used.
pub const ENSEMBLE_ID_ANNOTATION: &str = "zkensemble.dev/ensemble-id";

/// On a ZkEnsemble: any other value than before renews all members, one by one. By custom the time of the request.
pub const RESTARTED_AT_ANNOTATION: &str = "zkensemble.dev/restartedAt";

/// On a StatefulSet: which pod template it carries, as a digest or as the revision that was put back.
pub const TEMPLATE_ANNOTATION: &str = "zkensemble.dev/template";

/// On a claim: `true` once the ensemble accepted clients, so that an empty disk behind it means lost data.
pub const INITIALIZED_ANNOTATION: &str = "zkensemble.dev/initialized";

/// On a ZkBackup that a schedule has made: the schedule's name.
pub const SCHEDULE_LABEL: &str = "zkensemble.dev/schedule";

/// On a ZkBackup that takes its file along when it goes.
pub const ARTIFACT_FINALIZER: &str = "zkensemble.dev/artifact";
