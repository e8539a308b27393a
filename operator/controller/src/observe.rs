//! One look at an ensemble: its objects, read live, and what each member says of itself.
//!
//! Nothing comes from a cache. What does not answer is missing in the result; nothing is assumed in its place.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource, ResourceExt};
use zke_admin::tls::ClientIdentity;
use zke_admin::v1::{self, LeaderStatusResponse, StatusResponse};
use zke_api::{ENSEMBLE_ID_ANNOTATION, INITIALIZED_ANNOTATION, TEMPLATE_ANNOTATION, ZkBackup};
use zke_plan::{Budget, Claim, Disk, DiskState, EnsembleId, Leader, MemberId, Observed, Revision};

use crate::admin::Member;
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::pod_state;
use crate::restore::Restoration;
use crate::template::WantedTemplate;

/// What was seen, as it came; [`Look::observed`] is what the plan is shown of it.
pub struct Look {
    pub stateful_set: Option<StatefulSet>,
    pub budget: Option<PodDisruptionBudget>,
    pub pods: BTreeMap<u32, Pod>,
    pub claims: BTreeMap<u32, PersistentVolumeClaim>,
    pub members: BTreeMap<u32, Member>,
    pub answers: BTreeMap<u32, StatusResponse>,
    pub restoration: Restoration,
    /// The ensemble's own, whatever became of them.
    pub backups: Vec<ZkBackup>,
    /// The ordinal of the leader, and its answer.
    pub leader: Option<(u32, LeaderStatusResponse)>,
}

impl Look {
    pub async fn take(
        client: &Client,
        ensemble: &Ensemble,
        identity: &ClientIdentity,
    ) -> Result<Self, Error> {
        let names = &ensemble.names;
        let namespace = &names.namespace;
        let selector =
            names.selector().iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        let ours = ListParams::default().labels(&selector.join(","));

        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        let stateful_set = sets
            .get_opt(&names.stateful_set())
            .await
            .map_err(Error::kubernetes("reading the StatefulSet"))?;
        if let Some(set) = &stateful_set
            && (ensemble.is_predecessors(&set.metadata) || set.metadata.deletion_timestamp.is_some())
        {
            return Err(Error::Predecessor { object: format!("StatefulSet {}", names.stateful_set()) });
        }
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
        let budget =
            budgets.get_opt(&names.budget()).await.map_err(Error::kubernetes("reading the budget"))?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pods = pods.list(&ours).await.map_err(Error::kubernetes("listing the pods"))?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let claims = claims.list(&ours).await.map_err(Error::kubernetes("listing the claims"))?;

        let set_uid = stateful_set.as_ref().and_then(|set| set.metadata.uid.as_deref());
        let pods = by_ordinal(pods.items, |pod| names.pod_ordinal(pod))
            .into_iter()
            .filter(|(_, pod)| set_uid.is_some() && controller_uid(pod) == set_uid)
            .collect();
        let claims = by_ordinal(claims.items, |claim| names.claim_ordinal(claim));
        let seed = ensemble.status.operation.as_ref().and_then(|operation| operation.seed_member_id.as_ref());
        let seed = seed.and_then(|seed| seed.parse().ok());
        let restoration = Restoration::look(client, ensemble, seed).await?;
        let backups = backups_of(client, ensemble).await?;
        let (members, answers) = ask_members(ensemble, identity, &pods).await;
        let mut look =
            Self { stateful_set, budget, pods, claims, members, answers, restoration, backups, leader: None };
        look.ask_leader(ensemble).await;
        Ok(look)
    }

    /// The one that leads in the highest term, if its answer passes its own read barrier.
    async fn ask_leader(&mut self, ensemble: &Ensemble) {
        let leading = self.answers.iter().filter(|(_, answer)| answer.role() == v1::Role::Leader);
        let Some(ordinal) = leading.max_by_key(|(_, answer)| answer.term).map(|(ordinal, _)| *ordinal) else {
            return;
        };
        let Some(member) = self.members.get_mut(&ordinal) else { return };
        match member.leader_status().await {
            Ok(answer) => self.leader = Some((ordinal, answer)),
            Err(error) => {
                tracing::debug!(
                    ensemble = ensemble.names.name,
                    error = error.chain(),
                    "no view from the leader"
                );
            }
        }
    }

    pub fn replicas(&self) -> Option<u32> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        // Absent means 1 to Kubernetes.
        Some(u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0))
    }

    /// What the plan decides on.
    pub fn observed(
        &self,
        ensemble: &Ensemble,
        template: &WantedTemplate,
        fresh_ensemble_id: EnsembleId,
        now: Timestamp,
    ) -> Observed {
        let status = &ensemble.status;
        let min_ready_s = ensemble.spec.update_policy.min_ready_seconds;
        let deadline_s = ensemble.spec.progress_deadline_seconds;
        let pods = self.pods.iter();
        Observed {
            ensemble_id: status.ensemble_id.as_ref().and_then(|id| id.parse().ok()),
            initialized: ensemble.is_initialized(),
            replicas: status.replicas,
            config_index: status.config_index.unwrap_or(0),
            fresh_ensemble_id,
            stateful_set: self.replicas(),
            claims: self.claims.iter().map(|(ordinal, claim)| (*ordinal, seen_claim(claim))).collect(),
            disks: self
                .answers
                .iter()
                .filter_map(|(ordinal, answer)| Some((*ordinal, seen_disk(answer)?)))
                .collect(),
            leader: self.leader.as_ref().and_then(|(_, answer)| seen_leader(ensemble, answer)),
            budget: self.seen_budget(),
            pods: pods
                .map(|(ordinal, pod)| (*ordinal, pod_state::seen(pod, min_ready_s, deadline_s, now)))
                .collect(),
            update_revision: self.update_revision(template),
            put_back: template.rejection(status).is_some(),
            archive_check: self.restoration.check,
            restore: self.restoration.restore,
        }
    }

    /// The revision of the template that pods are made from, once the set carries the one that it shall have and its
    /// controller has taken note of that.
    fn update_revision(&self, template: &WantedTemplate) -> Option<Revision> {
        let set = self.stateful_set.as_ref()?;
        let status = set.status.as_ref()?;
        let carried = set.annotations().get(TEMPLATE_ANNOTATION) == Some(&template.mark);
        let noticed = status.observed_generation >= set.metadata.generation;
        status.update_revision.clone().filter(|_| carried && noticed).map(Revision)
    }

    fn seen_budget(&self) -> Budget {
        let Some(budget) = &self.budget else { return Budget { min_available: None, in_force: true } };
        let wanted = budget.spec.as_ref().and_then(|spec| spec.min_available.as_ref());
        Budget {
            min_available: match wanted {
                Some(IntOrString::Int(value)) => u32::try_from(*value).ok(),
                // Not ours: the plan sees a value that is never right, and sets its own.
                _ => Some(u32::MAX),
            },
            in_force: budget.status.as_ref().and_then(|status| status.observed_generation)
                >= budget.metadata.generation,
        }
    }
}

