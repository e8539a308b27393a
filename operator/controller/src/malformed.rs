//! Objects that the API server stored and we cannot read: written under another version's schema, say. Each is told so
//! itself, and holds up nobody else.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use zke_api::condition::{self, condition};

use crate::error::Error;
use crate::events::{event, publish};
use crate::names::FIELD_MANAGER;
use crate::reconcile::Context;

/// Tells an event and the object's conditions what is wrong, once. Best effort: the API server may find the object as
/// wrong as we do, and then takes no status for it.
pub async fn tell<K>(context: &Context, object: &DeserializeGuard<K>, error: &Error)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug,
{
    if let Err(failure) = write(context, object, error).await {
        tracing::warn!(object = object.name_any(), error = failure.chain(), "not told what is wrong with it");
    }
}

async fn write<K>(context: &Context, object: &DeserializeGuard<K>, error: &Error) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug,
{
    let objects: Api<DynamicObject> = Api::namespaced_with(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
        &ApiResource::erase::<K>(&()),
    );
    let name = object.name_any();
    let found = objects.get_opt(&name).await.map_err(Error::kubernetes("reading an object"))?;
    let Some(found) = found else { return Ok(()) };
    let known = found.data.pointer("/status/conditions").cloned();
    let known: Vec<Condition> =
        known.and_then(|known| serde_json::from_value(known).ok()).unwrap_or_default();
    let mut conditions = known.clone();
    for (type_, holds) in [(condition::READY, false), (condition::STALLED, true)] {
        let now = Time(Timestamp::now());
        let generation = object.meta().generation;
        let said = condition(type_, holds, error.reason(), error.chain(), generation, now);
        condition::set(&mut conditions, said);
    }
    condition::clear(&mut conditions, condition::RECONCILING);
    // The time of a change is kept while its status is the same, so that the same words are the same list.
    if conditions == known {
        return Ok(());
    }
    let news = event(EventType::Warning, error.reason(), error.chain());
    publish(&context.recorder, object, vec![news]).await;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = json!({"status": {"conditions": conditions}});
    objects
        .patch_status(&name, &params, &Patch::Merge(patch))
        .await
        .map(drop)
        .map_err(Error::kubernetes("reporting an object that cannot be read"))
}
