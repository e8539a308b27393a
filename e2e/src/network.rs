//! The cluster's addresses, and the links and network namespaces they live on.
//!
//! All addresses are from 198.18.0.0/15, which RFC 2544 reserves for tests and no network routes. The cluster's own
//! network namespace holds a bridge; each node is a network namespace with a leg on it. There is no default route
//! anywhere, so no packet can leave the machine.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::program::Program;

/// The whole range that the cluster uses.
pub const RANGE: &str = "198.18.0.0/15";
/// The API server and the cluster's DNS.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// This machine's own leg on the cluster's network.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const API_PORT: u16 = 6443;
pub const SERVICES: &str = "198.18.128.0/17";
/// The first address of [`SERVICES`], which Kubernetes gives to the Service `kubernetes`.
pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 18, 128, 1);
pub const PODS: &str = "198.19.0.0/16";

pub(crate) const BRIDGE: &str = "zke0";

/// One node of the cluster; the first is number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNumber(u8);

/// The three nodes. Three, because that is what an ensemble of three needs to be spread.
pub const NODES: [NodeNumber; 3] = [NodeNumber(1), NodeNumber(2), NodeNumber(3)];

impl NodeNumber {
    pub fn name(self) -> String {
        format!("node{}", self.0)
    }

    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 10 + self.0)
    }

    /// The range from which this node's pods get their addresses.
    pub fn pods(self) -> String {
        format!("198.19.{}.0/24", self.0)
    }

    /// The network namespace's path, as processes of the cluster see it.
    pub fn namespace(self) -> String {
        format!("/run/netns/{}", self.name())
    }
}

/// Builds the bridge and the nodes' namespaces in the calling process's own network namespace.
pub(crate) fn build() -> Result<()> {
    ip("link set lo up")?;
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("addr add {CONTROL_PLANE}/24 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    forward(None)?;
    for node in NODES {
        build_node(node)?;
    }
    Ok(())
}

fn build_node(node: NodeNumber) -> Result<()> {
    let (name, address) = (node.name(), node.address());
    ip(&format!("netns add {name}"))?;
    ip(&format!("link add {name} type veth peer name eth0 netns {name}"))?;
    ip(&format!("link set {name} master {BRIDGE} up"))?;
    ip(&format!("-n {name} link set lo up"))?;
    ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
    ip(&format!("-n {name} link set eth0 up"))?;
    forward(Some(node))?;
    ip(&format!("route add {} via {address}", node.pods()))?;
    for other in NODES.into_iter().filter(|other| *other != node) {
        ip(&format!("-n {name} route add {} via {}", other.pods(), other.address()))?;
    }
    // kube-proxy rewrites a Service's address before the packet is routed, but a socket on the node itself first
    // needs some route to it.
    ip(&format!("-n {name} route add {SERVICES} via {CONTROL_PLANE}"))
}

/// Lets a namespace pass packets on.
fn forward(node: Option<NodeNumber>) -> Result<()> {
    let write = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
    match node {
        None => Program::new(write[0]).args(&write[1..]).run(),
        Some(node) => enter(node).args(write).run(),
    }
}

/// A program that runs in a node's network. `ip netns exec` would also remount /sys, and the kubelet then finds no
/// cgroups.
pub(crate) fn enter(node: NodeNumber) -> Program {
    Program::new("nsenter").arg(format!("--net={}", node.namespace())).arg("--")
}

pub(crate) fn ip(line: &str) -> Result<()> {
    Program::new("ip").args(line.split(' ')).run()
}
