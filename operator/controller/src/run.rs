//! Puts the process together: the lease, the watches that wake the reconciler, the HTTP server, and the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures::StreamExt;
use futures::future::{join_all, join3};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use zke_api::{NAME_LABEL, ZkBackup, ZkEnsemble};

use crate::args::Args;
use crate::http::{Readiness, router};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::names::{FIELD_MANAGER, MANAGED_BY_LABEL};
use crate::reconcile::{Context, after_error, reconcile};
use crate::{backup, schedule};

/// Ensembles looked at side by side; each look waits mostly for its members.
pub const CONCURRENCY: u16 = 8;

type Guarded = DeserializeGuard<ZkEnsemble>;

/// Runs until a signal, or until the lease is lost.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let readiness = Readiness::default();
    let listener = tokio::net::TcpListener::bind(args.http_address)
        .await
        .with_context(|| format!("listening on {}", args.http_address))?;
    let http = tokio::spawn(axum::serve(listener, router(metrics.clone(), readiness.clone())).into_future());

    let client = Client::try_default().await.context("reading how to reach the API server")?;
    let server = client.apiserver_version().await.context("reaching the API server")?;
    readiness.set(true);
    tracing::info!(kubernetes = server.git_version, identity = args.identity, "started");

    let mut candidate = Candidate::new(
        client.clone(),
        &args.lease_namespace,
        &args.lease_name,
        &args.identity,
        args.lease_times(),
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = candidate.acquire() => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    tracing::info!("holding the lease");
    metrics.leader.set(1);

    let context = Arc::new(Context {
        client: client.clone(),
        recorder: Recorder::new(
            client.clone(),
            Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(args.identity.clone()) },
        ),
        metrics,
        held: candidate.held(),
        holder: args.identity.clone(),
        control_epochs: Mutex::new(HashMap::new()),
    });
    tokio::select! {
        () = watch(client, &args.watch_namespaces, context) => anyhow::bail!("the watches ended"),
        () = candidate.keep() => anyhow::bail!("the lease was lost: ending, so that the next holder acts alone"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending");
    candidate.release().await;
    http.abort();
    Ok(())
}

async fn watch(client: Client, namespaces: &[String], context: Arc<Context>) {
    let namespaces: Vec<Option<&str>> = match namespaces {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let controllers = namespaces.iter().map(|namespace| controller(&client, *namespace));
    let runs = controllers.map(|controller| {
        // Failures are logged where they happen.
        controller.run(reconcile, after_error, context.clone()).for_each(async |_| {})
    });
    let backups = backup::watch(&namespaces, &context);
    let schedules = schedule::watch(&namespaces, &context);
    join3(join_all(runs), backups, schedules).await;
}

/// Everything that belongs to an ensemble wakes it up. Nothing is decided from what the watches carry.
fn controller(client: &Client, namespace: Option<&str>) -> Controller<Guarded> {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}"));
    Controller::new(api::<Guarded>(client, namespace), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(api::<StatefulSet>(client, namespace), ours.clone())
        .owns(api::<Service>(client, namespace), ours.clone())
        .owns(api::<ConfigMap>(client, namespace), ours.clone())
        .owns(api::<PodDisruptionBudget>(client, namespace), ours.clone())
        .owns(api::<Job>(client, namespace), ours.clone())
        .watches(api::<Pod>(client, namespace), ours.clone(), ensemble_of)
        .watches(api::<PersistentVolumeClaim>(client, namespace), ours, ensemble_of)
        .watches(
            api::<DeserializeGuard<ZkBackup>>(client, namespace),
            watcher::Config::default(),
            ensemble_of_backup,
        )
}

pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// One that cannot be read belongs to nobody.
fn ensemble_of_backup(backup: DeserializeGuard<ZkBackup>) -> Option<ObjectRef<Guarded>> {
    let backup = backup.0.ok()?;
    Some(ObjectRef::new(&backup.spec.ensemble_ref.name).within(&backup.namespace()?))
}

fn ensemble_of<K: ResourceExt>(object: K) -> Option<ObjectRef<Guarded>> {
    let name = object.labels().get(NAME_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}
