//! The pod template that the StatefulSet shall carry: the one of the spec, or, after that one failed, the last good
//! one as its ControllerRevision keeps it.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::{Api, Client};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zke_api::{RejectedTemplate, ZkEnsembleStatus};

use crate::build::pod_template;
use crate::build::zoo_cfg::ZooCfg;
use crate::ensemble::Ensemble;
use crate::error::Error;

#[derive(Clone, Debug)]
pub struct WantedTemplate {
    pub pods: PodTemplateSpec,
    /// Tells on the StatefulSet which template it carries.
    pub mark: String,
    /// Digest of the spec's own template, whether it is the wanted one or not. 16 hex digits.
    pub rendered: String,
}

impl WantedTemplate {
    /// # Errors
    /// When the good revision cannot be read.
    pub async fn choose(client: &Client, ensemble: &Ensemble, config: &ZooCfg) -> Result<Self, Error> {
        let own = Self::of_spec(ensemble, config);
        let Some(rejected) = own.rejection(&ensemble.status) else { return Ok(own) };
        let revisions: Api<ControllerRevision> = Api::namespaced(client.clone(), &ensemble.names.namespace);
        let revision = revisions
            .get(&rejected.good_revision)
            .await
            .map_err(Error::kubernetes("reading the last good pod template"))?;
        let unreadable = || Error::Revision { revision: rejected.good_revision.clone() };
        let kept: Kept =
            revision.data.and_then(|data| serde_json::from_value(data.0).ok()).ok_or_else(unreadable)?;
        let mark = format!("revision/{}", rejected.good_revision);
        Ok(Self { pods: kept.spec.template, mark, rendered: own.rendered })
    }

    pub fn of_spec(ensemble: &Ensemble, config: &ZooCfg) -> Self {
        let pods = pod_template::template(ensemble, config);
        let json = serde_json::to_vec(&pods).expect("a template is plain data");
        let digest = Sha256::digest(json);
        let rendered = digest.iter().take(8).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Self { pods, mark: rendered.clone(), rendered }
    }

    /// The rejection of the spec's template, if that is the one that failed.
    pub fn rejection<'a>(&self, status: &'a ZkEnsembleStatus) -> Option<&'a RejectedTemplate> {
        status.rejected.as_ref().filter(|rejected| rejected.template == self.rendered)
    }
}

/// What the StatefulSet's controller keeps of each template that there was.
#[derive(Deserialize)]
struct Kept {
    spec: KeptSpec,
}

#[derive(Deserialize)]
struct KeptSpec {
    template: PodTemplateSpec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::zoo_cfg;

    fn wanted(change: &str) -> WantedTemplate {
        let manifest = format!(
            "{{apiVersion: zkensemble.dev/v1alpha1, kind: ZkEnsemble, metadata: {{name: shop, namespace: retail}}, \
             spec: {{replicas: 3, storage: {{size: 5Gi}}{change}}}}}"
        );
        let ensemble = Ensemble::resolve(serde_saphyr::from_str(&manifest).unwrap());
        WantedTemplate::of_spec(&ensemble, &zoo_cfg::render(&ensemble))
    }

    #[test]
    fn the_digest_follows_what_pods_are_made_of_and_nothing_else() {
        let plain = wanted("").rendered;
        for same in
            [", suspend: true", ", updatePolicy: {minReadySeconds: 1}", ", progressDeadlineSeconds: 20"]
        {
            assert_eq!(wanted(same).rendered, plain, "{same}");
        }
        for other in [
            ", version: 9.9.9",
            ", resources: {requests: {cpu: 100m}}",
            ", server: {tickTime: 1s}",
            ", scheduling: {priorityClassName: high}",
        ] {
            assert_ne!(wanted(other).rendered, plain, "{other}");
        }
    }

    #[test]
    fn the_rejection_holds_for_the_template_that_failed_only() {
        let (bad, other) = (wanted(", version: 9.9.9"), wanted(""));
        let rejected = RejectedTemplate {
            template: bad.rendered.clone(),
            revision: "shop-bad".to_owned(),
            good_revision: "shop-good".to_owned(),
            message: String::new(),
            since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        };
        let status = ZkEnsembleStatus { rejected: Some(rejected), ..ZkEnsembleStatus::default() };
        assert!(bad.rejection(&status).is_some());
        assert!(other.rejection(&status).is_none());
    }

    #[test]
    fn a_template_is_found_in_what_its_revision_keeps() {
        let template = wanted("");
        let data = serde_json::json!({"spec": {"template": template.pods, "$patch": "replace"}});
        let kept: Kept = serde_json::from_value(data).unwrap();
        assert_eq!(kept.spec.template, template.pods);
    }
}
