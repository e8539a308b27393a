//! The cluster's certificates: one authority, and a leaf for each component, made with the machine's openssl.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::network::{API_PORT, CONTROL_PLANE, KUBERNETES_SERVICE, NODES};
use crate::program::Program;

/// A throw-away cluster lives for days; a clock that is a little off must not matter.
const VALID_DAYS: &str = "365";

/// The folder of keys and certificates. Paths inside the kubeconfig files are relative, so the folder may be seen
/// under different names from inside and outside of the cluster.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
}

/// Who a certificate speaks for.
struct Leaf {
    file: String,
    organization: &'static str,
    name: String,
    addresses: Vec<Ipv4Addr>,
    names: Vec<&'static str>,
}

impl Pki {
    /// Makes everything in `folder`, which must not exist yet or be empty.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let pki = Self { folder: folder.to_owned() };
        pki.authority()?;
        for leaf in leaves() {
            pki.issue(&leaf)?;
        }
        pki.service_account_key()?;
        Ok(pki)
    }

    fn authority(&self) -> Result<()> {
        self.new_certificate("ca", "/CN=zkensemble-local")
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
            .run()
            .context("make the cluster's certificate authority")
    }

    fn issue(&self, leaf: &Leaf) -> Result<()> {
        let alternatives: Vec<_> = leaf
            .addresses
            .iter()
            .map(|address| format!("IP:{address}"))
            .chain(leaf.names.iter().map(|name| format!("DNS:{name}")))
            .collect();
        let mut openssl = self
            .new_certificate(&leaf.file, &format!("/O={}/CN={}", leaf.organization, leaf.name))
            .args(["-CA", "ca.crt", "-CAkey", "ca.key"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
        if !alternatives.is_empty() {
            openssl = openssl.args(["-addext", &format!("subjectAltName={}", alternatives.join(","))]);
        }
        openssl.run().with_context(|| format!("make the certificate of {}", leaf.name))
    }

    fn new_certificate(&self, file: &str, subject: &str) -> Program {
        Program::new("openssl")
            .directory(&self.folder)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"])
            .args(["-days", VALID_DAYS, "-subj", subject])
            .args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.crt")])
    }

    fn service_account_key(&self) -> Result<()> {
        let openssl = || Program::new("openssl").directory(&self.folder);
        openssl()
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-out", "service-accounts.key"])
            .run()
            .context("make the key that signs service account tokens")?;
        openssl()
            .args(["pkey", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub"])
            .run()
            .context("write the public half of the service account key")
    }
}

fn leaves() -> Vec<Leaf> {
    let plain = |file: &str, organization, name: &str| Leaf {
        file: file.to_owned(),
        organization,
        name: name.to_owned(),
        addresses: Vec::new(),
        names: Vec::new(),
    };
    let mut leaves = vec![
        Leaf {
            addresses: vec![CONTROL_PLANE, KUBERNETES_SERVICE, Ipv4Addr::LOCALHOST],
            names: vec!["kubernetes", "kubernetes.default", "kubernetes.default.svc"],
            ..plain("kube-apiserver", "zkensemble-local", "kube-apiserver")
        },
        plain("admin", "system:masters", "admin"),
        plain("kube-controller-manager", "zkensemble-local", "system:kube-controller-manager"),
        plain("kube-scheduler", "zkensemble-local", "system:kube-scheduler"),
        plain("kube-proxy", "zkensemble-local", "system:kube-proxy"),
    ];
    leaves.extend(NODES.map(|node| Leaf {
        addresses: vec![node.address()],
        ..plain(&node.name(), "system:nodes", &format!("system:node:{}", node.name()))
    }));
    leaves
}

/// Writes a kubeconfig that speaks as the certificate `pki/<identity>.crt` beside it.
pub fn write_kubeconfig(file: &Path, identity: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "zkensemble-local", "cluster": {
            "server": format!("https://{CONTROL_PLANE}:{API_PORT}"),
            "certificate-authority": "pki/ca.crt",
        }}],
        "users": [{"name": identity, "user": {
            "client-certificate": format!("pki/{identity}.crt"),
            "client-key": format!("pki/{identity}.key"),
        }}],
        "contexts": [{"name": "zkensemble-local", "context": {"cluster": "zkensemble-local", "user": identity}}],
        "current-context": "zkensemble-local",
    });
    fs::write(file, format!("{config:#}\n")).with_context(|| format!("write {}", file.display()))
}