async fn ask_members(
    ensemble: &Ensemble,
    identity: &ClientIdentity,
    pods: &BTreeMap<u32, Pod>,
) -> (BTreeMap<u32, Member>, BTreeMap<u32, StatusResponse>) {
    let asked = pods.iter().filter_map(|(ordinal, pod)| {
        let address = pod.status.as_ref()?.pod_ip.as_deref()?;
        // A pod that is leaving may still answer, but not for the one that will take its place.
        pod.metadata.deletion_timestamp.is_none().then_some((*ordinal, pod.name_any(), address))
    });
    let answers = asked.map(|(ordinal, pod, address)| async move {
        let mut member = Member::connect(&ensemble.names, &pod, address, identity).await?;
        let answer = member.status().await?;
        Ok::<_, Error>((ordinal, member, answer))
    });
    let mut members = BTreeMap::new();
    let mut statuses = BTreeMap::new();
    for answer in join_all(answers).await {
        match answer {
            Ok((ordinal, member, answer)) => {
                members.insert(ordinal, member);
                statuses.insert(ordinal, answer);
            }
            Err(error) => {
                tracing::debug!(ensemble = ensemble.names.name, error = error.chain(), "a member is silent");
            }
        }
    }
    (members, statuses)
}

fn seen_claim(claim: &PersistentVolumeClaim) -> Claim {
    let annotations = claim.annotations();
    Claim {
        uid: claim.uid().unwrap_or_default(),
        ensemble_id: annotations.get(ENSEMBLE_ID_ANNOTATION).and_then(|id| id.parse().ok()),
        initialized: annotations.get(INITIALIZED_ANNOTATION).is_some_and(|value| value == "true"),
    }
}

fn seen_disk(answer: &StatusResponse) -> Option<Disk> {
    let state = match answer.disk_state() {
        v1::DiskState::Blank => DiskState::Blank,
        v1::DiskState::Joining => DiskState::Joining,
        v1::DiskState::Member => DiskState::Member,
        v1::DiskState::Retired => DiskState::Retired,
        v1::DiskState::Corrupt => DiskState::Corrupt,
        // It has not looked yet, or is newer than we are.
        v1::DiskState::Unspecified => return None,
    };
    let ensemble_id = match answer.ensemble_id.as_str() {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    Some(Disk { state, ensemble_id, member_id: MemberId(answer.member_id) })
}

/// `None` when any part of it cannot be understood: half a membership is worse than none.
fn seen_leader(ensemble: &Ensemble, answer: &LeaderStatusResponse) -> Option<Leader> {
    let status = answer.status.as_ref()?;
    if ensemble.status.ensemble_id.as_deref() != Some(status.ensemble_id.as_str()) {
        return None;
    }
    let progress = |id| answer.progress.iter().find(|progress| progress.member_id == id);
    let mut members = BTreeMap::new();
    for member in &status.members {
        let ordinal = ensemble.names.pod_ordinal(&member.pod)?;
        let in_sync = progress(member.member_id).is_some_and(|progress| progress.in_sync);
        let matched_index = progress(member.member_id).map_or(0, |progress| progress.matched_index);
        members.insert(MemberId(member.member_id), zke_plan::Member { ordinal, matched_index, in_sync });
    }
    let voter_sets = status.voter_sets.iter();
    Some(Leader {
        member_id: MemberId(status.member_id),
        term: status.term,
        config_index: status.config_index,
        commit_index: status.commit_index,
        serving: status.serving,
        members,
        voter_sets: voter_sets.map(|set| set.member_ids.iter().copied().map(MemberId).collect()).collect(),
    })
}

/// One that cannot be read is its own reconciler's to report.
async fn backups_of(client: &Client, ensemble: &Ensemble) -> Result<Vec<ZkBackup>, Error> {
    let backups: Api<DeserializeGuard<ZkBackup>> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    let listed =
        backups.list(&ListParams::default()).await.map_err(Error::kubernetes("listing the backups"))?;
    let readable = listed.items.into_iter().filter_map(|backup| backup.0.ok());
    Ok(readable.filter(|backup| backup.spec.ensemble_ref.name == ensemble.names.name).collect())
}

fn by_ordinal<K: Resource>(objects: Vec<K>, ordinal: impl Fn(&str) -> Option<u32>) -> BTreeMap<u32, K> {
    objects.into_iter().filter_map(|object| Some((ordinal(&object.name_any())?, object))).collect()
}

fn controller_uid(pod: &Pod) -> Option<&str> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}
