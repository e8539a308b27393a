//! The namespaces of one run: network, mounts and processes of its own.
//!
//! The kernel takes all of it away when the first process in them ends, however that ends: members, links, mounts. So there
//! are no names that two runs could share, and no leftovers.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use zke_e2e::program::Program;

use crate::wall_clock;

/// A command that runs this very program in namespaces of its own, and ends with the process that starts it. Needs root.
pub fn isolated() -> Result<Command> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private", "--"])
        .arg(own)
        // A group of its own: an interrupt of the terminal ends the one that waits, and the kernel the rest.
        .process_group(0);
    Ok(command)
}

/// To be called first inside. Network namespaces have their names in /run, where `ip` looks for them.
pub fn settle() -> Result<()> {
    Program::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).run().context("mount a /run of its own")?;
    Program::new("ip").args(["link", "set", "lo", "up"]).run()
}

/// Whether this machine can do it: the tools are there, and this is root.
pub fn missing() -> Vec<&'static str> {
    let tools = ["setpriv", "unshare", "nsenter", "ip", "iptables", "strace", "mkfs.ext4"];
    let mut missing: Vec<_> =
        tools.into_iter().filter(|tool| zke_e2e::program::find(tool).is_none()).collect();
    if wall_clock::library().is_none() {
        missing.push("libfaketime");
    }
    // Only root can read it.
    if std::fs::read_dir(Path::new("/proc/1/fd")).is_err() {
        missing.push("root");
    }
    missing
}
