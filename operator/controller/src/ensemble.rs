//! One ensemble with everything about its spec settled: what the rest of the operator works on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use zke_api::{
    RESTARTED_AT_ANNOTATION, RetentionPolicy, ZkEnsemble, ZkEnsembleSpec, ZkEnsembleStatus, condition,
};
use zke_plan::{ClaimRetention, Desired};

use crate::names::Names;

/// A ZkEnsemble as it was read, its defaults resolved. They are never written back into the spec.
#[derive(Clone, Debug)]
pub struct Ensemble {
    pub names: Names,
    pub uid: String,
    pub generation: i64,
    pub spec: ZkEnsembleSpec,
    /// As it was read; the next one is written over it.
    pub status: ZkEnsembleStatus,
    /// The servers' version: the spec's, else the one this ensemble already has, else our own.
    pub version: String,
    /// Asks for a restart of all members whenever it changes.
    pub restarted_at: Option<String>,
    owner: OwnerReference,
}

impl Ensemble {
    pub fn resolve(object: ZkEnsemble) -> Self {
        let owner = object.controller_owner_ref(&()).unwrap_or_default();
        let ZkEnsemble { metadata, spec, status } = object;
        let status = status.unwrap_or_default();
        let version = spec
            .version
            .clone()
            .or_else(|| status.settled_version.clone().or_else(|| status.target_version.clone()))
            .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        let restarted_at = metadata.annotations.as_ref().and_then(|all| all.get(RESTARTED_AT_ANNOTATION));
        Self {
            restarted_at: restarted_at.cloned(),
            names: Names {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
                domain: spec.cluster_domain.clone(),
            },
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            spec,
            status,
            version,
            owner,
        }
    }

    /// The image that members run.
    pub fn image(&self) -> String {
        let repository = &self.spec.image.repository;
        match &self.spec.image.digest {
            Some(digest) => format!("{repository}@{digest}"),
            None => format!("{repository}:{}", self.version),
        }
    }

    /// It has accepted clients once.
    pub fn is_initialized(&self) -> bool {
        condition::is_true(&self.status.conditions, condition::INITIALIZED)
    }

    pub fn desired(&self) -> Desired {
        Desired {
            replicas: self.spec.replicas,
            suspend: self.spec.suspend,
            budget: self.spec.pod_disruption_budget.enabled,
            restore: self.spec.bootstrap.is_some(),
            when_scaled: match self.spec.storage.retention.when_scaled {
                RetentionPolicy::Retain => ClaimRetention::Retain,
                RetentionPolicy::Delete => ClaimRetention::Delete,
            },
        }
    }

    /// The metadata of an object of this ensemble.
    pub fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.names.namespace.clone()),
            labels: Some(self.names.labels()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// Whether this object was made for an earlier ensemble of the same name, whose deletion is still under way.
    pub fn is_predecessors(&self, metadata: &ObjectMeta) -> bool {
        let mut owners = metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && owner.uid != self.uid)
    }
}
