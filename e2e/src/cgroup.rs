//! The cluster's cgroups: one tree per node, in every hierarchy of cgroup v1, or in the single one of v2.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::network::NodeNumber;

const ROOT: &str = "zkensemble";

/// The controllers that pods need. A node whose kernel lacks one still works; the kubelet says what it misses.
const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

/// What the kubelet of a node calls its `cgroupRoot`.
pub fn root_of(node: NodeNumber) -> String {
    format!("/{ROOT}/{}", node.name())
}

/// Makes the node's cgroup in every hierarchy.
pub fn create(node: NodeNumber) -> Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.path.join(ROOT).join(node.name());
        fs::create_dir_all(&path).with_context(|| format!("create the cgroup {}", path.display()))?;
        if hierarchy.unified {
            let parents = [hierarchy.path.clone(), hierarchy.path.join(ROOT), path];
            parents.iter().for_each(|parent| delegate(parent));
        }
    }
    Ok(())
}

/// In v2 a cgroup's children have only those controllers that their parent hands down.
fn delegate(parent: &Path) {
    for controller in CONTROLLERS {
        // Refused for controllers that this kernel lacks or that a hybrid setup keeps in v1: both are fine.
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Removes every cgroup of the cluster. No process may be left in them.
pub fn remove() -> Result<()> {
    for hierarchy in hierarchies()? {
        remove_tree(&hierarchy.path.join(ROOT))?;
    }
    Ok(())
}

/// Says whether any cgroup of the cluster is left.
pub fn exists() -> Result<bool> {
    Ok(hierarchies()?.iter().any(|hierarchy| hierarchy.path.join(ROOT).exists()))
}

/// A cgroup's control files cannot be removed, its folder can: children first.
fn remove_tree(cgroup: &Path) -> Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read the cgroup {}", cgroup.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("read the cgroup {}", cgroup.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).with_context(|| format!("remove the cgroup {}", cgroup.display()))
}

struct Hierarchy {
    path: PathBuf,
    unified: bool,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let parse = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        let unified = kind == "cgroup2";
        (unified || kind == "cgroup").then(|| Hierarchy { path: PathBuf::from(path), unified })
    };
    Ok(mounts.lines().filter_map(parse).collect())
}
