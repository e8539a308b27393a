//! The conditions that people, kstatus and GitOps tools wait for.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use zke_api::condition::{self, condition};
use zke_api::{MemberRole, MemberState, MemberStatus, OperationStatus, ZkEnsembleStatus};
use zke_plan::{Decision, OperationKind, Reason};

use crate::ensemble::Ensemble;
use crate::observe::Look;
use crate::status::members::is_ready;

pub(super) struct Report<'a> {
    pub ensemble: &'a Ensemble,
    pub look: &'a Look,
    pub decision: &'a Decision,
    pub members: &'a [MemberStatus],
    pub now: Timestamp,
}

impl Report<'_> {
    pub(super) fn conditions(&self, status: &mut ZkEnsembleStatus) {
        let suspended = self.ensemble.spec.suspend;
        if !suspended {
            status.observed_generation = Some(self.ensemble.generation);
        }
        let initialized = condition::is_true(&status.conditions, condition::INITIALIZED);
        if !initialized {
            self.set(status, condition::INITIALIZED, false, "Bootstrapping", "no client was served yet");
        }
        let serving = self.available(status, initialized);
        // The one that is being renewed is out on purpose.
        let renewed = status.operation.as_ref().and_then(|operation| operation.removal.as_ref());
        let renewed = renewed.map(|removal| removal.pod.clone());
        let well =
            self.members.iter().filter(|member| is_ready(member) || Some(&member.name) == renewed.as_ref());
        let degraded = initialized && serving && well.count() < status.replicas.unwrap_or(0) as usize;
        // After an election the leader measures everybody anew, while each member serves on: that is no news.
        let settled = match self.decision {
            Decision::Done => true,
            Decision::Wait(Reason::CatchingUp { .. }) => status.operation.is_none(),
            _ => false,
        };
        let ready = settled && serving && !degraded;
        self.ready(status, ready);
        self.progress(status, ready);
        if degraded {
            let out = self
                .members
                .iter()
                .filter(|member| !is_ready(member) && Some(&member.name) != renewed.as_ref());
            let message = format!("not well: {}", list(out.map(|member| member.name.as_str())));
            self.set(status, condition::DEGRADED, true, "MembersNotReady", &message);
        } else {
            condition::clear(&mut status.conditions, condition::DEGRADED);
        }
        self.change_allowed(status, serving);
        status.phase = Some(phase(status, suspended, ready, degraded, initialized).to_owned());
    }

    fn available(&self, status: &mut ZkEnsembleStatus, initialized: bool) -> bool {
        let voters = self.members.iter().filter(|member| member.role == MemberRole::Voter).count();
        let well = self.members.iter().filter(|member| is_ready(member)).count();
        let (holds, reason, message) = match &self.look.leader {
            _ if !initialized => {
                (false, "Bootstrapping", "the ensemble has not served clients yet".to_owned())
            }
            None if self.look.answers.len() * 2 > self.look.pods.len() => {
                (false, "NoLeader", "members are up and elect a leader".to_owned())
            }
            None => (
                false,
                "QuorumLost",
                format!("{} of {} members answer", self.look.answers.len(), status.replicas.unwrap_or(0)),
            ),
            Some(_) if well * 2 <= voters => {
                (false, "MembersNotReady", format!("{well} of {voters} voters accept clients"))
            }
            Some(_) => (true, "QuorumHealthy", format!("{well} of {voters} voters accept clients")),
        };
        self.set(status, condition::AVAILABLE, holds, reason, &message);
        holds
    }

    fn ready(&self, status: &mut ZkEnsembleStatus, ready: bool) {
        let (reason, message) = match self.decision {
            _ if ready => ("AsSpecified", "every member is a voter and accepts clients".to_owned()),
            Decision::Done => ("MembersNotReady", "waiting until every member accepts clients".to_owned()),
            Decision::Wait(reason) => (reason.name(), self.explain(reason, status)),
            Decision::Act(_) => match &status.operation {
                Some(operation) => (kind_reason(operation), describe_operation(operation)),
                None => ("Reconciling", "the ensemble is brought to its spec".to_owned()),
            },
        };
        self.set(status, condition::READY, ready, reason, &message);
    }

    /// `Reconciling` and `Stalled`, as kstatus reads them.
    fn progress(&self, status: &mut ZkEnsembleStatus, ready: bool) {
        let overdue = status.operation.as_ref().filter(|operation| operation.deadline.0 < self.now);
        let stalled = match (self.decision, overdue) {
            (Decision::Wait(reason), _) if reason.needs_help() => {
                Some((reason.name(), self.explain(reason, status)))
            }
            (decision, Some(operation)) => {
                let waits = match decision {
                    Decision::Wait(reason) => format!("; {reason}"),
                    _ => String::new(),
                };
                let message = format!(
                    "{} has taken longer than progressDeadlineSeconds and goes on{waits}",
                    describe_operation(operation)
                );
                Some(("ProgressDeadlineExceeded", message))
            }
            _ => None,
        };
        match &stalled {
            Some((reason, message)) => self.set(status, condition::STALLED, true, reason, message),
            None => condition::clear(&mut status.conditions, condition::STALLED),
        }
        let suspended = *self.decision == Decision::Wait(Reason::Suspended);
        if ready || stalled.is_some() || suspended {
            condition::clear(&mut status.conditions, condition::RECONCILING);
            return;
        }
        let (reason, message) = match (&status.operation, self.decision) {
            (Some(operation), Decision::Wait(wait)) => (
                kind_reason(operation).to_owned(),
                format!("{}: {}", describe_operation(operation), self.explain(wait, status)),
            ),
            (Some(operation), _) => (kind_reason(operation).to_owned(), describe_operation(operation)),
            (None, Decision::Wait(wait)) => (wait.name().to_owned(), wait.to_string()),
            (None, _) => ("Reconciling".to_owned(), "the ensemble is brought to its spec".to_owned()),
        };
        self.set(status, condition::RECONCILING, true, &reason, &message);
    }

    fn change_allowed(&self, status: &mut ZkEnsembleStatus, serving: bool) {
        let behind: Vec<_> = self
            .members
            .iter()
            .filter(|member| member.role == MemberRole::Voter && member.state != MemberState::InSync)
            .map(|member| member.name.as_str())
            .collect();
        let (holds, reason, message) = match (&status.operation, self.decision) {
            (Some(operation), _) => (false, "OperationInProgress", describe_operation(operation)),
            (None, Decision::Wait(reason)) => (false, reason.name(), self.explain(reason, status)),
            _ if !serving => (false, "NotAvailable", "the ensemble has no serving quorum".to_owned()),
            _ if !behind.is_empty() => (false, "NotInSync", format!("not in sync: {}", list(behind))),
            _ => (true, "MembersInSync", "membership can change".to_owned()),
        };
        self.set(status, condition::CHANGE_ALLOWED, holds, reason, &message);
    }

    /// The plan's reason, with what only the status or the look knows of it.
    fn explain(&self, reason: &Reason, status: &ZkEnsembleStatus) -> String {
        let more = match reason {
            Reason::CanaryFailed => status.rejected.as_ref().map(|rejected| rejected.message.clone()),
            Reason::ArchivePending | Reason::ArchiveRefused | Reason::Restoring | Reason::RestoreFailed => {
                self.look.restoration.message.clone()
            }
            _ => None,
        };
        more.map_or_else(|| reason.to_string(), |more| format!("{reason}. {more}"))
    }

    fn set(&self, status: &mut ZkEnsembleStatus, type_: &str, holds: bool, reason: &str, message: &str) {
        let generation = status.observed_generation;
        condition::set(
            &mut status.conditions,
            condition(type_, holds, reason, message, generation, Time(self.now)),
        );
    }
}

