//! The longest gap without an acknowledged write, next to Apache ZooKeeper: what `docs/benchmarks.md` explains.
//!
//! Three members, and each round does to them what a scenario names, one after the other; writers at every member tell
//! how long they went without an acknowledged write. The two servers take turns, each alone on the machine and on fresh
//! folders of the same disk. Nothing is asserted about time. The command fails if zkd loses a session, shows what is
//! stale, or lets anybody notice a planned restart in another way than by a connection that ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use zke_e2e::checkout::Checkout;
use zke_e2e::packages;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

use crate::bench;
use crate::bench::machine::Machine;
use crate::folder::Folder;
use crate::servers::{Product, Programs, Servers, Settings};
use crate::zookeeper;

use report::{Report, Run};
use writers::Writers;

mod report;
mod writers;

const MEMBERS: u8 = 3;
/// Each write is on the disk before it is acknowledged, as both do by default.
const SETTINGS: Settings = Settings { zoo_cfg: "tickTime=2000\nforceSync=yes\n", properties: &[] };
/// Goals and a claim need as many.
const USUAL_RUNS: u32 = 20;
const TEST_RUNS: u32 = 5;
/// A JVM compiles what it has not run yet; that would be held against ZooKeeper.
const WARM_UP_ZOOKEEPER: Duration = Duration::from_secs(5);
const WARM_UP_ZKD: Duration = Duration::from_millis(500);
/// A member that was held closes the connections that it may not serve any more, or answers them.
const AFTER_HOLD: Duration = Duration::from_secs(1);
/// A cold build of tests on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

#[derive(Args, Debug, Default)]
pub struct Options {
    /// How often each scenario is run on each server.
    #[arg(long, default_value_t = USUAL_RUNS)]
    runs: u32,
    /// Only this one. May be given again.
    #[arg(long = "scenario", value_enum)]
    scenarios: Vec<Scenario>,
    /// Only this server, without another to compare it with.
    #[arg(long, value_enum)]
    only: Option<Product>,
    /// Also write all runs to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Count the runs of this file too, which --json wrote on the same machine. May be given again.
    #[arg(long = "with", value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// Take `zkd` and `zke-writers` from this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
}

/// What happens to a member.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// A follower is killed.
    FollowerKill,
    /// The leader is killed.
    LeaderKill,
    /// The leader is asked to end, and started again once it has.
    LeaderRestart,
    /// The leader is held until the others have gone on for a while.
    LeaderHang,
}

impl Scenario {
    const ALL: [Scenario; 4] =
        [Scenario::FollowerKill, Scenario::LeaderKill, Scenario::LeaderRestart, Scenario::LeaderHang];

    /// Its name for people, and the gap in milliseconds that zkd aims at.
    pub fn told(self) -> (&'static str, u32) {
        match self {
            Scenario::FollowerKill => ("follower, kill -9", 20),
            Scenario::LeaderKill => ("leader, kill -9", 250),
            Scenario::LeaderRestart => ("leader, planned restart", 50),
            Scenario::LeaderHang => ("leader, SIGSTOP", 1_000),
        }
    }
}

pub fn run(checkout: &Checkout, options: &Options, progress: &Progress) -> Result<()> {
    let binaries = match &options.binaries {
        Some(folder) => folder.clone(),
        None => bench::build(checkout, "release", progress)?,
    };
    measure(checkout, options, binaries, progress)
}

/// Five runs of zkd alone, with the programs that the tests before it have built.
pub fn test(checkout: &Checkout, progress: &Progress) -> Result<()> {
    progress.step("build zkd and the writers", |step| {
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            // With other words Cargo would choose other features of the libraries, and compile all of them again.
            .args(["test", "--locked", "--workspace", "--test", "client", "--test", "zke_load", "--no-run"])
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/gaps.log"), step)
    })?;
    let options = Options { runs: TEST_RUNS, only: Some(Product::Zkd), ..Options::default() };
    measure(checkout, &options, checkout.cargo_target().join("debug"), progress)
}

