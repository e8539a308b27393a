//! Side by side with Apache ZooKeeper, on this machine and at this time: what `docs/benchmarks.md` explains.
//!
//! The two take turns, each alone on the machine and on a fresh folder of the same disk, so that whatever else the
//! machine does meets both. Nothing is compared with a number from another day. Nothing is asserted about speed
//! either: a run fails if a server answers wrongly, not if it is slow.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use zke_e2e::checkout::Checkout;
use zke_e2e::packages;
use zke_e2e::program::Program;
use zke_e2e::progress::{Progress, Step};

use crate::folder::Folder;
use crate::servers::{Product, Programs, Servers, Settings};
use crate::zookeeper;

use machine::Machine;
use report::{Measured, Record};
use shape::{Load, Op, Shape};

pub mod machine;
mod plan;
mod report;
mod shape;

/// A cold build on two slow cores, with optimisation across crates.
const BUILD_LIMIT: Duration = Duration::from_secs(3_600);
/// For one run of the load generator beyond the time it measures: it gives up by itself before.
const LOAD_LIMIT: Duration = Duration::from_secs(240);

/// Each write is on the disk before it is acknowledged, as both do by default.
const SETTINGS: Settings = Settings { zoo_cfg: "tickTime=2000\nforceSync=yes\n", properties: &[] };

#[derive(Args, Debug, Default)]
pub struct Options {
    /// About two minutes: fewer shapes, short runs, two rounds.
    #[arg(long)]
    quick: bool,
    /// Also write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this one: operation, bytes, connections and window, such as set-100-16x16. May be given again.
    #[arg(long = "shape", value_name = "SHAPE")]
    shapes: Vec<Shape>,
    /// Only ensembles of this size. May be given again.
    #[arg(long, value_name = "1 or 3", value_parser = clap::value_parser!(u8).range(1..=9))]
    members: Vec<u8>,
    /// Only this server, without another to compare it with.
    #[arg(long, value_enum)]
    only: Option<Product>,
    /// How often each server takes its turn.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds that each shape is measured for.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Take `zkd` and `zke-load` from this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

pub fn run(checkout: &Checkout, options: &Options, progress: &Progress) -> Result<()> {
    let plan = plan::of(options);
    install_missing(&plan, progress)?;
    let zookeeper = match plan.products.contains(&Product::ZooKeeper) {
        true => Some(zookeeper::fetch(progress)?),
        false => None,
    };
    let binaries = match &options.binaries {
        Some(folder) => folder.clone(),
        None => build(checkout, plan.profile, progress)?,
    };
    let programs = Programs { zkd: binaries.join("zkd"), zookeeper };
    let load = binaries.join("zke-load");

    let folder = Folder::create(&checkout.cargo_target().join("bench"))?;
    let machine = Machine::look(folder.path())?;
    let mut records = Vec::new();
    let turns = plan.turns();
    for (at, turn) in turns.iter().enumerate() {
        let name = format!(
            "{}/{} {} with {} member{}",
            at + 1,
            turns.len(),
            turn.product.name(),
            turn.members,
            if turn.members == 1 { "" } else { "s" }
        );
        progress.step(&name, |step| {
            let place = folder.path().join(format!("turn-{at}"));
            let servers = Servers::start(turn.product, turn.members, &programs, &SETTINGS, &place)?;
            measure(&load, &servers, &plan, turn, step, &mut records)
                .with_context(|| format!("the servers' last words:\n{}", servers.last_words()))
        })?;
    }
    let report = report::Report { machine, plan: plan.describe(), records };
    println!("\n{}", report.table());
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report).context("write the figures as JSON")?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    report.faults()
}

/// One turn: warm up, then each shape.
fn measure(
    load: &Path,
    servers: &Servers<'_>,
    plan: &plan::Plan,
    turn: &plan::Turn,
    step: &Step,
    records: &mut Vec<Record>,
) -> Result<()> {
    step.detail("warm up");
    let warm_up = plan.warm_up(turn.product);
    for op in [Op::Set, Op::Get, Op::Mixed] {
        let shape = Shape { op, bytes: 100, load: Load { connections: 16, window: 16 } };
        run_load(load, servers, &shape, Duration::ZERO, warm_up / 3)?;
    }
    for shape in &plan.shapes {
        step.detail(shape.to_string());
        let measured = run_load(load, servers, shape, plan.ramp, plan.measure)?;
        records.push(Record { product: turn.product, members: turn.members, shape: *shape, measured });
    }
    Ok(())
}

fn run_load(
    load: &Path,
    servers: &Servers<'_>,
    shape: &Shape,
    ramp: Duration,
    measure: Duration,
) -> Result<Measured> {
    let mut program = Program::new(load).within(LOAD_LIMIT + ramp + measure).args(shape.arguments());
    for address in servers.addresses() {
        program = program.args(["--server", &address.to_string()]);
    }
    for pid in servers.pids() {
        program = program.args(["--pid", &pid.to_string()]);
    }
    let output = program
        .args(["--warm-up-ms", &ramp.as_millis().to_string()])
        .args(["--measure-ms", &measure.as_millis().to_string()])
        .output()
        .with_context(|| format!("put the load {shape} on"))?;
    serde_json::from_str(&output).with_context(|| format!("understand the load generator: {output}"))
}

/// Builds the server and all that puts load on one; returns the folder they are in.
pub fn build(checkout: &Checkout, profile: &str, progress: &Progress) -> Result<PathBuf> {
    progress.step(&format!("build zkd and the load generator ({profile})"), |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["build", "--locked", "--profile", profile, "--package", "zkd", "--package", "zke-bench"])
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/bench.log"), step)
    })?;
    Ok(checkout.cargo_target().join(profile))
}

fn install_missing(plan: &plan::Plan, progress: &Progress) -> Result<()> {
    let zookeeper: &[_] = if plan.products.contains(&Product::ZooKeeper) { &zookeeper::NEEDS } else { &[] };
    packages::install_programs(&[&[("setpriv", "util-linux")], zookeeper].concat(), progress)
}
