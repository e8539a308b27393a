//! The programs of these tests: `zkd` and the examples, each in its language.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zke_e2e::checkout::Checkout;
use zke_e2e::java::Java;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;
use zke_e2e::python::Python;

/// A cold build of the workspace on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// The programs of Rust are taken from this folder instead of being built, if it is set.
const BINARIES: &str = "ZKE_BINARIES";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
    Java,
}

impl Language {
    pub const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Java];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Java => "java",
        }
    }
}

#[derive(Debug)]
pub struct Programs {
    checkout: Checkout,
    binaries: PathBuf,
    python: Python,
    java: Java,
}

impl Programs {
    pub fn prepare() -> Result<Self> {
        let checkout = Checkout::find()?;
        let progress = Progress::default();
        let binaries = binaries(&checkout, &progress)?;
        let python = Python::prepare(&progress)?;
        let java = Java::build(&checkout.path("examples/java"), &progress)?;
        Ok(Self { checkout, binaries, python, java })
    }

    pub fn zkd(&self) -> PathBuf {
        self.binaries.join("zkd")
    }

    /// The command line of an example, without its arguments.
    pub fn example(&self, language: Language, name: &str) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        match language {
            Language::Rust => vec![path(&self.binaries.join(name))],
            Language::Python => {
                let script = self.checkout.path("examples/python").join(name).with_extension("py");
                vec![path(&self.python.program()), path(&script)]
            }
            Language::Java => {
                let (first, rest) = name.split_at(1);
                let class = format!("dev.zkensemble.examples.{}{rest}", first.to_uppercase());
                [vec!["java".to_owned()], self.java.arguments(&class)].concat()
            }
        }
    }
}

/// The folder of `zkd` and the examples in Rust.
pub fn binaries(checkout: &Checkout, progress: &Progress) -> Result<PathBuf> {
    match std::env::var_os(BINARIES) {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => build(checkout, progress),
    }
}

/// Of the whole workspace, as the other stages of the test command do: for single packages Cargo would choose other
/// features of the libraries and compile all of them again.
fn build(checkout: &Checkout, progress: &Progress) -> Result<PathBuf> {
    const NAMES: [&str; 5] = ["zkd", "membership", "configuration", "lock", "leader"];
    let binaries = NAMES.iter().flat_map(|name| ["--bin", name]);
    progress.step("build zkd and the examples in Rust", |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["build", "--locked", "--workspace"])
            .args(binaries)
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/clients.log"), step)
    })?;
    let folder = checkout.cargo_target().join("debug");
    ensure!(folder.join("zkd").is_file(), "Cargo did not leave zkd in {}", folder.display());
    folder.canonicalize().context("resolve Cargo's folder")
}
