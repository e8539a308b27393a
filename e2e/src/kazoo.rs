//! kazoo's own test suite, unchanged, with `zkd` in the place of ZooKeeper.
//!
//! Its harness starts each server as `java -cp JARS -DNAME=VALUE… QuorumPeerMain zoo.cfg`; so the script
//! `e2e/kazoo/java` stands first on PATH and runs `zkd` with every `-D`. It promises that the tests are those on PyPI,
//! byte for byte, that no server can be reached from another machine, and that none is left when a run ends. It
//! never decides which tests count: that is what its callers give to pytest.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::checkout::{Checkout, cache, hex, make_once};
use crate::program::Program;
use crate::progress::Progress;
use crate::python::{KAZOO, Python};

/// Of the archive that PyPI has of [`KAZOO`].
const SHA256: &str = "57e7e6f69295c8f922511488eeb79680729e14bb8eb382d5cad83aa11345c36c";

/// Which ZooKeeper the harness writes its configuration for: the one that `zkd` says it is.
const ZOOKEEPER_VERSION: &str = "3.9.5";

/// A slow machine, and every test at its own limit of three minutes only if it hangs.
const RUN_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The harness gives server `n` the ports from 10 × n on, and some tests start a fourth one.
const PORTS: u16 = 40;

/// Below the range from which Linux takes ports for outgoing connections.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_000;

/// The suite, ready to run.
#[derive(Debug)]
pub struct Suite {
    python: Python,
    sources: PathBuf,
    /// The folder of the program `java`.
    java: PathBuf,
}

impl Suite {
    /// Gets the suite and what it imports from PyPI, unless they are there.
    pub fn prepare(checkout: &Checkout, progress: &Progress) -> Result<Self> {
        let java = checkout.path("e2e/kazoo");
        let file = java.join("requirements.txt");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let python = Python::with("kazoo-suite", &requirements(&text), progress)?;
        let folder = cache()?.join(format!("{KAZOO}-{}", &SHA256[..16]));
        make_once(&folder, |unfinished| {
            progress.step(&format!("get the tests of {KAZOO} from PyPI"), |_| fetch(&python, unfinished))
        })?;
        Ok(Self { python, sources: folder.join(KAZOO.replace("==", "-")), java })
    }

    /// A run of pytest on three servers at `ports`, with all temporary files in `folder`, an empty one.
    pub fn pytest(&self, zkd: &Path, ports: Ports, folder: &Path) -> Result<Program> {
        let mut path = OsString::from(&self.java);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let program = self
            .python
            .command(&["-m", "pytest", "-p", "no:cacheprovider"])
            .directory(&self.sources)
            .env("PATH", path)
            .env("ZKD", zkd)
            .env("TMPDIR", folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("ZOOKEEPER_PORT_OFFSET", ports.first.to_string())
            .env("ZOOKEEPER_VERSION", ZOOKEEPER_VERSION)
            // Anything will do: the program that runs in the place of Java has no use for it.
            .env("ZOOKEEPER_CLASSPATH", "zkd")
            // Else the tests believe ZOOKEEPER_VERSION and never ask the server what it is.
            .without_env("CI")
            .within(RUN_LIMIT);
        Ok(program)
    }
}

/// A range of ports that were free a moment ago.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    first: u16,
}

impl Ports {
    /// So many ranges that differ.
    pub fn find(count: usize) -> Result<Vec<Self>> {
        let firsts = (FIRST_PORT..LAST_PORT).step_by(usize::from(PORTS));
        let found: Vec<_> = firsts.filter(|first| are_free(*first)).take(count).collect();
        ensure!(
            found.len() == count,
            "no {PORTS} ports side by side are free below {LAST_PORT}: end what uses them"
        );
        Ok(found.into_iter().map(|first| Self { first }).collect())
    }
}

fn are_free(first: u16) -> bool {
    (first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// The lines of a requirements file that are neither empty nor comments.
fn requirements(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn fetch(python: &Python, folder: &Path) -> Result<()> {
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", KAZOO, "--dest"];
    python.command(&download).arg(folder).run().context("download kazoo's sources")?;
    let archive = folder.join(format!("{}.tar.gz", KAZOO.replace("==", "-")));
    let bytes = fs::read(&archive).with_context(|| format!("read {}", archive.display()))?;
    let sum = hex(&Sha256::digest(&bytes));
    if sum != SHA256 {
        bail!(
            "PyPI gave an archive of {KAZOO} with the SHA-256 {sum} instead of {SHA256}: it is not the one we know"
        );
    }
    let unpack = python.command(&["-m", "tarfile", "--extract"]).arg(&archive).arg(folder);
    unpack.run().context("unpack kazoo's sources")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_requirements() {
        assert_eq!(requirements("# why\na==1\n\n  b==2\n"), ["a==1", "b==2"]);
    }

    #[test]
    fn one_port_in_use_is_enough_to_pass_a_range_over() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = held.local_addr().expect("bound").port();
        assert!(!are_free(port) && !are_free(port - PORTS + 1));
    }
}
