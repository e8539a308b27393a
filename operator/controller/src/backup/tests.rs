//! Jobs as they are rendered, against `golden.yaml`, and what becomes of what they and their pods say.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use zke_api::condition;
use zke_api::{ZkEnsemble, ZkEnsembleStatus};
use zke_plan::backup::Waiting;

use super::*;
use crate::ensemble::Ensemble;

const ENSEMBLE_ID: &str = "0000000000000000000000000000000a";

fn request() -> Request {
    Request::resolve(
        serde_saphyr::from_str(
            r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkBackup
metadata: {name: before-sale, namespace: retail, uid: 99999999-aaaa-bbbb-cccc-dddddddddddd, generation: 1, creationTimestamp: "2026-06-01T00:00:00Z"}
spec:
  ensembleRef: {name: shop}
  destination: {persistentVolumeClaim: {claimName: vault, subPath: zk/shop}}
  deadlineSeconds: 600
  deletionPolicy: Delete
"#,
        )
        .unwrap(),
    )
}

fn ensemble() -> Ensemble {
    let mut object: ZkEnsemble = serde_saphyr::from_str(
        r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkEnsemble
metadata: {name: shop, namespace: retail, uid: e, generation: 4}
spec:
  replicas: 3
  version: 9.8.7
  storage: {size: 5Gi}
  image: {pullPolicy: Always, pullSecrets: [{name: registry}]}
  scheduling: {tolerations: [{key: storage, operator: Exists}]}
"#,
    )
    .unwrap();
    object.status =
        Some(ZkEnsembleStatus { ensemble_id: Some(ENSEMBLE_ID.to_owned()), ..ZkEnsembleStatus::default() });
    Ensemble::resolve(object)
}

/// Seconds after the backup was asked for.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(request().created.as_second() + second).unwrap()
}

fn made() -> Job {
    let mut job = job::backup(&request(), &ensemble(), "shop-2", at(45));
    job.metadata.uid = Some("job-uid".to_owned());
    job
}

fn ended(type_: &str, reason: &str, message: &str) -> Job {
    let mut job = made();
    let condition = json!({"type": type_, "status": "True", "reason": reason, "message": message});
    job.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
    job
}

/// A pod whose container has ended like this.
fn pod(name: &str, terminated: serde_json::Value) -> Pod {
    let container = json!({
        "name": "zkd", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
        "state": {"terminated": terminated},
    });
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "status": {"phase": "Failed", "containerStatuses": [container]},
    }))
    .unwrap()
}

fn report(path: &str, ensemble_id: &str) -> serde_json::Value {
    let artifact = json!({
        "path": path, "sizeBytes": 4096, "sha256": "ab".repeat(32), "formatVersion": 1, "index": 70, "term": 3,
        "zxid": "0x200000007", "ensembleID": ensemble_id, "memberID": "0000000000000003", "serverVersion": "9.8.7",
    });
    let report = json!({"result": "Succeeded", "reason": "Verified", "message": "m", "artifact": artifact});
    json!({"exitCode": 0, "reason": "Completed", "message": report.to_string()})
}

fn path() -> String {
    request().archive_path(ENSEMBLE_ID)
}

/// What is known after this Job and these pods were seen.
fn seen(request: &Request, job: Option<Job>, pods: Vec<Pod>, second: i64) -> ZkBackupStatus {
    let look = Look::of(job, pods);
    let verdict = judge(&look.attempt(request, &[]), at(second));
    status::next(request, &look, &verdict, at(second))
}

fn ready(status: &ZkBackupStatus) -> (&str, &str) {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == condition::READY).unwrap();
    (&ready.reason, &ready.message)
}

fn holds(status: &ZkBackupStatus, type_: &str) -> bool {
    condition::is_true(&status.conditions, type_)
}

#[test]
fn jobs_are_what_they_have_always_been() {
    let ensemble = ensemble();
    let documents = [
        job::backup(&request(), &ensemble, "shop-2", at(45)),
        job::removal(&request(), Some(&ensemble), "ghcr.io/zkensemble/zkd:9.8.7".to_owned(), &path()),
        job::removal(&request(), None, "ghcr.io/zkensemble/zkd:9.8.7".to_owned(), &path()),
    ];
    let rendered = documents.map(|job| serde_saphyr::to_string(&job).unwrap()).join("---\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backup/golden.yaml");
    if std::env::var_os("ZKE_BLESS").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(
        rendered == golden,
        "ZKE_BLESS=1 writes golden.yaml anew; read the difference with care:\n{rendered}"
    );
}