fn measure(checkout: &Checkout, options: &Options, binaries: PathBuf, progress: &Progress) -> Result<()> {
    let products = options.only.map_or(vec![Product::ZooKeeper, Product::Zkd], |only| vec![only]);
    let needs: &[_] = if products.contains(&Product::ZooKeeper) { &zookeeper::NEEDS } else { &[] };
    packages::install_programs(&[&[("setpriv", "util-linux")], needs].concat(), progress)?;
    let zookeeper = match products.contains(&Product::ZooKeeper) {
        true => Some(zookeeper::fetch(progress)?),
        false => None,
    };
    let programs = Programs { zkd: binaries.join("zkd"), zookeeper };
    let scenarios =
        if options.scenarios.is_empty() { Scenario::ALL.to_vec() } else { options.scenarios.clone() };

    let mut runs = Vec::new();
    for file in &options.earlier {
        runs.extend(report::read(file)?);
    }
    let folder = Folder::create(&checkout.cargo_target().join("gaps"))?;
    let machine = Machine::look(folder.path())?;
    let turns = turns(&products, options.runs);
    for (at, (product, rounds)) in turns.iter().enumerate() {
        progress.step(&format!("{}/{} {}", at + 1, turns.len(), product.name()), |step| {
            let place = folder.path().join(format!("turn-{at}"));
            let mut servers = Servers::start(*product, MEMBERS, &programs, &SETTINGS, &place)?;
            for round in 0..*rounds {
                for scenario in &scenarios {
                    step.detail(scenario.told().0);
                    let warm_up = if round == 0 { warm_up(*product) } else { Duration::ZERO };
                    let run = one(&mut servers, *scenario, *product, warm_up, &binaries)
                        .with_context(|| format!("the servers' last words:\n{}", servers.last_words()))?;
                    runs.push(run);
                }
            }
            Ok(())
        })?;
    }
    let report = Report { machine, runs };
    println!("\n{}", report.table());
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report).context("write the runs as JSON")?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    report.faults()
}

/// Who is started for how many rounds. Two take turns; one alone need not be started again.
fn turns(products: &[Product], runs: u32) -> Vec<(Product, u32)> {
    match products {
        [only] => vec![(*only, runs)],
        all => (0..runs).flat_map(|_| all.iter().map(|product| (*product, 1))).collect(),
    }
}

fn warm_up(product: Product) -> Duration {
    match product {
        Product::ZooKeeper => WARM_UP_ZOOKEEPER,
        Product::Zkd => WARM_UP_ZKD,
    }
}

/// One run: all three serve before it and after it, and the writers find each of them in sync before they begin.
fn one(
    servers: &mut Servers<'_>,
    scenario: Scenario,
    product: Product,
    warm_up: Duration,
    binaries: &Path,
) -> Result<Run> {
    let leader = servers.wait_serving()?;
    let victim = match scenario {
        Scenario::FollowerKill => (leader + 1) % usize::from(MEMBERS),
        _ => leader,
    };
    let mut writers = Writers::start(&binaries.join("zke-writers"), &servers.addresses(), victim)?;
    sleep(warm_up);
    writers.mark()?;
    match scenario {
        Scenario::FollowerKill | Scenario::LeaderKill => {
            servers.kill(victim)?;
            writers.wait_calm()?;
        }
        Scenario::LeaderRestart => {
            let status = servers.ask_to_end(victim)?;
            // A JVM ends with 143 after a SIGTERM that it has handled.
            ensure!(
                status.success() || product == Product::ZooKeeper,
                "asked to end, zkd ended with {status}"
            );
            servers.start_again(victim)?;
            servers.wait_serving()?;
            writers.wait_calm()?;
        }
        Scenario::LeaderHang => {
            servers.hold(victim)?;
            let calm = writers.wait_calm();
            servers.go_on(victim)?;
            calm?;
            sleep(AFTER_HOLD);
        }
    }
    let seen = writers.end()?;
    if matches!(scenario, Scenario::FollowerKill | Scenario::LeaderKill) {
        servers.start_again(victim)?;
    }
    ensure!(!seen.writers.is_empty(), "the writers tell of no writer");
    Ok(Run::new(product, scenario, victim, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_take_turns_and_one_is_started_once() {
        use Product::{Zkd, ZooKeeper};
        assert_eq!(turns(&[ZooKeeper, Zkd], 2), [(ZooKeeper, 1), (Zkd, 1), (ZooKeeper, 1), (Zkd, 1)]);
        assert_eq!(turns(&[Zkd], 5), [(Zkd, 5)]);
    }
}
