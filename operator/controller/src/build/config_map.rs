//! The ConfigMap with the servers' configuration.
//!
//! One for each configuration, never changed: a pod keeps the one that its template names, so that going back to an
//! earlier template brings back the earlier configuration too.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::build::zoo_cfg::ZooCfg;
use crate::ensemble::Ensemble;

pub fn config_map(ensemble: &Ensemble, config: &ZooCfg) -> ConfigMap {
    ConfigMap {
        metadata: ensemble.metadata(ensemble.names.config_map(&config.hash)),
        data: Some([("zoo.cfg".to_owned(), config.text.clone())].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}
