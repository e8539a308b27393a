//! Server-side apply: the operator owns exactly the fields that it writes, under its own name.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::zoo_cfg::ZooCfg;
use crate::build::{config_map, discovery, service_account, services};
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::names::FIELD_MANAGER;
use crate::observe::Look;

/// Everything that changes no pod and no member by itself. The StatefulSet and the budget follow the plan instead.
pub async fn apply_passive(client: &Client, ensemble: &Ensemble, config: &ZooCfg) -> Result<(), Error> {
    apply(client, &service_account::service_account(ensemble)).await?;
    apply(client, &config_map::config_map(ensemble, config)).await?;
    apply(client, &services::headless(ensemble)).await?;
    apply(client, &services::client(ensemble)).await?;
    apply(client, &discovery::discovery(ensemble)).await?;
    Ok(())
}

/// Removes configurations that no pod uses and that are not the present one. For when nothing else is to be done: then
/// the StatefulSet's template names the present one, and no earlier template can come back.
pub async fn remove_unused_config_maps(
    client: &Client,
    ensemble: &Ensemble,
    config: &ZooCfg,
    look: &Look,
) -> Result<(), Error> {
    let names = &ensemble.names;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &names.namespace);
    let ours = ListParams::default().labels(&format!("{}={}", zke_api::NAME_LABEL, names.name));
    let found = api.list_metadata(&ours).await.map_err(Error::kubernetes("listing the configurations"))?;
    let volumes = look.pods.values().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
    let mut used: BTreeSet<&str> =
        volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.as_str())).collect();
    let present = names.config_map(&config.hash);
    used.insert(&present);
    for old in found.items {
        let name = old.name_any();
        let is_configuration = name.starts_with(&names.config_map_prefix());
        if !is_configuration || used.contains(name.as_str()) {
            continue;
        }
        let seen = Preconditions { uid: old.uid(), resource_version: None };
        api.delete(&name, &DeleteParams::default().preconditions(seen))
            .await
            .map_err(Error::kubernetes("removing a configuration that nobody uses"))?;
    }
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
