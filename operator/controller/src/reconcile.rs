//! One reconciliation: read, look, plan, apply what is passive, latch, act once, report.
//!
//! The stages are functions of their own files; this one only puts them in their order, which is what makes them safe:
//! the status is read before the look, and written (guarded by resourceVersion) before the step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Api, Client, Resource, ResourceExt};
use zke_api::{ZkEnsemble, ZkEnsembleStatus};
use zke_plan::{Decision, EnsembleId, OperationKind, Step, plan};

use crate::act::Actor;
use crate::apply::{apply, apply_passive, remove_unused_config_maps};
use crate::build::{self, zoo_cfg};
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::lease::Held;
use crate::metrics::Metrics;
use crate::observe::Look;
use crate::template::WantedTemplate;
use crate::{events, restore, secrets, status};

/// Between the steps of an operation: the next look should see what the last step did.
const AFTER_STEP: Duration = Duration::from_millis(200);
/// After somebody else wrote first, usually a controller that fills in a status.
const AFTER_RACE: Duration = Duration::from_millis(500);
/// While waiting for something that no watch tells, such as a member that catches up.
const WHILE_WAITING: Duration = Duration::from_secs(2);
/// With nothing to do: for what changes without an event, such as a certificate's age.
const IDLE: Duration = Duration::from_secs(60);
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// What all reconciliations share.
pub struct Context {
    pub client: Client,
    pub recorder: Recorder,
    pub metrics: Metrics,
    pub held: Held,
    /// Our name, for the ensembles' logs.
    pub holder: String,
    /// Control epochs that this process has taken, by ensemble uid; bounded by the number of ensembles.
    pub control_epochs: Mutex<HashMap<String, u64>>,
}

/// The entry point that the runtime calls.
pub async fn reconcile(
    object: Arc<DeserializeGuard<ZkEnsemble>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let _duration = context.metrics.reconcile_seconds.start_timer();
    context.metrics.reconciles.inc();
    let object = object.0.as_ref().map_err(|invalid| Error::Invalid(Box::new(invalid.clone())))?;
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<ZkEnsemble> = Api::namespaced(context.client.clone(), &namespace);
    // Live: a step must not follow from a latch that is older than the one in the cluster.
    let read = api.get_opt(&object.name_any()).await.map_err(Error::kubernetes("reading the ensemble"))?;
    let Some(object) = read.filter(|object| object.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::await_change());
    };
    let ensemble = Ensemble::resolve(object.clone());
    let run = Run { context: &context, api: &api, object, ensemble };
    match run.once().await {
        Ok(action) => Ok(action),
        Err(error) if error.is_transient() => {
            tracing::info!(ensemble = run.ensemble.names.name, error = error.chain(), "looking again");
            Ok(Action::requeue(AFTER_RACE))
        }
        Err(error) => {
            run.report_failure(&error).await;
            Err(error)
        }
    }
}

/// How soon to try again after a failure.
pub fn after_error(
    object: Arc<DeserializeGuard<ZkEnsemble>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    context.metrics.errors.with_label_values(&[error.reason()]).inc();
    let name = object.meta().name.clone().unwrap_or_default();
    tracing::warn!(ensemble = name, error = error.chain(), "the reconciliation failed");
    match error {
        Error::Invalid(_) => Action::await_change(),
        _ => Action::requeue(AFTER_ERROR),
    }
}

struct Run<'a> {
    context: &'a Context,
    api: &'a Api<ZkEnsemble>,
    object: ZkEnsemble,
    ensemble: Ensemble,
}

