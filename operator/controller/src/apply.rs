//! Server-side apply: the operator owns exactly the fields that it writes, under its own name.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::zoo_cfg::ZooCfg;
use crate::build::{config_map, discovery, service_account, services};
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::names::FIELD_MANAGER;

/// Everything that changes no pod and no member by itself. The StatefulSet and the budget follow the plan instead.
pub async fn apply_passive(client: &Client, ensemble: &Ensemble, config: &ZooCfg) -> Result<(), Error> {
    apply(client, &service_account::service_account(ensemble)).await?;
    apply(client, &config_map::config_map(ensemble, config)).await?;
    apply(client, &services::headless(ensemble)).await?;
    apply(client, &services::client(ensemble)).await?;
    apply(client, &discovery::discovery(ensemble)).await?;
    Ok(())
}

/// Applies one object. A resourceVersion in it makes the API server refuse when somebody wrote in between.
pub async fn apply<K>(client: &Client, object: &K) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await
        .map_err(Error::kubernetes("applying an object of the ensemble"))
}
