//! ZkBackups: read live, decide, act, write the status; the same stages as an ensemble has.
//!
//! The Job is made before anything is written about it, under a name that is always the same: whoever dies between the
//! two finds it again, and nobody makes a second one. What it says at its end becomes the status, which is final.

mod job;
mod last;
mod leave;
mod observe;
mod request;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{PostParams, PropagationPolicy};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use zke_api::{BackupPhase, DeletionPolicy, ZkBackup, ZkBackupStatus};
use zke_plan::backup::{JobState, Verdict, judge};

use crate::backup::last::LastBackups;
use crate::backup::observe::Look;
use crate::backup::request::Request;
use crate::error::Error;
use crate::events::publish;
use crate::job::outcome;
use crate::malformed;
use crate::names::{FIELD_MANAGER, MANAGED_BY_LABEL};
use crate::reconcile::Context;
use crate::run::{CONCURRENCY, api};

/// After something was done: the next look should see it.
const AT_ONCE: Duration = Duration::from_millis(200);
/// For what no watch tells: a turn that comes, an ensemble that becomes available, a pod that cannot be scheduled.
const AGAIN: Duration = Duration::from_secs(5);
const AFTER_ERROR: Duration = Duration::from_secs(5);

type Guarded = DeserializeGuard<ZkBackup>;

/// Follows the backups of these namespaces, or of all for a lone `None`, until it is dropped.
pub async fn watch(namespaces: &[Option<&str>], context: &Arc<Context>) {
    let controllers: Vec<_> = namespaces.iter().map(|namespace| controller(context, *namespace)).collect();
    let stores = controllers.iter().map(Controller::store).collect();
    let registered = LastBackups::new(stores).and_then(|last| context.metrics.register(last));
    if let Err(error) = registered {
        tracing::error!(%error, "the age of the last backup is not measured");
    }
    let runs = controllers.into_iter().map(|controller| {
        // Failures are logged where they happen.
        controller.run(reconcile, after_error, context.clone()).for_each(async |_| {})
    });
    join_all(runs).await;
}

fn controller(context: &Context, namespace: Option<&str>) -> Controller<Guarded> {
    let client = &context.client;
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}"));
    Controller::new(api::<Guarded>(client, namespace), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches(api::<Job>(client, namespace), ours, |job| {
            let name = job.labels().get(job::BACKUP_LABEL)?;
            Some(ObjectRef::new(name).within(&job.namespace()?))
        })
}

async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    if let Err(invalid) = &object.0 {
        let error = Error::Invalid(Box::new(invalid.clone()));
        malformed::tell(&context, &object, &error).await;
        if object.meta().deletion_timestamp.is_some() {
            leave::drop_finalizer(&context.client, &*object).await?;
        }
        return Err(error);
    }
    let namespace = object.namespace().unwrap_or_default();
    let backups: Api<ZkBackup> = Api::namespaced(context.client.clone(), &namespace);
    let read = backups.get_opt(&object.name_any()).await.map_err(Error::kubernetes("reading the backup"))?;
    let Some(object) = read else { return Ok(Action::await_change()) };
    let request = Request::resolve(object.clone());
    let run = Run { context: &context, backups: &backups, object, request };
    let result = match run.object.metadata.deletion_timestamp {
        Some(_) => leave::leave(&context, &run.object).await,
        None => run.once().await,
    };
    match result {
        Err(error) if error.is_transient() => {
            tracing::info!(backup = run.request.name, error = error.chain(), "looking again");
            Ok(Action::requeue(AT_ONCE))
        }
        Err(error) => {
            run.report_failure(&error).await;
            Err(error)
        }
        done => done,
    }
}

fn after_error(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.errors.with_label_values(&[error.reason()]).inc();
    tracing::warn!(backup = object.name_any(), error = error.chain(), "the reconciliation failed");
    match error {
        Error::Invalid(_) => Action::await_change(),
        _ => Action::requeue(AFTER_ERROR),
    }
}

struct Run<'a> {
    context: &'a Context,
    backups: &'a Api<ZkBackup>,
    object: ZkBackup,
    request: Request,
}