impl Run<'_> {
    async fn once(&self) -> Result<Action, Error> {
        let (client, ensemble) = (&self.context.client, &self.ensemble);
        let now = Timestamp::now();
        let identity = secrets::ensure(client, ensemble, self.pods(), now).await?;
        let mut look = Look::take(client, ensemble, &identity).await?;
        let config = zoo_cfg::render(ensemble);
        let template = WantedTemplate::choose(client, ensemble, &config).await?;
        let observed = look.observed(ensemble, &template, EnsembleId(rand::random()), now);
        let operation = status::latched(&ensemble.names, &ensemble.status);
        let decision = plan(&observed, &ensemble.desired(), operation.as_ref());

        if !ensemble.spec.suspend {
            apply_passive(client, ensemble, &config).await?;
            if !matches!(decision, Decision::Act(Step::SetReplicas { .. })) {
                self.apply_template(&template, &look).await?;
            }
        }
        let next = status::next(ensemble, &look, &template, &decision, now);
        match decision {
            Decision::Act(step) => self.take(&step, next, &template, &mut look).await,
            Decision::Wait(_) => self.rest(next, WHILE_WAITING).await,
            Decision::Done => {
                remove_unused_config_maps(client, ensemble, &config, &look).await?;
                restore::tidy_up(client, ensemble).await?;
                self.rest(next, IDLE + jitter()).await
            }
        }
    }

    /// Certificates exist before the pods that need them: for as many as there are or will be.
    fn pods(&self) -> u32 {
        let status = &self.ensemble.status;
        let operation = status.operation.as_ref().map_or(0, |operation| operation.replicas);
        let members = u32::try_from(status.members.len()).unwrap_or(u32::MAX);
        self.ensemble.spec.replicas.max(operation).max(status.replicas.unwrap_or(0)).max(members)
    }

    /// Keeps the template current. Under OnDelete this moves no pod; the number of pods stays what was seen, and a
    /// set that changed since then is left alone. (`SetReplicas` brings the template along by itself.)
    async fn apply_template(&self, template: &WantedTemplate, look: &Look) -> Result<(), Error> {
        let (Some(live), Some(replicas)) = (&look.stateful_set, look.replicas()) else { return Ok(()) };
        let mut set = build::stateful_set::stateful_set(&self.ensemble, template, replicas, Some(live));
        set.metadata.uid = live.uid();
        set.metadata.resource_version = live.resource_version();
        match apply(&self.context.client, &set).await {
            // Its controller has written a status in between; the next look comes soon enough for a template.
            Err(error) if error.is_transient() => Ok(()),
            applied => applied.map(drop),
        }
    }

    async fn take(
        &self,
        step: &Step,
        next: ZkEnsembleStatus,
        template: &WantedTemplate,
        look: &mut Look,
    ) -> Result<Action, Error> {
        let context = self.context;
        if !context.held.is_held() {
            return Err(Error::LeaseLost { step: step.name() });
        }
        self.write(&next).await?;
        let mut control_epoch = self.control_epoch();
        let mut actor = Actor {
            client: &context.client,
            ensemble: &self.ensemble,
            template,
            look,
            control_epoch: &mut control_epoch,
            holder: &context.holder,
        };
        let result = actor.act(step).await;
        self.remember_control_epoch(control_epoch);
        let label = if result.is_ok() { "done" } else { "failed" };
        context.metrics.steps.with_label_values(&[step.name(), label]).inc();
        result?;
        self.count_operation(step);
        tracing::info!(ensemble = self.ensemble.names.name, step = ?step, "step taken");
        let target = next.operation.as_ref().and_then(|operation| operation.target.as_deref());
        events::publish(&context.recorder, &self.object, vec![events::of_step(step, target)]).await;
        Ok(Action::requeue(AFTER_STEP))
    }

    async fn rest(&self, next: ZkEnsembleStatus, again: Duration) -> Result<Action, Error> {
        if status::is_news(&self.ensemble.status, &next) {
            self.write(&next).await?;
        }
        Ok(Action::requeue(again))
    }

    /// Writes the whole status over the one that was read, and only over that one.
    async fn write(&self, next: &ZkEnsembleStatus) -> Result<(), Error> {
        let object = ZkEnsemble { status: Some(next.clone()), ..self.object.clone() };
        self.api
            .replace_status(&self.ensemble.names.name, &PostParams::default(), &object)
            .await
            .map_err(Error::kubernetes("writing the status"))?;
        let news = events::of_change(&self.ensemble.status, next);
        events::publish(&self.context.recorder, &self.object, news).await;
        Ok(())
    }

    async fn report_failure(&self, error: &Error) {
        events::publish(&self.context.recorder, &self.object, vec![events::of_error(error)]).await;
        let next = status::failed(&self.ensemble, error, Timestamp::now());
        if status::is_news(&self.ensemble.status, &next)
            && let Err(error) = self.write(&next).await
        {
            tracing::debug!(error = error.chain(), "the failure could not be reported");
        }
    }

    fn control_epoch(&self) -> Option<u64> {
        let epochs = self.context.control_epochs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        epochs.get(&self.ensemble.uid).copied()
    }

    fn remember_control_epoch(&self, epoch: Option<u64>) {
        let mut epochs = self.context.control_epochs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match epoch {
            Some(epoch) => epochs.insert(self.ensemble.uid.clone(), epoch),
            None => epochs.remove(&self.ensemble.uid),
        };
    }

    fn count_operation(&self, step: &Step) {
        let operations = &self.context.metrics.operations;
        match step {
            Step::Begin(operation) => operations.with_label_values(&[operation.kind.name(), "begun"]).inc(),
            Step::Finish { .. } => {
                let Some(operation) = &self.ensemble.status.operation else { return };
                operations.with_label_values(&[&operation.type_, "finished"]).inc();
                let took = Timestamp::now().duration_since(operation.started_at.0);
                let seconds = self.context.metrics.operation_seconds.with_label_values(&[&operation.type_]);
                seconds.observe(took.as_secs_f64().max(0.0));
            }
            Step::PutBack { .. } => {
                operations.with_label_values(&[OperationKind::Update.name(), "put_back"]).inc();
            }
            _ => {}
        }
    }
}

/// So that many ensembles do not all look in the same second.
fn jitter() -> Duration {
    Duration::from_millis(rand::random_range(0..10_000))
}
