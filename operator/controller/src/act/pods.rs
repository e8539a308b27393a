//! Removing pods, so that their successors are made from the present template.
//!
//! Each removal carries the uid of the pod that was seen. Through the Eviction API the API server arbitrates with
//! drains; a plain removal also carries the version that was seen, since no budget stands between.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use zke_plan::{Removal, RemovalBy};

use crate::act::Actor;
use crate::error::Error;

impl Actor<'_> {
    pub(super) async fn remove_pod(&self, removal: &Removal, by: RemovalBy) -> Result<(), Error> {
        match by {
            RemovalBy::Eviction => self.evict(removal).await,
            RemovalBy::Deletion => self.delete_pod(removal.ordinal, &removal.pod_uid).await,
        }
    }

    /// Guarded by the version that was seen: a process that started meanwhile protects its pod.
    pub(super) async fn delete_pod(&self, ordinal: u32, uid: &str) -> Result<(), Error> {
        let seen = self.look.pods.get(&ordinal).and_then(ResourceExt::resource_version);
        let params = DeleteParams::default()
            .preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: seen });
        self.pods()
            .delete(&self.ensemble.names.pod(ordinal), &params)
            .await
            .map(drop)
            .map_err(Error::kubernetes("removing a pod"))
    }

    /// The client library's own call loses the precondition on its way: it misspells `deleteOptions`.
    async fn evict(&self, removal: &Removal) -> Result<(), Error> {
        let pod = self.ensemble.names.pod(removal.ordinal);
        let eviction = Eviction {
            metadata: ObjectMeta { name: Some(pod.clone()), ..ObjectMeta::default() },
            delete_options: Some(meta::DeleteOptions {
                preconditions: Some(meta::Preconditions {
                    uid: Some(removal.pod_uid.clone()),
                    ..meta::Preconditions::default()
                }),
                ..meta::DeleteOptions::default()
            }),
        };
        let evicted: kube::Result<meta::Status> =
            self.pods().create_subresource("eviction", &pod, &PostParams::default(), &eviction).await;
        match evicted {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == TOO_MANY_REQUESTS => {
                Err(Error::Budget { pod, message: status.message })
            }
            Err(error) => Err(Error::kubernetes("evicting a pod")(error)),
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.ensemble.names.namespace)
    }
}

/// What the Eviction API answers while a budget forbids it.
const TOO_MANY_REQUESTS: u16 = 429;
