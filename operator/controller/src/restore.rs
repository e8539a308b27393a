//! A new ensemble that begins with the data of an archive: where the archive is, and the Jobs that read it, first to
//! prove it and then to put it on the first member's disk.
//!
//! Nothing here decides: the plan asks for one Job after the other, and is shown what became of them.

mod jobs;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use zke_api::{BackupPhase, Restore, ZkBackup, ZkEnsemble};
use zke_plan::backup::JobState as OfJob;
use zke_plan::{EnsembleId, JobState, MemberId};

use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::job::{ENSEMBLE_LABEL, outcome};

/// The archive that a new ensemble begins with.
#[derive(Clone, Debug)]
pub struct Archive {
    claim: String,
    /// From the root of the claim.
    file: String,
    sha256: Option<String>,
    /// The highest zxid epoch that the ensemble of the archive is known to have had.
    epoch_above: u32,
}

/// What was seen of the archive and of the Jobs.
#[derive(Clone, Debug, Default)]
pub struct Restoration {
    /// `None` while nothing is to be restored, or the archive cannot be told yet.
    archive: Option<Archive>,
    pub check: JobState,
    pub restore: JobState,
    /// What is waited for or wrong, in words.
    pub message: Option<String>,
}

impl Restoration {
    /// Looks only where it can matter: at an ensemble that is to be restored and has not served yet.
    pub async fn look(client: &Client, ensemble: &Ensemble, seed: Option<MemberId>) -> Result<Self, Error> {
        let Some(bootstrap) = &ensemble.spec.bootstrap else { return Ok(Self::default()) };
        if ensemble.is_initialized() {
            return Ok(Self::default());
        }
        let names = &ensemble.names;
        let jobs = jobs_of(client, ensemble).await?;
        if jobs.values().any(|job| ensemble.is_predecessors(&job.metadata)) {
            return Err(Error::Predecessor { object: "a Job that restores an archive".to_owned() });
        }
        let found = find(client, ensemble, &bootstrap.restore).await?;
        let check = jobs.get(&names.check_archive_job());
        let restore = seed.and_then(|seed| jobs.get(&names.restore_job(seed)));
        let mut seen = Self { check: state(check), restore: state(restore), ..Self::default() };
        match found {
            Found::Archive(archive) => seen.archive = Some(archive),
            // A Job that has begun needs the ZkBackup no more.
            Found::NotYet(message) if check.is_none() => {
                (seen.check, seen.message) = (JobState::Running, Some(message));
            }
            Found::Never(message) if check.is_none() => {
                (seen.check, seen.message) = (JobState::Failed, Some(message));
            }
            Found::NotYet(_) | Found::Never(_) => {}
        }
        if let Some(job) = restore.or(check).filter(|job| outcome::state(job) != OfJob::Succeeded) {
            let pods = pods_of(client, job).await?;
            seen.message = match outcome::state(job) {
                OfJob::Failed => {
                    let complaint = outcome::complaint_of(job, &pods);
                    let again = "; delete the Job to have it tried again";
                    Some(format!("{}: {}: {}{again}", job.name_any(), complaint.reason, complaint.message))
                }
                _ => outcome::hindrance(&pods).map(|hindrance| format!("{}: {hindrance}", job.name_any())),
            };
        }
        Ok(seen)
    }

    pub async fn check_archive(&self, client: &Client, ensemble: &Ensemble) -> Result<(), Error> {
        create(client, ensemble, jobs::check(ensemble, self.archive(ensemble)?)).await
    }

    /// Lets a Job make `member_id`, the disk of the first member, the first voter of the restored ensemble.
    pub async fn restore(
        &self,
        client: &Client,
        ensemble: &Ensemble,
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    ) -> Result<(), Error> {
        let archive = self.archive(ensemble)?;
        create(client, ensemble, jobs::restore(ensemble, archive, ordinal, member_id, ensemble_id)).await
    }

    fn archive(&self, ensemble: &Ensemble) -> Result<&Archive, Error> {
        self.archive.as_ref().ok_or_else(|| Error::ArchiveGone { ensemble: ensemble.names.name.clone() })
    }
}

