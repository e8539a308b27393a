//! The local cluster seen from outside: start it, find it, feed it images, end it.
//!
//! There is no pid file to go stale: the cluster's first process carries this checkout's state folder on its command
//! line, and that is how it is found. So an `up` that was killed at any point leaves either a cluster that the next
//! `up` goes on with, or leftovers that the next `up` or `down` removes.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::checkout::Checkout;
use crate::control_plane::{self, ADMIN_KUBECONFIG};
use crate::image::Image;
use crate::inside::Machine;
use crate::kubectl::{Kubectl, condition, wait_for};
use crate::network::{NODES, NodeNumber};
use crate::node::{self, containerd_socket};
use crate::pki::Pki;
use crate::program::Program;
use crate::progress::{Progress, Step};
use crate::{cgroup, host_link};

/// The argument that makes the program which holds this crate the cluster's first process; the state folder follows.
pub const INSIDE: &str = "cluster-inside";

/// The machine needs some 5 s; a busy one with cold disks may need far more.
const START_LIMIT: Duration = Duration::from_secs(180);

/// The kernel takes a moment to tear down mounts and loop devices.
const END_LIMIT: Duration = Duration::from_secs(30);

const STORAGE: &str = include_str!("../kubernetes/storage.yaml");

/// The one cluster that belongs to a checkout, running or not.
#[derive(Clone, Debug)]
pub struct Cluster {
    checkout: Checkout,
    state: PathBuf,
    kubectl: PathBuf,
}

/// Held while a command changes the cluster, so that two do not work against each other.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock goes when the file is closed")] File);

impl Cluster {
    pub fn new(checkout: Checkout, kubectl: PathBuf) -> Self {
        let state = checkout.local();
        Self { checkout, state, kubectl }
    }