fn kind_reason(operation: &OperationStatus) -> &'static str {
    match OperationKind::from_name(&operation.type_) {
        Some(OperationKind::Bootstrap) => "Bootstrapping",
        Some(OperationKind::Adopt) => "AdoptingVolumes",
        Some(OperationKind::ScaleUp) => "ScalingUp",
        Some(OperationKind::ScaleDown) => "ScalingDown",
        Some(OperationKind::Update) => "Updating",
        None => "Reconciling",
    }
}

fn describe_operation(operation: &OperationStatus) -> String {
    let way = if operation.type_ == OperationKind::Update.name() { "of" } else { "to" };
    let mut text = format!("{} {way} {} members", operation.type_, operation.replicas);
    if let Some(step) = &operation.step {
        text += &format!(", step {step}");
    }
    if let Some(target) = &operation.target {
        text += &format!(" ({target})");
    }
    text
}

fn phase(
    status: &ZkEnsembleStatus,
    suspended: bool,
    ready: bool,
    degraded: bool,
    initialized: bool,
) -> &'static str {
    let has = |type_| condition::is_true(&status.conditions, type_);
    match &status.operation {
        _ if suspended => "Suspended",
        _ if has(condition::STALLED) => "Stalled",
        Some(operation) => kind_reason(operation),
        None if ready => "Running",
        None if degraded => "Degraded",
        None if !initialized => "Pending",
        None if !has(condition::AVAILABLE) => "Unavailable",
        None => "Reconciling",
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
