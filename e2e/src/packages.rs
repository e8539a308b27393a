//! What the cluster needs from Debian, installed when it is missing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::program::{Program, find};
use crate::progress::Progress;

/// A download of some 80 MB over a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(1200);

/// A program (or a file) that must be there, the package that brings it, and the service that the package would
/// start by itself.
struct Need {
    program: &'static str,
    package: &'static str,
    service: Option<&'static str>,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package, service: None }
}

const NEEDS: [Need; 15] = [
    Need { program: "etcd", package: "etcd-server", service: Some("etcd.service") },
    Need { program: "containerd", package: "containerd", service: Some("containerd.service") },
    need("ctr", "containerd"),
    need("runc", "runc"),
    need("/usr/lib/cni/ptp", "containernetworking-plugins"),
    need("iptables", "iptables"),
    need("conntrack", "conntrack"),
    need("mkfs.xfs", "xfsprogs"),
    need("ip", "iproute2"),
    need("openssl", "openssl"),
    need("mount", "mount"),
    need("losetup", "mount"),
    need("unshare", "util-linux"),
    need("nsenter", "util-linux"),
    need("setsid", "util-linux"),
];

/// Installs what is missing. Services that a package starts are stopped again: the cluster runs its own.
pub fn install_missing(progress: &Progress) -> Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    progress.step(&format!("install {}", packages.join(", ")), |_| install(&packages))?;
    for service in missing.iter().filter_map(|need| need.service) {
        if Path::new("/run/systemd/system").is_dir() {
            Program::new("systemctl").args(["disable", "--now", service]).run()?;
        }
    }
    match missing.iter().find(|need| !is_there(need.program)) {
        Some(need) => bail!("{} is still missing after installing {}", need.program, need.package),
        None => Ok(()),
    }
}

/// Installs what brings these programs, each named with its package, where they are missing.
pub fn install_programs(needs: &[(&'static str, &'static str)], progress: &Progress) -> Result<()> {
    let missing = || needs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package);
    let packages: Vec<_> = missing().collect();
    if packages.is_empty() {
        return Ok(());
    }
    progress.step(&format!("install {}", packages.join(", ")), |_| install(&packages))?;
    match missing().next() {
        Some(package) => bail!("{package} was installed and its program is still missing"),
        None => Ok(()),
    }
}

/// Installs packages from Debian's archive.
pub fn install(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        let list = packages.join(" ");
        bail!("this machine has no apt-get; install what Debian calls {list} yourself and try again");
    }
    let apt = || {
        Program::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["--yes", "--quiet", "--option", "DPkg::Lock::Timeout=120"])
            .within(INSTALL_LIMIT)
    };
    apt().arg("update").run().context("refresh the list of Debian packages")?;
    let install = apt().args(["install", "--no-install-recommends"]).args(packages);
    install.run().with_context(|| format!("install {}", packages.join(", ")))
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') { fs::exists(program).unwrap_or(false) } else { find(program).is_some() }
}
