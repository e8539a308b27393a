//! The PodDisruptionBudget.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ensemble::Ensemble;

/// `min_available` comes from the plan, which follows the voters. Pods that are not healthy may always be evicted:
/// they add nothing to the quorum, and a drain must not wait for ever for them.
pub fn budget(ensemble: &Ensemble, min_available: u32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ensemble.metadata(ensemble.names.budget()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::try_from(min_available).unwrap_or(i32::MAX))),
            selector: Some(LabelSelector {
                match_labels: Some(ensemble.names.selector()),
                ..LabelSelector::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
