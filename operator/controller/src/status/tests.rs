//! What people and kstatus read, from looks made by hand.

use k8s_openapi::api::apps::v1::StatefulSet;
use zke_admin::v1::{Member, Progress, Role, VoterSet};
use zke_api::ZkEnsemble;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use zke_admin::v1::{DiskState, LeaderStatusResponse, StatusResponse};
use zke_plan::{MemberId, Operation, OperationKind, Reason, Removal, Revision, Step};

use super::*;
use crate::build::zoo_cfg;
use crate::restore::Restoration;

const MANIFEST: &str = r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkEnsemble
metadata: {name: shop, namespace: retail, uid: u, generation: 4}
spec: {replicas: 3, storage: {size: 5Gi}}
status:
  ensembleID: 0000000000000000000000000000000a
  replicas: 3
  configIndex: 4
  conditions:
  - {type: Initialized, status: "True", reason: Serving, message: m, lastTransitionTime: "2026-01-01T00:00:00Z"}
"#;

fn ensemble() -> Ensemble {
    Ensemble::resolve(serde_saphyr::from_str::<ZkEnsemble>(MANIFEST).unwrap())
}

/// What follows when the StatefulSet carries the spec's own template.
fn next(ensemble: &Ensemble, look: &Look, decision: &Decision, now: Timestamp) -> ZkEnsembleStatus {
    let template = WantedTemplate::of_spec(ensemble, &zoo_cfg::render(ensemble));
    super::next(ensemble, look, &template, decision, now)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn answer(ordinal: u32, role: Role) -> StatusResponse {
    StatusResponse {
        disk_state: DiskState::Member.into(),
        ensemble_id: "0000000000000000000000000000000a".to_owned(),
        member_id: u64::from(ordinal) + 1,
        pod: format!("shop-{ordinal}"),
        version: "9.8.7".to_owned(),
        role: role.into(),
        term: 3,
        commit_index: 100,
        config_index: 4,
        members: (0..3_u32)
            .map(|ordinal| Member {
                member_id: u64::from(ordinal) + 1,
                pod: format!("shop-{ordinal}"),
                peer_address: String::new(),
            })
            .collect(),
        voter_sets: vec![VoterSet { member_ids: vec![1, 2, 3] }],
        serving: true,
        ready: true,
        last_zxid: 0x2_0000_0007,
        ..StatusResponse::default()
    }
}

/// Three members; those in `up` answer and are in sync, 1 leads.
fn look(up: &[u32]) -> Look {
    let answers: BTreeMap<_, _> = up
        .iter()
        .map(|ordinal| {
            (*ordinal, answer(*ordinal, if *ordinal == 1 { Role::Leader } else { Role::Follower }))
        })
        .collect();
    let leader = answers.get(&1).filter(|_| up.len() > 1).map(|status| LeaderStatusResponse {
        status: Some(status.clone()),
        progress: (1..=3).map(|id| Progress { member_id: id, matched_index: 98, in_sync: true }).collect(),
    });
    Look {
        stateful_set: Some(StatefulSet::default()),
        budget: None,
        pods: (0..3).map(|ordinal| (ordinal, Pod::default())).collect(),
        claims: BTreeMap::new(),
        members: BTreeMap::new(),
        answers,
        restoration: Restoration::default(),
        backups: Vec::new(),
        leader: leader.map(|answer| (1, answer)),
    }
}

fn conditions(status: &ZkEnsembleStatus) -> Vec<(&str, &str, &str)> {
    let conditions = status.conditions.iter();
    let mut rows: Vec<_> =
        conditions.map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_running_ensemble_shows_no_abnormal_condition() {
    let status = next(&ensemble(), &look(&[0, 1, 2]), &Decision::Done, now());
    assert_eq!(
        conditions(&status),
        [
            ("Available", "True", "QuorumHealthy"),
            ("ChangeAllowed", "True", "MembersInSync"),
            ("Initialized", "True", "Serving"),
            ("Ready", "True", "AsSpecified"),
        ]
    );
    assert_eq!(status.leader.as_deref(), Some("shop-1"));
    assert_eq!(
        (status.ready_replicas, status.voters, status.phase.as_deref()),
        (Some(3), Some(3), Some("Running"))
    );
    assert_eq!(status.last_zxid.as_deref(), Some("0x200000007"));
    assert_eq!(status.current_version.as_deref(), Some("9.8.7"));
    assert!(status.members.iter().all(|member| member.lag_entries == Some(2)));
}

#[test]
fn a_lost_member_degrades_but_stays_available() {
    let wait = Decision::Wait(Reason::PodsPending { ordinals: vec![2] });
    let status = next(&ensemble(), &look(&[0, 1]), &wait, now());
    assert_eq!(
        conditions(&status),
        [
            ("Available", "True", "QuorumHealthy"),
            ("ChangeAllowed", "False", "PodsPending"),
            ("Degraded", "True", "MembersNotReady"),
            ("Initialized", "True", "Serving"),
            ("Ready", "False", "PodsPending"),
            ("Reconciling", "True", "PodsPending"),
        ]
    );
}

#[test]
fn a_lost_quorum_is_unavailable() {
    let status = next(&ensemble(), &look(&[1]), &Decision::Wait(Reason::NoLeader), now());
    let available = status.conditions.iter().find(|condition| condition.type_ == "Available").unwrap();
    assert_eq!((available.status.as_str(), available.reason.as_str()), ("False", "QuorumLost"));
    assert_eq!(status.leader, None);
}

#[test]
fn what_needs_somebody_is_stalled_and_not_reconciling() {
    let wait = Decision::Wait(Reason::DiskLost { ordinal: 2 });
    let status = next(&ensemble(), &look(&[0, 1, 2]), &wait, now());
    let types: Vec<_> = conditions(&status).into_iter().map(|(type_, ..)| type_).collect();
    assert!(types.contains(&"Stalled") && !types.contains(&"Reconciling"), "{types:?}");
}

#[test]
fn a_latched_operation_is_read_back_as_it_was_written() {
    let bootstrap = Operation::new(OperationKind::Bootstrap, 3, zke_plan::EnsembleId(10));
    let update = Operation::new(OperationKind::Update, 3, zke_plan::EnsembleId(10));
    let removal = Removal { ordinal: 2, pod_uid: "u-2".to_owned(), member_id: MemberId(3), index: 98 };
    for operation in [
        Operation { seed: Some(MemberId(7)), abandoned: Some(zke_plan::EnsembleId(9)), ..bootstrap },
        Operation { good: Some(Revision("shop-1".to_owned())), ..update },
    ] {
        let mut ensemble = ensemble();
        let begin = Decision::Act(Step::Begin(operation.clone()));
        ensemble.status = next(&ensemble, &look(&[]), &begin, now());
        assert_eq!(latched(&ensemble.names, &ensemble.status), Some(operation.clone()));
        let remove = Step::RemovePod { removal: removal.clone(), by: zke_plan::RemovalBy::Eviction };
        let status = next(&ensemble, &look(&[]), &Decision::Act(remove), now());
        let removed = Operation { removal: Some(removal.clone()), ..operation };
        assert_eq!(latched(&ensemble.names, &status), Some(removed));
    }
}

fn begin(kind: OperationKind, replicas: u32) -> Decision {
    Decision::Act(Step::Begin(Operation::new(kind, replicas, zke_plan::EnsembleId(10))))
}

#[test]
fn a_member_that_is_renewed_is_no_trouble() {
    let mut ensemble = ensemble();
    ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &begin(OperationKind::Update, 3), now());
    let removal = Removal { ordinal: 2, pod_uid: "u-2".to_owned(), member_id: MemberId(3), index: 98 };
    let remove = Step::RemovePod { removal, by: zke_plan::RemovalBy::Eviction };
    ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &Decision::Act(remove), now());
    let wait = Decision::Wait(Reason::Renewing { ordinal: 2 });
    let status = next(&ensemble, &look(&[0, 1]), &wait, now());
    assert_eq!(
        conditions(&status),
        [
            ("Available", "True", "QuorumHealthy"),
            ("ChangeAllowed", "False", "OperationInProgress"),
            ("Initialized", "True", "Serving"),
            ("Ready", "False", "Renewing"),
            ("Reconciling", "True", "Updating"),
        ]
    );
}

