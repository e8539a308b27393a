//! The ConfigMap from which applications take their connection string.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::ensemble::Ensemble;
use crate::names::CLIENT_PORT;

/// Names every member by itself, as ZooKeeper's clients expect it: they choose one and move to another by themselves.
pub fn discovery(ensemble: &Ensemble) -> ConfigMap {
    let names = &ensemble.names;
    let replicas = ensemble.status.replicas.unwrap_or(ensemble.spec.replicas);
    let hosts: Vec<_> = (0..replicas)
        .map(|ordinal| format!("{}:{}", names.host(&names.pod(ordinal)), CLIENT_PORT.1))
        .collect();
    let hosts = hosts.join(",");
    let data = [
        ("ZOOKEEPER".to_owned(), hosts.clone()),
        ("ZOOKEEPER_HOSTS".to_owned(), hosts),
        ("ZOOKEEPER_CLIENT_PORT".to_owned(), CLIENT_PORT.1.to_string()),
    ];
    ConfigMap {
        metadata: ensemble.metadata(names.discovery()),
        data: Some(data.into()),
        ..ConfigMap::default()
    }
}
