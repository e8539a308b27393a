//! The status that follows from one look and one decision. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use zke_admin::v1::{DiskState, LeaderStatusResponse, StatusResponse};
use zke_api::condition::{self, condition};
use zke_api::{
    ENSEMBLE_ID_ANNOTATION, Endpoints, Expectation, MemberRole, MemberState, MemberStatus, OperationStatus,
    ZkEnsembleStatus,
};
use zke_plan::{Decision, MemberId, Operation, OperationKind, Reason, Step};

use crate::ensemble::Ensemble;
use crate::observe::Look;

/// The latched operation, as the plan knows it. `None` as well when it cannot be understood, which the plan then
/// treats as a status that was lost: it looks at the volumes again.
pub fn latched(status: &ZkEnsembleStatus) -> Option<Operation> {
    let operation = status.operation.as_ref()?;
    Some(Operation {
        kind: OperationKind::from_name(&operation.type_)?,
        replicas: operation.replicas,
        ensemble_id: status.ensemble_id.as_ref()?.parse().ok()?,
        seed: parse_or_absent(operation.seed_member_id.as_deref())?,
        abandoned: parse_or_absent(operation.abandoned_id.as_deref())?,
    })
}

/// The next status: what was seen, the latch that `decision` asks for, and the conditions.
pub fn next(ensemble: &Ensemble, look: &Look, decision: &Decision, now: Timestamp) -> ZkEnsembleStatus {
    let mut status = ensemble.status.clone();
    let names = &ensemble.names;
    status.selector = Some(format!("{}={}", zke_api::NAME_LABEL, names.name));
    status.endpoints = Some(Endpoints {
        client: format!(
            "{}.{}.svc.{}:{}",
            names.client_service(),
            names.namespace,
            names.domain,
            ensemble.spec.services.client.port
        ),
        config_map: names.discovery(),
    });
    status.target_version = Some(ensemble.version.clone());
    latch(&mut status, ensemble, decision, now);
    let members = members(ensemble, look);
    report_members(&mut status, look, &members);
    status.orphaned_claims = orphaned_claims(&status, &look.claims);
    Report { ensemble, look, decision, members: &members, now }.conditions(&mut status);
    status.members = members;
    status
}

/// The status of an ensemble at which nothing can be looked at.
pub fn failed(ensemble: &Ensemble, error: &crate::error::Error, now: Timestamp) -> ZkEnsembleStatus {
    let mut status = ensemble.status.clone();
    let generation = Some(ensemble.generation);
    let message = error.chain();
    let stalled = condition(condition::STALLED, true, error.reason(), message.clone(), generation, Time(now));
    condition::set(&mut status.conditions, stalled);
    let ready = condition(condition::READY, false, error.reason(), message, generation, Time(now));
    condition::set(&mut status.conditions, ready);
    status
}

/// Whether `next` says something that people or programs wait for. Figures that move with every write do not count:
/// writing them would wake the reconciler that reads them.
pub fn is_news(now: &ZkEnsembleStatus, next: &ZkEnsembleStatus) -> bool {
    let still = |status: &ZkEnsembleStatus| {
        let mut status = status.clone();
        status.commit_index = None;
        status.last_zxid = None;
        status.members.iter_mut().for_each(|member| member.lag_entries = None);
        status
    };
    still(now) != still(next)
}

