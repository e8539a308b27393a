//! Random requests on Apache ZooKeeper and on zkd, both alone on this machine: what `docs/differences.md` explains.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use zke_e2e::checkout::Checkout;
use zke_e2e::packages;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

use crate::folder::Folder;
use crate::servers::{Product, Programs, Servers, Settings};
use crate::zookeeper;

/// A cold build on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// A million operations take an hour.
const RUN_LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// What programs ask about: quotas, the super user (`super:secret`), nodes with a time to live. Sessions may be short,
/// so that their expiry can be waited for; and nothing happens by itself in the middle of a program. What is on a disk
/// is nothing that clients see.
const SETTINGS: Settings = Settings {
    zoo_cfg: "tickTime=500\nminSessionTimeout=2000\nmaxSessionTimeout=60000\nforceSync=no\nenforceQuota=true\n\
              extendedTypesEnabled=true\n",
    properties: &[
        "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
        "-Dznode.container.checkIntervalMs=86400000",
    ],
};

#[derive(Args, Debug, Default)]
pub struct Options {
    /// How many operations clients ask for, about.
    #[arg(long, default_value_t = QUICK_OPERATIONS)]
    operations: usize,
    /// Of the first program; each number is another one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run these steps of that one program and nothing else, as a reported difference names them.
    #[arg(long, value_name = "N,N,…")]
    steps: Option<String>,
    /// Go on until there are so many differences.
    #[arg(long, default_value_t = 1)]
    differences: usize,
}

/// Well below a minute.
const QUICK_OPERATIONS: usize = 4_000;

impl Options {
    /// What every test run does.
    pub fn quick() -> Options {
        Options { operations: QUICK_OPERATIONS, seed: 1, steps: None, differences: 1 }
    }
}

pub fn run(checkout: &Checkout, options: &Options, progress: &Progress) -> Result<()> {
    packages::install_programs(&[&[("setpriv", "util-linux")][..], &zookeeper::NEEDS].concat(), progress)?;
    let jars = zookeeper::fetch(progress)?;
    build(checkout, progress)?;
    let binaries = checkout.cargo_target().join("debug");
    let programs = Programs { zkd: binaries.join("zkd"), zookeeper: Some(jars) };
    let folder = Folder::create(&checkout.cargo_target().join("differences"))?;
    let start = |product: Product| {
        Servers::start(product, 1, &programs, &SETTINGS, &folder.path().join(product.name()))
    };
    let (zookeeper, zkd) = (start(Product::ZooKeeper)?, start(Product::Zkd)?);
    let mut runner = Program::new(binaries.join("zke-differential"))
        .args([
            "--zookeeper",
            &zookeeper.addresses()[0].to_string(),
            "--zkd",
            &zkd.addresses()[0].to_string(),
        ])
        .args(["--operations", &options.operations.to_string(), "--seed", &options.seed.to_string()])
        .args(["--differences", &options.differences.to_string()])
        .within(RUN_LIMIT);
    if let Some(steps) = &options.steps {
        runner = runner.args(["--steps", steps]);
    }
    if runner.shown()? { Ok(()) } else { bail!("ZooKeeper and zkd do not answer alike") }
}

/// By way of tests of the whole workspace: with other words Cargo would choose other features of the libraries, and
/// compile all of them again.
fn build(checkout: &Checkout, progress: &Progress) -> Result<()> {
    progress.step("build zkd and the differential runner", |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["test", "--locked", "--workspace", "--test", "client", "--test", "runner", "--no-run"])
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/differences.log"), step)
    })
}