/// Removes the Jobs of an ensemble that has been restored.
pub async fn tidy_up(client: &Client, ensemble: &Ensemble) -> Result<(), Error> {
    if ensemble.spec.bootstrap.is_none() {
        return Ok(());
    }
    let api: Api<Job> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    for name in jobs_of(client, ensemble).await?.into_keys() {
        api.delete(&name, &params).await.map_err(Error::kubernetes("removing a Job that has restored"))?;
    }
    Ok(())
}

enum Found {
    Archive(Archive),
    NotYet(String),
    Never(String),
}

async fn find(client: &Client, ensemble: &Ensemble, restore: &Restore) -> Result<Found, Error> {
    if let Some(source) = &restore.persistent_volume_claim {
        return Ok(Found::Archive(Archive {
            claim: source.claim_name.clone(),
            file: source.path.clone(),
            sha256: source.sha256.clone(),
            epoch_above: 0,
        }));
    }
    let name = restore.backup_ref.as_ref().map(|reference| reference.name.clone()).unwrap_or_default();
    let backups: Api<ZkBackup> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    let read = backups.get_opt(&name).await.map_err(Error::kubernetes("reading the ZkBackup to restore"))?;
    let Some(backup) = read else { return Ok(Found::NotYet(format!("there is no ZkBackup {name} yet"))) };
    let status = backup.status.unwrap_or_default();
    match (status.phase, status.artifact) {
        (Some(BackupPhase::Succeeded), Some(artifact)) => {
            let destination = &backup.spec.destination.persistent_volume_claim;
            let folder = destination.sub_path.as_deref().filter(|path| !path.is_empty());
            let epoch_above = known_epoch(client, ensemble, &artifact.ensemble_id).await?;
            Ok(Found::Archive(Archive {
                claim: destination.claim_name.clone(),
                file: folder.map_or_else(
                    || artifact.path.clone(),
                    |folder| format!("{}/{}", folder.trim_end_matches('/'), artifact.path),
                ),
                sha256: Some(artifact.sha256),
                epoch_above,
            }))
        }
        (Some(BackupPhase::Failed), _) => {
            Ok(Found::Never(format!("ZkBackup {name} has failed: name one that has succeeded")))
        }
        _ => Ok(Found::NotYet(format!("ZkBackup {name} has not succeeded yet"))),
    }
}

/// Clients of the ensemble that was backed up may have seen later zxids than the archive has.
async fn known_epoch(client: &Client, ensemble: &Ensemble, ensemble_id: &str) -> Result<u32, Error> {
    let ensembles: Api<ZkEnsemble> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    let all = ensembles
        .list(&ListParams::default())
        .await
        .map_err(Error::kubernetes("looking for the ensemble of the archive"))?;
    let statuses = all.items.into_iter().filter_map(|object| object.status);
    let same = statuses.filter(|status| status.ensemble_id.as_deref() == Some(ensemble_id));
    let epochs = same.filter_map(|status| {
        let zxid = status.last_zxid?;
        let zxid = u64::from_str_radix(zxid.strip_prefix("0x")?, 16).ok()?;
        u32::try_from(zxid >> 32).ok()
    });
    Ok(epochs.max().unwrap_or(0))
}

async fn jobs_of(client: &Client, ensemble: &Ensemble) -> Result<BTreeMap<String, Job>, Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    let selector = format!("app.kubernetes.io/name={},{ENSEMBLE_LABEL}={}", jobs::NAME, ensemble.names.name);
    let found = api
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(Error::kubernetes("listing the Jobs that restore"))?;
    Ok(found.items.into_iter().map(|job| (job.name_any(), job)).collect())
}

async fn pods_of(client: &Client, job: &Job) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let selector = format!("batch.kubernetes.io/job-name={}", job.name_any());
    let found = api
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(Error::kubernetes("listing the pods of a Job"))?;
    Ok(found.items)
}

/// A Job of this name that is there already is the one that was wanted: the name holds all that it depends on.
async fn create(client: &Client, ensemble: &Ensemble, job: Job) -> Result<(), Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &ensemble.names.namespace);
    match api.create(&PostParams::default(), &job).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => created.map(drop).map_err(Error::kubernetes("making a Job that restores")),
    }
}

fn state(job: Option<&Job>) -> JobState {
    match job.map(outcome::state) {
        None => JobState::Absent,
        Some(OfJob::Succeeded) => JobState::Succeeded,
        Some(OfJob::Failed) => JobState::Failed,
        Some(_) => JobState::Running,
    }
}