    /// Claims the cluster for one command.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.state.with_extension("lock");
        fs::create_dir_all(self.checkout.path("target")).context("create target/")?;
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                bail!("another `cargo xtask` is at work in this checkout; wait for it or end it")
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.kubectl.clone(), self.kubeconfig())
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join(ADMIN_KUBECONFIG)
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn is_running(&self) -> Result<bool> {
        Ok(self.first_process()?.is_some())
    }

    /// Starts the cluster unless it runs, and waits until three nodes are Ready. The calling program must call
    /// [`crate::inside::main`] when its first argument is [`INSIDE`]: the cluster's first process is a copy of it.
    pub fn up(&self, machine: &Machine, progress: &Progress) -> Result<()> {
        if let Some(other) = self.other_checkouts_process()? {
            bail!(
                "the local cluster of another checkout is running (process {}, state in {}); \
                 end it there with `cargo xtask down`: both would use the same addresses",
                other.pid.as_raw_nonzero(),
                other.state.display()
            );
        }
        if self.is_running()? {
            self.warn_if_started_from_other_parts(machine, progress);
        } else {
            progress.step("start the cluster", |_| self.start(machine))?;
        }
        let pid = self.wait_for_first_process()?;
        host_link::ensure(pid)?;
        progress.step("API server answers", |_| self.wait_for_api())?;
        self.kubectl().apply(STORAGE).context("set up the storage classes")?;
        let pause = Image::pause(&machine.go.join("pause"))?;
        self.import(&pause)?;
        progress.step("three nodes are Ready", |step| self.wait_for_nodes(step))
    }

    /// Ends every process of the cluster and removes what it made. Logs stay until the next start.
    pub fn down(&self, progress: &Progress) -> Result<()> {
        progress.step("end the cluster", |_| self.kill())?;
        progress.step("remove its mounts, links and cgroups", |_| self.sweep())
    }

    /// Ends every process at once, as a crash would, and removes nothing.
    pub fn kill(&self) -> Result<()> {
        for process in processes()?.iter().filter(|process| process.state == self.state) {
            // One that is gone already is what we want.
            let _ = kill_process(process.pid, Signal::KILL);
        }
        let gone = || Ok(processes()?.iter().all(|process| process.state != self.state).then_some(()));
        wait_for("the end of the cluster's processes", END_LIMIT, gone)
    }

    /// What a local cluster has left on this machine, in words; empty after [`Cluster::down`].
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut found: Vec<_> = processes()?
            .iter()
            .map(|process| format!("process {} of {}", process.pid.as_raw_nonzero(), process.state.display()))
            .collect();
        if host_link::exists() {
            found.push("its network link".to_owned());
        }
        if cgroup::exists()? {
            found.push("its cgroups".to_owned());
        }
        found.extend(loop_devices_of(&self.state.join("volumes"))?);
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        let ours = |line: &&str| line.starts_with("zke-") || line.contains(&*self.state.to_string_lossy());
        found.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        if let Ok(entries) = fs::read_dir(&self.state) {
            let files = entries.flatten().map(|entry| entry.path());
            found.extend(files.filter(|path| !path.ends_with("logs")).map(|path| path.display().to_string()));
        }
        Ok(found)
    }

    /// Makes an image known to every node that does not have exactly it.
    pub fn import(&self, image: &Image) -> Result<()> {
        let archive = image.archive()?;
        for node in NODES {
            let known = self.ctr(node)?.args(["images", "ls", &format!("name=={}", image.name())]).output();
            if known.is_ok_and(|list| list.contains(&archive.digest)) {
                continue;
            }
            let import =
                self.ctr(node)?.args(["images", "import", "--snapshotter", &self.snapshotter()?, "-"]);
            import.input(archive.bytes.clone()).run().with_context(|| format!("import {}", image.name()))?;
        }
        Ok(())
    }

    /// Gives an image that every node has another name, as a registry would have it under another tag.
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        for node in NODES {
            self.ctr(node)?.args(["images", "tag", "--force", image, name]).run()?;
        }
        Ok(())
    }

    /// A program that runs in a node's network and in the cluster's mount and PID namespaces.
    pub fn enter(&self, node: NodeNumber) -> Result<Program> {
        let pid = self.wait_for_first_process()?.to_string();
        let enter = Program::new("nsenter").args(["--target", &pid, "--mount", "--root", "--pid", "--"]);
        Ok(enter.arg("nsenter").arg(format!("--net={}", node.namespace())).arg("--"))
    }

    fn ctr(&self, node: NodeNumber) -> Result<Program> {
        let socket = containerd_socket(node);
        Ok(self.enter(node)?.args(["ctr", "--address", &socket, "--namespace", "k8s.io"]))
    }

    fn snapshotter(&self) -> Result<String> {
        Ok(self.started_with()?.snapshotter)
    }

    fn started_with(&self) -> Result<Machine> {
        let text = fs::read(self.state.join("machine.json")).context("read target/local/machine.json")?;
        serde_json::from_slice(&text).context("understand target/local/machine.json")
    }

    fn start(&self, machine: &Machine) -> Result<()> {
        self.sweep()?;
        host_link::check_range_is_free()?;
        let logs = self.state.join("logs");
        if logs.exists() {
            fs::remove_dir_all(&logs).context("remove the last run's logs")?;
        }
        fs::create_dir_all(&logs).context("create target/local/logs")?;
        Pki::create(&self.state.join("pki"))?;
        control_plane::configure(&self.state)?;
        for node in NODES {
            node::configure(&self.state, node, machine)?;
        }
        let text = serde_json::to_vec_pretty(machine).context("encode machine.json")?;
        fs::write(self.state.join("machine.json"), text).context("write machine.json")?;
        // A copy, because Cargo may replace the original at any time.
        let program = self.state.join("supervisor");
        fs::copy("/proc/self/exe", &program).context("copy this program for the cluster's first process")?;
        // A session of its own: an interrupt on this terminal must not end the cluster.
        Program::new("setsid")
            .args(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            .args([program.as_os_str(), OsStr::new(INSIDE), self.state.as_os_str()])
            .spawn(&logs.join("cluster.log"))?;
        Ok(())
    }

    fn warn_if_started_from_other_parts(&self, machine: &Machine, progress: &Progress) {
        if self.started_with().is_ok_and(|started| started.go != machine.go) {
            progress.say(
                "the running cluster was started from older parts; `cargo xtask down` first renews them",
            );
        }
    }

    fn other_checkouts_process(&self) -> Result<Option<Process>> {
        Ok(processes()?.into_iter().find(|process| process.state != self.state))
    }

    fn first_process(&self) -> Result<Option<u32>> {
        let ours = |process: &Process| process.is_first && process.state == self.state;
        let found = processes()?.into_iter().find(ours);
        Ok(found.map(|process| process.pid.as_raw_nonzero().get().unsigned_abs()))
    }

    fn wait_for_first_process(&self) -> Result<u32> {
        wait_for("the cluster's first process", END_LIMIT, || match self.first_process()? {
            None => self.fail_if_ended().map(|()| None),
            found => Ok(found),
        })
    }

    fn wait_for_api(&self) -> Result<()> {
        let kubectl = self.kubectl();
        wait_for("an API server that is ready", START_LIMIT, || {
            self.fail_if_ended()?;
            kubectl.run("get --raw /readyz --request-timeout=5s").map(Some)
        })?;
        Ok(())
    }

    fn wait_for_nodes(&self, step: &Step) -> Result<()> {
        let kubectl = self.kubectl();
        wait_for("three Ready nodes", START_LIMIT, || {
            self.fail_if_ended()?;
            let nodes = kubectl.items("get nodes --request-timeout=5s")?;
            let ready = nodes.iter().filter(|node| condition(node, "Ready") == Some("True")).count();
            step.detail(format!("{ready} of {}", NODES.len()));
            Ok((ready == NODES.len()).then_some(()))
        })
    }

    /// A cluster whose first process has ended will never be ready: say why at once.
    fn fail_if_ended(&self) -> Result<()> {
        if processes()?.iter().any(|process| process.state == self.state) {
            return Ok(());
        }
        let log = self.state.join("logs/cluster.log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        bail!("the cluster ended while it started; {} says:\n{text}", log.display())
    }

    /// Removes what a cluster that is no longer running may have left, except for its logs.
    fn sweep(&self) -> Result<()> {
        // These have one name on the whole machine; another checkout's cluster may be using them.
        if self.other_checkouts_process()?.is_none() {
            host_link::remove()?;
            let look = || cgroup::remove().map(Some);
            wait_for("the removal of the cluster's cgroups", END_LIMIT, look)?;
        }
        let volumes = self.state.join("volumes");
        let detached = || Ok(loop_devices_of(&volumes)?.is_empty().then_some(()));
        if wait_for("the kernel letting go of the volumes", END_LIMIT / 3, detached).is_err() {
            for device in loop_devices_of(&volumes)? {
                Program::new("losetup").args(["--detach", &device]).run()?;
            }
        }
        self.remove_state()
    }

    fn remove_state(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        let below = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|point| Path::new(point).starts_with(&self.state))
        };
        if let Some(mount) = mounts.lines().find(below) {
            bail!("something is mounted below {}: `{mount}`; unmount it first", self.state.display());
        }
        let Ok(entries) = fs::read_dir(&self.state) else { return Ok(()) };
        for entry in entries {
            let path = entry.context("read target/local")?.path();
            if path.file_name() == Some(OsStr::new("logs")) {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// A process of a local cluster, of whichever checkout.
struct Process {
    pid: Pid,
    /// The first process of the cluster's PID namespace, not the `unshare` that made it.
    is_first: bool,
    state: PathBuf,
}

fn processes() -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("list the processes")?;
    Ok(entries.flatten().filter_map(|entry| process(&entry.path())).collect())
}

fn process(folder: &Path) -> Option<Process> {
    let number = folder.file_name()?.to_str()?.parse().ok()?;
    let line = fs::read(folder.join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).collect();
    let marker = words.iter().position(|word| *word == INSIDE.as_bytes())?;
    let state = PathBuf::from(OsStr::from_bytes(words.get(marker + 1)?));
    Some(Process { pid: Pid::from_raw(number)?, is_first: marker == 1, state })
}

/// The loop devices that hold a file of `folder`. The kernel names files as a namespace that is gone saw them, so
/// only the last element of the name says anything; it has a UUID in it.
fn loop_devices_of(folder: &Path) -> Result<Vec<String>> {
    let Ok(files) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let names: Vec<_> = files.flatten().map(|file| file.file_name()).collect();
    let mut devices = Vec::new();
    for device in fs::read_dir("/sys/block").context("list the block devices")?.flatten() {
        let Ok(backing) = fs::read_to_string(device.path().join("loop/backing_file")) else { continue };
        let backing = Path::new(backing.trim_end());
        if backing.file_name().is_some_and(|name| names.iter().any(|known| known == name)) {
            devices.push(format!("/dev/{}", device.file_name().to_string_lossy()));
        }
    }
    Ok(devices)
}
