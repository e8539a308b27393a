//! The ConfigMap with the servers' configuration.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::build::zoo_cfg::ZooCfg;
use crate::ensemble::Ensemble;

pub fn config_map(ensemble: &Ensemble, config: &ZooCfg) -> ConfigMap {
    ConfigMap {
        metadata: ensemble.metadata(ensemble.names.config_map()),
        data: Some([("zoo.cfg".to_owned(), config.text.clone())].into()),
        ..ConfigMap::default()
    }
}