impl Run<'_> {
    async fn once(&self) -> Result<Action, Error> {
        let (client, request) = (&self.context.client, &self.request);
        if request.phase().is_final() {
            return self.tidy_up().await;
        }
        let now = Timestamp::now();
        let look = Look::take(client, request).await?;
        let sources = look.sources();
        let verdict = judge(&look.attempt(request, &sources), now);
        match verdict {
            Verdict::Start(member) => {
                self.start(&look, member, now).await?;
                Ok(Action::requeue(AT_ONCE))
            }
            verdict => {
                let next = status::next(request, &look, &verdict, now);
                self.write(&next).await?;
                let ended = next.phase.is_some_and(BackupPhase::is_final);
                Ok(Action::requeue(if ended { AT_ONCE } else { AGAIN }))
            }
        }
    }

    async fn start(&self, look: &Look, member: &str, now: Timestamp) -> Result<(), Error> {
        let (client, request) = (&self.context.client, &self.request);
        let Some(ensemble) = &look.ensemble else { return Ok(()) };
        if !self.context.held.is_held() {
            return Err(Error::LeaseLost { step: "StartBackup" });
        }
        if request.spec.deletion_policy == DeletionPolicy::Delete {
            leave::hold_back(client, &self.object).await?;
        }
        let jobs: Api<Job> = Api::namespaced(client.clone(), &request.namespace);
        leave::create(&jobs, &job::backup(request, ensemble, member, now), "making the backup's Job").await?;
        tracing::info!(backup = request.name, member, "a backup begins");
        Ok(())
    }

    /// The Job of a backup that has ended is of no more use, unless it failed: then its pods' logs are. Pods that are
    /// left would keep their claim from being deleted.
    async fn tidy_up(&self) -> Result<Action, Error> {
        let (client, request) = (&self.context.client, &self.request);
        let job = observe::job(client, &request.namespace, &request.job()).await?;
        let job = job.filter(|job| job.owner_references().iter().any(|owner| owner.uid == request.uid));
        let useless =
            |job: &Job| request.phase() == BackupPhase::Succeeded || outcome::state(job) == JobState::Active;
        if let Some(job) = job.filter(useless) {
            leave::delete_job(client, &job, PropagationPolicy::Background).await?;
        }
        Ok(Action::await_change())
    }

    /// Writes the whole status over the one that was read, and only over that one; and says what is new in it.
    async fn write(&self, next: &ZkBackupStatus) -> Result<(), Error> {
        let before = &self.request.status;
        if before == next {
            return Ok(());
        }
        let object = ZkBackup { status: Some(next.clone()), ..self.object.clone() };
        self.backups
            .replace_status(&self.request.name, &PostParams::default(), &object)
            .await
            .map_err(Error::kubernetes("writing the status"))?;
        publish(&self.context.recorder, &self.object, status::news(before, next).into_iter().collect()).await;
        self.count(next);
        Ok(())
    }

    async fn report_failure(&self, error: &Error) {
        if self.request.phase().is_final() || self.object.metadata.deletion_timestamp.is_some() {
            return;
        }
        let next = status::hindered(&self.request, error, Timestamp::now());
        if let Err(error) = self.write(&next).await {
            tracing::debug!(error = error.chain(), "the failure could not be reported");
        }
    }

    fn count(&self, next: &ZkBackupStatus) {
        let result = match next.phase {
            Some(BackupPhase::Succeeded) => "succeeded",
            Some(BackupPhase::Failed) => "failed",
            _ => return,
        };
        let metrics = &self.context.metrics;
        let ensemble = &self.request.spec.ensemble_ref.name;
        metrics.backups.with_label_values(&[self.request.namespace.as_str(), ensemble, result]).inc();
        if let (Some(start), Some(end)) = (&next.start_time, &next.completion_time) {
            let took_ms = end.0.as_millisecond().saturating_sub(start.0.as_millisecond());
            let seconds = Duration::from_millis(u64::try_from(took_ms).unwrap_or(0)).as_secs_f64();
            metrics.backup_seconds.observe(seconds);
        }
    }
}