fn latch(status: &mut ZkEnsembleStatus, ensemble: &Ensemble, decision: &Decision, now: Timestamp) {
    let Decision::Act(step) = decision else { return };
    match step {
        Step::Begin(operation) => {
            status.ensemble_id = Some(operation.ensemble_id.to_string());
            let same = status.operation.take().filter(|known| known.type_ == operation.kind.name());
            let started_at = same.map_or(now, |known| known.started_at.0);
            let deadline_s = i64::from(ensemble.spec.progress_deadline_seconds);
            let deadline = Timestamp::from_second(started_at.as_second().saturating_add(deadline_s));
            status.operation = Some(OperationStatus {
                type_: operation.kind.name().to_owned(),
                replicas: operation.replicas,
                spec_generation: ensemble.generation,
                step: None,
                target: None,
                expect: None,
                seed_member_id: operation.seed.map(|id| id.to_string()),
                abandoned_id: operation.abandoned.map(|id| id.to_string()),
                started_at: Time(started_at),
                deadline: Time(deadline.unwrap_or(now)),
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
            if let Some(operation) = &mut status.operation {
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

/// Whom a step is about, and what it was allowed to find there.
fn describe(ensemble: &Ensemble, step: &Step) -> (Option<String>, Option<Expectation>) {
    let names = &ensemble.names;
    let disk = |id: &MemberId| Expectation { member_id: Some(id.to_string()), ..Expectation::default() };
    match step {
        Step::Bootstrap { ordinal, member_id, .. } | Step::Join { ordinal, member_id, .. } => {
            (Some(names.pod(*ordinal)), Some(disk(member_id)))
        }
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
        Step::Begin(_) | Step::Finish { .. } | Step::SetServing => (None, None),
    }
}

fn report_members(status: &mut ZkEnsembleStatus, look: &Look, members: &[MemberStatus]) {
    let voters = || members.iter().filter(|member| member.role == MemberRole::Voter);
    status.ready_replicas = Some(count(members.iter().filter(|member| is_ready(member))));
    // What the leader says is the truth; without one, the last that was known stands.
    if let Some((_, answer)) = &look.leader
        && let Some(leader) = &answer.status
    {
        status.leader = Some(leader.pod.clone());
        status.voters = Some(count(voters()));
        status.term = Some(leader.term);
        status.commit_index = Some(leader.commit_index);
        let known = status.last_zxid.as_deref().and_then(read_zxid).unwrap_or(0);
        status.last_zxid = Some(format!("{:#x}", known.max(leader.last_zxid)));
    } else {
        status.leader = None;
    }
    let mut versions = look.answers.values().map(|answer| &answer.version);
    let first = versions.next().cloned();
    if first.is_some() {
        status.current_version = first.filter(|first| versions.all(|version| version == first));
    }
}

fn members(ensemble: &Ensemble, look: &Look) -> Vec<MemberStatus> {
    let view = look.leader.as_ref().map(|(_, answer)| answer);
    let in_view =
        view.and_then(|answer| answer.status.as_ref()).into_iter().flat_map(|status| &status.members);
    let mut ordinals: Vec<u32> =
        in_view.filter_map(|member| ensemble.names.pod_ordinal(&member.pod)).collect();
    ordinals.extend(look.pods.keys());
    ordinals.sort_unstable();
    ordinals.dedup();
    ordinals
        .into_iter()
        .map(|ordinal| {
            let name = ensemble.names.pod(ordinal);
            let answer = look.answers.get(&ordinal);
            let role = role(view, &name);
            let (state, lag_entries) = state(view, answer, role);
            MemberStatus {
                name,
                member_id: answer.map(|answer| MemberId(answer.member_id).to_string()),
                role,
                state,
                pod_uid: look.pods.get(&ordinal).and_then(uid::<Pod>),
                pvc_uid: look.claims.get(&ordinal).and_then(uid::<PersistentVolumeClaim>),
                version: answer.map(|answer| answer.version.clone()),
                config_hash: answer.map(|answer| answer.config_hash.clone()),
                lag_entries,
                message: answer.filter(|answer| !answer.ready).map(|answer| answer.not_ready_reason.clone()),
            }
        })
        .collect()
}

fn role(view: Option<&LeaderStatusResponse>, pod: &str) -> MemberRole {
    let Some(view) = view.and_then(|answer| answer.status.as_ref()) else { return MemberRole::Unknown };
    let Some(member) = view.members.iter().find(|member| member.pod == pod) else {
        return MemberRole::Outside;
    };
    let votes = view.voter_sets.iter().any(|set| set.member_ids.contains(&member.member_id));
    if votes { MemberRole::Voter } else { MemberRole::Learner }
}

fn state(
    view: Option<&LeaderStatusResponse>,
    answer: Option<&StatusResponse>,
    role: MemberRole,
) -> (MemberState, Option<u64>) {
    let Some(answer) = answer else { return (MemberState::Unreachable, None) };
    let progress =
        view.and_then(|view| view.progress.iter().find(|progress| progress.member_id == answer.member_id));
    let commit = view.and_then(|view| view.status.as_ref()).map(|status| status.commit_index);
    let lag = commit.zip(progress).map(|(commit, progress)| commit.saturating_sub(progress.matched_index));
    let state = match answer.disk_state() {
        DiskState::Blank | DiskState::Unspecified => MemberState::Blank,
        DiskState::Joining => MemberState::Joining,
        DiskState::Retired => MemberState::Retired,
        DiskState::Corrupt => MemberState::Corrupt,
        DiskState::Member if role == MemberRole::Outside => MemberState::Retired,
        DiskState::Member if progress.is_some_and(|progress| progress.in_sync) => MemberState::InSync,
        DiskState::Member => MemberState::CatchingUp,
    };
    (state, lag)
}

fn orphaned_claims(status: &ZkEnsembleStatus, claims: &BTreeMap<u32, PersistentVolumeClaim>) -> Vec<String> {
    let highest = status.operation.as_ref().map(|operation| operation.replicas).max(status.replicas);
    let Some(highest) = highest else { return Vec::new() };
    let ours = |claim: &&PersistentVolumeClaim| {
        claim.annotations().get(ENSEMBLE_ID_ANNOTATION) == status.ensemble_id.as_ref()
    };
    claims.range(highest..).map(|(_, claim)| claim).filter(ours).map(ResourceExt::name_any).collect()
}

struct Report<'a> {
    ensemble: &'a Ensemble,
    look: &'a Look,
    decision: &'a Decision,
    members: &'a [MemberStatus],
    now: Timestamp,
}

impl Report<'_> {
    fn conditions(&self, status: &mut ZkEnsembleStatus) {
        let suspended = self.ensemble.spec.suspend;
        if !suspended {
            status.observed_generation = Some(self.ensemble.generation);
        }
        let initialized = condition::is_true(&status.conditions, condition::INITIALIZED);
        if !initialized {
            self.set(status, condition::INITIALIZED, false, "Bootstrapping", "no client was served yet");
        }
        let serving = self.available(status, initialized);
        let well = self.members.iter().filter(|member| is_ready(member)).count();
        let degraded = initialized && serving && well < status.replicas.unwrap_or(0) as usize;
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
            let out = self.members.iter().filter(|member| !is_ready(member));
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
            Decision::Wait(reason) => (reason.name(), reason.to_string()),
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
            (Decision::Wait(reason), _) if reason.needs_help() => Some((reason.name(), reason.to_string())),
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
            (Some(operation), Decision::Wait(wait)) => {
                (kind_reason(operation).to_owned(), format!("{}: {wait}", describe_operation(operation)))
            }
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
            (None, Decision::Wait(reason)) => (false, reason.name(), reason.to_string()),
            _ if !serving => (false, "NotAvailable", "the ensemble has no serving quorum".to_owned()),
            _ if !behind.is_empty() => (false, "NotInSync", format!("not in sync: {}", list(behind))),
            _ => (true, "MembersInSync", "membership can change".to_owned()),
        };
        self.set(status, condition::CHANGE_ALLOWED, holds, reason, &message);
    }

    fn set(&self, status: &mut ZkEnsembleStatus, type_: &str, holds: bool, reason: &str, message: &str) {
        let generation = status.observed_generation;
        condition::set(
            &mut status.conditions,
            condition(type_, holds, reason, message, generation, Time(self.now)),
        );
    }
}

/// A voter whose process accepts clients, by its own word: it knows its lag and its lease better than we do.
fn is_ready(member: &MemberStatus) -> bool {
    let answers = matches!(member.state, MemberState::InSync | MemberState::CatchingUp);
    let may_vote = matches!(member.role, MemberRole::Voter | MemberRole::Unknown);
    may_vote && answers && member.message.is_none()
}

fn kind_reason(operation: &OperationStatus) -> &'static str {
    match OperationKind::from_name(&operation.type_) {
        Some(OperationKind::Bootstrap) => "Bootstrapping",
        Some(OperationKind::Adopt) => "AdoptingVolumes",
        Some(OperationKind::ScaleUp) => "ScalingUp",
        Some(OperationKind::ScaleDown) => "ScalingDown",
        None => "Reconciling",
    }
}

fn describe_operation(operation: &OperationStatus) -> String {
    let mut text = format!("{} to {} members", operation.type_, operation.replicas);
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

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn uid<K: Resource>(object: &K) -> Option<String> {
    object.meta().uid.clone()
}

fn read_zxid(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `Some(None)` when absent, `None` when unreadable.
fn parse_or_absent<T: std::str::FromStr>(text: Option<&str>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests;
