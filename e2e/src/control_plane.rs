//! The control plane's processes and their flags: etcd, API server, controllers, scheduler, DNS, volume provisioner.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::inside::{GO, LOCAL};
use crate::network::{API_PORT, CONTROL_PLANE, SERVICES};
use crate::pki::write_kubeconfig;
use crate::supervisor::Component;

pub(crate) const ETCD_PORT: u16 = 2379;

/// The name under which the outside finds the administrator's kubeconfig in `target/local`.
pub const ADMIN_KUBECONFIG: &str = "kubeconfig";

/// Writes the files that the processes read.
pub(crate) fn configure(local: &Path) -> Result<()> {
    write_kubeconfig(&local.join(ADMIN_KUBECONFIG), "admin")?;
    for identity in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        write_kubeconfig(&local.join(format!("{identity}.kubeconfig")), identity)?;
    }
    fs::write(local.join("Corefile"), corefile()).context("write the Corefile")
}

/// The cluster's own names only: a pod that asks for any other name is told at once that there is none.
fn corefile() -> String {
    format!(
        "cluster.local in-addr.arpa ip6.arpa {{
    bind {CONTROL_PLANE}
    errors
    ready {CONTROL_PLANE}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {LOCAL}/{ADMIN_KUBECONFIG}
        ttl 1
    }}
}}
"
    )
}

/// Data that is thrown away needs no fsync.
pub(crate) fn etcd(program: &Path) -> Component {
    let url = format!("http://{CONTROL_PLANE}:{ETCD_PORT}");
    Component {
        name: "etcd".to_owned(),
        node: None,
        program: program.to_owned(),
        args: vec![
            format!("--data-dir={LOCAL}/etcd"),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            "--logger=zap".to_owned(),
        ],
    }
}

pub(crate) fn api_server() -> Component {
    let pki = |file: &str| format!("{LOCAL}/pki/{file}");
    kubernetes(
        "kube-apiserver",
        [
            format!("--etcd-servers=http://{CONTROL_PLANE}:{ETCD_PORT}"),
            format!("--bind-address={CONTROL_PLANE}"),
            format!("--advertise-address={CONTROL_PLANE}"),
            format!("--secure-port={API_PORT}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            format!("--tls-cert-file={}", pki("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", pki("kube-apiserver.key")),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--service-account-key-file={}", pki("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
        ],
    )
}

/// What starts once the API server listens.
pub(crate) fn followers() -> Vec<Component> {
    let kubeconfig = |identity: &str| format!("--kubeconfig={LOCAL}/{identity}.kubeconfig");
    let controllers = kubernetes(
        "kube-controller-manager",
        [
            kubeconfig("kube-controller-manager"),
            format!("--service-account-private-key-file={LOCAL}/pki/service-accounts.key"),
            format!("--root-ca-file={LOCAL}/pki/ca.crt"),
            "--use-service-account-credentials=true".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            // The kubelets renew their leases every three seconds; a machine with few cores may be late.
            "--node-monitor-period=2s".to_owned(),
            "--node-monitor-grace-period=20s".to_owned(),
        ],
    );
    let scheduler = kubernetes(
        "kube-scheduler",
        [
            kubeconfig("kube-scheduler"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ],
    );
    let dns = Component {
        name: "dns".to_owned(),
        node: None,
        program: format!("{GO}/dns").into(),
        args: vec!["-conf".to_owned(), format!("{LOCAL}/Corefile")],
    };
    let provisioner = Component {
        name: "volumes-provision".to_owned(),
        node: None,
        program: format!("{GO}/volumes").into(),
        args: vec![
            "provision".to_owned(),
            format!("--files={LOCAL}/volumes"),
            format!("--kubeconfig={LOCAL}/{ADMIN_KUBECONFIG}"),
        ],
    };
    vec![controllers, scheduler, dns, provisioner]
}

fn kubernetes(name: &str, flags: impl IntoIterator<Item = String>) -> Component {
    Component {
        name: name.to_owned(),
        node: None,
        program: format!("{GO}/cluster").into(),
        args: std::iter::once(name.to_owned()).chain(flags).collect(),
    }
}
