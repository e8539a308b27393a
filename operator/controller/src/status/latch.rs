//! The latch: the operation under way as it stands in the status, written before its step is taken.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use zke_api::condition::{self, condition};
use zke_api::{Expectation, OperationStatus, RejectedTemplate, RemovalStatus, ZkEnsembleStatus};
use zke_plan::{Decision, MemberId, Operation, OperationKind, Removal, Revision, Step};

use crate::build::pod_template::TERMINATION_GRACE_PERIOD_S;
use crate::ensemble::Ensemble;
use crate::names::Names;
use crate::observe::Look;
use crate::pod_state;
use crate::template::WantedTemplate;

/// The latched operation, as the plan knows it. `None` as well when it cannot be understood, which the plan then
/// treats as a status that was lost: it looks at the volumes again.
pub fn latched(names: &Names, status: &ZkEnsembleStatus) -> Option<Operation> {
    let operation = status.operation.as_ref()?;
    Some(Operation {
        kind: OperationKind::from_name(&operation.type_)?,
        replicas: operation.replicas,
        ensemble_id: status.ensemble_id.as_ref()?.parse().ok()?,
        seed: parse_or_absent(operation.seed_member_id.as_deref())?,
        abandoned: parse_or_absent(operation.abandoned_id.as_deref())?,
        good: operation.good_revision.clone().map(Revision),
        removal: match &operation.removal {
            Some(removal) => Some(read_removal(names, removal)?),
            None => None,
        },
    })
}

fn read_removal(names: &Names, removal: &RemovalStatus) -> Option<Removal> {
    Some(Removal {
        ordinal: names.pod_ordinal(&removal.pod)?,
        pod_uid: removal.pod_uid.clone(),
        member_id: removal.member_id.parse().ok()?,
        index: removal.log_index,
    })
}

pub(super) fn latch(
    status: &mut ZkEnsembleStatus,
    ensemble: &Ensemble,
    look: &Look,
    template: &WantedTemplate,
    decision: &Decision,
    now: Timestamp,
) {
    let Decision::Act(step) = decision else { return };
    match step {
        Step::Begin(operation) => {
            status.ensemble_id = Some(operation.ensemble_id.to_string());
            let same = status.operation.take().filter(|known| known.type_ == operation.kind.name());
            let started_at = same.map_or(now, |known| known.started_at.0);
            status.operation = Some(OperationStatus {
                type_: operation.kind.name().to_owned(),
                replicas: operation.replicas,
                spec_generation: ensemble.generation,
                step: None,
                target: None,
                expect: None,
                seed_member_id: operation.seed.map(|id| id.to_string()),
                abandoned_id: operation.abandoned.map(|id| id.to_string()),
                good_revision: operation.good.as_ref().map(|good| good.0.clone()),
                removal: None,
                started_at: Time(started_at),
                deadline: deadline(ensemble, started_at),
                attempts: 0,
            });
        }
        Step::Finish { replicas, config_index } => {
            status.operation = None;
            status.replicas = Some(*replicas);
            status.config_index = Some(*config_index);
            let message = "the ensemble accepts clients";
            let initialized = condition(
                condition::INITIALIZED,
                true,
                "Serving",
                message,
                Some(ensemble.generation),
                Time(now),
            );
            condition::set(&mut status.conditions, initialized);
        }
        step => {
            if let Step::PutBack { failed, good } = step {
                status.rejected = Some(RejectedTemplate {
                    template: template.rendered.clone(),
                    revision: failed.0.clone(),
                    good_revision: good.0.clone(),
                    message: troubles(ensemble, look, failed),
                    since: Time(now),
                });
            }
            if let Some(operation) = &mut status.operation {
                if let Step::RemovePod { removal, .. } = step {
                    let asked =
                        operation.removal.as_ref().is_some_and(|known| known.pod_uid == removal.pod_uid);
                    operation.removal = Some(write_removal(&ensemble.names, removal));
                    // Each member has its own time to go and to come back. Asking again gives it no more.
                    if !asked {
                        operation.deadline = renewal_deadline(ensemble, now);
                    }
                }
                if matches!(step, Step::PutBack { .. }) {
                    operation.deadline = renewal_deadline(ensemble, now);
                }
                let (target, expect) = describe(ensemble, step);
                let again = operation.step.as_deref() == Some(step.name()) && operation.target == target;
                operation.attempts = if again { operation.attempts.saturating_add(1) } else { 1 };
                operation.step = Some(step.name().to_owned());
                operation.target = target;
                operation.expect = expect;
            }
        }
    }
}

