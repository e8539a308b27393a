//! The end of a ZkBackup that takes its archive along: what the finalizer holds it back for.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use zke_api::{ARTIFACT_FINALIZER, ENSEMBLE_ID_ANNOTATION, ZkBackup};
use zke_plan::backup::JobState;
use zke_plan::removal::{ClaimState, Farewell, Leaving, LeftBehind, Removal, RemovalJob, removal};

use crate::backup::request::Request;
use crate::backup::{AGAIN, AT_ONCE, job, observe};
use crate::error::Error;
use crate::events::{event, publish};
use crate::job::outcome::{self, Complaint};
use crate::names::FIELD_MANAGER;
use crate::reconcile::Context;

/// One look at a backup that is being deleted, and one step.
pub async fn leave(context: &Context, object: &ZkBackup) -> Result<Action, Error> {
    if !object.finalizers().iter().any(|finalizer| finalizer == ARTIFACT_FINALIZER) {
        return Ok(Action::await_change());
    }
    let client = &context.client;
    let request = Request::resolve(object.clone());
    let own = observe::job(client, &request.namespace, &request.job()).await?;
    let own = own.filter(|job| job.owner_references().iter().any(|owner| owner.uid == request.uid));
    let remover = observe::job(client, &request.namespace, &request.removal_job()).await?;
    let archive = archive(&request, own.as_ref());
    let leaving = Leaving {
        deleted: object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        backup_job: own.is_some(),
        archive: archive.is_some(),
        claim: claim(client, &request).await?,
        removal: remover.as_ref().map_or(RemovalJob::Absent, |job| match outcome::state(job) {
            JobState::Succeeded => RemovalJob::Succeeded,
            JobState::Failed => RemovalJob::Failed,
            _ => RemovalJob::Active,
        }),
    };
    let step = removal(&leaving, Timestamp::now());
    if !context.held.is_held() {
        return Err(Error::LeaseLost { step: "RemoveArchive" });
    }
    match step {
        Removal::Wait => return Ok(Action::requeue(AGAIN)),
        Removal::StopBackup => {
            if let Some(job) = &own {
                // With its pods: none may write any more when the Job is gone.
                delete_job(client, job, PropagationPolicy::Foreground).await?;
            }
        }
        Removal::Start => start(client, &request, archive.as_deref().unwrap_or_default()).await?,
        Removal::Done(farewell) => {
            let complaint = match (&remover, farewell) {
                (Some(job), Farewell::LeftBehind(LeftBehind::JobFailed)) => {
                    let uid = job.uid().unwrap_or_default();
                    let pods = observe::pods(client, &request.namespace, &uid).await?;
                    Some(outcome::complaint_of(job, &pods))
                }
                _ => None,
            };
            say_goodbye(context, object, archive.as_deref(), farewell, complaint).await;
            drop_finalizer(client, object).await?;
            tracing::info!(backup = request.name, ?farewell, "a backup has gone");
            // Its pod would keep the claim from being deleted. A failed one stays a while, for its log.
            if let Some(job) = remover.filter(|job| outcome::state(job) != JobState::Failed) {
                delete_job(client, &job, PropagationPolicy::Background).await?;
            }
            return Ok(Action::await_change());
        }
    }
    Ok(Action::requeue(AT_ONCE))
}

/// Writes the finalizer, so that the archive that is about to be made is not forgotten.
pub async fn hold_back(client: &Client, object: &ZkBackup) -> Result<(), Error> {
    if object.finalizers().iter().any(|finalizer| finalizer == ARTIFACT_FINALIZER) {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(ARTIFACT_FINALIZER.to_owned());
    write_finalizers(client, object, finalizers).await
}

/// Lets go of an object, whatever else is wrong with it.
pub async fn drop_finalizer<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let left = object.finalizers().iter().filter(|finalizer| *finalizer != ARTIFACT_FINALIZER).cloned();
    write_finalizers(client, object, left.collect()).await
}

async fn write_finalizers<K>(client: &Client, object: &K, finalizers: Vec<String>) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let backups: Api<ZkBackup> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({"metadata": {
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    // Only metadata is read back, so that this also works for an object that cannot be understood.
    backups
        .patch_metadata(&object.name_any(), &params, &Patch::Merge(patch))
        .await
        .map(drop)
        .map_err(Error::kubernetes("writing the finalizer"))
}

pub async fn delete_job(client: &Client, job: &Job, propagation: PropagationPolicy) -> Result<(), Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        preconditions: Some(Preconditions { uid: job.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    match jobs.delete(&job.name_any(), &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop).map_err(Error::kubernetes("removing a Job")),
    }
}

/// Where the archive is, or where it would be if the Job got that far.
fn archive(request: &Request, job: Option<&Job>) -> Option<String> {
    let made = request.status.artifact.as_ref().map(|artifact| artifact.path.clone());
    let begun = || {
        let id = job.and_then(|job| job.annotations().get(ENSEMBLE_ID_ANNOTATION));
        id.or(request.status.ensemble_id.as_ref()).map(|id| request.archive_path(id))
    };
    made.or_else(begun)
}

async fn claim(client: &Client, request: &Request) -> Result<ClaimState, Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &request.namespace);
    let claim = claims.get_opt(request.claim()).await.map_err(Error::kubernetes("reading the claim"))?;
    let stays = claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none());
    Ok(if stays { ClaimState::There } else { ClaimState::Gone })
}

async fn start(client: &Client, request: &Request, path: &str) -> Result<(), Error> {
    let ensemble = observe::ensemble(client, request).await?;
    // An archive was made by an image, so there is one; an ensemble that is gone can no longer say which.
    let image = request.status.image.clone().or_else(|| ensemble.as_ref().map(|ensemble| ensemble.image()));
    let image = image.unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(client.clone(), &request.namespace);
    let job = job::removal(request, ensemble.as_ref(), image, path);
    create(&jobs, &job, "making the Job that removes the archive").await
}

/// Creates a Job that may be there already: whether that one is ours, the next look tells.
pub async fn create(jobs: &Api<Job>, job: &Job, what: &'static str) -> Result<(), Error> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match jobs.create(&params, job).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => created.map(drop).map_err(Error::kubernetes(what)),
    }
}

async fn say_goodbye(
    context: &Context,
    object: &ZkBackup,
    archive: Option<&str>,
    farewell: Farewell,
    complaint: Option<Complaint>,
) {
    let Some(archive) = archive else { return };
    let request = Request::resolve(object.clone());
    let claim = request.claim();
    let news = match farewell {
        Farewell::NothingToRemove => return,
        Farewell::Removed => event(EventType::Normal, "ArchiveRemoved", format!("{archive} was removed")),
        Farewell::LeftBehind(why) => {
            let file = format!("{}/{archive}", request.folder(""));
            let file = file.trim_start_matches('/');
            let doubt = if request.status.artifact.is_some() { "" } else { ", if it was written," };
            let detail = complaint.map(|it| format!(" ({}: {})", it.reason, it.message)).unwrap_or_default();
            let why = format!("{}{detail}", why.explain());
            let note = format!("{file}{doubt} stays on claim {claim}: {why}; remove it by hand");
            // Once more in the log: a namespace that is being deleted takes no events.
            tracing::warn!(backup = request.name, file, claim, why, "a file is left behind");
            event(EventType::Warning, "ArchiveLeftBehind", note)
        }
    };
    publish(&context.recorder, object, vec![news]).await;
}
