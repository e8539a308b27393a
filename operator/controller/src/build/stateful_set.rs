//! The StatefulSet: one pod and one claim for each member.
//!
//! `Parallel`, so that members that wait for each other all start; `OnDelete`, so that the operator alone decides when
//! a pod may go.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zke_api::{RetentionPolicy, TEMPLATE_ANNOTATION};

use crate::build::pod_template::selector;
use crate::ensemble::Ensemble;
use crate::template::WantedTemplate;

/// `live` is what the cluster has: its claim templates are kept, since they cannot change.
pub fn stateful_set(
    ensemble: &Ensemble,
    template: &WantedTemplate,
    replicas: u32,
    live: Option<&StatefulSet>,
) -> StatefulSet {
    let kept = live.and_then(|set| set.spec.as_ref()).and_then(|spec| spec.volume_claim_templates.as_ref());
    let claims = kept.map_or_else(
        || vec![claim_template(ensemble)],
        |templates| templates.iter().map(without_status).collect(),
    );
    let mut metadata = ensemble.metadata(ensemble.names.stateful_set());
    metadata.annotations = Some([(TEMPLATE_ANNOTATION.to_owned(), template.mark.clone())].into());
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            service_name: Some(ensemble.names.headless_service()),
            selector: selector(ensemble),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(retention(ensemble.spec.storage.retention.when_deleted).to_owned()),
                // Only the operator deletes claims of members: it alone knows who is one.
                when_scaled: Some("Retain".to_owned()),
            }),
            volume_claim_templates: Some(claims),
            template: template.pods.clone(),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim_template(ensemble: &Ensemble) -> PersistentVolumeClaim {
    let storage = &ensemble.spec.storage;
    let mut labels = storage.claim_metadata.labels.clone();
    labels.extend(ensemble.names.labels());
    let annotations = storage.claim_metadata.annotations.clone();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), (&storage.size).into())].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn without_status(template: &PersistentVolumeClaim) -> PersistentVolumeClaim {
    PersistentVolumeClaim { status: None, ..template.clone() }
}

const fn retention(policy: RetentionPolicy) -> &'static str {
    match policy {
        RetentionPolicy::Retain => "Retain",
        RetentionPolicy::Delete => "Delete",
    }
}
