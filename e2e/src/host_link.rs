//! This machine's own leg on the cluster's network, so that the user's kubectl and clients reach the API server,
//! pods and Services. It is one veth with routes for [`network::RANGE`] only; nothing of the machine is forwarded.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::kubectl::wait_for;
use crate::network::{BRIDGE, HOST, NODES, PODS, RANGE, SERVICES, ip};
use crate::program::Program;

const HOST_END: &str = "zke-host";
const CLUSTER_END: &str = "zke-uplink";

const BRIDGE_LIMIT: Duration = Duration::from_secs(20);

/// Makes whatever is missing of the link to the cluster whose first process is `pid`.
pub(crate) fn ensure(pid: u32) -> Result<()> {
    if !exists() {
        ip(&format!("link add {HOST_END} type veth peer name {CLUSTER_END} netns {pid}"))?;
    }
    // The bridge is the first thing that the cluster makes.
    wait_for("the cluster's bridge", BRIDGE_LIMIT, || {
        let enter = Program::new("nsenter").args(["--target", &pid.to_string(), "--net", "--"]);
        enter.args(["ip", "link", "set", CLUSTER_END, "master", BRIDGE, "up"]).run().map(Some)
    })?;
    ip(&format!("addr replace {HOST}/24 dev {HOST_END}"))?;
    ip(&format!("link set {HOST_END} up"))?;
    for node in NODES {
        ip(&format!("route replace {} via {} dev {HOST_END}", node.pods(), node.address()))?;
    }
    // Any node's kube-proxy knows every Service; the first is as good as the others.
    ip(&format!("route replace {SERVICES} via {} dev {HOST_END}", NODES[0].address()))
}

/// Removes the link and with it its routes.
pub(crate) fn remove() -> Result<()> {
    // The kernel may remove it at the same moment, when the cluster's namespace goes.
    if exists() && ip(&format!("link delete {HOST_END}")).is_err() && exists() {
        bail!("the link {HOST_END} cannot be removed; try `ip link delete {HOST_END}`");
    }
    Ok(())
}

pub(crate) fn exists() -> bool {
    Program::new("ip").args(["link", "show", HOST_END]).succeeds()
}

/// Fails if something else on this machine uses the cluster's addresses.
pub(crate) fn check_range_is_free() -> Result<()> {
    let routes = Program::new("ip").args(["-4", "route", "show", "table", "all"]).output()?;
    let taken = |line: &&str| {
        let ours = line.contains(HOST_END);
        let in_range =
            line.split([' ', '/']).any(|word| word.starts_with("198.18.") || word.starts_with("198.19."));
        in_range && !ours
    };
    match routes.lines().find(taken) {
        None => Ok(()),
        Some(route) => bail!(
            "this machine already uses addresses of {RANGE}, which the local cluster needs (pods in {PODS}): \
             `{route}`; remove that route"
        ),
    }
}
