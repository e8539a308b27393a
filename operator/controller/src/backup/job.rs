//! The Jobs: one that makes an archive, one that removes it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zke_api::ENSEMBLE_ID_ANNOTATION;

use crate::backup::request::Request;
use crate::build::pod_template::TLS_PATH;
use crate::ensemble::Ensemble;
use crate::job::{self, ARCHIVES_PATH, Archives, BACKOFF_LIMIT, ENSEMBLE_LABEL, REPORT_PATH};
use crate::names::{ADMIN_PORT, FIELD_MANAGER, MANAGED_BY_LABEL};

/// On Jobs and their pods: the ZkBackup they work for.
pub const BACKUP_LABEL: &str = "zkensemble.dev/backup";
/// The pod from which the snapshot is taken.
pub const MEMBER_ANNOTATION: &str = "zkensemble.dev/member";

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
        ("--to", request.folder(ARCHIVES_PATH)),
        ("--report", REPORT_PATH.to_owned()),
    ];
    let command = ["zkd", "backup"].map(str::to_owned).into_iter();
    let command = command.chain(arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    let mut annotations = BTreeMap::from([(MEMBER_ANNOTATION.to_owned(), member.to_owned())]);
    if let Some(id) = &ensemble.status.ensemble_id {
        annotations.insert(ENSEMBLE_ID_ANNOTATION.to_owned(), id.clone());
    }
    let pod = job::pod(Some(ensemble), ensemble.image(), command.collect(), archives(request));
    let pod = job::with_certificate(pod, names.backup_tls_secret());
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
    let command = ["zkd", "prune", "--dir", &request.folder(ARCHIVES_PATH), "--report", REPORT_PATH, path];
    let pod = job::pod(ensemble, image, command.map(str::to_owned).to_vec(), archives(request));
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

fn archives(request: &Request) -> Archives<'_> {
    Archives { claim: request.claim(), read_only: false }
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