#[test]
fn no_service_budget_or_stateful_set_takes_the_pods_for_members() {
    let job = made();
    let labels = job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
    let selector = ensemble().names.selector();
    assert!(!selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{labels:?}");
    assert_eq!(labels.get(zke_api::NAME_LABEL), None, "it would wake the ensemble's reconciler");
}

#[test]
fn the_longest_names_fit() {
    let mut request = request();
    request.name = "x".repeat(55);
    for name in [request.job(), request.removal_job()] {
        assert!(name.len() <= 63, "{name}");
    }
}

#[test]
fn an_archive_that_was_read_back_is_success() {
    let pods = vec![pod("p", report(&path(), ENSEMBLE_ID))];
    let status = seen(&request(), Some(ended("Complete", "", "")), pods, 60);
    assert_eq!(status.phase, Some(BackupPhase::Succeeded));
    assert_eq!(status.artifact.as_ref().unwrap().zxid, "0x200000007");
    assert_eq!(status.member.as_deref(), Some("shop-2"));
    assert_eq!(status.image.as_deref(), Some("ghcr.io/zkensemble/zkd:9.8.7"));
    assert!(holds(&status, condition::READY));
    assert!(!holds(&status, condition::RECONCILING) && !holds(&status, condition::STALLED));
}

#[test]
fn a_report_that_cannot_be_believed_is_failure() {
    let other = "0000000000000000000000000000000b";
    let elsewhere = format!("{ENSEMBLE_ID}/../../etc/passwd");
    for (pods, reason) in [
        (Vec::new(), "ReportMissing"),
        (vec![pod("p", json!({"exitCode": 0, "message": "{\"result\":"}))], "ReportMissing"),
        (vec![pod("p", report(&path(), other))], "WrongEnsemble"),
        (vec![pod("p", report(&elsewhere, ENSEMBLE_ID))], "ReportUnreadable"),
    ] {
        let status = seen(&request(), Some(ended("Complete", "", "")), pods, 60);
        assert_eq!(status.phase, Some(BackupPhase::Failed));
        assert_eq!(ready(&status).0, reason);
        assert!(status.artifact.is_none());
    }
}

#[test]
fn a_failure_says_why() {
    let full = r#"{"result":"Failed","reason":"NoSpace","message":"writing x.zks: no space is left"}"#;
    let evicted: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"},
    }))
    .unwrap();
    for (pods, reason, part) in [
        (vec![pod("p", json!({"exitCode": 1, "message": full}))], "NoSpace", "no space is left"),
        (
            vec![pod("p", json!({"exitCode": 137, "reason": "OOMKilled"}))],
            "OOMKilled",
            "exit code 137 (signal 9)",
        ),
        (
            vec![pod("p", json!({"exitCode": 1, "reason": "Error", "message": "a\npanicked\n"}))],
            "PodDied",
            "code 1: panicked",
        ),
        (vec![evicted], "Evicted", "low on memory"),
        (vec![], "BackoffLimitExceeded", "reached the limit"),
    ] {
        let job = ended("Failed", "BackoffLimitExceeded", "Job has reached the limit");
        let status = seen(&request(), Some(job), pods, 60);
        assert_eq!(status.phase, Some(BackupPhase::Failed));
        assert_eq!(ready(&status).0, reason);
        assert!(ready(&status).1.contains(part), "{}", ready(&status).1);
        assert!(holds(&status, condition::STALLED), "kstatus reads failure from it");
    }
}

#[test]
fn a_deadline_says_what_was_waited_for() {
    let mut request = request();
    let pending: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "persistentvolumeclaim \"vault\" not found",
        }]},
    }))
    .unwrap();
    request.status = seen(&request, Some(made()), vec![pending], 60);
    assert_eq!(request.status.phase, Some(BackupPhase::Running));
    assert!(ready(&request.status).1.contains("\"vault\" not found"));
    let job = ended("Failed", "DeadlineExceeded", "Job was active longer than specified deadline");
    let status = seen(&request, Some(job), Vec::new(), 601);
    assert_eq!(ready(&status).0, "DeadlineExceeded");
    assert!(ready(&status).1.contains("not done within 600 s; at last: its pod cannot be scheduled"));
}

#[test]
fn a_failed_attempt_is_shown_while_the_next_one_runs() {
    let pods = vec![pod("p", json!({"exitCode": 137, "reason": "OOMKilled"}))];
    let status = seen(&request(), Some(made()), pods, 60);
    assert_eq!(status.phase, Some(BackupPhase::Running));
    assert!(ready(&status).1.contains("will be tried again: OOMKilled"), "{}", ready(&status).1);
}

#[test]
fn a_job_that_vanished_is_lost_and_another_ones_is_not_ours() {
    let mut request = request();
    request.status = seen(&request, Some(made()), Vec::new(), 60);
    let status = seen(&request, None, Vec::new(), 70);
    assert_eq!((status.phase, ready(&status).0), (Some(BackupPhase::Failed), "Lost"));

    let mut foreign = made();
    foreign.metadata.owner_references.as_mut().unwrap()[0].uid = "another".to_owned();
    let status = seen(&request, Some(foreign), Vec::new(), 70);
    assert_eq!(ready(&status).0, "Lost");
}

#[test]
fn each_change_is_one_event() {
    let request = request();
    let nothing = ZkBackupStatus::default();
    let missing = seen(&request, None, Vec::new(), 1);
    assert_eq!(ready(&missing).0, Waiting::EnsembleMissing.name());
    assert!(holds(&missing, condition::RECONCILING));
    let running = seen(&request, Some(made()), Vec::new(), 2);
    let lost = seen(&Request { status: running.clone(), ..request.clone() }, None, Vec::new(), 3);
    let reason = |before, after| status::news(before, after).map(|event| event.reason);
    assert_eq!(reason(&nothing, &missing).as_deref(), Some("EnsembleMissing"));
    assert_eq!(reason(&missing, &missing), None);
    assert_eq!(reason(&missing, &running).as_deref(), Some("Running"));
    assert_eq!(reason(&running, &lost).as_deref(), Some("Lost"));
}
