//! One node: its containerd, kubelet, kube-proxy and volume driver, each with folders of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cgroup;
use crate::inside::{GO, LOCAL, Machine};
use crate::network::{CONTROL_PLANE, NodeNumber, PODS};
use crate::pki::write_kubeconfig;
use crate::supervisor::Component;

/// The image of the process that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "zkensemble.dev/pause:1";

/// Where Debian's containernetworking-plugins puts them.
const CNI_PROGRAMS: &str = "/usr/lib/cni";

/// Containerd's socket, as processes of the cluster see it.
pub fn containerd_socket(node: NodeNumber) -> String {
    format!("/run/zke/{}/containerd.sock", node.name())
}

/// Writes the files that the node's processes read.
pub(crate) fn configure(local: &Path, node: NodeNumber, machine: &Machine) -> Result<()> {
    let name = node.name();
    write_kubeconfig(&local.join(format!("{name}.kubeconfig")), &name)?;
    let folder = local.join("nodes").join(&name);
    fs::create_dir_all(folder.join("cni")).with_context(|| format!("create {}", folder.display()))?;
    let files = [
        ("containerd.toml", containerd_config(node, &machine.snapshotter)),
        ("kubelet.json", format!("{:#}", kubelet_config(node))),
        ("kube-proxy.json", format!("{:#}", kube_proxy_config(node))),
        ("cni/pods.conflist", format!("{:#}", pod_network(node))),
        ("resolv.conf", String::new()),
    ];
    for (file, content) in files {
        fs::write(folder.join(file), content).with_context(|| format!("write {file} of {name}"))?;
    }
    Ok(())
}

pub(crate) fn containerd(node: NodeNumber, program: &Path) -> Component {
    Component {
        name: format!("{}-containerd", node.name()),
        node: Some(node),
        program: program.to_owned(),
        args: vec!["--config".to_owned(), format!("{}/containerd.toml", folder(node))],
    }
}

/// What starts once the API server listens.
pub(crate) fn followers(node: NodeNumber) -> [Component; 3] {
    let (name, folder) = (node.name(), folder(node));
    let component = |what: &str, program: &str, args: Vec<String>| Component {
        name: format!("{name}-{what}"),
        node: Some(node),
        program: format!("{GO}/{program}").into(),
        args,
    };
    let kubelet = vec![
        "kubelet".to_owned(),
        format!("--config={folder}/kubelet.json"),
        format!("--kubeconfig={LOCAL}/{name}.kubeconfig"),
        format!("--root-dir={folder}/kubelet"),
        format!("--cert-dir={folder}/kubelet/pki"),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", node.address()),
    ];
    let kube_proxy = vec!["kube-proxy".to_owned(), format!("--config={folder}/kube-proxy.json")];
    let volumes = vec![
        "node".to_owned(),
        format!("--name={name}"),
        format!("--kubelet={folder}/kubelet"),
        format!("--files={LOCAL}/volumes"),
    ];
    [
        component("kubelet", "cluster", kubelet),
        component("kube-proxy", "cluster", kube_proxy),
        component("volumes", "volumes", volumes),
    ]
}

fn folder(node: NodeNumber) -> String {
    format!("{LOCAL}/nodes/{}", node.name())
}

/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower a score, and says so in a way that nobody
/// understands. AppArmor is off because a profile that containerd loads would stay in the machine's kernel.
fn containerd_config(node: NodeNumber, snapshotter: &str) -> String {
    let (name, folder) = (node.name(), folder(node));
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "/run/zke/{name}/containerd"

[grpc]
address = "{}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
        containerd_socket(node)
    )
}

fn kubelet_config(node: NodeNumber) -> Value {
    let folder = folder(node);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address(),
        "tlsCertFile": format!("{LOCAL}/pki/{}.crt", node.name()),
        "tlsPrivateKeyFile": format!("{LOCAL}/pki/{}.key", node.name()),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{LOCAL}/pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(node)),
        "clusterDNS": [CONTROL_PLANE],
        "clusterDomain": "cluster.local",
        "resolvConf": format!("{folder}/resolv.conf"),
        "podLogsDir": format!("{folder}/pod-logs"),
        "volumePluginDir": format!("{folder}/volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup::root_of(node),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // The machine's disk is shared with everything else on it: how full it is must not evict pods here.
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        // A lease is renewed every quarter of its duration. The controller manager waits 20 s.
        "nodeLeaseDurationSeconds": 12,
        "maxPods": 60,
    })
}

fn kube_proxy_config(node: NodeNumber) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": format!("{LOCAL}/kube-proxy.kubeconfig")},
        "hostnameOverride": node.name(),
        "bindAddress": node.address(),
        "clusterCIDR": PODS,
        "oomScoreAdj": 0,
        // These limits belong to the whole machine, which is not ours to tune.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

/// `ptp` routes every packet, also between two pods of one node, so that Services work without br_netfilter.
fn pod_network(node: NodeNumber) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": format!("{}/addresses", folder(node)),
                    "ranges": [[{"subnet": node.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}
