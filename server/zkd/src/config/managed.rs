//! What the operator adds to the file: who this pod is, and how its peers and the operator know it.

use std::path::{Path, PathBuf};

use zke_wire::Address;

use super::ConfigError;
use super::settings::Settings;

/// A member whose ensemble is told to it by our operator. Peers and admin speak mutual TLS only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// This pod's own name.
    pub pod: String,
    pub namespace: String,
    /// Name of the ZkEnsemble in `namespace`.
    pub ensemble: String,
    /// Where peers are waited for.
    pub peer_port: u16,
    /// Where the operator is waited for.
    pub admin_port: u16,
    /// Where peers reach this pod, whichever IP address it has.
    pub peer_address: Address,
    pub tls: PeerTls,
    /// Names the rendered configuration, so that the operator sees which one this process runs with.
    pub config_hash: String,
}

/// The files of this pod's identity. Read anew when they change, so only their places are fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTls {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Managed {
    /// Takes the `zke.` keys. `pod` is the name that the environment gives.
    pub(super) fn take(settings: &mut Settings, file: &Path, pod: Option<&str>) -> Result<Self, ConfigError> {
        let missing = |key, advice| ConfigError::Missing { file: file.to_owned(), key, advice };
        let pod = pod.filter(|pod| is_name(pod)).ok_or_else(|| {
            missing("POD_NAME", "set it in the environment to metadata.name of the pod that runs this")
        })?;
        let (namespace, ensemble) = settings
            .take_as("zke.ensemble", |setting| {
                let (namespace, name) = setting.value.split_once('/').unwrap_or_default();
                let valid = is_name(namespace) && is_name(name);
                let names = valid.then(|| (namespace.to_owned(), name.to_owned()));
                names.ok_or_else(|| setting.refused("write it as namespace/name"))
            })?
            .ok_or_else(|| missing("zke.ensemble", "write namespace/name of the ZkEnsemble"))?;
        let peer_address = settings
            .take_as("zke.peerAddress", |setting| {
                let address = setting.value.contains("{pod}").then(|| setting.value.replace("{pod}", pod));
                let address = address.as_deref().and_then(Address::parse);
                address.ok_or_else(|| setting.refused("write it as {pod}.service.namespace.svc.domain:port"))
            })?
            .ok_or_else(|| missing("zke.peerAddress", "write {pod}.service.namespace.svc.domain:port"))?;
        let tls_dir = settings.take_as("zke.tlsDir", |setting| setting.path())?;
        let tls_dir = tls_dir.unwrap_or_else(|| PathBuf::from("/etc/zkd/tls"));
        Ok(Self {
            pod: pod.to_owned(),
            namespace,
            ensemble,
            peer_port: settings.take_as("zke.peerPort", |setting| setting.port())?.unwrap_or(2888),
            admin_port: settings.take_as("zke.adminPort", |setting| setting.port())?.unwrap_or(2889),
            peer_address,
            tls: PeerTls {
                ca: tls_dir.join("ca.crt"),
                certificate: tls_dir.join(format!("{pod}.crt")),
                key: tls_dir.join(format!("{pod}.key")),
            },
            config_hash: settings.take("zke.configHash").map(|setting| setting.value).unwrap_or_default(),
        })
    }
}

/// Kubernetes' own rule, as far as it matters here: it becomes part of file names and of certificates' names.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}
