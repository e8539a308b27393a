//! What the pods of all Jobs have in common. Pure.
//!
//! They carry none of the labels that select members: no Service sends clients to them, no budget counts them, and the
//! StatefulSet does not take them for its own.

pub mod outcome;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::build::pod_template::{TLS_PATH, USER_ID};
use crate::ensemble::Ensemble;

/// On Jobs and their pods: the ensemble that they work for.
pub const ENSEMBLE_LABEL: &str = "zkensemble.dev/ensemble";
pub const CONTAINER: &str = "zkd";
/// Where the claim with the archives is.
pub const ARCHIVES_PATH: &str = "/backup";
pub const REPORT_PATH: &str = "/dev/termination-log";
/// A pod that a drain or a lost node took with it gets two more; what fails three times is not the node's fault.
pub const BACKOFF_LIMIT: i32 = 2;

/// The claim that a Job reads archives from, or writes them to.
#[derive(Clone, Copy, Debug)]
pub struct Archives<'a> {
    pub claim: &'a str,
    pub read_only: bool,
}

/// The pod of a Job that runs one of `zkd`'s own commands on the archives of a claim.
pub fn pod(
    ensemble: Option<&Ensemble>,
    image: String,
    command: Vec<String>,
    archives: Archives<'_>,
) -> PodSpec {
    let pull_secrets = ensemble.map(|ensemble| ensemble.spec.image.pull_secrets.clone()).unwrap_or_default();
    let tolerations = ensemble.map(|ensemble| ensemble.spec.scheduling.tolerations.clone());
    PodSpec {
        containers: vec![container(ensemble, image, command, archives)],
        volumes: Some(vec![Volume {
            name: "backup".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: archives.claim.to_owned(),
                read_only: archives.read_only.then_some(true),
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

fn container(
    ensemble: Option<&Ensemble>,
    image: String,
    command: Vec<String>,
    archives: Archives<'_>,
) -> Container {
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
            mount_path: ARCHIVES_PATH.to_owned(),
            read_only: archives.read_only.then_some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// Gives a pod the certificate with which it calls members.
pub fn with_certificate(mut pod: PodSpec, secret: String) -> PodSpec {
    let tls = Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
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
    pod
}
