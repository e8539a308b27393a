//! The Jobs: one that makes an archive, one that removes it. Pure.
//!
//! Their pods carry none of the labels that select members: no Service sends clients to them, no budget counts them,
//! and the StatefulSet does not take them for its own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zke_api::ENSEMBLE_ID_ANNOTATION;

use crate::backup::request::Request;
use crate::build::stateful_set::TLS_PATH;
use crate::ensemble::Ensemble;
use crate::names::{ADMIN_PORT, FIELD_MANAGER, MANAGED_BY_LABEL};

/// On Jobs and their pods: the ZkBackup they work for.
pub const BACKUP_LABEL: &str = "zkensemble.dev/backup";
const ENSEMBLE_LABEL: &str = "zkensemble.dev/ensemble";
/// The pod from which the snapshot is taken.
pub const MEMBER_ANNOTATION: &str = "zkensemble.dev/member";

pub const CONTAINER: &str = "zkd";
const BACKUP_PATH: &str = "/backup";
const REPORT_PATH: &str = "/dev/termination-log";
/// The group of the files on the claim as well, so that every Job can read and remove what an earlier one wrote.
const USER_ID: i64 = 10_001;
/// A pod that a drain or a lost node took with it gets two more; what fails three times is not the node's fault.
const BACKOFF_LIMIT: i32 = 2;
/// As long as a deletion waits for it.
const REMOVAL_DEADLINE_S: i64 = 30 * 60;
/// The backup that owned it is gone by then; long enough to read the log of a removal that failed.
const REMOVAL_KEPT_S: i32 = 3600;

/// The Job that makes the archive, until the request's deadline. Owned by the ZkBackup, and kept as long as that is.
pub fn backup(request: &Request, ensemble: &Ensemble, member: &str, now: Timestamp) -> Job {
    let names = &ensemble.names;
    let remaining_s = request.deadline().as_second().saturating_sub(now.as_second()).max(1);
    let arguments = [
        ("--member", names.uri(member)),
        ("--address", format!("{}:{}", names.host(member), ADMIN_PORT.1)),
        ("--tls-dir", TLS_PATH.to_owned()),
        ("--name", request.archive()),
        ("--to", request.folder(BACKUP_PATH)),
        ("--report", REPORT_PATH.to_owned()),
    ];
    let command = ["zkd", "backup"].map(str::to_owned).into_iter();
    let command = command.chain(arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    let mut annotations = BTreeMap::from([(MEMBER_ANNOTATION.to_owned(), member.to_owned())]);
    if let Some(id) = &ensemble.status.ensemble_id {
        annotations.insert(ENSEMBLE_ID_ANNOTATION.to_owned(), id.clone());
    }
    let mut pod = pod(request, Some(ensemble), ensemble.image(), command.collect());
    let tls = Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names.backup_tls_secret()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    pod.volumes.get_or_insert_default().push(tls);
    for container in &mut pod.containers {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: "tls".to_owned(),
            mount_path: TLS_PATH.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    Job {
        metadata: ObjectMeta {
            annotations: Some(annotations),
            owner_references: Some(vec![request.owner.clone()]),
            ..metadata(request, request.job())
        },
        spec: Some(JobSpec { active_deadline_seconds: Some(remaining_s), ..spec(request, pod) }),
        ..Job::default()
    }
}

/// The Job that removes the archive. It has no owner: while the ZkBackup is being deleted, the garbage collector may
/// end what it owns before this has done its work.
pub fn removal(request: &Request, ensemble: Option<&Ensemble>, image: String, path: &str) -> Job {
    let command = ["zkd", "prune", "--dir", &request.folder(BACKUP_PATH), "--report", REPORT_PATH, path];
    let pod = pod(request, ensemble, image, command.map(str::to_owned).to_vec());
    Job {
        metadata: metadata(request, request.removal_job()),
        spec: Some(JobSpec {
            active_deadline_seconds: Some(REMOVAL_DEADLINE_S),
            ttl_seconds_after_finished: Some(REMOVAL_KEPT_S),
            ..spec(request, pod)
        }),
        ..Job::default()
    }
}

fn spec(request: &Request, pod: PodSpec) -> JobSpec {
    JobSpec {
        backoff_limit: Some(BACKOFF_LIMIT),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels(request)), ..ObjectMeta::default() }),
            spec: Some(pod),
        },
        ..JobSpec::default()
    }
}

fn pod(request: &Request, ensemble: Option<&Ensemble>, image: String, command: Vec<String>) -> PodSpec {
    let pull_secrets = ensemble.map(|ensemble| ensemble.spec.image.pull_secrets.clone()).unwrap_or_default();
    let tolerations = ensemble.map(|ensemble| ensemble.spec.scheduling.tolerations.clone());
    PodSpec {
        containers: vec![container(ensemble, image, command)],
        volumes: Some(vec![Volume {
            name: "backup".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: request.claim().to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        }]),
        // Each attempt is a pod of its own, whose last words are still there when the next one has begun.
        restart_policy: Some("Never".to_owned()),
        service_account_name: ensemble.map(|ensemble| ensemble.names.service_account()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        tolerations: tolerations.filter(|tolerations| !tolerations.is_empty()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER_ID),
            run_as_group: Some(USER_ID),
            fs_group: Some(USER_ID),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container(ensemble: Option<&Ensemble>, image: String, command: Vec<String>) -> Container {
    let requests = [("cpu", "50m"), ("memory", "64Mi")];
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        image_pull_policy: ensemble
            .and_then(|ensemble| ensemble.spec.image.pull_policy)
            .map(|policy| format!("{policy:?}")),
        command: Some(command),
        termination_message_path: Some(REPORT_PATH.to_owned()),
        // One that dies before its report leaves its last log lines instead.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        resources: Some(ResourceRequirements {
            requests: Some(
                requests.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into(),
            ),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "backup".to_owned(),
            mount_path: BACKUP_PATH.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn metadata(request: &Request, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(request.namespace.clone()),
        labels: Some(labels(request)),
        ..ObjectMeta::default()
    }
}

fn labels(request: &Request) -> BTreeMap<String, String> {
    let ensemble = &request.spec.ensemble_ref.name;
    [
        ("app.kubernetes.io/name", "zkd-backup"),
        (MANAGED_BY_LABEL, FIELD_MANAGER),
        (BACKUP_LABEL, &request.name),
        (ENSEMBLE_LABEL, ensemble),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}
