//! What a Job and its pods say: whether it has ended, what it has made, why it failed, what it waits for. Pure.

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod};
use kube::ResourceExt;
use serde::Deserialize;
use zke_api::Artifact;
use zke_plan::backup::JobState;

use crate::job::CONTAINER;

/// Why there is no archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// A CamelCase word.
    pub reason: String,
    pub message: String,
}

/// What `zkd` leaves as its termination message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    result: ReportResult,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    artifact: Option<Artifact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum ReportResult {
    Succeeded,
    Failed,
}

/// The state of a Job.
pub fn state(job: &Job) -> JobState {
    if finished(job, "Complete").is_some() {
        JobState::Succeeded
    } else if finished(job, "Failed").is_some() {
        JobState::Failed
    } else {
        JobState::Active
    }
}

/// The archive of a Job that has succeeded, if its report can be believed: a file at `path` of ensemble `ensemble_id`.
pub fn artifact(pods: &[Pod], path: &str, ensemble_id: &str) -> Result<Artifact, Complaint> {
    let reports = newest_first(pods).into_iter().filter_map(|pod| read(terminated(pod)?));
    let report = reports.into_iter().find(|report| report.result == ReportResult::Succeeded);
    let Some(artifact) = report.and_then(|report| report.artifact) else {
        return Err(complaint(
            "ReportMissing",
            "the Job has succeeded, but the pod that held its report is gone; make another backup",
        ));
    };
    let is_sha256 =
        artifact.sha256.len() == 64 && artifact.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    if artifact.ensemble_id != ensemble_id {
        let message =
            format!("a snapshot of ensemble {} instead of {ensemble_id} was made", artifact.ensemble_id);
        return Err(complaint("WrongEnsemble", message));
    }
    if artifact.path != path || !is_sha256 {
        let message = format!("the Job's report names {} with sha256 {}", artifact.path, artifact.sha256);
        return Err(complaint("ReportUnreadable", message));
    }
    Ok(artifact)
}

/// Why a Job has failed: by its own report, else by what became of its last pod.
pub fn complaint_of(job: &Job, pods: &[Pod]) -> Complaint {
    let failed = finished(job, "Failed");
    let reason = failed.and_then(|condition| condition.reason.as_deref()).unwrap_or("JobFailed");
    if reason != "DeadlineExceeded"
        && let Some(complaint) = newest_first(pods).into_iter().find_map(last_words)
    {
        return complaint;
    }
    let message = failed.and_then(|condition| condition.message.as_deref()).unwrap_or("the Job has failed");
    complaint(reason, message)
}

/// What keeps the Job from working, if anything does: a claim that is not there, an image that cannot be pulled, an
/// attempt that failed.
pub fn hindrance(pods: &[Pod]) -> Option<String> {
    let pods = newest_first(pods);
    let newest = pods.first()?;
    if let Some(complaint) = last_words(newest) {
        return Some(format!("will be tried again: {}: {}", complaint.reason, complaint.message));
    }
    let status = newest.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.status == "False" && condition.message.is_some()
    });
    if let Some(message) = unscheduled.and_then(|condition| condition.message.clone()) {
        return Some(format!("its pod cannot be scheduled: {message}"));
    }
    let waiting = container_state(newest)?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| *reason != "ContainerCreating")?;
    Some(format!("its pod waits: {reason}: {}", waiting.message.as_deref().unwrap_or_default()))
}

/// What a pod that has failed left behind.
fn last_words(pod: &Pod) -> Option<Complaint> {
    let status = pod.status.as_ref()?;
    let terminated = terminated(pod);
    if let Some(report) = terminated.and_then(read) {
        return (report.result == ReportResult::Failed)
            .then(|| complaint(word(&report.reason), report.message));
    }
    if terminated.is_none() && status.phase.as_deref() != Some("Failed") {
        return None;
    }
    let name = pod.name_any();
    // Evicted, Shutdown, …: what the node did to it says more than the signal by which it did so.
    if let Some(reason) = status.reason.as_deref() {
        let message = status.message.as_deref().unwrap_or("no more is known");
        return Some(complaint(word(reason), format!("pod {name} was ended: {message}")));
    }
    let Some(terminated) = terminated else {
        return Some(complaint("PodDied", format!("pod {name} has failed before it began")));
    };
    let code = terminated.exit_code;
    let reason = match terminated.reason.as_deref() {
        None | Some("Error" | "Completed") => "PodDied",
        Some(reason) => word(reason),
    };
    let mut message = format!("pod {name} ended without a report, with exit code {code}");
    if let Some(signal) = terminated.signal.or_else(|| (code > 128).then(|| code - 128)) {
        message += &format!(" (signal {signal})");
    }
    if let Some(last) = terminated.message.as_deref().and_then(|text| text.trim().lines().last()) {
        message += &format!(": {last}");
    }
    Some(complaint(reason, message))
}

fn read(terminated: &ContainerStateTerminated) -> Option<Report> {
    serde_json::from_str(terminated.message.as_deref()?.trim()).ok()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container_state(pod)?.terminated.as_ref()
}

fn container_state(pod: &Pod) -> Option<&ContainerState> {
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    containers.find(|container| container.name == CONTAINER)?.state.as_ref()
}

fn newest_first(pods: &[Pod]) -> Vec<&Pod> {
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_cached_key(|pod| {
        std::cmp::Reverse((pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any()))
    });
    pods
}

fn finished<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn complaint(reason: &str, message: impl Into<String>) -> Complaint {
    Complaint { reason: reason.to_owned(), message: message.into() }
}

/// A word that the API server takes as a condition's reason.
fn word(reason: &str) -> &str {
    let begins = reason.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let is_word = begins && reason.len() <= 128 && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { reason } else { "BackupFailed" }
}
