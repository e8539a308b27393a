//! What the status says of each member, and of their leader.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt};
use zke_admin::v1::{DiskState, LeaderStatusResponse, StatusResponse};
use zke_api::{ENSEMBLE_ID_ANNOTATION, MemberRole, MemberState, MemberStatus, ZkEnsembleStatus};
use zke_plan::MemberId;

use crate::ensemble::Ensemble;
use crate::observe::Look;

pub(super) fn report_members(status: &mut ZkEnsembleStatus, look: &Look, members: &[MemberStatus]) {
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

pub(super) fn members(ensemble: &Ensemble, look: &Look) -> Vec<MemberStatus> {
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

pub(super) fn orphaned_claims(
    status: &ZkEnsembleStatus,
    claims: &BTreeMap<u32, PersistentVolumeClaim>,
) -> Vec<String> {
    let highest = status.operation.as_ref().map(|operation| operation.replicas).max(status.replicas);
    let Some(highest) = highest else { return Vec::new() };
    let ours = |claim: &&PersistentVolumeClaim| {
        claim.annotations().get(ENSEMBLE_ID_ANNOTATION) == status.ensemble_id.as_ref()
    };
    claims.range(highest..).map(|(_, claim)| claim).filter(ours).map(ResourceExt::name_any).collect()
}

/// A voter whose process accepts clients, by its own word: it knows its lag and its lease better than we do.
pub(super) fn is_ready(member: &MemberStatus) -> bool {
    let answers = matches!(member.state, MemberState::InSync | MemberState::CatchingUp);
    let may_vote = matches!(member.role, MemberRole::Voter | MemberRole::Unknown);
    may_vote && answers && member.message.is_none()
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
