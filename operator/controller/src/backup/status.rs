//! The status that follows from one look and one verdict, and the events that tell of it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::events::{Event, EventType};
use zke_api::condition::{self, condition};
use zke_api::{BackupPhase, ENSEMBLE_ID_ANNOTATION, ZkBackupStatus};
use zke_plan::backup::{Failure, Verdict};

use crate::backup::job::MEMBER_ANNOTATION;
use crate::backup::observe::Look;
use crate::backup::request::Request;
use crate::error::Error;
use crate::events::event;
use crate::job::CONTAINER;
use crate::job::outcome::{self, Complaint};

pub fn next(request: &Request, look: &Look, verdict: &Verdict<'_>, now: Timestamp) -> ZkBackupStatus {
    let mut status = request.status.clone();
    status.observed_generation = Some(request.generation);
    recall_job(&mut status, request, look);
    let mut report = Report { request, status, now };
    match verdict {
        Verdict::Wait(waiting) => report.goes_on(BackupPhase::Pending, waiting.name(), waiting.to_string()),
        // It is said when the Job is seen.
        Verdict::Start(_) => {}
        Verdict::Running => {
            let member = report.status.member.as_deref().unwrap_or("a member");
            let message = outcome::hindrance(&look.pods)
                .unwrap_or_else(|| format!("a snapshot is being taken from {member}"));
            report.goes_on(BackupPhase::Running, "Running", message);
        }
        Verdict::Succeeded => {
            let ensemble_id = report.status.ensemble_id.clone().unwrap_or_default();
            match outcome::artifact(&look.pods, &request.archive_path(&ensemble_id), &ensemble_id) {
                Ok(artifact) => report.succeeded(artifact),
                Err(complaint) => report.failed(&complaint),
            }
        }
        Verdict::Failed(failure) => report.failed(&complaint(request, look, *failure)),
    }
    report.status
}

/// The status of a backup at which nothing can be looked at; it goes on where it was.
pub fn hindered(request: &Request, error: &Error, now: Timestamp) -> ZkBackupStatus {
    let mut report = Report { request, status: request.status.clone(), now };
    report.goes_on(request.phase(), error.reason(), error.chain());
    report.status
}

/// What changed for people who watch.
pub fn news(before: &ZkBackupStatus, after: &ZkBackupStatus) -> Option<Event> {
    let ready = |status: &ZkBackupStatus| {
        status.conditions.iter().find(|condition| condition.type_ == condition::READY).cloned()
    };
    let (old, new) = (ready(before), ready(after)?);
    if before.phase == after.phase && old.is_some_and(|old| old.reason == new.reason) {
        return None;
    }
    let type_ = if after.phase == Some(BackupPhase::Failed) { EventType::Warning } else { EventType::Normal };
    Some(event(type_, &new.reason, new.message))
}

/// What the Job itself remembers of its beginning: it was made before anything was written here.
fn recall_job(status: &mut ZkBackupStatus, request: &Request, look: &Look) {
    let Some(job) = look.own_job(request) else { return };
    let annotation = |key: &str| job.annotations().get(key).cloned();
    status.job = Some(request.job());
    status.member = annotation(MEMBER_ANNOTATION);
    status.ensemble_id = annotation(ENSEMBLE_ID_ANNOTATION);
    status.start_time = job.metadata.creation_timestamp.clone();
    let template = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut containers = template.into_iter().flat_map(|pod| &pod.containers);
    status.image = containers.find(|container| container.name == CONTAINER).and_then(|it| it.image.clone());
}

fn complaint(request: &Request, look: &Look, failure: Failure) -> Complaint {
    let failed = match failure {
        Failure::Job => look.own_job(request).map(|job| outcome::complaint_of(job, &look.pods)),
        Failure::Lost => Some(Complaint {
            reason: "Lost".to_owned(),
            message: format!("Job {} was removed before its result was read", request.job()),
        }),
        Failure::DeadlineExceeded => None,
    };
    // The Job controller's own words for it say nothing about what was waited for.
    failed.filter(|complaint| complaint.reason != "DeadlineExceeded").unwrap_or_else(|| {
        let mut message = format!("not done within {} s", request.spec.deadline_seconds);
        let conditions = &request.status.conditions;
        if let Some(last) = conditions.iter().find(|condition| condition.type_ == condition::READY) {
            message += &format!("; at last: {}", last.message);
        }
        Complaint { reason: "DeadlineExceeded".to_owned(), message }
    })
}

struct Report<'a> {
    request: &'a Request,
    status: ZkBackupStatus,
    now: Timestamp,
}

impl Report<'_> {
    fn goes_on(&mut self, phase: BackupPhase, reason: &str, message: String) {
        self.status.phase = Some(phase);
        self.set(condition::READY, false, reason, message.clone());
        self.set(condition::RECONCILING, true, reason, message);
    }

    fn succeeded(&mut self, artifact: zke_api::Artifact) {
        let message = format!("{} holds the ensemble as of zxid {}", artifact.path, artifact.zxid);
        self.status.artifact = Some(artifact);
        self.ends(BackupPhase::Succeeded);
        self.set(condition::READY, true, "Succeeded", message);
    }

    fn failed(&mut self, complaint: &Complaint) {
        self.ends(BackupPhase::Failed);
        self.set(condition::READY, false, &complaint.reason, complaint.message.clone());
        self.set(condition::STALLED, true, &complaint.reason, complaint.message.clone());
    }

    fn ends(&mut self, phase: BackupPhase) {
        self.status.phase = Some(phase);
        self.status.completion_time = Some(Time(self.now));
        condition::clear(&mut self.status.conditions, condition::RECONCILING);
    }

    fn set(&mut self, type_: &str, holds: bool, reason: &str, message: String) {
        // A condition's message may have 32 KiB; a termination message has at most four.
        let message: String = message.chars().take(4096).collect();
        let generation = Some(self.request.generation);
        condition::set(
            &mut self.status.conditions,
            condition(type_, holds, reason, message, generation, Time(self.now)),
        );
    }
}
