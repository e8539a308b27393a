//! What the kubelet says of a pod, as the plan and as people want to know it. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use zke_plan::{PodState, Revision};

/// The label by which a StatefulSet's controller tells which template a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";

/// The pod, as the plan sees it.
pub fn seen(pod: &Pod, min_ready_s: u32, deadline_s: u32, now: Timestamp) -> zke_plan::Pod {
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let unready_since = ready(pod).and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
    let is_ready = ready(pod).is_some_and(|ready| ready.status == "True");
    zke_plan::Pod {
        uid: pod.uid().unwrap_or_default(),
        revision: revision(pod),
        state: state(pod, min_ready_s, now),
        late: !is_ready
            && unready_since.or(made).is_some_and(|since| seconds_since(since, now) >= i64::from(deadline_s)),
    }
}

/// Which template it was made from.
pub fn revision(pod: &Pod) -> Option<Revision> {
    pod.labels().get(REVISION_LABEL).cloned().map(Revision)
}

fn state(pod: &Pod, min_ready_s: u32, now: Timestamp) -> PodState {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Leaving;
    }
    if let Some(ready) = ready(pod).filter(|ready| ready.status == "True") {
        let since = ready.last_transition_time.as_ref().map(|time| time.0);
        let settled = since.is_some_and(|since| seconds_since(since, now) >= i64::from(min_ready_s));
        return if settled { PodState::Settled } else { PodState::Running };
    }
    if phase != Some("Running") || containers(pod).any(|container| waiting(container).is_some()) {
        return PodState::Down;
    }
    PodState::Running
}

fn ready(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// What keeps a pod from being ready, in the kubelet's or scheduler's own words. `None` if nothing is said.
pub fn trouble(pod: &Pod) -> Option<String> {
    let with_message = |reason: &str, message: Option<&str>| match message {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => reason.to_owned(),
    };
    for container in containers(pod) {
        if let Some((reason, message)) = waiting(container) {
            // The end of the process says more than that it is started again.
            let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let ended = ended.map(|ended| format!(" (it ended with exit code {})", ended.exit_code));
            return Some(with_message(reason, message) + &ended.unwrap_or_default());
        }
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unmet =
        conditions.iter().find(|condition| condition.status == "False" && condition.reason.is_some())?;
    Some(with_message(unmet.reason.as_deref().unwrap_or(&unmet.type_), unmet.message.as_deref()))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()).into_iter().flatten()
}

fn waiting(container: &ContainerStatus) -> Option<(&str, Option<&str>)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.as_deref().unwrap_or("Waiting"), waiting.message.as_deref()))
}

fn seconds_since(then: Timestamp, now: Timestamp) -> i64 {
    now.as_second().saturating_sub(then.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000;

    fn pod(status: &str) -> Pod {
        let manifest = format!(
            "{{metadata: {{uid: u, creationTimestamp: '2027-01-15T08:00:00Z', labels: {{controller-revision-hash: zk-1}}}}, status: {status}}}"
        );
        serde_saphyr::from_str(&manifest).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    #[test]
    fn a_pod_is_settled_after_it_was_ready_for_as_long_as_asked() {
        let ready = pod(
            "{phase: Running, conditions: [{type: Ready, status: 'True', lastTransitionTime: '2027-01-15T08:00:10Z'}]}",
        );
        assert_eq!(state(&ready, 10, at(19)), PodState::Running);
        assert_eq!(state(&ready, 10, at(20)), PodState::Settled);
        assert!(!seen(&ready, 10, 60, at(3_600)).late);
        assert_eq!(seen(&ready, 10, 60, at(0)).revision, Some(Revision("zk-1".to_owned())));
    }

    #[test]
    fn a_pod_whose_process_cannot_run_is_down_and_says_why() {
        let unscheduled = pod(
            "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/3 nodes}]}",
        );
        assert_eq!(state(&unscheduled, 10, at(0)), PodState::Down);
        assert_eq!(trouble(&unscheduled).as_deref(), Some("Unschedulable: 0/3 nodes"));
        let crashing = pod(
            "{phase: Running, containerStatuses: [{name: zkd, image: i, imageID: i, ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff, message: back-off}}, lastState: {terminated: {exitCode: 101}}}]}",
        );
        assert_eq!(state(&crashing, 10, at(0)), PodState::Down);
        assert_eq!(
            trouble(&crashing).as_deref(),
            Some("CrashLoopBackOff: back-off (it ended with exit code 101)")
        );
        let starting = pod(
            "{phase: Running, containerStatuses: [{name: zkd, image: i, imageID: i, ready: false, restartCount: 0, state: {running: {}}}]}",
        );
        assert_eq!(state(&starting, 10, at(0)), PodState::Running);
        assert!(!seen(&starting, 10, 60, at(59)).late);
        assert!(seen(&starting, 10, 60, at(60)).late);
        // What was ready for long and is not ready for a moment is not late.
        let blip = pod(
            "{phase: Running, conditions: [{type: Ready, status: 'False', lastTransitionTime: '2027-01-15T09:00:00Z'}]}",
        );
        assert!(!seen(&blip, 10, 60, at(3_630)).late);
    }
}
