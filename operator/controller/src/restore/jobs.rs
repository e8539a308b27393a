//! The Jobs: one that proves an archive, one that restores it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zke_plan::{EnsembleId, MemberId};

use crate::build::pod_template::TLS_PATH;
use crate::ensemble::Ensemble;
use crate::job::{self, ARCHIVES_PATH, Archives, BACKOFF_LIMIT, ENSEMBLE_LABEL, REPORT_PATH};
use crate::names::{ADMIN_PORT, FIELD_MANAGER, MANAGED_BY_LABEL};
use crate::restore::Archive;

/// What these Jobs are called in `app.kubernetes.io/name`.
pub const NAME: &str = "zkd-restore";
/// Reading an archive takes seconds per gigabyte; a volume that cannot be mounted must end some time.
const DEADLINE_S: i64 = 3_600;

/// Reads the archive from end to end and changes nothing.
pub fn check(ensemble: &Ensemble, archive: &Archive) -> Job {
    let command = command("verify", archive, Vec::new());
    let pod = job::pod(Some(ensemble), ensemble.image(), command, archives(archive));
    job(ensemble, ensemble.names.check_archive_job(), pod)
}

/// Sends the archive to the first member's process, which must be on this very disk.
pub fn restore(
    ensemble: &Ensemble,
    archive: &Archive,
    ordinal: u32,
    member_id: MemberId,
    ensemble_id: EnsembleId,
) -> Job {
    let names = &ensemble.names;
    let pod = names.pod(ordinal);
    let arguments = [
        ("--member", names.uri(&pod)),
        ("--address", format!("{}:{}", names.host(&pod), ADMIN_PORT.1)),
        ("--tls-dir", TLS_PATH.to_owned()),
        ("--ensemble-id", ensemble_id.to_string()),
        ("--member-id", member_id.to_string()),
        ("--pod", pod.clone()),
        ("--peer-address", names.peer_address(&pod)),
        ("--epoch-above", archive.epoch_above.to_string()),
    ];
    let command = command("restore", archive, arguments.into_iter().collect());
    let pod = job::pod(Some(ensemble), ensemble.image(), command, archives(archive));
    job(ensemble, names.restore_job(member_id), job::with_certificate(pod, names.restore_tls_secret()))
}

fn command(verb: &str, archive: &Archive, arguments: Vec<(&str, String)>) -> Vec<String> {
    let mut command =
        ["zkd".to_owned(), verb.to_owned(), format!("{ARCHIVES_PATH}/{}", archive.file)].to_vec();
    let sha256 = archive.sha256.iter().map(|sha256| ("--sha256", sha256.clone()));
    let report = [("--report", REPORT_PATH.to_owned())];
    for (flag, value) in sha256.chain(arguments).chain(report) {
        command.extend([flag.to_owned(), value]);
    }
    command
}

fn archives(archive: &Archive) -> Archives<'_> {
    Archives { claim: &archive.claim, read_only: true }
}

fn job(ensemble: &Ensemble, name: String, pod: PodSpec) -> Job {
    let labels: BTreeMap<_, _> = [
        ("app.kubernetes.io/name", NAME),
        (MANAGED_BY_LABEL, FIELD_MANAGER),
        (ENSEMBLE_LABEL, ensemble.names.name.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let metadata = ObjectMeta { labels: Some(labels.clone()), ..ensemble.metadata(name) };
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(BACKOFF_LIMIT),
            active_deadline_seconds: Some(DEADLINE_S),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkEnsemble
metadata: {name: shop, namespace: retail, uid: u}
spec: {replicas: 3, version: 9.8.7, storage: {size: 5Gi}}
"#;

    fn commands(job: &Job) -> String {
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).unwrap();
        pod.containers[0].command.as_ref().unwrap().join(" ")
    }

    #[test]
    fn jobs_say_which_archive_and_which_disk() {
        let ensemble = Ensemble::resolve(serde_saphyr::from_str(MANIFEST).unwrap());
        let archive = Archive {
            claim: "backups".to_owned(),
            file: "nightly/0a/b.zks".to_owned(),
            sha256: Some("ab".repeat(32)),
            epoch_above: 7,
        };
        let sha256 = format!("--sha256 {}", "ab".repeat(32));
        assert_eq!(
            commands(&check(&ensemble, &archive)),
            format!("zkd verify /backup/nightly/0a/b.zks {sha256} --report /dev/termination-log")
        );
        let job = restore(&ensemble, &archive, 0, MemberId(5), EnsembleId(10));
        assert_eq!(job.metadata.name.as_deref(), Some("shop-restore-0000000000000005"));
        let host = "shop-0.shop-headless.retail.svc.cluster.local";
        assert_eq!(
            commands(&job),
            format!(
                "zkd restore /backup/nightly/0a/b.zks {sha256} --member zkensemble://retail/shop/shop-0 --address {host}:2889 --tls-dir /etc/zkd-tls --ensemble-id 0000000000000000000000000000000a --member-id 0000000000000005 --pod shop-0 --peer-address {host}:2888 --epoch-above 7 --report /dev/termination-log"
            )
        );
        let pod = job.spec.unwrap().template.spec.unwrap();
        let claim = pod.volumes.unwrap()[0].persistent_volume_claim.clone().unwrap();
        assert_eq!((claim.claim_name.as_str(), claim.read_only), ("backups", Some(true)));
    }
}
