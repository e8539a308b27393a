//! Says at once, and all together, what this machine lacks, before minutes are spent on building.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::statvfs;

use crate::checkout::Checkout;
use crate::program::{Program, find};

/// Three nodes, the control plane and an ensemble take about 2.5 GB; building needs more for a while.
const MIN_MEMORY_MIB: u64 = 5 * 1024;
/// Build caches, images, and volumes that grow as they are written.
const MIN_DISK_MIB: u64 = 12 * 1024;

/// Checks what needs no other program to be installed.
pub fn check(checkout: &Checkout) -> Result<()> {
    let mut problems = Vec::new();
    if !cfg!(target_os = "linux") {
        bail!("the local cluster needs Linux: it is made of network, mount and process namespaces");
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the local cluster needs root, for namespaces, mounts and cgroups; try `sudo -E cargo xtask up`"
        );
    }
    programs(&mut problems);
    kernel(&mut problems);
    room(checkout, &mut problems);
    report(problems)
}

/// Checks what needs the Debian packages.
pub fn check_networking() -> Result<()> {
    let unshare =
        || Program::new("unshare").args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--"]);
    if !unshare().arg("true").succeeds() {
        bail!("namespaces cannot be made here; in a container, run it with --privileged");
    }
    let rule = "iptables -t nat -A OUTPUT -m comment --comment zke -m statistic --mode random --probability 0.5 -j RETURN \
                && iptables -t nat -A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE";
    if let Err(error) = unshare().args(["sh", "-c", rule]).run() {
        bail!("iptables cannot do what kube-proxy needs; the kernel lacks a module of netfilter: {error:#}");
    }
    Ok(())
}

/// The containerd snapshotter that works on the file system of `state`.
pub fn snapshotter(state: &Path) -> Result<&'static str> {
    let base = state.join("overlay-probe");
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(base.join(folder))?;
    }
    let mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged";
    let works =
        Program::new("unshare").directory(&base).args(["--mount", "--", "sh", "-c", mount]).succeeds();
    fs::remove_dir_all(&base)?;
    Ok(if works { "overlayfs" } else { "native" })
}

fn programs(problems: &mut Vec<String>) {
    for (program, what) in [("go", "Go 1.25 or newer"), ("cargo", "Rust"), ("python3", "Python 3.9 or newer")]
    {
        if find(program).is_none() {
            problems.push(format!("there is no `{program}` on PATH; install {what}"));
        }
    }
}

fn kernel(problems: &mut Vec<String>) {
    if !Path::new("/dev/loop-control").exists() && !Program::new("modprobe").arg("loop").succeeds() {
        problems.push("there is no /dev/loop-control: volumes need loop devices (modprobe loop)".to_owned());
    }
    if !Path::new("/dev/kmsg").exists() {
        problems.push(
            "there is no /dev/kmsg, which the kubelet reads; in a container, run it with --privileged"
                .to_owned(),
        );
    }
    for kind in ["xfs", "overlay"] {
        let known = || fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains(kind));
        if !known() && !Program::new("modprobe").arg(kind).succeeds() && !known() {
            problems.push(format!("the kernel does not know the file system {kind} (modprobe {kind})"));
        }
    }
    let cgroups = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let writable =
        |line: &str| line.contains(" cgroup") && line.split(' ').nth(3).is_some_and(|o| o.starts_with("rw"));
    if !cgroups.lines().any(writable) {
        problems.push("no writable cgroup hierarchy is mounted at /sys/fs/cgroup".to_owned());
    }
}

fn room(checkout: &Checkout, problems: &mut Vec<String>) {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    if let Some(kib) = total.and_then(|number| number.trim().parse::<u64>().ok())
        && kib / 1024 < MIN_MEMORY_MIB
    {
        problems.push(format!("the machine has {} MiB of memory; {MIN_MEMORY_MIB} are needed", kib / 1024));
    }
    if let Ok(disk) = statvfs(checkout.root()) {
        let free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
        if free_mib < MIN_DISK_MIB {
            problems.push(format!("{free_mib} MiB are free for the checkout; {MIN_DISK_MIB} are needed"));
        }
    }
}

fn report(problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("this machine is not ready for the local cluster:\n  - {}", problems.join("\n  - "))
}
