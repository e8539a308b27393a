//! What everything of one ensemble is called. Frozen: a changed name would be a second object beside the first.

use std::collections::BTreeMap;

use zke_api::NAME_LABEL;
use zke_plan::MemberId;

pub const FIELD_MANAGER: &str = "zke-operator";
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Also the names of the ports of pods and Services.
pub const CLIENT_PORT: (&str, i32) = ("client", 2181);
pub const PEER_PORT: (&str, i32) = ("peer", 2888);
pub const ADMIN_PORT: (&str, i32) = ("admin", 2889);
pub const HTTP_PORT: (&str, i32) = ("http", 8080);

/// The names of one ensemble's objects.
#[derive(Clone, Debug)]
pub struct Names {
    pub namespace: String,
    pub name: String,
    /// The cluster's DNS domain.
    pub domain: String,
}

impl Names {
    pub fn stateful_set(&self) -> String {
        self.name.clone()
    }

    pub fn headless_service(&self) -> String {
        format!("{}-headless", self.name)
    }

    pub fn client_service(&self) -> String {
        format!("{}-client", self.name)
    }

    /// One for each configuration.
    pub fn config_map(&self, hash: &str) -> String {
        format!("{}{hash}", self.config_map_prefix())
    }

    pub fn config_map_prefix(&self) -> String {
        format!("{}-config-", self.name)
    }

    pub fn discovery(&self) -> String {
        format!("{}-discovery", self.name)
    }

    pub fn budget(&self) -> String {
        self.name.clone()
    }

    pub fn service_account(&self) -> String {
        self.name.clone()
    }

    pub fn ca_secret(&self) -> String {
        format!("{}-ca", self.name)
    }

    pub fn peer_tls_secret(&self) -> String {
        format!("{}-peer-tls", self.name)
    }

    pub fn operator_tls_secret(&self) -> String {
        format!("{}-operator-tls", self.name)
    }

    pub fn backup_tls_secret(&self) -> String {
        format!("{}-backup-tls", self.name)
    }

    pub fn restore_tls_secret(&self) -> String {
        format!("{}-restore-tls", self.name)
    }

    /// The identity of the Job that restores an archive.
    pub fn restore_uri(&self) -> String {
        self.uri("restore")
    }

    pub fn check_archive_job(&self) -> String {
        format!("{}-check-archive", self.name)
    }

    /// One for each disk that was chosen: a Job for another one must never be taken for it.
    pub fn restore_job(&self, disk: MemberId) -> String {
        format!("{}-restore-{disk}", self.name)
    }

    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub fn claim(&self, ordinal: u32) -> String {
        format!("data-{}-{ordinal}", self.name)
    }

    /// The ordinal of a pod of this ensemble.
    pub fn pod_ordinal(&self, pod: &str) -> Option<u32> {
        ordinal(pod.strip_prefix(&self.name)?)
    }

    pub fn claim_ordinal(&self, claim: &str) -> Option<u32> {
        ordinal(claim.strip_prefix("data-")?.strip_prefix(&self.name)?)
    }

    /// The domain of the pods' own host names.
    pub fn headless_domain(&self) -> String {
        format!("{}.{}.svc.{}", self.headless_service(), self.namespace, self.domain)
    }

    pub fn host(&self, pod: &str) -> String {
        format!("{pod}.{}", self.headless_domain())
    }

    pub fn peer_address(&self, pod: &str) -> String {
        format!("{}:{}", self.host(pod), PEER_PORT.1)
    }

    /// Every DNS name by which peers may know a pod.
    pub fn host_names(&self, pod: &str) -> Vec<String> {
        let headless = self.headless_service();
        vec![
            pod.to_owned(),
            format!("{pod}.{headless}"),
            format!("{pod}.{headless}.{}", self.namespace),
            format!("{pod}.{headless}.{}.svc", self.namespace),
            self.host(pod),
        ]
    }

    /// The identity in a pod's certificate.
    pub fn uri(&self, pod: &str) -> String {
        format!("zkensemble://{}/{}/{pod}", self.namespace, self.name)
    }

    /// The identity in the operator's certificate.
    pub fn operator_uri(&self) -> String {
        self.uri("operator")
    }

    /// The identity in the certificate of backup Jobs, which may ask for a snapshot and a status and nothing else.
    pub fn backup_uri(&self) -> String {
        self.uri("backup")
    }

    /// What selects the pods. Immutable in a StatefulSet.
    pub fn selector(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/name", "zkd"), (NAME_LABEL, &self.name)].map(owned).into()
    }

    /// On every object.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.extend(
            [("app.kubernetes.io/instance", self.name.as_str()), (MANAGED_BY_LABEL, FIELD_MANAGER)]
                .map(owned),
        );
        labels
    }
}

fn ordinal(suffix: &str) -> Option<u32> {
    let digits = suffix.strip_prefix('-')?;
    // "07" or "+7" is somebody else's pod.
    digits.parse::<u32>().ok().filter(|ordinal| ordinal.to_string() == digits)
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_read_from_our_own_names_only() {
        let names = Names { namespace: "ns".into(), name: "prod".into(), domain: "cluster.local".into() };
        assert_eq!(names.pod_ordinal("prod-12"), Some(12));
        assert_eq!(names.claim_ordinal("data-prod-0"), Some(0));
        for other in ["prod", "prod-", "prod-01", "prod-+1", "prod-eu-1", "data-prod-0", "x-0"] {
            assert_eq!(names.pod_ordinal(other), None, "{other}");
        }
    }
}