#[test]
fn a_template_that_failed_is_said_with_its_reason_until_the_spec_changes() {
    let mut ensemble = ensemble();
    let good = Revision("shop-1".to_owned());
    let update = Operation::new(OperationKind::Update, 3, zke_plan::EnsembleId(10));
    let update = Operation { good: Some(good.clone()), ..update };
    ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &Decision::Act(Step::Begin(update)), now());
    let mut broken = look(&[0, 1]);
    let pod = "{metadata: {labels: {controller-revision-hash: shop-2}}, status: {phase: Pending, containerStatuses: [{name: zkd, image: i, imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff, message: not found}}}]}}";
    broken.pods.insert(2, serde_saphyr::from_str(pod).unwrap());
    let put_back = Step::PutBack { failed: Revision("shop-2".to_owned()), good };
    ensemble.status = next(&ensemble, &broken, &Decision::Act(put_back), now());
    let wait = Decision::Wait(Reason::CanaryFailed);
    ensemble.status.operation = None;
    let status = next(&ensemble, &look(&[0, 1, 2]), &wait, now());
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(stalled.reason, "CanaryFailed");
    assert!(stalled.message.ends_with("shop-2: ImagePullBackOff: not found"), "{}", stalled.message);
    assert_eq!(status.rejected.as_ref().map(|rejected| rejected.good_revision.as_str()), Some("shop-1"));
    // Another spec is another chance.
    ensemble.spec.version = Some("9.9.9".to_owned());
    ensemble.version = "9.9.9".to_owned();
    assert_eq!(next(&ensemble, &look(&[0, 1, 2]), &Decision::Done, now()).rejected, None);
}

