//! The local Kubernetes: what has to be there, in the order in which it is cheapest to find out that it is not.

use anyhow::{Context, Result};
use zke_e2e::checkout::Checkout;
use zke_e2e::cluster::Cluster;
use zke_e2e::inside::Machine;
use zke_e2e::program::find;
use zke_e2e::progress::Progress;
use zke_e2e::{go, packages, preflight, python};

/// Checks the machine and installs what is missing.
fn prepare(checkout: &Checkout, progress: &Progress) -> Result<()> {
    preflight::check(checkout)?;
    packages::install_missing(progress)?;
    preflight::check_networking()
}

/// Everything that the cluster is made of. Builds what is not built yet.
pub fn parts(checkout: &Checkout, progress: &Progress) -> Result<Machine> {
    prepare(checkout, progress)?;
    Ok(Machine {
        go: go::programs(checkout, progress)?,
        etcd: find("etcd").context("find etcd")?,
        containerd: find("containerd").context("find containerd")?,
        snapshotter: preflight::snapshotter(&checkout.path("target"))?.to_owned(),
    })
}

/// Three Ready nodes and nothing on them.
pub fn cluster_up(checkout: &Checkout, progress: &Progress) -> Result<Cluster> {
    let machine = parts(checkout, progress)?;
    let cluster = Cluster::new(checkout.clone(), python::kubectl(progress)?);
    let _lock = cluster.lock()?;
    cluster.up(&machine, progress)?;
    Ok(cluster)
}

pub fn down(checkout: &Checkout, progress: &Progress) -> Result<()> {
    let cluster = Cluster::new(checkout.clone(), "kubectl".into());
    let _lock = cluster.lock()?;
    cluster.down(progress)
}

pub fn is_running(checkout: &Checkout) -> Result<bool> {
    Cluster::new(checkout.clone(), "kubectl".into()).is_running()
}