fn deadline(ensemble: &Ensemble, from: Timestamp) -> Time {
    after(from, i64::from(ensemble.spec.progress_deadline_seconds))
}

/// A pod has its grace period to go, and its successor the deadline to be ready: from its own beginning, which the plan
/// counts from. So what a template that fails is called is never that it takes long.
fn renewal_deadline(ensemble: &Ensemble, from: Timestamp) -> Time {
    after(from, i64::from(ensemble.spec.progress_deadline_seconds) + TERMINATION_GRACE_PERIOD_S)
}

fn after(from: Timestamp, seconds: i64) -> Time {
    Time(Timestamp::from_second(from.as_second().saturating_add(seconds)).unwrap_or(from))
}

fn write_removal(names: &Names, removal: &Removal) -> RemovalStatus {
    RemovalStatus {
        pod: names.pod(removal.ordinal),
        pod_uid: removal.pod_uid.clone(),
        member_id: removal.member_id.to_string(),
        log_index: removal.index,
    }
}

/// What is wrong with the pods that were made from this revision.
fn troubles(ensemble: &Ensemble, look: &Look, revision: &Revision) -> String {
    let pods = look.pods.iter().filter(|(_, pod)| pod_state::revision(pod).as_ref() == Some(revision));
    let troubles = pods.map(|(ordinal, pod)| {
        let silent = || "its process runs and does not get ready".to_owned();
        format!("{}: {}", ensemble.names.pod(*ordinal), pod_state::trouble(pod).unwrap_or_else(silent))
    });
    troubles.collect::<Vec<_>>().join("; ")
}

/// Whom a step is about, and what it was allowed to find there.
fn describe(ensemble: &Ensemble, step: &Step) -> (Option<String>, Option<Expectation>) {
    let names = &ensemble.names;
    let disk = |id: &MemberId| Expectation { member_id: Some(id.to_string()), ..Expectation::default() };
    match step {
        Step::Bootstrap { ordinal, member_id, .. }
        | Step::Restore { ordinal, member_id, .. }
        | Step::Join { ordinal, member_id, .. } => (Some(names.pod(*ordinal)), Some(disk(member_id))),
        Step::AddLearner { ordinal, member_id, config_index } => (
            Some(names.pod(*ordinal)),
            Some(Expectation { config_index: Some(*config_index), ..disk(member_id) }),
        ),
        Step::ChangeVoters { config_index, voters, .. } => (
            Some(format!("{} voters", voters.len())),
            Some(Expectation { config_index: Some(*config_index), ..Expectation::default() }),
        ),
        Step::TransferLeadership { to, .. } => (Some(to.to_string()), None),
        Step::SetReplicas { to, .. } => (Some(format!("{to} pods")), None),
        Step::SetBudget { min_available } => {
            (Some(min_available.map_or("no budget".to_owned(), |least| format!("{least} available"))), None)
        }
        Step::MarkClaims { claims, .. } => (claims.first().map(|mark| names.claim(mark.ordinal)), None),
        Step::DeleteClaim { ordinal, uid } => (
            Some(names.claim(*ordinal)),
            Some(Expectation { claim_uid: Some(uid.clone()), ..Expectation::default() }),
        ),
        Step::RenewPod { ordinal, uid } => (
            Some(names.pod(*ordinal)),
            Some(Expectation { pod_uid: Some(uid.clone()), ..Expectation::default() }),
        ),
        Step::RemovePod { removal, .. } => (
            Some(names.pod(removal.ordinal)),
            Some(Expectation { pod_uid: Some(removal.pod_uid.clone()), ..disk(&removal.member_id) }),
        ),
        Step::PutBack { good, .. } => (Some(good.0.clone()), None),
        Step::CheckArchive => (Some(names.check_archive_job()), None),
        Step::Begin(_) | Step::Finish { .. } | Step::SetServing => (None, None),
    }
}

/// `Some(None)` when absent, `None` when unreadable.
fn parse_or_absent<T: std::str::FromStr>(text: Option<&str>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}
