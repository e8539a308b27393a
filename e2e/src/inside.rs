//! What runs inside the cluster's own namespaces: the first process there, and the order in which things start.
//!
//! All paths that the components see are short and the same on every machine, whatever the checkout is called:
//! Unix sockets may have 108 bytes. Everything that a component would leave on the machine (/run, /var/lib,
//! /var/log) is memory of this mount namespace and goes with it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::network::{API_PORT, CONTROL_PLANE, NODES};
use crate::program::Program;
use crate::supervisor::{Component, Supervisor};
use crate::{cgroup, control_plane, network, node};

/// The checkout's `target/local`, as the cluster sees it.
pub(crate) const LOCAL: &str = "/run/zke/local";
/// The Go programs, as the cluster sees them.
pub(crate) const GO: &str = "/run/zke/go";

/// Etcd and the API server need a second or two; a busy machine may need much longer.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What the outside has found out about the machine; kept in `target/local/machine.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub go: PathBuf,
    pub etcd: PathBuf,
    pub containerd: PathBuf,
    /// `overlayfs`, or `native` where the checkout's file system cannot be an overlay's upper layer.
    pub snapshotter: String,
}

/// Builds the network, starts every component and watches over them. Returns only with an error.
pub fn main(state: &Path) -> Result<()> {
    let machine = fs::read(state.join("machine.json")).context("read machine.json")?;
    let machine: Machine = serde_json::from_slice(&machine).context("understand machine.json")?;
    mount_private_folders(state, &machine.go)?;
    network::build().context("build the cluster's network")?;
    let local = Path::new(LOCAL);
    let mut supervisor = Supervisor::new(local.join("logs"));
    supervisor.start(control_plane::etcd(&machine.etcd))?;
    wait_for_port((CONTROL_PLANE, control_plane::ETCD_PORT).into())?;
    supervisor.start(control_plane::api_server())?;
    for node in NODES {
        cgroup::create(node)?;
        supervisor.start(node::containerd(node, &machine.containerd))?;
    }
    wait_for_port((CONTROL_PLANE, API_PORT).into())?;
    let rest = control_plane::followers().into_iter().chain(NODES.into_iter().flat_map(node::followers));
    rest.into_iter().try_for_each(|component: Component| supervisor.start(component))?;
    supervisor.run()
}

fn mount_private_folders(state: &Path, go: &Path) -> Result<()> {
    // Built below the state folder and moved to /run at the end: /run itself may hold the checkout or the cache.
    let run = state.join("run");
    // mount(8) keeps notes in /run/mount, iptables its lock in /run/lock.
    for folder in ["zke/local", "zke/go", "netns", "lock", "mount"] {
        if folder == "zke/local" {
            fs::create_dir_all(&run).context("create the mount point for /run")?;
            mount(&["-t", "tmpfs", "zke-run"], &run)?;
        }
        fs::create_dir_all(run.join(folder)).context("fill the private /run")?;
    }
    mount(&["--bind", path(state)?], &run.join("zke/local"))?;
    mount(&["--bind", path(go)?], &run.join("zke/go"))?;
    mount(&["--move", path(&run)?], Path::new("/run"))?;
    for folder in ["/var/lib", "/var/log"] {
        mount(&["-t", "tmpfs", "zke-private"], Path::new(folder))?;
    }
    // Pods' mounts have to reach containers that are already running.
    mount(&["--make-rshared"], Path::new("/"))
}

fn mount(options: &[&str], target: &Path) -> Result<()> {
    Program::new("mount").args(options).arg(target).run()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8; move the checkout", path.display()))
}

fn wait_for_port(address: SocketAddr) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on {address} after {} s; see target/local/logs", START_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
