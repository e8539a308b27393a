//! What people and kstatus read, from looks made by hand.

use k8s_openapi::api::apps::v1::StatefulSet;
use zke_admin::v1::{Member, Progress, Role, VoterSet};
use zke_api::ZkEnsemble;

use super::*;

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
    let operation = Operation {
        kind: OperationKind::Bootstrap,
        replicas: 3,
        ensemble_id: zke_plan::EnsembleId(10),
        seed: Some(MemberId(7)),
        abandoned: Some(zke_plan::EnsembleId(9)),
    };
    let begin = Decision::Act(Step::Begin(operation.clone()));
    let status = next(&ensemble(), &look(&[]), &begin, now());
    assert_eq!(latched(&status), Some(operation));
}

#[test]
fn an_operation_past_its_deadline_stalls_and_goes_on() {
    let mut ensemble = ensemble();
    let begin = Decision::Act(Step::Begin(Operation {
        kind: OperationKind::ScaleUp,
        replicas: 5,
        ensemble_id: zke_plan::EnsembleId(10),
        seed: None,
        abandoned: None,
    }));
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