#[test]
fn an_operation_past_its_deadline_stalls_and_goes_on() {
    let mut ensemble = ensemble();
    let begin = begin(OperationKind::ScaleUp, 5);
    ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &begin, now());
    let wait = Decision::Wait(Reason::PodsPending { ordinals: vec![3, 4] });
    let reason = |seconds| {
        let later = Timestamp::from_second(now().as_second() + seconds).unwrap();
        let status = next(&ensemble, &look(&[0, 1, 2]), &wait, later);
        status.conditions.iter().find(|c| c.type_ == "Stalled").map(|c| c.reason.clone())
    };
    assert_eq!(reason(599), None);
    assert_eq!(reason(601).as_deref(), Some("ProgressDeadlineExceeded"));
}

#[test]
fn a_renewed_member_has_its_grace_period_and_its_deadline_and_no_more_for_asking_again() {
    let mut ensemble = ensemble();
    ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &begin(OperationKind::Update, 3), now());
    let remove = |uid: &str| {
        let removal = Removal { ordinal: 2, pod_uid: uid.to_owned(), member_id: MemberId(3), index: 98 };
        Decision::Act(Step::RemovePod { removal, by: zke_plan::RemovalBy::Eviction })
    };
    let mut deadline = |uid, seconds| {
        let at = Timestamp::from_second(now().as_second() + seconds).unwrap();
        ensemble.status = next(&ensemble, &look(&[0, 1, 2]), &remove(uid), at);
        ensemble.status.operation.as_ref().unwrap().deadline.0.as_second() - now().as_second()
    };
    assert_eq!(deadline("u-2", 100), 730);
    assert_eq!(deadline("u-2", 200), 730);
    assert_eq!(deadline("u-20", 300), 930);
}

#[test]
fn figures_that_move_with_every_write_are_no_news() {
    let ensemble = ensemble();
    let status = next(&ensemble, &look(&[0, 1, 2]), &Decision::Done, now());
    let mut later = status.clone();
    later.commit_index = Some(5_000);
    later.last_zxid = Some("0x300000000".to_owned());
    assert!(!is_news(&status, &later));
    later.leader = Some("shop-0".to_owned());
    assert!(is_news(&status, &later));
}

#[test]
fn a_suspended_ensemble_keeps_its_observed_generation() {
    let mut ensemble = ensemble();
    ensemble.spec.suspend = true;
    let status = next(&ensemble, &look(&[0, 1, 2]), &Decision::Wait(Reason::Suspended), now());
    assert_eq!(status.observed_generation, None);
}

#[test]
fn an_election_takes_nobody_out_of_service() {
    let mut look = look(&[0, 1, 2]);
    for progress in look.leader.iter_mut().flat_map(|(_, answer)| &mut answer.progress) {
        progress.in_sync = false;
    }
    let wait = Decision::Wait(Reason::CatchingUp { ordinals: vec![0, 1, 2] });
    let status = next(&ensemble(), &look, &wait, now());
    assert_eq!(
        conditions(&status),
        [
            ("Available", "True", "QuorumHealthy"),
            ("ChangeAllowed", "False", "CatchingUp"),
            ("Initialized", "True", "Serving"),
            ("Ready", "True", "AsSpecified"),
        ]
    );
    assert_eq!(status.ready_replicas, Some(3));
}
