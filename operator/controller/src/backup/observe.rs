//! One look at a backup: its Job and pods, its ensemble, and the others that go to the same claim. All read live.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, ResourceExt};
use zke_api::{BackupPhase, MemberRole, MemberState, MemberStatus, ZkBackup, ZkEnsemble, condition};
use zke_plan::backup::{Attempt, EnsembleState, JobState, Rival, Source, Standing, Waiting, ahead_of};

use crate::backup::request::Request;
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::job::outcome;

/// What was seen, as it came.
pub struct Look {
    pub job: Option<Job>,
    /// Of the Job.
    pub pods: Vec<Pod>,
    pub ensemble: Option<Ensemble>,
    rivals: Vec<ZkBackup>,
}

impl Look {
    pub async fn take(client: &Client, request: &Request) -> Result<Self, Error> {
        let job = job(client, &request.namespace, &request.job()).await?;
        let mut look = Self { job, pods: Vec::new(), ensemble: None, rivals: Vec::new() };
        if let Some(uid) = look.own_job(request).and_then(ResourceExt::uid) {
            look.pods = pods(client, &request.namespace, &uid).await?;
            return Ok(look);
        }
        look.ensemble = ensemble(client, request).await?;
        if look.ensemble.is_some() {
            look.rivals = rivals(client, request).await?;
        }
        Ok(look)
    }

    #[cfg(test)]
    pub fn of(job: Option<Job>, pods: Vec<Pod>) -> Self {
        Self { job, pods, ensemble: None, rivals: Vec::new() }
    }

    /// The Job, if it was made for this very backup.
    pub fn own_job(&self, request: &Request) -> Option<&Job> {
        let own = |job: &&Job| job.owner_references().iter().any(|owner| owner.uid == request.uid);
        self.job.as_ref().filter(own)
    }

    pub fn job_state(&self, request: &Request) -> JobState {
        match (self.own_job(request), &self.job) {
            (Some(job), _) => outcome::state(job),
            (None, Some(_)) => JobState::Foreign,
            (None, None) => JobState::Absent,
        }
    }

    /// The members of its ensemble, for [`Self::attempt`].
    pub fn sources(&self) -> Vec<Source<'_>> {
        let Some(ensemble) = &self.ensemble else { return Vec::new() };
        let leader = ensemble.status.leader.as_deref();
        let votes_in_sync = |member: &MemberStatus| {
            member.role == MemberRole::Voter
                && member.state == MemberState::InSync
                && member.message.is_none()
        };
        let members = ensemble.status.members.iter();
        members
            .map(|member| Source {
                pod: &member.name,
                in_sync: votes_in_sync(member),
                leads: leader == Some(member.name.as_str()),
            })
            .collect()
    }

    /// What is decided on.
    pub fn attempt<'a>(&'a self, request: &Request, sources: &'a [Source<'a>]) -> Attempt<'a> {
        let rivals: Vec<_> = self.rivals.iter().map(rival).collect();
        Attempt {
            deadline: request.deadline(),
            started: request.status.job.is_some(),
            job: self.job_state(request),
            ensemble: self.ensemble_state(sources),
            ahead: ahead_of(request.created, &request.name, &rivals),
        }
    }

    fn ensemble_state<'a>(&self, sources: &'a [Source<'a>]) -> EnsembleState<'a> {
        let Some(ensemble) = &self.ensemble else { return EnsembleState::Missing };
        let conditions = &ensemble.status.conditions;
        if !condition::is_true(conditions, condition::INITIALIZED) {
            EnsembleState::NotInitialized
        } else if !condition::is_true(conditions, condition::AVAILABLE) {
            EnsembleState::NotAvailable
        } else {
            EnsembleState::Available(sources)
        }
    }
}

pub async fn job(client: &Client, namespace: &str, name: &str) -> Result<Option<Job>, Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    jobs.get_opt(name).await.map_err(Error::kubernetes("reading the Job"))
}

pub async fn pods(client: &Client, namespace: &str, job_uid: &str) -> Result<Vec<Pod>, Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={job_uid}"));
    Ok(pods.list(&of_job).await.map_err(Error::kubernetes("listing the Job's pods"))?.items)
}

/// The ensemble, unless it is being deleted.
pub async fn ensemble(client: &Client, request: &Request) -> Result<Option<Ensemble>, Error> {
    let ensembles: Api<ZkEnsemble> = Api::namespaced(client.clone(), &request.namespace);
    let found = ensembles
        .get_opt(&request.spec.ensemble_ref.name)
        .await
        .map_err(Error::kubernetes("reading the ensemble"))?;
    Ok(found.filter(|object| object.metadata.deletion_timestamp.is_none()).map(Ensemble::resolve))
}

/// Those that have not ended and go to the same claim. One that cannot be read is in nobody's way.
async fn rivals(client: &Client, request: &Request) -> Result<Vec<ZkBackup>, Error> {
    let backups: Api<DeserializeGuard<ZkBackup>> = Api::namespaced(client.clone(), &request.namespace);
    let all = backups.list(&ListParams::default()).await.map_err(Error::kubernetes("listing the backups"))?;
    let unfinished = |backup: &ZkBackup| {
        let phase = backup.status.as_ref().and_then(|status| status.phase);
        !phase.is_some_and(BackupPhase::is_final) && backup.metadata.deletion_timestamp.is_none()
    };
    let same_claim =
        |backup: &ZkBackup| backup.spec.destination.persistent_volume_claim.claim_name == request.claim();
    Ok(all
        .items
        .into_iter()
        .filter_map(|backup| backup.0.ok())
        .filter(|backup| backup.name_any() != request.name && unfinished(backup) && same_claim(backup))
        .collect())
}

fn rival(backup: &ZkBackup) -> Rival<'_> {
    let status = backup.status.as_ref();
    let running = status.is_some_and(|status| status.phase == Some(BackupPhase::Running));
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    let waits_for = conditions.find(|condition| condition.type_ == condition::READY);
    Rival {
        name: backup.metadata.name.as_deref().unwrap_or_default(),
        created: backup.metadata.creation_timestamp.as_ref().map_or(jiff::Timestamp::MAX, |time| time.0),
        standing: match waits_for {
            _ if running => Standing::Running,
            Some(condition) => Waiting::standing(&condition.reason),
            None => Standing::InLine,
        },
    }
}
