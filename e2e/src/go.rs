//! The parts that are built from Go modules: Kubernetes, CoreDNS, the volume driver, pause; and Helm.
//!
//! They are built once per machine and version, not per checkout: the folder's name is a hash of everything that
//! goes in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::checkout::{Checkout, cache, key, make_once};
use crate::program::Program;
use crate::progress::{Progress, Step};

pub const KUBERNETES_VERSION: &str = "1.34.4";
const HELM_VERSION: &str = "v4.3.1";

/// Six minutes on two cores when nothing is cached; a small machine with a slow network may need much longer.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// Each is a folder with a main package below `e2e/kubernetes`.
const PROGRAMS: [&str; 4] = ["cluster", "dns", "volumes", "pause"];

/// Builds the cluster's own programs unless they are there, and gives their folder.
pub fn programs(checkout: &Checkout, progress: &Progress) -> Result<PathBuf> {
    let sources = checkout.path("e2e/kubernetes");
    let folder = cache()?.join("go").join(source_key(&sources)?);
    if folder.is_dir() {
        return Ok(folder);
    }
    let logs = checkout.path("target/build-logs");
    make_once(&folder, |output| {
        for program in PROGRAMS {
            let name = match program {
                "cluster" => {
                    format!("build Kubernetes {KUBERNETES_VERSION} (some 6 minutes, once per machine)")
                }
                "dns" => "build CoreDNS".to_owned(),
                other => format!("build {other}"),
            };
            progress.step(&name, |step| {
                build(&sources, program, output, &logs.join(format!("go-{program}.log")), step)
            })?;
        }
        Ok(())
    })?;
    Ok(folder)
}

/// Builds Helm unless it is there, and gives the program.
pub fn helm(checkout: &Checkout, progress: &Progress) -> Result<PathBuf> {
    let folder = cache()?.join(format!("helm-{HELM_VERSION}"));
    let program = folder.join("helm");
    if !folder.is_dir() {
        let log = checkout.path("target/build-logs/go-helm.log");
        progress.step(&format!("build Helm {HELM_VERSION} (some 2 minutes, once per machine)"), |step| {
            make_once(&folder, |output| {
                let install = format!("helm.sh/helm/v4/cmd/helm@{HELM_VERSION}");
                go().args(["install", "-v", "-trimpath", &install]).env("GOBIN", output).logged(&log, step)
            })
        })?;
    }
    Ok(program)
}

fn build(sources: &Path, program: &str, output: &Path, log: &Path, step: &Step) -> Result<()> {
    let (major, rest) = KUBERNETES_VERSION.split_once('.').context("split the version of Kubernetes")?;
    let minor = rest.split('.').next().unwrap_or_default();
    // Without these Kubernetes believes to be v0.0.0 and refuses feature gates.
    let version =
        [("gitVersion", &*format!("v{KUBERNETES_VERSION}")), ("gitMajor", major), ("gitMinor", minor)]
            .map(|(name, value)| format!("-X k8s.io/component-base/version.{name}={value}"))
            .join(" ");
    go().directory(sources)
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &format!("-s -w {version}")])
        .arg("-o")
        .arg(output.join(program))
        .arg(format!("./{program}"))
        .logged(log, step)
}

/// Static, so that the same programs run in images and on any distribution.
fn go() -> Program {
    Program::new("go").env("CGO_ENABLED", "0").within(BUILD_LIMIT)
}

fn source_key(sources: &Path) -> Result<String> {
    let mut parts = vec![Program::new("go").directory(sources).arg("version").output()?.into_bytes()];
    let mut files: Vec<_> = ["go.mod", "go.sum"].map(|file| sources.join(file)).into();
    for program in PROGRAMS {
        let folder = sources.join(program);
        let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    for file in files {
        let name = file.strip_prefix(sources).unwrap_or(&file).as_os_str().as_encoded_bytes().to_vec();
        parts.push(name);
        parts.push(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(key(parts.iter().map(Vec::as_slice)))
}
