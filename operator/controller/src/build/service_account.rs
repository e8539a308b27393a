//! The pods' ServiceAccount. Servers never speak to Kubernetes, so it carries no token and no rights.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::ensemble::Ensemble;

pub fn service_account(ensemble: &Ensemble) -> ServiceAccount {
    ServiceAccount {
        metadata: ensemble.metadata(ensemble.names.service_account()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
